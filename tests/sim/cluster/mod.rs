//! Several nodes that replicate, their clients, the network between them, and whoever gives orders and pulls cables; by
//! seed.
//!
//! ```sh
//! SIM_SEED=77 cargo test --test sim cluster -- --nocapture       # one seed, with all that happens
//! SIM_SEEDS=100000 cargo test --release --test sim cluster       # many, from SIM_FROM or 1 on; SIM_MINUTES=30
//! ```
//!
//! A round is a time in which clients write and read and `operator` breaks things; then everything is mended and
//! nobody writes, and within a bounded time all nodes must follow one, be where it is in its streams, have the same
//! data, and have nothing left over. Meanwhile and at the end `groups` judges everything that is read.
//!
//! `machine` is a node, `net` the wires, `clients` who uses them, `settings` what a seed draws.

mod clients;
mod groups;
mod machine;
mod net;
mod operator;
mod settings;

use std::collections::BTreeSet;
use std::sync::Arc;

use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now};
use ringward::command::Table;

use self::clients::{noise, Asked, Client, Role};
use self::groups::Group;
use self::machine::{Build, Machine, Surroundings};
pub(crate) use self::net::Tampering;
use self::net::{Net, Place};
use self::settings::Settings;
use crate::reply::Value;
use crate::trace::Trace;
use crate::world::START_MS;

/// See the module.
pub(crate) struct Cluster {
    settings: Settings,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    groups: Vec<Group>,
    world: Surroundings,
    /// Whom the clients take for the primary.
    primary: usize,
    /// By node: who may have followed it since it was started.
    followers: Vec<BTreeSet<usize>>,
    unique: u64,
    /// What was answered to a question.
    answer: Option<Value>,
    /// What has been looked at, for whoever wants to know that something was.
    counts: Counts,
}

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) acknowledged: u64,
    pub(crate) loads: u64,
    pub(crate) tampered: usize,
    pub(crate) trace_hash: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.written += other.written;
        self.read += other.read;
        self.acknowledged += other.acknowledged;
        self.loads += other.loads;
        self.tampered += other.tampered;
    }
}

/// How long it may take after everything is mended.
const CONVERGENCE_US_MAX: u64 = 90_000_000;

/// How often everything may go round without time to come to rest.
const SWEEPS_MAX: usize = 20_000;

impl Cluster {
    pub(crate) fn new(
        seed: u64,
        table: &Arc<Table>,
        tampering: Option<Tampering>,
        trace: Trace,
    ) -> Result<Cluster, String> {
        let mut rng = Prng::new(seed);
        let settings = match tampering {
            None => Settings::draw(&mut rng),
            Some(_) => Settings::draw_for_tampering(&mut rng),
        };
        let nodes = settings.nodes.len();
        let (may_vanish, is_deleted) = (settings.may_vanish, settings.is_deleted);
        let groups: Vec<Group> =
            (0..settings.groups).map(|at| Group::draw(at, nodes, may_vanish, is_deleted, &mut rng)).collect();
        let build = |(number, &(shards, cores)): (usize, &(u16, u16))| {
            let link_capacity = settings.mail_capacity;
            let build = Build { number, shards, cores, link_capacity, table: table.clone() };
            Machine::new(build, settings.configuration())
        };
        let machines = settings.nodes.iter().enumerate().map(build).collect();
        let mut roles = Vec::new();
        for writer in 0..settings.writers {
            roles
                .push(Role::Writer((0..groups.len()).filter(|at| at % settings.writers == writer).collect()));
        }
        roles.extend((0..settings.readers).map(|_| Role::Reader));
        roles.extend((0..settings.noisy).map(|_| Role::Noise));
        roles.extend((0..nodes).map(|_| Role::Operator));
        let clients = roles.into_iter().map(Client::new).collect();
        let world = Surroundings {
            net: Net::new(settings.wire_capacity, tampering),
            rng,
            now: Now { unix_us: START_MS * 1000, mono: MonoUs(1_000_000) },
            trace,
            piece_max: settings.piece_max,
        };
        let mut cluster = Cluster {
            machines,
            clients,
            groups,
            world,
            primary: 0,
            followers: vec![BTreeSet::new(); nodes],
            unique: 0,
            answer: None,
            counts: Counts::default(),
            settings,
        };
        cluster.world.trace.note(format_args!("{:?}", cluster.settings));
        for machine in &mut cluster.machines {
            machine.start(&mut cluster.world)?;
        }
        Ok(cluster)
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// What was wrong.
    pub(crate) fn run(mut self) -> Result<Counts, String> {
        self.rest()?;
        for node in 1..self.machines.len() {
            let above = self.world.rng.below(node as u64) as usize;
            self.follow(node, above);
        }
        for round in 0..self.settings.rounds {
            self.world.trace.note(format_args!("round {round}"));
            for _ in 0..self.settings.steps_per_round {
                self.step()?;
            }
            self.mend()?;
        }
        self.counts.tampered = self.world.net.tampered;
        self.counts.loads = self.machines.iter().map(|machine| machine.loads).sum();
        self.counts.trace_hash = self.world.trace.hash();
        Ok(self.counts)
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        let us = match self.world.rng.below(300) {
            0 => self.world.rng.below(200_000),
            1..6 => self.world.rng.below(20_000),
            _ => self.world.rng.below(200),
        };
        self.pass_time(us);
        if self.world.rng.below(self.settings.steps_per_event) == 0 {
            self.happen();
        }
        match self.world.rng.below(10) {
            0..6 => {
                let node = self.world.rng.below(self.machines.len() as u64) as usize;
                let core = self.world.rng.below(self.machines[node].cores() as u64) as usize;
                self.pass(node, core, false)?;
            }
            6 | 7 => {
                let at = self.world.rng.below(self.clients.len() as u64) as usize;
                self.issue(at);
            }
            _ => {
                let at = self.world.rng.below(self.clients.len() as u64) as usize;
                let max = 1 + self.world.rng.below(self.settings.piece_max * 3) as usize;
                self.exchange(at, max)?;
            }
        }
        Ok(())
    }

    fn pass_time(&mut self, us: u64) {
        self.world.now.unix_us += us as i64;
        self.world.now.mono.0 += us;
    }

    /// A core of a node goes round once, unless it is frozen.
    fn pass(&mut self, node: usize, core: usize, everything: bool) -> Result<bool, String> {
        if self.machines[node].is_frozen(self.world.now) {
            return Ok(false);
        }
        let mut moved = false;
        for (session, to) in self.machines[node].due_dials(core) {
            let is_stalled = to < self.machines.len() && self.world.net.are_apart(node, to);
            if is_stalled || !(everything || self.world.rng.below(2) == 0) {
                continue;
            }
            moved = true;
            if !self.machines.get(to).is_some_and(Machine::is_up) {
                self.machines[node].dialed(core, session, Err("Connection refused"));
                continue;
            }
            let wire = self.world.net.open(Place::Node(node), Place::Node(to));
            self.machines[to].accept(wire, &mut self.world.rng);
            self.machines[node].dialed(core, session, Ok(wire));
        }
        moved |= self.machines[node].pass(core, everything, &mut self.world);
        match self.machines[node].failure.take() {
            Some(reason) => Err(format!("node {node} stops: {reason}")),
            None => Ok(moved),
        }
    }

    /// A client sends something.
    fn issue(&mut self, at: usize) {
        if self.clients[at].wire.is_none() && !self.connect(at) {
            return;
        }
        let count = 1 + self.world.rng.below(self.settings.pipeline_max);
        for _ in 0..count {
            if self.clients[at].asked.len() as u64 >= 4 * self.settings.pipeline_max {
                return;
            }
            match self.clients[at].role.clone() {
                Role::Writer(groups) => self.issue_write(at, &groups),
                Role::Reader => {
                    let group = self.world.rng.below(self.groups.len() as u64) as usize;
                    self.read_group(at, group);
                }
                Role::Noise => {
                    self.unique += 1;
                    let may_flush = self.settings.is_deleted;
                    let words = noise(&mut self.world.rng, self.unique, may_flush);
                    self.clients[at].send(&words, Asked::Plain);
                }
                Role::Operator => return,
            }
        }
    }

    fn issue_write(&mut self, at: usize, groups: &[usize]) {
        if groups.is_empty() {
            return;
        }
        let group = groups[self.world.rng.below(groups.len() as u64) as usize];
        let now_ms = self.world.now.unix_ms().0;
        let client = &mut self.clients[at];
        let data = self.machines[client.node].loads;
        match self.world.rng.below(8) {
            0 => {
                if let Some(words) = self.groups[group].shuffle(&mut self.world.rng) {
                    client.send(&words, Asked::Plain);
                }
            }
            1 => {
                let followers = &self.followers[client.node];
                let (1, Some(&follower)) = (followers.len(), followers.first()) else { return };
                let written = client.written.clone();
                let data = self.machines[follower].loads;
                client.send(&["WAIT", "1", "400"], Asked::Wait { written, follower, data });
            }
            _ => {
                let written = self.groups[group].write(now_ms, &mut self.world.rng);
                let number = written.number;
                client.send_all(&written.requests, Asked::Write { group, number, data });
            }
        }
    }

    fn read_group(&mut self, at: usize, group: usize) {
        let client = &mut self.clients[at];
        let data = self.machines[client.node].loads;
        let floor = self.groups[group].floor(client.node, data);
        let requests = self.groups[group].read(&mut self.world.rng);
        client.send_all(&requests, Asked::Read { group, data, floor });
    }

    /// A client connects to some node. Whether it could.
    fn connect(&mut self, at: usize) -> bool {
        let nodes = self.machines.len() as u64;
        let client = &mut self.clients[at];
        if self.world.now.mono < client.rests_until {
            return false;
        }
        client.node = match client.role {
            Role::Operator => client.node,
            Role::Reader => self.world.rng.below(nodes) as usize,
            _ if self.world.rng.below(4) == 0 => self.world.rng.below(nodes) as usize,
            _ => self.primary,
        };
        self.connect_to(at, self.clients[at].node)
    }

    fn connect_to(&mut self, at: usize, node: usize) -> bool {
        let client = &mut self.clients[at];
        client.node = node;
        client.rests_until = MonoUs(self.world.now.mono.0 + 50_000);
        if !self.machines[node].is_up() {
            return false;
        }
        let wire = self.world.net.open(Place::Client, Place::Node(node));
        self.machines[node].accept(wire, &mut self.world.rng);
        self.world.trace.note(format_args!("client {at} connects to node {node}"));
        client.wire = Some(wire);
        if let Some(password) = &self.settings.password {
            client.send(&["AUTH", password], Asked::Plain);
        }
        true
    }

    fn hang_up(&mut self, at: usize) {
        self.world.trace.note(format_args!("client {at} hangs up"));
        self.clients[at].hang_up(&mut self.world, &mut self.groups);
    }

    /// A client reads some of what has come. Whether anything moved.
    fn exchange(&mut self, at: usize, max: usize) -> Result<bool, String> {
        if self.clients[at].wire.is_none() {
            return Ok(false);
        }
        let Some((replies, moved)) = self.clients[at].exchange(&mut self.world, max) else {
            self.hang_up(at);
            return Ok(true);
        };
        let mut is_refused = false;
        for (asked, value) in replies {
            is_refused |= self.answered(at, asked, &value)? && self.clients[at].role != Role::Operator;
        }
        // What it still waits for may be done.
        if is_refused && self.world.rng.below(3) == 0 {
            self.hang_up(at);
        }
        Ok(moved)
    }

    /// A reply has come. Whether it tells the client to go elsewhere.
    fn answered(&mut self, at: usize, asked: Asked, value: &Value) -> Result<bool, String> {
        let node = self.clients[at].node;
        let is_error = matches!(value, Value::Error(_));
        match asked {
            Asked::Plain => {}
            Asked::Question => self.answer = Some(value.clone()),
            Asked::Order(words) => {
                self.world.trace.note(format_args!("node {node} answers {value} to {words}"));
            }
            Asked::Write { group, number, data } => {
                self.world
                    .trace
                    .note(format_args!("client {at} reads {value} for {number} in group {group}"));
                let errors = match value {
                    Value::Array(items) => {
                        items.iter().filter(|item| matches!(item, Value::Error(_))).count()
                    }
                    _ => 0,
                };
                if errors > 0 {
                    return Err(format!("a part of a transaction was refused on node {node}: {value}"));
                }
                if !is_error {
                    self.counts.written += 1;
                    self.clients[at].written.push((group, number));
                    if data == self.machines[node].loads {
                        self.groups[group].has(node, number, data);
                    }
                }
            }
            Asked::Read { group, data, floor } => {
                self.world
                    .trace
                    .note(format_args!("client {at} reads {value} in group {group} of node {node}"));
                let is_same = data == self.machines[node].loads;
                let number = self.groups[group].judge(node, value, if is_same { floor } else { 0 })?;
                self.counts.read += u64::from(number.is_some());
                if let (Some(number), true) = (number, is_same) {
                    self.groups[group].has(node, number, data);
                }
            }
            Asked::Wait { written, follower, data } => {
                self.world.trace.note(format_args!("client {at} waited for {value}"));
                let is_so =
                    self.followers[node].iter().eq([&follower]) && self.machines[follower].loads == data;
                if is_so && matches!(value, Value::Int(1..)) {
                    for (group, number) in written {
                        self.counts.acknowledged += 1;
                        self.groups[group].has(follower, number, data);
                    }
                }
            }
        }
        Ok(is_error)
    }

    /// All that can move does, once. Whether there was something.
    fn sweep(&mut self) -> Result<bool, String> {
        let mut moved = false;
        for node in 0..self.machines.len() {
            for core in 0..self.machines[node].cores() {
                moved |= self.pass(node, core, true)?;
            }
        }
        for at in 0..self.clients.len() {
            moved |= self.exchange(at, usize::MAX)?;
        }
        Ok(moved || !self.world.net.is_quiet())
    }

    /// Until nothing moves.
    fn rest(&mut self) -> Result<(), String> {
        for sweep in 0..SWEEPS_MAX {
            if !self.sweep()? {
                return Ok(());
            }
            // What waits for a clock that stands still waits for ever.
            self.pass_time(if sweep > 100 { 1000 } else { 0 });
        }
        Err("it never comes to rest".to_owned())
    }

    /// Time passes, and everything that is due in it is done.
    fn pass_and_rest(&mut self, us: u64) -> Result<(), String> {
        let until = self.world.now.mono.0 + us;
        while self.world.now.mono.0 < until {
            self.rest()?;
            let next = self.machines.iter().filter_map(Machine::next_tick).min();
            let now = self.world.now.mono.0;
            let next = next.map_or(until, |next| next.0.clamp(now + 1000, now + 100_000));
            self.pass_time(next - now);
        }
        self.rest()
    }
}
