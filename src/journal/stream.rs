//! One shard's stream of records, in the making.
//!
//! A command's records come together: `before` takes what it came upon (keys whose time had come), `effect` what it
//! did. `commit` then appends them, several as one in MULTI and EXEC as Redis wraps them, a single one bare. `append`
//! is the short way for a single record.
//!
//! The part of a transaction is gathered apart, over as many steps as it takes, and appended when the transaction ends:
//! between `enter_part` and `leave_part` all records go there.
//!
//! Invariant: a record's bytes do not depend on its neighbours. One of database 0 stands alone, one of another carries
//! its own SELECT there and back.

use super::record::{self, Annotation, Sink, Txn, Word};
use crate::base::ids::{CoreId, DbIndex, Offset, ShardId};
use crate::resp::Args;

/// How many buffers of parts are kept for the parts to come.
const SPARE_PARTS_MAX: usize = 8;

/// The database that is selected between records.
const HOME: DbIndex = DbIndex(0);

/// Records that belong together.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// How many commands, those that only select a database not counted.
    count: usize,
    db: DbIndex,
}

impl Records {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they are.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds one of this database.
    #[inline]
    fn push<'w, I>(&mut self, db: DbIndex, words: I)
    where
        I: IntoIterator<Item: Into<Word<'w>>, IntoIter: Clone>,
    {
        self.select(db);
        self.command(words);
    }

    #[inline]
    fn select(&mut self, db: DbIndex) {
        if self.db != db {
            record::select(&mut self.bytes, db);
            self.db = db;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.count, self.db) = (0, HOME);
    }

    /// Moves all of another to the end.
    fn take(&mut self, other: &mut Records) {
        if other.is_empty() {
            other.clear();
            return;
        }
        self.select(HOME);
        other.select(HOME);
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
        other.clear();
    }
}

impl Sink for Records {
    #[inline]
    fn begin(&mut self, words: usize) {
        self.count += 1;
        self.bytes.begin(words);
    }

    #[inline]
    fn word(&mut self, word: Word<'_>) {
        self.bytes.word(word);
    }
}

/// The point at which a shard is cut, for a save as a rule: what was recorded before it is before the save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A snapshot with this number.
    Snapshot {
        /// The number.
        id: u64,
    },
    /// A snapshot that goes to replicas.
    Sync,
    /// A snapshot that becomes one file with those of the other shards.
    Export {
        /// Its number.
        id: u64,
        /// The merging that its readers go on with; zero if none does.
        merging: u64,
    },
    /// The append-only file's next increment.
    Rewrite {
        /// Its number.
        cut: u64,
        /// The generation that begins with it, if one does.
        begins: Option<u64>,
    },
    /// Nothing: it is told where that is.
    Mark,
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    shard: ShardId,
    is_recording: bool,
    end: Offset,
    /// What was appended and not taken.
    pending: Vec<u8>,
    /// What the command under way came upon.
    before: Records,
    /// What it did.
    effects: Records,
    /// The part that records go to.
    part: Option<Records>,
    spare_parts: Vec<Records>,
    /// A cut that was just made, for whoever carries it out.
    cut: Option<Cut>,
    /// Where among the pending bytes the parts of transactions begin.
    marks: Vec<(usize, CoreId, u64)>,
}

impl Journal {
    /// The stream of this shard: it begins here, and nothing is recorded yet.
    pub fn new(shard: ShardId) -> Self {
        Journal {
            shard,
            is_recording: false,
            end: Offset::default(),
            pending: Vec::new(),
            before: Records::default(),
            effects: Records::default(),
            part: None,
            spare_parts: Vec::new(),
            cut: None,
            marks: Vec::new(),
        }
    }

    /// Where among the pending bytes the parts of transactions begin that were appended since the last look: the
    /// coordinator's core, and its number.
    pub fn take_marks(&mut self) -> Vec<(usize, CoreId, u64)> {
        std::mem::take(&mut self.marks)
    }

    /// The shard is cut here.
    pub fn cut(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    /// The cut that was just made.
    #[inline]
    pub fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// Whether records are kept from now on.
    pub fn set_recording(&mut self, on: bool) {
        self.is_recording = on;
        self.discard();
    }

    /// Whether records are kept. If not, those that come are dropped.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// Where the stream has come to: its bytes so far as a Redis peer would see them, without annotations.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The stream goes on from here: it was loaded, or begun elsewhere.
    pub fn set_end(&mut self, end: Offset) {
        self.end = end;
    }

    /// The bytes that were appended and not taken, annotations included.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Moves those bytes to the end of `into`; without a copy if it is empty.
    pub fn take_pending(&mut self, into: &mut Vec<u8>) {
        if into.is_empty() {
            std::mem::swap(&mut self.pending, into);
        } else {
            into.append(&mut self.pending);
        }
    }

    /// Appends a single record.
    #[inline]
    pub fn append<'w, I>(&mut self, db: DbIndex, words: I)
    where
        I: IntoIterator<Item: Into<Word<'w>>, IntoIter: Clone>,
    {
        if !self.is_recording {
            return;
        }
        if let Some(part) = &mut self.part {
            part.push(db, words);
            return;
        }
        let start = self.pending.len();
        if db == HOME {
            self.pending.command(words);
        } else {
            record::select(&mut self.pending, db);
            self.pending.command(words);
            record::select(&mut self.pending, HOME);
        }
        self.end.0 += (self.pending.len() - start) as u64;
    }

    /// Appends a request as a single record: what came is what is recorded, most often without writing it anew.
    #[inline]
    pub fn append_request(&mut self, db: DbIndex, args: Args<'_>) {
        if let (HOME, None, Some(bytes)) = (db, &self.part, args.as_request().filter(|_| self.is_recording)) {
            self.pending.extend_from_slice(bytes);
            self.end.0 += bytes.len() as u64;
        } else {
            self.append(db, args.iter_from(0));
        }
    }

    /// Appends an annotation. It is no part of what `end` counts.
    pub fn annotate(&mut self, annotation: &Annotation) {
        if self.is_recording {
            annotation.write(&mut self.pending);
        }
    }

    /// The command under way came upon something that takes a record of its own, before those of the command.
    pub fn before<'w, I>(&mut self, db: DbIndex, words: I)
    where
        I: IntoIterator<Item: Into<Word<'w>>, IntoIter: Clone>,
    {
        if self.is_recording {
            self.before.push(db, words);
        }
    }

    /// The command under way did this: it stands in place of the command itself.
    #[inline]
    pub fn effect<'w, I>(&mut self, db: DbIndex, words: I)
    where
        I: IntoIterator<Item: Into<Word<'w>>, IntoIter: Clone>,
    {
        if self.is_recording {
            self.effects.push(db, words);
        }
    }

    /// The same, for commands that are written word by word.
    pub fn effects(&mut self, db: DbIndex) -> Option<&mut impl Sink> {
        if !self.is_recording {
            return None;
        }
        self.effects.select(db);
        Some(&mut self.effects)
    }

    /// Whether the command under way came upon something.
    #[inline]
    pub fn has_before(&self) -> bool {
        !self.before.is_empty()
    }

    /// Whether the command under way has said what it did.
    #[inline]
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The command under way was refused: it did nothing.
    pub fn forget_effects(&mut self) {
        self.effects.clear();
    }

    /// Appends what the command came upon and what it did, as one.
    pub fn commit(&mut self) {
        let (mut before, mut effects) = (std::mem::take(&mut self.before), std::mem::take(&mut self.effects));
        match &mut self.part {
            Some(part) => {
                part.take(&mut before);
                part.take(&mut effects);
            }
            None => self.append_as_one(&mut [&mut before, &mut effects]),
        }
        (self.before, self.effects) = (before, effects);
    }

    /// A part without records, to be entered.
    pub fn new_part(&mut self) -> Records {
        self.spare_parts.pop().unwrap_or_default()
    }

    /// What is recorded from here on goes to this part.
    pub fn enter_part(&mut self, part: Records) {
        debug_assert!(self.part.is_none(), "a part within a part");
        self.part = Some(part);
    }

    /// The part that was entered, to be entered again or appended. What is recorded from here on goes to the stream.
    pub fn leave_part(&mut self) -> Records {
        self.part.take().unwrap_or_default()
    }

    /// Appends records as one that concern this shard alone. None are no record.
    pub fn append_group(&mut self, mut records: Records) {
        self.append_as_one(&mut [&mut records]);
        self.keep(records);
    }

    /// Appends this shard's part of a transaction; also one without records, since whoever reads the streams counts
    /// the parts.
    ///
    /// In the stream of this shard a part is always framed by MULTI and EXEC. Where the transaction appears as a whole
    /// it has one such frame: it counts on the first of its shards.
    pub fn append_part(&mut self, txn: &Txn, mut records: Records) {
        if self.is_recording {
            self.marks.push((self.pending.len(), txn.core, txn.number));
            txn.announce(&mut self.pending);
            records.select(HOME);
            self.pending.extend_from_slice(record::MULTI);
            self.pending.extend_from_slice(&records.bytes);
            self.pending.extend_from_slice(record::EXEC);
            let frame = if txn.shards.first() == Some(&self.shard) { record::FRAME_BYTES } else { 0 };
            self.end.0 += (records.bytes.len() + frame) as u64;
        }
        self.keep(records);
    }

    fn append_as_one(&mut self, records: &mut [&mut Records]) {
        let count: usize = records.iter().map(|records| records.count).sum();
        let start = self.pending.len();
        if self.is_recording && count > 0 {
            if count > 1 {
                self.pending.extend_from_slice(record::MULTI);
            }
            for records in records.iter_mut() {
                records.select(HOME);
                self.pending.extend_from_slice(&records.bytes);
            }
            if count > 1 {
                self.pending.extend_from_slice(record::EXEC);
            }
        }
        records.iter_mut().for_each(|records| records.clear());
        self.end.0 += (self.pending.len() - start) as u64;
    }

    fn discard(&mut self) {
        self.before.clear();
        self.effects.clear();
        if let Some(part) = &mut self.part {
            part.clear();
        }
    }

    fn keep(&mut self, mut records: Records) {
        if self.spare_parts.len() < SPARE_PARTS_MAX {
            records.clear();
            self.spare_parts.push(records);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::CoreId;

    fn journal() -> Journal {
        let mut journal = Journal::new(ShardId(2));
        journal.set_recording(true);
        journal
    }

    /// The stream with each command in one line.
    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut reader = crate::journal::Reader::new(0);
        reader.feed(bytes);
        let mut lines = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            lines.push(item.to_string());
        }
        assert_eq!(reader.tail().records, bytes.len() as u64);
        lines
    }

    fn taken(journal: &mut Journal) -> Vec<String> {
        let mut bytes = Vec::new();
        journal.take_pending(&mut bytes);
        shown(&bytes)
    }

    #[test]
    fn a_record_does_not_depend_on_its_neighbours() {
        let mut journal = journal();
        journal.append(DbIndex(0), ["SET", "a", "1"]);
        assert_eq!(journal.pending(), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n");
        assert_eq!(journal.end(), Offset(27));
        journal.append(DbIndex(3), ["DEL", "a"]);
        journal.append(DbIndex(3), ["DEL", "b"]);
        assert_eq!(journal.end(), Offset(journal.pending().len() as u64));
        let lines =
            ["SET a 1", "SELECT 3", "DEL a", "SELECT 0", "SELECT 3", "DEL b", "SELECT 0"].map(str::to_owned);
        assert_eq!(taken(&mut journal), lines);
    }

    #[test]
    fn several_records_of_one_command_are_one() {
        let mut journal = journal();
        journal.commit();
        assert_eq!(journal.end(), Offset(0));
        journal.before(DbIndex(0), ["DEL", "a"]);
        journal.commit();
        assert_eq!(taken(&mut journal), ["DEL a"]);
        // In the order of what was before.
        journal.effect(DbIndex(0), ["SET", "a", "1"]);
        journal.before(DbIndex(1), ["DEL", "a"]);
        journal.before(DbIndex(1), ["DEL", "b"]);
        journal.commit();
        let lines = ["MULTI", "SELECT 1", "DEL a", "DEL b", "SELECT 0", "SET a 1", "EXEC"];
        assert_eq!(taken(&mut journal), lines);
        journal.effect(DbIndex(0), ["SET", "a", "1"]);
        journal.forget_effects();
        journal.commit();
        journal.effect(DbIndex(2), ["SET", "a", "1"]);
        journal.commit();
        assert_eq!(taken(&mut journal), ["SELECT 2", "SET a 1", "SELECT 0"]);
    }

    #[test]
    fn nothing_is_recorded_while_nobody_wants_it() {
        let mut journal = Journal::new(ShardId(0));
        journal.append(DbIndex(0), ["SET", "a", "1"]);
        journal.before(DbIndex(0), ["DEL", "a"]);
        journal.effect(DbIndex(0), ["DEL", "a"]);
        assert!(journal.effects(DbIndex(0)).is_none());
        journal.commit();
        let part = journal.new_part();
        let txn = Txn { core: CoreId(0), number: 1, shards: [ShardId(0)].into_iter().collect() };
        journal.append_part(&txn, part);
        journal.annotate(&Annotation::Time(1));
        assert_eq!((journal.pending(), journal.end()), (&b""[..], Offset(0)));
        // What a command had noted when recording ends is not noted when it begins again.
        journal.set_recording(true);
        journal.effect(DbIndex(0), ["DEL", "a"]);
        journal.set_recording(false);
        journal.set_recording(true);
        journal.commit();
        assert_eq!(journal.pending(), b"");
    }

    #[test]
    fn parts_are_gathered_apart() {
        let mut journal = journal();
        let part = journal.new_part();
        journal.enter_part(part);
        journal.append(DbIndex(0), ["SET", "a", "1"]);
        let part = journal.leave_part();
        journal.append(DbIndex(0), ["SET", "other", "1"]);
        journal.enter_part(part);
        journal.before(DbIndex(1), ["DEL", "b"]);
        journal.effect(DbIndex(1), ["SET", "b", "1"]);
        journal.commit();
        let part = journal.leave_part();
        let before = journal.end();
        let (len, frame) = (part.len_bytes() as u64, record::FRAME_BYTES as u64);
        let txn = |shards: &[u16]| Txn {
            core: CoreId(1),
            number: 7,
            shards: shards.iter().copied().map(ShardId).collect(),
        };
        journal.append_part(&txn(&[0, 2]), part);
        assert_eq!(journal.end(), Offset(before.0 + len));
        let lines = [
            "SET other 1",
            "#TXN:1-7:0,2",
            "MULTI",
            "SET a 1",
            "SELECT 1",
            "DEL b",
            "SELECT 0",
            "SELECT 1",
            "SET b 1",
            "SELECT 0",
            "EXEC",
        ];
        assert_eq!(taken(&mut journal), lines);
        let (before, part) = (journal.end(), journal.new_part());
        journal.append_part(&txn(&[2, 3]), part);
        assert_eq!(journal.end(), Offset(before.0 + frame), "the first part counts the frame of the whole");
        assert_eq!(taken(&mut journal), ["#TXN:1-7:2,3", "MULTI", "EXEC"]);
        for (records, lines) in [(0, &[][..]), (1, &["INCR n"]), (2, &["MULTI", "INCR n", "INCR n", "EXEC"])]
        {
            let part = journal.new_part();
            journal.enter_part(part);
            (0..records).for_each(|_| journal.append(DbIndex(0), ["INCR", "n"]));
            let part = journal.leave_part();
            journal.append_group(part);
            assert_eq!(taken(&mut journal), lines);
        }
    }

    #[test]
    fn pending_bytes_are_taken_without_a_copy_if_nothing_is_there() {
        let mut journal = journal();
        journal.append(DbIndex(0), ["A"]);
        let address = journal.pending().as_ptr();
        let mut bytes = Vec::with_capacity(10);
        journal.take_pending(&mut bytes);
        assert_eq!(bytes.as_ptr(), address);
        assert_eq!(journal.pending(), b"");
        journal.append(DbIndex(0), ["B"]);
        journal.take_pending(&mut bytes);
        assert_eq!(bytes, b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n");
    }
}
