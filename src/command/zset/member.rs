//! Looking at single members, and walking over all: ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCARD, ZSCAN.

use super::reply::{write_member, write_score, write_score_or_null};
use crate::base::double;
use crate::base::error::CommandError;
use crate::command::generic::{parse_cursor, write_page, ScanOptions, Walk};
use crate::command::Ctx;
use crate::ds::collection::{Collection, Encoding};
use crate::keyspace::{ValueRef, Zset, ZsetRef};
use crate::resp::Args;

pub(super) fn zcard(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    ctx.reply.count(zset.map_or(0, ZsetRef::len));
    Ok(())
}

pub(super) fn zscore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hasher = ctx.keyspace.hasher().clone();
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    write_score_or_null(ctx.reply, zset.and_then(|zset| zset.score(&hasher, args.at(2))));
    Ok(())
}

pub(super) fn zmscore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hasher = ctx.keyspace.hasher().clone();
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    let members = args.iter_from(2);
    ctx.reply.array(members.len());
    for member in members {
        write_score_or_null(ctx.reply, zset.and_then(|zset| zset.score(&hasher, member)));
    }
    Ok(())
}

pub(super) fn zrank(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(ctx, args, "zrank", |rank, _| rank)
}

pub(super) fn zrevrank(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(ctx, args, "zrevrank", |rank, len| len - 1 - rank)
}

/// Replies with a member's rank, or what `of` makes of it and the number of members.
fn rank(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'_>,
    name: &str,
    of: fn(usize, usize) -> usize,
) -> Result<(), CommandError> {
    let with_score = match args.len() {
        3 => false,
        4 if args.is(3, "withscore") => true,
        4 => return Err(CommandError::SYNTAX),
        _ => return Err(CommandError::arity(name)),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let hasher = ctx.keyspace.hasher().clone();
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    let found = zset.and_then(|zset| zset.rank(&hasher, args.at(2)));
    let rank = zset.zip(found).map(|(zset, (rank, score))| (of(rank, zset.len()), score));
    match (rank, with_score) {
        (Some((rank, _)), false) => ctx.reply.count(rank),
        (Some((rank, score)), true) => {
            ctx.reply.array(2);
            ctx.reply.count(rank);
            write_score(ctx.reply, score);
        }
        (None, false) => ctx.reply.null(),
        (None, true) => ctx.reply.null_array(),
    }
    Ok(())
}

pub(super) fn zscan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.at(2)).ok_or(CommandError::INVALID_CURSOR)?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let zset = ctx.keyspace.lookup_read(ctx.db, key, now).map(ValueRef::zset).transpose()?;
    let Some(zset) = zset else {
        write_page(ctx.reply, |_| (0, 0));
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Walk::Elements)?;
    let is_large = Zset::encoding(zset) == Encoding::Skiplist;
    write_page(ctx.reply, |reply| {
        let (mut digits, mut text, mut found) = (itoa::Buffer::new(), double::Buffer::new(), 0);
        let next = zset.scan(cursor, options.count, |item| {
            if options.matches(item.member.bytes(&mut digits)) {
                write_member(reply, item.member);
                // Redis writes a large set's scores here as C does, and shows what the listpack of a small one holds.
                let score = match is_large {
                    true => text.format_as_c(item.score),
                    false => text.format(item.score),
                };
                reply.bulk(score.as_bytes());
                found += 2;
            }
        });
        (next, found)
    });
    Ok(())
}
