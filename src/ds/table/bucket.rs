//! A bucket: one cache line of eight slots.
//!
//! ```text
//! 0        2        4              16           22           28             58          64
//! | tag 0  | tag 1  | ...  tag 7   | pointer 0  | pointer 1  |  ...         | pointer 7  |
//! ```
//!
//! A tag of zero says that the slot is free. A pointer has 48 bits and is a multiple of 8; its low three bits are ours:
//! bit 0 says that the element is volatile, bits 1 and 2 of pointers 0 and 1 together are the overflow count. That
//! count belongs to the bucket, not to the slots, and stays when they change.

use super::Word;

/// How many elements a bucket holds.
pub(super) const SLOTS: usize = 8;

/// The overflow count where it is stored: two bits above the volatile bit of pointer 0, two of pointer 1.
const OVERFLOW_MASK: u64 = 6 | 6 << 48;

/// The count stops here: from then on nobody knows how many, and it stays until the bucket is built anew.
const OVERFLOW_MAX: u8 = 15;

const POINTERS_AT: usize = 16;
const POINTER_BYTES: usize = 6;
const WORD_MASK: u64 = Word::ADDRESS_MASK | Word::VOLATILE;

#[repr(C, align(64))]
pub(super) struct Bucket([u8; 64]);

/// A set of slots, one bit each, walked from the lowest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots(u32);

impl Bucket {
    /// The slots with this tag; with tag 0 the free ones.
    #[inline(always)]
    pub(super) fn matching(&self, tag: u16) -> Slots {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is part of x86_64; the bucket is aligned and longer than 16 bytes.
        unsafe {
            use std::arch::x86_64::{
                _mm_cmpeq_epi16, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
                _mm_setzero_si128,
            };
            let tags = _mm_load_si128(self.0.as_ptr().cast());
            let equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(tag as i16));
            Slots(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Slots((0..SLOTS).fold(0, |slots, slot| slots | u32::from(self.tag(slot) == tag) << slot))
        }
    }

    /// The slots that hold an element.
    #[inline(always)]
    pub(super) fn occupied(&self) -> Slots {
        Slots(self.matching(0).0 ^ 0xFF)
    }

    /// The slots that hold a volatile element.
    #[inline]
    pub(super) fn volatile(&self) -> Slots {
        Slots((0..SLOTS).fold(0, |slots, slot| slots | ((self.word(slot).is_volatile() as u32) << slot)))
    }

    #[inline]
    pub(super) fn tag(&self, slot: usize) -> u16 {
        let at = 2 * (slot % SLOTS);
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    /// The element in a slot, as it was put there; zero in a free one.
    #[inline(always)]
    pub(super) fn word(&self, slot: usize) -> Word {
        // The eight bytes that end with the pointer: those before it are shifted out.
        Word(self.bytes_at(pointer_at(slot) - 2) >> 16 & WORD_MASK)
    }

    /// Puts an element into a free slot, or another in the place of the one that is there.
    #[inline]
    pub(super) fn fill(&mut self, slot: usize, tag: u16, word: Word) {
        debug_assert!(tag != 0 && word.0 & !WORD_MASK == 0);
        self.write(slot, tag, word);
    }

    /// `fill` for a bucket that is being built: with no overflow count yet.
    #[inline(always)]
    pub(super) fn fill_new(&mut self, slot: usize, tag: u16, word: Word) {
        let at = 2 * (slot % SLOTS);
        self.0[at..at + 2].copy_from_slice(&tag.to_le_bytes());
        let at = pointer_at(slot);
        self.0[at..at + POINTER_BYTES].copy_from_slice(&word.0.to_le_bytes()[..POINTER_BYTES]);
    }

    #[inline]
    pub(super) fn clear(&mut self, slot: usize) {
        self.write(slot, 0, Word(0));
    }

    /// Whether elements that came by here had to go on to the next bucket.
    #[inline(always)]
    pub(super) fn overflowed(&self) -> bool {
        self.bytes_at(POINTERS_AT) & OVERFLOW_MASK != 0
    }

    /// An element came by and went on.
    pub(super) fn count_overflow(&mut self) {
        let count = self.overflow();
        if count < OVERFLOW_MAX {
            self.set_overflow(count + 1);
        }
    }

    /// An element that had come by is gone.
    pub(super) fn uncount_overflow(&mut self) {
        let count = self.overflow();
        debug_assert!(count > 0);
        if count < OVERFLOW_MAX {
            self.set_overflow(count - 1);
        }
    }

    fn overflow(&self) -> u8 {
        let bits = self.bytes_at(POINTERS_AT);
        (bits >> 1 & 3 | bits >> 47 & 12) as u8
    }

    /// Sets the overflow count, as far as it can count.
    pub(super) fn set_overflow(&mut self, count: u8) {
        let count = u64::from(count.min(OVERFLOW_MAX));
        let bits = self.bytes_at(POINTERS_AT) & !OVERFLOW_MASK | (count & 3) << 1 | (count & 12) << 47;
        self.0[POINTERS_AT..POINTERS_AT + 8].copy_from_slice(&bits.to_le_bytes());
    }

    #[inline]
    fn write(&mut self, slot: usize, tag: u16, word: Word) {
        let at = 2 * (slot % SLOTS);
        self.0[at..at + 2].copy_from_slice(&tag.to_le_bytes());
        let at = pointer_at(slot);
        let bits = word.0 | u64::from(self.0[at] & 6);
        self.0[at..at + POINTER_BYTES].copy_from_slice(&bits.to_le_bytes()[..POINTER_BYTES]);
    }

    #[inline(always)]
    fn bytes_at(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

/// Where a pointer starts. The remainder tells the compiler that it lies in the bucket.
#[inline(always)]
fn pointer_at(slot: usize) -> usize {
    POINTERS_AT + POINTER_BYTES * (slot % SLOTS)
}

impl Slots {
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        // A set has eight bits; the mask tells the compiler so.
        Some(slot % SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn slots_flags_and_overflow_do_not_disturb_each_other() {
        let mut prng = Prng::new(1);
        let mut bucket = Bucket([0; 64]);
        let mut model = [(0u16, Word(0)); SLOTS];
        let mut overflow = 0u8;
        for _ in 0..10_000 {
            let slot = prng.below(8) as usize;
            match prng.below(4) {
                0 => {
                    bucket.clear(slot);
                    model[slot] = (0, Word(0));
                }
                1 if overflow < OVERFLOW_MAX => {
                    bucket.count_overflow();
                    overflow += 1;
                }
                2 if overflow > 0 && overflow < OVERFLOW_MAX => {
                    bucket.uncount_overflow();
                    overflow -= 1;
                }
                _ => {
                    let tag = 1 + prng.below(5) as u16;
                    model[slot] = (tag, Word(prng.next_u64() & WORD_MASK));
                    bucket.fill(slot, tag, model[slot].1);
                }
            }
            assert_eq!(bucket.overflow(), overflow);
            assert_eq!(bucket.overflowed(), overflow > 0);
            for tag in 0..6 {
                let expected: Vec<usize> = (0..SLOTS).filter(|&slot| model[slot].0 == tag).collect();
                assert_eq!(bucket.matching(tag).collect::<Vec<_>>(), expected);
            }
            assert_eq!(bucket.occupied().count(), model.iter().filter(|(tag, _)| *tag != 0).count());
            let volatile: Vec<usize> = (0..SLOTS).filter(|&slot| model[slot].1.is_volatile()).collect();
            assert_eq!(bucket.volatile().collect::<Vec<_>>(), volatile);
            for (slot, &(tag, word)) in model.iter().enumerate() {
                assert_eq!((bucket.tag(slot), bucket.word(slot)), (tag, word));
            }
            if overflow == OVERFLOW_MAX && prng.below(20) == 0 {
                bucket.count_overflow();
                bucket.uncount_overflow();
                assert_eq!(bucket.overflow(), OVERFLOW_MAX, "a saturated count stays");
                (bucket, model, overflow) = (Bucket([0; 64]), [(0, Word(0)); SLOTS], 0);
            }
        }
    }
}
