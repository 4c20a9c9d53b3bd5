//! One shard to test commands on, without a server around it.

use std::collections::BTreeMap;

use super::ctx::CommandOptions;
use super::effects::LazyFree;
use super::spec::Run;
use super::{effects, CommandId, Ctx, Spec, Table};
use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::{shard_of_key, KeyHash, KeyHasher};
use crate::base::prng::Prng;
use crate::base::time::{MonoUs, Now, UnixMs};
use crate::ds::list::End;
use crate::ds::listpack::Packed;
use crate::journal::{Item, Journal, Reader};
use crate::keyspace::{AccessPolicy, IntText, Keyspace, KeyspaceOptions, ValueRef};
use crate::resp::decode::split_quoted;
use crate::resp::{OwnedArgs, Proto, Reply};

/// A shard, its clock and its configuration. The fields are a test's to change.
pub(crate) struct Harness {
    pub(crate) keyspace: Keyspace,
    pub(crate) journal: Journal,
    pub(crate) options: CommandOptions,
    /// The wall clock. It stands still until a test moves it.
    pub(crate) now_ms: i64,
    pub(crate) db: DbIndex,
    pub(crate) proto: Proto,
    /// Which shard it is, and of how many.
    pub(crate) shard: ShardId,
    pub(crate) shards: u16,
    rng: Prng,
    table: Table,
}

impl Harness {
    /// An empty shard of sixteen databases at some moment.
    pub(crate) fn new() -> Harness {
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        Harness {
            keyspace: Keyspace::new(16, hasher, KeyspaceOptions::default()),
            journal: Journal::new(ShardId(0)),
            options: CommandOptions {
                string_bytes_max: 512 * 1024 * 1024,
                databases: 16,
                lfu: false,
                lazyfree: LazyFree::default(),
                compresses_dumps: true,
            },
            now_ms: 1_700_000_000_123,
            db: DbIndex(0),
            proto: Proto::Resp2,
            shard: ShardId(0),
            shards: 1,
            rng: Prng::new(1),
            table: Table::new(&[]).unwrap(),
        }
    }

    /// The same with an LFU policy.
    pub(crate) fn lfu() -> Harness {
        let mut harness = Harness::new();
        let options = KeyspaceOptions { access: AccessPolicy::Lfu, ..KeyspaceOptions::default() };
        harness.keyspace.set_options(options);
        harness.options.lfu = true;
        harness
    }

    /// Runs a command line, quoted as for redis-cli; the reply's bytes, those that are no text replaced.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let args = split_quoted(line.as_bytes()).unwrap();
        String::from_utf8_lossy(&self.run_args(&args)).into_owned()
    }

    /// Runs a request; the reply's bytes.
    pub(crate) fn run_args(&mut self, args: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let args = OwnedArgs::collect(args.iter().map(AsRef::as_ref));
        let args = args.as_args();
        let mut out = Vec::new();
        let spec = self.find(args.at(0), args.get(1));
        if !spec.takes(args.len()) {
            Reply::new(&mut out, self.proto).error(CommandError::arity(spec.name).bytes());
            return out;
        }
        assert!(matches!(spec.run, Run::Shard(..)), "{} does not run on a shard", spec.name);
        let first_key = spec.key_indexes(args).next();
        let hash = first_key.map_or(KeyHash::default(), |at| self.keyspace.hasher().hash(args.at(at)));
        let mut reply = Reply::new(&mut out, self.proto);
        let done = effects::run(
            spec,
            &mut Ctx {
                keyspace: &mut self.keyspace,
                journal: &mut self.journal,
                db: self.db,
                now: Now { unix_us: self.now_ms * 1000, mono: MonoUs(self.now_ms as u64 * 1000) },
                reply: &mut reply,
                rng: &mut self.rng,
                shard: self.shard,
                shards: self.shards,
                options: &self.options,
                first_key: hash,
            },
            args,
        );
        if let Err(error) = done {
            reply.truncate(0);
            reply.error(error.bytes());
        }
        out
    }

    /// What is done from here on is recorded.
    pub(crate) fn record(&mut self) {
        self.journal.set_recording(true);
        self.keyspace.removals_mut().keep(true);
    }

    /// Records what has left by other ways than commands.
    pub(crate) fn record_removals(&mut self) {
        effects::record_removals(&mut self.keyspace, &mut self.journal, &self.options);
    }

    /// What was recorded since it was asked last.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.journal.take_pending(&mut bytes);
        bytes
    }

    /// Does again what was recorded. All keys must be this shard's, and nothing may be refused.
    pub(crate) fn replay(&mut self, stream: &[u8]) {
        let mut reader = Reader::new(0);
        reader.feed(stream);
        while let Some(item) = reader.next().unwrap() {
            let Item::Command { args, .. } = item else { continue };
            if args.is(0, "select") {
                self.db = DbIndex(std::str::from_utf8(args.at(1)).unwrap().parse().unwrap());
            } else if !args.is(0, "multi") && !args.is(0, "exec") {
                let spec = self.find(args.at(0), args.get(1));
                for at in spec.key_indexes(args) {
                    assert_eq!(shard_of_key(args.at(at), self.shards), self.shard, "{item}");
                }
                let args: Vec<&[u8]> = args.iter_from(0).collect();
                let reply = self.run_args(&args);
                assert!(!reply.starts_with(b"-"), "{item}: {}", reply.escape_ascii());
            }
        }
        let tail = reader.tail();
        assert_eq!(tail.records, tail.end);
    }

    /// What was recorded since it was asked last, a command in each line.
    pub(crate) fn recorded(&mut self) -> Vec<String> {
        let bytes = self.taken();
        let mut reader = Reader::new(0);
        reader.feed(&bytes);
        let mut lines = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            lines.push(item.to_string());
        }
        assert_eq!(reader.tail().records, bytes.len() as u64);
        lines
    }

    /// How long a key has to live; `None` if it is missing or does not expire.
    pub(crate) fn ttl_ms(&mut self, key: &str) -> Option<i64> {
        let now = UnixMs(self.now_ms);
        let key = self.keyspace.hasher().key(key.as_bytes());
        let expire_at = self.keyspace.peek(self.db, key, now)?.expire_at?;
        Some(expire_at.0 - self.now_ms)
    }

    fn find(&self, name: &[u8], subcommand: Option<&[u8]>) -> &'static Spec {
        let internal = || Some(self.table.internal(std::str::from_utf8(name).ok()?));
        let id: CommandId = self.table.find(name).or_else(internal).unwrap_or_else(|| {
            panic!("no command {:?}", String::from_utf8_lossy(name));
        });
        let spec = self.table.spec(id);
        match (spec.run, subcommand) {
            (Run::Container, Some(name)) => self.table.spec(self.table.find_sub(id, name).unwrap()),
            _ => spec,
        }
    }
}

/// All that a keyspace holds, by database and key: type, elements, expiries; sets and hashes in order.
pub(crate) fn dump(keyspace: &mut Keyspace, now: UnixMs) -> BTreeMap<(u16, String), String> {
    let mut all = BTreeMap::new();
    for db in 0..keyspace.databases() {
        keyspace.for_each(DbIndex(db), now, |key, entry| {
            let mut text = IntText::new();
            let mut elements: Vec<String> = Vec::new();
            let mut push = |packed: Packed<'_>, with: String| {
                elements.push(format!("{}{with}", packed.bytes(&mut text).escape_ascii()));
            };
            match entry.value {
                ValueRef::String(string) => {
                    let mut text = IntText::new();
                    push(Packed::Bytes(string.bytes(&mut text)), String::new());
                }
                ValueRef::List(list) => {
                    list.range(0, End::Back, usize::MAX, |element| push(element, String::new()));
                }
                ValueRef::Set(set) => set.iter().for_each(|member| push(member, String::new())),
                // A zero has no sign in some encodings.
                ValueRef::Zset(zset) => {
                    zset.iter().for_each(|item| push(item.member, format!("={:?}", item.score + 0.0)));
                }
                ValueRef::Hash(hash) => hash.for_each(now, |item| {
                    let value = item.value.bytes(&mut IntText::new()).escape_ascii().to_string();
                    push(item.name, format!("={value} until {:?}", item.expire_at));
                }),
            }
            if matches!(entry.value, ValueRef::Set(_) | ValueRef::Hash(_)) {
                elements.sort();
            }
            let kind = entry.value.kind().name();
            let shown = format!("{kind} {} until {:?}", elements.join(" "), entry.expire_at);
            all.insert((db, key.escape_ascii().to_string()), shown);
        });
    }
    all
}
