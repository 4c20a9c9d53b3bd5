//! Random commands of every family, recorded while time goes on; then the record is done again on an empty shard, at
//! another time, and the data must be the same.

use super::differential::pick;
use super::harness::{dump, Harness};
use super::{bitmap, generic, hash, hyperloglog, list, set, zset};
use crate::base::ids::DbIndex;
use crate::base::prng::Prng;
use crate::base::time::UnixMs;
use crate::ds::collection::{EncodingLimits, PackedLimits};
use crate::journal::REPLAY_TIME;
use crate::keyspace::{EvictionOptions, EvictionOrder, KeyspaceOptions};

const SEEDS: u64 = 12;
const ROUNDS: usize = 4000;

#[test]
fn what_was_recorded_can_be_done_again() {
    for seed in 0..SEEDS {
        let mut prng = Prng::new(seed);
        let mut shard = Harness::new();
        shard.record();
        // Half of the runs have everything in the large encodings.
        if seed % 2 == 1 {
            small_limits(&mut shard);
        }
        let mut again = Harness::new();
        again.now_ms = REPLAY_TIME.0;
        for round in 1..=ROUNDS {
            step(&mut shard, &mut prng);
            if round % 100 == 0 {
                again.replay(&shard.taken());
                assert_same(&mut shard, &mut again, &format!("seed {seed}, round {round}"));
            }
        }
        assert!(shard.keyspace.stats().expired_keys > 20, "keys have expired meanwhile");
    }
}

/// As above, each command by itself: for finding out which one it is.
#[test]
#[ignore = "slow"]
fn each_record_can_be_done_again() {
    for seed in 0..SEEDS {
        let mut prng = Prng::new(seed);
        let mut shard = Harness::new();
        shard.record();
        if seed % 2 == 1 {
            small_limits(&mut shard);
        }
        let mut again = Harness::new();
        again.now_ms = REPLAY_TIME.0;
        for round in 1..=ROUNDS {
            let shown = step(&mut shard, &mut prng);
            let taken = shard.taken();
            again.replay(&taken);
            let what = format!("seed {seed}, round {round}: {shown}, recorded {}", taken.escape_ascii());
            assert_same(&mut shard, &mut again, &what);
        }
    }
}

fn assert_same(shard: &mut Harness, again: &mut Harness, what: &str) {
    let now = UnixMs(shard.now_ms);
    let (mut expected, mut actual) = (dump(&mut shard.keyspace, now), dump(&mut again.keyspace, now));
    // Only what differs is of interest.
    let same: Vec<_> = expected.iter().filter(|(key, value)| actual.get(key) == Some(value)).collect();
    let same: Vec<_> = same.into_iter().map(|(key, _)| key.clone()).collect();
    for key in same {
        expected.remove(&key);
        actual.remove(&key);
    }
    assert_eq!(actual, expected, "{what}");
}

fn small_limits(shard: &mut Harness) {
    let packed = PackedLimits { entries: 2, value_bytes: 8 };
    let encodings = EncodingLimits {
        hash: packed,
        set: packed,
        zset: packed,
        set_intset_entries: 3,
        list_node: 3,
        ..EncodingLimits::default()
    };
    shard.keyspace.set_options(KeyspaceOptions { encodings, ..KeyspaceOptions::default() });
}

/// Something happens; what.
fn step(shard: &mut Harness, prng: &mut Prng) -> String {
    let now = UnixMs(shard.now_ms);
    match prng.below(100) {
        0..20 => {
            shard.now_ms += prng.below(4) as i64;
            "time passes".to_owned()
        }
        20..25 => {
            shard.keyspace.expire_step(now, 1 + prng.below(20) as usize);
            shard.record_removals();
            "the expiry cycle".to_owned()
        }
        25 if prng.below(4) == 0 => {
            let eviction = EvictionOptions {
                order: EvictionOrder::Random,
                volatile_only: prng.below(2) == 0,
                samples: 5,
            };
            let options = shard.keyspace.options().clone();
            shard.keyspace.set_options(KeyspaceOptions { eviction, ..options.clone() });
            shard.keyspace.evict_step(now, 1, 1);
            shard.keyspace.set_options(options);
            shard.record_removals();
            "eviction".to_owned()
        }
        26 if prng.below(2) == 0 => {
            shard.db = DbIndex(prng.below(3) as u16);
            "SELECT".to_owned()
        }
        _ => {
            let args = command(prng, shard.now_ms);
            let args: Vec<_> = args.into_iter().filter(|arg| arg.len() < 1000).collect();
            let shown = args.iter().map(|arg| arg.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
            if args.is_empty() || args[0].eq_ignore_ascii_case(b"select") || args.len() == 1 {
                return shown;
            }
            shard.run_args(&args);
            shown
        }
    }
}

/// A command of any family; many of those on lifetimes, which are short.
pub(crate) fn command(prng: &mut Prng, now_ms: i64) -> Vec<Vec<u8>> {
    let line = |line: String| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    match prng.below(100) {
        0..12 => super::differential::command(prng),
        12..24 => list::differential::request(prng),
        24..36 => set::differential::command(prng),
        36..48 => zset::differential::command(prng),
        48..60 => hash::differential::command(prng),
        60..66 => bitmap::differential::command(prng).into_iter().map(String::into_bytes).collect(),
        66..70 => hyperloglog::differential::command(prng),
        70..76 => {
            let round = prng.below(1000);
            line(generic::differential::command(prng, round))
        }
        76..80 => {
            line(generic::sort_differential::command(prng).replace('~', "")).into_iter().collect::<Vec<_>>()
        }
        _ => line(on_lifetimes(prng, now_ms)),
    }
}

fn on_lifetimes(prng: &mut Prng, now_ms: i64) -> String {
    const KEYS: &[&str] =
        &["a", "b", "c", "d", "k0", "k1", "k2", "k3", "h0", "h1", "h2", "l", "l0", "s", "s0", "s1", "z", "e"];
    const FIELDS: &[&str] = &["a", "b", "c", "d", "f", "f0", "f1", "f2", "1", "12", "x"];
    let (key, hash) = (pick(prng, KEYS), pick(prng, &["h0", "h1", "h2", "h"]));
    let field = |prng: &mut Prng| pick(prng, FIELDS);
    let (one, two) = (field(prng), field(prng));
    let ms = prng.below(60) as i64 - 3;
    let condition = pick(prng, &["", "", "", " NX", " XX", " GT", " LT"]);
    let lifetime = match prng.below(4) {
        0 => format!("PX {}", ms.max(1)),
        1 => format!("PXAT {}", now_ms + ms),
        2 => "EX 1".to_owned(),
        _ => format!("EXAT {}", now_ms / 1000 + ms / 20),
    };
    match prng.below(24) {
        0 | 1 => format!("PEXPIRE {key} {ms}{condition}"),
        2 => format!("PEXPIREAT {key} {}{condition}", now_ms + ms),
        3 => format!("PERSIST {key}"),
        4 => format!("SET {key} {} {lifetime}", prng.below(100)),
        5 => format!("SET {key} 7 GET{condition}").replace(" GT", " KEEPTTL").replace(" LT", " KEEPTTL NX"),
        6 => format!("GETEX {key} {}", [lifetime, "PERSIST".to_owned()][prng.below(2) as usize]),
        7 => format!("PSETEX {key} {ms} v"),
        8 => format!("INCR {key}"),
        9..=11 => format!("HPEXPIRE {hash} {ms}{condition} FIELDS 2 {one} {two}"),
        12 => format!("HPEXPIREAT {hash} {}{condition} FIELDS 1 {one}", now_ms + ms),
        13 => format!("HPERSIST {hash} FIELDS 2 {one} {two}"),
        14 => {
            let word = ["PERSIST".to_owned(), lifetime, String::new()][prng.below(3) as usize].clone();
            format!("HGETEX {hash} {word} FIELDS 2 {one} {two}").replace("  ", " ")
        }
        15 | 16 => {
            let word = ["KEEPTTL".to_owned(), lifetime, String::new()][prng.below(3) as usize].clone();
            let condition = pick(prng, &["", "", "FNX ", "FXX ", "NX ", "XX "]);
            format!("HSETEX {hash} {condition}{word} FIELDS 2 {one} {} {two} 2", prng.below(9))
                .replace("  ", " ")
        }
        17 => format!("HGETDEL {hash} FIELDS 2 {one} {two}"),
        18 => format!("HSETNX {hash} {one} {}", prng.below(9)),
        19 => format!("HINCRBY {hash} {one} {}", prng.below(9)),
        20 => format!("HINCRBYFLOAT {hash} {one} 0.{}", prng.below(9)),
        21 => format!("HDEL {hash} {one} {two}"),
        22 => format!("HSET {hash} {one} {} {two} x", prng.below(9)),
        _ => format!("COPY {key} {} REPLACE", pick(prng, KEYS)),
    }
}
