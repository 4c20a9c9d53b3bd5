//! Facts about the process and its machine that INFO and HELLO tell.

/// What is known at start, and what the runtime brings up to date now and then (`usage`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessInfo {
    /// The process's number.
    pub pid: u32,
    /// The path of the program.
    pub executable: String,
    /// The path of the configuration file; empty if there is none.
    pub config_file: String,
    /// 40 hexadecimal digits, new with each start.
    pub run_id: String,
    /// When it started, in microseconds since the Unix epoch.
    pub started_unix_us: i64,
    /// Name, release and machine of the operating system, as `uname` tells them.
    pub os: String,
    /// The commit that it was built from; empty if unknown.
    pub git_sha1: String,
    /// Which supervisor it reports to: `no`, `systemd`.
    pub supervised: String,
    /// Bytes of memory that the machine has.
    pub system_memory_bytes: u64,
    /// What it uses.
    pub usage: Usage,
}

/// What the process uses; read by the runtime about once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Processor time in user mode.
    pub cpu_user_us: u64,
    /// Processor time in the kernel.
    pub cpu_sys_us: u64,
}

/// The version of Redis whose behaviour this is; clients decide by it what they may use.
pub const REDIS_VERSION: &str = "7.2.4";

/// Our own version.
pub const RINGWARD_VERSION: &str = env!("CARGO_PKG_VERSION");
