//! What a shard counts about its keyspace; sums over shards are made with `add_assign`.

use std::ops::AddAssign;

/// Counters since start (or CONFIG RESETSTAT) and gauges of one keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceStats {
    /// Lookups for reading that found the key (`keyspace_hits`).
    pub hits: u64,
    /// Lookups for reading that did not (`keyspace_misses`).
    pub misses: u64,
    /// Keys removed because their time had come (`expired_keys`).
    pub expired_keys: u64,
    /// Fields of hashes that the expiry sweep removed (`expired_subkeys`).
    pub expired_fields: u64,
    /// Keys removed because memory was short (`evicted_keys`).
    pub evicted_keys: u64,
    /// Volatile keys that the expiry sweep looked at, for `expired_stale_perc`.
    pub expire_examined: u64,
    /// Those of them that it removed, for `expired_stale_perc`.
    pub expire_swept: u64,
    /// Keys freed after a flush (`lazyfreed_objects`).
    pub lazyfreed_objects: u64,
    /// Gauge: keys of flushed databases that are still to be freed (`lazyfree_pending_objects`).
    pub lazyfree_pending_objects: u64,
    /// Entries that defragmentation moved (`active_defrag_hits`).
    pub defrag_moved: u64,
    /// Entries that defragmentation looked at and left (`active_defrag_misses`).
    pub defrag_left: u64,
    /// Segment resizes, splits and merges of the tables.
    pub table_reshapes: u64,
    /// Gauge: the most elements that one insert or removal ever had to move.
    pub table_moves_max: u64,
}

impl KeyspaceStats {
    /// CONFIG RESETSTAT: the counters go back to zero, the gauge of pending frees stays.
    pub fn reset(&mut self) {
        *self =
            KeyspaceStats { lazyfree_pending_objects: self.lazyfree_pending_objects, ..Default::default() };
    }

    /// `expired_stale_perc`: of the volatile keys that the sweep looked at, the share that had expired.
    pub fn expired_stale_percent(&self) -> f64 {
        match self.expire_examined {
            0 => 0.0,
            examined => self.expire_swept as f64 * 100.0 / examined as f64,
        }
    }
}

impl AddAssign<&KeyspaceStats> for KeyspaceStats {
    fn add_assign(&mut self, other: &KeyspaceStats) {
        // Taken apart so that a new field cannot be forgotten here.
        let KeyspaceStats {
            hits,
            misses,
            expired_keys,
            expired_fields,
            evicted_keys,
            expire_examined,
            expire_swept,
            lazyfreed_objects,
            lazyfree_pending_objects,
            defrag_moved,
            defrag_left,
            table_reshapes,
            table_moves_max,
        } = other;
        self.hits += hits;
        self.misses += misses;
        self.expired_keys += expired_keys;
        self.expired_fields += expired_fields;
        self.evicted_keys += evicted_keys;
        self.expire_examined += expire_examined;
        self.expire_swept += expire_swept;
        self.lazyfreed_objects += lazyfreed_objects;
        self.lazyfree_pending_objects += lazyfree_pending_objects;
        self.defrag_moved += defrag_moved;
        self.defrag_left += defrag_left;
        self.table_reshapes += table_reshapes;
        self.table_moves_max = self.table_moves_max.max(*table_moves_max);
    }
}

/// Where the memory of one keyspace is, for INFO memory and maxmemory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of the entries: keys, values, expiries (INFO: `used_memory_dataset`).
    pub dataset_bytes: u64,
    /// Bytes of the tables.
    pub table_bytes: u64,
    /// Bytes that the shard's allocator holds from the system for entries and tables.
    pub resident_bytes: u64,
}

impl MemoryUse {
    /// Everything that counts as used.
    pub fn used_bytes(&self) -> u64 {
        self.dataset_bytes + self.table_bytes
    }
}

impl AddAssign<&MemoryUse> for MemoryUse {
    fn add_assign(&mut self, other: &MemoryUse) {
        self.dataset_bytes += other.dataset_bytes;
        self.table_bytes += other.table_bytes;
        self.resident_bytes += other.resident_bytes;
    }
}
