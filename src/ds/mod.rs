//! Data structures that know no command: the shard's allocator and its hash table.

pub mod slab;
pub mod table;
