//! What takes an element from one list and gives it to another: LMOVE, RPOPLPUSH, and their blocking kin BLMOVE,
//! BRPOPLPUSH (of these see `pop`).

use super::{parse_end, reply_element};
use crate::base::error::CommandError;
use crate::command::{timeout, Ctx};
use crate::ds::list::End;
use crate::journal::words;
use crate::keyspace::{IntText, List};
use crate::resp::Args;

pub(super) fn lmove(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (parse_end(args.at(3))?, parse_end(args.at(4))?);
    if !transfer(ctx, args, from, to)? {
        ctx.reply.null();
    }
    Ok(())
}

pub(super) fn rpoplpush(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !transfer(ctx, args, End::Back, End::Front)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Serves a BLMOVE that need not block; whether it did.
///
/// # Errors
/// A bad argument, or a key that holds something else than a list.
pub fn try_blmove(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    let (from, to) = (parse_end(args.at(3))?, parse_end(args.at(4))?);
    timeout::deadline(args.at(5), ctx.now_ms())?;
    let is_served = transfer(ctx, args, from, to)?;
    ctx.effect(words!["LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
    Ok(is_served)
}

pub(super) fn blmove(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !try_blmove(ctx, args)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Serves a BRPOPLPUSH that need not block; whether it did.
///
/// # Errors
/// A bad timeout, or a key that holds something else than a list.
pub fn try_brpoplpush(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    timeout::deadline(args.at(3), ctx.now_ms())?;
    let is_served = transfer(ctx, args, End::Back, End::Front)?;
    ctx.effect(words!["RPOPLPUSH", args.at(1), args.at(2)]);
    Ok(is_served)
}

pub(super) fn brpoplpush(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !try_brpoplpush(ctx, args)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Moves an element from the list at argument 1 to that at argument 2 and replies with it; whether there was one.
fn transfer(ctx: &mut Ctx<'_, '_>, args: Args<'_>, from: End, to: End) -> Result<bool, CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let (source, destination) = (ctx.first_key(args.at(1)), ctx.key(args.at(2)));
    let mut slot = ctx.keyspace.find(db, source, now);
    if slot.list()?.is_none() {
        return Ok(false);
    }
    if args.at(1) == args.at(2) {
        slot.edit(|list: &mut List, edit| {
            list.rotate(edit, from, to, |element| reply_element(ctx.reply, element));
            edit.changed(1);
        })?;
        return Ok(true);
    }
    // Both are looked at before either changes.
    ctx.keyspace.find(db, destination, now).list()?;
    // Together they are one change.
    let element = ctx.keyspace.uncounted(|keyspace| {
        keyspace.find(db, source, now).edit(|list: &mut List, edit| {
            edit.changed(1);
            list.pop(edit, from, |element| element.bytes(&mut IntText::new()).to_vec())
        })
    })?;
    let Some(element) = element else { return Ok(false) };
    ctx.keyspace.find(db, destination, now).edit(|list: &mut List, edit| {
        edit.changed(1);
        list.push(edit, to, &element);
    })?;
    ctx.reply.bulk(&element);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    #[test]
    fn elements_go_from_list_to_list() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a 2 c");
        assert_eq!(shard.run("LMOVE l m left right"), "$1\r\na\r\n");
        assert_eq!(shard.run("RPOPLPUSH l m"), "$1\r\nc\r\n");
        assert_eq!(shard.run("LRANGE m 0 -1"), "*2\r\n$1\r\nc\r\n$1\r\na\r\n");
        assert_eq!(shard.run("BLMOVE l m RIGHT RIGHT 0"), "$1\r\n2\r\n");
        assert_eq!(shard.run("EXISTS l"), ":0\r\n");
        assert_eq!(shard.run("BRPOPLPUSH m l 0"), "$1\r\n2\r\n");
        assert_eq!(shard.run("LRANGE l 0 -1"), "*1\r\n$1\r\n2\r\n");
        // One list turns round.
        assert_eq!(shard.run("LMOVE m m LEFT RIGHT"), "$1\r\nc\r\n");
        assert_eq!(shard.run("LRANGE m 0 -1"), "*2\r\n$1\r\na\r\n$1\r\nc\r\n");
        shard.run("PEXPIRE l 1000");
        assert_eq!(shard.run("RPOPLPUSH l l"), "$1\r\n2\r\n");
        assert_eq!(shard.ttl_ms("l"), Some(1000));
    }

    #[test]
    fn nothing_moves_without_a_source_or_to_no_list() {
        let mut shard = Harness::new();
        shard.run("SET s x");
        for line in
            ["LMOVE none s LEFT LEFT", "RPOPLPUSH none s", "BLMOVE none s LEFT LEFT 0", "BRPOPLPUSH none s 0"]
        {
            assert_eq!(shard.run(line), "$-1\r\n", "{line}");
        }
        shard.run("RPUSH l a");
        let dirty = shard.keyspace.dirty();
        for line in ["LMOVE l s LEFT LEFT", "LMOVE s l LEFT LEFT", "RPOPLPUSH l s", "BRPOPLPUSH s s 0"] {
            assert!(shard.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        for (line, error) in [
            ("LMOVE l m LEFT up", "-ERR syntax error\r\n"),
            ("BLMOVE l m up LEFT x", "-ERR syntax error\r\n"),
            ("BLMOVE l m LEFT LEFT x", "-ERR timeout is not a float or out of range\r\n"),
            ("BRPOPLPUSH l m -1", "-ERR timeout is negative\r\n"),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
        assert_eq!((shard.run("LLEN l"), shard.keyspace.dirty()), (":1\r\n".to_owned(), dirty));
    }
}
