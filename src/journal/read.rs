//! Reading a stream of records, or an AOF that a Redis from 5 to 7.2 wrote, in whatever pieces it comes.
//!
//! The end of a file may be torn: the machine stopped while it was written. `Reader::tail` tells up to where it is
//! whole. Anything else that is no command is damage, and refused with its place, as Redis refuses a "Bad file format".
//!
//! Invariant: what is kept is what was fed and not read, whatever lengths the bytes claim.
//!
//! Not here: an RDB preamble, and what becomes of a transaction some of whose parts are missing.

use std::fmt;

use super::record::Annotation;
use super::scan::{Scanned, Scanner};
use crate::base::num::parse_u64;
use crate::resp::Args;

/// See the module.
#[derive(Debug)]
pub struct Reader {
    scanner: Scanner,
    tail: Tail,
    /// Whether a MULTI has no EXEC yet.
    is_open: bool,
    /// Whether an annotation belongs to the record that follows.
    is_announced: bool,
    is_home: bool,
    damage: Option<Damage>,
}

/// One thing in the stream.
#[derive(Clone, Copy)]
pub enum Item<'a> {
    /// A command; MULTI and EXEC are commands, too.
    Command {
        /// Its words.
        args: Args<'a>,
        /// Its place in the stream.
        offset: u64,
    },
    /// A line that begins with `#`, as it is: `Annotation::parse` reads it.
    Annotation {
        /// The line without its end.
        line: &'a [u8],
        /// Its place in the stream.
        offset: u64,
    },
}

/// How far what was read is whole. A torn end is cut off at one of the first two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Where the last whole record of ours ends: database 0 is selected, no MULTI is open, and no part of a transaction
    /// announced that is not there. More can be appended here.
    pub records: u64,
    /// Where the last whole command ends that stands in no open MULTI, whatever database is selected: what counts in a
    /// file of Redis's, which begins to write with a SELECT.
    pub commands: u64,
    /// Where the stream that was fed ends.
    pub end: u64,
}

/// What is wrong in the middle of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the command begins that cannot be read.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Reader {
    /// Reads from this place of a stream on.
    pub fn new(offset: u64) -> Self {
        Reader {
            scanner: Scanner::new(offset),
            tail: Tail { records: offset, commands: offset, end: offset },
            is_open: false,
            is_announced: false,
            is_home: true,
            damage: None,
        }
    }

    /// The next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What was read makes room.
        self.scanner.feed(bytes, self.scanner.at());
        self.tail.end += bytes.len() as u64;
    }

    /// The next thing in the stream; `None` where more bytes are needed.
    ///
    /// # Errors
    /// The stream is damaged here, and nothing after it can be read: the same error comes again.
    #[allow(clippy::should_implement_trait, reason = "an item borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Damage> {
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        let offset = self.scanner.at();
        let scanned = self.scanner.scan().and_then(|scanned| {
            match scanned {
                Some(Scanned::Command) => self.follow()?,
                Some(Scanned::Annotation(at, len)) => {
                    let line = self.scanner.slice(at, at + len as u64);
                    self.is_announced |= matches!(Annotation::parse(line), Some(Annotation::Txn(_)));
                    self.settle();
                }
                None => {}
            }
            Ok(scanned)
        });
        match scanned {
            Ok(None) => Ok(None),
            Ok(Some(Scanned::Annotation(at, len))) => {
                Ok(Some(Item::Annotation { line: self.scanner.slice(at, at + len as u64), offset }))
            }
            Ok(Some(Scanned::Command)) => Ok(Some(Item::Command { args: self.scanner.args(), offset })),
            Err(reason) => {
                let damage = Damage { offset, reason };
                self.damage = Some(damage);
                Err(damage)
            }
        }
    }

    /// How far the stream is whole, as far as it was read.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Takes note of what the command just read means for the commands after it.
    fn follow(&mut self) -> Result<(), &'static str> {
        let args = self.scanner.args();
        if args.is(0, "multi") {
            if self.is_open {
                return Err("a MULTI within a MULTI");
            }
            self.is_open = true;
        } else if args.is(0, "exec") {
            if !self.is_open {
                return Err("an EXEC without a MULTI");
            }
            self.is_open = false;
        } else if args.is(0, "select") && args.len() == 2 {
            self.is_home = parse_u64(args.at(1)) == Some(0);
        }
        if !self.is_open {
            self.is_announced = false;
        }
        self.settle();
        Ok(())
    }

    /// What was read is whole, unless something is open.
    fn settle(&mut self) {
        if self.is_open || self.is_announced {
            return;
        }
        let at = self.scanner.at();
        self.tail.commands = at;
        if self.is_home {
            self.tail.records = at;
        }
    }
}

impl fmt::Display for Item<'_> {
    /// As one would type it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Annotation { line, .. } => write!(f, "{}", line.escape_ascii()),
            Item::Command { args, .. } => args.iter_from(0).enumerate().try_for_each(|(at, word)| {
                f.write_str(if at > 0 { " " } else { "" })?;
                write!(f, "{}", word.escape_ascii())
            }),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a stream that comes in pieces of this size, where it is whole, and what is damaged.
    fn read(stream: &[u8], piece: usize) -> (Vec<(u64, String)>, Tail, Option<Damage>) {
        let mut reader = Reader::new(100);
        let mut items = Vec::new();
        for piece in stream.chunks(piece) {
            reader.feed(piece);
            loop {
                match reader.next() {
                    Ok(Some(item)) => {
                        let (Item::Command { offset, .. } | Item::Annotation { offset, .. }) = item;
                        items.push((offset, item.to_string()));
                    }
                    Ok(None) => break,
                    Err(damage) => return (items, reader.tail(), Some(damage)),
                }
            }
        }
        (items, reader.tail(), None)
    }

    fn command(words: &str) -> Vec<u8> {
        let mut out = Vec::new();
        super::super::record::Sink::command(&mut out, words.split(' '));
        out
    }

    #[test]
    fn commands_and_annotations_come_in_order() {
        let mut stream = command("SET a 1");
        stream.extend_from_slice(b"#TS:5\r\n#other\n");
        stream.extend(command("DEL a"));
        for piece in [1, 2, 3, 10, 1000] {
            let (items, tail, damage) = read(&stream, piece);
            let items: Vec<_> = items.iter().map(|(offset, item)| (*offset, item.as_str())).collect();
            assert_eq!(items, [(100, "SET a 1"), (127, "#TS:5"), (134, "#other"), (141, "DEL a")]);
            let end = 100 + stream.len() as u64;
            assert_eq!((tail, damage), (Tail { records: end, commands: end, end }, None));
        }
    }

    #[test]
    fn a_torn_end_is_cut_after_the_last_whole_record() {
        // Pieces, and whether a record of ours, and a command of Redis's, is whole when the piece is.
        let pieces: [(&[u8], bool, bool); 12] = [
            (&command("SET a 1"), true, true),
            (b"#TS:5\r\n", true, true),
            (&command("SELECT 1"), false, true),
            (&command("SET a 1"), false, true),
            (&command("SELECT 0"), true, true),
            (&command("multi"), false, false),
            (&command("SET a 1"), false, false),
            (&command("EXEC"), true, true),
            (b"#TXN:0-1:0,1\r\n", false, false),
            (&command("MULTI"), false, false),
            (&command("EXEC"), true, true),
            (&command("DEL b"), true, true),
        ];
        let stream = pieces.map(|(bytes, ..)| bytes).concat();
        let (mut records, mut commands, mut at) = (100, 100, 0);
        for (bytes, ends_record, ends_command) in pieces {
            for cut in at..at + bytes.len() {
                let (_, tail, damage) = read(&stream[..cut], 7);
                assert_eq!(damage, None);
                assert_eq!(tail, Tail { records, commands, end: 100 + cut as u64 }, "cut at {cut}");
            }
            at += bytes.len();
            records = if ends_record { 100 + at as u64 } else { records };
            commands = if ends_command { 100 + at as u64 } else { commands };
        }
    }

    #[test]
    fn damage_is_found_with_its_place() {
        let sound = command("SET a 1");
        for (bytes, reason) in [
            (&b"SET a 1\r\n"[..], "a command must begin with '*'"),
            (b"\0\0\0", "a command must begin with '*'"),
            (b"*x\r\n", "a length is no number, or out of range"),
            (b"*0\r\n", "a command must have at least a name"),
            (b"*-1\r\n", "a command must have at least a name"),
            (b"*1\r\n:1\r\n", "a length is no number, or out of range"),
            (b"*1\r\n$-1\r\n", "a length is no number, or out of range"),
            (b"*1\r\n$99999999999\r\n", "a length is no number, or out of range"),
            (b"*1\r\n$4\r\nPINGxx*1\r\n", "an argument does not end where it should"),
            (b"*1\r\n$4\r\nEXEC\r\n", "an EXEC without a MULTI"),
            (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", "a MULTI within a MULTI"),
            (&[b'#'; 2000], "an annotation is too long"),
        ] {
            let stream = [&sound[..], bytes].concat();
            for piece in [1, 3, 10_000] {
                let (items, tail, damage) = read(&stream, piece);
                let damage = damage.unwrap_or_else(|| panic!("{}", bytes.escape_ascii()));
                assert_eq!(damage.reason, reason, "{}", bytes.escape_ascii());
                let is_second = reason.starts_with("a MULTI");
                assert_eq!(damage.offset, 127 + if is_second { 15 } else { 0 });
                assert_eq!(items.len(), 1 + usize::from(is_second));
                assert_eq!((tail.records, tail.commands), (127, 127));
            }
        }
    }
}
