//! What leaves the keyspace without a command that removes it: keys and fields whose time has come, keys that are
//! evicted. Kept for the journal, while somebody asks for it, until it is fetched.

use std::ops::Range;

use crate::base::ids::DbIndex;

/// Why a key or a field went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time had come.
    Expired,
    /// Memory was short.
    Evicted,
}

/// A key that went, or a field of the hash at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal<'a> {
    /// The key's database.
    pub db: DbIndex,
    /// The key.
    pub key: &'a [u8],
    /// The field; the key as a whole without one.
    pub field: Option<&'a [u8]>,
    /// Why it went.
    pub cause: Cause,
}

/// See the module.
#[derive(Debug)]
pub struct Removals {
    is_kept: bool,
    /// The database of values that are only lent: what becomes of them concerns nobody.
    scratch: DbIndex,
    names: Vec<u8>,
    list: Vec<Place>,
}

/// Where the names of a removal are.
#[derive(Debug)]
struct Place {
    db: DbIndex,
    key: Range<usize>,
    field: Option<Range<usize>>,
    cause: Cause,
}

impl Removals {
    pub(super) fn new(scratch: DbIndex) -> Self {
        Removals { is_kept: false, scratch, names: Vec::new(), list: Vec::new() }
    }

    /// Whether they are kept from now on.
    pub fn keep(&mut self, on: bool) {
        self.is_kept = on;
        self.clear();
    }

    /// Whether there are any.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order in which they went.
    pub fn iter(&self) -> impl Iterator<Item = Removal<'_>> {
        self.list.iter().map(|place| Removal {
            db: place.db,
            key: &self.names[place.key.clone()],
            field: place.field.clone().map(|field| &self.names[field]),
            cause: place.cause,
        })
    }

    /// They were fetched.
    pub fn clear(&mut self) {
        self.names.clear();
        self.list.clear();
    }

    /// A key goes.
    #[inline]
    pub(super) fn key(&mut self, db: DbIndex, key: &[u8], cause: Cause) {
        if self.is_kept {
            self.push(db, key, None, cause);
        }
    }

    /// A field has expired.
    #[inline]
    pub(super) fn field(&mut self, db: DbIndex, key: &[u8], field: &[u8]) {
        if self.is_kept {
            self.push(db, key, Some(field), Cause::Expired);
        }
    }

    #[cold]
    fn push(&mut self, db: DbIndex, key: &[u8], field: Option<&[u8]>, cause: Cause) {
        if db == self.scratch {
            return;
        }
        // Fields of one key come one after the other.
        let last = self.list.last().map(|place| place.key.clone());
        let known = last.filter(|known| field.is_some() && self.names[known.clone()] == *key);
        let key = known.unwrap_or_else(|| self.name(key));
        let field = field.map(|field| self.name(field));
        self.list.push(Place { db, key, field, cause });
    }

    fn name(&mut self, name: &[u8]) -> Range<usize> {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        start..self.names.len()
    }
}
