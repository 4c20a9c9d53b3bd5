//! Taking members from the ends: ZPOPMIN, ZPOPMAX, ZMPOP, and their blocking kin BZPOPMIN, BZPOPMAX, BZMPOP.
//!
//! Of a blocking command the heart is here, `try_...`: it checks all arguments, and serves the request if it can be
//! served at once. The handler around it answers as Redis does where a client must not block.

use smallvec::SmallVec;

use super::reply::Shown;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::{timeout, Ctx};
use crate::ds::collection::Collection;
use crate::ds::zset::Item;
use crate::journal::words;
use crate::keyspace::{Slot, Zset, ZsetRef};
use crate::resp::Args;

/// The end that members are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

pub(super) fn zpopmin(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Min)
}

pub(super) fn zpopmax(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Max)
}

pub(super) fn zmpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let served = Pops::parse(args, 1)?.run(ctx)?;
    or_null(ctx, served)
}

pub(super) fn bzpopmin(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let served = try_bzpopmin(ctx, args)?;
    or_null(ctx, served)
}

pub(super) fn bzpopmax(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let served = try_bzpopmax(ctx, args)?;
    or_null(ctx, served)
}

pub(super) fn bzmpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let served = try_bzmpop(ctx, args)?;
    or_null(ctx, served)
}

/// Serves a BZPOPMIN that need not block; whether it did.
///
/// # Errors
/// A bad timeout, or a key that holds something else than a sorted set.
pub fn try_bzpopmin(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    try_pop(ctx, args, End::Min)
}

/// Serves a BZPOPMAX that need not block; whether it did.
///
/// # Errors
/// A bad timeout, or a key that holds something else than a sorted set.
pub fn try_bzpopmax(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    try_pop(ctx, args, End::Max)
}

/// Serves a BZMPOP that need not block; whether it did.
///
/// # Errors
/// A bad argument, or a key that holds something else than a sorted set.
pub fn try_bzmpop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    let pops = Pops::parse(args, 2)?;
    timeout::deadline(args.at(1), ctx.now_ms())?;
    pops.run(ctx)
}

fn or_null(ctx: &mut Ctx<'_, '_>, served: bool) -> Result<(), CommandError> {
    if !served {
        ctx.reply.null_array();
    }
    Ok(())
}

/// ZPOPMIN and ZPOPMAX: pairs only in RESP3, and only where a count was given.
fn pop(ctx: &mut Ctx<'_, '_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let (count, shown) = match args.len() {
        2 => (1, Shown::Flat),
        3 => {
            let count = parse_i64(args.at(2)).and_then(|count| usize::try_from(count).ok());
            (count.ok_or(CommandError::POSITIVE_RANGE)?, Shown::new(ctx.reply, true))
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let count = count.min(slot.zset()?.map_or(0, ZsetRef::len));
    shown.write_head(ctx.reply, count);
    if count > 0 {
        take(&mut slot, end, count, |item| shown.write(ctx.reply, item))?;
    }
    Ok(())
}

fn try_pop(ctx: &mut Ctx<'_, '_>, args: Args<'_>, end: End) -> Result<bool, CommandError> {
    let (last, now) = (args.len() - 1, ctx.now_ms());
    timeout::deadline(args.at(last), now)?;
    for name in args.iter_from(1).take(last - 1) {
        let key = ctx.key(name);
        let mut slot = ctx.keyspace.find(ctx.db, key, now);
        if slot.zset()?.is_some() {
            ctx.reply.array(3);
            ctx.reply.bulk(name);
            take(&mut slot, end, 1, |item| Shown::Flat.write(ctx.reply, item))?;
            ctx.effect(words![pop_name(end), name]);
            return Ok(true);
        }
    }
    Ok(false)
}

/// What ZMPOP and BZMPOP are asked for.
struct Pops<'a> {
    keys: SmallVec<[&'a [u8]; 8]>,
    end: End,
    count: usize,
}

impl<'a> Pops<'a> {
    /// Reads the arguments from `at` on: numkeys key [key ...] MIN|MAX [COUNT count].
    fn parse(args: Args<'a>, at: usize) -> Result<Pops<'a>, CommandError> {
        let positive = |text| parse_i64(text).filter(|&number| number > 0).map(|number| number as usize);
        let keys = positive(args.at(at)).ok_or(CommandError::NUMKEYS_RANGE)?;
        if keys >= args.len() - at - 1 {
            return Err(CommandError::SYNTAX);
        }
        let mut next = at + 1 + keys;
        let end = match () {
            () if args.is(next, "min") => End::Min,
            () if args.is(next, "max") => End::Max,
            () => return Err(CommandError::SYNTAX),
        };
        next += 1;
        let mut count = None;
        while next < args.len() {
            if count.is_some() || !args.is(next, "count") || next + 1 == args.len() {
                return Err(CommandError::SYNTAX);
            }
            count = Some(positive(args.at(next + 1)).ok_or(CommandError::COUNT_NOT_POSITIVE)?);
            next += 2;
        }
        let keys = args.iter_from(at + 1).take(keys).collect();
        Ok(Pops { keys, end, count: count.unwrap_or(1) })
    }

    /// Takes from the first sorted set that there is; whether there was one.
    fn run(&self, ctx: &mut Ctx<'_, '_>) -> Result<bool, CommandError> {
        let now = ctx.now_ms();
        for name in &self.keys {
            let key = ctx.key(name);
            let mut slot = ctx.keyspace.find(ctx.db, key, now);
            let Some(len) = slot.zset()?.map(ZsetRef::len) else { continue };
            let count = self.count.min(len);
            ctx.reply.array(2);
            ctx.reply.bulk(name);
            ctx.reply.array(count);
            take(&mut slot, self.end, count, |item| Shown::Pairs.write(ctx.reply, item))?;
            ctx.effect(words![pop_name(self.end), *name, count]);
            return Ok(true);
        }
        Ok(false)
    }
}

/// The command that pops from one sorted set alone.
fn pop_name(end: End) -> &'static str {
    match end {
        End::Min => "ZPOPMIN",
        End::Max => "ZPOPMAX",
    }
}

/// Takes so many members out, which are there; `f` is shown each.
fn take(slot: &mut Slot<'_>, end: End, count: usize, f: impl FnMut(Item<'_>)) -> Result<(), CommandError> {
    slot.edit(|zset: &mut Zset, edit| {
        let len = zset.as_ref().len();
        let ranks = match end {
            End::Min => 0..count,
            End::Max => len - count..len,
        };
        zset.as_ref().range(ranks.clone(), end == End::Max).for_each(f);
        zset.remove_range(edit, ranks);
        edit.changed(count as u64);
    })?;
    Ok(())
}
