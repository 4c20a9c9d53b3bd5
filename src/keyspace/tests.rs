//! The keyspace against a model; lifetimes, counters, and what a key may cost.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::{ids::DbIndex, key::KeyHasher, prng::Prng, time::UnixMs};
use crate::ds::collection::{Collection, Edit};
use crate::ds::hash::FieldExpire;

const DB: DbIndex = DbIndex(0);
const T0: UnixMs = UnixMs(1_700_000_000_000);

fn keyspace(databases: u16) -> Keyspace {
    Keyspace::new(databases, KeyHasher::new([1, 2, 3, 4]), KeyspaceOptions::default())
}

fn later(ms: i64) -> UnixMs {
    UnixMs(T0.0 + ms)
}

/// `set` with a key made on the spot.
fn set(k: &mut Keyspace, key: &[u8], value: &[u8], expire: SetExpire) {
    let hasher = k.hasher().clone();
    k.set(DB, hasher.key(key), T0, NewValue::Bytes(value), expire);
}

fn get(k: &mut Keyspace, key: &[u8], now: UnixMs) -> Option<Vec<u8>> {
    let hasher = k.hasher().clone();
    k.lookup_read(DB, hasher.key(key), now)
        .map(|value| value.string().unwrap().bytes(&mut IntText::new()).to_vec())
}

#[derive(Clone, Debug, PartialEq)]
struct ModelEntry {
    value: Vec<u8>,
    encoding: Encoding,
    expire_at: Option<UnixMs>,
}

impl ModelEntry {
    fn new(value: Vec<u8>, expire_at: Option<UnixMs>) -> Self {
        let encoding = match value::canonical_i64(&value) {
            Some(_) => Encoding::Int,
            None if value.len() <= 44 => Encoding::Embstr,
            None => Encoding::Raw,
        };
        ModelEntry { value, encoding, expire_at }
    }
}

fn check_view(view: &EntryView<'_>, model: &ModelEntry) {
    assert_eq!(view.value.string().unwrap().bytes(&mut IntText::new()), model.value);
    assert_eq!(view.value.string().unwrap().string_len(), model.value.len());
    assert_eq!((view.encoding, view.expire_at), (model.encoding, model.expire_at));
}

#[test]
fn agrees_with_a_model() {
    let steps = if cfg!(miri) { 2_000 } else { 200_000 };
    for seed in 0..2 {
        let mut prng = Prng::new(seed);
        let mut k = keyspace(3);
        let hasher = k.hasher().clone();
        let mut model: [BTreeMap<Vec<u8>, ModelEntry>; 3] = Default::default();
        let mut now = T0;
        let mut dirty = 0;
        for step in 0..steps {
            now.0 += prng.below(3) as i64;
            let d = prng.below(3) as usize;
            let (db, other_db) = (DbIndex(d as u16), prng.below(3) as usize);
            let keys = [500, 40, 5_000][d];
            let random_key = |prng: &mut Prng| {
                let number = prng.below(keys);
                let mut key = format!("key:{number}").into_bytes();
                // Some keys are long, a few longer than a byte counts.
                key.resize(key.len() + [0, 0, 0, 0, 11, 30, 250][number as usize % 7], b'.');
                key
            };
            let (bytes, other_bytes) = (random_key(&mut prng), random_key(&mut prng));
            let (key, other) = (hasher.key(&bytes), hasher.key(&other_bytes));
            let value = match prng.below(10) {
                0..3 => (prng.next_u64() as i64 >> prng.below(64)).to_string().into_bytes(),
                3 => vec![b'v'; prng.below(6000) as usize],
                _ => vec![b'a' + (step % 26) as u8; prng.below(70) as usize],
            };
            let expire_at = UnixMs(now.0 + prng.below(20_000) as i64 + 1);
            let m = &mut model[d];
            if m.get(&bytes).and_then(|entry| entry.expire_at).is_some_and(|at| at < now) {
                m.remove(&bytes);
            }
            let before = k.dirty();
            let mut changes = 1;
            match prng.below(100) {
                0..25 => {
                    let (expire, at) = match prng.below(4) {
                        0 => (SetExpire::Keep, m.get(&bytes).and_then(|entry| entry.expire_at)),
                        1 => (SetExpire::At(expire_at), Some(expire_at)),
                        _ => (SetExpire::Clear, None),
                    };
                    k.set(db, key, now, NewValue::Bytes(&value), expire);
                    m.insert(bytes, ModelEntry::new(value, at));
                }
                25..30 => {
                    k.set(db, key, now, NewValue::Raw(&value), SetExpire::Clear);
                    let mut entry = ModelEntry::new(value, None);
                    if entry.encoding == Encoding::Int {
                        entry.encoding = Encoding::Embstr;
                    }
                    m.insert(bytes, entry);
                }
                30..38 => {
                    let len = k.append(db, key, now, &value);
                    match m.get_mut(&bytes) {
                        Some(entry) => {
                            entry.value.extend_from_slice(&value);
                            entry.encoding = Encoding::Raw;
                            assert_eq!(len, entry.value.len());
                        }
                        None => drop(m.insert(bytes, ModelEntry::new(value, None))),
                    }
                }
                38..45 => {
                    let offset = prng.below(100) as usize;
                    let len = k.write_range(db, key, now, offset, &value);
                    if value.is_empty() {
                        changes = 0;
                        assert_eq!(len, m.get(&bytes).map_or(0, |entry| entry.value.len()));
                    } else {
                        let entry = m.entry(bytes).or_insert(ModelEntry::new(Vec::new(), None));
                        entry.value.resize(entry.value.len().max(offset + value.len()), 0);
                        entry.value[offset..offset + value.len()].copy_from_slice(&value);
                        entry.encoding = Encoding::Raw;
                        assert_eq!(len, entry.value.len());
                    }
                }
                45..60 => {
                    let there = m.remove(&bytes).is_some();
                    assert_eq!(k.remove(db, key, now), there);
                    changes = u64::from(there);
                }
                60..68 => {
                    let at = (prng.below(3) > 0).then_some(expire_at);
                    let there = k.set_expire(db, key, now, at);
                    assert_eq!(there, m.contains_key(&bytes));
                    m.entry(bytes).and_modify(|entry| entry.expire_at = at);
                    changes = u64::from(there);
                }
                68..72 => {
                    let replace = prng.below(2) == 0;
                    let live = |entry: &&ModelEntry| entry.expire_at.is_none_or(|at| at >= now);
                    let source = m.get(&bytes).cloned();
                    let exists = model[other_db].get(&other_bytes).filter(live).is_some();
                    let outcome = k.copy_entry((db, key), (DbIndex(other_db as u16), other), now, replace);
                    match source {
                        None => assert_eq!(outcome, CopyOutcome::NoSource),
                        Some(_) if exists && !replace => assert_eq!(outcome, CopyOutcome::Exists),
                        Some(entry) => {
                            assert_eq!(outcome, CopyOutcome::Copied);
                            model[other_db].insert(other_bytes, entry);
                        }
                    }
                    changes = u64::from(outcome == CopyOutcome::Copied);
                }
                72..78 => {
                    // GETSET, GETDEL and INCR, in one lookup.
                    let mut slot = k.find(db, key, now);
                    let old =
                        slot.value().map(|value| value.string().unwrap().bytes(&mut IntText::new()).to_vec());
                    assert_eq!(old, m.get(&bytes).map(|entry| entry.value.clone()));
                    assert_eq!(slot.expire_at(), m.get(&bytes).and_then(|entry| entry.expire_at));
                    match (prng.below(3), slot.string().unwrap().and_then(|string| string.integer())) {
                        (0, _) => {
                            slot.set(NewValue::Bytes(&value), SetExpire::Clear);
                            m.insert(bytes, ModelEntry::new(value, None));
                        }
                        (1, Some(number)) => {
                            let new = number.wrapping_add(1);
                            slot.set(NewValue::Int(new), SetExpire::Keep);
                            let at = m[&bytes].expire_at;
                            m.insert(bytes, ModelEntry::new(new.to_string().into_bytes(), at));
                        }
                        _ => changes = u64::from(slot.remove() | m.remove(&bytes).is_none() && old.is_some()),
                    }
                }
                78 if step % 50 == 0 => {
                    m.retain(|_, entry| entry.expire_at.is_none_or(|at| at >= now));
                    changes = k.flush(db);
                    assert!(changes >= m.len() as u64, "keys that have expired count until they are removed");
                    m.clear();
                }
                79 => {
                    k.swap(db, DbIndex(other_db as u16));
                    model.swap(d, other_db);
                }
                _ => {
                    changes = 0;
                    k.prefetch_bucket(db, key.hash());
                    k.prefetch_entry(db, key.hash());
                    match k.peek(db, key, now) {
                        Some(view) => check_view(&view, &m[&bytes]),
                        None => assert!(!m.contains_key(&bytes)),
                    }
                }
            }
            assert_eq!(k.dirty() - before, changes, "step {step}");
            dirty += changes;
            match step % 50 {
                0 => drop(k.expire_step(now, 20)),
                10 => drop(k.free_step(100)),
                20 => drop(k.maintain_step(5)),
                30 => drop(k.defrag_step(10)),
                _ => {}
            }
            if step % (steps / 10) == 0 {
                check_all(&mut k, &mut model, now);
            }
        }
        assert_eq!(k.dirty(), dirty);
        k.flush_all();
        while k.free_step(10) {}
        assert_eq!(
            (k.used_memory(), k.memory()),
            (0, MemoryUse { resident_bytes: k.memory().resident_bytes, ..Default::default() })
        );
    }
}

fn check_all(k: &mut Keyspace, model: &mut [BTreeMap<Vec<u8>, ModelEntry>], now: UnixMs) {
    for (d, entries) in model.iter_mut().enumerate() {
        let db = DbIndex(d as u16);
        entries.retain(|_, entry| entry.expire_at.is_none_or(|at| at >= now));
        let mut seen = BTreeSet::new();
        k.for_each(db, now, |key, view| {
            check_view(view, &entries[key]);
            assert!(seen.insert(key.to_vec()));
        });
        assert_eq!(seen.len(), entries.len());
        // Once everything that has expired is removed, the counts agree too.
        while k.expire_step(now, 100).more {}
        while k.expire_step(now, 100).expired > 0 {}
        assert!(k.len(db) >= entries.len() as u64);
        let volatile = entries.values().filter(|entry| entry.expire_at.is_some()).count() as u64;
        assert_eq!(k.len(db) - k.volatile_len(db), entries.len() as u64 - volatile);
    }
}

#[test]
fn a_key_is_gone_when_its_time_has_come() {
    let mut k = keyspace(1);
    let hasher = k.hasher().clone();
    let keys: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];
    for key in keys {
        set(&mut k, key, b"v", SetExpire::At(later(10)));
    }
    // As in Redis it lives through the millisecond that it expires in.
    assert_eq!(get(&mut k, b"a", later(10)), Some(b"v".to_vec()));
    let mut prng = Prng::new(1);
    assert!(k.random_key(DB, &mut prng, later(10)).is_some());
    let now = later(11);
    k.scan(DB, 0, 100, now, |_, _| panic!("an expired key is returned"));
    k.for_each(DB, now, |_, _| panic!("an expired key is returned"));
    assert_eq!(k.len(DB), 8);
    assert_eq!(get(&mut k, b"a", now), None);
    assert!(k.peek(DB, hasher.key(b"b"), now).is_none());
    assert!(!k.find(DB, hasher.key(b"c"), now).exists());
    assert!(!k.remove(DB, hasher.key(b"d"), now));
    assert!(!k.set_expire(DB, hasher.key(b"e"), now, None));
    assert_eq!(k.len(DB), 3);
    // KEEPTTL keeps nothing of a key that is gone.
    k.set(DB, hasher.key(b"f"), now, NewValue::Bytes(b"w"), SetExpire::Keep);
    assert_eq!(k.peek(DB, hasher.key(b"f"), now).unwrap().expire_at, None);
    assert_eq!(k.random_key(DB, &mut prng, now), Some(&b"f"[..]));
    // Of g and h those are gone that were drawn before f was.
    assert_eq!(k.stats().expired_keys, 6 + 3 - k.len(DB));
    assert_eq!(k.dirty(), 9);
}

#[test]
fn the_sweep_removes_what_has_expired_and_nothing_else() {
    let mut k = keyspace(16);
    let hasher = k.hasher().clone();
    let count = 20_000;
    for i in 0..count {
        let expire = match i % 4 {
            0 => SetExpire::At(later(100)),
            1 => SetExpire::At(later(100_000)),
            _ => SetExpire::Clear,
        };
        let key = format!("{i}");
        k.set(DbIndex(i % 16), hasher.key(key.as_bytes()), T0, NewValue::Int(i64::from(i)), expire);
    }
    k.set_options(KeyspaceOptions { active_expire: false, ..k.options().clone() });
    assert_eq!(k.expire_step(later(500), 1000), ExpireReport::default());
    k.set_options(KeyspaceOptions { active_expire: true, ..k.options().clone() });
    let mut steps = 0;
    // A second round catches what moved while the first was under way.
    for _ in 0..2 {
        loop {
            steps += 1;
            let report = k.expire_step(later(500), 50);
            assert!(report.examined <= 8 * 50 && report.expired <= report.examined);
            if !report.more {
                break;
            }
        }
    }
    assert!(steps > 40);
    assert_eq!(k.stats().expired_keys, u64::from(count) / 4);
    let (len, volatile) = (0..16).fold((0, 0), |(len, volatile), db| {
        (len + k.len(DbIndex(db)), volatile + k.volatile_len(DbIndex(db)))
    });
    assert_eq!((len, volatile), (u64::from(count) * 3 / 4, u64::from(count) / 4));
    assert!((90_000..=100_000).contains(&k.average_ttl_ms(DbIndex(1))), "{}", k.average_ttl_ms(DbIndex(1)));
    assert!(k.stats().expired_stale_percent() > 30.0);
}

#[test]
fn lookups_count_as_redis_counts_them() {
    let mut k = keyspace(1);
    let hasher = k.hasher().clone();
    let (key, absent) = (hasher.key(b"key"), hasher.key(b"absent"));
    k.set(DB, key, T0, NewValue::Bytes(b"v"), SetExpire::Clear);
    let access = |k: &mut Keyspace| access::lru_idle_ms(k.peek(DB, key, T0).unwrap().access, later(60_000));
    assert_eq!(access(&mut k), 60_000);
    k.lookup_read(DB, key, later(10_000));
    assert_eq!(access(&mut k), 50_000);
    k.inspect(DB, key, later(20_000));
    k.peek(DB, key, later(20_000));
    assert_eq!(access(&mut k), 50_000);
    k.set_touch(Touch::No);
    k.lookup_read(DB, key, later(20_000));
    assert_eq!(access(&mut k), 50_000);
    k.set_touch(Touch::Yes);
    k.find(DB, key, later(30_000)).set(NewValue::Int(7), SetExpire::Clear);
    assert_eq!(access(&mut k), 30_000);
    assert_eq!((k.stats().hits, k.stats().misses), (3, 0));
    k.lookup_read(DB, absent, T0);
    k.exists(DB, absent, T0);
    k.inspect(DB, absent, T0);
    k.peek(DB, absent, T0);
    k.find(DB, absent, T0).count_read();
    assert_eq!((k.stats().hits, k.stats().misses), (3, 4));
    k.reset_stats();
    assert_eq!(k.stats().hits, 0);

    let lfu = KeyspaceOptions { access: AccessPolicy::Lfu, ..KeyspaceOptions::default() };
    k.set_options(lfu.clone());
    k.remove(DB, key, T0);
    k.set(DB, key, T0, NewValue::Bytes(b"v"), SetExpire::Clear);
    for _ in 0..100 {
        k.lookup_read(DB, key, T0);
    }
    let access = k.peek(DB, key, T0).unwrap().access;
    assert!((7..20).contains(&access::lfu_frequency(access, T0, lfu.lfu)));
}

#[test]
fn memory_for_each_key_is_what_was_promised() {
    let count = if cfg!(debug_assertions) { 150_000u64 } else { 1_000_000 };
    for (expire, entry_bytes, bound) in
        [(SetExpire::Clear, 56, 67.0), (SetExpire::At(later(1_000)), 64, 75.0)]
    {
        let mut k = keyspace(16);
        let hasher = k.hasher().clone();
        let mut worst = (0.0f64, 0.0f64);
        for i in 0..count {
            let key = format!("key:{i:012}");
            k.set(DB, hasher.key(key.as_bytes()), T0, NewValue::Bytes(&[b'x'; 32]), expire);
            if i % 100 == 0 {
                k.maintain_step(2);
            }
            // At all sizes: the table does not breathe.
            if i > 100_000 && i % 1000 == 0 {
                let memory = k.memory();
                let per_key = |bytes: u64| bytes as f64 / (i + 1) as f64;
                worst =
                    (worst.0.max(per_key(memory.used_bytes())), worst.1.max(per_key(memory.resident_bytes)));
            }
        }
        let memory = k.memory();
        let used = memory.used_bytes() as f64 / count as f64;
        let resident = memory.resident_bytes as f64 / count as f64;
        println!("{used:.2} bytes used for each key, {resident:.2} resident; at worst {worst:.2?}");
        assert!(used <= bound && worst.0 <= bound + 0.5, "{used} bytes for each key, {worst:?} at worst");
        assert_eq!(memory.used_bytes(), k.used_memory());
        assert_eq!(memory.dataset_bytes, count * entry_bytes);
        assert!(k.stats().table_moves_max <= 440);
        if !cfg!(debug_assertions) {
            assert!(resident <= bound + 1.5, "{resident} bytes for each key with the allocator's overhead");
        }
    }
}

#[test]
fn memory_comes_back_after_mass_deletion() {
    let count = 200_000u32;
    let mut k = keyspace(16);
    let hasher = k.hasher().clone();
    for i in 0..count {
        k.set(DB, hasher.key(&i.to_be_bytes()), T0, NewValue::Raw(&[b'x'; 40]), SetExpire::Clear);
    }
    let full = k.memory().resident_bytes;
    for i in 0..count {
        if i % 10 != 0 {
            k.remove(DB, hasher.key(&i.to_be_bytes()), T0);
        }
    }
    let mut steps = 0;
    loop {
        let maintained = k.maintain_step(20);
        let defragged = k.defrag_step(100).more;
        steps += 1;
        assert!(steps < 20_000, "upkeep does not end");
        if !maintained && !defragged {
            break;
        }
    }
    let left = k.memory().resident_bytes;
    // What is kept at hand is a fixed amount, and large only beside so few keys.
    let kept = 8 * 65536;
    assert!((left - kept) * 5 <= full, "{left} of {full} bytes left after {steps} steps");
    for i in (0..count).step_by(10) {
        assert!(k.exists(DB, hasher.key(&i.to_be_bytes()), T0));
    }
    assert!(k.stats().defrag_moved > 1000);
    assert_eq!(k.defrag_step(100), DefragReport::default());
}

#[test]
fn a_flushed_database_is_freed_in_slices() {
    let mut k = keyspace(2);
    let hasher = k.hasher().clone();
    for i in 0..10_000u32 {
        // A few values are too large for a page.
        let value = vec![b'x'; if i % 100 == 0 { 10_000 } else { 20 }];
        k.set(DB, hasher.key(&i.to_be_bytes()), T0, NewValue::Bytes(&value), SetExpire::Clear);
    }
    let used = k.used_memory();
    assert_eq!(k.flush_all(), 10_000);
    assert_eq!((k.len(DB), k.used_memory()), (0, used));
    assert_eq!(k.stats().lazyfree_pending_objects, 10_000);
    let mut slices = 0;
    while k.free_step(500) {
        slices += 1;
    }
    assert!(slices >= 10);
    assert_eq!(
        (k.used_memory(), k.stats().lazyfreed_objects, k.stats().lazyfree_pending_objects),
        (0, 10_000, 0)
    );
    set(&mut k, b"again", b"v", SetExpire::Clear);
    assert_eq!(get(&mut k, b"again", T0), Some(b"v".to_vec()));
    // Dropped with a large value in it: the leak checker would see it.
    set(&mut k, b"large", &[0; 100_000], SetExpire::Clear);
}

#[test]
fn an_empty_keyspace_holds_nothing() {
    let mut k = keyspace(16);
    assert_eq!((k.used_memory(), k.memory()), (0, MemoryUse::default()));
    let hasher = k.hasher().clone();
    assert_eq!(k.scan(DB, 0, 10, T0, |_, _| {}), 0);
    assert_eq!(k.random_key(DB, &mut Prng::new(1), T0), None);
    k.prefetch_bucket(DB, hasher.hash(b"x"));
    k.prefetch_entry(DB, hasher.hash(b"x"));
    assert_eq!(k.expire_step(T0, 10), ExpireReport::default());
    assert!(!k.free_step(10) && !k.maintain_step(10));
    assert_eq!(k.defrag_step(10), DefragReport::default());
    set(&mut k, b"k", b"v", SetExpire::Clear);
    assert!(k.remove(DB, hasher.key(b"k"), T0));
    assert_eq!(k.used_memory(), 0);
}

/// Changes a hash.
fn edit_hash(
    k: &mut Keyspace,
    db: DbIndex,
    key: &[u8],
    now: UnixMs,
    f: impl FnOnce(&mut Hash, &mut Edit<'_>),
) {
    let hasher = k.hasher().clone();
    let _ = k.find(db, hasher.key(key), now).edit(f);
}

/// Counts of keys that expire and keys that are volatile by their fields, taken entry by entry.
fn check_volatile(k: &Keyspace, db: DbIndex) {
    let table = &k.databases[db.index()].table;
    let (mut volatile, mut expiring) = (0, 0);
    table.for_each(|entry| {
        volatile += u64::from(entry.expire_at().is_some() || entry.has_volatile_fields());
        expiring += u64::from(entry.expire_at().is_some());
    });
    assert_eq!((table.volatile_len(), k.volatile_len(db)), (volatile, expiring));
}

#[test]
fn hashes_with_fields_that_expire_are_volatile_but_not_counted_as_expiring_keys() {
    let mut prng = Prng::new(5);
    let mut k = keyspace(2);
    let hasher = k.hasher().clone();
    let mut now = T0;
    for step in 0..if cfg!(miri) { 500 } else { 20_000 } {
        now.0 += prng.below(4) as i64;
        let (db, other_db) = (DbIndex(prng.below(2) as u16), DbIndex(prng.below(2) as u16));
        let (name, other_name) = (format!("{}", prng.below(12)), format!("{}", prng.below(12)));
        let (key, other) = (hasher.key(name.as_bytes()), hasher.key(other_name.as_bytes()));
        let at = UnixMs(now.0 + prng.below(300) as i64);
        match prng.below(40) {
            0 => k.set(db, key, now, NewValue::Bytes(b"string"), SetExpire::Clear),
            1 => k.set(db, key, now, NewValue::Bytes(b"string"), SetExpire::At(at)),
            2 | 3 => _ = k.set_expire(db, key, now, (prng.below(2) == 0).then_some(at)),
            4 => _ = k.remove(db, key, now),
            5 if (db, &name) != (other_db, &other_name) => {
                _ = k.move_entry((db, key), (other_db, other), now)
            }
            6 if (db, &name) != (other_db, &other_name) => {
                k.copy_entry((db, key), (other_db, other), now, true);
            }
            7 if step % 20 == 0 => _ = k.flush(db),
            8 => k.swap(db, other_db),
            9..14 => _ = k.expire_step(now, 1 + prng.below(10) as usize),
            14 => _ = k.random_key(db, &mut prng, now),
            15 => {
                let empty = Hash::empty(k.sources(now).1.slab);
                k.find(db, key, now).store(empty);
            }
            _ => {
                let fields = if prng.below(30) == 0 { 600 } else { prng.below(4) };
                edit_hash(&mut k, db, name.as_bytes(), now, |hash, edit| {
                    for _ in 0..fields {
                        let name = format!("{}", prng.below(fields * 2));
                        match prng.below(10) {
                            0..5 => _ = hash.set(edit, name.as_bytes(), b"v", FieldExpire::At(at)),
                            5 | 6 => _ = hash.set(edit, name.as_bytes(), b"v", FieldExpire::Keep),
                            7 => _ = hash.set_expire(edit, name.as_bytes(), None),
                            8 => _ = hash.set_expire(edit, name.as_bytes(), Some(at)),
                            _ => _ = hash.remove(edit, name.as_bytes()),
                        }
                    }
                    edit.changed(fields);
                });
            }
        }
        check_volatile(&k, DbIndex(0));
        check_volatile(&k, DbIndex(1));
        // Whatever can be seen of a hash has a field that lives.
        let value = k.lookup_read(db, key, now);
        if let Some(hash) = value.and_then(|value| value.hash().ok()) {
            assert!(hash.live_len(now) > 0);
        }
        k.for_each(db, now, |_, view| {
            assert!(view.value.hash().is_ok_and(|hash| hash.live_len(now) > 0) || view.value.hash().is_err())
        });
    }
    assert!(k.stats().expired_keys > 100);
    k.flush_all();
    while k.free_step(100) {}
    assert_eq!(k.used_memory(), 0);
}

#[test]
fn expired_fields_are_swept_out_in_bounded_steps() {
    let mut k = keyspace(1);
    let fields = if cfg!(miri) { 2_000 } else { 100_000 };
    // One large hash, half of which expires, among many small ones that end.
    edit_hash(&mut k, DB, b"large", T0, |hash, edit| {
        for n in 0..fields {
            let expire = if n % 2 == 0 { FieldExpire::At(later(10)) } else { FieldExpire::Clear };
            hash.set(edit, format!("{n}").as_bytes(), b"v", expire);
        }
    });
    for n in 0..1000 {
        edit_hash(&mut k, DB, format!("small:{n}").as_bytes(), T0, |hash, edit| {
            hash.set(edit, b"f", b"v", FieldExpire::At(later(10)));
        });
    }
    assert_eq!((k.len(DB), k.volatile_len(DB)), (1001, 0));
    let report = k.expire_step(later(10), 1000);
    assert_eq!((report.expired, k.len(DB)), (0, 1001));
    let (mut steps, mut expired) = (0, 0);
    loop {
        let report = k.expire_step(later(11), 64);
        assert!(report.expired <= 64 * 16, "{report:?}");
        (steps, expired) = (steps + 1, expired + report.expired);
        if !report.more && k.len(DB) == 1 && steps > 1000 {
            break;
        }
        assert!(steps < 10_000);
    }
    assert_eq!(expired, fields / 2 + 1000);
    let hasher = k.hasher().clone();
    let large = k.lookup_read(DB, hasher.key(b"large"), later(11)).unwrap().hash().unwrap();
    assert_eq!(Hash::len(large) as u64, fields / 2);
    assert!(!large.is_volatile());
    check_volatile(&k, DB);
}

#[test]
fn a_keyspace_with_large_collections_is_taken_apart_at_its_end() {
    let mut k = keyspace(1);
    let hasher = k.hasher().clone();
    for number in 0..1000 {
        let name = format!("key:{number}");
        k.set(DB, hasher.key(name.as_bytes()), T0, NewValue::Raw(b"value"), SetExpire::Clear);
    }
    assert!(k.ends_with_its_pages());
    let add = |set: &mut Set, edit: &mut Edit<'_>| {
        for number in 0..1000 {
            set.add(format!("member:{number}").as_bytes(), edit);
        }
        edit.changed(1000);
    };
    let key = hasher.key(b"set");
    assert!(k.find(DB, key, T0).edit(add).is_ok());
    assert!(!k.ends_with_its_pages(), "its directory is on no page");
    assert!(k.remove(DB, key, T0));
    while k.free_step(100) {}
    assert!(k.ends_with_its_pages());
    // A flushed database that is not freed yet.
    assert_eq!(k.flush(DB), 1000);
    assert!(k.ends_with_its_pages());
}

#[test]
fn what_has_expired_is_hidden_and_stays_where_it_is() {
    let mut k = keyspace(1);
    set(&mut k, b"a", b"1", SetExpire::At(later(10)));
    set(&mut k, b"b", b"2", SetExpire::Clear);
    k.set_lapse(Lapse::Hide);
    assert_eq!(get(&mut k, b"a", later(10)), Some(b"1".to_vec()));
    assert_eq!(get(&mut k, b"a", later(11)), None);
    assert_eq!(get(&mut k, b"b", later(11)), Some(b"2".to_vec()));
    assert_eq!((k.len(DB), k.stats().expired_keys), (2, 0));
    let mut prng = Prng::new(1);
    for _ in 0..20 {
        assert!(k.random_key(DB, &mut prng, later(11)).is_some());
    }
    let hasher = k.hasher().clone();
    assert!(k.remove(DB, hasher.key(b"b"), T0));
    // There is nothing else to be drawn.
    assert_eq!(k.random_key(DB, &mut prng, later(11)), Some(&b"a"[..]));
    // Who does again what was done before sees it.
    assert_eq!(get(&mut k, b"a", UnixMs(0)), Some(b"1".to_vec()));
    k.set_lapse(Lapse::Remove);
    assert_eq!(get(&mut k, b"a", later(11)), None);
    assert_eq!((k.len(DB), k.stats().expired_keys), (0, 1));
}
