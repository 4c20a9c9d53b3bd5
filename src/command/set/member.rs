//! Members by name: SADD, SREM, SMOVE, and the commands that look them up or list them.

use super::write_member;
use crate::base::error::CommandError;
use crate::command::generic::{parse_cursor, write_page, ScanOptions, Walk};
use crate::command::Ctx;
use crate::ds::collection::Collection;
use crate::keyspace::{IntText, Set, SetRef, ValueRef};
use crate::resp::Args;

pub(super) fn sadd(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let added = slot.edit(|set: &mut Set, edit| {
        set.prepare(args.at(2), args.len() - 2, edit);
        let added = args.iter_from(2).filter(|member| set.add(member, edit)).count();
        edit.changed(added as u64);
        added
    })?;
    ctx.reply.count(added);
    Ok(())
}

pub(super) fn srem(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let removed = match slot.exists() {
        false => 0,
        true => slot.edit(|set: &mut Set, edit| {
            let removed = args.iter_from(2).filter(|member| set.remove(member, edit)).count();
            edit.changed(removed as u64);
            removed
        })?,
    };
    ctx.reply.count(removed);
    Ok(())
}

pub(super) fn smove(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (source, destination, member) = (ctx.first_key(args.at(1)), ctx.key(args.at(2)), args.at(3));
    let (db, now) = (ctx.db, ctx.now_ms());
    if !ctx.keyspace.find(db, source, now).exists() {
        // Whatever the destination holds.
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.keyspace.find(db, destination, now).members()?;
    let mut slot = ctx.keyspace.find(db, source, now);
    let is_same = source.bytes() == destination.bytes();
    let is_member = slot.edit(|set: &mut Set, edit| {
        if is_same {
            return set.as_ref().contains(member, edit.hasher);
        }
        let removed = set.remove(member, edit);
        edit.changed(removed.into());
        removed
    })?;
    if is_member && !is_same {
        ctx.keyspace.find(db, destination, now).edit(|set: &mut Set, edit| {
            if set.as_ref().is_empty() {
                set.prepare(member, 1, edit);
            }
            let is_new = set.add(member, edit);
            edit.changed(is_new.into());
        })?;
    }
    ctx.reply.int(is_member.into());
    Ok(())
}

pub(super) fn scard(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let set = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::set).transpose()?;
    ctx.reply.count(set.map_or(0, SetRef::len));
    Ok(())
}

pub(super) fn sismember(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now, hasher) = (ctx.first_key(args.at(1)), ctx.now_ms(), ctx.keyspace.hasher().clone());
    let set = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::set).transpose()?;
    ctx.reply.int(set.is_some_and(|set| set.contains(args.at(2), &hasher)).into());
    Ok(())
}

pub(super) fn smismember(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now, hasher) = (ctx.first_key(args.at(1)), ctx.now_ms(), ctx.keyspace.hasher().clone());
    let set = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::set).transpose()?;
    ctx.reply.array(args.len() - 2);
    for member in args.iter_from(2) {
        ctx.reply.int(set.is_some_and(|set| set.contains(member, &hasher)).into());
    }
    Ok(())
}

pub(super) fn smembers(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let set = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::set).transpose()?;
    ctx.reply.set(set.map_or(0, SetRef::len));
    for member in set.into_iter().flat_map(SetRef::iter) {
        write_member(ctx.reply, member);
    }
    Ok(())
}

pub(super) fn sscan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.at(2)).ok_or(CommandError::INVALID_CURSOR)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let set = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::set).transpose()?;
    let Some(set) = set else {
        // As in Redis, whatever the options are.
        write_page(ctx.reply, |_| (0, 0));
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Walk::Elements)?;
    write_page(ctx.reply, |reply| {
        let (mut text, mut found) = (IntText::new(), 0);
        let next = set.scan(cursor, options.count, |member| {
            let member = member.bytes(&mut text);
            if options.matches(member) {
                reply.bulk(member);
                found += 1;
            }
        });
        (next, found)
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::command::harness::Harness;
    use crate::resp::Proto;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn members_come_and_go() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("SADD s a b a 1"), ":3\r\n");
        assert_eq!(shard.run("SADD s a c"), ":1\r\n");
        assert_eq!(shard.run("SCARD s"), ":4\r\n");
        assert_eq!(shard.run("SISMEMBER s 1"), ":1\r\n");
        assert_eq!(shard.run("SISMEMBER s 01"), ":0\r\n");
        assert_eq!(shard.run("SMISMEMBER s a 2 c ''"), "*4\r\n:1\r\n:0\r\n:1\r\n:0\r\n");
        assert_eq!(shard.run("SREM s a x c"), ":2\r\n");
        assert_eq!(shard.run("TYPE s"), "+set\r\n");
        assert_eq!(shard.run("SREM s b 1 1"), ":2\r\n");
        assert_eq!(shard.run("EXISTS s"), ":0\r\n");
        for (command, reply) in [
            ("SCARD s", ":0\r\n"),
            ("SISMEMBER s a", ":0\r\n"),
            ("SMISMEMBER s a b", "*2\r\n:0\r\n:0\r\n"),
            ("SREM s a", ":0\r\n"),
            ("SMEMBERS s", "*0\r\n"),
            ("SSCAN s 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ] {
            assert_eq!(shard.run(command), reply, "{command}");
        }
        shard.run("SET string 1");
        for command in [
            "SADD string a",
            "SCARD string",
            "SISMEMBER string a",
            "SMISMEMBER string a",
            "SREM string a",
            "SMEMBERS string",
            "SSCAN string 0",
            "SMOVE string s a",
        ] {
            assert_eq!(shard.run(command), WRONG_TYPE, "{command}");
        }
    }

    #[test]
    fn changes_count_and_the_expiry_stays_until_the_set_goes() {
        let mut shard = Harness::new();
        let mut dirty = 0;
        for (command, changes) in [
            ("SADD s a b", 2),
            ("SADD s a b", 0),
            ("SREM s x", 0),
            ("SREM s a x", 1),
            ("SADD s a", 1),
            ("SMOVE s t a", 2),
            ("SADD s a", 1),
            ("SMOVE s t a", 1),
            ("SMOVE s t a", 0),
            ("SMOVE t t a", 0),
            ("SINTERSTORE t s s", 1),
            ("SINTERSTORE t s none", 1),
            ("SINTERSTORE t s none", 0),
            ("SPOP s", 1),
        ] {
            shard.run(command);
            dirty += changes;
            assert_eq!(shard.keyspace.dirty(), dirty, "{command}");
        }
        shard.run("SADD s a b");
        shard.run("PEXPIRE s 1000");
        shard.run("SADD s c");
        shard.run("SREM s a");
        assert_eq!(shard.ttl_ms("s"), Some(1000));
        shard.run("SREM s b c");
        shard.run("SADD s c");
        assert_eq!(shard.ttl_ms("s"), None);
        shard.run("PEXPIRE s 1000");
        shard.run("SUNIONSTORE s s");
        assert_eq!(shard.ttl_ms("s"), None);
    }

    #[test]
    fn a_member_moves() {
        let mut shard = Harness::new();
        shard.run("SADD from a b 1");
        assert_eq!(shard.run("SMOVE from to a"), ":1\r\n");
        assert_eq!(shard.run("SMOVE from to a"), ":0\r\n");
        assert_eq!(shard.run("SMEMBERS to"), "*1\r\n$1\r\na\r\n");
        assert_eq!(shard.run("SMOVE from from b"), ":1\r\n");
        assert_eq!(shard.run("SMOVE from from x"), ":0\r\n");
        assert_eq!(shard.run("SMOVE from new 1"), ":1\r\n");
        assert_eq!(shard.run("OBJECT ENCODING new"), "$6\r\nintset\r\n");
        assert_eq!(shard.run("OBJECT ENCODING to"), "$8\r\nlistpack\r\n");
        assert_eq!(shard.run("SMOVE from to b"), ":1\r\n");
        assert_eq!(shard.run("EXISTS from"), ":0\r\n");
        shard.run("SET string 1");
        assert_eq!(shard.run("SMOVE to string a"), WRONG_TYPE);
        assert_eq!(shard.run("SCARD to"), ":2\r\n");
        assert_eq!(shard.run("SMOVE string to a"), WRONG_TYPE);
        // A source that there is not decides first.
        assert_eq!(shard.run("SMOVE none string a"), ":0\r\n");
        assert_eq!(shard.run("SMOVE string string a"), WRONG_TYPE);
    }

    #[test]
    fn encodings_are_those_of_redis() {
        let mut shard = Harness::new();
        let numbers =
            |range: std::ops::Range<i32>| range.map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let strings =
            |range: std::ops::Range<i32>| range.map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        for (members, more, encoding) in [
            (numbers(0..512), String::new(), "intset"),
            (numbers(0..513), String::new(), "hashtable"),
            (numbers(0..512), "512".to_owned(), "hashtable"),
            (numbers(0..127), "a".to_owned(), "listpack"),
            (numbers(0..128), "a".to_owned(), "hashtable"),
            (strings(0..128), String::new(), "listpack"),
            (strings(0..129), String::new(), "hashtable"),
            (strings(0..128), "a".to_owned(), "hashtable"),
            // As many as these are expected to be too many, though they are the same.
            ("a".to_owned(), ["a"; 129].join(" "), "hashtable"),
            ("1".to_owned(), ["1"; 513].join(" "), "hashtable"),
            ("a".to_owned(), "x".repeat(64), "listpack"),
            ("a".to_owned(), "x".repeat(65), "hashtable"),
        ] {
            shard.run("DEL s");
            shard.run(&format!("SADD s {members}"));
            if !more.is_empty() {
                shard.run(&format!("SADD s {more}"));
            }
            let shown = shard.run("OBJECT ENCODING s");
            assert!(
                shown.ends_with(&format!("\r\n{encoding}\r\n")),
                "{shown} of {members:.30} and {more:.30}"
            );
        }
        // A copy is as its original.
        shard.run("SREM s a");
        shard.run("COPY s t");
        assert_eq!(shard.run("OBJECT ENCODING t"), "$9\r\nhashtable\r\n");
        assert_eq!(shard.run("SMEMBERS t"), shard.run("SMEMBERS s"));
    }

    #[test]
    fn a_set_is_one_in_resp3() {
        let mut shard = Harness::new();
        shard.run("SADD s 2 1");
        shard.proto = Proto::Resp3;
        for command in ["SMEMBERS s", "SINTER s", "SUNION s none", "SDIFF s none", "SPOP s 2"] {
            assert_eq!(shard.run(command), "~2\r\n$1\r\n1\r\n$1\r\n2\r\n", "{command}");
        }
        for command in ["SMEMBERS s", "SINTER s", "SUNION s none", "SDIFF s none", "SPOP s 2"] {
            assert_eq!(shard.run(command), "~0\r\n", "{command}");
        }
        assert_eq!(shard.run("SPOP s"), "_\r\n");
        assert_eq!(shard.run("SRANDMEMBER s"), "_\r\n");
        assert_eq!(shard.run("SRANDMEMBER s 3"), "*0\r\n");
        assert_eq!(shard.run("SISMEMBER s 1"), ":0\r\n");
    }

    /// A whole walk over a set; `between` runs after each page.
    fn walk(shard: &mut Harness, options: &str, mut between: impl FnMut(&mut Harness)) -> Vec<String> {
        let (mut cursor, mut members) = ("0".to_owned(), Vec::new());
        loop {
            let reply = shard.run(&format!("SSCAN s {cursor}{options}"));
            let lines = reply.split_terminator("\r\n").filter(|line| !line.starts_with(['*', '$']));
            let mut lines = lines.map(str::to_owned);
            cursor = lines.next().unwrap();
            members.extend(lines);
            if cursor == "0" {
                return members;
            }
            between(shard);
        }
    }

    #[test]
    fn a_scan_finds_what_matches() {
        let mut shard = Harness::new();
        // Compact sets come whole.
        shard.run("SADD s 1 2 12 3");
        assert_eq!(
            shard.run("SSCAN s 0 COUNT 1"),
            "*2\r\n$1\r\n0\r\n*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$2\r\n12\r\n"
        );
        assert_eq!(walk(&mut shard, " MATCH 1*", |_| {}), ["1", "12"]);
        assert_eq!(shard.run("SSCAN s 77 match x"), "*2\r\n$1\r\n0\r\n*0\r\n");
        let members: BTreeSet<String> = (0..2000).map(|n| format!("m{n}")).collect();
        members.iter().for_each(|member| drop(shard.run(&format!("SADD s {member}"))));
        let all: BTreeSet<String> = walk(&mut shard, "", |_| {}).into_iter().collect();
        assert_eq!(all.len(), 2004);
        let mut pages = 1;
        let some = walk(&mut shard, " COUNT 100 MATCH m1?", |_| pages += 1);
        assert_eq!((some.len(), some.into_iter().collect::<BTreeSet<_>>().len()), (10, 10));
        assert!((10..40).contains(&pages), "{pages} pages");
        // What stays is found while others go.
        let mut gone = 1999;
        let found: BTreeSet<String> = walk(&mut shard, " COUNT 50", |shard| {
            for _ in 0..40 {
                shard.run(&format!("SREM s m{gone}"));
                gone -= 1;
            }
        })
        .into_iter()
        .collect();
        assert!((0..gone).all(|n| found.contains(&format!("m{n}"))));
    }

    #[test]
    fn bad_scans_are_refused() {
        let mut shard = Harness::new();
        shard.run("SADD s a");
        for (command, reply) in [
            ("SSCAN s x", "-ERR invalid cursor\r\n"),
            ("SSCAN none x", "-ERR invalid cursor\r\n"),
            ("SSCAN s 0 COUNT", "-ERR syntax error\r\n"),
            ("SSCAN s 0 COUNT 0", "-ERR syntax error\r\n"),
            ("SSCAN s 0 COUNT x", "-ERR value is not an integer or out of range\r\n"),
            ("SSCAN s 0 TYPE set", "-ERR syntax error\r\n"),
            ("SSCAN s 0 NOSUCH 1", "-ERR syntax error\r\n"),
            // Nobody looks at the options.
            ("SSCAN none 0 COUNT 0 NOSUCH", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("SSCAN s", "-ERR wrong number of arguments for 'sscan' command\r\n"),
        ] {
            assert_eq!(shard.run(command), reply, "{command}");
        }
    }
}
