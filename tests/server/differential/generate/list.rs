//! Lists.

use super::words::{
    bulk, count, element, element_at, index, key, key_of, keys_of, timeout, words_of, Family, Words,
};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    const NAMES: &[&str] = &[
        "LPUSH",
        "RPUSH",
        "LPUSH",
        "RPUSH",
        "LPUSHX",
        "RPUSHX",
        "LINDEX",
        "LINSERT",
        "LLEN",
        "LMOVE",
        "LMPOP",
        "LPOP",
        "RPOP",
        "LPOS",
        "LPOS",
        "LRANGE",
        "LRANGE",
        "LREM",
        "LSET",
        "LTRIM",
        "RPOPLPUSH",
        "BLMOVE",
        "BLMPOP",
        "BLPOP",
        "BRPOP",
        "BRPOPLPUSH",
    ];
    let name = r.pick(NAMES);
    let mut words = vec![name.into(), key_of(r, Family::List)];
    match name {
        "LPUSH" | "RPUSH" | "LPUSHX" | "RPUSHX" => {
            let of = bulk(r);
            words.extend((0..of).map(|at| element_at(r, at, of)));
            if r.one_in(60) {
                words.push("long".repeat(1000 + r.below(2000)).into_bytes());
            }
        }
        "LINDEX" => words.push(index(r)),
        "LINSERT" => {
            words.push(r.pick(&["BEFORE", "AFTER", "before", "After", "x"]).into());
            words.extend([element(r), element(r)]);
        }
        "LMOVE" | "BLMOVE" => words.extend([key_of(r, Family::List), end(r), end(r)]),
        "RPOPLPUSH" | "BRPOPLPUSH" => words.push(key_of(r, Family::List)),
        "LMPOP" | "BLMPOP" => {
            words.truncate(1);
            let keys = 1 + r.below(3);
            words.push(match r.below(12) {
                0 => r.pick(&["0", "-1", "x", "4", "100", "9223372036854775807"]).into(),
                _ => keys.to_string().into_bytes(),
            });
            words.extend(keys_of(r, Family::List, keys));
            words.push(end(r));
            for _ in 0..r.below(5) / 2 {
                words.push(r.pick(&["COUNT", "count", "x"]).into());
                if !r.one_in(8) {
                    words.push(count(r));
                }
            }
        }
        "LPOP" | "RPOP" if r.one_in(2) => words.push(count(r)),
        "LPOS" => {
            words.push(element(r));
            for _ in 0..r.below(4) {
                words.push(r.pick(&["RANK", "COUNT", "MAXLEN", "rank", "x"]).into());
                if !r.one_in(10) {
                    words.push(count(r));
                }
            }
        }
        // A list that is trimmed by chance is mostly empty.
        "LTRIM" if !r.one_in(4) => words.extend(words_of(&["1", "-2"])),
        "LRANGE" | "LTRIM" => words.extend([index(r), index(r)]),
        "LREM" | "LSET" => words.extend([index(r), element(r)]),
        "BLPOP" | "BRPOP" => words.extend((0..r.below(3)).map(|_| key(r))),
        _ => {}
    }
    match name {
        "BLMPOP" => words.insert(1, timeout(r)),
        _ if name.starts_with('B') => words.push(timeout(r)),
        _ => {}
    }
    words
}

fn end(r: &mut Random) -> Vec<u8> {
    match r.below(20) {
        0 => r.pick(&["x", "", "LEFTY"]).into(),
        _ => r.pick(&["LEFT", "RIGHT", "left", "Right"]).into(),
    }
}
