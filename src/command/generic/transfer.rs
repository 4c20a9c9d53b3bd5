//! COPY, RENAME, RENAMENX, MOVE, where both ends are on this shard.

use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::keyspace::{access, CopyOutcome};
use crate::resp::Args;

/// What COPY is asked for, also where its keys lie on two shards and the coordinator does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// The database that the copy goes to.
    pub target_db: DbIndex,
    /// Whether it may take the place of a key.
    pub replace: bool,
}

impl CopyOptions {
    /// Reads the arguments of COPY.
    ///
    /// # Errors
    /// A bad option, no such database, or source and destination being the same.
    pub fn parse(args: Args<'_>, source_db: DbIndex, databases: u16) -> Result<CopyOptions, CommandError> {
        let mut options = CopyOptions { target_db: source_db, replace: false };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "replace") {
                options.replace = true;
            } else if args.is(at, "db") && at + 1 < args.len() {
                at += 1;
                options.target_db = database(args.at(at), databases)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        if source_db == options.target_db && args.at(1) == args.at(2) {
            return Err(CommandError::SAME_OBJECT);
        }
        Ok(options)
    }
}

pub(super) fn copy(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (now, source_db) = (ctx.now_ms(), ctx.db);
    let CopyOptions { target_db, replace } = CopyOptions::parse(args, source_db, ctx.keyspace.databases())?;
    let source = ctx.first_key(args.at(1));
    let target = ctx.key(args.at(2));
    // The source is read: a use of it, and a hit or a miss.
    let copied = ctx.keyspace.exists(source_db, source, now)
        && ctx.keyspace.copy_entry((source_db, source), (target_db, target), now, replace)
            == CopyOutcome::Copied;
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
    if !replace && ctx.keyspace.peek(db, to, now).is_some() {
        return Ok(false);
    }
    Ok(ctx.keyspace.move_entry((db, from), (db, to), now))
}

pub(super) fn move_key(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (source_db, now) = (ctx.db, ctx.now_ms());
    let target_db = database(args.at(2), ctx.keyspace.databases())?;
    if source_db == target_db {
        return Err(CommandError::SAME_OBJECT);
    }
    let key = ctx.first_key(args.at(1));
    let moved = ctx.keyspace.peek(target_db, key, now).is_none()
        && ctx.keyspace.move_entry((source_db, key), (target_db, key), now);
    ctx.reply.int(i64::from(moved));
    Ok(())
}

/// The database that `text` names; Redis has three different ways to say that there is none.
fn database(text: &[u8], databases: u16) -> Result<DbIndex, CommandError> {
    let number = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
    let number = i32::try_from(number).map_err(|_| CommandError::INT32_RANGE)?;
    match u16::try_from(number) {
        Ok(index) if index < databases => Ok(DbIndex(index)),
        _ => Err(CommandError::DB_RANGE),
    }
}

#[cfg(test)]
mod tests {
    use crate::base::ids::DbIndex;
    use crate::command::harness::Harness;

    const SAME: &str = "-ERR source and destination objects are the same\r\n";

    #[test]
    fn a_copy_has_value_encoding_and_expiry() {
        let mut shard = Harness::new();
        shard.run("SET a 12");
        shard.run("PEXPIRE a 5000");
        assert_eq!(shard.run("COPY a b"), ":1\r\n");
        assert_eq!(shard.run("PTTL b"), ":5000\r\n");
        assert_eq!(shard.run("OBJECT ENCODING b"), "$3\r\nint\r\n");
        assert_eq!(
            shard.run("_digest_value a b").lines().skip(1).collect::<std::collections::BTreeSet<_>>().len(),
            1
        );

        shard.run("SET c other");
        assert_eq!(shard.run("COPY a c"), ":0\r\n");
        assert_eq!(shard.run("OBJECT ENCODING c"), "$6\r\nembstr\r\n");
        assert_eq!(shard.run("COPY a c replace"), ":1\r\n");
        assert_eq!(shard.run("OBJECT ENCODING c"), "$3\r\nint\r\n");
        assert_eq!(shard.run("COPY none c REPLACE"), ":0\r\n");
        assert_eq!(shard.run("EXISTS a b c"), ":3\r\n");

        // What replaces a volatile key without being one lives for ever.
        shard.run("SET d x");
        assert_eq!(shard.run("COPY d b REPLACE"), ":1\r\n");
        assert_eq!(shard.run("PTTL b"), ":-1\r\n");
    }

    #[test]
    fn a_copy_starts_as_a_new_key() {
        let mut shard = Harness::lfu();
        shard.run("SET a 1");
        for _ in 0..100 {
            shard.run("TOUCH a");
        }
        assert_ne!(shard.run("OBJECT FREQ a"), ":5\r\n");
        shard.run("COPY a b");
        assert_eq!(shard.run("OBJECT FREQ b"), ":5\r\n");

        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.now_ms += 60_000;
        shard.run("COPY a b");
        assert_eq!(shard.run("OBJECT IDLETIME b"), ":0\r\n");
    }

    #[test]
    fn copies_go_to_other_databases() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        assert_eq!(shard.run("COPY a a DB 3"), ":1\r\n");
        assert_eq!(shard.run("COPY a a DB 3"), ":0\r\n");
        assert_eq!(shard.run("COPY a a DB 3 REPLACE"), ":1\r\n");
        assert_eq!(shard.run("COPY a a DB 3 DB 0 REPLACE"), SAME);
        assert_eq!(shard.run("COPY a a"), SAME);
        assert_eq!(shard.run("COPY none none"), SAME);
        shard.db = DbIndex(3);
        assert_eq!(shard.run("DBSIZE"), ":1\r\n");
    }

    #[test]
    fn bad_options_of_copy() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        for (line, error) in [
            ("COPY a b DB 16", "-ERR DB index is out of range\r\n"),
            ("COPY a b DB -1", "-ERR DB index is out of range\r\n"),
            ("COPY a b DB x", "-ERR value is not an integer or out of range\r\n"),
            (
                "COPY a b DB 2147483648",
                "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
            ),
            ("COPY a b DB 65536", "-ERR DB index is out of range\r\n"),
            ("COPY a b DB", "-ERR syntax error\r\n"),
            ("COPY a b FOO", "-ERR syntax error\r\n"),
            ("COPY a b DB 99 FOO", "-ERR DB index is out of range\r\n"),
            ("COPY a b REPLACE DB", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
        assert_eq!(shard.run("DBSIZE"), ":1\r\n");
    }

    #[test]
    fn rename_takes_value_and_expiry_along() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.run("PEXPIRE a 5000");
        shard.run("SET b long-lived");
        assert_eq!(shard.run("RENAMENX a b"), ":0\r\n");
        assert_eq!(shard.run("EXISTS a b"), ":2\r\n");
        assert_eq!(shard.run("RENAME a b"), "+OK\r\n");
        assert_eq!(shard.run("EXISTS a"), ":0\r\n");
        assert_eq!(shard.run("PTTL b"), ":5000\r\n");
        assert_eq!(shard.run("RENAMENX b c"), ":1\r\n");
        assert_eq!(shard.run("PTTL c"), ":5000\r\n");
        // The other key's expiry goes with its value.
        shard.run("SET d 1");
        assert_eq!(shard.run("RENAME d c"), "+OK\r\n");
        assert_eq!(shard.run("PTTL c"), ":-1\r\n");
        assert_eq!(shard.run("DBSIZE"), ":1\r\n");
    }

    #[test]
    fn rename_to_itself_changes_nothing() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        let dirty = shard.keyspace.dirty();
        assert_eq!(shard.run("RENAME a a"), "+OK\r\n");
        assert_eq!(shard.run("RENAMENX a a"), ":0\r\n");
        assert_eq!(shard.run("EXISTS a"), ":1\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty);
        for line in ["RENAME none none", "RENAMENX none none", "RENAME none a", "RENAMENX none a"] {
            assert_eq!(shard.run(line), "-ERR no such key\r\n", "{line}");
        }
    }

    #[test]
    fn an_expired_key_is_no_source_and_no_obstacle() {
        let mut shard = Harness::new();
        for key in ["a", "b"] {
            shard.run(&format!("SET {key} 1"));
            shard.run(&format!("PEXPIRE {key} 10"));
        }
        shard.now_ms += 11;
        assert_eq!(shard.run("RENAME a c"), "-ERR no such key\r\n");
        assert_eq!(shard.run("COPY a c"), ":0\r\n");
        assert_eq!(shard.run("MOVE a 1"), ":0\r\n");
        shard.run("SET d 1");
        assert_eq!(shard.run("RENAMENX d b"), ":1\r\n");
        assert_eq!(shard.run("PTTL b"), ":-1\r\n");
    }

    #[test]
    fn move_needs_room_in_the_other_database() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.run("PEXPIRE a 5000");
        assert_eq!(shard.run("MOVE a 1"), ":1\r\n");
        assert_eq!(shard.run("EXISTS a"), ":0\r\n");
        shard.run("SET a 2");
        assert_eq!(shard.run("MOVE a 1"), ":0\r\n");
        assert_eq!(shard.run("EXISTS a"), ":1\r\n");
        assert_eq!(shard.run("MOVE none 1"), ":0\r\n");
        shard.db = DbIndex(1);
        assert_eq!(shard.run("PTTL a"), ":5000\r\n");
        for (line, error) in [
            ("MOVE a 1", SAME),
            ("MOVE none 1", SAME),
            ("MOVE a 16", "-ERR DB index is out of range\r\n"),
            ("MOVE a -1", "-ERR DB index is out of range\r\n"),
            ("MOVE a x", "-ERR value is not an integer or out of range\r\n"),
            (
                "MOVE a -2147483649",
                "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
            ),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
    }
}
