//! Sorted sets against a map from members to scores: in every encoding, whatever is done, both answer the same.

use std::collections::BTreeMap;

use super::*;
use crate::{
    base::{prng::Prng, time::UnixMs},
    ds::collection::EncodingLimits,
};

/// A sorted set, its shard's memory, and what it should hold.
struct Both {
    slab: Slab,
    hasher: KeyHasher,
    limits: EncodingLimits,
    zset: Option<Zset>,
    model: BTreeMap<Vec<u8>, f64>,
}

impl Both {
    /// With a limit on the members of a small set.
    fn new(entries: usize) -> Both {
        let mut slab = Slab::new();
        let zset = Some(Zset::empty(&mut slab));
        let mut limits = EncodingLimits::default();
        limits.zset.entries = entries;
        Both { slab, hasher: KeyHasher::new([1, 2, 3, 4]), limits, zset, model: BTreeMap::new() }
    }

    fn edit<R>(&mut self, f: impl FnOnce(&mut Zset, &mut Edit<'_>) -> R) -> R {
        let mut edit = Edit::new(&mut self.slab, &self.hasher, &self.limits, UnixMs(0));
        f(self.zset.as_mut().unwrap(), &mut edit)
    }

    fn zset(&self) -> ZsetRef<'_> {
        self.zset.as_ref().unwrap().as_ref()
    }

    fn set(&mut self, member: &[u8], score: f64) {
        let before = self.model.insert(member.to_vec(), score);
        let update = self.edit(|zset, edit| zset.update(edit, member, |_| Some(score)));
        assert_eq!(update, Update { before, after: Some(score) });
    }

    /// What the model holds, in order.
    fn sorted(&self) -> Vec<(f64, Vec<u8>)> {
        let mut all: Vec<_> = self.model.iter().map(|(member, &score)| (score, member.clone())).collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        all
    }

    fn check(&self) {
        let sorted = self.sorted();
        let zset = self.zset();
        assert_eq!(zset.len(), sorted.len());
        assert_eq!(shown(zset.iter()), sorted);
        let reverse: Vec<_> = sorted.iter().rev().cloned().collect();
        assert_eq!(shown(zset.range(0..zset.len(), true)), reverse);
        if matches!(zset.0, Form::Compact(_)) {
            assert_eq!(Zset::memory_bytes(zset), self.slab.allocated_bytes());
        }
    }

    fn free(mut self) {
        self.zset.take().unwrap().free(&mut self.slab);
        assert_eq!(self.slab.allocated_bytes(), 0);
    }
}

fn shown<'a>(items: impl Iterator<Item = Item<'a>>) -> Vec<(f64, Vec<u8>)> {
    items.map(|item| (item.score, item.member.bytes(&mut itoa::Buffer::new()).to_vec())).collect()
}

fn member(prng: &mut Prng) -> Vec<u8> {
    match prng.below(20) {
        0..4 => (prng.below(60) as i64 - 30).to_string().into_bytes(),
        4 => Vec::new(),
        _ => (0..1 + prng.below(3)).map(|_| b'a' + prng.below(5) as u8).collect(),
    }
}

fn score(prng: &mut Prng, equal: bool) -> f64 {
    if equal {
        return 1.0;
    }
    match prng.below(30) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => -0.0,
        3 => prng.unit_f64() * 1e300,
        4 => -1e-7,
        _ => prng.below(80) as f64 / 4.0 - 10.0,
    }
}

fn lex_end<'a>(prng: &mut Prng, member: &'a [u8]) -> LexEnd<'a> {
    match prng.below(8) {
        0 => LexEnd::Lowest,
        1 => LexEnd::Highest,
        draw if draw % 2 == 0 => LexEnd::Closed(member),
        _ => LexEnd::Open(member),
    }
}

/// The ranks of a model's members that are in; they follow one another.
fn ranks(sorted: &[(f64, Vec<u8>)], is_in: impl Fn(&(f64, Vec<u8>)) -> bool) -> Range<usize> {
    let Some(start) = sorted.iter().position(&is_in) else { return 0..0 };
    start..start + sorted[start..].iter().take_while(|item| is_in(item)).count()
}

fn same_ranks(found: Range<usize>, expected: Range<usize>, len: usize) {
    assert!(found.start <= found.end && found.end <= len, "{found:?} of {len}");
    assert!(found == expected || (found.is_empty() && expected.is_empty()), "{found:?}, not {expected:?}");
}

#[test]
fn it_holds_what_a_map_holds() {
    for (seed, entries, equal) in
        [(1, 0, false), (2, 20, false), (3, 400, false), (4, 0, true), (5, 400, true), (6, 20, true)]
    {
        let mut prng = Prng::new(seed);
        let mut both = Both::new(entries);
        for round in 0..6000 {
            let grows = if round / 1500 % 2 == 0 { 7 } else { 3 };
            let name = member(&mut prng);
            let len = both.model.len() as u64;
            match prng.below(10) {
                draw if draw < grows => {
                    let score = score(&mut prng, equal);
                    both.set(&name, score);
                }
                7 if prng.below(10) == 0 && len > 0 => {
                    let start = prng.below(len) as usize;
                    let end = start + prng.below(len - start as u64 + 1).min(30) as usize;
                    both.edit(|zset, edit| zset.remove_range(edit, start..end));
                    for (_, member) in both.sorted().drain(start..end) {
                        both.model.remove(&member);
                    }
                }
                8 => {
                    let update = both.edit(|zset, edit| zset.update(edit, &name, |_| None));
                    assert_eq!(update, Update { before: both.model.get(&name).copied(), after: None });
                }
                _ => {
                    let removed = both.edit(|zset, edit| zset.remove(edit, &name));
                    assert_eq!(removed, both.model.remove(&name));
                }
            }
            let zset = both.zset();
            assert_eq!(zset.score(&both.hasher, &name), both.model.get(&name).copied());
            if round % 10 > 0 {
                continue;
            }
            both.check();
            let (zset, sorted) = (both.zset(), both.sorted());
            let rank = sorted.iter().position(|(_, member)| *member == name);
            assert_eq!(zset.rank(&both.hasher, &name), rank.map(|rank| (rank, sorted[rank].0)));
            let range = ScoreRange {
                min: score(&mut prng, equal),
                min_is_open: prng.below(2) == 0,
                max: score(&mut prng, equal),
                max_is_open: prng.below(2) == 0,
            };
            let is_in = |(score, _): &(f64, Vec<u8>)| !range.is_below(*score) && !range.is_above(*score);
            same_ranks(zset.ranks_by_score(&range), ranks(&sorted, is_in), sorted.len());
            if equal {
                let (min, max) = (member(&mut prng), member(&mut prng));
                let range = LexRange { min: lex_end(&mut prng, &min), max: lex_end(&mut prng, &max) };
                let is_in = |(_, m): &(f64, Vec<u8>)| !range.is_below(m) && !range.is_above(m);
                same_ranks(zset.ranks_by_lex(&range), ranks(&sorted, is_in), sorted.len());
            }
            if !sorted.is_empty() {
                let start = prng.below(sorted.len() as u64) as usize;
                let end = start + prng.below((sorted.len() - start) as u64 + 1) as usize;
                assert_eq!(shown(zset.range(start..end, false)), sorted[start..end]);
            }
            let mut cursor = 0;
            let mut seen = BTreeMap::new();
            loop {
                cursor = zset.scan(cursor, 7, |item| {
                    seen.extend(shown([item].into_iter()).into_iter().map(|(s, m)| (m, s)))
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, both.model);
        }
        both.free();
    }
}

#[test]
fn it_becomes_large_where_redis_makes_it_a_skiplist() {
    let mut both = Both::new(128);
    for at in 0..128 {
        both.set(format!("m{at}").as_bytes(), f64::from(at));
        assert_eq!(Zset::encoding(both.zset()), Encoding::Listpack);
    }
    both.set(b"m5", 500.0);
    assert_eq!(Zset::encoding(both.zset()), Encoding::Listpack);
    both.set(b"one more", 1.0);
    assert_eq!(Zset::encoding(both.zset()), Encoding::Skiplist);
    both.check();
    both.free();

    let mut both = Both::new(128);
    both.set(&[b'x'; 64], 1.0);
    assert_eq!(Zset::encoding(both.zset()), Encoding::Listpack);
    both.set(&[b'x'; 65], 1.0);
    assert_eq!(Zset::encoding(both.zset()), Encoding::Skiplist);
    both.check();
    both.free();

    let mut both = Both::new(128);
    both.edit(|zset, edit| zset.reserve(edit, 128));
    assert_eq!(Zset::encoding(both.zset()), Encoding::Listpack);
    both.edit(|zset, edit| zset.reserve(edit, 129));
    assert_eq!(Zset::encoding(both.zset()), Encoding::Skiplist);
    both.free();
}

#[test]
fn a_large_set_becomes_small_where_it_may() {
    for (members, longest, encoding) in [
        (0, 0, Encoding::Listpack),
        (20, 64, Encoding::Listpack),
        (20, 65, Encoding::Skiplist),
        (21, 64, Encoding::Skiplist),
    ] {
        let mut both = Both::new(20);
        both.zset.replace(Zset::large(&mut both.slab)).unwrap().free(&mut both.slab);
        for at in 0..members {
            let member = format!("{at:0longest$}");
            both.set(member.as_bytes(), f64::from(at % 3));
        }
        both.edit(|zset, edit| zset.make_small(edit));
        assert_eq!(Zset::encoding(both.zset()), encoding);
        both.check();
        both.free();
    }
}

#[test]
fn a_small_set_is_what_redis_writes() {
    let mut both = Both::new(128);
    for (member, score) in [("b", 1.5), ("a", 1.5), ("12", -0.0), ("z", f64::INFINITY), ("y", 3.0)] {
        both.set(member.as_bytes(), score);
    }
    let Form::Compact(zset) = both.zset().0 else { panic!("five members") };
    let elements: Vec<Packed<'_>> = zset.list.iter().collect();
    let text = |text: &'static str| Packed::Bytes(text.as_bytes());
    let (int, expected) = (Packed::Int, |at: usize| elements[at]);
    assert_eq!([expected(0), expected(1)], [int(12), int(0)]);
    assert_eq!([expected(2), expected(3)], [text("a"), text("1.5")]);
    assert_eq!([expected(4), expected(5)], [text("b"), text("1.5")]);
    assert_eq!([expected(6), expected(7)], [text("y"), int(3)]);
    assert_eq!([expected(8), expected(9)], [text("z"), text("inf")]);
    both.free();
}

/// A set of each encoding.
fn both_encodings() -> [Both; 2] {
    [128, 0].map(|entries| {
        let mut both = Both::new(entries);
        for at in 0..100u32 {
            both.set(format!("member {at}").as_bytes(), f64::from(at * 7 % 10) / 3.0);
        }
        both
    })
}

#[test]
fn copies_and_exports_are_the_same_in_the_same_encoding() {
    for mut both in both_encodings() {
        let Both { slab, hasher, zset: Some(zset), .. } = &mut both else { panic!("it has a set") };
        let mut bytes = Vec::new();
        Zset::export(zset.as_ref(), &mut bytes);
        let copy = Zset::copy(zset.as_ref(), slab, hasher);
        let import = Zset::import(&bytes, slab, hasher).unwrap();
        for other in [copy, import] {
            assert_eq!(shown(other.as_ref().iter()), shown(zset.as_ref().iter()));
            assert_eq!(Zset::encoding(other.as_ref()), Zset::encoding(zset.as_ref()));
            let word = other.into_word();
            // SAFETY: the word was just made, and nobody changes the set.
            assert_eq!(unsafe { Zset::borrow(word) }.len(), 100);
            // SAFETY: as before.
            unsafe { Zset::from_word(word) }.free(slab);
        }
        both.free();
    }
}

#[test]
fn damaged_bytes_are_refused_without_loss() {
    let mut prng = Prng::new(9);
    for both in both_encodings() {
        let mut bytes = Vec::new();
        Zset::export(both.zset(), &mut bytes);
        let mut slab = Slab::new();
        let mut refused = 0;
        for round in 0..4000 {
            let mut damaged = bytes.clone();
            match round % 3 {
                0 => damaged.truncate(prng.below(bytes.len() as u64) as usize),
                1 => damaged.push(prng.next_u64() as u8),
                _ => {
                    for _ in 0..1 + prng.below(3) {
                        damaged[prng.below(bytes.len() as u64) as usize] = prng.next_u64() as u8;
                    }
                }
            }
            match Zset::import(&damaged, &mut slab, &both.hasher) {
                None => refused += 1,
                Some(zset) => {
                    assert!(shown(zset.as_ref().iter()).is_sorted());
                    zset.free(&mut slab);
                }
            }
            assert_eq!(slab.allocated_bytes(), 0);
        }
        assert!(refused > 2000, "{refused}");
        both.free();
    }
    // A member twice, in an order that is right.
    let mut both = Both::new(128);
    both.set(b"a", 1.0);
    let Form::Compact(zset) = &mut both.zset.as_mut().unwrap().0 else { panic!("one member") };
    zset.list.push_back(&mut both.slab, b"a");
    zset.list.push_back_int(&mut both.slab, 2);
    let mut bytes = Vec::new();
    Zset::export(both.zset(), &mut bytes);
    assert!(Zset::import(&bytes, &mut Slab::new(), &both.hasher).is_none());
    both.free();
}

#[test]
fn a_large_set_is_freed_in_steps() {
    let mut both = Both::new(0);
    for at in 0..3000u32 {
        both.set(&at.to_le_bytes(), f64::from(at % 50));
    }
    assert!(Zset::is_large(both.zset()));
    let mut zset = both.zset.take().unwrap();
    let mut steps = 1;
    while !zset.free_step(&mut both.slab, 100) {
        steps += 1;
    }
    assert!((5..100).contains(&steps), "{steps}");
    assert_eq!(both.slab.allocated_bytes(), 0);
}

#[test]
fn a_member_of_sixteen_bytes_takes_about_sixty_five() {
    let mut both = Both::new(128);
    let mut prng = Prng::new(3);
    const MEMBERS: usize = 60_000;
    for _ in 0..MEMBERS {
        let (member, score) = (format!("{:016x}", prng.next_u64()), prng.unit_f64());
        both.edit(|zset, edit| zset.update(edit, member.as_bytes(), |_| Some(score)));
    }
    let bytes = both.slab.allocated_bytes() as f64 / MEMBERS as f64;
    println!("{bytes:.1} bytes a member");
    assert!(bytes < 68.0, "{bytes:.1}");
    assert_eq!(Zset::memory_bytes(both.zset()), both.slab.allocated_bytes());
    both.free();
}
