//! The server commands: rows only. They are about the table of commands, which the session knows, or about the whole
//! process, which the node answers for.

use super::spec::{Categories, Doc, Flags, Group, KeySpec, NodeOp, Run, SessionOp, Spec};

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row(
        "bgrewriteaof",
        1,
        Run::Node(NodeOp::Bgrewriteaof),
        "1.0.0",
        "O(1)",
        "Rewrites the append-only file in the background.",
        "",
    )
    .flags(SAVING),
    row(
        "bgsave",
        -1,
        Run::Node(NodeOp::Bgsave),
        "1.0.0",
        "O(1)",
        "Saves the data set in the background.",
        "[SCHEDULE]",
    )
    .flags(SAVING),
    row(
        "command",
        -1,
        Run::Session(SessionOp::Command),
        "2.8.13",
        "O(N) where N is the total number of Redis commands",
        "Describes all commands.",
        "",
    )
    .flags(READY)
    .categories(Categories::CONNECTION)
    .tips(&["nondeterministic_output_order"])
    .subcommands(COMMAND),
    container("config", "2.0.0", "Commands about the configuration.", CONFIG),
    row(
        "debug",
        -2,
        Run::Node(NodeOp::Debug),
        "1.0.0",
        "Depends on subcommand.",
        "Tools for testing the server.",
        "",
    )
    .flags(ADMIN.with(Flags::PROTECTED).with(Flags::SYSCMD)),
    row(
        "failover",
        -1,
        Run::Node(NodeOp::Failover),
        "6.2.0",
        "O(1)",
        "Changes places with a replica, once that has everything.",
        "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
    )
    .flags(FAILOVER),
    row(
        "info",
        -1,
        Run::Node(NodeOp::Info),
        "1.0.0",
        "O(1)",
        "Reports the server's state and counters.",
        "[section [section ...]]",
    )
    .flags(READY)
    .categories(Categories::DANGEROUS)
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    row(
        "lastsave",
        1,
        Run::Node(NodeOp::Lastsave),
        "1.0.0",
        "O(1)",
        "Tells when the data set was last saved, in seconds since the epoch.",
        "",
    )
    .flags(READY.with(Flags::FAST))
    .categories(Categories::ADMIN.with(Categories::DANGEROUS))
    .tips(&["nondeterministic_output"]),
    container("latency", "2.8.13", "Commands about slow events and latencies.", LATENCY),
    row("lolwut", -1, Run::Session(SessionOp::Lolwut), "5.0.0", "", "Draws and tells the version.", "[VERSION version]")
        .flags(Flags::READONLY.with(Flags::FAST)),
    container("memory", "4.0.0", "Commands about the use of memory.", MEMORY),
    container("module", "4.0.0", "Commands about modules.", MODULE),
    row("monitor", 1, Run::Node(NodeOp::Monitor), "1.0.0", "", "Streams every request that the server gets.", "")
        .flags(ADMIN),
    row(
        "psync",
        -3,
        Run::Session(SessionOp::Psync),
        "2.8.0",
        "",
        "What a replica asks its primary for: what it has missed, or all data.",
        "replicationid offset",
    )
    .flags(SAVING.with(Flags::NO_MULTI)),
    row("replconf", -1, Run::Session(SessionOp::Replconf), "3.0.0", "O(1)", "What a replica says of itself.", "")
        .flags(ADMIN.with(READY).with(Flags::ALLOW_BUSY)),
    row(
        "replicaof",
        3,
        Run::Node(NodeOp::Replicaof),
        "5.0.0",
        "O(1)",
        "Makes the server a replica of another, or a primary.",
        "<host port | NO ONE>",
    )
    .flags(REPLICAOF),
    row("role", 1, Run::Node(NodeOp::Role), "2.8.12", "O(1)", "Tells the server's part in replication.", "")
        .flags(READY.with(Flags::NOSCRIPT).with(Flags::FAST))
        .categories(Categories::ADMIN.with(Categories::DANGEROUS)),
    row(
        "save",
        1,
        Run::Node(NodeOp::Save),
        "1.0.0",
        "O(N) where N is the total number of keys in all databases",
        "Saves the data set, and answers when it is on the disk.",
        "",
    )
    .flags(SAVING.with(Flags::NO_MULTI)),
    row(
        "shutdown",
        -1,
        Run::Node(NodeOp::Shutdown),
        "1.0.0",
        "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        "Saves the data if it is configured to, and ends the server.",
        "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
    )
    .flags(ADMIN.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY)),
    row(
        "slaveof",
        3,
        Run::Node(NodeOp::Replicaof),
        "1.0.0",
        "O(1)",
        "Makes the server a replica of another, or a primary.",
        "<host port | NO ONE>",
    )
    .flags(REPLICAOF)
    .deprecated("5.0.0", "`REPLICAOF`"),
    container("slowlog", "2.2.12", "Commands about the slow log.", SLOWLOG),
    row("sync", 1, Run::Session(SessionOp::Psync), "1.0.0", "", "What a replica asks its primary for: all data.", "")
        .flags(SAVING.with(Flags::NO_MULTI)),
    row("time", 1, Run::Session(SessionOp::Time), "2.6.0", "O(1)", "Tells the server's time.", "")
        .flags(READY.with(Flags::FAST))
        .tips(&["nondeterministic_output"]),
];

/// FAILOVER's flags.
const FAILOVER: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE);

/// What changes the server's part in replication.
const REPLICAOF: Flags = SAVING.with(Flags::STALE);

static COMMAND: &[Spec] = &[
    command("command|count", 2, SessionOp::CommandCount, "2.8.13", "O(1)", "Counts the commands.", ""),
    command(
        "command|docs",
        -2,
        SessionOp::CommandDocs,
        "7.0.0",
        "O(N) where N is the number of commands to look up",
        "Documents some commands, or all.",
        "[command-name [command-name ...]]",
    )
    .tips(&["nondeterministic_output_order"]),
    command(
        "command|getkeys",
        -3,
        SessionOp::CommandGetkeys,
        "2.8.13",
        "O(N) where N is the number of arguments to the command",
        "Tells which arguments of a request are keys.",
        "command [arg [arg ...]]",
    ),
    command(
        "command|getkeysandflags",
        -3,
        SessionOp::CommandGetkeysandflags,
        "7.0.0",
        "O(N) where N is the number of arguments to the command",
        "Tells which arguments of a request are keys, and what is done with each.",
        "command [arg [arg ...]]",
    ),
    command("command|help", 2, SessionOp::CommandHelp, "5.0.0", "O(1)", "Lists the subcommands.", ""),
    command(
        "command|info",
        -2,
        SessionOp::CommandInfo,
        "2.8.13",
        "O(N) where N is the number of commands to look up",
        "Describes some commands, or all.",
        "[command-name [command-name ...]]",
    )
    .tips(&["nondeterministic_output_order"]),
    command(
        "command|list",
        -2,
        SessionOp::CommandList,
        "7.0.0",
        "O(N) where N is the total number of Redis commands",
        "Lists the names of commands.",
        "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
    )
    .tips(&["nondeterministic_output_order"]),
];

static CONFIG: &[Spec] = &[
    node(
        "config|get",
        -3,
        NodeOp::ConfigGet,
        "2.0.0",
        "O(N) when N is the number of configuration parameters provided",
        "Reads configuration parameters.",
        "parameter [parameter ...]",
    ),
    help("config|help", NodeOp::ConfigHelp, "5.0.0"),
    node(
        "config|resetstat",
        2,
        NodeOp::ConfigResetstat,
        "2.0.0",
        "O(1)",
        "Sets the server's counters to zero.",
        "",
    )
    .tips(TO_ALL_NODES),
    node(
        "config|rewrite",
        2,
        NodeOp::ConfigRewrite,
        "2.8.0",
        "O(1)",
        "Writes the configuration in effect to its file.",
        "",
    )
    .tips(TO_ALL_NODES),
    node(
        "config|set",
        -4,
        NodeOp::ConfigSet,
        "2.0.0",
        "O(N) when N is the number of configuration parameters provided",
        "Changes configuration parameters.",
        "parameter value [parameter value ...]",
    )
    .tips(TO_ALL_NODES),
];

static LATENCY: &[Spec] = &[
    node("latency|doctor", 2, NodeOp::LatencyDoctor, "2.8.13", "O(1)", "Explains the slow events seen.", "")
        .tips(FROM_ALL_NODES),
    node("latency|graph", 3, NodeOp::LatencyGraph, "2.8.13", "O(1)", "Draws an event's latencies.", "event")
        .tips(FROM_ALL_NODES),
    help("latency|help", NodeOp::LatencyHelp, "2.8.13"),
    node(
        "latency|histogram",
        -2,
        NodeOp::LatencyHistogram,
        "7.0.0",
        "O(N) where N is the number of commands with latency information being retrieved.",
        "Tells how the latencies of commands are distributed.",
        "[command [command ...]]",
    )
    .tips(FROM_ALL_NODES),
    node(
        "latency|history",
        3,
        NodeOp::LatencyHistory,
        "2.8.13",
        "O(1)",
        "Lists an event's samples.",
        "event",
    )
    .tips(FROM_ALL_NODES),
    node(
        "latency|latest",
        2,
        NodeOp::LatencyLatest,
        "2.8.13",
        "O(1)",
        "Lists the last sample of every event.",
        "",
    )
    .tips(FROM_ALL_NODES),
    node(
        "latency|reset",
        -2,
        NodeOp::LatencyReset,
        "2.8.13",
        "O(1)",
        "Forgets the samples.",
        "[event [event ...]]",
    )
    .tips(&["request_policy:all_nodes", "response_policy:agg_sum"]),
];

static MEMORY: &[Spec] = &[
    row(
        "memory|doctor",
        2,
        Run::Node(NodeOp::MemoryDoctor),
        "4.0.0",
        "O(1)",
        "Explains problems of memory.",
        "",
    )
    .tips(FROM_ALL_SHARDS),
    help("memory|help", NodeOp::MemoryHelp, "4.0.0"),
    row(
        "memory|malloc-stats",
        2,
        Run::Node(NodeOp::MemoryMallocStats),
        "4.0.0",
        "Depends on how much memory is allocated, could be slow",
        "Shows the allocator's own report.",
        "",
    )
    .tips(FROM_ALL_SHARDS),
    row(
        "memory|purge",
        2,
        Run::Node(NodeOp::MemoryPurge),
        "4.0.0",
        "Depends on how much memory is allocated, could be slow",
        "Asks the allocator to give memory back.",
        "",
    )
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    row("memory|stats", 2, Run::Node(NodeOp::MemoryStats), "4.0.0", "O(1)", "Tells what uses memory.", "")
        .tips(FROM_ALL_SHARDS),
    row(
        "memory|usage",
        -3,
        Run::Node(NodeOp::MemoryUsage),
        "4.0.0",
        "O(N) where N is the number of samples.",
        "Estimates the memory that a key uses.",
        "key [SAMPLES count]",
    )
    .flags(Flags::READONLY)
    .keys(&[KeySpec::one(2, &["RO"])]),
];

static MODULE: &[Spec] = &[
    help("module|help", NodeOp::ModuleHelp, "5.0.0"),
    row(
        "module|list",
        2,
        Run::Node(NodeOp::ModuleList),
        "4.0.0",
        "O(N) where N is the number of loaded modules.",
        "Lists the modules.",
        "",
    )
    .flags(Flags::ADMIN.with(Flags::NOSCRIPT))
    .tips(&["nondeterministic_output_order"]),
];

static SLOWLOG: &[Spec] = &[
    row(
        "slowlog|get",
        -2,
        Run::Node(NodeOp::SlowlogGet),
        "2.2.12",
        "O(N) where N is the number of entries returned",
        "Lists the last slow commands.",
        "[count]",
    )
    .flags(READY.with(Flags::ADMIN))
    .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    help("slowlog|help", NodeOp::SlowlogHelp, "6.2.0"),
    row(
        "slowlog|len",
        2,
        Run::Node(NodeOp::SlowlogLen),
        "2.2.12",
        "O(1)",
        "Counts the entries of the slow log.",
        "",
    )
    .flags(READY.with(Flags::ADMIN))
    .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    row(
        "slowlog|reset",
        2,
        Run::Node(NodeOp::SlowlogReset),
        "2.2.12",
        "O(N) where N is the number of entries in the slowlog",
        "Empties the slow log.",
        "",
    )
    .flags(READY.with(Flags::ADMIN))
    .tips(TO_ALL_NODES),
];

/// Works also while the data are loaded or stale.
const READY: Flags = Flags::LOADING.with(Flags::STALE);

/// For administrators, at any time, not from scripts.
const ADMIN: Flags = READY.with(Flags::ADMIN).with(Flags::NOSCRIPT);

/// What writes the data set to disk: not while it is being loaded.
const SAVING: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING);

const TO_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const FROM_ALL_NODES: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];
const FROM_ALL_SHARDS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const fn row(
    name: &'static str,
    arity: i8,
    run: Run,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    Spec::new(name, arity, run, Doc { summary, since, group: Group::Server, complexity, syntax })
}

const fn container(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    subcommands: &'static [Spec],
) -> Spec {
    row(name, -2, Run::Container, since, "Depends on subcommand.", summary, "").subcommands(subcommands)
}

const fn command(
    name: &'static str,
    arity: i8,
    op: SessionOp,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    row(name, arity, Run::Session(op), since, complexity, summary, syntax)
        .flags(READY)
        .categories(Categories::CONNECTION)
}

const fn node(
    name: &'static str,
    arity: i8,
    op: NodeOp,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    row(name, arity, Run::Node(op), since, complexity, summary, syntax).flags(ADMIN)
}

const fn help(name: &'static str, op: NodeOp, since: &'static str) -> Spec {
    row(name, 2, Run::Node(op), since, "O(1)", "Lists the subcommands.", "").flags(READY)
}
