//! Forkless snapshots: the keyspace as it was at one moment, the cut, written out bit by bit while it goes on changing.
//!
//! `begin_snapshot` is the cut; from then on `snapshot_step` walks over the buckets of all databases and shows a sink
//! what is in them. A key is written with its bucket: when the walk comes by, or before anything in the bucket changes,
//! by the door that is about to change it (`ds::table::version` has the rule). The doors are those of the keyspace:
//! `find`, which every `Slot` came through; what puts or removes an entry; the removal of what has expired. All of them
//! ask `Core::preserve`, one comparison while there is no snapshot.
//!
//! The tables that are still to be walked are held: they do not shrink or merge before the walk is through with them.
//! Databases may be swapped or flushed: a walk goes with its table, and remembers the number of its database at the
//! cut. A flushed table is walked and freed bucket by bucket. What is in a database that was empty at the cut is not
//! looked at.
//!
//! A large value is written in pieces, with commands in between. What doors preserve meanwhile waits aside until the
//! value is complete, for its pieces have to be together. A door that is about to change the value itself, or its
//! bucket, writes the rest of it at once, which may take long: `blocks_write` tells before, and `snapshot_hurry` has
//! the walk do such a value next.
//!
//! Invariant: each key that was there at the cut is shown to the sink once, as it was then (but for its access field).
//! Invariant: as long as a bucket is not passed, all its elements are in the same slots as at the cut.
//!
//! Not here: the formats of files, and how much of the shard's time goes into this.

mod output;
mod walk;

use std::collections::VecDeque;

use self::walk::{Walk, Writer};
use super::{
    db::{Core, Keyspace},
    entry::Entry,
    value::EntryView,
};
use crate::{
    base::{ids::DbIndex, key::Key, time::UnixMs},
    ds::table::{BucketAt, Drain, Place, Table},
};

/// Where a snapshot goes: writes keys in some format. `out` is what comes next in the stream, in the order in which the
/// bytes are taken, whichever buffer it is at the moment.
pub trait SnapshotSink {
    /// The size of a database at the cut: of each that has keys, before any key is shown.
    fn database(&mut self, db: DbIndex, keys: u64, volatile: u64, out: &mut Vec<u8>);

    /// A key with all that it holds, however large that is. Databases come in no order. This may be called also between
    /// `begin_value` and the last `step_value` of another key, and is with another `out` then: its bytes come after
    /// those of the value.
    fn entry(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>);

    /// A key with a large value, which `step_value` is about to be called for.
    fn begin_value(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>);

    /// The next piece of the value, of about `budget` bytes or what takes as long; all the rest if that is
    /// `usize::MAX`. The value has not changed since `begin_value`, though its entry may lie elsewhere now.
    fn step_value(&mut self, entry: &EntryView<'_>, budget: usize, out: &mut Vec<u8>) -> Progress;

    /// These bytes are in their place in the stream, after those of the last call. Called with all that was written
    /// before `finish`, by the time that it is called; what a checksum is made of.
    fn in_order(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// All keys were shown.
    fn finish(&mut self, out: &mut Vec<u8>);

    /// The checksum of everything that was written; zero where the format has none. To be asked after `finish`.
    fn checksum(&self) -> u64 {
        0
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is.
    More,
    /// There is not.
    Done,
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Keys that are written, to the end.
    pub keys_done: u64,
    /// Keys that there were at the cut.
    pub keys_total: u64,
    /// Bytes that can be taken.
    pub waiting_bytes: usize,
    /// Bytes that wait for a large value to be complete.
    pub aside_bytes: usize,
}

/// The snapshot that is under way.
pub(super) struct Snapshot {
    /// The version of the buckets that are passed.
    number: u32,
    /// By database as it is numbered now, the scratch database included: how far the walk has come, where it has not
    /// come to the end.
    walks: Vec<Option<Walk>>,
    /// Tables that were flushed before the walk was through with them.
    flushed: VecDeque<(Walk, Table<Entry>)>,
    writer: Writer,
    is_finished: bool,
}

/// What a step goes on with.
enum Turn {
    Flushed(usize),
    Database(usize),
}

impl Keyspace {
    /// Begins a snapshot of what is there now; the work is left to `snapshot_step`.
    ///
    /// # Errors
    /// A snapshot is under way; the sink is given back.
    pub fn begin_snapshot(&mut self, sink: Box<dyn SnapshotSink>) -> Result<(), Box<dyn SnapshotSink>> {
        if self.core.snapshot.is_some() {
            return Err(sink);
        }
        // Any number will do that no bucket is stamped with, and new segments begin with zero. All are used up after
        // four billion snapshots; by then later stamps have taken the place of the first ones.
        self.core.snapshots = self.core.snapshots.wrapping_add(1).max(1);
        let mut writer = Writer::new(sink);
        let mut walks: Vec<Option<Walk>> = self.databases.iter().map(|_| None).collect();
        for db in (0..self.databases()).map(DbIndex).filter(|&db| !self.is_empty(db)) {
            writer.database(db, self.len(db), self.volatile_len(db));
        }
        for db in (0..self.databases()).map(DbIndex) {
            let table = &mut self.databases[db.index()].table;
            if !table.is_empty() {
                table.hold();
                walks[db.index()] = Some(Walk::new(db, table));
            }
        }
        let snapshot = Snapshot {
            number: self.core.snapshots,
            walks,
            flushed: VecDeque::new(),
            writer,
            is_finished: false,
        };
        self.core.snapshot = Some(Box::new(snapshot));
        Ok(())
    }

    /// Goes on with the snapshot for about `budget` bytes of its output; a bucket or a key counts as some dozens more.
    /// 100 microseconds are about 64 KiB if the sink is fast. Done when everything is written, or nothing is to be.
    pub fn snapshot_step(&mut self, budget: usize) -> Progress {
        let mut left = budget.max(1);
        let mut freed = 0;
        let Core { snapshot, slab, stats, .. } = &mut self.core;
        let Some(snapshot) = snapshot.as_deref_mut() else { return Progress::Done };
        let number = snapshot.number;
        let progress = loop {
            if left == 0 {
                break Progress::More;
            }
            let turn = snapshot.turn();
            let writer = &mut snapshot.writer;
            match turn {
                Some(Turn::Database(index)) => {
                    let table = &mut self.databases[index].table;
                    let Some(walk) = &mut snapshot.walks[index] else { continue };
                    if walk.step(table, writer, number, &mut left, |_, _| ()) == Progress::Done {
                        table.release(slab);
                        snapshot.walks[index] = None;
                    }
                }
                Some(Turn::Flushed(index)) => {
                    let Some((walk, table)) = snapshot.flushed.get_mut(index) else { continue };
                    let free = |table: &mut Table<Entry>, at| freed += table.empty_bucket(slab, at);
                    if walk.step(table, writer, number, &mut left, free) == Progress::Done {
                        if let Some((_, table)) = snapshot.flushed.remove(index) {
                            self.detached.push_back(table.into_drain());
                        }
                    }
                }
                None => {
                    snapshot.finish();
                    break Progress::Done;
                }
            }
        };
        stats.lazyfree_pending_objects -= freed;
        stats.lazyfreed_objects += freed;
        progress
    }

    /// Exchanges an empty buffer for one with the next output, or adds that to one that is not empty. Whether there is
    /// more tells `SnapshotProgress::waiting_bytes`.
    pub fn take_snapshot_output(&mut self, out: &mut Vec<u8>) {
        if let Some(snapshot) = &mut self.core.snapshot {
            snapshot.writer.take(out);
        }
    }

    /// How far the snapshot has come, if there is one.
    pub fn snapshot_progress(&self) -> Option<SnapshotProgress> {
        self.core.snapshot.as_ref().map(|snapshot| snapshot.writer.progress())
    }

    /// Ends a snapshot that is done and whose output was taken; its sink. `None` if there is none of which that is
    /// true.
    pub fn end_snapshot(&mut self) -> Option<Box<dyn SnapshotSink>> {
        let is_over = |snapshot: &mut Box<Snapshot>| {
            snapshot.is_finished && snapshot.writer.progress().waiting_bytes == 0
        };
        Some(self.core.snapshot.take_if(is_over)?.writer.into_sink())
    }

    /// Gives the snapshot up, if there is one; its sink, which has an incomplete value open, perhaps.
    pub fn abort_snapshot(&mut self) -> Option<Box<dyn SnapshotSink>> {
        let snapshot = self.core.snapshot.take()?;
        for (walk, database) in snapshot.walks.iter().zip(&mut self.databases) {
            if walk.is_some() {
                database.table.release(&mut self.core.slab);
            }
        }
        self.detached.extend(snapshot.flushed.into_iter().map(|(_, table)| table.into_drain()));
        Some(snapshot.writer.into_sink())
    }

    /// Whether changing this key now means to write a large value at once for the snapshot.
    pub fn blocks_write(&mut self, db: DbIndex, key: Key<'_>) -> bool {
        self.core.snapshot.is_some() && self.blocking_bucket(db, key).is_some()
    }

    /// Has the walk do next what `blocks_write` complains of. To be asked again as long as it does.
    pub fn snapshot_hurry(&mut self, db: DbIndex, key: Key<'_>) {
        let Some(at) = self.blocking_bucket(db, key) else { return };
        let walk = self.core.snapshot.as_mut().and_then(|snapshot| snapshot.walks[db.index()].as_mut());
        if let Some(walk) = walk {
            walk.hurry(at);
        }
    }

    /// A key is about to change, if it is there. Looks it up once more, which costs little beside what follows, and so
    /// leaves the code of those alone who have no snapshot.
    #[cold]
    #[inline(never)]
    pub(super) fn preserve_key(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) {
        let (core, mut place) = self.place(db, key, now);
        core.preserve(&mut place, db);
    }

    /// A bucket with a large value that a change of this key has to preserve.
    fn blocking_bucket(&mut self, db: DbIndex, key: Key<'_>) -> Option<BucketAt> {
        let snapshot = self.core.snapshot.as_deref()?;
        let walk = snapshot.walks[db.index()].as_ref()?;
        let place = self.databases[db.index()].table.place(key.hash().0, key.bytes());
        let table = place.table();
        let blocks = |&at: &BucketAt| table.version(at) != snapshot.number && walk.has_large(table, at);
        match place.bucket().or_else(|| place.bucket_for_insert()) {
            Some(at) => Some(at).filter(blocks),
            None => place.segment_buckets().find(blocks),
        }
    }

    /// Goes on with the tables that were flushed, if there are any whose memory the snapshot keeps; whether there were.
    pub(super) fn walk_flushed(&mut self, budget: usize) -> bool {
        let there_are = self.core.snapshot.as_ref().is_some_and(|snapshot| !snapshot.flushed.is_empty());
        if there_are {
            self.snapshot_step(budget);
        }
        there_are
    }
}

impl Core {
    /// The entry of a place, if there is one, is about to change.
    #[inline]
    pub(super) fn preserve(&mut self, place: &mut Place<'_, Entry>, db: DbIndex) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.preserve(place, db);
        }
    }

    /// An entry is about to be inserted at a place.
    #[inline]
    pub(super) fn preserve_for_insert(&mut self, place: &mut Place<'_, Entry>, db: DbIndex) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.preserve_for_insert(place, db);
        }
    }

    /// Whether the snapshot has still to write the entry of a place.
    #[inline]
    pub(super) fn is_awaited(&self, place: &Place<'_, Entry>, db: DbIndex) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| {
            let bucket = place.bucket().filter(|_| snapshot.walks[db.index()].is_some());
            bucket.is_some_and(|at| place.table().version(at) != snapshot.number)
        })
    }

    /// Whether the snapshot has still to walk over a part of a database.
    pub(super) fn is_walked(&self, db: DbIndex) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.walks[db.index()].is_some())
    }

    /// A table has left its database; to be freed by the snapshot if there is one that has still to walk over it.
    pub(super) fn detach(&mut self, db: DbIndex, table: Table<Entry>) -> Option<Drain<Entry>> {
        let Some(snapshot) = &mut self.snapshot else { return Some(table.into_drain()) };
        let Some(walk) = snapshot.walks[db.index()].take() else { return Some(table.into_drain()) };
        snapshot.flushed.push_back((walk, table));
        None
    }
}

impl Snapshot {
    /// Two databases are exchanged.
    pub(super) fn swap(&mut self, a: DbIndex, b: DbIndex) {
        self.walks.swap(a.index(), b.index());
    }

    /// Bytes of the tables that were flushed, without their elements.
    pub(super) fn table_bytes(&self) -> usize {
        self.flushed.iter().map(|(_, table)| table.memory_bytes()).sum()
    }

    /// First a value that is begun, then what was hurried, then what was flushed, then the rest.
    fn turn(&self) -> Option<Turn> {
        let flushed = self.flushed.iter().enumerate();
        let flushed = flushed.map(|(index, (walk, _))| (walk.urgency(), Turn::Flushed(index)));
        let databases = self.walks.iter().enumerate();
        let databases =
            databases.filter_map(|(index, walk)| Some((walk.as_ref()?.urgency(), Turn::Database(index))));
        flushed.chain(databases).min_by_key(|&(urgency, _)| urgency).map(|(_, turn)| turn)
    }

    #[cold]
    #[inline(never)]
    fn preserve(&mut self, place: &mut Place<'_, Entry>, db: DbIndex) {
        let Some(walk) = &mut self.walks[db.index()] else { return };
        if let Some(at) = place.bucket() {
            walk.preserve(place, at, &mut self.writer, self.number);
        }
    }

    #[cold]
    #[inline(never)]
    fn preserve_for_insert(&mut self, place: &mut Place<'_, Entry>, db: DbIndex) {
        let Some(walk) = &mut self.walks[db.index()] else { return };
        match place.bucket_for_insert() {
            Some(at) => walk.preserve(place, at, &mut self.writer, self.number),
            None => {
                for at in place.segment_buckets() {
                    walk.preserve(place, at, &mut self.writer, self.number);
                }
                walk.forget_hurried();
            }
        }
    }

    fn finish(&mut self) {
        if !self.is_finished {
            self.is_finished = true;
            self.writer.finish();
        }
    }
}

#[cfg(test)]
mod tests;
