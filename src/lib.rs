//! Ringward: a Redis-compatible in-memory server for Linux; thread-per-core, shared-nothing, on io_uring.
//!
//! # Code map
//!
//! Modules stand in dependency order: each uses only what is above it (`tests/tidy.rs` checks this).
//! Everything above `runtime` is synchronous and deterministic: bytes, messages, time and randomness come in as
//! arguments, replies and effects go out as values.

pub mod base;

pub mod config;
pub mod ds;
pub mod resp;

pub mod keyspace;
pub mod storage;

pub mod journal;

pub mod rdb;

pub mod command;

pub mod shard;

pub mod replication;

pub mod node;

pub mod session;

pub mod host;

pub mod runtime;
