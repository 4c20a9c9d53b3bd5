//! Which files a data set is made of, and what is to be done to them, in which order. No file is touched here.
//!
//! State machines: they are told what was appended, what time it is and what became of the jobs they gave out, and
//! answer with more jobs (`op`). The runtime carries these out on each core's ring; the simulator's disk loses, tears
//! and refuses them.
//!
//! Two kinds of set live in the server's folder, each with one manifest that alone says what belongs together:
//!
//! * snapshots (`snapshots`): one RDB file per shard, cut at one point of all, and `dump.rdb.manifest`;
//! * the append-only file (`aofset`): a folder per shard with base, increments and manifest as Redis 7 keeps them, and
//!   `ringward.manifest` in the folder above.
//!
//! Invariant: a file counts only once a manifest that is itself whole and synced names it. What no manifest names is
//! left over from something that did not come to its end, and is removed at the next start.
//!
//! Invariant: what was reported as durable is in synced files that a synced manifest names.
//!
//! Not here: what is in the files (`rdb`, `journal`), and when a save begins (`host`).

pub mod aof;
pub mod aofset;
pub mod export;
pub mod manifest;
pub mod modeldisk;
pub mod op;
pub mod plan;
pub mod save;
pub mod snapshots;
pub mod torn;
