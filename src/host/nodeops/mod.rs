//! Commands on the whole node: each looks at its arguments here and asks the cores; `answers` makes the reply.

mod answers;
mod debug;

use super::batch::Flow;
use super::cron::Pause;
use super::host::{Effect, Host};
use super::query::{Purpose, Query, SaveQuery, ShutdownOrder};
use super::replication::parse_failover;
use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;
use crate::base::time::{MonoUs, Ticks};
use crate::command::spec::{NodeOp, Run};
use crate::command::{help, CommandId};
use crate::config::Asker;
use crate::node::info::Sections;
use crate::node::pubsub::Kind;
use crate::node::save::Request;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::session::clients::{KillFilter, ListFilter};
use crate::session::{State, Wait};
use crate::shard::waiters::End;
use crate::shard::{Call, CallHead};

impl<T: Ticks> Host<T> {
    /// Runs a command on the whole node. The session has no reply outstanding.
    pub(super) fn node_command(
        &mut self,
        index: u32,
        command: CommandId,
        op: NodeOp,
        args: Args<'_>,
    ) -> Flow {
        match self.try_node_command(index, op, args) {
            Ok(flow) => flow,
            Err(error) => self.fail(index, command, &error),
        }
    }

    fn try_node_command(&mut self, index: u32, op: NodeOp, args: Args<'_>) -> Result<Flow, CommandError> {
        let purpose_and_query = match op {
            NodeOp::ClientList => {
                let filter = ListFilter::parse(args)?;
                (Purpose::ClientList(filter.ids.clone()), Query::Clients(filter))
            }
            NodeOp::ClientKill => {
                let asker = self.session(index).map_or(0, |session| session.id.0);
                let filter = KillFilter::parse(args, asker)?;
                (Purpose::ClientKill { is_old_form: filter.is_old_form }, Query::Kill(filter))
            }
            NodeOp::ClientPause => (Purpose::Ok, Query::Pause(self.parse_pause(args)?)),
            NodeOp::ClientUnpause => (Purpose::Ok, Query::Unpause),
            NodeOp::ClientUnblock => return self.unblock(index, args),
            NodeOp::ConfigGet => {
                let patterns: Vec<&[u8]> = args.iter_from(2).collect();
                let found = self.config.get(&patterns);
                self.reply(index, |reply| {
                    reply.map(found.len());
                    for (name, value) in found {
                        reply.bulk(name.as_bytes());
                        reply.bulk(&value);
                    }
                });
                return Ok(Flow::Next);
            }
            NodeOp::ConfigSet => return self.config_set(index, args),
            NodeOp::ConfigResetstat => (Purpose::Ok, Query::ResetStats),
            NodeOp::ConfigRewrite => return self.config_rewrite(index),
            NodeOp::Debug => return self.debug(index, args),
            NodeOp::Info => (Purpose::Info(Sections::parse(args)), Query::Report),
            NodeOp::LatencyDoctor => (Purpose::LatencyDoctor, Query::Latency),
            NodeOp::LatencyGraph => (Purpose::LatencyGraph(args.at(2).to_vec()), Query::Latency),
            NodeOp::LatencyHistogram => (Purpose::LatencyHistogram(args.to_owned()), Query::Report),
            NodeOp::LatencyHistory => (Purpose::LatencyHistory(args.at(2).to_vec()), Query::Latency),
            NodeOp::LatencyLatest => (Purpose::LatencyLatest, Query::Latency),
            NodeOp::LatencyReset => {
                (Purpose::LatencyReset(args.to_owned()), Query::ResetLatency(args.to_owned()))
            }
            NodeOp::MemoryDoctor => (Purpose::MemoryDoctor, Query::Report),
            NodeOp::MemoryStats => (Purpose::MemoryStats, Query::Report),
            NodeOp::MemoryUsage => return Ok(self.ask_shards(index, &of_shards("_memory_usage", args))),
            NodeOp::SlowlogGet => (Purpose::SlowlogGet(args.to_owned()), Query::Slowlog),
            NodeOp::SlowlogLen => (Purpose::SlowlogLen, Query::Slowlog),
            NodeOp::SlowlogReset => (Purpose::Ok, Query::ResetSlowlog),
            NodeOp::Monitor => {
                if self.session(index).is_some_and(|session| !session.monitor) {
                    self.add_monitor(index);
                    self.reply_ok(index);
                }
                return Ok(Flow::Next);
            }
            NodeOp::Role => (Purpose::Role, Query::Report),
            NodeOp::Replicaof => {
                let order = Self::parse_replicaof(args.at(1), args.at(2))?;
                return Ok(self.ask_replicaof(index, order));
            }
            NodeOp::Failover => return Ok(self.ask_failover(index, parse_failover(args)?)),
            NodeOp::PubsubChannels => names(Kind::Channel, args)?,
            NodeOp::PubsubShardchannels => names(Kind::Shard, args)?,
            NodeOp::PubsubNumsub => subscribers(Kind::Channel, args),
            NodeOp::PubsubShardnumsub => subscribers(Kind::Shard, args),
            NodeOp::PubsubNumpat => (Purpose::Sum, Query::CountNames(Kind::Pattern)),
            NodeOp::Shutdown => return self.shutdown(index, args),
            NodeOp::Save => return Ok(self.ask_conductor(index, SaveQuery::Request(Request::Save))),
            NodeOp::Bgsave => {
                let schedule = match args.len() {
                    1 => false,
                    2 if args.is(1, "schedule") => true,
                    _ => return Err(CommandError::SYNTAX),
                };
                let request = Request::BackgroundSave { schedule };
                return Ok(self.ask_conductor(index, SaveQuery::Request(request)));
            }
            NodeOp::Bgrewriteaof => {
                return Ok(self.ask_conductor(index, SaveQuery::Request(Request::Rewrite)))
            }
            NodeOp::Lastsave => return Ok(self.ask_conductor(index, SaveQuery::LastSave)),
            NodeOp::ConfigHelp
            | NodeOp::LatencyHelp
            | NodeOp::MemoryHelp
            | NodeOp::ModuleHelp
            | NodeOp::SlowlogHelp
            | NodeOp::MemoryMallocStats
            | NodeOp::MemoryPurge
            | NodeOp::ModuleList => {
                self.reply(index, |reply| write_constant(op, args, reply));
                return Ok(Flow::Next);
            }
        };
        let (purpose, query) = purpose_and_query;
        Ok(self.ask_all(index, purpose, query))
    }

    /// Runs one of the shards' internal commands in place of the client's; its reply is the client's.
    fn ask_shards(&mut self, index: u32, args: &OwnedArgs) -> Flow {
        let command = self.internal_command(args);
        let spec = self.table.spec(command);
        let Run::Shard(_, spread) = spec.run else { unreachable!("{} is a command of shards", spec.name) };
        self.data_command(index, command, spec, spread, args.as_args())
    }

    /// The shards' command that these words name.
    pub(super) fn internal_command(&self, args: &OwnedArgs) -> CommandId {
        let name = std::str::from_utf8(args.as_args().at(0));
        self.table.internal(name.unwrap_or_default())
    }

    /// Runs one on every shard, in one transaction: in place of a client's request, or in a session of the server's.
    pub(in crate::host) fn ask_every_shard(&mut self, index: u32, args: &OwnedArgs) -> Flow {
        let command = self.internal_command(args);
        let spec = self.table.spec(command);
        let Run::Shard(_, spread) = spec.run else { unreachable!("{} is a command of shards", spec.name) };
        let Some(session) = self.session(index) else { return Flow::Next };
        let head = CallHead {
            command,
            db: session.db,
            proto: session.proto,
            first_key: Default::default(),
            no_touch: true,
            replays: false,
        };
        self.start_txn(index, spec, spread, Call { head, args: args.as_args() })
    }

    fn parse_pause(&self, args: Args<'_>) -> Result<Pause, CommandError> {
        let writes_only = match args.len() {
            3 => false,
            4 if args.is(3, "write") => true,
            4 if args.is(3, "all") => false,
            4 => return Err(CommandError::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
            _ => return Err(help::subcommand_syntax(args)),
        };
        let timeout_ms = parse_i64(args.at(2))
            .ok_or(CommandError::new("ERR timeout is not an integer or out of range"))?;
        let timeout_ms =
            u64::try_from(timeout_ms).map_err(|_| CommandError::new("ERR timeout is negative"))?;
        if timeout_ms > i64::MAX as u64 - self.now.unix_ms().0.max(0) as u64 {
            return Err(CommandError::new("ERR timeout is out of range"));
        }
        let until = self.now.mono.0.saturating_add(timeout_ms.saturating_mul(1000));
        Ok(Pause { until: MonoUs(until), writes_only })
    }

    fn unblock(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        let end = match args.len() {
            3 => End::Timeout,
            4 if args.is(3, "timeout") => End::Timeout,
            4 if args.is(3, "error") => End::Error,
            4 => return Err(CommandError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
            _ => return Err(help::subcommand_syntax(args)),
        };
        let id = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
        // No client has a negative number.
        let query = Query::Unblock(u64::try_from(id).unwrap_or(0), end);
        // Which core has it nobody knows: connections move.
        Ok(self.ask_all(index, Purpose::ClientUnblock, query))
    }

    fn config_set(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        if args.len() % 2 != 0 {
            return Err(CommandError::SYNTAX);
        }
        let names = args.iter_from(2).step_by(2);
        let values = args.iter_from(3).step_by(2);
        let pairs = names.zip(values).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let is_local = self.session(index).is_some_and(|session| session.peer.local);
        let asker = Asker { is_local, is_loading: false };
        Ok(self.ask_configurator(index, Query::SetConfig { pairs, asker }))
    }

    fn config_rewrite(&mut self, index: u32) -> Result<Flow, CommandError> {
        if self.process.config_file.is_empty() {
            return Err(CommandError::new("ERR The server is running without a config file"));
        }
        if let Some(session) = self.session(index) {
            session.state = State::Waiting(Wait::Cores);
            session.under_way += 1;
            self.effects.push(Effect::Rewrite { session: index });
        }
        Ok(Flow::Stop)
    }

    /// The runtime has written the configuration file as `Effect::Rewrite` told it to, or could not.
    pub fn rewritten(&mut self, index: u32, outcome: Result<(), String>) {
        self.end_wait(index, |reply| match outcome {
            Ok(()) => reply.ok(),
            Err(reason) => reply.error(format!("ERR Rewriting config file: {reason}")),
        });
    }

    /// The client gets no answer unless the server cannot stop: its connection ends with the process.
    fn shutdown(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        let mut order = ShutdownOrder::default();
        for option in args.iter_from(1) {
            match option.to_ascii_lowercase().as_slice() {
                b"save" => order.save = true,
                b"nosave" => order.nosave = true,
                b"now" => order.now = true,
                b"force" => order.force = true,
                b"abort" => order.abort = true,
                _ => return Err(CommandError::SYNTAX),
            }
        }
        let others = order.save || order.nosave || order.force || order.now;
        if order.save && order.nosave || order.abort && others {
            return Err(CommandError::SYNTAX);
        }
        Ok(self.ask_conductor(index, SaveQuery::Shutdown(order)))
    }
}

/// The command of the shards that answers one on the whole node, if that concerns keys alone. In EXEC it runs in its
/// turn, with the others on keys.
pub(super) fn answered_by_shards(run: Run, args: Args<'_>) -> Option<OwnedArgs> {
    match run {
        Run::Node(NodeOp::MemoryUsage) => Some(of_shards("_memory_usage", args)),
        Run::Node(NodeOp::Debug) => debug::answered_by_shards(args),
        _ => None,
    }
}

/// The shards' command of this name, with the arguments behind the subcommand.
fn of_shards(name: &str, args: Args<'_>) -> OwnedArgs {
    OwnedArgs::collect(std::iter::once(name.as_bytes()).chain(args.iter_from(2)))
}

/// What is the same whatever the state of the node.
fn write_constant(op: NodeOp, args: Args<'_>, reply: &mut Reply<'_>) {
    match op {
        NodeOp::ConfigHelp => help::write_help(args, help::CONFIG, reply),
        NodeOp::LatencyHelp => help::write_help(args, help::LATENCY, reply),
        NodeOp::MemoryHelp => help::write_help(args, help::MEMORY, reply),
        NodeOp::ModuleHelp => help::write_help(args, help::MODULE, reply),
        NodeOp::SlowlogHelp => help::write_help(args, help::SLOWLOG, reply),
        NodeOp::MemoryMallocStats => reply.bulk(b"Stats not supported for the current allocator"),
        NodeOp::ModuleList => reply.array(0),
        _ => reply.ok(),
    }
}

/// PUBSUB CHANNELS and SHARDCHANNELS.
fn names(kind: Kind, args: Args<'_>) -> Result<(Purpose, Query), CommandError> {
    if args.len() > 3 {
        return Err(help::subcommand_syntax(args));
    }
    Ok((Purpose::Names, Query::Names(kind, args.get(2).map(<[u8]>::to_vec))))
}

/// PUBSUB NUMSUB and SHARDNUMSUB.
fn subscribers(kind: Kind, args: Args<'_>) -> (Purpose, Query) {
    (Purpose::Subscribers(args.to_owned()), Query::Subscribers(kind, args.to_owned()))
}

/// The database of this number.
fn database(text: &[u8], databases: u32) -> Result<DbIndex, CommandError> {
    let number = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
    u16::try_from(number)
        .ok()
        .filter(|&db| u32::from(db) < databases)
        .map(DbIndex)
        .ok_or(CommandError::new("ERR Out of range database"))
}
