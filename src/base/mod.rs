//! Vocabulary: identifiers, time, keys and their routing, error texts, numbers as Redis writes them.
//!
//! Uses nothing of ours and is used by every other module. Nothing here reads a clock or holds global state.

pub mod crc64;
pub mod double;
pub mod error;
pub mod glob;
pub mod ids;
pub mod key;
pub mod latency;
pub mod longdouble;
pub mod lzf;
pub mod num;
pub mod prng;
pub mod stats;
pub mod time;
