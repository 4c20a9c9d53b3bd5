//! Strings as numbers: INCR and its kin.

use crate::base::error::CommandError;
use crate::base::longdouble::LongDouble;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::journal::words;
use crate::keyspace::{NewValue, SetExpire, StringRef};
use crate::resp::Args;

pub(super) fn incr(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args.at(1), 1)
}

pub(super) fn decr(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args.at(1), -1)
}

pub(super) fn incrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let increment = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    add(ctx, args.at(1), increment)
}

pub(super) fn decrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let decrement = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let increment = decrement.checked_neg().ok_or(CommandError::DECREMENT_OVERFLOW)?;
    add(ctx, args.at(1), increment)
}

pub(super) fn incrbyfloat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    // Redis looks at the key's type before the increment.
    let before = slot.string()?;
    let increment = LongDouble::parse(args.at(2)).ok_or(CommandError::NOT_FLOAT)?;
    let before = match before {
        None => LongDouble::ZERO,
        Some(StringRef::Int(number)) => LongDouble::from(number),
        Some(StringRef::Str(bytes)) => LongDouble::parse(bytes).ok_or(CommandError::NOT_FLOAT)?,
    };
    let after = before.checked_add(increment).ok_or(CommandError::NOT_FINITE)?.to_text();
    // As in Redis the text stays a text, even if it reads as an integer.
    slot.set(NewValue::Raw(after.as_bytes()), SetExpire::Keep);
    ctx.effect(words!["SET", args.at(1), after.as_bytes(), "KEEPTTL"]);
    ctx.reply.bulk(after.as_bytes());
    Ok(())
}

#[inline]
fn add(ctx: &mut Ctx<'_, '_>, key: &[u8], increment: i64) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(key), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let before = match slot.string()? {
        None => 0,
        Some(value) => value.integer().ok_or(CommandError::NOT_INTEGER)?,
    };
    let after = before.checked_add(increment).ok_or(CommandError::OVERFLOW)?;
    slot.set(NewValue::Int(after), SetExpire::Keep);
    ctx.reply.int(after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    const OVERFLOW: &str = "-ERR increment or decrement would overflow\r\n";
    const NOT_FLOAT: &str = "-ERR value is not a valid float\r\n";
    const NOT_FINITE: &str = "-ERR increment would produce NaN or Infinity\r\n";

    #[test]
    fn counters_count() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("INCR n"), ":1\r\n");
        assert_eq!(shard.run("INCRBY n 41"), ":42\r\n");
        assert_eq!(shard.run("DECRBY n 2"), ":40\r\n");
        assert_eq!(shard.run("DECR n"), ":39\r\n");
        assert_eq!(shard.run("DECRBY n -1"), ":40\r\n");
        assert_eq!(shard.run("GET n"), "$2\r\n40\r\n");
        assert_eq!(shard.run("DECR new"), ":-1\r\n");
        // A number that was pieced together is one, too.
        assert_eq!(shard.run("APPEND n 2"), ":3\r\n");
        assert_eq!(shard.run("INCR n"), ":403\r\n");
        assert_eq!(shard.run("SET n 5 EX 10"), "+OK\r\n");
        assert_eq!(shard.run("INCR n"), ":6\r\n");
        assert_eq!(shard.run("INCRBYFLOAT n 0.5"), "$3\r\n6.5\r\n");
        assert_eq!(shard.ttl_ms("n"), Some(10_000));
    }

    #[test]
    fn counters_stay_within_64_bits() {
        let mut shard = Harness::new();
        for (before, command, reply) in [
            ("9223372036854775806", "INCR n", ":9223372036854775807\r\n"),
            ("9223372036854775807", "INCR n", OVERFLOW),
            ("-9223372036854775807", "DECR n", ":-9223372036854775808\r\n"),
            ("-9223372036854775808", "DECR n", OVERFLOW),
            ("-1", "INCRBY n -9223372036854775808", OVERFLOW),
            ("0", "INCRBY n -9223372036854775808", ":-9223372036854775808\r\n"),
            ("1", "INCRBY n 9223372036854775807", OVERFLOW),
            ("-1", "DECRBY n 9223372036854775807", ":-9223372036854775808\r\n"),
            ("-2", "DECRBY n 9223372036854775807", OVERFLOW),
            ("-5", "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n"),
            ("0", "INCRBY n 9223372036854775808", NOT_INTEGER),
            ("0", "INCRBY n 1.0", NOT_INTEGER),
            ("0", "DECRBY n ' 1'", NOT_INTEGER),
            ("0", "INCRBY n ''", NOT_INTEGER),
            ("9223372036854775808", "INCR n", NOT_INTEGER),
            ("' 1'", "INCR n", NOT_INTEGER),
            ("01", "DECR n", NOT_INTEGER),
            ("1.5", "INCR n", NOT_INTEGER),
            ("''", "INCR n", NOT_INTEGER),
        ] {
            assert_eq!(shard.run(&format!("SET n {before}")), "+OK\r\n");
            let get = shard.run("GET n");
            assert_eq!(shard.run(command), reply, "{command} of {before}");
            if reply.starts_with('-') {
                assert_eq!(shard.run("GET n"), get, "{command} of {before}");
            }
        }
    }

    /// The arithmetic itself is tested in `base::longdouble`.
    #[test]
    fn incrbyfloat_adds_as_redis_does() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("INCRBYFLOAT f 0.1"), "$3\r\n0.1\r\n");
        assert_eq!(shard.run("INCRBYFLOAT f 0.2"), "$3\r\n0.3\r\n");
        assert_eq!(shard.run("INCRBYFLOAT f 2.7"), "$1\r\n3\r\n");
        assert_eq!(shard.run("INCR f"), ":4\r\n");
        assert_eq!(shard.run("INCRBYFLOAT f -1e1"), "$2\r\n-6\r\n");
        for (before, increment, reply) in [
            ("1", "x", NOT_FLOAT),
            ("1", "nan", NOT_FLOAT),
            ("1", "' 1'", NOT_FLOAT),
            ("1", "''", NOT_FLOAT),
            ("x", "1", NOT_FLOAT),
            ("'1 '", "1", NOT_FLOAT),
            ("1", "inf", NOT_FINITE),
            ("-inf", "inf", NOT_FINITE),
            ("1e4932", "1e4932", NOT_FINITE),
        ] {
            assert_eq!(shard.run(&format!("SET f {before}")), "+OK\r\n");
            assert_eq!(shard.run(&format!("INCRBYFLOAT f {increment}")), reply, "{before} + {increment}");
        }
        assert_eq!(shard.run("SADD s m"), ":1\r\n");
        assert!(shard.run("INCRBYFLOAT s x").starts_with("-WRONGTYPE"));
    }
}
