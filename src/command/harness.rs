//! One shard to test commands on, without a server around it.

use super::ctx::CommandOptions;
use super::{CommandId, Ctx, Spec, Table};
use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::{KeyHash, KeyHasher};
use crate::base::prng::Prng;
use crate::base::time::{MonoUs, Now, UnixMs};
use crate::command::spec::Run;
use crate::keyspace::{AccessPolicy, Keyspace, KeyspaceOptions};
use crate::resp::decode::split_quoted;
use crate::resp::{OwnedArgs, Proto, Reply};

/// A shard, its clock and its configuration. The fields are a test's to change.
pub(crate) struct Harness {
    pub(crate) keyspace: Keyspace,
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
            options: CommandOptions { string_bytes_max: 512 * 1024 * 1024, databases: 16, lfu: false },
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
        let Run::Shard(handler, _) = spec.run else { panic!("{} does not run on a shard", spec.name) };
        let first_key = spec.key_indexes(args).next();
        let hash = first_key.map_or(KeyHash::default(), |at| self.keyspace.hasher().hash(args.at(at)));
        let mut reply = Reply::new(&mut out, self.proto);
        let done = handler(
            &mut Ctx {
                keyspace: &mut self.keyspace,
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
