//! What a data command works with.

use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::{Key, KeyHash};
use crate::base::prng::Prng;
use crate::base::time::{Now, UnixMs};
use crate::command::effects::LazyFree;
use crate::journal::Journal;
use crate::keyspace::{Keyspace, ValueRef};
use crate::resp::Reply;

/// The limits and switches of the configuration that commands consult; copied to the shards on CONFIG SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandOptions {
    /// `proto-max-bulk-len`: no string grows beyond it.
    pub string_bytes_max: u64,
    /// `databases`.
    pub databases: u16,
    /// Whether OBJECT FREQ (LFU policy) or OBJECT IDLETIME works.
    pub lfu: bool,
    /// How removals are recorded.
    pub lazyfree: LazyFree,
    /// `rdbcompression`: whether DUMP compresses strings.
    pub compresses_dumps: bool,
}

/// One command's view of the shard it runs on.
pub struct Ctx<'a, 'r> {
    /// The shard's data.
    pub keyspace: &'a mut Keyspace,
    /// Where the command tells what it did, if that is something else than it was asked to do: `Ctx::effect`.
    pub journal: &'a mut Journal,
    /// The database that the client has selected.
    pub db: DbIndex,
    /// The time of this pass; all commands of a pass and all of a transaction see the same.
    pub now: Now,
    /// Where the reply goes.
    pub reply: &'a mut Reply<'r>,
    /// Randomness for sampling.
    pub rng: &'a mut Prng,
    /// The shard that runs the command.
    pub shard: ShardId,
    /// How many shards there are.
    pub shards: u16,
    /// The configuration's limits.
    pub options: &'a CommandOptions,
    /// The hash of the first key, made when the request was routed.
    pub first_key: KeyHash,
}

impl Ctx<'_, '_> {
    /// Wall clock in milliseconds: what expiry compares with.
    #[inline]
    pub fn now_ms(&self) -> UnixMs {
        self.now.unix_ms()
    }

    /// What a key holds that the command reads beside others: a value that another shard has lent, or this shard's
    /// own. Counts a hit or a miss, and a use of the key.
    pub fn source(&mut self, name: &[u8]) -> Option<ValueRef<'_>> {
        let (key, now) = (self.key(name), self.now_ms());
        let scratch = self.keyspace.scratch();
        let db = if self.keyspace.peek(scratch, key, now).is_some() { scratch } else { self.db };
        self.keyspace.lookup_read(db, key, now)
    }

    /// The command's first key, whose hash is known already.
    #[inline]
    pub fn first_key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.keyspace.hasher().key_with(bytes, self.first_key)
    }

    /// Any other key.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.keyspace.hasher().key(bytes)
    }
}
