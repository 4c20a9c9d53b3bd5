//! A sorted set on its way to another shard, or out of a snapshot.
//!
//! ```text
//! small    | tag, 1 | listpack |
//! large    | tag, 1 | then of each member, in order: score, f64 | length, u32 | bytes |
//! ```
//!
//! All numbers are little-endian.

use super::{
    compact::{Compact, CompactRef},
    large::Large,
    Form, Zset, ZsetRef, TAG_COMPACT, TAG_LARGE,
};
use crate::{
    base::key::KeyHasher,
    ds::{
        collection::{Collection, Edit},
        listpack::Listpack,
        slab::Slab,
    },
};

impl Zset {
    /// The sorted set of a listpack of members and scores, in order; large where the limits do not allow it so many.
    /// `None` if they are something else.
    pub fn from_listpack(list: Listpack, edit: &mut Edit<'_>) -> Option<Zset> {
        let compact = Compact { list };
        if !compact.as_ref().is_sound() {
            compact.list.free(edit.slab);
            return None;
        }
        let is_too_large = compact.as_ref().len() > edit.limits.zset.entries;
        let mut zset = Zset(Form::Compact(compact));
        if is_too_large {
            zset.enlarge(edit);
        }
        Some(zset)
    }
}

/// Writes a sorted set at the end of `out`.
pub(super) fn export(zset: ZsetRef<'_>, out: &mut Vec<u8>) {
    match zset.0 {
        Form::Compact(CompactRef { list }) => {
            out.push(TAG_COMPACT as u8);
            out.extend_from_slice(list.bytes());
        }
        Form::Large(root) => {
            out.push(TAG_LARGE as u8);
            for (score, member) in root.iter(0..root.len(), false) {
                let member = member.bytes();
                out.extend_from_slice(&score.to_le_bytes());
                out.extend_from_slice(&(member.len() as u32).to_le_bytes());
                out.extend_from_slice(member);
            }
        }
    }
}

/// Reads a sorted set that `export` wrote; `None` if the bytes are damaged.
pub(super) fn import(bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<Zset> {
    let (&tag, rest) = bytes.split_first()?;
    match u64::from(tag) {
        TAG_COMPACT => {
            let zset = Compact { list: Listpack::from_bytes(rest, slab)? };
            if !zset.as_ref().is_sound() {
                zset.list.free(slab);
                return None;
            }
            Some(Zset(Form::Compact(zset)))
        }
        TAG_LARGE => {
            let mut large = Large::new(slab);
            let read = fill(&mut large, rest, slab, hasher);
            let zset = Zset(Form::Large(large));
            if read.is_none() {
                zset.free(slab);
                return None;
            }
            Some(zset)
        }
        _ => None,
    }
}

/// Adds all members; `None` if the bytes are damaged.
fn fill(zset: &mut Large, mut bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<()> {
    while !bytes.is_empty() {
        let (score, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (member, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let score = f64::from_le_bytes(*score);
        if score.is_nan() || zset.update(slab, hasher, member, |_| Some(score)).before.is_some() {
            return None;
        }
        bytes = rest;
    }
    Some(())
}
