//! Keys of any type, and whole databases.

use std::collections::BTreeSet;

use super::{argument, exactly, int, Data, Entry, Name, Outcome, State};
use crate::reply::{Expect, Value};

impl State {
    /// `None` if it is no command of this family.
    pub(super) fn generic(&mut self, db: u8, words: &[&str]) -> Option<Outcome> {
        let named = |key: &str| -> Name { (db, key.into()) };
        let name = named(words.get(1).copied().unwrap_or_default());
        Some(match *words {
            ["DEL" | "UNLINK", ref keys @ ..] => {
                int(keys.iter().filter(|key| self.remove(&named(key)).is_some()).count())
            }
            ["EXISTS" | "TOUCH", ref keys @ ..] => {
                int(keys.iter().filter(|key| self.keys.contains_key(&named(key))).count())
            }
            ["TYPE", _] => exactly(Value::simple(match self.keys.get(&name).map(|entry| &entry.data) {
                None => "none",
                Some(Data::Text(_)) => "string",
                Some(Data::List(_)) => "list",
                Some(Data::Set(_)) => "set",
                Some(Data::Hash(_)) => "hash",
                Some(Data::Sorted(_)) => "zset",
            })),
            ["RENAME", _, target] => self.rename(&name, &named(target), false),
            ["RENAMENX", _, target] => self.rename(&name, &named(target), true),
            ["COPY", _, target, ref options @ ..] => {
                let at = options.iter().position(|option| *option == "DB");
                let target_db = at.map_or(db, |at| argument(options[at + 1]) as u8);
                self.copy(&name, &(target_db, target.into()), options.contains(&"REPLACE"))
            }
            ["PEXPIRE", _, ms] => self.expire(&name, argument(ms), |_, _| true),
            ["PEXPIRE", _, ms, "NX"] => self.expire(&name, argument(ms), |old, _| old.is_none()),
            ["PEXPIRE", _, ms, "XX"] => self.expire(&name, argument(ms), |old, _| old.is_some()),
            ["PEXPIRE", _, ms, "GT"] => {
                self.expire(&name, argument(ms), |old, new| old.is_some_and(|old| new > old))
            }
            ["PEXPIRE", _, ms, "LT"] => {
                self.expire(&name, argument(ms), |old, new| old.is_none_or(|old| new < old))
            }
            ["PEXPIREAT", _, at] => self.expire(&name, argument(at) - self.now_ms, |_, _| true),
            ["PERSIST", _] => {
                let entry = self.keys.get(&name).cloned().filter(|entry| entry.expires.is_some());
                if let Some(entry) = &entry {
                    self.put(&name, entry.data.clone(), None);
                }
                int(usize::from(entry.is_some()))
            }
            ["PTTL", _] => self.lifetime(&name, self.now_ms),
            ["PEXPIRETIME", _] => self.lifetime(&name, 0),
            ["DBSIZE"] => {
                let live = self.names(db).len() as i64;
                let dead = self.zombies.iter().filter(|name| name.0 == db).count() as i64;
                Ok(Expect::Between(live, live + dead))
            }
            ["KEYS", "*"] => {
                Ok(Expect::AnyOrder(self.names(db).iter().map(|name| Value::bulk(&*name.1)).collect()))
            }
            ["RANDOMKEY"] => {
                let keys: Vec<Value> = self.names(db).iter().map(|name| Value::bulk(&*name.1)).collect();
                Ok(Expect::OneOf(if keys.is_empty() { vec![Value::Null] } else { keys }))
            }
            ["FLUSHDB"] => {
                self.flush(|name| name.0 == db);
                exactly(Value::ok())
            }
            ["FLUSHALL"] => {
                self.flush(|_| true);
                exactly(Value::ok())
            }
            ["SWAPDB", one, other] => {
                self.swap(argument(one) as u8, argument(other) as u8);
                exactly(Value::ok())
            }
            _ => return None,
        })
    }

    fn names(&self, db: u8) -> Vec<Name> {
        self.keys.keys().filter(|name| name.0 == db).cloned().collect()
    }

    fn rename(&mut self, source: &Name, target: &Name, only_new: bool) -> Outcome {
        let Some(entry) = self.keys.get(source).cloned() else { return Err(Value::error("ERR no such key")) };
        let is_refused = only_new && self.keys.contains_key(target);
        if source != target && !is_refused {
            self.remove(source);
            self.put(target, entry.data.clone(), entry.expires);
        }
        match only_new {
            true => int(usize::from(!is_refused)),
            false => exactly(Value::ok()),
        }
    }

    fn copy(&mut self, source: &Name, target: &Name, replace: bool) -> Outcome {
        if source == target {
            return Err(Value::error("ERR source and destination objects are the same"));
        }
        let is_free = replace || !self.keys.contains_key(target);
        let Some(entry) = self.keys.get(source).cloned().filter(|_| is_free) else { return int(0) };
        self.put(target, entry.data.clone(), entry.expires);
        int(1)
    }

    fn expire(&mut self, name: &Name, ms: i64, may: impl Fn(Option<i64>, i64) -> bool) -> Outcome {
        let at = self.now_ms + ms;
        let Some(entry) = self.keys.get(name).cloned().filter(|entry| may(entry.expires, at)) else {
            return int(0);
        };
        if ms <= 0 {
            self.remove(name);
        } else {
            self.put(name, entry.data.clone(), Some(at));
        }
        int(1)
    }

    fn lifetime(&self, name: &Name, since: i64) -> Outcome {
        exactly(Value::Int(match self.keys.get(name).map(|entry| entry.expires) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => at - since,
        }))
    }

    fn flush(&mut self, is_meant: impl Fn(&Name) -> bool) {
        let names: Vec<Name> = self.keys.keys().filter(|name| is_meant(name)).cloned().collect();
        for name in names {
            self.remove(&name);
        }
        self.zombies.retain(|name| !is_meant(name));
    }

    /// To who watches a key, it has changed if it was there before or is there now.
    fn swap(&mut self, one: u8, other: u8) {
        if one == other {
            return;
        }
        let swapped = |name: &Name| match name.0 {
            db if db == one => (other, name.1.clone()),
            db if db == other => (one, name.1.clone()),
            _ => name.clone(),
        };
        let before: BTreeSet<Name> = self.keys.keys().cloned().collect();
        let keys: Vec<(Name, std::rc::Rc<Entry>)> = std::mem::take(&mut self.keys).into_iter().collect();
        self.keys = keys.into_iter().map(|(name, entry)| (swapped(&name), entry)).collect();
        self.zombies = self.zombies.iter().map(swapped).collect();
        let after = self.keys.keys().cloned().collect();
        for name in before.union(&after).filter(|name| [one, other].contains(&name.0)) {
            self.changed(name);
        }
    }
}
