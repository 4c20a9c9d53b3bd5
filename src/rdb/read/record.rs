//! The records that a file consists of, one at a time.

use super::{
    bytes::{Cursor, Stop, Text, TextBuffer},
    kind::{Kind, Type},
};
use crate::{
    base::{ids::DbIndex, time::UnixMs},
    rdb::layout::{opcode, MAGIC},
};

/// The first bytes of a file that Valkey 9 or later wrote; three digits with the version follow.
pub(in crate::rdb) const VALKEY_MAGIC: &[u8; 6] = b"VALKEY";

/// Bytes of the magic and the version together, of either.
const HEADER_BYTES: usize = 9;

/// The versions of Redis's that are read.
const VERSIONS: std::ops::RangeInclusive<u16> = 1..=12;

/// The version of Valkey's that is read.
pub(in crate::rdb) const VALKEY_VERSION: u16 = 80;

/// The first version with a checksum.
const CHECKSUM_FROM: u16 = 5;

/// Records that are read or refused, but never written; `layout::opcode` has the others.
mod other {
    /// Slots of Redis Cluster and their sizes.
    pub(super) const SLOT_INFO: u8 = 0xF4;
    pub(super) const FUNCTION: u8 = 0xF5;
    /// As release candidates of Redis 7.0 had it.
    pub(super) const OLD_FUNCTION: u8 = 0xF6;
    /// What a module wants to keep besides its keys.
    pub(super) const MODULE_AUX: u8 = 0xF7;
}

/// How a file is to be read, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rdb) struct Format {
    pub(in crate::rdb) is_valkey: bool,
    pub(in crate::rdb) version: u16,
}

/// A record.
pub(super) enum Record<'a> {
    /// The first one.
    Header(Format),
    Aux(Text<'a>, Text<'a>),
    Select(DbIndex),
    /// When the next key expires.
    Expire(UnixMs),
    /// For how many seconds the next key has not been used.
    Idle(u64),
    /// How often the next key is used.
    Frequency(u8),
    /// How many keys the database has, and how many of them expire.
    Resize(u64, u64),
    /// Nothing that a reader needs.
    Other,
    /// A key, whose value follows.
    Key(Kind, Text<'a>),
    /// The last one, with the checksum if the version has one.
    End(Option<u64>),
}

impl Format {
    /// Reads the header.
    fn read(cursor: &mut Cursor<'_>) -> Result<Format, Stop> {
        let header = cursor.take(HEADER_BYTES)?;
        let (is_valkey, digits) = match (header.strip_prefix(MAGIC), header.strip_prefix(VALKEY_MAGIC)) {
            (Some(digits), _) => (false, digits),
            (_, Some(digits)) => (true, digits),
            _ => return Err(Stop::refused("it does not begin as an RDB file does")),
        };
        let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
        let version = text.and_then(|digits| digits.parse().ok());
        match version {
            Some(version) if !is_valkey && VERSIONS.contains(&version) => Ok(Format { is_valkey, version }),
            Some(VALKEY_VERSION) if is_valkey => Ok(Format { is_valkey, version: VALKEY_VERSION }),
            _ => Err(Stop::Refused(format!(
                "the file has the RDB version {}, and what can be read is {} to {}, and {VALKEY_VERSION} of Valkey",
                digits.escape_ascii(),
                VERSIONS.start(),
                VERSIONS.end(),
            ))),
        }
    }

    /// How a payload of this version is to be read, if it can be.
    pub(in crate::rdb) fn of_payload(version: u16) -> Option<Format> {
        let is_valkey = version == VALKEY_VERSION;
        (version <= *VERSIONS.end() || is_valkey).then_some(Format { is_valkey, version })
    }

    fn has_checksum(self) -> bool {
        self.version >= CHECKSUM_FROM
    }
}

impl<'a> Record<'a> {
    /// Reads a record; of a key all but the value. The first one tells the format.
    pub(super) fn read(cursor: &mut Cursor<'a>, format: Option<Format>) -> Result<Record<'a>, Stop> {
        let Some(format) = format else { return Format::read(cursor).map(Record::Header) };
        Ok(match cursor.byte()? {
            opcode::AUX => Record::Aux(cursor.text()?, cursor.text()?),
            opcode::SELECT => {
                let number = cursor.length()?;
                let number = u16::try_from(number)
                    .map_err(|_| Stop::Refused(format!("there cannot be a database {number}")))?;
                Record::Select(DbIndex(number))
            }
            opcode::RESIZE => Record::Resize(cursor.length()?, cursor.length()?),
            other::SLOT_INFO => {
                for _ in 0..3 {
                    cursor.length()?;
                }
                Record::Other
            }
            opcode::EXPIRE_MS => Record::Expire(UnixMs(i64::from_le_bytes(cursor.array()?))),
            opcode::EXPIRE_SECONDS => {
                let seconds = i32::from_le_bytes(cursor.array()?);
                Record::Expire(UnixMs(i64::from(seconds) * 1000))
            }
            opcode::IDLE => Record::Idle(cursor.length()?),
            opcode::FREQUENCY => Record::Frequency(cursor.byte()?),
            opcode::EOF if format.has_checksum() => Record::End(Some(u64::from_le_bytes(cursor.array()?))),
            opcode::EOF => Record::End(None),
            other::FUNCTION | other::OLD_FUNCTION => {
                return Err(Stop::refused("the file holds functions, which this build cannot hold"));
            }
            other::MODULE_AUX => {
                let module = module_name(cursor.length()?);
                return Err(Stop::Refused(format!(
                    "the file holds data of the module '{module}', which this build cannot hold"
                )));
            }
            byte => Record::key(Type::of(byte, format.is_valkey), byte, cursor)?,
        })
    }

    fn key(of: Type, byte: u8, cursor: &mut Cursor<'a>) -> Result<Record<'a>, Stop> {
        let what = match of {
            Type::Of(kind) => return Ok(Record::Key(kind, cursor.text()?)),
            Type::Unknown => return Err(Stop::Refused(format!("a record has the unknown type {byte}"))),
            Type::Stream | Type::Module => cursor.text()?,
        };
        let mut buffer = TextBuffer::default();
        let key = what.bytes(&mut buffer)?.escape_ascii();
        Err(Stop::Refused(match of {
            Type::Module => {
                let module = module_name(cursor.length()?);
                format!("key '{key}' holds a value of the module '{module}', which this build cannot hold")
            }
            _ => format!("key '{key}' holds a stream, which this build cannot hold"),
        }))
    }
}

/// The name in the number by which a module is known: nine characters of six bits, and ten bits for a version.
fn module_name(id: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|index| char::from(CHARACTERS[(id >> (58 - 6 * index)) as usize & 63])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_can_be_read() {
        let read = |header: &[u8]| Format::read(&mut Cursor::new(header, 0));
        for (header, is_valkey, version) in
            [(b"REDIS0001", false, 1), (b"REDIS0012", false, 12), (b"VALKEY080", true, 80)]
        {
            assert_eq!(read(header), Ok(Format { is_valkey, version }));
        }
        for header in
            [b"REDIS0000", b"REDIS0013", b"REDIS+001", b"REDIS 001", b"VALKEY011", b"VALKEY081", b"redis0009"]
        {
            assert!(matches!(read(header), Err(Stop::Refused(_))), "{}", header.escape_ascii());
        }
        assert_eq!(read(b"REDIS001"), Err(Stop::Short));
        assert_eq!(Format::of_payload(12), Some(Format { is_valkey: false, version: 12 }));
        assert_eq!(Format::of_payload(13), None);
    }

    #[test]
    fn a_modules_number_spells_its_name() {
        // ReJSON-RL, encoding version 3.
        let name = b"ReJSON-RL";
        let characters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = |byte: &u8| characters.iter().position(|character| character == byte).unwrap() as u64;
        let id = name.iter().fold(0, |id, byte| id << 6 | place(byte)) << 10 | 3;
        assert_eq!(module_name(id), "ReJSON-RL");
    }
}
