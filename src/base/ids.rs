//! Identifiers, each its own type so that one cannot stand in for another.

use std::fmt;

/// A shard: one slice of the keyspace, `0..shards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A core: one executor thread, `0..cores`. It hosts sessions and one or more shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// A logical database, as `SELECT` numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbIndex(pub u16);

/// A client connection's number as `CLIENT ID` reports it: never reused while the process lives, and larger for
/// later connections of the same core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A Redis Cluster hash slot, `0..SlotId::COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u16);

/// A place in a shard's stream of records: how many bytes of it come before, as a Redis peer would see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl SlotId {
    /// How many slots the keyspace has (Redis Cluster specification).
    pub const COUNT: u16 = 16384;
}

impl ShardId {
    /// The index of this shard in a list of all shards.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl CoreId {
    /// The index of this core in a list of all cores.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl DbIndex {
    /// The index of this database in a list of all databases.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for DbIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
