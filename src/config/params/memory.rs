//! How much memory the data may take and what is done to keep to it.

use super::{Effect::*, *};
use crate::config::{
    value::{bytes, int, INT_MAX, LONG_MAX},
    words::MaxmemoryPolicy,
};

const SLICES: &str = "large values are always freed in slices";
const DEFRAG: &str = "memory is not moved to defragment it";

section! {
    /// How much memory the data may take and what is done to keep to it.
    Memory at memory {
        /// How much all shards may take together; 0 is no limit.
        "maxmemory" => maxmemory_bytes: u64 = 0, bytes(0, u64::MAX as i128), MUTABLE, Live;
        /// What goes when it is reached.
        "maxmemory-policy" =>
            maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, (), MUTABLE, Live;
        /// How many keys are looked at to find the one that goes.
        "maxmemory-samples" => maxmemory_samples: u32 = 5, int(1, INT_MAX), MUTABLE, Live;
        /// How long eviction may keep clients waiting at a time: 50 us times this up to 10, then 15% more for each;
        /// 100 is until done.
        "maxmemory-eviction-tenacity" => maxmemory_eviction_tenacity: u8 = 10, int(0, 100), MUTABLE, Live;
        /// How slowly the counter of uses grows.
        "lfu-log-factor" => lfu_log_factor: u32 = 10, int(0, INT_MAX), MUTABLE, Live;
        /// How long until the counter of uses is taken down by one.
        "lfu-decay-time" => lfu_decay_time_minutes: u32 = 1, int(0, INT_MAX), MUTABLE, Live;
        /// How much work is spent on finding expired keys, 1 to 10.
        "active-expire-effort" => active_expire_effort: u8 = 1, int(1, 10), MUTABLE, Live;
        /// Whether evicted values are freed in slices.
        "lazyfree-lazy-eviction" => lazyfree_lazy_eviction: bool = false, (), MUTABLE, Meaningless(SLICES);
        /// Whether expired values are freed in slices.
        "lazyfree-lazy-expire" => lazyfree_lazy_expire: bool = false, (), MUTABLE, Meaningless(SLICES);
        /// Whether overwritten values are freed in slices.
        "lazyfree-lazy-server-del" => lazyfree_lazy_server_del: bool = false, (), MUTABLE, Meaningless(SLICES);
        /// Whether DEL frees in slices, as UNLINK does.
        "lazyfree-lazy-user-del" => lazyfree_lazy_user_del: bool = false, (), MUTABLE, Meaningless(SLICES);
        /// Whether FLUSHDB and FLUSHALL free in slices unless told.
        "lazyfree-lazy-user-flush" => lazyfree_lazy_user_flush: bool = false, (), MUTABLE, Meaningless(SLICES);
        /// Whether Redis moves values to defragment memory.
        "activedefrag" => activedefrag: bool = false, (), MUTABLE, Meaningless(DEFRAG);
        /// The least waste that starts it.
        "active-defrag-ignore-bytes" =>
            active_defrag_ignore_bytes: u64 = 100 << 20, bytes(1, LONG_MAX), MUTABLE, Meaningless(DEFRAG);
        /// The least share of waste that starts it.
        "active-defrag-threshold-lower" =>
            active_defrag_threshold_lower_percent: u32 = 10, int(0, 1000), MUTABLE, Meaningless(DEFRAG);
        /// The share of waste from which on it tries hardest.
        "active-defrag-threshold-upper" =>
            active_defrag_threshold_upper_percent: u32 = 100, int(0, 1000), MUTABLE, Meaningless(DEFRAG);
        /// The least share of the processor's time for it.
        "active-defrag-cycle-min" =>
            active_defrag_cycle_min_percent: u32 = 1, int(1, 99), MUTABLE, Meaningless(DEFRAG);
        /// The greatest share.
        "active-defrag-cycle-max" =>
            active_defrag_cycle_max_percent: u32 = 25, int(1, 99), MUTABLE, Meaningless(DEFRAG);
        /// How many elements of one value are moved at a time.
        "active-defrag-max-scan-fields" =>
            active_defrag_max_scan_fields: u64 = 1000, int(1, LONG_MAX), MUTABLE, Meaningless(DEFRAG);
    }
}
