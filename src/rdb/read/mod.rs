//! Reading a snapshot file, from bytes that come in pieces.
//!
//! `Reader` takes the bytes and gives key by key. It finds where a key's value ends without making it, so that a core
//! that has no use for a key passes over it at the cost of its lengths; `KeyItem::load` makes the value and puts it
//! into a keyspace.
//!
//! ```text
//! record   what a file consists of: databases, expiries, keys, the end
//! kind     the types of values, and the way to a value's end
//! value    a value of its bytes: list, set, zset, hash, each in all its forms; ziplist and zipmap are packings of old
//! bytes    numbers, lengths and strings
//! parts    the same records for those who pass them on and make no values (`merge`, `split`)
//! ```
//!
//! What is read: the files of Redis 1 to 7.4 (RDB versions 1 to 12) and of Valkey 8 and 9. What cannot be held
//! (streams, functions, what modules made) is refused by name, never left out. Packed values are looked through
//! completely before they are taken over.
//!
//! A value is made of bytes that lie in one piece: while it is read a key takes the memory of its bytes in the file
//! besides that of its value, and never more than about twice what has been fed.
//!
//! Not here: files, whose keys a core wants, and what an error means for the server.

mod bytes;
mod hash;
mod item;
mod kind;
mod list;
mod parts;
mod record;
mod set;
#[cfg(test)]
mod tests;
mod value;
mod ziplist;
mod zipmap;
mod zset;

use std::fmt;

pub use self::item::KeyItem;
pub(in crate::rdb) use self::{
    bytes::{Cursor, Stop, TextBuffer},
    kind::Type,
    parts::{Part, Parts},
    record::{Format, VALKEY_MAGIC},
    value::read as read_value,
};

use self::{item::Attributes, kind::Walk, record::Record};
use super::layout::{CHECKSUM_BYTES, MAGIC};
use crate::base::{crc64, ids::DbIndex};

/// Memory for bytes that is kept when a long value has been read.
const BUFFER_KEPT: usize = 4 << 20;

/// Whether these first bytes of a file are those of a snapshot.
pub fn is_snapshot(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(MAGIC) || first_bytes.starts_with(VALKEY_MAGIC)
}

/// What a reader came to.
#[derive(Debug)]
pub enum Step<'a> {
    /// The end of the bytes that it was fed.
    More,
    /// Something about the file: a name and a value.
    Aux(&'a [u8], &'a [u8]),
    /// A key.
    Key(KeyItem<'a>),
    /// The end of the snapshot: the place in the file behind it.
    End(u64),
}

/// A file that cannot be loaded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The place in the file.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.offset)
    }
}

impl std::error::Error for LoadError {}

/// Reads a snapshot from its beginning.
#[derive(Debug, Default)]
pub struct Reader {
    /// The bytes that are at hand.
    buffer: Vec<u8>,
    /// Where the next record begins in them.
    at: usize,
    /// The place in the file of the first of them.
    offset: u64,
    /// The checksum of the file up to `summed`, a place in the buffer.
    checksum: u64,
    summed: usize,
    skips_checksum: bool,
    /// What the header said.
    format: Option<Format>,
    db: DbIndex,
    /// What was said of the next key.
    attributes: Attributes,
    /// How far the value at hand has been followed, from `at` on.
    walk: Option<Walk>,
    /// Room for strings that are not in the buffer as they are.
    texts: [TextBuffer; 2],
    /// The place behind the end, once it was reached.
    end: Option<u64>,
}

/// Where reading came to.
enum Found {
    More,
    /// A record that is to be shown, from this place in the buffer to `Reader::at`.
    Record(usize),
    End(u64),
}

impl Reader {
    /// A reader that does not care about the checksum (`rdbchecksum no`).
    pub fn without_checksum() -> Reader {
        Reader { skips_checksum: true, ..Reader::default() }
    }

    /// Gives it the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.sum(self.at);
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        (self.at, self.summed) = (0, 0);
        if self.buffer.capacity() > BUFFER_KEPT && self.buffer.len() + bytes.len() < BUFFER_KEPT / 2 {
            self.buffer.shrink_to(BUFFER_KEPT);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next key, or what else there is.
    ///
    /// # Errors
    /// The file is damaged, or holds what cannot be held here. It cannot be read on then.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "what it gives is borrowed from it")]
    pub fn next(&mut self) -> Result<Step<'_>, LoadError> {
        let start = match self.find()? {
            Found::More => return Ok(Step::More),
            Found::End(place) => return Ok(Step::End(place)),
            Found::Record(start) => start,
        };
        let attributes = std::mem::take(&mut self.attributes);
        let Reader { buffer, texts: [first, second], offset, .. } = self;
        let mut cursor = Cursor::new(buffer, start);
        let step = Record::read(&mut cursor, self.format).and_then(|record| {
            Ok(match record {
                Record::Aux(name, value) => Step::Aux(name.bytes(first)?, value.bytes(second)?),
                Record::Key(kind, key) => Step::Key(KeyItem {
                    key: key.bytes(first)?,
                    db: self.db,
                    attributes,
                    kind,
                    value: &buffer[cursor.at()..self.at],
                    offset: *offset + cursor.at() as u64,
                }),
                _ => unreachable!("only these are shown"),
            })
        });
        step.map_err(|stop| LoadError { offset: *offset + start as u64, reason: stop.to_string() })
    }

    /// What is wrong where the file ends and the reader still wants more.
    pub fn ends_too_early(&self) -> LoadError {
        LoadError {
            offset: self.offset + self.buffer.len() as u64,
            reason: "the file ends before its end".to_owned(),
        }
    }

    /// Goes on to a record that is to be shown and is at hand completely, and moves `at` behind it.
    fn find(&mut self) -> Result<Found, LoadError> {
        loop {
            if let Some(end) = self.end {
                return Ok(Found::End(end));
            }
            let start = self.at;
            let mut cursor = Cursor::new(&self.buffer, start);
            let record = match Record::read(&mut cursor, self.format) {
                Ok(record) => record,
                Err(Stop::Short) => return Ok(Found::More),
                Err(stop) => return Err(self.error(start, &stop)),
            };
            let end = cursor.at();
            match record {
                Record::Header(format) => self.format = Some(format),
                Record::Select(db) => self.db = db,
                Record::Expire(at) => self.attributes.expire_at = Some(at),
                Record::Idle(seconds) => self.attributes.idle_seconds = Some(seconds),
                Record::Frequency(frequency) => self.attributes.frequency = Some(frequency),
                Record::Resize(..) | Record::Other => {}
                Record::Aux(..) => {
                    self.at = end;
                    return Ok(Found::Record(start));
                }
                Record::Key(kind, _) => {
                    let walk = self.walk.get_or_insert(Walk::new(kind, end - start));
                    let walked = walk.advance(&self.buffer[start..]);
                    let came_to = start + walk.at();
                    match walked {
                        Ok(()) => {}
                        Err(Stop::Short) => return Ok(Found::More),
                        Err(stop) => return Err(self.error(came_to, &stop)),
                    }
                    self.walk = None;
                    self.at = came_to;
                    return Ok(Found::Record(start));
                }
                Record::End(checksum) => {
                    if let Some(checksum) = checksum {
                        self.check(checksum, end - CHECKSUM_BYTES)?;
                    }
                    self.end = Some(self.offset + end as u64);
                }
            }
            self.at = end;
        }
    }

    /// Compares the checksum of all bytes up to this place with what the file says it is.
    fn check(&mut self, told: u64, at: usize) -> Result<(), LoadError> {
        self.sum(at);
        // Whoever wrote a zero did not want to add it up.
        if self.skips_checksum || told == 0 || told == self.checksum {
            return Ok(());
        }
        let reason = format!("the checksum is {told:016x}, but that of the file is {:016x},", self.checksum);
        Err(self.error(at, &Stop::Refused(reason)))
    }

    /// Adds the bytes up to this place to the checksum.
    fn sum(&mut self, at: usize) {
        if !self.skips_checksum {
            self.checksum = crc64::crc64(self.checksum, &self.buffer[self.summed..at]);
        }
        self.summed = at;
    }

    #[cold]
    fn error(&self, at: usize, stop: &Stop) -> LoadError {
        LoadError { offset: self.offset + at as u64, reason: stop.to_string() }
    }
}
