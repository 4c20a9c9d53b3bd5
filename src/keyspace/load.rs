//! Values that come whole, and are put under a key as they are: out of a snapshot, and by RESTORE.

use super::{
    collection::{Hash, Kind, List, Set, Zset},
    db::Keyspace,
    entry::{Entry, Payload},
    value::NewValue,
};
use crate::{
    base::{ids::DbIndex, key::Key, time::UnixMs},
    ds::{
        collection::{Collection, Edit},
        slab::Slab,
    },
};

/// A value that is under no key yet. Whoever has one must give it to a keyspace or free it.
pub enum Value<'a> {
    /// A string.
    String(NewValue<'a>),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    Zset(Zset),
    /// A hash.
    Hash(Hash),
}

impl<'a> Value<'a> {
    /// Whether it is a hash none of whose fields lives.
    pub fn is_over(&self, now: UnixMs) -> bool {
        matches!(self, Value::Hash(hash) if hash.as_ref().is_over(now))
    }

    /// Frees it at once.
    pub fn free(self, slab: &mut Slab) {
        match self {
            Value::String(_) => {}
            Value::List(list) => list.free(slab),
            Value::Set(set) => set.free(slab),
            Value::Zset(zset) => zset.free(slab),
            Value::Hash(hash) => hash.free(slab),
        }
    }

    #[inline]
    fn into_payload(self) -> Payload<'a> {
        match self {
            Value::String(string) => Payload::from(string),
            Value::List(list) => Payload::Collection(Kind::List, list.into_word()),
            Value::Set(set) => Payload::Collection(Kind::Set, set.into_word()),
            Value::Zset(zset) => Payload::Collection(Kind::Zset, zset.into_word()),
            Value::Hash(hash) => Payload::Collection(Kind::Hash, hash.into_word()),
        }
    }
}

impl Keyspace {
    /// What a collection is made with that is to become a `Value`. Its time is the beginning of all, so that a hash
    /// gets its fields with whatever expiries.
    pub fn edit(&mut self) -> Edit<'_> {
        let core = &mut self.core;
        Edit::new(&mut core.slab, &core.hasher, &core.options.encodings, UnixMs(i64::MIN))
    }

    /// Puts a value under a key that is not there yet; false if it is, also where its time has come: then the value is
    /// freed. This is no change of the data set: nothing is counted, and nobody is told.
    #[inline]
    pub fn load(
        &mut self,
        db: DbIndex,
        key: Key<'_>,
        value: Value<'_>,
        expire_at: Option<UnixMs>,
        access: u32,
    ) -> bool {
        let Keyspace { databases, core, .. } = self;
        let mut place = databases[db.index()].table.place(key.hash().0, key.bytes());
        if place.is_occupied() {
            value.free(&mut core.slab);
            return false;
        }
        core.preserve_for_insert(&mut place, db);
        let entry = Entry::new(&mut core.slab, key.bytes(), value.into_payload(), expire_at, access);
        place.insert(&mut core.slab, &core.hasher, entry, false);
        core.count(&mut place, db);
        true
    }

    /// Puts a value under its key, whatever is there. One change.
    pub fn store(
        &mut self,
        db: DbIndex,
        key: Key<'_>,
        now: UnixMs,
        value: Value<'_>,
        (expire_at, access): (Option<UnixMs>, u32),
    ) {
        let entry = Entry::new(&mut self.core.slab, key.bytes(), value.into_payload(), expire_at, access);
        self.put(db, key, now, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::key::KeyHasher,
        ds::hash::FieldExpire,
        keyspace::{Encoding, KeyspaceOptions},
    };

    const DB: DbIndex = DbIndex(0);
    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn keyspace() -> (Keyspace, KeyHasher) {
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        (Keyspace::new(1, hasher.clone(), KeyspaceOptions::default()), hasher)
    }

    fn hash(keyspace: &mut Keyspace, expire_at: UnixMs) -> Value<'static> {
        let mut edit = keyspace.edit();
        let mut hash = Hash::empty(edit.slab);
        hash.set(&mut edit, b"name", b"value", FieldExpire::At(expire_at));
        Value::Hash(hash)
    }

    #[test]
    fn a_key_is_loaded_once_and_counts_as_no_change() {
        let (mut keyspace, hasher) = keyspace();
        let key = hasher.key(b"k");
        assert!(keyspace.load(DB, key, Value::String(NewValue::Bytes(b"12")), Some(NOW), 7));
        let before = keyspace.used_memory();
        let value = hash(&mut keyspace, NOW);
        assert!(!keyspace.load(DB, key, value, None, 0));
        assert_eq!(keyspace.used_memory(), before);
        assert_eq!((keyspace.dirty(), keyspace.volatile_len(DB)), (0, 1));
        let entry = keyspace.peek(DB, key, NOW).unwrap();
        assert_eq!((entry.encoding, entry.expire_at, entry.access), (Encoding::Int, Some(NOW), 7));
    }

    #[test]
    fn what_is_stored_takes_the_place_of_what_is_there() {
        let (mut keyspace, hasher) = keyspace();
        let key = hasher.key(b"k");
        let later = UnixMs(NOW.0 + 5);
        for _ in 0..2 {
            let value = hash(&mut keyspace, later);
            keyspace.store(DB, key, NOW, value, (None, 0));
            assert_eq!(keyspace.peek(DB, key, NOW).unwrap().encoding, Encoding::Listpackex);
            keyspace.store(DB, key, NOW, Value::String(NewValue::Bytes(b"text")), (Some(later), 0));
            assert_eq!(keyspace.peek(DB, key, NOW).unwrap().encoding, Encoding::Embstr);
        }
        assert_eq!((keyspace.dirty(), keyspace.len(DB)), (4, 1));
    }

    #[test]
    fn a_hash_is_made_with_fields_whose_time_has_come() {
        let (mut keyspace, hasher) = keyspace();
        let value = hash(&mut keyspace, UnixMs(1));
        assert!(value.is_over(NOW) && !value.is_over(UnixMs(1)));
        assert!(keyspace.load(DB, hasher.key(b"k"), value, None, 0));
        assert_eq!(keyspace.len(DB), 1);
        // A key is absent when all its fields are.
        assert!(keyspace.peek(DB, hasher.key(b"k"), NOW).is_none());
        let value = hash(&mut keyspace, NOW);
        value.free(keyspace.edit().slab);
        assert_eq!(keyspace.len(DB), 0);
    }
}
