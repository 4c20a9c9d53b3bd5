//! PFADD, PFCOUNT, PFMERGE.

use super::{held, hyperloglog, sparse_bytes_max};
use crate::base::error::CommandError;
use crate::command::Ctx;
use crate::ds::hyperloglog::{observe, HyperLogLog, HyperLogLogRef, Registers, ESTIMATE_AT, STALE_AT};
use crate::keyspace::{Keyspace, NewValue, SetExpire, Slot};
use crate::resp::Args;

pub(super) fn pfadd(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let bytes_max = sparse_bytes_max(ctx);
    let (db, key, now) = (ctx.db, ctx.first_key(args.at(1)), ctx.now_ms());
    let add = |keyspace: &mut Keyspace| {
        let mut slot = keyspace.find(db, key, now);
        match held(&mut slot)?.is_some_and(HyperLogLogRef::is_dense) {
            true => add_in_place(&mut slot, args),
            false => add_to_copy(&mut slot, args, bytes_max),
        }
    };
    let count = |changes: &Result<u64, CommandError>| changes.as_ref().map_or(0, |changes| *changes);
    let changes = ctx.keyspace.counted_as(count, add)?;
    ctx.reply.int(i64::from(changes > 0));
    Ok(())
}

/// Adds the elements to a dense one, writing only the registers that change; how many elements changed one.
fn add_in_place(slot: &mut Slot<'_>, args: Args<'_>) -> Result<u64, CommandError> {
    let mut changes = 0;
    for element in args.iter_from(2) {
        let Some(value) = slot.value() else { break };
        let Some((at, patch)) = hyperloglog(value)?.raised(observe(element)) else { continue };
        slot.write_range(at, &patch);
        changes += 1;
    }
    if let Some(value) = slot.value().filter(|_| changes > 0) {
        let old = hyperloglog(value)?;
        if old.cached().is_some() {
            slot.write_range(STALE_AT, &[old.stale_byte()]);
        }
    }
    Ok(changes)
}

/// Adds the elements to a copy of a sparse one, or to a new one, and stores that if it differs; how many elements made
/// a difference, and one more if it is new.
fn add_to_copy(slot: &mut Slot<'_>, args: Args<'_>, bytes_max: usize) -> Result<u64, CommandError> {
    let (mut copy, mut changes) = match slot.value() {
        Some(value) => (HyperLogLog::from(hyperloglog(value)?), 0),
        None => (HyperLogLog::new(), 1),
    };
    for element in args.iter_from(2) {
        changes += u64::from(copy.raise(observe(element), bytes_max)?);
    }
    if changes > 0 {
        copy.make_stale();
        slot.set(NewValue::Buffer(copy.bytes()), SetExpire::Keep);
    }
    Ok(changes)
}

pub(super) fn pfcount(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let estimate = match args.len() {
        2 => count_one(ctx, args.at(1))?,
        _ => merged(ctx, args)?.0.estimate(),
    };
    ctx.reply.int(estimate as i64);
    Ok(())
}

/// The estimate of a single key is kept in its string until something is added.
fn count_one(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> Result<u64, CommandError> {
    let (key, now) = (ctx.first_key(key), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    slot.count_read();
    let Some(counted) = held(&mut slot)? else { return Ok(0) };
    if let Some(estimate) = counted.cached() {
        return Ok(estimate);
    }
    let estimate = counted.estimate()?;
    slot.write_range(ESTIMATE_AT, &estimate.to_le_bytes());
    Ok(estimate)
}

pub(super) fn pfmerge(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let bytes_max = sparse_bytes_max(ctx);
    let (registers, any_dense) = merged(ctx, args)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let mut target = match slot.value() {
        Some(value) => HyperLogLog::from(hyperloglog(value)?),
        None => HyperLogLog::new(),
    };
    if any_dense {
        target.make_dense()?;
    }
    target.raise_all(&registers, bytes_max)?;
    target.make_stale();
    slot.set(NewValue::Buffer(target.bytes()), SetExpire::Keep);
    ctx.reply.ok();
    Ok(())
}

/// What the keys from argument 1 on hold together, and whether one of them is dense.
fn merged(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(Registers, bool), CommandError> {
    let (mut registers, mut any_dense) = (Registers::new(), false);
    for key in args.iter_from(1) {
        let Some(value) = ctx.source(key) else { continue };
        let source = hyperloglog(value)?;
        registers.add(source)?;
        any_dense |= source.is_dense();
    }
    Ok((registers, any_dense))
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    const NO_HYPERLOGLOG: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n";
    const CORRUPT: &str = "-INVALIDOBJ Corrupted HLL object detected\r\n";

    fn get(shard: &mut Harness, key: &str) -> Vec<u8> {
        let reply = shard.run_args(&["GET", key]);
        let start = reply.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    fn add(shard: &mut Harness, key: &str, numbers: std::ops::Range<usize>) -> Vec<u8> {
        let numbers = numbers.map(|number| number.to_string());
        let args: Vec<String> = ["PFADD".to_owned(), key.to_owned()].into_iter().chain(numbers).collect();
        shard.run_args(&args)
    }

    #[test]
    fn elements_are_added_and_counted() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("PFCOUNT h"), ":0\r\n");
        assert_eq!(shard.run("PFADD h"), ":1\r\n", "it was created");
        assert_eq!(shard.run("PFADD h"), ":0\r\n");
        assert_eq!(shard.run("PFADD h a b c"), ":1\r\n");
        assert_eq!(shard.run("PFADD h a b c"), ":0\r\n");
        assert_eq!(shard.run("PFCOUNT h"), ":3\r\n");
        assert_eq!(shard.run("OBJECT ENCODING h"), "$3\r\nraw\r\n");
        for start in (0..5000).step_by(500) {
            assert_eq!(add(&mut shard, "h", start..start + 500), b":1\r\n");
        }
        assert_eq!(shard.run("PFDEBUG ENCODING h"), "+dense\r\n");
        assert_eq!(shard.run("PFCOUNT h"), ":4989\r\n");
        assert_eq!(shard.run("PFADD h 1 2 3"), ":0\r\n");
    }

    #[test]
    fn counting_one_key_keeps_the_estimate_in_it() {
        let mut shard = Harness::new();
        shard.run("PFADD h a b c");
        for last in [0x80, 0] {
            assert_eq!(get(&mut shard, "h")[15], last);
            assert_eq!(shard.run("PFCOUNT h"), ":3\r\n");
        }
        assert_eq!(get(&mut shard, "h")[8..16], 3u64.to_le_bytes());
        let dirty = shard.keyspace.dirty();
        assert_eq!(shard.run("PFCOUNT h"), ":3\r\n");
        assert_eq!(shard.run("PFADD h c"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty);
        // Also where it is dense, and written in place.
        shard.run("PFDEBUG TODENSE h");
        shard.run("PFADD h d");
        assert_eq!(get(&mut shard, "h")[8..16], [3, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(shard.run("PFCOUNT h"), ":4\r\n");
    }

    #[test]
    fn several_keys_count_as_one_set() {
        let mut shard = Harness::new();
        shard.run("PFADD a 1 2 3");
        shard.run("PFADD b 3 4");
        shard.run("PFADD c x EX 10");
        shard.run("PFDEBUG TODENSE b");
        assert_eq!(shard.run("PFCOUNT a b none"), ":4\r\n");
        assert_eq!(shard.run("PFCOUNT none none"), ":0\r\n");
        assert_eq!(get(&mut shard, "a")[15], 0x80, "the estimate of one is not that of all");
        shard.run("PEXPIRE a 5000");
        assert_eq!(shard.run("PFMERGE a b c none"), "+OK\r\n");
        assert_eq!(shard.run("PFDEBUG ENCODING a"), "+dense\r\n", "one of them was");
        assert_eq!(shard.run("PFCOUNT a"), ":7\r\n");
        assert_eq!(shard.ttl_ms("a"), Some(5000));
        assert_eq!(shard.run("PFMERGE new a"), "+OK\r\n");
        assert_eq!(shard.run("PFCOUNT new"), ":7\r\n");
        assert_eq!(shard.run("PFMERGE empty"), "+OK\r\n");
        assert_eq!(shard.run("PFDEBUG DECODE empty"), "$7\r\nZ:16384\r\n");
    }

    #[test]
    fn the_limit_of_sparse_ones_is_the_configurations() {
        let mut shard = Harness::new();
        let mut options = shard.keyspace.options().clone();
        options.encodings.hll_sparse_bytes = 30;
        shard.keyspace.set_options(options);
        shard.run("PFADD h a b c");
        assert_eq!(shard.run("PFDEBUG ENCODING h"), "+sparse\r\n");
        shard.run("PFADD h d e f");
        assert_eq!(shard.run("PFDEBUG ENCODING h"), "+dense\r\n");
        assert_eq!(shard.run("PFCOUNT h"), ":6\r\n");
    }

    #[test]
    fn other_strings_are_refused_and_damage_is_found() {
        let mut shard = Harness::new();
        shard.run("PFADD good 1");
        for value in ["12", "''", "text", r#""HYLL\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00""#] {
            shard.run(&format!("SET k {value}"));
            for command in
                ["PFADD k", "PFADD k a", "PFCOUNT k", "PFCOUNT good k", "PFMERGE k", "PFMERGE new k"]
            {
                assert_eq!(shard.run(command), NO_HYPERLOGLOG, "{command} of {value}");
            }
        }
        shard.run(r#"SET k "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xfe""#);
        for command in
            ["PFCOUNT k", "PFCOUNT good k", "PFMERGE good k", "PFDEBUG TODENSE k", "PFDEBUG GETREG k"]
        {
            assert_eq!(shard.run(command), CORRUPT, "{command}");
        }
        assert_eq!(shard.run("PFDEBUG DECODE k"), "$7\r\nZ:16383\r\n");
        assert_eq!(shard.run("EXISTS new"), ":0\r\n");
    }
}
