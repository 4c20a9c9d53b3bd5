//! What one core counts, and the report that INFO and MEMORY make of all cores'.
//!
//! Every core counts for itself, in plain integers; a report is gathered over the cores only when somebody asks.

use std::ops::AddAssign;

use super::pubsub::PubsubReport;
use super::replication::ReplicationReport;
use super::save::{SaveStats, Target};
use crate::base::stats::{CommandStats, ErrorStats};
use crate::base::time::Now;
use crate::keyspace::{KeyspaceStats, MemoryUse};

macro_rules! core_stats {
    ($($(#[$doc:meta])* $name:ident: $how:ident,)*) => {
        /// Counters since start or CONFIG RESETSTAT, and gauges. The rule of each says how two cores' make one, and
        /// what RESETSTAT does with it.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CoreStats { $($(#[$doc])* pub $name: u64,)* }

        impl CoreStats {
            /// CONFIG RESETSTAT: counters and maxima go back to zero, gauges stay.
            pub fn reset(&mut self) {
                $(core_stats!(@reset $how self.$name);)*
            }
        }

        impl AddAssign<&CoreStats> for CoreStats {
            fn add_assign(&mut self, other: &CoreStats) {
                $(core_stats!(@add $how self.$name, other.$name);)*
            }
        }
    };
    (@reset gauge $field:expr) => {};
    (@reset $how:ident $field:expr) => { $field = 0 };
    (@add max $field:expr, $other:expr) => { $field = $field.max($other) };
    (@add $how:ident $field:expr, $other:expr) => { $field += $other };
}

core_stats! {
    /// Clients that have connected.
    connections_received: counter,
    /// Clients that were refused.
    rejected_connections: counter,
    /// Clients connected now.
    connected_clients: gauge,
    /// Clients that wait for keys.
    blocked_clients: gauge,
    /// Links of MIGRATE that are kept for the next.
    migrate_links: gauge,
    /// Bytes that clients have sent.
    net_input_bytes: counter,
    /// Bytes that were sent to clients.
    net_output_bytes: counter,
    /// Receives that brought something.
    reads: counter,
    /// Sends.
    writes: counter,
    /// Requests that have run.
    commands_processed: counter,
    /// Commands over several shards.
    transactions: counter,
    /// Those that were tried directly at another core.
    attempts: counter,
    /// Those of these that something stood against.
    attempts_refused: counter,
    /// Requests that went to another core.
    forwarded: counter,
    /// Parcels of requests that went to other cores.
    parcels: counter,
    /// Clients that sent too much before it could run.
    query_buffer_limit_disconnections: counter,
    /// Clients that did not read what they were sent.
    output_buffer_limit_disconnections: counter,
    /// Clients that were closed because all of them together took too much.
    evicted_clients: counter,
    /// For how long more memory has been used than `maxmemory`, now, and in all; each core sees the same.
    eviction_exceeded_us: max,
    /// See `eviction_exceeded_us`.
    eviction_exceeded_total_us: max,
    /// Failed AUTHs.
    auth_failures: counter,
    /// Slices of background work in which expiry had to stop for lack of time.
    expire_time_cap_reached: counter,
    /// Time spent on expiring keys in the background.
    expire_cycle_ns: counter,
    /// Passes over the core's loop.
    passes: counter,
    /// Time spent in passes.
    pass_us_sum: counter,
    /// The longest pass: for so long did this core's clients wait.
    pass_us_max: max,
    /// Passes that found nothing to do while the core waited actively.
    spins: counter,
    /// Times that the core went to sleep.
    parks: counter,
    /// Other cores that this one had to wake up.
    wakeups: counter,
    /// System calls that entered the ring.
    ring_enters: counter,
}

/// Instantaneous figures: averages over the last 16 samples, one each 100 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Requests per second.
    pub ops: f64,
    /// Bytes per second from clients.
    pub input_bytes: f64,
    /// Bytes per second to clients.
    pub output_bytes: f64,
    /// Passes per second.
    pub passes: f64,
}

/// The keys of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSize {
    /// How many there are.
    pub keys: u64,
    /// How many have an expiry.
    pub volatile: u64,
    /// The sum of what these have left to live, as the expiry sweep estimates it. One key's can take 63 bits.
    pub ttl_ms_sum: u128,
}

/// What the clients' buffers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionUse {
    /// All of it.
    pub memory_bytes: u64,
    /// The largest input buffer.
    pub input_bytes_max: u64,
    /// The largest output buffer.
    pub output_bytes_max: u64,
}

/// What a core tells of itself; those of several cores add up to the node's.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many cores' it is.
    pub cores: u64,
    /// Counters.
    pub stats: CoreStats,
    /// By command, in the table's order.
    pub commands: Vec<CommandStats>,
    /// By error code.
    pub errors: ErrorStats,
    /// Instantaneous figures.
    pub rates: Rates,
    /// Counters of the shards.
    pub keyspace: KeyspaceStats,
    /// Memory of the shards.
    pub memory: MemoryUse,
    /// Changes of the data set since it was saved.
    pub persistence: FilesReport,
    /// Replication.
    pub replication: ReplicationReport,
    /// By database.
    pub databases: Vec<DatabaseSize>,
    /// Memory of the clients.
    pub sessions: SessionUse,
    /// Who listens to what.
    pub pubsub: PubsubReport,
}

impl Report {
    /// Adds what another core tells.
    pub fn add(&mut self, other: &Report) {
        self.cores += other.cores;
        self.stats += &other.stats;
        if self.commands.len() < other.commands.len() {
            self.commands.resize_with(other.commands.len(), CommandStats::default);
        }
        for (sum, stats) in self.commands.iter_mut().zip(&other.commands) {
            sum.add(stats);
        }
        self.errors.add(&other.errors);
        self.rates.ops += other.rates.ops;
        self.rates.input_bytes += other.rates.input_bytes;
        self.rates.output_bytes += other.rates.output_bytes;
        self.rates.passes += other.rates.passes;
        self.keyspace += &other.keyspace;
        self.memory += &other.memory;
        self.persistence.add(&other.persistence);
        self.replication += &other.replication;
        self.add_databases(&other.databases);
        self.pubsub.add(&other.pubsub);
        self.sessions.memory_bytes += other.sessions.memory_bytes;
        self.sessions.input_bytes_max = self.sessions.input_bytes_max.max(other.sessions.input_bytes_max);
        self.sessions.output_bytes_max = self.sessions.output_bytes_max.max(other.sessions.output_bytes_max);
    }

    /// Adds the keys of another shard or core, database by database.
    pub fn add_databases(&mut self, other: &[DatabaseSize]) {
        if self.databases.len() < other.len() {
            self.databases.resize(other.len(), DatabaseSize::default());
        }
        for (sum, size) in self.databases.iter_mut().zip(other) {
            sum.keys += size.keys;
            sum.volatile += size.volatile;
            sum.ttl_ms_sum += size.ttl_ms_sum;
        }
    }

    /// Everything that counts as used memory now.
    pub fn used_bytes(&self) -> u64 {
        self.memory.used_bytes() + self.sessions.memory_bytes
    }

    /// All keys.
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|size| size.keys).sum()
    }
}

/// What a core tells of its files, or several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesReport {
    /// Changes since the last snapshot.
    pub changes: u64,
    /// Bytes in the append-only files.
    pub aof_bytes: u64,
    /// Bytes that were in them after the last rewrite.
    pub aof_base_bytes: u64,
    /// Bytes of records that wait for the disk.
    pub aof_waiting_bytes: u64,
    /// Syncs under way.
    pub aof_syncs_pending: u64,
    /// Syncs that took longer than two seconds.
    pub aof_delayed_syncs: u64,
    /// Keys that the snapshot under way has written.
    pub save_keys_done: u64,
    /// Keys that it will have written.
    pub save_keys_total: u64,
    /// The data set is being loaded.
    pub is_loading: bool,
    /// Since when, in seconds since the epoch.
    pub loading_began_secs: i64,
    /// Bytes to be loaded.
    pub loading_total_bytes: u64,
    /// Bytes that are.
    pub loading_loaded_bytes: u64,
    /// What core 0 knows.
    pub conducted: Option<ConductorReport>,
}

/// What the conductor of saves tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConductorReport {
    /// Its counters.
    pub stats: SaveStats,
    /// What is being saved.
    pub target: Option<Target>,
    /// Since when.
    pub began: Option<Now>,
    /// A rewrite waits for a snapshot to end.
    pub is_rewrite_scheduled: bool,
    /// The append-only file is in force or about to be.
    pub is_aof_on: bool,
    /// One of its files cannot be written.
    pub is_aof_failing: bool,
    /// Keys that were loaded at start.
    pub keys_loaded: u64,
    /// Keys that had expired by then.
    pub keys_expired: u64,
}

impl FilesReport {
    fn add(&mut self, other: &FilesReport) {
        self.changes += other.changes;
        self.aof_bytes += other.aof_bytes;
        self.aof_base_bytes += other.aof_base_bytes;
        self.aof_waiting_bytes += other.aof_waiting_bytes;
        self.aof_syncs_pending += other.aof_syncs_pending;
        self.aof_delayed_syncs += other.aof_delayed_syncs;
        self.save_keys_done += other.save_keys_done;
        self.save_keys_total += other.save_keys_total;
        self.is_loading |= other.is_loading;
        self.loading_began_secs = self.loading_began_secs.max(other.loading_began_secs);
        self.loading_total_bytes += other.loading_total_bytes;
        self.loading_loaded_bytes += other.loading_loaded_bytes;
        self.conducted = self.conducted.or(other.conducted);
    }
}
