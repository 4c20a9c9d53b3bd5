//! The limit on memory (`maxmemory`): one number over all cores, kept by each core on its own shards.
//!
//! The runtime shows each core what the others use (`MemoryGauge`), at the beginning of every pass; to that a core adds
//! its own use as it is at the moment. What lies above the limit is the *excess*. Of all by which it grows each core
//! owes its share: the part that its shards have of all keys that the policy lets go. So no shard shrinks because
//! another one is written to. Since the excess that a core sees may have been paid off by others in part, it goes by
//! the *gross*, the excess and all that was ever evicted. A core pays before a command that takes memory runs, as Redis
//! does, and at every pass; for as long as `maxmemory-eviction-tenacity` says.
//!
//! Where the others lag behind, the limit comes before the proportion:
//!
//! * above `slack` they are woken up;
//! * above `stall` a core pays all of the excess; a command that takes memory then waits if only other cores have
//!   something that can go;
//! * if nobody has, the command is refused (OOM).
//!
//! What is dead already (flushed databases, large values whose keys are gone) is freed before any key goes.
//!
//! What counts as used: keys, values, tables, and clients' buffers, as INFO's `used_memory`.
//!
//! Not here: which keys go (`keyspace::evict`), and `maxmemory-clients` (`clientsmemory`).

use super::batch::Flow;
use super::host::Host;
use crate::base::time::{MonoUs, Ticks};
use crate::command::spec::Flags;
use crate::command::CommandId;
use crate::config::Config;
use crate::node::stats::CoreStats;
use crate::session::{State, Wait};

/// What one core tells the others of its memory, or what several tell together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryGauge {
    /// What it uses.
    pub used_bytes: u64,
    /// Bytes that it has ever freed by eviction.
    pub evicted_bytes: u64,
    /// Keys that the policy lets go.
    pub evictable: u64,
    /// How many cores have memory that is dead and not yet freed.
    pub dead: u64,
    /// Of what it uses, its clients' buffers.
    pub clients_bytes: u64,
    /// About what the largest of its clients takes that may be closed; of several cores the largest.
    pub largest_client_bytes: u64,
    /// Changes of its data since the last snapshot.
    pub changes: u64,
    /// Bytes in its append-only files, and what was in them after the last rewrite.
    pub aof_bytes: u64,
    /// See `aof_bytes`.
    pub aof_base_bytes: u64,
}

impl MemoryGauge {
    /// Adds another core's.
    pub fn add(&mut self, other: MemoryGauge) {
        self.used_bytes += other.used_bytes;
        self.evicted_bytes += other.evicted_bytes;
        self.evictable += other.evictable;
        self.dead += other.dead;
        self.clients_bytes += other.clients_bytes;
        self.largest_client_bytes = self.largest_client_bytes.max(other.largest_client_bytes);
        self.changes += other.changes;
        self.aof_bytes += other.aof_bytes;
        self.aof_base_bytes += other.aof_base_bytes;
    }
}

/// What a core knows of memory.
#[derive(Debug, Default)]
pub(super) struct MemoryState {
    /// The most that all cores together ever used.
    pub(super) peak_bytes: u64,
    /// The other cores, when the pass began.
    pub(super) others: MemoryGauge,
    /// What this core has freed by eviction.
    evicted_bytes: u64,
    /// How much of the gross has been shared out.
    shared_out_bytes: u64,
    /// What this core has still to free; below zero where it has freed more than it owed.
    owed_bytes: i64,
    /// The excess when the other cores were last asked to free some, or less.
    asked_bytes: u64,
    pub(super) asks: bool,
    /// Sessions that wait for other cores to free some.
    waiters: Vec<u32>,
    /// Since when more is used than the limit allows, and for how long that was so before.
    over_since: Option<MonoUs>,
    over_us: u64,
    pub(super) clients: super::clientsmemory::ClientsState,
}

/// Whether a command that takes memory may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It may.
    Enough,
    /// Once other cores have freed some.
    Later,
    /// Memory is short and nothing can go.
    None,
}

/// Below this much excess, or a part of the limit if that is less, sleeping cores are left alone.
const SLACK_BYTES: u64 = 64 << 10;
const SLACK_PART: u64 = 128;

/// So many times the slack is the excess above which each core does all that it can.
const STALL_SLACKS: u64 = 4;

/// Keys that go between two looks at the clock.
const STEP_KEYS: usize = 16;

/// Elements of dead values that are freed between two looks at the clock.
const STEP_ELEMENTS: usize = 64;

impl<T: Ticks> Host<T> {
    /// Bytes that this core uses: its keyspaces, and its clients' buffers.
    pub fn used_memory(&self) -> u64 {
        let keyspaces: u64 = self.shards.iter().map(|shard| shard.keyspace.used_memory()).sum();
        keyspaces + self.clients_memory()
    }

    /// What the other cores are to be shown of this one.
    pub fn memory_gauge(&self) -> MemoryGauge {
        MemoryGauge {
            used_bytes: self.used_memory(),
            evicted_bytes: self.memory.evicted_bytes,
            evictable: self.evictable_here(),
            dead: u64::from(self.has_dead_here()),
            clients_bytes: self.clients_memory(),
            largest_client_bytes: self.largest_client(),
            changes: self.changes(),
            aof_bytes: self.aof_bytes().0,
            aof_base_bytes: self.aof_bytes().1,
        }
    }

    /// What the other cores use together. To be told as a pass begins; who waited for them goes on if that helps.
    pub fn set_others_memory(&mut self, others: MemoryGauge) {
        self.memory.others = others;
        let used_bytes = others.used_bytes + self.used_memory();
        self.memory.peak_bytes = self.memory.peak_bytes.max(used_bytes);
        if self.config.memory.maxmemory_bytes > 0 {
            self.share_out();
        }
        self.note_excess();
        if !self.memory.waiters.is_empty() && self.room() != Room::Later {
            for index in std::mem::take(&mut self.memory.waiters) {
                if let Some(session) = self.session(index) {
                    if session.state == State::Waiting(Wait::Memory) {
                        session.state = State::Open;
                        self.runnable.push(index);
                    }
                }
            }
        }
    }

    /// Whether memory is limited: the cores are then to exchange their gauges at every pass, else at ticks.
    #[inline]
    pub fn has_memory_limit(&self) -> bool {
        self.config.memory.maxmemory_bytes > 0 || self.clients_limit() > 0
    }

    /// Whether the other cores are to be woken up, to free some memory.
    pub fn takes_asks(&mut self) -> bool {
        std::mem::take(&mut self.memory.asks)
    }

    /// Whether a core that is about to sleep may, seeing what the others use by now.
    pub fn may_sleep(&self, others: MemoryGauge) -> bool {
        let used_bytes = others.used_bytes + self.used_memory();
        let excess = used_bytes.saturating_sub(self.limit());
        let gross = excess + others.evicted_bytes + self.memory.evicted_bytes;
        let is_new = excess > 0 && gross > self.memory.shared_out_bytes + self.slack();
        !(is_new && self.evictable_here() > 0) && self.clients_may_stay(others)
    }

    /// Whether a command takes memory while that is short.
    #[inline]
    pub(super) fn needs_room(&self, command: CommandId) -> bool {
        self.is_short_of_memory() && self.table.spec(command).flags.has(Flags::DENYOOM)
    }

    /// Makes room for a command with these flags, if it takes memory and that is short.
    #[inline]
    pub(super) fn make_room(&mut self, flags: Flags) -> Room {
        if !flags.has(Flags::DENYOOM) || !self.is_short_of_memory() {
            return Room::Enough;
        }
        self.free_owed();
        self.room()
    }

    /// Whether more is used than the limit allows, and something is to be done about it: a paused server changes no
    /// data by itself, and refuses nothing for want of memory.
    #[inline]
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.config.memory.maxmemory_bytes > 0
            && self.excess() > 0
            && self.pause.is_none()
            && !self.is_quiet()
            && !(self.replication.is_replica && self.config.replication.replica_ignore_maxmemory)
    }

    /// The session's request is kept until other cores have freed some memory.
    pub(super) fn keep_for_memory(&mut self, index: u32) -> Flow {
        self.memory.waiters.push(index);
        self.keep_for(index, Wait::Memory)
    }

    /// Once per pass: does what this core owes, for memory and for clients. Whether there is more to do.
    pub(super) fn keep_limits(&mut self) -> bool {
        let mut more = self.keep_clients_limit();
        if self.is_short_of_memory() {
            more |= self.free_owed();
            let (excess, others) = (self.excess(), self.memory.others);
            self.memory.asked_bytes = self.memory.asked_bytes.min(excess);
            if excess > self.memory.asked_bytes + self.slack() && others.evictable + others.dead > 0 {
                self.memory.asked_bytes = excess;
                self.memory.asks = true;
            }
        }
        self.note_excess();
        more || !self.memory.waiters.is_empty()
    }

    /// At ticks what is left is shared out anew: the shares may have been made by figures of yesterday.
    pub(super) fn settle_memory(&mut self) {
        self.memory.asked_bytes = 0;
        self.memory.owed_bytes = 0;
        self.memory.shared_out_bytes = self.gross() - self.excess();
    }

    /// The configuration is another one.
    pub(super) fn refresh_memory_limit(&mut self) {
        self.settle_memory();
        self.note_excess();
    }

    /// Says in the log if a new limit is below what is used.
    pub(super) fn warn_of_limit(&self, config: &Config) {
        let used_bytes = self.memory.others.used_bytes + self.used_memory();
        let limit = config.memory.maxmemory_bytes;
        if limit != self.config.memory.maxmemory_bytes && limit > 0 && limit < used_bytes {
            tracing::warn!(
                "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory \
                 usage ({used_bytes}). This will result in key eviction and/or the inability to accept new write \
                 commands depending on the maxmemory-policy."
            );
        }
    }

    /// For INFO: for how long more has been used than the limit allows.
    pub(super) fn report_memory(&self, stats: &mut CoreStats) {
        let current_us = self.memory.over_since.map_or(0, |since| self.now.mono.since(since));
        stats.eviction_exceeded_us = current_us;
        stats.eviction_exceeded_total_us = self.memory.over_us + current_us;
    }

    /// CONFIG RESETSTAT.
    pub(super) fn reset_memory_stats(&mut self) {
        self.memory.over_us = 0;
        self.memory.over_since = self.memory.over_since.map(|_| self.now.mono);
    }

    fn note_excess(&mut self) {
        let (is_short, now) = (self.excess() > 0, self.now.mono);
        let memory = &mut self.memory;
        match memory.over_since {
            None if is_short => memory.over_since = Some(now),
            Some(since) if !is_short => {
                memory.over_us += now.since(since);
                memory.over_since = None;
            }
            _ => {}
        }
    }

    /// `maxmemory`, where there is one.
    fn limit(&self) -> u64 {
        match self.config.memory.maxmemory_bytes {
            0 => u64::MAX,
            limit => limit,
        }
    }

    fn excess(&self) -> u64 {
        (self.memory.others.used_bytes + self.used_memory()).saturating_sub(self.limit())
    }

    /// The excess, and all that was ever evicted.
    fn gross(&self) -> u64 {
        self.excess() + self.memory.evicted_bytes + self.memory.others.evicted_bytes
    }

    fn slack(&self) -> u64 {
        SLACK_BYTES.min(self.limit() / SLACK_PART)
    }

    fn stall(&self) -> u64 {
        self.slack() * STALL_SLACKS
    }

    fn evictable_here(&self) -> u64 {
        self.shards.iter().map(|shard| shard.keyspace.evictable()).sum()
    }

    fn has_dead_here(&self) -> bool {
        self.shards.iter().any(|shard| shard.keyspace.has_dead())
    }

    /// What becomes of a command that takes memory, once this core has done what it can.
    fn room(&self) -> Room {
        let excess = self.excess();
        if excess == 0 || self.has_dead_here() || self.evictable_here() > 0 {
            return Room::Enough;
        }
        match self.memory.others {
            MemoryGauge { evictable: 0, dead: 0, .. } => Room::None,
            _ if excess > self.stall() => Room::Later,
            _ => Room::Enough,
        }
    }

    /// Frees what this core owes, as far as the time allows that one call may take. Whether more is left to free.
    fn free_owed(&mut self) -> bool {
        let start = self.ticks.ticks();
        let limit_ns = tenacity_ns(self.config.memory.maxmemory_eviction_tenacity);
        let mut took_ns = 0;
        let mut more = true;
        while more {
            more = self.free_some();
            took_ns = self.ticks.to_ns(self.ticks.ticks().wrapping_sub(start));
            if took_ns >= limit_ns {
                break;
            }
        }
        self.latency.sample("eviction-cycle", self.now, took_ns / 1000);
        more
    }

    /// One step. Whether another one is due.
    fn free_some(&mut self) -> bool {
        let excess = self.excess();
        if excess == 0 {
            return false;
        }
        if self.has_dead_here() {
            for shard in &mut self.shards {
                shard.keyspace.free_step(STEP_ELEMENTS);
            }
            return true;
        }
        let others = self.memory.others;
        if others.dead > 0 && excess <= self.stall() {
            return false;
        }
        self.share_out();
        let due = match self.memory.owed_bytes {
            _ if others.evictable == 0 || excess > self.stall() => excess,
            owed => u64::try_from(owed).unwrap_or(0).min(excess),
        };
        let here = self.evictable_here();
        if due == 0 || here == 0 {
            return false;
        }
        let before = self.ticks.ticks();
        let freed = self.evict_from_any(due, here);
        let took_ns = self.ticks.to_ns(self.ticks.ticks().wrapping_sub(before));
        self.latency.sample("eviction-del", self.now, took_ns / 1000);
        self.memory.owed_bytes -= freed as i64;
        self.memory.evicted_bytes += freed;
        true
    }

    /// Adds to what this core owes its share of what the gross has grown by. (What it then evicts changes nothing about
    /// the gross.)
    fn share_out(&mut self) {
        let (gross, slack) = (self.gross(), self.slack() as i64);
        let growth = gross as i64 - self.memory.shared_out_bytes as i64;
        if growth == 0 {
            return;
        }
        let (here, there) = (self.evictable_here(), self.memory.others.evictable);
        let share = i128::from(growth) * i128::from(here) / i128::from((here + there).max(1));
        let memory = &mut self.memory;
        memory.shared_out_bytes = gross;
        // Old debts and credits are forgotten where the others' figures were too far from the truth.
        let owed_max = slack.max(share as i64);
        memory.owed_bytes = (memory.owed_bytes + share as i64).clamp(-slack, owed_max);
    }

    /// Evicts on one of this core's shards, each as likely as it has keys to give. The bytes freed.
    fn evict_from_any(&mut self, bytes: u64, here: u64) -> u64 {
        let now = self.now.unix_ms();
        let tries = (STEP_KEYS / self.shards.len()).max(1);
        let mut drawn = self.rng.below(here);
        for shard in &mut self.shards {
            let evictable = shard.keyspace.evictable();
            if drawn < evictable {
                return shard.evict_step(now, bytes, tries).freed_bytes;
            }
            drawn -= evictable;
        }
        0
    }
}

/// How long one call may evict, by `maxmemory-eviction-tenacity`: Redis's scale.
fn tenacity_ns(tenacity: u8) -> u64 {
    const STEP_NS: u64 = 50_000;
    match tenacity {
        0..=10 => STEP_NS * u64::from(tenacity),
        // Each further step is 15% longer: 99 is about two minutes.
        11..=99 => (10..tenacity).fold(10 * STEP_NS, |ns, _| ns * 115 / 100),
        100.. => u64::MAX,
    }
}
