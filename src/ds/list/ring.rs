//! The root block of a quicklist: how many elements there are, and its nodes in a ring.
//!
//! ```text
//! | elements, u64 | first, u32 | nodes, u32 | capacity, u32 | - | node, 16 bytes | node | ...
//! ```
//!
//! Nodes come and go at both ends without the others moving; elsewhere those on the shorter side move by one. The ring
//! doubles when it is full and halves when a quarter of it is left.
//!
//! Invariant: the nodes in use are the `nodes` places from `first` on, going round.

use std::{marker::PhantomData, ops::Range, ptr::NonNull};

use super::node::Node;
use crate::ds::slab::{class_size, Slab};

const CAPACITY_MIN: usize = 4;

#[repr(C)]
struct Head {
    elements: u64,
    first: u32,
    nodes: u32,
    capacity: u32,
}

const HEAD_BYTES: usize = size_of::<Head>();

/// A root block. Whoever has it must free it.
pub(super) struct Ring(NonNull<Head>);

/// A root block to read.
#[derive(Clone, Copy)]
pub(super) struct RingRef<'a> {
    head: NonNull<Head>,
    borrow: PhantomData<&'a Head>,
}

impl Ring {
    /// A ring without nodes.
    pub(super) fn new(slab: &mut Slab) -> Ring {
        Ring::with_room(CAPACITY_MIN, slab)
    }

    /// A ring without nodes that has room for at least so many.
    pub(super) fn with_room(nodes: usize, slab: &mut Slab) -> Ring {
        let bytes = class_size(HEAD_BYTES + nodes.max(CAPACITY_MIN) * size_of::<Node>());
        // What the class has beyond the request is used, too.
        let capacity = ((bytes - HEAD_BYTES) / size_of::<Node>()) as u32;
        let head = slab.alloc(bytes).cast::<Head>();
        // SAFETY: the block is new, aligned to 8, and longer than its head.
        unsafe { head.write(Head { elements: 0, first: 0, nodes: 0, capacity }) };
        Ring(head)
    }

    /// Frees the block, not the nodes.
    pub(super) fn free(self, slab: &mut Slab) {
        let bytes = self.as_ref().block_len();
        // SAFETY: the block is ours, from this slab, and ends here.
        unsafe { slab.free(self.0.cast(), bytes) };
    }

    pub(super) fn into_raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// # Safety
    ///
    /// The pointer came from `into_raw` and is given back once.
    pub(super) unsafe fn from_raw(raw: NonNull<u8>) -> Ring {
        Ring(raw.cast())
    }

    /// # Safety
    ///
    /// The pointer came from `into_raw`, and nobody changes or frees the ring during `'a`.
    pub(super) unsafe fn borrow<'a>(raw: NonNull<u8>) -> RingRef<'a> {
        RingRef { head: raw.cast(), borrow: PhantomData }
    }

    #[inline]
    pub(super) fn as_ref(&self) -> RingRef<'_> {
        RingRef { head: self.0, borrow: PhantomData }
    }

    #[inline]
    pub(super) fn set_elements(&mut self, elements: usize) {
        self.head_mut().elements = elements as u64;
    }

    /// Puts another node in the place of one.
    #[inline]
    pub(super) fn set(&mut self, index: usize, node: Node) {
        debug_assert!(index < self.as_ref().nodes());
        self.put(index, node);
    }

    /// Puts a node before the one at `index`, or at the end.
    pub(super) fn insert(&mut self, index: usize, node: Node, slab: &mut Slab) {
        let (nodes, capacity) = (self.as_ref().nodes(), self.as_ref().capacity());
        if nodes == capacity {
            self.resize(capacity * 2, slab);
        }
        if index < nodes / 2 {
            let capacity = self.as_ref().capacity() as u32;
            let head = self.head_mut();
            head.first = head.first.checked_sub(1).unwrap_or(capacity - 1);
            for at in 0..index {
                self.put(at, self.as_ref().at(at + 1));
            }
        } else {
            for at in (index..nodes).rev() {
                self.put(at + 1, self.as_ref().at(at));
            }
        }
        self.head_mut().nodes += 1;
        self.put(index, node);
    }

    /// Takes nodes out, which the caller owns.
    pub(super) fn remove(&mut self, range: Range<usize>, slab: &mut Slab) {
        let nodes = self.as_ref().nodes();
        if range.start < nodes - range.end {
            for at in (0..range.start).rev() {
                self.put(at + range.len(), self.as_ref().at(at));
            }
            self.head_mut().first = self.as_ref().place(range.len()) as u32;
        } else {
            for at in range.end..nodes {
                self.put(at - range.len(), self.as_ref().at(at));
            }
        }
        self.head_mut().nodes -= range.len() as u32;
        self.shrink(slab);
    }

    /// Takes all nodes out that have no elements, which the caller owns.
    pub(super) fn remove_empty(&mut self, slab: &mut Slab) {
        let mut kept = 0;
        for at in 0..self.as_ref().nodes() {
            let node = self.as_ref().at(at);
            if node.count() > 0 {
                self.put(kept, node);
                kept += 1;
            }
        }
        self.head_mut().nodes = kept as u32;
        self.shrink(slab);
    }

    fn shrink(&mut self, slab: &mut Slab) {
        let (nodes, capacity) = (self.as_ref().nodes(), self.as_ref().capacity());
        if nodes < capacity / 4 && capacity / 2 >= CAPACITY_MIN {
            self.resize((nodes * 2).max(CAPACITY_MIN), slab);
        }
    }

    /// Moves to a block with another capacity.
    #[cold]
    fn resize(&mut self, capacity: usize, slab: &mut Slab) {
        let old = self.as_ref();
        let mut new = Ring::with_room(capacity, slab);
        let head = new.head_mut();
        (head.elements, head.nodes) = (old.elements() as u64, old.nodes() as u32);
        for at in 0..old.nodes() {
            new.put(at, old.at(at));
        }
        std::mem::replace(self, new).free(slab);
    }

    #[inline]
    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: the block starts with its head and is ours alone.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    fn put(&mut self, index: usize, node: Node) {
        let place = self.as_ref().place(index);
        // SAFETY: a place is less than the capacity, and the block is ours to write.
        unsafe { self.as_ref().slots().add(place).write(node) };
    }
}

impl RingRef<'_> {
    #[inline]
    pub(super) fn elements(self) -> usize {
        self.head().elements as usize
    }

    #[inline]
    pub(super) fn nodes(self) -> usize {
        self.head().nodes as usize
    }

    /// The node at `index`, counted from the first.
    #[inline]
    pub(super) fn get(self, index: usize) -> Node {
        debug_assert!(index < self.nodes());
        self.at(index)
    }

    /// Bytes of the block.
    pub(super) fn block_len(self) -> usize {
        HEAD_BYTES + self.capacity() * size_of::<Node>()
    }

    #[inline]
    fn capacity(self) -> usize {
        self.head().capacity as usize
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: the block starts with its head, and nobody changes it during the borrow.
        unsafe { self.head.as_ref() }
    }

    /// Where in the block the node at `index` is, which may be one place before or after those in use.
    #[inline]
    fn place(self, index: usize) -> usize {
        let place = self.head().first as usize + index;
        let capacity = self.capacity();
        if place < capacity {
            place
        } else {
            place - capacity
        }
    }

    #[inline]
    fn slots(self) -> NonNull<Node> {
        // SAFETY: the nodes follow the head in its block.
        unsafe { self.head.add(1).cast() }
    }

    #[inline]
    fn at(self, index: usize) -> Node {
        // SAFETY: a place is less than the capacity; the places asked for were written.
        unsafe { self.slots().add(self.place(index)).read() }
    }
}
