//! What adds, replaces and removes elements where they stand: LPUSH, RPUSH, LPUSHX, RPUSHX, LINSERT, LSET, LREM, LTRIM.

use std::ops::ControlFlow;

use super::place;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::collection::{Collection, Edit};
use crate::ds::list::{End, Needle, Side};
use crate::keyspace::List;
use crate::resp::Args;

pub(super) fn lpush(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Front, false)
}

pub(super) fn rpush(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Back, false)
}

pub(super) fn lpushx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Front, true)
}

pub(super) fn rpushx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Back, true)
}

fn push(ctx: &mut Ctx<'_, '_>, args: Args<'_>, end: End, must_exist: bool) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    if must_exist && slot.list()?.is_none() {
        ctx.reply.int(0);
        return Ok(());
    }
    let len = slot.edit(|list: &mut List, edit| {
        list.push_all(edit, end, args.iter_from(2));
        edit.changed(args.len() as u64 - 2);
        list.as_ref().len()
    })?;
    ctx.reply.count(len);
    Ok(())
}

pub(super) fn linsert(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let side = if args.is(2, "after") {
        Side::After
    } else if args.is(2, "before") {
        Side::Before
    } else {
        return Err(CommandError::SYNTAX);
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    if slot.list()?.is_none() {
        ctx.reply.int(0);
        return Ok(());
    }
    let inserted = slot.edit(|list: &mut List, edit| insert(list, edit, args.at(3), side, args.at(4)))?;
    match inserted {
        Some(len) => ctx.reply.count(len),
        None => ctx.reply.int(-1),
    }
    Ok(())
}

/// Puts an element beside the first one that is `pivot`; the length then, if there was one.
fn insert(list: &mut List, edit: &mut Edit<'_>, pivot: &[u8], side: Side, element: &[u8]) -> Option<usize> {
    // Whether the pivot is found does not matter for the encoding, in Redis as here.
    list.grow(edit, 1, element.len());
    let (needle, mut found) = (Needle::new(pivot), None);
    list.as_ref().walk(0, End::Back, |index, element| {
        if needle.is(element) {
            found = Some(index);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    list.insert(edit, found?, side, element);
    edit.changed(1);
    Some(list.as_ref().len())
}

pub(super) fn lset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let Some(list) = slot.list()? else { return Err(CommandError::NO_SUCH_KEY) };
    // Only a list that is there makes a bad index an error.
    let index = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let at = place(index, list.len());
    let element = args.at(3);
    let was_set = slot.edit(|list: &mut List, edit| {
        list.grow(edit, 1, element.len());
        let was_set = at.is_some_and(|at| list.set(edit, at, element));
        edit.changed(was_set.into());
        was_set
    })?;
    if !was_set {
        return Err(CommandError::INDEX_RANGE);
    }
    ctx.reply.ok();
    Ok(())
}

pub(super) fn lrem(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let (from, count) = match count {
        0 => (End::Front, usize::MAX),
        1.. => (End::Front, count as usize),
        _ => (End::Back, count.unsigned_abs() as usize),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let removed = match slot.list()? {
        None => 0,
        Some(_) => slot.edit(|list: &mut List, edit| {
            let removed = list.remove_equal(edit, args.at(3), from, count);
            edit.changed(removed as u64);
            removed
        })?,
    };
    ctx.reply.count(removed);
    Ok(())
}

pub(super) fn ltrim(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let start = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let stop = parse_i64(args.at(3)).ok_or(CommandError::NOT_INTEGER)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    if let Some(list) = slot.list()? {
        let kept = super::range(start, stop, list.len());
        slot.edit(|list: &mut List, edit| {
            let removed =
                list.remove_range(edit, kept.end, usize::MAX) + list.remove_range(edit, 0, kept.start);
            edit.changed(removed as u64);
        })?;
    }
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    fn elements(shard: &mut Harness, key: &str) -> Vec<String> {
        let reply = shard.run(&format!("LRANGE {key} 0 -1"));
        reply.lines().skip(2).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn pushing_at_both_ends() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("LPUSHX l a"), ":0\r\n");
        assert_eq!(shard.run("RPUSHX l a"), ":0\r\n");
        assert_eq!(shard.run("EXISTS l"), ":0\r\n");
        assert_eq!(shard.run("LPUSH l b a"), ":2\r\n");
        assert_eq!(shard.run("RPUSH l c 4"), ":4\r\n");
        assert_eq!(shard.run("LPUSHX l y x"), ":6\r\n");
        assert_eq!(shard.run("RPUSHX l 5"), ":7\r\n");
        assert_eq!(elements(&mut shard, "l"), ["x", "y", "a", "b", "c", "4", "5"]);
        assert_eq!(shard.keyspace.dirty(), 7);
        assert_eq!(shard.run("TYPE l"), "+list\r\n");
        shard.run("SET s x");
        for line in ["LPUSH s a", "RPUSH s a", "LPUSHX s a", "RPUSHX s a"] {
            assert!(shard.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
    }

    #[test]
    fn inserting_beside_a_pivot() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a 2 a");
        assert_eq!(shard.run("LINSERT l before 2 x"), ":4\r\n");
        assert_eq!(shard.run("LINSERT l AFTER a y"), ":5\r\n");
        assert_eq!(elements(&mut shard, "l"), ["a", "y", "x", "2", "a"]);
        let dirty = shard.keyspace.dirty();
        assert_eq!(shard.run("LINSERT l AFTER none y"), ":-1\r\n");
        assert_eq!(shard.run("LINSERT none AFTER a y"), ":0\r\n");
        assert_eq!(shard.run("LINSERT none beside a y"), "-ERR syntax error\r\n");
        assert_eq!((shard.run("EXISTS none"), shard.keyspace.dirty()), (":0\r\n".to_owned(), dirty));
        // The list made room for what was not inserted.
        let long = "x".repeat(9000);
        shard.run(&format!("LINSERT l AFTER none {long}"));
        assert_eq!(shard.run("OBJECT ENCODING l"), "$9\r\nquicklist\r\n");
    }

    #[test]
    fn setting_by_index() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a b c");
        assert_eq!(shard.run("LSET l 0 1"), "+OK\r\n");
        assert_eq!(shard.run("LSET l -1 3"), "+OK\r\n");
        assert_eq!(elements(&mut shard, "l"), ["1", "b", "3"]);
        for (line, error) in [
            ("LSET l 3 x", "-ERR index out of range\r\n"),
            ("LSET l -4 x", "-ERR index out of range\r\n"),
            ("LSET l x x", "-ERR value is not an integer or out of range\r\n"),
            ("LSET none x x", "-ERR no such key\r\n"),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
        assert_eq!(shard.keyspace.dirty(), 5);
    }

    #[test]
    fn removing_by_value() {
        let mut shard = Harness::new();
        let full = "RPUSH l a b a 1 a b";
        for (line, removed, left) in [
            ("LREM l 0 a", ":3\r\n", "b 1 b"),
            ("LREM l 2 a", ":2\r\n", "b 1 a b"),
            ("LREM l -2 a", ":2\r\n", "a b 1 b"),
            ("LREM l -1 1", ":1\r\n", "a b a a b"),
            ("LREM l 9 c", ":0\r\n", "a b a 1 a b"),
            ("LREM l -9223372036854775808 b", ":2\r\n", "a a 1 a"),
        ] {
            shard.run("DEL l");
            shard.run(full);
            let dirty = shard.keyspace.dirty();
            assert_eq!(shard.run(line), removed, "{line}");
            assert_eq!(elements(&mut shard, "l").join(" "), left, "{line}");
            assert_eq!(format!(":{}\r\n", shard.keyspace.dirty() - dirty), removed);
        }
        shard.run("RPUSH m x x");
        assert_eq!(shard.run("LREM m 0 x"), ":2\r\n");
        assert_eq!(shard.run("EXISTS m"), ":0\r\n");
        assert_eq!(shard.run("LREM none 0 x"), ":0\r\n");
        assert!(shard.run("LREM none x x").starts_with("-ERR value is not an integer"));
    }

    #[test]
    fn trimming_to_a_range() {
        let mut shard = Harness::new();
        for (range, left) in [
            ("1 -2", "b c"),
            ("0 -1", "a b c d"),
            ("-2 100", "c d"),
            ("-100 0", "a"),
            ("2 1", ""),
            ("4 9", ""),
            ("0 -5", ""),
        ] {
            shard.run("DEL l");
            shard.run("RPUSH l a b c d");
            let dirty = shard.keyspace.dirty();
            assert_eq!(shard.run(&format!("LTRIM l {range}")), "+OK\r\n");
            assert_eq!(elements(&mut shard, "l").join(" "), left, "{range}");
            let removed = 4 - left.split_whitespace().count() as u64;
            assert_eq!(shard.keyspace.dirty() - dirty, removed, "{range}");
            assert_eq!(shard.run("EXISTS l"), if left.is_empty() { ":0\r\n" } else { ":1\r\n" });
        }
        assert_eq!(shard.run("LTRIM none 0 1"), "+OK\r\n");
        assert!(shard.run("LTRIM none 0 x").starts_with("-ERR value is not an integer"));
    }
}
