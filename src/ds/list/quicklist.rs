//! The quicklist: a list of listpacks, each at most as large as the configuration says, and of long elements.
//!
//! Nodes are filled at the ends where the list grows, split where an element goes into a full one, and joined with
//! their neighbours after a split, all by Redis's rules, so that a list has the nodes that Redis gives it. With
//! `list-compress-depth` the nodes farther from both ends than that are compressed; which ones are is a matter of
//! memory only, and any node may be either way at any time.
//!
//! Invariant: no node is empty, and `elements` is the sum of their counts.

use std::ops::{ControlFlow, Range};

use super::{
    limit::NodeLimit,
    node::{Contents, Node, NodeRef},
    ring::{Ring, RingRef},
    walk::{walk_pack, Needle},
    End, Side,
};
use crate::ds::{
    collection::Edit,
    listpack::{Listpack, Packed},
    slab::Slab,
};

/// A quicklist. Whoever has it must free it.
pub(super) struct Quicklist {
    ring: Ring,
}

/// A quicklist to read.
#[derive(Clone, Copy)]
pub(super) struct QuicklistRef<'a> {
    ring: RingRef<'a>,
}

impl Quicklist {
    /// A quicklist without nodes.
    pub(super) fn new(slab: &mut Slab) -> Quicklist {
        Quicklist { ring: Ring::new(slab) }
    }

    /// A quicklist of these nodes, which it owns from here on.
    pub(super) fn from_nodes(nodes: &[Node], slab: &mut Slab) -> Quicklist {
        let mut ring = Ring::with_room(nodes.len(), slab);
        for (index, &node) in nodes.iter().enumerate() {
            ring.insert(index, node, slab);
        }
        ring.set_elements(nodes.iter().map(|node| node.count()).sum());
        Quicklist { ring }
    }

    /// Compresses all nodes that are far from both ends.
    pub(super) fn compress(&mut self, edit: &mut Edit<'_>) {
        (0..self.nodes()).for_each(|node| self.compress_inner(edit, node));
    }

    pub(super) fn into_ring(self) -> Ring {
        self.ring
    }

    pub(super) fn from_ring(ring: Ring) -> Quicklist {
        Quicklist { ring }
    }

    #[inline]
    pub(super) fn as_ref(&self) -> QuicklistRef<'_> {
        QuicklistRef { ring: self.ring.as_ref() }
    }

    /// Adds an element at one end.
    pub(super) fn push(&mut self, edit: &mut Edit<'_>, end: End, element: &[u8]) {
        let nodes = self.nodes();
        let edge = match end {
            End::Front => 0,
            End::Back => nodes.saturating_sub(1),
        };
        if edge < nodes && self.has_room(edge, element, edit) {
            self.change_pack(edge, edit.slab, |pack, slab| match end {
                End::Front => pack.push_front(slab, element),
                End::Back => pack.push_back(slab, element),
            });
        } else {
            let at = if end == End::Front { 0 } else { nodes };
            self.insert_node(at, element, edit);
            self.settle(edit, at..at + 1);
        }
        self.add_elements(1);
    }

    /// Puts an element beside the one at `index`, which exists.
    pub(super) fn insert(&mut self, edit: &mut Edit<'_>, index: usize, side: Side, element: &[u8]) {
        let (node, offset) = self.as_ref().locate(index);
        let count = self.get(node).count();
        // Where the element goes, as a place between those of the node.
        let at = if side == Side::Before { offset } else { offset + 1 };
        let is_at_edge = at == if side == Side::Before { 0 } else { count };
        let neighbour = match side {
            Side::Before => node.checked_sub(1),
            Side::After => Some(node + 1).filter(|&next| next < self.nodes()),
        };
        if self.has_room(node, element, edit) {
            self.change_pack(node, edit.slab, |pack, slab| insert_into(pack, slab, at, element));
            self.compress_inner(edit, node);
        } else if is_at_edge {
            match neighbour.filter(|&neighbour| self.has_room(neighbour, element, edit)) {
                Some(neighbour) => {
                    self.change_pack(neighbour, edit.slab, |pack, slab| match side {
                        Side::Before => pack.push_back(slab, element),
                        Side::After => pack.push_front(slab, element),
                    });
                    self.compress_inner(edit, neighbour);
                }
                None => {
                    let at = if side == Side::Before { node } else { node + 1 };
                    self.insert_node(at, element, edit);
                    self.settle(edit, at..at + 1);
                }
            }
        } else {
            self.split(node, at, edit.slab);
            if limit(edit).is_large(element.len()) {
                self.insert_node(node + 1, element, edit);
                self.settle(edit, node..node + 3);
            } else {
                let (half, end) = match side {
                    Side::Before => (node, End::Back),
                    Side::After => (node + 1, End::Front),
                };
                self.change_pack(half, edit.slab, |pack, slab| match end {
                    End::Front => pack.push_front(slab, element),
                    End::Back => pack.push_back(slab, element),
                });
                let center = if side == Side::Before { node + 1 } else { node };
                self.merge_around(edit, center);
            }
        }
        self.add_elements(1);
    }

    /// Puts an element in the place of the one at `index`, which exists.
    pub(super) fn replace(&mut self, edit: &mut Edit<'_>, index: usize, element: &[u8]) {
        let (node, offset) = self.as_ref().locate(index);
        let (is_plain, count) = (self.get(node).is_plain(), self.get(node).count());
        let is_large = limit(edit).is_large(element.len());
        match (is_plain, is_large) {
            (false, false) => {
                self.change_pack(node, edit.slab, |pack, slab| {
                    let at = pack.as_ref().seek(offset as i64).expect("an element where it was located");
                    pack.replace(slab, at, element);
                });
                self.compress_inner(edit, node);
            }
            (true, true) => {
                self.free_node(node, edit.slab);
                self.ring.set(node, Node::of_element(element, edit.slab));
                self.compress_inner(edit, node);
            }
            (true, false) => {
                // Into a neighbour, if one has room for it.
                self.insert(edit, index, Side::After, element);
                self.remove_range(edit, index, 1);
            }
            (false, true) => {
                if offset + 1 < count {
                    self.split(node, offset + 1, edit.slab);
                }
                self.insert_node(node + 1, element, edit);
                // The old element is the last one of its node now.
                self.add_elements(1);
                self.remove_range(edit, index, 1);
                if offset > 0 {
                    self.merge_around(edit, node + 1);
                }
            }
        }
    }

    /// Removes elements, all of which exist.
    pub(super) fn remove_range(&mut self, edit: &mut Edit<'_>, start: usize, count: usize) {
        if count == 0 {
            return;
        }
        let (mut node, offset) = self.as_ref().locate(start);
        let mut left = count;
        if offset > 0 {
            let part = left.min(self.get(node).count() - offset);
            self.change_pack(node, edit.slab, |pack, slab| pack.remove_range(slab, offset as i64, part));
            left -= part;
            node += 1;
        }
        let whole = node;
        while left > 0 && self.get(node).count() <= left {
            left -= self.get(node).count();
            self.free_node(node, edit.slab);
            node += 1;
        }
        if left > 0 {
            self.change_pack(node, edit.slab, |pack, slab| pack.remove_range(slab, 0, left));
        }
        self.ring.remove(whole..node, edit.slab);
        self.ring.set_elements(self.as_ref().len() - count);
        let touched = whole.saturating_sub(1)..(whole + 1).min(self.nodes());
        if node > whole {
            self.settle(edit, touched);
        } else {
            touched.for_each(|touched| self.compress_inner(edit, touched));
        }
    }

    /// Removes up to `count` elements that are the needle, looking from one end; how many they were.
    pub(super) fn remove_equal(
        &mut self,
        edit: &mut Edit<'_>,
        needle: Needle<'_>,
        from: End,
        count: usize,
    ) -> usize {
        let nodes = self.nodes();
        let (mut removed, mut emptied) = (0, false);
        let mut scratch = Vec::new();
        for step in 0..nodes {
            let index = if from == End::Front { step } else { nodes - 1 - step };
            let found = match self.as_ref().contents(index, &mut scratch) {
                Contents::Plain(element) => needle.is(Packed::Bytes(element)),
                Contents::Pack(pack) => pack.find(needle.bytes(), 0).is_some(),
            };
            if !found {
                continue;
            }
            if self.get(index).is_plain() {
                self.free_node(index, edit.slab);
                self.ring.set(index, Node::GONE);
                removed += 1;
            } else {
                removed += self.change_pack(index, edit.slab, |pack, slab| {
                    super::walk::remove_equal(pack, slab, needle, from, count - removed)
                });
                if self.get(index).count() == 0 {
                    self.free_node(index, edit.slab);
                    self.ring.set(index, Node::GONE);
                } else {
                    self.compress_inner(edit, index);
                }
            }
            emptied |= self.get(index).count() == 0;
            if removed == count {
                break;
            }
        }
        self.ring.set_elements(self.as_ref().len() - removed);
        if emptied {
            self.ring.remove_empty(edit.slab);
            self.settle(edit, 0..0);
        }
        removed
    }

    /// The listpack of the only node there is, if it is one and the limit allows it twice; then no node is left.
    pub(super) fn take_half_full(&mut self, edit: &mut Edit<'_>) -> Option<Listpack> {
        let only = match self.nodes() {
            1 => self.get(0),
            _ => return None,
        };
        if only.is_plain() || !limit(edit).allows_twice(only.bytes(), only.count()) {
            return None;
        }
        self.ring.remove(0..1, edit.slab);
        self.ring.set_elements(0);
        // SAFETY: the node was in the ring, so its block is there, and it is no more.
        Some(unsafe { only.into_pack(edit.slab) })
    }

    /// Frees nodes with at least `budget` elements together; true when none is left, and the ring is freed, too.
    pub(super) fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        let (mut freed, mut nodes) = (0, 0);
        while nodes < self.nodes() && freed < budget {
            freed += self.get(nodes).count();
            self.free_node(nodes, slab);
            nodes += 1;
        }
        if nodes == self.nodes() {
            // SAFETY: the quicklist ends here, as the caller knows from the answer.
            unsafe { std::ptr::read(&self.ring) }.free(slab);
            return true;
        }
        self.ring.remove(0..nodes, slab);
        self.ring.set_elements(self.as_ref().len() - freed);
        false
    }

    fn nodes(&self) -> usize {
        self.ring.as_ref().nodes()
    }

    fn get(&self, node: usize) -> Node {
        self.ring.as_ref().get(node)
    }

    fn add_elements(&mut self, count: usize) {
        self.ring.set_elements(self.as_ref().len() + count);
    }

    /// Whether an element may go into a node's listpack.
    fn has_room(&self, node: usize, element: &[u8], edit: &Edit<'_>) -> bool {
        let (node, limit) = (self.get(node), limit(edit));
        !node.is_plain()
            && !limit.is_large(element.len())
            && limit.allows_one_more(node.bytes(), node.count(), element.len())
    }

    /// Makes a node of one element.
    fn insert_node(&mut self, at: usize, element: &[u8], edit: &mut Edit<'_>) {
        let node = if limit(edit).is_large(element.len()) {
            Node::of_element(element, edit.slab)
        } else {
            let mut pack = Listpack::new(edit.slab);
            pack.push_back(edit.slab, element);
            Node::of_pack(pack)
        };
        self.ring.insert(at, node, edit.slab);
    }

    /// Works on the listpack of a node, which is decompressed then.
    fn change_pack<R>(
        &mut self,
        node: usize,
        slab: &mut Slab,
        change: impl FnOnce(&mut Listpack, &mut Slab) -> R,
    ) -> R {
        // SAFETY: the node is in the ring, so its block is there; what takes its place is the listpack's new block.
        let mut pack = unsafe { self.get(node).into_pack(slab) };
        let result = change(&mut pack, slab);
        self.ring.set(node, Node::of_pack(pack));
        result
    }

    /// Frees a node's block. The caller takes the node out of the ring, or sets another in its place.
    fn free_node(&mut self, node: usize, slab: &mut Slab) {
        // SAFETY: the node is in the ring, so its block is there, and is not used after this.
        unsafe { self.get(node).free(slab) };
    }

    /// Makes two nodes of one: what comes from place `at` on becomes the next node.
    fn split(&mut self, node: usize, at: usize, slab: &mut Slab) {
        let right = self.change_pack(node, slab, |left, slab| {
            let mut right = left.as_ref().copy(slab);
            left.remove_range(slab, at as i64, usize::MAX);
            right.remove_range(slab, 0, at);
            right
        });
        self.ring.insert(node + 1, Node::of_pack(right), slab);
    }

    /// Joins the nodes around `center` that fit together: first those beside it, then itself with them.
    fn merge_around(&mut self, edit: &mut Edit<'_>, center: usize) {
        let mut center = center;
        if center >= 2 && self.merge(edit, center - 2) {
            center -= 1;
        }
        self.merge(edit, center + 1);
        if center >= 1 && self.merge(edit, center - 1) {
            center -= 1;
        }
        self.merge(edit, center);
        self.settle(edit, center.saturating_sub(2)..(center + 3).min(self.nodes()));
    }

    /// Joins a node with the next one, if there is one and both fit into one.
    fn merge(&mut self, edit: &mut Edit<'_>, left: usize) -> bool {
        if left + 1 >= self.nodes() {
            return false;
        }
        let (a, b) = (self.get(left), self.get(left + 1));
        let fit = !a.is_plain()
            && !b.is_plain()
            && limit(edit).allows_both([a.bytes(), b.bytes()], [a.count(), b.count()]);
        if fit {
            // SAFETY: the node is in the ring, so its block is there; it is taken out next.
            let right = unsafe { b.into_pack(edit.slab) };
            self.change_pack(left, edit.slab, |pack, slab| pack.append(slab, right.as_ref()));
            right.free(edit.slab);
            self.ring.remove(left + 1..left + 2, edit.slab);
        }
        fit
    }

    /// After nodes came or went: opens those that have come near an end, and compresses those that have gone far from
    /// both, and those that were touched if they are far.
    fn settle(&mut self, edit: &mut Edit<'_>, touched: Range<usize>) {
        let (nodes, depth) = (self.nodes(), edit.limits.list_compress_depth as usize);
        if depth == 0 {
            return;
        }
        for at in 0..depth.min(nodes) {
            self.open(edit, at);
            self.open(edit, nodes - 1 - at);
        }
        if nodes > 2 * depth {
            self.compress_inner(edit, depth);
            self.compress_inner(edit, nodes - 1 - depth);
        }
        for at in touched {
            self.compress_inner(edit, at);
        }
    }

    fn open(&mut self, edit: &mut Edit<'_>, node: usize) {
        // SAFETY: the node is in the ring, so its block is there; the new one takes its place.
        let opened = unsafe { self.get(node).decompressed(edit.slab) };
        self.ring.set(node, opened);
    }

    /// Compresses a node if it is far from both ends.
    fn compress_inner(&mut self, edit: &mut Edit<'_>, node: usize) {
        let depth = edit.limits.list_compress_depth as usize;
        if depth == 0 || node < depth || node + depth >= self.nodes() {
            return;
        }
        // SAFETY: the node is in the ring, so its block is there; the new one takes its place.
        let compressed = unsafe { self.get(node).compressed(edit.slab) };
        self.ring.set(node, compressed);
    }
}

impl<'a> QuicklistRef<'a> {
    pub(super) fn from_ring(ring: RingRef<'a>) -> QuicklistRef<'a> {
        QuicklistRef { ring }
    }

    /// Elements.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.ring.elements()
    }

    /// The nodes as they lie in memory.
    pub(super) fn nodes(self) -> impl ExactSizeIterator<Item = NodeRef<'a>> {
        (0..self.ring.nodes()).map(move |index| self.node(index))
    }

    /// A node as it lies in memory.
    pub(super) fn node(self, index: usize) -> NodeRef<'a> {
        // SAFETY: a node in the ring has its block, and nobody changes the list during `'a`.
        unsafe { self.ring.get(index).as_ref() }
    }

    /// The same nodes in a quicklist of its own.
    pub(super) fn copy(self, slab: &mut Slab) -> Quicklist {
        let copies: Vec<Node> = self.nodes().map(|node| Node::from_ref(node, slab)).collect();
        Quicklist::from_nodes(&copies, slab)
    }

    /// Bytes of the root block.
    pub(super) fn root_bytes(self) -> usize {
        self.ring.block_len()
    }

    /// Shows the elements from `start` on, which exists, in one direction, until told to stop.
    pub(super) fn walk(
        self,
        start: usize,
        toward: End,
        visit: &mut impl FnMut(usize, Packed<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (mut node, mut offset) = self.locate(start);
        // The index of the node's first element.
        let mut base = start - offset;
        let mut scratch = Vec::new();
        loop {
            match self.contents(node, &mut scratch) {
                Contents::Plain(element) => visit(base, Packed::Bytes(element))?,
                Contents::Pack(pack) => walk_pack(pack, base, offset, toward, visit)?,
            }
            match toward {
                End::Back => {
                    base += self.ring.get(node).count();
                    node += 1;
                    if node == self.ring.nodes() {
                        return ControlFlow::Continue(());
                    }
                    offset = 0;
                }
                End::Front => {
                    if node == 0 {
                        return ControlFlow::Continue(());
                    }
                    node -= 1;
                    let count = self.ring.get(node).count();
                    base -= count;
                    offset = count - 1;
                }
            }
        }
    }

    /// The node that the element at `index` is in, and its place there. The nearer end is where the search begins.
    fn locate(self, index: usize) -> (usize, usize) {
        debug_assert!(index < self.len());
        if index < self.len() / 2 {
            let (mut node, mut offset) = (0, index);
            while offset >= self.ring.get(node).count() {
                offset -= self.ring.get(node).count();
                node += 1;
            }
            return (node, offset);
        }
        // Elements from the wanted one to the end, itself included.
        let (mut node, mut behind) = (self.ring.nodes() - 1, self.len() - index);
        while behind > self.ring.get(node).count() {
            behind -= self.ring.get(node).count();
            node -= 1;
        }
        (node, self.ring.get(node).count() - behind)
    }

    fn contents<'b>(self, node: usize, scratch: &'b mut Vec<u8>) -> Contents<'b>
    where
        'a: 'b,
    {
        // SAFETY: a node in the ring has its block, and nobody changes the list during `'a`.
        unsafe { self.ring.get(node).contents(scratch) }
    }
}

fn limit(edit: &Edit<'_>) -> NodeLimit {
    NodeLimit::new(edit.limits.list_node)
}

/// Puts an element before the one at place `at`, or at the end.
fn insert_into(pack: &mut Listpack, slab: &mut Slab, at: usize, element: &[u8]) {
    match pack.as_ref().seek(at as i64) {
        Some(place) => {
            pack.insert_before(slab, place, element);
        }
        None => pack.push_back(slab, element),
    }
}
