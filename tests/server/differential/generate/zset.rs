//! Sorted sets.
//!
//! What ranges by lexical order give is only defined where all scores are the same: `l0` and `l1` are for these, and
//! nothing else writes there.

use super::words::{bulk, count, element, element_at, key_of, keys_of, timeout, Family, Words};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    const NAMES: &[&str] = &[
        "ZADD",
        "ZADD",
        "ZADD",
        "ZADD",
        "ZADD",
        "ZCARD",
        "ZCOUNT",
        "ZDIFF",
        "ZDIFFSTORE",
        "ZINCRBY",
        "ZINTER",
        "ZINTERCARD",
        "ZINTERSTORE",
        "ZLEXCOUNT",
        "ZMPOP",
        "ZMSCORE",
        "ZPOPMAX",
        "ZPOPMIN",
        "ZRANDMEMBER",
        "ZRANGE",
        "ZRANGE",
        "ZRANGE",
        "ZRANGEBYLEX",
        "ZRANGEBYSCORE",
        "ZRANGESTORE",
        "ZRANK",
        "ZREM",
        "ZREMRANGEBYLEX",
        "ZREMRANGEBYRANK",
        "ZREMRANGEBYSCORE",
        "ZREVRANGE",
        "ZREVRANGEBYLEX",
        "ZREVRANGEBYSCORE",
        "ZREVRANK",
        "ZSCORE",
        "ZUNION",
        "ZUNIONSTORE",
        "BZMPOP",
        "BZPOPMAX",
        "BZPOPMIN",
    ];
    let name = r.pick(NAMES);
    let mut words: Words = vec![name.into()];
    match name {
        "ZADD" => {
            let is_lex = r.one_in(5);
            words.push(if is_lex { lex_key(r) } else { key_of(r, Family::Zset) });
            while r.one_in(4) {
                words.push(r.pick(&["NX", "XX", "GT", "LT", "CH", "INCR", "nx", "ch", "incr"]).into());
            }
            let of = bulk(r);
            for at in 0..of {
                let mut score = if is_lex { b"0".to_vec() } else { score(r) };
                if of > 4 && score == b"-0" {
                    // Since 7.2 many members at once make a skiplist at once, which has a negative zero.
                    score = b"0".to_vec();
                }
                words.extend([score, element_at(r, at, of)]);
            }
        }
        "ZINCRBY" => words.extend([key_of(r, Family::Zset), score(r), element(r)]),
        "ZCOUNT" | "ZREMRANGEBYSCORE" => {
            words.extend([key_of(r, Family::Zset), score_end(r), score_end(r)]);
        }
        "ZLEXCOUNT" | "ZREMRANGEBYLEX" => words.extend([lex_key(r), lex_end(r), lex_end(r)]),
        "ZREMRANGEBYRANK" => words.extend([key_of(r, Family::Zset), rank(r), rank(r)]),
        "ZRANGE" | "ZRANGESTORE" => {
            if name == "ZRANGESTORE" {
                words.push(key_of(r, Family::Zset));
            }
            match r.below(3) {
                0 => words.extend([key_of(r, Family::Zset), rank(r), rank(r)]),
                1 => words.extend([key_of(r, Family::Zset), score_end(r), score_end(r), "BYSCORE".into()]),
                _ => words.extend([lex_key(r), lex_end(r), lex_end(r), "BYLEX".into()]),
            }
            range_options(r, &mut words, &["WITHSCORES", "REV", "rev", "BYSCORE"]);
        }
        "ZREVRANGE" => {
            words.extend([key_of(r, Family::Zset), rank(r), rank(r)]);
            range_options(r, &mut words, &["WITHSCORES", "withscores"]);
        }
        "ZRANGEBYSCORE" | "ZREVRANGEBYSCORE" => {
            words.extend([key_of(r, Family::Zset), score_end(r), score_end(r)]);
            range_options(r, &mut words, &["WITHSCORES", "withscores"]);
        }
        "ZRANGEBYLEX" | "ZREVRANGEBYLEX" => {
            words.extend([lex_key(r), lex_end(r), lex_end(r)]);
            range_options(r, &mut words, &[]);
        }
        "ZDIFF" | "ZINTER" | "ZUNION" | "ZINTERCARD" => several_keys(r, &mut words),
        "ZDIFFSTORE" | "ZINTERSTORE" | "ZUNIONSTORE" => {
            words.push(key_of(r, Family::Zset));
            several_keys(r, &mut words);
        }
        "ZMPOP" | "BZMPOP" => {
            if name == "BZMPOP" {
                words.push(timeout(r));
            }
            let keys = r.below(4);
            words.push(if r.one_in(12) { rank(r) } else { keys.to_string().into_bytes() });
            words.extend(keys_of(r, Family::Zset, keys));
            words.push(r.pick(&["MIN", "MAX", "min", "MAX", "MIN", "x"]).into());
            while r.one_in(3) {
                words.extend(["COUNT".into(), rank(r)]);
            }
        }
        "BZPOPMAX" | "BZPOPMIN" => {
            let keys = 1 + r.below(3);
            words.extend(keys_of(r, Family::Zset, keys));
            words.push(timeout(r));
        }
        "ZMSCORE" | "ZREM" => {
            words.push(any_key(r));
            let of = bulk(r);
            words.extend((0..of).map(|at| element_at(r, at, of)));
        }
        "ZPOPMAX" | "ZPOPMIN" => {
            words.push(key_of(r, Family::Zset));
            if r.one_in(2) {
                words.push(rank(r));
            }
        }
        "ZRANDMEMBER" => {
            words.push(key_of(r, Family::Zset));
            if !r.one_in(3) {
                words.push(count(r));
                if r.one_in(3) {
                    words.push(r.pick(&["WITHSCORES", "withscores", "x"]).into());
                }
            }
        }
        "ZRANK" | "ZREVRANK" | "ZSCORE" => words.extend([any_key(r), element(r)]),
        _ => words.push(any_key(r)),
    }
    words
}

/// A key of a sorted set all of whose scores are the same.
fn lex_key(r: &mut Random) -> Vec<u8> {
    format!("l{}", r.below(2)).into_bytes()
}

/// A key that is read, or of which members are taken.
fn any_key(r: &mut Random) -> Vec<u8> {
    if r.one_in(6) {
        lex_key(r)
    } else {
        key_of(r, Family::Zset)
    }
}

fn several_keys(r: &mut Random, words: &mut Words) {
    let count = 1 + r.below(3);
    words.push(if r.one_in(15) { rank(r) } else { count.to_string().into_bytes() });
    for _ in 0..count {
        words.push(if r.one_in(4) { key_of(r, Family::Set) } else { any_key(r) });
    }
    while r.one_in(2) {
        match r.below(5) {
            0 | 1 => {
                words.push(r.pick(&["WEIGHTS", "weights"]).into());
                words.extend((0..count).map(|_| score(r)));
            }
            2 => words.extend(["AGGREGATE".into(), r.pick(&["SUM", "MIN", "max", "x"]).into()]),
            3 => words.extend(["LIMIT".into(), rank(r)]),
            _ => words.push(r.pick(&["WITHSCORES", "withscores"]).into()),
        }
    }
}

fn range_options(r: &mut Random, words: &mut Words, options: &[&str]) {
    while r.one_in(2) {
        if options.is_empty() || r.one_in(3) {
            words.extend([r.pick(&["LIMIT", "limit"]).into(), rank(r), rank(r)]);
        } else {
            words.push(r.pick(options).into());
        }
    }
}

/// A score; of those that are not bad, the sums do not depend on the order of adding.
fn score(r: &mut Random) -> Vec<u8> {
    match r.below(60) {
        0 => r.pick(&["x", "", "nan", "1e400", "1e-400", " 1", "1 ", "0x", "--1", "1e"]).into(),
        1 => r.pick(&["inf", "-inf", "+Infinity", "0x1p3", "-0", "0x.8", "1e5"]).into(),
        2..=20 => (r.below(64) as f64 / 8.0 - 4.0).to_string().into_bytes(),
        _ => (r.below(12) as i64 - 4).to_string().into_bytes(),
    }
}

fn score_end(r: &mut Random) -> Vec<u8> {
    match r.below(5) {
        0 => [b"(".to_vec(), score(r)].concat(),
        1 => r.pick(&["-inf", "+inf", "(inf"]).into(),
        _ => score(r),
    }
}

fn lex_end(r: &mut Random) -> Vec<u8> {
    match r.below(8) {
        0 | 1 => "-".into(),
        2 | 3 => "+".into(),
        4 if r.one_in(6) => element(r),
        _ => [r.pick(&["[", "("]).into(), element(r)].concat(),
    }
}

fn rank(r: &mut Random) -> Vec<u8> {
    match r.below(40) {
        0 => r.pick(&["x", "", "1.5", "9223372036854775807", "-9223372036854775808"]).into(),
        1 => r.pick(&["9223372036854775808", "-9223372036854775807", "100"]).into(),
        _ => (r.below(12) as i64 - 4).to_string().into_bytes(),
    }
}
