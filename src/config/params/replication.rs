//! Primaries and their replicas.

use super::{Effect::*, *};
use crate::config::{
    places::ReplicaOf,
    value::{bytes, int, Text, INT_MAX, LONG_MAX, UNSET_IF_EMPTY},
    words::{DisklessLoad, PropagationError},
};

section! {
    /// Primaries and their replicas.
    Replication at replication {
        /// The primary, if this is a replica.
        "replicaof" ("slaveof") => replicaof: ReplicaOf = ReplicaOf(None), (), IMMUTABLE, Live;
        /// The user to log in to the primary with.
        "masteruser" => masteruser: Text = "".into(), UNSET_IF_EMPTY, MUTABLE | SENSITIVE, Live;
        /// The password to log in to the primary with.
        "masterauth" => masterauth: Text = "".into(), UNSET_IF_EMPTY, MUTABLE | SENSITIVE, Live;
        /// Whether a replica without its primary answers reads.
        "replica-serve-stale-data" ("slave-serve-stale-data") =>
            replica_serve_stale_data: bool = true, (), MUTABLE, Live;
        /// Whether a replica refuses writes.
        "replica-read-only" ("slave-read-only") => replica_read_only: bool = true, (), MUTABLE, Live;
        /// Whether a replica evicts nothing by itself.
        "replica-ignore-maxmemory" ("slave-ignore-maxmemory") =>
            replica_ignore_maxmemory: bool = true, (), MUTABLE, Live;
        /// Whether a full sync frees the old data in slices.
        "replica-lazy-flush" ("slave-lazy-flush") => replica_lazy_flush: bool = false, (), MUTABLE,
            Meaningless("old data is always freed in the background");
        /// Sentinel's order of preference; 0 is never promoted.
        "replica-priority" ("slave-priority") => replica_priority: u32 = 100, int(0, INT_MAX), MUTABLE, Live;
        /// Whether Sentinel is told of this replica.
        "replica-announced" => replica_announced: bool = true, (), MUTABLE, Live;
        /// The address that a replica gives as its own.
        "replica-announce-ip" ("slave-announce-ip") =>
            replica_announce_ip: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, Live;
        /// The port that a replica gives as its own; 0 is the real one.
        "replica-announce-port" ("slave-announce-port") =>
            replica_announce_port: u16 = 0, int(0, 65535), MUTABLE, Live;
        /// Whether a replica goes on when its disk fails; Ringward's always does.
        "replica-ignore-disk-write-errors" =>
            replica_ignore_disk_write_errors: bool = false, (), MUTABLE,
            Meaningless("a replica whose files cannot be written goes on applying, and says so in the log and in INFO");
        /// What a replica does when a replicated command fails.
        "propagation-error-behavior" =>
            propagation_error_behavior: PropagationError = PropagationError::Ignore, (), MUTABLE, Live;
        /// How much a replica may miss and still catch up without a full sync.
        "repl-backlog-size" => repl_backlog_bytes: u64 = 1 << 20, bytes(1, LONG_MAX), MUTABLE, Live;
        /// How long that is kept without any replica; 0 is for ever.
        "repl-backlog-ttl" => repl_backlog_ttl_secs: u64 = 3600, int(0, LONG_MAX), MUTABLE, Live;
        /// After how much silence a link is given up.
        "repl-timeout" => repl_timeout_secs: u32 = 60, int(1, INT_MAX), MUTABLE, Live;
        /// How often a primary pings its replicas.
        "repl-ping-replica-period" ("repl-ping-slave-period") =>
            repl_ping_replica_period_secs: u32 = 10, int(1, INT_MAX), MUTABLE, Live;
        /// Whether small packets are held back on the links of replicas that come from now on.
        "repl-disable-tcp-nodelay" => repl_disable_tcp_nodelay: bool = false, (), MUTABLE, Live;
        /// Whether a full sync goes straight to the socket; Ringward's always does.
        "repl-diskless-sync" => repl_diskless_sync: bool = true, (), MUTABLE, Live;
        /// How long a full sync waits for more replicas to join.
        "repl-diskless-sync-delay" => repl_diskless_sync_delay_secs: u32 = 5, int(0, INT_MAX), MUTABLE, Live;
        /// How many replicas end that wait; 0 is any number.
        "repl-diskless-sync-max-replicas" =>
            repl_diskless_sync_max_replicas: u32 = 0, int(0, INT_MAX), MUTABLE, Live;
        /// What a replica does with its data while it loads.
        "repl-diskless-load" =>
            repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, (), MUTABLE | NOT_WHILE_LOADING,
            Meaningless("a snapshot is kept in files until it is whole, and the data that was there until then");
        /// Writes are refused with fewer good replicas than this.
        "min-replicas-to-write" ("min-slaves-to-write") =>
            min_replicas_to_write: u32 = 0, int(0, INT_MAX), MUTABLE, Live;
        /// The lag up to which a replica is a good one.
        "min-replicas-max-lag" ("min-slaves-max-lag") =>
            min_replicas_max_lag_secs: u32 = 10, int(0, INT_MAX), MUTABLE, Live;
    }
}
