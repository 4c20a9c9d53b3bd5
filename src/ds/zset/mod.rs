//! Sorted sets: members in order by a score, and by their bytes where scores are equal.
//!
//! A small one is a listpack (`compact.rs`); a large one is a table of members (`large.rs`, `member.rs`) with a tree
//! that keeps their order (`tree.rs`, `node.rs`). A sorted set becomes large when it passes the limits of the
//! configuration, and small again only where it is told to (`make_small`).
//!
//! Ranges of every kind come down to ranks: `ranks_by_score` and `ranks_by_lex` say which ranks a range takes in, and
//! what is to be done with it is done with those.
//!
//! Invariant: no score is NaN.
//! Invariant: a set that is not large has no more members than `PackedLimits` allowed when the last one was added.
//!
//! Not here: which key a sorted set is under, and the options of ZADD.

mod compact;
mod large;
mod member;
mod node;
mod range;
mod transfer;
mod tree;

#[cfg(test)]
mod tests;

use std::{ops::Range, ptr::NonNull};

pub use range::{LexEnd, LexRange, ScoreRange};

use self::{
    compact::{Compact, CompactRef},
    large::{Large, Root},
    member::MemberRef,
};
use super::{
    collection::{Collection, Edit, Encoding, TAG_MASK},
    listpack::{Listpack, ListpackRef, Packed},
    slab::Slab,
};
use crate::base::key::KeyHasher;

/// Tags of the word.
const TAG_COMPACT: u64 = 0;
const TAG_LARGE: u64 = 1;

/// Freeing more members than this at once would keep the shard for too long.
const FREED_AT_ONCE_MAX: usize = 512;

/// A sorted set. Whoever has it must give it to an entry or free it.
pub struct Zset(Form<Compact, Large>);

/// A sorted set to read.
#[derive(Clone, Copy)]
pub struct ZsetRef<'a>(Form<CompactRef<'a>, &'a Root>);

#[derive(Clone, Copy)]
enum Form<C, L> {
    Compact(C),
    Large(L),
}

/// A member and its score.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The member.
    pub member: Packed<'a>,
    /// Its score.
    pub score: f64,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The score that the member had; `None` if it was not there.
    pub before: Option<f64>,
    /// The score that was decided on; `None` if nothing was to be changed.
    pub after: Option<f64>,
}

impl Update {
    /// Whether the member is new.
    pub fn is_added(self) -> bool {
        self.before.is_none() && self.after.is_some()
    }

    /// Whether the member has another score now than it had.
    pub fn is_changed(self) -> bool {
        matches!((self.before, self.after), (Some(before), Some(after)) if before != after)
    }
}

impl Item<'_> {
    /// Whether it comes before a member with this score.
    #[inline]
    fn is_before(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || (self.score == score && self.member.bytes(&mut itoa::Buffer::new()) < member)
    }
}

impl Zset {
    /// A set without members that is large from the beginning.
    pub fn large(slab: &mut Slab) -> Zset {
        Zset(Form::Large(Large::new(slab)))
    }

    /// Makes it small, if it is within the limits.
    pub fn make_small(&mut self, edit: &mut Edit<'_>) {
        let (Form::Large(large), limits) = (&mut self.0, edit.limits.zset) else { return };
        let fits = |(_, member): (f64, MemberRef<'_>)| member.bytes().len() <= limits.value_bytes;
        let root = large.root();
        if root.len() > limits.entries || !root.iter(0..root.len(), false).all(fits) {
            return;
        }
        let mut small = Compact::new(edit.slab);
        for (score, member) in root.iter(0..root.len(), false) {
            small.push(edit.slab, member.bytes(), score);
        }
        while !large.free_step(edit.slab, usize::MAX) {}
        self.0 = Form::Compact(small);
    }

    /// Sets the score of a member to what `decide` makes of the one that it has; a member that is not there is added.
    /// Where `decide` gives nothing, nothing changes. It must not give NaN. A large set tells a negative zero from
    /// zero; a small one has only the latter.
    pub fn update(
        &mut self,
        edit: &mut Edit<'_>,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Update {
        let small = match &mut self.0 {
            Form::Large(zset) => return zset.update(edit.slab, edit.hasher, member, decide),
            Form::Compact(zset) => zset,
        };
        let found = small.as_ref().find(member);
        let before = found.map(|found| found.score);
        let after = decide(before);
        match (found, after) {
            (_, None) => {}
            (Some(found), Some(score)) => {
                if found.score != score {
                    small.change_score(edit.slab, found, member, score);
                }
            }
            (None, Some(score)) => {
                let limits = edit.limits.zset;
                let fits = small.as_ref().len() < limits.entries
                    && member.len() <= limits.value_bytes
                    && small.list.as_ref().has_room_for(member.len());
                if fits {
                    small.insert(edit.slab, member, score);
                } else {
                    self.enlarge(edit).update(edit.slab, edit.hasher, member, |_| Some(score));
                }
            }
        }
        Update { before, after }
    }

    /// Takes note that so many members are about to be added: a set that cannot stay small with them becomes large now.
    pub fn reserve(&mut self, edit: &mut Edit<'_>, members: usize) {
        if members > edit.limits.zset.entries {
            self.enlarge(edit);
        }
    }

    /// Removes a member; the score that it had.
    pub fn remove(&mut self, edit: &mut Edit<'_>, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Compact(zset) => {
                let found = zset.as_ref().find(member)?;
                zset.remove(edit.slab, found);
                Some(found.score)
            }
            Form::Large(zset) => zset.remove(edit.slab, edit.hasher, member),
        }
    }

    /// Removes the members of a range of ranks, which lie in the set.
    pub fn remove_range(&mut self, edit: &mut Edit<'_>, ranks: Range<usize>) {
        if ranks.is_empty() {
            return;
        }
        match &mut self.0 {
            Form::Compact(zset) => zset.remove_range(edit.slab, ranks),
            Form::Large(zset) => zset.remove_range(edit.slab, edit.hasher, ranks),
        }
    }

    /// Makes it large, if it is not.
    fn enlarge(&mut self, edit: &mut Edit<'_>) -> &mut Large {
        if let Form::Compact(small) = &self.0 {
            let mut large = Large::new(edit.slab);
            let mut text = itoa::Buffer::new();
            let small = small.as_ref();
            for item in small.iter(0..small.len(), false) {
                large.update(edit.slab, edit.hasher, item.member.bytes(&mut text), |_| Some(item.score));
            }
            if let Form::Compact(small) = std::mem::replace(&mut self.0, Form::Large(large)) {
                small.list.free(edit.slab);
            }
        }
        match &mut self.0 {
            Form::Large(large) => large,
            Form::Compact(_) => unreachable!("it was just made large"),
        }
    }
}

impl<'a> ZsetRef<'a> {
    /// How many members there are.
    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            Form::Compact(zset) => zset.len(),
            Form::Large(zset) => zset.len(),
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The listpack of a small set: members and scores in turn, in order.
    pub fn as_listpack(self) -> Option<ListpackRef<'a>> {
        match self.0 {
            Form::Compact(zset) => Some(zset.list),
            Form::Large(_) => None,
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(self, hasher: &KeyHasher, member: &[u8]) -> Option<f64> {
        match self.0 {
            Form::Compact(zset) => zset.find(member).map(|found| found.score),
            Form::Large(zset) => zset.score(hasher, member),
        }
    }

    /// How many members come before this one, and its score.
    pub fn rank(self, hasher: &KeyHasher, member: &[u8]) -> Option<(usize, f64)> {
        match self.0 {
            Form::Compact(zset) => zset.find_ranked(member).map(|found| (found.rank, found.score)),
            Form::Large(zset) => zset.rank(hasher, member),
        }
    }

    /// The ranks of the members whose score lies in a range.
    pub fn ranks_by_score(self, range: &ScoreRange) -> Range<usize> {
        match self.0 {
            Form::Compact(zset) => zset.ranks_by_score(range),
            Form::Large(zset) => zset.ranks_by_score(range),
        }
    }

    /// The ranks of the members that lie in a range. Where scores differ it is some range, as in Redis.
    pub fn ranks_by_lex(self, range: &LexRange<'_>) -> Range<usize> {
        match self.0 {
            Form::Compact(zset) => zset.ranks_by_lex(range),
            Form::Large(zset) => zset.ranks_by_lex(range),
        }
    }

    /// The members of a range of ranks, which lie in the set: in order, or from the last to the first.
    pub fn range(self, ranks: Range<usize>, reverse: bool) -> Iter<'a> {
        Iter(match self.0 {
            Form::Compact(zset) => Form::Compact(zset.iter(ranks, reverse)),
            Form::Large(zset) => Form::Large(zset.iter(ranks, reverse)),
        })
    }

    /// All members, in order.
    pub fn iter(self) -> Iter<'a> {
        self.range(0..self.len(), false)
    }

    /// One step of a scan: calls `f` with about `count` members and returns the cursor to go on with, 0 at the end. A
    /// small set is shown at once. A member that is there from the first step to the last is shown at least once.
    pub fn scan(self, cursor: u64, count: usize, f: impl FnMut(Item<'a>)) -> u64 {
        match self.0 {
            Form::Compact(_) => {
                self.iter().for_each(f);
                0
            }
            Form::Large(zset) => zset.scan(cursor, count, f),
        }
    }
}

/// Members of a sorted set, one after the other.
#[derive(Clone)]
pub struct Iter<'a>(Form<compact::Iter<'a>, tree::Iter<'a>>);

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match &mut self.0 {
            Form::Compact(items) => items.next(),
            Form::Large(items) => items.next().map(|(score, member)| large::item(score, member)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Form::Compact(items) => items.size_hint(),
            Form::Large(items) => items.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

// SAFETY: the word is the address of a block of the slab, a multiple of 8 below 2^48, with a tag that says what lies
// there; `borrow` only looks through it.
unsafe impl Collection for Zset {
    type Ref<'a> = ZsetRef<'a>;

    fn empty(slab: &mut Slab) -> Self {
        Zset(Form::Compact(Compact::new(slab)))
    }

    #[inline]
    fn into_word(self) -> u64 {
        let (raw, tag) = match self.0 {
            Form::Compact(zset) => (zset.list.into_raw(), TAG_COMPACT),
            Form::Large(zset) => (zset.into_raw(), TAG_LARGE),
        };
        raw.as_ptr().expose_provenance() as u64 | tag
    }

    #[inline]
    unsafe fn from_word(word: u64) -> Self {
        let (raw, tag) = unpack(word);
        // SAFETY: the caller promises that `into_word` made the word, of what the tag says.
        Zset(unsafe {
            match tag {
                TAG_LARGE => Form::Large(Large::from_raw(raw)),
                _ => Form::Compact(Compact { list: Listpack::from_raw(raw) }),
            }
        })
    }

    #[inline]
    unsafe fn borrow<'a>(word: u64) -> ZsetRef<'a> {
        let (raw, tag) = unpack(word);
        // SAFETY: the caller promises that `into_word` made the word, of what the tag says, and that it stays.
        ZsetRef(unsafe {
            match tag {
                TAG_LARGE => Form::Large(Large::borrow(raw)),
                _ => Form::Compact(CompactRef { list: Listpack::borrow(raw) }),
            }
        })
    }

    #[inline]
    fn as_ref(&self) -> ZsetRef<'_> {
        ZsetRef(match &self.0 {
            Form::Compact(zset) => Form::Compact(zset.as_ref()),
            Form::Large(zset) => Form::Large(zset.root()),
        })
    }

    #[inline]
    fn len(of: ZsetRef<'_>) -> usize {
        of.len()
    }

    fn memory_bytes(of: ZsetRef<'_>) -> usize {
        match of.0 {
            Form::Compact(zset) => zset.list.memory_bytes(),
            Form::Large(zset) => zset.memory_bytes(),
        }
    }

    fn encoding(of: ZsetRef<'_>) -> Encoding {
        match of.0 {
            Form::Compact(_) => Encoding::Listpack,
            Form::Large(_) => Encoding::Skiplist,
        }
    }

    fn copy(of: ZsetRef<'_>, slab: &mut Slab, hasher: &KeyHasher) -> Self {
        Zset(match of.0 {
            Form::Compact(zset) => Form::Compact(Compact { list: zset.list.copy(slab) }),
            Form::Large(zset) => Form::Large(Large::copy(zset, slab, hasher)),
        })
    }

    fn export(of: ZsetRef<'_>, out: &mut Vec<u8>) {
        transfer::export(of, out);
    }

    fn import(bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<Self> {
        transfer::import(bytes, slab, hasher)
    }

    fn is_large(of: ZsetRef<'_>) -> bool {
        match of.0 {
            Form::Compact(_) => false,
            Form::Large(zset) => zset.len() > FREED_AT_ONCE_MAX,
        }
    }

    fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        match &mut self.0 {
            Form::Compact(zset) => {
                // SAFETY: the set ends here, as callers know, so the listpack is freed once.
                unsafe { std::ptr::read(&zset.list) }.free(slab);
                true
            }
            Form::Large(zset) => zset.free_step(slab, budget),
        }
    }
}

/// The pointer and the tag of a word.
#[inline]
fn unpack(word: u64) -> (NonNull<u8>, u64) {
    let address = (word & !TAG_MASK) as usize;
    let raw = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
    (raw.expect("the word of a sorted set"), word & TAG_MASK)
}
