//! Lists, sets, hashes, sorted sets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{argument, bulk_or_null, exactly, int, Data, Name, Outcome, State};
use crate::reply::{Expect, Value};

type List = VecDeque<String>;
type Set = BTreeSet<String>;
type Hash = BTreeMap<String, String>;
type Sorted = BTreeMap<String, i64>;

fn pop(list: &mut List, side: &str) -> Option<String> {
    match side {
        "LEFT" => list.pop_front(),
        _ => list.pop_back(),
    }
}

fn push(list: &mut List, side: &str, element: String) {
    match side {
        "LEFT" => list.push_front(element),
        _ => list.push_back(element),
    }
}

/// By score, then by name.
fn ranked(sorted: &Sorted) -> Vec<(&String, i64)> {
    let mut members: Vec<_> = sorted.iter().map(|(member, score)| (member, *score)).collect();
    members.sort_by_key(|&(member, score)| (score, member));
    members
}

impl State {
    /// `None` if it is no command of this family.
    pub(super) fn lists(&mut self, db: u8, words: &[&str]) -> Option<Outcome> {
        let name: Name = (db, words.get(1).copied().unwrap_or_default().into());
        let side = if words[0].contains("LP") { "LEFT" } else { "RIGHT" };
        Some(match *words {
            ["LPUSH" | "RPUSH", _, ref elements @ ..] => self
                .edit(&name, |list: &mut List| {
                    elements.iter().for_each(|element| push(list, side, (*element).into()));
                    list.len()
                })
                .and_then(int),
            ["LPOP" | "RPOP", _] => {
                self.edit(&name, |list: &mut List| pop(list, side)).and_then(|out| exactly(bulk_or_null(out)))
            }
            ["LRANGE", _, "0", "-1"] => self.value(&name).and_then(|list: List| exactly(Value::bulks(list))),
            ["LLEN", _] => self.value(&name).and_then(|list: List| int(list.len())),
            ["LINDEX", _, "0"] => {
                self.value(&name).and_then(|list: List| exactly(bulk_or_null(list.front().cloned())))
            }
            ["LMOVE", _, target, from, to] | ["BLMOVE", _, target, from, to, _] => {
                self.move_element(&name, &(db, target.into()), from, to)
            }
            ["BLPOP" | "BRPOP", ref keys @ .., _] => self.pop_first(db, keys, side),
            _ => return None,
        })
    }

    fn move_element(&mut self, source: &Name, target: &Name, from: &str, to: &str) -> Outcome {
        // What the target is does not matter where there is nothing to move.
        if self.read::<List>(source)?.is_none() {
            return exactly(Value::Null);
        }
        self.read::<List>(target)?;
        if source == target {
            // The list is never empty in between: it stays, and so does its expiry.
            let element = self.edit(source, |list: &mut List| {
                let element = pop(list, from).expect("no list is empty");
                push(list, to, element.clone());
                element
            })?;
            return exactly(Value::Bulk(element));
        }
        let element = self.edit(source, |list: &mut List| pop(list, from))?.expect("no list is empty");
        self.edit(target, |list: &mut List| push(list, to, element.clone()))?;
        exactly(Value::Bulk(element))
    }

    /// From the first list that is there; nothing from none is what a client is told whose time is up.
    fn pop_first(&mut self, db: u8, keys: &[&str], side: &str) -> Outcome {
        for key in keys {
            if let Some(element) = self.edit(&(db, (*key).into()), |list: &mut List| pop(list, side))? {
                return exactly(Value::bulks([(*key).to_owned(), element]));
            }
        }
        exactly(Value::NullArray)
    }

    /// `None` if it is no command of this family.
    pub(super) fn sets(&mut self, db: u8, words: &[&str]) -> Option<Outcome> {
        let name: Name = (db, words.get(1).copied().unwrap_or_default().into());
        Some(match *words {
            ["SADD", _, ref members @ ..] => self
                .edit(&name, |set: &mut Set| members.iter().filter(|m| set.insert((**m).into())).count())
                .and_then(int),
            ["SREM", _, ref members @ ..] => self
                .edit(&name, |set: &mut Set| members.iter().filter(|member| set.remove(**member)).count())
                .and_then(int),
            ["SMOVE", _, target, member] => self.move_member(&name, &(db, target.into()), member),
            ["SCARD", _] => self.value(&name).and_then(|set: Set| int(set.len())),
            ["SISMEMBER", _, member] => {
                self.value(&name).and_then(|set: Set| int(usize::from(set.contains(member))))
            }
            ["SMEMBERS", _] => self.combine(db, "SUNION", &words[1..]).map(any_order),
            ["SUNION" | "SINTER" | "SDIFF", ref keys @ ..] => self.combine(db, words[0], keys).map(any_order),
            ["SUNIONSTORE" | "SINTERSTORE" | "SDIFFSTORE", _, ref keys @ ..] => {
                self.combine(db, words[0], keys).and_then(|set| {
                    let len = set.len();
                    if set.is_empty() {
                        self.remove(&name);
                    } else {
                        self.put(&name, Data::Set(set), None);
                    }
                    int(len)
                })
            }
            _ => return None,
        })
    }

    fn move_member(&mut self, source: &Name, target: &Name, member: &str) -> Outcome {
        if !self.keys.contains_key(source) {
            return int(0);
        }
        let is_there = self.value::<Set>(source)?.contains(member);
        self.read::<Set>(target)?;
        if is_there && source != target {
            self.edit(source, |set: &mut Set| set.remove(member))?;
            self.edit(target, |set: &mut Set| set.insert(member.into()))?;
        }
        int(usize::from(is_there))
    }

    fn combine(&self, db: u8, operation: &str, keys: &[&str]) -> Result<Set, Value> {
        let sets = keys.iter().map(|key| self.value::<Set>(&(db, (*key).into())));
        let sets: Vec<Set> = sets.collect::<Result<_, _>>()?;
        let (first, rest) = sets.split_first().expect("a key");
        Ok(rest.iter().fold(first.clone(), |set, other| match operation {
            "SUNION" | "SUNIONSTORE" => &set | other,
            "SINTER" | "SINTERSTORE" => &set & other,
            _ => &set - other,
        }))
    }

    /// `None` if it is no command of this family.
    pub(super) fn hashes(&mut self, db: u8, words: &[&str]) -> Option<Outcome> {
        let name: Name = (db, words.get(1).copied().unwrap_or_default().into());
        Some(match *words {
            ["HSET", _, field, value] => self
                .edit(&name, |hash: &mut Hash| hash.insert(field.into(), value.into()).is_none())
                .and_then(|is_new| int(usize::from(is_new))),
            ["HGET", _, field] => {
                self.value(&name).and_then(|hash: Hash| exactly(bulk_or_null(hash.get(field).cloned())))
            }
            ["HDEL", _, field] => self
                .edit(&name, |hash: &mut Hash| hash.remove(field).is_some())
                .and_then(|was_there| int(usize::from(was_there))),
            ["HLEN", _] => self.value(&name).and_then(|hash: Hash| int(hash.len())),
            ["HKEYS", _] => self.value(&name).map(|hash: Hash| any_order(hash.into_keys().collect())),
            _ => return None,
        })
    }

    /// `None` if it is no command of this family.
    pub(super) fn sorted_sets(&mut self, db: u8, words: &[&str]) -> Option<Outcome> {
        let name: Name = (db, words.get(1).copied().unwrap_or_default().into());
        Some(match *words {
            ["ZADD", _, score, member] => self
                .edit(&name, |sorted: &mut Sorted| sorted.insert(member.into(), argument(score)).is_none())
                .and_then(|is_new| int(usize::from(is_new))),
            ["ZINCRBY", _, by, member] => self
                .edit(&name, |sorted: &mut Sorted| {
                    let score = sorted.entry(member.into()).or_default();
                    *score += argument(by);
                    *score
                })
                .and_then(|score| exactly(Value::bulk(score.to_string()))),
            ["ZREM", _, member] => self
                .edit(&name, |sorted: &mut Sorted| sorted.remove(member).is_some())
                .and_then(|was_there| int(usize::from(was_there))),
            ["ZPOPMIN", _] => self
                .edit(&name, |sorted: &mut Sorted| {
                    let (member, score) = ranked(sorted).into_iter().next()?;
                    let member = member.clone();
                    sorted.remove(&member);
                    Some([member, score.to_string()])
                })
                .and_then(|popped| exactly(Value::bulks(popped.into_iter().flatten()))),
            ["ZSCORE", _, member] => self
                .value(&name)
                .and_then(|sorted: Sorted| exactly(bulk_or_null(sorted.get(member).map(i64::to_string)))),
            ["ZCARD", _] => self.value(&name).and_then(|sorted: Sorted| int(sorted.len())),
            ["ZRANGE", _, "0", "-1", "WITHSCORES"] => self.value(&name).and_then(|sorted: Sorted| {
                let members = ranked(&sorted).into_iter();
                exactly(Value::bulks(members.flat_map(|(member, score)| [member.clone(), score.to_string()])))
            }),
            _ => return None,
        })
    }
}

fn any_order(texts: BTreeSet<String>) -> Expect {
    Expect::AnyOrder(texts.into_iter().map(Value::Bulk).collect())
}
