//! Links: connections that this server makes to others.
//!
//! A link is a session like a client's as far as bytes go, so the runtime sends and receives for it in the same way,
//! and it is no client: nobody lists, counts, evicts or kills it, and nothing that comes in on it is ever run as a
//! request. Its *owner* is told what happens to it:
//!
//! 1. `dial` gives it a number and asks the runtime for the connection. The owner may `send_on_link` at once: that
//!    leaves when the connection stands.
//! 2. It stands, or has failed, and the number is free again.
//! 3. Bytes come, any number of times. An owner that cannot take more for now asks for `Effect::Throttle`. One that
//!    has much to send does so a piece at a time (`Session::goes_on_when_sent`).
//! 4. It has ended: by the other side, or it broke. The number is free, or will be without further word.
//!
//! The owner may end it at any time, also before it stands (`Host::close`): from then on it is told nothing more. How
//! long anything may take is its business, too: nothing here has a timeout. A new kind of owner is a variant of
//! `LinkOwner` and an arm in `tell_owner`.

use super::host::{mark_dirty, Effect, Host};
use crate::base::ids::ClientId;
use crate::base::time::Ticks;
use crate::session::session::Peer;
use crate::session::{Session, SessionKind, State, Wait};

/// Who uses a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOwner {
    /// The link of a replica to its primary.
    Upstream,
    /// A replica's flow of this number.
    Flow(u16),
    /// MIGRATE (`host::migrate`).
    Migrate,
    /// A test, which looks at `Host::probe`.
    #[cfg(test)]
    Probe,
}

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEvent<'a> {
    /// The connection stands.
    Stands,
    /// There is none, for this reason, and will be none: the link is gone.
    Failed(&'a str),
    /// These bytes have come.
    Received(&'a [u8]),
    /// The other side has ended it, or it broke.
    Ended,
}

impl<T: Ticks> Host<T> {
    /// Begins a connection to another server, from `bind-source-addr` if that is set. The number of its session.
    pub fn dial(&mut self, host: String, port: u16, owner: LinkOwner) -> u32 {
        let peer = Peer { addr: format!("{host}:{port}"), ..Peer::default() };
        let mut session = Box::new(Session::new(ClientId(0), peer, self.now.mono));
        session.kind = SessionKind::Outgoing;
        session.state = State::Waiting(Wait::Link);
        session.goes_on_when_sent = owner == LinkOwner::Migrate;
        let index = self.add_session(session);
        self.links.insert(index, owner);
        let source = self.config.network.bind_source_addr.to_string();
        self.effects.push(Effect::Connect { session: index, host, port, source });
        index
    }

    /// What became of `Effect::Connect`: the two ends of the connection, or why there is none, in the system's words.
    pub fn dialed(&mut self, index: u32, outcome: Result<Peer, String>) {
        match outcome {
            Ok(peer) => {
                let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
                session.peer = peer;
                mark_dirty(session, index, &mut self.dirty);
                self.tell_owner(self.links.get(&index).copied(), index, LinkEvent::Stands);
            }
            Err(reason) => {
                let owner = self.links.remove(&index);
                self.disconnected(index);
                self.tell_owner(owner, index, LinkEvent::Failed(&reason));
            }
        }
    }

    /// The same where there is no connection because the host has no address: why, in the C library's words. MIGRATE
    /// tells this from other reasons, as Redis's does.
    pub fn unresolved(&mut self, index: u32, reason: String) {
        self.migrate_link_unresolved(index);
        self.dialed(index, Err(reason));
    }

    /// Sends bytes on a link, if it is still there.
    pub fn send_on_link(&mut self, index: u32, bytes: &[u8]) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        debug_assert_eq!(session.kind, SessionKind::Outgoing);
        session.replies.push(bytes);
        mark_dirty(session, index, &mut self.dirty);
    }

    /// Bytes have come in on a link.
    pub(super) fn received_on_link(&mut self, index: u32, bytes: &[u8]) {
        self.tell_owner(self.links.get(&index).copied(), index, LinkEvent::Received(bytes));
    }

    /// All that was to be sent on a link has left whose owner wants to know that.
    pub(super) fn link_sent(&mut self, index: u32) {
        if self.links.get(&index) == Some(&LinkOwner::Migrate) {
            self.migrate_link_sent(index);
        }
    }

    /// A link is gone; its owner is told unless it has ended it itself.
    pub(super) fn link_ended(&mut self, index: u32) {
        let owner = self.links.remove(&index);
        self.tell_owner(owner, index, LinkEvent::Ended);
    }

    /// The other side of a link has sent its last byte: that is its end.
    pub(super) fn end_of_link(&mut self, index: u32) {
        let owner = self.links.remove(&index);
        self.close(index, true);
        self.tell_owner(owner, index, LinkEvent::Ended);
    }

    /// Tells the owner of a link, if it still has one, what has happened to it.
    fn tell_owner(&mut self, owner: Option<LinkOwner>, index: u32, event: LinkEvent<'_>) {
        let Some(owner) = owner else { return };
        match owner {
            LinkOwner::Upstream => self.upstream_event(index, event),
            LinkOwner::Flow(number) => self.flow_event(number, event),
            LinkOwner::Migrate => self.on_migrate_link(index, event),
            #[cfg(test)]
            LinkOwner::Probe => self.probe.push(match event {
                LinkEvent::Stands => format!("{index} stands"),
                LinkEvent::Failed(reason) => format!("{index} failed: {reason}"),
                LinkEvent::Received(bytes) => format!("{index} got {}", bytes.escape_ascii()),
                LinkEvent::Ended => format!("{index} ended"),
            }),
        }
    }
}
