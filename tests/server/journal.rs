//! A shard's journal beside the AOF of redis-server: the same commands leave the same records, and redis-server loads
//! what a shard has recorded.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ringward::base::ids::{DbIndex, ShardId};
use ringward::base::key::{KeyHash, KeyHasher};
use ringward::base::time::{MonoUs, Now};
use ringward::command::ctx::CommandOptions;
use ringward::command::debug::DatasetDigest;
use ringward::command::effects::LazyFree;
use ringward::command::spec::Run;
use ringward::command::Table;
use ringward::journal::{Item, Reader};
use ringward::keyspace::{Keyspace, KeyspaceOptions};
use ringward::resp::{OwnedArgs, Proto};
use ringward::shard::{Call, CallHead, Shard};

use super::differential::generate::Generator;
use super::harness::{number_from_env, Folder, Peer, Random};

/// Commands whose records are Redis's to the word. Those before each are there to have something to work on.
const COMMANDS: &str = "
    SET a 1 | SET a 2 EX 100 | SET a 3 PX 100000 | SET a 4 EXAT 5000000000 | SET a 5 PXAT 5000000000000
    SET a 6 NX | SET n 6 NX | SET a 7 XX | SET a 8 KEEPTTL | SET a 9 GET | SET b 9 EX 100 GET
    SETEX a 100 x | PSETEX a 100000 y | GETSET a 5 | GETEX a EX 100 | GETEX a PERSIST | GETEX a PXAT 1 | GET a
    SET a 5 | GETDEL a | GETDEL a | GETEX a | SETNX a 5 | SETNX a 6 | APPEND a 7 | SETRANGE a 1 xy | SET i 5
    INCR i | DECRBY i 3 | INCRBYFLOAT i 1.5 | INCRBYFLOAT f 0.1 | MSET x 1 y 2 | MSETNX x 1 z 2 | MSETNX u 1 v 2
    EXPIRE x 100 | PEXPIRE y 100000 | EXPIREAT u 5000000000 | PEXPIREAT v 5000000000000 | PERSIST v | PERSIST v
    EXPIRE x -1 | EXPIREAT y 1 | EXPIRE none 5
    RPUSH l 1 2 3 4 5 6 7 8 9 | LPOP l | RPOP l 2 | LPOP l 0 | LPOP none | LMPOP 2 none l LEFT | LMPOP 1 l RIGHT COUNT 2
    BLPOP none l 1 | BRPOP l 1 | BLMPOP 1 1 l LEFT | LPUSH l 1 2 3 4 | LMOVE l m LEFT RIGHT | BLMOVE l m RIGHT LEFT 1
    RPOPLPUSH l m | BRPOPLPUSH l m 1 | LSET m 0 q | LREM m 0 q | LTRIM m 1 -1 | LINSERT m BEFORE none x
    SADD s 1 | SPOP s | SADD s 1 2 3 | SPOP s 5 | SADD s 1 2 3 | SPOP none | SMOVE s t 2 | SMOVE s t 9 | SREM s 1 x
    SUNIONSTORE d s t | SINTERSTORE d s none | SORT t STORE d
    ZADD k 1 a 2 b 3 c 4 d 5 e 6 f | ZADD k NX 9 a | ZINCRBY k 0.1 a | ZPOPMIN k | ZPOPMAX k 2 | ZMPOP 1 k MIN COUNT 2
    BZPOPMIN none k 1 | BZPOPMAX k 1 | ZADD k 1 a 2 b | BZMPOP 1 1 k MAX | ZUNIONSTORE e 2 k s | ZRANGESTORE e k 0 -1
    ZREMRANGEBYRANK k 0 0 | ZREM k none
    HSET h f 1 g 2 | HSETNX h f 1 | HSETNX h i 1 | HINCRBY h f 5 | HINCRBYFLOAT h f 0.5 | HDEL h f x | HDEL h x
    SETBIT bits 7 1 | SETBIT bits 7 1 | BITFIELD bits SET u8 0 5 GET u8 0 | BITFIELD bits GET u8 0 | BITOP NOT r bits
    PFADD p 1 2 | PFADD p 1 | PFCOUNT p | PFCOUNT p | PFCOUNT p none | PFMERGE q p | PFDEBUG TODENSE p
    RENAME h h2 | RENAMENX h2 h | COPY h h3 | COPY h h3 REPLACE | MOVE h3 3 | SWAPDB 0 0 | DEL h none | UNLINK h none
    FLUSHDB | SET a 1 | FLUSHALL
";

#[test]
fn records_are_those_of_redis() {
    let args = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--appendfsync", "no"];
    let peer = Peer::start_with(&args);
    let mut client = peer.client();
    let mut one = One::new();
    let aof = peer.folder().join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut seen = 0;
    for line in COMMANDS.split(['|', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        client.call(&words);
        one.run(&words);
        let file = fs::read(&aof).unwrap();
        let mut expected = commands(&file[seen..]);
        seen = file.len();
        expected.retain(|command| command[0] != "SELECT");
        let mut actual = commands(&one.taken());
        actual.retain(|command| command[0] != "SELECT");
        assert!(same(&expected, &actual), "{line}:\n  expected {expected:?}\n  actual   {actual:?}");
    }
}

#[test]
fn redis_loads_what_a_shard_has_recorded() {
    let seed = number_from_env("RINGWARD_SEED", 1);
    let steps = number_from_env("RINGWARD_STEPS", 8000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    let (mut random, mut generator) = (Random::new(seed), Generator::new(now().unix_us as u64 / 1_000_000));
    let mut one = One::new();
    let mut stream = Vec::new();
    for _ in 0..steps {
        let words = generator.command(&mut random);
        // A peer's database after a FLUSHALL shows little.
        if !words[0].to_ascii_lowercase().starts_with(b"flush") || random.one_in(10) {
            one.run(&words);
        }
        one.shard.journal.take_pending(&mut stream);
    }
    let folder = Folder::new();
    let aof = folder.join("appendonly.aof");
    fs::write(&aof, &stream).unwrap();
    let check = Command::new("redis-check-aof").arg(&aof).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let peer = Peer::start_in(folder, &["--appendonly", "yes"]);
    assert!(peer.log().contains("DB loaded from append only file"), "{}", peer.log());
    let expected = one.digest();
    assert!(expected.bytes().any(|digit| digit != b'0'), "there is something to compare");
    assert_eq!(peer.client().run("DEBUG DIGEST").text(), expected, "RINGWARD_SEED={seed}");
}

/// A shard that is all there is.
struct One {
    shard: Shard,
    table: Arc<Table>,
    hasher: KeyHasher,
}

impl One {
    /// It records.
    fn new() -> One {
        let table = Arc::new(Table::new(&[]).unwrap());
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        let keyspace = Keyspace::new(16, hasher.clone(), KeyspaceOptions::default());
        let options = CommandOptions {
            string_bytes_max: 512 << 20,
            databases: 16,
            lfu: false,
            compresses_dumps: false,
            lazyfree: LazyFree::default(),
        };
        let mut shard = Shard::new(ShardId(0), 1, table.clone(), keyspace, options, 1);
        shard.set_recording(true);
        One { shard, table, hasher }
    }

    /// Runs a command, if it is one of a shard's and complete.
    fn run(&mut self, words: &[Vec<u8>]) {
        let Some(command) = self.table.find(&words[0]) else { return };
        let spec = self.table.spec(command);
        let Run::Shard(..) = spec.run else { return };
        if !spec.takes(words.len()) {
            return;
        }
        let args = OwnedArgs::collect(words.iter().map(Vec::as_slice));
        let args = args.as_args();
        let first_key = spec.key_indexes(args).next();
        let first_key = first_key.map_or(KeyHash::default(), |at| self.hasher.hash(args.at(at)));
        let head = CallHead {
            command,
            db: DbIndex(0),
            proto: Proto::Resp2,
            first_key,
            no_touch: false,
            replays: false,
        };
        let _ = self.shard.run(spec, Call { head, args }, now(), &mut Vec::new());
    }

    fn taken(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.shard.journal.take_pending(&mut bytes);
        bytes
    }

    fn digest(&mut self) -> String {
        let command = self.table.internal("_digest");
        let args = OwnedArgs::collect([&b"_digest"[..]]);
        let first_key = KeyHash::default();
        let head = CallHead {
            command,
            db: DbIndex(0),
            proto: Proto::Resp2,
            first_key,
            no_touch: false,
            replays: false,
        };
        let mut out = Vec::new();
        let call = Call { head, args: args.as_args() };
        self.shard.run(self.table.spec(command), call, now(), &mut out).unwrap();
        let mut digest = DatasetDigest::default();
        digest.add(&out).unwrap();
        digest.to_string()
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now { unix_us: since.as_micros() as i64, mono: MonoUs(since.as_micros() as u64) }
}

/// The words of each command.
fn commands(stream: &[u8]) -> Vec<Vec<String>> {
    let mut reader = Reader::new(0);
    reader.feed(stream);
    let mut commands = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        if let Item::Command { args, .. } = item {
            commands.push(args.iter_from(0).map(|word| word.escape_ascii().to_string()).collect());
        }
    }
    assert_eq!(reader.tail().commands, stream.len() as u64);
    commands
}

/// Whether the commands are the same; moments may differ as the two clocks do.
fn same(expected: &[Vec<String>], actual: &[Vec<String>]) -> bool {
    let same_word = |(expected, actual): (&String, &String)| {
        let moment = |word: &String| word.parse::<i64>().ok().filter(|&ms| ms > 1_000_000_000_000);
        match (moment(expected), moment(actual)) {
            (Some(expected), Some(actual)) => expected.abs_diff(actual) < 5000,
            _ => expected == actual,
        }
    };
    expected.len() == actual.len()
        && expected.iter().zip(actual).all(|(expected, actual)| {
            expected.len() == actual.len() && expected.iter().zip(actual).all(same_word)
        })
}
