//! Commands that concern the keys of all shards, in the parts of one transaction.
//!
//! FLUSHALL, FLUSHDB and SWAPDB are recorded on every shard, and mean the keys of that shard. Where the parts become
//! one they mean all keys. So what the parts have before such a command has to come before it, of all parts, and what
//! they have behind it after it. Of SWAPDB only one may be left; FLUSHALL and FLUSHDB next to each other are as good as
//! one.
//!
//! The bytes are as many as before, since the streams have counted them: a SWAPDB that is too much becomes a command
//! that does nothing and is as long.
//!
//! Between two such commands every part stays in the database that is selected at the first until it selects another,
//! and ends in the one that is selected at the second. So what the parts have before their first SELECT is put
//! together, and then what they have from it on: every record finds its database selected.

use crate::journal::scan::{Scanned, Scanner};
use crate::journal::Sink;

/// What a part has up to such a command, or to its end. Places in the part's bytes.
struct Segment {
    from: usize,
    /// Where its first SELECT begins.
    select: usize,
    to: usize,
    /// The command's end; `to` is its beginning. None at the end of the part.
    end: Option<usize>,
}

/// The parts as one piece in which these commands stand once, if there are any. None if there are none, or if the parts
/// do not agree on them.
pub(super) fn aligned(parts: &[Box<[u8]>]) -> Option<Box<[u8]>> {
    let all: Vec<Vec<Segment>> = parts.iter().map(|part| segments(part)).collect();
    let count = all.first()?.len();
    if count < 2 || all.iter().any(|segments| segments.len() != count) {
        return None;
    }
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for at in 0..count {
        let each = || parts.iter().zip(&all).map(|(part, segments)| (part, &segments[at]));
        each().for_each(|(part, segment)| out.extend_from_slice(&part[segment.from..segment.select]));
        each().for_each(|(part, segment)| out.extend_from_slice(&part[segment.select..segment.to]));
        let mut commands = each().filter_map(|(part, segment)| Some(&part[segment.to..segment.end?]));
        let Some(command) = commands.next() else { continue };
        let again = neutral(command)?;
        out.extend_from_slice(command);
        for other in commands {
            if other != command {
                return None;
            }
            out.extend_from_slice(&again);
        }
    }
    Some(out.into())
}

fn segments(part: &[u8]) -> Vec<Segment> {
    let mut scanner = Scanner::new(0);
    scanner.feed(part, 0);
    let (mut segments, mut from, mut select) = (Vec::new(), 0, None);
    loop {
        let at = scanner.at() as usize;
        // They were whole when they were pushed; were they not, the rest would be left as it is.
        if scanner.scan() != Ok(Some(Scanned::Command)) {
            segments.push(Segment { from, select: select.unwrap_or(part.len()), to: part.len(), end: None });
            return segments;
        }
        let args = scanner.args();
        match args.at(0).len() {
            6 if args.is(0, "select") => {
                select.get_or_insert(at);
            }
            6..=8 if ["swapdb", "flushdb", "flushall"].iter().any(|name| args.is(0, name)) => {
                let end = scanner.at() as usize;
                segments.push(Segment { from, select: select.take().unwrap_or(at), to: at, end: Some(end) });
                from = end;
            }
            _ => {}
        }
    }
}

/// What may stand behind a command without changing what it did: of SWAPDB something as long that does nothing.
fn neutral(command: &[u8]) -> Option<Vec<u8>> {
    let mut scanner = Scanner::new(0);
    scanner.feed(command, 0);
    scanner.scan().ok()?;
    let args = scanner.args();
    if !args.is(0, "swapdb") {
        return Some(command.to_vec());
    }
    let (a, b) = (args.get(1)?, args.get(2)?);
    let digits = a.len() + b.len();
    let mut out = Vec::with_capacity(command.len());
    if digits % 2 == 0 {
        // A database is exchanged with itself: with half of the digits there is one before the larger of the two.
        let other = format!("1{}", "0".repeat((digits / 2).saturating_sub(1)));
        let db = if a.len() == b.len() { a } else { other.as_bytes() };
        out.command([args.at(0), db, db]);
    } else {
        let frame = b"*2\r\n$4\r\nPING\r\n$10\r\n\r\n".len();
        let text = ".".repeat(command.len().checked_sub(frame)?);
        out.command(["PING", &text]);
    }
    (out.len() == command.len()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Reader;

    fn part(lines: &str) -> Box<[u8]> {
        let mut out = Vec::new();
        for line in lines.split("; ").filter(|line| !line.is_empty()) {
            out.command(line.split(' ').collect::<Vec<_>>());
        }
        out.into()
    }

    fn one(parts: &[&str]) -> Option<String> {
        let parts: Vec<_> = parts.iter().map(|lines| part(lines)).collect();
        let bytes = aligned(&parts)?;
        assert_eq!(bytes.len(), parts.iter().map(|part| part.len()).sum::<usize>());
        let mut reader = Reader::new(0);
        reader.feed(&bytes);
        let mut lines = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            lines.push(item.to_string());
        }
        Some(lines.join("; "))
    }

    #[test]
    fn what_concerns_all_keys_stands_between_what_comes_before_and_after() {
        assert_eq!(one(&["SET a 1", "SET b 1"]), None);
        assert_eq!(one(&[]), None);
        let parts = ["SET a 1; FLUSHALL; SET a 2", "FLUSHALL", "SET c 1; FLUSHALL; SET c 2"];
        let expected = "SET a 1; SET c 1; FLUSHALL; FLUSHALL; FLUSHALL; SET a 2; SET c 2";
        assert_eq!(one(&parts).as_deref(), Some(expected));
        // They do not agree.
        assert_eq!(one(&["FLUSHALL", "SET b 1"]), None);
        assert_eq!(one(&["FLUSHALL", "flushdb"]), None);
        assert_eq!(one(&["SWAPDB 1 2", "SWAPDB 1 3"]), None);
    }

    #[test]
    fn every_record_finds_its_database_selected() {
        let parts = [
            "SELECT 3; SET a 1; flushdb; SET a 2; SELECT 5; SET a 3; SELECT 0",
            "SET b 0; SELECT 3; flushdb; SELECT 0",
            "SELECT 7; SET c 1; SELECT 3; flushdb; SET c 2; SELECT 0",
        ];
        let expected =
            "SET b 0; SELECT 3; SET a 1; SELECT 3; SELECT 7; SET c 1; SELECT 3; flushdb; flushdb; flushdb; \
                        SET a 2; SET c 2; SELECT 5; SET a 3; SELECT 0; SELECT 0; SELECT 0";
        assert_eq!(one(&parts).as_deref(), Some(expected));
    }

    #[test]
    fn databases_are_exchanged_once() {
        for (first, again) in [
            ("SWAPDB 0 9", "SWAPDB 0 0"),
            ("swapdb 12 10", "swapdb 12 12"),
            ("SWAPDB 0 10", "PING .........."),
            ("SWAPDB 100 3", "SWAPDB 10 10"),
            ("SWAPDB 100 30", "PING ............"),
            ("SWAPDB 10000 3", "SWAPDB 100 100"),
        ] {
            let expected = format!("SET a 1; {first}; {again}; {again}; SET b 1");
            let parts = [&format!("SET a 1; {first}"), first, &format!("{first}; SET b 1")];
            assert_eq!(one(&parts), Some(expected));
        }
    }
}
