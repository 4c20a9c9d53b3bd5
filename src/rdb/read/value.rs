//! A value, from the bytes of its type: which family reads it, and what they have in common.

use super::{
    bytes::{Cursor, Stop, Text, TextBuffer},
    hash,
    kind::Kind,
    list, set, zset,
};
use crate::{
    ds::{
        collection::{Collection, Edit},
        listpack::Listpack,
    },
    keyspace::{NewValue, Value},
};

/// Reads a value. A collection is made in the encoding that the limits ask for, as Redis does it on loading; nothing is
/// left behind where it is refused.
pub(in crate::rdb) fn read<'b>(
    kind: Kind,
    cursor: &mut Cursor<'b>,
    buffer: &'b mut TextBuffer,
    edit: &mut Edit<'_>,
) -> Result<Value<'b>, Stop> {
    match kind {
        Kind::String => string(cursor, buffer).map(Value::String),
        Kind::List => list::read(cursor, edit).map(Value::List),
        Kind::ListNodes => list::read_nodes(cursor, edit).map(Value::List),
        Kind::ListZiplist => list::read_ziplists(cursor, 1, edit).map(Value::List),
        Kind::ListZiplists => {
            let count = cursor.count()?;
            list::read_ziplists(cursor, count, edit).map(Value::List)
        }
        Kind::Set => set::read(cursor, edit).map(Value::Set),
        Kind::SetIntset => set::read_intset(cursor, edit).map(Value::Set),
        Kind::SetListpack => set::read_listpack(cursor, edit).map(Value::Set),
        Kind::Zset => zset::read(cursor, zset::Scores::Doubles, edit).map(Value::Zset),
        Kind::ZsetText => zset::read(cursor, zset::Scores::Texts, edit).map(Value::Zset),
        Kind::ZsetListpack => zset::read_listpack(cursor, edit).map(Value::Zset),
        Kind::ZsetZiplist => zset::read_ziplist(cursor, edit).map(Value::Zset),
        Kind::Hash => hash::read(cursor, edit).map(Value::Hash),
        Kind::HashListpack => hash::read_listpack(cursor, false, edit).map(Value::Hash),
        Kind::HashZiplist => hash::read_ziplist(cursor, edit).map(Value::Hash),
        Kind::HashZipmap => hash::read_zipmap(cursor, edit).map(Value::Hash),
        Kind::HashExpiring(expiries) => hash::read_expiring(cursor, expiries, edit).map(Value::Hash),
        Kind::HashListpackExpiring(has_earliest) => {
            if has_earliest {
                // It says nothing that the fields do not say.
                cursor.array::<8>()?;
            }
            hash::read_listpack(cursor, true, edit).map(Value::Hash)
        }
    }
}

/// A string; an integer stays one, and a string that spells one becomes one.
#[inline]
fn string<'b>(cursor: &mut Cursor<'b>, buffer: &'b mut TextBuffer) -> Result<NewValue<'b>, Stop> {
    Ok(match cursor.text()? {
        Text::Int(number) => NewValue::Int(number),
        text => NewValue::Bytes(text.bytes(buffer)?),
    })
}

/// Shows the bytes of a string that holds something packed.
pub(super) fn packed<R>(
    cursor: &mut Cursor<'_>,
    show: impl FnOnce(&[u8]) -> Result<R, Stop>,
) -> Result<R, Stop> {
    let text = cursor.text()?;
    show(text.bytes(&mut TextBuffer::default())?)
}

/// The listpack of a string.
pub(super) fn listpack(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Listpack, Stop> {
    packed(cursor, |bytes| {
        Listpack::from_bytes(bytes, edit.slab).ok_or_else(|| Stop::refused("a listpack is damaged"))
    })
}

/// The same listpack, if there is something in it.
pub(super) fn not_empty(listpack: Listpack, edit: &mut Edit<'_>) -> Result<Listpack, Stop> {
    if listpack.as_ref().is_empty() {
        listpack.free(edit.slab);
        return Err(Stop::Empty);
    }
    Ok(listpack)
}

/// A collection that was filled. Where that fails, or nothing is in it then, it is freed.
pub(super) fn filled<C: Collection>(
    mut collection: C,
    edit: &mut Edit<'_>,
    fill: impl FnOnce(&mut C, &mut Edit<'_>) -> Result<(), Stop>,
) -> Result<C, Stop> {
    let mut result = fill(&mut collection, edit);
    if result.is_ok() && C::len(collection.as_ref()) == 0 {
        result = Err(Stop::Empty);
    }
    match result {
        Ok(()) => Ok(collection),
        Err(stop) => {
            collection.free(edit.slab);
            Err(stop)
        }
    }
}
