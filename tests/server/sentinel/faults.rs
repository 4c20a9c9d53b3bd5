//! The primary is killed, frozen, and asked to give way.

use super::{Group, Node, Program, DOWN_AFTER_MS, PASSWORD};
use crate::harness::{eventually, Client, Value};

/// A client that has a connection and does nothing, and one that listens.
fn guests(node: &Node) -> [Client; 2] {
    let idle = node.client();
    let mut listener = node.client();
    listener.send(b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n");
    assert_eq!(listener.read().items()[0], Value::bulk("subscribe"));
    [idle, listener]
}

/// Their connections are ended.
#[track_caller]
fn are_gone(guests: [Client; 2]) {
    for mut guest in guests {
        guest.set_timeout(crate::harness::DEADLINE);
        assert_eq!(guest.rest(), b"", "nothing more is said to a client that is let go");
    }
}

#[track_caller]
fn value(node: &Node, key: &str) -> Value {
    node.ask(&format!("get {key}")).expect("the node answers")
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let mut group = Group::start(Program::Ringward, &["", "", ""]);
    let old = group.nodes[0].name();

    // What Sentinel has found out by itself.
    assert_eq!(group.master("num-slaves"), "2");
    assert_eq!(group.master("runid"), super::field_of(&info(&group.nodes[0], "server"), "run_id"));
    assert_eq!(group.master("down-after-milliseconds"), DOWN_AFTER_MS.to_string());
    let mut names: Vec<String> = group.replicas("flags").into_iter().map(|(name, _)| name).collect();
    let mut expected: Vec<String> =
        group.nodes[1..].iter().map(|node| format!("127.0.0.1:{}", node.name())).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    for field in ["slave-priority", "replica-announced"] {
        let wanted = if field == "slave-priority" { "100" } else { "1" };
        assert!(group.replicas(field).iter().all(|(_, value)| value == wanted), "{field}");
    }
    group.nodes[0].client().ok("set before 1");
    let offset = group.nodes[0].info("master_repl_offset").parse::<u64>().unwrap();
    eventually("Sentinel sees the replicas' offsets", || {
        group.replicas("slave-repl-offset").iter().all(|(_, at)| at.parse::<u64>().unwrap() >= offset)
    });

    // Clients of both replicas are let go: one becomes the primary, and the other follows it.
    let visitors = [guests(&group.nodes[1]), guests(&group.nodes[2])];
    group.nodes[0].kill();
    let new = group.eventually_switched(old);
    let primary = group.nodes[new].name();
    group.nodes[new].client().ok("set after 1");
    let other = 3 - new;
    eventually("the other replica follows it", || group.nodes[other].follows(primary));
    eventually("and has its data", || value(&group.nodes[other], "after") == Value::bulk("1"));
    visitors.into_iter().for_each(are_gone);
    assert!(group.nodes[other].configuration().contains(&format!("replicaof 127.0.0.1 {primary}")));
    assert!(!group.nodes[new].configuration().contains("replicaof"));

    // It believes that it is a primary until it is told.
    group.nodes[0].begin();
    group.eventually_whole(primary);
    assert!(group.nodes[0].configuration().contains(&format!("replicaof 127.0.0.1 {primary}")));
    for key in ["before", "after"] {
        assert_eq!(value(&group.nodes[0], key), Value::bulk("1"), "{key}");
    }
    assert!(group.nodes[0].ask("set x 1").unwrap().text().starts_with("READONLY"));
    group.eventually_equal();
}

#[test]
fn what_a_frozen_primary_takes_afterwards_does_not_survive() {
    let group = Group::start(Program::Ringward, &["", "", ""]);
    let old = group.nodes[0].name();
    group.nodes[0].client().ok("set before 1");
    let mut writer = group.nodes[0].client();
    writer.set_timeout(crate::harness::DEADLINE);

    group.nodes[0].signal(libc::SIGSTOP);
    // These lie in its socket.
    writer.send(&crate::harness::words("set lost 1"));
    let new = group.eventually_switched(old);
    group.nodes[new].client().ok("set after 1");
    group.nodes[0].signal(libc::SIGCONT);
    // It took it before it knew, or was told before; then the client was let go.
    let taken = writer.try_read();
    assert!(taken.as_ref().is_ok_and(|reply| *reply == Value::simple("OK")), "{taken:?}");

    group.eventually_whole(group.nodes[new].name());
    group.eventually_equal();
    for node in &group.nodes {
        assert_eq!(value(node, "lost"), Value::NullBulk);
        assert_eq!(value(node, "before"), Value::bulk("1"));
        assert_eq!(value(node, "after"), Value::bulk("1"));
    }
    assert_eq!(writer.rest(), b"", "the client of the old primary is let go");
    assert_eq!(group.nodes.iter().filter(|node| node.is_primary()).count(), 1);
}

#[test]
fn an_operator_moves_the_primary() {
    let group = Group::start(Program::Ringward, &["", "", ""]);
    let old = group.nodes[0].name();
    group.nodes[0].client().ok("set before 1");
    let visitors = guests(&group.nodes[0]);
    eventually("Sentinel begins", || group.sentinel("sentinel failover mymaster") == Value::simple("OK"));
    let new = group.eventually_switched(old);
    group.eventually_whole(group.nodes[new].name());
    are_gone(visitors);
    group.nodes[new].client().ok("set after 1");
    group.eventually_equal();
    for node in &group.nodes {
        assert_eq!(value(node, "before"), Value::bulk("1"));
        assert_eq!(value(node, "after"), Value::bulk("1"));
    }
}

/// What Sentinel sends to a node, over one of its connections.
const ORDERS: [&str; 6] = [
    "multi",
    "slaveof no one",
    "config rewrite",
    "client kill type normal",
    "client kill type pubsub",
    "exec",
];

#[test]
fn sentinels_transaction_acts_as_a_whole() {
    let primary = Node::new(Program::Ringward, "");
    let replica = Node::new(Program::Ringward, &format!("replicaof 127.0.0.1 {}", primary.name()));
    eventually("the link stands", || replica.follows(primary.name()));
    let visitors = guests(&replica);
    let mut client = replica.client();
    let replies: Vec<Value> = ORDERS.iter().map(|line| client.run(line)).collect();
    assert_eq!(replies[0], Value::simple("OK"));
    assert!(replies[1..5].iter().all(|reply| *reply == Value::simple("QUEUED")), "{replies:?}");
    let done = [Value::simple("OK"), Value::simple("OK"), Value::Int(1), Value::Int(1)];
    assert_eq!(replies[5].items(), done);
    // The asking client stays.
    assert_eq!(client.run("ping"), Value::simple("PONG"));
    assert!(replica.is_primary());
    are_gone(visitors);
    assert!(!replica.configuration().contains("replicaof"));
}

/// INFO, one section.
fn info(node: &Node, section: &str) -> String {
    node.ask(&format!("info {section}")).unwrap().text()
}

/// The tutorial's `rename-command CONFIG ""`: a stock server then refuses Sentinel's whole transaction, and nothing is
/// ever failed over.
#[test]
fn a_server_without_config_is_failed_over_all_the_same() {
    let group = Group::start(Program::Ringward, &["rename-command CONFIG \"\"\n"; 2]);
    let old = group.nodes[0].name();
    let mut client = group.nodes[0].client();
    let unknown = "ERR unknown command 'CONFIG', with args beginning with: 'REWRITE' ";
    client.ok("MULTI");
    assert_eq!(client.run("CONFIG REWRITE"), Value::error(unknown));
    assert_eq!(client.run("SET a 1"), Value::simple("QUEUED"));
    assert_eq!(client.run("EXEC"), Value::Array(vec![Value::simple("OK")]));
    // Nothing else that is unknown passes.
    client.ok("MULTI");
    assert!(client.run("CONFIG GET port").is_error());
    assert!(client.run("EXEC").text().starts_with("EXECABORT"));
    eventually("Sentinel begins", || group.sentinel("sentinel failover mymaster") == Value::simple("OK"));
    let new = group.eventually_switched(old);
    group.eventually_whole(group.nodes[new].name());
    group.eventually_equal();
    assert!(group.nodes[0].configuration().contains(&format!("requirepass {PASSWORD}")));
}
