//! Pieces of strings: APPEND, GETRANGE, SETRANGE, STRLEN.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::ctx::CommandOptions;
use crate::command::Ctx;
use crate::keyspace::{IntText, StringRef, ValueRef};
use crate::resp::Args;

pub(super) fn strlen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let value = ctx.keyspace.lookup_read(ctx.db, key, now);
    ctx.reply.count(value.map(ValueRef::string).transpose()?.map_or(0, StringRef::string_len));
    Ok(())
}

pub(super) fn append(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let bytes = args.at(2);
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    // A new string is one argument, which was checked when it was read.
    if let Some(value) = slot.string()? {
        check_length(ctx.options, value.string_len() as u64, bytes)?;
    }
    ctx.reply.count(slot.append(bytes));
    Ok(())
}

pub(super) fn setrange(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let offset = u64::try_from(offset).map_err(|_| CommandError::OFFSET_RANGE)?;
    let bytes = args.at(3);
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    // Nothing to write: nothing is created, and no offset is too large.
    let len = slot.string()?.map_or(0, StringRef::string_len);
    if bytes.is_empty() {
        ctx.reply.count(len);
        return Ok(());
    }
    check_length(ctx.options, offset, bytes)?;
    ctx.reply.count(slot.write_range(offset as usize, bytes));
    Ok(())
}

/// GETRANGE and SUBSTR.
pub(super) fn getrange(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let start = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let end = parse_i64(args.at(3)).ok_or(CommandError::NOT_INTEGER)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut text = IntText::new();
    let bytes = match ctx.keyspace.lookup_read(ctx.db, key, now) {
        Some(value) => value.string()?.bytes(&mut text),
        None => b"",
    };
    ctx.reply.bulk(part(bytes, start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both included, counted from the end where negative, and clamped.
fn part(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    // Both before the first byte would be clamped to it; in the wrong order they name nothing all the same.
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = bytes.len() as i64;
    let from_start = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end {
        return b"";
    }
    &bytes[start as usize..=end as usize]
}

/// Refuses a string that would hold `offset` bytes and then `bytes` if that is more than may be.
fn check_length(options: &CommandOptions, offset: u64, bytes: &[u8]) -> Result<(), CommandError> {
    match offset.checked_add(bytes.len() as u64) {
        Some(len) if len <= options.string_bytes_max => Ok(()),
        _ => Err(CommandError::STRING_TOO_LONG),
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    const TOO_LONG: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

    #[test]
    fn append_extends_or_creates() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("APPEND k abc"), ":3\r\n");
        assert_eq!(shard.run("APPEND k def"), ":6\r\n");
        assert_eq!(shard.run("APPEND k ''"), ":6\r\n");
        assert_eq!(shard.run("GET k"), "$6\r\nabcdef\r\n");
        assert_eq!(shard.run("APPEND empty ''"), ":0\r\n");
        assert_eq!(shard.run("GET empty"), "$0\r\n\r\n");
        assert_eq!(shard.run("SET n -12 EX 5"), "+OK\r\n");
        assert_eq!(shard.run("APPEND n 34"), ":5\r\n");
        assert_eq!(shard.run("GET n"), "$5\r\n-1234\r\n");
        assert_eq!(shard.ttl_ms("n"), Some(5_000));
        shard.options.string_bytes_max = 8;
        assert_eq!(shard.run("APPEND k gh"), ":8\r\n");
        assert_eq!(shard.run("APPEND k i"), TOO_LONG);
        assert_eq!(shard.run("GET k"), "$8\r\nabcdefgh\r\n");
    }

    #[test]
    fn setrange_overwrites_and_pads_with_zeros() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("SETRANGE k 0 ''"), ":0\r\n");
        assert_eq!(shard.run("SETRANGE k 9223372036854775807 ''"), ":0\r\n");
        assert_eq!(shard.keyspace.len(shard.db), 0);
        assert_eq!(shard.run("SETRANGE k 2 ab"), ":4\r\n");
        assert_eq!(shard.run("GET k"), "$4\r\n\0\0ab\r\n");
        assert_eq!(shard.run("SETRANGE k 1 xyzw"), ":5\r\n");
        assert_eq!(shard.run("GET k"), "$5\r\n\0xyzw\r\n");
        assert_eq!(shard.run("SETRANGE k 0 Q"), ":5\r\n");
        assert_eq!(shard.run("SETRANGE k 100 ''"), ":5\r\n");
        assert_eq!(shard.run("GET k"), "$5\r\nQxyzw\r\n");
        assert_eq!(shard.run("SETRANGE k -1 a"), "-ERR offset is out of range\r\n");
        assert_eq!(shard.run("SETRANGE k -1 ''"), "-ERR offset is out of range\r\n");
        assert_eq!(shard.run("SETRANGE k x a"), NOT_INTEGER);
        assert_eq!(shard.run("SETRANGE k 9223372036854775807 a"), TOO_LONG);
        assert_eq!(shard.run("SET n 12345 PX 7"), "+OK\r\n");
        assert_eq!(shard.run("SETRANGE n 1 0"), ":5\r\n");
        assert_eq!(shard.run("INCR n"), ":10346\r\n");
        assert_eq!(shard.ttl_ms("n"), Some(7));
        shard.options.string_bytes_max = 10;
        assert_eq!(shard.run("SETRANGE k 8 ab"), ":10\r\n");
        assert_eq!(shard.run("SETRANGE k 9 ab"), TOO_LONG);
        assert_eq!(shard.run("SETRANGE new 9 ab"), TOO_LONG);
        assert_eq!(shard.run("STRLEN new"), ":0\r\n");
    }

    #[test]
    fn getrange_clamps() {
        let mut shard = Harness::new();
        shard.run("SET k 'This is a string'");
        shard.run("SET n -1234");
        shard.run("SET e ''");
        for (range, part) in [
            ("k 0 3", "This"),
            ("k -3 -1", "ing"),
            ("k 0 -1", "This is a string"),
            ("k 10 100", "string"),
            ("k 15 15", "g"),
            ("k 16 16", ""),
            ("k 5 3", ""),
            ("k -1 -3", ""),
            ("k -100 -99", "T"),
            ("k -99 -100", ""),
            ("k -100 0", "T"),
            ("k 0 -100", "T"),
            ("k -9223372036854775808 9223372036854775807", "This is a string"),
            ("k 9223372036854775807 -9223372036854775808", ""),
            ("n 0 1", "-1"),
            ("n -2 -1", "34"),
            ("e 0 0", ""),
            ("e 0 -1", ""),
            ("e -1 0", ""),
            ("missing 0 -1", ""),
        ] {
            for command in ["GETRANGE", "SUBSTR"] {
                let reply = format!("${}\r\n{part}\r\n", part.len());
                assert_eq!(shard.run(&format!("{command} {range}")), reply, "{command} {range}");
            }
        }
        for range in ["k a 1", "k 1 a", "missing 0 ''", "k 0 9223372036854775808"] {
            assert_eq!(shard.run(&format!("GETRANGE {range}")), NOT_INTEGER, "{range}");
        }
    }

    #[test]
    fn strlen_counts_bytes() {
        let mut shard = Harness::new();
        for (value, len) in [("abc", 3), ("''", 0), ("0", 1), ("-9223372036854775808", 20), ("10", 2)] {
            shard.run(&format!("SET k {value}"));
            assert_eq!(shard.run("STRLEN k"), format!(":{len}\r\n"), "{value}");
        }
        assert_eq!(shard.run("STRLEN missing"), ":0\r\n");
    }
}
