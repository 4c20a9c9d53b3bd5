//! One stream of records as it comes over a link, divided into items: runs of records that stand for themselves, and
//! parts of transactions over several shards.
//!
//! After every item one may stop, and go on from its `Position` another time: it stands between records, no MULTI is
//! open, and in a stream of ours database 0 is selected and no part announced. So nothing is ever cut within MULTI and
//! EXEC, nor between the SELECT there and the SELECT back of a record of another database. PING is a record like any.
//!
//! Invariants: the items' bytes are the stream's without its annotations; what they are does not depend on the pieces
//! in which the stream comes, but for where runs end; what is kept is what was fed and not handed out.
//!
//! Not here: whether a part belongs to this stream, and where the other parts are (`collect`).

use crate::base::ids::{DbIndex, Offset, ShardId};
use crate::base::num::parse_u64;
use crate::journal::scan::{Scanned, Scanner};
use crate::journal::{Annotation, Damage, Txn, FRAME_BYTES};

/// A run of records ends with the one that brings it to this length, however long that is: as much as one receive
/// brings, and as is run in one go.
pub const RUN_BYTES_MAX: usize = 64 * 1024;

/// A place in a stream, counted in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes of the stream as it is, annotations included: where to go on.
    pub raw: u64,
    /// Bytes as a Redis peer would see them, as `Journal::end` counts.
    pub offset: Offset,
}

/// What comes next in a stream. The bytes are a part of what the reader keeps: they are not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// One or more whole records that concern this stream alone, without annotations between them.
    Plain {
        /// The records.
        bytes: &'a [u8],
        /// Where the stream has come to after them.
        end: Position,
    },
    /// This stream's part of a transaction.
    Part {
        /// Which transaction.
        txn: Txn,
        /// What stands between MULTI and EXEC, possibly nothing; database 0 is selected before and after it.
        records: &'a [u8],
        /// Where the stream has come to after it.
        end: Position,
    },
}

/// See the module.
#[derive(Debug)]
pub struct FlowReader {
    scanner: Scanner,
    /// Whose journal it is.
    shard: ShardId,
    /// What comes before this was handed out.
    taken: Position,
    /// Records from there to here are whole, and were not handed out. A raw position.
    whole: u64,
    /// Whether a MULTI has no EXEC yet.
    is_open: bool,
    /// The database that is selected where the scanner stands.
    selected: DbIndex,
    /// A part that was announced and has not ended.
    part: Option<Announced>,
    damage: Option<Damage>,
}

#[derive(Debug)]
struct Announced {
    txn: Txn,
    /// Where its records begin. A raw position.
    records: u64,
}

/// What a look at the stream came upon.
enum Seen {
    /// Nothing that would end a run of records.
    Record,
    /// An annotation stands between the records before it and what follows.
    Annotation,
    /// A part of a transaction has ended; its records do here.
    Part(Announced, u64),
}

impl FlowReader {
    /// Reads this shard's stream as a journal wrote it, from a position on at which an item ended.
    pub fn new(shard: ShardId, at: Position) -> Self {
        FlowReader {
            scanner: Scanner::new(at.raw),
            shard,
            taken: at,
            whole: at.raw,
            is_open: false,
            selected: DbIndex(0),
            part: None,
            damage: None,
        }
    }

    /// The next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes, self.taken.raw);
    }

    /// The next item; `None` where more bytes are needed.
    ///
    /// # Errors
    /// The stream cannot be read from here on: the same error comes again. All that is whole before it came out.
    #[allow(clippy::should_implement_trait, reason = "an item borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Damage> {
        loop {
            if self.run_bytes() >= RUN_BYTES_MAX {
                return Ok(Some(self.take_run()));
            }
            let seen = match self.damage {
                Some(damage) => Err(damage),
                None => self.look(),
            };
            match seen {
                Ok(Some(Seen::Record)) => {}
                Ok(Some(Seen::Annotation)) => {
                    let (from, to) = (self.taken.raw, self.whole);
                    self.pass(to - from);
                    // An announcement belongs to its part: whoever goes on from here has to read it again.
                    if self.part.is_none() {
                        self.whole = self.scanner.at();
                        self.taken.raw = self.whole;
                    }
                    if from < to {
                        let bytes = self.scanner.slice(from, to);
                        return Ok(Some(Item::Plain { bytes, end: self.taken }));
                    }
                }
                Ok(Some(Seen::Part(part, to))) => return Ok(Some(self.take_part(part, to))),
                Ok(None) if self.run_bytes() > 0 => return Ok(Some(self.take_run())),
                Ok(None) => return Ok(None),
                Err(damage) => {
                    self.damage = Some(damage);
                    return match self.run_bytes() {
                        0 => Err(damage),
                        _ => Ok(Some(self.take_run())),
                    };
                }
            }
        }
    }

    /// Where the stream has come to: the end of the item that came out last, or of annotations after it that belong to
    /// no part.
    pub fn position(&self) -> Position {
        self.taken
    }

    fn run_bytes(&self) -> usize {
        (self.whole - self.taken.raw) as usize
    }

    /// Counts so many bytes of records as handed out.
    fn pass(&mut self, bytes: u64) {
        self.taken.raw += bytes;
        self.taken.offset.0 += bytes;
    }

    fn take_run(&mut self) -> Item<'_> {
        let (from, to) = (self.taken.raw, self.whole);
        self.pass(to - from);
        Item::Plain { bytes: self.scanner.slice(from, to), end: self.taken }
    }

    fn take_part(&mut self, part: Announced, to: u64) -> Item<'_> {
        let Announced { txn, records } = part;
        let is_first = txn.shards.first() == Some(&self.shard);
        self.whole = self.scanner.at();
        self.taken.raw = self.whole;
        self.taken.offset.0 += to - records + if is_first { FRAME_BYTES as u64 } else { 0 };
        Item::Part { txn, records: self.scanner.slice(records, to), end: self.taken }
    }

    fn look(&mut self) -> Result<Option<Seen>, Damage> {
        let at = self.scanner.at();
        let seen = match self.scanner.scan() {
            Ok(None) => Ok(None),
            Ok(Some(Scanned::Command)) => self.follow(at).map(Some),
            Ok(Some(Scanned::Annotation(_, len))) => self.note(at, len).map(|()| Some(Seen::Annotation)),
            Err(reason) => Err(reason),
        };
        seen.map_err(|reason| Damage { offset: at, reason })
    }

    /// An annotation that stands here.
    fn note(&mut self, at: u64, len: usize) -> Result<(), &'static str> {
        if self.whole != at && self.part.is_none() || self.is_open {
            return Err("an annotation within a record");
        }
        let line = self.scanner.slice(at, at + len as u64);
        match Annotation::parse(line) {
            Some(Annotation::Txn(_)) if self.part.is_some() => Err("a part is announced within another"),
            Some(Annotation::Txn(txn)) => {
                self.part = Some(Announced { txn, records: 0 });
                Ok(())
            }
            // Taken for a remark it would make a part a record of its own.
            None if line.starts_with(b"#TXN:") => Err("a part is announced that cannot be understood"),
            Some(Annotation::Time(_) | Annotation::Position(_)) | None => Ok(()),
        }
    }

    /// The command that begins here.
    #[inline]
    fn follow(&mut self, at: u64) -> Result<Seen, &'static str> {
        let args = self.scanner.args();
        if self.part.is_some() && !self.is_open && !args.is(0, "multi") {
            return Err("a part was announced, and no MULTI follows");
        }
        match args.at(0).len() {
            4 if args.is(0, "exec") => return self.end_multi(at),
            5 if args.is(0, "multi") => {
                if self.is_open || args.len() != 1 {
                    return Err("a MULTI within a MULTI, or with arguments");
                }
                self.is_open = true;
                if let Some(part) = &mut self.part {
                    part.records = self.scanner.at();
                }
            }
            6 if args.is(0, "select") => {
                let db = args.get(1).filter(|_| args.len() == 2).and_then(parse_u64);
                let db = db.and_then(|db| u16::try_from(db).ok()).ok_or("a SELECT of no database")?;
                self.selected = DbIndex(db);
            }
            _ => {}
        }
        self.settle();
        Ok(Seen::Record)
    }

    fn end_multi(&mut self, at: u64) -> Result<Seen, &'static str> {
        if !self.is_open || self.scanner.args().len() != 1 {
            return Err("an EXEC without a MULTI, or with arguments");
        }
        if self.part.is_some() && self.selected != DbIndex(0) {
            return Err("a part ends where database 0 is not selected");
        }
        self.is_open = false;
        if let Some(part) = self.part.take() {
            return Ok(Seen::Part(part, at));
        }
        self.settle();
        Ok(Seen::Record)
    }

    /// What was read is whole, unless something is open.
    fn settle(&mut self) {
        if self.selected == DbIndex(0) && self.part.is_none() && !self.is_open {
            self.whole = self.scanner.at();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Sink;

    /// An item, and its end: raw, and as an offset.
    type Shown = (String, u64, u64);

    /// What comes of a stream in pieces of this size, and what is damaged.
    fn items(mut reader: FlowReader, stream: &[u8], piece: usize) -> (Vec<Shown>, Result<(), Damage>) {
        let mut items = Vec::new();
        for piece in stream.chunks(piece) {
            reader.feed(piece);
            loop {
                let (shown, end) = match reader.next() {
                    Ok(None) => break,
                    Ok(Some(Item::Plain { bytes, end })) => (shown(bytes), end),
                    Ok(Some(Item::Part { txn, records, end })) => {
                        (format!("{}-{}: {}", txn.core.0, txn.number, shown(records)), end)
                    }
                    Err(damage) => {
                        assert_eq!(reader.next(), Err(damage), "the same error again");
                        return (items, Err(damage));
                    }
                };
                assert_eq!(reader.position(), end);
                items.push((shown, end.raw, end.offset.0));
            }
        }
        (items, Ok(()))
    }

    fn shown(bytes: &[u8]) -> String {
        let mut reader = crate::journal::Reader::new(0);
        reader.feed(bytes);
        let mut lines = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            lines.push(item.to_string());
        }
        assert_eq!(reader.tail().commands, bytes.len() as u64, "an item that ends within a record");
        lines.join(", ")
    }

    /// Lines of words as commands; those that begin with `#` as they are.
    fn stream(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            match line.starts_with('#') {
                true => out.extend_from_slice(format!("{line}\r\n").as_bytes()),
                false => out.command(line.split(' ')),
            }
        }
        out
    }

    fn len(lines: &[&str]) -> u64 {
        stream(lines).len() as u64
    }

    const START: Position = Position { raw: 1000, offset: Offset(900) };

    #[test]
    fn records_and_parts_come_with_their_ends() {
        let parts = [
            &["SET a 1", "SELECT 3", "DEL a", "SELECT 0", "PING", "MULTI", "INCR a", "INCR b", "EXEC"][..],
            &["#TS:5"],
            &["DEL b"],
            &["#TXN:1-7:2,0", "MULTI", "SET a 1", "SELECT 1", "DEL a", "SELECT 0", "EXEC"],
            &["#TS:6", "#other", "#TXN:0-8:0,2", "#TS:7", "multi", "exec"],
            &["DEL c"],
        ];
        let bytes = stream(&parts.concat());
        let (mut raw, mut offset) = (START.raw, START.offset.0);
        let mut expected: Vec<Shown> = Vec::new();
        for (part, (shown, records, frame)) in parts.iter().zip([
            (parts[0].join(", ").as_str(), parts[0], 0),
            ("", &[], 0),
            ("DEL b", parts[2], 0),
            ("1-7: SET a 1, SELECT 1, DEL a, SELECT 0", &parts[3][2..6], FRAME_BYTES as u64),
            ("0-8: ", &[], 0),
            ("DEL c", parts[5], 0),
        ]) {
            raw += len(part);
            offset += len(records) + frame;
            match shown {
                // An annotation that is seen together with the records before it counts with them.
                "" => expected.last_mut().unwrap().1 = raw,
                _ => expected.push((shown.to_owned(), raw, offset)),
            }
        }
        let (found, damage) = items(FlowReader::new(ShardId(2), START), &bytes, bytes.len());
        assert_eq!((&found, damage), (&expected, Ok(())));
        // In pieces runs are shorter; all the rest is the same.
        for piece in [1, 2, 3, 10, 50] {
            let (found, damage) = items(FlowReader::new(ShardId(2), START), &bytes, piece);
            assert_eq!(damage, Ok(()));
            let ends: Vec<_> = found.iter().map(|item| item.2).collect();
            assert!(expected.iter().all(|item| ends.contains(&item.2)), "{piece}: {found:?}");
            let is_part = |item: &&Shown| item.0.contains(": ");
            assert!(found.iter().filter(is_part).eq(expected.iter().filter(is_part)));
        }
    }

    #[test]
    fn a_run_is_as_long_as_may_be_and_never_ends_within_a_record() {
        let value = "x".repeat(1000);
        let set = format!("SET a {value}");
        let records = [&[set.as_str()][..], &["SELECT 1", &set, "SELECT 0"], &["MULTI", &set, &set, "EXEC"]];
        let lines: Vec<&str> = (0..300).flat_map(|at| records[at % 3]).copied().collect();
        let bytes = stream(&lines);
        let longest = len(records[2]) as usize;
        let mut reader = FlowReader::new(ShardId(0), Position::default());
        reader.feed(&bytes);
        let (mut at, mut runs) = (0, 0);
        while let Some(item) = reader.next().unwrap() {
            let Item::Plain { bytes: run, end } = item else { panic!("{item:?}") };
            assert!(run == &bytes[at..at + run.len()]);
            shown(run);
            let is_last = at + run.len() == bytes.len();
            assert!(run.len() < RUN_BYTES_MAX + longest && (is_last || run.len() >= RUN_BYTES_MAX));
            (at, runs) = (at + run.len(), runs + 1);
            assert_eq!(end, Position { raw: at as u64, offset: Offset(at as u64) });
        }
        assert_eq!((at, runs), (bytes.len(), bytes.len().div_ceil(RUN_BYTES_MAX)));
        // A large record comes whole.
        let large = format!("SET a {}", "x".repeat(10 * RUN_BYTES_MAX));
        let bytes = stream(&["SELECT 9", &large, "SELECT 0"]);
        let mut reader = FlowReader::new(ShardId(0), Position::default());
        for (at, piece) in bytes.chunks(5000).enumerate() {
            reader.feed(piece);
            let is_last = (at + 1) * 5000 >= bytes.len();
            match reader.next().unwrap() {
                None => assert!(!is_last),
                Some(Item::Plain { bytes: run, .. }) => assert!(is_last && run == bytes),
                Some(part) => panic!("{part:?}"),
            }
        }
    }

    #[test]
    fn one_goes_on_after_annotations_but_not_after_an_announcement() {
        let before = stream(&["DEL a", "#TS:1"]);
        let mut reader = FlowReader::new(ShardId(0), Position::default());
        reader.feed(&before);
        reader.feed(&stream(&["#TXN:0-1:0,1", "#TS:2", "MULTI", "DEL b"]));
        assert!(reader.next().unwrap().is_some());
        assert_eq!(reader.next(), Ok(None));
        let at = Position { raw: before.len() as u64, offset: Offset(len(&["DEL a"])) };
        assert_eq!(reader.position(), at);
        reader.feed(&stream(&["EXEC"]));
        assert!(matches!(reader.next(), Ok(Some(Item::Part { .. }))));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let sound = ["DEL a", "#TXN:0-1:0,1", "MULTI", "EXEC", "DEL b"];
        // The last line is the one that is refused.
        for (lines, reason) in [
            (&["EXEC"][..], "an EXEC without a MULTI, or with arguments"),
            (&["MULTI", "EXEC 1"], "an EXEC without a MULTI, or with arguments"),
            (&["MULTI", "MULTI"], "a MULTI within a MULTI, or with arguments"),
            (&["MULTI 1"], "a MULTI within a MULTI, or with arguments"),
            (&["SELECT x"], "a SELECT of no database"),
            (&["SELECT"], "a SELECT of no database"),
            (&["SELECT 0 0"], "a SELECT of no database"),
            (&["SELECT 70000"], "a SELECT of no database"),
            (&["#TXN:0-2:0,1", "DEL a"], "a part was announced, and no MULTI follows"),
            (&["#TXN:0-2:0,1", "SELECT 1"], "a part was announced, and no MULTI follows"),
            (&["#TXN:0-2:0,1", "#TXN:0-3:0,1"], "a part is announced within another"),
            (&["#TXN:0-2"], "a part is announced that cannot be understood"),
            (&["MULTI", "#TS:1"], "an annotation within a record"),
            (&["SELECT 1", "#TXN:0-2:0,1"], "an annotation within a record"),
            (&["#TXN:0-2:0,1", "MULTI", "SELECT 1", "EXEC"], "a part ends where database 0 is not selected"),
            (&["#TXN:0-2:0,1", "MULTI", "#TS:1"], "an annotation within a record"),
        ] {
            let (last, before) = lines.split_last().unwrap();
            let place = START.raw + len(&sound) + len(before);
            let bytes = stream(&[&sound[..], before, &[last, "DEL x"]].concat());
            for piece in [1, 7, bytes.len()] {
                let (found, damage) = items(FlowReader::new(ShardId(0), START), &bytes, piece);
                assert_eq!(damage, Err(Damage { offset: place, reason }), "{lines:?}");
                // What is whole before it has come out.
                let shown: Vec<_> = found.iter().map(|item| item.0.as_str()).collect();
                assert_eq!(shown, ["DEL a", "0-1: ", "DEL b"]);
            }
        }
        let (_, damage) = items(FlowReader::new(ShardId(0), START), b"*1\r\n$1\r\naxx", 3);
        assert_eq!(damage, Err(Damage { offset: 1000, reason: "an argument does not end where it should" }));
    }
}
