//! Ranges of a sorted set: ZRANGE and its kin, ZCOUNT and ZLEXCOUNT, ZREMRANGEBYRANK and its kin.

use std::ops::Range;

use super::bounds::{Bounds, By};
use super::reply::Shown;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::collection::Collection;
use crate::keyspace::{ValueRef, Zset, ZsetRef};
use crate::resp::Args;

/// What a command of ZRANGE's kin is asked for.
struct Request<'a> {
    bounds: Bounds<'a>,
    /// From the last member to the first.
    reverse: bool,
    /// How many members of the range are passed over, and how many are then taken, all where it is negative.
    limit: (i64, i64),
    with_scores: bool,
}

/// What a command's name says about the range that it takes.
#[derive(Clone, Copy)]
struct Dialect {
    /// What it counts by; `None` where options say so.
    by: Option<By>,
    /// The direction; `None` where an option says so.
    reverse: Option<bool>,
    /// Whether WITHSCORES is an option.
    has_scores: bool,
}

const ZRANGE: Dialect = Dialect { by: None, reverse: None, has_scores: true };
const ZRANGESTORE: Dialect = Dialect { has_scores: false, ..ZRANGE };
const ZREVRANGE: Dialect = Dialect { by: Some(By::Rank), reverse: Some(true), has_scores: true };
const ZRANGEBYSCORE: Dialect = Dialect { by: Some(By::Score), reverse: Some(false), has_scores: true };
const ZREVRANGEBYSCORE: Dialect = Dialect { reverse: Some(true), ..ZRANGEBYSCORE };
const ZRANGEBYLEX: Dialect = Dialect { by: Some(By::Lex), reverse: Some(false), has_scores: true };
const ZREVRANGEBYLEX: Dialect = Dialect { reverse: Some(true), ..ZRANGEBYLEX };

pub(super) fn zrange(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, ZRANGE)
}

pub(super) fn zrevrange(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, ZREVRANGE)
}

pub(super) fn zrangebyscore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, ZRANGEBYSCORE)
}

pub(super) fn zrevrangebyscore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, ZREVRANGEBYSCORE)
}

pub(super) fn zrangebylex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, ZRANGEBYLEX)
}

pub(super) fn zrevrangebylex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, ZREVRANGEBYLEX)
}

pub(super) fn zrangestore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(args, 3, ZRANGESTORE)?;
    // The lookup counts as a use of the key; what it holds is then read while the new set is made.
    ctx.source(args.at(2)).map(ValueRef::zset).transpose()?;
    let (db, now) = (ctx.db, ctx.now_ms());
    let (sources, mut edit) = ctx.keyspace.sources(now);
    let mut stored = Zset::empty(edit.slab);
    if let Some(zset) = sources.get(db, args.at(2)).and_then(|value| value.zset().ok()) {
        let ranks = request.ranks(zset);
        let mut text = itoa::Buffer::new();
        stored.reserve(&mut edit, ranks.len());
        for item in zset.range(ranks, false) {
            stored.update(&mut edit, item.member.bytes(&mut text), |_| Some(item.score));
        }
    }
    ctx.reply.count(stored.as_ref().len());
    let key = ctx.first_key(args.at(1));
    ctx.keyspace.find(db, key, now).store(stored);
    Ok(())
}

pub(super) fn zcount(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    count(ctx, args, By::Score)
}

pub(super) fn zlexcount(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    count(ctx, args, By::Lex)
}

pub(super) fn zremrangebyrank(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(ctx, args, By::Rank)
}

pub(super) fn zremrangebyscore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(ctx, args, By::Score)
}

pub(super) fn zremrangebylex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(ctx, args, By::Lex)
}

/// Replies with a range.
fn list(ctx: &mut Ctx<'_, '_>, args: Args<'_>, dialect: Dialect) -> Result<(), CommandError> {
    let request = Request::parse(args, 2, dialect)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    match ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()? {
        Some(zset) => {
            let items = zset.range(request.ranks(zset), request.reverse);
            Shown::new(ctx.reply, request.with_scores).write_all(ctx.reply, items);
        }
        None => ctx.reply.array(0),
    }
    Ok(())
}

/// Replies with the number of members in a range.
fn count(ctx: &mut Ctx<'_, '_>, args: Args<'_>, by: By) -> Result<(), CommandError> {
    let bounds = Bounds::parse(by, args.at(2), args.at(3))?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    ctx.reply.count(zset.map_or(0, |zset| bounds.ranks(zset, false).len()));
    Ok(())
}

/// Removes the members in a range.
fn remove(ctx: &mut Ctx<'_, '_>, args: Args<'_>, by: By) -> Result<(), CommandError> {
    let bounds = Bounds::parse(by, args.at(2), args.at(3))?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let ranks = slot.zset()?.map_or(0..0, |zset| bounds.ranks(zset, false));
    ctx.reply.count(ranks.len());
    if !ranks.is_empty() {
        slot.edit(|zset: &mut Zset, edit| {
            edit.changed(ranks.len() as u64);
            zset.remove_range(edit, ranks);
        })?;
    }
    Ok(())
}

impl<'a> Request<'a> {
    /// Reads a range, whose ends stand at `first` and after it, and the options that follow.
    fn parse(args: Args<'a>, first: usize, dialect: Dialect) -> Result<Request<'a>, CommandError> {
        let Dialect { mut by, mut reverse, has_scores } = dialect;
        let (mut limit, mut with_scores, mut at) = ((0, -1), false, first + 2);
        while at < args.len() {
            if has_scores && args.is(at, "withscores") {
                with_scores = true;
            } else if args.is(at, "limit") && at + 2 < args.len() {
                let number = |at| parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
                limit = (number(at + 1)?, number(at + 2)?);
                at += 2;
            } else if reverse.is_none() && args.is(at, "rev") {
                reverse = Some(true);
            } else if by.is_none() && args.is(at, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(at, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if by == By::Rank && limit.1 != -1 {
            return Err(CommandError::RANGE_LIMIT);
        }
        if by == By::Lex && with_scores {
            return Err(CommandError::RANGE_LEX_SCORES);
        }
        // In reverse a range begins with its higher end, unless it is one of ranks, which count from the last member.
        let (min, max) = match reverse && by != By::Rank {
            true => (args.at(first + 1), args.at(first)),
            false => (args.at(first), args.at(first + 1)),
        };
        Ok(Request { bounds: Bounds::parse(by, min, max)?, reverse, limit, with_scores })
    }

    /// The ranks of the members that are asked for.
    fn ranks(&self, zset: ZsetRef<'_>) -> Range<usize> {
        let ranks = self.bounds.ranks(zset, self.reverse);
        // As in Redis the option says nothing with ranks, where it is let through.
        if let Bounds::Rank(..) = self.bounds {
            return ranks;
        }
        let (offset, count) = self.limit;
        let skipped = usize::try_from(offset).map_or(ranks.len(), |offset| offset.min(ranks.len()));
        let left = ranks.len() - skipped;
        let taken = usize::try_from(count).map_or(left, |count| count.min(left));
        match self.reverse {
            true => ranks.end - skipped - taken..ranks.end - skipped,
            false => ranks.start + skipped..ranks.start + skipped + taken,
        }
    }
}
