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

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;
    use crate::keyspace::Touch;

    #[test]
    fn keys_are_counted_as_often_as_they_are_named() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.run("SET b 2");
        assert_eq!(shard.run("EXISTS a"), ":1\r\n");
        assert_eq!(shard.run("EXISTS a b a none"), ":3\r\n");
        assert_eq!(shard.run("TOUCH a b a none"), ":3\r\n");
        assert_eq!(shard.run("DEL a a none"), ":1\r\n");
        assert_eq!(shard.run("UNLINK b none a"), ":1\r\n");
        assert_eq!(shard.run("EXISTS a b"), ":0\r\n");
        assert_eq!(shard.run("DEL a"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), 4);
        assert_eq!(shard.keyspace.stats().hits, 1 + 3 + 3);
        assert_eq!(shard.keyspace.stats().misses, 1 + 1 + 2);
    }

    #[test]
    fn expired_keys_are_not_there() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.run("PEXPIRE a 1000");
        shard.now_ms += 1001;
        assert_eq!(shard.run("EXISTS a"), ":0\r\n");
        shard.run("SET a 1");
        shard.run("PEXPIRE a 1000");
        shard.now_ms += 1001;
        assert_eq!(shard.run("DEL a"), ":0\r\n");
        assert_eq!(shard.run("TYPE a"), "+none\r\n");
    }

    #[test]
    fn the_type_is_told() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        assert_eq!(shard.run("TYPE a"), "+string\r\n");
        assert_eq!(shard.run("TYPE none"), "+none\r\n");
    }

    #[test]
    fn touch_is_a_use_and_exists_is_not() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.now_ms += 100_000;
        shard.run("EXISTS a");
        assert_eq!(shard.run("OBJECT IDLETIME a"), ":100\r\n");
        shard.run("TOUCH a");
        assert_eq!(shard.run("OBJECT IDLETIME a"), ":0\r\n");
        // Even for a client that asked for its reads not to count.
        shard.now_ms += 50_000;
        shard.keyspace.set_touch(Touch::No);
        shard.run("TOUCH none a");
        assert_eq!(shard.run("OBJECT IDLETIME a"), ":0\r\n");
        assert_eq!(shard.keyspace.touch(), Touch::No);
    }
}
