//! From elements to registers, and from registers to an estimate.

use super::{REGISTERS, REGISTER_BITS};

/// Bits of the hash that give the rank.
const RANK_BITS: u32 = 64 - REGISTER_BITS;

/// 1 / (2 ln 2), the constant of the estimator.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// What an element tells: this register has seen this rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Which register.
    pub register: usize,
    /// From 1 to 51.
    pub rank: u8,
}

/// What to make of an element.
pub fn observe(element: &[u8]) -> Observation {
    let hash = murmur64a(element);
    let register = hash as usize & (REGISTERS - 1);
    // A bit above the rest ends the count where the rest is all zeros.
    let rest = hash >> REGISTER_BITS | 1 << RANK_BITS;
    Observation { register, rank: rest.trailing_zeros() as u8 + 1 }
}

/// MurmurHash2 of 64 bits, version A (Appleby), with Redis's seed.
fn murmur64a(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xC6A4_A793_5BD1_E995;
    const SHIFT: u32 = 47;
    const SEED: u64 = 0xADC8_3B19;
    let words = bytes.chunks_exact(8);
    let tail = words.remainder();
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    for word in words {
        let mut word = u64::from_le_bytes(word.try_into().expect("eight bytes")).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

/// How many registers have each rank.
pub(super) struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; 64])
    }
}

impl Histogram {
    /// Adds registers of a rank. Damaged runs may claim any number of them.
    #[inline]
    pub(super) fn add(&mut self, rank: u8, registers: usize) {
        let count = &mut self.0[usize::from(rank)];
        *count = count.saturating_add(registers as u32);
    }

    /// The improved raw estimator of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
    /// (arXiv 1702.01284), algorithm 6.
    pub(super) fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let share = |count: u32| f64::from(count) / registers;
        let highest = RANK_BITS as usize + 1;
        let saturated = share(self.0[highest]);
        let mut sum = registers * tau(1.0 - saturated);
        for &count in self.0[1..highest].iter().rev() {
            sum = (sum + f64::from(count)) * 0.5;
        }
        sum += registers * sigma(share(self.0[0]));
        (ALPHA * registers * registers / sum).round() as u64
    }
}

/// `x` plus the sum of `x^(2^k) * 2^(k-1)` over all k from 1 on.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

/// A third of `1 - x` less the sum of `(1 - x^(2^-k))^2 * 2^-k` over all k from 1 on.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}
