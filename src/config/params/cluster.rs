//! Redis Cluster, which Ringward does not join: its directives are known and kept.

use super::{Effect::*, *};
use crate::config::{
    value::{bytes, int, Text, ANY_TEXT, INT_MAX, LONG_MAX, UNSET_IF_EMPTY},
    words::ClusterEndpoint,
};

const CLUSTER: Effect = Meaningless("it does not join a Redis Cluster; one process uses every core");

section! {
    /// Redis Cluster.
    Cluster at cluster {
        /// Whether this is a cluster node.
        "cluster-enabled" => enabled: bool = false, (), IMMUTABLE, CLUSTER;
        /// Where the node keeps what it knows of the cluster.
        "cluster-config-file" => config_file: Text = "nodes.conf".into(), ANY_TEXT, IMMUTABLE, CLUSTER;
        /// The port of the cluster bus; 0 is `port` + 10000.
        "cluster-port" => port: u16 = 0, int(0, 65535), IMMUTABLE, CLUSTER;
        /// After how much silence a node is taken to have failed.
        "cluster-node-timeout" => node_timeout_ms: u64 = 15000, int(0, LONG_MAX), MUTABLE, CLUSTER;
        /// How often nodes ping each other.
        "cluster-ping-interval" => ping_interval_ms: u64 = 0, int(0, LONG_MAX), MUTABLE | HIDDEN, CLUSTER;
        /// How old a replica's data may be to take over.
        "cluster-replica-validity-factor" ("cluster-slave-validity-factor") =>
            replica_validity_factor: u32 = 10, int(0, INT_MAX), MUTABLE, CLUSTER;
        /// Whether replicas never take over.
        "cluster-replica-no-failover" ("cluster-slave-no-failover") =>
            replica_no_failover: bool = false, (), MUTABLE, CLUSTER;
        /// How many replicas a primary must keep before it gives one away.
        "cluster-migration-barrier" => migration_barrier: u32 = 1, int(0, INT_MAX), MUTABLE, CLUSTER;
        /// Whether replicas move to primaries without any.
        "cluster-allow-replica-migration" => allow_replica_migration: bool = true, (), MUTABLE, CLUSTER;
        /// Whether a missing slot stops the whole cluster.
        "cluster-require-full-coverage" => require_full_coverage: bool = true, (), MUTABLE, CLUSTER;
        /// Whether a stopped cluster answers reads.
        "cluster-allow-reads-when-down" => allow_reads_when_down: bool = false, (), MUTABLE, CLUSTER;
        /// Whether a stopped cluster serves sharded channels.
        "cluster-allow-pubsubshard-when-down" => allow_pubsubshard_when_down: bool = true, (), MUTABLE, CLUSTER;
        /// How much may wait to be sent on a link of the bus; 0 is no limit.
        "cluster-link-sendbuf-limit" =>
            link_sendbuf_limit_bytes: u64 = 0, bytes(0, u64::MAX as i128), MUTABLE, CLUSTER;
        /// The address given to clients.
        "cluster-announce-ip" => announce_ip: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, CLUSTER;
        /// The host name given to clients.
        "cluster-announce-hostname" =>
            announce_hostname: Text = "".into(), UNSET_IF_EMPTY.checked(is_host_name), MUTABLE, CLUSTER;
        /// The name in logs.
        "cluster-announce-human-nodename" =>
            announce_human_nodename: Text = "".into(), UNSET_IF_EMPTY.checked(is_node_name), MUTABLE, CLUSTER;
        /// The port given to clients; 0 is the real one.
        "cluster-announce-port" => announce_port: u16 = 0, int(0, 65535), MUTABLE, CLUSTER;
        /// The TLS port given to clients; 0 is the real one.
        "cluster-announce-tls-port" => announce_tls_port: u16 = 0, int(0, 65535), MUTABLE, CLUSTER;
        /// The bus port given to nodes; 0 is the real one.
        "cluster-announce-bus-port" => announce_bus_port: u16 = 0, int(0, 65535), MUTABLE, CLUSTER;
        /// What clients are told to connect to.
        "cluster-preferred-endpoint-type" =>
            preferred_endpoint_type: ClusterEndpoint = ClusterEndpoint::Ip, (), MUTABLE, CLUSTER;
    }
}

fn is_host_name(name: &[u8]) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    if name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
        Ok(())
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
}

fn is_node_name(name: &[u8]) -> Result<(), &'static str> {
    if name.iter().any(|byte| b"!#$%&()*+:;<>?@[]^{|}~".contains(byte)) {
        Err("Announced human node name contained invalid character")
    } else {
        Ok(())
    }
}
