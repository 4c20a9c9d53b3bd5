//! Commands over several shards: this core as coordinator, as sequencer (core 0), and as host of shards.
//!
//! The protocol is told in `shard`. A session has at most one transaction under way and runs nothing else meanwhile, so
//! the number of transactions is bounded by that of the clients.

use super::batch::Flow;
use super::host::Host;
use super::mail::Rare;
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::Ticks;
use crate::command::spec::{Spec, Spread};
use crate::command::CommandId;
use crate::node::slowlog::trimmed;
use crate::resp::OwnedArgs;
use crate::session::coordinator::{plan, Decision, Plan};
use crate::session::{State, Wait};
use crate::shard::{Call, OwnedCall, Part, TxnId};

/// A transaction of one of this core's sessions.
#[derive(Debug)]
pub struct Txn {
    account: Account,
    stage: Stage,
}

/// Whose transaction it is, and what statistics want to know of it.
#[derive(Debug)]
struct Account {
    session: u32,
    started_ticks: u64,
    /// Trimmed, for the slow log, if that or the latency monitor is on.
    args: Option<OwnedArgs>,
}

#[derive(Debug)]
enum Stage {
    /// The first step runs; which replies are still missing.
    Looking { plan: Plan, replies: Vec<Vec<u8>>, missing: u32 },
    /// The second step runs on this many shards; then this is the reply.
    Writing { missing: u32, reply: Vec<u8>, command: CommandId },
}

/// The core whose word orders all transactions.
const SEQUENCER: CoreId = CoreId(0);

impl<T: Ticks> Host<T> {
    /// Begins a command over several shards. The session waits until it is over.
    pub(super) fn start_txn(
        &mut self,
        index: u32,
        spec: &'static Spec,
        spread: Spread,
        call: Call<'_>,
    ) -> Flow {
        let options =
            self.shards.first().map_or_else(|| super::host::command_options(&self.config), |s| s.options);
        let shards = self.placement.len() as u16;
        let planned = plan(&self.table, spec, spread, call, &self.hasher, shards, &options);
        let (plan, parts) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                self.command_stats[call.head.command.index()].failed += 1;
                self.reply_error(index, &error);
                return Flow::Next;
            }
        };
        let number = self.new_number();
        let txn = TxnId { core: self.id, number };
        if let Some(session) = self.session(index) {
            session.state = State::Waiting(Wait::Txn);
            session.under_way += 1;
        }
        let stage =
            Stage::Looking { plan, replies: vec![Vec::new(); parts.len()], missing: parts.len() as u32 };
        let started_ticks = self.ticks.ticks();
        let args = (self.slow_ticks < u64::MAX).then(|| trimmed(call.args));
        let account = Account { session: index, started_ticks, args };
        self.txns.insert(number, Txn { account, stage });
        let parts = parts
            .into_iter()
            .map(|part| (part.shard, Part { txn, claims: part.claims, call: part.call }))
            .collect();
        self.stats.transactions += 1;
        self.post(SEQUENCER, Rare::Sequence(parts));
        // With all shards on this core it may be over already.
        match self.session(index).map(|session| session.state) {
            Some(State::Open) => Flow::Next,
            _ => Flow::Stop,
        }
    }

    pub(super) fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// As sequencer: passes a transaction's parts on to their shards, all at once, so that every two transactions
    /// reach every shard in the same order.
    pub(super) fn sequence(&mut self, parts: Vec<(ShardId, Part)>) {
        debug_assert_eq!(self.id, SEQUENCER);
        for (shard, part) in parts {
            let core = self.placement[shard.index()];
            self.post(core, Rare::Part(shard, part));
        }
    }

    /// As host: a part for one of this core's shards.
    pub(super) fn schedule_part(&mut self, shard: ShardId, part: Part) {
        let Some(place) = self.local[shard.index()] else { unreachable!("{shard:?} is not hosted here") };
        self.shards[usize::from(place)].schedule(part, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// As host: the end of a transaction on one of this core's shards.
    pub(super) fn finish_part(&mut self, txn: TxnId, shard: ShardId, call: Option<OwnedCall>) {
        let Some(place) = self.local[shard.index()] else { unreachable!("{shard:?} is not hosted here") };
        self.shards[usize::from(place)].finish(txn, call, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// As coordinator: a shard has run a step.
    pub(super) fn step_done(&mut self, number: u64, shard: ShardId, reply: Vec<u8>) {
        let Some(txn) = self.txns.get_mut(&number) else { return };
        match &mut txn.stage {
            Stage::Looking { plan, replies, missing } => {
                // A shard has one part of a transaction.
                if let Some(at) = plan.shards().iter().position(|&other| other == shard) {
                    replies[at] = reply;
                }
                *missing -= 1;
                if *missing > 0 {
                    return;
                }
            }
            Stage::Writing { missing, .. } => {
                *missing -= 1;
                if *missing > 0 {
                    return;
                }
            }
        }
        let Some(Txn { account, stage }) = self.txns.remove(&number) else { return };
        match stage {
            Stage::Looking { plan, replies, .. } => self.decide(number, account, plan, &replies),
            Stage::Writing { reply, command, .. } => self.conclude(account, command, &reply),
        }
    }

    /// All keys are held everywhere: the transaction takes place now.
    fn decide(&mut self, number: u64, account: Account, plan: Plan, replies: &[Vec<u8>]) {
        let id = TxnId { core: self.id, number };
        let shards = plan.shards().to_vec();
        let command = plan.head().command;
        match plan.decide(&self.table, &self.hasher, replies, &mut self.rng) {
            Decision::Answer(reply) => {
                for shard in shards {
                    self.post(self.placement[shard.index()], Rare::Finish(id, shard, None));
                }
                self.conclude(account, command, &reply);
            }
            Decision::Write(writes, reply) => {
                let stage = Stage::Writing { missing: writes.len() as u32, reply, command };
                self.txns.insert(number, Txn { account, stage });
                let mut writes: Vec<_> = writes.into_iter().collect();
                for shard in shards {
                    let at = writes.iter().position(|(other, _)| *other == shard);
                    let call = at.map(|at| writes.swap_remove(at).1);
                    self.post(self.placement[shard.index()], Rare::Finish(id, shard, call));
                }
            }
        }
    }

    /// Answers, and the session goes on. The time counted is the client's: from the first message to the last.
    fn conclude(&mut self, account: Account, command: CommandId, reply: &[u8]) {
        let Account { session, started_ticks, args } = account;
        let took = self.ticks.ticks().wrapping_sub(started_ticks);
        self.command_stats[command.index()].record_as(self.ticks.to_ns(took), self.tracks_latency);
        self.count_if_error(command, reply);
        if let Some(args) = args.filter(|_| took >= self.slow_ticks) {
            self.note_slow(session, self.table.spec(command), args, self.ticks.to_ns(took) / 1000);
        }
        self.end_wait(session, |reply_to| reply_to.raw(reply));
    }

    /// A session's transaction or question is over: it is answered and goes on, if it is still there.
    pub(super) fn end_wait(&mut self, index: u32, f: impl FnOnce(&mut crate::resp::Reply<'_>)) {
        let Some(session) = self.session(index) else { return };
        session.under_way -= 1;
        match session.state {
            State::Closed => self.release_session(index),
            State::Closing => {
                self.reply(index, f);
                self.effects.push(super::Effect::Close { session: index, flush: true });
            }
            State::Open | State::Waiting(_) => {
                session.state = State::Open;
                self.reply(index, f);
                if let Some(session) = self.session(index) {
                    session.end_skip();
                }
                self.runnable.push(index);
            }
        }
    }
}
