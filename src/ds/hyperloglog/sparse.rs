//! Sparse registers: runs of equal ones, one after the other.
//!
//! ```text
//! 00nnnnnn            n + 1 registers that are zero, up to 64
//! 01nnnnnn nnnnnnnn   n + 1 registers that are zero, up to 16384; the high bits come first
//! 1vvvvvnn            n + 1 registers of rank v + 1, up to four of a rank up to 32
//! ```
//!
//! A change takes the run apart that has the register, and joins neighbours of equal rank near it. Which ones it joins
//! and which it leaves is Redis's way to the last detail, for the bytes to be equal.

use smallvec::SmallVec;

use super::{estimate::Observation, Corrupt, HEADER_BYTES, REGISTERS};

/// The highest rank that a run can have.
const RANK_MAX: u8 = 32;

/// The longest run of a rank above zero.
const RANKED_MAX: usize = 4;

/// The longest run of zeros in one byte.
const ZEROS_MAX: usize = 64;

/// How many runs are looked at for neighbours to join.
const JOINS_LOOKED_AT: usize = 5;

/// Some registers of the same rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) rank: u8,
    pub(super) registers: usize,
}

impl Run {
    /// The run that the bytes begin with, and how many bytes it takes. Where the second byte is missing it counts as
    /// zero; the runs are not whole then, or this one is longer than the bytes.
    fn decode(bytes: &[u8]) -> Option<(Run, usize)> {
        let &first = bytes.first()?;
        let low = usize::from(first & 0x3F);
        Some(match first >> 6 {
            0 => (Run { rank: 0, registers: low + 1 }, 1),
            1 => {
                let second = usize::from(bytes.get(1).copied().unwrap_or(0));
                (Run { rank: 0, registers: (low << 8 | second) + 1 }, 2)
            }
            _ => (Run { rank: (first >> 2 & 0x1F) + 1, registers: usize::from(first & 3) + 1 }, 1),
        })
    }

    /// Appends the run: nothing where it is empty.
    pub(super) fn encode(self, out: &mut impl Extend<u8>) {
        debug_assert!(self.rank <= RANK_MAX && self.registers <= REGISTERS);
        let Some(more) = self.registers.checked_sub(1) else { return };
        match self.rank {
            0 if self.registers <= ZEROS_MAX => out.extend([more as u8]),
            0 => out.extend([0x40 | (more >> 8) as u8, more as u8]),
            rank => out.extend([0x80 | (rank - 1) << 2 | more as u8]),
        }
    }
}

/// All runs, with the bytes that each takes.
pub(super) fn runs(mut bytes: &[u8]) -> impl Iterator<Item = (Run, usize)> + '_ {
    std::iter::from_fn(move || {
        let (run, len) = Run::decode(bytes)?;
        bytes = bytes.get(len..).unwrap_or_default();
        Some((run, len))
    })
}

/// Where to begin to look for a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Where a run begins.
    at: usize,
    /// Its first register.
    first: usize,
    /// Where the run before it begins.
    before: Option<usize>,
}

impl Cursor {
    /// At the first run.
    pub(super) const START: Cursor = Cursor { at: HEADER_BYTES, first: 0, before: None };
}

/// What became of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// It had the rank, or a higher one.
    No,
    /// It has the rank now.
    Yes,
    /// There is no room for it in the sparse form; nothing was changed.
    NoRoom,
}

/// Gives a register a rank. Afterwards the cursor is good for registers that come later.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    cursor: &mut Cursor,
    seen: Observation,
    bytes_max: usize,
) -> Result<Raised, Corrupt> {
    if seen.rank > RANK_MAX {
        return Ok(Raised::NoRoom);
    }
    let (mut here, mut before) = (*cursor, None);
    let (run, len) = loop {
        let (run, len) = Run::decode(&bytes[here.at..]).ok_or(Corrupt)?;
        if here.at + len > bytes.len() {
            return Err(Corrupt);
        }
        if seen.register < here.first + run.registers {
            break (run, len);
        }
        before = Some(here);
        here = Cursor { at: here.at + len, first: here.first + run.registers, before: Some(here.at) };
    };
    // Where the run was found at once, it may be joined to the one before, of which no more is known.
    *cursor = before.unwrap_or(Cursor::START);
    if run.rank >= seen.rank {
        return Ok(Raised::No);
    }
    let before = seen.register - here.first;
    let mut parts = SmallVec::<[u8; 5]>::new();
    Run { registers: before, ..run }.encode(&mut parts);
    Run { rank: seen.rank, registers: 1 }.encode(&mut parts);
    Run { registers: run.registers - before - 1, ..run }.encode(&mut parts);
    if parts.len() > len && bytes.len() + parts.len() - len > bytes_max {
        return Ok(Raised::NoRoom);
    }
    bytes.splice(here.at..here.at + len, parts);
    join(bytes, here.before.unwrap_or(HEADER_BYTES));
    Ok(Raised::Yes)
}

/// Joins neighbours of equal rank, from the run at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINS_LOOKED_AT {
        let Some((run, len)) = bytes.get(at..).and_then(Run::decode) else { return };
        let next = bytes.get(at + len..).and_then(Run::decode);
        match next {
            Some((next, _))
                if run.rank > 0 && next.rank == run.rank && run.registers + next.registers <= RANKED_MAX =>
            {
                let mut joined = SmallVec::<[u8; 1]>::new();
                Run { registers: run.registers + next.registers, ..run }.encode(&mut joined);
                bytes.splice(at..at + 2, joined);
            }
            _ => at += len,
        }
    }
}
