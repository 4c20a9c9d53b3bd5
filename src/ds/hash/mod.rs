//! Hashes: fields with a value, some of which may expire.
//!
//! A small hash is a listpack (`compact.rs`), to which the first expiry adds a place for expiries; a large one is a
//! table of fields (`large.rs`, `field.rs`). A hash becomes large when it passes the limits of the configuration, and
//! never small again.
//!
//! A field lives through the millisecond that it expires in, as a key does; after that it is absent to every function
//! that takes the time, though it stays in memory, and in `Collection::len`, until it is set, removed or swept out
//! (`expire_step`). A hash none of whose fields lives is over: whoever keeps it asks `is_over`.
//!
//! Invariant: a hash that is not large has no more fields than `PackedLimits` allowed when the last one was added.
//!
//! Not here: which key a hash is under, and who calls `expire_step` when.

mod compact;
mod field;
mod large;
mod transfer;

use std::ptr::NonNull;

use self::{
    compact::{Compact, CompactRef},
    large::{Large, Root},
};
use super::{
    collection::{Collection, Edit, Encoding, TAG_MASK},
    listpack::{Listpack, ListpackRef, Packed},
    slab::Slab,
};
use crate::base::{key::KeyHasher, prng::Prng, time::UnixMs};

/// Tags of the word: a small hash, a small one with expiries, a large one.
const TAG_COMPACT: u64 = 0;
const TAG_EXPIRING: u64 = 1;
const TAG_LARGE: u64 = 2;

/// Freeing more fields than this at once would keep the shard for too long.
const FREED_AT_ONCE_MAX: usize = 512;

/// A hash. Whoever has it must give it to an entry or free it.
pub struct Hash(Form<Compact, Large>);

/// A hash to read.
#[derive(Clone, Copy)]
pub struct HashRef<'a>(Form<CompactRef<'a>, &'a Root>);

#[derive(Clone, Copy)]
enum Form<C, L> {
    Compact(C),
    Large(L),
}

/// A field of a hash.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its name.
    pub name: Packed<'a>,
    /// Its value.
    pub value: Packed<'a>,
    /// When it expires.
    pub expire_at: Option<UnixMs>,
}

/// What becomes of a field's expiry when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpire {
    /// It stays as it is.
    Keep,
    /// The field lives for ever.
    Clear,
    /// The field expires then.
    At(UnixMs),
}

impl FieldExpire {
    fn after(self, before: Option<UnixMs>) -> Option<UnixMs> {
        match self {
            FieldExpire::Keep => before,
            FieldExpire::Clear => None,
            FieldExpire::At(at) => Some(at),
        }
    }
}

/// What a step of expiry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Fields removed.
    pub removed: u64,
    /// Fields seen that have an expiry and live.
    pub kept: u64,
    /// The round through the fields is not at its end yet.
    pub more: bool,
}

impl Hash {
    /// Sets a field; whether it is new.
    pub fn set(&mut self, edit: &mut Edit<'_>, name: &[u8], value: &[u8], expire: FieldExpire) -> bool {
        if let Form::Compact(hash) = &mut self.0 {
            let limits = edit.limits.hash;
            let has_room = hash.list.as_ref().has_room_for(name.len() + value.len());
            if has_room && name.len().max(value.len()) <= limits.value_bytes {
                let is_new = hash.set(edit, name, value, expire);
                if is_new && hash.as_ref().len() > limits.entries {
                    self.enlarge(edit);
                }
                return is_new;
            }
        }
        self.enlarge(edit).set(edit, name, value, expire)
    }

    /// Takes note that so many fields are about to be set: a hash that cannot stay small with them becomes large now.
    pub fn reserve(&mut self, edit: &mut Edit<'_>, fields: usize) {
        if fields > edit.limits.hash.entries {
            self.enlarge(edit);
        }
    }

    /// Sets or clears the expiry of a field; whether there is such a field.
    pub fn set_expire(&mut self, edit: &mut Edit<'_>, name: &[u8], expire_at: Option<UnixMs>) -> bool {
        match &mut self.0 {
            Form::Compact(hash) => hash.set_expire(edit, name, expire_at),
            Form::Large(hash) => hash.set_expire(edit, name, expire_at),
        }
    }

    /// Removes a field; whether there was one. One whose time has come is left to `expire_step`, which tells of it.
    pub fn remove(&mut self, edit: &mut Edit<'_>, name: &[u8]) -> bool {
        match &mut self.0 {
            Form::Compact(hash) => hash.remove(edit, name),
            Form::Large(hash) => hash.remove(edit, name),
        }
    }

    /// Removes fields whose time has come, looking at about `buckets` buckets of a large hash; a small one is done at
    /// once. Where the time of none has come it looks at nothing. `removed` is told the names.
    pub fn expire_step(
        &mut self,
        slab: &mut Slab,
        now: UnixMs,
        buckets: usize,
        removed: &mut impl FnMut(&[u8]),
    ) -> Expired {
        match &mut self.0 {
            Form::Compact(hash) => hash.expire(slab, now, removed),
            Form::Large(hash) => hash.expire_step(slab, now, buckets, removed),
        }
    }

    /// As `HashRef::is_over`; where many fields have expired it removes such until it finds one that lives, so that the
    /// next question is answered soon. `removed` is told their names.
    pub fn is_over(&mut self, slab: &mut Slab, now: UnixMs, removed: &mut impl FnMut(&[u8])) -> bool {
        match &mut self.0 {
            Form::Compact(hash) => hash.as_ref().is_over(now),
            Form::Large(hash) => hash.is_over(slab, now, removed),
        }
    }

    /// Makes it large, if it is not.
    fn enlarge(&mut self, edit: &mut Edit<'_>) -> &mut Large {
        if let Form::Compact(small) = &self.0 {
            let mut large = Large::new(edit.slab);
            let (mut name, mut value) = (itoa::Buffer::new(), itoa::Buffer::new());
            for item in small.as_ref().iter() {
                let (name, value) = (item.name.bytes(&mut name), item.value.bytes(&mut value));
                large.insert(edit.slab, edit.hasher, name, value, item.expire_at);
            }
            if let Form::Compact(small) = std::mem::replace(&mut self.0, Form::Large(large)) {
                small.list.free(edit.slab);
            }
        }
        match &mut self.0 {
            Form::Large(large) => large,
            Form::Compact(_) => unreachable!("it was just made large"),
        }
    }
}

impl<'a> HashRef<'a> {
    /// The listpack of a small hash: names and values in turn, in the order of adding, and after each value its expiry
    /// (0 for none) if the hash `has_place_for_expiries`. Fields whose time has come are among them.
    pub fn as_listpack(self) -> Option<ListpackRef<'a>> {
        match self.0 {
            Form::Compact(hash) => Some(hash.list),
            Form::Large(_) => None,
        }
    }

    /// Whether it is a small hash one of whose fields has or had an expiry.
    pub fn has_place_for_expiries(self) -> bool {
        matches!(self.0, Form::Compact(hash) if hash.has_expiries)
    }

    /// When the first field expires, if any does; of a large hash it may be somewhat before that.
    pub fn earliest_expiry(self) -> Option<UnixMs> {
        match self.0 {
            Form::Compact(hash) => hash.iter().filter_map(|item| item.expire_at).min(),
            Form::Large(hash) => hash.earliest_expiry(),
        }
    }

    /// The field of this name.
    #[inline]
    pub fn get(self, hasher: &KeyHasher, name: &[u8], now: UnixMs) -> Option<Item<'a>> {
        match self.0 {
            Form::Compact(hash) => hash.get(name, now),
            Form::Large(hash) => hash.get(hasher, name, now),
        }
    }

    /// How many fields live. It takes long only for a large hash in which some expired and are not yet removed.
    #[inline]
    pub fn live_len(self, now: UnixMs) -> usize {
        match self.0 {
            Form::Compact(hash) => hash.live_len(now),
            Form::Large(hash) => hash.live_len(now),
        }
    }

    /// Whether a field has an expiry. Of a small hash: whether one has or had.
    #[inline]
    pub fn is_volatile(self) -> bool {
        match self.0 {
            Form::Compact(hash) => hash.has_expiries,
            Form::Large(hash) => hash.is_volatile(),
        }
    }

    /// Whether there may be fields whose time has come: `expire_step` would look for them.
    pub fn may_have_expired(self, now: UnixMs) -> bool {
        match self.0 {
            Form::Compact(hash) => hash.iter().any(|item| is_expired(item.expire_at, now)),
            Form::Large(hash) => hash.may_have_expired(now),
        }
    }

    /// Whether no field lives.
    pub fn is_over(self, now: UnixMs) -> bool {
        match self.0 {
            Form::Compact(hash) => hash.is_over(now),
            Form::Large(hash) => hash.is_over(now),
        }
    }

    /// Calls `f` with every field: in the order of adding while the hash is small, then in no particular one.
    pub fn for_each(self, now: UnixMs, mut f: impl FnMut(Item<'a>)) {
        let mut visit = |item: Item<'a>| {
            if !is_expired(item.expire_at, now) {
                f(item);
            }
        };
        match self.0 {
            Form::Compact(hash) => hash.iter().for_each(visit),
            Form::Large(hash) => hash.for_each(&mut visit),
        }
    }

    /// One step of a scan: calls `f` with about `count` fields and returns the cursor to go on with, 0 at the end. A
    /// small hash is shown at once. A field that is there from the first step to the last is shown at least once.
    pub fn scan(self, cursor: u64, count: usize, now: UnixMs, mut f: impl FnMut(Item<'a>)) -> u64 {
        match self.0 {
            Form::Compact(_) => {
                self.for_each(now, f);
                0
            }
            Form::Large(hash) => hash.scan(cursor, count, |item| {
                if !is_expired(item.expire_at, now) {
                    f(item);
                }
            }),
        }
    }

    /// A random field, all being equally likely.
    pub fn random(self, prng: &mut Prng, now: UnixMs) -> Option<Item<'a>> {
        match self.0 {
            Form::Compact(hash) => {
                let at = prng.below(hash.live_len(now) as u64) as usize;
                hash.iter().filter(|item| !is_expired(item.expire_at, now)).nth(at)
            }
            Form::Large(hash) => hash.random(prng, now),
        }
    }

    /// Calls `f` `count` times with a random field, which may be the same several times; not at all if none lives.
    pub fn repeated(self, count: u64, prng: &mut Prng, now: UnixMs, mut f: impl FnMut(Item<'a>)) {
        match self.0 {
            Form::Large(hash) if !hash.may_have_expired(now) => {
                (0..count).filter_map(|_| hash.random(prng, now)).for_each(f);
            }
            _ => {
                // What would have to be found each time is found once.
                let mut items = Vec::new();
                self.for_each(now, |item| items.push(item));
                if !items.is_empty() {
                    (0..count).for_each(|_| f(items[prng.below(items.len() as u64) as usize]));
                }
            }
        }
    }

    /// `count` different random fields in random order, or all there are.
    pub fn sample(self, count: usize, prng: &mut Prng, now: UnixMs) -> Vec<Item<'a>> {
        if let Form::Large(hash) = self.0 {
            // Where most would be drawn, it is better to take all and leave some out.
            if count < hash.len() / 3 && !hash.may_have_expired(now) {
                return hash.draw(count, prng);
            }
        }
        let mut items = Vec::new();
        self.for_each(now, |item| items.push(item));
        let count = count.min(items.len());
        for at in 0..count {
            let other = at + prng.below((items.len() - at) as u64) as usize;
            items.swap(at, other);
        }
        items.truncate(count);
        items
    }
}

// SAFETY: the word is the address of a block of the slab, a multiple of 8 below 2^48, with a tag that says what lies
// there; `borrow` only looks through it.
unsafe impl Collection for Hash {
    type Ref<'a> = HashRef<'a>;

    fn empty(slab: &mut Slab) -> Self {
        Hash(Form::Compact(Compact::new(slab, false)))
    }

    #[inline]
    fn into_word(self) -> u64 {
        let (raw, tag) = match self.0 {
            Form::Compact(hash) if hash.has_expiries => (hash.list.into_raw(), TAG_EXPIRING),
            Form::Compact(hash) => (hash.list.into_raw(), TAG_COMPACT),
            Form::Large(hash) => (hash.into_raw(), TAG_LARGE),
        };
        raw.as_ptr().expose_provenance() as u64 | tag
    }

    #[inline]
    unsafe fn from_word(word: u64) -> Self {
        let (raw, tag) = unpack(word);
        // SAFETY: the caller promises that `into_word` made the word, of what the tag says.
        Hash(unsafe {
            match tag {
                TAG_LARGE => Form::Large(Large::from_raw(raw)),
                _ => Form::Compact(Compact {
                    list: Listpack::from_raw(raw),
                    has_expiries: tag == TAG_EXPIRING,
                }),
            }
        })
    }

    #[inline]
    unsafe fn borrow<'a>(word: u64) -> HashRef<'a> {
        let (raw, tag) = unpack(word);
        // SAFETY: the caller promises that `into_word` made the word, of what the tag says, and that it stays.
        HashRef(unsafe {
            match tag {
                TAG_LARGE => Form::Large(Large::borrow(raw)),
                _ => Form::Compact(CompactRef {
                    list: Listpack::borrow(raw),
                    has_expiries: tag == TAG_EXPIRING,
                }),
            }
        })
    }

    #[inline]
    fn as_ref(&self) -> HashRef<'_> {
        HashRef(match &self.0 {
            Form::Compact(hash) => Form::Compact(hash.as_ref()),
            Form::Large(hash) => Form::Large(hash.root()),
        })
    }

    #[inline]
    fn len(of: HashRef<'_>) -> usize {
        match of.0 {
            Form::Compact(hash) => hash.len(),
            Form::Large(hash) => hash.len(),
        }
    }

    fn memory_bytes(of: HashRef<'_>) -> usize {
        match of.0 {
            Form::Compact(hash) => hash.list.memory_bytes(),
            Form::Large(hash) => hash.memory_bytes(),
        }
    }

    fn encoding(of: HashRef<'_>) -> Encoding {
        match of.0 {
            Form::Compact(hash) if hash.has_expiries => Encoding::Listpackex,
            Form::Compact(_) => Encoding::Listpack,
            Form::Large(_) => Encoding::Hashtable,
        }
    }

    fn copy(of: HashRef<'_>, slab: &mut Slab, hasher: &KeyHasher) -> Self {
        Hash(match of.0 {
            Form::Compact(hash) => Form::Compact(hash.copy(slab)),
            Form::Large(hash) => Form::Large(Large::copy(hash, slab, hasher)),
        })
    }

    fn export(of: HashRef<'_>, out: &mut Vec<u8>) {
        transfer::export(of, out);
    }

    fn import(bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<Self> {
        transfer::import(bytes, slab, hasher)
    }

    fn is_large(of: HashRef<'_>) -> bool {
        match of.0 {
            Form::Compact(_) => false,
            Form::Large(hash) => hash.len() > FREED_AT_ONCE_MAX,
        }
    }

    fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        match &mut self.0 {
            Form::Compact(hash) => {
                // SAFETY: the hash ends here, as callers know, so the listpack is freed once.
                unsafe { std::ptr::read(&hash.list) }.free(slab);
                true
            }
            Form::Large(hash) => hash.free_step(slab, budget),
        }
    }
}

/// The pointer and the tag of a word.
#[inline]
fn unpack(word: u64) -> (NonNull<u8>, u64) {
    let address = (word & !TAG_MASK) as usize;
    let raw = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
    (raw.expect("the word of a hash"), word & TAG_MASK)
}

/// Whether the time of a field with this expiry has come.
#[inline]
fn is_expired(expire_at: Option<UnixMs>, now: UnixMs) -> bool {
    expire_at.is_some_and(|at| at < now)
}

#[cfg(test)]
mod tests;
