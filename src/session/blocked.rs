//! A session that waits for keys: BLPOP and its kin. One that waits for the disk or for replicas (WAIT) is blocked
//! likewise.
//!
//! Where all its keys are on one shard, that shard has the command and serves the client. Else the session's core does:
//! it tries the command as a transaction; if that finds nothing the client is put into the queues of its keys on all
//! their shards (*arming*), and when it stands in all of them the command is tried once more, since a key may have come
//! meanwhile. After that every change of one of the keys, when it is the client's turn, lets its core try again.

use smallvec::SmallVec;

use crate::base::ids::ShardId;
use crate::base::time::UnixMs;
use crate::shard::waiters::{End, Place};
use crate::shard::OwnedCall;

/// See the module.
#[derive(Debug)]
pub struct Blocked {
    /// The place of the reply among the session's replies.
    pub slot: u32,
    /// When it is answered if nothing has come; `None` is never.
    pub deadline: Option<UnixMs>,
    /// Who serves it.
    pub by: Server,
}

/// Who serves a session that waits for keys.
#[derive(Debug)]
pub enum Server {
    /// The shard of all its keys.
    Shard(ShardId),
    /// The session's core.
    Core(Box<Attempts>),
    /// Core 0, where those stand in line who wait for the disk and for replicas (WAIT, WAITAOF).
    Line,
}

/// What the session's core knows of a command on several shards that has found nothing.
#[derive(Debug)]
pub struct Attempts {
    /// The command.
    pub call: OwnedCall,
    /// The keys, by shard.
    pub keys: Vec<(ShardId, SmallVec<[Place; 2]>)>,
    /// The reply that says that there is nothing.
    pub nothing: Vec<u8>,
    /// How far it is.
    pub stage: Stage,
    /// The shards on which its turn has come, and which wait to hear that it found nothing.
    pub turns: Vec<ShardId>,
    /// How many of them had told so when it began to try: what the others have to offer it may not have seen.
    pub turns_seen: usize,
    /// How its wait has ended while it tries.
    pub ended: Option<End>,
}

/// See `Attempts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// So many shards have yet to put it into their queues.
    Arming(usize),
    /// A transaction tries the command.
    Trying,
    /// It waits for its turn.
    Waiting,
}
