//! Publish and subscribe: against redis-server, with many clients, with clients that do not read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::harness::{eventually, request, words, Client, Peer, Random, Server, Start, Value};

/// What a client of both servers has said: the next ping's answer ends what there is to read.
const END: &str = "that-is-all";

/// Clients of a server, by name.
struct Party<'a> {
    connect: Box<dyn Fn() -> Client + 'a>,
    clients: BTreeMap<String, Client>,
}

impl<'a> Party<'a> {
    fn new(connect: impl Fn() -> Client + 'a) -> Party<'a> {
        Party { connect: Box::new(connect), clients: BTreeMap::new() }
    }

    /// A client sends requests in one piece; what each client then has received, by name.
    fn step(&mut self, name: &str, requests: &str) -> BTreeMap<String, Vec<Value>> {
        let connect = &self.connect;
        let client = self.clients.entry(name.to_owned()).or_insert_with(connect);
        let bytes: Vec<u8> = requests.split("; ").flat_map(words).collect();
        client.send(&bytes);
        // First whoever acts: when it has its reply, all others have their messages.
        let mut received = BTreeMap::new();
        received.insert(name.to_owned(), read_all(client));
        for (other, client) in &mut self.clients {
            if other != name {
                received.insert(other.clone(), read_all(client));
            }
        }
        received
    }
}

/// All that has come to a client by now.
fn read_all(client: &mut Client) -> Vec<Value> {
    client.send(&request(&["PING", END]));
    let mut values = Vec::new();
    loop {
        let value = client.read();
        let is_end = match &value {
            Value::Bulk(text) => text == END.as_bytes(),
            Value::Array(items) => items.len() == 2 && items[1] == Value::bulk(END),
            _ => false,
        };
        if is_end {
            return values;
        }
        values.push(value);
    }
}

/// What a server is free to choose is put in order: which of several patterns comes first, and in which order all
/// subscriptions are ended.
fn in_order(mut values: Vec<Value>) -> Vec<Value> {
    let word = |value: &Value| match value {
        Value::Array(items) | Value::Push(items) if items.len() >= 3 => match &items[0] {
            Value::Bulk(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    let mut at = 0;
    while at < values.len() {
        let first = word(&values[at]);
        let end = at + values[at..].iter().take_while(|value| word(value) == first).count();
        if first == "pmessage" {
            values[at..end].sort_by(|a, b| a.partial_cmp(b).expect("values are ordered"));
        } else if first.contains("unsubscribe") {
            let names = |value: &Value| value.items()[1].clone();
            let mut sorted: Vec<Value> = values[at..end].iter().map(names).collect();
            sorted.sort_by(|a, b| a.partial_cmp(b).expect("values are ordered"));
            for (value, name) in values[at..end].iter_mut().zip(sorted) {
                if let Value::Array(items) | Value::Push(items) = value {
                    items[1] = name;
                }
            }
        }
        at = end.max(at + 1);
    }
    values.into_iter().map(alike).collect()
}

/// PUBSUB CHANNELS is in no order, and HELLO tells of the server.
fn alike(value: Value) -> Value {
    match &value {
        Value::Map(_) => Value::simple("a map"),
        Value::Array(items) if items.first() == Some(&Value::bulk("server")) => Value::simple("a map"),
        Value::Array(items) if items.iter().all(|item| matches!(item, Value::Bulk(_))) => value.sorted(),
        _ => value,
    }
}

fn compare(redis: &mut Party<'_>, ringward: &mut Party<'_>, name: &str, requests: &str, history: &str) {
    let order = |all: BTreeMap<String, Vec<Value>>| -> BTreeMap<String, Vec<Value>> {
        all.into_iter().map(|(name, values)| (name, in_order(values))).collect()
    };
    let [expected, actual] = [order(redis.step(name, requests)), order(ringward.step(name, requests))];
    assert_eq!(actual, expected, "{name}: {requests}\nafter:\n{history}");
}

/// Who sends what. In the order in which 7.0 and 7.2 do the same.
const SCRIPT: &[(&str, &str)] = &[
    ("a", "FLUSHALL; UNSUBSCRIBE"),
    ("a", "PUNSUBSCRIBE; SUNSUBSCRIBE; UNSUBSCRIBE x y; PUNSUBSCRIBE x"),
    ("a", "SUBSCRIBE x"),
    ("b", "PUBLISH x hello; PUBLISH y hello; PUBLISH x "),
    ("a", "SUBSCRIBE x y x"),
    ("a", "PSUBSCRIBE x* *y [xy] ? x*"),
    ("b", "PUBLISH x 1; PUBLISH y 2; PUBLISH xy 3; PUBLISH z 4; SPUBLISH x 5"),
    ("a", "SSUBSCRIBE x s"),
    ("b", "SPUBLISH x 6; SPUBLISH s 7; SPUBLISH t 8"),
    ("a", "GET k; SET k v; CLIENT LIST; CONFIG GET port; MULTI; EXEC; PUBLISH x 1; HELLO 3; NOSUCH; GET"),
    ("a", "PING; PING hi; PING a b; pInG"),
    ("b", "PUBSUB CHANNELS; PUBSUB CHANNELS x*; PUBSUB NUMSUB; PUBSUB NUMSUB x q y; PUBSUB NUMPAT"),
    ("b", "PUBSUB SHARDCHANNELS; PUBSUB SHARDCHANNELS q; PUBSUB SHARDNUMSUB x s q; PUBSUB SHARDNUMSUB"),
    ("b", "PUBSUB; PUBSUB nosuch; PUBSUB CHANNELS a b; PUBSUB NUMPAT a; PUBSUB SHARDCHANNELS a b"),
    ("b", "PUBLISH; PUBLISH x; PUBLISH x y z; SPUBLISH x; SUBSCRIBE; PSUBSCRIBE; SSUBSCRIBE"),
    ("b", "PUBSUB HELP x; pubsub channels x y; SPUBLISH x y z"),
    ("a", "UNSUBSCRIBE x"),
    ("a", "UNSUBSCRIBE x x y nothing"),
    ("b", "PUBLISH x 1"),
    ("a", "PUNSUBSCRIBE [xy]"),
    ("b", "PUBLISH x 1; PUBLISH y 1"),
    ("a", "PUNSUBSCRIBE"),
    ("a", "SUNSUBSCRIBE s; SUNSUBSCRIBE"),
    ("a", "GET k; PING; UNSUBSCRIBE"),
    ("a", "SUBSCRIBE x y; PSUBSCRIBE *; SSUBSCRIBE z; RESET; PING; GET k"),
    ("b", "PUBLISH x 1; PUBSUB NUMPAT"),
    ("a", "MULTI; SUBSCRIBE x; SUBSCRIBE y z; PSUBSCRIBE p*; PING; SSUBSCRIBE s; UNSUBSCRIBE x; EXEC"),
    ("b", "PUBLISH y 1; PUBLISH p 2; PUBLISH x 3"),
    ("a", "UNSUBSCRIBE; PUNSUBSCRIBE"),
    ("a", "MULTI; UNSUBSCRIBE; SUNSUBSCRIBE; PUNSUBSCRIBE q; EXEC"),
    ("a", "SUBSCRIBE x"),
    ("b", "MULTI; PUBLISH x 1; SET k v; PUBLISH x 2; SPUBLISH x 3; PUBSUB NUMSUB x; EXEC"),
    ("c", "HELLO 3; SUBSCRIBE x; SSUBSCRIBE x; PSUBSCRIBE x"),
    ("b", "PUBLISH x 1; SPUBLISH x 2"),
    ("c", "GET k; PING; PING x; PUBSUB NUMSUB x; CLIENT GETNAME"),
    ("c", "UNSUBSCRIBE; UNSUBSCRIBE; UNSUBSCRIBE q; SUNSUBSCRIBE; PUNSUBSCRIBE; PUNSUBSCRIBE"),
    ("c", "CLIENT REPLY OFF; SUBSCRIBE x; PING; UNSUBSCRIBE x; GET k; CLIENT REPLY ON"),
    ("c", "CLIENT REPLY SKIP; SUBSCRIBE x; PING"),
    ("b", "CLIENT REPLY OFF; PUBLISH x 1; PUBLISH x 2; CLIENT REPLY ON"),
    ("c", "MULTI; SUBSCRIBE y z; PING; UNSUBSCRIBE; EXEC"),
    ("c", "SUBSCRIBE x; HELLO 2; PING; GET k"),
    ("b", "PUBLISH x 1"),
    ("c", "UNSUBSCRIBE; HELLO 3; PING"),
    ("b", "CLIENT KILL TYPE pubsub SKIPME no TYPE"),
    (
        "b",
        "COMMAND INFO publish spublish subscribe ssubscribe unsubscribe sunsubscribe psubscribe punsubscribe",
    ),
    ("b", "COMMAND GETKEYS publish x y; COMMAND GETKEYS spublish x y; COMMAND GETKEYS sunsubscribe x"),
];

#[test]
fn it_answers_as_redis_does() {
    let peer = Peer::start();
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let (mut redis, mut ringward) = (Party::new(|| peer.client()), Party::new(|| server.client()));
        // Connected in this order on both.
        for name in ["a", "b", "c"] {
            compare(&mut redis, &mut ringward, name, "PING", "");
        }
        for (at, (name, requests)) in SCRIPT.iter().enumerate() {
            let before = if at > 0 { SCRIPT[at - 1].1 } else { "" };
            compare(&mut redis, &mut ringward, name, requests, before);
        }
    }
}

#[test]
fn random_subscriptions_are_as_redis_has_them() {
    let peer = Peer::start();
    let server = Server::start(3);
    for seed in 0..6 {
        random_run(&peer, &server, seed);
    }
}

fn random_run(peer: &Peer, server: &Server, seed: u64) {
    let mut random = Random::new(seed);
    let (mut redis, mut ringward) = (Party::new(|| peer.client()), Party::new(|| server.client()));
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    // Of the clients with RESP3 that may have subscriptions none publishes: 7.0 and 7.2 differ in what comes first.
    let is_resp3 = |name: &str| matches!(name, "b" | "c");
    for name in NAMES {
        let hello = if is_resp3(name) { "HELLO 3; PING" } else { "HELLO 2; PING" };
        for party in [&mut redis, &mut ringward] {
            party.step(name, hello);
        }
    }
    let mut history = String::new();
    for _ in 0..250 {
        let name = random.pick(&NAMES);
        let mut requests = Vec::new();
        for _ in 0..=random.below(4) {
            let channel = format!("ch{}", random.below(5));
            let pattern = random.pick(&["ch*", "*2", "ch[1-3]", "c?0", "none"]);
            let kind = random.pick(&["", "P", "S"]);
            let what = if *kind == *"P" { pattern } else { &channel };
            requests.push(match random.below(14) {
                0..=4 => format!("{kind}SUBSCRIBE {what}"),
                5 => format!("{kind}SUBSCRIBE {what} {channel} {channel}"),
                6 | 7 => format!("{kind}UNSUBSCRIBE {what}"),
                8 if random.one_in(3) => format!("{kind}UNSUBSCRIBE"),
                9 => "PUBSUB NUMPAT".to_owned(),
                10 => "PUBSUB NUMSUB ch0 ch1 ch2 ch3 ch4".to_owned(),
                11 => "PUBSUB CHANNELS".to_owned(),
                12 => "PING".to_owned(),
                _ if is_resp3(name) => "GET nothing".to_owned(),
                _ if random.one_in(3) => format!("SPUBLISH {channel} m{}", random.below(1000)),
                _ => format!("PUBLISH {channel} m{}", random.below(1000)),
            });
        }
        if random.one_in(6) && !is_resp3(name) {
            // Where a client subscribes in it, what it then publishes to itself has its own rule, too.
            let is_alone = requests.iter().all(|request| !request.contains("PUBLISH"));
            if is_alone && random.one_in(2) {
                requests = vec!["MULTI".to_owned()].into_iter().chain(requests).collect();
                requests.push("EXEC".to_owned());
            }
        }
        let resets = random.one_in(25);
        if resets {
            requests = vec!["RESET".to_owned()];
        }
        let requests = requests.join("; ");
        history += &format!("{name}: {requests}\n");
        compare(&mut redis, &mut ringward, name, &requests, &format!("seed {seed}\n{history}"));
        if resets && is_resp3(name) {
            for party in [&mut redis, &mut ringward] {
                party.step(name, "HELLO 3");
            }
        }
    }
    for party in [&mut redis, &mut ringward] {
        party.clients.clear();
    }
    eventually("the subscribers are gone", || {
        let is_gone = |mut client: Client| client.run("PUBSUB CHANNELS") == Value::Array(Vec::new());
        is_gone(peer.client()) && is_gone(server.client())
    });
}

/// A field of INFO.
#[track_caller]
fn info(client: &mut Client, field: &str) -> String {
    let text = client.run("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
}

fn message(channel: &str, text: &str) -> Value {
    Value::Array(vec![Value::bulk("message"), Value::bulk(channel), Value::bulk(text)])
}

#[test]
fn a_thousand_subscribers() {
    const COUNT: usize = 1000;
    let server = Server::start(2);
    let mut admin = server.client();
    let mut subscribers: Vec<Client> = (0..COUNT).map(|_| server.client()).collect();
    for (at, subscriber) in subscribers.iter_mut().enumerate() {
        let own = format!("own:{at}");
        subscriber.send(&request(&["SUBSCRIBE", "all", &own]));
    }
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.read().items()[2], Value::Int(1));
        assert_eq!(subscriber.read().items()[2], Value::Int(2));
    }
    assert_eq!(info(&mut admin, "pubsub_channels"), (COUNT + 1).to_string());
    assert_eq!(info(&mut admin, "pubsub_clients"), COUNT.to_string());
    let mut pipeline = Vec::new();
    for at in 0..COUNT {
        pipeline.extend(request(&["PUBLISH", &format!("own:{at}"), &format!("{at}")]));
    }
    for at in 0..20 {
        pipeline.extend(request(&["PUBLISH", "all", &format!("all {at}")]));
    }
    let replies = admin.pipeline(&pipeline, COUNT + 20);
    assert!(replies[..COUNT].iter().all(|reply| *reply == Value::Int(1)));
    assert!(replies[COUNT..].iter().all(|reply| *reply == Value::Int(COUNT as i64)));
    for (at, subscriber) in subscribers.iter_mut().enumerate() {
        assert_eq!(subscriber.read(), message(&format!("own:{at}"), &at.to_string()));
        for number in 0..20 {
            assert_eq!(subscriber.read(), message("all", &format!("all {number}")));
        }
    }
    for subscriber in subscribers.drain(..COUNT / 2) {
        subscriber.vanish();
    }
    eventually("half of them are gone", || {
        admin.run("PUBSUB NUMSUB all").items()[1] == Value::Int(COUNT as i64 / 2)
    });
    assert_eq!(admin.run("PUBLISH all last"), Value::Int(COUNT as i64 / 2));
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.read(), message("all", "last"));
    }
    drop(subscribers);
    eventually("all of them are gone", || admin.run("PUBSUB CHANNELS").items().is_empty());
    assert_eq!(info(&mut admin, "pubsub_channels"), "0");
    assert_eq!(info(&mut admin, "pubsub_clients"), "0");
}

#[test]
fn what_is_published_after_the_confirmation_arrives() {
    let server = Server::start(2);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Others come and go on the same channels.
        for at in 0..2 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut client = server.client();
                while !stop.load(Ordering::Relaxed) {
                    for channel in 0..4 {
                        let pattern = format!("ch{channel}{}", if at == 0 { "" } else { "*" });
                        let word = if at == 0 { "SUBSCRIBE" } else { "PSUBSCRIBE" };
                        client.send(&request(&[word, &pattern]));
                    }
                    client.send(&words("UNSUBSCRIBE"));
                    client.send(&words("PUNSUBSCRIBE"));
                    client.send(&words("RESET"));
                    while client.read() != Value::simple("RESET") {}
                }
            });
        }
        let ends: Vec<_> = (0..2)
            .map(|pair| {
                let server = &server;
                scope.spawn(move || {
                    let (mut listener, mut publisher) = (server.client(), server.client());
                    for round in 0..400 {
                        let channel = format!("ch{}", (round + pair) % 4);
                        listener.send(&request(&["SUBSCRIBE", &channel]));
                        assert_eq!(listener.read().items()[0], Value::bulk("subscribe"));
                        let text = format!("{pair}-{round}");
                        let receivers = publisher.call(&["PUBLISH", &channel, &text]).int();
                        assert!(receivers >= 1, "{receivers}");
                        // Those of the other pair may come before.
                        while listener.read() != message(&channel, &text) {}
                        listener.send(&request(&["UNSUBSCRIBE", &channel]));
                        loop {
                            let items = listener.read();
                            if items.items()[0] == Value::bulk("unsubscribe") {
                                assert_eq!(items.items()[2], Value::Int(0));
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = ends.into_iter().map(|end| end.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.into_iter().all(|result| result.is_ok()));
    });
}

#[test]
fn each_publisher_is_heard_in_its_order() {
    const COUNT: usize = 20_000;
    let server = Server::start(2);
    let mut listeners: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for listener in &mut listeners {
        listener.send(&words("SUBSCRIBE x y"));
        listener.read_many(2);
    }
    std::thread::scope(|scope| {
        for publisher in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let mut pipeline = Vec::new();
                for number in 0..COUNT {
                    let channel = if number % 3 == 0 { "y" } else { "x" };
                    pipeline.extend(request(&["PUBLISH", channel, &format!("{publisher} {number}")]));
                }
                let replies = server.client().pipeline(&pipeline, COUNT);
                assert!(replies.iter().all(|reply| *reply == Value::Int(4)));
            });
        }
        for mut listener in listeners {
            scope.spawn(move || {
                let mut next = [0; 3];
                for _ in 0..3 * COUNT {
                    let value = listener.read();
                    let text = value.items()[2].text();
                    let (publisher, number) = text.split_once(' ').unwrap();
                    let next: &mut usize = &mut next[publisher.parse::<usize>().unwrap()];
                    assert_eq!(number, next.to_string());
                    *next += 1;
                }
                assert_eq!(next, [COUNT; 3]);
            });
        }
    });
}

#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    let server = Server::start(2);
    let mut admin = server.client();
    let limit = |admin: &mut Client, limit: &str| {
        let reply = admin.call(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
        assert_eq!(reply, Value::simple("OK"));
    };
    limit(&mut admin, "pubsub 4mb 0 0");
    let before = server.rss_bytes();
    // On both cores, and beside them one that reads.
    let mut slow: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut good = server.client();
    for client in slow.iter_mut().chain([&mut good]) {
        client.send(&words("SUBSCRIBE x"));
        assert_eq!(client.read().items()[2], Value::Int(1));
    }
    let text = "m".repeat(100_000);
    let mut most = 0;
    eventually("the slow ones are closed", || {
        let receivers = admin.call(&["PUBLISH", "x", &text]).int();
        assert_eq!(good.read(), message("x", &text));
        most = most.max(server.rss_bytes());
        receivers == 1
    });
    assert_eq!(info(&mut admin, "client_output_buffer_limit_disconnections"), "4");
    assert!(server.log().matches("for overcoming of output buffer limits").count() == 4);
    // Four times 4 MB, doubled where a buffer has grown, and something besides.
    assert!(most.saturating_sub(before) < 80 << 20, "{}", most - before);
    for client in &mut slow {
        let rest = client.rest();
        assert!(!rest.is_empty() && rest.len() < 200 << 20);
    }
    assert_eq!(admin.call(&["PUBLISH", "x", "still there"]), Value::Int(1));
    assert_eq!(good.read(), message("x", "still there"));
}

#[test]
fn the_soft_limit_takes_its_time() {
    let server = Server::start(2);
    let mut admin = server.client();
    let set = |admin: &mut Client, limit: &str| {
        let reply = admin.call(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
        assert_eq!(reply, Value::simple("OK"));
    };
    set(&mut admin, "pubsub 0 1mb 100000");
    let mut slow = server.client();
    slow.send(&words("PSUBSCRIBE *"));
    slow.read();
    let text = "m".repeat(100_000);
    // More than the kernel's buffers and the limit take together.
    eventually("it is over the limit", || {
        assert_eq!(admin.call(&["PUBLISH", "x", &text]), Value::Int(1));
        let list = admin.run("CLIENT LIST TYPE pubsub").text();
        let waiting = list.split(' ').find_map(|field| field.strip_prefix("obl=")).expect("it is there");
        waiting.parse::<u64>().unwrap() > 2 << 20
    });
    assert_eq!(info(&mut admin, "client_output_buffer_limit_disconnections"), "0");
    set(&mut admin, "pubsub 0 1mb 1");
    eventually("it is closed", || info(&mut admin, "pubsub_clients") == "0");
    assert_eq!(admin.call(&["PUBLISH", "x", &text]), Value::Int(0));
    slow.rest();
}

#[test]
fn an_idle_subscriber_stays() {
    let server = Server::start(2);
    let mut subscriber = server.client();
    subscriber.send(&words("SUBSCRIBE x"));
    subscriber.read();
    let mut idle = server.client();
    let mut admin = server.client();
    admin.ok("CONFIG SET timeout 1");
    // It came later, and is closed.
    eventually("the idle one is closed", || admin.run("CLIENT LIST").text().lines().count() == 2);
    assert!(idle.rest().is_empty());
    assert_eq!(admin.run("PUBLISH x hello"), Value::Int(1));
    assert_eq!(subscriber.read(), message("x", "hello"));
}

#[test]
fn subscriptions_are_counted_as_memory_of_the_client() {
    let server = Start::new(2).args(&["--maxmemory-clients", "0"]).run();
    let mut admin = server.client();
    let mut subscriber = server.client();
    let tot_mem = |admin: &mut Client| {
        let list = admin.run("CLIENT LIST TYPE pubsub").text();
        let field = list.split(' ').find_map(|field| field.strip_prefix("tot-mem="));
        field.expect("it is there").parse::<u64>().unwrap()
    };
    subscriber.send(&words("SUBSCRIBE x"));
    subscriber.read();
    let before = tot_mem(&mut admin);
    let names: Vec<String> = (0..20_000).map(|at| format!("channel:{at:05}")).collect();
    let all: Vec<&str> = ["SUBSCRIBE"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let confirmations = subscriber.pipeline(&request(&all), names.len());
    assert_eq!(confirmations.last().unwrap().items()[2], Value::Int(20_001));
    assert!(tot_mem(&mut admin) > before + 20_000 * 13);
    let list = admin.run("PUBSUB CHANNELS channel:*9");
    assert_eq!(list.items().len(), 2000);
    let replies = subscriber.pipeline(&words("UNSUBSCRIBE"), 20_001);
    assert_eq!(replies.last().unwrap().items()[2], Value::Int(0));
    assert_eq!(info(&mut admin, "pubsub_channels"), "0");
    assert_eq!(subscriber.run("PING"), Value::simple("PONG"));
    assert!(admin.run("CLIENT LIST TYPE pubsub").text().is_empty());
}

#[test]
fn a_replica_without_its_primary_publishes() {
    let server = Server::start(2);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut admin, mut subscriber) = (server.client(), server.client());
    admin.ok("CONFIG SET replica-serve-stale-data no");
    admin.ok(&format!("REPLICAOF 127.0.0.1 {nobody}"));
    eventually("its data is stale", || admin.run("GET k").is_error());
    subscriber.send(&words("SUBSCRIBE x"));
    assert_eq!(subscriber.read().items()[2], Value::Int(1));
    assert_eq!(admin.run("PUBLISH x hello"), Value::Int(1));
    assert_eq!(subscriber.read(), message("x", "hello"));
    assert_eq!(admin.run("PUBSUB NUMPAT"), Value::Int(0));
}
