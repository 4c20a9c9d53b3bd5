//! Several keys at once, to read, while a new collection is made of what they hold.

use super::{db::Database, entry::EntryRef, value::ValueRef};
use crate::base::{ids::DbIndex, key::KeyHasher, time::UnixMs};

/// See the module.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    databases: &'a [Database],
    hasher: &'a KeyHasher,
    now: UnixMs,
}

impl<'a> Sources<'a> {
    pub(super) fn new(databases: &'a [Database], hasher: &'a KeyHasher, now: UnixMs) -> Self {
        Sources { databases, hasher, now }
    }

    /// What the key holds: a value lent by another shard, or this shard's own.
    pub fn get(&self, db: DbIndex, name: &[u8]) -> Option<ValueRef<'a>> {
        let hash = self.hasher.hash(name).0;
        let scratch = self.databases.last().filter(|scratch| !scratch.table.is_empty());
        let lent = scratch.and_then(|scratch| scratch.table.find(hash, name));
        let found = lent.or_else(|| self.databases[db.index()].table.find(hash, name))?;
        (!found.is_gone(self.now)).then(|| EntryRef::value(found))
    }
}
