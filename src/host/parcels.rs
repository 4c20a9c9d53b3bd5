//! Requests that travel: a core answers the parcels of the others, and takes its own when they come back.
//!
//! A parcel is answered like a batch, in the same three waves.

use super::batch::touch;
use super::host::Host;
use super::mail::{Answered, Mail, Parcel, Rare};
use crate::base::ids::CoreId;
use crate::base::time::Ticks;
use crate::session::replies::Hold;
use crate::session::{State, Wait};
use crate::shard::Ticket;

/// A parcel takes no reply that ends beyond this: that one travels by itself. The places in a parcel are 32 bits wide.
const PARCEL_REPLIES_BYTES_MAX: usize = 1 << 30;

impl<T: Ticks> Host<T> {
    /// Requests of another core for shards of this one.
    pub(super) fn answer_parcel(&mut self, from: CoreId, mut parcel: Box<Parcel>) {
        for call in parcel.calls() {
            if let Some(place) = self.local[call.shard.index()] {
                self.shards[usize::from(place)].keyspace.prefetch_bucket(call.head.db, call.head.first_key);
            }
        }
        for call in parcel.calls() {
            if let Some(place) = self.local[call.shard.index()] {
                self.shards[usize::from(place)].keyspace.prefetch_entry(call.head.db, call.head.first_key);
            }
        }
        for call in parcel.calls().iter().filter(|call| self.table.is_deep(call.head.command)) {
            if let Some(place) = self.local[call.shard.index()] {
                let keyspace = &self.shards[usize::from(place)].keyspace;
                keyspace.prefetch_collection(call.head.db, call.head.first_key);
            }
        }
        for (shard, head) in parcel.share_heads() {
            if let Some(place) = self.local[shard.index()] {
                self.shards[usize::from(place)].keyspace.prefetch_bucket(head.db, head.first_key);
            }
        }
        let mut before = self.ticks.ticks();
        let mut too_large = Vec::new();
        let holds = self.persist.holds;
        let (mut ordinal, mut held) = (0u32, Vec::new());
        parcel.answer(|call, request, out| {
            ordinal += 1;
            let Some(place) = self.local[call.shard.index()] else {
                unreachable!("{:?} is not hosted here", call.shard)
            };
            let shard = &mut self.shards[usize::from(place)];
            let spec = self.table.spec(call.head.command);
            if !shard.is_calm() && shard.must_wait(spec, request) {
                shard.defer(Ticket { core: from, session: call.session, slot: call.slot }, request);
                return Answered::Later;
            }
            shard.keyspace.set_touch(touch(call.head.no_touch));
            let recorded = shard.journal.pending().len();
            let start = out.len();
            let result = shard.run(spec, request, self.now, out);
            let recorded_to = shard.journal.pending().len();
            if holds && recorded_to > recorded {
                held.push((ordinal - 1, self.persist.position_of(usize::from(place), recorded_to)));
            }
            let after = self.ticks.ticks();
            let took = after.wrapping_sub(before);
            before = after;
            let stats = &mut self.command_stats[call.head.command.index()];
            stats.record_as(self.ticks.to_ns(took), self.tracks_latency);
            if let Err(error) = result {
                stats.failed += 1;
                self.error_stats.count(&error);
            }
            if out.len() > PARCEL_REPLIES_BYTES_MAX {
                let ticket = Ticket { core: from, session: call.session, slot: call.slot };
                too_large.push(Rare::Late(ticket, out.split_off(start), None));
                return Answered::Later;
            }
            // 0 would mean that it was not slow.
            let slow_us = if took >= self.slow_ticks { (self.ticks.to_ns(took) / 1000).max(1) } else { 0 };
            Answered::Now { slow_us: slow_us.min(u64::from(u32::MAX)) as u32 }
        });
        self.run_shares(from, &mut parcel);
        self.answer_publications(&mut parcel);
        for place in 0..self.shards.len() {
            if self.shards[place].has_ready() {
                self.serve_waiters(place);
            }
        }
        if !held.is_empty() {
            (0..self.shards.len()).for_each(|place| self.asked_for_release(place, from));
            parcel.hold(held);
        }
        self.outboxes[from.index()].mail.push_back(Mail::Replies(parcel));
        for reply in too_large {
            self.post(from, reply);
        }
    }

    /// A parcel of this core has come back with the replies.
    pub(super) fn take_answers(&mut self, from: CoreId, mut parcel: Box<Parcel>) {
        let mut held = parcel.held().iter().peekable();
        for (ordinal, (call, args, reply)) in parcel.answers().enumerate() {
            let Some((reply, slow_us)) = reply else { continue };
            match held.next_if(|(at, _)| *at as usize == ordinal) {
                Some(&(_, position)) => {
                    self.fill_held(call.session, call.slot, reply, Hold { shard: call.shard, position });
                }
                None => self.fill(call.session, call.slot, reply),
            }
            if slow_us > 0 {
                let spec = self.table.spec(call.head.command);
                self.log_slow(call.session, spec, args, u64::from(slow_us));
            }
        }
        self.take_shares(&parcel);
        for (number, receivers) in parcel.receivers() {
            self.take_receivers(number, receivers);
        }
        if parcel.recycle() {
            self.parcels.push(parcel);
        }
        self.outboxes[from.index()].in_flight -= 1;
        for index in std::mem::take(&mut self.outbox_waiters) {
            if let Some(session) = self.session(index) {
                if session.state == State::Waiting(Wait::Outbox) {
                    session.state = State::Open;
                    self.runnable.push(index);
                }
            }
        }
    }
}
