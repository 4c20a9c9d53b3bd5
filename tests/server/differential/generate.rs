//! Random commands: mostly sound, sometimes of the wrong arity, with bad numbers or an option soup.
//!
//! Keys are few, so that commands meet. Lifetimes are far off or long past, so that the servers' clocks need not agree,
//! and no relative one is given twice, so that GT and LT never have to tell two that differ by the clocks alone.

use std::collections::HashSet;

use super::Random;

/// What to do next.
pub(super) enum Step {
    /// A command that may stand in a pipeline.
    Command(Vec<Vec<u8>>),
    /// A whole SCAN with these options.
    Scan(Vec<&'static str>),
    /// A key that expires at once.
    ShortLife(Vec<u8>),
    /// The data's digest.
    Digest,
}

pub(super) struct Generator {
    now_s: u64,
    lifetimes: HashSet<u64>,
}

type Words = Vec<Vec<u8>>;

impl Generator {
    pub(super) fn new(now_s: u64) -> Self {
        Generator { now_s, lifetimes: HashSet::new() }
    }

    pub(super) fn step(&mut self, r: &mut Random) -> Step {
        match r.below(60) {
            0 | 1 => {
                const SOUP: &[&str] = &[
                    "MATCH", "*", "match", "k*", "COUNT", "1", "count", "1000", "TYPE", "string", "type",
                    "list",
                ];
                const SOUND: &[&[&str]] = &[
                    &[],
                    &["COUNT", "1"],
                    &["MATCH", "k*"],
                    &["MATCH", "k1", "COUNT", "100"],
                    &["TYPE", "string"],
                    &["TYPE", "list"],
                    &["match", "{t}*", "count", "3", "type", "STRING"],
                    &["COUNT", "0"],
                    &["COUNT", "x"],
                    &["MATCH"],
                ];
                if r.one_in(3) {
                    return Step::Scan((0..r.below(5)).map(|_| r.pick(SOUP)).collect());
                }
                Step::Scan(SOUND[r.below(SOUND.len())].to_vec())
            }
            2 => Step::ShortLife(key(r)),
            3 | 4 => Step::Digest,
            _ => Step::Command(self.command(r)),
        }
    }

    pub(super) fn command(&mut self, r: &mut Random) -> Words {
        let mut words = match r.below(10) {
            0..=4 => self.string(r),
            5..=7 => self.generic(r),
            8 => database(r),
            _ => connection(r),
        };
        if r.one_in(60) {
            words.pop();
        }
        if r.one_in(60) {
            words.push(value(r));
        }
        if r.one_in(15) {
            words.iter_mut().take(1).for_each(|name| name.make_ascii_lowercase());
        }
        // What is left may be a command that lists everything, which differs from version to version.
        if words.is_empty()
            || words[0].is_empty()
            || words[0].eq_ignore_ascii_case(b"COMMAND") && words.len() < 3
        {
            return list(&["PING"]);
        }
        words
    }

    fn string(&mut self, r: &mut Random) -> Words {
        const NAMES: &[&str] = &[
            "APPEND",
            "DECR",
            "DECRBY",
            "GET",
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
            "MSET",
            "MSETNX",
            "PSETEX",
            "SET",
            "SET",
            "SET",
            "SETEX",
            "SETNX",
            "SETRANGE",
            "STRLEN",
            "SUBSTR",
        ];
        let name = r.pick(NAMES);
        let mut words = vec![name.into(), key(r)];
        match name {
            "APPEND" | "GETSET" | "SETNX" => words.push(value(r)),
            "DECRBY" | "INCRBY" => words.push(integer(r)),
            "INCRBYFLOAT" => words.push(float(r)),
            "GETEX" => self.set_options(r, &mut words, &["PERSIST", "persist", "KEEPTTL"]),
            "GETRANGE" | "SUBSTR" => words.extend([index(r), index(r)]),
            "LCS" => {
                words.push(key(r));
                for _ in 0..r.below(4) {
                    let option = r.pick(&["LEN", "IDX", "idx", "WITHMATCHLEN", "MINMATCHLEN", "x"]);
                    words.push(option.into());
                    if option == "MINMATCHLEN" {
                        words.push(index(r));
                    }
                }
            }
            "MGET" => words.extend((0..r.below(8)).map(|_| key(r))),
            "MSET" | "MSETNX" => {
                words.push(value(r));
                for _ in 0..r.below(6) {
                    words.extend([key(r), value(r)]);
                }
            }
            "SETEX" | "PSETEX" => words.extend([self.lifetime(r), value(r)]),
            "SET" => {
                words.push(value(r));
                if r.one_in(2) {
                    self.set_options(
                        r,
                        &mut words,
                        &["NX", "XX", "GET", "get", "KEEPTTL", "keepttl", "PERSIST"],
                    );
                }
            }
            "SETRANGE" => words.extend([index(r), value(r)]),
            _ => {}
        }
        words
    }

    fn generic(&mut self, r: &mut Random) -> Words {
        const NAMES: &[&str] = &[
            "COPY",
            "COPY",
            "DEL",
            "DEL",
            "EXISTS",
            "EXPIRE",
            "PEXPIRE",
            "EXPIREAT",
            "PEXPIREAT",
            "EXPIRETIME",
            "PEXPIRETIME",
            "KEYS",
            "MOVE",
            "OBJECT",
            "PERSIST",
            "RANDOMKEY",
            "RENAME",
            "RENAME",
            "RENAMENX",
            "RENAMENX",
            "TOUCH",
            "TTL",
            "PTTL",
            "TYPE",
            "UNLINK",
            "MEMORY",
            "DEBUG",
        ];
        let name = r.pick(NAMES);
        let mut words: Words = vec![name.into()];
        match name {
            "COPY" => {
                words.extend([key(r), key(r)]);
                for _ in 0..r.below(3) {
                    match r.below(4) {
                        0 => words.push(r.pick(&["REPLACE", "replace", "x"]).into()),
                        1 => words.push("DB".into()),
                        _ => words.extend(["DB".into(), db(r)]),
                    }
                }
            }
            "DEL" | "EXISTS" | "TOUCH" | "UNLINK" => words.extend((0..=r.below(6)).map(|_| key(r))),
            "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" => {
                words.push(key(r));
                let time = match name {
                    "EXPIRE" | "PEXPIRE" if !r.one_in(6) => self.lifetime(r),
                    "EXPIREAT" | "PEXPIREAT" if r.one_in(8) => b"946684800".to_vec(),
                    "EXPIREAT" if !r.one_in(6) => absolute_s(r),
                    "PEXPIREAT" if !r.one_in(6) => [absolute_s(r), b"000".to_vec()].concat(),
                    _ => odd_time(r),
                };
                words.push(time);
                for _ in 0..[0, 0, 1, 1, 2][r.below(5)] {
                    words.push(r.pick(&["NX", "XX", "GT", "LT", "nx", "Gt", "foo"]).into());
                }
            }
            "KEYS" => words.push(
                r.pick(&["*", "k*", "k?", "k[0-3]", "k[^0]", "{t}*", "nothing", "\\k*", "*[", ""]).into(),
            ),
            "MOVE" => words.extend([key(r), db(r)]),
            "OBJECT" => {
                let what =
                    r.pick(&["ENCODING", "ENCODING", "encoding", "REFCOUNT", "IDLETIME", "FREQ", "foo"]);
                words.extend([what.into(), key(r)]);
            }
            "MEMORY" => {
                words.extend(["USAGE".into(), key(r)]);
                if r.one_in(3) {
                    words.extend([r.pick(&["SAMPLES", "samples", "x"]).into(), index(r)]);
                }
            }
            "DEBUG" => words.extend(["DIGEST-VALUE".into(), key(r), key(r)]),
            "RENAME" | "RENAMENX" => words.extend([key(r), key(r)]),
            "RANDOMKEY" => {}
            _ => words.push(key(r)),
        }
        words
    }

    fn set_options(&mut self, r: &mut Random, words: &mut Words, flags: &[&str]) {
        for _ in 0..r.below(4) {
            if r.one_in(2) {
                words.push(r.pick(flags).into());
                continue;
            }
            let name = r.pick(&["EX", "PX", "EXAT", "PXAT", "ex", "Pxat"]);
            words.push(name.into());
            words.push(match name {
                _ if r.one_in(8) => odd_time(r),
                "EXAT" => absolute_s(r),
                "PXAT" | "Pxat" => [absolute_s(r), b"000".to_vec()].concat(),
                _ => self.lifetime(r),
            });
        }
    }

    /// Seconds or milliseconds from now, either far enough off, and at least a minute from any other.
    fn lifetime(&mut self, r: &mut Random) -> Vec<u8> {
        if r.one_in(8) {
            return odd_time(r);
        }
        loop {
            let minutes = 100 + r.next() % 100_000_000;
            if self.lifetimes.insert(minutes) {
                debug_assert!(self.now_s > 0);
                return (minutes * 60_000).to_string().into_bytes();
            }
        }
    }
}

fn list(words: &[&str]) -> Words {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn database(r: &mut Random) -> Words {
    match r.below(24) {
        0..=5 => vec!["SELECT".into(), db(r)],
        6..=9 => list(&["DBSIZE"]),
        10..=15 => vec!["SWAPDB".into(), db(r), db(r)],
        16 => list(&["FLUSHALL"]),
        17 => list(&["FLUSHDB"]),
        18 => list(&[r.pick(&["FLUSHALL", "FLUSHDB"]), r.pick(&["SYNC", "async", "x"])]),
        19 => list(&["TIME"]),
        20 | 21 => list(&["SELECT", "0"]),
        _ => vec!["MGET".into(), key(r), key(r), key(r), key(r), key(r)],
    }
}

fn connection(r: &mut Random) -> Words {
    match r.below(30) {
        0 | 1 => list(&["PING"]),
        2 => vec!["PING".into(), value(r)],
        3 => vec!["ECHO".into(), value(r)],
        4 => list(&["CLIENT", "GETNAME"]),
        5 => {
            vec!["CLIENT".into(), "SETNAME".into(), r.pick(&["", "me", "a b", "x\ny", "\u{e9}", "!~"]).into()]
        }
        6 => list(&["CLIENT", "ID"]),
        7 => list(&["CLIENT", "NO-EVICT", r.pick(&["on", "OFF", "x"])]),
        8 => list(&["CLIENT", "REPLY", r.pick(&["ON", "x"])]),
        9 => list(&["CLIENT", "KILL", r.pick(&["1.2.3.4:5", "ID", "x"])]),
        10 => list(&[
            "CLIENT",
            "KILL",
            r.pick(&["ID", "ADDR", "TYPE", "USER", "SKIPME", "LADDR", "x"]),
            r.pick(&["123456789", "0", "x", "-1"]),
        ]),
        11 => list(&["CLIENT", "LIST", r.pick(&["ID", "TYPE", "x"]), r.pick(&["987654321", "x", "master"])]),
        12 => list(&["CLIENT", "UNBLOCK", r.pick(&["987654321", "x"]), r.pick(&["TIMEOUT", "ERROR", "x"])]),
        13 => list(&["CLIENT", "PAUSE", r.pick(&["0", "x", "-1"]), r.pick(&["WRITE", "ALL", "x"])]),
        14 => list(&["CLIENT", "UNPAUSE"]),
        15 => list(&["CLIENT", r.pick(&["foo", "GETNAM", "", "REPLY"])]),
        16 | 17 => list(&["HELLO", r.pick(&["2", "3", "3", "3"])]),
        18 => list(&["HELLO", r.pick(&["1", "4", "x", "", "99999999999999999999"])]),
        19 => list(&[
            "HELLO",
            "3",
            r.pick(&["AUTH", "x"]),
            r.pick(&["me", "a b", "default"]),
            r.pick(&["pw", "SETNAME"]),
        ]),
        20 => list(&["HELLO", "2", "SETNAME", r.pick(&["me", "a b", ""])]),
        21 => list(&["RESET"]),
        22 => list(&["AUTH", r.pick(&["pw", ""])]),
        23 => list(&["AUTH", r.pick(&["default", "nobody"]), "pw"]),
        24 => vec![
            r.pick(&["FOO", "GE", "get ", "x\r\ny", "*", &"n".repeat(200)]).into(),
            integer(r),
            key(r),
            integer(r),
        ],
        25 => vec![
            "COMMAND".into(),
            "GETKEYS".into(),
            r.pick(&["MSET", "GET", "COPY", "PING", "foo", "DEL", "OBJECT"]).into(),
            key(r),
            key(r),
        ],
        26 => list(&["COMMAND", r.pick(&["foo", "GETKEYS"]), "x"]),
        27 => list(&["OBJECT", r.pick(&["foo", "ENCODING", "HELPx"])]),
        28 => list(&["DEBUG", r.pick(&["foo", "SLEEP", "DIGEST-VALUE", "SET-ACTIVE-EXPIRE"])]),
        _ => list(&["HELLO"]),
    }
}

fn key(r: &mut Random) -> Vec<u8> {
    match r.below(16) {
        0 => r.pick(&["", "{t}1", "{t}2", "{}x", "a key", "\u{0}\u{1}"]).into(),
        n => format!("k{n}").into_bytes(),
    }
}

fn db(r: &mut Random) -> Vec<u8> {
    match r.below(12) {
        0 => r.pick(&["16", "-1", "x", "", "99999999999", "2147483648", "01", "15", "7"]).into(),
        n => (n % 3).to_string().into_bytes(),
    }
}

/// Seconds since 1970, beyond any relative lifetime, the same value now and then. Never past: a key that SET makes
/// expired counts in DBSIZE until one or the other server happens to remove it.
fn absolute_s(r: &mut Random) -> Vec<u8> {
    format!("9{}000000000", r.below(8)).into_bytes()
}

fn odd_time(r: &mut Random) -> Vec<u8> {
    const ODD: &[&str] = &[
        "0",
        "-1",
        "-100",
        "x",
        "",
        "1.5",
        " 1",
        "9223372036854775",
        "9223372036854776",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775",
        "+1",
    ];
    r.pick(ODD).into()
}

fn index(r: &mut Random) -> Vec<u8> {
    match r.below(16) {
        // Nothing between the small and the refused: it would take half a gigabyte.
        0 => r
            .pick(&["x", "", "9223372036854775807", "-9223372036854775808", "600000000", "1.0", "-0", "+3"])
            .into(),
        1 => (r.below(400)).to_string().into_bytes(),
        _ => (r.below(40) as i64 - 20).to_string().into_bytes(),
    }
}

fn integer(r: &mut Random) -> Vec<u8> {
    const EDGES: &[&str] = &[
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1",
        "-1",
        "0",
        "-0",
        "x",
        "",
        "007",
        " 1",
        "1 ",
        "10000",
        "9999",
        "+5",
    ];
    match r.below(4) {
        0 => r.pick(EDGES).into(),
        1 => ((r.next() as i64) >> r.below(64)).to_string().into_bytes(),
        _ => (r.below(200) as i64 - 100).to_string().into_bytes(),
    }
}

fn float(r: &mut Random) -> Vec<u8> {
    const ODD: &[&str] = &[
        "inf",
        "-inf",
        "nan",
        "1e400",
        "-1e5000",
        "x",
        "",
        " 1",
        "1 ",
        ".",
        "1.",
        ".5",
        "0x10",
        "-0x1.8p3",
        "1e",
        "3.0e3",
        "5.0e-320",
        "1e17",
        "123456789012345678",
        "0.1",
        "-0.0",
        "1e-20",
        "infinity",
    ];
    match r.below(4) {
        0 => r.pick(ODD).into(),
        1 => integer(r),
        _ => {
            let (whole, part) = (r.below(100_000) as i64 - 50_000, r.below(10_000_000));
            format!("{whole}.{part}").into_bytes()
        }
    }
}

fn value(r: &mut Random) -> Vec<u8> {
    let letters = |r: &mut Random, len: usize| (0..len).map(|_| b'a' + r.below(3) as u8).collect();
    match r.below(12) {
        0..=2 => integer(r),
        3 | 4 => float(r),
        5 => Vec::new(),
        // Where encodings change.
        6 => {
            let len = [20, 21, 43, 44, 45, 64][r.below(6)];
            letters(r, len)
        }
        7 => (0..r.below(30)).map(|_| r.next() as u8).collect(),
        8 => {
            let len = r.below(300);
            letters(r, len)
        }
        _ => {
            let len = r.below(12);
            letters(r, len)
        }
    }
}
