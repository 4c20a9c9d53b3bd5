//! A member of a large sorted set: one block of the slab.
//!
//! ```text
//! 0          8       9        then
//! | score    | len   | len of long members, u32 | bytes
//! | f64      | u8    | (len is 255 then)        |
//! ```
//!
//! Invariant: the block came from the slab with a length of class `block_bytes()`.

use std::{marker::PhantomData, ptr::NonNull};

use crate::ds::{
    slab::{class_size, Slab},
    table::Element,
};

const LEN_AT: usize = 8;
const BYTES_AT: usize = 9;
/// What stands for a length that does not fit one byte.
const LONG: u8 = u8::MAX;
const LONG_LEN_BYTES: usize = 4;

/// A member and its block. Whoever has it must give it to a table or free it.
pub(super) struct Member(NonNull<u8>);

/// A member to look at.
#[derive(Clone, Copy)]
pub(super) struct MemberRef<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a [u8]>,
}

/// A member whose score is changed.
pub(super) struct MemberMut<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a mut [u8]>,
}

/// Where the bytes of a member of this length begin.
#[inline]
fn bytes_at(len: usize) -> usize {
    if len < usize::from(LONG) {
        BYTES_AT
    } else {
        BYTES_AT + LONG_LEN_BYTES
    }
}

impl Member {
    /// A new member.
    ///
    /// # Panics
    /// If it has 4 GiB or more: no request has such an argument.
    pub(super) fn new(slab: &mut Slab, bytes: &[u8], score: f64) -> Member {
        let at = bytes_at(bytes.len());
        let raw = slab.alloc(at + bytes.len());
        // SAFETY: the block has `at + bytes.len()` bytes, is aligned to 8, and nobody else has it.
        unsafe {
            raw.cast::<f64>().write(score);
            if at == BYTES_AT {
                raw.add(LEN_AT).write(bytes.len() as u8);
            } else {
                raw.add(LEN_AT).write(LONG);
                let len = u32::try_from(bytes.len()).expect("a member is shorter than 4 GiB");
                raw.add(BYTES_AT).cast::<[u8; LONG_LEN_BYTES]>().write(len.to_le_bytes());
            }
            raw.add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        Member(raw)
    }

    /// The member, to look at.
    pub(super) fn as_ref(&self) -> MemberRef<'_> {
        MemberRef { raw: self.0, borrow: PhantomData }
    }

    /// Bytes of the block of a member of this length.
    pub(super) fn bytes_for(len: usize) -> usize {
        class_size(bytes_at(len) + len)
    }
}

impl<'a> MemberRef<'a> {
    /// The member at `raw`.
    ///
    /// # Safety
    ///
    /// `raw` came from `MemberRef::raw`, and nobody frees or changes the member during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        MemberRef { raw, borrow: PhantomData }
    }

    /// Where the member lies: while it lives, this tells it from all others.
    #[inline]
    pub(super) fn raw(self) -> NonNull<u8> {
        self.raw
    }

    /// Its bytes.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        // SAFETY: a member's block has a length and then so many bytes, which stay for `'a`.
        unsafe {
            let (at, len) = match self.raw.add(LEN_AT).read() {
                LONG => {
                    let len = self.raw.add(BYTES_AT).cast::<[u8; LONG_LEN_BYTES]>().read();
                    (BYTES_AT + LONG_LEN_BYTES, u32::from_le_bytes(len) as usize)
                }
                len => (BYTES_AT, usize::from(len)),
            };
            std::slice::from_raw_parts(self.raw.add(at).as_ptr(), len)
        }
    }

    /// Its score.
    #[inline]
    pub(super) fn score(self) -> f64 {
        // SAFETY: a member's block starts with its score.
        unsafe { self.raw.cast().read() }
    }

    /// Bytes of its block.
    pub(super) fn block_bytes(self) -> usize {
        Member::bytes_for(self.bytes().len())
    }
}

impl MemberMut<'_> {
    /// Changes the score.
    pub(super) fn set_score(&mut self, score: f64) {
        // SAFETY: a member's block starts with its score, and we alone use it.
        unsafe { self.raw.cast().write(score) }
    }
}

// SAFETY: blocks of the slab are multiples of 8, in user space below 2^48, and stay until they are freed; the borrows
// only look through the pointer.
unsafe impl Element for Member {
    type Ref<'a> = MemberRef<'a>;
    type Mut<'a> = MemberMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Member(raw)
    }

    #[inline]
    unsafe fn borrow<'a>(raw: NonNull<u8>) -> MemberRef<'a> {
        MemberRef { raw, borrow: PhantomData }
    }

    #[inline]
    unsafe fn borrow_mut<'a>(raw: NonNull<u8>) -> MemberMut<'a> {
        MemberMut { raw, borrow: PhantomData }
    }

    #[inline]
    fn key<'a>(element: Self::Ref<'a>) -> &'a [u8] {
        element.bytes()
    }

    fn free(self, slab: &mut Slab) {
        let len = self.as_ref().block_bytes();
        // SAFETY: the block is ours and ends here; it came from the one slab of its shard.
        unsafe { slab.free(self.0, len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_every_length() {
        let mut slab = Slab::new();
        for len in (0..300).chain([5000, 70_000]) {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut member = Member::new(&mut slab, &bytes, 1.5);
            assert_eq!((member.as_ref().bytes(), member.as_ref().score()), (&bytes[..], 1.5));
            assert_eq!(member.as_ref().block_bytes(), slab.allocated_bytes());
            // SAFETY: nobody else looks at it.
            unsafe { Member::borrow_mut(member.0) }.set_score(-2.0);
            assert_eq!(member.as_ref().score(), -2.0);
            member = {
                let raw = member.into_raw();
                // SAFETY: it came from `into_raw`.
                unsafe { Member::from_raw(raw) }
            };
            member.free(&mut slab);
            assert_eq!(slab.allocated_bytes(), 0);
        }
        assert_eq!(Member::bytes_for(16), 32);
    }
}
