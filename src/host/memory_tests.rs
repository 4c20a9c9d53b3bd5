//! Memory limits over one to three cores.

use super::harness::{request, ClientNo, Node};
use crate::base::ids::DbIndex;

/// Shards and cores.
const SHAPES: [(u16, u16); 5] = [(1, 1), (5, 1), (2, 2), (5, 2), (7, 3)];

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// How many keys there are, in all databases.
fn keys(node: &Node) -> u64 {
    let keyspaces = node.hosts.iter().flat_map(|host| &host.shards).map(|shard| &shard.keyspace);
    keyspaces.map(|keyspace| keyspace.len(DbIndex(0))).sum()
}

fn used(node: &Node) -> u64 {
    node.hosts.iter().map(|host| host.used_memory()).sum()
}

/// Writes keys of about 1 KiB as one client, many in a pass, and tells how many were refused.
fn fill(
    node: &mut Node,
    client: ClientNo,
    range: std::ops::Range<u32>,
    key: impl Fn(u32) -> String,
) -> usize {
    let value = [b'v'; 1000];
    let mut refused = 0;
    let numbers: Vec<u32> = range.collect();
    for pass in numbers.chunks(16) {
        let requests: Vec<u8> = pass
            .iter()
            .flat_map(|&n| request(&[b"SET", key(n).as_bytes(), &value, b"EX", b"1000"]))
            .collect();
        node.send(client, &requests);
        node.quiesce();
        refused += node.take_text(client).matches("-OOM").count();
    }
    refused
}

const POLICIES: [&str; 8] = [
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

#[test]
fn every_policy_keeps_the_limit_on_any_number_of_cores() {
    const LIMIT: u64 = 1_000_000;
    for (shards, cores) in SHAPES {
        for policy in POLICIES {
            let settings = [("maxmemory", "1000000"), ("maxmemory-policy", policy)];
            let mut node = Node::new(shards, cores, 5, &settings);
            let clients: Vec<ClientNo> = (0..usize::from(cores)).map(|core| node.connect_to(core)).collect();
            let mut refused = 0;
            for round in 0..3 {
                for (at, &client) in clients.iter().enumerate() {
                    let from = (round * clients.len() + at) as u32 * 500;
                    refused += fill(&mut node, client, from..from + 500, |n| format!("key:{n}"));
                    assert!(used(&node) < LIMIT + 100_000, "{policy} {shards} {cores}: {}", used(&node));
                }
            }
            (0..10).for_each(|_| node.advance_us(100_000));
            assert!(used(&node) <= LIMIT + 20_000, "{policy} {shards} {cores}: {}", used(&node));
            assert!(keys(&node) > 700, "{policy} {shards} {cores}: {} keys left", keys(&node));
            assert_eq!(refused > 0, policy == "noeviction", "{policy} {shards} {cores}: {refused} refused");
            // Each shard has its part: none was starved by the others.
            let sizes: Vec<u64> = node
                .hosts
                .iter()
                .flat_map(|host| &host.shards)
                .map(|shard| shard.keyspace.len(DbIndex(0)))
                .collect();
            let fair = keys(&node) / u64::from(shards);
            assert!(
                sizes.iter().all(|&size| size > fair / 2 && size < fair * 2),
                "{policy} {shards} {cores}: {sizes:?}"
            );
            assert_eq!(node.leftover(), None);
        }
    }
}

#[test]
fn a_shard_without_keys_lets_the_others_make_room() {
    for (shards, cores) in SHAPES {
        for policy in ["allkeys-lru", "volatile-ttl", "allkeys-random"] {
            let settings = [("maxmemory", "2000000"), ("maxmemory-policy", policy)];
            let mut node = Node::new(shards, cores, 6, &settings);
            for core in 0..usize::from(cores) {
                let client = node.connect_to(core);
                // All on one shard, then all on another one, and back.
                for tag in ["{a}", "{b}", "{a}"] {
                    let refused = fill(&mut node, client, 0..2000, |n| format!("{tag}{core}:{n}"));
                    assert_eq!(refused, 0, "{policy} {shards} {cores} {tag}");
                    assert!(used(&node) < 2_100_000, "{policy} {shards} {cores}: {}", used(&node));
                }
            }
            (0..10).for_each(|_| node.advance_us(100_000));
            assert!(used(&node) <= 2_020_000, "{policy} {shards} {cores}: {}", used(&node));
            assert_eq!(node.leftover(), None);
        }
    }
}

#[test]
fn writes_are_refused_when_nothing_can_go() {
    for (shards, cores) in SHAPES {
        let settings = [("maxmemory", "1000000"), ("maxmemory-policy", "volatile-lru")];
        let mut node = Node::new(shards, cores, 7, &settings);
        let client = node.connect();
        node.run(client, "DEBUG POPULATE 40000 persistent");
        for words in ["SET a 1", "APPEND a 1", "MSET a 1 b 2 c 3"] {
            assert_eq!(node.run(client, words), OOM, "{shards} {cores}");
        }
        // What takes no memory, or gives some back, is not refused.
        assert_eq!(node.run(client, "GET persistent:1"), "$7\r\nvalue:1\r\n");
        assert_eq!(node.run(client, "DEL persistent:1"), ":1\r\n");
        assert_eq!(node.run(client, "EXPIRE persistent:2 1000"), ":1\r\n");
        // One that can go is not enough.
        assert_eq!(node.run(client, "SET a 1"), OOM);
        assert!(node.run(client, "INFO stats").contains("evicted_keys:1\r\n"));
        assert_eq!(node.run(client, "EXISTS persistent:2"), ":0\r\n");
        assert_eq!(node.run(client, "CONFIG SET maxmemory-policy allkeys-lru"), "+OK\r\n");
        node.advance_us(100_000);
        assert_eq!(node.run(client, "SET a 1"), "+OK\r\n", "{shards} {cores}");
        assert_eq!(node.run(client, "CONFIG SET maxmemory-policy noeviction maxmemory 1kb"), "+OK\r\n");
        assert_eq!(node.run(client, "SET a 1"), OOM);
        // A flush leaves nothing that has to wait.
        assert_eq!(node.run(client, "CONFIG SET maxmemory 900000"), "+OK\r\n");
        assert_eq!(node.run(client, "FLUSHALL"), "+OK\r\n");
        assert_eq!(node.run(client, "SET a 1"), "+OK\r\n", "{shards} {cores}");
    }
}

#[test]
fn a_lower_limit_is_reached_without_a_write() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 8, &[("maxmemory-policy", "allkeys-lfu")]);
        let client = node.connect();
        node.run(client, "DEBUG POPULATE 20000 key 200");
        assert!(used(&node) > 4_000_000);
        assert_eq!(node.run(client, "CONFIG SET maxmemory 2000000"), "+OK\r\n");
        (0..10).for_each(|_| node.advance_us(100_000));
        assert!((1_900_000..=2_000_000).contains(&used(&node)), "{shards} {cores}: {}", used(&node));
        let stats = node.run(client, "INFO stats");
        assert!(!stats.contains("evicted_keys:0\r\n"), "{stats}");
        assert!(stats.contains("current_eviction_exceeded_time:0\r\n"), "{stats}");
    }
}

#[test]
fn the_time_above_the_limit_is_told() {
    let mut node = Node::new(2, 2, 9, &[]);
    let client = node.connect();
    node.run(client, "DEBUG POPULATE 10000 key 200");
    node.run(client, "CONFIG SET maxmemory 1000000");
    node.advance_us(2_500_000);
    let stats = node.run(client, "INFO stats");
    assert!(stats.contains("total_eviction_exceeded_time:2500\r\n"), "{stats}");
    assert!(stats.contains("current_eviction_exceeded_time:2500\r\n"), "{stats}");
    node.run(client, "CONFIG SET maxmemory 0");
    node.advance_us(1_000_000);
    let stats = node.run(client, "INFO stats");
    assert!(stats.contains("total_eviction_exceeded_time:2500\r\n"), "{stats}");
    assert!(stats.contains("current_eviction_exceeded_time:0\r\n"), "{stats}");
    node.run(client, "CONFIG RESETSTAT");
    assert!(node.run(client, "INFO stats").contains("total_eviction_exceeded_time:0\r\n"));
}

#[test]
fn a_paused_server_evicts_nothing_and_refuses_nothing() {
    let mut node = Node::new(2, 2, 10, &[("maxmemory-policy", "allkeys-lru")]);
    let (client, other) = (node.connect_to(0), node.connect_to(1));
    node.run(client, "DEBUG POPULATE 10000 key 200");
    node.run(client, "CLIENT PAUSE 1000 WRITE");
    node.run(client, "CONFIG SET maxmemory 1000000");
    node.send(other, &request(&[b"SET", b"a", b"1"]));
    node.advance_us(500_000);
    assert_eq!(keys(&node), 10_000);
    node.advance_us(600_000);
    node.quiesce();
    assert_eq!(node.take_text(other), "+OK\r\n");
    (0..5).for_each(|_| node.advance_us(100_000));
    assert!(used(&node) <= 1_000_000);
}

#[test]
fn the_largest_clients_go_when_all_together_take_too_much() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 11, &[("maxmemory-clients", "1mb")]);
        let clients: Vec<ClientNo> = (0..8).map(|at| node.connect_to(at % usize::from(cores))).collect();
        node.run(clients[5], "CLIENT NO-EVICT ON");
        // The beginnings of large requests, which their clients never finish.
        for (at, &client) in clients.iter().enumerate() {
            let begun = [b"*1\r\n$900000\r\n".to_vec(), vec![b'x'; 40_000 * at]].concat();
            node.send(client, &begun);
        }
        (0..20).for_each(|_| {
            node.advance_us(100_000);
            node.quiesce();
        });
        let open: Vec<usize> = (0..8).filter(|&at| node.is_open(clients[at])).collect();
        // 0 to 280 kB, a little more in each buffer: the largest has to go, not the one that must not.
        assert!(open.contains(&0) && open.contains(&1) && open.contains(&5), "{shards} {cores}: {open:?}");
        assert!(!open.contains(&7), "{shards} {cores}: {open:?}");
        let gone = 8 - open.len();
        assert!(open.iter().all(|&at| at < 8 - gone || at == 5), "largest first: {open:?}");
        let asker = node.connect();
        assert!(node.run(asker, "INFO stats").contains(&format!("evicted_clients:{gone}\r\n")));
        let clients_bytes: u64 = node.hosts.iter().map(|host| host.clients_memory()).sum();
        assert!(clients_bytes < 1 << 20, "{clients_bytes}");
        // Half of the limit on all memory is less: of the rest some go, but never the one that must not.
        node.run(asker, "CONFIG SET maxmemory 1mb maxmemory-clients 20%");
        (0..20).for_each(|_| {
            node.advance_us(100_000);
            node.quiesce();
        });
        assert!(node.is_open(clients[5]) && !node.is_open(clients[4]));
    }
}

#[test]
fn what_is_told_of_memory_is_what_is_kept_to() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 12, &[]);
        let client = node.connect();
        node.run(client, "DEBUG POPULATE 1000 key 200");
        let field = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
        };
        let info = node.run(client, "INFO memory");
        // But for the buffer that the answer itself is in.
        let near = |bytes: u64, node: &Node| bytes.abs_diff(used(node)) < 10_000;
        assert!(near(field(&info, "used_memory"), &node), "{shards} {cores}: {info}");
        let stats = node.run(client, "MEMORY STATS");
        let (_, rest) = stats.split_once("total.allocated\r\n:").unwrap();
        assert!(near(rest.split('\r').next().unwrap().parse().unwrap(), &node), "{stats}");
    }
}

#[test]
fn expiry_and_eviction_that_take_long_are_noted() {
    let mut node = Node::new(1, 1, 1, &[("latency-monitor-threshold", "1")]);
    let client = node.connect();
    for number in 0..20 {
        node.run(client, &format!("SET short:{number} x PX 5"));
    }
    node.run(client, "HSET hash a 1 b 2");
    node.run(client, "HPEXPIRE hash 5 FIELDS 1 a");
    node.run(client, "LATENCY RESET");
    node.slow_down(2000);
    node.advance_us(1_000_000);
    fill(&mut node, client, 0..100, |number| format!("long:{number}"));
    node.run(client, "CONFIG SET maxmemory 50000 maxmemory-policy allkeys-random");
    node.advance_us(1_000_000);
    node.slow_down(1);
    assert!(keys(&node) < 100);
    let latest = node.run(client, "LATENCY LATEST");
    for event in ["expire-cycle", "expire-del", "eviction-cycle", "eviction-del"] {
        assert!(latest.contains(&format!("${}\r\n{event}\r\n", event.len())), "{event} in {latest}");
    }
    let stats = node.run(client, "INFO stats");
    assert!(stats.contains("expired_subkeys:1\r\n") && stats.contains("expired_keys:20\r\n"), "{stats}");
}

#[test]
fn the_sizes_of_clients_are_told() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 1, &[]);
        let (client, large) = (node.connect(), node.connect());
        let disabled = "-ERR maxmemory-clients is disabled.\r\n";
        assert_eq!(node.run(client, "DEBUG CLIENT-EVICTION"), disabled);
        node.run(client, "CONFIG SET maxmemory-clients 10mb");
        node.send(large, &[b"*1\r\n$90000\r\n".to_vec(), vec![b'x'; 70_000]].concat());
        let text = node.run(client, "DEBUG CLIENT-EVICTION");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("bucket ")).collect();
        assert_eq!(lines.len(), 19, "{text}");
        assert!(lines[0].starts_with("bucket          0 -      32767: tot-mem: "), "{text}");
        assert!(lines[18].starts_with("bucket 4294967296+            : tot-mem:          0"), "{text}");
        let clients = lines.iter().map(|line| line.rsplit_once("clients: ").unwrap().1);
        let clients: Vec<u32> = clients.map(|count| count.parse().unwrap()).collect();
        assert_eq!((clients[0], clients[1..].iter().sum::<u32>()), (1, 1), "{text}");
    }
}
