//! Random hash commands, sent to a real Redis and to the harness. Run as `command::differential` is.
//!
//! Redis 7.0 knows no expiry of fields. Where a hash is large each has an order of its own, so replies are sorted
//! before they are compared, and scans are walked to their end.

use std::collections::VecDeque;

use crate::base::prng::Prng;
use crate::command::differential::{number, pick, Redis};
use crate::command::harness::Harness;
use crate::resp::reply::{as_bulk, elements};

const KEYS: u64 = 6;

#[test]
#[ignore = "needs a Redis server"]
fn hash_commands_reply_as_redis_does() {
    let mut pair = Pair { redis: Redis::connect(), shard: Harness::new(), log: VecDeque::new(), refused: 0 };
    pair.redis.run(&words(&["FLUSHALL"]));
    let mut prng = Prng::new(number("SEED", 1));
    for round in 0..number("ROUNDS", 20_000) {
        pair.compare(&command(&mut prng));
        if round % 16 == 0 {
            pair.compare_data();
        }
    }
    println!("{} requests were refused", pair.refused);
}

struct Pair {
    redis: Redis,
    shard: Harness,
    log: VecDeque<String>,
    refused: u64,
}

impl Pair {
    fn compare(&mut self, request: &[Vec<u8>]) {
        let shown: Vec<_> = request.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        let mut shown = shown.join(" ");
        shown.truncate(300);
        self.log.push_front(shown);
        self.log.truncate(12);
        let (expected, actual) = (self.redis.run(request), self.shard.run_args(request));
        self.refused += u64::from(expected.starts_with(b"-"));
        if expected.starts_with(b"*") && actual.starts_with(b"*") {
            let name = request[0].to_ascii_uppercase();
            match name.as_slice() {
                b"HKEYS" | b"HVALS" => return self.same(sorted(&expected, 1), sorted(&actual, 1)),
                b"HGETALL" => return self.same(sorted(&expected, 2), sorted(&actual, 2)),
                b"HSCAN" => return self.compare_scan(request, expected, actual),
                // Each draws from its own dice.
                b"HRANDFIELD" => return self.same(elements(&expected).count(), elements(&actual).count()),
                _ => {}
            }
        }
        if request[0].eq_ignore_ascii_case(b"HRANDFIELD") && expected.starts_with(b"$") {
            return self.same(expected.starts_with(b"$-1"), actual.starts_with(b"$-1"));
        }
        self.same(expected.escape_ascii().to_string(), actual.escape_ascii().to_string());
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, expected: T, actual: T) {
        assert!(expected == actual, "expected {expected:?}, got {actual:?}, latest first: {:#?}", self.log);
    }

    /// Compares what a scan returns up to its end, the first pages being these.
    fn compare_scan(&mut self, request: &[Vec<u8>], expected: Vec<u8>, actual: Vec<u8>) {
        if request[2] != b"0" {
            // A cursor that nobody gave leads each somewhere else.
            return;
        }
        let Pair { redis, shard, .. } = self;
        let expected = walk(request, expected, |request| redis.run(request));
        let actual = walk(request, actual, |request| shard.run_args(request));
        self.same(expected, actual);
    }

    fn compare_data(&mut self) {
        for key in 0..KEYS {
            for command in ["TYPE", "OBJECT ENCODING", "HLEN", "HGETALL"] {
                let line = format!("{command} h{key}");
                self.compare(&line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
            }
        }
    }
}

/// The fields of all pages, each once, in order.
fn walk(request: &[Vec<u8>], first: Vec<u8>, mut run: impl FnMut(&[Vec<u8>]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let (mut request, mut page, mut all) = (request.to_vec(), first, Vec::new());
    loop {
        let mut parts = elements(&page);
        let cursor = parts.next().and_then(as_bulk).unwrap().to_vec();
        all.extend(sorted(parts.next().unwrap(), 2));
        if cursor == b"0" {
            break;
        }
        request[2] = cursor;
        page = run(&request);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The elements of an array, joined in groups of `size`, in order.
fn sorted(array: &[u8], size: usize) -> Vec<Vec<u8>> {
    let all: Vec<&[u8]> = elements(array).collect();
    let mut groups: Vec<Vec<u8>> = all.chunks(size).map(<[&[u8]]>::concat).collect();
    groups.sort_unstable();
    groups
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// A request: mostly sound, with a bad argument now and then.
pub(in crate::command) fn command(prng: &mut Prng) -> Vec<Vec<u8>> {
    const NAMES: &[&str] = &[
        "HDEL",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HINCRBY",
        "HINCRBYFLOAT",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HMSET",
        "HRANDFIELD",
        "HSCAN",
        "HSET",
        "HSET",
        "HSET",
        "HSETNX",
        "HSTRLEN",
        "HVALS",
        "hincrby",
        "hincrbyfloat",
        "DEL",
        "SET",
        "COPY",
        "RENAME",
        "EXPIRE",
    ];
    let name = pick(prng, NAMES);
    let mut args = vec![name.to_owned(), key(prng)];
    match name.to_ascii_uppercase().as_str() {
        "HDEL" | "HMGET" => args.extend((0..1 + prng.below(4)).map(|_| field(prng))),
        "HEXISTS" | "HGET" | "HSTRLEN" => args.push(field(prng)),
        "HINCRBY" => args.extend([field(prng), integer(prng)]),
        "HINCRBYFLOAT" => args.extend([field(prng), float(prng)]),
        "HMSET" | "HSET" => {
            // A few of these make a hash large by its number of fields.
            let pairs = if prng.below(150) == 0 { 400 } else { 1 + prng.below(4) };
            for at in 0..pairs {
                let field =
                    if pairs > 4 { format!("many:{}", at * (1 + prng.below(2))) } else { field(prng) };
                args.extend([field, value(prng)]);
            }
            if prng.below(30) == 0 {
                args.pop();
            }
        }
        "HRANDFIELD" => {
            if prng.below(4) > 0 {
                args.push(count(prng));
            }
            if prng.below(3) == 0 {
                args.push(pick(prng, &["WITHVALUES", "withvalues", "x", ""]).to_owned());
            }
        }
        "HSCAN" => {
            args.push(pick(prng, &["0", "0", "0", "0", "0", "x", "1x", "-", "99", ""]).to_owned());
            for _ in 0..prng.below(3) {
                match prng.below(8) {
                    0..3 => args.extend(["COUNT".to_owned(), count(prng)]),
                    3..6 => {
                        let pattern = pick(prng, &["*", "f*", "f?", "[0-3]", "many:1*", "", "x"]);
                        args.extend(["match".to_owned(), pattern.to_owned()]);
                    }
                    6 => args.push(pick(prng, &["COUNT", "MATCH", "TYPE", "x", ""]).to_owned()),
                    _ => args.extend(["TYPE".to_owned(), "hash".to_owned()]),
                }
            }
        }
        "HSETNX" => args.extend([field(prng), value(prng)]),
        "SET" if prng.below(3) == 0 => args.push(value(prng)),
        "SET" => args[0] = "TYPE".to_owned(),
        "COPY" => args.extend([key(prng), "REPLACE".to_owned()]),
        "RENAME" => args.push(key(prng)),
        "EXPIRE" => args.push("100000".to_owned()),
        _ => {}
    }
    if prng.below(100) == 0 {
        args.pop();
    }
    // A count by chance may be so far below zero that Redis's reply never ends and takes all memory.
    if prng.below(200) == 0 && name != "HRANDFIELD" {
        args.push(value(prng));
    }
    args.into_iter().map(String::into_bytes).collect()
}

fn key(prng: &mut Prng) -> String {
    format!("h{}", prng.below(KEYS))
}

fn field(prng: &mut Prng) -> String {
    match prng.below(40) {
        0 => String::new(),
        1 => "f".repeat(64),
        2 if prng.below(5) == 0 => "f".repeat(65),
        2..12 => prng.below(6).to_string(),
        _ => format!("f{}", prng.below(12)),
    }
}

fn integer(prng: &mut Prng) -> String {
    const EDGES: &[&str] = &[
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-1",
        "0",
        "-0",
        "01",
        "x",
        "1.0",
    ];
    match prng.below(4) {
        0 => pick(prng, EDGES).to_owned(),
        1 => ((prng.next_u64() as i64) >> prng.below(64)).to_string(),
        _ => (prng.below(200) as i64 - 100).to_string(),
    }
}

fn float(prng: &mut Prng) -> String {
    const EDGES: &[&str] =
        &["inf", "-Infinity", "nan", "1e400", "1e4932", "-1e4932", "0x1p3", " 1", "1 ", "x", "", "."];
    match prng.below(5) {
        0 => pick(prng, EDGES).to_owned(),
        1 => integer(prng),
        _ => format!("{}.{}", prng.below(200) as i64 - 100, prng.below(1000)),
    }
}

fn value(prng: &mut Prng) -> String {
    match prng.below(50) {
        0..10 => integer(prng),
        10..20 => float(prng),
        20..24 => String::new(),
        24 => "v".repeat(64),
        25 if prng.below(4) == 0 => "v".repeat(65),
        _ => (0..prng.below(60)).map(|_| char::from(b'a' + prng.below(3) as u8)).collect(),
    }
}

/// A number of fields that a reply has room for, or a bad one.
fn count(prng: &mut Prng) -> String {
    const BAD: &[&str] =
        &["x", "", "1.5", "-9223372036854775808", "9223372036854775808", "9223372036854775807"];
    match prng.below(10) {
        0 => pick(prng, BAD).to_owned(),
        _ => (prng.below(60) as i64 - 20).to_string(),
    }
}
