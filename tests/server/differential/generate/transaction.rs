//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use super::words::{key, words_of, Words};
use super::{Generator, Random, Sent};

/// Who is the other client, who meddles.
const OTHER: usize = 1;

impl Generator {
    /// A transaction of the first client, perhaps with keys that it watches and commands of the other between its own.
    pub(in super::super::super) fn transaction(&mut self, r: &mut Random) -> Vec<Sent> {
        let mut all = Vec::new();
        if r.one_in(2) {
            let mut words = words_of(&["WATCH"]);
            words.extend((0..=r.below(3)).map(|_| key(r)));
            all.push(Sent::first(words));
            if r.one_in(6) {
                all.push(Sent::first(words_of(&["UNWATCH"])));
            }
            if r.one_in(4) {
                all.push(Sent::first(self.command(r)));
            }
            if r.one_in(3) {
                all.push(Sent { by: OTHER, words: self.command(r) });
            }
        }
        all.push(Sent::first(words_of(&["MULTI"])));
        for _ in 0..[0, 1, 2, 5, 12][r.below(5)] {
            all.push(Sent::first(self.command(r)));
            if r.one_in(20) {
                all.push(Sent { by: OTHER, words: self.command(r) });
            }
        }
        all.push(Sent::first(words_of(&[if r.one_in(8) { "DISCARD" } else { "EXEC" }])));
        all
    }
}

/// One of the commands where it may have no place.
pub(super) fn stray(r: &mut Random) -> Words {
    match r.below(10) {
        0 => words_of(&["MULTI"]),
        1..=3 => words_of(&["EXEC"]),
        4..=6 => words_of(&["DISCARD"]),
        7 => words_of(&["UNWATCH"]),
        _ => vec!["WATCH".into(), key(r)],
    }
}
