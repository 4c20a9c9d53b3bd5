//! Writing replies, in the protocol version that the client chose.

/// The protocol version of a connection (`HELLO 2`, `HELLO 3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// RESP2: what every connection starts with.
    #[default]
    Resp2,
    /// RESP3: maps, sets, doubles, booleans, nulls, pushes.
    Resp3,
}

impl Proto {
    /// 2 or 3, as `HELLO` and `CLIENT INFO` show it.
    pub fn number(self) -> u8 {
        match self {
            Proto::Resp2 => 2,
            Proto::Resp3 => 3,
        }
    }
}

/// Writes replies at the end of a buffer.
///
/// Invariant: what one command writes is one complete RESP value (or several for commands that answer so), so replies
/// of one connection can be cut apart and put in order again.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

impl<'a> Reply<'a> {
    /// A writer to the end of `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Self {
        Reply { out, proto }
    }

    /// The version written.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// How many bytes stand in the buffer; with `truncate` a way to take back what was written.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing stands in the buffer.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back all that was written after the buffer had `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Puts what `write` writes in front of all that was written since the buffer had `at` bytes: the head of an array
    /// whose length is known only at its end.
    pub fn insert(&mut self, at: usize, write: impl FnOnce(&mut Self)) {
        let end = self.out.len();
        write(self);
        let added = self.out.len() - end;
        self.out[at..].rotate_right(added);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; `text` must hold no CR or LF.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, its code first; line breaks in it become spaces, as Redis writes them.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.out.push(b'-');
        self.out.extend(text.as_ref().iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.line(b':', digits.format(value).as_bytes());
    }

    /// An integer from a size or count.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.int(value as i64);
    }

    /// A binary-safe string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        // One reservation, so that the writes below cannot each look for room.
        self.out.reserve(bytes.len() + 32);
        let digit = |value: usize| b'0' + (value % 10) as u8;
        match bytes.len() {
            len @ 0..=9 => self.out.extend_from_slice(&[b'$', digit(len), b'\r', b'\n']),
            len @ 10..=99 => self.out.extend_from_slice(&[b'$', digit(len / 10), digit(len), b'\r', b'\n']),
            len => self.header(b'$', len),
        }
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer as a string: what GET of a counter answers.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    /// The absent value: a null bulk in RESP2, `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// The absent array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array of `len` values, which the caller writes next.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// The head of a map of `pairs` keys and values: in RESP2 a flat array.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', pairs * 2),
            Proto::Resp3 => self.header(b'%', pairs),
        }
    }

    /// The head of a set: in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', len),
            Proto::Resp3 => self.header(b'~', len),
        }
    }

    /// The head of an out-of-band message: in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', len),
            Proto::Resp3 => self.header(b'>', len),
        }
    }

    /// A truth value: 1 or 0 in RESP2.
    pub fn bool(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.int(i64::from(value)),
            Proto::Resp3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A text for people, which RESP3 marks as such (`INFO`, `CLIENT LIST`); `format` has three letters.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A floating point number that the caller has formatted: a bulk in RESP2, `,` in RESP3.
    pub fn double_text(&mut self, text: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// Bytes that are RESP already, such as another shard's reply.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    fn header(&mut self, kind: u8, len: usize) {
        let mut digits = itoa::Buffer::new();
        self.line(kind, digits.format(len).as_bytes());
    }

    #[inline]
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_can_be_put_in_later() {
        let mut out = b"+before\r\n".to_vec();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let start = reply.len();
        reply.bulk(b"a");
        reply.int(7);
        reply.insert(start, |reply| {
            reply.array(3);
            reply.null();
        });
        reply.ok();
        assert_eq!(out, b"+before\r\n*3\r\n$-1\r\n$1\r\na\r\n:7\r\n+OK\r\n");
    }
}
