//! Replication on one core, and on core 0 the conductor of all.
//!
//! * `feeds`: a primary's streams, and the flows that it feeds from them;
//! * `meetings`: core 0 of a primary keeps the table of replicas, from their introduction on;
//! * `links`: on core 0 the links of replicas that are stock Redis servers, with `export`, the one file that they are
//!   sent, and `merging`, the one stream;
//! * `upstream`: core 0 of a replica keeps the link to its primary;
//! * `flows`: a replica's flows, from the snapshot to the records that are done again;
//! * `foreign`: the same where the primary is a stock server;
//! * `tokens`: clients of a replica that wait until it has what they wrote on its primary;
//! * `roles`: how a node becomes a replica, or a primary again;
//! * `failover`: how it changes places with one of its replicas, and `farewell`: how it waits for them before it stops.
//!
//! A stream has an owner, a core: on a primary that of its shard, on a replica the core that has the flow of this
//! number. Everything about a stream happens there; core 0 decides what concerns all of them, and tells the others by
//! mail.

mod export;
mod failover;
mod farewell;
mod feeds;
mod flows;
mod foreign;
mod links;
mod meetings;
mod merging;
mod roles;
mod tokens;
mod upstream;

pub(super) use self::failover::{parse_failover, FailoverRequest};
use self::failover::{Failover, QuietFor};
use self::farewell::Farewell;
pub(super) use self::feeds::Stream;
use self::flows::Flow;
use self::foreign::Foreign;
use self::links::Stock;
use self::meetings::Meetings;
pub(super) use self::meetings::SyncRequest;
use self::merging::MergeMail;
pub(super) use self::roles::Order;
use self::roles::{Draining, RoleChange};
pub(super) use self::tokens::Reader;
use self::upstream::Upstream;
use super::host::Host;
use super::mail::Rare;
use super::query::Answer;
use crate::base::ids::{CoreId, DbIndex};
use crate::base::time::{MonoUs, Ticks};
use crate::config::PrimaryAddress;
use crate::node::replication::{ReplicaLine, ReplicationReport};
use crate::node::save::Target;
use crate::replication::flow::Position;
use crate::replication::history::{Applied, History, ReplId};
use crate::replication::token::Token;
use crate::storage::plan::Plan;
use crate::storage::save::SnapshotWriter;

/// This core's share.
pub(super) struct Replication {
    /// Whether this node is a replica, as every core knows it.
    pub(super) is_replica: bool,
    /// The streams that this core owns, in the order of their numbers. As a primary those of its shards, in their
    /// order.
    pub(super) streams: Vec<Stream>,
    /// The name of the data's history, as every core knows it; none while it is of none.
    history: Option<ReplId>,
    /// As a replica with as many shards as its primary: its files have the primary's streams as they came.
    pub(super) mirrors: bool,
    /// What of a primary's stream did not work here, as far as the log has it.
    said: Vec<String>,
    /// As a replica: whether the primary is a stock server, whose stream is none of ours.
    is_foreign: bool,
    /// As a replica: how many streams the primary has.
    pub(super) stream_count: u16,
    /// As a replica: the flows on this core.
    pub(super) flows: Vec<Flow>,
    /// Whether there is more to be applied at once.
    pub(super) has_more: bool,
    /// How long it is until what gathers for a feed is to be sent.
    pub(super) us_to_feed: u64,
    /// When feeds were last due a sign of life.
    signed: MonoUs,
    /// Cuts that core 0 is to be told of at the end of the pass.
    marks: Vec<MergeMail>,
    /// What this core is quiet for: FAILOVER, SHUTDOWN.
    quiet_for: [bool; 2],
    /// What this core waits for before it says that nothing is under way.
    draining: Option<Draining>,
    /// On core 0.
    pub(super) conducting: Option<Box<Conducting>>,
}

/// What core 0 keeps.
pub(super) struct Conducting {
    pub(super) history: History,
    /// As a replica: where the history before this one ended on the primary, by its word.
    elder: Option<Token>,
    pub(super) meetings: Meetings,
    pub(super) stock: Stock,
    pub(super) upstream: Option<Upstream>,
    /// What comes from a primary that is a stock server.
    foreign: Option<Foreign>,
    /// The database that is selected in its stream, up to where that is applied.
    foreign_db: DbIndex,
    /// Whether what is applied is a stock server's stream: it is no stream of ours.
    is_foreign_history: bool,
    /// A snapshot that was given up, until its file is gone.
    stray_snapshot: Option<SnapshotWriter>,
    /// The change of role that is under way, and those that wait for it to end.
    change: Option<RoleChange>,
    failover: Option<Failover>,
    farewell: Option<Farewell>,
    /// A cut that waits for it.
    cut: Option<Target>,
    waiting: Vec<(roles::Order, Option<(CoreId, u64)>)>,
    /// While this node is a replica: what its flows have applied, by stream. Nothing while its data is of no history.
    applied: Applied,
    /// Full and partial syncs that were served, and refusals.
    syncs: (u64, u64, u64),
}

/// What cores tell each other about replication.
#[derive(Debug)]
pub enum ReplicationMail {
    /// To core 0: a replica's flow is here. Whether what it asks to go on from is still kept.
    FlowJoined {
        /// Which meeting.
        meeting: u64,
        /// Which flow.
        flow: u16,
        /// Where it is, if it asks to go on.
        at: Option<u64>,
        /// Whether all bytes from there on are kept.
        is_kept: bool,
    },
    /// To core 0: a replica's flow is gone.
    FlowLost(u64),
    /// To the owners: the replica of this meeting goes on where it is.
    Resume(u64),
    /// To the owners: the replica of this meeting takes part in the snapshot that is cut next.
    Attend(u64),
    /// To the owners: the replica of this meeting is gone.
    Leave(u64),
    /// To all: stop what may change data, then say `Drained`.
    Drain(roles::DrainFor),
    /// To all: what may change data is held back, or no longer.
    Quiet(QuietFor, bool),
    /// To core 0: nothing is under way on this core. How far its streams have come: number, raw, offset.
    Drained(Vec<(u16, u64, u64)>),
    /// To all: nothing is under way anywhere; how far have the streams come? `Drained` is the answer.
    TellEnds,
    /// To all: this node is a replica from now on.
    BeReplica,
    /// To all: it is a primary from now on, as far as what is recorded goes.
    BePrimary(roles::Inheritance),
    /// To core 0: done.
    IsPrimary,
    /// To all: and as far as clients go.
    Open,
    /// To all: the data's history has this name from now on, or it is of none.
    History(Option<ReplId>),
    /// To all: what was loaded is there in its history, raw and offset of each stream.
    Restored(std::sync::Arc<[(u64, u64)]>),
    /// To all: so many streams the primary has, and whether it is a stock server.
    Streams(u16, bool),
    /// To a core: open the flow of this number.
    OpenFlow(flows::FlowOrder),
    /// To all: end all flows.
    CloseFlows,
    /// To all: the shards were cut; flows go on.
    Continue,
    /// To core 0: a flow has joined, or has its part of the snapshot, or will not.
    Flow(u64, u16, flows::FlowNews),
    /// To all: the data is to be replaced by what this plan loads.
    Replace(std::sync::Arc<Plan>),
    /// To all: flows go on to apply records.
    Apply,
    /// To core 0: what a flow has applied: raw and offset.
    Applied(u16, u64, u64),
    /// To the owner of shard 0: a PING is due in its stream.
    Ping,
    /// About the one stream that stock replicas are sent.
    Merge(merging::MergeMail),
    /// To all: nobody came back for the backlog.
    ForgetBacklog,
    /// To core 0: an item of this stream that must go with others.
    Collect(u16, flows::Shipped),
    /// To the owner of a flow: core 0 has applied its items up to here; how many in all, if none are left.
    Reached(u16, Position, Option<u64>),
    /// To all: each flow is to say how far it is; if positions are named when it is there.
    AskApplied(Option<std::sync::Arc<[u64]>>),
    /// To all: whether the data is too old to be shown, and whether writes lack replicas.
    Gate {
        /// The link is down, and `replica-serve-stale-data` is no.
        is_stale: bool,
        /// `min-replicas-to-write` is not reached.
        lacks_replicas: bool,
    },
}

impl Replication {
    pub(super) fn new(id: CoreId, streams: Vec<Stream>, is_replica: bool, history: History) -> Replication {
        Replication {
            is_replica,
            streams,
            history: None,
            mirrors: false,
            said: Vec::new(),
            is_foreign: false,
            stream_count: 0,
            flows: Vec::new(),
            has_more: false,
            us_to_feed: u64::MAX,
            signed: MonoUs(0),
            marks: Vec::new(),
            quiet_for: [false; 2],
            draining: None,
            conducting: (id == CoreId(0)).then(|| Box::new(Conducting::new(history))),
        }
    }
}

impl Conducting {
    /// Whether what the flows apply is what they have said of themselves: the link is up, or was until just now.
    fn applies(&self) -> bool {
        self.upstream.as_ref().is_some_and(Upstream::applies)
    }

    fn new(history: History) -> Conducting {
        Conducting {
            history,
            elder: None,
            meetings: Meetings::default(),
            stock: Stock::default(),
            upstream: None,
            foreign: None,
            foreign_db: DbIndex(0),
            is_foreign_history: false,
            stray_snapshot: None,
            change: None,
            failover: None,
            farewell: None,
            cut: None,
            waiting: Vec::new(),
            applied: Applied::new(),
            syncs: (0, 0, 0),
        }
    }
}

impl<T: Ticks> Host<T> {
    /// Mail about replication.
    pub(super) fn take_replication_mail(&mut self, mail: ReplicationMail) {
        match mail {
            ReplicationMail::FlowJoined { meeting, flow, at, is_kept } => {
                self.flow_joined(meeting, flow, at, is_kept);
            }
            ReplicationMail::FlowLost(meeting) => self.end_meeting(meeting, "a flow was lost"),
            ReplicationMail::Resume(meeting) => self.resume_feeds(meeting),
            ReplicationMail::Attend(meeting) => self.attend_feeds(meeting),
            ReplicationMail::Leave(meeting) => self.end_feeds(meeting),
            ReplicationMail::Drain(what) => self.drain(what),
            ReplicationMail::Quiet(what, is_quiet) => self.set_quiet(what, is_quiet),
            ReplicationMail::Drained(ends) => self.drained(&ends),
            ReplicationMail::TellEnds => self.tell_ends(),
            ReplicationMail::BeReplica => self.be_replica(),
            ReplicationMail::BePrimary(inheritance) => self.be_primary(&inheritance),
            ReplicationMail::IsPrimary => self.is_primary(),
            ReplicationMail::Open => self.open_as_primary(),
            ReplicationMail::History(id) => self.note_history(id),
            ReplicationMail::Restored(positions) => self.restore_positions(&positions),
            ReplicationMail::Streams(count, is_foreign) => {
                self.replication.stream_count = count;
                self.replication.is_foreign = is_foreign;
                self.refresh_mirrors();
            }
            ReplicationMail::OpenFlow(order) => self.open_flow(order),
            ReplicationMail::CloseFlows => self.close_flows(),
            ReplicationMail::Continue => self.continue_flows(),
            ReplicationMail::Flow(meeting, flow, news) => self.flow_news(meeting, flow, news),
            ReplicationMail::Replace(plan) => self.replace_data(plan),
            ReplicationMail::Apply => self.apply_flows_from_now_on(),
            ReplicationMail::Applied(flow, raw, offset) => self.note_applied(flow, raw, offset),
            ReplicationMail::Ping => self.record_for_replicas(&["PING"]),
            ReplicationMail::Merge(mail) => self.take_merge_mail(mail),
            ReplicationMail::ForgetBacklog => self.forget_backlog(),
            ReplicationMail::Collect(stream, shipped) => self.collect(stream, shipped),
            ReplicationMail::Reached(flow, at, settled) => self.reached(flow, at, settled),
            ReplicationMail::AskApplied(target) => self.ask_flows(target.as_deref()),
            ReplicationMail::Gate { is_stale, lacks_replicas } => {
                self.gate.is_stale = is_stale;
                self.gate.lacks_replicas = lacks_replicas;
                self.refresh_attention();
            }
        }
    }

    /// Sends the same to all cores, this one included.
    fn tell_replication(&mut self, mail: impl Fn() -> ReplicationMail) {
        // What one core does about it must not reach another before it.
        let all: Vec<_> = (0..self.cores).map(|core| (CoreId(core), Rare::Replication(mail()))).collect();
        self.post_together(all);
    }

    /// Who owns the stream, or has the flow, of this number.
    fn owner_of(&self, number: u16) -> CoreId {
        match self.placement.get(usize::from(number)) {
            Some(&core) => core,
            None => CoreId(number % self.cores),
        }
    }

    /// Ends a pass: what was received is applied, and what was recorded is sent.
    #[inline]
    pub(super) fn settle_replication(&mut self) {
        if !self.replication.flows.is_empty() {
            self.settle_flows();
        }
        if self.replication.streams.iter().any(|stream| stream.merging.is_some())
            || !self.replication.marks.is_empty()
        {
            self.pump_merging();
        }
        if self.replication.conducting.as_ref().is_some_and(|conducting| conducting.foreign.is_some()) {
            self.settle_foreign();
        }
        self.replication.us_to_feed = u64::MAX;
        if self.replication.streams.iter().any(|stream| stream.keeps()) {
            self.pump_feeds();
            self.trim_backlogs();
        }
        if self.has_links() {
            self.pump_links();
        }
        if self.replication.draining.is_some() {
            self.look_at_drain();
        }
    }

    /// What is due by itself; `hz` times a second.
    pub(super) fn tick_replication(&mut self) {
        self.check_feeds();
        self.watch_feeds();
        self.watch_flows();
        if self.replication.conducting.is_some() {
            self.tick_meetings();
            self.tick_stock();
            self.look_at_failover();
            self.look_at_farewell();
            self.tick_upstream();
            self.tick_foreign();
        }
    }

    /// What INFO tells of replication: this core's share.
    pub(super) fn report_replication(&self) -> ReplicationReport {
        let mut report = ReplicationReport::default();
        for (place, stream) in self.replication.streams.iter().enumerate() {
            // Beside them a replica keeps some for parts of snapshots alone.
            if !self.replication.is_replica || stream.number < self.replication.stream_count {
                report.offset += self.offset_of(place);
            }
            if let Some(backlog) = &stream.backlog {
                report.has_backlog = true;
                report.backlog_len += backlog.end() - backlog.first();
                report.backlog_memory += backlog.memory_bytes() as u64;
            }
        }
        if let Some(conducting) = &self.replication.conducting {
            self.report_conducted(conducting, &mut report);
        }
        report
    }

    fn report_conducted(&self, conducting: &Conducting, report: &mut ReplicationReport) {
        let now = self.now.mono;
        if let Some(backlog) = conducting.stock.merging.as_ref().and_then(|merging| merging.backlog.as_ref())
        {
            report.backlog_memory += backlog.memory_bytes() as u64;
        }
        report.id = conducting.history.id.to_string();
        if let Some(before) = &conducting.history.before {
            report.id2 = before.id.to_string();
            report.second_offset = before.offset as i64 + 1;
        }
        (report.full_syncs, report.partial_syncs, report.partial_refusals) = conducting.syncs;
        let replicas = conducting.meetings.replicas().map(|replica| ReplicaLine {
            ip: replica.ip.clone(),
            port: replica.port,
            state: replica.stage.name(),
            is_online: replica.stage == crate::replication::replicas::Stage::Online,
            offset: replica.acked_offset,
            lag_secs: replica.lag_secs(now),
        });
        report.replicas = replicas.collect();
        report.shutdown_ms = conducting.farewell.as_ref().and_then(|farewell| farewell.left_ms(now));
        report.failover_state = conducting.failover.as_ref().map_or("no-failover", Failover::state);
        if self.replication.is_replica {
            report.upstream = conducting.upstream.as_ref().map(|upstream| upstream.report(now));
        }
    }

    /// The primary that the configuration names.
    fn configured_primary(&self) -> Option<PrimaryAddress> {
        self.config.replication.replicaof.0.clone()
    }

    /// Answers a question of another core, or of this one.
    fn answer_asker(&mut self, asker: Option<(CoreId, u64)>, answer: Answer) {
        if let Some((core, number)) = asker.filter(|&(_, number)| number != super::query::UNANSWERED) {
            self.post(core, Rare::Answer(number, answer));
        }
    }
}
