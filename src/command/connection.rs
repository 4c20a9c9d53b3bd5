//! The connection commands: rows only. The session runs most of them, since they are about its own state; what concerns
//! other clients, the node.

use super::spec::{Categories, Doc, Flags, Group, NodeOp, Run, SessionOp, Spec};

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    session(
        "auth",
        -2,
        SessionOp::Auth,
        "1.0.0",
        "O(N) where N is the number of passwords defined for the user",
        "Proves who the client is.",
        "[username] password",
    )
    .flags(HANDSHAKE),
    Spec::new(
        "client",
        -2,
        Run::Container,
        doc("2.4.0", "Depends on subcommand.", "Commands about client connections.", ""),
    )
    .subcommands(CLIENT),
    session("echo", 2, SessionOp::Echo, "1.0.0", "O(1)", "Sends the message back.", "message")
        .flags(READY.with(Flags::FAST)),
    session(
        "hello",
        -1,
        SessionOp::Hello,
        "6.0.0",
        "O(1)",
        "Opens the conversation: protocol version, authentication, name.",
        "[protover [AUTH username password] [SETNAME clientname]]",
    )
    .flags(HANDSHAKE),
    session("ping", -1, SessionOp::Ping, "1.0.0", "O(1)", "Tells that the server is alive.", "[message]")
        .flags(Flags::FAST)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    session("quit", -1, SessionOp::Quit, "1.0.0", "O(1)", "Closes the connection.", "")
        .flags(HANDSHAKE)
        .deprecated("7.2.0", "just closing the connection"),
    session(
        "reset",
        1,
        SessionOp::Reset,
        "6.2.0",
        "O(1)",
        "Puts the connection back to its first state.",
        "",
    )
    .flags(HANDSHAKE),
    session("select", 2, SessionOp::Select, "1.0.0", "O(1)", "Changes the connection's database.", "index")
        .flags(READY.with(Flags::FAST)),
    wait(
        "wait",
        3,
        SessionOp::Wait,
        "3.0.0",
        "Waits until so many replicas have what was written before.",
        "numreplicas timeout",
    ),
    wait(
        "waitaof",
        4,
        SessionOp::Waitaof,
        "7.2.0",
        "Waits until what was written before is in the append-only files of the server and of replicas.",
        "numlocal numreplicas timeout",
    )
    .flags(Flags::NOSCRIPT),
    wait(
        "waitfor",
        3,
        SessionOp::Waitfor,
        OWN_SINCE,
        "Waits on a replica until what a token names can be read there, or the timeout in milliseconds is over.",
        "token timeout",
    )
    .tips(&[])
    .flags(Flags::NOSCRIPT.with(READY)),
    wait(
        "waittoken",
        1,
        SessionOp::Waittoken,
        OWN_SINCE,
        "Returns a token of what was written before, for WAITFOR on a replica.",
        "",
    )
    .tips(&["nondeterministic_output"])
    .flags(Flags::NOSCRIPT),
];

static CLIENT: &[Spec] = &[
    session(
        "client|caching",
        3,
        SessionOp::ClientCaching,
        "6.0.0",
        "O(1)",
        "Says whether the keys of the next command are tracked.",
        "<YES | NO>",
    )
    .flags(OWN),
    session("client|getname", 2, SessionOp::ClientGetname, "2.6.9", "O(1)", "Tells the connection's name.", "")
        .flags(OWN),
    session(
        "client|getredir",
        2,
        SessionOp::ClientGetredir,
        "6.0.0",
        "O(1)",
        "Tells which client gets the invalidations of this one.",
        "",
    )
    .flags(OWN),
    session("client|help", 2, SessionOp::ClientHelp, "5.0.0", "O(1)", "Lists the subcommands.", "").flags(READY),
    session("client|id", 2, SessionOp::ClientId, "5.0.0", "O(1)", "Tells the connection's unique number.", "")
        .flags(OWN),
    session("client|info", 2, SessionOp::ClientInfo, "6.2.0", "O(1)", "Describes this connection.", "")
        .flags(OWN)
        .tips(&["nondeterministic_output"]),
    node(
        "client|kill",
        -3,
        NodeOp::ClientKill,
        "2.4.0",
        "O(N) where N is the number of client connections",
        "Closes the connections of other clients.",
        "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | \
         [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>]> ...>",
    ),
    node(
        "client|list",
        -2,
        NodeOp::ClientList,
        "2.4.0",
        "O(N) where N is the number of client connections",
        "Describes the open connections.",
        "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
    )
    .tips(&["nondeterministic_output"]),
    session(
        "client|no-evict",
        3,
        SessionOp::ClientNoEvict,
        "7.0.0",
        "O(1)",
        "Keeps the connection when clients use too much memory.",
        "<ON | OFF>",
    )
    .flags(OWN.with(Flags::ADMIN)),
    session(
        "client|no-touch",
        3,
        SessionOp::ClientNoTouch,
        "7.2.0",
        "O(1)",
        "Says whether the connection's reads count as use of the keys.",
        "<ON | OFF>",
    )
    .flags(OWN),
    node(
        "client|pause",
        -3,
        NodeOp::ClientPause,
        "3.0.0",
        "O(1)",
        "Holds the commands of all clients back for a while.",
        "timeout [WRITE | ALL]",
    ),
    session(
        "client|reply",
        3,
        SessionOp::ClientReply,
        "3.2.0",
        "O(1)",
        "Says whether the connection gets replies.",
        "<ON | OFF | SKIP>",
    )
    .flags(OWN),
    session(
        "client|setinfo",
        4,
        SessionOp::ClientSetinfo,
        "7.2.0",
        "O(1)",
        "Tells the server the client library's name or version.",
        "<LIB-NAME libname | LIB-VER libver>",
    )
    .flags(OWN)
    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    session(
        "client|setname",
        3,
        SessionOp::ClientSetname,
        "2.6.9",
        "O(1)",
        "Names the connection.",
        "connection-name",
    )
    .flags(OWN)
    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    session(
        "client|tracking",
        -3,
        SessionOp::ClientTracking,
        "6.0.0",
        "O(1). Some options may introduce additional complexity.",
        "Switches invalidation messages for client-side caches on or off.",
        "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
    )
    .flags(OWN),
    session(
        "client|trackinginfo",
        2,
        SessionOp::ClientTrackinginfo,
        "6.2.0",
        "O(1)",
        "Tells how the connection's reads are tracked.",
        "",
    )
    .flags(OWN),
    node(
        "client|unblock",
        -3,
        NodeOp::ClientUnblock,
        "5.0.0",
        "O(log N) where N is the number of client connections",
        "Ends another client's wait in a blocking command.",
        "client-id [TIMEOUT | ERROR]",
    ),
    node(
        "client|unpause",
        2,
        NodeOp::ClientUnpause,
        "6.2.0",
        "O(N) Where N is the number of paused clients",
        "Ends CLIENT PAUSE.",
        "",
    ),
];

/// The version of Ringward, not of Redis, that the commands came with which Redis does not have.
const OWN_SINCE: &str = "0.1.0";

/// Works also while the data are loaded or stale.
const READY: Flags = Flags::LOADING.with(Flags::STALE);

/// About the state of the connection, which a script does not have.
const OWN: Flags = READY.with(Flags::NOSCRIPT);

/// What a client may send at any time, authenticated or not.
const HANDSHAKE: Flags = OWN.with(Flags::FAST).with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY);

/// A row of a command that waits for what was written; it is one of Redis's generic ones.
const fn wait(
    name: &'static str,
    arity: i8,
    op: SessionOp,
    since: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    let doc = Doc { summary, since, group: Group::Generic, complexity: "O(1)", syntax };
    Spec::new(name, arity, Run::Session(op), doc)
        .categories(Categories::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
}

const fn session(
    name: &'static str,
    arity: i8,
    op: SessionOp,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    Spec::new(name, arity, Run::Session(op), doc(since, complexity, summary, syntax))
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
    Spec::new(name, arity, Run::Node(op), doc(since, complexity, summary, syntax))
        .flags(OWN.with(Flags::ADMIN))
}

const fn doc(
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group: Group::Connection, complexity, syntax }
}
