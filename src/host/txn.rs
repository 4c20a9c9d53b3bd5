//! Transactions: this core as coordinator, as sequencer (core 0), and as host of shards.
//!
//! The protocol is told in `shard`, what a transaction runs in `session::program`. A session has at most one
//! transaction under way and runs nothing else meanwhile, so their number is bounded by that of the clients. What a
//! client sends in one go is not waited for command by command: those over several shards that follow each other, and
//! need one step, are *gathered* and are one transaction.

use smallvec::SmallVec;

use super::batch::Flow;
use super::host::{Host, OUTPUT_HIGH_BYTES};
use super::mail::Rare;
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::Ticks;
use crate::command::spec::{Flags, Run, Spec, Spread, Steps};
use crate::command::CommandId;
use crate::node::slowlog::trimmed;
use crate::resp::{Args, OwnedArgs};
use crate::session::coordinator::{plan, Calls, Shape, Shipped};
use crate::session::program::{Advance, Program};
use crate::session::replies::Hold;
use crate::session::session::ReplyMode;
use crate::session::{admit, State, Wait};
use crate::shard::locks::Claims;
use crate::shard::shard::Writers;
use crate::shard::{Call, OwnedCall, Part, TxnId};

/// What a transaction's reply waits for: on each of its shards the place of its records.
pub(super) type Holds = SmallVec<[Hold; 4]>;

/// A transaction of one of this core's sessions.
#[derive(Debug)]
pub(super) struct Txn {
    accounts: Accounts,
    program: Program,
    /// The shards that hold locks for it.
    participants: Vec<ShardId>,
    stage: Stage,
    /// The answers of the step that is out there.
    replies: Vec<(ShardId, Vec<Vec<u8>>)>,
    /// How many shards have yet to answer.
    missing: u32,
    /// Whether its records are in the journals only when it has ended.
    is_recorded_late: bool,
    /// Whether any shard may change.
    is_write: bool,
    /// What its reply waits for, if it waits for the disk.
    holds: Holds,
}

/// The commands of a transaction, as far as statistics are concerned: of one session, and at least one.
pub(super) type Accounts = SmallVec<[Account; 1]>;

/// Whose command it is, and what statistics want to know of it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) session: u32,
    pub(super) command: CommandId,
    pub(super) started_ticks: u64,
    /// Trimmed, for the slow log, if that or the latency monitor is on.
    pub(super) args: Option<OwnedArgs>,
}

/// A transaction that can begin: what it needs is known, and nothing has run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) accounts: Accounts,
    pub(super) program: Program,
    /// Whether `first` is all that the program runs.
    pub(super) is_one_step: bool,
    pub(super) claims: Vec<(ShardId, Claims)>,
    /// The calls that say whether the keys that are watched have changed.
    pub(super) guards: Calls,
    /// The program's first step.
    pub(super) first: Advance,
}

/// Commands of one session that are going to be one transaction. Exists while a batch runs, from the first of them to
/// the first request of the session that is not one of them, or its last.
#[derive(Debug)]
pub(super) struct Gathered {
    accounts: Accounts,
    program: Program,
    /// Arguments of all commands.
    args: usize,
}

/// No further command is gathered once there are so many arguments, or commands: others have to be served, too.
const GATHERED_ARGS_MAX: usize = 2048;
const GATHERED_COMMANDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A step runs, and the locks are held.
    Running,
    /// The last step runs, and each shard lets go with it.
    Ending,
    /// Each shard lets go, and tells when that is recorded. Whether the program took place.
    Closing(bool),
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
            replays: false,
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
            Err(_) if self.begin_gathered() != Flow::Next => return Flow::Keep,
            Err(error) => {
                self.command_stats[call.head.command.index()].failed += 1;
                self.reply_error(index, &error);
                return Flow::Next;
            }
        };
        let account = self.account_of(index, call);
        if let Some(gathered) = &mut self.gathered {
            gathered.args += call.args.len();
            gathered.accounts.push(account);
            gathered.program.add_command(plan, parts);
            return Flow::Next;
        }
        let accounts = Accounts::from_buf([account]);
        let gathers = is_gathered(spread) && self.may_gather(index);
        let program = Program::command(plan, parts, call.head.proto);
        if gathers {
            self.gathered = Some(Box::new(Gathered { accounts, program, args: call.args.len() }));
            return Flow::Next;
        }
        self.begin_txn(accounts, program, Vec::new())
    }

    /// Whether a session's commands can be gathered: then nothing but a request of its own comes between them.
    fn may_gather(&self, index: u32) -> bool {
        self.sessions[index as usize].as_deref().is_some_and(|session| {
            session.in_batch
                && session.exec.is_none()
                && session.reply_mode == ReplyMode::On
                && session.replies.pending_bytes() <= OUTPUT_HIGH_BYTES
                && !self.attention
        })
    }

    /// Whether a request of the session whose commands are gathered is one more of them.
    pub(super) fn joins_gathered(&self, args: Args<'_>) -> bool {
        let has_room = self.gathered.as_ref().is_some_and(|gathered| {
            gathered.accounts.len() < GATHERED_COMMANDS_MAX && gathered.args < GATHERED_ARGS_MAX
        });
        let Some(command) = admit::find(&self.table, args).ok().filter(|_| has_room) else { return false };
        let spec = self.table.spec(command);
        let is_gathered = matches!(spec.run, Run::Shard(_, spread) if is_gathered(spread));
        is_gathered && spec.takes(args.len()) && !self.attention && !self.needs_room(command)
    }

    /// Begins what was gathered. Whether the session may go on: it may, too, if nothing was.
    pub(super) fn begin_gathered(&mut self) -> Flow {
        let Some(gathered) = self.gathered.take() else { return Flow::Next };
        let Gathered { accounts, program, .. } = *gathered;
        self.begin_txn(accounts, program, Vec::new())
    }

    /// The account of a transaction that begins now.
    pub(super) fn account_of(&self, index: u32, call: Call<'_>) -> Account {
        Account {
            session: index,
            command: call.head.command,
            started_ticks: self.ticks.ticks(),
            args: (self.slow_ticks < u64::MAX).then(|| self.shown_when_slow(call)),
        }
    }

    /// A transaction's arguments as the slow log is to have them. Of the commands on data only one has secrets.
    fn shown_when_slow(&self, call: Call<'_>) -> OwnedArgs {
        let spec = self.table.spec(call.head.command);
        match spec.run {
            Run::Shard(_, Spread::Steps(Steps::Migrate)) => {
                let redacted = super::monitor::redacted(spec, call.args);
                trimmed(redacted.as_ref().map_or(call.args, OwnedArgs::as_args))
            }
            _ => trimmed(call.args),
        }
    }

    /// Begins a transaction. If there are guards they run first, with their locks, and the program only if all of them
    /// answer yes.
    pub(super) fn begin_txn(
        &mut self,
        accounts: Accounts,
        mut program: Program,
        guards: Vec<(ShardId, Claims, OwnedCall)>,
    ) -> Flow {
        let claims = program.take_claims(self.shape());
        self.begin_txn_with(accounts, program, claims, guards)
    }

    /// The same where the program's claims have been taken.
    pub(super) fn begin_txn_with(
        &mut self,
        accounts: Accounts,
        mut program: Program,
        mut claims: Vec<(ShardId, Claims)>,
        guards: Vec<(ShardId, Claims, OwnedCall)>,
    ) -> Flow {
        let index = accounts[0].session;
        let is_one_step = program.is_one_step();
        let mut rng = self.rng.clone();
        let first = program.advance(self.shape(), &mut [], &mut rng).unwrap_or(Advance::Done);
        self.rng = rng;
        let mut guarding = Calls::new();
        for (shard, held, call) in guards {
            crate::session::program::join(&mut claims, shard, held);
            match guarding.iter_mut().find(|(other, _)| *other == shard) {
                Some((_, calls)) => calls.push(call),
                None => guarding.push((shard, vec![call])),
            }
        }
        if let Some(session) = self.session(index) {
            session.state = State::Waiting(Wait::Txn);
            session.under_way += 1;
        }
        self.stats.transactions += accounts.len() as u64;
        let prepared = Prepared { accounts, program, is_one_step, claims, guards: guarding, first };
        if let Err(prepared) = self.attempt(prepared) {
            self.schedule(*prepared);
        }
        // With all shards on this core it may be over already.
        match self.session(index).map(|session| session.state) {
            Some(State::Open) => Flow::Next,
            _ => Flow::Stop,
        }
    }

    /// Lets a transaction wait for its turn on each of its shards.
    pub(super) fn schedule(&mut self, prepared: Prepared) {
        let Prepared { accounts, mut program, is_one_step, claims, guards, first } = prepared;
        let is_whole = guards.is_empty() && (is_one_step || matches!(first, Advance::Last(_)));
        let number = self.new_number();
        let id = TxnId { core: self.id, number };
        let first = if guards.is_empty() {
            first.into_calls()
        } else {
            program.guard(&guards, first);
            guards
        };
        let participants: Vec<ShardId> = claims.iter().map(|(shard, _)| *shard).collect();
        let writers = writers(&claims);
        let is_write = !writers.is_empty();
        let is_recorded_late = !is_whole && !writers.is_empty();
        let parts = parts_of(id, claims, first, &writers, is_whole);
        let txn = Txn {
            accounts,
            program,
            missing: participants.len() as u32,
            participants,
            stage: Stage::Running,
            replies: Vec::new(),
            is_recorded_late,
            is_write,
            holds: Holds::new(),
        };
        self.txns.insert(number, txn);
        match <[_; 1]>::try_from(parts) {
            // Alone on its shard it can wait for nobody elsewhere: its place among the others does not matter.
            Ok([(shard, part)]) => self.post(self.placement[shard.index()], Rare::Part(shard, part)),
            Err(parts) => self.post(SEQUENCER, Rare::Sequence(parts)),
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
    pub(super) fn finish_part(&mut self, txn: TxnId, shard: ShardId, calls: &[OwnedCall], reported: bool) {
        let place = self.place_of(shard);
        if calls.is_empty() && !reported {
            self.expect_no_end(place, txn);
        }
        self.shards[place].finish(txn, (calls, reported), self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// The place of a shard that is hosted here.
    pub(super) fn place_of(&self, shard: ShardId) -> usize {
        let Some(place) = self.local[shard.index()] else { unreachable!("{shard:?} is not hosted here") };
        usize::from(place)
    }

    /// As coordinator: a shard has run a step.
    pub(super) fn step_done(
        &mut self,
        number: u64,
        shard: ShardId,
        replies: Vec<Vec<u8>>,
        hold: Option<Hold>,
    ) {
        let Some(txn) = self.txns.get_mut(&number) else { return };
        // What only reads waits for nothing.
        txn.holds.extend(hold.filter(|_| txn.is_write));
        // One that only tells that it has recorded something has none.
        if !replies.is_empty() {
            txn.replies.push((shard, replies));
        }
        txn.missing -= 1;
        if txn.missing > 0 {
            return;
        }
        let Some(txn) = self.txns.remove(&number) else { return };
        if let Stage::Closing(took_place) = txn.stage {
            let program = took_place.then_some(txn.program);
            return self.conclude_when_durable(number, txn.accounts, program, txn.holds);
        }
        self.advance_txn(number, txn);
    }

    /// As coordinator: what a transaction had for another server is there, or is not.
    pub(super) fn shipped(&mut self, number: u64, outcome: Shipped) {
        let Some(mut txn) = self.txns.remove(&number) else { return };
        txn.program.shipped(outcome);
        self.advance_txn(number, txn);
    }

    /// Does what comes next in a transaction.
    fn advance_txn(&mut self, number: u64, mut txn: Txn) {
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
                let participants = std::mem::take(&mut txn.participants);
                let reported = self.persist.holds && txn.is_recorded_late;
                txn.missing = match reported {
                    true => participants.len() as u32,
                    false => calls.iter().filter(|(_, calls)| !calls.is_empty()).count() as u32,
                };
                self.txns.insert(number, txn);
                for shard in participants {
                    let at = calls.iter().position(|(other, _)| *other == shard);
                    let calls = at.map(|at| calls.swap_remove(at).1).unwrap_or_default();
                    let finish = Rare::Finish(id, shard, calls, reported);
                    self.post(self.placement[shard.index()], finish);
                }
            }
            Some(Advance::Ship(shipment)) => {
                debug_assert_eq!(txn.stage, Stage::Running);
                self.txns.insert(number, txn);
                self.ship(number, *shipment);
            }
            // Where replies wait for the disk, it must be known where the records are.
            next @ (Some(Advance::Done) | None)
                if self.persist.holds && txn.is_recorded_late && txn.stage == Stage::Running =>
            {
                txn.stage = Stage::Closing(next.is_some());
                let participants = std::mem::take(&mut txn.participants);
                txn.missing = participants.len() as u32;
                self.txns.insert(number, txn);
                for shard in participants {
                    let finish = Rare::Finish(id, shard, Vec::new(), true);
                    self.post(self.placement[shard.index()], finish);
                }
            }
            Some(Advance::Done) | None => {
                for shard in txn.participants {
                    let finish = Rare::Finish(id, shard, Vec::new(), false);
                    self.post(self.placement[shard.index()], finish);
                }
                let program = next.is_some().then_some(txn.program);
                self.conclude_when_durable(number, txn.accounts, program, txn.holds);
            }
        }
    }

    /// Answers, and the session goes on: with null if a watched key had changed. The time counted is the client's: from
    /// the first message to the last.
    pub(super) fn conclude(&mut self, accounts: Accounts, program: Option<Program>) {
        let (index, command) = (accounts[0].session, accounts[0].command);
        let commands: SmallVec<[CommandId; 1]> = accounts.iter().map(|account| account.command).collect();
        for Account { command, started_ticks, args, .. } in accounts {
            let took = self.ticks.ticks().wrapping_sub(started_ticks);
            self.command_stats[command.index()].record_as(self.ticks.to_ns(took), self.tracks_latency);
            if let Some(args) = args.filter(|_| took >= self.slow_ticks) {
                self.note_slow(index, self.table.spec(command), args, self.ticks.to_ns(took) / 1000);
            }
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
                let mut replies: SmallVec<[Vec<u8>; 1]> = program.into_replies().collect();
                for (command, reply) in commands.into_iter().zip(&replies) {
                    self.count_if_error(command, reply);
                }
                self.end_wait(index, |reply_to| replies.drain(..).for_each(|reply| reply_to.raw(&reply)));
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

/// The shards that may change something.
pub(super) fn writers(claims: &[(ShardId, Claims)]) -> Writers {
    claims.iter().filter(|(_, claims)| claims.is_exclusive()).map(|(shard, _)| *shard).collect()
}

/// Whether commands of this kind are gathered: each part is one call, and the answers are all there is.
pub(super) fn is_gathered(spread: Spread) -> bool {
    matches!(spread, Spread::Sum | Spread::Interleave | Spread::Ok)
}

/// A transaction's parts: for each shard its locks and its share of the first step.
fn parts_of(
    txn: TxnId,
    claims: Vec<(ShardId, Claims)>,
    mut first: Calls,
    writers: &Writers,
    is_whole: bool,
) -> Vec<(ShardId, Part)> {
    claims
        .into_iter()
        .map(|(shard, claims)| {
            let at = first.iter().position(|(other, _)| *other == shard);
            let calls = at.map(|at| first.swap_remove(at).1).unwrap_or_default();
            (shard, Part { txn, claims, calls, writers: writers.clone(), is_whole })
        })
        .collect()
}
