//! A shard for this family's tests: commands in, RESP out.

use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::KeyHasher;
use crate::base::prng::Prng;
use crate::base::time::{MonoUs, Now, UnixMs};
use crate::command::ctx::CommandOptions;
use crate::command::spec::{Run, Spec};
use crate::command::{Ctx, Table};
use crate::keyspace::{AccessPolicy, Keyspace, KeyspaceOptions, NewValue, SetExpire};
use crate::resp::{Args, OwnedArgs, Proto, Reply};

/// Some time in 2023.
pub(in crate::command) const START_MS: i64 = 1_700_000_000_000;

pub(in crate::command) struct Shard {
    pub(in crate::command) keyspace: Keyspace,
    pub(in crate::command) now_ms: i64,
    pub(in crate::command) db: u16,
    pub(in crate::command) id: u16,
    pub(in crate::command) shards: u16,
    pub(in crate::command) options: CommandOptions,
    table: Table,
    rng: Prng,
}

impl Shard {
    /// The only shard, empty.
    pub(in crate::command) fn new() -> Self {
        Shard::with(KeyspaceOptions::default())
    }

    /// The same with an LFU policy.
    pub(in crate::command) fn lfu() -> Self {
        Shard::with(KeyspaceOptions { access: AccessPolicy::Lfu, ..KeyspaceOptions::default() })
    }

    fn with(options: KeyspaceOptions) -> Self {
        let lfu = options.access == AccessPolicy::Lfu;
        Shard {
            keyspace: Keyspace::new(16, KeyHasher::new([1, 2, 3, 4]), options),
            now_ms: START_MS,
            db: 0,
            id: 0,
            shards: 1,
            options: CommandOptions {
                string_bytes_max: 512 << 20,
                databases: 16,
                lfu,
                lazy_flush: false,
                lazy_del: false,
            },
            table: Table::new(&[]).unwrap(),
            rng: Prng::new(7),
        }
    }

    /// Puts a key into the database selected, as SET does.
    pub(in crate::command) fn set(&mut self, key: &str, value: &str) {
        let hasher = self.keyspace.hasher().clone();
        let (db, now) = (DbIndex(self.db), UnixMs(self.now_ms));
        let value = NewValue::Bytes(value.as_bytes());
        self.keyspace.set(db, hasher.key(key.as_bytes()), now, value, SetExpire::Clear);
    }

    /// Runs a command whose arguments are the words of `line`.
    pub(in crate::command) fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.run_args(&words)).into_owned()
    }

    /// Runs a command and gives the words of its reply, each string or number on its own.
    pub(in crate::command) fn words(&mut self, line: &str) -> Vec<String> {
        let reply = self.run(line);
        let is_word = |line: &&str| !line.starts_with(['*', '$', '%']);
        reply.split("\r\n").filter(is_word).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    pub(in crate::command) fn run_args(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let owned = OwnedArgs::collect(words.iter().copied());
        let args = owned.as_args();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let spec = self.spec(args);
        assert!(spec.takes(args.len()), "arity of {}", spec.name);
        let Run::Shard(handler, _) = spec.run else { panic!("{} does not run on a shard", spec.name) };
        let first_key = spec.key_indexes(args.len()).next();
        let first_key = first_key.map(|at| self.keyspace.hasher().hash(args.at(at)));
        let mut ctx = Ctx {
            keyspace: &mut self.keyspace,
            db: DbIndex(self.db),
            now: Now { unix_us: self.now_ms * 1000, mono: MonoUs(0) },
            reply: &mut reply,
            rng: &mut self.rng,
            shard: ShardId(self.id),
            shards: self.shards,
            options: &self.options,
            first_key: first_key.unwrap_or_default(),
        };
        if let Err(error) = handler(&mut ctx, args) {
            reply.truncate(0);
            reply.error(error.text());
        }
        out
    }

    fn spec(&self, args: Args<'_>) -> &'static Spec {
        // Internal rows are no clients' to find.
        let find =
            |name: &[u8]| self.table.iter().find(|(_, spec)| spec.name.as_bytes().eq_ignore_ascii_case(name));
        let (id, spec) = find(args.at(0)).unwrap();
        match spec.run {
            Run::Container => self.table.spec(self.table.find_sub(id, args.at(1)).unwrap()),
            _ => spec,
        }
    }
}
