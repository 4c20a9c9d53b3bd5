//! Commands on keys of any type, and on databases.

use super::words::{absolute_s, db, index, key, odd_time, words_of, Words};
use super::{Generator, Random};

impl Generator {
    pub(super) fn generic(&mut self, r: &mut Random) -> Words {
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
            "DEL" | "EXISTS" | "TOUCH" | "UNLINK" => words.extend((0..=r.below(3)).map(|_| key(r))),
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
}

pub(super) fn database(r: &mut Random) -> Words {
    match r.below(24) {
        0..=5 => vec!["SELECT".into(), db(r)],
        6..=9 => words_of(&["DBSIZE"]),
        10..=15 => vec!["SWAPDB".into(), db(r), db(r)],
        16 => words_of(&["FLUSHALL"]),
        17 => words_of(&["FLUSHDB"]),
        18 => words_of(&[r.pick(&["FLUSHALL", "FLUSHDB"]), r.pick(&["SYNC", "async", "x"])]),
        19 => words_of(&["TIME"]),
        20 | 21 => words_of(&["SELECT", "0"]),
        _ => vec!["MGET".into(), key(r), key(r), key(r), key(r), key(r)],
    }
}
