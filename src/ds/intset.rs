//! An intset: a sorted set of integers in one block of the slab, byte for byte as Redis writes it into a dump.
//!
//! ```text
//! 0         4        8
//! | width   | count  | integer | integer | ...      ascending, each of `width` bytes: 2, 4 or 8
//! | u32     | u32    |
//! ```
//!
//! All numbers are little-endian. The width is that of the integer that needs most, of all that were ever in it: it
//! grows when one is inserted that does not fit, and never shrinks, as in Redis. A new one has the width 2.
//!
//! Invariant: the block came from the slab with a length of the class of header and integers.
//! Invariant: the integers ascend strictly.
//!
//! Not here: how many integers are too many.

use std::{ops::Range, ptr::NonNull};

use super::{
    block,
    slab::{class_size, Slab},
};
use crate::base::prng::Prng;

const HEADER_BYTES: usize = 8;

/// An intset and its block. Whoever has it must keep it or free it.
pub struct Intset(NonNull<u8>);

/// An intset to read.
#[derive(Clone, Copy)]
pub struct IntsetRef<'a> {
    bytes: &'a [u8],
}

// SAFETY: the block is the intset's alone.
unsafe impl Send for Intset {}

impl Intset {
    /// An intset without integers.
    pub fn new(slab: &mut Slab) -> Self {
        Intset(block::from_pieces(slab, &[&header(2, 0)]))
    }

    /// The intset that these bytes are, or `None` if they are not sound.
    pub fn from_bytes(bytes: &[u8], slab: &mut Slab) -> Option<Self> {
        is_sound(bytes).then(|| Intset(block::from_pieces(slab, &[bytes])))
    }

    /// The block, to keep it somewhere.
    #[inline]
    pub fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    /// The intset of a block.
    ///
    /// # Safety
    ///
    /// The block came from `into_raw` and is given back once.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Intset(raw)
    }

    /// The intset of a block, to read.
    ///
    /// # Safety
    ///
    /// The block came from `into_raw`, and nobody changes or frees the intset during `'a`.
    #[inline]
    pub unsafe fn borrow<'a>(raw: NonNull<u8>) -> IntsetRef<'a> {
        // SAFETY: an intset starts with its width and count, which tell how many initialised bytes there are, and
        // nobody changes them.
        unsafe {
            let [width, count] = raw.cast::<[u32; 2]>().read().map(|word| u32::from_le(word) as usize);
            let len = HEADER_BYTES + width * count;
            IntsetRef { bytes: std::slice::from_raw_parts(raw.as_ptr(), len) }
        }
    }

    /// The intset, to read.
    #[inline]
    pub fn as_ref(&self) -> IntsetRef<'_> {
        // SAFETY: the block is an intset's, which cannot change while it is borrowed.
        unsafe { Intset::borrow(self.0) }
    }

    /// Gives the memory back.
    pub fn free(self, slab: &mut Slab) {
        let total = self.as_ref().total_bytes();
        // SAFETY: the block came from the slab with a length of this class, and ends here.
        unsafe { slab.free(self.0, total) };
    }

    /// Adds an integer; whether it was not there before.
    pub fn insert(&mut self, slab: &mut Slab, number: i64) -> bool {
        let needed = width_of(number);
        if needed > self.as_ref().width() {
            self.widen(slab, needed);
        }
        let intset = self.as_ref();
        let Err(index) = intset.search(number) else {
            return false;
        };
        let at = intset.offset(index);
        let piece = &number.to_le_bytes()[..intset.width()];
        self.splice(slab, at..at, &[piece], intset.len() + 1);
        true
    }

    /// Removes an integer; whether it was there.
    pub fn remove(&mut self, slab: &mut Slab, number: i64) -> bool {
        let intset = self.as_ref();
        let Ok(index) = intset.search(number) else {
            return false;
        };
        self.splice(slab, intset.offset(index)..intset.offset(index + 1), &[], intset.len() - 1);
        true
    }

    /// Gives every integer more bytes.
    #[cold]
    fn widen(&mut self, slab: &mut Slab, width: usize) {
        let intset = self.as_ref();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + width * intset.len());
        bytes.extend(header(width, intset.len()));
        for number in intset.iter() {
            bytes.extend(&number.to_le_bytes()[..width]);
        }
        let wide = Intset(block::from_pieces(slab, &[&bytes]));
        std::mem::replace(self, wide).free(slab);
    }

    /// Puts bytes of integers in the place of others, of which there are `count` afterwards.
    fn splice(&mut self, slab: &mut Slab, range: Range<usize>, pieces: &[&[u8]], count: usize) {
        let len = self.as_ref().total_bytes();
        // SAFETY: the block is ours and holds `len` bytes, among them `range`; the pieces are borrowed from elsewhere.
        // The new block starts with the header, as the range does not reach into it, and is aligned to 8.
        unsafe {
            self.0 = block::splice(slab, self.0, len, range, pieces);
            self.0.cast::<u32>().add(1).write((count as u32).to_le());
        }
    }
}

impl<'a> IntsetRef<'a> {
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

    /// A copy of it.
    pub fn copy(self, slab: &mut Slab) -> Intset {
        Intset(block::from_pieces(slab, &[self.bytes]))
    }

    /// How many integers it has.
    #[inline]
    pub fn len(self) -> usize {
        self.word(4) as usize
    }

    /// Whether it has no integers.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// The index of an integer, if it is there.
    #[inline]
    pub fn find(self, number: i64) -> Option<usize> {
        self.search(number).ok()
    }

    /// Whether an integer is there.
    #[inline]
    pub fn contains(self, number: i64) -> bool {
        self.search(number).is_ok()
    }

    /// The integer with this index, counted from the smallest.
    #[inline]
    pub fn get(self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// The smallest integer.
    #[inline]
    pub fn min(self) -> Option<i64> {
        self.get(0)
    }

    /// The largest integer.
    #[inline]
    pub fn max(self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// One of the integers, each as likely.
    #[inline]
    pub fn random(self, prng: &mut Prng) -> Option<i64> {
        self.get(prng.below(self.len() as u64) as usize)
    }

    /// All integers, ascending.
    #[inline]
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + 'a {
        (0..self.len()).map(move |index| self.at(index))
    }

    /// The index of an integer, or where it would be.
    fn search(self, number: i64) -> Result<usize, usize> {
        let mut range = 0..self.len();
        // Integers often come in order.
        if self.max().is_some_and(|max| max < number) {
            return Err(range.end);
        }
        while !range.is_empty() {
            let middle = range.start + range.len() / 2;
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Less => range.start = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => range.end = middle,
            }
        }
        Err(range.start)
    }

    #[inline(always)]
    fn at(self, index: usize) -> i64 {
        let width = self.width();
        let bytes = &self.bytes[HEADER_BYTES + index * width..][..width];
        match *bytes {
            [a, b] => i16::from_le_bytes([a, b]).into(),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    }

    #[inline]
    fn width(self) -> usize {
        self.word(0) as usize
    }

    #[inline]
    fn offset(self, index: usize) -> usize {
        HEADER_BYTES + index * self.width()
    }

    #[inline]
    fn word(self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }
}

fn header(width: usize, count: usize) -> [u8; HEADER_BYTES] {
    (width as u64 | (count as u64) << 32).to_le_bytes()
}

/// How many bytes an integer needs.
fn width_of(number: i64) -> usize {
    match number {
        -0x8000..=0x7FFF => 2,
        -0x8000_0000..=0x7FFF_FFFF => 4,
        _ => 8,
    }
}

/// Whether these bytes are an intset.
fn is_sound(bytes: &[u8]) -> bool {
    if bytes.len() < HEADER_BYTES {
        return false;
    }
    let intset = IntsetRef { bytes };
    matches!(intset.width(), 2 | 4 | 8)
        && intset.width().checked_mul(intset.len()) == Some(bytes.len() - HEADER_BYTES)
        && intset.iter().is_sorted_by(|a, b| a < b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn the_bytes_are_those_of_redis() {
        let mut slab = Slab::new();
        let mut intset = Intset::new(&mut slab);
        assert_eq!(intset.as_ref().bytes(), hex("02 00 00 00 00 00 00 00"));
        for number in [1, -1, 300] {
            assert!(intset.insert(&mut slab, number));
        }
        // From the DUMP of a set in Redis 7.0.
        assert_eq!(intset.as_ref().bytes(), hex("02 00 00 00 03 00 00 00 ff ff 01 00 2c 01"));
        assert!(intset.insert(&mut slab, 70000));
        let four = "04 00 00 00 04 00 00 00 ff ff ff ff 01 00 00 00 2c 01 00 00 70 11 01 00";
        assert_eq!(intset.as_ref().bytes(), hex(four));
        assert!(intset.insert(&mut slab, -9_000_000_000));
        let rest =
            "ff ff ff ff ff ff ff ff 01 00 00 00 00 00 00 00 2c 01 00 00 00 00 00 00 70 11 01 00 00 00 00 00";
        let five = format!("08 00 00 00 05 00 00 00 00 e6 8e e7 fd ff ff ff {rest}");
        assert_eq!(intset.as_ref().bytes(), hex(&five));
        // It stays wide.
        assert!(intset.remove(&mut slab, -9_000_000_000));
        assert_eq!(intset.as_ref().bytes(), hex(&format!("08 00 00 00 04 00 00 00 {rest}")));
        intset.free(&mut slab);
        assert_eq!(slab.allocated_bytes(), 0);
    }

    /// An integer near the borders of the widths up to `width`.
    fn some_number(prng: &mut Prng, width: usize) -> i64 {
        let near = prng.below(40) as i64 - 20;
        match prng.below(if width == 2 { 2 } else { width as u64 }) {
            0 | 1 => near * 7,
            2 => 0x7FFF + near,
            3 => -0x8000 + near,
            4 => 0x7FFF_FFFF + near,
            5 => -0x8000_0000 + near,
            6 => i64::MAX - near.abs(),
            _ => i64::MIN + near.abs(),
        }
    }

    #[test]
    fn it_behaves_as_a_set() {
        let (seeds, steps) = if cfg!(miri) { (3, 60) } else { (30, 1000) };
        for seed in 0..seeds {
            let mut prng = Prng::new(seed);
            let mut slab = Slab::new();
            let mut intset = Intset::new(&mut slab);
            let mut model = BTreeSet::new();
            for step in 0..steps {
                let number = some_number(&mut prng, [2, 4, 8][3 * step / steps]);
                if prng.below(3) > 0 {
                    assert_eq!(intset.insert(&mut slab, number), model.insert(number));
                } else {
                    assert_eq!(intset.remove(&mut slab, number), model.remove(&number));
                }
                let view = intset.as_ref();
                assert!(view.iter().eq(model.iter().copied()));
                assert!(view.iter().rev().eq(model.iter().rev().copied()));
                assert_eq!((view.len(), view.is_empty()), (model.len(), model.is_empty()));
                assert_eq!((view.min(), view.max()), (model.first().copied(), model.last().copied()));
                assert_eq!(view.get(model.len()), None);
                let number = some_number(&mut prng, 8);
                assert_eq!(view.contains(number), model.contains(&number));
                assert_eq!(view.find(number), model.iter().position(|&other| other == number));
                assert!(view.random(&mut prng).map_or(model.is_empty(), |number| model.contains(&number)));
                assert_eq!(slab.allocated_bytes(), view.memory_bytes());
                let copy = Intset::from_bytes(view.bytes(), &mut slab).expect("sound bytes");
                assert_eq!(copy.as_ref().bytes(), view.bytes());
                copy.free(&mut slab);
            }
            intset.free(&mut slab);
            assert_eq!(slab.allocated_bytes(), 0);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless() {
        let mut slab = Slab::new();
        for numbers in [vec![], vec![1, 2, 300], vec![-70000, 5, 6], vec![i64::MIN, 0, i64::MAX]] {
            let mut intset = Intset::new(&mut slab);
            for number in numbers {
                intset.insert(&mut slab, number);
            }
            let sound = intset.as_ref().bytes().to_vec();
            intset.free(&mut slab);
            for len in 0..sound.len() {
                assert!(Intset::from_bytes(&sound[..len], &mut slab).is_none());
            }
            for bit in 0..sound.len() * 8 {
                let mut flipped = sound.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Some(intset) = Intset::from_bytes(&flipped, &mut slab) {
                    assert!(intset.as_ref().iter().all(|number| intset.as_ref().contains(number)));
                    intset.free(&mut slab);
                }
            }
        }
        let bad = [
            "03 00 00 00 00 00 00 00",
            "02 00 00 00 02 00 00 00 01 00 01 00",
            "02 00 00 00 02 00 00 00 02 00 01 00",
            "08 00 00 00 ff ff ff ff",
        ];
        for bad in bad {
            assert!(Intset::from_bytes(&hex(bad), &mut slab).is_none(), "{bad}");
        }
        assert_eq!(slab.allocated_bytes(), 0);
    }

    #[test]
    fn each_integer_is_drawn_as_often() {
        let mut slab = Slab::new();
        let mut prng = Prng::new(1);
        let mut intset = Intset::new(&mut slab);
        assert_eq!(intset.as_ref().random(&mut prng), None);
        let mut drawn = [0; 5];
        for number in 0..5 {
            intset.insert(&mut slab, number);
        }
        for _ in 0..5000 {
            drawn[intset.as_ref().random(&mut prng).unwrap() as usize] += 1;
        }
        assert!(drawn.iter().all(|&count| (850..1150).contains(&count)), "{drawn:?}");
        intset.free(&mut slab);
    }
}
