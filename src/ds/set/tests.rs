//! Sets against a model: whatever is done to one, in whichever encoding, it holds what a `BTreeSet` holds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    base::{prng::Prng, time::UnixMs},
    ds::collection::{Encoding, PackedLimits},
};

/// A set with its slab, and a model of it.
struct Harness {
    set: Option<Set>,
    slab: Slab,
    hasher: KeyHasher,
    limits: EncodingLimits,
    model: BTreeSet<Vec<u8>>,
}

impl Harness {
    fn new() -> Self {
        let mut slab = Slab::new();
        Harness {
            set: Some(Set::empty(&mut slab)),
            slab,
            hasher: KeyHasher::new([1, 2, 3, 4]),
            limits: EncodingLimits::default(),
            model: BTreeSet::new(),
        }
    }

    fn of(members: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut h = Harness::new();
        members.into_iter().for_each(|member| h.add(member.as_ref()));
        h
    }

    fn edit<R>(&mut self, f: impl FnOnce(&mut Set, &mut Edit<'_>) -> R) -> R {
        let mut edit = Edit::new(&mut self.slab, &self.hasher, &self.limits, UnixMs(0));
        f(self.set.as_mut().unwrap(), &mut edit)
    }

    fn set(&self) -> SetRef<'_> {
        self.set.as_ref().unwrap().as_ref()
    }

    fn encoding(&self) -> Encoding {
        Set::encoding(self.set())
    }

    fn add(&mut self, member: &[u8]) {
        let is_new = self.edit(|set, edit| set.add(member, edit));
        assert_eq!(is_new, self.model.insert(member.to_vec()), "{}", member.escape_ascii());
    }

    fn remove(&mut self, member: &[u8]) {
        let was_there = self.edit(|set, edit| set.remove(member, edit));
        assert_eq!(was_there, self.model.remove(member), "{}", member.escape_ascii());
    }

    fn pop(&mut self, prng: &mut Prng) {
        let mut popped = None;
        self.edit(|set, edit| set.pop(edit, prng, |member| popped = Some(text(member))));
        assert_eq!(popped.is_some(), !self.model.is_empty());
        assert!(popped.is_none_or(|member| self.model.remove(&member)));
    }

    fn pop_many(&mut self, count: usize, prng: &mut Prng) {
        let mut popped = Vec::new();
        self.edit(|set, edit| set.pop_many(count, edit, prng, |member| popped.push(text(member))));
        assert_eq!(popped.len(), count.min(popped.len() + self.model.len()));
        assert!(popped.iter().all(|member| self.model.remove(member)));
    }

    fn check(&self) {
        let set = self.set();
        assert_eq!((set.len(), set.is_empty()), (self.model.len(), self.model.is_empty()));
        let members: Vec<Vec<u8>> = set.iter().map(text).collect();
        assert_eq!(members.len(), self.model.len(), "each once");
        assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), self.model);
        assert!(self.model.iter().all(|member| set.contains(member, &self.hasher)));
        if let View::Table(table) = set.0 {
            let blocks: usize = table.iter().map(MemberRef::block_size).sum();
            let root = crate::ds::slab::class_size(size_of::<Table<Member>>());
            assert_eq!(self.slab.allocated_bytes(), root + table.memory_bytes() + blocks);
        } else {
            assert_eq!(self.slab.allocated_bytes(), Set::memory_bytes(set));
        }
    }

    /// Through a word, a copy, and the exported form.
    fn check_whole(&mut self) {
        let before = self.slab.allocated_bytes();
        let word = self.set.take().unwrap().into_word();
        assert_eq!(word >> 48, 0);
        // SAFETY: the word is a set's, which lives, and is taken back once.
        let (borrowed, set) = unsafe { (Set::borrow(word), Set::from_word(word)) };
        assert_eq!(borrowed.len(), self.model.len());
        let copy = Set::copy(set.as_ref(), &mut self.slab, &self.hasher);
        let mut bytes = Vec::new();
        Set::export(set.as_ref(), &mut bytes);
        let imported = Set::import(&bytes, &mut self.slab, &self.hasher).unwrap();
        for other in [copy, imported] {
            assert_eq!(Set::encoding(other.as_ref()), Set::encoding(set.as_ref()));
            assert!(other.as_ref().iter().map(text).collect::<BTreeSet<_>>() == self.model);
            other.free(&mut self.slab);
        }
        assert_eq!(self.slab.allocated_bytes(), before);
        self.set = Some(set);
    }

    fn end(mut self, budget: usize) {
        let mut set = self.set.take().unwrap();
        let mut steps = 1;
        while !set.free_step(&mut self.slab, budget) {
            steps += 1;
        }
        assert!(steps <= 2 + self.model.len() / budget);
        assert_eq!(self.slab.allocated_bytes(), 0);
    }
}

fn text(member: Packed<'_>) -> Vec<u8> {
    member.bytes(&mut itoa::Buffer::new()).to_vec()
}

/// A member like those before; mostly an integer, or mostly a short string, or now and then a long one.
fn some_member(prng: &mut Prng, integers: u64, most: u64) -> Vec<u8> {
    let number = prng.below(most);
    let member = match prng.below(100) {
        n if n < integers => {
            [number as i64, -(number as i64), (number as i64) << 40][number as usize % 3].to_string()
        }
        n if n < 99 => format!("member:{number}"),
        _ => format!("{number:0>80}"),
    };
    member.into_bytes()
}

#[test]
fn agrees_with_a_model_through_all_encodings() {
    let mut prng = Prng::new(1);
    let mut seen = BTreeMap::new();
    let rounds = if cfg!(miri) { 4 } else { 60 };
    for round in 0..rounds {
        let mut h = Harness::new();
        if round % 3 == 0 {
            h.limits.set_intset_entries = prng.below(40) as usize;
            h.limits.set =
                PackedLimits { entries: prng.below(40) as usize, value_bytes: prng.below(20) as usize };
        }
        let (integers, most) = ([100, 99, 50, 0][round % 4], [30, 200, 3000][round / 4 % 3]);
        let steps = if cfg!(miri) { 100 } else { 2000 };
        for step in 0..steps {
            // Phases of growth, of shrinking, and of neither.
            let adds = [90, 50, 10, 90][step * 8 / steps % 4];
            match prng.below(100) {
                n if n < adds => h.add(&some_member(&mut prng, integers, most)),
                n if n < 97 => h.remove(&some_member(&mut prng, integers, most)),
                97 => h.pop(&mut prng),
                98 if h.model.len() > 1 => {
                    let count = prng.below(h.model.len() as u64 + 1) as usize;
                    h.pop_many(count, &mut prng);
                }
                _ if h.model.len() < 3 || prng.below(20) == 0 => {
                    let member = some_member(&mut prng, integers, most);
                    let count = prng.below(600) as usize;
                    h.edit(|set, edit| set.prepare(&member, count, edit));
                }
                _ => {}
            }
            let other = some_member(&mut prng, integers, most);
            assert_eq!(h.set().contains(&other, &h.hasher), h.model.contains(&other));
            *seen.entry(h.encoding().name()).or_insert(0) += 1;
            if step % 100 == 0 {
                h.check();
                h.check_whole();
            }
        }
        h.check();
        h.end(1 + prng.below(100) as usize);
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.values().all(|&steps| steps * 10 > rounds || cfg!(miri)), "{seen:?}");
}

#[test]
fn encodings_change_where_those_of_redis_do() {
    let numbers = |range: std::ops::RangeInclusive<i64>| range.map(|number| number.to_string());
    let strings = |count: usize| (0..count).map(|number| format!("s{number}"));
    let long = |len: usize| vec![b'x'; len];

    let mut h = Harness::of(numbers(1..=512));
    assert_eq!(h.encoding(), Encoding::Intset);
    h.add(b"512");
    assert_eq!(h.encoding(), Encoding::Intset);
    h.add(b"513");
    assert_eq!(h.encoding(), Encoding::Hashtable);
    // It never goes back.
    numbers(2..=513).for_each(|member| h.remove(member.as_bytes()));
    assert_eq!(h.encoding(), Encoding::Hashtable);
    h.check();

    // An integer that is not written as one is a string.
    for member in ["01", "+1", "-0", " 1", "1.0", "9223372036854775808", ""] {
        let mut h = Harness::of(["1", "9223372036854775807", "-9223372036854775808"]);
        assert_eq!(h.encoding(), Encoding::Intset);
        h.add(member.as_bytes());
        assert_eq!(h.encoding(), Encoding::Listpack, "{member:?}");
        h.check();
    }

    let mut h = Harness::of(numbers(1..=127));
    h.add(b"x");
    assert_eq!((h.encoding(), h.set().len()), (Encoding::Listpack, 128));
    h.add(b"128");
    assert_eq!(h.encoding(), Encoding::Hashtable);
    let mut h = Harness::of(numbers(1..=128));
    h.add(b"x");
    assert_eq!(h.encoding(), Encoding::Hashtable);

    let mut h = Harness::of(strings(128));
    h.add(b"s0");
    assert_eq!(h.encoding(), Encoding::Listpack);
    h.add(b"s128");
    assert_eq!(h.encoding(), Encoding::Hashtable);
    for (first, len, encoding) in [
        ("a", 64, Encoding::Listpack),
        ("a", 65, Encoding::Hashtable),
        ("1", 64, Encoding::Listpack),
        ("1", 65, Encoding::Hashtable),
    ] {
        let mut h = Harness::of([first]);
        h.add(&long(len));
        assert_eq!(h.encoding(), encoding, "{first} and {len} bytes");
        h.check();
    }
    // Integers that are too long for the limit, which no default makes them.
    let mut h = Harness::of(["-1000"]);
    h.limits.set.value_bytes = 4;
    h.add(b"a");
    assert_eq!(h.encoding(), Encoding::Hashtable);
    let mut h = Harness::of(["10", "9999"]);
    h.limits.set.value_bytes = 4;
    h.add(b"a");
    assert_eq!(h.encoding(), Encoding::Listpack);
}

#[test]
fn a_set_is_begun_in_the_encoding_that_its_members_will_need() {
    for (first, count, encoding) in [
        ("1", 1, Encoding::Intset),
        ("1", 512, Encoding::Intset),
        ("1", 513, Encoding::Hashtable),
        ("a", 1, Encoding::Listpack),
        ("a", 128, Encoding::Listpack),
        ("a", 129, Encoding::Hashtable),
        ("01", 129, Encoding::Hashtable),
    ] {
        let mut h = Harness::new();
        h.edit(|set, edit| set.prepare(first.as_bytes(), count, edit));
        assert_eq!(h.encoding(), encoding, "{count} members from {first} on");
        h.check();
        h.end(10);
    }
    // Too many integers for an intset, but not for a listpack, if the limits say so.
    let mut h = Harness::new();
    h.limits.set_intset_entries = 3;
    h.edit(|set, edit| set.prepare(b"1", 4, edit));
    assert_eq!(h.encoding(), Encoding::Listpack);
    // One that is there already.
    for (member, count, encoding) in [
        ("1", 512, Encoding::Intset),
        ("1", 513, Encoding::Hashtable),
        ("a", 128, Encoding::Listpack),
        ("a", 129, Encoding::Hashtable),
    ] {
        let mut h = Harness::of([member]);
        h.edit(|set, edit| set.prepare(b"b", count, edit));
        assert_eq!(h.encoding(), encoding, "{count} members beside {member}");
        h.check();
        h.end(10);
    }
}

#[test]
fn algebra_agrees_with_the_model() {
    let mut prng = Prng::new(5);
    let mut slab = Slab::new();
    let hasher = KeyHasher::new([1, 2, 3, 4]);
    for round in 0..if cfg!(miri) { 5 } else { 300 } {
        let mut limits = EncodingLimits::default();
        if round % 4 == 0 {
            limits.set_intset_entries = prng.below(40) as usize;
            limits.set.entries = prng.below(40) as usize;
        }
        let mut edit = Edit::new(&mut slab, &hasher, &limits, UnixMs(0));
        let (mut sets, mut models) = (Vec::new(), Vec::new());
        for _ in 0..1 + prng.below(5) {
            let (mut set, mut model) = (Set::empty(edit.slab), BTreeSet::new());
            let (integers, size) =
                ([100, 60, 0][prng.below(3) as usize], [3, 60, 400][prng.below(3) as usize]);
            for _ in 0..prng.below(size) {
                let member = some_member(&mut prng, integers, size);
                set.add(&member, &mut edit);
                model.insert(member);
            }
            sets.push(set);
            models.push(model);
        }
        let refs: Vec<SetRef<'_>> = sets.iter().map(|set| set.as_ref()).collect();
        let same = |set: &Set, model: &BTreeSet<Vec<u8>>| {
            let members: BTreeSet<Vec<u8>> = set.as_ref().iter().map(text).collect();
            assert_eq!(set.as_ref().len(), model.len());
            assert_eq!(&members, model, "round {round}");
        };
        let intersection_model = models.iter().skip(1).fold(models[0].clone(), |all, model| &all & model);
        let union_model = models.iter().skip(1).fold(models[0].clone(), |all, model| &all | model);
        let difference_model = models.iter().skip(1).fold(models[0].clone(), |all, model| &all - model);
        let results = [
            (Set::intersection_of(&refs, &mut edit), intersection_model),
            (Set::union_of(&refs, &mut edit), union_model),
            (Set::difference_of(refs[0], &refs[1..], &mut edit), difference_model),
            (Set::difference_of(refs[0], &[refs[0]], &mut edit), BTreeSet::new()),
        ];
        let mut first_two = 0;
        intersection(&refs, &hasher, |_| {
            first_two += 1;
            first_two < 2
        });
        assert_eq!(first_two, results[0].1.len().min(2));
        for (set, model) in results {
            same(&set, &model);
            set.free(edit.slab);
        }
        sets.into_iter().for_each(|set| set.free(edit.slab));
        assert_eq!(slab.allocated_bytes(), 0);
    }
}

#[test]
fn results_have_the_encodings_of_redis() {
    let numbers = Harness::of((0..600).map(|number| number.to_string()));
    let strings =
        Harness::of((0..600).map(|number| format!("s{number}")).chain((0..600).map(|n| n.to_string())));
    let few = Harness::of(["1", "2", "x", "s1"]);
    let ints = Harness::of(["1", "2", "3"]);
    let mut slab = Slab::new();
    let (hasher, limits) = (KeyHasher::new([1, 2, 3, 4]), EncodingLimits::default());
    let mut edit = Edit::new(&mut slab, &hasher, &limits, UnixMs(0));
    let [numbers, strings, few, ints] = [&numbers, &strings, &few, &ints].map(|h| h.set());
    let all = [numbers, strings, few, ints].map(Set::encoding);
    assert_eq!(all, [Encoding::Hashtable, Encoding::Hashtable, Encoding::Listpack, Encoding::Intset]);
    for (result, len, encoding) in [
        (Set::intersection_of(&[strings, numbers], &mut edit), 600, Encoding::Hashtable),
        (Set::intersection_of(&[strings, few], &mut edit), 3, Encoding::Listpack),
        (Set::intersection_of(&[numbers, few], &mut edit), 2, Encoding::Intset),
        (Set::intersection_of(&[strings, ints], &mut edit), 3, Encoding::Intset),
        (Set::intersection_of(&[few], &mut edit), 4, Encoding::Listpack),
        (Set::union_of(&[ints, ints], &mut edit), 3, Encoding::Intset),
        (Set::union_of(&[ints, few], &mut edit), 5, Encoding::Listpack),
        (Set::union_of(&[numbers], &mut edit), 600, Encoding::Hashtable),
        (Set::difference_of(strings, &[numbers], &mut edit), 600, Encoding::Hashtable),
        (Set::difference_of(few, &[strings], &mut edit), 1, Encoding::Listpack),
        (Set::difference_of(few, &[few], &mut edit), 0, Encoding::Intset),
        (Set::difference_of(numbers, &[ints], &mut edit), 597, Encoding::Hashtable),
    ] {
        assert_eq!((result.as_ref().len(), Set::encoding(result.as_ref())), (len, encoding));
        result.free(edit.slab);
    }
    assert_eq!(slab.allocated_bytes(), 0);
}

#[test]
fn popping_most_of_a_table_leaves_a_compact_set() {
    let mut prng = Prng::new(2);
    for (stay, encoding) in [(128, Encoding::Listpack), (129, Encoding::Hashtable)] {
        let mut h = Harness::of((0..3000).map(|number| format!("s{number}")));
        h.pop_many(3000 - stay, &mut prng);
        assert_eq!(h.encoding(), encoding);
        h.check();
    }
    let mut h = Harness::of((0..300).map(|number| format!("s{number}")));
    h.pop_many(200, &mut prng);
    assert_eq!(h.encoding(), Encoding::Hashtable);
    h.check();
    for count in [1, 100, 490] {
        let mut h = Harness::of((0..500).map(|number| number.to_string()));
        h.pop_many(count, &mut prng);
        assert_eq!(h.encoding(), Encoding::Intset);
        h.check();
    }
}

/// Sets of these sizes in all encodings.
fn sets_to_draw_from() -> Vec<Harness> {
    let mut sets = Vec::new();
    for len in [1, 5, 24] {
        sets.push(Harness::of((0..len).map(|number| number.to_string())));
        sets.push(Harness::of((0..len).map(|number| format!("s{number}"))));
        let mut table = Harness::of([&[b'x'; 100]]);
        (1..len).for_each(|number| table.add(format!("s{number}").as_bytes()));
        sets.push(table);
    }
    // Many segments.
    sets.push(Harness::of((0..3000).map(|number| format!("s{number}"))));
    sets
}

/// That each of `len` members was drawn as often as any other: chi-square below its mean plus five deviations.
fn assert_fair(drawn: &BTreeMap<Vec<u8>, u64>, len: usize, what: &str) {
    let expected = drawn.values().sum::<u64>() as f64 / len as f64;
    let missed = (len - drawn.len()) as f64 * expected;
    let square: f64 = drawn.values().map(|&times| (times as f64 - expected).powi(2) / expected).sum();
    let freedom = len as f64 - 1.0;
    let limit = freedom + 5.0 * (2.0 * freedom).sqrt() + 1e-9;
    assert!(square + missed <= limit, "{what} of {len}: {:.1} > {limit:.1}", square + missed);
}

#[test]
fn members_are_drawn_fairly() {
    let mut prng = Prng::new(9);
    for h in sets_to_draw_from() {
        let (set, len) = (h.set(), h.model.len());
        let count = |drawn: &mut BTreeMap<Vec<u8>, u64>, member| *drawn.entry(text(member)).or_insert(0) += 1;
        let rounds = if cfg!(miri) { 20 } else { 100 * len };
        let mut drawn = BTreeMap::new();
        (0..rounds).for_each(|_| count(&mut drawn, set.random(&mut prng).unwrap()));
        assert_fair(&drawn, len, "one");

        let mut drawn = BTreeMap::new();
        set.random_with_repeats(rounds, &mut prng, |member| count(&mut drawn, member));
        assert_fair(&drawn, len, "with repeats");

        for share in [len / 10, len / 4, len / 2, len - 1] {
            let mut drawn = BTreeMap::new();
            for _ in 0..rounds.checked_div(share).unwrap_or(0) {
                let mut one = BTreeSet::new();
                set.random_distinct(share, &mut prng, |member| {
                    assert!(one.insert(text(member)), "distinct");
                    count(&mut drawn, member);
                });
                assert_eq!(one.len(), share);
            }
            if share > 0 {
                assert_fair(&drawn, len, "distinct");
            }
        }
        for count in [len, len + 1, usize::MAX] {
            let mut all = BTreeSet::new();
            set.random_distinct(count, &mut prng, |member| assert!(all.insert(text(member))));
            assert_eq!(all, h.model);
        }
        set.random_distinct(0, &mut prng, |_| panic!("none was asked for"));
    }
}

#[test]
fn members_are_popped_fairly() {
    let mut prng = Prng::new(11);
    for kind in 0..3 {
        for count in [1, 3, 7] {
            let mut drawn = BTreeMap::new();
            for _ in 0..if cfg!(miri) { 3 } else { 800 } {
                let mut h = match kind {
                    0 => Harness::of((0..8).map(|number| number.to_string())),
                    1 => Harness::of((0..8).map(|number| format!("s{number}"))),
                    _ => Harness::of((0..8).map(|number| format!("s{number:0>80}"))),
                };
                let before = h.model.clone();
                match count {
                    1 => h.pop(&mut prng),
                    count => h.pop_many(count, &mut prng),
                }
                h.check();
                before.difference(&h.model).for_each(|member| *drawn.entry(member.clone()).or_insert(0) += 1);
            }
            assert_fair(&drawn, 8, "popped");
        }
    }
}

#[test]
fn a_scan_returns_what_stays_while_the_set_grows_and_shrinks() {
    let mut prng = Prng::new(3);
    for stay in [3, 60, 900] {
        let mut h = Harness::of((0..stay).map(|number| format!("stay:{number}")));
        let staying = h.model.clone();
        (0..2 * stay).for_each(|number| h.add(format!("go:{number}").as_bytes()));
        let (mut cursor, mut seen, mut gone, mut born) = (0, BTreeSet::new(), 0, 0);
        loop {
            cursor = h.set().scan(cursor, 7, |member| {
                seen.insert(text(member));
            });
            assert!(cursor < table::CURSOR_END);
            if cursor == 0 {
                break;
            }
            // By turns; removals have the upper hand, so that segments merge, too.
            for _ in 0..prng.below(40) {
                h.remove(format!("go:{gone}").as_bytes());
                gone += 1;
            }
            if prng.below(2) == 0 {
                for _ in 0..prng.below(50) {
                    h.add(format!("born:{born}").as_bytes());
                    born += 1;
                }
            }
        }
        let missed: Vec<_> = staying.difference(&seen).collect();
        assert!(missed.is_empty(), "{} of {stay} missed", missed.len());
        h.check();
    }
    // A set that became compact on the way comes whole.
    let mut h = Harness::of((0..3000).map(|number| format!("s{number}")));
    let cursor = h.set().scan(0, 10, |_| {});
    assert!(cursor > 0);
    h.pop_many(2950, &mut prng);
    let mut seen = 0;
    assert_eq!(h.set().scan(cursor, 10, |_| seen += 1), 0);
    assert_eq!(seen, 50);
}

#[test]
fn damaged_bytes_are_refused_or_make_a_sound_set() {
    let mut prng = Prng::new(4);
    let hasher = KeyHasher::new([1, 2, 3, 4]);
    for h in [
        Harness::of(["1", "2", "70000", "-5000000000"]),
        Harness::of(["1", "two", "three", "300000", "a member that is a bit longer than the others are"]),
        Harness::of((0..40).map(|number| format!("{number:0>70}"))),
    ] {
        let mut bytes = Vec::new();
        Set::export(h.set(), &mut bytes);
        let mut slab = Slab::new();
        let check = |bytes: &[u8], slab: &mut Slab| {
            let Some(mut set) = Set::import(bytes, slab, &hasher) else {
                assert_eq!(slab.allocated_bytes(), 0, "nothing may leak");
                return false;
            };
            // Whatever it is now, it works.
            let limits = EncodingLimits::default();
            let mut edit = Edit::new(slab, &hasher, &limits, UnixMs(0));
            let members: BTreeSet<Vec<u8>> = set.as_ref().iter().map(text).collect();
            assert_eq!(members.len(), set.as_ref().len());
            assert!(members.iter().all(|member| set.as_ref().contains(member, &hasher)));
            assert!(set.add(b"a new one", &mut edit) || members.contains(&b"a new one"[..]));
            set.prepare(b"1", 1000, &mut edit);
            assert!(members.iter().all(|member| set.remove(member, &mut edit)));
            set.free(slab);
            assert_eq!(slab.allocated_bytes(), 0);
            true
        };
        assert!(check(&bytes, &mut slab));
        for cut in 0..bytes.len() {
            let is_table = bytes[0] == 2;
            // A table may end after any member.
            assert!(!check(&bytes[..cut], &mut slab) || (is_table && cut % 74 == 1), "cut at {cut}");
        }
        for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
            let mut damaged = bytes.clone();
            for _ in 0..1 + prng.below(3) {
                let at = prng.below(bytes.len() as u64) as usize;
                damaged[at] = [prng.next_u64() as u8, 0, 0xFF, damaged[at] ^ 1][prng.below(4) as usize];
            }
            check(&damaged, &mut slab);
        }
        assert!(!check(&[], &mut slab));
        assert!(!check(&[7, 1, 2], &mut slab));
        h.end(100);
    }
    // The same member twice.
    let mut listpack_bytes = vec![1];
    let mut slab = Slab::new();
    let mut listpack = Listpack::new(&mut slab);
    listpack.push_back(&mut slab, b"a");
    listpack.push_back(&mut slab, b"a");
    listpack_bytes.extend_from_slice(listpack.as_ref().bytes());
    listpack.free(&mut slab);
    let table_bytes = [&[2][..], &1u32.to_le_bytes(), b"a", &1u32.to_le_bytes(), b"a"].concat();
    for bytes in [listpack_bytes, table_bytes] {
        assert!(Set::import(&bytes, &mut slab, &hasher).is_none());
        assert_eq!(slab.allocated_bytes(), 0);
    }
}

#[test]
fn large_sets_are_freed_in_steps_and_estimate_their_memory() {
    let mut h = Harness::of((0..5000).map(|number| format!("member:{number:0>10}")));
    assert!(Set::is_large(h.set()));
    let (estimated, actual) = (Set::memory_bytes(h.set()), h.slab.allocated_bytes());
    assert_eq!(estimated, actual, "all members are of one size");
    h.check_whole();
    h.end(100);
    for h in
        [Harness::of(["1"]), Harness::of(["a"]), Harness::of((0..1000).map(|number| format!("s{number}")))]
    {
        assert!(!Set::is_large(h.set()));
        h.end(usize::MAX);
    }
}
