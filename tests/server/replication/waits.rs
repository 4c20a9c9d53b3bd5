//! WAIT: how many replicas have what was written.

use super::super::harness::{eventually, words, Peer, Value};
use super::{info, Node};

fn online(primary: &Node, count: usize) {
    eventually("the replicas are online", || {
        let text = primary.client().run("INFO replication").text();
        text.matches("state=online").count() == count
    });
}

#[test]
fn replicas_of_every_kind_are_counted_once_they_have_it() {
    let primary = Node::start(2, &[]);
    let same = Node::follower(2, primary.address(), &[]);
    let _other = Node::follower(3, primary.address(), &[]);
    let port = primary.address().port().to_string();
    let stock = Peer::start_with(&["--replicaof", "127.0.0.1", &port]);
    online(&primary, 3);
    let mut client = primary.client();
    for round in 0..50 {
        let pairs: Vec<_> = (0..5).map(|key| format!("k{key} {round}")).collect();
        client.ok(&format!("MSET {}", pairs.join(" ")));
        assert_eq!(client.run("WAIT 3 0"), Value::Int(3), "round {round}");
        // Each has it, as it has said.
        let last = Value::bulk(round.to_string());
        for mut replica in [same.client(), stock.client()] {
            assert_eq!(replica.run("GET k4"), last, "round {round}");
        }
    }
    assert_eq!(client.run("WAIT 4 20"), Value::Int(3));
    // Who need not wait is told how things stand, which is that of the moment.
    assert!((0..=3).contains(&client.run("WAIT 0 0").int()));
    // One that is frozen is not counted, until it goes on.
    same.server().signal(libc::SIGSTOP);
    client.ok("SET k4 frozen");
    assert_eq!(client.run("WAIT 3 200"), Value::Int(2));
    client.send(&words("WAIT 3 0"));
    eventually("it is blocked", || info(&mut primary.client(), "blocked_clients") == "1");
    same.server().signal(libc::SIGCONT);
    assert_eq!(client.read(), Value::Int(3));
    // A demoted primary lets go of those who wait.
    client.send(&words("WAIT 4 0"));
    eventually("it is blocked", || info(&mut primary.client(), "blocked_clients") == "1");
    primary.follow(same.address());
    let refusal = client.read();
    assert!(refusal.is_error() && refusal.text().starts_with("UNBLOCKED force unblock"), "{refusal:?}");
}

#[test]
fn a_replica_refuses_in_redis_s_words() {
    let primary = Node::start(2, &[]);
    let replica = Node::follower(2, primary.address(), &[]);
    replica.await_up();
    let port = primary.address().port().to_string();
    let stock = Peer::start_with(&["--replicaof", "127.0.0.1", &port]);
    let (mut ours, mut redis) = (replica.client(), stock.client());
    for line in ["WAIT 1 0", "WAIT x 0"] {
        assert_eq!(ours.run(line), redis.run(line), "{line}");
    }
    let refusal = ours.run("WAITAOF 0 1 0").text();
    assert!(refusal.starts_with("ERR WAITAOF cannot be used with replica instances."), "{refusal}");
    // The same client may wait once its server is a primary.
    replica.lead();
    assert_eq!(ours.run("WAIT 1 10"), Value::Int(0));
}
