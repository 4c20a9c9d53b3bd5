//! What must hold for the decoder, whatever the bytes: it reads what a plain reading of the protocol reads, in whatever
//! pieces the bytes come, with its buffer moved about between them as the server does.

use ringward::resp::decode::{decode, split_quoted, Limits, Progress, ProtocolError, Step};
use ringward::resp::Span;

/// The requests in a stream, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Vec<Vec<u8>>>,
    /// None: the rest is the beginning of a request.
    error: Option<ProtocolError>,
}

/// Checks the stream as strangers and as friends send it.
pub(crate) fn check(stream: &[u8]) {
    for authenticated in [true, false] {
        let limits = Limits { bulk_bytes_max: 512 << 20, authenticated };
        let expected = plain(stream, limits);
        // Every split into two, and into equal pieces.
        for at in 0..=stream.len() {
            assert_eq!(read(&[&stream[..at], &stream[at..]], limits), expected, "split at {at}, {limits:?}");
        }
        for len in [1, 2, 3, 7, 16] {
            let pieces: Vec<_> = stream.chunks(len).collect();
            assert_eq!(read(&pieces, limits), expected, "pieces of {len}, {limits:?}");
        }
    }
}

/// Checks only that pieces of these sizes make no difference: for long streams.
#[allow(dead_code, reason = "only one of the two users needs it")]
pub(crate) fn check_pieces(stream: &[u8], sizes: &[usize]) {
    let limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
    let expected = read(&[stream], limits);
    for len in sizes {
        let pieces: Vec<_> = stream.chunks(*len).collect();
        assert_eq!(read(&pieces, limits), expected, "pieces of {len}");
    }
}

/// Reads it, for what the decoder asserts by itself.
#[allow(dead_code, reason = "only one of the two users needs it")]
pub(crate) fn never_panics(stream: &[u8]) {
    for authenticated in [true, false] {
        let limits = Limits { bulk_bytes_max: 512 << 20, authenticated };
        read(&[stream], limits);
        read(&stream.chunks(1000).collect::<Vec<_>>(), limits);
    }
}

/// Reads as the server does: what a piece leaves over is moved to the front of the buffer, and its spans with it.
fn read(pieces: &[&[u8]], limits: Limits) -> Outcome {
    let mut outcome = Outcome { requests: Vec::new(), error: None };
    let (mut buffer, mut progress, mut spans) = (Vec::new(), Progress::default(), Vec::<Span>::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut start = 0;
        loop {
            let step = decode(&buffer, start, &mut progress, &mut spans, limits);
            for span in &spans {
                let end = span.offset as usize + span.len as usize;
                assert!(span.offset as usize >= start && end <= buffer.len(), "{span:?} lies outside");
            }
            let end = match step {
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
                Ok(Step::Incomplete) => break,
                Ok(Step::Complete(end)) => {
                    let words: Vec<_> = spans.iter().map(|span| span.of(&buffer).to_vec()).collect();
                    if !words.is_empty() {
                        outcome.requests.push(words);
                    }
                    end
                }
                Ok(Step::Quoted(line, end)) => match split_quoted(line.of(&buffer)) {
                    Ok(words) => {
                        if !words.is_empty() {
                            outcome.requests.push(words);
                        }
                        end
                    }
                    Err(error) => {
                        outcome.error = Some(error);
                        return outcome;
                    }
                },
            };
            assert!(end > start && end <= buffer.len(), "a request takes bytes, and no more than there are");
            start = end;
            progress = Progress::default();
            spans.clear();
        }
        buffer.drain(..start);
        spans.iter_mut().for_each(|span| *span = span.earlier(start as u32));
    }
    outcome
}

/// The protocol as its description reads, without any haste.
fn plain(mut stream: &[u8], limits: Limits) -> Outcome {
    let mut outcome = Outcome { requests: Vec::new(), error: None };
    loop {
        let mut rest = stream;
        let request = match rest.first() {
            None => return outcome,
            Some(b'*') => bulks(&mut rest, limits),
            Some(_) => inline(&mut rest),
        };
        match request {
            Err(error) => {
                outcome.error = Some(error);
                return outcome;
            }
            Ok(None) => return outcome,
            Ok(Some(words)) => {
                if !words.is_empty() {
                    outcome.requests.push(words);
                }
                stream = rest;
            }
        }
    }
}

type Words = Option<Vec<Vec<u8>>>;

fn bulks(rest: &mut &[u8], limits: Limits) -> Result<Words, ProtocolError> {
    let Some(head) = line(rest) else { return Ok(None) };
    let count = number(&head[1..]).filter(|n| *n <= i64::from(i32::MAX));
    let count = count.ok_or(ProtocolError::InvalidMultibulkLength)?;
    if count > 10 && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedMultibulkLength);
    }
    let mut words = Vec::new();
    for _ in 0..count.max(0) {
        let Some(head) = line(rest) else { return Ok(None) };
        if head.first() != Some(&b'$') {
            // An empty line is told by its line end.
            return Err(ProtocolError::ExpectedDollar(head.first().copied().unwrap_or(b'\r')));
        }
        let len = number(&head[1..]).filter(|n| (0..=limits.bulk_bytes_max as i64).contains(n));
        let len = len.ok_or(ProtocolError::InvalidBulkLength)?;
        if len > 16384 && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let len = len as usize;
        if rest.len() < len + 2 {
            return Ok(None);
        }
        words.push(rest[..len].to_vec());
        *rest = &rest[len + 2..];
    }
    Ok(Some(words))
}

/// The line up to a carriage return, which and the byte after it are taken, too.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&b| b == b'\r')?;
    let line = &rest[..end];
    *rest = rest.get(end + 2..)?;
    Some(line)
}

/// Digits without a leading zero, perhaps a minus before them.
fn number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn inline(rest: &mut &[u8]) -> Result<Words, ProtocolError> {
    let Some(end) = rest.iter().position(|&b| b == b'\n') else { return Ok(None) };
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_space = |b: u8| matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0);
    let (mut words, mut at) = (Vec::new(), 0);
    let next = |at: usize| line.get(at).copied();
    loop {
        while next(at).is_some_and(is_space) {
            at += 1;
        }
        if next(at).is_none() {
            return Ok(Some(words));
        }
        let mut word = Vec::new();
        while let Some(b) = next(at).filter(|b| !is_space(*b)) {
            at += 1;
            if b != b'"' && b != b'\'' {
                word.push(b);
                continue;
            }
            let quote = b;
            loop {
                let b = next(at).ok_or(ProtocolError::UnbalancedQuotes)?;
                at += 1;
                match (b, next(at)) {
                    (b, _) if b == quote => break,
                    (b'\\', Some(b'\'')) if quote == b'\'' => {
                        word.push(b'\'');
                        at += 1;
                    }
                    (b'\\', Some(escaped)) if quote == b'"' => {
                        let digits = line.get(at + 1..at + 3).filter(|_| escaped == b'x');
                        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                        if let Some(digits) = digits {
                            let digits = std::str::from_utf8(digits).expect("ASCII");
                            word.push(u8::from_str_radix(digits, 16).expect("digits"));
                            at += 3;
                        } else {
                            word.push(match escaped {
                                b'n' => b'\n',
                                b'r' => b'\r',
                                b't' => b'\t',
                                b'a' => 7,
                                b'b' => 8,
                                other => other,
                            });
                            at += 1;
                        }
                    }
                    (b, _) => word.push(b),
                }
            }
            // A closing quote ends its word.
            if next(at).is_some_and(|b| !is_space(b)) {
                return Err(ProtocolError::UnbalancedQuotes);
            }
        }
        words.push(word);
    }
}
