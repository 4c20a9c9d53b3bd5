//! `command` and `shard`: finding a command, and one command through `Shard::run`, on few keys, so that what is
//! measured is the command and not the memory.

use std::sync::Arc;

use divan::{black_box, Bencher};
use ringward::base::ids::{DbIndex, ShardId};
use ringward::base::key::KeyHasher;
use ringward::base::time::{MonoUs, Now};
use ringward::command::ctx::CommandOptions;
use ringward::command::effects::LazyFree;
use ringward::command::Table;
use ringward::keyspace::{Keyspace, KeyspaceOptions};
use ringward::resp::{OwnedArgs, Proto};
use ringward::shard::{Call, CallHead, Shard};

#[divan::bench(args = ["GET", "get", "SET", "PEXPIREAT", "nosuchcommand"])]
fn find(bencher: Bencher<'_, '_>, name: &str) {
    let table = Table::new(&[]).expect("the command table");
    bencher.bench_local(|| table.find(black_box(name.as_bytes())));
}

#[divan::bench(args = [
    "EXISTS nosuchkey",
    "GET key",
    "GET number",
    "SET key xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "SET number 12345",
    "SET key xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx PX 100000",
    "INCR number",
    "MGET key key key key key key key key key key",
    "DEL nosuchkey",
    "TTL key",
])]
fn run(bencher: Bencher<'_, '_>, line: &str) {
    let table = Arc::new(Table::new(&[]).expect("the command table"));
    let hasher = KeyHasher::new([1, 2, 3, 4]);
    let keyspace = Keyspace::new(16, hasher.clone(), KeyspaceOptions::default());
    let options = CommandOptions {
        string_bytes_max: 512 * 1024 * 1024,
        databases: 16,
        lfu: false,
        compresses_dumps: true,
        lazyfree: LazyFree::default(),
    };
    let mut shard = Shard::new(ShardId(0), 1, table.clone(), keyspace, options, 1);
    let now = Now { unix_us: 1_700_000_000_000_000, mono: MonoUs(1) };
    let mut out = Vec::new();
    let mut run = |line: &str, times: Option<Bencher<'_, '_>>| {
        let args = OwnedArgs::collect(line.split(' ').map(str::as_bytes));
        let args = args.as_args();
        let command = table.find(args.at(0)).expect("a command");
        let spec = table.spec(command);
        let head = CallHead {
            command,
            db: DbIndex(0),
            proto: Proto::Resp2,
            first_key: hasher.hash(args.at(1)),
            no_touch: false,
            replays: false,
        };
        let mut once = || {
            out.clear();
            let result = shard.run(spec, black_box(Call { head, args }), now, &mut out);
            assert!(result.is_ok());
        };
        match times {
            Some(bencher) => bencher.bench_local(once),
            None => once(),
        }
    };
    for n in 0..1000 {
        run(&format!("SET other:{n} {n}"), None);
    }
    run(&format!("SET key {}", "x".repeat(32)), None);
    run("SET number 12345", None);
    run(line, Some(bencher));
}
