//! The one door for reads and writes of a shard's keys. (First form: the interface on plain maps.)

use std::collections::BTreeMap;

use super::{
    access, value::canonical_i64, AccessPolicy, DefragReport, Encoding, EntryView, ExpireReport,
    KeyspaceStats, LfuOptions, MemoryUse, NewValue, SetExpire, Touch, ValueRef,
};
use crate::base::{
    ids::DbIndex,
    key::{Key, KeyHash, KeyHasher},
    prng::Prng,
    time::UnixMs,
};

/// What a keyspace is told by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceOptions {
    /// What the access field of a key holds.
    pub access: AccessPolicy,
    /// How LFU counts.
    pub lfu: LfuOptions,
    /// Whether `expire_step` removes anything (DEBUG SET-ACTIVE-EXPIRE); lookups always do.
    pub active_expire: bool,
    /// Seeds the only randomness in here, LFU's.
    pub seed: u64,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        KeyspaceOptions {
            access: AccessPolicy::Lru,
            lfu: LfuOptions::default(),
            active_expire: true,
            seed: 0,
        }
    }
}

/// What `copy_entry` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// There is no such source key.
    NoSource,
    /// The destination exists and was not to be replaced.
    Exists,
    /// Copied.
    Copied,
}

struct Stored {
    value: Held,
    expire_at: Option<UnixMs>,
    access: u32,
}

enum Held {
    Int(i64),
    Bytes(Vec<u8>, bool),
}

impl Stored {
    fn view(&self, key: &[u8]) -> EntryView<'_> {
        let (value, encoding, len) = match &self.value {
            Held::Int(number) => (ValueRef::Int(*number), Encoding::Int, 8),
            Held::Bytes(bytes, modified) => {
                let embstr = !modified && bytes.len() <= super::value::EMBSTR_LEN_MAX;
                let encoding = if embstr { Encoding::Embstr } else { Encoding::Raw };
                (ValueRef::Str(bytes), encoding, bytes.len())
            }
        };
        let size_bytes = 18 + key.len() + len;
        EntryView { value, expire_at: self.expire_at, access: self.access, encoding, size_bytes }
    }
}

fn held(value: NewValue<'_>) -> Held {
    match value {
        NewValue::Bytes(bytes) => match canonical_i64(bytes) {
            Some(number) => Held::Int(number),
            None => Held::Bytes(bytes.to_vec(), false),
        },
        NewValue::Int(number) => Held::Int(number),
        NewValue::Raw(bytes) => Held::Bytes(bytes.to_vec(), false),
        NewValue::Buffer(bytes) => Held::Bytes(bytes.to_vec(), true),
    }
}

/// One shard's databases.
///
/// Invariant: a key whose time has come is absent to every function that takes `now`.
pub struct Keyspace {
    hasher: KeyHasher,
    options: KeyspaceOptions,
    databases: Vec<BTreeMap<Vec<u8>, Stored>>,
    detached: Vec<BTreeMap<Vec<u8>, Stored>>,
    stats: KeyspaceStats,
    dirty: u64,
    touch: Touch,
    prng: Prng,
}

/// A key looked up once, present or not: what GET-then-SET commands work on without a second probe.
pub struct Slot<'k> {
    keyspace: &'k mut Keyspace,
    db: DbIndex,
    key: Key<'k>,
    now: UnixMs,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases. Nothing is allocated for a database before its first key.
    pub fn new(databases: u16, hasher: KeyHasher, options: KeyspaceOptions) -> Self {
        Keyspace {
            hasher,
            prng: Prng::new(options.seed),
            options,
            databases: (0..databases).map(|_| BTreeMap::new()).collect(),
            detached: Vec::new(),
            stats: KeyspaceStats::default(),
            dirty: 0,
            touch: Touch::Yes,
        }
    }

    /// Hashes keys for this keyspace.
    #[inline]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// The options in force.
    pub fn options(&self) -> &KeyspaceOptions {
        &self.options
    }

    /// Changes the options (CONFIG SET).
    pub fn set_options(&mut self, options: KeyspaceOptions) {
        self.options = options;
    }

    /// How many databases there are.
    pub fn databases(&self) -> u16 {
        self.databases.len() as u16
    }

    /// Whether lookups from now on count as uses of the keys (CLIENT NO-TOUCH); the session sets it with each change
    /// of client.
    #[inline]
    pub fn set_touch(&mut self, touch: Touch) {
        self.touch = touch;
    }

    /// What `set_touch` said last.
    #[inline]
    pub fn touch(&self) -> Touch {
        self.touch
    }

    /// Asks the memory for the bucket of `hash`. First wave of a batch.
    #[inline]
    pub fn prefetch_bucket(&self, _db: DbIndex, _hash: KeyHash) {}

    /// Asks the memory for the entry of `hash`, whose bucket is there by now. Second wave of a batch.
    #[inline]
    pub fn prefetch_entry(&self, _db: DbIndex, _hash: KeyHash) {}

    /// The value of a key, for reading: counts a hit or a miss, and a use of the key.
    #[inline]
    pub fn lookup_read(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Option<ValueRef<'_>> {
        if !self.live(db, key.bytes(), now) {
            self.stats.misses += 1;
            return None;
        }
        self.stats.hits += 1;
        self.touch_key(db, key.bytes(), now);
        Some(self.databases[db.index()][key.bytes()].view(key.bytes()).value)
    }

    /// Everything about a key: counts a hit or a miss, but no use of the key (TTL, TYPE, OBJECT).
    pub fn inspect(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Option<EntryView<'_>> {
        match self.live(db, key.bytes(), now) {
            true => self.stats.hits += 1,
            false => self.stats.misses += 1,
        }
        self.peek(db, key, now)
    }

    /// Everything about a key, counting nothing.
    pub fn peek(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Option<EntryView<'_>> {
        match self.live(db, key.bytes(), now) {
            true => self.databases[db.index()].get(key.bytes()).map(|stored| stored.view(key.bytes())),
            false => None,
        }
    }

    /// Whether the key is there: counts a hit or a miss, and a use of the key unless `touch` says no (EXISTS, TOUCH).
    pub fn exists(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> bool {
        self.lookup_read(db, key, now).is_some()
    }

    /// Looks a key up for writing: counts a use of the key, but neither hit nor miss.
    #[inline]
    pub fn find<'k>(&'k mut self, db: DbIndex, key: Key<'k>, now: UnixMs) -> Slot<'k> {
        if self.live(db, key.bytes(), now) {
            self.touch_key(db, key.bytes(), now);
        }
        Slot { keyspace: self, db, key, now }
    }

    /// Sets a key's value, whether it exists or not.
    #[inline]
    pub fn set(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs, value: NewValue<'_>, expire: SetExpire) {
        self.find(db, key, now).set(value, expire);
    }

    /// Appends to a key's string, creating it if need be; the new length.
    ///
    /// The key holds a string or nothing.
    pub fn append(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs, bytes: &[u8]) -> usize {
        self.find(db, key, now).append(bytes)
    }

    /// Overwrites a part of a key's string, which is extended with zero bytes as needed; the new length. With no
    /// bytes nothing is created or changed.
    ///
    /// The key holds a string or nothing.
    pub fn write_range(
        &mut self,
        db: DbIndex,
        key: Key<'_>,
        now: UnixMs,
        offset: usize,
        bytes: &[u8],
    ) -> usize {
        self.find(db, key, now).write_range(offset, bytes)
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> bool {
        self.find(db, key, now).remove()
    }

    /// Sets or clears a key's expiry; whether the key was there.
    pub fn set_expire(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs, expire_at: Option<UnixMs>) -> bool {
        self.find(db, key, now).set_expire(expire_at)
    }

    /// Copies a key with its value's encoding, expiry and access field (COPY; with `remove` afterwards RENAME, MOVE).
    pub fn copy_entry(
        &mut self,
        (src_db, src): (DbIndex, Key<'_>),
        (dst_db, dst): (DbIndex, Key<'_>),
        now: UnixMs,
        replace: bool,
    ) -> CopyOutcome {
        if !self.live(src_db, src.bytes(), now) {
            return CopyOutcome::NoSource;
        }
        if self.live(dst_db, dst.bytes(), now) && !replace {
            return CopyOutcome::Exists;
        }
        let stored = &self.databases[src_db.index()][src.bytes()];
        let (expire_at, access) = (stored.expire_at, stored.access);
        let copy = Stored { value: held(stored.view(b"").to_new_value()), expire_at, access };
        self.databases[dst_db.index()].insert(dst.bytes().to_vec(), copy);
        self.dirty += 1;
        CopyOutcome::Copied
    }

    /// Keys in a database, those included whose time has come and that are not yet removed.
    pub fn len(&self, db: DbIndex) -> u64 {
        self.databases[db.index()].len() as u64
    }

    /// Whether a database has no keys.
    pub fn is_empty(&self, db: DbIndex) -> bool {
        self.len(db) == 0
    }

    /// Keys of a database that have an expiry.
    pub fn volatile_len(&self, db: DbIndex) -> u64 {
        self.databases[db.index()].values().filter(|stored| stored.expire_at.is_some()).count() as u64
    }

    /// The average time to live of a database's volatile keys, as the expiry sweep estimates it, in milliseconds.
    pub fn average_ttl_ms(&self, _db: DbIndex) -> u64 {
        0
    }

    /// Empties a database; how many keys it had. Their memory is freed by `free_step`.
    pub fn flush(&mut self, db: DbIndex) -> u64 {
        let detached = std::mem::take(&mut self.databases[db.index()]);
        let removed = detached.len() as u64;
        self.dirty += removed;
        self.stats.lazyfree_pending_objects += removed;
        self.detached.push(detached);
        removed
    }

    /// Empties all databases; how many keys they had.
    pub fn flush_all(&mut self) -> u64 {
        (0..self.databases()).map(|db| self.flush(DbIndex(db))).sum()
    }

    /// Frees up to about `budget` keys of flushed databases; whether more remain.
    pub fn free_step(&mut self, _budget: usize) -> bool {
        self.detached.clear();
        self.stats.lazyfreed_objects += std::mem::take(&mut self.stats.lazyfree_pending_objects);
        false
    }

    /// Exchanges two databases (SWAPDB).
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) {
        self.databases.swap(a.index(), b.index());
        self.dirty += 1;
    }

    /// One SCAN step: calls `f` for about `count` keys and returns the cursor to go on with, 0 at the end. Cursors are
    /// below 2^47. A key that is there from the first step to the last is returned at least once.
    pub fn scan(
        &mut self,
        db: DbIndex,
        _cursor: u64,
        _count: usize,
        now: UnixMs,
        f: impl FnMut(&[u8], &EntryView<'_>),
    ) -> u64 {
        self.for_each(db, now, f);
        0
    }

    /// A random key, near-uniformly chosen.
    pub fn random_key(&mut self, db: DbIndex, prng: &mut Prng, now: UnixMs) -> Option<&[u8]> {
        let keys = self.databases[db.index()].iter().filter(|(_, s)| s.expire_at.is_none_or(|at| at > now));
        let count = keys.clone().count();
        keys.map(|(key, _)| key.as_slice()).nth(prng.below(count as u64) as usize)
    }

    /// Calls `f` for every key (KEYS, DEBUG DIGEST), in no particular order.
    pub fn for_each(&mut self, db: DbIndex, now: UnixMs, mut f: impl FnMut(&[u8], &EntryView<'_>)) {
        for (key, stored) in &self.databases[db.index()] {
            if stored.expire_at.is_none_or(|at| at > now) {
                f(key, &stored.view(key));
            }
        }
    }

    /// Removes keys whose time has come, looking at `budget` buckets.
    pub fn expire_step(&mut self, now: UnixMs, _budget: usize) -> ExpireReport {
        let mut report = ExpireReport::default();
        if self.options.active_expire {
            for db in &mut self.databases {
                let before = db.len() as u64;
                db.retain(|_, stored| stored.expire_at.is_none_or(|at| at > now));
                report.expired += before - db.len() as u64;
            }
        }
        report.examined = report.expired;
        self.stats.expired_keys += report.expired;
        report
    }

    /// Moves entries off sparse pages, looking at `budget` buckets.
    pub fn defrag_step(&mut self, _budget: usize) -> DefragReport {
        DefragReport::default()
    }

    /// Housekeeping that lookups leave undone: shrinks tables, gives free pages back. Whether more remains.
    pub fn maintain_step(&mut self, _budget: usize) -> bool {
        false
    }

    /// Bytes of all databases: entries by the sizes that were allocated for them, and tables.
    #[inline]
    pub fn used_memory(&self) -> u64 {
        self.memory().used_bytes()
    }

    /// Where the memory is.
    pub fn memory(&self) -> MemoryUse {
        let entries = self.databases.iter().flatten().map(|(key, stored)| stored.view(key).size_bytes as u64);
        let dataset_bytes = entries.sum();
        MemoryUse { dataset_bytes, table_bytes: 0, resident_bytes: dataset_bytes }
    }

    /// Changes of the data set since the last `reset_dirty`: one for each key set, changed or removed by a command.
    #[inline]
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// A save has put `saved` changes on disk.
    pub fn reset_dirty(&mut self, saved: u64) {
        self.dirty -= saved.min(self.dirty);
    }

    /// The counters.
    pub fn stats(&self) -> &KeyspaceStats {
        &self.stats
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        self.stats.reset();
    }

    fn live(&mut self, db: DbIndex, key: &[u8], now: UnixMs) -> bool {
        let Some(stored) = self.databases[db.index()].get(key) else { return false };
        if stored.expire_at.is_some_and(|at| at <= now) {
            self.databases[db.index()].remove(key);
            self.stats.expired_keys += 1;
            return false;
        }
        true
    }

    fn touch_key(&mut self, db: DbIndex, key: &[u8], now: UnixMs) {
        if self.touch == Touch::No {
            return;
        }
        if let Some(stored) = self.databases[db.index()].get_mut(key) {
            stored.access = match self.options.access {
                AccessPolicy::Lru => access::lru_clock(now),
                AccessPolicy::Lfu => {
                    access::lfu_touched(stored.access, now, self.options.lfu, &mut self.prng)
                }
            };
        }
    }
}

impl Slot<'_> {
    /// Whether the key is there.
    #[inline]
    pub fn exists(&self) -> bool {
        self.stored().is_some()
    }

    /// Counts the lookup as a hit or a miss, for commands that read and write (SET GET, GETEX, GETDEL).
    #[inline]
    pub fn count_read(&mut self) {
        match self.exists() {
            true => self.keyspace.stats.hits += 1,
            false => self.keyspace.stats.misses += 1,
        }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> Option<ValueRef<'_>> {
        self.view().map(|view| view.value)
    }

    /// When the key expires; `None` also for an absent key.
    #[inline]
    pub fn expire_at(&self) -> Option<UnixMs> {
        self.stored().and_then(|stored| stored.expire_at)
    }

    /// Everything about the key.
    pub fn view(&self) -> Option<EntryView<'_>> {
        self.stored().map(|stored| stored.view(self.key.bytes()))
    }

    /// Sets the value, creating the key if need be.
    #[inline]
    pub fn set(&mut self, value: NewValue<'_>, expire: SetExpire) {
        let old = self.expire_at();
        let expire_at = match expire {
            SetExpire::Keep => old,
            SetExpire::Clear => None,
            SetExpire::At(at) => Some(at),
        };
        let access = match self.stored() {
            Some(stored) => stored.access,
            None => access::initial(self.keyspace.options.access, self.now),
        };
        let stored = Stored { value: held(value), expire_at, access };
        self.keyspace.databases[self.db.index()].insert(self.key.bytes().to_vec(), stored);
        self.keyspace.dirty += 1;
    }

    /// Sets or clears the expiry; whether the key is there.
    pub fn set_expire(&mut self, expire_at: Option<UnixMs>) -> bool {
        let Some(stored) = self.keyspace.databases[self.db.index()].get_mut(self.key.bytes()) else {
            return false;
        };
        stored.expire_at = expire_at;
        self.keyspace.dirty += 1;
        true
    }

    /// Sets the 24-bit access field (RESTORE, RDB loading: `access::lru_from_idle`, `access::lfu_from_frequency`).
    pub fn set_access(&mut self, access: u32) {
        if let Some(stored) = self.keyspace.databases[self.db.index()].get_mut(self.key.bytes()) {
            stored.access = access;
        }
    }

    /// Appends to the string, creating it if need be; the new length.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        match self.value() {
            None => {
                self.set(NewValue::Bytes(bytes), SetExpire::Clear);
                bytes.len()
            }
            Some(value) => self.write_range(value.string_len(), bytes),
        }
    }

    /// Overwrites a part of the string, which is extended with zero bytes as needed; the new length. With no bytes
    /// nothing is created or changed.
    pub fn write_range(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let mut text = itoa::Buffer::new();
        let mut string = self.value().map_or(Vec::new(), |value| value.bytes(&mut text).to_vec());
        if bytes.is_empty() {
            return string.len();
        }
        string.resize(string.len().max(offset + bytes.len()), 0);
        string[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.set(NewValue::Buffer(&string), SetExpire::Keep);
        string.len()
    }

    /// Removes the key; whether it was there.
    #[inline]
    pub fn remove(self) -> bool {
        let removed = self.keyspace.databases[self.db.index()].remove(self.key.bytes()).is_some();
        self.keyspace.dirty += u64::from(removed);
        removed
    }

    fn stored(&self) -> Option<&Stored> {
        self.keyspace.databases[self.db.index()].get(self.key.bytes())
    }
}
