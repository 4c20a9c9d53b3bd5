//! A segment: a small hash table of its own, one allocation of the slab.
//!
//! ```text
//! 0            64                 64 + 64 n                64 + 68 n
//! | header     | n buckets        | n versions (u32)       | rest of the size class
//! ```
//!
//! An element's tag alone says where it belongs: its home bucket is `tag * n / 65536`, so homes are in the order of the
//! tags, whatever n is, and a segment is rebuilt in another size without looking at a single key. An element that finds
//! its home full goes to the next bucket with room, round the end if need be; every bucket that it passes counts it, so
//! that a search ends at the first bucket that nobody passed.

use std::{marker::PhantomData, ptr::NonNull};

use smallvec::SmallVec;

use super::{
    bucket::{Bucket, SLOTS},
    Word,
};
use crate::ds::slab::{class_size, Slab};

/// The sizes that a segment grows through: classes of the slab, multiples of 64. The steps between the last ones are
/// small, and two halves of the largest fit the first of these (2304), which keeps tables between 80% and 90% full.
const SIZES: [usize; 17] =
    [256, 384, 512, 704, 896, 1152, 1408, 1664, 2048, 2304, 2560, 2816, 3072, 3328, 3584, 3840, SIZE_TOP];

/// From here on the sizes of large tables' segments are.
pub(super) const SIZE_FINE: usize = 2304;

/// Beyond this size a segment is split, unless that is impossible.
const SIZE_TOP: usize = 4096;

/// How many elements the largest normal segment has room for.
pub(super) const SLOTS_TOP: usize = buckets_in(SIZE_TOP) * SLOTS;

const HEADER_BYTES: usize = size_of::<Header>();
const BUCKET_BYTES: usize = size_of::<Bucket>();
const VERSION_BYTES: usize = size_of::<u32>();

/// How many buckets a segment of this size has.
const fn buckets_in(size: usize) -> usize {
    (size - HEADER_BYTES) / (BUCKET_BYTES + VERSION_BYTES)
}

/// What lies before the buckets. Lookups never touch it.
#[repr(C, align(64))]
pub(super) struct Header {
    /// The first `depth` bits are those that all hashes in here start with; the others are zero.
    pub(super) prefix: u64,
    /// Bytes of the allocation.
    size: usize,
    buckets: u32,
    pub(super) depth: u8,
    /// Elements in here.
    pub(super) len: u32,
    /// Volatile elements in here.
    pub(super) volatile: u32,
}

/// A segment as the directory holds it, so that a lookup goes from the directory straight to a bucket: address, depth
/// in its six low bits, and number of buckets in its 16 high bits (all ones: see the header).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentRef(u64);

const REF_BUCKETS_SHIFT: u32 = 48;
const REF_BUCKETS_MAX: u64 = 0xFFFF;
const REF_DEPTH_MASK: u64 = 63;

/// A segment that is there for `'a`.
pub(super) struct Segment<'a> {
    base: NonNull<u8>,
    buckets: usize,
    borrow: PhantomData<&'a mut Header>,
}

impl SegmentRef {
    /// A new, empty segment of `size` bytes (one of `SIZES`, or a multiple of 4096 beyond them).
    pub(super) fn alloc(slab: &mut Slab, size: usize, prefix: u64, depth: u8, version: u32) -> Self {
        debug_assert_eq!(class_size(size), size);
        let base = slab.alloc(size);
        let buckets = buckets_in(size);
        debug_assert!(
            base.as_ptr() as u64 & REF_DEPTH_MASK == 0 && base.as_ptr() as u64 >> REF_BUCKETS_SHIFT == 0
        );
        // SAFETY: the block has `size` bytes and, its class being a multiple of 64, is aligned to a header's 64.
        unsafe {
            let header = Header { prefix, size, buckets: buckets as u32, depth, len: 0, volatile: 0 };
            base.cast::<Header>().write(header);
            // Tags of zero: all slots are free.
            base.add(HEADER_BYTES).write_bytes(0, buckets * BUCKET_BYTES);
            let versions = base.add(HEADER_BYTES + buckets * BUCKET_BYTES).cast::<u32>();
            for bucket in 0..buckets {
                versions.add(bucket).write(version);
            }
        }
        let count = (buckets as u64).min(REF_BUCKETS_MAX);
        SegmentRef(base.as_ptr().expose_provenance() as u64 | u64::from(depth) | count << REF_BUCKETS_SHIFT)
    }

    /// A copy, bucket for bucket: it takes the place of this one, which is to be freed.
    ///
    /// # Safety
    ///
    /// The segment is from `alloc` and not freed.
    pub(super) unsafe fn copy(self, slab: &mut Slab) -> Self {
        // SAFETY: as the caller promises; the new block is as large, and nobody else has it.
        unsafe {
            let size = self.get().size();
            let base = slab.alloc(size);
            base.copy_from_nonoverlapping(
                self.base(),
                HEADER_BYTES + buckets_in(size) * (BUCKET_BYTES + VERSION_BYTES),
            );
            let address = base.as_ptr().expose_provenance() as u64;
            let same = self.0 & (REF_DEPTH_MASK | REF_BUCKETS_MAX << REF_BUCKETS_SHIFT);
            SegmentRef(address | same)
        }
    }

    /// Frees the segment; what is in it is no longer in it.
    ///
    /// # Safety
    ///
    /// The segment is from `alloc` with this slab, and nobody uses it any more.
    pub(super) unsafe fn free(self, slab: &mut Slab) {
        // SAFETY: as the caller promises.
        unsafe {
            let size = self.get().header().size;
            slab.free(self.base(), size);
        }
    }

    /// The segment.
    ///
    /// # Safety
    ///
    /// It is not freed during `'a`, and whatever writes to it then does so through this value alone.
    #[inline(always)]
    pub(super) unsafe fn get<'a>(self) -> Segment<'a> {
        let mut segment = Segment { base: self.base(), buckets: 0, borrow: PhantomData };
        segment.buckets = match self.0 >> REF_BUCKETS_SHIFT {
            REF_BUCKETS_MAX => segment.header().buckets as usize,
            buckets => buckets as usize,
        };
        segment
    }

    /// How many bits of the hash led here.
    #[inline]
    pub(super) fn depth(self) -> u32 {
        (self.0 & REF_DEPTH_MASK) as u32
    }

    #[inline(always)]
    pub(super) fn base(self) -> NonNull<u8> {
        let address = self.0 & !REF_DEPTH_MASK & ((1 << REF_BUCKETS_SHIFT) - 1);
        let base = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: the address of an allocation, as `alloc` packed it.
        unsafe { NonNull::new_unchecked(base) }
    }
}

impl Segment<'_> {
    #[inline(always)]
    pub(super) fn header(&self) -> &Header {
        // SAFETY: a segment starts with its header.
        unsafe { self.base.cast().as_ref() }
    }

    #[inline]
    pub(super) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: a segment starts with its header, and we alone write to it.
        unsafe { self.base.cast().as_mut() }
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    pub(super) fn slots(&self) -> usize {
        self.buckets * SLOTS
    }

    pub(super) fn len(&self) -> usize {
        self.header().len as usize
    }

    /// Bytes of the allocation.
    pub(super) fn size(&self) -> usize {
        self.header().size
    }

    /// The bucket where elements with this tag belong.
    #[inline(always)]
    pub(super) fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.buckets) >> 16
    }

    /// The smallest tag whose home is `bucket` or beyond; 65536 after the last bucket.
    pub(super) fn first_tag(&self, bucket: usize) -> u32 {
        (bucket << 16).div_ceil(self.buckets) as u32
    }

    /// The bucket after this one, round the end.
    #[inline(always)]
    pub(super) fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets {
            0
        } else {
            bucket + 1
        }
    }

    #[inline(always)]
    pub(super) fn bucket(&self, bucket: usize) -> &Bucket {
        debug_assert!(bucket < self.buckets);
        // SAFETY: the buckets follow the header, and every caller counts below `buckets`.
        unsafe { self.base.add(HEADER_BYTES).cast::<Bucket>().add(bucket).as_ref() }
    }

    #[inline(always)]
    pub(super) fn bucket_mut(&mut self, bucket: usize) -> &mut Bucket {
        debug_assert!(bucket < self.buckets);
        // SAFETY: as `bucket`, and we alone write to the segment.
        unsafe { self.base.add(HEADER_BYTES).cast::<Bucket>().add(bucket).as_mut() }
    }

    /// The version of a bucket (see `super::version`).
    pub(super) fn version(&self, bucket: usize) -> u32 {
        // SAFETY: the versions follow the buckets; `versions_at` checks the index.
        unsafe { self.version_at(bucket).read() }
    }

    pub(super) fn set_version(&mut self, bucket: usize, version: u32) {
        // SAFETY: as `version`, and we alone write to the segment.
        unsafe { self.version_at(bucket).write(version) }
    }

    pub(super) fn min_version(&self) -> u32 {
        (0..self.buckets).map(|bucket| self.version(bucket)).min().unwrap_or(0)
    }

    fn version_at(&self, bucket: usize) -> NonNull<u32> {
        assert!(bucket < self.buckets);
        // SAFETY: the versions follow the buckets, one for each.
        unsafe { self.base.add(HEADER_BYTES + self.buckets * BUCKET_BYTES).cast::<u32>().add(bucket) }
    }

    /// Where the next element with this tag goes: the first bucket with room, from its home on. There is room.
    pub(super) fn bucket_with_room(&self, tag: u16) -> usize {
        let mut bucket = self.home(tag);
        while self.bucket(bucket).matching(0).next().is_none() {
            bucket = self.next(bucket);
        }
        bucket
    }

    /// Puts an element where it belongs. There is room. The bucket and the slot.
    #[inline]
    pub(super) fn insert(&mut self, tag: u16, word: Word) -> (usize, usize) {
        debug_assert!(self.len() < self.slots());
        let header = self.header_mut();
        header.len += 1;
        header.volatile += u32::from(word.is_volatile());
        let mut index = self.home(tag);
        loop {
            let bucket = self.bucket_mut(index);
            if let Some(slot) = bucket.matching(0).next() {
                bucket.fill(slot, tag, word);
                return (index, slot);
            }
            bucket.count_overflow();
            index = self.next(index);
        }
    }

    /// Takes an element out.
    #[inline]
    pub(super) fn remove(&mut self, bucket: usize, slot: usize) -> Word {
        let (tag, word) = (self.bucket(bucket).tag(slot), self.bucket(bucket).word(slot));
        debug_assert!(tag != 0);
        self.bucket_mut(bucket).clear(slot);
        let header = self.header_mut();
        header.len -= 1;
        header.volatile -= u32::from(word.is_volatile());
        let mut passed = self.home(tag);
        while passed != bucket {
            self.bucket_mut(passed).uncount_overflow();
            passed = self.next(passed);
        }
        word
    }

    /// Calls `f` with the elements whose home is `home`, wherever they are.
    pub(super) fn for_each_at_home(&self, home: usize, mut f: impl FnMut(u16, Word)) {
        let mut index = home;
        for _ in 0..self.buckets {
            let bucket = self.bucket(index);
            for slot in bucket.occupied() {
                let tag = bucket.tag(slot);
                if self.home(tag) == home {
                    f(tag, bucket.word(slot));
                }
            }
            if !bucket.overflowed() {
                return;
            }
            index = self.next(index);
        }
    }

    /// Calls `f` with all elements.
    pub(super) fn for_each(&self, mut f: impl FnMut(u16, Word)) {
        for index in 0..self.buckets {
            let bucket = self.bucket(index);
            for slot in bucket.occupied() {
                f(bucket.tag(slot), bucket.word(slot));
            }
        }
    }

    /// Whether it is time to make room before another element comes.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len() * 10 >= self.slots() * 9
    }

    /// Whether it would do with less memory.
    #[inline]
    pub(super) fn is_sparse(&self) -> bool {
        self.len() * 8 < self.slots() * 5
    }
}

/// Fills a new segment. What it knows of the buckets it keeps beside them: reading back what was just written, in other
/// widths, would take longer than everything else.
pub(super) struct Builder<'a> {
    segment: Segment<'a>,
    /// For each bucket how many slots are taken, the first ones, and its overflow count.
    taken: Counts,
    overflow: Counts,
}

type Counts = SmallVec<[u8; SLOTS_TOP / SLOTS]>;

impl<'a> Builder<'a> {
    /// Takes a segment with nothing in it.
    pub(super) fn new(segment: Segment<'a>) -> Self {
        debug_assert_eq!(segment.len(), 0);
        let counts = || Counts::from_elem(0, segment.buckets());
        Builder { taken: counts(), overflow: counts(), segment }
    }

    /// Puts an element where it belongs. There is room.
    #[inline(always)]
    pub(super) fn insert(&mut self, tag: u16, word: Word) {
        let mut index = self.segment.home(tag);
        while usize::from(self.taken[index]) == SLOTS {
            self.overflow[index] = self.overflow[index].saturating_add(1);
            index = self.segment.next(index);
        }
        let slot = self.taken[index];
        self.taken[index] = slot + 1;
        self.segment.bucket_mut(index).fill_new(usize::from(slot), tag, word);
        self.segment.header_mut().volatile += u32::from(word.is_volatile());
    }

    /// Writes down the counts.
    pub(super) fn finish(mut self) {
        for (index, &count) in self.overflow.iter().enumerate() {
            if count > 0 {
                self.segment.bucket_mut(index).set_overflow(count);
            }
        }
        self.segment.header_mut().len = self.taken.iter().map(|&taken| u32::from(taken)).sum();
    }
}

/// The size for `len` elements: the smallest that they fill to at most five sixths.
pub(super) fn size_for(len: usize) -> usize {
    let fits = |size: usize| len * 6 <= buckets_in(size) * SLOTS * 5;
    match SIZES.iter().find(|&&size| fits(size)) {
        Some(&size) => size,
        None => {
            let buckets = (len * 6).div_ceil(SLOTS * 5);
            (HEADER_BYTES + buckets * (BUCKET_BYTES + VERSION_BYTES)).next_multiple_of(4096)
        }
    }
}

/// The size to grow to from `size`; `None` where it is better to split.
pub(super) fn next_size(size: usize) -> Option<usize> {
    SIZES.iter().copied().find(|&larger| larger > size)
}

/// The size to grow to from `size` where a split is impossible: a quarter more.
pub(super) fn next_size_unsplit(size: usize) -> usize {
    next_size(size).unwrap_or_else(|| (size + size / 4).next_multiple_of(4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_classes_that_suit_a_cache_line() {
        for (index, &size) in SIZES.iter().enumerate() {
            assert_eq!(class_size(size), size);
            assert_eq!(size % 64, 0);
            assert!(buckets_in(size) >= 2);
            // A segment that has just grown does not shrink again after a few removals.
            if let Some(next) = next_size(size) {
                assert_eq!(next, SIZES[index + 1]);
                let full = (buckets_in(size) * SLOTS * 9).div_ceil(10);
                assert_eq!(size_for(full - full / 20), next);
            }
        }
        assert_eq!(size_for(SLOTS_TOP * 9 / 20), SIZE_FINE, "half of a full segment");
        for len in 1..20_000 {
            let slots = buckets_in(size_for(len)) * SLOTS;
            assert!(len * 6 <= slots * 5, "{len}");
        }
    }
}
