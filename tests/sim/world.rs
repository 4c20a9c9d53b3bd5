//! A whole node of several cores and its clients, in one thread: what happens next is drawn from one generator.
//!
//! A step is one of these: a core makes a pass of its loop, in which some of what was sent to it arrives and the rest
//! does not yet; a client sends, reads, or hangs up; the clock moves. Passes are not divided further: cores share
//! nothing, and a pass hands over its mail at its end.
//!
//! Work comes in *windows*: after some operations everything comes to rest, and what should be over then must be. The
//! clock moves at rest, and between single commands under way; while a command over several shards is, each of its
//! shards may see another time, which is allowed and not looked at here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ringward::base::ids::CoreId;
use ringward::base::key::KeyHasher;
use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now, Ticks};
use ringward::command::Table;
use ringward::config::{Asker, Config, ProtectedAction};
use ringward::host::batch::Received;
use ringward::host::cron::ProcessInfo;
use ringward::host::{Departure, Effect, Host, HostOptions, Outstanding};
use ringward::session::session::Peer;

use crate::history::{shown, Event, History, Operation};
use crate::mesh::{self, Attempts, Mesh, Sabotage, Sent};
use crate::reply::{Expect, Value};
use crate::trace::Trace;
use crate::workload::{Plan, Planned, Script, Swarm};

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

/// How a seed plays it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) swarm: Swarm,
    cores: u16,
    placement: Vec<CoreId>,
    clients: usize,
    windows: usize,
    operations_per_window: usize,
    /// How many requests a client sends without waiting, and how many of all clients may be under way.
    pipeline_max: u64,
    under_way_max: usize,
    /// How many messages a link between two cores holds.
    link_capacity: usize,
    /// Bytes that arrive, or are read, at a time.
    piece_max: u64,
    /// In 1000 steps, how often a client hangs up, and how often the clock moves.
    hang_ups: u64,
    clock_moves: u64,
    /// Whether links stand still for a time, while others go on.
    stalls: bool,
}

impl Settings {
    pub(crate) fn draw(rng: &mut Prng, table: &Table) -> Settings {
        let swarm = Swarm::draw(rng, table);
        let cores = 1 + rng.below(4) as u16;
        let is_even = rng.below(2) == 0;
        let placement = (0..swarm.shards)
            .map(|shard| CoreId(if is_even { shard % cores } else { rng.below(u64::from(cores)) as u16 }))
            .collect();
        Settings {
            cores,
            placement,
            clients: 2 + rng.below(4) as usize,
            windows: 2 + rng.below(4) as usize,
            operations_per_window: 10 + rng.below(40) as usize,
            pipeline_max: 1 + rng.below(4),
            under_way_max: 2 + rng.below(7) as usize,
            link_capacity: [1, 2, 8, 256][rng.below(4) as usize],
            piece_max: [3, 40, 1000][rng.below(3) as usize],
            hang_ups: if rng.below(3) == 0 { 5 } else { 0 },
            clock_moves: if rng.below(2) == 0 { 20 } else { 0 },
            stalls: rng.below(2) == 0,
            swarm,
        }
    }

    /// What the sabotage that is to be found needs: it breaks the bookkeeping of commands with two steps, and shows
    /// only where there are several cores.
    pub(crate) fn draw_for_sabotage(rng: &mut Prng, table: &Table) -> Settings {
        loop {
            let mut settings = Settings::draw(rng, table);
            settings.swarm.commands = vec!["MSET", "MGET", "SET", "GET"];
            settings.swarm.transactions = 0;
            if settings.swarm.shards > 1 && settings.cores > 1 {
                return settings;
            }
        }
    }
}

/// A connection, seen from the client, and what the runtime keeps for it.
#[derive(Debug, Default)]
struct Client {
    number: usize,
    core: usize,
    session: u32,
    is_open: bool,
    /// It has shut its side down, or is to, once everything is sent.
    ends: bool,
    has_ended: bool,
    is_throttled: bool,
    /// Whether it is on no core: its session travels.
    travels: bool,
    script: Script,
    /// Bytes that it has written and the server has not received.
    to_send: VecDeque<u8>,
    /// Requests whose last byte is among these, with how many bytes from here that is.
    unsent: VecDeque<(Asked, usize)>,
    /// Requests that the server has, oldest first.
    asked: VecDeque<Asked>,
    /// What the server has sent and the client has not read.
    socket: VecDeque<u8>,
    /// Whether it has read since the runtime looked.
    has_read: bool,
    /// What it has read of a reply that is not complete.
    reply: Vec<u8>,
}

/// A request under way.
#[derive(Debug)]
enum Asked {
    Fixed(String, Expect),
    Operation(usize),
}

/// See the module.
pub(crate) struct World {
    settings: Settings,
    hosts: Vec<Host<Count>>,
    mesh: Mesh,
    /// For each ordered pair of cores, whether the link between them stands still.
    is_stalled: Vec<bool>,
    clients: Vec<Client>,
    /// Sessions on their way to another core: which, and of which client.
    travelling: Vec<(usize, usize, Departure)>,
    rng: Prng,
    now: Now,
    history: History,
    trace: Trace,
    unique: u64,
    clients_seen: usize,
    /// Operations of this window that are still to be sent.
    to_issue: usize,
    /// Requests of this window that nobody waits for any more.
    lost: usize,
}

/// The wall clock at the start, in milliseconds.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// How many requests of a window may stay without an answer: of each the checker has to suppose both.
const LOST_MAX: usize = 5;

/// More steps than a window needs to come to rest.
const STEPS_MAX: usize = 100_000;

/// How many steps the clients have to send what they are to send in a window.
const STEPS_PER_OPERATION_MAX: usize = 200;

/// The default configuration, but for snapshots, since there is no disk here, and DEBUG.
fn configuration() -> Config {
    let asker = Asker { is_local: true, is_loading: false };
    let mut config = Config::default().set(&[(b"save", b"")], asker).expect("a value that can be set");
    config.security.enable_debug_command = ProtectedAction::Yes;
    config
}

impl World {
    pub(crate) fn new(
        seed: u64,
        settings: Settings,
        table: Arc<Table>,
        sabotage: Option<Sabotage>,
        trace: Trace,
    ) -> World {
        let mut rng = Prng::new(seed ^ 0x5eed);
        let options = HostOptions {
            id: CoreId(0),
            cores: settings.cores,
            placement: settings.placement.clone(),
            table,
            config: Arc::new(configuration()),
            hasher: KeyHasher::new([seed, 2, 3, 4]),
            seed,
            plan: None,
            process: ProcessInfo { run_id: "a".repeat(40), ..ProcessInfo::default() },
        };
        let ticks = Count::default();
        let host = |id| {
            Host::new(HostOptions { id: CoreId(id), seed: rng.next_u64(), ..options.clone() }, ticks.clone())
        };
        let hosts = (0..settings.cores).map(host).collect();
        let mut world = World {
            hosts,
            mesh: Mesh::new(settings.cores, settings.link_capacity, sabotage),
            is_stalled: vec![false; usize::from(settings.cores).pow(2)],
            clients: Vec::new(),
            travelling: Vec::new(),
            rng,
            now: Now { unix_us: START_MS * 1000, mono: MonoUs(1_000_000) },
            history: History::default(),
            trace,
            unique: 0,
            clients_seen: 0,
            to_issue: 0,
            lost: 0,
            settings,
        };
        world.trace.note(format_args!("{:?}", world.settings));
        for host in &mut world.hosts {
            host.set_now(world.now);
        }
        for _ in 0..world.settings.clients {
            let client = world.connect();
            world.clients.push(client);
        }
        world
    }

    /// Plays it to the end. What the clients saw, the hash of the trace, and what became of some transactions.
    ///
    /// # Errors
    /// What was wrong.
    pub(crate) fn run(mut self) -> Result<(History, u64, Attempts), String> {
        for window in 0..self.settings.windows {
            self.trace.note(format_args!("window {window}"));
            self.to_issue = self.settings.operations_per_window;
            let mut steps = 0;
            // If all clients are blocked, nobody sends anything.
            while self.to_issue > 0 && steps < STEPS_PER_OPERATION_MAX * self.settings.operations_per_window {
                self.step()?;
                steps += 1;
            }
            self.rest()?;
            if self.rng.below(2) == 0 {
                self.move_clock();
                self.rest()?;
            }
        }
        self.look_at_everything()?;
        self.say_goodbye()?;
        Ok((self.history, self.trace.hash(), self.mesh.attempts))
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        let at = self.rng.below(self.clients.len() as u64) as usize;
        let per_mille = self.rng.below(1000);
        match per_mille {
            chance if chance < self.settings.hang_ups => self.hang_up(at),
            chance if (10..10 + self.settings.clock_moves).contains(&chance) => {
                if !self.is_alone_under_way() {
                    self.move_clock();
                }
            }
            100..120 if self.settings.stalls => {
                let link = self.rng.below(self.is_stalled.len() as u64) as usize;
                self.is_stalled[link] = self.rng.below(2) == 0;
            }
            120..320 => self.issue(at),
            320..500 => {
                self.read(at)?;
            }
            _ => {
                let core = self.rng.below(self.hosts.len() as u64) as usize;
                self.pass(core, false)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Client {
        let core = self.rng.below(self.hosts.len() as u64) as usize;
        let number = self.clients_seen;
        self.clients_seen += 1;
        let peer = Peer {
            addr: format!("127.0.0.1:{}", 50_000 + number),
            laddr: "127.0.0.1:6379".to_owned(),
            fd: 8,
            unix: false,
            local: true,
        };
        let session = self.hosts[core].connect(peer).expect("local clients may connect");
        self.trace.note(format_args!("client {number} connects to core {core}"));
        Client { number, core, session, is_open: true, ..Client::default() }
    }

    /// The client is gone without a word, or sends no more; another takes its place.
    fn hang_up(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let lost = client.asked.len();
        if client.ends || !client.is_open || self.lost + lost > LOST_MAX {
            return;
        }
        if self.rng.below(3) == 0 {
            self.trace.note(format_args!("client {} will send no more", client.number));
            client.ends = true;
        } else {
            self.trace.note(format_args!("client {} hangs up", client.number));
            self.lost += lost;
            self.drop_client(at);
        }
    }

    fn drop_client(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.is_open = false;
        let (core, session, number) = (client.core, client.session, client.number);
        let travels = client.travels;
        self.history.events.push(Event::Lost(number));
        if !travels {
            self.hosts[core].disconnected(session);
        }
        self.clients[at] = self.connect();
    }

    fn move_clock(&mut self) {
        let us = match self.rng.below(10) {
            0 => 200_000,
            1..4 => 10_000,
            _ => 1000 + self.rng.below(3000),
        };
        self.now.unix_us += us as i64;
        self.now.mono.0 += us;
        let ms = self.now.unix_ms().0;
        self.trace.note(format_args!("it is {} ms", ms - START_MS));
        self.history.events.push(Event::Clock(ms));
    }

    /// Whether something is under way for which time may differ from shard to shard.
    fn is_alone_under_way(&self) -> bool {
        let since_rest = self.history.events.iter().rev().take_while(|event| **event != Event::Quiet);
        let mut invoked = since_rest.filter_map(|event| match event {
            Event::Invoked(number) => Some(&self.history.operations[*number]),
            _ => None,
        });
        let blocked = self.clients.iter().flat_map(|client| &client.asked).filter_map(|asked| match asked {
            Asked::Operation(number) => Some(&self.history.operations[*number]),
            Asked::Fixed(..) => None,
        });
        invoked.any(|operation| operation.scope.alone && operation.reply.is_none()) || { blocked }
            .any(|operation| operation.scope.alone)
    }

    fn under_way(&self) -> usize {
        let operations = self
            .clients
            .iter()
            .flat_map(|client| client.asked.iter().chain(client.unsent.iter().map(|(asked, _)| asked)));
        operations.filter(|asked| matches!(asked, Asked::Operation(_))).count()
    }

    /// A client writes some requests.
    fn issue(&mut self, at: usize) {
        let count = 1 + self.rng.below(self.settings.pipeline_max);
        for _ in 0..count {
            let client = &self.clients[at];
            let is_full = client.asked.len() + client.unsent.len() >= 12;
            if client.ends || is_full || self.under_way() >= self.settings.under_way_max {
                return;
            }
            self.unique += 1;
            let client = &mut self.clients[at];
            let planned = self.settings.swarm.next(&mut client.script, &mut self.rng, self.unique);
            self.to_issue = self.to_issue.saturating_sub(1);
            self.write(at, planned);
        }
    }

    fn write(&mut self, at: usize, Planned { words, plan }: Planned) {
        let client = &mut self.clients[at];
        let asked = match plan {
            Plan::Fixed(expected) => Asked::Fixed(words.join(" "), expected),
            Plan::Act(action, scope) => {
                self.history.operations.push(Operation { client: client.number, action, scope, reply: None });
                Asked::Operation(self.history.operations.len() - 1)
            }
        };
        client.to_send.extend(format!("*{}\r\n", words.len()).bytes());
        for word in &words {
            client.to_send.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        client.unsent.push_back((asked, client.to_send.len()));
    }

    /// A client reads some of what has come. Whether there was something.
    fn read(&mut self, at: usize) -> Result<bool, String> {
        let piece = 1 + self.rng.below(self.settings.piece_max * 3) as usize;
        let client = &mut self.clients[at];
        let piece = piece.min(client.socket.len());
        if piece == 0 {
            return Ok(false);
        }
        client.reply.extend(client.socket.drain(..piece));
        client.has_read = true;
        while let Some((value, len)) = Value::read(&self.clients[at].reply) {
            self.clients[at].reply.drain(..len);
            self.answered(at, value)?;
        }
        Ok(true)
    }

    fn answered(&mut self, at: usize, value: Value) -> Result<(), String> {
        let client = &mut self.clients[at];
        let number = client.number;
        match client.asked.pop_front() {
            Some(Asked::Fixed(text, expected)) => {
                self.trace.note(format_args!("client {number} reads {value}, for {text}"));
                if !expected.allows(&value) {
                    return Err(format!("client {number} got {value} for {text}, not {expected:?}"));
                }
            }
            Some(Asked::Operation(operation)) => {
                self.trace.note(format_args!("client {number} reads {value}, for #{operation}"));
                self.history.operations[operation].reply = Some(value);
                self.history.events.push(Event::Answered(operation));
            }
            None => return Err(format!("client {number} got {value}, and had asked for nothing")),
        }
        Ok(())
    }

    /// A core's loop goes round once: with all that has come, or with some of it. Whether anything came of it.
    fn pass(&mut self, core: usize, everything: bool) -> Result<bool, String> {
        self.hosts[core].set_now(self.now);
        let mut moved = self.arrive(core, everything);
        moved |= self.receive(core, everything);
        moved |= self.deliver(core, everything);
        let host = &mut self.hosts[core];
        if everything || self.rng.below(8) == 0 {
            host.tick();
        }
        if everything || self.rng.below(2) == 0 {
            host.work();
        }
        host.settle();
        moved |= self.send_mail(core);
        moved |= self.carry_out(core);
        moved |= self.send_output(core);
        Ok(moved)
    }

    /// Sessions that come from other cores.
    fn arrive(&mut self, core: usize, everything: bool) -> bool {
        let mut moved = false;
        for (to, number, departure) in std::mem::take(&mut self.travelling) {
            if to != core || !(everything || self.rng.below(2) == 0) {
                self.travelling.push((to, number, departure));
                continue;
            }
            moved = true;
            let session = self.hosts[core].arrive(departure);
            self.trace.note(format_args!("client {number} arrives at core {core}"));
            match self.clients.iter_mut().find(|client| client.number == number) {
                Some(client) => {
                    client.session = session;
                    client.travels = false;
                    client.is_throttled = false;
                }
                None => self.hosts[core].disconnected(session),
            }
        }
        moved
    }

    /// What the sockets have brought, in pieces that need not be whole requests.
    fn receive(&mut self, core: usize, everything: bool) -> bool {
        let mut pieces: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut ended = Vec::new();
        let is_here = |client: &&mut Client| client.core == core && client.is_open && !client.travels;
        for client in self.clients.iter_mut().filter(is_here) {
            if std::mem::take(&mut client.has_read) {
                self.hosts[core].sent(client.session, client.socket.len());
            }
            let has_come = everything || self.rng.below(2) == 0;
            if client.is_throttled || client.has_ended || !has_come {
                continue;
            }
            let len =
                if everything { usize::MAX } else { 1 + self.rng.below(self.settings.piece_max) as usize };
            let len = len.min(client.to_send.len());
            if len > 0 {
                pieces.push((client.session, client.to_send.drain(..len).collect()));
                client.unsent.iter_mut().for_each(|(_, end)| *end = end.saturating_sub(len));
                while client.unsent.front().is_some_and(|(_, end)| *end == 0) {
                    let Some((asked, _)) = client.unsent.pop_front() else { break };
                    if let Asked::Operation(number) = asked {
                        let action = shown(&self.history.operations[number].action);
                        self.trace
                            .note(format_args!("#{number} of client {} arrives: {action}", client.number));
                        self.history.events.push(Event::Invoked(number));
                    }
                    client.asked.push_back(asked);
                }
            }
            if client.ends && client.to_send.is_empty() {
                client.has_ended = true;
                ended.push(client.session);
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
        !pieces.is_empty() || !ended.is_empty()
    }

    /// The mail of the other cores, of each the oldest.
    fn deliver(&mut self, core: usize, everything: bool) -> bool {
        let to = CoreId(core as u16);
        let mut moved = false;
        for from in (0..self.settings.cores).map(CoreId).filter(|&from| from != to) {
            let waiting = self.mesh.waiting(from, to);
            let count = match self.rng.below(3) {
                _ if everything => waiting,
                _ if self.is_stalled[from.index() * self.hosts.len() + core] => 0,
                0 => 0,
                1 => waiting.min(1),
                _ => self.rng.below(waiting as u64 + 1) as usize,
            };
            for _ in 0..count {
                let Some(mail) = self.mesh.take(from, to) else { break };
                self.trace.note(format_args!("core {core} takes {} from core {}", mesh::kind(&mail), from.0));
                self.hosts[core].deliver(from, mail);
                moved = true;
            }
        }
        moved
    }

    fn send_mail(&mut self, core: usize) -> bool {
        let from = CoreId(core as u16);
        let mut moved = false;
        for to in (0..self.settings.cores).map(CoreId).filter(|&to| to != from) {
            while let Some(mail) = self.hosts[core].mail_for(to).pop_front() {
                self.trace.note(format_args!("core {core} sends {} to core {}", mesh::kind(&mail), to.0));
                match self.mesh.send(from, to, mail) {
                    Sent::Gone => moved = true,
                    Sent::Answered(answer) => {
                        self.hosts[core].deliver(to, answer);
                        moved = true;
                    }
                    Sent::Full(mail) => {
                        self.hosts[core].mail_for(to).push_front(mail);
                        break;
                    }
                }
            }
        }
        moved
    }

    fn carry_out(&mut self, core: usize) -> bool {
        let mut effects = Vec::new();
        self.hosts[core].take_effects(&mut effects);
        let mut moved = false;
        for effect in effects {
            let client = |clients: &mut Vec<Client>, session: u32| {
                clients
                    .iter_mut()
                    .position(|client| client.core == core && client.session == session && !client.travels)
            };
            match effect {
                Effect::Close { session, flush } => {
                    moved = true;
                    self.take_output(core, session, flush);
                    if let Some(at) = client(&mut self.clients, session) {
                        self.closed(at, flush);
                    }
                }
                Effect::Throttle(session) | Effect::Unthrottle(session) => {
                    if let Some(at) = client(&mut self.clients, session) {
                        self.clients[at].is_throttled = matches!(effect, Effect::Throttle(_));
                    }
                }
                Effect::Move { session, to } => {
                    moved = true;
                    self.take_output(core, session, true);
                    let host = &mut self.hosts[core];
                    if let Some(session) = host.session(session) {
                        session.dirty = false;
                    }
                    if let (Some(at), Some(departure)) =
                        (client(&mut self.clients, session), host.depart(session))
                    {
                        let client = &mut self.clients[at];
                        (client.core, client.travels) = (to.index(), true);
                        self.travelling.push((to.index(), client.number, departure));
                    }
                }
                Effect::Configured | Effect::Gather(_) => {}
                Effect::Connect { .. }
                | Effect::Shutdown
                | Effect::Fail(_)
                | Effect::Sleep { .. }
                | Effect::Rewrite { .. }
                | Effect::Enter { .. } => {
                    unreachable!("the workload asks for no such thing")
                }
            }
        }
        moved
    }

    /// The server has ended a connection; the client reads what it was still sent.
    fn closed(&mut self, at: usize, flush: bool) {
        if flush {
            while !self.clients[at].socket.is_empty() {
                // What is wrong with a reply is found by the checker or at the next read.
                if self.read(at).is_err() {
                    break;
                }
            }
        }
        self.trace.note(format_args!("client {} is let go", self.clients[at].number));
        self.drop_client(at);
    }

    fn send_output(&mut self, core: usize) -> bool {
        let mut dirty = Vec::new();
        self.hosts[core].take_dirty(&mut dirty);
        for &session in &dirty {
            if let Some(session) = self.hosts[core].session(session) {
                session.dirty = false;
            }
            self.take_output(core, session, true);
        }
        !dirty.is_empty()
    }

    fn take_output(&mut self, core: usize, session: u32, keep: bool) {
        let Some(output) = self.hosts[core].output(session) else { return };
        let bytes = std::mem::take(output);
        let client = self
            .clients
            .iter_mut()
            .find(|client| client.core == core && client.session == session && !client.travels);
        let Some(client) = client.filter(|client| client.is_open && keep) else { return };
        client.socket.extend(bytes);
        let unsent = client.socket.len();
        self.hosts[core].sent(session, unsent);
    }

    /// Until nothing moves; then nothing must be left that should be over.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            // As long as something moves at random, at random.
            let mut moved = false;
            for at in 0..self.clients.len() {
                moved |= self.read(at)?;
            }
            for core in 0..self.hosts.len() {
                moved |= self.pass(core, false)?;
            }
            if !moved && !self.everything_moves()? {
                return self.check_rest();
            }
        }
        Err("it never comes to rest".to_owned())
    }

    /// All that can move does. Whether there was something.
    fn everything_moves(&mut self) -> Result<bool, String> {
        let mut moved = false;
        for core in 0..self.hosts.len() {
            moved |= self.pass(core, true)?;
        }
        let is_read = self.clients.iter().all(|client| client.to_send.is_empty() && client.socket.is_empty());
        Ok(moved || !is_read || !self.mesh.is_empty() || !self.travelling.is_empty())
    }

    /// Nothing moves: then nothing must be left that should be over.
    fn check_rest(&mut self) -> Result<(), String> {
        self.trace.note(format_args!("nothing moves"));
        self.history.events.push(Event::Quiet);
        self.lost = 0;
        let mut blocked = 0;
        for client in &self.clients {
            let Some(asked) = client.asked.front() else { continue };
            match asked {
                Asked::Operation(number) if self.history.operations[*number].action.is_blocking() => {
                    blocked += 1
                }
                Asked::Operation(number) => {
                    let action = shown(&self.history.operations[*number].action);
                    return Err(format!(
                        "client {} never gets an answer to #{number}: {action}",
                        client.number
                    ));
                }
                Asked::Fixed(text, _) => {
                    return Err(format!("client {} never gets an answer to {text}", client.number));
                }
            }
        }
        let mut waiting = 0;
        let sessions: usize = self.hosts.iter().map(Host::sessions).sum();
        if sessions != self.clients.len() {
            return Err(format!("there are {sessions} sessions, and {} clients", self.clients.len()));
        }
        for (core, host) in self.hosts.iter().enumerate() {
            let outstanding = host.outstanding();
            waiting += outstanding.waiting_sessions;
            if (Outstanding { waiting_sessions: 0, ..outstanding }) != Outstanding::default() {
                return Err(format!("left over on core {core}: {outstanding:?}"));
            }
        }
        if waiting > blocked {
            return Err(format!("{waiting} sessions wait, of {blocked} that may"));
        }
        Ok(())
    }

    /// A new client reads every key.
    fn look_at_everything(&mut self) -> Result<(), String> {
        let reader = self.connect();
        self.clients.push(reader);
        let at = self.clients.len() - 1;
        let swarm = self.settings.swarm.clone();
        for db in 0..swarm.databases {
            let select = Planned {
                words: vec!["SELECT".to_owned(), db.to_string()],
                plan: Plan::Fixed(Expect::Exactly(Value::ok())),
            };
            self.write(at, select);
            self.write(at, swarm.plain(db, &["DBSIZE"]));
            for key in &swarm.keys {
                self.write(at, swarm.plain(db, &["TYPE", key]));
                self.write(at, swarm.plain(db, &["GET", key]));
                self.write(at, swarm.plain(db, &["PTTL", key]));
                self.rest()?;
            }
            self.write(at, swarm.plain(db, &["KEYS", "*"]));
        }
        self.rest()
    }

    /// All clients hang up: no session stays.
    fn say_goodbye(&mut self) -> Result<(), String> {
        for client in std::mem::take(&mut self.clients) {
            self.history.events.push(Event::Lost(client.number));
            self.hosts[client.core].disconnected(client.session);
        }
        self.rest()
    }
}
