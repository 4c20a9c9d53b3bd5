//! How a node becomes a replica, or a primary again.
//!
//! A change needs a moment at which nothing that may change data is under way on any core: only then is it known where
//! every stream ends. So core 0 tells all cores to *drain*: they begin nothing more that may change data, and say when
//! what they had begun has come to its end. Changes are made one after the other.
//!
//! To become a primary takes two more steps: first every core records what is done to its data, then every core lets
//! clients write. Were it one, a core that had taken it could send a write to one that had not.

use std::sync::Arc;

use super::failover::{QuietFor, NOT_WHILE};
use super::merging::MergeMail;
use super::upstream::Upstream;
use super::{ReplicationMail, Stream};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, Offset};
use crate::base::num::parse_i64;
use crate::base::time::Ticks;
use crate::config::{Config, PrimaryAddress, ReplicaOf};
use crate::host::host::Host;
use crate::host::mail::Rare;
use crate::host::query::{Answer, Query};
use crate::journal::track::Whereabouts;
use crate::node::save::Target;
use crate::replication::history::{combined, History, ReplId, Resume};
use crate::shard::waiters::End;
use crate::storage::plan::Plan;

/// What clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// REPLICAOF host port.
    Follow(PrimaryAddress),
    /// REPLICAOF NO ONE.
    Lead,
}

/// What nothing may be under way for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainFor {
    /// To become a replica, or that of another primary.
    Follow,
    /// To become a primary.
    Lead,
    /// The link to the primary has ended.
    Link,
    /// It is to be known where the streams end, and that they do not go on.
    Quiet(QuietFor),
    /// The data is about to be replaced.
    Load,
    /// To cut a replica's shards where it is known how far its streams are applied.
    Cut(Target),
}

/// What a new primary begins with.
#[derive(Clone, Debug)]
pub struct Inheritance {
    /// By stream: where it goes on, raw and offset. Those that a replica had, if they are as many as there are shards.
    streams: Arc<[(u64, u64)]>,
    /// Whether they are those that a replica had.
    is_continued: bool,
    /// Where the numbers of transactions go on. They are drawn by chance: who follows both primaries, the old one and
    /// this, must not take a transaction of the one for part of one of the other's.
    first_number: u64,
}

/// So many numbers a new primary's transactions may begin with: far more than are under way at any time.
const TXN_NUMBERS: u64 = 1 << 48;

/// A core that drains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draining {
    what: DrainFor,
}

/// A change under way, on core 0.
#[derive(Debug)]
pub(super) struct RoleChange {
    what: DrainFor,
    /// Cores that have not said that they have done what they were told last.
    missing: u16,
    /// Whether nothing is under way on any core.
    is_drained: bool,
    order: Option<Order>,
    asker: Option<(CoreId, u64)>,
    /// How far the streams have come: by number.
    ends: Vec<Option<(u64, u64)>>,
}

impl<T: Ticks> Host<T> {
    /// REPLICAOF, on core 0. An answer, unless that comes later.
    pub(in crate::host) fn take_replicaof(&mut self, asker: (CoreId, u64), order: Order) -> Option<Answer> {
        if self.is_failing_over() {
            return Some(Answer::Refused(NOT_WHILE));
        }
        let is_same = self.wanted_order().is_some_and(|wanted| wanted == order);
        match &order {
            Order::Follow(_) if is_same => {
                tracing::warn!(
                    "REPLICAOF would result into synchronization with the master we are already connected with. No \
                     operation performed."
                );
                return Some(Answer::Status("OK Already connected to specified master"));
            }
            Order::Follow(address) => {
                tracing::warn!("REPLICAOF {}:{} enabled", address.host, address.port);
                self.configure_replicaof(Some(address.clone()));
            }
            Order::Lead if !self.replication.is_replica => {
                let is_idle = self.replication.conducting.as_ref().is_none_or(|c| c.change.is_none());
                if is_idle {
                    return Some(Answer::Done);
                }
                // What is under way makes it a replica, which it is not to be.
                self.configure_replicaof(None);
            }
            Order::Lead => {
                tracing::warn!("MASTER MODE enabled");
                self.configure_replicaof(None);
            }
        }
        // REPLICAOF answers at once; whoever asks for a primary is told when it is one.
        let waits = order == Order::Lead;
        self.order(order, waits.then_some(asker));
        (!waits).then_some(Answer::Done)
    }

    /// What was asked for last: it may still have to be done.
    fn wanted_order(&self) -> Option<Order> {
        let conducting = self.replication.conducting.as_ref()?;
        let waiting = conducting.waiting.last().map(|(order, _)| order.clone());
        let changing = || conducting.change.as_ref().and_then(|change| change.order.clone());
        let following = || conducting.upstream.as_ref().map(|up| Order::Follow(up.address().clone()));
        waiting.or_else(changing).or_else(following)
    }

    /// Where the configuration names a primary, it is followed from the start.
    pub(in crate::host) fn start_replication(&mut self) {
        let now = self.now.mono;
        let address = self.configured_primary();
        if let (Some(conducting), Some(address)) = (&mut self.replication.conducting, address) {
            conducting.upstream = Some(Upstream::new(address, None, false, now));
        }
        // A primary's own history begins with it; a replica's data is of one when it has been synchronized.
        let is_primary = !self.replication.is_replica;
        if self.id == CoreId(0) {
            self.tell_history(is_primary);
        }
    }

    /// The configuration names another primary, or none.
    pub(super) fn configure_replicaof(&mut self, address: Option<PrimaryAddress>) {
        let mut config = Config::clone(&self.config);
        config.replication.replicaof = ReplicaOf(address);
        self.broadcast(Query::Configure(Arc::new(config)));
    }

    pub(super) fn order(&mut self, order: Order, asker: Option<(CoreId, u64)>) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        if conducting.change.is_some() {
            // Whom to follow until this order's turn comes is of no matter to anybody. So no more wait than clients do.
            if let Some((Order::Follow(_), _)) = conducting.waiting.last() {
                conducting.waiting.pop();
            }
            conducting.waiting.push((order, asker));
            return;
        }
        let what = match order {
            Order::Follow(_) => DrainFor::Follow,
            Order::Lead => DrainFor::Lead,
        };
        self.begin_change(what, Some(order), asker);
    }

    /// Begins a change, for the link's own sake.
    pub(super) fn begin_drain(&mut self, what: DrainFor) {
        let is_busy = self.replication.conducting.as_ref().is_none_or(|c| c.change.is_some());
        // A change of role ends the link in any case.
        if !is_busy {
            self.begin_change(what, None, None);
        }
    }

    fn begin_change(&mut self, what: DrainFor, order: Option<Order>, asker: Option<(CoreId, u64)>) {
        let missing = self.cores;
        let Some(conducting) = &mut self.replication.conducting else { return };
        conducting.change =
            Some(RoleChange { what, missing, is_drained: false, order, asker, ends: Vec::new() });
        if matches!(what, DrainFor::Follow | DrainFor::Lead) {
            self.end_all_meetings();
        }
        self.tell_replication(|| ReplicationMail::Drain(what));
    }

    /// This core begins nothing more that may change data.
    pub(super) fn drain(&mut self, what: DrainFor) {
        match what {
            DrainFor::Follow => {
                self.gate.is_read_only_replica = true;
                self.gate.is_draining = true;
                self.end_all_blocks();
            }
            DrainFor::Quiet(what) => self.set_quiet(what, true),
            DrainFor::Load => self.gate.is_loading = true,
            DrainFor::Lead | DrainFor::Link | DrainFor::Cut(_) => {}
        }
        match what {
            // Flows that bring the data to be loaded apply nothing yet.
            DrainFor::Load | DrainFor::Quiet(_) => {}
            DrainFor::Cut(_) => self.pause_flows(true),
            DrainFor::Follow | DrainFor::Lead | DrainFor::Link => self.stop_flows(),
        }
        self.refresh_attention();
        self.replication.draining = Some(Draining { what });
        self.look_at_drain();
    }

    /// Whether what was begun has come to its end.
    pub(super) fn look_at_drain(&mut self) {
        let Some(Draining { what }) = self.replication.draining else { return };
        let outstanding = self.outstanding();
        let is_busy = outstanding.transactions + outstanding.parcels + outstanding.open_parcels > 0;
        // Only what clients have begun matters where clients may write.
        let minds_clients = matches!(what, DrainFor::Follow | DrainFor::Load | DrainFor::Quiet(_));
        if minds_clients && is_busy || !self.flows_are_idle() {
            return;
        }
        self.replication.draining = None;
        if matches!(what, DrainFor::Quiet(_)) {
            self.apply_role();
        }
        self.tell_ends();
    }

    /// Tells core 0 how far this core's streams have come.
    pub(super) fn tell_ends(&mut self) {
        if !self.replication.is_replica {
            // What this pass has done so far is in the journals still, and they are ahead of the streams.
            (0..self.shards.len()).for_each(|place| self.hand_over(place));
        }
        let mut ends = Vec::new();
        for (place, stream) in self.replication.streams.iter().enumerate() {
            match self.replication.is_replica {
                true if stream.number >= self.replication.stream_count => {}
                true => ends.push((stream.number, stream.open_to, stream.offset)),
                false => ends.push((stream.number, stream.raw, self.offset_of(place))),
            }
        }
        self.post(CoreId(0), Rare::Replication(ReplicationMail::Drained(ends)));
    }

    /// A core has drained; or all have, and this one says once more how far its streams have come.
    pub(super) fn drained(&mut self, ends: &[(u16, u64, u64)]) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(change) = &mut conducting.change else { return };
        for &(number, raw, offset) in ends {
            let number = usize::from(number);
            if change.ends.len() <= number {
                change.ends.resize(number + 1, None);
            }
            change.ends[number] = Some((raw, offset));
        }
        change.missing -= 1;
        if change.missing > 0 {
            return;
        }
        if !change.is_drained {
            // What core 0 had begun to apply for a stream of another core may have ended after that core had answered:
            // only now is it known where the streams are.
            change.is_drained = true;
            change.missing = self.cores;
            change.ends.clear();
            return self.tell_replication(|| ReplicationMail::TellEnds);
        }
        let what = change.what;
        let ends: Vec<(u64, u64)> = std::mem::take(&mut change.ends).into_iter().flatten().collect();
        match what {
            DrainFor::Link => {
                self.note_ends(&ends);
                self.link_has_ended();
                self.end_change();
            }
            DrainFor::Load => {
                self.end_change();
                self.load_sync();
            }
            DrainFor::Cut(target) => {
                self.note_ends(&ends);
                self.cut(target);
            }
            DrainFor::Quiet(what) => {
                self.end_change();
                let ends = ends.iter().map(|&(raw, _)| raw).collect();
                match what {
                    QuietFor::Failover => self.quiet_for_failover(ends),
                    QuietFor::Shutdown => self.quiet_for_farewell(ends),
                }
            }
            DrainFor::Follow => self.follow(&ends),
            DrainFor::Lead => self.lead(&ends),
        }
    }

    /// What a replica's flows have applied.
    fn note_ends(&mut self, ends: &[(u64, u64)]) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        if conducting.applies() && ends.len() == conducting.applied.len() {
            conducting.applied = ends.iter().copied().collect();
        }
    }

    /// Whether records of a primary are being applied, so that a cut has to fall between them.
    pub(in crate::host) fn applies_streams(&self) -> bool {
        let upstream = self.replication.conducting.as_ref().and_then(|c| c.upstream.as_ref());
        upstream.is_some_and(|upstream| upstream.is_up())
    }

    /// Cuts all shards when nothing is half applied.
    pub(in crate::host) fn cut_between_records(&mut self, target: Target) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        if conducting.change.is_some() {
            conducting.cut = Some(target);
            return;
        }
        self.begin_change(DrainFor::Cut(target), None, None);
    }

    /// The shards were cut: records are applied again.
    pub(in crate::host) fn was_cut(&mut self) {
        let change = self.replication.conducting.as_ref().and_then(|c| c.change.as_ref());
        if let Some(DrainFor::Cut(target)) = change.map(|change| change.what) {
            if let Target::Export { id, merging } = target {
                self.tell_replication(|| ReplicationMail::Merge(MergeMail::CutRest { export: id, merging }));
            }
            self.tell_replication(|| ReplicationMail::Continue);
            self.end_change();
        }
    }

    /// The change is made; the next one begins, if one waits.
    fn end_change(&mut self) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(change) = conducting.change.take() else { return };
        self.answer_asker(change.asker, Answer::Done);
        self.next_change();
    }

    fn next_change(&mut self) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        if conducting.change.is_some() {
            return;
        }
        if let Some(target) = conducting.cut.take() {
            match self.applies_streams() {
                true => self.begin_change(DrainFor::Cut(target), None, None),
                false => self.cut(target),
            }
        } else if !conducting.waiting.is_empty() {
            let (order, asker) = conducting.waiting.remove(0);
            self.order(order, asker);
        } else if conducting.upstream.as_ref().is_some_and(|upstream| upstream.is_ending()) {
            // It was lost while something else was going on.
            self.begin_change(DrainFor::Link, None, None);
        }
    }

    /// Nothing may change data: this node is a replica from now on.
    fn follow(&mut self, ends: &[(u64, u64)]) {
        let now = self.now.mono;
        let was_replica = self.replication.is_replica;
        let (is_recording, demands) = (self.has_history(), self.demands_promotion());
        if was_replica {
            self.note_ends(ends);
        }
        self.end_collecting();
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(Order::Follow(address)) = conducting.change.as_ref().and_then(|c| c.order.clone()) else {
            return;
        };
        let old = conducting.upstream.take();
        let has_history = if was_replica { !conducting.applied.is_empty() } else { is_recording };
        if has_history && !was_replica {
            conducting.applied = ends.iter().copied().collect();
        }
        let (at, offset) = combined(&conducting.applied);
        let resume = has_history.then(|| Resume { id: conducting.history.id, at, offset });
        conducting.upstream = Some(Upstream::new(address, resume, demands, now));
        if let Some(session) = old.and_then(|upstream| upstream.link()) {
            self.close(session, true);
        }
        // Those who have come since the change began follow what ends here.
        self.end_all_meetings();
        self.tell_replication(|| ReplicationMail::CloseFlows);
        self.tell_replication(|| ReplicationMail::BeReplica);
        self.end_change();
        self.tick_upstream();
    }

    /// Whether this primary's streams are of use to anybody: records were kept since some moment, on all shards.
    fn has_history(&self) -> bool {
        self.replication.streams.iter().any(|stream| stream.backlog.is_some())
    }

    /// This core is one of a replica.
    pub(super) fn be_replica(&mut self) {
        self.gate.is_draining = false;
        if !self.replication.is_replica {
            self.replication.stream_count = self.placement.len() as u16;
        }
        self.replication.is_replica = true;
        for place in 0..self.shards.len() {
            self.hand_over(place);
            self.shards[place].set_replica(true);
        }
        self.replication.streams.iter_mut().for_each(|stream| stream.open_to = stream.raw);
        for (place, stream) in self.replication.streams.iter_mut().enumerate() {
            if let Some(shard) = self.shards.get(place) {
                stream.offset = shard.journal.end().0;
            }
        }
        self.end_all_feeds();
        self.refresh_recording();
        self.apply_role();
    }

    /// Nothing that came from the primary is under way: this node begins a history of its own.
    fn lead(&mut self, ends: &[(u64, u64)]) {
        let shards = self.placement.len();
        let was_replica = self.replication.is_replica;
        let cores = self.cores;
        if !was_replica {
            return self.end_change();
        }
        self.note_ends(ends);
        self.end_collecting();
        let Some(conducting) = &mut self.replication.conducting else { return };
        let old = conducting.upstream.take();
        let applied: Vec<(u64, u64)> = conducting.applied.to_vec();
        let (raws, offset) = combined(&applied);
        // A stock server's stream does not go on as one of ours.
        let is_foreign = std::mem::take(&mut conducting.is_foreign_history);
        conducting.elder = None;
        let is_continued = applied.len() == shards && !is_foreign;
        match is_continued {
            true => conducting.history.shift(raws, offset, &mut self.rng),
            false => conducting.history = History::new(&mut self.rng),
        }
        let first_number = 1 + self.rng.below(TXN_NUMBERS);
        // Where the streams are others the combined offset goes on all the same, in the first.
        let streams: Arc<[(u64, u64)]> = match is_continued {
            true => applied.into(),
            false => (0..shards).map(|shard| (0, if shard == 0 { offset } else { 0 })).collect(),
        };
        if let Some(change) = &mut conducting.change {
            change.missing = cores;
        }
        if let Some(session) = old.and_then(|upstream| upstream.link()) {
            self.close(session, true);
        }
        // Those who have come since the change began follow what ends here.
        self.end_all_meetings();
        self.tell_replication(|| ReplicationMail::CloseFlows);
        let inheritance = Inheritance { streams, is_continued, first_number };
        self.tell_replication(|| ReplicationMail::BePrimary(inheritance.clone()));
        self.tell_history(true);
    }

    /// This core is one of a primary, as far as what is recorded goes.
    pub(super) fn be_primary(&mut self, inheritance: &Inheritance) {
        let capacity = self.backlog_capacity();
        let mut old = std::mem::take(&mut self.replication.streams);
        let fed = old.iter_mut().flat_map(|stream| stream.feeds.drain(..)).collect();
        self.let_feeds_go(fed);
        self.replication.is_replica = false;
        self.next_number = inheritance.first_number;
        for place in 0..self.shards.len() {
            let number = self.shards[place].id().0;
            let (raw, offset) = inheritance.streams.get(usize::from(number)).copied().unwrap_or_default();
            let kept = old.iter().position(|stream| stream.number == number);
            let mut stream = match kept.filter(|_| inheritance.is_continued) {
                Some(at) => old.swap_remove(at),
                None => Stream::new(number),
            };
            // What its own files had until here is no part of the new stream.
            self.hand_over_to_files(place);
            if let Some(backlog) = stream.backlog.as_mut().filter(|_| inheritance.is_continued) {
                backlog.cut_off(raw);
            }
            (stream.raw, stream.offset, stream.open_to) = (raw, offset, raw);
            stream.keep_backlog(capacity);
            self.shards[place].journal.set_end(Offset(offset));
            self.shards[place].set_replica(false);
            self.replication.streams.push(stream);
        }
        self.refresh_recording();
        self.post(CoreId(0), Rare::Replication(ReplicationMail::IsPrimary));
    }

    /// A core records as a primary's.
    pub(super) fn is_primary(&mut self) {
        let Some(change) = self.replication.conducting.as_mut().and_then(|c| c.change.as_mut()) else {
            return;
        };
        change.missing -= 1;
        if change.missing == 0 {
            self.tell_replication(|| ReplicationMail::Open);
            self.end_change();
            self.look_at_readers();
        }
    }

    /// Clients may write.
    pub(super) fn open_as_primary(&mut self) {
        self.apply_role();
    }

    /// What the role means for this core's gate and its shards.
    pub(in crate::host) fn apply_role(&mut self) {
        let is_replica = self.replication.is_replica;
        // A quiet one that has come to rest lets nothing expire either.
        let is_resting = self.is_quiet() && self.replication.draining.is_none();
        let is_read_only = self.config.replication.replica_read_only;
        self.gate.is_read_only_replica = is_replica && is_read_only || self.gate.is_draining;
        if !is_replica {
            self.gate.is_stale = false;
        }
        for shard in &mut self.shards {
            shard.set_replica(is_replica || is_resting);
        }
        self.refresh_mirrors();
        self.refresh_active_expire();
        self.refresh_memory_limit();
        self.refresh_attention();
        if self.id == CoreId(0) {
            self.tell_gate();
        }
    }

    /// The data is replaced by what this plan loads.
    pub(super) fn replace_data(&mut self, plan: Arc<Plan>) {
        for place in 0..self.shards.len() {
            self.shards[place].keyspace.flush_all();
        }
        self.await_load(plan);
        // The others were told to replace theirs before they are told to load.
        if self.id == CoreId(0) {
            self.conduct_load();
        }
    }

    /// Whether this replica's files have its primary's streams as they came, instead of what its shards record.
    pub(in crate::host) fn refresh_mirrors(&mut self) {
        let is_same = self.stream_count() == self.placement.len();
        let is_read_only = self.config.replication.replica_read_only;
        let mirrors = self.replication.is_replica && is_same && is_read_only && !self.replication.is_foreign;
        if mirrors != std::mem::replace(&mut self.replication.mirrors, mirrors) {
            self.refresh_recording();
            self.annotate_positions();
        }
    }

    /// The history of the data has another name, or none.
    pub(super) fn note_history(&mut self, id: Option<ReplId>) {
        if id != std::mem::replace(&mut self.replication.history, id) {
            self.annotate_positions();
        }
    }

    /// Where the stream of a shard is, as its append-only file says it.
    pub(in crate::host) fn whereabouts(&self, place: usize) -> Whereabouts {
        let number = self.shards[place].id().0;
        let found = self.replication.streams.iter().position(|stream| stream.number == number);
        let is_known = !self.replication.is_replica || self.replication.mirrors;
        match (found, self.replication.history.filter(|_| is_known)) {
            (Some(at), Some(id)) => {
                let stream = &self.replication.streams[at];
                let raw = if self.replication.is_replica { stream.open_to } else { stream.raw };
                let history = id.as_str().as_bytes().to_vec();
                Whereabouts { history, raw, offset: self.offset_of(at) }
            }
            _ => Whereabouts { history: Vec::new(), raw: 0, offset: 0 },
        }
    }

    /// Tells all cores what the data's history is called.
    pub(super) fn tell_history(&mut self, is_known: bool) {
        let id = self.replication.conducting.as_ref().map(|conducting| conducting.history.id);
        let id = id.filter(|_| is_known);
        self.tell_replication(|| ReplicationMail::History(id));
    }

    /// The append-only files of all shards say that they are of one history, and where in it.
    pub(in crate::host) fn restore_history(&mut self, found: &[(Vec<u8>, u64, u64)]) {
        let is_replica = self.replication.is_replica;
        let Some((name, ..)) = found.first() else { return };
        let Some(id) = ReplId::parse(name).filter(|_| found.iter().all(|(other, ..)| other == name)) else {
            return;
        };
        let positions: Arc<[(u64, u64)]> = found.iter().map(|&(_, raw, offset)| (raw, offset)).collect();
        let Some(conducting) = &mut self.replication.conducting else { return };
        let (at, offset) = combined(&positions);
        conducting.history = History { id, before: None };
        match is_replica {
            // It asks to go on from here.
            true => {
                conducting.applied = positions.iter().copied().collect();
                if let Some(upstream) = &mut conducting.upstream {
                    upstream.resume_from(Resume { id, at, offset });
                }
            }
            // Whoever has come no further misses nothing; what follows may be another story.
            false => conducting.history.shift(at, offset, &mut self.rng),
        }
        self.tell_replication(|| ReplicationMail::Restored(positions.clone()));
        self.tell_history(true);
    }

    /// What was loaded is there in its history.
    pub(super) fn restore_positions(&mut self, positions: &[(u64, u64)]) {
        let capacity = self.backlog_capacity();
        self.replication.stream_count = positions.len() as u16;
        for place in 0..self.shards.len() {
            let number = self.shards[place].id().0;
            let Some(&(raw, offset)) = positions.get(usize::from(number)) else { continue };
            self.shards[place].journal.set_end(Offset(offset));
            let streams = &mut self.replication.streams;
            if let Some(stream) = streams.iter_mut().find(|stream| stream.number == number) {
                (stream.raw, stream.offset, stream.open_to) = (raw, offset, raw);
                stream.keep_backlog(capacity);
            }
        }
    }

    /// Blocked clients are let go: what they wait for would be the primary's to give.
    fn end_all_blocks(&mut self) {
        for index in 0..self.sessions.len() as u32 {
            if self.session(index).is_some_and(|session| session.blocked.is_some()) {
                self.end_block(index, End::RoleChanged);
            }
        }
    }

    /// `REPLICAOF` as the request names it.
    ///
    /// # Errors
    /// The port is none.
    pub(in crate::host) fn parse_replicaof(host: &[u8], port: &[u8]) -> Result<Order, CommandError> {
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            return Ok(Order::Lead);
        }
        let number = parse_i64(port).ok_or(CommandError::NOT_INTEGER)?;
        let port = u16::try_from(number).map_err(|_| CommandError::new("ERR Invalid master port"))?;
        Ok(Order::Follow(PrimaryAddress { host: host.to_vec().into(), port }))
    }
}
