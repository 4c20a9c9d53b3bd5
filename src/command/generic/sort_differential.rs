//! Random SORTs, sent to a real Redis and to the harness: the replies must be equal. Run as `command::differential` is.
//!
//! Left out is the order of elements whose weights are equal as bytes, which Redis leaves to chance, and what is out of
//! a double's range: once it has seen such a number, Redis 7.0 finds fault with all others, too.

use crate::base::prng::Prng;
use crate::command::differential::{number, pick, Pair};

#[test]
#[ignore = "needs a Redis server"]
fn sort_replies_as_redis_does() {
    let mut pair = Pair::connect();
    let mut prng = Prng::new(number("SEED", 1));
    let mut refused = 0;
    for _ in 0..number("ROUNDS", 20_000) {
        let line = command(&mut prng);
        let args: Vec<Vec<u8>> = line.split(' ').map(|word| word.replace('~', " ").into_bytes()).collect();
        refused += u64::from(pair.compare(&args).starts_with(b"-"));
        if line.contains("STORE d") {
            // Redis 7.0 calls every list a quicklist, so encodings are not compared.
            if pair.compare(&["TYPE", "d"]) == b"+list\r\n" {
                pair.compare(&["LRANGE", "d", "0", "-1"]);
            }
        }
    }
    println!("{refused} requests were refused");
}

/// A request; `~` stands for a blank.
pub(in crate::command) fn command(prng: &mut Prng) -> String {
    let element = element(prng);
    let (list, set) = (pick(prng, &["l", "l2", "d"]), pick(prng, &["s", "s2"]));
    match prng.below(24) {
        0 | 1 => format!("RPUSH {list} {element}"),
        2 => format!("LPUSH {list} {element}"),
        3 | 4 => format!("SADD {set} {}", prng.below(40) as i64 - 20),
        5 | 6 => format!("ZADD z {} {}", prng.below(9), prng.below(40) as i64 - 20),
        7 => format!("SET {}{element} {}", pick(prng, &["w", "v"]), self::element(prng)),
        8 => format!(
            "HSET {}{element} {} {}",
            pick(prng, &["h", "w"]),
            pick(prng, &["f", "g"]),
            self::element(prng)
        ),
        9 => format!("DEL {}", pick(prng, &["l", "l2", "s", "s2", "z", "d", "w1", "w2"])),
        10 => format!("DEL {}{element}", pick(prng, &["w", "w", "h"])),
        _ => sort(prng),
    }
}

fn sort(prng: &mut Prng) -> String {
    let name = pick(prng, &["SORT", "SORT", "SORT", "SORT_RO"]);
    let mut line =
        format!("{name} {}", pick(prng, &["l", "l", "l2", "s", "s2", "z", "z", "d", "none", "w1"]));
    let mut alpha = prng.below(2) == 0;
    for _ in 0..prng.below(5) {
        line += &match prng.below(12) {
            0 => " ASC".to_owned(),
            1 | 2 => " desc".to_owned(),
            3 | 4 => {
                let index = |prng: &mut Prng| match prng.below(12) {
                    0 => pick(prng, &["x", "-5", "9223372036854775807", "-9223372036854775808"]).to_owned(),
                    _ => (prng.below(9) as i64 - 1).to_string(),
                };
                format!(" LIMIT {} {}", index(prng), index(prng))
            }
            5 => " STORE d".to_owned(),
            6 | 7 => {
                // Weights that are equal as bytes would leave the order to chance.
                alpha = false;
                format!(" BY {}", pick(prng, &["w*", "h*->f", "nosort", "#", "w*->f", "x*", "*"]))
            }
            8..=10 => format!(
                " GET {}",
                pick(prng, &["w*", "#", "h*->f", "h*->g", "n", "*", "h*->", "v*", "h*", "l*"])
            ),
            _ => pick(prng, &[" FOO", " BY", " GET", " LIMIT 1", " STORE"]).to_owned(),
        };
    }
    if alpha && !line.contains(" BY ") {
        line += " ALPHA";
    }
    line
}

/// What is a number more or less.
fn element(prng: &mut Prng) -> String {
    match prng.below(20) {
        0 => pick(
            prng,
            &[
                "a", "b", "1x", "~1", "1~", "inf", "-inf", "nan", "0x1f", "+5", ".5", "5.", "1e", "~", "0x",
                "infinity", "00", "1e3",
            ],
        )
        .to_owned(),
        1 | 2 => format!("{}.{}", prng.below(9), prng.below(99)),
        _ => (prng.below(20) as i64 - 10).to_string(),
    }
}
