//! Core 0 carries out what the conductor orders: cuts, manifests, answers; and how the server starts and stops.

use super::loading::{Phase, Summary};
use super::{PersistMail, Place, Trouble};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::{Now, Ticks};
use crate::config::ShutdownOptions;
use crate::host::host::{Effect, Host};
use crate::host::mail::Rare;
use crate::host::query::{Answer, SaveQuery, ShutdownOrder, UNANSWERED};
use crate::node::save::{Asker, Automatic, Conductor, Order, Reply, Request, Target};
use crate::node::stats::ConductorReport;
use crate::resp::OwnedArgs;
use crate::session::session::Peer;
use crate::session::State;
use crate::storage::aofset::{AofSet, TOP_MANIFEST};
use crate::storage::op::{replace, FileId, FileOp, Job, JobTag, Outcome, Owner};
use crate::storage::plan::{AofStart, Load, Plan};
use crate::storage::snapshots::{manifest_name, Replaced, SnapshotFile, SnapshotSet};
use crate::storage::torn::{self, Scan};

/// What core 0 keeps.
#[derive(Debug)]
pub(super) struct Conducting {
    pub(super) conductor: Conductor,
    /// A session without a client: transactions of the server's own are its.
    session: Option<u32>,
    /// Whether the transaction that cuts all shards is under way.
    is_cutting: bool,
    /// Of the rewrite under way: shards of which what came before its cut is not known to be on the disk.
    unready: u16,
    /// What the manifest that is being written is of, and the files of a snapshot that it names.
    naming: Option<(Target, Vec<String>)>,
    /// The files of the snapshot that counts: the next one makes them needless.
    pub(super) snapshot: Vec<String>,
    pub(super) stock: Option<Replaced>,
    /// Where snapshots go once nothing is being saved, and what was found there.
    pub(super) next_place: Option<Box<(Place, Plan)>>,
    /// The generation in force, or that is being begun.
    pub(super) set: Option<AofSet>,
    pub(super) generation: u64,
    /// The number of the newest cut.
    newest_cut: u64,
    troubles: Vec<Option<String>>,
    /// What removes the append-only file that was in force last, once the next one is; and what is in none any more.
    pub(super) old_logs: Vec<FileOp>,
    needless: Vec<FileOp>,
    /// Shards whose append-only file is being closed: the next generation waits for them.
    closing: u16,
    /// Whether that file never was in force.
    is_void: bool,
    /// Cores that have not yet done what all are to do.
    missing: u16,
    scans: Vec<Scan>,
    /// What the cores load, or have loaded last.
    phase: Phase,
    /// Whether it replaces the data of a server that runs: then a failure does not end the process. Why it has failed.
    replaces: bool,
    failure: Option<String>,
    summary: Summary,
    stop: Stop,
    /// Who has asked for the stop: they are told if it fails.
    stop_askers: Vec<Asker>,
}

/// How the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// A snapshot is made first; if it fails the asker is told, unless it is to stop anyway.
    Saving {
        force: bool,
        /// Whether it is being made: what was being saved before ends first.
        is_begun: bool,
    },
    /// Everything goes to the disk.
    Flushing {
        /// Cores that have not said that it is there.
        missing: u16,
    },
}

/// The conductor's jobs: the manifest, and the removal of what is needless.
const NAMING: JobTag = JobTag { place: 0, owner: Owner::Conductor };
const REMOVING: JobTag = JobTag { place: 1, owner: Owner::Conductor };

/// The answer to itself when a snapshot before the stop has ended.
const OWN_ASKER: Asker = (CoreId(0), 0);

impl Conducting {
    pub(super) fn new(shards: u16, plan: Option<&Plan>) -> Conducting {
        let mut conductor = Conductor::new(shards, Default::default());
        conductor.loaded(plan.map_or(0, |plan| plan.snapshot_id));
        let set = match plan.map(|plan| plan.aof) {
            Some(AofStart::Resume(set)) => Some(set),
            _ => None,
        };
        Conducting {
            conductor,
            session: None,
            is_cutting: false,
            unready: 0,
            naming: None,
            snapshot: plan.map(|plan| plan.snapshot.clone()).unwrap_or_default(),
            stock: plan.and_then(|plan| plan.stock),
            next_place: None,
            set,
            generation: plan.map_or(0, |plan| plan.generation),
            newest_cut: 0,
            troubles: vec![None; usize::from(shards)],
            old_logs: plan.map(|plan| plan.old_logs.clone()).unwrap_or_default(),
            needless: Vec::new(),
            closing: 0,
            is_void: false,
            missing: 0,
            scans: vec![Scan::default(); usize::from(shards)],
            phase: Phase::Idle,
            replaces: false,
            failure: None,
            summary: Summary::default(),
            stop: Stop::No,
            stop_askers: Vec::new(),
        }
    }
}

impl<T: Ticks> Host<T> {
    /// Something for the conductor, whose orders are carried out.
    fn conduct<R>(&mut self, f: impl FnOnce(&mut Conductor, &mut Vec<Order>) -> R) -> Option<R> {
        let mut orders = Vec::new();
        let result = f(&mut self.persist.conducting.as_mut()?.conductor, &mut orders);
        for order in orders {
            self.carry_out_order(order);
        }
        Some(result)
    }

    fn carry_out_order(&mut self, order: Order) {
        match order {
            // On a replica first nothing of the streams may be half applied.
            Order::Cut(target) if self.applies_streams() => self.cut_between_records(target),
            Order::Cut(target) => self.cut(target),
            Order::Name { target, files } => self.name(target, files),
            Order::Join { id, files } => self.join_export(id, files),
            Order::Discard(files) => {
                let path = |file: &SnapshotFile| self.persist.place.file(&file.name);
                let ops = files.iter().map(|file| FileOp::Remove { path: path(file) }).collect();
                self.persist.jobs.push(Job { tag: REMOVING, ops });
            }
            Order::Answer(asker, result) => self.answer_save(asker, result),
            Order::Ended(target, result) => self.conduct_ended(target, result),
        }
    }

    /// Begins the transaction that cuts all shards.
    pub(in crate::host) fn cut(&mut self, target: Target) {
        let (kind, number, generation) = match target {
            Target::Snapshot { id } => ("snapshot", id, 0),
            Target::Sync => ("sync", 0, 0),
            Target::Export { id, merging } => ("export", id, merging),
            Target::Rewrite { cut, begins } => ("rewrite", cut, begins.map_or(0, |set| set.generation)),
        };
        if let (Some(conducting), Target::Rewrite { cut, begins }) = (&mut self.persist.conducting, target) {
            conducting.newest_cut = cut;
            conducting.unready = conducting.troubles.len() as u16;
            if let Some(set) = begins {
                conducting.generation = set.generation;
                conducting.set = Some(set);
            }
        }
        match target {
            Target::Snapshot { .. } => tracing::info!("Background saving started"),
            Target::Sync | Target::Export { .. } => {}
            Target::Rewrite { .. } => tracing::info!("Background append only file rewriting started"),
        }
        let session = self.own_session();
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.is_cutting = true;
        }
        let words = ["_cut".to_owned(), kind.to_owned(), number.to_string(), generation.to_string()];
        let args = OwnedArgs::collect(words.iter().map(|word| word.as_bytes()));
        self.ask_every_shard(session, &args);
        self.look_at_cut();
    }

    /// The session of the server's own transactions.
    fn own_session(&mut self) -> u32 {
        if let Some(session) = self.persist.conducting.as_ref().and_then(|conducting| conducting.session) {
            return session;
        }
        let index = self.connect_own();
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.session = Some(index);
        }
        index
    }

    pub(super) fn connect_own(&mut self) -> u32 {
        self.connect_internal(Peer { addr: "internal".to_owned(), local: true, ..Peer::default() })
    }

    /// Whether the cut is done; to be called at the end of a pass.
    pub(in crate::host) fn look_at_cut(&mut self) {
        let Some(conducting) = &self.persist.conducting else { return };
        let Some(index) = conducting.session.filter(|_| conducting.is_cutting) else { return };
        let Some(session) = self.session(index) else { return };
        if session.state != State::Open || session.replies.out.is_empty() {
            return;
        }
        debug_assert_eq!(session.replies.out, b"+OK\r\n");
        session.replies.out.clear();
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.is_cutting = false;
        }
        self.was_cut();
        let now = self.now;
        self.conduct(|conductor, orders| conductor.cut_done(now, orders));
    }

    fn name(&mut self, target: Target, files: Vec<SnapshotFile>) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        conducting.naming = Some((target, files.iter().map(|file| file.name.clone()).collect()));
        let file = FileId::first(NAMING);
        let ops = match target {
            Target::Snapshot { id } => {
                let place = &self.persist.place;
                let manifest = place.file(&manifest_name(&place.dbfilename));
                let set = SnapshotSet { id, files, replaces: conducting.stock };
                let mut ops = replace(file, &manifest, set.text());
                let old = conducting.snapshot.iter().map(|name| place.file(name));
                ops.extend(old.map(|path| FileOp::Remove { path }));
                if conducting.stock.is_some() {
                    ops.push(FileOp::Remove { path: place.file(&place.dbfilename) });
                }
                ops
            }
            Target::Rewrite { begins: Some(set), .. } => {
                let folder = self.persist.aof_folder.clone();
                let mut ops = vec![
                    FileOp::SyncFolder { path: folder.clone() },
                    FileOp::SyncFolder { path: self.persist.place.folder() },
                ];
                ops.extend(replace(file, &folder.join(TOP_MANIFEST), set.text()));
                ops
            }
            Target::Rewrite { begins: None, .. } | Target::Sync | Target::Export { .. } => Vec::new(),
        };
        self.persist.jobs.push(Job { tag: NAMING, ops });
    }

    /// A job of the conductor has ended.
    pub(super) fn conductor_done(&mut self, outcome: Outcome) {
        if outcome.tag != NAMING {
            if let Err(failure) = outcome.result {
                tracing::warn!("Can't remove what is needless: {}", failure.text);
            }
            return;
        }
        let Some(conducting) = &mut self.persist.conducting else { return };
        let Some((target, files)) = conducting.naming.take() else { return };
        // Once the name of a snapshot's manifest is on the disk it counts, whether or not the old files could go. The
        // append-only file's counts once it has its name: without it there would be none.
        let counts_after = match target {
            Target::Snapshot { .. } => 5,
            Target::Rewrite { .. } | Target::Sync | Target::Export { .. } => 6,
        };
        let result = match outcome.result {
            Err(failure) if failure.step <= counts_after => Err(failure.text),
            Err(failure) => {
                tracing::warn!("After a save: {}", failure.text);
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        if let (Target::Snapshot { .. }, Ok(())) = (target, &result) {
            (conducting.snapshot, conducting.stock) = (files, None);
        }
        let now = self.now;
        self.conduct(|conductor, orders| conductor.named(result, now, orders));
    }

    /// What a shard's append-only file had before the cut of the rewrite is on the disk. Once that is so of all shards
    /// bases may take their places. A base that did so before would have transactions in it of which another shard's
    /// part may still be lost, and with the old increment what shows it.
    pub(super) fn conduct_ready(&mut self) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        if conducting.unready == 0 {
            return;
        }
        conducting.unready -= 1;
        if let (0, Some(Target::Rewrite { cut, .. })) = (conducting.unready, conducting.conductor.target()) {
            self.tell_all(|| PersistMail::Commit(cut));
        }
    }

    /// A shard has done its part.
    pub(super) fn conduct_shard_done(
        &mut self,
        shard: ShardId,
        result: Result<Option<SnapshotFile>, String>,
    ) {
        if let (Some(conducting), Err(_)) = (&mut self.persist.conducting, &result) {
            // The others wait for it; they are told once.
            let waiting = std::mem::take(&mut conducting.unready);
            if let (1.., Some(Target::Rewrite { cut, .. })) = (waiting, conducting.conductor.target()) {
                self.tell_all(|| PersistMail::GiveUp(cut));
            }
        }
        let now = self.now;
        self.conduct(|conductor, orders| conductor.shard_done(shard, result, now, orders));
    }

    fn answer_save(&mut self, asker: Asker, result: Result<(), String>) {
        if asker == OWN_ASKER {
            return self.saved_before_stop(result.is_ok());
        }
        let (core, number) = asker;
        let answer = match result {
            Ok(()) => Answer::Done,
            // Redis says no more than this; the log has the reason.
            Err(_) => Answer::Refused(CommandError::new("ERR")),
        };
        self.post(core, Rare::Answer(number, answer));
    }

    fn conduct_ended(&mut self, target: Target, result: Result<(), String>) {
        match (&target, &result) {
            (Target::Snapshot { .. }, Ok(())) => tracing::info!("Background saving terminated with success"),
            (Target::Snapshot { .. }, Err(reason)) => tracing::warn!("Background saving error: {reason}"),
            (Target::Sync, Ok(())) => tracing::info!("Synchronization with replicas: the snapshot is sent"),
            (Target::Export { .. }, Ok(())) => {
                tracing::info!("Synchronization with replicas: the shards' snapshots are made");
            }
            (Target::Sync | Target::Export { .. }, Err(reason)) => {
                tracing::warn!("Synchronization with replicas: {reason}")
            }
            (Target::Rewrite { .. }, Ok(())) => {
                tracing::info!("Background AOF rewrite finished successfully");
            }
            (Target::Rewrite { .. }, Err(reason)) => tracing::warn!("Background AOF rewrite error: {reason}"),
        }
        let is_good = result.is_ok();
        self.tell_all(|| PersistMail::Ended(target, is_good));
        match target {
            Target::Sync => self.sync_ended(is_good),
            Target::Export { id, .. } if !is_good => self.export_failed(id),
            _ => {}
        }
        if let Target::Rewrite { begins: Some(_), .. } = target {
            let is_loading = self.persist.loading.is_some();
            let shards = self.placement.len() as u16;
            let Some(conducting) = &mut self.persist.conducting else { return };
            match result {
                Ok(()) => {
                    let old = std::mem::take(&mut conducting.old_logs);
                    conducting.needless.extend(old);
                    if is_loading {
                        self.tell_all(|| PersistMail::Serve);
                    }
                }
                Err(reason) if is_loading => {
                    self.effects.push(Effect::Fail(format!("Can't begin the append only file: {reason}")));
                }
                Err(_) => {
                    conducting.set = None;
                    (conducting.closing, conducting.is_void) = (shards, true);
                }
            }
        }
        self.tell_troubles();
        self.settle_place();
        self.save_before_stop();
    }

    /// A shard's append-only file is closed. In another folder than the next one it stays.
    pub(super) fn conduct_closed(&mut self, removal: Vec<FileOp>) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        conducting.closing = conducting.closing.saturating_sub(1);
        let is_here = |op: &FileOp| match op {
            FileOp::Remove { path } => path.starts_with(&self.persist.aof_folder),
            _ => false,
        };
        if !conducting.is_void {
            if removal.first().is_some_and(is_here) {
                conducting.old_logs.extend(removal);
            }
        } else if !removal.is_empty() {
            self.persist.jobs.push(Job { tag: REMOVING, ops: removal });
        }
    }

    /// Removes what was there before the generation in force, unless it is to be kept as history.
    fn remove_needless(&mut self) {
        if self.config.persistence.aof_disable_auto_gc {
            return;
        }
        let Some(conducting) = &mut self.persist.conducting else { return };
        if !conducting.needless.is_empty() {
            let ops = std::mem::take(&mut conducting.needless);
            self.persist.jobs.push(Job { tag: REMOVING, ops });
        }
    }

    /// A client asks for a save, or about saves. Its answer, unless that comes later.
    pub(in crate::host) fn take_save_query(&mut self, asker: Asker, query: SaveQuery) -> Option<Answer> {
        let now = self.now;
        let request = match query {
            SaveQuery::LastSave => {
                let conducting = self.persist.conducting.as_ref();
                let secs = conducting.map_or(0, |conducting| conducting.conductor.stats.last_save_secs);
                return Some(Answer::Number(secs));
            }
            SaveQuery::Shutdown(order) => return self.take_shutdown(asker, order),
            SaveQuery::Request(Request::Rewrite) if self.aof_set().is_none() => {
                // Redis writes one all the same, which nobody reads; here there is none to be rewritten.
                return Some(Answer::Refused(CommandError::new(
                    "ERR The append only file is off: CONFIG SET appendonly yes begins one",
                )));
            }
            SaveQuery::Request(request) => request,
        };
        let newest_cut = self.persist.conducting.as_ref().map_or(0, |conducting| conducting.newest_cut);
        let reply =
            self.conduct(|conductor, orders| conductor.request(request, asker, (newest_cut, now), orders));
        match reply {
            Some(Reply::Status(text)) => Some(Answer::Status(text)),
            Some(Reply::Error(error)) => Some(Answer::Refused(error)),
            Some(Reply::Later) => None,
            None => Some(Answer::Refused(CommandError::new("ERR this core conducts no saves"))),
        }
    }

    /// The generation in force.
    fn aof_set(&self) -> Option<AofSet> {
        self.persist.conducting.as_ref().and_then(|conducting| conducting.set)
    }

    /// What is due by itself; `hz` times a second.
    pub(in crate::host) fn conduct_tick(&mut self) {
        if self.persist.conducting.is_none() || self.persist.loading.is_some() || self.persist.is_stopping {
            return;
        }
        self.remove_needless();
        if self.follow_appendonly() {
            return;
        }
        let others = self.memory.others;
        let changes = others.changes + self.changes();
        let (aof_bytes, aof_base_bytes) = self.aof_bytes();
        let aof = (others.aof_bytes + aof_bytes, others.aof_base_bytes + aof_base_bytes);
        let config = self.config.clone();
        let persistence = &config.persistence;
        let now = self.now;
        let Some(conducting) = &mut self.persist.conducting else { return };
        let automatic = Automatic {
            points: &persistence.save.0,
            changes,
            growth_percent: u64::from(persistence.auto_aof_rewrite_percent),
            min_bytes: persistence.auto_aof_rewrite_min_bytes,
            aof: conducting.set.map(|_| aof),
            newest_cut: conducting.newest_cut,
        };
        self.conduct(|conductor, orders| conductor.tick(&automatic, now, orders));
    }

    /// Core 0: the append-only file begins or ends, as CONFIG SET appendonly has it. If that cannot be now it is done
    /// later, by the tick. Whether there was something to do.
    pub(in crate::host) fn follow_appendonly(&mut self) -> bool {
        if self.persist.loading.is_some() || self.persist.is_stopping {
            return false;
        }
        let (is_on, now, shards) =
            (self.config.persistence.appendonly, self.now, self.placement.len() as u16);
        let Some(conducting) = &mut self.persist.conducting else { return false };
        match (is_on, conducting.set) {
            (true, None) if conducting.closing > 0 => {}
            (true, None) if conducting.conductor.may_rewrite(now.unix_ms().0) => {
                let begins = AofSet { generation: conducting.generation + 1, shards };
                self.conduct(|conductor, orders| {
                    conductor.begin_rewrite(0, Some(begins), Vec::new(), now, orders)
                });
            }
            (false, Some(_)) if conducting.conductor.target().is_none() => {
                conducting.set = None;
                (conducting.closing, conducting.is_void) = (shards, false);
                self.forget_marks();
                self.tell_all(|| PersistMail::StopAof);
            }
            _ => {
                if !is_on {
                    conducting.conductor.forget_rewrite_failure();
                }
                return false;
            }
        }
        true
    }

    pub(super) fn conduct_trouble(&mut self, shard: ShardId, trouble: Option<String>) {
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.troubles[shard.index()] = trouble;
        }
        self.tell_troubles();
    }

    fn tell_troubles(&mut self) {
        let Some(conducting) = &self.persist.conducting else { return };
        let trouble = Trouble {
            aof: conducting.troubles.iter().flatten().next().cloned(),
            snapshot: conducting.conductor.stats.snapshot_failed,
        };
        self.tell_all(|| PersistMail::Trouble(trouble.clone()));
    }

    /// Begins a snapshot for replicas; `false` if something else is being saved.
    pub(in crate::host) fn begin_sync(&mut self) -> bool {
        let now = self.now;
        self.conduct(|conductor, orders| conductor.begin_sync(now, orders)) == Some(true)
    }

    /// Begins a snapshot for replicas that know only one file: its number, if nothing else is being saved.
    pub(in crate::host) fn begin_export(&mut self, merging: u64) -> Option<u64> {
        let now = self.now;
        self.conduct(|conductor, orders| conductor.begin_export(merging, now, orders)).flatten()
    }

    /// Whether something is being saved.
    pub(in crate::host) fn is_saving(&self) -> bool {
        self.persist.conducting.as_ref().is_some_and(|conducting| conducting.conductor.target().is_some())
    }

    /// The data set is about to be another one: the append-only file ends here, and begins anew with that.
    pub(in crate::host) fn forget_aof(&mut self) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        (conducting.summary, conducting.replaces) = (Summary::default(), true);
        if conducting.set.take().is_some() {
            (conducting.closing, conducting.is_void) = (self.placement.len() as u16, false);
            self.tell_all(|| PersistMail::StopAof);
        }
    }

    /// The server has started now: as in Redis that counts as a save.
    pub(super) fn began(&mut self, now: Now) {
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.conductor.stats.last_save_secs = now.unix_us.div_euclid(1_000_000);
        }
    }

    /// Begins to load what the plan says.
    pub(in crate::host) fn conduct_load(&mut self) {
        let Some(loading) = &self.persist.loading else { return };
        let phase = match &loading.plan().load {
            Load::Nothing => return self.all_loaded(),
            Load::OwnLogs(_) => Phase::Scan,
            Load::OwnSnapshots(_) => Phase::Own,
            Load::ForeignLogs(logs) if logs.len() > 1 => return self.load_alone(Phase::ScanForeign),
            Load::ForeignSnapshots(_) | Load::ForeignLogs(_) => Phase::ForeignSnapshots,
        };
        self.tell_load(phase);
    }

    /// A phase that is core 0's alone.
    fn load_alone(&mut self, phase: Phase) {
        if let Some(conducting) = &mut self.persist.conducting {
            (conducting.missing, conducting.phase) = (1, phase);
        }
        self.begin_load(phase);
    }

    fn tell_load(&mut self, phase: Phase) {
        if let Some(conducting) = &mut self.persist.conducting {
            (conducting.missing, conducting.phase) = (self.cores, phase);
        }
        self.tell_all(|| PersistMail::Load(phase));
    }

    /// A core has looked through its increments.
    pub(super) fn conduct_scanned(&mut self, scans: Vec<(ShardId, Scan)>) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        for (shard, scan) in scans {
            conducting.scans[shard.index()] = scan;
        }
        conducting.missing -= 1;
        if conducting.missing > 0 {
            return;
        }
        let limits: std::sync::Arc<[_]> = torn::limits(&conducting.scans).into();
        // A log that is cut off before its end is where no stream was.
        let is_whole = conducting.scans.iter().zip(&limits[..]).all(|(scan, limit)| scan.end == *limit);
        let found: Option<Vec<_>> = conducting.scans.iter().map(|scan| scan.whereabouts.clone()).collect();
        let found = found.filter(|_| is_whole);
        let parts = conducting.scans.iter().flat_map(|scan| &scan.parts);
        let newest_txn = parts.map(|part| part.txn.1).max().unwrap_or(0);
        conducting.scans.iter_mut().for_each(|scan| scan.parts = Vec::new());
        conducting.missing = self.cores;
        if let Some(found) = found {
            self.restore_history(&found);
        }
        self.tell_all(|| PersistMail::Limits(limits.clone(), newest_txn));
    }

    /// A core has loaded what it was told to.
    pub(super) fn conduct_loaded(&mut self, result: Result<Summary, String>) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        match result {
            Ok(summary) => {
                conducting.summary.add(&summary);
                conducting.phase = summary.phase;
            }
            Err(reason) if conducting.replaces => {
                conducting.failure.get_or_insert(reason);
            }
            Err(reason) => return self.effects.push(Effect::Fail(reason)),
        }
        conducting.missing -= 1;
        if conducting.missing > 0 {
            return;
        }
        let (phase, is_failure) = (conducting.phase, conducting.failure.is_some());
        match phase {
            // On some core it is half there. No client sees that: none is served before all cores have dropped it.
            _ if is_failure && phase != Phase::Drop => self.tell_load(Phase::Drop),
            Phase::Drop => self.tell_all(|| PersistMail::Serve),
            Phase::ForeignSnapshots if self.has_foreign_commands() => {
                self.load_alone(Phase::ForeignCommands);
            }
            Phase::ScanForeign => self.tell_load(Phase::ForeignSnapshots),
            Phase::Resume => self.loaded_and_open(),
            _ => self.all_loaded(),
        }
    }

    /// All cores serve clients again. Why what was to be loaded is not there, if it is not.
    pub(super) fn take_load_failure(&mut self) -> Option<String> {
        let conducting = self.persist.conducting.as_mut()?;
        conducting.replaces = false;
        conducting.failure.take()
    }

    fn has_foreign_commands(&self) -> bool {
        let loading = self.persist.loading.as_ref();
        loading.is_some_and(|loading| matches!(loading.plan().load, Load::ForeignLogs(_)))
    }

    /// The data set is here: the append-only file goes on, or begins.
    fn all_loaded(&mut self) {
        let Some(conducting) = &self.persist.conducting else { return };
        if conducting.summary.keys > 0 || conducting.summary.bytes > 0 {
            tracing::info!(
                "DB loaded: {} keys, {} expired, {} bytes",
                conducting.summary.keys,
                conducting.summary.expired,
                conducting.summary.bytes
            );
        }
        if conducting.summary.errors > 0 {
            tracing::warn!(
                "{} commands of the log were answered with errors, and did nothing: see the lines above",
                conducting.summary.errors
            );
        }
        let Some(loading) = &self.persist.loading else { return };
        let now = self.now;
        match loading.plan().aof {
            AofStart::Off => self.tell_all(|| PersistMail::Serve),
            AofStart::Resume(_) => self.tell_load(Phase::Resume),
            AofStart::Begin(set) => {
                self.begin_load(Phase::Idle);
                self.tell_all(|| PersistMail::Load(Phase::Idle));
                self.conduct(|conductor, orders| {
                    conductor.begin_rewrite(0, Some(set), Vec::new(), now, orders)
                });
            }
        }
    }

    fn loaded_and_open(&mut self) {
        let newest = self.persist.loading.as_ref().map_or(0, |loading| loading.newest_cut());
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.newest_cut = newest;
        }
        self.tell_all(|| PersistMail::Serve);
    }

    /// SHUTDOWN, or a signal. An answer only if it is refused.
    fn take_shutdown(&mut self, asker: Asker, order: ShutdownOrder) -> Option<Answer> {
        if order.abort {
            if let Some(askers) = self.cancel_farewell() {
                self.stop_is_off(askers);
                return Some(Answer::Done);
            }
            let Some(conducting) = &mut self.persist.conducting else { return None };
            // Once everything goes to the disk there is no way back.
            return match conducting.stop {
                Stop::Saving { .. } => {
                    let askers = std::mem::take(&mut conducting.stop_askers);
                    self.stop_is_off(askers);
                    Some(Answer::Done)
                }
                _ => Some(Answer::Refused(CommandError::new("ERR No shutdown in progress."))),
            };
        }
        // Of data that is being loaded the replicas have nothing.
        if self.persist.loading.is_some() || !self.begin_farewell(asker, order) {
            let mut askers = self.cancel_farewell().unwrap_or_default();
            askers.push(asker);
            self.shut_down(askers, order);
        }
        None
    }

    /// Replicas have been waited for: the rest of the way.
    pub(in crate::host) fn shut_down(&mut self, askers: Vec<Asker>, order: ShutdownOrder) {
        let has_points = !self.config.persistence.save.0.is_empty();
        if !order.save && (order.nosave || !has_points) || self.persist.loading.is_some() {
            return self.stop_all();
        }
        tracing::warn!("Saving the final RDB snapshot before exiting.");
        let Some(conducting) = &mut self.persist.conducting else { return };
        conducting.stop_askers.extend(askers);
        conducting.stop = Stop::Saving { force: order.force, is_begun: false };
        self.save_before_stop();
    }

    /// The server goes on: who wanted it to stop is told.
    fn stop_is_off(&mut self, askers: Vec<Asker>) {
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.stop = Stop::No;
        }
        for (core, number) in askers.into_iter().filter(|&(_, number)| number != UNANSWERED) {
            let error = CommandError::new("ERR Errors trying to SHUTDOWN. Check logs.");
            self.post(core, Rare::Answer(number, Answer::Refused(error)));
        }
        self.be_quiet_no_more();
    }

    /// Begins the snapshot that the stop waits for, unless something else is being saved, which comes to its end first.
    fn save_before_stop(&mut self) {
        let Some(conducting) = &self.persist.conducting else { return };
        let Stop::Saving { force, is_begun: false } = conducting.stop else { return };
        let now = self.now;
        let begun = self.conduct(|conductor, orders| conductor.begin_snapshot(vec![OWN_ASKER], now, orders));
        let Some(conducting) = &mut self.persist.conducting else { return };
        conducting.stop = Stop::Saving { force, is_begun: begun == Some(true) };
    }

    /// A signal asks the process to stop.
    pub fn stop_by_signal(&mut self, is_interrupt: bool) {
        // The signal has nobody to be told; the log has it.
        let nobody = (CoreId(0), UNANSWERED);
        self.take_save_query(nobody, SaveQuery::Shutdown(self.signal_order(is_interrupt)));
    }

    fn saved_before_stop(&mut self, is_good: bool) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        let Stop::Saving { force, .. } = conducting.stop else { return };
        if is_good || force {
            return self.stop_all();
        }
        let askers = std::mem::take(&mut conducting.stop_askers);
        tracing::error!("Error trying to save the DB, can't exit.");
        self.stop_is_off(askers);
    }

    fn stop_all(&mut self) {
        let missing = self.cores;
        let Some(conducting) = &mut self.persist.conducting else { return };
        // Whoever asks once more is waiting for the same.
        if !matches!(conducting.stop, Stop::Flushing { .. }) {
            conducting.stop = Stop::Flushing { missing };
            self.tell_all(|| PersistMail::Stop);
        }
    }

    /// A core has everything on the disk.
    pub(super) fn conduct_stopped(&mut self) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        let Stop::Flushing { missing } = &mut conducting.stop else { return };
        *missing -= 1;
        if *missing == 0 {
            self.effects.push(Effect::Shutdown);
        }
    }

    /// What INFO tells of saves; core 0 alone knows.
    pub(super) fn report_conductor(&self) -> Option<ConductorReport> {
        let conducting = self.persist.conducting.as_ref()?;
        let conductor = &conducting.conductor;
        Some(ConductorReport {
            stats: conductor.stats,
            target: conductor.target(),
            began: conductor.began(),
            is_rewrite_scheduled: conductor.is_rewrite_scheduled(),
            is_aof_on: conducting.set.is_some(),
            is_aof_failing: conducting.troubles.iter().any(Option::is_some),
            keys_loaded: conducting.summary.keys,
            keys_expired: conducting.summary.expired,
        })
    }

    /// How a signal asks to stop.
    fn signal_order(&self, is_interrupt: bool) -> ShutdownOrder {
        let process = &self.config.process;
        let ShutdownOptions { save, nosave, now, force } =
            if is_interrupt { process.shutdown_on_sigint } else { process.shutdown_on_sigterm };
        ShutdownOrder { save, nosave, now, force, abort: false }
    }
}
