//! A snapshot as a stock primary sends it, on the link on which it was asked for it.
//!
//! ```text
//! \n ... \n          while it is being made
//! $<length>\r\n      and so many bytes, or
//! $EOF:<mark>\r\n    and bytes up to where the 40 bytes of the mark come again
//! ```
//!
//! What follows it is the stream (`stock`).
//!
//! Invariant: what comes out does not depend on the pieces in which it comes in, but for where the pieces end.

use crate::base::num::parse_u64;

/// How long the mark is that ends a snapshot of unknown length (Redis: `RDB_EOF_MARK_SIZE`).
const MARK_BYTES: usize = 40;

/// The longest first line: an error may be long.
const LINE_BYTES_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Payload {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The first line, as far as it is here.
    Head(Vec<u8>),
    /// So many bytes are still to come.
    Sized(u64),
    /// The mark, and bytes that may be its beginning.
    Marked(Box<[u8; MARK_BYTES]>, Vec<u8>),
    Over,
}

impl Default for Payload {
    fn default() -> Self {
        Payload { state: State::Head(Vec::new()) }
    }
}

impl Payload {
    /// More bytes have come: those of the snapshot go to `out`. How many were taken; those behind them are not the
    /// snapshot's.
    ///
    /// # Errors
    /// The primary has given it up, or what it says is not understood: in words for the log. There is no going on.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head(line) => {
                    let (piece, is_whole) = match memchr::memchr(b'\n', rest) {
                        Some(len) => (&rest[..len], true),
                        None => (rest, false),
                    };
                    if line.len() + piece.len() > LINE_BYTES_MAX {
                        return Err("Bad protocol from MASTER: a line without an end".to_owned());
                    }
                    line.extend_from_slice(piece);
                    at += piece.len() + usize::from(is_whole);
                    if is_whole {
                        let line = std::mem::take(line);
                        self.state = head(line.strip_suffix(b"\r").unwrap_or(&line))?;
                    }
                }
                State::Sized(left) => {
                    let len = (*left).min(rest.len() as u64);
                    out.extend_from_slice(&rest[..len as usize]);
                    at += len as usize;
                    *left -= len;
                    if *left == 0 {
                        self.state = State::Over;
                    }
                }
                State::Marked(mark, tail) => {
                    let before = tail.len();
                    tail.extend_from_slice(rest);
                    if let Some(found) = memchr::memmem::find(tail, &mark[..]) {
                        at += found + MARK_BYTES - before;
                        out.extend_from_slice(&tail[..found]);
                        self.state = State::Over;
                    } else {
                        at = bytes.len();
                        let sure = tail.len().saturating_sub(MARK_BYTES - 1);
                        out.extend_from_slice(&tail[..sure]);
                        tail.drain(..sure);
                    }
                }
                State::Over => break,
            }
        }
        Ok(at)
    }

    /// Whether all of it is here.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

/// What follows the first line.
fn head(line: &[u8]) -> Result<State, String> {
    if line.is_empty() {
        // A sign of life.
        return Ok(State::Head(Vec::new()));
    }
    let text = || String::from_utf8_lossy(line).into_owned();
    if line[0] == b'-' {
        return Err(format!(
            "MASTER aborted replication with an error: {}",
            String::from_utf8_lossy(&line[1..])
        ));
    }
    let Some(said) = line.strip_prefix(b"$") else {
        return Err(format!(
            "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host and port \
             are right?",
            text()
        ));
    };
    if let Some(mark) = said.strip_prefix(b"EOF:") {
        let mark = mark.try_into().map_err(|_| format!("Bad protocol from MASTER: '{}'", text()))?;
        return Ok(State::Marked(Box::new(mark), Vec::new()));
    }
    match parse_u64(said) {
        Some(0) => Ok(State::Over),
        Some(len) => Ok(State::Sized(len)),
        None => Err(format!("Bad protocol from MASTER: '{}'", text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    /// As of real ones no end of it is its beginning.
    const MARK: &str = "f3a91c07be5d2846f0c7135e9ab84d62e1530b9c";

    /// What comes of bytes in pieces of these lengths: the snapshot, and what is behind it.
    fn take(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (mut payload, mut out, mut at) = (Payload::default(), Vec::new(), 0);
        while at < bytes.len() && !payload.is_over() {
            let end = (at + piece().max(1)).min(bytes.len());
            let taken = payload.feed(&bytes[at..end], &mut out)?;
            assert!(taken == end - at || payload.is_over(), "all is taken until it is over");
            at += taken;
        }
        assert!(payload.is_over(), "it has not ended");
        Ok((out, bytes[at..].to_vec()))
    }

    #[test]
    fn a_snapshot_comes_out_whatever_the_pieces() {
        let mut prng = Prng::new(5);
        for round in 0..2000 {
            let len = prng.below(300) as usize;
            // Bytes of the mark's own letters: its beginning comes often.
            let body: Vec<u8> = match round % 2 {
                0 => (0..len).map(|_| MARK.as_bytes()[prng.below(2) as usize]).collect(),
                _ => MARK.as_bytes()[..39].iter().copied().cycle().take(len).collect(),
            };
            let is_marked = prng.below(2) == 0;
            let mut bytes = vec![b'\n'; prng.below(3) as usize];
            match is_marked {
                true => bytes.extend_from_slice(format!("$EOF:{MARK}\r\n").as_bytes()),
                false => bytes.extend_from_slice(format!("${len}\r\n").as_bytes()),
            }
            bytes.extend_from_slice(&body);
            if is_marked {
                bytes.extend_from_slice(MARK.as_bytes());
            }
            bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            let max = 1 + prng.below(60);
            let (out, rest) = take(&bytes, || prng.below(max) as usize).unwrap();
            assert_eq!((out, &rest[..]), (body, &b"*1\r\n$4\r\nPING\r\n"[..]), "round {round}");
        }
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        for (bytes, reason) in [
            ("-ERR no disk\r\n", "MASTER aborted replication with an error: ERR no disk"),
            ("+OK\r\n", "the first byte is not '$' (we received '+OK')"),
            ("$EOF:short\r\n", "Bad protocol from MASTER: '$EOF:short'"),
            ("$12x\r\n", "Bad protocol from MASTER: '$12x'"),
            ("$-1\r\n", "Bad protocol from MASTER: '$-1'"),
        ] {
            let error = take(bytes.as_bytes(), || 3).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let endless = vec![b'$'; LINE_BYTES_MAX + 1];
        assert!(Payload::default().feed(&endless, &mut Vec::new()).is_err());
        let mut payload = Payload::default();
        assert_eq!(payload.feed(b"\n\n", &mut Vec::new()), Ok(2));
        assert!(!payload.is_over());
        assert_eq!(payload.feed(b"$3\r\nab", &mut Vec::new()), Ok(6));
        assert!(!payload.is_over());
        assert_eq!(payload.feed(b"c", &mut Vec::new()), Ok(1));
        assert!(payload.is_over());
    }
}
