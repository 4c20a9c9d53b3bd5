//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, PERSIST; TTL, PTTL, EXPIRETIME, PEXPIRETIME.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::command::Ctx;
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
    const NX_ALONE: CommandError =
        CommandError::new("ERR NX and XX, GT or LT options at the same time are not compatible");
    const GT_OR_LT: CommandError =
        CommandError::new("ERR GT and LT options at the same time are not compatible");

    fn parse<'a>(options: impl Iterator<Item = &'a [u8]>) -> Result<Condition, CommandError> {
        let mut condition = Condition::default();
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => condition.nx = true,
                b"xx" => condition.xx = true,
                b"gt" => condition.gt = true,
                b"lt" => condition.lt = true,
                _ => return Err(unsupported(option)),
            }
        }
        let Condition { nx, xx, gt, lt } = condition;
        if nx && (xx || gt || lt) {
            return Err(Self::NX_ALONE);
        }
        if gt && lt {
            return Err(Self::GT_OR_LT);
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

fn unsupported(option: &[u8]) -> CommandError {
    // Redis takes the option for a C string here.
    let text = option.split(|&byte| byte == 0).next().unwrap_or_default();
    CommandError::with(format!("ERR Unsupported option {}", String::from_utf8_lossy(text)))
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
    let expire_at = point_in_time(time, now, unit, since).ok_or_else(|| CommandError::invalid_expire(command))?;

    let key = ctx.first_key(args.at(1));
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let changes = slot.exists() && condition.allows(slot.expire_at(), expire_at);
    if changes {
        if expire_at <= now {
            slot.remove();
        } else {
            slot.set_expire(Some(expire_at));
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
