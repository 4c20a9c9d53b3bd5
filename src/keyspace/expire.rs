//! The active side of expiry: a sweep over the volatile keys of all databases, and over the volatile fields of hashes
//! on the way. (The lazy side is in `db.rs`: every lookup removes a key whose time has come.)
//!
//! A hash counts as volatile, too, while fields of it expire. It is done with before the sweep goes on: a step that
//! does not come to its end leaves its key for the next step.

use smallvec::SmallVec;

use super::{
    collection::Hash,
    db::{Core, Keyspace},
    entry::EntryRef,
    removals::Cause,
};
use crate::{
    base::{ids::DbIndex, time::UnixMs},
    ds::{
        collection::Collection,
        table::{Element, Sweep, Visit},
    },
};

/// Buckets that are swept before the hashes found there are seen to.
const CHUNK_BUCKETS: usize = 8;

/// A step ends when it has freed more than this.
const FREED_BYTES_MAX: u64 = 1 << 20;

/// How many fields of a small hash cost as much as a bucket.
const FIELDS_PER_BUCKET: usize = 16;

/// A key of usual length.
type KeyBytes = SmallVec<[u8; 48]>;

/// One step of the active expiry cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Volatile keys and fields looked at.
    pub examined: u64,
    /// Keys and fields removed.
    pub expired: u64,
    /// The sweep has not come round yet: another step looks at other keys.
    pub more: bool,
}

/// What a step saw of the keys that expire themselves.
#[derive(Default)]
struct Seen {
    examined: u64,
    expired: u64,
    /// Those of the expired that a lookup removed and counted.
    looked_up: u64,
    ttl_sum_ms: u128,
}

impl Keyspace {
    /// Removes keys and fields whose time has come, looking at about `budget` buckets; where nothing is volatile it
    /// looks at none.
    pub fn expire_step(&mut self, now: UnixMs, budget: usize) -> ExpireReport {
        let mut report = ExpireReport::default();
        if !self.core.options.active_expire {
            return report;
        }
        let count = self.databases.len();
        while self.turns.expire < count && self.databases[self.turns.expire].table.volatile_len() == 0 {
            let database = &mut self.databases[self.turns.expire];
            (database.expire_cursor, database.expire_unfinished) = (0, None);
            self.turns.expire += 1;
        }
        if self.turns.expire == count {
            self.turns.expire = 0;
            return report;
        }
        let db = DbIndex(self.turns.expire as u16);
        let (mut seen, mut left) = (Seen::default(), budget.max(1));
        if let Some(key) = self.databases[db.index()].expire_unfinished.take() {
            left = left.saturating_sub(self.expire_fields(db, &key, now, left, &mut report));
        }
        let used = self.used_memory();
        while left > 0 && self.databases[db.index()].expire_unfinished.is_none() {
            // Large values take their time, however few they are.
            if used.saturating_sub(self.used_memory()) > FREED_BYTES_MAX {
                break;
            }
            let chunk = left.min(CHUNK_BUCKETS);
            left -= chunk;
            for key in self.sweep_keys(db, now, chunk, &mut seen) {
                left = left.saturating_sub(self.expire_fields(db, &key, now, left, &mut report));
            }
            if self.databases[db.index()].expire_cursor == 0 {
                break;
            }
        }
        let database = &mut self.databases[db.index()];
        if let Some(sample) = seen.ttl_sum_ms.checked_div(u128::from(seen.examined - seen.expired)) {
            // A running average over the last fifty samples, as in Redis.
            let (old, new) = (database.average_ttl_ms, sample as u64);
            database.average_ttl_ms = if old == 0 { new } else { old / 50 * 49 + new / 50 };
        }
        if database.expire_cursor == 0 && database.expire_unfinished.is_none() {
            self.turns.expire += 1;
        }
        let rest = &self.databases[self.turns.expire..];
        report.more = rest.iter().any(|database| database.table.volatile_len() > 0);
        if !report.more {
            self.turns.expire = 0;
        }
        self.core.stats.expired_keys += seen.expired - seen.looked_up;
        self.core.stats.expire_examined += seen.examined;
        self.core.stats.expire_swept += seen.expired;
        report.examined += seen.examined;
        report.expired += seen.expired;
        report
    }

    /// Sweeps the keys of so many buckets; those are returned in whose hashes fields may have expired.
    fn sweep_keys(&mut self, db: DbIndex, now: UnixMs, buckets: usize, seen: &mut Seen) -> Vec<KeyBytes> {
        let database = &mut self.databases[db.index()];
        // Each key that goes has to go through the door then, where the snapshot is shown its bucket.
        let is_walked = self.core.is_walked(db);
        let Core { slab, observers, removals, hasher, .. } = &mut self.core;
        let (mut due, mut over) = (Vec::new(), Vec::new());
        let visit = |_: &mut _, entry: EntryRef<'_>| {
            if let Some(at) = entry.expire_at() {
                seen.examined += 1;
                let ttl_ms = at.0.saturating_sub(now.0);
                if ttl_ms < 0 && is_walked {
                    over.push(KeyBytes::from_slice(entry.key()));
                    return Visit::Keep;
                }
                if ttl_ms < 0 {
                    seen.expired += 1;
                    removals.key(db, entry.key(), Cause::Expired);
                    if !observers.is_empty() {
                        observers.modified(db, hasher.hash(entry.key()));
                    }
                    return Visit::Remove;
                }
                seen.ttl_sum_ms += u128::from(ttl_ms.unsigned_abs());
            }
            if entry.hash().is_some_and(|hash| hash.is_volatile() && hash.may_have_expired(now)) {
                due.push(KeyBytes::from_slice(entry.key()));
            }
            Visit::Keep
        };
        let cursor = database.expire_cursor;
        database.expire_cursor = database.table.sweep(slab, cursor, buckets, Sweep::Volatile, visit);
        for key in over {
            let removed = self.expire_key(db, &key, now);
            seen.expired += removed;
            seen.looked_up += removed;
        }
        due
    }

    /// Removes a key whose time has come; how many it was. One with a large value stays for the next round if a
    /// snapshot has still to write that.
    fn expire_key(&mut self, db: DbIndex, key: &[u8], now: UnixMs) -> u64 {
        let hasher = self.core.hasher.clone();
        let key = hasher.key(key);
        if self.blocks_write(db, key) {
            self.snapshot_hurry(db, key);
            return 0;
        }
        let expired = self.core.stats.expired_keys;
        self.place(db, key, now);
        self.core.stats.expired_keys - expired
    }

    /// Removes fields whose time has come from the hash at a key, and the key with the last field. Looks at about
    /// `budget` buckets, and leaves the key for the next step if that was not enough; how many it was. A large hash
    /// that a snapshot has still to write is left for the next round.
    fn expire_fields(
        &mut self,
        db: DbIndex,
        key: &[u8],
        now: UnixMs,
        budget: usize,
        report: &mut ExpireReport,
    ) -> usize {
        let hasher = self.core.hasher.clone();
        let key = hasher.key(key);
        if self.blocks_write(db, key) {
            self.snapshot_hurry(db, key);
            return 1;
        }
        let (core, mut place) = self.place(db, key, now);
        core.preserve(&mut place, db);
        let Some(mut hash) = place.element_mut().and_then(|mut entry| entry.take_collection::<Hash>()) else {
            // The hash was over.
            report.examined += 1;
            report.expired += 1;
            return 1;
        };
        core.uncount(&place, db);
        let len = Hash::len(hash.as_ref());
        let removals = &mut core.removals;
        let expired = hash.expire_step(&mut core.slab, now, budget.max(1), &mut |field| {
            removals.field(db, key.bytes(), field);
        });
        let is_over = Hash::len(hash.as_ref()) == 0;
        if let Some(mut entry) = place.element_mut() {
            entry.put_collection(hash);
        }
        if is_over {
            if let Some(entry) = place.remove(&mut core.slab) {
                entry.free(&mut core.slab);
                core.stats.expired_keys += 1;
            }
        }
        core.count(&mut place, db);
        if expired.removed > 0 {
            core.observers.modified(db, key.hash());
        }
        core.stats.expired_fields += expired.removed;
        report.examined += expired.removed + expired.kept;
        report.expired += expired.removed;
        if expired.more {
            self.databases[db.index()].expire_unfinished = Some(key.bytes().into());
            return budget;
        }
        len.div_ceil(FIELDS_PER_BUCKET).min(budget).max(1)
    }
}
