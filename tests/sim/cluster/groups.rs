//! Groups of keys that change together, and whether what was read of one can have been there at one moment.
//!
//! A group has one writer. Each of its transactions has a number that no other has had, larger than all before, and
//! leaves that number in every key of the group, or in exactly one of them. So two numbers in one reading, or none or
//! two where there is to be one, are half of a transaction. And what a node has shown, or is known to have, it has for
//! as long as its data is not replaced: a link that comes back goes on from there, and a promotion leaves it.

use std::collections::BTreeSet;

use ringward::base::prng::Prng;

use crate::reply::Value;

/// What the keys of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All strings, with the same number.
    Same,
    /// One string, which goes from key to key.
    Token,
    /// One member of one of several sets.
    Member,
    /// One element of one of several lists.
    Element,
}

const KINDS: [Kind; 4] = [Kind::Same, Kind::Token, Kind::Member, Kind::Element];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) keys: Vec<String>,
    /// Whether keys may go by themselves, each at its own time.
    pub(crate) may_vanish: bool,
    /// Whether there are commands that delete all of it.
    pub(crate) is_deleted: bool,
    last: u64,
    /// Numbers of which nobody knows whether they were or will be written: their writer was cut off.
    lost: BTreeSet<u64>,
    /// By node: what its data is known to have, and which data that was.
    floors: Vec<(u64, u64)>,
}

/// A transaction as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) number: u64,
    pub(crate) requests: Vec<Vec<String>>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Group {
    pub(crate) fn draw(at: usize, nodes: usize, may_vanish: bool, is_deleted: bool, rng: &mut Prng) -> Group {
        let keys = 2 + rng.below(3);
        let kind = KINDS[rng.below(4) as usize];
        Group {
            kind,
            keys: (0..keys).map(|key| format!("g{at}-{key}")).collect(),
            may_vanish,
            is_deleted,
            last: 0,
            lost: BTreeSet::new(),
            floors: vec![(0, 0); nodes],
        }
    }

    /// The next transaction.
    pub(crate) fn write(&mut self, now_ms: i64, rng: &mut Prng) -> Written {
        self.last += 1;
        let number = self.last.to_string();
        let (one, other) = self.two(rng);
        let others = self.keys.iter().filter(|key| **key != one);
        let mut requests = vec![words(&["MULTI"])];
        let one = one.as_str();
        match self.kind {
            Kind::Same => match rng.below(4) {
                0 | 1 => {
                    let pairs = self.keys.iter().flat_map(|key| [key.clone(), number.clone()]);
                    let request = std::iter::once("MSET".to_owned()).chain(pairs).collect();
                    return Written { number: self.last, requests: vec![request] };
                }
                2 if self.may_vanish => {
                    let at = (now_ms + 1 + rng.below(300) as i64).to_string();
                    requests.extend(self.keys.iter().map(|key| words(&["SET", key, &number, "PXAT", &at])));
                }
                2 => {
                    requests.push(words(&["SET", one, &number]));
                    requests.extend(others.map(|key| words(&["COPY", one, key, "REPLACE"])));
                }
                _ => requests.extend(self.keys.iter().map(|key| words(&["SET", key, &number]))),
            },
            Kind::Token => {
                requests.push(std::iter::once("DEL".to_owned()).chain(others.cloned()).collect());
                requests.push(words(&["SET", one, &number]));
                if rng.below(2) == 0 {
                    requests.push(words(&["RENAME", one, &other]));
                }
            }
            Kind::Member => {
                requests.push(std::iter::once("DEL".to_owned()).chain(self.keys.iter().cloned()).collect());
                requests.push(words(&["SADD", one, &number]));
                if rng.below(2) == 0 {
                    requests.push(words(&["SMOVE", one, &other, &number]));
                }
            }
            Kind::Element => {
                requests.push(std::iter::once("DEL".to_owned()).chain(self.keys.iter().cloned()).collect());
                requests.push(words(&["RPUSH", one, &number]));
                if rng.below(2) == 0 {
                    requests.push(words(&["LMOVE", one, &other, "LEFT", "RIGHT"]));
                }
            }
        }
        requests.push(words(&["EXEC"]));
        Written { number: self.last, requests }
    }

    /// A command that changes where the number is, or deletes everything.
    pub(crate) fn shuffle(&self, rng: &mut Prng) -> Option<Vec<String>> {
        if self.is_deleted && rng.below(10) == 0 {
            let name = if rng.below(2) == 0 { "DEL" } else { "UNLINK" };
            return Some(std::iter::once(name.to_owned()).chain(self.keys.iter().cloned()).collect());
        }
        let (one, other) = self.two(rng);
        match self.kind {
            Kind::Same => None,
            Kind::Token => Some(words(&["RENAME", &one, &other])),
            Kind::Member => Some(words(&["SMOVE", &one, &other, &self.last.to_string()])),
            Kind::Element => Some(match rng.below(3) {
                0 => words(&["BLMOVE", &one, &other, "LEFT", "LEFT", "0.01"]),
                1 => words(&["RPOPLPUSH", &one, &other]),
                _ => words(&["LMOVE", &one, &other, "RIGHT", "LEFT"]),
            }),
        }
    }

    fn two(&self, rng: &mut Prng) -> (String, String) {
        let count = self.keys.len() as u64;
        let one = rng.below(count) as usize;
        let other = (one + 1 + rng.below(count - 1) as usize) % self.keys.len();
        (self.keys[one].clone(), self.keys[other].clone())
    }

    /// A reading of all keys at one moment.
    pub(crate) fn read(&self, rng: &mut Prng) -> Vec<Vec<String>> {
        let is_string = matches!(self.kind, Kind::Same | Kind::Token);
        if is_string && rng.below(2) == 0 {
            return vec![std::iter::once("MGET".to_owned()).chain(self.keys.iter().cloned()).collect()];
        }
        let one = |key: &String| match self.kind {
            Kind::Same | Kind::Token => words(&["GET", key]),
            Kind::Member => words(&["SMEMBERS", key]),
            Kind::Element => words(&["LRANGE", key, "0", "-1"]),
        };
        let reads = self.keys.iter().map(one);
        std::iter::once(words(&["MULTI"])).chain(reads).chain([words(&["EXEC"])]).collect()
    }

    /// The node has this number: its writer was told so, it was read there, or a replica has acknowledged it.
    pub(crate) fn has(&mut self, node: usize, number: u64, data: u64) {
        self.floors[node] = (self.floor(node, data).max(number), data);
    }

    /// What the node is known to have.
    pub(crate) fn floor(&self, node: usize, data: u64) -> u64 {
        let (floor, of) = self.floors[node];
        if of == data {
            floor
        } else {
            0
        }
    }

    /// Nobody will know what becomes of it.
    pub(crate) fn lose(&mut self, number: u64) {
        self.lost.insert(number);
    }

    /// What was under way is over by now, one way or the other.
    pub(crate) fn settle(&mut self) {
        self.lost.clear();
        self.floors.iter_mut().for_each(|floor| *floor = (0, 0));
    }

    /// What was read on a node that was known to have `floor` before it was asked. The number.
    ///
    /// # Errors
    /// It cannot have been there at one moment, or was there no more.
    pub(crate) fn judge(&self, node: usize, reply: &Value, floor: u64) -> Result<Option<u64>, String> {
        let Value::Array(items) = reply else { return Ok(None) };
        let mut numbers = Vec::new();
        for item in items {
            match item {
                Value::Bulk(text) => numbers.push(text.clone()),
                Value::Array(inner) => numbers.extend(inner.iter().filter_map(|item| match item {
                    Value::Bulk(text) => Some(text.clone()),
                    _ => None,
                })),
                Value::Error(_) => return Ok(None),
                _ => {}
            }
        }
        let (kind, keys) = (self.kind, self.keys.len());
        let wanted = if kind == Kind::Same { keys } else { 1 };
        let is_whole = numbers.len() == wanted || self.may_vanish && numbers.len() < wanted;
        if !(is_whole || numbers.is_empty()) || numbers.iter().any(|number| *number != numbers[0]) {
            return Err(format!(
                "half of a transaction is seen on node {node}: {reply} in {kind:?} {:?}",
                self.keys
            ));
        }
        let Some(number) = numbers.first().and_then(|number| number.parse::<u64>().ok()) else {
            if floor > 0 && !self.is_deleted && !self.may_vanish {
                return Err(format!("node {node} had {floor} in {kind:?} {:?}, and has nothing", self.keys));
            }
            return Ok(None);
        };
        if number < floor && !self.lost.contains(&number) {
            return Err(format!("node {node} had {floor} in {kind:?} {:?}, and has {number}", self.keys));
        }
        Ok(Some(number))
    }
}
