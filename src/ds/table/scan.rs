//! SCAN, RANDOMKEY, samples, and walks that may stop early.
//!
//! A scan goes through the hash space in order: segments by their prefix, and within a segment the elements by their
//! tag, which is the order of their homes whatever the segment's size. A cursor says how far it got: all elements with
//! a smaller prefix were returned, and those under this prefix with a smaller tag. That stays true when the segment is
//! resized or split. When it was merged meanwhile, the half that came in may lie before the cursor's tag unseen: the
//! cursor's depth tells, and the segment is begun again. So what is there from first to last is returned at least once.
//!
//! ```text
//! 46                         20            4        0
//! | prefix, 26 bits          | tag, 16     | depth, 5 |
//! ```

use smallvec::SmallVec;

use super::{
    bucket::SLOTS,
    prefetch_element,
    segment::{Segment, SLOTS_TOP},
    sweep::Sweep,
    Element, Table, Word, DEPTH_MAX,
};
use crate::base::prng::Prng;

/// Cursors are below this.
pub const CURSOR_END: u64 = 1 << 47;

/// How many times `random` tries before it takes the next best element.
const RANDOM_TRIES: usize = 128;

/// How many elements an iterator looks up at a time.
const ITER_PAGE: usize = 16;

/// How far a scan got.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    /// The first `DEPTH_MAX` bits of the hash.
    pub(super) prefix: u32,
    pub(super) tag: u32,
    /// The depth of the segment that `tag` counts in.
    pub(super) depth: u32,
}

impl Cursor {
    pub(super) fn unpack(cursor: u64) -> Self {
        let prefix = (cursor >> 21) as u32 & ((1 << DEPTH_MAX) - 1);
        Cursor { prefix, tag: (cursor >> 5) as u32 & 0xFFFF, depth: cursor as u32 & 31 }
    }

    pub(super) fn pack(self) -> u64 {
        u64::from(self.prefix) << 21 | u64::from(self.tag) << 5 | u64::from(self.depth)
    }

    /// The cursor with which to go on in this segment, which its prefix leads to.
    pub(super) fn enter(self, segment: &Segment<'_>) -> Self {
        let depth = u32::from(segment.header().depth);
        let tag = if depth < self.depth { 0 } else { self.tag };
        Cursor { prefix: (segment.header().prefix >> (64 - DEPTH_MAX)) as u32, tag, depth }
    }

    /// The cursor at the start of the next segment; `None` after the last.
    pub(super) fn next_segment(self) -> Option<Self> {
        let prefix = self.prefix + (1 << (DEPTH_MAX - self.depth));
        (prefix < 1 << DEPTH_MAX).then_some(Cursor { prefix, tag: 0, depth: 0 })
    }

    /// The hash that its prefix stands for.
    pub(super) fn hash(self) -> u64 {
        u64::from(self.prefix) << (64 - DEPTH_MAX)
    }
}

impl<E: Element> Table<E> {
    /// Calls `f` with about `count` elements, those that come after `cursor`, and returns the cursor to go on with: 0
    /// to begin with, 0 at the end, below `CURSOR_END` always. Looks at a bounded number of buckets even where few
    /// elements are. An element that is there from the first call to the last is returned at least once.
    pub fn scan<'t>(&'t self, cursor: u64, count: usize, mut f: impl FnMut(E::Ref<'t>)) -> u64 {
        let mut cursor = Cursor::unpack(cursor);
        let (mut returned, mut buckets_left) = (0, count.saturating_mul(10).max(1));
        while let Some(segment) = self.segment(cursor.hash()) {
            cursor = cursor.enter(&segment);
            let mut bucket = segment.home(cursor.tag as u16);
            prefetch_bucket_elements(&segment, bucket);
            while bucket < segment.buckets() {
                if bucket + 1 < segment.buckets() {
                    prefetch_bucket_elements(&segment, bucket + 1);
                }
                segment.for_each_at_home(bucket, |tag, word| {
                    if u32::from(tag) >= cursor.tag {
                        returned += 1;
                        // SAFETY: slots with a tag hold elements of ours, and `self` is borrowed.
                        f(unsafe { E::borrow(word.pointer()) });
                    }
                });
                bucket += 1;
                buckets_left -= 1;
                if (returned >= count || buckets_left == 0) && bucket < segment.buckets() {
                    return Cursor { tag: segment.first_tag(bucket), ..cursor }.pack();
                }
            }
            match cursor.next_segment() {
                None => return 0,
                Some(next) if returned >= count || buckets_left == 0 => return next.pack(),
                Some(next) => cursor = next,
            }
        }
        0
    }

    /// All elements, each once, in no particular order.
    pub fn iter(&self) -> Iter<'_, E> {
        Iter { table: self, page: SmallVec::new(), cursor: Some(0) }
    }

    /// A random element, all with the same probability (but for hashes all alike); `None` of an empty table.
    ///
    /// A random directory entry counts only if it is its segment's first, and a random slot of the largest segment's
    /// only if this segment has it and an element is in it; so every slot of the table is as likely.
    pub fn random(&self, prng: &mut Prng) -> Option<E::Ref<'_>> {
        if self.is_empty() {
            return None;
        }
        for _ in 0..RANDOM_TRIES {
            let index = prng.below(self.directory.len() as u64) as usize;
            let reference = self.directory[index];
            if index % self.entries_of(reference) != 0 {
                continue;
            }
            // SAFETY: segments in the directory live, and with `self` borrowed nobody changes them.
            let segment = unsafe { reference.get() };
            let slots = match self.segments {
                1 => segment.slots(),
                _ => segment.slots().max(SLOTS_TOP),
            };
            let slot = prng.below(slots as u64) as usize;
            if slot >= segment.slots() {
                continue;
            }
            let bucket = segment.bucket(slot / SLOTS);
            if bucket.tag(slot % SLOTS) != 0 {
                // SAFETY: slots with a tag hold elements of ours, and `self` is borrowed.
                return Some(unsafe { E::borrow(bucket.word(slot % SLOTS).pointer()) });
            }
        }
        // Few elements in much room: the next element from a random place on, round the end.
        let mut cursor = Cursor { depth: 0, ..Cursor::unpack(prng.next_u64()) }.pack();
        loop {
            let mut found = None;
            cursor = self.scan(cursor, 1, |element| found = found.or(Some(element)));
            if found.is_some() {
                return found;
            }
        }
    }
}

impl<E: Element> Table<E> {
    /// Calls `f` with up to `count` different elements that lie together, beginning at the place that `from` names: any
    /// 64 bits, and every place is as likely as another if they are random. Looks at no more than `buckets` buckets,
    /// and at none of a segment that has nothing to show. The place behind the last one that it looked at.
    ///
    /// As good a sample as elements drawn one by one, since where an element lies has to do with its hash alone; and
    /// cheaper, since the memory is asked for all of them at once.
    pub fn sample<'t>(
        &'t self,
        from: u64,
        which: Sweep,
        count: usize,
        buckets: usize,
        mut f: impl FnMut(E::Ref<'t>),
    ) -> u64 {
        let there = match which {
            Sweep::Volatile => self.volatile,
            Sweep::All => self.len,
        };
        let count = count.min(there as usize);
        let mut found: SmallVec<[Word; 16]> = SmallVec::new();
        let mut place = from;
        // Slots are filled from the first on: begun with it, the sample would prefer those who come behind a gap.
        let first_slot = (from >> 16) as usize % SLOTS;
        let mut looks_left = buckets;
        while found.len() < count && looks_left > 0 {
            let Some(segment) = self.segment(place) else { break };
            let mut index = segment.home(place as u16);
            let is_barren = which == Sweep::Volatile && segment.header().volatile == 0;
            if is_barren {
                (index, looks_left) = (segment.buckets(), looks_left - 1);
            }
            while index < segment.buckets() && found.len() < count && looks_left > 0 {
                let bucket = segment.bucket(index);
                let slots = match which {
                    Sweep::Volatile => bucket.volatile(),
                    Sweep::All => bucket.occupied(),
                };
                let (from_first, before) =
                    (slots.filter(|&s| s >= first_slot), slots.filter(|&s| s < first_slot));
                for slot in from_first.chain(before).take(count - found.len()) {
                    prefetch_element(bucket.word(slot));
                    found.push(bucket.word(slot));
                }
                (index, looks_left) = (index + 1, looks_left - 1);
            }
            place = match segment.first_tag(index) {
                tag @ 0..0x1_0000 => segment.header().prefix | u64::from(tag),
                // The next segment; after the last one the first.
                _ => {
                    let width = 1u64.checked_shl(64 - u32::from(segment.header().depth)).unwrap_or(0);
                    segment.header().prefix.wrapping_add(width)
                }
            };
        }
        for word in found {
            // SAFETY: slots with a tag hold elements of ours, and `self` is borrowed.
            f(unsafe { E::borrow(word.pointer()) });
        }
        place
    }
}

/// See `Table::iter`.
pub struct Iter<'t, E: Element> {
    table: &'t Table<E>,
    /// Elements that were looked up and not yet taken.
    page: SmallVec<[E::Ref<'t>; 2 * ITER_PAGE]>,
    /// Where to go on; `None` at the end.
    cursor: Option<u64>,
}

impl<'t, E: Element> Iterator for Iter<'t, E> {
    type Item = E::Ref<'t>;

    #[inline]
    fn next(&mut self) -> Option<E::Ref<'t>> {
        while self.page.is_empty() {
            let page = &mut self.page;
            let next = self.table.scan(self.cursor?, ITER_PAGE, |element| page.push(element));
            self.cursor = (next != 0).then_some(next);
        }
        self.page.pop()
    }
}

/// Asks the memory for all elements of a bucket.
pub(super) fn prefetch_bucket_elements(segment: &Segment<'_>, index: usize) {
    let bucket = segment.bucket(index);
    bucket.occupied().for_each(|slot| prefetch_element(bucket.word(slot)));
}
