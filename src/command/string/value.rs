//! Whole strings: GET, SET and their kin.

use smallvec::SmallVec;

use super::lifetime::{Lifetime, TimeOption};
use super::reply_string;
use crate::base::error::CommandError;
use crate::base::key::Key;
use crate::command::effects::removal;
use crate::command::Ctx;
use crate::journal::words;
use crate::keyspace::{NewValue, SetExpire, ValueRef};
use crate::resp::Args;

/// How many keys of a MGET are looked up together, so that their cache misses overlap.
const WAVE: usize = 16;

pub(super) fn get(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    reply_string(ctx.reply, ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::string).transpose()?);
    Ok(())
}

pub(super) fn mget(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let mut names = args.iter_from(1);
    ctx.reply.array(names.len());
    while names.len() > 0 {
        let keys: SmallVec<[Key<'_>; WAVE]> = names.by_ref().take(WAVE).map(|name| ctx.key(name)).collect();
        keys.iter().for_each(|key| ctx.keyspace.prefetch_bucket(ctx.db, key.hash()));
        keys.iter().for_each(|key| ctx.keyspace.prefetch_entry(ctx.db, key.hash()));
        for key in keys {
            // A key of another type counts as absent.
            let value = ctx.keyspace.lookup_read(ctx.db, key, now);
            reply_string(ctx.reply, value.and_then(|value| value.string().ok()));
        }
    }
    Ok(())
}

pub(super) fn getdel(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    slot.count_read();
    reply_string(ctx.reply, slot.string()?);
    slot.remove();
    ctx.effect(words!["DEL", args.at(1)]);
    Ok(())
}

pub(super) fn getset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    slot.count_read();
    reply_string(ctx.reply, slot.string()?);
    slot.set(NewValue::Bytes(args.at(2)), SetExpire::Clear);
    ctx.effect(words!["SET", args.at(1), args.at(2)]);
    Ok(())
}

pub(super) fn getex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut lifetime = Lifetime::Unsaid;
    let mut at = 2;
    while at < args.len() {
        at = lifetime.take(args, at, "PERSIST").ok_or(CommandError::SYNTAX)?;
    }
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    slot.count_read();
    if !slot.exists() {
        ctx.reply.null();
        return Ok(());
    }
    match lifetime {
        Lifetime::Unsaid => reply_string(ctx.reply, slot.string()?),
        Lifetime::Word => {
            reply_string(ctx.reply, slot.string()?);
            if slot.expire_at().is_some() {
                slot.set_expire(None);
                ctx.effect(words!["PERSIST", args.at(1)]);
            }
        }
        Lifetime::Time(option, text) => {
            let deadline = option.deadline(text, now, "getex")?;
            reply_string(ctx.reply, slot.string()?);
            if deadline <= now {
                slot.remove();
                ctx.effect(words![removal(ctx.options.lazyfree.expire), args.at(1)]);
            } else {
                slot.set_expire(Some(deadline));
                ctx.effect(words!["PEXPIREAT", args.at(1), deadline.0]);
            }
        }
    }
    Ok(())
}

pub(super) fn set(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let value = NewValue::Bytes(args.at(2));
    if args.len() == 3 {
        ctx.keyspace.set(ctx.db, ctx.first_key(args.at(1)), now, value, SetExpire::Clear);
        ctx.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args)?;
    let expire = match options.lifetime {
        Lifetime::Unsaid => SetExpire::Clear,
        Lifetime::Word => SetExpire::Keep,
        Lifetime::Time(option, text) => SetExpire::At(option.deadline(text, now, "set")?),
    };
    let key = ctx.first_key(args.at(1));
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let permitted = options.condition.permits(slot.exists());
    if options.get {
        slot.count_read();
        reply_string(ctx.reply, slot.string()?);
    } else if permitted {
        ctx.reply.ok();
    } else {
        ctx.reply.null();
    }
    if permitted {
        slot.set(value, expire);
        match expire {
            SetExpire::At(at) => ctx.effect(words!["SET", args.at(1), args.at(2), "PXAT", at.0]),
            SetExpire::Keep if options.get => ctx.effect(words!["SET", args.at(1), args.at(2), "KEEPTTL"]),
            SetExpire::Clear if options.get => ctx.effect(words!["SET", args.at(1), args.at(2)]),
            SetExpire::Keep | SetExpire::Clear => {}
        }
    }
    Ok(())
}

pub(super) fn setnx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let absent = !slot.exists();
    if absent {
        slot.set(NewValue::Bytes(args.at(2)), SetExpire::Clear);
    }
    ctx.reply.int(i64::from(absent));
    Ok(())
}

pub(super) fn setex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set_until(ctx, args, TimeOption::Ex, "setex")
}

pub(super) fn psetex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set_until(ctx, args, TimeOption::Px, "psetex")
}

pub(super) fn mset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    check_pairs(args, "mset")?;
    set_pairs(ctx, args);
    ctx.reply.ok();
    Ok(())
}

/// On one shard; `Steps::Msetnx` tells how it is done over several.
pub(super) fn msetnx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    check_pairs(args, "msetnx")?;
    let now = ctx.now_ms();
    let exists = args.iter_from(1).step_by(2).any(|name| {
        let key = ctx.key(name);
        ctx.keyspace.find(ctx.db, key, now).exists()
    });
    if !exists {
        set_pairs(ctx, args);
    }
    ctx.reply.int(i64::from(!exists));
    Ok(())
}

/// What SET is told after key and value.
struct SetOptions<'a> {
    condition: Condition,
    lifetime: Lifetime<'a>,
    /// Whether it replies with the string that was there before.
    get: bool,
}

/// When SET sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

impl Condition {
    fn permits(self, exists: bool) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfAbsent => !exists,
            Condition::IfPresent => exists,
        }
    }
}

impl<'a> SetOptions<'a> {
    fn parse(args: Args<'a>) -> Result<SetOptions<'a>, CommandError> {
        let mut options = SetOptions { condition: Condition::Always, lifetime: Lifetime::Unsaid, get: false };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "NX") && options.condition != Condition::IfPresent {
                options.condition = Condition::IfAbsent;
                at += 1;
            } else if args.is(at, "XX") && options.condition != Condition::IfAbsent {
                options.condition = Condition::IfPresent;
                at += 1;
            } else if args.is(at, "GET") {
                options.get = true;
                at += 1;
            } else {
                at = options.lifetime.take(args, at, "KEEPTTL").ok_or(CommandError::SYNTAX)?;
            }
        }
        Ok(options)
    }
}

fn set_until(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    option: TimeOption,
    command: &str,
) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let deadline = option.deadline(args.at(2), now, command)?;
    ctx.keyspace.set(ctx.db, key, now, NewValue::Bytes(args.at(3)), SetExpire::At(deadline));
    ctx.effect(words!["SET", args.at(1), args.at(3), "PXAT", deadline.0]);
    ctx.reply.ok();
    Ok(())
}

fn check_pairs(args: Args<'_>, command: &str) -> Result<(), CommandError> {
    match args.len() % 2 {
        1 => Ok(()),
        _ => Err(CommandError::arity(command)),
    }
}

/// Sets every key after the command's name to the value that follows it.
fn set_pairs(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let now = ctx.now_ms();
    for at in (1..args.len()).step_by(2) {
        let key = ctx.key(args.at(at));
        ctx.keyspace.set(ctx.db, key, now, NewValue::Bytes(args.at(at + 1)), SetExpire::Clear);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;
    use crate::resp::Proto;

    const OK: &str = "+OK\r\n";
    const NULL: &str = "$-1\r\n";
    const SYNTAX: &str = "-ERR syntax error\r\n";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

    #[test]
    fn get_replies_with_what_set_stored() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("GET k"), NULL);
        for (value, reply) in [
            ("hello", "$5\r\nhello\r\n"),
            ("\"\"", "$0\r\n\r\n"),
            ("12", "$2\r\n12\r\n"),
            ("-9223372036854775808", "$20\r\n-9223372036854775808\r\n"),
            ("9223372036854775808", "$19\r\n9223372036854775808\r\n"),
            ("012", "$3\r\n012\r\n"),
            ("-0", "$2\r\n-0\r\n"),
            ("\"a\\r\\nb\"", "$4\r\na\r\nb\r\n"),
        ] {
            assert_eq!(shard.run(&format!("SET k {value}")), OK);
            assert_eq!(shard.run("GET k"), reply, "{value}");
        }
        shard.proto = Proto::Resp3;
        assert_eq!(shard.run("GET missing"), "_\r\n");
    }

    #[test]
    fn set_takes_its_options_in_any_case_and_order() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("SET k v XX"), NULL);
        assert_eq!(shard.run("SET k v nx"), OK);
        assert_eq!(shard.run("SET k w NX"), NULL);
        assert_eq!(shard.run("SET k w xX GET"), "$1\r\nv\r\n");
        assert_eq!(shard.run("SET k x nx get"), "$1\r\nw\r\n");
        assert_eq!(shard.run("GET k"), "$1\r\nw\r\n");
        assert_eq!(shard.run("SET new 1 GET NX"), NULL);
        assert_eq!(shard.run("GET new"), "$1\r\n1\r\n");
        assert_eq!(shard.run("SET other 1 GET XX"), NULL);
        assert_eq!(shard.run("GET other"), NULL);
        assert_eq!(shard.run("SET k y EX 10 GET XX"), "$1\r\nw\r\n");
        assert_eq!(shard.ttl_ms("k"), Some(10_000));
        assert_eq!(shard.run("SET k z GET GET KEEPTTL KEEPTTL XX XX"), "$1\r\ny\r\n");
        assert_eq!(shard.ttl_ms("k"), Some(10_000));
        assert_eq!(shard.run("SET k z EX 10 EX 20"), OK);
        assert_eq!(shard.ttl_ms("k"), Some(20_000));
        assert_eq!(shard.run("SET k z"), OK);
        assert_eq!(shard.ttl_ms("k"), None);
        assert_eq!(shard.run("SET absent z KEEPTTL"), OK);
        assert_eq!(shard.ttl_ms("absent"), None);
    }

    #[test]
    fn set_refuses_options_that_contradict() {
        let mut shard = Harness::new();
        for options in [
            "NX XX",
            "XX NX",
            "GET NX XX",
            "KEEPTTL EX 10",
            "EX 10 KEEPTTL",
            "EX 10 PX 10",
            "PX 10 EXAT 10",
            "EXAT 10 PXAT 10",
            "PXAT 10 EX 10",
            "EX",
            "PX",
            "EXAT",
            "NX PXAT",
            "PERSIST",
            "10",
            "NOSUCH",
            "EX 10 10",
        ] {
            assert_eq!(shard.run(&format!("SET k v {options}")), SYNTAX, "{options}");
        }
        assert_eq!(shard.run("SET k"), "-ERR wrong number of arguments for 'set' command\r\n");
        assert_eq!(shard.run("GET k"), NULL);
    }

    #[test]
    fn keys_expire_when_they_were_told_to() {
        let mut shard = Harness::new();
        let now = shard.now_ms;
        let at_seconds = now / 1000 + 10;
        for (command, ttl_ms) in [
            ("SET k v EX 10".to_owned(), 10_000),
            ("SET k v px 1500".to_owned(), 1_500),
            (format!("SET k v EXAT {at_seconds}"), at_seconds * 1000 - now),
            (format!("SET k v pxat {}", now + 700), 700),
            ("SETEX k 20 v".to_owned(), 20_000),
            ("PSETEX k 20 v".to_owned(), 20),
        ] {
            assert_eq!(shard.run(&command), OK);
            assert_eq!(shard.ttl_ms("k"), Some(ttl_ms), "{command}");
            shard.now_ms = now + ttl_ms;
            assert_eq!(shard.run("GET k"), "$1\r\nv\r\n", "{command}");
            shard.now_ms = now + ttl_ms + 1;
            assert_eq!(shard.run("GET k"), NULL, "{command}");
            shard.now_ms = now;
        }
        // A moment that has passed: set, and gone.
        assert_eq!(shard.run("SET k v"), OK);
        assert_eq!(shard.run("SET k w EXAT 1"), OK);
        assert_eq!(shard.run("GET k"), NULL);
    }

    #[test]
    fn expire_times_out_of_range_are_refused() {
        let mut shard = Harness::new();
        let now = shard.now_ms;
        let latest = i64::MAX - now;
        let set = |name: &str, option: &str, time: &str| match name {
            "set" => format!("SET k v {option} {time}"),
            _ => format!("{name} k {time} v"),
        };
        for (name, option) in
            [("set", "EX"), ("set", "PX"), ("set", "EXAT"), ("set", "PXAT"), ("setex", ""), ("psetex", "")]
        {
            let invalid = format!("-ERR invalid expire time in '{name}' command\r\n");
            for time in ["0", "-1", "-9223372036854775808"] {
                assert_eq!(shard.run(&set(name, option, time)), invalid, "{name} {option} {time}");
            }
            for time in ["ten", "1.5", "", "9223372036854775808", "+5", "05"] {
                let time = format!("'{time}'");
                assert_eq!(shard.run(&set(name, option, &time)), NOT_INTEGER, "{name} {option} {time}");
            }
        }
        for (command, fits) in [
            (set("set", "PXAT", &i64::MAX.to_string()), true),
            (set("set", "PX", &latest.to_string()), true),
            (set("set", "PX", &(latest + 1).to_string()), false),
            (set("set", "EX", &(latest / 1000).to_string()), true),
            (set("set", "EX", &(latest / 1000 + 1).to_string()), false),
            (set("set", "EXAT", "9223372036854775"), true),
            (set("set", "EXAT", "9223372036854776"), false),
            (set("set", "EX", &i64::MAX.to_string()), false),
        ] {
            let expected = if fits { OK } else { "-ERR invalid expire time in 'set' command\r\n" };
            assert_eq!(shard.run(&command), expected, "{command}");
        }
    }

    #[test]
    fn setnx_sets_once() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("SETNX k 1"), ":1\r\n");
        assert_eq!(shard.run("SETNX k 2"), ":0\r\n");
        assert_eq!(shard.run("GET k"), "$1\r\n1\r\n");
        assert_eq!(shard.run("SET k 1 PX 1"), OK);
        shard.now_ms += 2;
        assert_eq!(shard.run("SETNX k 3"), ":1\r\n");
        assert_eq!(shard.ttl_ms("k"), None);
    }

    #[test]
    fn getset_and_getdel_reply_with_the_value_before() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("GETSET k 5"), NULL);
        assert_eq!(shard.run("SET k 5 EX 9"), OK);
        assert_eq!(shard.run("GETSET k new"), "$1\r\n5\r\n");
        assert_eq!(shard.ttl_ms("k"), None);
        assert_eq!(shard.run("GETDEL k"), "$3\r\nnew\r\n");
        assert_eq!(shard.run("GETDEL k"), NULL);
        assert_eq!(shard.run("GET k"), NULL);
    }

    #[test]
    fn getex_changes_only_the_expiry() {
        let mut shard = Harness::new();
        let value = "$1\r\nv\r\n";
        assert_eq!(shard.run("SET k v"), OK);
        assert_eq!(shard.run("GETEX k"), value);
        assert_eq!(shard.run("GETEX k EX 10"), value);
        assert_eq!(shard.ttl_ms("k"), Some(10_000));
        assert_eq!(shard.run("GETEX k"), value);
        assert_eq!(shard.ttl_ms("k"), Some(10_000));
        assert_eq!(shard.run("GETEX k px 10 PX 30"), value);
        assert_eq!(shard.ttl_ms("k"), Some(30));
        assert_eq!(shard.run("GETEX k persist PERSIST"), value);
        assert_eq!(shard.ttl_ms("k"), None);
        let (at_seconds, at_ms) = (shard.now_ms / 1000 + 3, shard.now_ms + 5);
        assert_eq!(shard.run(&format!("GETEX k EXAT {at_seconds}")), value);
        assert_eq!(shard.ttl_ms("k"), Some(at_seconds * 1000 - shard.now_ms));
        assert_eq!(shard.run(&format!("GETEX k PXAT {at_ms}")), value);
        assert_eq!(shard.ttl_ms("k"), Some(5));
        for options in ["EX", "EX 1 PERSIST", "PERSIST EX 1", "EX 1 PX 1", "KEEPTTL", "NX", "XX", "GET", "1"]
        {
            assert_eq!(shard.run(&format!("GETEX k {options}")), SYNTAX, "{options}");
        }
        assert_eq!(shard.run("GETEX k EX 0"), "-ERR invalid expire time in 'getex' command\r\n");
        assert_eq!(shard.run("GETEX k EX x"), NOT_INTEGER);
        // Redis looks for the key before it reads the time.
        assert_eq!(shard.run("GETEX missing EX x"), NULL);
        assert_eq!(shard.run("GETEX missing EX 1 PX"), SYNTAX);
        assert_eq!(shard.ttl_ms("k"), Some(5));
        assert_eq!(shard.run(&format!("GETEX k PXAT {}", shard.now_ms)), value);
        assert_eq!(shard.run("GETEX k"), NULL);
        assert_eq!(shard.keyspace.len(shard.db), 0);
    }

    #[test]
    fn many_keys_are_set_and_read_in_order() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("MSET a 1 b two a 3"), OK);
        assert_eq!(shard.run("MGET b nosuch a"), "*3\r\n$3\r\ntwo\r\n$-1\r\n$1\r\n3\r\n");
        assert_eq!(shard.run("MSETNX c 1 c 2"), ":1\r\n");
        assert_eq!(shard.run("MSETNX d 1 c 3"), ":0\r\n");
        assert_eq!(shard.run("MGET c d"), "*2\r\n$1\r\n2\r\n$-1\r\n");
        assert_eq!(shard.run("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' command\r\n");
        assert_eq!(shard.run("MSETNX x 1 y"), "-ERR wrong number of arguments for 'msetnx' command\r\n");
        assert_eq!(shard.run("GET x"), NULL);
        // More than one wave.
        let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
        let pairs: Vec<String> = names.iter().map(|name| format!("{name} {name}")).collect();
        assert_eq!(shard.run(&format!("MSET {}", pairs.join(" "))), OK);
        let bulks: String = names.iter().map(|name| format!("${}\r\n{name}\r\n", name.len())).collect();
        assert_eq!(shard.run(&format!("MGET {}", names.join(" "))), format!("*40\r\n{bulks}"));
        assert_eq!(shard.run("SET n1 v EX 5"), OK);
        assert_eq!(shard.run("MSET n1 w"), OK);
        assert_eq!(shard.ttl_ms("n1"), None);
    }

    #[test]
    fn reads_are_counted_as_hits_and_misses() {
        let mut shard = Harness::new();
        for command in ["SET k v", "INCR n", "APPEND k w", "SETNX k x", "MSETNX k x"] {
            shard.run(command);
        }
        assert_eq!((shard.keyspace.stats().hits, shard.keyspace.stats().misses), (0, 0));
        for command in
            ["GET k", "MGET k none", "GETEX none", "GETSET k v", "SET k v GET", "STRLEN k", "GETDEL k"]
        {
            shard.run(command);
        }
        assert_eq!((shard.keyspace.stats().hits, shard.keyspace.stats().misses), (6, 2));
    }
}
