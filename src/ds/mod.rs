//! Data structures that know no command: the shard's allocator, its hash table, and the collections.

pub mod collection;
pub mod placeholder;
pub mod slab;
pub mod table;
