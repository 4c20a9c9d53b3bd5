//! What may be left after a crash: for every shard what came first, no half of a transaction, and nothing missing that
//! had to be there.
//!
//! Every client has keys of its own, so that its operations have one order whatever the others do. What a client has on
//! one shard is a *lane*: each operation that changes it makes a new version of it. A shard's file holds its records in
//! order, so what is left of a lane is one of its versions; and an operation that made versions of several lanes is in
//! all of them or in none.
//!
//! The check asks for versions that are what was found and obey this, as new as can be. Of two choices that do, the
//! newer one of each lane together do, too: so beginning with the newest and giving up only what has to be given up
//! leads to the newest of all, and if that is too old, so is every other.
//!
//! Promise: never a false alarm. What it overlooks: an operation that is missing while another one, on other shards,
//! has read what it wrote.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use ringward::base::key::shard_of_key;

use crate::model::{Entry, Name};

/// What keys hold.
pub(crate) type Content = BTreeMap<Name, Rc<Entry>>;

/// Names an operation.
pub(crate) type OperationNo = usize;

/// A client's keys on one shard: whose, and which.
type LaneName = (String, u16);

/// See the module.
#[derive(Debug)]
pub(crate) struct Survival {
    shards: u16,
    lanes: BTreeMap<LaneName, Lane>,
    operations: Vec<Operation>,
}

#[derive(Debug, Default)]
struct Lane {
    /// What it was at first, and after each operation that changed it, with that operation.
    versions: Vec<(Content, Option<OperationNo>)>,
    /// The oldest version that may be left.
    required: usize,
}

#[derive(Debug)]
struct Operation {
    text: String,
    /// The lanes that it changed, and which version it made there.
    made: Vec<(LaneName, usize)>,
}

/// Whose key it is: `3_a` is client 3's.
fn owner(name: &Name) -> &str {
    name.1.split('_').next().unwrap_or_default()
}

impl Survival {
    /// So many shards begin with this.
    pub(crate) fn new(shards: u16, content: &Content) -> Survival {
        let mut survival = Survival { shards, lanes: BTreeMap::new(), operations: Vec::new() };
        for (lane, content) in survival.divided(content) {
            survival.lanes.insert(lane, Lane { versions: vec![(content, None)], required: 0 });
        }
        survival
    }

    pub(crate) fn shards(&self) -> u16 {
        self.shards
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> usize {
        self.operations.len()
    }

    /// How many versions must be left, of all lanes.
    pub(crate) fn required(&self) -> usize {
        self.lanes.values().map(|lane| lane.required).sum()
    }

    fn lane_of(&self, name: &Name) -> LaneName {
        (owner(name).to_owned(), shard_of_key(name.1.as_bytes(), self.shards).0)
    }

    fn divided(&self, content: &Content) -> BTreeMap<LaneName, Content> {
        let mut lanes: BTreeMap<LaneName, Content> = BTreeMap::new();
        for (name, entry) in content {
            lanes.entry(self.lane_of(name)).or_default().insert(name.clone(), entry.clone());
        }
        lanes
    }

    /// An operation takes place: before and after it all keys hold this.
    pub(crate) fn changed(&mut self, text: String, before: &Content, after: &Content) -> OperationNo {
        let number = self.operations.len();
        let (before, mut after) = (self.divided(before), self.divided(after));
        let mut made = Vec::new();
        for lane in before.keys().filter(|lane| !after.contains_key(*lane)).cloned().collect::<Vec<_>>() {
            after.insert(lane, Content::new());
        }
        for (name, content) in after {
            if before.get(&name) == Some(&content) {
                continue;
            }
            let lane = self.lanes.entry(name.clone()).or_default();
            if lane.versions.is_empty() {
                lane.versions.push((Content::new(), None));
            }
            made.push((name, lane.versions.len()));
            lane.versions.push((content, Some(number)));
        }
        self.operations.push(Operation { text, made });
        number
    }

    /// The operation was refused: it did not take place. Nothing else has changed its lanes since. What the keys of
    /// these lanes hold, of all those that they have held.
    pub(crate) fn undo(&mut self, number: OperationNo) -> BTreeMap<Name, Option<Rc<Entry>>> {
        let mut names = BTreeMap::new();
        for (name, version) in std::mem::take(&mut self.operations[number].made) {
            let lane = self.lanes.get_mut(&name).expect("a lane");
            assert_eq!(version + 1, lane.versions.len(), "only the last one can be undone");
            let undone = lane.versions.pop().expect("its version").0;
            names.extend(undone.into_keys().map(|name| (name, None)));
            let (content, _) = lane.versions.last().expect("the first version");
            names.extend(content.iter().map(|(name, entry)| (name.clone(), Some(entry.clone()))));
        }
        names
    }

    /// This operation, and so everything before it, must be left.
    pub(crate) fn require(&mut self, number: OperationNo) {
        for (name, version) in &self.operations[number].made {
            let lane = self.lanes.get_mut(name).expect("a lane");
            lane.required = lane.required.max(*version);
        }
    }

    /// Whether what was found at this time can be what is left.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, found: &Content, now_ms: i64) -> Result<(), String> {
        let alive = |content: &Content| -> Content {
            let alive = content.iter().filter(|(_, entry)| entry.lives(now_ms));
            alive.map(|(name, entry)| (name.clone(), entry.clone())).collect()
        };
        let mut found = self.divided(&alive(found));
        let mut chosen: BTreeMap<&LaneName, usize> = BTreeMap::new();
        let mut candidates: BTreeMap<&LaneName, Vec<usize>> = BTreeMap::new();
        for (name, lane) in &self.lanes {
            let content = found.remove(name).unwrap_or_default();
            let versions = lane.versions.iter().enumerate();
            let fitting: Vec<usize> = versions
                .filter(|(_, (version, _))| alive(version) == content)
                .map(|(number, _)| number)
                .collect();
            let Some(&newest) = fitting.last() else {
                return Err(format!("it never was like this: {content:?}\n{}", self.lane_shown(name)));
            };
            chosen.insert(name, newest);
            candidates.insert(name, fitting);
        }
        if let Some((name, content)) = found.into_iter().next() {
            return Err(format!("nobody wrote this on shard {}: {content:?}", name.1));
        }
        // Half of a transaction is given up, and what came after it.
        loop {
            let torn = self.operations.iter().find_map(|operation| {
                let is_there = |(lane, version): &(LaneName, usize)| chosen[lane] >= *version;
                let has_some = operation.made.iter().any(is_there);
                let missing = operation.made.iter().find(|made| !is_there(made)).filter(|_| has_some)?;
                Some((operation, missing, operation.made.iter().find(|made| is_there(made))?))
            });
            let Some((operation, missing, there)) = torn else { break };
            let older = candidates[&there.0].iter().rfind(|version| **version < there.1);
            let Some(&older) = older else {
                return Err(format!(
                    "half of a transaction: {}\nit is in\n{}and not in\n{}",
                    operation.text,
                    self.lane_shown(&there.0),
                    self.lane_shown(&missing.0)
                ));
            };
            let (name, _) = self.lanes.get_key_value(&there.0).expect("a lane");
            chosen.insert(name, older);
        }
        for (name, version) in chosen {
            let required = self.lanes[name].required;
            if version < required {
                return Err(format!(
                    "what had to be there is lost: version {required} or later, but it is version {version}\n{}",
                    self.lane_shown(name)
                ));
            }
        }
        Ok(())
    }

    fn lane_shown(&self, name: &LaneName) -> String {
        let mut text = format!("  client {} on shard {} of {}:\n", name.0, name.1, self.shards);
        for (number, (content, operation)) in self.lanes[name].versions.iter().enumerate() {
            let what = operation.map_or("at first", |operation| &self.operations[operation].text);
            let _ = writeln!(text, "    {number}: {what}: {content:?}");
        }
        text
    }
}
