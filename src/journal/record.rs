//! Commands and annotations as bytes.
//!
//! An annotation is a line that begins with `#`: Redis passes over it where it reads an AOF. It belongs to the record
//! after it.

use smallvec::SmallVec;

use super::track::Whereabouts;
use crate::base::double;
use crate::base::ids::{CoreId, DbIndex, ShardId};
use crate::base::num::{parse_position, parse_u64};

/// The longest annotation, its line end included: Redis reads them into a buffer of so many bytes.
pub const ANNOTATION_BYTES_MAX: usize = 1024;

/// What stands before several records that are done as one.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// What stands after them.
pub const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// How many bytes the two are. Of a transaction over several shards they count once (`Journal::append_part`).
pub const FRAME_BYTES: usize = MULTI.len() + EXEC.len();

/// One argument of a command.
#[derive(Clone, Copy, Debug)]
pub enum Word<'a> {
    /// As it is.
    Bytes(&'a [u8]),
    /// A number in decimal.
    Int(i64),
    /// A score: a text that reads back as the same number.
    Score(f64),
}

/// The words of a command, from whatever is one.
macro_rules! words {
    ($($word:expr),* $(,)?) => {
        [$($crate::journal::Word::from($word)),*]
    };
}
pub(crate) use words;

/// Takes commands word by word.
pub trait Sink {
    /// A command of so many words begins.
    fn begin(&mut self, words: usize);

    /// Its next word.
    fn word(&mut self, word: Word<'_>);

    /// A whole command.
    #[inline]
    fn command<'w, I>(&mut self, words: I)
    where
        I: IntoIterator<Item: Into<Word<'w>>, IntoIter: Clone>,
        Self: Sized,
    {
        let words = words.into_iter();
        self.begin(words.clone().count());
        words.for_each(|word| self.word(word.into()));
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn begin(&mut self, words: usize) {
        write_head(self, b'*', words);
    }

    #[inline]
    fn word(&mut self, word: Word<'_>) {
        match word {
            Word::Bytes(bytes) => write_word(self, bytes),
            Word::Int(number) => write_word(self, itoa::Buffer::new().format(number).as_bytes()),
            Word::Score(score) => write_word(self, double::Buffer::new().format(score).as_bytes()),
        }
    }
}

impl<'a> From<&'a [u8]> for Word<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Word::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Word<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Word::Bytes(text.as_bytes())
    }
}

impl From<i64> for Word<'_> {
    #[inline]
    fn from(number: i64) -> Self {
        Word::Int(number)
    }
}

impl From<usize> for Word<'_> {
    #[inline]
    fn from(number: usize) -> Self {
        Word::Int(number as i64)
    }
}

/// A command that selects a database.
pub(super) fn select(out: &mut Vec<u8>, db: DbIndex) {
    out.command(words!["SELECT", i64::from(db.0)]);
}

#[inline]
fn write_head(out: &mut Vec<u8>, kind: u8, number: usize) {
    // Most are short: written in one piece of a fixed size, of which the rest is taken back.
    if number < 100 {
        let (tens, ones) = (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8);
        let is_short = number < 10;
        let head = if is_short { [kind, ones, b'\r', b'\n', 0] } else { [kind, tens, ones, b'\r', b'\n'] };
        out.extend_from_slice(&head);
        out.truncate(out.len() - usize::from(is_short));
        return;
    }
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_word(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// What is noted between records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// What follows was recorded in this second of the Unix epoch, or later (`aof-timestamp-enabled`).
    Time(u64),
    /// The record that follows is this shard's part of a transaction.
    Txn(Txn),
    /// Where the stream is, here in an append-only file: `#POS:history:raw:offset`, the history `-` if there is none.
    Position(Whereabouts),
}

/// A transaction over several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Where its coordinator is.
    pub core: CoreId,
    /// Distinguishes the transactions of that core.
    pub number: u64,
    /// Whose streams have a part of it. The first one's counts the bytes that frame it where it appears as a whole.
    pub shards: SmallVec<[ShardId; 8]>,
}

impl Annotation {
    /// Adds the line to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Annotation::Time(seconds) => {
                out.extend_from_slice(b"#TS:");
                write_number(out, *seconds);
                out.extend_from_slice(b"\r\n");
            }
            Annotation::Txn(txn) => txn.announce(out),
            Annotation::Position(at) => {
                out.extend_from_slice(b"#POS:");
                out.extend_from_slice(if at.history.is_empty() { b"-" } else { &at.history });
                for number in [at.raw, at.offset] {
                    out.push(b':');
                    write_number(out, number);
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Reads a line without its end; `None` for one that says something else.
    pub fn parse(line: &[u8]) -> Option<Annotation> {
        if let Some(seconds) = line.strip_prefix(b"#TS:") {
            return parse_u64(seconds).map(Annotation::Time);
        }
        if let Some(text) = line.strip_prefix(b"#POS:") {
            let mut fields = text.split(|&byte| byte == b':');
            let history = fields.next().map(|name| if name == b"-" { Vec::new() } else { name.to_vec() })?;
            let (raw, offset) = (parse_position(fields.next()?)?, parse_position(fields.next()?)?);
            return Some(Annotation::Position(Whereabouts { history, raw, offset }));
        }
        line.strip_prefix(b"#TXN:").and_then(Txn::parse).map(Annotation::Txn)
    }
}

impl Txn {
    /// Adds the line `#TXN:core-number:shard,shard` to `out`. Neighbours in number and place stand as `first-last`,
    /// since all shards of a large node would not fit into a line.
    pub(super) fn announce(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"#TXN:");
        write_number(out, u64::from(self.core.0));
        out.push(b'-');
        write_number(out, self.number);
        let mut rest = &self.shards[..];
        let mut separator = b':';
        while let Some(&first) = rest.first() {
            let run = rest.iter().zip(u32::from(first.0)..);
            let run = run.take_while(|(shard, number)| u32::from(shard.0) == *number).count();
            out.push(separator);
            write_number(out, u64::from(first.0));
            if run > 2 {
                out.push(b'-');
                write_number(out, u64::from(rest[run - 1].0));
            }
            rest = &rest[if run > 2 { run } else { 1 }..];
            separator = b',';
        }
        out.extend_from_slice(b"\r\n");
    }

    fn parse(text: &[u8]) -> Option<Txn> {
        let mut fields = text.splitn(2, |&byte| byte == b':');
        let (core, number) = pair(fields.next()?)?;
        let core = CoreId(u16::try_from(core).ok()?);
        let mut shards = SmallVec::new();
        for item in fields.next()?.split(|&byte| byte == b',') {
            let (first, last) = match pair(item) {
                Some((first, last)) if first < last => (first, last),
                Some(_) => return None,
                None => {
                    let shard = parse_u64(item)?;
                    (shard, shard)
                }
            };
            let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
            shards.extend((first..=last).map(ShardId));
        }
        Some(Txn { core, number, shards })
    }
}

/// Two numbers with a `-` between them.
fn pair(text: &[u8]) -> Option<(u64, u64)> {
    let at = text.iter().position(|&byte| byte == b'-')?;
    Some((parse_u64(&text[..at])?, parse_u64(&text[at + 1..])?))
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_requests() {
        let mut out = Vec::new();
        out.command([
            Word::from("ZADD"),
            Word::from(&b"k\0"[..]),
            Word::Int(i64::MIN),
            Word::Score(0.1),
            Word::Score(-0.0),
            Word::Score(f64::NEG_INFINITY),
            Word::from(7usize),
        ]);
        let expected = "*7\r\n$4\r\nZADD\r\n$2\r\nk\0\r\n$20\r\n-9223372036854775808\r\n$3\r\n0.1\r\n$2\r\n-0\r\n$4\r\n-inf\r\n$1\r\n7\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn annotations_are_written_and_read() {
        let txn = |core, number, shards: &[u16]| {
            Annotation::Txn(Txn {
                core: CoreId(core),
                number,
                shards: shards.iter().copied().map(ShardId).collect(),
            })
        };
        for (annotation, line) in [
            (Annotation::Time(1_700_000_000), "#TS:1700000000\r\n"),
            (
                Annotation::Position(Whereabouts { history: b"ab".to_vec(), raw: 7, offset: 5 }),
                "#POS:ab:7:5\r\n",
            ),
            (Annotation::Position(Whereabouts { history: Vec::new(), raw: 0, offset: 0 }), "#POS:-:0:0\r\n"),
            (txn(3, 17, &[0]), "#TXN:3-17:0\r\n"),
            (txn(0, u64::MAX, &[2, 1]), "#TXN:0-18446744073709551615:2,1\r\n"),
            (txn(0, 1, &[0, 1]), "#TXN:0-1:0,1\r\n"),
            (txn(0, 1, &[0, 1, 2, 5, 7, 8, 9, 10]), "#TXN:0-1:0-2,5,7-10\r\n"),
            (txn(0, 1, &[65534, 65535]), "#TXN:0-1:65534,65535\r\n"),
        ] {
            let mut out = Vec::new();
            annotation.write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), line);
            assert_eq!(Annotation::parse(line.trim_end().as_bytes()), Some(annotation));
        }
        let all = txn(0, 1, &(0..1000).collect::<Vec<_>>());
        let mut out = Vec::new();
        all.write(&mut out);
        assert_eq!(out, b"#TXN:0-1:0-999\r\n");
        for line in [
            "#",
            "#TS:",
            "#TS:x",
            "#POS:a:1",
            "#POS:a:1:x",
            "#POS:a:9223372036854775808:1",
            "#TXN:1:0",
            "#TXN:1-2",
            "#TXN:1-2:",
            "#TXN:1-2:0,",
            "#TXN:1-2:2-1",
            "#TXN:1-2:0-70000",
            "#TXN:70000-2:0",
            "#TXN:1-2:x",
            "#OTHER:1",
            "TS:1",
        ] {
            assert_eq!(Annotation::parse(line.as_bytes()), None, "{line}");
        }
    }
}
