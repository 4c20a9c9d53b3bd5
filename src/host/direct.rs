//! Transactions that are tried directly: without the sequencer, in one round trip, where nothing stands in the way.
//!
//! For those that are one step and whose shards are this core's, and those of at most one other:
//!
//! 1. If nothing of this core's shards has to be waited for, the locks are taken here, and nothing is run yet.
//! 2. The other core gets its share in a parcel. If there is nothing to be waited for it runs it, at once and as one
//!    piece; that is the moment at which the transaction takes place. If there is, it refuses, and has run nothing.
//! 3. When that is known, this core runs its own share, and lets go of the locks.
//!
//! What is refused is scheduled, as all others are (`txn`), and queues: nothing is tried twice, so nobody starves.
//! While locks are held nothing is waited for but the other core's answer, which waits for nothing: so there is no
//! deadlock, though these transactions reach the shards in no order that all would agree on. Two of them, or one of
//! them and a scheduled one, that meet on a key meet on the first shard on which both are: there one of them waits, or
//! is refused.
//!
//! Where all shards are this core's, and free, it is all run at once, without locks.

use smallvec::SmallVec;

use super::host::Host;
use super::mail::{Attempted, Parcel};
use super::txn::{writers, Holds, Prepared};
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::Ticks;
use crate::session::program::Advance;
use crate::shard::locks::{Claims, JobId};
use crate::shard::shard::Writers;
use crate::shard::{OwnedCall, TxnId};

/// A transaction whose share is at another core.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Its claims are those on the neighbour's shards only.
    prepared: Prepared,
    /// The shards of all of its parts that write.
    writers: Writers,
    /// The places of this core's shards that have a part.
    places: SmallVec<[usize; 4]>,
    /// The locks on this core's shards, by their places.
    held: SmallVec<[(usize, JobId); 2]>,
}

/// What the guard of a watched key says if it has not changed.
const UNCHANGED: &[u8] = b":1\r\n";

impl<T: Ticks> Host<T> {
    /// Tries a transaction directly. Gives it back if it has to be scheduled.
    pub(super) fn attempt(&mut self, prepared: Prepared) -> Result<(), Box<Prepared>> {
        let Some(neighbour) = self.is_direct(&prepared) else { return Err(Box::new(prepared)) };
        if !self.guards_hold_here(&prepared) {
            self.conclude(prepared.accounts, None);
            return Ok(());
        }
        let writers = writers(&prepared.claims);
        let places = self.places_of(prepared.claims.iter().map(|(shard, _)| *shard));
        let Some(core) = neighbour else {
            let number = self.new_number();
            let attempt = Attempt { prepared, writers, places, held: SmallVec::new() };
            self.finish_attempt(number, attempt, Vec::new(), Holds::new());
            return Ok(());
        };
        let number = self.new_number();
        let parcel =
            self.outboxes[core.index()].open.get_or_insert_with(|| self.parcels.pop().unwrap_or_default());
        let (guards, calls) = (&prepared.guards, prepared.first.calls());
        parcel.push_share(number, &writers, foreign(&self.local, guards), foreign(&self.local, calls));
        let mut held = SmallVec::new();
        let mut prepared = prepared;
        prepared.claims.retain_mut(|(shard, claims)| {
            let place = self.local[shard.index()].map(usize::from);
            let Some(place) = place else { return true };
            let claims = std::mem::replace(claims, Claims::Keys(SmallVec::new()));
            held.push((place, self.shards[place].hold(claims)));
            false
        });
        self.stats.attempts += 1;
        self.attempts.insert(number, Attempt { prepared, writers, places, held });
        Ok(())
    }

    /// Whether a transaction can be tried directly, and at which core, if any.
    #[allow(
        clippy::option_option,
        reason = "two questions, of which the second arises only if the first is answered"
    )]
    fn is_direct(&self, prepared: &Prepared) -> Option<Option<CoreId>> {
        let mut neighbour: Option<CoreId> = None;
        for (shard, claims) in &prepared.claims {
            match self.local[shard.index()] {
                Some(place) if self.shards[usize::from(place)].must_wait_for(claims) => return None,
                Some(_) => {}
                None => {
                    let core = self.placement[shard.index()];
                    if neighbour.is_some_and(|other| other != core) {
                        return None;
                    }
                    neighbour = Some(core);
                }
            }
        }
        if !prepared.is_one_step {
            return None;
        }
        let Some(core) = neighbour else { return Some(None) };
        // What takes whole shards would be refused whenever there is work.
        let is_small = prepared.claims.iter().all(|(_, claims)| matches!(claims, Claims::Keys(_)));
        (is_small && self.outboxes[core.index()].has_room()).then_some(neighbour)
    }

    /// Whether the keys that are watched on this core's shards, which nobody is changing, have not been changed.
    fn guards_hold_here(&mut self, prepared: &Prepared) -> bool {
        let now = self.now;
        prepared.guards.iter().all(|(shard, calls)| {
            let Some(place) = self.local[shard.index()].map(usize::from) else { return true };
            self.shards[place].run_all(calls, now).iter().all(|answer| answer == UNCHANGED)
        })
    }

    /// As neighbour: runs the shares of a parcel.
    pub(super) fn run_shares(&mut self, from: CoreId, parcel: &mut Parcel) {
        let mut held = Vec::new();
        parcel.answer_shares(|calls, replies| {
            let must_wait = calls.iter().any(|(shard, call)| {
                let shard = &self.shards[self.place_of(shard)];
                !shard.is_calm() && shard.must_wait(self.table.spec(call.head.command), call)
            });
            if must_wait {
                return Attempted::Refused;
            }
            let places = self.places_of(calls.iter().map(|(shard, _)| shard));
            places.iter().for_each(|&place| self.shards[place].begin_part());
            let mut outcome = Attempted::Ran;
            for (at, (shard, call)) in calls.iter().enumerate() {
                let place = self.place_of(shard);
                let start = replies.bytes.len();
                self.shards[place].run_call(call, self.now, replies.bytes);
                if at >= calls.guards() {
                    replies.end();
                } else {
                    let has_changed = replies.bytes[start..] != *UNCHANGED;
                    replies.bytes.truncate(start);
                    if has_changed {
                        outcome = Attempted::Changed;
                        break;
                    }
                }
            }
            let txn = TxnId { core: from, number: calls.txn() };
            // Where nothing took place nothing is recorded but what had expired.
            let writers = if outcome == Attempted::Ran { calls.writers() } else { &[] };
            for place in places {
                self.shards[place].end_part(txn, writers);
                let hold = self.hold_of(self.shards[place].id(), from);
                held.extend(hold.filter(|_| !writers.is_empty()).map(|hold| (calls.txn(), hold)));
            }
            outcome
        });
        if !held.is_empty() {
            parcel.hold_shares(held);
        }
    }

    /// A parcel has come back: what has become of the shares in it.
    pub(super) fn take_shares(&mut self, parcel: &Parcel) {
        parcel.take_shares(|number, outcome, replies, holds| {
            let Some(attempt) = self.attempts.remove(&number) else { return };
            match outcome {
                Attempted::Ran => self.finish_attempt(number, attempt, replies, holds),
                Attempted::Changed => {
                    self.let_go(&attempt.held);
                    self.conclude(attempt.prepared.accounts, None);
                }
                Attempted::Refused => {
                    self.stats.attempts_refused += 1;
                    let Attempt { mut prepared, held, .. } = attempt;
                    prepared.claims.extend(self.let_go(&held));
                    self.schedule(prepared);
                }
            }
        });
    }

    /// Runs this core's share, after the neighbour's, if there was one.
    fn finish_attempt(
        &mut self,
        number: u64,
        attempt: Attempt,
        replies: Vec<(ShardId, Vec<Vec<u8>>)>,
        holds: Holds,
    ) {
        let (mut replies, mut holds) = (replies, holds);
        let Attempt { mut prepared, writers, places, held } = attempt;
        let txn = TxnId { core: self.id, number };
        places.iter().for_each(|&place| self.shards[place].begin_part());
        for (shard, calls) in prepared.first.calls() {
            if let Some(place) = self.local[shard.index()].map(usize::from) {
                replies.push((*shard, self.shards[place].run_all(calls, self.now)));
            }
        }
        for place in places {
            self.shards[place].end_part(txn, &writers);
            let hold = self.hold_of(self.shards[place].id(), self.id);
            holds.extend(hold.filter(|_| !writers.is_empty()));
        }
        let mut rng = self.rng.clone();
        let next = prepared.program.advance(self.shape(), &mut replies, &mut rng);
        debug_assert_eq!(next, Some(Advance::Done), "there was to be one step");
        self.rng = rng;
        self.let_go(&held);
        for place in 0..self.shards.len() {
            if self.shards[place].has_ready() {
                self.serve_waiters(place);
            }
        }
        self.conclude_when_durable(number, prepared.accounts, Some(prepared.program), holds);
    }

    /// The places of those shards that are this core's, each once.
    fn places_of(&self, shards: impl Iterator<Item = ShardId>) -> SmallVec<[usize; 4]> {
        let mut places = SmallVec::new();
        for place in shards.filter_map(|shard| self.local[shard.index()]) {
            if !places.contains(&usize::from(place)) {
                places.push(usize::from(place));
            }
        }
        places
    }

    /// Lets go of the locks on this core's shards, and serves those who have waited for them, or for what was written.
    /// Gives back what was claimed.
    fn let_go(&mut self, held: &[(usize, JobId)]) -> Vec<(ShardId, Claims)> {
        let mut all = Vec::new();
        for &(place, job) in held {
            let claims = self.shards[place].let_go(job, self.now, &mut self.shard_effects);
            all.extend(claims.map(|claims| (self.shards[place].id(), claims)));
        }
        self.carry_out();
        all
    }
}

/// Those of a step's calls that are for shards of other cores.
fn foreign<'a>(
    local: &'a [Option<u16>],
    calls: &'a [(ShardId, Vec<OwnedCall>)],
) -> impl Iterator<Item = (ShardId, &'a OwnedCall)> {
    let foreign = calls.iter().filter(|(shard, _)| local[shard.index()].is_none());
    foreign.flat_map(|(shard, calls)| calls.iter().map(|call| (*shard, call)))
}
