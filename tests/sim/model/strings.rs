//! Strings.

use super::{argument, bulk_or_null, exactly, int, number, wrong_type, Data, Outcome, State};
use crate::reply::Value;

fn not_an_integer() -> Value {
    Value::error("ERR value is not an integer or out of range")
}

impl State {
    /// `None` if it is no command of this family.
    pub(super) fn strings(&mut self, db: u8, words: &[&str]) -> Option<Outcome> {
        let name = (db, words.get(1).copied().unwrap_or_default().into());
        Some(match *words {
            ["GET", _] => self.text(&name).and_then(|text| exactly(bulk_or_null(text))),
            ["SET", _, value, ref options @ ..] => self.set(&name, value, options),
            ["SETNX", _, value] => {
                let is_new = !self.keys.contains_key(&name);
                if is_new {
                    self.put(&name, Data::Text(value.into()), None);
                }
                int(usize::from(is_new))
            }
            ["GETSET", _, value] => self.set(&name, value, &["GET"]),
            ["GETDEL", _] => self.text(&name).and_then(|text| {
                self.remove(&name);
                exactly(bulk_or_null(text))
            }),
            ["GETEX", _, ref options @ ..] => self.text(&name).and_then(|text| {
                let expires = match *options {
                    ["PERSIST"] => None,
                    ["PX", ms] => Some(self.now_ms + argument(ms)),
                    _ => self.expires(&name),
                };
                if let Some(text) = text.clone().filter(|_| expires != self.expires(&name)) {
                    self.put(&name, Data::Text(text), expires);
                }
                exactly(bulk_or_null(text))
            }),
            ["INCR", _] => self.add(&name, 1),
            ["DECR", _] => self.add(&name, -1),
            ["INCRBY", _, by] => self.add(&name, argument(by)),
            ["APPEND", _, more] => self.text(&name).and_then(|text| {
                let text = text.unwrap_or_default() + more;
                let len = text.len();
                self.put(&name, Data::Text(text), self.expires(&name));
                int(len)
            }),
            ["STRLEN", _] => self.text(&name).and_then(|text| int(text.map_or(0, |text| text.len()))),
            ["SETRANGE", _, offset, piece] => self.text(&name).and_then(|text| {
                let mut text = text.unwrap_or_default().into_bytes();
                let from = argument(offset) as usize;
                text.resize(text.len().max(from + piece.len()), 0);
                text[from..from + piece.len()].copy_from_slice(piece.as_bytes());
                let len = text.len();
                let text = String::from_utf8(text).expect("the workload's strings are ASCII");
                self.put(&name, Data::Text(text), self.expires(&name));
                int(len)
            }),
            ["GETRANGE", _, from, to] => self.text(&name).and_then(|text| {
                let text = text.unwrap_or_default();
                let to = (argument(to) as usize + 1).min(text.len());
                let from = (argument(from) as usize).min(to);
                exactly(Value::bulk(&text[from..to]))
            }),
            ["MGET", ref keys @ ..] => {
                let values = keys.iter().map(|key| self.text(&(db, (*key).into())).ok().flatten());
                exactly(Value::Array(values.map(bulk_or_null).collect()))
            }
            ["MSET", ref pairs @ ..] => {
                self.mset(db, pairs);
                exactly(Value::ok())
            }
            ["MSETNX", ref pairs @ ..] => {
                let any = pairs.iter().step_by(2).any(|key| self.keys.contains_key(&(db, (*key).into())));
                if !any {
                    self.mset(db, pairs);
                }
                int(usize::from(!any))
            }
            _ => return None,
        })
    }

    fn text(&self, name: &super::Name) -> Result<Option<String>, Value> {
        Ok(self.read::<String>(name)?.cloned())
    }

    fn set(&mut self, name: &super::Name, value: &str, options: &[&str]) -> Outcome {
        let old = self.keys.get(name).cloned();
        let wants_old = options.contains(&"GET");
        if wants_old && old.as_ref().is_some_and(|entry| !matches!(entry.data, Data::Text(_))) {
            return Err(wrong_type());
        }
        let is_refused = old.is_some() && options.contains(&"NX") || old.is_none() && options.contains(&"XX");
        let reply = match &old {
            Some(entry) if wants_old => match &entry.data {
                Data::Text(text) => Value::bulk(text),
                _ => return Err(wrong_type()),
            },
            None if wants_old => Value::Null,
            _ if is_refused => Value::Null,
            _ => Value::ok(),
        };
        if !is_refused {
            let option = |name: &str| {
                options.iter().position(|option| *option == name).map(|at| argument(options[at + 1]))
            };
            let expires = option("PX").map(|ms| self.now_ms + ms).or_else(|| option("PXAT"));
            let kept = old.and_then(|entry| entry.expires).filter(|_| options.contains(&"KEEPTTL"));
            self.put(name, Data::Text(value.into()), expires.or(kept));
        }
        exactly(reply)
    }

    fn add(&mut self, name: &super::Name, by: i64) -> Outcome {
        let old = match self.text(name)? {
            Some(text) => number(&text).ok_or_else(not_an_integer)?,
            None => 0,
        };
        let overflow = || Value::error("ERR increment or decrement would overflow");
        let new = old.checked_add(by).ok_or_else(overflow)?;
        self.put(name, Data::Text(new.to_string()), self.expires(name));
        exactly(Value::Int(new))
    }

    fn mset(&mut self, db: u8, pairs: &[&str]) {
        for pair in pairs.chunks(2) {
            self.put(&(db, pair[0].into()), Data::Text(pair[1].into()), None);
        }
    }
}
