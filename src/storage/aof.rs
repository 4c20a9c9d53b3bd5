//! One shard's append-only file: what is written to it and when it is synced.
//!
//! At most one write is under way: what is appended meanwhile is the next. With `appendfsync always` it is followed by
//! a sync in the same job (group commit). Those whose replies a sync has let go write again a little later: the next
//! one waits for most of them, up to a part of the time that a sync takes, or each would carry half of them and all
//! would wait for two. Otherwise records gather for a
//! moment (`GATHER_BYTES`, `GATHER_US`), since each write wakes up a worker of the kernel's: one for each pass cost
//! half as much CPU again as the SETs themselves. With `everysec` a sync is begun each second beside the writes; with
//! `no` none is.
//!
//! *Positions* count the bytes appended since the server's start, over all files. `appended`, `written` and `synced`
//! are positions: `synced <= written <= appended`.
//!
//! A *cut* (see `aofset`) begins another increment. What was appended before it is written and synced to the old one
//! first, so that nothing in the new one is ever durable before what it builds on; meanwhile new records wait in
//! memory.
//!
//! A write that fails is tried again each second at the same offset, and its bytes are kept: nothing is lost while the
//! server runs. A sync that fails is never tried again: the kernel may have dropped the pages and report success the
//! next time (fsyncgate). From then on nothing counts as synced until a new base, of what is in memory, was made.
//!
//! Invariant: the manifest names the increment before anything is written to it.

use std::collections::VecDeque;

use super::aofset::ShardFolder;
use super::manifest::{Manifest, Member};
use super::op::{make_folder, replace, Failure, FileId, FileOp, Job, JobTag, Outcome, Owner};
use super::torn::TxnNumber;
use crate::base::time::MonoUs;

/// `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// A reply leaves only when what it tells of is on the disk.
    Always,
    /// Once a second.
    EverySecond,
    /// When the kernel sees fit.
    Never,
}

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AofOptions {
    /// When to sync.
    pub policy: SyncPolicy,
    /// `no-appendfsync-on-rewrite`: whether not to sync while a snapshot or a base is written.
    pub no_sync_on_rewrite: bool,
    /// `aof-disable-auto-gc`: whether what a base makes needless stays, as history.
    pub keeps_history: bool,
}

/// What others want to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AofEvent {
    /// More replies may leave, or more is durable: look at `released` and `synced`.
    Progress,
    /// A write has failed for the first time, or in another way than before. Writes are to be refused until
    /// `Recovered`.
    WriteFailed(Failure),
    /// A write has succeeded after one that failed, or a new base has made good a sync that failed.
    Recovered,
    /// A sync has failed: writes are to be refused, and replies that wait will not be sent.
    SyncFailed(Failure),
    /// The log that was loaded is open.
    Opened,
    /// The increment of this cut is open and in the manifest, and what came before it is on the disk. If the file was
    /// broken that cannot be said; then the base of this cut makes it good.
    Switched {
        /// Which cut.
        cut: u64,
        /// Whether what came before is on the disk.
        is_whole: bool,
    },
    /// The increment of this cut could not be made: records go to the old one, and the rewrite is to be given up.
    SwitchFailed(u64, Failure),
    /// The new base is in the manifest, or could not be put there.
    Committed(Result<(), Failure>),
}

/// See the module.
#[derive(Debug)]
pub struct Aof {
    place: u16,
    folder: ShardFolder,
    options: AofOptions,
    manifest: Manifest,
    /// The open increment; none before the first cut of a generation.
    file: Option<FileId>,
    /// How many bytes are in it.
    length: u64,
    /// The number of the next file to be opened.
    next_file: FileId,
    /// Whether the last write has failed.
    failing: Option<i32>,
    /// The base's length.
    base_bytes: u64,
    /// How long all was after the last rewrite, for the decision to rewrite again.
    rewritten_bytes: u64,
    increments_bytes: u64,
    /// Appended, not yet being written.
    queue: Vec<u8>,
    /// Since when its oldest byte waits, as far as `poll` has seen.
    gathers_since: Option<MonoUs>,
    /// The last write that a sync followed.
    group: Group,
    /// What was appended after each cut whose increment is not there yet.
    next: VecDeque<Next>,
    /// A base that is to be put into the manifest.
    commit: Option<Commit>,
    appended: u64,
    written: u64,
    synced: u64,
    work: Work,
    /// The position that the sync under way will have synced.
    syncing: Option<u64>,
    synced_at: MonoUs,
    /// Whether a snapshot or a base is being written.
    is_rewriting: bool,
    broken: bool,
    delayed_syncs: u64,
    /// The newest cut whose increment was begun, whether or not it could be made.
    newest_begun: u64,
    /// Where parts of transactions begin of which not all parts are known to be on the disk.
    barriers: VecDeque<(u64, TxnNumber)>,
    /// Memory of a write that is over.
    spare: Vec<u8>,
}

/// A write that a sync follows.
#[derive(Clone, Copy, Debug)]
struct Group {
    bytes: usize,
    began: MonoUs,
    /// How long both took.
    us: u64,
}

#[derive(Debug)]
struct Next {
    cut: u64,
    queue: Vec<u8>,
}

#[derive(Debug)]
struct Commit {
    base: Member,
    bytes: u64,
}

/// What the `Owner::AofWrite` job is about.
#[derive(Debug)]
enum Work {
    Idle,
    Opening,
    Writing {
        bytes: u64,
        syncs: bool,
    },
    Failed {
        retry: MonoUs,
    },
    Switching {
        cut: u64,
        file: FileId,
    },
    Committing {
        manifest: Manifest,
        bytes: u64,
    },
    /// History is being removed.
    Clearing,
}

/// So much is written at once; less when its oldest byte has waited for `GATHER_US`.
const GATHER_BYTES: usize = 64 * 1024;

/// See `GATHER_BYTES`. A process that is killed loses no more than this of what it has answered.
const GATHER_US: u64 = 1_000;

/// With `always`: a write waits for others no longer than this part of what the last one took with its sync.
const GROUP_WAIT_PART: u64 = 4;

/// A sync each second.
const SYNC_EVERY_US: u64 = 1_000_000;

/// A write that failed is tried again after this.
const RETRY_AFTER_US: u64 = 1_000_000;

/// A sync that takes longer counts as delayed (`aof_delayed_fsync`).
const SYNC_DELAYED_US: u64 = 2_000_000;

/// A buffer that grew beyond this is not kept.
const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Aof {
    /// A new generation's, without any file yet: the first cut begins it. Until then records wait in memory.
    pub fn create(place: u16, folder: ShardFolder, options: AofOptions, files: FileId) -> Aof {
        Aof {
            place,
            folder,
            options,
            manifest: Manifest::default(),
            file: None,
            length: 0,
            next_file: files,
            failing: None,
            base_bytes: 0,
            rewritten_bytes: 0,
            increments_bytes: 0,
            queue: Vec::new(),
            gathers_since: None,
            group: Group { bytes: 0, began: MonoUs(0), us: 0 },
            next: VecDeque::new(),
            commit: None,
            appended: 0,
            written: 0,
            synced: 0,
            work: Work::Idle,
            syncing: None,
            synced_at: MonoUs(0),
            is_rewriting: false,
            broken: false,
            delayed_syncs: 0,
            newest_begun: 0,
            barriers: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// The same where another has ended at this position: positions never go back.
    pub fn after(mut self, position: u64) -> Aof {
        (self.appended, self.written, self.synced) = (position, position, position);
        self
    }

    /// One that was loaded: the newest increment has `length` good bytes, and is cut off there. Increments that came
    /// after it and count no longer are dropped from the manifest. The job opens it.
    pub fn resume(
        place: u16,
        folder: ShardFolder,
        options: AofOptions,
        files: FileId,
        (manifest, length, dropped): (Manifest, u64, Vec<Member>),
        (base_bytes, increments_bytes): (u64, u64),
    ) -> (Aof, Job) {
        let mut aof = Aof::create(place, folder, options, files);
        let file = aof.open_number();
        let newest = manifest.increments.last().map(|member| aof.folder.file(member)).unwrap_or_default();
        aof.manifest = manifest;
        (aof.base_bytes, aof.increments_bytes) = (base_bytes, increments_bytes);
        aof.rewritten_bytes = aof.bytes();
        (aof.file, aof.length, aof.work) = (Some(file), length, Work::Opening);
        let mut ops = vec![
            FileOp::OpenToWrite { file, path: newest },
            FileOp::Truncate { file, len: length },
            FileOp::Sync { file },
        ];
        if !dropped.is_empty() {
            let scratch = aof.open_number();
            ops.extend(replace(scratch, &aof.folder.manifest(), aof.manifest.text()));
            ops.extend(dropped.iter().map(|member| FileOp::Remove { path: aof.folder.file(member) }));
        }
        let job = aof.job(Owner::AofWrite, ops);
        (aof, job)
    }

    /// CONFIG SET appendfsync, no-appendfsync-on-rewrite.
    pub fn set_options(&mut self, options: AofOptions) {
        self.options = options;
    }

    /// A snapshot or a base is being written from now on, or no longer.
    pub fn set_rewriting(&mut self, is_rewriting: bool) {
        self.is_rewriting = is_rewriting;
    }

    /// The folder of its files.
    pub fn folder(&self) -> &ShardFolder {
        &self.folder
    }

    /// The number of the newest increment; zero before the first.
    pub fn newest_cut(&self) -> u64 {
        self.manifest.increments.last().map_or(0, |member| member.seq)
    }

    /// Takes records; `bytes` is left empty, perhaps with other memory.
    pub fn append(&mut self, bytes: &mut Vec<u8>) {
        self.appended += bytes.len() as u64;
        let queue = self.next.back_mut().map_or(&mut self.queue, |next| &mut next.queue);
        if queue.is_empty() {
            std::mem::swap(queue, bytes);
        } else {
            queue.extend_from_slice(bytes);
        }
        bytes.clear();
    }

    /// A part of this transaction begins `ahead` bytes behind what was appended so far: what stands behind its
    /// beginning does not count as durable before `end_barrier` says that all parts are.
    pub fn begin_barrier(&mut self, ahead: usize, txn: TxnNumber) {
        self.barriers.push_back((self.appended + ahead as u64, txn));
    }

    /// All parts of this transaction are on the disk.
    pub fn end_barrier(&mut self, txn: TxnNumber) {
        self.barriers.retain(|(_, other)| *other != txn);
    }

    /// What is appended from now on belongs to the increment of this number.
    pub fn cut(&mut self, cut: u64) {
        debug_assert!(cut > self.next.back().map_or(self.newest_cut(), |next| next.cut), "cut {cut}");
        self.next.push_back(Next { cut, queue: Vec::new() });
    }

    /// A base was written, and synced, to `ShardFolder::temporary_base`: it takes its place in the manifest, and what
    /// it makes needless is removed.
    pub fn commit(&mut self, base: Member, bytes: u64) {
        self.commit = Some(Commit { base, bytes });
    }

    /// Bytes appended so far.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Up to where records are on the disk.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Up to where records must have come for their replies to leave: the policy's promise.
    pub fn released(&self) -> u64 {
        match self.options.policy {
            // A crash cuts the file off at a transaction of which a part is missing elsewhere.
            SyncPolicy::Always if self.syncs() => {
                self.barriers.front().map_or(self.synced, |(at, _)| self.synced.min(*at))
            }
            SyncPolicy::Always => self.written,
            SyncPolicy::EverySecond | SyncPolicy::Never => self.appended,
        }
    }

    /// Bytes that are not in the file yet: those that wait in memory, and those that are being written.
    pub fn waiting_bytes(&self) -> usize {
        let writing = match self.work {
            Work::Writing { bytes, .. } => bytes as usize,
            _ => 0,
        };
        writing + self.queue.len() + self.next.iter().map(|next| next.queue.len()).sum::<usize>()
    }

    /// Bytes in its files.
    pub fn bytes(&self) -> u64 {
        self.base_bytes + self.increments_bytes
    }

    /// Bytes that were in its files after the last rewrite, or at the start.
    pub fn rewritten_bytes(&self) -> u64 {
        self.rewritten_bytes
    }

    /// The job that ends its use, once it is quiet.
    pub fn close(&mut self) -> Option<Job> {
        let file = self.file.take()?;
        Some(self.job(Owner::AofSync, vec![FileOp::Close { file }]))
    }

    /// What removes all its files, once it is closed.
    pub fn removal(&self) -> Vec<FileOp> {
        let begun = self.folder.increment(self.newest_begun);
        let files = self.manifest.named().chain([&begun]).map(|member| self.folder.file(member));
        let mut temporary = self.folder.manifest().into_os_string();
        temporary.push(".tmp");
        let others = [self.folder.temporary_base(), self.folder.manifest(), temporary.into()];
        let mut ops: Vec<_> = files.chain(others).map(|path| FileOp::Remove { path }).collect();
        ops.push(FileOp::RemoveFolder { path: self.folder.path.clone() });
        ops
    }

    /// Whether a sync is under way.
    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// How many syncs took longer than two seconds.
    pub fn delayed_syncs(&self) -> u64 {
        self.delayed_syncs
    }

    /// In how many microseconds `poll` will begin a write that it does not begin now, if nothing else happens.
    pub fn us_to_write(&self, now: MonoUs) -> Option<u64> {
        let since = self.gathers_since.filter(|_| matches!(self.work, Work::Idle))?;
        Some(self.gathering().1.saturating_sub(now.since(since)))
    }

    /// How many bytes are waited for before a write begins, and how many microseconds at most.
    fn gathering(&self) -> (usize, u64) {
        match self.options.policy {
            SyncPolicy::Always => {
                (self.group.bytes / 4 * 3, (self.group.us / GROUP_WAIT_PART).min(GATHER_US))
            }
            SyncPolicy::EverySecond | SyncPolicy::Never => (GATHER_BYTES, GATHER_US),
        }
    }

    /// Whether what waits has gathered for long enough.
    fn has_gathered(&mut self, now: MonoUs) -> bool {
        let since = *self.gathers_since.get_or_insert(now);
        let (bytes, us) = self.gathering();
        self.queue.len() >= bytes || !self.next.is_empty() || now.since(since) >= us
    }

    /// Whether nothing is under way: no job of its can still come to its end.
    fn is_idle(&self) -> bool {
        matches!(self.work, Work::Idle | Work::Failed { .. }) && self.syncing.is_none()
    }

    /// Whether everything that was appended is on the disk and nothing is under way: it may be closed.
    pub fn is_quiet(&self) -> bool {
        let is_idle = matches!(self.work, Work::Idle) && self.syncing.is_none();
        is_idle && self.waiting_bytes() == 0 && self.next.is_empty() && self.synced == self.written
    }

    /// Whether it will never be quiet, and nothing is under way: the disk refuses, or its first increment could not be
    /// made.
    pub fn is_failing(&self) -> bool {
        let is_homeless = self.file.is_none() && self.next.is_empty();
        self.is_idle() && (self.broken || matches!(self.work, Work::Failed { .. }) || is_homeless)
    }

    /// What is to be done now. `flush` asks for a sync of all there is, whatever the policy says.
    pub fn poll(&mut self, now: MonoUs, flush: bool, jobs: &mut Vec<Job>) {
        if let Some(job) = self.next_work(now, flush) {
            jobs.push(job);
        }
        let is_due = match self.options.policy {
            _ if flush => true,
            // What was written before each write was synced, or while none was: no write may follow that has it synced.
            SyncPolicy::Always => self.syncs(),
            SyncPolicy::EverySecond => self.syncs() && now.since(self.synced_at) >= SYNC_EVERY_US,
            SyncPolicy::Never => false,
        };
        // Where it is broken a sync would prove nothing.
        if is_due && self.written > self.synced && self.syncing.is_none() && !self.broken {
            // A job that syncs by itself is under way, or about to be.
            let is_covered = matches!(self.work, Work::Writing { syncs: true, .. } | Work::Switching { .. });
            if let Some(file) = self.file.filter(|_| !is_covered) {
                self.syncing = Some(self.written);
                self.synced_at = now;
                jobs.push(self.job(Owner::AofSync, vec![FileOp::Sync { file }]));
            }
        }
    }

    fn next_work(&mut self, now: MonoUs, flush: bool) -> Option<Job> {
        match self.work {
            Work::Idle => {}
            Work::Failed { retry } if now >= retry => {}
            _ => return None,
        }
        let file = self.file.filter(|_| !self.broken);
        if let Some(file) = file.filter(|_| !self.queue.is_empty()) {
            if !self.has_gathered(now) && !flush && self.commit.is_none() {
                return None;
            }
            self.gathers_since = None;
            let bytes = std::mem::replace(&mut self.queue, std::mem::take(&mut self.spare));
            let bytes_len = bytes.len();
            let syncs = self.options.policy == SyncPolicy::Always && self.syncs() || flush;
            self.work = Work::Writing { bytes: bytes_len as u64, syncs };
            let mut ops = vec![FileOp::Write { file, offset: self.length, bytes }];
            if syncs {
                ops.push(FileOp::Sync { file });
                self.group = Group { bytes: bytes_len, began: now, ..self.group };
            }
            return Some(self.job(Owner::AofWrite, ops));
        }
        if let Work::Failed { .. } = self.work {
            return None;
        }
        // Where a sync has failed what is queued stays: only a new base can make it good.
        if let Some(next) = self.next.front() {
            let (cut, file) = (next.cut, self.next_file);
            self.open_number();
            self.newest_begun = cut;
            let member = self.folder.increment(cut);
            let mut manifest = self.manifest.clone();
            manifest.increments.push(member.clone());
            let mut ops = Vec::new();
            match self.file {
                Some(old) if !self.broken => ops.push(FileOp::Sync { file: old }),
                Some(_) => {}
                None => ops.extend(make_folder(&self.folder.path)),
            }
            ops.push(FileOp::Create { file, path: self.folder.file(&member) });
            // The manifest names what is there, whatever a crash leaves of what came before and after.
            ops.push(FileOp::SyncFolder { path: self.folder.path.clone() });
            let scratch = self.open_number();
            ops.extend(replace(scratch, &self.folder.manifest(), manifest.text()));
            ops.extend(self.file.map(|file| FileOp::Close { file }));
            self.work = Work::Switching { cut, file };
            return Some(self.job(Owner::AofWrite, ops));
        }
        let Some(Commit { base, bytes }) = self.commit.take() else { return self.clear_history() };
        let mut manifest = self.manifest.clone();
        manifest.increments.retain(|member| member.seq >= base.seq);
        let old = self.manifest.members().filter(|old| !manifest.increments.contains(old) && **old != base);
        manifest.history.extend(old.cloned());
        let mut needless = Vec::new();
        if !self.options.keeps_history {
            needless = std::mem::take(&mut manifest.history);
        }
        manifest.base = Some(base.clone());
        let mut ops = vec![
            FileOp::Rename { from: self.folder.temporary_base(), to: self.folder.file(&base) },
            FileOp::SyncFolder { path: self.folder.path.clone() },
        ];
        let scratch = self.open_number();
        ops.extend(replace(scratch, &self.folder.manifest(), manifest.text()));
        ops.extend(needless.iter().map(|member| FileOp::Remove { path: self.folder.file(member) }));
        self.work = Work::Committing { manifest, bytes };
        Some(self.job(Owner::AofWrite, ops))
    }

    /// What was kept as history goes, once it is not to be kept any more. A file that cannot be removed is left over.
    fn clear_history(&mut self) -> Option<Job> {
        if self.options.keeps_history || self.manifest.history.is_empty() {
            return None;
        }
        let needless = std::mem::take(&mut self.manifest.history);
        let scratch = self.open_number();
        let mut ops = replace(scratch, &self.folder.manifest(), self.manifest.text());
        ops.extend(needless.iter().map(|member| FileOp::Remove { path: self.folder.file(member) }));
        self.work = Work::Clearing;
        Some(self.job(Owner::AofWrite, ops))
    }

    /// A job of this shard's append-only file has ended.
    pub fn done(&mut self, outcome: Outcome, now: MonoUs, events: &mut Vec<AofEvent>) {
        match outcome.tag.owner {
            Owner::AofSync => self.sync_done(outcome, now, events),
            _ => self.work_done(outcome, now, events),
        }
    }

    fn sync_done(&mut self, outcome: Outcome, now: MonoUs, events: &mut Vec<AofEvent>) {
        let Some(to) = self.syncing.take() else { return };
        self.delayed_syncs += u64::from(now.since(self.synced_at) > SYNC_DELAYED_US);
        match outcome.result {
            Ok(()) if self.broken => {}
            Ok(()) => {
                self.synced = self.synced.max(to);
                events.push(AofEvent::Progress);
            }
            Err(failure) => self.sync_failed(failure, events),
        }
    }

    fn sync_failed(&mut self, failure: Failure, events: &mut Vec<AofEvent>) {
        if !self.broken {
            self.broken = true;
            events.push(AofEvent::SyncFailed(failure));
        }
    }

    fn work_done(&mut self, outcome: Outcome, now: MonoUs, events: &mut Vec<AofEvent>) {
        let before = std::mem::replace(&mut self.work, Work::Idle);
        match before {
            Work::Idle | Work::Failed { .. } => debug_assert!(false, "no job was under way"),
            Work::Opening => {
                if let Err(failure) = outcome.result {
                    // It was readable a moment ago.
                    self.sync_failed(failure, events);
                }
                events.push(AofEvent::Opened);
            }
            Work::Writing { bytes, syncs } => self.written_done(outcome, (bytes, syncs), now, events),
            Work::Switching { cut, file } => self.switched(outcome.result, (cut, file), events),
            // The manifest that is there names what there was.
            Work::Clearing => {}
            Work::Committing { manifest, bytes } => {
                if let Err(failure) = outcome.result {
                    let synced_folder = 7;
                    // Once the manifest's name is on the disk the base counts, whether or not the old files could go.
                    if failure.step <= synced_folder {
                        events.push(AofEvent::Committed(Err(failure)));
                        return;
                    }
                }
                self.manifest = manifest;
                self.base_bytes = bytes;
                self.increments_bytes = self.length;
                self.rewritten_bytes = self.bytes();
                if std::mem::take(&mut self.broken) {
                    events.push(AofEvent::Recovered);
                }
                events.push(AofEvent::Committed(Ok(())));
            }
        }
    }

    fn written_done(
        &mut self,
        outcome: Outcome,
        (bytes, syncs): (u64, bool),
        now: MonoUs,
        events: &mut Vec<AofEvent>,
    ) {
        match outcome.result {
            Err(failure) if failure.step == 0 => {
                // The bytes come back and are written again, to the same place.
                let mut kept = outcome.buffer;
                debug_assert_eq!(kept.len() as u64, bytes);
                kept.append(&mut self.queue);
                self.queue = kept;
                self.work = Work::Failed { retry: MonoUs(now.0 + RETRY_AFTER_US) };
                if self.failing.replace(failure.errno) != Some(failure.errno) {
                    events.push(AofEvent::WriteFailed(failure));
                }
                return;
            }
            Err(failure) => self.sync_failed(failure, events),
            Ok(()) if syncs && !self.broken => {
                self.synced = self.written + bytes;
                self.group.us = now.since(self.group.began);
            }
            Ok(()) => {}
        }
        self.written += bytes;
        self.length += bytes;
        self.increments_bytes += bytes;
        if self.failing.take().is_some() && !self.broken {
            events.push(AofEvent::Recovered);
        }
        if outcome.buffer.capacity() <= SPARE_BYTES_MAX {
            self.spare = outcome.buffer;
            self.spare.clear();
        }
        events.push(AofEvent::Progress);
    }

    fn switched(
        &mut self,
        result: Result<(), Failure>,
        (cut, file): (u64, FileId),
        events: &mut Vec<AofEvent>,
    ) {
        let Some(next) = self.next.pop_front() else { return };
        let was_open = self.file.is_some();
        match result {
            Ok(()) => {
                let member = self.folder.increment(cut);
                self.manifest.increments.push(member);
                (self.file, self.length) = (Some(file), 0);
                if self.broken {
                    // These are for the old increment, which is given up; the base that is being made has them.
                    self.written += self.queue.len() as u64;
                    self.queue.clear();
                } else {
                    self.synced = self.written;
                }
                events.push(AofEvent::Switched { cut, is_whole: !self.broken });
                events.push(AofEvent::Progress);
            }
            Err(failure) => {
                let synced_old = was_open && !self.broken && failure.step == 0;
                match synced_old {
                    true => self.sync_failed(failure.clone(), events),
                    false if was_open && !self.broken => self.synced = self.written,
                    false => {}
                }
                events.push(AofEvent::SwitchFailed(cut, failure));
            }
        }
        self.queue.extend_from_slice(&next.queue);
    }

    /// Whether syncs are asked for now.
    fn syncs(&self) -> bool {
        !(self.is_rewriting && self.options.no_sync_on_rewrite)
    }

    fn open_number(&mut self) -> FileId {
        let file = self.next_file;
        self.next_file = file.next();
        file
    }

    fn job(&self, owner: Owner, ops: Vec<FileOp>) -> Job {
        Job { tag: JobTag { place: self.place, owner }, ops }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::aofset::AofSet;
    use super::super::modeldisk::ModelDisk;
    use super::*;
    use crate::base::ids::ShardId;
    use crate::base::prng::Prng;

    fn opened(policy: SyncPolicy) -> Aof {
        let set = AofSet { generation: 1, shards: 1 };
        let folder = ShardFolder::new(Path::new("aof"), "a", set, ShardId(0));
        let options = AofOptions { policy, no_sync_on_rewrite: false, keeps_history: false };
        let tag = JobTag { place: 0, owner: Owner::AofWrite };
        let start = (Manifest::default(), 0, Vec::new());
        let (mut aof, job) = Aof::resume(0, folder, options, FileId::first(tag), start, (0, 0));
        aof.done(Outcome { tag: job.tag, result: Ok(()), buffer: Vec::new() }, MonoUs(0), &mut Vec::new());
        aof
    }

    /// How many bytes are written now.
    fn written(aof: &mut Aof, now: u64, flush: bool) -> usize {
        let mut jobs = Vec::new();
        aof.poll(MonoUs(now), flush, &mut jobs);
        let ops = jobs.iter().flat_map(|job| &job.ops);
        ops.map(|op| if let FileOp::Write { bytes, .. } = op { bytes.len() } else { 0 }).sum()
    }

    #[test]
    fn records_gather_for_a_moment_unless_each_is_synced() {
        for policy in [SyncPolicy::EverySecond, SyncPolicy::Never] {
            let mut aof = opened(policy);
            aof.append(&mut b"abc".to_vec());
            assert_eq!(written(&mut aof, 5, false), 0);
            assert_eq!(aof.us_to_write(MonoUs(5)), Some(GATHER_US));
            aof.append(&mut b"de".to_vec());
            assert_eq!(written(&mut aof, 4 + GATHER_US, false), 0);
            assert_eq!(aof.us_to_write(MonoUs(4 + GATHER_US)), Some(1));
            assert_eq!(written(&mut aof, 5 + GATHER_US, false), 5);
            assert_eq!(aof.us_to_write(MonoUs(9)), None, "one write at a time");
            let mut aof = opened(policy);
            aof.append(&mut vec![0; GATHER_BYTES]);
            assert_eq!(written(&mut aof, 0, false), GATHER_BYTES);
            let mut aof = opened(policy);
            aof.append(&mut b"a".to_vec());
            assert_eq!(written(&mut aof, 0, true), 1);
        }
        let mut aof = opened(SyncPolicy::Always);
        aof.append(&mut b"a".to_vec());
        assert_eq!(written(&mut aof, 0, false), 1);
    }

    #[test]
    fn a_group_waits_for_most_of_those_that_wrote_in_the_last_one() {
        let mut aof = opened(SyncPolicy::Always);
        let synced = |aof: &mut Aof, now| {
            let tag = JobTag { place: 0, owner: Owner::AofWrite };
            let done = Outcome { tag, result: Ok(()), buffer: Vec::new() };
            aof.done(done, MonoUs(now), &mut Vec::new());
        };
        aof.append(&mut vec![0; 100]);
        assert_eq!(written(&mut aof, 1_000, false), 100);
        synced(&mut aof, 1_800);
        assert_eq!(aof.us_to_write(MonoUs(1_800)), None);
        // The first of the next: less than most of the hundred bytes.
        aof.append(&mut vec![0; 74]);
        assert_eq!(written(&mut aof, 1_900, false), 0);
        assert_eq!(aof.us_to_write(MonoUs(1_900)), Some(800 / GROUP_WAIT_PART));
        aof.append(&mut vec![0; 1]);
        assert_eq!(written(&mut aof, 1_950, false), 75);
        synced(&mut aof, 2_350);
        // Nobody else comes.
        aof.append(&mut vec![0; 7]);
        assert_eq!(written(&mut aof, 3_000, false), 0);
        assert_eq!(written(&mut aof, 3_000 + 400 / GROUP_WAIT_PART, false), 7);
        synced(&mut aof, 3_500);
        aof.append(&mut vec![0; 7]);
        assert_eq!(written(&mut aof, 3_500, false), 7, "one client waits for nobody");
        // A sync that takes long does not make others wait as long.
        synced(&mut aof, 9_000_000);
        aof.append(&mut vec![0; 1]);
        assert_eq!(written(&mut aof, 9_000_000, false), 0);
        assert_eq!(aof.us_to_write(MonoUs(9_000_000)), Some(GATHER_US));
    }

    #[test]
    fn what_was_written_before_every_write_was_synced_is_synced_without_another() {
        let mut aof = opened(SyncPolicy::Never);
        aof.append(&mut b"abc".to_vec());
        let mut jobs = Vec::new();
        aof.poll(MonoUs(0), false, &mut jobs);
        aof.poll(MonoUs(GATHER_US), false, &mut jobs);
        let tag = jobs.pop().expect("a write").tag;
        aof.done(Outcome { tag, result: Ok(()), buffer: Vec::new() }, MonoUs(0), &mut Vec::new());
        aof.poll(MonoUs(10 * SYNC_EVERY_US), false, &mut jobs);
        assert_eq!((jobs.as_slice(), aof.synced()), (&[][..], 0));
        aof.set_options(AofOptions { policy: SyncPolicy::Always, ..aof.options });
        aof.poll(MonoUs(10 * SYNC_EVERY_US), false, &mut jobs);
        let tag = jobs.pop().expect("a sync").tag;
        assert_eq!(tag.owner, Owner::AofSync);
        aof.done(Outcome { tag, result: Ok(()), buffer: Vec::new() }, MonoUs(0), &mut Vec::new());
        assert_eq!((aof.synced(), aof.released()), (3, 3));
    }

    #[test]
    fn whatever_a_crash_leaves_the_manifest_names_what_is_there() {
        for seed in 0..300 {
            let mut rng = Prng::new(seed);
            let mut disk = ModelDisk::default();
            let set = AofSet { generation: 1, shards: 1 };
            let folder = ShardFolder::new(Path::new("aof"), "a", set, ShardId(0));
            make_folder(&folder.path).into_iter().for_each(|op| run(&mut disk, vec![op]));
            for above in [".", "aof"] {
                run(&mut disk, vec![FileOp::SyncFolder { path: above.into() }]);
            }
            let options =
                AofOptions { policy: SyncPolicy::Always, no_sync_on_rewrite: false, keeps_history: false };
            let tag = JobTag { place: 0, owner: Owner::AofWrite };
            let mut aof = Aof::create(0, folder.clone(), options, FileId::first(tag));
            let steps = 1 + rng.below(50);
            let mut done = 0;
            'life: for cut in 1.. {
                aof.cut(cut);
                for stage in ["switch", "commit"] {
                    if stage == "commit" {
                        let file = FileId::first(JobTag { place: 0, owner: Owner::Snapshot });
                        let path = folder.temporary_base();
                        run(&mut disk, vec![FileOp::Create { file, path }, FileOp::Sync { file }]);
                        aof.commit(folder.base(cut, true), 0);
                    }
                    let mut jobs = Vec::new();
                    aof.poll(MonoUs(0), false, &mut jobs);
                    let mut job = disk.begin(0, jobs.pop().expect("a job"));
                    let outcome = loop {
                        done += 1;
                        if done > steps {
                            break 'life;
                        }
                        if let Some(outcome) = disk.advance(&mut job, None) {
                            break outcome;
                        }
                    };
                    aof.done(outcome, MonoUs(0), &mut Vec::new());
                }
            }
            disk.crash(&mut rng);
            let Some(text) = disk.file(&folder.manifest()) else { continue };
            let manifest = Manifest::parse(text).expect("a manifest");
            for member in manifest.members() {
                assert!(disk.file(&folder.file(member)).is_some(), "seed {seed}: {member:?} of {manifest:?}");
            }
        }
    }

    fn run(disk: &mut ModelDisk, ops: Vec<FileOp>) {
        let tag = JobTag { place: 0, owner: Owner::Conductor };
        assert_eq!(disk.run(0, Job { tag, ops }).result, Ok(()));
    }
}
