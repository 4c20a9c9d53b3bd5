//! Up to which size a collection is kept in its compact encoding.

use super::{Effect::*, *};
use crate::config::value::{bytes, int, INT_MAX, LONG_MAX};

const STREAMS: &str = "there are no streams yet";

section! {
    /// Up to which size a collection is kept in its compact encoding.
    Encodings at encodings {
        /// Fields of a listpack hash.
        "hash-max-listpack-entries" ("hash-max-ziplist-entries") =>
            hash_max_listpack_entries: u64 = 512, int(0, LONG_MAX), MUTABLE, Live;
        /// Length of a field or value of a listpack hash.
        "hash-max-listpack-value" ("hash-max-ziplist-value") =>
            hash_max_listpack_value_bytes: u64 = 64, bytes(0, LONG_MAX), MUTABLE, Live;
        /// Size of a list's node: so many elements, or if negative a class of bytes (-1 is 4 kb, -5 is 64 kb).
        "list-max-listpack-size" ("list-max-ziplist-size") =>
            list_max_listpack_size: i32 = -2, int(i32::MIN as i128, INT_MAX), MUTABLE, Live;
        /// How many nodes at each end of a list are not compressed; 0 compresses none.
        "list-compress-depth" => list_compress_depth: u32 = 0, int(0, INT_MAX), MUTABLE, Live;
        /// Members of an intset.
        "set-max-intset-entries" => set_max_intset_entries: u64 = 512, int(0, LONG_MAX), MUTABLE, Live;
        /// Members of a listpack set.
        "set-max-listpack-entries" => set_max_listpack_entries: u64 = 128, int(0, LONG_MAX), MUTABLE, Live;
        /// Length of a member of a listpack set.
        "set-max-listpack-value" => set_max_listpack_value_bytes: u64 = 64, int(0, LONG_MAX), MUTABLE, Live;
        /// Members of a listpack sorted set.
        "zset-max-listpack-entries" ("zset-max-ziplist-entries") =>
            zset_max_listpack_entries: u64 = 128, int(0, LONG_MAX), MUTABLE, Live;
        /// Length of a member of a listpack sorted set.
        "zset-max-listpack-value" ("zset-max-ziplist-value") =>
            zset_max_listpack_value_bytes: u64 = 64, bytes(0, LONG_MAX), MUTABLE, Live;
        /// Size of a sparse HyperLogLog.
        "hll-sparse-max-bytes" => hll_sparse_max_bytes: u64 = 3000, bytes(0, LONG_MAX), MUTABLE, Live;
        /// Size of a stream's node; 0 is no limit.
        "stream-node-max-bytes" =>
            stream_node_max_bytes: u64 = 4096, bytes(0, LONG_MAX), MUTABLE, Meaningless(STREAMS);
        /// Entries of a stream's node; 0 is no limit.
        "stream-node-max-entries" =>
            stream_node_max_entries: u64 = 100, int(0, LONG_MAX), MUTABLE, Meaningless(STREAMS);
    }
}
