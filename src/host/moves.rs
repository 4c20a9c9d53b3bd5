//! Connections on their way to another core.
//!
//! A session moves whole: what it is, what it has queued and watched, what it has sent and could not run. It must be
//! owed no reply that is still to come, and runs nothing on the way (`Wait::Move`). The runtime stops receiving, sends
//! what is owed, and when the kernel has nothing of the connection under way takes the session from here (`depart`) to
//! the other core (`arrive`), where it has another number, and is told what it has come for (`Errand`). Its client's id
//! stays, and so does what it waits for on shards: that is known there by key, not by session. Its subscriptions do
//! not: they are its core's, and what is published on the way would miss it. Who listens moves only to become a
//! replica, and listens no longer.
//!
//! A connection that ends on the way just ends. While it travels it is on no core: a question to all cores (CLIENT
//! LIST, CLIENT KILL) that is asked in that moment does not meet it.

use super::batch::Flow;
use super::host::{Effect, Host};
use super::replication::SyncRequest;
use crate::base::ids::CoreId;
use crate::base::time::Ticks;
use crate::session::{Session, State, Wait};

/// A session between two cores.
#[derive(Debug)]
pub struct Departure {
    session: Box<Session>,
    errand: Errand,
}

/// What a session has come to another core for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Nothing but to be there: the request that asked for it is answered with OK.
    Answer,
    /// To be a replica's control link.
    Replica(Box<SyncRequest>),
    /// To be a replica's flow.
    Flow {
        /// The meeting with the replica.
        meeting: u64,
        /// Its number.
        flow: u16,
        /// Where its stream is, if it asks to go on.
        at: Option<u64>,
    },
}

impl Departure {
    /// Whether the client has sent its last byte.
    pub fn is_at_end(&self) -> bool {
        self.session.at_end
    }
}

impl<T: Ticks> Host<T> {
    /// Moves the session whose request runs to another core; what the request asks for is done there. It is kept for
    /// later if replies before it are still to come.
    pub(super) fn move_session(&mut self, index: u32, to: CoreId, errand: Errand) -> Flow {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        debug_assert!(session.exec.is_none(), "what EXEC runs stays where EXEC is");
        if session.replies.waiting() > 0 {
            return self.keep_for(index, Wait::Replies);
        }
        // Which sessions listen to what is known by core.
        self.unsubscribe_from_all(index);
        if to == self.id {
            self.run_errand(index, errand);
            return Flow::Next;
        }
        let Some(session) = self.session(index) else { return Flow::Next };
        session.state = State::Waiting(Wait::Move);
        session.under_way += 1;
        self.departing.insert(index, errand);
        self.effects.push(Effect::Move { session: index, to });
        Flow::Stop
    }

    /// Gives up a session that moves, of whose connection the kernel has nothing under way. None if it has more to
    /// send, or is being ended: then the runtime hears of it in the usual ways.
    pub fn depart(&mut self, index: u32) -> Option<Departure> {
        let place = self.sessions.get_mut(index as usize)?;
        let session = place.as_deref()?;
        let is_ready = session.state == State::Waiting(Wait::Move)
            && session.replies.out.is_empty()
            && session.replies.waiting() == 0
            && !session.dirty;
        if !is_ready {
            return None;
        }
        let errand = self.departing.remove(&index)?;
        self.end_account(index);
        let mut session = self.sessions[index as usize].take()?;
        self.forget_effects(index);
        self.free_sessions.push((index, session.replies.next_slot()));
        self.stats.connected_clients -= 1;
        self.local_monitors.retain(|&other| other != index);
        session.under_way -= 1;
        Some(Departure { session, errand })
    }

    /// Takes in a session that another core has given up. Its number here.
    pub fn arrive(&mut self, departure: Departure) -> u32 {
        let Departure { mut session, errand } = departure;
        session.state = State::Open;
        // The connection is received from, whatever it was before.
        session.throttled = false;
        let is_monitor = session.monitor;
        let index = self.add_session(session);
        self.stats.connected_clients += 1;
        if is_monitor {
            self.local_monitors.push(index);
        }
        self.account(index);
        self.run_errand(index, errand);
        if let Some(session) = self.session(index) {
            session.end_skip();
        }
        self.runnable.push(index);
        index
    }

    /// The connection of a session that was to move has ended.
    pub(super) fn forget_move(&mut self, index: u32) {
        if self.departing.remove(&index).is_some() {
            if let Some(session) = self.session(index) {
                session.under_way -= 1;
            }
        }
    }

    fn run_errand(&mut self, index: u32, errand: Errand) {
        match errand {
            Errand::Answer => self.reply_ok(index),
            Errand::Replica(request) => self.meet(index, *request),
            Errand::Flow { meeting, flow, at } => self.join_flow(index, meeting, flow, at),
        }
    }
}
