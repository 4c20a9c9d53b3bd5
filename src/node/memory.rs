//! The figures of memory that INFO memory, MEMORY STATS and MEMORY DOCTOR share, as Redis defines them.

use super::process::Usage;
use super::stats::Report;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Used now, over all cores.
    pub used_bytes: u64,
    /// The most that was ever used.
    pub peak_bytes: u64,
    /// Used before the first client came: only data and buffers are counted, so nothing.
    pub startup_bytes: u64,
    /// Keys and values.
    pub dataset_bytes: u64,
    /// The tables of the keyspaces.
    pub table_bytes: u64,
    /// Clients' buffers.
    pub clients_bytes: u64,
    /// What the allocators hold from the system.
    pub resident_bytes: u64,
    /// Resident memory of the process.
    pub rss_bytes: u64,
    /// How many keys there are.
    pub keys: u64,
}

impl Footprint {
    /// The figures of all cores' report. `peak_bytes` is the peak so far.
    pub fn new(report: &Report, peak_bytes: u64, usage: Usage) -> Self {
        let used_bytes = report.used_bytes();
        Footprint {
            used_bytes,
            peak_bytes: peak_bytes.max(used_bytes),
            startup_bytes: 0,
            dataset_bytes: report.memory.dataset_bytes,
            table_bytes: report.memory.table_bytes,
            clients_bytes: report.sessions.memory_bytes,
            resident_bytes: (report.memory.resident_bytes + report.sessions.memory_bytes).max(used_bytes),
            rss_bytes: usage.rss_bytes,
            keys: report.keys(),
        }
    }

    /// All that is not keys and values.
    pub fn overhead_bytes(&self) -> u64 {
        self.used_bytes.saturating_sub(self.dataset_bytes)
    }

    /// The share of the data in what is used beyond the start.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset_bytes, self.used_bytes.saturating_sub(self.startup_bytes))
    }

    /// What is used of the peak.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used_bytes, self.peak_bytes)
    }

    /// The bytes of a key with all that belongs to it.
    pub fn bytes_per_key(&self) -> u64 {
        self.used_bytes.saturating_sub(self.startup_bytes).checked_div(self.keys).unwrap_or(0)
    }

    /// What the allocators hold for what is used of it.
    pub fn allocator_ratio(&self) -> f64 {
        ratio(self.resident_bytes, self.used_bytes)
    }

    /// The difference.
    pub fn allocator_bytes(&self) -> i64 {
        self.resident_bytes as i64 - self.used_bytes as i64
    }

    /// What the process holds for what the allocators do.
    pub fn rss_ratio(&self) -> f64 {
        ratio(self.rss_bytes, self.resident_bytes)
    }

    /// The difference.
    pub fn rss_overhead_bytes(&self) -> i64 {
        self.rss_bytes as i64 - self.resident_bytes as i64
    }

    /// What the process holds for what is used.
    pub fn fragmentation_ratio(&self) -> f64 {
        ratio(self.rss_bytes, self.used_bytes)
    }

    /// The difference.
    pub fn fragmentation_bytes(&self) -> i64 {
        self.rss_bytes as i64 - self.used_bytes as i64
    }

    /// MEMORY DOCTOR, in Redis's words.
    pub fn doctor(&self, clients: u64) -> String {
        const MANY_BYTES: i64 = 10 << 20;
        if self.used_bytes < 5 << 20 {
            return "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used \
                    in these conditions. Please, leave for your mission on Earth and fill it with some data. The new \
                    Sam and I will be back to our programming as soon as I finished rebooting.\n"
                .to_owned();
        }
        let mut issues = Vec::new();
        if ratio(self.peak_bytes, self.used_bytes) > 1.5 {
            issues.push(
                "Peak memory: In the past this instance used more than 150% the memory that is currently using. Only \
                 the pages that have become empty since were given back to the system, so expect a larger Resident Set \
                 Size (RSS) than the data needs; it will be used as soon as you fill the instance with more data.",
            );
        }
        if self.fragmentation_ratio() > 1.4 && self.fragmentation_bytes() > MANY_BYTES {
            issues.push(
                "High total RSS: This instance has a memory fragmentation and RSS overhead greater than 1.4 (this \
                 means that the Resident Set Size of the process is much larger than the sum of its logical \
                 allocations). This problem is usually due either to a large peak memory (check if there is a peak \
                 memory entry above in the report) or may result from a workload that causes the allocator to fragment \
                 memory a lot.",
            );
        }
        if self.allocator_ratio() > 1.1 && self.allocator_bytes() > MANY_BYTES {
            issues.push(
                "High allocator RSS overhead: The allocators hold more than 1.1 times the memory that is in use. This \
                 problem is usually due to a large peak memory (check if there is a peak memory entry above in the \
                 report).",
            );
        }
        if self.rss_ratio() > 1.1 && self.rss_overhead_bytes() > MANY_BYTES {
            issues.push(
                "High process RSS overhead: The Resident Set Size of the process is more than 1.1 times what its \
                 allocators hold.",
            );
        }
        if self.clients_bytes.checked_div(clients).unwrap_or(0) > 200 * 1024 {
            issues.push(
                "Big client buffers: The client output buffers in this instance are greater than 200K per client (on \
                 average). This may result from clients sending commands with large replies or very large sequences of \
                 commands in the same pipeline. Please use the CLIENT LIST command in order to investigate the issue \
                 if it causes problems in your instance, or to understand better why certain clients are using a big \
                 amount of memory.",
            );
        }
        if issues.is_empty() {
            return "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this \
                    base.\n"
                .to_owned();
        }
        let mut text = "Sam, I detected a few issues in this Redis instance memory implants:\n\n".to_owned();
        for issue in issues {
            text.push_str(&format!(" * {issue}\n\n"));
        }
        text.push_str("I'm here to keep you safe, Sam. I want to help you.\n");
        text
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 {
        return 1.0;
    }
    a as f64 / b as f64
}

fn percent(a: u64, b: u64) -> f64 {
    if b == 0 {
        return 0.0;
    }
    a as f64 * 100.0 / b as f64
}
