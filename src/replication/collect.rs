//! Several streams of records into one sequence, in which every transaction is whole.
//!
//! A transaction over several shards has a part in the stream of each. Those that conflict stand in the same order in
//! all streams that they share; others may cross: first, second in one stream, and second, first in another. The
//! collector takes the streams' items in whatever order they arrive, and puts out *units*, one after the other.
//!
//! # What a unit is
//!
//! An item comes *before* another if it stands anywhere earlier in a stream, or a chain of such steps leads from one to
//! the other, all parts of a transaction being one item. A unit is a class of items that come before each other: a
//! strongly connected component of that relation. Most are one item. Transactions that cross come out as one, with the
//! records between them: no order of theirs would keep each whole and the streams in order, and no smaller set could
//! come out whole (what has an item of the class has, by the streams' order, to have all of it).
//!
//! A transaction that conflicts with all others and has a part in every stream (FLUSHALL, a save's cut) comes out by
//! itself. For everything else stands on one side of it: a record in its only stream, and a transaction on the same
//! side in all its streams, since that is what the order of conflicting ones means. From what is behind it no step
//! leads to what is not, so nothing comes both before and after it.
//!
//! Units come in an order in which nothing comes before what it stands after, and each as soon as it is known: all
//! parts of its transactions are here, and nothing before it is left. More items cannot join it then, since a new item
//! only comes before transactions that are not whole. So which units there are does not depend on the order of arrival.
//!
//! Inside a unit each stream's records stand in their order, one stream after the other: streams share no key, so that
//! is as good as any order. But for what concerns the keys of all (`align`).
//!
//! # How units are found
//!
//! Only what stands at the front of a stream can come out. A record does. A transaction does when it is whole and at
//! the front of all its streams; if not, something is before it. A *knot* is what is known to belong to one unit: at
//! first a transaction at a front. It looks at its transactions' parts one by one. In a stream whose front is its own,
//! all that stands up to the part belongs to it. At any other stream it waits until the part is at the front. So every
//! knot waits for at most one thing: for a part to arrive, or at a stream, whose front may be another knot's. Where
//! following who waits for whom leads in a circle, the knots in it come before each other: they become one. A knot with
//! nothing left to look at is a unit.
//!
//! This finds all: the first unit that could come out has, as nothing is before it, only itself to wait for, and it is
//! there. Its knots, if there are several, wait for each other, each for one: that is a circle, and circles become one.
//!
//! Costs: a record is looked at twice, when it comes and when it goes, wherever it stood. A part costs as much, and at
//! most a walk from knot to knot, of which there are no more than streams. Knots that become one move the smaller to
//! the larger.
//!
//! # Limits
//!
//! What is held is what was pushed and has not come out. At `limit_bytes` nothing more is taken (`CollectError::Full`):
//! parts have been missing for too long, or one stream is too far behind. After any error the link is to be dropped,
//! and the collector with it; what came out before stands.
//!
//! A part that never comes holds up its streams, and `missing` names it, for those who know how long they have waited.
//! A transaction is known while it is held. One that came out and stands in a stream again is taken for another.
//!
//! # Where nothing is held up
//!
//! A stream of which nothing is held needs no collector: its records can be applied, or written, at once. `Detour` is
//! what a stream's reader on another core goes by.

mod align;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::{Index, IndexMut};

use smallvec::SmallVec;

use crate::base::ids::{CoreId, ShardId};
use crate::journal::scan::{Scanned, Scanner};
use crate::journal::{Txn, EXEC, FRAME_BYTES, MULTI};

/// For how many items a stream keeps room while it holds fewer.
const SPARE_ITEMS_MAX: usize = 1024;

/// What comes next in the merged sequence. `M` is a mark: a place in a stream, as its user knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit<M> {
    /// What was pushed by `push_plain`.
    Plain {
        /// The records.
        bytes: Box<[u8]>,
        /// Where their stream has come to.
        reached: Reached<M>,
    },
    /// One transaction, or several that cross and the records between them: to be applied as one.
    Group {
        /// The records one after the other; database 0 is selected between the pieces, and none has a MULTI or EXEC.
        records: Vec<Box<[u8]>>,
        /// Where the streams have come to that had a part in it, in their order.
        reached: Vec<Reached<M>>,
        /// How many transactions it is.
        transactions: usize,
        /// How many times MULTI and EXEC the streams have counted in it: one for each transaction, and for each record
        /// that had them.
        frames: usize,
    },
}

/// How far a unit brings a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached<M> {
    /// Which stream.
    pub stream: usize,
    /// How many of its items are in the unit.
    pub items: u64,
    /// The mark of the last of them.
    pub mark: M,
}

/// Why the streams cannot be collected any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectError {
    /// There is no stream with this number, or a transaction names it.
    NoSuchStream(usize),
    /// A part stands in a stream of which its transaction does not know.
    Uninvited(TxnId, usize),
    /// A transaction names a shard twice.
    NamedTwice(TxnId, usize),
    /// A transaction has two parts in one stream.
    Repeated(TxnId, usize),
    /// Two parts name other shards, or the same in another order.
    Disagreement(TxnId),
    /// As much is held as may be.
    Full,
}

/// A transaction: the core that coordinated it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxnId {
    /// The core.
    pub core: CoreId,
    /// The number.
    pub number: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Collector<M> {
    streams: Vec<Stream<M>>,
    /// The transactions that are held, whole or not.
    names: BTreeMap<TxnId, usize>,
    txns: Slots<Held>,
    knots: Slots<Knot>,
    /// What can come out now.
    ready: VecDeque<Ready>,
    held_bytes: usize,
    limit_bytes: usize,
    /// How many items and knots were looked at.
    #[cfg(test)]
    looks: usize,
}

#[derive(Debug)]
struct Stream<M> {
    items: VecDeque<Item<M>>,
    /// How many items have come out: the place of the first that is held.
    out: u64,
    /// How many of them were applied.
    applied: u64,
    /// The knot that what stands at the front belongs to, if that is a part.
    knot: Option<usize>,
    /// Up to which place it all does.
    end: u64,
}

#[derive(Debug)]
struct Item<M> {
    bytes: Box<[u8]>,
    mark: M,
    /// The transaction of which this is a part.
    txn: Option<usize>,
}

/// A transaction of which a part has come.
#[derive(Debug)]
struct Held {
    id: TxnId,
    shards: SmallVec<[ShardId; 8]>,
    /// The parts that have come, each by its stream and its place there.
    parts: SmallVec<[(usize, u64); 4]>,
    knot: Option<usize>,
}

/// What is known to belong to one unit.
#[derive(Debug)]
struct Knot {
    txns: Vec<usize>,
    /// Those whose parts have not all been looked at, each with how many have.
    to_do: Vec<(usize, usize)>,
    /// The streams whose front is in it.
    streams: SmallVec<[usize; 4]>,
    waits: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// It is a unit.
    Nothing,
    /// For the parts of a transaction that have not come.
    Parts(usize),
    /// For what stands at the front of a stream, before a part.
    Stream(usize),
}

#[derive(Clone, Copy, Debug)]
enum Ready {
    /// The record at the front of a stream.
    Plain(usize),
    Knot(usize),
}

impl<M: Copy> Collector<M> {
    /// For so many streams, one per shard and numbered as they are. See the module for the limit.
    pub fn new(streams: usize, limit_bytes: usize) -> Self {
        let stream = || Stream { items: VecDeque::new(), out: 0, applied: 0, knot: None, end: 0 };
        Collector {
            streams: (0..streams).map(|_| stream()).collect(),
            names: BTreeMap::new(),
            txns: Slots::default(),
            knots: Slots::default(),
            ready: VecDeque::new(),
            held_bytes: 0,
            limit_bytes,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Takes the next item of a stream: whole records that concern it alone, without annotations. `mark` is the place
    /// after them.
    ///
    /// # Errors
    /// `NoSuchStream`, `Full`.
    pub fn push_plain(&mut self, stream: usize, bytes: Box<[u8]>, mark: M) -> Result<(), CollectError> {
        self.admit(stream)?;
        self.push(stream, Item { bytes, mark, txn: None });
        Ok(())
    }

    /// Takes the next item of a stream: its part of a transaction, without MULTI and EXEC; database 0 is selected
    /// before and after the records.
    ///
    /// # Errors
    /// All there are.
    pub fn push_part(
        &mut self,
        stream: usize,
        txn: &Txn,
        records: Box<[u8]>,
        mark: M,
    ) -> Result<(), CollectError> {
        self.admit(stream)?;
        let slot = self.enter(stream, txn)?;
        let place = self.streams[stream].pushed();
        self.txns[slot].parts.push((stream, place));
        self.push(stream, Item { bytes: records, mark, txn: Some(slot) });
        // Where the part is at the front its knot has seen it.
        if let Some(knot) = self.txns[slot].knot {
            if self.knots[knot].waits == Wait::Parts(slot) && self.is_whole(slot) {
                self.advance(knot);
            }
        }
        Ok(())
    }

    /// What comes out next; `None` until more has come in.
    pub fn next_unit(&mut self) -> Option<Unit<M>> {
        match self.ready.pop_front()? {
            Ready::Plain(stream) => {
                let item = self.pop(stream)?;
                self.meet_front(stream);
                let reached = Reached { stream, items: 1, mark: item.mark };
                Some(Unit::Plain { bytes: item.bytes, reached })
            }
            Ready::Knot(knot) => Some(self.untie(knot)),
        }
    }

    /// A unit was applied that brought a stream so far. If nothing of the stream is left then, here or on its way to
    /// where it is applied: how many of its items that makes in all, which is what `Detour::settle` is to be told.
    pub fn applied(&mut self, reached: &Reached<M>) -> Option<u64> {
        let stream = self.streams.get_mut(reached.stream)?;
        stream.applied = (stream.applied + reached.items).min(stream.out);
        (stream.applied == stream.pushed()).then_some(stream.applied)
    }

    /// Whether nothing of a stream is held: what comes next in it is not held up.
    #[inline]
    pub fn is_clear(&self, stream: usize) -> bool {
        self.streams.get(stream).is_some_and(|stream| stream.items.is_empty())
    }

    /// How much is held: records, and what it takes to hold them.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// A transaction that others wait for, and a stream in which its part has not come.
    pub fn missing(&self) -> Option<(TxnId, usize)> {
        let txns = self.names.values().map(|&slot| &self.txns[slot]);
        txns.filter(|held| held.knot.is_some()).find_map(|held| {
            let has = |shard: &ShardId| held.parts.iter().any(|&(stream, _)| stream == shard.index());
            let lacks = held.shards.iter().find(|shard| !has(shard))?;
            Some((held.id, lacks.index()))
        })
    }

    fn admit(&self, stream: usize) -> Result<(), CollectError> {
        match stream < self.streams.len() {
            false => Err(CollectError::NoSuchStream(stream)),
            true if self.held_bytes >= self.limit_bytes => Err(CollectError::Full),
            true => Ok(()),
        }
    }

    /// The transaction of a part of this stream.
    fn enter(&mut self, stream: usize, txn: &Txn) -> Result<usize, CollectError> {
        let id = TxnId { core: txn.core, number: txn.number };
        if let Some(&slot) = self.names.get(&id) {
            let held = &self.txns[slot];
            return if held.shards != txn.shards {
                Err(CollectError::Disagreement(id))
            } else if !held.names(stream) {
                Err(CollectError::Uninvited(id, stream))
            } else if held.parts.iter().any(|&(other, _)| other == stream) {
                Err(CollectError::Repeated(id, stream))
            } else {
                Ok(slot)
            };
        }
        if let Some(shard) = txn.shards.iter().find(|shard| shard.index() >= self.streams.len()) {
            return Err(CollectError::NoSuchStream(shard.index()));
        }
        let mut sorted = txn.shards.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CollectError::NamedTwice(id, pair[0].index()));
        }
        let held = Held { id, shards: txn.shards.clone(), parts: SmallVec::new(), knot: None };
        if !held.names(stream) {
            return Err(CollectError::Uninvited(id, stream));
        }
        self.held_bytes += held.cost_bytes();
        let slot = self.txns.insert(held);
        self.names.insert(id, slot);
        Ok(slot)
    }

    fn push(&mut self, stream: usize, item: Item<M>) {
        self.held_bytes += item.cost_bytes();
        let items = &mut self.streams[stream].items;
        items.push_back(item);
        if items.len() == 1 {
            self.meet_front(stream);
        }
    }

    fn pop(&mut self, stream: usize) -> Option<Item<M>> {
        let stream = &mut self.streams[stream];
        let item = stream.items.pop_front()?;
        stream.out += 1;
        if stream.items.capacity() > SPARE_ITEMS_MAX && stream.items.len() * 4 < stream.items.capacity() {
            stream.items.shrink_to(SPARE_ITEMS_MAX.max(stream.items.len() * 2));
        }
        self.held_bytes -= item.cost_bytes();
        Some(item)
    }

    fn is_whole(&self, txn: usize) -> bool {
        self.txns[txn].parts.len() == self.txns[txn].shards.len()
    }

    /// Something else is at the front of a stream now.
    fn meet_front(&mut self, stream: usize) {
        let front = &mut self.streams[stream];
        let Some(item) = front.items.front() else { return };
        let Some(txn) = item.txn else {
            self.ready.push_back(Ready::Plain(stream));
            return;
        };
        front.end = front.out + 1;
        match self.txns[txn].knot {
            None => {
                let knot = Knot {
                    txns: vec![txn],
                    to_do: vec![(txn, 0)],
                    streams: SmallVec::from_slice(&[stream]),
                    waits: Wait::Nothing,
                };
                let knot = self.knots.insert(knot);
                (front.knot, self.txns[txn].knot) = (Some(knot), Some(knot));
                self.advance(knot);
            }
            Some(knot) => {
                front.knot = Some(knot);
                self.knots[knot].streams.push(stream);
                // It waits no longer, if it was here that it waited. And those who wait here wait for it now: it may
                // for them.
                if let Some(knot) = self.close_circle(knot) {
                    self.advance(knot);
                }
            }
        }
    }

    /// Looks at the parts of a knot's transactions, until it has to wait or is a unit.
    fn advance(&mut self, mut knot: usize) {
        while let Some(&(txn, looked)) = self.knots[knot].to_do.last() {
            let Some(&(stream, place)) = self.txns[txn].parts.get(looked) else {
                if self.is_whole(txn) {
                    self.knots[knot].to_do.pop();
                    continue;
                }
                self.knots[knot].waits = Wait::Parts(txn);
                return;
            };
            self.look();
            if self.streams[stream].knot == Some(knot) {
                if let Some(last) = self.knots[knot].to_do.last_mut() {
                    last.1 += 1;
                }
                knot = self.reach(knot, stream, place);
                continue;
            }
            self.knots[knot].waits = Wait::Stream(stream);
            match self.close_circle(knot) {
                Some(larger) => knot = larger,
                None => return,
            }
        }
        self.knots[knot].waits = Wait::Nothing;
        self.ready.push_back(Ready::Knot(knot));
    }

    /// In a stream whose front is a knot's, all up to this place belongs to it. The knot that it has become.
    fn reach(&mut self, mut knot: usize, stream: usize, place: u64) -> usize {
        while self.streams[stream].end <= place {
            self.look();
            let front = &mut self.streams[stream];
            let item = &front.items[(front.end - front.out) as usize];
            front.end += 1;
            let Some(txn) = item.txn else { continue };
            match self.txns[txn].knot {
                None => {
                    self.txns[txn].knot = Some(knot);
                    self.knots[knot].txns.push(txn);
                    self.knots[knot].to_do.push((txn, 0));
                }
                Some(other) if other != knot => knot = self.join(knot, other),
                Some(_) => {}
            }
        }
        knot
    }

    /// If following who waits for whom leads from a knot back to it: what all on the way become. A knot that waits
    /// where its own is at the front is such a way, too.
    fn close_circle(&mut self, knot: usize) -> Option<usize> {
        let mut path: SmallVec<[usize; 8]> = SmallVec::new();
        let mut at = knot;
        while let Wait::Stream(stream) = self.knots[at].waits {
            self.look();
            at = self.streams[stream].knot?;
            if at == knot {
                return Some(path.into_iter().fold(knot, |knot, other| self.join(knot, other)));
            }
            path.push(at);
            // A circle that was closed is one knot, so the way has an end: every knot on it has streams of its own.
            assert!(path.len() < self.streams.len(), "a circle was left open");
        }
        None
    }

    /// Makes one knot of two. It has to be looked at what it waits for.
    fn join(&mut self, one: usize, other: usize) -> usize {
        let is_larger = self.knots[one].txns.len() >= self.knots[other].txns.len();
        let (into, from) = if is_larger { (one, other) } else { (other, one) };
        let Knot { txns, to_do, streams, .. } = self.knots.remove(from);
        for &txn in &txns {
            self.look();
            self.txns[txn].knot = Some(into);
        }
        streams.iter().for_each(|&stream| self.streams[stream].knot = Some(into));
        let knot = &mut self.knots[into];
        knot.txns.extend(txns);
        knot.to_do.extend(to_do);
        knot.streams.extend(streams);
        into
    }

    /// A knot comes out.
    fn untie(&mut self, knot: usize) -> Unit<M> {
        let Knot { txns, mut streams, .. } = self.knots.remove(knot);
        streams.sort_unstable();
        let (mut records, mut reached) = (Vec::new(), Vec::with_capacity(streams.len()));
        let mut frames = txns.len();
        for &stream in &streams {
            let (from, end) = (self.streams[stream].out, self.streams[stream].end);
            let mut mark = None;
            while self.streams[stream].out < end {
                let Some(item) = self.pop(stream) else { break };
                mark = Some(item.mark);
                let bytes = match item.txn {
                    Some(_) => item.bytes,
                    None => without_frames(item.bytes, &mut frames),
                };
                if !bytes.is_empty() {
                    records.push(bytes);
                }
            }
            self.streams[stream].knot = None;
            reached.extend(mark.map(|mark| Reached { stream, items: end - from, mark }));
        }
        for &txn in &txns {
            let held = self.txns.remove(txn);
            self.names.remove(&held.id);
            self.held_bytes -= held.cost_bytes();
        }
        streams.iter().for_each(|&stream| self.meet_front(stream));
        // What concerns all keys conflicts with all, so its transaction comes out alone, with a part in each stream.
        if txns.len() == 1 && streams.len() == self.streams.len() {
            if let Some(one) = align::aligned(&records) {
                records = vec![one];
            }
        }
        Unit::Group { records, reached, transactions: txns.len(), frames }
    }

    #[inline]
    fn look(&mut self) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
    }
}

impl<M> Stream<M> {
    /// How many items have come in.
    fn pushed(&self) -> u64 {
        self.out + self.items.len() as u64
    }
}

impl<M> Item<M> {
    fn cost_bytes(&self) -> usize {
        self.bytes.len() + std::mem::size_of::<Self>()
    }
}

impl Held {
    fn names(&self, stream: usize) -> bool {
        self.shards.iter().any(|shard| shard.index() == stream)
    }

    /// What it takes to hold it, its knot and its name included.
    fn cost_bytes(&self) -> usize {
        let part = std::mem::size_of::<(usize, u64)>() + std::mem::size_of::<ShardId>();
        2 * std::mem::size_of::<Self>() + std::mem::size_of::<Knot>() + self.shards.len() * part
    }
}

impl<M> Unit<M> {
    /// Where the unit brings the streams that have a part in it.
    pub fn reached(&self) -> &[Reached<M>] {
        match self {
            Unit::Plain { reached, .. } => std::slice::from_ref(reached),
            Unit::Group { reached, .. } => reached,
        }
    }
}

/// Adds a unit to the one stream that all become, for a peer that knows no annotations: as many bytes as the streams
/// have counted for it (`Journal::end`). A group is framed once; what its streams counted for more frames stands after
/// it as transactions without commands.
pub fn write_merged<M>(unit: &Unit<M>, out: &mut Vec<u8>) {
    match unit {
        Unit::Plain { bytes, .. } => out.extend_from_slice(bytes),
        Unit::Group { records, frames, .. } => {
            let bytes: usize = records.iter().map(|piece| piece.len()).sum();
            out.reserve(bytes + frames * FRAME_BYTES);
            out.extend_from_slice(MULTI);
            records.iter().for_each(|piece| out.extend_from_slice(piece));
            out.extend_from_slice(EXEC);
            for _ in 1..*frames {
                out.extend_from_slice(MULTI);
                out.extend_from_slice(EXEC);
            }
        }
    }
}

/// Records without their MULTI and EXEC, since they are going to be part of a whole that has its own; how many there
/// were is added to `frames`.
fn without_frames(bytes: Box<[u8]>, frames: &mut usize) -> Box<[u8]> {
    let mut scanner = Scanner::new(0);
    scanner.feed(&bytes, 0);
    let (mut out, mut kept) = (Vec::new(), 0);
    loop {
        let from = scanner.at() as usize;
        // They were whole when they were pushed; were they not, the rest would be left as it is.
        let Ok(Some(scanned)) = scanner.scan() else { break };
        let is = |name| scanned == Scanned::Command && scanner.args().is(0, name);
        let is_multi = is("multi");
        if is_multi || is("exec") {
            *frames += usize::from(is_multi);
            out.extend_from_slice(&bytes[kept..from]);
            kept = scanner.at() as usize;
        }
    }
    if kept == 0 {
        return bytes;
    }
    out.extend_from_slice(&bytes[kept..]);
    out.into()
}

/// Whether a stream's reader sends what it reads to the collector, or applies it itself: its side of an agreement that
/// needs no common moment.
///
/// It begins to send with a part of a transaction, after what it has applied itself is done, and sends all that
/// follows, counting. The collector's side tells how many items have been applied in all whenever none is left on its
/// side (`Collector::applied`). Where the two numbers are the same nothing is left anywhere, and the reader applies
/// again itself; where they are not there is something on its way, after which it is told again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detour {
    sent: u64,
    settled: u64,
}

impl Detour {
    /// Whether there is something that was sent and not applied: then records, too, have to be sent.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.sent > self.settled
    }

    /// An item is sent.
    pub fn send(&mut self) {
        self.sent += 1;
    }

    /// So many items were applied in all: whether it is open no longer.
    pub fn settle(&mut self, applied: u64) -> bool {
        self.settled = self.settled.max(applied.min(self.sent));
        !self.is_open()
    }
}

/// Things with numbers; a number is used again when what had it is gone.
#[derive(Debug)]
struct Slots<T> {
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    fn insert(&mut self, item: T) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.items[slot] = Some(item);
                slot
            }
            None => {
                self.items.push(Some(item));
                self.items.len() - 1
            }
        }
    }

    fn remove(&mut self, slot: usize) -> T {
        let item = self.items[slot].take().expect("a slot in use");
        self.free.push(slot);
        if self.free.len() == self.items.len() {
            self.items.clear();
            self.free.clear();
            self.items.shrink_to(SPARE_ITEMS_MAX);
            self.free.shrink_to(SPARE_ITEMS_MAX);
        }
        item
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, slot: usize) -> &T {
        self.items[slot].as_ref().expect("a slot in use")
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, slot: usize) -> &mut T {
        self.items[slot].as_mut().expect("a slot in use")
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.core.0, self.number)
    }
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CollectError::NoSuchStream(stream) => write!(f, "there is no stream {stream}"),
            CollectError::Uninvited(txn, stream) => {
                write!(f, "transaction {txn} has a part in stream {stream}, which it does not name")
            }
            CollectError::NamedTwice(txn, stream) => {
                write!(f, "transaction {txn} names stream {stream} twice")
            }
            CollectError::Repeated(txn, stream) => {
                write!(f, "transaction {txn} has two parts in stream {stream}")
            }
            CollectError::Disagreement(txn) => {
                write!(f, "the parts of transaction {txn} do not agree on its streams")
            }
            CollectError::Full => f.write_str("too much is held that waits for parts of transactions"),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
