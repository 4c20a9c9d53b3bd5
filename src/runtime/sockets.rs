//! What the system calls on sockets want and give: addresses, options, names, errors.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::session::session::Peer;

/// Prepares a connection that an accept or a connect has brought, and tells its two ends. `listener_path` is that of a
/// Unix socket.
pub(super) fn prepare(fd: RawFd, listener_path: Option<&Path>, keepalive_secs: u32) -> Peer {
    if let Some(path) = listener_path {
        let addr = format!("{}:0", path.display());
        return Peer { laddr: addr.clone(), addr, fd, unix: true, local: true };
    }
    // TCP_NODELAY was set on the listener, whose options accepted sockets inherit, or before the connect.
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

/// Sets an option whose value is a number.
pub(super) fn set_option(fd: RawFd, level: i32, name: i32, value: i32) {
    let len = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is valid for the length given. A refusal is no harm: the connection works without.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
}

/// An address as the kernel wants it.
pub(super) enum RawAddress {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl RawAddress {
    pub(super) fn new(address: &SocketAddr) -> RawAddress {
        match address {
            SocketAddr::V4(address) => RawAddress::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(address) => RawAddress::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            }),
        }
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        match self {
            RawAddress::V4(raw) => (&raw const *raw).cast(),
            RawAddress::V6(raw) => (&raw const *raw).cast(),
        }
    }

    pub(super) fn bytes(&self) -> libc::socklen_t {
        let bytes = match self {
            RawAddress::V4(raw) => mem::size_of_val(raw),
            RawAddress::V6(raw) => mem::size_of_val(raw),
        };
        bytes as libc::socklen_t
    }
}

/// Gives a socket its own address.
///
/// # Errors
/// It is not this host's, or in use.
pub(super) fn bind(fd: &OwnedFd, address: &SocketAddr) -> io::Result<()> {
    let raw = RawAddress::new(address);
    // SAFETY: the address is valid for the length given.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.as_ptr(), raw.bytes()) })
}

/// The kind of socket that goes with an address.
pub(super) fn family_of(address: &SocketAddr) -> i32 {
    if address.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    }
}

/// A new stream socket.
///
/// # Errors
/// Descriptors have run out, or there is no such family here.
pub(super) fn socket(family: i32) -> io::Result<OwnedFd> {
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

/// What a system call has returned, as an error if it is one.
///
/// # Errors
/// The last one of this thread, where the result is negative.
pub(super) fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An error as the C library words it, without Rust's addition.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
