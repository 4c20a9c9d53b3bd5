//! From the files to the data set, at start.
//!
//! Core 0 says what is next (`Phase`), every core does its share and reports. Of a shard's own log first the increments
//! are looked through (`Phase::Scan`): where their ends are torn, and which parts of transactions they hold. From all
//! of that core 0 finds where each is to be cut off (`storage::torn`), and only then are they run. What a foreign
//! server or another number of shards has written is read by every core, which takes its own keys from snapshots; the
//! commands of foreign logs run on core 0 as if a client sent them.
//!
//! Files are read in large pieces, two at a time: one is being read while the other is taken in, and clients are told
//! LOADING meanwhile.

mod foreign;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{aof_options, PersistMail};
use crate::base::ids::{CoreId, DbIndex, ShardId};
use crate::base::key::shard_of_key;
use crate::base::num::parse_u64;
use crate::base::time::{Now, Ticks};
use crate::command::spec::Run;
use crate::host::host::Host;
use crate::host::mail::Rare;
use crate::journal::track::Track;
use crate::journal::{self, Annotation, Item};
use crate::rdb;
use crate::resp::Args;
use crate::session::Wait;
use crate::shard::{Call, CallHead};
use crate::storage::aof::Aof;
use crate::storage::manifest::Manifest;
use crate::storage::op::{FileId, FileOp, Job, JobTag, Outcome, Owner};
use crate::storage::plan::{AofStart, Load, LoadFile, Log, Plan};
use crate::storage::torn::{self, PartMark, Place, Scan};

/// What the cores do next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet, or no more.
    #[default]
    Idle,
    /// Look through the increments of the own logs.
    Scan,
    /// On core 0: look through those that another number of shards has written.
    ScanForeign,
    /// Load each shard's own snapshot or log.
    Own,
    /// Take the own keys from all snapshots, and from the bases of foreign logs that are snapshots.
    ForeignSnapshots,
    /// On core 0: run the commands of foreign logs.
    ForeignCommands,
    /// Open the own logs to go on with them.
    Resume,
    /// Drop what was taken in of a primary's snapshot: it cannot be loaded as a whole.
    Drop,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// In which phase.
    pub phase: Phase,
    /// Keys that were taken in.
    pub keys: u64,
    /// Keys whose time had come.
    pub expired: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Commands that were answered with an error.
    pub errors: u64,
}

impl Summary {
    /// Adds what another core has loaded.
    pub fn add(&mut self, other: &Summary) {
        self.keys += other.keys;
        self.expired += other.expired;
        self.bytes += other.bytes;
        self.errors += other.errors;
    }
}

/// A core that loads.
#[derive(Debug)]
pub(in crate::host) struct Loading {
    plan: Arc<Plan>,
    phase: Phase,
    tasks: VecDeque<Task>,
    reading: Option<Reading>,
    summary: Summary,
    /// By place, or by foreign log: what the increments hold.
    scans: Vec<Scan>,
    /// The same of where their streams are.
    tracks: Vec<Track>,
    /// By shard, or by foreign log: where they are cut off.
    limits: Vec<Place>,
    /// On core 0: the session that runs foreign commands.
    session: Option<u32>,
    /// Where the commands begin in foreign files that begin with a snapshot.
    snapshots_end: BTreeMap<PathBuf, u64>,
    /// Why it has failed, once it has.
    failure: Option<String>,
    /// How many shards' logs are still to be opened.
    opening: usize,
    /// For progress: all bytes, those that are done, and when it began.
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    pub began: Now,
}

/// A file to be gone through.
#[derive(Clone, Debug)]
struct Task {
    /// For which of the core's shards; of foreign files for all.
    place: usize,
    file: LoadFile,
    kind: TaskKind,
    /// Where it begins, and where it ends, if that is before the file does.
    from: u64,
    until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskKind {
    /// Look through an increment.
    Scan,
    /// A shard's own file: a snapshot or commands, as its first bytes tell.
    Own,
    /// Keys from a snapshot; what is no snapshot is left for `ForeignCommands`.
    ForeignSnapshot,
    /// Commands, of this log.
    ForeignCommands(usize),
}

/// A file that is being read.
#[derive(Debug)]
struct Reading {
    task: Task,
    file: FileId,
    /// Where the next read begins.
    offset: u64,
    is_reading: bool,
    is_open: bool,
    /// Whether nothing more of it is wanted: only a read that is under way is waited for.
    is_over: bool,
    /// What was read and not taken in yet.
    chunks: VecDeque<Vec<u8>>,
    content: Content,
    /// The database that commands work on.
    db: DbIndex,
    spare: Vec<u8>,
    /// What the session that runs foreign commands was given last, and where each command begins there and in the file.
    given: Vec<u8>,
    places: Vec<(usize, u64)>,
}

/// What the file turned out to be.
#[derive(Debug)]
enum Content {
    /// Nothing was read yet.
    Unknown,
    Snapshot(Box<rdb::Reader>),
    Commands(Box<journal::Reader>),
}

/// How much is read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How many pieces are read ahead.
const CHUNKS_AHEAD: usize = 2;

/// How long a slice of loading may take: clients that ask meanwhile wait for it.
const SLICE_NS: u64 = 2_000_000;

/// How many items are taken in between two looks at the clock.
const ITEMS_PER_LOOK: usize = 256;

/// The reader's jobs, and those that close its files.
const READING: JobTag = JobTag { place: 0, owner: Owner::Load };
const CLOSING: JobTag = JobTag { place: 1, owner: Owner::Load };

/// How many commands of a core's files are shown in the log that were answered with an error, and how much of each.
const ERRORS_SHOWN: u64 = 10;
const COMMAND_CHARS_SHOWN: usize = 128;

impl Loading {
    fn new(plan: Arc<Plan>, local: usize, now: Now) -> Loading {
        Loading {
            plan,
            phase: Phase::Idle,
            tasks: VecDeque::new(),
            reading: None,
            summary: Summary::default(),
            scans: vec![Scan::default(); local],
            tracks: Vec::new(),
            limits: Vec::new(),
            session: None,
            snapshots_end: BTreeMap::new(),
            failure: None,
            opening: 0,
            total_bytes: 0,
            loaded_bytes: 0,
            began: now,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number of the newest cut, that all shards are to be at when they serve.
    pub(super) fn newest_cut(&self) -> u64 {
        let Load::OwnLogs(logs) = &self.plan.load else { return 0 };
        let newest = logs.iter().flat_map(|log| &log.increments).map(|file| file.cut).max().unwrap_or(0);
        // Where an increment was dropped all begin another one: its number is not to be used again.
        let is_dropped = |(log, limit): (&Log, &Place)| log.increments.iter().any(|file| file.cut > limit.0);
        newest + u64::from(logs.iter().zip(&self.limits).any(is_dropped))
    }
}

impl<T: Ticks> Host<T> {
    /// Until the data set is loaded clients are told LOADING.
    pub(in crate::host) fn await_load(&mut self, plan: Arc<Plan>) {
        // Where nothing is to be loaded clients need not know: writes wait for the moment that the first files take.
        match plan.load {
            Load::Nothing => self.persist.flooded += 1,
            _ => self.gate.is_loading = true,
        }
        self.persist.loading = Some(Box::new(Loading::new(plan, self.shards.len(), self.now)));
        self.refresh_attention();
    }

    /// Begins to load, once the core runs.
    pub fn start(&mut self) {
        self.began(self.now);
        self.start_replication();
        if self.id == CoreId(0) && self.persist.loading.is_some() {
            self.conduct_load();
        }
    }

    /// The data set is here: clients are served.
    pub(super) fn serve(&mut self) {
        self.persist.loading = None;
        if !std::mem::take(&mut self.gate.is_loading) {
            self.persist.flooded = self.persist.flooded.saturating_sub(1);
            self.end_waits(Wait::Disk);
        }
        for files in &mut self.persist.shards {
            files.is_in_force |= files.aof.is_some();
        }
        for (place, shard) in self.shards.iter().enumerate() {
            self.persist.shards[place].dirty_saved = shard.keyspace.dirty();
        }
        self.refresh_holds();
        self.refresh_attention();
        self.refresh_mirrors();
        self.annotate_positions();
        if self.id == CoreId(0) {
            let failure = self.take_load_failure();
            if failure.is_none() {
                tracing::info!("The data set is loaded, and clients are served");
            }
            self.sync_loaded(failure);
            self.look_at_readers();
        }
    }

    /// Core 0 says what is next.
    pub(super) fn begin_load(&mut self, phase: Phase) {
        let local: Vec<ShardId> = self.shards.iter().map(|shard| shard.id()).collect();
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        loading.phase = phase;
        loading.summary = Summary { phase, ..Summary::default() };
        let plan = loading.plan.clone();
        // What a log's commands did while a key lived has no place where it has expired.
        let clock = match (phase, &plan.load) {
            (Phase::Idle, _) => None,
            (_, Load::ForeignLogs(_)) => Some(self.persist.stopped_clock.unwrap_or(self.now)),
            _ => None,
        };
        if let Some(now) =
            std::mem::replace(&mut self.persist.stopped_clock, clock).filter(|_| clock.is_none())
        {
            self.now = now;
        }
        let whole = |place: usize, file: &LoadFile, kind: TaskKind| Task {
            place,
            file: file.clone(),
            kind,
            from: 0,
            until: file.bytes,
        };
        match (phase, &plan.load) {
            (Phase::Scan, Load::OwnLogs(logs)) => {
                for (place, shard) in local.iter().enumerate() {
                    let log = &logs[shard.index()];
                    let base = log.base.as_ref().map_or(0, |base| base.cut);
                    loading.scans[place] = Scan { base, ..Scan::default() };
                    loading.tracks.push(Track::new(*shard));
                    loading
                        .tasks
                        .extend(log.increments.iter().map(|file| whole(place, file, TaskKind::Scan)));
                }
            }
            (Phase::ScanForeign, Load::ForeignLogs(logs)) => {
                loading.scans = vec![Scan::default(); logs.len()];
                loading.tracks = (0..logs.len()).map(|log| Track::new(ShardId(log as u16))).collect();
                for (number, log) in logs.iter().enumerate() {
                    loading.scans[number].base = log.base.as_ref().map_or(0, |base| base.cut);
                    loading
                        .tasks
                        .extend(log.increments.iter().map(|file| whole(number, file, TaskKind::Scan)));
                }
            }
            (Phase::Own, Load::OwnSnapshots(files)) => {
                let own = local.iter().enumerate();
                loading
                    .tasks
                    .extend(own.map(|(place, shard)| whole(place, &files[shard.index()], TaskKind::Own)));
            }
            (Phase::Own, Load::OwnLogs(logs)) => {
                for (place, shard) in local.iter().enumerate() {
                    let log = &logs[shard.index()];
                    loading.tasks.extend(log.base.iter().map(|file| whole(place, file, TaskKind::Own)));
                    let (cut, end) = loading.limits[shard.index()];
                    for file in log.increments.iter().filter(|file| file.cut <= cut) {
                        let until = if file.cut == cut { end } else { file.bytes };
                        loading.tasks.push_back(Task { until, ..whole(place, file, TaskKind::Own) });
                    }
                }
            }
            (Phase::ForeignSnapshots, Load::ForeignSnapshots(files)) => {
                loading.tasks.extend(files.iter().map(|file| whole(0, file, TaskKind::ForeignSnapshot)));
            }
            (Phase::ForeignSnapshots, Load::ForeignLogs(logs)) => {
                // The single file of an old server may begin with a snapshot.
                let first = logs.iter().filter_map(|log| log.base.as_ref().or(log.increments.first()));
                loading.tasks.extend(first.map(|file| whole(0, file, TaskKind::ForeignSnapshot)));
            }
            (Phase::ForeignCommands, Load::ForeignLogs(logs)) => {
                for (number, log) in logs.iter().enumerate() {
                    let limit = loading.limits.get(number).copied();
                    for file in log.base.iter().chain(&log.increments) {
                        let mut task = whole(0, file, TaskKind::ForeignCommands(number));
                        task.from = loading.snapshots_end.get(&file.path).copied().unwrap_or(0);
                        let is_increment = log.base.as_ref() != Some(file);
                        if let Some((cut, end)) = limit.filter(|_| is_increment) {
                            task.until = match file.cut.cmp(&cut) {
                                Ordering::Less => file.bytes,
                                Ordering::Equal => end,
                                Ordering::Greater => continue,
                            };
                        }
                        loading.tasks.push_back(task);
                    }
                }
            }
            (Phase::Resume, Load::OwnLogs(_)) => return self.resume_logs(),
            (Phase::Drop, _) => {
                loading.failure = None;
                for shard in &mut self.shards {
                    shard.keyspace.flush_all();
                }
            }
            (Phase::Idle, _) => return,
            (phase, load) => debug_assert!(false, "{phase:?} of {load:?}"),
        }
        let bytes: u64 = loading.tasks.iter().map(|task| task.until).sum();
        loading.total_bytes += bytes;
        self.next_task();
    }

    /// Where each shard's increments are cut off: they are loaded up to there. Transactions to come have numbers that
    /// none in them has: parts of two with one number would pass for one that is whole.
    pub(super) fn load_within(&mut self, limits: &[Place], newest_txn: u64) {
        self.next_number = self.next_number.max(newest_txn);
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        loading.limits = limits.to_vec();
        self.begin_load(Phase::Own);
    }

    /// Goes on with the next file, or reports that all are done.
    fn next_task(&mut self) {
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        debug_assert!(loading.reading.is_none());
        let Some(task) = loading.tasks.pop_front() else {
            let phase = loading.phase;
            let mail = match phase {
                Phase::ScanForeign => {
                    loading.limits = torn::limits(&std::mem::take(&mut loading.scans));
                    PersistMail::Loaded(Ok(loading.summary))
                }
                Phase::Scan => {
                    let ids = self.shards.iter().map(|shard| shard.id());
                    PersistMail::Scanned(ids.zip(std::mem::take(&mut loading.scans)).collect())
                }
                _ => PersistMail::Loaded(Ok(loading.summary)),
            };
            self.post(CoreId(0), Rare::Persist(mail));
            return;
        };
        if !matches!(loading.phase, Phase::Scan | Phase::ScanForeign) {
            let name = task.file.path.display();
            tracing::info!("Loading {name} ({} bytes)", task.until - task.from);
        }
        let content = match task.kind {
            TaskKind::Scan => {
                loading.tracks[task.place].begin_file();
                Content::Commands(Box::new(journal::Reader::new(task.from)))
            }
            TaskKind::ForeignCommands(_) => Content::Commands(Box::new(journal::Reader::new(task.from))),
            _ => Content::Unknown,
        };
        loading.reading = Some(Reading {
            file: FileId::first(READING),
            offset: task.from,
            is_reading: false,
            is_open: false,
            is_over: false,
            chunks: VecDeque::new(),
            content,
            db: DbIndex(0),
            spare: Vec::new(),
            given: Vec::new(),
            places: Vec::new(),
            task,
        });
        self.read_ahead();
    }

    /// Asks for the next piece of the file.
    fn read_ahead(&mut self) {
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        let Some(reading) = &mut loading.reading else { return };
        if reading.is_over
            || reading.is_reading
            || reading.chunks.len() >= CHUNKS_AHEAD
            || reading.offset >= reading.task.until
        {
            return;
        }
        let mut ops = Vec::new();
        if !reading.is_open {
            ops.push(FileOp::Open { file: reading.file, path: reading.task.file.path.clone() });
            reading.is_open = true;
        }
        let len = (reading.task.until - reading.offset).min(CHUNK_BYTES as u64) as usize;
        ops.push(FileOp::Read { file: reading.file, offset: reading.offset, len });
        reading.is_reading = true;
        self.persist.jobs.push(Job { tag: READING, ops });
    }

    /// A piece was read.
    pub(super) fn load_done(&mut self, outcome: Outcome) {
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        if outcome.tag == CLOSING {
            return;
        }
        let Some(reading) = loading.reading.as_mut().filter(|reading| reading.is_reading) else { return };
        reading.is_reading = false;
        if loading.failure.is_some() {
            return self.report_failure();
        }
        let name = reading.task.file.path.display().to_string();
        match outcome.result {
            Err(failure) => self.load_failed(format!("Can't load {name}: {}", failure.text)),
            Ok(()) if outcome.buffer.is_empty() => {
                let at = reading.offset;
                self.load_failed(format!("Can't load {name}: it ends at byte {at}, before it should"));
            }
            Ok(()) => {
                reading.offset += outcome.buffer.len() as u64;
                reading.chunks.push_back(outcome.buffer);
                self.read_ahead();
            }
        }
    }

    pub(super) fn load_failed(&mut self, reason: String) {
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        if loading.failure.is_none() {
            loading.failure = Some(reason);
            self.report_failure();
        }
    }

    /// Tells core 0 that loading has failed, once nothing is being read.
    fn report_failure(&mut self) {
        let Some(loading) = self.persist.loading.as_deref_mut() else { return };
        if loading.reading.as_ref().is_some_and(|reading| reading.is_reading) {
            return;
        }
        if let Some(reading) = loading.reading.take().filter(|reading| reading.is_open) {
            let ops = vec![FileOp::Close { file: reading.file }];
            self.persist.jobs.push(Job { tag: CLOSING, ops });
        }
        loading.tasks.clear();
        let reason = loading.failure.clone().unwrap_or_default();
        self.post(CoreId(0), Rare::Persist(PersistMail::Loaded(Err(reason))));
    }

    /// A slice of loading. Whether there is more to do at once.
    pub(in crate::host) fn load_step(&mut self) -> bool {
        let Some(loading) = self.persist.loading.take() else { return false };
        let mut loading = loading;
        let start = self.ticks.ticks();
        let mut more = false;
        while loading.failure.is_none() && loading.reading.is_some() {
            match self.take_in(&mut loading) {
                Ok(Taken::Some) => {}
                Ok(Taken::Nothing) => break,
                // What is being read ahead would pass for a piece of the next file.
                Ok(Taken::All) if loading.reading.as_ref().is_some_and(|reading| reading.is_reading) => {
                    if let Some(reading) = &mut loading.reading {
                        reading.is_over = true;
                    }
                    break;
                }
                Ok(Taken::All) => {
                    if let Some(reading) = loading.reading.take() {
                        let ops = vec![FileOp::Close { file: reading.file }];
                        self.persist.jobs.push(Job { tag: CLOSING, ops });
                    }
                    self.persist.loading = Some(loading);
                    self.next_task();
                    return true;
                }
                Err(reason) => {
                    self.persist.loading = Some(loading);
                    self.load_failed(reason);
                    return false;
                }
            }
            more = true;
            if self.ticks.to_ns(self.ticks.ticks().wrapping_sub(start)) >= SLICE_NS {
                break;
            }
        }
        self.persist.loading = Some(loading);
        if more {
            self.read_ahead();
        }
        more
    }

    /// Takes in what was read, up to `ITEMS_PER_LOOK` keys or commands.
    fn take_in(&mut self, loading: &mut Loading) -> Result<Taken, String> {
        let Some(reading) = &mut loading.reading else { return Ok(Taken::Nothing) };
        if reading.is_over {
            return Ok(if reading.is_reading { Taken::Nothing } else { Taken::All });
        }
        if let Content::Unknown = reading.content {
            let Some(first) = reading.chunks.front() else {
                let is_empty = reading.task.until == reading.task.from;
                return match is_empty && is_rdb_name(&reading.task) {
                    true => Err(format!("Can't load {}: it is empty", reading.task.file.path.display())),
                    false if is_empty => Ok(Taken::All),
                    false => Ok(Taken::Nothing),
                };
            };
            reading.content = match rdb::is_snapshot(first) || is_rdb_name(&reading.task) {
                // If it is none the reader says so.
                true if self.config.persistence.rdbchecksum => Content::Snapshot(Box::default()),
                true => Content::Snapshot(Box::new(rdb::Reader::without_checksum())),
                // They come later, on core 0.
                false if reading.task.kind == TaskKind::ForeignSnapshot => return Ok(Taken::All),
                false => Content::Commands(Box::new(journal::Reader::new(reading.task.from))),
            };
        }
        match &reading.content {
            Content::Unknown => Ok(Taken::Nothing),
            Content::Snapshot(_) => self.take_keys(loading),
            Content::Commands(_) => self.take_commands(loading),
        }
    }

    /// Keys of a snapshot.
    fn take_keys(&mut self, loading: &mut Loading) -> Result<Taken, String> {
        let is_base = matches!(loading.plan.load, Load::OwnLogs(_) | Load::ForeignLogs(_));
        // What follows in a log or a stream may have made a key live longer; a replica's primary says when one goes.
        let keeps_expired = is_base || self.replication.is_replica;
        let Loading { reading, summary, loaded_bytes, snapshots_end, .. } = loading;
        let Some(reading) = reading else { return Ok(Taken::Nothing) };
        let Content::Snapshot(reader) = &mut reading.content else { return Ok(Taken::Nothing) };
        let Task { place, file, kind, .. } = &reading.task;
        let (is_own, name) = (*kind == TaskKind::Own, file.path.display());
        let now = self.now.unix_ms();
        let fail = |error: rdb::LoadError| format!("Can't load {name}: {error}");
        for _ in 0..ITEMS_PER_LOOK {
            match reader.next().map_err(fail)? {
                rdb::Step::More => {
                    let Some(chunk) = reading.chunks.pop_front() else {
                        let is_at_end = reading.offset >= reading.task.until && !reading.is_reading;
                        if is_at_end {
                            return Err(format!(
                                "Can't load {name}: it ends at byte {}, in the middle",
                                reading.offset
                            ));
                        }
                        return Ok(Taken::Nothing);
                    };
                    *loaded_bytes += chunk.len() as u64;
                    summary.bytes += chunk.len() as u64;
                    reader.feed(&chunk);
                }
                rdb::Step::Key(key) => {
                    let place = match is_own {
                        true => Some(*place),
                        false => {
                            let shard = shard_of_key(key.key(), self.placement.len() as u16);
                            self.local[shard.index()].map(usize::from)
                        }
                    };
                    // If there is none it is another core's.
                    if let Some(place) = place {
                        let keyspace = &mut self.shards[place].keyspace;
                        let loaded = match keeps_expired {
                            true => key.load_expired_too(keyspace, now),
                            false => key.load(keyspace, now),
                        };
                        match loaded.map_err(fail)? {
                            true => summary.keys += 1,
                            false => summary.expired += 1,
                        }
                    }
                }
                rdb::Step::End(at) => {
                    // Behind the snapshot at the beginning of an old server's log stand its commands.
                    let has_more = at < reading.task.until;
                    if is_own && has_more {
                        return Err(format!("Can't load {name}: something follows the end at byte {at}"));
                    }
                    snapshots_end.insert(file.path.clone(), at);
                    return Ok(Taken::All);
                }
                rdb::Step::Aux(..) => {}
            }
        }
        Ok(Taken::Some)
    }

    /// Commands: looked through, run on their shard, or given to the session that runs foreign ones.
    fn take_commands(&mut self, loading: &mut Loading) -> Result<Taken, String> {
        let Some(reading) = &loading.reading else { return Ok(Taken::Nothing) };
        match reading.task.kind {
            TaskKind::Scan => self.scan(loading),
            TaskKind::Own => self.replay(loading),
            TaskKind::ForeignCommands(_) => self.run_foreign(loading),
            TaskKind::ForeignSnapshot => Ok(Taken::All),
        }
    }

    /// The next piece goes to the reader. What is to be done if there is none.
    fn feed(reading: &mut Reading, loaded_bytes: &mut u64) -> Fed {
        let Content::Commands(reader) = &mut reading.content else { return Fed::End };
        match reading.chunks.pop_front() {
            Some(chunk) => {
                *loaded_bytes += chunk.len() as u64;
                reader.feed(&chunk);
                Fed::More
            }
            None if reading.offset >= reading.task.until && !reading.is_reading => Fed::End,
            None => Fed::Later,
        }
    }

    fn scan(&mut self, loading: &mut Loading) -> Result<Taken, String> {
        let Loading { reading, scans, tracks, loaded_bytes, .. } = loading;
        let Some(reading) = reading else { return Ok(Taken::Nothing) };
        let (cut, name) = (reading.task.file.cut, reading.task.file.path.display().to_string());
        let scan = &mut scans[reading.task.place];
        let track = &mut tracks[reading.task.place];
        for _ in 0..ITEMS_PER_LOOK {
            let Content::Commands(reader) = &mut reading.content else { return Ok(Taken::All) };
            match reader.next() {
                Err(damage) => return Err(damaged(&name, damage)),
                Ok(Some(item @ Item::Annotation { line, offset })) => {
                    track.see(&item);
                    if let Some(Annotation::Txn(txn)) = Annotation::parse(line) {
                        let shards = txn.shards.iter().copied().collect();
                        let mark = PartMark { txn: (txn.core.0, txn.number), at: (cut, offset), shards };
                        scan.parts.push(mark);
                    }
                    track.settle(reader.tail().records);
                }
                Ok(Some(Item::Command { .. })) => track.settle(reader.tail().records),
                Ok(None) => match Self::feed(reading, loaded_bytes) {
                    Fed::More => {}
                    Fed::Later => return Ok(Taken::Nothing),
                    Fed::End => {
                        let Content::Commands(reader) = &reading.content else { return Ok(Taken::All) };
                        let tail = reader.tail();
                        // What stands behind a torn end is empty, and begins no later than that.
                        if scan.is_torn {
                            return Ok(Taken::All);
                        }
                        if tail.records < tail.end {
                            let last = reading.task.file.is_last;
                            torn(&name, (tail.records, tail.end), last, self.loads_truncated())?;
                            scan.is_torn = true;
                        }
                        scan.end = (cut, tail.records);
                        let at = track.whereabouts();
                        scan.whereabouts = at.map(|at| (at.history.clone(), at.raw, at.offset));
                        return Ok(Taken::All);
                    }
                },
            }
        }
        Ok(Taken::Some)
    }

    fn loads_truncated(&self) -> bool {
        self.config.persistence.aof_load_truncated
    }

    /// Runs a shard's own commands on it.
    fn replay(&mut self, loading: &mut Loading) -> Result<Taken, String> {
        let Loading { reading, loaded_bytes, summary, .. } = loading;
        let Some(reading) = reading else { return Ok(Taken::Nothing) };
        let mut replies = std::mem::take(&mut reading.spare);
        for _ in 0..ITEMS_PER_LOOK {
            let Content::Commands(reader) = &mut reading.content else { return Ok(Taken::All) };
            let name = &reading.task.file.path;
            match reader.next() {
                Err(damage) => return Err(damaged(&name.display().to_string(), damage)),
                Ok(Some(Item::Annotation { .. })) => {}
                Ok(Some(Item::Command { args, offset })) => {
                    if !self.replay_one(reading.task.place, &mut reading.db, args, &mut replies) {
                        let word = String::from_utf8_lossy(args.at(0)).into_owned();
                        return Err(format!(
                            "Can't load {}: unknown command '{word}' at byte {offset}",
                            name.display()
                        ));
                    }
                    if replies.first() == Some(&b'-') {
                        note_error(summary, &name.display(), offset, args, &replies);
                    }
                    replies.clear();
                }
                Ok(None) => match Self::feed(reading, loaded_bytes) {
                    Fed::More => summary.bytes = summary.bytes.max(*loaded_bytes),
                    Fed::Later => {
                        reading.spare = replies;
                        return Ok(Taken::Nothing);
                    }
                    Fed::End => return Ok(Taken::All),
                },
            }
        }
        reading.spare = replies;
        Ok(Taken::Some)
    }

    /// Runs one command on a shard. False if there is no such command.
    fn replay_one(&mut self, place: usize, db: &mut DbIndex, args: Args<'_>, replies: &mut Vec<u8>) -> bool {
        if args.is(0, "select") {
            let number = args.get(1).and_then(parse_u64).and_then(|number| u16::try_from(number).ok());
            *db = DbIndex(number.unwrap_or(0));
            return db.0 < self.command_options.databases;
        }
        // The parts of a transaction are all there, or it was cut off. Some commands are for replicas alone.
        let is_for_replicas = ["ping", "publish", "spublish"].iter().any(|name| args.is(0, name))
            || args.is(0, "replconf") && args.is(1, "getack");
        if args.is(0, "multi") || args.is(0, "exec") || is_for_replicas {
            return true;
        }
        let Some(command) = self.table.find(args.at(0)) else { return false };
        let spec = self.table.spec(command);
        if !matches!(spec.run, Run::Shard(..)) || !spec.takes(args.len()) {
            return false;
        }
        let first_key = spec.key_indexes(args).next().map(|at| self.hasher.hash(args.at(at)));
        let head = CallHead {
            command,
            db: *db,
            proto: Default::default(),
            first_key: first_key.unwrap_or_default(),
            no_touch: false,
            replays: true,
        };
        // What it answered was told long ago.
        let _ = self.shards[place].run(spec, Call { head, args }, self.now, replies);
        true
    }

    /// Opens the own logs to go on with them.
    fn resume_logs(&mut self) {
        let Some(mut loading) = self.persist.loading.take() else { return };
        let plan = loading.plan.clone();
        let Load::OwnLogs(logs) = &plan.load else { return };
        let AofStart::Resume(set) = plan.aof else { return };
        loading.opening = self.shards.len();
        for place in 0..self.shards.len() {
            let shard = self.shards[place].id();
            let log = &logs[shard.index()];
            let (cut, length) = loading.limits[shard.index()];
            let kept: Vec<_> =
                log.manifest.increments.iter().filter(|file| file.seq <= cut).cloned().collect();
            let dropped = log.manifest.increments[kept.len()..].to_vec();
            let history = log.manifest.history.clone();
            let manifest = Manifest { base: log.manifest.base.clone(), increments: kept, history };
            let base_bytes = log.base.as_ref().map_or(0, |base| base.bytes);
            let before = log.increments.iter().filter(|file| file.cut < cut).map(|file| file.bytes);
            let increments_bytes = before.sum::<u64>() + length;
            let tag = JobTag { place: place as u16, owner: Owner::AofWrite };
            let (aof, job) = Aof::resume(
                place as u16,
                self.folder_of(set, shard),
                aof_options(&self.config),
                FileId::first(tag),
                (manifest, length, dropped),
                (base_bytes, increments_bytes),
            );
            self.persist.shards[place].aof = Some(aof);
            self.persist.jobs.push(job);
            self.shards[place].set_recording(true);
        }
        self.persist.loading = Some(loading);
    }

    /// A shard's log is open, or has caught up with the cut of the others.
    pub(super) fn resumed(&mut self, place: usize) {
        let Some(loading) = self.persist.loading.as_deref_mut().filter(|l| l.phase == Phase::Resume) else {
            return;
        };
        let newest = loading.newest_cut();
        let Some(aof) = &self.persist.shards[place].aof else { return };
        if aof.newest_cut() < newest {
            return self.cut_aof(place, newest);
        }
        loading.opening -= 1;
        if loading.opening == 0 {
            let summary = Summary { phase: Phase::Resume, ..Summary::default() };
            self.post(CoreId(0), Rare::Persist(PersistMail::Loaded(Ok(summary))));
        }
    }
}

/// A command of a log was answered with an error, as it was not when it was recorded.
#[cold]
fn note_error(summary: &mut Summary, name: &dyn fmt::Display, offset: u64, args: Args<'_>, reply: &[u8]) {
    summary.errors += 1;
    if summary.errors > ERRORS_SHOWN {
        return;
    }
    let words = args.iter_from(0).flat_map(|word| word.escape_ascii().map(char::from).chain([' ']));
    let command: String = words.take(COMMAND_CHARS_SHOWN).collect();
    let error = String::from_utf8_lossy(reply);
    tracing::warn!(
        "Loading {name}: the command at byte {offset} is answered with an error: '{}' after '{}'",
        error.trim_start_matches('-').trim_end(),
        command.trim_end()
    );
}

/// What `take_in` has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// There may be more.
    Some,
    /// More must be read, or run, first.
    Nothing,
    /// The file is done.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    More,
    Later,
    End,
}

/// Whether the name says that it is a snapshot, whatever is in it.
fn is_rdb_name(task: &Task) -> bool {
    task.file.path.extension().is_some_and(|extension| extension == "rdb")
}

fn damaged(name: &str, damage: journal::Damage) -> String {
    format!(
        "Bad file format reading the append only file {name} at byte {}: {}. Make a backup of your AOF file, then use \
         redis-check-aof --fix <filename.manifest>",
        damage.offset, damage.reason
    )
}

/// A log whose end is torn: loaded up to there, where that is allowed.
fn torn(name: &str, (whole, end): (u64, u64), is_last: bool, is_allowed: bool) -> Result<(), String> {
    if !is_last || !is_allowed {
        return Err(format!(
            "Unexpected end of file reading the append only file {name}: it is whole up to byte {whole} of {end}. You \
             can: 1) Make a backup of your AOF file, then use redis-check-aof --fix <filename.manifest>. 2) \
             Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server."
        ));
    }
    tracing::warn!(
        "The end of the append only file {name} is torn: {} bytes after byte {whole} are dropped",
        end - whole
    );
    Ok(())
}
