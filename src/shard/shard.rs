//! The shard as an actor: calls and parts of transactions in, replies and effects out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::call::{Call, OwnedCall};
use super::locks::{Claims, JobId, Locks, Mode};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, ShardId};
use crate::base::prng::Prng;
use crate::base::time::Now;
use crate::command::ctx::CommandOptions;
use crate::command::spec::{Run, Spread};
use crate::command::{CommandId, Ctx, Spec, Table};
use crate::keyspace::Keyspace;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// What a shard wants done.
#[derive(Debug)]
#[must_use]
pub enum Effect {
    /// A call that had waited was answered.
    Reply(Ticket, CommandId, Vec<u8>),
    /// A step of a transaction has run; its coordinator gets the replies of its calls.
    Step(TxnId, ShardId, Vec<Vec<u8>>),
}

/// A job in the lock queues.
#[derive(Debug)]
enum Job {
    /// A single command that waits for a transaction.
    Call(Ticket, OwnedCall),
    /// A part of a transaction. The calls of its first step are taken when they run.
    Part(TxnId, Option<Vec<OwnedCall>>),
}

/// See the module.
pub struct Shard {
    id: ShardId,
    shards: u16,
    table: Arc<Table>,
    /// The data.
    pub keyspace: Keyspace,
    /// The limits that commands consult.
    pub options: CommandOptions,
    /// Where the commands of this shard draw their randomness.
    rng: Prng,
    locks: Locks<Job>,
    parts: BTreeMap<TxnId, JobId>,
    /// Jobs to run, reused between calls.
    ready: Vec<JobId>,
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
            options,
            rng: Prng::new(seed),
            locks: Locks::default(),
            parts: BTreeMap::new(),
            ready: Vec::new(),
        }
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
        let Run::Shard(handler, _) = spec.run else { unreachable!("{} is no command of a shard", spec.name) };
        let start = out.len();
        let mut reply = Reply::new(out, call.head.proto);
        let mut ctx = Ctx {
            keyspace: &mut self.keyspace,
            db: call.head.db,
            now,
            reply: &mut reply,
            rng: &mut self.rng,
            shard: self.id,
            shards: self.shards,
            options: &self.options,
            first_key: call.head.first_key,
        };
        let result = handler(&mut ctx, call.args);
        if let Err(error) = &result {
            reply.truncate(start);
            reply.error(error.bytes());
        }
        result
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
        self.must_wait_for(&self.claims(spec, call))
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
        self.parts.insert(part.txn, job);
        if ready {
            self.ready.push(job);
            self.run_ready(now, effects);
        }
    }

    /// Another step of a transaction that holds its locks.
    pub fn go_on(&mut self, txn: TxnId, calls: &[OwnedCall], now: Now, effects: &mut Vec<Effect>) {
        debug_assert!(self.parts.contains_key(&txn), "{txn:?} goes on without a part");
        effects.push(self.step(txn, calls, now));
    }

    /// The coordinator's last word on a transaction: its last step, if there is one here, then the locks are free.
    pub fn finish(&mut self, txn: TxnId, calls: &[OwnedCall], now: Now, effects: &mut Vec<Effect>) {
        let Some(job) = self.parts.remove(&txn) else {
            debug_assert!(false, "{txn:?} finished without a part");
            return;
        };
        if !calls.is_empty() {
            effects.push(self.step(txn, calls, now));
        }
        self.locks.release(job, &mut self.ready);
        self.run_ready(now, effects);
    }

    /// How many calls and parts of transactions hold or await locks here.
    pub fn jobs(&self) -> usize {
        self.locks.len()
    }

    /// Runs the jobs that hold all their locks. A single call releases them at once, which may make more ready.
    fn run_ready(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut at = 0;
        while let Some(&id) = self.ready.get(at) {
            at += 1;
            match self.locks.subject(id) {
                Some(Job::Part(txn, calls)) => {
                    let txn = *txn;
                    if let Some(calls) = calls.take() {
                        effects.push(self.step(txn, &calls, now));
                    }
                }
                Some(Job::Call(..)) => {
                    if let Some(Job::Call(ticket, call)) = self.locks.release(id, &mut self.ready) {
                        let mut out = Vec::new();
                        self.run_owned(&call, now, &mut out);
                        effects.push(Effect::Reply(ticket, call.head.command, out));
                    }
                }
                None => {}
            }
        }
        self.ready.clear();
    }

    fn step(&mut self, txn: TxnId, calls: &[OwnedCall], now: Now) -> Effect {
        Effect::Step(txn, self.id, self.run_all(calls, now))
    }

    /// Runs calls one after the other; their replies.
    pub fn run_all(&mut self, calls: &[OwnedCall], now: Now) -> Vec<Vec<u8>> {
        let run = |call: &OwnedCall| {
            let mut out = Vec::new();
            self.run_owned(call, now, &mut out);
            out
        };
        calls.iter().map(run).collect()
    }

    fn run_owned(&mut self, call: &OwnedCall, now: Now, out: &mut Vec<u8>) {
        let spec = self.table.spec(call.head.command);
        // The error, if any, stands in the reply; who asked counts it.
        let _ = self.run(spec, call.as_call(), now, out);
    }
}

/// How a command uses its keys: writes change all of them, as far as others can tell.
pub fn mode_of(spec: &Spec) -> Mode {
    if spec.is_write() {
        Mode::Exclusive
    } else {
        Mode::Shared
    }
}

/// Whether a command goes to every shard.
pub fn is_global(spread: Spread) -> bool {
    matches!(spread, Spread::EverySum | Spread::EveryConcat | Spread::EveryOk | Spread::EveryDraw)
}
