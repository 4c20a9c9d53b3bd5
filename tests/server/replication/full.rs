//! A replica that has nothing, or something else, is sent a snapshot, and what was written meanwhile.

use std::time::Duration;

use super::super::harness::{eventually, Random, Value, DEADLINE};
use super::super::persistence::{assert_alike, fill, SYNCED_AOF};
use super::load::{accounts, open_accounts, under_load, Kind, MONEY};
use super::proxy::{Proxy, Which};
use super::{assert_converged, kill, Node};

/// Something of everything, in several databases.
fn fill_all(node: &Node, seed: u64) {
    let mut client = node.client();
    fill(&mut client, &mut Random::new(seed), 300);
    client.ok(&format!("SET big {}", "b".repeat(3_000_000)));
    for (command, key) in [("RPUSH", "big-list"), ("SADD", "big-set")] {
        for part in 0..3 {
            let elements: Vec<_> = (0..1000).map(|n| format!("{part}:{n}:{}", "e".repeat(n % 60))).collect();
            assert!(!client.run(&format!("{command} {key} {}", elements.join(" "))).is_error());
        }
    }
}

/// A full synchronization between these numbers of shards, without load, and what is written afterwards.
fn quiet(primary_shards: u16, replica_shards: u16) {
    let primary = Node::start(primary_shards, &[]);
    fill_all(&primary, u64::from(primary_shards));
    let replica = Node::start(replica_shards, &[]);
    replica.client().ok("SET of-its-own 1");
    replica.follow(primary.address());
    assert_converged(&primary, &[&replica]);
    assert_alike(&mut primary.client(), &mut replica.client(), "after the snapshot");
    fill(&mut primary.client(), &mut Random::new(77), 300);
    assert_converged(&primary, &[&replica]);
    assert_alike(&mut primary.client(), &mut replica.client(), "after more was written");
    assert_eq!((primary.count("sync_full"), primary.count("sync_partial_ok")), (1, 0));
}

#[test]
fn from_one_shard_to_one() {
    quiet(1, 1);
}

#[test]
fn from_two_shards_to_two() {
    quiet(2, 2);
}

#[test]
fn from_two_shards_to_three() {
    quiet(2, 3);
}

#[test]
fn from_three_shards_to_one() {
    quiet(3, 1);
}

#[test]
fn from_five_shards_to_two() {
    quiet(5, 2);
}

/// Two replicas come while clients write; then all stop.
fn under(kinds: &[Kind], primary_shards: u16, replica_shards: [u16; 2], args: &[&str], seed: u64) {
    let primary = Node::start(primary_shards, args);
    fill_all(&primary, seed);
    open_accounts(&mut primary.client());
    let replicas = under_load(primary.address(), kinds, seed, || {
        let replicas = replica_shards.map(|shards| Node::follower(shards, primary.address(), args));
        replicas.iter().for_each(Node::await_up);
        // Some more while they stream.
        let offset = primary.count("master_repl_offset");
        eventually("more is written", || primary.count("master_repl_offset") > offset + 20_000);
        replicas
    });
    assert_converged(&primary, &[&replicas[0], &replicas[1]]);
    for replica in &replicas {
        assert_alike(&mut primary.client(), &mut replica.client(), "a replica");
    }
    if kinds.contains(&Kind::Money) {
        let names = accounts();
        let balances = replicas[0].client().run(&format!("MGET {}", names.join(" ")));
        let sum: i64 = balances.items().iter().map(|value| value.text().parse::<i64>().unwrap()).sum();
        assert_eq!(sum, MONEY);
    }
}

const SEVERAL: &[Kind] = &[Kind::Several, Kind::Groups, Kind::Money, Kind::ShortLived];

#[test]
fn while_several_keys_are_changed_at_a_time() {
    under(SEVERAL, 2, [2, 3], &[], 1);
}

#[test]
fn while_several_keys_are_changed_on_five_shards() {
    under(&[Kind::Several, Kind::Several, Kind::Money], 5, [2, 1], &[], 2);
}

#[test]
fn while_several_keys_are_changed_on_three_shards() {
    under(SEVERAL, 3, [3, 1], &[], 3);
}

#[test]
fn while_anything_is_done() {
    under(&[Kind::Wild, Kind::Wild, Kind::Several, Kind::ShortLived], 2, [2, 3], &[], 4);
}

#[test]
fn while_anything_is_done_on_three_shards() {
    under(&[Kind::Wild, Kind::Wild, Kind::Several, Kind::Large], 3, [1, 3], &[], 5);
}

#[test]
fn while_keys_are_evicted() {
    let args = ["--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru"];
    let primary = Node::start(2, &args);
    // What does not fit here is let go, and by itself the replica lets nothing go.
    let replicas = under_load(primary.address(), &[Kind::Large, Kind::Several, Kind::Large], 6, || {
        let replica = Node::follower(
            2,
            primary.address(),
            &["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"],
        );
        let other = Node::follower(3, primary.address(), &[]);
        let mut client = primary.client();
        let mut number = 0;
        eventually("keys are evicted", || {
            for _ in 0..200 {
                number += 1;
                let _ = client.run(&format!("SET filler:{number} {}", "f".repeat(10_000)));
            }
            primary.count("evicted_keys") > 100
        });
        [replica, other]
    });
    assert_converged(&primary, &[&replicas[0], &replicas[1]]);
    assert_eq!(replicas[0].count("evicted_keys"), 0);
    assert_alike(&mut primary.client(), &mut replicas[0].client(), "the replica");
}

#[test]
fn a_replica_has_its_own_files() {
    let primary = Node::start(2, SYNCED_AOF);
    fill_all(&primary, 7);
    for (shards, args) in [(2, SYNCED_AOF), (3, SYNCED_AOF)] {
        let mut replica = under_load(primary.address(), SEVERAL, 8, || {
            let replica = Node::follower(shards, primary.address(), args);
            replica.await_up();
            let offset = primary.count("master_repl_offset");
            eventually("more is written", || primary.count("master_repl_offset") > offset + 20_000);
            replica
        });
        assert_converged(&primary, &[&replica]);
        replica.await_files();
        // From its own files alone, and by itself.
        kill(replica.server.take().unwrap());
        let alone = replica.home.copy().run(shards, &[args, &["--replicaof", "no", "one"]].concat());
        assert_alike(&mut primary.client(), &mut alone.client(), "from the replica's files");
        kill(alone);
        replica.restart();
        assert_converged(&primary, &[&replica]);
    }
}

/// From some moment on what it applies has to be on the disk before more is: not all cores hear of that at once.
#[test]
fn the_files_of_a_replica_begin_while_it_applies() {
    let primary = Node::start(3, &[]);
    let replica = Node::follower(2, primary.address(), SYNCED_AOF);
    replica.await_up();
    under_load(primary.address(), &[Kind::Several, Kind::Several, Kind::Groups], 9, || {
        for _ in 0..8 {
            replica.client().ok("CONFIG SET appendonly no");
            replica.client().ok("CONFIG SET appendonly yes");
            replica.await_files();
            let offset = replica.count("slave_repl_offset");
            eventually("it applies", || replica.count("slave_repl_offset") > offset + 5_000);
        }
    });
    assert_converged(&primary, &[&replica]);
}

/// The same where clients wait.
#[test]
fn the_files_of_a_primary_begin_while_clients_write() {
    let primary = Node::start(2, SYNCED_AOF);
    under_load(primary.address(), &[Kind::Several, Kind::Several, Kind::Groups], 10, || {
        for round in 0..12 {
            let (off, on) = match round % 2 {
                0 => ("appendonly no", "appendonly yes"),
                _ => ("appendfsync everysec", "appendfsync always"),
            };
            primary.client().ok(&format!("CONFIG SET {off}"));
            primary.client().ok(&format!("CONFIG SET {on}"));
            primary.await_files();
            let mut client = primary.client();
            client.set_timeout(DEADLINE);
            for number in 0..20 {
                let pairs: Vec<_> = (0..4).map(|key| format!("own:{key} {number}")).collect();
                client.ok(&format!("MSET {}", pairs.join(" ")));
            }
        }
    });
}

#[test]
fn a_snapshot_of_nothing() {
    let primary = Node::start(2, &[]);
    let replica = Node::follower(3, primary.address(), &[]);
    replica.await_up();
    primary.client().ok("SET a 1");
    assert_converged(&primary, &[&replica]);
    assert_eq!(replica.client().run("GET a"), Value::bulk("1"));
}

/// Keys and fields have so long to live when a snapshot begins, which the replica loads when their time has come. The
/// records that follow made them live for ever, while they did. False if that was too late.
fn outlive(replica_shards: u16, life_ms: u64) -> bool {
    let primary = Node::start(2, &["--repl-diskless-sync-delay", "600", "--rdbcompression", "no"]);
    let mut client = primary.client();
    client.ok(&format!("SET big {}", "b".repeat(400_000)));
    let proxy = Proxy::new(primary.address());
    proxy.freeze_after(100_000, Which::Flows);
    let replica = Node::follower(replica_shards, proxy.address, &[]);
    eventually("it waits", || client.run("INFO replication").text().contains("state=wait_bgsave"));
    for number in 0..8 {
        client.ok(&format!("SET text:{number} 1 PX {life_ms}"));
        for (name, expire) in [("hash", "PEXPIRE hash"), ("fields", "HPEXPIRE fields")] {
            client.run(&format!("HSET {name}:{number} a 1 b 2"));
            let fields = if name == "fields" { " FIELDS 2 a b" } else { "" };
            client.run(&format!("{expire}:{number} {life_ms}{fields}"));
        }
    }
    client.ok("CONFIG SET repl-diskless-sync-delay 0");
    eventually("the snapshot is under way", || proxy.is_frozen());
    let all_outlive = (0..8).all(|number| {
        client.run(&format!("APPEND text:{number} 2"));
        client.run(&format!("HSET hash:{number} c 3"));
        client.run(&format!("HSET fields:{number} c 3"));
        let fields = client.run(&format!("HPERSIST fields:{number} FIELDS 2 a b"));
        let keys = ["text", "hash"].map(|name| client.run(&format!("PERSIST {name}:{number}")));
        keys == [1, 1].map(Value::Int) && fields.items() == [1, 1].map(Value::Int)
    });
    if all_outlive {
        std::thread::sleep(Duration::from_millis(life_ms));
        proxy.heal();
        assert_converged(&primary, &[&replica]);
        assert_alike(&mut primary.client(), &mut replica.client(), "the replica");
    }
    all_outlive
}

#[test]
fn what_expires_while_the_snapshot_comes() {
    for shards in [2, 3] {
        let mut lives = (0..6).map(|doubled| 1000 << doubled);
        assert!(lives.any(|life_ms| outlive(shards, life_ms)), "keys are made to live longer in time");
    }
}
