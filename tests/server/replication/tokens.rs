//! WAITTOKEN and WAITFOR: a client that waits for its token on a replica reads what it wrote on the primary.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::harness::{eventually, words, Client, Random, Value};
use super::load::{under_load, Kind};
use super::proxy::Proxy;
use super::{info, rounds, Node};

fn take(client: &mut Client) -> String {
    let token = client.run("WAITTOKEN");
    assert!(!token.is_error(), "{token:?}");
    token.text()
}

fn is_refused(reply: &Value) -> bool {
    reply.is_error() && reply.text().starts_with("NOHISTORY ")
}

/// Waits until so many clients of a node are blocked.
fn await_blocked(node: &Node, count: &str) {
    eventually("they are blocked", || info(&mut node.client(), "blocked_clients") == count);
}

/// A client writes, takes a token, waits for it on a replica, and reads: never what was there before, nor half of what
/// it wrote.
fn never_stale(primary: SocketAddr, replicas: &[SocketAddr], seed: u64, rounds: u64) {
    let mut random = Random::new(seed);
    let mut writer = Client::try_connect(primary).unwrap();
    let mut readers: Vec<Client> = replicas.iter().map(|at| Client::try_connect(*at).unwrap()).collect();
    for round in 0..rounds {
        let keys: Vec<String> = (0..1 + random.below(5)).map(|key| format!("own:{seed}:{key}")).collect();
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {round}")).collect();
        match random.below(3) {
            0 => keys.iter().for_each(|key| writer.ok(&format!("SET {key} {round}"))),
            1 => writer.ok(&format!("MSET {}", pairs.join(" "))),
            _ => {
                writer.ok("MULTI");
                keys.iter()
                    .for_each(|key| assert_eq!(writer.run(&format!("SET {key} {round}")).text(), "QUEUED"));
                assert_eq!(writer.run("EXEC").items().len(), keys.len());
            }
        }
        let token = take(&mut writer);
        let reader = &mut readers[random.below(replicas.len())];
        // Sometimes with the reads right behind it.
        let is_pipelined = random.one_in(2);
        reader.send(&words(&format!("WAITFOR {token} 0")));
        if !is_pipelined {
            assert_eq!(reader.read(), Value::Int(1));
        }
        reader.send(&words(&format!("MGET {}", keys.join(" "))));
        if is_pipelined {
            assert_eq!(reader.read(), Value::Int(1));
        }
        let read = reader.read();
        let is_all = read.items().iter().all(|value| *value == Value::bulk(round.to_string()));
        assert!(is_all, "seed {seed}, round {round}: {keys:?} are {read:?}");
    }
}

/// Replicas with other numbers of shards, one of them behind a proxy that delays, one behind another replica.
fn with_replicas(primary_shards: u16, replica_shards: [u16; 3], seed: u64) {
    let primary = Node::start(primary_shards, &[]);
    let proxy = Proxy::new(primary.address());
    proxy.delay(Duration::from_millis(2));
    let [first, second, third] = replica_shards;
    let near = Node::follower(first, primary.address(), &[]);
    let far = Node::follower(second, proxy.address, &[]);
    let nodes = [&near, &far];
    nodes.iter().for_each(|node| node.await_up());
    let chained = Node::follower(third, far.address(), &[]);
    chained.await_up();
    let at = [near.address(), far.address(), chained.address()];
    let kinds = [Kind::Several, Kind::Groups];
    let address = primary.address();
    under_load(address, &kinds, seed, || {
        std::thread::scope(|scope| {
            for client in 0..2 {
                scope.spawn(move || never_stale(address, &at, seed + client, 3 * rounds(1)));
            }
        });
    });
}

#[test]
fn who_waits_is_never_shown_what_was_before() {
    with_replicas(2, [2, 3, 1], 10);
    with_replicas(3, [1, 2, 3], 20);
}

#[test]
fn the_wait_ends_when_it_is_there_or_in_the_ways_in_which_others_do() {
    let primary = Node::start(2, &[]);
    let proxy = Proxy::new(primary.address());
    let replica = Node::follower(3, proxy.address, &[]);
    replica.await_up();
    let mut writer = primary.client();
    let of_nothing = take(&mut writer);
    let (mut reader, mut other) = (replica.client(), replica.client());
    assert_eq!(reader.run(&format!("WAITFOR {of_nothing} 0")), Value::Int(1));
    proxy.freeze(true);
    writer.ok("MSET a 1 b 1 c 1");
    let token = take(&mut writer);
    assert_eq!(writer.run(&format!("WAITFOR {token} 0")), Value::Int(1));
    // On a replica nobody takes one.
    assert!(reader.run("WAITTOKEN").text().starts_with("ERR WAITTOKEN cannot be used with replica"));
    assert_eq!(reader.run(&format!("WAITFOR {token} 20")), Value::Int(0));
    for (how, reply) in [("TIMEOUT", "0"), ("ERROR", "UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
        let id = reader.run("CLIENT ID").int();
        reader.send(&words(&format!("WAITFOR {token} 0")));
        await_blocked(&replica, "1");
        assert_eq!(other.run(&format!("CLIENT UNBLOCK {id} {how}")), Value::Int(1));
        let said = reader.read();
        let said = if said.is_error() { said.text() } else { said.int().to_string() };
        assert_eq!(said, reply);
    }
    // Inside MULTI it is told how things stand.
    let in_multi = |client: &mut Client| {
        client.ok("MULTI");
        client.run(&format!("WAITFOR {token} 0"));
        client.run("EXEC").items().to_vec()
    };
    assert_eq!(in_multi(&mut other), [Value::Int(0)]);
    // One leaves, one waits until it is there.
    let mut leaver = replica.client();
    leaver.send(&words(&format!("WAITFOR {token} 0")));
    reader.send(&words(&format!("WAITFOR {token} 0")));
    await_blocked(&replica, "2");
    drop(leaver);
    await_blocked(&replica, "1");
    proxy.freeze(false);
    assert_eq!(reader.read(), Value::Int(1));
    assert_eq!(reader.run("MGET a b c").items(), [Value::bulk("1"), Value::bulk("1"), Value::bulk("1")]);
    assert_eq!(in_multi(&mut other), [Value::Int(1)]);
    // While the link is down, and while another snapshot comes.
    proxy.close(true);
    proxy.cut();
    eventually("the link is down", || !replica.is_up());
    writer.ok("MSET a 2 b 2 c 2");
    let token = take(&mut writer);
    reader.send(&words(&format!("WAITFOR {token} 0")));
    await_blocked(&replica, "1");
    for number in 0..30 {
        writer.ok(&format!("SET filler:{number} {}", "f".repeat(100_000)));
    }
    proxy.close(false);
    assert_eq!(reader.read(), Value::Int(1));
    assert_eq!(reader.run("GET c"), Value::bulk("2"));
    assert_eq!(primary.count("sync_full"), 2);
}

#[test]
fn after_a_promotion_the_old_tokens_mean_what_they_did_up_to_its_point() {
    let primary = Node::start(2, &[]);
    let heir = Node::follower(2, primary.address(), &[]);
    let proxy = Proxy::new(primary.address());
    let sibling = Node::follower(3, proxy.address, &[]);
    [&heir, &sibling].iter().for_each(|node| node.await_up());
    let mut writer = primary.client();
    writer.ok("MSET a 1 b 1 c 1");
    assert_eq!(writer.run("WAIT 2 0"), Value::Int(2));
    // The sibling lags behind.
    proxy.freeze(true);
    writer.ok("MSET a 2 b 2 c 2");
    let shared = take(&mut writer);
    assert_eq!(heir.client().run(&format!("WAITFOR {shared} 0")), Value::Int(1));
    // What the heir never had.
    heir.server().signal(libc::SIGSTOP);
    writer.ok("MSET a 3 b 3 c 3");
    let lost = take(&mut writer);
    let mut primary = primary;
    primary.kill();
    heir.server().signal(libc::SIGCONT);
    let mut waits = heir.client();
    waits.send(&words(&format!("WAITFOR {lost} 0")));
    await_blocked(&heir, "1");
    heir.lead();
    let said = waits.read();
    // It may have been on the way.
    if said == Value::Int(1) {
        return;
    }
    assert!(is_refused(&said), "{said:?}");
    assert_eq!(waits.run(&format!("WAITFOR {shared} 0")), Value::Int(1));
    let mut writer = heir.client();
    writer.ok("SET a 4");
    let new = take(&mut writer);
    let mut reader = sibling.client();
    // It does not follow the heir yet.
    assert_eq!(reader.run(&format!("WAITFOR {new} 20")), Value::Int(0));
    sibling.follow(heir.address());
    sibling.await_up();
    for token in [&new, &shared] {
        assert_eq!(reader.run(&format!("WAITFOR {token} 0")), Value::Int(1), "{token}");
    }
    assert_eq!(reader.run("GET a"), Value::bulk("4"));
    let said = reader.run(&format!("WAITFOR {lost} 0"));
    assert!(is_refused(&said), "{said:?}");
    assert!(is_refused(&reader.run(&format!("WAITFOR {}:1,2 0", "0".repeat(40)))));
}
