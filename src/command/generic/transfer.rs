//! COPY, RENAME, RENAMENX, MOVE, where both ends are on this shard.

use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::keyspace::{access, CopyOutcome};
use crate::resp::Args;

/// MOVE, COPY: source and destination are one.
const SAME_OBJECT: CommandError = CommandError::new("ERR source and destination objects are the same");

pub(super) fn copy(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (now, source_db) = (ctx.now_ms(), ctx.db);
    let (mut target_db, mut replace) = (source_db, false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "replace") {
            replace = true;
        } else if args.is(at, "db") && at + 1 < args.len() {
            at += 1;
            target_db = database(args.at(at), ctx.keyspace.databases())?;
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 1;
    }
    if source_db == target_db && args.at(1) == args.at(2) {
        return Err(SAME_OBJECT);
    }

    let source = ctx.first_key(args.at(1));
    let target = ctx.key(args.at(2));
    // The source is read: a use of it, and a hit or a miss.
    let copied = ctx.keyspace.exists(source_db, source, now)
        && ctx.keyspace.copy_entry((source_db, source), (target_db, target), now, replace) == CopyOutcome::Copied;
    if copied {
        // The copy starts a life of its own; how much the source was used says nothing about it.
        let access = access::initial(ctx.keyspace.options().access, now);
        ctx.keyspace.find(target_db, target, now).set_access(access);
    }
    ctx.reply.int(i64::from(copied));
    Ok(())
}

pub(super) fn rename(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    rename_key(ctx, args, true)?;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn renamenx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let renamed = rename_key(ctx, args, false)?;
    ctx.reply.int(i64::from(renamed));
    Ok(())
}

/// Whether the key has another name now.
fn rename_key(ctx: &mut Ctx<'_, '_>, args: Args<'_>, replace: bool) -> Result<bool, CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let from = ctx.first_key(args.at(1));
    if !ctx.keyspace.find(db, from, now).exists() {
        return Err(CommandError::NO_SUCH_KEY);
    }
    if args.at(1) == args.at(2) {
        return Ok(false);
    }
    let to = ctx.key(args.at(2));
    let copied = ctx.keyspace.copy_entry((db, from), (db, to), now, replace) == CopyOutcome::Copied;
    if copied {
        ctx.keyspace.remove(db, from, now);
    }
    Ok(copied)
}

pub(super) fn move_key(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (source_db, now) = (ctx.db, ctx.now_ms());
    let target_db = database(args.at(2), ctx.keyspace.databases())?;
    if source_db == target_db {
        return Err(SAME_OBJECT);
    }
    let key = ctx.first_key(args.at(1));
    let moved = ctx.keyspace.copy_entry((source_db, key), (target_db, key), now, false) == CopyOutcome::Copied;
    if moved {
        ctx.keyspace.remove(source_db, key, now);
    }
    ctx.reply.int(i64::from(moved));
    Ok(())
}

/// The database that `text` names; Redis has three different ways to say that there is none.
fn database(text: &[u8], databases: u16) -> Result<DbIndex, CommandError> {
    const NO_INT: CommandError =
        CommandError::new("ERR value is out of range, value must between -2147483648 and 2147483647");
    let number = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
    let number = i32::try_from(number).map_err(|_| NO_INT)?;
    match u16::try_from(number) {
        Ok(index) if index < databases => Ok(DbIndex(index)),
        _ => Err(CommandError::DB_RANGE),
    }
}
