//! One snapshot file made of those of all shards, for readers that know only one: a stock Redis, and its tools.
//!
//! The files come one after the other, each in pieces of any size; of each, keys pass through as they are, value by
//! value, and no value is kept. What frames them is made anew: the header, what the file says about itself, the end and
//! its checksum. That a database has so many keys is said again with each file, of all files up to that one, which is
//! what a reader makes room for.
//!
//! The version of the format stands in front, before any key was seen. Whoever merges says it: `VERSION`, which Redis
//! 7.0 reads, is enough for all values but those that `Merge::version_needed` tells of.
//!
//! Invariant: at any time what was put out is the beginning of a valid file.
//!
//! Not here: files themselves, and which of them belong together (`storage::snapshots`).

use std::collections::BTreeMap;

use super::layout::{opcode, MAGIC, VERSION};
use super::read::{LoadError, Part, Parts};
use super::write::file::{write_aux, About};
use super::write::string::{write_len, StringWriter};
use crate::base::crc64::{self, crc64};
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;

/// What stands before the keys of the file that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeOptions {
    /// The version of the format.
    pub version: u16,
    /// What it says about itself.
    pub about: About,
    /// More names and values of that kind, such as where in a stream of replication it stands.
    pub aux: Vec<(String, String)>,
    /// Whether it ends with a checksum; if not, with a zero.
    pub checksum: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Merge {
    options: MergeOptions,
    /// The file at hand.
    parts: Parts,
    has_begun: bool,
    /// The database that what was put out has selected.
    db: Option<DbIndex>,
    /// By database: how many keys the files so far say that it has, and how many of them expire.
    sizes: BTreeMap<DbIndex, (u64, u64)>,
    keys: u64,
    version_needed: u16,
    checksum: u64,
}

/// What a file says of itself before its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The version of its format.
    pub version: u16,
    /// When its data was cut, in seconds since the epoch.
    pub cut_secs: Option<i64>,
    /// What its data took in memory.
    pub used_memory: Option<u64>,
}

impl Head {
    /// Reads it from a file's first bytes; what is not among them is not known.
    ///
    /// # Errors
    /// They are not those of a snapshot, or are damaged.
    pub fn read(first_bytes: &[u8]) -> Result<Head, LoadError> {
        let (mut parts, mut head) =
            (Parts::default(), Head { version: 0, cut_secs: None, used_memory: None });
        parts.feed(first_bytes);
        while let Some(part) = parts.next()? {
            match part {
                Part::Header(format) => head.version = format.version,
                Part::Aux(name, value) => head.note(name, value),
                Part::Resize(..) | Part::Key { .. } | Part::Value(_) | Part::End => break,
            }
        }
        match head.version {
            0 => Err(parts.ends_too_early()),
            _ => Ok(head),
        }
    }

    /// Takes note of what a file says of itself.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"ctime" => self.cut_secs = parse_i64(value),
            b"used-mem" => self.used_memory = parse_i64(value).and_then(|bytes| u64::try_from(bytes).ok()),
            _ => {}
        }
    }
}

impl Merge {
    /// A merge of files that are still to come.
    pub fn new(options: MergeOptions) -> Merge {
        Merge {
            options,
            parts: Parts::default(),
            has_begun: false,
            db: None,
            sizes: BTreeMap::new(),
            keys: 0,
            version_needed: VERSION,
            checksum: crc64::EMPTY,
        }
    }

    /// Takes the next bytes of the file at hand, and adds to `out` what comes of them.
    ///
    /// # Errors
    /// The file is damaged, holds what cannot be held here, is of Valkey's own format, or has a value that the version
    /// of the file being made does not have; the place is one in the file at hand. The merge cannot go on.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), LoadError> {
        let start = out.len();
        self.begin(out);
        self.parts.feed(bytes);
        let result = self.pass(out);
        self.sum(&out[start..]);
        result
    }

    fn pass(&mut self, out: &mut Vec<u8>) -> Result<(), LoadError> {
        let Merge { parts, db: selected, .. } = self;
        let mut select = |db: DbIndex, out: &mut Vec<u8>| {
            if selected.replace(db) != Some(db) {
                out.push(opcode::SELECT);
                write_len(u64::from(db.0), out);
            }
        };
        loop {
            let at = parts.place();
            let refused = |reason: String| Err(LoadError { offset: at, reason });
            match parts.next()? {
                None => return Ok(()),
                Some(Part::Header(format)) if format.is_valkey => {
                    return refused("a file of Valkey's own format cannot be merged".to_owned());
                }
                Some(Part::Header(_) | Part::Aux(..) | Part::End) => {}
                Some(Part::Resize(db, keys, volatile)) => {
                    let size = self.sizes.entry(db).or_default();
                    *size = (size.0.saturating_add(keys), size.1.saturating_add(volatile));
                    select(db, out);
                    out.push(opcode::RESIZE);
                    write_len(size.0, out);
                    write_len(size.1, out);
                }
                Some(Part::Key { db, kind, key, head }) => {
                    let needed = kind.version();
                    if needed > self.options.version {
                        let (key, version) = (key.escape_ascii(), self.options.version);
                        return refused(format!(
                            "key '{key}' takes version {needed} of the format, and what is written is {version}"
                        ));
                    }
                    self.version_needed = self.version_needed.max(needed);
                    self.keys += 1;
                    select(db, out);
                    out.extend_from_slice(head);
                }
                Some(Part::Value(bytes)) => out.extend_from_slice(bytes),
            }
        }
    }

    /// The file at hand ends here; another may follow. Its checksum, as it stands at its end.
    ///
    /// # Errors
    /// It should not end here.
    pub fn end_file(&mut self) -> Result<u64, LoadError> {
        let parts = std::mem::take(&mut self.parts);
        parts.told().ok_or_else(|| parts.ends_too_early())
    }

    /// All files have ended: adds the end. How many keys there are.
    pub fn finish(mut self, out: &mut Vec<u8>) -> u64 {
        let start = out.len();
        self.begin(out);
        out.push(opcode::EOF);
        self.sum(&out[start..]);
        out.extend_from_slice(&self.checksum.to_le_bytes());
        self.keys
    }

    /// How many keys have begun so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// The version that the keys so far take: `VERSION`, or a later one.
    pub fn version_needed(&self) -> u16 {
        self.version_needed
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(format!("{:04}", self.options.version).as_bytes());
        let mut strings = StringWriter::new(false);
        self.options.about.write(&mut strings, out);
        for (name, value) in &self.options.aux {
            write_aux(name, value, &mut strings, out);
        }
    }

    fn sum(&mut self, bytes: &[u8]) {
        if self.options.checksum {
            self.checksum = crc64(self.checksum, bytes);
        }
    }
}
