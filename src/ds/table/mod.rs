//! The hash table: extendible hashing over small segments that grow, split, shrink and merge one at a time.
//!
//! A lookup touches two places before the element itself: the directory, indexed by the top bits of the hash, and one
//! bucket of 64 bytes in the segment that it names. The low 16 bits of the hash are the element's tag: they are
//! compared before any element is looked at, and they say which bucket of the segment it belongs to.
//!
//! No insert or removal moves more than one segment, about 425 elements. Only a split looks at keys (it needs one more
//! bit of their hashes); it asks the memory for them ahead.
//!
//! The table owns its elements (`Element`) and frees them only with its memory's owner, the slab, at hand: a table
//! that is dropped otherwise leaks them. `Drain` takes a table apart in bounded steps.
//!
//! Where hashes are all alike, splitting does not help. A segment deeper than the number of segments warrants, or as
//! deep as a hash prefix goes (`DEPTH_MAX`), is not split but grows, so an adversary, who would have to know the hash's
//! secret, gets long chains, but never a huge directory, a loop or an error.
//!
//! Invariant: every directory entry of a segment with depth d agrees in its first d bits with the segment's prefix.
//! Invariant: an element lies in its home bucket, or every bucket from there to where it lies has counted it.
//! Invariant: a table with no elements has no segments and no directory, unless it is held (`hold`).
//!
//! Not here: what elements look like, expiry, snapshots (but `version` is what they need).

mod bucket;
mod place;
mod reshape;
mod scan;
mod segment;
mod sweep;
mod version;

use std::{marker::PhantomData, ptr::NonNull};

pub use place::Place;
pub use scan::{Iter, CURSOR_END};
pub use sweep::{Drain, Sweep, Visit};
pub use version::BucketAt;

use self::segment::{Segment, SegmentRef};
use super::slab::Slab;
use crate::base::key::KeyHasher;

/// The most bits of the hash that the directory uses; the SCAN cursor has room for these.
pub const DEPTH_MAX: u32 = 26;

/// What a table holds: an owning pointer to memory with a key in it.
///
/// # Safety
///
/// `into_raw` gives a multiple of 8 below 2^48, `from_raw` takes it back, `borrow` and `borrow_mut` only look through
/// it. An element that nobody frees stays valid.
pub unsafe trait Element: Sized {
    /// An element to look at.
    type Ref<'a>: Copy;
    /// An element to change; its key does not change.
    type Mut<'a>;

    /// The pointer.
    fn into_raw(self) -> NonNull<u8>;

    /// The element of a pointer.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw` and is given back once.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;

    /// The element of a pointer, to look at.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw`, and nobody frees or changes the element during `'a`.
    unsafe fn borrow<'a>(raw: NonNull<u8>) -> Self::Ref<'a>;

    /// The element of a pointer, to change.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw`, and nobody else looks at the element during `'a`.
    unsafe fn borrow_mut<'a>(raw: NonNull<u8>) -> Self::Mut<'a>;

    /// The key.
    fn key<'a>(element: Self::Ref<'a>) -> &'a [u8];

    /// Whether this is the key.
    #[inline]
    fn has_key(element: Self::Ref<'_>, key: &[u8]) -> bool {
        Self::key(element) == key
    }

    /// Frees the element, which came from this slab.
    fn free(self, slab: &mut Slab);
}

/// How the hashes came about that a table is asked with.
pub trait HashKeys {
    /// The hash of a key.
    fn hash_key(&self, key: &[u8]) -> u64;
}

impl HashKeys for KeyHasher {
    #[inline]
    fn hash_key(&self, key: &[u8]) -> u64 {
        self.hash(key).0
    }
}

/// A hash table of elements.
pub struct Table<E> {
    /// Indexed by the first `depth` bits of the hash.
    directory: Vec<SegmentRef>,
    /// `63 - depth`.
    shift: u32,
    len: u64,
    volatile: u64,
    segments: usize,
    segment_bytes: usize,
    /// How many segments have each depth.
    segments_at: [u32; DEPTH_MAX as usize + 1],
    reshapes: u64,
    moves_max: u64,
    /// Nothing but an insert reshapes anything (see `version`).
    held: bool,
    /// Something was left as it is because the table was held.
    put_off: bool,
    elements: PhantomData<E>,
}

/// An element's pointer and whether it is volatile, as a slot holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

/// Where an element is; good until the table changes.
#[derive(Clone, Copy)]
struct Position {
    segment: SegmentRef,
    bucket: u32,
    slot: u32,
}

impl<E: Element> Table<E> {
    /// An empty table. It allocates nothing before its first element.
    pub fn new() -> Self {
        Table {
            directory: Vec::new(),
            shift: 63,
            len: 0,
            volatile: 0,
            segments: 0,
            segment_bytes: 0,
            segments_at: [0; DEPTH_MAX as usize + 1],
            reshapes: 0,
            moves_max: 0,
            held: false,
            put_off: false,
            elements: PhantomData,
        }
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them are volatile.
    #[inline]
    pub fn volatile_len(&self) -> u64 {
        self.volatile
    }

    /// Bytes of segments and directory, without the elements. The slab counts them too.
    pub fn memory_bytes(&self) -> usize {
        self.segment_bytes + self.directory_bytes()
    }

    /// Bytes of the directory, which is not in the slab.
    pub fn directory_bytes(&self) -> usize {
        self.directory.capacity() * size_of::<SegmentRef>()
    }

    /// How many segments were resized, split or merged so far.
    pub fn reshapes(&self) -> u64 {
        self.reshapes
    }

    /// The most elements that one insert or removal had to move so far.
    pub fn moves_max(&self) -> u64 {
        self.moves_max
    }

    /// The element with this key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<E::Ref<'_>> {
        let position = self.position(hash, key)?;
        // SAFETY: the position is fresh; with `self` borrowed nobody changes the element.
        Some(unsafe { E::borrow(self.word(position).pointer()) })
    }

    /// The first element with about this hash for which `is_it` holds.
    pub fn find_by(&self, hash: u64, is_it: impl Fn(E::Ref<'_>) -> bool) -> Option<E::Ref<'_>> {
        let position = self.position_by(hash, is_it)?;
        // SAFETY: as in `find`.
        Some(unsafe { E::borrow(self.word(position).pointer()) })
    }

    /// The place of this key, whether or not an element is there.
    #[inline]
    pub fn place<'t>(&'t mut self, hash: u64, key: &[u8]) -> Place<'t, E> {
        let found = self.position(hash, key);
        Place::new(self, hash, found)
    }

    /// Asks the memory for the bucket where a key with this hash belongs.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if let Some(segment) = self.segment(hash) {
            let bucket = segment.bucket(segment.home(tag_of(hash)));
            prefetch((&raw const *bucket).cast());
        }
    }

    /// Asks the memory for the elements that a key with this hash may be, of whose bucket it was asked before.
    #[inline]
    pub fn prefetch_elements(&self, hash: u64) {
        let Some(segment) = self.segment(hash) else { return };
        let tag = tag_of(hash);
        let home = segment.home(tag);
        let bucket = segment.bucket(home);
        let matching = bucket.matching(tag);
        if matching.is_empty() {
            // Perhaps the key is about to be inserted: that looks at the segment's header.
            prefetch((&raw const *segment.header()).cast());
        }
        for slot in matching {
            prefetch_element(bucket.word(slot));
        }
        if bucket.overflowed() {
            prefetch((&raw const *segment.bucket(segment.next(home))).cast());
        }
    }

    /// Calls `f` with the elements that a key with this hash may be, as far as they are in its own bucket.
    #[inline]
    pub fn for_each_likely(&self, hash: u64, mut f: impl FnMut(E::Ref<'_>)) {
        let Some(segment) = self.segment(hash) else { return };
        let tag = tag_of(hash);
        let bucket = segment.bucket(segment.home(tag));
        for slot in bucket.matching(tag) {
            // SAFETY: slots with a tag hold elements of ours, and with `self` borrowed nobody changes them.
            f(unsafe { E::borrow(bucket.word(slot).pointer()) });
        }
    }

    /// Calls `f` with every element, in no particular order.
    pub fn for_each<'t>(&'t self, mut f: impl FnMut(E::Ref<'t>)) {
        let mut at = 0;
        while let Some(&reference) = self.directory.get(at) {
            at += self.entries_of(reference);
            // SAFETY: segments in the directory live, and with `self` borrowed nobody changes them or their elements.
            unsafe { reference.get().for_each(|_, word| f(E::borrow(word.pointer()))) };
        }
    }

    /// Calls `f` with every volatile element, in no particular order; the others are not even looked at.
    pub fn for_each_volatile<'t>(&'t self, mut f: impl FnMut(E::Ref<'t>)) {
        let mut at = 0;
        while let Some(&reference) = self.directory.get(at) {
            at += self.entries_of(reference);
            // SAFETY: segments in the directory live, and with `self` borrowed nobody changes them.
            let segment = unsafe { reference.get() };
            if segment.header().volatile == 0 {
                continue;
            }
            for bucket in (0..segment.buckets()).map(|index| segment.bucket(index)) {
                // SAFETY: slots with a volatile word hold elements of ours.
                bucket.volatile().for_each(|slot| f(unsafe { E::borrow(bucket.word(slot).pointer()) }));
            }
        }
    }

    #[inline(always)]
    fn position(&self, hash: u64, key: &[u8]) -> Option<Position> {
        self.position_by(hash, |element| E::has_key(element, key))
    }

    #[inline(always)]
    fn position_by(&self, hash: u64, is_it: impl Fn(E::Ref<'_>) -> bool) -> Option<Position> {
        let reference = *self.directory.get(self.index(hash))?;
        // SAFETY: segments in the directory live, and with `self` borrowed nobody changes them.
        let segment = unsafe { reference.get() };
        let tag = tag_of(hash);
        let mut index = segment.home(tag);
        for _ in 0..segment.buckets() {
            let bucket = segment.bucket(index);
            for slot in bucket.matching(tag) {
                // SAFETY: slots with a tag hold elements of ours.
                if is_it(unsafe { E::borrow(bucket.word(slot).pointer()) }) {
                    return Some(Position { segment: reference, bucket: index as u32, slot: slot as u32 });
                }
            }
            if !bucket.overflowed() {
                return None;
            }
            index = segment.next(index);
        }
        None
    }

    /// The index in the directory of hashes that start like this one.
    #[inline(always)]
    fn index(&self, hash: u64) -> usize {
        ((hash >> 1) >> self.shift) as usize
    }

    /// How many bits of the hash the directory uses.
    #[inline]
    fn depth(&self) -> u32 {
        63 - self.shift
    }

    /// How many consecutive entries of the directory name this segment.
    fn entries_of(&self, segment: SegmentRef) -> usize {
        1 << (self.depth() - segment.depth())
    }

    #[inline(always)]
    fn segment(&self, hash: u64) -> Option<Segment<'_>> {
        let reference = *self.directory.get(self.index(hash))?;
        // SAFETY: segments in the directory live, and with `self` borrowed nobody changes them.
        Some(unsafe { reference.get() })
    }

    #[inline]
    fn word(&self, position: Position) -> Word {
        // SAFETY: positions are good until the table changes.
        let segment = unsafe { position.segment.get() };
        segment.bucket(position.bucket as usize).word(position.slot as usize)
    }
}

impl<E: Element> Default for Table<E> {
    fn default() -> Self {
        Table::new()
    }
}

impl Word {
    const ADDRESS_MASK: u64 = (1 << 48) - 8;
    const VOLATILE: u64 = 1;

    #[inline]
    fn new<E: Element>(element: E, volatile: bool) -> Self {
        let address = element.into_raw().as_ptr().expose_provenance() as u64;
        debug_assert_eq!(address & !Word::ADDRESS_MASK, 0);
        Word(address | u64::from(volatile))
    }

    #[inline(always)]
    fn pointer(self) -> NonNull<u8> {
        let address = (self.0 & Word::ADDRESS_MASK) as usize;
        debug_assert!(address != 0);
        // SAFETY: only `new` makes words for slots with a tag, out of pointers that are not null.
        unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(address)) }
    }

    #[inline(always)]
    fn is_volatile(self) -> bool {
        self.0 & Word::VOLATILE != 0
    }

    #[inline]
    fn with_volatile(self, volatile: bool) -> Self {
        Word(self.0 & Word::ADDRESS_MASK | u64::from(volatile))
    }
}

/// The part of the hash that is kept beside the element. Zero stands for a free slot, so its keys share one's tag.
#[inline(always)]
fn tag_of(hash: u64) -> u16 {
    (hash as u16).max(1)
}

/// Asks the memory for the first two lines that an element may lie on.
#[inline(always)]
fn prefetch_element(word: Word) {
    let start = word.pointer().as_ptr();
    prefetch(start);
    prefetch(start.wrapping_add(63));
}

/// Asks the memory for what is read of an element to hash a short key.
#[inline(always)]
fn prefetch_key(word: Word) {
    let start = word.pointer().as_ptr();
    prefetch(start);
    prefetch(start.wrapping_add(31));
}

/// Asks the memory for the line of an address. A hint: any address will do.
#[inline(always)]
pub fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults; SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests;
