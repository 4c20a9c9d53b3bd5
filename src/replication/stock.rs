//! The stream of a stock primary: one for all its data, as it is sent to any replica of it.
//!
//! It differs from ours (`flow`): a SELECT holds for all that follows, transactions are MULTI and EXEC without
//! annotations, `REPLCONF GETACK *` stands between the records and is to be answered at once, and there may be commands
//! that cannot be run here. Its bytes count as they are: one offset is all there is to say of a place in it.
//!
//! After every item one may stop and go on another time, if the selected database (`StockReader::db`) is remembered.
//!
//! Invariants: items end outside of MULTI and EXEC; their ends do not depend on the pieces in which the stream comes,
//! but for where runs end; what is kept is what was fed and not handed out.

use crate::base::ids::{DbIndex, Offset};
use crate::base::num::parse_u64;
use crate::journal::scan::{Scanned, Scanner};
use crate::resp::Args;

use super::flow::RUN_BYTES_MAX;

/// How many names of commands that were left out are remembered until they are asked for.
const NAMES_MAX: usize = 64;

/// What comes next in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockItem<'a> {
    /// Commands to be run, in this order.
    Run {
        /// They.
        bytes: &'a [u8],
        /// Where the stream has come to after them.
        end: Offset,
    },
    /// The primary asks how much was applied. What it asks with is not part of the answer.
    Ask {
        /// Where the stream has come to after it.
        end: Offset,
    },
    /// Something that is not to be run.
    Skip {
        /// Where the stream has come to after it.
        end: Offset,
    },
}

/// See the module.
#[derive(Debug)]
pub struct StockReader {
    scanner: Scanner,
    /// How many databases there are here.
    databases: u16,
    /// What comes before this was handed out.
    taken: u64,
    /// Commands from there to here are to be run as they are.
    whole: u64,
    /// What follows there.
    next: Option<Next>,
    /// Whether a MULTI has no EXEC yet; what in it is not to be run.
    open: Option<Vec<(u64, u64)>>,
    /// The database that is selected where the scanner stands.
    selected: DbIndex,
    /// The same at `whole`.
    whole_db: DbIndex,
    /// The same behind the item that came out last.
    db: DbIndex,
    /// A transaction without what is not to be run.
    edited: Vec<u8>,
    names: Vec<String>,
    damage: Option<String>,
}

/// What ends a run of commands.
#[derive(Debug)]
enum Next {
    Ask(u64),
    Skip(u64),
    /// A transaction of which parts are not to be run.
    Transaction(Vec<(u64, u64)>, u64),
}

impl StockReader {
    /// Reads a stream from this offset on, where this database is selected.
    pub fn new(at: Offset, db: DbIndex, databases: u16) -> StockReader {
        StockReader {
            scanner: Scanner::new(at.0),
            databases,
            taken: at.0,
            whole: at.0,
            next: None,
            open: None,
            selected: db,
            whole_db: db,
            db,
            edited: Vec::new(),
            names: Vec::new(),
            damage: None,
        }
    }

    /// The next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes, self.taken);
    }

    /// The next item; `None` where more bytes are needed. `can_run` tells of a command whether it can be run here.
    ///
    /// # Errors
    /// The stream cannot be read from here on: the same error comes again. All that is whole before it came out.
    pub fn next(&mut self, can_run: impl Fn(Args<'_>) -> bool) -> Result<Option<StockItem<'_>>, String> {
        let mut is_at_end = false;
        while self.next.is_none() && self.damage.is_none() && !is_at_end {
            if self.whole - self.taken >= RUN_BYTES_MAX as u64 {
                break;
            }
            let at = self.scanner.at();
            let looked = match self.scanner.scan() {
                Ok(None) => {
                    is_at_end = true;
                    Ok(())
                }
                Ok(Some(Scanned::Command)) => self.follow(at, &can_run),
                Ok(Some(Scanned::Annotation(..))) => Err("a command must begin with '*'".to_owned()),
                Err(reason) => Err(reason.to_owned()),
            };
            if let Err(reason) = looked {
                self.damage = Some(format!("{reason} at offset {at}"));
            }
        }
        if self.whole > self.taken {
            let from = std::mem::replace(&mut self.taken, self.whole);
            self.db = self.whole_db;
            let bytes = self.scanner.slice(from, self.whole);
            return Ok(Some(StockItem::Run { bytes, end: Offset(self.whole) }));
        }
        if let Some(next) = self.next.take() {
            return Ok(Some(self.take(next)));
        }
        match &self.damage {
            Some(reason) => Err(reason.clone()),
            None => Ok(None),
        }
    }

    /// The database that is selected behind the item that came out last.
    pub fn db(&self) -> DbIndex {
        self.db
    }

    /// The names of commands that were left out since this was asked last.
    pub fn left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }

    fn take(&mut self, next: Next) -> StockItem<'_> {
        let from = self.taken;
        let (Next::Ask(end) | Next::Skip(end) | Next::Transaction(_, end)) = next;
        // Nothing behind it was looked at.
        (self.taken, self.whole) = (end, end);
        (self.whole_db, self.db) = (self.selected, self.selected);
        let end = Offset(end);
        match next {
            Next::Ask(_) => StockItem::Ask { end },
            Next::Skip(_) => StockItem::Skip { end },
            Next::Transaction(gaps, _) => {
                self.edited.clear();
                let mut at = from;
                for (start, behind) in gaps {
                    self.edited.extend_from_slice(self.scanner.slice(at, start));
                    at = behind;
                }
                self.edited.extend_from_slice(self.scanner.slice(at, end.0));
                StockItem::Run { bytes: &self.edited, end }
            }
        }
    }

    /// The command that begins here.
    fn follow(&mut self, at: u64, can_run: &impl Fn(Args<'_>) -> bool) -> Result<(), String> {
        let (args, end) = (self.scanner.args(), self.scanner.at());
        match args.at(0).len() {
            4 if args.is(0, "exec") => {
                return match self.open.take() {
                    _ if args.len() != 1 => Err("an EXEC with arguments".to_owned()),
                    None => Err("an EXEC without a MULTI".to_owned()),
                    Some(gaps) if gaps.is_empty() => {
                        (self.whole, self.whole_db) = (end, self.selected);
                        Ok(())
                    }
                    Some(gaps) => {
                        self.next = Some(Next::Transaction(gaps, end));
                        Ok(())
                    }
                };
            }
            5 if args.is(0, "multi") => {
                if args.len() != 1 || self.open.replace(Vec::new()).is_some() {
                    return Err("a MULTI within a MULTI, or with arguments".to_owned());
                }
                return Ok(());
            }
            6 if args.is(0, "select") => {
                let db = args.get(1).filter(|_| args.len() == 2).and_then(parse_u64);
                let db = db.ok_or("a SELECT of no database")?;
                if db >= u64::from(self.databases) {
                    return Err(format!(
                        "the primary has a database {db}, and there are {} here ('databases'): a SELECT of it",
                        self.databases
                    ));
                }
                self.selected = DbIndex(db as u16);
            }
            8 if args.is(0, "replconf") => {
                match &mut self.open {
                    Some(gaps) => gaps.push((at, end)),
                    None if args.len() > 1 && args.is(1, "getack") => self.next = Some(Next::Ask(end)),
                    None => self.next = Some(Next::Skip(end)),
                }
                return Ok(());
            }
            _ if !can_run(args) => {
                if self.names.len() < NAMES_MAX {
                    self.names.push(String::from_utf8_lossy(args.at(0)).to_ascii_uppercase());
                }
                match &mut self.open {
                    Some(gaps) => gaps.push((at, end)),
                    None => self.next = Some(Next::Skip(end)),
                }
                return Ok(());
            }
            _ => {}
        }
        if self.open.is_none() {
            (self.whole, self.whole_db) = (end, self.selected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::journal::{Reader, Sink};

    fn stream(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        lines.iter().for_each(|line| out.command(line.split(' ')));
        out
    }

    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut reader = Reader::new(0);
        reader.feed(bytes);
        let mut lines = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            lines.push(item.to_string());
        }
        assert_eq!(reader.tail().commands, bytes.len() as u64, "an item that ends within a command");
        lines
    }

    /// The commands, `ASK` and `SKIP` with where they end, whatever runs they come in; and the databases at the ends.
    fn items(bytes: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<String>, Vec<u16>, Result<(), String>) {
        let mut reader = StockReader::new(Offset(100), DbIndex(0), 16);
        let (mut lines, mut dbs, mut at) = (Vec::new(), Vec::new(), 0);
        while at < bytes.len() {
            let end = (at + piece().max(1)).min(bytes.len());
            reader.feed(&bytes[at..end]);
            at = end;
            loop {
                let item = reader.next(|args| !args.is(0, "eval") && !args.is(0, "function"));
                match item {
                    Ok(None) => break,
                    Ok(Some(StockItem::Run { bytes, .. })) => lines.extend(shown(bytes)),
                    Ok(Some(StockItem::Ask { end })) => lines.push(format!("ASK {}", end.0)),
                    Ok(Some(StockItem::Skip { end })) => lines.push(format!("SKIP {}", end.0)),
                    Err(reason) => return (lines, dbs, Err(reason)),
                }
                dbs.push(reader.db().0);
            }
        }
        (lines, dbs, Ok(()))
    }

    #[test]
    fn items_are_the_same_whatever_the_pieces() {
        let lines = [
            "SELECT 3",
            "SET a 1",
            "PING",
            "REPLCONF GETACK *",
            "MULTI",
            "INCR a",
            "EVAL x 0",
            "SELECT 4",
            "SET b 2",
            "EXEC",
            "FUNCTION FLUSH",
            "multi",
            "SET c 3",
            "exec",
            "REPLCONF other",
            "DEL a",
        ];
        let bytes = stream(&lines);
        let len = |upto: usize| 100 + stream(&lines[..upto]).len();
        let expected: Vec<String> = vec![
            "SELECT 3".into(),
            "SET a 1".into(),
            "PING".into(),
            format!("ASK {}", len(4)),
            "MULTI".into(),
            "INCR a".into(),
            "SELECT 4".into(),
            "SET b 2".into(),
            "EXEC".into(),
            format!("SKIP {}", len(11)),
            "multi".into(),
            "SET c 3".into(),
            "exec".into(),
            format!("SKIP {}", len(15)),
            "DEL a".into(),
        ];
        let (found, dbs, result) = items(&bytes, || bytes.len());
        assert_eq!((found, result), (expected.clone(), Ok(())));
        assert_eq!(dbs, [3, 3, 4, 4, 4, 4, 4]);
        let mut prng = Prng::new(1);
        for _ in 0..300 {
            let max = 1 + prng.below(60);
            let (found, _, result) = items(&bytes, || prng.below(max) as usize);
            assert_eq!((found, result), (expected.clone(), Ok(())));
        }
    }

    #[test]
    fn ends_and_databases_are_those_of_what_came_out() {
        let bytes = stream(&["SELECT 2", "SET a 1", "REPLCONF GETACK *", "SELECT 5", "SET b 1"]);
        let mut reader = StockReader::new(Offset(7), DbIndex(1), 16);
        assert_eq!(reader.db(), DbIndex(1));
        reader.feed(&bytes);
        let first = stream(&["SELECT 2", "SET a 1"]);
        let end = Offset(7 + first.len() as u64);
        assert_eq!(reader.next(|_| true), Ok(Some(StockItem::Run { bytes: &first, end })));
        assert_eq!(reader.db(), DbIndex(2));
        assert!(matches!(reader.next(|_| true), Ok(Some(StockItem::Ask { .. }))));
        assert_eq!(reader.db(), DbIndex(2));
        let end = Offset(7 + bytes.len() as u64);
        assert!(matches!(reader.next(|_| true), Ok(Some(StockItem::Run { end: found, .. })) if found == end));
        assert_eq!(reader.db(), DbIndex(5));
        assert_eq!(reader.next(|_| true), Ok(None));
        // What is still open has selected nothing yet.
        reader.feed(&stream(&["DEL a", "MULTI", "SELECT 9"]));
        assert!(matches!(reader.next(|_| true), Ok(Some(StockItem::Run { .. }))));
        assert_eq!(reader.db(), DbIndex(5));
        reader.feed(&stream(&["EVAL x", "EXEC"]));
        assert!(matches!(reader.next(|args| !args.is(0, "eval")), Ok(Some(StockItem::Run { .. }))));
        assert_eq!(reader.db(), DbIndex(9));
        assert_eq!(reader.left_out(), ["EVAL"]);
        reader.feed(&stream(&["FUNCTION LOAD x", "MULTI", "EVAL y", "EXEC"]));
        while reader.next(|args| args.is(0, "multi") || args.is(0, "exec")).unwrap().is_some() {}
        assert_eq!(reader.left_out(), ["FUNCTION", "EVAL"]);
        assert!(reader.left_out().is_empty());
    }

    #[test]
    fn a_long_stream_comes_in_runs() {
        let one = stream(&["SET a 1"]);
        let bytes = one.repeat(3 * RUN_BYTES_MAX / one.len());
        let mut reader = StockReader::new(Offset(0), DbIndex(0), 16);
        reader.feed(&bytes);
        let (mut runs, mut all) = (0, Vec::new());
        while let Some(item) = reader.next(|_| true).unwrap() {
            let StockItem::Run { bytes, end } = item else { panic!("{item:?}") };
            assert!(bytes.len() < RUN_BYTES_MAX + one.len());
            all.extend_from_slice(bytes);
            assert_eq!(end, Offset(all.len() as u64));
            runs += 1;
        }
        assert_eq!(all, bytes);
        assert!(runs >= 3);
    }

    #[test]
    fn what_cannot_be_read_is_said_after_what_can() {
        for (lines, reason) in [
            (&["SET a 1", "EXEC"][..], "an EXEC without a MULTI at offset 127"),
            (&["SET a 1", "MULTI", "MULTI"], "a MULTI within a MULTI"),
            (&["SET a 1", "SELECT 16"], "the primary has a database 16, and there are 16 here ('databases')"),
            (&["SET a 1", "SELECT x"], "a SELECT of no database"),
        ] {
            let (found, _, result) = items(&stream(lines), || 1000);
            assert_eq!(found, ["SET a 1"]);
            assert!(result.clone().unwrap_err().contains(reason), "{result:?}");
        }
        let (found, _, result) = items(b"*1\r\n$4\r\nPING\r\n#TS:1\r\n", || 7);
        assert_eq!(found, ["PING"]);
        assert!(result.is_err());
    }
}
