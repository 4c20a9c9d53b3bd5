//! One shard's keyspace: its databases, their memory, expiry and counters.
//!
//! Everything is synchronous and deterministic: time and randomness come in, background work is done in steps bounded
//! by a count. All changes go through `Keyspace` (`db.rs`), the one door for writes, which also sees to it that a
//! snapshot (`snapshot`) is shown what is about to change.
//!
//! A key is one entry (`entry.rs`) in one block of the shard's slab, found through one table per database. A batch of
//! requests should call `prefetch_bucket` for all its keys, then `prefetch_entry` for all, and only then execute: the
//! cache misses of a batch then overlap, and they are most of what a lookup costs.

pub mod access;
pub mod collection;
pub mod db;
mod entry;
pub mod evict;
pub mod expire;
pub mod load;
pub mod observe;
pub mod removals;
pub mod slot;
pub mod snapshot;
pub mod sources;
pub mod stats;
pub mod upkeep;
pub mod value;

pub use access::{AccessPolicy, LfuOptions, Touch};
pub use collection::{Hash, HashRef, Kept, List, ListRef, Set, SetRef, Zset, ZsetRef};
pub use db::{CopyOutcome, Keyspace, KeyspaceOptions, Lapse};
pub use entry::VALUE_LEN_MAX;
pub use evict::{EvictReport, EvictionOptions, EvictionOrder};
pub use expire::ExpireReport;
pub use load::Value;
pub use observe::Version;
pub use removals::{Cause, Removal, Removals};
pub use slot::Slot;
pub use snapshot::{Progress, SnapshotProgress, SnapshotSink};
pub use sources::Sources;
pub use stats::{KeyspaceStats, MemoryUse};
pub use upkeep::DefragReport;
pub use value::{Encoding, EntryView, IntText, NewValue, SetExpire, StringRef, ValueKind, ValueRef};

#[cfg(test)]
mod tests;
