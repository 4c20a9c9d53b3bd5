//! What is written, byte by byte and in pieces. Whether Redis reads it is seen by `tests/server/rdb.rs`.

use super::file::{AccessNotes, FileOptions, SnapshotFileSink};
use super::value::{Form, ValueWriter};
use crate::base::crc64::{self, crc64};
use crate::base::ids::DbIndex;
use crate::base::key::KeyHasher;
use crate::base::prng::Prng;
use crate::base::time::{MonoUs, Now, UnixMs};
use crate::ds::collection::Edit;
use crate::ds::hash::FieldExpire;
use crate::ds::list::End;
use crate::keyspace::{
    AccessPolicy, Hash, Keyspace, KeyspaceOptions, LfuOptions, List, NewValue, Progress, Set, SetExpire, Zset,
};
use crate::rdb::dump;

const T0: UnixMs = UnixMs(1_700_000_000_000);
const SOON: UnixMs = UnixMs(T0.0 + 1000);
const LATER: UnixMs = UnixMs(T0.0 + 5000);

/// A keyspace to fill.
struct World {
    k: Keyspace,
    hasher: KeyHasher,
    db: DbIndex,
}

impl World {
    fn new(options: KeyspaceOptions) -> World {
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        World { k: Keyspace::new(4, hasher.clone(), options), hasher, db: DbIndex(0) }
    }

    fn set(&mut self, key: &str, value: &[u8]) {
        self.k.set(self.db, self.hasher.key(key.as_bytes()), T0, NewValue::Bytes(value), SetExpire::Clear);
    }

    fn list<T: AsRef<[u8]>>(&mut self, key: &str, elements: &[T]) {
        let mut slot = self.k.find(self.db, self.hasher.key(key.as_bytes()), T0);
        let push = |list: &mut List, edit: &mut Edit<'_>| {
            elements.iter().for_each(|element| list.push(edit, End::Back, element.as_ref()));
        };
        slot.edit(push).unwrap();
    }

    fn members<T: AsRef<[u8]>>(&mut self, key: &str, members: &[T]) {
        let mut slot = self.k.find(self.db, self.hasher.key(key.as_bytes()), T0);
        let add = |set: &mut Set, edit: &mut Edit<'_>| {
            for member in members {
                set.add(member.as_ref(), edit);
            }
        };
        slot.edit(add).unwrap();
    }

    fn scores<T: AsRef<[u8]>>(&mut self, key: &str, members: &[(T, f64)]) {
        let mut slot = self.k.find(self.db, self.hasher.key(key.as_bytes()), T0);
        let add = |zset: &mut Zset, edit: &mut Edit<'_>| {
            for (member, score) in members {
                zset.update(edit, member.as_ref(), |_| Some(*score));
            }
        };
        slot.edit(add).unwrap();
    }

    fn fields<T: AsRef<[u8]>>(&mut self, key: &str, fields: &[(T, T, Option<UnixMs>)]) {
        let mut slot = self.k.find(self.db, self.hasher.key(key.as_bytes()), T0);
        let set = |hash: &mut Hash, edit: &mut Edit<'_>| {
            for (name, value, expire_at) in fields {
                let expire = expire_at.map_or(FieldExpire::Clear, FieldExpire::At);
                hash.set(edit, name.as_ref(), value.as_ref(), expire);
            }
        };
        slot.edit(set).unwrap();
    }

    /// The value as DUMP writes it, without the footer.
    fn dumped(&mut self, key: &str, compress: bool) -> Vec<u8> {
        let value = self.k.lookup_read(self.db, self.hasher.key(key.as_bytes()), T0).unwrap();
        let mut payload = dump(value, compress);
        let footer = payload.split_off(payload.len() - 10);
        let is_new = matches!(payload[0], 24 | 25);
        assert_eq!(footer[..2], if is_new { [12, 0] } else { [10, 0] });
        assert_eq!(footer[2..], crc64(crc64(crc64::EMPTY, &payload), &footer[..2]).to_le_bytes());
        payload
    }

    /// The file of a snapshot, made in steps; what happens between two steps is up to `between`.
    fn file(&mut self, options: FileOptions, budget: usize, mut between: impl FnMut(&mut World)) -> Vec<u8> {
        let checksum = options.checksum;
        assert!(self.k.begin_snapshot(Box::new(SnapshotFileSink::new(options))).is_ok());
        let mut out = Vec::new();
        while self.k.snapshot_step(budget) == Progress::More {
            self.k.take_snapshot_output(&mut out);
            between(self);
        }
        while self.k.snapshot_progress().unwrap().waiting_bytes > 0 {
            self.k.take_snapshot_output(&mut out);
        }
        let sink = self.k.end_snapshot().unwrap();
        let (content, footer) = out.split_at(out.len() - 8);
        let expected = if checksum { crc64(crc64::EMPTY, content) } else { 0 };
        assert_eq!((sink.checksum(), footer), (expected, &expected.to_le_bytes()[..]));
        out
    }

    /// Values in every encoding, in two databases.
    fn fill(&mut self) {
        let mut prng = Prng::new(1);
        let noise: Vec<u8> = (0..70_000).map(|_| prng.next_u64() as u8).collect();
        self.set("int", b"12345");
        self.set("text", b"hello");
        self.set("large noise", &noise);
        self.set("large text", &b"abcdefg ".repeat(20_000));
        let numbers: Vec<String> = (0..30_000).map(|n| n.to_string()).collect();
        let words: Vec<String> = (0..30_000).map(|n| format!("word number {n}")).collect();
        self.list("small list", &words[..3]);
        self.list("large list", &words);
        self.list("plain nodes", &[&noise[..20_000], b"small", &noise[..30_000]]);
        self.members("intset", &numbers[..100]);
        self.members("small set", &words[..3]);
        self.members("large set", &words);
        self.db = DbIndex(2);
        let scores: Vec<(&String, f64)> = words.iter().zip((0..).map(|n| f64::from(n) / 4.0)).collect();
        self.scores("small zset", &scores[..3]);
        self.scores("large zset", &scores);
        let fields: Vec<(&String, &String, Option<UnixMs>)> =
            words.iter().zip(&numbers).map(|(name, value)| (name, value, None)).collect();
        self.fields("small hash", &fields[..3]);
        self.fields("large hash", &fields);
        self.db = DbIndex(0);
    }
}

fn options() -> FileOptions {
    FileOptions {
        compress: true,
        checksum: true,
        access: AccessNotes::None,
        is_aof_base: false,
        now: Now { unix_us: T0.0 * 1000, mono: MonoUs(1) },
        used_memory: 1000,
        has_field_expiry: false,
        aux: Vec::new(),
    }
}

#[test]
fn strings_are_written_as_redis_writes_them() {
    let mut world = World::new(KeyspaceOptions::default());
    let mut written = |value: &[u8]| {
        world.set("k", value);
        world.dumped("k", true)
    };
    assert_eq!(written(b"0"), b"\x00\xC0\x00");
    assert_eq!(written(b"-128"), b"\x00\xC0\x80");
    assert_eq!(written(b"128"), b"\x00\xC1\x80\x00");
    assert_eq!(written(b"-32768"), b"\x00\xC1\x00\x80");
    assert_eq!(written(b"32768"), b"\x00\xC2\x00\x80\x00\x00");
    assert_eq!(written(b"-2147483648"), b"\x00\xC2\x00\x00\x00\x80");
    assert_eq!(written(b"2147483648"), b"\x00\x0A2147483648");
    assert_eq!(written(b"9223372036854775807"), b"\x00\x139223372036854775807");
    assert_eq!(written(b"007"), b"\x00\x03007");
    assert_eq!(written(b""), b"\x00\x00");
    // Twenty bytes are not compressed, nor is what would become less than four bytes shorter.
    assert_eq!(written(&[b'a'; 20]), [&b"\x00\x14"[..], &[b'a'; 20]].concat());
    assert_eq!(written(&[b'a'; 21]), b"\x00\xC3\x06\x15\x01aa\xE0\x0A\x00");
    assert_eq!(written(b"abcdefghijklmnopqrstuvwxyz"), b"\x00\x1Aabcdefghijklmnopqrstuvwxyz");
    let noise: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect();
    for (len, head) in
        [(63, &b"\x3F"[..]), (64, b"\x40\x40"), (16_383, b"\x7F\xFF"), (16_384, b"\x80\0\0\x40\0")]
    {
        world.set("k", &noise[..len]);
        assert_eq!(world.dumped("k", false), [b"\x00", head, &noise[..len]].concat());
    }
}

#[test]
fn collections_are_written_as_redis_writes_them() {
    let mut world = World::new(KeyspaceOptions::default());
    world.list("l", &["a", "1"]);
    assert_eq!(world.dumped("l", true), b"\x12\x01\x02\x0C\x0C\0\0\0\x02\0\x81a\x02\x01\x01\xFF");
    world.members("i", &["1", "-2"]);
    assert_eq!(world.dumped("i", true), b"\x0B\x0C\x02\0\0\0\x02\0\0\0\xFE\xFF\x01\0");
    world.members("s", &["a", "1"]);
    assert_eq!(world.dumped("s", true), b"\x02\x02\x01a\xC0\x01");
    world.scores("z", &[("a", 1.0)]);
    assert_eq!(world.dumped("z", true), b"\x11\x0C\x0C\0\0\0\x02\0\x81a\x02\x01\x01\xFF");
    world.fields("h", &[("a", "1", None)]);
    assert_eq!(world.dumped("h", true), b"\x10\x0C\x0C\0\0\0\x02\0\x81a\x02\x01\x01\xFF");
    // Large by the length of an element.
    let long = "x".repeat(65);
    world.scores("z", &[(&*long, -2.5)]);
    let mut expected = b"\x05\x02\x01a".to_vec();
    expected.extend(1.0f64.to_le_bytes());
    expected.extend(b"\x40\x41");
    expected.extend(long.as_bytes());
    expected.extend((-2.5f64).to_le_bytes());
    assert_eq!(world.dumped("z", false), expected);
    world.fields("long", &[(&*long, "5", None)]);
    assert_eq!(world.dumped("long", false), [b"\x04\x01\x40\x41", long.as_bytes(), b"\xC0\x05"].concat());
}

#[test]
fn fields_that_expire_make_types_of_redis_7_4() {
    let mut world = World::new(KeyspaceOptions::default());
    world.fields("h", &[("a", "1", Some(LATER)), ("b", "2", None), ("c", "3", Some(SOON))]);
    assert!(world.k.has_field_expiry());
    let (soon, later) = (SOON.0.to_le_bytes(), LATER.0.to_le_bytes());
    let [soon_int, later_int] = [soon, later].map(|at| [b"\xF4", &at[..], b"\x09"].concat());
    let elements = [
        b"\x81c\x02\x03\x01",
        &soon_int[..],
        b"\x81a\x02\x01\x01",
        &later_int,
        b"\x81b\x02\x02\x01\x00\x01\xFF",
    ];
    let elements = elements.concat();
    let total = 6 + elements.len() as u8;
    let expected = [b"\x19", &soon[..], &[total, total, 0, 0, 0, 9, 0], &elements].concat();
    assert_eq!(world.dumped("h", false), expected);
    // None is left that expires.
    world.fields("h", &[("a", "1", None), ("c", "3", None)]);
    let plain = b"\x10\x16\x16\0\0\0\x06\0\x81a\x02\x01\x01\x81b\x02\x02\x01\x81c\x02\x03\x01\xFF";
    assert_eq!(world.dumped("h", true), plain);
    let long = "x".repeat(65);
    world.fields("large", &[(&*long, "1", Some(LATER))]);
    let head = [b"\x18", &later[..], b"\x01\x01\x40\x41"].concat();
    assert_eq!(world.dumped("large", false), [&head, long.as_bytes(), b"\xC0\x01"].concat());
    world.fields("large", &[("y", "2", Some(SOON)), ("z", "3", None)]);
    let payload = world.dumped("large", false);
    assert_eq!(payload[..10], [b"\x18", &soon[..], b"\x03"].concat());
    // Expiries after the earliest one, plus 1: of `long` 4001, of y 1, of z none.
    for part in [&b"\x4F\xA1\x40\x41x"[..], b"\x01\x01y\xC0\x02", b"\x00\x01z\xC0\x03"] {
        assert_eq!(payload.windows(part.len()).filter(|&window| window == part).count(), 1);
    }
    world.k.flush_all();
    assert!(!world.k.has_field_expiry());
}

#[test]
fn compressed_nodes_are_written_as_they_are() {
    let mut options = KeyspaceOptions::default();
    options.encodings.list_node = 2;
    options.encodings.list_compress_depth = 1;
    let mut world = World::new(options);
    let elements: Vec<String> = ["x", "y", "z"].iter().flat_map(|c| [c.repeat(60), c.repeat(61)]).collect();
    world.list("l", &elements);
    let payload = world.dumped("l", false);
    assert_eq!(payload[..2], *b"\x12\x03");
    // The one in the middle, though nothing else is compressed.
    assert_eq!(payload.windows(2).filter(|pair| pair == b"\x02\xC3").count(), 1);
    let payload = world.dumped("l", true);
    assert_eq!(payload.windows(2).filter(|pair| pair == b"\x02\xC3").count(), 3);
}

#[test]
fn a_value_in_pieces_is_the_same() {
    let mut world = World::new(KeyspaceOptions::default());
    world.fill();
    let mut kinds = 0u32;
    for (db, compress) in [(0, true), (2, true), (0, false), (2, false)] {
        world.k.for_each(DbIndex(db), T0, |key, entry| {
            let form = Form::of(entry.value);
            kinds |= 1 << form.kind();
            let mut writer = ValueWriter::new(compress);
            let mut whole = Vec::new();
            writer.write(form, &mut whole);
            for budget in [1, 7, 1000, 100_000, usize::MAX] {
                let (mut out, mut steps) = (Vec::new(), 0);
                let mut cursor = writer.begin(form, &mut out);
                while writer.step(form, &mut cursor, budget, &mut out) == Progress::More {
                    steps += 1;
                }
                assert!(out == whole, "{} by {budget}", String::from_utf8_lossy(key));
                assert!(budget > 7 || steps > 1 || whole.len() < 9000, "{steps} steps");
            }
        });
    }
    assert_eq!(kinds, 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 11 | 1 << 16 | 1 << 17 | 1 << 18);
}

#[test]
fn a_file_has_its_header_databases_and_checksum() {
    let mut world = World::new(KeyspaceOptions::default());
    let head =
        b"REDIS0010\xFA\x09redis-ver\x057.2.4\xFA\x0Aredis-bits\xC0\x40\xFA\x05ctime\xC2\x00\xF1\x53\x65\
        \xFA\x08used-mem\xC1\xE8\x03\xFA\x08aof-base\xC0\x00";
    let empty = world.file(options(), 1, |_| ());
    assert_eq!(empty[..empty.len() - 8], [&head[..], b"\xFF"].concat());
    let unchecked = world.file(FileOptions { checksum: false, ..options() }, 1, |_| ());
    assert_eq!(unchecked[..unchecked.len() - 8], empty[..empty.len() - 8]);
    // A key in each of two databases, one of them with an expiry.
    world.set("a", b"1");
    world.db = DbIndex(3);
    world.k.set(world.db, world.hasher.key(b"b"), T0, NewValue::Bytes(b"x"), SetExpire::At(LATER));
    let aux = vec![("name".to_owned(), "value".to_owned())];
    let file = world.file(FileOptions { aux, is_aof_base: true, ..options() }, usize::MAX, |_| ());
    let mut expected = head.to_vec();
    *expected.last_mut().unwrap() = 1;
    expected.extend(b"\xFA\x04name\x05value\xFE\x00\xFB\x01\x00\xFE\x03\xFB\x01\x01");
    expected.extend(b"\xFE\x00\x00\x01a\xC0\x01\xFE\x03\xFC");
    expected.extend(LATER.0.to_le_bytes());
    expected.extend(b"\x00\x01b\x01x\xFF");
    assert_eq!(file[..file.len() - 8], expected);
    let expiring = FileOptions { has_field_expiry: true, ..options() };
    assert!(world.file(expiring, usize::MAX, |_| ()).starts_with(b"REDIS0012\xFA"));
}

#[test]
fn the_use_of_keys_is_noted_where_eviction_looks_at_it() {
    let tail = |world: &mut World, access| {
        let now = Now { unix_us: (T0.0 + 7_900) * 1000, mono: MonoUs(1) };
        let file = world.file(FileOptions { access, now, ..options() }, 100, |_| ());
        file[file.len() - 17..file.len() - 9].to_vec()
    };
    let mut world = World::new(KeyspaceOptions::default());
    world.set("abc", b"1");
    assert_eq!(tail(&mut world, AccessNotes::None), b"\x01\x00\x00\x03abc\xC0\x01"[1..]);
    assert_eq!(tail(&mut world, AccessNotes::Idle), b"\xF8\x07\x00\x03abc\xC0\x01"[1..]);
    let access = AccessPolicy::Lfu;
    let mut world = World::new(KeyspaceOptions { access, ..KeyspaceOptions::default() });
    world.set("abc", b"1");
    let notes = AccessNotes::Frequency(LfuOptions::default());
    assert_eq!(tail(&mut world, notes), b"\xF9\x05\x00\x03abc\xC0\x01"[1..]);
}

#[test]
fn a_file_is_the_same_by_steps_of_any_size() {
    let mut world = World::new(KeyspaceOptions::default());
    world.fill();
    for compress in [true, false] {
        let options = FileOptions { compress, ..options() };
        let whole = world.file(options.clone(), usize::MAX, |_| ());
        for budget in [1, 100, 5000, 1 << 16] {
            assert!(world.file(options.clone(), budget, |_| ()) == whole, "by {budget}");
        }
    }
}

#[test]
fn the_checksum_is_right_when_keys_are_written_aside() {
    for seed in 0..20 {
        let mut prng = Prng::new(seed);
        let mut world = World::new(KeyspaceOptions::default());
        world.fill();
        for n in 0..2000 {
            world.db = DbIndex(n % 4);
            world.set(&format!("key {n}"), b"some value");
        }
        // `file` checks the checksum.
        world.file(FileOptions { compress: seed % 2 == 0, ..options() }, 2000, |world| {
            for _ in 0..prng.below(3) {
                world.db = DbIndex(prng.below(4) as u16);
                world.set(&format!("key {}", prng.below(3000)), b"another value");
            }
        });
    }
}
