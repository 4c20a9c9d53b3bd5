//! The request path: what a pass received, run as one batch.
//!
//! Three waves over all requests of all connections: decode and ask the memory for each key's bucket; ask for the
//! entries; run. By the time a request runs its cache lines are there (DESIGN.md, section 1: memory-level parallelism
//! is the biggest lever).
//!
//! The short way is for requests that need no second look: a command with one key, of the right arity, from a session
//! in its normal state. Everything else goes through `request`, in the same order.
//!
//! Commands over several shards that a session sends one after the other are begun together (`txn`), with the last of
//! them.
//!
//! Invariant: requests of one session run, or are sent to their shards, in the order in which they came. Where a
//! session has to wait, the bytes from its first request that did not run go to its `Input`, and later bytes behind
//! them.

use super::host::{mark_dirty, Effect, Host, INPUT_HIGH_BYTES, OUTPUT_HIGH_BYTES};
use super::mail::Rare;
use super::memory::Room;
use super::multi::exec_abort;
use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::{shard_of_key, KeyHash};
use crate::base::time::Ticks;
use crate::command::generic::cursor_shard;
use crate::command::spec::{Flags, Run, Spec, Spread};
use crate::command::CommandId;
use crate::keyspace::Touch;
use crate::node::slowlog::trimmed;
use crate::resp::decode::{decode, split_quoted, Limits, Progress, ProtocolError, Step};
use crate::resp::{Args, OwnedArgs, Reply, Span};
use crate::session::coordinator::single_shard;
use crate::session::session::ReplyMode;
use crate::session::{admit, Input, SessionKind, State, Wait};
use crate::shard::shard::is_global;
use crate::shard::{Call, CallHead, Ticket};

/// Bytes that a connection has brought.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Whose they are.
    pub session: u32,
    /// All of them are taken.
    pub bytes: &'a [u8],
}

/// How many requests are run as one batch at most: their bookkeeping stays within the first-level cache, and there is
/// more than enough for the memory to do.
const BATCH_REQUESTS_MAX: usize = 256;

/// How many requests of one client may be at other cores at a time: their replies are not known to be small.
pub(super) const FORWARDED_MAX: u32 = 1024;

/// The requests being gathered. Kept between passes for its memory only.
#[derive(Debug, Default)]
pub struct Batch {
    requests: Vec<Request>,
    spans: Vec<Span>,
    sources: Vec<Source>,
    /// Whether one of the requests works on a collection of this core.
    is_deep: bool,
    /// What a session's own buffer has left over when the batch has run.
    leftover: Option<Tail>,
}

/// A stretch of requests of one session.
#[derive(Debug)]
struct Source {
    session: u32,
    /// Which of the received pieces it is.
    piece: u32,
    /// Whether the bytes are the session's own buffer, which is not to be copied.
    own: bool,
    /// The session's database and whether it had authenticated, when the source was opened.
    db: DbIndex,
    authenticated: bool,
    /// Where the first request begins that did not run, once the session had to stop.
    stop: Option<u32>,
    /// The request at the end that is not complete.
    tail: Option<Tail>,
}

#[derive(Debug)]
struct Tail {
    start: usize,
    progress: Progress,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    source: u32,
    first_span: u32,
    argc: u32,
    start: u32,
    end: u32,
    command: CommandId,
    /// On the short way: whose shard it is. Else meaningless.
    shard: ShardId,
    way: Way,
    hash: KeyHash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One key, right arity, hosted here at this place.
    Here(u16),
    /// The same on another core.
    There,
    /// Anything else.
    Long,
}

/// What became of the source that a batch was gathered from last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// All its requests have run.
    Open,
    /// One had to wait or was its last: what follows it has been kept.
    Stopped,
}

/// Whether a session's next request may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It may.
    Next,
    /// This one could not run yet: it and what follows is kept.
    Keep,
    /// This one has run or runs; what follows is kept.
    Stop,
}

impl<T: Ticks> Host<T> {
    /// Takes what the sockets have brought, oldest first, and runs what can run.
    pub fn receive(&mut self, pieces: &[Received<'_>]) {
        self.stats.reads += pieces.len() as u64;
        for (at, piece) in pieces.iter().enumerate() {
            let Some(session) = self.sessions[piece.session as usize].as_deref_mut() else { continue };
            session.active = self.now.mono;
            self.stats.net_input_bytes += piece.bytes.len() as u64;
            if session.state == State::Open && session.input.is_empty() && !session.in_batch {
                self.gather(pieces, at as u32, Input::default(), false);
            } else if session.kind == SessionKind::Outgoing {
                self.flush(pieces);
                self.received_on_link(piece.session, piece.bytes);
            } else if session.kind == SessionKind::Feed {
                // It has nothing to say.
            } else {
                // What is gathered comes first; then these bytes go behind those that wait.
                self.flush(pieces);
                self.keep(piece.session, piece.bytes);
                self.pump(piece.session);
            }
        }
        self.flush(pieces);
    }

    /// Takes what the server itself asks of a session without a client.
    pub(super) fn receive_internal(&mut self, session: u32, bytes: &[u8]) {
        debug_assert!(self.batch.sources.is_empty(), "a batch is being gathered");
        self.receive(&[Received { session, bytes }]);
    }

    /// Decodes a piece into the batch, running the batch whenever it is full. `before` tells how far its first
    /// request had been decoded already; `own` that the bytes are the session's own buffer.
    fn gather(&mut self, pieces: &[Received<'_>], piece: u32, before: Input, own: bool) {
        let Received { session: index, bytes } = pieces[piece as usize];
        let Input { mut progress, spans: before, .. } = before;
        let mut start = 0;
        let mut source = self.open_source(index, piece, own);
        let mut first_span = self.batch.spans.len();
        if first_span == 0 {
            // A request of a million arguments comes in many pieces: its spans are not to be copied at each.
            self.batch.spans = before;
        } else {
            self.batch.spans.extend_from_slice(&before);
        }
        loop {
            let authenticated = self.batch.sources[source as usize].authenticated;
            let bulk_bytes_max = self.config.clients.proto_max_bulk_len_bytes;
            let limits = Limits { bulk_bytes_max, authenticated };
            match decode(bytes, start, &mut progress, &mut self.batch.spans, limits) {
                Ok(Step::Complete(end)) => {
                    let argc = (self.batch.spans.len() - first_span) as u32;
                    if argc > 0 {
                        self.add(source, bytes, first_span as u32, argc, start as u32, end as u32);
                    }
                    start = end;
                    progress = Progress::default();
                    first_span = self.batch.spans.len();
                    // What a stranger sends is read by other rules once it has authenticated.
                    let is_full = self.batch.requests.len() >= BATCH_REQUESTS_MAX || !authenticated;
                    if is_full && start < bytes.len() {
                        if self.flush(pieces) == Last::Stopped {
                            return;
                        }
                        source = self.open_source(index, piece, own);
                        first_span = 0;
                    }
                }
                Ok(Step::Quoted(line, end)) => {
                    if self.flush(pieces) == Last::Stopped {
                        return;
                    }
                    if !self.quoted(index, line.of(bytes), &bytes[end..]) {
                        return;
                    }
                    start = end;
                    progress = Progress::default();
                    source = self.open_source(index, piece, own);
                    first_span = 0;
                }
                Ok(Step::Incomplete) => {
                    if start < bytes.len() {
                        let spans = match (first_span, start) {
                            (0, 0) => std::mem::take(&mut self.batch.spans),
                            _ => {
                                let spans = self.batch.spans.drain(first_span..);
                                spans.map(|span| span.earlier(start as u32)).collect()
                            }
                        };
                        self.batch.sources[source as usize].tail = Some(Tail { start, progress, spans });
                    }
                    return;
                }
                Err(error) => {
                    if self.flush(pieces) == Last::Open {
                        self.protocol_error(index, error);
                    }
                    return;
                }
            }
        }
    }

    fn open_source(&mut self, session: u32, piece: u32, own: bool) -> u32 {
        let (mut db, mut authenticated) = (DbIndex::default(), false);
        if let Some(session) = self.sessions[session as usize].as_deref_mut() {
            session.in_batch = true;
            (db, authenticated) = (session.db, session.authenticated);
        }
        self.batch.sources.push(Source { session, piece, own, db, authenticated, stop: None, tail: None });
        self.batch.sources.len() as u32 - 1
    }

    /// First wave: finds the command, hashes the key, asks for its bucket.
    #[inline]
    fn add(&mut self, source: u32, bytes: &[u8], first_span: u32, argc: u32, start: u32, end: u32) {
        let spans = &self.batch.spans[first_span as usize..];
        let command = self.table.find(spans[0].of(bytes)).unwrap_or(CommandId::NONE);
        let mut request = Request {
            source,
            first_span,
            argc,
            start,
            end,
            command,
            shard: ShardId(0),
            way: Way::Long,
            hash: KeyHash(0),
        };
        if command != CommandId::NONE {
            let spec = self.table.spec(command);
            if self.table.is_short(command) && spec.takes(argc as usize) {
                let key = spans[1].of(bytes);
                request.hash = self.hasher.hash(key);
                request.shard = shard_of_key(key, self.placement.len() as u16);
                request.way = match self.local[request.shard.index()] {
                    None => Way::There,
                    Some(place) => {
                        let db = self.batch.sources[source as usize].db;
                        self.shards[usize::from(place)].keyspace.prefetch_bucket(db, request.hash);
                        self.batch.is_deep |= self.table.is_deep(command);
                        Way::Here(place)
                    }
                };
            }
        }
        self.batch.requests.push(request);
    }

    /// Second and third wave: asks for the entries, then runs the requests in order; empties the batch. What became
    /// of the source that was opened last.
    fn flush(&mut self, pieces: &[Received<'_>]) -> Last {
        let mut batch = std::mem::take(&mut self.batch);
        if batch.requests.len() > 1 {
            for request in &batch.requests {
                if let Way::Here(place) = request.way {
                    let db = batch.sources[request.source as usize].db;
                    self.shards[usize::from(place)].keyspace.prefetch_entry(db, request.hash);
                }
            }
            if std::mem::take(&mut batch.is_deep) {
                self.prefetch_collections(&batch);
            }
        }
        let mut before = self.ticks.ticks();
        for (at, request) in batch.requests.iter().enumerate() {
            let source = &mut batch.sources[request.source as usize];
            if source.stop.is_some() {
                continue;
            }
            let bytes = pieces[source.piece as usize].bytes;
            let spans = &batch.spans[request.first_span as usize..][..request.argc as usize];
            let args = Args::new(bytes, spans);
            let mut flow = self.run(source.session, request, args, &mut before);
            let is_last = batch.requests.get(at + 1).is_none_or(|next| next.source != request.source);
            if is_last && self.gathered.is_some() {
                debug_assert_eq!(flow, Flow::Next, "what cannot run begins what was gathered");
                flow = self.begin_gathered();
            }
            self.stats.commands_processed += 1;
            match flow {
                Flow::Next => {}
                Flow::Keep => {
                    self.stats.commands_processed -= 1;
                    source.stop = Some(request.start);
                }
                Flow::Stop => source.stop = Some(request.end),
            }
        }
        let last = match batch.sources.last() {
            Some(Source { stop: Some(_), .. }) => Last::Stopped,
            Some(_) | None => Last::Open,
        };
        for source in batch.sources.drain(..) {
            self.close_source(source, pieces);
        }
        batch.requests.clear();
        batch.spans.clear();
        // What was left over now stands in the stand-in; what was before, in an earlier part of the buffer, stays.
        batch.leftover = self.batch.leftover.take().or(batch.leftover);
        self.batch = batch;
        last
    }

    /// The wave between the second and the third, for commands on collections: asks for what the entries point to.
    fn prefetch_collections(&self, batch: &Batch) {
        for request in &batch.requests {
            if let Way::Here(place) = request.way {
                if self.table.is_deep(request.command) {
                    let db = batch.sources[request.source as usize].db;
                    self.shards[usize::from(place)].keyspace.prefetch_collection(db, request.hash);
                }
            }
        }
    }

    /// Keeps what a source has left over, and puts its session on the list of those with output.
    fn close_source(&mut self, source: Source, pieces: &[Received<'_>]) {
        let Source { session: index, piece, own, stop, tail, .. } = source;
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.in_batch = false;
        mark_dirty(session, index, &mut self.dirty);
        let tail = match stop {
            Some(stop) => {
                Some(Tail { start: stop as usize, progress: Progress::default(), spans: Vec::new() })
            }
            None => tail,
        };
        let Some(tail) = tail else { return };
        if own {
            self.batch.leftover = Some(tail);
            return;
        }
        let Tail { start, progress, spans } = tail;
        self.keep(index, &pieces[piece as usize].bytes[start..]);
        if let Some(session) = self.sessions[index as usize].as_deref_mut() {
            session.input.progress = progress;
            session.input.spans = spans;
        }
    }

    /// Runs one request.
    #[inline]
    fn run(&mut self, index: u32, request: &Request, args: Args<'_>, before: &mut u64) -> Flow {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        let is_fast = session.fast;
        let is_long = request.way == Way::Long || !is_fast || self.attention || self.gathered.is_some();
        let replays = session.replays;
        if is_long || self.needs_room(request.command) || self.refuses_writes(request.command) && !replays {
            let flow = self.request(index, args);
            *before = self.ticks.ticks();
            return flow;
        }
        let spec = self.table.spec(request.command);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        session.last_command = request.command;
        let head = CallHead {
            command: request.command,
            db: session.db,
            proto: session.proto,
            first_key: request.hash,
            no_touch: session.no_touch,
            replays: session.replays,
        };
        match request.way {
            Way::Here(place) => {
                let shard = &mut self.shards[usize::from(place)];
                let call = Call { head, args };
                if !shard.is_calm() && shard.must_wait(spec, call) {
                    let slot = session.replies.reserve(false);
                    let ticket = Ticket { core: self.id, session: index, slot };
                    shard.defer(ticket, call);
                    return Flow::Next;
                }
                shard.keyspace.set_touch(touch(session.no_touch));
                let recorded = shard.journal.pending().len();
                let out = session.replies.writer();
                let start = out.len();
                let result = shard.run(spec, call, self.now, out);
                let has_ready = shard.has_ready();
                if self.persist.holds && shard.journal.pending().len() > recorded {
                    self.hold_here(index, usize::from(place), start);
                } else {
                    session.replies.wrote(start);
                }
                let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
                let over = session.replies.pending_bytes() > OUTPUT_HIGH_BYTES;
                let after = self.ticks.ticks();
                let took = after.wrapping_sub(*before);
                *before = after;
                let stats = &mut self.command_stats[request.command.index()];
                stats.record_as(self.ticks.to_ns(took), self.tracks_latency);
                if let Err(error) = result {
                    stats.failed += 1;
                    self.error_stats.count(&error);
                }
                if took >= self.slow_ticks {
                    self.log_slow(index, spec, args, self.ticks.to_ns(took) / 1000);
                }
                if has_ready {
                    self.serve_waiters(usize::from(place));
                }
                if over {
                    return self.output_full(index);
                }
                Flow::Next
            }
            Way::There | Way::Long => self.forward(index, request.shard, head, args),
        }
    }

    /// Whether the command writes, and clients may not.
    #[inline]
    fn refuses_writes(&self, command: CommandId) -> bool {
        (self.gate.is_read_only_replica || self.gate.lacks_replicas) && self.table.spec(command).is_write()
    }

    /// Sends a request to the core of its shard.
    #[inline]
    fn forward(&mut self, index: u32, shard: ShardId, head: CallHead, args: Args<'_>) -> Flow {
        let core = self.placement[shard.index()];
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        let outbox = &mut self.outboxes[core.index()];
        if session.replies.pending_bytes() > OUTPUT_HIGH_BYTES || session.replies.waiting() >= FORWARDED_MAX {
            return self.owed_too_much(index);
        }
        if !outbox.has_room() {
            return self.outbox_full(index);
        }
        let parcel = outbox.open.get_or_insert_with(|| self.parcels.pop().unwrap_or_default());
        let slot = session.replies.reserve(session.is_silent());
        parcel.push(Call { head, args }, shard, index, slot);
        self.stats.forwarded += 1;
        Flow::Next
    }

    #[cold]
    pub(super) fn outbox_full(&mut self, index: u32) -> Flow {
        if let Some(session) = self.sessions[index as usize].as_deref_mut() {
            session.state = State::Waiting(Wait::Outbox);
            self.outbox_waiters.push(index);
        }
        Flow::Keep
    }

    /// A request of a client that is owed too much already: it is kept.
    #[cold]
    pub(super) fn owed_too_much(&mut self, index: u32) -> Flow {
        self.output_full(index);
        Flow::Keep
    }

    /// The client is owed more than it should be: it reads first. What stands behind an outstanding reply cannot
    /// leave, so that reply is waited for before.
    #[cold]
    fn output_full(&mut self, index: u32) -> Flow {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        if session.state != State::Open {
            return Flow::Next;
        }
        session.state = State::Waiting(session.wait_for_output());
        Flow::Stop
    }

    /// The long way: every check, every kind of command.
    pub(super) fn request(&mut self, index: u32, args: Args<'_>) -> Flow {
        let before = self.ticks.ticks();
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        if session.state != State::Open {
            // Another session of this batch has ended this one (CLIENT KILL).
            return Flow::Keep;
        }
        if self.gathered.is_some() && !self.joins_gathered(args) && self.begin_gathered() != Flow::Next {
            return Flow::Keep;
        }
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        if session.reply_mode == ReplyMode::SkipNext {
            session.reply_mode = ReplyMode::Skip;
        }
        let is_own = session.kind == SessionKind::Internal;
        let found = match is_own && args.at(0).starts_with(b"_") {
            true => Ok(self.table.internal(&String::from_utf8_lossy(args.at(0)))),
            false => admit::find(&self.table, args),
        };
        let command = match found {
            Ok(command) => command,
            Err(error) => {
                let aborted = session.multi.as_ref().is_some_and(|multi| multi.aborted);
                let flow = self.refuse(index, None, &error);
                let multi = self.session(index).and_then(|session| session.multi.as_mut());
                if let Some(multi) = multi.filter(|_| admit::spares_transaction(args)) {
                    multi.aborted = aborted;
                }
                return flow;
            }
        };
        let spec = self.table.spec(command);
        let flags = self.flags_of(index, spec);
        let room = self.make_room(flags);
        self.gate.out_of_memory = room == Room::None;
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        if let Err(error) = admit::admit(spec, args, flags, session, &self.gate) {
            if self.begin_gathered() != Flow::Next {
                return Flow::Keep;
            }
            let error = self.explain_refusal(error);
            return self.refuse(index, Some(command), &error);
        }
        if room == Room::Later {
            return self.keep_for_memory(index);
        }
        if self.attention && self.is_paused(flags) {
            return self.keep_for(index, Wait::Pause);
        }
        if self.persist.flooded > 0 && flags.has(Flags::WRITE) {
            return self.keep_for(index, Wait::Disk);
        }
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        session.last_command = command;
        if session.multi.is_some() {
            if let Some(flow) = self.enqueue(index, command, spec, args) {
                return flow;
            }
        }
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        let flow = match spec.run {
            Run::Shard(_, spread) => self.data_command(index, command, spec, spread, args),
            Run::Session(op) => self.session_command(index, command, op, args),
            Run::Node(op) => {
                if session.replies.waiting() > 0 {
                    return self.keep_for(index, Wait::Replies);
                }
                self.node_command(index, command, op, args)
            }
            Run::Container => Flow::Next,
        };
        let took = self.ticks.ticks().wrapping_sub(before);
        if flow != Flow::Keep && !matches!(spec.run, Run::Shard(..)) {
            self.command_stats[command.index()].record_as(self.ticks.to_ns(took), self.tracks_latency);
            if took >= self.slow_ticks {
                self.log_slow(index, spec, args, self.ticks.to_ns(took) / 1000);
            }
        }
        if flow != Flow::Keep {
            if self.attention {
                self.feed_monitors(index, spec, args);
            }
            if let Some(session) = self.sessions[index as usize].as_deref_mut() {
                if session.under_way == 0 {
                    session.end_skip();
                }
                if flow == Flow::Next && session.state == State::Open {
                    if session.replies.pending_bytes() > OUTPUT_HIGH_BYTES {
                        return self.output_full(index);
                    }
                } else if flow == Flow::Next {
                    return Flow::Stop;
                }
            }
        }
        flow
    }

    /// A command on data, wherever its keys lie.
    pub(super) fn data_command(
        &mut self,
        index: u32,
        command: CommandId,
        spec: &'static Spec,
        spread: Spread,
        args: Args<'_>,
    ) -> Flow {
        let shards = self.placement.len() as u16;
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        let first_key = spec.key_indexes(args).next().map(|i| self.hasher.hash(args.at(i)));
        let head = CallHead {
            command,
            db: session.db,
            proto: session.proto,
            first_key: first_key.unwrap_or_default(),
            no_touch: session.no_touch,
            replays: session.replays,
        };
        let single = match spread {
            Spread::Cursor => Some(cursor_shard(args.at(1), shards).unwrap_or(ShardId(0))),
            Spread::EveryDraw => None,
            spread if is_global(spread) => (shards == 1).then_some(ShardId(0)),
            // It comes behind what was gathered, with which it runs.
            _ if self.gathered.is_some() => None,
            _ => single_shard(spec, args, shards),
        };
        if spec.flags.has(Flags::BLOCKING) {
            return self.block(index, spec, spread, single, Call { head, args });
        }
        let Some(shard) = single else {
            if session.replies.waiting() > 0 {
                return self.keep_for(index, Wait::Replies);
            }
            return self.start_txn(index, spec, spread, Call { head, args });
        };
        match self.local[shard.index()] {
            None => self.forward(index, shard, head, args),
            Some(place) => {
                self.run_here(index, usize::from(place), spec, Call { head, args });
                Flow::Next
            }
        }
    }

    /// Runs a command on a shard of this core, on the long way.
    fn run_here(&mut self, index: u32, place: usize, spec: &'static Spec, call: Call<'_>) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let shard = &mut self.shards[place];
        if shard.must_wait(spec, call) {
            let slot = session.replies.reserve(session.is_silent());
            shard.defer(Ticket { core: self.id, session: index, slot }, call);
            return;
        }
        shard.keyspace.set_touch(touch(session.no_touch));
        let silent = session.is_silent();
        let before = self.ticks.ticks();
        let recorded = shard.journal.pending().len();
        let out = session.replies.writer();
        let start = out.len();
        let result = shard.run(spec, call, self.now, out);
        let has_ready = shard.has_ready();
        let is_recorded = shard.journal.pending().len() > recorded;
        if silent {
            out.truncate(start);
        } else if self.persist.holds && is_recorded {
            self.hold_here(index, place, start);
        } else {
            session.replies.wrote(start);
        }
        let took = self.ticks.ticks().wrapping_sub(before);
        self.count(call.head.command, took, result);
        if took >= self.slow_ticks {
            self.log_slow(index, spec, call.args, self.ticks.to_ns(took) / 1000);
        }
        if has_ready {
            self.serve_waiters(place);
        }
    }

    /// Serves the clients that wait for keys of a shard of this core that have changed.
    #[cold]
    pub(super) fn serve_waiters(&mut self, place: usize) {
        self.shards[place].serve(self.now, &mut self.shard_effects);
        self.carry_out();
    }

    fn count(&mut self, command: CommandId, took: u64, result: Result<(), CommandError>) {
        let stats = &mut self.command_stats[command.index()];
        stats.record_as(self.ticks.to_ns(took), self.tracks_latency);
        if let Err(error) = result {
            stats.failed += 1;
            self.error_stats.count(&error);
        }
    }

    /// Answers with an error before the command has run.
    pub(super) fn refuse(&mut self, index: u32, command: Option<CommandId>, error: &CommandError) -> Flow {
        if let Some(command) = command {
            self.command_stats[command.index()].rejected += 1;
            if self.is_exec(command) {
                self.discard(index);
                return self.refuse(index, None, &exec_abort(error));
            }
        }
        if let Some(multi) = self.session(index).and_then(|session| session.multi.as_mut()) {
            multi.aborted = true;
        }
        self.reply_error(index, error);
        if let Some(session) = self.session(index) {
            session.end_skip();
        }
        Flow::Next
    }

    /// Answers with an error.
    pub(super) fn reply_error(&mut self, index: u32, error: &CommandError) {
        self.error_stats.count(error);
        self.reply(index, |reply| reply.error(error.bytes()));
    }

    /// Answers a session's current command.
    pub(super) fn reply(&mut self, index: u32, f: impl FnOnce(&mut Reply<'_>)) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let (silent, proto) = (session.is_silent(), session.proto);
        let out = session.replies.writer();
        let start = out.len();
        f(&mut Reply::new(out, proto));
        if silent {
            out.truncate(start);
        } else {
            session.replies.wrote(start);
        }
        mark_dirty(session, index, &mut self.dirty);
    }

    /// Answers a session's current command with `+OK`.
    pub(super) fn reply_ok(&mut self, index: u32) {
        self.reply(index, |reply| reply.ok());
    }

    /// The session's current request is kept until something else is over.
    pub(super) fn keep_for(&mut self, index: u32, wait: Wait) -> Flow {
        if let Some(session) = self.sessions[index as usize].as_deref_mut() {
            session.state = State::Waiting(wait);
        }
        Flow::Keep
    }

    /// Bytes that cannot run now go behind those that wait already.
    fn keep(&mut self, index: u32, bytes: &[u8]) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if matches!(session.state, State::Closing | State::Closed) {
            return;
        }
        let input = &mut session.input;
        let wanted = input.progress.bytes_wanted();
        if input.bytes.capacity() < wanted && wanted > bytes.len() {
            // Room for a large argument at once, but never on a client's word alone: as much again as it has sent.
            let more = wanted.min(input.bytes.len() * 2 + 64 * 1024).saturating_sub(input.bytes.len());
            input.bytes.reserve(more);
        }
        input.bytes.extend_from_slice(bytes);
        self.account(index);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let input = &session.input;
        // Whatever the configuration allows, places in the buffer are 32 bits wide.
        let limit = self.config.clients.query_buffer_limit_bytes.min(u64::from(u32::MAX));
        if input.bytes.len() as u64 > limit {
            tracing::warn!(
                "Closing client that reached max query buffer length: {}",
                crate::session::clients::line(session, self.now.mono, &self.table)
            );
            self.stats.query_buffer_limit_disconnections += 1;
            self.close(index, true);
        } else if input.bytes.len() > INPUT_HIGH_BYTES && session.state != State::Open && !session.throttled {
            session.throttled = true;
            self.effects.push(Effect::Throttle(index));
        }
    }

    /// Runs what a session has kept, if it may go on.
    pub(super) fn pump(&mut self, index: u32) {
        debug_assert!(self.batch.sources.is_empty(), "a batch is being gathered");
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if session.state != State::Open || session.input.is_empty() {
            return;
        }
        let mut input = std::mem::take(&mut session.input);
        let mut bytes = std::mem::take(&mut input.bytes);
        let pieces = [Received { session: index, bytes: &bytes }];
        self.gather(&pieces, 0, input, true);
        self.flush(&pieces);
        let leftover = self.batch.leftover.take();
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if let Some(Tail { start, progress, spans }) = leftover {
            bytes.drain(..start);
            session.input = Input { bytes, progress, spans };
        }
        // However much is left: it is the beginning of one request, and needs the rest of it.
        if session.throttled && session.state == State::Open {
            session.throttled = false;
            self.effects.push(Effect::Unthrottle(index));
        }
    }

    /// An inline request with quotes. Whether the session goes on with what follows.
    fn quoted(&mut self, index: u32, line: &[u8], rest: &[u8]) -> bool {
        match split_quoted(line) {
            Err(error) => {
                self.protocol_error(index, error);
                false
            }
            Ok(words) if words.is_empty() => true,
            Ok(words) => {
                let args = OwnedArgs::collect(words.iter().map(Vec::as_slice));
                let flow = match self.request(index, args.as_args()) {
                    Flow::Next => self.begin_gathered(),
                    flow => flow,
                };
                match flow {
                    Flow::Next => return true,
                    Flow::Stop => {}
                    Flow::Keep => {
                        let mut again = Vec::new();
                        let mut reply = Reply::new(&mut again, Default::default());
                        reply.array(words.len());
                        words.iter().for_each(|word| reply.bulk(word));
                        self.keep(index, &again);
                    }
                }
                self.keep(index, rest);
                false
            }
        }
    }

    /// The client's bytes cannot be understood: it is told so and the connection ends.
    fn protocol_error(&mut self, index: u32, error: ProtocolError) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.reply_mode = ReplyMode::On;
        tracing::debug!(
            "Protocol error ({error}) from client: {}",
            crate::session::clients::line(session, self.now.mono, &self.table)
        );
        self.reply_error(index, &CommandError::quoting("ERR ", &error.text(), ""));
        self.close(index, false);
    }

    /// Carries out what a shard of this core wants.
    pub(super) fn carry_out(&mut self) {
        for place in 0..self.shards.len() {
            if let Some(cut) = self.shards[place].journal.take_cut() {
                self.begin_save(place, cut);
            }
        }
        for effect in std::mem::take(&mut self.shard_effects) {
            match effect {
                crate::shard::Effect::Reply(ticket, command, reply, shard) => {
                    // How long it took by itself is not known.
                    self.command_stats[command.index()].record_untracked(0);
                    self.count_if_error(command, &reply);
                    let is_write = self.table.spec(command).is_write();
                    let hold = self.hold_of(shard, ticket.core).filter(|_| is_write);
                    self.post(ticket.core, Rare::Late(ticket, reply, hold))
                }
                crate::shard::Effect::Turn(ticket, shard) => {
                    self.post(ticket.core, Rare::Turn(ticket, shard))
                }
                crate::shard::Effect::Step(txn, shard, reply) => {
                    let hold = self.hold_of(shard, txn.core);
                    self.post(txn.core, Rare::Step(txn, shard, reply, hold));
                }
            }
        }
    }

    /// Counts a reply that is an error, for commands that answer in bytes.
    pub(super) fn count_if_error(&mut self, command: CommandId, reply: &[u8]) {
        if let Some(line) = reply.strip_prefix(b"-") {
            self.command_stats[command.index()].failed += 1;
            let text = String::from_utf8_lossy(line.strip_suffix(b"\r\n").unwrap_or(line)).into_owned();
            self.error_stats.count(&CommandError::with(text));
        }
    }

    #[cold]
    pub(super) fn log_slow(&mut self, index: u32, spec: &Spec, args: Args<'_>, took_us: u64) {
        let redacted = super::monitor::redacted(spec, args);
        let shown = redacted.as_ref().map_or(args, OwnedArgs::as_args);
        self.note_slow(index, spec, trimmed(shown), took_us);
    }

    /// Tells the slow log and the latency monitor of a command, its arguments trimmed.
    #[cold]
    pub(super) fn note_slow(&mut self, index: u32, spec: &Spec, args: OwnedArgs, took_us: u64) {
        let event = if spec.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        self.latency.sample(event, self.now, took_us);
        let threshold = u64::try_from(self.config.monitoring.slowlog_log_slower_than_us);
        if spec.flags.has(Flags::SKIP_SLOWLOG) || threshold.map_or(true, |us| took_us < us) {
            return;
        }
        let (addr, name) = match self.sessions[index as usize].as_deref() {
            Some(session) => (session.peer.addr.as_str(), session.name.as_slice()),
            None => ("", &b""[..]),
        };
        self.slowlog.push_trimmed(self.now, took_us, args, addr, name);
    }
}

#[inline]
pub(super) fn touch(no_touch: bool) -> Touch {
    if no_touch {
        Touch::No
    } else {
        Touch::Yes
    }
}
