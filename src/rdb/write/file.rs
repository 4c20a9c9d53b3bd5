//! The sink that writes a snapshot as an RDB file.
//!
//! Keys of one database come together where the walk shows them so; where it does not, the database is named again,
//! which is as good to a reader. The checksum is made of the bytes in their order in the file, many at once, as the
//! snapshot shows them again (`SnapshotSink::in_order`).

use super::{
    string::{write_len, StringWriter},
    value::{Cursor, Form, ValueWriter},
};
use crate::{
    base::{
        crc64::{self, crc64},
        ids::DbIndex,
        time::{Now, UnixMs},
    },
    keyspace::{access, EntryView, LfuOptions, Progress, SnapshotSink},
    rdb::layout::{opcode, MAGIC, VERSION, VERSION_FIELD_EXPIRY},
};

/// The version of Redis that a file says it is of.
const REDIS_VERSION: &str = "7.2.4";

/// What a file has in it, beside the keys.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOptions {
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// What is noted of the use of keys.
    pub access: AccessNotes,
    /// Whether it is the base of an AOF.
    pub is_aof_base: bool,
    /// The moment of the cut.
    pub now: Now,
    /// `used_memory` then.
    pub used_memory: u64,
    /// `Keyspace::has_field_expiry` then.
    pub has_field_expiry: bool,
    /// More names and values about the file.
    pub aux: Vec<(String, String)>,
}

/// What a file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// When its data was cut, in seconds since the epoch.
    pub cut_secs: i64,
    /// What the data took in memory.
    pub used_memory: u64,
    /// Whether it is the base of an AOF.
    pub is_aof_base: bool,
}

impl About {
    /// Writes it as Redis does.
    pub(in crate::rdb) fn write(&self, strings: &mut StringWriter, out: &mut Vec<u8>) {
        for (name, value) in [
            ("redis-ver", REDIS_VERSION),
            ("redis-bits", "64"),
            ("ctime", &self.cut_secs.to_string()),
            ("used-mem", &self.used_memory.to_string()),
            ("aof-base", if self.is_aof_base { "1" } else { "0" }),
        ] {
            write_aux(name, value, strings, out);
        }
    }
}

/// Writes a name and a value about a file.
pub(in crate::rdb) fn write_aux(name: &str, value: &str, strings: &mut StringWriter, out: &mut Vec<u8>) {
    out.push(opcode::AUX);
    strings.write(name.as_bytes(), out);
    strings.write(value.as_bytes(), out);
}

/// What is written of how a key is used, which is for eviction by the one who loads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessNotes {
    /// Nothing: `maxmemory-policy` does not look at the use.
    None,
    /// For how long it has not been: the LRU policies.
    Idle,
    /// How often it is: the LFU policies.
    Frequency(LfuOptions),
}

/// Writes a snapshot as an RDB file.
pub struct SnapshotFileSink {
    options: FileOptions,
    values: ValueWriter,
    has_begun: bool,
    /// The database of the key that was begun last. It is also the one before it in the file, whose keys come in the
    /// order in which they are begun.
    db: Option<DbIndex>,
    /// How far the value is that is written in pieces.
    open: Option<Cursor>,
    checksum: u64,
}

impl SnapshotFileSink {
    /// With nothing written.
    pub fn new(options: FileOptions) -> SnapshotFileSink {
        SnapshotFileSink {
            values: ValueWriter::new(options.compress),
            options,
            has_begun: false,
            db: None,
            open: None,
            checksum: crc64::EMPTY,
        }
    }

    /// What comes before the first database.
    fn begin_file(&mut self, out: &mut Vec<u8>) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        let version = if self.options.has_field_expiry { VERSION_FIELD_EXPIRY } else { VERSION };
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(format!("{version:04}").as_bytes());
        let about = About {
            cut_secs: self.options.now.unix_us.div_euclid(1_000_000),
            used_memory: self.options.used_memory,
            is_aof_base: self.options.is_aof_base,
        };
        about.write(&mut self.values.strings, out);
        for (name, value) in std::mem::take(&mut self.options.aux) {
            write_aux(&name, &value, &mut self.values.strings, out);
        }
    }

    #[inline]
    fn select(&mut self, db: DbIndex, out: &mut Vec<u8>) {
        if self.db != Some(db) {
            self.db = Some(db);
            out.push(opcode::SELECT);
            write_len(u64::from(db.0), out);
        }
    }

    /// What comes before a key's value. The header is there, as its database was announced.
    #[inline]
    fn begin_key(
        &mut self,
        db: DbIndex,
        key: &[u8],
        entry: &EntryView<'_>,
        form: Form<'_>,
        out: &mut Vec<u8>,
    ) {
        debug_assert!(self.has_begun && (self.options.has_field_expiry || !form.is_expiring()));
        self.select(db, out);
        if let Some(UnixMs(at)) = entry.expire_at {
            out.push(opcode::EXPIRE_MS);
            out.extend_from_slice(&at.to_le_bytes());
        }
        match self.options.access {
            AccessNotes::None => {}
            AccessNotes::Idle => {
                out.push(opcode::IDLE);
                write_len(access::lru_idle_ms(entry.access, self.options.now.unix_ms()) / 1000, out);
            }
            AccessNotes::Frequency(lfu) => {
                let frequency = access::lfu_frequency(entry.access, self.options.now.unix_ms(), lfu);
                out.extend_from_slice(&[opcode::FREQUENCY, frequency as u8]);
            }
        }
        out.push(form.kind());
        self.values.strings.write(key, out);
    }
}

impl SnapshotSink for SnapshotFileSink {
    fn database(&mut self, db: DbIndex, keys: u64, volatile: u64, out: &mut Vec<u8>) {
        self.begin_file(out);
        self.select(db, out);
        out.push(opcode::RESIZE);
        write_len(keys, out);
        write_len(volatile, out);
    }

    fn entry(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        let form = Form::of(entry.value);
        self.begin_key(db, key, entry, form, out);
        self.values.write(form, out);
    }

    fn begin_value(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        let form = Form::of(entry.value);
        self.begin_key(db, key, entry, form, out);
        self.open = Some(self.values.begin(form, out));
    }

    fn step_value(&mut self, entry: &EntryView<'_>, budget: usize, out: &mut Vec<u8>) -> Progress {
        let Some(cursor) = &mut self.open else { return Progress::Done };
        let progress = self.values.step(Form::of(entry.value), cursor, budget, out);
        if progress == Progress::Done {
            self.open = None;
        }
        progress
    }

    fn in_order(&mut self, bytes: &[u8]) {
        if self.options.checksum {
            self.checksum = crc64(self.checksum, bytes);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.begin_file(out);
        out.push(opcode::EOF);
        self.in_order(&out[start..]);
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn checksum(&self) -> u64 {
        self.checksum
    }
}
