//! HyperLogLog: how many different elements a set has, estimated from 16384 registers of six bits.
//!
//! An element's hash chooses a register and gives a rank: one more than the zero bits that its rest ends with. A
//! register holds the highest rank it was given. The bytes are Redis's, since clients read and write them with GET and
//! SET, and equal commands make equal bytes:
//!
//! ```text
//! 0         4          5         8                   16
//! | "HYLL"  | encoding | zeros   | cached estimate   | registers
//! ```
//!
//! The estimate is little-endian; its highest bit tells that it is out of date. Encoding 0 is dense: the registers one
//! after the other, each from its lowest bit up (`dense.rs`). Encoding 1 is sparse: runs of equal registers
//! (`sparse.rs`), up to a size that the configuration says; then it becomes dense for good.
//!
//! Invariant: the bytes behind a `HyperLogLogRef` have a header, and a dense one has its exact length. Whether sparse
//! runs are whole is seen where they are read: a client may have written anything.
//!
//! Not here: keys, commands, and where the bytes are kept.

mod dense;
mod estimate;
mod sparse;

#[cfg(test)]
mod tests;

pub use dense::Patch;
pub use estimate::{observe, Observation};

use estimate::Histogram;
use sparse::{Cursor, Raised, Run};

/// How many registers there are.
pub const REGISTERS: usize = 1 << REGISTER_BITS;

/// Bits of the hash that choose the register.
const REGISTER_BITS: u32 = 14;

const MAGIC: &[u8] = b"HYLL";
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + dense::BYTES;
const ENCODING_AT: usize = 4;
const ENCODING_DENSE: u8 = 0;
const ENCODING_SPARSE: u8 = 1;

/// Where the cached estimate is.
pub const ESTIMATE_AT: usize = 8;

/// The last byte of the estimate, whose highest bit tells that it is out of date.
pub const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// The runs of a sparse one do not make up all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// A HyperLogLog to read.
#[derive(Clone, Copy, Debug)]
pub struct HyperLogLogRef<'a>(&'a [u8]);

impl<'a> HyperLogLogRef<'a> {
    /// The one in these bytes, if they have its form.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let is_one = bytes.len() >= HEADER_BYTES
            && bytes.starts_with(MAGIC)
            && match bytes[ENCODING_AT] {
                ENCODING_DENSE => bytes.len() == DENSE_BYTES,
                encoding => encoding == ENCODING_SPARSE,
            };
        is_one.then_some(HyperLogLogRef(bytes))
    }

    /// Its bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it is dense.
    pub fn is_dense(self) -> bool {
        self.0[ENCODING_AT] == ENCODING_DENSE
    }

    /// The estimate that was made last, if nothing was added since.
    pub fn cached(self) -> Option<u64> {
        let estimate = self.0[ESTIMATE_AT..HEADER_BYTES].try_into().expect("eight bytes");
        (self.0[STALE_AT] & STALE == 0).then(|| u64::from_le_bytes(estimate))
    }

    /// The last byte of an estimate that is out of date from now on.
    pub fn stale_byte(self) -> u8 {
        self.0[STALE_AT] | STALE
    }

    /// Estimates how many different elements were added.
    ///
    /// # Errors
    /// If the runs are not whole.
    pub fn estimate(self) -> Result<u64, Corrupt> {
        let mut histogram = Histogram::default();
        if self.is_dense() {
            dense::ranks(self.registers()).for_each(|rank| histogram.add(rank, 1));
        } else {
            let mut registers = 0;
            for (run, _) in sparse::runs(self.registers()) {
                registers += run.registers;
                histogram.add(run.rank, run.registers);
            }
            if registers != REGISTERS {
                return Err(Corrupt);
            }
        }
        Ok(histogram.estimate())
    }

    /// The ranks of a dense one, register by register.
    pub fn ranks(self) -> impl Iterator<Item = u8> + 'a {
        debug_assert!(self.is_dense());
        dense::ranks(self.registers())
    }

    /// The runs of a sparse one as PFDEBUG DECODE shows them: `z:n` are n zeros in one byte, `Z:n` in two, `v:r,n` n
    /// registers of rank r.
    pub fn runs_text(self) -> String {
        debug_assert!(!self.is_dense());
        let runs = sparse::runs(self.registers()).map(|(run, len)| match (run.rank, len) {
            (0, 1) => format!("z:{}", run.registers),
            (0, _) => format!("Z:{}", run.registers),
            (rank, _) => format!("v:{rank},{}", run.registers),
        });
        runs.collect::<Vec<_>>().join(" ")
    }

    /// What to write where in a dense one to give a register this rank: one or two bytes. `None` if it has it, or a
    /// higher one.
    pub fn raised(self, seen: Observation) -> Option<(usize, Patch)> {
        debug_assert!(self.is_dense());
        let (at, patch) = dense::raised(self.registers(), seen)?;
        Some((HEADER_BYTES + at, patch))
    }

    fn registers(self) -> &'a [u8] {
        &self.0[HEADER_BYTES..]
    }
}

/// A HyperLogLog to change.
#[derive(Clone, Debug)]
pub struct HyperLogLog(Vec<u8>);

impl HyperLogLog {
    /// One to which nothing was added: sparse.
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 2);
        bytes.extend_from_slice(MAGIC);
        bytes.resize(HEADER_BYTES, 0);
        bytes[ENCODING_AT] = ENCODING_SPARSE;
        Run { rank: 0, registers: REGISTERS }.encode(&mut bytes);
        HyperLogLog(bytes)
    }

    /// To read it.
    pub fn as_ref(&self) -> HyperLogLogRef<'_> {
        HyperLogLogRef(&self.0)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives a register a rank, if it has a lower one; whether it had. A sparse one becomes dense where it would have
    /// more than `sparse_bytes_max` bytes.
    ///
    /// # Errors
    /// If the runs do not reach to the register or, where it has to become dense, are not whole.
    pub fn raise(&mut self, seen: Observation, sparse_bytes_max: usize) -> Result<bool, Corrupt> {
        let mut cursor = Cursor::START;
        self.raise_from(&mut cursor, seen, sparse_bytes_max)
    }

    /// Gives every register the rank that it has in `registers`, where that is higher.
    ///
    /// # Errors
    /// As `raise`.
    pub fn raise_all(&mut self, registers: &Registers, sparse_bytes_max: usize) -> Result<(), Corrupt> {
        let mut cursor = Cursor::START;
        for (register, &rank) in registers.0.iter().enumerate().filter(|(_, &rank)| rank > 0) {
            self.raise_from(&mut cursor, Observation { register, rank }, sparse_bytes_max)?;
        }
        Ok(())
    }

    fn raise_from(
        &mut self,
        cursor: &mut Cursor,
        seen: Observation,
        sparse_bytes_max: usize,
    ) -> Result<bool, Corrupt> {
        if !self.as_ref().is_dense() {
            match sparse::raise(&mut self.0, cursor, seen, sparse_bytes_max)? {
                Raised::No => return Ok(false),
                Raised::Yes => {
                    self.0[STALE_AT] |= STALE;
                    return Ok(true);
                }
                Raised::NoRoom => self.make_dense()?,
            }
        }
        let Some((at, patch)) = self.as_ref().raised(seen) else { return Ok(false) };
        self.0[at..at + patch.len()].copy_from_slice(&patch);
        self.0[STALE_AT] |= STALE;
        Ok(true)
    }

    /// Makes it dense, if it is not. The cached estimate stays.
    ///
    /// # Errors
    /// If the runs are not whole.
    pub fn make_dense(&mut self) -> Result<(), Corrupt> {
        if self.as_ref().is_dense() {
            return Ok(());
        }
        let mut registers = Registers::new();
        registers.add(self.as_ref())?;
        self.0.truncate(HEADER_BYTES);
        self.0[ENCODING_AT] = ENCODING_DENSE;
        dense::encode(&registers.0, &mut self.0);
        Ok(())
    }

    /// Takes note that the cached estimate is out of date.
    pub fn make_stale(&mut self) {
        self.0[STALE_AT] |= STALE;
    }
}

impl Default for HyperLogLog {
    fn default() -> Self {
        HyperLogLog::new()
    }
}

impl From<HyperLogLogRef<'_>> for HyperLogLog {
    fn from(bytes: HyperLogLogRef<'_>) -> Self {
        HyperLogLog(bytes.0.to_vec())
    }
}

/// The ranks of all registers, a byte each: what several HyperLogLogs are merged in.
#[derive(Clone, Debug)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Registers {
    /// Those of a HyperLogLog to which nothing was added.
    pub fn new() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }

    /// Gives each register the rank that it has in `other`, where that is higher.
    ///
    /// # Errors
    /// If the runs of `other` are not whole; some of them may be merged then.
    pub fn add(&mut self, other: HyperLogLogRef<'_>) -> Result<(), Corrupt> {
        if other.is_dense() {
            self.0.iter_mut().zip(other.ranks()).for_each(|(mine, rank)| *mine = rank.max(*mine));
            return Ok(());
        }
        let mut first = 0;
        for (run, _) in sparse::runs(other.registers()) {
            let end = first + run.registers;
            let mine = self.0.get_mut(first..end).ok_or(Corrupt)?;
            // Most registers of a sparse one are zero.
            if run.rank > 0 {
                mine.iter_mut().for_each(|mine| *mine = run.rank.max(*mine));
            }
            first = end;
        }
        match first {
            REGISTERS => Ok(()),
            _ => Err(Corrupt),
        }
    }

    /// Estimates how many different elements were added to one of those merged.
    pub fn estimate(&self) -> u64 {
        let mut histogram = Histogram::default();
        self.0.iter().for_each(|&rank| histogram.add(rank, 1));
        histogram.estimate()
    }
}

impl Default for Registers {
    fn default() -> Self {
        Registers::new()
    }
}
