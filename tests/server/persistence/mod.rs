//! Persistence: what a server has told its clients is there when it, or another, is started with its files.
//!
//! * `restart`: stopped in every way, started again with other numbers of shards; the data is the same.
//! * `crash`: killed under load at random moments; nothing acknowledged is lost, no transaction is half there.
//! * `faults`: files that are torn, damaged, missing, stale or named by mistake.
//! * `full`: disks that are full, folders that cannot be written.
//! * `leftovers`: what is needless, and when it goes.
//! * `exchange`: files of a stock redis-server are loaded here, and ours there.
//! * `loading`: what clients are told before the data is there.
//! * `places`: other folders and names while the server runs.
//! * `tools`: one file of a snapshot of all shards, and the way back.
//! * `waits`: WAIT and WAITAOF.
//!
//! `RINGWARD_CRASHES` is how often the crash tests kill a server, all together.

mod crash;
mod exchange;
mod faults;
mod full;
mod leftovers;
mod loading;
mod places;
mod restart;
mod tools;
mod waits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::differential::generate::Generator;
use super::harness::process::{Folder, Port};
use super::harness::{eventually, request, Client, Random, Server, Start, Value};

/// What a client was told is in the files, also if the server is killed at once.
pub(super) const SYNCED_AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// A folder with the files of servers that follow each other.
pub(super) struct Home {
    pub(super) folder: Arc<Folder>,
    pub(super) port: Arc<Port>,
}

impl Home {
    pub(super) fn new() -> Home {
        Home { folder: Arc::new(Folder::new()), port: Arc::new(Port::new()) }
    }

    /// How to start a server here.
    pub(super) fn start(&self, shards: u16, args: &[&str]) -> Start {
        Start::again(shards, self.folder.clone(), self.port.clone()).args(args)
    }

    /// A server here that has loaded what there is.
    #[track_caller]
    pub(super) fn run(&self, shards: u16, args: &[&str]) -> Server {
        let server = self.start(shards, args).run();
        serving(&server);
        server
    }

    /// A file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// All files in the folder and below, but locks.
    pub(super) fn files(&self) -> Vec<String> {
        let mut folders = vec![self.folder.to_path_buf()];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => names.push(path.strip_prefix(&**self.folder).unwrap().display().to_string()),
                }
            }
        }
        names.retain(|name| !name.ends_with(".lock"));
        names.sort();
        names
    }

    /// The same files in another place.
    pub(super) fn copy(&self) -> Home {
        let copy = Home::new();
        for name in self.files() {
            let to = copy.path(&name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(self.path(&name), to).unwrap();
        }
        copy
    }
}

/// Waits until the data set is loaded.
#[track_caller]
pub(super) fn serving(server: &Server) {
    eventually("the data set is loaded", || {
        if let Some(status) = server.exited() {
            panic!("the server has ended ({status}):\n{}", server.log());
        }
        server.log().contains("The data set is loaded")
    });
}

/// Kills a server as a crash does, and waits until it is over.
#[track_caller]
pub(super) fn kill(server: Server) {
    server.signal(libc::SIGKILL);
    server.wait_exit();
}

/// Stops a server by a command, and waits until it is over.
#[track_caller]
pub(super) fn shut_down(server: Server, command: &str) {
    let mut client = server.client();
    client.send(&super::harness::words(command));
    if let Ok(reply) = client.try_read() {
        panic!("{command} is answered with {reply:?}");
    }
    let status = server.wait_exit();
    assert!(status.success(), "{command}: {status}\n{}", server.log());
}

/// Values of all types and encodings, in several databases, as random commands have made them; some with fields that
/// expire.
pub(super) fn fill(client: &mut Client, random: &mut Random, commands: usize) {
    fill_as_stock(client, random, commands);
    for (db, number) in [(0, 0), (7, 1), (15, 2)] {
        client.ok(&format!("SELECT {db}"));
        let later = 2_000_000_000_000u64 + random.next() % 1_000_000_000;
        client.run(&format!("HPEXPIREAT hash:{db}:{number} {later} FIELDS 3 field0 field1 field2"));
    }
    client.ok("SELECT 0");
}

/// The same with nothing in it that a Redis 7.0 does not have.
pub(super) fn fill_as_stock(client: &mut Client, random: &mut Random, commands: usize) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut generator = Generator::new(now);
    let mut sent = 0;
    while sent < commands {
        let batch: Vec<_> = (0..100).map(|_| generator.command(random)).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|words| request(words)).collect();
        client.pipeline(&bytes, batch.len());
        sent += batch.len();
    }
    client.run("RESET");
    // What random commands make too rarely, and what FLUSHALL may have taken away.
    for db in [0, 7, 15] {
        client.ok(&format!("SELECT {db}"));
        let name = |kind: &str, number: usize| format!("{kind}:{db}:{number}");
        for (number, count) in [3usize, 100, 2000].into_iter().enumerate() {
            for (command, kind) in [("RPUSH", "list"), ("SADD", "set"), ("ZADD", "zset"), ("HSET", "hash")] {
                let mut words = vec![command.to_owned(), name(kind, number)];
                for element in 0..count {
                    let value = format!("{element}:{}", random.next() >> random.below(64));
                    match kind {
                        "zset" => words.extend([format!("{}.5", random.below(1000)), value]),
                        "hash" => words.extend([format!("field{element}"), value]),
                        _ => words.push(value),
                    }
                }
                assert!(!client.call(&words).is_error());
            }
            let ints: Vec<_> = (0..count).map(|n| (n * n * 7).to_string()).collect();
            client.run(&format!("SADD {} {}", name("ints", number), ints.join(" ")));
            client.run(&format!("SET {} {}", name("string", number), "x".repeat(count * 10)));
            let later = 2_000_000_000_000u64 + random.next() % 1_000_000_000;
            client.run(&format!("PEXPIREAT {} {later}", name(["string", "hash", "ints"][number], number)));
        }
        client.run(&format!("PFADD {} a b c d e f", name("hll", 0)));
        client.run(&format!("SETBIT {} 9000 1", name("bits", 0)));
    }
    client.ok("SELECT 0");
}

/// By database and name: when each key expires, when its fields do, and what its value is.
type Keys = BTreeMap<(usize, Vec<u8>), (i64, String, String)>;

/// All that can be seen of the data.
#[derive(Debug, PartialEq)]
pub(super) struct Survey {
    pub(super) digest: String,
    keys: Keys,
}

pub(super) fn survey(client: &mut Client) -> Survey {
    let digest = client.run("DEBUG DIGEST").text();
    let mut keys = Keys::new();
    for db in 0..16 {
        client.ok(&format!("SELECT {db}"));
        for key in client.run("KEYS *").items() {
            let key = key.bytes();
            let ttl = client.call(&[&b"PEXPIRETIME"[..], key]).int();
            let mut fields = String::new();
            if client.call(&[&b"TYPE"[..], key]).text() == "hash" {
                let names = client.call(&[&b"HKEYS"[..], key]);
                let count = names.items().len().to_string();
                let mut words = vec![&b"HPEXPIRETIME"[..], key, b"FIELDS", count.as_bytes()];
                words.extend(names.items().iter().map(|name| name.bytes()));
                let found = client.call(&words);
                // A stock Redis 7.0 has no such times.
                let found = if found.is_error() { Value::Array(Vec::new()) } else { found };
                let pairs = names.items().iter().zip(found.items()).filter(|(_, time)| time.int() != -1);
                let mut pairs: Vec<_> = pairs.map(|pair| format!("{pair:?}")).collect();
                pairs.sort();
                fields = pairs.join(" ");
            }
            let value = client.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key]).items()[0].text();
            keys.insert((db, key.to_vec()), (ttl, fields, value));
        }
    }
    client.ok("SELECT 0");
    Survey { digest, keys }
}

/// Fails with what differs, and not with everything there is.
#[track_caller]
pub(super) fn assert_same(expected: &Survey, actual: &Survey, what: &str) {
    let name = |(db, key): &(usize, Vec<u8>)| format!("{db}:{}", key.escape_ascii());
    for (key, values) in &expected.keys {
        assert_eq!(actual.keys.get(key), Some(values), "{what}: {}", name(key));
    }
    for key in actual.keys.keys() {
        assert!(expected.keys.contains_key(key), "{what}: {} should not be there", name(key));
    }
    assert_eq!(expected.digest, actual.digest, "{what}");
}

/// Fails where two servers differ. Keys expire while they are asked: only what was the same on the first before and
/// after the second was asked can be compared.
#[track_caller]
pub(super) fn assert_alike(first: &mut Client, second: &mut Client, what: &str) {
    let start = Instant::now();
    let mut here = survey(first);
    loop {
        let there = survey(second);
        let before = std::mem::replace(&mut here, survey(first));
        if before == here {
            return assert_same(&here, &there, what);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: what is compared goes on changing");
    }
}

/// A field of INFO.
#[track_caller]
pub(super) fn info(client: &mut Client, field: &str) -> String {
    let text = client.run("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {field}:\n{text}")).to_owned()
}

/// Waits until neither a snapshot nor a rewrite is under way.
#[track_caller]
fn saved(client: &mut Client) {
    eventually("saves end", || {
        ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]
            .iter()
            .all(|field| info(client, field) == "0")
    });
}

/// A folder with a snapshot of two shards.
fn snapshot() -> Home {
    let home = Home::new();
    let server = home.run(2, &[]);
    let mut client = server.client();
    for key in 0..20 {
        client.ok(&format!("SET k{key} {}", "v".repeat(key)));
    }
    client.ok("SAVE");
    kill(server);
    home
}
