//! What a replica has said of itself (REPLCONF) before it asks to be synchronized.

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// `listening-port`: where it serves clients.
    pub port: u16,
    /// `ip-address`: as it wants to be known; empty if as its connection shows.
    pub ip: String,
    /// `capa ringward`: it opens a flow for each stream.
    pub is_native: bool,
    /// `capa psync2`: it takes the name of another history when it goes on.
    pub knows_psync2: bool,
    /// `rdb-only 1`: it wants a snapshot, and nothing after it.
    pub rdb_only: bool,
    /// `rdb-filter-only` names no data: it wants a snapshot without keys.
    pub without_keys: bool,
    /// It asks with PSYNC, and not with SYNC.
    pub speaks_psync: bool,
    /// `capa eof`: it takes a snapshot whose length is not known before.
    pub knows_eof: bool,
}
