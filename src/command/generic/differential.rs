//! Random generic commands, sent to a real Redis and to the harness, and the data sets' digests compared. Run as
//! `command::differential` is.
//!
//! The clocks of the two differ by the time that a command takes, so times are compared with some tolerance, relative
//! times are never chosen twice, and no key comes of age.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::ids::DbIndex;
use crate::base::prng::Prng;
use crate::command::debug::DatasetDigest;
use crate::command::differential::{number, pick, Redis};
use crate::command::harness::Harness;
use crate::resp::reply::{as_int, elements};

const DATABASES: u64 = 4;

#[test]
#[ignore = "needs a Redis server with enable-debug-command"]
fn generic_commands_reply_as_redis_does() {
    let mut pair = Pair { redis: Redis::connect(), shard: Harness::new(), log: VecDeque::new() };
    pair.redis.run(&args("FLUSHALL"));
    let mut prng = Prng::new(number("SEED", 1));
    for round in 0..number("ROUNDS", 20_000) {
        let line = command(&mut prng, round);
        pair.compare(&line);
        if round % 16 == 0 {
            pair.compare_data();
        }
    }
}

struct Pair {
    redis: Redis,
    shard: Harness,
    log: VecDeque<String>,
}

impl Pair {
    fn compare(&mut self, line: &str) {
        self.log.push_front(line.to_owned());
        self.log.truncate(12);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.shard.now_ms = now.as_millis() as i64;

        let request = args(line);
        let expected = self.redis.run(&request);
        let actual = match request[0].as_slice() {
            b"SELECT" => {
                self.shard.db = DbIndex(String::from_utf8_lossy(&request[1]).parse().unwrap());
                b"+OK\r\n".to_vec()
            }
            _ => self.shard.run_args(&request),
        };
        let same = match (request[0].as_slice(), as_int(&expected), as_int(&actual)) {
            (b"TTL" | b"EXPIRETIME", Some(expected), Some(actual)) => expected.abs_diff(actual) <= 1,
            (b"PTTL" | b"PEXPIRETIME", Some(expected), Some(actual)) => expected.abs_diff(actual) <= 1000,
            // Each draws from its own dice; whether there is a key is the same.
            (b"RANDOMKEY", ..) => expected.starts_with(b"$-1") == actual.ends_with(b"$-1\r\n"),
            (b"KEYS", ..) => sorted(&expected) == sorted(&actual),
            // So few keys that one page holds them all.
            (b"SCAN", ..) if expected.starts_with(b"*") => scanned(&expected) == scanned(&actual),
            _ => expected == actual,
        };
        let (expected, actual) = (expected.escape_ascii(), actual.escape_ascii());
        assert!(same, "expected {expected}, got {actual}, latest first: {:#?}", self.log);
    }

    fn compare_data(&mut self) {
        let expected = self.redis.run(&args("DEBUG DIGEST"));
        let mut digest = DatasetDigest::default();
        digest.add(self.shard.run("_digest").as_bytes()).unwrap();
        assert_eq!(format!("+{digest}\r\n").as_bytes(), expected, "latest first: {:#?}", self.log);
        let expected = self.redis.run(&args("DEBUG DIGEST-VALUE a b c d e"));
        let actual = self.shard.run("_digest_value a b c d e");
        assert_eq!(actual.as_bytes(), expected, "latest first: {:#?}", self.log);
        for key in ["a", "b", "c"] {
            let expected = self.redis.run(&args(&format!("DEBUG OBJECT {key}")));
            let actual = self.shard.run(&format!("_object {key}"));
            assert_eq!(described(actual.as_bytes()), described(&expected), "latest first: {:#?}", self.log);
        }
    }
}

fn args(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn sorted(array: &[u8]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = elements(array).collect();
    sorted.sort();
    sorted
}

/// The cursor and the keys.
fn scanned(reply: &[u8]) -> (Option<&[u8]>, Vec<&[u8]>) {
    let mut parts = elements(reply);
    (parts.next(), parts.next().map(sorted).unwrap_or_default())
}

/// What DEBUG OBJECT says of encoding and length.
fn described(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    match text.split_once(" encoding") {
        Some((_, tail)) => tail.split(" lru").next().unwrap().to_owned(),
        None => text.into_owned(),
    }
}

pub(in crate::command) fn command(prng: &mut Prng, round: u64) -> String {
    const KEYS: &[&str] = &["a", "b", "c", "d", "e", "ab", "{x}1"];
    const DB: &[&str] = &["0", "1", "2", "3", "16", "-1", "x", "99999999999", "2147483648", "01"];
    const CONDITIONS: &[&str] = &[
        "", "", " NX", " XX", " gt", " LT", " XX GT", " xx LT", " NX XX", " GT LT", " lt nx", " foo",
        " NX foo",
    ];
    const ABSOLUTE: &[&str] = &["4000000000", "5000000000", "6000000000", "1", "0", "-7"];
    const ABSURD: &[&str] =
        &["9223372036854775807", "-9223372036854775808", "9223372036854775", "1.5", "x", ""];
    let key = |prng: &mut Prng| pick(prng, KEYS);
    let (one, two) = (key(prng), key(prng));
    let condition = pick(prng, CONDITIONS);
    let relative = 1_000_000 + (prng.below(1000) * 1_000_000 + round) * 10;
    match prng.below(34) {
        0..=5 => {
            let value =
                pick(prng, &["1", "12345", "-9", "text", "9223372036854775807", "", "00", "longer-than-11"]);
            format!("SET {one} {value}")
        }
        6 => format!("APPEND {one} {}", pick(prng, &["1", "tail"])),
        7 => {
            let db = prng.below(DATABASES);
            format!("SELECT {db}")
        }
        8 => format!("{} {one} {two} {}", pick(prng, &["DEL", "UNLINK"]), key(prng)),
        9 => format!("{} {one} {two} {one}", pick(prng, &["EXISTS", "TOUCH"])),
        10 => format!("EXPIRE {one} {relative}{condition}"),
        11 => format!("PEXPIRE {one} {}{condition}", relative * 1000),
        12 | 13 => format!("EXPIREAT {one} {}{condition}", pick(prng, ABSOLUTE)),
        14 | 15 => {
            let zeros = pick(prng, &["", "000"]);
            format!(
                "PEXPIREAT {one} {}{zeros}{condition}",
                pick(prng, &["4000000000000", "5000000000500", "3"])
            )
        }
        16 => {
            let name = pick(prng, &["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]);
            format!("{name} {one} {}{condition}", pick(prng, ABSURD))
        }
        17 => format!("EXPIRE {one} {}{condition}", pick(prng, &["0", "-1", "-100000"])),
        18..=20 => {
            let name = pick(prng, &["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "TYPE", "PERSIST"]);
            format!("{name} {one}")
        }
        21 => format!("{} {one} {two}", pick(prng, &["RENAME", "RENAMENX"])),
        22 | 23 => {
            let options = [
                format!(" DB {}", pick(prng, DB)),
                " REPLACE".to_owned(),
                " replace DB 1".to_owned(),
                " DB".to_owned(),
                " FOO".to_owned(),
                String::new(),
            ];
            format!("COPY {one} {two}{}", options[prng.below(6) as usize])
        }
        24 => format!("MOVE {one} {}", pick(prng, DB)),
        25 => {
            // Databases beyond the few in use are swapped back by nobody.
            let (one, two) = (pick(prng, &DB[..4]), pick(prng, DB));
            match prng.below(2) {
                0 => format!("SWAPDB {one} {two}"),
                _ => format!("SWAPDB {two} {one}"),
            }
        }
        26 => match prng.below(8) {
            0 => {
                let name = pick(prng, &["FLUSHDB", "FLUSHALL"]);
                format!("{name}{}", pick(prng, &["", " SYNC", " async", " foo", " SYNC SYNC"]))
            }
            _ => "DBSIZE".to_owned(),
        },
        27 => "DBSIZE".to_owned(),
        28 => "RANDOMKEY".to_owned(),
        29 | 30 => format!(
            "KEYS {}",
            pick(prng, &["*", "a*", "?", "[a-c]", "[^a]", "{x}?", "**", "", "[", "\\a", "[b-"])
        ),
        31 | 32 => {
            let cursor =
                pick(prng, &["0", "0", "0", "", "+0", "-0", "x", " 0", "18446744073709551616", "0x1"]);
            let mut line = format!("SCAN {cursor} COUNT 1000");
            for _ in 0..prng.below(3) {
                line += pick(
                    prng,
                    &[
                        " MATCH a*",
                        " match *",
                        " TYPE string",
                        " type LIST",
                        " COUNT 0",
                        " COUNT x",
                        " COUNT",
                        " FOO 1",
                    ],
                );
            }
            line
        }
        _ => format!("OBJECT {} {one}", pick(prng, &["ENCODING", "FREQ", "encoding"])),
    }
}
