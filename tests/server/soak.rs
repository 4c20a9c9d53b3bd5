//! All commands from many connections that come and go: each gets its own replies in the order of its requests, and the
//! server holds no more memory in the end than in the beginning. Five seconds of it by default; the long run is
//!
//! ```text
//! RINGWARD_SOAK_SECONDS=600 cargo test --release --test server soak -- --include-ignored --nocapture
//! ```
//!
//! `RINGWARD_SHARDS` is the number of shards (2); `RINGWARD_SEED` repeats the requests, though not their order in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::differential::{shown, Generator, Words};
use super::harness::{
    eventually, eventually_some, number_from_env, request, Client, Random, Server, Value, DEADLINE,
};

const CONNECTIONS: usize = 200;

/// Each thread has ten connections with requests under way.
const THREADS: usize = 20;

/// The run has so many parts; after each of them all data is removed, and the memory looked at.
const PARTS: u32 = 10;

/// A connection's own keys, of values below 2000 bytes: all connections together have 20 MB at most. The other keys are
/// the generator's, a few dozen in each of 16 databases.
const OWN_KEYS: usize = 50;
const OWN_VALUE_BYTES_MAX: usize = 2000;

/// How much more of `used_memory` and of resident memory there may be after the last part than after the first.
const USED_GROWTH_MAX: u64 = 1 << 20;
const RESIDENT_GROWTH_MAX: u64 = 24 << 20;

#[test]
fn all_commands_for_some_seconds() {
    soak(Duration::from_secs(5));
}

#[test]
#[ignore = "takes ten minutes"]
fn all_commands_for_a_long_time() {
    soak(Duration::from_secs(number_from_env("RINGWARD_SOAK_SECONDS", 600)));
}

fn soak(time: Duration) {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    println!("RINGWARD_SEED={seed}");
    let server = Server::start(number_from_env("RINGWARD_SHARDS", 2) as u16);
    let mut admin = server.client();
    assert_eq!(admin.run("PING"), Value::simple("PONG"));
    let files = server.open_files();
    let mut connections: Vec<Connection> =
        (0..CONNECTIONS).map(|number| Connection::new(&server, number, seed)).collect();
    let mut memory = Vec::new();
    for part in 1..=PARTS {
        let end = Instant::now() + time / PARTS;
        let (count, came) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for connections in connections.chunks_mut(CONNECTIONS / THREADS) {
                let (server, count, came) = (&server, &count, &came);
                scope.spawn(move || {
                    while Instant::now() < end {
                        connections.iter_mut().for_each(Connection::send);
                        for connection in connections.iter_mut() {
                            count.fetch_add(connection.receive() as u64, Ordering::Relaxed);
                            came.fetch_add(u64::from(connection.come_and_go(server)), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let full = info(&mut admin, "memory", "used_memory");
        connections.iter_mut().for_each(|connection| connection.forget(&server));
        admin.ok("FLUSHALL");
        eventually("all is freed", || info(&mut admin, "memory", "lazyfree_pending_objects") == 0);
        // What the connections have grown to is given back when they are idle.
        let used = eventually_some("the connections' buffers are given back", || {
            let used = info(&mut admin, "memory", "used_memory");
            let most = memory.first().map_or(u64::MAX, |(first, _)| first + USED_GROWTH_MAX);
            (used < most).then_some(used)
        });
        let resident = server.rss_bytes();
        println!(
            "part {part}: {count:?} replies, {came:?} connections ended and came; {full} bytes used, after FLUSHALL \
             {used}, and {resident} resident"
        );
        memory.push((used, resident));
    }
    drop(connections);
    let begin = Instant::now();
    while info(&mut admin, "clients", "connected_clients") > 1 || server.open_files() > files {
        let clients = admin.run("CLIENT LIST").text();
        assert!(begin.elapsed() < DEADLINE, "{files} files, now {}; {clients}", server.open_files());
    }
    assert_eq!(info(&mut admin, "clients", "blocked_clients"), 0);
    assert_eq!(admin.run("DBSIZE"), Value::Int(0));
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let (first, last) = (memory[0].1, memory[memory.len() - 1].1);
    assert!(
        last < first + RESIDENT_GROWTH_MAX,
        "{first} bytes were resident after the first part, {last} after the last"
    );
}

fn info(admin: &mut Client, section: &str, field: &str) -> u64 {
    let text = admin.run(&format!("INFO {section}")).text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{field} in {text}")).parse().unwrap()
}

/// A connection and what it awaits.
struct Connection {
    client: Client,
    number: usize,
    random: Random,
    generator: Generator,
    /// The requests under way, and the tags between them.
    awaited: Vec<Words>,
    /// What has been queued since MULTI.
    queued: Vec<Words>,
    tags: usize,
}

impl Connection {
    fn new(server: &Server, number: usize, seed: u64) -> Connection {
        let mut client = server.client();
        let now = client.run("TIME").items()[0].text().parse().unwrap();
        Connection {
            client,
            number,
            random: Random::new(seed.wrapping_mul(CONNECTIONS as u64).wrapping_add(number as u64)),
            generator: Generator::new(now),
            awaited: Vec::new(),
            queued: Vec::new(),
            tags: 0,
        }
    }

    /// Sends a pipeline with a tag behind every request.
    fn send(&mut self) {
        let r = &mut self.random;
        let mut requests: Vec<Words> = Vec::new();
        for _ in 0..[1, 3, 10, 30][r.below(4)] {
            match r.below(30) {
                0..=3 => requests.push(extra(r, self.number)),
                4 => requests.extend(self.generator.transaction(r).into_iter().map(|sent| sent.words)),
                _ => requests.push(self.generator.command(r)),
            }
        }
        for request in requests {
            // With two hundred connections nothing would live long enough to become something.
            if request[0].to_ascii_uppercase().starts_with(b"FLUSH") && !r.one_in(100) {
                continue;
            }
            let tag = format!("tag:{}:{}", self.number, self.tags).into_bytes();
            self.tags += 1;
            self.awaited.extend([request, vec![b"ECHO".to_vec(), tag]]);
        }
        let bytes: Vec<u8> = self.awaited.iter().flat_map(|words| request(words)).collect();
        self.client.send(&bytes);
    }

    /// Reads the replies; how many there were.
    fn receive(&mut self) -> usize {
        let count = self.awaited.len();
        for words in std::mem::take(&mut self.awaited) {
            let reply = self.client.read();
            self.check(words, &reply);
        }
        count
    }

    /// The reply must be one to this request.
    fn check(&mut self, words: Words, reply: &Value) {
        if *reply == Value::simple("QUEUED") {
            self.queued.push(words);
            return;
        }
        assert!(is_right(&words, reply), "{} is answered with {reply:?}", shown(&words));
        match words[0].to_ascii_uppercase().as_slice() {
            b"EXEC" => {
                let queued = std::mem::take(&mut self.queued);
                let Value::Array(replies) = reply else { return };
                let is_right = |(words, reply): (&Words, &Value)| is_right(words, reply);
                assert!(
                    replies.len() == queued.len() && queued.iter().zip(replies).all(is_right),
                    "EXEC of {:?} answers {replies:?}",
                    queued.iter().map(|words| shown(words)).collect::<Vec<_>>()
                );
            }
            b"DISCARD" | b"RESET" if words.len() == 1 => self.queued.clear(),
            _ => {}
        }
    }

    /// Ends the connection now and then, in one way or another, and makes a new one; whether it did.
    fn come_and_go(&mut self, server: &Server) -> bool {
        match self.random.below(80) {
            0 => {}
            1 => {
                assert_eq!(self.client.run("QUIT"), Value::simple("OK"));
                assert!(self.client.rest().is_empty());
            }
            // In the middle of everything, with a goodbye and without.
            2 => self.send(),
            3 => {
                self.send();
                self.forget(server);
                return true;
            }
            4 => {
                // All is answered that was sent, up to a command that would wait.
                self.send();
                self.client.end_input();
                for words in std::mem::take(&mut self.awaited) {
                    let Ok(reply) = self.client.try_read() else { break };
                    self.check(words, &reply);
                }
            }
            5 => self.client.send(b"BLPOP nothing nowhere no-one 0\r\n"),
            _ => return false,
        }
        self.client = server.client();
        self.start_over();
        true
    }

    /// Goes away with what it has queued and watches, and comes again.
    fn forget(&mut self, server: &Server) {
        std::mem::replace(&mut self.client, server.client()).vanish();
        self.start_over();
    }

    fn start_over(&mut self) {
        self.awaited.clear();
        self.queued.clear();
    }
}

/// A tag is answered with that tag, and nothing else is.
fn is_right(words: &Words, reply: &Value) -> bool {
    if words[0] == b"ECHO" && words.len() == 2 && words[1].starts_with(b"tag:") {
        return *reply == Value::bulk(&words[1]);
    }
    !matches!(reply, Value::Bulk(text) if text.starts_with(b"tag:"))
}

/// What the comparison with Redis 7.0 leaves out, and keys of the connection's own.
fn extra(r: &mut Random, connection: usize) -> Words {
    const LINES: &[&str] = &[
        "BLMOVE k3 k4 LEFT RIGHT 0.03",
        "BLMPOP 0.02 3 k1 k3 k4 RIGHT COUNT 2",
        "BLPOP k1 k2 k3 0.05",
        "BLPOP k3 0.02",
        "BRPOPLPUSH k4 k3 0.01",
        "BZMPOP 0.03 2 k8 k9 MAX",
        "BZPOPMIN k8 k9 0.02",
        "CLIENT INFO",
        "CLIENT LIST",
        "CLIENT NO-TOUCH off",
        "CLIENT NO-TOUCH on",
        "CLIENT PAUSE 2 WRITE",
        "COMMAND COUNT",
        "COMMAND DOCS get",
        "COMMAND LIST",
        "CONFIG GET *",
        "CONFIG RESETSTAT",
        "CONFIG SET hash-max-listpack-entries 128 zset-max-listpack-entries 128",
        "CONFIG SET hash-max-listpack-entries 16 zset-max-listpack-entries 16",
        "CONFIG SET slowlog-log-slower-than 0",
        "CONFIG SET slowlog-log-slower-than 10000",
        "DEBUG DIGEST",
        "DEBUG HTSTATS 0",
        "DEBUG JMAP",
        "DEBUG SLEEP 0.001",
        "HEXPIRE k7 1 FIELDS 2 m1 m2",
        "HGETDEL k8 FIELDS 1 m5",
        "HGETEX k7 EX 10 FIELDS 1 m4",
        "HPERSIST k7 FIELDS 1 m1",
        "HPEXPIRE k8 5 FIELDS 1 m3",
        "HSCAN k7 0 COUNT 100",
        "HSETEX k7 EX 1 FIELDS 2 m1 a m6 b",
        "HTTL k7 FIELDS 2 m1 m3",
        "INFO",
        "INFO everything",
        "LATENCY HISTOGRAM",
        "LATENCY LATEST",
        "LOLWUT",
        "MEMORY DOCTOR",
        "MEMORY STATS",
        "MEMORY USAGE k5",
        "OBJECT ENCODING k9",
        "PEXPIRE k1 3",
        "PEXPIRE k6 3",
        "PEXPIRE k8 3",
        "ROLE",
        "SCAN 0 COUNT 100",
        "SLOWLOG GET 5",
        "SLOWLOG RESET",
        "SORT k3 ALPHA",
        "SORT k5 BY own:1:* GET # GET own:2:* ALPHA STORE k4",
        "SPOP k5",
        "SPOP k6 3",
        "SSCAN k5 0",
        "WAIT 0 0",
        "ZRANK k9 m1 WITHSCORE",
        "ZSCAN k9 0 COUNT 50",
    ];
    let key = format!("own:{connection}:{}", r.below(OWN_KEYS));
    let line = match r.below(6) {
        0 => format!("SET {key} {} PX {}", "v".repeat(r.below(OWN_VALUE_BYTES_MAX)), 1 + r.below(5000)),
        1 => format!("DEL {key}"),
        2 => format!("CLIENT UNBLOCK {} {}", r.below(2 * CONNECTIONS), r.pick(&["ERROR", "TIMEOUT"])),
        _ => r.pick(LINES).to_owned(),
    };
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}
