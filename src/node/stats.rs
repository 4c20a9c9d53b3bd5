//! What one core counts, and the report that INFO and MEMORY make of all cores'.
//!
//! Every core counts for itself, in plain integers; a report is gathered over the cores only when somebody asks.

use std::ops::AddAssign;

use crate::base::stats::{CommandStats, ErrorStats};
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
    /// The sum of what these have left to live, as the expiry sweep estimates it.
    pub ttl_ms_sum: u64,
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
    pub dirty: u64,
    /// By database.
    pub databases: Vec<DatabaseSize>,
    /// Memory of the clients.
    pub sessions: SessionUse,
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
        self.dirty += other.dirty;
        self.add_databases(&other.databases);
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
