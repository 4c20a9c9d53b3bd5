//! BLPOP and its kin: sessions that wait for keys. How, is told in `session::blocked`.

use smallvec::SmallVec;

use super::batch::Flow;
use super::host::Host;
use super::mail::Rare;
use super::persist::PersistMail;
use super::txn::{Account, Accounts};
use crate::base::ids::{CoreId, ShardId};
use crate::base::key::shard_of_key;
use crate::base::time::{Ticks, UnixMs};
use crate::command::spec::{Run, Spec, Spread, Steps};
use crate::command::{timeout, CommandId};
use crate::keyspace::ValueKind;
use crate::session::blocked::{Attempts, Blocked, Server, Stage};
use crate::session::coordinator::plan;
use crate::session::program::Program;
use crate::session::{State, Wait};
use crate::shard::shard::{awaited, is_nothing};
use crate::shard::waiters::{End, Place};
use crate::shard::{Call, OwnedCall, Ticket};

impl<T: Ticks> Host<T> {
    /// A command that may block.
    pub(super) fn block(
        &mut self,
        index: u32,
        spec: &'static Spec,
        spread: Spread,
        single: Option<ShardId>,
        call: Call<'_>,
    ) -> Flow {
        let Some(session) = self.session(index) else { return Flow::Next };
        // What comes behind it waits for it, and so it waits for what came before.
        if session.replies.waiting() > 0 {
            return self.keep_for(index, Wait::Replies);
        }
        let Some(shard) = single else {
            session.blocking = Some(call.to_owned());
            return self.start_txn(index, spec, spread, call);
        };
        let by = Server::Shard(shard);
        let ticket = self.begin_block(index, by, deadline(spec, call, self.now.unix_ms()));
        self.post(self.placement[shard.index()], Rare::Block(shard, ticket, call.to_owned()));
        self.leave_if_at_end(index);
        match self.session(index).map(|session| session.state) {
            Some(State::Open) => Flow::Next,
            _ => Flow::Stop,
        }
    }

    /// The session waits for a reply from now on, and requests behind it wait with it.
    pub(super) fn begin_block(&mut self, index: u32, by: Server, deadline: Option<UnixMs>) -> Ticket {
        let core = self.id;
        let Some(session) = self.sessions[index as usize].as_deref_mut() else {
            unreachable!("a session that is gone sends nothing")
        };
        let slot = session.replies.reserve(session.is_silent());
        session.state = State::Waiting(Wait::Keys);
        session.blocked = Some(Box::new(Blocked { slot, deadline, by }));
        if let Some(deadline) = deadline {
            self.block_deadlines.insert((deadline, index));
        }
        self.stats.blocked_clients += 1;
        Ticket { core, session: index, slot }
    }

    /// A session's reply has come, or is not awaited any more: it is blocked no longer.
    pub(super) fn blocked_no_more(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        if session.replies.waiting() > 0 {
            return;
        }
        let Some(blocked) = session.blocked.take() else { return };
        session.end_skip();
        if let Some(deadline) = blocked.deadline {
            self.block_deadlines.remove(&(deadline, index));
        }
        self.stats.blocked_clients -= 1;
    }

    /// As host of a shard: a command that may have to wait there.
    pub(super) fn block_here(&mut self, shard: ShardId, ticket: Ticket, call: OwnedCall) {
        let place = self.place_of(shard);
        self.shards[place].block(ticket, call, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// As host of a shard: a client waits for keys there and elsewhere.
    pub(super) fn wait_here(
        &mut self,
        shard: ShardId,
        ticket: Ticket,
        keys: SmallVec<[Place; 2]>,
        kind: ValueKind,
    ) {
        let place = self.place_of(shard);
        self.shards[place].wait(ticket, keys, kind);
        self.post(ticket.core, Rare::Waits(ticket));
    }

    /// As host of a shard: a client whose turn had come has found nothing.
    pub(super) fn found_nothing_here(&mut self, shard: ShardId, ticket: Ticket) {
        let place = self.place_of(shard);
        self.shards[place].found_nothing(ticket, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// As host of a shard: a client waits no longer.
    pub(super) fn stop_waiting_here(&mut self, shard: ShardId, ticket: Ticket, end: End) {
        let place = self.place_of(shard);
        self.shards[place].stop_waiting(ticket, end, self.now, &mut self.shard_effects);
        self.carry_out();
    }

    /// What a session's core knows of its attempts, if it still waits with this ticket.
    fn attempts(&mut self, ticket: Ticket) -> Option<&mut Attempts> {
        let blocked = self.session(ticket.session)?.blocked.as_deref_mut()?;
        match &mut blocked.by {
            Server::Core(attempts) if blocked.slot == ticket.slot => Some(attempts),
            Server::Core(_) | Server::Shard(_) | Server::Line => None,
        }
    }

    /// A shard has put a client of this core into its queues.
    pub(super) fn stands_in_queue(&mut self, ticket: Ticket) {
        let Some(attempts) = self.attempts(ticket) else { return };
        if let Stage::Arming(missing) = &mut attempts.stage {
            *missing -= 1;
            if *missing == 0 {
                self.try_again(ticket);
            }
        }
    }

    /// A key that a client of this core waits for has changed, and it is its turn.
    pub(super) fn turn_has_come(&mut self, ticket: Ticket, shard: ShardId) {
        let Some(attempts) = self.attempts(ticket) else { return };
        attempts.turns.push(shard);
        if attempts.stage == Stage::Waiting {
            self.try_again(ticket);
        }
    }

    /// Tries the command of a client that waits.
    fn try_again(&mut self, ticket: Ticket) {
        let Some(attempts) = self.attempts(ticket) else { return };
        attempts.stage = Stage::Trying;
        attempts.turns_seen = attempts.turns.len();
        let call = attempts.call.clone();
        let spec = self.table.spec(call.head.command);
        let Run::Shard(_, spread) = spec.run else { unreachable!("{} is a command of shards", spec.name) };
        let call = call.as_call();
        let Ok((plan, parts)) = plan(self.shape(), spec, spread, call) else {
            unreachable!("it has been planned before")
        };
        let program = Program::command(plan, parts, call.head.proto);
        let account = Account { args: None, ..self.account_of(ticket.session, call) };
        self.begin_txn(Accounts::from_buf([account]), program, Vec::new());
    }

    /// A command that may block has been tried as a transaction.
    pub(super) fn tried(&mut self, index: u32, command: CommandId, reply: Vec<u8>) {
        let Some(session) = self.session(index) else { return };
        let Some(blocked) = session.blocked.as_deref_mut() else {
            if !is_nothing(&reply) || matches!(session.state, State::Closed | State::Closing) {
                session.blocking = None;
                self.count_if_error(command, &reply);
                self.end_wait(index, |reply_to| reply_to.raw(&reply));
                return;
            }
            return self.begin_waiting(index, reply);
        };
        session.under_way -= 1;
        if session.state == State::Waiting(Wait::Txn) {
            session.state = State::Waiting(Wait::Keys);
        }
        let slot = blocked.slot;
        let ticket = Ticket { core: self.id, session: index, slot };
        let Some(attempts) = self.attempts(ticket) else { return };
        let served = !is_nothing(&reply);
        if served || attempts.ended.is_some() {
            let end = if served { End::Over } else { attempts.ended.unwrap_or(End::Over) };
            let reply = if served { reply } else { end.reply(std::mem::take(&mut attempts.nothing)) };
            return self.end_attempts(ticket, &reply);
        }
        if attempts.turns_seen < attempts.turns.len() {
            return self.try_again(ticket);
        }
        attempts.stage = Stage::Waiting;
        for shard in std::mem::take(&mut attempts.turns) {
            self.post(self.placement[shard.index()], Rare::FoundNothing(shard, ticket));
        }
    }

    /// The first attempt has found nothing: the client is put into the queues of its keys.
    fn begin_waiting(&mut self, index: u32, nothing: Vec<u8>) {
        let Some(session) = self.session(index) else { return };
        session.under_way -= 1;
        let Some(call) = session.blocking.take() else { return };
        let spec = self.table.spec(call.head.command);
        let args = call.args.as_args();
        let (shards, db) = (self.placement.len() as u16, call.head.db);
        let mut keys: Vec<(ShardId, SmallVec<[Place; 2]>)> = Vec::new();
        for at in spec.key_indexes(args).take(sources(spec)) {
            let (shard, place) = (shard_of_key(args.at(at), shards), (db, self.hasher.hash(args.at(at))));
            match keys.iter_mut().find(|(other, _)| *other == shard) {
                Some((_, places)) => places.push(place),
                None => keys.push((shard, SmallVec::from_elem(place, 1))),
            }
        }
        let (deadline, kind) = (deadline(spec, call.as_call(), self.now.unix_ms()), awaited(spec));
        let attempts = Attempts {
            call,
            keys: keys.clone(),
            nothing,
            stage: Stage::Arming(keys.len()),
            turns: Vec::new(),
            turns_seen: 0,
            ended: None,
        };
        let ticket = self.begin_block(index, Server::Core(Box::new(attempts)), deadline);
        for (shard, places) in keys {
            self.post(self.placement[shard.index()], Rare::Wait(shard, ticket, places, kind));
        }
        self.leave_if_at_end(index);
    }

    /// A session whose client has sent its last byte does not wait: nobody is there any more, as in Redis.
    pub(super) fn leave_if_at_end(&mut self, index: u32) {
        if self.session(index).is_some_and(|session| session.at_end && session.blocked.is_some()) {
            self.close(index, true);
        }
    }

    /// A session waits no longer, if it does: its time is up, or it is told so.
    pub(super) fn end_block(&mut self, index: u32, end: End) {
        let core = self.id;
        let Some(session) = self.session(index) else { return };
        let Some(blocked) = session.blocked.as_deref_mut() else { return };
        let ticket = Ticket { core, session: index, slot: blocked.slot };
        match &mut blocked.by {
            Server::Shard(shard) => {
                let shard = *shard;
                self.post(self.placement[shard.index()], Rare::StopWaiting(shard, ticket, end));
            }
            Server::Line => {
                self.post(CoreId(0), Rare::Persist(PersistMail::EndAwait(ticket, end)));
            }
            Server::Core(attempts) if attempts.stage == Stage::Trying => attempts.ended = Some(end),
            Server::Core(attempts) => {
                let reply = end.reply(std::mem::take(&mut attempts.nothing));
                self.end_attempts(ticket, &reply);
            }
        }
    }

    /// A session whose core served it is answered.
    fn end_attempts(&mut self, ticket: Ticket, reply: &[u8]) {
        let Some(attempts) = self.attempts(ticket) else { return };
        let shards: Vec<ShardId> = attempts.keys.iter().map(|(shard, _)| *shard).collect();
        for shard in shards {
            self.post(self.placement[shard.index()], Rare::StopWaiting(shard, ticket, End::Over));
        }
        self.fill(ticket.session, ticket.slot, reply);
    }

    /// Answers the sessions whose time is up.
    pub(super) fn end_due_blocks(&mut self) {
        let now = self.now.unix_ms();
        while let Some(&(deadline, index)) = self.block_deadlines.first() {
            if deadline > now {
                return;
            }
            self.block_deadlines.remove(&(deadline, index));
            self.end_block(index, End::Timeout);
        }
    }

    /// How long it is until the time of something that waits is up, or records have gathered for long enough; at
    /// least 1.
    pub fn us_to_deadline(&self) -> u64 {
        let others = self.us_to_hand_over().min(self.us_to_transfer_deadline());
        let Some((deadline, _)) = self.block_deadlines.first() else { return others };
        let us = i128::from(deadline.0) * 1000 - i128::from(self.now.unix_us);
        u64::try_from(us.max(1)).unwrap_or(u64::MAX).min(others)
    }

    /// CLIENT UNBLOCK: whether this client of this core was blocked.
    pub(super) fn unblock_client(&mut self, id: u64, end: End) -> bool {
        let sessions = self.sessions.iter().position(|session| {
            session.as_deref().is_some_and(|session| session.id.0 == id && session.blocked.is_some())
        });
        let Some(index) = sessions else { return false };
        self.end_block(index as u32, end);
        true
    }
}

/// How many of a command's keys are waited for: of those that move something only the source.
fn sources(spec: &Spec) -> usize {
    match spec.run {
        Run::Shard(_, Spread::Steps(Steps::ListMove)) => 1,
        _ => usize::MAX,
    }
}

/// Until when a command waits. A bad timeout is refused when the command runs.
fn deadline(spec: &Spec, call: Call<'_>, now: UnixMs) -> Option<UnixMs> {
    let args = call.args;
    let is_first = spec.keys.first().is_some_and(|keys| keys.is_counted());
    let at = if is_first { 1 } else { args.len() - 1 };
    timeout::deadline(args.at(at), now).ok().flatten()
}
