//! Transactions: this core as coordinator, as sequencer (core 0), and as host of shards.
//!
//! The protocol is told in `shard`, what a transaction runs in `session::program`. A session has at most one
//! transaction under way and runs nothing else meanwhile, so their number is bounded by that of the clients.

use super::batch::Flow;
use super::host::Host;
use super::mail::Rare;
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::Ticks;
use crate::command::spec::{Flags, Spec, Spread};
use crate::command::CommandId;
use crate::node::slowlog::trimmed;
use crate::resp::OwnedArgs;
use crate::session::coordinator::{plan, Calls, Shape};
use crate::session::program::{Advance, Program};
use crate::session::{State, Wait};
use crate::shard::locks::Claims;
use crate::shard::{Call, OwnedCall, Part, TxnId};

/// A transaction of one of this core's sessions.
#[derive(Debug)]
pub(super) struct Txn {
    account: Account,
    program: Program,
    /// The shards that hold locks for it.
    participants: Vec<ShardId>,
    stage: Stage,
    /// The answers of the step that is out there.
    replies: Vec<(ShardId, Vec<Vec<u8>>)>,
    /// How many shards have yet to answer.
    missing: u32,
}

/// Whose transaction it is, and what statistics want to know of it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) session: u32,
    pub(super) command: CommandId,
    pub(super) started_ticks: u64,
    /// Trimmed, for the slow log, if that or the latency monitor is on.
    pub(super) args: Option<OwnedArgs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A step runs, and the locks are held.
    Running,
    /// The last step runs, and each shard lets go with it.
    Ending,
}

/// The core whose word orders all transactions.
const SEQUENCER: CoreId = CoreId(0);

impl<T: Ticks> Host<T> {
    /// What planning needs to know of this node.
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape {
            table: &self.table,
            hasher: &self.hasher,
            shards: self.placement.len() as u16,
            options: &self.command_options,
        }
    }

    /// Begins a command over several shards. The session waits until it is over.
    pub(super) fn start_txn(
        &mut self,
        index: u32,
        spec: &'static Spec,
        spread: Spread,
        call: Call<'_>,
    ) -> Flow {
        let (plan, parts) = match plan(self.shape(), spec, spread, call) {
            Ok(planned) => planned,
            Err(error) => {
                self.command_stats[call.head.command.index()].failed += 1;
                self.reply_error(index, &error);
                return Flow::Next;
            }
        };
        let program = Program::command(plan, parts, call.head.proto);
        let account = self.account_of(index, call);
        self.begin_txn(account, program, Vec::new())
    }

    /// The account of a transaction that begins now.
    pub(super) fn account_of(&self, index: u32, call: Call<'_>) -> Account {
        Account {
            session: index,
            command: call.head.command,
            started_ticks: self.ticks.ticks(),
            args: (self.slow_ticks < u64::MAX).then(|| trimmed(call.args)),
        }
    }

    /// Begins a transaction. If there are guards they run first, with their locks, and the program only if all of them
    /// answer yes.
    pub(super) fn begin_txn(
        &mut self,
        account: Account,
        mut program: Program,
        guards: Vec<(ShardId, Claims, OwnedCall)>,
    ) -> Flow {
        let index = account.session;
        let number = self.new_number();
        let txn = TxnId { core: self.id, number };
        let mut claims = program.claims(self.shape());
        let first = if guards.is_empty() {
            let mut rng = self.rng.clone();
            let first = program.advance(self.shape(), &mut [], &mut rng);
            self.rng = rng;
            match first {
                Some(Advance::Step(calls) | Advance::Last(calls)) => calls,
                Some(Advance::Done) | None => Vec::new(),
            }
        } else {
            let mut calls = Calls::new();
            for (shard, held, call) in guards {
                crate::session::program::join(&mut claims, shard, held);
                match calls.iter_mut().find(|(other, _)| *other == shard) {
                    Some((_, calls)) => calls.push(call),
                    None => calls.push((shard, vec![call])),
                }
            }
            program.begin_guarded(calls)
        };
        let participants: Vec<ShardId> = claims.iter().map(|(shard, _)| *shard).collect();
        let parts = parts_of(txn, claims, first);
        if let Some(session) = self.session(index) {
            session.state = State::Waiting(Wait::Txn);
            session.under_way += 1;
        }
        let txn = Txn {
            account,
            program,
            missing: participants.len() as u32,
            participants,
            stage: Stage::Running,
            replies: Vec::new(),
        };
        self.txns.insert(number, txn);
        self.stats.transactions += 1;
        match <[_; 1]>::try_from(parts) {
            // Alone on its shard it can wait for nobody elsewhere: its place among the others does not matter.
            Ok([(shard, part)]) => self.post(self.placement[shard.index()], Rare::Part(shard, part)),
            Err(parts) => self.post(SEQUENCER, Rare::Sequence(parts)),
        }
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
        // A part that is run here may lead to another transaction at once, whose parts must not come before these.
        let placement = self.placement.clone();
        self.post_together(
            parts.into_iter().map(|(shard, part)| (placement[shard.index()], Rare::Part(shard, part))),
        );
    }

    /// As host: a part for one of this core's shards.
    pub(super) fn schedule_part(&mut self, shard: ShardId, part: Part) {
        let place = self.place_of(shard);
        self.shards[place].schedule(part, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// As host: another step of a transaction on one of this core's shards.
    pub(super) fn go_on_part(&mut self, txn: TxnId, shard: ShardId, calls: &[OwnedCall]) {
        let place = self.place_of(shard);
        self.shards[place].go_on(txn, calls, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// As host: the end of a transaction on one of this core's shards.
    pub(super) fn finish_part(&mut self, txn: TxnId, shard: ShardId, calls: &[OwnedCall]) {
        let place = self.place_of(shard);
        self.shards[place].finish(txn, calls, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// The place of a shard that is hosted here.
    pub(super) fn place_of(&self, shard: ShardId) -> usize {
        let Some(place) = self.local[shard.index()] else { unreachable!("{shard:?} is not hosted here") };
        usize::from(place)
    }

    /// As coordinator: a shard has run a step.
    pub(super) fn step_done(&mut self, number: u64, shard: ShardId, replies: Vec<Vec<u8>>) {
        let Some(txn) = self.txns.get_mut(&number) else { return };
        txn.replies.push((shard, replies));
        txn.missing -= 1;
        if txn.missing > 0 {
            return;
        }
        let Some(mut txn) = self.txns.remove(&number) else { return };
        let mut replies = std::mem::take(&mut txn.replies);
        let mut rng = self.rng.clone();
        let next = txn.program.advance(self.shape(), &mut replies, &mut rng);
        self.rng = rng;
        let id = TxnId { core: self.id, number };
        match next {
            Some(Advance::Step(calls)) => {
                debug_assert_eq!(txn.stage, Stage::Running);
                // A shard that has nothing to run in this step is not asked.
                let calls: Calls = calls.into_iter().filter(|(_, calls)| !calls.is_empty()).collect();
                txn.missing = calls.len() as u32;
                self.txns.insert(number, txn);
                for (shard, calls) in calls {
                    self.post(self.placement[shard.index()], Rare::GoOn(id, shard, calls));
                }
            }
            Some(Advance::Last(mut calls)) => {
                debug_assert_eq!(txn.stage, Stage::Running);
                txn.stage = Stage::Ending;
                txn.missing = calls.iter().filter(|(_, calls)| !calls.is_empty()).count() as u32;
                let participants = std::mem::take(&mut txn.participants);
                self.txns.insert(number, txn);
                for shard in participants {
                    let at = calls.iter().position(|(other, _)| *other == shard);
                    let calls = at.map(|at| calls.swap_remove(at).1).unwrap_or_default();
                    self.post(self.placement[shard.index()], Rare::Finish(id, shard, calls));
                }
            }
            Some(Advance::Done) | None => {
                for shard in txn.participants {
                    self.post(self.placement[shard.index()], Rare::Finish(id, shard, Vec::new()));
                }
                let took_place = next.is_some();
                self.conclude(txn.account, took_place.then_some(txn.program));
            }
        }
    }

    /// Answers, and the session goes on: with null if a watched key had changed. The time counted is the client's: from
    /// the first message to the last.
    fn conclude(&mut self, account: Account, program: Option<Program>) {
        let Account { session: index, command, started_ticks, args } = account;
        let took = self.ticks.ticks().wrapping_sub(started_ticks);
        self.command_stats[command.index()].record_as(self.ticks.to_ns(took), self.tracks_latency);
        if let Some(args) = args.filter(|_| took >= self.slow_ticks) {
            self.note_slow(index, self.table.spec(command), args, self.ticks.to_ns(took) / 1000);
        }
        if self.table.spec(command).flags.has(Flags::BLOCKING) {
            let reply = program.map(Program::into_reply).unwrap_or_default();
            return self.tried(index, command, reply);
        }
        match program {
            None => {
                self.unwatch(index);
                self.end_wait(index, |reply| reply.null_array());
            }
            Some(program) if self.is_watch(command) => self.end_watch(index, &program.into_reply()),
            Some(program) if self.is_exec(command) => self.end_exec(index, program),
            Some(program) => {
                let reply = program.into_reply();
                self.count_if_error(command, &reply);
                self.end_wait(index, |reply_to| reply_to.raw(&reply));
            }
        }
    }

    /// A session's transaction or question is over: it is answered and goes on, if it is still there.
    pub(super) fn end_wait(&mut self, index: u32, f: impl FnOnce(&mut crate::resp::Reply<'_>)) {
        let Some(session) = self.session(index) else { return };
        session.under_way -= 1;
        if session.exec.is_some() {
            self.end_wait_in_exec(index, f);
            return;
        }
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

/// A transaction's parts: for each shard its locks and its share of the first step.
fn parts_of(txn: TxnId, claims: Vec<(ShardId, Claims)>, mut first: Calls) -> Vec<(ShardId, Part)> {
    claims
        .into_iter()
        .map(|(shard, claims)| {
            let at = first.iter().position(|(other, _)| *other == shard);
            let calls = at.map(|at| first.swap_remove(at).1).unwrap_or_default();
            (shard, Part { txn, claims, calls })
        })
        .collect()
}
