//! Members drawn by chance: ZRANDMEMBER.

use std::collections::BTreeSet;

use super::reply::{write_member, Shown};
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::prng::Prng;
use crate::command::Ctx;
use crate::ds::zset::Item;
use crate::keyspace::{ValueRef, ZsetRef};
use crate::resp::Args;

/// Where more than one of so many members is drawn, all are walked over.
const WALK_SHARE: usize = 16;

pub(super) fn zrandmember(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = args.get(2).map(|_| read_count(args)).transpose()?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    let (rng, reply) = (&mut *ctx.rng, &mut *ctx.reply);
    let shown = Shown::new(reply, args.len() == 4);
    match (zset, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(zset), None) => {
            draw(zset, rng).into_iter().for_each(|item| write_member(reply, item.member));
        }
        (Some(zset), Some(count @ 0..)) => {
            let count = zset.len().min(count as usize);
            shown.write_head(reply, count);
            draw_different(zset, count, rng, |item| shown.write(reply, item));
        }
        (Some(zset), Some(count)) => {
            let count = count.unsigned_abs() as usize;
            shown.write_head(reply, count);
            for _ in 0..count {
                draw(zset, rng).into_iter().for_each(|item| shown.write(reply, item));
            }
        }
    }
    Ok(())
}

/// How many are wanted; below zero the same one may be drawn again.
fn read_count(args: Args<'_>) -> Result<i64, CommandError> {
    let count = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    count.checked_neg().ok_or(CommandError::COUNT_RANGE)?;
    match args.len() {
        3 => Ok(count),
        4 if args.is(3, "withscores") => {
            // Twice as many elements must still be a number.
            let fits = (-(i64::MAX / 2)..=i64::MAX / 2).contains(&count);
            fits.then_some(count).ok_or(CommandError::OUT_OF_RANGE)
        }
        _ => Err(CommandError::SYNTAX),
    }
}

/// A random member.
fn draw<'a>(zset: ZsetRef<'a>, rng: &mut Prng) -> Option<Item<'a>> {
    let rank = rng.below(zset.len() as u64) as usize;
    zset.range(rank..rank + 1, false).next()
}

/// So many different members, in order.
fn draw_different<'a>(zset: ZsetRef<'a>, count: usize, rng: &mut Prng, mut f: impl FnMut(Item<'a>)) {
    let len = zset.len();
    if count == len {
        zset.iter().for_each(f);
        return;
    }
    // Floyd's sampling: each rank, where it was drawn before, gives way to the last that may be drawn.
    let mut ranks = BTreeSet::new();
    for last in len - count..len {
        let rank = rng.below(last as u64 + 1) as usize;
        if !ranks.insert(rank) {
            ranks.insert(last);
        }
    }
    if count > len / WALK_SHARE {
        let items = zset.iter().enumerate().filter(|(rank, _)| ranks.contains(rank));
        items.for_each(|(_, item)| f(item));
    } else {
        for rank in ranks {
            zset.range(rank..rank + 1, false).for_each(&mut f);
        }
    }
}
