//! Strings.

use super::words::{absolute_s, float, index, integer, key, key_of, odd_time, value, Family, Words};
use super::{Generator, Random};

impl Generator {
    pub(super) fn string(&mut self, r: &mut Random) -> Words {
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
        let mut words = vec![name.into(), key_of(r, Family::String)];
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
}
