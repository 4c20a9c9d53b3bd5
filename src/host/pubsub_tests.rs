//! Pub/Sub over one to five cores.

use std::collections::{BTreeMap, BTreeSet};

use super::harness::{request, ClientNo, Node};
use crate::base::prng::Prng;
use crate::resp::reply::{elements, value_end};

/// Shards and cores.
const SHAPES: [(u16, u16); 4] = [(1, 1), (2, 1), (2, 2), (5, 5)];

/// A reply in short: `*3 $subscribe $a :1`.
fn short(bytes: &str) -> String {
    let mut out = String::new();
    let mut lines = bytes.split("\r\n").peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() && lines.peek().is_none() {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        match line.strip_prefix('$') {
            Some("-1") | None => out.push_str(line),
            Some(_) => {
                out.push('$');
                out.push_str(lines.next().unwrap_or_default());
            }
        }
    }
    out
}

/// A script: who sends what, and what each gets of it: replies in short, `name: reply` where it is not the sender.
struct Script {
    node: Node,
    clients: BTreeMap<String, ClientNo>,
}

impl Script {
    fn new(shards: u16, cores: u16, settings: &[(&str, &str)]) -> Script {
        Script { node: Node::new(shards, cores, 11, settings), clients: BTreeMap::new() }
    }

    /// Runs lines of `name> words` (several requests of a pipeline between `;`), each followed by what is received,
    /// `name< reply`, in the order of the names.
    fn run(&mut self, text: &str) {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let (name, words) = line.split_once("> ").unwrap_or_else(|| panic!("no sender: {line}"));
            let client = self.client(name);
            let bytes: Vec<u8> = words
                .split("; ")
                .flat_map(|request_words| {
                    let words: Vec<&[u8]> = request_words.split(' ').map(str::as_bytes).collect();
                    request(&words)
                })
                .collect();
            self.node.send(client, &bytes);
            self.node.quiesce();
            let mut expected: BTreeMap<String, String> = BTreeMap::new();
            while let Some((name, reply)) = lines.peek().and_then(|line| line.split_once("< ")) {
                expected.insert(name.to_owned(), reply.to_owned());
                lines.next();
            }
            let mut got: BTreeMap<String, String> = BTreeMap::new();
            for (name, client) in &self.clients {
                let text = self.node.take_text(*client);
                if !text.is_empty() {
                    got.insert(name.clone(), short(&text));
                }
            }
            assert_eq!(got, expected, "{line}, on {} cores", self.node.hosts.len());
        }
    }

    fn client(&mut self, name: &str) -> ClientNo {
        if let Some(client) = self.clients.get(name) {
            return *client;
        }
        // One after the other on the next core.
        let core = self.clients.len() % self.node.hosts.len();
        let client = self.node.connect_to(core);
        self.clients.insert(name.to_owned(), client);
        client
    }
}

/// Runs a script in every shape, with the clients on different cores where there are some.
fn script(text: &str) {
    for (shards, cores) in SHAPES {
        let mut script = Script::new(shards, cores, &[]);
        script.run(text);
        let open: Vec<ClientNo> = script.clients.values().copied().collect();
        for client in open {
            script.node.disconnect(client);
        }
        script.node.quiesce();
        assert_eq!(script.node.leftover(), None, "{shards} shards on {cores} cores");
    }
}

#[test]
fn subscribe_and_publish() {
    script(
        "a> SUBSCRIBE x
         a< *3 $subscribe $x :1
         b> PUBLISH x hello
         a< *3 $message $x $hello
         b< :1
         b> PUBLISH y hello
         b< :0
         c> SUBSCRIBE x y x
         c< *3 $subscribe $x :1 *3 $subscribe $y :2 *3 $subscribe $x :2
         b> PUBLISH x 1; PUBLISH y 2; PUBLISH x 3
         a< *3 $message $x $1 *3 $message $x $3
         b< :2 :1 :2
         c< *3 $message $x $1 *3 $message $y $2 *3 $message $x $3
         c> UNSUBSCRIBE y z
         c< *3 $unsubscribe $y :1 *3 $unsubscribe $z :1
         b> PUBLISH y 4
         b< :0
         c> UNSUBSCRIBE
         c< *3 $unsubscribe $x :0
         c> SUBSCRIBE q q; UNSUBSCRIBE q q
         c< *3 $subscribe $q :1 *3 $subscribe $q :1 *3 $unsubscribe $q :0 *3 $unsubscribe $q :0
         b> PUBLISH x 5
         a< *3 $message $x $5
         b< :1
         c> GET nothing
         c< $-1",
    );
}

#[test]
fn patterns_come_behind_channels_and_count_each() {
    script(
        "a> PSUBSCRIBE n* *s [m-o]ews
         a< *3 $psubscribe $n* :1 *3 $psubscribe $*s :2 *3 $psubscribe $[m-o]ews :3
         a> SUBSCRIBE news
         a< *3 $subscribe $news :4
         b> PUBLISH news x
         a< *3 $message $news $x *4 $pmessage $n* $news $x *4 $pmessage $*s $news $x *4 $pmessage $[m-o]ews $news $x
         b< :4
         b> PUBLISH nothing x
         a< *4 $pmessage $n* $nothing $x
         b< :1
         a> PUNSUBSCRIBE n*
         a< *3 $punsubscribe $n* :3
         b> SPUBLISH news x
         b< :0
         a> PUNSUBSCRIBE
         a< *3 $punsubscribe $*s :2 *3 $punsubscribe $[m-o]ews :1
         b> PUBLISH news y
         a< *3 $message $news $y
         b< :1",
    );
}

#[test]
fn shard_channels_are_a_world_of_their_own() {
    script(
        "a> SSUBSCRIBE x
         a< *3 $ssubscribe $x :1
         a> SUBSCRIBE x
         a< *3 $subscribe $x :1
         a> PSUBSCRIBE *
         a< *3 $psubscribe $* :2
         b> SPUBLISH x 1
         a< *3 $smessage $x $1
         b< :1
         b> PUBLISH x 2
         a< *3 $message $x $2 *4 $pmessage $* $x $2
         b< :2
         b> PUBSUB SHARDCHANNELS; PUBSUB SHARDNUMSUB x y; PUBSUB CHANNELS; PUBSUB NUMPAT
         b< *1 $x *4 $x :1 $y :0 *1 $x :1
         a> SUNSUBSCRIBE
         a< *3 $sunsubscribe $x :0
         a> SUNSUBSCRIBE x
         a< *3 $sunsubscribe $x :0
         a> SUNSUBSCRIBE
         a< *3 $sunsubscribe $-1 :0
         b> SPUBLISH x 3
         b< :0",
    );
}

#[test]
fn nothing_to_unsubscribe_from_is_confirmed_too() {
    script(
        "a> UNSUBSCRIBE
         a< *3 $unsubscribe $-1 :0
         a> PUNSUBSCRIBE; UNSUBSCRIBE x
         a< *3 $punsubscribe $-1 :0 *3 $unsubscribe $x :0
         a> SUBSCRIBE x
         a< *3 $subscribe $x :1
         a> PUNSUBSCRIBE
         a< *3 $punsubscribe $-1 :1
         b> HELLO 3 SETNAME b; RESET; CLIENT GETNAME
         b< %7 $server $redis $version $7.2.4 $proto :3 $id :2 $mode $standalone $role $master $modules *0 +RESET $-1",
    );
}

#[test]
fn what_a_subscriber_may_run() {
    let refused = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    script(&format!(
        "a> SSUBSCRIBE x
         a< *3 $ssubscribe $x :1
         a> GET k
         a< -ERR Can't execute 'get': {refused}
         a> CLIENT LIST
         a< -ERR Can't execute 'client|list': {refused}
         a> PUBLISH x 1
         a< -ERR Can't execute 'publish': {refused}
         a> MULTI
         a< -ERR Can't execute 'multi': {refused}
         a> GET
         a< -ERR wrong number of arguments for 'get' command
         a> NOSUCH x; PING
         a< -ERR unknown command 'NOSUCH', with args beginning with: 'x'  *2 $pong $
         a> PING
         a< *2 $pong $
         a> PING hi
         a< *2 $pong $hi
         a> PING a b
         a< -ERR wrong number of arguments for 'ping' command
         a> SUNSUBSCRIBE x
         a< *3 $sunsubscribe $x :0
         a> GET k
         a< $-1
         a> PING
         a< +PONG
         a> HELLO 3
         a< %7 $server $redis $version $7.2.4 $proto :3 $id :1 $mode $standalone $role $master $modules *0
         a> SUBSCRIBE x
         a< >3 $subscribe $x :1
         a> GET k; PING; PING x
         a< _ +PONG $x
         a> UNSUBSCRIBE
         a< >3 $unsubscribe $x :0
         a> UNSUBSCRIBE
         a< >3 $unsubscribe _ :0
         a> SUBSCRIBE x; RESET; PING
         a< >3 $subscribe $x :1 +RESET +PONG
         b> PUBLISH x 1
         b< :0
         a> PSUBSCRIBE *; QUIT
         a< *3 $psubscribe $* :1 +OK
         b> PUBLISH x 1
         b< :0
         b> PUBSUB NUMPAT
         b< :0"
    ));
}

#[test]
fn a_client_that_publishes_to_itself_gets_the_reply_first() {
    script(
        "a> HELLO 3
         a< %7 $server $redis $version $7.2.4 $proto :3 $id :1 $mode $standalone $role $master $modules *0
         a> SUBSCRIBE x
         a< >3 $subscribe $x :1
         a> PUBLISH x 1; PUBLISH x 2
         a< :1 >3 $message $x $1 :1 >3 $message $x $2
         b> SUBSCRIBE x
         b< *3 $subscribe $x :1
         a> PSUBSCRIBE x*
         a< >3 $psubscribe $x* :2
         a> PUBLISH x 1; PUBLISH x 2; GET k
         a< :3 >3 $message $x $1 >4 $pmessage $x* $x $1 :3 >3 $message $x $2 >4 $pmessage $x* $x $2 _
         b< *3 $message $x $1 *3 $message $x $2",
    );
}

#[test]
fn in_a_transaction() {
    script(
        "a> MULTI; SUBSCRIBE x y; PING; SSUBSCRIBE x; PUBLISH x 1; EXEC
         a< +OK +QUEUED +QUEUED +QUEUED +QUEUED *4 *3 $subscribe $x :1 *3 $subscribe $y :2 *2 $pong $ \
            -ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client :1 *3 $message $x $1
         b> PUBLISH x 2
         a< *3 $message $x $2
         b< :1
         a> UNSUBSCRIBE
         a< *3 $unsubscribe $x :1 *3 $unsubscribe $y :0
         a> MULTI; SET k v; PSUBSCRIBE *; UNSUBSCRIBE; PUNSUBSCRIBE; GET k; EXEC
         a< +OK +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED *5 +OK *3 $psubscribe $* :1 *3 $unsubscribe $-1 :1 \
            *3 $punsubscribe $* :0 $v
         c> SUBSCRIBE x
         c< *3 $subscribe $x :1
         b> MULTI; SET k2 1; PUBLISH x 1; PUBLISH x 2; PUBSUB NUMSUB x; EXEC
         b< +OK +QUEUED +QUEUED +QUEUED +QUEUED *4 +OK :1 :1 *2 $x :1
         c< *3 $message $x $1 *3 $message $x $2
         b> MULTI; SUBSCRIBE; EXEC
         b< +OK -ERR wrong number of arguments for 'subscribe' command \
            -EXECABORT Transaction discarded because of previous errors.",
    );
}

#[test]
fn client_reply_does_not_suppress_messages() {
    script(
        "a> CLIENT REPLY OFF; SUBSCRIBE x; PING
         a< *3 $subscribe $x :1
         b> PUBLISH x 1
         a< *3 $message $x $1
         b< :1
         a> UNSUBSCRIBE; PING; CLIENT REPLY ON
         a< *3 $unsubscribe $x :0 +OK
         a> CLIENT REPLY SKIP; SUBSCRIBE x; UNSUBSCRIBE; PING
         a< *3 $subscribe $x :1 *3 $unsubscribe $x :0 +PONG
         a> CLIENT REPLY OFF; MULTI; SUBSCRIBE x; PING; EXEC
         a< *3 $subscribe $x :1
         c> SUBSCRIBE x
         c< *3 $subscribe $x :1
         b> CLIENT REPLY OFF; PUBLISH x 2; PUBLISH x 3; CLIENT REPLY ON
         a< *3 $message $x $2 *3 $message $x $3
         b< +OK
         c< *3 $message $x $2 *3 $message $x $3",
    );
}

#[test]
fn pubsub_tells_of_all_cores() {
    script(
        "a> SUBSCRIBE news sport
         a< *3 $subscribe $news :1 *3 $subscribe $sport :2
         b> SUBSCRIBE news nature
         b< *3 $subscribe $news :1 *3 $subscribe $nature :2
         c> PSUBSCRIBE n* s*
         c< *3 $psubscribe $n* :1 *3 $psubscribe $s* :2
         d> PSUBSCRIBE n*
         d< *3 $psubscribe $n* :1
         e> PUBSUB CHANNELS
         e< *3 $nature $news $sport
         e> PUBSUB CHANNELS n*s
         e< *1 $news
         e> PUBSUB NUMSUB
         e< *0
         e> PUBSUB NUMSUB news none sport news
         e< *8 $news :2 $none :0 $sport :1 $news :2
         e> PUBSUB NUMPAT
         e< :2
         e> PUBSUB SHARDCHANNELS x
         e< *0
         e> PUBSUB CHANNELS a b
         e< -ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.
         e> PUBSUB NUMPAT x
         e< -ERR wrong number of arguments for 'pubsub|numpat' command
         e> PUBSUB
         e< -ERR wrong number of arguments for 'pubsub' command
         e> PUBSUB nosuch
         e< -ERR unknown subcommand 'nosuch'. Try PUBSUB HELP.
         c> PUNSUBSCRIBE n*
         c< *3 $punsubscribe $n* :1
         e> PUBSUB NUMPAT
         e< :2
         e> COMMAND GETKEYS spublish x y
         e< -ERR The command has no key arguments",
    );
}

#[test]
fn the_server_tells_of_subscribers() {
    for (shards, cores) in SHAPES {
        let mut script = Script::new(shards, cores, &[]);
        script.run(
            "a> SUBSCRIBE x y
             a< *3 $subscribe $x :1 *3 $subscribe $y :2
             b> SUBSCRIBE y; PSUBSCRIBE z*
             b< *3 $subscribe $y :1 *3 $psubscribe $z* :2
             c> SSUBSCRIBE x
             c< *3 $ssubscribe $x :1",
        );
        let admin = script.client("d");
        let text = script.node.run(admin, "INFO everything");
        for line in ["pubsub_channels:2", "pubsub_patterns:1", "pubsubshard_channels:1", "pubsub_clients:3"] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
        let list = script.node.run(admin, "CLIENT LIST TYPE pubsub");
        let lines: Vec<&str> = list.lines().filter(|line| line.starts_with("id=")).collect();
        assert_eq!(lines.len(), 3, "{list}");
        for (addr, field) in [
            ("50000", " flags=P db=0 sub=2 psub=0 ssub=0 "),
            ("50001", " flags=P db=0 sub=1 psub=1 ssub=0 "),
            ("50002", " flags=P db=0 sub=0 psub=0 ssub=1 "),
        ] {
            let line = lines.iter().find(|line| line.contains(addr)).unwrap();
            assert!(line.contains(field), "{line}");
        }
        assert!(!script.node.run(admin, "CLIENT LIST TYPE normal").contains("flags=P"));
        script.run(
            "d> CLIENT KILL TYPE pubsub
             d< :3
             d> PUBLISH x 1; SPUBLISH x 1; PUBLISH z 1; PUBSUB CHANNELS; PUBSUB NUMPAT
             d< :0 :0 :0 *0 :0",
        );
        let text = script.node.run(admin, "INFO everything");
        for line in ["pubsub_channels:0", "pubsub_patterns:0", "pubsubshard_channels:0", "pubsub_clients:0"] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
        script.node.disconnect(admin);
        script.node.quiesce();
        assert_eq!(script.node.leftover(), None);
    }
}

#[test]
fn a_client_that_blocks_gets_its_messages() {
    script(
        "a> HELLO 3
         a< %7 $server $redis $version $7.2.4 $proto :3 $id :1 $mode $standalone $role $master $modules *0
         a> SUBSCRIBE x; BLPOP k1 k2 k3 0
         a< >3 $subscribe $x :1
         b> PUBLISH x 1
         a< >3 $message $x $1
         b< :1
         b> RPUSH k2 v
         a< *2 $k2 $v
         b< :1",
    );
}

/// A client of the random test: what it has been told, and what it must and must not get.
#[derive(Default)]
struct Listener {
    received: Vec<u8>,
    /// What it listens to, as far as the confirmations say that have come: the first letter is the kind's.
    listens: BTreeSet<String>,
    /// The same without those for whose end it has asked.
    sure: BTreeSet<String>,
    /// How often it has asked for the end of each and not been answered.
    ending: BTreeMap<String, usize>,
    /// The publications that it has got, with the subscription that they came by.
    got: Vec<(String, Publication)>,
    /// Its own publications that have not been answered.
    unanswered: Vec<Publication>,
}

/// Whose it is, and its number among these.
type Publication = (usize, usize);

impl Listener {
    /// Takes one value from what has come.
    fn take_value(&mut self, answered: &mut Vec<(Publication, i64)>) -> bool {
        let Some(end) = value_end(&self.received) else { return false };
        let value: Vec<u8> = self.received.drain(..end).collect();
        let text = short(&String::from_utf8_lossy(&value));
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            [">3", confirmed, name, count] if confirmed.ends_with("subscribe") => {
                let word = confirmed.trim_start_matches('$');
                let kind = word.chars().next().filter(|kind| "ps".contains(*kind)).unwrap_or('c');
                let kind = if word.starts_with("subscribe") { 'c' } else { kind };
                let key = format!("{kind}{}", name.trim_start_matches('$'));
                let ending = self.ending.entry(key.clone()).or_default();
                if word.contains("unsubscribe") {
                    self.listens.remove(&key);
                    *ending -= 1;
                } else {
                    self.listens.insert(key.clone());
                    if *ending == 0 {
                        self.sure.insert(key);
                    }
                }
                let of_kind = |key: &&String| key.starts_with('s') == (kind == 's');
                let told = self.listens.iter().filter(of_kind).count();
                assert_eq!(count, format!(":{told}"), "{text}");
            }
            [">3", "$message", channel, message] => self.take_message('c', channel, message),
            [">3", "$smessage", channel, message] => self.take_message('s', channel, message),
            [">4", "$pmessage", pattern, _, message] => self.take_message('p', pattern, message),
            [number] if number.starts_with(':') => {
                let publication = self.unanswered.remove(0);
                answered.push((publication, number[1..].parse().unwrap()));
            }
            _ => panic!("unexpected: {text}"),
        }
        true
    }

    fn take_message(&mut self, kind: char, name: &str, message: &str) {
        let key = format!("{kind}{}", name.trim_start_matches('$'));
        assert!(self.listens.contains(&key), "a message of {key}, which it does not listen to");
        let (publisher, number) = message.trim_start_matches('$').split_once('-').unwrap();
        let publication: Publication = (publisher.parse().unwrap(), number.parse().unwrap());
        let before = self.got.iter().rev().find(|(_, (publisher, _))| *publisher == publication.0);
        assert!(before.is_none_or(|(_, before)| before.1 <= publication.1), "out of order");
        self.got.push((key, publication));
    }
}

/// What is published reaches whoever must get it, once, in order, and nobody else; and is counted right.
#[test]
fn every_message_reaches_those_who_listen() {
    for (shards, cores) in [(1, 1), (2, 2), (5, 5)] {
        for seed in 0..40 {
            random_run(shards, cores, seed);
        }
    }
}

/// Where a publication must go: the names of subscriptions that it concerns.
fn concerns(key: &str, is_sharded: bool, channel: &str) -> bool {
    let (kind, name) = key.split_at(1);
    match kind {
        "p" => !is_sharded && crate::base::glob::matches(name.as_bytes(), channel.as_bytes(), false),
        "s" => is_sharded && name == channel,
        _ => !is_sharded && name == channel,
    }
}

fn random_run(shards: u16, cores: u16, seed: u64) {
    let mut node = Node::new(shards, cores, seed, &[]);
    let mut rng = Prng::new(seed);
    let goes_away = seed % 2 == 1;
    let mut clients: Vec<(ClientNo, Listener)> = Vec::new();
    for _ in 0..6 {
        let client = node.connect();
        assert!(node.run(client, "HELLO 3").starts_with("%7"));
        clients.push((client, Listener::default()));
    }
    // For each publication, who must get it, because they were sure of their subscription by then.
    let mut sent: BTreeMap<Publication, BTreeSet<(usize, String)>> = BTreeMap::new();
    let mut answered: Vec<(Publication, i64)> = Vec::new();
    let mut published = 0;
    for _ in 0..150 {
        let at = rng.below(clients.len() as u64) as usize;
        let client = clients[at].0;
        let mut bytes = Vec::new();
        for _ in 0..=rng.below(3) {
            let channel = format!("c{}", rng.below(4));
            let pattern = ["c*", "*1", "c[0-2]"][rng.below(3) as usize].to_owned();
            let (word, key, name) = match rng.below(6) {
                0 | 1 => ("SUBSCRIBE", 'c', channel.clone()),
                2 => ("PSUBSCRIBE", 'p', pattern),
                3 => ("SSUBSCRIBE", 's', channel.clone()),
                _ => ("PUBLISH", ' ', channel.clone()),
            };
            if word == "PUBLISH" {
                let is_sharded = rng.below(4) == 0;
                published += 1;
                let publication = (at, published);
                let message = format!("{at}-{published}");
                let word: &[u8] = if is_sharded { b"SPUBLISH" } else { b"PUBLISH" };
                bytes.extend(request(&[word, channel.as_bytes(), message.as_bytes()]));
                let mut must: BTreeSet<(usize, String)> = BTreeSet::new();
                for (other, (_, listener)) in clients.iter().enumerate() {
                    let sure = listener.sure.iter().filter(|key| concerns(key, is_sharded, &channel));
                    must.extend(sure.map(|key| (other, key.clone())));
                }
                sent.insert(publication, must);
                clients[at].1.unanswered.push(publication);
            } else if rng.below(3) == 0 {
                // From now on it may or may not get what is under way.
                let key = format!("{key}{name}");
                clients[at].1.sure.remove(&key);
                *clients[at].1.ending.entry(key.clone()).or_default() += 1;
                for must in sent.values_mut() {
                    must.remove(&(at, key.clone()));
                }
                let word = word.replace("SUBSCRIBE", "UNSUBSCRIBE");
                bytes.extend(request(&[word.as_bytes(), name.as_bytes()]));
            } else {
                bytes.extend(request(&[word.as_bytes(), name.as_bytes()]));
            }
        }
        node.send(client, &bytes);
        for _ in 0..rng.below(12) {
            node.step();
        }
        if rng.below(20) == 0 {
            node.advance_us(100_000);
        }
        if goes_away && rng.below(15) == 0 {
            let gone = rng.below(clients.len() as u64) as usize;
            node.disconnect(clients[gone].0);
            // What it has published may have gone out; nobody is left to be told, and another one takes its place.
            for must in sent.values_mut() {
                must.retain(|(listener, _)| *listener != gone);
            }
            let lost: Vec<Publication> = clients[gone].1.unanswered.clone();
            lost.iter().for_each(|publication| {
                sent.remove(publication);
            });
            let client = node.connect();
            let hello = request(&[b"HELLO", b"3"]);
            node.send(client, &hello);
            node.quiesce();
            node.take(client);
            clients[gone] = (client, Listener::default());
        }
        for (client, listener) in &mut clients {
            listener.received.extend(node.take(*client));
            while listener.take_value(&mut answered) {}
        }
    }
    node.quiesce();
    for (client, listener) in &mut clients {
        listener.received.extend(node.take(*client));
        while listener.take_value(&mut answered) {}
        assert!(listener.unanswered.is_empty() && listener.received.is_empty(), "seed {seed}");
    }
    for (publication, must) in &sent {
        for (at, key) in must {
            let got = clients[*at].1.got.iter().filter(|(by, got)| by == key && got == publication).count();
            assert_eq!(got, 1, "seed {seed}: {publication:?} to {at} by {key}");
        }
    }
    for (publication, receivers) in &answered {
        let got = |listener: &Listener| listener.got.iter().filter(|(_, got)| got == publication).count();
        let got: usize = clients.iter().map(|(_, listener)| got(listener)).sum();
        match goes_away {
            // Some of those who got it are gone.
            true => assert!(got as i64 <= *receivers, "seed {seed}: {publication:?}"),
            false => assert_eq!(got as i64, *receivers, "seed {seed}: {publication:?}"),
        }
    }
    assert!(answered.len() > 50);
    // What the server tells is what its clients were told.
    let all = |kind: char| {
        let keys = clients.iter().flat_map(|(_, listener)| &listener.listens);
        keys.filter(|key| key.starts_with(kind)).map(|key| key[1..].to_owned()).collect::<Vec<String>>()
    };
    let admin = node.connect();
    let distinct: BTreeSet<String> = all('c').into_iter().collect();
    let listed = node.run(admin, "PUBSUB CHANNELS");
    let listed: BTreeSet<String> = elements(listed.as_bytes())
        .map(|name| short(&String::from_utf8_lossy(name))[1..].to_owned())
        .collect();
    assert_eq!(listed, distinct);
    let patterns: BTreeSet<String> = all('p').into_iter().collect();
    assert_eq!(node.run(admin, "PUBSUB NUMPAT"), format!(":{}\r\n", patterns.len()));
    let counts = node.run(admin, "PUBSUB SHARDNUMSUB c0 c1 c2 c3");
    let expected: Vec<String> = (0..4)
        .map(|at| format!("$c{at} :{}", all('s').iter().filter(|name| **name == format!("c{at}")).count()))
        .collect();
    assert_eq!(short(&counts), format!("*8 {}", expected.join(" ")));
    let info = node.run(admin, "INFO stats");
    assert!(info.contains(&format!("pubsub_channels:{}\r\n", distinct.len())), "{info}");
    node.disconnect(admin);
    for (client, _) in clients {
        node.disconnect(client);
    }
    node.quiesce();
    assert_eq!(node.leftover(), None, "seed {seed}, {shards} shards on {cores} cores");
}

#[test]
fn a_subscription_is_confirmed_when_all_cores_know() {
    let mut node = Node::new(3, 3, 1, &[]);
    let (listener, publisher) = (node.connect_to(0), node.connect_to(2));
    node.hold(0, 2);
    assert_eq!(node.run(listener, "SUBSCRIBE x"), "");
    assert_eq!(node.run(publisher, "PUBLISH x 1"), ":0\r\n");
    node.release(0, 2);
    node.hold(1, 0);
    let other = node.connect_to(0);
    assert_eq!(node.run(other, "SUBSCRIBE y"), "");
    node.quiesce();
    assert_eq!(short(&node.take_text(listener)), "*3 $subscribe $x :1");
    // Core 2 knows of y and sends, but nobody listens yet: core 1 has not said that it knows.
    assert_eq!(node.run(publisher, "PUBLISH y 2"), ":0\r\n");
    assert_eq!(node.take_text(other), "");
    node.release(1, 0);
    node.quiesce();
    assert_eq!(short(&node.take_text(other)), "*3 $subscribe $y :1");
    assert_eq!(node.run(publisher, "PUBLISH y 3"), ":1\r\n");
    assert_eq!(short(&node.take_text(other)), "*3 $message $y $3");
    assert_eq!(short(&node.run(other, "UNSUBSCRIBE y")), "*3 $unsubscribe $y :0");
    // A second one on the same core needs nobody.
    let second = node.connect_to(0);
    node.hold(0, 2);
    node.hold(0, 1);
    assert_eq!(short(&node.run(second, "SUBSCRIBE x")), "*3 $subscribe $x :1");
    // One that goes while it waits leaves nothing behind.
    assert_eq!(node.run(second, "SUBSCRIBE y"), "");
    node.disconnect(second);
    node.release(0, 2);
    node.release(0, 1);
    node.quiesce();
    assert_eq!(node.run(publisher, "PUBSUB CHANNELS"), "*1\r\n$1\r\nx\r\n");
    assert_eq!(node.run(publisher, "PUBLISH y 1"), ":0\r\n");
}

#[test]
fn publications_that_concern_no_other_core_stay_on_theirs() {
    let mut node = Node::new(2, 2, 1, &[]);
    let (here, there, publisher) = (node.connect_to(0), node.connect_to(1), node.connect_to(0));
    node.run(here, "SUBSCRIBE x");
    node.run(there, "SUBSCRIBE y");
    let parcels = |node: &Node| node.hosts.iter().map(|host| host.stats.parcels).sum::<u64>();
    let before = parcels(&node);
    node.hold(0, 1);
    let pipeline: Vec<u8> = (0..1000).flat_map(|_| request(&[b"PUBLISH", b"x", b"m"])).collect();
    node.send(publisher, &pipeline);
    node.quiesce();
    assert_eq!(node.take_text(publisher), ":1\r\n".repeat(1000));
    assert_eq!(parcels(&node), before);
    node.release(0, 1);
    assert_eq!(node.run(publisher, "PUBLISH y m"), ":1\r\n");
    assert_eq!(parcels(&node), before + 1);
    // When nobody listens any more, that is forgotten at the next tick.
    node.run(there, "UNSUBSCRIBE y");
    assert_eq!(node.run(publisher, "PUBLISH y m"), ":0\r\n");
    assert_eq!(parcels(&node), before + 2);
    node.advance_us(200_000);
    node.quiesce();
    assert_eq!(node.run(publisher, "PUBLISH y m"), ":0\r\n");
    assert_eq!(parcels(&node), before + 2);
    // A pattern concerns everything.
    node.run(there, "PSUBSCRIBE z*");
    assert_eq!(node.run(publisher, "PUBLISH y m"), ":0\r\n");
    assert_eq!(parcels(&node), before + 3);
    assert_eq!(node.run(publisher, "SPUBLISH y m"), ":0\r\n");
    assert_eq!(parcels(&node), before + 3);
}

#[test]
fn what_was_written_before_a_message_is_there_when_it_comes() {
    let mut node = Node::new(2, 2, 1, &[]);
    let (listener, publisher) = (node.connect_to(0), node.connect_to(0));
    node.run(listener, "SUBSCRIBE x");
    let key = (0..).map(|number| format!("k{number}"));
    let key = key.into_iter().find(|key| crate::base::key::shard_of_key(key.as_bytes(), 2).0 == 1).unwrap();
    node.hold(0, 1);
    let mut pipeline = request(&[b"SET", key.as_bytes(), b"v"]);
    pipeline.extend(request(&[b"PUBLISH", b"x", b"look"]));
    node.send(publisher, &pipeline);
    node.quiesce();
    assert_eq!(node.take_text(listener), "");
    node.release(0, 1);
    node.quiesce();
    assert_eq!(short(&node.take_text(listener)), "*3 $message $x $look");
    assert_eq!(node.take_text(publisher), "+OK\r\n:1\r\n");
}

#[test]
fn many_publications_wait_for_room() {
    let mut node = Node::new(2, 2, 1, &[]);
    let (listener, publisher) = (node.connect_to(1), node.connect_to(0));
    node.run(listener, "SUBSCRIBE x");
    let message = vec![b'm'; 1000];
    let count = 5000;
    let mut pipeline: Vec<u8> = (0..count).flat_map(|_| request(&[b"PUBLISH", b"x", &message])).collect();
    pipeline.extend(request(&[b"PING"]));
    node.hold(0, 1);
    node.send(publisher, &pipeline);
    node.quiesce();
    let waiting = node.hosts[0].outstanding();
    assert!(waiting.parcels <= 4, "{waiting:?}");
    node.release(0, 1);
    node.quiesce();
    assert_eq!(node.take_text(publisher), format!("{}+PONG\r\n", ":1\r\n".repeat(count)));
    assert_eq!(node.take_text(listener).matches("message").count(), count);
    node.disconnect(listener);
    node.disconnect(publisher);
    node.quiesce();
    assert_eq!(node.leftover(), None);
}

#[test]
fn publications_from_a_primary_reach_all_cores() {
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 1, &[]);
        let last = usize::from(cores) - 1;
        let (first, last) = (node.connect_to(0), node.connect_to(last));
        node.run(first, "SUBSCRIBE x");
        node.run(last, "PSUBSCRIBE *");
        node.run(last, "SSUBSCRIBE x");
        assert!(node.hosts[0].takes_publications());
        node.hosts[0].deliver_publication(b"x", b"1", false);
        node.hosts[0].deliver_publication(b"x", b"2", true);
        node.hosts[0].deliver_publication(b"y", b"3", false);
        node.quiesce();
        assert_eq!(short(&node.take_text(first)), "*3 $message $x $1");
        let expected = "*4 $pmessage $* $x $1 *3 $smessage $x $2 *4 $pmessage $* $y $3";
        assert_eq!(short(&node.take_text(last)), expected);
        node.disconnect(first);
        node.disconnect(last);
        node.quiesce();
        assert_eq!(node.leftover(), None);
    }
}

#[test]
fn a_pause_of_writes_holds_publications_back() {
    script(
        "a> SUBSCRIBE x
         a< *3 $subscribe $x :1
         b> CLIENT PAUSE 100000 WRITE
         b< +OK
         c> PUBLISH x 1
         b> CLIENT UNPAUSE
         a< *3 $message $x $1
         b< +OK
         c< :1",
    );
}

#[test]
fn who_listens_does_not_change_cores() {
    let mut node = Node::new(2, 2, 1, &[]);
    let (listener, publisher) = (node.connect_to(0), node.connect_to(1));
    node.run(listener, "HELLO 3");
    node.run(listener, "SUBSCRIBE x");
    assert_eq!(
        node.run(listener, "DEBUG MOVE-CLIENT 1"),
        "-ERR a client with subscriptions stays where it is\r\n"
    );
    assert_eq!(node.run(publisher, "PUBLISH x 1"), ":1\r\n");
    assert_eq!(short(&node.take_text(listener)), ">3 $message $x $1");
    node.run(listener, "UNSUBSCRIBE");
    assert_eq!(node.run(listener, "DEBUG MOVE-CLIENT 1"), "+OK\r\n");
    assert_eq!(short(&node.run(listener, "SUBSCRIBE y")), ">3 $subscribe $y :1");
    assert_eq!(node.run(publisher, "PUBLISH y 1"), ":1\r\n");
    assert_eq!(short(&node.take_text(listener)), ">3 $message $y $1");
}
