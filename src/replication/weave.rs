//! Transactions with commands that concern whole databases: FLUSHALL, FLUSHDB, SWAPDB.
//!
//! Such a command stands in the stream of every shard, each of which does it to its own keys. Where the parts of a
//! transaction become one, for a node with other shards, it is to be done once and to all, after what stands before it
//! in any part and before what stands after it. Every part has all of them, and in the same order: so the parts are cut
//! at each, and woven.

use crate::base::ids::DbIndex;
use crate::base::num::parse_u64;
use crate::journal::scan::{Scanned, Scanner};
use crate::journal::Sink;

/// One part, cut.
#[derive(Debug, Default)]
struct Cut {
    /// What stands before each of the commands: from where to where, and in which database.
    before: Vec<(usize, usize, DbIndex)>,
    /// The commands themselves, and their databases.
    whole: Vec<(usize, usize, DbIndex)>,
}

/// The parts of one transaction, one after the other, as one. Database 0 is selected before and after each, and then
/// before and after the whole.
pub fn weave(parts: &[Box<[u8]>], out: &mut Vec<u8>) {
    let cuts: Vec<Cut> = parts.iter().map(|part| cut(part)).collect();
    let times = cuts.iter().map(|cut| cut.whole.len()).max().unwrap_or(0);
    if times == 0 {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        return;
    }
    let mut db = DbIndex(0);
    for at in 0..=times {
        for (part, cut) in parts.iter().zip(&cuts) {
            let Some(&(from, to, selected)) = cut.before.get(at) else { continue };
            if from < to {
                select(out, &mut db, selected);
                out.extend_from_slice(&part[from..to]);
                db = cut.whole.get(at).map_or(DbIndex(0), |&(_, _, db)| db);
            }
        }
        let mut commands =
            parts.iter().zip(&cuts).filter_map(|(part, cut)| Some((part, *cut.whole.get(at)?)));
        if let Some((part, (from, to, selected))) = commands.next() {
            select(out, &mut db, selected);
            out.extend_from_slice(&part[from..to]);
        }
    }
    select(out, &mut db, DbIndex(0));
}

fn select(out: &mut Vec<u8>, db: &mut DbIndex, to: DbIndex) {
    if *db != to {
        out.command(["SELECT", &to.0.to_string()]);
        *db = to;
    }
}

fn cut(part: &[u8]) -> Cut {
    let mut cut = Cut::default();
    let mut scanner = Scanner::new(0);
    scanner.feed(part, 0);
    let (mut begun, mut db) = ((0, DbIndex(0)), DbIndex(0));
    loop {
        let from = scanner.at() as usize;
        // It was whole when it was read from its stream; were it not, the rest would be left as it is.
        let Ok(Some(Scanned::Command)) = scanner.scan() else { break };
        let (args, to) = (scanner.args(), scanner.at() as usize);
        match args.at(0).len() {
            6 if args.is(0, "select") => {
                let number = args.get(1).and_then(parse_u64).and_then(|number| u16::try_from(number).ok());
                db = DbIndex(number.unwrap_or(0));
            }
            6..=8 if args.is(0, "swapdb") || args.is(0, "flushdb") || args.is(0, "flushall") => {
                cut.before.push((begun.0, from, begun.1));
                cut.whole.push((from, to, db));
                begun = (to, db);
            }
            _ => {}
        }
    }
    cut.before.push((begun.0, part.len(), begun.1));
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lines: &[&str]) -> Box<[u8]> {
        let mut out = Vec::new();
        lines.iter().for_each(|line| out.command(line.split(' ')));
        out.into()
    }

    #[track_caller]
    fn check(parts: &[&[&str]], expected: &[&str]) {
        let parts: Vec<_> = parts.iter().map(|lines| part(lines)).collect();
        let mut out = Vec::new();
        weave(&parts, &mut out);
        let expected = part(expected);
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn what_concerns_one_shard_stays_as_it_is() {
        check(
            &[&["SET a 1", "SELECT 2", "SET b 1", "SELECT 0"], &["SET c 1"], &[]],
            &["SET a 1", "SELECT 2", "SET b 1", "SELECT 0", "SET c 1"],
        );
        check(&[], &[]);
    }

    #[test]
    fn what_concerns_all_is_done_once() {
        check(&[&["SWAPDB 0 1"], &["SWAPDB 0 1"]], &["SWAPDB 0 1"]);
        check(&[&["flushall async"], &["flushall async"], &["flushall async"]], &["flushall async"]);
    }

    #[test]
    fn and_between_what_stands_before_and_after_it() {
        check(
            &[&["SET a 1", "FLUSHALL", "SET b 1"], &["SET c 1", "FLUSHALL"], &["FLUSHALL", "SET d 1"]],
            &["SET a 1", "SET c 1", "FLUSHALL", "SET b 1", "SET d 1"],
        );
        check(
            &[
                &["SET a 1", "SWAPDB 0 1", "SET b 1", "SWAPDB 1 2", "SET c 1"],
                &["SWAPDB 0 1", "SET d 1", "SWAPDB 1 2"],
            ],
            &["SET a 1", "SWAPDB 0 1", "SET b 1", "SET d 1", "SWAPDB 1 2", "SET c 1"],
        );
    }

    #[test]
    fn each_piece_has_its_database() {
        check(
            &[
                &["SELECT 3", "SET a 1", "FLUSHDB", "SET b 1", "SELECT 0"],
                &["SELECT 5", "SET c 1", "SELECT 3", "FLUSHDB", "SELECT 0", "SET d 1"],
                &["SELECT 3", "FLUSHDB", "SELECT 0"],
            ],
            &[
                "SELECT 3", "SET a 1", "SELECT 0", "SELECT 5", "SET c 1", "SELECT 3", "SELECT 0", "SELECT 3",
                "FLUSHDB", "SET b 1", "SELECT 0", "SELECT 3", "SELECT 0", "SET d 1", "SELECT 3", "SELECT 0",
            ],
        );
    }
}
