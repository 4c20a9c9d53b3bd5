//! The wire: requests in any number of pieces, broken ones, huge ones, very many. What redis-server answers to the same
//! bytes is the measure wherever the two can be compared.

use super::harness::process::{Borrowed, Shared};
use super::harness::{eventually, number_from_env, request, Client, Peer, Random, Server, Start, Value};

/// A server that the tests of this file share: they use keys of their own.
fn server() -> Borrowed {
    static SERVER: Shared = Shared::new();
    SERVER.start(|| Start::new(2))
}

/// Clients on every core of a server, to know that it has seen what was sent before.
struct Barrier(Vec<Client>);

impl Barrier {
    fn new(server: &Server) -> Barrier {
        Barrier((0..4).map(|_| server.client()).collect())
    }

    /// When this returns each core has been through its loop since: what a socket held before has been taken.
    fn pass(&mut self) {
        self.0.iter_mut().for_each(|client| client.send(b"PING\r\n"));
        self.0.iter_mut().for_each(|client| assert_eq!(client.read(), Value::simple("PONG")));
    }
}

/// All that a server answers to these bytes, up to the end of the connection.
fn answer(client: &mut Client, bytes: &[u8]) -> Vec<u8> {
    // An early end of the connection is the server's right.
    let _ = client.try_send(bytes);
    client.end_input();
    client.rest()
}

const STREAMS: &[&[u8]] = &[
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nv\r\nal\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
    b"PING howdy\r\n\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\nset 'a b' \"\\x41\\n\"\nget 'a b'\r\n*2\r\n$4\r\nECHO\r\n$10\r\n0123456789\r\n",
    b"  PING  \r\n\tECHO\tx \n\r\n \r\necho 'it\\'s' \r\necho \"\\\"\\\\\\a\\b\\t\\n\\r\\xzz\"\r\nPING\n",
    b"MGET a b c d e\r\n*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\nDEL a b c d e\r\nPING\r\n",
    // Broken: an error, then the end.
    b"*x\r\n",
    b"*2147483648\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n:5\r\n",
    b"*2\r\n$4\r\nECHO\r\n\r\n",
    b"PING\r\n*1\r\n$4\r\nPING\r\n*q\r\nPING\r\n",
    b"MGET a b c d e\r\nMSET a 1 b 2 c 3 d 4\r\n*x\r\nPING\r\n",
    b"set \"a\r\n",
    b"set 'a'b\r\n",
    b"set \"a\"b\r\nPING\r\n",
    b"+OK\r\n",
    b"$4\r\nPING\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    // Never complete: silence, then the end.
    b"*",
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nva",
    b"PING\r\nPIN",
];

#[test]
fn a_request_may_come_in_any_two_pieces() {
    let (server, peer) = (Server::start(2), Peer::start());
    let mut barrier = Barrier::new(&server);
    for stream in STREAMS {
        let expected = answer(&mut peer.client(), stream);
        peer.client().ok("FLUSHALL");
        for at in 0..stream.len() {
            server.client().ok("FLUSHALL");
            let mut client = server.client();
            client.send(&stream[..at]);
            barrier.pass();
            let actual = answer(&mut client, &stream[at..]);
            assert_eq!(
                actual.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{} at {at}",
                stream.escape_ascii()
            );
        }
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (server, peer) = (Server::start(2), Peer::start());
    let mut barrier = Barrier::new(&server);
    for stream in STREAMS {
        let expected = answer(&mut peer.client(), stream);
        peer.client().ok("FLUSHALL");
        server.client().ok("FLUSHALL");
        let mut client = server.client();
        for byte in *stream {
            if client.try_send(&[*byte]).is_err() {
                break;
            }
            barrier.pass();
        }
        let actual = answer(&mut client, b"");
        let (actual, expected) = (actual.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(actual, expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn a_request_may_be_cut_short_anywhere() {
    let (server, peer) = (Server::start(2), Peer::start());
    for stream in STREAMS {
        for len in 0..stream.len() {
            let expected = answer(&mut peer.client(), &stream[..len]);
            let actual = answer(&mut server.client(), &stream[..len]);
            let (actual, expected) = (actual.escape_ascii().to_string(), expected.escape_ascii().to_string());
            assert_eq!(actual, expected, "{}", stream[..len].escape_ascii());
        }
    }
}

#[test]
fn garbled_requests_are_answered_as_redis_answers_them() {
    let (server, peer) = (Server::start(2), Peer::start());
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    println!("RINGWARD_SEED={seed}");
    let mut random = Random::new(seed);
    for round in 0..400 {
        let mut bytes = STREAMS[random.below(4)].to_vec();
        bytes.extend_from_slice(STREAMS[random.below(STREAMS.len())]);
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len().max(1));
            if at >= bytes.len() {
                break;
            }
            match random.below(4) {
                0 => {
                    bytes[at] =
                        *random.pick(&[b"*", b"$", b"\r", b"\n", b"-", b"\"", b"9", b"\x80"]).first().unwrap()
                }
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"*$\r\n0123456789-\"'\\ "[random.below(19)]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut client = peer.client();
        let expected = answer(&mut client, &bytes);
        let actual = answer(&mut server.client(), &bytes);
        let (actual, expected) = (actual.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(actual, expected, "round {round} of RINGWARD_SEED={seed}: {}", bytes.escape_ascii());
        peer.client().ok("FLUSHALL");
        server.client().ok("FLUSHALL");
    }
}

#[test]
fn a_command_may_have_a_million_arguments() {
    let server = Server::start(2);
    let mut client = server.client();
    let mut args = vec![b"MSET".to_vec()];
    for i in 0..500_000 {
        args.extend([format!("key:{i}").into_bytes(), format!("{i}").into_bytes()]);
    }
    client.send(&request(&args));
    assert_eq!(client.read(), Value::simple("OK"));
    assert_eq!(client.run("DBSIZE"), Value::Int(500_000));
    assert_eq!(client.run("MGET key:0 key:77777 key:499999"), values(&["0", "77777", "499999"]));

    args[0] = b"ECHO".to_vec();
    let refused = client.call(&args);
    assert_eq!(refused, Value::error("ERR wrong number of arguments for 'echo' command"));

    args[0] = b"MGET".to_vec();
    let found = client.call(&args);
    assert_eq!(found.items().len(), 1_000_000);
    assert_eq!(found.items()[2 * 4321], Value::bulk("4321"));

    // Every key, and as many that are not there.
    args[0] = b"DEL".to_vec();
    assert_eq!(client.call(&args), Value::Int(500_000));
    assert_eq!(client.run("DBSIZE"), Value::Int(0));
}

fn values(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(Value::bulk).collect())
}

#[test]
fn a_deep_pipeline_is_answered_in_order() {
    const DEPTH: usize = 100_000;
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let (mut bytes, mut expected) = (Vec::new(), Vec::with_capacity(DEPTH));
        for i in 0..DEPTH {
            let (key, text) = (format!("key:{}", i % 1000), i.to_string());
            let (args, reply) = match i % 4 {
                0 => (vec!["SET", &key, &text], Value::simple("OK")),
                1 => (vec!["ECHO", &text], Value::bulk(&text)),
                2 => (vec!["GETSET", "last", &text], Value::bulk((i as i64 - 4).max(-1).to_string())),
                _ if i % 500 == 3 => (
                    vec!["MGET", "key:0", "nokey1", "nokey2", "nokey3"],
                    Value::Array(vec![
                        Value::bulk((i / 1000 * 1000).to_string()),
                        Value::NullBulk,
                        Value::NullBulk,
                        Value::NullBulk,
                    ]),
                ),
                _ => (vec!["STRLEN", "nokey"], Value::Int(0)),
            };
            bytes.extend(request(&args));
            expected.push(reply);
        }
        let mut client = server.client();
        client.ok("SET last -1");
        expected[2] = Value::bulk("-1");
        let replies = client.pipeline(&bytes, DEPTH);
        for (i, (actual, expected)) in replies.iter().zip(&expected).enumerate() {
            assert_eq!(actual, expected, "reply {i}, {shards} shards");
        }
    }
}

#[test]
fn an_endless_line_is_refused() {
    let server = server();
    let line = vec![b'a'; 10 << 20];
    for head in ["", "*", "*1\r\n$"] {
        let what = match head {
            "" => "inline request",
            "*" => "mbulk count string",
            _ => "bulk count string",
        };
        let error = format!("-ERR Protocol error: too big {what}\r\n");
        // As much as the server takes to see that it is too much.
        let mut client = server.client();
        client.send(head.as_bytes());
        client.send(&line[..(64 << 10) + 2]);
        assert_eq!(client.rest().escape_ascii().to_string(), error.as_bytes().escape_ascii().to_string());
        // Far more: the server ends the connection without reading on. What it said may be lost with that.
        let mut client = server.client();
        client.send(head.as_bytes());
        let _ = client.try_send(&line);
        let rest = client.rest();
        assert!(rest.is_empty() || rest == error.as_bytes(), "{}", rest.escape_ascii());
    }
    assert_eq!(server.client().run("PING"), Value::simple("PONG"));
}

#[test]
fn half_a_command_holds_nobody_up() {
    let server = server();
    let half = request(&["SET", "half:0123456789", "0123456789"]);
    let mut waiting: Vec<_> = (0..half.len())
        .map(|len| {
            let mut client = server.client();
            client.send(&half[..len]);
            client
        })
        .collect();
    let mut other = server.client();
    for i in 0..500 {
        other.ok(&format!("SET other:{i} {i}"));
        assert_eq!(other.run(&format!("MGET other:{i} other:none")).items()[0], Value::bulk(i.to_string()));
    }
    for (len, client) in waiting.iter_mut().enumerate() {
        client.send(&half[len..]);
        assert_eq!(client.read(), Value::simple("OK"));
    }
}

#[test]
fn a_value_of_64_megabytes_goes_in_and_out() {
    let server = Server::start(2);
    let mut client = server.client();
    let value: Vec<u8> = (0..64 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // One of these is on the other core.
    for key in ["big:1", "big:2", "big:3"] {
        let bytes = request(&[b"SET", key.as_bytes(), &value]);
        assert_eq!(client.pipeline(&bytes, 1), [Value::simple("OK")]);
        assert_eq!(client.run(&format!("STRLEN {key}")), Value::Int(64 << 20));
        let back = client.run(&format!("GET {key}"));
        assert!(back.bytes() == value, "{key} has come back changed");
        assert_eq!(client.run(&format!("GETRANGE {key} -2 -1")), Value::bulk(&value[(64 << 20) - 2..]));
        assert_eq!(client.run(&format!("UNLINK {key}")), Value::Int(1));
    }
}

#[test]
fn proto_max_bulk_len_bounds_arguments_and_strings() {
    let server = Server::start(2);
    let mut client = server.client();
    client.ok("CONFIG SET proto-max-bulk-len 1mb");
    let full = vec![b'x'; 1 << 20];
    for key in ["a", "b", "c", "d"] {
        assert_eq!(client.call(&[b"SET", key.as_bytes(), &full]), Value::simple("OK"));
        let too_long = Value::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        assert_eq!(client.run(&format!("APPEND {key} y")), too_long);
        assert_eq!(client.run(&format!("SETRANGE {key} 1048576 y")), too_long);
    }
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n");
    assert_eq!(client.rest(), b"-ERR Protocol error: invalid bulk length\r\n");
}

#[test]
fn client_query_buffer_limit_bounds_a_request() {
    let server = Server::start(2);
    let mut admin = server.client();
    admin.ok("CONFIG SET client-query-buffer-limit 1mb");
    let mut client = server.client();
    assert_eq!(client.run("PING"), Value::simple("PONG"));
    let bytes = request(&[b"SET".as_slice(), b"k", &vec![b'x'; 8 << 20]]);
    let _ = client.try_send(&bytes);
    assert_eq!(client.rest(), b"", "the connection ends without a word");
    assert_eq!(admin.run("EXISTS k"), Value::Int(0));
    eventually("the closed client is gone", || admin.run("CLIENT LIST").text().lines().count() == 1);
    assert!(admin.run("INFO stats").text().contains("client_query_buffer_limit_disconnections:1\r\n"));
}

#[test]
fn client_reply_silences() {
    let server = server();
    let mut client = server.client();
    // Keys on both shards, one at a time and together.
    let commands = "SET r:1 1\r\nSET r:2 2\r\nSET r:3 3\r\nMGET r:1 r:2 r:3\r\nFOO\r\nGET\r\nPING\r\nCLIENT ID\r\nINFO server\r\n";
    client.send(format!("CLIENT REPLY OFF\r\n{commands}CLIENT REPLY ON\r\nECHO here\r\n").as_bytes());
    assert_eq!(client.read_many(2), [Value::simple("OK"), Value::bulk("here")]);
    for command in commands.split_inclusive('\n') {
        client.send(format!("CLIENT REPLY SKIP\r\n{command}ECHO here\r\n").as_bytes());
        assert_eq!(client.read(), Value::bulk("here"), "{command:?} was to be skipped");
    }
    client
        .send(b"CLIENT REPLY SKIP\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nGET r:2\r\nGET r:3\r\n");
    assert_eq!(client.read_many(3), [Value::simple("OK"), Value::bulk("2"), Value::bulk("3")]);
}

#[test]
fn strangers_are_told_what_redis_tells_them() {
    let start = Start::new(2).args(&["--requirepass", "secret"]);
    let (server, peer) = (start.run(), Peer::start_with(&["--requirepass", "secret"]));
    let sixteen_kb = "x".repeat(16_384);
    let scripts: &[&[&str]] = &[
        &["PING", "GET x", "FOO", "GET", "SELECT 1", "CLIENT ID", "COMMAND COUNT", "MGET a b c"],
        &["HELLO", "HELLO 3", "HELLO 2 SETNAME me", "HELLO 4", "HELLO x", "PING"],
        &["HELLO 3 AUTH default wrong", "HELLO 3 AUTH nobody secret", "PING", "HELLO 3 AUTH default"],
        &["HELLO 3 AUTH default secret SETNAME me", "CLIENT GETNAME", "PING", "GET nokey"],
        &["HELLO 2 AUTH default secret", "GET nokey", "RESET", "GET nokey"],
        &["AUTH wrong", "AUTH default wrong", "AUTH nobody secret", "AUTH a b c", "AUTH", "PING"],
        &["AUTH secret", "PING", "AUTH wrong", "PING", "RESET", "PING"],
        &["AUTH default secret", "SET x 1", "GET x", "AUTH", "DEL x"],
        &["QUIT", "PING"],
    ];
    for script in scripts {
        let (mut expected, mut actual) = (peer.client(), server.client());
        for line in *script {
            let [expected, actual] = [&mut expected, &mut actual].map(|client| {
                client.send(&super::harness::client::words(line));
                client.try_read().map(|value| format!("{:?}", anonymous(value))).map_err(|error| error.kind())
            });
            // How 7.2 words what 7.0 said.
            let expected = expected.map(|text| text.replace("the HELLO AUTH", "the HELLO <proto> AUTH"));
            assert_eq!(actual, expected, "{line} of {script:?}");
            if expected.is_err() {
                break;
            }
        }
    }
    for bytes in ["*11\r\n", "*1\r\n$16385\r\n", "*2\r\n$4\r\nAUTH\r\n$16385\r\n"] {
        let expected = answer(&mut peer.client(), bytes.as_bytes());
        let actual = answer(&mut server.client(), bytes.as_bytes());
        assert_eq!(actual.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{bytes:?}");
    }
    // What a stranger may just about send.
    let most = [&["AUTH"], [sixteen_kb.as_str(); 9].as_slice()].concat();
    assert_eq!(server.client().call(&most), peer.client().call(&most));
    // Once known, no longer a stranger.
    let mut client = server.client();
    client.ok("AUTH secret");
    assert_eq!(client.call(&[&["DEL"], ["key"; 20].as_slice()].concat()), Value::Int(0));
    client.ok(&format!("SET long {sixteen_kb}{sixteen_kb}"));
}

/// A greeting without what is each server's own.
fn anonymous(mut value: Value) -> Value {
    let own = |name: &Value| matches!(name, Value::Bulk(name) if name == b"version" || name == b"id");
    match &mut value {
        Value::Map(pairs) => pairs.retain(|(name, _)| !own(name)),
        Value::Array(items) if items.len() == 14 => {
            let pairs: Vec<_> = items.chunks(2).filter(|pair| !own(&pair[0])).flatten().cloned().collect();
            *items = pairs;
        }
        _ => {}
    }
    value
}
