//! The replies a connection is owed, in the order of its requests.
//!
//! While nothing is outstanding, commands write straight into `out`, which goes to the socket. Once a request has gone
//! to another core or has to wait, a *slot* holds its place; what local commands answer behind it waits in `held`.
//! When the front slot is filled, it and everything ready behind it moves to `out`.
//!
//! A reply may be here and yet have to stay, because what it tells of is not on the disk (`Hold`): it has a slot like
//! one that waits, until `release`.
//!
//! Invariant: `held` is empty when there are no slots.

use std::collections::VecDeque;

use crate::base::ids::ShardId;

/// What a reply waits for: that a shard's records are on the disk up to a position of its append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Whose records.
    pub shard: ShardId,
    /// Up to where.
    pub position: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Replies {
    /// Ready to be sent.
    pub out: Vec<u8>,
    held: Vec<u8>,
    slots: VecDeque<Slot>,
    /// The number of the front slot; slots are counted up for as long as the session lives, and wrap. The next session
    /// with its number counts on: what is said late about a slot reaches no other client.
    front: u32,
    /// How many slots wait for their reply.
    waiting: u32,
    /// How many slots have one that has to stay.
    on_hold: u32,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// The reply is not here yet; it is thrown away when it comes if the client asked for silence (CLIENT REPLY).
    Waiting { discard: bool },
    /// The reply stands in `held`.
    Held { start: usize, end: usize },
    /// The reply stands in `held` and has to stay.
    OnHold { start: usize, end: usize, hold: Hold },
}

impl Replies {
    /// Nothing is owed; the first slot has this number.
    pub fn starting_at(front: u32) -> Self {
        Replies { front, ..Replies::default() }
    }

    /// The number of the next slot.
    #[inline]
    pub fn next_slot(&self) -> u32 {
        self.front.wrapping_add(self.slots.len() as u32)
    }

    /// Where a command that runs now writes its reply; `wrote` must follow.
    #[inline]
    pub fn writer(&mut self) -> &mut Vec<u8> {
        if self.slots.is_empty() {
            &mut self.out
        } else {
            &mut self.held
        }
    }

    /// A reply was written that began at `start` in `writer()`.
    #[inline]
    pub fn wrote(&mut self, start: usize) {
        if !self.slots.is_empty() {
            self.slots.push_back(Slot::Held { start, end: self.held.len() });
        }
    }

    /// A reply was written that began at `start` in `writer()`, and has to stay.
    pub fn wrote_held(&mut self, start: usize, hold: Hold) {
        let mut start = start;
        if self.slots.is_empty() {
            self.held.extend_from_slice(&self.out[start..]);
            self.out.truncate(start);
            start = 0;
        }
        self.slots.push_back(Slot::OnHold { start, end: self.held.len(), hold });
        self.on_hold += 1;
    }

    /// The reply for a reserved place has come, and has to stay.
    pub fn fill_held(&mut self, number: u32, reply: &[u8], hold: Hold) {
        let at = number.wrapping_sub(self.front) as usize;
        let Some(Slot::Waiting { discard }) = self.slots.get(at).copied() else {
            debug_assert!(false, "slot {number} is not waiting");
            return;
        };
        let start = self.held.len();
        self.held.extend_from_slice(if discard { &[] } else { reply });
        self.slots[at] = Slot::OnHold { start, end: self.held.len(), hold };
        self.waiting -= 1;
        self.on_hold += 1;
    }

    /// Lets the replies go for which what they wait for has come; whether any has. One that is not at the front goes
    /// when those before it have.
    pub fn release(&mut self, has_come: impl Fn(Hold) -> bool) -> bool {
        let mut any = false;
        while let Some(Slot::OnHold { start, end, hold }) = self.slots.front().copied() {
            if !has_come(hold) {
                break;
            }
            self.slots[0] = Slot::Held { start, end };
            self.on_hold -= 1;
            self.advance();
            any = true;
        }
        any
    }

    /// How many replies have to stay.
    #[inline]
    pub fn on_hold(&self) -> u32 {
        self.on_hold
    }

    /// Whether a reply waits for this shard.
    pub fn waits_for(&self, shard: ShardId) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::OnHold { hold, .. } if hold.shard == shard))
    }

    /// Appends a reply that is bytes already.
    pub fn push(&mut self, reply: &[u8]) {
        let start = self.writer().len();
        self.writer().extend_from_slice(reply);
        self.wrote(start);
    }

    /// Keeps a place for a reply that comes later, to be filled by its number.
    #[inline]
    pub fn reserve(&mut self, discard: bool) -> u32 {
        let number = self.next_slot();
        self.slots.push_back(Slot::Waiting { discard });
        self.waiting += 1;
        number
    }

    /// The reply for a reserved place has come.
    #[inline]
    pub fn fill(&mut self, number: u32, reply: &[u8]) {
        let at = number.wrapping_sub(self.front) as usize;
        let Some(Slot::Waiting { discard }) = self.slots.get(at).copied() else {
            debug_assert!(false, "slot {number} is not waiting");
            return;
        };
        self.waiting -= 1;
        let reply = if discard { &[] } else { reply };
        if at == 0 {
            self.out.extend_from_slice(reply);
            self.slots.pop_front();
            self.front = self.front.wrapping_add(1);
            self.advance();
        } else {
            let start = self.held.len();
            self.held.extend_from_slice(reply);
            self.slots[at] = Slot::Held { start, end: self.held.len() };
        }
    }

    /// Nobody is there to read what is still outstanding: it is thrown away when it comes.
    pub fn discard_waiting(&mut self) {
        for slot in &mut self.slots {
            if let Slot::Waiting { discard } = slot {
                *discard = true;
            }
        }
    }

    /// Moves what is ready at the front to `out`.
    #[inline]
    fn advance(&mut self) {
        while let Some(Slot::Held { start, end }) = self.slots.front().copied() {
            self.out.extend_from_slice(&self.held[start..end]);
            self.slots.pop_front();
            self.front = self.front.wrapping_add(1);
        }
        if self.slots.is_empty() {
            self.held.clear();
            if self.held.capacity() > KEEP_BYTES_MAX {
                self.held = Vec::new();
            }
        }
    }

    /// How many replies are under way elsewhere, or have to stay.
    #[inline]
    pub fn waiting(&self) -> u32 {
        self.waiting + self.on_hold
    }

    /// Bytes that are owed and here: for the limits on a client that does not read.
    #[inline]
    pub fn pending_bytes(&self) -> usize {
        self.out.len() + self.held.len()
    }

    /// Memory held, for CLIENT LIST and accounting.
    pub fn memory_bytes(&self) -> usize {
        self.out.capacity() + self.held.capacity() + self.slots.capacity() * std::mem::size_of::<Slot>()
    }

    /// How many replies stand behind one that is still outstanding (`oll` of CLIENT LIST).
    pub fn queued(&self) -> usize {
        self.slots.len()
    }

    /// Gives back the memory of a connection that has nothing under way.
    pub fn shrink(&mut self) {
        if self.slots.is_empty() {
            self.held = Vec::new();
            self.slots = VecDeque::new();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }
}

/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn replies_leave_in_the_order_of_the_requests() {
        for seed in 0..300 {
            let mut rng = Prng::new(seed);
            let mut replies = Replies::default();
            let (mut expected, mut waiting, mut synced) = (Vec::new(), Vec::new(), 0);
            for request in 0..60u32 {
                let text = format!("{request};");
                match rng.below(5) {
                    0 => {
                        replies.push(text.as_bytes());
                        expected.extend_from_slice(text.as_bytes());
                    }
                    2 => {
                        let start = replies.writer().len();
                        replies.writer().extend_from_slice(text.as_bytes());
                        replies.wrote_held(start, Hold { shard: ShardId(0), position: u64::from(request) });
                        expected.extend_from_slice(text.as_bytes());
                    }
                    3 => {
                        synced = rng.below(u64::from(request) + 1).max(synced);
                        replies.release(|hold| hold.position <= synced);
                    }
                    1 => {
                        let discard = rng.below(5) == 0;
                        waiting.push((replies.reserve(discard), text.clone()));
                        if !discard {
                            expected.extend_from_slice(text.as_bytes());
                        }
                    }
                    _ if !waiting.is_empty() => {
                        let (slot, text) = waiting.swap_remove(rng.below(waiting.len() as u64) as usize);
                        match rng.below(2) {
                            0 => replies.fill(slot, text.as_bytes()),
                            _ => {
                                let hold = Hold { shard: ShardId(1), position: u64::from(request) };
                                replies.fill_held(slot, text.as_bytes(), hold);
                            }
                        }
                    }
                    _ => {}
                }
                assert_eq!(replies.waiting() as usize, waiting.len() + replies.on_hold() as usize);
                assert!(expected.starts_with(&replies.out), "seed {seed}");
                let first_held = replies.slots.iter().find_map(|slot| match slot {
                    Slot::OnHold { start, end, hold } => Some((&replies.held[*start..*end], *hold)),
                    _ => None,
                });
                assert!(first_held.is_none_or(|(text, _)| replies.out.len() + text.len() <= expected.len()));
            }
            for (slot, text) in waiting {
                replies.fill(slot, text.as_bytes());
            }
            assert!(replies.on_hold() == 0 || !replies.release(|_| false));
            replies.release(|_| true);
            while replies.on_hold() > 0 {
                assert!(replies.release(|_| true), "seed {seed}: what is at the front goes");
            }
            assert_eq!(replies.out, expected, "seed {seed}");
            assert!(replies.held.is_empty() && replies.slots.is_empty());
        }
    }
}
