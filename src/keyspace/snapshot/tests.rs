//! Snapshots against what was there at the cut, while everything that can happen to a keyspace happens.

use std::collections::BTreeMap;

use super::*;
use crate::base::{crc64, crc64::crc64, key::KeyHasher, prng::Prng, time::UnixMs};
use crate::ds::hash::FieldExpire;
use crate::ds::list::End;
use crate::keyspace::{
    EvictionOptions, EvictionOrder, Hash, KeyspaceOptions, List, NewValue, Set, SetExpire, ValueKind,
    ValueRef, Zset,
};

const T0: UnixMs = UnixMs(1_700_000_000_000);

/// Before any time that a key or a field expires at: nothing is gone then.
const ALWAYS: UnixMs = UnixMs(i64::MIN);

const DATABASES: u16 = 4;

/// What a key holds: expiry, type, and the elements, in order where they have one. (A string is one element.)
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    expire_at: Option<i64>,
    kind: u8,
    elements: Vec<Vec<u8>>,
}

impl Content {
    fn new(expire_at: Option<UnixMs>, kind: u8, mut elements: Vec<Vec<u8>>) -> Self {
        match kind {
            _ if kind == ValueKind::String as u8 => elements = vec![elements.concat()],
            _ if kind == ValueKind::List as u8 => {}
            _ => elements.sort(),
        }
        Content { expire_at: expire_at.map(|at| at.0), kind, elements }
    }

    fn of(view: &EntryView<'_>) -> Self {
        let mut elements = Vec::new();
        let progress = Reader::default().read(view, usize::MAX, |element| elements.push(element.to_vec()));
        assert_eq!(progress, Progress::Done);
        Content::new(view.expire_at, view.value.kind() as u8, elements)
    }
}

type Contents = BTreeMap<(u16, Vec<u8>), Content>;
type Sizes = BTreeMap<u16, (u64, u64)>;

/// Reads a value piece by piece.
#[derive(Default)]
struct Reader {
    at: u64,
}

impl Reader {
    /// Shows elements of about so many bytes, each once.
    fn read(&mut self, view: &EntryView<'_>, budget: usize, mut f: impl FnMut(&[u8])) -> Progress {
        let mut bytes = 0;
        loop {
            let mut show = |parts: &[&[u8]]| {
                f(&parts.concat());
                bytes += parts.iter().map(|part| part.len()).sum::<usize>();
            };
            let (mut text, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
            let at = self.at;
            let (next, end) = match view.value {
                ValueRef::String(string) => {
                    let bytes = string.bytes(&mut text);
                    let end = bytes.len().min((at as usize).saturating_add(budget.min(1 << 12)));
                    show(&[&bytes[at as usize..end]]);
                    (end as u64, bytes.len() as u64)
                }
                ValueRef::List(list) => {
                    list.range(at as usize, End::Back, 10, |element| show(&[element.bytes(&mut text)]));
                    (at + 10, list.len() as u64)
                }
                ValueRef::Zset(zset) => {
                    let ranks = at as usize..zset.len().min(at as usize + 10);
                    for item in zset.range(ranks, false) {
                        show(&[item.member.bytes(&mut text), &item.score.to_bits().to_le_bytes()]);
                    }
                    (at + 10, zset.len() as u64)
                }
                ValueRef::Set(set) => {
                    let next = set.scan(at, 10, |member| show(&[member.bytes(&mut text)]));
                    (if next == 0 { u64::MAX } else { next }, u64::MAX)
                }
                ValueRef::Hash(hash) => {
                    let next = hash.scan(at, 10, ALWAYS, |item| {
                        let at = item.expire_at.map_or(i64::MAX, |at| at.0).to_le_bytes();
                        show(&[item.name.bytes(&mut text), b"=", item.value.bytes(&mut second), &at]);
                    });
                    (if next == 0 { u64::MAX } else { next }, u64::MAX)
                }
            };
            self.at = next;
            if next >= end {
                return Progress::Done;
            }
            if bytes >= budget {
                return Progress::More;
            }
        }
    }
}

/// Writes keys in a form that shows whether values are in one piece.
#[derive(Default)]
struct TestSink {
    open: Option<Reader>,
    checksum: u64,
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

fn put_head(out: &mut Vec<u8>, db: DbIndex, key: &[u8], entry: &EntryView<'_>) {
    out.push(b'K');
    out.extend(db.0.to_le_bytes());
    put_bytes(out, key);
    out.extend(entry.expire_at.map_or(i64::MAX, |at| at.0).to_le_bytes());
    out.push(entry.value.kind() as u8);
}

fn put_element(out: &mut Vec<u8>, element: &[u8]) {
    out.push(b'E');
    put_bytes(out, element);
}

impl SnapshotSink for TestSink {
    fn database(&mut self, db: DbIndex, keys: u64, volatile: u64, out: &mut Vec<u8>) {
        out.push(b'D');
        out.extend(db.0.to_le_bytes());
        out.extend(keys.to_le_bytes());
        out.extend(volatile.to_le_bytes());
    }

    fn entry(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        put_head(out, db, key, entry);
        Reader::default().read(entry, usize::MAX, |element| put_element(out, element));
        out.push(b'.');
    }

    fn begin_value(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        assert!(self.open.is_none());
        assert!(entry.is_large());
        self.open = Some(Reader::default());
        put_head(out, db, key, entry);
    }

    fn step_value(&mut self, entry: &EntryView<'_>, budget: usize, out: &mut Vec<u8>) -> Progress {
        let reader = self.open.as_mut().unwrap();
        let progress = reader.read(entry, budget, |element| put_element(out, element));
        if progress == Progress::Done {
            out.push(b'.');
            self.open = None;
        }
        progress
    }

    fn in_order(&mut self, bytes: &[u8]) {
        self.checksum = crc64(self.checksum, bytes);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        assert!(self.open.is_none());
        out.push(b'Z');
    }

    fn checksum(&self) -> u64 {
        self.checksum
    }
}

/// Reads what `TestSink` wrote.
struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
    fn bytes(&mut self, len: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn number(&mut self, len: usize) -> u64 {
        let mut number = [0; 8];
        number[..len].copy_from_slice(self.bytes(len));
        u64::from_le_bytes(number)
    }

    fn string(&mut self) -> Vec<u8> {
        let len = self.number(4) as usize;
        self.bytes(len).to_vec()
    }

    /// All keys, each once, and the sizes of the databases.
    fn decode(mut self) -> (Contents, Sizes) {
        let (mut contents, mut sizes) = (Contents::new(), Sizes::new());
        loop {
            match self.byte() {
                b'D' => {
                    assert!(contents.is_empty());
                    let size = (self.number(2) as u16, (self.number(8), self.number(8)));
                    sizes.extend([size]);
                }
                b'K' => {
                    let name = (self.number(2) as u16, self.string());
                    let expire_at = Some(UnixMs(self.number(8) as i64)).filter(|at| at.0 != i64::MAX);
                    let kind = self.byte();
                    let mut elements = Vec::new();
                    loop {
                        match self.byte() {
                            b'E' => elements.push(self.string()),
                            b'.' => break,
                            other => panic!("{} in the middle of a value", other as char),
                        }
                    }
                    let text = format!("{name:?}");
                    let content = Content::new(expire_at, kind, elements);
                    assert_eq!(contents.insert(name, content), None, "{text} twice");
                }
                b'Z' => break,
                other => panic!("{other}"),
            }
        }
        assert!(self.0.is_empty());
        (contents, sizes)
    }
}

/// The number in a key's name.
fn number_of(name: &[u8]) -> u64 {
    std::str::from_utf8(&name[4..]).unwrap().parse().unwrap()
}

/// A keyspace, and what was there at the cut of the snapshot that is under way.
struct World {
    k: Keyspace,
    hasher: KeyHasher,
    prng: Prng,
    now: UnixMs,
    /// Keys are drawn from so many names.
    names: u64,
    /// A value of one in so many keys is large, if any.
    large: Option<u64>,
    cut: Option<(Contents, Sizes)>,
    out: Vec<u8>,
    complete: u64,
}

impl World {
    fn new(seed: u64, names: u64, large: Option<u64>) -> World {
        let mut prng = Prng::new(seed);
        let orders = [
            EvictionOrder::LeastRecentlyUsed,
            EvictionOrder::LeastFrequentlyUsed,
            EvictionOrder::SoonestExpiring,
            EvictionOrder::Random,
        ];
        let eviction = EvictionOptions {
            order: orders[prng.below(4) as usize],
            volatile_only: prng.below(2) == 0,
            samples: 3,
        };
        let options = KeyspaceOptions { eviction, seed, ..KeyspaceOptions::default() };
        let hasher = KeyHasher::new([seed, 2, 3, 4]);
        let k = Keyspace::new(DATABASES, hasher.clone(), options);
        World { k, hasher, prng, now: T0, names, large, cut: None, out: Vec::new(), complete: 0 }
    }

    fn contents(&mut self) -> (Contents, Sizes) {
        let (mut contents, mut sizes) = (Contents::new(), Sizes::new());
        for db in 0..DATABASES {
            self.k.for_each(DbIndex(db), ALWAYS, |key, view| {
                contents.insert((db, key.to_vec()), Content::of(view));
            });
            if !self.k.is_empty(DbIndex(db)) {
                sizes.insert(db, (self.k.len(DbIndex(db)), self.k.volatile_len(DbIndex(db))));
            }
        }
        (contents, sizes)
    }

    fn begin(&mut self) {
        let begun = self.k.begin_snapshot(Box::<TestSink>::default());
        assert_eq!(begun.is_ok(), self.cut.is_none());
        if begun.is_ok() {
            self.cut = Some(self.contents());
            self.out.clear();
        }
    }

    fn step(&mut self, budget: usize) -> Progress {
        let progress = self.k.snapshot_step(budget);
        if self.prng.below(3) == 0 {
            self.k.take_snapshot_output(&mut self.out);
        }
        if progress == Progress::Done {
            let Some((cut, sizes)) = self.cut.take() else {
                assert!(self.k.end_snapshot().is_none());
                return progress;
            };
            let seen = self.k.snapshot_progress().unwrap();
            assert_eq!((seen.keys_done, seen.keys_total), (cut.len() as u64, cut.len() as u64));
            assert_eq!(seen.aside_bytes, 0);
            while self.k.snapshot_progress().unwrap().waiting_bytes > 0 {
                assert!(self.k.end_snapshot().is_none());
                self.k.take_snapshot_output(&mut self.out);
            }
            let sink = self.k.end_snapshot().unwrap();
            let (_, before_finish) = self.out.split_last().unwrap();
            assert_eq!(sink.checksum(), crc64(crc64::EMPTY, before_finish));
            let (contents, seen_sizes) = Decoder(&self.out).decode();
            assert_eq!(seen_sizes, sizes);
            for (name, content) in &cut {
                assert_eq!(contents.get(name), Some(content), "{name:?}");
            }
            assert_eq!(contents.len(), cut.len());
            self.complete += 1;
        } else {
            assert!(self.k.end_snapshot().is_none());
        }
        progress
    }

    fn finish(&mut self) {
        while self.step(10_000) == Progress::More {}
        assert!(self.cut.is_none());
    }

    fn abort(&mut self) {
        assert_eq!(self.k.abort_snapshot().is_some(), self.cut.take().is_some());
    }

    fn db(&mut self) -> DbIndex {
        // The last is often empty.
        DbIndex([0, 0, 0, 1, 1, 2, 3][self.prng.below(7) as usize])
    }

    fn name(&mut self) -> Vec<u8> {
        let number = self.prng.below(self.names);
        format!("key:{number}").into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.prng.below(8) {
            0 => self.prng.below(1000).to_string().into_bytes(),
            1 => vec![b'v'; self.prng.below(300) as usize],
            _ => vec![b'w'; self.prng.below(30) as usize],
        }
    }

    fn later(&mut self) -> UnixMs {
        UnixMs(self.now.0 + self.prng.below(2_000) as i64)
    }

    /// Changes the collection under a key, or makes one of the type that its name says.
    fn edit(&mut self, db: DbIndex, name: &[u8]) {
        let number = number_of(name);
        let is_large = self.large.is_some_and(|one_in| number % one_in == 0);
        let at = self.later();
        let Self { k, hasher, prng, now, .. } = self;
        let mut slot = k.find(db, hasher.key(name), *now);
        // A new value that is to be large becomes so at once.
        let count = match (is_large, slot.exists()) {
            (true, false) => 1500,
            (true, true) => 1 + prng.below(20),
            (false, _) => 1 + prng.below(5),
        };
        let element = |n: u64| format!("{n:x>60}").into_bytes();
        let range = if is_large { 3000 } else { 12 };
        let removes = prng.below(3) == 0;
        let draw = |prng: &mut Prng| element(prng.below(range));
        match number % 5 {
            0 => {
                let _ = slot.edit(|list: &mut List, edit| {
                    for _ in 0..count {
                        match removes {
                            true => _ = list.pop(edit, End::Front, |_| ()),
                            false => list.push(edit, End::Back, &draw(prng)),
                        }
                    }
                    edit.changed(count);
                });
            }
            1 => {
                let _ = slot.edit(|set: &mut Set, edit| {
                    for n in 0..count {
                        match removes {
                            true => _ = set.remove(&draw(prng), edit),
                            false if is_large => _ = set.add(&element(n), edit),
                            false => _ = set.add(&draw(prng), edit),
                        }
                    }
                    edit.changed(count);
                });
            }
            2 => {
                let _ = slot.edit(|zset: &mut Zset, edit| {
                    for n in 0..count {
                        match removes {
                            true => _ = zset.remove(edit, &draw(prng)),
                            false => _ = zset.update(edit, &draw(prng), |_| Some(n as f64)),
                        }
                    }
                    edit.changed(count);
                });
            }
            3 => {
                let _ = slot.edit(|hash: &mut Hash, edit| {
                    for n in 0..count {
                        let expire = match n % 3 {
                            0 => FieldExpire::At(at),
                            1 => FieldExpire::Keep,
                            _ => FieldExpire::Clear,
                        };
                        match removes {
                            true => _ = hash.remove(edit, &draw(prng)),
                            false => _ = hash.set(edit, &draw(prng), b"value", expire),
                        }
                    }
                    edit.changed(count);
                });
            }
            _ => {
                let is_string = slot.kind().is_none_or(|kind| kind == ValueKind::String);
                if is_string && is_large && !slot.exists() {
                    slot.set(NewValue::Raw(&vec![b's'; 150_000]), SetExpire::Clear);
                } else if is_string {
                    slot.append(&element(count));
                }
            }
        }
    }

    /// One random operation.
    fn act(&mut self) {
        let (db, other_db) = (self.db(), self.db());
        let (name, other_name) = (self.name(), self.name());
        let (value, at) = (self.value(), self.later());
        self.now.0 += self.prng.below(4) as i64;
        let now = self.now;
        let hasher = self.hasher.clone();
        let (key, other) = (hasher.key(&name), hasher.key(&other_name));
        let same = (db, &name) == (other_db, &other_name);
        let k = &mut self.k;
        match self.prng.below(300) {
            0..40 => k.set(db, key, now, NewValue::Bytes(&value), SetExpire::Clear),
            40..60 => k.set(db, key, now, NewValue::Bytes(&value), SetExpire::At(at)),
            60..65 => k.set(db, key, now, NewValue::Bytes(&value), SetExpire::Keep),
            65..75 => {
                let mut slot = k.find(db, key, now);
                if slot.kind().is_none_or(|kind| kind == ValueKind::String) {
                    match self.prng.below(3) {
                        0 => _ = slot.append(&value),
                        1 => _ = slot.write_range(self.prng.below(50) as usize, &value),
                        _ => slot.make_buffer(),
                    }
                }
            }
            75..170 => self.edit(db, &name),
            170..180 => _ = k.set_expire(db, key, now, (self.prng.below(2) == 0).then_some(at)),
            180..200 => _ = k.remove(db, key, now),
            200..205 => _ = k.find(db, key, now).remove(),
            205..210 => {
                let (_, mut edit) = k.sources(now);
                let mut set = <Set as crate::ds::collection::Collection>::empty(edit.slab);
                for n in 0..self.prng.below(3) {
                    set.add(&n.to_le_bytes(), &mut edit);
                }
                k.find(db, key, now).store(set);
            }
            210..222 if !same => _ = k.move_entry((db, key), (other_db, other), now),
            222..230 if !same => {
                let replace = self.prng.below(2) == 0;
                k.copy_entry((db, key), (other_db, other), now, replace);
            }
            230..235 => {
                let mut bytes = Vec::new();
                let found = k.peek(other_db, other, now).map(|view| {
                    view.export(&mut bytes);
                    (view.value.kind(), view.expire_at)
                });
                if let Some((kind, expire_at)) = found {
                    k.import(db, key, now, (kind, &bytes), (expire_at, 7));
                }
            }
            235..250 => _ = k.expire_step(now, 1 + self.prng.below(40) as usize),
            250..256 => _ = k.evict_step(now, 1 + self.prng.below(3000), 1 + self.prng.below(4) as usize),
            256..266 => _ = k.defrag_step(1 + self.prng.below(60) as usize),
            266..276 => _ = k.maintain_step(1 + self.prng.below(10) as usize),
            276..281 => _ = k.free_step(1 + self.prng.below(50) as usize),
            281..284 => _ = k.random_key(db, &mut self.prng, now),
            284..296 => _ = k.lookup_read(db, key, now),
            296 => k.swap(db, other_db),
            297 => _ = k.flush(db),
            298 if self.prng.below(4) == 0 => _ = k.flush_all(),
            299 if k.blocks_write(db, key) => k.snapshot_hurry(db, key),
            _ => {}
        }
    }

    /// Many operations, with steps of snapshots in between.
    fn run(&mut self, operations: u64) {
        for operation in 0..operations {
            self.act();
            match self.prng.below(60) {
                0 => self.begin(),
                1..20 => {
                    let budget = self.prng.below(if self.large.is_some() { 20_000 } else { 600 });
                    self.step(budget as usize);
                }
                20 if operation % 8 == 0 => self.abort(),
                21 if operation % 16 == 0 => self.grow(),
                22 if operation % 16 == 0 => self.delete_most(),
                _ => {}
            }
        }
    }

    /// Many new keys.
    fn grow(&mut self) {
        let db = self.db();
        for _ in 0..self.names {
            let key = self.prng.next_u64().to_le_bytes();
            let value = NewValue::Raw(&key[..3]);
            self.k.set(db, self.hasher.key(&key), self.now, value, SetExpire::Clear);
            if self.prng.below(200) == 0 {
                self.step(200);
            }
        }
    }

    fn delete_most(&mut self) {
        let db = self.db();
        let mut keys = Vec::new();
        self.k.for_each(db, self.now, |key, _| keys.push(key.to_vec()));
        for key in keys {
            if self.prng.below(10) > 0 {
                self.k.remove(db, self.hasher.key(&key), self.now);
            }
            if self.prng.below(200) == 0 {
                self.step(200);
            }
        }
    }

    /// After the last snapshot everything can be freed.
    fn end(mut self) {
        self.finish();
        for database in &self.k.databases {
            assert!(!database.table.is_empty() || database.table.memory_bytes() == 0);
        }
        self.k.flush_all();
        while self.k.free_step(100) {}
        assert_eq!((self.k.used_memory(), self.k.memory().table_bytes), (0, 0));
        assert_eq!(self.k.stats().lazyfree_pending_objects, 0);
    }
}

#[test]
fn a_snapshot_is_what_was_there_at_the_cut() {
    let (seeds, operations) = if cfg!(miri) { (1, 400) } else { (300, 1500) };
    let mut complete = 0;
    for seed in 0..seeds {
        let names = [10, 60, 300, 1500][seed as usize % 4];
        let mut world = World::new(seed, names, None);
        world.run(operations);
        complete += world.complete;
        world.end();
    }
    assert!(complete > seeds * 2, "{complete} snapshots");
}

#[test]
fn large_values_are_written_in_one_piece_however_slowly() {
    let (seeds, operations) = if cfg!(miri) { (0, 0) } else { (25, 1000) };
    for seed in 0..seeds {
        let mut world = World::new(1000 + seed, 40, Some([3, 7][seed as usize % 2]));
        world.run(operations);
        world.end();
    }
}

#[test]
fn tables_grow_and_empty_under_a_snapshot() {
    let seeds = if cfg!(miri) { 0 } else { 4 };
    for seed in 0..seeds {
        let mut world = World::new(2000 + seed, 20_000, None);
        (0..3).for_each(|_| world.grow());
        world.begin();
        world.step(50_000);
        world.grow();
        world.run(200);
        (0..6).for_each(|_| world.delete_most());
        world.step(50_000);
        world.grow();
        world.end();
    }
}

/// The content of a snapshot that goes on from here to its end.
fn rest(k: &mut Keyspace) -> (Contents, Sizes) {
    let mut out = Vec::new();
    while k.snapshot_step(5_000) == Progress::More {}
    while k.end_snapshot().is_none() {
        k.take_snapshot_output(&mut out);
    }
    Decoder(&out).decode()
}

fn set(k: &mut Keyspace, db: u16, number: u32, value: &[u8]) {
    let hasher = k.hasher().clone();
    k.set(DbIndex(db), hasher.key(&number.to_le_bytes()), T0, NewValue::Raw(value), SetExpire::Clear);
}

fn remove(k: &mut Keyspace, db: u16, number: u32) -> bool {
    let hasher = k.hasher().clone();
    k.remove(DbIndex(db), hasher.key(&number.to_le_bytes()), T0)
}

#[test]
fn databases_keep_the_number_that_they_had_at_the_cut() {
    let mut k = World::new(1, 1, None).k;
    (0..1000).for_each(|number| set(&mut k, 0, number, b"zero"));
    (0..500).for_each(|number| set(&mut k, 1, number, b"one"));
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_err(), "one at a time");
    k.snapshot_step(2_000);
    k.swap(DbIndex(0), DbIndex(1));
    k.swap(DbIndex(1), DbIndex(2));
    (0..600).for_each(|number| set(&mut k, 0, number, b"new"));
    (0..600).for_each(|number| set(&mut k, 1, number, b"new"));
    let (contents, sizes) = rest(&mut k);
    assert_eq!(sizes, Sizes::from([(0, (1000, 0)), (1, (500, 0))]));
    for ((db, _), content) in &contents {
        assert_eq!(content.elements, [if *db == 0 { &b"zero"[..] } else { b"one" }]);
    }
    assert_eq!(contents.len(), 1500);
}

#[test]
fn a_flushed_database_is_freed_as_the_walk_goes() {
    let mut k = World::new(1, 1, None).k;
    (0..20_000).for_each(|number| set(&mut k, 0, number, &[b'x'; 100]));
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    k.snapshot_step(300_000);
    let used = k.used_memory();
    assert_eq!(k.flush_all(), 20_000);
    set(&mut k, 0, 7, b"new");
    assert_eq!(k.memory().used_bytes(), k.used_memory());
    assert!(!k.free_step(100_000) && !k.has_dead());
    // What is dead goes before any key that lives, when memory is short.
    let mut options = k.options().clone();
    options.eviction = EvictionOptions { order: EvictionOrder::Random, ..options.eviction };
    k.set_options(options);
    let report = k.evict_step(T0, used / 4, 1_000);
    assert!(report.evicted == 0 && report.freed_bytes >= used / 4, "{report:?}");
    assert!(k.stats().lazyfree_pending_objects < 17_000);
    assert_eq!(rest(&mut k).0.len(), 20_000);
    while k.free_step(1000) {}
    assert_eq!((k.len(DbIndex(0)), k.stats().lazyfree_pending_objects), (1, 0));
    assert_eq!((k.stats().lazyfreed_objects, k.used_memory() < 1000), (20_000, true));
    // Given up in the middle it is freed, too.
    (0..20_000).for_each(|number| set(&mut k, 0, number, &[b'x'; 100]));
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    k.flush_all();
    k.snapshot_step(300_000);
    assert!(k.abort_snapshot().is_some());
    while k.free_step(1000) {}
    assert_eq!((k.used_memory(), k.stats().lazyfree_pending_objects), (0, 0));
}

#[test]
fn tables_shrink_when_the_walk_is_over() {
    let fill = |k: &mut Keyspace| (0..50_000).for_each(|number| set(k, 0, number, b"value"));
    let empty =
        |k: &mut Keyspace| (0..50_000).for_each(|number| assert!(number % 16 == 0 || remove(k, 0, number)));
    let tidy = |k: &mut Keyspace| while k.maintain_step(20) {};
    let (mut plain, mut k) = (World::new(1, 1, None).k, World::new(1, 1, None).k);
    fill(&mut plain);
    empty(&mut plain);
    tidy(&mut plain);
    fill(&mut k);
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    let full = k.memory().table_bytes;
    empty(&mut k);
    tidy(&mut k);
    assert_eq!(k.memory().table_bytes, full, "held");
    assert_eq!(rest(&mut k).0.len(), 50_000);
    tidy(&mut k);
    let (expected, found) = (plain.memory(), k.memory());
    assert!(found.table_bytes <= expected.table_bytes * 11 / 10, "{found:?} and not {expected:?}");
    assert_eq!(found.dataset_bytes, expected.dataset_bytes);
    // A table that is emptied while it is held is given back at the end.
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    (0..50_000).step_by(16).for_each(|number| assert!(remove(&mut k, 0, number)));
    assert!(k.used_memory() > 0);
    assert_eq!(rest(&mut k).0.len(), 50_000 / 16);
    assert_eq!(k.used_memory(), 0);
}

#[test]
fn moving_memory_does_not_disturb_a_walk() {
    let mut k = World::new(1, 1, None).k;
    // The tables' segments lie side by side; then one table leaves.
    for number in 0..100_000 {
        set(&mut k, 0, number, b"value");
        set(&mut k, 1, number, b"other value, somewhat longer");
    }
    k.flush(DbIndex(1));
    while k.free_step(10_000) {}
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    for number in 0..2_000 {
        k.snapshot_step(500);
        set(&mut k, 0, number * 17, b"new");
    }
    assert!(k.core.slab.movable_bytes(2304) > 0);
    while k.defrag_step(1000).more {}
    assert_eq!(k.core.slab.movable_bytes(2304), 0);
    (0..100_000).step_by(3).for_each(|number| set(&mut k, 0, number, b"newer"));
    let (contents, _) = rest(&mut k);
    assert!(contents.values().all(|content| content.elements == [b"value"]));
    assert_eq!(contents.len(), 100_000);
}

#[test]
fn looking_at_a_hash_does_not_take_expired_fields_from_the_snapshot() {
    let World { mut k, hasher, .. } = World::new(1, 1, None);
    let _ = k.find(DbIndex(0), hasher.key(b"hash"), T0).edit(|hash: &mut Hash, edit| {
        for n in 0..2000u32 {
            let at = UnixMs(T0.0 + 10 + i64::from(n));
            hash.set(edit, &n.to_le_bytes(), b"value", FieldExpire::At(at));
        }
        edit.changed(1);
    });
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    let now = UnixMs(T0.0 + 1900);
    assert!(k.exists(DbIndex(0), hasher.key(b"hash"), now));
    assert_eq!(k.expire_step(now, 1000).expired, 0, "left for the next round");
    assert!(k.snapshot_progress().unwrap().keys_done == 0);
    let (contents, _) = rest(&mut k);
    assert_eq!(contents[&(0, b"hash".to_vec())].elements.len(), 2000);
    while k.expire_step(now, 1000).more {}
    assert_eq!(k.peek(DbIndex(0), hasher.key(b"hash"), now).unwrap().elements(), 110);
}

#[test]
fn a_large_value_can_be_hurried() {
    let World { mut k, hasher, .. } = World::new(1, 1, None);
    let db = DbIndex(0);
    let large = |n: u32| n % 1000 == 0;
    (0..10_000).for_each(|n| set(&mut k, 0, n, &vec![b'x'; if large(n) { 200_000 } else { 10 }]));
    let key = |n: u32| n.to_le_bytes();
    assert!(!k.blocks_write(db, hasher.key(&key(0))));
    assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
    for n in (0..10_000).step_by(1000) {
        let mut steps = 0;
        while k.blocks_write(db, hasher.key(&key(n))) {
            k.snapshot_hurry(db, hasher.key(&key(n)));
            let before = k.snapshot_progress().unwrap();
            k.snapshot_step(20_000);
            steps += 1;
            // What is changed meanwhile waits for the value to be complete.
            let other = n + steps;
            if !k.blocks_write(db, hasher.key(&key(other))) {
                set(&mut k, 0, other, b"new");
            }
            let after = k.snapshot_progress().unwrap();
            let written = after.waiting_bytes + after.aside_bytes - before.waiting_bytes - before.aside_bytes;
            assert!(written < 30_000, "{before:?} {after:?}");
        }
        // It was done with before, if the walk came by, or takes about ten steps; and twenty at most if another value
        // had to be completed first.
        assert!(steps <= 25, "{steps} steps");
        let before = k.snapshot_progress().unwrap();
        k.set(db, hasher.key(&key(n)), T0, NewValue::Raw(b"new"), SetExpire::Clear);
        let after = k.snapshot_progress().unwrap();
        assert_eq!(after, before, "a change costs nothing now");
    }
    let (contents, _) = rest(&mut k);
    assert_eq!(contents.len(), 10_000);
    for ((_, name), content) in contents {
        let n = u32::from_le_bytes(name.try_into().unwrap());
        assert_eq!(content.elements[0].len(), if large(n) { 200_000 } else { 10 });
    }
}

#[test]
fn numbers_begin_again_when_they_are_used_up() {
    let mut k = World::new(1, 1, None).k;
    (0..3000).for_each(|number| set(&mut k, 0, number, b"value"));
    k.core.snapshots = u32::MAX - 3;
    for round in 0..8u32 {
        assert!(k.begin_snapshot(Box::<TestSink>::default()).is_ok());
        k.snapshot_step(20_000);
        (0..3000).step_by(7).for_each(|number| set(&mut k, 0, number + round, b"value"));
        (3000..3100).for_each(|number| set(&mut k, 0, number + round * 100, b"value"));
        let keys = k.snapshot_progress().unwrap().keys_total;
        match round % 3 {
            2 => assert!(k.abort_snapshot().is_some()),
            _ => assert_eq!(rest(&mut k).0.len() as u64, keys),
        }
    }
    assert_eq!(k.core.snapshots, 5);
}
