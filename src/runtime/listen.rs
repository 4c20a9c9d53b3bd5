//! Listening sockets, and what is set on accepted ones.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::session::session::Peer;

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

/// Prepares an accepted connection, and tells where it comes from.
pub fn prepare(fd: RawFd, listener_path: Option<&Path>, keepalive_secs: u32) -> Peer {
    if let Some(path) = listener_path {
        let addr = format!("{}:0", path.display());
        return Peer { laddr: addr.clone(), addr, fd, unix: true, local: true };
    }
    // TCP_NODELAY was set on the listener, whose options accepted sockets inherit.
    if keepalive_secs > 0 {
        set_keepalive(fd, keepalive_secs);
    }
    let (peer, local) = (name_of(fd, libc::getpeername), name_of(fd, libc::getsockname));
    let text = |address: Option<SocketAddr>| match address {
        None => "?:0".to_owned(),
        Some(address) => format!("{}:{}", bracketed(address.ip()), address.port()),
    };
    let from_here = peer.is_some_and(|address| match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    });
    Peer { addr: text(peer), laddr: text(local), fd, unix: false, local: from_here }
}

/// An address as Redis prints it: IPv6 in brackets.
fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `tcp-keepalive`: probes after so many idle seconds, three more at a third of that.
fn set_keepalive(fd: RawFd, secs: u32) {
    let secs = secs as i32;
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, secs);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (secs / 3).max(1));
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3);
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) {
    let len = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is valid for the length given. A refusal is no harm: the connection works without.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
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
    let family = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let fd = socket(family)?;
    set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    let bound = match address {
        SocketAddr::V4(address) => {
            let raw = raw_v4(address);
            let len = mem::size_of_val(&raw) as libc::socklen_t;
            // SAFETY: the address is valid for the length given.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), len) }
        }
        SocketAddr::V6(address) => {
            set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
            let raw = raw_v6(address);
            let len = mem::size_of_val(&raw) as libc::socklen_t;
            // SAFETY: as above.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), len) }
        }
    };
    check(bound)?;
    // SAFETY: plain integers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog as i32) })?;
    Ok(Listener { fd, path: None })
}

fn raw_v4(address: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn raw_v6(address: &SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

fn socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

type NameCall = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

/// One end's address of a TCP connection.
fn name_of(fd: RawFd, call: NameCall) -> Option<SocketAddr> {
    // SAFETY: zeroed bytes are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the storage is valid for the length given, and the kernel writes no more.
    if unsafe { call(fd, (&raw mut storage).cast(), &mut len) } < 0 {
        return None;
    }
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which kind of address the storage holds.
            let raw = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip.into(), u16::from_be(raw.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Some(SocketAddr::new(ip.into(), u16::from_be(raw.sin6_port)))
        }
        _ => None,
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An error as the C library words it, without Rust's addition.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
