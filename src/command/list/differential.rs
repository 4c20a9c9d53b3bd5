//! Random list commands, sent to a real Redis and to the harness, and the data compared. Run as
//! `command::differential` is, against a server with `--enable-debug-command yes`.
//!
//! What may block is sent to Redis within a transaction, where it answers at once. Encodings are not compared: those of
//! lists changed in Redis 7.2, and the server that is at hand may be older.

use std::collections::VecDeque;

use crate::base::prng::Prng;
use crate::command::differential::{number, pick, Redis};
use crate::command::harness::Harness;
use crate::ds::collection::EncodingLimits;

#[test]
#[ignore = "needs a Redis server with enable-debug-command"]
fn list_commands_reply_as_redis_does() {
    let mut redis = Redis::connect();
    let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    redis.run(&words("FLUSHALL"));
    let mut shard = Harness::new();
    let mut prng = Prng::new(number("SEED", 1));
    let (mut log, mut refused) = (VecDeque::new(), 0);
    for round in 0..number("ROUNDS", 20_000) {
        if round % 500 == 0 {
            let encodings = EncodingLimits {
                list_node: [-2, -1, 1, 4, 32, -5][prng.below(6) as usize],
                list_compress_depth: prng.below(3) as u32,
                ..EncodingLimits::default()
            };
            let options = shard.keyspace.options().clone();
            shard.keyspace.set_options(crate::keyspace::KeyspaceOptions { encodings, ..options });
        }
        let request = request(&mut prng);
        let shown: Vec<_> =
            request.iter().map(|arg| arg[..arg.len().min(40)].escape_ascii().to_string()).collect();
        log.push_front(shown.join(" "));
        log.truncate(12);
        let expected = if request[0].starts_with(b"B") {
            redis.run(&words("MULTI"));
            let queued = redis.run(&request);
            let done = redis.run(&words("EXEC"));
            done.strip_prefix(b"*1\r\n").map_or(queued, <[u8]>::to_vec)
        } else {
            redis.run(&request)
        };
        let actual = shard.run_args(&request);
        refused += u64::from(expected.starts_with(b"-"));
        let (expected, actual) = (expected.escape_ascii().to_string(), actual.escape_ascii().to_string());
        assert_eq!(actual, expected, "round {round}, latest first: {log:#?}");
        if round % 16 == 0 {
            let expected = redis.run(&words("DEBUG DIGEST-VALUE a b c s"));
            let actual = shard.run("_digest_value a b c s");
            assert_eq!(actual.as_bytes(), expected, "round {round}, latest first: {log:#?}");
        }
    }
    println!("{refused} requests were refused");
}

/// A request: mostly sound, with a bad argument now and then.
pub(in crate::command) fn request(prng: &mut Prng) -> Vec<Vec<u8>> {
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
        "LREM",
        "LSET",
        "LTRIM",
        "RPOPLPUSH",
        "BLMOVE",
        "BLMPOP",
        "BLPOP",
        "BRPOP",
        "BRPOPLPUSH",
        "DEL",
        "SET",
        "RENAME",
        "COPY",
    ];
    let name = pick(prng, NAMES);
    let mut args = vec![name.to_owned(), key(prng)];
    match name {
        "LPUSH" | "RPUSH" | "LPUSHX" | "RPUSHX" => args.extend((0..1 + prng.below(5)).map(|_| element(prng))),
        "LINDEX" => args.push(index(prng)),
        "LINSERT" => {
            args.push(pick(prng, &["BEFORE", "AFTER", "before", "After", "x"]).to_owned());
            args.extend([element(prng), element(prng)]);
        }
        "LMOVE" | "BLMOVE" => args.extend([key(prng), end(prng), end(prng)]),
        "RPOPLPUSH" | "BRPOPLPUSH" | "RENAME" | "COPY" => args.push(key(prng)),
        "LMPOP" | "BLMPOP" => {
            args.truncate(1);
            let keys = 1 + prng.below(3);
            args.push(match prng.below(12) {
                0 => pick(prng, &["0", "-1", "x", "4", "100", "9223372036854775807"]).to_owned(),
                _ => keys.to_string(),
            });
            args.extend((0..keys).map(|_| key(prng)));
            args.push(end(prng));
            for _ in 0..prng.below(5) / 2 {
                args.push(pick(prng, &["COUNT", "count", "x"]).to_owned());
                if prng.below(8) > 0 {
                    args.push(index(prng));
                }
            }
        }
        "LPOP" | "RPOP" => args.extend((0..prng.below(2)).map(|_| index(prng))),
        "LPOS" => {
            args.push(element(prng));
            for _ in 0..prng.below(4) {
                args.push(pick(prng, &["RANK", "COUNT", "MAXLEN", "rank", "x"]).to_owned());
                if prng.below(10) > 0 {
                    // Only Redis 7.2 refuses the rank that can't be negated.
                    args.push(index(prng).replace("-9223372036854775808", "-7"));
                }
            }
        }
        "LRANGE" | "LTRIM" => args.extend([index(prng), index(prng)]),
        "LREM" | "LSET" => args.extend([index(prng), element(prng)]),
        "BLPOP" | "BRPOP" => args.extend((0..prng.below(3)).map(|_| key(prng))),
        "SET" => {
            args[1] = "s".to_owned();
            args.push(element(prng));
        }
        _ => {}
    }
    match name {
        "BLMPOP" => args.insert(1, timeout(prng)),
        _ if name.starts_with('B') => args.push(timeout(prng)),
        // A list that is trimmed by chance is mostly empty.
        "LTRIM" if prng.below(3) > 0 => args[2..].clone_from_slice(&["1".to_owned(), "-2".to_owned()]),
        _ => {}
    }
    if prng.below(100) == 0 {
        args.pop();
    }
    if prng.below(200) == 0 {
        args.push("extra".to_owned());
    }
    args.into_iter().map(String::into_bytes).collect()
}

fn key(prng: &mut Prng) -> String {
    pick(prng, &["a", "a", "b", "b", "c", "c", "none", "s"]).to_owned()
}

fn end(prng: &mut Prng) -> String {
    let rare = prng.below(20) == 0;
    pick(prng, if rare { &["x", "", "LEFTY"] } else { &["LEFT", "RIGHT", "left", "Right"] }).to_owned()
}

fn element(prng: &mut Prng) -> String {
    match prng.below(60) {
        0 => "long".repeat(prng.below(3000) as usize),
        1..=5 => "x".repeat(prng.below(200) as usize),
        6..=20 => (prng.next_u64() as i64 >> prng.below(64)).to_string(),
        _ => pick(prng, &["p", "q", "r", "1", "2", "01", "-0", "", "1.5"]).to_owned(),
    }
}

fn index(prng: &mut Prng) -> String {
    match prng.below(16) {
        0 => pick(
            prng,
            &[
                "x",
                "",
                "1.5",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775808",
                "+1",
                " 1",
            ],
        )
        .to_owned(),
        1..=10 => (prng.below(12) as i64 - 4).to_string(),
        _ => (prng.below(120) as i64 - 60).to_string(),
    }
}

/// A timeout; none so long that only Redis 7.2 says so.
fn timeout(prng: &mut Prng) -> String {
    let rare = prng.below(6) == 0;
    let words: &[&str] = if rare {
        &["x", "", "-1", "-0.001", "-inf", "nan", " 1", "1 "]
    } else {
        &["0", "1", "0.001", "1e2", "0x1p3", "-0", "-0.0001", "1000000"]
    };
    pick(prng, words).to_owned()
}
