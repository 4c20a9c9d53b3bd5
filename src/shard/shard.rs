//! The shard as an actor: calls and parts of transactions in, replies and effects out.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::call::{Call, OwnedCall};
use super::locks::{Claims, JobId, Locks, Mode};
use super::waiters::{End, Place, Turn, Waiter, Waiters};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, ShardId};
use crate::base::prng::Prng;
use crate::base::time::{Now, UnixMs};
use crate::command::ctx::CommandOptions;
use crate::command::spec::{Group, Run, Spread, Steps};
use crate::command::{effects, CommandId, Ctx, Spec, Table};
use crate::journal::{self, Journal, Records};
use crate::keyspace::{EvictReport, ExpireReport, Keyspace, Lapse, Touch, ValueKind};
use crate::resp::Reply;

/// A transaction over several shards: its coordinator's core and that core's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxnId {
    /// Where the client's session is.
    pub core: CoreId,
    /// Distinguishes the transactions of that core.
    pub number: u64,
}

/// Where the reply to a call that had to wait belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The core of the client's session.
    pub core: CoreId,
    /// The session on that core.
    pub session: u32,
    /// The place among the session's replies.
    pub slot: u32,
}

/// One shard's share of a transaction.
#[derive(Clone, Debug)]
pub struct Part {
    /// The transaction.
    pub txn: TxnId,
    /// The locks it needs here, until its release.
    pub claims: Claims,
    /// What runs once they are held, in order.
    pub calls: Vec<OwnedCall>,
    /// The shards that may change something, each of which records its part.
    pub writers: Writers,
    /// Whether these calls are all that it runs here: then they are recorded as soon as they have run.
    pub is_whole: bool,
}

/// The shards that may change something in a transaction.
pub type Writers = SmallVec<[ShardId; 4]>;

/// A part that was scheduled.
#[derive(Debug)]
struct Scheduled {
    job: JobId,
    writers: Writers,
    is_whole: bool,
    /// What it has done so far, while that is not in the journal.
    records: Option<Records>,
}

/// What a shard wants done.
#[derive(Debug)]
#[must_use]
pub enum Effect {
    /// A call that had waited was answered.
    Reply(Ticket, CommandId, Vec<u8>, ShardId),
    /// A step of a transaction has run; its coordinator gets the replies of its calls.
    Step(TxnId, ShardId, Vec<Vec<u8>>),
    /// A key has changed that a client waits for, and it is its turn: its core may try its command.
    Turn(Ticket, ShardId),
}

/// A job in the lock queues.
#[derive(Debug)]
enum Job {
    /// A single command that waits for a transaction.
    Call(Ticket, OwnedCall),
    /// The same for one that waits for its keys if it finds nothing.
    Block(Ticket, OwnedCall),
    /// A client that waits for keys, whose turn it is.
    Wake(Ticket),
    /// A part of a transaction. The calls of its first step are taken when they run.
    Part(TxnId, Option<Vec<OwnedCall>>),
    /// A transaction of this core that is tried directly (`host::direct`): it had its locks at once, or was not tried.
    Held,
}

/// See the module.
pub struct Shard {
    id: ShardId,
    shards: u16,
    table: Arc<Table>,
    /// The data.
    pub keyspace: Keyspace,
    /// What is done to it, while that is recorded.
    pub journal: Journal,
    /// The limits that commands consult.
    pub options: CommandOptions,
    /// Where the commands of this shard draw their randomness.
    rng: Prng,
    locks: Locks<Job>,
    parts: BTreeMap<TxnId, Scheduled>,
    waiters: Waiters,
    /// Blocking commands that wait for a transaction before they are tried, and how their wait has ended meanwhile.
    entering: BTreeMap<Ticket, Option<End>>,
    /// Jobs to run, reused between calls.
    ready: Vec<JobId>,
    /// Whether it is a replica's: keys whose time has come go when the primary says so.
    is_replica: bool,
}

impl Shard {
    /// An empty shard, one of `shards`.
    pub fn new(
        id: ShardId,
        shards: u16,
        table: Arc<Table>,
        keyspace: Keyspace,
        options: CommandOptions,
        seed: u64,
    ) -> Self {
        Shard {
            id,
            shards,
            table,
            keyspace,
            journal: Journal::new(id),
            options,
            rng: Prng::new(seed),
            locks: Locks::default(),
            parts: BTreeMap::new(),
            waiters: Waiters::default(),
            entering: BTreeMap::new(),
            ready: Vec::new(),
            is_replica: false,
        }
    }

    /// Whether it is a replica's from now on.
    pub fn set_replica(&mut self, is_replica: bool) {
        self.is_replica = is_replica;
        self.keyspace.set_lapse(Lapse::Remove);
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Runs a command now; its reply, or its error, goes to the end of `out`. Whether it succeeded.
    ///
    /// The caller has checked the arity, and `must_wait` where transactions may be about.
    #[inline]
    pub fn run(
        &mut self,
        spec: &Spec,
        call: Call<'_>,
        now: Now,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let start = out.len();
        let now = match call.head.replays {
            true => Now { unix_us: journal::REPLAY_TIME.0 * 1000, ..now },
            false => now,
        };
        if self.is_replica {
            // Who may write here all the same, as in Redis, removes what is in the way.
            self.keyspace.set_lapse(if spec.is_write() { Lapse::Remove } else { Lapse::Hide });
        }
        let mut reply = Reply::new(out, call.head.proto);
        let mut ctx = Ctx {
            keyspace: &mut self.keyspace,
            journal: &mut self.journal,
            db: call.head.db,
            now,
            reply: &mut reply,
            rng: &mut self.rng,
            shard: self.id,
            shards: self.shards,
            options: &self.options,
            first_key: call.head.first_key,
        };
        let result = effects::run(spec, &mut ctx, call.args);
        if let Err(error) = &result {
            reply.truncate(start);
            reply.error(error.bytes());
        }
        result
    }

    /// Whether what is done to the data is recorded from now on.
    pub fn set_recording(&mut self, on: bool) {
        self.journal.set_recording(on);
        self.keyspace.removals_mut().keep(on);
    }

    /// `Keyspace::expire_step`, recorded.
    pub fn expire_step(&mut self, now: UnixMs, budget: usize) -> ExpireReport {
        let report = self.keyspace.expire_step(now, budget);
        self.record_removals();
        report
    }

    /// `Keyspace::evict_step`, recorded.
    pub fn evict_step(&mut self, now: UnixMs, bytes: u64, tries: usize) -> EvictReport {
        let report = self.keyspace.evict_step(now, bytes, tries);
        self.record_removals();
        report
    }

    /// Records what has left the keyspace by other ways than commands.
    pub fn record_removals(&mut self) {
        if !self.keyspace.removals().is_empty() {
            effects::record_removals(&mut self.keyspace, &mut self.journal, &self.options);
        }
    }

    /// Whether no transaction is under way here, so that no call has to wait.
    #[inline]
    pub fn is_calm(&self) -> bool {
        self.locks.is_idle()
    }

    /// Whether a call has to wait for a transaction; then it goes to `defer`.
    pub fn must_wait(&self, spec: &Spec, call: Call<'_>) -> bool {
        if self.locks.is_idle() {
            return false;
        }
        let mode = mode_of(spec);
        if spec.keys.is_empty() {
            return self.locks.blocks_whole(mode);
        }
        let hasher = self.keyspace.hasher();
        let is_blocked = |at: usize| self.locks.blocks_key(hasher.hash(call.args.at(at)), mode);
        self.locks.may_block_keys(mode) && spec.key_indexes(call.args).any(is_blocked)
    }

    /// Lets a call wait for its turn; the reply comes as an effect.
    pub fn defer(&mut self, ticket: Ticket, call: Call<'_>) {
        let spec = self.table.spec(call.head.command);
        let claims = self.claims(spec, call);
        let (_, ready) = self.locks.enter(claims, Job::Call(ticket, call.to_owned()));
        debug_assert!(!ready, "a call that need not wait was deferred");
    }

    /// Whether calls with these locks would have to wait for a transaction.
    pub fn must_wait_for(&self, claims: &Claims) -> bool {
        if self.locks.is_idle() {
            return false;
        }
        match claims {
            Claims::Whole(mode) => self.locks.blocks_whole(*mode),
            Claims::Keys(keys) => keys.iter().any(|&(hash, mode)| self.locks.blocks_key(hash, mode)),
        }
    }

    /// The locks that a call on this shard alone would need.
    fn claims(&self, spec: &Spec, call: Call<'_>) -> Claims {
        let mode = mode_of(spec);
        if spec.keys.is_empty() {
            return Claims::Whole(mode);
        }
        let hasher = self.keyspace.hasher();
        Claims::Keys(spec.key_indexes(call.args).map(|i| (hasher.hash(call.args.at(i)), mode)).collect())
    }

    /// A transaction's part has arrived, in the sequencer's order.
    pub fn schedule(&mut self, part: Part, now: Now, effects: &mut Vec<Effect>) {
        let (job, ready) = self.locks.enter(part.claims, Job::Part(part.txn, Some(part.calls)));
        let scheduled = Scheduled { job, writers: part.writers, is_whole: part.is_whole, records: None };
        self.parts.insert(part.txn, scheduled);
        if ready {
            self.ready.push(job);
            self.run_ready(now, effects);
            self.serve(now, effects);
        }
    }

    /// Another step of a transaction that holds its locks.
    pub fn go_on(&mut self, txn: TxnId, calls: &[OwnedCall], now: Now, effects: &mut Vec<Effect>) {
        debug_assert!(self.parts.contains_key(&txn), "{txn:?} goes on without a part");
        effects.push(self.step(txn, calls, now, false));
    }

    /// Takes locks that need not be waited for, on behalf of a transaction that will `let_go` of them soon: nobody whom
    /// that one waits for may wait for these.
    pub fn hold(&mut self, claims: Claims) -> JobId {
        self.locks.hold(claims, Job::Held)
    }

    /// The end of `hold`. Gives back what was claimed.
    pub fn let_go(&mut self, job: JobId, now: Now, effects: &mut Vec<Effect>) -> Option<Claims> {
        let (_, claims) = self.locks.release(job, &mut self.ready)?;
        self.run_ready(now, effects);
        self.serve(now, effects);
        Some(claims)
    }

    /// The coordinator's last word on a transaction: its last step, if there is one here, then it is recorded, and the
    /// locks are free. Whether it is recorded is reported (`Effect::Step`) if there was a step or if that is
    /// `reported`.
    pub fn finish(
        &mut self,
        txn: TxnId,
        (calls, reported): (&[OwnedCall], bool),
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.parts.contains_key(&txn) {
            debug_assert!(false, "{txn:?} finished without a part");
            return;
        }
        if !calls.is_empty() {
            effects.push(self.step(txn, calls, now, true));
        }
        let Some(part) = self.parts.remove(&txn) else { return };
        if let Some(records) = part.records {
            self.append_part(txn, &part.writers, records);
        }
        if calls.is_empty() && reported {
            effects.push(Effect::Step(txn, self.id, Vec::new()));
        }
        self.locks.release(part.job, &mut self.ready);
        self.run_ready(now, effects);
        self.serve(now, effects);
    }

    /// Runs a command, or lets the client wait for its keys if there is nothing for it yet. The reply comes as an
    /// effect.
    pub fn block(&mut self, ticket: Ticket, call: OwnedCall, now: Now, effects: &mut Vec<Effect>) {
        let spec = self.table.spec(call.head.command);
        if self.must_wait(spec, call.as_call()) {
            let claims = self.claims(spec, call.as_call());
            self.locks.enter(claims, Job::Block(ticket, call));
            self.entering.insert(ticket, None);
            return;
        }
        self.try_or_wait(ticket, call, now, effects);
        self.serve(now, effects);
    }

    /// A client waits for keys here and on other shards.
    pub fn wait(&mut self, ticket: Ticket, keys: SmallVec<[Place; 2]>, kind: ValueKind) {
        self.add_waiter(ticket, Waiter::new(keys, kind, None, Vec::new()));
    }

    /// A client waits no longer. If it waited here alone it is answered accordingly, unless its reply is under way
    /// already; where it has not even been tried, because of a transaction, it is answered when it has.
    pub fn stop_waiting(&mut self, ticket: Ticket, end: End, now: Now, effects: &mut Vec<Effect>) {
        if let Some(ended) = self.entering.get_mut(&ticket) {
            *ended = Some(end);
            return;
        }
        let Some(waiter) = self.remove_waiter(ticket) else { return };
        if let Some(call) = waiter.call {
            effects.push(Effect::Reply(ticket, call.head.command, end.reply(waiter.nothing), self.id));
        }
        // It may have stood before others that can be served.
        for place in waiter.keys {
            self.serve_key(place, 0, now, effects);
        }
        self.serve(now, effects);
    }

    /// A client that was told its turn has tried, and found nothing.
    pub fn found_nothing(&mut self, ticket: Ticket, now: Now, effects: &mut Vec<Effect>) {
        if self.waiters.resume(ticket) {
            self.waiters.suspend(ticket);
            effects.push(Effect::Turn(ticket, self.id));
            return;
        }
        self.serve_behind(ticket, now, effects);
        self.serve(now, effects);
    }

    /// Whether a key has changed that clients wait for: `serve` has something to do.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.keyspace.has_ready()
    }

    /// Whether somebody would go on if a transaction let go of its locks.
    pub fn awaits_release(&self) -> bool {
        self.locks.waiting() > 0 || !self.waiters.is_empty()
    }

    /// How many clients wait for keys here.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Serves the clients that wait for keys that have changed. What they do may change more.
    pub fn serve(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while self.keyspace.has_ready() {
            for place in self.keyspace.observers().take_ready() {
                self.serve_key(place, 0, now, effects);
            }
        }
    }

    /// Serves the clients that stand behind one that has found nothing, which may find something.
    fn serve_behind(&mut self, ticket: Ticket, now: Now, effects: &mut Vec<Effect>) {
        let keys = self.waiters.get(ticket).map(|waiter| waiter.keys.clone()).unwrap_or_default();
        for place in keys {
            self.serve_key(place, self.waiters.behind(place, ticket), now, effects);
        }
    }

    /// Serves the clients that wait for what a key holds, in their order, from a place in its queue on, for as long as
    /// it is there.
    fn serve_key(&mut self, place: Place, from: usize, now: Now, effects: &mut Vec<Effect>) {
        let mut from = from;
        while let Some(kind) = self.keyspace.kind_of(place.0, place.1) {
            match self.waiters.turn(place, kind, from) {
                Turn::Nobody => return,
                Turn::Tell(ticket) => {
                    effects.push(Effect::Turn(ticket, self.id));
                    return;
                }
                Turn::Try(ticket, at) => {
                    // If it was not served its turn comes when it holds its locks.
                    from = if self.try_waiter(ticket, now, effects) { at } else { at + 1 };
                }
            }
        }
    }

    /// Tries a waiter's command. Whether it was served.
    fn try_waiter(&mut self, ticket: Ticket, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(call) = self.waiters.get(ticket).and_then(|waiter| waiter.call.clone()) else {
            return false;
        };
        let spec = self.table.spec(call.head.command);
        if self.must_wait(spec, call.as_call()) {
            let claims = self.claims(spec, call.as_call());
            self.waiters.suspend(ticket);
            self.locks.enter(claims, Job::Wake(ticket));
            return false;
        }
        self.try_now(ticket, now, effects)
    }

    /// The same where nothing stands against it.
    fn try_now(&mut self, ticket: Ticket, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(call) = self.waiters.get(ticket).and_then(|waiter| waiter.call.clone()) else {
            return false;
        };
        let mut out = Vec::new();
        self.run_call(call.as_call(), now, &mut out);
        // Also an error is an answer: another of its keys, or the target, is of the wrong type.
        if is_nothing(&out) {
            return false;
        }
        self.remove_waiter(ticket);
        effects.push(Effect::Reply(ticket, call.head.command, out, self.id));
        true
    }

    fn try_or_wait(&mut self, ticket: Ticket, call: OwnedCall, now: Now, effects: &mut Vec<Effect>) {
        let mut out = Vec::new();
        self.run_call(call.as_call(), now, &mut out);
        if !is_nothing(&out) {
            effects.push(Effect::Reply(ticket, call.head.command, out, self.id));
            return;
        }
        let (db, hasher) = (call.head.db, self.keyspace.hasher());
        let spec = self.table.spec(call.head.command);
        let args = call.args.as_args();
        // Of the commands that move something only the source is waited for.
        let sources = match spec.run {
            Run::Shard(_, Spread::Steps(Steps::ListMove)) => 1,
            _ => usize::MAX,
        };
        let keys = spec.key_indexes(args).take(sources).map(|at| (db, hasher.hash(args.at(at)))).collect();
        self.add_waiter(ticket, Waiter::new(keys, awaited(spec), Some(call), out));
    }

    fn add_waiter(&mut self, ticket: Ticket, waiter: Waiter) {
        for &(db, key) in &waiter.keys {
            self.keyspace.observers().wait(db, key);
        }
        self.waiters.add(ticket, waiter);
    }

    fn remove_waiter(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(ticket)?;
        for &(db, key) in &waiter.keys {
            self.keyspace.observers().stop_waiting(db, key);
        }
        Some(waiter)
    }

    /// How many calls and parts of transactions hold or await locks here.
    pub fn jobs(&self) -> usize {
        self.locks.len()
    }

    /// Runs the jobs that hold all their locks. A single call releases them at once, which may make more ready.
    fn run_ready(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut at = 0;
        let mut woken = Vec::new();
        while let Some(&id) = self.ready.get(at) {
            at += 1;
            match self.locks.subject(id) {
                Some(Job::Part(txn, calls)) => {
                    let txn = *txn;
                    if let Some(calls) = calls.take() {
                        let is_last = self.parts.get(&txn).is_some_and(|part| part.is_whole);
                        effects.push(self.step(txn, &calls, now, is_last));
                    }
                }
                Some(Job::Call(..)) => {
                    if let Some((Job::Call(ticket, call), _)) = self.locks.release(id, &mut self.ready) {
                        let mut out = Vec::new();
                        self.run_call(call.as_call(), now, &mut out);
                        effects.push(Effect::Reply(ticket, call.head.command, out, self.id));
                    }
                }
                Some(Job::Block(..)) => {
                    if let Some((Job::Block(ticket, call), _)) = self.locks.release(id, &mut self.ready) {
                        let ended = self.entering.remove(&ticket).flatten();
                        if ended == Some(End::Over) {
                            // Nobody is there any more who could take what it finds.
                            effects.push(Effect::Reply(ticket, call.head.command, Vec::new(), self.id));
                            continue;
                        }
                        self.try_or_wait(ticket, call, now, effects);
                        if let Some(end) = ended {
                            self.stop_waiting(ticket, end, now, effects);
                        }
                    }
                }
                Some(Job::Wake(ticket)) => {
                    let ticket = *ticket;
                    self.locks.release(id, &mut self.ready);
                    self.waiters.resume(ticket);
                    if !self.has_something_for(ticket) || !self.try_now(ticket, now, effects) {
                        woken.push(ticket);
                    }
                }
                Some(Job::Held) | None => {}
            }
        }
        self.ready.clear();
        for ticket in woken {
            self.serve_behind(ticket, now, effects);
        }
    }

    /// Whether one of the keys that a client waits for holds something for it.
    fn has_something_for(&self, ticket: Ticket) -> bool {
        self.waiters.get(ticket).is_some_and(|waiter| {
            waiter.keys.iter().any(|&(db, key)| self.keyspace.kind_of(db, key) == Some(waiter.kind))
        })
    }

    /// Runs a step of a scheduled transaction. What it records is kept aside until the last one.
    fn step(&mut self, txn: TxnId, calls: &[OwnedCall], now: Now, is_last: bool) -> Effect {
        if !self.journal.is_recording() {
            return Effect::Step(txn, self.id, self.run_all(calls, now));
        }
        let part = self.parts.get_mut(&txn);
        let (kept, writers) =
            part.map(|part| (part.records.take(), part.writers.clone())).unwrap_or_default();
        let records = kept.unwrap_or_else(|| self.journal.new_part());
        self.journal.enter_part(records);
        let replies = self.run_all(calls, now);
        let records = self.journal.leave_part();
        match self.parts.get_mut(&txn).filter(|_| !is_last) {
            Some(part) => part.records = Some(records),
            None => self.append_part(txn, &writers, records),
        }
        Effect::Step(txn, self.id, replies)
    }

    /// What is recorded from here on is one part of a transaction, until `end_part`.
    pub fn begin_part(&mut self) {
        if self.journal.is_recording() {
            let part = self.journal.new_part();
            self.journal.enter_part(part);
        }
    }

    /// Records the part that was begun. If this shard is one of several writers that is marked.
    pub fn end_part(&mut self, txn: TxnId, writers: &[ShardId]) {
        if self.journal.is_recording() {
            let records = self.journal.leave_part();
            self.append_part(txn, writers, records);
        }
    }

    fn append_part(&mut self, txn: TxnId, writers: &[ShardId], records: Records) {
        if writers.len() > 1 && writers.contains(&self.id) {
            let shards = writers.iter().copied().collect();
            self.journal.append_part(&journal::Txn { core: txn.core, number: txn.number, shards }, records);
        } else {
            self.journal.append_group(records);
        }
    }

    /// Runs calls one after the other; their replies.
    pub fn run_all(&mut self, calls: &[OwnedCall], now: Now) -> Vec<Vec<u8>> {
        let run = |call: &OwnedCall| {
            let mut out = Vec::new();
            self.run_call(call.as_call(), now, &mut out);
            out
        };
        calls.iter().map(run).collect()
    }

    /// Runs a call that has come from elsewhere; its reply goes to the end of `out`.
    pub fn run_call(&mut self, call: Call<'_>, now: Now, out: &mut Vec<u8>) {
        let spec = self.table.spec(call.head.command);
        self.keyspace.set_touch(if call.head.no_touch { Touch::No } else { Touch::Yes });
        // The error, if any, stands in the reply; who asked counts it.
        let _ = self.run(spec, call, now, out);
    }
}

/// Whether a reply says that there is nothing: a null, in either protocol version.
pub fn is_nothing(reply: &[u8]) -> bool {
    matches!(reply, b"*-1\r\n" | b"$-1\r\n" | b"_\r\n")
}

/// How a command uses its keys: writes change all of them, as far as others can tell.
pub fn mode_of(spec: &Spec) -> Mode {
    if spec.is_write() {
        Mode::Exclusive
    } else {
        Mode::Shared
    }
}

/// What a blocking command waits for in its keys.
pub fn awaited(spec: &Spec) -> ValueKind {
    match spec.doc.group {
        Group::Zset => ValueKind::Zset,
        _ => ValueKind::List,
    }
}

/// Whether a command goes to every shard.
pub fn is_global(spread: Spread) -> bool {
    matches!(spread, Spread::EverySum | Spread::EveryConcat | Spread::EveryOk | Spread::EveryDraw)
}
