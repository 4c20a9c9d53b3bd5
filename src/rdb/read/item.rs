//! A key of a file, with all that belongs to it.

use super::{
    bytes::{Cursor, Stop, TextBuffer},
    kind::Kind,
    value, LoadError,
};
use crate::{
    base::{ids::DbIndex, time::UnixMs},
    keyspace::{access, Keyspace},
};

/// What stands before a key, and holds for it alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) expire_at: Option<UnixMs>,
    pub(super) idle_seconds: Option<u64>,
    pub(super) frequency: Option<u8>,
}

/// A key whose value is at hand, but not yet made. To pass over it is to drop it.
#[derive(Debug)]
pub struct KeyItem<'a> {
    pub(super) key: &'a [u8],
    pub(super) db: DbIndex,
    pub(super) attributes: Attributes,
    pub(super) kind: Kind,
    /// The value's bytes, all of them.
    pub(super) value: &'a [u8],
    /// Where they are in the file.
    pub(super) offset: u64,
}

impl KeyItem<'_> {
    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// Its database, which need not be one that there is.
    #[inline]
    pub fn db(&self) -> DbIndex {
        self.db
    }

    /// When it expires.
    #[inline]
    pub fn expire_at(&self) -> Option<UnixMs> {
        self.attributes.expire_at
    }

    /// Makes the value and puts it under the key; false if its time has come, or if it has no elements, as Redis skips
    /// such keys.
    ///
    /// # Errors
    /// The value is damaged, the key is there already, or there is no such database.
    #[inline]
    pub fn load(self, keyspace: &mut Keyspace, now: UnixMs) -> Result<bool, LoadError> {
        self.take_in(keyspace, now, true)
    }

    /// As `load`, but keeps what has expired: what follows in a journal, or in a primary's stream, may have made it
    /// live longer.
    ///
    /// # Errors
    /// As for `load`.
    #[inline]
    pub fn load_expired_too(self, keyspace: &mut Keyspace, now: UnixMs) -> Result<bool, LoadError> {
        self.take_in(keyspace, now, false)
    }

    fn take_in(self, keyspace: &mut Keyspace, now: UnixMs, drop_expired: bool) -> Result<bool, LoadError> {
        let Attributes { expire_at, .. } = self.attributes;
        if self.db.0 >= keyspace.databases() {
            let reason = format!("it is in database {}, and there are {}", self.db, keyspace.databases());
            return Err(self.error(0, &reason));
        }
        if drop_expired && expire_at.is_some_and(|at| at < now) {
            return Ok(false);
        }
        let (mut cursor, mut buffer) = (Cursor::new(self.value, 0), TextBuffer::default());
        let value = match value::read(self.kind, &mut cursor, &mut buffer, &mut keyspace.edit()) {
            Ok(value) => value,
            Err(Stop::Empty) => return Ok(false),
            Err(stop) => return Err(self.error(cursor.at(), &stop.to_string())),
        };
        if drop_expired && value.is_over(now) {
            value.free(keyspace.edit().slab);
            return Ok(false);
        }
        let Attributes { idle_seconds, frequency, .. } = self.attributes;
        let access = access::from_told(keyspace.options().access, idle_seconds, frequency, now);
        let key = keyspace.hasher().key(self.key);
        match keyspace.load(self.db, key, value, expire_at, access) {
            true => Ok(true),
            false => Err(self.error(0, "it is there already")),
        }
    }

    #[cold]
    fn error(&self, at: usize, reason: &str) -> LoadError {
        LoadError {
            offset: self.offset + at as u64,
            reason: format!("key '{}' cannot be loaded: {reason}", self.key.escape_ascii()),
        }
    }
}
