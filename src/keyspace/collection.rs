//! The collections that an entry can hold, by type.
//!
//! An entry knows its collection as a kind and a word; what has to be done for each type in the same way (free, copy,
//! move to another shard) is dispatched here, once.

pub use crate::ds::{
    hash::{Hash, HashRef},
    list::{List, ListRef},
    set::{Set, SetRef},
    zset::{Zset, ZsetRef},
};

use super::value::{ValueKind, ValueRef};
use crate::{
    base::key::KeyHasher,
    ds::{
        collection::{Collection, Encoding},
        slab::Slab,
    },
};

/// The type of a collection, as an entry's header and the slab's list of retired ones have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    List = 3,
    Set = 4,
    Zset = 5,
    Hash = 6,
}

/// A collection that a key can hold.
pub trait Kept: Collection {
    /// Its type.
    const KIND: ValueKind;

    /// The collection of a value, if it is one of this type.
    fn of(value: ValueRef<'_>) -> Option<Self::Ref<'_>>;
}

macro_rules! kept {
    ($($kind:ident $of:ident),*) => {
        $(impl Kept for $kind {
            const KIND: ValueKind = ValueKind::$kind;

            #[inline]
            fn of(value: ValueRef<'_>) -> Option<Self::Ref<'_>> {
                value.$of().ok()
            }
        })*
    };
}

kept!(List list, Set set, Zset zset, Hash hash);

/// The same for each type of collection, `$C` being the type.
macro_rules! for_kind {
    ($kind:expr, $C:ident => $body:expr) => {
        match $kind {
            $crate::keyspace::collection::Kind::List => {
                type $C = $crate::keyspace::collection::List;
                $body
            }
            $crate::keyspace::collection::Kind::Set => {
                type $C = $crate::keyspace::collection::Set;
                $body
            }
            $crate::keyspace::collection::Kind::Zset => {
                type $C = $crate::keyspace::collection::Zset;
                $body
            }
            $crate::keyspace::collection::Kind::Hash => {
                type $C = $crate::keyspace::collection::Hash;
                $body
            }
        }
    };
}
pub(super) use for_kind;

impl Kind {
    /// The kind of this number.
    pub(super) const fn from_number(number: u8) -> Option<Kind> {
        match number {
            3 => Some(Kind::List),
            4 => Some(Kind::Set),
            5 => Some(Kind::Zset),
            6 => Some(Kind::Hash),
            _ => None,
        }
    }

    /// The kind of collections of this type; strings have none.
    pub(super) const fn of(kind: ValueKind) -> Option<Kind> {
        match kind {
            ValueKind::String => None,
            ValueKind::List => Some(Kind::List),
            ValueKind::Set => Some(Kind::Set),
            ValueKind::Zset => Some(Kind::Zset),
            ValueKind::Hash => Some(Kind::Hash),
        }
    }
}

/// How many elements the collection has.
pub(super) fn len(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::String(_) => 0,
        ValueRef::List(list) => List::len(list),
        ValueRef::Set(set) => Set::len(set),
        ValueRef::Zset(zset) => Zset::len(zset),
        ValueRef::Hash(hash) => Hash::len(hash),
    }
}

/// How the collection is held; `None` of a string.
pub(super) fn encoding(value: ValueRef<'_>) -> Option<Encoding> {
    match value {
        ValueRef::String(_) => None,
        ValueRef::List(list) => Some(List::encoding(list)),
        ValueRef::Set(set) => Some(Set::encoding(set)),
        ValueRef::Zset(zset) => Some(Zset::encoding(zset)),
        ValueRef::Hash(hash) => Some(Hash::encoding(hash)),
    }
}

/// Bytes that the collection takes beside its entry.
pub(super) fn memory_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::String(_) => 0,
        ValueRef::List(list) => List::memory_bytes(list),
        ValueRef::Set(set) => Set::memory_bytes(set),
        ValueRef::Zset(zset) => Zset::memory_bytes(zset),
        ValueRef::Hash(hash) => Hash::memory_bytes(hash),
    }
}

/// A copy of the collection, as a kind and a word; `None` of a string.
pub(super) fn copy(value: ValueRef<'_>, slab: &mut Slab, hasher: &KeyHasher) -> Option<(Kind, u64)> {
    match value {
        ValueRef::String(_) => None,
        ValueRef::List(list) => Some((Kind::List, List::copy(list, slab, hasher).into_word())),
        ValueRef::Set(set) => Some((Kind::Set, Set::copy(set, slab, hasher).into_word())),
        ValueRef::Zset(zset) => Some((Kind::Zset, Zset::copy(zset, slab, hasher).into_word())),
        ValueRef::Hash(hash) => Some((Kind::Hash, Hash::copy(hash, slab, hasher).into_word())),
    }
}

/// Writes the collection's form for another shard.
pub(super) fn export(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::String(_) => {}
        ValueRef::List(list) => List::export(list, out),
        ValueRef::Set(set) => Set::export(set, out),
        ValueRef::Zset(zset) => Zset::export(zset, out),
        ValueRef::Hash(hash) => Hash::export(hash, out),
    }
}

/// The collection that was exported, as a word; `None` if the bytes are damaged.
pub(super) fn import(kind: Kind, bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<u64> {
    for_kind!(kind, C => C::import(bytes, slab, hasher).map(Collection::into_word))
}
