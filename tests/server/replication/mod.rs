//! Native replication, on real processes.
//!
//! * `tutorial`: the user's page, as it stands.
//! * `full`: a snapshot and what follows it, between all numbers of shards, under every kind of load.
//! * `whole`: what clients of a replica see of transactions.
//! * `resume`: links that are cut, slowed and frozen by a proxy, and how the replica comes back.
//! * `roles`: who follows whom, and what REPLICAOF does in all its circumstances.
//! * `rules`: what clients of a replica, and of a primary that lacks replicas, are told.
//! * `waits`: WAIT.
//! * `tokens`: WAITTOKEN on a primary, WAITFOR on its replicas: who waits reads what it wrote.
//! * `kills`: servers that are killed at random moments.
//! * `stages`: servers that are killed and frozen at each stage of the link.
//! * `chaos`: all faults there are, in random rounds.
//!
//! `RINGWARD_REPLICATION_ROUNDS` is how many random rounds there are of cuts and kills.

mod chaos;
mod full;
mod kills;
mod load;
mod proxy;
mod readers;
mod resume;
mod roles;
mod rules;
mod stages;
mod tokens;
mod tutorial;
mod waits;
mod whole;

use std::net::SocketAddr;

use super::harness::{eventually, number_from_env, Client, Server};
use super::persistence::{assert_alike, info, kill, serving, Home};

/// A server with its folder, that may be ended and started again with the same arguments.
struct Node {
    home: Home,
    shards: u16,
    args: Vec<String>,
    server: Option<Server>,
}

impl Node {
    /// Starts one that nobody was before. Snapshots for replicas do not wait for more of them.
    #[track_caller]
    fn start(shards: u16, args: &[&str]) -> Node {
        let mut node = Node::prepare(shards);
        node.args =
            ["--repl-diskless-sync-delay", "0"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        node.restart();
        node
    }

    /// One that does not run yet.
    fn prepare(shards: u16) -> Node {
        Node { home: Home::new(), shards, args: Vec::new(), server: None }
    }

    /// Starts a replica of another.
    #[track_caller]
    fn follower(shards: u16, of: SocketAddr, args: &[&str]) -> Node {
        let of = format!("127.0.0.1 {}", of.port());
        Node::start(shards, &[&["--replicaof", &of], args].concat())
    }

    /// Starts it again, with the files that it left.
    #[track_caller]
    fn restart(&mut self) {
        assert!(self.server.is_none());
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        let server = self.home.start(self.shards, &args).without_signals_of_size().run();
        serving(&server);
        self.server = Some(server);
    }

    #[track_caller]
    fn kill(&mut self) {
        let server = self.server.take().expect("it runs");
        assert_sound(&server);
        kill(server);
    }

    #[track_caller]
    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.home.port.number))
    }

    #[track_caller]
    fn client(&self) -> Client {
        self.server().client()
    }

    /// REPLICAOF.
    #[track_caller]
    fn follow(&self, of: SocketAddr) {
        let reply = self.client().run(&format!("REPLICAOF 127.0.0.1 {}", of.port())).text();
        assert!(reply.starts_with("OK"), "{reply}");
    }

    /// REPLICAOF NO ONE.
    #[track_caller]
    fn lead(&self) {
        self.client().ok("REPLICAOF NO ONE");
    }

    /// A field of INFO.
    #[track_caller]
    fn info(&self, field: &str) -> String {
        info(&mut self.client(), field)
    }

    #[track_caller]
    fn count(&self, field: &str) -> u64 {
        let text = self.info(field);
        text.parse().unwrap_or_else(|_| panic!("{field}:{text}"))
    }

    fn is_up(&self) -> bool {
        let text = self.client().run("INFO replication").text();
        text.contains("master_link_status:up\r\n")
    }

    #[track_caller]
    fn await_up(&self) {
        eventually("the link is up", || self.is_up());
    }

    /// Waits until its append-only files have everything.
    #[track_caller]
    fn await_files(&self) {
        eventually("its files are whole", || {
            // In one look: they are on, and not whole, between two.
            let info = self.client().run("INFO persistence").text();
            ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0", "aof_enabled:1"]
                .iter()
                .all(|line| info.contains(line))
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            if let Some(server) = &self.server {
                assert_sound(server);
            }
        }
    }
}

/// A server that has said of itself that something is wrong with it fails the test.
#[track_caller]
fn assert_sound(server: &Server) {
    let log = server.log();
    for sign in ["== CRITICAL ==", "panicked at", "stream is damaged", "do not fit together"] {
        assert!(!log.contains(sign), "{sign}:\n{log}");
    }
}

/// Waits until each replica has all that its primary has, and compares.
#[track_caller]
fn assert_converged(primary: &Node, replicas: &[&Node]) {
    let mut of_primary = primary.client();
    for replica in replicas {
        let mut of_replica = replica.client();
        converge(&mut of_primary, &mut of_replica);
    }
    // The offsets are equal; so is the data. Keys may expire between two questions, so there is more than one.
    for replica in replicas {
        let mut of_replica = replica.client();
        let start = std::time::Instant::now();
        loop {
            let [here, there] =
                [&mut of_primary, &mut of_replica].map(|client| client.run("DEBUG DIGEST").text());
            if here == there {
                break;
            }
            if start.elapsed() > std::time::Duration::from_secs(5) {
                assert_alike(&mut of_primary, &mut of_replica, "the replica");
            }
        }
    }
    for node in replicas.iter().chain([&primary]) {
        assert_sound(node.server());
    }
}

/// Waits until the replica has applied what the primary has recorded.
#[track_caller]
fn converge(primary: &mut Client, replica: &mut Client) {
    let mut seen = String::new();
    let start = std::time::Instant::now();
    loop {
        let [here, there] =
            [&mut *primary, &mut *replica].map(|client| client.run("INFO replication").text());
        let of = |text: &str, field: &str| {
            text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned()))
        };
        let is_up = of(&there, "master_link_status").as_deref() == Some("up");
        if is_up && of(&here, "master_repl_offset") == of(&there, "slave_repl_offset") {
            return;
        }
        if start.elapsed() > super::harness::DEADLINE {
            panic!("the replica does not come to where its primary is:\n{here}\n{there}\n{seen}");
        }
        seen = there;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// How many random rounds there are.
fn rounds(share: u64) -> u64 {
    number_from_env("RINGWARD_REPLICATION_ROUNDS", 20).div_ceil(share)
}
