//! Lists: one listpack while small, else a quicklist.
//!
//! A list becomes a quicklist before it would grow beyond the limit of one node (`list-max-listpack-size`), and a
//! listpack again when it has shrunk to one node at most half full: a list that grows and shrinks by one element does
//! not change its encoding each time.
//!
//! ```text
//! word --- tag 0 --- listpack
//!       \
//!        - tag 1 --- root: a ring of nodes, each of them a listpack, a compressed listpack, or one long element
//! ```
//!
//! Elements are read by showing them to a function: those of a compressed node exist only while it looks.
//!
//! Not here: keys, blocking, and what an index of a client means (a negative one counts from the end).

mod built;
mod codec;
mod limit;
mod node;
mod quicklist;
mod ring;
mod walk;

#[cfg(test)]
mod tests;

use std::{ops::ControlFlow, ptr::NonNull};

pub use self::{built::ListBuilder, node::NodeRef, walk::Needle};

use self::{
    limit::NodeLimit,
    node::Node,
    quicklist::{Quicklist, QuicklistRef},
    ring::Ring,
    walk::walk_pack,
};
use super::{
    collection::{Collection, Edit, Encoding, TAG_MASK},
    listpack::{Listpack, ListpackRef, Packed},
    slab::{class_size, Slab},
};
use crate::base::key::KeyHasher;

const PACKED: u64 = 0;
const QUICK: u64 = 1;

/// Nodes that are freed in about 50 microseconds.
const NODES_AT_ONCE: usize = 400;

/// Nodes that `memory_bytes` looks at.
const SAMPLE: usize = 5;

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where index 0 is: Redis's LEFT, or head.
    Front,
    /// Where the last element is: Redis's RIGHT, or tail.
    Back,
}

/// Where an element goes that is inserted beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nearer to the front.
    Before,
    /// Nearer to the back.
    After,
}

/// A list. Whoever has it must keep or free it.
pub struct List(Form);

/// A list to read.
#[derive(Clone, Copy)]
pub struct ListRef<'a>(FormRef<'a>);

enum Form {
    Packed(Listpack),
    Quick(Quicklist),
}

#[derive(Clone, Copy)]
enum FormRef<'a> {
    Packed(ListpackRef<'a>),
    Quick(QuicklistRef<'a>),
}

// SAFETY: blocks of the slab are multiples of 8 below 2^48, and stay until they are freed; the tag says which of the
// two a block is; a borrow only looks.
unsafe impl Collection for List {
    type Ref<'a> = ListRef<'a>;

    fn empty(slab: &mut Slab) -> List {
        List(Form::Packed(Listpack::new(slab)))
    }

    fn into_word(self) -> u64 {
        match self.0 {
            Form::Packed(pack) => pack.into_raw().as_ptr() as u64 | PACKED,
            Form::Quick(quick) => quick.into_ring().into_raw().as_ptr() as u64 | QUICK,
        }
    }

    unsafe fn from_word(word: u64) -> List {
        let (tag, raw) = parts(word);
        // SAFETY: as the caller promises, the word owns such a block.
        unsafe {
            List(match tag {
                PACKED => Form::Packed(Listpack::from_raw(raw)),
                _ => Form::Quick(Quicklist::from_ring(Ring::from_raw(raw))),
            })
        }
    }

    #[inline]
    unsafe fn borrow<'a>(word: u64) -> ListRef<'a> {
        let (tag, raw) = parts(word);
        // SAFETY: as the caller promises, such a block is there and does not change.
        unsafe {
            ListRef(match tag {
                PACKED => FormRef::Packed(Listpack::borrow(raw)),
                _ => FormRef::Quick(QuicklistRef::from_ring(Ring::borrow(raw))),
            })
        }
    }

    #[inline]
    fn as_ref(&self) -> ListRef<'_> {
        ListRef(match &self.0 {
            Form::Packed(pack) => FormRef::Packed(pack.as_ref()),
            Form::Quick(quick) => FormRef::Quick(quick.as_ref()),
        })
    }

    #[inline]
    fn len(of: ListRef<'_>) -> usize {
        of.len()
    }

    fn memory_bytes(of: ListRef<'_>) -> usize {
        match of.0 {
            FormRef::Packed(pack) => class_size(pack.total_bytes()),
            FormRef::Quick(quick) => {
                let nodes = quick.nodes().len();
                let sampled: usize = quick.nodes().take(SAMPLE).map(NodeRef::memory_bytes).sum();
                class_size(quick.root_bytes()) + sampled * nodes / nodes.clamp(1, SAMPLE)
            }
        }
    }

    fn encoding(of: ListRef<'_>) -> Encoding {
        match of.0 {
            FormRef::Packed(_) => Encoding::Listpack,
            FormRef::Quick(_) => Encoding::Quicklist,
        }
    }

    fn copy(of: ListRef<'_>, slab: &mut Slab, _: &KeyHasher) -> List {
        List(match of.0 {
            FormRef::Packed(pack) => Form::Packed(pack.copy(slab)),
            FormRef::Quick(quick) => Form::Quick(quick.copy(slab)),
        })
    }

    fn export(of: ListRef<'_>, out: &mut Vec<u8>) {
        codec::export(of, out);
    }

    fn import(bytes: &[u8], slab: &mut Slab, _: &KeyHasher) -> Option<List> {
        codec::import(bytes, slab)
    }

    fn is_large(of: ListRef<'_>) -> bool {
        match of.0 {
            FormRef::Packed(_) => false,
            FormRef::Quick(quick) => quick.nodes().len() > NODES_AT_ONCE,
        }
    }

    fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        match &mut self.0 {
            Form::Packed(pack) => {
                // SAFETY: the list ends here, as the caller knows from the answer.
                unsafe { std::ptr::read(pack) }.free(slab);
                true
            }
            Form::Quick(quick) => quick.free_step(slab, budget),
        }
    }
}

impl List {
    /// Adds elements at one end, one after the other: at the front the last one comes to stand first.
    pub fn push_all<'e, I>(&mut self, edit: &mut Edit<'_>, end: End, elements: I)
    where
        I: Iterator<Item = &'e [u8]> + Clone,
    {
        let (count, bytes) =
            elements.clone().fold((0, 0), |(count, bytes), element| (count + 1, bytes + element.len()));
        self.grow(edit, count, bytes);
        elements.for_each(|element| self.put(edit, end, element));
    }

    /// Adds an element at one end.
    pub fn push(&mut self, edit: &mut Edit<'_>, end: End, element: &[u8]) {
        self.grow(edit, 1, element.len());
        self.put(edit, end, element);
    }

    /// Shows the element at one end and removes it.
    pub fn pop<R>(&mut self, edit: &mut Edit<'_>, end: End, show: impl FnOnce(Packed<'_>) -> R) -> Option<R> {
        let shown = self.as_ref().at_end(end, show)?;
        self.remove_end(edit, end);
        self.shrink(edit);
        Some(shown)
    }

    /// Moves the element at one end to one end, the same or the other, and shows it.
    pub fn rotate<R>(
        &mut self,
        edit: &mut Edit<'_>,
        from: End,
        to: End,
        show: impl FnOnce(Packed<'_>) -> R,
    ) -> Option<R> {
        let (shown, element) = self.as_ref().at_end(from, |element| {
            let bytes = element.bytes(&mut itoa::Buffer::new()).to_vec();
            (show(element), bytes)
        })?;
        // An encoding is changed for the list as it is at the end, not for one with an element less.
        self.remove_end(edit, from);
        self.push(edit, to, &element);
        self.shrink(edit);
        Some(shown)
    }

    /// Puts an element beside the one at `index`; whether there is one.
    pub fn insert(&mut self, edit: &mut Edit<'_>, index: usize, side: Side, element: &[u8]) -> bool {
        if index >= self.as_ref().len() {
            return false;
        }
        self.grow(edit, 1, element.len());
        match &mut self.0 {
            Form::Quick(quick) => quick.insert(edit, index, side, element),
            Form::Packed(pack) => {
                let at = pack.as_ref().seek(index as i64).expect("an index below the length");
                match side {
                    Side::Before => pack.insert_before(edit.slab, at, element),
                    Side::After => pack.insert_after(edit.slab, at, element),
                };
            }
        }
        true
    }

    /// Puts an element in the place of the one at `index`; whether there was one.
    pub fn set(&mut self, edit: &mut Edit<'_>, index: usize, element: &[u8]) -> bool {
        if index >= self.as_ref().len() {
            return false;
        }
        self.grow(edit, 1, element.len());
        match &mut self.0 {
            Form::Quick(quick) => quick.replace(edit, index, element),
            Form::Packed(pack) => {
                let at = pack.as_ref().seek(index as i64).expect("an index below the length");
                pack.replace(edit.slab, at, element);
            }
        }
        self.shrink(edit);
        true
    }

    /// Removes up to `count` elements from `start` on; how many there were.
    pub fn remove_range(&mut self, edit: &mut Edit<'_>, start: usize, count: usize) -> usize {
        let count = count.min(self.as_ref().len().saturating_sub(start));
        match &mut self.0 {
            Form::Packed(pack) if count > 0 => pack.remove_range(edit.slab, start as i64, count),
            Form::Packed(_) => {}
            Form::Quick(quick) => quick.remove_range(edit, start, count),
        }
        self.shrink(edit);
        count
    }

    /// Removes up to `count` elements that are equal to `needle`, looking from one end; how many there were.
    pub fn remove_equal(&mut self, edit: &mut Edit<'_>, needle: &[u8], from: End, count: usize) -> usize {
        let needle = Needle::new(needle);
        let removed = match &mut self.0 {
            Form::Packed(pack) => walk::remove_equal(pack, edit.slab, needle, from, count),
            Form::Quick(quick) => quick.remove_equal(edit, needle, from, count),
        };
        if removed > 0 {
            self.shrink(edit);
        }
        removed
    }

    /// Becomes a quicklist if so much more would be too much for a listpack. All that adds elements does so first;
    /// LINSERT and LSET do so even where it turns out that there is nothing to add.
    pub fn grow(&mut self, edit: &mut Edit<'_>, count: usize, bytes: usize) {
        let Form::Packed(pack) = &self.0 else { return };
        let limit = NodeLimit::new(edit.limits.list_node);
        if limit.allows(pack.as_ref().total_bytes() + bytes, pack.as_ref().len() + count) {
            return;
        }
        // SAFETY: a quicklist takes the place of the listpack, which moves into its first node.
        let pack = unsafe { std::ptr::read(pack) };
        let quick = if pack.as_ref().is_empty() {
            pack.free(edit.slab);
            Quicklist::new(edit.slab)
        } else {
            Quicklist::from_nodes(&[Node::of_pack(pack)], edit.slab)
        };
        self.0 = Form::Quick(quick);
    }

    /// Becomes a listpack if one node is left and at most half full.
    fn shrink(&mut self, edit: &mut Edit<'_>) {
        let Form::Quick(quick) = &mut self.0 else { return };
        let Some(pack) = quick.take_half_full(edit) else { return };
        quick.free_step(edit.slab, usize::MAX);
        self.0 = Form::Packed(pack);
    }

    /// Removes the element at one end, which there is.
    fn remove_end(&mut self, edit: &mut Edit<'_>, end: End) {
        let index = match end {
            End::Front => 0,
            End::Back => self.as_ref().len() - 1,
        };
        match &mut self.0 {
            Form::Packed(pack) => pack.remove_range(edit.slab, index as i64, 1),
            Form::Quick(quick) => quick.remove_range(edit, index, 1),
        }
    }

    /// Adds an element at one end of the encoding that the list has.
    fn put(&mut self, edit: &mut Edit<'_>, end: End, element: &[u8]) {
        match (&mut self.0, end) {
            (Form::Packed(pack), End::Front) => pack.push_front(edit.slab, element),
            (Form::Packed(pack), End::Back) => pack.push_back(edit.slab, element),
            (Form::Quick(quick), end) => quick.push(edit, end, element),
        }
    }
}

impl<'a> ListRef<'a> {
    /// How many elements there are.
    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            FormRef::Packed(pack) => pack.len(),
            FormRef::Quick(quick) => quick.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Shows the element at `index`, if there is one.
    pub fn at<R>(self, index: usize, show: impl FnOnce(Packed<'_>) -> R) -> Option<R> {
        let (mut show, mut shown) = (Some(show), None);
        self.walk(index, End::Back, |_, element| {
            shown = show.take().map(|show| show(element));
            ControlFlow::Break(())
        });
        shown
    }

    /// Shows the element at one end, if there is one.
    pub fn at_end<R>(self, end: End, show: impl FnOnce(Packed<'_>) -> R) -> Option<R> {
        match end {
            End::Front => self.at(0, show),
            End::Back => self.at(self.len().checked_sub(1)?, show),
        }
    }

    /// Shows the elements from `start` on toward one end, with their indexes, until told to stop.
    pub fn walk(
        self,
        start: usize,
        toward: End,
        mut visit: impl FnMut(usize, Packed<'_>) -> ControlFlow<()>,
    ) {
        if start >= self.len() {
            return;
        }
        // Whether it was told to stop does not matter here.
        let _ = match self.0 {
            FormRef::Packed(pack) => walk_pack(pack, 0, start, toward, &mut visit),
            FormRef::Quick(quick) => quick.walk(start, toward, &mut visit),
        };
    }

    /// Shows up to `count` elements from `start` on toward one end.
    pub fn range(self, start: usize, toward: End, count: usize, mut show: impl FnMut(Packed<'_>)) {
        let mut left = count;
        if left == 0 {
            return;
        }
        self.walk(start, toward, |_, element| {
            show(element);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    }

    /// How many nodes there are; a packed list is one.
    #[inline]
    pub fn node_count(self) -> usize {
        match self.0 {
            FormRef::Packed(_) => 1,
            FormRef::Quick(quick) => quick.nodes().len(),
        }
    }

    /// The nodes from one on, as they lie in memory, toward the back: what a snapshot writes.
    pub fn nodes_from(self, index: usize) -> impl Iterator<Item = NodeRef<'a>> {
        (index..self.node_count()).map(move |index| match self.0 {
            FormRef::Packed(pack) => NodeRef::of_pack(pack),
            FormRef::Quick(quick) => quick.node(index),
        })
    }
}

/// The tag of a word, and its block.
#[inline]
fn parts(word: u64) -> (u64, NonNull<u8>) {
    let raw = NonNull::new((word & !TAG_MASK) as *mut u8).expect("the word of a list");
    (word & TAG_MASK, raw)
}
