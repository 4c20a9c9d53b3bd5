//! Going into the background, the pid file, limits on open files, signals.

use std::io;
use std::os::fd::RawFd;
use std::path::Path;

/// `daemonize yes`: the process goes on in the background, without a terminal; the parent ends with success. To be
/// called before any thread is started.
///
/// # Errors
/// The kernel refuses to fork.
pub fn detach() -> io::Result<()> {
    // SAFETY: no thread has been started, so the child has everything that the parent has.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        // SAFETY: the parent ends without running destructors, which are the child's now.
        _ => unsafe { libc::_exit(0) },
    }
    // SAFETY: plain calls on descriptors of our own.
    unsafe {
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            for fd in 0..3 {
                libc::dup2(null, fd);
            }
            if null > 2 {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Writes the pid file; a failure is told in the log and is otherwise no harm, as in Redis.
pub fn write_pid_file(path: &Path) {
    if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
        tracing::debug!("Failed to write PID file: {error}");
    }
}

/// Descriptors that the server needs besides its clients' (Redis: CONFIG_MIN_RESERVED_FDS), and ours per core.
const RESERVED_FDS: u64 = 32;

/// Makes room for `maxclients` connections. How many there can be.
pub fn raise_open_files(maxclients: u32, cores: u16) -> u32 {
    let reserved = RESERVED_FDS + 16 * u64::from(cores);
    let wanted = u64::from(maxclients) + reserved;
    // SAFETY: zeroed bytes are a valid rlimit, and the kernel fills it.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= wanted {
        return maxclients;
    }
    let before = limit.rlim_cur;
    for hard in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: wanted.min(hard), rlim_max: hard };
        // SAFETY: a valid rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            if raised.rlim_cur >= wanted {
                return maxclients;
            }
            limit.rlim_cur = raised.rlim_cur;
            break;
        }
    }
    let possible = u32::try_from(limit.rlim_cur.saturating_sub(reserved)).unwrap_or(u32::MAX).max(1);
    tracing::warn!(
        "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."
    );
    tracing::warn!(
        "Server can't set maximum open files to {wanted} because of OS error: Operation not permitted."
    );
    tracing::warn!(
        "Current maximum open files is {}. maxclients has been reduced to {possible} to compensate for low ulimit. \
         If you need higher maxclients increase 'ulimit -n'.",
        limit.rlim_cur.max(before)
    );
    possible
}

/// Blocks the signals that end the server in all threads to come, and gives a descriptor on which they can be read.
/// SIGHUP and SIGPIPE are ignored.
///
/// # Errors
/// The kernel refuses.
pub fn signals() -> io::Result<RawFd> {
    // SAFETY: zeroed bytes are a valid signal set; all calls are on our own memory.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        if libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd)
    }
}
