//! RESP2 values as a client reads them, and as the model expects them.

use std::fmt;

/// What a server sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(String),
    /// `$-1`
    Null,
    /// `*-1`
    NullArray,
    Array(Vec<Value>),
}

impl Value {
    pub(crate) fn simple(text: &str) -> Value {
        Value::Simple(text.to_owned())
    }

    pub(crate) fn ok() -> Value {
        Value::simple("OK")
    }

    pub(crate) fn error(text: &str) -> Value {
        Value::Error(text.to_owned())
    }

    pub(crate) fn bulk(text: impl Into<String>) -> Value {
        Value::Bulk(text.into())
    }

    pub(crate) fn int(number: usize) -> Value {
        Value::Int(number as i64)
    }

    pub(crate) fn bulks<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value {
        Value::Array(texts.into_iter().map(Value::bulk).collect())
    }

    /// The value at the start of `bytes`, with its length, if it is all there. The simulator's values are text.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Value, usize)> {
        let line_end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let (kind, rest) = bytes[..line_end].split_first().expect("a reply is never an empty line");
        let start = line_end + 2;
        let number = || text(rest).parse::<i64>().expect("a number");
        let value = match kind {
            b'+' => Value::Simple(text(rest)),
            b'-' => Value::Error(text(rest)),
            b':' => Value::Int(number()),
            b'$' if number() < 0 => Value::Null,
            b'$' => {
                let end = start + number() as usize;
                assert!(
                    bytes.get(end..end + 2).is_none_or(|end| end == b"\r\n"),
                    "a bulk string of another length"
                );
                return (bytes.len() >= end + 2).then(|| (Value::Bulk(text(&bytes[start..end])), end + 2));
            }
            b'*' if number() < 0 => Value::NullArray,
            b'*' => {
                let mut at = start;
                let mut items = Vec::new();
                for _ in 0..number() {
                    let (item, len) = Value::read(&bytes[at..])?;
                    items.push(item);
                    at += len;
                }
                return Some((Value::Array(items), at));
            }
            other => panic!("no reply of RESP2 begins with {:?}", char::from(*other)),
        };
        Some((value, start))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(number) => write!(f, ":{number}"),
            // INFO and the like are long.
            Value::Bulk(text) if text.len() > 80 => write!(f, "\"{}...\"", text[..80].escape_debug()),
            Value::Bulk(text) => write!(f, "\"{}\"", text.escape_debug()),
            Value::Null => f.write_str("nil"),
            Value::NullArray => f.write_str("nil-array"),
            Value::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What a reply may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expect {
    /// This.
    Exactly(Value),
    /// An array of these in any order.
    AnyOrder(Vec<Value>),
    /// One of these.
    OneOf(Vec<Value>),
    /// An integer from here to there.
    Between(i64, i64),
    /// An array, element by element.
    Each(Vec<Expect>),
    /// Anything that is no error.
    Success,
}

impl Expect {
    pub(crate) fn allows(&self, reply: &Value) -> bool {
        match (self, reply) {
            (Expect::Exactly(value), reply) => value == reply,
            (Expect::OneOf(values), reply) => values.contains(reply),
            (Expect::Between(from, to), Value::Int(number)) => (from..=to).contains(&number),
            (Expect::AnyOrder(values), Value::Array(items)) => {
                let sorted = |values: &[Value]| {
                    let mut values = values.to_vec();
                    values.sort();
                    values
                };
                values.len() == items.len() && sorted(values) == sorted(items)
            }
            (Expect::Each(expected), Value::Array(items)) => {
                expected.len() == items.len()
                    && expected.iter().zip(items).all(|(one, item)| one.allows(item))
            }
            (Expect::Success, reply) => !matches!(reply, Value::Error(_)),
            (Expect::Between(..) | Expect::AnyOrder(_) | Expect::Each(_), _) => false,
        }
    }
}
