//! The mail between cores: for each ordered pair one bounded queue, first in, first out, as `runtime::mesh` has it.
//!
//! Looks at every message that passes: the bounds named in `host::mail` must hold.

use std::collections::{BTreeSet, VecDeque};

use ringward::base::ids::{CoreId, ShardId};
use ringward::host::mail::{Attempted, Rare, PARCELS_IN_FLIGHT_MAX, PARCEL_BYTES_MAX, PARCEL_CALLS_MAX};
use ringward::host::Mail;
use ringward::shard::TxnId;

/// A mistake made on purpose, to see whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A shard is told that a transaction is over as soon as its own part has run, not when every part has: its locks
    /// are let go too early.
    EarlyFinish,
}

/// What becomes of a message that a core wants to send.
pub(crate) enum Sent {
    /// It is on its way, or was taken out.
    Gone,
    /// There is no room: it stays with the sender.
    Full(Mail),
    /// It is on its way, and the sender gets this, as if from the receiver.
    Answered(Mail),
}

/// All links.
pub(crate) struct Mesh {
    cores: usize,
    capacity: usize,
    /// The link from `a` to `b` at `a * cores + b`.
    links: Vec<VecDeque<Mail>>,
    /// For each link, how many parcels of its sender are away.
    parcels: Vec<u32>,
    sabotage: Option<Sabotage>,
    finished: BTreeSet<(TxnId, ShardId)>,
    pub(crate) attempts: Attempts,
}

/// What became of the transactions that were tried directly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) ran: usize,
    pub(crate) refused: usize,
    pub(crate) changed: usize,
}

impl std::ops::AddAssign for Attempts {
    fn add_assign(&mut self, other: Attempts) {
        self.ran += other.ran;
        self.refused += other.refused;
        self.changed += other.changed;
    }
}

impl Mesh {
    pub(crate) fn new(cores: u16, capacity: usize, sabotage: Option<Sabotage>) -> Mesh {
        let cores = usize::from(cores);
        Mesh {
            cores,
            capacity,
            links: (0..cores * cores).map(|_| VecDeque::new()).collect(),
            parcels: vec![0; cores * cores],
            sabotage,
            finished: BTreeSet::new(),
            attempts: Attempts::default(),
        }
    }

    fn link(&self, from: CoreId, to: CoreId) -> usize {
        from.index() * self.cores + to.index()
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, from: CoreId, to: CoreId, mail: Mail) -> Sent {
        let link = self.link(from, to);
        if self.links[link].len() >= self.capacity {
            return Sent::Full(mail);
        }
        if let Mail::Requests(parcel) = &mail {
            self.parcels[link] += 1;
            assert!(self.parcels[link] <= PARCELS_IN_FLIGHT_MAX, "too many parcels of {from:?} at {to:?}");
            assert!(
                !parcel.is_empty() && parcel.calls().len() <= PARCEL_CALLS_MAX,
                "a parcel of another size"
            );
            // The simulator's requests are far smaller than a kilobyte.
            assert!(parcel.request_bytes() < PARCEL_BYTES_MAX + 1024, "a parcel is too large");
        }
        let answer = self.sabotaged(&mail);
        match answer {
            Some(Sent::Gone) => return Sent::Gone,
            None | Some(_) => self.links[link].push_back(mail),
        }
        answer.unwrap_or(Sent::Gone)
    }

    /// Takes the oldest message between two cores.
    pub(crate) fn take(&mut self, from: CoreId, to: CoreId) -> Option<Mail> {
        let (link, back) = (self.link(from, to), self.link(to, from));
        let mail = self.links[link].pop_front()?;
        if let Mail::Replies(parcel) = &mail {
            self.parcels[back] -= 1;
            parcel.take_shares(|_, outcome, _, _| match outcome {
                Attempted::Ran => self.attempts.ran += 1,
                Attempted::Refused => self.attempts.refused += 1,
                Attempted::Changed => self.attempts.changed += 1,
            });
        }
        Some(mail)
    }

    /// How many messages wait between two cores.
    pub(crate) fn waiting(&self, from: CoreId, to: CoreId) -> usize {
        self.links[self.link(from, to)].len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.iter().all(VecDeque::is_empty)
    }

    fn sabotaged(&mut self, mail: &Mail) -> Option<Sent> {
        let (Some(Sabotage::EarlyFinish), Mail::Rare(rare)) = (self.sabotage, mail) else { return None };
        match **rare {
            Rare::Step(txn, shard, ..) => {
                self.finished.insert((txn, shard));
                Some(Sent::Answered(Mail::Rare(Box::new(Rare::Finish(txn, shard, Vec::new(), false)))))
            }
            Rare::Finish(txn, shard, ref calls, _)
                if calls.is_empty() && self.finished.remove(&(txn, shard)) =>
            {
                Some(Sent::Gone)
            }
            _ => None,
        }
    }
}

/// What kind of message it is, for the trace.
pub(crate) fn kind(mail: &Mail) -> &'static str {
    match mail {
        Mail::Requests(_) => "a parcel of requests",
        Mail::Replies(_) => "a parcel of replies",
        Mail::Rare(rare) => match **rare {
            Rare::Late(..) => "a late reply",
            Rare::Sequence(..) => "a transaction for the sequencer",
            Rare::Part(..) => "a part of a transaction",
            Rare::Step(..) => "the outcome of a step",
            Rare::Finish(..) => "the end of a transaction",
            _ => "something rare",
        },
    }
}
