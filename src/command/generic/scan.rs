//! KEYS, SCAN, RANDOMKEY: walking over a shard's keys.
//!
//! SCAN's cursor names the shard, too: `shard << 47 | cursor of the shard's keyspace`. A walk goes through the shards
//! one after the other, each call staying on one, and gives the guarantee of the keyspace's cursor: a key that is there
//! from the first call to the last is returned.

use crate::base::error::CommandError;
use crate::base::glob;
use crate::base::ids::ShardId;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::keyspace::EntryView;
use crate::resp::Args;

/// Bits of the cursor that belong to the keyspace.
const LOCAL_BITS: u32 = 47;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;

/// What SCAN looks at in a call without COUNT.
const COUNT_DEFAULT: usize = 10;

const INVALID_CURSOR: CommandError = CommandError::new("ERR invalid cursor");

/// The shard that a SCAN cursor stands on; `None` if the text is no cursor or names a shard that does not exist. Any
/// shard will do then: it refuses the one, and answers the other with an empty page at the end of the walk.
pub fn cursor_shard(cursor: &[u8], shards: u16) -> Option<ShardId> {
    let shard = parse_cursor(cursor)? >> LOCAL_BITS;
    u16::try_from(shard).ok().filter(|&shard| shard < shards).map(ShardId)
}

pub(super) fn keys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let pattern = wanted(args.at(1));
    let (db, now) = (ctx.db, ctx.now_ms());
    let (start, mut found) = (ctx.reply.len(), 0);
    ctx.keyspace.for_each(db, now, |key, _| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, key, false)) {
            ctx.reply.bulk(key);
            found += 1;
        }
    });
    ctx.reply.insert(start, |reply| reply.array(found));
    Ok(())
}

pub(super) fn randomkey(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) -> Result<(), CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let keys = ctx.keyspace.len(db);
    ctx.reply.array(2);
    match ctx.keyspace.random_key(db, ctx.rng, now) {
        Some(key) => {
            ctx.reply.int(keys as i64);
            ctx.reply.bulk(key);
        }
        // Keys whose time has come may still be counted; they must not be drawn.
        None => {
            ctx.reply.int(0);
            ctx.reply.null();
        }
    }
    Ok(())
}

pub(super) fn scan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.at(1)).ok_or(INVALID_CURSOR)?;
    let options = ScanOptions::parse(args)?;
    let (db, now, shard) = (ctx.db, ctx.now_ms(), u64::from(ctx.shard.0));

    ctx.reply.array(2);
    let (start, mut found) = (ctx.reply.len(), 0);
    let next = if cursor >> LOCAL_BITS == shard {
        let local = ctx.keyspace.scan(db, cursor & LOCAL_MASK, options.count, now, |key, entry| {
            if options.wants(key, entry) {
                ctx.reply.bulk(key);
                found += 1;
            }
        });
        match local {
            0 if shard + 1 < u64::from(ctx.shards) => (shard + 1) << LOCAL_BITS,
            0 => 0,
            local => shard << LOCAL_BITS | local,
        }
    } else {
        // Only a cursor that we did not give leads here.
        0
    };
    ctx.reply.insert(start, |reply| {
        let mut digits = itoa::Buffer::new();
        reply.bulk(digits.format(next).as_bytes());
        reply.array(found);
    });
    Ok(())
}

struct ScanOptions<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    /// The name of a type; one that no value has is allowed and matches nothing.
    kind: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    fn parse(args: Args<'a>) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions { count: COUNT_DEFAULT, pattern: None, kind: None };
        let mut at = 2;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(CommandError::SYNTAX)?;
            if args.is(at, "count") {
                let count = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                let count = usize::try_from(count).ok().filter(|&count| count > 0);
                options.count = count.ok_or(CommandError::SYNTAX)?;
            } else if args.is(at, "match") {
                options.pattern = wanted(value);
            } else if args.is(at, "type") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }

    fn wants(&self, key: &[u8], entry: &EntryView<'_>) -> bool {
        self.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(entry.value.kind().name().as_bytes()))
            && self.pattern.is_none_or(|pattern| glob::matches(pattern, key, false))
    }
}

/// The pattern, unless every key matches it.
fn wanted(pattern: &[u8]) -> Option<&[u8]> {
    (pattern != b"*").then_some(pattern)
}

/// A cursor as Redis reads it, which is C's `strtoul`: a sign may stand before it, and nothing at all is 0.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    // The end of a C string.
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let cursor = digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit <= 9).then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { cursor.wrapping_neg() } else { cursor })
}
