//! Several sets at once: intersection, union and difference, to answer with or to store.

use smallvec::SmallVec;

use super::write_member;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::collection::{Collection, Edit};
use crate::ds::set::intersection;
use crate::keyspace::{Set, SetRef, ValueRef};
use crate::resp::{Args, Reply};

/// The sets under several keys, in the order of the keys.
type Sets<'a> = SmallVec<[Option<SetRef<'a>>; 8]>;

pub(super) fn sinter(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    with_sets(ctx, args.iter_from(1), |sets, edit, reply| {
        let (start, mut found) = (reply.len(), 0);
        intersection(&all_or_none(sets), edit.hasher, |member| {
            write_member(reply, member);
            found += 1;
            true
        });
        reply.insert(start, |reply| reply.set(found));
    })
}

pub(super) fn sintercard(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = parse_i64(args.at(1)).and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|&count| count > 0).ok_or(CommandError::NUMKEYS_RANGE)?;
    if count > args.len() - 2 {
        return Err(CommandError::NUMKEYS_TOO_LARGE);
    }
    let mut limit = 0;
    let mut at = 2 + count;
    while at < args.len() {
        let value = args.get(at + 1).filter(|_| args.is(at, "limit")).ok_or(CommandError::SYNTAX)?;
        let value = parse_i64(value).and_then(|value| usize::try_from(value).ok());
        limit = value.ok_or(CommandError::LIMIT_NEGATIVE)?;
        at += 2;
    }
    with_sets(ctx, args.iter_from(2).take(count), |sets, edit, reply| {
        let mut found = 0;
        intersection(&all_or_none(sets), edit.hasher, |_| {
            found += 1;
            found != limit
        });
        reply.count(found);
    })
}

pub(super) fn sunion(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    answer(ctx, args, union)
}

pub(super) fn sdiff(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    answer(ctx, args, difference)
}

pub(super) fn sinterstore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    store(ctx, args, |sets, edit| Set::intersection_of(&all_or_none(sets), edit))
}

pub(super) fn sunionstore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    store(ctx, args, union)
}

pub(super) fn sdiffstore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    store(ctx, args, difference)
}

fn union(sets: &[Option<SetRef<'_>>], edit: &mut Edit<'_>) -> Set {
    Set::union_of(&present(sets), edit)
}

fn difference(sets: &[Option<SetRef<'_>>], edit: &mut Edit<'_>) -> Set {
    match sets {
        [Some(first), others @ ..] => Set::difference_of(*first, &present(others), edit),
        _ => Set::empty(edit.slab),
    }
}

/// Answers with the set that `make` makes of those under the keys.
fn answer(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    make: impl FnOnce(&[Option<SetRef<'_>>], &mut Edit<'_>) -> Set,
) -> Result<(), CommandError> {
    with_sets(ctx, args.iter_from(1), |sets, edit, reply| {
        let result = make(sets, edit);
        reply.set(result.as_ref().len());
        result.as_ref().iter().for_each(|member| write_member(reply, member));
        result.free(edit.slab);
    })
}

/// Stores the set that `make` makes of those under the keys after the first one there.
fn store(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    make: impl FnOnce(&[Option<SetRef<'_>>], &mut Edit<'_>) -> Set,
) -> Result<(), CommandError> {
    let result = with_sets(ctx, args.iter_from(2), |sets, edit, _| make(sets, edit))?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    ctx.reply.count(result.as_ref().len());
    ctx.keyspace.find(ctx.db, key, now).store(result);
    Ok(())
}

/// Calls `f` with the sets under the keys, and with what a set can be made with meanwhile.
fn with_sets<'a, R>(
    ctx: &mut Ctx<'_, '_>,
    keys: impl Iterator<Item = &'a [u8]> + Clone,
    f: impl FnOnce(&[Option<SetRef<'_>>], &mut Edit<'_>, &mut Reply<'_>) -> R,
) -> Result<R, CommandError> {
    // One after the other, so that each counts as used, and those whose time has come go.
    for key in keys.clone() {
        ctx.source(key).map(ValueRef::set).transpose()?;
    }
    let (db, now) = (ctx.db, ctx.now_ms());
    let (sources, mut edit) = ctx.keyspace.sources(now);
    let sets: Sets<'_> = keys.map(|key| sources.get(db, key)?.set().ok()).collect();
    Ok(f(&sets, &mut edit, ctx.reply))
}

/// Those of the sets that there are.
fn present<'a>(sets: &[Option<SetRef<'a>>]) -> SmallVec<[SetRef<'a>; 8]> {
    sets.iter().flatten().copied().collect()
}

/// All the sets; none where one is missing, as nothing is in all of them then.
fn all_or_none<'a>(sets: &[Option<SetRef<'a>>]) -> SmallVec<[SetRef<'a>; 8]> {
    sets.iter().copied().collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    fn shard() -> Harness {
        let mut shard = Harness::new();
        for line in ["SADD a 1 2 3 4", "SADD b 3 4 5 x", "SADD c 4 y x 1", "SET string 1"] {
            shard.run(line);
        }
        shard
    }

    fn sorted(reply: &str) -> Vec<&str> {
        let mut words: Vec<&str> = reply.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect();
        words.sort_unstable();
        words.into_iter().filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn sets_are_combined() {
        let mut shard = shard();
        for (keys, intersection, union, difference) in [
            ("a", &["1", "2", "3", "4"][..], &["1", "2", "3", "4"][..], &["1", "2", "3", "4"][..]),
            ("a b", &["3", "4"], &["1", "2", "3", "4", "5", "x"], &["1", "2"]),
            ("b c", &["4", "x"], &["1", "3", "4", "5", "x", "y"], &["3", "5"]),
            ("a b c", &["4"], &["1", "2", "3", "4", "5", "x", "y"], &["2"]),
            ("a none", &[], &["1", "2", "3", "4"], &["1", "2", "3", "4"]),
            ("none a", &[], &["1", "2", "3", "4"], &[]),
            ("a b a", &["3", "4"], &["1", "2", "3", "4", "5", "x"], &[]),
            ("none", &[], &[], &[]),
        ] {
            for (name, expected) in [("SINTER", intersection), ("SUNION", union), ("SDIFF", difference)] {
                assert_eq!(sorted(&shard.run(&format!("{name} {keys}"))), expected, "{name} {keys}");
                let count = format!(":{}\r\n", expected.len());
                for destination in ["d", "string"] {
                    assert_eq!(shard.run(&format!("{name}STORE {destination} {keys}")), count);
                    assert_eq!(sorted(&shard.run(&format!("SMEMBERS {destination}"))), expected);
                    let exists = if expected.is_empty() { ":0\r\n" } else { ":1\r\n" };
                    assert_eq!(shard.run(&format!("EXISTS {destination}")), exists);
                    shard.run("SET string 1");
                }
            }
            let numkeys = keys.split(' ').count();
            let count = format!(":{}\r\n", intersection.len());
            assert_eq!(shard.run(&format!("SINTERCARD {numkeys} {keys}")), count);
            let limited = format!(":{}\r\n", intersection.len().min(1));
            assert_eq!(shard.run(&format!("SINTERCARD {numkeys} {keys} LIMIT 1")), limited);
            assert_eq!(shard.run(&format!("SINTERCARD {numkeys} {keys} limit 0")), count);
        }
        // A destination that is a source.
        assert_eq!(shard.run("SUNIONSTORE a a b"), ":6\r\n");
        assert_eq!(shard.run("SDIFFSTORE a a c"), ":3\r\n");
        assert_eq!(sorted(&shard.run("SMEMBERS a")), ["2", "3", "5"]);
    }

    #[test]
    fn stored_sets_have_the_encoding_that_they_would_have_in_redis() {
        let mut shard = shard();
        let numbers = (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let strings = (0..200).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        shard.run(&format!("SADD big {numbers}"));
        shard.run(&format!("SADD big {strings}"));
        for (command, encoding) in [
            ("SINTERSTORE d a", "intset"),
            ("SINTERSTORE d a big", "intset"),
            // Integers out of a listpack, and out of tables.
            ("SINTERSTORE d a b", "intset"),
            ("SINTERSTORE d b c", "listpack"),
            ("SINTERSTORE d big", "hashtable"),
            ("SDIFFSTORE d big a", "hashtable"),
            ("SUNIONSTORE d a a", "intset"),
            ("SUNIONSTORE d a b", "listpack"),
            ("SUNIONSTORE d a big", "hashtable"),
            ("SDIFFSTORE d a b", "intset"),
            ("SDIFFSTORE d b a", "listpack"),
        ] {
            shard.run(command);
            let shown = shard.run("OBJECT ENCODING d");
            assert!(shown.ends_with(&format!("\r\n{encoding}\r\n")), "{shown} after {command}");
        }
        shard.run(&format!("SADD numbers {numbers}"));
        shard.run("SADD numbers x");
        shard.run("SREM numbers x");
        assert_eq!(shard.run("OBJECT ENCODING numbers"), "$9\r\nhashtable\r\n");
        shard.run("SINTERSTORE d big numbers");
        assert_eq!(shard.run("OBJECT ENCODING d"), "$6\r\nintset\r\n");
    }

    #[test]
    fn wrong_requests_change_nothing() {
        let mut shard = shard();
        for name in ["SINTER", "SUNION", "SDIFF"] {
            for keys in ["string", "a string", "none string", "string none"] {
                assert_eq!(shard.run(&format!("{name} {keys}")), WRONG_TYPE, "{name} {keys}");
                assert_eq!(shard.run(&format!("{name}STORE a {keys}")), WRONG_TYPE, "{name} {keys}");
            }
        }
        assert_eq!(shard.run("SCARD a"), ":4\r\n");
        for (command, reply) in [
            ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0\r\n"),
            ("SINTERCARD -1 a", "-ERR numkeys should be greater than 0\r\n"),
            ("SINTERCARD x a", "-ERR numkeys should be greater than 0\r\n"),
            ("SINTERCARD 2 a", "-ERR Number of keys can't be greater than number of args\r\n"),
            ("SINTERCARD 1 a b", "-ERR syntax error\r\n"),
            ("SINTERCARD 1 a LIMIT", "-ERR syntax error\r\n"),
            ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative\r\n"),
            ("SINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative\r\n"),
            ("SINTERCARD 1 a LIMIT 1 LIMIT 2", ":2\r\n"),
            ("SINTERCARD 1 string", WRONG_TYPE),
            ("SINTERCARD 2 none string", WRONG_TYPE),
        ] {
            assert_eq!(shard.run(command), reply, "{command}");
        }
    }

    #[test]
    fn no_memory_is_left_behind() {
        let mut shard = shard();
        for command in ["SUNION a b c", "SDIFF b a", "SINTERSTORE d none", "SUNION none", "SDIFFSTORE d a a"]
        {
            shard.run(command);
        }
        let before = shard.keyspace.memory().used_bytes();
        for command in
            ["SUNION a b c", "SDIFF b a", "SINTER a b", "SINTERSTORE d a b", "DEL d", "SPOP none 3"]
        {
            shard.run(command);
        }
        assert_eq!(shard.keyspace.memory().used_bytes(), before);
        shard.run("DEL a b c string");
        assert_eq!(shard.keyspace.memory().used_bytes(), 0);
    }
}
