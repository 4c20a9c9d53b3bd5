//! What only looks: LINDEX, LLEN, LPOS, LRANGE.

use std::ops::ControlFlow;

use super::{place, reply_element};
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::list::{End, ListRef, Needle};
use crate::keyspace::ValueRef;
use crate::resp::Args;

pub(super) fn llen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let list = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::list).transpose()?;
    ctx.reply.count(list.map_or(0, ListRef::len));
    Ok(())
}

pub(super) fn lindex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let Some(value) = ctx.keyspace.lookup_read(ctx.db, key, now) else {
        ctx.reply.null();
        return Ok(());
    };
    let list = value.list()?;
    // Only a list that is there makes a bad index an error.
    let index = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let found =
        place(index, list.len()).and_then(|at| list.at(at, |element| reply_element(ctx.reply, element)));
    if found.is_none() {
        ctx.reply.null();
    }
    Ok(())
}

pub(super) fn lrange(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let start = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let stop = parse_i64(args.at(3)).ok_or(CommandError::NOT_INTEGER)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let Some(value) = ctx.keyspace.lookup_read(ctx.db, key, now) else {
        ctx.reply.array(0);
        return Ok(());
    };
    let list = value.list()?;
    let range = super::range(start, stop, list.len());
    ctx.reply.array(range.len());
    list.range(range.start, End::Back, range.len(), |element| reply_element(ctx.reply, element));
    Ok(())
}

/// What LPOS is asked for.
struct Search {
    from: End,
    /// How many matches to pass over, plus one.
    rank: u64,
    /// How many matches to reply with as an array; 0 is all of them.
    count: Option<u64>,
    /// How many elements to look at.
    elements: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Search, CommandError> {
        let mut search = Search { from: End::Front, rank: 1, count: None, elements: usize::MAX };
        let natural = |text: &[u8], error: CommandError| {
            parse_i64(text).and_then(|number| u64::try_from(number).ok()).ok_or(error)
        };
        let mut at = 3;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(CommandError::SYNTAX)?;
            if args.is(at, "rank") {
                let rank = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                match rank {
                    i64::MIN => return Err(CommandError::COUNT_RANGE),
                    0 => return Err(CommandError::RANK_ZERO),
                    _ => {}
                }
                search.from = if rank > 0 { End::Front } else { End::Back };
                search.rank = rank.unsigned_abs();
            } else if args.is(at, "count") {
                search.count = Some(natural(value, CommandError::COUNT_NEGATIVE)?);
            } else if args.is(at, "maxlen") {
                search.elements = match natural(value, CommandError::MAXLEN_NEGATIVE)? {
                    0 => usize::MAX,
                    elements => elements as usize,
                };
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 2;
        }
        Ok(search)
    }

    /// Shows the places of the matches.
    fn run(&self, list: ListRef<'_>, needle: &[u8], mut found: impl FnMut(usize)) {
        let needle = Needle::new(needle);
        let (start, toward) = match self.from {
            End::Front => (0, End::Back),
            End::Back => (list.len() - 1, End::Front),
        };
        let wanted = match self.count {
            None => 1,
            Some(0) => u64::MAX,
            Some(count) => count,
        };
        let (mut looked, mut matches) = (0, 0u64);
        list.walk(start, toward, |index, element| {
            if needle.is(element) {
                matches += 1;
                if matches >= self.rank {
                    found(index);
                }
            }
            looked += 1;
            // As many matches as were passed over and are wanted; that sum may be beyond all numbers.
            if looked == self.elements || matches >= self.rank && matches - self.rank + 1 >= wanted {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    }
}

pub(super) fn lpos(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let search = Search::parse(args)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let list = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::list).transpose()?;
    let (start, mut matches) = (ctx.reply.len(), 0);
    if let Some(list) = list {
        search.run(list, args.at(2), |index| {
            ctx.reply.count(index);
            matches += 1;
        });
    }
    if search.count.is_some() {
        ctx.reply.insert(start, |reply| reply.array(matches));
    } else if matches == 0 {
        ctx.reply.null();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    fn list(elements: &str) -> Harness {
        let mut shard = Harness::new();
        shard.run(&format!("RPUSH l {elements}"));
        shard.run("SET s x");
        shard
    }

    #[test]
    fn indexes_count_from_either_end() {
        let mut shard = list("a 1 c");
        for (index, reply) in [
            ("0", "$1\r\na\r\n"),
            ("1", "$1\r\n1\r\n"),
            ("-1", "$1\r\nc\r\n"),
            ("3", "$-1\r\n"),
            ("-4", "$-1\r\n"),
            ("-9223372036854775808", "$-1\r\n"),
            ("x", "-ERR value is not an integer or out of range\r\n"),
        ] {
            assert_eq!(shard.run(&format!("LINDEX l {index}")), reply, "{index}");
        }
        assert_eq!(shard.run("LINDEX none x"), "$-1\r\n");
        assert!(shard.run("LINDEX s x").starts_with("-WRONGTYPE"));
        assert_eq!(shard.run("LLEN l"), ":3\r\n");
        assert_eq!(shard.run("LLEN none"), ":0\r\n");
        assert!(shard.run("LLEN s").starts_with("-WRONGTYPE"));
    }

    #[test]
    fn ranges_are_cut_to_the_list() {
        let mut shard = list("a b c d");
        for (range, reply) in [
            ("0 -1", "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("-100 0", "*1\r\n$1\r\na\r\n"),
            ("2 100", "*2\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("3 2", "*0\r\n"),
            ("4 9", "*0\r\n"),
            ("0 -5", "*0\r\n"),
        ] {
            assert_eq!(shard.run(&format!("LRANGE l {range}")), reply, "{range}");
        }
        assert_eq!(shard.run("LRANGE none 0 -1"), "*0\r\n");
        assert!(shard.run("LRANGE none 0 x").starts_with("-ERR value is not an integer"));
        assert!(shard.run("LRANGE s 0 -1").starts_with("-WRONGTYPE"));
    }

    #[test]
    fn places_of_an_element() {
        let mut shard = list("a b 7 a b a");
        for (line, reply) in [
            ("LPOS l a", ":0\r\n"),
            ("LPOS l 7", ":2\r\n"),
            ("LPOS l 07", "$-1\r\n"),
            ("LPOS l a RANK 2", ":3\r\n"),
            ("LPOS l a RANK -1", ":5\r\n"),
            ("LPOS l a RANK 4", "$-1\r\n"),
            ("LPOS l a COUNT 0", "*3\r\n:0\r\n:3\r\n:5\r\n"),
            ("LPOS l a COUNT 2 RANK -1", "*2\r\n:5\r\n:3\r\n"),
            ("LPOS l a COUNT 0 MAXLEN 4", "*2\r\n:0\r\n:3\r\n"),
            ("LPOS l b MAXLEN 1", "$-1\r\n"),
            ("LPOS l a rank 9223372036854775807 count 9223372036854775807", "*0\r\n"),
            ("LPOS none a", "$-1\r\n"),
            ("LPOS none a COUNT 1", "*0\r\n"),
            ("LPOS l a RANK", "-ERR syntax error\r\n"),
            ("LPOS l a FOO 1", "-ERR syntax error\r\n"),
            ("LPOS l a RANK x", "-ERR value is not an integer or out of range\r\n"),
            (
                "LPOS l a RANK -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807\r\n",
            ),
            ("LPOS l a COUNT -1", "-ERR COUNT can't be negative\r\n"),
            ("LPOS l a MAXLEN x", "-ERR MAXLEN can't be negative\r\n"),
        ] {
            assert_eq!(shard.run(line), reply, "{line}");
        }
        assert!(shard.run("LPOS none a RANK 0").starts_with("-ERR RANK can't be zero: use 1 to start"));
        assert!(shard.run("LPOS s a").starts_with("-WRONGTYPE"));
    }
}
