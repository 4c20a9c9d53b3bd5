//! Redis's RDB format, as bytes: the files that a snapshot makes, and the payloads of DUMP and RESTORE.
//!
//! `layout` is the format. `read` makes keys of a file's bytes, in whatever pieces they come, and `payload` a value of
//! what DUMP answered. `write` makes bytes of values: `SnapshotFileSink` writes the snapshot of a keyspace as a
//! file, piece by piece; `dump` writes one value as DUMP answers it.
//!
//! What is written is what Redis 7.0 reads, version 10, and no type that one vendor alone has. Only a keyspace with
//! fields that expire makes a file of version 12, which is that of Redis 7.4.
//!
//! `merge` makes one file of those of all shards, `split` those of all shards of one: keys pass through as they are.
//!
//! Not here: files themselves, where they lie and when they are written.

pub mod layout;
pub mod merge;
pub mod payload;
mod read;
pub mod split;
#[cfg(test)]
mod tests;
mod write;

pub use read::{is_snapshot, KeyItem, LoadError, Reader, Step};
pub use write::{
    dump::{dump, serialized_len},
    file::{About, AccessNotes, FileOptions, SnapshotFileSink},
};
