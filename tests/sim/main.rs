//! The simulator: a whole node of several cores, with its clients, in one thread and repeatable by a number, and a
//! checker that says whether what the clients saw is what one machine doing one thing at a time could have shown them.
//!
//! ```sh
//! cargo test --test sim                                  # some hundreds of seeds
//! SIM_SEED=77 cargo test --test sim -- --nocapture       # one seed, with all that happens
//! SIM_SEEDS=100000 cargo test --release --test sim       # many, from SIM_FROM or 1 on; SIM_MINUTES=30
//! SIM_SURVEY=1 cargo test --test sim -- --nocapture      # goes on after a failure and tells of each in short
//! ```
//!
//! `world` is a node with its clients, and what happens in it; `node` stands for the runtime, `mesh` carries the mail;
//! `workload` makes the requests, `model` says what they mean, `checker` looks for an order that explains the replies.
//!
//! `crash` has a node that is stopped at any moment and starts again from what its `disk` has kept; `survival` says
//! what that may be. `cluster` has several nodes. `SIM_SEED` and the others are for their tests, too: `cargo test
//! --test sim crash`.
//!
//! What is not simulated is `runtime`.

mod checker;
mod cluster;
mod crash;
mod disk;
mod history;
mod mesh;
mod model;
mod node;
mod reply;
mod survival;
mod trace;
mod workload;
mod world;

use std::fmt::Debug;
use std::ops::AddAssign;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checker::Verdict;
use cluster::{Cluster, Counts, Tampering};
use crash::{CrashWorld, Crashes};
use disk::Lie;
use mesh::{Attempts, Sabotage};
use ringward::base::prng::Prng;
use ringward::command::Table;
use trace::{Logged, Trace};
use tracing_subscriber::layer::SubscriberExt;
use world::{Settings, World, START_MS};

/// How many seeds `cargo test` plays.
const SEEDS: u64 = 300;

/// Seeds that once failed: `seed # what it found`.
const SEEDS_THAT_FAILED: &str = include_str!("seeds.txt");

/// The same of the cluster.
const CLUSTER_SEEDS: u64 = 70;
const CLUSTER_SEEDS_THAT_FAILED: &str = include_str!("cluster/seeds.txt");

/// The same with crashes.
const CRASH_SEEDS: u64 = 150;

/// Within so many seeds a mistake that is planted is to be found.
const CLUSTER_CANARY_SEEDS: u64 = 300;

/// What a seed came to.
struct Played {
    operations: usize,
    worlds: usize,
    trace_hash: u64,
    attempts: Attempts,
    is_decided: bool,
}

fn table() -> Arc<Table> {
    Arc::new(Table::new(&[]).expect("the table is sound"))
}

/// Plays a seed and checks what came of it.
fn play(seed: u64, table: &Arc<Table>, sabotage: Option<Sabotage>, is_shown: bool) -> Result<Played, String> {
    let mut rng = Prng::new(seed);
    let settings = match sabotage {
        None => Settings::draw(&mut rng, table),
        Some(_) => Settings::draw_for_sabotage(&mut rng, table),
    };
    let shards = settings.swarm.shards;
    let world = World::new(seed, settings, table.clone(), sabotage, Trace::new(is_shown));
    let (history, trace_hash, attempts) = world.run()?;
    let played = |worlds, is_decided| {
        let operations = history.operations.len();
        Played { operations, worlds, trace_hash, attempts, is_decided }
    };
    match checker::check(&history, model::State::new(START_MS), shards) {
        Verdict::Explained { worlds } => Ok(played(worlds, true)),
        Verdict::Undecided => Ok(played(0, false)),
        Verdict::Unexplained { at, why } => {
            Err(format!("no order of the commands explains the last event:\n{}{why}", history.excerpt(at)))
        }
    }
}

/// The same, where a panic is a failure, too.
fn play_safely(
    seed: u64,
    table: &Arc<Table>,
    sabotage: Option<Sabotage>,
    is_shown: bool,
) -> Result<Played, String> {
    safely(|| play(seed, table, sabotage, is_shown))
}

fn safely<T>(play: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without words")))
    })
}

/// Plays a seed; where it fails, once more with all that happens.
fn must_hold(seed: u64, table: &Arc<Table>) -> Played {
    play_safely(seed, table, None, false).unwrap_or_else(|error| {
        println!("SIM_SEED={seed} fails; what happens in it:");
        let again = play_safely(seed, table, None, true).err();
        assert_eq!(again.as_ref(), Some(&error), "the second time it went otherwise");
        panic!("SIM_SEED={seed} cargo test --test sim: {error}");
    })
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seeds_of(lines: &str) -> impl Iterator<Item = u64> + use<'_> {
    lines.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}

#[test]
fn every_history_is_strictly_serializable() {
    let table = table();
    if let Some(seed) = number_from_env("SIM_SEED") {
        println!("SIM_SEED={seed}");
        let played =
            play(seed, &table, None, true).unwrap_or_else(|error| panic!("SIM_SEED={seed}: {error}"));
        println!("{} operations, at most {} worlds at a time", played.operations, played.worlds);
        return;
    }
    let from = number_from_env("SIM_FROM").unwrap_or(1);
    let minutes = number_from_env("SIM_MINUTES");
    let count = number_from_env("SIM_SEEDS").unwrap_or(if minutes.is_some() { u64::MAX } else { SEEDS });
    println!("SIM_FROM={from} SIM_SEEDS={count}");
    let start = Instant::now();
    let limit = minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let goes_on = number_from_env("SIM_SURVEY").is_some();
    let (mut seeds, mut operations, mut undecided, mut failed) = (0u64, 0, 0u64, 0u64);
    let mut attempts = Attempts::default();
    while seeds < count && limit.is_none_or(|limit| start.elapsed() < limit) {
        let seed = from.wrapping_add(seeds);
        seeds += 1;
        let played = if goes_on {
            match play_safely(seed, &table, None, false) {
                Ok(played) => played,
                Err(error) => {
                    failed += 1;
                    println!("SIM_SEED={seed}: {error}");
                    continue;
                }
            }
        } else {
            must_hold(seed, &table)
        };
        operations += played.operations;
        attempts += played.attempts;
        undecided += u64::from(!played.is_decided);
    }
    println!("{seeds} seeds, {operations} operations, {undecided} undecided, {:.1?}", start.elapsed());
    println!("of transactions tried directly: {attempts:?}");
    if seeds >= SEEDS {
        let Attempts { ran, refused, changed } = attempts;
        assert!(ran > 0 && refused > 0 && changed > 0, "{attempts:?}");
    }
    assert_eq!(failed, 0, "seeds that failed");
    assert!(undecided * 50 <= seeds, "{undecided} of {seeds} histories have too many orders to be checked");
}

#[test]
fn a_seed_always_plays_the_same() {
    let table = table();
    let from = u64::from(std::process::id()) << 20;
    for seed in from..from + 20 {
        let first = must_hold(seed, &table);
        let second = must_hold(seed, &table);
        assert_eq!(first.trace_hash, second.trace_hash, "SIM_SEED={seed}");
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    let table = table();
    for seed in seeds_of(SEEDS_THAT_FAILED) {
        must_hold(seed, &table);
    }
}

/// Plays a seed of the cluster, where a panic is a failure, too.
fn play_cluster(
    seed: u64,
    table: &Arc<Table>,
    tampering: Option<Tampering>,
    is_shown: bool,
) -> Result<Counts, String> {
    safely(|| Cluster::new(seed, table, tampering, Trace::new(is_shown))?.run())
}

fn cluster_must_hold(seed: u64, table: &Arc<Table>) -> Counts {
    play_cluster(seed, table, None, false).unwrap_or_else(|error| {
        println!("SIM_SEED={seed} of the cluster fails; what happens in it:");
        let again = play_cluster(seed, table, None, true).err();
        assert_eq!(again.as_ref(), Some(&error), "the second time it went otherwise");
        panic!("SIM_SEED={seed} cargo test --test sim cluster: {error}");
    })
}

/// Plays the seeds that are asked for, each shown and alone if there is one of it: then nothing comes of it here. How
/// many there were, and what they came to.
fn play_seeds<T: Default + AddAssign + Debug>(
    default_count: u64,
    play: impl Fn(u64, bool) -> Result<T, String>,
    must_hold: impl Fn(u64) -> T,
) -> Option<(u64, T)> {
    if let Some(seed) = number_from_env("SIM_SEED") {
        println!("SIM_SEED={seed}");
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(Logged));
        let result = play(seed, true).unwrap_or_else(|error| panic!("SIM_SEED={seed}: {error}"));
        println!("{result:?}");
        return None;
    }
    let from = number_from_env("SIM_FROM").unwrap_or(1);
    let minutes = number_from_env("SIM_MINUTES");
    let default_count = if minutes.is_some() { u64::MAX } else { default_count };
    let count = number_from_env("SIM_SEEDS").unwrap_or(default_count);
    println!("SIM_FROM={from} SIM_SEEDS={count}");
    let start = Instant::now();
    let limit = minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let goes_on = number_from_env("SIM_SURVEY").is_some();
    let (mut seeds, mut failed) = (0u64, 0u64);
    let mut total = T::default();
    while seeds < count && limit.is_none_or(|limit| start.elapsed() < limit) {
        let seed = from.wrapping_add(seeds);
        seeds += 1;
        if !goes_on {
            total += must_hold(seed);
            continue;
        }
        match play(seed, false) {
            Ok(result) => total += result,
            Err(error) => {
                failed += 1;
                println!("SIM_SEED={seed}: {error}");
            }
        }
    }
    println!("{seeds} seeds, {total:?}, {:.1?}", start.elapsed());
    assert_eq!(failed, 0, "seeds that failed");
    Some((seeds, total))
}

#[test]
fn cluster_nodes_become_one_and_show_no_half_transaction() {
    let table = table();
    let play = |seed, is_shown| play_cluster(seed, &table, None, is_shown);
    let Some((seeds, total)) = play_seeds(CLUSTER_SEEDS, play, |seed| cluster_must_hold(seed, &table)) else {
        return;
    };
    if seeds >= CLUSTER_SEEDS {
        assert!(total.written > 0 && total.read > 0 && total.acknowledged > 0, "{total:?}");
    }
}

#[test]
fn cluster_seeds_always_play_the_same() {
    let table = table();
    let from = u64::from(std::process::id()) << 20;
    for seed in from..from + 3 {
        let hash = || cluster_must_hold(seed, &table).trace_hash;
        assert_eq!(hash(), hash(), "SIM_SEED={seed}");
    }
}

#[test]
fn cluster_seeds_that_once_failed_hold() {
    let table = table();
    for seed in seeds_of(CLUSTER_SEEDS_THAT_FAILED) {
        cluster_must_hold(seed, &table);
    }
}

/// The canaries of the cluster.
#[test]
fn cluster_mistakes_that_are_planted_are_found() {
    let table = table();
    for (tampering, words) in
        [(Tampering::Unannounced, "half of a transaction"), (Tampering::Dropped, "the data differs")]
    {
        let found = (0..CLUSTER_CANARY_SEEDS).find_map(|seed| {
            let error = play_cluster(seed, &table, Some(tampering), false).err()?;
            error.contains(words).then_some((seed, error))
        });
        let (seed, error) = found.unwrap_or_else(|| panic!("{tampering:?}, and nothing was noticed"));
        println!("{tampering:?}: seed {seed}: {error}");
    }
}

/// Plays a seed with crashes, where a panic is a failure, too.
fn play_crashes(seed: u64, table: &Arc<Table>, lie: Option<Lie>, is_shown: bool) -> Result<Crashes, String> {
    safely(|| CrashWorld::new(seed, table.clone(), lie, Trace::new(is_shown)).run())
}

fn crashes_must_hold(seed: u64, table: &Arc<Table>) -> Crashes {
    play_crashes(seed, table, None, false).unwrap_or_else(|error| {
        println!("SIM_SEED={seed} of the crashes fails; what happens in it:");
        let again = play_crashes(seed, table, None, true).err();
        assert_eq!(again.as_ref(), Some(&error), "the second time it went otherwise");
        panic!("SIM_SEED={seed} cargo test --test sim crash: {error}");
    })
}

#[test]
fn crashes_lose_nothing_that_was_promised() {
    let table = table();
    let play = |seed, is_shown| play_crashes(seed, &table, None, is_shown);
    let Some((seeds, total)) = play_seeds(CRASH_SEEDS, play, |seed| crashes_must_hold(seed, &table)) else {
        return;
    };
    if seeds >= CRASH_SEEDS {
        let Crashes { required, refused, resharded, .. } = total;
        assert!(required > 0 && refused > 0 && resharded > 0, "{total:?}");
    }
}

#[test]
fn crash_seeds_always_play_the_same() {
    let table = table();
    for seed in 1..=5 {
        let hash = || crashes_must_hold(seed, &table).trace_hash;
        assert_eq!(hash(), hash(), "SIM_SEED={seed}");
    }
}

/// Seeds of crashes that do not hold yet. In all of them the disk has failed a sync of one append-only file and refused
/// a switch to another increment; most likely the base that makes the sync good must wait until all have switched.
const CRASH_SEEDS_THAT_FAIL: [u64; 6] = [1219, 1490, 2703, 4975, 5812, 5921];

#[test]
#[ignore = "with a failed sync and a failed switch in one life something is lost: not fixed yet"]
fn crash_seeds_with_two_faults_at_once_hold() {
    let table = table();
    for seed in CRASH_SEEDS_THAT_FAIL {
        crashes_must_hold(seed, &table);
    }
}

/// The canaries of crashes.
#[test]
fn crash_disks_that_lie_are_found() {
    let table = table();
    for (lie, words) in [(Lie::Sync, "had to be there"), (Lie::Transactions, "half of a transaction")] {
        let found = (0..CRASH_SEEDS).find_map(|seed| {
            let error = play_crashes(seed, &table, Some(lie), false).err()?;
            error.contains(words).then_some((seed, error))
        });
        let (seed, error) = found.unwrap_or_else(|| panic!("{lie:?}, and nothing was noticed"));
        println!("{lie:?}: seed {seed}: {error}");
    }
}

/// The canary: if this is not found, the others would not be either.
#[test]
fn locks_that_are_let_go_too_early_are_found() {
    let table = table();
    let found = (0..SEEDS).find_map(|seed| {
        let error = play_safely(seed, &table, Some(Sabotage::EarlyFinish), false).err()?;
        Some((seed, error))
    });
    let (seed, error) = found.expect("half of an MSET was visible, and nothing was noticed");
    println!("seed {seed}: {error}");
    assert!(error.contains("no order of the commands"), "seed {seed}: {error}");
}
