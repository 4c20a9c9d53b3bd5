//! FAILOVER: a primary and a replica change places without Sentinel's help.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use super::{connect, field_of, Node, Program, PASSWORD};
use crate::harness::process::Peer;
use crate::harness::{eventually, words, Client, Value};

const NO_FAILOVER: &str = "no-failover";

/// A primary and replicas that have all it has.
fn family(replicas: usize) -> Vec<Node> {
    let mut nodes = vec![Node::new(Program::Ringward, "")];
    let primary = nodes[0].name();
    let lines = format!("replicaof 127.0.0.1 {primary}\n");
    nodes.extend((0..replicas).map(|_| Node::new(Program::Ringward, &lines)));
    for node in &nodes[1..] {
        eventually("the replica's link stands", || node.follows(primary));
    }
    nodes
}

fn state(node: &Node) -> String {
    node.info("master_failover_state")
}

#[track_caller]
fn eventually_state(node: &Node, expected: &str) {
    eventually(expected, || state(node) == expected);
}

/// The error of each of these, in this order, is Redis's.
const REFUSED: [&str; 14] = [
    "FAILOVER ABORT",
    "FAILOVER",
    "FAILOVER FORCE",
    "FAILOVER TIMEOUT 0",
    "FAILOVER TIMEOUT -1",
    "FAILOVER TIMEOUT x",
    "FAILOVER TIMEOUT",
    "FAILOVER TIMEOUT 1 TIMEOUT 1",
    "FAILOVER TO 127.0.0.1",
    "FAILOVER TO 127.0.0.1 x",
    "FAILOVER TO 127.0.0.1 1 TO 127.0.0.1 1",
    "FAILOVER FORCE FORCE",
    "FAILOVER ABORT TIMEOUT 1",
    "FAILOVER NOW",
];

/// And with a replica there.
const REFUSED_WITH_REPLICA: [&str; 5] = [
    "FAILOVER ABORT",
    "FAILOVER FORCE",
    "FAILOVER FORCE TIMEOUT 10",
    "FAILOVER TO 127.0.0.1 1",
    "FAILOVER TO 127.0.0.1 1 FORCE",
];

#[test]
fn refusals_are_redis_own() {
    let peer = Peer::start();
    let follower = Peer::start_with(&["--replicaof", "127.0.0.1", &peer.address.port().to_string()]);
    let alone = Peer::start();
    let nodes = family(1);
    let single = Node::new(Program::Ringward, "");
    eventually("redis-server has its replica", || {
        field_of(&peer.client().run("info replication").text(), "slave0").contains("online")
    });
    for (stock, own, lines) in [
        (&alone, &single, &REFUSED[..]),
        (&peer, &nodes[0], &REFUSED_WITH_REPLICA[..]),
        (&follower, &nodes[1], &["FAILOVER", "FAILOVER ABORT"][..]),
    ] {
        let (mut stock, mut own) = (stock.client(), own.client());
        for line in lines {
            let expected = stock.run(line);
            assert!(expected.is_error(), "{line}");
            assert_eq!(own.run(line), expected, "{line}");
        }
    }
    let mut client = nodes[0].client();
    let refused = client.run(&format!("PSYNC {} 1 FAILOVER", "a".repeat(40)));
    assert_eq!(refused, Value::error("ERR PSYNC FAILOVER can't be sent to a master."));
    let refused = nodes[1].client().run(&format!("PSYNC {} 1 FAILOVER", "a".repeat(40)));
    assert_eq!(refused, Value::error("ERR PSYNC FAILOVER replid must match my replid."));
    assert_eq!(nodes[1].info("role"), "slave");
}

/// Clients that write wherever the primary is, and note what was acknowledged.
#[derive(Default)]
struct Writers {
    acknowledged: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Writers {
    fn run(&self, name: usize, ports: &[u16]) {
        let (mut at, mut number) = (0, 0);
        let mut connection: Option<Client> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let client = match &mut connection {
                Some(client) => client,
                None => connection.insert(connect(ports[at]).expect("all nodes run")),
            };
            number += 1;
            // Keys of both shards, in a transaction, and one alone.
            let key = format!("w:{name}:{number}");
            let line = match number % 3 {
                0 => format!("mset {key} 1 {key}:b 1"),
                1 => format!("incr {key}"),
                _ => format!("set {key} 1"),
            };
            client.send(&words(&line));
            let reply = client.read();
            if reply.is_error() {
                assert!(reply.text().starts_with("READONLY"), "{}", reply.text());
                at = (at + 1) % ports.len();
                connection = None;
            } else {
                self.acknowledged.lock().unwrap().push(key);
            }
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_primary_moves_under_load_and_nothing_is_lost_or_copied_anew() {
    let nodes = family(2);
    let ports: Vec<u16> = nodes.iter().map(Node::name).collect();
    let writers = Writers::default();
    let mut primary = 0;
    std::thread::scope(|scope| {
        let _stop = Stop(&writers.stop);
        for name in 0..4 {
            let (writers, ports) = (&writers, &ports);
            scope.spawn(move || writers.run(name, ports));
        }
        for round in 0..6 {
            let count = writers.count();
            eventually("the clients write", || writers.count() > count + 200);
            let next = (primary + 1 + round % 2) % 3;
            let line = match round {
                0..=3 => format!("failover to 127.0.0.1 {}", ports[next]),
                4 => "failover".to_owned(),
                _ => "failover timeout 60000".to_owned(),
            };
            nodes[primary].client().ok(&line);
            eventually("there is another primary", || {
                nodes[primary].info("role") == "slave" && state(&nodes[primary]) == NO_FAILOVER
            });
            let new = nodes.iter().position(Node::is_primary).expect("its replica is a primary by now");
            assert!(new != primary && (round > 3 || new == next));
            eventually("the old one follows the new one", || nodes[primary].follows(ports[new]));
            primary = new;
            for node in nodes.iter().filter(|node| node.name() != ports[new]) {
                node.client().run(&format!("replicaof 127.0.0.1 {}", ports[new]));
                eventually("all follow it", || node.follows(ports[new]));
            }
        }
    });
    for node in &nodes {
        eventually("all have the same", || {
            node.ask("debug digest").unwrap() == nodes[primary].ask("debug digest").unwrap()
        });
    }
    let mut client = nodes[primary].client();
    let acknowledged = writers.acknowledged.lock().unwrap();
    for key in acknowledged.iter() {
        assert_eq!(client.run(&format!("get {key}")), Value::bulk("1"), "{key} of {}", acknowledged.len());
    }
    // Nobody needed more than what was missing.
    let full: Vec<String> =
        nodes.iter().map(|node| field_of(&node.ask("info stats").unwrap().text(), "sync_full")).collect();
    assert_eq!(full, ["2", "0", "0"]);
}

#[test]
fn a_replica_that_does_not_catch_up_is_given_up_or_forced() {
    let nodes = family(1);
    let (primary, replica) = (&nodes[0], &nodes[1]);
    let to = format!("failover to 127.0.0.1 {}", replica.name());
    let mut client = primary.client();
    client.set_timeout(crate::harness::DEADLINE);
    client.ok("set before 1");
    let offset = primary.info("master_repl_offset");
    eventually("the replica has it", || replica.info("slave_repl_offset") == offset);
    // The link stands, and nothing is read from it.
    replica.signal(libc::SIGSTOP);
    client.ok("set not-there-yet 1");

    // A timeout: what clients were to wait for goes on.
    primary.client().ok(&format!("{to} timeout 300"));
    client.send(&words("set held 1"));
    assert_eq!(client.read(), Value::simple("OK"));
    assert_eq!(state(primary), NO_FAILOVER);

    // Given up by hand. Writes wait, reads do not; no second one begins, and the role stays.
    primary.client().ok(&to);
    assert_eq!(state(primary), "waiting-for-sync");
    client.send(&words("set held 2"));
    let mut other = primary.client();
    assert_eq!(other.run("get held"), Value::bulk("1"));
    assert_eq!(other.run(&to), Value::error("ERR FAILOVER already in progress."));
    let refused = Value::error("ERR REPLICAOF not allowed while failing over.");
    assert_eq!(other.run("replicaof no one"), refused);
    assert_eq!(other.run("get held"), Value::bulk("1"));
    // This pause is none of CLIENT UNPAUSE's.
    other.ok("client unpause");
    assert_eq!(other.run("get held"), Value::bulk("1"));
    other.ok("failover abort");
    assert_eq!(client.read(), Value::simple("OK"));
    assert_eq!(other.run("get held"), Value::bulk("2"));
    assert_eq!(state(primary), NO_FAILOVER);

    // By force, and given up when it is under way: it is a primary again.
    primary.client().ok(&format!("{to} force timeout 100"));
    eventually_state(primary, "failover-in-progress");
    assert_eq!(primary.info("role"), "slave");
    assert!(other.run("set held 3").text().starts_with("READONLY"));
    other.ok("failover abort");
    eventually("it takes writes again", || other.run("set held 3") == Value::simple("OK"));
    assert_eq!((state(primary).as_str(), primary.info("role").as_str()), (NO_FAILOVER, "master"));

    // The replica is back, and has all again; then it is frozen again, and takes over by force without the rest.
    replica.signal(libc::SIGCONT);
    eventually("it follows again", || replica.follows(primary.name()));
    let offset = primary.info("master_repl_offset").parse::<u64>().unwrap();
    eventually("and has all", || replica.info("slave_repl_offset").parse::<u64>().unwrap() >= offset);
    replica.signal(libc::SIGSTOP);
    client.ok("set lost 1");
    primary.client().ok(&format!("{to} force timeout 100"));
    client.send(&words("set late 1"));
    eventually_state(primary, "failover-in-progress");
    replica.signal(libc::SIGCONT);
    eventually("it has taken over", || replica.is_primary() && primary.follows(replica.name()));
    assert!(client.read().text().starts_with("READONLY"), "who waited is told");
    assert_eq!(state(primary), NO_FAILOVER);
    for node in &nodes {
        let value = |key: &str| node.ask(&format!("get {key}")).unwrap();
        assert_eq!((value("held"), value("late")), (Value::bulk("3"), Value::NullBulk));
        assert_eq!(value("before"), Value::bulk("1"));
    }
    assert!(primary.configuration().contains(PASSWORD));
}

#[test]
fn a_primary_stops_when_its_replicas_have_everything() {
    let nodes = family(1);
    let (primary, replica) = (&nodes[0], &nodes[1]);
    let mut client = primary.client();
    client.set_timeout(crate::harness::DEADLINE);

    // Called off: who asked is told, and who waited goes on.
    replica.signal(libc::SIGSTOP);
    client.ok("config set shutdown-timeout 1000");
    client.ok("set on-its-way 1");
    let mut asker = primary.client();
    asker.set_timeout(crate::harness::DEADLINE);
    asker.send(&words("shutdown"));
    let waits = || primary.ask("info server").unwrap().text().contains("shutdown_in_milliseconds:");
    eventually("it waits", waits);
    client.send(&words("set held 1"));
    assert_eq!(primary.client().run("get held"), Value::NullBulk);
    primary.client().ok("shutdown abort");
    assert_eq!(asker.read(), Value::error("ERR Errors trying to SHUTDOWN. Check logs."));
    assert_eq!(client.read(), Value::simple("OK"));
    let refused = primary.client().run("shutdown abort");
    assert_eq!(refused, Value::error("ERR No shutdown in progress."));

    // Here it waits until the replica goes on, saves and stops.
    asker.send(&words("shutdown save"));
    eventually("it waits again", waits);
    client.send(&words("set late 1"));
    assert_eq!(primary.client().run("get late"), Value::NullBulk);
    assert_eq!(primary.server.as_ref().unwrap().exited(), None);
    replica.signal(libc::SIGCONT);
    let server = primary.server.as_ref().unwrap();
    assert!(server.wait_exit().success(), "{}", server.log());
    assert!(server.log().contains("1 of 1 replicas are in sync when shutting down."), "{}", server.log());
    assert!(client.try_read().is_err(), "who waited is not told that it was done");
    let value = |key: &str| replica.ask(&format!("get {key}")).unwrap();
    eventually("the replica has all", || value("held") == Value::bulk("1"));
    assert_eq!((value("on-its-way"), value("late")), (Value::bulk("1"), Value::NullBulk));
}

#[test]
fn a_primary_does_not_wait_for_ever_for_its_replicas() {
    for (order, says) in [("shutdown", true), ("shutdown now", false)] {
        let nodes = family(1);
        let mut client = nodes[0].client();
        nodes[1].signal(libc::SIGSTOP);
        client.ok(&format!("config set shutdown-timeout {}", if says { 1 } else { 1000 }));
        client.ok("set a 1");
        client.send(&words(order));
        let server = nodes[0].server.as_ref().unwrap();
        assert!(server.wait_exit().success(), "{}", server.log());
        assert_eq!(server.log().contains("0 of 1 replicas are in sync"), says, "{}", server.log());
        assert_eq!(server.log().contains("Lagging replica 127.0.0.1:"), says);
    }
}
