//! The keyspace of one shard: its databases and the one door through which they are read and written.
//!
//! Redis's lookup rules are here and nowhere else: a key whose time has come is removed when a command comes upon it;
//! lookups for reading count hits and misses; every lookup is a use of the key unless the client or the command asks
//! not to count (NO-TOUCH; TTL, TYPE, OBJECT). `Slot` is a key looked up for writing.
//!
//! Not here: what commands mean, the journal, and who calls the background steps (`upkeep.rs`) when.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::{
    access::{self, AccessPolicy, LfuOptions, Touch},
    collection::{self, Kind},
    entry::{Entry, EntryMut, EntryRef, Payload},
    evict::{EvictionOptions, Pool},
    observe::{Observers, Version},
    removals::{Cause, Removals},
    slot::Slot,
    snapshot::Snapshot,
    sources::Sources,
    stats::{KeyspaceStats, MemoryUse},
    value::{EntryView, NewValue, SetExpire, ValueKind, ValueRef},
};
use crate::{
    base::{
        ids::DbIndex,
        key::{Key, KeyHash, KeyHasher},
        prng::Prng,
        time::UnixMs,
    },
    ds::{
        collection::{Edit, EncodingLimits},
        slab::Slab,
        table::{prefetch, Drain, Element, Place, Table},
    },
};

/// How often RANDOMKEY draws again where it comes upon keys that are hidden; then it takes one of those (Redis:
/// `dbRandomKey`).
const HIDDEN_DRAWS_MAX: u32 = 100;

/// What a keyspace is told by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceOptions {
    /// What the access field of a key holds.
    pub access: AccessPolicy,
    /// How LFU counts.
    pub lfu: LfuOptions,
    /// Whether `expire_step` removes anything (DEBUG SET-ACTIVE-EXPIRE); lookups always do.
    pub active_expire: bool,
    /// Which keys go when memory is short.
    pub eviction: EvictionOptions,
    /// Up to which sizes collections are kept in their compact encodings.
    pub encodings: EncodingLimits,
    /// Seeds the only randomness in here, that of LFU and of eviction.
    pub seed: u64,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        KeyspaceOptions {
            access: AccessPolicy::Lru,
            lfu: LfuOptions::default(),
            active_expire: true,
            eviction: EvictionOptions::default(),
            encodings: EncodingLimits::default(),
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

/// One shard's databases.
///
/// Invariant: a key whose time has come is absent to every function that takes `now`.
///
/// Behind the last database stands one more, the scratch database, which no client can select: values that another
/// shard lends to a command are in it while the command runs.
pub struct Keyspace {
    pub(super) databases: Vec<Database>,
    pub(super) core: Core,
    /// Flushed databases whose entries are still to be freed.
    pub(super) detached: VecDeque<Drain<Entry>>,
    pub(super) turns: Turns,
    pub(super) pool: Pool,
}

/// One database and how far the background steps have come in it.
#[derive(Default)]
pub(super) struct Database {
    pub(super) table: Table<Entry>,
    pub(super) expire_cursor: u64,
    /// The key of a hash that the expiry sweep has not done with.
    pub(super) expire_unfinished: Option<Box<[u8]>>,
    pub(super) defrag_cursor: u64,
    pub(super) tidy_cursor: u64,
    /// How many reshapes the table had seen when its last tidying began.
    pub(super) tidy_reshapes: u64,
    pub(super) average_ttl_ms: u64,
}

/// What all databases share.
pub(super) struct Core {
    pub(super) slab: Slab,
    pub(super) hasher: KeyHasher,
    pub(super) options: KeyspaceOptions,
    pub(super) stats: KeyspaceStats,
    pub(super) dirty: u64,
    pub(super) observers: Observers,
    /// The snapshot that is under way.
    pub(super) snapshot: Option<Box<Snapshot>>,
    /// The number of the last one.
    pub(super) snapshots: u32,
    pub(super) removals: Removals,
    /// Of each database: how many keys are volatile in the table only because fields of theirs expire.
    volatile_by_fields: Vec<u64>,
    /// Whether there may be fields that expire.
    has_field_expiry: bool,
    pub(super) prng: Prng,
    touch: Touch,
    lapse: Lapse,
}

/// What a lookup does that comes upon a key whose time has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lapse {
    /// Removes it.
    #[default]
    Remove,
    /// Finds nothing, and leaves it where it is: on a replica it goes when the primary says so. (Redis:
    /// `expireIfNeeded`.) For commands that do not write.
    Hide,
}

/// Which database each background step is at.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) expire: usize,
    pub(super) defrag: usize,
    pub(super) tidy: usize,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases. Nothing is allocated for a database before its first key.
    pub fn new(databases: u16, hasher: KeyHasher, options: KeyspaceOptions) -> Self {
        Keyspace {
            databases: (0..=databases).map(|_| Database::default()).collect(),
            core: Core {
                slab: Slab::new(),
                hasher,
                prng: Prng::new(options.seed),
                options,
                stats: KeyspaceStats::default(),
                dirty: 0,
                observers: Observers::default(),
                snapshot: None,
                snapshots: 0,
                removals: Removals::new(DbIndex(databases)),
                volatile_by_fields: vec![0; usize::from(databases) + 1],
                has_field_expiry: false,
                touch: Touch::Yes,
                lapse: Lapse::Remove,
            },
            detached: VecDeque::new(),
            turns: Turns::default(),
            pool: Pool::default(),
        }
    }

    /// Hashes keys for this keyspace.
    #[inline]
    pub fn hasher(&self) -> &KeyHasher {
        &self.core.hasher
    }

    /// The options in force.
    pub fn options(&self) -> &KeyspaceOptions {
        &self.core.options
    }

    /// Changes the options (CONFIG SET).
    pub fn set_options(&mut self, options: KeyspaceOptions) {
        if options.eviction != self.core.options.eviction {
            self.forget_candidates();
        }
        self.core.options = options;
    }

    /// How many databases there are.
    pub fn databases(&self) -> u16 {
        self.databases.len() as u16 - 1
    }

    /// The scratch database.
    pub fn scratch(&self) -> DbIndex {
        DbIndex(self.databases())
    }

    /// Whether a watched key is still what it was at `version`. One whose time has come meanwhile is removed, which is
    /// a change.
    pub fn is_unchanged(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs, version: Version) -> bool {
        self.place(db, key, now);
        self.core.observers.version(db, key.hash()) == version
    }

    /// Begins to watch a key: what it is at now. One whose time has come is absent, and that is no change later.
    pub fn watch(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Version {
        self.place(db, key, now);
        self.core.observers.watch(db, key.hash())
    }

    /// Whether a key has changed that somebody waits for.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.core.observers.has_ready()
    }

    /// What the key with this hash holds, if there is one; its time may have come.
    pub fn kind_of(&self, db: DbIndex, hash: KeyHash) -> Option<ValueKind> {
        let is_it = |entry: EntryRef<'_>| self.core.hasher.hash(entry.key()) == hash;
        let found = self.databases[db.index()].table.find_by(hash.0, is_it)?;
        Some(found.value().kind())
    }

    /// Who has an eye on which keys.
    pub fn observers(&mut self) -> &mut Observers {
        &mut self.core.observers
    }

    /// What has left without a command that removed it.
    #[inline]
    pub fn removals(&self) -> &Removals {
        &self.core.removals
    }

    /// The same, to keep or to forget them.
    pub fn removals_mut(&mut self) -> &mut Removals {
        &mut self.core.removals
    }

    /// Whether lookups from now on count as uses of the keys (CLIENT NO-TOUCH); the session sets it with each change
    /// of client.
    #[inline]
    pub fn set_touch(&mut self, touch: Touch) {
        self.core.touch = touch;
    }

    /// What `set_touch` said last.
    #[inline]
    pub fn touch(&self) -> Touch {
        self.core.touch
    }

    /// What becomes of keys whose time has come, in the lookups from now on.
    #[inline]
    pub fn set_lapse(&mut self, lapse: Lapse) {
        self.core.lapse = lapse;
    }

    /// Asks the memory for the bucket of `hash`. First wave of a batch.
    #[inline]
    pub fn prefetch_bucket(&self, db: DbIndex, hash: KeyHash) {
        self.databases[db.index()].table.prefetch_bucket(hash.0);
    }

    /// Asks the memory for the entry of `hash`, whose bucket is there by now. Second wave of a batch.
    #[inline]
    pub fn prefetch_entry(&self, db: DbIndex, hash: KeyHash) {
        self.databases[db.index()].table.prefetch_elements(hash.0);
    }

    /// Asks the memory for the collection of the entry of `hash`, which is there by now. Third wave of a batch, for
    /// commands on collections: their values are not in their entries.
    #[inline]
    pub fn prefetch_collection(&self, db: DbIndex, hash: KeyHash) {
        self.databases[db.index()].table.for_each_likely(hash.0, |entry| {
            if let Some(address) = entry.collection_address() {
                prefetch(address);
                prefetch(address.wrapping_add(64));
            }
        });
    }

    /// The value of a key, for reading: counts a hit or a miss, and a use of the key.
    #[inline]
    pub fn lookup_read(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Option<ValueRef<'_>> {
        let (core, mut place) = self.place(db, key, now);
        if !place.is_occupied() {
            core.stats.misses += 1;
            return None;
        }
        core.stats.hits += 1;
        core.touch(&mut place, now);
        place.into_element().map(EntryRef::value)
    }

    /// Everything about a key: counts a hit or a miss, but no use of the key (TTL, TYPE, OBJECT).
    pub fn inspect(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Option<EntryView<'_>> {
        let (core, place) = self.place(db, key, now);
        match place.is_occupied() {
            true => core.stats.hits += 1,
            false => core.stats.misses += 1,
        }
        place.into_element().map(EntryRef::view)
    }

    /// Everything about a key, counting nothing.
    pub fn peek(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> Option<EntryView<'_>> {
        let (_, place) = self.place(db, key, now);
        place.into_element().map(EntryRef::view)
    }

    /// Whether the key is there: counts a hit or a miss, and a use of the key (EXISTS, TOUCH).
    pub fn exists(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) -> bool {
        self.lookup_read(db, key, now).is_some()
    }

    /// Looks a key up for writing: counts a use of the key, but neither hit nor miss.
    #[inline]
    pub fn find<'k>(&'k mut self, db: DbIndex, key: Key<'k>, now: UnixMs) -> Slot<'k> {
        if self.core.snapshot.is_some() {
            self.preserve_key(db, key, now);
        }
        let (core, mut place) = self.place(db, key, now);
        core.touch(&mut place, now);
        Slot::new(core, place, db, key, now)
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
        let (core, mut place) = self.place(db, key, now);
        core.preserve(&mut place, db);
        core.uncount(&place, db);
        let Some(entry) = place.remove(&mut core.slab) else { return false };
        entry.free(&mut core.slab);
        core.dirty += 1;
        core.observers.modified(db, key.hash());
        true
    }

    /// Removes a key because memory is short; as in Redis that is no change of the data set by a client. A key whose
    /// time has come counts as expired. One with a large value that a snapshot has still to write stays until then.
    pub(super) fn evict(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs) {
        if self.blocks_write(db, key) {
            return self.snapshot_hurry(db, key);
        }
        let (core, mut place) = self.place(db, key, now);
        core.preserve(&mut place, db);
        core.uncount(&place, db);
        let Some(entry) = place.remove(&mut core.slab) else { return };
        entry.free(&mut core.slab);
        core.removals.key(db, key.bytes(), Cause::Evicted);
        core.stats.evicted_keys += 1;
        core.observers.modified(db, key.hash());
    }

    /// What several keys hold, to read, and what a collection is made with meanwhile. Keys whose time has come are
    /// absent, but stay where they are; nothing is counted.
    pub fn sources(&mut self, now: UnixMs) -> (Sources<'_>, Edit<'_>) {
        let Keyspace { databases, core, .. } = self;
        let edit = Edit::new(&mut core.slab, &core.hasher, &core.options.encodings, now);
        (Sources::new(databases, &core.hasher, now), edit)
    }

    /// Sets a key to a collection that `EntryView::export` wrote. False if the bytes are damaged: nothing is changed.
    pub fn import(
        &mut self,
        db: DbIndex,
        key: Key<'_>,
        now: UnixMs,
        (kind, bytes): (ValueKind, &[u8]),
        (expire_at, access): (Option<UnixMs>, u32),
    ) -> bool {
        let Some(kind) = Kind::of(kind) else { return false };
        let Some(word) = collection::import(kind, bytes, &mut self.core.slab, &self.core.hasher) else {
            return false;
        };
        let payload = Payload::Collection(kind, word);
        let entry = Entry::new(&mut self.core.slab, key.bytes(), payload, expire_at, access);
        self.put(db, key, now, entry);
        true
    }

    /// Puts an entry under its key, whatever is there. One change.
    pub(super) fn put(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs, entry: Entry) {
        let (core, mut place) = self.place(db, key, now);
        core.preserve(&mut place, db);
        core.uncount(&place, db);
        if place.is_occupied() {
            if let Some(old) = place.replace(entry, false) {
                old.free(&mut core.slab);
            }
        } else {
            core.preserve_for_insert(&mut place, db);
            place.insert(&mut core.slab, &core.hasher, entry, false);
        }
        core.count(&mut place, db);
        core.dirty += 1;
        core.observers.modified(db, key.hash());
    }

    /// Sets or clears a key's expiry; whether the key was there.
    pub fn set_expire(&mut self, db: DbIndex, key: Key<'_>, now: UnixMs, expire_at: Option<UnixMs>) -> bool {
        self.find(db, key, now).set_expire(expire_at)
    }

    /// Moves a key's value with its encoding, its expiry and its access field to another key or database, whatever is
    /// there (RENAME, MOVE); whether the source was there. Source and destination differ.
    pub fn move_entry(
        &mut self,
        (src_db, src): (DbIndex, Key<'_>),
        (dst_db, dst): (DbIndex, Key<'_>),
        now: UnixMs,
    ) -> bool {
        let (core, mut place) = self.place(src_db, src, now);
        core.preserve(&mut place, src_db);
        core.uncount(&place, src_db);
        let Some(old) = place.remove(&mut core.slab) else { return false };
        let moved = old.renamed(&mut core.slab, dst.bytes());
        core.observers.modified(src_db, src.hash());
        self.put(dst_db, dst, now, moved);
        true
    }

    /// Copies a key with its value's encoding and its expiry (COPY). As in Redis the copy has a new key's access field.
    pub fn copy_entry(
        &mut self,
        (src_db, src): (DbIndex, Key<'_>),
        (dst_db, dst): (DbIndex, Key<'_>),
        now: UnixMs,
        replace: bool,
    ) -> CopyOutcome {
        if self.peek(src_db, src, now).is_none() {
            return CopyOutcome::NoSource;
        }
        if !replace && self.peek(dst_db, dst, now).is_some() {
            return CopyOutcome::Exists;
        }
        let Keyspace { databases, core, .. } = self;
        let Some(source) = databases[src_db.index()].table.find(src.hash().0, src.bytes()) else {
            return CopyOutcome::NoSource;
        };
        let (view, access) = (source.view(), access::initial(core.options.access, now));
        let payload = match view.to_new_string() {
            Some(string) => Payload::from(string),
            None => {
                let copy = collection::copy(view.value, &mut core.slab, &core.hasher);
                let (kind, word) = copy.expect("what is no string is a collection");
                Payload::Collection(kind, word)
            }
        };
        let copy = Entry::new(&mut core.slab, dst.bytes(), payload, view.expire_at, access);
        self.put(dst_db, dst, now, copy);
        CopyOutcome::Copied
    }

    /// Keys in a database, those included whose time has come and that are not yet removed.
    pub fn len(&self, db: DbIndex) -> u64 {
        self.databases[db.index()].table.len()
    }

    /// Whether a database has no keys.
    pub fn is_empty(&self, db: DbIndex) -> bool {
        self.len(db) == 0
    }

    /// Keys of a database that have an expiry.
    pub fn volatile_len(&self, db: DbIndex) -> u64 {
        self.databases[db.index()].table.volatile_len() - self.core.volatile_by_fields[db.index()]
    }

    /// Whether there may be fields of hashes that expire: there were since all databases were empty.
    pub fn has_field_expiry(&self) -> bool {
        self.core.has_field_expiry
    }

    /// The average time to live of a database's volatile keys, as the expiry sweep estimates it, in milliseconds.
    pub fn average_ttl_ms(&self, db: DbIndex) -> u64 {
        self.databases[db.index()].average_ttl_ms
    }

    /// Empties a database; how many keys it had. Their memory is freed by `free_step`, or by the snapshot that has
    /// still to write them.
    pub fn flush(&mut self, db: DbIndex) -> u64 {
        self.note_all(&[db]);
        let database = std::mem::take(&mut self.databases[db.index()]);
        let removed = database.table.len();
        self.core.volatile_by_fields[db.index()] = 0;
        self.core.has_field_expiry &= self.databases.iter().any(|database| !database.table.is_empty());
        self.core.dirty += removed;
        self.core.stats.lazyfree_pending_objects += removed;
        let detached = self.core.detach(db, database.table);
        self.detached.extend(detached.filter(|drain| !drain.is_empty()));
        removed
    }

    /// Empties all databases; how many keys they had.
    pub fn flush_all(&mut self) -> u64 {
        (0..self.databases()).map(|db| self.flush(DbIndex(db))).sum()
    }

    /// Exchanges two databases (SWAPDB).
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) {
        // With itself it has not changed, for those who watch its keys, though Redis counts it as a change.
        self.core.dirty += 1;
        if a == b {
            return;
        }
        self.note_all(&[a, b]);
        self.databases.swap(a.index(), b.index());
        self.core.volatile_by_fields.swap(a.index(), b.index());
        if let Some(snapshot) = &mut self.core.snapshot {
            snapshot.swap(a, b);
        }
        self.note_all(&[a, b]);
    }

    /// All observed keys of these databases that are there now are about to change, or just have.
    fn note_all(&mut self, databases: &[DbIndex]) {
        if self.core.observers.is_empty() {
            return;
        }
        for (db, hash) in self.core.observers.keys_of(databases) {
            if self.kind_of(db, hash).is_some() {
                self.core.observers.modified(db, hash);
            }
        }
    }

    /// One SCAN step: calls `f` for about `count` keys and returns the cursor to go on with, 0 at the end. Cursors are
    /// below 2^47. A key that is there from the first step to the last is returned at least once.
    pub fn scan(
        &mut self,
        db: DbIndex,
        cursor: u64,
        count: usize,
        now: UnixMs,
        mut f: impl FnMut(&[u8], &EntryView<'_>),
    ) -> u64 {
        self.databases[db.index()].table.scan(cursor, count, |entry| visit_live(entry, now, &mut f))
    }

    /// A random key, all being equally likely.
    pub fn random_key(&mut self, db: DbIndex, prng: &mut Prng, now: UnixMs) -> Option<&[u8]> {
        let Keyspace { databases, core, .. } = self;
        let table = &mut databases[db.index()].table;
        let mut hidden = 0;
        loop {
            let mut ahead = prng.clone();
            let entry = table.random(&mut ahead)?;
            if !entry.is_gone(now) || hidden == HIDDEN_DRAWS_MAX {
                break;
            }
            if core.lapse == Lapse::Hide {
                hidden += 1;
                *prng = ahead;
                continue;
            }
            // As Redis does it: what has expired is removed, then another is drawn.
            let key = SmallVec::<[u8; 64]>::from_slice(entry.key());
            let hash = core.hasher.hash(&key);
            core.expire(&mut table.place(hash.0, &key), db, hash, now);
            *prng = ahead;
        }
        // Draws the same key again, now to keep.
        table.random(prng).map(EntryRef::key)
    }

    /// Calls `f` for every key (KEYS, DEBUG DIGEST), in no particular order.
    pub fn for_each(&mut self, db: DbIndex, now: UnixMs, mut f: impl FnMut(&[u8], &EntryView<'_>)) {
        self.databases[db.index()].table.for_each(|entry| visit_live(entry, now, &mut f));
    }

    /// Bytes of all databases: entries by the sizes that were allocated for them, and tables.
    #[inline]
    pub fn used_memory(&self) -> u64 {
        self.core.slab.allocated_bytes() as u64
    }

    /// Where the memory is.
    pub fn memory(&self) -> MemoryUse {
        let tables = self.databases.iter().map(|database| database.table.memory_bytes());
        let detached = self.detached.iter().map(Drain::memory_bytes);
        let flushed = self.core.snapshot.iter().map(|snapshot| snapshot.table_bytes());
        let table_bytes = tables.chain(detached).chain(flushed).sum::<usize>() as u64;
        MemoryUse {
            dataset_bytes: self.used_memory() - table_bytes,
            table_bytes,
            resident_bytes: self.core.slab.resident_bytes() as u64,
        }
    }

    /// Changes of the data set since the last `reset_dirty`: one for each key set, changed or removed by a command.
    #[inline]
    pub fn dirty(&self) -> u64 {
        self.core.dirty
    }

    /// Does something that changes no data of any client, as with the scratch database, where values are only lent, or
    /// that is a part of one change that is counted elsewhere.
    pub fn uncounted<R>(&mut self, f: impl FnOnce(&mut Keyspace) -> R) -> R {
        self.counted_as(|_| 0, f)
    }

    /// Does something that counts as so many changes, by its result, however many keys and elements it changes.
    pub fn counted_as<R>(
        &mut self,
        changes: impl FnOnce(&R) -> u64,
        f: impl FnOnce(&mut Keyspace) -> R,
    ) -> R {
        let dirty = self.core.dirty;
        let result = f(self);
        self.core.dirty = dirty + changes(&result);
        result
    }

    /// A save has put `saved` changes on disk.
    pub fn reset_dirty(&mut self, saved: u64) {
        self.core.dirty = self.core.dirty.saturating_sub(saved);
    }

    /// The counters.
    pub fn stats(&self) -> KeyspaceStats {
        let mut stats = self.core.stats.clone();
        for Database { table, .. } in &self.databases {
            stats.table_reshapes += table.reshapes();
            stats.table_moves_max = stats.table_moves_max.max(table.moves_max());
        }
        stats
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        self.core.stats.reset();
    }

    /// Whether nothing has to be looked for when the keyspace ends: the pages go as a whole, and so do the directories
    /// of the databases. Large values are on no page, and neither are the directories of large collections.
    pub(super) fn ends_with_its_pages(&self) -> bool {
        let databases = self.databases.iter().map(|database| database.table.directory_bytes());
        let detached = self.detached.iter().map(Drain::directory_bytes);
        self.core.slab.ends_with_its_pages(databases.chain(detached).sum())
    }

    /// The place of a key; one whose time has come is removed first, or overlooked.
    #[inline(always)]
    pub(super) fn place<'k>(
        &'k mut self,
        db: DbIndex,
        key: Key<'_>,
        now: UnixMs,
    ) -> (&'k mut Core, Place<'k, Entry>) {
        let mut place = self.databases[db.index()].table.place(key.hash().0, key.bytes());
        if place.is_volatile() {
            self.core.lapse(&mut place, db, key.hash(), now);
        }
        (&mut self.core, place)
    }
}

impl Core {
    /// Sees to the entry of a place if its time has come.
    fn lapse(&mut self, place: &mut Place<'_, Entry>, db: DbIndex, hash: KeyHash, now: UnixMs) {
        match self.lapse {
            Lapse::Remove => self.expire(place, db, hash, now),
            Lapse::Hide if place.element().is_some_and(|entry| entry.is_gone(now)) => place.overlook(),
            Lapse::Hide => {}
        }
    }

    /// Removes the entry of a place if its time has come, or that of all fields of its hash.
    fn expire(&mut self, place: &mut Place<'_, Entry>, db: DbIndex, hash: KeyHash, now: UnixMs) {
        let is_gone = if self.is_awaited(place, db) {
            place.element().is_some_and(|entry| entry.is_gone(now))
        } else {
            let (slab, removals) = (&mut self.slab, &mut self.removals);
            let mut removed = |key: &[u8], field: &[u8]| removals.field(db, key, field);
            let mut is_over = |mut entry: EntryMut<'_>| entry.hash_is_over(slab, now, &mut removed);
            place.element().is_some_and(|entry| entry.is_expired(now))
                || place.element_mut().is_some_and(&mut is_over)
        };
        if is_gone {
            self.preserve(place, db);
            if let Some(entry) = place.element() {
                self.removals.key(db, entry.key(), Cause::Expired);
            }
            self.uncount(place, db);
            if let Some(entry) = place.remove(&mut self.slab) {
                entry.free(&mut self.slab);
                self.stats.expired_keys += 1;
                self.observers.modified(db, hash);
            }
        }
    }

    /// The entry of a place is about to leave, or to be another: it no longer counts as volatile by its fields. What it
    /// holds may have been taken out already.
    #[inline]
    pub(super) fn uncount(&mut self, place: &Place<'_, Entry>, db: DbIndex) {
        if place.is_volatile() && place.element().is_some_and(|entry| entry.expire_at().is_none()) {
            self.volatile_by_fields[db.index()] -= 1;
        }
    }

    /// The entry of a place has come, or is another: marks it as volatile if it is, and counts it if that is by its
    /// fields.
    #[inline]
    pub(super) fn count(&mut self, place: &mut Place<'_, Entry>, db: DbIndex) {
        let Some(entry) = place.element() else { return };
        let (expires, by_fields) = (entry.expire_at().is_some(), entry.has_volatile_fields());
        place.set_volatile(expires || by_fields);
        self.volatile_by_fields[db.index()] += u64::from(by_fields && !expires);
        self.has_field_expiry |= by_fields;
    }

    /// Notes a use of the key, if there is one.
    #[inline]
    fn touch(&mut self, place: &mut Place<'_, Entry>, now: UnixMs) {
        if self.touch == Touch::No {
            return;
        }
        let Some(mut entry) = place.element_mut() else { return };
        let old = entry.as_ref().access();
        let new = match self.options.access {
            AccessPolicy::Lru => access::lru_clock(now),
            AccessPolicy::Lfu => access::lfu_touched(old, now, self.options.lfu, &mut self.prng),
        };
        // A line that is only read stays clean.
        if new != old {
            entry.set_access(new);
        }
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        self.abort_snapshot();
        if !self.ends_with_its_pages() {
            self.flush_all();
            while self.free_step(usize::MAX) {}
        }
    }
}

fn visit_live(entry: EntryRef<'_>, now: UnixMs, f: &mut impl FnMut(&[u8], &EntryView<'_>)) {
    if !entry.is_gone(now) {
        f(entry.key(), &entry.view());
    }
}
