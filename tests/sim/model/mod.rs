//! A single-threaded reference of the commands that the simulator sends: plain maps, written from Redis's
//! documentation.
//!
//! Commands arrive with their names in capitals and with arguments that are sound; what depends on the data (types,
//! numbers, keys that are missing) is answered as Redis does, to the error's text.
//!
//! Promise: `State` is a value. Equal states behave equally for ever, so the checker may put them together.

mod collections;
mod generic;
mod strings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use crate::reply::{Expect, Value};

/// A key in its database.
pub(crate) type Name = (u8, Rc<str>);

/// A command with its arguments, and the database that it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) db: u8,
    pub(crate) words: Vec<String>,
}

/// Something that takes place at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A command by itself. One that blocks takes place when it is served or gives up.
    Run(Request),
    Watch(Vec<Name>),
    Unwatch,
    /// What was queued between MULTI and EXEC.
    Exec(Vec<Request>),
    /// EXEC after a command that could not be queued.
    ExecAborted,
    Discard,
}

/// The keys that an action has to do with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) names: Vec<Name>,
    /// Whole databases: all keys, also those that do not exist.
    pub(crate) everything: bool,
    pub(crate) writes: bool,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    data: Data,
    /// When it expires, in milliseconds.
    expires: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Data {
    Text(String),
    List(VecDeque<String>),
    Set(BTreeSet<String>),
    Hash(BTreeMap<String, String>),
    /// The scores of a sorted set's members.
    Sorted(BTreeMap<String, i64>),
}

/// What a client watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Watch {
    names: BTreeSet<Name>,
    is_dirty: bool,
}

/// The server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    now_ms: i64,
    keys: BTreeMap<Name, Rc<Entry>>,
    /// Keys that have expired since they were last written: DBSIZE may still count them.
    zombies: BTreeSet<Name>,
    watches: BTreeMap<usize, Watch>,
}

/// What an error is to a command that is under way.
type Outcome = Result<Expect, Value>;

fn exactly(value: Value) -> Outcome {
    Ok(Expect::Exactly(value))
}

fn int(number: usize) -> Outcome {
    exactly(Value::int(number))
}

fn wrong_type() -> Value {
    Value::error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

fn bulk_or_null(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Bulk)
}

/// A decimal integer as Redis takes it: no sign but a minus, no leading zeros.
fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

fn argument(text: &str) -> i64 {
    text.parse().expect("the workload's numbers are numbers")
}

impl Action {
    /// Whether it is answered only when there is something to give, or its time is up.
    pub(crate) fn is_blocking(&self) -> bool {
        matches!(self, Action::Run(request) if matches!(request.words[0].as_str(), "BLPOP" | "BRPOP" | "BLMOVE"))
    }

    pub(crate) fn touched(&self) -> Touched {
        match self {
            Action::Run(request) => request.touched(),
            Action::Watch(names) => Touched { names: names.clone(), ..Touched::default() },
            Action::Unwatch | Action::Discard | Action::ExecAborted => Touched::default(),
            Action::Exec(requests) => {
                requests.iter().map(Request::touched).fold(Touched::default(), Touched::with)
            }
        }
    }
}

impl Touched {
    fn with(mut self, other: Touched) -> Touched {
        self.names.extend(other.names);
        Touched {
            names: self.names,
            everything: self.everything || other.everything,
            writes: self.writes || other.writes,
        }
    }
}

impl Request {
    fn name(&self, key: &str) -> Name {
        (self.db, key.into())
    }

    fn touched(&self) -> Touched {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let keys: &[&str] = match words[0] {
            "DBSIZE" | "KEYS" | "RANDOMKEY" => {
                return Touched { everything: true, ..Touched::default() };
            }
            "FLUSHALL" | "FLUSHDB" | "SWAPDB" => {
                return Touched { everything: true, writes: true, names: Vec::new() };
            }
            "MSET" | "MSETNX" => {
                let names = words[1..].iter().step_by(2).map(|key| self.name(key)).collect();
                return Touched { names, writes: true, everything: false };
            }
            "COPY" => {
                let target_db = match words[3..] {
                    ["DB", db, ..] => argument(db) as u8,
                    _ => self.db,
                };
                let names = vec![self.name(words[1]), (target_db, words[2].into())];
                return Touched { names, writes: true, everything: false };
            }
            "MGET" | "EXISTS" | "TOUCH" | "DEL" | "UNLINK" | "SUNION" | "SINTER" | "SDIFF"
            | "SUNIONSTORE" | "SINTERSTORE" | "SDIFFSTORE" => &words[1..],
            "RENAME" | "RENAMENX" | "LMOVE" | "BLMOVE" | "SMOVE" => &words[1..3],
            "BLPOP" | "BRPOP" => &words[1..words.len() - 1],
            _ => &words[1..2],
        };
        let reads = matches!(
            words[0],
            "GET"
                | "MGET"
                | "EXISTS"
                | "TOUCH"
                | "STRLEN"
                | "GETRANGE"
                | "TYPE"
                | "PTTL"
                | "PEXPIRETIME"
                | "LRANGE"
                | "LLEN"
                | "LINDEX"
                | "SCARD"
                | "SMEMBERS"
                | "SISMEMBER"
                | "SUNION"
                | "SINTER"
                | "SDIFF"
                | "HGET"
                | "HLEN"
                | "HKEYS"
                | "ZRANGE"
                | "ZSCORE"
                | "ZCARD"
                | "ZRANK"
        );
        Touched { names: keys.iter().map(|key| self.name(key)).collect(), everything: false, writes: !reads }
    }
}

impl Entry {
    /// The command that reads a key of a type, as TYPE names it, whole.
    pub(crate) fn reader<'a>(kind: &str, key: &'a str) -> Vec<&'a str> {
        match kind {
            "string" => vec!["GET", key],
            "list" => vec!["LRANGE", key, "0", "-1"],
            "set" => vec!["SMEMBERS", key],
            "hash" => vec!["HGETALL", key],
            "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
            other => panic!("a key of type {other}"),
        }
    }

    /// A key as it was read, with what PEXPIRETIME says of it.
    pub(crate) fn read(kind: &str, value: &Value, expires: i64) -> Entry {
        let texts = || {
            let Value::Array(items) = value else { panic!("{value} of a {kind}") };
            let texts = items.iter().map(|item| match item {
                Value::Bulk(text) => text.clone(),
                other => panic!("{other} in a {kind}"),
            });
            texts.collect::<Vec<String>>()
        };
        let pairs = || -> Vec<(String, String)> {
            texts().chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
        };
        let data = match (kind, value) {
            ("string", Value::Bulk(text)) => Data::Text(text.clone()),
            ("list", _) => Data::List(texts().into()),
            ("set", _) => Data::Set(texts().into_iter().collect()),
            ("hash", _) => Data::Hash(pairs().into_iter().collect()),
            ("zset", _) => {
                Data::Sorted(pairs().into_iter().map(|(member, score)| (member, argument(&score))).collect())
            }
            _ => panic!("{value} of a {kind}"),
        };
        Entry { data, expires: (expires >= 0).then_some(expires) }
    }

    /// Whether it is still there at this time.
    pub(crate) fn lives(&self, now_ms: i64) -> bool {
        self.expires.is_none_or(|at| at >= now_ms)
    }
}

impl State {
    /// An empty server.
    pub(crate) fn new(now_ms: i64) -> State {
        State { now_ms, keys: BTreeMap::new(), zombies: BTreeSet::new(), watches: BTreeMap::new() }
    }

    /// All keys.
    pub(crate) fn content(&self) -> &BTreeMap<Name, Rc<Entry>> {
        &self.keys
    }

    /// A key holds this from now on, or is not there.
    pub(crate) fn hold(&mut self, name: Name, entry: Option<Rc<Entry>>) {
        match entry {
            Some(entry) => self.keys.insert(name, entry),
            None => self.keys.remove(&name),
        };
    }

    /// Carries out an action of a client; what its reply may be.
    pub(crate) fn act(&mut self, client: usize, action: &Action) -> Expect {
        match action {
            // Who has waited is told so by a null array, whatever the command and whatever the key holds by then.
            Action::Run(request) if action.is_blocking() => match self.run(request) {
                Expect::Exactly(Value::Null) => Expect::Exactly(Value::NullArray),
                Expect::Exactly(error @ Value::Error(_)) => Expect::OneOf(vec![error, Value::NullArray]),
                expected => expected,
            },
            Action::Run(request) => self.run(request),
            Action::Watch(names) => {
                self.watches.entry(client).or_default().names.extend(names.iter().cloned());
                Expect::Exactly(Value::ok())
            }
            Action::Unwatch | Action::Discard => {
                self.watches.remove(&client);
                Expect::Exactly(Value::ok())
            }
            Action::ExecAborted => {
                self.watches.remove(&client);
                Expect::Exactly(Value::error("EXECABORT Transaction discarded because of previous errors."))
            }
            Action::Exec(requests) => {
                if self.watches.remove(&client).is_some_and(|watch| watch.is_dirty) {
                    return Expect::Exactly(Value::NullArray);
                }
                Expect::Each(requests.iter().map(|request| self.run(request)).collect())
            }
        }
    }

    /// A client is gone.
    pub(crate) fn forget(&mut self, client: usize) {
        self.watches.remove(&client);
    }

    /// Time goes on: keys expire. Redis takes a key as expired once the clock has passed its time.
    pub(crate) fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        let expired: Vec<Name> = self
            .keys
            .iter()
            .filter(|(_, entry)| entry.expires.is_some_and(|at| at < now_ms))
            .map(|(name, _)| name.clone())
            .collect();
        for name in expired {
            self.remove(&name);
            self.zombies.insert(name);
        }
    }

    /// Whether a client that asks for this would have to wait: for an element, or for the key to be a list again.
    pub(crate) fn would_block(&self, action: &Action) -> bool {
        let Action::Run(request) = action else { return false };
        let expected = self.clone().run(request);
        matches!(expected, Expect::Exactly(Value::Null | Value::NullArray | Value::Error(_)))
    }

    fn run(&mut self, request: &Request) -> Expect {
        let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
        let db = request.db;
        let outcome = self
            .strings(db, &words)
            .or_else(|| self.generic(db, &words))
            .or_else(|| self.lists(db, &words))
            .or_else(|| self.sets(db, &words))
            .or_else(|| self.hashes(db, &words))
            .or_else(|| self.sorted_sets(db, &words));
        outcome.unwrap_or_else(|| panic!("the model does not know {words:?}")).unwrap_or_else(Expect::Exactly)
    }

    /// Writes a key; it keeps no expiry but that of the entry.
    fn put(&mut self, name: &Name, data: Data, expires: Option<i64>) {
        self.keys.insert(name.clone(), Rc::new(Entry { data, expires }));
        self.zombies.remove(name);
        self.changed(name);
    }

    fn remove(&mut self, name: &Name) -> Option<Rc<Entry>> {
        let entry = self.keys.remove(name)?;
        self.changed(name);
        Some(entry)
    }

    /// Who watches the key will not EXEC; not even the client that has changed it.
    fn changed(&mut self, name: &Name) {
        for watch in self.watches.values_mut().filter(|watch| watch.names.contains(name)) {
            watch.is_dirty = true;
        }
    }

    fn expires(&self, name: &Name) -> Option<i64> {
        self.keys.get(name)?.expires
    }

    /// A key's value, if there is one of this type.
    fn read<T: Typed>(&self, name: &Name) -> Result<Option<&T>, Value> {
        self.keys.get(name).map(|entry| T::of(&entry.data).ok_or_else(wrong_type)).transpose()
    }

    /// A key's value, or an empty one.
    fn value<T: Typed + Clone + Default>(&self, name: &Name) -> Result<T, Value> {
        Ok(self.read::<T>(name)?.cloned().unwrap_or_default())
    }

    /// Changes a collection. One that becomes empty is gone; one that stays as it was has not been touched.
    fn edit<T, R>(&mut self, name: &Name, f: impl FnOnce(&mut T) -> R) -> Result<R, Value>
    where
        T: Typed + Clone + Default + PartialEq,
    {
        let before: T = self.value(name)?;
        let mut after = before.clone();
        let result = f(&mut after);
        if after != before {
            if after == T::default() {
                self.remove(name);
            } else {
                self.put(name, after.into_data(), self.expires(name));
            }
        }
        Ok(result)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.now_ms)?;
        for ((db, key), entry) in &self.keys {
            write!(f, ", {db}/{key} = {:?}", entry.data)?;
            if let Some(at) = entry.expires {
                write!(f, " until {at}")?;
            }
        }
        for (client, Watch { names, is_dirty }) in &self.watches {
            let keys: Vec<String> = names.iter().map(|(db, key)| format!("{db}/{key}")).collect();
            write!(f, ", client {client} watches {}", keys.join(" "))?;
            write!(f, "{}", if *is_dirty { " (changed)" } else { "" })?;
        }
        Ok(())
    }
}

/// The types of values.
trait Typed: Sized {
    fn of(data: &Data) -> Option<&Self>;
    fn into_data(self) -> Data;
}

macro_rules! typed {
    ($($variant:ident: $type:ty),*) => {$(
        impl Typed for $type {
            fn of(data: &Data) -> Option<&Self> {
                match data {
                    Data::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn into_data(self) -> Data {
                Data::$variant(self)
            }
        }
    )*};
}

typed! {
    Text: String,
    List: VecDeque<String>,
    Set: BTreeSet<String>,
    Hash: BTreeMap<String, String>,
    Sorted: BTreeMap<String, i64>
}
