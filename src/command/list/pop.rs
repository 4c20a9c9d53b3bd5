//! What takes elements from an end: LPOP, RPOP, LMPOP, and their blocking kin BLPOP, BRPOP, BLMPOP.
//!
//! Of a blocking command the heart is here, `try_...`: it checks all arguments, and serves the request if it can be
//! served at once. The handler around it answers as Redis does where a client must not block.

use super::{parse_end, reply_element};
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::{timeout, Ctx};
use crate::ds::collection::Collection;
use crate::ds::list::End;
use crate::journal::words;
use crate::keyspace::List;
use crate::resp::{Args, Reply};

pub(super) fn lpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, "lpop", End::Front)
}

pub(super) fn rpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, "rpop", End::Back)
}

fn pop(ctx: &mut Ctx<'_, '_>, args: Args<'_>, name: &str, end: End) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::arity(name));
    }
    let count = match args.get(2) {
        Some(text) => {
            let count = parse_i64(text).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(CommandError::POSITIVE_RANGE)?)
        }
        None => None,
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let reply = &mut *ctx.reply;
    match (slot.list()?, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.null_array(),
        (Some(_), Some(0)) => reply.array(0),
        (Some(_), None) => {
            slot.edit(|list: &mut List, edit| {
                list.pop(edit, end, |element| reply_element(reply, element));
                edit.changed(1);
            })?;
        }
        (Some(_), Some(count)) => {
            slot.edit(|list: &mut List, edit| {
                let (start, count) = span(list, end, count);
                reply_from_end(reply, list, end, count);
                list.remove_range(edit, start, count);
                edit.changed(count as u64);
            })?;
        }
    }
    Ok(())
}

/// Where the elements begin that are taken from an end, and how many they are.
fn span(list: &List, end: End, count: usize) -> (usize, usize) {
    let len = list.as_ref().len();
    let count = count.min(len);
    match end {
        End::Front => (0, count),
        End::Back => (len - count, count),
    }
}

/// Replies with an array of the elements at an end, that nearest to it first.
fn reply_from_end(reply: &mut Reply<'_>, list: &List, end: End, count: usize) {
    let list = list.as_ref();
    reply.array(count);
    match end {
        End::Front => list.range(0, End::Back, count, |element| reply_element(reply, element)),
        End::Back => list.range(list.len() - 1, End::Front, count, |element| reply_element(reply, element)),
    }
}

/// What LMPOP and BLMPOP are asked for.
struct Pops<'a> {
    keys: Vec<&'a [u8]>,
    end: End,
    count: usize,
}

impl<'a> Pops<'a> {
    /// Reads the arguments from `at` on: numkeys key [key ...] LEFT|RIGHT [COUNT count].
    fn parse(args: Args<'a>, at: usize) -> Result<Pops<'a>, CommandError> {
        let positive = |text: &[u8], error: CommandError| match parse_i64(text) {
            Some(number @ 1..) => Ok(number as usize),
            _ => Err(error),
        };
        let keys = positive(args.at(at), CommandError::NUMKEYS_RANGE)?;
        if keys >= args.len() - at - 1 {
            return Err(CommandError::SYNTAX);
        }
        let mut next = at + 1 + keys;
        let end = parse_end(args.at(next))?;
        next += 1;
        let mut count = None;
        while next < args.len() {
            if count.is_some() || !args.is(next, "count") || next + 1 == args.len() {
                return Err(CommandError::SYNTAX);
            }
            count = Some(positive(args.at(next + 1), CommandError::COUNT_NOT_POSITIVE)?);
            next += 2;
        }
        let keys = args.iter_from(at + 1).take(keys).collect();
        Ok(Pops { keys, end, count: count.unwrap_or(1) })
    }

    /// Pops from the first list that there is; whether there was one.
    fn run(&self, ctx: &mut Ctx<'_, '_>) -> Result<bool, CommandError> {
        let popped = first_list(ctx, &self.keys, |reply, key, list| {
            let (start, count) = span(list, self.end, self.count);
            reply.array(2);
            reply.bulk(key);
            reply_from_end(reply, list, self.end, count);
            (start, count)
        })?;
        if let Some((key, count)) = popped {
            ctx.effect(words![pop_name(self.end), key, count]);
        }
        Ok(popped.is_some())
    }
}

pub(super) fn lmpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !Pops::parse(args, 1)?.run(ctx)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// Serves a BLMPOP that need not block; whether it did.
///
/// # Errors
/// A bad argument, or a key that holds something else than a list.
pub fn try_blmpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    let pops = Pops::parse(args, 2)?;
    timeout::deadline(args.at(1), ctx.now_ms())?;
    pops.run(ctx)
}

pub(super) fn blmpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !try_blmpop(ctx, args)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// Serves a BLPOP that need not block; whether it did.
///
/// # Errors
/// A bad timeout, or a key that holds something else than a list.
pub fn try_blpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    try_pop(ctx, args, End::Front)
}

/// Serves a BRPOP that need not block; whether it did.
///
/// # Errors
/// A bad timeout, or a key that holds something else than a list.
pub fn try_brpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    try_pop(ctx, args, End::Back)
}

fn try_pop(ctx: &mut Ctx<'_, '_>, args: Args<'_>, end: End) -> Result<bool, CommandError> {
    let last = args.len() - 1;
    timeout::deadline(args.at(last), ctx.now_ms())?;
    let keys: Vec<&[u8]> = args.iter_from(1).take(last - 1).collect();
    let popped = first_list(ctx, &keys, |reply, key, list| {
        reply.array(2);
        reply.bulk(key);
        list.as_ref().at_end(end, |element| reply_element(reply, element));
        span(list, end, 1)
    })?;
    if let Some((key, _)) = popped {
        ctx.effect(words![pop_name(end), key]);
    }
    Ok(popped.is_some())
}

pub(super) fn blpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !try_blpop(ctx, args)? {
        ctx.reply.null_array();
    }
    Ok(())
}

pub(super) fn brpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !try_brpop(ctx, args)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// Finds the first of the keys that has a list, replies with elements of it, and removes the part that `show` says it
/// has shown; the key, if there was one, and how many elements those were.
fn first_list<'a>(
    ctx: &mut Ctx<'_, '_>,
    keys: &[&'a [u8]],
    show: impl FnOnce(&mut Reply<'_>, &[u8], &List) -> (usize, usize),
) -> Result<Option<(&'a [u8], usize)>, CommandError> {
    let now = ctx.now_ms();
    for &bytes in keys {
        let key = ctx.key(bytes);
        let mut slot = ctx.keyspace.find(ctx.db, key, now);
        if slot.list()?.is_none() {
            continue;
        }
        let reply = &mut *ctx.reply;
        let count = slot.edit(|list: &mut List, edit| {
            let (start, count) = show(reply, bytes, list);
            list.remove_range(edit, start, count);
            edit.changed(count as u64);
            count
        })?;
        return Ok(Some((bytes, count)));
    }
    Ok(None)
}

/// The command that pops from one list alone.
fn pop_name(end: End) -> &'static str {
    match end {
        End::Front => "LPOP",
        End::Back => "RPOP",
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    #[test]
    fn popping_one_or_several() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a 2 c d e");
        assert_eq!(shard.run("LPOP l"), "$1\r\na\r\n");
        assert_eq!(shard.run("RPOP l"), "$1\r\ne\r\n");
        assert_eq!(shard.run("RPOP l 2"), "*2\r\n$1\r\nd\r\n$1\r\nc\r\n");
        let dirty = shard.keyspace.dirty();
        assert_eq!(shard.run("LPOP l 0"), "*0\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty);
        assert_eq!(shard.run("LPOP l 9"), "*1\r\n$1\r\n2\r\n");
        assert_eq!(shard.run("EXISTS l"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty + 1);
        for (line, reply) in [
            ("LPOP l", "$-1\r\n"),
            ("LPOP l 0", "*-1\r\n"),
            ("RPOP l 3", "*-1\r\n"),
            ("LPOP l -1", "-ERR value is out of range, must be positive\r\n"),
            ("RPOP l x", "-ERR value is out of range, must be positive\r\n"),
            ("RPOP l 1 2", "-ERR wrong number of arguments for 'rpop' command\r\n"),
        ] {
            assert_eq!(shard.run(line), reply, "{line}");
        }
    }

    #[test]
    fn popping_from_the_first_list_there_is() {
        let mut shard = Harness::new();
        shard.run("RPUSH m a b c");
        shard.run("SET s x");
        assert_eq!(shard.run("LMPOP 2 l m LEFT"), "*2\r\n$1\r\nm\r\n*1\r\n$1\r\na\r\n");
        assert_eq!(shard.run("LMPOP 2 l m right count 10"), "*2\r\n$1\r\nm\r\n*2\r\n$1\r\nc\r\n$1\r\nb\r\n");
        for (line, reply) in [
            ("LMPOP 2 l m LEFT", "*-1\r\n"),
            ("LMPOP 0 l LEFT", "-ERR numkeys should be greater than 0\r\n"),
            ("LMPOP x l LEFT", "-ERR numkeys should be greater than 0\r\n"),
            ("LMPOP 2 l LEFT", "-ERR syntax error\r\n"),
            ("LMPOP 3 l LEFT", "-ERR syntax error\r\n"),
            ("LMPOP 9223372036854775807 l LEFT", "-ERR syntax error\r\n"),
            ("LMPOP 1 l MIDDLE", "-ERR syntax error\r\n"),
            ("LMPOP 1 l LEFT COUNT 0", "-ERR count should be greater than 0\r\n"),
            ("LMPOP 1 l LEFT COUNT 1 COUNT 1", "-ERR syntax error\r\n"),
            ("LMPOP 1 l LEFT COUNT", "-ERR syntax error\r\n"),
            ("BLMPOP x 0 l LEFT", "-ERR numkeys should be greater than 0\r\n"),
            ("BLMPOP x 1 l LEFT", "-ERR timeout is not a float or out of range\r\n"),
            ("BLMPOP 0 1 l LEFT", "*-1\r\n"),
        ] {
            assert_eq!(shard.run(line), reply, "{line}");
        }
        assert!(shard.run("LMPOP 2 l s LEFT").starts_with("-WRONGTYPE"));
        shard.run("RPUSH l x y");
        assert_eq!(shard.run("BLMPOP 0 1 l RIGHT"), "*2\r\n$1\r\nl\r\n*1\r\n$1\r\ny\r\n");
    }

    #[test]
    fn blocking_pops_are_served_or_answer_at_once() {
        let mut shard = Harness::new();
        shard.run("RPUSH l a 2 c");
        shard.run("SET s x");
        assert_eq!(shard.run("BLPOP none l 0"), "*2\r\n$1\r\nl\r\n$1\r\na\r\n");
        assert_eq!(shard.run("BRPOP none l s 1.5"), "*2\r\n$1\r\nl\r\n$1\r\nc\r\n");
        assert_eq!(shard.run("BRPOP l 0"), "*2\r\n$1\r\nl\r\n$1\r\n2\r\n");
        assert_eq!(shard.run("BLPOP l none 0"), "*-1\r\n");
        assert!(shard.run("BLPOP l s 0").starts_with("-WRONGTYPE"));
        assert_eq!(shard.run("BLPOP s x"), "-ERR timeout is not a float or out of range\r\n");
        assert_eq!(shard.run("BRPOP l -1"), "-ERR timeout is negative\r\n");
        assert_eq!(shard.run("EXISTS l"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), 7);
    }
}
