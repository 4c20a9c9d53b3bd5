//! WAIT and WAITAOF of a real server.

use super::super::harness::{eventually, Peer, Value};
use super::{info, kill, Home};

const EVERYSEC: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

fn done() -> Value {
    Value::Array(vec![Value::Int(1), Value::Int(0)])
}

#[test]
fn what_waitaof_was_answered_for_survives_a_kill() {
    for policy in ["everysec", "always"] {
        let home = Home::new();
        let args = ["--appendonly", "yes", "--appendfsync", policy];
        let mut expected = Vec::new();
        for life in 0..3 {
            let server = home.run(2, &args);
            let mut client = server.client();
            for (key, value) in &expected {
                assert_eq!(client.run(&format!("GET {key}")), Value::bulk(value), "{policy}, life {life}");
            }
            for round in 0..3 {
                let value = format!("{life}:{round}");
                let pairs: Vec<_> = (0..20).map(|key| format!("k{key} {value}")).collect();
                client.ok(&format!("MSET {}", pairs.join(" ")));
                client.ok(&format!("SET last {value}"));
                assert_eq!(client.run("WAITAOF 1 0 0"), done());
                expected = (0..20).map(|key| (format!("k{key}"), value.clone())).collect();
                expected.push(("last".to_owned(), value));
            }
            kill(server);
        }
    }
}

#[test]
fn only_the_client_that_waits_is_blocked() {
    let home = Home::new();
    let args = [&EVERYSEC[..2], &["--appendfsync", "no"]].concat();
    let server = home.run(2, &args);
    let (mut client, mut other) = (server.client(), server.client());
    client.ok("MSET a 1 b 1 c 1");
    let id = client.run("CLIENT ID").int();
    // Nobody syncs: it ends when its time is up.
    let not = Value::Array(vec![Value::Int(0), Value::Int(0)]);
    assert_eq!(client.run("WAITAOF 1 0 20"), not);
    client.send(&super::super::harness::words("WAITAOF 1 0 0"));
    eventually("it is blocked", || info(&mut other, "blocked_clients") == "1");
    other.ok("MSET a 2 b 2 c 2");
    assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}")).int(), 1);
    assert_eq!(client.read(), not);
    client.send(&super::super::harness::words("WAITAOF 1 0 0"));
    eventually("it is blocked", || info(&mut other, "blocked_clients") == "1");
    other.ok("CONFIG SET appendonly no");
    let off = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    let refusal = client.read();
    assert!(refusal.is_error() && refusal.text() == off, "{refusal:?}");
    assert_eq!(client.run("WAITAOF 1 0 0").text(), off);
}

#[test]
fn wait_without_replicas_is_that_of_redis() {
    let home = Home::new();
    let server = home.run(2, &[]);
    let peer = Peer::start_with(&[]);
    let (mut ours, mut redis) = (server.client(), peer.client());
    for line in [
        "WAIT 0 0",
        "WAIT -5 100",
        "SET a 1",
        "WAIT 0 0",
        "WAIT 1 20",
        "WAIT x 0",
        "WAIT 1 x",
        "WAIT 1 1.5",
        "WAIT 1 -1",
        "WAIT",
        "WAIT 1",
        "WAIT 1 2 3",
        "MULTI",
        "SET a 2",
        "WAIT 1 0",
        "WAIT x 0",
        "EXEC",
    ] {
        assert_eq!(ours.run(line), redis.run(line), "{line}");
    }
}
