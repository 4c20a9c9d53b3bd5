//! What commands on fields that expire did, as the journal has it.

use smallvec::SmallVec;

use crate::base::time::UnixMs;
use crate::command::Ctx;
use crate::ds::hash::FieldExpire;
use crate::journal::{rewrite, words, Word};
use crate::resp::Args;

/// Fields that a command has changed; none while nobody records.
pub(super) struct Names<'a> {
    is_recording: bool,
    names: SmallVec<[&'a [u8]; 8]>,
}

impl<'a> Names<'a> {
    /// None so far.
    pub(super) fn of(ctx: &Ctx<'_, '_>) -> Names<'a> {
        Names { is_recording: ctx.journal.is_recording(), names: SmallVec::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, name: &'a [u8]) {
        if self.is_recording {
            self.names.push(name);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The command did what these words say to the fields.
    pub(super) fn effect<const N: usize>(&self, ctx: &mut Ctx<'_, '_>, words: [Word<'_>; N]) {
        if !self.names.is_empty() {
            ctx.effect(words.into_iter().chain(self.names.iter().map(|&name| Word::from(name))));
        }
    }

    /// The command told the fields to expire then; those are gone whose time is past.
    pub(super) fn effect_expiry(&self, ctx: &mut Ctx<'_, '_>, key: &[u8], at: UnixMs) {
        if at <= ctx.now_ms() {
            self.effect(ctx, words!["HDEL", key]);
        } else if !self.names.is_empty() {
            effect_expiry(ctx, key, at, self.names.iter().copied());
        }
    }
}

/// The command left the fields with this expiry.
pub(super) fn effect_expiry<'n>(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    at: UnixMs,
    names: impl Iterator<Item = &'n [u8]> + Clone,
) {
    if let Some(sink) = ctx.journal.effects(ctx.db) {
        rewrite::expire_fields(sink, key, at, names);
    }
}

/// The command set the fields and values from argument `fields_at` on, and this is what became of their expiries, which
/// HSET clears.
pub(super) fn effect_set(ctx: &mut Ctx<'_, '_>, args: Args<'_>, fields_at: usize, expire: FieldExpire) {
    if !ctx.journal.is_recording() {
        return;
    }
    let (name, now) = (args.at(1), ctx.now_ms());
    let fields = args.iter_from(fields_at).step_by(2);
    if matches!(expire, FieldExpire::At(at) if at <= now) {
        ctx.effect(words!["HDEL", name].into_iter().chain(fields.map(Word::from)));
        return;
    }
    ctx.effect(words!["HSET", name].into_iter().chain(args.iter_from(fields_at).map(Word::from)));
    match expire {
        FieldExpire::Clear => {}
        FieldExpire::At(at) => effect_expiry(ctx, name, at, fields),
        FieldExpire::Keep => {
            let (key, hasher) = (ctx.first_key(name), ctx.keyspace.hasher().clone());
            let entry = ctx.keyspace.peek(ctx.db, key, now);
            let Some(hash) = entry.and_then(|entry| entry.value.hash().ok()) else { return };
            let kept = fields.filter_map(|field| Some((field, hash.get(&hasher, field, now)?.expire_at?)));
            for (field, at) in kept.collect::<Vec<_>>() {
                effect_expiry(ctx, name, at, [field].into_iter());
            }
        }
    }
}
