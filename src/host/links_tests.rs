//! Links to other servers, and connections that move between cores.

use super::batch::Received;
use super::harness::{request, ClientNo, Node};
use super::{Effect, LinkOwner};
use crate::session::session::Peer;

fn peer() -> Peer {
    Peer { addr: "10.0.0.9:6379".to_owned(), laddr: "10.0.0.1:40000".to_owned(), fd: 9, ..Peer::default() }
}

/// A node on one core whose core 0 dials; the session, and what the runtime is asked for.
fn dialing(settings: &[(&str, &str)]) -> (Node, u32) {
    let mut node = Node::new(2, 1, 1, settings);
    let session = node.hosts[0].dial("there".to_owned(), 6379, LinkOwner::Probe);
    (node, session)
}

fn effects(node: &mut Node) -> Vec<Effect> {
    let mut effects = Vec::new();
    node.hosts[0].take_effects(&mut effects);
    effects.retain(|effect| *effect != Effect::Configured);
    effects
}

fn told(node: &mut Node) -> Vec<String> {
    std::mem::take(&mut node.hosts[0].probe)
}

#[test]
fn a_link_stands_brings_bytes_and_ends() {
    let (mut node, session) = dialing(&[("bind-source-addr", "10.0.0.1")]);
    node.hosts[0].send_on_link(session, b"PING\r\n");
    node.quiesce();
    assert_eq!(node.dials, [(0, session, "there:6379 from 10.0.0.1".to_owned())]);
    node.hosts[0].dialed(session, Ok(peer()));
    // What it brings is no request, whatever it looks like and however much of it comes.
    let request = request(&[b"SET", b"a", b"1"]);
    let pieces = [Received { session, bytes: &request }, Received { session, bytes: b"+PONG\r\n" }];
    node.hosts[0].receive(&pieces);
    let got = format!("{session} got {}", request.escape_ascii());
    assert_eq!(told(&mut node), [format!("{session} stands"), got, format!("{session} got +PONG\\r\\n")]);
    let client = node.connect();
    assert_eq!(node.run(client, "EXISTS a"), ":0\r\n");
    // Nor does it become one later.
    node.advance_us(5_000_000);
    node.hosts[0].settle();
    assert_eq!(node.run(client, "EXISTS a"), ":0\r\n");
    node.hosts[0].end_of_input(session);
    assert_eq!(told(&mut node), [format!("{session} ended")]);
    assert_eq!(effects(&mut node), [Effect::Close { session, flush: false }]);
    node.hosts[0].receive(&[Received { session, bytes: b"late" }]);
    node.hosts[0].disconnected(session);
    assert_eq!(told(&mut node), [""; 0]);
    node.disconnect(client);
    node.quiesce();
    assert_eq!(node.leftover(), None);
}

#[test]
fn a_link_that_fails_or_breaks_is_told_once_and_its_number_is_free() {
    let (mut node, session) = dialing(&[]);
    node.quiesce();
    node.hosts[0].dialed(session, Err("Connection refused".to_owned()));
    assert_eq!(told(&mut node), [format!("{session} failed: Connection refused")]);
    assert_eq!(node.leftover(), None);
    let again = node.hosts[0].dial("there".to_owned(), 1, LinkOwner::Probe);
    assert_eq!(again, session);
    node.quiesce();
    node.hosts[0].dialed(session, Ok(peer()));
    node.hosts[0].disconnected(session);
    assert_eq!(told(&mut node), [format!("{session} stands"), format!("{session} ended")]);
    assert_eq!(node.leftover(), None);
}

#[test]
fn an_owner_that_closes_hears_nothing_more() {
    // While it is being made, when it stands, and in the pass in which the runtime has not yet heard of it.
    for stands in [false, true] {
        let (mut node, session) = dialing(&[]);
        if stands {
            effects(&mut node);
            node.hosts[0].dialed(session, Ok(peer()));
            told(&mut node);
        }
        node.hosts[0].close(session, true);
        assert!(effects(&mut node).contains(&Effect::Close { session, flush: false }));
        match stands {
            false => node.hosts[0].dialed(session, Err("Operation canceled".to_owned())),
            true => node.hosts[0].disconnected(session),
        }
        assert_eq!(told(&mut node), [""; 0]);
        assert_eq!(node.leftover(), None);
    }
    let (mut node, session) = dialing(&[]);
    node.hosts[0].close(session, true);
    node.hosts[0].disconnected(session);
    assert_eq!(effects(&mut node), [], "nothing is left to be done about a number that may be another's");
}

#[test]
fn a_link_is_no_client() {
    let settings = [("timeout", "1"), ("client-output-buffer-limit", "normal 1000 1000 1")];
    let (mut node, session) = dialing(&settings);
    node.quiesce();
    node.hosts[0].dialed(session, Ok(peer()));
    // The other side does not read.
    node.hosts[0].send_on_link(session, b"x");
    node.hosts[0].sent(session, 1 << 20);
    let client = node.connect();
    assert!(!node.run(client, "CLIENT LIST").contains("10.0.0.9"));
    assert!(node.run(client, "INFO clients").contains("\r\nconnected_clients:1\r\n"));
    assert_eq!(node.run(client, "CLIENT KILL TYPE normal"), ":0\r\n");
    assert_eq!(node.run(client, "CLIENT KILL ADDR 10.0.0.9:6379"), ":0\r\n");
    assert_eq!(node.run(client, "CONFIG SET maxmemory-clients 200000"), "+OK\r\n");
    for _ in 0..30 {
        node.advance_us(100_000);
        node.run(client, "PING");
    }
    assert!(node.hosts[0].clients_memory() < 200_000);
    assert!(node.is_open(client));
    assert_eq!(told(&mut node), [format!("{session} stands")]);
    assert_eq!(node.hosts[0].links.len(), 1);
}

/// Three cores, and a client of core 0.
fn three_cores(seed: u64) -> (Node, ClientNo) {
    let mut node = Node::new(5, 3, seed, &[]);
    let client = node.connect_to(0);
    (node, client)
}

#[test]
fn a_client_moves_with_all_that_it_is() {
    let (mut node, client) = three_cores(3);
    let other = node.connect_to(1);
    for (words, reply) in [
        ("CLIENT ID", ":1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("SELECT 3", "+OK\r\n"),
        ("SET a 1", "+OK\r\n"),
        ("WATCH a b", "+OK\r\n"),
        ("DEBUG MOVE-CLIENT 2", "+OK\r\n"),
    ] {
        assert_eq!(node.run(client, words), reply, "{words}");
    }
    assert_eq!(node.place_of(client).0, 2);
    for (words, reply) in
        [("CLIENT ID", ":1\r\n"), ("CLIENT GETNAME", "$2\r\nme\r\n"), ("GET a", "$1\r\n1\r\n")]
    {
        assert_eq!(node.run(client, words), reply, "{words}");
    }
    node.run(other, "SELECT 3");
    node.run(other, "SET b 2");
    for (words, reply) in [
        ("MULTI", "+OK\r\n"),
        ("DEBUG MOVE-CLIENT 1", "+QUEUED\r\n"),
        ("EXEC", "*-1\r\n"),
        ("MULTI", "+OK\r\n"),
    ] {
        assert_eq!(node.run(client, words), reply, "{words}");
    }
    assert!(node.run(client, "DEBUG MOVE-CLIENT 1").starts_with("+QUEUED"));
    assert!(node.run(client, "EXEC").starts_with("*1\r\n-ERR Connections don't move"));
    assert_eq!(node.place_of(client).0, 2);
    assert!(node.run(other, "INFO clients").contains("\r\nconnected_clients:2\r\n"));
    for client in [client, other] {
        node.disconnect(client);
    }
    node.quiesce();
    assert_eq!(node.leftover(), None);
}

#[test]
fn what_is_sent_meanwhile_is_answered_there_and_in_order() {
    for seed in 0..40 {
        let (mut node, client) = three_cores(seed);
        let mut expected = String::new();
        for number in 0..30 {
            let to = node.rng.below(3).to_string();
            let value = number.to_string();
            let mut bytes = request(&[b"SET", value.as_bytes(), value.as_bytes()]);
            bytes.extend(request(&[b"DEBUG", b"MOVE-CLIENT", to.as_bytes()]));
            bytes.extend(request(&[b"GET", value.as_bytes()]));
            let piece_max = 1 + node.rng.below(200);
            node.send_in_pieces(client, &bytes, piece_max);
            expected += &format!("+OK\r\n+OK\r\n${}\r\n{value}\r\n", value.len());
        }
        node.end_of_input(client);
        node.quiesce();
        assert_eq!(node.take_text(client), expected, "seed {seed}");
        assert!(!node.is_open(client), "it has sent its last byte, and all is answered");
        assert_eq!(node.leftover(), None, "seed {seed}");
    }
}

#[test]
fn one_that_goes_on_the_way_is_gone() {
    for seed in 0..60 {
        let (mut node, client) = three_cores(seed);
        let killer = node.connect_to(1);
        node.send(client, &request(&[b"DEBUG", b"MOVE-CLIENT", b"2"]));
        for _ in 0..node.rng.below(4) {
            node.step();
        }
        match node.rng.below(2) {
            0 => node.disconnect(client),
            _ => {
                node.run(killer, "CLIENT KILL ID 1");
                // It may have been between the cores.
                node.run(killer, "CLIENT KILL ID 1");
                assert!(!node.is_open(client), "seed {seed}");
            }
        }
        node.quiesce();
        assert!(node.run(killer, "INFO clients").contains("\r\nconnected_clients:1\r\n"), "seed {seed}");
        node.disconnect(killer);
        node.quiesce();
        assert_eq!(node.leftover(), None, "seed {seed}");
    }
}

#[test]
fn a_client_that_has_moved_can_be_unblocked_and_goes_on_monitoring() {
    let (mut node, client) = three_cores(5);
    let other = node.connect_to(1);
    assert_eq!(node.run(client, "DEBUG MOVE-CLIENT 2"), "+OK\r\n");
    assert_eq!(node.run(client, "BLPOP none 0"), "");
    assert_eq!(node.run(other, "CLIENT UNBLOCK 1"), ":1\r\n");
    assert_eq!(node.take_text(client), "*-1\r\n");
    assert_eq!(node.run(client, "MONITOR"), "+OK\r\n");
    assert!(node.run(client, "DEBUG MOVE-CLIENT 1").ends_with("+OK\r\n"));
    assert_eq!(node.run(other, "GET a"), "$-1\r\n");
    assert!(node.take_text(client).ends_with("\"GET\" \"a\"\r\n"));
    node.disconnect(client);
    node.quiesce();
    assert!(node.hosts.iter().all(|host| host.monitors == 0 && host.local_monitors.is_empty()));
}

#[test]
fn subscribers_stay_where_they_are() {
    let (mut node, client) = three_cores(2);
    for words in ["HELLO 3", "SUBSCRIBE a"] {
        node.run(client, words);
    }
    for core in 0..3 {
        assert_eq!(
            node.run(client, &format!("DEBUG MOVE-CLIENT {core}")),
            "-ERR a client with subscriptions stays where it is\r\n"
        );
    }
    node.run(client, "UNSUBSCRIBE");
    assert_eq!(node.run(client, "DEBUG MOVE-CLIENT 2"), "+OK\r\n");
    let other = node.connect();
    assert_eq!(node.run(other, "PUBLISH a b"), ":0\r\n");
}

#[test]
fn a_move_to_where_it_is_is_answered_at_once() {
    let (mut node, client) = three_cores(1);
    node.send(client, &request(&[b"DEBUG", b"MOVE-CLIENT", b"0"]));
    assert_eq!(effects(&mut node), []);
    node.quiesce();
    assert_eq!(node.take_text(client), "+OK\r\n");
}
