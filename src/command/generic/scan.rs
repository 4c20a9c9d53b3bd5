//! KEYS, SCAN, RANDOMKEY: walking over a shard's keys; and what SCAN shares with SSCAN and its kin, which walk over
//! one key's elements.
//!
//! SCAN's cursor names the shard, too: `shard << 47 | cursor of the shard's keyspace`. A walk goes through the shards
//! one after the other, each call staying on one, and gives the guarantee of the keyspace's cursor: a key that is there
//! from the first call to the last is returned.

use crate::base::error::CommandError;
use crate::base::glob;
use crate::base::ids::ShardId;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::keyspace::EntryView;
use crate::resp::{Args, Reply};

/// Bits of the cursor that belong to the keyspace.
const LOCAL_BITS: u32 = 47;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;

/// What SCAN looks at in a call without COUNT.
const COUNT_DEFAULT: usize = 10;

/// The shard that a SCAN cursor stands on; `None` if the text is no cursor or names a shard that does not exist. Any
/// shard will do then: it refuses the one, and answers the other with an empty page at the end of the walk.
pub fn cursor_shard(cursor: &[u8], shards: u16) -> Option<ShardId> {
    let shard = parse_cursor(cursor)? >> LOCAL_BITS;
    u16::try_from(shard).ok().filter(|&shard| shard < shards).map(ShardId)
}

pub(super) fn keys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let pattern = wanted(args.at(1));
    let (db, now) = (ctx.db, ctx.now_ms());
    let (start, mut found) = (ctx.reply.len(), 0);
    ctx.keyspace.for_each(db, now, |key, _| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, key, false)) {
            ctx.reply.bulk(key);
            found += 1;
        }
    });
    ctx.reply.insert(start, |reply| reply.array(found));
    Ok(())
}

pub(super) fn randomkey(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) -> Result<(), CommandError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let keys = ctx.keyspace.len(db);
    ctx.reply.array(2);
    match ctx.keyspace.random_key(db, ctx.rng, now) {
        Some(key) => {
            ctx.reply.int(keys as i64);
            ctx.reply.bulk(key);
        }
        // Keys whose time has come may still be counted; they must not be drawn.
        None => {
            ctx.reply.int(0);
            ctx.reply.null();
        }
    }
    Ok(())
}

pub(super) fn scan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.at(1)).ok_or(CommandError::INVALID_CURSOR)?;
    let options = ScanOptions::parse(args, 2, Walk::Keys)?;
    let (db, now, shard) = (ctx.db, ctx.now_ms(), u64::from(ctx.shard.0));

    write_page(ctx.reply, |reply| {
        let mut found = 0;
        // Only a cursor that we did not give names another shard.
        if cursor >> LOCAL_BITS != shard {
            return (0, 0);
        }
        let local = ctx.keyspace.scan(db, cursor & LOCAL_MASK, options.count, now, |key, entry| {
            if options.wants(key, entry) {
                reply.bulk(key);
                found += 1;
            }
        });
        let next = match local {
            0 if shard + 1 < u64::from(ctx.shards) => (shard + 1) << LOCAL_BITS,
            0 => 0,
            local => shard << LOCAL_BITS | local,
        };
        (next, found)
    });
    Ok(())
}

/// Replies with a page: `f` writes its elements and gives the cursor to go on with, and how many it wrote.
pub(in crate::command) fn write_page(reply: &mut Reply<'_>, f: impl FnOnce(&mut Reply<'_>) -> (u64, usize)) {
    reply.array(2);
    let start = reply.len();
    let (next, written) = f(reply);
    reply.insert(start, |reply| {
        let mut digits = itoa::Buffer::new();
        reply.bulk(digits.format(next).as_bytes());
        reply.array(written);
    });
}

/// What is walked over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Walk {
    /// Keys, which have a type.
    Keys,
    /// One key's elements.
    Elements,
    /// A hash's fields, whose values may be left out.
    Fields,
}

/// The options of SCAN and its kin.
pub(in crate::command) struct ScanOptions<'a> {
    /// About how many elements to look at.
    pub(in crate::command) count: usize,
    /// Whether values are left out (NOVALUES).
    pub(in crate::command) names_only: bool,
    pattern: Option<&'a [u8]>,
    /// The name of a type; one that no value has is allowed and matches nothing.
    kind: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// The options from argument `at` on.
    ///
    /// # Errors
    /// An option that there is not, or a bad count.
    pub(in crate::command) fn parse(
        args: Args<'a>,
        mut at: usize,
        walk: Walk,
    ) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions { count: COUNT_DEFAULT, names_only: false, pattern: None, kind: None };
        while at < args.len() {
            if args.is(at, "novalues") && walk == Walk::Fields {
                options.names_only = true;
                at += 1;
                continue;
            }
            let value = args.get(at + 1).ok_or(CommandError::SYNTAX)?;
            if args.is(at, "count") {
                let count = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                let count = usize::try_from(count).ok().filter(|&count| count > 0);
                options.count = count.ok_or(CommandError::SYNTAX)?;
            } else if args.is(at, "match") {
                options.pattern = wanted(value);
            } else if args.is(at, "type") && walk == Walk::Keys {
                options.kind = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }

    fn wants(&self, key: &[u8], entry: &EntryView<'_>) -> bool {
        self.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(entry.value.kind().name().as_bytes()))
            && self.matches(key)
    }

    /// Whether the pattern, if there is one, matches a name.
    pub(in crate::command) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

/// The pattern, unless every key matches it.
fn wanted(pattern: &[u8]) -> Option<&[u8]> {
    (pattern != b"*").then_some(pattern)
}

/// A cursor as Redis reads it, which is C's `strtoul`: a sign may stand before it, and nothing at all is 0.
pub(in crate::command) fn parse_cursor(text: &[u8]) -> Option<u64> {
    // The end of a C string.
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let cursor = digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit <= 9).then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { cursor.wrapping_neg() } else { cursor })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::ids::DbIndex;
    use crate::base::key::shard_of_key;
    use crate::base::prng::Prng;
    use crate::command::harness::Harness;

    /// The strings and numbers of a reply, flattened.
    fn words(shard: &mut Harness, line: &str) -> Vec<String> {
        let reply = shard.run(line);
        let lines = reply.split_terminator("\r\n");
        lines.filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
    }

    /// A whole walk; `between` runs after each page.
    fn walk(shards: &mut [Harness], options: &str, mut between: impl FnMut(&mut [Harness])) -> Vec<String> {
        let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
        loop {
            let shard = cursor_shard(cursor.as_bytes(), shards.len() as u16).unwrap();
            let mut words = words(&mut shards[shard.index()], &format!("SCAN {cursor}{options}")).into_iter();
            cursor = words.next().unwrap();
            keys.extend(words);
            if cursor == "0" {
                return keys;
            }
            between(shards);
        }
    }

    fn shards(count: u16) -> Vec<Harness> {
        let shard = |id| {
            let mut shard = Harness::new();
            (shard.shard, shard.shards) = (ShardId(id), count);
            shard
        };
        (0..count).map(shard).collect()
    }

    fn set(shards: &mut [Harness], key: &str) {
        let at = shard_of_key(key.as_bytes(), shards.len() as u16).index();
        shards[at].run(&format!("SET {key} v"));
    }

    fn sorted(mut keys: Vec<String>) -> Vec<String> {
        keys.sort();
        keys
    }

    #[test]
    fn every_key_that_stays_is_returned_whatever_happens_between_the_pages() {
        for count in [1, 2, 5] {
            let mut shards = shards(count);
            let staying: BTreeSet<String> = (0..1500).map(|i| format!("stay:{i}")).collect();
            staying.iter().for_each(|key| set(&mut shards, key));
            (0..3000).for_each(|i| set(&mut shards, &format!("go:{i}")));
            let (mut rng, mut born, mut gone) = (Prng::new(u64::from(count)), 0, 0);
            let keys = walk(&mut shards, " COUNT 37", |shards| {
                // By turns the table grows and shrinks.
                if rng.below(2) == 0 {
                    for _ in 0..rng.below(400) {
                        born += 1;
                        set(shards, &format!("new:{born}"));
                    }
                } else {
                    for _ in 0..rng.below(200) {
                        let key = format!("go:{gone}");
                        gone += 1;
                        let at = shard_of_key(key.as_bytes(), shards.len() as u16).index();
                        shards[at].run(&format!("DEL {key}"));
                    }
                }
            });
            let seen: BTreeSet<String> = keys.into_iter().collect();
            let missed: Vec<_> = staying.difference(&seen).collect();
            assert!(
                missed.is_empty(),
                "{count} shards, {} missed, such as {:?}",
                missed.len(),
                missed.first()
            );
        }
    }

    #[test]
    fn a_quiet_walk_returns_each_key_once() {
        for count in [1, 3] {
            let mut shards = shards(count);
            let names: Vec<String> = (0..500).map(|i| format!("key:{i}")).collect();
            names.iter().for_each(|key| set(&mut shards, key));
            for options in
                ["", " COUNT 1", " COUNT 1000", " MATCH *", " TYPE string", " count 9223372036854775807"]
            {
                let keys = walk(&mut shards, options, |_| ());
                assert_eq!(sorted(keys), sorted(names.clone()), "{count} shards,{options}");
            }
            let keys = walk(&mut shards, " MATCH key:1?3 COUNT 50", |_| ());
            assert_eq!(sorted(keys).len(), 10);
        }
    }

    #[test]
    fn empty_shards_are_walked_over() {
        let mut shards = shards(4);
        assert!(walk(&mut shards, "", |_| ()).is_empty());
    }

    #[test]
    fn filters() {
        let mut shard = [Harness::new()];
        shard[0].run("SET a 1");
        shard[0].run("SET ab 1");
        assert_eq!(walk(&mut shard, " MATCH a?", |_| ()), ["ab"]);
        assert_eq!(walk(&mut shard, " MATCH a? MATCH a", |_| ()), ["a"]);
        assert_eq!(walk(&mut shard, " TYPE STRING MATCH ab", |_| ()), ["ab"]);
        for kind in ["list", "hash", "zset", "nosuch"] {
            assert!(walk(&mut shard, &format!(" TYPE {kind}"), |_| ()).is_empty());
        }
        shard[0].run("PEXPIRE a 10");
        shard[0].now_ms += 11;
        assert_eq!(walk(&mut shard, "", |_| ()), ["ab"]);
    }

    #[test]
    fn bad_cursors_and_options() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        for cursor in ["x", "1x", "-", "+", "'\t1'", "18446744073709551616", "1.0"] {
            assert_eq!(shard.run(&format!("SCAN {cursor} FOO")), "-ERR invalid cursor\r\n", "{cursor:?}");
            assert_eq!(cursor_shard(cursor.as_bytes(), 1), None, "{cursor:?}");
        }
        assert_eq!(shard.run_args(&["SCAN", " 0"]), b"-ERR invalid cursor\r\n");
        for (line, error) in [
            ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
            ("SCAN 0 COUNT -5", "-ERR syntax error\r\n"),
            ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range\r\n"),
            ("SCAN 0 COUNT", "-ERR syntax error\r\n"),
            ("SCAN 0 MATCH", "-ERR syntax error\r\n"),
            ("SCAN 0 TYPE", "-ERR syntax error\r\n"),
            ("SCAN 0 FOO bar", "-ERR syntax error\r\n"),
            // A shard that does not exist does not excuse it.
            ("SCAN 18446744073709551615 COUNT 0", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
    }

    #[test]
    fn cursors_that_nobody_gave_end_the_walk() {
        let mut shard = Harness::new();
        for i in 0..300 {
            shard.run(&format!("SET key:{i} 1"));
        }
        for cursor in ["18446744073709551615", "-1", "140737488355328", "9223372036854775807"] {
            assert_eq!(cursor_shard(cursor.as_bytes(), 1), None, "{cursor}");
            assert_eq!(shard.run(&format!("SCAN {cursor}")), "*2\r\n$1\r\n0\r\n*0\r\n", "{cursor}");
        }
        assert_eq!(cursor_shard(b"140737488355328", 2), Some(ShardId(1)));
        assert_eq!(cursor_shard(b"140737488355327", 2), Some(ShardId(0)));
        assert_eq!(cursor_shard(b"", 2), Some(ShardId(0)));
        assert_eq!(cursor_shard(b"+0", 2), Some(ShardId(0)));
        // Any cursor of this shard is taken, and leads to an end.
        let mut rng = Prng::new(3);
        for _ in 0..1000 {
            let mut cursor = (rng.next_u64() & LOCAL_MASK).to_string();
            for page in 0.. {
                assert!(page < 10_000);
                cursor = words(&mut shard, &format!("SCAN {cursor}")).remove(0);
                if cursor == "0" {
                    break;
                }
            }
        }
    }

    #[test]
    fn keys_by_pattern() {
        let mut shard = Harness::new();
        for key in ["one", "two", "three", "four", "fi*e"] {
            shard.run(&format!("SET {key} 1"));
        }
        let mut keys = |pattern: &str| sorted(words(&mut shard, &format!("KEYS '{pattern}'")));
        assert_eq!(keys("*o*"), ["four", "one", "two"]);
        assert_eq!(keys("t??"), ["two"]);
        assert_eq!(keys("fi\\*e"), ["fi*e"]);
        assert_eq!(keys("*").len(), 5);
        assert_eq!(keys("**").len(), 5);
        assert!(keys("none").is_empty());
        shard.run("PEXPIRE one 10");
        shard.now_ms += 11;
        assert_eq!(words(&mut shard, "KEYS *").len(), 4);
        assert!(shard.run("KEYS t*").starts_with("*2\r\n$"));
        shard.db = DbIndex(1);
        assert_eq!(shard.run("KEYS *"), "*0\r\n");
    }

    #[test]
    fn randomkey_draws_every_live_key() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("RANDOMKEY"), "*2\r\n:0\r\n$-1\r\n");
        for key in ["a", "b", "c", "dead"] {
            shard.run(&format!("SET {key} 1"));
        }
        shard.run("PEXPIRE dead 10");
        shard.now_ms += 11;
        let drawn: BTreeSet<String> = (0..500).map(|_| words(&mut shard, "RANDOMKEY").remove(1)).collect();
        assert_eq!(drawn, ["a", "b", "c"].map(str::to_owned).into());
        shard.run("DEL a b c");
        assert_eq!(shard.run("RANDOMKEY"), "*2\r\n:0\r\n$-1\r\n");
    }
}
