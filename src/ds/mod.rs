//! Data structures that know no command: the shard's allocator, its hash table, and the collections.

pub mod bits;
mod block;
pub mod bytes;
pub mod collection;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod list;
pub mod listpack;
pub mod set;
pub mod slab;
pub mod table;
pub mod zset;
