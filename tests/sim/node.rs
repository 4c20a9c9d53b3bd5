//! One node: its cores, the mail between them, its connections, its clock, its disk. What happens in it, and in which
//! order, its world draws.
//!
//! The node is what the runtime is to the hosts, and does nothing by itself. The world has a core make a pass of its
//! loop, in which some of what was sent to it arrives and the rest does not yet; it moves what is in the sockets, lets
//! the disk go on and moves the clock. Passes are not divided further: cores share nothing, and a pass hands over its
//! mail at its end.
//!
//! Not here: other nodes, which are `cluster`'s. Whom this one dials does not answer.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use ringward::base::ids::CoreId;
use ringward::base::key::KeyHasher;
use ringward::base::prng::Prng;
use ringward::base::time::{Now, Ticks};
use ringward::command::Table;
use ringward::config::{Asker, Config, ProtectedAction};
use ringward::host::batch::Received;
use ringward::host::cron::ProcessInfo;
use ringward::host::{Departure, Effect, Entered, Host, HostOptions, Outstanding};
use ringward::session::session::Peer;
use ringward::storage::plan::{Plan, PlanOptions};

use crate::disk::Disk;
use crate::mesh::{self, Mesh, Sabotage, Sent};
use crate::trace::Trace;

/// A counter that goes on by one microsecond at each look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Rc<Cell<u64>>);

impl Ticks for Count {
    fn ticks(&self) -> u64 {
        self.0.set(self.0.get() + 1000);
        self.0.get()
    }

    fn ns_per_tick_1024(&self) -> u64 {
        1024
    }
}

/// What a node is made of.
#[derive(Clone)]
pub(crate) struct NodeOptions {
    pub(crate) seed: u64,
    pub(crate) cores: u16,
    /// For each shard, its core.
    pub(crate) placement: Vec<CoreId>,
    pub(crate) table: Arc<Table>,
    pub(crate) config: Arc<Config>,
    /// How many messages a link between two cores holds.
    pub(crate) link_capacity: usize,
    /// How many bytes of a connection are received at a time, at the most.
    pub(crate) piece_max: u64,
    /// Whether anything of it is kept on the disk.
    pub(crate) has_files: bool,
    pub(crate) sabotage: Option<Sabotage>,
}

/// Names a connection; no two of a node have the same.
pub(crate) type SocketNo = usize;

/// A connection: what the runtime keeps for it, and the bytes on their way in both directions.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    core: usize,
    session: u32,
    /// What the other side has written and the node has not received.
    pub(crate) to_node: VecDeque<u8>,
    /// What the node has sent and the other side has not read.
    pub(crate) from_node: VecDeque<u8>,
    /// Whether the node still uses it. When it has ended it, what it has sent can still be read.
    pub(crate) is_open: bool,
    /// The other side will write no more; and the node knows.
    ends: bool,
    has_ended: bool,
    is_throttled: bool,
    /// Whether it is on no core: its session travels.
    travels: bool,
    /// How much of `from_node` the node thinks is not read.
    known_unsent: usize,
}

/// What a pass has brought for others.
#[derive(Debug)]
pub(crate) enum Happened {
    /// So many bytes of a connection have been received.
    Received(SocketNo, usize),
    /// The node has ended a connection. It is forgotten by `forget`, once its other side has read what it wants to.
    Closed(SocketNo),
    /// Something else, within the node.
    Moved,
}

/// How a process has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    ShutDown,
    /// The data set cannot be loaded, for this reason.
    Failed(String),
}

/// See the module.
pub(crate) struct Node {
    hosts: Vec<Host<Count>>,
    pub(crate) mesh: Mesh,
    /// For each ordered pair of cores, whether the link between them stands still.
    is_stalled: Vec<bool>,
    sockets: BTreeMap<SocketNo, Socket>,
    sockets_seen: usize,
    /// Sessions on their way to another core: which, and of which connection.
    travelling: Vec<(usize, SocketNo, Departure)>,
    pub(crate) disk: Disk,
    pub(crate) ended: Option<Ended>,
    now: Now,
    piece_max: u64,
}

/// A configuration of the defaults, but for snapshots by themselves, and DEBUG.
pub(crate) fn configuration(settings: &[(&str, &str)]) -> Config {
    let asker = Asker { is_local: true, is_loading: false };
    let pairs =
        [("save", "")].iter().chain(settings).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let pairs: Vec<(&[u8], &[u8])> = pairs.collect();
    let mut config = Config::default().set(&pairs, asker).expect("values that can be set");
    config.security.enable_debug_command = ProtectedAction::Yes;
    config.security.enable_protected_configs = ProtectedAction::Yes;
    config
}

impl Node {
    /// A process that starts with what is on the disk.
    ///
    /// # Errors
    /// It refuses to: for this reason.
    pub(crate) fn start(options: &NodeOptions, mut disk: Disk, now: Now) -> Result<Node, String> {
        let mut plan = None;
        if options.has_files {
            let plan_options = plan_options(&options.config, options.placement.len() as u16);
            let made = Plan::make(disk.folder(), &plan_options)?;
            if options.config.persistence.appendonly {
                disk.make_folder(&made.aof_folder);
            }
            disk.keep(&made.kept);
            disk.remove_leftovers(&made);
            plan = Some(Arc::new(made));
        }
        let mut rng = Prng::new(options.seed);
        let host_options = HostOptions {
            id: CoreId(0),
            cores: options.cores,
            placement: options.placement.clone(),
            table: options.table.clone(),
            config: options.config.clone(),
            hasher: KeyHasher::new([options.seed, 2, 3, 4]),
            seed: options.seed,
            plan,
            process: ProcessInfo { run_id: format!("{:040x}", options.seed), ..ProcessInfo::default() },
        };
        let ticks = Count::default();
        let host = |id| {
            let options = HostOptions { id: CoreId(id), seed: rng.next_u64(), ..host_options.clone() };
            Host::new(options, ticks.clone())
        };
        let mut hosts: Vec<Host<Count>> = (0..options.cores).map(host).collect();
        for host in &mut hosts {
            host.set_now(now);
            host.start();
        }
        Ok(Node {
            hosts,
            mesh: Mesh::new(options.cores, options.link_capacity, options.sabotage),
            is_stalled: vec![false; usize::from(options.cores).pow(2)],
            sockets: BTreeMap::new(),
            sockets_seen: 0,
            travelling: Vec::new(),
            disk,
            ended: None,
            now,
            piece_max: options.piece_max,
        })
    }

    /// The process is killed, or has ended: what is left is the disk, with its jobs under way.
    pub(crate) fn into_disk(self) -> Disk {
        self.disk
    }

    pub(crate) fn cores(&self) -> usize {
        self.hosts.len()
    }

    /// The time from the next passes on.
    pub(crate) fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// Some link between two cores stands still from now on, or goes on.
    pub(crate) fn stall(&mut self, rng: &mut Prng) {
        let link = rng.below(self.is_stalled.len() as u64) as usize;
        self.is_stalled[link] = rng.below(2) == 0;
    }

    /// A connection from outside, which some core accepts.
    pub(crate) fn accept(&mut self, rng: &mut Prng, trace: &mut Trace) -> SocketNo {
        let core = rng.below(self.hosts.len() as u64) as usize;
        let number = self.sockets_seen;
        let peer = Peer {
            addr: format!("127.0.0.1:{}", 50_000 + number),
            laddr: "127.0.0.1:6379".to_owned(),
            fd: 8,
            unix: false,
            local: true,
        };
        let session = self.hosts[core].connect(peer).expect("local clients may connect");
        trace.note(format_args!("socket {number} is accepted by core {core}"));
        self.add_socket(core, session)
    }

    fn add_socket(&mut self, core: usize, session: u32) -> SocketNo {
        let number = self.sockets_seen;
        self.sockets_seen += 1;
        self.sockets.insert(number, Socket { core, session, is_open: true, ..Socket::default() });
        number
    }

    /// A connection that was not forgotten.
    pub(crate) fn socket(&mut self, number: SocketNo) -> &mut Socket {
        self.sockets.get_mut(&number).expect("a connection")
    }

    /// The other side will write no more.
    pub(crate) fn end_input(&mut self, number: SocketNo) {
        self.socket(number).ends = true;
    }

    /// The other side is gone, or has seen that the node has ended the connection.
    pub(crate) fn forget(&mut self, number: SocketNo) {
        let Some(socket) = self.sockets.remove(&number) else { return };
        if socket.is_open && !socket.travels {
            self.hosts[socket.core].disconnected(socket.session);
        }
    }

    /// A core's loop goes round once: with all that has come, or with some of it.
    pub(crate) fn pass(
        &mut self,
        core: usize,
        everything: bool,
        rng: &mut Prng,
        trace: &mut Trace,
    ) -> Vec<Happened> {
        let mut happened = Vec::new();
        self.hosts[core].set_now(self.now);
        self.arrive(core, everything, rng, trace, &mut happened);
        self.receive(core, everything, rng, &mut happened);
        for outcome in self.disk.take_outcomes(core) {
            self.hosts[core].file_done(outcome);
            happened.push(Happened::Moved);
        }
        self.deliver(core, everything, rng, trace, &mut happened);
        let host = &mut self.hosts[core];
        if everything || rng.below(8) == 0 {
            host.tick();
        }
        if everything || rng.below(2) == 0 {
            host.work();
        }
        host.settle();
        let mut jobs = Vec::new();
        host.take_jobs(&mut jobs);
        for job in jobs {
            self.disk.begin(core, job, self.now.mono.0);
            happened.push(Happened::Moved);
        }
        self.send_mail(core, trace, &mut happened);
        self.carry_out(core, &mut happened);
        self.send_output(core, &mut happened);
        happened
    }

    /// Whether nothing is on its way within the node, nor to it.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_received = self.sockets.values().all(|socket| socket.to_node.is_empty());
        is_received && self.mesh.is_empty() && self.travelling.is_empty() && self.disk.is_idle()
    }

    /// How many sessions of clients there are.
    pub(crate) fn sessions(&self) -> usize {
        self.hosts.iter().map(Host::sessions).sum()
    }

    /// What each core has under way.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = Outstanding> + '_ {
        self.hosts.iter().map(Host::outstanding)
    }

    /// The connection of a session.
    fn socket_of(&self, core: usize, session: u32) -> Option<SocketNo> {
        let is_it = |socket: &Socket| socket.core == core && socket.session == session && !socket.travels;
        let mut open = self.sockets.iter().filter(|(_, socket)| socket.is_open);
        open.find(|(_, socket)| is_it(socket)).map(|(number, _)| *number)
    }

    /// Sessions that come from other cores.
    fn arrive(
        &mut self,
        core: usize,
        everything: bool,
        rng: &mut Prng,
        trace: &mut Trace,
        happened: &mut Vec<Happened>,
    ) {
        for (to, number, departure) in std::mem::take(&mut self.travelling) {
            if to != core || !(everything || rng.below(2) == 0) {
                self.travelling.push((to, number, departure));
                continue;
            }
            happened.push(Happened::Moved);
            let session = self.hosts[core].arrive(departure);
            trace.note(format_args!("socket {number} arrives at core {core}"));
            match self.sockets.get_mut(&number) {
                Some(socket) => {
                    (socket.session, socket.travels, socket.is_throttled) = (session, false, false);
                }
                None => self.hosts[core].disconnected(session),
            }
        }
    }

    /// What the sockets have brought, in pieces that need not be whole requests.
    fn receive(&mut self, core: usize, everything: bool, rng: &mut Prng, happened: &mut Vec<Happened>) {
        let mut pieces: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut ended = Vec::new();
        let is_here = |socket: &Socket| socket.core == core && socket.is_open && !socket.travels;
        for (&number, socket) in self.sockets.iter_mut().filter(|(_, socket)| is_here(socket)) {
            if socket.known_unsent != socket.from_node.len() {
                socket.known_unsent = socket.from_node.len();
                self.hosts[core].sent(socket.session, socket.known_unsent);
            }
            let has_come = everything || rng.below(2) == 0;
            if socket.is_throttled || socket.has_ended || !has_come {
                continue;
            }
            let len = if everything { usize::MAX } else { 1 + rng.below(self.piece_max) as usize };
            let len = len.min(socket.to_node.len());
            if len > 0 {
                pieces.push((socket.session, socket.to_node.drain(..len).collect()));
                happened.push(Happened::Received(number, len));
            }
            if socket.ends && socket.to_node.is_empty() {
                socket.has_ended = true;
                ended.push(socket.session);
                happened.push(Happened::Moved);
            }
        }
        let received: Vec<Received<'_>> =
            pieces.iter().map(|(session, bytes)| Received { session: *session, bytes }).collect();
        if !received.is_empty() {
            self.hosts[core].receive(&received);
        }
        for session in ended {
            self.hosts[core].end_of_input(session);
        }
    }

    /// The mail of the other cores, of each the oldest.
    fn deliver(
        &mut self,
        core: usize,
        everything: bool,
        rng: &mut Prng,
        trace: &mut Trace,
        happened: &mut Vec<Happened>,
    ) {
        let (to, cores) = (CoreId(core as u16), self.hosts.len());
        for from in (0..cores as u16).map(CoreId).filter(|&from| from != to) {
            let waiting = self.mesh.waiting(from, to);
            let count = match rng.below(3) {
                _ if everything => waiting,
                _ if self.is_stalled[from.index() * cores + core] => 0,
                0 => 0,
                1 => waiting.min(1),
                _ => rng.below(waiting as u64 + 1) as usize,
            };
            for _ in 0..count {
                let Some(mail) = self.mesh.take(from, to) else { break };
                let kind = mesh::kind(&mail);
                trace.note(format_args!("core {core} takes {kind} from core {}", from.0));
                self.hosts[core].deliver(from, mail);
                happened.push(Happened::Moved);
            }
        }
    }

    fn send_mail(&mut self, core: usize, trace: &mut Trace, happened: &mut Vec<Happened>) {
        let from = CoreId(core as u16);
        for to in (0..self.hosts.len() as u16).map(CoreId).filter(|&to| to != from) {
            while let Some(mail) = self.hosts[core].mail_for(to).pop_front() {
                let kind = mesh::kind(&mail);
                trace.note(format_args!("core {core} sends {kind} to core {}", to.0));
                match self.mesh.send(from, to, mail) {
                    Sent::Gone => {}
                    Sent::Answered(answer) => self.hosts[core].deliver(to, answer),
                    Sent::Full(mail) => {
                        self.hosts[core].mail_for(to).push_front(mail);
                        break;
                    }
                }
                happened.push(Happened::Moved);
            }
        }
    }

    fn carry_out(&mut self, core: usize, happened: &mut Vec<Happened>) {
        let mut effects = Vec::new();
        self.hosts[core].take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Close { session, flush } => self.close(core, session, flush, happened),
                Effect::Throttle(session) | Effect::Unthrottle(session) => {
                    let is_throttled = matches!(effect, Effect::Throttle(_));
                    if let Some(number) = self.socket_of(core, session) {
                        self.socket(number).is_throttled = is_throttled;
                    }
                }
                Effect::Move { session, to } => {
                    happened.push(Happened::Moved);
                    self.take_output(core, session, true);
                    let host = &mut self.hosts[core];
                    if let Some(session) = host.session(session) {
                        session.dirty = false;
                    }
                    let number = self.socket_of(core, session);
                    if let (Some(number), Some(departure)) = (number, self.hosts[core].depart(session)) {
                        let socket = self.socket(number);
                        (socket.core, socket.travels) = (to.index(), true);
                        self.travelling.push((to.index(), number, departure));
                    }
                }
                Effect::Connect { session, .. } => {
                    happened.push(Happened::Moved);
                    self.hosts[core].dialed(session, Err("nobody is there".to_owned()));
                }
                Effect::Sleep { asker, number, .. } => {
                    happened.push(Happened::Moved);
                    self.hosts[core].slept(asker, number);
                }
                Effect::Enter { dir, dbfilename } => {
                    happened.push(Happened::Moved);
                    let config = self.hosts[core].config();
                    let options = PlanOptions { appendonly: false, dbfilename, ..plan_options(config, 1) };
                    let plan = Plan::make(self.disk.folder(), &options);
                    self.hosts[core].entered(plan.map(|plan| Entered { dir, plan }));
                }
                Effect::Rewrite { session } => {
                    happened.push(Happened::Moved);
                    self.hosts[core].rewritten(session, Err("there is no configuration file".to_owned()));
                }
                Effect::Shutdown => self.ended = Some(Ended::ShutDown),
                Effect::Fail(reason) => self.ended = Some(Ended::Failed(reason)),
                Effect::Configured | Effect::Gather(_) => {}
            }
        }
    }

    /// The node ends a connection.
    fn close(&mut self, core: usize, session: u32, flush: bool, happened: &mut Vec<Happened>) {
        self.take_output(core, session, flush);
        let socket = self.socket_of(core, session);
        self.hosts[core].disconnected(session);
        happened.push(Happened::Moved);
        if let Some(number) = socket {
            let socket = self.socket(number);
            socket.is_open = false;
            if !flush {
                socket.from_node.clear();
            }
            happened.push(Happened::Closed(number));
        }
    }

    fn send_output(&mut self, core: usize, happened: &mut Vec<Happened>) {
        let mut dirty = Vec::new();
        self.hosts[core].take_dirty(&mut dirty);
        for session in dirty {
            happened.push(Happened::Moved);
            if let Some(session) = self.hosts[core].session(session) {
                session.dirty = false;
            }
            self.take_output(core, session, true);
        }
    }

    fn take_output(&mut self, core: usize, session: u32, keep: bool) {
        let Some(output) = self.hosts[core].output(session) else { return };
        let bytes = std::mem::take(output);
        let Some(number) = self.socket_of(core, session).filter(|_| keep) else { return };
        let socket = self.socket(number);
        socket.from_node.extend(bytes);
        socket.known_unsent = socket.from_node.len();
        let unsent = socket.known_unsent;
        self.hosts[core].sent(session, unsent);
    }
}

/// What the planner is to know of the configuration.
fn plan_options(config: &Config, shards: u16) -> PlanOptions {
    let persistence = &config.persistence;
    PlanOptions {
        appendonly: persistence.appendonly,
        aof_folder: persistence.appenddirname.to_string(),
        aof_name: persistence.appendfilename.to_string(),
        dbfilename: persistence.dbfilename.to_string(),
        shards,
        keeps_history: persistence.aof_disable_auto_gc,
    }
}
