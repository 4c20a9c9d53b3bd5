//! How segments grow, split, shrink and merge, and the directory with them.
//!
//! A segment grows through a ladder of sizes and is split when it is full at the top; after that the halves are at the
//! bottom of the finely graded part of the ladder. It shrinks when it is less than five eighths full, and merges with
//! its buddy (the segment that differs in the last bit of the prefix) when both together fill a merged one to at most
//! two thirds. The distances between these limits keep it from going to and fro.

use smallvec::SmallVec;

use super::{
    prefetch_key,
    segment::{next_size, next_size_unsplit, size_for, Builder, Segment, SegmentRef, SLOTS_TOP},
    tag_of, Element, HashKeys, Slab, Table, DEPTH_MAX,
};

/// Buddies merge when they have at most this many elements together: a split makes them from 9/10 of `SLOTS_TOP`.
const MERGE_LEN_MAX: usize = SLOTS_TOP * 5 / 8;

/// The directory may have this many entries for each segment before a full segment is rather grown than split. Good
/// hashes need two to four.
const ENTRIES_PER_SEGMENT_MAX: usize = 16;

impl<E: Element> Table<E> {
    /// Sees to it that an element with this hash finds a free slot, by at most one step of growth.
    #[inline]
    pub(super) fn make_room(&mut self, slab: &mut Slab, hasher: &impl HashKeys, hash: u64) {
        if self.segment(hash).is_none_or(|segment| segment.is_full()) {
            self.grow(slab, hasher, hash);
        }
    }

    /// Whether the next insert of an element with this hash reshapes its segment first.
    pub(super) fn grows_next(&self, hash: u64) -> bool {
        self.segment(hash).is_none_or(|segment| segment.is_full())
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, slab: &mut Slab, hasher: &impl HashKeys, hash: u64) {
        let Some(&reference) = self.directory.get(self.index(hash)) else {
            let first = SegmentRef::alloc(slab, size_for(0), 0, 0, 0);
            self.count_in(first);
            self.set_directory(slab, vec![first]);
            return;
        };
        // SAFETY: segments in the directory live, and nobody else has the table.
        let size = unsafe { reference.get() }.size();
        match next_size(size) {
            Some(size) => self.resize(slab, reference, size),
            None if self.may_split(reference) => {
                self.split(slab, hasher, reference);
                // All hashes may have gone the same way. Full is not brimming: this happens at most a few times.
                if self.segment(hash).is_some_and(|segment| segment.len() == segment.slots()) {
                    self.grow(slab, hasher, hash);
                }
            }
            None => self.resize(slab, reference, next_size_unsplit(size)),
        }
    }

    fn may_split(&self, segment: SegmentRef) -> bool {
        segment.depth() < self.depth()
            || (segment.depth() < DEPTH_MAX
                && self.directory.len() * 2 <= self.segments * ENTRIES_PER_SEGMENT_MAX)
    }

    /// After a removal: shrinks the segment of this hash, or merges it, by at most one step.
    #[inline]
    pub(super) fn settle(&mut self, slab: &mut Slab, hash: u64) {
        let Some(segment) = self.segment(hash) else { return };
        let len = segment.len();
        // Looking at the buddy costs a cache miss or two: not at every removal.
        let look_at_buddy = len <= MERGE_LEN_MAX / 2 && len % 8 == 0;
        if segment.is_sparse() || look_at_buddy {
            self.shrink(slab, hash);
        }
    }

    /// Shrinks the segment of this hash, or merges it with its buddy, if it is time for that; whether it was.
    #[cold]
    #[inline(never)]
    pub(super) fn shrink(&mut self, slab: &mut Slab, hash: u64) -> bool {
        if self.held {
            self.put_off = true;
            return false;
        }
        if self.len == 0 {
            self.clear(slab);
            return true;
        }
        let reference = self.directory[self.index(hash)];
        if let Some(buddy) = self.mergeable_buddy(reference) {
            self.merge(slab, reference, buddy);
            return true;
        }
        // SAFETY: segments in the directory live, and nobody else has the table.
        let segment = unsafe { reference.get() };
        let size = size_for(segment.len());
        let shrinks = segment.is_sparse() && size < segment.size();
        if shrinks {
            self.resize(slab, reference, size);
        }
        shrinks
    }

    /// Halves the directory if no segment needs its last bit and it is large for its segments; whether it did.
    pub(super) fn halve(&mut self, slab: &mut Slab) -> bool {
        let depth = self.depth();
        let halves =
            depth > 0 && self.segments_at[depth as usize] == 0 && self.directory.len() >= self.segments * 4;
        if halves {
            self.set_directory(slab, self.directory.iter().step_by(2).copied().collect());
        }
        halves
    }

    /// Moves a segment as it is to another block, if that helps to empty a page of the slab.
    pub(super) fn relocate(&mut self, slab: &mut Slab, reference: SegmentRef) {
        // SAFETY: segments in the directory live and come from this slab; the copy takes the old one's place there.
        unsafe {
            if slab.worth_moving(reference.base(), reference.get().size()) {
                let copy = reference.copy(slab);
                self.count_in(copy);
                self.enter(copy);
                self.count_out(reference);
                reference.free(slab);
            }
        }
    }

    fn resize(&mut self, slab: &mut Slab, old: SegmentRef, size: usize) {
        // SAFETY: `old` is in the directory and so lives; the new one takes its place there.
        unsafe {
            let segment = old.get();
            let Segmentation { prefix, depth } = Segmentation::of(&segment);
            let new = SegmentRef::alloc(slab, size, prefix, depth, segment.min_version());
            self.count_in(new);
            let mut builder = Builder::new(new.get());
            segment.for_each(|tag, word| builder.insert(tag, word));
            builder.finish();
            self.reshaped(segment.len());
            self.enter(new);
            self.count_out(old);
            old.free(slab);
        }
    }

    fn split(&mut self, slab: &mut Slab, hasher: &impl HashKeys, old: SegmentRef) {
        if old.depth() == self.depth() {
            self.double(slab);
        }
        // SAFETY: `old` is in the directory and so lives; the halves take its place there.
        unsafe {
            let segment = old.get();
            let Segmentation { prefix, depth } = Segmentation::of(&segment);
            let bit = 1 << (63 - depth);
            let (sides, ones) = sides::<E>(&segment, hasher, bit);
            let version = segment.min_version();
            let lower = SegmentRef::alloc(slab, size_for(segment.len() - ones), prefix, depth + 1, version);
            let upper = SegmentRef::alloc(slab, size_for(ones), prefix | bit, depth + 1, version);
            self.count_in(lower);
            self.count_in(upper);
            let mut halves = [lower, upper].map(|half| Builder::new(half.get()));
            for (index, &side) in sides.iter().enumerate() {
                let bucket = segment.bucket(index);
                for slot in bucket.occupied() {
                    halves[usize::from(side >> slot & 1)].insert(bucket.tag(slot), bucket.word(slot));
                }
            }
            halves.into_iter().for_each(Builder::finish);
            self.reshaped(segment.len());
            self.enter(lower);
            self.enter(upper);
            self.count_out(old);
            old.free(slab);
        }
    }

    /// The buddy of a segment, if the two can be one.
    fn mergeable_buddy(&self, reference: SegmentRef) -> Option<SegmentRef> {
        let depth = reference.depth();
        if depth == 0 {
            return None;
        }
        // SAFETY: segments in the directory live, and with `self` borrowed nobody changes them.
        unsafe {
            let segment = reference.get();
            let buddy = self.directory[self.index(segment.header().prefix ^ 1 << (64 - depth))];
            let together = segment.len() + buddy.get().len();
            (buddy.depth() == depth && together <= MERGE_LEN_MAX).then_some(buddy)
        }
    }

    fn merge(&mut self, slab: &mut Slab, one: SegmentRef, other: SegmentRef) {
        // SAFETY: both are in the directory and so live; the new one takes their place there.
        unsafe {
            let segments = [one.get(), other.get()];
            let len = segments[0].len() + segments[1].len();
            let prefix = segments[0].header().prefix & segments[1].header().prefix;
            let depth = segments[0].header().depth - 1;
            let version = segments[0].min_version().min(segments[1].min_version());
            let merged = SegmentRef::alloc(slab, size_for(len), prefix, depth, version);
            self.count_in(merged);
            let mut builder = Builder::new(merged.get());
            for segment in &segments {
                segment.for_each(|tag, word| builder.insert(tag, word));
            }
            builder.finish();
            self.reshaped(len);
            self.enter(merged);
            for old in [one, other] {
                self.count_out(old);
                old.free(slab);
            }
        }
    }

    /// Gives everything back; there are no elements any more.
    pub(super) fn clear(&mut self, slab: &mut Slab) {
        debug_assert_eq!((self.len, self.volatile), (0, 0));
        while let Some(segment) = self.pop_segment() {
            // SAFETY: it was in the directory, and no longer is.
            unsafe { segment.free(slab) };
        }
        self.set_directory(slab, Vec::new());
    }

    /// Takes the last segment out of the directory. The table is good for nothing but more of this afterwards.
    pub(super) fn pop_segment(&mut self) -> Option<SegmentRef> {
        let segment = *self.directory.last()?;
        self.directory.truncate(self.directory.len() - self.entries_of(segment));
        self.count_out(segment);
        Some(segment)
    }

    fn double(&mut self, slab: &mut Slab) {
        debug_assert!(self.depth() < DEPTH_MAX);
        let mut doubled = Vec::with_capacity(self.directory.len() * 2);
        doubled.extend(self.directory.iter().flat_map(|&segment| [segment; 2]));
        self.set_directory(slab, doubled);
    }

    pub(super) fn set_directory(&mut self, slab: &mut Slab, directory: Vec<SegmentRef>) {
        slab.account_elsewhere(self.directory_bytes(), directory.capacity() * size_of::<SegmentRef>());
        self.shift = 63 - directory.len().checked_ilog2().unwrap_or(0);
        self.directory = directory;
    }

    /// Makes the directory name this segment wherever its prefix leads.
    fn enter(&mut self, reference: SegmentRef) {
        // SAFETY: the segment was just made.
        let prefix = unsafe { reference.get() }.header().prefix;
        let first = self.index(prefix);
        let entries = self.entries_of(reference);
        self.directory[first..first + entries].fill(reference);
    }

    fn count_in(&mut self, reference: SegmentRef) {
        // SAFETY: the segment was just made.
        self.segment_bytes += unsafe { reference.get() }.size();
        self.segments += 1;
        self.segments_at[reference.depth() as usize] += 1;
    }

    fn count_out(&mut self, reference: SegmentRef) {
        // SAFETY: the segment is not yet freed.
        self.segment_bytes -= unsafe { reference.get() }.size();
        self.segments -= 1;
        self.segments_at[reference.depth() as usize] -= 1;
    }

    fn reshaped(&mut self, moved: usize) {
        self.reshapes += 1;
        self.moves_max = self.moves_max.max(moved as u64);
    }
}

/// Which part of the hash space a segment has.
struct Segmentation {
    prefix: u64,
    depth: u8,
}

impl Segmentation {
    fn of(segment: &Segment<'_>) -> Self {
        let header = segment.header();
        Segmentation { prefix: header.prefix, depth: header.depth }
    }
}

/// For each slot of each bucket whether the element in it has `bit` in its hash, and how many have. The elements of a
/// bucket are asked for two buckets ahead, so that their cache misses overlap.
///
/// # Safety
///
/// The segment holds elements of type `E`.
unsafe fn sides<E: Element>(
    segment: &Segment<'_>,
    hasher: &impl HashKeys,
    bit: u64,
) -> (SmallVec<[u8; SLOTS_TOP / 8]>, usize) {
    const AHEAD: usize = 2;
    let mut sides = SmallVec::with_capacity(segment.buckets());
    let mut ones = 0;
    for index in 0..segment.buckets() + AHEAD {
        if index < segment.buckets() {
            let bucket = segment.bucket(index);
            bucket.occupied().for_each(|slot| prefetch_key(bucket.word(slot)));
        }
        if index >= AHEAD {
            let bucket = segment.bucket(index - AHEAD);
            let mut side = 0u8;
            for slot in bucket.occupied() {
                // SAFETY: as the caller promises; nobody changes the elements meanwhile.
                let element = unsafe { E::borrow(bucket.word(slot).pointer()) };
                let hash = hasher.hash_key(E::key(element));
                debug_assert_eq!(tag_of(hash), bucket.tag(slot));
                side |= u8::from(hash & bit != 0) << slot;
            }
            ones += side.count_ones() as usize;
            sides.push(side);
        }
    }
    (sides, ones)
}
