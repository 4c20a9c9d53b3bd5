//! Sets.

use super::words::{bulk, count, element, element_at, key_of, keys_of, Family, Words};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    const NAMES: &[&str] = &[
        "SADD",
        "SADD",
        "SADD",
        "SCARD",
        "SDIFF",
        "SDIFFSTORE",
        "SINTER",
        "SINTERCARD",
        "SINTERSTORE",
        "SISMEMBER",
        "SMEMBERS",
        "SMISMEMBER",
        "SMOVE",
        "SPOP",
        "SRANDMEMBER",
        "SREM",
        "SREM",
        "SUNION",
        "SUNIONSTORE",
    ];
    let name = r.pick(NAMES);
    let mut words = vec![name.into(), key_of(r, Family::Set)];
    match name {
        "SADD" | "SREM" | "SMISMEMBER" => {
            let of = bulk(r);
            words.extend((0..of).map(|at| element_at(r, at, of)));
        }
        "SISMEMBER" => words.push(element(r)),
        "SMOVE" => words.extend([key_of(r, Family::Set), element(r)]),
        // Nothing or everything: what is drawn by chance is another step (`Step::Pop`).
        "SPOP" => words.push(r.pick(&["0", "100000", "0", "-1", "x", ""]).into()),
        "SRANDMEMBER" if !r.one_in(3) => words.push(count(r)),
        "SINTERCARD" => {
            let keys = 1 + r.below(4);
            words.truncate(1);
            words.push(if r.one_in(10) { count(r) } else { keys.to_string().into_bytes() });
            words.extend(keys_of(r, Family::Set, keys));
            for _ in 0..r.below(3) {
                words.extend([r.pick(&["LIMIT", "LIMIT", "limit", "LIMITS"]).into(), count(r)]);
            }
        }
        "SDIFF" | "SINTER" | "SUNION" | "SDIFFSTORE" | "SINTERSTORE" | "SUNIONSTORE" => {
            let more = r.below(4);
            words.extend(keys_of(r, Family::Set, more));
        }
        _ => {}
    }
    words
}
