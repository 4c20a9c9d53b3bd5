//! One client's connection without its socket: what it has sent, what it is owed, who it is.
//!
//! `replies` keeps answers in the order of the requests though shards answer in any order, `admit` decides whether a
//! request may run at all, `coordinator` takes a command over several shards apart and puts its reply together, and
//! `program` puts several commands into the steps of one transaction. Reading bytes and running commands is `host`'s
//! work, sockets are `runtime`'s.

pub mod admit;
pub mod blocked;
pub mod clients;
pub mod coordinator;
pub mod multi;
pub mod program;
pub mod replica;
pub mod replies;
#[allow(clippy::module_inception, reason = "the state that the module is named for")]
pub mod session;

pub use replies::Replies;
pub use session::{Input, Session, SessionKind, State, Wait};
