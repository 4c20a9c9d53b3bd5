//! Clients that wait for keys of this shard, in order of arrival on each key.
//!
//! A waiter whose keys are all here brings its command, which the shard tries again when one of the keys has changed.
//! One with keys on several shards is only told that it is its turn (`Turn::Tell`): its own core then tries the command
//! as a transaction, and comes back with what became of it. Until then it is *pending*, and those behind it on the same
//! key wait for it: they came later.
//!
//! Invariant: a waiter stands in the queue of each of its keys, once.
//! Invariant: a queue is in the map if and only if it is not empty.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;

use super::call::OwnedCall;
use super::shard::Ticket;
use crate::base::ids::DbIndex;
use crate::base::key::KeyHash;
use crate::keyspace::ValueKind;

/// A key that is waited for.
pub type Place = (DbIndex, KeyHash);

/// See the module.
#[derive(Debug, Default)]
pub struct Waiters {
    queues: BTreeMap<Place, VecDeque<Ticket>>,
    waiters: BTreeMap<Ticket, Waiter>,
}

/// A client that waits.
#[derive(Debug)]
pub struct Waiter {
    /// What it waits for, on this shard.
    pub keys: SmallVec<[Place; 2]>,
    /// What a key must hold to be of use to it.
    pub kind: ValueKind,
    /// Its command, if all its keys are here.
    pub call: Option<OwnedCall>,
    /// What it is answered when its time is up.
    pub nothing: Vec<u8>,
    /// Whether it is being tried elsewhere, or waits for a transaction.
    is_pending: bool,
    /// Whether a key of its has changed while it was pending.
    again: bool,
}

/// Why a client waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time is up, or CLIENT UNBLOCK says so: it is answered as if there was nothing.
    Timeout,
    /// CLIENT UNBLOCK with ERROR.
    Error,
    /// The server has become a replica: what comes into the key is not for its clients to take.
    RoleChanged,
    /// It has been served, or is gone.
    Over,
}

impl End {
    /// What the client is answered, `nothing` being its command's word for that. To BLMOVE nothing is a null string
    /// where it cannot wait, and a null array once it has (Redis: `replyToBlockedClientOnTimeout`).
    pub fn reply(self, nothing: Vec<u8>) -> Vec<u8> {
        match self {
            End::Timeout | End::Over if nothing == b"$-1\r\n" => b"*-1\r\n".to_vec(),
            End::Timeout | End::Over => nothing,
            End::RoleChanged => {
                b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> \
                replica?)\r\n"
                    .to_vec()
            }
            End::Error => b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n".to_vec(),
        }
    }
}

/// What is to be done for the first waiter of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Try its command; it stands at this place in the queue.
    Try(Ticket, usize),
    /// Tell its core that it is its turn.
    Tell(Ticket),
    /// Nobody waits, or who does is pending.
    Nobody,
}

impl Waiter {
    /// A waiter for these keys, of which each counts once.
    pub fn new(
        mut keys: SmallVec<[Place; 2]>,
        kind: ValueKind,
        call: Option<OwnedCall>,
        nothing: Vec<u8>,
    ) -> Waiter {
        keys.sort_unstable();
        keys.dedup();
        Waiter { keys, kind, call, nothing, is_pending: false, again: false }
    }
}

impl Waiters {
    /// Puts a waiter at the end of the queues of its keys.
    pub fn add(&mut self, ticket: Ticket, waiter: Waiter) {
        for place in &waiter.keys {
            self.queues.entry(*place).or_default().push_back(ticket);
        }
        let before = self.waiters.insert(ticket, waiter);
        debug_assert!(before.is_none(), "{ticket:?} waits twice");
    }

    /// Takes a waiter out of all queues.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        for place in &waiter.keys {
            if let Some(queue) = self.queues.get_mut(place) {
                if let Some(at) = queue.iter().position(|other| *other == ticket) {
                    queue.remove(at);
                }
                if queue.is_empty() {
                    self.queues.remove(place);
                }
            }
        }
        Some(waiter)
    }

    /// A waiter.
    pub fn get(&self, ticket: Ticket) -> Option<&Waiter> {
        self.waiters.get(&ticket)
    }

    /// Whose turn it is on a key that holds this, from a place in its queue on. Who is told becomes pending.
    pub fn turn(&mut self, place: Place, kind: ValueKind, from: usize) -> Turn {
        let Some(queue) = self.queues.get(&place) else { return Turn::Nobody };
        for (at, &ticket) in queue.iter().enumerate().skip(from) {
            let Some(waiter) = self.waiters.get_mut(&ticket).filter(|waiter| waiter.kind == kind) else {
                continue;
            };
            if waiter.is_pending {
                waiter.again = true;
                return Turn::Nobody;
            }
            if waiter.call.is_some() {
                return Turn::Try(ticket, at);
            }
            waiter.is_pending = true;
            return Turn::Tell(ticket);
        }
        Turn::Nobody
    }

    /// The place behind a waiter in the queue of a key; the first if it does not stand there.
    pub fn behind(&self, place: Place, ticket: Ticket) -> usize {
        let at = self.queues.get(&place).and_then(|queue| queue.iter().position(|other| *other == ticket));
        at.map_or(0, |at| at + 1)
    }

    /// A waiter has to wait for a transaction before it can be tried.
    pub fn suspend(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            waiter.is_pending = true;
        }
    }

    /// A waiter that was pending was not served, or can be tried now. Whether a key of its has changed meanwhile.
    pub fn resume(&mut self, ticket: Ticket) -> bool {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return false };
        waiter.is_pending = false;
        std::mem::take(&mut waiter.again)
    }

    /// How many clients wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::CoreId;

    #[test]
    fn who_has_waited_in_vain_gets_a_null_array() {
        for (nothing, reply) in [("$-1\r\n", "*-1\r\n"), ("*-1\r\n", "*-1\r\n"), ("_\r\n", "_\r\n")] {
            assert_eq!(End::Timeout.reply(nothing.into()), reply.as_bytes());
        }
    }

    fn ticket(session: u32) -> Ticket {
        Ticket { core: CoreId(0), session, slot: 0 }
    }

    fn elsewhere(keys: &[u64]) -> Waiter {
        let keys = keys.iter().map(|&key| (DbIndex(0), KeyHash(key))).collect();
        Waiter::new(keys, ValueKind::List, None, Vec::new())
    }

    #[test]
    fn turns_come_in_order_of_arrival_and_wait_for_who_is_pending() {
        let key = |key| (DbIndex(0), KeyHash(key));
        let mut waiters = Waiters::default();
        waiters.add(ticket(1), elsewhere(&[1, 2, 1]));
        waiters.add(ticket(2), elsewhere(&[1]));
        assert_eq!(waiters.turn(key(3), ValueKind::List, 0), Turn::Nobody);
        assert_eq!(waiters.turn(key(1), ValueKind::List, 0), Turn::Tell(ticket(1)));
        assert_eq!(waiters.turn(key(1), ValueKind::List, 0), Turn::Nobody, "the first is pending");
        assert_eq!(waiters.turn(key(2), ValueKind::List, 0), Turn::Nobody, "on all its keys");
        assert!(waiters.resume(ticket(1)), "the key has changed meanwhile");
        assert!(!waiters.resume(ticket(1)));
        assert_eq!(
            waiters.turn(key(1), ValueKind::List, waiters.behind(key(1), ticket(1))),
            Turn::Tell(ticket(2))
        );
        assert!(waiters.remove(ticket(1)).is_some() && waiters.remove(ticket(1)).is_none());
        assert_eq!(waiters.turn(key(2), ValueKind::List, 0), Turn::Nobody);
        waiters.remove(ticket(2));
        assert!(waiters.is_empty() && waiters.queues.is_empty());
    }
}
