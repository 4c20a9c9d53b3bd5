//! What keeps a keyspace in order besides commands: expiry, freeing after a flush, defragmentation, tidying up.
//!
//! Each step does a bounded amount of work, given as a count; the shard's cron decides how many steps its time allows.
//! As a guide, 100 microseconds are about 500 buckets of expiry, 200 of defragmentation, 500 keys to free, 20 segments
//! to tidy.

use super::{
    db::Keyspace,
    entry::{free_retired, EntryRef},
};
use crate::ds::table::{Sweep, Visit};

/// Empty pages that the allocator keeps at hand: 512 KiB.
const PAGES_KEPT: usize = 8;

/// Pages given back to the system in one step: a system call each.
const PAGES_RELEASED_MAX: usize = 16;

/// One step of active defragmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefragReport {
    /// Entries looked at.
    pub examined: u64,
    /// Entries moved.
    pub moved: u64,
    /// There is more to win.
    pub more: bool,
}

impl Keyspace {
    /// Frees about `budget` keys of flushed databases; whether more remain.
    pub fn free_step(&mut self, budget: usize) -> bool {
        let mut freed = 0;
        while self.core.slab.retired_len() > 0 && freed < budget as u64 {
            let ended = free_retired(&mut self.core.slab, budget);
            freed += budget as u64;
            self.core.stats.lazyfreed_objects += ended;
        }
        let retired = freed;
        while let Some(drain) = self.detached.front_mut() {
            if freed >= budget as u64 {
                break;
            }
            freed += drain.step(&mut self.core.slab, budget - freed as usize);
            if !drain.is_empty() {
                // The budget is used up, or what was freed was large.
                break;
            }
            self.detached.pop_front();
        }
        self.core.stats.lazyfree_pending_objects -= freed - retired;
        self.core.stats.lazyfreed_objects += freed - retired;
        !self.detached.is_empty() || self.core.slab.retired_len() > 0
    }

    /// Moves entries off sparse pages, looking at `budget` buckets, if there are pages to be won.
    pub fn defrag_step(&mut self, budget: usize) -> DefragReport {
        let mut report = DefragReport::default();
        if self.core.slab.movable_bytes(0) == 0 {
            return report;
        }
        let turn = self.turns.defrag;
        let Some(database) = self.databases.get_mut(turn) else {
            self.turns.defrag = 0;
            return DefragReport { more: true, ..report };
        };
        let (cursor, slab) = (database.defrag_cursor, &mut self.core.slab);
        database.defrag_cursor =
            database.table.sweep(slab, cursor, budget, Sweep::All, |slab, entry: EntryRef<'_>| {
                report.examined += 1;
                match entry.relocated(slab) {
                    Some(entry) => {
                        report.moved += 1;
                        Visit::Replace(entry)
                    }
                    None => Visit::Keep,
                }
            });
        if database.defrag_cursor == 0 {
            self.turns.defrag += 1;
        }
        self.core.stats.defrag_moved += report.moved;
        self.core.stats.defrag_left += report.examined - report.moved;
        report.more = self.core.slab.movable_bytes(0) > 0;
        report
    }

    /// Housekeeping that writes leave undone: puts up to `budget` segments of a table that has grown or shrunk in
    /// order, and gives free pages back. Whether more remains.
    pub fn maintain_step(&mut self, budget: usize) -> bool {
        let more = self.tidy_step(budget);
        self.core.slab.release(PAGES_KEPT, PAGES_RELEASED_MAX);
        more || self.core.slab.releasable(PAGES_KEPT)
    }

    fn tidy_step(&mut self, budget: usize) -> bool {
        while let Some(database) = self.databases.get_mut(self.turns.tidy) {
            let table = &mut database.table;
            let starts =
                database.tidy_cursor == 0 && table.needs_tidying(&self.core.slab, database.tidy_reshapes);
            if starts {
                database.tidy_reshapes = table.reshapes();
            }
            if starts || database.tidy_cursor != 0 {
                database.tidy_cursor = table.tidy(&mut self.core.slab, database.tidy_cursor, budget);
                if database.tidy_cursor == 0 {
                    self.turns.tidy += 1;
                }
                return true;
            }
            self.turns.tidy += 1;
        }
        self.turns.tidy = 0;
        false
    }
}
