//! A node that is stopped at any moment, in the middle of whatever it does with its disk, and started again from what
//! is left, with the same number of shards or another: several lives, one after the other.
//!
//! Clients write to keys of their own (`survival` says why), single commands, commands over several shards and
//! transactions; now and then, when nothing else is under way, one writes to all keys. What an operation means is known
//! when it is sent. In some seeds the disk refuses steps: then a client waits for each answer, and what is refused
//! (MISCONF) has not taken place.
//!
//! What must be left: with `appendfsync always` whatever was answered; with `everysec` what was answered two seconds
//! before the stop, or before the disk refused something for the first time; where only snapshots are made, what was
//! answered before a SAVE that has ended well.
//!
//! Not here: a process that is killed after a sync has failed. What the kernel shows to the next one is not on the
//! disk, and nobody can know. The machine stops there.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ringward::base::ids::CoreId;
use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now};
use ringward::command::Table;

use crate::disk::{Disk, Lie, Stop};
use crate::model::{Action, Entry, Request, State};
use crate::node::{configuration, Ended, Happened, Node, NodeOptions, SocketNo};
use crate::reply::{Expect, Value};
use crate::survival::{Content, OperationNo, Survival};
use crate::trace::Trace;
use crate::workload::Swarm;
use crate::world::START_MS;

/// What is kept, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Always,
    EverySecond,
    Never,
    /// Snapshots alone.
    Snapshots,
}

/// With `everysec`, what is answered this long before may be lost.
const LOST_US_MAX: u64 = 2_000_000;

/// So long a job on files takes at the most.
const JOB_US_MAX: u64 = 100_000;

/// More steps than an answer, or coming to rest, needs.
const STEPS_MAX: usize = 20_000;

/// How often it is asked whether the data is loaded.
const ASKED_MAX: usize = 1000;

/// The writing commands: those of a family are switched on together.
const FAMILIES: &[&[&str]] = &[
    &["SET", "INCR", "APPEND", "GETDEL", "SETRANGE"],
    &["MSET", "MSET", "MSETNX", "DEL", "UNLINK"],
    &["RENAME", "RENAMENX", "COPY"],
    &["LPUSH", "RPUSH", "LPOP", "LMOVE", "LMOVE"],
    &["SADD", "SREM", "SMOVE", "SMOVE", "SUNIONSTORE"],
    &["HSET", "HDEL", "ZADD", "ZINCRBY", "ZREM", "ZPOPMIN"],
];

/// What a client waits for.
#[derive(Debug)]
struct Awaited {
    text: String,
    expected: Expect,
    /// The operation that takes place by the answer.
    operation: Option<OperationNo>,
}

#[derive(Debug)]
struct Client {
    number: usize,
    socket: SocketNo,
    swarm: Swarm,
    awaited: VecDeque<Awaited>,
    reply: Vec<u8>,
}

/// See the module.
pub(crate) struct CrashWorld {
    table: Arc<Table>,
    keeping: Keeping,
    has_faults: bool,
    lie: Option<Lie>,
    commands: Vec<&'static str>,
    databases: u8,
    rng: Prng,
    trace: Trace,
    now: Now,
    unique: u64,
    clients_seen: usize,
    /// What all keys hold, if everything that was sent takes place.
    state: State,
    lives: usize,
}

/// One life of the node.
struct Life<'a> {
    world: &'a mut CrashWorld,
    node: Node,
    survival: Survival,
    clients: Vec<Client>,
    /// Who rewrites and saves.
    operator: Client,
    /// Answers, by time, that must be left two seconds later.
    answered: VecDeque<(u64, OperationNo)>,
    /// Operations whose answers have come since the SAVE under way was sent, and before.
    before_save: Vec<OperationNo>,
    since_save: Vec<OperationNo>,
    is_saving: bool,
    /// Whether a client was let go with an operation that may or may not have taken place.
    has_doubts: bool,
    refused_at: Option<u64>,
}

/// What came of a seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crashes {
    pub(crate) lives: usize,
    pub(crate) operations: usize,
    /// Operations that had to be left.
    pub(crate) required: usize,
    /// How often another number of shards was started from what was left.
    pub(crate) resharded: usize,
    /// Steps that the disk has refused.
    pub(crate) refused: u64,
    pub(crate) trace_hash: u64,
}

impl std::ops::AddAssign for Crashes {
    fn add_assign(&mut self, other: Crashes) {
        self.lives += other.lives;
        self.operations += other.operations;
        self.required += other.required;
        self.resharded += other.resharded;
        self.refused += other.refused;
    }
}

impl CrashWorld {
    pub(crate) fn new(seed: u64, table: Arc<Table>, lie: Option<Lie>, trace: Trace) -> CrashWorld {
        let mut rng = Prng::new(seed ^ 0xc4a5);
        let keeping = match rng.below(8) {
            _ if lie.is_some() => Keeping::Always,
            0..4 => Keeping::Always,
            4..6 => Keeping::EverySecond,
            6 => Keeping::Never,
            _ => Keeping::Snapshots,
        };
        let mut commands = Vec::new();
        while commands.is_empty() {
            let families = FAMILIES.iter().filter(|_| rng.below(2) == 0);
            commands = families.flat_map(|family| family.iter().copied()).collect();
        }
        CrashWorld {
            table,
            keeping,
            has_faults: lie.is_none() && rng.below(3) == 0,
            lie,
            commands,
            databases: 1 + rng.below(2) as u8,
            trace,
            now: Now { unix_us: START_MS * 1000, mono: MonoUs(1_000_000) },
            unique: 0,
            clients_seen: 0,
            state: State::new(START_MS),
            lives: 2 + rng.below(4) as usize,
            rng,
        }
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// What was wrong.
    pub(crate) fn run(mut self) -> Result<Crashes, String> {
        let mut crashes = Crashes::default();
        self.trace.note(format_args!(
            "{:?}, {} lives, faults: {}, {:?}",
            self.keeping, self.lives, self.has_faults, self.commands
        ));
        let mut disk = Disk::default();
        let mut before: Option<Survival> = None;
        let mut stop = Stop::Crash;
        for life in 0..=self.lives {
            let shards = 1 + self.rng.below(4) as u16;
            let shards = match &before {
                Some(before) if self.rng.below(3) > 0 => before.shards(),
                _ => shards,
            };
            self.trace.note(format_args!("life {life}, of {shards} shards"));
            crashes.resharded += usize::from(before.as_ref().is_some_and(|before| before.shards() != shards));
            let mut node = self.start(disk, shards)?;
            // What a process has left without syncing it counts from when this one has.
            let must_settle = stop == Stop::Kill;
            let is_last = life == self.lives;
            stop = if self.rng.below(3) == 0 { Stop::Kill } else { Stop::Crash };
            if !is_last && self.rng.below(6) == 0 {
                // In the middle of the start.
                if self.has_faults && !must_settle {
                    node.disk.refusals = self.refusals();
                }
                for _ in 0..self.rng.below(200) {
                    self.anything(&mut node);
                    if node.ended.is_some() {
                        break;
                    }
                }
                stop = match stop {
                    _ if must_settle => Stop::Kill,
                    _ if node.disk.has_failed_sync => Stop::Crash,
                    stop => stop,
                };
                crashes.refused += node.disk.refused;
                disk = self.stop(node, stop);
                continue;
            }
            let mut life = Life::begin(&mut self, node, shards, before.take(), must_settle)?;
            if !is_last {
                life.go_on()?;
                life.end()?;
            }
            let Life { node, survival, .. } = life;
            // After a sync that has failed the kernel shows what is not on the disk: nobody can know.
            if node.disk.has_failed_sync {
                stop = Stop::Crash;
            }
            crashes.lives += 1;
            crashes.operations += survival.operations();
            crashes.required += survival.required();
            crashes.refused += node.disk.refused;
            before = Some(survival);
            disk = self.stop(node, stop);
        }
        crashes.trace_hash = self.trace.hash();
        Ok(crashes)
    }

    /// The process or the machine stops.
    fn stop(&mut self, node: Node, how: Stop) -> Disk {
        self.trace.note(format_args!("{how:?}"));
        let mut disk = node.into_disk();
        disk.stop(how, &mut self.rng);
        let us = self.rng.below(5_000_000);
        self.move_clock(us);
        disk
    }

    fn start(&mut self, mut disk: Disk, shards: u16) -> Result<Node, String> {
        let appendfsync = match self.keeping {
            Keeping::Always => "always",
            Keeping::EverySecond => "everysec",
            Keeping::Never | Keeping::Snapshots => "no",
        };
        let appendonly = if self.keeping == Keeping::Snapshots { "no" } else { "yes" };
        // As the runtime has it, no core is without a shard.
        let cores = 1 + self.rng.below(u64::from(shards.min(3))) as u16;
        disk.lie = self.lie;
        (disk.refusals, disk.refused) = ((0, 0), 0);
        disk.has_failed_sync = false;
        let options = NodeOptions {
            seed: self.rng.next_u64(),
            cores,
            placement: (0..shards).map(|shard| CoreId(shard % cores)).collect(),
            table: self.table.clone(),
            config: Arc::new(configuration(&[
                ("appendonly", appendonly),
                ("appendfsync", appendfsync),
                ("auto-aof-rewrite-percentage", "0"),
            ])),
            link_capacity: [1, 2, 8, 256][self.rng.below(4) as usize],
            piece_max: 1000,
            has_files: true,
            sabotage: None,
        };
        Node::start(&options, disk, self.now).map_err(|reason| format!("it does not start: {reason}"))
    }

    /// A core makes a pass, or the disk goes on. What happened to whoever is connected.
    fn anything(&mut self, node: &mut Node) -> Vec<Happened> {
        if self.rng.below(3) == 0 {
            node.disk.step(&mut self.rng);
            return Vec::new();
        }
        let core = self.rng.below(node.cores() as u64) as usize;
        node.pass(core, false, &mut self.rng, &mut self.trace)
    }

    /// What the disk refuses from now on, of 1000 steps: for lack of room, and because it fails.
    fn refusals(&mut self) -> (u64, u64) {
        let refusals = match self.rng.below(4) {
            0 => (self.rng.below(800), 0),
            1 => (0, self.rng.below(100)),
            2 => (self.rng.below(100), self.rng.below(20)),
            _ => (0, 0),
        };
        self.trace.note(format_args!("the disk refuses {refusals:?} of 1000"));
        refusals
    }

    fn move_clock(&mut self, us: u64) {
        self.now.unix_us += us as i64;
        self.now.mono.0 += us;
        let ms = self.now.unix_ms().0;
        self.state.set_now(ms);
        self.trace.note(format_args!("it is {} ms", ms - START_MS));
    }

    fn now_ms(&self) -> i64 {
        self.now.unix_ms().0
    }

    fn new_client(&mut self, node: &mut Node, shards: u16) -> Client {
        let number = self.clients_seen;
        self.clients_seen += 1;
        let keys = (0..2 + self.rng.below(4)).map(|at| format!("{number}_{}", char::from(b'a' + at as u8)));
        let swarm = Swarm {
            shards,
            databases: self.databases,
            keys: keys.collect(),
            commands: self.commands.clone(),
            transactions: 0,
            asides: 0,
        };
        let socket = node.accept(&mut self.rng, &mut self.trace);
        Client { number, socket, swarm, awaited: VecDeque::new(), reply: Vec::new() }
    }
}

impl<'a> Life<'a> {
    /// Waits until the data is loaded, looks at all of it, and says whether it can be what is left.
    fn begin(
        world: &'a mut CrashWorld,
        mut node: Node,
        shards: u16,
        before: Option<Survival>,
        must_settle: bool,
    ) -> Result<Life<'a>, String> {
        let operator = world.new_client(&mut node, shards);
        let mut life = Life {
            node,
            survival: Survival::new(shards, &Content::new()),
            clients: Vec::new(),
            operator,
            answered: VecDeque::new(),
            before_save: Vec::new(),
            since_save: Vec::new(),
            is_saving: false,
            has_doubts: false,
            refused_at: None,
            world,
        };
        let mut steps = 0;
        while matches!(life.ask(&["DBSIZE"])?, Value::Error(error) if error.starts_with("LOADING")) {
            steps += 1;
            if steps > ASKED_MAX {
                let persistence = life.ask(&["INFO", "persistence"])?;
                let text = if let Value::Bulk(text) = persistence { text } else { String::new() };
                return Err(format!("it never comes to an end with loading; {:?}\n{text}", life.node.disk));
            }
        }
        if must_settle {
            life.settle()?;
        }
        // A write is answered when the files are in force. If they cannot begin the process ends by itself, as Redis's.
        if life.world.has_faults {
            life.ask(&["DEL", "nothing"])?;
        }
        let found = life.look()?;
        if let Some(before) = before {
            before.check(&found, life.world.now_ms())?;
        }
        life.world.state = State::new(life.world.now_ms());
        for (name, entry) in &found {
            life.world.state.hold(name.clone(), Some(entry.clone()));
        }
        life.survival = Survival::new(shards, &found);
        for _ in 0..1 + life.world.rng.below(4) {
            let client = life.world.new_client(&mut life.node, shards);
            life.clients.push(client);
        }
        Ok(life)
    }

    /// Asks for something, and does nothing else until the answer is there.
    fn ask(&mut self, words: &[&str]) -> Result<Value, String> {
        let socket = self.operator.socket;
        send(&mut self.node, socket, words);
        for step in 0..STEPS_MAX {
            let happened = self.world.anything(&mut self.node);
            if happened.iter().any(|what| matches!(what, Happened::Closed(_))) {
                return Err("a connection was ended".to_owned());
            }
            if let Some(Ended::Failed(reason)) = &self.node.ended {
                return Err(format!("it cannot load: {reason}"));
            }
            let from_node = self.node.socket(socket).from_node.drain(..);
            self.operator.reply.extend(from_node);
            if let Some((value, len)) = Value::read(&self.operator.reply) {
                self.operator.reply.drain(..len);
                return Ok(value);
            }
            if step % 50 == 49 {
                self.world.move_clock(1000);
                self.node.set_now(self.world.now);
            }
        }
        Err(format!("no answer to {words:?}"))
    }

    /// Everything that the node has to do with its disk is done.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            for _ in 0..STEPS_MAX {
                self.world.anything(&mut self.node);
                let mut moved = false;
                while self.node.disk.step(&mut self.world.rng) {
                    moved = true;
                }
                for core in 0..self.node.cores() {
                    moved |=
                        !self.node.pass(core, true, &mut self.world.rng, &mut self.world.trace).is_empty();
                }
                if !moved {
                    break;
                }
            }
            self.world.move_clock(100_000);
            self.node.set_now(self.world.now);
        }
        match self.node.disk.is_idle() {
            true => Ok(()),
            false => Err("the disk is never idle".to_owned()),
        }
    }

    /// Everything that is there.
    fn look(&mut self) -> Result<Content, String> {
        let mut found = Content::new();
        for db in 0..self.world.databases {
            self.ask(&["SELECT", &db.to_string()])?;
            let Value::Array(keys) = self.ask(&["KEYS", "*"])? else { return Err("no keys".to_owned()) };
            for key in keys {
                let Value::Bulk(key) = key else { return Err(format!("a key called {key}")) };
                let Value::Simple(kind) = self.ask(&["TYPE", &key])? else {
                    return Err("no type".to_owned());
                };
                if kind == "none" {
                    // It has expired meanwhile.
                    continue;
                }
                let value = self.ask(&Entry::reader(&kind, &key))?;
                let Value::Int(expires) = self.ask(&["PEXPIRETIME", &key])? else {
                    return Err("no expiry".to_owned());
                };
                if expires == -2 || value == Value::Null {
                    continue;
                }
                let entry = Entry::read(&kind, &value, expires);
                found.insert((db, key.as_str().into()), Rc::new(entry));
            }
        }
        Ok(found)
    }

    /// Some steps.
    fn go_on(&mut self) -> Result<(), String> {
        let most = [200, 1000, 4000][self.world.rng.below(3) as usize];
        let steps = 20 + self.world.rng.below(most);
        let clock_moves = self.world.rng.below(30);
        for step in 0..steps {
            if self.world.has_faults && step % 256 == 100 {
                self.node.disk.refusals = self.world.refusals();
            }
            match self.world.rng.below(1000) {
                chance if chance < clock_moves => self.pass_time()?,
                100..200 => self.issue(),
                200..205 => self.operate(),
                _ => {
                    let happened = self.world.anything(&mut self.node);
                    self.hear(happened)?;
                }
            }
        }
        Ok(())
    }

    /// Time passes, for all cores and the disk.
    fn pass_time(&mut self) -> Result<(), String> {
        for core in 0..self.node.cores() {
            let happened = self.node.pass(core, false, &mut self.world.rng, &mut self.world.trace);
            self.hear(happened)?;
        }
        let us = match self.world.rng.below(4) {
            0 => 1000 + self.world.rng.below(3000),
            _ => 10_000 + self.world.rng.below(40_000),
        };
        self.world.move_clock(us);
        self.node.set_now(self.world.now);
        let older_than = self.world.now.mono.0.saturating_sub(JOB_US_MAX);
        self.node.disk.finish_older(older_than, &mut self.world.rng);
        Ok(())
    }

    /// A client asks for something.
    fn issue(&mut self) {
        let at = self.world.rng.below(self.clients.len() as u64) as usize;
        let pipeline_max = if self.world.has_faults { 1 } else { 4 };
        let is_idle = self.clients.iter().all(|client| client.awaited.is_empty());
        let has_global =
            self.clients.iter().flat_map(|client| &client.awaited).any(|awaited| is_global(&awaited.text));
        let client = &mut self.clients[at];
        if client.awaited.len() >= pipeline_max || has_global {
            return;
        }
        self.world.unique += 1;
        let unique = self.world.unique;
        let rng = &mut self.world.rng;
        let db = rng.below(u64::from(self.world.databases)) as u8;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let now_ms = self.world.now.unix_ms().0;
        let single = |words: Vec<String>| Action::Run(Request { db, words });
        let action = match rng.below(40) {
            0 if is_idle && !self.has_doubts => match rng.below(3) {
                0 => single(words(&["FLUSHALL"])),
                1 => single(words(&["FLUSHDB"])),
                _ if self.world.databases > 1 => single(words(&["SWAPDB", "0", "1"])),
                _ => return,
            },
            // A key for what expires soon: nothing depends on whether it has.
            1 | 2 => {
                let key = format!("{}_soon", client.number);
                let at = now_ms + 5 + rng.below(3000) as i64;
                match rng.below(3) {
                    0 => single(words(&["DEL", &key])),
                    _ => single(words(&["SET", &key, &unique.to_string(), "PXAT", &at.to_string()])),
                }
            }
            3 | 4 => {
                let key = client.swarm.keys[rng.below(client.swarm.keys.len() as u64) as usize].clone();
                match rng.below(3) {
                    0 => single(words(&["PERSIST", &key])),
                    _ => single(words(&["PEXPIREAT", &key, &(now_ms + 10_000_000).to_string()])),
                }
            }
            5..12 => {
                let count = 1 + rng.below(4);
                Action::Exec((0..count).map(|_| client.swarm.request(db, rng, unique)).collect())
            }
            _ => Action::Run(client.swarm.request(db, rng, unique)),
        };
        // When it would expire depends on the moment.
        let is_relative = |request: &Request| request.words.iter().any(|word| word == "PX");
        match &action {
            Action::Run(request) if is_relative(request) => return,
            Action::Exec(queue) if queue.iter().any(is_relative) => return,
            _ => {}
        }
        let before = self.world.state.content().clone();
        let expected = self.world.state.act(client.number, &action);
        let text = crate::history::shown(&action);
        let operation = self.survival.changed(text.clone(), &before, self.world.state.content());
        self.world.trace.note(format_args!("client {} asks: {text}", client.number));
        let mut requests: Vec<(Vec<String>, Expect)> =
            vec![(words(&["SELECT", &db.to_string()]), Expect::Exactly(Value::ok()))];
        let last = match &action {
            Action::Exec(queue) => {
                requests.push((words(&["MULTI"]), Expect::Exactly(Value::ok())));
                let queued = Expect::Exactly(Value::simple("QUEUED"));
                requests.extend(queue.iter().map(|request| (request.words.clone(), queued.clone())));
                words(&["EXEC"])
            }
            Action::Run(request) => request.words.clone(),
            _ => return,
        };
        // Whether it had expired may depend on the moment.
        let is_soon = last.get(1).is_some_and(|key| key.ends_with("_soon"));
        let expected = if is_soon { Expect::Success } else { expected };
        for (words, expected) in requests {
            let line: Vec<&str> = words.iter().map(String::as_str).collect();
            send(&mut self.node, client.socket, &line);
            client.awaited.push_back(Awaited { text: words.join(" "), expected, operation: None });
        }
        let line: Vec<&str> = last.iter().map(String::as_str).collect();
        send(&mut self.node, client.socket, &line);
        client.awaited.push_back(Awaited { text, expected, operation: Some(operation) });
    }

    /// Files are rewritten, or a snapshot is made.
    fn operate(&mut self) {
        if self.operator.awaited.len() > 2 {
            return;
        }
        let words: &[&str] = match self.world.rng.below(3) {
            0 => &["BGSAVE"],
            1 if self.world.keeping != Keeping::Snapshots => &["BGREWRITEAOF"],
            _ if self.is_saving => return,
            _ => {
                self.is_saving = true;
                self.before_save.append(&mut self.since_save);
                &["SAVE"]
            }
        };
        self.world.trace.note(format_args!("asked for: {words:?}"));
        send(&mut self.node, self.operator.socket, words);
        let text = words.join(" ");
        self.operator.awaited.push_back(Awaited { text, expected: Expect::Success, operation: None });
    }

    /// What has come of a step for those who are connected: they read at once.
    fn hear(&mut self, happened: Vec<Happened>) -> Result<(), String> {
        if let Some(ended) = self.node.ended.take() {
            return Err(format!("the process has ended by itself: {ended:?}"));
        }
        if self.refused_at.is_none() && self.node.disk.refused > 0 {
            self.refused_at = Some(self.world.now.mono.0);
        }
        for at in 0..self.clients.len() {
            self.read(at)?;
        }
        self.read_operator()?;
        for what in happened {
            let Happened::Closed(socket) = what else { continue };
            if !self.world.has_faults || self.node.disk.refused == 0 {
                return Err("a connection was ended".to_owned());
            }
            self.node.forget(socket);
            match self.clients.iter().position(|client| client.socket == socket) {
                Some(at) => {
                    self.world.trace.note(format_args!("client {} is let go", self.clients[at].number));
                    self.has_doubts |= !self.clients[at].awaited.is_empty();
                    self.clients[at] = self.world.new_client(&mut self.node, self.survival.shards());
                }
                None => {
                    self.operator = self.world.new_client(&mut self.node, self.survival.shards());
                    self.is_saving = false;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<(), String> {
        let client = &mut self.clients[at];
        let from_node = self.node.socket(client.socket).from_node.drain(..);
        client.reply.extend(from_node);
        while let Some((value, len)) = Value::read(&self.clients[at].reply) {
            let client = &mut self.clients[at];
            client.reply.drain(..len);
            let Some(awaited) = client.awaited.pop_front() else {
                return Err(format!("client {} got {value}, and had asked for nothing", client.number));
            };
            let refused = |error: &String| error.starts_with("MISCONF") || error.starts_with("EXECABORT");
            let is_refused = self.world.has_faults && matches!(&value, Value::Error(error) if refused(error));
            if !awaited.expected.allows(&value) && !is_refused {
                return Err(format!(
                    "client {} got {value} for {}, not {:?}",
                    client.number, awaited.text, awaited.expected
                ));
            }
            let Some(operation) = awaited.operation else { continue };
            self.world.trace.note(format_args!("client {} got {value} for {}", client.number, awaited.text));
            if is_refused {
                for (name, entry) in self.survival.undo(operation) {
                    self.world.state.hold(name, entry);
                }
                continue;
            }
            match self.world.keeping {
                Keeping::Always => self.survival.require(operation),
                Keeping::EverySecond => self.answered.push_back((self.world.now.mono.0, operation)),
                Keeping::Never => {}
                Keeping::Snapshots => self.since_save.push(operation),
            }
        }
        Ok(())
    }

    fn read_operator(&mut self) -> Result<(), String> {
        let from_node = self.node.socket(self.operator.socket).from_node.drain(..);
        self.operator.reply.extend(from_node);
        while let Some((value, len)) = Value::read(&self.operator.reply) {
            self.operator.reply.drain(..len);
            let Some(awaited) = self.operator.awaited.pop_front() else {
                return Err(format!("the operator got {value}, and had asked for nothing"));
            };
            self.world.trace.note(format_args!("{} is answered {value}", awaited.text));
            if awaited.text != "SAVE" {
                continue;
            }
            self.is_saving = false;
            let saved = std::mem::take(&mut self.before_save);
            match value == Value::ok() && self.world.keeping == Keeping::Snapshots {
                true => saved.into_iter().for_each(|operation| self.survival.require(operation)),
                false => self.since_save.extend(saved),
            }
        }
        Ok(())
    }

    /// The last moment before the stop.
    fn end(&mut self) -> Result<(), String> {
        let until = self.refused_at.unwrap_or(u64::MAX).min(self.world.now.mono.0);
        while let Some((at, operation)) = self.answered.pop_front() {
            if at + LOST_US_MAX < until {
                self.survival.require(operation);
            }
        }
        Ok(())
    }
}

/// Whether it concerns all clients' keys.
fn is_global(text: &str) -> bool {
    text.starts_with("FLUSH") || text.starts_with("SWAPDB")
}

fn send(node: &mut Node, socket: SocketNo, words: &[&str]) {
    let to_node = &mut node.socket(socket).to_node;
    to_node.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        to_node.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
}
