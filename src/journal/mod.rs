//! The journal: what every write on a shard did, as one stream of records. AOF, backlog and replicas read it.
//!
//! A record is what a command did, not what it was asked to do: an expiry is a DEL, a time to live is a moment, what
//! was drawn by chance is named. It touches keys of its own shard only, and done again on the same data, at whatever
//! time, it does the same. Its form is a request as clients send it, so that a stock Redis reads the stream as its own
//! AOF.
//!
//! * `record` writes commands and annotations as bytes.
//! * `stream` is one shard's stream, in the making.
//! * `scan` finds where commands begin and end in such a stream, for all who read it.
//! * `read` reads such a stream, or an AOF that a Redis wrote.
//! * `rewrite` is how a key becomes commands that make it anew.
//!
//! Commands that are done again must not see time go on: what a key's commands did while it lived has no place where it
//! has expired. So they are given `REPLAY_TIME`, which is before every expiry.
//!
//! Not here: files, and which commands are recorded how (`command::effects`).

pub mod read;
pub mod record;
pub mod rewrite;
pub mod scan;
pub mod stream;
pub mod track;

use crate::base::time::UnixMs;

pub use read::{Damage, Item, Reader, Tail};
pub(crate) use record::words;
pub use record::{Annotation, Sink, Txn, Word, EXEC, FRAME_BYTES, MULTI};
pub use stream::{Cut, Journal, Records};

/// The time at which recorded commands are done again: nothing has expired, and no moment is past.
pub const REPLAY_TIME: UnixMs = UnixMs(0);
