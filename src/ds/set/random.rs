//! Members drawn by chance, each as likely as any other.
//!
//! Several distinct ones are drawn by one walk over the set (selection sampling: Knuth, volume 2, algorithm S), which
//! needs no memory, or, where they are few of many, one by one.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::{Held, Listpack, Packed, Set, SetRef, View};
use crate::{
    base::prng::Prng,
    ds::{
        collection::{Collection, Edit},
        intset::Intset,
    },
};

/// A table with more than this many times the members that are wanted is not walked over.
const DRAW_SINGLY_FROM: usize = 3;

/// Where more than this many times the members that stay are popped, these are moved to a set of their own.
const POP_BY_MOVING_FROM: usize = 5;

/// A member of up to this length is copied without allocating.
const MEMBER_BYTES_INLINE: usize = 128;

/// Chooses `wanted` of `left` things that come by one after the other.
struct Selection {
    left: usize,
    wanted: usize,
}

impl Selection {
    /// Whether the next one is chosen.
    fn takes_next(&mut self, prng: &mut Prng) -> bool {
        let takes = prng.below(self.left as u64) < self.wanted as u64;
        self.left -= 1;
        self.wanted -= usize::from(takes);
        takes
    }
}

impl<'a> SetRef<'a> {
    /// A member; `None` of an empty set.
    pub fn random(self, prng: &mut Prng) -> Option<Packed<'a>> {
        if self.is_empty() {
            return None;
        }
        match self.0 {
            View::Intset(intset) => intset.random(prng).map(Packed::Int),
            View::Listpack(listpack) => {
                let index = prng.below(listpack.len() as u64) as i64;
                listpack.seek(index).map(|at| listpack.get(at))
            }
            View::Table(table) => table.random(prng).map(|member| Packed::Bytes(member.bytes())),
        }
    }

    /// Calls `f` with `count` members of a set that is not empty; the same one may come again.
    pub fn random_with_repeats(self, count: usize, prng: &mut Prng, mut f: impl FnMut(Packed<'a>)) {
        match self.0 {
            // To find a member by its index takes a walk: one for all of them will do.
            View::Listpack(listpack) if count > 1 => {
                let members: Vec<Packed<'a>> = listpack.iter().collect();
                (0..count).for_each(|_| f(members[prng.below(members.len() as u64) as usize]));
            }
            _ => (0..count).filter_map(|_| self.random(prng)).for_each(f),
        }
    }

    /// Calls `f` with `count` distinct members, or with all where there are not so many.
    pub fn random_distinct(self, count: usize, prng: &mut Prng, mut f: impl FnMut(Packed<'a>)) {
        let len = self.len();
        match self.0 {
            View::Table(table) if count < len.div_ceil(DRAW_SINGLY_FROM) => {
                let mut drawn = BTreeSet::new();
                while drawn.len() < count {
                    let Some(member) = table.random(prng) else { return };
                    if drawn.insert(member.address()) {
                        f(Packed::Bytes(member.bytes()));
                    }
                }
            }
            _ => {
                let mut selection = Selection { left: len, wanted: count.min(len) };
                self.iter().filter(|_| selection.takes_next(prng)).for_each(f);
            }
        }
    }
}

impl Set {
    /// Removes a member and calls `f` with it; nothing of an empty set.
    pub fn pop(&mut self, edit: &mut Edit<'_>, prng: &mut Prng, f: impl FnOnce(Packed<'_>)) {
        let Some(member) = self.as_ref().random(prng) else { return };
        f(member);
        // A copy: the member goes while its name is in use.
        let mut text = itoa::Buffer::new();
        let copy = SmallVec::<[u8; MEMBER_BYTES_INLINE]>::from_slice(member.bytes(&mut text));
        self.remove(&copy, edit);
    }

    /// Removes `count` members, or all where there are not so many, and calls `f` with each. A large set of which few
    /// stay becomes a compact one, if the limits allow.
    pub fn pop_many(
        &mut self,
        count: usize,
        edit: &mut Edit<'_>,
        prng: &mut Prng,
        mut f: impl FnMut(Packed<'_>),
    ) {
        let len = self.as_ref().len();
        let count = count.min(len);
        let moves = count >= (len - count) * POP_BY_MOVING_FROM;
        let mut popped = Selection { left: len, wanted: count };
        let mut text = itoa::Buffer::new();
        let rest = match self.as_ref().0 {
            View::Table(_) if !moves => {
                (0..count).for_each(|_| self.pop(edit, prng, &mut f));
                return;
            }
            View::Intset(ints) if !moves => {
                let mut rest = Intset::new(edit.slab);
                for number in ints.iter() {
                    if popped.takes_next(prng) {
                        f(Packed::Int(number));
                    } else {
                        rest.insert(edit.slab, number);
                    }
                }
                Held::Intset(rest)
            }
            View::Listpack(members) if !moves => {
                let mut rest = Listpack::new(edit.slab);
                for member in members.iter() {
                    if popped.takes_next(prng) {
                        f(member);
                    } else {
                        rest.push_back(edit.slab, member.bytes(&mut text));
                    }
                }
                Held::Listpack(rest)
            }
            view => {
                let mut rest = Set(match view {
                    View::Intset(_) => Held::Intset(Intset::new(edit.slab)),
                    _ => Held::Listpack(Listpack::new(edit.slab)),
                });
                for member in self.as_ref().iter() {
                    if popped.takes_next(prng) {
                        f(member);
                    } else {
                        rest.insert(member, edit);
                    }
                }
                rest.0
            }
        };
        self.put(rest, edit.slab);
    }
}
