//! Configuration: Redis 7.2's directives and our own, their files, the command line, and CONFIG GET, SET and REWRITE.
//!
//! # Map
//!
//! * `params`: THE table, a row per directive; `value`, `words`, `special`, `limits`, `places`, `cores`: what values
//!   there are.
//! * `line`: quoting; `load`: files, `include` and the command line into a [`Config`]; `cli`: the arguments of `main`;
//!   `tool`: those of its tools.
//! * `query`: CONFIG GET and CONFIG SET; `rewrite`: CONFIG REWRITE, which keeps the file's comments and order.
//!
//! Everything is a pure function: files come in through [`Outside`], CONFIG SET returns a new `Config` and leaves to
//! the caller to put it into force. Each layer gets the section that it needs by value.
//!
//! Invariant: loading what `Config::rewritten` wrote gives an equal `Config`.

use std::fmt;

mod cli;
mod cores;
mod limits;
mod line;
mod load;
mod params;
mod places;
mod query;
mod rewrite;
mod special;
mod tool;
mod value;
mod words;

pub use self::{
    cli::{parse_arguments, Command, Invocation},
    cores::Cores,
    limits::{ClientsMemory, OutputBufferLimit, OutputBufferLimits},
    line::{quoted, split, Line, Unbalanced},
    load::{load, LoadError, Loaded, Outside, Warning},
    params::{
        row, rows, Clients, Cluster, Effect, Encodings, Memory, Monitoring, Network, Persistence, Process,
        Replication, Row, Security, Threads, Tls,
    },
    places::{Addresses, Directory, PrimaryAddress, ReplicaOf},
    query::{set_failed, Asker},
    special::{KeyspaceEvents, OomScores, Percentiles, SavePoint, SavePoints, ShutdownOptions},
    tool::{MergeTool, SplitTool, Tool},
    value::Text,
    words::{
        AclPubsubDefault, ClusterEndpoint, DisklessLoad, Fsync, LogLevel, MaxmemoryPolicy, OomScoreAdj,
        PropagationError, ProtectedAction, SanitizeDump, Supervised, SyslogFacility, TlsAuthClients, Words,
    },
};

/// Every setting, by section. The fields are documented beside their directives, in `params`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Shards and the processors they run on.
    pub threads: Threads,
    /// How clients reach the server.
    pub network: Network,
    /// What one client, and all of them, may take.
    pub clients: Clients,
    /// The process as its host sees it.
    pub process: Process,
    /// Who may do what.
    pub security: Security,
    /// How much memory the data may take and what is done to keep to it.
    pub memory: Memory,
    /// What is written to disk and when.
    pub persistence: Persistence,
    /// Primaries and their replicas.
    pub replication: Replication,
    /// Up to which size a collection is kept in its compact encoding.
    pub encodings: Encodings,
    /// What the server tells about its work.
    pub monitoring: Monitoring,
    /// TLS.
    pub tls: Tls,
    /// Redis Cluster.
    pub cluster: Cluster,
    /// `rename-command` lines, in their order: each acts on the names that the ones before left.
    pub renamed_commands: Vec<RenamedCommand>,
    /// `user` lines: the user's name and rules. Whoever keeps users brings this up to date before a rewrite.
    pub users: Vec<Vec<Text>>,
    /// `loadmodule` lines: path and arguments. Nothing loads them.
    pub modules: Vec<Vec<Text>>,
}

/// One `rename-command` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenamedCommand {
    /// The name until now.
    pub from: Text,
    /// The new name; empty takes the command away.
    pub to: Text,
}

impl Config {
    /// The names of the directives whose values differ from those in `before`.
    pub fn changed_since(&self, before: &Config) -> Vec<&'static str> {
        rows().filter(|row| row.show(self) != row.show(before)).map(|row| row.name).collect()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("name", &self.name).field("effect", &self.effect).finish_non_exhaustive()
    }
}
