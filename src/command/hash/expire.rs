//! When fields expire: HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HPERSIST; HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME.
//!
//! All of them name several fields, `FIELDS numfields field [field ...]`, and reply with a number for each.

use super::effects::Names;
use super::read;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::command::Ctx;
use crate::ds::collection::{Collection, Edit};
use crate::journal::words;
use crate::keyspace::Hash;
use crate::resp::Args;

/// No field expires later, as in Redis, which keeps 48 bits.
const EXPIRY_MAX: i64 = (1 << 48) - 2;

/// What is replied of a field: it does not exist; it does not expire; the condition is not met; done; its time was in
/// the past, so it was removed.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const NOT_MET: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

/// In what a time is given or told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// From where a time is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Now,
    Epoch,
}

/// Which field's expiry is replaced by another. A field without expiry lives for ever, so GT never changes it and LT
/// always does.
#[derive(Clone, Copy)]
enum Condition {
    Always,
    /// NX.
    IfNone,
    /// XX.
    IfAny,
    /// GT.
    IfLater,
    /// LT.
    IfEarlier,
}

impl Condition {
    fn named(word: &[u8]) -> Option<Condition> {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => Some(Condition::IfNone),
            b"xx" => Some(Condition::IfAny),
            b"gt" => Some(Condition::IfLater),
            b"lt" => Some(Condition::IfEarlier),
            _ => None,
        }
    }

    fn allows(self, old: Option<UnixMs>, new: UnixMs) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => old.is_none(),
            Condition::IfAny => old.is_some(),
            Condition::IfLater => old.is_some_and(|old| new > old),
            Condition::IfEarlier => old.is_none_or(|old| new < old),
        }
    }
}

pub(super) fn hexpire(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "hexpire", Unit::Seconds, Since::Now)
}

pub(super) fn hpexpire(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "hpexpire", Unit::Milliseconds, Since::Now)
}

pub(super) fn hexpireat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "hexpireat", Unit::Seconds, Since::Epoch)
}

pub(super) fn hpexpireat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set(ctx, args, "hpexpireat", Unit::Milliseconds, Since::Epoch)
}

pub(super) fn httl(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Seconds, Since::Now)
}

pub(super) fn hpttl(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Milliseconds, Since::Now)
}

pub(super) fn hexpiretime(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Seconds, Since::Epoch)
}

pub(super) fn hpexpiretime(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(ctx, args, Unit::Milliseconds, Since::Epoch)
}

pub(super) fn hpersist(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut changed = Names::of(ctx);
    each_field(ctx, args, 2, |hash, edit, name| {
        let Some(item) = hash.as_ref().get(edit.hasher, name, edit.now) else { return NO_FIELD };
        if item.expire_at.is_none() {
            return NO_EXPIRY;
        }
        hash.set_expire(edit, name, None);
        edit.changed(1);
        changed.push(name);
        DONE
    })?;
    changed.effect(ctx, words!["HPERSIST", args.at(1), "FIELDS", changed.len()]);
    Ok(())
}

fn set(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    command: &str,
    unit: Unit,
    since: Since,
) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let expire_at = moment(args.at(2), now, command, unit, since)?;
    let (condition, fields_at) = match Condition::named(args.at(3)) {
        Some(condition) => (condition, 4),
        None => (Condition::Always, 3),
    };
    let mut changed = Names::of(ctx);
    each_field(ctx, args, fields_at, |hash, edit, name| {
        let Some(item) = hash.as_ref().get(edit.hasher, name, now) else { return NO_FIELD };
        if !condition.allows(item.expire_at, expire_at) {
            return NOT_MET;
        }
        edit.changed(1);
        changed.push(name);
        if expire_at <= now {
            hash.remove(edit, name);
            return REMOVED;
        }
        hash.set_expire(edit, name, Some(expire_at));
        DONE
    })?;
    changed.effect_expiry(ctx, args.at(1), expire_at);
    Ok(())
}

fn tell(ctx: &mut Ctx<'_, '_>, args: Args<'_>, unit: Unit, since: Since) -> Result<(), CommandError> {
    let names = fields(args, 2)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?;
    ctx.reply.array(names.len());
    for name in names {
        ctx.reply.int(match hash.get(name).map(|item| item.expire_at) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at)) => {
                let ms = if since == Since::Now { at.0 - now.0 } else { at.0 };
                // Rounded up, as in Redis: a field that lives never has 0 seconds left unless it is its last moment.
                if unit == Unit::Seconds {
                    ms.div_euclid(1000) + i64::from(ms % 1000 != 0)
                } else {
                    ms
                }
            }
        });
    }
    Ok(())
}

/// Replies with what `f` makes of each field that the words from `fields_at` on name.
fn each_field<'a>(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'a>,
    fields_at: usize,
    mut f: impl FnMut(&mut Hash, &mut Edit<'_>, &'a [u8]) -> i64,
) -> Result<(), CommandError> {
    let names = fields(args, fields_at)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    if slot.hash()?.is_none() {
        ctx.reply.array(names.len());
        names.for_each(|_| ctx.reply.int(NO_FIELD));
        return Ok(());
    }
    slot.edit(|hash: &mut Hash, edit| {
        ctx.reply.array(names.len());
        names.for_each(|name| ctx.reply.int(f(hash, edit, name)));
    })?;
    Ok(())
}

/// The fields that `FIELDS numfields field [field ...]` at `at` names.
fn fields<'a>(args: Args<'a>, at: usize) -> Result<impl ExactSizeIterator<Item = &'a [u8]>, CommandError> {
    if !args.is(at, "FIELDS") {
        return Err(CommandError::FIELDS_MISSING);
    }
    let count = args.get(at + 1).and_then(parse_i64).filter(|&count| count > 0);
    let count = count.ok_or(CommandError::NUMFIELDS_RANGE)?;
    let names = args.iter_from(at + 2);
    match usize::try_from(count) == Ok(names.len()) {
        true => Ok(names),
        false => Err(CommandError::NUMFIELDS_MISMATCH),
    }
}

/// The moment that a time names.
///
/// # Errors
/// It is no integer, negative, or beyond what an expiry can be; `command` is named in the text.
pub(super) fn moment(
    text: &[u8],
    now: UnixMs,
    command: &str,
    unit: Unit,
    since: Since,
) -> Result<UnixMs, CommandError> {
    let time = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
    if time < 0 {
        return Err(CommandError::FIELD_EXPIRE_NEGATIVE);
    }
    let ms = if unit == Unit::Seconds { time.checked_mul(1000) } else { Some(time) };
    let base_ms = if since == Since::Now { now.0 } else { 0 };
    ms.and_then(|ms| ms.checked_add(base_ms))
        .filter(|&at| at <= EXPIRY_MAX)
        .map(UnixMs)
        .ok_or_else(|| CommandError::invalid_expire(command))
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    /// A shard at a whole second with a small hash and a large one, of fields a, b and c.
    fn shard() -> Harness {
        let mut shard = Harness::new();
        shard.now_ms -= shard.now_ms % 1000;
        shard.run("HSET small a 1 b 2 c 3");
        shard.run(&format!("HSET large x {}", "v".repeat(65)));
        shard.run("HSET large a 1 b 2 c 3");
        shard.run("HDEL large x");
        shard
    }

    fn array(numbers: &[i64]) -> String {
        let elements: String = numbers.iter().map(|number| format!(":{number}\r\n")).collect();
        format!("*{}\r\n{elements}", numbers.len())
    }

    #[test]
    fn each_command_has_its_unit_and_its_origin() {
        let mut shard = shard();
        let (now_ms, now) = (shard.now_ms, shard.now_ms / 1000);
        for key in ["small", "large"] {
            for (command, time) in [
                ("HEXPIRE", 100),
                ("HPEXPIRE", 100_000),
                ("HEXPIREAT", now + 100),
                ("HPEXPIREAT", now_ms + 100_000),
            ] {
                let set = format!("{command} {key} {time} FIELDS 2 a none");
                assert_eq!(shard.run(&set), array(&[1, -2]), "{set}");
                for (command, told) in [
                    ("HTTL", 100),
                    ("HPTTL", 100_000),
                    ("HEXPIRETIME", now + 100),
                    ("HPEXPIRETIME", now_ms + 100_000),
                ] {
                    let tell = format!("{command} {key} fields 3 a b none");
                    assert_eq!(shard.run(&tell), array(&[told, -1, -2]), "{tell} after {set}");
                }
                assert_eq!(
                    shard.run(&format!("HPERSIST {key} FIELDS 3 a b none")),
                    array(&[1, -1, -2]),
                    "{set}"
                );
            }
            shard.run(&format!("HPEXPIRE {key} 1001 FIELDS 1 a"));
            assert_eq!(shard.run(&format!("HTTL {key} FIELDS 1 a")), array(&[2]), "rounded up");
        }
        assert_eq!(shard.run("OBJECT ENCODING small"), "$10\r\nlistpackex\r\n");
        assert_eq!(shard.run("OBJECT ENCODING large"), "$9\r\nhashtable\r\n");
        for command in ["HTTL none FIELDS 2 a b", "HPERSIST none FIELDS 2 a b", "HEXPIRE none 1 FIELDS 2 a b"]
        {
            assert_eq!(shard.run(command), array(&[-2, -2]));
        }
    }

    #[test]
    fn conditions_compare_with_the_expiry_before() {
        for key in ["small", "large"] {
            let mut shard = shard();
            let mut run = |time: i64, condition: &str| {
                shard.run(&format!("HPEXPIRE {key} {time} {condition} FIELDS 1 a"))
            };
            for (time, condition, done) in [
                (50, "XX", 0),
                (50, "GT", 0),
                (50, "nx", 1),
                (60, "NX", 0),
                (50, "GT", 0),
                (60, "gt", 1),
                (60, "LT", 0),
                (55, "lt", 1),
                (70, "XX", 1),
                (0, "GT", 0),
                (0, "LT", 2),
                (50, "", -2),
            ] {
                assert_eq!(run(time, condition), array(&[done]), "{key} {time} {condition}");
            }
            assert_eq!(shard.run(&format!("HPEXPIRE {key} 50 LT FIELDS 1 b")), array(&[1]), "{key}");
        }
    }

    #[test]
    fn fields_expire_and_the_hash_goes_with_the_last() {
        for key in ["small", "large"] {
            let mut shard = shard();
            shard.run(&format!("HPEXPIRE {key} 10 FIELDS 1 a"));
            shard.run(&format!("HPEXPIRE {key} 20 FIELDS 2 b c"));
            shard.now_ms += 10;
            assert_eq!(shard.run(&format!("HMGET {key} a b")), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
            shard.now_ms += 1;
            assert_eq!(shard.run(&format!("HMGET {key} a b")), "*2\r\n$-1\r\n$1\r\n2\r\n");
            assert_eq!(shard.run(&format!("HLEN {key}")), ":2\r\n");
            assert_eq!(shard.run(&format!("HEXISTS {key} a")), ":0\r\n");
            assert_eq!(shard.run(&format!("HDEL {key} a")), ":0\r\n");
            assert_eq!(shard.run(&format!("HINCRBY {key} a 5")), ":5\r\n");
            assert_eq!(shard.run(&format!("HTTL {key} FIELDS 1 a")), array(&[-1]));
            // A value that is set lives for ever; one that is counted up keeps its time.
            shard.run(&format!("HSET {key} b 5"));
            shard.run(&format!("HINCRBY {key} c 5"));
            assert_eq!(shard.run(&format!("HPTTL {key} FIELDS 2 b c")), array(&[-1, 9]));
            shard.run(&format!("HPEXPIRE {key} 9 FIELDS 2 a b"));
            assert_eq!(shard.keyspace.volatile_len(shard.db), 0);
            shard.now_ms += 10;
            assert_eq!(shard.run(&format!("EXISTS {key}")), ":0\r\n");
            assert_eq!(shard.run(&format!("HLEN {key}")), ":0\r\n");
            assert_eq!(shard.run(&format!("TYPE {key}")), "+none\r\n");
            // A time in the past removes at once, and the hash with its last field.
            shard.run(&format!("HSET {key} a 1 b 2"));
            assert_eq!(shard.run(&format!("HEXPIRE {key} 0 FIELDS 1 a")), array(&[2]));
            assert_eq!(shard.run(&format!("HEXPIREAT {key} 1 FIELDS 1 b")), array(&[2]));
            assert_eq!(shard.run(&format!("EXISTS {key}")), ":0\r\n");
        }
    }

    #[test]
    fn bad_arguments() {
        let mut shard = shard();
        shard.run("SET s v");
        let latest = ((1i64 << 48) - 2 - shard.now_ms) / 1000;
        for (command, error) in [
            ("HEXPIRE small x FIELDS 1 a", "value is not an integer or out of range"),
            ("HEXPIRE small -1 FIELDS 1 a", "invalid expire time, must be >= 0"),
            ("HEXPIRE small 9223372036854775807 FIELDS 1 a", "invalid expire time in 'hexpire' command"),
            ("HPEXPIREAT small 281474976710655 FIELDS 1 a", "invalid expire time in 'hpexpireat' command"),
            (&format!("HEXPIRE small {} FIELDS 1 a", latest + 1), "invalid expire time in 'hexpire' command"),
            (
                "HEXPIRE small 1 XX GT FIELDS 1 a",
                "Mandatory argument FIELDS is missing or not at the right position",
            ),
            ("HEXPIRE small 1 1 a b", "Mandatory argument FIELDS is missing or not at the right position"),
            ("HEXPIRE small 1 FIELDS 0 a", "Parameter `numFields` should be greater than 0"),
            ("HEXPIRE small 1 FIELDS x a", "Parameter `numFields` should be greater than 0"),
            ("HEXPIRE small 1 FIELDS 2 a", "The `numfields` parameter must match the number of arguments"),
            (
                "HEXPIRE small 1 NX FIELDS 1 a b",
                "The `numfields` parameter must match the number of arguments",
            ),
            ("HTTL small FIELDS 1 a b", "The `numfields` parameter must match the number of arguments"),
            ("HPERSIST small 1 a b", "Mandatory argument FIELDS is missing or not at the right position"),
        ] {
            assert_eq!(shard.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        assert_eq!(shard.run(&format!("HEXPIRE small {latest} FIELDS 1 a")), array(&[1]));
        for command in ["HTTL s FIELDS 1 a", "HEXPIRE s 1 FIELDS 1 a", "HPERSIST s FIELDS 1 a"] {
            assert!(shard.run(command).starts_with("-WRONGTYPE"), "{command}");
        }
    }
}
