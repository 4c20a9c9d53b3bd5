//! A large hash: a table of fields, and what is known of their expiries.
//!
//! Fields that expire are volatile in the table. The root keeps bounds of their expiries, so that most of the time one
//! comparison says that nothing has expired, or that everything has. The bounds only widen as fields are set; a round
//! of the expiry sweep through all volatile fields narrows them again.
//!
//! Invariant: a volatile field's expiry is not before `earliest` and not after `latest`.

use std::{collections::BTreeSet, ptr::NonNull};

use super::{
    field::{Field, FieldRef},
    is_expired, Expired, FieldExpire, Item,
};
use crate::{
    base::{key::KeyHasher, prng::Prng, time::UnixMs},
    ds::{
        collection::Edit,
        listpack::Packed,
        slab::{class_size, Slab},
        table::{Element, HashKeys, Sweep, Table, Visit},
    },
};

/// How many fields are looked at to estimate what all take.
const SAMPLE: usize = 5;

/// How many times a live field is drawn before all are looked at.
const DRAWS_MAX: usize = 64;

/// Buckets that are swept at once when a command wants to know whether any field lives.
const REAP_BUCKETS: usize = 16;

/// A large hash. Whoever has it must free it.
pub(super) struct Large(NonNull<Root>);

/// What lies in the root's block.
pub(super) struct Root {
    table: Table<Field>,
    bounds: Bounds,
    round: Round,
}

/// Between which moments fields expire; where none does, from the last moment to the first.
#[derive(Clone, Copy)]
struct Bounds {
    earliest: UnixMs,
    latest: UnixMs,
}

/// How far the expiry sweep has come on its way through the table.
struct Round {
    cursor: u64,
    /// Bounds of what it has seen, and of what was set since it began.
    bounds: Bounds,
    /// How often the table had been reshaped when it began: fields that move meanwhile may be missed.
    reshapes: u64,
}

impl Bounds {
    const NONE: Bounds = Bounds { earliest: UnixMs(i64::MAX), latest: UnixMs(i64::MIN) };

    fn widen(&mut self, at: UnixMs) {
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
    }
}

impl Large {
    /// A hash without fields.
    pub(super) fn new(slab: &mut Slab) -> Self {
        let block = slab.alloc(size_of::<Root>()).cast::<Root>();
        let round = Round { cursor: 0, bounds: Bounds::NONE, reshapes: 0 };
        let root = Root { table: Table::new(), bounds: Bounds::NONE, round };
        // SAFETY: the block is large enough, aligned to 8 as the root is, and nobody else has it.
        unsafe { block.write(root) };
        Large(block)
    }

    /// The pointer.
    pub(super) fn into_raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// The hash of a pointer.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw` and is given back once.
    pub(super) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Large(raw.cast())
    }

    /// The hash of a pointer, to read.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw`, and nobody changes or frees the hash during `'a`.
    pub(super) unsafe fn borrow<'a>(raw: NonNull<u8>) -> &'a Root {
        // SAFETY: as the caller promises.
        unsafe { raw.cast().as_ref() }
    }

    /// The hash, to read.
    pub(super) fn root(&self) -> &Root {
        // SAFETY: the root lives until `free_step` ends it, and is ours.
        unsafe { self.0.as_ref() }
    }

    fn root_mut(&mut self) -> &mut Root {
        // SAFETY: as for `root`.
        unsafe { self.0.as_mut() }
    }

    /// Puts in a field, unless it is there; whether it was not.
    pub(super) fn insert(
        &mut self,
        slab: &mut Slab,
        hasher: &KeyHasher,
        name: &[u8],
        value: &[u8],
        expire_at: Option<UnixMs>,
    ) -> bool {
        let root = self.root_mut();
        let mut place = root.table.place(hasher.hash_key(name), name);
        if place.is_occupied() {
            return false;
        }
        let field = Field::new(slab, name, value, expire_at);
        place.insert(slab, hasher, field, expire_at.is_some());
        root.note(expire_at);
        true
    }

    /// Sets a field; whether it is new.
    pub(super) fn set(
        &mut self,
        edit: &mut Edit<'_>,
        name: &[u8],
        value: &[u8],
        expire: FieldExpire,
    ) -> bool {
        let root = self.root_mut();
        let mut place = root.table.place(edit.hasher.hash_key(name), name);
        let old = place.element().map(FieldRef::expire_at).filter(|&at| !is_expired(at, edit.now));
        let expire_at = expire.after(old.flatten());
        if place.element_mut().is_some_and(|mut field| field.overwrite(value, expire_at)) {
            place.set_volatile(expire_at.is_some());
        } else {
            let field = Field::new(edit.slab, name, value, expire_at);
            if place.is_occupied() {
                if let Some(old) = place.replace(field, expire_at.is_some()) {
                    old.free(edit.slab);
                }
            } else {
                place.insert(edit.slab, edit.hasher, field, expire_at.is_some());
            }
        }
        root.note(expire_at);
        old.is_none()
    }

    /// Sets or clears the expiry of a field; whether there is such a field.
    pub(super) fn set_expire(&mut self, edit: &mut Edit<'_>, name: &[u8], expire_at: Option<UnixMs>) -> bool {
        let root = self.root_mut();
        let mut place = root.table.place(edit.hasher.hash_key(name), name);
        if place.element().is_none_or(|field| is_expired(field.expire_at(), edit.now)) {
            return false;
        }
        if place.element_mut().is_some_and(|mut field| field.set_expire(expire_at)) {
            place.set_volatile(expire_at.is_some());
        } else if let Some(old) = place.element() {
            let field = Field::new(edit.slab, old.name(), old.value(), expire_at);
            if let Some(old) = place.replace(field, expire_at.is_some()) {
                old.free(edit.slab);
            }
        }
        root.note(expire_at);
        true
    }

    /// Removes a field; whether there was one.
    pub(super) fn remove(&mut self, edit: &mut Edit<'_>, name: &[u8]) -> bool {
        let mut place = self.root_mut().table.place(edit.hasher.hash_key(name), name);
        if place.element().is_none_or(|field| is_expired(field.expire_at(), edit.now)) {
            return false;
        }
        if let Some(field) = place.remove(edit.slab) {
            field.free(edit.slab);
        }
        true
    }

    /// Removes fields whose time has come, looking at about `buckets` buckets. `removed` is told their names.
    pub(super) fn expire_step(
        &mut self,
        slab: &mut Slab,
        now: UnixMs,
        buckets: usize,
        removed: &mut impl FnMut(&[u8]),
    ) -> Expired {
        let Root { table, bounds, round } = self.root_mut();
        let mut report = Expired { removed: 0, kept: 0, more: false };
        if table.volatile_len() == 0 {
            (*bounds, round.cursor) = (Bounds::NONE, 0);
            return report;
        }
        if bounds.earliest >= now {
            round.cursor = 0;
            return report;
        }
        if round.cursor == 0 {
            *round = Round { cursor: 0, bounds: Bounds::NONE, reshapes: table.reshapes() };
        }
        let seen = &mut round.bounds;
        let visit = |_: &mut Slab, field: FieldRef<'_>| {
            let Some(at) = field.expire_at() else { return Visit::Keep };
            if at < now {
                report.removed += 1;
                removed(field.name());
                return Visit::Remove;
            }
            report.kept += 1;
            seen.widen(at);
            Visit::Keep
        };
        round.cursor = table.sweep(slab, round.cursor, buckets, Sweep::Volatile, visit);
        if round.cursor == 0 && round.reshapes == table.reshapes() {
            *bounds = round.bounds;
        }
        report.more = round.cursor != 0;
        report
    }

    /// Whether no field lives any more. Where nearly all may have expired, it removes such until it finds one that
    /// lives.
    pub(super) fn is_over(&mut self, slab: &mut Slab, now: UnixMs, removed: &mut impl FnMut(&[u8])) -> bool {
        loop {
            if let Some(is_over) = self.root().is_over_by_bounds(now) {
                return is_over;
            }
            if self.expire_step(slab, now, REAP_BUCKETS, removed).kept > 0 {
                return false;
            }
        }
    }

    /// A copy.
    pub(super) fn copy(root: &Root, slab: &mut Slab, hasher: &KeyHasher) -> Self {
        let mut copy = Large::new(slab);
        root.table.for_each(|field| {
            copy.insert(slab, hasher, field.name(), field.value(), field.expire_at());
        });
        copy
    }

    /// Frees about `budget` fields; true when nothing is left, not even the root.
    pub(super) fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        let table = &mut self.root_mut().table;
        table.drain_step(slab, budget);
        if !table.is_empty() {
            return false;
        }
        // SAFETY: the table is empty, so that nothing is lost with it; the block came from `new`.
        unsafe {
            self.0.drop_in_place();
            slab.free(self.0.cast(), size_of::<Root>());
        }
        true
    }
}

impl Root {
    /// How many fields there are, those included whose time has come and that are not yet removed.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len() as usize
    }

    /// How many fields live.
    pub(super) fn live_len(&self, now: UnixMs) -> usize {
        let mut expired = 0;
        if self.may_have_expired(now) {
            self.table.for_each_volatile(|field| expired += usize::from(is_expired(field.expire_at(), now)));
        }
        self.len() - expired
    }

    /// Whether a field has an expiry.
    #[inline]
    pub(super) fn is_volatile(&self) -> bool {
        self.table.volatile_len() > 0
    }

    /// A moment before which no field expires, if any does.
    #[inline]
    pub(super) fn earliest_expiry(&self) -> Option<UnixMs> {
        self.is_volatile().then_some(self.bounds.earliest)
    }

    /// Whether a field may have expired.
    #[inline]
    pub(super) fn may_have_expired(&self, now: UnixMs) -> bool {
        self.bounds.earliest < now && self.is_volatile()
    }

    /// Whether no field lives.
    pub(super) fn is_over(&self, now: UnixMs) -> bool {
        let lives = |field: FieldRef<'_>| !is_expired(field.expire_at(), now);
        self.is_over_by_bounds(now).unwrap_or_else(|| !self.table.iter().any(lives))
    }

    /// Whether no field lives, if the bounds tell.
    fn is_over_by_bounds(&self, now: UnixMs) -> Option<bool> {
        if self.table.volatile_len() < self.table.len() || self.bounds.earliest >= now {
            return Some(self.table.is_empty());
        }
        (self.bounds.latest < now).then_some(true)
    }

    /// The field of this name.
    #[inline]
    pub(super) fn get(&self, hasher: &KeyHasher, name: &[u8], now: UnixMs) -> Option<Item<'_>> {
        let item = Item::from(self.table.find(hasher.hash_key(name), name)?);
        (!is_expired(item.expire_at, now)).then_some(item)
    }

    /// Calls `f` with every field, those included whose time has come.
    pub(super) fn for_each<'a>(&'a self, mut f: impl FnMut(Item<'a>)) {
        self.table.for_each(|field| f(Item::from(field)));
    }

    /// One step of a scan.
    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, mut f: impl FnMut(Item<'a>)) -> u64 {
        self.table.scan(cursor, count, |field| f(Item::from(field)))
    }

    /// A random field that lives.
    pub(super) fn random(&self, prng: &mut Prng, now: UnixMs) -> Option<Item<'_>> {
        for _ in 0..DRAWS_MAX {
            let item = Item::from(self.table.random(prng)?);
            if !is_expired(item.expire_at, now) {
                return Some(item);
            }
        }
        let mut live = Vec::new();
        self.for_each(|item| live.extend((!is_expired(item.expire_at, now)).then_some(item)));
        live.get(prng.below(live.len() as u64) as usize).copied()
    }

    /// `count` different random fields, of which there are many more.
    pub(super) fn draw(&self, count: usize, prng: &mut Prng) -> Vec<Item<'_>> {
        let mut drawn = BTreeSet::new();
        let mut items = Vec::with_capacity(count);
        while items.len() < count {
            let Some(field) = self.table.random(prng) else { break };
            if drawn.insert(field.address()) {
                items.push(Item::from(field));
            }
        }
        items
    }

    /// Bytes of everything, estimated from a few fields.
    pub(super) fn memory_bytes(&self) -> usize {
        let (mut fields, mut bytes) = (0, 0);
        let mut cursor = 0;
        while fields < SAMPLE {
            cursor = self.table.scan(cursor, 1, |field| {
                fields += 1;
                bytes += field.block_size();
            });
            if cursor == 0 {
                break;
            }
        }
        class_size(size_of::<Root>())
            + self.table.memory_bytes()
            + (bytes * self.len()).checked_div(fields).unwrap_or(0)
    }

    fn note(&mut self, expire_at: Option<UnixMs>) {
        if let Some(at) = expire_at {
            self.bounds.widen(at);
            self.round.bounds.widen(at);
        }
    }
}

impl<'a> From<FieldRef<'a>> for Item<'a> {
    #[inline]
    fn from(field: FieldRef<'a>) -> Self {
        Item {
            name: Packed::Bytes(field.name()),
            value: Packed::Bytes(field.value()),
            expire_at: field.expire_at(),
        }
    }
}
