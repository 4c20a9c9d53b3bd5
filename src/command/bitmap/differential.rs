//! Random bitmap commands, sent to a real Redis and to the harness: replies, and now and then all values and their
//! encodings, must be equal. Run as `command::differential` is.

use crate::base::prng::Prng;
use crate::command::differential::{number, pick, Pair};

const KEYS: &[&str] = &["a", "b", "c", "d"];

#[test]
#[ignore = "needs a Redis server"]
fn bitmap_commands_reply_as_redis_does() {
    let mut pair = Pair::connect();
    let mut prng = Prng::new(number("SEED", 1));
    for round in 0..number("ROUNDS", 20_000) {
        let args = command(&mut prng);
        if is_lax(&mut pair, &args) {
            continue;
        }
        pair.compare(&args);
        if round % 8 == 0 {
            for key in KEYS {
                pair.compare(&["GET", key]);
                pair.compare(&["OBJECT", "ENCODING", key]);
            }
        }
    }
}

/// Whether Redis 7.0 looks at fewer arguments than 7.2: at none where there is no key, and not at the unit where the
/// range is empty anyway.
fn is_lax(pair: &mut Pair, args: &[String]) -> bool {
    let is_negative = |at: usize| args.get(at).is_some_and(|index| index.starts_with('-'));
    match &*args[0] {
        "BITCOUNT" | "BITPOS" if args.len() < 2 => false,
        "BITCOUNT" if args.len() == 5 && is_negative(2) && is_negative(3) => true,
        "BITCOUNT" | "BITPOS" => pair.run(&["EXISTS", &args[1]]) == b":0\r\n",
        _ => false,
    }
}

/// A request: mostly sound, with a bad argument now and then.
pub(in crate::command) fn command(prng: &mut Prng) -> Vec<String> {
    let name = pick(
        prng,
        &[
            "SETBIT",
            "GETBIT",
            "BITCOUNT",
            "BITPOS",
            "BITOP",
            "BITFIELD",
            "BITFIELD",
            "BITFIELD_RO",
            "SET",
            "DEL",
        ],
    );
    let mut args = vec![name.to_owned(), pick(prng, KEYS).to_owned()];
    match name {
        "SETBIT" => args.extend([offset(prng), pick(prng, &["0", "1", "1", "2", "-1", "x"]).to_owned()]),
        "GETBIT" => args.push(offset(prng)),
        "BITCOUNT" => range(prng, &mut args),
        "BITPOS" => {
            args.push(pick(prng, &["0", "1", "0", "1", "0", "1", "2", "x"]).to_owned());
            range(prng, &mut args);
        }
        "BITOP" => {
            args[1] = pick(prng, &["AND", "or", "XOR", "not", "NOT", "NAND"]).to_owned();
            let sources =
                if args[1].eq_ignore_ascii_case("not") { 1 + prng.below(8) / 7 } else { prng.below(4) };
            args.extend((0..=sources).map(|_| pick(prng, KEYS).to_owned()));
        }
        "BITFIELD" | "BITFIELD_RO" => {
            for _ in 0..prng.below(4) {
                field(prng, name == "BITFIELD_RO", &mut args);
            }
        }
        "SET" => args.push(match prng.below(3) {
            0 => (prng.next_u64() >> prng.below(64)).to_string(),
            // Redis counts bits of long strings by other means than those of short ones.
            1 => pick(prng, &["\u{7f}", "\0", "\x01"]).repeat(prng.below(300) as usize),
            _ => (0..prng.below(40)).map(|_| char::from(prng.below(128) as u8)).collect(),
        }),
        _ => {}
    }
    if prng.below(100) == 0 {
        args.pop();
    }
    if prng.below(100) == 0 {
        args.push(pick(prng, &["x", "", "1", "BIT"]).to_owned());
    }
    args
}

fn field(prng: &mut Prng, only_get: bool, args: &mut Vec<String>) {
    const WORDS: &[&str] = &["GET", "SET", "INCRBY", "OVERFLOW", "get", "set", "incrby", "overflow"];
    let word = if only_get && prng.below(20) > 0 { "GET" } else { pick(prng, WORDS) };
    args.push(word.to_owned());
    if word.eq_ignore_ascii_case("overflow") {
        args.push(pick(prng, &["WRAP", "SAT", "FAIL", "sat", "fail", "FAIL", "x"]).to_owned());
        return;
    }
    args.push(match prng.below(30) {
        0 => pick(prng, &["u64", "i65", "i0", "u", "", "8", "i08", "I8", "u-1"]).to_owned(),
        1..6 => pick(prng, &["i64", "u63", "i1", "u1"]).to_owned(),
        _ => format!("{}{}", pick(prng, &["u", "i"]), 1 + prng.below(63)),
    });
    args.push(match prng.below(30) {
        0 => pick(prng, &["#", "#-1", "##1", "#x", "#9223372036854775807", "#4294967296"]).to_owned(),
        1..10 => format!("#{}", prng.below(6)),
        _ => offset(prng),
    });
    if !word.eq_ignore_ascii_case("get") {
        args.push(match prng.below(12) {
            0 => pick(prng, &["x", "", "9223372036854775807", "-9223372036854775808", "9223372036854775808"])
                .to_owned(),
            1..4 => ((prng.next_u64() as i64) >> prng.below(64)).to_string(),
            _ => (prng.below(20) as i64 - 10).to_string(),
        });
    }
}

fn range(prng: &mut Prng, args: &mut Vec<String>) {
    let index = |prng: &mut Prng| match prng.below(16) {
        0 => pick(prng, &["x", "", "9223372036854775807", "-9223372036854775808", "1.5"]).to_owned(),
        1..4 => (prng.below(2000) as i64 - 1000).to_string(),
        _ => (prng.below(60) as i64 - 30).to_string(),
    };
    for _ in 0..[0, 1, 2, 2, 3, 3, 3][prng.below(7) as usize] {
        let arg = index(prng);
        args.push(arg);
    }
    if args.len() % 3 == 2 {
        args.pop();
        args.push(pick(prng, &["BIT", "BYTE", "bit", "BITS"]).to_owned());
    }
    if args[0] == "BITPOS" && args.len() == 6 {
        args[5] = pick(prng, &["BIT", "BYTE", "Byte", "bits"]).to_owned();
    }
}

fn offset(prng: &mut Prng) -> String {
    match prng.below(30) {
        0 => pick(prng, &["x", "", "-1", "4294967296", "9223372036854775807", "1.5", "01"]).to_owned(),
        1 => prng.below(4000).to_string(),
        _ => prng.below(120).to_string(),
    }
}
