//! A listpack: a list of strings and integers in one block of the slab, byte for byte as Redis writes it into a dump.
//!
//! ```text
//! 0              4          6                                                                    total - 1
//! | total bytes  | elements | element | its length | element | its length | ...                  | 0xFF |
//! | u32          | u16      |
//! ```
//!
//! It is what small hashes, sets and sorted sets are, and the nodes of lists: dense, and searched from one end to the
//! other. So a search compares encoded bytes, and a step is one look at a table. All reading is checked slicing: a
//! place that is used with the wrong listpack, or after a change, finds nonsense or panics, but reads nothing foreign.
//!
//! The count says 65535 where there are as many or more, and never says less again, as in Redis: then `len` counts.
//!
//! Invariant: the block came from the slab with a length of the class of `total`.
//! Invariant: the elements are sound, each in its shortest form (see `element`), and the last one ends before the 0xFF.
//!
//! Not here: what the elements mean, and when there are too many of them.

mod element;

#[cfg(test)]
mod tests;

use std::{ops::Range, ptr::NonNull};

pub use element::Packed;

use self::element::{decode, decode_untrusted, is_shortest, span_at, start_before, Encoded, END};
use super::{
    block,
    slab::{class_size, Slab},
};

const HEADER_BYTES: usize = 6;

/// The count that stands for all counts that do not fit.
const COUNT_UNKNOWN: usize = 0xFFFF;

/// Beyond this size nothing should be added; as in Redis, far enough from the 4 GiB that the header can tell.
const SAFE_BYTES: usize = 1 << 30;

const EMPTY: [u8; HEADER_BYTES + 1] = [HEADER_BYTES as u8 + 1, 0, 0, 0, 0, 0, END];

/// A listpack and its block. Whoever has it must keep it or free it.
pub struct Listpack(NonNull<u8>);

/// A listpack to read.
#[derive(Clone, Copy)]
pub struct ListpackRef<'a> {
    bytes: &'a [u8],
}

/// Where an element is: good until the listpack changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(u32);

// SAFETY: the block is the listpack's alone.
unsafe impl Send for Listpack {}

impl Listpack {
    /// A listpack without elements.
    pub fn new(slab: &mut Slab) -> Self {
        Listpack(block::from_pieces(slab, &[&EMPTY]))
    }

    /// The listpack that these bytes are, or `None` if they are not sound.
    ///
    /// Elements that somebody wrote in a longer form than they need are shortened.
    pub fn from_bytes(bytes: &[u8], slab: &mut Slab) -> Option<Self> {
        let (count, all_shortest) = check(bytes)?;
        if all_shortest {
            return Some(Listpack(block::from_pieces(slab, &[bytes])));
        }
        let mut listpack = Listpack::new(slab);
        let mut at = HEADER_BYTES;
        for _ in 0..count {
            let (value, span) = decode_untrusted(&bytes[at..]).expect("an element that was sound before");
            match value {
                Packed::Int(number) => listpack.push_back_int(slab, number),
                Packed::Bytes(string) => listpack.push_back(slab, string),
            }
            at += span;
        }
        Some(listpack)
    }

    /// The listpack of these values, or `None` if it would be longer than a listpack can be.
    pub fn from_values<'a>(values: impl Iterator<Item = Packed<'a>>, slab: &mut Slab) -> Option<Self> {
        let mut bytes = EMPTY[..HEADER_BYTES].to_vec();
        let mut count = 0;
        for value in values {
            // A string that spells an integer is one.
            let value = if let Packed::Bytes(string) = value { Packed::of(string) } else { value };
            Encoded::new(value).append_to(&mut bytes);
            count += 1;
        }
        bytes.push(END);
        let total = u32::try_from(bytes.len()).ok()?;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..HEADER_BYTES].copy_from_slice(&(count.min(COUNT_UNKNOWN) as u16).to_le_bytes());
        Some(Listpack(block::from_pieces(slab, &[&bytes])))
    }

    /// The block, to keep it somewhere.
    #[inline]
    pub fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    /// The listpack of a block.
    ///
    /// # Safety
    ///
    /// The block came from `into_raw` and is given back once.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Listpack(raw)
    }

    /// The listpack of a block, to read.
    ///
    /// # Safety
    ///
    /// The block came from `into_raw`, and nobody changes or frees the listpack during `'a`.
    #[inline]
    pub unsafe fn borrow<'a>(raw: NonNull<u8>) -> ListpackRef<'a> {
        // SAFETY: a listpack starts with its length, as long are the initialised bytes, and nobody changes them.
        unsafe {
            let total = u32::from_le(raw.cast::<u32>().read()) as usize;
            ListpackRef { bytes: std::slice::from_raw_parts(raw.as_ptr(), total) }
        }
    }

    /// The listpack, to read.
    #[inline]
    pub fn as_ref(&self) -> ListpackRef<'_> {
        // SAFETY: the block is a listpack's, which cannot change while it is borrowed.
        unsafe { Listpack::borrow(self.0) }
    }

    /// Gives the memory back.
    pub fn free(self, slab: &mut Slab) {
        let total = self.as_ref().total_bytes();
        // SAFETY: the block came from the slab with a length of this class, and ends here.
        unsafe { slab.free(self.0, total) };
    }

    /// What a string takes as an element.
    #[inline]
    pub fn entry_bytes(string: &[u8]) -> usize {
        Encoded::new(Packed::of(string)).span()
    }

    /// Adds an element at the end.
    #[inline]
    pub fn push_back(&mut self, slab: &mut Slab, string: &[u8]) {
        self.insert(slab, self.as_ref().end(), Packed::of(string));
    }

    /// Adds an integer at the end.
    #[inline]
    pub fn push_back_int(&mut self, slab: &mut Slab, number: i64) {
        self.insert(slab, self.as_ref().end(), Packed::Int(number));
    }

    /// Adds an element at the start.
    #[inline]
    pub fn push_front(&mut self, slab: &mut Slab, string: &[u8]) {
        self.insert(slab, HEADER_BYTES, Packed::of(string));
    }

    /// Adds an integer at the start.
    #[inline]
    pub fn push_front_int(&mut self, slab: &mut Slab, number: i64) {
        self.insert(slab, HEADER_BYTES, Packed::Int(number));
    }

    /// Adds an element before another. Where it is.
    #[inline]
    pub fn insert_before(&mut self, slab: &mut Slab, at: At, string: &[u8]) -> At {
        self.insert(slab, at.offset(), Packed::of(string))
    }

    /// Adds an integer before an element. Where it is.
    #[inline]
    pub fn insert_before_int(&mut self, slab: &mut Slab, at: At, number: i64) -> At {
        self.insert(slab, at.offset(), Packed::Int(number))
    }

    /// Adds an element after another. Where it is.
    #[inline]
    pub fn insert_after(&mut self, slab: &mut Slab, at: At, string: &[u8]) -> At {
        self.insert(slab, self.as_ref().range(at).end, Packed::of(string))
    }

    /// Adds an integer after an element. Where it is.
    #[inline]
    pub fn insert_after_int(&mut self, slab: &mut Slab, at: At, number: i64) -> At {
        self.insert(slab, self.as_ref().range(at).end, Packed::Int(number))
    }

    /// Puts an element in the place of another. Where it is.
    #[inline]
    pub fn replace(&mut self, slab: &mut Slab, at: At, string: &[u8]) -> At {
        self.put(slab, self.as_ref().range(at), 1, Packed::of(string))
    }

    /// Puts an integer in the place of an element. Where it is.
    #[inline]
    pub fn replace_int(&mut self, slab: &mut Slab, at: At, number: i64) -> At {
        self.put(slab, self.as_ref().range(at), 1, Packed::Int(number))
    }

    /// Removes an element. Where the one that followed it is now.
    #[inline]
    pub fn remove(&mut self, slab: &mut Slab, at: At) -> Option<At> {
        self.splice(slab, self.as_ref().range(at), &[], 1, 0);
        self.as_ref().at(at.offset())
    }

    /// Removes up to `count` elements from the one with this index on; a negative index counts from the end.
    pub fn remove_range(&mut self, slab: &mut Slab, index: i64, count: usize) {
        let listpack = self.as_ref();
        let Some(first) = listpack.seek(index) else {
            return;
        };
        let mut end = first.offset();
        let mut removed = 0;
        while removed < count && listpack.bytes[end] != END {
            end += span_at(listpack.bytes, end);
            removed += 1;
        }
        self.splice(slab, first.offset()..end, &[], removed, 0);
    }

    /// Adds all elements of another listpack at the end.
    pub fn append(&mut self, slab: &mut Slab, other: ListpackRef<'_>) {
        let end = self.as_ref().end();
        // A count that is not known is counted, and known again where it fits; that is how Redis merges two.
        let count = self.as_ref().len() + other.len();
        self.splice(slab, end..end, &[&other.bytes[HEADER_BYTES..other.end()]], 0, 0);
        self.set_count(count);
    }

    #[inline]
    fn insert(&mut self, slab: &mut Slab, offset: usize, value: Packed<'_>) -> At {
        self.put(slab, offset..offset, 0, value)
    }

    /// Puts an element where `removed` ones were.
    #[inline]
    fn put(&mut self, slab: &mut Slab, range: Range<usize>, removed: usize, value: Packed<'_>) -> At {
        let at = At(range.start as u32);
        let encoded = Encoded::new(value);
        self.splice(slab, range, &encoded.pieces(&encoded.back_length()), removed, 1);
        at
    }

    /// Puts `added` whole elements where `removed` ones were.
    fn splice(
        &mut self,
        slab: &mut Slab,
        range: Range<usize>,
        pieces: &[&[u8]],
        removed: usize,
        added: usize,
    ) {
        let listpack = self.as_ref();
        let known = listpack.known_len();
        let len = listpack.total_bytes();
        let len_after = len - range.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let total = u32::try_from(len_after).expect("a listpack below 4 GiB");
        assert!(HEADER_BYTES <= range.start && range.end < len, "a place outside the listpack");
        // SAFETY: the block is ours and holds `len` bytes, among them `range`; the pieces are borrowed from elsewhere.
        // The new block starts with its header, as the range does not reach into it, and is aligned to 8.
        unsafe {
            self.0 = block::splice(slab, self.0, len, range, pieces);
            self.0.cast::<u32>().write(total.to_le());
        }
        if let Some(count) = known {
            self.set_count(count - removed + added);
        }
    }

    fn set_count(&mut self, count: usize) {
        let count = count.min(COUNT_UNKNOWN) as u16;
        // SAFETY: a listpack starts with its header, which is aligned and ours to write.
        unsafe { self.0.cast::<u16>().add(2).write(count.to_le()) };
    }
}

impl<'a> ListpackRef<'a> {
    /// The listpack that these bytes are, wherever they lie. They came from `bytes`, or were checked by `from_bytes`:
    /// others are read as nonsense, or panic.
    #[inline]
    pub(super) fn trusted(bytes: &'a [u8]) -> ListpackRef<'a> {
        ListpackRef { bytes }
    }

    /// The whole of it, as it stands in a dump.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes that are.
    #[inline]
    pub fn total_bytes(self) -> usize {
        self.bytes.len()
    }

    /// Bytes of its block.
    #[inline]
    pub fn memory_bytes(self) -> usize {
        class_size(self.bytes.len())
    }

    /// Whether this many bytes may be added to it.
    #[inline]
    pub fn has_room_for(self, bytes: usize) -> bool {
        self.bytes.len().saturating_add(bytes) <= SAFE_BYTES
    }

    /// A copy of it.
    pub fn copy(self, slab: &mut Slab) -> Listpack {
        Listpack(block::from_pieces(slab, &[self.bytes]))
    }

    /// How many elements it has; beyond 65534 they are counted.
    #[inline]
    pub fn len(self) -> usize {
        self.known_len().unwrap_or_else(|| self.iter().count())
    }

    /// Whether it has no elements.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end() == HEADER_BYTES
    }

    /// The first element.
    #[inline]
    pub fn first(self) -> Option<At> {
        self.at(HEADER_BYTES)
    }

    /// The last element.
    #[inline]
    pub fn last(self) -> Option<At> {
        self.before(self.end())
    }

    /// The element after this one.
    #[inline]
    pub fn next(self, at: At) -> Option<At> {
        self.at(self.range(at).end)
    }

    /// The element before this one.
    #[inline]
    pub fn prev(self, at: At) -> Option<At> {
        self.before(at.offset())
    }

    /// The element with this index; a negative one counts from the end.
    pub fn seek(self, index: i64) -> Option<At> {
        // From the nearer end, where it is known.
        let (forward, steps) = match self.known_len() {
            Some(len) => {
                let len = len as i64;
                let index = if index < 0 { index + len } else { index };
                if !(0..len).contains(&index) {
                    return None;
                }
                if index < len / 2 {
                    (true, index)
                } else {
                    (false, len - 1 - index)
                }
            }
            None if index >= 0 => (true, index),
            None => (false, -1 - index),
        };
        if forward {
            (0..steps).try_fold(self.first()?, |at, _| self.next(at))
        } else {
            (0..steps).try_fold(self.last()?, |at, _| self.prev(at))
        }
    }

    /// The value of an element.
    #[inline]
    pub fn get(self, at: At) -> Packed<'a> {
        decode(&self.bytes[at.offset()..])
    }

    /// All elements, each as its bytes stand in the listpack; for `assemble`.
    pub fn encoded_iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut next = self.first();
        std::iter::from_fn(move || {
            let range = self.range(next?);
            next = self.at(range.end);
            Some(&self.bytes[range])
        })
    }

    /// All values, from either end.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        Iter { listpack: self, range: HEADER_BYTES..self.end() }
    }

    /// The first element that is this string; after each element that is not, `skip` are passed over.
    #[inline]
    pub fn find(self, needle: &[u8], skip: usize) -> Option<At> {
        self.search(HEADER_BYTES, needle, skip)
    }

    /// As `find`, from an element on.
    #[inline]
    pub fn find_from(self, at: At, needle: &[u8], skip: usize) -> Option<At> {
        self.search(at.offset(), needle, skip)
    }

    fn search(self, mut offset: usize, needle: &[u8], skip: usize) -> Option<At> {
        let needle = Encoded::new(Packed::of(needle));
        let first = needle.first_byte();
        loop {
            let byte = self.bytes[offset];
            if byte == first && needle.rest_is(&self.bytes[offset..]) {
                return Some(At(offset as u32));
            }
            if byte == END {
                return None;
            }
            offset += span_at(self.bytes, offset);
            // At the end these steps stay where they are.
            for _ in 0..skip {
                offset += span_at(self.bytes, offset);
            }
        }
    }

    /// What the header says, if that is the number of elements.
    #[inline]
    fn known_len(self) -> Option<usize> {
        let count = usize::from(u16::from_le_bytes([self.bytes[4], self.bytes[5]]));
        (count != COUNT_UNKNOWN).then_some(count)
    }

    /// Where the mark at the end is.
    #[inline]
    fn end(self) -> usize {
        self.bytes.len() - 1
    }

    /// The element at this offset, unless it is the end.
    #[inline]
    fn at(self, offset: usize) -> Option<At> {
        (self.bytes[offset] != END).then_some(At(offset as u32))
    }

    /// The element that ends at this offset.
    #[inline]
    fn before(self, offset: usize) -> Option<At> {
        (offset > HEADER_BYTES).then(|| At(start_before(self.bytes, offset) as u32))
    }

    /// The bytes of an element.
    #[inline]
    fn range(self, at: At) -> Range<usize> {
        at.offset()..at.offset() + span_at(self.bytes, at.offset())
    }
}

impl At {
    #[inline]
    fn offset(self) -> usize {
        self.0 as usize
    }
}

/// Whether no two elements of listpacks are the same.
pub(super) fn are_distinct<'a>(elements: impl Iterator<Item = Packed<'a>>) -> bool {
    // Each value has one form only.
    let mut sorted: Vec<Packed<'a>> = elements.collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

/// The values of a listpack, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    listpack: ListpackRef<'a>,
    /// The elements that were not yet given out.
    range: Range<usize>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Packed<'a>;

    #[inline]
    fn next(&mut self) -> Option<Packed<'a>> {
        if self.range.is_empty() {
            return None;
        }
        let at = self.range.start;
        self.range.start += span_at(self.listpack.bytes, at);
        Some(decode(&self.listpack.bytes[at..]))
    }

    fn count(self) -> usize {
        let mut at = self.range.start;
        let mut count = 0;
        while at < self.range.end {
            at += span_at(self.listpack.bytes, at);
            count += 1;
        }
        count
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        self.range.end = start_before(self.listpack.bytes, self.range.end);
        Some(decode(&self.listpack.bytes[self.range.end..]))
    }
}

/// Writes the listpack of these elements, which `encoded_iter` gave, at the end of `out`.
pub fn assemble<'e>(elements: impl Iterator<Item = &'e [u8]>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let mut count = 0;
    for element in elements {
        out.extend_from_slice(element);
        count += 1;
    }
    out.push(END);
    let total = u32::try_from(out.len() - start).expect("a listpack below 4 GiB");
    out[start..start + 4].copy_from_slice(&total.to_le_bytes());
    out[start + 4..start + HEADER_BYTES].copy_from_slice(&(count.min(COUNT_UNKNOWN) as u16).to_le_bytes());
}

/// How many elements these bytes have if they are a listpack, and whether all of them have their shortest form.
fn check(bytes: &[u8]) -> Option<(usize, bool)> {
    let (header, elements) = bytes.split_at_checked(HEADER_BYTES)?;
    let (total, told) = header.split_at(4);
    let (&END, mut elements) = elements.split_last()? else {
        return None;
    };
    let mut count = 0;
    let mut all_shortest = true;
    while !elements.is_empty() {
        let (value, span) = decode_untrusted(elements)?;
        all_shortest &= is_shortest(elements, value);
        elements = &elements[span..];
        count += 1;
    }
    let total = u32::from_le_bytes(total.try_into().expect("four bytes")) as usize;
    let told = usize::from(u16::from_le_bytes(told.try_into().expect("two bytes")));
    let sound = total == bytes.len() && (told == count || told == COUNT_UNKNOWN);
    sound.then_some((count, all_shortest))
}
