//! What cores send each other.
//!
//! The common case is a *parcel*: all requests that one core has for another at the end of a pass, in one buffer that
//! travels there, is filled with the replies, and travels back to be used again. Nothing is allocated, freed or locked
//! per request, and a neighbour is woken at most once per pass. Everything else is rare and boxed.

use smallvec::SmallVec;

use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::KeyHash;
use crate::keyspace::ValueKind;
use crate::resp::{Args, Span};
use crate::shard::waiters::{End, Place};
use crate::shard::{Call, CallHead, OwnedCall, Part, Ticket, TxnId};

use super::query::{Answer, Query};

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
            Mail::Rare(rare) => matches!(&**rare, Rare::Finish(_, _, calls) if calls.is_empty()),
            Mail::Requests(_) | Mail::Replies(_) => false,
        }
    }
}

/// The rare kinds of message.
#[derive(Debug)]
pub enum Rare {
    /// The reply to a request of a parcel that had to wait for a transaction.
    Late(Ticket, Vec<u8>),
    /// To the sequencer: a transaction's parts, to be passed on to their shards.
    Sequence(Vec<(ShardId, Part)>),
    /// From the sequencer: a part for a shard of the receiver.
    Part(ShardId, Part),
    /// To the coordinator: a shard has run a step; the replies of its calls.
    Step(TxnId, ShardId, Vec<Vec<u8>>),
    /// From the coordinator: another step.
    GoOn(TxnId, ShardId, Vec<OwnedCall>),
    /// From the coordinator: the last step, if any, and the end.
    Finish(TxnId, ShardId, Vec<OwnedCall>),
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

    /// The requests.
    #[inline]
    pub fn calls(&self) -> &[ParcelCall] {
        &self.calls
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
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

    /// Empties it for use again; `false` if it has grown too large to be kept.
    pub fn recycle(&mut self) -> bool {
        self.calls.clear();
        self.spans.clear();
        self.bytes.clear();
        self.replies.clear();
        self.outcomes.clear();
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
            parcel.calls().len() < PARCEL_CALLS_MAX && parcel.request_bytes() < PARCEL_BYTES_MAX
        })
    }
}
