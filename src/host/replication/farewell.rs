//! SHUTDOWN of a primary: it stops when its replicas have everything, or after `shutdown-timeout`.
//!
//! Meanwhile the cores are quiet (`failover`): what clients were told is done is on its way, and nothing follows. That
//! ends with the process, or when the stop is called off.

use super::failover::QuietFor;
use super::roles::DrainFor;
use super::ReplicationMail;
use crate::base::time::{MonoUs, Ticks};
use crate::host::host::Host;
use crate::host::query::ShutdownOrder;
use crate::node::save::Asker;
use crate::replication::history::Positions;
use crate::replication::replicas::Replica;

/// One under way, on core 0.
#[derive(Debug)]
pub(super) struct Farewell {
    until: MonoUs,
    order: ShutdownOrder,
    /// All who have asked for it.
    askers: Vec<Asker>,
    /// Whether the cores were told to come to rest.
    is_told: bool,
    /// Where the streams end, once they have.
    ends: Option<Positions>,
}

impl Farewell {
    /// How long it may still take, once nothing is written any more.
    pub(super) fn left_ms(&self, now: MonoUs) -> Option<u64> {
        self.ends.as_ref().map(|_| self.until.since(now) / 1000)
    }
}

impl<T: Ticks> Host<T> {
    /// Whether the stop has to wait for replicas; then it goes on by itself. Of a replica it does not: what its own
    /// replicas lack their primary's primary has.
    pub(in crate::host) fn begin_farewell(&mut self, asker: Asker, order: ShutdownOrder) -> bool {
        let timeout_us = u64::from(self.config.process.shutdown_timeout_secs) * 1_000_000;
        let until = MonoUs(self.now.mono.0.saturating_add(timeout_us));
        let is_replica = self.replication.is_replica;
        let Some(conducting) = &mut self.replication.conducting else { return false };
        if order.now {
            return false;
        }
        if let Some(farewell) = &mut conducting.farewell {
            farewell.askers.push(asker);
            return true;
        }
        if timeout_us == 0 || is_replica || !conducting.meetings.replicas().any(Replica::acknowledges) {
            return false;
        }
        tracing::info!("Waiting for replicas before shutting down.");
        let (askers, is_told, ends) = (vec![asker], false, None);
        conducting.farewell = Some(Farewell { until, order, askers, is_told, ends });
        self.look_at_farewell();
        true
    }

    /// SHUTDOWN ABORT, or NOW: who had asked for the stop that was waiting, if one was.
    pub(in crate::host) fn cancel_farewell(&mut self) -> Option<Vec<Asker>> {
        let farewell = self.replication.conducting.as_mut()?.farewell.take()?;
        Some(farewell.askers)
    }

    /// The server does not stop: clients go on.
    pub(in crate::host) fn be_quiet_no_more(&mut self) {
        self.tell_replication(|| ReplicationMail::Quiet(QuietFor::Shutdown, false));
    }

    /// Takes the next step, if it is time: on each tick, and when replicas have said how far they are.
    pub(super) fn look_at_farewell(&mut self) {
        let (now, is_replica) = (self.now.mono, self.replication.is_replica);
        let Some(conducting) = &mut self.replication.conducting else { return };
        let is_free = conducting.change.is_none();
        let Some(farewell) = &mut conducting.farewell else { return };
        let late = farewell.until <= now || is_replica;
        match &farewell.ends {
            _ if late => self.end_farewell(),
            Some(ends) => {
                let ends = ends.clone();
                let lags = |replica: &Replica| replica.acknowledges() && !replica.has(&ends);
                let is_lagging = conducting.meetings.replicas().any(lags);
                match is_lagging {
                    true => self.ask_for_acks(&ends, false),
                    false => self.end_farewell(),
                }
            }
            None if is_free && !farewell.is_told => {
                farewell.is_told = true;
                self.begin_drain(DrainFor::Quiet(QuietFor::Shutdown));
            }
            None => {}
        }
    }

    /// All cores are quiet, and the streams end here.
    pub(super) fn quiet_for_farewell(&mut self, ends: Positions) {
        let farewell = self.replication.conducting.as_mut().and_then(|c| c.farewell.as_mut());
        match farewell {
            // This one has been asked for since another was called off: its turn comes.
            Some(farewell) if !farewell.is_told => {}
            Some(farewell) => {
                farewell.ends = Some(ends);
                self.look_at_farewell();
            }
            // It was called off meanwhile.
            None => self.be_quiet_no_more(),
        }
    }

    /// Replicas have everything, or it has been long enough.
    fn end_farewell(&mut self) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let Some(Farewell { order, askers, ends, .. }) = conducting.farewell.take() else { return };
        let (mut count, mut synced) = (0, 0);
        for replica in conducting.meetings.replicas() {
            count += 1;
            if ends.as_ref().is_some_and(|ends| replica.has(ends)) {
                synced += 1;
                continue;
            }
            let (ip, port, state, lag) =
                (&replica.ip, replica.port, replica.stage.name(), replica.lag_secs(now));
            let offset = replica.acked_offset;
            tracing::warn!("Lagging replica {ip}:{port} reported offset {offset}, lag={lag}, state={state}.");
        }
        if count > 0 {
            tracing::info!("{synced} of {count} replicas are in sync when shutting down.");
        }
        self.shut_down(askers, order);
    }
}
