//! FAILOVER: a primary and one of its replicas change places, and nothing is lost that was acknowledged.
//!
//! ```text
//! Asked -> Quieting -> Waiting (for a replica that has everything) -> Quieting (has it still?) -> Following
//! ```
//!
//! *Quiet* is a core that holds back what may change its data: requests wait as they do for CLIENT PAUSE, of which this
//! is independent, and keys neither expire nor are evicted. Once all cores are quiet it is known where the streams end.
//! The replica that is to follow is asked for by `PSYNC .. FAILOVER`, and answers it as a primary. Until it has, this
//! node stays quiet; then the requests go on, and are told that it is a replica.

use super::roles::{DrainFor, Order};
use super::ReplicationMail;
use crate::base::error::CommandError;
use crate::base::ids::CoreId;
use crate::base::num::parse_i64;
use crate::base::time::{MonoUs, Ticks};
use crate::config::PrimaryAddress;
use crate::host::host::Host;
use crate::host::query::Answer;
use crate::replication::history::{Positions, ReplId};
use crate::replication::replicas::{Replica, Stage::Online};
use crate::resp::Args;
use crate::session::Wait;

/// What FAILOVER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailoverRequest {
    /// To begin.
    Begin {
        /// TO: the replica. Any one will do otherwise.
        target: Option<(String, i64)>,
        /// TIMEOUT, in microseconds.
        timeout_us: Option<u64>,
        /// FORCE: after the timeout the replica takes over, whatever it has.
        is_forced: bool,
    },
    /// ABORT.
    Abort,
}

/// What a core is quiet for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuietFor {
    /// FAILOVER.
    Failover,
    /// SHUTDOWN, which waits for replicas.
    Shutdown,
}

/// One under way, on core 0.
#[derive(Debug)]
pub(super) struct Failover {
    target: Option<(String, u16)>,
    until: Option<MonoUs>,
    is_forced: bool,
    stage: Stage,
    /// Who has asked for it: told once writes are held back.
    asker: Option<(CoreId, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The cores have not been told yet: something else is going on.
    Asked,
    /// They come to rest. A replica has all of this, if that was known before.
    Quieting(Option<Positions>),
    /// The streams end here.
    Waiting(Positions),
    /// This node follows the target, or is about to.
    Following,
}

impl Failover {
    /// INFO's word.
    pub(super) fn state(&self) -> &'static str {
        match self.stage {
            Stage::Asked | Stage::Quieting(_) | Stage::Waiting(_) => "waiting-for-sync",
            Stage::Following => "failover-in-progress",
        }
    }

    fn is_target(&self, replica: &Replica) -> bool {
        self.target.as_ref().is_none_or(|(ip, port)| (ip, *port) == (&replica.ip, replica.port))
    }

    fn target_text(&self) -> String {
        self.target.as_ref().map_or_else(|| "any replica".to_owned(), |(ip, port)| format!("{ip}:{port}"))
    }
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`.
///
/// # Errors
/// What Redis says of the arguments.
pub(in crate::host) fn parse_failover(args: Args<'_>) -> Result<FailoverRequest, CommandError> {
    if args.len() == 2 && args.is(1, "abort") {
        return Ok(FailoverRequest::Abort);
    }
    let number = |at: usize| parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
    let (mut target, mut timeout_us, mut is_forced) = (None, None, false);
    let mut at = 1;
    while at < args.len() {
        if args.is(at, "timeout") && at + 1 < args.len() && timeout_us.is_none() {
            let timeout_ms = u64::try_from(number(at + 1)?).ok().filter(|&timeout_ms| timeout_ms > 0);
            let timeout_ms = timeout_ms.ok_or(BAD_TIMEOUT)?;
            timeout_us = Some(timeout_ms.saturating_mul(1000));
            at += 2;
        } else if args.is(at, "to") && at + 2 < args.len() && target.is_none() {
            target = Some((String::from_utf8_lossy(args.at(at + 1)).into_owned(), number(at + 2)?));
            at += 3;
        } else if args.is(at, "force") && !is_forced {
            is_forced = true;
            at += 1;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    Ok(FailoverRequest::Begin { target, timeout_us, is_forced })
}

const BAD_TIMEOUT: CommandError = CommandError::new("ERR FAILOVER timeout must be greater than 0");

/// REPLICAOF meanwhile.
pub(super) const NOT_WHILE: CommandError = CommandError::new("ERR REPLICAOF not allowed while failing over.");

/// PSYNC meanwhile.
pub(super) const NO_SYNC: CommandError = CommandError::new("NOMASTERLINK Can't SYNC while failing over");

impl<T: Ticks> Host<T> {
    /// FAILOVER, on core 0. An answer, unless that comes later.
    ///
    /// # Errors
    /// What Redis says (`failoverCommand`), in its order.
    pub(in crate::host) fn take_failover(
        &mut self,
        asker: (CoreId, u64),
        request: FailoverRequest,
    ) -> Result<Option<Answer>, CommandError> {
        let now = self.now.mono;
        let is_replica = self.replication.is_replica || self.config.replication.replicaof.0.is_some();
        let Some(conducting) = &mut self.replication.conducting else { return Ok(None) };
        let is_under_way = conducting.failover.is_some();
        let FailoverRequest::Begin { target, timeout_us, is_forced } = request else {
            if !is_under_way {
                return Err(CommandError::new("ERR No failover in progress."));
            }
            self.abort_failover("Failover manually aborted");
            return Ok(Some(Answer::Done));
        };
        if is_under_way {
            return Err(CommandError::new("ERR FAILOVER already in progress."));
        }
        if is_replica {
            return Err(CommandError::new("ERR FAILOVER is not valid when server is a replica."));
        }
        if conducting.meetings.replicas().next().is_none() {
            return Err(CommandError::new("ERR FAILOVER requires connected replicas."));
        }
        if is_forced && (timeout_us.is_none() || target.is_none()) {
            return Err(CommandError::new(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            ));
        }
        let target = match target {
            None => None,
            Some((host, port)) => {
                let mut replicas = conducting.meetings.replicas();
                let named = |replica: &&Replica| replica.ip == host && i64::from(replica.port) == port;
                let replica = replicas
                    .find(named)
                    .ok_or(CommandError::new("ERR FAILOVER target HOST and PORT is not a replica."))?;
                if !(replica.stage == Online) {
                    return Err(CommandError::new("ERR FAILOVER target replica is not online."));
                }
                Some((host, replica.port))
            }
        };
        let until = timeout_us.map(|timeout_us| MonoUs(now.0.saturating_add(timeout_us)));
        let failover = Failover { target, until, is_forced, stage: Stage::Asked, asker: Some(asker) };
        tracing::info!("FAILOVER requested to {}.", failover.target_text());
        conducting.failover = Some(failover);
        self.look_at_failover();
        Ok(None)
    }

    fn failover(&mut self) -> Option<&mut Failover> {
        self.replication.conducting.as_mut()?.failover.as_mut()
    }

    /// Whether one is under way that this node's clients wait for, so that no replica is served and no role changed.
    pub(super) fn is_failing_over(&self) -> bool {
        self.replication.conducting.as_ref().is_some_and(|conducting| conducting.failover.is_some())
    }

    /// Takes the next step, if it is time: on each tick, and when replicas have said how far they are.
    pub(super) fn look_at_failover(&mut self) {
        let now = self.now.mono;
        let Some(conducting) = &mut self.replication.conducting else { return };
        let is_free = conducting.change.is_none();
        let Some(failover) = &mut conducting.failover else { return };
        if failover.stage == Stage::Following {
            return;
        }
        if failover.until.is_some_and(|until| until <= now) {
            if !failover.is_forced {
                return self.abort_failover("Replica never caught up before timeout");
            }
            tracing::info!("FAILOVER to {} time out exceeded, failing over.", failover.target_text());
            return self.fail_over();
        }
        if !is_free {
            return;
        }
        match &failover.stage {
            Stage::Asked => {
                failover.stage = Stage::Quieting(None);
                self.begin_drain(DrainFor::Quiet(QuietFor::Failover));
            }
            Stage::Waiting(ends) => {
                let ends = ends.clone();
                let has_all = |replica: &&Replica| failover.is_target(replica) && replica.has(&ends);
                let found = conducting.meetings.replicas().find(has_all);
                let Some(found) = found.map(|replica| (replica.ip.clone(), replica.port)) else {
                    return self.ask_for_acks(&ends, false);
                };
                failover.target = Some(found);
                failover.stage = Stage::Quieting(Some(ends));
                // What was on its way between cores when they came to rest may have been done since.
                self.begin_drain(DrainFor::Quiet(QuietFor::Failover));
            }
            Stage::Quieting(_) | Stage::Following => {}
        }
    }

    /// All cores are quiet, and the streams end here.
    pub(super) fn quiet_for_failover(&mut self, ends: Positions) {
        let Some(failover) = self.failover() else { return };
        let Stage::Quieting(reached) = &failover.stage else { return };
        if reached.as_ref() == Some(&ends) {
            tracing::info!("Failover target {} is synced, failing over.", failover.target_text());
            return self.fail_over();
        }
        failover.stage = Stage::Waiting(ends);
        let asker = failover.asker.take();
        self.answer_asker(asker, Answer::Done);
        self.look_at_failover();
    }

    /// This node follows the target, which becomes the primary by that.
    fn fail_over(&mut self) {
        let Some(failover) = self.failover() else { return };
        let Some((host, port)) = failover.target.clone() else { return };
        failover.stage = Stage::Following;
        let address = PrimaryAddress { host: host.into_bytes().into(), port };
        self.configure_replicaof(Some(address.clone()));
        self.order(Order::Follow(address), None);
    }

    /// Whether the upstream that is begun now is asked to become the primary.
    pub(super) fn demands_promotion(&self) -> bool {
        let failover = self.replication.conducting.as_ref().and_then(|c| c.failover.as_ref());
        failover.is_some_and(|failover| failover.stage == Stage::Following)
    }

    /// The target has answered as a primary.
    pub(super) fn failover_is_over(&mut self) {
        if self.demands_promotion() {
            self.end_failover();
        }
    }

    /// It is given up; if this node has become a replica already it is a primary again.
    pub(super) fn abort_failover(&mut self, reason: &str) {
        let is_following = self.demands_promotion();
        let Some(failover) = self.failover() else { return };
        tracing::info!("FAILOVER to {} aborted: {reason}", failover.target_text());
        if is_following {
            self.configure_replicaof(None);
            self.order(Order::Lead, None);
        }
        self.end_failover();
    }

    fn end_failover(&mut self) {
        let failover = self.replication.conducting.as_mut().and_then(|c| c.failover.take());
        self.answer_asker(failover.and_then(|failover| failover.asker), Answer::Done);
        self.tell_replication(|| ReplicationMail::Quiet(QuietFor::Failover, false));
    }

    /// `PSYNC .. FAILOVER` has come to core 0: whether this node has to become the primary first.
    ///
    /// # Errors
    /// It will not.
    pub(super) fn is_to_take_over(&self, id: Option<ReplId>) -> Result<bool, CommandError> {
        let Some(conducting) = &self.replication.conducting else { return Ok(false) };
        let history = &conducting.history;
        if !self.replication.is_replica {
            // It has done so already, and the answer was lost on its way.
            let before = history.before.as_ref().map(|before| before.id);
            return match id.is_some() && id == before {
                true => Ok(false),
                false => Err(CommandError::new("ERR PSYNC FAILOVER can't be sent to a master.")),
            };
        }
        match id == Some(history.id) {
            true => Ok(true),
            false => Err(CommandError::new("ERR PSYNC FAILOVER replid must match my replid.")),
        }
    }

    /// Whether this core holds back what may change its data.
    #[inline]
    pub(in crate::host) fn is_quiet(&self) -> bool {
        self.replication.quiet_for[0] || self.replication.quiet_for[1]
    }

    /// It does so from now on, or no longer.
    pub(super) fn set_quiet(&mut self, what: QuietFor, is_quiet: bool) {
        let at = match what {
            QuietFor::Failover => 0,
            QuietFor::Shutdown => 1,
        };
        self.replication.quiet_for[at] = is_quiet;
        self.refresh_attention();
        if !self.is_quiet() {
            self.apply_role();
            self.end_waits(Wait::Pause);
        }
    }
}
