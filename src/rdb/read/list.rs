//! Lists, in their four forms.

use super::{
    bytes::{Cursor, Stop, TextBuffer},
    value::{filled, listpack, packed},
    ziplist,
};
use crate::{
    ds::{
        collection::{Collection, Edit},
        list::{End, List, ListBuilder},
    },
    rdb::layout::container,
};

/// Element by element.
pub(super) fn read(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<List, Stop> {
    let mut buffer = TextBuffer::default();
    filled(List::empty(edit.slab), edit, |list, edit| {
        for _ in 0..cursor.count()? {
            list.push(edit, End::Back, cursor.text()?.bytes(&mut buffer)?);
        }
        Ok(())
    })
}

/// Node by node.
pub(super) fn read_nodes(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<List, Stop> {
    let mut buffer = TextBuffer::default();
    built(edit, |nodes, edit| {
        for _ in 0..cursor.count()? {
            match cursor.length()? {
                container::PACKED => nodes.push_pack(listpack(cursor, edit)?, edit.slab),
                container::PLAIN => match cursor.text()?.bytes(&mut buffer)? {
                    [] => return Err(Stop::refused("a node of a list holds nothing")),
                    element => nodes.push_plain(element, edit.slab),
                },
                other => {
                    return Err(Stop::Refused(format!("a node of a list is of the unknown kind {other}")))
                }
            }
        }
        Ok(())
    })
}

/// So many ziplists, which are the nodes.
pub(super) fn read_ziplists(
    cursor: &mut Cursor<'_>,
    count: usize,
    edit: &mut Edit<'_>,
) -> Result<List, Stop> {
    built(edit, |nodes, edit| {
        for _ in 0..count {
            let pack = packed(cursor, |bytes| ziplist::to_listpack(bytes, edit.slab))?;
            nodes.push_pack(pack, edit.slab);
        }
        Ok(())
    })
}

/// The list of the nodes that `add` adds.
fn built(
    edit: &mut Edit<'_>,
    add: impl FnOnce(&mut ListBuilder, &mut Edit<'_>) -> Result<(), Stop>,
) -> Result<List, Stop> {
    let mut nodes = ListBuilder::default();
    if let Err(stop) = add(&mut nodes, edit) {
        nodes.free(edit.slab);
        return Err(stop);
    }
    nodes.finish(edit).ok_or(Stop::Empty)
}
