//! Replicas that are stock Redis servers, and tools that ask for what those are sent (`redis-cli --rdb`, `--replica`).
//!
//! Such a replica has one link, on core 0. On it it is sent one file with the data of all shards (`export`), and then
//! the shards' streams merged into one (`merging`); or that alone, if it was here before and what it lacks is kept.
//!
//! ```text
//! Waiting -> Attending (the shards are saved, and joined) -> Sending -> Streaming
//!                                                                    -> Ending (it wants no more)
//!         -> Streaming (it goes on where it was)
//! ```
//!
//! A link is never waited for. What it has not been sent is in the file and in the merged stream's backlog, which all
//! share; a link that is too far behind (`client-output-buffer-limit replica`), or takes nothing of the file for
//! `repl-timeout`, is let go.

use super::export::Export;
use super::feeds::is_too_far_behind;
use super::merging::{MergeMail, Merging};
use super::ReplicationMail;
use crate::base::time::{MonoUs, Ticks};
use crate::host::host::{mark_dirty, Host};
use crate::host::mail::Rare;
use crate::rdb::layout::VERSION;
use crate::rdb::merge::{Merge, MergeOptions};
use crate::replication::backlog::Backlog;
use crate::replication::history::{Positions, ReplId};
use crate::replication::replicas::Stage;
use crate::session::replica::ReplicaInfo;
use crate::storage::op::{FileId, FileOp, Job, JobTag, Outcome, Owner};

/// What core 0 keeps.
#[derive(Debug, Default)]
pub(in crate::host) struct Stock {
    pub(super) links: Vec<Link>,
    pub(super) exports: Vec<Export>,
    pub(super) merging: Option<Merging>,
    /// The number of the last merging.
    last_merging: u64,
    /// Since when nobody is fed from the merged stream.
    alone_since: Option<MonoUs>,
    /// When those who wait were last told that this node lives.
    signed: MonoUs,
    /// The place that the jobs of a link have that was made last.
    last_place: u16,
}

/// A replica's link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) meeting: u64,
    session: u32,
    /// It has asked with PSYNC: it is told the history and the offset.
    speaks_psync: bool,
    /// It wants a snapshot and nothing else.
    rdb_only: bool,
    /// It wants a snapshot without keys.
    without_keys: bool,
    pub(super) stage: LinkStage,
    /// The position of the next byte of the merged stream that it is to be sent; none before the shards were cut.
    at: Option<u64>,
    /// The place that its jobs have.
    place: u16,
    behind_since: Option<MonoUs>,
    /// When it last took something of the file.
    moved: MonoUs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkStage {
    Waiting,
    /// The export with this number.
    Attending(u64),
    Sending {
        export: u64,
        sent: u64,
        bytes: u64,
        is_reading: bool,
    },
    Streaming,
    Ending,
}

/// A link that is owed this much is not given more.
const LINK_BYTES_MAX: usize = 1024 * 1024;

/// How much of the file is read at a time.
const READ_BYTES: u64 = 256 * 1024;

/// How often those who wait are told that this node lives (Redis: in each call of `replicationCron`).
const SIGN_EVERY_US: u64 = 1_000_000;

/// Places of jobs up to here are those of `export`.
const LAST_PLACE_OF_EXPORT: u16 = 15;

impl Stock {
    /// The one stream, while it is made.
    pub(super) fn merging(&self) -> Option<&Merging> {
        self.merging.as_ref()
    }

    /// Whether a snapshot is being made for links.
    fn is_exporting(&self) -> bool {
        self.exports.iter().any(|export| !export.is_ready())
    }

    fn next_place(&mut self) -> u16 {
        self.last_place = self.last_place.wrapping_add(1).max(LAST_PLACE_OF_EXPORT + 1);
        while self.links.iter().any(|link| link.place == self.last_place) {
            self.last_place = self.last_place.wrapping_add(1).max(LAST_PLACE_OF_EXPORT + 1);
        }
        self.last_place
    }
}

impl Link {
    /// Whether it is, or is going to be, fed from the merged stream.
    fn is_fed(&self) -> bool {
        !self.rdb_only
    }

    /// The export that it is sent or waits for.
    pub(super) fn export(&self) -> Option<u64> {
        match self.stage {
            LinkStage::Attending(export) | LinkStage::Sending { export, .. } => Some(export),
            LinkStage::Waiting | LinkStage::Streaming | LinkStage::Ending => None,
        }
    }
}

impl<T: Ticks> Host<T> {
    pub(super) fn stock(&mut self) -> Option<&mut Stock> {
        self.replication.conducting.as_mut().map(|conducting| &mut conducting.stock)
    }

    /// Sends a replica's session something, if it is still there.
    pub(super) fn say(&mut self, index: u32, bytes: &[u8]) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.replies.push(bytes);
        mark_dirty(session, index, &mut self.dirty);
    }

    /// A stock replica's meeting has begun.
    pub(super) fn meet_stock(
        &mut self,
        meeting: u64,
        session: u32,
        info: &ReplicaInfo,
        resume: Option<(ReplId, Positions)>,
    ) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let stock = &mut conducting.stock;
        let place = stock.next_place();
        let mut link = Link {
            meeting,
            session,
            speaks_psync: info.speaks_psync,
            rdb_only: info.rdb_only,
            without_keys: info.without_keys,
            stage: LinkStage::Waiting,
            at: None,
            place,
            behind_since: None,
            moved: now,
        };
        let wanted = resume.as_ref().and_then(|(id, at)| match at[..] {
            // It names the first byte that it lacks, and the first of all is 1.
            [at] => Some((*id, at.checked_sub(1)?)),
            _ => None,
        });
        let merging = stock.merging.as_ref().filter(|_| link.is_fed());
        let kept = merging.zip(wanted).filter(|(merging, (id, at))| {
            merging.id == *id && merging.backlog.as_ref().is_some_and(|backlog| backlog.has(*at))
        });
        let Some((id, at)) = kept.map(|(_, wanted)| wanted) else {
            if resume.is_some() {
                conducting.syncs.2 += 1;
            }
            // Where keys do not matter any place in the stream is as good as that of a cut.
            let end = merging.filter(|_| link.without_keys).and_then(|merging| merging.backlog.as_ref());
            if let Some(end) = end.map(Backlog::end) {
                link.at = Some(end);
                stock.links.push(link);
                stock.alone_since = None;
                return self.send_empty(&[meeting]);
            }
            stock.links.push(link);
            self.set_stage(meeting, Stage::Waiting);
            return self.begin_due_export();
        };
        (link.stage, link.at) = (LinkStage::Streaming, Some(at));
        stock.links.push(link);
        stock.alone_since = None;
        conducting.syncs.1 += 1;
        tracing::info!("Partial resynchronization request accepted: the stream goes on at {at}");
        self.set_stage(meeting, Stage::Online);
        let reply = match info.knows_psync2 {
            true => format!("+CONTINUE {id}\r\n"),
            false => "+CONTINUE\r\n".to_owned(),
        };
        self.say(session, reply.as_bytes());
    }

    /// Begins a snapshot for the links that wait for one, if nothing else is being saved.
    pub(super) fn begin_due_export(&mut self) {
        let (streams, capacity) = (self.stream_count(), self.config.replication.repl_backlog_bytes);
        let is_replica = self.replication.is_replica;
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let stock = &mut conducting.stock;
        let waiting = || stock.links.iter().filter(|link| link.stage == LinkStage::Waiting);
        let is_busy = conducting.change.is_some() || self.persist.loading.is_some();
        if waiting().next().is_none() || stock.is_exporting() || is_busy {
            return;
        }
        let wants_stream = waiting().any(Link::is_fed);
        let merging = match &stock.merging {
            Some(merging) => merging.number,
            None if wants_stream => stock.last_merging + 1,
            None => 0,
        };
        let Some(id) = self.begin_export(merging) else { return };
        let Some(conducting) = &mut self.replication.conducting else { return };
        let stock = &mut conducting.stock;
        if merging > 0 && stock.merging.is_none() {
            stock.last_merging = merging;
            // Another node that follows the same history has merged it in another order.
            let name = match is_replica {
                true => ReplId::random(&mut self.rng),
                false => conducting.history.id,
            };
            stock.merging = Some(Merging::new(merging, name, streams, capacity));
        }
        stock.exports.push(Export::new(id, streams, now));
        let mut count = 0;
        for link in stock.links.iter_mut().filter(|link| link.stage == LinkStage::Waiting) {
            link.stage = LinkStage::Attending(id);
            count += 1;
        }
        if wants_stream {
            stock.alone_since = None;
        }
        conducting.syncs.0 += count;
        tracing::info!("Full synchronization of {count} stock replica(s) begins");
    }

    /// All shards were cut for an export, where the merged stream has come to this offset.
    pub(super) fn export_was_cut(&mut self, export: u64, offset: u64) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let id = conducting.stock.merging.as_ref().map_or(conducting.history.id, |merging| merging.id);
        let mut told = Vec::new();
        for link in &mut conducting.stock.links {
            if link.stage == LinkStage::Attending(export) {
                link.at = Some(offset);
                told.extend(link.speaks_psync.then_some(link.session));
            }
        }
        let line = format!("+FULLRESYNC {id} {offset}\r\n");
        told.into_iter().for_each(|session| self.say(session, line.as_bytes()));
        self.begin_transfers(export);
    }

    /// If an export is there as a whole it is sent to those who attend it.
    pub(super) fn begin_transfers(&mut self, number: u64) {
        let now = self.now.mono;
        let Some(stock) = self.stock() else { return };
        let found = stock.exports.iter().find(|export| export.number == number);
        let Some(bytes) = found.and_then(Export::bytes) else { return };
        let (mut begun, mut without) = (Vec::new(), Vec::new());
        for link in &mut stock.links {
            if link.stage == LinkStage::Attending(number) {
                if link.without_keys {
                    without.push(link.meeting);
                    continue;
                }
                link.stage = LinkStage::Sending { export: number, sent: 0, bytes, is_reading: false };
                link.moved = now;
                begun.push((link.meeting, link.session));
            }
        }
        let line = format!("${bytes}\r\n");
        for (meeting, session) in begun {
            self.set_stage(meeting, Stage::Sending);
            self.say(session, line.as_bytes());
        }
        self.send_empty(&without);
        self.release_exports();
    }

    /// Sends those who want no keys a snapshot without any.
    fn send_empty(&mut self, meetings: &[u64]) {
        let (about, mut file) = (self.about_export(), Vec::new());
        let options = MergeOptions { version: VERSION, about, aux: Vec::new(), checksum: true };
        Merge::new(options).finish(&mut file);
        for &meeting in meetings {
            let Some(stock) = self.stock() else { return };
            let Some(link) = stock.links.iter_mut().find(|link| link.meeting == meeting) else { continue };
            link.stage = if link.rdb_only { LinkStage::Ending } else { LinkStage::Streaming };
            let session = link.session;
            self.say(session, format!("${}\r\n", file.len()).as_bytes());
            self.say(session, &file);
            self.set_stage(meeting, Stage::Online);
        }
    }

    /// Gives each link what there is for it, as far as it takes it.
    pub(super) fn pump_links(&mut self) {
        let Some(mut conducting) = self.replication.conducting.take() else { return };
        let stock = &mut conducting.stock;
        let mut ended = Vec::new();
        for link in &mut stock.links {
            let Some(session) = self.sessions[link.session as usize].as_deref_mut() else { continue };
            let owed = session.owed_bytes();
            match &mut link.stage {
                LinkStage::Sending { export, sent, bytes, is_reading } => {
                    let export = stock.exports.iter().find(|one| one.number == *export);
                    let Some(path) = export.map(Export::path) else { continue };
                    if *is_reading || owed >= LINK_BYTES_MAX || sent == bytes {
                        continue;
                    }
                    (*is_reading, link.moved) = (true, self.now.mono);
                    let tag = JobTag { place: link.place, owner: Owner::Export };
                    let file = FileId::first(tag);
                    let len = READ_BYTES.min(*bytes - *sent) as usize;
                    self.begin_jobs([Job {
                        tag,
                        ops: vec![
                            FileOp::Open { file, path: path.into() },
                            FileOp::Read { file, offset: *sent, len },
                            FileOp::Close { file },
                        ],
                    }]);
                }
                LinkStage::Streaming => {
                    let backlog = stock.merging.as_ref().and_then(|merging| merging.backlog.as_ref());
                    let (Some(backlog), Some(at)) = (backlog, &mut link.at) else { continue };
                    if *at >= backlog.end() || owed >= LINK_BYTES_MAX {
                        continue;
                    }
                    let out = session.replies.writer();
                    match backlog.read(*at, backlog.end(), LINK_BYTES_MAX - owed, out) {
                        Some(now_at) => *at = now_at,
                        None => ended.push((link.meeting, "what it lacks is not kept")),
                    }
                    mark_dirty(session, link.session, &mut self.dirty);
                }
                LinkStage::Ending if owed == 0 => ended.push((link.meeting, "it has its snapshot")),
                LinkStage::Ending | LinkStage::Waiting | LinkStage::Attending(_) => {}
            }
        }
        if let Some(backlog) = stock.merging.as_mut().and_then(|merging| merging.backlog.as_mut()) {
            backlog.trim(stock.links.iter().filter(|link| link.is_fed()).filter_map(|link| link.at).min());
        }
        self.replication.conducting = Some(conducting);
        ended.into_iter().for_each(|(meeting, reason)| self.end_meeting(meeting, reason));
    }

    /// A piece of the file was read for a link.
    pub(super) fn link_has_read(&mut self, outcome: Outcome) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let found = conducting.stock.links.iter_mut().find(|link| link.place == outcome.tag.place);
        // It may be gone meanwhile.
        let Some(link) = found else { return };
        let (meeting, session, rdb_only) = (link.meeting, link.session, link.rdb_only);
        let LinkStage::Sending { sent, bytes, is_reading, .. } = &mut link.stage else { return };
        *is_reading = false;
        if let Err(failure) = outcome.result {
            return self.end_meeting(meeting, &failure.text);
        }
        if outcome.buffer.is_empty() {
            return self.end_meeting(meeting, "the snapshot's file is too short");
        }
        *sent += outcome.buffer.len() as u64;
        let is_whole = sent == bytes;
        link.moved = now;
        if is_whole {
            link.stage = if rdb_only { LinkStage::Ending } else { LinkStage::Streaming };
        }
        self.say(session, &outcome.buffer);
        if is_whole {
            tracing::info!("Synchronization with replica succeeded: it is sent the stream from here on");
            self.set_stage(meeting, Stage::Online);
            self.release_exports();
            self.tell_gate();
        }
    }

    /// A link has ended with its meeting.
    pub(super) fn end_link(&mut self, meeting: u64) {
        let now = self.now.mono;
        let Some(stock) = self.stock() else { return };
        let Some(at) = stock.links.iter().position(|link| link.meeting == meeting) else { return };
        stock.links.remove(at);
        if stock.merging.is_some() && !stock.links.iter().any(Link::is_fed) {
            stock.alone_since.get_or_insert(now);
        }
        self.release_exports();
    }

    /// All who are fed from the merged stream, or wait to be, are let go.
    pub(super) fn end_stock_links(&mut self, reason: &str) {
        let Some(stock) = self.stock() else { return };
        let fed: Vec<u64> =
            stock.links.iter().filter(|link| link.is_fed()).map(|link| link.meeting).collect();
        fed.into_iter().for_each(|meeting| self.end_meeting(meeting, reason));
    }

    /// What is due: snapshots, signs of life, links that are too slow, a stream that nobody came back for.
    pub(super) fn tick_stock(&mut self) {
        self.begin_due_export();
        let now = self.now.mono;
        let limit = self.config.clients.output_buffer_limits.replica;
        let replication = &self.config.replication;
        let capacity = replication.repl_backlog_bytes;
        let timeout_us = u64::from(replication.repl_timeout_secs) * 1_000_000;
        let ttl_us = replication.repl_backlog_ttl_secs.saturating_mul(1_000_000);
        let Some(conducting) = &mut self.replication.conducting else { return };
        let stock = &mut conducting.stock;
        if let Some(merging) = &mut stock.merging {
            merging.set_capacity(capacity);
        }
        let backlog = stock.merging.as_ref().and_then(|merging| merging.backlog.as_ref());
        let end = backlog.map_or(0, Backlog::end);
        // What is kept for those that come back costs nothing on their account, as in Redis.
        let over = backlog.map_or(0, |backlog| backlog.end() - backlog.first()).saturating_sub(capacity);
        let is_signing = now.since(stock.signed) >= SIGN_EVERY_US;
        if is_signing {
            stock.signed = now;
        }
        let (mut slow, mut stalled, mut signed) = (Vec::new(), Vec::new(), Vec::new());
        for link in &mut stock.links {
            let at = link.at.filter(|_| link.is_fed());
            let behind = at.map_or(0, |at| end.saturating_sub(at).min(over));
            if is_too_far_behind(&mut link.behind_since, behind, limit, now) {
                slow.push(link.session);
            }
            match link.stage {
                LinkStage::Sending { .. } | LinkStage::Ending if now.since(link.moved) > timeout_us => {
                    stalled.push(link.meeting);
                }
                LinkStage::Waiting | LinkStage::Attending(_) if is_signing => signed.push(link.session),
                _ => {}
            }
        }
        let is_alone = ttl_us > 0 && stock.alone_since.is_some_and(|since| now.since(since) >= ttl_us);
        let late = stock.exports.iter().find(|export| export.is_late(now, timeout_us));
        let late = late.map(|export| export.number);
        signed.into_iter().for_each(|session| self.send_sign_of_life(session));
        slow.into_iter().for_each(|session| self.drop_slow_reader(session));
        stalled.into_iter().for_each(|meeting| self.end_meeting(meeting, "it takes nothing of its snapshot"));
        if let Some(export) = late {
            self.export_failed(export);
        }
        if is_alone {
            if let Some(stock) = self.stock() {
                stock.alone_since = None;
            }
            self.stop_merging();
        }
    }

    /// Stock replicas are asked, in the stream, to say at once how far they are.
    pub(super) fn ask_stock_for_acks(&mut self) {
        let Some(stock) = self.stock() else { return };
        let is_asked = |link: &Link| link.stage == LinkStage::Streaming && link.speaks_psync;
        if stock.links.iter().any(is_asked) {
            let mail = ReplicationMail::Merge(MergeMail::AskForAcks);
            self.post(self.owner_of(0), Rare::Replication(mail));
        }
    }

    /// Whether there is something to be given to links.
    pub(super) fn has_links(&self) -> bool {
        self.replication.conducting.as_ref().is_some_and(|conducting| {
            !conducting.stock.links.is_empty() || conducting.stock.merging.is_some()
        })
    }

    /// Ends what concerns the history that ends here, on core 0.
    pub(super) fn end_stock(&mut self) {
        self.stop_merging();
        if let Some(stock) = self.stock() {
            stock.alone_since = None;
        }
    }
}
