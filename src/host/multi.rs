//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! EXEC of commands whose keys are all on one shard of this core runs at once, like any single command, unless a
//! transaction stands against it. Otherwise it is a transaction with a program of many commands. Commands that are no
//! business of any shard run when the data commands have, with the session's own means: what they write for the client
//! is caught and put in its place (`session.exec`).

use super::batch::Flow;
use super::host::{mark_dirty, Host};
use super::mail::Rare;
use super::sessionops::Hello;
use super::txn::{Account, Accounts};
use crate::base::error::CommandError;
use crate::base::ids::ShardId;
use crate::base::key::shard_of_key;
use crate::base::num::parse_i64;
use crate::base::time::Ticks;
use crate::command::spec::{Flags, Run, SessionOp, Spec};
use crate::command::CommandId;
use crate::keyspace::Version;
use crate::resp::{reply, Args, OwnedArgs, Reply};
use crate::session::multi::{Multi, Rest, Watched};
use crate::session::program::{item, Advance, Item, Program};
use crate::session::{State, Wait};
use crate::shard::locks::{Claims, Mode};
use crate::shard::{Call, CallHead, OwnedCall};

/// What EXEC runs where it cannot run at once, and its locks by shard.
type Unready = (Box<Program>, Vec<(ShardId, Claims)>);

const NESTED: CommandError = CommandError::new("ERR MULTI calls can not be nested");
const WATCH_INSIDE: CommandError = CommandError::new("ERR WATCH inside MULTI is not allowed");
const EXEC_WITHOUT: CommandError = CommandError::new("ERR EXEC without MULTI");
const DISCARD_WITHOUT: CommandError = CommandError::new("ERR DISCARD without MULTI");
const NOT_INSIDE: CommandError = CommandError::new("ERR Command not allowed inside a transaction");
const ABORTED: CommandError =
    CommandError::new("EXECABORT Transaction discarded because of previous errors.");

impl<T: Ticks> Host<T> {
    /// Whether this is EXEC.
    pub(super) fn is_exec(&self, command: CommandId) -> bool {
        matches!(self.table.spec(command).run, Run::Session(SessionOp::Exec))
    }

    /// Whether this is the shards' command behind WATCH.
    pub(super) fn is_watch(&self, command: CommandId) -> bool {
        matches!(self.table.spec(command).run, Run::Session(SessionOp::Watch))
    }

    /// The flags of a command; EXEC's are also those of what it runs.
    pub(super) fn flags_of(&self, index: u32, spec: &Spec) -> Flags {
        let Run::Session(SessionOp::Exec) = spec.run else { return spec.flags };
        let session = self.sessions[index as usize].as_deref();
        session
            .and_then(|session| session.multi.as_ref())
            .map_or(spec.flags, |multi| spec.flags.with(multi.flags()))
    }

    /// Queues a request that came after MULTI; `None` if it is one of those that are not queued.
    pub(super) fn enqueue(
        &mut self,
        index: u32,
        command: CommandId,
        spec: &'static Spec,
        args: Args<'_>,
    ) -> Option<Flow> {
        use SessionOp::{Discard, Exec, Multi, Quit, Reset, Watch};
        if matches!(spec.run, Run::Session(Exec | Discard | Multi | Watch | Quit | Reset)) {
            return None;
        }
        if spec.flags.has(Flags::NO_MULTI) {
            return Some(self.refuse(index, Some(command), &NOT_INSIDE));
        }
        let limit = self.config.clients.query_buffer_limit_bytes;
        let session = self.session(index)?;
        let multi = session.multi.as_mut()?;
        multi.push(command, spec, args);
        if multi.memory_bytes() as u64 > limit {
            self.stats.query_buffer_limit_disconnections += 1;
            self.close(index, true);
            return Some(Flow::Stop);
        }
        self.reply(index, |reply| reply.simple("QUEUED"));
        Some(Flow::Next)
    }

    /// The commands of this file.
    ///
    /// # Errors
    /// The refusal, in Redis's words.
    pub(super) fn multi_command(
        &mut self,
        index: u32,
        command: CommandId,
        op: SessionOp,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let Some(session) = self.session(index) else { return Ok(Flow::Next) };
        match op {
            SessionOp::Multi => {
                if session.multi.is_some() {
                    return Err(NESTED);
                }
                session.multi = Some(Box::default());
                session.refresh_lane();
                self.reply_ok(index);
            }
            SessionOp::Discard => {
                if session.multi.is_none() {
                    return Err(DISCARD_WITHOUT);
                }
                self.discard(index);
                self.reply_ok(index);
            }
            SessionOp::Unwatch => {
                self.unwatch(index);
                self.reply_ok(index);
            }
            SessionOp::Watch => {
                if session.multi.is_some() {
                    return Err(WATCH_INSIDE);
                }
                if session.replies.waiting() > 0 {
                    return Ok(self.keep_for(index, Wait::Replies));
                }
                return Ok(self.watch(index, command, args));
            }
            _ => {
                if session.multi.is_none() {
                    return Err(EXEC_WITHOUT);
                }
                if session.replies.waiting() > 0 {
                    return Ok(self.keep_for(index, Wait::Replies));
                }
                return Ok(self.exec(index, command, args));
            }
        }
        Ok(Flow::Next)
    }

    /// Forgets what was queued and what is watched.
    pub(super) fn discard(&mut self, index: u32) {
        if let Some(session) = self.session(index) {
            session.multi = None;
            session.refresh_lane();
        }
        self.unwatch(index);
    }

    /// Watches nothing any more.
    pub(super) fn unwatch(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        let watched = std::mem::take(&mut session.watched);
        self.unwatch_keys(watched);
    }

    fn unwatch_keys(&mut self, watched: Vec<Watched>) {
        let mut by_shard: Vec<(ShardId, Vec<_>)> = Vec::new();
        for Watched { shard, db, hash, .. } in watched {
            match by_shard.iter_mut().find(|(other, _)| *other == shard) {
                Some((_, keys)) => keys.push((db, hash)),
                None => by_shard.push((shard, vec![(db, hash)])),
            }
        }
        for (shard, keys) in by_shard {
            self.post(self.placement[shard.index()], Rare::Unwatch(shard, keys));
        }
    }

    /// As host: a client has ceased to watch keys of one of this core's shards.
    pub(super) fn unwatch_here(
        &mut self,
        shard: ShardId,
        keys: &[(crate::base::ids::DbIndex, crate::base::key::KeyHash)],
    ) {
        let place = self.place_of(shard);
        let observers = self.shards[place].keyspace.observers();
        keys.iter().for_each(|&(db, hash)| observers.unwatch(db, hash));
    }

    /// WATCH: asks the shards for the versions of the keys, and remembers them.
    fn watch(&mut self, index: u32, command: CommandId, args: Args<'_>) -> Flow {
        let Some(session) = self.session(index) else { return Flow::Next };
        let (db, proto) = (session.db, session.proto);
        let is_new = |key: &&[u8]| !session.watched.iter().any(|old| old.db == db && *old.key == **key);
        let mut keys: Vec<&[u8]> = Vec::new();
        for key in args.iter_from(1).filter(is_new) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            self.reply_ok(index);
            return Flow::Next;
        }
        let shards = self.placement.len() as u16;
        let watched = keys.iter().map(|key| Watched {
            shard: shard_of_key(key, shards),
            db,
            key: Box::from(*key),
            hash: self.hasher.hash(key),
            version: Version::default(),
        });
        let watched: Vec<Watched> = watched.collect();
        let internal = self.table.internal("_watch");
        let spec = self.table.spec(internal);
        let Run::Shard(_, spread) = spec.run else { unreachable!("_watch is a command of shards") };
        let words = OwnedArgs::collect(std::iter::once(&b"_watch"[..]).chain(keys));
        let head = CallHead {
            command: internal,
            db,
            proto,
            first_key: watched[0].hash,
            no_touch: true,
            replays: false,
        };
        let call = Call { head, args: words.as_args() };
        if let Some(session) = self.session(index) {
            session.watching = watched;
        }
        // Where they are all at hand and free, no transaction is needed.
        let only = crate::session::coordinator::single_shard(spec, call.args, shards);
        if let Some(place) = only.and_then(|shard| self.local[shard.index()]).map(usize::from) {
            if !self.shards[place].must_wait(spec, call) {
                let mut out = Vec::new();
                let _ = self.shards[place].run(spec, call, self.now, &mut out);
                self.keep_watched(index, &out);
                self.reply_ok(index);
                return Flow::Next;
            }
        }
        let planned = crate::session::coordinator::plan(self.shape(), spec, spread, call);
        let Ok((plan, parts)) = planned else { unreachable!("_watch has nothing to be refused for") };
        let account = Account { command, ..self.account_of(index, call) };
        self.begin_txn(
            Accounts::from_buf([account]),
            Program::command(plan, parts, crate::resp::Proto::Resp2),
            Vec::new(),
        )
    }

    /// The shards have told the versions.
    pub(super) fn end_watch(&mut self, index: u32, versions: &[u8]) {
        self.keep_watched(index, versions);
        if self.session(index).is_some_and(|session| session.state == State::Closed) {
            self.unwatch(index);
        }
        self.end_wait(index, |reply| reply.ok());
    }

    fn keep_watched(&mut self, index: u32, versions: &[u8]) {
        let Some(session) = self.session(index) else { return };
        let watching = std::mem::take(&mut session.watching);
        let versions = reply::elements(versions).map(|version| reply::as_int(version).unwrap_or(0));
        session.watched.extend(
            watching
                .into_iter()
                .zip(versions)
                .map(|(watched, version)| Watched { version: Version(version as u64), ..watched }),
        );
    }

    /// EXEC.
    fn exec(&mut self, index: u32, command: CommandId, args: Args<'_>) -> Flow {
        let Some(session) = self.session(index) else { return Flow::Next };
        let Some(multi) = session.multi.take() else { return Flow::Next };
        session.refresh_lane();
        if multi.aborted {
            self.unwatch(index);
            return self.fail(index, command, &ABORTED);
        }
        if self.gate.out_of_memory && multi.flags().has(Flags::DENYOOM) {
            self.unwatch(index);
            let error = exec_abort(&CommandError::OUT_OF_MEMORY);
            return self.fail(index, command, &error);
        }
        let Some(session) = self.session(index) else { return Flow::Next };
        let (db, proto) = (session.db, session.proto);
        let (no_touch, replays) = (session.no_touch, session.replays);
        let watched = std::mem::take(&mut session.watched);
        let head = CallHead { command, db, proto, first_key: Default::default(), no_touch, replays };
        let items = self.items(index, *multi, head);
        let program = Program::exec(items, proto);
        let flow = match self.exec_here(index, program, &watched) {
            Ok(flow) => flow,
            Err((program, claims)) => {
                let guards = watched.iter().map(|watched| self.guard(watched)).collect();
                let account = self.account_of(index, Call { head, args });
                self.begin_txn_with(Accounts::from_buf([account]), *program, claims, guards)
            }
        };
        // The shards have looked, or will before they hear of this: messages do not overtake each other on the way from
        // here to a shard, but for the sequencer's. A version that nobody keeps any more reads as zero.
        self.unwatch_later(index, watched);
        flow
    }

    /// What EXEC runs, each command with the database that is selected when its turn comes, and with the protocol.
    fn items(&mut self, index: u32, multi: Multi, mut head: CallHead) -> Vec<Item> {
        let databases = self.command_options.databases;
        let mut items = Vec::with_capacity(multi.len());
        for (command, args) in multi.into_calls() {
            let spec = self.table.spec(command);
            if self.attention {
                self.feed_monitors(index, spec, args.as_args());
            }
            let is_of_shards = matches!(spec.run, Run::Shard(..));
            let inner = super::nodeops::answered_by_shards(spec.run, args.as_args());
            head.command = inner.as_ref().map_or(command, |inner| self.internal_command(inner));
            if let Run::Session(SessionOp::Select) = spec.run {
                let number = parse_i64(args.as_args().at(1)).and_then(|number| u16::try_from(number).ok());
                if let Some(number) = number.filter(|number| *number < databases) {
                    head.db = crate::base::ids::DbIndex(number);
                }
            }
            if let Run::Session(SessionOp::Hello) = spec.run {
                if let Ok(Hello { proto: Some(proto), credentials, .. }) = Hello::parse(args.as_args()) {
                    if credentials.is_none_or(|(user, password)| self.is_password(user, password)) {
                        head.proto = proto;
                    }
                }
            }
            if is_of_shards || inner.is_some() {
                self.command_stats[command.index()].record_untracked(0);
            }
            let args = inner.unwrap_or(args);
            items.push(item(self.shape(), head, OwnedCall { head, args }));
        }
        items
    }

    /// Runs EXEC at once if all its data is on one shard of this core and free. Gives the program back if not, and its
    /// claims.
    fn exec_here(&mut self, index: u32, mut program: Program, watched: &[Watched]) -> Result<Flow, Unready> {
        let shard = match (program.only_shard(), watched.first()) {
            (Some(shard), _) => shard,
            (None, Some(watched)) => watched.shard,
            (None, None) => ShardId(0),
        };
        let claims = program.take_claims(self.shape());
        // A reply that waits for the disk, or for another server, is a transaction's.
        let is_held = self.persist.holds && claims.iter().any(|(_, claims)| claims.is_exclusive());
        if is_held || program.ships() {
            return Err((Box::new(program), claims));
        }
        let is_alone = claims.iter().all(|(other, _)| *other == shard)
            && watched.iter().all(|watched| watched.shard == shard);
        let place = self.local[shard.index()].map(usize::from).filter(|_| is_alone);
        let is_free = |place: usize| {
            let shard = &self.shards[place];
            shard.is_calm()
                || !(claims.iter().any(|(_, claims)| shard.must_wait_for(claims))
                    || watched.iter().any(|watched| shard.must_wait_for(&shared(watched))))
        };
        let Some(place) = place.filter(|&place| claims.is_empty() && watched.is_empty() || is_free(place))
        else {
            return if claims.is_empty() && watched.is_empty() {
                self.end_exec(index, program);
                Ok(self.flow_of(index))
            } else {
                Err((Box::new(program), claims))
            };
        };
        let now = self.now;
        let (hasher, keyspace) = (&self.hasher, &mut self.shards[place].keyspace);
        let unchanged = |watched: &Watched| {
            let key = hasher.key_with(&watched.key, watched.hash);
            keyspace.is_unchanged(watched.db, key, now.unix_ms(), watched.version)
        };
        if !watched.iter().all(unchanged) {
            self.reply(index, |reply| reply.null_array());
            return Ok(Flow::Next);
        }
        let mut rng = self.rng.clone();
        let mut replies = Vec::new();
        let journal = &mut self.shards[place].journal;
        let part = journal.new_part();
        journal.enter_part(part);
        // A command that has to be asked of every shard (RANDOMKEY) is one step, though there is only one.
        while let Some(Advance::Step(calls) | Advance::Last(calls)) =
            program.advance(self.shape(), &mut replies, &mut rng)
        {
            let shard = &mut self.shards[place];
            replies = calls.into_iter().map(|(id, calls)| (id, shard.run_all(&calls, now))).collect();
        }
        self.rng = rng;
        let journal = &mut self.shards[place].journal;
        let part = journal.leave_part();
        journal.append_group(part);
        self.serve_waiters(place);
        self.end_exec(index, program);
        Ok(self.flow_of(index))
    }

    fn flow_of(&mut self, index: u32) -> Flow {
        match self.session(index).map(|session| session.state) {
            Some(State::Open) => Flow::Next,
            _ => Flow::Stop,
        }
    }

    /// The call that compares a watched key's version, with its lock.
    fn guard(&self, watched: &Watched) -> (ShardId, Claims, OwnedCall) {
        let version = watched.version.0.to_string();
        let head = CallHead {
            command: self.table.internal("_watched"),
            db: watched.db,
            proto: crate::resp::Proto::Resp2,
            first_key: watched.hash,
            no_touch: true,
            replays: false,
        };
        let args = OwnedArgs::collect([&b"_watched"[..], &watched.key, version.as_bytes()]);
        (watched.shard, shared(watched), OwnedCall { head, args })
    }

    /// Watched keys are let go when EXEC is over: until then their versions are needed.
    fn unwatch_later(&mut self, index: u32, watched: Vec<Watched>) {
        let Some(session) = self.session(index) else { return };
        if session.under_way == 0 || session.exec.is_some() {
            self.unwatch_keys(watched);
        } else {
            session.watched = watched;
        }
    }

    /// EXEC's data commands have run: now the others, then the reply.
    pub(super) fn end_exec(&mut self, index: u32, program: Program) {
        let Some(session) = self.session(index) else { return };
        // Where it was a transaction, the session waited for it.
        let waited = session.under_way > 0;
        if waited {
            session.under_way -= 1;
        }
        self.unwatch(index);
        let Some(session) = self.session(index) else { return };
        match session.state {
            State::Closed => return self.release_session(index),
            State::Waiting(_) => session.state = State::Open,
            State::Open | State::Closing => {}
        }
        let (before, is_silent) = (std::mem::take(&mut session.replies.out), session.is_silent());
        session.exec = Some(Box::new(Rest {
            program,
            at: 0,
            is_running: false,
            is_silent,
            before,
            after: Vec::new(),
            ends: false,
        }));
        self.run_others(index);
        if waited {
            self.runnable.push(index);
        }
    }

    /// Runs EXEC's commands that are no business of any shard, until one of them has to wait or all have run.
    fn run_others(&mut self, index: u32) {
        loop {
            let Some(session) = self.session(index) else { return };
            let Some(rest) = session.exec.as_mut() else { return };
            let Some((at, call)) = rest.program.next_other() else { break };
            rest.at = at;
            rest.is_running = true;
            let command = call.head.command;
            let spec = self.table.spec(command);
            let args = call.args.as_args();
            let _ = match spec.run {
                Run::Session(op) => self.session_command(index, command, op, args),
                Run::Node(op) => self.node_command(index, command, op, args),
                Run::Shard(..) | Run::Container => Flow::Next,
            };
            self.command_stats[command.index()].record_untracked(0);
            let Some(session) = self.session(index) else { return };
            let Some(rest) = session.exec.as_mut() else { return };
            rest.is_running = false;
            if rest.program.has_reply(at) {
                // It had to ask others, who have answered already.
                continue;
            }
            if session.replies.waiting() > 0 && session.state == State::Open {
                session.state = State::Waiting(Wait::Replies);
            }
            match session.state {
                State::Open | State::Closing => self.catch_reply(index),
                State::Waiting(_) | State::Closed => return,
            }
        }
        let Some(session) = self.session(index) else { return };
        let Some(rest) = session.exec.take() else { return };
        let Rest { program, before, after, is_silent, ends, .. } = *rest;
        session.replies.out = before;
        if !is_silent {
            session.replies.push(&program.into_reply());
        }
        session.replies.push(&after);
        if let Some(session) = self.sessions[index as usize].as_deref_mut() {
            session.end_skip();
            mark_dirty(session, index, &mut self.dirty);
        }
        if ends {
            self.close(index, false);
        }
    }

    /// What the command that has just run has written is its reply.
    fn catch_reply(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        let mut reply = std::mem::take(&mut session.replies.out);
        if reply.is_empty() {
            // CLIENT REPLY OFF and SKIP answer nothing, but a place in an array cannot stay empty.
            reply.extend_from_slice(b"+OK\r\n");
        }
        if let Some(rest) = session.exec.as_mut() {
            rest.program.set_reply(rest.at, reply);
        }
    }

    /// A command of EXEC that had to ask others has its answer.
    pub(super) fn end_wait_in_exec(&mut self, index: u32, f: impl FnOnce(&mut Reply<'_>)) {
        let Some(session) = self.session(index) else { return };
        if session.state == State::Closed {
            session.exec = None;
            return self.release_session(index);
        }
        let mut out = Vec::new();
        f(&mut Reply::new(&mut out, session.proto));
        if let State::Waiting(_) = session.state {
            session.state = State::Open;
        }
        let Some(rest) = session.exec.as_mut() else { return };
        rest.program.set_reply(rest.at, out);
        if rest.is_running {
            return;
        }
        self.run_others(index);
        self.runnable.push(index);
    }

    /// The same for one whose reply has come from a shard.
    pub(super) fn filled_in_exec(&mut self, index: u32) {
        self.catch_reply(index);
        if let Some(session) = self.session(index) {
            session.state = State::Open;
        }
        self.run_others(index);
        self.runnable.push(index);
    }
}

/// The lock of a watched key.
fn shared(watched: &Watched) -> Claims {
    Claims::Keys([(watched.hash, Mode::Shared)].into_iter().collect())
}

/// EXEC is refused for this reason, which is told without the code that says nothing.
pub(super) fn exec_abort(error: &CommandError) -> CommandError {
    let reason = error.bytes();
    let reason = reason.strip_prefix(b"ERR ").unwrap_or(reason);
    CommandError::quoting("EXECABORT Transaction discarded because of: ", reason, "")
}
