//! A command about to run on a shard.

use crate::base::ids::DbIndex;
use crate::base::key::KeyHash;
use crate::command::CommandId;
use crate::resp::{Args, OwnedArgs, Proto};

/// What a shard must know of a request besides its arguments.
#[derive(Clone, Copy, Debug)]
pub struct CallHead {
    /// The command.
    pub command: CommandId,
    /// The client's database.
    pub db: DbIndex,
    /// The protocol version of the reply.
    pub proto: Proto,
    /// The hash of the first key; meaningless where there is none.
    pub first_key: KeyHash,
    /// CLIENT NO-TOUCH: reads leave the keys' access time alone.
    pub no_touch: bool,
    /// Whether it comes from a journal and does again what was done: it does not see time go on.
    pub replays: bool,
}

/// A command with borrowed arguments.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Everything but the arguments.
    pub head: CallHead,
    /// The arguments, name first.
    pub args: Args<'a>,
}

/// A command that waits or travels, with arguments of its own.
#[derive(Clone, Debug)]
pub struct OwnedCall {
    /// Everything but the arguments.
    pub head: CallHead,
    /// The arguments, name first.
    pub args: OwnedArgs,
}

impl Call<'_> {
    /// A copy that owns its arguments.
    pub fn to_owned(&self) -> OwnedCall {
        OwnedCall { head: self.head, args: self.args.to_owned() }
    }
}

impl OwnedCall {
    /// A view of it.
    pub fn as_call(&self) -> Call<'_> {
        Call { head: self.head, args: self.args.as_args() }
    }
}
