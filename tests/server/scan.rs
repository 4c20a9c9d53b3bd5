//! SCAN's guarantee over the wire: what is there from beginning to end is returned.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::harness::{request, Client, Peer, Random, Server, Value};

/// A whole SCAN: everything that it returns, doubles included.
fn scan(client: &mut Client, options: &[&str]) -> Vec<String> {
    let (mut found, mut cursor, mut calls) = (Vec::new(), "0".to_owned(), 0);
    loop {
        let args: Vec<&str> = ["SCAN", &cursor].into_iter().chain(options.iter().copied()).collect();
        let reply = client.call(&args);
        found.extend(reply.items()[1].items().iter().map(Value::text));
        cursor = reply.items()[0].text();
        calls += 1;
        assert!(calls < 1_000_000, "the scan does not end");
        if cursor == "0" {
            return found;
        }
    }
}

fn set_many(client: &mut Client, keys: impl Iterator<Item = String>) {
    let requests: Vec<_> = keys.map(|key| request(&["SET", &key, "v"])).collect();
    client.pipeline(&requests.concat(), requests.len());
}

#[test]
fn what_stays_is_returned_while_all_else_changes() {
    const STAYING: usize = 1500;
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        set_many(&mut client, (0..STAYING).map(|i| format!("stay:{i}")));
        let expected: HashSet<_> = (0..STAYING).map(|i| format!("stay:{i}")).collect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let changing = {
                let (over, mut client) = (&over, server.client());
                scope.spawn(move || {
                    // The table grows and shrinks by an order of magnitude under the scan.
                    let mut random = Random::new(3);
                    while !over.load(Ordering::Relaxed) {
                        let from = random.below(1_000_000);
                        set_many(&mut client, (from..from + 10_000).map(|i| format!("go:{i}")));
                        for part in (from..from + 10_000).step_by(500) {
                            let keys = (part..part + 500).map(|i| format!("go:{i}"));
                            let args: Vec<_> = std::iter::once("DEL".to_owned()).chain(keys).collect();
                            client.call(&args);
                        }
                    }
                })
            };
            for count in ["1", "10", "100", "1000"] {
                let scans = if count == "1" { 1 } else { 3 };
                for _ in 0..scans {
                    let found: HashSet<_> = scan(&mut client, &["COUNT", count]).into_iter().collect();
                    let missing: Vec<_> = expected.difference(&found).take(5).collect();
                    assert!(missing.is_empty(), "{shards} shards, COUNT {count}: missing {missing:?}");
                    assert!(found.iter().all(|key| key.starts_with("stay:") || key.starts_with("go:")));
                }
            }
            let found: HashSet<_> =
                scan(&mut client, &["MATCH", "stay:*", "COUNT", "50"]).into_iter().collect();
            assert_eq!(found, expected);
            over.store(true, Ordering::Relaxed);
            changing.join().unwrap();
        });
    }
}

#[test]
fn an_undisturbed_scan_returns_each_key_once() {
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        assert_eq!(scan(&mut client, &[]), Vec::<String>::new());
        for size in [1, 10, 20_000] {
            set_many(&mut client, (0..size).map(|i| format!("k:{i}")));
            for count in ["1", "7", "1000", "1000000"] {
                let mut found = scan(&mut client, &["COUNT", count]);
                found.sort();
                found.dedup();
                assert_eq!(found.len(), size, "{shards} shards, COUNT {count}");
            }
        }
        assert_eq!(scan(&mut client, &["TYPE", "list"]), Vec::<String>::new());
        // Other databases are not seen.
        client.ok("SELECT 3");
        assert_eq!(scan(&mut client, &[]), Vec::<String>::new());
    }
}

#[test]
fn any_cursor_is_taken() {
    let peer = Peer::start();
    for shards in [1, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        set_many(&mut client, (0..1000).map(|i| format!("k:{i}")));
        let mut random = Random::new(11);
        for i in 0..500 {
            let cursor = match i % 3 {
                0 => random.next(),
                1 => random.next() >> random.below(64),
                _ => 1 << random.below(64),
            };
            let reply = client.run(&format!("SCAN {cursor} COUNT 100"));
            assert_eq!(reply.items().len(), 2, "cursor {cursor}");
        }
        // What is refused is what Redis refuses: it reads cursors with strtoul.
        client.ok("FLUSHALL");
        for cursor in [
            "x",
            "-1",
            "-0",
            "+0",
            "18446744073709551616",
            "0x",
            "",
            " 0",
            "0 ",
            "00",
            "-18446744073709551616",
        ] {
            let [expected, actual] =
                [&mut peer.client(), &mut client].map(|client| client.call(&["SCAN", cursor]));
            // Where a scan goes on is each server's own.
            let same = if expected.is_error() { actual == expected } else { !actual.is_error() };
            assert!(same, "{cursor:?}: {expected:?} {actual:?}");
        }
    }
}
