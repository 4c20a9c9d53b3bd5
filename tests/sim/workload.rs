//! What the clients ask for: each seed switches a random part of the commands on ("swarm testing": what is always mixed
//! with everything else is never seen at length), on a few hot keys over several shards.

use std::collections::BTreeSet;

use ringward::base::ids::ShardId;
use ringward::base::key::shard_of_key;
use ringward::base::prng::Prng;
use ringward::command::Table;

use crate::history::Scope;
use crate::model::{Action, Name, Request};
use crate::reply::{Expect, Value};

/// The commands: those of a family are switched on together, and then by halves.
const FAMILIES: &[&[&str]] = &[
    &["GET", "SET", "SET", "INCR", "APPEND"],
    &["SETNX", "GETSET", "GETDEL", "GETEX", "DECR", "INCRBY", "STRLEN", "SETRANGE", "GETRANGE"],
    &["MGET", "MGET", "MSET", "MSET", "MSETNX"],
    &["DEL", "UNLINK", "EXISTS", "TOUCH", "TYPE"],
    &["RENAME", "RENAMENX", "COPY"],
    &["PEXPIRE", "PERSIST", "PTTL", "PEXPIRETIME"],
    &["DBSIZE", "KEYS", "RANDOMKEY", "FLUSHDB", "FLUSHALL", "SWAPDB"],
    &["LPUSH", "RPUSH", "LPOP", "RPOP", "LRANGE", "LLEN", "LINDEX", "LMOVE"],
    &["SADD", "SREM", "SMOVE", "SCARD", "SMEMBERS", "SISMEMBER"],
    &["SADD", "SUNION", "SINTER", "SDIFF", "SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"],
    &["HSET", "HGET", "HDEL", "HLEN", "HKEYS"],
    &["ZADD", "ZINCRBY", "ZREM", "ZPOPMIN", "ZSCORE", "ZCARD", "ZRANGE"],
    &["BLPOP", "BRPOP", "BLMOVE", "LPUSH", "RPUSH", "LPUSH"],
];

/// Asked of the whole node; the answer is not looked at, but the cores have to gather it.
const QUESTIONS: &[&[&str]] =
    &[&["INFO", "keyspace"], &["CLIENT", "LIST"], &["SLOWLOG", "LEN"], &["CONFIG", "GET", "maxmemory"]];

/// What a seed plays.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) shards: u16,
    pub(crate) databases: u8,
    pub(crate) keys: Vec<String>,
    /// The commands, as often as they are to come.
    pub(crate) commands: Vec<&'static str>,
    /// How likely a client begins MULTI or WATCH, in percent.
    pub(crate) transactions: u64,
    /// How likely it asks a question to the node, or changes its database or core, in percent.
    pub(crate) asides: u64,
}

/// A request, and what is to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) words: Vec<String>,
    pub(crate) plan: Plan,
}

/// What is to come of a request.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// An answer that nothing but the session decides.
    Fixed(Expect),
    /// What the model says.
    Act(Action, Scope),
}

/// A client's side of its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    db: u8,
    /// What is queued since MULTI, and whether something could not be.
    queue: Option<(Vec<Request>, bool)>,
    watched: Vec<Name>,
}

impl Swarm {
    /// Draws a part of all commands that the table has.
    pub(crate) fn draw(rng: &mut Prng, table: &Table) -> Swarm {
        let is_known = |name: &&str| table.find(name.as_bytes()).is_some();
        let mut commands = Vec::new();
        while commands.is_empty() {
            let families: Vec<_> = FAMILIES.iter().filter(|_| rng.below(5) < 2).collect();
            for family in families {
                commands.extend(family.iter().copied().filter(|_| rng.below(10) < 7).filter(is_known));
            }
        }
        let has_multi = is_known(&"MULTI") && rng.below(2) == 0;
        Swarm {
            shards: 1 + rng.below(5) as u16,
            databases: if rng.below(4) == 0 { 2 } else { 1 },
            keys: (0..2 + rng.below(5)).map(|at| char::from(b'a' + at as u8).to_string()).collect(),
            commands,
            transactions: if has_multi { 5 + rng.below(20) } else { 0 },
            asides: if rng.below(3) == 0 { 3 } else { 0 },
        }
    }

    /// What a client sends next. `unique` is a number that nothing else has had.
    pub(crate) fn next(&self, script: &mut Script, rng: &mut Prng, unique: u64) -> Planned {
        if let Some(planned) = self.transaction(script, rng, unique) {
            return planned;
        }
        if rng.below(100) < self.asides {
            return self.aside(script, rng, unique);
        }
        let request = self.request(script.db, rng, unique);
        self.queued_or_run(script, request)
    }

    /// A request as it stands, to be looked at by the model.
    pub(crate) fn plain(&self, db: u8, words: &[&str]) -> Planned {
        let request = Request { db, words: words.iter().map(|word| (*word).to_owned()).collect() };
        self.queued_or_run(&mut Script::default(), request)
    }

    fn queued_or_run(&self, script: &mut Script, request: Request) -> Planned {
        let words = request.words.clone();
        let plan = match &mut script.queue {
            Some((queue, _)) => {
                queue.push(request);
                Plan::Fixed(Expect::Exactly(Value::simple("QUEUED")))
            }
            None => self.act(Action::Run(request), &[]),
        };
        Planned { words, plan }
    }

    fn act(&self, action: Action, watched: &[Name]) -> Plan {
        let touched = action.touched();
        let names: BTreeSet<Name> = touched.names.iter().chain(watched).cloned().collect();
        let shards: BTreeSet<ShardId> =
            names.iter().map(|name| shard_of_key(name.1.as_bytes(), self.shards)).collect();
        let alone = touched.everything || shards.len() > 1 || action.is_blocking();
        let watches = !matches!(action, Action::Run(_));
        let scope = Scope {
            names,
            everything: touched.everything,
            writes: touched.writes || watches,
            watches,
            alone,
        };
        Plan::Act(action, scope)
    }

    /// MULTI, WATCH and what belongs to them.
    fn transaction(&self, script: &mut Script, rng: &mut Prng, unique: u64) -> Option<Planned> {
        let planned = |words: &[&str], plan| {
            Some(Planned { words: words.iter().map(|word| (*word).to_owned()).collect(), plan })
        };
        if let Some((queue, is_bad)) = &mut script.queue {
            match rng.below(12) {
                0..4 if !queue.is_empty() || rng.below(4) == 0 => {
                    let (queue, is_bad) = script.queue.take()?;
                    let watched = std::mem::take(&mut script.watched);
                    let action = if is_bad { Action::ExecAborted } else { Action::Exec(queue) };
                    return planned(&["EXEC"], self.act(action, &watched));
                }
                4 if rng.below(3) == 0 => {
                    script.queue = None;
                    script.watched.clear();
                    return planned(&["DISCARD"], self.act(Action::Discard, &[]));
                }
                5 if rng.below(4) == 0 => {
                    *is_bad = true;
                    let error = "ERR wrong number of arguments for 'get' command";
                    return planned(&["GET"], Plan::Fixed(Expect::Exactly(Value::error(error))));
                }
                _ => {}
            }
            let request = self.request(script.db, rng, unique);
            return Some(self.queued_or_run(script, request));
        }
        if rng.below(100) >= self.transactions {
            return None;
        }
        match rng.below(5) {
            0..3 => {
                script.queue = Some((Vec::new(), false));
                planned(&["MULTI"], Plan::Fixed(Expect::Exactly(Value::ok())))
            }
            3 if !script.watched.is_empty() => {
                script.watched.clear();
                planned(&["UNWATCH"], self.act(Action::Unwatch, &[]))
            }
            _ => {
                let names: Vec<Name> =
                    (0..=rng.below(2)).map(|_| (script.db, self.key(rng).as_str().into())).collect();
                script.watched.extend(names.iter().cloned());
                let words: Vec<&str> =
                    std::iter::once("WATCH").chain(names.iter().map(|name| &*name.1)).collect();
                planned(&words, self.act(Action::Watch(names.clone()), &[]))
            }
        }
    }

    /// Something between the commands that changes no data.
    fn aside(&self, script: &mut Script, rng: &mut Prng, unique: u64) -> Planned {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match rng.below(3) {
            0 => {
                script.db = rng.below(u64::from(self.databases)) as u8;
                let words = words(&["SELECT", &script.db.to_string()]);
                Planned { words, plan: Plan::Fixed(Expect::Exactly(Value::ok())) }
            }
            1 if unique % 4 > 0 => {
                let core = (unique / 4).to_string();
                let words = words(&["DEBUG", "MOVE-CLIENT", &core]);
                Planned { words, plan: Plan::Fixed(Expect::Exactly(Value::ok())) }
            }
            1 => {
                let words = words(&["PING"]);
                Planned { words, plan: Plan::Fixed(Expect::Exactly(Value::simple("PONG"))) }
            }
            _ => {
                let question = QUESTIONS[rng.below(QUESTIONS.len() as u64) as usize];
                Planned { words: words(question), plan: Plan::Fixed(Expect::Success) }
            }
        }
    }

    fn key(&self, rng: &mut Prng) -> String {
        self.keys[rng.below(self.keys.len() as u64) as usize].clone()
    }

    /// A random command with random arguments.
    pub(crate) fn request(&self, db: u8, rng: &mut Prng, unique: u64) -> Request {
        let name = self.commands[rng.below(self.commands.len() as u64) as usize];
        let mut words = vec![name.to_owned()];
        words.extend(self.arguments(name, rng, unique));
        Request { db, words }
    }

    fn arguments(&self, name: &str, rng: &mut Prng, unique: u64) -> Vec<String> {
        fn pick(rng: &mut Prng, words: &[&str]) -> Vec<String> {
            let word = words[rng.below(words.len() as u64) as usize];
            word.split_whitespace().map(str::to_owned).collect()
        }
        let value = || unique.to_string();
        let small = |rng: &mut Prng| rng.below(4).to_string();
        let lifetime = |rng: &mut Prng| (1 + rng.below(20)).to_string();
        let side = |rng: &mut Prng| pick(rng, &["LEFT", "RIGHT"]);
        let key = self.key(rng);
        let keys = |rng: &mut Prng| (0..=rng.below(3)).map(|_| self.key(rng)).collect::<Vec<String>>();
        let mut words = vec![key];
        match name {
            "SET" => {
                words.push(value());
                words
                    .extend(pick(rng, &["", "", "", "NX", "XX", "GET", "KEEPTTL", "PX", "XX GET", "NX GET"]));
                if words.last().is_some_and(|word| word == "PX") {
                    words.push(lifetime(rng));
                }
            }
            "SETNX" | "GETSET" => words.push(value()),
            "GETEX" => {
                words.extend(pick(rng, &["", "PERSIST", "PX"]));
                if words.last().is_some_and(|word| word == "PX") {
                    words.push(lifetime(rng));
                }
            }
            "INCRBY" => words.push(small(rng)),
            "APPEND" => words.push((unique % 10).to_string()),
            "SETRANGE" => words.extend([small(rng), (unique % 100).to_string()]),
            "GETRANGE" => words.extend([small(rng), small(rng)]),
            "MGET" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" | "SUNION" | "SINTER" | "SDIFF"
            | "SUNIONSTORE" | "SINTERSTORE" | "SDIFFSTORE" => words.extend(keys(rng)),
            "MSET" | "MSETNX" => {
                words.push(value());
                words.extend(keys(rng).into_iter().flat_map(|key| [key, value()]));
            }
            "RENAME" | "RENAMENX" => words.push(self.key(rng)),
            "COPY" => {
                words.push(self.key(rng));
                if rng.below(3) == 0 {
                    words.extend(["DB".to_owned(), rng.below(u64::from(self.databases)).to_string()]);
                }
                words.extend(pick(rng, &["", "REPLACE"]));
            }
            "PEXPIRE" => {
                words.push(if rng.below(8) == 0 { "0".to_owned() } else { lifetime(rng) });
                words.extend(pick(rng, &["", "", "", "NX", "XX", "GT", "LT"]));
            }
            "KEYS" => words = vec!["*".to_owned()],
            "DBSIZE" | "RANDOMKEY" | "FLUSHDB" | "FLUSHALL" => words.clear(),
            "SWAPDB" => words = vec!["0".to_owned(), rng.below(u64::from(self.databases)).to_string()],
            "LPUSH" | "RPUSH" => words.push(value()),
            "LRANGE" => words.extend(["0".to_owned(), "-1".to_owned()]),
            "LINDEX" => words.push("0".to_owned()),
            "LMOVE" | "BLMOVE" => {
                words.push(self.key(rng));
                words.extend(side(rng));
                words.extend(side(rng));
            }
            "SADD" | "SREM" | "SISMEMBER" | "HGET" | "HDEL" | "ZREM" | "ZSCORE" => words.push(small(rng)),
            "SMOVE" => words.extend([self.key(rng), small(rng)]),
            "HSET" => words.extend([small(rng), value()]),
            "ZADD" | "ZINCRBY" => words.extend([small(rng), small(rng)]),
            "ZRANGE" => words.extend(["0", "-1", "WITHSCORES"].map(str::to_owned)),
            "BLPOP" | "BRPOP" if rng.below(2) == 0 => words.push(self.key(rng)),
            _ => {}
        }
        if ["BLPOP", "BRPOP", "BLMOVE"].contains(&name) {
            words.extend(pick(rng, &["0", "0.005", "0.02"]));
        }
        words
    }
}
