//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, PERSIST; TTL, PTTL, EXPIRETIME, PEXPIRETIME.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::command::effects::removal;
use crate::command::Ctx;
use crate::journal::words;
use crate::resp::Args;

/// In what a time is given or told.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// From where a time is counted.
#[derive(Clone, Copy)]
enum Since {
    Now,
    Epoch,
}

pub(super) fn expire(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "expire", Unit::Seconds, Since::Now)
}

pub(super) fn pexpire(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "pexpire", Unit::Milliseconds, Since::Now)
}

pub(super) fn expireat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "expireat", Unit::Seconds, Since::Epoch)
}

pub(super) fn pexpireat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "pexpireat", Unit::Milliseconds, Since::Epoch)
}

pub(super) fn ttl(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Seconds, Since::Now)
}

pub(super) fn pttl(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Milliseconds, Since::Now)
}

pub(super) fn expiretime(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Seconds, Since::Epoch)
}

pub(super) fn pexpiretime(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Milliseconds, Since::Epoch)
}

pub(super) fn persist(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.first_key(args.at(1));
    let mut slot = ctx.keyspace.find(ctx.db, key, ctx.now.unix_ms());
    let volatile = slot.expire_at().is_some();
    if volatile {
        slot.set_expire(None);
    }
    ctx.reply.int(i64::from(volatile));
    Ok(())
}

/// When a new expiry takes the place of the old one. A key without expiry lives for ever, so GT never changes it and
/// LT always does.
#[derive(Clone, Copy, Default)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse<'a>(options: impl Iterator<Item = &'a [u8]>) -> Result<Condition, CommandError> {
        let mut condition = Condition::default();
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => condition.nx = true,
                b"xx" => condition.xx = true,
                b"gt" => condition.gt = true,
                b"lt" => condition.lt = true,
                _ => return Err(CommandError::unsupported_option(option)),
            }
        }
        let Condition { nx, xx, gt, lt } = condition;
        if nx && (xx || gt || lt) {
            return Err(CommandError::EXPIRE_NX_ALONE);
        }
        if gt && lt {
            return Err(CommandError::EXPIRE_GT_LT);
        }
        Ok(condition)
    }

    fn allows(self, old: Option<UnixMs>, new: UnixMs) -> bool {
        match old {
            Some(old) => !self.nx && (!self.gt || new > old) && (!self.lt || new < old),
            None => !self.xx && !self.gt,
        }
    }
}

fn set(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    command: &str,
    unit: Unit,
    since: Since,
) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let condition = Condition::parse(args.iter_from(3))?;
    let time = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let expire_at =
        point_in_time(time, now, unit, since).ok_or_else(|| CommandError::invalid_expire(command))?;

    let key = ctx.first_key(args.at(1));
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let changes = slot.exists() && condition.allows(slot.expire_at(), expire_at);
    if changes {
        if expire_at <= now {
            slot.remove();
            ctx.effect(words![removal(ctx.options.lazyfree.expire), args.at(1)]);
        } else {
            slot.set_expire(Some(expire_at));
            ctx.effect(words!["PEXPIREAT", args.at(1), expire_at.0]);
        }
    }
    ctx.reply.int(i64::from(changes));
    Ok(())
}

/// The time that a command names; `None` where it does not fit, by Redis's rules: negative times are in the past, not
/// wrong.
fn point_in_time(time: i64, now: UnixMs, unit: Unit, since: Since) -> Option<UnixMs> {
    let ms = match unit {
        Unit::Seconds => time.checked_mul(1000)?,
        Unit::Milliseconds => time,
    };
    match since {
        Since::Now => ms.checked_add(now.0).map(UnixMs),
        Since::Epoch => Some(UnixMs(ms)),
    }
}

fn tell(ctx: &mut Ctx<'_, '_>, args: Args<'_>, unit: Unit, since: Since) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let key = ctx.first_key(args.at(1));
    let told = match ctx.keyspace.inspect(ctx.db, key, now) {
        None => -2,
        Some(entry) => match entry.expire_at {
            None => -1,
            Some(at) => {
                let ms = match since {
                    Since::Now => (at.0 - now.0).max(0),
                    Since::Epoch => at.0,
                };
                match unit {
                    // Rounded to the nearest second, as Redis does; written so that the largest time cannot overflow.
                    Unit::Seconds => ms / 1000 + i64::from(ms % 1000 >= 500),
                    Unit::Milliseconds => ms,
                }
            }
        },
    };
    ctx.reply.int(told);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    /// A shard at a whole second.
    fn at_whole_second() -> (Harness, i64) {
        let mut shard = Harness::new();
        shard.now_ms -= shard.now_ms % 1000;
        let now_ms = shard.now_ms;
        (shard, now_ms)
    }

    #[test]
    fn each_command_has_its_unit_and_its_origin() {
        let (mut shard, now_ms) = at_whole_second();
        shard.run("SET a 1");
        assert_eq!(shard.run("TTL a"), ":-1\r\n");
        assert_eq!(shard.run("PTTL a"), ":-1\r\n");
        assert_eq!(shard.run("EXPIRETIME a"), ":-1\r\n");
        assert_eq!(shard.run("PEXPIRETIME a"), ":-1\r\n");
        for line in [
            "EXPIRE a 100".to_owned(),
            "PEXPIRE a 100000".to_owned(),
            format!("EXPIREAT a {}", now_ms / 1000 + 100),
            format!("PEXPIREAT a {}", now_ms + 100_000),
        ] {
            assert_eq!(shard.run(&line), ":1\r\n", "{line}");
            assert_eq!(shard.run("TTL a"), ":100\r\n", "{line}");
            assert_eq!(shard.run("PTTL a"), ":100000\r\n", "{line}");
            assert_eq!(shard.run("EXPIRETIME a"), format!(":{}\r\n", now_ms / 1000 + 100), "{line}");
            assert_eq!(shard.run("PEXPIRETIME a"), format!(":{}\r\n", now_ms + 100_000), "{line}");
            assert_eq!(shard.run("PERSIST a"), ":1\r\n", "{line}");
            assert_eq!(shard.run("PERSIST a"), ":0\r\n", "{line}");
        }
        for line in ["EXPIRE none 1", "PERSIST none", "EXPIRE none -1"] {
            assert_eq!(shard.run(line), ":0\r\n", "{line}");
        }
        for line in ["TTL none", "PTTL none", "EXPIRETIME none", "PEXPIRETIME none"] {
            assert_eq!(shard.run(line), ":-2\r\n", "{line}");
        }
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        for (ms, seconds) in [(1499, 1), (1500, 2), (499, 0), (500, 1)] {
            shard.run(&format!("PEXPIRE a {ms}"));
            assert_eq!(shard.run("TTL a"), format!(":{seconds}\r\n"), "{ms}");
        }
        shard.run("PEXPIREAT a 1800000000500");
        assert_eq!(shard.run("EXPIRETIME a"), ":1800000001\r\n");
    }

    #[test]
    fn a_time_in_the_past_removes_the_key() {
        for line in [
            "EXPIRE a 0",
            "EXPIRE a -1",
            "PEXPIRE a -9223372036854775808",
            "EXPIREAT a 1",
            &format!("PEXPIREAT a {}", at_whole_second().1),
        ] {
            let (mut shard, _) = at_whole_second();
            shard.run("SET a 1");
            assert_eq!(shard.run(line), ":1\r\n", "{line}");
            assert_eq!(shard.run("DBSIZE"), ":0\r\n", "{line}");
            // Removed by a command, not by time.
            assert_eq!(shard.keyspace.stats().expired_keys, 0, "{line}");
            assert_eq!(shard.keyspace.dirty(), 2, "{line}");
        }
    }

    #[test]
    fn times_that_do_not_fit_are_refused() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        for (line, command) in [
            ("EXPIRE a 9223372036854775807", "expire"),
            ("EXPIRE a 9223372036854775", "expire"),
            ("EXPIRE a -9223372036854776", "expire"),
            ("EXPIREAT a 9223372036854776", "expireat"),
            ("PEXPIRE a 9223372036854775807", "pexpire"),
            ("PEXPIRE none 9223372036854775807", "pexpire"),
        ] {
            let error = format!("-ERR invalid expire time in '{command}' command\r\n");
            assert_eq!(shard.run(line), error, "{line}");
        }
        for line in ["EXPIRE a x", "EXPIRE a 1.0", "PEXPIREAT a 9223372036854775808", "EXPIRE none x"] {
            assert_eq!(shard.run(line), "-ERR value is not an integer or out of range\r\n", "{line}");
        }
        assert_eq!(shard.run("PTTL a"), ":-1\r\n");
        assert_eq!(shard.run("PEXPIREAT a 9223372036854775807"), ":1\r\n");
        assert_eq!(shard.run("PEXPIRETIME a"), ":9223372036854775807\r\n");
        assert_eq!(shard.run("EXPIRETIME a"), ":9223372036854776\r\n");
        assert_eq!(shard.run("EXPIREAT a 9223372036854775"), ":1\r\n");
    }

    #[test]
    fn conditions_decide_whether_the_expiry_changes() {
        // The old time to live, the new one, the option, whether it changes.
        for (old, new, option, changes) in [
            (None, 10, "NX", true),
            (Some(20), 10, "nx", false),
            (None, 10, "XX", false),
            (Some(20), 10, "xx", true),
            (None, 10, "GT", false),
            (Some(20), 10, "gt", false),
            (Some(20), 20, "GT", false),
            (Some(20), 30, "GT", true),
            (None, 10, "LT", true),
            (Some(20), 10, "lt", true),
            (Some(20), 20, "LT", false),
            (Some(20), 30, "LT", false),
            (Some(20), 30, "XX GT", true),
            (Some(20), 10, "XX LT", true),
            (None, 10, "XX LT", false),
            (None, 10, "NX NX", true),
        ] {
            let mut shard = Harness::new();
            shard.run("SET a 1");
            if let Some(old) = old {
                shard.run(&format!("EXPIRE a {old}"));
            }
            let line = format!("EXPIRE a {new} {option}");
            assert_eq!(shard.run(&line), format!(":{}\r\n", i64::from(changes)), "{old:?} {line}");
            let ttl = if changes { new } else { old.unwrap_or(-1) };
            assert_eq!(shard.run("TTL a"), format!(":{ttl}\r\n"), "{old:?} {line}");
        }
    }

    #[test]
    fn a_condition_holds_for_times_in_the_past_too() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        assert_eq!(shard.run("EXPIRE a -1 GT"), ":0\r\n");
        assert_eq!(shard.run("EXPIRE a -1 XX"), ":0\r\n");
        assert_eq!(shard.run("EXISTS a"), ":1\r\n");
        assert_eq!(shard.run("EXPIRE a -1 LT"), ":1\r\n");
        assert_eq!(shard.run("EXISTS a"), ":0\r\n");
    }

    #[test]
    fn options_are_checked_before_the_time() {
        let mut shard = Harness::new();
        for (options, error) in [
            ("NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"),
            ("NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"),
            ("LT NX", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"),
            ("NX GT LT", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"),
            ("GT LT", "-ERR GT and LT options at the same time are not compatible\r\n"),
            ("Foo", "-ERR Unsupported option Foo\r\n"),
            ("NX XX foo", "-ERR Unsupported option foo\r\n"),
        ] {
            assert_eq!(shard.run(&format!("EXPIRE a x {options}")), error, "{options}");
        }
        assert_eq!(shard.run_args(&["EXPIRE", "a", "1", "a\r\nb\0c"]), b"-ERR Unsupported option a  b\r\n");
    }
}
