//! The conductor: when the data set is saved, and how far it has come. It runs on core 0.
//!
//! A save is one *cut* of all shards, which is a transaction, then each shard's own work, then one manifest:
//!
//! ```text
//! Cutting -> Writing (each shard reports) -> Naming (the manifest) -> over
//! ```
//!
//! Snapshots (BGSAVE, SAVE, save points) and rewrites of the append-only file (BGREWRITEAOF, growth, CONFIG SET
//! appendonly) go the same way, one at a time; what is asked for meanwhile is scheduled, or refused as Redis does.
//!
//! Not here: cutting, writing and files (`host::persist`, `storage`).

use crate::base::error::CommandError;
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::Now;
use crate::config::SavePoint;
use crate::storage::aofset::AofSet;
use crate::storage::snapshots::SnapshotFile;

/// What is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A snapshot, with its number.
    Snapshot {
        /// Milliseconds since the epoch, and larger than that of the one before.
        id: u64,
    },
    /// A snapshot that goes to replicas, and to no file.
    Sync,
    /// A snapshot that becomes one file with those of the other shards, for replicas that know only one.
    Export {
        /// Its number.
        id: u64,
        /// The merging of the shards' streams that its readers go on with; zero if none does.
        merging: u64,
    },
    /// The append-only file: from this cut on there are new increments, and a base of what was before.
    Rewrite {
        /// The number of the cut.
        cut: u64,
        /// Whether it begins this generation, which counts once it is whole.
        begins: Option<AofSet>,
    },
}

/// Who is told how it ended: a question of a core.
pub type Asker = (CoreId, u64);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SAVE: answered when it is over.
    Save,
    /// BGSAVE: answered at once.
    BackgroundSave {
        /// Whether it may wait for a rewrite to end.
        schedule: bool,
    },
    /// BGREWRITEAOF.
    Rewrite,
}

/// The immediate answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple string.
    Status(&'static str),
    /// An error.
    Error(CommandError),
    /// It comes when the save is over (`Order::Answer`).
    Later,
}

/// What the host is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Cut all shards, then say `cut_done`.
    Cut(Target),
    /// Write the manifest, then say `named`.
    Name {
        /// What of.
        target: Target,
        /// The shards' files, in their order; of a rewrite none.
        files: Vec<SnapshotFile>,
    },
    /// Make one file of these, which are of an export with this number.
    Join {
        /// The number.
        id: u64,
        /// The shards' files, in their order.
        files: Vec<SnapshotFile>,
    },
    /// Remove the files of a snapshot that did not come to its end.
    Discard(Vec<SnapshotFile>),
    /// A request that was answered `Later` has ended.
    Answer(Asker, Result<(), String>),
    /// A save has ended: all shards are to know.
    Ended(Target, Result<(), String>),
}

/// What INFO tells of saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaveStats {
    /// When the last snapshot ended well, or the server started: seconds since the epoch.
    pub last_save_secs: i64,
    /// Snapshots that ended well.
    pub saves: u64,
    /// Whether the last snapshot failed.
    pub snapshot_failed: bool,
    /// How long the last snapshot took, in seconds; none before the first.
    pub snapshot_took_secs: Option<u64>,
    /// Rewrites that ended well.
    pub rewrites: u64,
    /// Whether the last rewrite failed.
    pub rewrite_failed: bool,
    /// How long the last rewrite took, in seconds.
    pub rewrite_took_secs: Option<u64>,
    /// Rewrites that failed in a row.
    pub rewrite_failures: u32,
}

/// What the decision to save by itself is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automatic<'a> {
    /// `save`.
    pub points: &'a [SavePoint],
    /// Changes since the last snapshot, over all shards.
    pub changes: u64,
    /// `auto-aof-rewrite-percentage`; zero: never.
    pub growth_percent: u64,
    /// `auto-aof-rewrite-min-size`.
    pub min_bytes: u64,
    /// The append-only file's length, and what it was after the last rewrite; none where it is off.
    pub aof: Option<(u64, u64)>,
    /// The number of the newest cut.
    pub newest_cut: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Conductor {
    shards: u16,
    running: Option<Running>,
    snapshot_scheduled: bool,
    rewrite_scheduled: bool,
    last_id: u64,
    /// When a snapshot was last tried, in milliseconds since the epoch.
    tried_ms: i64,
    rewrite_failed_ms: i64,
    /// Figures for INFO.
    pub stats: SaveStats,
}

#[derive(Debug)]
struct Running {
    target: Target,
    askers: Vec<Asker>,
    began: Now,
    stage: Stage,
    files: Vec<Option<SnapshotFile>>,
    missing: u16,
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Cutting,
    Writing,
    Naming,
}

/// A snapshot that failed is tried again by itself after this (Redis: CONFIG_BGSAVE_RETRY_DELAY).
const RETRY_MS: i64 = 5_000;

/// A rewrite that failed is tried again by itself after this at first, doubled with each failure (Redis limits the rate
/// at which increments are made: AOF_REWRITE_LIMITE_THRESHOLD).
const REWRITE_RETRY_MS: i64 = 60_000;

const IN_PROGRESS: CommandError = CommandError::new("ERR Background save already in progress");

impl Conductor {
    /// Of so many shards; nothing is being saved.
    pub fn new(shards: u16, now: Now) -> Conductor {
        let stats = SaveStats { last_save_secs: now.unix_us / 1_000_000, ..SaveStats::default() };
        Conductor {
            shards,
            running: None,
            snapshot_scheduled: false,
            rewrite_scheduled: false,
            last_id: 0,
            tried_ms: 0,
            rewrite_failed_ms: 0,
            stats,
        }
    }

    /// What is being saved.
    pub fn target(&self) -> Option<Target> {
        self.running.as_ref().map(|running| running.target)
    }

    /// Since when, for INFO.
    pub fn began(&self) -> Option<Now> {
        self.running.as_ref().map(|running| running.began)
    }

    /// Whether a rewrite waits for a snapshot to end.
    pub fn is_rewrite_scheduled(&self) -> bool {
        self.rewrite_scheduled
    }

    /// A snapshot with this number is there from before: those to come have larger ones.
    pub fn loaded(&mut self, id: u64) {
        self.last_id = self.last_id.max(id);
    }

    /// A client asks.
    pub fn request(
        &mut self,
        request: Request,
        asker: Asker,
        (newest_cut, now): (u64, Now),
        orders: &mut Vec<Order>,
    ) -> Reply {
        match (request, self.target()) {
            (
                Request::Save | Request::BackgroundSave { .. },
                Some(Target::Snapshot { .. } | Target::Sync | Target::Export { .. }),
            ) => Reply::Error(IN_PROGRESS),
            // Redis can save in the foreground beside a rewrite; here one cut follows the other.
            (Request::Save, Some(Target::Rewrite { .. })) => Reply::Error(CommandError::new(
                "ERR Another child process is active (AOF?): can't SAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            )),
            (Request::BackgroundSave { schedule: true }, Some(Target::Rewrite { .. })) => {
                self.snapshot_scheduled = true;
                Reply::Status("Background saving scheduled")
            }
            (Request::BackgroundSave { schedule: false }, Some(Target::Rewrite { .. })) => {
                Reply::Error(CommandError::new(
                    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
                     order to schedule a BGSAVE whenever possible.",
                ))
            }
            (Request::Save, None) => {
                self.begin_snapshot(vec![asker], now, orders);
                Reply::Later
            }
            (Request::BackgroundSave { .. }, None) => {
                self.begin_snapshot(Vec::new(), now, orders);
                Reply::Status("Background saving started")
            }
            (Request::Rewrite, Some(Target::Rewrite { .. })) => Reply::Error(CommandError::new(
                "ERR Background append only file rewriting already in progress",
            )),
            (Request::Rewrite, Some(Target::Snapshot { .. } | Target::Sync | Target::Export { .. })) => {
                self.rewrite_scheduled = true;
                // What it waits for is over soon; then nothing holds it back.
                self.forget_rewrite_failure();
                Reply::Status("Background append only file rewriting scheduled")
            }
            (Request::Rewrite, None) => {
                self.begin_rewrite(newest_cut, None, Vec::new(), now, orders);
                Reply::Status("Background append only file rewriting started")
            }
        }
    }

    /// A snapshot for the server's own sake (SHUTDOWN SAVE, DEBUG RELOAD); `false` if something else is being saved.
    pub fn begin_snapshot(&mut self, askers: Vec<Asker>, now: Now, orders: &mut Vec<Order>) -> bool {
        let id = (now.unix_ms().0.max(0) as u64).max(self.last_id + 1);
        let begins = self.begin(Target::Snapshot { id }, askers, now, orders);
        if begins {
            self.snapshot_scheduled = false;
            self.tried_ms = now.unix_ms().0;
            self.last_id = id;
        }
        begins
    }

    /// A rewrite, perhaps one that begins a generation. `false` if something else is being saved.
    pub fn begin_rewrite(
        &mut self,
        newest_cut: u64,
        begins: Option<AofSet>,
        askers: Vec<Asker>,
        now: Now,
        orders: &mut Vec<Order>,
    ) -> bool {
        let cut = if begins.is_some() { 1 } else { newest_cut + 1 };
        let has_begun = self.begin(Target::Rewrite { cut, begins }, askers, now, orders);
        if has_begun {
            self.rewrite_scheduled = false;
        }
        has_begun
    }

    /// A snapshot for replicas. `false` if something else is being saved.
    pub fn begin_sync(&mut self, now: Now, orders: &mut Vec<Order>) -> bool {
        self.begin(Target::Sync, Vec::new(), now, orders)
    }

    /// A snapshot for replicas that know only one file: its number. None if something else is being saved.
    pub fn begin_export(&mut self, merging: u64, now: Now, orders: &mut Vec<Order>) -> Option<u64> {
        let id = (now.unix_ms().0.max(0) as u64).max(self.last_id + 1);
        if !self.begin(Target::Export { id, merging }, Vec::new(), now, orders) {
            return None;
        }
        self.last_id = id;
        Some(id)
    }

    fn begin(&mut self, target: Target, askers: Vec<Asker>, now: Now, orders: &mut Vec<Order>) -> bool {
        if self.running.is_some() {
            return false;
        }
        self.running = Some(Running {
            target,
            askers,
            began: now,
            stage: Stage::Cutting,
            files: vec![None; usize::from(self.shards)],
            missing: self.shards,
            failure: None,
        });
        orders.push(Order::Cut(target));
        true
    }

    /// All shards were cut. Shards may have done their parts before: the transaction ends when they all have told.
    pub fn cut_done(&mut self, now: Now, orders: &mut Vec<Order>) {
        if let Some(running) = &mut self.running {
            debug_assert_eq!(running.stage, Stage::Cutting);
            running.stage = Stage::Writing;
        }
        self.look_at_shards(now, orders);
    }

    /// A shard has done its part: of a snapshot its file. It may have before `cut_done`.
    pub fn shard_done(
        &mut self,
        shard: ShardId,
        result: Result<Option<SnapshotFile>, String>,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        let Some(running) = &mut self.running else { return };
        running.missing -= 1;
        match result {
            Ok(file) => running.files[shard.index()] = file,
            Err(reason) => running.failure = running.failure.take().or(Some(reason)),
        }
        self.look_at_shards(now, orders);
    }

    /// Once all shards were cut, and have done their parts, the manifest is written.
    fn look_at_shards(&mut self, now: Now, orders: &mut Vec<Order>) {
        let Some(running) = &mut self.running else { return };
        if running.missing > 0 || running.stage != Stage::Writing {
            return;
        }
        let files: Vec<_> = running.files.iter_mut().filter_map(Option::take).collect();
        if let Some(reason) = running.failure.take() {
            if !files.is_empty() {
                orders.push(Order::Discard(files));
            }
            self.end(Err(reason), now, orders);
            return;
        }
        running.stage = Stage::Naming;
        match running.target {
            // Each shard has put its base into its own manifest; nothing is to be said about all.
            Target::Sync | Target::Rewrite { begins: None, .. } => self.end(Ok(()), now, orders),
            Target::Export { id, .. } => {
                orders.push(Order::Join { id, files });
                self.end(Ok(()), now, orders);
            }
            target => orders.push(Order::Name { target, files }),
        }
    }

    /// The manifest is written, or could not be.
    pub fn named(&mut self, result: Result<(), String>, now: Now, orders: &mut Vec<Order>) {
        if self.running.as_ref().is_some_and(|running| running.stage == Stage::Naming) {
            self.end(result, now, orders);
        }
    }

    fn end(&mut self, result: Result<(), String>, now: Now, orders: &mut Vec<Order>) {
        let Some(running) = self.running.take() else { return };
        let took_secs = now.mono.since(running.began.mono) / 1_000_000;
        let failed = result.is_err();
        match running.target {
            Target::Snapshot { .. } => {
                self.stats.snapshot_failed = failed;
                self.stats.snapshot_took_secs = Some(took_secs);
                if !failed {
                    self.stats.saves += 1;
                    self.stats.last_save_secs = now.unix_us.div_euclid(1_000_000);
                }
            }
            Target::Sync | Target::Export { .. } => {}
            Target::Rewrite { .. } => {
                self.stats.rewrite_failed = failed;
                self.stats.rewrite_took_secs = Some(took_secs);
                match failed {
                    true => {
                        self.stats.rewrite_failures = self.stats.rewrite_failures.saturating_add(1);
                        self.rewrite_failed_ms = now.unix_ms().0;
                    }
                    false => {
                        self.stats.rewrites += 1;
                        self.stats.rewrite_failures = 0;
                    }
                }
            }
        }
        for asker in running.askers {
            orders.push(Order::Answer(asker, result.clone()));
        }
        orders.push(Order::Ended(running.target, result));
    }

    /// What has been waiting, and what the configuration asks for by itself, begins.
    pub fn tick(&mut self, automatic: &Automatic<'_>, now: Now, orders: &mut Vec<Order>) {
        if self.running.is_some() {
            return;
        }
        let now_ms = now.unix_ms().0;
        if self.rewrite_scheduled && automatic.aof.is_some() && self.may_rewrite(now_ms) {
            self.begin_rewrite(automatic.newest_cut, None, Vec::new(), now, orders);
            return;
        }
        // What has just failed is left alone for a while.
        let may_try = !self.stats.snapshot_failed || now_ms - self.tried_ms > RETRY_MS;
        if self.snapshot_scheduled && may_try {
            self.begin_snapshot(Vec::new(), now, orders);
            return;
        }
        let since_secs = now.unix_us.div_euclid(1_000_000) - self.stats.last_save_secs;
        let is_due = |point: &&SavePoint| {
            automatic.changes >= point.changes
                && since_secs > i64::try_from(point.after_secs).unwrap_or(i64::MAX)
        };
        if let Some(point) = automatic.points.iter().find(is_due).filter(|_| may_try) {
            tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.after_secs);
            self.begin_snapshot(Vec::new(), now, orders);
            return;
        }
        let Some((bytes, base_bytes)) = automatic.aof else { return };
        if automatic.growth_percent == 0 || bytes <= automatic.min_bytes || !self.may_rewrite(now_ms) {
            return;
        }
        let base_bytes = base_bytes.max(1);
        let growth = (bytes * 100 / base_bytes).saturating_sub(100);
        if growth >= automatic.growth_percent {
            tracing::info!("Starting automatic rewriting of AOF on {growth}% growth");
            self.begin_rewrite(automatic.newest_cut, None, Vec::new(), now, orders);
        }
    }

    /// The next rewrite need not wait because one has failed: somebody asks for it.
    pub fn forget_rewrite_failure(&mut self) {
        self.rewrite_failed_ms = 0;
    }

    /// Whether a rewrite may begin by itself: one that has failed is left alone for a while.
    pub fn may_rewrite(&self, now_ms: i64) -> bool {
        let doublings = self.stats.rewrite_failures.saturating_sub(1).min(6);
        self.stats.rewrite_failures == 0 || now_ms - self.rewrite_failed_ms > REWRITE_RETRY_MS << doublings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::MonoUs;

    const ASKER: Asker = (CoreId(0), 7);

    fn at(secs: i64) -> Now {
        Now { unix_us: (1_000_000 + secs) * 1_000_000, mono: MonoUs(secs as u64 * 1_000_000) }
    }

    fn file(shard: u16) -> SnapshotFile {
        SnapshotFile { name: format!("f{shard}"), bytes: 1, crc64: 2, keys: 3 }
    }

    fn quiet() -> Automatic<'static> {
        Automatic { points: &[], changes: 0, growth_percent: 0, min_bytes: 0, aof: None, newest_cut: 4 }
    }

    #[test]
    fn a_save_is_cut_written_named_and_answered() {
        let (mut conductor, mut orders) = (Conductor::new(2, at(0)), Vec::new());
        assert_eq!(conductor.request(Request::Save, ASKER, (0, at(1)), &mut orders), Reply::Later);
        let [Order::Cut(target)] = orders[..] else { panic!("{orders:?}") };
        orders.clear();
        conductor.shard_done(ShardId(1), Ok(Some(file(1))), at(2), &mut orders);
        conductor.cut_done(at(2), &mut orders);
        assert!(orders.is_empty());
        conductor.shard_done(ShardId(0), Ok(Some(file(0))), at(2), &mut orders);
        assert_eq!(orders, [Order::Name { target, files: vec![file(0), file(1)] }]);
        orders.clear();
        conductor.named(Ok(()), at(3), &mut orders);
        assert_eq!(orders, [Order::Answer(ASKER, Ok(())), Order::Ended(target, Ok(()))]);
        assert_eq!((conductor.stats.saves, conductor.stats.snapshot_took_secs), (1, Some(2)));
        assert_eq!(conductor.stats.last_save_secs, 1_000_003);
    }

    #[test]
    fn shards_that_have_done_their_parts_wait_for_the_cut_to_end() {
        let (mut conductor, mut orders) = (Conductor::new(1, at(0)), Vec::new());
        conductor.request(Request::Rewrite, ASKER, (4, at(1)), &mut orders);
        orders.clear();
        conductor.shard_done(ShardId(0), Ok(None), at(2), &mut orders);
        assert!(orders.is_empty() && conductor.target().is_some());
        conductor.cut_done(at(2), &mut orders);
        assert!(matches!(orders[..], [Order::Ended(_, Ok(()))]));
    }

    #[test]
    fn one_shard_that_fails_fails_the_save_and_nothing_is_left_of_the_others() {
        let (mut conductor, mut orders) = (Conductor::new(2, at(0)), Vec::new());
        conductor.request(Request::Save, ASKER, (0, at(1)), &mut orders);
        conductor.cut_done(at(1), &mut orders);
        orders.clear();
        conductor.shard_done(ShardId(0), Ok(Some(file(0))), at(2), &mut orders);
        conductor.shard_done(ShardId(1), Err("full".to_owned()), at(2), &mut orders);
        assert_eq!(orders[0], Order::Discard(vec![file(0)]));
        assert_eq!(orders[1], Order::Answer(ASKER, Err("full".to_owned())));
        assert!(matches!(&orders[2], Order::Ended(_, Err(reason)) if reason == "full"));
        assert!(conductor.stats.snapshot_failed && conductor.target().is_none());
    }

    #[test]
    fn what_is_asked_for_meanwhile_is_refused_or_scheduled_as_redis_does() {
        let (mut conductor, mut orders) = (Conductor::new(1, at(0)), Vec::new());
        let ask = |conductor: &mut Conductor, request| {
            let mut orders = Vec::new();
            conductor.request(request, ASKER, (4, at(1)), &mut orders)
        };
        let background = Request::BackgroundSave { schedule: false };
        assert_eq!(ask(&mut conductor, background), Reply::Status("Background saving started"));
        assert_eq!(ask(&mut conductor, background), Reply::Error(IN_PROGRESS));
        assert_eq!(ask(&mut conductor, Request::Save), Reply::Error(IN_PROGRESS));
        let scheduled = Reply::Status("Background append only file rewriting scheduled");
        assert_eq!(ask(&mut conductor, Request::Rewrite), scheduled);
        conductor.cut_done(at(2), &mut orders);
        conductor.shard_done(ShardId(0), Ok(Some(file(0))), at(2), &mut orders);
        conductor.named(Ok(()), at(2), &mut orders);
        orders.clear();
        conductor.tick(&Automatic { aof: Some((0, 0)), ..quiet() }, at(3), &mut orders);
        assert_eq!(orders, [Order::Cut(Target::Rewrite { cut: 5, begins: None })]);
        assert!(matches!(ask(&mut conductor, background), Reply::Error(_)));
        let schedule = Request::BackgroundSave { schedule: true };
        assert_eq!(ask(&mut conductor, schedule), Reply::Status("Background saving scheduled"));
        conductor.cut_done(at(2), &mut orders);
        conductor.shard_done(ShardId(0), Ok(None), at(4), &mut orders);
        orders.clear();
        conductor.tick(&quiet(), at(5), &mut orders);
        assert!(matches!(orders[..], [Order::Cut(Target::Snapshot { .. })]));
    }

    #[test]
    fn save_points_and_growth_begin_a_save() {
        let (mut conductor, mut orders) = (Conductor::new(1, at(0)), Vec::new());
        let points = [SavePoint { after_secs: 60, changes: 10 }];
        let automatic = Automatic { points: &points, changes: 10, ..quiet() };
        conductor.tick(&automatic, at(60), &mut orders);
        assert!(orders.is_empty(), "60 seconds have not passed");
        conductor.tick(&Automatic { changes: 9, ..automatic.clone() }, at(61), &mut orders);
        assert!(orders.is_empty(), "not enough changes");
        conductor.tick(&automatic, at(61), &mut orders);
        assert_eq!(orders.len(), 1);
        conductor.cut_done(at(2), &mut orders);
        conductor.shard_done(ShardId(0), Err("x".to_owned()), at(61), &mut orders);
        orders.clear();
        conductor.tick(&automatic, at(64), &mut orders);
        assert!(orders.is_empty(), "it has just failed");
        let grown = Automatic { growth_percent: 100, min_bytes: 64, aof: Some((200, 100)), ..quiet() };
        conductor.tick(&Automatic { aof: Some((199, 100)), ..grown.clone() }, at(64), &mut orders);
        assert!(orders.is_empty());
        conductor.tick(&grown, at(64), &mut orders);
        assert_eq!(orders, [Order::Cut(Target::Rewrite { cut: 5, begins: None })]);
    }

    #[test]
    fn numbers_of_snapshots_grow_whatever_the_clock_does() {
        let (mut conductor, mut orders) = (Conductor::new(1, at(0)), Vec::new());
        conductor.loaded(9_999_999_999_999_999);
        conductor.begin_snapshot(Vec::new(), at(1), &mut orders);
        assert_eq!(orders, [Order::Cut(Target::Snapshot { id: 10_000_000_000_000_000 })]);
    }
}
