//! Values of every type, at once or in pieces.
//!
//! What is one block in memory is one string here. What is a table or a list of nodes is its length and then its
//! elements; in pieces these come some at a time, and a number remembers how far they have come. The value must not
//! change meanwhile.
//!
//! Elements that are longer than a piece are written whole, as are blocks: those are a few kilobytes.

use super::string::{write_compressed, write_int, write_len, LongString, StringWriter};
use crate::{
    base::time::UnixMs,
    ds::{
        listpack::{self, ListpackRef, Packed},
        zset,
    },
    keyspace::{HashRef, ListRef, Progress, SetRef, StringRef, ValueRef, ZsetRef},
    rdb::layout::{container, kind},
};

/// Elements of a table that are looked at together.
const PAGE: usize = 32;

/// Shows also the fields whose time has come: they count into the length of their hash.
const BEFORE_ALL_EXPIRY: UnixMs = UnixMs(i64::MIN);

/// What a value is written as.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    Int(i64),
    Text(&'a [u8]),
    /// A type that is one string: a block as it lies in memory.
    Block(u8, &'a [u8]),
    Nodes(ListRef<'a>),
    Members(SetRef<'a>),
    Scores(ZsetRef<'a>),
    Fields(HashRef<'a>),
    /// With fields that expire, the earliest then or later.
    ExpiringFields(HashRef<'a>, UnixMs),
    /// A listpack with expiries, the earliest of which is this; with none it is written without.
    ExpiringPack(ListpackRef<'a>, Option<UnixMs>),
}

impl<'a> Form<'a> {
    /// The form of a value.
    #[inline]
    pub(super) fn of(value: ValueRef<'a>) -> Form<'a> {
        match value {
            ValueRef::String(StringRef::Int(number)) => Form::Int(number),
            ValueRef::String(StringRef::Str(string)) => Form::Text(string),
            ValueRef::List(list) => Form::Nodes(list),
            ValueRef::Set(set) => match set.as_intset() {
                Some(intset) => Form::Block(kind::SET_INTSET, intset.bytes()),
                None => Form::Members(set),
            },
            ValueRef::Zset(zset) => match zset.as_listpack() {
                Some(pack) => Form::Block(kind::ZSET_LISTPACK, pack.bytes()),
                None => Form::Scores(zset),
            },
            ValueRef::Hash(hash) => match (hash.as_listpack(), hash.earliest_expiry()) {
                (Some(pack), earliest) if hash.has_place_for_expiries() => Form::ExpiringPack(pack, earliest),
                (Some(pack), _) => Form::Block(kind::HASH_LISTPACK, pack.bytes()),
                (None, Some(earliest)) => Form::ExpiringFields(hash, earliest),
                (None, None) => Form::Fields(hash),
            },
        }
    }

    /// The byte that stands for the type.
    #[inline]
    pub(super) fn kind(self) -> u8 {
        match self {
            Form::Int(_) | Form::Text(_) => kind::STRING,
            Form::Block(kind, _) => kind,
            Form::Nodes(_) => kind::LIST,
            Form::Members(_) => kind::SET,
            Form::Scores(_) => kind::ZSET,
            Form::Fields(_) => kind::HASH,
            Form::ExpiringFields(..) => kind::HASH_EXPIRING,
            Form::ExpiringPack(_, Some(_)) => kind::HASH_LISTPACK_EXPIRING,
            Form::ExpiringPack(_, None) => kind::HASH_LISTPACK,
        }
    }

    /// Whether only Redis 7.4 and its kin read it.
    pub(super) fn is_expiring(self) -> bool {
        matches!(self.kind(), kind::HASH_EXPIRING | kind::HASH_LISTPACK_EXPIRING)
    }

    /// What comes before the elements.
    #[inline]
    fn write_head(self, out: &mut Vec<u8>) {
        let len = match self {
            Form::Int(_) | Form::Text(_) | Form::Block(..) | Form::ExpiringPack(..) => return,
            Form::Nodes(list) => list.node_count(),
            Form::Members(set) => set.len(),
            Form::Scores(zset) => zset.len(),
            Form::Fields(hash) => hash.live_len(BEFORE_ALL_EXPIRY),
            Form::ExpiringFields(hash, earliest) => {
                out.extend_from_slice(&earliest.0.to_le_bytes());
                hash.live_len(BEFORE_ALL_EXPIRY)
            }
        };
        write_len(len as u64, out);
    }
}

/// How far a value that is written in pieces has come.
pub(super) enum Cursor {
    /// Of a string.
    String(LongString),
    /// Of a collection: the place of a scan, or how many nodes or members are done.
    Elements(u64),
}

/// Writes values.
pub(super) struct ValueWriter {
    pub(super) strings: StringWriter,
}

impl ValueWriter {
    /// One that compresses strings, or does not.
    pub(super) fn new(compresses: bool) -> ValueWriter {
        ValueWriter { strings: StringWriter::new(compresses) }
    }

    /// Writes a value, without its type.
    #[inline]
    pub(super) fn write(&mut self, form: Form<'_>, out: &mut Vec<u8>) {
        match form {
            Form::Int(number) => write_int(number, out),
            Form::Text(string) | Form::Block(_, string) => self.strings.write(string, out),
            _ => {
                form.write_head(out);
                self.write_elements(form, &mut 0, usize::MAX, out);
            }
        }
    }

    /// Begins a value that is written in pieces. Its bytes are the same as those of `write`.
    pub(super) fn begin(&self, form: Form<'_>, out: &mut Vec<u8>) -> Cursor {
        form.write_head(out);
        match form {
            Form::Text(string) => Cursor::String(self.strings.begin(string)),
            _ => Cursor::Elements(0),
        }
    }

    /// The next piece of a value, of about `budget` bytes.
    pub(super) fn step(
        &mut self,
        form: Form<'_>,
        cursor: &mut Cursor,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Progress {
        match (cursor, form) {
            (Cursor::String(string), Form::Text(text)) => string.step(text, budget.max(1), out),
            (Cursor::Elements(done), _) => self.write_elements(form, done, budget.max(1), out),
            (Cursor::String(_), _) => unreachable!("a value does not change while it is written"),
        }
    }

    /// Writes elements from a place on, until they are `budget` bytes or all.
    fn write_elements(
        &mut self,
        form: Form<'_>,
        done: &mut u64,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Progress {
        let end = out.len().saturating_add(budget);
        match form {
            Form::Nodes(list) => self.write_nodes(list, done, end, out),
            Form::Scores(zset) => self.write_scores(zset, done, end, out),
            Form::Members(set) => scan(done, end, out, |cursor, out| {
                set.scan(cursor, PAGE, |member| self.strings.write_element(member, out))
            }),
            Form::Fields(hash) => scan(done, end, out, |cursor, out| {
                hash.scan(cursor, PAGE, BEFORE_ALL_EXPIRY, |field| {
                    self.strings.write_element(field.name, out);
                    self.strings.write_element(field.value, out);
                })
            }),
            Form::ExpiringFields(hash, earliest) => scan(done, end, out, |cursor, out| {
                hash.scan(cursor, PAGE, BEFORE_ALL_EXPIRY, |field| {
                    write_len(field.expire_at.map_or(0, |at| (at.0 - earliest.0) as u64 + 1), out);
                    self.strings.write_element(field.name, out);
                    self.strings.write_element(field.value, out);
                })
            }),
            Form::ExpiringPack(pack, earliest) => {
                if let Some(at) = earliest {
                    out.extend_from_slice(&at.0.to_le_bytes());
                }
                self.strings.write(&by_expiry(pack, earliest.is_some()), out);
                Progress::Done
            }
            Form::Int(_) | Form::Text(_) | Form::Block(..) => {
                self.write(form, out);
                Progress::Done
            }
        }
    }

    fn write_nodes(&mut self, list: ListRef<'_>, done: &mut u64, end: usize, out: &mut Vec<u8>) -> Progress {
        for node in list.nodes_from(*done as usize) {
            if out.len() >= end {
                return Progress::More;
            }
            write_len(if node.is_plain { container::PLAIN } else { container::PACKED }, out);
            match node.is_compressed {
                true => write_compressed(node.stored, node.len, out),
                false => self.strings.write(node.stored, out),
            }
            *done += 1;
        }
        Progress::Done
    }

    /// From the highest score to the lowest: so each member goes to the front when Redis puts it into its skip list.
    fn write_scores(&mut self, zset: ZsetRef<'_>, done: &mut u64, end: usize, out: &mut Vec<u8>) -> Progress {
        for zset::Item { member, score } in zset.range(0..zset.len() - *done as usize, true) {
            if out.len() >= end {
                return Progress::More;
            }
            self.strings.write_element(member, out);
            out.extend_from_slice(&score.to_le_bytes());
            *done += 1;
        }
        Progress::Done
    }
}

/// Calls `page` with a cursor for the next page of a table's elements, until they are written up to `end`, or all.
fn scan(
    cursor: &mut u64,
    end: usize,
    out: &mut Vec<u8>,
    mut page: impl FnMut(u64, &mut Vec<u8>) -> u64,
) -> Progress {
    loop {
        *cursor = page(*cursor, out);
        if *cursor == 0 {
            return Progress::Done;
        }
        if out.len() >= end {
            return Progress::More;
        }
    }
}

/// The listpack of a hash with its fields in the order of their expiry, which is how Redis keeps them, those without
/// one at the end; or without any expiries.
fn by_expiry(pack: ListpackRef<'_>, with_expiries: bool) -> Vec<u8> {
    let elements: Vec<&[u8]> = pack.encoded_iter().collect();
    let expiries = pack.iter().skip(2).step_by(3).map(|expiry| match expiry {
        Packed::Int(at) if at > 0 => at,
        _ => i64::MAX,
    });
    let mut fields: Vec<(i64, &[&[u8]])> = expiries.zip(elements.chunks_exact(3)).collect();
    fields.sort_by_key(|&(expiry, _)| expiry);
    let kept = if with_expiries { 3 } else { 2 };
    let mut out = Vec::with_capacity(pack.total_bytes());
    listpack::assemble(fields.iter().flat_map(|&(_, field)| &field[..kept]).copied(), &mut out);
    out
}
