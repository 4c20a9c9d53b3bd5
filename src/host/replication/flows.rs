//! A replica's flows: each is a link to its primary that brings one part of a snapshot, if one is needed, and the
//! records of one stream.
//!
//! ```text
//! Greeting -> Joining -> Head -> Part (to a file) -> Head -> Held -> Applying
//!                             -> Held -> Applying
//! ```
//!
//! A flow that brings nothing for `repl-timeout`, not even a sign of life, is given up, and with it the whole link: the
//! control link alone does not show that one of several connections hangs.
//!
//! What is applied runs in a session without a client, one per flow, as if the primary sent requests: so the number of
//! shards here need not be the primary's. A flow gives its session the next records when those before have run
//! everywhere, which is also when they count as applied. Transactions over several shards go to core 0 instead, and
//! whatever stands behind them (`replication::collect`): there they run whole, in one transaction of this node's.

use super::foreign::Foreign;
use super::{ReplicationMail, Stream};
use crate::base::ids::{CoreId, Offset, ShardId};
use crate::base::num::parse_u64;
use crate::base::time::{MonoUs, Ticks};
use crate::host::dial::{LinkEvent, LinkOwner};
use crate::host::host::{Effect, Host};
use crate::host::mail::Rare;
use crate::journal::{Sink, Txn};
use crate::replication::collect::{Collector, Detour, Reached, Unit};
use crate::replication::flow::{FlowReader, Item, Position};
use crate::replication::handshake::{write_auth, FlowHead, Introduction, Lines};
use crate::resp::reply;
use crate::session::session::Peer;
use crate::session::State;
use crate::storage::op::{FileId, JobTag, Outcome, Owner};
use crate::storage::save::{Saved, SnapshotWriter};

/// A flow to be opened.
#[derive(Clone, Debug)]
pub struct FlowOrder {
    /// How the primary calls the meeting.
    pub(super) meeting: u64,
    /// The flow's number.
    pub(super) number: u16,
    /// How many streams the primary has.
    pub(super) streams: u16,
    /// The primary.
    pub(super) host: String,
    /// See `host`.
    pub(super) port: u16,
    /// How the replica introduces itself.
    pub(super) introduction: Introduction,
    /// Where its stream is, if it is to be gone on with.
    pub(super) at: Option<Position>,
}

/// What core 0 is told of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowNews {
    /// It is sent its part of a snapshot.
    Part,
    /// The part is here: its length.
    Stored(u64),
    /// The stream begins at this place, or goes on.
    Stream(Position),
    /// There is no stream on this flow.
    Done,
    /// It has failed.
    Failed(String),
}

/// An item on its way to core 0.
#[derive(Debug)]
pub enum Shipped {
    /// Records.
    Plain(Box<[u8]>, Position),
    /// A part of a transaction.
    Part(Txn, Box<[u8]>, Position),
}

/// See the module.
#[derive(Debug)]
pub(in crate::host) struct Flow {
    pub(super) order: FlowOrder,
    /// Its link, until that has ended: then another session may have its number.
    session: Option<u32>,
    stage: FlowStage,
    lines: Lines,
    /// Of the piece that is coming, of the snapshot or the stream: how many bytes are still to come.
    piece_left: u64,
    /// When something last came, or could not come since it is not received from.
    heard: MonoUs,
    part: Option<SnapshotWriter>,
    reader: FlowReader,
    /// The session that runs its records.
    applier: Option<u32>,
    /// What the session is running: where the stream has come to when that is done.
    running: Option<Position>,
    pub(super) applied: Position,
    detour: Detour,
    is_throttled: bool,
    /// Bytes that were received and not given to the reader: that gets them when it has nothing else, so that it holds
    /// no more than these and the beginning of one item.
    held: Vec<u8>,
    /// Core 0 wants to know when this position is applied.
    asked: Option<u64>,
    /// Nothing more is begun while the shards are cut.
    is_paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlowStage {
    Dialing,
    Greeting,
    Joining,
    Head,
    Part,
    PartEnding,
    Held,
    Applying,
    /// What is running comes to its end, and nothing more is begun.
    Stopping,
}

/// Core 0's part: transactions over several shards.
pub(super) struct Collecting {
    collector: Collector<Position>,
    applier: Option<u32>,
    running: Vec<Reached<Position>>,
    is_stopping: bool,
}

/// What is said of a flow that sends something else than pieces.
const NO_LENGTH: &str = "a piece without its length";

/// How much of what was received may wait to be read; then the flow is not received from.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// How much is collected on core 0 before the link is given up: a part of a transaction is missing for too long.
const COLLECTED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How many items are taken from a flow, or units from the collector, in one pass.
const ITEMS_PER_PASS: usize = 32;

impl Collecting {
    pub(super) fn new(streams: usize) -> Collecting {
        Collecting {
            collector: Collector::new(streams, COLLECTED_BYTES_MAX),
            applier: None,
            running: Vec::new(),
            is_stopping: false,
        }
    }
}

impl Flow {
    /// Bytes have come of a stream, in pieces.
    fn take_pieces(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.piece_left > 0 {
                let len = bytes.len().min(usize::try_from(self.piece_left).unwrap_or(usize::MAX));
                self.held.extend_from_slice(&bytes[..len]);
                self.piece_left -= len as u64;
                bytes = &bytes[len..];
                continue;
            }
            let len = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.lines.feed(&bytes[..len]);
            bytes = &bytes[len..];
            if let Some(line) = self.lines.next_line()? {
                self.piece_left = line.strip_prefix(b"$").and_then(parse_u64).ok_or(NO_LENGTH)?;
            }
        }
        Ok(())
    }
}

/// Where a flow's part of a snapshot is kept until it is loaded.
pub(super) fn part_file(number: u16) -> String {
    format!("temp-sync-{number}.rdb")
}

impl<T: Ticks> Host<T> {
    /// Opens a flow.
    pub(super) fn open_flow(&mut self, order: FlowOrder) {
        let number = order.number;
        let session = self.dial(order.host.clone(), order.port, LinkOwner::Flow(number));
        let at = order.at.unwrap_or_default();
        // Those of shards that have no stream of their own serve flows that bring nothing but a part.
        let shards: Vec<u16> = self.shards.iter().map(|shard| shard.id().0).collect();
        let streams = &mut self.replication.streams;
        let mut fed = Vec::new();
        streams.retain_mut(|stream| {
            let is_kept = stream.number < order.streams || shards.contains(&stream.number);
            if !is_kept {
                fed.append(&mut stream.feeds);
            }
            is_kept
        });
        let wanted = shards.into_iter().chain((number < order.streams).then_some(number));
        for wanted in wanted {
            if !streams.iter().any(|stream| stream.number == wanted) {
                streams.push(Stream::new(wanted));
            }
        }
        streams.sort_by_key(|stream| stream.number);
        self.replication.flows.push(Flow {
            session: Some(session),
            stage: FlowStage::Dialing,
            lines: Lines::default(),
            piece_left: 0,
            heard: self.now.mono,
            part: None,
            reader: FlowReader::new(ShardId(number), at),
            applier: None,
            running: None,
            applied: at,
            detour: Detour::default(),
            is_throttled: false,
            held: Vec::new(),
            asked: None,
            is_paused: false,
            order,
        });
        self.let_feeds_go(fed);
    }

    /// Ends all flows. What their sessions are running comes to its end by itself.
    pub(super) fn close_flows(&mut self) {
        for mut flow in std::mem::take(&mut self.replication.flows) {
            self.close_link(flow.session.take());
            self.end_applier(flow.applier);
            if let Some(mut part) = flow.part.take() {
                part.abandon();
                self.begin_jobs(part.poll());
            }
        }
        self.end_collecting();
        self.end_foreign();
    }

    /// Ends what collects on core 0, before its link is forgotten.
    pub(super) fn end_collecting(&mut self) {
        if let Some(collecting) = self.take_collecting() {
            self.end_applier(collecting.applier);
        }
    }

    /// How many sessions there are that apply records and belong to no flow any more.
    pub(in crate::host) fn stray_appliers(&self) -> usize {
        let all = self.sessions.iter().flatten().filter(|session| session.replays).count();
        let conducting = self.replication.conducting.as_ref();
        let collecting = conducting.and_then(|c| c.upstream.as_ref()?.collecting.as_ref()?.applier);
        let foreign = conducting.and_then(|c| c.foreign.as_ref()?.applier());
        let flows = self.replication.flows.iter().filter_map(|flow| flow.applier);
        all.saturating_sub(flows.chain(collecting).chain(foreign).count())
    }

    fn close_link(&mut self, session: Option<u32>) {
        if let Some(session) = session {
            self.close(session, true);
        }
    }

    fn take_collecting(&mut self) -> Option<Collecting> {
        self.replication.conducting.as_mut()?.upstream.as_mut()?.collecting.take()
    }

    pub(super) fn end_applier(&mut self, applier: Option<u32>) {
        if let Some(index) = applier {
            self.disconnected(index);
        }
    }

    /// Something has happened to a flow's link.
    pub(in crate::host) fn flow_event(&mut self, number: u16, event: LinkEvent<'_>) {
        let Some(at) = self.replication.flows.iter().position(|flow| flow.order.number == number) else {
            return;
        };
        let flow = &mut self.replication.flows[at];
        flow.heard = self.now.mono;
        if matches!(event, LinkEvent::Failed(_) | LinkEvent::Ended) {
            flow.session = None;
        }
        let result = match event {
            LinkEvent::Stands => {
                let mut out = Vec::new();
                flow.stage = match flow.order.introduction.password.is_empty() {
                    true => {
                        write_join(&flow.order, &mut out);
                        FlowStage::Joining
                    }
                    false => {
                        write_auth(&flow.order.introduction, &mut out);
                        FlowStage::Greeting
                    }
                };
                if let Some(session) = flow.session {
                    self.send_on_link(session, &out);
                }
                Ok(())
            }
            LinkEvent::Failed(reason) => Err(format!("cannot connect: {reason}")),
            LinkEvent::Ended => Err("the connection was lost".to_owned()),
            LinkEvent::Received(bytes) => self.flow_received(at, bytes),
        };
        if let Err(reason) = result {
            self.fail_flow(at, reason);
        }
    }

    fn fail_flow(&mut self, at: usize, reason: String) {
        let flow = &mut self.replication.flows[at];
        let (meeting, number, session) = (flow.order.meeting, flow.order.number, flow.session.take());
        // What it has begun to apply comes to its end; the rest is forgotten when core 0 says so.
        flow.stage = FlowStage::Stopping;
        self.close_link(session);
        self.tell_news(meeting, number, FlowNews::Failed(reason));
    }

    fn tell_news(&mut self, meeting: u64, number: u16, news: FlowNews) {
        self.post(CoreId(0), Rare::Replication(ReplicationMail::Flow(meeting, number, news)));
    }

    fn flow_received(&mut self, place: usize, bytes: &[u8]) -> Result<(), String> {
        let flow = &mut self.replication.flows[place];
        match flow.stage {
            FlowStage::Applying | FlowStage::Held => {
                let result = flow.take_pieces(bytes);
                self.throttle_flow(place);
                return result;
            }
            FlowStage::Stopping => return Ok(()),
            _ => flow.lines.feed(bytes),
        }
        loop {
            let flow = &mut self.replication.flows[place];
            let (meeting, number) = (flow.order.meeting, flow.order.number);
            if flow.stage == FlowStage::Part && flow.piece_left > 0 {
                let mut piece = flow.lines.take(usize::try_from(flow.piece_left).unwrap_or(usize::MAX));
                if piece.is_empty() {
                    break;
                }
                flow.piece_left -= piece.len() as u64;
                if let Some(part) = &mut flow.part {
                    part.append(&mut piece);
                }
                continue;
            }
            if flow.stage == FlowStage::PartEnding {
                // The next line comes when the part is in its file; it stays where it is until then.
                break;
            }
            let Some(line) = flow.lines.next_line()? else { break };
            match flow.stage {
                FlowStage::Greeting => {
                    if line.first() == Some(&b'-') {
                        return Err(format!("AUTH was refused: {}", String::from_utf8_lossy(&line)));
                    }
                    let mut out = Vec::new();
                    write_join(&flow.order, &mut out);
                    flow.stage = FlowStage::Joining;
                    if let Some(session) = flow.session {
                        self.send_on_link(session, &out);
                    }
                }
                FlowStage::Joining | FlowStage::Head => match FlowHead::parse(&line)? {
                    FlowHead::Part if flow.part.is_none() && flow.stage == FlowStage::Joining => {
                        flow.stage = FlowStage::Part;
                        let tag = JobTag { place: number, owner: Owner::Sync };
                        let writer = SnapshotWriter::new(tag, FileId::first(tag), part_file(number).into());
                        flow.part = Some(writer.unsynced());
                        self.tell_news(meeting, number, FlowNews::Part);
                    }
                    FlowHead::Part => return Err("a second part of a snapshot".to_owned()),
                    FlowHead::Continue => {
                        if flow.order.at.is_none() || flow.part.is_some() {
                            return Err("the stream goes on from nowhere".to_owned());
                        }
                        let at = flow.applied;
                        return self.hold_stream(place, at);
                    }
                    FlowHead::Stream { raw, offset } => {
                        let at = Position { raw, offset: Offset(offset) };
                        flow.applied = at;
                        // It does not go on from where it was.
                        flow.order.at = None;
                        flow.reader = FlowReader::new(ShardId(number), at);
                        return self.hold_stream(place, at);
                    }
                    FlowHead::Done => self.tell_news(meeting, number, FlowNews::Done),
                },
                FlowStage::Part => {
                    let len = line.strip_prefix(b"$").and_then(parse_u64);
                    flow.piece_left = len.ok_or(NO_LENGTH)?;
                    if flow.piece_left == 0 {
                        flow.stage = FlowStage::PartEnding;
                        if let Some(part) = &mut flow.part {
                            part.finish(None);
                        }
                    }
                }
                FlowStage::Dialing
                | FlowStage::PartEnding
                | FlowStage::Held
                | FlowStage::Applying
                | FlowStage::Stopping => break,
            }
        }
        self.store_part(place);
        Ok(())
    }

    /// The stream begins, or goes on, at this position. It is held until the data is there that it belongs to, which
    /// may be at once.
    fn hold_stream(&mut self, place: usize, at: Position) -> Result<(), String> {
        let flow = &mut self.replication.flows[place];
        flow.stage = FlowStage::Held;
        let rest = flow.lines.take_rest();
        flow.take_pieces(&rest)?;
        let (meeting, number) = (flow.order.meeting, flow.order.number);
        self.tell_news(meeting, number, FlowNews::Stream(at));
        Ok(())
    }

    /// Writes what has come of a part, and receives no more than the disk takes.
    fn store_part(&mut self, at: usize) {
        let Some(flow) = self.replication.flows.get_mut(at) else { return };
        let job = flow.part.as_mut().and_then(SnapshotWriter::poll);
        self.begin_jobs(job);
        self.throttle_flow(at);
    }

    /// Receives no more of a flow where enough waits, and again where it does not.
    fn throttle_flow(&mut self, at: usize) {
        let flow = &mut self.replication.flows[at];
        // What was read and waits for a transaction's other parts does not count: it must not keep its own from coming.
        let is_full = flow.held.len() + flow.lines.waiting() >= HELD_BYTES_MAX
            || flow.part.as_ref().is_some_and(|part| !part.has_room() && flow.stage == FlowStage::Part);
        if is_full != flow.is_throttled {
            flow.is_throttled = is_full;
            let Some(session) = flow.session else { return };
            self.effects.push(match is_full {
                true => Effect::Throttle(session),
                false => Effect::Unthrottle(session),
            });
        }
    }

    /// Gives up flows on which nothing comes any more. Looked at `hz` times a second.
    pub(super) fn watch_flows(&mut self) {
        let now = self.now.mono;
        let timeout_us = u64::from(self.config.replication.repl_timeout_secs) * 1_000_000;
        let mut silent = Vec::new();
        for flow in &mut self.replication.flows {
            if flow.is_throttled {
                flow.heard = now;
            }
            if flow.stage != FlowStage::Stopping && now.since(flow.heard) > timeout_us {
                silent.push(flow.order.number);
            }
        }
        // One that fails may be gone at once, and others with it.
        for number in silent {
            if let Some(at) = self.replication.flows.iter().position(|flow| flow.order.number == number) {
                self.fail_flow(at, "Timeout receiving from the primary".to_owned());
            }
        }
    }

    /// A job on a part's file has ended.
    pub(in crate::host) fn part_done(&mut self, outcome: Outcome) {
        let Some(outcome) = self.foreign_part_done(outcome) else { return };
        let number = outcome.tag.place;
        let found = self.replication.flows.iter().position(|flow| flow.order.number == number);
        let Some(at) = found else { return };
        let flow = &mut self.replication.flows[at];
        let meeting = flow.order.meeting;
        let Some(part) = &mut flow.part else { return };
        match part.done(outcome) {
            None => self.store_part(at),
            Some(Saved::Whole(bytes)) => {
                flow.part = None;
                flow.stage = FlowStage::Head;
                self.tell_news(meeting, number, FlowNews::Stored(bytes));
                if let Err(reason) = self.flow_received(at, b"") {
                    self.fail_flow(at, reason);
                }
            }
            Some(Saved::Failed(failure)) => {
                self.fail_flow(at, format!("cannot store the snapshot: {}", failure.text));
            }
            Some(Saved::Abandoned) => flow.part = None,
        }
    }

    /// The data is here, or was here before: records are applied from now on.
    pub(super) fn apply_flows_from_now_on(&mut self) {
        let capacity = self.backlog_capacity();
        for at in 0..self.replication.flows.len() {
            if self.replication.flows[at].stage != FlowStage::Held {
                continue;
            }
            let applier = self.connect_applier();
            let flow = &mut self.replication.flows[at];
            (flow.stage, flow.applier) = (FlowStage::Applying, Some(applier));
            let (number, position, is_new) = (flow.order.number, flow.applied, flow.order.at.is_none());
            if let Some(stream) = self.replication.streams.iter_mut().find(|stream| stream.number == number) {
                // What is kept of another history may end at the same number.
                if is_new || stream.raw != position.raw || stream.backlog.is_none() {
                    stream.backlog = None;
                    stream.raw = position.raw;
                    stream.keep_backlog(capacity);
                }
                (stream.offset, stream.open_to) = (position.offset.0, position.raw);
            }
        }
        self.refresh_mirrors();
    }

    pub(super) fn connect_applier(&mut self) -> u32 {
        let index =
            self.connect_internal(Peer { addr: "primary".to_owned(), local: true, ..Peer::default() });
        if let Some(session) = self.session(index) {
            session.replays = true;
        }
        index
    }

    /// Whether a session that applies has run everything that it was given.
    pub(super) fn is_applied(&mut self, applier: Option<u32>) -> bool {
        let Some(session) = applier.and_then(|index| self.session(index)) else { return true };
        if session.state != State::Open || session.replies.waiting() > 0 || !session.input.is_empty() {
            return false;
        }
        let out = &mut session.replies.out;
        let refused = reply::first_error(out).map(|line| String::from_utf8_lossy(line).into_owned());
        out.clear();
        if let Some(refused) = refused {
            self.refused_by_replica(refused);
        }
        true
    }

    /// Applies what has come.
    pub(super) fn settle_flows(&mut self) {
        let mut flows = std::mem::take(&mut self.replication.flows);
        let (mut failed, mut shipping) = (None, Vec::new());
        for (at, flow) in flows.iter_mut().enumerate() {
            if let Err(reason) = self.settle_flow(flow, &mut shipping) {
                failed = failed.or(Some((at, reason)));
            }
        }
        // What core 0 does about an item may be known here at once.
        self.replication.flows = flows;
        for (number, shipped) in shipping {
            self.post(CoreId(0), Rare::Replication(ReplicationMail::Collect(number, shipped)));
        }
        for at in 0..self.replication.flows.len() {
            self.throttle_flow(at);
        }
        if let Some((at, reason)) = failed {
            self.fail_flow(at, reason);
        }
        self.settle_collecting();
    }

    fn settle_flow(&mut self, flow: &mut Flow, shipping: &mut Vec<(u16, Shipped)>) -> Result<(), String> {
        if !matches!(flow.stage, FlowStage::Applying | FlowStage::Stopping) {
            return Ok(());
        }
        for _ in 0..ITEMS_PER_PASS {
            if flow.running.is_some() || flow.applier.is_some() {
                if !self.is_applied(flow.applier) {
                    return Ok(());
                }
                if let Some(position) = flow.running.take() {
                    self.flow_applied(flow, position);
                }
            }
            if flow.stage == FlowStage::Stopping || flow.is_paused {
                return Ok(());
            }
            let number = flow.order.number;
            let item = flow.reader.next().map_err(|damage| {
                format!("the stream is damaged at byte {}: {}", damage.offset, damage.reason)
            })?;
            let shipped = match item {
                None if flow.held.is_empty() => return Ok(()),
                None => {
                    let mut streams = self.replication.streams.iter_mut();
                    if let Some(stream) = streams.find(|stream| stream.number == number) {
                        stream.append(&flow.held);
                    }
                    flow.reader.feed(&flow.held);
                    flow.held.clear();
                    continue;
                }
                Some(Item::Plain { bytes, end }) if !flow.detour.is_open() => {
                    flow.running = Some(end);
                    if let Some(applier) = flow.applier {
                        self.receive_internal(applier, bytes);
                    }
                    continue;
                }
                Some(Item::Plain { bytes, end }) => Shipped::Plain(bytes.into(), end),
                Some(Item::Part { txn, records, end }) => Shipped::Part(txn, records.into(), end),
            };
            flow.detour.send();
            shipping.push((number, shipped));
        }
        self.replication.has_more = true;
        Ok(())
    }

    fn flow_applied(&mut self, flow: &mut Flow, position: Position) {
        let (number, from) = (flow.order.number, flow.applied.raw);
        flow.applied = position;
        if let (true, Some(place)) =
            (self.replication.mirrors, self.local.get(usize::from(number)).copied().flatten())
        {
            self.mirror(usize::from(place), from, position.raw);
        }
        if let Some(stream) = self.replication.streams.iter_mut().find(|stream| stream.number == number) {
            (stream.offset, stream.open_to) = (position.offset.0, position.raw);
        }
        if flow.asked.is_some_and(|asked| position.raw >= asked) {
            flow.asked = None;
            let mail = ReplicationMail::Applied(number, position.raw, position.offset.0);
            self.post(CoreId(0), Rare::Replication(mail));
        }
    }

    /// Core 0 wants to know when each flow has applied so much, and not what it asked for before; at once where it has,
    /// or where nothing is named.
    pub(super) fn ask_flows(&mut self, target: Option<&[u64]>) {
        for at in 0..self.replication.flows.len() {
            let flow = &mut self.replication.flows[at];
            if !matches!(flow.stage, FlowStage::Applying) {
                continue;
            }
            let wanted = target.and_then(|target| target.get(usize::from(flow.order.number)).copied());
            if let Some(wanted) = wanted.filter(|&wanted| wanted > flow.applied.raw) {
                flow.asked = Some(wanted);
                continue;
            }
            let mail = ReplicationMail::Applied(flow.order.number, flow.applied.raw, flow.applied.offset.0);
            self.post(CoreId(0), Rare::Replication(mail));
        }
    }

    /// An item has come to core 0.
    pub(super) fn collect(&mut self, stream: u16, shipped: Shipped) {
        let Some(upstream) = self.replication.conducting.as_mut().and_then(|c| c.upstream.as_mut()) else {
            return;
        };
        let Some(collecting) = &mut upstream.collecting else { return };
        let stream = usize::from(stream);
        let pushed = match shipped {
            Shipped::Plain(bytes, mark) => collecting.collector.push_plain(stream, bytes, mark),
            Shipped::Part(txn, records, mark) => collecting.collector.push_part(stream, &txn, records, mark),
        };
        if let Err(error) = pushed {
            self.lose_upstream(format!("the streams do not fit together: {error}"));
            return;
        }
        self.settle_collecting();
    }

    /// Applies what is whole, on core 0.
    pub(super) fn settle_collecting(&mut self) {
        let Some(mut collecting) = self.take_collecting() else { return };
        self.settle_collected(&mut collecting);
        if let Some(upstream) = self.replication.conducting.as_mut().and_then(|c| c.upstream.as_mut()) {
            upstream.collecting = Some(collecting);
        }
    }

    fn settle_collected(&mut self, collecting: &mut Collecting) {
        for _ in 0..ITEMS_PER_PASS {
            if !collecting.running.is_empty() {
                if !self.is_applied(collecting.applier) {
                    return;
                }
                for reached in std::mem::take(&mut collecting.running) {
                    let settled = collecting.collector.applied(&reached);
                    let number = reached.stream as u16;
                    let mail = ReplicationMail::Reached(number, reached.mark, settled);
                    self.post(self.owner_of(number), Rare::Replication(mail));
                }
            }
            if collecting.is_stopping {
                return;
            }
            let Some(unit) = collecting.collector.next_unit() else { return };
            collecting.running.extend_from_slice(unit.reached());
            let applier = match collecting.applier {
                Some(applier) => applier,
                None => *collecting.applier.insert(self.connect_applier()),
            };
            match unit {
                Unit::Plain { bytes, .. } => self.receive_internal(applier, &bytes),
                Unit::Group { records, .. } => {
                    let mut bytes = Vec::new();
                    bytes.command(["MULTI"]);
                    records.iter().for_each(|piece| bytes.extend_from_slice(piece));
                    bytes.command(["EXEC"]);
                    self.receive_internal(applier, &bytes);
                }
            }
        }
        self.replication.has_more = true;
    }

    /// Core 0 has applied items of a flow of this core.
    pub(super) fn reached(&mut self, number: u16, position: Position, settled: Option<u64>) {
        let mut flows = std::mem::take(&mut self.replication.flows);
        if let Some(flow) = flows.iter_mut().find(|flow| flow.order.number == number) {
            self.flow_applied(flow, position);
            if let Some(settled) = settled {
                flow.detour.settle(settled);
            }
        }
        self.replication.flows = flows;
    }

    /// Nothing more is begun to be applied.
    pub(super) fn stop_flows(&mut self) {
        for flow in &mut self.replication.flows {
            flow.stage = FlowStage::Stopping;
        }
        if let Some(collecting) =
            self.replication.conducting.as_mut().and_then(|c| c.upstream.as_mut()?.collecting.as_mut())
        {
            collecting.is_stopping = true;
        }
        self.foreign().into_iter().for_each(Foreign::stop);
    }

    /// Nothing more is begun for a while, or again.
    pub(super) fn pause_flows(&mut self, is_paused: bool) {
        self.replication.flows.iter_mut().for_each(|flow| flow.is_paused = is_paused);
        if let Some(collecting) =
            self.replication.conducting.as_mut().and_then(|c| c.upstream.as_mut()?.collecting.as_mut())
        {
            collecting.is_stopping = is_paused;
        }
        self.foreign().into_iter().for_each(|foreign| foreign.pause(is_paused));
    }

    /// The shards were cut.
    pub(super) fn continue_flows(&mut self) {
        self.pause_flows(false);
        self.send_heads_after_cut();
        self.replication.has_more = true;
    }

    /// Whether what flows have begun to apply is applied.
    pub(super) fn flows_are_idle(&mut self) -> bool {
        let collecting = self.replication.conducting.as_ref().and_then(|conducting| {
            conducting.upstream.as_ref().and_then(|upstream| upstream.collecting.as_ref())
        });
        self.replication.flows.iter().all(|flow| flow.running.is_none())
            && collecting.is_none_or(|collecting| collecting.running.is_empty())
            && self.foreign().is_none_or(|foreign| foreign.is_idle())
    }
}

fn write_join(order: &FlowOrder, out: &mut Vec<u8>) {
    let at = order.at.map_or_else(|| "-1".to_owned(), |at| at.raw.to_string());
    out.command(["REPLCONF", "flow", &order.meeting.to_string(), &order.number.to_string(), &at]);
}
