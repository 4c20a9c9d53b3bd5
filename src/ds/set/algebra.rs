//! Intersection, union and difference, by Redis's algorithms; a new set that holds one has the encoding that Redis
//! would give it.

use super::{intset_entries_max, number_of, Held, Intset, Listpack, Packed, Set, SetRef, Slab, View};
use crate::{
    base::key::KeyHasher,
    ds::collection::{Collection, Edit},
};

/// Calls `f` with every member that all the sets have, until it says no.
///
/// The smallest set's members are looked up in the others, the next smaller one first.
pub fn intersection<'a>(sets: &[SetRef<'a>], hasher: &KeyHasher, mut f: impl FnMut(Packed<'a>) -> bool) {
    let mut sets = sets.to_vec();
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        let is_in = |set: &SetRef<'_>| set.is_same(*smallest) || set.has(member, hasher);
        if others.iter().all(is_in) && !f(member) {
            return;
        }
    }
}

impl Set {
    /// The members that all the sets have.
    ///
    /// It begins as a listpack, or as an intset where the smallest of the sets is one. In the end it becomes an intset
    /// if it has no strings and is small enough for one.
    pub fn intersection_of(sets: &[SetRef<'_>], edit: &mut Edit<'_>) -> Set {
        let smallest = sets.iter().min_by_key(|set| set.len());
        let mut result = Set(match smallest {
            Some(SetRef(View::Intset(_))) => Held::Intset(Intset::new(edit.slab)),
            _ => Held::Listpack(Listpack::new(edit.slab)),
        });
        let mut only_integers = true;
        intersection(sets, edit.hasher, |member| {
            only_integers &= number_of(member).is_some();
            result.insert(member, edit);
            true
        });
        if only_integers && result.as_ref().len() <= intset_entries_max(edit.limits) {
            result.become_intset(edit.slab);
        }
        result
    }

    /// The members that any of the sets has.
    ///
    /// It begins as an intset.
    pub fn union_of(sets: &[SetRef<'_>], edit: &mut Edit<'_>) -> Set {
        let mut result = Set::empty(edit.slab);
        for member in sets.iter().flat_map(|set| set.iter()) {
            result.insert(member, edit);
        }
        result
    }

    /// The members of `first` that none of the others has.
    ///
    /// It begins as an intset. Either each member of `first` is looked up in the others, the largest one first; or all
    /// of `first` is copied, and the others' members are taken out. The first way costs up to a lookup for each member
    /// of `first` in each set, the second one for each member of each set. The first one is mostly done sooner, so that
    /// it is taken unless it looks twice as expensive.
    pub fn difference_of(first: SetRef<'_>, others: &[SetRef<'_>], edit: &mut Edit<'_>) -> Set {
        let mut result = Set::empty(edit.slab);
        if others.iter().any(|other| other.is_same(first)) {
            return result;
        }
        let lookups = first.len() * (others.len() + 1);
        let members = first.len() + others.iter().map(|other| other.len()).sum::<usize>();
        if lookups / 2 <= members {
            let mut others = others.to_vec();
            others.sort_by_key(|other| std::cmp::Reverse(other.len()));
            for member in first.iter() {
                if !others.iter().any(|other| other.has(member, edit.hasher)) {
                    result.insert(member, edit);
                }
            }
            return result;
        }
        for member in first.iter() {
            result.insert(member, edit);
        }
        for member in others.iter().flat_map(|other| other.iter()) {
            if result.delete(member, edit) && result.as_ref().is_empty() {
                break;
            }
        }
        result
    }

    /// Takes the encoding for integers, which all members are.
    fn become_intset(&mut self, slab: &mut Slab) {
        if matches!(self.0, Held::Intset(_)) {
            return;
        }
        let mut intset = Intset::new(slab);
        for number in self.as_ref().iter().filter_map(number_of) {
            intset.insert(slab, number);
        }
        self.put(Held::Intset(intset), slab);
    }
}
