//! A node of a quicklist: a listpack or one long element in a block of the slab, compressed or not.
//!
//! A compressed node's block holds the length of the compressed form (u32, little-endian) and the form itself.
//!
//! Invariant: what was compressed decompresses to `bytes` bytes; a listpack among it is whole.

use std::ptr::NonNull;

use crate::{
    base::lzf,
    ds::{
        block,
        listpack::{Listpack, ListpackRef},
        slab::{class_size, Slab},
    },
};

/// One element that is no listpack.
const PLAIN: u64 = 1;
/// The block holds the compressed form.
const COMPRESSED: u64 = 2;

/// Nodes below this size are never compressed, nor if it saves less than that.
const COMPRESS_MIN: usize = 48;
const COMPRESS_GAIN_MIN: usize = 9;

/// Bytes before a compressed form.
const FORM_HEADER: usize = 4;

/// A node as the ring of its list holds it. It is copied freely, but the block has one owner: whoever takes it out of
/// the ring frees it or puts it back.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Node {
    /// The block's address, and `PLAIN` and `COMPRESSED`.
    word: u64,
    /// Elements.
    count: u32,
    /// Bytes of the listpack or of the element, uncompressed.
    bytes: u32,
}

/// What a node holds.
#[derive(Clone, Copy)]
pub(super) enum Contents<'a> {
    Pack(ListpackRef<'a>),
    Plain(&'a [u8]),
}

/// A node as it lies in memory: what a snapshot of the list writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRef<'a> {
    /// Whether it is one element rather than a listpack.
    pub is_plain: bool,
    /// How many elements it has.
    pub count: usize,
    /// How long the listpack or the element is.
    pub len: usize,
    /// Whether `stored` is the LZF form of it rather than itself.
    pub is_compressed: bool,
    /// The bytes that are kept.
    pub stored: &'a [u8],
}

impl<'a> NodeRef<'a> {
    /// A listpack as a node.
    pub(super) fn of_pack(pack: ListpackRef<'a>) -> NodeRef<'a> {
        NodeRef {
            is_plain: false,
            count: pack.len(),
            len: pack.total_bytes(),
            is_compressed: false,
            stored: pack.bytes(),
        }
    }

    /// Bytes of the node's block.
    pub(super) fn memory_bytes(self) -> usize {
        class_size(self.stored.len() + if self.is_compressed { FORM_HEADER } else { 0 })
    }
}

impl Node {
    /// A node whose block is gone; the ring lets go of it.
    pub(super) const GONE: Node = Node { word: 0, count: 0, bytes: 0 };

    pub(super) fn of_pack(pack: Listpack) -> Node {
        let (count, bytes) = (pack.as_ref().len() as u32, pack.as_ref().total_bytes() as u32);
        Node { word: address(pack.into_raw()), count, bytes }
    }

    pub(super) fn of_element(element: &[u8], slab: &mut Slab) -> Node {
        Node {
            word: address(block::from_pieces(slab, &[element])) | PLAIN,
            count: 1,
            bytes: element.len() as u32,
        }
    }

    /// The node that `from` shows, which is whole and holds what it says.
    pub(super) fn from_ref(from: NodeRef<'_>, slab: &mut Slab) -> Node {
        let mut flags = if from.is_plain { PLAIN } else { 0 };
        let block = if from.is_compressed {
            flags |= COMPRESSED;
            compressed_block_of(from.stored, slab)
        } else {
            block::from_pieces(slab, &[from.stored])
        };
        Node { word: address(block) | flags, count: from.count as u32, bytes: from.len as u32 }
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        self.count as usize
    }

    /// Bytes of the listpack or of the element, uncompressed.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        self.bytes as usize
    }

    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.word & PLAIN != 0
    }

    #[inline]
    pub(super) fn is_compressed(self) -> bool {
        self.word & COMPRESSED != 0
    }

    /// The node as it lies in memory.
    ///
    /// # Safety
    ///
    /// The block is there, and nobody changes or frees it during `'a`.
    pub(super) unsafe fn as_ref<'a>(self) -> NodeRef<'a> {
        let stored = if self.is_compressed() {
            // SAFETY: such a block starts with the length of the form that follows.
            unsafe {
                let len = u32::from_le(self.block().cast::<u32>().read()) as usize;
                std::slice::from_raw_parts(self.block().add(FORM_HEADER).as_ptr(), len)
            }
        } else {
            // SAFETY: the block holds so many bytes.
            unsafe { std::slice::from_raw_parts(self.block().as_ptr(), self.bytes()) }
        };
        NodeRef {
            is_plain: self.is_plain(),
            count: self.count(),
            len: self.bytes(),
            is_compressed: self.is_compressed(),
            stored,
        }
    }

    /// What the node holds, decompressed into `scratch` if need be.
    ///
    /// # Safety
    ///
    /// As for `as_ref`.
    #[inline]
    pub(super) unsafe fn contents<'a>(self, scratch: &'a mut Vec<u8>) -> Contents<'a> {
        // SAFETY: as the caller promises.
        let node = unsafe { self.as_ref::<'a>() };
        let bytes = if node.is_compressed {
            *scratch = decompressed(node);
            &scratch[..]
        } else {
            node.stored
        };
        if node.is_plain {
            return Contents::Plain(bytes);
        }
        Contents::Pack(ListpackRef::trusted(bytes))
    }

    /// The listpack, out of the ring. The node is no plain one.
    ///
    /// # Safety
    ///
    /// The block is there, and the node is not used any more.
    pub(super) unsafe fn into_pack(self, slab: &mut Slab) -> Listpack {
        debug_assert!(!self.is_plain());
        // SAFETY: as the caller promises; an uncompressed block that is not plain came from a listpack, or has exactly
        // the bytes of one.
        unsafe { Listpack::from_raw(self.decompressed(slab).block()) }
    }

    /// The same node compressed, or as it is where that saves nothing.
    ///
    /// # Safety
    ///
    /// The block is there, and this copy of the node is not used any more.
    pub(super) unsafe fn compressed(self, slab: &mut Slab) -> Node {
        if self.is_compressed() || self.bytes() < COMPRESS_MIN {
            return self;
        }
        let mut form = Vec::new();
        // SAFETY: as the caller promises.
        unsafe {
            if !lzf::compress(self.as_ref().stored, &mut form, self.bytes() - COMPRESS_GAIN_MIN) {
                return self;
            }
            self.free(slab);
        }
        Node { word: address(compressed_block_of(&form, slab)) | self.word & PLAIN | COMPRESSED, ..self }
    }

    /// The same node, not compressed.
    ///
    /// # Safety
    ///
    /// The block is there, and this copy of the node is not used any more.
    pub(super) unsafe fn decompressed(self, slab: &mut Slab) -> Node {
        if !self.is_compressed() {
            return self;
        }
        // SAFETY: as the caller promises.
        let bytes = unsafe {
            let bytes = decompressed(self.as_ref());
            self.free(slab);
            bytes
        };
        Node { word: address(block::from_pieces(slab, &[&bytes])) | self.word & PLAIN, ..self }
    }

    /// Frees the block.
    ///
    /// # Safety
    ///
    /// The block is there, from this slab, and the node is not used any more.
    pub(super) unsafe fn free(self, slab: &mut Slab) {
        // SAFETY: as the caller promises.
        unsafe {
            let len = self.as_ref().memory_bytes();
            slab.free(self.block(), len);
        }
    }

    #[inline]
    fn block(self) -> NonNull<u8> {
        let address = self.word & !(PLAIN | COMPRESSED);
        NonNull::new(address as *mut u8).expect("a node that has its block")
    }
}

fn decompressed(node: NodeRef<'_>) -> Vec<u8> {
    lzf::decompress(node.stored, node.len).expect("what was compressed here, or checked on import")
}

fn address(block: NonNull<u8>) -> u64 {
    block.as_ptr() as u64
}

fn compressed_block_of(form: &[u8], slab: &mut Slab) -> NonNull<u8> {
    block::from_pieces(slab, &[&(form.len() as u32).to_le_bytes(), form])
}
