//! What the bounded background steps over a keyspace report.

/// One step of the active expiry cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Volatile keys looked at.
    pub examined: u64,
    /// Keys removed.
    pub expired: u64,
    /// The sweep has not come round yet: another step would look at other keys.
    pub more: bool,
}

/// One step of active defragmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefragReport {
    /// Entries looked at.
    pub examined: u64,
    /// Entries moved.
    pub moved: u64,
    /// The walk has not come round yet.
    pub more: bool,
}
