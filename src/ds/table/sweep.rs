//! Walks over the table in bounded steps: to expire, to defragment, to tidy up, to take it apart.

use super::{
    prefetch_element,
    scan::{prefetch_bucket_elements, Cursor},
    segment::{Segment, SIZE_FINE},
    version::BucketAt,
    Element, Slab, Table, Word,
};

/// How much a step of a drain frees at most, beyond its last element: the system takes large blocks back at some 10 us
/// for each 100 KiB.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// How many elements are freed in the time that it takes to look through a segment.
const ELEMENTS_PER_SEGMENT: usize = 8;

/// Which elements a sweep visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Volatile ones; the others are not even looked at.
    Volatile,
    /// All; segments on sparse pages of the slab are moved on the way.
    All,
}

/// What becomes of an element that a sweep visited.
pub enum Visit<E> {
    /// It stays.
    Keep,
    /// It is removed and freed.
    Remove,
    /// This one takes its place, with the same key; the old one is freed.
    Replace(E),
}

impl<E: Element> Table<E> {
    /// Shows `f` the elements of about `buckets` buckets after `cursor`, and returns the cursor to go on with: 0 to
    /// begin with, 0 at the end. Elements that move while a sweep is under way may be missed, or seen twice.
    pub fn sweep(
        &mut self,
        slab: &mut Slab,
        cursor: u64,
        buckets: usize,
        which: Sweep,
        mut f: impl FnMut(&mut Slab, E::Ref<'_>) -> Visit<E>,
    ) -> u64 {
        let mut cursor = Cursor::unpack(cursor);
        let mut buckets_left = buckets.max(1);
        while let Some(&reference) = self.directory.get(self.index(cursor.hash())) {
            // SAFETY: segments in the directory live, and we hold the table.
            let mut segment = unsafe { reference.get() };
            cursor = cursor.enter(&segment);
            if which == Sweep::All && cursor.tag == 0 {
                self.relocate(slab, reference);
                let reference = self.directory[self.index(cursor.hash())];
                // SAFETY: as before; the segment may be another now.
                segment = unsafe { reference.get() };
            }
            let first = match (which, segment.header().volatile) {
                (Sweep::Volatile, 0) => segment.buckets(),
                _ => segment.home(cursor.tag as u16),
            };
            let end = segment.buckets().min(first + buckets_left);
            let removed = self.sweep_buckets(slab, &mut segment, first..end, which, &mut f);
            buckets_left -= (end - first).clamp(1, buckets_left);
            let (finished, tag) = (end == segment.buckets(), segment.first_tag(end));
            let next = if finished { cursor.next_segment() } else { Some(Cursor { tag, ..cursor }) };
            // Not in the middle of a segment, where elements would move to where the sweep has been.
            if self.len == 0 || finished && (removed > 0 || first > 0) {
                self.shrink(slab, cursor.hash());
            }
            match next {
                None => return 0,
                Some(next) if buckets_left == 0 => return next.pack(),
                Some(next) => cursor = next,
            }
        }
        0
    }

    fn sweep_buckets(
        &mut self,
        slab: &mut Slab,
        segment: &mut Segment<'_>,
        buckets: std::ops::Range<usize>,
        which: Sweep,
        f: &mut impl FnMut(&mut Slab, E::Ref<'_>) -> Visit<E>,
    ) -> usize {
        let slots_of = |segment: &Segment<'_>, index: usize| match which {
            Sweep::Volatile => segment.bucket(index).volatile(),
            Sweep::All => segment.bucket(index).occupied(),
        };
        let mut removed = 0;
        for index in buckets.clone() {
            if index + 1 < buckets.end {
                let ahead = segment.bucket(index + 1);
                slots_of(segment, index + 1).for_each(|slot| prefetch_element(ahead.word(slot)));
            }
            for slot in slots_of(segment, index) {
                let word = segment.bucket(index).word(slot);
                // SAFETY: slots with a tag hold elements of ours; nobody changes this one while `f` looks at it.
                let visit = f(slab, unsafe { E::borrow(word.pointer()) });
                match visit {
                    Visit::Keep => continue,
                    Visit::Remove => {
                        segment.remove(index, slot);
                        self.len -= 1;
                        self.volatile -= u64::from(word.is_volatile());
                        removed += 1;
                    }
                    Visit::Replace(element) => {
                        let bucket = segment.bucket_mut(index);
                        bucket.fill(slot, bucket.tag(slot), Word::new(element, word.is_volatile()));
                    }
                }
                // SAFETY: the pointer was in the table, and no longer is.
                unsafe { E::from_raw(word.pointer()) }.free(slab);
            }
        }
        removed
    }

    /// Frees the elements of one bucket; how many it was. For a table on its way out, by buckets: nothing shrinks.
    pub fn empty_bucket(&mut self, slab: &mut Slab, at: BucketAt) -> u64 {
        let Some(&reference) = self.directory.get(self.index(at.hash)) else { return 0 };
        // SAFETY: segments in the directory live, and we hold the table.
        let mut segment = unsafe { reference.get() };
        let bucket = at.bucket as usize;
        self.sweep_buckets(slab, &mut segment, bucket..bucket + 1, Sweep::All, &mut |_, _| Visit::Remove)
            as u64
    }

    /// Whether a round of `tidy` is worth it, when the last one began with `reshapes` reshapes done: quite a few
    /// segments have changed since, and it is due to them that much memory lies idle in the slab, or many of them have
    /// changed, or the table was held and is no longer.
    pub fn needs_tidying(&self, slab: &Slab, reshapes: u64) -> bool {
        let changed = (self.reshapes - reshapes) as usize;
        if self.held || self.put_off {
            return !self.held;
        }
        let idle = || slab.movable_bytes(SIZE_FINE) > self.segment_bytes / 16;
        changed * 2 > self.segments || (changed * 16 > self.segments && idle())
    }

    /// Shrinks and merges up to `segments` segments after `cursor` where removals have left that undone, moves those
    /// that lie on sparse pages of the slab, and halves the directory at the end of a round. The cursor to go on with,
    /// 0 to begin with and at the end.
    pub fn tidy(&mut self, slab: &mut Slab, cursor: u64, segments: usize) -> u64 {
        if cursor == 0 {
            self.put_off = self.held;
        }
        let mut cursor = Cursor::unpack(cursor);
        for _ in 0..segments.max(1) {
            let Some(&reference) = self.directory.get(self.index(cursor.hash())) else { return 0 };
            // SAFETY: segments in the directory live, and we hold the table.
            cursor = cursor.enter(&unsafe { reference.get() });
            self.relocate(slab, reference);
            if self.shrink(slab, cursor.hash()) {
                continue;
            }
            match cursor.next_segment() {
                Some(next) => cursor = next,
                None => {
                    self.halve(slab);
                    return 0;
                }
            }
        }
        cursor.pack()
    }

    /// Frees `budget` elements, or fewer that take about a MiB together; how many it was. Zero when none are left.
    /// Between the first step and the last the table is good for nothing else.
    pub fn drain_step(&mut self, slab: &mut Slab, budget: usize) -> u64 {
        self.drain_some(slab, budget, usize::MAX)
    }

    /// The same, but of no more than so many segments.
    fn drain_some(&mut self, slab: &mut Slab, budget: usize, mut segments: usize) -> u64 {
        let (before, used) = (self.len, slab.allocated_bytes());
        // Segments without elements come for nothing, so that with the last element the directory is empty, too, unless
        // `segments` are not enough.
        while let Some(&reference) = self.directory.last() {
            if segments == 0 {
                return before - self.len;
            }
            segments -= 1;
            // SAFETY: segments in the directory live, and we hold the table.
            let mut segment = unsafe { reference.get() };
            prefetch_bucket_elements(&segment, 0);
            for index in 0..segment.buckets() {
                if index + 1 < segment.buckets() {
                    prefetch_bucket_elements(&segment, index + 1);
                }
                for slot in segment.bucket(index).occupied() {
                    let freed_bytes = used.saturating_sub(slab.allocated_bytes());
                    if before - self.len >= budget.max(1) as u64 || freed_bytes >= DRAIN_BYTES_MAX {
                        return before - self.len;
                    }
                    let word = segment.bucket(index).word(slot);
                    segment.bucket_mut(index).clear(slot);
                    let header = segment.header_mut();
                    header.len -= 1;
                    header.volatile -= u32::from(word.is_volatile());
                    self.len -= 1;
                    self.volatile -= u64::from(word.is_volatile());
                    // SAFETY: the pointer was in the table, and no longer is.
                    unsafe { E::from_raw(word.pointer()) }.free(slab);
                }
            }
            self.pop_segment();
            // SAFETY: the segment was taken out of the directory, and nothing is in it.
            unsafe { reference.free(slab) };
        }
        self.set_directory(slab, Vec::new());
        before - self.len
    }

    /// Takes the table apart, bit by bit.
    pub fn into_drain(self) -> Drain<E> {
        Drain(self)
    }
}

/// A table on its way out.
pub struct Drain<E>(Table<E>);

impl<E: Element> Drain<E> {
    /// Frees `budget` elements, or fewer that take about a MiB together, or that there are few of in their segments;
    /// how many it was.
    pub fn step(&mut self, slab: &mut Slab, budget: usize) -> u64 {
        self.0.drain_some(slab, budget, budget.div_ceil(ELEMENTS_PER_SEGMENT))
    }

    /// How many elements are left.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.directory.is_empty()
    }

    /// Bytes of what is left, without the elements.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// Bytes of the directory, which is not in the slab.
    pub fn directory_bytes(&self) -> usize {
        self.0.directory_bytes()
    }
}
