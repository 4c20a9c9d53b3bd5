//! Versions of buckets: what a forkless snapshot needs to know which buckets it has passed.
//!
//! The rule. A snapshot has a number that no bucket has as its version yet. It walks over the buckets (`first_bucket`,
//! `next_bucket`), writes out what is in them and stamps them with its number: a bucket with another version is one
//! that it has not passed. Before anything changes in such a bucket, the write door writes the bucket out and stamps
//! it, so that the snapshot sees it as it was at the cut, and every bucket once:
//!
//! * before an element is changed, replaced or removed: the bucket where it is (`Place::bucket`);
//! * before one is inserted: the bucket where it will be (`Place::bucket_for_insert`);
//! * before an insert reshapes a segment, which mixes its buckets: all its buckets (`bucket_for_insert` is `None`, and
//!   they are `Place::segment_buckets`).
//!
//! Whatever else reshapes segments (a removal, a sweep, `tidy`) does not while the table is held: it keeps its shape
//! from `hold` to `release`, and the next tidying makes up for it. So segments only grow meanwhile, and a walk finds
//! its way by hashes. Moving a segment or an element in memory changes no bucket.
//!
//! A reshaped segment's buckets get the smallest version of those that went into it. If the write door has kept the
//! rule, that is the snapshot's number for all of them, and nothing is seen twice.

use std::ops::ControlFlow;

use super::{prefetch, scan::prefetch_bucket_elements, tag_of, Element, Place, Slab, Table};

/// One bucket of a table; good until its segment is reshaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketAt {
    /// A hash that leads to the segment.
    pub(super) hash: u64,
    pub(super) bucket: u32,
}

impl<E: Element> Table<E> {
    /// Keeps the shape, but for what inserts need, until `release`.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Ends what `hold` began.
    pub fn release(&mut self, slab: &mut Slab) {
        self.held = false;
        if self.len == 0 {
            self.clear(slab);
        }
    }

    /// The first bucket; `None` of an empty table.
    pub fn first_bucket(&self) -> Option<BucketAt> {
        self.segment(0).map(|_| BucketAt { hash: 0, bucket: 0 })
    }

    /// The bucket after `at`; `None` after the last.
    pub fn next_bucket(&self, at: BucketAt) -> Option<BucketAt> {
        self.bucket_from(BucketAt { bucket: at.bucket + 1, ..at })
    }

    /// The bucket `at`, or where there is none any more, because its segment was split, the first of the next segment.
    pub fn bucket_from(&self, at: BucketAt) -> Option<BucketAt> {
        let segment = self.segment(at.hash)?;
        if (at.bucket as usize) < segment.buckets() {
            return Some(at);
        }
        let header = segment.header();
        let span = 1u64.checked_shl(64 - u32::from(header.depth))?;
        header.prefix.checked_add(span).map(|hash| BucketAt { hash, bucket: 0 })
    }

    /// Whether two hashes led to the same bucket.
    pub fn is_same_bucket(&self, a: BucketAt, b: BucketAt) -> bool {
        a.bucket == b.bucket
            && self.directory.get(self.index(a.hash)) == self.directory.get(self.index(b.hash))
    }

    /// The version of a bucket: zero, or the last stamp.
    #[inline]
    pub fn version(&self, at: BucketAt) -> u32 {
        self.segment(at.hash).map_or(0, |segment| segment.version(at.bucket as usize))
    }

    /// Stamps a bucket.
    #[inline]
    pub fn stamp(&mut self, at: BucketAt, version: u32) {
        let index = self.index(at.hash);
        if let Some(reference) = self.directory.get(index) {
            // SAFETY: segments in the directory live, and we hold the table.
            unsafe { reference.get() }.set_version(at.bucket as usize, version);
        }
    }

    /// Calls `f` with the elements that lie in a bucket, and their slots, from a slot on, until it has enough. The slot
    /// of an element does not change while the bucket is not passed.
    #[inline]
    pub fn try_for_each_in<B>(
        &self,
        at: BucketAt,
        from: usize,
        mut f: impl FnMut(usize, E::Ref<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(segment) = self.segment(at.hash) else { return ControlFlow::Continue(()) };
        assert!((at.bucket as usize) < segment.buckets(), "the table was reshaped");
        let bucket = segment.bucket(at.bucket as usize);
        for slot in bucket.occupied().filter(|&slot| slot >= from) {
            // SAFETY: slots with a tag hold elements of ours, and `self` is borrowed.
            f(slot, unsafe { E::borrow(bucket.word(slot).pointer()) })?;
        }
        ControlFlow::Continue(())
    }

    /// Calls `f` with the elements that lie in a bucket.
    #[inline]
    pub fn for_each_in(&self, at: BucketAt, mut f: impl FnMut(E::Ref<'_>)) {
        let _ = self.try_for_each_in(at, 0, |_, element| {
            f(element);
            ControlFlow::<()>::Continue(())
        });
    }

    /// Asks the memory for the elements of a bucket, and for the bucket after it.
    #[inline]
    pub fn prefetch_in(&self, at: BucketAt) {
        let Some(segment) = self.segment(at.hash) else { return };
        let bucket = at.bucket as usize;
        prefetch_bucket_elements(&segment, bucket);
        if bucket + 1 < segment.buckets() {
            prefetch((&raw const *segment.bucket(bucket + 1)).cast());
        }
    }
}

impl<E: Element> Place<'_, E> {
    /// The bucket where the element is.
    #[inline]
    pub fn bucket(&self) -> Option<BucketAt> {
        self.position().map(|position| BucketAt { hash: self.hash(), bucket: position.bucket })
    }

    /// The bucket where `insert` will put an element; `None` if it reshapes the segment first.
    pub fn bucket_for_insert(&self) -> Option<BucketAt> {
        if self.table().grows_next(self.hash()) {
            return None;
        }
        let segment = self.table().segment(self.hash())?;
        Some(BucketAt { hash: self.hash(), bucket: segment.bucket_with_room(tag_of(self.hash())) as u32 })
    }

    /// All buckets of the segment where the key belongs.
    pub fn segment_buckets(&self) -> impl Iterator<Item = BucketAt> {
        let hash = self.hash();
        let count = self.table().segment(hash).map_or(0, |segment| segment.buckets());
        (0..count as u32).map(move |bucket| BucketAt { hash, bucket })
    }

    /// Stamps a bucket of the table; nothing moves.
    pub fn stamp(&mut self, at: BucketAt, version: u32) {
        self.table_mut().stamp(at, version);
    }
}
