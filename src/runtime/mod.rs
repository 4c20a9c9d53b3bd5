//! The only folder that names glommio, io_uring, sockets, files, threads and clocks. It carries out and decides little:
//! what a request means, who may connect and what is answered stands to the left of it.
//!
//! `boot` starts one glommio executor per core; each runs the loop in `core`, which drives a `Host` with what `ring`
//! (our own network ring, hosted on the executor) and `mesh` (the rings between cores) bring. glommio's own sockets are
//! not used: they are readiness-based and cost more than epoll does (DESIGN.md, section 1).

pub mod boot;
pub mod buffers;
pub mod clock;
pub mod connections;
#[allow(clippy::module_inception, reason = "the loop of one core")]
pub mod core;
pub mod daemon;
pub mod dial;
pub mod disk;
pub mod exchange;
pub mod folder;
pub mod listen;
pub mod log;
pub mod mesh;
pub mod ring;
pub mod rss;
mod sockets;
