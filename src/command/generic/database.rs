//! DBSIZE, FLUSHDB, FLUSHALL, SWAPDB: whole databases.

use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::resp::Args;

/// How many keys a synchronous flush frees before it asks whether there are more; the number bounds nothing.
const FREE_BATCH: usize = 1024;

pub(super) fn dbsize(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.int(ctx.keyspace.len(ctx.db) as i64);
    Ok(())
}

pub(super) fn flushdb(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let flush = Flush::parse(ctx, args)?;
    ctx.keyspace.flush(ctx.db);
    flush.finish(ctx);
    Ok(())
}

pub(super) fn flushall(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let flush = Flush::parse(ctx, args)?;
    ctx.keyspace.flush_all();
    flush.finish(ctx);
    Ok(())
}

/// When the memory of a flushed database is given back.
enum Flush {
    /// Before the reply.
    Sync,
    /// By and by, in the shard's background steps.
    Async,
}

impl Flush {
    fn parse(ctx: &Ctx<'_, '_>, args: Args<'_>) -> Result<Flush, CommandError> {
        match args.len() {
            1 if ctx.options.lazy_flush => Ok(Flush::Async),
            1 => Ok(Flush::Sync),
            2 if args.is(1, "sync") => Ok(Flush::Sync),
            2 if args.is(1, "async") => Ok(Flush::Async),
            _ => Err(CommandError::SYNTAX),
        }
    }

    fn finish(self, ctx: &mut Ctx<'_, '_>) {
        if let Flush::Sync = self {
            while ctx.keyspace.free_step(FREE_BATCH) {}
        }
        ctx.reply.ok();
    }
}

pub(super) fn swapdb(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    const FIRST: CommandError = CommandError::new("ERR invalid first DB index");
    const SECOND: CommandError = CommandError::new("ERR invalid second DB index");
    let number = |at| parse_i64(args.at(at)).and_then(|number| i32::try_from(number).ok());
    let first = number(1).ok_or(FIRST)?;
    let second = number(2).ok_or(SECOND)?;
    let index = |number: i32| match u16::try_from(number) {
        Ok(index) if index < ctx.keyspace.databases() => Ok(DbIndex(index)),
        _ => Err(CommandError::DB_RANGE),
    };
    let (first, second) = (index(first)?, index(second)?);
    ctx.keyspace.swap(first, second);
    ctx.reply.ok();
    Ok(())
}
