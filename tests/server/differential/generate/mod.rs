//! Random commands: mostly sound, sometimes of the wrong arity, with bad numbers or an option soup.
//!
//! Keys are few and those of all types are the same, so that commands meet and types clash. Lifetimes are far off or
//! long past, so that the servers' clocks need not agree, and no relative one is given twice, so that GT and LT never
//! have to tell two that differ by the clocks alone. No count or offset makes either server take much memory, and
//! nothing waits longer than some milliseconds.

mod bitmap;
mod connection;
mod generic;
mod hash;
mod hyperloglog;
mod list;
mod set;
mod string;
mod transaction;
mod words;
mod zset;

use std::collections::HashSet;

pub(in super::super) use words::Words;

use super::Random;
use words::{key, key_of, odd_time, value, words_of, Family};

/// A command, and which of the clients sends it.
#[derive(Clone)]
pub(in super::super) struct Sent {
    pub(super) by: usize,
    pub(in super::super) words: Words,
}

impl Sent {
    /// By the first client.
    pub(super) fn first(words: Words) -> Sent {
        Sent { by: 0, words }
    }
}

/// What to do next.
pub(super) enum Step {
    /// Commands that may stand in a pipeline.
    Commands(Vec<Sent>),
    /// A whole SCAN, or one of its kin: what stands before the cursor, and the options behind it.
    Scan(Words, Vec<&'static str>),
    /// SPOP: a key, and how many.
    Pop(Vec<u8>, Option<usize>),
    /// A key that expires at once.
    ShortLife(Vec<u8>),
    /// The data's digest, and the values' encodings.
    Digest,
}

pub(in super::super) struct Generator {
    now_s: u64,
    lifetimes: HashSet<u64>,
}

/// Commands that a word more or less may make something else: a count that takes all memory, a long wait, an option
/// that Redis 7.0 does not know, a draw by chance.
const COMPLETE: &[&str] = &[
    "SRANDMEMBER",
    "HRANDFIELD",
    "ZRANDMEMBER",
    "SPOP",
    "BLPOP",
    "BRPOP",
    "BZPOPMIN",
    "BZPOPMAX",
    "BLMPOP",
    "BZMPOP",
    "BRPOPLPUSH",
    "BLMOVE",
    "ZRANK",
    "ZREVRANK",
    // DEBUG SLEEP
    "DEBUG",
];

impl Generator {
    pub(in super::super) fn new(now_s: u64) -> Self {
        Generator { now_s, lifetimes: HashSet::new() }
    }

    pub(super) fn step(&mut self, r: &mut Random) -> Step {
        match r.below(60) {
            0 | 1 => self::scan(r),
            2 => Step::ShortLife(key(r)),
            3 | 4 => Step::Digest,
            5 => Step::Pop(key_of(r, Family::Set), [None, Some(r.below(30))][r.below(2)]),
            _ => {
                let depth = [1, 2, 5, 20, 150][r.below(5)];
                let mut sent = Vec::new();
                while sent.len() < depth {
                    match r.below(40) {
                        0 => sent.extend(self.transaction(r)),
                        1..=3 => sent.push(Sent { by: 1, words: self.command(r) }),
                        _ => sent.push(Sent::first(self.command(r))),
                    }
                }
                Step::Commands(sent)
            }
        }
    }

    pub(in super::super) fn command(&mut self, r: &mut Random) -> Words {
        let mut words = match r.below(80) {
            0..=9 => self.string(r),
            10..=17 => self.generic(r),
            18..=20 => generic::database(r),
            21..=23 => connection::command(r),
            24..=35 => list::command(r),
            36..=47 => set::command(r),
            48..=57 => hash::command(r),
            58..=71 => zset::command(r),
            72..=76 => bitmap::command(r),
            77 | 78 => hyperloglog::command(r),
            _ => transaction::stray(r),
        };
        let is_complete = words.first().is_some_and(|name| COMPLETE.iter().any(|c| c.as_bytes() == name));
        if r.one_in(60) && !is_complete {
            words.pop();
        }
        if r.one_in(60) && !is_complete {
            words.push(value(r));
        }
        if r.one_in(15) {
            words.iter_mut().take(1).for_each(|name| name.make_ascii_lowercase());
        }
        // What is left may be a command that lists everything, which differs from version to version.
        if words.is_empty()
            || words[0].is_empty()
            || words[0].eq_ignore_ascii_case(b"COMMAND") && words.len() < 4
        {
            return words_of(&["PING"]);
        }
        words
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

fn scan(r: &mut Random) -> Step {
    const SOUP: &[&str] =
        &["MATCH", "*", "match", "k*", "COUNT", "10", "count", "1000", "TYPE", "string", "type", "list"];
    const SOUND: &[&[&str]] = &[
        &[],
        &["COUNT", "3"],
        &["MATCH", "k*"],
        &["MATCH", "m*", "COUNT", "7"],
        &["MATCH", "k1", "COUNT", "100"],
        &["TYPE", "string"],
        &["TYPE", "zset"],
        &["TYPE", "list"],
        &["match", "{t}*", "count", "3", "type", "STRING"],
        &["COUNT", "0"],
        &["COUNT", "x"],
        &["MATCH"],
    ];
    let of = match r.below(6) {
        0 | 1 => words_of(&["SCAN"]),
        2 => vec!["HSCAN".into(), key_of(r, Family::Hash)],
        3 => vec!["SSCAN".into(), key_of(r, Family::Set)],
        4 => vec!["ZSCAN".into(), key_of(r, Family::Zset)],
        _ => vec!["SSCAN".into(), key(r)],
    };
    if r.one_in(3) {
        return Step::Scan(of, (0..r.below(5)).map(|_| r.pick(SOUP)).collect());
    }
    Step::Scan(of, SOUND[r.below(SOUND.len())].to_vec())
}
