//! The commands: one row, one function, one script each.
//!
//! A family's file holds its rows at the top and its functions below. `spec` says what a row is, `table` joins the
//! families and finds a command by its name, `ctx` is what a function works with. A function parses all its arguments,
//! then changes the data, then replies; it runs on one shard, to its end, and knows no client, clock or I/O.

pub mod bitmap;
pub mod connection;
pub mod ctx;
pub mod debug;
#[cfg(test)]
mod differential;
pub mod docs;
pub mod effects;
pub mod generic;
#[cfg(test)]
pub(crate) mod harness;
pub mod hash;
pub mod help;
pub mod hyperloglog;
pub mod internal;
pub mod introspect;
pub mod list;
pub mod pubsub;
#[cfg(test)]
pub(crate) mod replay;
pub mod server;
pub mod set;
pub mod spec;
pub mod string;
pub mod syntax;
pub mod table;
pub mod timeout;
pub mod transaction;
pub mod zset;

pub use ctx::Ctx;
pub use spec::{Handler, Spec};
pub use table::{CommandId, Table};
