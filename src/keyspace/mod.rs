//! One shard's keyspace: its databases, their memory, expiry and counters.
//!
//! Everything is synchronous and deterministic: time and randomness come in, background work is done in steps bounded
//! by a count. All changes go through `Keyspace` (`db.rs`), the one door for writes.

pub mod access;
pub mod db;
pub mod expire;
pub mod stats;
pub mod value;

pub use access::{AccessPolicy, LfuOptions, Touch};
pub use db::{CopyOutcome, Keyspace, KeyspaceOptions, Slot};
pub use expire::{DefragReport, ExpireReport};
pub use stats::{KeyspaceStats, MemoryUse};
pub use value::{Encoding, EntryView, IntText, NewValue, SetExpire, ValueKind, ValueRef};
