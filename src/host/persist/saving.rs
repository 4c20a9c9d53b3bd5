//! A shard's share of a save: from the cut to the file.
//!
//! ```text
//! cut -> Walking (bytes go to the file as they come) -> Ending (the file is synced) -> [Committing] -> reported
//! ```
//!
//! A rewrite also switches the append-only file to its next increment. Its base is committed only when it is whole, and
//! all shards have switched: what all of them recorded before the cut is on the disk.

use std::path::PathBuf;

use super::{aof_options, unix_secs, PersistMail};
use crate::base::ids::CoreId;
use crate::base::time::Ticks;
use crate::host::host::{lfu_options, Host};
use crate::host::mail::Rare;
use crate::journal::Cut;
use crate::keyspace::{Progress, SnapshotSink};
use crate::node::save::Target;
use crate::rdb;
use crate::storage::aof::Aof;
use crate::storage::aofset::AofSet;
use crate::storage::op::{FileId, Job, JobTag, Outcome, Owner};
use crate::storage::save::{Saved, SnapshotWriter};
use crate::storage::snapshots::{file_name, temporary, SnapshotFile};

/// A save under way on a shard.
#[derive(Debug)]
pub(super) struct Save {
    target: Target,
    /// Of a snapshot: the name of its file once it is whole.
    name: String,
    output: Output,
    stage: Stage,
    /// Whether the base may be committed.
    may_commit: bool,
    /// Of a rewrite: whether core 0 knows that what was recorded before the cut is on the disk.
    is_ready: bool,
    /// Why it fails.
    failure: Option<String>,
    /// The length of the base, once it is whole.
    whole: Option<u64>,
    keys: u64,
    crc64: u64,
    /// What the snapshot has made, on its way out; kept for its memory.
    bytes: Vec<u8>,
}

/// Where a save goes.
#[derive(Debug)]
enum Output {
    File(SnapshotWriter),
    /// To replicas. Where the shard's stream was at the cut.
    Feeds((u64, u64)),
}

impl Output {
    fn file(&mut self) -> Option<&mut SnapshotWriter> {
        match self {
            Output::File(writer) => Some(writer),
            Output::Feeds(_) => None,
        }
    }

    fn poll(&mut self) -> Option<Job> {
        self.file()?.poll()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Walking,
    Ending,
    Committing,
    /// It will fail once nothing of it is under way.
    Failing,
}

/// How much of a snapshot is made between two looks at the clients: some tens of microseconds.
const STEP_BYTES: usize = 24 * 1024;

/// The same where it goes to replicas.
const STEP_BYTES_OF_SYNC: usize = 64 * 1024;

/// And how much where a client waits for it to end (SAVE), or none is served yet.
const STEP_BYTES_IN_HASTE: usize = 256 * 1024;

impl<T: Ticks> Host<T> {
    /// A shard of this core was cut in the step that has just run: before anything else runs there, its snapshot begins
    /// and its append-only file is cut at the same point.
    #[cold]
    pub(in crate::host) fn begin_save(&mut self, place: usize, cut: Cut) {
        let shard = self.shards[place].id();
        let tag = JobTag { place: place as u16, owner: Owner::Snapshot };
        let files = &mut self.persist.shards[place];
        debug_assert!(cut == Cut::Mark || files.save.is_none(), "one save at a time");
        let (target, name, path): (Target, String, PathBuf) = match cut {
            Cut::Snapshot { id } => {
                let name = file_name(&self.persist.place.dbfilename, id, shard, self.placement.len() as u16);
                let path = self.persist.place.file(&temporary(&name));
                (Target::Snapshot { id }, name, path)
            }
            Cut::Sync => {
                self.hand_over(place);
                (Target::Sync, String::new(), PathBuf::new())
            }
            Cut::Export { id, merging } => {
                let is_primary = !self.replication.is_replica;
                if merging > 0 && is_primary && !self.shards[place].journal.is_recording() {
                    self.shards[place].set_recording(true);
                }
                self.hand_over(place);
                self.mark_cut(place, id, merging);
                let options = &self.config.persistence;
                let dbfilename = options.dbfilename.to_string();
                let name = temporary(&file_name(&dbfilename, id, shard, self.placement.len() as u16));
                let path = name.clone().into();
                (Target::Export { id, merging }, name, path)
            }
            Cut::Rewrite { cut, begins } => {
                let shards = self.placement.len() as u16;
                let begins = begins.map(|generation| AofSet { generation, shards });
                if let Some(set) = begins {
                    let folder = self.folder_of(set, shard);
                    let first = FileId::first(JobTag { place: place as u16, owner: Owner::AofWrite });
                    let files = &mut self.persist.shards[place];
                    let aof = Aof::create(place as u16, folder, aof_options(&self.config), first);
                    files.aof = Some(aof.after(files.ended_at));
                    self.refresh_recording();
                }
                self.hand_over(place);
                self.cut_aof(place, cut);
                self.annotate_position(place);
                let Some(aof) = &self.persist.shards[place].aof else { return };
                (Target::Rewrite { cut, begins }, String::new(), aof.folder().temporary_base())
            }
            Cut::Mark => return self.mark_here(place),
        };
        let sink = self.sink(target);
        let keyspace = &mut self.shards[place].keyspace;
        let files = &mut self.persist.shards[place];
        files.dirty_at_cut = keyspace.dirty();
        let keys = (0..keyspace.databases()).map(|db| keyspace.len(crate::base::ids::DbIndex(db))).sum();
        let is_begun = keyspace.begin_snapshot(sink).is_ok();
        debug_assert!(is_begun, "one snapshot at a time");
        if let Some(aof) = &mut files.aof {
            aof.set_rewriting(true);
        }
        let mut writer = SnapshotWriter::new(tag, FileId::first(tag), path);
        if let Some(aof) = files.aof.as_ref().filter(|_| matches!(target, Target::Rewrite { .. })) {
            writer = writer.in_folder(aof.folder().path.clone());
        }
        let output = match target {
            Target::Sync => {
                let at = self.begin_sending(place);
                self.refresh_recording();
                Output::Feeds(at)
            }
            Target::Export { .. } => Output::File(writer.unsynced()),
            Target::Snapshot { .. } | Target::Rewrite { .. } => Output::File(writer),
        };
        self.persist.shards[place].save = Some(Box::new(Save {
            target,
            name,
            output,
            stage: Stage::Walking,
            may_commit: false,
            is_ready: false,
            failure: None,
            whole: None,
            keys,
            crc64: 0,
            bytes: Vec::new(),
        }));
    }

    /// What writes the data set in the form that is wanted.
    fn sink(&self, target: Target) -> Box<dyn SnapshotSink> {
        let persistence = &self.config.persistence;
        let is_base = matches!(target, Target::Rewrite { .. });
        if is_base && !persistence.aof_use_rdb_preamble {
            let stamp = persistence.aof_timestamp_enabled.then(|| unix_secs(self.now));
            return Box::new(crate::journal::rewrite::CommandsSink::new(self.now.unix_ms(), stamp));
        }
        Box::new(rdb::SnapshotFileSink::new(rdb::FileOptions {
            compress: persistence.rdbcompression,
            checksum: persistence.rdbchecksum,
            access: access_notes(&self.config),
            is_aof_base: is_base,
            now: self.now,
            // The files of all shards together tell of all of it.
            used_memory: self.memory_gauge().used_bytes / self.shards.len() as u64,
            has_field_expiry: self.shards.iter().any(|shard| shard.keyspace.has_field_expiry()),
            aux: Vec::new(),
        }))
    }

    /// Does a slice of the saves of this core's shards. Whether there is more to do now.
    pub(in crate::host) fn save_step(&mut self) -> bool {
        let mut more = false;
        for place in 0..self.persist.shards.len() {
            if self.persist.shards[place].save.is_some() {
                more |= self.save_shard_step(place);
            }
        }
        more
    }

    fn save_shard_step(&mut self, place: usize) -> bool {
        if matches!(self.persist.shards[place].save.as_deref(), Some(Save { output: Output::Feeds(_), .. })) {
            return self.sync_shard_step(place);
        }
        let in_haste = self.persist.loading.is_some();
        let files = &mut self.persist.shards[place];
        let Some(save) = &mut files.save else { return false };
        let Output::File(writer) = &mut save.output else { return false };
        if save.stage == Stage::Walking && writer.has_room() {
            let keyspace = &mut self.shards[place].keyspace;
            let budget = if in_haste { STEP_BYTES_IN_HASTE } else { STEP_BYTES };
            let progress = keyspace.snapshot_step(budget);
            loop {
                keyspace.take_snapshot_output(&mut save.bytes);
                if save.bytes.is_empty() {
                    break;
                }
                writer.append(&mut save.bytes);
            }
            if progress == Progress::Done {
                save.crc64 = keyspace.end_snapshot().map_or(0, |sink| sink.checksum());
                save.stage = Stage::Ending;
                writer.finish(match save.target {
                    Target::Snapshot { .. } => Some(self.persist.place.file(&save.name)),
                    // The append-only file gives it its name, with the manifest.
                    Target::Rewrite { .. } | Target::Sync => None,
                    // It is read, and then removed, under the name that it has.
                    Target::Export { .. } => None,
                });
            }
        }
        if let Some(job) = writer.poll() {
            self.persist.jobs.push(job);
        }
        save.stage == Stage::Walking && writer.has_room()
    }

    /// A slice of a snapshot that goes to replicas. Whether there is more to do now.
    fn sync_shard_step(&mut self, place: usize) -> bool {
        let Some(has_room) = self.sending_has_room(place) else {
            self.fail_save(place, "no replica is left to send it to".to_owned());
            self.end_failed_sync(place);
            return false;
        };
        if !has_room {
            return false;
        }
        let Some(mut save) = self.persist.shards[place].save.take() else { return false };
        let keyspace = &mut self.shards[place].keyspace;
        let progress = keyspace.snapshot_step(STEP_BYTES_OF_SYNC);
        loop {
            self.shards[place].keyspace.take_snapshot_output(&mut save.bytes);
            if save.bytes.is_empty() {
                break;
            }
            self.send_piece(place, &save.bytes);
            save.bytes.clear();
        }
        let is_done = progress == Progress::Done;
        if let (true, Output::Feeds(at)) = (is_done, &save.output) {
            self.shards[place].keyspace.end_snapshot();
            self.end_sending(place, *at);
        }
        self.persist.shards[place].save = Some(save);
        if is_done {
            self.end_save(place, Ok(None));
        }
        !is_done
    }

    /// A snapshot for replicas that has failed has no file to be waited for.
    fn end_failed_sync(&mut self, place: usize) {
        let save = self.persist.shards[place].save.as_deref_mut();
        if let Some(Save { output: Output::Feeds(_), failure: Some(reason), .. }) = save {
            let reason = reason.clone();
            self.abort_sending(place);
            self.end_save(place, Err(reason));
        }
    }

    /// A job of a save has ended.
    pub(super) fn save_done(&mut self, outcome: Outcome) {
        let place = usize::from(outcome.tag.place);
        let files = &mut self.persist.shards[place];
        // What cleans up after a save that is over.
        let Some(save) = &mut files.save else { return };
        let Output::File(writer) = &mut save.output else { return };
        match writer.done(outcome) {
            None => {
                if let Some(job) = writer.poll() {
                    self.persist.jobs.push(job);
                }
            }
            Some(Saved::Whole(bytes)) => {
                save.whole = Some(bytes);
                self.save_whole(place);
            }
            Some(Saved::Failed(failure)) => self.fail_save(place, failure.text),
            Some(Saved::Abandoned) => {
                let reason = save.failure.take().unwrap_or_default();
                self.end_save(place, Err(reason));
            }
        }
    }

    /// The file is whole: a snapshot is done, a base is committed once it may be.
    fn save_whole(&mut self, place: usize) {
        let files = &mut self.persist.shards[place];
        let Some(save) = &mut files.save else { return };
        let Some(bytes) = save.whole else { return };
        match save.target {
            Target::Snapshot { .. } | Target::Export { .. } => {
                let name = std::mem::take(&mut save.name);
                let file = SnapshotFile { name, bytes, crc64: save.crc64, keys: save.keys };
                self.end_save(place, Ok(Some(file)));
            }
            Target::Rewrite { cut, .. } if save.may_commit && save.stage == Stage::Ending => {
                save.stage = Stage::Committing;
                if let Some(aof) = &mut files.aof {
                    let base = aof.folder().base(cut, self.config.persistence.aof_use_rdb_preamble);
                    aof.commit(base, bytes);
                }
            }
            Target::Rewrite { .. } | Target::Sync => {}
        }
    }

    /// A shard's rewrite of this cut, if it is not over.
    fn rewrite(&mut self, place: usize, cut: u64) -> Option<&mut Save> {
        let save = self.persist.shards[place].save.as_deref_mut()?;
        matches!(save.target, Target::Rewrite { cut: of, .. } if of == cut).then_some(save)
    }

    /// The increment of a cut is open.
    pub(super) fn switched(&mut self, place: usize, cut: u64, is_whole: bool) {
        let Some(save) = self.rewrite(place, cut) else {
            // At start a shard has caught up with the cut of the others.
            return self.resumed(place);
        };
        match is_whole {
            true => self.ready(place, cut),
            // Its base is what makes it good, and waits for nobody.
            false => {
                save.may_commit = true;
                self.save_whole(place);
            }
        }
    }

    /// It is not: the rewrite is given up.
    pub(super) fn switch_failed(&mut self, place: usize, cut: u64, reason: String) {
        tracing::warn!("Can't begin a new AOF increment: {reason}");
        match self.rewrite(place, cut) {
            Some(_) => self.fail_save(place, reason),
            // At start a shard that cannot catch up with the cut of the others cannot serve.
            None => self.load_failed(format!("Can't go on with the append only file: {reason}")),
        }
    }

    fn ready(&mut self, place: usize, cut: u64) {
        if let Some(save) = self.rewrite(place, cut).filter(|save| !save.is_ready) {
            save.is_ready = true;
            self.post(CoreId(0), Rare::Persist(PersistMail::ShardReady));
        }
    }

    /// All shards have switched.
    pub(super) fn commit_bases(&mut self, cut: u64) {
        for place in 0..self.shards.len() {
            if let Some(save) = self.rewrite(place, cut) {
                save.may_commit = true;
                self.save_whole(place);
            }
        }
    }

    /// They will not.
    pub(super) fn give_up_bases(&mut self, cut: u64) {
        for place in 0..self.shards.len() {
            if self.rewrite(place, cut).is_some_and(|save| save.stage != Stage::Committing) {
                self.fail_save(place, "another shard's part has failed".to_owned());
            }
        }
    }

    /// The base is in the manifest, or is not.
    pub(super) fn committed(&mut self, place: usize, result: Result<(), String>) {
        let target = self.persist.shards[place].save.as_ref().map(|save| save.target);
        if let (Some(Target::Rewrite { cut, .. }), Ok(())) = (target, &result) {
            self.ready(place, cut);
        }
        self.end_save(place, result.map(|()| None));
    }

    /// Something of a save could not be written. It ends once nothing is left of it.
    fn fail_save(&mut self, place: usize, reason: String) {
        let files = &mut self.persist.shards[place];
        let Some(save) = files.save.as_mut().filter(|save| save.stage != Stage::Failing) else { return };
        tracing::warn!("A save of shard {} has failed: {reason}", self.shards[place].id().0);
        self.shards[place].keyspace.abort_snapshot();
        save.failure = Some(reason);
        save.stage = Stage::Failing;
        if let Some(writer) = save.output.file() {
            writer.abandon();
        }
        self.persist.jobs.extend(save.output.poll());
    }

    fn end_save(&mut self, place: usize, result: Result<Option<SnapshotFile>, String>) {
        let files = &mut self.persist.shards[place];
        if files.save.take().is_none() {
            return;
        }
        if let Some(aof) = &mut files.aof {
            aof.set_rewriting(false);
        }
        let shard = self.shards[place].id();
        self.post(CoreId(0), Rare::Persist(PersistMail::ShardDone(shard, result)));
    }

    /// All shards' parts of a save have ended.
    pub(super) fn save_ended(&mut self, target: Target, is_good: bool) {
        match target {
            Target::Snapshot { .. } if is_good => {
                self.persist.shards.iter_mut().for_each(|files| files.dirty_saved = files.dirty_at_cut);
            }
            Target::Rewrite { begins: Some(_), .. } if is_good => {
                self.persist.shards.iter_mut().for_each(|files| files.is_in_force = true);
                self.refresh_recording();
                self.refresh_holds();
                // Its base has what clients wait for who came before it.
                self.persist.has_progress = true;
            }
            Target::Rewrite { begins: Some(_), .. } => self.stop_aof(),
            _ => {}
        }
    }
}

/// What a snapshot notes of how keys are used: what the eviction policy looks at.
fn access_notes(config: &crate::config::Config) -> rdb::AccessNotes {
    use crate::config::MaxmemoryPolicy as Policy;
    match config.memory.maxmemory_policy {
        Policy::VolatileLru | Policy::AllkeysLru => rdb::AccessNotes::Idle,
        Policy::VolatileLfu | Policy::AllkeysLfu => rdb::AccessNotes::Frequency(lfu_options(config)),
        _ => rdb::AccessNotes::None,
    }
}
