//! Sorted sets, in their four forms.

use super::{
    bytes::{Cursor, Stop, TextBuffer},
    kind::score,
    value::{filled, listpack, not_empty, packed},
    ziplist,
};
use crate::{
    base::double,
    ds::{
        collection::{Collection, Edit},
        listpack::Listpack,
        zset::Zset,
    },
};

/// How scores are written.
#[derive(Clone, Copy)]
pub(super) enum Scores {
    /// As they lie in memory.
    Doubles,
    /// As text.
    Texts,
}

/// Member by member.
pub(super) fn read(cursor: &mut Cursor<'_>, scores: Scores, edit: &mut Edit<'_>) -> Result<Zset, Stop> {
    let mut buffer = TextBuffer::default();
    filled(Zset::empty(edit.slab), edit, |zset, edit| {
        let count = cursor.count()?;
        zset.reserve(edit, count);
        for _ in 0..count {
            let member = cursor.text()?.bytes(&mut buffer)?;
            let score = match scores {
                Scores::Doubles => f64::from_le_bytes(cursor.array()?),
                Scores::Texts => score_of_text(cursor)?,
            };
            if score.is_nan() {
                return Err(Stop::refused("a score is not a number"));
            }
            if !zset.update(edit, member, |_| Some(score)).is_added() {
                return Err(Stop::refused("a member is there twice"));
            }
        }
        Ok(())
    })
}

/// A listpack of members and scores.
pub(super) fn read_listpack(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Zset, Stop> {
    let items = listpack(cursor, edit)?;
    of_listpack(items, edit)
}

/// A ziplist of members and scores.
pub(super) fn read_ziplist(cursor: &mut Cursor<'_>, edit: &mut Edit<'_>) -> Result<Zset, Stop> {
    let items = packed(cursor, |bytes| ziplist::to_listpack(bytes, edit.slab))?;
    of_listpack(items, edit)
}

fn of_listpack(items: Listpack, edit: &mut Edit<'_>) -> Result<Zset, Stop> {
    let items = not_empty(items, edit)?;
    Zset::from_listpack(items, edit)
        .ok_or_else(|| Stop::refused("a sorted set has no scores, is out of order, or has a member twice"))
}

fn score_of_text(cursor: &mut Cursor<'_>) -> Result<f64, Stop> {
    match cursor.byte()? {
        score::NAN => Ok(f64::NAN),
        score::INFINITE => Ok(f64::INFINITY),
        score::MINUS_INFINITE => Ok(f64::NEG_INFINITY),
        len => {
            double::parse(cursor.take(len.into())?).ok_or_else(|| Stop::refused("a score is not a number"))
        }
    }
}
