//! The Pub/Sub commands: rows only. The session subscribes and publishes, with the tables of its core; what concerns
//! the subscribers of all cores, the node.

use super::spec::{Doc, Flags, Group, KeySpec, NodeOp, Run, SessionOp, Spec};

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    session(
        "psubscribe",
        -2,
        SessionOp::Psubscribe,
        "2.0.0",
        "O(N) where N is the number of patterns to subscribe to.",
        "Listens for what is published to the channels that match one of the patterns.",
        "pattern [pattern ...]",
    )
    .flags(LISTENS),
    session(
        "publish",
        3,
        SessionOp::Publish,
        "2.0.0",
        "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of \
         subscribed patterns (by any client).",
        "Sends a message to all who listen to a channel.",
        "channel message",
    )
    .flags(PUBLISHES),
    Spec::new(
        "pubsub",
        -2,
        Run::Container,
        doc("2.8.0", "Depends on subcommand.", "Commands about who listens to what.", ""),
    )
    .subcommands(PUBSUB),
    session(
        "punsubscribe",
        -1,
        SessionOp::Punsubscribe,
        "2.0.0",
        "O(N) where N is the number of patterns to unsubscribe.",
        "Listens to these patterns, or to any, no longer.",
        "[pattern [pattern ...]]",
    )
    .flags(LISTENS),
    session(
        "spublish",
        3,
        SessionOp::Spublish,
        "7.0.0",
        "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        "Sends a message to all who listen to a shard channel.",
        "shardchannel message",
    )
    .flags(PUBLISHES)
    .keys(&[KeySpec::one(1, &["not_key"])]),
    session(
        "ssubscribe",
        -2,
        SessionOp::Ssubscribe,
        "7.0.0",
        "O(N) where N is the number of shard channels to subscribe to.",
        "Listens for what is published to shard channels.",
        "shardchannel [shardchannel ...]",
    )
    .flags(LISTENS)
    .keys(SHARD_CHANNELS),
    session(
        "subscribe",
        -2,
        SessionOp::Subscribe,
        "2.0.0",
        "O(N) where N is the number of channels to subscribe to.",
        "Listens for what is published to channels.",
        "channel [channel ...]",
    )
    .flags(LISTENS),
    session(
        "sunsubscribe",
        -1,
        SessionOp::Sunsubscribe,
        "7.0.0",
        "O(N) where N is the number of shard channels to unsubscribe.",
        "Listens to these shard channels, or to any, no longer.",
        "[shardchannel [shardchannel ...]]",
    )
    .flags(LISTENS)
    .keys(SHARD_CHANNELS),
    session(
        "unsubscribe",
        -1,
        SessionOp::Unsubscribe,
        "2.0.0",
        "O(N) where N is the number of channels to unsubscribe.",
        "Listens to these channels, or to any, no longer.",
        "[channel [channel ...]]",
    )
    .flags(LISTENS),
];

static PUBSUB: &[Spec] = &[
    node(
        "pubsub|channels",
        -2,
        NodeOp::PubsubChannels,
        "2.8.0",
        "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively \
         short channels and patterns)",
        "Lists the channels that somebody listens to.",
        "[pattern]",
    ),
    session("pubsub|help", 2, SessionOp::PubsubHelp, "6.2.0", "O(1)", "Lists the subcommands.", "").flags(READY),
    node("pubsub|numpat", 2, NodeOp::PubsubNumpat, "2.8.0", "O(1)", "Counts the patterns of all listeners.", ""),
    node(
        "pubsub|numsub",
        -2,
        NodeOp::PubsubNumsub,
        "2.8.0",
        "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        "Counts those who listen to each of these channels.",
        "[channel [channel ...]]",
    ),
    node(
        "pubsub|shardchannels",
        -2,
        NodeOp::PubsubShardchannels,
        "7.0.0",
        "O(N) where N is the number of active shard channels, and assuming constant time pattern matching \
         (relatively short shard channels).",
        "Lists the shard channels that somebody listens to.",
        "[pattern]",
    ),
    node(
        "pubsub|shardnumsub",
        -2,
        NodeOp::PubsubShardnumsub,
        "7.0.0",
        "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        "Counts those who listen to each of these shard channels.",
        "[shardchannel [shardchannel ...]]",
    ),
];

/// Works also while the data are loaded or stale: messages are no data.
const READY: Flags = Flags::LOADING.with(Flags::STALE);

/// What is published goes to replicas, too, though it changes nothing.
const PUBLISHES: Flags = READY.with(Flags::PUBSUB).with(Flags::FAST).with(Flags::MAY_REPLICATE);

/// A script has nobody to listen.
const LISTENS: Flags = READY.with(Flags::PUBSUB).with(Flags::NOSCRIPT);

/// No keys, but they have slots as if they were.
const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::rest(1, 1, &["not_key"])];

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
        .flags(READY.with(Flags::PUBSUB))
}

const fn doc(
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group: Group::Pubsub, complexity, syntax }
}
