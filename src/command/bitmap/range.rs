//! Counting and searching in a range of bits: BITCOUNT, BITPOS.

use std::ops::Range;

use super::bytes_of;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::bits;
use crate::keyspace::{IntText, ValueRef};
use crate::resp::Args;

/// What the ends of a range count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

/// A range as a request gives it: both ends are in it, and negative ones count from the end of the string.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    end: i64,
    unit: Unit,
}

impl Span {
    const WHOLE: Span = Span { start: 0, end: -1, unit: Unit::Byte };

    /// The bits of a string of `len` bytes that are meant.
    fn bits(self, len: usize) -> Range<u64> {
        let unit = match self.unit {
            Unit::Byte => 8,
            Unit::Bit => 1,
        };
        let total = len as i64 * 8 / unit;
        let from_start = |index: i64| if index < 0 { (total + index).max(0) } else { index };
        let (start, end) = (from_start(self.start), from_start(self.end).min(total - 1));
        match start <= end {
            true => (start * unit) as u64..((end + 1) * unit) as u64,
            false => 0..0,
        }
    }
}

pub(super) fn bitcount(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let span = match args.len() {
        2 => Span::WHOLE,
        4 | 5 => {
            let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
            Span { start, end, unit: args.get(4).map_or(Ok(Unit::Byte), unit)? }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut text = IntText::new();
    let value = ctx.keyspace.lookup_read(ctx.db, key, now);
    let bytes = bytes_of(value.map(ValueRef::string).transpose()?, &mut text);
    // Both before the first bit would be clamped to it; in the wrong order they name nothing all the same.
    let nothing = span.start < 0 && span.end < 0 && span.start > span.end;
    let count = if nothing { 0 } else { bits::count(bytes, span.bits(bytes.len())) };
    ctx.reply.int(count as i64);
    Ok(())
}

pub(super) fn bitpos(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let bit = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::BIT_ARGUMENT),
    };
    let mut span = Span::WHOLE;
    let has_end = match args.len() {
        3 => false,
        len @ 4..=6 => {
            span.start = integer(args.at(3))?;
            span.unit = args.get(5).map_or(Ok(Unit::Byte), unit)?;
            span.end = args.get(4).map_or(Ok(-1), integer)?;
            len > 4
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut text = IntText::new();
    let Some(value) = ctx.keyspace.lookup_read(ctx.db, key, now) else {
        // As if it were zeros without end.
        ctx.reply.int(if bit { -1 } else { 0 });
        return Ok(());
    };
    let bytes = value.string()?.bytes(&mut text);
    let bits = span.bits(bytes.len());
    let found = match bits::find(bytes, bit, bits.clone()) {
        // Where the request names no end, zeros follow the string.
        None if !bit && !has_end && !bits.is_empty() => Some(bits.end),
        found => found,
    };
    ctx.reply.int(found.map_or(-1, |at| at as i64));
    Ok(())
}

fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_i64(text).ok_or(CommandError::NOT_INTEGER)
}

fn unit(text: &[u8]) -> Result<Unit, CommandError> {
    if text.eq_ignore_ascii_case(b"bit") {
        Ok(Unit::Bit)
    } else if text.eq_ignore_ascii_case(b"byte") {
        Ok(Unit::Byte)
    } else {
        Err(CommandError::SYNTAX)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    const SYNTAX: &str = "-ERR syntax error\r\n";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

    #[test]
    fn bitcount_counts_bytes_or_bits() {
        let mut shard = Harness::new();
        shard.run("SET k foobar");
        shard.run("SET n 12");
        shard.run("SET empty ''");
        for (range, count) in [
            ("k", 26),
            ("k 0 0", 4),
            ("k 1 1 BYTE", 6),
            ("k 1 1 byte", 6),
            ("k 5 30 BIT", 17),
            ("k 0 -1 bit", 26),
            ("k 0 -5 bit", 25),
            ("k -1 -1", 4),
            ("k -1 -2", 0),
            ("k -99 -100", 0),
            ("k -100 -99", 4),
            ("k -100 -99 bit", 0),
            ("k 3 2", 0),
            ("k 6 100", 0),
            ("k 5 100", 4),
            ("k -9223372036854775808 9223372036854775807 bit", 26),
            ("n", 6),
            ("empty", 0),
            ("empty 0 -1", 0),
            ("empty -1 -1 bit", 0),
            ("none", 0),
            ("none 0 1 BIT", 0),
        ] {
            assert_eq!(shard.run(&format!("BITCOUNT {range}")), format!(":{count}\r\n"), "{range}");
        }
        for (line, error) in [
            ("k 0", SYNTAX),
            ("k 0 1 BITS", SYNTAX),
            ("k 0 1 BIT x", SYNTAX),
            ("k x 1 BITS", NOT_INTEGER),
            ("k 0 '' BIT", NOT_INTEGER),
            // Since 7.2 also where there is no key.
            ("none 0", SYNTAX),
            ("none 0 1 BITS", SYNTAX),
            ("none 0 x", NOT_INTEGER),
        ] {
            assert_eq!(shard.run(&format!("BITCOUNT {line}")), error, "{line}");
        }
    }

    #[test]
    fn bitpos_finds_the_first() {
        let mut shard = Harness::new();
        for (key, value) in [("a", "\\xff\\xf0\\x00"), ("ones", "\\xff\\xff"), ("b", "\\x00\\xff\\xf0")] {
            shard.run(&format!("SET {key} \"{value}\""));
        }
        shard.run("SET empty ''");
        for (line, found) in [
            ("a 0", 12),
            ("a 1", 0),
            ("a 1 1", 8),
            ("a 1 2", -1),
            ("b 1", 8),
            ("b 1 2", 16),
            ("b 0 1", 20),
            ("b 1 7 15 BIT", 8),
            ("b 1 0 7 bit", -1),
            ("b 0 8 19 bit", -1),
            ("b 0 8 20 bit", 20),
            ("b 1 -3 -1 byte", 8),
            ("b 0 1 -1", 20),
            ("b 1 -10 -1 bit", 14),
            ("b 1 1 0", -1),
            ("b 0 -99 -100", 0),
            // Beyond the end there are zeros, unless the end is named.
            ("ones 0", 16),
            ("ones 0 0", 16),
            ("ones 0 1", 16),
            ("ones 0 2", -1),
            ("ones 0 0 -1", -1),
            ("ones 0 0 100", -1),
            ("ones 0 0 -1 bit", -1),
            ("empty 0", -1),
            ("empty 1", -1),
            ("empty 0 0", -1),
            ("none 0", 0),
            ("none 1", -1),
            ("none 0 5 6 bit", 0),
        ] {
            assert_eq!(shard.run(&format!("BITPOS {line}")), format!(":{found}\r\n"), "{line}");
        }
        for (line, error) in [
            ("a 2", "-ERR The bit argument must be 1 or 0.\r\n"),
            ("a x", NOT_INTEGER),
            ("a 0 x", NOT_INTEGER),
            ("a 0 x 1 BITS", NOT_INTEGER),
            ("a 0 1 x BITS", SYNTAX),
            ("a 0 1 x BIT", NOT_INTEGER),
            ("a 0 1 2 BIT 3", SYNTAX),
            ("none 0 1 2 BITS", SYNTAX),
            ("none 0 x", NOT_INTEGER),
        ] {
            assert_eq!(shard.run(&format!("BITPOS {line}")), error, "{line}");
        }
    }
}
