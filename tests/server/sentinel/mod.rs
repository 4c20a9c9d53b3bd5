//! Under unmodified Sentinels, three of them: `redis-server --sentinel` beside a primary and its replicas.
//!
//! Sentinel's own periods are shortened by `SENTINEL DEBUG`, so that a test takes seconds; how long it takes a server
//! to be down is not, so that a busy machine brings no failover that the test has not asked for. The tests wait for
//! what must come, and look at nothing before.

mod command;
mod faults;
mod rounds;
mod settings;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::process::{ringward, Port};
use crate::harness::{eventually, eventually_some, Client, Folder, Server, Start, Value};

/// Which program the nodes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Ringward,
    /// A stock redis-server, to compare with.
    Stock,
}

impl Program {
    fn path(self) -> PathBuf {
        match self {
            Program::Ringward => ringward(),
            Program::Stock => "redis-server".into(),
        }
    }
}

const PASSWORD: &str = "secret";

/// How long a server may take to answer before it counts as frozen, here.
const ANSWER: Duration = Duration::from_secs(2);

/// A data node. It can be killed, and come back with its files and its port.
struct Node {
    program: Program,
    folder: Arc<Folder>,
    port: Arc<Port>,
    server: Option<Server>,
    /// Where others reach it, if not at its own port.
    announced: Option<u16>,
}

impl Node {
    /// With these lines in its configuration file, in which `{port}` stands for its own.
    fn new(program: Program, lines: &str) -> Node {
        let (folder, port) = (Arc::new(Folder::new()), Arc::new(Port::new()));
        let number = port.number.to_string();
        let mut text = format!(
            "port {number}\nbind 127.0.0.1\ndir {}\nsave \"\"\nappendonly yes\nrequirepass {PASSWORD}\n\
             masterauth {PASSWORD}\nrepl-diskless-sync-delay 0\nenable-debug-command yes\n",
            folder.display()
        );
        if program == Program::Ringward {
            text += "shards 2\n";
        }
        text += &lines.replace("{port}", &number);
        folder.write("redis.conf", &text);
        let mut node = Node { program, folder, port, server: None, announced: None };
        node.begin();
        node
    }

    /// Starts it, also again.
    fn begin(&mut self) {
        let (folder, port) = (self.folder.clone(), self.port.clone());
        let start = Start::program(&self.program.path(), folder, port, "redis.conf");
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number));
        self.server = Some(start.at(own).run());
    }

    fn kill(&mut self) {
        let server = self.server.take().expect("it runs");
        server.signal(libc::SIGKILL);
        server.wait_exit();
    }

    fn signal(&self, signal: libc::c_int) {
        self.server.as_ref().expect("it runs").signal(signal);
    }

    /// The port that others know it by.
    fn name(&self) -> u16 {
        self.announced.unwrap_or(self.port.number)
    }

    fn client(&self) -> Client {
        connect(self.port.number).expect("the node answers")
    }

    /// One command over a connection of its own.
    fn ask(&self, line: &str) -> io::Result<Value> {
        let mut client = connect(self.port.number)?;
        client.try_send(&crate::harness::words(line))?;
        client.try_read()
    }

    /// A field of INFO replication; empty where it has none, or does not answer.
    fn info(&self, field: &str) -> String {
        let Ok(text) = self.ask("info replication") else { return String::new() };
        field_of(&text.text(), field)
    }

    fn is_primary(&self) -> bool {
        self.info("role") == "master"
    }

    /// Whether it follows the node of that name, and has all it can have for now.
    fn follows(&self, primary: u16) -> bool {
        let Ok(text) = self.ask("info replication") else { return false };
        let text = text.text();
        field_of(&text, "role") == "slave"
            && field_of(&text, "master_port") == primary.to_string()
            && field_of(&text, "master_link_status") == "up"
    }

    fn configuration(&self) -> String {
        std::fs::read_to_string(self.folder.join("redis.conf")).unwrap()
    }
}

/// A connection that has given the password and does not wait for ever.
fn connect(port: u16) -> io::Result<Client> {
    let mut client = Client::try_connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    client.set_timeout(ANSWER);
    client.try_send(&crate::harness::words(&format!("auth {PASSWORD}")))?;
    client.try_read()?;
    Ok(client)
}

/// The value of a line of INFO.
fn field_of(text: &str, field: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| *name == field).map_or_else(String::new, |(_, value)| value.to_owned())
}

/// A primary, its replicas, and three Sentinels.
struct Group {
    nodes: Vec<Node>,
    sentinels: Vec<Server>,
}

/// How long a server must have said nothing to be down.
const DOWN_AFTER_MS: u32 = 2000;

impl Group {
    /// A node for each of these texts, which are lines of its configuration. The first is the primary.
    fn start(program: Program, lines: &[&str]) -> Group {
        Group::of(lines.iter().map(|lines| Node::new(program, lines)).collect(), true)
    }

    /// These nodes, of which the first is the primary, under Sentinels with short periods or with their own.
    fn of(nodes: Vec<Node>, is_quick: bool) -> Group {
        let primary = nodes[0].name();
        for node in &nodes[1..] {
            let reply = node.ask(&format!("replicaof 127.0.0.1 {primary}")).unwrap();
            assert!(reply.text().starts_with("OK"), "{}", reply.text());
        }
        for node in &nodes[1..] {
            eventually("the replica has the primary's data", || node.follows(primary));
        }
        let sentinels = (0..3).map(|_| sentinel(primary, is_quick)).collect();
        let group = Group { nodes, sentinels };
        group.eventually_whole(primary);
        group
    }

    /// Asks the first Sentinel.
    fn sentinel(&self, line: &str) -> Value {
        ask_sentinel(&self.sentinels[0], line)
    }

    /// What the first Sentinel knows of the primary: one field.
    fn master(&self, field: &str) -> String {
        pair(&self.sentinel("sentinel master mymaster"), field)
    }

    /// What the first Sentinel knows of the replicas: some field of each, by their names.
    fn replicas(&self, field: &str) -> Vec<(String, String)> {
        let reply = self.sentinel("sentinel replicas mymaster");
        reply.items().iter().map(|replica| (pair(replica, "name"), pair(replica, field))).collect()
    }

    /// Whom this Sentinel names as primary.
    fn named_by(&self, sentinel: usize) -> u16 {
        let reply = ask_sentinel(&self.sentinels[sentinel], "sentinel get-master-addr-by-name mymaster");
        reply.items()[1].text().parse().unwrap()
    }

    /// All Sentinels agree on the primary, know each other and have found every other node that is announced; and all
    /// nodes that run follow it.
    #[track_caller]
    fn eventually_whole(&self, primary: u16) {
        eventually("all Sentinels name it, and know each other", || {
            (0..3).all(|sentinel| {
                let reply = ask_sentinel(&self.sentinels[sentinel], "sentinel master mymaster");
                self.named_by(sentinel) == primary
                    && pair(&reply, "num-other-sentinels") == "2"
                    && pair(&reply, "flags") == "master"
            })
        });
        let others = || self.nodes.iter().filter(|node| node.name() != primary && node.server.is_some());
        eventually("every other node follows it", || others().all(|node| node.follows(primary)));
        let count = others().count();
        eventually("Sentinel has found the replicas, and their links", || {
            let knows = |sentinel: &Server| {
                let reply = ask_sentinel(sentinel, "sentinel replicas mymaster");
                let up = |replica: &&Value| {
                    pair(replica, "flags") == "slave"
                        && pair(replica, "master-link-status") == "ok"
                        && pair(replica, "master-port") == primary.to_string()
                };
                let hidden = self.nodes.iter().filter(|node| node.is_hidden()).count();
                reply.items().iter().filter(up).count() + hidden >= count
            };
            self.sentinels.iter().all(knows)
        });
    }

    /// Waits until the Sentinels have made another node than this one the primary. Which.
    #[track_caller]
    fn eventually_switched(&self, old: u16) -> usize {
        let name = eventually_some("the Sentinels name another primary", || {
            let named = self.named_by(0);
            ((0..3).all(|sentinel| self.named_by(sentinel) == named) && named != old).then_some(named)
        });
        let new = self.node(name);
        eventually("it knows of it", || self.nodes[new].is_primary());
        new
    }

    /// The node of this name.
    fn node(&self, name: u16) -> usize {
        self.nodes.iter().position(|node| node.name() == name).expect("one of the nodes")
    }

    /// All nodes have the same data.
    #[track_caller]
    fn eventually_equal(&self) {
        eventually("all nodes have the same data", || {
            let digests: Vec<String> =
                self.nodes.iter().map(|node| node.ask("debug digest").unwrap().text()).collect();
            digests.iter().all(|digest| *digest == digests[0])
        });
    }
}

impl Node {
    /// Whether Sentinel is to show it to nobody.
    fn is_hidden(&self) -> bool {
        self.configuration().contains("replica-announced no")
    }
}

/// One Sentinel that watches the primary at this port.
fn sentinel(primary: u16, is_quick: bool) -> Server {
    let (folder, port) = (Arc::new(Folder::new()), Arc::new(Port::new()));
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor mymaster 127.0.0.1 {primary} 2\n\
         sentinel auth-pass mymaster {PASSWORD}\nsentinel down-after-milliseconds mymaster {DOWN_AFTER_MS}\n\
         sentinel failover-timeout mymaster 10000\n",
        port.number,
        folder.display()
    );
    folder.write("sentinel.conf", &text);
    let start = Start::program("redis-server".as_ref(), folder, port.clone(), "sentinel.conf");
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
    let sentinel = start.args(&["--sentinel"]).at(own).spawn();
    eventually("the Sentinel answers", || {
        assert_eq!(sentinel.exited(), None, "{}", sentinel.log());
        Client::try_connect(own).is_ok()
    });
    // A busy machine may keep it from its clock for seconds: then it would do nothing for half a minute.
    assert_eq!(ask_sentinel(&sentinel, "sentinel debug tilt-trigger 60000"), Value::simple("OK"));
    if is_quick {
        let periods = "info-period 300 publish-period 500 ask-period 300 ping-period 300";
        let reply = ask_sentinel(&sentinel, &format!("sentinel debug {periods}"));
        assert_eq!(reply, Value::simple("OK"));
    }
    sentinel
}

fn ask_sentinel(sentinel: &Server, line: &str) -> Value {
    sentinel.client().run(line)
}

/// A value from a list of names and values.
fn pair(list: &Value, name: &str) -> String {
    let items = list.items();
    let found = items.chunks(2).find(|pair| pair[0].text() == name);
    found.map_or_else(String::new, |pair| pair[1].text())
}
