//! What the kernel tells about cores, CPU time and memory, and the pinning of processes.

use std::fmt;
use std::fs;
use std::ops::Sub;
use std::str::FromStr;
use std::time::Duration;

use crate::Result;

/// A list of cores, written `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// The first `count` cores of the machine.
    pub(crate) fn first(count: usize) -> Self {
        Cores((0..count.max(1)).collect())
    }

    /// Runs `start`; a process it starts runs on these cores.
    pub(crate) fn pinning<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        let before = affinity()?;
        // SAFETY: an all-zero cpu_set_t is an empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for &core in &self.0 {
            // SAFETY: CPU_SET ignores a core outside the set.
            unsafe { libc::CPU_SET(core, &mut set) };
        }
        set_affinity(&set).map_err(|error| format!("cores {self}: {error}"))?;
        let started = start();
        set_affinity(&before)?;
        Ok(started)
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<usize>(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last => cores.extend(first..=last),
                _ => return Err(format!("'{part}' is neither a core nor a range of cores")),
            }
        }
        Ok(Cores(cores))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&cores.join(","))
    }
}

fn affinity() -> Result<libc::cpu_set_t> {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: pointer and size describe `set`.
    os(unsafe { libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) })?;
    Ok(set)
}

fn set_affinity(set: &libc::cpu_set_t) -> Result<()> {
    // SAFETY: pointer and size describe `set`.
    os(unsafe { libc::sched_setaffinity(0, std::mem::size_of_val(set), set) })
}

/// Lets this process, and those it starts, have as many files open as it may; returns how many.
pub(crate) fn raise_open_files() -> Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to `limit`.
    os(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to `limit`.
    os(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur as usize)
}

fn os(result: libc::c_int) -> Result<()> {
    if result < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// CPU time of a process, all its threads, ended ones included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for CpuTime {
    type Output = CpuTime;

    fn sub(self, before: CpuTime) -> CpuTime {
        CpuTime { user: self.user - before.user, system: self.system - before.system }
    }
}

/// What process `pid` has used so far.
pub(crate) fn cpu(pid: u32) -> Result<CpuTime> {
    stat_times(&pid.to_string(), 11)
}

/// What this process's ended children have used.
pub(crate) fn children() -> Result<CpuTime> {
    stat_times("self", 13)
}

/// Two fields of /proc/PID/stat, counted from the one after the command's name.
fn stat_times(pid: &str, field: usize) -> Result<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
    let mut fields = after_name.split_whitespace().skip(field).map(ticks);
    match (fields.next(), fields.next()) {
        (Some(user), Some(system)) => Ok(CpuTime { user: user?, system: system? }),
        _ => Err("/proc/PID/stat is too short".into()),
    }
}

/// What all processes of the machine have used: user, nice, system, irq and softirq of /proc/stat.
pub(crate) fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let mut sum = Duration::ZERO;
    for (i, field) in fields.enumerate() {
        if matches!(i, 0..=2 | 5 | 6) {
            sum += ticks(field)?;
        }
    }
    Ok(sum)
}

/// The kernel counts CPU time for user space in hundredths of a second on every architecture (USER_HZ).
fn ticks(field: &str) -> Result<Duration> {
    Ok(Duration::from_millis(field.parse::<u64>()? * 10))
}

/// Resident memory of process `pid` as the kernel last counted it: cheap, and a little behind.
pub(crate) fn resident_now(pid: u32) -> Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or("/proc/PID/statm is too short")?.parse()?;
    // SAFETY: no pointers are involved.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages * page_bytes as u64)
}

/// Resident memory of process `pid`, counted page by page: /proc/PID/status lags behind.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no Rss in smaps_rollup")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
