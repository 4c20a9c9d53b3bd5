//! Single fields: HGET and HSET with their kin, HDEL, HEXISTS, HSTRLEN, HINCRBY, HINCRBYFLOAT.

use super::effects::effect_expiry;
use super::{read, reply_value};
use crate::base::error::CommandError;
use crate::base::longdouble::LongDouble;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::collection::{Collection, Edit};
use crate::ds::hash::FieldExpire;
use crate::ds::listpack::Packed;
use crate::journal::words;
use crate::keyspace::Hash;
use crate::resp::Args;

pub(super) fn hget(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?;
    reply_value(ctx.reply, hash.get(args.at(2)).map(|item| item.value));
    Ok(())
}

pub(super) fn hmget(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?;
    let names = args.iter_from(2);
    ctx.reply.array(names.len());
    names.for_each(|name| reply_value(ctx.reply, hash.get(name).map(|item| item.value)));
    Ok(())
}

pub(super) fn hexists(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?;
    ctx.reply.int(i64::from(hash.get(args.at(2)).is_some()));
    Ok(())
}

pub(super) fn hstrlen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?;
    let item = hash.get(args.at(2));
    ctx.reply.count(item.map_or(0, |item| item.value.bytes(&mut itoa::Buffer::new()).len()));
    Ok(())
}

pub(super) fn hset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let added = set_pairs(ctx, args, "hset")?;
    ctx.reply.int(added);
    Ok(())
}

pub(super) fn hmset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    set_pairs(ctx, args, "hmset")?;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn hsetnx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let (name, value) = (args.at(2), args.at(3));
    let (is_new, is_volatile) = slot.edit(|hash: &mut Hash, edit| {
        let is_new = hash.as_ref().get(edit.hasher, name, now).is_none();
        let is_volatile = hash.as_ref().is_volatile();
        if is_new {
            hash.set(edit, name, value, FieldExpire::Clear);
            edit.changed(1);
        }
        (is_new, is_volatile)
    })?;
    if is_new && is_volatile {
        // It may have been there, expired.
        ctx.effect(words!["HSET", args.at(1), name, value]);
    }
    ctx.reply.int(i64::from(is_new));
    Ok(())
}

pub(super) fn hdel(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let mut removed = 0;
    if slot.hash()?.is_some() {
        slot.edit(|hash: &mut Hash, edit| {
            removed = args.iter_from(2).filter(|name| hash.remove(edit, name)).count();
            edit.changed(removed as u64);
        })?;
    }
    ctx.reply.count(removed);
    Ok(())
}

pub(super) fn hincrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let increment = parse_i64(args.at(3)).ok_or(CommandError::NOT_INTEGER)?;
    let after = compute(ctx, args, false, |before| {
        let before = match before {
            None => 0,
            Some(Packed::Int(number)) => number,
            Some(Packed::Bytes(bytes)) => parse_i64(bytes).ok_or(CommandError::HASH_NOT_INTEGER)?,
        };
        let after = before.checked_add(increment).ok_or(CommandError::OVERFLOW)?;
        Ok((itoa::Buffer::new().format(after).to_owned(), after))
    })?;
    ctx.reply.int(after);
    Ok(())
}

pub(super) fn hincrbyfloat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let increment = LongDouble::parse(args.at(3)).ok_or(CommandError::NOT_FLOAT)?;
    if increment == LongDouble::Infinite {
        return Err(CommandError::INCREMENT_NOT_FINITE);
    }
    let after = compute(ctx, args, true, |before| {
        let before = match before {
            None => LongDouble::ZERO,
            Some(Packed::Int(number)) => LongDouble::from(number),
            Some(Packed::Bytes(bytes)) => LongDouble::parse(bytes).ok_or(CommandError::HASH_NOT_FLOAT)?,
        };
        let after = before.checked_add(increment).ok_or(CommandError::NOT_FINITE)?.to_text();
        Ok((after.clone(), after))
    })?;
    ctx.reply.bulk(after.as_bytes());
    Ok(())
}

/// Sets the fields that follow the key; how many are new.
fn set_pairs(ctx: &mut Ctx<'_, '_>, args: Args<'_>, command: &str) -> Result<i64, CommandError> {
    if args.len() % 2 != 0 {
        return Err(CommandError::arity(command));
    }
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let added = slot.edit(|hash: &mut Hash, edit| {
        let pairs = (args.len() - 2) / 2;
        hash.reserve(edit, pairs);
        edit.changed(pairs as u64);
        let set = |at| hash.set(edit, args.at(at), args.at(at + 1), FieldExpire::Clear);
        (2..args.len()).step_by(2).map(set).filter(|&is_new| is_new).count()
    })?;
    Ok(added as i64)
}

/// Sets the field in argument 2 to what `f` makes of its value: a text, and what to reply. Its expiry stays. The
/// journal has the text if it is to; it is where fields expire, since the field may have been there, expired.
fn compute<R>(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    as_text: bool,
    f: impl FnOnce(Option<Packed<'_>>) -> Result<(String, R), CommandError>,
) -> Result<R, CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let (text, reply, is_volatile, expire_at) = slot.edit(|hash: &mut Hash, edit: &mut Edit<'_>| {
        let before = hash.as_ref().get(edit.hasher, args.at(2), now);
        let expire_at = before.and_then(|item| item.expire_at);
        let (text, reply) = f(before.map(|item| item.value))?;
        let is_volatile = hash.as_ref().is_volatile();
        hash.set(edit, args.at(2), text.as_bytes(), FieldExpire::Keep);
        edit.changed(1);
        Ok::<_, CommandError>((text, reply, is_volatile, expire_at))
    })??;
    if as_text || is_volatile {
        ctx.effect(words!["HSET", args.at(1), args.at(2), text.as_bytes()]);
        if let Some(at) = expire_at {
            effect_expiry(ctx, args.at(1), at, [args.at(2)].into_iter());
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;
    use crate::resp::Proto;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn fields_are_set_read_and_removed() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("HSET h a 1 b two a 3"), ":2\r\n");
        assert_eq!(shard.run("HSET h a 1 c ''"), ":1\r\n");
        assert_eq!(shard.run("HGET h a"), "$1\r\n1\r\n");
        assert_eq!(shard.run("HGET h none"), "$-1\r\n");
        assert_eq!(shard.run("HGET none a"), "$-1\r\n");
        assert_eq!(shard.run("HMGET h b none a"), "*3\r\n$3\r\ntwo\r\n$-1\r\n$1\r\n1\r\n");
        assert_eq!(shard.run("HMGET none a b"), "*2\r\n$-1\r\n$-1\r\n");
        assert_eq!(shard.run("HMSET h d -5"), "+OK\r\n");
        assert_eq!(shard.run("HEXISTS h d"), ":1\r\n");
        assert_eq!(shard.run("HEXISTS h e"), ":0\r\n");
        assert_eq!(shard.run("HSTRLEN h d"), ":2\r\n");
        assert_eq!(shard.run("HSTRLEN h b"), ":3\r\n");
        assert_eq!(shard.run("HSTRLEN h c"), ":0\r\n");
        assert_eq!(shard.run("HSTRLEN h e"), ":0\r\n");
        assert_eq!(shard.run("HSETNX h e 1"), ":1\r\n");
        assert_eq!(shard.run("HSETNX h e 2"), ":0\r\n");
        assert_eq!(shard.run("HGET h e"), "$1\r\n1\r\n");
        assert_eq!(shard.run("HDEL h a b a none"), ":2\r\n");
        assert_eq!(shard.run("HDEL none a"), ":0\r\n");
        assert_eq!(shard.run("HDEL h c d e"), ":3\r\n");
        assert_eq!(shard.run("EXISTS h"), ":0\r\n");
        shard.proto = Proto::Resp3;
        assert_eq!(shard.run("HGET none a"), "_\r\n");
    }

    #[test]
    fn an_odd_number_of_arguments_and_other_types_are_refused() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("HSET h a 1 b"), "-ERR wrong number of arguments for 'hset' command\r\n");
        assert_eq!(shard.run("HMSET h a 1 b"), "-ERR wrong number of arguments for 'hmset' command\r\n");
        assert_eq!(shard.run("EXISTS h"), ":0\r\n");
        shard.run("SET s v");
        for command in [
            "HSET s a 1",
            "HMSET s a 1",
            "HSETNX s a 1",
            "HGET s a",
            "HMGET s a",
            "HDEL s a",
            "HEXISTS s a",
            "HSTRLEN s a",
            "HINCRBY s a 1",
            "HINCRBYFLOAT s a 1",
        ] {
            assert_eq!(shard.run(command), WRONG_TYPE, "{command}");
        }
        assert_eq!(shard.run("GET s"), "$1\r\nv\r\n");
        shard.run("HSET h a 1");
        assert_eq!(shard.run("GET h"), WRONG_TYPE);
        assert_eq!(shard.run("TYPE h"), "+hash\r\n");
    }

    #[test]
    fn fields_count() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("HINCRBY h n 5"), ":5\r\n");
        assert_eq!(shard.run("HINCRBY h n -7"), ":-2\r\n");
        assert_eq!(shard.run("HINCRBYFLOAT h n 0.5"), "$4\r\n-1.5\r\n");
        assert_eq!(shard.run("HINCRBYFLOAT h n 1.5"), "$1\r\n0\r\n");
        assert_eq!(shard.run("HINCRBY h n 1"), ":1\r\n");
        assert_eq!(shard.run("HINCRBYFLOAT h f 3e2"), "$3\r\n300\r\n");
        shard.run("HSET h max 9223372036854775807 text x float 1.5");
        let before = shard.run("HGETALL h");
        for (command, error) in [
            ("HINCRBY h max 1", "increment or decrement would overflow"),
            ("HINCRBY h text 1", "hash value is not an integer"),
            ("HINCRBY h float 1", "hash value is not an integer"),
            ("HINCRBY h n 1.5", "value is not an integer or out of range"),
            ("HINCRBYFLOAT h text 1", "hash value is not a float"),
            ("HINCRBYFLOAT h n x", "value is not a valid float"),
            ("HINCRBYFLOAT h n inf", "value is NaN or Infinity"),
            ("HINCRBYFLOAT h new -inf", "value is NaN or Infinity"),
        ] {
            assert_eq!(shard.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        assert_eq!(shard.run("HGETALL h"), before);
        assert_eq!(shard.run("HINCRBYFLOAT new n inf"), "-ERR value is NaN or Infinity\r\n");
        assert_eq!(shard.run("EXISTS new"), ":0\r\n");
    }
}
