//! Several cores in one thread, for tests: clients are byte strings, mail is delivered in random order (but first in,
//! first out between two cores), time stands still unless it is moved.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::batch::Received;
use super::cron::ProcessInfo;
use super::{Departure, Effect, Entered, Host, HostOptions, Mail, MemoryGauge};
use crate::base::ids::CoreId;
use crate::base::key::KeyHasher;
use crate::base::prng::Prng;
use crate::base::time::{MonoUs, Now, Ticks};
use crate::command::Table;
use crate::config::{Asker, Config, ProtectedAction};
use crate::session::session::Peer;
use crate::storage::modeldisk::ModelDisk;
use crate::storage::op::Job;
use crate::storage::plan::{Plan, PlanOptions};

/// A counter that goes on by one microsecond at each look, or by more where all is to take long.
#[derive(Clone, Debug)]
pub(crate) struct FakeTicks {
    now: Rc<Cell<u64>>,
    step_ns: Rc<Cell<u64>>,
}

impl Default for FakeTicks {
    fn default() -> Self {
        FakeTicks { now: Rc::default(), step_ns: Rc::new(Cell::new(1000)) }
    }
}

impl Ticks for FakeTicks {
    fn ticks(&self) -> u64 {
        self.now.set(self.now.get() + self.step_ns.get());
        self.now.get()
    }

    fn ns_per_tick_1024(&self) -> u64 {
        1024
    }
}

/// The server.
pub(crate) struct Node {
    pub(crate) hosts: Vec<Host<FakeTicks>>,
    links: Vec<VecDeque<Mail>>,
    /// Links on which nothing arrives for now.
    held: Vec<usize>,
    clients: Vec<Client>,
    /// Clients between two cores: which, to where, and the session.
    moving: VecDeque<(ClientNo, usize, Departure)>,
    /// Connections that are to be made: by which core, for which session, and to what. The test answers.
    pub(crate) dials: Vec<(usize, u32, String)>,
    /// What was sent on links, by core and session, and whether none of it leaves for now.
    links_sent: std::collections::BTreeMap<(usize, u32), Vec<u8>>,
    pub(crate) holds_links: bool,
    pub(crate) rng: Prng,
    now: Now,
    ticks: FakeTicks,
    pub(crate) is_shut_down: bool,
    pub(crate) disk: ModelDisk,
    /// Whether the disk does nothing for now, and what it is to do.
    pub(crate) is_disk_held: bool,
    held_jobs: VecDeque<(usize, Job)>,
    /// Why the data set could not be loaded.
    pub(crate) failure: Option<String>,
}

/// A connection, seen from the client.
#[derive(Debug, Default)]
struct Client {
    core: usize,
    index: u32,
    received: Vec<u8>,
    is_open: bool,
    /// What it has sent while it was on no core.
    on_the_way: Option<Vec<u8>>,
    /// It has sent its last byte on the way.
    ended_on_the_way: bool,
}

/// Names a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientNo(pub(crate) usize);

impl Node {
    /// A node of so many shards on so many cores.
    pub(crate) fn new(shards: u16, cores: u16, seed: u64, settings: &[(&str, &str)]) -> Node {
        let pairs: Vec<(&[u8], &[u8])> = [("save", "")]
            .iter()
            .chain(settings)
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let mut config = Config::default().set(&pairs, Asker { is_local: true, is_loading: false }).unwrap();
        config.security.enable_debug_command = ProtectedAction::Yes;
        config.security.enable_protected_configs = ProtectedAction::Yes;
        let options = HostOptions {
            id: CoreId(0),
            cores,
            placement: (0..shards).map(|shard| CoreId(shard % cores)).collect(),
            table: Arc::new(Table::new(&[]).unwrap()),
            config: Arc::new(config),
            hasher: KeyHasher::new([1, 2, 3, 4]),
            seed,
            plan: None,
            process: ProcessInfo { run_id: "a".repeat(40), ..ProcessInfo::default() },
        };
        let ticks = FakeTicks::default();
        let hosts = (0..cores)
            .map(|id| Host::new(HostOptions { id: CoreId(id), ..options.clone() }, ticks.clone()))
            .collect();
        let mut node = Node {
            hosts,
            links: (0..cores * cores).map(|_| VecDeque::new()).collect(),
            held: Vec::new(),
            clients: Vec::new(),
            moving: VecDeque::new(),
            dials: Vec::new(),
            links_sent: Default::default(),
            holds_links: false,
            rng: Prng::new(seed),
            now: Now { unix_us: 1_700_000_000_000_000, mono: MonoUs(0) },
            ticks,
            is_shut_down: false,
            disk: ModelDisk::default(),
            is_disk_held: false,
            held_jobs: VecDeque::new(),
            failure: None,
        };
        node.advance_us(1_000_000);
        node
    }

    /// The wall clock.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now.unix_us / 1000
    }

    /// A client on some core.
    pub(crate) fn connect(&mut self) -> ClientNo {
        let core = self.rng.below(self.hosts.len() as u64) as usize;
        self.connect_to(core)
    }

    /// A client on this core.
    pub(crate) fn connect_to(&mut self, core: usize) -> ClientNo {
        let number = self.clients.len();
        let peer = Peer {
            addr: format!("127.0.0.1:{}", 50_000 + number),
            laddr: "127.0.0.1:6379".to_owned(),
            fd: 8,
            unix: false,
            local: true,
        };
        let index = self.hosts[core].connect(peer).unwrap();
        self.clients.push(Client { core, index, is_open: true, ..Client::default() });
        ClientNo(number)
    }

    /// The client is gone.
    pub(crate) fn disconnect(&mut self, client: ClientNo) {
        let Client { core, index, is_open, on_the_way, .. } = &mut self.clients[client.0];
        if std::mem::take(is_open) && on_the_way.is_none() {
            let (core, index) = (*core, *index);
            self.hosts[core].disconnected(index);
        }
    }

    /// The client sends nothing more, but still reads.
    pub(crate) fn end_of_input(&mut self, client: ClientNo) {
        let Client { core, index, is_open, .. } = self.clients[client.0];
        if self.clients[client.0].on_the_way.is_some() {
            self.clients[client.0].ended_on_the_way = true;
        } else if is_open {
            self.hosts[core].end_of_input(index);
        }
    }

    pub(crate) fn is_open(&self, client: ClientNo) -> bool {
        self.clients[client.0].is_open
    }

    /// A client sends bytes, which arrive in one piece.
    pub(crate) fn send(&mut self, client: ClientNo, bytes: &[u8]) {
        if let Some(on_the_way) = &mut self.clients[client.0].on_the_way {
            return on_the_way.extend_from_slice(bytes);
        }
        self.send_all(&[(client, bytes)]);
    }

    /// Several clients of one core send, and all of it arrives in one pass.
    pub(crate) fn send_all(&mut self, pieces: &[(ClientNo, &[u8])]) {
        let Some(&(ClientNo(first), _)) = pieces.first() else { return };
        let core = self.clients[first].core;
        self.show_memory(core);
        let received: Vec<_> = pieces
            .iter()
            .filter(|(client, _)| self.clients[client.0].is_open)
            .map(|(client, bytes)| {
                assert_eq!(self.clients[client.0].core, core, "one core's clients");
                Received { session: self.clients[client.0].index, bytes }
            })
            .collect();
        self.hosts[core].receive(&received);
    }

    /// Sends in pieces of random sizes, with things happening in between.
    pub(crate) fn send_in_pieces(&mut self, client: ClientNo, mut bytes: &[u8], piece_max: u64) {
        while !bytes.is_empty() && self.is_open(client) {
            let len = (1 + self.rng.below(piece_max) as usize).min(bytes.len());
            let (piece, rest) = bytes.split_at(len);
            self.send(client, piece);
            bytes = rest;
            for _ in 0..self.rng.below(3) {
                self.step();
            }
        }
    }

    /// Sends a request of words between spaces, waits until nothing moves any more, and returns what has come.
    pub(crate) fn run(&mut self, client: ClientNo, words: &str) -> String {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.send(client, &request(&words));
        self.quiesce();
        self.take_text(client)
    }

    /// What a client has received since it was asked last.
    pub(crate) fn take(&mut self, client: ClientNo) -> Vec<u8> {
        std::mem::take(&mut self.clients[client.0].received)
    }

    pub(crate) fn take_text(&mut self, client: ClientNo) -> String {
        String::from_utf8_lossy(&self.take(client)).into_owned()
    }

    /// Time passes on all cores; each has its ticks.
    pub(crate) fn advance_us(&mut self, us: u64) {
        self.now.unix_us += us as i64;
        self.now.mono.0 += us;
        for core in 0..self.hosts.len() {
            let host = &mut self.hosts[core];
            host.set_now(self.now);
            host.tick();
            self.work(core);
        }
    }

    /// Everything takes so long from now on.
    pub(crate) fn slow_down(&mut self, us: u64) {
        self.ticks.step_ns.set(us * 1000);
    }

    /// The background work of a core, until nothing is left to do.
    pub(crate) fn work(&mut self, core: usize) {
        self.show_memory(core);
        for _ in 0..100_000 {
            if !self.hosts[core].work() {
                return;
            }
        }
        panic!("the work never ends");
    }

    /// The core learns what the others use by now.
    fn show_memory(&mut self, core: usize) {
        let mut others = MemoryGauge::default();
        let gauges = self.hosts.iter().enumerate().filter(|&(other, _)| other != core);
        gauges.for_each(|(_, host)| others.add(host.memory_gauge()));
        self.hosts[core].set_others_memory(others);
    }

    /// Nothing arrives from one core at another until `release`.
    pub(crate) fn hold(&mut self, from: usize, to: usize) {
        self.held.push(from * self.hosts.len() + to);
    }

    /// What was held may arrive.
    pub(crate) fn release(&mut self, from: usize, to: usize) {
        let link = from * self.hosts.len() + to;
        self.held.retain(|held| *held != link);
    }

    fn can_deliver(&self, link: usize) -> bool {
        !self.links[link].is_empty() && !self.held.contains(&link)
    }

    /// The core that a client is connected to, and its session there.
    pub(crate) fn place_of(&self, client: ClientNo) -> (usize, u32) {
        (self.clients[client.0].core, self.clients[client.0].index)
    }

    /// A client arrives at the core that it moves to, and what it has sent meanwhile.
    fn arrive(&mut self) {
        let Some((client, core, departure)) = self.moving.pop_front() else { return };
        let index = self.hosts[core].arrive(departure);
        let Client { core: at, index: as_number, on_the_way, .. } = &mut self.clients[client.0];
        (*at, *as_number) = (core, index);
        let sent = on_the_way.take().unwrap_or_default();
        if !self.clients[client.0].is_open {
            self.hosts[core].disconnected(index);
            return;
        }
        if !sent.is_empty() {
            self.send(client, &sent);
        }
        if std::mem::take(&mut self.clients[client.0].ended_on_the_way) {
            self.end_of_input(client);
        }
    }

    /// One thing happens somewhere. Whether it could make a difference.
    pub(crate) fn step(&mut self) -> bool {
        let full: Vec<usize> = (0..self.links.len()).filter(|&link| self.can_deliver(link)).collect();
        if !self.moving.is_empty() && self.rng.below(3) == 0 {
            self.arrive();
            return true;
        }
        let choice = self.rng.below((full.len() + self.hosts.len()) as u64) as usize;
        match full.get(choice) {
            Some(&link) => {
                let (from, to) = (link / self.hosts.len(), link % self.hosts.len());
                if let Some(mail) = self.links[link].pop_front() {
                    self.hosts[to].deliver(CoreId(from as u16), mail);
                }
                true
            }
            None => self.pass(choice - full.len()),
        }
    }

    /// Until nothing moves any more.
    pub(crate) fn quiesce(&mut self) {
        for _ in 0..1_000_000 {
            self.step();
            let is_idle = self.moving.is_empty() && !(0..self.links.len()).any(|link| self.can_deliver(link));
            if is_idle && !(0..self.hosts.len()).fold(false, |any, core| self.pass(core) | any) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// The end of a pass on one core. Whether anything came of it.
    fn pass(&mut self, core: usize) -> bool {
        let cores = self.hosts.len();
        self.show_memory(core);
        let host = &mut self.hosts[core];
        let mut moved = host.keep_limits();
        host.settle();
        for to in (0..cores).filter(|&to| to != core) {
            let mail = host.mail_for(CoreId(to as u16));
            moved |= !mail.is_empty();
            self.links[core * cores + to].append(mail);
        }
        let (mut jobs, mut effects) = (Vec::new(), Vec::new());
        host.take_jobs(&mut jobs);
        self.held_jobs.extend(jobs.into_iter().map(|job| (core, job)));
        while let Some((core, job)) = if self.is_disk_held { None } else { self.held_jobs.pop_front() } {
            moved = true;
            self.hosts[core].file_done(self.disk.run(core as u16, job));
        }
        let host = &mut self.hosts[core];
        host.take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Close { session, flush } => {
                    if flush {
                        self.take_output(core, session);
                    }
                    let client = self
                        .clients
                        .iter_mut()
                        .position(|client| client.core == core && client.index == session && client.is_open);
                    if let Some(client) = client {
                        self.disconnect(ClientNo(client));
                    }
                    moved = true;
                }
                Effect::Connect { session, host, port, source } => {
                    let from = if source.is_empty() { String::new() } else { format!(" from {source}") };
                    self.dials.push((core, session, format!("{host}:{port}{from}")));
                    moved = true;
                }
                Effect::Move { session, to } => {
                    self.take_output(core, session);
                    if let Some(session) = self.hosts[core].session(session) {
                        session.dirty = false;
                    }
                    let client = self
                        .clients
                        .iter_mut()
                        .position(|client| client.core == core && client.index == session && client.is_open);
                    if let (Some(at), Some(departure)) = (client, self.hosts[core].depart(session)) {
                        self.clients[at].on_the_way = Some(Vec::new());
                        self.moving.push_back((ClientNo(at), to.index(), departure));
                    }
                    moved = true;
                }
                Effect::Sleep { asker, number, .. } => {
                    self.hosts[core].slept(asker, number);
                    moved = true;
                }
                Effect::Rewrite { session } => {
                    self.hosts[core].rewritten(session, Err("no disk".to_owned()));
                    moved = true;
                }
                Effect::Enter { dir, dbfilename } => {
                    let result = self.look_at(dir, dbfilename);
                    self.hosts[core].entered(result);
                    moved = true;
                }
                Effect::Shutdown => self.is_shut_down = true,
                Effect::Fail(reason) => self.failure = Some(reason),
                Effect::Configured | Effect::Throttle(_) | Effect::Unthrottle(_) | Effect::Gather(_) => {}
            }
        }
        let mut dirty = Vec::new();
        self.hosts[core].take_dirty(&mut dirty);
        for index in dirty {
            moved = true;
            if let Some(session) = self.hosts[core].session(index) {
                session.dirty = false;
            }
            self.take_output(core, index);
        }
        moved
    }

    /// What lies in a folder, of which there is none called `nonsense`.
    fn look_at(&self, dir: PathBuf, dbfilename: String) -> Result<Entered, String> {
        if dir.ends_with("nonsense") {
            return Err("No such file or directory".to_owned());
        }
        let options = PlanOptions {
            appendonly: false,
            aof_folder: dir.join("appendonlydir").display().to_string(),
            aof_name: "appendonly.aof".to_owned(),
            dbfilename,
            shards: 1,
            keeps_history: false,
        };
        Ok(Entered { dir, plan: Plan::make(&self.disk, &options)? })
    }

    fn take_output(&mut self, core: usize, index: u32) {
        let Some(output) = self.hosts[core].output(index) else { return };
        let bytes = std::mem::take(output);
        let client = self
            .clients
            .iter_mut()
            .find(|client| client.core == core && client.index == index && client.is_open);
        match client {
            Some(client) => client.received.extend(bytes),
            None if self.hosts[core].links.contains_key(&index) => {
                self.links_sent.entry((core, index)).or_default().extend(bytes);
                if self.holds_links {
                    return;
                }
            }
            None => {}
        }
        self.hosts[core].sent(index, 0);
    }

    /// What has been sent on a link since it was asked last.
    pub(crate) fn take_link(&mut self, core: usize, session: u32) -> Vec<u8> {
        self.links_sent.remove(&(core, session)).unwrap_or_default()
    }

    /// What is left of work that should be over: nothing, or the name of something.
    pub(crate) fn leftover(&self) -> Option<String> {
        if !self.clients.iter().any(|client| client.is_open) {
            let left = self.hosts.iter().find_map(|host| host.pubsub.leftover());
            if let Some(what) = left {
                return Some(what.to_owned());
            }
        }
        for (core, host) in self.hosts.iter().enumerate() {
            let open = self.clients.iter().filter(|client| client.is_open && client.core == core).count();
            let sessions = host.sessions.iter().flatten().count();
            for (what, count) in [
                ("sessions without a client", sessions - open),
                ("transactions", host.txns.len() + host.attempts.len()),
                ("questions", host.gathers.len()),
                (
                    "parcels at a neighbour",
                    host.outboxes.iter().map(|outbox| outbox.in_flight as usize).sum(),
                ),
                ("requests in parcels", host.outboxes.iter().filter(|outbox| outbox.open.is_some()).count()),
                ("jobs on shards", host.shards.iter().map(|shard| shard.jobs()).sum()),
                (
                    "clients that wait without being blocked",
                    host.shards.iter().map(|shard| shard.waiting()).sum::<usize>() * usize::from(open == 0),
                ),
                ("deadlines", host.block_deadlines.len() * usize::from(open == 0)),
                ("sessions that wait", {
                    let sessions = host.sessions.iter().flatten();
                    sessions.filter(|session| session.under_way > 0 || session.replies.waiting() > 0).count()
                }),
            ] {
                if count > 0 {
                    return Some(format!("core {core}: {count} {what}"));
                }
            }
        }
        None
    }
}

/// A request as clients send it.
pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}
