//! Sessions driven by bytes over one to three cores.

use super::harness::{request, ClientNo, Node};
use crate::base::prng::Prng;
use crate::resp::reply::value_end;

/// Shards and cores.
const SHAPES: [(u16, u16); 6] = [(1, 1), (2, 1), (5, 1), (2, 2), (5, 2), (7, 3)];

/// A random request whose reply depends on nothing but the requests before it.
pub(super) fn random_request(rng: &mut Prng) -> Vec<u8> {
    let key = |rng: &mut Prng| format!("k{}", rng.below(8));
    let value = |rng: &mut Prng| format!("v{}", rng.below(4));
    let words = match rng.below(82) {
        0..=3 => format!("GET {}", key(rng)),
        4..=7 => format!("SET {} {}", key(rng), value(rng)),
        8 => format!("INCR n{}", rng.below(3)),
        9 => format!("APPEND {} xy", key(rng)),
        10 | 11 => format!("MSET {} {} {} {}", key(rng), value(rng), key(rng), value(rng)),
        12 | 13 => format!("MGET {} {} {} {}", key(rng), key(rng), key(rng), key(rng)),
        14 => format!("MSETNX {} {} {} {}", key(rng), value(rng), key(rng), value(rng)),
        15 => format!("DEL {} {} {}", key(rng), key(rng), key(rng)),
        16 => format!("EXISTS {} {} {}", key(rng), key(rng), key(rng)),
        17 => format!("RENAME {} {}", key(rng), key(rng)),
        18 => format!("RENAMENX {} {}", key(rng), key(rng)),
        19 => format!("COPY {} {} DB {}", key(rng), key(rng), rng.below(3)),
        20 => format!("COPY {} {} REPLACE", key(rng), key(rng)),
        21 => format!("LCS {} {}", key(rng), key(rng)),
        22 => format!("SELECT {}", rng.below(3)),
        23 => "DBSIZE".to_owned(),
        24 => format!("ECHO {}", value(rng)),
        25 => "PING".to_owned(),
        26 => "DEBUG DIGEST".to_owned(),
        27 => format!("DEBUG DIGEST-VALUE {} {}", key(rng), key(rng)),
        28 => "CLIENT REPLY SKIP".to_owned(),
        29 => "CLIENT REPLY OFF".to_owned(),
        30 => "CLIENT REPLY ON".to_owned(),
        31 => format!("UNLINK {} {}", key(rng), key(rng)),
        32 => ["SWAPDB 0 1", "FLUSHDB", "FLUSHALL ASYNC", "MSET a", "NOSUCH x", "GET", "MEMORY USAGE none"]
            [rng.below(7) as usize]
            .to_owned(),
        33 => format!("HELLO {}", 2 + rng.below(2)),
        34 => "CONFIG SET maxmemory 100mb".to_owned(),
        35..=37 => "MULTI".to_owned(),
        38..=40 => "EXEC".to_owned(),
        41 => ["DISCARD", "UNWATCH", "RESET"][rng.below(3) as usize].to_owned(),
        42..=44 => format!("WATCH {} {}", key(rng), key(rng)),
        46..=49 => format!("SADD {} {} {}", key(rng), value(rng), rng.below(9)),
        50 => format!("SMOVE {} {} {}", key(rng), key(rng), value(rng)),
        51 => {
            let name = ["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"][rng.below(3) as usize];
            format!("{name} {} {} {}", key(rng), key(rng), key(rng))
        }
        52 => {
            let name = ["SUNION", "SINTER", "SDIFF", "SINTERCARD 2"][rng.below(4) as usize];
            format!("{name} {} {}", key(rng), key(rng))
        }
        53 => format!("TYPE {}", key(rng)),
        54 | 55 => format!("RPUSH {} {} {}", key(rng), value(rng), value(rng)),
        56 => format!("LRANGE {} 0 -1", key(rng)),
        57 => format!(
            "LMOVE {} {} {}",
            key(rng),
            key(rng),
            ["LEFT RIGHT", "RIGHT LEFT", "LEFT X"][rng.below(3) as usize]
        ),
        58 => format!("LMPOP 3 {} {} {} LEFT COUNT 2", key(rng), key(rng), key(rng)),
        59 => format!("RPOPLPUSH {} {}", key(rng), key(rng)),
        60 => format!("LMPOP 2 {} {} UP", key(rng), key(rng)),
        61 => format!("BLPOP {} {} x", key(rng), key(rng)),
        62 => format!("BLMOVE {} {} LEFT LEFT -1", key(rng), key(rng)),
        63 => format!("DEBUG DIGEST-VALUE {}", key(rng)),
        64 | 65 => format!("ZADD {} {} {} 7 {}", key(rng), rng.below(9), value(rng), rng.below(3)),
        66 => format!("ZUNIONSTORE {} 2 {} {} WEIGHTS 2 3", key(rng), key(rng), key(rng)),
        67 => format!("ZINTER 2 {} {} WITHSCORES", key(rng), key(rng)),
        68 => format!("ZRANGESTORE {} {} 0 1", key(rng), key(rng)),
        69 => format!("ZMPOP 2 {} {} MIN COUNT 2", key(rng), key(rng)),
        70 => format!("ZDIFFSTORE {} 2 {} {}", key(rng), key(rng), key(rng)),
        71 | 72 => format!("HSET {} {} {}", key(rng), value(rng), rng.below(99)),
        73 => format!("HGETALL {}", key(rng)),
        74 => format!("SETBIT {} {} 1", key(rng), rng.below(60)),
        75 => {
            let name = ["AND", "OR", "XOR"][rng.below(3) as usize];
            format!("BITOP {name} {} {} {}", key(rng), key(rng), key(rng))
        }
        76 => format!("PFADD {}{} {}", ["h", "h", "k"][rng.below(3) as usize], rng.below(4), value(rng)),
        77 => format!("PFCOUNT h{} {}", rng.below(4), key(rng).replace('k', "h")),
        78 => format!("PFMERGE h{} h{} h{}", rng.below(4), rng.below(4), rng.below(4)),
        79 | 80 => {
            let sorted = key(rng);
            let options =
                ["", "BY nosort", "BY *", "BY k* GET #", "GET k* GET #", "GET *->v1 LIMIT 0 2", "BY x* DESC"]
                    [rng.below(7) as usize];
            let store = [String::new(), format!("STORE {}", key(rng))];
            format!("SORT {sorted} ALPHA {options} {}", store[rng.below(2) as usize]).trim_end().to_owned()
        }
        45 => format!("DEBUG MOVE-CLIENT {}", rng.below(9)),
        81 => format!("SORT_RO {} BY k* GET k*", key(rng)),
        _ => format!("STRLEN {}", key(rng)),
    };
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    request(&words)
}

fn random_pipeline(seed: u64, requests: usize) -> Vec<u8> {
    let mut rng = Prng::new(seed);
    let mut bytes: Vec<u8> = (0..requests).flat_map(|_| random_request(&mut rng)).collect();
    bytes.extend(request(&[b"DISCARD"]));
    bytes.extend(request(&[b"CLIENT", b"REPLY", b"ON"]));
    bytes.extend(request(&[b"PING", b"end"]));
    bytes
}

#[test]
fn many_cores_answer_as_one_does() {
    for seed in 0..30 {
        let pipeline = random_pipeline(seed, 80);
        let mut expected: Option<Vec<u8>> = None;
        for (shards, cores) in SHAPES {
            for piece_max in [u64::MAX, 40] {
                let mut node = Node::new(shards, cores, seed, &[]);
                let client = node.connect_to(0);
                node.send_in_pieces(client, &pipeline, piece_max.min(pipeline.len() as u64));
                node.quiesce();
                let replies = node.take(client);
                assert!(replies.ends_with(b"$3\r\nend\r\n"), "seed {seed}, {shards} shards on {cores} cores");
                let expected = expected.get_or_insert_with(|| replies.clone());
                assert_eq!(
                    String::from_utf8_lossy(expected),
                    String::from_utf8_lossy(&replies),
                    "seed {seed}, {shards} shards on {cores} cores, pieces up to {piece_max}"
                );
                assert_eq!(node.leftover(), None);
            }
        }
    }
}

#[test]
fn clients_that_go_leave_nothing_behind() {
    for seed in 0..20 {
        for (shards, cores) in SHAPES {
            let mut node = Node::new(shards, cores, seed, &[]);
            let mut clients: Vec<ClientNo> = (0..8).map(|_| node.connect()).collect();
            for round in 0..60 {
                let at = node.rng.below(clients.len() as u64) as usize;
                let mut pipeline = random_pipeline(seed * 1000 + round, 10);
                match node.rng.below(8) {
                    0 => {
                        node.disconnect(clients[at]);
                        clients[at] = node.connect();
                    }
                    1 => pipeline.extend(request(&[b"QUIT"])),
                    2 => pipeline.extend(request(&[b"MONITOR"])),
                    3 => pipeline.extend(b"*1\r\n$-5\r\n"),
                    4 => {
                        pipeline.extend(request(&[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"no"]))
                    }
                    _ => {}
                }
                node.send_in_pieces(clients[at], &pipeline, 200);
                for _ in 0..node.rng.below(20) {
                    node.step();
                }
                for client in &mut clients {
                    if !node.is_open(*client) {
                        *client = node.connect();
                    }
                }
            }
            for client in clients {
                node.disconnect(client);
            }
            node.quiesce();
            assert_eq!(node.leftover(), None, "seed {seed}, {shards} shards on {cores} cores");
            assert!(node.hosts.iter().all(|host| host.monitors == 0 && host.local_monitors.is_empty()));
        }
    }
}

#[test]
fn several_clients_in_one_pass_each_get_their_replies_in_order() {
    for seed in 0..10 {
        for (shards, cores) in SHAPES {
            let mut node = Node::new(shards, cores, seed, &[]);
            let clients: Vec<ClientNo> = (0..5).map(|_| node.connect_to(0)).collect();
            for round in 0..10 {
                let batches: Vec<(ClientNo, Vec<u8>)> = (0..10)
                    .map(|_| {
                        let client = clients[node.rng.below(5) as usize];
                        let number = node.rng.below(100);
                        let words = format!("{}:{number}", client.0);
                        let mut bytes = request(&[b"SET", words.as_bytes(), words.as_bytes()]);
                        bytes.extend(request(&[b"GET", words.as_bytes()]));
                        bytes.extend(request(&[b"MGET", words.as_bytes(), b"none"]));
                        (client, bytes)
                    })
                    .collect();
                let pieces: Vec<(ClientNo, &[u8])> =
                    batches.iter().map(|(client, bytes)| (*client, bytes.as_slice())).collect();
                node.send_all(&pieces);
                node.quiesce();
                for client in &clients {
                    let received = node.take_text(*client);
                    let sent: String = batches
                        .iter()
                        .filter(|(sender, _)| sender == client)
                        .map(|(_, bytes)| {
                            let text = String::from_utf8_lossy(bytes);
                            let key = text.split("\r\n").nth(4).unwrap().to_owned();
                            let bulk = format!("${}\r\n{key}\r\n", key.len());
                            format!("+OK\r\n{bulk}*2\r\n{bulk}$-1\r\n")
                        })
                        .collect();
                    assert_eq!(received, sent, "seed {seed}, round {round}");
                }
            }
        }
    }
}

/// Each of these against every shape, in this order, on one connection.
const TALK: &[(&str, &str)] = &[
    ("AUTH x", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n"),
    ("AUTH default x", "+OK\r\n"),
    ("AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
    ("AUTH a b c", "-ERR syntax error\r\n"),
    ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
    ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
    ("HELLO 2 WHAT", "-ERR Syntax error in HELLO option 'WHAT'\r\n"),
    ("HELLO 2 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'\r\n"),
    ("PING", "+PONG\r\n"),
    ("PING hi", "$2\r\nhi\r\n"),
    ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
    ("ECHO hi", "$2\r\nhi\r\n"),
    ("SELECT 16", "-ERR DB index is out of range\r\n"),
    ("SELECT x", "-ERR value is not an integer or out of range\r\n"),
    ("SELECT 99999999999", "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"),
    ("SELECT 3", "+OK\r\n"),
    ("SELECT 0", "+OK\r\n"),
    ("CLIENT GETNAME", "$-1\r\n"),
    ("CLIENT SETNAME me", "+OK\r\n"),
    ("CLIENT GETNAME", "$2\r\nme\r\n"),
    ("CLIENT SETINFO LIB-NAME lib", "+OK\r\n"),
    ("CLIENT SETINFO what lib", "-ERR Unrecognized option 'what'\r\n"),
    ("CLIENT NO-TOUCH on", "+OK\r\n"),
    ("CLIENT NO-TOUCH off", "+OK\r\n"),
    ("CLIENT NO-EVICT maybe", "-ERR syntax error\r\n"),
    ("CLIENT TRACKINGINFO", "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n"),
    ("CLIENT GETREDIR", ":-1\r\n"),
    ("CLIENT TRACKING off", "+OK\r\n"),
    ("CLIENT UNBLOCK 5", ":0\r\n"),
    ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range\r\n"),
    ("CLIENT UNBLOCK 5 what", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n"),
    ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range\r\n"),
    ("CLIENT PAUSE -1", "-ERR timeout is negative\r\n"),
    ("CLIENT PAUSE 1 some", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"),
    ("CLIENT KILL 127.0.0.1:1", "-ERR No such client\r\n"),
    ("CLIENT KILL ID 12345", ":0\r\n"),
    ("CLIENT LIST TYPE what", "-ERR Unknown client type 'what'\r\n"),
    ("CLIENT LIST TYPE pubsub", "$0\r\n\r\n"),
    ("CONFIG GET maxmem[o]r?", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"),
    ("CONFIG SET maxmemory 1mb hz 20", "+OK\r\n"),
    ("CONFIG GET hz", "*2\r\n$2\r\nhz\r\n$2\r\n20\r\n"),
    ("CONFIG SET nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n"),
    ("CONFIG SET hz 1 maxmemory", "-ERR syntax error\r\n"),
    ("CONFIG SET maxmemory 0", "+OK\r\n"),
    ("CONFIG REWRITE", "-ERR The server is running without a config file\r\n"),
    ("CONFIG RESETSTAT", "+OK\r\n"),
    ("CONFIG", "-ERR wrong number of arguments for 'config' command\r\n"),
    ("CONFIG NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.\r\n"),
    ("DEBUG SLEEP 0.01", "+OK\r\n"),
    ("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n"),
    ("DEBUG SET-ACTIVE-EXPIRE 1", "+OK\r\n"),
    ("DEBUG ERROR WHAT", "-WHAT\r\n"),
    ("DEBUG DIGEST", "+0000000000000000000000000000000000000000\r\n"),
    ("DEBUG DIGEST-VALUE", "*0\r\n"),
    ("DEBUG POPULATE 100 p 6", "+OK\r\n"),
    ("DBSIZE", ":100\r\n"),
    ("GET p:7", "$6\r\nvalue:\r\n"),
    ("DEBUG POPULATE -1", "-ERR value is out of range, must be positive\r\n"),
    ("DEBUG PROTOCOL map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n"),
    ("DEBUG PROTOCOL push", "-ERR RESP2 is not supported by this command\r\n"),
    ("DEBUG OBJECT none", "-ERR no such key\r\n"),
    ("DEBUG NOSUCH", "-ERR unknown subcommand or wrong number of arguments for 'NOSUCH'. Try DEBUG HELP.\r\n"),
    ("DEBUG SEGFAULT", "-ERR This server cannot be crashed by a command\r\n"),
    ("DEBUG RELOAD", "-ERR This server does not write its data set to disk yet\r\n"),
    ("MEMORY USAGE none", "$-1\r\n"),
    ("MEMORY USAGE p:1 SAMPLES x", "-ERR value is not an integer or out of range\r\n"),
    ("MEMORY PURGE", "+OK\r\n"),
    ("MODULE LIST", "*0\r\n"),
    ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
    ("SLOWLOG LEN", ":0\r\n"),
    ("SLOWLOG GET", "*0\r\n"),
    ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1\r\n"),
    ("SLOWLOG RESET", "+OK\r\n"),
    ("LATENCY LATEST", "*0\r\n"),
    ("LATENCY HISTORY command", "*0\r\n"),
    ("LATENCY GRAPH command", "-ERR No samples available for event 'command'\r\n"),
    ("LATENCY RESET", ":0\r\n"),
    ("SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n"),
    ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n"),
    ("FLUSHALL", "+OK\r\n"),
    ("MSET a 1 b 2 c 3", "+OK\r\n"),
    ("RENAME a d", "+OK\r\n"),
    ("RENAME a d", "-ERR no such key\r\n"),
    ("RENAMENX b c", ":0\r\n"),
    ("COPY c e", ":1\r\n"),
    ("COPY c d", ":0\r\n"),
    ("COPY c c", "-ERR source and destination objects are the same\r\n"),
    ("COPY c e DB 99", "-ERR DB index is out of range\r\n"),
    ("MGET a b c d e", "*5\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n1\r\n$1\r\n3\r\n"),
    ("MSETNX x 1 b 2", ":0\r\n"),
    ("MSETNX x 1 y 2", ":1\r\n"),
    ("MSET x 1 y", "-ERR wrong number of arguments for 'mset' command\r\n"),
    ("MSET s1 ohmytext s2 mynewtext", "+OK\r\n"),
    ("LCS s1 s2", "$6\r\nmytext\r\n"),
    ("LCS s1 s2 LEN", ":6\r\n"),
    ("EXISTS b c d none", ":3\r\n"),
    ("RESET", "+RESET\r\n"),
    ("CLIENT GETNAME", "$-1\r\n"),
    ("QUIT", "+OK\r\n"),
];

#[test]
fn commands_answer_as_redis_does() {
    for (shards, cores) in SHAPES {
        for core in 0..usize::from(cores) {
            let mut node = Node::new(shards, cores, 7, &[]);
            let client = node.connect_to(core);
            for (words, reply) in TALK {
                assert_eq!(node.run(client, words), *reply, "{words}: {shards} shards on {cores} cores");
            }
            assert!(!node.is_open(client));
            assert_eq!(node.leftover(), None);
        }
    }
}

#[test]
fn replies_that_vary_are_well_formed() {
    for (shards, cores) in SHAPES {
        for proto in ["HELLO 2", "HELLO 3"] {
            let mut node = Node::new(shards, cores, 3, &[("slowlog-log-slower-than", "0")]);
            let client = node.connect();
            node.run(client, proto);
            node.run(client, "MSET a 1 b 2 c 3");
            for words in [
                "COMMAND",
                "COMMAND COUNT",
                "COMMAND DOCS get",
                "COMMAND INFO get nosuch",
                "COMMAND LIST",
                "COMMAND HELP",
                "COMMAND GETKEYS mset a 1",
                "TIME",
                "LOLWUT",
                "CLIENT ID",
                "CLIENT INFO",
                "CLIENT LIST",
                "CLIENT HELP",
                "INFO",
                "INFO everything",
                "INFO all",
                "INFO server clients nosuch",
                "MEMORY STATS",
                "MEMORY DOCTOR",
                "MEMORY MALLOC-STATS",
                "MEMORY USAGE a",
                "SLOWLOG GET -1",
                "LATENCY DOCTOR",
                "LATENCY HISTOGRAM",
                "LATENCY HISTOGRAM get config",
                "LATENCY HELP",
                "CONFIG GET *",
                "CONFIG HELP",
                "DEBUG HELP",
                "DEBUG OBJECT a",
                "DEBUG HTSTATS 0",
                "DEBUG STRUCTSIZE",
                "DEBUG PROTOCOL attrib",
                "DEBUG PROTOCOL bignum",
                "DEBUG PROTOCOL verbatim",
                "RANDOMKEY",
                "KEYS *",
                "SCAN 0",
                "HELLO",
            ] {
                let reply = node.run(client, words);
                assert_eq!(value_end(reply.as_bytes()), Some(reply.len()), "{words}: {reply}");
                assert!(!reply.starts_with('-'), "{words}: {reply}");
            }
            assert_eq!(node.leftover(), None);
        }
    }
}

#[test]
fn info_adds_up_over_the_cores() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 5, &[]);
        let clients: Vec<ClientNo> = (0..6).map(|_| node.connect()).collect();
        for (number, client) in clients.iter().enumerate() {
            for key in 0..10 {
                node.run(*client, &format!("SET {number}:{key} x PX {}", 1000 * 3600));
            }
            node.run(*client, "INCR 0:0");
            node.run(*client, "GET none");
        }
        let info = node.run(clients[0], "INFO everything");
        for line in [
            "connected_clients:6",
            "db0:keys=60,expires=60,avg_ttl=",
            "cmdstat_set:calls=60,",
            "errorstat_ERR:count=6",
            "total_error_replies:6",
            "keyspace_misses:6",
            "redis_version:7.2.4",
            "total_commands_processed:72",
            "role:master",
            &format!("shards:{shards}"),
            &format!("cores:{cores}"),
        ] {
            assert!(info.lines().any(|known| known.starts_with(line)), "{line}: {info}");
        }
        assert!(info.contains("latency_percentiles_usec_set:p50="));
        assert!(info.contains(",failed_calls=6"), "{info}");
        node.run(clients[1], "CONFIG RESETSTAT");
        let info = node.run(clients[0], "INFO everything");
        assert!(info.contains("\r\nkeyspace_misses:0\r\n") && !info.contains("cmdstat_set:"), "{info}");
        assert!(info.contains("\r\nconnected_clients:6\r\n"));
    }
}

#[test]
fn configuration_reaches_every_core_before_the_reply() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 9, &[]);
        let clients: Vec<ClientNo> = (0..usize::from(cores)).map(|core| node.connect_to(core)).collect();
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(node.run(*client, &format!("CONFIG SET timeout {number}")), "+OK\r\n");
            for other in &clients {
                let digits = number.to_string();
                let expected = format!("*2\r\n$7\r\ntimeout\r\n${}\r\n{digits}\r\n", digits.len());
                assert_eq!(node.run(*other, "CONFIG GET timeout"), expected);
            }
        }
        // Two at the same time: one of them is the last, and it is the same everywhere.
        let (first, last) = (clients[0], clients[clients.len() - 1]);
        node.send(first, &request(&[b"CONFIG", b"SET", b"hz", b"11", b"timeout", b"1"]));
        node.send(last, &request(&[b"CONFIG", b"SET", b"hz", b"22", b"maxmemory", b"5"]));
        node.quiesce();
        let configs: Vec<_> = node.hosts.iter().map(|host| host.config().clone()).collect();
        assert!(configs.iter().all(|config| **config == *configs[0]));
        assert_eq!((configs[0].network.timeout_secs, configs[0].memory.maxmemory_bytes), (1, 5));
    }
}

#[test]
fn a_password_guards_every_command() {
    let mut node = Node::new(3, 2, 1, &[("requirepass", "secret")]);
    let client = node.connect();
    assert_eq!(node.run(client, "GET a"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(node.run(client, "MGET a b"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(node.run(client, "INFO"), "-NOAUTH Authentication required.\r\n");
    assert!(node.run(client, "HELLO 3").starts_with("-NOAUTH HELLO must be called with the client already"));
    assert!(node.run(client, "AUTH wrong").starts_with("-WRONGPASS "));
    assert!(node.run(client, "HELLO 3 AUTH default wrong").starts_with("-WRONGPASS "));
    assert!(node.run(client, "HELLO 3 AUTH default secret SETNAME me").starts_with("%7\r\n"));
    assert_eq!(node.run(client, "GET a"), "_\r\n");
    assert_eq!(node.run(client, "RESET"), "+RESET\r\n");
    assert_eq!(node.run(client, "GET a"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(node.run(client, "AUTH secret"), "+OK\r\n");
    assert!(node.run(client, "INFO stats").contains("acl_access_denied_auth:2\r\n"));
}

#[test]
fn a_pause_holds_requests_back_in_order() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[]);
        let (asker, writer) = (node.connect(), node.connect());
        assert_eq!(node.run(asker, "CLIENT PAUSE 5000 WRITE"), "+OK\r\n");
        assert_eq!(node.run(writer, "GET a"), "$-1\r\n");
        assert_eq!(node.run(writer, "SET a 1"), "");
        assert_eq!(node.run(writer, "GET a"), "");
        assert_eq!(node.run(asker, "GET a"), "$-1\r\n");
        assert_eq!(node.run(asker, "CLIENT UNPAUSE"), "+OK\r\n");
        node.quiesce();
        assert_eq!(node.take_text(writer), "+OK\r\n$1\r\n1\r\n");

        assert_eq!(node.run(asker, "CLIENT PAUSE 2000"), "+OK\r\n");
        // A shorter and weaker one changes nothing.
        assert_eq!(node.run(asker, "CLIENT PAUSE 10 WRITE"), "");
        assert_eq!(node.run(writer, "GET a"), "");
        node.advance_us(1_900_000);
        node.quiesce();
        assert_eq!(node.take_text(writer), "");
        node.advance_us(200_000);
        node.quiesce();
        assert_eq!(node.take_text(writer), "$1\r\n1\r\n");
        assert_eq!(node.take_text(asker), "+OK\r\n");
        assert_eq!(node.leftover(), None);
    }
}

#[test]
fn monitors_see_what_all_cores_run() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[("requirepass", "secret")]);
        let (monitor, client) = (node.connect_to(0), node.connect_to(usize::from(cores) - 1));
        node.run(monitor, "AUTH secret");
        node.run(client, "AUTH secret");
        assert_eq!(node.run(monitor, "MONITOR"), "+OK\r\n");
        node.run(client, "SET a \"\u{e9}");
        node.run(client, "MGET a b c");
        node.run(client, "AUTH default secret");
        node.run(client, "HELLO 2 AUTH default secret SETNAME x");
        node.run(client, "CONFIG GET port");
        node.run(client, "SELECT 3");
        let from = "127.0.0.1:50001]";
        let lines = [
            format!("[0 {from} \"SET\" \"a\" \"\\\"\\xc3\\xa9\""),
            format!("[0 {from} \"MGET\" \"a\" \"b\" \"c\""),
            format!("[0 {from} \"AUTH\" \"(redacted)\" \"(redacted)\""),
            format!("[0 {from} \"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\" \"SETNAME\" \"x\""),
            format!("[3 {from} \"SELECT\" \"3\""),
        ];
        let expected: String = lines.iter().map(|line| format!("+1700000001.000000 {line}\r\n")).collect();
        assert_eq!(node.take_text(monitor), expected);
        assert!(node.run(client, "CLIENT LIST").contains("name= age=0 idle=0 flags=O"));
        assert_eq!(node.run(monitor, "RESET"), "+RESET\r\n");
        node.run(client, "GET a");
        assert_eq!(node.take_text(monitor), "");
        assert!(node.hosts.iter().all(|host| !host.attention));
    }
}

#[test]
fn replies_can_be_switched_off() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[]);
        let client = node.connect();
        assert_eq!(node.run(client, "CLIENT REPLY SKIP"), "");
        assert_eq!(node.run(client, "MSET a 1 b 2 c 3"), "");
        assert_eq!(node.run(client, "GET a"), "$1\r\n1\r\n");
        assert_eq!(node.run(client, "CLIENT REPLY SKIP"), "");
        assert_eq!(node.run(client, "NOSUCH"), "");
        assert_eq!(node.run(client, "GET a"), "$1\r\n1\r\n");
        for quiet in
            ["CLIENT REPLY OFF", "GET a", "MGET a b c", "INFO", "CLIENT REPLY SKIP", "GET b", "NOSUCH"]
        {
            assert_eq!(node.run(client, quiet), "", "{quiet}");
        }
        assert_eq!(node.run(client, "CLIENT REPLY ON"), "+OK\r\n");
        assert_eq!(node.run(client, "GET a"), "$1\r\n1\r\n");
    }
}

#[test]
fn clients_can_be_listed_and_killed_on_every_core() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[]);
        let clients: Vec<ClientNo> = (0..6).map(|_| node.connect()).collect();
        let ids: Vec<String> = clients
            .iter()
            .map(|client| node.run(*client, "CLIENT ID").trim_matches([':', '\r', '\n']).to_owned())
            .collect();
        let list = node.run(clients[0], "CLIENT LIST");
        assert_eq!(list.matches("id=").count(), 6);
        let list = node.run(clients[0], &format!("CLIENT LIST ID {} {} 99999", ids[4], ids[1]));
        let shown: Vec<&str> =
            list.split('\n').filter_map(|line| line.strip_prefix("id=")?.split(' ').next()).collect();
        assert_eq!(shown, [ids[4].as_str(), ids[1].as_str()]);
        assert_eq!(node.run(clients[0], &format!("CLIENT KILL ID {}", ids[3])), ":1\r\n");
        assert!(!node.is_open(clients[3]));
        assert_eq!(node.run(clients[0], "CLIENT KILL 127.0.0.1:50002"), "+OK\r\n");
        assert!(!node.is_open(clients[2]));
        assert_eq!(node.run(clients[0], "CLIENT KILL ADDR 127.0.0.1:50000"), ":0\r\n");
        assert_eq!(node.run(clients[1], "CLIENT KILL TYPE normal SKIPME no"), ":4\r\n");
        assert!(clients.iter().all(|client| !node.is_open(*client)));
        assert_eq!(node.leftover(), None);
    }
}

/// Some write all keys with one value, some rename a key to and fro, and whoever reads sees one value everywhere and
/// the key under exactly one name.
#[test]
fn commands_over_several_shards_are_atomic() {
    for seed in 0..60 {
        for (shards, cores) in SHAPES {
            let mut node = Node::new(shards, cores, seed, &[]);
            let clients: Vec<ClientNo> = (0..6).map(|_| node.connect()).collect();
            node.run(clients[0], "MSET a 0 b 0 c 0 d 0 x here");
            for round in 0..20 {
                let writer = clients[node.rng.below(2) as usize];
                let value = format!("{round}");
                let write: Vec<&[u8]> = ["MSET", "a", &value, "b", &value, "c", &value, "d", &value]
                    .into_iter()
                    .map(str::as_bytes)
                    .collect();
                node.send(writer, &request(&write));
                let (from, to) = [(&b"x"[..], &b"y"[..]), (b"y", b"x")][node.rng.below(2) as usize];
                node.send(clients[2], &request(&[b"RENAME", from, to]));
                for reader in [clients[3], clients[4], clients[5]] {
                    node.send(reader, &request(&[b"MGET", b"a", b"b", b"c", b"d"]));
                    node.send(reader, &request(&[b"EXISTS", b"x", b"y"]));
                    for _ in 0..node.rng.below(4) {
                        node.step();
                    }
                }
            }
            node.quiesce();
            for reader in [clients[3], clients[4], clients[5]] {
                let replies = node.take(reader);
                let mut rest = replies.as_slice();
                for _ in 0..20 {
                    let (values, after) = rest.split_at(value_end(rest).unwrap());
                    let values: Vec<&[u8]> = crate::resp::reply::elements(values).collect();
                    assert!(
                        values.iter().all(|value| *value == values[0]),
                        "seed {seed}, {shards} on {cores}"
                    );
                    let (names, after) = after.split_at(value_end(after).unwrap());
                    assert_eq!(names, b":1\r\n", "seed {seed}, {shards} on {cores}");
                    rest = after;
                }
            }
            assert_eq!(node.leftover(), None);
            node.run(clients[0], "CONFIG RESETSTAT");
            node.run(clients[0], "RENAME nosuch other");
            assert!(node.run(clients[0], "INFO errorstats").contains("errorstat_ERR:count=1\r\n"));
        }
    }
}

#[test]
fn slow_commands_of_all_cores_stand_in_one_log() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[("slowlog-log-slower-than", "0")]);
        let client = node.connect();
        node.run(client, "AUTH default secret");
        node.run(client, "CONFIG SET requirepass hidden");
        for key in 0..4 {
            node.run(client, &format!("SET k{key} 1"));
            node.advance_us(1_000_000);
        }
        let log = node.run(client, "SLOWLOG GET 4");
        let places: Vec<_> =
            (0..4).rev().map(|key| log.find(&format!("k{key}")).unwrap_or_else(|| panic!("{log}"))).collect();
        assert!(places.is_sorted(), "newest first: {log}");
        node.run(client, "MGET k0 k1 k2 k3");
        let log = node.run(client, "SLOWLOG GET -1");
        assert!(log.contains("MGET"), "{log}");
        assert!(log.contains("(redacted)") && !log.contains("secret") && !log.contains("hidden"), "{log}");
        assert_eq!(node.run(client, "SLOWLOG RESET"), "+OK\r\n");
    }
}

#[test]
fn idle_clients_are_dropped_and_cost_little() {
    let mut node = Node::new(2, 2, 2, &[("timeout", "100")]);
    let (idle, busy, monitor) = (node.connect(), node.connect(), node.connect());
    node.run(monitor, "MONITOR");
    let big = "x".repeat(100_000);
    node.run(idle, &format!("ECHO {big}"));
    for _ in 0..60 {
        node.advance_us(100_000);
    }
    let per_session = node.hosts.iter().map(|host| host.used_memory()).sum::<u64>() / 3;
    assert!(per_session < 1024, "{per_session} bytes for an idle client");
    for _ in 0..1000 {
        node.advance_us(100_000);
        node.run(busy, "PING");
    }
    node.quiesce();
    assert!(!node.is_open(idle) && node.is_open(busy) && node.is_open(monitor));
    assert_eq!(node.leftover(), None);
}

#[test]
fn expired_keys_go_without_being_asked_for() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[]);
        let client = node.connect();
        for key in 0..200 {
            node.run(client, &format!("SET k{key} 1 PX 1000"));
        }
        node.run(client, "DEBUG SET-ACTIVE-EXPIRE 0");
        node.advance_us(2_000_000);
        assert_eq!(node.run(client, "DBSIZE"), ":200\r\n");
        node.run(client, "DEBUG SET-ACTIVE-EXPIRE 1");
        for _ in 0..20 {
            node.advance_us(100_000);
        }
        assert_eq!(node.run(client, "DBSIZE"), ":0\r\n");
        assert!(node.run(client, "INFO stats").contains("expired_keys:200\r\n"));
    }
}

#[test]
fn shutdown_is_passed_on_and_not_answered() {
    let mut node = Node::new(2, 2, 2, &[]);
    let client = node.connect();
    assert_eq!(node.run(client, "SHUTDOWN NOSAVE"), "");
    assert!(node.is_shut_down);
}

#[test]
fn a_client_that_is_owed_much_by_other_cores_goes_on() {
    for (shards, cores) in [(2, 2), (5, 2), (7, 3)] {
        let mut node = Node::new(shards, cores, 1, &[]);
        let client = node.connect_to(0);
        let value = "v".repeat(2000);
        for key in 0..20 {
            assert_eq!(node.run(client, &format!("SET k{key} {value}")), "+OK\r\n");
        }
        let gets = 6000;
        let pipeline: Vec<u8> =
            (0..gets).flat_map(|at| request(&[b"GET", format!("k{}", at % 20).as_bytes()])).collect();
        node.send_in_pieces(client, &pipeline, 16 * 1024);
        node.quiesce();
        assert_eq!(node.take(client).len(), gets * (value.len() + 9), "{shards} shards on {cores} cores");
        assert_eq!(node.leftover(), None);
    }
}

#[test]
fn the_last_database_is_one_that_exists() {
    let config = crate::config::Config::default();
    let mut config = config;
    config.process.databases = 1_000_000;
    assert_eq!(super::host::databases(&config), u16::MAX);
}

/// A client on some core, and another on some core, with keys on all shards.
fn two_clients(node: &mut Node) -> (ClientNo, ClientNo) {
    (node.connect(), node.connect())
}

#[test]
fn exec_runs_all_or_says_why_not() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 1, &[]);
        let client = node.connect();
        let mut run = |words: &str| node.run(client, words);
        assert_eq!(run("EXEC"), "-ERR EXEC without MULTI\r\n");
        assert_eq!(run("DISCARD"), "-ERR DISCARD without MULTI\r\n");
        assert_eq!(run("MULTI"), "+OK\r\n");
        assert_eq!(run("MULTI"), "-ERR MULTI calls can not be nested\r\n");
        assert_eq!(run("WATCH a"), "-ERR WATCH inside MULTI is not allowed\r\n");
        for command in [
            "SET a 1",
            "MSET b 2 c 3 d 4",
            "MGET a b c d",
            "INCR a",
            "APPEND c x",
            "INCR c",
            "RENAME b e",
            "PING",
        ] {
            assert_eq!(run(command), "+QUEUED\r\n");
        }
        for command in [
            "SELECT 1",
            "SET a one",
            "GET a",
            "SELECT 0",
            "GET a",
            "KEYS *",
            "CONFIG GET databases",
            "DEL a e",
        ] {
            assert_eq!(run(command), "+QUEUED\r\n");
        }
        let reply = run("EXEC");
        let expected = "*16\r\n+OK\r\n+OK\r\n*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n:2\r\n:2\r\n\
            -ERR value is not an integer or out of range\r\n+OK\r\n+PONG\r\n+OK\r\n+OK\r\n$3\r\none\r\n+OK\r\n$1\r\n2\r\n*4\r\n";
        assert!(reply.starts_with(expected), "{shards} {cores}: {reply}");
        assert!(reply.ends_with("*2\r\n$9\r\ndatabases\r\n$2\r\n16\r\n:2\r\n"), "{reply}");
        assert_eq!(run("MULTI"), "+OK\r\n");
        assert_eq!(run("SET a 9"), "+QUEUED\r\n");
        assert!(run("SET a").starts_with("-ERR wrong number"));
        assert_eq!(run("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
        assert_eq!(run("GET a"), "$-1\r\n");
        assert_eq!(run("MULTI"), "+OK\r\n");
        assert_eq!(run("EXEC"), "*0\r\n");
        assert_eq!(run("MULTI"), "+OK\r\n");
        assert_eq!(run("SET a 9"), "+QUEUED\r\n");
        assert_eq!(run("DISCARD"), "+OK\r\n");
        assert_eq!(run("GET a"), "$-1\r\n");
        assert_eq!(node.leftover(), None);
    }
}

#[test]
fn watched_keys_must_not_change() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 2, &[]);
        let (one, two) = two_clients(&mut node);
        let exec = |watches: &str, change: &str, node: &mut Node| {
            assert_eq!(node.run(one, watches), "+OK\r\n");
            node.run(two, change);
            assert_eq!(node.run(one, "MULTI"), "+OK\r\n");
            assert_eq!(node.run(one, "SET done 1"), "+QUEUED\r\n");
            assert_eq!(node.run(one, "MSET b 2 c 2"), "+QUEUED\r\n");
            node.run(one, "EXEC") != "*-1\r\n"
        };
        node.run(two, "MSET a 1 b 1 c 1 d 1 e 1");
        for (change, runs) in [
            ("SET a 2", false),
            ("SET z 2", true),
            ("GET a", true),
            ("MSET z 1 d 2", false),
            ("EXPIRE a 100", false),
            ("PERSIST a", false),
            ("PERSIST a", true),
            ("DEL nothing", true),
            ("RENAME e a", false),
            ("RENAME a e", false),
            ("COPY e a", false),
            ("SWAPDB 0 1", false),
            ("SWAPDB 0 1", false),
            ("FLUSHALL", false),
            ("FLUSHALL", true),
            ("SET a 1 PX 10", false),
        ] {
            assert_eq!(
                exec("WATCH a d", change, &mut node),
                runs,
                "{change}, {shards} shards on {cores} cores"
            );
        }
        // A key that expires has changed; one that had expired before has not.
        assert_eq!(node.run(one, "WATCH a"), "+OK\r\n");
        node.advance_us(20_000);
        assert!(!exec("WATCH d", "PING", &mut node), "the watched key has expired");
        node.run(two, "SET a 1 PX 10");
        node.advance_us(20_000);
        assert!(exec("WATCH a", "PING", &mut node));
        // What EXEC, DISCARD and UNWATCH let go is watched no more.
        node.run(one, "WATCH a");
        node.run(one, "UNWATCH");
        node.run(two, "SET a 5");
        assert!(exec("WATCH d", "PING", &mut node));
        for client in [one, two] {
            node.disconnect(client);
        }
        node.quiesce();
        assert_eq!(node.leftover(), None);
        for host in &mut node.hosts {
            assert!(host.shards.iter_mut().all(|shard| shard.keyspace.observers().is_empty()));
        }
    }
}

/// Blocks `client`, and says what it has got by now.
fn block(node: &mut Node, client: ClientNo, words: &str) -> String {
    node.run(client, words)
}

#[test]
fn blocked_clients_are_served_in_order_of_arrival() {
    for (shards, cores) in SHAPES {
        for seed in 0..10 {
            let mut node = Node::new(shards, cores, seed, &[]);
            let clients: Vec<ClientNo> = (0..4).map(|_| node.connect()).collect();
            let pusher = node.connect();
            for client in &clients {
                assert_eq!(block(&mut node, *client, "BLPOP a b c 0"), "");
            }
            assert_eq!(node.run(pusher, "RPUSH b 1"), ":1\r\n");
            assert_eq!(node.take_text(clients[0]), "*2\r\n$1\r\nb\r\n$1\r\n1\r\n");
            // Several at once, by whatever makes the key.
            assert_eq!(node.run(pusher, "RPUSH x 2 3"), ":2\r\n");
            assert_eq!(node.run(pusher, "RENAME x c"), "+OK\r\n");
            assert_eq!(node.take_text(clients[1]), "*2\r\n$1\r\nc\r\n$1\r\n2\r\n", "{shards} {cores} {seed}");
            assert_eq!(node.take_text(clients[2]), "*2\r\n$1\r\nc\r\n$1\r\n3\r\n");
            assert_eq!(node.take_text(clients[3]), "");
            assert_eq!(node.run(pusher, "EXISTS a b c x"), ":0\r\n");
            // In a transaction what counts is what is there at its end.
            for words in ["MULTI", "RPUSH a 1", "SADD b 1", "DEL a", "EXEC"] {
                node.run(pusher, words);
            }
            assert_eq!(node.take_text(clients[3]), "");
            node.run(pusher, "DEL b");
            for words in ["MULTI", "RPUSH a 1", "RPUSH b 2", "EXEC"] {
                node.run(pusher, words);
            }
            assert_eq!(node.take_text(clients[3]), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
            assert_eq!(node.run(pusher, "LRANGE b 0 -1"), "*1\r\n$1\r\n2\r\n");
            assert_eq!(node.leftover(), None);
            assert!(node.hosts.iter().all(|host| host.stats.blocked_clients == 0));
        }
    }
}

#[test]
fn a_wait_for_keys_ends() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 7, &[]);
        let (one, two) = two_clients(&mut node);
        for (words, nothing) in [
            ("BLPOP a b 0.1", "*-1\r\n"),
            ("BRPOP a 0.1", "*-1\r\n"),
            ("BLMOVE a b LEFT LEFT 0.1", "*-1\r\n"),
            ("BRPOPLPUSH a b 0.1", "*-1\r\n"),
            ("BLMPOP 0.1 2 a b LEFT", "*-1\r\n"),
        ] {
            assert_eq!(block(&mut node, one, words), "");
            node.advance_us(99_000);
            node.quiesce();
            assert_eq!(node.take_text(one), "", "{words}");
            node.advance_us(1_000);
            node.quiesce();
            assert_eq!(node.take_text(one), nothing, "{words}, {shards} shards on {cores} cores");
            // Afterwards nobody waits: what is pushed stays.
            assert_eq!(node.run(two, "RPUSH a 1"), ":1\r\n");
            assert_eq!(node.run(two, "DEL a"), ":1\r\n");
            // CLIENT UNBLOCK.
            let id = node.run(one, "CLIENT ID");
            let id = id.trim().trim_start_matches(':').to_owned();
            assert_eq!(node.run(two, &format!("CLIENT UNBLOCK {id}")), ":0\r\n");
            for (how, reply) in [
                ("", nothing),
                (" TIMEOUT", nothing),
                (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
            ] {
                assert_eq!(block(&mut node, one, words), "");
                assert_eq!(node.run(two, &format!("CLIENT UNBLOCK {id}{how}")), ":1\r\n");
                assert_eq!(node.take_text(one), reply, "{words}{how}");
            }
            // A client that is gone takes nothing with it.
            let third = node.connect();
            assert_eq!(block(&mut node, third, words), "");
            node.disconnect(third);
            node.quiesce();
            assert_eq!(node.run(two, "RPUSH a 1"), ":1\r\n");
            assert_eq!(node.run(two, "LRANGE a 0 -1"), "*1\r\n$1\r\n1\r\n");
            node.run(two, "DEL a");
            assert_eq!(node.leftover(), None);
        }
        // Inside MULTI nobody waits.
        for words in ["MULTI", "BLPOP a b 0", "RPUSH b 1", "BLPOP a b 0", "BLMOVE a b LEFT LEFT 0"] {
            node.run(one, words);
        }
        assert_eq!(node.run(one, "EXEC"), "*4\r\n*-1\r\n:1\r\n*2\r\n$1\r\nb\r\n$1\r\n1\r\n$-1\r\n");
        // A pipeline goes on when it has been served.
        node.send(one, &[request(&[b"BLPOP", b"a", b"b", b"0"]), request(&[b"PING"])].concat());
        node.quiesce();
        assert_eq!(node.take_text(one), "");
        node.run(two, "LPUSH a 5");
        assert_eq!(node.take_text(one), "*2\r\n$1\r\na\r\n$1\r\n5\r\n+PONG\r\n");
        assert_eq!(node.leftover(), None);
    }
}

/// The latest expiry there is, on every shard: what is left to live is beyond 64 bits in sum (it ended a core).
#[test]
fn the_times_to_live_of_all_shards_are_summed_without_overflow() {
    let mut node = Node::new(2, 2, 1, &[]);
    let client = node.connect();
    for key in 0..100 {
        assert_eq!(node.run(client, &format!("SET k{key} v PXAT {}", i64::MAX)), "+OK\r\n");
    }
    (0..50).for_each(|_| node.advance_us(100_000));
    let text = node.run(client, "INFO keyspace");
    let average: i64 =
        text.split("avg_ttl=").nth(1).and_then(|rest| rest.trim_end().parse().ok()).expect(&text);
    assert!(average > i64::MAX / 2, "{text}");
}
