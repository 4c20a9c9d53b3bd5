//! The gate: may this request run now? One guard after the other, in Redis's order (processCommand), each with its
//! error. A new restriction is a new guard here, never an `if` in a command.

use super::session::Session;
use crate::base::error::CommandError;
use crate::command::spec::{Flags, Run};
use crate::command::{CommandId, Spec, Table};
use crate::config::ProtectedAction;
use crate::resp::Args;

/// The state of the server that guards look at; every core has its copy.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// `maxmemory` is reached and nothing can be evicted.
    pub out_of_memory: bool,
    /// `enable-debug-command`.
    pub debug: ProtectedAction,
}

/// The command that a request names.
///
/// # Errors
/// There is no such command or subcommand; the text quotes the request as Redis does.
pub fn find(table: &Table, args: Args<'_>) -> Result<CommandId, CommandError> {
    let id = table.find(args.at(0)).ok_or_else(|| unknown_command(args))?;
    match table.spec(id).run {
        Run::Container => {
            let Some(sub) = args.get(1) else {
                return Err(CommandError::arity(table.spec(id).name));
            };
            table.find_sub(id, sub).ok_or_else(|| unknown_subcommand(args.at(0), sub))
        }
        Run::Shard(..) | Run::Session(_) | Run::Node(_) => Ok(id),
    }
}

/// Whether the session may run the command now.
///
/// # Errors
/// The first guard that refuses.
pub fn admit(spec: &Spec, args: Args<'_>, session: &Session, gate: &Gate) -> Result<(), CommandError> {
    if !spec.takes(args.len()) {
        return Err(CommandError::arity(spec.name));
    }
    // DEBUG is off unless the configuration says otherwise.
    protected(spec, session, gate)?;
    if !session.authenticated && !spec.flags.has(Flags::NO_AUTH) {
        return Err(CommandError::NO_AUTH);
    }
    if gate.out_of_memory && spec.flags.has(Flags::DENYOOM) {
        return Err(CommandError::OUT_OF_MEMORY);
    }
    Ok(())
}

fn protected(spec: &Spec, session: &Session, gate: &Gate) -> Result<(), CommandError> {
    if spec.name != "debug" {
        return Ok(());
    }
    if gate.debug.allows(session.peer.local) {
        return Ok(());
    }
    Err(CommandError::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
    ))
}

/// How much of an unknown command's arguments the error quotes (Redis: 128 bytes).
const QUOTED_BYTES_MAX: usize = 128;

fn unknown_command(args: Args<'_>) -> CommandError {
    let mut quoted = String::new();
    for arg in args.iter_from(1) {
        if quoted.len() >= QUOTED_BYTES_MAX {
            break;
        }
        quoted.push_str(&format!("'{}' ", printable(arg, QUOTED_BYTES_MAX - quoted.len())));
    }
    let name = printable(args.at(0), QUOTED_BYTES_MAX);
    CommandError::with(format!("ERR unknown command '{name}', with args beginning with: {quoted}"))
}

fn unknown_subcommand(container: &[u8], sub: &[u8]) -> CommandError {
    let container = printable(container, QUOTED_BYTES_MAX).to_uppercase();
    let sub = printable(sub, QUOTED_BYTES_MAX);
    CommandError::with(format!("ERR unknown subcommand '{sub}'. Try {container} HELP."))
}

/// The beginning of a client's bytes as text for an error.
fn printable(bytes: &[u8], len_max: usize) -> String {
    // What follows a zero byte is not shown: Redis prints with %s.
    let bytes = bytes.split(|&b| b == 0).next().unwrap_or(bytes);
    String::from_utf8_lossy(&bytes[..bytes.len().min(len_max)]).into_owned()
}
