//! Hashes, in their forms with and without expiries of fields.

use super::{
    bytes::{Cursor, Stop, TextBuffer},
    kind::Expiries,
    value::{filled, listpack, not_empty, packed},
    ziplist, zipmap,
};
use crate::{
    base::time::UnixMs,
    ds::{
        collection::{Collection, Edit},
        hash::{FieldExpire, Hash},
        listpack::Listpack,
    },
};

/// What stands for no expiry where it stands behind the value.
const NEVER_BEHIND: i64 = -1;

/// Field by field.
pub(super) fn read(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Hash, Stop> {
    let (mut name, mut value) = (TextBuffer::default(), TextBuffer::default());
    filled(Hash::empty(edit.slab), edit, |hash, edit| {
        let count = cursor.count()?;
        hash.reserve(edit, count);
        for _ in 0..count {
            let name = cursor.text()?.bytes(&mut name)?;
            let value = cursor.text()?.bytes(&mut value)?;
            if !hash.set(edit, name, value, FieldExpire::Clear) {
                return Err(twice());
            }
        }
        Ok(())
    })
}

/// Field by field, with expiries.
pub(super) fn read_expiring(
    cursor: &mut Cursor<'_>,
    expiries: Expiries,
    edit: &mut Edit<'_>,
) -> Result<Hash, Stop> {
    let (mut name, mut value) = (TextBuffer::default(), TextBuffer::default());
    filled(Hash::empty(edit.slab), edit, |hash, edit| {
        let earliest = match expiries {
            Expiries::FromEarliest => i64::from_le_bytes(cursor.array()?),
            Expiries::Before | Expiries::Behind => 0,
        };
        let count = cursor.count()?;
        hash.reserve(edit, count);
        for _ in 0..count {
            let before = match expiries {
                Expiries::FromEarliest | Expiries::Before => cursor.length()?,
                Expiries::Behind => 0,
            };
            let name = cursor.text()?.bytes(&mut name)?;
            let value = cursor.text()?.bytes(&mut value)?;
            let expire_at = match (expiries, before) {
                (Expiries::Behind, _) => match i64::from_le_bytes(cursor.array()?) {
                    NEVER_BEHIND => None,
                    at => Some(time(at.into())?),
                },
                (_, 0) => None,
                (Expiries::Before, at) => Some(time(at.into())?),
                (Expiries::FromEarliest, distance) => {
                    Some(time(i128::from(earliest) + i128::from(distance) - 1)?)
                }
            };
            if !hash.set(edit, name, value, expire_at.map_or(FieldExpire::Clear, FieldExpire::At)) {
                return Err(twice());
            }
        }
        Ok(())
    })
}

/// A listpack of names and values, and expiries if it `has_expiries`.
pub(super) fn read_listpack(
    cursor: &mut Cursor<'_>,
    has_expiries: bool,
    edit: &mut Edit<'_>,
) -> Result<Hash, Stop> {
    let fields = listpack(cursor, edit)?;
    of_listpack(fields, has_expiries, edit)
}

/// A ziplist of names and values.
pub(super) fn read_ziplist(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Hash, Stop> {
    let fields = packed(cursor, |bytes| ziplist::to_listpack(bytes, edit.slab))?;
    of_listpack(fields, false, edit)
}

/// A zipmap.
pub(super) fn read_zipmap(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Hash, Stop> {
    // It may hold longer strings than a listpack of today is to hold.
    packed(cursor, |bytes| {
        let fields = zipmap::fields(bytes)?;
        filled(Hash::empty(edit.slab), edit, |hash, edit| {
            hash.reserve(edit, fields.len());
            let mut all = fields.iter();
            match all.all(|(name, value)| hash.set(edit, name, value, FieldExpire::Clear)) {
                true => Ok(()),
                false => Err(twice()),
            }
        })
    })
}

fn of_listpack(fields: Listpack, has_expiries: bool, edit: &mut Edit<'_>) -> Result<Hash, Stop> {
    let fields = not_empty(fields, edit)?;
    Hash::from_listpack(fields, has_expiries, edit)
        .ok_or_else(|| Stop::refused("a hash has a name without a value, a bad expiry, or a name twice"))
}

/// A moment at which a field can expire.
fn time(at: i128) -> Result<UnixMs, Stop> {
    match i64::try_from(at) {
        Ok(at) if at > 0 => Ok(UnixMs(at)),
        _ => Err(Stop::refused("a field has an impossible expiry")),
    }
}

fn twice() -> Stop {
    Stop::refused("a field is there twice")
}
