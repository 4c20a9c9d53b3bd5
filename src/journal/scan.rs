//! Where commands and annotations begin and end in a stream's bytes, in whatever pieces they come: what the readers of
//! streams have in common.
//!
//! Invariant: what is kept is what was fed and is not given up, whatever lengths the bytes claim.
//!
//! Not here: what the commands mean for each other.

use super::record::ANNOTATION_BYTES_MAX;
use crate::resp::decode::{decode, Limits, Progress, Step};
use crate::resp::{Args, Span};

/// How many bytes may be kept: places in them are 32-bit numbers.
const KEPT_BYTES_MAX: usize = u32::MAX as usize;

/// How much room is kept while nothing is in it: a large record's goes when the record has gone.
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// A stream was checked by who wrote it: what it holds was once taken in.
const LIMITS: Limits = Limits { bulk_bytes_max: u64::MAX, authenticated: true };

/// Places in it are counted from the stream's beginning.
#[derive(Debug)]
pub struct Scanner {
    /// What was fed and not given up.
    buffer: Vec<u8>,
    /// The place of its first byte.
    buffer_at: u64,
    /// Up to where it was read: an index in the buffer.
    read: usize,
    progress: Progress,
    spans: Vec<Span>,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A command: its words are at `Scanner::args`.
    Command,
    /// A line that begins with `#`, from this place on; so many bytes without its end.
    Annotation(u64, usize),
}

impl Scanner {
    /// Reads from this place of a stream on.
    pub fn new(at: u64) -> Self {
        Scanner {
            buffer: Vec::new(),
            buffer_at: at,
            read: 0,
            progress: Progress::default(),
            spans: Vec::new(),
        }
    }

    /// The next bytes of the stream. What stands before the place `keep` is given up, if it was read.
    pub fn feed(&mut self, bytes: &[u8], keep: u64) {
        if self.progress.is_fresh() {
            self.spans.clear();
        }
        let given_up = (keep.saturating_sub(self.buffer_at)).min(self.read as u64) as usize;
        // The arguments of a command half read move with their bytes.
        if given_up > 0 {
            self.buffer.drain(..given_up);
            self.spans.iter_mut().for_each(|span| *span = span.earlier(given_up as u32));
            self.buffer_at += given_up as u64;
            self.read -= given_up;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > SPARE_BYTES_MAX {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Up to where the stream was read.
    #[inline]
    pub fn at(&self) -> u64 {
        self.buffer_at + self.read as u64
    }

    /// The words of the command that was read last, until the next is.
    #[inline]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.buffer, &self.spans)
    }

    /// The bytes between two places, neither of them given up.
    ///
    /// # Panics
    /// If one of them was.
    #[inline]
    pub fn slice(&self, from: u64, to: u64) -> &[u8] {
        &self.buffer[(from - self.buffer_at) as usize..(to - self.buffer_at) as usize]
    }

    /// The next thing in the stream; `None` where more bytes are needed.
    ///
    /// # Errors
    /// What is wrong at the place up to which the stream was read. Nothing after it can be read.
    #[inline]
    pub fn scan(&mut self) -> Result<Option<Scanned>, &'static str> {
        match self.buffer.get(self.read) {
            None => Ok(None),
            Some(b'*') => self.scan_command(),
            Some(b'#') => self.scan_annotation(),
            Some(_) => Err("a command must begin with '*'"),
        }
    }

    fn scan_annotation(&mut self) -> Result<Option<Scanned>, &'static str> {
        let rest = &self.buffer[self.read..];
        let Some(len) = memchr::memchr(b'\n', &rest[..rest.len().min(ANNOTATION_BYTES_MAX)]) else {
            return match rest.len() < ANNOTATION_BYTES_MAX {
                true => Ok(None),
                false => Err("an annotation is too long"),
            };
        };
        let line = rest[..len].strip_suffix(b"\r").unwrap_or(&rest[..len]);
        let scanned = Scanned::Annotation(self.at(), line.len());
        self.read += len + 1;
        Ok(Some(scanned))
    }

    fn scan_command(&mut self) -> Result<Option<Scanned>, &'static str> {
        if self.buffer.len() > KEPT_BYTES_MAX {
            return Err("a command is too long");
        }
        if self.progress.is_fresh() {
            self.spans.clear();
        }
        let step = decode(&self.buffer, self.read, &mut self.progress, &mut self.spans, LIMITS);
        let end = match step {
            Ok(Step::Incomplete) => return Ok(None),
            Ok(Step::Complete(end)) if !self.spans.is_empty() => end,
            Ok(Step::Complete(_) | Step::Quoted(..)) => return Err("a command must have at least a name"),
            Err(_) => return Err("a length is no number, or out of range"),
        };
        let is_ended = |span: &Span| {
            let end = span.offset as usize + span.len as usize;
            self.buffer[end..].starts_with(b"\r\n")
        };
        if !self.spans.iter().all(is_ended) {
            return Err("an argument does not end where it should");
        }
        self.progress = Progress::default();
        self.read = end;
        Ok(Some(Scanned::Command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_looked_at_again() {
        let mut scanner = Scanner::new(100);
        scanner.feed(b"*1\r\n$4\r\nPING\r\n#x\n*2\r\n$4\r\nEC", 0);
        assert_eq!(scanner.scan(), Ok(Some(Scanned::Command)));
        assert_eq!(scanner.at(), 114);
        assert_eq!(scanner.scan(), Ok(Some(Scanned::Annotation(114, 2))));
        assert_eq!(scanner.scan(), Ok(None));
        assert_eq!(scanner.at(), 117);
        // The command half read goes on where its bytes have moved to.
        scanner.feed(b"HO\r\n$1\r\n", 114);
        assert_eq!(scanner.scan(), Ok(None));
        scanner.feed(b"x\r\n", 114);
        assert_eq!(scanner.scan(), Ok(Some(Scanned::Command)));
        assert_eq!(scanner.args().iter_from(0).collect::<Vec<_>>(), [&b"ECHO"[..], b"x"]);
        assert_eq!(scanner.slice(114, 117), b"#x\n");
        // What was not read is not given up.
        scanner.feed(b"*1\r\n$1\r\n", 1000);
        scanner.feed(b"A\r\n", 1000);
        assert_eq!(scanner.slice(scanner.at(), scanner.at() + 4), b"*1\r\n");
        assert_eq!(scanner.scan(), Ok(Some(Scanned::Command)));
        assert_eq!(scanner.args().at(0), b"A");
    }

    #[test]
    fn a_large_records_room_goes_with_it() {
        let mut scanner = Scanner::new(0);
        let value = vec![b'x'; 2 * SPARE_BYTES_MAX];
        scanner.feed(format!("*1\r\n${}\r\n", value.len()).as_bytes(), 0);
        for piece in value.chunks(100_000) {
            scanner.feed(piece, 0);
            assert_eq!(scanner.scan(), Ok(None));
        }
        scanner.feed(b"\r\n", 0);
        assert_eq!(scanner.scan(), Ok(Some(Scanned::Command)));
        assert!(scanner.buffer.capacity() >= value.len());
        scanner.feed(b"*1", scanner.at());
        assert!(scanner.buffer.capacity() < SPARE_BYTES_MAX);
    }

    #[test]
    fn claimed_lengths_take_no_memory() {
        let mut scanner = Scanner::new(0);
        scanner.feed(b"*2147483647\r\n$2147483647\r\nabc", 0);
        assert_eq!(scanner.scan(), Ok(None));
        assert!(scanner.buffer.capacity() < 1000 && scanner.spans.capacity() < 100);
    }
}
