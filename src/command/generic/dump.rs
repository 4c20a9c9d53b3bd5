//! DUMP.

use crate::base::error::CommandError;
use crate::command::Ctx;
use crate::rdb;
use crate::resp::Args;

pub(super) fn dump(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    match ctx.keyspace.lookup_read(ctx.db, key, now) {
        Some(value) => ctx.reply.bulk(&rdb::dump(value, ctx.options.compresses_dumps)),
        None => ctx.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    #[test]
    fn a_payload_is_that_of_redis_or_null() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("DUMP none"), "$-1\r\n");
        shard.run("SET a 10");
        // From a redis-server 7.0.
        assert_eq!(
            shard.run_args(&[b"DUMP".to_vec(), b"a".to_vec()]),
            b"$13\r\n\x00\xC0\n\n\x00n\x9FWE\x0E\xAEc\xBB\r\n"
        );
    }
}
