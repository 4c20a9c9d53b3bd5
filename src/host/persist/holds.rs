//! Replies that wait for the disk (`appendfsync always`).
//!
//! A reply to a command that has appended a record waits until the shard's file is synced up to there; so do the
//! replies behind it on the same connection, which must not overtake it. Other connections go on, also if they have
//! read what is not on the disk yet: what they saw can only be lost with what the writer was never told of.

use smallvec::SmallVec;

use super::{PersistMail, Persistence};
use crate::base::ids::{CoreId, ShardId};
use crate::base::time::Ticks;
use crate::host::host::{mark_dirty, Host};
use crate::host::mail::Rare;
use crate::host::txn::{Accounts, Holds};
use crate::session::program::Program;
use crate::session::replies::Hold;
use crate::shard::TxnId;

/// A transaction that has run and whose records are not on the disk on all its shards.
#[derive(Debug)]
pub(super) struct Undurable {
    number: u64,
    /// Who waits for that; nobody where it was answered before.
    accounts: Accounts,
    program: Option<Program>,
    holds: Holds,
    /// Whether all its shards were told that all its parts are there.
    is_whole: bool,
}

impl Persistence {
    /// Where a shard's append-only file will be once so many bytes that wait in its journal are there.
    #[inline]
    pub(in crate::host) fn position_of(&self, place: usize, pending: usize) -> u64 {
        self.shards[place].aof.as_ref().map_or(0, |aof| aof.appended()) + pending as u64
    }
}

impl<T: Ticks> Host<T> {
    /// A command of this session has recorded something on a shard of this core: its reply, which begins at `start` in
    /// the session's `writer()`, waits for the disk.
    #[cold]
    pub(in crate::host) fn hold_here(&mut self, index: u32, place: usize, start: usize) {
        let shard = self.shards[place].id();
        let position = self.persist.position_of(place, self.shards[place].journal.pending().len());
        self.hold(index, start, Hold { shard, position });
    }

    /// What a reply has to wait for that a shard of this core has just made, if it has to: for everything that was
    /// recorded there.
    pub(in crate::host) fn hold_of(&mut self, shard: ShardId, core: CoreId) -> Option<Hold> {
        if !self.persist.holds {
            return None;
        }
        let place = self.place_of(shard);
        let position = self.persist.position_of(place, self.shards[place].journal.pending().len());
        if self.persist.released[shard.index()] >= position {
            return None;
        }
        self.asked_for_release(place, core);
        Some(Hold { shard, position })
    }

    /// The reply that begins at `start` in a session's `writer()` waits until this shard's records are on the disk up
    /// to `position`.
    pub(in crate::host) fn hold(&mut self, index: u32, start: usize, hold: Hold) {
        let is_released = self.replays(index) || self.persist.released[hold.shard.index()] >= hold.position;
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        if is_released {
            session.replies.wrote(start);
            return;
        }
        session.replies.wrote_held(start, hold);
        self.note_held(index);
    }

    /// The same for a reply that has come from elsewhere, to its place.
    pub(in crate::host) fn fill_held(&mut self, index: u32, slot: u32, reply: &[u8], hold: Hold) {
        if self.replays(index) {
            return self.fill(index, slot, reply);
        }
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.replies.fill_held(slot, reply, hold);
        self.note_held(index);
        // It may be on the disk already.
        self.persist.has_progress = true;
    }

    /// Whether a session is this node's own, and applies what was done elsewhere: it promises nothing to anybody, and
    /// waits for no disk. (A primary is told what is applied, as in Redis, whether it is on the disk or not.)
    fn replays(&mut self, index: u32) -> bool {
        self.session(index).is_some_and(|session| session.replays)
    }

    fn note_held(&mut self, index: u32) {
        // With the first one; it stays on the list for as long as it has any.
        let is_first = self.session(index).is_some_and(|session| session.replies.on_hold() == 1);
        if is_first {
            self.persist.held.push(index);
        }
    }

    /// Another core's client waits for this shard's records.
    pub(in crate::host) fn asked_for_release(&mut self, place: usize, core: CoreId) {
        let askers = &mut self.persist.shards[place].askers;
        if core != self.id && !askers.contains(&core) {
            askers.push(core);
        }
    }

    /// Ends a transaction whose records are written, once all of them are on the disk on all shards, and so is
    /// everything that could take them with it in a crash (`storage::torn`).
    pub(in crate::host) fn conclude_when_durable(
        &mut self,
        number: u64,
        accounts: Accounts,
        program: Option<Program>,
        holds: Holds,
    ) {
        if holds.is_empty() {
            return self.conclude(accounts, program);
        }
        if self.replays(accounts[0].session) {
            // The shards are to be told all the same.
            let nobody = Accounts::new();
            let txn = Undurable { number, accounts: nobody, program: None, holds, is_whole: false };
            self.persist.undurable.push(txn);
            self.persist.has_progress = true;
            return self.conclude(accounts, program);
        }
        self.persist.undurable.push(Undurable { number, accounts, program, holds, is_whole: false });
        // They may be on the disk already.
        self.persist.has_progress = true;
    }

    /// The disk has come further: transactions end.
    pub(super) fn conclude_durable(&mut self) {
        let mut left = Vec::new();
        for mut txn in std::mem::take(&mut self.persist.undurable) {
            let is_synced = |hold: &Hold| self.persist.synced[hold.shard.index()] >= hold.position;
            if !txn.is_whole && txn.holds.iter().all(is_synced) {
                txn.is_whole = true;
                for shard in txn.holds.iter().map(|hold| hold.shard).collect::<SmallVec<[ShardId; 4]>>() {
                    let whole = PersistMail::Whole(shard, (self.id, txn.number));
                    self.post(self.placement[shard.index()], Rare::Persist(whole));
                }
            }
            let is_released = |hold: &Hold| self.persist.released[hold.shard.index()] >= hold.position;
            match txn.is_whole && txn.holds.iter().all(is_released) {
                true if txn.accounts.is_empty() => {}
                true => self.conclude(txn.accounts, txn.program),
                false => left.push(txn),
            }
        }
        self.persist.undurable.append(&mut left);
    }

    /// The coordinator of a transaction that is recorded next does not hold its reply, and so does not say when all its
    /// parts are on the disk: it has not heard yet that replies are held, or has heard that they are not. Nothing may
    /// wait for its word.
    pub(in crate::host) fn expect_no_end(&mut self, place: usize, txn: TxnId) {
        if self.persist.holds {
            self.persist.shards[place].endless.push((txn.core, txn.number));
        }
    }

    /// All parts of a transaction are on the disk: what stands behind this shard's part may be told of.
    pub(super) fn note_whole(&mut self, shard: ShardId, txn: (CoreId, u64)) {
        let place = self.place_of(shard);
        if let Some(aof) = &mut self.persist.shards[place].aof {
            aof.end_barrier((txn.0 .0, txn.1));
        }
    }

    /// The disk has come further: replies leave.
    pub(super) fn release_held(&mut self) {
        for index in std::mem::take(&mut self.persist.held) {
            let released = &self.persist.released;
            let Some(session) = self.sessions[index as usize].as_deref_mut() else { continue };
            let moved = session.replies.release(|hold| released[hold.shard.index()] >= hold.position);
            if session.replies.on_hold() > 0 {
                self.persist.held.push(index);
            }
            if moved {
                mark_dirty(session, index, &mut self.dirty);
                self.after_fill(index);
            }
        }
    }

    /// What waits for this shard will never be on the disk: whose replies wait for it are told nothing, as if the
    /// server had stopped, and their connections end.
    pub(super) fn drop_held(&mut self, shard: ShardId) {
        for txn in std::mem::take(&mut self.persist.undurable) {
            let waits = txn.holds.iter().any(|hold| hold.shard == shard);
            let Some(index) = txn.accounts.first().map(|account| account.session).filter(|_| waits) else {
                self.persist.undurable.push(txn);
                continue;
            };
            self.close(index, true);
            self.end_wait(index, |_| ());
        }
        for index in self.persist.held.clone() {
            let waits = self.session(index).is_some_and(|session| session.replies.waits_for(shard));
            if waits {
                self.close(index, true);
            }
        }
    }
}
