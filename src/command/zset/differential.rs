//! Random sorted set commands, compared with a real Redis; see `command/differential.rs` for how to run it.
//!
//! redis-server 7.0 writes doubles with 17 digits where 7.2 and we write the shortest text that reads back: its replies
//! are brought into our form before they are compared. Several of our answers come in no particular order, or are drawn
//! by chance; of these only the size is compared. The digests of the values are compared from time to time: the server
//! needs `--enable-debug-command yes`.

use std::fmt::Write as _;

use crate::base::double;
use crate::base::prng::Prng;
use crate::command::differential::{number, pick, Redis};
use crate::command::harness::Harness;

#[test]
#[ignore = "needs a Redis server with enable-debug-command"]
fn sorted_set_commands_reply_as_redis_does() {
    let mut redis = Redis::connect();
    redis.run(&words("FLUSHALL"));
    // Half of the runs have small limits, so that sets of both encodings meet.
    let seed = number("SEED", 1);
    let entries = [128, 4][seed as usize % 2];
    redis.run(&words(&format!("CONFIG SET zset-max-listpack-entries {entries}")));
    let mut shard = Harness::new();
    let mut options = shard.keyspace.options().clone();
    options.encodings.zset.entries = entries;
    shard.keyspace.set_options(options);
    let mut prng = Prng::new(seed);
    let (mut log, mut refused) = (String::new(), 0);
    for round in 0..number("ROUNDS", 20_000) {
        let args = command(&mut prng);
        let shown: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        writeln!(log, "{}", shown.join(" ")).unwrap();
        let (expected, actual) = (redis.run(&args), shard.run_args(&args));
        refused += u64::from(expected.starts_with(b"-"));
        let (expected, actual) = match args[0].as_slice() {
            b"ZRANDMEMBER" | b"SRANDMEMBER" => (lines(&expected), lines(&actual)),
            _ => (shortest(&expected), actual),
        };
        let (expected, actual) = (expected.escape_ascii().to_string(), actual.escape_ascii().to_string());
        let history: Vec<_> = log.lines().rev().take(8).collect();
        assert_eq!(actual, expected, "round {round}, latest first: {history:#?}");
        if round % 50 == 0 {
            let expected = redis.run(&words("DEBUG DIGEST-VALUE k0 k1 k2 k3 l0 l1 s0 s1"));
            let actual = shard.run("_digest_value k0 k1 k2 k3 l0 l1 s0 s1");
            let expected = String::from_utf8_lossy(&expected).into_owned();
            assert_eq!(actual, expected, "round {round}, latest first: {history:#?}");
        }
    }
    println!("{refused} requests were refused");
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The reply with all its strings that are what C makes of a number in the shortest form.
fn shortest(reply: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < reply.len() {
        let end = at + reply[at..].windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        let len = std::str::from_utf8(&reply[at + 1..end - 2]).ok().and_then(|len| len.parse::<usize>().ok());
        match (reply[at], len) {
            (b'$', Some(len)) => {
                let string = &reply[end..end + len];
                let mut text = double::Buffer::new();
                let number = double::parse(string)
                    .filter(|&number| double::Buffer::new().format_as_c(number).as_bytes() == string);
                let string = number.map_or(string, |number| text.format(number).as_bytes());
                out.extend_from_slice(format!("${}\r\n", string.len()).as_bytes());
                out.extend_from_slice(string);
                out.extend_from_slice(b"\r\n");
                at = end + len + 2;
            }
            _ => {
                out.extend_from_slice(&reply[at..end]);
                at = end;
            }
        }
    }
    out
}

/// How many lines a reply has, for replies that differ in everything else; errors as they are.
fn lines(reply: &[u8]) -> Vec<u8> {
    match reply.first() {
        Some(b'-') => reply.to_vec(),
        _ => reply.split(|&byte| byte == b'\n').count().to_string().into_bytes(),
    }
}

/// A request: mostly sound, with a bad argument now and then.
pub(in crate::command) fn command(prng: &mut Prng) -> Vec<Vec<u8>> {
    const NAMES: &[&str] = &[
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
        "SADD",
        "SET",
        "DEL",
        "OBJECT",
        "EXISTS",
        "TYPE",
    ];
    let name = pick(prng, NAMES);
    let mut args = vec![name.to_owned()];
    match name {
        "ZADD" => {
            args.push(key(prng));
            let is_lex = args[1].starts_with('l');
            while prng.below(3) == 0 {
                args.push(pick(prng, &["NX", "XX", "GT", "LT", "CH", "INCR", "nx", "ch", "incr"]).to_owned());
            }
            for _ in 0..1 + prng.below(4) {
                args.extend([if is_lex { "0".to_owned() } else { score(prng) }, member(prng)]);
            }
        }
        "ZINCRBY" => {
            let increment = score(prng);
            args.extend([any_key(prng), increment, member(prng)]);
        }
        "ZCOUNT" | "ZREMRANGEBYSCORE" => args.extend([key(prng), score_end(prng), score_end(prng)]),
        "ZLEXCOUNT" | "ZREMRANGEBYLEX" => args.extend([lex_key(prng), lex_end(prng), lex_end(prng)]),
        "ZREMRANGEBYRANK" => args.extend([key(prng), rank(prng), rank(prng)]),
        "ZRANGE" | "ZRANGESTORE" => {
            if name == "ZRANGESTORE" {
                args.push(any_key(prng));
            }
            match prng.below(3) {
                0 => args.extend([key(prng), rank(prng), rank(prng)]),
                1 => args.extend([key(prng), score_end(prng), score_end(prng), "BYSCORE".to_owned()]),
                _ => args.extend([lex_key(prng), lex_end(prng), lex_end(prng), "BYLEX".to_owned()]),
            }
            range_options(prng, &mut args, &["WITHSCORES", "REV", "rev", "BYSCORE"]);
        }
        "ZREVRANGE" => {
            args.extend([key(prng), rank(prng), rank(prng)]);
            range_options(prng, &mut args, &["WITHSCORES", "withscores"]);
        }
        "ZRANGEBYSCORE" | "ZREVRANGEBYSCORE" => {
            args.extend([key(prng), score_end(prng), score_end(prng)]);
            range_options(prng, &mut args, &["WITHSCORES", "withscores"]);
        }
        "ZRANGEBYLEX" | "ZREVRANGEBYLEX" => {
            args.extend([lex_key(prng), lex_end(prng), lex_end(prng)]);
            range_options(prng, &mut args, &[]);
        }
        "ZDIFF" | "ZINTER" | "ZUNION" | "ZINTERCARD" | "ZDIFFSTORE" | "ZINTERSTORE" | "ZUNIONSTORE" => {
            if name.ends_with("STORE") {
                args.push(key(prng));
            }
            several_keys(prng, &mut args);
        }
        "ZMPOP" => {
            let count = prng.below(3);
            args.push(if prng.below(9) == 0 { rank(prng) } else { count.to_string() });
            args.extend((0..count).map(|_| any_key(prng)));
            args.push(pick(prng, &["MIN", "MAX", "min", "x"]).to_owned());
            while prng.below(3) == 0 {
                args.extend(["COUNT".to_owned(), rank(prng)]);
            }
        }
        "ZMSCORE" | "ZREM" => {
            args.push(any_key(prng));
            args.extend((0..1 + prng.below(3)).map(|_| member(prng)));
        }
        "ZPOPMAX" | "ZPOPMIN" => {
            args.push(any_key(prng));
            if prng.below(2) == 0 {
                args.push(rank(prng));
            }
        }
        "ZRANDMEMBER" => {
            args.push(any_key(prng));
            if prng.below(3) > 0 {
                // Not one of the lowest numbers, which would be answered.
                args.push(rank(prng).replace("-9223372036854775807", "-9223372036854775808"));
                if prng.below(3) == 0 {
                    args.push(pick(prng, &["WITHSCORES", "withscores", "x"]).to_owned());
                }
            }
        }
        "ZRANK" | "ZREVRANK" | "ZSCORE" => args.extend([any_key(prng), member(prng)]),
        "SADD" => args.extend([format!("s{}", prng.below(2)), member(prng), member(prng)]),
        "SET" => args.extend([pick(prng, &["k0", "string"]).to_owned(), "x".to_owned()]),
        // The sets grow and are seldom begun anew.
        "DEL" if prng.below(4) > 0 => args = vec!["EXISTS".to_owned(), any_key(prng)],
        "OBJECT" => args.extend(["ENCODING".to_owned(), key(prng)]),
        _ => args.push(any_key(prng)),
    }
    if prng.below(80) == 0 && args.len() > 2 {
        args.pop();
    }
    if prng.below(200) == 0 && !name.ends_with("RANK") {
        args.push(member(prng));
    }
    args.into_iter().map(String::into_bytes).collect()
}

/// A key of a sorted set with any scores.
fn key(prng: &mut Prng) -> String {
    format!("k{}", prng.below(4))
}

/// A key of a sorted set all of whose scores are the same. Nothing else writes there.
fn lex_key(prng: &mut Prng) -> String {
    format!("l{}", prng.below(2))
}

/// A key of anything but equal scores.
fn any_key(prng: &mut Prng) -> String {
    match prng.below(8) {
        0 => format!("s{}", prng.below(2)),
        1 => pick(prng, &["string", "nosuch"]).to_owned(),
        _ => key(prng),
    }
}

fn several_keys(prng: &mut Prng, args: &mut Vec<String>) {
    let count = 1 + prng.below(3);
    args.push(if prng.below(12) == 0 { rank(prng) } else { count.to_string() });
    args.extend((0..count).map(|_| any_key(prng)));
    while prng.below(2) == 0 {
        match prng.below(5) {
            0 | 1 => {
                args.push(pick(prng, &["WEIGHTS", "weights"]).to_owned());
                args.extend((0..count).map(|_| score(prng)));
            }
            2 => args.extend(["AGGREGATE".to_owned(), pick(prng, &["SUM", "MIN", "max", "x"]).to_owned()]),
            3 => args.extend(["LIMIT".to_owned(), rank(prng)]),
            _ => args.push(pick(prng, &["WITHSCORES", "withscores"]).to_owned()),
        }
    }
}

fn range_options(prng: &mut Prng, args: &mut Vec<String>, words: &[&str]) {
    while prng.below(2) == 0 {
        if prng.below(3) == 0 || words.is_empty() {
            args.extend([pick(prng, &["LIMIT", "limit"]).to_owned(), rank(prng), rank(prng)]);
        } else {
            args.push(pick(prng, words).to_owned());
        }
    }
}

/// Few, so that they meet; some read as integers, some are too long for a listpack.
fn member(prng: &mut Prng) -> String {
    match prng.below(16) {
        0 => (prng.below(20) as i64 - 10).to_string(),
        1 => String::new(),
        2 if prng.below(8) == 0 => "long".repeat(20),
        _ => (0..1 + prng.below(2)).map(|_| char::from(b'a' + prng.below(6) as u8)).collect(),
    }
}

/// A score that adds up exactly, mostly.
fn score(prng: &mut Prng) -> String {
    match prng.below(24) {
        0 => pick(prng, &["x", "", "nan", "1e400", "1e-400", " 1", "1 ", "0x", "--1", "1e"]).to_owned(),
        1 => pick(prng, &["inf", "-inf", "+Infinity", "0x1p3", "1e300", "-0", "0x.8", "1e17", "1e-5"])
            .to_owned(),
        2 => (prng.unit_f64() * 100.0).to_string(),
        3 => ((prng.next_u64() >> prng.below(64)) as i64).to_string(),
        4..8 => (prng.below(64) as f64 / 8.0 - 4.0).to_string(),
        _ => (prng.below(12) as i64 - 4).to_string(),
    }
}

fn score_end(prng: &mut Prng) -> String {
    let open = if prng.below(3) == 0 { "(" } else { "" };
    open.to_owned() + &score(prng)
}

fn lex_end(prng: &mut Prng) -> String {
    match prng.below(8) {
        0 | 1 => "-".to_owned(),
        2 | 3 => "+".to_owned(),
        4 if prng.below(6) == 0 => member(prng),
        _ => pick(prng, &["[", "("]).to_owned() + &member(prng),
    }
}

fn rank(prng: &mut Prng) -> String {
    match prng.below(30) {
        0 => pick(prng, &["x", "", "1.5", "9223372036854775807", "-9223372036854775808"]).to_owned(),
        1 => pick(prng, &["9223372036854775808", "-9223372036854775807", "100"]).to_owned(),
        _ => (prng.below(12) as i64 - 4).to_string(),
    }
}
