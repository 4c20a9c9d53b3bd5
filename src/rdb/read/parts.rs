//! A snapshot file as parts that pass through: what `merge` and `split` are made of.
//!
//! No value is kept, however long it is: what is kept is the record that is cut off where the bytes end, up to the name
//! of its key, and of a value the few bytes of a length.

use super::{
    bytes::{Cursor, Stop, TextBuffer},
    kind::{Kind, Passage},
    record::{Format, Record},
    LoadError,
};
use crate::{
    base::{crc64, ids::DbIndex},
    rdb::layout::CHECKSUM_BYTES,
};

/// A part of a file.
#[derive(Debug)]
pub(in crate::rdb) enum Part<'a> {
    /// How the file is written.
    Header(Format),
    /// Something about the file: a name and a value.
    Aux(&'a [u8], &'a [u8]),
    /// How many keys a database has, and how many of them expire.
    Resize(DbIndex, u64, u64),
    /// The beginning of a key.
    Key {
        db: DbIndex,
        kind: Kind,
        key: &'a [u8],
        /// Its bytes in the file: what stands before it, the type, the name.
        head: &'a [u8],
    },
    /// The next bytes of the value of that key.
    Value(&'a [u8]),
    /// The end.
    End,
}

/// Reads a file's parts from its beginning.
#[derive(Debug, Default)]
pub(in crate::rdb) struct Parts {
    /// The bytes that are at hand.
    buffer: Vec<u8>,
    /// Where the next part begins in them, and how far it was looked at from there: what stands before a key.
    at: usize,
    seen: usize,
    /// The place in the file of the first of them.
    offset: u64,
    /// The checksum of the file up to `summed`, a place in the buffer.
    checksum: u64,
    summed: usize,
    format: Option<Format>,
    db: DbIndex,
    /// How far the value at hand has passed.
    value: Option<Passage>,
    texts: [TextBuffer; 2],
    /// Once the end was reached: the checksum that stands there.
    told: Option<u64>,
}

/// What `find` came to, to be shown from the buffer.
enum Found {
    More,
    Record { from: usize, end: usize },
    Value(usize),
    End,
}

impl Parts {
    /// Gives it the next bytes of the file.
    pub(in crate::rdb) fn feed(&mut self, bytes: &[u8]) {
        self.sum(self.at);
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        (self.at, self.summed) = (0, 0);
        self.buffer.extend_from_slice(bytes);
    }

    /// The place in the file of the part that comes next.
    pub(in crate::rdb) fn place(&self) -> u64 {
        self.offset + (self.at + self.seen) as u64
    }

    /// The checksum that stands at the end of the file, once that was reached.
    pub(in crate::rdb) fn told(&self) -> Option<u64> {
        self.told
    }

    /// The next part; `None` where more bytes are needed, and behind the end.
    pub(in crate::rdb) fn next(&mut self) -> Result<Option<Part<'_>>, LoadError> {
        let found = self.find()?;
        let start = self.at;
        let Parts { buffer, texts: [first, second], offset, format, db, .. } = self;
        let shown = match found {
            Found::More => return Ok(None),
            Found::End => Ok(Part::End),
            Found::Value(len) => {
                self.at += len;
                Ok(Part::Value(&buffer[start..start + len]))
            }
            Found::Record { from, end } => {
                (self.at, self.seen) = (end, 0);
                let mut cursor = Cursor::new(buffer, from);
                // The first record is the header, whatever is known by now.
                let format = format.filter(|_| *offset + from as u64 > 0);
                Record::read(&mut cursor, format).and_then(|record| {
                    Ok(match record {
                        Record::Header(format) => Part::Header(format),
                        Record::Aux(name, value) => Part::Aux(name.bytes(first)?, value.bytes(second)?),
                        Record::Resize(keys, volatile) => Part::Resize(*db, keys, volatile),
                        Record::Key(kind, key) => {
                            Part::Key { db: *db, kind, key: key.bytes(first)?, head: &buffer[start..end] }
                        }
                        _ => unreachable!("only these are shown"),
                    })
                })
            }
        };
        shown.map(Some).map_err(|stop| LoadError { offset: *offset + start as u64, reason: stop.to_string() })
    }

    /// What is wrong where the file ends and there should be more.
    pub(in crate::rdb) fn ends_too_early(&self) -> LoadError {
        LoadError {
            offset: self.offset + self.buffer.len() as u64,
            reason: "the file ends before its end".to_owned(),
        }
    }

    /// Goes on to what is to be shown.
    fn find(&mut self) -> Result<Found, LoadError> {
        if let Some(value) = &mut self.value {
            let mut end = self.at;
            let passed = value.advance(&self.buffer, &mut end);
            let (is_over, len) = (value.is_over(), end - self.at);
            passed.map_err(|stop| self.error(end, &stop))?;
            if is_over {
                self.value = None;
            }
            // An empty one is not worth showing, unless there is nothing else to do.
            if len > 0 || !is_over {
                return Ok(if len > 0 { Found::Value(len) } else { Found::More });
            }
        }
        loop {
            let from = self.at + self.seen;
            if self.told.is_some() {
                return match self.buffer.len() > from {
                    true => Err(self.error(from, &Stop::refused("something follows the end"))),
                    false => Ok(Found::More),
                };
            }
            let mut cursor = Cursor::new(&self.buffer, from);
            let record = match Record::read(&mut cursor, self.format) {
                Ok(record) => record,
                Err(Stop::Short) => return Ok(Found::More),
                Err(stop) => return Err(self.error(from, &stop)),
            };
            let end = cursor.at();
            let is_of_key = matches!(
                record,
                Record::Expire(_) | Record::Idle(_) | Record::Frequency(_) | Record::Key(..)
            );
            if self.seen > 0 && !is_of_key {
                return Err(self.error(from, &Stop::refused("no key follows what belongs to one")));
            }
            match record {
                Record::Header(format) => {
                    self.format = Some(format);
                    return Ok(Found::Record { from, end });
                }
                Record::Aux(..) | Record::Resize(..) => return Ok(Found::Record { from, end }),
                Record::Key(kind, _) => {
                    self.value = Some(Passage::new(kind));
                    return Ok(Found::Record { from, end });
                }
                Record::Expire(_) | Record::Idle(_) | Record::Frequency(_) => self.seen = end - self.at,
                Record::Select(db) => (self.db, self.at) = (db, end),
                Record::Other => self.at = end,
                Record::End(told) => {
                    let told = told.unwrap_or(0);
                    if end - from > CHECKSUM_BYTES {
                        self.check(told, end - CHECKSUM_BYTES)?;
                    }
                    (self.at, self.told) = (end, Some(told));
                    return Ok(Found::End);
                }
            }
        }
    }

    /// Compares the checksum of all bytes up to this place with what the file says it is. Whoever wrote a zero did not
    /// want to add it up.
    fn check(&mut self, told: u64, at: usize) -> Result<(), LoadError> {
        self.sum(at);
        if told == 0 || told == self.checksum {
            return Ok(());
        }
        let reason = format!("the checksum is {told:016x}, but that of the file is {:016x},", self.checksum);
        Err(self.error(at, &Stop::Refused(reason)))
    }

    /// Adds the bytes up to this place to the checksum.
    fn sum(&mut self, at: usize) {
        self.checksum = crc64::crc64(self.checksum, &self.buffer[self.summed..at]);
        self.summed = at;
    }

    #[cold]
    fn error(&self, at: usize, stop: &Stop) -> LoadError {
        LoadError { offset: self.offset + at as u64, reason: stop.to_string() }
    }
}
