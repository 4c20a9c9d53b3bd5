//! WAIT and WAITAOF: clients that wait until what was written has come to the append-only file, and to replicas.
//! WAITTOKEN, which names what was written, and WAITFOR, which waits on a replica until that is there.
//!
//! Such a client stands in line on core 0, from wherever it comes; its session is blocked as one that waits for keys
//! is, and ends its wait in the same ways. What it waits for is a *mark*: up to where each shard's records reached when
//! it came. A mark is taken by a transaction over all shards, so that no transaction has one part before it and another
//! behind: a crash that tears one takes what came after it along (`storage::torn`), and must not reach what a client
//! was told of. All that come while one is being taken share the next. It is of the whole node, not of one client's
//! writes: a client waits for those of the others, too. So no command has to remember what it wrote.
//!
//! WAITTOKEN is answered with the mark itself, as far as it is of the streams: a token (`replication::token`). WAITFOR
//! takes no mark; how its token stands is for `replication::tokens` to say.
//!
//! Replicas are counted by the table of replicas (`replication::meetings`), by what they have said of the streams; when
//! a mark is taken for one who waits for them they are asked. As in Redis nobody syncs because of it: `always` and
//! `everysec` do by themselves, and with `no` there is no telling.
//!
//! A replica takes marks for itself: where its own files had come to when it had applied so much. Once that is on the
//! disk it tells its primary (`FACK`, `replication::upstream`), which counts it for WAITAOF.
//!
//! The line is as long as there are clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PersistMail, Persistence};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, ShardId};
use crate::base::num::parse_i64;
use crate::base::time::{Ticks, UnixMs};
use crate::command::spec::SessionOp;
use crate::command::timeout;
use crate::host::batch::Flow;
use crate::host::host::Host;
use crate::host::mail::Rare;
use crate::host::replication::Reader;
use crate::replication::history::{Applied, ReplId};
use crate::replication::token::Token;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::session::blocked::Server;
use crate::session::{State, Wait};
use crate::shard::waiters::End;
use crate::shard::Ticket;

/// The words of Redis where the node is a replica.
const ON_REPLICA: CommandError = CommandError::new(
    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured \
     to be writable (which is not the default) writes to replicas are just local and are not propagated.",
);
const AOF_ON_REPLICA: CommandError = CommandError::new(
    "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and \
     are not propagated.",
);
const TOKEN_ON_REPLICA: CommandError = CommandError::new(
    "ERR WAITTOKEN cannot be used with replica instances. Take the token from the primary, and wait for it here by \
     WAITFOR.",
);
const BAD_TOKEN: CommandError =
    CommandError::new("ERR Invalid token: it is none that WAITTOKEN has returned");
const AOF_OFF: CommandError =
    CommandError::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
const NUMLOCAL_RANGE: CommandError =
    CommandError::new("ERR value is out of range, value must between 0 and 1");

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// That there are copies: WAIT, WAITAOF.
    Copies(Copies),
    /// A token: WAITTOKEN.
    Token,
}

/// How many copies of what was written there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// WAITAOF; else WAIT.
    is_aof: bool,
    /// In how many append-only files of this node it is to be: one or none.
    local: i64,
    /// How many replicas are to have it.
    replicas: i64,
    /// Whether it waits at all: in EXEC it is told how things stand.
    may_wait: bool,
}

/// Up to where each shard's records reached at one moment.
#[derive(Debug)]
struct Mark {
    /// As positions in its append-only file: zero where there is none, since the base of the one that comes has
    /// everything that was before it.
    positions: Vec<u64>,
    /// As positions in its stream.
    stream: Vec<u64>,
}

#[derive(Debug)]
struct Waiting {
    need: Need,
    /// None before it is taken.
    mark: Option<Arc<Mark>>,
}

/// On core 0: those who wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<Ticket, Waiting>,
    /// Those of them whose mark is still to be taken.
    unmarked: Vec<Ticket>,
    /// Those who wait for what a token names.
    readers: BTreeMap<Ticket, Reader>,
    taking: Option<Taking>,
    /// What of its primary's streams this replica has applied, and is to be known on the disk: wanted, and marked.
    own_wanted: Option<Applied>,
    own: Option<(Applied, Arc<Mark>)>,
    /// A session without a client, whose transactions take marks.
    session: Option<u32>,
}

/// A mark that is being taken.
#[derive(Debug)]
struct Taking {
    mark: Mark,
    /// The name of the data's history when it began.
    history: ReplId,
    /// Whether the append-only file has ended meanwhile.
    is_of_old_file: bool,
    /// Shards that have not told theirs.
    missing: usize,
    /// Who waits for it.
    tickets: Vec<Ticket>,
    /// What this replica had applied when it began, if it is for that, too.
    own: Option<Applied>,
}

impl Need {
    /// Whether replicas are to say at once how far they are, and whether also how far their files are.
    fn asks_replicas(&self) -> (bool, bool) {
        match self {
            Need::Copies(copies) if copies.replicas > 0 => (true, copies.is_aof),
            _ => (false, false),
        }
    }
}

impl Copies {
    fn reply(self, local: i64, replicas: i64) -> Vec<u8> {
        bytes_of(|reply| {
            if self.is_aof {
                reply.array(2);
                reply.int(local);
            }
            reply.int(replicas);
        })
    }
}

/// A reply.
pub(in crate::host) fn bytes_of(write: impl FnOnce(&mut Reply<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Reply::new(&mut out, Default::default()));
    out
}

/// One that refuses.
pub(in crate::host) fn refusal(error: &CommandError) -> Vec<u8> {
    bytes_of(|reply| reply.error(error.bytes()))
}

impl Persistence {
    /// Whether everything before a mark is on this node's disk.
    fn is_local(&self, mark: &Mark) -> bool {
        let is_in_force = self.shards.iter().any(|files| files.is_in_force);
        is_in_force && mark.positions.iter().zip(&self.synced).all(|(position, synced)| position <= synced)
    }
}

impl<T: Ticks> Host<T> {
    /// How many replicas have everything before a mark; of WAITAOF, in their append-only files.
    fn replicas_with(&self, mark: &Mark, need: Copies) -> i64 {
        self.replication.conducting.as_ref().map_or(0, |conducting| match need.is_aof {
            true => conducting.meetings.have_synced(&mark.stream) as i64,
            false => conducting.meetings.have(&mark.stream) as i64,
        })
    }

    /// How things stand: in how many append-only files of this node, and on how many replicas, all is that was before.
    fn standing(&self, mark: &Mark, need: Copies) -> (i64, i64) {
        (i64::from(self.persist.is_local(mark)), self.replicas_with(mark, need))
    }

    /// WAIT, WAITAOF, WAITTOKEN, WAITFOR.
    pub(in crate::host) fn wait_command(
        &mut self,
        index: u32,
        op: SessionOp,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let Some(session) = self.session(index) else { return Ok(Flow::Next) };
        // What was written before has happened only then.
        if session.replies.waiting() > 0 {
            return Ok(self.keep_for(index, Wait::Replies));
        }
        let may_wait = session.exec.is_none();
        let mail = match op {
            SessionOp::Waittoken if self.replication.is_replica => return Err(TOKEN_ON_REPLICA),
            SessionOp::Waittoken => PersistMail::Await(self.begin_wait(index, false, None), Need::Token),
            SessionOp::Waitfor => {
                let token = Token::parse(args.at(1)).ok_or(BAD_TOKEN)?;
                let deadline = timeout::deadline_ms(args.at(2), self.now.unix_ms())?;
                PersistMail::Read(self.begin_wait(index, may_wait, deadline), token, may_wait)
            }
            _ => {
                let (copies, deadline) = self.copies_wanted(op, args, may_wait)?;
                PersistMail::Await(self.begin_wait(index, may_wait, deadline), Need::Copies(copies))
            }
        };
        self.post(CoreId(0), Rare::Persist(mail));
        self.leave_if_at_end(index);
        Ok(match self.session(index).map(|session| session.state) {
            Some(State::Open) => Flow::Next,
            _ => Flow::Stop,
        })
    }

    /// The reply comes later: as that of a client which is blocked until then, or in its place among others.
    fn begin_wait(&mut self, index: u32, blocks: bool, deadline: Option<UnixMs>) -> Ticket {
        if blocks {
            return self.begin_block(index, Server::Line, deadline);
        }
        let core = self.id;
        let slot = self.session(index).map(|session| session.replies.reserve(session.is_silent()));
        Ticket { core, session: index, slot: slot.unwrap_or_default() }
    }

    /// What WAIT and WAITAOF ask for, and until when.
    fn copies_wanted(
        &self,
        op: SessionOp,
        args: Args<'_>,
        may_wait: bool,
    ) -> Result<(Copies, Option<UnixMs>), CommandError> {
        if op == SessionOp::Wait && self.replication.is_replica {
            return Err(ON_REPLICA);
        }
        let integer = |at: usize| parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
        let mut need = Copies { is_aof: op == SessionOp::Waitaof, local: 0, replicas: 0, may_wait };
        if need.is_aof {
            need.local = Some(integer(1)?).filter(|local| matches!(local, 0 | 1)).ok_or(NUMLOCAL_RANGE)?;
            need.replicas =
                Some(integer(2)?).filter(|&count| count >= 0).ok_or(CommandError::POSITIVE_RANGE)?;
        } else {
            need.replicas = integer(1)?;
        }
        let deadline = timeout::deadline_ms(args.at(args.len() - 1), self.now.unix_ms())?;
        if self.replication.is_replica {
            return Err(AOF_ON_REPLICA);
        }
        if need.local > 0 && !self.config.persistence.appendonly {
            return Err(AOF_OFF);
        }
        Ok((need, deadline))
    }

    /// Core 0: a client stands in line.
    pub(super) fn stand_in_line(&mut self, ticket: Ticket, need: Need) {
        let is_on = self.persist.conducting.as_ref().is_some_and(|conducting| conducting.set.is_some());
        let replication = self.replication.conducting.as_ref();
        let has_replicas =
            replication.is_some_and(|conducting| conducting.meetings.replicas().next().is_some());
        // Where nobody has anything there is nothing to be marked.
        let is_marked = match &need {
            Need::Copies(copies) => copies.is_aof && is_on || copies.replicas > 0 || has_replicas,
            Need::Token => true,
        };
        let mark = (!is_marked).then(|| self.zero_mark());
        let Some(line) = &mut self.persist.line else { return };
        if is_marked {
            line.unmarked.push(ticket);
        }
        line.waiting.insert(ticket, Waiting { need, mark });
        self.take_mark();
        self.look_at_line();
    }

    /// Core 0: a client waits for what a token names.
    pub(super) fn begin_reading(&mut self, ticket: Ticket, token: Token, may_wait: bool) {
        let unheard = if may_wait { 0 } else { self.hear_all_flows() };
        if let Some(line) = &mut self.persist.line {
            line.readers.insert(ticket, Reader { token, may_wait, unheard });
        }
        self.look_at_readers();
    }

    /// Core 0: those who wait for what a token names.
    pub(in crate::host) fn readers(&self) -> impl Iterator<Item = (Ticket, &Reader)> {
        let lines = self.persist.line.iter();
        lines.flat_map(|line| line.readers.iter().map(|(&ticket, reader)| (ticket, reader)))
    }

    /// Core 0: the same, to be changed.
    pub(in crate::host) fn readers_mut(&mut self) -> impl Iterator<Item = &mut Reader> {
        self.persist.line.iter_mut().flat_map(|line| line.readers.values_mut())
    }

    /// Takes a mark for those who have none.
    fn take_mark(&mut self) {
        let shards = self.placement.len();
        let Some(line) = &mut self.persist.line else { return };
        let own = line.own_wanted.take_if(|_| line.own.is_none() && line.taking.is_none());
        if line.taking.is_some() || line.unmarked.is_empty() && own.is_none() {
            return;
        }
        let tickets = std::mem::take(&mut line.unmarked);
        let history = self.replication.conducting.as_ref().map_or(ReplId::NONE, |c| c.history.id);
        let mark = Mark { positions: vec![0; shards], stream: vec![0; shards] };
        line.taking = Some(Taking { mark, history, is_of_old_file: false, missing: shards, tickets, own });
        let session = match line.session {
            Some(session) => session,
            None => {
                let session = self.connect_own();
                if let Some(line) = &mut self.persist.line {
                    line.session = Some(session);
                }
                session
            }
        };
        self.ask_every_shard(session, &OwnedArgs::collect([&b"_mark"[..]]));
    }

    /// A shard of this core is marked in the step that has just run.
    pub(super) fn mark_here(&mut self, place: usize) {
        let shard = self.shards[place].id();
        let pending = self.shards[place].journal.pending().len();
        let position = self.persist.position_of(place, pending);
        let stream = self.replication.streams.get_mut(place).map_or(0, |stream| {
            stream.hurry();
            stream.end() + pending as u64
        });
        let files = &mut self.persist.shards[place];
        files.marked = files.marked.max(position);
        let synced = files.aof.as_ref().map_or(0, |aof| aof.synced());
        self.post(CoreId(0), Rare::Persist(PersistMail::Marked(shard, [position, synced, stream])));
    }

    /// Core 0: a shard has told up to where it reached.
    pub(super) fn take_shard_mark(&mut self, shard: ShardId, [position, synced, stream]: [u64; 3]) {
        self.persist.synced[shard.index()] = synced;
        let Some(taking) = self.persist.line.as_mut().and_then(|line| line.taking.as_mut()) else { return };
        taking.mark.positions[shard.index()] = position;
        taking.mark.stream[shard.index()] = stream;
        taking.missing -= 1;
        self.look_at_mark();
    }

    /// Core 0: whether the mark is taken, and its transaction over; to be called at the end of a pass.
    pub(super) fn look_at_mark(&mut self) {
        let Some(line) = &self.persist.line else { return };
        let (Some(Taking { missing: 0, .. }), Some(index)) = (&line.taking, line.session) else { return };
        let Some(session) = self.session(index) else { return };
        if session.state != State::Open || session.replies.out.is_empty() {
            return;
        }
        session.replies.out.clear();
        let Some(line) = &mut self.persist.line else { return };
        let Some(Taking { mut mark, history, tickets, own, is_of_old_file, .. }) = line.taking.take() else {
            return;
        };
        if is_of_old_file {
            mark.positions.fill(0);
        }
        let mark = Arc::new(mark);
        line.own = own.map(|applied| (applied, mark.clone())).or(line.own.take());
        let (mut asks, mut asks_synced, mut tokens) = (false, false, Vec::new());
        for ticket in tickets {
            // It may have gone meanwhile.
            if let Some(waiting) = line.waiting.get_mut(&ticket) {
                waiting.mark = Some(mark.clone());
                let (is_asking, is_aof) = waiting.need.asks_replicas();
                (asks, asks_synced) = (asks | is_asking, asks_synced | is_aof);
                tokens.extend((waiting.need == Need::Token).then_some(ticket));
            }
        }
        let token = match self.replication.is_replica {
            true => refusal(&TOKEN_ON_REPLICA),
            false => {
                let token = Token { id: history, at: mark.stream.as_slice().into() };
                bytes_of(|reply| reply.bulk(token.to_string().as_bytes()))
            }
        };
        for ticket in tokens {
            self.leave_line(ticket, token.clone());
        }
        self.look_at_line();
        if asks {
            self.ask_for_acks(&mark.stream, asks_synced);
        }
        self.take_mark();
    }

    /// Core 0: who need wait no longer?
    pub(in crate::host) fn look_at_line(&mut self) {
        let is_on = self.config.persistence.appendonly;
        let Some(line) = &self.persist.line else { return };
        let mut done = Vec::new();
        for (&ticket, waiting) in &line.waiting {
            let reply = match (&waiting.need, &waiting.mark) {
                (Need::Copies(copies), _) if copies.local > 0 && !is_on => Some(refusal(&AOF_OFF)),
                (Need::Copies(copies), Some(mark)) => {
                    let (local, replicas) = self.standing(mark, *copies);
                    let is_enough = local >= copies.local && replicas >= copies.replicas;
                    (!copies.may_wait || is_enough).then(|| copies.reply(local, replicas))
                }
                (Need::Copies(_) | Need::Token, _) => None,
            };
            done.extend(reply.map(|reply| (ticket, reply)));
        }
        let is_synced = line.own.as_ref().is_some_and(|(_, mark)| self.persist.is_local(mark));
        for (ticket, reply) in done {
            self.leave_line(ticket, reply);
        }
        let own = self.persist.line.as_mut().and_then(|line| line.own.take_if(|_| is_synced));
        if let Some((applied, _)) = own {
            self.is_synced_here(applied);
            self.take_mark();
        }
    }

    /// Core 0 of a replica: once what it has applied is on its disk, that is to be known.
    pub(in crate::host) fn mark_applied(&mut self, applied: Applied) {
        if let Some(line) = self.persist.line.as_mut().filter(|_| self.config.persistence.appendonly) {
            line.own_wanted = Some(applied);
            self.take_mark();
        }
    }

    /// Core 0 of a replica: what it had applied is of no more interest.
    pub(in crate::host) fn forget_applied_marks(&mut self) {
        let Some(line) = &mut self.persist.line else { return };
        (line.own_wanted, line.own) = (None, None);
        if let Some(taking) = &mut line.taking {
            taking.own = None;
        }
    }

    /// Core 0: a client waits no longer. If its time is up it is told how things stand.
    pub(super) fn end_in_line(&mut self, ticket: Ticket, end: End) {
        let Some(line) = &self.persist.line else { return };
        let nothing = match line.waiting.get(&ticket) {
            Some(Waiting { need: Need::Copies(copies), mark }) => {
                let standing = mark.as_ref().map(|mark| self.standing(mark, *copies));
                let (local, replicas) = standing.unwrap_or_default();
                copies.reply(local, replicas)
            }
            _ if line.readers.contains_key(&ticket) => bytes_of(|reply| reply.int(0)),
            _ => return,
        };
        // Also where nobody is there any more: the session is kept for as long as a reply is to come.
        self.leave_line(ticket, end.reply(nothing));
    }

    /// Core 0: a client is answered.
    pub(in crate::host) fn leave_line(&mut self, ticket: Ticket, reply: Vec<u8>) {
        if let Some(line) = &mut self.persist.line {
            line.waiting.remove(&ticket);
            line.readers.remove(&ticket);
        }
        self.post(ticket.core, Rare::Late(ticket, reply, None));
    }

    /// Core 0: the append-only file ends. Its positions mean nothing to the next one.
    pub(super) fn forget_marks(&mut self) {
        self.forget_synced();
        let Some(line) = &mut self.persist.line else { return };
        if let Some(taking) = &mut line.taking {
            taking.is_of_old_file = true;
        }
        for mark in line.waiting.values_mut().filter_map(|waiting| waiting.mark.as_mut()) {
            *mark = Arc::new(Mark { positions: vec![0; mark.positions.len()], stream: mark.stream.clone() });
        }
    }

    fn zero_mark(&self) -> Arc<Mark> {
        let zeros = vec![0; self.placement.len()];
        Arc::new(Mark { positions: zeros.clone(), stream: zeros })
    }
}
