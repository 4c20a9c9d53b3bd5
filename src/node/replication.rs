//! What INFO and ROLE tell of replication.
//!
//! Each core reports its share, core 0 also what it alone knows.

use std::ops::AddAssign;

/// One replica of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaLine {
    /// As it announces itself.
    pub ip: String,
    /// See `ip`.
    pub port: u16,
    /// `state=`.
    pub state: &'static str,
    /// Whether it is sent records.
    pub is_online: bool,
    /// What it has applied, by its own word.
    pub offset: u64,
    /// Seconds since it said so.
    pub lag_secs: u64,
}

/// The link of a replica to its primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamReport {
    /// Whether records come.
    pub is_up: bool,
    /// Whether a snapshot comes, or is loaded.
    pub is_syncing: bool,
    /// ROLE's word for how far the link is.
    pub state: &'static str,
    /// Seconds since the primary was heard; none while the link is down.
    pub heard_secs: Option<u64>,
    /// Seconds since it went down.
    pub down_secs: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicationReport {
    /// The combined offset: what this node has recorded, or as a replica has applied.
    pub offset: u64,
    /// Whether a backlog is kept.
    pub has_backlog: bool,
    /// Bytes in it.
    pub backlog_len: u64,
    /// What it takes.
    pub backlog_memory: u64,
    /// The history, and the one before.
    pub id: String,
    /// See `id`; empty if there is none.
    pub id2: String,
    /// Up to where the one before is the same: the first offset that is not.
    pub second_offset: i64,
    /// `sync_full`.
    pub full_syncs: u64,
    /// `sync_partial_ok`.
    pub partial_syncs: u64,
    /// `sync_partial_err`.
    pub partial_refusals: u64,
    /// How long a stop may still wait for replicas, if one does.
    pub shutdown_ms: Option<u64>,
    /// `master_failover_state`; empty where it is not known.
    pub failover_state: &'static str,
    /// The replicas, in the order in which they came.
    pub replicas: Vec<ReplicaLine>,
    /// As a replica: its link.
    pub upstream: Option<UpstreamReport>,
}

impl AddAssign<&ReplicationReport> for ReplicationReport {
    fn add_assign(&mut self, other: &ReplicationReport) {
        self.offset += other.offset;
        self.has_backlog |= other.has_backlog;
        self.backlog_len += other.backlog_len;
        self.backlog_memory += other.backlog_memory;
        if !other.id.is_empty() {
            // It is core 0's: it knows the rest.
            self.id.clone_from(&other.id);
            self.id2.clone_from(&other.id2);
            self.second_offset = other.second_offset;
            self.full_syncs = other.full_syncs;
            self.partial_syncs = other.partial_syncs;
            self.partial_refusals = other.partial_refusals;
            self.shutdown_ms = other.shutdown_ms;
            self.failover_state = other.failover_state;
            self.replicas.clone_from(&other.replicas);
            self.upstream.clone_from(&other.upstream);
        }
    }
}
