//! A run of bytes in one block of the slab, which grows and shrinks in the middle.
//!
//! The block's class is that of the bytes' length. As long as a change stays within the class it happens in place;
//! otherwise the bytes move to a block of their new class. Nobody stores a capacity.
//!
//! Not here: the length. Whoever owns the bytes finds it in them.

use std::{ops::Range, ptr::NonNull};

use super::slab::{class_size, Slab};

/// A block that holds the pieces, one after the other.
pub(super) fn from_pieces(slab: &mut Slab, pieces: &[&[u8]]) -> NonNull<u8> {
    let block = slab.alloc(total(pieces));
    // SAFETY: the block has room for all pieces, and being new it holds none of them.
    unsafe { write(block, pieces) };
    block
}

/// Puts the pieces where `range` was. The block with the result, which is the same one where the class is.
///
/// # Safety
///
/// `block` came from this slab, holds `len` initialised bytes in a block of their class, and is the caller's alone; it
/// is replaced by the result. `range` lies within the bytes, and no piece does.
pub(super) unsafe fn splice(
    slab: &mut Slab,
    block: NonNull<u8>,
    len: usize,
    range: Range<usize>,
    pieces: &[&[u8]],
) -> NonNull<u8> {
    debug_assert!(range.start <= range.end && range.end <= len);
    let inserted = total(pieces);
    let (tail, tail_len) = (range.start + inserted, len - range.end);
    let len_after = tail + tail_len;
    // SAFETY: the old block has `len` bytes and the new one, or the old one of the same class, `len_after`; all ranges
    // lie within these. The pieces lie elsewhere.
    unsafe {
        if class_size(len_after) == class_size(len) {
            block.add(range.end).copy_to(block.add(tail), tail_len);
            write(block.add(range.start), pieces);
            return block;
        }
        let moved = slab.alloc(len_after);
        moved.copy_from_nonoverlapping(block, range.start);
        write(moved.add(range.start), pieces);
        moved.add(tail).copy_from_nonoverlapping(block.add(range.end), tail_len);
        slab.free(block, len);
        moved
    }
}

fn total(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// # Safety
///
/// There is room for all pieces at `to`, and none of them lies there.
unsafe fn write(mut to: NonNull<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        // SAFETY: as the caller promises.
        unsafe {
            to.as_ptr().copy_from_nonoverlapping(piece.as_ptr(), piece.len());
            to = to.add(piece.len());
        }
    }
}
