//! Questions from one core to others: what a command on the whole node is made of.
//!
//! A session that asks waits (`Wait::Cores`) until all answers are in; this core's own answer comes in the same way as
//! the others'. `nodeops::answers` says what they amount to.
//!
//! Invariant: a core answers every question but those of number 0, so a gather always ends.

use std::sync::Arc;

use super::batch::Flow;
use super::cron::Pause;
use super::dial::LinkOwner;
use super::host::{Effect, Host};
use super::mail::Rare;
use super::replication::{FailoverRequest, Order, SyncRequest};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, DbIndex};
use crate::base::time::Ticks;
use crate::config::{Asker, Config};
use crate::node::info::Sections;
use crate::node::latency::LatencyMonitor;
use crate::node::pubsub::{Announcement, EntryId, Kind};
use crate::node::save::Request;
use crate::node::slowlog::SlowLog;
use crate::node::stats::Report;
use crate::resp::OwnedArgs;
use crate::session::clients::{self, KillFilter, ListFilter};
use crate::session::{State, Wait};
use crate::shard::waiters::End;

/// A question, or an order.
#[derive(Clone, Debug)]
pub enum Query {
    /// There is one monitor more, or one less, on all cores together.
    Monitors(i32),
    /// Lines for this core's monitors, as bytes for the wire.
    Feed(Arc<[u8]>),
    /// What is new to the sender of names that its clients listen to.
    Announce(Arc<Announcement>),
    /// What of that is over.
    Withdraw(Arc<Announcement>),
    /// PUBSUB CHANNELS and SHARDCHANNELS: the names that match, or all.
    Names(Kind, Option<Vec<u8>>),
    /// PUBSUB NUMSUB and SHARDNUMSUB: how many listen to each of the names, which stand behind the subcommand.
    Subscribers(Kind, OwnedArgs),
    /// PUBSUB NUMPAT: how many names the core is the home of.
    CountNames(Kind),
    /// The clients that CLIENT LIST shows.
    Clients(ListFilter),
    /// What the clients take that may be closed (DEBUG CLIENT-EVICTION).
    ClientSizes,
    /// End the clients that CLIENT KILL means.
    Kill(KillFilter),
    /// CLIENT UNBLOCK of the client with this number.
    Unblock(u64, End),
    /// CLIENT PAUSE.
    Pause(Pause),
    /// CLIENT UNPAUSE.
    Unpause,
    /// To core 0: CONFIG SET. It alone makes configurations, one after the other, and passes them on to all.
    SetConfig {
        /// Names and values.
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
        /// Who asks, for protected directives.
        asker: Asker,
    },
    /// This is the configuration now.
    Configure(Arc<Config>),
    /// CONFIG RESETSTAT.
    ResetStats,
    /// All figures.
    Report,
    /// The slow log.
    Slowlog,
    /// SLOWLOG RESET.
    ResetSlowlog,
    /// The latency monitor.
    Latency,
    /// LATENCY RESET, with its arguments.
    ResetLatency(OwnedArgs),
    /// DEBUG SET-ACTIVE-EXPIRE.
    SetActiveExpire(bool),
    /// DEBUG PAUSE-CRON.
    PauseCron(bool),
    /// DEBUG SLEEP, in microseconds.
    Sleep(u64),
    /// DEBUG POPULATE.
    Populate(Populate),
    /// To core 0: about saves.
    Save(SaveQuery),
    /// To core 0: REPLICAOF.
    Replicaof(Order),
    /// To core 0: FAILOVER.
    Failover(FailoverRequest),
}

/// What core 0 is asked about saves.
#[derive(Clone, Copy, Debug)]
pub enum SaveQuery {
    /// SAVE, BGSAVE, BGREWRITEAOF.
    Request(Request),
    /// LASTSAVE.
    LastSave,
    /// SHUTDOWN, with its options.
    Shutdown(ShutdownOrder),
}

/// SHUTDOWN's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOrder {
    /// A snapshot is made even without save points.
    pub save: bool,
    /// None is made.
    pub nosave: bool,
    /// Replicas are not waited for.
    pub now: bool,
    /// The server stops even if the snapshot fails.
    pub force: bool,
    /// The one under way is called off.
    pub abort: bool,
}

/// What DEBUG POPULATE creates.
#[derive(Clone, Debug)]
pub struct Populate {
    /// Where.
    pub db: DbIndex,
    /// How many keys.
    pub count: u64,
    /// What their names begin with.
    pub prefix: Vec<u8>,
    /// How long the values are; as long as they need to be if 0.
    pub size: usize,
}

/// One core's answer.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// It is refused.
    Refused(CommandError),
    /// It has begun: what to say.
    Status(&'static str),
    /// A number.
    Number(i64),
    /// Names.
    Names(Vec<Box<[u8]>>),
    /// Numbers, in the order of what was asked about.
    Numbers(Vec<u64>),
    /// Clients by number, each with its line.
    Clients(Vec<(u64, String)>),
    /// What each of the clients takes, in bytes.
    ClientSizes(Vec<u64>),
    /// How many clients were ended, and whether the asking one is to follow.
    Killed {
        /// Including the asking one.
        count: u64,
        /// Whether it is among them: it ends after its reply.
        asker: bool,
    },
    /// Whether the client was blocked.
    Unblocked(bool),
    /// All figures.
    Report(Box<Report>),
    /// The slow log.
    Slowlog(Box<SlowLog>),
    /// The latency monitor; for `ResetLatency` as it was before.
    Latency(Box<LatencyMonitor>),
}

/// What a question is for.
#[derive(Debug)]
pub enum Purpose {
    /// `+OK` when all have done it.
    Ok,
    /// PSYNC by which this node becomes a primary first.
    Meet(Box<SyncRequest>),
    /// What the only answer says.
    Answer,
    /// The sum of the numbers.
    Sum,
    /// SUBSCRIBE and its kin: what the client is to listen to when the cores know what is new.
    Subscribe {
        /// What it names.
        kind: Kind,
        /// What it named.
        entries: Vec<EntryId>,
        /// What they were told.
        news: Arc<Announcement>,
    },
    /// PUBSUB CHANNELS and SHARDCHANNELS.
    Names,
    /// PUBSUB NUMSUB and SHARDNUMSUB, of the names that stand behind the subcommand.
    Subscribers(OwnedArgs),
    /// CLIENT LIST, of these clients in this order if some were named.
    ClientList(Option<Vec<u64>>),
    /// DEBUG CLIENT-EVICTION.
    ClientSizes,
    /// CLIENT KILL.
    ClientKill {
        /// `CLIENT KILL addr`.
        is_old_form: bool,
    },
    /// CLIENT UNBLOCK.
    ClientUnblock,
    /// INFO.
    Info(Sections),
    /// ROLE.
    Role,
    /// MEMORY STATS.
    MemoryStats,
    /// MEMORY DOCTOR.
    MemoryDoctor,
    /// DEBUG HTSTATS.
    TableStats(DbIndex),
    /// SLOWLOG GET.
    SlowlogGet(OwnedArgs),
    /// SLOWLOG LEN.
    SlowlogLen,
    /// LATENCY LATEST.
    LatencyLatest,
    /// LATENCY HISTORY of this event.
    LatencyHistory(Vec<u8>),
    /// LATENCY GRAPH of this event.
    LatencyGraph(Vec<u8>),
    /// LATENCY DOCTOR.
    LatencyDoctor,
    /// LATENCY RESET.
    LatencyReset(OwnedArgs),
    /// LATENCY HISTOGRAM.
    LatencyHistogram(OwnedArgs),
}

/// A question under way.
#[derive(Debug)]
pub struct Gather {
    from: From,
    pub(super) purpose: Purpose,
    pub(super) answers: Vec<Answer>,
    missing: u16,
}

/// Who waits for the answers.
#[derive(Clone, Copy, Debug)]
enum From {
    /// A session of this core.
    Session(u32),
    /// Another core, which has asked this one under this number.
    Core(CoreId, u64),
}

/// The number of questions that nobody wants an answer to.
pub(super) const UNANSWERED: u64 = 0;

/// The core that makes configurations.
const CONFIGURATOR: CoreId = CoreId(0);

impl<T: Ticks> Host<T> {
    /// Tells all cores, this one included.
    pub(super) fn broadcast(&mut self, query: Query) {
        self.send_all(UNANSWERED, query);
    }

    /// Asks all cores on behalf of a session, which waits.
    pub(super) fn ask_all(&mut self, index: u32, purpose: Purpose, query: Query) -> Flow {
        let number = self.begin(From::Session(index), purpose, self.cores);
        self.send_all(number, query);
        self.asked(index)
    }

    /// Asks some of the other cores on behalf of a session, which waits.
    pub(super) fn ask_cores(&mut self, index: u32, purpose: Purpose, query: Query, cores: &[CoreId]) -> Flow {
        let number = self.begin(From::Session(index), purpose, cores.len() as u16);
        for &core in cores {
            self.post(core, Rare::Query(number, query.clone()));
        }
        self.asked(index)
    }

    /// CONFIG SET: asks the core that makes configurations.
    pub(super) fn ask_configurator(&mut self, index: u32, query: Query) -> Flow {
        let number = self.begin(From::Session(index), Purpose::Ok, 1);
        self.post(CONFIGURATOR, Rare::Query(number, query));
        self.asked(index)
    }

    /// Asks core 0 about saves.
    pub(super) fn ask_conductor(&mut self, index: u32, query: SaveQuery) -> Flow {
        let number = self.begin(From::Session(index), Purpose::Answer, 1);
        self.post(CoreId(0), Rare::Query(number, Query::Save(query)));
        self.asked(index)
    }

    /// Asks core 0 to change this node's part in replication.
    pub(super) fn ask_replicaof(&mut self, index: u32, order: Order) -> Flow {
        let number = self.begin(From::Session(index), Purpose::Answer, 1);
        self.post(CoreId(0), Rare::Query(number, Query::Replicaof(order)));
        self.asked(index)
    }

    /// Asks core 0 for a failover.
    pub(super) fn ask_failover(&mut self, index: u32, request: FailoverRequest) -> Flow {
        let number = self.begin(From::Session(index), Purpose::Answer, 1);
        self.post(CoreId(0), Rare::Query(number, Query::Failover(request)));
        self.asked(index)
    }

    /// A session of core 0 waits until this node is a primary. Who is to be told then.
    pub(super) fn ask_for_promotion(&mut self, index: u32, request: SyncRequest) -> (CoreId, u64) {
        (self.id, self.begin(From::Session(index), Purpose::Meet(Box::new(request)), 1))
    }

    fn begin(&mut self, from: From, purpose: Purpose, missing: u16) -> u64 {
        if let From::Session(index) = from {
            if let Some(session) = self.session(index) {
                session.state = State::Waiting(Wait::Cores);
                session.under_way += 1;
            }
        }
        let number = self.new_number();
        self.gathers.insert(number, Gather { from, purpose, answers: Vec::new(), missing });
        number
    }

    fn send_all(&mut self, number: u64, query: Query) {
        for core in (0..self.cores).map(CoreId) {
            self.post(core, Rare::Query(number, query.clone()));
        }
    }

    /// With one core everything is over already.
    fn asked(&mut self, index: u32) -> Flow {
        match self.session(index).map(|session| session.state) {
            Some(State::Open) => Flow::Next,
            _ => Flow::Stop,
        }
    }

    /// A question has come.
    pub(super) fn take_query(&mut self, from: CoreId, number: u64, query: Query) {
        let answer = match query {
            // The answer follows when all cores have it.
            Query::SetConfig { pairs, asker } => match self.set_config((from, number), pairs, asker) {
                None => return,
                Some(refusal) => Answer::Refused(refusal),
            },
            Query::Save(query) => match self.take_save_query((from, number), query) {
                Some(answer) => answer,
                // It follows when the save is over.
                None => return,
            },
            Query::Replicaof(order) => match self.take_replicaof((from, number), order) {
                Some(answer) => answer,
                // It follows when it is a primary.
                None => return,
            },
            Query::Failover(request) => match self.take_failover((from, number), request) {
                Ok(Some(answer)) => answer,
                // It follows when writes are held back.
                Ok(None) => return,
                Err(refusal) => Answer::Refused(refusal),
            },
            Query::Announce(news) => {
                self.take_announcement(from, &news);
                Answer::Done
            }
            Query::Withdraw(news) => {
                self.take_withdrawal(from, &news);
                Answer::Done
            }
            // The answer follows when the core has slept.
            Query::Sleep(us) => {
                self.effects.push(Effect::Sleep { us, asker: from, number });
                return;
            }
            query => self.answer_query(query),
        };
        if number != UNANSWERED {
            self.post(from, Rare::Answer(number, answer));
        }
    }

    /// This is the configuration from now on, on all cores; then the asker is answered.
    pub(super) fn configure_all(&mut self, (core, number): (CoreId, u64), config: Arc<Config>) {
        let cores = self.cores;
        let passed_on = self.begin(From::Core(core, number), Purpose::Ok, cores);
        self.send_all(passed_on, Query::Configure(config));
    }

    /// The runtime has stopped the core as `Effect::Sleep` told it to.
    pub fn slept(&mut self, asker: CoreId, number: u64) {
        self.post(asker, Rare::Answer(number, Answer::Done));
    }

    fn answer_query(&mut self, query: Query) -> Answer {
        let now = self.now.mono;
        match query {
            Query::Monitors(change) => {
                self.monitors = self.monitors.saturating_add_signed(change);
                self.refresh_attention();
            }
            Query::Feed(line) => self.feed_own_monitors(&line),
            Query::Names(kind, pattern) => return Answer::Names(self.names(kind, pattern.as_deref())),
            Query::Subscribers(kind, names) => {
                return Answer::Numbers(self.count_subscribers(kind, names.as_args()));
            }
            Query::CountNames(kind) => return Answer::Number(self.count_names(kind)),
            Query::Clients(filter) => {
                let sessions = self.sessions.iter().filter_map(|session| session.as_deref());
                let primary = self.links.iter().find(|(_, owner)| **owner == LinkOwner::Upstream);
                let primary = primary.and_then(|(index, _)| self.sessions[*index as usize].as_deref());
                let clients = sessions.filter(|session| session.kind.is_visitor()).chain(primary);
                let shown = clients.filter(|session| filter.takes(session));
                return Answer::Clients(
                    shown.map(|session| (session.id.0, clients::line(session, now, &self.table))).collect(),
                );
            }
            Query::ClientSizes => return Answer::ClientSizes(self.client_sizes()),
            Query::Kill(filter) => return self.kill(&filter),
            Query::Unblock(id, end) => return Answer::Unblocked(self.unblock_client(id, end)),
            Query::Pause(pause) => self.begin_pause(pause),
            Query::Unpause => self.end_pause(),
            Query::Configure(config) => {
                self.config = config;
                self.apply_config();
                self.follow_appendonly();
                self.look_at_line();
            }
            Query::ResetStats => self.reset_stats(),
            Query::Report => return Answer::Report(Box::new(self.report())),
            Query::Slowlog => {
                return Answer::Slowlog(Box::new(self.slowlog.clone()));
            }
            Query::ResetSlowlog => self.slowlog.reset(),
            Query::Latency => return Answer::Latency(Box::new(self.latency.clone())),
            Query::ResetLatency(args) => {
                let before = Box::new(self.latency.clone());
                self.latency.reset(args.as_args());
                return Answer::Latency(before);
            }
            Query::SetActiveExpire(active_expire) => {
                self.active_expire = active_expire;
                self.refresh_active_expire();
            }
            Query::PauseCron(is_paused) => self.cron.is_paused = is_paused,
            Query::Populate(populate) => self.populate(&populate),
            Query::SetConfig { .. }
            | Query::Sleep(_)
            | Query::Save(_)
            | Query::Replicaof(_)
            | Query::Failover(_)
            | Query::Announce(_)
            | Query::Withdraw(_) => unreachable!("answered already, or later"),
        }
        Answer::Done
    }

    /// An answer has come.
    pub(super) fn take_answer(&mut self, number: u64, answer: Answer) {
        let Some(gather) = self.gathers.get_mut(&number) else { return };
        gather.answers.push(answer);
        gather.missing -= 1;
        if gather.missing > 0 {
            return;
        }
        let Some(Gather { from, purpose, answers, .. }) = self.gathers.remove(&number) else { return };
        match from {
            From::Session(index) => match purpose {
                Purpose::Subscribe { kind, entries, news } => self.announced(index, kind, &entries, &news),
                Purpose::Meet(request) => self.promoted(index, *request),
                purpose => self.conclude_question(index, purpose, answers),
            },
            From::Core(core, number) => self.post(core, Rare::Answer(number, Answer::Done)),
        }
    }

    fn kill(&mut self, filter: &KillFilter) -> Answer {
        let now = self.now.mono;
        let (mut count, mut asker) = (0, false);
        for index in 0..self.sessions.len() as u32 {
            let Some(session) = self.session(index) else { continue };
            if !filter.takes(session, now) {
                continue;
            }
            if self.is_link_to_primary(index) {
                count += 1;
                self.lose_upstream("The link to the primary was closed by CLIENT KILL".to_owned());
                continue;
            }
            let Some(session) = self.session(index).filter(|session| session.kind.is_visitor()) else {
                continue;
            };
            count += 1;
            if session.id.0 == filter.asker {
                asker = true;
            } else {
                self.close(index, true);
            }
        }
        Answer::Killed { count, asker }
    }

    fn reset_stats(&mut self) {
        self.stats.reset();
        self.command_stats.fill_with(Default::default);
        self.error_stats = Default::default();
        self.cron.reset_rates();
        self.reset_memory_stats();
        for shard in &mut self.shards {
            shard.keyspace.reset_stats();
        }
    }
}
