//! A member of a large set: its bytes and their number in one block of the slab.
//!
//! ```text
//! short    0        1
//!          | length | bytes |                 up to 254 bytes
//!
//! long     0        1             5
//!          | 255    | length, u32 | bytes |
//! ```
//!
//! Invariant: the block came from the slab with the length `block_len` of these bytes.

use std::{marker::PhantomData, ptr::NonNull};

use crate::ds::{
    bytes::same_bytes,
    slab::{class_size, Slab},
    table::Element,
};

/// The length byte of a long member.
const LONG: u8 = 0xFF;
const SHORT_HEADER: usize = 1;
const LONG_HEADER: usize = 1 + size_of::<u32>();

/// A member and its block. Whoever has it must give it to a table or free it.
pub(super) struct Member(NonNull<u8>);

/// A member to look at.
#[derive(Clone, Copy)]
pub(super) struct MemberRef<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a [u8]>,
}

impl Member {
    /// A new member.
    pub(super) fn new(slab: &mut Slab, bytes: &[u8]) -> Self {
        let raw = slab.alloc(block_len(bytes.len()));
        let header = header_len(bytes.len());
        // SAFETY: the block has room for header and bytes, and nobody else has it.
        unsafe {
            if header == SHORT_HEADER {
                raw.write(bytes.len() as u8);
            } else {
                let len = u32::try_from(bytes.len()).expect("arguments are shorter than 4 GiB");
                raw.write(LONG);
                raw.add(1).cast::<[u8; 4]>().write(len.to_le_bytes());
            }
            raw.add(header).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Member(raw)
    }
}

// SAFETY: blocks of the slab are multiples of 8, in user space below 2^48, and stay until they are freed; the borrows
// only look through the pointer.
unsafe impl Element for Member {
    type Ref<'a> = MemberRef<'a>;
    type Mut<'a> = MemberRef<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Member(raw)
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: NonNull<u8>) -> MemberRef<'a> {
        MemberRef { raw, borrow: PhantomData }
    }

    #[inline(always)]
    unsafe fn borrow_mut<'a>(raw: NonNull<u8>) -> MemberRef<'a> {
        MemberRef { raw, borrow: PhantomData }
    }

    #[inline]
    fn key<'a>(element: Self::Ref<'a>) -> &'a [u8] {
        element.bytes()
    }

    #[inline]
    fn has_key(element: Self::Ref<'_>, key: &[u8]) -> bool {
        same_bytes(element.bytes(), key)
    }

    fn free(self, slab: &mut Slab) {
        // SAFETY: the member is ours and ends here; a set has all its blocks from one slab.
        unsafe {
            let len = block_len(Member::borrow(self.0).bytes().len());
            slab.free(self.0, len);
        }
    }
}

impl<'a> MemberRef<'a> {
    /// What the member is.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        // SAFETY: a member starts with its header, and as many bytes as that says follow; nobody changes them in 'a.
        unsafe {
            let (header, len) = match self.raw.read() {
                LONG => {
                    let len = self.raw.add(1).cast::<[u8; 4]>().read();
                    (LONG_HEADER, u32::from_le_bytes(len) as usize)
                }
                len => (SHORT_HEADER, usize::from(len)),
            };
            std::slice::from_raw_parts(self.raw.add(header).as_ptr(), len)
        }
    }

    /// Bytes of the block.
    pub(super) fn block_size(self) -> usize {
        class_size(block_len(self.bytes().len()))
    }

    /// The address of the block, which tells the member from all others.
    pub(super) fn address(self) -> usize {
        self.raw.as_ptr() as usize
    }
}

#[inline]
fn header_len(len: usize) -> usize {
    if len < usize::from(LONG) {
        SHORT_HEADER
    } else {
        LONG_HEADER
    }
}

#[inline]
fn block_len(len: usize) -> usize {
    header_len(len) + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_all_lengths() {
        let mut slab = Slab::new();
        for len in (0..300).chain([4095, 4096, 70_000]) {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + 7) as u8).collect();
            let member = Member::new(&mut slab, &bytes);
            // SAFETY: the member lives.
            let borrowed = unsafe { Member::borrow(member.0) };
            assert_eq!(borrowed.bytes(), bytes);
            let header = if len < 255 { 1 } else { 5 };
            assert_eq!(slab.allocated_bytes(), class_size(header + len));
            assert_eq!(borrowed.block_size(), class_size(header + len));
            member.free(&mut slab);
            assert_eq!(slab.allocated_bytes(), 0);
        }
    }
}
