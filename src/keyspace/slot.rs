//! A key looked up for writing: what commands work on that first look and then write, with one probe of the table.

use super::{
    access,
    collection::{HashRef, Kept, Kind, ListRef, SetRef, ZsetRef},
    db::Core,
    entry::{Entry, EntryRef, Payload},
    value::{EntryView, NewValue, SetExpire, StringRef, ValueKind, ValueRef},
};
use crate::{
    base::{error::WrongType, ids::DbIndex, key::Key, time::UnixMs},
    ds::{
        collection::Edit,
        table::{Element, Place},
    },
};

/// A key looked up once, present or not. All its changes of the data set count as dirty.
pub struct Slot<'k> {
    core: &'k mut Core,
    place: Place<'k, Entry>,
    db: DbIndex,
    key: Key<'k>,
    now: UnixMs,
}

impl<'k> Slot<'k> {
    #[inline]
    pub(super) fn new(
        core: &'k mut Core,
        place: Place<'k, Entry>,
        db: DbIndex,
        key: Key<'k>,
        now: UnixMs,
    ) -> Self {
        Slot { core, place, db, key, now }
    }

    /// Whether the key is there.
    #[inline]
    pub fn exists(&self) -> bool {
        self.place.is_occupied()
    }

    /// Counts the lookup as a hit or a miss, for commands that read and write (SET GET, GETEX, GETDEL).
    #[inline]
    pub fn count_read(&mut self) {
        match self.exists() {
            true => self.core.stats.hits += 1,
            false => self.core.stats.misses += 1,
        }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> Option<ValueRef<'_>> {
        self.place.element().map(EntryRef::value)
    }

    /// The type of the value.
    #[inline]
    pub fn kind(&self) -> Option<ValueKind> {
        self.value().map(ValueRef::kind)
    }

    /// The string.
    ///
    /// # Errors
    /// The key holds a value of another type. So it is with the others.
    #[inline]
    pub fn string(&self) -> Result<Option<StringRef<'_>>, WrongType> {
        self.value().map(ValueRef::string).transpose()
    }

    /// The list.
    #[allow(clippy::missing_errors_doc, reason = "as `string`")]
    pub fn list(&self) -> Result<Option<ListRef<'_>>, WrongType> {
        self.value().map(ValueRef::list).transpose()
    }

    /// The set.
    #[allow(clippy::missing_errors_doc, reason = "as `string`")]
    pub fn members(&self) -> Result<Option<SetRef<'_>>, WrongType> {
        self.value().map(ValueRef::set).transpose()
    }

    /// The sorted set.
    #[allow(clippy::missing_errors_doc, reason = "as `string`")]
    pub fn zset(&self) -> Result<Option<ZsetRef<'_>>, WrongType> {
        self.value().map(ValueRef::zset).transpose()
    }

    /// The hash.
    #[allow(clippy::missing_errors_doc, reason = "as `string`")]
    pub fn hash(&self) -> Result<Option<HashRef<'_>>, WrongType> {
        self.value().map(ValueRef::hash).transpose()
    }

    /// When the key expires; `None` also for an absent key.
    #[inline]
    pub fn expire_at(&self) -> Option<UnixMs> {
        match self.place.is_volatile() {
            true => self.place.element().and_then(EntryRef::expire_at),
            false => None,
        }
    }

    /// Everything about the key.
    pub fn view(&self) -> Option<EntryView<'_>> {
        self.place.element().map(EntryRef::view)
    }

    /// Sets the value, creating the key if need be.
    #[inline]
    pub fn set(&mut self, value: NewValue<'_>, expire: SetExpire) {
        let expire_at = match expire {
            SetExpire::Keep => self.expire_at(),
            SetExpire::Clear => None,
            SetExpire::At(at) => Some(at),
        };
        let (key, payload) = (self.key.bytes(), Payload::from(value));
        self.changed(1);
        self.core.uncount(&self.place, self.db);
        let access = match self.place.element_mut() {
            Some(mut entry) => {
                entry.end_collection(&mut self.core.slab);
                if entry.overwrite(key, payload, expire_at) {
                    self.place.set_volatile(expire_at.is_some());
                    return;
                }
                entry.as_ref().access()
            }
            None => access::initial(self.core.options.access, self.now),
        };
        let entry = Entry::new(&mut self.core.slab, key, payload, expire_at, access);
        self.put(entry, expire_at.is_some());
    }

    /// Sets or clears the expiry; whether the key is there.
    pub fn set_expire(&mut self, expire_at: Option<UnixMs>) -> bool {
        if !self.exists() {
            return false;
        }
        self.changed(1);
        self.core.uncount(&self.place, self.db);
        let Some(mut entry) = self.place.element_mut() else { return false };
        if !entry.set_expire(expire_at) {
            let entry = entry.with_expire(&mut self.core.slab, expire_at);
            self.put(entry, expire_at.is_some());
        }
        self.core.count(&mut self.place, self.db);
        true
    }

    /// Changes the collection under the key. Where there is no key `f` is given an empty collection, and the key is
    /// made if `f` leaves something in it; a key whose collection `f` leaves empty is removed. What `f` reports by
    /// `Edit::changed` counts as dirty, and is what makes the key a changed one.
    ///
    /// # Errors
    /// The key holds a value of another type; `f` was not called.
    pub fn edit<C: Kept, R>(&mut self, f: impl FnOnce(&mut C, &mut Edit<'_>) -> R) -> Result<R, WrongType> {
        let mut collection = match self.place.element_mut() {
            Some(mut entry) => entry.take_collection::<C>().ok_or(WrongType)?,
            None => C::empty(&mut self.core.slab),
        };
        let core = &mut *self.core;
        core.uncount(&self.place, self.db);
        let mut edit = Edit::new(&mut core.slab, &core.hasher, &core.options.encodings, self.now);
        let result = f(&mut collection, &mut edit);
        let changes = edit.changes();
        self.put_collection(collection);
        if changes > 0 {
            self.changed(changes);
        }
        Ok(result)
    }

    /// Puts a collection in the place of whatever the key holds, its expiry included (SINTERSTORE and its kin). An
    /// empty one removes the key. Counts as one change if there was or is something.
    pub fn store<C: Kept>(&mut self, collection: C) {
        if self.exists() || C::len(collection.as_ref()) > 0 {
            self.changed(1);
        }
        self.core.uncount(&self.place, self.db);
        if let Some(entry) = self.place.remove(&mut self.core.slab) {
            entry.free(&mut self.core.slab);
        }
        self.put_collection(collection);
    }

    /// Gives the key a collection; the entry that is there, if any, has just lost its own, and was uncounted. An empty
    /// collection ends.
    fn put_collection<C: Kept>(&mut self, collection: C) {
        if C::len(collection.as_ref()) == 0 {
            if let Some(entry) = self.place.remove(&mut self.core.slab) {
                entry.free(&mut self.core.slab);
            }
            collection.free(&mut self.core.slab);
            return;
        }
        if let Some(mut entry) = self.place.element_mut() {
            entry.put_collection(collection);
            self.core.count(&mut self.place, self.db);
            return;
        }
        let kind = Kind::of(C::KIND).expect("a collection is no string");
        let payload = Payload::Collection(kind, collection.into_word());
        let access = access::initial(self.core.options.access, self.now);
        let entry = Entry::new(&mut self.core.slab, self.key.bytes(), payload, None, access);
        self.put(entry, false);
        self.core.count(&mut self.place, self.db);
    }

    /// Takes note of changes of the key.
    #[inline]
    fn changed(&mut self, count: u64) {
        self.core.dirty += count;
        self.core.observers.modified(self.db, self.key.hash());
    }

    /// Sets the 24-bit access field (RESTORE, RDB loading: `access::lru_from_idle`, `access::lfu_from_frequency`).
    pub fn set_access(&mut self, access: u32) {
        if let Some(mut entry) = self.place.element_mut() {
            entry.set_access(access);
        }
    }

    /// Appends to the string, creating it if need be; the new length.
    ///
    /// The key holds a string or nothing, and the new length is at most `VALUE_LEN_MAX`.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        match self.string_len() {
            None => {
                self.set(NewValue::Bytes(bytes), SetExpire::Clear);
                bytes.len()
            }
            Some(len) => {
                self.write(len, bytes);
                len + bytes.len()
            }
        }
    }

    /// Overwrites a part of the string, which is extended with zero bytes as needed; the new length. With no bytes
    /// nothing is created or changed.
    ///
    /// The key holds a string or nothing, and the new length is at most `VALUE_LEN_MAX`.
    pub fn write_range(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let len = self.string_len().unwrap_or(0);
        if bytes.is_empty() {
            return len;
        }
        if !self.exists() {
            self.set(NewValue::Buffer(b""), SetExpire::Clear);
            self.core.dirty -= 1;
        }
        self.write(offset, bytes);
        len.max(offset + bytes.len())
    }

    /// Makes the string that is there, if any, one that is modified in place, as commands that do so make it before
    /// they look whether there is anything to modify. It holds the same: that is no change.
    ///
    /// The key holds a string or nothing.
    pub fn make_buffer(&mut self) {
        self.patch(0, b"");
    }

    /// Removes the key; whether it was there.
    #[inline]
    pub fn remove(mut self) -> bool {
        self.core.uncount(&self.place, self.db);
        let Some(entry) = self.place.remove(&mut self.core.slab) else { return false };
        entry.free(&mut self.core.slab);
        self.changed(1);
        true
    }

    /// The length of the string, if the key is there.
    #[inline]
    fn string_len(&self) -> Option<usize> {
        self.value().and_then(|value| value.string().ok()).map(StringRef::string_len)
    }

    /// Writes into the string that is there.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.changed(1);
        self.patch(offset, bytes);
    }

    /// The same, and nobody takes note.
    fn patch(&mut self, offset: usize, bytes: &[u8]) {
        let volatile = self.place.is_volatile();
        let Some(mut entry) = self.place.element_mut() else { return };
        if !entry.write_range(offset, bytes) {
            let entry = entry.as_ref().with_range(&mut self.core.slab, offset, bytes);
            self.put(entry, volatile);
        }
    }

    /// Puts an entry in the place of the one that is there, if any.
    #[inline]
    fn put(&mut self, entry: Entry, volatile: bool) {
        if self.place.is_occupied() {
            if let Some(old) = self.place.replace(entry, volatile) {
                old.free(&mut self.core.slab);
            }
        } else {
            self.core.preserve_for_insert(&mut self.place, self.db);
            self.place.insert(&mut self.core.slab, &self.core.hasher, entry, volatile);
        }
    }
}
