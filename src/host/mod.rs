//! One core's share of the server, without I/O: its sessions, the shards it hosts, its mail.
//!
//! `runtime` feeds it received bytes, mail and time, and carries out what it asks for; the simulator runs many of them
//! in one thread. A pass over the loop is:
//!
//! 1. `receive` everything that the sockets brought: requests are decoded, hashed and their memory prefetched for all
//!    connections together, then run (`batch`).
//! 2. `deliver` the mail of the other cores: parcels of requests are run in the same way.
//! 3. `settle`: sessions that may go on run what they had kept back; parcels are closed.
//! 4. The runtime sends replies (`take_dirty`), mail (`take_mail`) and carries out effects (`take_effects`).

pub mod batch;
mod blocking;
#[cfg(test)]
mod blocking_tests;
mod clientsmemory;
pub mod cron;
pub mod dial;
mod direct;
#[cfg(test)]
mod direct_tests;
#[cfg(test)]
pub(crate) mod harness;
#[allow(clippy::module_inception, reason = "the actor that the module is named for")]
pub mod host;
#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod links_tests;
pub mod mail;
pub mod memory;
#[cfg(test)]
mod memory_tests;
mod migrate;
#[cfg(test)]
mod migrate_tests;
mod monitor;
pub mod moves;
pub mod multi;
#[cfg(test)]
mod multi_tests;
pub mod nodeops;
mod parcels;
mod persist;
mod pubsub;
#[cfg(test)]
mod pubsub_tests;
pub mod query;
mod replication;
pub mod sessionops;
#[cfg(test)]
mod tests;
mod txn;

pub use dial::LinkOwner;
pub use host::{Effect, Host, HostOptions, Outstanding};
pub use mail::Mail;
pub use memory::MemoryGauge;
pub use moves::{Departure, Errand};
pub use persist::Entered;
