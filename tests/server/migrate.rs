//! MIGRATE between Ringwards and stock redis-servers, both ways, and with others that misbehave.
//!
//! What is said is compared with what a redis-server says that is asked the same; what has become of the keys is looked
//! for on both sides.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

use super::harness::process::Port;
use super::harness::{eventually, number_from_env, request, Client, Peer, Random, Server, Start, Value};
use super::persistence::fill_as_stock;

const TIMEOUT: &str = "20000";

/// MIGRATE with these arguments after the address.
fn migrate(to: SocketAddr, words: &[&str]) -> Vec<u8> {
    let port = to.port().to_string();
    request(&[&["MIGRATE", "127.0.0.1", &port], words].concat())
}

#[track_caller]
fn migrated(client: &mut Client, to: SocketAddr, words: &[&str]) -> Value {
    client.send(&migrate(to, words));
    client.read()
}

fn keys(client: &mut Client) -> BTreeSet<Vec<u8>> {
    client.run("KEYS *").items().iter().map(|key| key.bytes().to_vec()).collect()
}

/// The digests of the values of all keys, and when each expires.
fn survey(client: &mut Client, keys: &BTreeSet<Vec<u8>>) -> Vec<(String, i64)> {
    keys.iter()
        .map(|key| {
            let digest = client.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key]).items()[0].text();
            (digest, client.call(&[&b"PEXPIRETIME"[..], key]).int())
        })
        .collect()
}

/// Moves all that one server has to another, many keys at a time.
fn move_everything(from: &mut Client, to: (&mut Client, SocketAddr)) {
    let (target, address) = to;
    let all = keys(from);
    let before = survey(from, &all);
    let start = Instant::now();
    let names: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    for some in names.chunks(7) {
        let port = address.port().to_string();
        let head = [&b"MIGRATE"[..], b"127.0.0.1", port.as_bytes(), b"", b"0", TIMEOUT.as_bytes(), b"KEYS"];
        assert_eq!(from.call(&[&head[..], some].concat()), Value::simple("OK"));
    }
    let took_ms = start.elapsed().as_millis() as i64 + 1;
    assert_eq!(from.run("DBSIZE"), Value::Int(0));
    assert_eq!(keys(target), all);
    for ((key, before), after) in names.iter().zip(before).zip(survey(target, &all)) {
        assert_eq!(before.0, after.0, "{}", key.escape_ascii());
        // It is told for how long they live on, which the journey adds to.
        let later = after.1 - before.1;
        let is_same = if before.1 < 0 { later == 0 } else { (0..=took_ms).contains(&later) };
        assert!(is_same, "{}: {before:?} {after:?}", key.escape_ascii());
    }
}

#[test]
fn every_kind_of_value_goes_to_redis_and_comes_back() {
    let peer = Peer::start();
    let mut redis = peer.client();
    let mut random = Random::new(number_from_env("RINGWARD_SEED", 1));
    fill_as_stock(&mut redis, &mut random, 1000);
    redis.ok("SELECT 0");
    for shards in [1, 3] {
        let server = Server::start(shards);
        let mut client = server.client();
        move_everything(&mut redis, (&mut client, server.address));
        move_everything(&mut client, (&mut redis, peer.address));
    }
    let (one, other) = (Server::start(2), Server::start(5));
    let (mut here, mut there) = (one.client(), other.client());
    move_everything(&mut redis, (&mut here, one.address));
    move_everything(&mut here, (&mut there, other.address));
}

#[test]
fn big_values_and_very_many_keys_go_whole() {
    const MB: usize = 1 << 20;
    let (server, peer) = (Server::start(2), Peer::start());
    let (mut client, mut redis) = (server.client(), peer.client());
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..30 * MB).map(|_| random.next() as u8).collect();
    client.call(&[b"SET".as_slice(), b"noise", &noise]);
    for chunk in 0..40 {
        let elements: Vec<String> = (0..5000).map(|n| format!("{chunk}:{n}:{}", random.next())).collect();
        let words: Vec<&str> =
            ["RPUSH", "list"].into_iter().chain(elements.iter().map(String::as_str)).collect();
        client.call(&words);
    }
    client.ok("SET small 1 EX 1000");
    let value = survey(&mut client, &BTreeSet::from([b"list".to_vec(), b"noise".to_vec()]));
    // Others are served meanwhile, and a long one behind it waits its turn.
    client.send(&migrate(peer.address, &["", "0", TIMEOUT, "KEYS", "noise", "list", "small"]));
    let mut other = server.client();
    for n in 0..100 {
        other.ok(&format!("SET other:{n} 1"));
    }
    assert_eq!(client.read(), Value::simple("OK"));
    assert_eq!(survey(&mut redis, &BTreeSet::from([b"list".to_vec(), b"noise".to_vec()])), value);
    assert!((1..=1000).contains(&redis.run("TTL small").int()));
    assert_eq!(client.run("DBSIZE"), Value::Int(100));
    // And back, with thousands of others.
    redis.run("DEBUG POPULATE 20000 k 50");
    let mut words = vec!["".to_owned(), "0".to_owned(), TIMEOUT.to_owned(), "KEYS".to_owned()];
    words.extend(keys(&mut redis).into_iter().map(|key| String::from_utf8(key).unwrap()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(migrated(&mut redis, server.address, &words), Value::simple("OK"));
    assert_eq!(client.run("DBSIZE"), Value::Int(20_103));
    assert_eq!(migrated(&mut client, peer.address, &words), Value::simple("OK"));
    assert_eq!((client.run("DBSIZE"), redis.run("DBSIZE")), (Value::Int(100), Value::Int(20_003)));
}

/// What the same requests are answered by a Ringward and by a redis-server, each with the same keys.
fn compare(requests: &[&str], to: SocketAddr, before_each: &mut dyn FnMut()) {
    let (server, peer) = (Server::start(3), Peer::start());
    let (mut client, mut redis) = (server.client(), peer.client());
    for line in requests {
        let line = line.replace("{port}", &to.port().to_string());
        let words: Vec<&str> = line.split(' ').map(|word| if word == "\"\"" { "" } else { word }).collect();
        let mut answers = Vec::new();
        for source in [&mut redis, &mut client] {
            before_each();
            source.run("FLUSHALL");
            source.run("MSET a 1 b 2 c 3 d 4 e 5");
            source.send(&request(&words));
            let reply = source.read();
            answers.push((reply, keys(source)));
        }
        assert_eq!(answers[0], answers[1], "{line}");
    }
}

#[test]
fn what_is_said_is_what_redis_says() {
    let target = Peer::start_with(&["--requirepass", "sesame", "--databases", "4"]);
    let mut admin = target.client();
    admin.ok("AUTH sesame");
    // The port of nobody.
    let closed = Port::new();
    let requests = [
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH sesame",
        "MIGRATE 127.0.0.1 {port} none 0 5000",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000 AUTH sesame KEYS a none b",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000 AUTH sesame KEYS none nobody",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000 AUTH sesame KEYS",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000",
        "MIGRATE 127.0.0.1 {port} a 0 5000",
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH wrong",
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH2 default sesame",
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH2 nobody sesame",
        "MIGRATE 127.0.0.1 {port} a 3 5000 AUTH sesame",
        "MIGRATE 127.0.0.1 {port} a 4 5000 AUTH sesame",
        "MIGRATE 127.0.0.1 {port} a -2 5000 AUTH sesame",
        "MIGRATE 127.0.0.1 {port} a 0 0 COPY AUTH sesame",
        "MIGRATE 127.0.0.1 {port} a 0 -5 copy REPLACE auth sesame",
        "MIGRATE 127.0.0.1 {port} busy 0 5000 AUTH sesame",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000 AUTH sesame REPLACE KEYS a b c d e",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000 AUTH sesame KEYS a a",
        "MIGRATE 127.0.0.1 {port} \"\" 0 5000 AUTH sesame REPLACE KEYS a a",
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH sesame KEYS b",
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH",
        "MIGRATE 127.0.0.1 {port} a 0 5000 AUTH2 default",
        "MIGRATE 127.0.0.1 {port} a 0 5000 WHAT",
        "MIGRATE 127.0.0.1 {port} a x 5000",
        "MIGRATE 127.0.0.1 {port} a 0 x",
        "MIGRATE 127.0.0.1 {port} a 0",
        "MIGRATE 127.0.0.1 nowhere a 0 500",
        "MIGRATE no.such.host.invalid {port} a 0 5000",
        "MIGRATE 127.0.0.1 70000 a 0 500",
    ];
    compare(&requests, target.address, &mut || {
        admin.ok("FLUSHALL");
        admin.ok("SET busy 1");
    });
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, closed.number));
    compare(&["MIGRATE 127.0.0.1 {port} a 0 500", "MIGRATE 127.0.0.1 {port} none 0 500"], closed, &mut || {});
}

#[test]
fn keys_that_are_there_already_stay_on_both_sides() {
    let target = Peer::start();
    let mut there = target.client();
    for shards in [1, 3] {
        let server = Server::start(shards);
        let mut client = server.client();
        there.ok("FLUSHALL");
        there.ok("SET c theirs");
        for key in ["a", "b", "c", "d", "e"] {
            client.ok(&format!("SET {key} ours"));
        }
        let reply =
            migrated(&mut client, target.address, &["", "0", TIMEOUT, "KEYS", "a", "b", "c", "d", "e"]);
        let busy = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        assert_eq!(reply, Value::error(busy));
        assert_eq!(keys(&mut client), BTreeSet::from([b"c".to_vec()]));
        assert_eq!(there.run("MGET a c"), Value::Array(vec![Value::bulk("ours"), Value::bulk("theirs")]));
        assert_eq!(
            migrated(&mut client, target.address, &["c", "0", TIMEOUT, "COPY", "REPLACE"]),
            Value::simple("OK")
        );
        assert_eq!(there.run("GET c"), Value::bulk("ours"));
        assert_eq!(client.run("GET c"), Value::bulk("ours"));
    }
}

#[test]
fn exec_runs_it_in_its_place() {
    let target = Peer::start();
    let mut there = target.client();
    for shards in [1, 3] {
        let server = Server::start(shards);
        let mut client = server.client();
        there.ok("FLUSHALL");
        let mut bytes = request(&["MULTI"]);
        bytes.extend(request(&["MSET", "a", "1", "b", "2", "c", "3"]));
        bytes.extend(migrate(target.address, &["", "0", TIMEOUT, "KEYS", "a", "b"]));
        bytes.extend(request(&["MGET", "a", "b", "c"]));
        bytes.extend(migrate(target.address, &["c", "0", TIMEOUT, "COPY"]));
        bytes.extend(request(&["INCR", "c"]));
        bytes.extend(request(&["EXEC"]));
        let replies = client.pipeline(&bytes, 7);
        let ok = Value::simple("OK");
        let left = Value::Array(vec![Value::NullBulk, Value::NullBulk, Value::bulk("3")]);
        assert_eq!(replies[6], Value::Array(vec![ok.clone(), ok.clone(), left, ok, Value::Int(4)]));
        let there = there.run("MGET a b c");
        assert_eq!(there, Value::Array(vec![Value::bulk("1"), Value::bulk("2"), Value::bulk("3")]));
    }
}

#[test]
fn links_are_kept_and_let_go() {
    let (server, target) = (Server::start(2), Peer::start());
    let (mut client, mut there) = (server.client(), target.client());
    let links = |there: &mut Client| there.run("CLIENT LIST").text().lines().count() - 1;
    for round in 0..50 {
        client.ok(&format!("SET k:{round} 1"));
        let reply = migrated(&mut client, target.address, &[&format!("k:{round}"), "0", TIMEOUT]);
        assert_eq!(reply, Value::simple("OK"));
    }
    assert_eq!(links(&mut there), 1, "one client's core has one link");
    let kept = client.run("INFO stats").text().contains("\r\nmigrate_cached_sockets:1\r\n");
    assert!(kept);
    // They are none of our clients.
    assert_eq!(client.run("CLIENT LIST").text().lines().count(), 1);
    there.run("CLIENT KILL TYPE normal");
    eventually("the end is noticed", || {
        client.run("INFO stats").text().contains("\r\nmigrate_cached_sockets:0\r\n")
    });
    client.ok("SET again 1");
    assert_eq!(migrated(&mut client, target.address, &["again", "0", TIMEOUT]), Value::simple("OK"));
    eventually("nobody has used it for long", || links(&mut there) == 0);
    assert!(client.run("INFO stats").text().contains("\r\nmigrate_cached_sockets:0\r\n"));
}

/// A server that does with each connection what it is told, until it is dropped.
struct Fake {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    /// How many connections have come.
    came: Arc<AtomicUsize>,
}

impl Fake {
    fn new(mut serve: impl FnMut(usize, TcpStream) + Send + 'static) -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let came = Arc::new(AtomicUsize::new(0));
        let (over, count) = (is_over.clone(), came.clone());
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                serve(number, stream.unwrap());
            }
        });
        Fake { address, is_over, came }
    }

    fn connections(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes on what a client sends until there are `bytes` of it, then ends both connections.
fn cut_after(bytes: usize, client: TcpStream, server: SocketAddr) {
    let server = TcpStream::connect(server).unwrap();
    let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut client, mut server) = (client, server);
    let mut left = bytes;
    let mut buffer = [0; 4096];
    while left > 0 {
        let want = left.min(buffer.len());
        match client.read(&mut buffer[..want]) {
            Ok(len @ 1..) if server.write_all(&buffer[..len]).is_ok() => left -= len,
            _ => break,
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_target_that_hangs_holds_nobody_up_but_those_who_want_its_keys() {
    // One that says nothing, and one that says nothing after the greeting.
    for greets in [false, true] {
        let mut kept = Vec::new();
        let fake = Fake::new(move |_, mut stream| {
            if greets {
                let _ = stream.write_all(b"+OK\r\n");
            }
            kept.push(stream);
        });
        let server = Server::start(2);
        let (mut client, mut waiting, mut other) = (server.client(), server.client(), server.client());
        other.ok("MSET a 1 b 2 c 3 d 4");
        client.send(&migrate(fake.address, &["", "0", "1500", "KEYS", "a", "b", "c"]));
        eventually("it has connected", || fake.connections() == 1);
        waiting.send(&request(&["INCR", "a"]));
        for n in 0..100 {
            other.ok(&format!("SET other:{n} 1"));
        }
        assert_eq!(other.run("INCR d"), Value::Int(5));
        let reading = Value::error("IOERR error or timeout reading to target instance");
        assert_eq!(client.read(), reading);
        assert_eq!(waiting.read(), Value::Int(2));
        assert_eq!(other.run("EXISTS a b c"), Value::Int(3));
        assert_eq!(fake.connections(), 1, "a timeout is not tried again");
    }
    // Nobody even answers the call: the queue of the listener is full.
    let listener = full_listener();
    let server = Server::start(2);
    let mut client = server.client();
    client.ok("SET a 1");
    let writing = Value::error("IOERR error or timeout writing to target instance");
    assert_eq!(migrated(&mut client, listener.0, &["a", "0", "300"]), writing);
    // Nobody takes what is sent.
    let mut kept = Vec::new();
    let fake = Fake::new(move |_, mut stream| {
        let _ = stream.write_all(b"+OK\r\n");
        kept.push(stream);
    });
    client.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 64 << 20]]);
    client.ok("CONFIG SET rdbcompression no");
    assert_eq!(migrated(&mut client, fake.address, &["big", "0", "500"]), writing);
    assert_eq!(client.run("STRLEN big"), Value::Int(64 << 20));
    // A stop is not held up by one under way.
    client.send(&migrate(fake.address, &["a", "0", "100000"]));
    eventually("it has connected", || fake.connections() == 2);
    server.signal(libc::SIGTERM);
    assert!(server.wait_exit().success());
}

/// A listener whose queue is full: connections to it hang.
fn full_listener() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    use std::os::fd::AsRawFd;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // SAFETY: plain integers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue has no end");
    }
    (address, listener, queued)
}

#[test]
fn one_that_ends_in_the_middle_is_tried_once_more() {
    let target = Peer::start();
    let mut there = target.client();
    let address = target.address;
    let mut random = Random::new(1);
    let noise: Vec<u8> = (0..300).map(|_| random.next() as u8).collect();
    // The first connection ends at once, or after a part of what is sent; the second one is good.
    for bytes in [0, 10, 30, 200] {
        let fake = Fake::new(move |number, stream| {
            let bytes = if number == 0 { bytes } else { usize::MAX };
            std::thread::spawn(move || cut_after(bytes, stream, address));
        });
        let server = Server::start(2);
        let mut client = server.client();
        there.ok("FLUSHALL");
        client.call(&[b"SET".as_slice(), b"a", &noise]);
        assert_eq!(migrated(&mut client, fake.address, &["a", "0", TIMEOUT]), Value::simple("OK"), "{bytes}");
        assert_eq!(fake.connections(), 2);
        assert_eq!((client.run("EXISTS a"), there.run("EXISTS a")), (Value::Int(0), Value::Int(1)));
    }
    // If that is no better it is told, and nothing has gone.
    let fake = Fake::new(|_, stream| drop(stream));
    let server = Server::start(2);
    let mut client = server.client();
    client.ok("SET a 1");
    let reply = migrated(&mut client, fake.address, &["a", "0", TIMEOUT]).text();
    assert!(reply.starts_with("IOERR error or timeout "), "{reply}");
    assert_eq!(fake.connections(), 2);
    assert_eq!(client.run("EXISTS a"), Value::Int(1));
}

#[test]
fn nothing_is_lost_wherever_it_breaks() {
    let seed = number_from_env("RINGWARD_SEED", 1);
    println!("RINGWARD_SEED={seed}");
    let (target, server) = (Peer::start(), Server::start(3));
    let address = target.address;
    let mut cuts = Random::new(seed);
    let fake = Fake::new(move |_, stream| {
        let bytes = cuts.below(4000);
        std::thread::spawn(move || cut_after(bytes, stream, address));
    });
    const CLIENTS: usize = 4;
    const KEYS: usize = 400;
    let mut admin = server.client();
    for at in 0..CLIENTS {
        for n in 0..KEYS {
            admin.ok(&format!("SET {at}:{n} value:{at}:{n}"));
        }
    }
    let mut confirmed = 0;
    std::thread::scope(|scope| {
        let movers: Vec<_> = (0..CLIENTS)
            .map(|at| {
                let mut client = server.client();
                let (address, mut random) = (fake.address, Random::new(seed * 10 + at as u64));
                scope.spawn(move || {
                    let mut confirmed = 0;
                    for _ in 0..120 {
                        let names: Vec<String> =
                            (0..8).map(|_| format!("{at}:{}", random.below(KEYS))).collect();
                        let mut words = vec!["", "0", TIMEOUT, "REPLACE", "KEYS"];
                        words.extend(names.iter().map(String::as_str));
                        let reply = migrated(&mut client, address, &words);
                        if !reply.is_error() {
                            confirmed += 1;
                            let exists = [&["EXISTS"], &words[5..]].concat();
                            assert_eq!(client.call(&exists), Value::Int(0));
                        } else {
                            assert!(reply.text().starts_with("IOERR"), "{reply:?}");
                        }
                    }
                    confirmed
                })
            })
            .collect();
        confirmed = movers.into_iter().map(|mover| mover.join().unwrap()).sum();
    });
    assert!((1..CLIENTS * 120).contains(&confirmed), "some break and some do not: {confirmed}");
    let mut there = target.client();
    let (mut here, mut moved) = (0, 0);
    for at in 0..CLIENTS {
        for n in 0..KEYS {
            let value = Value::bulk(format!("value:{at}:{n}"));
            let key = format!("{at}:{n}");
            let values = [admin.run(&format!("GET {key}")), there.run(&format!("GET {key}"))];
            assert!(values.contains(&value), "{key} is lost");
            assert!(values.iter().all(|found| *found == value || *found == Value::NullBulk), "{values:?}");
            here += usize::from(values[0] == value);
            moved += usize::from(values[0] != value);
        }
    }
    assert!(here > 0 && moved > 0);
}

#[test]
fn what_has_gone_is_gone_after_a_restart() {
    let target = Peer::start();
    for fsync in ["always", "everysec"] {
        let start = Start::new(3).args(&["--appendonly", "yes", "--appendfsync", fsync]);
        let server = start.run();
        let mut client = server.client();
        eventually("the data set is loaded", || server.log().contains("The data set is loaded"));
        client.ok("MSET a 1 b 2 c 3 d 4");
        target.client().ok("FLUSHALL");
        let reply = migrated(&mut client, target.address, &["", "0", TIMEOUT, "KEYS", "a", "b", "c"]);
        assert_eq!(reply, Value::simple("OK"));
        assert_eq!(migrated(&mut client, target.address, &["d", "0", TIMEOUT, "COPY"]), Value::simple("OK"));
        let (folder, port) = (server.folder.clone(), server.port.clone());
        client.send(&request(&["SHUTDOWN", "NOSAVE"]));
        assert!(server.wait_exit().success());
        drop(server);
        let again =
            Start::again(5, folder, port).args(&["--appendonly", "yes", "--appendfsync", fsync]).run();
        eventually("the data set is loaded", || again.log().contains("The data set is loaded"));
        assert_eq!(keys(&mut again.client()), BTreeSet::from([b"d".to_vec()]));
    }
}

#[test]
fn a_server_that_migrates_to_itself_gives_up() {
    let server = Server::start(2);
    let mut client = server.client();
    client.ok("SET a 1");
    let reply = migrated(&mut client, server.address, &["a", "1", "500"]);
    assert_eq!(reply, Value::error("IOERR error or timeout reading to target instance"));
    assert_eq!(client.run("GET a"), Value::bulk("1"));
}
