//! What Ringward writes in Redis's formats, read by a stock redis-server and by redis-check-rdb.
//!
//! The same commands fill a shard of the library, without a server around it, and a redis-server. What the one writes,
//! another redis-server loads, which must then hold what the first one holds.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ringward::base::ids::{DbIndex, ShardId};
use ringward::base::key::KeyHasher;
use ringward::base::time::{MonoUs, Now};
use ringward::command::ctx::CommandOptions;
use ringward::command::effects::LazyFree;
use ringward::command::Table;
use ringward::keyspace::{Keyspace, KeyspaceOptions, Progress};
use ringward::rdb::{AccessNotes, FileOptions, SnapshotFileSink};
use ringward::resp::{OwnedArgs, Proto};
use ringward::shard::{Call, CallHead, Shard};

use super::harness::process::Folder;
use super::harness::{number_from_env, Client, Peer, Random};

type Words = Vec<Vec<u8>>;

/// 2030: keys that expire do so long after the test.
const LATER_MS: u64 = 1_893_456_000_000;

/// Elements that are added by one command.
const CHUNK: usize = 500;

/// A shard without a server.
pub(super) struct Local {
    pub(super) shard: Shard,
    table: Arc<Table>,
    hasher: KeyHasher,
    pub(super) now: Now,
    pub(super) db: DbIndex,
}

impl Local {
    pub(super) fn new(options: KeyspaceOptions) -> Local {
        let table = Arc::new(Table::new(&[]).unwrap());
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        let keyspace = Keyspace::new(16, hasher.clone(), options);
        let options = CommandOptions {
            string_bytes_max: 512 << 20,
            databases: 16,
            lfu: false,
            lazyfree: LazyFree::default(),
            compresses_dumps: false,
        };
        let now = Now { unix_us: 1_700_000_000_000_000, mono: MonoUs(1) };
        let shard = Shard::new(ShardId(0), 1, table.clone(), keyspace, options, 1);
        Local { shard, table, hasher, now, db: DbIndex(0) }
    }

    /// Runs a command that must succeed; the reply's bytes.
    pub(super) fn run<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        let reply = self.try_run(words);
        assert!(!reply.starts_with(b"-"), "{}", reply.escape_ascii());
        reply
    }

    /// Runs a command; the bytes of the reply, or of the error.
    pub(super) fn try_run<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        let args = OwnedArgs::collect(words.iter().map(AsRef::as_ref));
        let args = args.as_args();
        let internal = || self.table.internal(std::str::from_utf8(args.at(0)).expect("a name"));
        let command = self.table.find(args.at(0)).unwrap_or_else(internal);
        let command = args.get(1).and_then(|name| self.table.find_sub(command, name)).unwrap_or(command);
        let first_key = self.table.spec(command).key_indexes(args).next().map_or(&b""[..], |at| args.at(at));
        let head = CallHead {
            command,
            db: self.db,
            proto: Proto::Resp2,
            first_key: self.hasher.hash(first_key),
            no_touch: false,
            replays: false,
        };
        let mut out = Vec::new();
        let result = self.shard.run(self.table.spec(command), Call { head, args }, self.now, &mut out);
        assert_eq!(result.is_err(), out.starts_with(b"-"));
        out
    }

    /// The payload that DUMP answers.
    pub(super) fn dump(&mut self, key: &[u8]) -> Vec<u8> {
        let reply = self.run(&[b"DUMP", key]);
        let head = reply.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        reply[head..reply.len() - 2].to_vec()
    }

    /// The file of a snapshot, made in steps, with something done after each.
    pub(super) fn file(
        &mut self,
        options: FileOptions,
        budget: usize,
        mut between: impl FnMut(&mut Local),
    ) -> Vec<u8> {
        let sink = Box::new(SnapshotFileSink::new(options));
        assert!(self.shard.keyspace.begin_snapshot(sink).is_ok());
        let mut out = Vec::new();
        while self.shard.keyspace.snapshot_step(budget) == Progress::More {
            self.shard.keyspace.take_snapshot_output(&mut out);
            between(self);
        }
        while self.shard.keyspace.end_snapshot().is_none() {
            self.shard.keyspace.take_snapshot_output(&mut out);
        }
        out
    }

    pub(super) fn options(&self) -> FileOptions {
        FileOptions {
            compress: true,
            checksum: true,
            access: AccessNotes::None,
            is_aof_base: false,
            now: self.now,
            used_memory: self.shard.keyspace.used_memory(),
            has_field_expiry: self.shard.keyspace.has_field_expiry(),
            aux: vec![("ringward-version".to_owned(), "0.1.0".to_owned())],
        }
    }
}

/// The same data here and there.
pub(super) struct Pair {
    pub(super) local: Local,
    pub(super) redis: Client,
    _peer: Peer,
    /// Databases and names.
    pub(super) keys: Vec<(u16, Vec<u8>)>,
}

impl Pair {
    pub(super) fn new(options: KeyspaceOptions, args: &[&str]) -> Pair {
        let peer = Peer::start_with(args);
        Pair { local: Local::new(options), redis: peer.client(), _peer: peer, keys: Vec::new() }
    }

    pub(super) fn select(&mut self, db: u16) {
        self.local.db = DbIndex(db);
        self.redis.ok(&format!("SELECT {db}"));
    }

    fn run(&mut self, words: &Words) {
        let reply = self.local.run(words);
        assert_ne!(reply[0], b'-', "{}", String::from_utf8_lossy(&reply));
        self.redis.call(words);
    }

    /// Makes a key of elements, some at a time.
    fn add(&mut self, command: &str, key: &str, words: &[Vec<u8>]) {
        for words in words.chunks(CHUNK) {
            let head = [command.as_bytes().to_vec(), key.as_bytes().to_vec()];
            self.run(&[&head[..], words].concat());
        }
        self.keys.push((self.local.db.0, key.as_bytes().to_vec()));
    }

    /// Values of all types, encodings and lengths in the selected database.
    pub(super) fn fill(&mut self, random: &mut Random) {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Words>();
        for exponent in [0, 6, 7, 8, 14, 15, 16, 30, 31, 32, 62] {
            for number in [(1i64 << exponent) - 1, 1 << exponent, -(1 << exponent), -(1 << exponent) - 1] {
                self.add("SET", &format!("number {number}"), &texts(&[&number.to_string()]));
            }
        }
        for len in [0, 1, 11, 12, 20, 21, 63, 64, 500, 16_383, 16_384, 70_000, 300_000] {
            self.add("SET", &format!("noise {len}"), &[noise(random, len, 256)]);
            self.add("SET", &format!("letters {len}"), &[noise(random, len, 3)]);
            self.add("APPEND", &format!("same {len}"), &[vec![b'x'; len]]);
        }
        for (name, count, len) in [("few", 5, 30), ("some", 120, 30), ("long", 6, 70), ("many", 4000, 30)] {
            let mut strings = words(random, count, len);
            self.add("RPUSH", &format!("list {name}"), &strings);
            self.add("SADD", &format!("set {name}"), &strings);
            // What is no integer, so that sets of these are listpacks.
            strings.iter_mut().for_each(|string| string.push(b'.'));
            self.add("SADD", &format!("strings {name}"), &strings);
            let fields: Words =
                strings.iter().flat_map(|name| [name.clone(), noise(random, 12, 20)]).collect();
            self.add("HSET", &format!("hash {name}"), &fields);
            let scores: Words = strings.iter().flat_map(|name| [score(random), name.clone()]).collect();
            self.add("ZADD", &format!("zset {name}"), &scores);
        }
        // Beyond what goes into a node with others.
        let elements = [10, 9000, 20_000, 10, 10, 40_000].map(|len| noise(random, len, 30));
        self.add("RPUSH", "list with long ones", &elements);
        for (name, bits) in [("16", 15), ("32", 31), ("64", 63)] {
            let numbers: Words =
                (0..200).map(|_| (random.next() as i64 >> (63 - bits)).to_string().into()).collect();
            self.add("SADD", &format!("intset {name}"), &numbers);
        }
        for at in 0..self.keys.len() {
            let (db, key) = self.keys[at].clone();
            if db == self.local.db.0 && random.one_in(3) {
                let at = LATER_MS + random.next() % 1_000_000;
                self.run(&vec![b"PEXPIREAT".to_vec(), key, at.to_string().into()]);
            }
        }
    }

    /// Whether a redis-server that loads the file has what the first one has.
    fn check_loaded(&mut self, file: &[u8]) {
        let folder = Folder::new();
        let path = folder.join("dump.rdb");
        std::fs::write(&path, file).unwrap();
        check_rdb(&path);
        let loaded = Peer::start_with(&["--dir", folder.to_str().unwrap(), "--dbfilename", "dump.rdb"]);
        let mut loaded = loaded.client();
        assert_eq!(loaded.run("DEBUG DIGEST"), self.redis.run("DEBUG DIGEST"));
        let mut selected = None;
        for (db, key) in &self.keys {
            if selected.replace(*db) != Some(*db) {
                for client in [&mut loaded, &mut self.redis] {
                    client.ok(&format!("SELECT {db}"));
                }
            }
            let name = String::from_utf8_lossy(key);
            for command in ["PEXPIRETIME", "TYPE"] {
                let words = [command.as_bytes(), key];
                assert_eq!(loaded.call(&words), self.redis.call(&words), "{command} {name}");
            }
        }
    }
}

/// A text of so many different bytes.
fn noise(random: &mut Random, len: usize, bytes: usize) -> Vec<u8> {
    (0..len).map(|_| (b'a').wrapping_add(random.below(bytes) as u8)).collect()
}

/// Different strings, numbers among them.
fn words(random: &mut Random, count: usize, len: usize) -> Words {
    (0..count)
        .map(|n| match random.below(4) {
            0 => (n as i64 * 1_000_003).wrapping_pow(1 + n as u32 % 3).to_string().into(),
            1 => n.to_string().repeat(1 + len / 8).into(),
            _ => [noise(random, len, 26), n.to_string().into()].concat(),
        })
        .collect()
}

fn score(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => b"inf".to_vec(),
        1 => b"-inf".to_vec(),
        // Redis 7.0 has integers beyond 2^52 as text.
        2 => (random.next() as i64 >> (12 + random.below(48))).to_string().into(),
        _ => (random.below(100_000) as f64 / 64.0 - 300.0).to_string().into(),
    }
}

fn check_rdb(path: &Path) {
    let output = Command::new("redis-check-rdb").arg(path).output().expect("redis-check-rdb");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("RDB looks OK"), "{text}");
    assert!(text.contains("Checksum OK"), "{text}");
}

pub(super) fn seed() -> u64 {
    number_from_env("RINGWARD_SEED", 1)
}

#[test]
fn redis_loads_a_snapshot() {
    let mut random = Random::new(seed());
    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    for db in [0, 3, 15] {
        pair.select(db);
        pair.fill(&mut random);
    }
    for compress in [true, false] {
        let options = FileOptions { compress, ..pair.local.options() };
        let file = pair.local.file(options, 10_000, |_| ());
        pair.check_loaded(&file);
    }
}

#[test]
fn redis_loads_compressed_lists() {
    let mut random = Random::new(seed() + 1);
    let mut options = KeyspaceOptions::default();
    options.encodings.list_compress_depth = 1;
    options.encodings.list_node = 10;
    let mut pair = Pair::new(options, &["--list-compress-depth", "1", "--list-max-listpack-size", "10"]);
    pair.fill(&mut random);
    let options = pair.local.options();
    let file = pair.local.file(options, 10_000, |_| ());
    pair.check_loaded(&file);
}

#[test]
fn redis_loads_a_snapshot_that_was_made_under_writes() {
    for budget in [1500, 20_000] {
        let mut random = Random::new(seed() + budget as u64);
        let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
        for db in [0, 1, 2] {
            pair.select(db);
            pair.fill(&mut random);
        }
        // The redis-server stays as both were at the cut.
        let (keys, options) = (pair.keys.clone(), pair.local.options());
        let file = pair.local.file(options, budget, |local| {
            for _ in 0..random.below(4) {
                let (db, key) = &keys[random.below(keys.len())];
                local.db = DbIndex(*db);
                let new = format!("new {}", random.below(1000));
                match random.below(4) {
                    0 => local.run(&[&b"DEL"[..], key]),
                    1 => local.run(&[&b"SET"[..], key, b"changed"]),
                    2 => local.run(&[&b"PERSIST"[..], key]),
                    _ => local.run(&[&b"SET"[..], new.as_bytes(), b"new"]),
                };
            }
        });
        pair.check_loaded(&file);
    }
}

#[test]
fn payloads_are_those_of_redis() {
    let mut random = Random::new(seed() + 3);
    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    pair.fill(&mut random);
    let keys = pair.keys.clone();
    // How many, and how many that are the same.
    let mut compressed = (0, 0);
    for (_, key) in &keys {
        let name = String::from_utf8_lossy(key).into_owned();
        for compress in [false, true] {
            pair.local.shard.options.compresses_dumps = compress;
            pair.redis.ok(&format!("CONFIG SET rdbcompression {}", if compress { "yes" } else { "no" }));
            let payload = pair.local.dump(key);
            let theirs = pair.redis.call(&[&b"DUMP"[..], key]);
            let theirs = theirs.bytes();
            // What a table has in it comes in another order there. Nodes of one element are new in 7.2.
            let is_the_same = !matches!(payload[0], 2 | 4) && name != "list with long ones";
            if is_the_same && !compress {
                let same = payload.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
                assert!(payload == theirs, "{name}: another byte at {same} of {}", payload.len());
            }
            // A process that has compressed other texts before may find other repetitions.
            if is_the_same && compress {
                compressed.0 += 1;
                compressed.1 += usize::from(payload == theirs);
            }
            let restored = pair.redis.call(&[&b"RESTORE"[..], b"restored", b"0", &payload, b"REPLACE"]);
            assert_eq!(restored.text(), "OK", "{name}");
            pair.redis.call(&[&b"PERSIST"[..], key]);
            let digests = pair.redis.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key, b"restored"]);
            assert_eq!(digests.items()[0], digests.items()[1], "{name}");
        }
    }
    assert!(compressed.1 * 10 >= compressed.0 * 9, "{compressed:?}");
}

#[test]
fn redis_reads_how_keys_were_used() {
    let mut local = Local::new(KeyspaceOptions::default());
    local.run(&["SET", "a", "1"]);
    let (folder, mut options) = (Folder::new(), local.options());
    options.access = AccessNotes::Idle;
    options.now.unix_us += 5_000_000_000;
    let path = folder.join("dump.rdb");
    std::fs::write(&path, local.file(options, 1000, |_| ())).unwrap();
    check_rdb(&path);
    let loaded = Peer::start_with(&["--dir", folder.to_str().unwrap(), "--maxmemory-policy", "allkeys-lru"]);
    let idle = loaded.client().run("OBJECT IDLETIME a").int();
    assert!((5000..5100).contains(&idle), "{idle}");
}
