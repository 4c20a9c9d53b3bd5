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
    let flush = Flush::parse(args)?;
    ctx.keyspace.flush(ctx.db);
    flush.finish(ctx);
    Ok(())
}

pub(super) fn flushall(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let flush = Flush::parse(args)?;
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
    fn parse(args: Args<'_>) -> Result<Flush, CommandError> {
        match args.len() {
            // Nobody who does not ask to wait is kept waiting, whatever `lazyfree-lazy-user-flush` says.
            1 => Ok(Flush::Async),
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
    let number = |at| parse_i64(args.at(at)).and_then(|number| i32::try_from(number).ok());
    let first = number(1).ok_or(CommandError::DB_FIRST)?;
    let second = number(2).ok_or(CommandError::DB_SECOND)?;
    let index = |number: i32| match u16::try_from(number) {
        Ok(index) if index < ctx.keyspace.databases() => Ok(DbIndex(index)),
        _ => Err(CommandError::DB_RANGE),
    };
    let (first, second) = (index(first)?, index(second)?);
    ctx.keyspace.swap(first, second);
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::base::ids::DbIndex;
    use crate::command::harness::Harness;

    /// A key in each of two databases.
    fn two_databases() -> Harness {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.db = DbIndex(1);
        shard.run("SET b 1");
        shard.run("SET c 1");
        shard
    }

    fn sizes(shard: &mut Harness) -> Vec<String> {
        (0..2)
            .map(|db| {
                shard.db = DbIndex(db);
                shard.run("DBSIZE")
            })
            .collect()
    }

    #[test]
    fn flushdb_empties_one_and_flushall_all() {
        for option in ["", " sync", " ASYNC"] {
            let mut shard = two_databases();
            assert_eq!(shard.run(&format!("FLUSHDB{option}")), "+OK\r\n");
            assert_eq!(sizes(&mut shard), [":1\r\n", ":0\r\n"], "{option}");
            let mut shard = two_databases();
            assert_eq!(shard.run(&format!("FLUSHALL{option}")), "+OK\r\n");
            assert_eq!(sizes(&mut shard), [":0\r\n", ":0\r\n"], "{option}");
        }
        let mut shard = two_databases();
        for line in ["FLUSHDB FOO", "FLUSHALL SYNC ASYNC", "FLUSHDB SYNC SYNC"] {
            assert_eq!(shard.run(line), "-ERR syntax error\r\n", "{line}");
        }
        assert_eq!(sizes(&mut shard), [":1\r\n", ":2\r\n"]);
    }

    #[test]
    fn only_a_flush_that_says_so_frees_at_once() {
        for (line, pending) in [
            ("FLUSHALL", 3),
            ("FLUSHALL SYNC", 0),
            ("FLUSHALL ASYNC", 3),
            ("FLUSHDB", 2),
            ("FLUSHDB SYNC", 0),
        ] {
            let mut shard = two_databases();
            shard.run(line);
            assert_eq!(shard.keyspace.stats().lazyfree_pending_objects, pending, "{line}");
        }
    }

    #[test]
    fn swapdb_exchanges_the_keys() {
        let mut shard = two_databases();
        assert_eq!(shard.run("SWAPDB 0 1"), "+OK\r\n");
        assert_eq!(sizes(&mut shard), [":2\r\n", ":1\r\n"]);
        assert_eq!(shard.run("SWAPDB 1 1"), "+OK\r\n");
        assert_eq!(sizes(&mut shard), [":2\r\n", ":1\r\n"]);
        for (line, error) in [
            ("SWAPDB x y", "-ERR invalid first DB index\r\n"),
            ("SWAPDB 2147483648 0", "-ERR invalid first DB index\r\n"),
            ("SWAPDB 16 y", "-ERR invalid second DB index\r\n"),
            ("SWAPDB 0 1.5", "-ERR invalid second DB index\r\n"),
            ("SWAPDB 16 0", "-ERR DB index is out of range\r\n"),
            ("SWAPDB 0 -1", "-ERR DB index is out of range\r\n"),
            ("SWAPDB 0 65536", "-ERR DB index is out of range\r\n"),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
        assert_eq!(sizes(&mut shard), [":2\r\n", ":1\r\n"]);
    }
}
