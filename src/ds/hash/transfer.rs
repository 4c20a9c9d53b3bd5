//! A hash on its way to another shard, or out of a snapshot.
//!
//! ```text
//! small    | tag, 1 | listpack |
//! large    | tag, 1 | then of each field: expiry or 0, i64 | name length, u32 | value length, u32 | name | value |
//! ```
//!
//! All numbers are little-endian.

use super::{
    compact::{Compact, CompactRef},
    large::Large,
    Form, Hash, HashRef, TAG_COMPACT, TAG_EXPIRING, TAG_LARGE,
};
use crate::{
    base::{key::KeyHasher, time::UnixMs},
    ds::{
        collection::{Collection, Edit},
        listpack::Listpack,
        slab::Slab,
    },
};

/// How a field without expiry is marked.
const NEVER: i64 = 0;

impl Hash {
    /// The hash of a listpack of names and values, and expiries (0 for none) if it `has_expiries`; large where the
    /// limits do not allow it so many fields. `None` if they are no fields, or one is there twice.
    pub fn from_listpack(list: Listpack, has_expiries: bool, edit: &mut Edit<'_>) -> Option<Hash> {
        let compact = Compact { list, has_expiries };
        if !compact.as_ref().is_sound() {
            compact.list.free(edit.slab);
            return None;
        }
        let is_too_large = compact.as_ref().len() > edit.limits.hash.entries;
        let mut hash = Hash(Form::Compact(compact));
        if is_too_large {
            hash.enlarge(edit);
        }
        Some(hash)
    }
}

/// Writes a hash at the end of `out`.
pub(super) fn export(hash: HashRef<'_>, out: &mut Vec<u8>) {
    match hash.0 {
        Form::Compact(CompactRef { list, has_expiries }) => {
            out.push(if has_expiries { TAG_EXPIRING } else { TAG_COMPACT } as u8);
            out.extend_from_slice(list.bytes());
        }
        Form::Large(root) => {
            out.push(TAG_LARGE as u8);
            let (mut name, mut value) = (itoa::Buffer::new(), itoa::Buffer::new());
            root.for_each(|item| {
                let (name, value) = (item.name.bytes(&mut name), item.value.bytes(&mut value));
                out.extend_from_slice(&item.expire_at.map_or(NEVER, |at| at.0).to_le_bytes());
                out.extend_from_slice(&(name.len() as u32).to_le_bytes());
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(name);
                out.extend_from_slice(value);
            });
        }
    }
}

/// Reads a hash that `export` wrote; `None` if the bytes are damaged.
pub(super) fn import(bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<Hash> {
    let (&tag, rest) = bytes.split_first()?;
    match u64::from(tag) {
        tag @ (TAG_COMPACT | TAG_EXPIRING) => {
            let hash = Compact { list: Listpack::from_bytes(rest, slab)?, has_expiries: tag == TAG_EXPIRING };
            if !hash.as_ref().is_sound() {
                hash.list.free(slab);
                return None;
            }
            Some(Hash(Form::Compact(hash)))
        }
        TAG_LARGE => {
            let mut large = Large::new(slab);
            let read = fill(&mut large, rest, slab, hasher);
            let hash = Hash(Form::Large(large));
            if read.is_none() {
                hash.free(slab);
                return None;
            }
            Some(hash)
        }
        _ => None,
    }
}

/// Puts in all fields; `None` if the bytes are damaged.
fn fill(hash: &mut Large, mut bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<()> {
    while !bytes.is_empty() {
        let (expiry, rest) = bytes.split_first_chunk()?;
        let (name_len, rest) = rest.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_len) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        let expire_at = match i64::from_le_bytes(*expiry) {
            NEVER => None,
            at if at > NEVER => Some(UnixMs(at)),
            _ => return None,
        };
        if !hash.insert(slab, hasher, name, value, expire_at) {
            return None;
        }
        bytes = rest;
    }
    Some(())
}
