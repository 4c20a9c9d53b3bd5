//! The types of values that can be read, with those that are not written any more, and how they are laid out.

use super::bytes::{Cursor, Stop};
use crate::rdb::layout::{kind, VERSION, VERSION_FIELD_EXPIRY};

/// Types that are read only: see `layout` for what they are.
mod old {
    pub(super) const LIST: u8 = 1;
    pub(super) const ZSET_TEXT: u8 = 3;
    pub(super) const MODULE: u8 = 6;
    pub(super) const MODULE_2: u8 = 7;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_ZIPLISTS: u8 = 14;
    pub(super) const SET_LISTPACK: u8 = 20;
    /// Of Valkey 9; those who made Redis 7.4 gave the same number to what they released as 24.
    pub(super) const FROM_22: u8 = 22;
    pub(super) const FROM_23: u8 = 23;
    /// The three versions of a stream.
    pub(super) const STREAMS: [u8; 3] = [15, 19, 21];
}

/// The version that has sets in listpacks (Redis 7.2).
const VERSION_SET_LISTPACK: u16 = 11;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rdb) enum Kind {
    String,
    /// Element by element.
    List,
    /// A listpack or an element for each node.
    ListNodes,
    ListZiplist,
    /// A ziplist for each node.
    ListZiplists,
    /// Member by member.
    Set,
    SetIntset,
    SetListpack,
    /// Member by member, with scores as they lie in memory.
    Zset,
    /// Member by member, with scores as text.
    ZsetText,
    ZsetListpack,
    ZsetZiplist,
    /// Field by field.
    Hash,
    HashListpack,
    HashZiplist,
    HashZipmap,
    /// Field by field, with expiries.
    HashExpiring(Expiries),
    /// A listpack with expiries, after the earliest of them if it is `true`.
    HashListpackExpiring(bool),
}

/// How the expiries of a hash are written that is written field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rdb) enum Expiries {
    /// Before the name, as the distance from the earliest, plus one; 0 is none. The earliest stands before all fields.
    FromEarliest,
    /// Before the name, as a time; 0 is none.
    Before,
    /// Behind the value, as a time of eight bytes; -1 is none.
    Behind,
}

/// What can stand in the place of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rdb) enum Type {
    /// One that can be read.
    Of(Kind),
    /// A stream.
    Stream,
    /// A value that a module made.
    Module,
    /// None that is known.
    Unknown,
}

impl Type {
    /// The type of this byte, in a file of Valkey's or of Redis's.
    pub(in crate::rdb) fn of(byte: u8, is_valkey: bool) -> Type {
        Type::Of(match byte {
            kind::STRING => Kind::String,
            kind::SET => Kind::Set,
            kind::HASH => Kind::Hash,
            kind::ZSET => Kind::Zset,
            kind::SET_INTSET => Kind::SetIntset,
            kind::HASH_LISTPACK => Kind::HashListpack,
            kind::ZSET_LISTPACK => Kind::ZsetListpack,
            kind::LIST => Kind::ListNodes,
            kind::HASH_EXPIRING => Kind::HashExpiring(Expiries::FromEarliest),
            kind::HASH_LISTPACK_EXPIRING => Kind::HashListpackExpiring(true),
            old::LIST => Kind::List,
            old::ZSET_TEXT => Kind::ZsetText,
            old::HASH_ZIPMAP => Kind::HashZipmap,
            old::LIST_ZIPLIST => Kind::ListZiplist,
            old::ZSET_ZIPLIST => Kind::ZsetZiplist,
            old::HASH_ZIPLIST => Kind::HashZiplist,
            old::LIST_ZIPLISTS => Kind::ListZiplists,
            old::SET_LISTPACK => Kind::SetListpack,
            old::FROM_22 if is_valkey => Kind::HashExpiring(Expiries::Behind),
            old::FROM_22 => Kind::HashExpiring(Expiries::Before),
            old::FROM_23 if !is_valkey => Kind::HashListpackExpiring(false),
            old::MODULE | old::MODULE_2 => return Type::Module,
            byte if old::STREAMS.contains(&byte) => return Type::Stream,
            _ => return Type::Unknown,
        })
    }
}

/// How the bytes of a type are laid out: enough to find their end.
struct Shape {
    /// Bytes before everything else.
    head: usize,
    /// Whether the number of elements follows; else there is one.
    is_counted: bool,
    /// What an element consists of.
    element: &'static [Part],
}

/// A part of an element.
#[derive(Clone, Copy)]
enum Part {
    Text,
    Length,
    /// Eight bytes.
    Word,
    ScoreText,
}

/// Lengths of a score's text that stand for no text.
pub(in crate::rdb) mod score {
    /// Not a number.
    pub(in crate::rdb) const NAN: u8 = 253;
    /// Infinity.
    pub(in crate::rdb) const INFINITE: u8 = 254;
    /// The other infinity.
    pub(in crate::rdb) const MINUS_INFINITE: u8 = 255;
}

impl Kind {
    /// The first version of Redis's format that has it, as far as that is later than `VERSION`.
    pub(in crate::rdb) fn version(self) -> u16 {
        match self {
            Kind::HashExpiring(_) | Kind::HashListpackExpiring(_) => VERSION_FIELD_EXPIRY,
            Kind::SetListpack => VERSION_SET_LISTPACK,
            _ => VERSION,
        }
    }

    fn shape(self) -> Shape {
        use Part::{Length, ScoreText, Text, Word};
        const EARLIEST_BYTES: usize = 8;
        let one = |head| Shape { head, is_counted: false, element: &[Text] };
        let many = |element| Shape { head: 0, is_counted: true, element };
        match self {
            Kind::String
            | Kind::ListZiplist
            | Kind::SetIntset
            | Kind::SetListpack
            | Kind::ZsetListpack
            | Kind::ZsetZiplist
            | Kind::HashListpack
            | Kind::HashZiplist
            | Kind::HashZipmap
            | Kind::HashListpackExpiring(false) => one(0),
            Kind::HashListpackExpiring(true) => one(EARLIEST_BYTES),
            Kind::List | Kind::ListZiplists | Kind::Set => many(&[Text]),
            Kind::ListNodes => many(&[Length, Text]),
            Kind::Zset => many(&[Text, Word]),
            Kind::ZsetText => many(&[Text, ScoreText]),
            Kind::Hash => many(&[Text, Text]),
            Kind::HashExpiring(Expiries::Behind) => many(&[Text, Text, Word]),
            Kind::HashExpiring(Expiries::Before) => many(&[Length, Text, Text]),
            Kind::HashExpiring(Expiries::FromEarliest) => {
                Shape { head: EARLIEST_BYTES, ..many(&[Length, Text, Text]) }
            }
        }
    }
}

/// A way through the bytes of a value to its end, which goes on where it came to when there are more bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::rdb) struct Walk {
    kind: Kind,
    at: usize,
    /// Elements that are still to come; not known before the first of them.
    left: Option<u64>,
}

impl Walk {
    /// A way that begins at this place.
    pub(in crate::rdb) fn new(kind: Kind, at: usize) -> Walk {
        Walk { kind, at, left: None }
    }

    /// Where it came to.
    pub(in crate::rdb) fn at(&self) -> usize {
        self.at
    }

    /// Goes on to the value's end. The bytes are those of the last time, and more.
    pub(in crate::rdb) fn advance(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let (shape, mut cursor) = (self.kind.shape(), Cursor::new(bytes, self.at));
        let mut left = match self.left {
            Some(left) => left,
            None => {
                cursor.take(shape.head)?;
                let left = if shape.is_counted { cursor.length()? } else { 1 };
                self.at = cursor.at();
                left
            }
        };
        let mut walked = Ok(());
        while left > 0 && walked.is_ok() {
            walked = shape.element.iter().try_for_each(|part| part.skip(&mut cursor));
            if walked.is_ok() {
                left -= 1;
                self.at = cursor.at();
            }
        }
        self.left = Some(left);
        walked
    }
}

/// A way through the bytes of a value that needs none of them twice: they may come in pieces, of which none is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::rdb) struct Passage {
    kind: Kind,
    /// Bytes to pass before the next part begins.
    ahead: usize,
    /// Elements that are still to come; not known before the first of them.
    left: Option<u64>,
    /// Which part of its element comes next.
    part: usize,
}

impl Passage {
    /// A way that begins with the value's first byte.
    pub(in crate::rdb) fn new(kind: Kind) -> Passage {
        Passage { kind, ahead: kind.shape().head, left: None, part: 0 }
    }

    /// Whether the value's end is reached.
    pub(in crate::rdb) fn is_over(&self) -> bool {
        self.ahead == 0 && self.left == Some(0)
    }

    /// Goes on from `at` to the value's end, or as far as the bytes reach. `at` moves behind those that are done with;
    /// the few that are not, of a length that is cut off, are to come again.
    pub(in crate::rdb) fn advance(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Stop> {
        let shape = self.kind.shape();
        loop {
            let passed = self.ahead.min(bytes.len() - *at);
            *at += passed;
            self.ahead -= passed;
            if self.ahead > 0 {
                return Ok(());
            }
            let mut cursor = Cursor::new(bytes, *at);
            let step = match self.left {
                None if shape.is_counted => cursor.length().map(|count| self.left = Some(count)),
                None => {
                    self.left = Some(1);
                    Ok(())
                }
                Some(0) => return Ok(()),
                Some(left) => shape.element[self.part].head(&mut cursor).map(|follow| {
                    self.ahead = follow;
                    self.part = (self.part + 1) % shape.element.len();
                    self.left = Some(if self.part == 0 { left - 1 } else { left });
                }),
            };
            match step {
                Ok(()) => *at = cursor.at(),
                Err(Stop::Short) => return Ok(()),
                Err(stop) => return Err(stop),
            }
        }
    }
}

impl Part {
    /// Reads what tells how long it is; how many bytes follow.
    #[inline]
    fn head(self, cursor: &mut Cursor<'_>) -> Result<usize, Stop> {
        match self {
            Part::Text => cursor.text_head(),
            Part::Length => cursor.length().map(|_| 0),
            Part::Word => Ok(8),
            Part::ScoreText => Ok(match cursor.byte()? {
                score::NAN.. => 0,
                len => len.into(),
            }),
        }
    }

    #[inline]
    fn skip(self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        match self {
            Part::Text => cursor.text().map(drop),
            Part::Length => cursor.length().map(drop),
            Part::Word => cursor.take(8).map(drop),
            Part::ScoreText => match cursor.byte()? {
                score::NAN.. => Ok(()),
                len => cursor.take(len.into()).map(drop),
            },
        }
    }
}
