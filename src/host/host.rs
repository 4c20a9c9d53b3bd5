//! The state of one core, and the ways in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::batch::Batch;
use super::cron::{Pause, ProcessInfo};
use super::dial::LinkOwner;
use super::direct::Attempt;
use super::mail::{Mail, Outbox, Parcel, Rare, PARCELS_IN_FLIGHT_MAX};
use super::memory::MemoryState;
use super::migrate::Carrier;
use super::moves::Errand;
use super::query::Gather;
use super::replication::Stream;
use super::txn::{Gathered, Txn};
use crate::base::ids::{ClientId, CoreId, ShardId};
use crate::base::key::KeyHasher;
use crate::base::prng::Prng;
use crate::base::stats::{CommandStats, ErrorStats};
use crate::base::time::{Now, Ticks, UnixMs};
use crate::command::ctx::CommandOptions;
use crate::command::effects::LazyFree;
use crate::command::Table;
use crate::config::{Config, MaxmemoryPolicy};
use crate::ds::collection::{EncodingLimits, PackedLimits};
use crate::keyspace::{AccessPolicy, EvictionOptions, EvictionOrder, Keyspace, KeyspaceOptions, LfuOptions};
use crate::node::latency::LatencyMonitor;
use crate::node::slowlog::SlowLog;
use crate::node::stats::CoreStats;
use crate::replication::history::History;
use crate::session::admit::Gate;
use crate::session::session::Peer;
use crate::session::{Replies, Session, SessionKind, State, Wait};
use crate::shard::waiters::End;
use crate::shard::Shard;
use crate::storage::plan::Plan;

/// What a core is told at start.
#[derive(Clone)]
pub struct HostOptions {
    /// Which core this is.
    pub id: CoreId,
    /// How many cores there are.
    pub cores: u16,
    /// For each shard, the core that hosts it.
    pub placement: Vec<CoreId>,
    /// All commands.
    pub table: Arc<Table>,
    /// The configuration.
    pub config: Arc<Config>,
    /// Hashes keys; the same secret on all cores.
    pub hasher: KeyHasher,
    /// Seeds this core's randomness.
    pub seed: u64,
    /// What INFO tells of the process.
    pub process: ProcessInfo,
    /// What is loaded at start, and how the append-only file goes on; none where nothing is kept on disk.
    pub plan: Option<Arc<Plan>>,
}

/// What a core asks the runtime to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Connect to another server for this session, trying the host's addresses in turn, from the address `source`
    /// unless that is empty; then call `dialed`.
    Connect {
        /// The session.
        session: u32,
        /// A name or an address.
        host: String,
        /// Its TCP port.
        port: u16,
        /// An address, a name, or empty.
        source: String,
    },
    /// Take this session's connection to another core: receive no more, send what it is owed, then take it from here
    /// (`depart`) to there (`arrive`).
    Move {
        /// The session.
        session: u32,
        /// Not this core.
        to: CoreId,
    },
    /// End a session's connection: after its output has left, or at once.
    Close {
        /// The session.
        session: u32,
        /// Whether to send what it is owed first.
        flush: bool,
    },
    /// Receive nothing more from this session's client for now.
    Throttle(u32),
    /// Let this connection's small packets wait until they are more (`repl-disable-tcp-nodelay`).
    Gather(u32),
    /// Receive again.
    Unthrottle(u32),
    /// The configuration has changed: `Host::config` has the new one.
    Configured,
    /// Stop the process.
    Shutdown,
    /// Stop this core for so many microseconds (DEBUG SLEEP), then call `slept` with what else stands here.
    Sleep {
        /// How long.
        us: u64,
        /// Whose question it was.
        asker: CoreId,
        /// Its number.
        number: u64,
    },
    /// Stop the process with an error: the data set cannot be loaded, for this reason.
    Fail(String),
    /// Write the configuration file anew (CONFIG REWRITE), then call `rewritten` for this session.
    Rewrite {
        /// Who asked.
        session: u32,
    },
    /// Look at the place that snapshots are to go to (CONFIG SET dir, dbfilename), then call `entered`.
    Enter {
        /// The folder.
        dir: PathBuf,
        /// What snapshots are called there.
        dbfilename: String,
    },
}

/// What a core has under way: all zero once everything that its clients asked for is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// Sessions that are owed a reply.
    pub waiting_sessions: usize,
    /// Transactions that this core coordinates.
    pub transactions: usize,
    /// Questions that this core has asked the cores.
    pub questions: usize,
    /// Parcels at a neighbour.
    pub parcels: usize,
    /// Parcels that still gather requests.
    pub open_parcels: usize,
    /// Calls and parts of transactions that hold or await locks on this core's shards.
    pub jobs: usize,
    /// Sessions that apply a primary's records and belong to no flow any more.
    pub stray_appliers: usize,
}

/// See the module.
pub struct Host<T> {
    pub(super) id: CoreId,
    pub(super) cores: u16,
    pub(super) placement: Arc<[CoreId]>,
    /// For each shard, its place in `shards` if it is hosted here.
    pub(super) local: Vec<Option<u16>>,
    pub(super) shards: Vec<Shard>,
    pub(super) sessions: Vec<Option<Box<Session>>>,
    /// Numbers of sessions that may be given again, with that of their first slot.
    pub(super) free_sessions: Vec<(u32, u32)>,
    pub(super) next_client: u64,
    /// Who uses the links, by session.
    pub(super) links: BTreeMap<u32, LinkOwner>,
    /// What sessions are to do on the core that they move to.
    pub(super) departing: BTreeMap<u32, Errand>,
    /// What is being migrated, and the links for that, by session.
    pub(super) carriers: BTreeMap<u32, Carrier>,
    /// What has happened to a test's links.
    #[cfg(test)]
    pub(super) probe: Vec<String>,
    pub(super) table: Arc<Table>,
    pub(super) config: Arc<Config>,
    pub(super) hasher: KeyHasher,
    /// The configuration's limits for commands.
    pub(super) command_options: CommandOptions,
    pub(super) ticks: T,
    pub(super) now: Now,
    pub(super) rng: Prng,
    pub(super) gate: Gate,
    /// Whether every request needs a look: a monitor is connected or clients are paused.
    pub(super) attention: bool,
    pub(super) pause: Option<Pause>,
    /// Monitors on all cores, and those on this one.
    pub(super) monitors: u32,
    pub(super) local_monitors: Vec<u32>,
    /// What the monitors of the other cores are to see of this pass.
    pub(super) feed: Vec<u8>,
    pub(super) batch: Batch,
    pub(super) runnable: Vec<u32>,
    pub(super) dirty: Vec<u32>,
    pub(super) effects: Vec<Effect>,
    pub(super) shard_effects: Vec<crate::shard::Effect>,
    pub(super) outboxes: Vec<Outbox>,
    /// What this core has posted to itself while it delivers such mail.
    own_mail: std::collections::VecDeque<Rare>,
    delivers_own_mail: bool,
    /// Sessions that wait for room in an outbox.
    pub(super) outbox_waiters: Vec<u32>,
    #[allow(clippy::vec_box, reason = "they travel as boxes, which are not made anew for each journey")]
    pub(super) parcels: Vec<Box<Parcel>>,
    /// When the time of blocked sessions is up.
    pub(super) block_deadlines: BTreeSet<(UnixMs, u32)>,
    pub(super) txns: BTreeMap<u64, Txn>,
    pub(super) attempts: BTreeMap<u64, Attempt>,
    pub(super) gathered: Option<Box<Gathered>>,
    pub(super) gathers: BTreeMap<u64, Gather>,
    pub(super) next_number: u64,
    pub(super) slow_ticks: u64,
    /// `latency-tracking`.
    pub(super) tracks_latency: bool,
    pub(super) command_stats: Vec<CommandStats>,
    pub(super) error_stats: ErrorStats,
    pub(super) stats: CoreStats,
    pub(super) slowlog: SlowLog,
    pub(super) latency: LatencyMonitor,
    pub(super) memory: MemoryState,
    pub(super) process: ProcessInfo,
    pub(super) cron: super::cron::CronState,
    pub(super) persist: super::persist::Persistence,
    pub(super) replication: super::replication::Replication,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub(super) active_expire: bool,
    pub(super) pubsub: super::pubsub::Pubsub,
}

impl<T: Ticks> Host<T> {
    /// A core with its empty shards.
    pub fn new(options: HostOptions, ticks: T) -> Self {
        let HostOptions { id, cores, placement, table, config, hasher, seed, process, plan } = options;
        let mut rng = Prng::new(seed);
        let shard_count = placement.len() as u16;
        let mut local = vec![None; placement.len()];
        let mut shards = Vec::new();
        for (index, _) in placement.iter().enumerate().filter(|(_, core)| **core == id) {
            local[index] = Some(shards.len() as u16);
            let keyspace = Keyspace::new(
                databases(&config),
                hasher.clone(),
                KeyspaceOptions { seed: rng.next_u64(), ..keyspace_options(&config, true) },
            );
            let shard = ShardId(index as u16);
            let options = command_options(&config);
            shards.push(Shard::new(shard, shard_count, table.clone(), keyspace, options, rng.next_u64()));
        }
        let persist =
            super::persist::Persistence::new(id, placement.len(), shards.len(), plan.as_deref(), &config);
        let streams = shards.iter().map(|shard: &Shard| Stream::new(shard.id().0)).collect();
        let is_replica = config.replication.replicaof.0.is_some();
        let history = History::new(&mut rng);
        let replication = super::replication::Replication::new(id, streams, is_replica, history);
        let mut host = Host {
            id,
            cores,
            placement: placement.into(),
            local,
            shards,
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            next_client: 0,
            links: BTreeMap::new(),
            departing: BTreeMap::new(),
            carriers: BTreeMap::new(),
            #[cfg(test)]
            probe: Vec::new(),
            command_stats: (0..table.len()).map(|_| CommandStats::default()).collect(),
            table,
            hasher,
            command_options: command_options(&config),
            ticks,
            now: Now::default(),
            rng,
            gate: Gate { debug: config.security.enable_debug_command, ..Gate::default() },
            attention: false,
            pause: None,
            monitors: 0,
            local_monitors: Vec::new(),
            feed: Vec::new(),
            batch: Batch::default(),
            runnable: Vec::new(),
            dirty: Vec::new(),
            effects: Vec::new(),
            shard_effects: Vec::new(),
            outboxes: (0..cores).map(|_| Outbox::default()).collect(),
            own_mail: Default::default(),
            delivers_own_mail: false,
            outbox_waiters: Vec::new(),
            parcels: Vec::new(),
            block_deadlines: BTreeSet::new(),
            txns: BTreeMap::new(),
            attempts: BTreeMap::new(),
            gathered: None,
            gathers: BTreeMap::new(),
            next_number: 0,
            slow_ticks: u64::MAX,
            tracks_latency: true,
            error_stats: ErrorStats::default(),
            stats: CoreStats::default(),
            slowlog: SlowLog::of_core(id.0, cores),
            latency: LatencyMonitor::default(),
            memory: MemoryState::default(),
            process,
            cron: super::cron::CronState::default(),
            persist,
            replication,
            active_expire: true,
            pubsub: super::pubsub::Pubsub::new(cores),
            config,
        };
        host.apply_config();
        if let Some(plan) = plan {
            host.await_load(plan);
        }
        host
    }

    /// The time of the pass that begins.
    #[inline]
    pub fn set_now(&mut self, now: Now) {
        self.now = self.persist.now(now);
    }

    /// The configuration in force on this core.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// A client has connected. Its number among this core's sessions, or the error to send it before it is dropped.
    ///
    /// # Errors
    /// Protected mode refuses it. (`maxclients` is the acceptor's to keep, which knows all cores.)
    pub fn connect(&mut self, peer: Peer) -> Result<u32, &'static str> {
        self.stats.connections_received += 1;
        if self.config.network.is_protected_mode && self.config.security.requirepass.is_empty() && !peer.local
        {
            self.stats.rejected_connections += 1;
            return Err(PROTECTED_MODE);
        }
        let id = ClientId(self.next_client * u64::from(self.cores) + u64::from(self.id.0) + 1);
        self.next_client += 1;
        let mut session = Box::new(Session::new(id, peer, self.now.mono));
        session.authenticated = self.config.security.requirepass.is_empty();
        session.refresh_lane();
        self.stats.connected_clients += 1;
        let index = self.add_session(session);
        self.account(index);
        Ok(index)
    }

    /// Gives a session a number.
    pub(super) fn add_session(&mut self, mut session: Box<Session>) -> u32 {
        let (index, first_slot) = self.free_sessions.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            (self.sessions.len() as u32 - 1, 0)
        });
        session.replies = Replies::starting_at(first_slot);
        self.sessions[index as usize] = Some(session);
        index
    }

    /// A session without a client, for commands of the server's own. The runtime has no connection for it.
    pub(super) fn connect_internal(&mut self, peer: Peer) -> u32 {
        let mut session = Box::new(Session::new(ClientId(0), peer, self.now.mono));
        session.authenticated = true;
        session.kind = SessionKind::Internal;
        self.add_session(session)
    }

    /// The connection of a session is gone, or will not be made, and the runtime has no operation of it under way.
    pub fn disconnected(&mut self, index: u32) {
        self.end_account(index);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.state = State::Closed;
        session.input = Default::default();
        session.replies.out = Vec::new();
        let kind = session.kind;
        if kind == SessionKind::Client {
            self.stats.connected_clients -= 1;
        }
        self.forget_effects(index);
        self.forget_move(index);
        self.remove_monitor(index);
        self.unsubscribe_from_all(index);
        self.discard(index);
        self.end_block(index, End::Over);
        self.release_session(index);
        match kind {
            SessionKind::Outgoing => self.link_ended(index),
            SessionKind::Feed => self.feed_ended(index),
            SessionKind::Replica => self.replica_left(index),
            SessionKind::Client | SessionKind::Internal => {}
        }
    }

    /// A client turns out to be a replica's connection: it counts as no client any more.
    pub(super) fn become_kind(&mut self, index: u32, kind: SessionKind) {
        self.end_account(index);
        let Some(session) = self.session(index) else { return };
        if std::mem::replace(&mut session.kind, kind) == SessionKind::Client {
            self.stats.connected_clients -= 1;
        }
        let is_replica = matches!(kind, SessionKind::Replica | SessionKind::Feed);
        if is_replica && self.config.replication.repl_disable_tcp_nodelay {
            self.effects.push(Effect::Gather(index));
        }
    }

    /// What is still to be done about a session that is gone: its number may be given to another before that is
    /// carried out.
    pub(super) fn forget_effects(&mut self, index: u32) {
        self.effects.retain(|effect| match effect {
            Effect::Connect { session, .. }
            | Effect::Move { session, .. }
            | Effect::Close { session, .. }
            | Effect::Throttle(session)
            | Effect::Unthrottle(session)
            | Effect::Gather(session) => *session != index,
            _ => true,
        });
    }

    /// Frees a closed session once nothing that it asked for is under way.
    pub(super) fn release_session(&mut self, index: u32) {
        let Some(session) = self.sessions[index as usize].as_deref() else { return };
        if session.state == State::Closed && session.replies.waiting() == 0 && session.under_way == 0 {
            let next_slot = session.replies.next_slot();
            self.sessions[index as usize] = None;
            self.free_sessions.push((index, next_slot));
        }
    }

    /// A session's output, for the runtime to send: it takes what it can and leaves the rest.
    #[inline]
    pub fn output(&mut self, index: u32) -> Option<&mut Vec<u8>> {
        self.sessions[index as usize].as_deref_mut().map(|session| &mut session.replies.out)
    }

    /// A session, for the runtime's bookkeeping.
    #[inline]
    pub fn session(&mut self, index: u32) -> Option<&mut Session> {
        self.sessions.get_mut(index as usize)?.as_deref_mut()
    }

    /// Bytes of a session have left; a client that read too slowly may go on. `unsent` bytes are still to go.
    pub fn sent(&mut self, index: u32, unsent: usize) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let is_behind = unsent > 0 || session.unsent_bytes > 0;
        session.unsent_bytes = unsent;
        if session.goes_on_when_sent && unsent == 0 && session.replies.out.is_empty() {
            return self.link_sent(index);
        }
        if session.state == State::Waiting(Wait::Output) && session.owed_bytes() < OUTPUT_LOW_BYTES {
            session.state = State::Open;
            self.runnable.push(index);
        }
        if is_behind {
            self.account(index);
        }
    }

    /// The client has sent its last byte. What it has asked for is still answered, then the connection ends.
    pub fn end_of_input(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        session.at_end = true;
        if session.kind == SessionKind::Outgoing {
            return self.end_of_link(index);
        }
        self.leave_if_at_end(index);
        self.runnable.push(index);
    }

    /// Ends a session whose client has sent its last byte, if everything that can be answered is.
    pub(super) fn close_if_at_end(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        if session.at_end
            && session.state == State::Open
            && session.replies.waiting() == 0
            && session.under_way == 0
        {
            self.close(index, false);
        }
    }

    /// The acceptor has turned a client away: there are `maxclients` already.
    pub fn rejected(&mut self) {
        self.stats.connections_received += 1;
        self.stats.rejected_connections += 1;
    }

    /// A pass is over: how long it took from the kernel's return to the next enter, and how often the kernel has been
    /// entered since the start.
    #[inline]
    pub fn passed(&mut self, us: u64, enters: u64) {
        self.stats.passes += 1;
        self.stats.ring_enters = enters;
        self.stats.pass_us_sum += us;
        self.stats.pass_us_max = self.stats.pass_us_max.max(us);
    }

    /// How many sessions there are, those included whose connection is gone while something that they asked for is
    /// under way.
    pub fn sessions(&self) -> usize {
        self.sessions.iter().flatten().filter(|session| session.kind == SessionKind::Client).count()
    }

    /// What is under way, for whoever wants to see that nothing is left over.
    pub fn outstanding(&self) -> Outstanding {
        let sessions = self.sessions.iter().filter_map(|session| session.as_deref());
        let is_waiting = |session: &&Session| session.under_way > 0 || session.replies.waiting() > 0;
        Outstanding {
            waiting_sessions: sessions.filter(is_waiting).count(),
            transactions: self.txns.len() + self.attempts.len(),
            questions: self.gathers.len(),
            parcels: self.outboxes.iter().map(|outbox| outbox.in_flight as usize).sum(),
            open_parcels: self.outboxes.iter().filter(|outbox| outbox.open.is_some()).count(),
            jobs: self.shards.iter().map(Shard::jobs).sum(),
            stray_appliers: self.stray_appliers(),
        }
    }

    /// The core goes to sleep.
    #[inline]
    pub fn parks(&mut self) {
        self.stats.parks += 1;
    }

    /// The core waits actively: nothing to do in this pass, but it does not sleep yet.
    #[inline]
    pub fn spins(&mut self) {
        self.stats.spins += 1;
    }

    /// So many bytes are on their way to a client.
    #[inline]
    pub fn count_send(&mut self, bytes: u64) {
        self.stats.writes += 1;
        self.stats.net_output_bytes += bytes;
    }

    /// Another core had to be woken.
    #[inline]
    pub fn woke(&mut self) {
        self.stats.wakeups += 1;
    }

    /// Mail from another core.
    pub fn deliver(&mut self, from: CoreId, mail: Mail) {
        match mail {
            Mail::Requests(parcel) => self.answer_parcel(from, parcel),
            Mail::Replies(parcel) => self.take_answers(from, parcel),
            Mail::Rare(rare) => self.deliver_rare(from, *rare),
        }
    }

    fn deliver_rare(&mut self, from: CoreId, rare: Rare) {
        match rare {
            Rare::Late(ticket, reply, None) => self.fill(ticket.session, ticket.slot, &reply),
            Rare::Late(ticket, reply, Some(hold)) => {
                self.fill_held(ticket.session, ticket.slot, &reply, hold);
            }
            Rare::Sequence(parts) => self.sequence(parts),
            Rare::Part(shard, part) => self.schedule_part(shard, part),
            Rare::Step(txn, shard, reply, hold) => self.step_done(txn.number, shard, reply, hold),
            Rare::GoOn(txn, shard, calls) => self.go_on_part(txn, shard, &calls),
            Rare::Finish(txn, shard, calls, reported) => self.finish_part(txn, shard, &calls, reported),
            Rare::Block(shard, ticket, call) => self.block_here(shard, ticket, call),
            Rare::Wait(shard, ticket, keys, kind) => self.wait_here(shard, ticket, keys, kind),
            Rare::Waits(ticket) => self.stands_in_queue(ticket),
            Rare::Turn(ticket, shard) => self.turn_has_come(ticket, shard),
            Rare::FoundNothing(shard, ticket) => self.found_nothing_here(shard, ticket),
            Rare::StopWaiting(shard, ticket, end) => self.stop_waiting_here(shard, ticket, end),
            Rare::Unwatch(shard, keys) => self.unwatch_here(shard, &keys),
            Rare::Query(number, query) => self.take_query(from, number, query),
            Rare::Answer(number, answer) => self.take_answer(number, answer),
            Rare::Persist(mail) => self.take_persist_mail(mail),
            Rare::Replication(mail) => self.take_replication_mail(mail),
        }
    }

    /// Ends a pass: what may go on goes on, and parcels are closed.
    pub fn settle(&mut self) {
        self.end_due_blocks();
        self.end_due_transfers();
        while let Some(index) = self.runnable.pop() {
            self.pump(index);
            self.close_if_at_end(index);
        }
        self.send_feed();
        self.send_gone();
        self.settle_files();
        self.settle_replication();
        if self.cores > 1 {
            self.close_parcels();
        }
    }

    fn close_parcels(&mut self) {
        for outbox in &mut self.outboxes {
            if outbox.in_flight < PARCELS_IN_FLIGHT_MAX {
                self.stats.parcels += u64::from(outbox.close());
            }
        }
    }

    /// Sends something rare; to this core itself it is delivered at once.
    pub(super) fn post(&mut self, to: CoreId, rare: Rare) {
        self.put_in_mail(to, rare);
        self.deliver_own_mail();
    }

    /// Sends several rare things of which none may be overtaken by what another one leads to.
    pub(super) fn post_together(&mut self, all: impl IntoIterator<Item = (CoreId, Rare)>) {
        for (to, rare) in all {
            self.put_in_mail(to, rare);
        }
        self.deliver_own_mail();
    }

    fn put_in_mail(&mut self, to: CoreId, rare: Rare) {
        if to == self.id {
            self.own_mail.push_back(rare);
        } else {
            // It may overtake requests that still gather in the open parcel: a session has none under way when it
            // sends something rare.
            self.outboxes[to.index()].mail.push_back(Mail::Rare(Box::new(rare)));
        }
    }

    /// One after the other, never one within another: the end of a transaction may begin the next one on the same key,
    /// and there can be as many as clients.
    fn deliver_own_mail(&mut self) {
        let id = self.id;
        if !std::mem::replace(&mut self.delivers_own_mail, true) {
            while let Some(rare) = self.own_mail.pop_front() {
                self.deliver_rare(id, rare);
            }
            self.delivers_own_mail = false;
        }
    }

    /// Whether the end of a transaction is awaited on one of this core's shards. If not, mail that is nothing but that
    /// (`Mail::can_wait`) need not wake the core: whoever asks it for something wakes it, and finds the locks free.
    pub fn awaits_release(&self) -> bool {
        self.shards.iter().any(|shard| shard.awaits_release())
    }

    /// Mail for another core, oldest first; what does not fit into the ring stays.
    #[inline]
    pub fn mail_for(&mut self, core: CoreId) -> &mut std::collections::VecDeque<Mail> {
        &mut self.outboxes[core.index()].mail
    }

    /// Sessions that have output to send. The runtime clears `dirty` of each when it takes its output.
    #[inline]
    pub fn take_dirty(&mut self, into: &mut Vec<u32>) {
        for at in 0..self.dirty.len() {
            self.account(self.dirty[at]);
        }
        into.append(&mut self.dirty);
    }

    /// What the runtime is to do.
    #[inline]
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
    }

    /// The reply for a place kept in a session has come.
    #[inline]
    pub(super) fn fill(&mut self, index: u32, slot: u32, reply: &[u8]) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.replies.fill(slot, reply);
        if session.replies.on_hold() > 0 {
            self.persist.has_progress = true;
        }
        self.after_fill(index);
    }

    /// Replies of a session have come, or may leave.
    #[inline]
    pub(super) fn after_fill(&mut self, index: u32) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if session.state == State::Open && !session.at_end {
            mark_dirty(session, index, &mut self.dirty);
        } else {
            self.filled_slow(index);
        }
    }

    /// What a session that is not simply open does when a reply of its own has come.
    #[cold]
    fn filled_slow(&mut self, index: u32) {
        self.blocked_no_more(index);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        match session.state {
            State::Closed => {
                session.replies.out.clear();
                self.release_session(index);
            }
            State::Closing => {
                mark_dirty(session, index, &mut self.dirty);
                if session.replies.waiting() == 0 {
                    self.effects.push(Effect::Close { session: index, flush: true });
                }
            }
            State::Waiting(wait) => {
                if session.exec.is_none() {
                    mark_dirty(session, index, &mut self.dirty);
                }
                if matches!(wait, Wait::Replies | Wait::Keys) && session.replies.waiting() == 0 {
                    if session.exec.is_some() {
                        return self.filled_in_exec(index);
                    }
                    session.state = State::Open;
                    self.runnable.push(index);
                }
            }
            State::Open => {
                // Not ended at once: it may have been woken in this pass and not yet have run what it had kept.
                mark_dirty(session, index, &mut self.dirty);
                self.runnable.push(index);
            }
        }
    }

    /// Ends a session from this side: what it is owed is sent first unless it is `at_once`.
    pub(super) fn close(&mut self, index: u32, at_once: bool) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if session.state == State::Closed {
            return;
        }
        session.state = State::Closing;
        session.fast = false;
        session.input = Default::default();
        self.links.remove(&index);
        if at_once {
            session.replies.discard_waiting();
        }
        self.unsubscribe_from_all(index);
        self.end_block(index, End::Over);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if at_once || session.replies.waiting() == 0 {
            self.effects.push(Effect::Close { session: index, flush: !at_once });
        }
        self.end_account(index);
    }

    /// Whether keys go by themselves when their time has come.
    pub(super) fn refresh_active_expire(&mut self) {
        let active_expire = self.active_expire && !self.replication.is_replica;
        for shard in &mut self.shards {
            let options = KeyspaceOptions { active_expire, ..*shard.keyspace.options() };
            shard.keyspace.set_options(options);
        }
    }

    /// Takes over what the configuration says about this core.
    pub(super) fn apply_config(&mut self) {
        self.gate.debug = self.config.security.enable_debug_command;
        self.refresh_memory_limit();
        self.latency.set_threshold_ms(self.config.monitoring.latency_monitor_threshold_ms);
        // Slow is what the slow log or the latency monitor wants to know of.
        let monitoring = &self.config.monitoring;
        self.tracks_latency = monitoring.latency_tracking;
        let slowlog_us = u64::try_from(monitoring.slowlog_log_slower_than_us).unwrap_or(u64::MAX);
        let latency_us = match monitoring.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1000),
        };
        self.slow_ticks = match slowlog_us.min(latency_us) {
            u64::MAX => u64::MAX,
            us => us.saturating_mul(1000).saturating_mul(1024) / self.ticks.ns_per_tick_1024().max(1),
        };
        self.slowlog.set_len_max(self.config.monitoring.slowlog_max_len as usize);
        self.command_options = command_options(&self.config);
        for shard in &mut self.shards {
            shard.options = self.command_options;
            let active_expire = self.active_expire && !self.replication.is_replica;
            let seed = shard.keyspace.options().seed;
            shard
                .keyspace
                .set_options(KeyspaceOptions { seed, ..keyspace_options(&self.config, active_expire) });
        }
        self.configure_files();
        self.apply_role();
        self.effects.push(Effect::Configured);
    }
}

/// Puts a session on the list of those with output, once. What the server's own sessions are answered goes nowhere: it
/// is looked at where it stands.
#[inline]
pub(super) fn mark_dirty(session: &mut Session, index: u32, dirty: &mut Vec<u32>) {
    if !session.dirty && !session.replies.out.is_empty() && session.kind != SessionKind::Internal {
        session.dirty = true;
        dirty.push(index);
    }
}

/// The configuration's limits for commands.
pub(super) fn command_options(config: &Config) -> CommandOptions {
    CommandOptions {
        string_bytes_max: config.clients.proto_max_bulk_len_bytes,
        databases: databases(config),
        lfu: is_lfu(config),
        lazyfree: LazyFree {
            eviction: config.memory.lazyfree_lazy_eviction,
            expire: config.memory.lazyfree_lazy_expire,
            server_del: config.memory.lazyfree_lazy_server_del,
        },
        compresses_dumps: config.persistence.rdbcompression,
    }
}

/// `databases`, at most what a `DbIndex` can number.
pub(super) fn databases(config: &Config) -> u16 {
    u16::try_from(config.process.databases).unwrap_or(u16::MAX)
}

fn is_lfu(config: &Config) -> bool {
    matches!(config.memory.maxmemory_policy, MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu)
}

fn eviction_options(config: &Config) -> EvictionOptions {
    use EvictionOrder::{LeastFrequentlyUsed, LeastRecentlyUsed, Never, Random, SoonestExpiring};
    let (order, volatile_only) = match config.memory.maxmemory_policy {
        MaxmemoryPolicy::VolatileLru => (LeastRecentlyUsed, true),
        MaxmemoryPolicy::VolatileLfu => (LeastFrequentlyUsed, true),
        MaxmemoryPolicy::VolatileRandom => (Random, true),
        MaxmemoryPolicy::VolatileTtl => (SoonestExpiring, true),
        MaxmemoryPolicy::AllkeysLru => (LeastRecentlyUsed, false),
        MaxmemoryPolicy::AllkeysLfu => (LeastFrequentlyUsed, false),
        MaxmemoryPolicy::AllkeysRandom => (Random, false),
        MaxmemoryPolicy::NoEviction => (Never, false),
    };
    EvictionOptions { order, volatile_only, samples: config.memory.maxmemory_samples }
}

fn encoding_limits(config: &Config) -> EncodingLimits {
    let encodings = &config.encodings;
    let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let packed =
        |entries, value_bytes| PackedLimits { entries: count(entries), value_bytes: count(value_bytes) };
    EncodingLimits {
        hash: packed(encodings.hash_max_listpack_entries, encodings.hash_max_listpack_value_bytes),
        set_intset_entries: count(encodings.set_max_intset_entries),
        set: packed(encodings.set_max_listpack_entries, encodings.set_max_listpack_value_bytes),
        zset: packed(encodings.zset_max_listpack_entries, encodings.zset_max_listpack_value_bytes),
        list_node: encodings.list_max_listpack_size,
        list_compress_depth: encodings.list_compress_depth,
        hll_sparse_bytes: count(encodings.hll_sparse_max_bytes),
    }
}

/// `lfu-log-factor` and `lfu-decay-time`.
pub(super) fn lfu_options(config: &Config) -> LfuOptions {
    LfuOptions {
        log_factor: config.memory.lfu_log_factor,
        decay_minutes: config.memory.lfu_decay_time_minutes,
    }
}

fn keyspace_options(config: &Config, active_expire: bool) -> KeyspaceOptions {
    KeyspaceOptions {
        access: if is_lfu(config) { AccessPolicy::Lfu } else { AccessPolicy::Lru },
        lfu: lfu_options(config),
        active_expire,
        eviction: eviction_options(config),
        encodings: encoding_limits(config),
        seed: 0,
    }
}

/// A client that is owed more than this is not read from, and its requests wait, until it has read.
pub const OUTPUT_HIGH_BYTES: usize = 1024 * 1024;

/// Below this it goes on.
pub const OUTPUT_LOW_BYTES: usize = 256 * 1024;

/// More than this of a client's requests is not kept while it has to wait: it is not read from.
pub const INPUT_HIGH_BYTES: usize = 1024 * 1024;

/// What a stranger is told (Redis's text).
const PROTECTED_MODE: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. If you \
want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable \
protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis \
from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do \
so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by \
editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. \
3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a \
an authentication password for the default user. NOTE: You only need to do one of the above things in order for the \
server to start accepting connections from the outside.\r\n";
