//! Hashes against a model: whatever is done to one, in whatever encoding, it holds what a `BTreeMap` holds.

use std::collections::BTreeMap;

use super::*;
use crate::ds::collection::{EncodingLimits, PackedLimits};

/// A hash with its slab, its clock and a model of it: value and expiry by name.
struct Harness {
    hash: Hash,
    slab: Slab,
    hasher: KeyHasher,
    limits: EncodingLimits,
    now: UnixMs,
    model: BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMs>)>,
}

impl Harness {
    fn new(entries: usize, value_bytes: usize) -> Self {
        let mut slab = Slab::new();
        Harness {
            hash: Hash::empty(&mut slab),
            slab,
            hasher: KeyHasher::new([1, 2, 3, 4]),
            limits: EncodingLimits {
                hash: PackedLimits { entries, value_bytes },
                ..EncodingLimits::default()
            },
            now: UnixMs(1000),
            model: BTreeMap::new(),
        }
    }

    fn edit<R>(&mut self, f: impl FnOnce(&mut Hash, &mut Edit<'_>) -> R) -> R {
        let mut edit = Edit::new(&mut self.slab, &self.hasher, &self.limits, self.now);
        f(&mut self.hash, &mut edit)
    }

    fn set(&mut self, name: &[u8], value: &[u8], expire: FieldExpire) {
        let old = self.model.get(name).map(|(_, at)| *at);
        let is_new = self.edit(|hash, edit| hash.set(edit, name, value, expire));
        assert_eq!(is_new, old.is_none());
        self.model.insert(name.to_vec(), (value.to_vec(), expire.after(old.flatten())));
    }

    fn set_expire(&mut self, name: &[u8], at: Option<UnixMs>) {
        let done = self.edit(|hash, edit| hash.set_expire(edit, name, at));
        assert_eq!(done, self.model.contains_key(name));
        self.model.entry(name.to_vec()).and_modify(|field| field.1 = at);
    }

    fn remove(&mut self, name: &[u8]) {
        let done = self.edit(|hash, edit| hash.remove(edit, name));
        assert_eq!(done, self.model.remove(name).is_some());
    }

    fn expire_step(&mut self) -> Expired {
        let now = self.now;
        self.edit(|hash, edit| hash.expire_step(edit.slab, now, 3, &mut |_| {}))
    }

    fn pass(&mut self, ms: i64) {
        self.now.0 += ms;
        let now = self.now;
        self.model.retain(|_, (_, at)| !is_expired(*at, now));
    }

    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, Option<UnixMs>)> {
        let item = self.hash.as_ref().get(&self.hasher, name, self.now)?;
        assert_eq!(text(item.name), name);
        Some((text(item.value), item.expire_at))
    }

    /// That hash and model hold the same.
    fn check(&mut self) {
        check_same(self.hash.as_ref(), &self.model, self.now);
        let hash = self.hash.as_ref();
        assert_eq!(hash.live_len(self.now), self.model.len());
        assert!(Hash::len(hash) >= self.model.len());
        let volatile = self.model.values().any(|(_, at)| at.is_some());
        assert!(hash.is_volatile() || !volatile);
        let (mut scanned, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = hash.scan(cursor, 7, self.now, |item| {
                assert!(scanned.insert(text(item.name), (text(item.value), item.expire_at)).is_none());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, self.model);
        for name in self.model.keys() {
            assert_eq!(self.get(name).as_ref(), self.model.get(name));
        }
        let exact = self.slab.allocated_bytes();
        let estimate = Hash::memory_bytes(self.hash.as_ref());
        match Hash::encoding(self.hash.as_ref()) {
            Encoding::Hashtable => assert!(estimate <= 4 * exact && exact <= 4 * estimate),
            _ => assert_eq!(estimate, exact),
        }
    }

    fn free(mut self) {
        while !self.hash.free_step(&mut self.slab, 20) {}
        assert_eq!(self.slab.allocated_bytes(), 0);
    }
}

fn check_same(hash: HashRef<'_>, model: &BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMs>)>, now: UnixMs) {
    let mut seen = BTreeMap::new();
    hash.for_each(now, |item| {
        assert!(seen.insert(text(item.name), (text(item.value), item.expire_at)).is_none(), "seen twice");
    });
    assert_eq!(&seen, model);
}

fn text(packed: Packed<'_>) -> Vec<u8> {
    packed.bytes(&mut itoa::Buffer::new()).to_vec()
}

fn name(prng: &mut Prng, names: u64) -> Vec<u8> {
    let number = prng.below(names);
    // Some read as integers, which a listpack holds as such.
    if number % 3 == 0 { format!("{number}") } else { format!("field:{number}") }.into_bytes()
}

fn value(prng: &mut Prng, bytes_max: u64) -> Vec<u8> {
    match prng.below(5) {
        0 => Vec::new(),
        1 => (prng.next_u64() as i64 >> prng.below(64)).to_string().into_bytes(),
        _ => vec![b'a' + prng.below(26) as u8; prng.below(bytes_max) as usize],
    }
}

#[test]
fn agrees_with_a_map() {
    // Small for ever; large at once; small, then large by number or by length, with few and with many fields.
    let shapes: [(usize, usize, u64, u64); 5] = [
        (1000, 1000, 60, 90),
        (0, 1000, 60, 90),
        (40, 1000, 60, 90),
        (1000, 64, 60, 66),
        (100, 64, 3000, 300),
    ];
    for (seed, (entries, value_bytes, names, bytes_max)) in shapes.into_iter().enumerate() {
        for volatility in [0, 1, 3] {
            let mut prng = Prng::new((seed * 10 + volatility) as u64);
            let mut h = Harness::new(entries, value_bytes);
            let steps = if cfg!(miri) { 300 } else { 6000 };
            for step in 0..steps {
                let name = name(&mut prng, names);
                let at = UnixMs(h.now.0 + prng.below(4000) as i64);
                let expires = prng.below(4) < volatility as u64;
                match prng.below(10) {
                    0..5 => {
                        let expire = match prng.below(3) {
                            0 if expires => FieldExpire::At(at),
                            1 => FieldExpire::Keep,
                            _ => FieldExpire::Clear,
                        };
                        let value = value(&mut prng, bytes_max);
                        h.set(&name, &value, expire);
                    }
                    5 | 6 => h.remove(&name),
                    7 if expires => h.set_expire(&name, (prng.below(3) > 0).then_some(at)),
                    8 => h.pass(prng.below(30) as i64),
                    _ => {
                        h.expire_step();
                    }
                }
                assert_eq!(h.get(&name).as_ref(), h.model.get(&name));
                if step % 150 == 0 || names < 100 && step % 10 == 0 {
                    h.check();
                }
            }
            h.check();
            // All that expires does so, and the sweep finds every field of it.
            h.pass(5000);
            while h.hash.as_ref().may_have_expired(h.now) {
                h.expire_step();
            }
            assert_eq!(Hash::len(h.hash.as_ref()), h.model.len());
            h.check();
            let (hash, now) = (&mut h.hash, h.now);
            assert_eq!(hash.is_over(&mut h.slab, now, &mut |_| {}), h.model.is_empty());
            h.free();
        }
    }
}

#[test]
fn encodings_change_as_redis_changes_them() {
    let mut h = Harness::new(3, 8);
    let encoding = |h: &Harness| Hash::encoding(h.hash.as_ref());
    for field in [b"a", b"b", b"c"] {
        h.set(field, b"12345678", FieldExpire::Clear);
    }
    assert_eq!(encoding(&h), Encoding::Listpack);
    h.set_expire(b"b", Some(UnixMs(2000)));
    assert_eq!(encoding(&h), Encoding::Listpackex);
    h.set_expire(b"b", None);
    assert_eq!(encoding(&h), Encoding::Listpackex);
    h.set(b"c", b"x", FieldExpire::Clear);
    h.set_expire(b"none", Some(UnixMs(2000)));
    assert_eq!(encoding(&h), Encoding::Listpackex);
    h.set(b"d", b"x", FieldExpire::At(UnixMs(2000)));
    assert_eq!(encoding(&h), Encoding::Hashtable);
    h.remove(b"a");
    h.check();
    assert_eq!(encoding(&h), Encoding::Hashtable);
    h.free();

    for (name, value) in [(&b"123456789"[..], &b"v"[..]), (b"n", b"123456789")] {
        let mut h = Harness::new(3, 8);
        h.set(name, value, FieldExpire::Clear);
        assert_eq!(encoding(&h), Encoding::Hashtable);
        h.free();
    }
    let mut h = Harness::new(3, 8);
    h.edit(|hash, edit| hash.reserve(edit, 3));
    assert_eq!(encoding(&h), Encoding::Listpack);
    h.edit(|hash, edit| hash.reserve(edit, 4));
    assert_eq!(encoding(&h), Encoding::Hashtable);
    h.free();
}

/// A hash of each encoding, with `fields` fields, every third of which expires.
fn of_each_encoding(fields: u64) -> [Harness; 3] {
    [(1000, false), (1000, true), (0, true)].map(|(entries, expires)| {
        let mut h = Harness::new(entries, 1000);
        for n in 0..fields {
            let expire = match n % 3 {
                0 if expires => FieldExpire::At(UnixMs(2000 + n as i64)),
                _ => FieldExpire::Clear,
            };
            h.set(format!("{n}").as_bytes(), format!("value {n}").as_bytes(), expire);
        }
        h
    })
}

#[test]
fn copies_exports_and_words_keep_everything() {
    for mut h in of_each_encoding(300) {
        let before = h.slab.allocated_bytes();
        let copy = Hash::copy(h.hash.as_ref(), &mut h.slab, &h.hasher);
        check_same(copy.as_ref(), &h.model, h.now);
        assert_eq!(Hash::encoding(copy.as_ref()), Hash::encoding(h.hash.as_ref()));
        copy.free(&mut h.slab);
        assert_eq!(h.slab.allocated_bytes(), before);

        let mut bytes = Vec::new();
        Hash::export(h.hash.as_ref(), &mut bytes);
        let mut other = Slab::new();
        let moved = Hash::import(&bytes, &mut other, &h.hasher).unwrap();
        check_same(moved.as_ref(), &h.model, h.now);
        assert_eq!(Hash::encoding(moved.as_ref()), Hash::encoding(h.hash.as_ref()));

        let word = moved.into_word();
        // SAFETY: the word was just made.
        let moved = unsafe {
            check_same(Hash::borrow(word), &h.model, h.now);
            Hash::from_word(word)
        };
        moved.free(&mut other);
        assert_eq!(other.allocated_bytes(), 0);
        h.free();
    }
}

#[test]
fn damaged_bytes_are_refused_or_harmless() {
    let mut prng = Prng::new(7);
    for h in of_each_encoding(20) {
        let mut bytes = Vec::new();
        Hash::export(h.hash.as_ref(), &mut bytes);
        let mut slab = Slab::new();
        let mut try_import = |bytes: &[u8]| {
            if let Some(mut hash) = Hash::import(bytes, &mut slab, &h.hasher) {
                // What was let in can be used.
                hash.as_ref().for_each(h.now, |item| assert!(text(item.name).len() < 1 << 20));
                hash.expire_step(&mut slab, UnixMs(3000), 100, &mut |_| {});
                hash.free(&mut slab);
            }
            assert_eq!(slab.allocated_bytes(), 0);
        };
        try_import(b"");
        for len in 0..bytes.len() {
            try_import(&bytes[..len]);
        }
        for _ in 0..if cfg!(miri) { 50 } else { 5000 } {
            let mut damaged = bytes.clone();
            for _ in 0..=prng.below(3) {
                let at = prng.below(bytes.len() as u64) as usize;
                damaged[at] = prng.next_u64() as u8;
            }
            try_import(&damaged);
        }
        h.free();
    }
    // The same name twice, and an expiry that is none.
    let mut slab = Slab::new();
    for (tag, elements) in
        [(0, &["a", "1", "a", "2"][..]), (0, &["a"]), (1, &["a", "1", "x"]), (1, &["a", "1", "-1"])]
    {
        let mut list = Listpack::new(&mut slab);
        elements.iter().for_each(|element| list.push_back(&mut slab, element.as_bytes()));
        let bytes = [&[tag], list.as_ref().bytes()].concat();
        list.free(&mut slab);
        assert!(Hash::import(&bytes, &mut slab, &KeyHasher::new([1; 4])).is_none(), "{elements:?}");
        assert_eq!(slab.allocated_bytes(), 0);
    }
}

#[test]
fn samples_are_random_distinct_and_alive() {
    let mut prng = Prng::new(3);
    for fields in [1, 10, 500] {
        for mut h in of_each_encoding(fields) {
            for ms in [0, 1000 + fields as i64 / 2, 5000] {
                h.pass(ms);
                let live = h.model.len();
                for count in [0, 1, 2, 5, live / 2, live, live + 5] {
                    let items = h.hash.as_ref().sample(count, &mut prng, h.now);
                    let names: BTreeMap<_, _> =
                        items.iter().map(|item| (text(item.name), text(item.value))).collect();
                    assert_eq!((items.len(), names.len()), (count.min(live), count.min(live)));
                    assert!(names
                        .iter()
                        .all(|(name, value)| h.model.get(name).is_some_and(|f| f.0 == *value)));
                }
                let mut drawn: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
                for _ in 0..live * 40 {
                    let item = h.hash.as_ref().random(&mut prng, h.now).unwrap();
                    *drawn.entry(text(item.name)).or_default() += 1;
                }
                let mut again: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
                h.hash.as_ref().repeated(live as u64 * 40, &mut prng, h.now, |item| {
                    *again.entry(text(item.name)).or_default() += 1;
                });
                assert!(
                    again.keys().eq(drawn.keys()) && again.values().all(|times| (8..120).contains(times))
                );
                assert_eq!(drawn.len(), live);
                assert!(drawn.values().all(|&times| (8..120).contains(&times)), "{drawn:?}");
                assert!(drawn.keys().all(|name| h.model.contains_key(name)));
                if live == 0 {
                    assert!(h.hash.as_ref().random(&mut prng, h.now).is_none());
                }
            }
            h.free();
        }
    }
}

#[test]
fn a_hash_whose_last_field_expires_is_over() {
    for (entries, fields) in [(1000, 100), (0, 100), (0, 3000)] {
        let mut h = Harness::new(entries, 1000);
        for n in 0..fields {
            h.set(format!("{n}").as_bytes(), b"v", FieldExpire::At(UnixMs(2000 + n)));
        }
        let is_over = |h: &mut Harness| {
            let before = h.hash.as_ref().is_over(h.now);
            assert_eq!(h.hash.is_over(&mut h.slab, h.now, &mut |_| {}), before);
            before
        };
        assert!(!is_over(&mut h));
        h.pass(1000);
        assert!(!is_over(&mut h), "a field lives through the millisecond that it expires in");
        // One field is left, and the question removes most of the others on its way to it.
        h.pass(fields - 1);
        assert!(!is_over(&mut h));
        assert_eq!(h.hash.as_ref().live_len(h.now), 1);
        h.pass(1);
        assert!(is_over(&mut h));
        assert_eq!(h.hash.as_ref().live_len(h.now), 0);
        h.set(b"new", b"v", FieldExpire::Clear);
        assert!(!is_over(&mut h));
        h.remove(b"new");
        assert!(is_over(&mut h));
        h.free();
    }
}

#[test]
fn a_large_hash_takes_little_and_is_freed_in_steps() {
    let fields: usize = if cfg!(miri) { 2000 } else { 200_000 };
    let mut h = Harness::new(512, 64);
    for n in 0..fields {
        let (name, value) = (format!("field:{n:010}"), [b'v'; 32]);
        h.edit(|hash, edit| hash.set(edit, name.as_bytes(), &value, FieldExpire::Clear));
    }
    let per_field = h.slab.allocated_bytes() / fields;
    println!("{per_field} bytes for a field of 16 bytes with a value of 32");
    assert!(per_field <= 75, "{per_field}");
    let estimate = Hash::memory_bytes(h.hash.as_ref());
    assert!(estimate.abs_diff(h.slab.allocated_bytes()) < estimate / 20);
    assert!(Hash::is_large(h.hash.as_ref()));
    let mut steps = 0;
    while !h.hash.free_step(&mut h.slab, 1000) {
        steps += 1;
    }
    assert!(cfg!(miri) || (100..=200).contains(&steps), "{steps}");
    assert_eq!(h.slab.allocated_bytes(), 0);
}
