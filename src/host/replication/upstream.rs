//! Core 0 of a replica: the link to its primary.
//!
//! ```text
//! Waiting -> Connecting -> Greeting -> Joining -> [Receiving -> Clearing -> Loading] -> Up
//!    ^------------------------- whatever goes wrong ---------------------------------------'
//! ```
//!
//! A link that fails is tried again each second, for ever. What was applied until then is where the next one asks to go
//! on; that is known once nothing that was begun is under way (`roles`).

use std::path::PathBuf;
use std::sync::Arc;

use super::flows::{part_file, Collecting, FlowNews, FlowOrder};
use super::foreign::SNAPSHOT_FILE;
use super::roles::DrainFor;
use super::ReplicationMail;
use crate::base::ids::Offset;
use crate::base::time::{MonoUs, Ticks};
use crate::config::PrimaryAddress;
use crate::host::dial::{LinkEvent, LinkOwner};
use crate::host::host::Host;
use crate::host::mail::Rare;
use crate::journal::Sink;
use crate::node::replication::UpstreamReport;
use crate::replication::flow::Position;
use crate::replication::handshake::{Handshake, Heard, Introduction, Lines, Welcome};
use crate::replication::history::{
    combined, parse_positions, write_positions, Applied, Before, History, Positions, ReplId, Resume,
};
use crate::replication::replicas::reaches;
use crate::replication::token::Token;
use crate::storage::op::{FileOp, Job, JobTag, Owner};
use crate::storage::plan::{AofStart, Load, LoadFile, Plan};

/// See the module.
pub(in crate::host) struct Upstream {
    address: PrimaryAddress,
    state: LinkState,
    /// Its link, while there is one.
    session: Option<u32>,
    lines: Lines,
    handshake: Option<Handshake>,
    meeting: Option<Meeting>,
    /// Whether its flows apply records, until it is known how far they have come.
    applies: bool,
    pub(super) collecting: Option<Collecting>,
    /// What is asked to be gone on from.
    resume: Option<Resume>,
    /// Whether the primary is a replica still, and becomes one by being asked (FAILOVER).
    demands: bool,
    /// When the primary was last heard, and since when the link is down.
    heard: MonoUs,
    down_since: Option<MonoUs>,
    acked: MonoUs,
    /// What the primary wants to be told when it is applied, and what is being asked of the flows.
    pub(super) wanted: Option<Positions>,
    answers: usize,
    /// What the flows were asked to tell when they have applied it (`tokens`).
    pub(super) asked: Option<Positions>,
    /// Up to where what is applied is known to be in this replica's append-only files, on the disk.
    pub(super) synced: Option<Applied>,
    /// Whether what the primary has sent cannot be held here: neither is it asked for again at once, nor gone on with.
    is_refused: bool,
    /// What was last said of why it does not work, so that the log is not filled with it.
    said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Waiting(MonoUs),
    Connecting,
    Greeting,
    Joining,
    /// A snapshot comes.
    Receiving,
    /// It is here; clients are kept out.
    Clearing,
    Loading,
    Up,
    /// What was begun comes to its end before the link is tried again.
    Ending,
}

/// What the primary has offered.
struct Meeting {
    number: u64,
    id: ReplId,
    parts: u16,
    streams: u16,
    /// Whether a stock server sends all over the link.
    is_foreign: bool,
    /// Where the history before ended there.
    elder: Option<Token>,
    flows: Vec<FlowState>,
}

#[derive(Clone, Debug, Default)]
struct FlowState {
    is_sent_part: bool,
    stored: Option<u64>,
    stream: Option<Position>,
    is_done: bool,
}

/// A link that has failed is tried again after this (Redis: `replicationCron`).
const RETRY_US: u64 = 1_000_000;

/// The same where the primary's data cannot be held here: each try costs it a snapshot.
const REFUSED_RETRY_US: u64 = 5_000_000;

/// How often the primary is told how far this replica is (Redis: once a second).
const ACK_EVERY_US: u64 = 1_000_000;

impl Upstream {
    pub(super) fn new(
        address: PrimaryAddress,
        resume: Option<Resume>,
        demands: bool,
        now: MonoUs,
    ) -> Upstream {
        Upstream {
            address,
            state: LinkState::Waiting(now),
            session: None,
            lines: Lines::default(),
            handshake: None,
            meeting: None,
            applies: false,
            collecting: None,
            resume,
            demands,
            heard: now,
            down_since: Some(now),
            acked: now,
            wanted: None,
            answers: 0,
            asked: None,
            synced: None,
            is_refused: false,
            said: String::new(),
        }
    }

    /// Whether records are applied.
    pub(super) fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    /// What is asked to be gone on from, as the files say.
    pub(super) fn resume_from(&mut self, resume: Resume) {
        self.resume = Some(resume);
    }

    /// Whether the link was lost, and what was begun has still to come to its end.
    pub(super) fn is_ending(&self) -> bool {
        self.state == LinkState::Ending
    }

    /// Whether flows of this link have applied records, and more than core 0 knows.
    pub(super) fn applies(&self) -> bool {
        self.applies
    }

    /// Its link, while there is one.
    pub(super) fn link(&self) -> Option<u32> {
        self.session
    }

    /// How far the link is.
    pub(super) fn state(&self) -> LinkState {
        self.state
    }

    /// What is asked to be gone on from.
    pub(super) fn resume(&self) -> Option<&Resume> {
        self.resume.as_ref()
    }

    /// Whether the primary is to be told something: not again within the time that lies between two words to it.
    pub(super) fn is_ack_due(&mut self, now: MonoUs) -> bool {
        let is_due = now.since(self.acked) >= ACK_EVERY_US;
        if is_due {
            self.acked = now;
        }
        is_due
    }

    /// A stock primary sends a snapshot; behind it the stream begins at this offset.
    pub(super) fn begin_foreign_sync(&mut self, id: ReplId, offset: u64) {
        self.state = LinkState::Receiving;
        let stream = Some(Position { raw: offset, offset: Offset(offset) });
        let flows = vec![FlowState { is_sent_part: true, stream, ..FlowState::default() }];
        self.meeting =
            Some(Meeting { number: 0, id, parts: 1, streams: 1, is_foreign: true, elder: None, flows });
    }

    /// The primary.
    pub(super) fn address(&self) -> &PrimaryAddress {
        &self.address
    }

    /// What INFO shows.
    pub(super) fn report(&self, now: MonoUs) -> UpstreamReport {
        UpstreamReport {
            is_up: self.is_up(),
            is_syncing: matches!(self.state, LinkState::Receiving | LinkState::Clearing | LinkState::Loading),
            state: match self.state {
                LinkState::Waiting(_) | LinkState::Ending => "connect",
                LinkState::Connecting => "connecting",
                LinkState::Greeting | LinkState::Joining => "handshake",
                LinkState::Receiving | LinkState::Clearing | LinkState::Loading => "sync",
                LinkState::Up => "connected",
            },
            heard_secs: match self.is_up() {
                true => Some(now.since(self.heard) / 1_000_000),
                false => None,
            },
            down_secs: self.down_since.filter(|_| !self.is_up()).map(|since| now.since(since) / 1_000_000),
        }
    }
}

impl Meeting {
    /// Where a part of the snapshot is kept until it is loaded.
    fn file(&self, flow: usize) -> PathBuf {
        match self.is_foreign {
            true => SNAPSHOT_FILE.into(),
            false => part_file(flow as u16).into(),
        }
    }
}

impl<T: Ticks> Host<T> {
    /// How this replica introduces itself.
    fn introduction(&self) -> Introduction {
        let replication = &self.config.replication;
        Introduction {
            user: replication.masteruser.to_string().into_bytes(),
            password: replication.masterauth.to_string().into_bytes(),
            port: match replication.replica_announce_port {
                0 => self.config.network.port,
                port => port,
            },
            ip: replication.replica_announce_ip.to_string().into_bytes(),
        }
    }

    /// Whether a session is the link of this replica to its primary.
    pub(in crate::host) fn is_link_to_primary(&self, index: u32) -> bool {
        let upstream = self.replication.conducting.as_ref().and_then(|c| c.upstream.as_ref());
        upstream.is_some_and(|upstream| upstream.session == Some(index))
    }

    fn upstream(&mut self) -> Option<&mut Upstream> {
        self.replication.conducting.as_mut()?.upstream.as_mut()
    }

    /// What is due on the link: a try, a word to the primary, a look at the clock.
    pub(super) fn tick_upstream(&mut self) {
        let now = self.now.mono;
        let timeout_us = u64::from(self.config.replication.repl_timeout_secs) * 1_000_000;
        let is_loading = self.persist.loading.is_some();
        let is_saving = self.is_saving();
        let Some(upstream) = self.upstream() else { return };
        match upstream.state {
            LinkState::Waiting(until) if now >= until && !is_loading => self.connect_upstream(),
            LinkState::Waiting(_) | LinkState::Ending | LinkState::Loading => {}
            LinkState::Clearing if !is_saving => self.clear_for_sync(),
            LinkState::Clearing => {}
            _ if now.since(upstream.heard) > timeout_us => {
                self.lose_upstream("Timeout connecting to, or receiving from the primary".to_owned());
            }
            LinkState::Up if now.since(upstream.acked) >= ACK_EVERY_US => {
                upstream.acked = now;
                upstream.answers = 0;
                match self.foreign().is_some() {
                    true => {
                        self.ack_foreign();
                        self.await_sync();
                    }
                    false => self.tell_replication(|| ReplicationMail::AskApplied(None)),
                }
            }
            _ => {}
        }
    }

    fn connect_upstream(&mut self) {
        let now = self.now.mono;
        let Some(upstream) = self.upstream() else { return };
        let (host, port) = (upstream.address.host.clone(), upstream.address.port);
        upstream.state = LinkState::Connecting;
        upstream.heard = now;
        upstream.lines = Lines::default();
        if upstream.said.is_empty() {
            tracing::info!("Connecting to MASTER {host}:{port}");
        }
        let session = self.dial(host.to_string(), port, LinkOwner::Upstream);
        if let Some(upstream) = self.upstream() {
            upstream.session = Some(session);
        }
    }

    /// Something has happened to the link.
    pub(in crate::host) fn upstream_event(&mut self, index: u32, event: LinkEvent<'_>) {
        let (now, introduction) = (self.now.mono, self.introduction());
        let Some(upstream) = self.upstream().filter(|upstream| upstream.session == Some(index)) else {
            return;
        };
        match event {
            LinkEvent::Stands => {
                let mut out = Vec::new();
                upstream.heard = now;
                upstream.state = LinkState::Greeting;
                let (resume, demands) = (upstream.resume.clone(), upstream.demands);
                upstream.handshake = Some(Handshake::new(introduction, resume, demands, &mut out));
                self.send_on_link(index, &out);
            }
            LinkEvent::Failed(reason) => {
                upstream.session = None;
                let reason = format!("Error condition on socket for SYNC: {reason}");
                self.lose_upstream(reason);
            }
            LinkEvent::Ended => {
                upstream.session = None;
                self.lose_upstream("Connection with master lost.".to_owned());
            }
            LinkEvent::Received(bytes) => {
                upstream.heard = now;
                if self.foreign().is_some() {
                    return self.foreign_received(bytes);
                }
                if let Some(upstream) = self.upstream() {
                    upstream.lines.feed(bytes);
                }
                self.hear_upstream();
            }
        }
    }

    fn hear_upstream(&mut self) {
        loop {
            let Some(upstream) = self.upstream() else { return };
            let Some(session) = upstream.session else { return };
            let line = match upstream.lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(reason) => return self.lose_upstream(reason),
            };
            if upstream.state != LinkState::Greeting {
                self.hear_request(&line);
                continue;
            }
            let Some(handshake) = &mut upstream.handshake else { return };
            let mut out = Vec::new();
            match handshake.hear(&line, &mut out) {
                Ok(Heard::Next) => {}
                Ok(Heard::Note(note)) => tracing::warn!("{note}"),
                Ok(Heard::Welcome(welcome)) => {
                    upstream.handshake = None;
                    upstream.demands = false;
                    self.failover_is_over();
                    self.welcomed(welcome);
                    if self.foreign().is_some() {
                        // From here on there are no more lines.
                        let rest = self.upstream().map(|upstream| upstream.lines.take_rest());
                        return self.foreign_received(&rest.unwrap_or_default());
                    }
                }
                Err(reason) => {
                    if upstream.demands && handshake.awaits_welcome() {
                        self.abort_failover("Failover target rejected psync request");
                    }
                    return self.lose_upstream(reason);
                }
            }
            if !out.is_empty() {
                self.send_on_link(session, &out);
            }
        }
    }

    /// `+GETACK positions`: the primary wants to know when they are applied.
    fn hear_request(&mut self, line: &[u8]) {
        let wanted = line.strip_prefix(b"+GETACK ").and_then(parse_positions);
        let Some(upstream) = self.upstream() else { return };
        let Some(wanted) = wanted.filter(|_| upstream.state == LinkState::Up) else { return };
        upstream.wanted = Some(wanted);
        if self.look_at_acks() {
            self.await_sync();
        }
        self.ask_for_what_is_awaited();
    }

    fn welcomed(&mut self, welcome: Welcome) {
        let (number, id, parts, streams, elder) = match welcome {
            Welcome::Flows { number, id, parts, streams, elder } => (number, id, parts, streams, elder),
            Welcome::Full { id, offset } => return self.begin_foreign_sync(id, offset),
            Welcome::Continue { id } => return self.resume_foreign(id),
        };
        let introduction = self.introduction();
        let Some(upstream) = self.upstream() else { return };
        let flows = parts.max(streams);
        upstream.state = LinkState::Joining;
        upstream.collecting = Some(Collecting::new(usize::from(streams)));
        let states = vec![FlowState::default(); usize::from(flows)];
        upstream.meeting =
            Some(Meeting { number, id, parts, streams, is_foreign: false, elder, flows: states });
        let (host, port) = (upstream.address.host.clone(), upstream.address.port);
        let resume = upstream.resume.clone().filter(|resume| resume.at.len() == usize::from(streams));
        let applied = self.applied_positions();
        self.tell_replication(|| ReplicationMail::Streams(streams, false));
        for flow in 0..flows {
            let raw = resume.as_ref().and_then(|resume| resume.at.get(usize::from(flow)).copied());
            let offset = applied.get(usize::from(flow)).map_or(0, |&(_, offset)| offset);
            let order = FlowOrder {
                meeting: number,
                number: flow,
                streams,
                host: host.to_string(),
                port,
                introduction: introduction.clone(),
                at: raw.map(|raw| Position { raw, offset: Offset(offset) }),
            };
            self.post(self.owner_of(flow), Rare::Replication(ReplicationMail::OpenFlow(order)));
        }
    }

    /// What is known to be applied, raw and offset.
    fn applied_positions(&self) -> Vec<(u64, u64)> {
        self.replication.conducting.as_ref().map(|c| c.applied.to_vec()).unwrap_or_default()
    }

    /// A flow has come further.
    pub(super) fn flow_news(&mut self, number: u64, flow: u16, news: FlowNews) {
        let now = self.now.mono;
        let Some(upstream) = self.upstream() else { return };
        upstream.heard = now;
        let Some(meeting) = upstream.meeting.as_mut().filter(|meeting| meeting.number == number) else {
            return;
        };
        let Some(state) = meeting.flows.get_mut(usize::from(flow)) else { return };
        match news {
            FlowNews::Part => {
                state.is_sent_part = true;
                if upstream.state == LinkState::Joining {
                    upstream.state = LinkState::Receiving;
                    tracing::info!("Full resync from master: {}", meeting.id);
                }
            }
            FlowNews::Stored(bytes) => state.stored = Some(bytes),
            FlowNews::Stream(position) => state.stream = Some(position),
            FlowNews::Done => state.is_done = true,
            FlowNews::Failed(reason) => {
                return self.lose_upstream(format!("flow {flow}: {reason}"));
            }
        }
        self.look_at_flows();
    }

    /// Once all flows have what they are to have it goes on.
    fn look_at_flows(&mut self) {
        let Some(upstream) = self.upstream() else { return };
        if !matches!(upstream.state, LinkState::Joining | LinkState::Receiving) {
            return;
        }
        let Some(meeting) = &upstream.meeting else { return };
        let is_ready = |(flow, state): (usize, &FlowState)| {
            let has_stream = state.stream.is_some() || flow >= usize::from(meeting.streams) && state.is_done;
            has_stream && (!state.is_sent_part || state.stored.is_some())
        };
        if !meeting.flows.iter().enumerate().all(is_ready) {
            return;
        }
        let sent = meeting.flows.iter().filter(|state| state.is_sent_part).count();
        let (id, parts) = (meeting.id, usize::from(meeting.parts));
        if sent == 0 {
            tracing::info!("Successful partial resynchronization with master.");
            self.adopt_history(id, false);
            return self.upstream_is_up();
        }
        if sent != parts {
            return self.lose_upstream("some flows go on, and others begin anew".to_owned());
        }
        self.snapshot_is_here();
    }

    /// The snapshot of a stock primary is here, of this length, and can be loaded.
    pub(super) fn foreign_snapshot_is_here(&mut self, bytes: u64) {
        let Some(upstream) = self.upstream().filter(|upstream| upstream.state == LinkState::Receiving) else {
            return;
        };
        if let Some(flow) = upstream.meeting.as_mut().and_then(|meeting| meeting.flows.first_mut()) {
            flow.stored = Some(bytes);
        }
        self.snapshot_is_here();
    }

    fn snapshot_is_here(&mut self) {
        if let Some(upstream) = self.upstream() {
            upstream.state = LinkState::Clearing;
        }
        if !self.is_saving() {
            self.clear_for_sync();
        }
    }

    /// This node's data is of the primary's history from now on.
    pub(super) fn adopt_history(&mut self, id: ReplId, is_new: bool) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        conducting.is_foreign_history = conducting.foreign.is_some();
        let meeting = conducting.upstream.as_ref().and_then(|upstream| upstream.meeting.as_ref());
        conducting.elder = meeting.and_then(|meeting| meeting.elder.clone());
        if is_new {
            conducting.history = History { id, before: None };
        } else if conducting.history.id != id {
            let (ends, offset) = combined(&conducting.applied);
            let before = Before { id: conducting.history.id, ends, offset };
            conducting.history = History { id, before: Some(before) };
            // Those that follow this node have to hear of it; they miss nothing.
            self.end_all_meetings();
        }
    }

    /// The snapshot is here. Clients are kept out before the data goes.
    fn clear_for_sync(&mut self) {
        tracing::info!("MASTER <-> REPLICA sync: Flushing old data");
        if let Some(upstream) = self.upstream() {
            upstream.state = LinkState::Loading;
        }
        self.end_all_meetings();
        // From here on the data is of no history, until it is all there.
        if let Some(conducting) = &mut self.replication.conducting {
            conducting.applied.clear();
        }
        self.tell_history(false);
        self.begin_drain(DrainFor::Load);
    }

    /// No client sees the data: it is replaced.
    pub(super) fn load_sync(&mut self) {
        let shards = self.placement.len();
        let Some(upstream) = self.upstream() else { return };
        let Some(meeting) = &upstream.meeting else { return };
        let files: Vec<LoadFile> = meeting
            .flows
            .iter()
            .enumerate()
            .filter_map(|(flow, state)| {
                let bytes = state.stored?;
                let path = meeting.file(flow);
                Some(LoadFile { path, bytes, cut: 0, is_last: true })
            })
            .collect();
        let is_own = !meeting.is_foreign && files.len() == shards && usize::from(meeting.streams) == shards;
        let is_foreign = meeting.is_foreign;
        let load = match is_own {
            true => Load::OwnSnapshots(files),
            false => Load::ForeignSnapshots(files),
        };
        let plan = Arc::new(Plan {
            load,
            aof: AofStart::Off,
            generation: 0,
            snapshot_id: 0,
            stock: None,
            leftovers: Vec::new(),
            kept: Default::default(),
            old_logs: Default::default(),
            snapshot: Default::default(),
            aof_folder: self.aof_folder().to_owned(),
            notes: Vec::new(),
        });
        self.forget_aof();
        if is_foreign {
            self.tell_replication(|| ReplicationMail::Streams(1, true));
        }
        self.tell_replication(|| ReplicationMail::Replace(plan.clone()));
    }

    /// The data that was received is loaded, and clients are served; or it could not be loaded, and there is none.
    pub(in crate::host) fn sync_loaded(&mut self, failure: Option<String>) {
        let Some(upstream) = self.upstream() else { return };
        if upstream.state != LinkState::Loading {
            return;
        }
        let is_lost = upstream.session.is_none();
        let Some(meeting) = &upstream.meeting else { return };
        let id = meeting.id;
        let streams = meeting.flows.iter().filter_map(|state| state.stream);
        let applied = streams.map(|position| (position.raw, position.offset.0)).collect();
        let ops = (0..meeting.flows.len()).map(|flow| FileOp::Remove { path: meeting.file(flow) }).collect();
        if let Some(reason) = failure {
            // Nothing is being loaded any more: the link can be given up.
            upstream.state = LinkState::Receiving;
            self.begin_jobs([Job { tag: JobTag { place: u16::MAX, owner: Owner::Sync }, ops }]);
            return self.refuse_upstream(format!(
                "Failed trying to load the MASTER synchronization DB from disk: {reason}. There is no data until the next \
                 try"
            ));
        }
        self.begin_jobs([Job { tag: JobTag { place: u16::MAX, owner: Owner::Sync }, ops }]);
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
        self.adopt_history(id, true);
        if let Some(conducting) = &mut self.replication.conducting {
            conducting.applied = applied;
        }
        let is_foreign = self.foreign().is_some();
        if let (true, Some(&(_, offset))) = (is_foreign, self.applied_positions().first()) {
            self.place_foreign_stream(Offset(offset));
        }
        if is_lost {
            return self.link_has_ended();
        }
        self.upstream_is_up();
    }

    pub(super) fn upstream_is_up(&mut self) {
        let now = self.now.mono;
        let Some(upstream) = self.upstream() else { return };
        upstream.state = LinkState::Up;
        upstream.applies = true;
        upstream.down_since = None;
        upstream.said = String::new();
        upstream.acked = now;
        (upstream.asked, upstream.synced) = (None, None);
        self.forget_applied_marks();
        match self.foreign().is_some() {
            true => {
                self.apply_foreign();
                self.tell_history(true);
            }
            false => {
                self.tell_replication(|| ReplicationMail::Apply);
                self.tell_history(true);
                self.tell_replication(|| ReplicationMail::AskApplied(None));
            }
        }
        self.tell_gate();
        // It is known now which tokens can be waited for.
        self.look_at_readers();
    }

    /// A flow says how far it is.
    pub(super) fn note_applied(&mut self, flow: u16, raw: u64, offset: u64) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(upstream) = conducting.upstream.as_mut().filter(|upstream| upstream.is_up()) else { return };
        let Some(at) = conducting.applied.get_mut(usize::from(flow)) else { return };
        *at = (raw, offset);
        upstream.answers += 1;
        if self.look_at_acks() {
            self.await_sync();
        }
        self.flow_was_heard();
    }

    /// Tells the primary how far this replica is, if all flows have said so, or what was asked for is applied.
    /// Whether it was told something.
    fn look_at_acks(&mut self) -> bool {
        let Some(conducting) = &mut self.replication.conducting else { return false };
        let Some(upstream) = &mut conducting.upstream else { return false };
        let (positions, offset) = combined(&conducting.applied);
        let has_wanted = upstream.wanted.as_ref().is_some_and(|wanted| reaches(&positions, wanted));
        if has_wanted {
            upstream.wanted = None;
        }
        if !has_wanted && upstream.answers < conducting.applied.len() {
            return false;
        }
        upstream.answers = 0;
        let Some(session) = upstream.session else { return false };
        let (offset, positions) = (offset.to_string(), write_positions(&positions));
        let mut out = Vec::new();
        match upstream.synced.as_deref().map(combined) {
            None => out.command(["REPLCONF", "ACK", &offset, "AT", &positions]),
            Some((raw, synced)) => {
                let (raw, synced) = (write_positions(&raw), synced.to_string());
                out.command(["REPLCONF", "ACK", &offset, "FACK", &synced, "AT", &positions, "SYNCED", &raw]);
            }
        }
        self.send_on_link(session, &out);
        true
    }

    /// Wants to know when what is applied by now is on the disk, if it is not known to be.
    pub(super) fn await_sync(&mut self) {
        let Some(conducting) = &self.replication.conducting else { return };
        let synced = conducting.upstream.as_ref().and_then(|upstream| upstream.synced.as_ref());
        if synced != Some(&conducting.applied) {
            self.mark_applied(conducting.applied.clone());
        }
    }

    /// What was applied is on the disk: the primary is told.
    pub(in crate::host) fn is_synced_here(&mut self, applied: Applied) {
        let is_foreign = self.foreign().is_some();
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(upstream) = conducting.upstream.as_mut().filter(|upstream| upstream.is_up()) else { return };
        upstream.synced = Some(applied);
        match is_foreign {
            true => self.ack_foreign(),
            false => {
                upstream.answers = conducting.applied.len();
                self.look_at_acks();
            }
        }
    }

    /// There is no append-only file any more.
    pub(in crate::host) fn forget_synced(&mut self) {
        self.forget_applied_marks();
        if let Some(upstream) = self.upstream() {
            upstream.synced = None;
        }
    }

    /// What the primary sends cannot be held here: the link is given up for a while.
    pub(super) fn refuse_upstream(&mut self, reason: String) {
        if let Some(upstream) = self.upstream() {
            upstream.is_refused = true;
        }
        self.lose_upstream(reason);
    }

    /// The link is given up, and tried again later.
    pub(in crate::host) fn lose_upstream(&mut self, reason: String) {
        let now = self.now.mono;
        let Some(upstream) = self.upstream() else { return };
        if matches!(upstream.state, LinkState::Waiting(_) | LinkState::Ending) {
            return;
        }
        if upstream.said != reason {
            tracing::warn!("{reason}");
            upstream.said = reason;
        }
        let was_loading = upstream.state == LinkState::Loading;
        if upstream.is_up() {
            upstream.down_since = Some(now);
        }
        upstream.handshake = None;
        upstream.wanted = None;
        if !was_loading {
            upstream.state = LinkState::Ending;
            upstream.meeting = None;
        }
        if let Some(session) = upstream.session.take() {
            self.close(session, true);
        }
        // What is being loaded is whole: the link comes back for what follows.
        if !was_loading {
            self.tell_gate();
            self.begin_drain(DrainFor::Link);
        }
    }

    /// Nothing of the link is under way any more, and what was applied is known: it is tried again in a while.
    pub(super) fn link_has_ended(&mut self) {
        let now = self.now.mono;
        self.end_collecting();
        self.tell_replication(|| ReplicationMail::CloseFlows);
        let Some(conducting) = &mut self.replication.conducting else { return };
        let (at, offset) = combined(&conducting.applied);
        let id = conducting.history.id;
        let Some(upstream) = &mut conducting.upstream else { return };
        upstream.applies = false;
        let retry_us = if upstream.is_refused { REFUSED_RETRY_US } else { RETRY_US };
        upstream.state = LinkState::Waiting(MonoUs(now.0 + retry_us));
        if upstream.is_refused {
            // What follows in the stream is the same as before: only another snapshot may help.
            (upstream.is_refused, upstream.resume) = (false, None);
        } else if !at.is_empty() {
            upstream.resume = Some(Resume { id, at, offset });
        }
        self.look_at_readers();
    }
}
