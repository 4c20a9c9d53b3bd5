//! MONITOR: every request that has run, to those who watch.

use std::sync::Arc;

use super::host::{mark_dirty, Host};
use super::mail::Rare;
use super::query::{Query, UNANSWERED};
use crate::base::ids::CoreId;
use crate::base::time::Ticks;
use crate::command::generic::secrets_of_migrate;
use crate::command::spec::{Flags, Run, SessionOp, Spec, Spread, Steps};
use crate::config::quoted;
use crate::resp::{Args, OwnedArgs};
use crate::session::State;

impl<T: Ticks> Host<T> {
    /// Makes a session a monitor.
    pub(super) fn add_monitor(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        session.monitor = true;
        session.refresh_lane();
        self.local_monitors.push(index);
        self.broadcast(Query::Monitors(1));
    }

    /// The session is a monitor no longer.
    pub(super) fn remove_monitor(&mut self, index: u32) {
        let Some(session) = self.session(index) else { return };
        if std::mem::take(&mut session.monitor) {
            session.refresh_lane();
            self.local_monitors.retain(|&other| other != index);
            self.broadcast(Query::Monitors(-1));
        }
    }

    /// Whether requests need a second look has to be found out anew.
    pub(super) fn refresh_attention(&mut self) {
        let gate = &self.gate;
        let is_gated = gate.is_loading || gate.is_snapshot_failing || gate.is_aof_failing || gate.is_stale;
        let is_gated = is_gated || self.persist.flooded > 0 || self.is_quiet();
        self.attention = self.monitors > 0 || self.pause.is_some() || is_gated;
    }

    /// Shows a request that has run to the monitors of all cores. What administrators do is not shown, as in Redis.
    pub(super) fn feed_monitors(&mut self, index: u32, spec: &Spec, args: Args<'_>) {
        let hidden = [Flags::SKIP_MONITOR, Flags::ADMIN, Flags::INTERNAL];
        if self.monitors == 0 || hidden.into_iter().any(|flag| spec.flags.has(flag)) {
            return;
        }
        let Some(session) = self.sessions[index as usize].as_deref() else { return };
        let mut line = {
            let (secs, micros) =
                (self.now.unix_us.div_euclid(1_000_000), self.now.unix_us.rem_euclid(1_000_000));
            let from = if session.peer.unix {
                format!("unix:{}", String::from_utf8_lossy(&self.config.network.unixsocket))
            } else {
                session.peer.addr.clone()
            };
            format!("+{secs}.{micros:06} [{} {from}]", session.db).into_bytes()
        };
        let redacted = redacted(spec, args);
        for arg in redacted.as_ref().map_or(args, OwnedArgs::as_args).iter_from(0) {
            line.push(b' ');
            line.extend(quoted(arg));
        }
        line.extend(b"\r\n");
        // To the others at the end of the pass, all lines in one piece: as mail of their own they would outrun the
        // rings between the cores and pile up without bound.
        if self.cores > 1 {
            self.feed.extend_from_slice(&line);
        }
        self.feed_own_monitors(&line);
    }

    /// Sends the pass's lines to the other cores.
    pub(super) fn send_feed(&mut self) {
        if self.feed.is_empty() {
            return;
        }
        let lines: Arc<[u8]> = Arc::from(std::mem::take(&mut self.feed));
        let id = self.id;
        for core in (0..self.cores).map(CoreId).filter(|&core| core != id) {
            self.post(core, Rare::Query(UNANSWERED, Query::Feed(lines.clone())));
        }
    }

    /// A line for the monitors of this core.
    pub(super) fn feed_own_monitors(&mut self, line: &[u8]) {
        let limit = self.config.clients.output_buffer_limits.normal.hard_bytes;
        for at in 0..self.local_monitors.len() {
            let index = self.local_monitors[at];
            let Some(session) = self.sessions[index as usize].as_deref_mut() else { continue };
            if matches!(session.state, State::Closing | State::Closed) {
                continue;
            }
            session.push_message(line);
            mark_dirty(session, index, &mut self.dirty);
            if limit > 0 && session.owed_bytes() as u64 >= limit {
                self.drop_slow_reader(index);
            }
        }
    }
}

/// The arguments with secrets blotted out, where there are any: for MONITOR and the slow log.
pub(super) fn redacted(spec: &Spec, args: Args<'_>) -> Option<OwnedArgs> {
    const BLOT: &[u8] = b"(redacted)";
    let of_migrate = matches!(spec.run, Run::Shard(_, Spread::Steps(Steps::Migrate)));
    let of_migrate = of_migrate.then(|| secrets_of_migrate(args));
    let is_secret = |at: usize| match spec.run {
        Run::Session(SessionOp::Auth) => at > 0,
        Run::Session(SessionOp::Hello) => {
            // One of the two words before it; a look at all of them would be quadratic.
            (at.saturating_sub(2).max(2)..at).any(|option| args.is(option, "auth"))
        }
        Run::Node(crate::command::spec::NodeOp::ConfigSet) => {
            at > 2 && at % 2 == 1 && crate::config::row(args.at(at - 1)).is_some_and(|row| row.is_sensitive())
        }
        _ => of_migrate.as_ref().is_some_and(|is_secret| is_secret(at)),
    };
    (0..args.len())
        .any(is_secret)
        .then(|| OwnedArgs::collect((0..args.len()).map(|at| if is_secret(at) { BLOT } else { args.at(at) })))
}
