//! A key looked up for writing: what commands work on that first look and then write, with one probe of the table.

use super::{
    access,
    db::Core,
    entry::{Entry, EntryRef, Payload},
    value::{EntryView, NewValue, SetExpire, ValueRef},
};
use crate::{
    base::{key::Key, time::UnixMs},
    ds::table::{Element, Place},
};

/// A key looked up once, present or not. All its changes of the data set count as dirty.
pub struct Slot<'k> {
    core: &'k mut Core,
    place: Place<'k, Entry>,
    key: Key<'k>,
    now: UnixMs,
}

impl<'k> Slot<'k> {
    #[inline]
    pub(super) fn new(core: &'k mut Core, place: Place<'k, Entry>, key: Key<'k>, now: UnixMs) -> Self {
        Slot { core, place, key, now }
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
        self.core.dirty += 1;
        let access = match self.place.element_mut() {
            Some(mut entry) => {
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
        let volatile = expire_at.is_some();
        let Some(mut entry) = self.place.element_mut() else { return false };
        self.core.dirty += 1;
        if entry.set_expire(expire_at) {
            self.place.set_volatile(volatile);
        } else {
            let entry = entry.as_ref().with_expire(&mut self.core.slab, expire_at);
            self.put(entry, volatile);
        }
        true
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
        match self.value().map(ValueRef::string_len) {
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
        let len = self.value().map_or(0, ValueRef::string_len);
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

    /// Removes the key; whether it was there.
    #[inline]
    pub fn remove(mut self) -> bool {
        let Some(entry) = self.place.remove(&mut self.core.slab) else { return false };
        entry.free(&mut self.core.slab);
        self.core.dirty += 1;
        true
    }

    /// Writes into the string that is there.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let volatile = self.place.is_volatile();
        let Some(mut entry) = self.place.element_mut() else { return };
        self.core.dirty += 1;
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
            self.place.insert(&mut self.core.slab, &self.core.hasher, entry, volatile);
        }
    }
}
