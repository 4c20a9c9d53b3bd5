//! Adding members, changing scores, removing members: ZADD, ZINCRBY, ZREM.

use smallvec::SmallVec;

use super::reply::write_score_or_null;
use crate::base::double;
use crate::base::error::CommandError;
use crate::command::Ctx;
use crate::keyspace::Zset;
use crate::resp::Args;

/// The options of ZADD.
#[derive(Clone, Copy, Default)]
struct Options {
    /// Only members that are not there.
    nx: bool,
    /// Only members that are there.
    xx: bool,
    /// Only to a higher score.
    gt: bool,
    /// Only to a lower score.
    lt: bool,
    /// Reply with how many members were changed, too.
    ch: bool,
    /// Add to the score, and reply with it.
    incr: bool,
}

pub(super) fn zadd(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args, Options::default())
}

/// It takes ZADD's options, as in Redis, but then there are too few arguments.
pub(super) fn zincrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args, Options { incr: true, ..Options::default() })
}

pub(super) fn zrem(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let mut removed = 0;
    if slot.exists() {
        slot.edit(|zset: &mut Zset, edit| {
            removed = args.iter_from(2).filter(|member| zset.remove(edit, member).is_some()).count();
            edit.changed(removed as u64);
        })?;
    }
    ctx.reply.count(removed);
    Ok(())
}

fn add(ctx: &mut Ctx<'_, '_>, args: Args<'_>, options: Options) -> Result<(), CommandError> {
    let (options, first) = options.parse(args);
    let (pairs, rest) = ((args.len() - first) / 2, (args.len() - first) % 2);
    if pairs == 0 || rest != 0 {
        return Err(CommandError::SYNTAX);
    }
    options.check(pairs)?;
    let scores: SmallVec<[f64; 8]> = (0..pairs)
        .map(|pair| double::parse(args.at(first + 2 * pair)).ok_or(CommandError::NOT_FLOAT))
        .collect::<Result<_, _>>()?;

    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let (mut added, mut changed, mut score) = (0, 0, None);
    if slot.exists() || !options.xx {
        slot.edit(|zset: &mut Zset, edit| {
            zset.reserve(edit, pairs);
            for (pair, &argument) in scores.iter().enumerate() {
                let update = zset.update(edit, args.at(first + 2 * pair + 1), |before| {
                    score = options.score(before, argument);
                    // What is equal stays, though it may be the other zero.
                    let after = score.map(|score| before.filter(|&before| before == score).unwrap_or(score));
                    after.filter(|after| !after.is_nan())
                });
                if score.is_some_and(f64::is_nan) {
                    return Err(CommandError::SCORE_NAN);
                }
                added += usize::from(update.is_added());
                changed += usize::from(update.is_changed());
            }
            edit.changed((added + changed) as u64);
            Ok(())
        })??;
    }
    match (options.incr, options.ch) {
        (true, _) => write_score_or_null(ctx.reply, score),
        (false, true) => ctx.reply.count(added + changed),
        (false, false) => ctx.reply.count(added),
    }
    Ok(())
}

impl Options {
    /// With the options among the arguments, and where the first score stands.
    fn parse(mut self, args: Args<'_>) -> (Options, usize) {
        let mut at = 2;
        while at < args.len() {
            let option = [
                ("nx", &mut self.nx),
                ("xx", &mut self.xx),
                ("gt", &mut self.gt),
                ("lt", &mut self.lt),
                ("ch", &mut self.ch),
                ("incr", &mut self.incr),
            ]
            .into_iter()
            .find(|(name, _)| args.is(at, name));
            let Some((_, is_set)) = option else { break };
            *is_set = true;
            at += 1;
        }
        (self, at)
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        if self.nx && self.xx {
            return Err(CommandError::ZADD_NX_XX);
        }
        if (self.nx && (self.gt || self.lt)) || (self.gt && self.lt) {
            return Err(CommandError::ZADD_GT_LT_NX);
        }
        if self.incr && pairs > 1 {
            return Err(CommandError::ZADD_INCR_PAIRS);
        }
        Ok(())
    }

    /// The score that a member is to get, which had another or none; `None` where it is to be left alone.
    fn score(self, before: Option<f64>, argument: f64) -> Option<f64> {
        let Some(before) = before else { return (!self.xx).then_some(argument) };
        let after = if self.incr { before + argument } else { argument };
        let is_refused = self.nx || (self.gt && after <= before) || (self.lt && after >= before);
        (!is_refused).then_some(after)
    }
}
