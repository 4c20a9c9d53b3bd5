//! The wire protocol, RESP2 and RESP3, over byte slices: no socket is known here.
//!
//! `decode` turns received bytes into requests without copying them, `encode` writes replies, `reply` walks over
//! replies that another shard has written.

pub mod args;
pub mod decode;
pub mod encode;
pub mod reply;

pub use args::{Args, OwnedArgs, Span};
pub use encode::{Proto, Reply};
