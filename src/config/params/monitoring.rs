//! What the server tells about its work: slow log, latencies, keyspace events.

use super::{Effect::*, *};
use crate::config::{
    special::{KeyspaceEvents, Percentiles},
    value::{int, LONG_MAX},
};

section! {
    /// What the server tells about its work.
    Monitoring at monitoring {
        /// From which duration on a command is in the slow log; 0 is every one, negative none.
        "slowlog-log-slower-than" => slowlog_log_slower_than_us: i64 = 10000, int(-1, LONG_MAX), MUTABLE, Live;
        /// How many commands the slow log keeps.
        "slowlog-max-len" => slowlog_max_len: u64 = 128, int(0, LONG_MAX), MUTABLE, Live;
        /// From which duration on an event is a latency spike; 0 is none.
        "latency-monitor-threshold" => latency_monitor_threshold_ms: u64 = 0, int(0, LONG_MAX), MUTABLE, Live;
        /// Whether each command's latencies are counted.
        "latency-tracking" => latency_tracking: bool = true, (), MUTABLE, Live;
        /// Which percentiles of them INFO shows.
        "latency-tracking-info-percentiles" =>
            latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]), (), MUTABLE, Live;
        /// Which changes of keys are published.
        "notify-keyspace-events" =>
            notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::default(), (), MUTABLE, Later(5);
    }
}
