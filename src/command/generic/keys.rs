//! DEL and UNLINK, EXISTS, TOUCH, TYPE.

use crate::base::error::CommandError;
use crate::command::Ctx;
use crate::keyspace::Touch;
use crate::resp::Args;

/// DEL and UNLINK: no value is so large that freeing it at once would cost more than to put it off.
pub(super) fn del(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let first = ctx.first_key(args.at(1));
    let mut removed = usize::from(ctx.keyspace.remove(db, first, now));
    for bytes in args.iter_from(2) {
        let key = ctx.key(bytes);
        removed += usize::from(ctx.keyspace.remove(db, key, now));
    }
    ctx.reply.count(removed);
    Ok(())
}

pub(super) fn exists(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let first = ctx.first_key(args.at(1));
    // `inspect`, for asking whether a key exists is no use of it, as in Redis.
    let mut found = usize::from(ctx.keyspace.inspect(db, first, now).is_some());
    for bytes in args.iter_from(2) {
        let key = ctx.key(bytes);
        found += usize::from(ctx.keyspace.inspect(db, key, now).is_some());
    }
    ctx.reply.count(found);
    Ok(())
}

pub(super) fn touch(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    // The one command that counts as a use of its keys even under CLIENT NO-TOUCH.
    let touch = ctx.keyspace.touch();
    ctx.keyspace.set_touch(Touch::Yes);
    let first = ctx.first_key(args.at(1));
    let mut found = usize::from(ctx.keyspace.exists(db, first, now));
    for bytes in args.iter_from(2) {
        let key = ctx.key(bytes);
        found += usize::from(ctx.keyspace.exists(db, key, now));
    }
    ctx.keyspace.set_touch(touch);
    ctx.reply.count(found);
    Ok(())
}

pub(super) fn type_of(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.first_key(args.at(1));
    let entry = ctx.keyspace.inspect(ctx.db, key, ctx.now.unix_ms());
    ctx.reply.simple(entry.map_or("none", |entry| entry.value.kind().name()));
    Ok(())
}
