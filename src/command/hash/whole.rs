//! Whole hashes: HGETALL, HKEYS, HVALS, HLEN, HSCAN, HRANDFIELD.

use super::{read, reply_text};
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::generic::{parse_cursor, write_page, ScanOptions, Walk};
use crate::command::Ctx;
use crate::ds::hash::Item;
use crate::resp::{Args, Proto, Reply};

/// How many fields HRANDFIELD replies with at most where one may come several times: what is asked for is not bounded
/// by what there is.
const REPEATED_MAX: u64 = 1 << 24;

/// What is told of each field.
#[derive(Clone, Copy)]
enum Parts {
    Names,
    Values,
    Both,
}

impl Parts {
    fn write(self, reply: &mut Reply<'_>, item: Item<'_>) {
        if matches!(self, Parts::Names | Parts::Both) {
            reply_text(reply, item.name);
        }
        if matches!(self, Parts::Values | Parts::Both) {
            reply_text(reply, item.value);
        }
    }
}

pub(super) fn hgetall(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_all(ctx, args, Parts::Both)
}

pub(super) fn hkeys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_all(ctx, args, Parts::Names)
}

pub(super) fn hvals(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_all(ctx, args, Parts::Values)
}

pub(super) fn hlen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?.hash;
    ctx.reply.count(hash.map_or(0, |hash| hash.live_len(now)));
    Ok(())
}

pub(super) fn hscan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.at(2)).ok_or(CommandError::INVALID_CURSOR)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let Some(hash) = read(ctx.keyspace, ctx.db, key, now)?.hash else {
        // As in Redis, whose options nobody reads then.
        write_page(ctx.reply, |_| (0, 0));
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Walk::Fields)?;
    let parts = if options.names_only { Parts::Names } else { Parts::Both };
    write_page(ctx.reply, |reply| {
        let mut found = 0;
        let next = hash.scan(cursor, options.count, now, |item| {
            if options.matches(item.name.bytes(&mut itoa::Buffer::new())) {
                parts.write(reply, item);
                found += 1;
            }
        });
        (next, if options.names_only { found } else { 2 * found })
    });
    Ok(())
}

pub(super) fn hrandfield(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let Some(count) = args.get(2) else {
        let hash = read(ctx.keyspace, ctx.db, key, now)?.hash;
        match hash.and_then(|hash| hash.random(ctx.rng, now)) {
            Some(item) => reply_text(ctx.reply, item.name),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let count = parse_i64(count).ok_or(CommandError::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(CommandError::COUNT_RANGE);
    }
    if args.len() > 4 || args.len() == 4 && !args.is(3, "withvalues") {
        return Err(CommandError::SYNTAX);
    }
    let parts = if args.len() == 4 { Parts::Both } else { Parts::Names };
    // As in Redis, the reply to a count with values has twice as many elements.
    if args.len() == 4 && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(CommandError::OUT_OF_RANGE);
    }
    let hash = read(ctx.keyspace, ctx.db, key, now)?.hash;
    let Some(hash) = hash.filter(|_| count != 0) else {
        ctx.reply.array(0);
        return Ok(());
    };
    if count > 0 {
        let items = hash.sample(usize::try_from(count).unwrap_or(usize::MAX), ctx.rng, now);
        reply_drawn(ctx.reply, parts, items.len());
        items.into_iter().for_each(|item| write_drawn(ctx.reply, parts, item));
        return Ok(());
    }
    let count = count.unsigned_abs();
    if count > REPEATED_MAX {
        return Err(CommandError::OUT_OF_RANGE);
    }
    reply_drawn(ctx.reply, parts, count as usize);
    // A hash under a key has a field that lives.
    hash.repeated(count, ctx.rng, now, |item| write_drawn(ctx.reply, parts, item));
    Ok(())
}

fn reply_all(ctx: &mut Ctx<'_, '_>, args: Args<'_>, parts: Parts) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hash = read(ctx.keyspace, ctx.db, key, now)?.hash;
    let (start, mut found) = (ctx.reply.len(), 0);
    if let Some(hash) = hash {
        hash.for_each(now, |item| {
            parts.write(ctx.reply, item);
            found += 1;
        });
    }
    ctx.reply.insert(start, |reply| match parts {
        Parts::Both => reply.map(found),
        Parts::Names | Parts::Values => reply.array(found),
    });
    Ok(())
}

/// The head of a reply with random fields: in RESP3 each with its value is an array of its own.
fn reply_drawn(reply: &mut Reply<'_>, parts: Parts, count: usize) {
    match (parts, reply.proto()) {
        (Parts::Both, Proto::Resp2) => reply.array(2 * count),
        _ => reply.array(count),
    }
}

fn write_drawn(reply: &mut Reply<'_>, parts: Parts, item: Item<'_>) {
    if matches!((parts, reply.proto()), (Parts::Both, Proto::Resp3)) {
        reply.array(2);
    }
    parts.write(reply, item);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::command::harness::Harness;
    use crate::resp::Proto;

    /// The strings of a reply, flattened.
    fn words(reply: &str) -> Vec<String> {
        let lines = reply.split_terminator("\r\n");
        lines.filter(|line| !line.starts_with(['*', '$', '%'])).map(str::to_owned).collect()
    }

    /// A small hash and a large one with fields `0` to `count - 1`, each with its double as value.
    fn shard(count: usize) -> Harness {
        let mut shard = Harness::new();
        shard.run(&format!("HSET large x {}", "v".repeat(65)));
        for n in 0..count {
            shard.run(&format!("HSET small {n} {}", 2 * n));
            shard.run(&format!("HSET large {n} {}", 2 * n));
        }
        shard.run("HDEL large x");
        assert_eq!(shard.run("OBJECT ENCODING small"), "$8\r\nlistpack\r\n");
        assert_eq!(shard.run("OBJECT ENCODING large"), "$9\r\nhashtable\r\n");
        shard
    }

    #[test]
    fn all_fields_come_in_order_while_the_hash_is_small() {
        let mut shard = Harness::new();
        shard.run("HSET h a 1 b two");
        assert_eq!(shard.run("HGETALL h"), "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\ntwo\r\n");
        assert_eq!(shard.run("HKEYS h"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(shard.run("HVALS h"), "*2\r\n$1\r\n1\r\n$3\r\ntwo\r\n");
        assert_eq!(shard.run("HLEN h"), ":2\r\n");
        for command in ["HGETALL none", "HKEYS none", "HVALS none", "HRANDFIELD none 3"] {
            assert_eq!(shard.run(command), "*0\r\n", "{command}");
        }
        assert_eq!(shard.run("HLEN none"), ":0\r\n");
        shard.proto = Proto::Resp3;
        assert_eq!(shard.run("HGETALL h"), "%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\ntwo\r\n");
        assert_eq!(shard.run("HGETALL none"), "%0\r\n");
        assert_eq!(shard.run("HKEYS none"), "*0\r\n");
        shard.run("SET s v");
        for command in
            ["HGETALL s", "HKEYS s", "HVALS s", "HLEN s", "HSCAN s 0", "HRANDFIELD s", "HRANDFIELD s 1"]
        {
            assert!(shard.run(command).starts_with("-WRONGTYPE"), "{command}");
        }
    }

    #[test]
    fn a_scan_returns_every_field() {
        let mut shard = shard(300);
        let reply = shard.run("HSCAN small 0 COUNT 1");
        assert!(reply.starts_with("*2\r\n$1\r\n0\r\n*600\r\n"), "a small hash is one page");
        for (options, is_wanted) in
            [("", None), (" MATCH 1?", Some(2)), (" match 7 novalues", None), (" NOVALUES COUNT 30", None)]
        {
            for key in ["small", "large"] {
                let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
                loop {
                    let mut words = words(&shard.run(&format!("HSCAN {key} {cursor}{options}"))).into_iter();
                    cursor = words.next().unwrap();
                    let names: Vec<String> = words.collect();
                    let step = if options.to_lowercase().contains("novalues") { 1 } else { 2 };
                    for field in names.chunks(step) {
                        if let [name, value] = field {
                            assert_eq!(name.parse::<u32>().unwrap() * 2, value.parse::<u32>().unwrap());
                        }
                        seen.insert(field[0].clone());
                    }
                    if cursor == "0" {
                        break;
                    }
                }
                let expected = match is_wanted {
                    Some(_) => 10,
                    None if options.contains('7') => 1,
                    None => 300,
                };
                assert_eq!(seen.len(), expected, "{key}{options}");
            }
        }
        for (command, reply) in [
            ("HSCAN small x", "-ERR invalid cursor\r\n"),
            ("HSCAN none x", "-ERR invalid cursor\r\n"),
            ("HSCAN small 0 COUNT 0", "-ERR syntax error\r\n"),
            ("HSCAN small 0 COUNT x", "-ERR value is not an integer or out of range\r\n"),
            ("HSCAN small 0 TYPE hash", "-ERR syntax error\r\n"),
            ("HSCAN small 0 MATCH", "-ERR syntax error\r\n"),
            ("HSCAN none 0 COUNT 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("SCAN 0 NOVALUES", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(shard.run(command), reply, "{command}");
        }
    }

    #[test]
    fn random_fields() {
        let mut shard = shard(20);
        for key in ["small", "large"] {
            let drawn: BTreeSet<String> =
                (0..400).map(|_| words(&shard.run(&format!("HRANDFIELD {key}"))).remove(0)).collect();
            assert_eq!(drawn.len(), 20);
            for (count, replies, distinct) in [(5, 5, 5), (20, 20, 20), (100, 20, 20), (0, 0, 0)] {
                let drawn = words(&shard.run(&format!("HRANDFIELD {key} {count}")));
                assert_eq!(drawn.len(), replies);
                assert_eq!(drawn.into_iter().collect::<BTreeSet<_>>().len(), distinct);
            }
            let drawn = words(&shard.run(&format!("HRANDFIELD {key} -500 WITHVALUES")));
            assert_eq!(drawn.len(), 1000);
            for pair in drawn.chunks(2) {
                assert_eq!(pair[0].parse::<u32>().unwrap() * 2, pair[1].parse::<u32>().unwrap());
            }
        }
        assert_eq!(shard.run("HRANDFIELD none"), "$-1\r\n");
        shard.run("HSET one f v");
        assert_eq!(
            shard.run("HRANDFIELD one -2 withvalues"),
            "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\nf\r\n$1\r\nv\r\n"
        );
        shard.proto = Proto::Resp3;
        assert_eq!(shard.run("HRANDFIELD one 3 withvalues"), "*1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
        assert_eq!(shard.run("HRANDFIELD none"), "_\r\n");
        for (command, error) in [
            ("HRANDFIELD one x", "value is not an integer or out of range"),
            ("HRANDFIELD one 1 x", "syntax error"),
            ("HRANDFIELD one 1 withvalues x", "syntax error"),
            ("HRANDFIELD one 9223372036854775807 withvalues", "value is out of range"),
            ("HRANDFIELD one -9223372036854775807 withvalues", "value is out of range"),
            (
                "HRANDFIELD one -9223372036854775808",
                "value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ] {
            assert_eq!(shard.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
    }
}
