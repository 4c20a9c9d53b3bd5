//! Random commands to Ringward and to redis-server: every reply must be the same, and so must the data be in the end.
//!
//! The peer is redis-server 7.0 (Debian's) while Ringward speaks 7.2.4: where these two differ stands in `KNOWN`, with
//! the reason. Anything else that differs is a bug, and the sequence that shows it is made as short as it can be.
//!
//! `RINGWARD_SEED` repeats a run, `RINGWARD_STEPS` sets how many commands each of the tests sends.

mod generate;

use std::time::Duration;

use generate::{Generator, Step};

use super::harness::{eventually, number_from_env, request, Client, Peer, Random, Server, Value};

/// How long a reply may take while the shortest sequence is looked for.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The databases that the generator works in.
const DATABASES: usize = 16;

#[test]
fn one_shard_replies_as_redis_does() {
    compare(1);
}

#[test]
fn two_shards_reply_as_redis_does() {
    compare(2);
}

#[test]
fn five_shards_reply_as_redis_does() {
    compare(5);
}

/// What 7.0 answers differently from 7.2: the command's first words in upper case, a text that must be in the reply of
/// one of the two, and the reason.
const KNOWN: &[(&str, &str, &str)] = &[
    ("COMMAND GETKEYS", "wrong number of arguments for", "since 7.2 the command need not have arguments"),
    ("HELLO", "Syntax error in HELLO option", "since 7.2 all options are read before the first takes effect"),
];

fn compare(shards: u16) {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 6000) as usize;
    println!("{shards} shards: RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    let mut pair = Pair::new(shards);
    let mut random = Random::new(seed);
    let mut generator = Generator::new(pair.redis.run("TIME").items()[0].text().parse().unwrap());
    let mut history: Vec<Vec<Vec<u8>>> = Vec::new();
    while history.len() < steps {
        let depth = [1, 2, 5, 20, 150][random.below(5)];
        match generator.step(&mut random) {
            Step::Command(first) => {
                let mut batch = vec![first];
                batch.extend((1..depth).map(|_| generator.command(&mut random)));
                let difference = pair.first_difference(&batch);
                history.extend(batch);
                if let Some(difference) = difference {
                    history.truncate(history.len() - (depth - 1 - difference.at));
                    pair.explain(seed, &history, &difference);
                }
            }
            Step::Scan(options) => {
                let [expected, actual] = pair.both(|client| scan(client, &options));
                assert_eq!(actual, expected, "SCAN {options:?}, RINGWARD_SEED={seed}");
            }
            Step::ShortLife(key) => pair.short_life(&key),
            Step::Digest => {
                let [expected, actual] = pair.both(|client| client.run("DEBUG DIGEST"));
                assert_eq!(actual, expected, "DEBUG DIGEST, RINGWARD_SEED={seed}");
            }
        }
    }
    pair.compare_data(seed);
}

/// The two servers and a connection to each.
struct Pair {
    redis: Client,
    ringward: Client,
    peer: Peer,
    server: Server,
    shards: u16,
}

/// Where two runs part.
struct Difference {
    at: usize,
    expected: String,
    actual: String,
}

impl Pair {
    fn new(shards: u16) -> Pair {
        let (peer, server) = (Peer::start(), Server::start(shards));
        Pair { redis: peer.client(), ringward: server.client(), peer, server, shards }
    }

    fn both<T>(&mut self, mut run: impl FnMut(&mut Client) -> T) -> [T; 2] {
        [run(&mut self.redis), run(&mut self.ringward)]
    }

    /// Sends the commands as one pipeline.
    fn first_difference(&mut self, batch: &[Vec<Vec<u8>>]) -> Option<Difference> {
        let bytes: Vec<u8> = batch.iter().flat_map(|args| request(args)).collect();
        let [expected, actual] = self.both(|client| {
            client.send(&bytes);
            (0..batch.len()).map_while(|_| client.try_read().ok()).collect::<Vec<Value>>()
        });
        assert_eq!(expected.len(), batch.len(), "redis-server has answered everything");
        batch.iter().enumerate().find_map(|(at, args)| {
            let actual = actual.get(at);
            let same = actual.is_some_and(|actual| equal(args, &expected[at], actual));
            (!same).then(|| Difference {
                at,
                expected: format!("{:?}", expected[at]),
                actual: actual.map_or("nothing".into(), |actual| format!("{actual:?}")),
            })
        })
    }

    /// Both servers empty, Ringward a new one: the old may be stuck.
    fn start_over(&mut self) {
        self.server = Server::start(self.shards);
        (self.redis, self.ringward) = (self.peer.client(), self.server.client());
        self.redis.ok("FLUSHALL");
        self.ringward.set_timeout(REPLY_TIMEOUT);
    }

    /// Runs the commands from the start; the first difference, and which command it is.
    fn replay(&mut self, commands: &[Vec<Vec<u8>>]) -> Option<(Difference, usize)> {
        self.start_over();
        let mut done = 0;
        for batch in commands.chunks(100) {
            if let Some(found) = self.first_difference(batch) {
                let at = done + found.at;
                return Some((found, at));
            }
            done += batch.len();
        }
        None
    }

    /// Finds the shortest part of the history that still shows a difference, and fails.
    fn explain(&mut self, seed: u64, history: &[Vec<Vec<u8>>], found: &Difference) -> ! {
        let last = shown(history.last().unwrap());
        println!("RINGWARD_SEED={seed}: {last}\n  expected {}\n  actual   {}", found.expected, found.actual);
        let mut shortest = history.to_vec();
        let mut difference = None;
        let mut chunk = shortest.len();
        while chunk > 0 {
            let mut end = shortest.len() - 1;
            while end > 0 {
                let from = end.saturating_sub(chunk);
                let mut without = shortest.clone();
                without.drain(from..end);
                if let Some((found, at)) = self.replay(&without) {
                    without.truncate(at + 1);
                    shortest = without;
                    difference = Some(found);
                    end = from.min(shortest.len() - 1);
                } else {
                    end = from;
                }
            }
            chunk /= 2;
        }
        let lines: Vec<_> = shortest.iter().map(|args| shown(args)).collect();
        match difference {
            Some(found) => panic!(
                "RINGWARD_SEED={seed}, from empty:\n{}\n  expected {}\n  actual   {}",
                lines.join("\n"),
                found.expected,
                found.actual
            ),
            None => panic!("RINGWARD_SEED={seed}: seen once, not again; {last}"),
        }
    }

    /// A key that comes of age soon does so on both.
    fn short_life(&mut self, key: &[u8]) {
        self.both(|client| {
            assert_eq!(client.call(&[b"SET", key, b"gone", b"EXAT", b"1"]), Value::simple("OK"));
            assert_eq!(client.call(&[b"EXISTS", key]).int(), 0);
            assert_eq!(client.call(&[b"SET", key, b"soon gone", b"PX", b"3"]), Value::simple("OK"));
            eventually("a key expires", || client.call(&[b"GET", key]).bytes_or_null().is_none());
            assert_eq!(client.call(&[b"EXISTS", key]).int(), 0);
        });
    }

    /// Every key of every database.
    fn compare_data(&mut self, seed: u64) {
        self.both(|client| client.run("HELLO 2"));
        for db in 0..DATABASES {
            self.both(|client| client.ok(&format!("SELECT {db}")));
            let [expected, actual] = self.both(|client| client.run("KEYS *").sorted());
            assert_eq!(actual, expected, "keys of database {db}, RINGWARD_SEED={seed}");
            for key in expected.items() {
                for command in ["GET", "TYPE", "PTTL", "OBJECT ENCODING"] {
                    let mut args: Vec<Vec<u8>> = command.split(' ').map(Into::into).collect();
                    args.push(key.bytes().to_vec());
                    let [expected, actual] = self.both(|client| client.call(&args));
                    assert!(
                        equal(&args, &expected, &actual),
                        "database {db}: {}\n  expected {expected:?}\n  actual   {actual:?}\nRINGWARD_SEED={seed}",
                        shown(&args)
                    );
                }
            }
            let [expected, actual] = self.both(|client| client.run("DBSIZE"));
            assert_eq!(actual, expected, "DBSIZE of database {db}, RINGWARD_SEED={seed}");
        }
        let [expected, actual] = self.both(|client| client.run("DEBUG DIGEST"));
        assert_eq!(actual, expected, "DEBUG DIGEST, RINGWARD_SEED={seed}");
    }
}

impl Value {
    fn bytes_or_null(&self) -> Option<&[u8]> {
        match self {
            Value::Null | Value::NullBulk => None,
            other => Some(other.bytes()),
        }
    }
}

/// All that a whole SCAN brings, or the error that it ends with.
fn scan(client: &mut Client, options: &[&str]) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let args: Vec<&str> = ["SCAN", &cursor].into_iter().chain(options.iter().copied()).collect();
        let reply = client.call(&args);
        if reply.is_error() {
            return vec![reply];
        }
        found.extend_from_slice(reply.items()[1].items());
        cursor = reply.items()[0].text();
        if cursor == "0" {
            found.sort_by(|a, b| a.bytes().cmp(b.bytes()));
            found.dedup();
            return found;
        }
    }
}

/// Whether the replies are the same as far as they must be.
fn equal(args: &[Vec<u8>], expected: &Value, actual: &Value) -> bool {
    if expected == actual {
        return true;
    }
    let line = shown(args).to_ascii_uppercase();
    if KNOWN.iter().any(|(command, text, _)| {
        line.starts_with(command)
            && [expected, actual].iter().any(|reply| format!("{reply:?}").contains(text))
    }) {
        return true;
    }
    let name = line.split(' ').next().unwrap_or_default();
    match (name, expected, actual) {
        // The servers' clocks are read at different moments.
        ("TTL" | "EXPIRETIME", Value::Int(e), Value::Int(a)) => *e > 0 && e.abs_diff(*a) <= 2,
        ("PTTL" | "PEXPIRETIME", Value::Int(e), Value::Int(a)) => *e > 0 && e.abs_diff(*a) <= 5000,
        ("OBJECT", Value::Int(e), Value::Int(a)) => {
            line.starts_with("OBJECT IDLETIME") && e.abs_diff(*a) <= 5
        }
        // The order is the server's to choose, and so is the key.
        ("KEYS", Value::Array(_), Value::Array(_)) => expected.clone().sorted() == actual.clone().sorted(),
        ("RANDOMKEY", Value::Bulk(_), Value::Bulk(_)) => true,
        // How much a key takes is each server's own; whether it is there is not.
        ("MEMORY", Value::Int(_), Value::Int(_)) => line.starts_with("MEMORY USAGE"),
        ("CLIENT", Value::Int(_), Value::Int(_)) => line == "CLIENT ID",
        ("HELLO", Value::Array(_) | Value::Map(_), _) => greeting(expected) == greeting(actual),
        ("TIME", Value::Array(_), Value::Array(_)) => true,
        _ => false,
    }
}

/// What HELLO says, without what is each server's own.
fn greeting(reply: &Value) -> Vec<(Value, Value)> {
    let pairs = match reply {
        Value::Map(pairs) => pairs.clone(),
        other => other.items().chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
    };
    pairs.into_iter().filter(|(name, _)| !matches!(name.text().as_str(), "version" | "id")).collect()
}

/// A command as one would type it.
fn shown(args: &[Vec<u8>]) -> String {
    let word = |arg: &Vec<u8>| match arg.iter().all(|b| b.is_ascii_graphic() && *b != b'"') && !arg.is_empty()
    {
        true => String::from_utf8_lossy(arg).into_owned(),
        false => format!("\"{}\"", arg.escape_ascii()),
    };
    args.iter().map(word).collect::<Vec<_>>().join(" ")
}
