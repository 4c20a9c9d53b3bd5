//! Members drawn by chance: SPOP and SRANDMEMBER.

use super::write_member;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::effects::removal;
use crate::command::Ctx;
use crate::journal::rewrite::Batches;
use crate::journal::{words, Sink};
use crate::keyspace::{IntText, Set, SetRef, ValueRef};
use crate::resp::Args;

pub(super) fn spop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        2 => pop_one(ctx, args),
        3 => pop_many(ctx, args),
        _ => Err(CommandError::SYNTAX),
    }
}

fn pop_one(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut text = IntText::new();
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    if !slot.exists() {
        ctx.reply.null();
        return Ok(());
    }
    slot.edit(|set: &mut Set, edit| {
        set.pop(edit, ctx.rng, |member| {
            write_member(ctx.reply, member);
            let member = member.bytes(&mut text);
            ctx.journal.effect(ctx.db, words!["SREM", args.at(1), member]);
        });
        edit.changed(1);
    })?;
    Ok(())
}

fn pop_many(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = parse_i64(args.at(2)).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(CommandError::POSITIVE_RANGE)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let members = slot.members()?.map_or(0, SetRef::len);
    let count = count.min(members);
    ctx.reply.set(count);
    if count == 0 {
        return Ok(());
    }
    let is_all = count == members;
    let mut removed = ctx.journal.effects(ctx.db).filter(|_| !is_all);
    let mut removed = removed.as_mut().map(|sink| Batches::new(*sink, "SREM", key.bytes(), count, 1));
    let mut text = IntText::new();
    slot.edit(|set: &mut Set, edit| {
        set.pop_many(count, edit, ctx.rng, |member| {
            write_member(ctx.reply, member);
            if let Some(removed) = &mut removed {
                removed.next().word(member.bytes(&mut text).into());
            }
        });
        edit.changed(count as u64);
    })?;
    if is_all {
        ctx.effect(words![removal(ctx.options.lazyfree.server_del), args.at(1)]);
    }
    Ok(())
}

pub(super) fn srandmember(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => {
            let count = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
            Some(count.checked_neg().map(|_| count).ok_or(CommandError::COUNT_RANGE)?)
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let set = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::set).transpose()?;
    let (rng, reply) = (&mut *ctx.rng, &mut *ctx.reply);
    match (set, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => match set.random(rng) {
            Some(member) => write_member(reply, member),
            None => reply.null(),
        },
        (Some(set), Some(count @ 0..)) => {
            let count = set.len().min(count as usize);
            reply.array(count);
            set.random_distinct(count, rng, |member| write_member(reply, member));
        }
        (Some(set), Some(count)) => {
            let count = count.unsigned_abs() as usize;
            reply.array(count);
            set.random_with_repeats(count, rng, |member| write_member(reply, member));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::command::harness::Harness;
    use crate::resp::reply::{as_bulk, elements};

    /// A set of so many members, of the three encodings by turns.
    fn sets() -> Vec<(Harness, usize)> {
        let with = |prefix: &str, len: usize| {
            let mut shard = Harness::new();
            (0..len).for_each(|n| drop(shard.run(&format!("SADD s {prefix}{n}"))));
            (shard, len)
        };
        vec![
            with("", 1),
            with("", 40),
            with("s", 1),
            with("s", 40),
            with(&"long".repeat(20), 7),
            with("s", 1000),
        ]
    }

    /// The members of a reply; each as often as it came.
    fn drawn(shard: &mut Harness, line: &str) -> Vec<String> {
        let reply = shard.run(line);
        let members = elements(reply.as_bytes()).map(|member| as_bulk(member).expect("a string").to_vec());
        members.map(|member| String::from_utf8(member).unwrap()).collect()
    }

    fn all(shard: &mut Harness) -> BTreeSet<String> {
        drawn(shard, "SMEMBERS s").into_iter().collect()
    }

    #[test]
    fn popped_members_are_gone() {
        for (mut shard, len) in sets() {
            for share in [0, 1, len / 3, len / 2, len] {
                let before = all(&mut shard);
                let popped = drawn(&mut shard, &format!("SPOP s {share}"));
                assert_eq!(popped.len(), share.min(before.len()));
                let popped: BTreeSet<String> = popped.into_iter().collect();
                assert_eq!(all(&mut shard), &before - &popped);
            }
            assert_eq!(shard.run("EXISTS s"), ":0\r\n");
            assert_eq!(shard.run("SPOP s"), "$-1\r\n");
            assert_eq!(shard.run("SPOP s 5"), "*0\r\n");
        }
        for (mut shard, len) in sets() {
            let mut popped = BTreeSet::new();
            let before = all(&mut shard);
            for _ in 0..len {
                let reply = shard.run("SPOP s");
                popped.insert(String::from_utf8(as_bulk(reply.as_bytes()).unwrap().to_vec()).unwrap());
            }
            assert_eq!(popped, before);
            assert_eq!(shard.run("EXISTS s"), ":0\r\n");
        }
    }

    #[test]
    fn drawn_members_stay() {
        for (mut shard, len) in sets() {
            let before = all(&mut shard);
            for count in [0, 1, len / 10, len / 2, len, len + 5] {
                let members = drawn(&mut shard, &format!("SRANDMEMBER s {count}"));
                assert_eq!(members.len(), count.min(len));
                let members: BTreeSet<String> = members.into_iter().collect();
                assert_eq!(members.len(), count.min(len), "distinct");
                assert!(members.is_subset(&before));
            }
            for count in [1, len, 3 * len + 100] {
                let members = drawn(&mut shard, &format!("SRANDMEMBER s -{count}"));
                assert_eq!(members.len(), count);
                assert!(members.into_iter().collect::<BTreeSet<String>>().is_subset(&before));
            }
            let reply = shard.run("SRANDMEMBER s");
            assert!(before.contains(std::str::from_utf8(as_bulk(reply.as_bytes()).unwrap()).unwrap()));
            assert_eq!(all(&mut shard), before);
        }
    }

    #[test]
    fn bad_counts_are_refused() {
        const POSITIVE: &str = "-ERR value is out of range, must be positive\r\n";
        const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
        const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let mut shard = Harness::new();
        shard.run("SADD s a");
        shard.run("SET string 1");
        for (command, reply) in [
            ("SPOP s -1", POSITIVE),
            ("SPOP none -1", POSITIVE),
            ("SPOP s x", POSITIVE),
            ("SPOP s 1 2", "-ERR syntax error\r\n"),
            ("SPOP string", WRONG_TYPE),
            ("SPOP string 0", WRONG_TYPE),
            ("SRANDMEMBER s x", NOT_INTEGER),
            ("SRANDMEMBER s 9223372036854775808", NOT_INTEGER),
            (
                "SRANDMEMBER none -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
            ),
            ("SRANDMEMBER s 1 2", "-ERR syntax error\r\n"),
            ("SRANDMEMBER string", WRONG_TYPE),
            ("SRANDMEMBER string 0", WRONG_TYPE),
            ("SRANDMEMBER s 9223372036854775807", "*1\r\n$1\r\na\r\n"),
        ] {
            assert_eq!(shard.run(command), reply, "{command}");
        }
    }
}
