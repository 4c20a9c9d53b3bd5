//! Commands that wait for keys: who is served, when, and with what.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::harness::{eventually, request, words, Client, Random, Server, Value, DEADLINE};

const SHARDS: [u16; 3] = [1, 2, 5];

/// A server and a client to look and to push with.
struct Stage {
    server: Server,
    admin: Client,
}

impl Stage {
    fn new(shards: u16) -> Stage {
        let server = Server::start(shards);
        let admin = server.client();
        Stage { server, admin }
    }

    fn blocked(&mut self) -> usize {
        let info = self.admin.run("INFO clients").text();
        let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
        line.expect("INFO names it").parse().unwrap()
    }

    /// Waits until so many clients are blocked, and stand in the queues of their keys.
    #[track_caller]
    fn until_blocked(&mut self, count: usize) {
        eventually("the clients are blocked", || self.blocked() == count);
        // Every core is asked: what those clients' cores had sent by then is taken before the answer to the next
        // question, or in the same pass.
        self.blocked();
    }

    /// A client that waits with this command.
    #[track_caller]
    fn waiting(&mut self, line: &str) -> Client {
        let before = self.blocked();
        let mut client = self.server.client();
        client.send(&words(line));
        self.until_blocked(before + 1);
        client
    }
}

fn strings(items: &[&str]) -> Value {
    Value::Array(items.iter().map(Value::bulk).collect())
}

#[test]
fn clients_are_served_in_order_of_arrival() {
    // The keys of a command lie on one shard or on several; each waits for `queue`.
    const COMMANDS: [(&str, &[&str]); 5] = [
        ("BLPOP queue 0", &["queue", "{}"]),
        ("BRPOP a queue b c 0", &["queue", "{}"]),
        ("BLMPOP 0 3 x y queue LEFT", &["queue", "[{}]"]),
        ("BLMOVE queue done RIGHT LEFT 0", &["{}"]),
        ("BRPOPLPUSH queue {queue}:done 0", &["{}"]),
    ];
    for shards in SHARDS {
        let mut stage = Stage::new(shards);
        let mut clients: Vec<_> = (0..20).map(|i| (i, stage.waiting(COMMANDS[i % 5].0))).collect();
        // One push serves nine, a transaction five, single pushes the rest. A client with keys on several shards takes
        // its element when its turn has come to it: what is pushed before that is there for it, too.
        assert_eq!(stage.admin.run("RPUSH queue 0 1 2 3 4 5 6 7 8").int(), 9);
        stage.until_blocked(11);
        for line in ["MULTI", "RPUSH queue 9", "RPUSH queue 10 11 12 13", "EXEC"] {
            stage.admin.run(line);
        }
        stage.until_blocked(6);
        for i in 14..20 {
            stage.admin.run(&format!("LPUSH queue {i}"));
            stage.until_blocked(19 - i);
        }
        // Of what came by one push those that take from the right get the last that is left, so only who is served
        // is compared there.
        let mut taken = Vec::new();
        for (i, client) in &mut clients {
            let reply = client.read();
            let mut last = reply.clone();
            while let Value::Array(items) = &last {
                last = items.last().unwrap().clone();
            }
            let expected = match COMMANDS[*i % 5].1 {
                [_, "[{}]"] => Value::Array(vec![Value::bulk("queue"), Value::Array(vec![last.clone()])]),
                [_, _] => Value::Array(vec![Value::bulk("queue"), last.clone()]),
                _ => last.clone(),
            };
            assert_eq!(reply, expected, "client {i} on {shards} shards");
            taken.push(last.text().parse::<usize>().unwrap());
            let of_one_push = if *i < 9 { 0..9 } else { *i..*i + 1 };
            let of_one_push = if (9..14).contains(i) { 9..14 } else { of_one_push };
            assert!(
                of_one_push.contains(taken.last().unwrap()),
                "client {i} got {taken:?} on {shards} shards"
            );
        }
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(0..20), "{taken:?}");
        assert_eq!(stage.blocked(), 0);
        assert_eq!(stage.admin.run("EXISTS queue"), Value::Int(0));
    }
}

#[test]
fn a_wait_ends_with_its_time_and_not_before() {
    const COMMANDS: [(&str, bool); 8] = [
        ("BLPOP a 0.15", false),
        ("BRPOP a b c d 0.2", false),
        ("BLMPOP 0.1 3 a b c LEFT COUNT 2", false),
        ("BLMOVE a b LEFT RIGHT 0.25", false),
        ("BRPOPLPUSH a b 0.15", false),
        ("BZPOPMIN a b c 0.1", false),
        ("BZPOPMAX a 0.2", true),
        ("BZMPOP 0.15 2 a b MIN", true),
    ];
    for shards in SHARDS {
        let server = Server::start(shards);
        // All at once, each on its own connection.
        std::thread::scope(|scope| {
            for (line, is_resp3) in COMMANDS {
                let mut client = server.client();
                scope.spawn(move || {
                    if is_resp3 {
                        client.run("HELLO 3");
                    }
                    let seconds = line.split(' ').filter_map(|word| word.parse::<f64>().ok());
                    let time = seconds.fold(f64::MAX, f64::min);
                    for _ in 0..3 {
                        let start = Instant::now();
                        let expected = if is_resp3 { Value::Null } else { Value::NullArray };
                        assert_eq!(client.run(line), expected, "{line}");
                        let took = start.elapsed();
                        // The server's clock is read once per pass, and counts milliseconds.
                        let least = Duration::from_secs_f64(time) - Duration::from_millis(5);
                        assert!(took >= least, "{line} ended after {took:?}");
                        assert!(took < Duration::from_secs(10), "{line} ended after {took:?}");
                    }
                    assert_eq!(client.run("PING"), Value::simple("PONG"));
                });
            }
        });
        let mut stage = Stage { admin: server.client(), server };
        assert_eq!(stage.blocked(), 0);
        // Who has given up takes nothing any more.
        assert_eq!(stage.admin.run("RPUSH a 1").int(), 1);
        assert_eq!(stage.admin.run("LLEN a").int(), 1);
    }
}

#[test]
fn a_client_that_goes_while_it_waits_takes_nothing() {
    const COMMANDS: [&str; 4] =
        ["BLPOP k 0", "BLPOP a b k c 0", "BLMOVE k other LEFT LEFT 0", "BLMPOP 0 2 k x LEFT COUNT 9"];
    for shards in SHARDS {
        let mut stage = Stage::new(shards);
        for line in COMMANDS {
            // Alone, and with somebody behind.
            drop(stage.waiting(line));
            eventually("it is gone", || stage.blocked() == 0);
            assert_eq!(stage.admin.run("RPUSH k 1").int(), 1, "{line}");
            assert_eq!(stage.admin.run("LPOP k"), Value::bulk("1"), "{line}");
            let first = stage.waiting(line);
            let mut second = stage.waiting("BLPOP y k 0");
            first.vanish();
            eventually("it is gone", || stage.blocked() == 1);
            assert_eq!(stage.admin.run("RPUSH k 2").int(), 1, "{line}");
            assert_eq!(second.read(), strings(&["k", "2"]), "{line}");
        }
        // Where pushes and leaving meet nobody can say who is first, but what is not served stays.
        for round in 0..50 {
            let client = stage.waiting(COMMANDS[round % 2]);
            let (mut pusher, name) = (stage.server.client(), format!("v{round}"));
            pusher.send(&words(&format!("RPUSH k {name}")));
            drop(client);
            assert_eq!(pusher.read().int(), 1);
            eventually("it is gone", || stage.blocked() == 0);
            let left = stage.admin.run("LRANGE k 0 -1");
            assert!(left == strings(&[]) || left == strings(&[&name]), "{left:?}");
            stage.admin.run("DEL k");
        }
    }
}

#[test]
fn client_unblock_ends_a_wait() {
    for shards in SHARDS {
        let mut stage = Stage::new(shards);
        for line in ["BLPOP k 0", "BRPOP a k b c 0", "BLMOVE k to LEFT LEFT 0", "BZMPOP 0 3 k l m MIN"] {
            for (how, expected) in [
                ("", Value::NullArray),
                (" TIMEOUT", Value::NullArray),
                (" ERROR", Value::error("UNBLOCKED client unblocked via CLIENT UNBLOCK")),
            ] {
                let mut client = stage.server.client();
                let id = client.run("CLIENT ID").int();
                let unblock = format!("CLIENT UNBLOCK {id}{how}");
                assert_eq!(stage.admin.run(&unblock).int(), 0, "it does not wait yet");
                // What stands behind the command is not lost.
                client.send(&[words(line), words("ECHO behind")].concat());
                stage.until_blocked(1);
                assert_eq!(stage.admin.run(&unblock).int(), 1);
                assert_eq!(client.read(), expected, "{unblock} of {line} on {shards} shards");
                assert_eq!(client.read(), Value::bulk("behind"));
                assert_eq!(stage.admin.run(&unblock).int(), 0, "it waits no longer");
                assert_eq!(stage.blocked(), 0);
            }
        }
        assert_eq!(stage.admin.run("RPUSH k 1 2").int(), 2);
        assert_eq!(stage.admin.run("LLEN k").int(), 2, "nobody waits any more");
    }
}

#[test]
fn elements_run_through_chains_of_moves() {
    const LINKS: usize = 10;
    for shards in SHARDS {
        let mut stage = Stage::new(shards);
        let mut random = Random::new(u64::from(shards));
        for round in 0..20 {
            let mut order: Vec<usize> = (0..LINKS).collect();
            (1..LINKS).for_each(|at| order.swap(at, random.below(at + 1)));
            let mut clients: Vec<Client> = Vec::new();
            for link in order {
                let mut client = stage.server.client();
                let name = if random.one_in(3) { "BRPOPLPUSH" } else { "BLMOVE" };
                let ends = if name == "BLMOVE" { " RIGHT LEFT" } else { "" };
                client.send(&words(&format!("{name} link:{link} link:{}{ends} 0", link + 1)));
                clients.push(client);
            }
            // In half of the rounds the element comes while they are still arriving.
            if round % 2 == 0 {
                stage.until_blocked(LINKS);
            }
            let value = format!("round:{round}");
            // A client may have taken it before the reply to the push has come, but then it is counted all the same.
            assert_eq!(stage.admin.run(&format!("RPUSH link:0 {value}")).int(), 1);
            clients.iter_mut().for_each(|client| assert_eq!(client.read(), Value::bulk(&value)));
            assert_eq!(stage.admin.run(&format!("LPOP link:{LINKS}")), Value::bulk(&value));
            assert_eq!(stage.admin.run("DBSIZE").int(), 0);
        }
        // A ring in which each waits for the next, and one element that goes round.
        let keys = ["r0", "r1", "r2", "r3", "r4"];
        let mut clients: Vec<_> = (0..keys.len()).map(|_| stage.server.client()).collect();
        for (at, client) in clients.iter_mut().enumerate() {
            let line = format!("BLMOVE {} {} LEFT RIGHT 0", keys[at], keys[(at + 1) % keys.len()]);
            client.send(&words(&line).repeat(50));
        }
        stage.admin.run("RPUSH r0 ball");
        clients.iter_mut().for_each(|client| {
            client.read_many(50).iter().for_each(|reply| assert_eq!(*reply, Value::bulk("ball")));
        });
        assert_eq!(stage.admin.run("LRANGE r0 0 -1"), strings(&["ball"]));
    }
}

#[test]
fn every_way_to_make_a_key_wakes_who_waits_for_it() {
    // What stands beforehand, the command that waits, what wakes it, and what it gets.
    let cases: &[(&[&str], &str, &[&str], Value)] = &[
        (&[], "BLPOP k 0", &["LPUSH k v"], strings(&["k", "v"])),
        (&[], "BRPOP a b k 0", &["RPUSH k u v"], strings(&["k", "v"])),
        (&["RPUSH s v"], "BLPOP k 0", &["RENAME s k"], strings(&["k", "v"])),
        (&["RPUSH s v"], "BLPOP a k 0", &["RENAMENX s k"], strings(&["k", "v"])),
        (&["RPUSH s v"], "BLPOP a k 0", &["COPY s k"], strings(&["k", "v"])),
        (&["RPUSH s v"], "BLPOP k 0", &["LMOVE s k LEFT LEFT"], strings(&["k", "v"])),
        (&["RPUSH s v"], "BLMOVE k to LEFT LEFT 0", &["RPOPLPUSH s k"], Value::bulk("v")),
        (&["SELECT 1", "RPUSH k v"], "BLPOP k 0", &["MOVE k 0"], strings(&["k", "v"])),
        (&["SELECT 1", "RPUSH k v"], "BLPOP a k 0", &["SWAPDB 0 1"], strings(&["k", "v"])),
        (&["SELECT 1", "RPUSH s v"], "BLPOP k a b 0", &["COPY s k DB 0"], strings(&["k", "v"])),
        (&[], "BLPOP k 0", &["MULTI", "SET a 1", "RPUSH k v", "EXEC"], strings(&["k", "v"])),
        (&[], "BLPOP x k 0", &["MULTI", "RPUSH s v", "RENAME s k", "EXEC"], strings(&["k", "v"])),
        (&[], "BLPOP k 0", &["MULTI", "RPUSH k u", "LPOP k", "RPUSH k v", "EXEC"], strings(&["k", "v"])),
        (&["SET k 1"], "BLPOP x y 0", &["DEL k", "RPUSH y v"], strings(&["y", "v"])),
        // A key of another type does not wake, nor what is gone again at the end of a transaction.
        (&[], "BLPOP k 0", &["SADD k v", "DEL k", "RPUSH k v"], strings(&["k", "v"])),
        (&[], "BLPOP x k 0", &["ZADD k 1 v", "DEL k", "RPUSH k v"], strings(&["k", "v"])),
        (&[], "BZPOPMIN k 0", &["RPUSH k u", "DEL k", "ZADD k 1 v"], strings(&["k", "v", "1"])),
        (&[], "BLPOP a k 0", &["MULTI", "RPUSH k u", "DEL k", "EXEC", "RPUSH k v"], strings(&["k", "v"])),
        (&[], "BZPOPMIN k 0", &["ZADD k 1 v 2 w"], strings(&["k", "v", "1"])),
        (&[], "BZPOPMAX a k 0", &["ZADD k 1 v 2 w"], strings(&["k", "w", "2"])),
        (&[], "BZPOPMAX a k 0", &["ZINCRBY k 3 v"], strings(&["k", "v", "3"])),
        (&["ZADD s 1 v"], "BZPOPMIN k 0", &["ZUNIONSTORE k 1 s WEIGHTS 5"], strings(&["k", "v", "5"])),
        (&["SADD s v"], "BZPOPMIN a k 0", &["ZINTERSTORE k 2 s s"], strings(&["k", "v", "2"])),
        (&["ZADD s 1 v"], "BZPOPMIN a b k 0", &["ZRANGESTORE k s 0 -1"], strings(&["k", "v", "1"])),
        (&["ZADD s 1 v"], "BZPOPMIN a b k 0", &["RENAME s k"], strings(&["k", "v", "1"])),
        (
            &["ZADD s 1 v"],
            "BZMPOP 0 2 k a MIN",
            &["COPY s k"],
            Value::Array(vec![Value::bulk("k"), Value::Array(vec![strings(&["v", "1"])])]),
        ),
    ];
    for shards in SHARDS {
        let mut stage = Stage::new(shards);
        for (before, line, wakers, expected) in cases {
            let mut other = stage.server.client();
            for line in *before {
                assert!(!other.run(line).is_error(), "{line}");
            }
            let mut client = stage.waiting(line);
            for line in *wakers {
                assert!(!other.run(line).is_error(), "{line}");
            }
            assert_eq!(client.read(), *expected, "{line}, woken by {wakers:?} on {shards} shards");
            assert_eq!(stage.blocked(), 0);
            stage.admin.ok("FLUSHALL");
        }
    }
}

/// What 200 clients wait for, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    /// Each for one of the queues.
    One,
    /// Each for all queues.
    All,
    /// Each moves from one of the queues to a list of what is done.
    Move,
}

#[test]
fn a_crowd_gets_each_element_once_and_in_order() {
    const CLIENTS: usize = 200;
    const EACH: usize = 5;
    const QUEUES: usize = 4;
    const PUSHES: usize = CLIENTS * EACH / QUEUES;
    for (shards, crowd) in SHARDS
        .into_iter()
        .flat_map(|shards| [Crowd::One, Crowd::All, Crowd::Move].map(|crowd| (shards, crowd)))
    {
        let mut stage = Stage::new(shards);
        let mut clients: Vec<Client> = (0..CLIENTS)
            .map(|i| {
                let mut client = stage.server.client();
                let queue = |at: usize| format!("queue:{}", (i + at) % QUEUES);
                let line = match crowd {
                    Crowd::One => format!("BLPOP {} 0", queue(0)),
                    Crowd::All => format!("BLPOP {} {} {} {} 0", queue(0), queue(1), queue(2), queue(3)),
                    Crowd::Move => format!("BLMOVE {} done LEFT RIGHT 0", queue(0)),
                };
                client.send(&words(&line).repeat(EACH));
                client
            })
            .collect();
        stage.until_blocked(CLIENTS);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for queue in 0..QUEUES {
                let mut pusher = stage.server.client();
                scope.spawn(move || {
                    let mut random = Random::new(queue as u64);
                    let mut next = 0;
                    while next < PUSHES {
                        // Single pushes, several elements at once, pipelines.
                        let (pushes, elements) = (1 + random.below(8), 1 + random.below(3));
                        let mut lines = Vec::new();
                        for _ in 0..pushes {
                            let mut words = vec!["RPUSH".to_owned(), format!("queue:{queue}")];
                            words.extend((next..PUSHES).take(elements).map(|n| format!("{queue}:{n}")));
                            next += words.len() - 2;
                            if words.len() > 2 {
                                lines.push(request(&words));
                            }
                        }
                        pusher
                            .pipeline(&lines.concat(), lines.len())
                            .iter()
                            .for_each(|reply| assert!(reply.int() >= 1));
                    }
                });
            }
        });
        let mut seen: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (i, client) in clients.iter_mut().enumerate() {
            let mut last = [None; QUEUES];
            for reply in client.read_many(EACH) {
                let element = match crowd {
                    Crowd::Move => reply.text(),
                    _ => reply.items()[1].text(),
                };
                let (queue, number) = element.split_once(':').expect("an element");
                let (queue, number): (usize, usize) = (queue.parse().unwrap(), number.parse().unwrap());
                if crowd != Crowd::Move {
                    assert_eq!(reply.items()[0].text(), format!("queue:{queue}"));
                }
                assert_eq!(seen.insert((queue, number), i), None, "{element} was delivered twice");
                assert!(last[queue] < Some(number), "client {i} got {element} after {:?}", last[queue]);
                last[queue] = Some(number);
            }
        }
        println!("{shards} shards, {crowd:?}: {:?}", start.elapsed());
        assert_eq!(seen.len(), CLIENTS * EACH, "all are delivered");
        assert_eq!(stage.blocked(), 0);
        let left = stage.admin.run("KEYS queue:*");
        assert_eq!(left, strings(&[]));
        if crowd == Crowd::Move {
            let done = stage.admin.run("LRANGE done 0 -1");
            let mut last = [None; QUEUES];
            for element in done.items() {
                let text = element.text();
                let (queue, number) = text.split_once(':').expect("an element");
                let (queue, number): (usize, usize) = (queue.parse().unwrap(), number.parse().unwrap());
                assert!(last[queue] < Some(number), "{element:?} after {:?}", last[queue]);
                last[queue] = Some(number);
            }
            assert_eq!(done.items().len(), CLIENTS * EACH);
        }
    }
}

#[test]
fn what_concerns_all_shards_is_not_starved_by_writes() {
    const WRITERS: usize = 8;
    for shards in SHARDS {
        let server = Server::start(shards);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut writers = Vec::new();
            for writer in 0..WRITERS {
                let (mut client, over) = (server.client(), &over);
                writers.push(scope.spawn(move || {
                    let mut random = Random::new(writer as u64);
                    let mut written = 0;
                    while !over.load(Ordering::Relaxed) {
                        let mut pipeline = Vec::new();
                        for _ in 0..50 {
                            let key = format!("key:{}", random.below(1000));
                            let line = match random.below(4) {
                                0 => format!("SET {key} {written}"),
                                1 => format!("MSET {key} 1 other:{} 2", random.below(100)),
                                2 => format!("RPUSH list:{} {written}", random.below(100)),
                                _ => format!("SADD set:{} {written}", random.below(100)),
                            };
                            pipeline.extend(words(&line));
                        }
                        client.pipeline(&pipeline, 50);
                        written += 50;
                    }
                    written
                }));
            }
            let mut client = server.client();
            let mut slowest: BTreeMap<&str, Duration> = BTreeMap::new();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1500) && writers.iter().all(|w| !w.is_finished()) {
                for line in
                    ["DBSIZE", "KEYS key:1*", "FLUSHALL", "DBSIZE", "SWAPDB 0 1", "FLUSHDB", "RANDOMKEY"]
                {
                    let start = Instant::now();
                    assert!(!client.run(line).is_error(), "{line}");
                    let took = slowest.entry(line).or_default();
                    *took = start.elapsed().max(*took);
                }
            }
            over.store(true, Ordering::Relaxed);
            let written = writers.into_iter().map(|writer| writer.join().unwrap());
            let written: Vec<u64> = written.collect();
            println!("{shards} shards: {written:?} writes; the slowest: {slowest:?}");
            assert!(slowest.len() == 6 && slowest.values().all(|took| *took < DEADLINE / 2), "{slowest:?}");
            assert!(written.iter().all(|written| *written > 0));
        });
    }
}
