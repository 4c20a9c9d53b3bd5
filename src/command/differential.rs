//! Random commands, sent to a real Redis and to the harness: the replies must be equal. Run by hand, against a server
//! of its own, which is emptied:
//!
//! ```text
//! redis-server --port 17000 --save '' --bind 127.0.0.1 &
//! REDIS=127.0.0.1:17000 SEED=1 ROUNDS=100000 cargo test --lib differential -- --ignored --nocapture
//! ```
//!
//! Expiries are far off or long past, so that the two clocks need not agree to the millisecond.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::harness::Harness;
use crate::base::prng::Prng;

#[test]
#[ignore = "needs a Redis server"]
fn string_commands_reply_as_redis_does() {
    let mut redis = Redis::connect();
    redis.run(&[b"FLUSHALL".to_vec()]);
    let now = redis.run(&[b"TIME".to_vec()]);
    let seconds: i64 = String::from_utf8_lossy(&now).lines().nth(2).unwrap().parse().unwrap();
    let mut shard = Harness::new();
    shard.now_ms = seconds * 1000;
    let mut prng = Prng::new(number("SEED", 1));
    let (mut log, mut refused) = (String::new(), 0);
    for round in 0..number("ROUNDS", 20_000) {
        let args = command(&mut prng);
        let shown: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        writeln!(log, "{}", shown.join(" ")).unwrap();
        let (expected, actual) = (redis.run(&args), shard.run_args(&args));
        refused += u64::from(expected.starts_with(b"-"));
        let (expected, actual) = (expected.escape_ascii().to_string(), actual.escape_ascii().to_string());
        let history: Vec<_> = log.lines().rev().take(8).collect();
        assert_eq!(actual, expected, "round {round}, latest first: {history:#?}");
    }
    println!("{refused} requests were refused");
}

pub(in crate::command) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A connection that speaks RESP2.
pub(in crate::command) struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    pub(in crate::command) fn connect() -> Redis {
        let address = std::env::var("REDIS").expect("REDIS=host:port");
        Redis { stream: BufReader::new(TcpStream::connect(address).unwrap()) }
    }

    pub(in crate::command) fn run(&mut self, args: &[Vec<u8>]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            write!(request, "${}\r\n", arg.len()).unwrap();
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request).unwrap();
        let mut reply = Vec::new();
        let mut values = 1;
        while values > 0 {
            values -= 1;
            let at = reply.len();
            self.stream.read_until(b'\n', &mut reply).unwrap();
            let number = || std::str::from_utf8(&reply[at + 1..]).unwrap().trim_end().parse::<i64>().unwrap();
            match reply[at] {
                b'*' => values += number().max(0),
                b'$' if number() >= 0 => {
                    let (start, len) = (reply.len(), number() as usize + 2);
                    reply.resize(start + len, 0);
                    self.stream.read_exact(&mut reply[start..]).unwrap();
                }
                _ => {}
            }
        }
        reply
    }
}

/// A Redis and a shard that are given the same requests.
pub(in crate::command) struct Pair {
    pub(in crate::command) redis: Redis,
    pub(in crate::command) shard: Harness,
    log: VecDeque<String>,
}

impl Pair {
    /// Both are empty.
    pub(in crate::command) fn connect() -> Pair {
        let mut pair = Pair { redis: Redis::connect(), shard: Harness::new(), log: VecDeque::new() };
        pair.run(&["FLUSHALL"]);
        pair
    }

    /// Asks Redis only.
    pub(in crate::command) fn run(&mut self, args: &[impl AsRef<[u8]>]) -> Vec<u8> {
        self.redis.run(&args.iter().map(|arg| arg.as_ref().to_vec()).collect::<Vec<_>>())
    }

    /// Asks both; the replies must be equal.
    pub(in crate::command) fn compare(&mut self, args: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().escape_ascii().to_string()).collect();
        self.log.push_front(shown.join(" "));
        self.log.truncate(12);
        let (expected, actual) = (self.run(args), self.shard.run_args(args));
        let shown = |reply: &[u8]| reply.escape_ascii().to_string();
        assert_eq!(shown(&actual), shown(&expected), "latest first: {:#?}", self.log);
        actual
    }
}

pub(in crate::command) fn pick<'a>(prng: &mut Prng, words: &[&'a str]) -> &'a str {
    words[prng.below(words.len() as u64) as usize]
}

/// A request: mostly sound, with a bad argument now and then.
pub(in crate::command) fn command(prng: &mut Prng) -> Vec<Vec<u8>> {
    const NAMES: &[&str] = &[
        "APPEND",
        "DECR",
        "DECRBY",
        "GET",
        "GETDEL",
        "GETEX",
        "GETRANGE",
        "GETSET",
        "INCR",
        "INCRBY",
        "INCRBYFLOAT",
        "LCS",
        "MGET",
        "MSET",
        "MSETNX",
        "PSETEX",
        "SET",
        "SETEX",
        "SETNX",
        "SETRANGE",
        "STRLEN",
        "SUBSTR",
    ];
    let name = pick(prng, NAMES);
    // The float commands come more often: their arguments vary most.
    let name = if prng.below(5) == 0 { "INCRBYFLOAT" } else { name };
    let mut args = vec![name.to_owned(), key(prng)];
    match name {
        "APPEND" | "GETSET" | "SETNX" => args.push(value(prng)),
        "DECRBY" | "INCRBY" => args.push(integer(prng)),
        "INCRBYFLOAT" => args.push(float(prng)),
        "GETEX" => options(prng, &mut args, &["PERSIST", "persist", "KEEPTTL"]),
        "GETRANGE" | "SUBSTR" => args.extend([index(prng), index(prng)]),
        "LCS" => {
            args.push(key(prng));
            for _ in 0..prng.below(4) {
                args.push(pick(prng, &["LEN", "IDX", "IDX", "WITHMATCHLEN", "MINMATCHLEN", "x"]).to_owned());
                if args.last().is_some_and(|last| last == "MINMATCHLEN") {
                    args.push(index(prng));
                }
            }
        }
        "MGET" => args.extend((0..prng.below(5)).map(|_| key(prng))),
        "MSET" | "MSETNX" => {
            for _ in 0..prng.below(3) {
                args.extend([value(prng), key(prng)]);
            }
            if prng.below(20) > 0 {
                args.push(value(prng));
            }
        }
        "SETEX" | "PSETEX" => args.extend([time(prng), value(prng)]),
        "SET" => {
            args.push(value(prng));
            options(prng, &mut args, &["NX", "XX", "GET", "get", "KEEPTTL", "keepttl", "PERSIST"]);
        }
        "SETRANGE" => args.extend([index(prng), value(prng)]),
        _ => {}
    }
    if prng.below(100) == 0 {
        args.pop();
    }
    if prng.below(200) == 0 {
        args.push(value(prng));
    }
    args.into_iter().map(String::into_bytes).collect()
}

fn key(prng: &mut Prng) -> String {
    format!("k{}", prng.below(8))
}

fn options(prng: &mut Prng, args: &mut Vec<String>, words: &[&str]) {
    for _ in 0..prng.below(4) {
        if prng.below(2) == 0 {
            args.push(pick(prng, words).to_owned());
        } else {
            args.extend([pick(prng, &["EX", "PX", "EXAT", "PXAT", "ex", "Pxat"]).to_owned(), time(prng)]);
        }
    }
}

/// A time far away by any option, or a bad one.
fn time(prng: &mut Prng) -> String {
    match prng.below(6) {
        0 => pick(prng, &["0", "-1", "x", "", "1.5", "9223372036854775", "9223372036854776"]).to_owned(),
        1 => pick(prng, &["9223372036854775807", "-9223372036854775808", "9223372036854775808"]).to_owned(),
        _ => (5_000_000_000_000 + prng.below(1000)).to_string(),
    }
}

fn index(prng: &mut Prng) -> String {
    match prng.below(12) {
        0 => pick(prng, &["x", "", "9223372036854775807", "-9223372036854775808", "600000000"]).to_owned(),
        _ => (prng.below(40) as i64 - 20).to_string(),
    }
}

fn integer(prng: &mut Prng) -> String {
    let edges =
        &["9223372036854775807", "-9223372036854775808", "9223372036854775808", "1", "-1", "0", "-0", "x"];
    match prng.below(4) {
        0 => pick(prng, edges).to_owned(),
        1 => ((prng.next_u64() >> prng.below(64)) as i64).to_string(),
        2 => ((prng.next_u64() as i64) >> prng.below(64)).to_string(),
        _ => (prng.below(200) as i64 - 100).to_string(),
    }
}

fn value(prng: &mut Prng) -> String {
    match prng.below(6) {
        0 => integer(prng),
        1 | 2 => float(prng),
        3 => String::new(),
        _ => (0..prng.below(60)).map(|_| char::from(b'a' + prng.below(3) as u8)).collect(),
    }
}

/// A number that strtold reads, or nearly.
fn float(prng: &mut Prng) -> String {
    let mut text = pick(prng, &["", "", "", "-", "+"]).to_owned();
    let digits = |prng: &mut Prng, most, radix| -> String {
        let digit = |prng: &mut Prng| char::from_digit(prng.below(radix) as u32, radix as u32).unwrap();
        (0..prng.below(most)).map(|_| digit(prng)).collect()
    };
    let long = if prng.below(40) == 0 { 5100 } else { 24 };
    let hexadecimal = prng.below(6) == 0;
    let radix = if hexadecimal { 16 } else { 10 };
    if hexadecimal {
        text.push_str(pick(prng, &["0x", "0X"]));
    }
    text.push_str(&digits(prng, long, radix));
    if prng.below(3) > 0 {
        text.push('.');
        text.push_str(&digits(prng, long, radix));
    }
    if prng.below(3) == 0 {
        let reach = [4, 20, 70, 5000, 20_000][prng.below(5) as usize];
        text.push_str(pick(prng, if hexadecimal { &["p", "P"] } else { &["e", "E"] }));
        let exponent = prng.below(2 * reach) as i64 - reach as i64;
        text.push_str(&exponent.to_string());
    }
    match prng.below(60) {
        0 => pick(prng, &["inf", "-Infinity", "nan", "nan(1)", "1e", "0x", ".", "1.5.", " 1", "1 ", "e1"])
            .to_owned(),
        1 => text + pick(prng, &["x", "e", "e+", " ", "p1", "-", "."]),
        _ => text,
    }
}
