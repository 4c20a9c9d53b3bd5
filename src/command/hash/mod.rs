//! The hash commands: their rows. Each file below holds the functions of a few that belong together.
//!
//! `field` reads and writes single fields, `whole` walks over all of a hash, `expire` is about when fields expire,
//! `extended` reads and writes and says so in one, `effects` is how that is recorded. The commands on expiry are Redis
//! 7.4's and 8.0's, which Redis 7.2 does not have; where Valkey 9 takes more (HSETEX with NX and XX), it is taken, too.

#[cfg(test)]
pub(in crate::command) mod differential;
mod effects;
mod expire;
mod extended;
mod field;
mod whole;

use super::spec::{Doc, Flags, Group, Handler, KeySpec, Run, Spec, Spread};
use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::key::{Key, KeyHasher};
use crate::base::time::UnixMs;
use crate::ds::hash::Item;
use crate::ds::listpack::Packed;
use crate::keyspace::{HashRef, Keyspace, ValueRef};
use crate::resp::Reply;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST);
/// A write that takes no memory, and so works without any left.
const REMOVE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

const LOOKED_AT: &[KeySpec] = &[KeySpec::one(1, &["RO"])];
const ACCESSED: &[KeySpec] = &[KeySpec::one(1, &["RO", "access"])];
const ACCESSED_UPDATED: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "update"])];
const ACCESSED_DELETED: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "delete"])];
const UPDATED: &[KeySpec] = &[KeySpec::one(1, &["RW", "update"])];
const INSERTED: &[KeySpec] = &[KeySpec::one(1, &["RW", "insert"])];
const DELETED: &[KeySpec] = &[KeySpec::one(1, &["RW", "delete"])];

/// Tips to whoever compares replies.
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];
const RANDOM: &[&str] = &["nondeterministic_output"];

/// What most commands on several fields cost.
const PER_FIELD: &str = "O(N) where N is the number of fields that are named.";
/// What reading a whole hash costs.
const PER_SIZE: &str = "O(N) where N is the size of the hash.";

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row("hdel", -3, field::hdel, "2.0.0", "Removes fields of a hash.", PER_FIELD, "key field [field ...]")
        .flags(REMOVE_FAST)
        .keys(DELETED),
    row("hexists", 3, field::hexists, "2.0.0", "Tells whether a hash has a field.", "O(1)", "key field")
        .flags(READ_FAST)
        .keys(LOOKED_AT),
    row(
        "hexpire",
        -6,
        expire::hexpire,
        "7.4.0",
        "Sets for how many seconds fields of a hash live on.",
        PER_FIELD,
        "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED),
    row(
        "hexpireat",
        -6,
        expire::hexpireat,
        "7.4.0",
        "Sets the Unix time, in seconds, at which fields of a hash expire.",
        PER_FIELD,
        "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED),
    row(
        "hexpiretime",
        -5,
        expire::hexpiretime,
        "7.4.0",
        "Tells the Unix time, in seconds, at which fields of a hash expire.",
        PER_FIELD,
        "key FIELDS numfields field [field ...]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row("hget", 3, field::hget, "2.0.0", "Replies with the value of a field of a hash.", "O(1)", "key field")
        .flags(READ_FAST)
        .keys(ACCESSED),
    row("hgetall", 2, whole::hgetall, "2.0.0", "Replies with all fields of a hash and their values.", PER_SIZE, "key")
        .flags(READ)
        .keys(ACCESSED)
        .tips(ANY_ORDER),
    row(
        "hgetdel",
        -5,
        extended::hgetdel,
        "8.0.0",
        "Replies with the values of fields of a hash and removes the fields.",
        PER_FIELD,
        "key FIELDS numfields field [field ...]",
    )
    .flags(REMOVE_FAST)
    .keys(ACCESSED_DELETED),
    row(
        "hgetex",
        -5,
        extended::hgetex,
        "8.0.0",
        "Replies with the values of fields of a hash and sets or clears their expiry.",
        PER_FIELD,
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] \
         FIELDS numfields field [field ...]",
    )
    .flags(REMOVE_FAST)
    .keys(ACCESSED_UPDATED),
    row(
        "hincrby",
        4,
        field::hincrby,
        "2.0.0",
        "Adds a number to the integer in a field of a hash; a missing field counts as 0.",
        "O(1)",
        "key field increment",
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    row(
        "hincrbyfloat",
        4,
        field::hincrbyfloat,
        "2.6.0",
        "Adds a number with a fraction to the number in a field of a hash; a missing field counts as 0.",
        "O(1)",
        "key field increment",
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    row("hkeys", 2, whole::hkeys, "2.0.0", "Replies with the names of all fields of a hash.", PER_SIZE, "key")
        .flags(READ)
        .keys(ACCESSED)
        .tips(ANY_ORDER),
    row("hlen", 2, whole::hlen, "2.0.0", "Tells how many fields a hash has.", "O(1)", "key")
        .flags(READ_FAST)
        .keys(LOOKED_AT),
    row(
        "hmget",
        -3,
        field::hmget,
        "2.0.0",
        "Replies with the values of several fields of a hash.",
        PER_FIELD,
        "key field [field ...]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "hmset",
        -4,
        field::hmset,
        "2.0.0",
        "Sets several fields of a hash.",
        PER_FIELD,
        "key field value [field value ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED)
    .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    row(
        "hpersist",
        -5,
        expire::hpersist,
        "7.4.0",
        "Makes fields of a hash live for ever.",
        PER_FIELD,
        "key FIELDS numfields field [field ...]",
    )
    .flags(REMOVE_FAST)
    .keys(UPDATED),
    row(
        "hpexpire",
        -6,
        expire::hpexpire,
        "7.4.0",
        "Sets for how many milliseconds fields of a hash live on.",
        PER_FIELD,
        "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED),
    row(
        "hpexpireat",
        -6,
        expire::hpexpireat,
        "7.4.0",
        "Sets the Unix time, in milliseconds, at which fields of a hash expire.",
        PER_FIELD,
        "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED),
    row(
        "hpexpiretime",
        -5,
        expire::hpexpiretime,
        "7.4.0",
        "Tells the Unix time, in milliseconds, at which fields of a hash expire.",
        PER_FIELD,
        "key FIELDS numfields field [field ...]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "hpttl",
        -5,
        expire::hpttl,
        "7.4.0",
        "Tells for how many milliseconds fields of a hash live on.",
        PER_FIELD,
        "key FIELDS numfields field [field ...]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "hrandfield",
        -2,
        whole::hrandfield,
        "6.2.0",
        "Draws fields of a hash.",
        "O(N) where N is the number of fields returned",
        "key [count [WITHVALUES]]",
    )
    .flags(READ)
    .keys(ACCESSED)
    .tips(RANDOM),
    row(
        "hscan",
        -3,
        whole::hscan,
        "2.8.0",
        "Walks over the fields of a hash, a page at a time.",
        "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return \
         back to 0. N is the number of elements inside the collection.",
        "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
    )
    .flags(READ)
    .keys(ACCESSED)
    .tips(RANDOM),
    row(
        "hset",
        -4,
        field::hset,
        "2.0.0",
        "Sets fields of a hash and tells how many are new.",
        "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with \
         multiple field/value pairs.",
        "key field value [field value ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED),
    row(
        "hsetex",
        -6,
        extended::hsetex,
        "8.0.0",
        "Sets fields of a hash and when they expire, all or none.",
        PER_FIELD,
        "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
         unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
    )
    .flags(WRITE_FAST)
    .keys(UPDATED),
    row(
        "hsetnx",
        4,
        field::hsetnx,
        "2.0.0",
        "Sets a field of a hash that does not exist.",
        "O(1)",
        "key field value",
    )
    .flags(WRITE_FAST)
    .keys(INSERTED),
    row(
        "hstrlen",
        3,
        field::hstrlen,
        "3.2.0",
        "Tells the length of the value of a field of a hash.",
        "O(1)",
        "key field",
    )
    .flags(READ_FAST)
    .keys(LOOKED_AT),
    row(
        "httl",
        -5,
        expire::httl,
        "7.4.0",
        "Tells for how many seconds fields of a hash live on.",
        PER_FIELD,
        "key FIELDS numfields field [field ...]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row("hvals", 2, whole::hvals, "2.0.0", "Replies with the values of all fields of a hash.", PER_SIZE, "key")
        .flags(READ)
        .keys(ACCESSED)
        .tips(ANY_ORDER),
];

const fn row(
    name: &'static str,
    arity: i8,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Spec {
    let doc = Doc { summary, since, group: Group::Hash, complexity, syntax };
    Spec::new(name, arity, Run::Shard(handler, Spread::One), doc)
}

/// The hash at a key, to read, and what it is read with.
struct Read<'k> {
    /// `None` if there is no such key.
    hash: Option<HashRef<'k>>,
    hasher: KeyHasher,
    now: UnixMs,
}

impl<'k> Read<'k> {
    #[inline]
    fn get(&self, name: &[u8]) -> Option<Item<'k>> {
        self.hash?.get(&self.hasher, name, self.now)
    }
}

/// Looks up the hash at a key, to read it.
#[inline]
fn read<'k>(
    keyspace: &'k mut Keyspace,
    db: DbIndex,
    key: Key<'_>,
    now: UnixMs,
) -> Result<Read<'k>, CommandError> {
    let hasher = keyspace.hasher().clone();
    let hash = keyspace.lookup_read(db, key, now).map(ValueRef::hash).transpose()?;
    Ok(Read { hash, hasher, now })
}

/// Replies with a value, or that there is none.
#[inline]
fn reply_value(reply: &mut Reply<'_>, value: Option<Packed<'_>>) {
    match value {
        Some(value) => reply_text(reply, value),
        None => reply.null(),
    }
}

#[inline]
fn reply_text(reply: &mut Reply<'_>, text: Packed<'_>) {
    match text {
        Packed::Int(number) => reply.bulk_int(number),
        Packed::Bytes(bytes) => reply.bulk(bytes),
    }
}
