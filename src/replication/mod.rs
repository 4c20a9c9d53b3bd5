//! Replication, as far as it needs neither sockets nor the shards.
//!
//! A node's data has a *history* (`history`): an identity, and streams of records of which each has come to some
//! position. A primary has one stream for each of its shards, its journal. A replica opens one connection for each
//! stream, a *flow*, on which it gets its share of a snapshot if it must, and then the records; beside them stands its
//! *control link*, over which it introduces itself (`handshake`) and says how far it has come.
//!
//! A stream has two coordinates. `raw` counts its bytes as they are sent, annotations included: whoever resumes says
//! the raw position of each stream. `offset` counts them as a Redis peer would see them (`journal::stream`); the sum
//! over all streams is the *combined offset*, which INFO, ROLE and WAIT show.
//!
//! * `backlog`: the last bytes of a stream, for replicas that come back and for those that are slow;
//! * `replicas`: what a primary knows of its replicas;
//! * `flow`: what comes in a stream, divided into records and parts of transactions over several shards;
//! * `payload`, `stock`: a snapshot, and then the stream, as a stock Redis sends them;
//! * `token`: a point in a history, that clients carry from a primary to its replicas;
//! * `collect`: these transactions put together, and several streams into one.
//!
//! Not here: the connections and who runs what was received (`host::replication`).

pub mod backlog;
pub mod collect;
pub mod flow;
pub mod handshake;
pub mod history;
pub mod payload;
pub mod replicas;
pub mod stock;
pub mod token;
