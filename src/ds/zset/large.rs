//! A large sorted set: a table of its members, and their order.
//!
//! Invariant: table and tree hold the same members; a member's own score is the one by which the tree has it.

use std::{ops::Range, ptr::NonNull};

use super::{
    member::{Member, MemberRef},
    tree::{self, Tree},
    Item, LexRange, ScoreRange, Update,
};
use crate::{
    base::key::KeyHasher,
    ds::{
        listpack::Packed,
        slab::{class_size, Slab},
        table::{Element, HashKeys, Table},
    },
};

/// A large sorted set. Whoever has it must free it.
pub(super) struct Large(NonNull<Root>);

/// What lies in the root's block.
pub(super) struct Root {
    table: Table<Member>,
    tree: Tree,
    /// Bytes of the members' blocks.
    member_bytes: usize,
}

impl Large {
    /// Without members.
    pub(super) fn new(slab: &mut Slab) -> Self {
        let block = slab.alloc(size_of::<Root>()).cast::<Root>();
        let root = Root { table: Table::new(), tree: Tree::new(), member_bytes: 0 };
        // SAFETY: the block is large enough, aligned to 8 as the root is, and nobody else has it.
        unsafe { block.write(root) };
        Large(block)
    }

    /// The pointer.
    pub(super) fn into_raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// The set of a pointer.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw` and is given back once.
    pub(super) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Large(raw.cast())
    }

    /// The set of a pointer, to read.
    ///
    /// # Safety
    ///
    /// The pointer came from `into_raw`, and nobody changes or frees the set during `'a`.
    pub(super) unsafe fn borrow<'a>(raw: NonNull<u8>) -> &'a Root {
        // SAFETY: as the caller promises.
        unsafe { raw.cast().as_ref() }
    }

    /// The set, to read.
    pub(super) fn root(&self) -> &Root {
        // SAFETY: the root lives until `free_step` ends it, and is ours.
        unsafe { self.0.as_ref() }
    }

    fn root_mut(&mut self) -> &mut Root {
        // SAFETY: as for `root`.
        unsafe { self.0.as_mut() }
    }

    /// Sets the score of a member to what `decide` makes of the one that it has, adding the member if need be.
    pub(super) fn update(
        &mut self,
        slab: &mut Slab,
        hasher: &KeyHasher,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Update {
        let Root { table, tree, member_bytes } = self.root_mut();
        let mut place = table.place(hasher.hash_key(member), member);
        let before = place.element().map(MemberRef::score);
        let after = decide(before);
        match (before, after, place.element()) {
            (_, None, _) => {}
            (Some(before), Some(after), Some(element)) => {
                // A zero may get another sign.
                if before.to_bits() != after.to_bits() {
                    tree.change_score(slab, before, after, element);
                    if let Some(mut element) = place.element_mut() {
                        element.set_score(after);
                    }
                }
            }
            (_, Some(after), _) => {
                let new = Member::new(slab, member, after);
                *member_bytes += new.as_ref().block_bytes();
                tree.insert(slab, after, new.as_ref());
                place.insert(slab, hasher, new, false);
            }
        }
        Update { before, after }
    }

    /// Removes a member; its score.
    pub(super) fn remove(&mut self, slab: &mut Slab, hasher: &KeyHasher, member: &[u8]) -> Option<f64> {
        let Root { table, tree, member_bytes } = self.root_mut();
        let mut place = table.place(hasher.hash_key(member), member);
        let element = place.element()?;
        let score = element.score();
        tree.remove(slab, score, element);
        *member_bytes -= element.block_bytes();
        if let Some(member) = place.remove(slab) {
            member.free(slab);
        }
        Some(score)
    }

    /// Removes a range of ranks.
    pub(super) fn remove_range(&mut self, slab: &mut Slab, hasher: &KeyHasher, ranks: Range<usize>) {
        let Root { table, tree, member_bytes } = self.root_mut();
        tree.remove_range(slab, ranks.start as u64..ranks.end as u64, |slab, raw| {
            // SAFETY: it is in the table still.
            let bytes = unsafe { MemberRef::from_raw(raw) }.bytes();
            if let Some(member) = table.place(hasher.hash_key(bytes), bytes).remove(slab) {
                *member_bytes -= member.as_ref().block_bytes();
                member.free(slab);
            }
        });
    }

    /// A copy.
    pub(super) fn copy(of: &Root, slab: &mut Slab, hasher: &KeyHasher) -> Large {
        let mut copy = Large::new(slab);
        for (score, member) in of.tree.iter(0..of.tree.len(), false) {
            copy.update(slab, hasher, member.bytes(), |_| Some(score));
        }
        copy
    }

    /// Frees about `budget` members; true when not even the root is left.
    pub(super) fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        let root = self.root_mut();
        // A node takes as long as a few members.
        let nodes = budget.div_ceil(4);
        if !root.tree.free_step(slab, nodes) {
            return false;
        }
        root.table.drain_step(slab, budget);
        if !root.table.is_empty() {
            return false;
        }
        // SAFETY: the root is ours and ends here, as callers know. A table without elements owns no memory.
        unsafe {
            std::ptr::drop_in_place(self.0.as_ptr());
            slab.free(self.0.cast(), size_of::<Root>());
        }
        true
    }
}

impl Root {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len() as usize
    }

    /// Bytes that the set takes.
    pub(super) fn memory_bytes(&self) -> usize {
        class_size(size_of::<Root>())
            + self.table.memory_bytes()
            + self.tree.memory_bytes()
            + self.member_bytes
    }

    /// The score of a member.
    #[inline]
    pub(super) fn score(&self, hasher: &KeyHasher, member: &[u8]) -> Option<f64> {
        self.table.find(hasher.hash_key(member), member).map(MemberRef::score)
    }

    /// The rank of a member, and its score.
    pub(super) fn rank(&self, hasher: &KeyHasher, member: &[u8]) -> Option<(usize, f64)> {
        let element = self.table.find(hasher.hash_key(member), member)?;
        let score = element.score();
        Some((self.tree.rank_of(score, element) as usize, score))
    }

    /// The ranks of a range of scores.
    pub(super) fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.tree.rank(|score, _| range.is_below(score));
        let end = self.tree.rank(|score, _| !range.is_above(score));
        start as usize..end.max(start) as usize
    }

    /// The ranks of a range of members.
    pub(super) fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let start = self.tree.rank(|_, member| range.is_below(member.bytes()));
        let end = self.tree.rank(|_, member| !range.is_above(member.bytes()));
        start as usize..end.max(start) as usize
    }

    /// The members of a range of ranks, in order or from the last to the first.
    pub(super) fn iter(&self, ranks: Range<usize>, reverse: bool) -> tree::Iter<'_> {
        self.tree.iter(ranks.start as u64..ranks.end as u64, reverse)
    }

    /// One step of a scan.
    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, mut f: impl FnMut(Item<'a>)) -> u64 {
        self.table.scan(cursor, count, |member| f(item(member.score(), member)))
    }
}

/// A member with its score, as all sorted sets show it.
#[inline]
pub(super) fn item(score: f64, member: MemberRef<'_>) -> Item<'_> {
    Item { member: Packed::Bytes(member.bytes()), score }
}
