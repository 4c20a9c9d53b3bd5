//! A small sorted set: a listpack of members, each followed by its score, in order.
//!
//! A score is an integer where it is one, else a text (`base::double`), as in Redis. So a negative zero loses its sign.
//!
//! Invariant: the listpack's elements come in pairs, in order by score and then by the member's bytes; the second of a
//! pair reads as a number, and no member is there twice.

use std::ops::Range;

use super::{Item, LexRange, ScoreRange};
use crate::{
    base::double,
    ds::{
        listpack::{are_distinct, At, Listpack, ListpackRef, Packed},
        slab::Slab,
    },
};

/// A small sorted set. Whoever has it must free its listpack.
pub(super) struct Compact {
    pub(super) list: Listpack,
}

/// A small sorted set to read.
#[derive(Clone, Copy)]
pub(super) struct CompactRef<'a> {
    pub(super) list: ListpackRef<'a>,
}

/// Where a member is, and its score.
#[derive(Clone, Copy)]
pub(super) struct Found {
    at: At,
    pub(super) rank: usize,
    pub(super) score: f64,
}

impl Compact {
    /// Without members.
    pub(super) fn new(slab: &mut Slab) -> Self {
        Compact { list: Listpack::new(slab) }
    }

    /// To read.
    #[inline]
    pub(super) fn as_ref(&self) -> CompactRef<'_> {
        CompactRef { list: self.list.as_ref() }
    }

    /// Adds a member that is not there.
    pub(super) fn insert(&mut self, slab: &mut Slab, member: &[u8], score: f64) {
        let behind = self.as_ref().pairs().find(|(_, item)| !item.is_before(score, member));
        let Some((at, _)) = behind else { return self.push(slab, member, score) };
        let at = self.list.insert_before(slab, at, member);
        match double::integer(score) {
            Some(integer) => self.list.insert_after_int(slab, at, integer),
            None => self.list.insert_after(slab, at, double::Buffer::new().format(score).as_bytes()),
        };
    }

    /// Adds a member that comes after all that are there.
    pub(super) fn push(&mut self, slab: &mut Slab, member: &[u8], score: f64) {
        self.list.push_back(slab, member);
        match double::integer(score) {
            Some(integer) => self.list.push_back_int(slab, integer),
            None => self.list.push_back(slab, double::Buffer::new().format(score).as_bytes()),
        }
    }

    /// Gives a member another score.
    pub(super) fn change_score(&mut self, slab: &mut Slab, found: Found, member: &[u8], score: f64) {
        self.remove(slab, found);
        self.insert(slab, member, score);
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, slab: &mut Slab, found: Found) {
        if let Some(score) = self.list.remove(slab, found.at) {
            self.list.remove(slab, score);
        }
    }

    /// Removes a range of ranks.
    pub(super) fn remove_range(&mut self, slab: &mut Slab, ranks: Range<usize>) {
        self.list.remove_range(slab, 2 * ranks.start as i64, 2 * ranks.len());
    }
}

impl<'a> CompactRef<'a> {
    #[inline]
    pub(super) fn len(self) -> usize {
        self.list.len() / 2
    }

    /// Where a member is.
    pub(super) fn find(self, member: &[u8]) -> Option<Found> {
        let at = self.list.find(member, 1)?;
        let score = score_of(self.list.get(self.list.next(at)?));
        Some(Found { at, rank: 0, score })
    }

    /// Where a member is, with its rank.
    pub(super) fn find_ranked(self, member: &[u8]) -> Option<Found> {
        let wanted = Packed::of(member);
        let (rank, (at, item)) = self.pairs().enumerate().find(|(_, (_, item))| item.member == wanted)?;
        Some(Found { at, rank, score: item.score })
    }

    /// The ranks of a range of scores.
    pub(super) fn ranks_by_score(self, range: &ScoreRange) -> Range<usize> {
        self.ranks(|item| range.is_below(item.score), |item| range.is_above(item.score))
    }

    /// The ranks of a range of members.
    pub(super) fn ranks_by_lex(self, range: &LexRange<'_>) -> Range<usize> {
        let mut text = itoa::Buffer::new();
        let mut other = itoa::Buffer::new();
        self.ranks(
            |item| range.is_below(item.member.bytes(&mut text)),
            |item| range.is_above(item.member.bytes(&mut other)),
        )
    }

    fn ranks(
        self,
        mut is_below: impl FnMut(Item<'a>) -> bool,
        mut is_above: impl FnMut(Item<'a>) -> bool,
    ) -> Range<usize> {
        let mut items = self.pairs().map(|(_, item)| item).enumerate();
        let Some((start, first)) = items.find(|&(_, item)| !is_below(item)) else {
            return self.len()..self.len();
        };
        if is_above(first) {
            return start..start;
        }
        let end = items.find(|&(_, item)| is_above(item)).map(|(end, _)| end);
        start..end.unwrap_or_else(|| self.len())
    }

    /// The members of a range of ranks, in order or from the last to the first.
    pub(super) fn iter(self, ranks: Range<usize>, reverse: bool) -> Iter<'a> {
        let first = match reverse {
            true => ranks.end.saturating_sub(1),
            false => ranks.start,
        };
        let at = if ranks.is_empty() { None } else { self.list.seek(2 * first as i64) };
        Iter { list: self.list, at, left: ranks.len(), reverse }
    }

    fn pairs(self) -> impl Iterator<Item = (At, Item<'a>)> {
        let mut next = self.list.first();
        std::iter::from_fn(move || {
            let at = next?;
            let score = self.list.next(at)?;
            next = self.list.next(score);
            Some((at, Item { member: self.list.get(at), score: score_of(self.list.get(score)) }))
        })
    }

    /// Whether the elements of a listpack are what they must be; for bytes from elsewhere.
    pub(super) fn is_sound(self) -> bool {
        let is_number = |score: Packed<'_>| match score {
            Packed::Int(_) => true,
            Packed::Bytes(text) => double::parse(text).is_some(),
        };
        let mut text = itoa::Buffer::new();
        let mut previous: Option<Item<'a>> = None;
        let mut is_next = |(_, item): (At, Item<'a>)| {
            let previous = previous.replace(item);
            previous.is_none_or(|previous| previous.is_before(item.score, item.member.bytes(&mut text)))
        };
        self.list.len() % 2 == 0
            && self.list.iter().skip(1).step_by(2).all(is_number)
            && self.pairs().all(&mut is_next)
            && are_distinct(self.list.iter().step_by(2))
    }
}

/// Members in order, or from the last to the first.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    list: ListpackRef<'a>,
    at: Option<At>,
    left: usize,
    reverse: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.left = self.left.checked_sub(1)?;
        let member = self.at?;
        let score = self.list.next(member)?;
        self.at = match self.reverse {
            true => self.list.prev(member).and_then(|score| self.list.prev(score)),
            false => self.list.next(score),
        };
        Some(Item { member: self.list.get(member), score: score_of(self.list.get(score)) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The number that an element is.
#[inline]
fn score_of(element: Packed<'_>) -> f64 {
    match element {
        Packed::Int(integer) => integer as f64,
        // We wrote it, or looked at it.
        Packed::Bytes(text) => double::parse(text).unwrap_or_default(),
    }
}
