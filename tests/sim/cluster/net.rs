//! The network between nodes, and between clients and nodes: TCP connections as two queues of bytes.
//!
//! A queue holds so many bytes and no more; the rest stays with the sender. What is in it arrives in pieces of any
//! size, or not at all for a while, when the two sides are cut off from each other: then nothing is lost, and it goes
//! on when they are together again, as TCP does. A wire that is *cut* ends for both: of what was under way each side
//! still gets some, to any byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringward::base::prng::Prng;

/// Names a connection; none has another's name.
pub(crate) type WireId = usize;

/// Which side of a connection: who has dialed is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

/// Where a side of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Node(usize),
    Client,
}

/// How a queue ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing follows.
    Closed,
    /// The connection broke.
    Broken,
}

/// From one side to the other.
#[derive(Debug, Default)]
struct Way {
    bytes: VecDeque<u8>,
    end: Option<End>,
}

#[derive(Debug)]
struct Wire {
    /// Of the dialer and of the acceptor.
    places: [Place; 2],
    /// From the dialer, and from the acceptor.
    ways: [Way; 2],
    /// Whether that side has let go.
    is_closed: [bool; 2],
}

/// A mistake made on purpose in what nodes send each other, to see whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tampering {
    /// Parts of transactions over several shards look as if they were transactions of one.
    Unannounced,
    /// A record is as good as left out.
    Dropped,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Net {
    wires: BTreeMap<WireId, Wire>,
    next: WireId,
    /// Bytes under way each way, at most.
    capacity: usize,
    /// Pairs of nodes that do not reach each other.
    apart: BTreeSet<(usize, usize)>,
    tampering: Option<Tampering>,
    /// How often that was done.
    pub(crate) tampered: usize,
}

impl Side {
    fn index(self) -> usize {
        self as usize
    }

    fn other(self) -> Side {
        match self {
            Side::Dialer => Side::Acceptor,
            Side::Acceptor => Side::Dialer,
        }
    }
}

impl Net {
    pub(crate) fn new(capacity: usize, tampering: Option<Tampering>) -> Net {
        let (wires, apart) = Default::default();
        Net { wires, next: 0, capacity, apart, tampering, tampered: 0 }
    }

    pub(crate) fn open(&mut self, dialer: Place, acceptor: Place) -> WireId {
        let id = self.next;
        self.next += 1;
        let wire = Wire { places: [dialer, acceptor], ways: Default::default(), is_closed: [false; 2] };
        self.wires.insert(id, wire);
        id
    }

    /// Sends what there is room for: how many bytes that is, or none where nobody is there to read any more.
    pub(crate) fn send(&mut self, id: WireId, side: Side, bytes: &[u8]) -> Option<usize> {
        let capacity = self.capacity;
        let wire = self.wires.get_mut(&id)?;
        let (from, to) = (side.index(), side.other().index());
        if wire.is_closed[to] || wire.ways[to].end == Some(End::Broken) {
            // What is sent to one who has left is answered with a reset.
            wire.ways[to].end = Some(End::Broken);
            return None;
        }
        let way = &mut wire.ways[from];
        if way.end.is_some() {
            return None;
        }
        let room = capacity.saturating_sub(way.bytes.len()).min(bytes.len());
        let is_between_nodes = wire.places.iter().all(|place| matches!(place, Place::Node(_)));
        let Some(tampering) = self.tampering.filter(|_| is_between_nodes) else {
            way.bytes.extend(&bytes[..room]);
            return Some(room);
        };
        // All of it, so that what is looked for is seen whole.
        let mut bytes = bytes.to_vec();
        self.tampered += tamper(tampering, side, &mut bytes);
        way.bytes.extend(&bytes);
        Some(bytes.len())
    }

    /// Takes up to so many bytes that have come.
    pub(crate) fn receive(&mut self, id: WireId, side: Side, max: usize) -> Vec<u8> {
        if self.is_stalled(id) {
            return Vec::new();
        }
        let Some(wire) = self.wires.get_mut(&id) else { return Vec::new() };
        let bytes = &mut wire.ways[side.other().index()].bytes;
        let len = bytes.len().min(max);
        bytes.drain(..len).collect()
    }

    /// Whether this side hears no more, and why.
    pub(crate) fn end(&self, id: WireId, side: Side) -> Option<End> {
        let Some(wire) = self.wires.get(&id) else { return Some(End::Broken) };
        let way = &wire.ways[side.other().index()];
        way.end.filter(|_| way.bytes.is_empty() && !self.is_stalled(id))
    }

    /// A side lets go.
    pub(crate) fn close(&mut self, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let (own, others) = (side.index(), side.other().index());
        wire.is_closed[own] = true;
        // As the kernel does it where something was not read.
        let is_read = wire.ways[others].bytes.is_empty();
        wire.ways[own].end.get_or_insert(if is_read { End::Closed } else { End::Broken });
        wire.ways[others].bytes.clear();
        if wire.is_closed[others] {
            self.wires.remove(&id);
        }
    }

    /// A connection ends for both sides.
    pub(crate) fn cut(&mut self, id: WireId, rng: &mut Prng) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        for way in &mut wire.ways {
            let len = rng.below(way.bytes.len() as u64 + 1) as usize;
            way.bytes.truncate(len);
            way.end = Some(End::Broken);
        }
    }

    /// Who has opened it.
    pub(crate) fn dialer(&self, id: WireId) -> Option<Place> {
        self.wires.get(&id).map(|wire| wire.places[0])
    }

    /// Two nodes reach each other no more, or again.
    pub(crate) fn set_apart(&mut self, one: usize, other: usize, is_apart: bool) {
        let pair = (one.min(other), one.max(other));
        match is_apart {
            true => self.apart.insert(pair),
            false => self.apart.remove(&pair),
        };
    }

    pub(crate) fn heal(&mut self) {
        self.apart.clear();
    }

    pub(crate) fn are_apart(&self, one: usize, other: usize) -> bool {
        self.apart.contains(&(one.min(other), one.max(other)))
    }

    fn is_stalled(&self, id: WireId) -> bool {
        match self.wires.get(&id).map(|wire| wire.places) {
            Some([Place::Node(one), Place::Node(other)]) => self.are_apart(one, other),
            _ => false,
        }
    }

    /// The connections between nodes.
    pub(crate) fn links(&self) -> Vec<(WireId, usize, usize)> {
        let nodes = |(&id, wire): (&WireId, &Wire)| match wire.places {
            [Place::Node(dialer), Place::Node(acceptor)] => Some((id, dialer, acceptor)),
            _ => None,
        };
        self.wires.iter().filter_map(nodes).collect()
    }

    /// Whether something is on its way that would arrive.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wires
            .iter()
            .all(|(&id, wire)| self.is_stalled(id) || wire.ways.iter().all(|way| way.bytes.is_empty()))
    }
}

/// Changes what a node sends to another, and nothing of its length. How many places that were.
fn tamper(tampering: Tampering, side: Side, bytes: &mut [u8]) -> usize {
    let looked_for: &[u8] = match (tampering, side) {
        (Tampering::Unannounced, Side::Acceptor) => b"#TXN:",
        (Tampering::Dropped, Side::Acceptor) => b"\r\nAPPEND\r\n",
        _ => return 0,
    };
    let found = |at: &usize| bytes[*at..].starts_with(looked_for);
    let places: Vec<usize> = (0..bytes.len()).filter(found).collect();
    for &at in &places {
        match tampering {
            Tampering::Unannounced => bytes[at + 1..at + 4].copy_from_slice(b"XXX"),
            // A command that changes nothing, whatever it is given.
            Tampering::Dropped => bytes[at + 2..at + 8].copy_from_slice(b"GETBIT"),
        }
    }
    places.len()
}
