//! The table against a model: whatever is done to it, it holds what a `BTreeMap` holds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::prng::Prng;

/// A number that is its own key, in a block of the slab.
struct Number(NonNull<u8>);

#[derive(Clone, Copy)]
struct NumberRef<'a>(&'a [u8; 16]);

impl Number {
    fn new(slab: &mut Slab, key: u64, value: u64) -> Self {
        let block = slab.alloc(16);
        // SAFETY: the block has 16 bytes.
        unsafe { block.cast::<[u64; 2]>().write([key.to_le(), value.to_le()]) };
        Number(block)
    }
}

impl NumberRef<'_> {
    fn key(self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().unwrap())
    }

    fn value(self) -> u64 {
        u64::from_le_bytes(self.0[8..].try_into().unwrap())
    }
}

// SAFETY: a plain block of the slab.
unsafe impl Element for Number {
    type Ref<'a> = NumberRef<'a>;
    type Mut<'a> = &'a mut [u8; 16];

    fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Number(raw)
    }

    unsafe fn borrow<'a>(raw: NonNull<u8>) -> NumberRef<'a> {
        // SAFETY: as the caller promises.
        NumberRef(unsafe { raw.cast().as_ref() })
    }

    unsafe fn borrow_mut<'a>(raw: NonNull<u8>) -> &'a mut [u8; 16] {
        // SAFETY: as the caller promises.
        unsafe { raw.cast().as_mut() }
    }

    fn key<'a>(element: Self::Ref<'a>) -> &'a [u8] {
        &element.0[..8]
    }

    fn free(self, slab: &mut Slab) {
        // SAFETY: from `new`, with this slab in all tests.
        unsafe { slab.free(self.0, 16) };
    }
}

/// Hashes well, but keeps only the bits of a mask, so that collisions of every kind can be had.
#[derive(Clone, Copy)]
struct Masked(u64);

impl HashKeys for Masked {
    fn hash_key(&self, key: &[u8]) -> u64 {
        Prng::new(u64::from_le_bytes(key.try_into().unwrap())).next_u64() & self.0
    }
}

/// Good hashes; few tags; few prefixes; only prefixes; a handful of hashes; one hash.
const MASKS: [u64; 6] = [!0, !0xFFF8, !0 >> 20, !0xFFFF, 0xF000_0000_0000_0003, 0];

/// A table with its slab and hasher, and a model of it: value and volatility by key.
struct Harness {
    table: Table<Number>,
    slab: Slab,
    hasher: Masked,
    model: BTreeMap<u64, (u64, bool)>,
}

impl Harness {
    fn new(mask: u64) -> Self {
        Harness { table: Table::new(), slab: Slab::new(), hasher: Masked(mask), model: BTreeMap::new() }
    }

    fn insert(&mut self, key: u64, value: u64, volatile: bool) {
        let hash = self.hasher.hash_key(&key.to_le_bytes());
        let mut place = self.table.place(hash, &key.to_le_bytes());
        let element = Number::new(&mut self.slab, key, value);
        match place.is_occupied() {
            true => place.replace(element, volatile).unwrap().free(&mut self.slab),
            false => place.insert(&mut self.slab, &self.hasher, element, volatile),
        }
        assert_eq!(place.element().unwrap().value(), value);
        assert_eq!(place.is_volatile(), volatile);
        self.model.insert(key, (value, volatile));
    }

    fn remove(&mut self, key: u64) {
        let hash = self.hasher.hash_key(&key.to_le_bytes());
        let removed = self.table.place(hash, &key.to_le_bytes()).remove(&mut self.slab);
        let value = removed.map(|element| {
            // SAFETY: the element is ours.
            let value = unsafe { Number::borrow(element.0) }.value();
            element.free(&mut self.slab);
            value
        });
        assert_eq!(value, self.model.remove(&key).map(|(value, _)| value), "key {key}");
    }

    fn set_volatile(&mut self, key: u64, volatile: bool) {
        let hash = self.hasher.hash_key(&key.to_le_bytes());
        self.table.place(hash, &key.to_le_bytes()).set_volatile(volatile);
        self.model.entry(key).and_modify(|entry| entry.1 = volatile);
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.table.find(self.hasher.hash_key(&key.to_le_bytes()), &key.to_le_bytes()).map(NumberRef::value)
    }

    fn check_counts(&self) {
        assert_eq!(self.table.len(), self.model.len() as u64);
        assert_eq!(self.table.volatile_len(), self.model.values().filter(|entry| entry.1).count() as u64);
        assert_eq!(self.slab.allocated_bytes(), self.model.len() * 16 + self.table.memory_bytes());
    }

    /// The invariants of the module, and that table and model hold the same.
    fn check(&self) {
        self.check_counts();
        let mut seen = BTreeMap::new();
        self.table.for_each(|number| {
            let value = number.value();
            assert_eq!(seen.insert(number.key(), value), None, "seen twice");
        });
        assert!(seen.iter().eq(self.model.iter().map(|(key, (value, _))| (key, value))));
        let mut walked: Vec<u64> = self.table.iter().map(NumberRef::key).collect();
        walked.sort_unstable();
        assert!(walked.iter().eq(self.model.keys()), "each once");
        for (&key, &(value, _)) in &self.model {
            assert_eq!(self.find(key), Some(value));
        }
        let (mut at, mut segments, mut bytes) = (0, 0, 0);
        while let Some(&reference) = self.table.directory.get(at) {
            let entries = self.table.entries_of(reference);
            assert_eq!(at % entries, 0);
            assert!(self.table.directory[at..at + entries].iter().all(|&other| other == reference));
            // SAFETY: it is in the directory.
            let segment = unsafe { reference.get() };
            assert_eq!(self.table.index(segment.header().prefix), at);
            assert_eq!(u32::from(segment.header().depth), reference.depth());
            let (mut len, mut volatile) = (0, 0);
            segment.for_each(|_, word| (len, volatile) = (len + 1, volatile + u32::from(word.is_volatile())));
            assert_eq!((segment.len(), segment.header().volatile), (len, volatile));
            let mut at_home = 0;
            (0..segment.buckets()).for_each(|home| segment.for_each_at_home(home, |_, _| at_home += 1));
            assert_eq!(at_home, len);
            (at, segments, bytes) = (at + entries, segments + 1, bytes + segment.size());
        }
        assert_eq!((self.table.segments, self.table.segment_bytes), (segments, bytes));
        assert_eq!(self.table.segments_at.iter().sum::<u32>() as usize, segments);
    }

    fn drain(self) {
        let Harness { table, mut slab, .. } = self;
        assert_eq!(table.iter().take(20).count() as u64, table.len().min(20));
        let mut drain = table.into_drain();
        while !drain.is_empty() {
            let before = drain.len();
            let freed = drain.step(&mut slab, 100);
            assert_eq!(drain.len(), before - freed);
        }
        assert_eq!((drain.len(), slab.allocated_bytes()), (0, 0));
    }
}

#[test]
fn agrees_with_a_map() {
    for (seed, mask) in MASKS.into_iter().enumerate() {
        // Where hashes collide every lookup is a long walk.
        let (steps, keys) = match mask.count_ones() {
            _ if cfg!(miri) => (1_500, 600),
            64 => (200_000, 20_000),
            40.. => (60_000, 6_000),
            _ => (5_000, 500),
        };
        let mut prng = Prng::new(seed as u64);
        let mut h = Harness::new(mask);
        for step in 0..steps {
            let key = prng.below(keys);
            // Phases of growth, of shrinking to almost nothing, and of neither.
            let inserts = [80, 50, 10, 95, 2][step * 10 / steps % 5];
            match prng.below(100) {
                n if n < inserts => h.insert(key, step as u64, prng.below(3) == 0),
                n if n < 97 => h.remove(key),
                _ => h.set_volatile(key, prng.below(2) == 0),
            }
            let other = prng.below(keys);
            assert_eq!(h.find(other), h.model.get(&other).map(|entry| entry.0));
            if step % (steps / 20) == 0 {
                h.check();
            }
        }
        for key in 0..keys {
            h.remove(key);
        }
        assert_eq!((h.table.len(), h.table.memory_bytes(), h.slab.allocated_bytes()), (0, 0, 0));
        h.insert(1, 1, true);
        h.check();
    }
}

#[test]
fn work_and_memory_stay_bounded_at_every_size() {
    let count = if cfg!(miri) { 2_000 } else { 200_000 };
    let mut h = Harness::new(!0);
    let mut worst = 0.0f64;
    for key in 0..count {
        h.insert(key, key, false);
        if key > 20_000 && key % 500 == 0 {
            worst = worst.max(h.table.memory_bytes() as f64 / h.table.len() as f64);
        }
    }
    assert!(worst < 11.5, "{worst} bytes for each element");
    assert!(h.table.moves_max() <= 440, "{} elements moved by one insert", h.table.moves_max());
    assert!(h.table.directory.len() <= h.table.segments * 5);
    let (full, directory) = (h.table.memory_bytes(), h.table.directory.len());
    let mut prng = Prng::new(3);
    let keys: Vec<u64> = h.model.keys().copied().collect();
    for key in keys {
        if prng.below(20) != 0 {
            h.remove(key);
        }
    }
    assert!(h.table.moves_max() <= 440, "{} elements moved by one removal", h.table.moves_max());
    let mut cursor = 0;
    for _ in 0..h.table.segments * 3 {
        cursor = h.table.tidy(&mut h.slab, cursor, 2);
    }
    h.check();
    assert!(
        h.table.memory_bytes() * 12 < full || cfg!(miri),
        "{} of {full} bytes left",
        h.table.memory_bytes()
    );
    assert!(h.table.directory.len() * 8 <= directory || cfg!(miri), "the directory stays");
    h.drain();
}

#[test]
fn equal_hashes_grow_a_segment_but_not_the_directory() {
    let count = if cfg!(miri) { 700 } else { 3_000 };
    for mask in [0, 0xFFFF, 0xFF] {
        let mut h = Harness::new(mask);
        for key in 0..count {
            h.insert(key, key, false);
        }
        h.check();
        assert!(h.table.directory.len() <= 256, "{} directory entries", h.table.directory.len());
        h.drain();
    }
}

#[test]
fn a_scan_returns_what_is_there_throughout() {
    let rounds = if cfg!(miri) { 1 } else { 3 };
    for (index, mask) in MASKS.into_iter().enumerate() {
        for round in 0..rounds {
            let mut prng = Prng::new((index * 100 + round) as u64);
            let mut h = Harness::new(mask);
            // Well spread keys change by the thousand between two steps, so that segments split and merge.
            let scale = if mask.count_ones() >= 40 && !cfg!(miri) { 4_000 } else { 300 };
            let stable = scale / 8;
            let fill = prng.below(scale);
            for key in 0..stable + fill {
                h.insert(key, 0, false);
            }
            let (mut returned, mut cursor, mut steps) = (BTreeSet::new(), 0, 0);
            loop {
                cursor = h.table.scan(cursor, 1 + prng.below(200) as usize, |number| {
                    returned.insert(number.key());
                });
                assert!(cursor < CURSOR_END);
                if cursor == 0 {
                    break;
                }
                steps += 1;
                // At first wild growth and shrinking, then peace, so that the scan comes to its end.
                if steps < 40 {
                    let (grow, amount) = (prng.below(2) == 0, prng.below(scale));
                    for _ in 0..amount {
                        let key = stable + prng.below(scale * 2);
                        match grow {
                            true => h.insert(key, 0, false),
                            false => h.remove(key),
                        }
                    }
                    if prng.below(4) == 0 {
                        (0..scale * 2).for_each(|key| h.remove(stable + key));
                    }
                    h.table.tidy(&mut h.slab, 0, 50);
                }
            }
            let missing: Vec<u64> = (0..stable).filter(|key| !returned.contains(key)).collect();
            assert!(missing.is_empty(), "mask {mask:x}, round {round}: {} not returned", missing.len());
            h.check();
        }
    }
}

#[test]
fn any_cursor_is_taken() {
    let mut h = Harness::new(!0);
    assert_eq!(h.table.scan(12345, 10, |_| panic!("nothing is there")), 0);
    (0..3000).for_each(|key| h.insert(key, 0, false));
    let mut prng = Prng::new(4);
    for _ in 0..1000 {
        let mut cursor = prng.next_u64() >> prng.below(64);
        let mut steps = 0;
        while cursor != 0 {
            cursor = h.table.scan(cursor, 100, |_| {});
            steps += 1;
            assert!(steps < 200, "the scan does not end");
        }
    }
    let mut count = 0;
    assert_eq!(h.table.scan(0, usize::MAX, |_| count += 1), 0);
    assert_eq!(count, 3000, "an undisturbed scan returns everything once");
}

#[test]
fn random_elements_are_evenly_chosen() {
    let (keys, draws) = if cfg!(miri) { (50, 500) } else { (1000, 100_000) };
    for removed in [0, keys * 9] {
        let mut h = Harness::new(!0);
        let mut prng = Prng::new(5);
        assert!(h.table.random(&mut prng).is_none());
        (0..keys + removed).for_each(|key| h.insert(key, 0, false));
        (keys..keys + removed).for_each(|key| h.remove(key));
        let mut drawn = vec![0u32; keys as usize];
        for _ in 0..draws {
            drawn[h.table.random(&mut prng).unwrap().key() as usize] += 1;
        }
        // A hundred expected each, so deviations beyond six times ten do not happen.
        let (min, max) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
        assert!(cfg!(miri) || (min > 40 && max < 160), "{min} to {max}");
    }
}

#[test]
fn a_sample_is_of_different_elements_and_reaches_all() {
    let (keys, draws) = if cfg!(miri) { (50, 200) } else { (1000, 40_000) };
    for mask in MASKS {
        let mut h = Harness::new(mask);
        let mut prng = Prng::new(6);
        h.table.sample(7, Sweep::All, 5, 100, |_| panic!("nothing is there"));
        (0..keys).for_each(|key| h.insert(key, 0, key % 10 == 0));
        let mut drawn = vec![0u32; keys as usize];
        for _ in 0..draws {
            let mut seen = BTreeSet::new();
            h.table.sample(prng.next_u64(), Sweep::All, 5, usize::MAX, |number| {
                drawn[number.key() as usize] += 1;
                assert!(seen.insert(number.key()), "twice in one sample");
            });
            assert_eq!(seen.len(), 5);
        }
        // 200 expected each; in a bucket that has few, each is drawn more often.
        let (min, max) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
        assert!(cfg!(miri) || mask.count_ones() < 64 || min > 80 && max < 800, "{min} to {max}");
        // All volatile ones, each once; and with a small budget they are found by going on.
        let mut found = BTreeSet::new();
        h.table.sample(prng.next_u64(), Sweep::Volatile, usize::MAX, usize::MAX, |number| {
            assert!(number.key() % 10 == 0 && found.insert(number.key()));
        });
        assert_eq!(found.len() as u64, keys / 10);
        (1..keys / 10).for_each(|key| h.remove(key * 10));
        let (mut place, mut steps, mut is_found) = (prng.next_u64(), 0, false);
        while !is_found {
            place = h.table.sample(place, Sweep::Volatile, 5, 3, |number| is_found = number.key() == 0);
            steps += 1;
            assert!(steps < 1000, "the only one is never found");
        }
    }
}

#[test]
fn a_sweep_visits_removes_and_replaces() {
    let count = if cfg!(miri) { 500 } else { 10_000 };
    for mask in MASKS {
        let count = if mask.count_ones() < 40 { 300 } else { count };
        let mut h = Harness::new(mask);
        (0..count).for_each(|key| h.insert(key, key, key % 4 == 0));
        // Removes every eighth: the volatile ones among them are every second volatile one.
        let (mut cursor, mut visited) = (0, 0);
        loop {
            cursor = h.table.sweep(&mut h.slab, cursor, 7, Sweep::Volatile, |_, number| {
                visited += 1;
                assert_eq!(number.key() % 4, 0);
                if number.key() % 8 == 0 {
                    Visit::Remove
                } else {
                    Visit::Keep
                }
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(visited >= count / 4 || mask.count_ones() < 64);
        loop {
            let before = h.table.len();
            h.table.sweep(&mut h.slab, 0, usize::MAX, Sweep::Volatile, |_, number| match number.key() % 8 {
                0 => Visit::Remove,
                _ => Visit::Keep,
            });
            if h.table.len() == before {
                break;
            }
        }
        h.model.retain(|key, _| key % 8 != 0);
        h.check();
        let end = h.table.sweep(&mut h.slab, 0, usize::MAX, Sweep::All, |slab, number| {
            Visit::Replace(Number::new(slab, number.key(), number.value() + 1))
        });
        assert_eq!(end, 0);
        h.model.values_mut().for_each(|entry| entry.0 += 1);
        h.check();
        h.table.sweep(&mut h.slab, 0, usize::MAX, Sweep::All, |_, _| Visit::Remove);
        assert!(h.table.is_empty() || mask.count_ones() < 64);
    }
}

#[test]
fn no_bucket_counts_as_passed_that_was_not() {
    let mut h = Harness::new(!0);
    (0..2000).for_each(|key| h.insert(key, 0, false));
    // A snapshot passes the first half of the buckets.
    let mut buckets = Vec::new();
    let mut next = h.table.first_bucket();
    while let Some(at) = next {
        buckets.push(at);
        next = h.table.next_bucket(at);
    }
    let (passed, rest) = buckets.split_at(buckets.len() / 2);
    passed.iter().for_each(|&at| h.table.stamp(at, 1));
    assert!(
        passed.iter().all(|&at| h.table.version(at) == 1) && rest.iter().all(|&at| h.table.version(at) == 0)
    );
    let mut unpassed = BTreeSet::new();
    for &at in rest {
        h.table.for_each_in(at, |number| {
            unpassed.insert(number.key());
        });
    }
    assert!(unpassed.len() > 500);
    let check = |h: &Harness| {
        let mut next = h.table.first_bucket();
        while let Some(at) = next {
            if h.table.version(at) == 1 {
                h.table.for_each_in(at, |number| assert!(!unpassed.contains(&number.key())));
            }
            next = h.table.next_bucket(at);
        }
    };
    (2000..10_000).for_each(|key| h.insert(key, 0, false));
    check(&h);
    (1000..10_000).for_each(|key| h.remove(key));
    check(&h);
}

#[test]
fn a_held_table_keeps_its_shape_until_it_is_released() {
    let mut h = Harness::new(!0);
    (0..5000).for_each(|key| h.insert(key, 0, key % 3 == 0));
    let (reshapes, bytes) = (h.table.reshapes(), h.table.memory_bytes());
    h.table.hold();
    (0..4000).for_each(|key| h.remove(key));
    h.table.sweep(&mut h.slab, 0, 1000, Sweep::All, |_, _| Visit::Keep);
    h.table.tidy(&mut h.slab, 0, 1000);
    assert!(!h.table.needs_tidying(&h.slab, reshapes));
    assert_eq!((h.table.reshapes(), h.table.memory_bytes()), (reshapes, bytes));
    h.check();
    h.table.release(&mut h.slab);
    assert!(h.table.needs_tidying(&h.slab, reshapes));
    while h.table.tidy(&mut h.slab, 0, 1000) != 0 {}
    assert!(h.table.memory_bytes() * 3 < bytes);
    h.check();
    // Without elements it still has its segments, and what walks over it finds nothing.
    h.table.hold();
    (4000..5000).for_each(|key| h.remove(key));
    assert!(h.table.is_empty() && h.table.first_bucket().is_some());
    assert!(h.table.random(&mut Prng::new(1)).is_none());
    h.table.sweep(&mut h.slab, 0, usize::MAX, Sweep::All, |_, _| Visit::Keep);
    h.check();
    h.table.release(&mut h.slab);
    assert_eq!((h.table.memory_bytes(), h.table.first_bucket()), (0, None));
    h.check();
    h.drain();
}

#[test]
fn an_insert_goes_where_it_was_announced() {
    let mut h = Harness::new(!0);
    for key in 0..5_000u64 {
        let bytes = key.to_le_bytes();
        let hash = h.hasher.hash_key(&bytes);
        let number = Number::new(&mut h.slab, key, 0);
        let mut place = h.table.place(hash, &bytes);
        assert_eq!(place.bucket(), None);
        let announced = place.bucket_for_insert();
        let reshapes = place.table().reshapes();
        place.insert(&mut h.slab, &h.hasher, number, false);
        match announced {
            Some(at) => assert_eq!(place.bucket(), Some(at)),
            None => assert!(key == 0 || place.table().reshapes() == reshapes + 1),
        }
    }
}
