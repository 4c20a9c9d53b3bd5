//! What a session keeps between MULTI and EXEC and while EXEC runs, and the keys that it watches.

use super::program::Program;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::KeyHash;
use crate::command::spec::Flags;
use crate::command::{CommandId, Spec};
use crate::keyspace::Version;
use crate::resp::{Args, OwnedArgs};

/// The commands queued since MULTI.
#[derive(Debug, Default)]
pub struct Multi {
    calls: Vec<(CommandId, OwnedArgs)>,
    /// Whether a command was refused: EXEC will be, too.
    pub aborted: bool,
    flags: Flags,
    bytes: usize,
}

impl Multi {
    /// Queues a command.
    pub fn push(&mut self, command: CommandId, spec: &Spec, args: Args<'_>) {
        let args = args.to_owned();
        self.bytes += args.memory_bytes() + size_of::<(CommandId, OwnedArgs)>();
        for flag in [Flags::DENYOOM, Flags::WRITE, Flags::MAY_REPLICATE] {
            if spec.flags.has(flag) {
                self.flags = self.flags.with(flag);
            }
        }
        self.calls.push((command, args));
    }

    /// How many commands are queued.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// What they are together: whether one of them may change data, or need memory.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Memory held (`multi-mem` of CLIENT LIST).
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// The commands, in order.
    pub fn into_calls(self) -> Vec<(CommandId, OwnedArgs)> {
        self.calls
    }
}

/// A key that a session watches, as it was when it began to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Whose it is.
    pub shard: ShardId,
    /// The database that was selected.
    pub db: DbIndex,
    /// The key.
    pub key: Box<[u8]>,
    /// Its hash.
    pub hash: KeyHash,
    /// What it was at.
    pub version: Version,
}

/// EXEC whose commands on data have run, and whose others are running.
#[derive(Debug)]
pub struct Rest {
    /// What EXEC runs.
    pub program: Program,
    /// The command that runs now, by its place in the program.
    pub at: usize,
    /// Whether it has not returned yet: an answer that comes meanwhile does not go on to the next one.
    pub is_running: bool,
    /// Whether EXEC's own reply is to be thrown away (CLIENT REPLY).
    pub is_silent: bool,
    /// What the client was owed before EXEC: what it is owed now is the reply of the command that runs.
    pub before: Vec<u8>,
    /// What it gets behind EXEC's reply: messages of its subscriptions.
    pub after: Vec<u8>,
    /// Whether the client's connection ends after EXEC's reply: one of the commands has ended its own client.
    pub ends: bool,
}
