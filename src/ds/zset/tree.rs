//! The order of a large sorted set: a counted B+tree of its members by score, then by their bytes.
//!
//! It holds pointers to members that the set's table owns. Every branch of an inner node says how many items are under
//! it, so ranks and ranges by rank take one descent. All other ranges come down to ranks: where a range begins is how
//! many items are before it.
//!
//! Nodes are kept full. One that overflows first gives entries to a neighbour under the same parent, and where none has
//! room it is split: at the end where the new item goes, if it goes to one, so that sets filled in order fill their
//! nodes; else in the middle.
//!
//! Invariant: items are in order, from the first entry of the first leaf to the last entry of the last.
//! Invariant: the first item and the count of a branch are those of its child.
//! Invariant: no node is empty; a tree without items has no node.
//! Invariant: a root that is an inner node has at least two branches.
//!
//! Not here: the members' memory, and looking one up by its bytes alone.

use std::{marker::PhantomData, ops::Range, ptr::NonNull};

use smallvec::SmallVec;

use super::{
    member::MemberRef,
    node::{Branch, Entry, Inner, Item, Leaf, Node, NODE_BYTES},
};
use crate::ds::{slab::Slab, table::prefetch};

/// A neighbour must have room for this share of its entries to be given some: moving them one by one does not pay.
const SPARE_SHARE: usize = 8;

/// How far ahead of an iteration members are asked of the memory.
const PREFETCH_ITEMS: usize = 4;

/// The order of the members.
pub(super) struct Tree {
    /// A leaf where the height is zero, else an inner node.
    root: Option<NonNull<u8>>,
    /// Levels of inner nodes.
    height: u32,
    len: u64,
    nodes: usize,
}

/// The inner nodes above a leaf, from the root down, and the branch that was taken in each.
type Path = SmallVec<[(NonNull<Inner>, usize); 8]>;

/// A place in a leaf; good until the tree changes.
#[derive(Clone, Copy)]
struct Position {
    leaf: NonNull<Leaf>,
    index: usize,
}

impl Tree {
    /// Without members. It allocates nothing before the first.
    pub(super) fn new() -> Tree {
        Tree { root: None, height: 0, len: 0, nodes: 0 }
    }

    /// How many members.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the nodes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.nodes * NODE_BYTES
    }

    /// Adds a member with a score. It is not there, and lives until it is removed.
    pub(super) fn insert(&mut self, slab: &mut Slab, score: f64, member: MemberRef<'_>) {
        let (item, bytes) = (Item { score, member: member.raw() }, member.bytes());
        let mut below = match self.root {
            Some(root) => root,
            None => self.adopt(Leaf::alloc(slab).cast()),
        };
        // SAFETY: the nodes of the tree live, each is reached by one pointer at a time, and their members live.
        unsafe {
            if match self.height {
                0 => below.cast::<Leaf>().as_ref().is_full(),
                _ => below.cast::<Inner>().as_ref().is_full(),
            } {
                let branch = match self.height {
                    0 => Branch::of(below.cast::<Leaf>()),
                    _ => Branch::of(below.cast::<Inner>()),
                };
                below = self.adopt(Inner::alloc(slab).cast());
                below.cast::<Inner>().as_mut().insert(0, branch);
                self.height += 1;
            }
            for level in (1..=self.height).rev() {
                let inner = below.cast::<Inner>().as_mut();
                let mut at = branch_of(inner, |item| is_before(item, score, bytes));
                let was_full = match level {
                    1 => self.relieve::<Item, { Leaf::ROOM }>(slab, inner, at, score, bytes),
                    _ => self.relieve::<Branch, { Inner::ROOM }>(slab, inner, at, score, bytes),
                };
                if was_full {
                    at = branch_of(inner, |item| is_before(item, score, bytes));
                }
                let branch = &mut inner.entries_mut()[at];
                branch.count += 1;
                if !is_before(branch.first, score, bytes) {
                    branch.first = item;
                }
                below = branch.child;
            }
            let leaf = below.cast::<Leaf>().as_mut();
            let at = leaf.entries().partition_point(|&item| is_before(item, score, bytes));
            leaf.insert(at, item);
        }
        self.len += 1;
    }

    /// Takes a member out, which has this score.
    pub(super) fn remove(&mut self, slab: &mut Slab, score: f64, member: MemberRef<'_>) {
        let mut path = Path::new();
        let position = self.locate(score, member, &mut path);
        self.cut(slab, &path, position, 1);
    }

    /// Gives a member, which has the score `from`, another one.
    pub(super) fn change_score(&mut self, slab: &mut Slab, from: f64, to: f64, member: MemberRef<'_>) {
        let (mut path, bytes) = (Path::new(), member.bytes());
        let position = self.locate(from, member, &mut path);
        // SAFETY: nodes and members of the tree live, each node reached by one pointer at a time.
        unsafe {
            let stays = position.before().is_none_or(|item| is_before(item, to, bytes))
                && position.after().is_none_or(|item| !is_before(item, to, bytes));
            if stays {
                let mut leaf = position.leaf;
                leaf.as_mut().entries_mut()[position.index].score = to;
                let mut is_first = position.index == 0;
                for (mut inner, at) in path.into_iter().rev() {
                    if !is_first {
                        break;
                    }
                    inner.as_mut().entries_mut()[at].first.score = to;
                    is_first = at == 0;
                }
                return;
            }
        }
        self.cut(slab, &path, position, 1);
        self.insert(slab, to, member);
    }

    /// Takes a range of ranks out; `removed` is given each member, and may free it.
    pub(super) fn remove_range(
        &mut self,
        slab: &mut Slab,
        ranks: Range<u64>,
        mut removed: impl FnMut(&mut Slab, NonNull<u8>),
    ) {
        let mut left = ranks.end - ranks.start;
        while left > 0 {
            let mut path = Path::new();
            let position = self.descend_to(ranks.start, &mut path);
            // SAFETY: the leaf lives, and the items are copied before it changes.
            let entries = unsafe { position.leaf.as_ref() }.entries();
            let count = (entries.len() - position.index).min(left as usize);
            let items: SmallVec<[Item; Leaf::ROOM]> =
                SmallVec::from_slice(&entries[position.index..position.index + count]);
            self.cut(slab, &path, position, count);
            items.into_iter().for_each(|item| removed(slab, item.member));
            left -= count as u64;
        }
    }

    /// How many members come before the first for which `is_before` is false. Those for which it is true must come
    /// before all others.
    pub(super) fn rank(&self, is_before: impl Fn(f64, MemberRef<'_>) -> bool) -> u64 {
        // SAFETY: members in the tree live, and with `self` borrowed nobody changes them.
        let is_before = |item: Item| is_before(item.score, unsafe { MemberRef::from_raw(item.member) });
        let Some(mut below) = self.root else { return 0 };
        let mut rank = 0;
        for _ in 0..self.height {
            // SAFETY: the nodes of the tree live, and with `self` borrowed nobody changes them.
            let inner = unsafe { below.cast::<Inner>().as_ref() };
            let at = branch_of(inner, is_before);
            rank += Branch::count(&inner.entries()[..at]);
            below = inner.entries()[at].child;
        }
        // SAFETY: as before.
        let leaf = unsafe { below.cast::<Leaf>().as_ref() };
        rank + leaf.entries().partition_point(|&item| is_before(item)) as u64
    }

    /// The rank of a member that is there with this score.
    pub(super) fn rank_of(&self, score: f64, member: MemberRef<'_>) -> u64 {
        let bytes = member.bytes();
        self.rank(|other, member| (other, member.bytes()) < (score, bytes))
    }

    /// The members of a range of ranks, in order or from the last to the first.
    pub(super) fn iter(&self, ranks: Range<u64>, reverse: bool) -> Iter<'_> {
        debug_assert!(ranks.end <= self.len);
        let left = ranks.end.saturating_sub(ranks.start);
        let position = (left > 0).then(|| {
            let rank = if reverse { ranks.end - 1 } else { ranks.start };
            self.descend_to(rank, &mut Path::new())
        });
        Iter { position, left, reverse, tree: PhantomData }
    }

    /// Frees about `budget` nodes, whatever is in them. True when none is left.
    ///
    /// The levels go from the top down, each from its second node on and its first node last: what is left is led to
    /// by that one's first branch.
    pub(super) fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        let mut budget = budget.max(1);
        while let Some(root) = self.root {
            // SAFETY: the nodes of the tree live and are ours alone; each is freed once.
            unsafe {
                let below = match self.height {
                    0 => {
                        if !self.free_level::<Item, { Leaf::ROOM }>(slab, root.cast(), &mut budget) {
                            return false;
                        }
                        None
                    }
                    _ => {
                        let child = root.cast::<Inner>().as_ref().entries()[0].child;
                        if !self.free_level::<Branch, { Inner::ROOM }>(slab, root.cast(), &mut budget) {
                            return false;
                        }
                        self.height -= 1;
                        Some(child)
                    }
                };
                self.root = below;
            }
        }
        self.len = 0;
        true
    }

    /// Frees the level that begins with `first`, as far as the budget goes; true when all of it is freed.
    ///
    /// # Safety
    ///
    /// `first` is the first node of its level, and nobody looks into the level any more.
    unsafe fn free_level<E: Entry, const ROOM: usize>(
        &mut self,
        slab: &mut Slab,
        mut first: NonNull<Node<E, ROOM>>,
        budget: &mut usize,
    ) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            while let Some(mut second) = first.as_ref().next() {
                if *budget == 0 {
                    return false;
                }
                *budget -= 1;
                second.as_mut().unlink();
                self.release(slab, second);
            }
            first.as_mut().unlink();
            self.release(slab, first);
        }
        true
    }

    /// Takes `count` items out that follow one another in a leaf, and puts what is above in order again.
    fn cut(&mut self, slab: &mut Slab, path: &Path, position: Position, count: usize) {
        let mut leaf = position.leaf;
        // SAFETY: the nodes of the tree live, each is reached by one pointer at a time, and so do their members.
        unsafe {
            leaf.as_mut().remove(position.index..position.index + count);
            for (level, &(mut inner, at)) in path.iter().rev().enumerate() {
                match level {
                    0 => self.mend::<Item, { Leaf::ROOM }>(slab, inner.as_mut(), at),
                    _ => self.mend::<Branch, { Inner::ROOM }>(slab, inner.as_mut(), at),
                }
            }
            self.len -= count as u64;
            self.lower_root(slab);
        }
    }

    /// Removes nodes at the top that no longer tell anything apart.
    ///
    /// # Safety
    ///
    /// Nobody else uses nodes of the tree.
    unsafe fn lower_root(&mut self, slab: &mut Slab) {
        // SAFETY: the nodes of the tree live, and are ours alone; each is freed when nothing leads to it any more.
        unsafe {
            while let Some(root) = self.root {
                if self.len == 0 {
                    // Of inner nodes the last branch was removed with its child, so one node is left.
                    self.root = None;
                    match self.height {
                        0 => self.release(slab, root.cast::<Leaf>()),
                        _ => self.release(slab, root.cast::<Inner>()),
                    }
                    self.height = 0;
                    return;
                }
                match self.height {
                    0 => return,
                    _ => match root.cast::<Inner>().as_ref().entries() {
                        [only] => self.root = Some(only.child),
                        _ => return,
                    },
                }
                self.height -= 1;
                self.release(slab, root.cast::<Inner>());
            }
        }
    }

    /// Makes room in the child at `at`, if it is full, for an item; the parent has room. Whether it was full.
    ///
    /// # Safety
    ///
    /// The children of `parent` are nodes of this type, and nobody else uses them.
    unsafe fn relieve<E: Entry, const ROOM: usize>(
        &mut self,
        slab: &mut Slab,
        parent: &mut Inner,
        at: usize,
        score: f64,
        bytes: &[u8],
    ) -> bool {
        // SAFETY: as the caller promises; the children are different nodes.
        unsafe {
            let child = child_of::<E, ROOM>(parent, at);
            if !child.is_full() {
                return false;
            }
            if at > 0 {
                let prev = child_of::<E, ROOM>(parent, at - 1);
                let spare = ROOM - prev.len();
                if spare >= ROOM / SPARE_SHARE {
                    child.move_to_prev(prev, spare / 2);
                    refresh::<E, ROOM>(parent, at - 1);
                    refresh::<E, ROOM>(parent, at);
                    return true;
                }
            }
            if at + 1 < parent.len() {
                let next = child_of::<E, ROOM>(parent, at + 1);
                let spare = ROOM - next.len();
                if spare >= ROOM / SPARE_SHARE {
                    child.move_to_next(next, spare / 2);
                    refresh::<E, ROOM>(parent, at);
                    refresh::<E, ROOM>(parent, at + 1);
                    return true;
                }
            }
            let (first, last) = (child.entries()[0].first(), child.entries()[ROOM - 1].first());
            let moved = if is_before(last, score, bytes) {
                1
            } else if !is_before(first, score, bytes) {
                ROOM - 1
            } else {
                ROOM / 2
            };
            let mut new = Node::<E, ROOM>::alloc(slab);
            self.nodes += 1;
            child.link_next(parent.entries()[at].child.cast(), new);
            child.move_to_next(new.as_mut(), moved);
            refresh::<E, ROOM>(parent, at);
            parent.insert(at + 1, Branch::of(new));
        }
        true
    }

    /// Brings a branch up to date whose child has lost entries. A child that is empty goes; one that has become small
    /// is joined with a neighbour, or given a part of its entries.
    ///
    /// # Safety
    ///
    /// The children of `parent` are nodes of this type, and nobody else uses them.
    unsafe fn mend<E: Entry, const ROOM: usize>(&mut self, slab: &mut Slab, parent: &mut Inner, at: usize) {
        // SAFETY: as the caller promises; the children are different nodes.
        unsafe {
            let len = child_of::<E, ROOM>(parent, at).len();
            if len == 0 {
                self.drop_child::<E, ROOM>(slab, parent, at);
                return;
            }
            refresh::<E, ROOM>(parent, at);
            if len >= ROOM / 2 {
                return;
            }
            let len_of = |at: usize| child_of::<E, ROOM>(parent, at).len();
            let before = at.checked_sub(1).map(len_of);
            let after = (at + 1 < parent.len()).then(|| len_of(at + 1));
            // Short of full, so that the next insertion does not split it again.
            let fits = |other: usize| len + other <= ROOM - ROOM / SPARE_SHARE;
            let first = match (before, after) {
                (Some(before), _) if fits(before) => at - 1,
                (_, Some(after)) if fits(after) => at,
                (Some(before), after) if len < ROOM / 4 && after.is_none_or(|after| after <= before) => {
                    let prev = child_of::<E, ROOM>(parent, at - 1);
                    prev.move_to_next(child_of::<E, ROOM>(parent, at), (before - len) / 2);
                    refresh::<E, ROOM>(parent, at - 1);
                    refresh::<E, ROOM>(parent, at);
                    return;
                }
                (_, Some(after)) if len < ROOM / 4 => {
                    let next = child_of::<E, ROOM>(parent, at + 1);
                    next.move_to_prev(child_of::<E, ROOM>(parent, at), (after - len) / 2);
                    refresh::<E, ROOM>(parent, at);
                    refresh::<E, ROOM>(parent, at + 1);
                    return;
                }
                _ => return,
            };
            let second = child_of::<E, ROOM>(parent, first + 1);
            second.move_to_prev(child_of::<E, ROOM>(parent, first), second.len());
            self.drop_child::<E, ROOM>(slab, parent, first + 1);
            refresh::<E, ROOM>(parent, first);
        }
    }

    /// Removes an empty child.
    ///
    /// # Safety
    ///
    /// As for `mend`.
    unsafe fn drop_child<E: Entry, const ROOM: usize>(
        &mut self,
        slab: &mut Slab,
        parent: &mut Inner,
        at: usize,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let child = parent.entries()[at].child.cast::<Node<E, ROOM>>();
            (*child.as_ptr()).unlink();
            parent.remove(at..at + 1);
            self.release(slab, child);
        }
    }

    /// Makes a new node the root.
    fn adopt(&mut self, node: NonNull<u8>) -> NonNull<u8> {
        self.nodes += 1;
        *self.root.insert(node)
    }

    /// Frees a node.
    ///
    /// # Safety
    ///
    /// It is one of the tree's, and nothing leads to it any more.
    unsafe fn release<E: Entry, const ROOM: usize>(&mut self, slab: &mut Slab, node: NonNull<Node<E, ROOM>>) {
        self.nodes -= 1;
        // SAFETY: as the caller promises.
        unsafe { Node::free(node, slab) };
    }

    /// The place of a member that is there with this score.
    fn locate(&self, score: f64, member: MemberRef<'_>, path: &mut Path) -> Position {
        let bytes = member.bytes();
        let is_up_to = |item: Item| item.member == member.raw() || is_before(item, score, bytes);
        let mut below = self.root.expect("a tree with members has a root");
        for _ in 0..self.height {
            let inner = below.cast::<Inner>();
            // SAFETY: the nodes of the tree live, and with `self` borrowed nobody changes them.
            let entries = unsafe { inner.as_ref() };
            let at = branch_of(entries, is_up_to);
            path.push((inner, at));
            below = entries.entries()[at].child;
        }
        let leaf = below.cast::<Leaf>();
        // SAFETY: as before.
        let entries = unsafe { leaf.as_ref() }.entries();
        let index = entries.partition_point(|&item| is_up_to(item)).checked_sub(1);
        let index =
            index.filter(|&index| entries[index].member == member.raw()).expect("the member is there");
        Position { leaf, index }
    }

    /// The place of a rank, which is below the length.
    fn descend_to(&self, rank: u64, path: &mut Path) -> Position {
        debug_assert!(rank < self.len);
        let (mut below, mut rank) = (self.root.expect("a tree with members has a root"), rank);
        for _ in 0..self.height {
            let inner = below.cast::<Inner>();
            // SAFETY: the nodes of the tree live, and with `self` borrowed nobody changes them.
            let entries = unsafe { inner.as_ref() }.entries();
            let mut at = 0;
            while rank >= entries[at].count {
                rank -= entries[at].count;
                at += 1;
            }
            path.push((inner, at));
            below = entries[at].child;
        }
        Position { leaf: below.cast(), index: rank as usize }
    }
}

impl Branch {
    /// The branch that leads to a node, which is not empty.
    ///
    /// # Safety
    ///
    /// The node lives, and nobody changes it meanwhile.
    unsafe fn of<E: Entry, const ROOM: usize>(node: NonNull<Node<E, ROOM>>) -> Branch {
        // SAFETY: as the caller promises.
        let entries = unsafe { node.as_ref() }.entries();
        Branch { first: entries[0].first(), child: node.cast(), count: E::count(entries) }
    }
}

impl Position {
    /// The item here, if there is one.
    ///
    /// # Safety
    ///
    /// For this and the next two: nobody changes the tree meanwhile, and has not since it gave the position.
    #[inline]
    unsafe fn item(self) -> Option<Item> {
        // SAFETY: as the caller promises.
        unsafe { self.leaf.as_ref() }.entries().get(self.index).copied()
    }

    unsafe fn before(self) -> Option<Item> {
        // SAFETY: as the caller promises.
        unsafe { self.prev()?.item() }
    }

    unsafe fn after(self) -> Option<Item> {
        // SAFETY: as the caller promises.
        unsafe { self.next()?.item() }
    }

    /// The next place, of an item that is there.
    ///
    /// # Safety
    ///
    /// As for `item`.
    #[inline]
    unsafe fn next(self) -> Option<Position> {
        // SAFETY: as the caller promises; neighbours of a leaf in the tree are in the tree.
        let leaf = unsafe { self.leaf.as_ref() };
        if self.index + 1 < leaf.len() {
            return Some(Position { index: self.index + 1, ..self });
        }
        leaf.next().map(|leaf| Position { leaf, index: 0 })
    }

    /// The place before.
    ///
    /// # Safety
    ///
    /// As for `item`.
    #[inline]
    unsafe fn prev(self) -> Option<Position> {
        if self.index > 0 {
            return Some(Position { index: self.index - 1, ..self });
        }
        // SAFETY: as the caller promises; neighbours of a leaf in the tree are in the tree.
        unsafe {
            let leaf = self.leaf.as_ref().prev()?;
            Some(Position { leaf, index: leaf.as_ref().len() - 1 })
        }
    }
}

/// Members in order, or from the last to the first.
#[derive(Clone)]
pub(super) struct Iter<'t> {
    position: Option<Position>,
    left: u64,
    reverse: bool,
    tree: PhantomData<&'t Tree>,
}

impl<'t> Iterator for Iter<'t> {
    type Item = (f64, MemberRef<'t>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let position = self.position?;
        // SAFETY: with the tree borrowed nobody changes it or its members.
        unsafe {
            let item = position.item()?;
            let ahead = match self.reverse {
                true => position.index.checked_sub(PREFETCH_ITEMS),
                false => Some(position.index + PREFETCH_ITEMS),
            };
            if let Some(ahead) = ahead.and_then(|index| position.leaf.as_ref().entries().get(index)) {
                prefetch(ahead.member.as_ptr());
            }
            self.position = if self.reverse { position.prev() } else { position.next() };
            Some((item.score, MemberRef::from_raw(item.member)))
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Whether an item comes before a score and a member's bytes.
///
/// Called only with items of a tree whose members live.
#[inline]
fn is_before(item: Item, score: f64, bytes: &[u8]) -> bool {
    // SAFETY: members of a tree live until they are removed, and nobody changes them while the tree is used.
    item.score < score || (item.score == score && unsafe { item.bytes() } < bytes)
}

/// The branch of the last item for which `is_before` is true; the first branch where that is true for none.
#[inline]
fn branch_of(inner: &Inner, is_before: impl Fn(Item) -> bool) -> usize {
    inner.entries().partition_point(|branch| is_before(branch.first)).saturating_sub(1)
}

/// A child.
///
/// # Safety
///
/// The children of `parent` are nodes of this type, and nobody else uses this one during `'a`.
#[inline]
unsafe fn child_of<'a, E: Entry, const ROOM: usize>(parent: &Inner, at: usize) -> &'a mut Node<E, ROOM> {
    // SAFETY: as the caller promises.
    unsafe { parent.entries()[at].child.cast().as_mut() }
}

/// Brings a branch up to date with its child.
///
/// # Safety
///
/// As for `child_of`.
unsafe fn refresh<E: Entry, const ROOM: usize>(parent: &mut Inner, at: usize) {
    // SAFETY: as the caller promises.
    parent.entries_mut()[at] = unsafe { Branch::of::<E, ROOM>(parent.entries()[at].child.cast()) };
}

#[cfg(test)]
mod tests;
