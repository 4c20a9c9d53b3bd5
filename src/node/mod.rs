//! What concerns the whole process rather than a shard or a client: logs of slow requests and events.

pub mod latency;
pub mod latency_report;
pub mod slowlog;
