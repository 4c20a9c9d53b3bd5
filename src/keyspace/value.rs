//! What a value looks like from outside an entry: borrowed views to read it, descriptions to write it, and the names
//! that TYPE and OBJECT ENCODING report.

pub use crate::ds::collection::Encoding;

use std::fmt;

use super::collection::{self, HashRef, ListRef, SetRef, ZsetRef};
use crate::base::{error::WrongType, time::UnixMs};

/// The longest string that OBJECT ENCODING calls `embstr` (Redis: `OBJ_ENCODING_EMBSTR_SIZE_LIMIT`).
pub const EMBSTR_LEN_MAX: usize = 44;

/// A value that takes more bytes is written to a snapshot in pieces.
const LARGE_BYTES: usize = 64 << 10;

/// The type of a value, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A string, whatever its encoding.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A hash.
    Hash,
}

impl ValueKind {
    /// The name that TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            ValueKind::String => "string",
            ValueKind::List => "list",
            ValueKind::Set => "set",
            ValueKind::Zset => "zset",
            ValueKind::Hash => "hash",
        }
    }
}

/// A value, borrowed from its entry.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    String(StringRef<'a>),
    /// A list.
    List(ListRef<'a>),
    /// A set.
    Set(SetRef<'a>),
    /// A sorted set.
    Zset(ZsetRef<'a>),
    /// A hash.
    Hash(HashRef<'a>),
}

/// A string, borrowed from its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringRef<'a> {
    /// A string held as an integer.
    Int(i64),
    /// A string held as bytes.
    Str(&'a [u8]),
}

/// Room for the text of an integer, so that `ValueRef::bytes` allocates nothing.
pub type IntText = itoa::Buffer;

impl<'a> ValueRef<'a> {
    /// The value's type.
    #[inline]
    pub fn kind(self) -> ValueKind {
        match self {
            ValueRef::String(_) => ValueKind::String,
            ValueRef::List(_) => ValueKind::List,
            ValueRef::Set(_) => ValueKind::Set,
            ValueRef::Zset(_) => ValueKind::Zset,
            ValueRef::Hash(_) => ValueKind::Hash,
        }
    }

    /// The string.
    ///
    /// # Errors
    /// It is a value of another type.
    #[inline(always)]
    pub fn string(self) -> Result<StringRef<'a>, WrongType> {
        match self {
            ValueRef::String(string) => Ok(string),
            ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_) | ValueRef::Hash(_) => Err(WrongType),
        }
    }

    /// The list.
    ///
    /// # Errors
    /// It is a value of another type.
    #[inline]
    pub fn list(self) -> Result<ListRef<'a>, WrongType> {
        match self {
            ValueRef::List(list) => Ok(list),
            ValueRef::String(_) | ValueRef::Set(_) | ValueRef::Zset(_) | ValueRef::Hash(_) => Err(WrongType),
        }
    }

    /// The set.
    ///
    /// # Errors
    /// It is a value of another type.
    #[inline]
    pub fn set(self) -> Result<SetRef<'a>, WrongType> {
        match self {
            ValueRef::Set(set) => Ok(set),
            ValueRef::String(_) | ValueRef::List(_) | ValueRef::Zset(_) | ValueRef::Hash(_) => Err(WrongType),
        }
    }

    /// The sorted set.
    ///
    /// # Errors
    /// It is a value of another type.
    #[inline]
    pub fn zset(self) -> Result<ZsetRef<'a>, WrongType> {
        match self {
            ValueRef::Zset(zset) => Ok(zset),
            ValueRef::String(_) | ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Hash(_) => Err(WrongType),
        }
    }

    /// The hash.
    ///
    /// # Errors
    /// It is a value of another type.
    #[inline]
    pub fn hash(self) -> Result<HashRef<'a>, WrongType> {
        match self {
            ValueRef::Hash(hash) => Ok(hash),
            ValueRef::String(_) | ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_) => Err(WrongType),
        }
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueRef::String(string) => string.fmt(f),
            ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_) | ValueRef::Hash(_) => {
                f.write_str(self.kind().name())
            }
        }
    }
}

impl<'a> StringRef<'a> {
    /// The string's bytes; an integer is written into `text` first.
    #[inline]
    pub fn bytes<'b>(self, text: &'b mut IntText) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            StringRef::Int(number) => text.format(number).as_bytes(),
            StringRef::Str(bytes) => bytes,
        }
    }

    /// The string's length in bytes.
    #[inline]
    pub fn string_len(self) -> usize {
        match self {
            StringRef::Int(number) => decimal_len(number),
            StringRef::Str(bytes) => bytes.len(),
        }
    }

    /// The string as an integer if it is one, written the canonical way (what INCR accepts).
    #[inline]
    pub fn integer(self) -> Option<i64> {
        match self {
            StringRef::Int(number) => Some(number),
            StringRef::Str(bytes) => canonical_i64(bytes),
        }
    }
}

/// A string to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewValue<'a> {
    /// A string as SET stores it: as an integer if it is a canonical one, else as bytes.
    Bytes(&'a [u8]),
    /// An integer.
    Int(i64),
    /// A string that is kept as bytes even if it reads as an integer (INCRBYFLOAT).
    Raw(&'a [u8]),
    /// As `Raw`, and OBJECT ENCODING says `raw` whatever its length, as of a string built by APPEND, SETRANGE, BITOP.
    Buffer(&'a [u8]),
}

/// What becomes of the key's expiry when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpire {
    /// It stays as it is (KEEPTTL).
    Keep,
    /// The key becomes persistent.
    Clear,
    /// The key expires then.
    At(UnixMs),
}

/// Everything about one key at one moment.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    /// The value.
    pub value: ValueRef<'a>,
    /// When the key expires.
    pub expire_at: Option<UnixMs>,
    /// The 24-bit access field: LRU clock, or LFU minutes and counter.
    pub access: u32,
    /// How the value is held.
    pub encoding: Encoding,
    /// Bytes of the entry's own block and its share of the table.
    pub block_bytes: usize,
}

impl<'a> EntryView<'a> {
    /// Bytes that the key takes: its block, its share of the table, and its collection.
    pub fn size_bytes(&self) -> usize {
        self.block_bytes + collection::memory_bytes(self.value)
    }

    /// Whether writing it out at once would keep the shard for longer than a command should.
    pub fn is_large(&self) -> bool {
        match self.value {
            ValueRef::String(StringRef::Int(_)) => false,
            ValueRef::String(StringRef::Str(bytes)) => bytes.len() > LARGE_BYTES,
            _ => collection::memory_bytes(self.value) > LARGE_BYTES,
        }
    }

    /// How many elements the collection has; 0 of a string.
    pub fn elements(&self) -> usize {
        collection::len(self.value)
    }

    /// Writes the form of the collection that `Keyspace::import` reads; nothing of a string.
    pub fn export(&self, out: &mut Vec<u8>) {
        collection::export(self.value, out);
    }

    /// A description that stores the same string with the same encoding elsewhere; `None` of a collection.
    pub fn to_new_string(&self) -> Option<NewValue<'a>> {
        Some(match self.value.string().ok()? {
            StringRef::Int(number) => NewValue::Int(number),
            StringRef::Str(bytes) if self.encoding == Encoding::Raw => NewValue::Buffer(bytes),
            StringRef::Str(bytes) => NewValue::Raw(bytes),
        })
    }
}

/// Parses a 64-bit integer written the one way that `itoa` would write it (Redis: `string2ll`): no sign but `-`, no
/// leading zero, no space.
#[inline]
pub fn canonical_i64(text: &[u8]) -> Option<i64> {
    // Twenty characters: the longest is i64::MIN with its sign.
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    let (negative, digits) = match text[0] {
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut magnitude = 0u64;
    for &c in digits {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    match negative {
        true if magnitude <= i64::MIN.unsigned_abs() => Some(magnitude.wrapping_neg() as i64),
        true => None,
        false => i64::try_from(magnitude).ok(),
    }
}

/// How many characters `number` takes in decimal.
pub fn decimal_len(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + usize::from(number < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_are_integers() {
        for number in [0, 1, -1, 9, 10, -10, 99, 100, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            let text = number.to_string();
            assert_eq!(canonical_i64(text.as_bytes()), Some(number), "{text}");
            assert_eq!(decimal_len(number), text.len(), "{text}");
        }
        for text in [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "123456789012345678901",
        ] {
            assert_eq!(canonical_i64(text.as_bytes()), None, "{text:?}");
        }
    }
}
