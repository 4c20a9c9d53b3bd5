//! Clients of a replica that wait until it has what they wrote on its primary: WAITFOR, with a token from WAITTOKEN.
//!
//! They stand in the line on core 0 with those who wait for the disk (`persist::waits`). What a token names is there
//! when every stream is applied up to its position: a flow counts a transaction over several shards when it is applied
//! as a whole, so what is read then is never half of one. The flows are asked for the positions that are awaited next,
//! and tell when they have come to them; nobody else pays for it.
//!
//! A token that is of another history than this node's data will never be here, and is refused; but only once the link
//! to the primary stands, since until then the data may become that of any history.

use super::{Conducting, ReplicationMail};
use crate::base::error::CommandError;
use crate::base::time::Ticks;
use crate::host::host::Host;
use crate::host::persist::waits::{bytes_of, refusal};
use crate::replication::history::Positions;
use crate::replication::replicas::reaches;
use crate::replication::token::Token;

/// What is answered to a token that this node's data has nothing to do with.
const NO_HISTORY: CommandError = CommandError::new(
    "NOHISTORY The token is of a history that the data here does not come from. Read from the primary, or take a new \
     token.",
);

/// A client that waits.
#[derive(Debug)]
pub(in crate::host) struct Reader {
    /// What for.
    pub(in crate::host) token: Token,
    /// Whether it waits at all: in EXEC it is told how things stand.
    pub(in crate::host) may_wait: bool,
    /// How many flows have yet to say how far they are before one is answered that does not wait.
    pub(in crate::host) unheard: usize,
}

/// How what a token names stands to this node's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// All of it can be read here.
    Here,
    /// It may come.
    Awaited,
    /// It will not.
    Never,
}

impl Conducting {
    /// Where the history before this one ended, as replicas are told.
    pub(super) fn elder(&self) -> Option<Token> {
        let before = || self.history.before.as_ref();
        self.elder.clone().or_else(|| before().map(|before| Token { id: before.id, at: before.ends.clone() }))
    }

    /// What core 0 waits for that the flows apply: of each stream the next position that somebody wants. None if nobody
    /// waits for any.
    fn awaited<'a>(&'a self, tokens: impl Iterator<Item = &'a Positions>) -> Option<Positions> {
        let upstream = self.upstream.as_ref().filter(|upstream| upstream.is_up())?;
        let mut nearest: Positions = self.applied.iter().map(|_| NOT_AWAITED).collect();
        for wanted in tokens.chain(&upstream.wanted).filter(|wanted| wanted.len() == self.applied.len()) {
            for ((near, &at), &(applied, _)) in nearest.iter_mut().zip(wanted).zip(&self.applied) {
                if at > applied {
                    *near = at.min(*near);
                }
            }
        }
        nearest.iter().any(|&near| near != NOT_AWAITED).then_some(nearest)
    }
}

/// No stream comes so far.
const NOT_AWAITED: u64 = u64::MAX;

impl<T: Ticks> Host<T> {
    /// Core 0: how what a token names stands to the data here.
    fn standing_of(&self, token: &Token) -> Standing {
        let Some(conducting) = &self.replication.conducting else { return Standing::Awaited };
        let is_loading = self.persist.loading.is_some();
        let is_replica = self.replication.is_replica;
        let is_up = conducting.upstream.as_ref().is_some_and(|upstream| upstream.is_up());
        // While another primary's data comes that may have another number of streams.
        let streams = match conducting.applied.len() {
            0 => self.stream_count(),
            _ if !is_replica => self.stream_count(),
            applied => applied,
        };
        let is_known = token.is_of(&conducting.history, conducting.elder.as_ref(), streams);
        let positions: Positions = conducting.applied.iter().map(|&(raw, _)| raw).collect();
        match is_known {
            _ if is_loading => Standing::Awaited,
            true if !is_replica || reaches(&positions, &token.at) => Standing::Here,
            false if !is_replica || is_up => Standing::Never,
            true | false => Standing::Awaited,
        }
    }

    /// Core 0: somebody has begun to wait for a token, or something has changed for those who do.
    pub(in crate::host) fn look_at_readers(&mut self) {
        let is_up = self.applies_streams();
        let mut done = Vec::new();
        for (ticket, reader) in self.readers() {
            match self.standing_of(&reader.token) {
                Standing::Here => done.push((ticket, bytes_of(|reply| reply.int(1)))),
                Standing::Never => done.push((ticket, refusal(&NO_HISTORY))),
                Standing::Awaited if reader.may_wait || reader.unheard > 0 && is_up => {}
                Standing::Awaited => done.push((ticket, bytes_of(|reply| reply.int(0)))),
            }
        }
        done.into_iter().for_each(|(ticket, reply)| self.leave_line(ticket, reply));
        self.ask_for_what_is_awaited();
    }

    /// Core 0: asks the flows to tell when they have come to what is awaited next, if that has changed.
    pub(in crate::host) fn ask_for_what_is_awaited(&mut self) {
        let Some(conducting) = &self.replication.conducting else { return };
        let readers = self.readers().filter(|(_, reader)| reader.may_wait);
        let awaited = conducting.awaited(readers.map(|(_, reader)| &reader.token.at));
        let upstream = self.replication.conducting.as_mut().and_then(|c| c.upstream.as_mut());
        let Some(upstream) = upstream.filter(|upstream| upstream.asked != awaited) else { return };
        upstream.asked.clone_from(&awaited);
        if let Some(awaited) = awaited {
            let target: std::sync::Arc<[u64]> = awaited.to_vec().into();
            self.tell_replication(|| ReplicationMail::AskApplied(Some(target.clone())));
        }
    }

    /// Core 0: a flow has said how far it is.
    pub(super) fn flow_was_heard(&mut self) {
        self.readers_mut().for_each(|reader| reader.unheard = reader.unheard.saturating_sub(1));
        self.look_at_readers();
    }

    /// Core 0: a client in EXEC does not wait, and is answered when all flows have said how far they are. How many that
    /// is.
    pub(in crate::host) fn hear_all_flows(&mut self) -> usize {
        let streams = self.replication.conducting.as_ref().map_or(0, |conducting| conducting.applied.len());
        let is_native = self.replication.is_replica && self.foreign().is_none() && self.applies_streams();
        if !is_native {
            return 0;
        }
        self.tell_replication(|| ReplicationMail::AskApplied(None));
        streams
    }
}
