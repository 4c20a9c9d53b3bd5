//! Black-box tests: the real program, over real sockets, beside a real redis-server where there is something to
//! compare.
//!
//! `RINGWARD_BIN` names another binary to test than the one that cargo has built, say a release build.

mod harness;

mod atomicity;
mod blocking;
mod changes;
mod config;
mod connections;
mod differential;
mod expiry;
mod journal;
mod memory;
mod migrate;
mod money;
mod moves;
mod persistence;
mod protocol;
mod psync_in;
mod psync_out;
mod pubsub;
mod rdb;
mod rdb_read;
mod replication;
mod scan;
mod sentinel;
mod soak;
