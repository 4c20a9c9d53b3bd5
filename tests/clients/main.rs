//! The Rust `redis` crate against the server's own binary: RESP2 and RESP3, pipelines, threads, Pub/Sub.
//!
//! The other clients (redis-py, ioredis, redis-cli and the benchmarks) are scripts beside this file: `tests/run` starts
//! a server for them.

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Commands, Connection, ConnectionLike, ErrorKind, RedisResult, Value};

/// A server with two shards on a free port; it ends with this value.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Server {
        // Between this look and the server's bind another process might take the port; then there is another look.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let process = Command::new(env!("CARGO_BIN_EXE_ringward"))
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--shards", "2", "--save", ""])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut server = Server { process, port };
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(30) && server.process.try_wait().unwrap().is_none()
            {
                if server.try_connect("").is_ok_and(|mut connection| connection.check_connection()) {
                    return server;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("the server does not start");
    }

    fn try_connect(&self, parameters: &str) -> RedisResult<Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}/{parameters}", self.port))?.get_connection()
    }

    fn connect(&self, parameters: &str) -> Connection {
        self.try_connect(parameters).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a test on a fresh server in both versions of the protocol.
fn in_both_protocols(test: impl Fn(&Server, &str)) {
    for parameters in ["", "?protocol=resp3"] {
        test(&Server::start(), parameters);
    }
}

#[test]
fn strings_and_keys() {
    in_both_protocols(|server, parameters| {
        let mut client = server.connect(parameters);
        let () = client.set("a", 41).unwrap();
        assert_eq!(client.incr::<_, _, i64>("a", 1).unwrap(), 42);
        assert_eq!(client.get::<_, Option<String>>("none").unwrap(), None);
        assert!(client.set_nx::<_, _, bool>("b", "x").unwrap());
        let () = client.mset(&[("k1", "v1"), ("k2", "v2"), ("k3", "v3")]).unwrap();
        let values: Vec<Option<String>> = client.mget(&["k1", "none", "k3"]).unwrap();
        assert_eq!(values, [Some("v1".to_owned()), None, Some("v3".to_owned())]);
        let () = client.set_ex("soon", "x", 100).unwrap();
        assert!((1..=100).contains(&client.ttl::<_, i64>("soon").unwrap()));
        let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let () = client.set("bytes", &bytes).unwrap();
        assert_eq!(client.get::<_, Vec<u8>>("bytes").unwrap(), bytes);
        assert_eq!(client.del::<_, i64>(&["a", "b", "k1", "k2", "k3", "none"]).unwrap(), 5);
        let error = client.incr::<_, _, i64>("bytes", 1).unwrap_err();
        assert_eq!(error.detail(), Some("value is not an integer or out of range"));
        let error = redis::cmd("NOSUCH").query::<Value>(&mut client).unwrap_err();
        assert!(error.detail().unwrap().starts_with("unknown command 'NOSUCH'"), "{error}");
        assert_ne!(error.kind(), ErrorKind::Io);
    });
}

#[test]
fn pipelines_keep_their_order() {
    in_both_protocols(|server, parameters| {
        let mut client = server.connect(parameters);
        let mut pipe = redis::pipe();
        for i in 0..2000 {
            pipe.set(format!("p:{i}"), i).ignore().get(format!("p:{i}"));
        }
        let values: Vec<i64> = pipe.query(&mut client).unwrap();
        assert_eq!(values, (0..2000).collect::<Vec<_>>());
    });
}

#[test]
fn scans_see_every_key() {
    in_both_protocols(|server, parameters| {
        let mut client = server.connect(parameters);
        let mut pipe = redis::pipe();
        for i in 0..3000 {
            pipe.set(format!("scan:{}:{i}", i % 3), i).ignore();
        }
        let () = pipe.query(&mut client).unwrap();
        let keys: HashSet<String> = client.scan().unwrap().map(Result::unwrap).collect();
        assert_eq!(keys.len(), 3000);
        let keys: HashSet<String> = client.scan_match("scan:1:*").unwrap().map(Result::unwrap).collect();
        assert_eq!(keys.len(), 1000);
    });
}

#[test]
fn resp3_types_arrive_as_such() {
    let server = Server::start();
    let mut client = server.connect("?protocol=resp3");
    let hello: Value = redis::cmd("HELLO").query(&mut client).unwrap();
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
    let config: Value = redis::cmd("CONFIG").arg("GET").arg("databases").query(&mut client).unwrap();
    assert!(matches!(config, Value::Map(_)), "{config:?}");
    let none: Value = redis::cmd("GET").arg("none").query(&mut client).unwrap();
    assert_eq!(none, Value::Nil);
}

#[test]
fn many_threads_share_the_server() {
    in_both_protocols(|server, parameters| {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    let mut client = server.connect(parameters);
                    for i in 0..200 {
                        let () = client.set(format!("t:{thread}:{i}"), i).unwrap();
                        let _: i64 = client.incr("shared", 1).unwrap();
                        // Both lie on one shard or on two; never is only one of them seen.
                        let () = client.mset(&[("left", thread), ("right", thread)]).unwrap();
                        let both: (i64, i64) = client.mget(&["left", "right"]).unwrap();
                        assert_eq!(both.0, both.1);
                    }
                });
            }
        });
        let mut client = server.connect(parameters);
        assert_eq!(client.get::<_, i64>("shared").unwrap(), 1600);
        assert_eq!(redis::cmd("DBSIZE").query::<i64>(&mut client).unwrap(), 1603);
    });
}

#[test]
fn databases_are_apart() {
    in_both_protocols(|server, parameters| {
        let mut zero = server.connect(parameters);
        let mut seven = server.connect(&format!("7{parameters}"));
        let () = seven.set("a", 7).unwrap();
        assert_eq!(zero.get::<_, Option<i64>>("a").unwrap(), None);
        assert_eq!(seven.get::<_, Option<i64>>("a").unwrap(), Some(7));
    });
}

#[test]
fn messages_reach_subscribers() {
    const COUNT: usize = 500;
    let server = Server::start();
    // On both cores; the last one hears each message twice.
    let listeners: Vec<_> = (0..6).map(|at| (at, server.connect(""))).collect();
    let (is_ready, ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for (at, mut connection) in listeners {
            let is_ready = is_ready.clone();
            scope.spawn(move || {
                let mut pubsub = connection.as_pubsub();
                pubsub.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                pubsub.subscribe("news").unwrap();
                pubsub.subscribe("other").unwrap();
                if at == 5 {
                    pubsub.psubscribe("n*").unwrap();
                }
                assert_eq!(pubsub.ping_message::<(String, String)>("hi").unwrap().1, "hi");
                is_ready.send(()).unwrap();
                for number in 0..COUNT {
                    let message = pubsub.get_message().unwrap();
                    assert_eq!(message.get_channel_name(), "news");
                    assert_eq!(message.get_payload::<usize>().unwrap(), number);
                    if at == 5 {
                        let message = pubsub.get_message().unwrap();
                        assert_eq!(message.get_pattern::<String>().unwrap(), "n*");
                        assert_eq!(message.get_payload::<usize>().unwrap(), number);
                    }
                }
                pubsub.unsubscribe("news").unwrap();
                drop(pubsub);
                // It is an ordinary connection again.
                assert_eq!(connection.get::<_, Option<String>>("none").unwrap(), None);
            });
        }
        let mut client = server.connect("?protocol=resp3");
        (0..6).for_each(|_| ready.recv_timeout(Duration::from_secs(30)).unwrap());
        for number in 0..COUNT {
            assert_eq!(client.publish::<_, _, usize>("news", number).unwrap(), 7);
        }
    });
}

#[test]
fn messages_are_pushed_between_replies() {
    let server = Server::start();
    let mut client = server.connect("?protocol=resp3");
    let (sender, pushed) = std::sync::mpsc::channel();
    client.set_push_sender(sender);
    client.subscribe_resp3("x").unwrap();
    let mut publisher = server.connect("");
    // Its reply comes behind the confirmation, on the same connection.
    assert_eq!(client.get::<_, Option<String>>("none").unwrap(), None);
    for number in 0..100 {
        assert_eq!(publisher.publish::<_, _, i64>("x", number).unwrap(), 1);
        assert_eq!(client.incr::<_, _, i64>("count", 1).unwrap(), number + 1);
    }
    // What it publishes itself comes behind the reply, so that one more reply brings the last.
    assert_eq!(client.publish::<_, _, i64>("x", "own").unwrap(), 1);
    assert_eq!(client.get::<_, i64>("count").unwrap(), 100);
    let pushed: Vec<_> = pushed.try_iter().map(|info| (info.kind, info.data)).collect();
    assert_eq!(pushed.len(), 102);
    assert_eq!(pushed[0].0, redis::PushKind::Subscribe);
    let payloads: Vec<String> =
        pushed[1..].iter().map(|(_, data)| redis::from_redis_value_ref(&data[1]).unwrap()).collect();
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).chain(["own".to_owned()]).collect();
    assert_eq!(payloads, expected);
}
