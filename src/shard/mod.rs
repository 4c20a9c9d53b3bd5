//! One shard: a slice of the keyspace and the order in which commands reach it.
//!
//! A shard runs one command at a time to its end. A command whose keys lie on several shards is a transaction:
//!
//! 1. Its coordinator (the client's core) sends the parts to the sequencer (core 0), which passes each on to its
//!    shard. All shards therefore learn of transactions in one order, and no two can wait for each other. (One with a
//!    single part can wait only for what is on that shard, so it goes there directly.)
//! 2. A shard puts the part's intents on its keys (`locks`). When all of them are granted it runs the part's first
//!    step, keeps the intents, and sends the outcome to the coordinator.
//! 3. When every part has answered, every key is held everywhere: that is the moment at which the transaction takes
//!    place. The coordinator sends further steps, if there are any (EXEC has as many as its commands need), each when
//!    the one before has been answered, and with the last of them, or alone, the release.
//!
//! Most transactions do not go that way: one that is a single step, and whose shards are on its client's core and one
//! other, is tried directly (`host::direct`) and scheduled only if something stands in its way.
//!
//! Commands on one shard take part without a message: they run at once unless an intent stands against them, and
//! then wait in the queue of that key, in order of arrival. While no transaction is about, that costs one comparison.
//!
//! Invariant: a scheduled part always finishes; nothing waits for anything while it holds an intent that another
//! could wait for, but for the coordinator's answer, which depends on no lock. (MIGRATE's depends on another server,
//! for as long as its client says: `host::migrate`.)

pub mod call;
pub mod locks;
#[allow(clippy::module_inception, reason = "the actor that the module is named for")]
pub mod shard;
pub mod waiters;

pub use call::{Call, CallHead, OwnedCall};
pub use shard::{Effect, Part, Shard, Ticket, TxnId};
