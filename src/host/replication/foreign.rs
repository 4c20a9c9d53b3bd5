//! Core 0 of a replica whose primary is a stock server: everything comes over the link, first a snapshot if one is
//! needed, then one stream for all data.
//!
//! ```text
//! Full:     payload (to a file, and looked through) -> Clearing -> Loading -> the stream is applied
//! Continue: the stream is applied
//! ```
//!
//! The old data is kept until the snapshot is known to be one that can be loaded: while it comes every key of it is
//! looked at as far as to see its type, its database and its end, and the checksum is added up. What cannot be held
//! here ends the link, and is said by name.
//!
//! The stream runs in one session without a client, which routes to all shards as any client's does. What that session
//! cannot run, scripts say, is left out and said once: Redis would answer with an error, and go on
//! (`propagation-error-behavior`).

use super::feeds::Stream;
use super::upstream::{LinkState, Upstream};
use super::ReplicationMail;
use crate::base::ids::{DbIndex, Offset};
use crate::base::num::parse_u64;
use crate::base::time::Ticks;
use crate::command::spec::{Flags, Run, SessionOp};
use crate::command::Table;
use crate::config::PropagationError;
use crate::host::host::{Effect, Host};
use crate::journal::Sink;
use crate::rdb;
use crate::replication::history::{combined, ReplId};
use crate::replication::payload::Payload;
use crate::replication::stock::{StockItem, StockReader};
use crate::resp::Args;
use crate::storage::op::{FileId, JobTag, Outcome, Owner};
use crate::storage::save::{Saved, SnapshotWriter};

/// See the module.
#[derive(Debug)]
pub(super) struct Foreign {
    stage: Stage,
    reader: StockReader,
    /// Bytes of the stream that were received and not given to the reader: that gets them when it has nothing else, so
    /// that it holds no more than these and the beginning of one item.
    held: Vec<u8>,
    /// The session that runs the stream.
    applier: Option<u32>,
    /// What it is running: where the stream has come to, and which database is selected, when that is done.
    running: Option<(Offset, DbIndex)>,
    applied: Offset,
    is_stopping: bool,
    is_paused: bool,
    is_throttled: bool,
}

#[derive(Debug)]
enum Stage {
    Receiving(Box<Snapshot>),
    /// The snapshot is here; the stream waits until it is loaded.
    Held,
    Applying,
}

/// A snapshot on its way.
#[derive(Debug)]
struct Snapshot {
    payload: Payload,
    /// Looks through what comes.
    looker: rdb::Reader,
    /// Whether it has come to the end of the snapshot, and all was good.
    is_sound: bool,
    /// The database that is selected where the stream begins.
    db: DbIndex,
    file: SnapshotWriter,
}

/// Where the snapshot is kept until it is loaded.
pub(super) const SNAPSHOT_FILE: &str = "temp-sync-foreign.rdb";

/// The place in the tag of its jobs: no flow has this number.
const PLACE: u16 = u16::MAX - 1;

/// How much of what was received may wait to be read; then the link is not received from.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// How many items are taken from the stream in one pass.
const ITEMS_PER_PASS: usize = 32;

/// How many kinds of commands that were left out, or refused, the log tells of.
const KINDS_SAID_MAX: usize = 64;

impl Foreign {
    fn new(at: Offset, db: DbIndex, databases: u16, stage: Stage) -> Foreign {
        Foreign {
            stage,
            reader: StockReader::new(at, db, databases),
            held: Vec::new(),
            applier: None,
            running: None,
            applied: at,
            is_stopping: false,
            is_paused: false,
            is_throttled: false,
        }
    }

    /// Whether nothing that it has begun to apply is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// The session that applies its stream.
    pub(super) fn applier(&self) -> Option<u32> {
        self.applier
    }

    /// Nothing more is begun to be applied.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Nothing more is begun for a while, or again.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    fn receive(&mut self, bytes: &[u8], databases: u16) -> Result<(), String> {
        let Stage::Receiving(snapshot) = &mut self.stage else {
            self.held.extend_from_slice(bytes);
            return Ok(());
        };
        let mut piece = Vec::new();
        let taken = snapshot.payload.feed(bytes, &mut piece)?;
        if !piece.is_empty() {
            snapshot.look_through(&piece, databases)?;
            snapshot.file.append(&mut piece);
        }
        if taken < bytes.len() {
            self.held.extend_from_slice(&bytes[taken..]);
        }
        Ok(())
    }

    /// Whether no more can be taken for now.
    fn is_full(&self) -> bool {
        let has_room = match &self.stage {
            Stage::Receiving(snapshot) => snapshot.file.has_room(),
            Stage::Held | Stage::Applying => true,
        };
        !has_room || self.held.len() >= HELD_BYTES_MAX
    }
}

impl Snapshot {
    /// What was not loadable would be found out when the old data is gone.
    fn look_through(&mut self, piece: &[u8], databases: u16) -> Result<(), String> {
        let cannot = |reason: String| format!("The snapshot of the primary cannot be loaded here: {reason}");
        self.looker.feed(piece);
        while !self.is_sound {
            match self.looker.next().map_err(|error| cannot(error.to_string()))? {
                rdb::Step::More => break,
                rdb::Step::Aux(b"repl-stream-db", db) => {
                    let db = parse_u64(db).filter(|&db| db < u64::from(databases));
                    self.db = DbIndex(db.unwrap_or(0) as u16);
                }
                rdb::Step::Aux(..) => {}
                rdb::Step::Key(key) if key.db().0 >= databases => {
                    return Err(cannot(format!(
                        "it has a database {}, and there are {databases} here ('databases')",
                        key.db().0
                    )));
                }
                rdb::Step::Key(_) => {}
                rdb::Step::End(_) => self.is_sound = true,
            }
        }
        if self.payload.is_over() {
            if !self.is_sound {
                return Err(cannot(self.looker.ends_too_early().to_string()));
            }
            self.file.finish(None);
        }
        Ok(())
    }
}

/// Whether a stock primary's stream may have this run: commands that change data or tell others something, and what
/// gives such commands their database and their transaction. Nothing in it may wait, or end the session.
fn can_run(table: &Table, args: Args<'_>) -> bool {
    let Some(spec) = table.find(args.at(0)).map(|id| table.spec(id)) else { return false };
    let is_fit = match spec.run {
        Run::Shard(..) => !spec.flags.has(Flags::BLOCKING),
        Run::Session(op) => matches!(
            op,
            SessionOp::Select
                | SessionOp::Multi
                | SessionOp::Exec
                | SessionOp::Ping
                | SessionOp::Publish
                | SessionOp::Spublish
        ),
        Run::Node(_) | Run::Container => false,
    };
    is_fit && spec.takes(args.len())
}

impl<T: Ticks> Host<T> {
    pub(super) fn foreign(&mut self) -> Option<&mut Foreign> {
        self.replication.conducting.as_mut()?.foreign.as_mut()
    }

    /// A stock primary sends a snapshot, and behind it its stream from this offset on.
    pub(super) fn begin_foreign_sync(&mut self, id: ReplId, offset: u64) {
        let databases = self.command_options.databases;
        let Some(conducting) = &mut self.replication.conducting else { return };
        if conducting.stray_snapshot.is_some() {
            return self.lose_upstream("The snapshot of the last try is still being removed".to_owned());
        }
        let tag = JobTag { place: PLACE, owner: Owner::Sync };
        let file = SnapshotWriter::new(tag, FileId::first(tag), SNAPSHOT_FILE.into()).unsynced();
        let snapshot = Snapshot {
            payload: Payload::default(),
            looker: rdb::Reader::default(),
            is_sound: false,
            db: DbIndex(0),
            file,
        };
        let stage = Stage::Receiving(Box::new(snapshot));
        conducting.foreign = Some(Foreign::new(Offset(offset), DbIndex(0), databases, stage));
        let Some(upstream) = &mut conducting.upstream else { return };
        upstream.begin_foreign_sync(id, offset);
        tracing::info!("Full resync from master: {id}:{offset}");
    }

    /// A stock primary goes on where this replica is, under this name of its history.
    pub(super) fn resume_foreign(&mut self, id: Option<ReplId>) {
        let databases = self.command_options.databases;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let resume = conducting.upstream.as_ref().and_then(Upstream::resume).cloned();
        let Some(resume) = resume.filter(|resume| resume.at.len() == 1) else {
            return self.lose_upstream("The primary goes on where nobody has asked it to".to_owned());
        };
        let at = Offset(resume.offset);
        conducting.foreign = Some(Foreign::new(at, conducting.foreign_db, databases, Stage::Held));
        conducting.applied = [(at.0, at.0)].into_iter().collect();
        tracing::info!("Successful partial resynchronization with master.");
        self.tell_replication(|| ReplicationMail::Streams(1, true));
        self.place_foreign_stream(at);
        self.adopt_history(id.unwrap_or(resume.id), false);
        self.upstream_is_up();
    }

    /// Bytes have come from a stock primary.
    pub(super) fn foreign_received(&mut self, bytes: &[u8]) {
        let databases = self.command_options.databases;
        let Some(foreign) = self.foreign() else { return };
        match foreign.receive(bytes, databases) {
            Ok(()) => self.store_foreign(),
            Err(reason) => self.refuse_upstream(reason),
        }
    }

    /// Writes what has come of a snapshot, and receives no more than the disk, or whoever applies, takes.
    fn store_foreign(&mut self) {
        let Some(foreign) = self.foreign() else { return };
        let job = match &mut foreign.stage {
            Stage::Receiving(snapshot) => snapshot.file.poll(),
            Stage::Held | Stage::Applying => None,
        };
        self.begin_jobs(job);
        self.throttle_foreign();
    }

    fn throttle_foreign(&mut self) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(session) = conducting.upstream.as_ref().and_then(Upstream::link) else { return };
        let Some(foreign) = &mut conducting.foreign else { return };
        let is_full = foreign.is_full();
        if is_full != std::mem::replace(&mut foreign.is_throttled, is_full) {
            self.effects.push(match is_full {
                true => Effect::Throttle(session),
                false => Effect::Unthrottle(session),
            });
        }
    }

    /// A job on the snapshot's file has ended, if it was one: others are flows'.
    pub(super) fn foreign_part_done(&mut self, outcome: Outcome) -> Option<Outcome> {
        if outcome.tag.place != PLACE {
            return Some(outcome);
        }
        let conducting = self.replication.conducting.as_mut()?;
        if let Some(stray) = &mut conducting.stray_snapshot {
            let job = match stray.done(outcome) {
                None => stray.poll(),
                Some(_) => {
                    conducting.stray_snapshot = None;
                    None
                }
            };
            self.begin_jobs(job);
            return None;
        }
        let foreign = conducting.foreign.as_mut()?;
        let Stage::Receiving(snapshot) = &mut foreign.stage else { return None };
        match snapshot.file.done(outcome) {
            None => self.store_foreign(),
            Some(Saved::Whole(bytes)) => {
                let db = snapshot.db;
                foreign.stage = Stage::Held;
                foreign.reader = StockReader::new(foreign.applied, db, self.command_options.databases);
                conducting.foreign_db = db;
                self.foreign_snapshot_is_here(bytes);
                self.throttle_foreign();
            }
            Some(Saved::Failed(failure)) => {
                self.lose_upstream(format!("cannot store the snapshot: {}", failure.text));
            }
            Some(Saved::Abandoned) => {}
        }
        None
    }

    /// Where the one stream of a stock primary is; nothing of it is kept for replicas of this one.
    pub(super) fn place_foreign_stream(&mut self, at: Offset) {
        let streams = &mut self.replication.streams;
        let place = match streams.iter().position(|stream| stream.number == 0) {
            Some(place) => place,
            None => {
                streams.insert(0, Stream::new(0));
                0
            }
        };
        let stream = &mut streams[place];
        stream.backlog = None;
        (stream.raw, stream.offset, stream.open_to) = (at.0, at.0, at.0);
    }

    /// The data is here: the stream is applied from now on.
    pub(super) fn apply_foreign(&mut self) {
        let databases = self.command_options.databases;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let db = conducting.foreign_db;
        let Some(foreign) = &mut conducting.foreign else { return };
        foreign.stage = Stage::Applying;
        debug_assert!(db.0 < databases);
        let applier = self.connect_applier();
        if db != DbIndex(0) {
            let mut bytes = Vec::new();
            bytes.command(["SELECT", &db.0.to_string()]);
            self.receive_internal(applier, &bytes);
        }
        if let Some(foreign) = self.foreign() {
            foreign.applier = Some(applier);
        }
        self.replication.has_more = true;
        self.ack_foreign();
    }

    /// Tells a stock primary how far this replica is. Before the first word it sends no stream.
    pub(super) fn ack_foreign(&mut self) {
        if let Some(applied) = self.foreign().map(|foreign| foreign.applied) {
            self.ack_offset(applied);
        }
    }

    fn ack_offset(&mut self, applied: Offset) {
        let upstream = self.replication.conducting.as_ref().and_then(|c| c.upstream.as_ref());
        let Some(session) = upstream.and_then(Upstream::link) else { return };
        let mut out = Vec::new();
        let applied = applied.0.to_string();
        match upstream.and_then(|upstream| upstream.synced.as_deref()).map(combined) {
            None => out.command(["REPLCONF", "ACK", &applied]),
            Some((_, synced)) => out.command(["REPLCONF", "ACK", &applied, "FACK", &synced.to_string()]),
        }
        self.send_on_link(session, &out);
    }

    /// Applies what has come.
    pub(super) fn settle_foreign(&mut self) {
        let Some(mut foreign) = self.replication.conducting.as_mut().and_then(|c| c.foreign.take()) else {
            return;
        };
        let result = match foreign.stage {
            Stage::Applying => self.settle_foreign_stream(&mut foreign),
            Stage::Receiving(_) | Stage::Held => Ok(()),
        };
        if let Some(conducting) = &mut self.replication.conducting {
            conducting.foreign = Some(foreign);
        }
        match result {
            Ok(()) => self.throttle_foreign(),
            Err(reason) => {
                self.refuse_upstream(format!("The stream of the primary cannot be applied: {reason}"))
            }
        }
    }

    fn settle_foreign_stream(&mut self, foreign: &mut Foreign) -> Result<(), String> {
        let table = self.table.clone();
        for _ in 0..ITEMS_PER_PASS {
            if !self.is_applied(foreign.applier) {
                return Ok(());
            }
            if let Some((end, db)) = foreign.running.take() {
                self.note_foreign_applied(foreign, end, db);
            }
            if foreign.is_stopping || foreign.is_paused {
                return Ok(());
            }
            let is_for_us = |args: Args<'_>| can_run(&table, args);
            let skipped = match foreign.reader.next(is_for_us)? {
                None if foreign.held.is_empty() => return Ok(()),
                None => {
                    foreign.reader.feed(&foreign.held);
                    foreign.held.clear();
                    continue;
                }
                Some(StockItem::Run { bytes, end }) => {
                    if let Some(applier) = foreign.applier {
                        self.receive_internal(applier, bytes);
                    }
                    foreign.running = Some((end, foreign.reader.db()));
                    self.say_left_out(&foreign.reader.left_out());
                    continue;
                }
                Some(StockItem::Ask { end }) => {
                    self.ack_offset(foreign.applied);
                    self.await_sync();
                    end
                }
                Some(StockItem::Skip { end }) => end,
            };
            let (db, names) = (foreign.reader.db(), foreign.reader.left_out());
            self.note_foreign_applied(foreign, skipped, db);
            self.say_left_out(&names);
        }
        self.replication.has_more = true;
        Ok(())
    }

    fn note_foreign_applied(&mut self, foreign: &mut Foreign, end: Offset, db: DbIndex) {
        foreign.applied = end;
        if let Some(stream) = self.replication.streams.iter_mut().find(|stream| stream.number == 0) {
            (stream.raw, stream.offset, stream.open_to) = (end.0, end.0, end.0);
        }
        if let Some(conducting) = &mut self.replication.conducting {
            conducting.applied = [(end.0, end.0)].into_iter().collect();
            conducting.foreign_db = db;
        }
    }

    /// Says each kind of what was left out once.
    fn say_left_out(&mut self, names: &[String]) {
        for name in names {
            let what = format!("{name}, which cannot be run here, and is left out");
            self.refused_by_replica(what);
        }
    }

    /// Something that the primary has sent did not work here: the log tells of each kind once, and where
    /// `propagation-error-behavior` says so the server stops.
    pub(super) fn refused_by_replica(&mut self, what: String) {
        let replication = &self.config.replication;
        let panics = match replication.propagation_error_behavior {
            PropagationError::Ignore => false,
            PropagationError::Panic | PropagationError::PanicOnReplicas => replication.replica_read_only,
        };
        if panics {
            let reason = format!("This replica panicked sending an error to its master: {what}");
            self.effects.push(Effect::Fail(reason));
            return;
        }
        let said = &mut self.replication.said;
        if said.len() < KINDS_SAID_MAX && !said.contains(&what) {
            tracing::error!("== CRITICAL == This replica is sending an error to its master: '{what}'");
            said.push(what);
        }
    }

    /// The link is over, and all that was begun has come to its end.
    pub(super) fn end_foreign(&mut self) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(foreign) = conducting.foreign.take() else { return };
        let mut job = None;
        if let Stage::Receiving(snapshot) = foreign.stage {
            let mut file = snapshot.file;
            file.abandon();
            job = file.poll();
            conducting.stray_snapshot = Some(file);
        }
        self.end_applier(foreign.applier);
        self.begin_jobs(job);
    }

    /// A sign of life for a stock primary, which hears nothing else while data is being loaded.
    pub(super) fn tick_foreign(&mut self) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let (Some(_), Some(upstream)) = (&conducting.foreign, &mut conducting.upstream) else { return };
        let is_loading = matches!(upstream.state(), LinkState::Clearing | LinkState::Loading);
        if let Some(session) = upstream.link().filter(|_| is_loading && upstream.is_ack_due(now)) {
            self.send_on_link(session, b"\n");
        }
    }
}
