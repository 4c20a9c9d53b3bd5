//! The active side of expiry: a sweep over the volatile keys of all databases. (The lazy side is in `db.rs`: every
//! lookup removes a key whose time has come.)

use super::{
    db::{Core, Keyspace},
    entry::EntryRef,
};
use crate::{
    base::{ids::DbIndex, time::UnixMs},
    ds::table::{Sweep, Visit},
};

/// One step of the active expiry cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Volatile keys looked at.
    pub examined: u64,
    /// Keys removed.
    pub expired: u64,
    /// The sweep has not come round yet: another step looks at other keys.
    pub more: bool,
}

impl Keyspace {
    /// Removes keys whose time has come, looking at `budget` buckets; where no key is volatile it looks at none.
    pub fn expire_step(&mut self, now: UnixMs, budget: usize) -> ExpireReport {
        let mut report = ExpireReport::default();
        if !self.core.options.active_expire {
            return report;
        }
        let count = self.databases.len();
        while self.turns.expire < count && self.databases[self.turns.expire].table.volatile_len() == 0 {
            self.databases[self.turns.expire].expire_cursor = 0;
            self.turns.expire += 1;
        }
        let Some(database) = self.databases.get_mut(self.turns.expire) else {
            self.turns.expire = 0;
            return report;
        };
        let db = DbIndex(self.turns.expire as u16);
        let Core { slab, observers, hasher, .. } = &mut self.core;
        let cursor = database.expire_cursor;
        let mut ttl_sum_ms = 0u128;
        let visit = |_: &mut _, entry: EntryRef<'_>| {
            report.examined += 1;
            let ttl_ms = entry.expire_at().map_or(i64::MAX, |at| at.0.saturating_sub(now.0));
            if ttl_ms < 0 {
                report.expired += 1;
                if !observers.is_empty() {
                    observers.modified(db, hasher.hash(entry.key()));
                }
                return Visit::Remove;
            }
            ttl_sum_ms += u128::from(ttl_ms.unsigned_abs());
            Visit::Keep
        };
        database.expire_cursor = database.table.sweep(slab, cursor, budget, Sweep::Volatile, visit);
        if let Some(sample) = ttl_sum_ms.checked_div(u128::from(report.examined - report.expired)) {
            // A running average over the last fifty samples, as in Redis.
            let (old, new) = (database.average_ttl_ms, sample as u64);
            database.average_ttl_ms = if old == 0 { new } else { old / 50 * 49 + new / 50 };
        }
        if database.expire_cursor == 0 {
            self.turns.expire += 1;
        }
        let rest = &self.databases[self.turns.expire..];
        report.more = rest.iter().any(|database| database.table.volatile_len() > 0);
        if !report.more {
            self.turns.expire = 0;
        }
        self.core.stats.expired_keys += report.expired;
        self.core.stats.expire_examined += report.examined;
        self.core.stats.expire_swept += report.expired;
        report
    }
}
