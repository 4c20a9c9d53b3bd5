//! OBJECT: what stands behind a key's value.

use crate::base::error::CommandError;
use crate::command::help::{self, write_help};
use crate::command::Ctx;
use crate::keyspace::{access, EntryView, StringRef, ValueRef};
use crate::resp::Args;

/// The integers that Redis shares among all keys that hold them (`OBJ_SHARED_INTEGERS`), and the reference count that
/// it reports of those.
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;
const SHARED_REFCOUNT: i64 = i32::MAX as i64;

pub(super) fn encoding(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    match look(ctx, args).map(|entry| entry.encoding.name()) {
        Some(name) => ctx.reply.bulk(name.as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

pub(super) fn freq(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(field) = look(ctx, args).map(|entry| entry.access) else {
        ctx.reply.null();
        return Ok(());
    };
    if !ctx.options.lfu {
        return Err(CommandError::LFU_NOT_SELECTED);
    }
    let frequency = access::lfu_frequency(field, ctx.now_ms(), ctx.keyspace.options().lfu);
    ctx.reply.int(i64::from(frequency));
    Ok(())
}

pub(super) fn idletime(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(field) = look(ctx, args).map(|entry| entry.access) else {
        ctx.reply.null();
        return Ok(());
    };
    if ctx.options.lfu {
        return Err(CommandError::LFU_SELECTED);
    }
    let idle_seconds = access::lru_idle_ms(field, ctx.now_ms()) / 1000;
    ctx.reply.int(idle_seconds as i64);
    Ok(())
}

pub(super) fn refcount(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    match look(ctx, args).map(|entry| refcount_of(entry.value)) {
        Some(count) => ctx.reply.int(count),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// How many references Redis would report. Nothing is shared here, but test suites ask for it.
pub(in crate::command) fn refcount_of(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::String(StringRef::Int(number)) if SHARED_INTEGERS.contains(&number) => SHARED_REFCOUNT,
        _ => 1,
    }
}

pub(super) fn help(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    write_help(args, help::OBJECT, ctx.reply);
    Ok(())
}

fn look<'c>(ctx: &'c mut Ctx<'_, '_>, args: Args<'_>) -> Option<EntryView<'c>> {
    let key = ctx.first_key(args.at(2));
    let now = ctx.now_ms();
    ctx.keyspace.inspect(ctx.db, key, now)
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    #[test]
    fn encodings_and_references() {
        let mut shard = Harness::new();
        for (value, encoding, refcount) in [
            ("0", "int", i64::from(i32::MAX)),
            ("9999", "int", i64::from(i32::MAX)),
            ("10000", "int", 1),
            ("-1", "int", 1),
            ("text", "embstr", 1),
            (&"x".repeat(44), "embstr", 1),
            (&"x".repeat(45), "raw", 1),
        ] {
            shard.run(&format!("SET a {value}"));
            let reply = shard.run("OBJECT ENCODING a");
            assert_eq!(reply, format!("${}\r\n{encoding}\r\n", encoding.len()), "{value}");
            assert_eq!(shard.run("OBJECT REFCOUNT a"), format!(":{refcount}\r\n"), "{value}");
        }
    }

    #[test]
    fn absent_keys_are_null_whatever_the_policy() {
        for mut shard in [Harness::new(), Harness::lfu()] {
            for sub in ["ENCODING", "FREQ", "IDLETIME", "REFCOUNT"] {
                assert_eq!(shard.run(&format!("OBJECT {sub} none")), "$-1\r\n");
            }
        }
    }

    #[test]
    fn the_policy_decides_between_freq_and_idletime() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.now_ms += 7_000;
        assert_eq!(shard.run("OBJECT IDLETIME a"), ":7\r\n");
        assert_eq!(shard.run("OBJECT IDLETIME a"), ":7\r\n", "looking is no use of the key");
        assert_eq!(
            shard.run("OBJECT FREQ a"),
            "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.\r\n"
        );

        let mut shard = Harness::lfu();
        shard.run("SET a 1");
        assert_eq!(shard.run("OBJECT FREQ a"), ":5\r\n");
        shard.now_ms += 2 * 60_000;
        assert_eq!(shard.run("OBJECT FREQ a"), ":3\r\n");
        assert_eq!(
            shard.run("OBJECT IDLETIME a"),
            "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.\r\n"
        );
    }

    #[test]
    fn help_is_there() {
        let mut shard = Harness::new();
        let help = shard.run("OBJECT HELP");
        assert!(
            help.starts_with("*15\r\n+OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n")
        );
        assert!(help.ends_with("+HELP\r\n+    Print this help.\r\n"));
    }
}
