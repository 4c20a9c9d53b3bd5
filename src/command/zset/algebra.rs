//! Several sorted sets at once, among them sets, whose members count as having the score 1: union, intersection and
//! difference, to answer with or to store.

use smallvec::SmallVec;

use super::reply::Shown;
use crate::base::double;
use crate::base::error::CommandError;
use crate::base::key::KeyHasher;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::ds::collection::{Collection, Edit};
use crate::keyspace::{SetRef, ValueRef, Zset, ZsetRef};
use crate::resp::{Args, Reply};

/// What one of these commands is asked for.
struct Request<'a> {
    keys: SmallVec<[&'a [u8]; 8]>,
    /// By how much the scores of each key's members are multiplied.
    weights: SmallVec<[f64; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Where counting ends; 0 for never.
    limit: usize,
}

/// What becomes of the scores that a member has in several sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

/// Which options a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    weights: bool,
    with_scores: bool,
    limit: bool,
}

const ANSWERED: Options = Options { weights: true, with_scores: true, limit: false };
const STORED: Options = Options { with_scores: false, ..ANSWERED };
const DIFFERENCE: Options = Options { weights: false, ..ANSWERED };
const DIFFERENCE_STORED: Options = Options { with_scores: false, ..DIFFERENCE };
const COUNTED: Options = Options { weights: false, with_scores: false, limit: true };

/// A set that is read, and the weight of its scores.
#[derive(Clone, Copy)]
struct Source<'a> {
    members: Members<'a>,
    weight: f64,
}

#[derive(Clone, Copy)]
enum Members<'a> {
    Zset(ZsetRef<'a>),
    Set(SetRef<'a>),
    /// Of a key that is not there.
    None,
}

pub(super) fn zunion(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zunion", 1, ANSWERED)?;
    answer(ctx, &request, union)
}

pub(super) fn zinter(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zinter", 1, ANSWERED)?;
    answer(ctx, &request, intersection)
}

pub(super) fn zdiff(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zdiff", 1, DIFFERENCE)?;
    answer(ctx, &request, difference)
}

pub(super) fn zunionstore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zunionstore", 2, STORED)?;
    store(ctx, args.at(1), &request, union)
}

pub(super) fn zinterstore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zinterstore", 2, STORED)?;
    store(ctx, args.at(1), &request, intersection)
}

pub(super) fn zdiffstore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zdiffstore", 2, DIFFERENCE_STORED)?;
    store(ctx, args.at(1), &request, difference)
}

pub(super) fn zintercard(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, "zintercard", 1, COUNTED)?;
    with_sources(ctx, &request, |sources, edit, reply| {
        let mut found = 0;
        for_each_common(sources, Aggregate::Sum, edit.hasher, |_, _| {
            found += 1;
            found != request.limit
        });
        reply.count(found);
    });
    Ok(())
}

/// Makes a sorted set of several. It is a large one, which is built faster, and in which a zero has a sign as in
/// Redis's answers.
type Make = fn(&[Source<'_>], Aggregate, &mut Edit<'_>) -> Zset;

/// Answers with the set that `make` makes.
fn answer(ctx: &mut Ctx<'_, '_>, request: &Request<'_>, make: Make) -> Result<(), CommandError> {
    with_sources(ctx, request, |sources, edit, reply| {
        let result = make(sources, request.aggregate, edit);
        Shown::new(reply, request.with_scores).write_all(reply, result.as_ref().iter());
        result.free(edit.slab);
    });
    Ok(())
}

/// Stores the set that `make` makes.
fn store(
    ctx: &mut Ctx<'_, '_>,
    destination: &[u8],
    request: &Request<'_>,
    make: Make,
) -> Result<(), CommandError> {
    let result = with_sources(ctx, request, |sources, edit, _| {
        let mut result = make(sources, request.aggregate, edit);
        result.make_small(edit);
        result
    });
    let (key, now) = (ctx.first_key(destination), ctx.now_ms());
    ctx.reply.count(result.as_ref().len());
    ctx.keyspace.find(ctx.db, key, now).store(result);
    Ok(())
}

/// Calls `f` with what the keys hold, and with what a set can be made with meanwhile.
fn with_sources<R>(
    ctx: &mut Ctx<'_, '_>,
    request: &Request<'_>,
    f: impl FnOnce(&[Source<'_>], &mut Edit<'_>, &mut Reply<'_>) -> R,
) -> R {
    let (db, now) = (ctx.db, ctx.now_ms());
    let (keyspace, mut edit) = ctx.keyspace.sources(now);
    let source = |(&key, &weight): (&&[u8], &f64)| {
        let members = match keyspace.get(db, key) {
            Some(ValueRef::Zset(zset)) => Members::Zset(zset),
            Some(ValueRef::Set(set)) => Members::Set(set),
            _ => Members::None,
        };
        Source { members, weight }
    };
    let sources: SmallVec<[Source<'_>; 8]> = request.keys.iter().zip(&request.weights).map(source).collect();
    f(&sources, &mut edit, ctx.reply)
}

/// The members that any of the sets has.
fn union(sources: &[Source<'_>], aggregate: Aggregate, edit: &mut Edit<'_>) -> Zset {
    let mut result = Zset::large(edit.slab);
    for source in smallest_first(sources) {
        source.for_each(|member, score| {
            let score = or_zero(score);
            result.update(edit, member, |before| {
                Some(before.map_or(score, |before| aggregate.of(before, score)))
            });
            true
        });
    }
    result
}

/// The members that all the sets have.
fn intersection(sources: &[Source<'_>], aggregate: Aggregate, edit: &mut Edit<'_>) -> Zset {
    let mut result = Zset::large(edit.slab);
    for_each_common(sources, aggregate, edit.hasher, |member, score| {
        result.update(edit, member, |_| Some(score));
        true
    });
    result
}

/// The members of the first set that none of the others has.
fn difference(sources: &[Source<'_>], _: Aggregate, edit: &mut Edit<'_>) -> Zset {
    let mut result = Zset::large(edit.slab);
    if let Some((first, others)) = sources.split_first() {
        first.for_each(|member, score| {
            if others.iter().all(|other| other.score(edit.hasher, member).is_none()) {
                result.update(edit, member, |_| Some(score));
            }
            true
        });
    }
    result
}

/// Calls `f` with the members that all the sets have, and their scores, until it says no: those of the smallest set are
/// looked up in the others.
fn for_each_common(
    sources: &[Source<'_>],
    aggregate: Aggregate,
    hasher: &KeyHasher,
    mut f: impl FnMut(&[u8], f64) -> bool,
) {
    let sources = smallest_first(sources);
    let Some((smallest, others)) = sources.split_first() else { return };
    smallest.for_each(|member, score| {
        let sum = others.iter().try_fold(or_zero(score), |sum, other| {
            other.score(hasher, member).map(|score| aggregate.of(sum, score))
        });
        sum.is_none_or(|score| f(member, score))
    });
}

/// The order in which Redis takes the sets: scores added up in another order may differ in the last digit.
fn smallest_first<'a>(sources: &[Source<'a>]) -> SmallVec<[Source<'a>; 8]> {
    let mut sources: SmallVec<[Source<'a>; 8]> = SmallVec::from_slice(sources);
    sources.sort_by_key(Source::len);
    sources
}

/// What a weight or a sum makes of infinities may be no number: it counts as 0.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() {
        0.0
    } else {
        score
    }
}

impl Aggregate {
    fn of(self, sum: f64, score: f64) -> f64 {
        match self {
            Aggregate::Sum => or_zero(sum + score),
            Aggregate::Min if score < sum => score,
            Aggregate::Max if score > sum => score,
            Aggregate::Min | Aggregate::Max => sum,
        }
    }
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self.members {
            Members::Zset(zset) => zset.len(),
            Members::Set(set) => set.len(),
            Members::None => 0,
        }
    }

    /// The weighted score of a member.
    fn score(&self, hasher: &KeyHasher, member: &[u8]) -> Option<f64> {
        let score = match self.members {
            Members::Zset(zset) => zset.score(hasher, member),
            Members::Set(set) => set.contains(member, hasher).then_some(1.0),
            Members::None => None,
        };
        score.map(|score| self.weight * score)
    }

    /// Calls `f` with every member and its weighted score, until it says no.
    fn for_each(&self, mut f: impl FnMut(&[u8], f64) -> bool) {
        let mut text = itoa::Buffer::new();
        match self.members {
            Members::Zset(zset) => {
                let _ = zset.iter().all(|item| f(item.member.bytes(&mut text), self.weight * item.score));
            }
            Members::Set(set) => {
                let _ = set.iter().all(|member| f(member.bytes(&mut text), self.weight));
            }
            Members::None => {}
        }
    }
}

impl<'a> Request<'a> {
    /// Reads the keys, how many of which there are stands at `at`, and the options after them. Between the two, what
    /// the keys hold is looked at, as in Redis.
    fn parse(
        ctx: &mut Ctx<'_, '_>,
        args: Args<'a>,
        name: &str,
        at: usize,
        options: Options,
    ) -> Result<Request<'a>, CommandError> {
        let count = parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER)?;
        if count < 1 {
            return Err(CommandError::no_input_keys(name));
        }
        let count = usize::try_from(count).ok().filter(|&count| count < args.len() - at);
        let count = count.ok_or(CommandError::SYNTAX)?;
        let keys: SmallVec<[&[u8]; 8]> = args.iter_from(at + 1).take(count).collect();
        for key in &keys {
            match ctx.source(key) {
                None | Some(ValueRef::Zset(_) | ValueRef::Set(_)) => {}
                Some(_) => return Err(CommandError::WRONG_TYPE),
            }
        }
        let weights = SmallVec::from_elem(1.0, count);
        let mut request = Request { keys, weights, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        request.parse_options(args, at + 1 + count, options)?;
        Ok(request)
    }

    fn parse_options(&mut self, args: Args<'a>, mut at: usize, options: Options) -> Result<(), CommandError> {
        while at < args.len() {
            let values = args.len() - at - 1;
            if options.weights && values >= self.keys.len() && args.is(at, "weights") {
                for weight in &mut self.weights {
                    at += 1;
                    *weight = double::parse(args.at(at)).ok_or(CommandError::WEIGHT_NOT_FLOAT)?;
                }
            } else if options.weights && values >= 1 && args.is(at, "aggregate") {
                at += 1;
                self.aggregate = match () {
                    () if args.is(at, "sum") => Aggregate::Sum,
                    () if args.is(at, "min") => Aggregate::Min,
                    () if args.is(at, "max") => Aggregate::Max,
                    () => return Err(CommandError::SYNTAX),
                };
            } else if options.with_scores && args.is(at, "withscores") {
                self.with_scores = true;
            } else if options.limit && values >= 1 && args.is(at, "limit") {
                at += 1;
                let limit = parse_i64(args.at(at)).and_then(|limit| usize::try_from(limit).ok());
                self.limit = limit.ok_or(CommandError::LIMIT_NEGATIVE)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Ok(())
    }
}
