//! Who gives the nodes orders, breaks things and mends them.

use std::collections::BTreeMap;

use super::clients::{Asked, Role};
use super::machine::address;
use super::settings::Event;
use super::{Cluster, CONVERGENCE_US_MAX};
use crate::reply::Value;
use ringward::base::time::MonoUs;
use ringward::storage::modeldisk::ModelDisk;

impl Cluster {
    fn any_node(&mut self) -> usize {
        self.world.rng.below(self.machines.len() as u64) as usize
    }

    fn any_two(&mut self) -> (usize, usize) {
        let count = self.machines.len();
        let one = self.any_node();
        (one, (one + 1 + self.world.rng.below(count as u64 - 1) as usize) % count)
    }

    /// Sends an order to a node, without waiting for what it says.
    fn order(&mut self, node: usize, words: &[&str], asked: Asked) {
        let first = self.clients.len() - self.machines.len();
        let at = first + node;
        debug_assert_eq!(self.clients[at].role, Role::Operator);
        if self.clients[at].wire.is_none() && !self.connect_to(at, node) {
            return;
        }
        self.world.trace.note(format_args!("node {node} is told {}", words.join(" ")));
        self.clients[at].send(words, asked);
    }

    fn tell(&mut self, node: usize, words: &[&str]) {
        self.order(node, words, Asked::Order(words.join(" ")));
    }

    /// REPLICAOF.
    pub(super) fn follow(&mut self, node: usize, primary: usize) {
        self.followers[primary].insert(node);
        self.tell(node, &["REPLICAOF", &address(primary), "6379"]);
    }

    /// What Sentinel does to a node that is to follow another, or none.
    fn reconfigure(&mut self, node: usize, primary: Option<usize>) {
        let (host, port) = match primary {
            Some(primary) => {
                self.followers[primary].insert(node);
                (address(primary), "6379")
            }
            None => ("NO".to_owned(), "ONE"),
        };
        for words in [
            &["MULTI"][..],
            &["SLAVEOF", &host, port],
            &["CONFIG", "REWRITE"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "KILL", "TYPE", "pubsub"],
            &["EXEC"],
        ] {
            self.tell(node, words);
        }
    }

    fn stop(&mut self, node: usize) {
        self.machines[node].kill(&mut self.world);
    }

    fn start(&mut self, node: usize) -> Result<(), String> {
        if self.machines[node].is_up() {
            return Ok(());
        }
        self.followers[node].clear();
        let primary = self.machines[node].config.replication.replicaof.0.clone();
        self.machines[node].start(&mut self.world)?;
        if let Some(primary) = primary {
            let host = primary.host.to_string();
            if let Some(primary) = (0..self.machines.len()).find(|&other| address(other) == host) {
                self.followers[primary].insert(node);
            }
        }
        // Who follows it may still do so.
        for other in 0..self.machines.len() {
            if other != node {
                self.followers[node].insert(other);
            }
        }
        Ok(())
    }

    /// One of the things that can go wrong.
    pub(super) fn happen(&mut self) {
        let event = self.settings.events[self.world.rng.below(self.settings.events.len() as u64) as usize];
        self.world.trace.note(format_args!("at {} us: {event:?}", self.world.now.mono.0));
        let (node, other) = self.any_two();
        match event {
            Event::CutLink | Event::CutAllLinks => {
                let links = self.world.net.links();
                let chosen = self.world.rng.below(links.len().max(1) as u64) as usize;
                for (at, (wire, ..)) in links.into_iter().enumerate() {
                    if at == chosen || event == Event::CutAllLinks {
                        self.world.net.cut(wire, &mut self.world.rng);
                    }
                }
            }
            Event::Part => self.world.net.set_apart(node, other, true),
            Event::Rejoin => self.world.net.heal(),
            Event::Freeze => {
                let us = [50_000, 900_000, 6_000_000][self.world.rng.below(3) as usize];
                self.machines[node].frozen_until = MonoUs(self.world.now.mono.0 + us);
            }
            Event::Kill => self.stop(node),
            Event::KillWithoutFiles => {
                self.stop(node);
                self.machines[node].disk = ModelDisk::default();
            }
            Event::Shutdown => {
                let option = ["NOSAVE", "SAVE", "NOW", "ABORT"][self.world.rng.below(4) as usize];
                self.tell(node, &["SHUTDOWN", option]);
            }
            Event::Restart => {
                if let Err(reason) = self.start(node) {
                    self.machines[node].failure = Some(reason);
                }
            }
            Event::Follow => self.follow(node, other),
            Event::Lead => {
                self.tell(node, &["REPLICAOF", "NO", "ONE"]);
                self.primary = node;
            }
            Event::Promote => {
                self.reconfigure(node, None);
                for sibling in (0..self.machines.len()).filter(|&sibling| sibling != node) {
                    if self.world.rng.below(4) > 0 {
                        self.reconfigure(sibling, Some(node));
                    }
                }
                self.primary = node;
            }
            Event::Failover => {
                for (one, all) in self.followers.iter_mut().enumerate() {
                    all.extend((0..self.machines.len()).filter(|&other| other != one));
                }
                let at = self.primary;
                let (host, to) = (address(other), ["TO", "6379", "TIMEOUT", "700", "FORCE"]);
                match self.world.rng.below(4) {
                    0 => self.tell(at, &["FAILOVER"]),
                    1 => self.tell(at, &["FAILOVER", "TIMEOUT", "500"]),
                    2 => self.tell(at, &["FAILOVER", to[0], &host, to[1], to[2], to[3]]),
                    _ => self.tell(at, &["FAILOVER", to[0], &host, to[1], to[4], to[2], to[3]]),
                }
            }
            Event::AbortFailover => self.tell(node, &["FAILOVER", "ABORT"]),
            Event::Loop => {
                self.follow(node, other);
                self.follow(other, node);
            }
            Event::WrongPassword => self.tell(node, &["CONFIG", "SET", "masterauth", "wrong"]),
            Event::RightPassword => self.right_password(node),
            Event::Configure => {
                let words = [
                    ["CONFIG", "SET", "repl-backlog-size", "2000"],
                    ["CONFIG", "SET", "repl-backlog-size", "100000"],
                    ["CONFIG", "SET", "appendonly", "no"],
                    ["CONFIG", "SET", "appendonly", "yes"],
                    ["CONFIG", "SET", "repl-diskless-sync-delay", "0"],
                    ["CONFIG", "SET", "replica-serve-stale-data", "no"],
                    ["CONFIG", "SET", "repl-timeout", "2"],
                ];
                let at = self.world.rng.below(words.len() as u64) as usize;
                self.tell(node, &words[at]);
            }
            Event::Save => {
                let word = ["BGSAVE", "BGREWRITEAOF", "SAVE"][self.world.rng.below(3) as usize];
                self.tell(node, &[word]);
            }
            Event::KillClients => {
                let kind = ["master", "replica", "normal"][self.world.rng.below(3) as usize];
                self.tell(node, &["CLIENT", "KILL", "TYPE", kind]);
            }
            Event::TimePasses => {
                let us = self.world.rng.below(3_000_000);
                self.pass_time(us);
            }
        }
    }

    fn right_password(&mut self, node: usize) {
        let password = self.settings.password.clone().unwrap_or_default();
        self.tell(node, &["CONFIG", "SET", "masterauth", &password]);
    }

    /// Everything is mended and nobody writes: all nodes come to be one.
    pub(super) fn mend(&mut self) -> Result<(), String> {
        self.world.trace.note(format_args!("everything is mended"));
        self.world.net.heal();
        for at in 0..self.clients.len() {
            self.hang_up(at);
            self.clients[at].rests_until = MonoUs(0);
        }
        let count = self.machines.len();
        for node in 0..count {
            self.machines[node].frozen_until = MonoUs(0);
            self.start(node)?;
        }
        // Some follow one that follows another.
        let primary = self.any_node();
        let is_flat = self.world.rng.below(2) == 0;
        let order: Vec<usize> = (0..count).map(|at| (primary + at) % count).collect();
        let mut above: Vec<Option<usize>> = vec![None; count];
        for at in 1..count {
            let up = if is_flat { 0 } else { self.world.rng.below(at as u64) as usize };
            above[order[at]] = Some(order[up]);
        }
        self.primary = primary;
        let until = self.world.now.mono.0 + CONVERGENCE_US_MAX;
        let mut why = String::new();
        while self.world.now.mono.0 < until {
            for (node, &above) in above.iter().enumerate() {
                // One that was told to stop may have done so only now.
                self.start(node)?;
                let info = self.info(node)?;
                self.give_orders(node, above, &info);
            }
            self.pass_and_rest(1_000_000)?;
            why = match self.is_one(&above)? {
                None => return self.look_at_everything(&above),
                Some(why) => why,
            };
        }
        Err(format!("it does not become one: {why}"))
    }

    /// Tells a node what it is to be, if it is not that by now.
    fn give_orders(&mut self, node: usize, above: Option<usize>, info: &BTreeMap<String, String>) {
        let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
        if info.is_empty() {
            return;
        }
        if !is("master_failover_state", "no-failover") {
            self.tell(node, &["FAILOVER", "ABORT"]);
        }
        let is_right = match above {
            None => is("role", "master"),
            Some(above) => is("role", "slave") && is("master_host", &address(above)),
        };
        self.right_password(node);
        match above {
            _ if is_right => {}
            None => self.tell(node, &["REPLICAOF", "NO", "ONE"]),
            Some(above) => self.follow(node, above),
        }
    }

    /// What a node says to something, when it has said it. None if it hangs up.
    fn ask(&mut self, node: usize, words: &[&str]) -> Result<Option<Value>, String> {
        let at = self.clients.len() - self.machines.len() + node;
        if self.clients[at].wire.is_some() {
            self.hang_up(at);
        }
        if !self.connect_to(at, node) {
            return Ok(None);
        }
        self.answer = None;
        self.clients[at].send(words, Asked::Question);
        for _ in 0..300 {
            self.rest()?;
            let answer = self.answer.take();
            if answer.is_some() || self.clients[at].wire.is_none() {
                return Ok(answer);
            }
            self.pass_time(100_000);
        }
        Err(format!("node {node} never answers {}", words.join(" ")))
    }

    fn info(&mut self, node: usize) -> Result<BTreeMap<String, String>, String> {
        let mut all = BTreeMap::new();
        for section in ["replication", "clients"] {
            if let Some(Value::Bulk(text)) = self.ask(node, &["INFO", section])? {
                let fields = text.lines().filter_map(|line| line.split_once(':'));
                all.extend(fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
        }
        Ok(all)
    }

    /// Whether all nodes follow as they should and are where their primary is; else why not.
    fn is_one(&mut self, above: &[Option<usize>]) -> Result<Option<String>, String> {
        let mut offsets = Vec::new();
        for (node, above) in above.iter().enumerate() {
            let info = self.info(node)?;
            let field = |name: &str| info.get(name).cloned().unwrap_or_default();
            let wanted = match above {
                None => field("role") == "master",
                Some(above) => {
                    field("role") == "slave"
                        && field("master_host") == address(*above)
                        && field("master_link_status") == "up"
                        && field("slave_repl_offset") == field("master_repl_offset")
                }
            };
            if !wanted {
                return Ok(Some(format!("node {node} says {info:?}")));
            }
            offsets.push(field("master_repl_offset"));
        }
        match offsets.iter().all(|offset| *offset == offsets[0]) {
            true => Ok(None),
            false => Ok(Some(format!("offsets {offsets:?}"))),
        }
    }

    /// Everywhere the same, and nothing left over.
    fn look_at_everything(&mut self, above: &[Option<usize>]) -> Result<(), String> {
        let mut digests = Vec::new();
        for node in 0..self.machines.len() {
            digests.push(self.ask(node, &["DEBUG", "DIGEST"])?);
        }
        if digests.iter().any(|digest| *digest != digests[0] || !matches!(digest, Some(Value::Simple(_)))) {
            return Err(format!("the data differs: {digests:?}"));
        }
        let operators = self.clients.len() - self.machines.len();
        for node in 0..self.machines.len() {
            let at = operators + node;
            if self.clients[at].wire.is_none() {
                self.connect_to(at, node);
            }
            for group in 0..self.groups.len() {
                self.read_group(at, group);
            }
        }
        self.rest()?;
        for at in 0..self.clients.len() {
            self.hang_up(at);
        }
        self.pass_and_rest(300_000)?;
        self.groups.iter_mut().for_each(super::Group::settle);
        let streams = above.iter().position(Option::is_none).map_or(0, |at| self.settings.nodes[at].0);
        let links = |above: &Option<usize>| above.map_or(0, |at| 1 + self.settings.nodes[at].0.max(streams));
        let wanted: u16 = above.iter().map(links).sum();
        let links = self.world.net.links();
        if links.len() != usize::from(wanted) {
            return Err(format!("there are links {links:?}, and {wanted} are needed"));
        }
        for machine in &self.machines {
            machine.check_rest(0)?;
        }
        Ok(())
    }
}
