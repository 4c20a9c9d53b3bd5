//! A node of several cores and its clients, in one thread: what happens next is drawn from one generator.
//!
//! A step is one of these: a core makes a pass of its loop (`node`); a client sends, reads, or hangs up; the clock
//! moves.
//!
//! Work comes in *windows*: after some operations everything comes to rest, and what should be over then must be. The
//! clock moves at rest, and between single commands under way; while a command over several shards is, each of its
//! shards may see another time, which is allowed and not looked at here.

use std::collections::VecDeque;
use std::sync::Arc;

use ringward::base::ids::CoreId;
use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now};
use ringward::command::Table;
use ringward::host::Outstanding;

use crate::disk::Disk;
use crate::history::{shown, Event, History, Operation};
use crate::mesh::{Attempts, Sabotage};
use crate::node::{configuration, Happened, Node, NodeOptions, SocketNo};
use crate::reply::{Expect, Value};
use crate::trace::Trace;
use crate::workload::{Plan, Planned, Script, Swarm};

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

/// A client of the node.
#[derive(Debug, Default)]
struct Client {
    /// Its connection.
    socket: SocketNo,
    /// It sends no more.
    ends: bool,
    script: Script,
    /// Requests whose last byte the node has not received, with how many bytes from here that is.
    unsent: VecDeque<(Asked, usize)>,
    /// Requests that the server has, oldest first.
    asked: VecDeque<Asked>,
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
    node: Node,
    clients: Vec<Client>,
    rng: Prng,
    now: Now,
    history: History,
    trace: Trace,
    unique: u64,
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

impl World {
    pub(crate) fn new(
        seed: u64,
        settings: Settings,
        table: Arc<Table>,
        sabotage: Option<Sabotage>,
        trace: Trace,
    ) -> World {
        let options = NodeOptions {
            seed,
            cores: settings.cores,
            placement: settings.placement.clone(),
            table,
            config: Arc::new(configuration(&[])),
            link_capacity: settings.link_capacity,
            piece_max: settings.piece_max,
            has_files: false,
            sabotage,
        };
        let now = Now { unix_us: START_MS * 1000, mono: MonoUs(1_000_000) };
        let node = Node::start(&options, Disk::default(), now);
        let mut world = World {
            node: node.expect("without files it always starts"),
            clients: Vec::new(),
            rng: Prng::new(seed ^ 0x5eed),
            now,
            history: History::default(),
            trace,
            unique: 0,
            to_issue: 0,
            lost: 0,
            settings,
        };
        world.trace.note(format_args!("{:?}", world.settings));
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
        Ok((self.history, self.trace.hash(), self.node.mesh.attempts))
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
                self.node.stall(&mut self.rng);
            }
            120..320 => self.issue(at),
            320..500 => {
                self.read(at)?;
            }
            _ => {
                let core = self.rng.below(self.node.cores() as u64) as usize;
                self.pass(core, false)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Client {
        Client { socket: self.node.accept(&mut self.rng, &mut self.trace), ..Client::default() }
    }

    /// The client is gone without a word, or sends no more; another takes its place.
    fn hang_up(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let lost = client.asked.len();
        if client.ends || self.lost + lost > LOST_MAX {
            return;
        }
        if self.rng.below(3) == 0 {
            self.trace.note(format_args!("client {} will send no more", client.socket));
            client.ends = true;
            self.node.end_input(client.socket);
        } else {
            self.trace.note(format_args!("client {} hangs up", client.socket));
            self.lost += lost;
            self.drop_client(at);
        }
    }

    fn drop_client(&mut self, at: usize) {
        let socket = self.clients[at].socket;
        self.history.events.push(Event::Lost(socket));
        self.node.forget(socket);
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
        self.node.set_now(self.now);
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
                self.history.operations.push(Operation { client: client.socket, action, scope, reply: None });
                Asked::Operation(self.history.operations.len() - 1)
            }
        };
        let to_node = &mut self.node.socket(client.socket).to_node;
        to_node.extend(format!("*{}\r\n", words.len()).bytes());
        for word in &words {
            to_node.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        client.unsent.push_back((asked, to_node.len()));
    }

    /// A client reads some of what has come. Whether there was something.
    fn read(&mut self, at: usize) -> Result<bool, String> {
        let piece = 1 + self.rng.below(self.settings.piece_max * 3) as usize;
        let client = &mut self.clients[at];
        let from_node = &mut self.node.socket(client.socket).from_node;
        let piece = piece.min(from_node.len());
        if piece == 0 {
            return Ok(false);
        }
        client.reply.extend(from_node.drain(..piece));
        while let Some((value, len)) = Value::read(&self.clients[at].reply) {
            self.clients[at].reply.drain(..len);
            self.answered(at, value)?;
        }
        Ok(true)
    }

    fn answered(&mut self, at: usize, value: Value) -> Result<(), String> {
        let client = &mut self.clients[at];
        let number = client.socket;
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
        let happened = self.node.pass(core, everything, &mut self.rng, &mut self.trace);
        let moved = !happened.is_empty();
        for what in happened {
            match what {
                Happened::Received(socket, len) => self.received(socket, len),
                Happened::Closed(socket) => self.closed(socket),
                Happened::Moved => {}
            }
        }
        match self.node.ended.take() {
            Some(ended) => Err(format!("the process has ended by itself: {ended:?}")),
            None => Ok(moved),
        }
    }

    fn client_of(&self, socket: SocketNo) -> usize {
        let at = self.clients.iter().position(|client| client.socket == socket);
        at.expect("every connection is a client's")
    }

    /// The node has received bytes of a client: requests whose last byte is among them may take place from now on.
    fn received(&mut self, socket: SocketNo, len: usize) {
        let at = self.client_of(socket);
        let client = &mut self.clients[at];
        client.unsent.iter_mut().for_each(|(_, end)| *end = end.saturating_sub(len));
        while client.unsent.front().is_some_and(|(_, end)| *end == 0) {
            let Some((asked, _)) = client.unsent.pop_front() else { break };
            if let Asked::Operation(number) = asked {
                let action = shown(&self.history.operations[number].action);
                self.trace.note(format_args!("#{number} of client {socket} arrives: {action}"));
                self.history.events.push(Event::Invoked(number));
            }
            client.asked.push_back(asked);
        }
    }

    /// The server has ended a connection; the client reads what it was still sent.
    fn closed(&mut self, socket: SocketNo) {
        let at = self.client_of(socket);
        while !self.node.socket(socket).from_node.is_empty() {
            // What is wrong with a reply is found by the checker or at the next read.
            if self.read(at).is_err() {
                break;
            }
        }
        self.trace.note(format_args!("client {socket} is let go"));
        self.drop_client(at);
    }

    /// Until nothing moves; then nothing must be left that should be over.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            // As long as something moves at random, at random.
            let mut moved = false;
            for at in 0..self.clients.len() {
                moved |= self.read(at)?;
            }
            for core in 0..self.node.cores() {
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
        for core in 0..self.node.cores() {
            moved |= self.pass(core, true)?;
        }
        let is_read = self.clients.iter().all(|client| self.node.socket(client.socket).from_node.is_empty());
        Ok(moved || !is_read || !self.node.is_quiet())
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
                        client.socket
                    ));
                }
                Asked::Fixed(text, _) => {
                    return Err(format!("client {} never gets an answer to {text}", client.socket));
                }
            }
        }
        let mut waiting = 0;
        let sessions = self.node.sessions();
        if sessions != self.clients.len() {
            return Err(format!("there are {sessions} sessions, and {} clients", self.clients.len()));
        }
        for (core, outstanding) in self.node.outstanding().enumerate() {
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
            self.history.events.push(Event::Lost(client.socket));
            self.node.forget(client.socket);
        }
        self.rest()
    }
}
