//! Persistence on one core: the files of its shards, what waits for them, and on core 0 the conductor of all.
//!
//! * `saving`: a shard's share of a snapshot or a rewrite, from its cut to its file;
//! * `conduct`: core 0 carries out what the conductor (`node::save`) orders, for all shards;
//! * `holds`: replies that may not leave before what they tell of is on the disk;
//! * `loading`: from the files to the data set, at start;
//! * `place`: where snapshots go, which may change;
//! * `waits`: WAIT, WAITAOF and WAITTOKEN, and the line in which WAITFOR's clients stand, too.
//!
//! At the end of each pass the records of each shard go to its append-only file (`storage::aof`), which answers with
//! jobs for the runtime; outcomes come in through `file_done`.
//!
//! Invariant: a record is in the append-only file's hands before the pass ends in which its command ran, and its reply
//! leaves after that.

mod conduct;
mod holds;
mod loading;
mod place;
mod saving;
#[cfg(test)]
mod tests;
pub(super) mod waits;
#[cfg(test)]
mod waits_tests;
use std::collections::VecDeque;
use std::path::PathBuf;

use self::conduct::Conducting;
pub(super) use self::loading::Loading;
pub use self::place::Entered;
use self::place::Place;
use self::saving::Save;
use super::host::Host;
use super::mail::Rare;
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::{Now, Ticks};
use crate::config::{Config, Fsync};
use crate::journal::{Annotation, REPLAY_TIME};
use crate::node::save::Target;
use crate::node::stats::FilesReport;
use crate::replication::token::Token;
use crate::session::admit::AOF_FAILING;
use crate::session::Wait;
use crate::shard::waiters::End;
use crate::shard::Ticket;
use crate::storage::aof::{Aof, AofEvent, AofOptions, SyncPolicy};
use crate::storage::aofset::AofSet;
use crate::storage::op::{FileOp, Job, Outcome, Owner};
use crate::storage::plan::Plan;
use crate::storage::snapshots::SnapshotFile;

/// When so many bytes of a shard's records wait for the disk, writes wait, on all cores, until half of them are
/// written. Who only reads goes on.
const AOF_WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// This core's share.
#[derive(Debug)]
pub(super) struct Persistence {
    /// By the place of the shard among the core's.
    shards: Vec<ShardFiles>,
    jobs: Vec<Job>,
    /// On core 0.
    conducting: Option<Conducting>,
    line: Option<waits::Line>,
    pub(super) loading: Option<Box<Loading>>,
    /// Sessions with replies that wait for the disk.
    held: Vec<u32>,
    /// By shard: up to where replies may leave, and up to where its records are on the disk.
    released: Vec<u64>,
    synced: Vec<u64>,
    /// Transactions that have run and are not on the disk.
    undurable: Vec<holds::Undurable>,
    /// Whether replies are to be looked at again.
    pub(super) has_progress: bool,
    /// `appendfsync always`, and the append-only file in force.
    pub(super) holds: bool,
    /// What cannot be written, for the gate and INFO.
    trouble: Trouble,
    /// The folder of the append-only file that begins next, or that is open.
    aof_folder: PathBuf,
    /// Where snapshots go.
    place: Place,
    /// On core 0: CONFIG SETs that wait until the runtime has looked at a place.
    entering: VecDeque<place::Entering>,
    /// Whether the process is to stop once all is on the disk.
    is_stopping: bool,
    /// While foreign logs are loaded: what the clock says, which commands that are done again do not see.
    stopped_clock: Option<Now>,
    /// How many shards, of all cores, have more records than the disk has taken so far.
    pub(super) flooded: u32,
}

/// What a shard has on the disk.
#[derive(Debug, Default)]
struct ShardFiles {
    aof: Option<Aof>,
    /// Whether the append-only file is a whole one already: until its first base is there replies do not wait for it.
    is_in_force: bool,
    save: Option<Box<Save>>,
    /// Transactions whose coordinators will not say that all their parts are on the disk, since records were handed
    /// over the last time.
    endless: Vec<(CoreId, u64)>,
    /// The position at which the append-only file before this one has ended.
    ended_at: u64,
    /// Cores whose clients wait for this shard's records.
    askers: Vec<CoreId>,
    /// Changes that were there at the last snapshot that ended well, and at the cut of the one under way.
    dirty_saved: u64,
    dirty_at_cut: u64,
    /// Up to where core 0 wants to know that records are on the disk; zero if it does not.
    marked: u64,
    /// Whether more records wait for the disk than should.
    is_flooded: bool,
    /// The append-only file goes when everything is on the disk: it was switched off, or could not begin.
    is_ending: bool,
    /// Records on their way to the append-only file; kept for its memory.
    records: Vec<u8>,
    /// The second that the increment's last time stamp tells; zero where it has none.
    stamped_secs: u64,
}

/// Why writes are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The append-only file cannot be written: the system's words.
    pub aof: Option<String>,
    /// The last snapshot has failed.
    pub snapshot: bool,
}

/// What cores tell each other about files.
#[derive(Debug)]
pub enum PersistMail {
    /// To core 0: a shard has done its part of a save.
    ShardDone(ShardId, Result<Option<SnapshotFile>, String>),
    /// To core 0: what a shard's append-only file had before the cut of a rewrite is on the disk.
    ShardReady,
    /// To all: it is of all shards. Now bases of this cut may be committed.
    Commit(u64),
    /// To all: a shard's part of this rewrite has failed before that. No base of this cut may be.
    GiveUp(u64),
    /// To core 0: a shard's append-only file cannot be written, or can again.
    ShardTrouble(ShardId, Option<String>),
    /// To core 0: a core's shards are loaded.
    Loaded(Result<loading::Summary, String>),
    /// To core 0: what a core's increments hold.
    Scanned(Vec<(ShardId, crate::storage::torn::Scan)>),
    /// To all: where each shard's increments are cut off, and the highest number that a transaction in them has.
    Limits(std::sync::Arc<[crate::storage::torn::Place]>, u64),
    /// To all: what is to be loaded next.
    Load(loading::Phase),
    /// To all: clients are served from now on.
    Serve,
    /// To all: a save has ended.
    Ended(Target, bool),
    /// To all: the state of the gate.
    Trouble(Trouble),
    /// To a core whose clients wait: up to where a shard's replies may leave, and its records are on the disk.
    Released(ShardId, u64, u64),
    /// To all: a shard's append-only file has ended at this position, and could not take what waits for it.
    Lost(ShardId, u64),
    /// To a shard's core: all parts of this transaction are on the disk.
    Whole(ShardId, (CoreId, u64)),
    /// To all: one shard more, or one less, has too many records waiting for the disk.
    Flooded(i32),
    /// To all: snapshots go there from now on.
    Place(Place),
    /// To core 0: a client waits for this.
    Await(Ticket, waits::Need),
    /// To core 0: a client waits until what this names can be read here; or is only told whether it can.
    Read(Ticket, Token, bool),
    /// To core 0: a client waits no longer.
    EndAwait(Ticket, End),
    /// To core 0: a shard is marked. Where in its append-only file, up to where that is on the disk, where in its
    /// stream.
    Marked(ShardId, [u64; 3]),
    /// To all: CONFIG SET appendonly no.
    StopAof,
    /// To core 0: a shard's append-only file is closed, after `StopAof` or because its generation could not begin. What
    /// removes its files.
    Closed(Vec<FileOp>),
    /// To all: everything goes to the disk, and then the process ends.
    Stop,
    /// To core 0: it has.
    Stopped,
}

impl Persistence {
    pub(super) fn new(id: CoreId, shards: usize, local: usize, plan: Option<&Plan>, config: &Config) -> Self {
        Persistence {
            shards: (0..local).map(|_| ShardFiles::default()).collect(),
            jobs: Vec::new(),
            conducting: (id == CoreId(0)).then(|| Conducting::new(shards as u16, plan)),
            line: (id == CoreId(0)).then(Default::default),
            loading: None,
            held: Vec::new(),
            released: vec![0; shards],
            synced: vec![0; shards],
            undurable: Vec::new(),
            has_progress: false,
            holds: false,
            trouble: Trouble::default(),
            aof_folder: plan.map(|plan| plan.aof_folder.clone()).unwrap_or_default(),
            place: Place::of(config),
            entering: VecDeque::new(),
            is_stopping: false,
            stopped_clock: None,
            flooded: 0,
        }
    }

    /// What time it is for all that the core does, of what the clock says.
    #[inline]
    pub(super) fn now(&mut self, clock: Now) -> Now {
        match &mut self.stopped_clock {
            None => clock,
            Some(now) => {
                *now = clock;
                Now { unix_us: REPLAY_TIME.0 * 1000, ..clock }
            }
        }
    }
}

/// The second of the Unix epoch.
fn unix_secs(now: Now) -> u64 {
    u64::try_from(now.unix_us.div_euclid(1_000_000)).unwrap_or(0)
}

/// `appendfsync` and `no-appendfsync-on-rewrite`.
fn aof_options(config: &Config) -> AofOptions {
    AofOptions {
        policy: match config.persistence.appendfsync {
            Fsync::Always => SyncPolicy::Always,
            Fsync::EverySec => SyncPolicy::EverySecond,
            Fsync::No => SyncPolicy::Never,
        },
        no_sync_on_rewrite: config.persistence.no_appendfsync_on_rewrite,
        keeps_history: config.persistence.aof_disable_auto_gc,
    }
}

impl<T: Ticks> Host<T> {
    /// Jobs on files for the runtime.
    #[inline]
    pub fn take_jobs(&mut self, into: &mut Vec<Job>) {
        into.append(&mut self.persist.jobs);
    }

    /// Ends a pass: records go to the append-only files, and what the disk has done lets replies leave.
    #[inline]
    pub(super) fn settle_files(&mut self) {
        for place in 0..self.persist.shards.len() {
            if self.persist.shards[place].aof.is_some() {
                self.settle_aof(place);
            } else if self.replication.streams.get(place).is_some_and(|stream| stream.keeps()) {
                self.hand_over(place);
            }
        }
        if std::mem::take(&mut self.persist.has_progress) {
            self.conclude_durable();
            self.release_held();
            self.look_at_line();
        }
        if self.persist.is_stopping {
            self.look_at_stop();
        }
        if self.id == CoreId(0) {
            self.look_at_cut();
            self.look_at_mark();
        }
    }

    fn settle_aof(&mut self, place: usize) {
        self.hand_over(place);
        let files = &mut self.persist.shards[place];
        let Some(aof) = &mut files.aof else { return };
        let flush = self.persist.is_stopping || files.is_ending;
        aof.poll(self.now.mono, flush, &mut self.persist.jobs);
        if files.is_ending && (aof.is_quiet() || aof.is_failing()) {
            return self.close_aof(place);
        }
        let shard = self.shards[place].id();
        let limit = if files.is_flooded { AOF_WAITING_BYTES_MAX / 2 } else { AOF_WAITING_BYTES_MAX };
        let is_flooded = aof.waiting_bytes() > limit;
        let has_turned = is_flooded != std::mem::replace(&mut files.is_flooded, is_flooded);
        let (released, synced) = (aof.released(), aof.synced());
        let known = (&mut self.persist.released[shard.index()], &mut self.persist.synced[shard.index()]);
        let is_known = (*known.0, *known.1) == (released, synced);
        let has_synced = *known.1 != synced;
        (*known.0, *known.1) = (released, synced);
        let is_all = released == aof.appended();
        if has_turned {
            self.tell_all(|| PersistMail::Flooded(if is_flooded { 1 } else { -1 }));
        }
        if is_known {
            return;
        }
        self.persist.has_progress = true;
        let files = &mut self.persist.shards[place];
        if has_synced && files.marked > 0 {
            if synced >= files.marked {
                files.marked = 0;
            }
            self.post(CoreId(0), Rare::Persist(PersistMail::Released(shard, released, synced)));
        }
        let files = &mut self.persist.shards[place];
        let mut askers = std::mem::take(&mut files.askers);
        for &core in &askers {
            self.post(core, Rare::Persist(PersistMail::Released(shard, released, synced)));
        }
        // Whoever waits for more is among them still.
        if is_all {
            askers.clear();
        }
        self.persist.shards[place].askers = askers;
    }

    /// A shard's append-only file has ended: nothing waits for it any more.
    #[cold]
    fn close_aof(&mut self, place: usize) {
        let shard = self.shards[place].id();
        let files = &mut self.persist.shards[place];
        files.is_ending = false;
        let Some(mut aof) = files.aof.take() else { return };
        let (end, is_failing) = (aof.appended(), aof.is_failing());
        files.ended_at = end;
        self.persist.jobs.extend(aof.close());
        if std::mem::take(&mut self.persist.shards[place].is_flooded) {
            self.tell_all(|| PersistMail::Flooded(-1));
        }
        if is_failing {
            self.tell_trouble(place, None);
            self.tell_all(|| PersistMail::Lost(shard, end));
        } else {
            // Its last sync may be what somebody waits for.
            self.tell_all(|| PersistMail::Released(shard, end, end));
        }
        self.post(CoreId(0), Rare::Persist(PersistMail::Closed(aof.removal())));
    }

    /// Gives a shard's records to its append-only file and, on a primary, to its stream. With `aof-timestamp-enabled`
    /// the first of each second stands in the file behind a line that tells it. A position that was told before is less
    /// by that line, and is reached with the same write.
    pub(super) fn hand_over(&mut self, place: usize) {
        let files = &mut self.persist.shards[place];
        let journal = &mut self.shards[place].journal;
        let endless = std::mem::take(&mut files.endless);
        if journal.pending().is_empty() {
            return;
        }
        if !self.replication.is_replica {
            self.replication.streams[place].append(journal.pending());
        }
        let marks = journal.take_marks();
        let Some(aof) = files.aof.as_mut().filter(|_| !files.is_ending) else {
            journal.take_pending(&mut files.records);
            files.records.clear();
            return;
        };
        if self.config.persistence.aof_timestamp_enabled {
            let secs = unix_secs(self.now);
            if secs > files.stamped_secs {
                files.stamped_secs = secs;
                Annotation::Time(secs).write(&mut files.records);
            }
        }
        for (at, core, number) in marks {
            if self.persist.holds && !endless.contains(&(core, number)) {
                aof.begin_barrier(files.records.len() + at, (core.0, number));
            }
        }
        journal.take_pending(&mut files.records);
        aof.append(&mut files.records);
    }

    /// Gives what a replica's shard has recorded to its own append-only file, and to no stream.
    pub(super) fn hand_over_to_files(&mut self, place: usize) {
        let was_replica = std::mem::replace(&mut self.replication.is_replica, true);
        self.hand_over(place);
        self.replication.is_replica = was_replica;
    }

    /// What a replica has applied of its primary's stream goes to the append-only file of the same shard, as it came.
    pub(super) fn mirror(&mut self, place: usize, from: u64, to: u64) {
        let files = &mut self.persist.shards[place];
        let Some(aof) = files.aof.as_mut().filter(|_| !files.is_ending) else { return };
        let Some(backlog) =
            self.replication.streams.iter().find_map(|stream| stream.kept(self.shards[place].id().0))
        else {
            return;
        };
        let len = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        if backlog.read(from, to, len, &mut files.records) == Some(to) {
            aof.append(&mut files.records);
        }
    }

    /// Says in each shard's append-only file where its stream is.
    pub(super) fn annotate_positions(&mut self) {
        (0..self.shards.len()).for_each(|place| self.annotate_position(place));
    }

    /// The same for one shard. What is said holds for what stands behind it.
    pub(super) fn annotate_position(&mut self, place: usize) {
        self.hand_over(place);
        let at = self.whereabouts(place);
        let files = &mut self.persist.shards[place];
        if let Some(aof) = files.aof.as_mut().filter(|_| !files.is_ending) {
            Annotation::Position(at).write(&mut files.records);
            aof.append(&mut files.records);
        }
    }

    /// Whether what is done to each shard's data is recorded: for its append-only file, or for replicas.
    pub(super) fn refresh_recording(&mut self) {
        for place in 0..self.shards.len() {
            let files = &self.persist.shards[place];
            let has_stream = !self.replication.is_replica
                && self.replication.streams.get(place).is_some_and(|stream| stream.keeps());
            let has_file = files.aof.is_some() && !files.is_ending;
            let is_wanted = has_stream || has_file && !self.replication.mirrors;
            if self.shards[place].journal.is_recording() != is_wanted {
                self.hand_over(place);
                self.shards[place].set_recording(is_wanted);
            }
        }
    }

    /// Jobs on files for the runtime, of whoever in this layer has some.
    pub(super) fn begin_jobs(&mut self, jobs: impl IntoIterator<Item = Job>) {
        self.persist.jobs.extend(jobs);
    }

    /// The folder of the append-only file.
    pub(super) fn aof_folder(&self) -> &std::path::Path {
        &self.persist.aof_folder
    }

    /// What is appended from now on to a shard's append-only file belongs to the increment of this number.
    fn cut_aof(&mut self, place: usize, cut: u64) {
        let files = &mut self.persist.shards[place];
        files.stamped_secs = 0;
        if let Some(aof) = &mut files.aof {
            aof.cut(cut);
        }
    }

    /// A job on files has ended.
    pub fn file_done(&mut self, outcome: Outcome) {
        match outcome.tag.owner {
            Owner::AofWrite | Owner::AofSync => self.aof_done(outcome),
            Owner::Snapshot => self.save_done(outcome),
            Owner::Load => self.load_done(outcome),
            Owner::Conductor => self.conductor_done(outcome),
            Owner::Sync => self.part_done(outcome),
            Owner::Export => self.export_job_done(outcome),
        }
    }

    fn aof_done(&mut self, outcome: Outcome) {
        let place = usize::from(outcome.tag.place);
        let mut events = Vec::new();
        if let Some(aof) = self.persist.shards[place].aof.as_mut() {
            aof.done(outcome, self.now.mono, &mut events);
        }
        for event in events {
            self.aof_event(place, event);
        }
    }

    fn aof_event(&mut self, place: usize, event: AofEvent) {
        let shard = self.shards[place].id();
        match event {
            AofEvent::Progress => {}
            AofEvent::WriteFailed(failure) => {
                tracing::warn!("Error writing to the AOF file of shard {}: {}", shard.0, failure.text);
                self.tell_trouble(place, Some(failure.text));
            }
            AofEvent::SyncFailed(failure) => {
                tracing::error!(
                    "Error syncing the AOF file of shard {}: {}. What was written since the last sync may be lost \
                     with the machine; no writes are taken until BGREWRITEAOF has made a new one",
                    shard.0,
                    failure.text
                );
                self.tell_trouble(place, Some(failure.text));
                self.drop_held(shard);
            }
            AofEvent::Recovered => {
                tracing::warn!("AOF write error looks solved. The server can write again.");
                self.tell_trouble(place, None);
            }
            AofEvent::Opened => self.resumed(place),
            AofEvent::Switched { cut, is_whole } => self.switched(place, cut, is_whole),
            AofEvent::SwitchFailed(cut, failure) => self.switch_failed(place, cut, failure.text),
            AofEvent::Committed(result) => {
                self.committed(place, result.map_err(|failure| failure.text));
            }
        }
    }

    fn tell_trouble(&mut self, place: usize, trouble: Option<String>) {
        let shard = self.shards[place].id();
        self.post(CoreId(0), Rare::Persist(PersistMail::ShardTrouble(shard, trouble)));
    }

    /// Mail about files.
    pub(super) fn take_persist_mail(&mut self, mail: PersistMail) {
        match mail {
            PersistMail::ShardDone(shard, result) => self.conduct_shard_done(shard, result),
            PersistMail::ShardReady => self.conduct_ready(),
            PersistMail::Commit(cut) => self.commit_bases(cut),
            PersistMail::GiveUp(cut) => self.give_up_bases(cut),
            PersistMail::ShardTrouble(shard, trouble) => self.conduct_trouble(shard, trouble),
            PersistMail::Loaded(result) => self.conduct_loaded(result),
            PersistMail::Scanned(scans) => self.conduct_scanned(scans),
            PersistMail::Limits(limits, newest_txn) => self.load_within(&limits, newest_txn),
            PersistMail::Load(phase) => self.begin_load(phase),
            PersistMail::Serve => self.serve(),
            PersistMail::Ended(target, is_good) => self.save_ended(target, is_good),
            PersistMail::Trouble(trouble) => {
                self.persist.trouble = trouble;
                self.refresh_gate();
            }
            PersistMail::Released(shard, released, synced) => {
                self.persist.released[shard.index()] = released;
                self.persist.synced[shard.index()] = synced;
                self.persist.has_progress = true;
            }
            PersistMail::Lost(shard, end) => {
                self.drop_held(shard);
                self.persist.released[shard.index()] = end;
                self.persist.synced[shard.index()] = end;
                self.persist.has_progress = true;
            }
            PersistMail::Whole(shard, txn) => self.note_whole(shard, txn),
            PersistMail::Flooded(change) => {
                self.persist.flooded = self.persist.flooded.saturating_add_signed(change);
                self.refresh_attention();
                if self.persist.flooded == 0 {
                    self.end_waits(Wait::Disk);
                }
            }
            PersistMail::Place(place) => self.change_place(place),
            PersistMail::Await(ticket, need) => self.stand_in_line(ticket, need),
            PersistMail::Read(ticket, token, may_wait) => self.begin_reading(ticket, token, may_wait),
            PersistMail::EndAwait(ticket, end) => self.end_in_line(ticket, end),
            PersistMail::Marked(shard, at) => self.take_shard_mark(shard, at),
            PersistMail::StopAof => self.stop_aof(),
            PersistMail::Closed(removal) => self.conduct_closed(removal),
            PersistMail::Stop => self.stop_files(),
            PersistMail::Stopped => self.conduct_stopped(),
        }
    }

    /// Sends the same to all cores, this one included.
    fn tell_all(&mut self, mail: impl Fn() -> PersistMail) {
        for core in (0..self.cores).map(CoreId) {
            self.post(core, Rare::Persist(mail()));
        }
    }

    /// What the configuration says about files.
    pub(super) fn configure_files(&mut self) {
        let options = aof_options(&self.config);
        for files in &mut self.persist.shards {
            if let Some(aof) = &mut files.aof {
                aof.set_options(options);
            }
        }
        self.refresh_holds();
        self.refresh_gate();
    }

    /// Whether writes are refused because something cannot be written.
    fn refresh_gate(&mut self) {
        let persistence = &self.config.persistence;
        let minds_snapshots = persistence.stop_writes_on_bgsave_error && !persistence.save.0.is_empty();
        self.gate.is_snapshot_failing = self.persist.trouble.snapshot && minds_snapshots;
        self.gate.is_aof_failing = self.persist.trouble.aof.is_some();
        self.refresh_attention();
    }

    /// Whether replies to writes wait for the disk: those to what is recorded from now on.
    fn refresh_holds(&mut self) {
        let is_always = self.config.persistence.appendfsync == Fsync::Always;
        let is_in_force = self.persist.shards.iter().any(|files| files.is_in_force);
        let holds = is_always && is_in_force;
        if self.persist.holds != holds {
            (0..self.shards.len()).for_each(|place| self.hand_over(place));
            self.persist.holds = holds;
        }
    }

    /// How long it is until records that gather are to be written, or sent to replicas; at least 1.
    pub(super) fn us_to_hand_over(&self) -> u64 {
        let aofs = self.persist.shards.iter().filter_map(|files| files.aof.as_ref());
        let to_write = aofs.filter_map(|aof| aof.us_to_write(self.now.mono)).min().unwrap_or(u64::MAX).max(1);
        // Records that a replica has still to apply do not wait at all.
        if self.replication.has_more {
            1
        } else {
            to_write.min(self.replication.us_to_feed)
        }
    }

    /// The folders of a generation.
    fn folder_of(&self, set: AofSet, shard: ShardId) -> crate::storage::aofset::ShardFolder {
        let name = self.config.persistence.appendfilename.to_string();
        crate::storage::aofset::ShardFolder::new(&self.persist.aof_folder, &name, set, shard)
    }

    /// Changes of this core's data since the last snapshot.
    pub(super) fn changes(&self) -> u64 {
        let shards = self.shards.iter().zip(&self.persist.shards);
        shards.map(|(shard, files)| shard.keyspace.dirty().saturating_sub(files.dirty_saved)).sum()
    }

    /// Bytes in this core's append-only files, and what was in them after the last rewrite.
    pub(super) fn aof_bytes(&self) -> (u64, u64) {
        let files = self.persist.shards.iter().filter_map(|files| files.aof.as_ref());
        files.fold((0, 0), |(all, base), aof| (all + aof.bytes(), base + aof.rewritten_bytes()))
    }

    /// What a client is told whose command the gate refuses: with the system's words, where that is the reason.
    #[cold]
    pub(super) fn explain_refusal(&self, error: CommandError) -> CommandError {
        match &self.persist.trouble.aof {
            Some(text) if error == AOF_FAILING => {
                let words = text.rsplit(": ").next().unwrap_or_default();
                CommandError::with(format!("{}{words}", error.text()))
            }
            _ => error,
        }
    }

    /// The append-only file ends: what is recorded so far goes to the disk, and no more is recorded.
    fn stop_aof(&mut self) {
        for place in 0..self.shards.len() {
            self.hand_over(place);
            self.persist.shards[place].is_in_force = false;
            self.persist.shards[place].is_ending = self.persist.shards[place].aof.is_some();
            if !self.persist.shards[place].is_ending {
                self.post(CoreId(0), Rare::Persist(PersistMail::Closed(Vec::new())));
            }
        }
        self.refresh_recording();
        self.refresh_holds();
    }

    /// The server stops: everything goes to the disk first.
    fn stop_files(&mut self) {
        self.persist.is_stopping = true;
        for place in 0..self.shards.len() {
            if let Some(save) = self.persist.shards[place].save.take() {
                // What it has written is left over, and removed at the next start.
                drop(save);
                self.shards[place].keyspace.abort_snapshot();
            }
        }
    }

    /// Whether a core that stops has everything on the disk, or cannot have it there.
    fn look_at_stop(&mut self) {
        let is_open =
            |files: &ShardFiles| files.aof.as_ref().is_some_and(|aof| !aof.is_quiet() && !aof.is_failing());
        if self.persist.is_stopping && !self.persist.shards.iter().any(is_open) {
            self.persist.is_stopping = false;
            self.persist.shards.iter_mut().for_each(|files| files.aof = None);
            self.post(CoreId(0), Rare::Persist(PersistMail::Stopped));
        }
    }

    /// What INFO tells of files.
    pub(super) fn report_files(&self) -> FilesReport {
        let (aof_bytes, aof_base_bytes) = self.aof_bytes();
        let aofs = || self.persist.shards.iter().filter_map(|files| files.aof.as_ref());
        let progress = self.shards.iter().filter_map(|shard| shard.keyspace.snapshot_progress());
        let (keys_done, keys_total) =
            progress.fold((0, 0), |(done, total), one| (done + one.keys_done, total + one.keys_total));
        let loading = self.persist.loading.as_deref();
        FilesReport {
            changes: self.changes(),
            aof_bytes,
            aof_base_bytes,
            aof_waiting_bytes: aofs().map(|aof| aof.waiting_bytes() as u64).sum(),
            aof_syncs_pending: aofs().filter(|aof| aof.is_syncing()).count() as u64,
            aof_delayed_syncs: aofs().map(|aof| aof.delayed_syncs()).sum(),
            save_keys_done: keys_done,
            save_keys_total: keys_total,
            is_loading: self.gate.is_loading,
            loading_began_secs: loading.map_or(0, |loading| loading.began.unix_us / 1_000_000),
            loading_total_bytes: loading.map_or(0, |loading| loading.total_bytes),
            loading_loaded_bytes: loading.map_or(0, |loading| loading.loaded_bytes),
            conducted: self.report_conductor(),
        }
    }
}
