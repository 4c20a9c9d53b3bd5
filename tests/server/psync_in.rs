//! As a replica of a stock redis-server: its snapshot in both ways, its stream to the byte, and what a live migration
//! needs.

use super::harness::{eventually, number_from_env, words, Client, Peer, Random, Server, Start, Value};
use super::persistence::{assert_alike, assert_same, fill_as_stock, info, survey};

fn random(salt: u64) -> Random {
    Random::new(number_from_env("RINGWARD_SEED", 1) * 1000 + salt)
}

fn primary(args: &[&str]) -> Peer {
    Peer::start_with(&[&["--repl-diskless-sync-delay", "0"], args].concat())
}

fn follow(client: &mut Client, primary: &Peer) {
    client.ok(&format!("REPLICAOF {} {}", primary.address.ip(), primary.address.port()));
}

/// Waits until the replica has all that the primary has: their offsets are the same, on both sides.
#[track_caller]
fn settled(primary: &mut Client, replica: &mut Client) {
    eventually("the offsets are the same", || {
        info(replica, "master_link_status") == "up" && {
            let offset = info(primary, "master_repl_offset");
            offset == info(replica, "slave_repl_offset")
                && info(primary, "slave0").contains(&format!("state=online,offset={offset},"))
        }
    });
    assert_eq!(info(primary, "master_replid"), info(replica, "master_replid"));
}

#[track_caller]
fn same(primary: &mut Client, replica: &mut Client, what: &str) {
    settled(primary, replica);
    assert_alike(primary, replica, what);
}

#[test]
fn a_snapshot_and_what_follows_it_are_taken_over() {
    for (shards, diskless) in [(1, "no"), (2, "yes"), (5, "yes"), (5, "no")] {
        let what = format!("{shards} shards, diskless {diskless}");
        let peer = primary(&["--repl-diskless-sync", diskless]);
        let (mut primary, mut random) = (peer.client(), random(u64::from(shards)));
        fill_as_stock(&mut primary, &mut random, 1500);
        let server = Server::start(shards);
        let mut replica = server.client();
        replica.ok("SET old data");
        follow(&mut replica, &peer);
        // While it is sent, and loaded, and after that.
        fill_as_stock(&mut primary, &mut random, 1000);
        primary.call(&[&b"SET"[..], b"big", &vec![b'-'; 3_000_000]]);
        primary.pipeline(&words("INCR counter").repeat(20_000), 20_000);
        same(&mut primary, &mut replica, &what);
        assert!(replica.run("SET a b").text().starts_with("READONLY"), "{what}");
        // A snapshot and records again, since other data may be there now.
        replica.ok("REPLICAOF NO ONE");
        replica.ok("SET other data");
        follow(&mut replica, &peer);
        fill_as_stock(&mut primary, &mut random, 500);
        same(&mut primary, &mut replica, &what);
        assert!(!server.log().contains("CRITICAL"), "{}", server.log());
    }
}

#[test]
fn a_cut_link_goes_on_where_it_was() {
    let peer = primary(&["--repl-backlog-size", "64mb"]);
    let server = Server::start(3);
    let (mut primary, mut replica, mut random) = (peer.client(), server.client(), random(20));
    follow(&mut replica, &peer);
    settled(&mut primary, &mut replica);
    for round in 0..6 {
        // The database that is selected is a part of where the stream goes on.
        primary.ok(&format!("SELECT {}", round % 3));
        primary.run("INCR before");
        if round % 2 == 0 {
            settled(&mut primary, &mut replica);
        } else {
            fill_as_stock(&mut primary, &mut random, 300);
        }
        assert_eq!(primary.run("CLIENT KILL TYPE replica").int(), 1);
        primary.run("INCR after");
        primary.ok("SELECT 0");
        settled(&mut primary, &mut replica);
    }
    same(&mut primary, &mut replica, "after cuts");
    assert_eq!(info(&mut primary, "sync_full"), "1");
    assert!(info(&mut primary, "sync_partial_ok").parse::<u32>().unwrap() >= 6);
    // Another history has nothing to go on with.
    primary.ok("DEBUG CHANGE-REPL-ID");
    primary.run("CLIENT KILL TYPE replica");
    primary.ok("SET x y");
    same(&mut primary, &mut replica, "after a full one");
    assert_eq!(info(&mut primary, "sync_full"), "2");
}

#[test]
fn a_primary_that_starts_again_is_followed_again() {
    let peer = primary(&[]);
    let server = Server::start(2);
    let (mut primary, mut replica, mut random) = (peer.client(), server.client(), random(30));
    fill_as_stock(&mut primary, &mut random, 500);
    follow(&mut replica, &peer);
    settled(&mut primary, &mut replica);
    let id = info(&mut primary, "master_replid");
    let address = peer.address;
    peer.kill();
    eventually("it is seen", || info(&mut replica, "master_link_status") == "down");
    assert!(replica.run("DBSIZE").int() > 1, "the data is kept meanwhile");
    // It had nothing on the disk.
    let _peer = self::primary(&["--port", &address.port().to_string()]);
    let mut primary = Client::connect(address);
    assert_ne!(info(&mut primary, "master_replid"), id);
    primary.ok("SET new data");
    same(&mut primary, &mut replica, "after the start");
    assert_eq!(replica.run("DBSIZE").int(), 1);
}

#[test]
fn the_stream_is_answered_and_told_as_redis_does() {
    let peer = primary(&[]);
    let server = Server::start(2);
    let (mut primary, mut replica) = (peer.client(), server.client());
    follow(&mut replica, &peer);
    settled(&mut primary, &mut replica);
    for round in 0..20 {
        primary.ok(&format!("SET key:{round} {round}"));
        assert_eq!(primary.run("WAIT 1 20000").int(), 1, "{}", server.log());
        assert_eq!(replica.run(&format!("GET key:{round}")).text(), round.to_string());
    }
    settled(&mut primary, &mut replica);
    let role = replica.run("ROLE");
    assert_eq!(role.items()[3].text(), "connected");
    assert_eq!(role.items()[4].int().to_string(), info(&mut primary, "master_repl_offset"));
    // Expiry is the primary's.
    primary.ok("SET short lived PX 100");
    eventually("it is gone", || replica.run("EXISTS short").int() == 0);
    // Scripts come as what they did, messages reach those who listen here.
    let mut listener = server.client();
    listener.run("SUBSCRIBE news");
    let script = "redis.call('set','s','1') redis.call('publish','news','hello') redis.call('incr','t')";
    primary.call(&["EVAL", script, "0"]);
    assert_eq!(listener.read().items()[2].text(), "hello");
    settled(&mut primary, &mut replica);
    assert_eq!(
        replica.run("MGET s t").items().iter().map(|value| value.text()).collect::<Vec<_>>(),
        ["1", "1"]
    );
    // What is not known here is left out of a transaction, is said, and the rest of it is done.
    primary.ok("MULTI");
    primary.run("SET in 1");
    primary.run("XADD stream 1-1 a b");
    primary.run("SELECT 4");
    primary.run("SET there 2");
    primary.run("EXEC");
    settled(&mut primary, &mut replica);
    assert_eq!(replica.run("GET in").text(), "1");
    replica.ok("SELECT 4");
    assert_eq!(replica.run("GET there").text(), "2");
    assert!(server.log().contains("XADD, which cannot be run here"), "{}", server.log());
}

#[test]
fn a_transaction_is_seen_whole() {
    let peer = primary(&[]);
    let server = Server::start(4);
    let (mut primary, mut replica) = (peer.client(), server.client());
    follow(&mut replica, &peer);
    settled(&mut primary, &mut replica);
    let mut transaction = words("MULTI");
    (0..8).for_each(|key| transaction.extend(words(&format!("INCR key{key}"))));
    transaction.extend(words("EXEC"));
    let keys = (0..8).map(|key| format!("key{key}")).collect::<Vec<_>>().join(" ");
    let rounds = 300;
    primary.send(&transaction.repeat(rounds));
    eventually("all transactions are there", || {
        let values = replica.run(&format!("MGET {keys}"));
        let first = values.items()[0].clone();
        assert!(values.items().iter().all(|value| *value == first), "{values:?}");
        first == Value::bulk(rounds.to_string())
    });
    primary.read_many(rounds * 10);
}

#[test]
fn a_failover_among_stock_servers_is_followed_without_a_snapshot() {
    let (first, second) = (primary(&[]), primary(&[]));
    let (mut a, mut b) = (first.client(), second.client());
    let mut random = random(40);
    fill_as_stock(&mut a, &mut random, 500);
    b.ok(&format!("REPLICAOF {} {}", first.address.ip(), first.address.port()));
    settled(&mut a, &mut b);
    let server = Server::start(3);
    let mut replica = server.client();
    follow(&mut replica, &first);
    eventually("two replicas", || info(&mut a, "connected_slaves") == "2");
    // The one that will be the primary need not select a database that is selected already.
    a.ok("SELECT 7");
    a.ok("SET on-the-first 1");
    assert_eq!(a.run("WAIT 2 20000").int(), 2);
    b.ok("REPLICAOF NO ONE");
    first.kill();
    b.ok("SELECT 3");
    b.ok("SET on-the-second 2");
    follow(&mut replica, &second);
    same(&mut b, &mut replica, "after the failover");
    assert!(server.log().contains("Successful partial resynchronization"), "{}", server.log());
    assert_eq!(info(&mut b, "sync_full"), "0");
    // A link that is cut after that goes on under the new name.
    b.run("CLIENT KILL TYPE replica");
    b.ok("SET more 3");
    same(&mut b, &mut replica, "after a cut");
    assert_eq!(info(&mut b, "sync_full"), "0");
}

#[test]
fn what_cannot_be_held_is_refused_by_name_and_costs_no_data() {
    let peer = primary(&[]);
    let server = Start::new(2).args(&["--databases", "4"]).run();
    let (mut primary, mut replica) = (peer.client(), server.client());
    replica.ok("SET old data");
    primary.run("XADD stream 1-1 a b");
    primary.ok("SET new data");
    follow(&mut replica, &peer);
    eventually("it is said", || server.log().contains("cannot be loaded here: key 'stream' holds a stream"));
    assert_eq!(replica.run("GET old").text(), "data");
    primary.run("DEL stream");
    settled(&mut primary, &mut replica);
    assert_eq!(replica.run("KEYS *").items(), [Value::bulk("new")]);
    // A database that is not here.
    primary.ok("SELECT 9");
    primary.ok("SET k v");
    eventually("it is said", || server.log().contains("the primary has a database 9, and there are 4 here"));
    eventually("and again", || server.log().contains("it has a database 9, and there are 4 here"));
    assert_eq!(replica.run("GET new").text(), "data");
    primary.ok("FLUSHDB");
    primary.ok("SELECT 0");
    primary.ok("SET newer data");
    settled(&mut primary, &mut replica);
    assert_eq!(replica.run("GET newer").text(), "data");
}

#[test]
fn a_primary_that_dies_while_it_sends_costs_no_data() {
    for diskless in ["yes", "no"] {
        // A key takes a while.
        let args = ["--repl-diskless-sync", diskless, "--rdb-key-save-delay", "300"];
        let peer = primary(&args);
        let mut client = peer.client();
        client.ok("DEBUG POPULATE 20000 key 200");
        let server = Server::start(2);
        let mut replica = server.client();
        replica.ok("SET old data");
        follow(&mut replica, &peer);
        eventually("it begins", || server.log().contains("Full resync from master"));
        if diskless == "yes" {
            eventually("bytes come", || {
                std::fs::metadata(server.folder.join("temp-sync-foreign.rdb"))
                    .is_ok_and(|file| file.len() > 0)
            });
        }
        peer.kill();
        eventually("it is seen", || info(&mut replica, "master_link_status") == "down");
        assert_eq!(replica.run("GET old").text(), "data");
        let peer = primary(&[]);
        let mut client = peer.client();
        client.ok("SET new data");
        follow(&mut replica, &peer);
        same(&mut client, &mut replica, "another one");
        eventually("the file is gone", || !server.folder.join("temp-sync-foreign.rdb").exists());
    }
}

#[test]
fn passwords_are_said() {
    let peer = primary(&["--requirepass", "secret"]);
    let server = Server::start(1);
    let (mut primary, mut replica) = (peer.client(), server.client());
    primary.ok("AUTH secret");
    primary.ok("SET a b");
    follow(&mut replica, &peer);
    eventually("it is refused", || server.log().contains("NOAUTH"));
    replica.ok("CONFIG SET masterauth wrong");
    eventually("it is refused again", || server.log().contains("Unable to AUTH to MASTER: -WRONGPASS"));
    replica.ok("CONFIG SET masterauth secret");
    same(&mut primary, &mut replica, "with the password");
    primary.ok("ACL SETUSER copier on >other +psync +replconf +ping");
    replica.ok("CONFIG SET masterauth other");
    replica.ok("CONFIG SET masteruser copier");
    primary.run("CLIENT KILL TYPE replica");
    primary.ok("SET c d");
    same(&mut primary, &mut replica, "as a user");
}

#[test]
fn a_migration_ends_with_a_primary_of_its_own() {
    for shards in [1, 3] {
        let peer = primary(&[]);
        let server = Start::new(shards).args(&["--appendonly", "yes"]).run();
        let (mut primary, mut replica, mut random) = (peer.client(), server.client(), random(50));
        fill_as_stock(&mut primary, &mut random, 800);
        follow(&mut replica, &peer);
        fill_as_stock(&mut primary, &mut random, 300);
        settled(&mut primary, &mut replica);
        let expected = survey(&mut primary);
        let (id, offset) = (info(&mut primary, "master_replid"), info(&mut primary, "master_repl_offset"));
        replica.ok("REPLICAOF NO ONE");
        peer.kill();
        assert_same(&expected, &survey(&mut replica), "as a primary");
        assert_eq!(info(&mut replica, "role"), "master");
        assert_ne!(info(&mut replica, "master_replid"), id);
        assert!(info(&mut replica, "master_repl_offset").parse::<u64>().unwrap() >= offset.parse().unwrap());
        replica.ok("SET mine 1");
        // A replica of its own kind has all of it.
        let other = Server::start(2);
        let mut copy = other.client();
        copy.ok(&format!("REPLICAOF {} {}", server.address.ip(), server.address.port()));
        eventually("it is copied", || copy.run("GET mine") == Value::bulk("1"));
        assert_alike(&mut replica, &mut copy, "a replica of it");
    }
}

#[test]
fn errors_stop_a_replica_that_is_to_panic() {
    let peer = primary(&[]);
    let server = Start::new(1).args(&["--propagation-error-behavior", "panic-on-replicas"]).run();
    let (mut primary, mut replica) = (peer.client(), server.client());
    follow(&mut replica, &peer);
    settled(&mut primary, &mut replica);
    primary.run("XADD stream 1-1 a b");
    assert!(!server.wait_exit().success());
    assert!(server.log().contains("panicked sending an error to its master: XADD"), "{}", server.log());
}
