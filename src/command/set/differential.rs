//! Random set commands, sent to a real Redis and to the harness, and the data sets' digests compared. Run as
//! `command::differential` is.
//!
//! Members come in no order, so replies that list them are compared sorted. What chance draws is different on both
//! sides: it is compared in number, and the data set is put right afterwards.

use std::collections::VecDeque;

use crate::base::prng::Prng;
use crate::command::debug::DatasetDigest;
use crate::command::differential::{number, pick, Redis};
use crate::command::harness::Harness;
use crate::resp::reply::{as_bulk, elements};

#[test]
#[ignore = "needs a Redis server with enable-debug-command"]
fn set_commands_reply_as_redis_does() {
    let mut pair = Pair { redis: Redis::connect(), shard: Harness::new(), log: VecDeque::new(), refused: 0 };
    pair.redis.run(&words("FLUSHALL"));
    let mut prng = Prng::new(number("SEED", 1));
    for round in 0..number("ROUNDS", 20_000) {
        let args = command(&mut prng);
        pair.compare(&args);
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
    fn compare(&mut self, args: &[Vec<u8>]) {
        let shown: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        self.log.push_front(shown.join(" "));
        self.log.truncate(12);
        let (expected, actual) = (self.redis.run(args), self.shard.run_args(args));
        self.refused += u64::from(expected.starts_with(b"-"));
        let is_error = expected.starts_with(b"-") || actual.starts_with(b"-");
        let same = match args[0].as_slice() {
            _ if is_error => expected == actual,
            b"SMEMBERS" | b"SINTER" | b"SUNION" | b"SDIFF" => sorted(&expected) == sorted(&actual),
            // Few members, or a large count: one page holds them all.
            b"SSCAN" => scanned(&expected) == scanned(&actual),
            b"SPOP" | b"SRANDMEMBER" => self.drawn_alike(args, &expected, &actual),
            _ => expected == actual,
        };
        let (expected, actual) = (expected.escape_ascii(), actual.escape_ascii());
        assert!(same, "expected {expected}, got {actual}, latest first: {:#?}", self.log);
    }

    /// Whether as many members were drawn, distinct ones where they should be. What Redis popped comes back, and goes
    /// on both sides.
    fn drawn_alike(&mut self, args: &[Vec<u8>], expected: &[u8], actual: &[u8]) -> bool {
        let (theirs, ours) = (drawn(expected), drawn(actual));
        if args[0] == b"SPOP" {
            for (popped, side) in [(&theirs, Side::Redis), (&ours, Side::Ringward)] {
                if !popped.is_empty() {
                    let request = [vec![b"SADD".to_vec(), args[1].clone()], popped.clone()].concat();
                    self.run_on(side, &request);
                }
            }
            if !theirs.is_empty() {
                let request = [vec![b"SREM".to_vec(), args[1].clone()], theirs.clone()].concat();
                self.run_on(Side::Redis, &request);
                self.run_on(Side::Ringward, &request);
            }
        }
        let with_repeats = args.get(2).is_some_and(|count| count.starts_with(b"-"));
        let distinct = |members: &[Vec<u8>]| {
            let mut sorted = members.to_vec();
            sorted.sort();
            sorted.windows(2).all(|pair| pair[0] != pair[1])
        };
        expected[0] == actual[0] && theirs.len() == ours.len() && (with_repeats || distinct(&ours))
    }

    fn run_on(&mut self, side: Side, request: &[Vec<u8>]) {
        match side {
            Side::Redis => drop(self.redis.run(request)),
            Side::Ringward => drop(self.shard.run_args(request)),
        }
    }

    fn compare_data(&mut self) {
        let expected = self.redis.run(&words("DEBUG DIGEST"));
        let mut digest = DatasetDigest::default();
        digest.add(self.shard.run("_digest").as_bytes()).unwrap();
        assert_eq!(format!("+{digest}\r\n").as_bytes(), expected, "latest first: {:#?}", self.log);
    }
}

enum Side {
    Redis,
    Ringward,
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn sorted(array: &[u8]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = elements(array).collect();
    sorted.sort();
    sorted
}

/// The cursor and the members.
fn scanned(reply: &[u8]) -> (Option<&[u8]>, Vec<&[u8]>) {
    let mut parts = elements(reply);
    (parts.next(), parts.next().map(sorted).unwrap_or_default())
}

/// The members of an array, or the one that a string is; none of a null.
fn drawn(reply: &[u8]) -> Vec<Vec<u8>> {
    match as_bulk(reply) {
        Some(member) => vec![member.to_vec()],
        None => elements(reply).map(|member| as_bulk(member).expect("a string").to_vec()).collect(),
    }
}

/// A request: mostly sound, with a bad argument now and then.
pub(in crate::command) fn command(prng: &mut Prng) -> Vec<Vec<u8>> {
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
        "SSCAN",
        "SUNION",
        "SUNIONSTORE",
    ];
    let name = pick(prng, NAMES);
    let mut args = vec![name.to_owned()];
    match name {
        "SADD" | "SREM" | "SMISMEMBER" => {
            args.push(key(prng));
            let most = if prng.below(10) == 0 { 300 } else { 6 };
            let kind = prng.below(4);
            args.extend((0..1 + prng.below(most)).map(|_| member(prng, kind)));
        }
        "SISMEMBER" => {
            let kind = prng.below(4);
            args.extend([key(prng), member(prng, kind)]);
        }
        "SMOVE" => {
            let kind = prng.below(4);
            args.extend([key(prng), key(prng), member(prng, kind)]);
        }
        "SPOP" | "SRANDMEMBER" => {
            args.push(key(prng));
            if prng.below(3) > 0 {
                args.push(count(prng));
            }
        }
        "SINTERCARD" => {
            let keys = 1 + prng.below(4);
            args.push(if prng.below(10) == 0 { count(prng) } else { keys.to_string() });
            args.extend((0..keys).map(|_| key(prng)));
            for _ in 0..prng.below(3) {
                args.push(pick(prng, &["LIMIT", "LIMIT", "limit", "LIMITS"]).to_owned());
                args.push(count(prng));
            }
        }
        "SSCAN" => {
            args.push(key(prng));
            args.push(pick(prng, &["0", "0", "0", "0", "x", "", "-"]).to_owned());
            args.extend(["COUNT".to_owned(), "5000".to_owned()]);
            match prng.below(5) {
                0 => args.extend([pick(prng, &["COUNT", "TYPE", "NOVALUES"]).to_owned(), count(prng)]),
                1 => args.extend([
                    "match".to_owned(),
                    pick(prng, &["*", "1*", "m?", "[a-m]*", "\\1", "", "*0"]).to_owned(),
                ]),
                _ => {}
            }
            // Last, so that one page has everything.
            if !args.contains(&"COUNT".to_owned()) || args.last().is_some_and(|last| last.len() < 4) {
                args.extend(["COUNT".to_owned(), "5000".to_owned()]);
            }
        }
        _ => args.extend((0..1 + prng.below(4)).map(|_| key(prng))),
    }
    match prng.below(300) {
        0 => drop(args.pop()),
        1 => args.push(count(prng)),
        // A key of another type, and one less.
        2 => args = vec!["SET".to_owned(), key(prng), "1".to_owned()],
        3..=9 => args = vec!["DEL".to_owned(), key(prng)],
        10..=12 => args = vec!["COPY".to_owned(), key(prng), key(prng), "REPLACE".to_owned()],
        13 => args = vec!["RENAME".to_owned(), key(prng), key(prng)],
        14..=16 => args = vec!["TYPE".to_owned(), key(prng)],
        _ => {}
    }
    args.into_iter().map(String::into_bytes).collect()
}

fn key(prng: &mut Prng) -> String {
    format!("k{}", prng.below(6))
}

/// An integer of one of two ranges, a short or a long string, or something like an integer.
fn member(prng: &mut Prng, kind: u64) -> String {
    match kind {
        0 => prng.below(700).to_string(),
        1 => match prng.below(4) {
            0 => ((prng.next_u64() as i64) >> (8 * prng.below(8))).to_string(),
            1 => {
                pick(prng, &["9223372036854775807", "-9223372036854775808", "9223372036854775808"]).to_owned()
            }
            2 => pick(prng, &["00", "01", "-0", "+1", " 1", "1 ", "", "1.0", "-"]).to_owned(),
            _ => (prng.below(40) as i64 - 20).to_string(),
        },
        2 => format!("m{}", prng.below(300)),
        _ => "x".repeat(prng.below(90) as usize),
    }
}

fn count(prng: &mut Prng) -> String {
    match prng.below(10) {
        0 => pick(prng, &["x", "", "1.5", "01", "-9223372036854775808", "9223372036854775808"]).to_owned(),
        1 => pick(prng, &["-1", "-30", "9223372036854775807"]).to_owned(),
        _ => [prng.below(5), prng.below(50), prng.below(1000)][prng.below(3) as usize].to_string(),
    }
}
