//! The nodes of the tree: arrays of entries, each in one block of the slab, the nodes of a level linked in order.
//!
//! A leaf's entry is an item: a score and the member that has it, so that a comparison rarely leaves the leaf. An inner
//! node's entry is a branch: a child, its first item, and how many items are under it.
//!
//! Not here: which node stands under which (`tree`).

use std::{mem::MaybeUninit, ops::Range, ptr::NonNull};

use super::member::MemberRef;
use crate::ds::slab::Slab;

/// Bytes of a node's block.
pub(super) const NODE_BYTES: usize = 1024;

/// Entries that a node of this type of entry has room for, after length and links.
const fn room<E>() -> usize {
    (NODE_BYTES - 24) / size_of::<E>()
}

/// A score and its member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) score: f64,
    pub(super) member: NonNull<u8>,
}

/// A node of the level below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    /// The first item under it.
    pub(super) first: Item,
    /// The node: a leaf on the lowest level of inner nodes, else an inner node.
    pub(super) child: NonNull<u8>,
    /// Items under it.
    pub(super) count: u64,
}

/// What nodes hold.
pub(super) trait Entry: Copy {
    /// The first item under it.
    fn first(&self) -> Item;

    /// How many items are under all of these.
    fn count(entries: &[Self]) -> u64;
}

/// A node.
#[repr(C)]
pub(super) struct Node<E, const ROOM: usize> {
    len: usize,
    prev: Option<NonNull<Self>>,
    next: Option<NonNull<Self>>,
    entries: [MaybeUninit<E>; ROOM],
}

/// A node of the lowest level.
pub(super) type Leaf = Node<Item, { room::<Item>() }>;

/// A node of any other level.
pub(super) type Inner = Node<Branch, { room::<Branch>() }>;

const _: () = assert!(size_of::<Leaf>() <= NODE_BYTES && size_of::<Inner>() <= NODE_BYTES);

impl Item {
    /// The bytes of the member.
    ///
    /// # Safety
    ///
    /// The member lives, and nobody frees it during `'a`.
    #[inline]
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: as the caller promises.
        unsafe { MemberRef::from_raw(self.member) }.bytes()
    }
}

impl Entry for Item {
    #[inline]
    fn first(&self) -> Item {
        *self
    }

    #[inline]
    fn count(entries: &[Item]) -> u64 {
        entries.len() as u64
    }
}

impl Entry for Branch {
    #[inline]
    fn first(&self) -> Item {
        self.first
    }

    #[inline]
    fn count(entries: &[Branch]) -> u64 {
        entries.iter().map(|branch| branch.count).sum()
    }
}

impl<E: Entry, const ROOM: usize> Node<E, ROOM> {
    /// Entries that a node has room for.
    pub(super) const ROOM: usize = ROOM;

    /// A node without entries or neighbours.
    pub(super) fn alloc(slab: &mut Slab) -> NonNull<Self> {
        let node = slab.alloc(NODE_BYTES).cast::<Self>();
        // SAFETY: the block is large enough for a node and aligned to 8. The entries may hold anything yet.
        unsafe {
            (&raw mut (*node.as_ptr()).len).write(0);
            (&raw mut (*node.as_ptr()).prev).write(None);
            (&raw mut (*node.as_ptr()).next).write(None);
        }
        node
    }

    /// Frees a node, whatever is in it.
    ///
    /// # Safety
    ///
    /// `node` is from `alloc` with this slab, and nobody uses it any more.
    pub(super) unsafe fn free(node: NonNull<Self>, slab: &mut Slab) {
        // SAFETY: as the caller promises.
        unsafe { slab.free(node.cast(), NODE_BYTES) }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == ROOM
    }

    #[inline]
    pub(super) fn prev(&self) -> Option<NonNull<Self>> {
        self.prev
    }

    #[inline]
    pub(super) fn next(&self) -> Option<NonNull<Self>> {
        self.next
    }

    #[inline]
    pub(super) fn entries(&self) -> &[E] {
        // SAFETY: the first `len` entries are there.
        unsafe { std::slice::from_raw_parts(self.entries.as_ptr().cast(), self.len) }
    }

    #[inline]
    pub(super) fn entries_mut(&mut self) -> &mut [E] {
        // SAFETY: the first `len` entries are there.
        unsafe { std::slice::from_raw_parts_mut(self.entries.as_mut_ptr().cast(), self.len) }
    }

    /// Puts an entry before the one at `at`. There is room.
    pub(super) fn insert(&mut self, at: usize, entry: E) {
        self.entries.copy_within(at..self.len, at + 1);
        self.entries[at].write(entry);
        self.len += 1;
    }

    /// Takes entries out.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.entries.copy_within(range.end..self.len, range.start);
        self.len -= range.len();
    }

    /// Moves the first `count` entries to the end of the node before, where there is room.
    pub(super) fn move_to_prev(&mut self, prev: &mut Self, count: usize) {
        prev.entries[prev.len..prev.len + count].copy_from_slice(&self.entries[..count]);
        prev.len += count;
        self.remove(0..count);
    }

    /// Moves the last `count` entries to the beginning of the node after, where there is room.
    pub(super) fn move_to_next(&mut self, next: &mut Self, count: usize) {
        next.entries.copy_within(..next.len, count);
        next.entries[..count].copy_from_slice(&self.entries[self.len - count..self.len]);
        next.len += count;
        self.len -= count;
    }

    /// Makes `node`, which has no neighbours yet, the one after `self`.
    ///
    /// # Safety
    ///
    /// `at` is where `self` lies; the node after it lives and nobody else uses it, and so does `node`.
    pub(super) unsafe fn link_next(&mut self, at: NonNull<Self>, node: NonNull<Self>) {
        // SAFETY: as the caller promises.
        unsafe {
            (*node.as_ptr()).prev = Some(at);
            (*node.as_ptr()).next = self.next;
            if let Some(next) = self.next.replace(node) {
                (*next.as_ptr()).prev = Some(node);
            }
        }
    }

    /// Takes the node out of its level.
    ///
    /// # Safety
    ///
    /// Its neighbours live, and nobody else uses them.
    pub(super) unsafe fn unlink(&mut self) {
        // SAFETY: as the caller promises.
        unsafe {
            if let Some(prev) = self.prev {
                (*prev.as_ptr()).next = self.next;
            }
            if let Some(next) = self.next {
                (*next.as_ptr()).prev = self.prev;
            }
        }
        (self.prev, self.next) = (None, None);
    }
}
