//! Who follows whom, and what REPLICAOF does in all its circumstances.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::harness::process::Port;
use super::super::harness::{eventually, words, Start, Value};
use super::load::{open_accounts, under_load, under_load_of, Kind};
use super::{assert_converged, Node};

const KINDS: &[Kind] = &[Kind::Several, Kind::Groups, Kind::Money];

fn pair(shards: u16) -> (Node, Node) {
    let primary = Node::start(shards, &[]);
    open_accounts(&mut primary.client());
    let replica = Node::follower(shards, primary.address(), &[]);
    replica.await_up();
    (primary, replica)
}

#[test]
fn a_sibling_follows_the_promoted_one_without_a_snapshot() {
    let (primary, first) = pair(2);
    let second = Node::follower(2, primary.address(), &[]);
    second.await_up();
    under_load(primary.address(), KINDS, 1, || {
        let offset = primary.count("master_repl_offset");
        eventually("something is written", || primary.count("master_repl_offset") > offset + 5_000);
    });
    assert_converged(&primary, &[&first, &second]);
    let old = primary.info("master_replid");
    let offset = first.count("slave_repl_offset");
    first.lead();
    assert_eq!(first.info("role"), "master");
    assert_eq!(first.info("master_replid2"), old);
    assert_eq!(first.count("second_repl_offset"), offset + 1);
    assert_eq!(first.count("master_repl_offset"), offset);
    first.client().ok("MSET a 1 b 2 c 3");
    second.follow(first.address());
    primary.follow(first.address());
    assert_converged(&first, &[&second, &primary]);
    assert_eq!(first.count("sync_full"), 0, "{}", first.server().log());
    assert_eq!(first.count("sync_partial_ok"), 2);
    assert_eq!(second.client().run("GET c"), Value::bulk("3"));
    assert_eq!(second.info("master_replid"), first.info("master_replid"));
}

#[test]
fn a_replica_is_promoted_under_load() {
    let (primary, replica) = pair(2);
    under_load(primary.address(), KINDS, 2, || {
        replica.lead();
        let mut client = replica.client();
        client.ok("SET mine 1");
        client.ok("MSET a 1 b 2 c 3");
    });
    // What the old one did since then is its own: it gives that up.
    primary.follow(replica.address());
    assert_converged(&replica, &[&primary]);
    assert_eq!(primary.client().run("MGET mine c"), Value::Array(vec![Value::bulk("1"), Value::bulk("3")]));
}

/// The streams are others then, and who comes first needs a snapshot at the moment when they begin.
#[test]
fn a_replica_with_other_shards_is_promoted_under_load() {
    for (round, (old, new)) in [(2, 3), (3, 2), (2, 3), (1, 2)].into_iter().enumerate() {
        let primary = Node::start(old, &[]);
        open_accounts(&mut primary.client());
        let replica = Node::follower(new, primary.address(), &[]);
        replica.await_up();
        let is_promoted = AtomicBool::new(false);
        let address = || match is_promoted.load(Ordering::SeqCst) {
            false => primary.address(),
            true => replica.address(),
        };
        under_load_of(&address, KINDS, round as u64, || {
            replica.lead();
            is_promoted.store(true, Ordering::SeqCst);
            primary.follow(replica.address());
            primary.await_up();
        });
        assert_converged(&replica, &[&primary]);
    }
}

#[test]
fn two_nodes_change_their_parts_again_and_again() {
    let (first, second) = pair(2);
    let nodes = [&first, &second];
    for turn in 0..6 {
        let (primary, replica) = (nodes[turn % 2], nodes[(turn + 1) % 2]);
        under_load(primary.address(), &[Kind::Several, Kind::Groups], turn as u64, || {
            let offset = primary.count("master_repl_offset");
            eventually("something is written", || primary.count("master_repl_offset") > offset + 1000);
        });
        assert_converged(primary, &[replica]);
        replica.lead();
        primary.follow(replica.address());
    }
    assert_converged(&first, &[&second]);
    assert_eq!(first.count("sync_full") + second.count("sync_full"), 1, "only the first one");
}

#[test]
fn to_where_nobody_is() {
    let node = Node::start(2, &[]);
    node.client().ok("SET a 1");
    let port = Port::new();
    let mut client = node.client();
    // At once, and for ever.
    client.ok(&format!("REPLICAOF 127.0.0.1 {}", port.number));
    assert_eq!(node.info("role"), "slave");
    assert_eq!(node.info("master_link_status"), "down");
    assert!(node.client().run("INFO replication").text().contains("master_link_down_since_seconds:"));
    assert_eq!(client.run("GET a"), Value::bulk("1"), "it still has what it had");
    assert!(client.run("SET a 2").is_error());
    let same = client.run(&format!("SLAVEOF 127.0.0.1 {}", port.number));
    assert_eq!(same, Value::simple("OK Already connected to specified master"));
    // Somebody comes.
    let primary =
        Start::again(2, std::sync::Arc::new(super::super::harness::Folder::new()), std::sync::Arc::new(port));
    let primary = primary.args(&["--repl-diskless-sync-delay", "0"]).run();
    primary.client().ok("SET b 2");
    node.await_up();
    eventually("its data is there", || client.run("GET b") == Value::bulk("2"));
    assert_eq!(client.run("EXISTS a"), Value::Int(0));
    // From one to the next, and back to none.
    for _ in 0..20 {
        client.ok("REPLICAOF 127.0.0.1 1");
        client.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.address.port()));
        client.ok("REPLICAOF NO ONE");
    }
    assert_eq!(node.info("role"), "master");
    client.ok("SET c 3");
}

#[test]
fn a_node_that_follows_itself_follows_nobody() {
    let node = Node::start(2, &[]);
    let mut client = node.client();
    client.ok("SET a 1");
    node.follow(node.address());
    eventually("it is told that this cannot be", || node.server().log().contains("NOMASTERLINK"));
    assert_eq!(client.run("GET a"), Value::bulk("1"));
    client.ok("REPLICAOF NO ONE");
    client.ok("SET a 2");
}

#[test]
fn while_a_snapshot_comes() {
    let (primary, other) = (Node::start(2, &[]), Node::start(3, &[]));
    let mut client = primary.client();
    for part in 0..20 {
        client.ok(&format!("SET big:{part} {}", "b".repeat(500_000)));
    }
    other.client().ok("SET other 1");
    let replica = Node::start(2, &[]);
    for _ in 0..5 {
        replica.follow(primary.address());
        replica.follow(other.address());
    }
    replica.follow(primary.address());
    assert_converged(&primary, &[&replica]);
    replica.follow(other.address());
    replica.lead();
    replica.client().ok("SET mine 1");
    replica.follow(other.address());
    assert_converged(&other, &[&replica]);
    assert_eq!(replica.client().run("DBSIZE"), Value::Int(1));
}

#[test]
fn as_sentinel_says_it() {
    let (primary, replica) = pair(2);
    let (mut ordinary, mut sentinel) = (replica.client(), replica.client());
    ordinary.ok("SELECT 0");
    let say = |client: &mut super::Client, of: &str| {
        let lines =
            ["MULTI", of, "CONFIG REWRITE", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub", "EXEC"];
        client.send(&lines.map(words).concat());
        client.read_many(lines.len()).pop().unwrap()
    };
    let reply = say(&mut sentinel, "SLAVEOF NO ONE");
    assert_eq!(reply.items()[0], Value::simple("OK"), "{reply:?}");
    assert!(ordinary.try_send(&words("PING")).is_err() || ordinary.try_read().is_err(), "it is let go");
    eventually("it leads", || replica.info("role") == "master");
    replica.client().ok("SET led 1");
    let reply = say(&mut primary.client(), &format!("SLAVEOF 127.0.0.1 {}", replica.address().port()));
    assert_eq!(reply.items()[0], Value::simple("OK"), "{reply:?}");
    assert_converged(&replica, &[&primary]);
    assert_eq!(replica.count("sync_full"), 0);
}

#[test]
fn blocked_clients_are_let_go() {
    let (primary, node) = (Node::start(2, &[]), Node::start(2, &[]));
    let mut blocked = node.client();
    blocked.send(&words("BLPOP list 0"));
    eventually("it is blocked", || node.info("blocked_clients") == "1");
    node.follow(primary.address());
    let reply = blocked.read().text();
    assert!(reply.starts_with("UNBLOCKED "), "{reply}");
    node.await_up();
    primary.client().run("RPUSH list a");
    assert_converged(&primary, &[&node]);
    assert_eq!(node.client().run("LLEN list"), Value::Int(1));
}

#[test]
fn the_files_of_a_promoted_replica_have_everything() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let primary = Node::start(2, &[]);
    primary.client().ok("MSET a 1 b 2 c 3");
    let mut replica = Node::follower(2, primary.address(), &args);
    replica.await_up();
    assert_converged(&primary, &[&replica]);
    // As in Redis its files begin anew after a snapshot, and until they are there nothing is in them.
    replica.await_files();
    replica.lead();
    replica.client().ok("MSET d 4 e 5 f 6");
    replica.kill();
    replica.args.truncate(replica.args.len() - args.len() - 2);
    replica.args.retain(|arg| arg != "--replicaof");
    replica.args.extend(args.map(str::to_owned));
    replica.restart();
    let found = replica.client().run("MGET a b c d e f");
    assert_eq!(found, Value::Array((1..7).map(|n| Value::bulk(n.to_string())).collect()));
}

/// Nobody is a primary then, until one is told to be it.
#[test]
fn rings_are_broken_again() {
    let (first, second) = pair(2);
    let third = Node::follower(3, second.address(), &[]);
    third.await_up();
    first.client().ok("MSET a 1 b 2 c 3");
    assert_converged(&first, &[&second, &third]);
    for (last, leads) in [(&second, &first), (&third, &second), (&third, &third)] {
        first.follow(last.address());
        eventually("it takes no writes", || first.client().run("SET x 1").is_error());
        // Each still has what it had.
        for node in [&first, &second, &third] {
            eventually("it has its data", || node.client().run("GET c") == Value::bulk("3"));
        }
        leads.lead();
        leads.client().ok("SET c 3");
        let others: Vec<&Node> =
            [&first, &second, &third].into_iter().filter(|node| node.address() != leads.address()).collect();
        others.iter().for_each(|node| node.follow(leads.address()));
        assert_converged(leads, &others);
        // As it was.
        first.lead();
        second.follow(first.address());
        third.follow(second.address());
        assert_converged(&first, &[&second, &third]);
    }
}

#[test]
fn a_replica_of_a_replica_is_promoted_and_has_one_itself() {
    for shards in [[2, 2, 2, 2], [2, 3, 2, 1]] {
        let primary = Node::start(shards[0], &[]);
        open_accounts(&mut primary.client());
        let middle = Node::follower(shards[1], primary.address(), &[]);
        middle.await_up();
        let chained = Node::follower(shards[2], middle.address(), &[]);
        chained.await_up();
        let last = Node::follower(shards[3], chained.address(), &[]);
        last.await_up();
        under_load(primary.address(), KINDS, 4, || {
            let offset = primary.count("master_repl_offset");
            eventually("something is written", || last.count("slave_repl_offset") > offset + 5_000);
            chained.lead();
        });
        chained.client().ok("MSET a 1 b 2 c 3");
        assert_converged(&chained, &[&last]);
        assert_converged(&primary, &[&middle]);
        middle.follow(chained.address());
        primary.follow(middle.address());
        assert_converged(&chained, &[&last, &middle, &primary]);
        assert_eq!(primary.client().run("GET c"), Value::bulk("3"));
    }
}
