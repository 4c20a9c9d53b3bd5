//! What cores send each other.
//!
//! The common case is a *parcel*: all requests that one core has for another at the end of a pass, in one buffer that
//! travels there, is filled with the replies, and travels back to be used again. Nothing is allocated, freed or locked
//! per request, and a neighbour is woken at most once per pass. The shares of transactions that are tried directly
//! (`direct`) travel in the same parcels, behind the requests, and behind these what clients publish (`pubsub`).
//! Everything else is rare and boxed.

use smallvec::SmallVec;

use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::KeyHash;
use crate::keyspace::ValueKind;
use crate::resp::{Args, Span};
use crate::session::replies::Hold;
use crate::shard::waiters::{End, Place};
use crate::shard::{Call, CallHead, OwnedCall, Part, Ticket, TxnId};

use super::persist::PersistMail;
use super::query::{Answer, Query};
use super::replication::ReplicationMail;

/// One message from one core to another. Messages between two cores arrive in the order in which they were sent.
#[derive(Debug)]
pub enum Mail {
    /// Requests for the receiver's shards.
    Requests(Box<Parcel>),
    /// The same parcel on its way back, with the replies.
    Replies(Box<Parcel>),
    /// Anything else.
    Rare(Box<Rare>),
}

impl Mail {
    /// Whether it may lie until its receiver looks, unless somebody there awaits the end of a transaction.
    pub fn can_wait(&self) -> bool {
        match self {
            Mail::Rare(rare) => matches!(&**rare, Rare::Finish(_, _, calls, false) if calls.is_empty()),
            Mail::Requests(_) | Mail::Replies(_) => false,
        }
    }
}

/// The rare kinds of message.
#[derive(Debug)]
pub enum Rare {
    /// The reply to a request of a parcel that had to wait for a transaction, and what it has to wait for now.
    Late(Ticket, Vec<u8>, Option<Hold>),
    /// To the sequencer: a transaction's parts, to be passed on to their shards.
    Sequence(Vec<(ShardId, Part)>),
    /// From the sequencer: a part for a shard of the receiver.
    Part(ShardId, Part),
    /// To the coordinator: a shard has run a step; the replies of its calls, and what they wait for.
    Step(TxnId, ShardId, Vec<Vec<u8>>, Option<Hold>),
    /// From the coordinator: another step.
    GoOn(TxnId, ShardId, Vec<OwnedCall>),
    /// From the coordinator: the last step, if any, and the end; whether it wants to know of it even without a step.
    Finish(TxnId, ShardId, Vec<OwnedCall>, bool),
    /// A blocking command whose keys are all on this shard: it runs, or the client waits there.
    Block(ShardId, Ticket, OwnedCall),
    /// A client waits for something of this type in keys of this shard and of others.
    Wait(ShardId, Ticket, SmallVec<[Place; 2]>, ValueKind),
    /// To the client's core: it stands in the queues now.
    Waits(Ticket),
    /// To the client's core: it is its turn on this shard.
    Turn(Ticket, ShardId),
    /// From the client's core: it has tried, and found nothing.
    FoundNothing(ShardId, Ticket),
    /// From the client's core: it waits no longer.
    StopWaiting(ShardId, Ticket, End),
    /// A client has ceased to watch keys of a shard.
    Unwatch(ShardId, Vec<(DbIndex, KeyHash)>),
    /// A question to the receiver, on behalf of one of the sender's sessions.
    Query(u64, Query),
    /// The answer to a question of the receiver.
    Answer(u64, Answer),
    /// About files.
    Persist(PersistMail),
    /// About replication.
    Replication(ReplicationMail),
}

/// Requests of one core for the shards of another, and the replies.
#[derive(Debug, Default)]
pub struct Parcel {
    calls: Vec<ParcelCall>,
    spans: Vec<Span>,
    bytes: Vec<u8>,
    replies: Vec<u8>,
    /// For each call, in order: where its reply ends in `replies`, or that it comes later.
    outcomes: Vec<Outcome>,
    /// Replies that wait for the disk: of which requests, and for which position of their shard's append-only file.
    held: Vec<(u32, u64)>,
    shares: Vec<Share>,
    share_calls: Vec<ShareCall>,
    /// Where the replies of the shares' calls end in `replies`, for each call that has run.
    share_ends: Vec<usize>,
    /// What the replies of shares wait for, by the sender's numbers.
    share_holds: Vec<(u64, Hold)>,
    /// The shards that the shares' transactions may change, one after the other.
    share_writers: Vec<ShardId>,
    publications: Vec<Publication>,
}

/// Something that a client of the sender has published.
#[derive(Clone, Copy, Debug)]
struct Publication {
    /// The sender's number for it; none if it does not want to know who got it.
    number: Option<u32>,
    is_sharded: bool,
    channel: Span,
    message: Span,
    /// How many of the receiver's clients have got it.
    receivers: u32,
}

/// One request in a parcel.
#[derive(Clone, Copy, Debug)]
pub struct ParcelCall {
    /// The command.
    pub head: CallHead,
    /// Which of the receiver's shards runs it.
    pub shard: ShardId,
    /// The asking session, on the sender's core.
    pub session: u32,
    /// The reply's place in that session.
    pub slot: u32,
    first_span: u32,
    argc: u32,
}

/// What a transaction that is tried directly (`host::direct`) has for the shards of one core: it runs at once and as
/// one piece, or not at all.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// The sender's number for it.
    txn: u64,
    first_call: u32,
    calls: u32,
    /// How many of these, from the first, only tell whether the others may run.
    guards: u32,
    first_writer: u32,
    writers: u32,
    outcome: Attempted,
}

/// One call of a share.
#[derive(Clone, Copy, Debug)]
struct ShareCall {
    head: CallHead,
    shard: ShardId,
    first_span: u32,
    argc: u32,
}

/// What became of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// Its calls have run.
    Ran,
    /// Something stands against it; nothing has run.
    Refused,
    /// A watched key has changed; nothing has run.
    Changed,
}

/// The calls of a share, for whoever runs them.
#[derive(Clone, Copy)]
pub struct ShareCalls<'a> {
    calls: &'a [ShareCall],
    spans: &'a [Span],
    bytes: &'a [u8],
    guards: usize,
    txn: u64,
    writers: &'a [ShardId],
}

impl<'a> ShareCalls<'a> {
    /// All of them, in order, each with its shard.
    pub fn iter(self) -> impl Iterator<Item = (ShardId, Call<'a>)> {
        self.calls.iter().map(move |call| {
            let spans = &self.spans[call.first_span as usize..][..call.argc as usize];
            (call.shard, Call { head: call.head, args: Args::new(self.bytes, spans) })
        })
    }

    /// The sender's number for the transaction.
    pub fn txn(self) -> u64 {
        self.txn
    }

    /// The shards that the transaction may change, those of the sender included.
    pub fn writers(self) -> &'a [ShardId] {
        self.writers
    }

    /// How many of them, from the first, are guards.
    pub fn guards(self) -> usize {
        self.guards
    }
}

/// Where the replies of a share go.
pub struct ShareReplies<'a> {
    /// Each reply goes to the end.
    pub bytes: &'a mut Vec<u8>,
    ends: &'a mut Vec<usize>,
}

impl ShareReplies<'_> {
    /// What stands in `bytes` is the next reply.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// What became of a request in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its reply ends here in the parcel's replies; it took this many microseconds if it was worth telling.
    Done {
        /// End of the reply.
        end: u32,
        /// How long it ran if it was slow, else 0.
        slow_us: u32,
    },
    /// It waits for a transaction; the reply comes as `Rare::Late`.
    Later,
}

/// A parcel that has grown beyond this is not kept for use again.
const KEEP_BYTES_MAX: usize = 256 * 1024;

impl Parcel {
    /// Adds a request; its arguments are copied.
    #[inline]
    pub fn push(&mut self, call: Call<'_>, shard: ShardId, session: u32, slot: u32) {
        let first_span = self.spans.len() as u32;
        let spans = call.args.spans();
        // The arguments lie next to each other in the request: one copy takes them all, with what is between.
        let (first, last) = (spans[0], spans[spans.len() - 1]);
        let (from, to) = (first.offset as usize, (last.offset + last.len) as usize);
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&call.args.buffer()[from..to]);
        self.spans.extend(
            spans.iter().map(|span| Span { offset: span.offset - first.offset + base, len: span.len }),
        );
        let argc = spans.len() as u32;
        self.calls.push(ParcelCall { head: call.head, shard, session, slot, first_span, argc });
    }

    /// Adds a transaction's share: first its guards, then what runs if they let it.
    pub fn push_share<'c>(
        &mut self,
        txn: u64,
        writers: &[ShardId],
        guards: impl Iterator<Item = (ShardId, &'c OwnedCall)>,
        calls: impl Iterator<Item = (ShardId, &'c OwnedCall)>,
    ) {
        let first_call = self.share_calls.len();
        guards.for_each(|(shard, call)| self.push_share_call(shard, call));
        let guards = self.share_calls.len() - first_call;
        let first_writer = self.share_writers.len() as u32;
        self.share_writers.extend_from_slice(writers);
        calls.for_each(|(shard, call)| self.push_share_call(shard, call));
        self.shares.push(Share {
            txn,
            first_call: first_call as u32,
            calls: (self.share_calls.len() - first_call) as u32,
            guards: guards as u32,
            first_writer,
            writers: writers.len() as u32,
            outcome: Attempted::Refused,
        });
    }

    fn push_share_call(&mut self, shard: ShardId, call: &OwnedCall) {
        let args = call.args.as_args();
        let base = self.bytes.len() as u32;
        let first_span = self.spans.len() as u32;
        self.bytes.extend_from_slice(args.buffer());
        self.spans.extend(args.spans().iter().map(|span| Span { offset: span.offset + base, ..*span }));
        self.share_calls.push(ShareCall { head: call.head, shard, first_span, argc: args.len() as u32 });
    }

    /// The requests.
    #[inline]
    pub fn calls(&self) -> &[ParcelCall] {
        &self.calls
    }

    /// What the shares' calls are about, each with its shard, for those who want to prepare for them.
    pub fn share_heads(&self) -> impl Iterator<Item = (ShardId, CallHead)> + '_ {
        self.share_calls.iter().map(|call| (call.shard, call.head))
    }

    /// Adds something that was published, under the sender's number for it if it wants to know how many get it.
    pub fn push_publication(
        &mut self,
        number: Option<u32>,
        channel: &[u8],
        message: &[u8],
        is_sharded: bool,
    ) {
        let mut push = |bytes: &[u8]| {
            let offset = self.bytes.len() as u32;
            self.bytes.extend_from_slice(bytes);
            Span { offset, len: bytes.len() as u32 }
        };
        let (channel, message) = (push(channel), push(message));
        self.publications.push(Publication { number, is_sharded, channel, message, receivers: 0 });
    }

    /// Runs `f` for everything that was published, in order: channel, message, whether the channel is a shard channel.
    /// It says how many have got it.
    pub fn answer_publications(&mut self, mut f: impl FnMut(&[u8], &[u8], bool) -> u32) {
        for publication in &mut self.publications {
            let Publication { channel, message, is_sharded, .. } = *publication;
            publication.receivers = f(channel.of(&self.bytes), message.of(&self.bytes), is_sharded);
        }
    }

    /// How many have got what was published under each number.
    pub fn receivers(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.publications.iter().filter_map(|publication| Some((publication.number?, publication.receivers)))
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.shares.is_empty() && self.publications.is_empty()
    }

    /// How many bytes of requests it holds.
    #[inline]
    pub fn request_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Runs `f` for each request in order; it writes the reply to the end of the buffer and says what became of it.
    #[inline]
    pub fn answer(&mut self, mut f: impl FnMut(&ParcelCall, Call<'_>, &mut Vec<u8>) -> Answered) {
        for call in &self.calls {
            let spans = &self.spans[call.first_span as usize..][..call.argc as usize];
            let args = Args::new(&self.bytes, spans);
            let outcome = match f(call, Call { head: call.head, args }, &mut self.replies) {
                Answered::Now { slow_us } => Outcome::Done { end: self.replies.len() as u32, slow_us },
                Answered::Later => Outcome::Later,
            };
            self.outcomes.push(outcome);
        }
    }

    /// The requests with their replies; `None` for those whose reply comes later.
    #[inline]
    pub fn answers(&self) -> impl Iterator<Item = (&ParcelCall, Args<'_>, Option<(&[u8], u32)>)> {
        let mut start = 0;
        self.calls.iter().zip(&self.outcomes).map(move |(call, outcome)| {
            let reply = match *outcome {
                Outcome::Later => None,
                Outcome::Done { end, slow_us } => {
                    let reply = &self.replies[start..end as usize];
                    start = end as usize;
                    Some((reply, slow_us))
                }
            };
            let spans = &self.spans[call.first_span as usize..][..call.argc as usize];
            (call, Args::new(&self.bytes, spans), reply)
        })
    }

    /// Replies of shares wait for these, by the sender's numbers.
    pub fn hold_shares(&mut self, held: Vec<(u64, Hold)>) {
        self.share_holds = held;
    }

    /// Replies of these requests wait for these positions.
    pub fn hold(&mut self, held: Vec<(u32, u64)>) {
        self.held = held;
    }

    /// Replies that wait, by their request's place.
    #[inline]
    pub fn held(&self) -> &[(u32, u64)] {
        &self.held
    }

    /// Runs `f` for each transaction's share in order; it writes the replies of the calls, if it runs them.
    ///
    /// The requests have been answered: the places of these replies are not limited.
    pub fn answer_shares(&mut self, mut f: impl FnMut(ShareCalls<'_>, &mut ShareReplies<'_>) -> Attempted) {
        for share in &mut self.shares {
            let calls = &self.share_calls[share.first_call as usize..][..share.calls as usize];
            let (spans, bytes) = (&self.spans, &self.bytes);
            let writers = &self.share_writers[share.first_writer as usize..][..share.writers as usize];
            let calls =
                ShareCalls { calls, spans, bytes, guards: share.guards as usize, txn: share.txn, writers };
            share.outcome =
                f(calls, &mut ShareReplies { bytes: &mut self.replies, ends: &mut self.share_ends });
        }
    }

    /// Runs `f` for each share: the sender's number, what became of it, and if its calls have run the reply of each,
    /// by shard.
    pub fn take_shares(
        &self,
        mut f: impl FnMut(u64, Attempted, Vec<(ShardId, Vec<Vec<u8>>)>, SmallVec<[Hold; 4]>),
    ) {
        // The first share's first reply stands behind the last request's.
        let of_request = |outcome: &Outcome| match *outcome {
            Outcome::Done { end, .. } => Some(end as usize),
            Outcome::Later => None,
        };
        let mut start = self.outcomes.iter().rev().find_map(of_request).unwrap_or(0);
        let mut ends = self.share_ends.iter();
        for share in &self.shares {
            let mut replies: Vec<(ShardId, Vec<Vec<u8>>)> = Vec::new();
            if share.outcome == Attempted::Ran {
                let calls = &self.share_calls[share.first_call as usize..][..share.calls as usize];
                for (call, &end) in calls[share.guards as usize..].iter().zip(&mut ends) {
                    let reply = self.replies[start..end].to_vec();
                    start = end;
                    match replies.last_mut() {
                        Some((shard, replies)) if *shard == call.shard => replies.push(reply),
                        _ => replies.push((call.shard, vec![reply])),
                    }
                }
            }
            let holds = self.share_holds.iter().filter(|(txn, _)| *txn == share.txn).map(|(_, hold)| *hold);
            f(share.txn, share.outcome, replies, holds.collect());
        }
    }

    /// Empties it for use again; `false` if it has grown too large to be kept.
    pub fn recycle(&mut self) -> bool {
        self.calls.clear();
        self.spans.clear();
        self.bytes.clear();
        self.replies.clear();
        self.outcomes.clear();
        self.held.clear();
        self.shares.clear();
        self.share_calls.clear();
        self.share_ends.clear();
        self.share_holds.clear();
        self.share_writers.clear();
        self.publications.clear();
        self.bytes.capacity().max(self.replies.capacity()) <= KEEP_BYTES_MAX
    }
}

/// What `Parcel::answer`'s function did with a request.
#[derive(Clone, Copy, Debug)]
pub enum Answered {
    /// The reply is written.
    Now {
        /// Microseconds it took, if that is worth telling the sender, else 0.
        slow_us: u32,
    },
    /// It will come as `Rare::Late`.
    Later,
}

/// What one core has for another.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Requests gathered since the last parcel left.
    pub open: Option<Box<Parcel>>,
    /// Parcels of ours that are at the other core.
    pub in_flight: u32,
    /// Mail to be handed over, in order.
    pub mail: std::collections::VecDeque<Mail>,
}

/// How many parcels of one core may be at another at a time. While that many are, requests gather in the next one: the
/// slower the neighbour, the larger the batches. Also bounds what a ring between two cores must hold.
pub const PARCELS_IN_FLIGHT_MAX: u32 = 4;

/// An open parcel takes no more requests beyond this many, or this many bytes: then the sessions that have more for
/// that core wait (`Wait::Outbox`) until it has left.
pub const PARCEL_CALLS_MAX: usize = 4096;

/// See `PARCEL_CALLS_MAX`. A single request may be larger.
pub const PARCEL_BYTES_MAX: usize = 1024 * 1024;

impl Outbox {
    /// Whether the open parcel can take another request.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.open.as_ref().is_none_or(|parcel| {
            parcel.calls.len() + parcel.share_calls.len() + parcel.publications.len() < PARCEL_CALLS_MAX
                && parcel.request_bytes() < PARCEL_BYTES_MAX
        })
    }

    /// Sends the open parcel. Whether there was one.
    pub fn close(&mut self) -> bool {
        let Some(parcel) = self.open.take() else { return false };
        self.in_flight += 1;
        self.mail.push_back(Mail::Requests(parcel));
        true
    }
}
