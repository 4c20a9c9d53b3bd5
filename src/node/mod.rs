//! What concerns the whole process rather than a shard or a client: statistics, logs of slow requests, INFO.

pub mod info;
pub mod latency;
pub mod latency_report;
pub mod memory;
pub mod process;
pub mod pubsub;
pub mod replication;
pub mod save;
pub mod slowlog;
pub mod stats;
