//! What a core does without being asked: limits on clients, pauses, sampling, and background work on its shards.
//!
//! `tick` comes `hz` times a second. `work` does one bounded slice of what is to be done on the shards; the runtime
//! calls it once per pass for as long as it says that there is more, so that clients never wait for more than one
//! slice.

use super::host::Host;
use crate::base::time::{MonoUs, Ticks};
use crate::command::spec::Flags;
use crate::node::stats::{CoreStats, DatabaseSize, Rates, Report, SessionUse};
use crate::session::{clients, SessionKind, State, Wait};

pub use crate::node::process::{ProcessInfo, Usage};

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends by itself.
    pub until: MonoUs,
    /// Whether only commands that may change data have to wait.
    pub writes_only: bool,
}

/// What `tick` and `work` remember.
#[derive(Debug, Default)]
pub struct CronState {
    /// DEBUG PAUSE-CRON.
    pub(super) is_paused: bool,
    samples: [Rates; SAMPLES],
    next_sample: usize,
    sampled: Option<MonoUs>,
    sampled_stats: CoreStats,
    /// Where the walk over the sessions goes on.
    next_session: usize,
    work: Vec<ShardWork>,
    next_shard: usize,
    /// How long `work` may still take before the next tick.
    work_ns_left: u64,
}

/// What is to be done on one shard: the kinds of work take turns, so that none of them keeps another from its.
#[derive(Clone, Copy, Debug, Default)]
struct ShardWork {
    expire: bool,
    free: bool,
    maintain: bool,
    defrag: bool,
    turn: Turn,
    /// Of the expiry sweep since the tick.
    expire_steps: u32,
    examined: u64,
    expired: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Turn {
    #[default]
    Expire,
    Free,
    Upkeep,
}

impl ShardWork {
    fn is_done(&self) -> bool {
        !(self.expire || self.free || self.maintain || self.defrag)
    }

    /// Whose turn it is, among those with something to do.
    fn next_turn(&mut self) -> Turn {
        loop {
            let turn = self.turn;
            let (next, is_due) = match turn {
                Turn::Expire => (Turn::Free, self.expire),
                Turn::Free => (Turn::Upkeep, self.free),
                Turn::Upkeep => (Turn::Expire, self.maintain || self.defrag),
            };
            self.turn = next;
            if is_due || self.is_done() {
                return turn;
            }
        }
    }
}

/// Redis averages over 16 samples, one each 100 ms.
const SAMPLES: usize = 16;
const SAMPLE_EVERY_US: u64 = 100_000;

/// A client that has done nothing for so long gives its buffers back.
const IDLE_BUFFERS_US: u64 = 2_000_000;

/// How long `work` may keep the clients waiting.
const SLICE_NS: u64 = 100_000;

/// And how many steps it takes at most, whatever the clock says.
const SLICE_STEPS: u32 = 64;

/// Buckets or keys per step: some microseconds.
const STEP_BUCKETS: usize = 64;

/// Segments of a table per step of tidying up; one takes about as long as ten buckets.
const STEP_SEGMENTS: usize = 8;

/// Steps of the expiry sweep that every tick takes, however few keys they find expired.
const EXPIRE_STEPS_MIN: u32 = 8;

impl CronState {
    pub(super) fn reset_rates(&mut self) {
        self.samples = [Rates::default(); SAMPLES];
        self.sampled_stats = CoreStats::default();
    }

    fn rates(&self) -> Rates {
        let mut rates = Rates::default();
        for sample in &self.samples {
            rates.ops += sample.ops / SAMPLES as f64;
            rates.input_bytes += sample.input_bytes / SAMPLES as f64;
            rates.output_bytes += sample.output_bytes / SAMPLES as f64;
            rates.passes += sample.passes / SAMPLES as f64;
        }
        rates
    }
}

impl<T: Ticks> Host<T> {
    /// Housekeeping; to be called `hz` times a second.
    pub fn tick(&mut self) {
        if self.pause.is_some_and(|pause| pause.until <= self.now.mono) {
            self.end_pause();
        }
        if self.cron.is_paused {
            return;
        }
        self.sample();
        self.conduct_tick();
        self.tick_replication();
        self.walk_sessions();
        self.withdraw_interest();
        self.drop_idle_carriers();
        self.settle_memory();
        self.plan_work();
    }

    /// How often `tick` is to be called.
    pub fn hz(&self) -> u32 {
        self.config.process.hz
    }

    /// What the process uses, as the system says.
    pub fn set_usage(&mut self, usage: Usage) {
        self.process.usage = usage;
    }

    /// Everything that INFO tells of this core.
    pub(super) fn report(&self) -> Report {
        let mut report = Report {
            cores: 1,
            stats: self.stats.clone(),
            commands: self.command_stats.clone(),
            errors: self.error_stats.clone(),
            rates: self.cron.rates(),
            sessions: self.sessions_use(),
            pubsub: self.report_pubsub(),
            ..Report::default()
        };
        self.report_memory(&mut report.stats);
        for shard in &self.shards {
            let keyspace = &shard.keyspace;
            report.keyspace += &keyspace.stats();
            report.memory += &keyspace.memory();
            let databases: Vec<_> = (0..keyspace.databases())
                .map(crate::base::ids::DbIndex)
                .map(|db| DatabaseSize {
                    keys: keyspace.len(db),
                    volatile: keyspace.volatile_len(db),
                    ttl_ms_sum: u128::from(keyspace.average_ttl_ms(db))
                        * u128::from(keyspace.volatile_len(db)),
                })
                .collect();
            report.add_databases(&databases);
        }
        report.persistence = self.report_files();
        report.replication = self.report_replication();
        report
    }

    fn sessions_use(&self) -> SessionUse {
        let mut sum = SessionUse { memory_bytes: self.clients_memory(), ..SessionUse::default() };
        let sessions = self.sessions.iter().filter_map(|session| session.as_deref());
        for session in sessions.filter(|session| session.kind == SessionKind::Client) {
            sum.input_bytes_max = sum.input_bytes_max.max(session.input.bytes.capacity() as u64);
            sum.output_bytes_max = sum.output_bytes_max.max(session.replies.pending_bytes() as u64);
        }
        sum
    }

    /// Whether a command has to wait for the end of CLIENT PAUSE, or of what this core is quiet for.
    pub(super) fn is_paused(&self, flags: Flags) -> bool {
        let may_write = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        if may_write && self.is_quiet() {
            return true;
        }
        let Some(pause) = self.pause else { return false };
        pause.until > self.now.mono && (may_write || !pause.writes_only)
    }

    /// A later pause extends an earlier one, and a weaker one does not weaken it (Redis: `pauseClientsByClient`).
    pub(super) fn begin_pause(&mut self, new: Pause) {
        let old = self.pause.filter(|pause| pause.until > self.now.mono);
        self.pause = Some(old.map_or(new, |old| Pause {
            until: new.until.max(old.until),
            writes_only: new.writes_only && old.writes_only,
        }));
        self.refresh_attention();
    }

    pub(super) fn end_pause(&mut self) {
        self.pause = None;
        self.refresh_attention();
        self.end_waits(Wait::Pause);
    }

    /// Who waits for this goes on.
    pub(super) fn end_waits(&mut self, wait: Wait) {
        for (index, session) in self.sessions.iter_mut().enumerate() {
            if let Some(session) = session.as_deref_mut() {
                if session.state == State::Waiting(wait) {
                    session.state = State::Open;
                    self.runnable.push(index as u32);
                }
            }
        }
    }

    /// Ends a client that does not read what it is sent.
    pub(super) fn drop_slow_reader(&mut self, index: u32) {
        if let Some(session) = self.sessions[index as usize].as_deref() {
            tracing::warn!(
                "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
                clients::line(session, self.now.mono, &self.table)
            );
            self.stats.output_buffer_limit_disconnections += 1;
            self.close(index, true);
        }
    }

    fn sample(&mut self) {
        let (now, stats) = (self.now.mono, &self.stats);
        let cron = &mut self.cron;
        let Some(sampled) = cron.sampled else {
            cron.sampled = Some(now);
            return;
        };
        let elapsed_us = now.since(sampled);
        if elapsed_us < SAMPLE_EVERY_US {
            return;
        }
        let before = &cron.sampled_stats;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1e6 / elapsed_us as f64;
        cron.samples[cron.next_sample] = Rates {
            ops: rate(stats.commands_processed, before.commands_processed),
            input_bytes: rate(stats.net_input_bytes, before.net_input_bytes),
            output_bytes: rate(stats.net_output_bytes, before.net_output_bytes),
            passes: rate(stats.passes, before.passes),
        };
        cron.next_sample = (cron.next_sample + 1) % SAMPLES;
        cron.sampled = Some(now);
        cron.sampled_stats = stats.clone();
    }

    /// Looks at some of the sessions, at all of them once a second.
    fn walk_sessions(&mut self) {
        let share = self.sessions.len() / self.config.process.hz.max(1) as usize + 5;
        for _ in 0..share.min(self.sessions.len()) {
            if self.cron.next_session >= self.sessions.len() {
                self.cron.next_session = 0;
                self.find_largest_client();
            }
            let index = self.cron.next_session as u32;
            self.cron.next_session += 1;
            self.check_session(index);
        }
    }

    fn check_session(&mut self, index: u32) {
        let now = self.now.mono;
        let timeout_us = u64::from(self.config.network.timeout_secs) * 1_000_000;
        let limits = self.config.clients.output_buffer_limits;
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let is_ending = matches!(session.state, State::Closing | State::Closed);
        if is_ending || session.kind != SessionKind::Client {
            return;
        }
        let idle_us = now.since(session.active);
        let is_busy = session.replies.waiting() > 0 || session.under_way > 0;
        if timeout_us > 0 && idle_us > timeout_us && !is_busy && !session.monitor && !session.is_subscriber()
        {
            tracing::debug!("Closing idle client");
            self.close(index, true);
            return;
        }
        if idle_us > IDLE_BUFFERS_US && !is_busy {
            session.replies.shrink();
            if session.input.is_empty() {
                session.input = Default::default();
            }
        }
        let is_too_slow = session.reads_too_slowly(&limits, now);
        self.account(index);
        if is_too_slow {
            self.drop_slow_reader(index);
        }
    }

    /// Every shard gets its background work, and `work` its share of the time until the next tick: 25%, or more with
    /// `active-expire-effort`, as Redis's expire cycle.
    fn plan_work(&mut self) {
        // A paused server does not change its data by itself either; and what is being loaded may make a key live
        // longer.
        let expire = self.pause.is_none() && !self.is_quiet() && !self.gate.is_loading;
        let plan = ShardWork { expire, free: true, maintain: true, defrag: true, ..ShardWork::default() };
        self.cron.work.clear();
        self.cron.work.resize(self.shards.len(), plan);
        let percent = 25 + 2 * (u64::from(self.config.memory.active_expire_effort) - 1);
        self.cron.work_ns_left = 1_000_000_000 / u64::from(self.config.process.hz.max(1)) * percent / 100;
    }

    /// Does a slice of background work. Whether there is more.
    pub fn work(&mut self) -> bool {
        let is_short = self.keep_limits();
        let is_busy = match &self.persist.loading {
            None => self.save_step(),
            Some(_) => self.load_step() | self.save_step(),
        };
        let has_more = std::mem::take(&mut self.replication.has_more);
        self.work_slice() || is_short || is_busy || has_more
    }

    fn work_slice(&mut self) -> bool {
        if self.cron.work_ns_left == 0 {
            return false;
        }
        let start = self.ticks.ticks();
        let expire_cycle_ns = self.stats.expire_cycle_ns;
        let mut took_ns = 0;
        for _ in 0..SLICE_STEPS {
            if !self.work_step() {
                self.cron.work_ns_left = 0;
                break;
            }
            took_ns = self.ticks.to_ns(self.ticks.ticks().wrapping_sub(start));
            if took_ns >= SLICE_NS {
                break;
            }
        }
        // What Redis does in one cycle is done here in slices; each keeps the clients waiting by itself.
        let expired_ns = self.stats.expire_cycle_ns - expire_cycle_ns;
        self.latency.sample("expire-cycle", self.now, expired_ns / 1000);
        // A clock that stands still must not make this endless.
        self.cron.work_ns_left = self.cron.work_ns_left.saturating_sub(took_ns.max(SLICE_NS / 10));
        if self.cron.work_ns_left == 0 && self.cron.work.iter().any(|work| work.expire) {
            self.stats.expire_time_cap_reached += 1;
        }
        self.cron.work_ns_left > 0
    }

    /// One step on one shard. Whether there was something to do.
    fn work_step(&mut self) -> bool {
        let shards = self.cron.work.len();
        let Some(at) = (0..shards)
            .map(|step| (self.cron.next_shard + step) % shards)
            .find(|&at| !self.cron.work[at].is_done())
        else {
            return false;
        };
        self.cron.next_shard = (at + 1) % shards;
        let (work, shard) = (&mut self.cron.work[at], &mut self.shards[at]);
        match work.next_turn() {
            Turn::Expire => {
                let before = self.ticks.ticks();
                let effort = u64::from(self.config.memory.active_expire_effort) - 1;
                let report = shard.expire_step(self.now.unix_ms(), STEP_BUCKETS);
                work.expire_steps += 1;
                work.examined += report.examined;
                work.expired += report.expired;
                // Redis's rule: on while more than 10% (less with more effort) of the keys looked at had expired.
                let is_worthwhile = work.expired * 100 > work.examined * (10 - effort);
                work.expire = report.more && (is_worthwhile || work.expire_steps < EXPIRE_STEPS_MIN);
                // What has just expired may be large.
                work.free |= shard.keyspace.has_dead();
                let took_ns = self.ticks.to_ns(self.ticks.ticks().wrapping_sub(before));
                self.stats.expire_cycle_ns += took_ns;
                if report.expired > 0 {
                    self.latency.sample("expire-del", self.now, took_ns / 1000);
                }
            }
            Turn::Free => work.free = shard.keyspace.free_step(STEP_BUCKETS),
            Turn::Upkeep if work.maintain => work.maintain = shard.keyspace.maintain_step(STEP_SEGMENTS),
            Turn::Upkeep => work.defrag = shard.keyspace.defrag_step(STEP_BUCKETS).more,
        }
        true
    }
}
