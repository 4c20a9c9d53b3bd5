//! Received bytes -> requests, incrementally and without copying.
//!
//! `Progress` remembers how far the request under way has come, so that bytes that arrive one at a time are looked at
//! once each, and a request of a million arguments costs no more in many pieces than in one.
//!
//! The limits and the texts of the errors are Redis 7.2's (networking.c, processMultibulkBuffer and
//! processInlineBuffer). A protocol error ends the connection: what follows cannot be understood any more.

use std::fmt;

use super::args::Span;

/// The longest inline request, and the longest line that may hold a length: PROTO_INLINE_MAX_SIZE.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// How many arguments a client may send before it has authenticated (Redis: against memory exhaustion by strangers).
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;

/// How long such an argument may be.
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16384;

/// What the decoder refuses to read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`: the longest argument.
    pub bulk_bytes_max: u64,
    /// Whether the client has authenticated; if not, only small requests are read.
    pub authenticated: bool,
}

/// Where the request under way stands. Fresh before each request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes of the request taken so far.
    position: usize,
    /// Arguments still to come once the head has been read.
    remaining: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing read, or an inline line without its end.
    #[default]
    Head,
    /// The next thing is the `$` line of an argument.
    BulkHead,
    /// An argument of this many bytes and its line end.
    Bulk(u32),
}

/// What came of the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole request; its arguments' spans were pushed. It ends before this place in the buffer. It may have no
    /// argument at all (`*0`, an empty line): then there is nothing to run and nothing to answer.
    Complete(usize),
    /// An inline request with quotes, which `split_quoted` takes apart: the line, and the place after it.
    Quoted(Span, usize),
    /// More bytes are needed; `Progress` and the spans pushed so far tell where to go on.
    Incomplete,
}

/// The client broke the protocol; the connection ends after this was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline request or a length line without end.
    TooBig(&'static str),
    /// A count of arguments that is no number or too large.
    InvalidMultibulkLength,
    /// The same before authentication.
    UnauthenticatedMultibulkLength,
    /// An argument must begin with `$`.
    ExpectedDollar(u8),
    /// A length of an argument that is no number or too large.
    InvalidBulkLength,
    /// The same before authentication.
    UnauthenticatedBulkLength,
    /// An inline request whose quotes do not match.
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The text for the client; not always UTF-8.
    pub fn text(&self) -> Vec<u8> {
        match self {
            // Redis prints it as a C string, which a zero byte ends.
            ProtocolError::ExpectedDollar(0) => b"Protocol error: expected '$', got '".to_vec(),
            ProtocolError::ExpectedDollar(got) => {
                [b"Protocol error: expected '$', got '", &[*got][..], b"'"].concat()
            }
            other => other.to_string().into_bytes(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            ProtocolError::TooBig(what) => write!(f, "too big {what}"),
            ProtocolError::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            ProtocolError::UnauthenticatedMultibulkLength => f.write_str("unauthenticated multibulk length"),
            ProtocolError::ExpectedDollar(got) => write!(f, "expected '$', got '{}'", got.escape_ascii()),
            ProtocolError::InvalidBulkLength => f.write_str("invalid bulk length"),
            ProtocolError::UnauthenticatedBulkLength => f.write_str("unauthenticated bulk length"),
            ProtocolError::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

/// Reads on in the request that begins at `start` in `buffer`, pushing the spans of its arguments.
///
/// # Errors
/// The first breach of the protocol; nothing after it can be read.
#[inline]
pub fn decode(
    buffer: &[u8],
    start: usize,
    progress: &mut Progress,
    spans: &mut Vec<Span>,
    limits: Limits,
) -> Result<Step, ProtocolError> {
    if progress.stage == Stage::Head {
        let before = spans.len();
        match short_request(buffer, start, spans) {
            Some(end) => return Ok(Step::Complete(end)),
            None => spans.truncate(before),
        }
        match buffer.get(start) {
            None => return Ok(Step::Incomplete),
            Some(b'*') => {}
            Some(_) => return inline(buffer, start, progress, spans),
        }
        let from = start + 1;
        let Some((count, next)) = number_line(buffer, from) else {
            return unfinished(buffer, from, "mbulk count string");
        };
        let count =
            count.filter(|&n| n <= i64::from(i32::MAX)).ok_or(ProtocolError::InvalidMultibulkLength)?;
        if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if count <= 0 {
            return Ok(Step::Complete(next));
        }
        *progress = Progress { position: next - start, remaining: count as u32, stage: Stage::BulkHead };
    }
    let mut at = start + progress.position;
    while progress.remaining > 0 {
        let len = match progress.stage {
            Stage::Bulk(len) => len,
            Stage::Head | Stage::BulkHead => {
                match buffer.get(at) {
                    None => {
                        progress.position = at - start;
                        return Ok(Step::Incomplete);
                    }
                    Some(b'$') => {}
                    Some(&other) => {
                        progress.position = at - start;
                        return not_a_bulk(buffer, at, other);
                    }
                }
                let Some((len, next)) = number_line(buffer, at + 1) else {
                    progress.position = at - start;
                    return unfinished(buffer, at + 1, "bulk count string");
                };
                let len = len
                    .filter(|&n| n >= 0 && n as u64 <= limits.bulk_bytes_max && n <= i64::from(u32::MAX >> 1))
                    .ok_or(ProtocolError::InvalidBulkLength)?;
                if len > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.authenticated {
                    return Err(ProtocolError::UnauthenticatedBulkLength);
                }
                at = next;
                len as u32
            }
        };
        let end = at + len as usize;
        if buffer.len() < end + 2 {
            progress.stage = Stage::Bulk(len);
            progress.position = at - start;
            return Ok(Step::Incomplete);
        }
        spans.push(Span { offset: at as u32, len });
        // Redis, too, takes the two bytes after an argument to be its line end without looking.
        at = end + 2;
        progress.stage = Stage::BulkHead;
        progress.remaining -= 1;
    }
    Ok(Step::Complete(at))
}

/// The common case in few steps: a whole request of at most nine arguments, each shorter than a thousand bytes. The
/// place after it; nothing (and possibly some spans too many) for anything else, be it only incomplete.
#[inline]
fn short_request(buffer: &[u8], start: usize, spans: &mut Vec<Span>) -> Option<usize> {
    let [b'*', count @ b'1'..=b'9', b'\r', b'\n', ..] = *buffer.get(start..)? else { return None };
    let mut at = start + 4;
    for _ in b'0'..count {
        // The shortest argument is "$0\r\n\r\n".
        let head: &[u8; 6] = buffer.get(at..at + 6)?.first_chunk()?;
        let (len, line) = match *head {
            [b'$', a @ b'0'..=b'9', b'\r', ..] => (u32::from(a - b'0'), 4),
            [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', ..] => {
                (u32::from(a - b'0') * 10 + u32::from(b - b'0'), 5)
            }
            [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', _] => {
                (u32::from(a - b'0') * 100 + u32::from(b - b'0') * 10 + u32::from(c - b'0'), 6)
            }
            _ => return None,
        };
        let offset = at + line;
        at = offset + len as usize + 2;
        if at > buffer.len() {
            return None;
        }
        spans.push(Span { offset: offset as u32, len });
    }
    Some(at)
}

impl Progress {
    /// Whether nothing was read of the request that would have to be remembered.
    pub fn is_fresh(&self) -> bool {
        self.stage == Stage::Head
    }

    /// How many bytes the request needs in all as far as is known: a hint for making room at once for a large
    /// argument instead of growing by what each receive brings.
    pub fn bytes_wanted(&self) -> usize {
        match self.stage {
            Stage::Head | Stage::BulkHead => self.position,
            Stage::Bulk(len) => self.position + len as usize + 2,
        }
    }
}

/// The number in the line at `from` and the place after its line end; `None` for the number if it is none, nothing
/// at all if the line has no end yet.
#[inline]
fn number_line(buffer: &[u8], from: usize) -> Option<(Option<i64>, usize)> {
    // Nearly every line has one to three digits: no call, no search for the end.
    let line = &buffer[from..];
    let mut value = 0i64;
    for (i, &byte) in line.iter().enumerate().take(10) {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            // "0" itself, or a number without leading zero: what string2ll accepts.
            b'\r' if i > 0 && (i == 1 || line[0] != b'0') => {
                return (line.len() > i + 1).then_some((Some(value), from + i + 2));
            }
            _ => break,
        }
    }
    let end = memchr::memchr(b'\r', &line[..line.len().min(LINE_BYTES_MAX + 1)])?;
    (line.len() > end + 1).then(|| (crate::base::num::parse_i64(&line[..end]), from + end + 2))
}

/// A line without end: wait for more, or refuse if it is too long to become one.
#[cold]
fn unfinished(buffer: &[u8], from: usize, what: &'static str) -> Result<Step, ProtocolError> {
    let line = &buffer[from..];
    if line.len() > LINE_BYTES_MAX && memchr::memchr(b'\r', &line[..LINE_BYTES_MAX]).is_none() {
        return Err(ProtocolError::TooBig(what));
    }
    Ok(Step::Incomplete)
}

/// Something else where an argument should begin. As in Redis that is said once the line has ended.
#[cold]
fn not_a_bulk(buffer: &[u8], at: usize, got: u8) -> Result<Step, ProtocolError> {
    match memchr::memchr(b'\r', &buffer[at..]) {
        Some(end) if at + end + 1 < buffer.len() => Err(ProtocolError::ExpectedDollar(got)),
        _ => unfinished(buffer, at, "bulk count string"),
    }
}

/// An inline request: words separated by white space up to the line's end.
#[cold]
fn inline(
    buffer: &[u8],
    start: usize,
    progress: &mut Progress,
    spans: &mut Vec<Span>,
) -> Result<Step, ProtocolError> {
    let from = start + progress.position;
    let Some(newline) = memchr::memchr(b'\n', &buffer[from..]) else {
        if buffer.len() - start > LINE_BYTES_MAX {
            return Err(ProtocolError::TooBig("inline request"));
        }
        progress.position = buffer.len() - start;
        return Ok(Step::Incomplete);
    };
    let next = from + newline + 1;
    let mut end = next - 1;
    if end > start && buffer[end - 1] == b'\r' {
        end -= 1;
    }
    let line = &buffer[start..end];
    if line.iter().any(|b| matches!(b, b'"' | b'\'')) {
        return Ok(Step::Quoted(Span { offset: start as u32, len: line.len() as u32 }, next));
    }
    let mut at = start;
    for word in line.split(|b| is_space(*b)) {
        if !word.is_empty() {
            spans.push(Span { offset: at as u32, len: word.len() as u32 });
        }
        at += word.len() + 1;
    }
    Ok(Step::Complete(next))
}

/// C's isspace, which Redis splits inline requests by.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0)
}

/// Takes apart an inline request with quotes, by the rules of sdssplitargs: double quotes with escapes, single quotes
/// in which only `\'` is one, and a closing quote must be followed by space.
///
/// # Errors
/// `UnbalancedQuotes`.
pub fn split_quoted(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest {
            if !is_space(*first) {
                break;
            }
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, tail) = quoted_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// The first word of `rest`, which begins with no space, and what follows it.
fn quoted_word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Ok((word, rest)),
            [b, ..] if is_space(*b) => return Ok((word, rest)),
            [b'"', tail @ ..] => {
                rest = double_quoted(tail, &mut word)?;
                return closed(word, rest);
            }
            [b'\'', tail @ ..] => {
                rest = single_quoted(tail, &mut word)?;
                return closed(word, rest);
            }
            [b, tail @ ..] => {
                word.push(*b);
                rest = tail;
            }
        }
    }
}

/// A closing quote ends its word.
fn closed(word: Vec<u8>, rest: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    match rest.first() {
        None => Ok((word, rest)),
        Some(&b) if is_space(b) => Ok((word, rest)),
        Some(_) => Err(ProtocolError::UnbalancedQuotes),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
                word.push(digit(*high) << 4 | digit(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [b, tail @ ..] => {
                word.push(*b);
                tail
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [b, tail @ ..] => {
                word.push(*b);
                tail
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };

    /// All requests in `bytes`, given to the decoder in pieces of `piece` bytes.
    fn requests(bytes: &[u8], piece: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let mut found = Vec::new();
        let (mut start, mut have) = (0, 0);
        let mut progress = Progress::default();
        let mut spans = Vec::new();
        while have < bytes.len() {
            have = (have + piece).min(bytes.len());
            loop {
                let buffer = &bytes[..have];
                let (words, end) = match decode(buffer, start, &mut progress, &mut spans, LIMITS)? {
                    Step::Incomplete => break,
                    Step::Complete(end) => {
                        (spans.iter().map(|s: &Span| s.of(buffer).to_vec()).collect::<Vec<_>>(), end)
                    }
                    Step::Quoted(line, end) => (split_quoted(line.of(buffer))?, end),
                };
                found.push(words);
                start = end;
                progress = Progress::default();
                spans.clear();
            }
        }
        Ok(found)
    }

    fn words(text: &[&str]) -> Vec<Vec<u8>> {
        text.iter().map(|w| w.as_bytes().to_vec()).collect()
    }

    #[test]
    fn every_split_of_the_bytes_gives_the_same_requests() {
        let bytes: &[u8] =
            b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nv\r\nal\r\nPING hello\r\n\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\nset 'a b' \"\\x41\\n\"\n*2\r\n$4\r\nECHO\r\n$10\r\n0123456789\r\n";
        let expected = vec![
            words(&["SET", "key", "v\r\nal"]),
            words(&["PING", "hello"]),
            vec![],
            vec![],
            vec![],
            words(&[""]),
            words(&["set", "a b", "A\n"]),
            words(&["ECHO", "0123456789"]),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(requests(bytes, piece).unwrap(), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn breaches_are_named_as_redis_names_them() {
        let long = "a".repeat(LINE_BYTES_MAX + 2);
        for (bytes, text) in [
            ("*x\r\n".into(), "Protocol error: invalid multibulk length"),
            ("*2147483648\r\n".into(), "Protocol error: invalid multibulk length"),
            ("*1\r\nPING\r\n".into(), "Protocol error: expected '$', got 'P'"),
            ("*1\r\n$-1\r\n".into(), "Protocol error: invalid bulk length"),
            ("*1\r\n$536870913\r\n".into(), "Protocol error: invalid bulk length"),
            ("*1\r\n$01\r\n".into(), "Protocol error: invalid bulk length"),
            ("*1\r\n$abc\r\n".into(), "Protocol error: invalid bulk length"),
            ("set \"a\r\n".into(), "Protocol error: unbalanced quotes in request"),
            ("set 'a'b\r\n".into(), "Protocol error: unbalanced quotes in request"),
            (long.clone(), "Protocol error: too big inline request"),
            (format!("*{long}"), "Protocol error: too big mbulk count string"),
            (format!("*1\r\n${long}"), "Protocol error: too big bulk count string"),
        ] {
            for piece in [1.max(bytes.len() / 3), bytes.len()] {
                let error = requests(bytes.as_bytes(), piece).expect_err(text);
                assert_eq!(error.to_string(), text);
            }
        }
    }

    #[test]
    fn strangers_may_send_little() {
        let strict = Limits { authenticated: false, ..LIMITS };
        let mut spans = Vec::new();
        let mut run = |bytes: &[u8]| decode(bytes, 0, &mut Progress::default(), &mut spans, strict);
        assert_eq!(run(b"*11\r\n"), Err(ProtocolError::UnauthenticatedMultibulkLength));
        assert_eq!(run(b"*1\r\n$16385\r\n"), Err(ProtocolError::UnauthenticatedBulkLength));
        assert_eq!(run(b"*10\r\n$16384\r\n"), Ok(Step::Incomplete));
    }
}
