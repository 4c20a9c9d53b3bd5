//! WAIT and WAITAOF: how many replicas have what was written, and how many have it on their disks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use super::super::harness::{eventually, words, Peer, Value};
use super::super::persistence::SYNCED_AOF;
use super::{assert_converged, info, Node};

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

fn counts(local: i64, replicas: i64) -> Vec<Value> {
    vec![Value::Int(local), Value::Int(replicas)]
}

#[test]
fn replicas_say_what_is_on_their_disks() {
    let primary = Node::start(2, SYNCED_AOF);
    primary.client().ok("SET before 1");
    let same = Node::follower(2, primary.address(), SYNCED_AOF);
    let other = Node::follower(3, primary.address(), &["--appendonly", "yes", "--appendfsync", "everysec"]);
    // Who keeps no file is not counted, nor is one that leaves the sync to the system.
    let _without = Node::follower(2, primary.address(), &[]);
    let never = Node::follower(1, primary.address(), &["--appendonly", "yes", "--appendfsync", "no"]);
    online(&primary, 4);
    [&same, &other, &never].iter().for_each(|node| node.await_files());
    let mut client = primary.client();
    for round in 0..3 {
        client.ok(&format!("MSET a {round} b {round} c {round} d {round}"));
        assert_eq!(client.run("WAITAOF 1 2 0").items(), counts(1, 2), "round {round}");
    }
    client.ok("MSET a x b x c x d x");
    assert_eq!(client.run("WAITAOF 0 3 1500").items()[1], Value::Int(2));
    // What was told is so: the replica has it from its files alone.
    assert_eq!(client.run("WAITAOF 1 2 0").items(), counts(1, 2));
    let copy = same.home.copy().run(2, &[SYNCED_AOF, &["--replicaof", "no", "one"]].concat());
    assert_eq!(copy.client().run("MGET a b c d").items(), vec![Value::bulk("x"); 4]);
    drop(copy);
    // One that has no files any more is counted no more.
    same.client().ok("CONFIG SET appendonly no");
    client.ok("MSET a y b y");
    assert_eq!(client.run("WAITAOF 0 1 0").items()[1], Value::Int(1));
    assert_eq!(client.run("WAITAOF 0 2 1500").items()[1], Value::Int(1));
    assert_converged(&primary, &[&same, &other]);
}

#[test]
fn a_stock_replica_is_counted_by_its_word() {
    let primary = Node::start(2, &[]);
    let mut client = primary.client();
    let mut link = primary.client();
    link.ok("REPLCONF listening-port 7777 capa eof capa psync2");
    link.send(&words("PSYNC ? -1"));
    online(&primary, 1);
    // It has read nothing of it, but says that it has.
    let offset = || info(&mut primary.client(), "master_repl_offset").parse::<u64>().unwrap();
    client.ok("SET k 1");
    let mut say = |text: String| link.send(&words(&text));
    let first = offset();
    say(format!("REPLCONF ACK {first}"));
    assert_eq!(client.run("WAIT 1 0"), Value::Int(1));
    assert_eq!(client.run("WAITAOF 0 1 50").items(), counts(0, 0));
    client.ok("SET k 2");
    let second = offset();
    say(format!("REPLCONF ACK {second} FACK {first}"));
    assert_eq!(client.run("WAIT 1 0"), Value::Int(1));
    assert_eq!(client.run("WAITAOF 0 1 50").items(), counts(0, 0));
    client.send(&words("WAITAOF 0 1 0"));
    eventually("it is blocked", || info(&mut primary.client(), "blocked_clients") == "1");
    // The question how far it is has gone into the stream.
    say(format!("REPLCONF ACK {} FACK {}", offset(), offset()));
    assert_eq!(client.read().items(), counts(0, 1));
}

/// A primary made by hand: it greets as a stock one of Redis 7.2 does, and hears what is on the replica's disk.
#[test]
fn a_stock_primary_hears_what_is_on_the_disk() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let replica = Node::follower(2, listener.local_addr().unwrap(), SYNCED_AOF);
    let (link, _) = listener.accept().unwrap();
    let mut writer = link.try_clone().unwrap();
    let mut reader = BufReader::new(link);
    let mut hear = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let count: usize = line.trim().trim_start_matches('*').parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let len: usize = line.trim().trim_start_matches('$').parse().unwrap();
            let mut word = vec![0; len + 2];
            reader.read_exact(&mut word).unwrap();
            words.push(String::from_utf8_lossy(&word[..len]).into_owned());
        }
        words.join(" ")
    };
    loop {
        let said = hear();
        match said.split(' ').next() {
            Some("PING") => writer.write_all(b"+PONG\r\n").unwrap(),
            Some("PSYNC") => break,
            _ => writer.write_all(b"+OK\r\n").unwrap(),
        }
    }
    // A snapshot of nothing, without a checksum.
    let snapshot = b"REDIS0011\xff\0\0\0\0\0\0\0\0";
    let record = words("SET k v");
    write!(writer, "+FULLRESYNC {} 100\r\n${}\r\n", "a".repeat(40), snapshot.len()).unwrap();
    writer.write_all(&[&snapshot[..], &record].concat()).unwrap();
    let end = 100 + record.len();
    let both = format!("REPLCONF ACK {end} FACK {end}");
    while hear() != both {}
    assert_eq!(replica.client().run("GET k"), Value::bulk("v"));
    // Where there is no file nothing is said of one.
    replica.client().ok("CONFIG SET appendonly no");
    let alone = format!("REPLCONF ACK {end}");
    while hear() != alone {}
}
