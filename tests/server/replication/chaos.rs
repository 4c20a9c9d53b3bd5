//! Faults of all kinds, drawn by chance and two at a time, while clients write and read: afterwards all nodes have the
//! same, and none has shown half a transaction at any moment.
//!
//! Four nodes with different numbers of shards, of which one follows another replica; two keep append-only files. Every
//! link goes through a proxy. A round draws its faults, undoes them, stops the writers and compares the nodes.
//! `RINGWARD_CHAOS_SEED` names what is drawn; `RINGWARD_CHAOS_ROUNDS` is how many rounds there are:
//!
//! ```text
//! RINGWARD_CHAOS_SEED=7 RINGWARD_CHAOS_ROUNDS=100 cargo test --test server -- chaos --nocapture
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::harness::{eventually, eventually_some, number_from_env, words, Client, Random, Value};
use super::load::{open_accounts, open_moves, under_load_of, Kind};
use super::proxy::{Proxy, Which};
use super::readers::while_reading;
use super::{assert_converged, Node};

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A link is cut at some byte, also in the next handshake or snapshot.
    Cut,
    /// At some byte nothing passes any more.
    Stall,
    /// Everything comes late.
    Slow,
    /// A link is cut, and refused when it comes again.
    Part,
    KillReplica,
    FreezeReplica,
    KillPrimary,
    FreezePrimary,
    KillAll,
    /// A node cannot write to its files.
    NoRoom,
    /// A replica says a password that its primary does not take.
    Password,
    /// The primary follows one of those that follow it, or itself.
    Loop,
    /// A replica becomes the primary, and the others follow it when they are told to.
    Promote,
    /// FAILOVER.
    Failover,
    /// A replica follows another node.
    Turn,
    /// A replica is a primary for a moment, with data of its own: it needs a snapshot afterwards.
    Stray,
    /// BGSAVE or BGREWRITEAOF.
    Save,
    /// CLIENT KILL of links, on either side.
    KillLinks,
    /// The backlog is as small as it may be.
    SmallBacklog,
}

const FAULTS: [Fault; 19] = [
    Fault::Cut,
    Fault::Stall,
    Fault::Slow,
    Fault::Part,
    Fault::KillReplica,
    Fault::FreezeReplica,
    Fault::KillPrimary,
    Fault::FreezePrimary,
    Fault::KillAll,
    Fault::NoRoom,
    Fault::Password,
    Fault::Loop,
    Fault::Promote,
    Fault::Failover,
    Fault::Turn,
    Fault::Stray,
    Fault::Save,
    Fault::KillLinks,
    Fault::SmallBacklog,
];

/// The nodes' shards and arguments.
const NODES: [(u16, &[&str]); 4] = [
    (2, &["--appendonly", "yes", "--appendfsync", "always"]),
    (3, &[]),
    (2, &["--appendonly", "yes"]),
    (1, &[]),
];

/// Whom each follows in the beginning.
const ABOVE: [Option<usize>; 4] = [None, Some(0), Some(0), Some(1)];

const BACKLOG: &str = "CONFIG SET repl-backlog-size 1mb";

struct Group {
    nodes: Vec<Node>,
    /// By follower, then by whom it follows.
    proxies: Vec<Vec<Proxy>>,
    /// Whom each is to follow: the primary nobody.
    above: Vec<Option<usize>>,
    primary: usize,
    /// Where clients write.
    port: Arc<AtomicU16>,
    is_frozen: Vec<bool>,
    /// A key that is there as long as the data is; none where clients may remove everything.
    witness: Option<&'static str>,
    random: Random,
}

impl Group {
    fn start(seed: u64, witness: Option<&'static str>) -> Group {
        let nodes: Vec<Node> = NODES.iter().map(|&(shards, _)| Node::prepare(shards)).collect();
        let proxies = nodes.iter().map(|_| nodes.iter().map(|node| Proxy::new(node.address())).collect());
        let mut group = Group {
            proxies: proxies.collect(),
            above: ABOVE.to_vec(),
            primary: 0,
            port: Arc::new(AtomicU16::new(nodes[0].address().port())),
            is_frozen: vec![false; nodes.len()],
            witness,
            random: Random::new(seed),
            nodes,
        };
        (0..NODES.len()).for_each(|node| group.begin(node));
        group
    }

    /// Starts a node, with the files that it left.
    fn begin(&mut self, node: usize) {
        let common =
            ["--repl-diskless-sync-delay", "0", "--repl-timeout", "3", "--repl-ping-replica-period", "1"];
        let above = self.above[node].map(|above| format!("127.0.0.1 {}", self.port_of(node, above)));
        let follow: &[&str] = match &above {
            Some(above) => &["--replicaof", above],
            None => &[],
        };
        let args = [&common, NODES[node].1, follow].concat();
        self.nodes[node].args = args.into_iter().map(str::to_owned).collect();
        self.nodes[node].restart();
    }

    /// Where a node finds another.
    fn port_of(&self, node: usize, other: usize) -> u16 {
        self.proxies[node][other].address.port()
    }

    fn kill(&mut self, node: usize) {
        if self.nodes[node].server.is_some() {
            self.nodes[node].kill();
        }
        self.is_frozen[node] = false;
    }

    fn freeze(&mut self, node: usize) {
        if self.answers(node) {
            self.nodes[node].server().signal(libc::SIGSTOP);
            self.is_frozen[node] = true;
        }
    }

    fn thaw(&mut self, node: usize) {
        if std::mem::take(&mut self.is_frozen[node]) {
            self.nodes[node].server().signal(libc::SIGCONT);
        }
    }

    fn answers(&self, node: usize) -> bool {
        self.nodes[node].server.is_some() && !self.is_frozen[node]
    }

    /// Tells a node something, when it has loaded what it loads.
    #[track_caller]
    fn tell(&self, node: usize, line: &str) -> Value {
        eventually_some("the node answers", || {
            let mut client = Client::try_connect(self.nodes[node].address()).ok()?;
            client.try_send(&words(line)).ok()?;
            let reply = client.try_read().ok()?;
            let is_loading = reply.is_error() && reply.text().starts_with("LOADING");
            (!is_loading).then_some(reply)
        })
    }

    #[track_caller]
    fn tell_ok(&self, node: usize, line: &str) {
        let reply = self.tell(node, line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }

    fn follow(&self, node: usize, other: usize) {
        self.tell_ok(node, &format!("REPLICAOF 127.0.0.1 {}", self.port_of(node, other)));
    }

    /// Whether the data, of whatever moment, is there.
    fn has_data(&self, node: usize) -> bool {
        self.answers(node)
            && self.witness.is_none_or(|key| {
                let mut client = self.nodes[node].client();
                client.run(&format!("EXISTS {key}")) == Value::Int(1)
            })
    }

    /// Whether it comes back with data when it is killed.
    fn has_files(&self, node: usize) -> bool {
        if !self.has_data(node) {
            return false;
        }
        let info = self.nodes[node].client().run("INFO persistence").text();
        let signs = [
            "loading:0",
            "aof_enabled:1",
            "aof_rewrite_in_progress:0",
            "aof_rewrite_scheduled:0",
            "aof_last_bgrewrite_status:ok",
            "aof_last_write_status:ok",
        ];
        signs.iter().all(|sign| info.contains(sign))
    }

    /// Any node but the primary.
    fn replica(&mut self) -> usize {
        let others: Vec<usize> = (0..self.nodes.len()).filter(|&node| node != self.primary).collect();
        others[self.random.below(others.len())]
    }

    /// Somebody who could be the primary.
    fn heir(&mut self) -> Option<usize> {
        let heirs: Vec<usize> =
            (0..self.nodes.len()).filter(|&node| node != self.primary && self.has_data(node)).collect();
        (!heirs.is_empty()).then(|| heirs[self.random.below(heirs.len())])
    }

    /// Whether a node is the other, or follows it over others.
    fn is_below(&self, node: usize, other: usize) -> bool {
        let mut at = Some(node);
        while let Some(here) = at {
            if here == other {
                return true;
            }
            at = self.above[here];
        }
        false
    }

    /// This node is the primary from now on; the others are to follow it, some over others.
    fn crown(&mut self, node: usize) {
        self.primary = node;
        self.above = vec![Some(node); self.nodes.len()];
        self.above[node] = None;
        let middle = self.replica();
        for other in 0..self.nodes.len() {
            if other != node && other != middle && self.random.one_in(3) {
                self.above[other] = Some(middle);
            }
        }
        self.port.store(self.nodes[node].address().port(), Ordering::SeqCst);
    }

    /// Promotes a node. Some of the others hear of it at once.
    fn promote(&mut self, node: usize) {
        self.tell_ok(node, "REPLICAOF NO ONE");
        self.crown(node);
        for other in 0..self.nodes.len() {
            if let (Some(above), true) = (self.above[other], self.answers(other) && self.random.one_in(2)) {
                self.follow(other, above);
            }
        }
    }

    fn pause(&mut self, up_to_ms: usize) {
        std::thread::sleep(Duration::from_millis(self.random.below(up_to_ms) as u64));
    }

    /// Does it. What was done, if it could be.
    fn strike(&mut self, fault: Fault) -> Option<String> {
        let replica = self.replica();
        let above = self.above[replica].expect("it is no primary");
        let which = [Which::All, Which::Control, Which::Flows][self.random.below(3)];
        // Often in the handshake, and where a snapshot begins.
        let bytes = self.random.next() % [40, 400, 10_000, 400_000][self.random.below(4)];
        let is_anew = self.random.one_in(2);
        let link = &self.proxies[replica][above];
        let of_link =
            format!("between {replica} and {above}, after {bytes} bytes of {which:?}, anew {is_anew}");
        match fault {
            Fault::Cut | Fault::Stall => {
                match fault {
                    Fault::Cut => link.cut_after(bytes, which),
                    _ => link.freeze_after(bytes, which),
                }
                if is_anew {
                    link.cut();
                }
                return Some(of_link);
            }
            Fault::Slow => link.delay(Duration::from_millis(bytes % 20)),
            Fault::Part => {
                link.close(true);
                link.cut();
            }
            Fault::KillReplica => {
                self.kill(replica);
                if is_anew {
                    self.pause(100);
                    self.begin(replica);
                }
            }
            Fault::FreezeReplica => self.freeze(replica),
            Fault::FreezePrimary => {
                self.freeze(self.primary);
                return Some(self.primary.to_string());
            }
            Fault::KillPrimary => return self.kill_primary(),
            Fault::KillAll => {
                if !self.has_files(self.primary) {
                    return None;
                }
                (0..self.nodes.len()).for_each(|node| self.kill(node));
                return Some(String::new());
            }
            Fault::NoRoom => {
                let node = if is_anew { self.primary } else { replica };
                self.nodes[node].server.as_ref()?.limit_file_bytes(Some(bytes));
                return Some(format!("on {node} behind {bytes} bytes"));
            }
            Fault::Password => {
                if !self.answers(replica) {
                    return None;
                }
                self.tell_ok(replica, "CONFIG SET masterauth wrong");
                self.proxies[replica][above].cut();
            }
            Fault::Loop => {
                let (primary, other) =
                    (self.primary, if self.random.one_in(4) { self.primary } else { replica });
                if !self.answers(primary) {
                    return None;
                }
                self.follow(primary, other);
                return Some(format!("{primary} follows {other}"));
            }
            Fault::Promote => {
                let heir = self.heir()?;
                self.promote(heir);
                return Some(heir.to_string());
            }
            Fault::Failover => return self.fail_over(),
            Fault::Turn => {
                let others: Vec<usize> =
                    (0..self.nodes.len()).filter(|&other| !self.is_below(other, replica)).collect();
                let other = others[self.random.below(others.len())];
                if !self.answers(replica) {
                    return None;
                }
                self.above[replica] = Some(other);
                self.follow(replica, other);
                return Some(format!("{replica} follows {other}"));
            }
            Fault::Stray => {
                if !self.answers(replica) {
                    return None;
                }
                self.tell_ok(replica, "REPLICAOF NO ONE");
                self.tell(replica, "MSET stray:1 1 stray:2 2");
                if is_anew {
                    self.follow(replica, above);
                }
            }
            Fault::Save => {
                let node = self.random.below(self.nodes.len());
                if !self.answers(node) {
                    return None;
                }
                // Either may be refused, as one is while the other goes on.
                let line = if is_anew { "BGSAVE" } else { "BGREWRITEAOF" };
                self.tell(node, line);
                return Some(format!("{line} on {node}"));
            }
            Fault::KillLinks => {
                let (node, line) = match is_anew {
                    true => (above, "CLIENT KILL TYPE replica"),
                    false => (replica, "CLIENT KILL TYPE master"),
                };
                if !self.answers(node) {
                    return None;
                }
                self.tell_ok(node, line);
                return Some(format!("{line} on {node}"));
            }
            Fault::SmallBacklog => {
                if !self.answers(above) {
                    return None;
                }
                self.tell_ok(above, "CONFIG SET repl-backlog-size 16kb");
                return Some(above.to_string());
            }
        }
        Some(format!("{replica}, which follows {above}"))
    }

    /// A primary that is killed comes back as such if it has files; else another takes its place.
    fn kill_primary(&mut self) -> Option<String> {
        let primary = self.primary;
        let stays = self.has_files(primary) && self.random.one_in(2);
        let heir = match stays {
            true => None,
            false => Some(self.heir()?),
        };
        self.kill(primary);
        match heir {
            Some(heir) => self.promote(heir),
            None => self.begin(primary),
        }
        Some(format!("{primary}, and then {heir:?}"))
    }

    fn fail_over(&mut self) -> Option<String> {
        let (primary, heir) = (self.primary, self.heir()?);
        if !self.answers(primary) || self.above[heir] != Some(primary) {
            return None;
        }
        let force = if self.random.one_in(2) { " FORCE" } else { "" };
        let line = format!("FAILOVER TO 127.0.0.1 {}{force} TIMEOUT 400", self.nodes[heir].address().port());
        let reply = self.tell(primary, &line);
        let mut info = String::new();
        eventually("the failover has ended", || {
            info = self.tell(primary, "INFO replication").text();
            info.contains("master_failover_state:no-failover")
        });
        if info.contains("role:slave") {
            self.crown(heir);
        }
        Some(format!("{line}: {}, now {} leads", reply.text(), self.primary))
    }

    /// Undoes everything; all nodes are to be in their places.
    fn heal(&mut self) {
        self.proxies.iter().flatten().for_each(Proxy::heal);
        for node in 0..self.nodes.len() {
            self.thaw(node);
            if self.nodes[node].server.is_none() {
                self.begin(node);
            }
            self.nodes[node].server().limit_file_bytes(None);
            self.tell_ok(node, "CONFIG SET masterauth ");
            self.tell_ok(node, BACKLOG);
        }
        self.tell_ok(self.primary, "REPLICAOF NO ONE");
        for node in 0..self.nodes.len() {
            if let Some(above) = self.above[node] {
                self.follow(node, above);
            }
        }
    }

    /// Waits until all are equal. How long that took.
    #[track_caller]
    fn converge(&self) -> Duration {
        let start = Instant::now();
        let replicas: Vec<&Node> = (0..self.nodes.len())
            .filter(|&node| node != self.primary)
            .map(|node| &self.nodes[node])
            .collect();
        assert_converged(&self.nodes[self.primary], &replicas);
        start.elapsed()
    }
}

/// Rounds of faults under clients of these kinds.
fn rounds_of_faults(seed: u64, rounds: u64, kinds: &[Kind]) {
    println!("RINGWARD_CHAOS_SEED={seed}, {rounds} rounds, {kinds:?}");
    let keeps = !kinds.contains(&Kind::Wild);
    let mut group = Group::start(seed, keeps.then_some("account:0"));
    let mut client = group.nodes[0].client();
    for part in 0..10 {
        client.ok(&format!("SET some:{part} {}", "s".repeat(100_000)));
    }
    if keeps {
        open_accounts(&mut client);
        open_moves(&mut client);
    }
    group.converge();
    let addresses: Vec<SocketAddr> = group.nodes.iter().map(Node::address).collect();
    let port = group.port.clone();
    let primary = || SocketAddr::from((Ipv4Addr::LOCALHOST, port.load(Ordering::SeqCst)));
    let (mut writes, mut slowest) = (0, Duration::ZERO);
    let ((), looks) = while_reading(&addresses, kinds, || {
        for round in 0..rounds {
            // Writers of later rounds have larger numbers.
            let ((), written) = under_load_of(&primary, kinds, seed * 1000 + round, || {
                for _ in 0..1 + group.random.below(2) {
                    group.pause(150);
                    let fault = FAULTS[group.random.below(FAULTS.len())];
                    let did = group.strike(fault);
                    println!("round {round}: {fault:?}: {}", did.as_deref().unwrap_or("not now"));
                }
                // Sometimes long enough for either side to give up.
                let long = group.random.one_in(12);
                group.pause(if long { 5000 } else { 400 });
                group.heal();
                if group.random.one_in(2) {
                    let replicas = (0..group.nodes.len()).filter(|&node| node != group.primary);
                    replicas.for_each(|node| group.nodes[node].await_up());
                }
            });
            let took = group.converge();
            println!("round {round}: {written} writes, equal after {took:?}");
            writes += written;
            slowest = slowest.max(took);
        }
    });
    println!(
        "RINGWARD_CHAOS_SEED={seed}: {rounds} rounds, {writes} writes, {looks} looks, slowest {slowest:?}"
    );
    assert!(looks > 0);
}

fn seed_and_rounds(default: u64) -> (u64, u64) {
    (number_from_env("RINGWARD_CHAOS_SEED", 1), number_from_env("RINGWARD_CHAOS_ROUNDS", default))
}

#[test]
fn all_faults_while_transactions_are_written() {
    let (seed, rounds) = seed_and_rounds(4);
    let kinds = [Kind::Groups, Kind::Money, Kind::Moves, Kind::Several, Kind::ShortLived];
    rounds_of_faults(seed, rounds, &kinds);
}

#[test]
fn all_faults_while_anything_is_done() {
    let (seed, rounds) = seed_and_rounds(3);
    rounds_of_faults(seed + 500, rounds, &[Kind::Wild, Kind::Groups, Kind::Several, Kind::Large]);
}
