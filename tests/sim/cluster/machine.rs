//! A node of the cluster: its cores, its disk, and what the runtime does for them. It can be killed, started again and
//! frozen.
//!
//! A pass is `runtime::core`'s, with sockets and files that answer when chance has it: bytes come in pieces, a send
//! takes as much as there is room for, a job on the disk is done in some later pass, a connection that was ended is
//! gone in some later pass. Each core has its ticks by the clock, whatever happens.

use std::collections::VecDeque;
use std::sync::Arc;

use ringward::base::ids::CoreId;
use ringward::base::key::KeyHasher;
use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now};
use ringward::command::Table;
use ringward::config::Config;
use ringward::host::batch::Received;
use ringward::host::cron::ProcessInfo;
use ringward::host::{Departure, Effect, Host, HostOptions, MemoryGauge, Outstanding};
use ringward::session::session::Peer;
use ringward::storage::modeldisk::ModelDisk;
use ringward::storage::op::{Job, Owner};
use ringward::storage::plan::{Plan, PlanOptions};

use super::net::{End, Net, Place, Side, WireId};
use crate::mesh::{self, Mesh, Sent};
use crate::node::Count;
use crate::trace::Trace;

/// What is there for all nodes.
pub(crate) struct Surroundings {
    pub(crate) net: Net,
    pub(crate) rng: Prng,
    pub(crate) now: Now,
    pub(crate) trace: Trace,
    /// Bytes that arrive at a time.
    pub(crate) piece_max: u64,
}

/// What stays the same when a node is started again.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) number: usize,
    pub(crate) shards: u16,
    pub(crate) cores: u16,
    pub(crate) link_capacity: usize,
    pub(crate) table: Arc<Table>,
}

/// See the module.
pub(crate) struct Machine {
    pub(crate) build: Build,
    /// As its file has it.
    pub(crate) config: Config,
    pub(crate) disk: ModelDisk,
    /// None while it does not run.
    process: Option<Process>,
    /// Until when it does nothing.
    pub(crate) frozen_until: MonoUs,
    /// Another number whenever its data was replaced: by a snapshot, or by what its files had.
    pub(crate) loads: u64,
    /// Why it has stopped by itself, other than by SHUTDOWN.
    pub(crate) failure: Option<String>,
}

/// A node that runs.
struct Process {
    hosts: Vec<Host<Count>>,
    mesh: Mesh,
    next_ticks: Vec<MonoUs>,
    sockets: Vec<Socket>,
    dials: Vec<Dial>,
    /// Connections that the kernel has accepted, and the core that is to have each.
    accepts: Vec<(usize, WireId)>,
    /// Jobs on the disk, by the core that waits for them.
    jobs: Vec<(usize, Job)>,
    is_to_stop: bool,
}

/// A connection that stands.
struct Socket {
    wire: WireId,
    side: Side,
    core: usize,
    session: u32,
    state: SocketState,
    is_throttled: bool,
    /// Whether the other side has sent its last byte.
    is_at_end: bool,
    /// What the socket had no room for.
    sending: VecDeque<u8>,
}

enum SocketState {
    Live,
    Moving(CoreId),
    /// On its way to the core that it has now.
    Travelling(Departure),
    Flushing,
    /// Ended; the kernel gives it back later.
    Closing,
}

/// A connection that is being made.
struct Dial {
    core: usize,
    session: u32,
    to: usize,
    is_called_off: bool,
}

/// The address of a node.
pub(crate) fn address(node: usize) -> String {
    format!("10.0.0.{}", node + 1)
}

fn node_at(host: &str) -> Option<usize> {
    host.strip_prefix("10.0.0.")?.parse::<usize>().ok()?.checked_sub(1)
}

impl Machine {
    pub(crate) fn new(build: Build, config: Config) -> Machine {
        Machine {
            build,
            config,
            disk: ModelDisk::default(),
            process: None,
            frozen_until: MonoUs(0),
            loads: 0,
            failure: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_frozen(&self, now: Now) -> bool {
        now.mono < self.frozen_until
    }

    pub(crate) fn cores(&self) -> usize {
        usize::from(self.build.cores)
    }

    /// Starts it with what its disk has.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(&mut self, world: &mut Surroundings) -> Result<(), String> {
        let Build { number, shards, cores, link_capacity, ref table } = self.build;
        let persistence = &self.config.persistence;
        let options = PlanOptions {
            appendonly: persistence.appendonly,
            aof_folder: persistence.appenddirname.to_string(),
            aof_name: persistence.appendfilename.to_string(),
            dbfilename: persistence.dbfilename.to_string(),
            shards,
            keeps_history: false,
        };
        let plan = Plan::make(&self.disk, &options).map_err(|why| format!("node {number}: {why}"))?;
        let seed = world.rng.next_u64();
        let process = ProcessInfo {
            run_id: format!("{seed:040x}"),
            config_file: "redis.conf".to_owned(),
            ..ProcessInfo::default()
        };
        let options = HostOptions {
            id: CoreId(0),
            cores,
            placement: (0..shards).map(|shard| CoreId(shard % cores)).collect(),
            table: table.clone(),
            config: Arc::new(self.config.clone()),
            hasher: KeyHasher::new([seed, 2, 3, 4]),
            seed,
            plan: Some(Arc::new(plan)),
            process,
        };
        let ticks = Count::default();
        let host = |id: u16| {
            let seed = seed.wrapping_add(u64::from(id));
            Host::new(HostOptions { id: CoreId(id), seed, ..options.clone() }, ticks.clone())
        };
        let mut hosts: Vec<Host<Count>> = (0..cores).map(host).collect();
        for host in &mut hosts {
            host.set_now(world.now);
            host.start();
        }
        world.trace.note(format_args!("node {number} starts"));
        self.loads += 1;
        self.process = Some(Process {
            hosts,
            mesh: Mesh::new(cores, link_capacity, None),
            next_ticks: vec![world.now.mono; usize::from(cores)],
            sockets: Vec::new(),
            dials: Vec::new(),
            accepts: Vec::new(),
            jobs: Vec::new(),
            is_to_stop: false,
        });
        Ok(())
    }

    /// It is there no more, from one moment to the next.
    pub(crate) fn kill(&mut self, world: &mut Surroundings) {
        let Some(process) = self.process.take() else { return };
        world.trace.note(format_args!("node {} is gone", self.build.number));
        for socket in &process.sockets {
            if !matches!(socket.state, SocketState::Closing) {
                world.net.close(socket.wire, socket.side);
            }
        }
        for &(_, wire) in &process.accepts {
            world.net.close(wire, Side::Acceptor);
        }
        // Of what the disk was doing some is done.
        for (core, mut job) in process.jobs {
            job.ops.truncate(world.rng.below(job.ops.len() as u64 + 1) as usize);
            self.disk.run(core as u16, job);
        }
    }

    /// A connection has come, if anybody listens.
    pub(crate) fn accept(&mut self, wire: WireId, rng: &mut Prng) -> bool {
        let core = rng.below(u64::from(self.build.cores)) as usize;
        match &mut self.process {
            Some(process) => process.accepts.push((core, wire)),
            None => return false,
        }
        true
    }

    /// Those that it is connecting to, and that are to decide now: core and session by which it asks, and whom.
    pub(crate) fn due_dials(&mut self, core: usize) -> Vec<(u32, usize)> {
        let Some(process) = &mut self.process else { return Vec::new() };
        let all = process.dials.iter().filter(|dial| dial.core == core && !dial.is_called_off);
        all.map(|dial| (dial.session, dial.to)).collect()
    }

    /// What became of a dial: a connection, or why there is none.
    pub(crate) fn dialed(&mut self, core: usize, session: u32, outcome: Result<WireId, &str>) {
        let number = self.build.number;
        let Some(process) = &mut self.process else { return };
        let is_it = |dial: &Dial| dial.core == core && dial.session == session;
        let Some(at) = process.dials.iter().position(is_it) else { return };
        let dial = process.dials.remove(at);
        match outcome {
            Ok(wire) => {
                let peer = Peer {
                    addr: format!("{}:6379", address(dial.to)),
                    laddr: format!("{}:{}", address(number), 40_000 + wire % 20_000),
                    ..Peer::default()
                };
                process.sockets.push(Socket::new(wire, Side::Dialer, core, session));
                process.hosts[core].dialed(session, Ok(peer));
            }
            Err(reason) => process.hosts[core].dialed(session, Err(reason.to_owned())),
        }
    }

    /// A core's loop goes round once. Whether anything came of it.
    pub(crate) fn pass(&mut self, core: usize, everything: bool, world: &mut Surroundings) -> bool {
        let number = self.build.number;
        let Some(process) = &mut self.process else { return false };
        process.hosts[core].set_now(world.now);
        process.show_memory(core);
        let mut moved = process.finish_sends(core, world);
        moved |= process.receive(core, everything, world);
        moved |= process.accept_due(core, everything, world);
        moved |= process.finish_jobs(core, everything, &mut self.disk, world);
        moved |= process.arrive(core, everything, world);
        moved |= process.deliver(number, core, everything, world);
        if world.now.mono >= process.next_ticks[core] {
            process.next_ticks[core] = MonoUs(world.now.mono.0 + TICK_US);
            process.hosts[core].tick();
        }
        moved |= process.hosts[core].work();
        process.hosts[core].settle();
        moved |= process.start_jobs(core, &mut self.loads);
        moved |= process.send_mail(number, core, world);
        moved |= process.carry_out(core, &mut self.config, &mut self.failure);
        moved |= process.send_output(core, world);
        moved |= process.let_go(core, everything, world);
        if process.is_to_stop && process.jobs.is_empty() {
            self.kill(world);
        }
        moved
    }

    /// When the next of its cores has to look at the clock.
    pub(crate) fn next_tick(&self) -> Option<MonoUs> {
        self.process.as_ref().and_then(|process| process.next_ticks.iter().min().copied())
    }

    /// What is left of work that should be over.
    ///
    /// # Errors
    /// Something is.
    pub(crate) fn check_rest(&self, clients: usize) -> Result<(), String> {
        let number = self.build.number;
        let Some(process) = &self.process else { return Err(format!("node {number} does not run")) };
        for (core, host) in process.hosts.iter().enumerate() {
            let outstanding = host.outstanding();
            if outstanding != Outstanding::default() {
                return Err(format!("left over on core {core} of node {number}: {outstanding:?}"));
            }
        }
        let sessions: usize = process.hosts.iter().map(Host::sessions).sum();
        if sessions != clients {
            return Err(format!("node {number} has {sessions} sessions, and {clients} clients"));
        }
        if !process.dials.is_empty() {
            return Err(format!("node {number} still dials"));
        }
        Ok(())
    }
}

/// How often a core looks at the clock: `hz` of 10.
const TICK_US: u64 = 100_000;

impl Socket {
    fn new(wire: WireId, side: Side, core: usize, session: u32) -> Socket {
        Socket {
            wire,
            side,
            core,
            session,
            state: SocketState::Live,
            is_throttled: false,
            is_at_end: false,
            sending: VecDeque::new(),
        }
    }

    fn is_on(&self, core: usize) -> bool {
        self.core == core && !matches!(self.state, SocketState::Travelling(_))
    }
}

impl Process {
    fn socket(&mut self, core: usize, session: u32) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|socket| socket.session == session && socket.is_on(core))
    }

    fn show_memory(&mut self, core: usize) {
        if self.hosts.iter().any(Host::has_memory_limit) {
            let mut others = MemoryGauge::default();
            let gauges = self.hosts.iter().enumerate().filter(|&(other, _)| other != core);
            gauges.for_each(|(_, host)| others.add(host.memory_gauge()));
            self.hosts[core].set_others_memory(others);
        }
    }

    /// Room has come for what sockets had not taken.
    fn finish_sends(&mut self, core: usize, world: &mut Surroundings) -> bool {
        let mut moved = false;
        for at in 0..self.sockets.len() {
            let socket = &mut self.sockets[at];
            if !socket.is_on(core) || matches!(socket.state, SocketState::Closing) {
                continue;
            }
            let session = socket.session;
            if !socket.sending.is_empty() {
                let bytes = socket.sending.make_contiguous();
                match world.net.send(socket.wire, socket.side, bytes) {
                    Some(0) => continue,
                    Some(len) => {
                        socket.sending.drain(..len);
                        moved = true;
                        let unsent = socket.sending.len();
                        let host = &mut self.hosts[core];
                        if unsent == 0 && host.output(session).is_some_and(|output| !output.is_empty()) {
                            self.send_more(at, world);
                        }
                        let unsent = self.sockets[at].sending.len();
                        self.hosts[core].sent(session, unsent);
                    }
                    None => {
                        moved = true;
                        self.end_socket(at, world);
                        continue;
                    }
                }
            }
            moved |= self.flushed(at, world);
            moved |= self.depart_if_ready(at, world);
        }
        moved
    }

    /// Sends a session's output, as far as there is room.
    fn send_more(&mut self, at: usize, world: &mut Surroundings) {
        let socket = &mut self.sockets[at];
        let Some(output) = self.hosts[socket.core].output(socket.session) else { return };
        let bytes = std::mem::take(output);
        // Where nobody reads any more that is found at the next send, or receive.
        let len = world.net.send(socket.wire, socket.side, &bytes).unwrap_or(0);
        socket.sending.extend(&bytes[len..]);
    }

    /// A connection that was only waiting for its output to leave ends.
    fn flushed(&mut self, at: usize, world: &mut Surroundings) -> bool {
        let socket = &self.sockets[at];
        let is_flushing = matches!(socket.state, SocketState::Flushing);
        let has_output =
            self.hosts[socket.core].output(socket.session).is_some_and(|output| !output.is_empty());
        let is_done = is_flushing && socket.sending.is_empty() && !has_output;
        if is_done {
            self.end_socket(at, world);
        }
        is_done
    }

    fn depart_if_ready(&mut self, at: usize, world: &mut Surroundings) -> bool {
        let socket = &mut self.sockets[at];
        let SocketState::Moving(to) = socket.state else { return false };
        if !socket.sending.is_empty() || world.rng.below(2) == 0 {
            return false;
        }
        let Some(departure) = self.hosts[socket.core].depart(socket.session) else { return false };
        socket.state = SocketState::Travelling(departure);
        socket.core = to.index();
        true
    }

    /// The connection ends from this side; its session is told when the kernel has given it back (`let_go`).
    fn end_socket(&mut self, at: usize, world: &mut Surroundings) {
        let socket = &mut self.sockets[at];
        if !matches!(socket.state, SocketState::Closing) {
            socket.state = SocketState::Closing;
            socket.sending.clear();
            world.net.close(socket.wire, socket.side);
        }
    }

    /// What the sockets have brought.
    fn receive(&mut self, core: usize, everything: bool, world: &mut Surroundings) -> bool {
        let mut pieces: Vec<(u32, Vec<u8>)> = Vec::new();
        let (mut ended, mut broken) = (Vec::new(), Vec::new());
        for (at, socket) in self.sockets.iter_mut().enumerate() {
            let may_receive = !matches!(socket.state, SocketState::Closing) && socket.is_on(core);
            if !may_receive || socket.is_throttled || !(everything || world.rng.below(2) == 0) {
                continue;
            }
            let max = if everything { usize::MAX } else { 1 + world.rng.below(world.piece_max) as usize };
            let bytes = world.net.receive(socket.wire, socket.side, max);
            if !bytes.is_empty() {
                pieces.push((socket.session, bytes));
            }
            match world.net.end(socket.wire, socket.side) {
                Some(End::Closed) if !socket.is_at_end => {
                    socket.is_at_end = true;
                    ended.push(socket.session);
                }
                Some(End::Broken) => broken.push(at),
                Some(End::Closed) | None => {}
            }
        }
        let received: Vec<Received<'_>> =
            pieces.iter().map(|(session, bytes)| Received { session: *session, bytes }).collect();
        if !received.is_empty() {
            self.hosts[core].receive(&received);
        }
        for &session in &ended {
            self.hosts[core].end_of_input(session);
        }
        for &at in &broken {
            self.end_socket(at, world);
        }
        !pieces.is_empty() || !ended.is_empty() || !broken.is_empty()
    }

    fn accept_due(&mut self, core: usize, everything: bool, world: &mut Surroundings) -> bool {
        let mut moved = false;
        for (to, wire) in std::mem::take(&mut self.accepts) {
            if to != core || !(everything || world.rng.below(2) == 0) {
                self.accepts.push((to, wire));
                continue;
            }
            moved = true;
            let (ip, is_local) = match world.net.dialer(wire) {
                Some(Place::Node(node)) => (address(node), false),
                Some(Place::Client) | None => ("127.0.0.1".to_owned(), true),
            };
            let peer = Peer {
                addr: format!("{ip}:{}", 40_000 + wire % 20_000),
                laddr: "10.0.0.0:6379".to_owned(),
                fd: 8,
                unix: false,
                local: is_local,
            };
            let session = self.hosts[core].connect(peer).expect("everybody may connect");
            self.sockets.push(Socket::new(wire, Side::Acceptor, core, session));
        }
        moved
    }

    /// The disk has done some of what it was told.
    fn finish_jobs(
        &mut self,
        core: usize,
        everything: bool,
        disk: &mut ModelDisk,
        world: &mut Surroundings,
    ) -> bool {
        let mut moved = false;
        for (owner, job) in std::mem::take(&mut self.jobs) {
            if owner != core || !(everything || world.rng.below(3) > 0) {
                self.jobs.push((owner, job));
                continue;
            }
            moved = true;
            let outcome = disk.run(core as u16, job);
            self.hosts[core].file_done(outcome);
        }
        moved
    }

    /// Connections that come from other cores.
    fn arrive(&mut self, core: usize, everything: bool, world: &mut Surroundings) -> bool {
        let mut moved = false;
        for socket in &mut self.sockets {
            let is_here = socket.core == core && matches!(socket.state, SocketState::Travelling(_));
            if !is_here || !(everything || world.rng.below(2) == 0) {
                continue;
            }
            let SocketState::Travelling(departure) = std::mem::replace(&mut socket.state, SocketState::Live)
            else {
                continue;
            };
            moved = true;
            socket.is_at_end = departure.is_at_end();
            socket.is_throttled = false;
            socket.session = self.hosts[core].arrive(departure);
        }
        moved
    }

    /// The mail of the other cores, of each the oldest.
    fn deliver(&mut self, number: usize, core: usize, everything: bool, world: &mut Surroundings) -> bool {
        let to = CoreId(core as u16);
        let mut moved = false;
        for from in (0..self.hosts.len() as u16).map(CoreId).filter(|&from| from != to) {
            let waiting = self.mesh.waiting(from, to);
            let count = match world.rng.below(3) {
                _ if everything => waiting,
                0 => 0,
                1 => waiting.min(1),
                _ => world.rng.below(waiting as u64 + 1) as usize,
            };
            for _ in 0..count {
                let Some(mail) = self.mesh.take(from, to) else { break };
                let kind = mesh::kind(&mail);
                world.trace.note(format_args!("{number}: core {core} takes {kind} from core {}", from.0));
                self.hosts[core].deliver(from, mail);
                moved = true;
            }
        }
        moved
    }

    fn start_jobs(&mut self, core: usize, loads: &mut u64) -> bool {
        let mut jobs = Vec::new();
        self.hosts[core].take_jobs(&mut jobs);
        let moved = !jobs.is_empty();
        for job in jobs {
            // Nobody is served until the last of them is done.
            *loads += u64::from(job.tag.owner == Owner::Load);
            self.jobs.push((core, job));
        }
        moved
    }

    fn send_mail(&mut self, number: usize, core: usize, world: &mut Surroundings) -> bool {
        let from = CoreId(core as u16);
        let mut moved = false;
        for to in (0..self.hosts.len() as u16).map(CoreId).filter(|&to| to != from) {
            while let Some(mail) = self.hosts[core].mail_for(to).pop_front() {
                let kind = mesh::kind(&mail);
                match self.mesh.send(from, to, mail) {
                    Sent::Full(mail) => {
                        self.hosts[core].mail_for(to).push_front(mail);
                        break;
                    }
                    Sent::Gone | Sent::Answered(_) => {
                        world.trace.note(format_args!("{number}: core {core} sends {kind} to core {}", to.0));
                        moved = true;
                    }
                }
            }
        }
        moved
    }

    fn carry_out(&mut self, core: usize, config: &mut Config, failure: &mut Option<String>) -> bool {
        let mut effects = Vec::new();
        self.hosts[core].take_effects(&mut effects);
        let mut moved = false;
        for effect in effects {
            moved |= effect != Effect::Configured;
            match effect {
                Effect::Connect { session, host, .. } => match node_at(&host) {
                    Some(to) => self.dials.push(Dial { core, session, to, is_called_off: false }),
                    None => self.hosts[core].dialed(session, Err("No route to host".to_owned())),
                },
                Effect::Move { session, to } => {
                    if let Some(socket) = self.socket(core, session) {
                        if matches!(socket.state, SocketState::Live) {
                            socket.state = SocketState::Moving(to);
                        }
                    }
                }
                Effect::Close { session, flush } => self.close(core, session, flush),
                Effect::Throttle(session) | Effect::Unthrottle(session) => {
                    let is_throttled = matches!(effect, Effect::Throttle(_));
                    if let Some(socket) = self.socket(core, session) {
                        socket.is_throttled = is_throttled;
                    }
                }
                Effect::Configured | Effect::Gather(_) => {}
                Effect::Shutdown => self.is_to_stop = true,
                Effect::Fail(reason) => *failure = Some(reason),
                Effect::Rewrite { session } => {
                    config.clone_from(self.hosts[core].config());
                    self.hosts[core].rewritten(session, Ok(()));
                }
                Effect::Sleep { .. } | Effect::Enter { .. } => {
                    unreachable!("nobody asks for such a thing")
                }
            }
        }
        moved
    }

    fn close(&mut self, core: usize, session: u32, flush: bool) {
        let is_it = |dial: &&mut Dial| dial.core == core && dial.session == session;
        if let Some(dial) = self.dials.iter_mut().find(is_it) {
            dial.is_called_off = true;
            return;
        }
        if let Some(socket) = self.socket(core, session) {
            let is_open = !matches!(socket.state, SocketState::Closing);
            if is_open {
                socket.state = SocketState::Flushing;
                if !flush {
                    // It ends at the end of this pass, whatever it is owed.
                    socket.sending.clear();
                }
            }
        }
        if !flush {
            if let Some(output) = self.hosts[core].output(session) {
                output.clear();
            }
        }
    }

    fn send_output(&mut self, core: usize, world: &mut Surroundings) -> bool {
        let mut dirty = Vec::new();
        self.hosts[core].take_dirty(&mut dirty);
        for &session in &dirty {
            if let Some(session) = self.hosts[core].session(session) {
                session.dirty = false;
            }
            let found = self.sockets.iter().position(|one| one.session == session && one.is_on(core));
            let Some(at) = found else {
                let is_dialing = |dial: &Dial| dial.core == core && dial.session == session;
                if !self.dials.iter().any(is_dialing) {
                    if let Some(output) = self.hosts[core].output(session) {
                        output.clear();
                    }
                }
                continue;
            };
            if !self.sockets[at].sending.is_empty() || matches!(self.sockets[at].state, SocketState::Closing)
            {
                continue;
            }
            self.send_more(at, world);
            let unsent = self.sockets[at].sending.len();
            self.hosts[core].sent(session, unsent);
        }
        !dirty.is_empty()
    }

    /// Ends what was to end when its output had left, and gives back what the kernel has done with.
    fn let_go(&mut self, core: usize, everything: bool, world: &mut Surroundings) -> bool {
        let mut moved = false;
        for at in (0..self.sockets.len()).rev() {
            if !self.sockets[at].is_on(core) {
                continue;
            }
            moved |= self.flushed(at, world);
            let is_over = matches!(self.sockets[at].state, SocketState::Closing);
            if is_over && (everything || world.rng.below(2) == 0) {
                let socket = self.sockets.remove(at);
                self.hosts[core].disconnected(socket.session);
                moved = true;
            }
        }
        let is_over = |dial: &Dial| dial.core == core && dial.is_called_off;
        for at in (0..self.dials.len()).rev() {
            if is_over(&self.dials[at]) && (everything || world.rng.below(2) == 0) {
                let dial = self.dials.remove(at);
                self.hosts[core].disconnected(dial.session);
                moved = true;
            }
        }
        moved
    }
}
