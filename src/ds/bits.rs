//! Bytes as an array of bits, the way Redis counts them: bit 0 is the highest of the first byte.
//!
//! Counting and searching go word by word. Beyond the last byte all bits are clear.
//!
//! Not here: how commands name ranges, and what integers overflow to.

use std::ops::Range;

/// The bit at `at`.
#[inline]
pub fn get(bytes: &[u8], at: u64) -> bool {
    let byte = usize::try_from(at / 8).ok().and_then(|byte| bytes.get(byte));
    byte.is_some_and(|byte| byte & mask(at) != 0)
}

/// The byte that holds the bit at `at`, with that bit set or cleared.
#[inline]
pub fn with(byte: u8, at: u64, bit: bool) -> u8 {
    match bit {
        true => byte | mask(at),
        false => byte & !mask(at),
    }
}

/// How many bits are set in a range, which lies within the bytes.
pub fn count(bytes: &[u8], bits: Range<u64>) -> u64 {
    if bits.is_empty() {
        return 0;
    }
    let last = bits.end - 1;
    let bytes = &bytes[(bits.start / 8) as usize..=(last / 8) as usize];
    // Whole bytes are counted, and what they hold before and after the range is taken off.
    let before = bytes[0] & !from(bits.start);
    let after = bytes[bytes.len() - 1] & (from(last) ^ mask(last));
    let words = bytes.chunks_exact(8);
    let tail: u32 = words.remainder().iter().map(|byte| byte.count_ones()).sum();
    let whole: u64 = words.map(|word| u64::from(word_of(word).count_ones())).sum();
    whole + u64::from(tail) - u64::from(before.count_ones() + after.count_ones())
}

/// The first bit of a range that is `bit`; the range lies within the bytes.
pub fn find(bytes: &[u8], bit: bool, bits: Range<u64>) -> Option<u64> {
    if bits.is_empty() {
        return None;
    }
    // What turns every word into one whose set bits are those looked for.
    let turn = if bit { 0 } else { u64::MAX };
    let (first, end) = ((bits.start / 8) as usize, bits.end.div_ceil(8) as usize);
    let head = (bytes[first] ^ turn as u8) & from(bits.start);
    let found = match head {
        0 => first_set(&bytes[first + 1..end], turn).map(|at| (first as u64 + 1) * 8 + at),
        _ => Some(first as u64 * 8 + u64::from(head.leading_zeros())),
    };
    found.filter(|&at| at < bits.end)
}

/// The first bit that is set once the words are turned.
fn first_set(bytes: &[u8], turn: u64) -> Option<u64> {
    let words = bytes.chunks_exact(8);
    let tail = words.remainder();
    let in_words = words.enumerate().find_map(|(place, word)| {
        let word = word_of(word) ^ turn;
        (word != 0).then(|| place as u64 * 64 + u64::from(word.leading_zeros()))
    });
    in_words.or_else(|| {
        let start = (bytes.len() - tail.len()) as u64 * 8;
        tail.iter().enumerate().find_map(|(place, byte)| {
            let byte = byte ^ turn as u8;
            (byte != 0).then(|| start + place as u64 * 8 + u64::from(byte.leading_zeros()))
        })
    })
}

/// How two arrays of bits become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Set where both are.
    And,
    /// Set where one of them is.
    Or,
    /// Set where exactly one of them is.
    Xor,
}

/// Combines `other` into `into`, which grows to its length.
pub fn combine(into: &mut Vec<u8>, how: Combine, other: &[u8]) {
    if into.len() < other.len() {
        into.resize(other.len(), 0);
    }
    let (common, rest) = into.split_at_mut(other.len());
    let pairs = common.iter_mut().zip(other);
    match how {
        Combine::And => {
            pairs.for_each(|(byte, other)| *byte &= other);
            rest.fill(0);
        }
        Combine::Or => pairs.for_each(|(byte, other)| *byte |= other),
        Combine::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
    }
}

/// Turns every bit over.
pub fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// A field of 1 to 64 bits anywhere in the array, and the up to nine bytes around it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The bytes from the field's first on, the first of them the highest.
    window: u128,
    /// How far up in the window the field's lowest bit is.
    shift: u32,
    width: u32,
    first: u64,
}

impl Field {
    /// The field of `width` bits from `at` on; what lies beyond the bytes reads as clear.
    pub fn new(bytes: &[u8], at: u64, width: u32) -> Field {
        debug_assert!((1..=64).contains(&width));
        let (first, skipped) = (at / 8, (at % 8) as u32);
        let there = usize::try_from(first).ok().and_then(|first| bytes.get(first..)).unwrap_or_default();
        let len = there.len().min(16);
        let mut window = [0; 16];
        window[..len].copy_from_slice(&there[..len]);
        Field { window: u128::from_be_bytes(window), shift: 128 - skipped - width, width, first }
    }

    /// The field's bits as a number.
    pub fn get(self) -> u64 {
        (self.window >> self.shift) as u64 & self.ones()
    }

    /// Sets the field's bits to the lowest of `value`.
    pub fn set(&mut self, value: u64) {
        self.window &= !(u128::from(self.ones()) << self.shift);
        self.window |= u128::from(value & self.ones()) << self.shift;
    }

    /// The first byte that holds a part of the field.
    pub fn first_byte(self) -> u64 {
        self.first
    }

    /// How many bytes hold a part of the field.
    pub fn len_bytes(self) -> usize {
        (128 - self.shift).div_ceil(8) as usize
    }

    /// The bytes: `len_bytes` of these are the field's.
    pub fn bytes(self) -> [u8; 16] {
        self.window.to_be_bytes()
    }

    fn ones(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }
}

/// The bit's place in its byte.
#[inline]
fn mask(at: u64) -> u8 {
    0x80 >> (at % 8)
}

/// The bit's place in its byte, and all after it.
#[inline]
fn from(at: u64) -> u8 {
    0xFF >> (at % 8)
}

#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn model(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1 == 1)).collect()
    }

    /// Bytes of which many are all ones or all zeros, so that searches go far.
    fn bytes(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![3 => Just(0u8), 3 => Just(0xFF), 1 => any::<u8>()], 0..len_max)
    }

    fn range(len: u64, ends: (u64, u64)) -> Range<u64> {
        let (a, b) = (ends.0 % (len * 8 + 1), ends.1 % (len * 8 + 1));
        a.min(b)..a.max(b)
    }

    proptest! {
        #[test]
        fn counting_and_searching_agree_with_a_vector_of_bits(bytes in bytes(40), ends: (u64, u64), bit: bool) {
            let bits = range(bytes.len() as u64, ends);
            let model = model(&bytes);
            let part = &model[bits.start as usize..bits.end as usize];
            prop_assert_eq!(count(&bytes, bits.clone()), part.iter().filter(|&&bit| bit).count() as u64);
            let found = part.iter().position(|&b| b == bit).map(|at| bits.start + at as u64);
            prop_assert_eq!(find(&bytes, bit, bits), found);
        }

        #[test]
        fn single_bits(mut bytes in vec(any::<u8>(), 1..20), at in 0u64..160, bit: bool) {
            let mut model = model(&bytes);
            prop_assert_eq!(get(&bytes, at), model.get(at as usize).copied().unwrap_or(false));
            if let Some(byte) = bytes.get_mut(at as usize / 8) {
                *byte = with(*byte, at, bit);
                model[at as usize] = bit;
            }
            prop_assert_eq!(super::tests::model(&bytes), model);
        }

        #[test]
        fn combining_agrees_bit_by_bit(a in bytes(30), b in bytes(30)) {
            for (how, op) in [
                (Combine::And, (|a, b| a && b) as fn(bool, bool) -> bool),
                (Combine::Or, |a, b| a || b),
                (Combine::Xor, |a, b| a != b),
            ] {
                let mut combined = a.clone();
                combine(&mut combined, how, &b);
                prop_assert_eq!(combined.len(), a.len().max(b.len()));
                let (a, b) = (model(&a), model(&b));
                let bit = |bits: &[bool], at| bits.get(at).copied().unwrap_or(false);
                let expected: Vec<_> = (0..combined.len() * 8).map(|at| op(bit(&a, at), bit(&b, at))).collect();
                prop_assert_eq!(model(&combined), expected);
            }
            let mut inverted = a.clone();
            invert(&mut inverted);
            prop_assert_eq!(model(&inverted), model(&a).iter().map(|bit| !bit).collect::<Vec<_>>());
        }

        #[test]
        fn fields_agree_with_a_vector_of_bits(
            bytes in vec(any::<u8>(), 0..20),
            at in 0u64..200,
            width in 1u32..=64,
            value: u64,
        ) {
            let mut bits = model(&bytes);
            let end = at as usize + width as usize;
            bits.resize(bits.len().max(end.next_multiple_of(8)), false);
            let mut field = Field::new(&bytes, at, width);
            let number = |bits: &[bool]| bits.iter().fold(0u64, |sum, &bit| sum << 1 | u64::from(bit));
            prop_assert_eq!(field.get(), number(&bits[at as usize..end]));

            field.set(value);
            for place in 0..width {
                bits[end - 1 - place as usize] = value >> place & 1 == 1;
            }
            prop_assert_eq!(field.get(), number(&bits[at as usize..end]));
            let (first, len) = (field.first_byte() as usize, field.len_bytes());
            prop_assert_eq!(first + len, end.div_ceil(8));
            let mut changed = bytes.clone();
            changed.resize(bits.len() / 8, 0);
            changed[first..first + len].copy_from_slice(&field.bytes()[..len]);
            prop_assert_eq!(model(&changed), bits);
        }
    }
}
