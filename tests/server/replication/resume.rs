//! Links that are cut, slowed and frozen: the replica comes back by itself, without a snapshot where it can.

use std::time::Duration;

use super::super::harness::{eventually, Random, Value};
use super::load::{open_accounts, under_load, Kind};
use super::proxy::{Proxy, Which};
use super::{assert_converged, rounds, Node};

const KINDS: &[Kind] = &[Kind::Several, Kind::Groups, Kind::Money];

/// A primary with something in it, a replica behind a proxy.
fn behind_proxy(primary_shards: u16, replica_shards: u16, args: &[&str]) -> (Node, Proxy, Node) {
    let primary = Node::start(primary_shards, args);
    let mut client = primary.client();
    open_accounts(&mut client);
    client.ok(&format!("SET some {}", "s".repeat(100_000)));
    let proxy = Proxy::new(primary.address());
    let replica = Node::follower(replica_shards, proxy.address, &[]);
    (primary, proxy, replica)
}

/// Cuts a link of a replica that streams, again and again: it goes on where it was.
fn cut_while_streaming(primary_shards: u16, replica_shards: u16, which: Which, seed: u64) {
    let (primary, proxy, replica) =
        behind_proxy(primary_shards, replica_shards, &["--repl-backlog-size", "64mb"]);
    replica.await_up();
    let mut random = Random::new(seed);
    let cuts = rounds(5);
    under_load(primary.address(), KINDS, seed, || {
        for number in 0..cuts {
            let before = primary.count("sync_partial_ok");
            // Not much passes through a control link.
            let among = if which == Which::Control { 100 } else { 20_000 };
            proxy.cut_after(random.next() % among, which);
            eventually("it is cut", || proxy.cuts() > number);
            eventually("it comes back", || primary.count("sync_partial_ok") > before && replica.is_up());
        }
    });
    assert_converged(&primary, &[&replica]);
    assert_eq!(primary.count("sync_full"), 1, "all others were partial");
    assert_eq!(primary.count("sync_partial_err"), 0);
}

#[test]
fn a_control_link_is_cut() {
    cut_while_streaming(2, 2, Which::Control, 1);
}

#[test]
fn a_flow_is_cut() {
    cut_while_streaming(2, 2, Which::Flows, 2);
}

#[test]
fn a_flow_is_cut_between_other_numbers_of_shards() {
    cut_while_streaming(3, 2, Which::Flows, 3);
    cut_while_streaming(1, 2, Which::All, 4);
}

/// Cuts links at any byte, from the first of the handshake on, also while the snapshot comes.
#[test]
fn links_are_cut_at_any_byte() {
    let (primary, proxy, replica) = behind_proxy(2, 2, &[]);
    let mut random = Random::new(5);
    under_load(primary.address(), KINDS, 5, || {
        for number in 0..rounds(2) {
            let which = [Which::All, Which::Control, Which::Flows][random.below(3)];
            // Often early: in the handshake, and where the snapshot begins.
            let among = [40, 300, 4000, 150_000][random.below(if which == Which::Control { 2 } else { 4 })];
            let bytes = random.next() % among;
            proxy.cut_after(bytes, which);
            proxy.cut();
            eventually("it is cut", || proxy.cuts() > number);
            if random.one_in(3) {
                replica.await_up();
            }
        }
    });
    assert_converged(&primary, &[&replica]);
}

#[test]
fn a_single_flow_that_hangs_ends_the_link_while_the_control_link_lives() {
    let brief = ["--repl-timeout", "2", "--repl-ping-replica-period", "1"];
    let no_limit = ["--client-output-buffer-limit", "replica 0 0 0"];
    let primary = Node::start(2, &[&brief[..], &no_limit].concat());
    primary.client().ok("MSET a 1 b 1 c 1 d 1");
    let proxy = Proxy::new(primary.address());
    let replica = Node::follower(3, proxy.address, &brief);
    replica.await_up();
    // Signs of life keep an idle one up. (The control link is the first connection, the flows are the next two.)
    std::thread::sleep(Duration::from_secs(4));
    assert!(replica.is_up());
    assert_eq!((proxy.connections(), primary.count("sync_full")), (3, 1));
    for (round, number) in [(1, 1), (2, 5)] {
        proxy.freeze_one(number);
        eventually("the replica comes back", || primary.count("sync_partial_ok") == round);
        replica.await_up();
        assert_eq!(proxy.connections(), 3 * (round + 1));
        assert_converged(&primary, &[&replica]);
    }
    assert!(replica.server().log().contains("Timeout receiving from the primary"));
    // The primary gives up one that takes nothing: more waits for it than the system takes.
    let patient = Node::follower(2, proxy.address, &["--repl-timeout", "600"]);
    patient.await_up();
    let number = proxy.connections() - 1;
    proxy.freeze_one(number);
    let mut client = primary.client();
    let large = "v".repeat(1_000_000);
    for number in 0..40 {
        client.ok(&format!("SET {} {large}", ["a", "b", "c", "d"][number % 4]));
    }
    eventually("the primary gives it up", || {
        primary.server().log().contains("takes nothing of what is sent")
    });
    proxy.freeze(false);
    assert_converged(&primary, &[&replica, &patient]);
}

#[test]
fn a_snapshot_that_is_damaged_on_its_way_is_tried_again() {
    let primary = Node::start(2, &[]);
    let mut client = primary.client();
    let mut random = Random::new(6);
    for number in 0..40 {
        // Nothing that would be compressed.
        let value: String = (0..400).map(|_| format!("{:x}", random.next())).collect();
        client.ok(&format!("SET some:{number} {value}"));
    }
    let proxy = Proxy::new(primary.address());
    proxy.damage(true);
    // Without compression it is not seen before the checksum, when all is loaded.
    let replicas = [(2, "yes"), (3, "no")].map(|(shards, is_compressed)| {
        client.ok(&format!("CONFIG SET rdbcompression {is_compressed}"));
        let replica = Node::start(shards, &["--appendonly", "yes"]);
        let mut of_replica = replica.client();
        of_replica.ok("SET its-own 1");
        replica.follow(proxy.address);
        eventually("it says so", || replica.server().log().contains("Failed trying to load the MASTER"));
        // The old data is gone, and nothing of the new is there.
        eventually("it serves", || of_replica.run("DBSIZE") == Value::Int(0));
        assert_eq!(replica.info("master_link_status"), "down");
        replica
    });
    proxy.damage(false);
    for replica in &replicas {
        replica.await_up();
        assert_converged(&primary, &[replica]);
        replica.await_files();
    }
}

#[test]
fn where_the_backlog_does_not_reach_there_is_a_snapshot() {
    let (primary, proxy, replica) = behind_proxy(2, 2, &["--repl-backlog-size", "16kb"]);
    replica.await_up();
    proxy.close(true);
    proxy.cut();
    eventually("the link is down", || !replica.is_up());
    let mut client = primary.client();
    for number in 0..40 {
        client.ok(&format!("SET some:{number} {}", "s".repeat(20_000)));
    }
    proxy.close(false);
    assert_converged(&primary, &[&replica]);
    assert_eq!((primary.count("sync_full"), primary.count("sync_partial_ok")), (2, 0));
    assert_eq!(primary.count("sync_partial_err"), 1);
    // What nobody waits for is not kept.
    assert!(primary.count("repl_backlog_histlen") < 400_000, "{}", primary.info("repl_backlog_histlen"));
}

#[test]
fn a_backlog_that_nobody_reads_stays_as_large_as_it_may_be() {
    let (primary, proxy, replica) = behind_proxy(2, 2, &["--repl-backlog-size", "100kb"]);
    replica.await_up();
    proxy.close(true);
    proxy.cut();
    eventually("the replica has left", || primary.info("connected_slaves") == "0");
    let mut client = primary.client();
    for number in 0..200 {
        client.ok(&format!("SET some:{} {}", number % 10, "s".repeat(20_000)));
    }
    // A block more for each stream may be kept.
    eventually("what is too old is given back", || {
        primary.count("repl_backlog_histlen") < 100 * 1024 + 3 * 64 * 1024
            && primary.count("mem_replication_backlog") < 1024 * 1024
    });
    // The replica's own, too.
    proxy.close(false);
    replica.await_up();
    assert_converged(&primary, &[&replica]);
    for number in 0..200 {
        client.ok(&format!("SET some:{} {}", number % 10, "t".repeat(20_000)));
    }
    assert_converged(&primary, &[&replica]);
    eventually("the replica keeps no more either", || {
        replica.count("repl_backlog_histlen") < 2 * 1024 * 1024
    });
}

#[test]
fn a_stalled_replica_costs_no_more_than_its_limit() {
    let args = ["--repl-backlog-size", "1mb", "--client-output-buffer-limit", "replica 8mb 4mb 60"];
    let primary = Node::start(2, &args);
    let replica = Node::follower(2, primary.address(), &[]);
    assert_converged(&primary, &[&replica]);
    let before = primary.server().rss_bytes();
    replica.server().signal(libc::SIGSTOP);
    let mut client = primary.client();
    let value = "v".repeat(50_000);
    // 60 MB pass by, and each write is answered.
    for number in 0..1200 {
        client.ok(&format!("SET some:{} {value}", number % 20));
    }
    eventually("the replica is let go", || primary.info("connected_slaves") == "0");
    let grown = primary.server().rss_bytes().saturating_sub(before);
    assert!(grown < 40 * 1024 * 1024, "grown by {grown}");
    replica.server().signal(libc::SIGCONT);
    assert_converged(&primary, &[&replica]);
    assert_eq!(primary.count("sync_full"), 2);
}

#[test]
fn a_slow_link_is_only_slow() {
    let (primary, proxy, replica) = behind_proxy(2, 3, &[]);
    proxy.delay(Duration::from_millis(3));
    replica.await_up();
    under_load(primary.address(), KINDS, 9, || {
        let passed = proxy.passed();
        eventually("something passes", || proxy.passed() > passed + 10_000);
    });
    proxy.delay(Duration::ZERO);
    assert_converged(&primary, &[&replica]);
    assert_eq!(primary.count("sync_full"), 1);
}

#[test]
fn a_link_that_is_silent_is_given_up() {
    let (primary, proxy, replica) =
        behind_proxy(2, 2, &["--repl-timeout", "2", "--repl-ping-replica-period", "1"]);
    replica.client().ok("CONFIG SET repl-timeout 2");
    replica.await_up();
    proxy.freeze(true);
    eventually("the replica gives it up", || !replica.is_up());
    eventually("the primary does", || primary.info("connected_slaves") == "0");
    assert!(replica.server().log().contains("Timeout"));
    primary.client().ok("SET a 1");
    proxy.freeze(false);
    assert_converged(&primary, &[&replica]);
    assert_eq!((primary.count("sync_full"), primary.count("sync_partial_ok")), (1, 1));
}

#[test]
fn another_primary_behind_the_same_address() {
    let (primary, proxy, replica) = behind_proxy(2, 2, &[]);
    replica.await_up();
    let other = Node::start(2, &[]);
    other.client().ok("SET other 1");
    proxy.lead_to(other.address());
    proxy.cut();
    assert_converged(&other, &[&replica]);
    assert_eq!(replica.client().run("DBSIZE").int(), 1);
    drop(primary);
}
