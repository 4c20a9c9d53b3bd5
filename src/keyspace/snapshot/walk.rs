//! The walk of a snapshot over one table, and the writer that all its walks share.
//!
//! Entries are asked for one bucket ahead, and the collections that they hold when their own bucket comes up: cold
//! memory is nearly all that a walk over small keys costs.

use std::ops::ControlFlow;

use super::{output::Output, Progress, SnapshotProgress, SnapshotSink};
use crate::{
    base::ids::DbIndex,
    ds::table::{prefetch, BucketAt, Place, Table},
    keyspace::{
        entry::{Entry, EntryRef},
        value::EntryView,
    },
};

/// What a bucket and a key count as, in bytes of output.
const BUCKET_COST: usize = 32;
const KEY_COST: usize = 32;

/// A piece of a large value is not smaller than this, if it is not the last.
const PIECE_BYTES_MIN: usize = 1 << 10;

/// What is left where there is no limit.
const ALL: usize = usize::MAX;

/// How far a snapshot has come in one table.
pub(super) struct Walk {
    /// The number of the database at the cut.
    db: DbIndex,
    /// Where to go on; `None` at the end.
    next: Option<BucketAt>,
    /// A bucket to do before going on.
    hurried: Option<BucketAt>,
    /// The value that is written in pieces at the moment.
    open: Option<OpenValue>,
}

/// Where the value lies that is written in pieces. What is before it in its bucket is written.
#[derive(Clone, Copy)]
struct OpenValue {
    bucket: BucketAt,
    slot: usize,
}

/// How pressing it is to go on with a walk, the most pressing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    Open,
    Hurried,
    Usual,
}

/// The sink, and what it has written.
pub(super) struct Writer {
    sink: Box<dyn SnapshotSink>,
    out: Output,
    /// Whether the sink was shown again all that is in `out`.
    is_shown: bool,
    /// What comes after the value that is open.
    aside: Output,
    has_open_value: bool,
    keys_done: u64,
    keys_total: u64,
}

impl Walk {
    /// A walk over a table, from its first bucket.
    pub(super) fn new(db: DbIndex, table: &Table<Entry>) -> Walk {
        Walk { db, next: table.first_bucket(), hurried: None, open: None }
    }

    /// See `Urgency`.
    pub(super) fn urgency(&self) -> Urgency {
        match (self.open, self.hurried) {
            (Some(_), _) => Urgency::Open,
            (None, Some(_)) => Urgency::Hurried,
            (None, None) => Urgency::Usual,
        }
    }

    /// A bucket to do next.
    pub(super) fn hurry(&mut self, at: BucketAt) {
        self.hurried = Some(at);
    }

    /// The segment is about to be reshaped where there may be a hurried bucket; all its buckets are passed.
    pub(super) fn forget_hurried(&mut self) {
        self.hurried = None;
    }

    /// Goes on, and takes what that costs off `left`; `passed` is called with each bucket that is done with. There may
    /// be more to do although not all of `left` is used up: then another walk may be more urgent.
    pub(super) fn step(
        &mut self,
        table: &mut Table<Entry>,
        writer: &mut Writer,
        number: u32,
        left: &mut usize,
        mut passed: impl FnMut(&mut Table<Entry>, BucketAt),
    ) -> Progress {
        let aside = self.open.map(|open| open.bucket).or_else(|| self.hurried.take());
        if let Some(at) = aside {
            if self.pass(table, at, writer, number, left) == Progress::Done {
                passed(table, at);
            }
            return Progress::More;
        }
        let mut next = self.next.and_then(|at| table.bucket_from(at));
        while *left > 0 && self.open.is_none() {
            let Some(at) = next else {
                self.next = None;
                return Progress::Done;
            };
            next = table.next_bucket(at);
            if let Some(ahead) = next {
                table.prefetch_in(ahead);
            }
            if self.pass(table, at, writer, number, left) == Progress::Done {
                passed(table, at);
            }
        }
        self.next = next;
        Progress::More
    }

    /// Writes a bucket that is not passed, and stamps it. More if it stopped in a large value.
    fn pass(
        &mut self,
        table: &mut Table<Entry>,
        at: BucketAt,
        writer: &mut Writer,
        number: u32,
        left: &mut usize,
    ) -> Progress {
        *left = left.saturating_sub(BUCKET_COST);
        if table.version(at) == number {
            return Progress::Done;
        }
        let progress = self.write(table, at, writer, left);
        if progress == Progress::Done {
            table.stamp(at, number);
        }
        progress
    }

    /// Writes all of a bucket that is about to change, unless it is passed, and stamps it.
    pub(super) fn preserve(
        &mut self,
        place: &mut Place<'_, Entry>,
        at: BucketAt,
        writer: &mut Writer,
        number: u32,
    ) {
        if place.table().version(at) != number {
            let progress = self.write(place.table(), at, writer, &mut { ALL });
            debug_assert_eq!(progress, Progress::Done, "a sink that was to write all of a value has not");
            place.stamp(at, number);
        }
    }

    /// Writes a bucket, or the rest of it if the value that is open lies in it. More if it stopped in a large value.
    fn write(
        &mut self,
        table: &Table<Entry>,
        at: BucketAt,
        writer: &mut Writer,
        left: &mut usize,
    ) -> Progress {
        let open = self.open.take_if(|open| table.is_same_bucket(open.bucket, at));
        table.for_each_in(at, |entry| entry.collection_address().into_iter().for_each(prefetch));
        let stopped = table.try_for_each_in(at, open.map_or(0, |open| open.slot), |slot, entry| {
            let before = writer.len();
            let view = entry.view();
            let is_open = open.is_some_and(|open| open.slot == slot);
            let progress = if is_open || (view.is_large() && !writer.has_open_value) {
                if !is_open {
                    writer.begin_value(self.db, entry.key(), &view);
                }
                writer.step_value(&view, (*left).max(PIECE_BYTES_MIN))
            } else {
                writer.entry(self.db, entry.key(), &view);
                Progress::Done
            };
            if *left < ALL {
                *left = left.saturating_sub(KEY_COST + writer.len() - before);
            }
            match progress {
                Progress::More => ControlFlow::Break(slot),
                Progress::Done => ControlFlow::Continue(()),
            }
        });
        match stopped {
            ControlFlow::Break(slot) => {
                self.open = Some(OpenValue { bucket: at, slot });
                *left = 0;
                Progress::More
            }
            ControlFlow::Continue(()) => Progress::Done,
        }
    }

    /// Whether a large value is still to be written of a bucket that is not passed.
    pub(super) fn has_large(&self, table: &Table<Entry>, at: BucketAt) -> bool {
        let open = self.open.filter(|open| table.is_same_bucket(open.bucket, at));
        let is_large = |_, entry: EntryRef<'_>| match entry.view().is_large() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        table.try_for_each_in(at, open.map_or(0, |open| open.slot), is_large).is_break()
    }
}

impl Writer {
    /// With nothing written.
    pub(super) fn new(sink: Box<dyn SnapshotSink>) -> Writer {
        Writer {
            sink,
            out: Output::default(),
            is_shown: false,
            aside: Output::default(),
            has_open_value: false,
            keys_done: 0,
            keys_total: 0,
        }
    }

    /// See `SnapshotSink::database`.
    pub(super) fn database(&mut self, db: DbIndex, keys: u64, volatile: u64) {
        self.keys_total += keys;
        self.sink.database(db, keys, volatile, self.out.end());
    }

    /// All is written.
    pub(super) fn finish(&mut self) {
        debug_assert!(!self.has_open_value && self.keys_done == self.keys_total, "each key once");
        let sink = &mut self.sink;
        self.out.for_each(|bytes| sink.in_order(bytes));
        self.is_shown = true;
        self.sink.finish(self.out.end());
    }

    /// Takes some of what was written: exchanges an empty buffer for one, or adds to one that is not empty.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.out.take(out);
        if !self.is_shown {
            self.sink.in_order(&out[start..]);
        }
    }

    /// See `SnapshotProgress`.
    pub(super) fn progress(&self) -> SnapshotProgress {
        SnapshotProgress {
            keys_done: self.keys_done,
            keys_total: self.keys_total,
            waiting_bytes: self.out.len(),
            aside_bytes: self.aside.len(),
        }
    }

    /// The sink.
    pub(super) fn into_sink(self) -> Box<dyn SnapshotSink> {
        self.sink
    }

    fn len(&self) -> usize {
        self.out.len() + self.aside.len()
    }

    fn entry(&mut self, db: DbIndex, key: &[u8], view: &EntryView<'_>) {
        let out = if self.has_open_value { &mut self.aside } else { &mut self.out };
        self.sink.entry(db, key, view, out.end());
        self.keys_done += 1;
    }

    fn begin_value(&mut self, db: DbIndex, key: &[u8], view: &EntryView<'_>) {
        self.has_open_value = true;
        self.sink.begin_value(db, key, view, self.out.end());
    }

    fn step_value(&mut self, view: &EntryView<'_>, budget: usize) -> Progress {
        let progress = self.sink.step_value(view, budget, self.out.end());
        if progress == Progress::Done {
            self.has_open_value = false;
            self.keys_done += 1;
            self.out.append(&mut self.aside);
        }
        progress
    }
}
