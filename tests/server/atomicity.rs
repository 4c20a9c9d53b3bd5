//! Commands over several shards happen all at once or not at all, as anybody can see.

use std::sync::atomic::{AtomicBool, Ordering};

use super::harness::{number_from_env, request, Client, Server, Value};

/// Keys that lie on all shards.
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What a writing client does in one round.
type Write<'a> = &'a (dyn Fn(&mut Client, usize) + Sync);

/// What a reading client does again and again.
type Read<'a> = &'a (dyn Fn(&mut Client) + Sync);

/// Runs `writers` until each has taken its rounds, and beside them `readers` for as long; then all are heard.
fn against_each_other(server: &Server, writers: &[Write<'_>], readers: &[Read<'_>]) {
    let rounds = number_from_env("RINGWARD_ROUNDS", 1500) as usize;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading: Vec<_> = readers
            .iter()
            .map(|read| {
                let (over, mut client) = (&over, server.client());
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        read(&mut client);
                    }
                })
            })
            .collect();
        let writing: Vec<_> = writers
            .iter()
            .map(|write| {
                let mut client = server.client();
                scope.spawn(move || (0..rounds).for_each(|round| write(&mut client, round)))
            })
            .collect();
        let written: Vec<_> = writing.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        let read: Vec<_> = reading.into_iter().map(|thread| thread.join()).collect();
        for result in written.into_iter().chain(read) {
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn mset(value: &str) -> Vec<&str> {
    std::iter::once("MSET").chain(KEYS.iter().flat_map(|key| [*key, value])).collect()
}

fn mget() -> Vec<&'static str> {
    std::iter::once("MGET").chain(KEYS).collect()
}

#[test]
fn mset_is_never_seen_half_done() {
    for shards in [2, 5] {
        let server = Server::start(shards);
        server.client().call(&mset("first"));
        let write = |client: &mut Client, round: usize| {
            let value = format!("{round}:{}", client.fd());
            // Sometimes several in one pipeline.
            let count = 1 + round % 3;
            client.send(&request(&mset(&value)).repeat(count));
            client.read_many(count).iter().for_each(|reply| assert_eq!(*reply, Value::simple("OK")));
        };
        let backwards: Vec<_> = std::iter::once("MGET").chain(KEYS.into_iter().rev()).collect();
        let read = |client: &mut Client| {
            client.send(&[request(&mget()), request(&backwards)].concat());
            for reply in client.read_many(2) {
                let items = reply.items();
                assert!(items.iter().all(|item| *item == items[0]), "half an MSET: {reply:?}");
            }
        };
        against_each_other(&server, &[&write, &write, &write], &[&read, &read]);
    }
}

#[test]
fn del_and_msetnx_are_never_seen_half_done() {
    for shards in [2, 5] {
        let server = Server::start(shards);
        let set = |client: &mut Client, round: usize| {
            let mut args = mset("x");
            args[0] = "MSETNX";
            let value = round.to_string();
            args.iter_mut().skip(2).step_by(2).for_each(|arg| *arg = &value);
            client.call(&args).int();
        };
        let delete = |client: &mut Client, _| {
            let deleted = client.run("DEL a b c d e f g h").int();
            assert!(deleted == 0 || deleted == 8, "{deleted} of 8 keys were there");
        };
        let read = |client: &mut Client| {
            let found = client.run("EXISTS h g f e d c b a").int();
            assert!(found == 0 || found == 8, "{found} of 8 keys are there");
            let reply = client.call(&mget());
            assert!(reply.items().iter().all(|item| *item == reply.items()[0]), "{reply:?}");
        };
        against_each_other(&server, &[&set, &delete, &set], &[&read, &read]);
    }
}

#[test]
fn a_key_that_is_renamed_is_always_in_one_place() {
    for shards in [2, 5] {
        let server = Server::start(shards);
        server.client().ok("SET a treasure");
        // Every pair of these lies on two shards for at least one of them.
        let rename = |client: &mut Client, round: usize| {
            let (from, to) = (KEYS[round % 8], KEYS[(round * 5 + 3) % 8]);
            let reply = client.run(&format!("RENAME {from} {to}"));
            assert!(reply == Value::simple("OK") || reply == Value::error("ERR no such key"), "{reply:?}");
        };
        let rename_if_free = |client: &mut Client, round: usize| {
            let (from, to) = (KEYS[(round * 3) % 8], KEYS[(round + 1) % 8]);
            let reply = client.run(&format!("RENAMENX {from} {to}"));
            assert!(!matches!(reply, Value::Int(0)) || from == to, "the only key there is was in the way");
        };
        let read = |client: &mut Client| {
            let reply = client.call(&mget());
            let found: Vec<_> = reply.items().iter().filter(|item| **item != Value::NullBulk).collect();
            assert_eq!(found, [&Value::bulk("treasure")]);
            assert_eq!(client.run("DBSIZE"), Value::Int(1));
            assert_eq!(client.run("KEYS *").items().len(), 1);
        };
        against_each_other(&server, &[&rename, &rename_if_free], &[&read, &read]);
    }
}

#[test]
fn a_copy_is_of_one_moment() {
    let server = Server::start(5);
    server.client().call(&mset("000000"));
    // Two keys are always written alike, and copied to two others one after the other: the copies may differ by that,
    // but each is a whole value, and a copy made after another is not older.
    let write = |client: &mut Client, round: usize| client.ok(&format!("MSET a {round:06} b {round:06}"));
    let copy = |client: &mut Client, _| {
        assert_eq!(client.run("COPY a c REPLACE"), Value::Int(1));
        assert_eq!(client.run("COPY b d REPLACE"), Value::Int(1));
        let reply = client.run("MGET c d");
        let [first, second] = [0, 1].map(|i| reply.items()[i].text());
        assert!(first <= second, "b was copied after a, and is older: {first} {second}");
    };
    // Only one may copy, or the copies of one would be those of the other.
    against_each_other(&server, &[&write, &copy], &[]);
}

#[test]
fn flushall_leaves_all_or_nothing() {
    const COUNT: usize = 200;
    for shards in [2, 5] {
        let server = Server::start(shards);
        let mut all: Vec<String> = vec!["MSET".into()];
        all.extend((0..COUNT).flat_map(|i| [format!("key:{i}"), "v".into()]));
        let fill = |client: &mut Client, round: usize| {
            if round % 8 == 0 {
                assert_eq!(client.call(&all), Value::simple("OK"));
            }
        };
        let flush = |client: &mut Client, round: usize| {
            if round % 8 == 4 {
                client.ok(["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"][round / 8 % 3]);
            }
        };
        let read = |client: &mut Client| {
            let size = client.run("DBSIZE").int();
            assert!(size == 0 || size == COUNT as i64, "{size} of {COUNT} keys");
            let keys = client.run("KEYS *").items().len();
            assert!(keys == 0 || keys == COUNT, "{keys} of {COUNT} keys");
        };
        against_each_other(&server, &[&fill, &flush], &[&read, &read]);
    }
}

#[test]
fn swapdb_swaps_all_shards_at_once() {
    let server = Server::start(5);
    let mut client = server.client();
    client.call(&mset("zero"));
    client.ok("SELECT 1");
    client.call(&mset("one"));
    let swap = |client: &mut Client, _| client.ok("SWAPDB 0 1");
    let read = |client: &mut Client| {
        let reply = client.call(&mget());
        assert!(reply.items().iter().all(|item| *item == reply.items()[0]), "{reply:?}");
    };
    against_each_other(&server, &[&swap], &[&read, &read]);
}

#[test]
fn counters_of_many_pipelining_clients_add_up() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 40;
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let mut client = server.client();
                scope.spawn(move || {
                    let pipeline: Vec<u8> = (0..100)
                        .flat_map(|i| {
                            let one = request(&["INCR", KEYS[i % 8]]);
                            // A command over all shards between them now and then.
                            if i % 20 == 0 {
                                [one, request(&mget())].concat()
                            } else {
                                one
                            }
                        })
                        .collect();
                    let mut last = [0; 8];
                    for _ in 0..ROUNDS {
                        let replies = client.pipeline(&pipeline, 105);
                        let counts = replies.iter().filter(|reply| matches!(reply, Value::Int(_)));
                        for (i, count) in counts.enumerate() {
                            assert!(count.int() > last[i % 8], "a counter went back");
                            last[i % 8] = count.int();
                        }
                    }
                });
            }
        });
        let reply = server.client().call(&mget());
        let sum: i64 = reply.items().iter().map(|item| item.text().parse::<i64>().unwrap()).sum();
        assert_eq!(sum, (CLIENTS * ROUNDS * 100) as i64);
    }
}
