//! Versions of buckets: what a forkless snapshot needs to know which buckets it has passed.
//!
//! The rule. A snapshot has a number, larger than those before it. It walks over the buckets (`first_bucket`,
//! `next_bucket`), writes out what is in them and stamps them with its number: a bucket with a smaller version is one
//! that it has not passed. Before anything changes in such a bucket, the write door writes the bucket out and stamps
//! it, so that the snapshot sees it as it was at the cut, and every bucket once:
//!
//! * before an element is changed, replaced or removed: the bucket where it is (`Place::bucket`);
//! * before one is inserted: the bucket where it will be (`Place::bucket_for_insert`);
//! * before a segment is reshaped, which mixes its buckets: all its buckets. An insert announces that
//!   (`bucket_for_insert` is `None`); a removal, a sweep or `tidy` may do it to a segment and its buddy.
//!
//! A reshaped segment's buckets get the smallest version of those that went into it. So nothing counts as passed that
//! was not; if the write door has kept the rule, all were stamped, and nothing is seen twice either.

use super::{tag_of, Element, Place, Table};

/// One bucket of a table; good until the table is reshaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketAt {
    /// A hash that leads to the segment.
    hash: u64,
    bucket: u32,
}

impl<E: Element> Table<E> {
    /// The first bucket; `None` of an empty table.
    pub fn first_bucket(&self) -> Option<BucketAt> {
        self.segment(0).map(|_| BucketAt { hash: 0, bucket: 0 })
    }

    /// The bucket after `at`; `None` after the last.
    pub fn next_bucket(&self, at: BucketAt) -> Option<BucketAt> {
        let segment = self.segment(at.hash)?;
        let bucket = at.bucket + 1;
        if (bucket as usize) < segment.buckets() {
            return Some(BucketAt { bucket, ..at });
        }
        let header = segment.header();
        let span = 1u64.checked_shl(64 - u32::from(header.depth))?;
        header.prefix.checked_add(span).map(|hash| BucketAt { hash, bucket: 0 })
    }

    /// The version of a bucket: zero, or the last stamp.
    pub fn version(&self, at: BucketAt) -> u32 {
        self.segment(at.hash).map_or(0, |segment| segment.version(at.bucket as usize))
    }

    /// Stamps a bucket.
    pub fn stamp(&mut self, at: BucketAt, version: u32) {
        let index = self.index(at.hash);
        if let Some(reference) = self.directory.get(index) {
            // SAFETY: segments in the directory live, and we hold the table.
            unsafe { reference.get() }.set_version(at.bucket as usize, version);
        }
    }

    /// Calls `f` with the elements that lie in a bucket.
    pub fn for_each_in(&self, at: BucketAt, mut f: impl FnMut(E::Ref<'_>)) {
        let Some(segment) = self.segment(at.hash) else { return };
        assert!((at.bucket as usize) < segment.buckets(), "the table was reshaped");
        let bucket = segment.bucket(at.bucket as usize);
        // SAFETY: slots with a tag hold elements of ours, and `self` is borrowed.
        bucket.occupied().for_each(|slot| f(unsafe { E::borrow(bucket.word(slot).pointer()) }));
    }
}

impl<E: Element> Place<'_, E> {
    /// The bucket where the element is.
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
}
