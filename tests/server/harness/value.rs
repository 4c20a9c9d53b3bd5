//! A RESP2 or RESP3 value, and how to read one. Nothing is folded: what differs on the wire differs here.

use std::fmt;
use std::io::{self, Read};

/// What a server sent.
#[derive(Clone, PartialEq, PartialOrd)]
pub(crate) enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    Array(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Double(Vec<u8>),
    Bool(bool),
    BigNumber(Vec<u8>),
    Verbatim(Vec<u8>),
}

impl Value {
    pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::Bulk(text.as_ref().to_vec())
    }

    pub(crate) fn simple(text: &str) -> Value {
        Value::Simple(text.as_bytes().to_vec())
    }

    pub(crate) fn error(text: &str) -> Value {
        Value::Error(text.as_bytes().to_vec())
    }

    /// The text of a string of any kind; of an error, too.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The bytes of a string of any kind; of an error, too.
    #[track_caller]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Value::Simple(bytes) | Value::Error(bytes) | Value::Bulk(bytes) | Value::Verbatim(bytes) => bytes,
            other => panic!("not a string: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            other => panic!("not an integer: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The same with the elements of an array in order, where the server is free to choose one.
    pub(crate) fn sorted(mut self) -> Value {
        if let Value::Array(items) | Value::Set(items) = &mut self {
            items.sort_by(|a, b| a.partial_cmp(b).expect("values are ordered"));
        }
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| {
            let shown = &bytes[..bytes.len().min(300)];
            let more = bytes.len() - shown.len();
            format!(
                "{}{}",
                shown.escape_ascii(),
                if more > 0 { format!("...{more} more") } else { String::new() }
            )
        };
        match self {
            Value::Simple(bytes) => write!(f, "+{}", text(bytes)),
            Value::Error(bytes) => write!(f, "-{}", text(bytes)),
            Value::Int(n) => write!(f, ":{n}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", text(bytes)),
            Value::NullBulk => f.write_str("$-1"),
            Value::NullArray => f.write_str("*-1"),
            Value::Null => f.write_str("_"),
            Value::Array(items) => f.debug_list().entries(items).finish(),
            Value::Set(items) => f.write_str("~").and_then(|()| f.debug_list().entries(items).finish()),
            Value::Push(items) => f.write_str(">").and_then(|()| f.debug_list().entries(items).finish()),
            Value::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Value::Double(bytes) => write!(f, ",{}", text(bytes)),
            Value::Bool(yes) => write!(f, "#{yes}"),
            Value::BigNumber(bytes) => write!(f, "({}", text(bytes)),
            Value::Verbatim(bytes) => write!(f, "={}", text(bytes)),
        }
    }
}

/// Takes values out of a stream of bytes.
pub(crate) struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    position: usize,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Reader { stream, buffer: Vec::new(), position: 0 }
    }

    pub(crate) fn stream(&self) -> &R {
        &self.stream
    }

    pub(crate) fn value(&mut self) -> io::Result<Value> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().ok_or_else(|| bad("an empty line"))?;
        let number = || -> io::Result<i64> {
            let text = std::str::from_utf8(rest).map_err(|_| bad("a length"))?;
            text.parse().map_err(|_| bad(&format!("the number {text:?}")))
        };
        Ok(match kind {
            b'+' => Value::Simple(rest.to_vec()),
            b'-' => Value::Error(rest.to_vec()),
            b':' => Value::Int(number()?),
            b',' => Value::Double(rest.to_vec()),
            b'(' => Value::BigNumber(rest.to_vec()),
            b'#' => Value::Bool(rest == b"t"),
            b'_' => Value::Null,
            b'$' => match number()? {
                -1 => Value::NullBulk,
                len => Value::Bulk(self.bulk(len)?),
            },
            b'=' => Value::Verbatim(self.bulk(number()?)?),
            b'*' => match number()? {
                -1 => Value::NullArray,
                len => Value::Array(self.values(len)?),
            },
            b'~' => Value::Set(self.values(number()?)?),
            b'>' => Value::Push(self.values(number()?)?),
            b'%' => {
                let flat = self.values(number()? * 2)?;
                Value::Map(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            other => return Err(bad(&format!("the type {:?}", char::from(*other)))),
        })
    }

    fn values(&mut self, len: i64) -> io::Result<Vec<Value>> {
        (0..len).map(|_| self.value()).collect()
    }

    fn bulk(&mut self, len: i64) -> io::Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(|_| bad("a length"))?;
        while self.buffer.len() - self.position < len + 2 {
            self.fill()?;
        }
        let bytes = self.buffer[self.position..][..len].to_vec();
        if &self.buffer[self.position + len..][..2] != b"\r\n" {
            return Err(bad("the end of a bulk string"));
        }
        self.position += len + 2;
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = self.position;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&b| b == b'\n') {
                let end = searched + end;
                let line = self.buffer[self.position..end].strip_suffix(b"\r");
                let line = line.ok_or_else(|| bad("a line end"))?.to_vec();
                self.position = end + 1;
                return Ok(line);
            }
            searched = self.buffer.len() - self.position;
            self.fill()?;
            searched += self.position;
        }
    }

    /// Everything up to the end of the stream; also what came before a reset.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let error = loop {
            if let Err(error) = self.fill() {
                break error;
            }
        };
        let rest = self.buffer.split_off(std::mem::take(&mut self.position));
        assert!(error.kind() != io::ErrorKind::WouldBlock, "no end after {} bytes", rest.len());
        rest
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.position > 0 {
            self.buffer.drain(..self.position);
            self.position = 0;
        }
        let have = self.buffer.len();
        self.buffer.resize(have + (64 << 10).max(have.min(8 << 20)), 0);
        let read = self.stream.read(&mut self.buffer[have..]);
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no RESP: {what}"))
}
