//! Listening sockets.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sockets::{bind, check, describe, family_of, set_option, socket};

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// The path of a Unix socket, removed at the end.
    path: Option<PathBuf>,
}

/// Opens the TCP listeners for `binds` (addresses, `*`, `::*`; a leading `-` means that it may be unavailable).
///
/// # Errors
/// The line for the log: which address could not be bound, and why.
pub fn tcp(binds: &[String], port: u16, backlog: u32) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for bind in binds {
        let (optional, name) = match bind.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, bind.as_str()),
        };
        let opened = addresses(name, port).and_then(|addresses| {
            addresses.iter().map(|address| listen_patiently(address, backlog)).collect::<io::Result<Vec<_>>>()
        });
        match opened {
            Ok(mut opened) => listeners.append(&mut opened),
            Err(error) => {
                let unavailable = matches!(
                    error.raw_os_error(),
                    Some(
                        libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::ENOPROTOOPT | libc::EPROTONOSUPPORT
                    )
                );
                if optional && unavailable {
                    continue;
                }
                return Err(format!(
                    "Warning: Could not create server TCP listening socket {name}:{port}: bind: {}",
                    describe(&error)
                ));
            }
        }
    }
    Ok(listeners)
}

/// Opens the Unix socket.
///
/// # Errors
/// The line for the log.
pub fn unix(path: &Path, permissions: u32, backlog: u32) -> Result<Listener, String> {
    let fail = |error: io::Error| format!("Failed opening Unix socket: bind: {}", describe(&error));
    // A socket that a killed server left behind would be in the way; anything else is not ours to remove.
    if let Ok(found) = std::fs::symlink_metadata(path) {
        use std::os::unix::fs::FileTypeExt;
        if found.file_type().is_socket() {
            let _ = std::fs::remove_file(path);
        }
    }
    // SAFETY: zeroed bytes are a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(fail(io::Error::from_raw_os_error(libc::ENAMETOOLONG)));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let fd = socket(libc::AF_UNIX).map_err(fail)?;
    let len = mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is valid for the length given.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }).map_err(fail)?;
    if permissions != 0 {
        let name = CString::new(bytes).map_err(|_| fail(io::Error::from_raw_os_error(libc::EINVAL)))?;
        // SAFETY: a zero-terminated path.
        check(unsafe { libc::chmod(name.as_ptr(), permissions) }).map_err(fail)?;
    }
    // SAFETY: plain integers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog as i32) }).map_err(fail)?;
    Ok(Listener { fd, path: Some(path.to_owned()) })
}

impl Listener {
    /// The socket.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Takes no more connections. Whatever the kernel has under way with the socket keeps it for a while, also beyond
    /// the end of the process; the address is free for the next server at once all the same.
    pub fn stop(&self) {
        // SAFETY: a shutdown of a descriptor that is ours.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_RDWR) };
    }

    /// The path, if it is a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match name {
        "*" => Ok(vec![SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)]),
        "::*" => Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)]),
        name => {
            let found: Vec<_> = (name, port).to_socket_addrs()?.collect();
            // A name may have several addresses; one kind is what Redis listens on, too.
            Ok(found.into_iter().take(1).collect())
        }
    }
}

/// How long an address may be in use by a server that has just been killed: the kernel takes down its rings, and with
/// them what they hold, after the process is gone. That takes some 10 ms, and much longer where the machine is busy.
const IN_USE_MAX: Duration = Duration::from_secs(3);

/// How long to wait between two tries.
const IN_USE_PAUSE: Duration = Duration::from_millis(10);

fn listen_patiently(address: &SocketAddr, backlog: u32) -> io::Result<Listener> {
    let start = Instant::now();
    loop {
        let listener = listen_tcp(address, backlog);
        let is_in_use = |error: &io::Error| error.raw_os_error() == Some(libc::EADDRINUSE);
        if !listener.as_ref().is_err_and(is_in_use) || start.elapsed() >= IN_USE_MAX {
            return listener;
        }
        std::thread::sleep(IN_USE_PAUSE);
    }
}

fn listen_tcp(address: &SocketAddr, backlog: u32) -> io::Result<Listener> {
    let fd = socket(family_of(address))?;
    set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    if address.is_ipv6() {
        set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
    }
    bind(&fd, address)?;
    // SAFETY: plain integers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog as i32) })?;
    Ok(Listener { fd, path: None })
}
