//! Sets, in their three forms.

use super::{
    bytes::{Cursor, Stop, TextBuffer},
    value::{filled, listpack, not_empty, packed},
};
use crate::ds::{
    collection::{Collection, Edit},
    intset::Intset,
    set::Set,
};

/// Member by member.
pub(super) fn read(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Set, Stop> {
    let mut buffer = TextBuffer::default();
    filled(Set::empty(edit.slab), edit, |set, edit| {
        let count = cursor.count()?;
        for index in 0..count {
            let member = cursor.text()?.bytes(&mut buffer)?;
            if index == 0 {
                set.prepare(member, count, edit);
            }
            if !set.add(member, edit) {
                return Err(twice());
            }
        }
        Ok(())
    })
}

/// A listpack of the members.
pub(super) fn read_listpack(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Set, Stop> {
    let members = not_empty(listpack(cursor, edit)?, edit)?;
    Set::from_listpack(members, edit).ok_or_else(twice)
}

/// An intset.
pub(super) fn read_intset(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Set, Stop> {
    let intset = packed(cursor, |bytes| {
        Intset::from_bytes(bytes, edit.slab).ok_or_else(|| Stop::refused("an intset is damaged"))
    })?;
    if intset.as_ref().is_empty() {
        intset.free(edit.slab);
        return Err(Stop::Empty);
    }
    Ok(Set::from_intset(intset, edit))
}

fn twice() -> Stop {
    Stop::refused("a member is there twice")
}
