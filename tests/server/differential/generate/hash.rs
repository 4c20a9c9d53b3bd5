//! Hashes; without the expiry of fields, which Redis 7.0 does not know.

use super::words::{bulk, count, element, element_at, float, integer, key_of, value, Family, Words};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    const NAMES: &[&str] = &[
        "HDEL",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HGETALL",
        "HINCRBY",
        "HINCRBYFLOAT",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HMSET",
        "HRANDFIELD",
        "HSET",
        "HSET",
        "HSET",
        "HSETNX",
        "HSTRLEN",
        "HVALS",
    ];
    let name = r.pick(NAMES);
    let mut words = vec![name.into(), key_of(r, Family::Hash)];
    match name {
        "HDEL" | "HMGET" => {
            let of = bulk(r);
            words.extend((0..of).map(|at| element_at(r, at, of)));
        }
        "HEXISTS" | "HGET" | "HSTRLEN" => words.push(element(r)),
        "HINCRBY" => words.extend([element(r), integer(r)]),
        "HINCRBYFLOAT" => words.extend([element(r), float(r)]),
        "HMSET" | "HSET" => {
            let of = bulk(r);
            for at in 0..of {
                words.extend([element_at(r, at, of), if of > 4 { element(r) } else { value(r) }]);
            }
            if r.one_in(30) {
                words.pop();
            }
        }
        "HRANDFIELD" if !r.one_in(4) => {
            words.push(count(r));
            if r.one_in(3) {
                words.push(r.pick(&["WITHVALUES", "withvalues", "x", ""]).into());
            }
        }
        "HSETNX" => words.extend([element(r), value(r)]),
        _ => {}
    }
    words
}
