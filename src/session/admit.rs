//! The gate: may this request run now? One guard after the other, in Redis's order (processCommand), each with its
//! error. A new restriction is a new guard here, never an `if` in a command.

use super::session::{Session, SessionKind};
use crate::base::error::CommandError;
use crate::command::spec::{Flags, Run, SessionOp};
use crate::command::{help, CommandId, Spec, Table};
use crate::config::ProtectedAction;
use crate::resp::Args;

/// The state of the server that guards look at; every core has its copy.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// `maxmemory` is reached and nothing can be evicted.
    pub out_of_memory: bool,
    /// `enable-debug-command`.
    pub debug: ProtectedAction,
    /// The data set is not loaded yet.
    pub is_loading: bool,
    /// The last snapshot failed, and writes are to be refused for that.
    pub is_snapshot_failing: bool,
    /// The append-only file cannot be written: writes are refused.
    pub is_aof_failing: bool,
    /// This node is a replica, and its clients may not write.
    pub is_read_only_replica: bool,
    /// It is about to be one.
    pub is_draining: bool,
    /// It is one, what it has is out of date, and that is not to be shown (`replica-serve-stale-data no`).
    pub is_stale: bool,
    /// Too few replicas are near enough (`min-replicas-to-write`).
    pub lacks_replicas: bool,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            out_of_memory: false,
            debug: ProtectedAction::No,
            is_loading: false,
            is_snapshot_failing: false,
            is_aof_failing: false,
            is_read_only_replica: false,
            is_draining: false,
            is_stale: false,
            lacks_replicas: false,
        }
    }
}

/// The command that a request names.
///
/// # Errors
/// There is no such command or subcommand; the text quotes the request as Redis does.
pub fn find(table: &Table, args: Args<'_>) -> Result<CommandId, CommandError> {
    let id = table.find(args.at(0)).ok_or_else(|| help::unknown_command(args))?;
    let spec = table.spec(id);
    match args.get(1) {
        // COMMAND is one of its own and a container.
        Some(sub) if !spec.subcommands.is_empty() => {
            table.find_sub(id, sub).ok_or_else(|| help::unknown_subcommand(args))
        }
        None if matches!(spec.run, Run::Container) => Err(CommandError::arity(spec.name)),
        _ => Ok(id),
    }
}

/// Whether EXEC runs what else was queued although this is no command. CONFIG REWRITE is the only one: Sentinel puts it
/// into the transaction with which it promotes and reconfigures, and does not mind if it fails. Where CONFIG is renamed
/// away, Redis discards the whole transaction for it, so that nothing is ever failed over.
pub fn spares_transaction(args: Args<'_>) -> bool {
    args.len() == 2 && args.is(0, "config") && args.is(1, "rewrite")
}

/// Whether the session may run the command now. `flags` are its own, with those of what it runs (EXEC).
///
/// # Errors
/// The first guard that refuses.
pub fn admit(
    spec: &Spec,
    args: Args<'_>,
    flags: Flags,
    session: &Session,
    gate: &Gate,
) -> Result<(), CommandError> {
    if !spec.takes(args.len()) {
        return Err(CommandError::arity(spec.name));
    }
    if session.kind == SessionKind::Internal {
        return Ok(());
    }
    // DEBUG is off unless the configuration says otherwise.
    protected(spec, session, gate)?;
    if !session.authenticated && !spec.flags.has(Flags::NO_AUTH) {
        return Err(CommandError::NO_AUTH);
    }
    if gate.out_of_memory && spec.flags.has(Flags::DENYOOM) {
        return Err(CommandError::OUT_OF_MEMORY);
    }
    // Redis lets PING fail, too, so that whoever watches the server notices.
    if gate.is_aof_failing || gate.is_snapshot_failing {
        let is_ping = matches!(spec.run, Run::Session(SessionOp::Ping));
        if flags.has(Flags::WRITE) || is_ping {
            return Err(if gate.is_snapshot_failing { SNAPSHOT_FAILING } else { AOF_FAILING });
        }
    }
    if flags.has(Flags::WRITE) {
        if gate.lacks_replicas {
            return Err(NO_REPLICAS);
        }
        if gate.is_read_only_replica {
            return Err(READ_ONLY);
        }
    }
    if session.only_listens() && !is_for_listeners(spec) {
        let name = spec.name;
        return Err(CommandError::with(format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        )));
    }
    if gate.is_stale && !spec.flags.has(Flags::STALE) {
        return Err(MASTER_DOWN);
    }
    if gate.is_loading && !spec.flags.has(Flags::LOADING) {
        return Err(CommandError::LOADING);
    }
    Ok(())
}

const NO_REPLICAS: CommandError = CommandError::new("NOREPLICAS Not enough good replicas to write.");

const READ_ONLY: CommandError = CommandError::new("READONLY You can't write against a read only replica.");

const MASTER_DOWN: CommandError =
    CommandError::new("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
/// What a client may run that has a subscription and speaks RESP2.
fn is_for_listeners(spec: &Spec) -> bool {
    use SessionOp::{
        Ping, Psubscribe, Punsubscribe, Quit, Reset, Ssubscribe, Subscribe, Sunsubscribe, Unsubscribe,
    };
    matches!(
        spec.run,
        Run::Session(
            Ping | Psubscribe
                | Punsubscribe
                | Quit
                | Reset
                | Ssubscribe
                | Subscribe
                | Sunsubscribe
                | Unsubscribe
        )
    )
}

const SNAPSHOT_FAILING: CommandError = CommandError::new(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may \
     modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
     snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
     error.",
);

/// What stands behind it are the system's words, which the host knows.
pub const AOF_FAILING: CommandError = CommandError::new("MISCONF Errors writing to the AOF file: ");

fn protected(spec: &Spec, session: &Session, gate: &Gate) -> Result<(), CommandError> {
    if !spec.flags.has(Flags::PROTECTED) || gate.debug.allows(session.peer.local) {
        return Ok(());
    }
    Err(CommandError::new(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from \
         a local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
    ))
}
