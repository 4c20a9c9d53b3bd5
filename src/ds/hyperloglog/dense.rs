//! Dense registers: six bits each, the first in the lowest bits of the first byte.

use smallvec::SmallVec;

use super::{estimate::Observation, REGISTERS};

const BITS: usize = 6;
const RANK_MASK: u16 = (1 << BITS) - 1;

/// What all registers take.
pub(super) const BYTES: usize = REGISTERS * BITS / 8;

/// The bytes that hold a register: one, or two where it lies across their border.
pub type Patch = SmallVec<[u8; 2]>;

/// All ranks: every three bytes hold four of them.
pub(super) fn ranks(registers: &[u8]) -> impl Iterator<Item = u8> + '_ {
    registers.chunks_exact(3).flat_map(|bytes| {
        let four = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        [four, four >> 6, four >> 12, four >> 18].map(|rank| rank as u8 & RANK_MASK as u8)
    })
}

/// Appends all registers with these ranks.
pub(super) fn encode(ranks: &[u8; REGISTERS], out: &mut Vec<u8>) {
    for four in ranks.chunks_exact(4) {
        let bits = four.iter().rev().fold(0u32, |bits, &rank| bits << BITS | u32::from(rank));
        out.extend_from_slice(&bits.to_le_bytes()[..3]);
    }
}

/// What to write where to give a register this rank, if it has a lower one.
pub(super) fn raised(registers: &[u8], seen: Observation) -> Option<(usize, Patch)> {
    let (at, shift) = (seen.register * BITS / 8, seen.register * BITS % 8);
    let len = (shift + BITS).div_ceil(8);
    let high = if len == 2 { registers[at + 1] } else { 0 };
    let both = u16::from_le_bytes([registers[at], high]);
    if (both >> shift & RANK_MASK) as u8 >= seen.rank {
        return None;
    }
    let both = both & !(RANK_MASK << shift) | u16::from(seen.rank) << shift;
    Some((at, Patch::from_slice(&both.to_le_bytes()[..len])))
}
