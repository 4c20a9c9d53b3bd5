//! The files of all shards made of one snapshot file: the way back from `merge`.
//!
//! The file comes in pieces of any size. Each key passes as it is to the file of the shard that its name belongs to;
//! no value is kept. The files have the version of the one that is split, or `VERSION` if that is older: newer
//! versions of the format read all that older ones had.
//!
//! Invariant: each shard's bytes, in the order in which they are taken, are one valid file.
//!
//! Not here: files themselves.

use std::collections::BTreeMap;

use super::layout::{opcode, MAGIC, VERSION};
use super::merge::Head;
use super::read::{Format, LoadError, Part, Parts, VALKEY_MAGIC};
use super::write::file::About;
use super::write::string::{write_len, StringWriter};
use crate::base::crc64::{self, crc64};
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::shard_of_key;

/// See the module.
#[derive(Debug)]
pub struct Split {
    parts: Parts,
    format: Option<Format>,
    head: Head,
    has_begun: bool,
    shards: Vec<Shard>,
    /// By database: how many keys the file says that it has, and how many of them expire.
    sizes: BTreeMap<DbIndex, (u64, u64)>,
    /// Whose the value at hand is.
    owner: usize,
}

/// One shard's file, in the making.
#[derive(Debug, Default)]
struct Shard {
    out: Vec<u8>,
    db: Option<DbIndex>,
    /// Databases whose size was written.
    sized: Vec<DbIndex>,
    keys: u64,
    checksum: u64,
}

/// One shard's file once it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardEnd {
    /// How many keys are in it.
    pub keys: u64,
    /// Its checksum.
    pub crc64: u64,
}

impl Split {
    /// A split into the files of so many shards. Where the file does not say when its data was cut, `now_secs` is
    /// written, in seconds since the epoch.
    pub fn new(shards: u16, now_secs: i64) -> Split {
        let shard = || Shard { checksum: crc64::EMPTY, ..Shard::default() };
        Split {
            parts: Parts::default(),
            format: None,
            head: Head { version: VERSION, cut_secs: Some(now_secs), used_memory: None },
            has_begun: false,
            shards: (0..shards).map(|_| shard()).collect(),
            sizes: BTreeMap::new(),
            owner: 0,
        }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// The file is damaged, or holds what cannot be held here. The split cannot go on.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        self.parts.feed(bytes);
        let count = self.shards.len() as u16;
        while let Some(part) = self.parts.next()? {
            match part {
                Part::Header(format) => {
                    self.format = Some(format);
                    continue;
                }
                Part::Aux(name, value) => {
                    self.head.note(name, value);
                    continue;
                }
                _ if self.has_begun => {}
                _ => {
                    self.has_begun = true;
                    begin(&mut self.shards, self.format, self.head);
                }
            }
            match part {
                Part::Header(_) | Part::Aux(..) | Part::End => {}
                Part::Resize(db, keys, volatile) => {
                    // About as many for each.
                    let share = |keys: u64| keys.div_ceil(u64::from(count));
                    self.sizes.insert(db, (share(keys), share(volatile)));
                }
                Part::Key { db, key, head, .. } => {
                    self.owner = shard_of_key(key, count).index();
                    let shard = &mut self.shards[self.owner];
                    shard.select(db, self.sizes.get(&db));
                    shard.out.extend_from_slice(head);
                    shard.keys += 1;
                }
                Part::Value(bytes) => self.shards[self.owner].out.extend_from_slice(bytes),
            }
        }
        Ok(())
    }

    /// How many bytes of a shard's file wait to be taken.
    pub fn waiting_bytes(&self, shard: ShardId) -> usize {
        self.shards[shard.index()].out.len()
    }

    /// Moves the bytes of a shard's file that wait into `into`, in place of what was there.
    pub fn take(&mut self, shard: ShardId, into: &mut Vec<u8>) {
        let shard = &mut self.shards[shard.index()];
        into.clear();
        std::mem::swap(&mut shard.out, into);
        shard.checksum = crc64(shard.checksum, into);
    }

    /// How many keys have begun so far.
    pub fn keys(&self) -> u64 {
        self.shards.iter().map(|shard| shard.keys).sum()
    }

    /// The file ends here, and so do those of the shards: what is left of a shard's file replaces what is in `into`.
    ///
    /// # Errors
    /// It should not end here.
    pub fn finish(&mut self, shard: ShardId, into: &mut Vec<u8>) -> Result<ShardEnd, LoadError> {
        if self.parts.told().is_none() {
            return Err(self.parts.ends_too_early());
        }
        self.shards[shard.index()].out.push(opcode::EOF);
        self.take(shard, into);
        let Shard { keys, checksum, .. } = self.shards[shard.index()];
        into.extend_from_slice(&checksum.to_le_bytes());
        Ok(ShardEnd { keys, crc64: checksum })
    }
}

/// Writes what stands before the keys.
fn begin(shards: &mut [Shard], format: Option<Format>, head: Head) {
    let about = About {
        cut_secs: head.cut_secs.unwrap_or(0),
        used_memory: head.used_memory.unwrap_or(0) / shards.len() as u64,
        is_aof_base: false,
    };
    for shard in shards {
        match format {
            Some(Format { is_valkey: true, version }) => {
                shard.out.extend_from_slice(VALKEY_MAGIC);
                shard.out.extend_from_slice(format!("{version:03}").as_bytes());
            }
            _ => {
                let version = format.map_or(VERSION, |format| format.version.max(VERSION));
                shard.out.extend_from_slice(MAGIC);
                shard.out.extend_from_slice(format!("{version:04}").as_bytes());
            }
        }
        about.write(&mut StringWriter::new(false), &mut shard.out);
    }
}

impl Shard {
    fn select(&mut self, db: DbIndex, size: Option<&(u64, u64)>) {
        if self.db.replace(db) == Some(db) {
            return;
        }
        self.out.push(opcode::SELECT);
        write_len(u64::from(db.0), &mut self.out);
        if let Some(&(keys, volatile)) = size.filter(|_| !self.sized.contains(&db)) {
            self.sized.push(db);
            self.out.push(opcode::RESIZE);
            write_len(keys, &mut self.out);
            write_len(volatile, &mut self.out);
        }
    }
}
