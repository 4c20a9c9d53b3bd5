//! Core 0 of a primary: who its replicas are, from their introduction on.
//!
//! A *meeting* is one replica's visit. It begins with PSYNC on the control link, which is moved to core 0 for that, and
//! ends with that link or with any of its flows. The flows are joined on the cores that own the streams; when all are
//! there it is known whether the replica can go on where it is, or needs a snapshot. Those that need one wait for each
//! other (`repl-diskless-sync-delay`), and are served by one.

use super::failover::NO_SYNC;
use super::{Order, ReplicationMail, Stream};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, DbIndex};
use crate::base::num::parse_u64;
use crate::base::time::{MonoUs, Ticks};
use crate::host::batch::Flow;
use crate::host::host::Host;
use crate::host::mail::Rare;
use crate::host::moves::Errand;
use crate::journal::Word;
use crate::replication::history::{parse_positions, write_positions, History, Positions, ReplId};
use crate::replication::replicas::{good, Replica, Stage};
use crate::resp::Args;
use crate::session::replica::ReplicaInfo;
use crate::session::{SessionKind, State};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::host) struct Meetings {
    all: Vec<Meeting>,
    last: u64,
    /// When the last PING was put into the stream.
    pinged: MonoUs,
    /// When the last replica left.
    alone_since: Option<MonoUs>,
}

#[derive(Debug)]
struct Meeting {
    replica: Replica,
    /// The control link, on core 0.
    session: u32,
    /// What the replica asks to go on from.
    resume: Option<(ReplId, Positions)>,
    /// How many flows have joined, and whether those that have can go on where they are.
    joined: usize,
    is_kept: bool,
    /// When it began to wait for a snapshot.
    waits_since: MonoUs,
    /// When it began.
    began: MonoUs,
}

/// What PSYNC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    info: ReplicaInfo,
    /// The history that it names.
    id: Option<ReplId>,
    /// Where in that it asks to go on.
    resume: Option<(ReplId, Positions)>,
    /// FAILOVER: this node is to become a primary first.
    demands: bool,
}

impl Meetings {
    /// The replicas, in the order in which they came.
    pub(in crate::host) fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.all.iter().map(|meeting| &meeting.replica)
    }

    /// How many have applied all of this.
    pub(in crate::host) fn have(&self, target: &[u64]) -> usize {
        self.replicas().filter(|replica| replica.has(target)).count()
    }

    /// How many have all of this in their append-only files, by their own word.
    pub(in crate::host) fn have_synced(&self, target: &[u64]) -> usize {
        self.replicas().filter(|replica| replica.has_synced(target)).count()
    }
}

const ALREADY: CommandError = CommandError::new("ERR This connection is a replica's already");

impl<T: Ticks> Host<T> {
    /// REPLCONF, on whatever core the connection is.
    pub(in crate::host) fn replconf(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        if args.len() < 2 {
            self.reply_ok(index);
            return Ok(Flow::Next);
        }
        if args.is(1, "ack") {
            self.take_ack(index, args);
            return Ok(Flow::Next);
        }
        if args.is(1, "flow") {
            return self.replconf_flow(index, args);
        }
        if args.is(1, "getack") {
            // What a primary asks, over its own link: nothing is owed to a client.
            return Ok(Flow::Next);
        }
        if args.len() % 2 == 0 {
            return Err(CommandError::SYNTAX);
        }
        let mut is_native = false;
        for at in (1..args.len()).step_by(2) {
            let value = args.at(at + 1);
            let Some(session) = self.session(index) else { return Ok(Flow::Next) };
            let info = session.replica.get_or_insert_with(Default::default);
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"listening-port" => {
                    let port = parse_u64(value).and_then(|port| u16::try_from(port).ok());
                    info.port = port.ok_or(CommandError::NOT_INTEGER)?;
                }
                b"ip-address" => {
                    if value.len() >= IP_BYTES_MAX {
                        return Err(CommandError::new(
                            "ERR REPLCONF ip-address provided by replica instance is too long: 256 bytes",
                        ));
                    }
                    info.ip = String::from_utf8_lossy(value).into_owned();
                }
                b"capa" => {
                    if value.eq_ignore_ascii_case(b"ringward") {
                        (info.is_native, is_native) = (true, true);
                    }
                    // Those we do not know are for others, as in Redis.
                    info.knows_eof |= value.eq_ignore_ascii_case(b"eof");
                    info.knows_psync2 |= value.eq_ignore_ascii_case(b"psync2");
                }
                b"version" => {}
                b"rdb-only" => match parse_u64(value) {
                    Some(on @ (0 | 1)) => info.rdb_only = on == 1,
                    Some(_) => return Err(CommandError::new("ERR value is out of range")),
                    None => return Err(CommandError::NOT_INTEGER),
                },
                b"rdb-filter-only" => {
                    // There are no functions: a snapshot with these alone is an empty one.
                    let words = value.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
                    if let Some(word) = words.clone().find(|word| !word.eq_ignore_ascii_case(b"functions")) {
                        return Err(CommandError::quoting(
                            "ERR Unsupported rdb-filter-only option: ",
                            word,
                            "",
                        ));
                    }
                    info.without_keys = true;
                }
                other => {
                    return Err(CommandError::quoting("ERR Unrecognized REPLCONF option: ", other, ""));
                }
            }
        }
        match is_native {
            true => self.reply(index, |reply| reply.simple("RINGWARD 1")),
            false => self.reply_ok(index),
        }
        Ok(Flow::Next)
    }

    /// `REPLCONF flow meeting index position`: the connection becomes a flow, on the core that owns the stream.
    fn replconf_flow(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        let number = |at: usize| args.get(at).and_then(parse_u64).ok_or(CommandError::NOT_INTEGER);
        if args.len() != 5 {
            return Err(CommandError::SYNTAX);
        }
        let (meeting, flow) = (number(2)?, number(3)?);
        let at = if args.is(4, "-1") { None } else { Some(number(4)?) };
        let flow = u16::try_from(flow).map_err(|_| CommandError::NOT_INTEGER)?;
        if usize::from(flow) >= self.placement.len().max(self.stream_count()) {
            return Err(CommandError::new("ERR there is no such flow"));
        }
        let core = self.owner_of(flow);
        Ok(self.move_session(index, core, Errand::Flow { meeting, flow, at }))
    }

    /// PSYNC, or SYNC: the connection becomes a replica's control link, on core 0.
    pub(in crate::host) fn psync(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        let Some(session) = self.session(index) else { return Ok(Flow::Next) };
        if session.kind != SessionKind::Client {
            return Err(ALREADY);
        }
        let mut info = session.replica.take().map(|info| *info).unwrap_or_default();
        let id = args.get(1).and_then(ReplId::parse);
        let positions = args.get(2).and_then(parse_positions);
        // SYNC has no arguments, and is answered with nothing but the snapshot.
        info.speaks_psync = args.len() > 1;
        let demands = args.len() > 3 && args.is(3, "failover");
        let request = SyncRequest { info, id, resume: id.zip(positions), demands };
        Ok(self.move_session(index, CoreId(0), Errand::Replica(Box::new(request))))
    }

    /// A replica's control link has come to core 0.
    pub(in crate::host) fn meet(&mut self, index: u32, request: SyncRequest) {
        if request.demands {
            tracing::info!("Failover request received.");
            match self.is_to_take_over(request.id) {
                Ok(true) => {
                    tracing::warn!("MASTER MODE enabled (failover request)");
                    let request = SyncRequest { demands: false, ..request };
                    let asker = self.ask_for_promotion(index, request);
                    self.configure_replicaof(None);
                    return self.order(Order::Lead, Some(asker));
                }
                Ok(false) => {}
                Err(refusal) => return self.reply_error(index, &refusal),
            }
        }
        let SyncRequest { info, resume, .. } = request;
        if let Some(refusal) = self.cannot_meet() {
            self.reply_error(index, &refusal);
            return;
        }
        let now = self.now.mono;
        let (parts, streams) = (self.placement.len(), self.stream_count());
        self.become_kind(index, SessionKind::Replica);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let ip = match info.ip.is_empty() {
            true => session.peer.addr.rsplit_once(':').map_or("", |(ip, _)| ip).to_owned(),
            false => info.ip.clone(),
        };
        let Some(conducting) = &mut self.replication.conducting else { return };
        conducting.meetings.last += 1;
        let number = conducting.meetings.last;
        let replica = Replica {
            number,
            ip,
            port: info.port,
            stage: Stage::Joining,
            acked: Positions::new(),
            acked_offset: 0,
            is_stock: !info.is_native,
            speaks_psync: info.speaks_psync,
            synced: Positions::new(),
            heard: now,
        };
        tracing::info!("Replica {}:{} asks for synchronization", replica.ip, replica.port);
        conducting.meetings.all.push(Meeting {
            replica,
            session: index,
            resume: resume.clone(),
            joined: 0,
            is_kept: true,
            waits_since: now,
            began: now,
        });
        conducting.meetings.alone_since = None;
        let id = conducting.history.id;
        let elder = conducting.elder().map(|elder| format!(" {elder}")).unwrap_or_default();
        if !info.is_native {
            return self.meet_stock(number, index, &info, resume);
        }
        self.reply(index, |reply| {
            reply.simple(&format!("FLOWS {number} {id} {parts} {streams}{elder}"));
        });
    }

    /// This node has become a primary because this client asked for it: it is met now, if it is still there.
    pub(in crate::host) fn promoted(&mut self, index: u32, request: SyncRequest) {
        self.end_wait(index, |_| {});
        if self.session(index).is_some_and(|session| session.state == State::Open) {
            self.meet(index, request);
        }
    }

    /// Why a replica cannot be served now.
    fn cannot_meet(&self) -> Option<CommandError> {
        if self.is_failing_over() {
            return Some(NO_SYNC);
        }
        if self.replication.is_replica {
            let is_up = self.replication.conducting.as_ref().is_some_and(|conducting| {
                conducting.upstream.as_ref().is_some_and(|upstream| upstream.is_up())
            });
            if !is_up {
                return Some(CommandError::new("NOMASTERLINK Can't SYNC while not connected with my master"));
            }
            if self.replication.conducting.as_ref().is_some_and(|conducting| conducting.is_foreign_history) {
                return Some(CommandError::new(
                    "NOMASTERLINK A stock server's replica has none of its own yet",
                ));
            }
        }
        None
    }

    /// A stock replica has come so far.
    pub(super) fn set_stage(&mut self, number: u64, stage: Stage) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let found = conducting.meetings.all.iter_mut().find(|meeting| meeting.replica.number == number);
        if let Some(meeting) = found {
            (meeting.replica.stage, meeting.replica.heard) = (stage, now);
        }
    }

    /// A flow has joined.
    pub(super) fn flow_joined(&mut self, meeting: u64, flow: u16, at: Option<u64>, is_kept: bool) {
        let streams = self.stream_count();
        let flows = streams.max(self.placement.len());
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let history = &conducting.history;
        let Some(found) = conducting.meetings.all.iter_mut().find(|m| m.replica.number == meeting) else {
            // Nobody introduced it, or its control link is gone meanwhile.
            return self.tell_replication(|| ReplicationMail::Leave(meeting));
        };
        found.joined += 1;
        let wanted = found.resume.as_ref().and_then(|(_, at)| at.get(usize::from(flow)).copied());
        // A flow for a part alone has nothing to go on with.
        found.is_kept &= usize::from(flow) >= streams || is_kept && at.is_some() && at == wanted;
        if found.joined < flows {
            return;
        }
        let can_resume = match &found.resume {
            None => Err("it asks for a snapshot".to_owned()),
            Some((id, at)) => history.can_resume(*id, at, streams).and_then(|()| match found.is_kept {
                true => Ok(()),
                false => Err("the backlog does not reach back so far".to_owned()),
            }),
        };
        let name = format!("{}:{}", found.replica.ip, found.replica.port);
        match can_resume {
            Ok(()) => {
                found.replica.stage = Stage::Online;
                conducting.syncs.1 += 1;
                tracing::info!("Partial resynchronization request from {name} accepted.");
                self.tell_replication(|| ReplicationMail::Resume(meeting));
            }
            Err(reason) => {
                found.replica.stage = Stage::Waiting;
                found.waits_since = now;
                if found.resume.is_some() {
                    conducting.syncs.2 += 1;
                    tracing::info!("Partial resynchronization not accepted from {name}: {reason}");
                }
                self.tell_replication(|| ReplicationMail::Attend(meeting));
                // A cut that concerns no other core is made at once, and must not overtake this core's own mail.
                self.attend_feeds(meeting);
                self.begin_due_sync();
            }
        }
    }

    /// Begins a snapshot for the replicas that wait for one, if it is time and nothing else is being saved.
    pub(super) fn begin_due_sync(&mut self) {
        let now = self.now;
        let replication = &self.config.replication;
        let delay_us = match replication.repl_diskless_sync {
            true => u64::from(replication.repl_diskless_sync_delay_secs) * 1_000_000,
            false => 0,
        };
        let enough = replication.repl_diskless_sync_max_replicas as usize;
        let Some(conducting) = &self.replication.conducting else { return };
        let waiting = conducting.meetings.all.iter().filter(|meeting| meeting.replica.waits_for_parts());
        let (mut count, mut first) = (0, None);
        for meeting in waiting {
            count += 1;
            first = Some(first.map_or(meeting.waits_since, |first: MonoUs| first.min(meeting.waits_since)));
        }
        let Some(first) = first else { return };
        let is_due = now.mono.since(first) >= delay_us || enough > 0 && count >= enough;
        if !is_due || conducting.change.is_some() || self.persist.loading.is_some() {
            return;
        }
        if !self.begin_sync() {
            return;
        }
        let Some(conducting) = &mut self.replication.conducting else { return };
        for meeting in &mut conducting.meetings.all {
            if meeting.replica.waits_for_parts() {
                meeting.replica.stage = Stage::Sending;
                conducting.syncs.0 += 1;
            }
        }
        tracing::info!("Full synchronization of {count} replica(s) begins");
    }

    /// The snapshot for replicas has ended.
    pub(in crate::host) fn sync_ended(&mut self, is_good: bool) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let mut lost = Vec::new();
        for meeting in &mut conducting.meetings.all {
            if meeting.replica.stage == Stage::Sending && !meeting.replica.is_stock {
                match is_good {
                    true => meeting.replica.stage = Stage::Online,
                    false => lost.push(meeting.replica.number),
                }
            }
        }
        lost.into_iter().for_each(|number| self.end_meeting(number, "the snapshot has failed"));
    }

    /// A replica's control link, or one of its flows, is gone: so is the rest.
    pub(super) fn end_meeting(&mut self, number: u64, reason: &str) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let all = &mut conducting.meetings.all;
        let Some(at) = all.iter().position(|meeting| meeting.replica.number == number) else { return };
        let Meeting { replica, session, .. } = all.remove(at);
        if all.is_empty() {
            conducting.meetings.alone_since = Some(now);
        }
        tracing::info!("Connection with replica {}:{} lost: {reason}", replica.ip, replica.port);
        self.close(session, true);
        self.end_link(number);
        self.tell_replication(|| ReplicationMail::Leave(number));
        self.tell_gate();
    }

    /// The session of a replica's control link has ended.
    pub(in crate::host) fn replica_left(&mut self, index: u32) {
        let Some(conducting) = &self.replication.conducting else { return };
        let found = conducting.meetings.all.iter().find(|meeting| meeting.session == index);
        if let Some(number) = found.map(|meeting| meeting.replica.number) {
            self.end_meeting(number, "its link was closed");
        }
    }

    /// All replicas are let go: the history that they follow is at its end here.
    pub(super) fn end_all_meetings(&mut self) {
        let Some(conducting) = &self.replication.conducting else { return };
        let numbers: Vec<u64> = conducting.meetings.replicas().map(|replica| replica.number).collect();
        numbers.into_iter().for_each(|number| self.end_meeting(number, "this node's part has changed"));
        self.end_stock();
    }

    /// `REPLCONF ACK offset [FACK offset] AT positions [SYNCED positions]`.
    fn take_ack(&mut self, index: u32, args: Args<'_>) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let found = conducting.meetings.all.iter_mut().find(|meeting| meeting.session == index);
        let Some(meeting) = found else { return };
        meeting.replica.heard = now;
        if let Some(offset) = args.get(2).and_then(parse_u64) {
            meeting.replica.acked_offset = meeting.replica.acked_offset.max(offset);
        }
        if meeting.replica.is_stock {
            let offset = |at: usize| args.get(at).and_then(parse_u64);
            let synced = offset(4).filter(|_| args.is(3, "fack"));
            let merging = conducting.stock.merging();
            let known = |offset: Option<u64>| merging.zip(offset).and_then(|(m, offset)| m.known_at(offset));
            meeting.replica.acked = known(offset(2)).unwrap_or_default();
            meeting.replica.synced = known(synced).unwrap_or_default();
            return self.acks_have_come();
        }
        meeting.replica.synced.clear();
        for at in (3..args.len().saturating_sub(1)).step_by(2) {
            let Some(positions) = parse_positions(args.at(at + 1)) else { continue };
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"at" => meeting.replica.acked = positions,
                b"synced" => meeting.replica.synced = positions,
                _ => {}
            }
        }
        self.acks_have_come();
    }

    /// Replicas have said how far they are: those who wait for that may go on.
    fn acks_have_come(&mut self) {
        self.look_at_line();
        self.tell_gate();
        self.look_at_failover();
        self.look_at_farewell();
    }

    /// Tells all cores whether writes lack replicas, if that has changed.
    pub(super) fn tell_gate(&mut self) {
        let now = self.now.mono;
        let replication = &self.config.replication;
        let (wanted, lag) = (replication.min_replicas_to_write, replication.min_replicas_max_lag_secs);
        let serves_stale = replication.replica_serve_stale_data;
        let is_replica = self.replication.is_replica;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let lacks_replicas = !is_replica
            && wanted > 0
            && lag > 0
            && good(conducting.meetings.replicas(), lag, now) < wanted as usize;
        let is_up = conducting.upstream.as_ref().is_some_and(|upstream| upstream.is_up());
        let is_stale = is_replica && !is_up && !serves_stale;
        if (lacks_replicas, is_stale) == (self.gate.lacks_replicas, self.gate.is_stale) {
            return;
        }
        self.tell_replication(|| ReplicationMail::Gate { is_stale, lacks_replicas });
    }

    /// What is due: snapshots, signs of life, replicas that are heard no more, a backlog that nobody came back for.
    pub(super) fn tick_meetings(&mut self) {
        self.begin_due_sync();
        self.tell_gate();
        let now = self.now.mono;
        let replication = &self.config.replication;
        let timeout_us = u64::from(replication.repl_timeout_secs) * 1_000_000;
        let period_us = u64::from(replication.repl_ping_replica_period_secs) * 1_000_000;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let meetings = &mut conducting.meetings;
        let is_silent = |meeting: &&Meeting| match meeting.replica.stage {
            // Who has asked with SYNC never says anything.
            Stage::Online if !meeting.replica.acknowledges() => false,
            Stage::Online => now.since(meeting.replica.heard) > timeout_us,
            Stage::Joining => now.since(meeting.began) > timeout_us,
            // Whoever is sent a snapshot is watched by how it takes it.
            Stage::Waiting | Stage::Sending => false,
        };
        let silent: Vec<u64> =
            meetings.all.iter().filter(is_silent).map(|meeting| meeting.replica.number).collect();
        let is_due = !meetings.all.is_empty() && now.since(meetings.pinged) >= period_us;
        if is_due {
            meetings.pinged = now;
        }
        // On a stock replica's link a sign of life would be a part of the stream.
        let native = meetings.all.iter().filter(|meeting| !meeting.replica.is_stock);
        let links: Vec<u32> = native.map(|meeting| meeting.session).collect();
        let ttl_us = replication.repl_backlog_ttl_secs.saturating_mul(1_000_000);
        let is_forgotten = ttl_us > 0 && meetings.alone_since.is_some_and(|since| now.since(since) >= ttl_us);
        if is_forgotten && !self.replication.is_replica {
            meetings.alone_since = None;
            // Nobody has come back for it. What follows is another history, since it is not kept.
            conducting.history = History::new(&mut self.rng);
            self.tell_replication(|| ReplicationMail::ForgetBacklog);
            self.tell_history(true);
        }
        if is_due {
            if !self.replication.is_replica && !self.is_quiet() {
                self.ping_replicas();
            }
            links.into_iter().for_each(|index| self.send_sign_of_life(index));
        }
        for number in silent {
            self.end_meeting(number, "timeout");
        }
    }

    /// A PING is a record of shard 0.
    fn ping_replicas(&mut self) {
        self.post(self.owner_of(0), Rare::Replication(ReplicationMail::Ping));
    }

    pub(super) fn send_sign_of_life(&mut self, index: u32) {
        if self.session(index).is_some_and(|session| session.owed_bytes() == 0) {
            self.say(index, b"\n");
        }
    }

    /// What a client of a primary publishes reaches the subscribers of its replicas, too. It is a record like any, of a
    /// shard of the client's core.
    pub(in crate::host) fn propagate_publication(
        &mut self,
        channel: &[u8],
        message: &[u8],
        is_sharded: bool,
    ) {
        if self.replication.is_replica || !self.replication.streams.first().is_some_and(Stream::keeps) {
            return;
        }
        if let Some(shard) = self.shards.first_mut() {
            let name = if is_sharded { "SPUBLISH" } else { "PUBLISH" };
            let words = [Word::from(name), Word::from(channel), Word::from(message)];
            shard.journal.append(DbIndex(0), words);
        }
    }

    /// Asks replicas to say at once when they have come to this point; also those whose files may not have.
    pub(in crate::host) fn ask_for_acks(&mut self, target: &[u64], asks_synced: bool) {
        let Some(conducting) = &self.replication.conducting else { return };
        let native = conducting.meetings.all.iter().filter(|m| !m.replica.is_stock);
        let online = native.filter(|m| m.replica.stage == Stage::Online);
        let links: Vec<u32> =
            online.filter(|m| asks_synced || !m.replica.has(target)).map(|meeting| meeting.session).collect();
        let line = format!("+GETACK {}\r\n", write_positions(target));
        links.into_iter().for_each(|index| self.say(index, line.as_bytes()));
        self.ask_stock_for_acks();
    }
}

/// An address that is longer is refused (Redis: CONN_ADDR_STR_LEN with room for names, NET_HOST_STR_LEN).
const IP_BYTES_MAX: usize = 256;
