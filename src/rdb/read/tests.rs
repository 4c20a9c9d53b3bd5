//! Hand-made files: every type, every record, in pieces of any size, whole and damaged.

use super::{kind::Kind, *};
use crate::{
    base::{double, key::KeyHasher, prng::Prng, time::UnixMs},
    ds::{collection::Edit, list::End, listpack::Listpack, slab::Slab},
    keyspace::{access, AccessPolicy, EntryView, IntText, Keyspace, KeyspaceOptions, ValueRef},
    rdb::layout::{kind, opcode},
};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// A file being written.
struct File(Vec<u8>);

impl File {
    fn new() -> File {
        File::with_header(b"REDIS0011")
    }

    fn with_header(header: &[u8]) -> File {
        File(header.to_vec())
    }

    fn bytes(mut self, bytes: &[u8]) -> File {
        self.0.extend_from_slice(bytes);
        self
    }

    fn byte(self, byte: u8) -> File {
        self.bytes(&[byte])
    }

    fn length(self, len: usize) -> File {
        match len {
            0..0x40 => self.byte(len as u8),
            0x40..0x4000 => self.bytes(&[0x40 | (len >> 8) as u8, len as u8]),
            _ => self.byte(0x80).bytes(&(len as u32).to_be_bytes()),
        }
    }

    fn text(self, text: &[u8]) -> File {
        self.length(text.len()).bytes(text)
    }

    fn texts(self, texts: &[&[u8]]) -> File {
        texts.iter().fold(self, |file, text| file.text(text))
    }

    fn key(self, kind: u8, key: &str) -> File {
        self.byte(kind).text(key.as_bytes())
    }

    /// The end, with the checksum.
    fn end(self) -> Vec<u8> {
        let mut file = self.byte(opcode::EOF);
        let checksum = crc64::crc64(crc64::EMPTY, &file.0);
        file.0.extend_from_slice(&checksum.to_le_bytes());
        file.0
    }
}

/// What became of a file.
struct Loaded {
    keyspace: Keyspace,
    aux: Vec<String>,
    dropped: Vec<String>,
    end: u64,
}

impl Loaded {
    fn shown(&mut self, db: u16, key: &str) -> String {
        let key = self.keyspace.hasher().key(key.as_bytes());
        self.keyspace.peek(DbIndex(db), key, NOW).map_or("nothing".to_owned(), |entry| shown(&entry))
    }
}

/// An encoding and the elements, those without an order in that of their bytes.
fn shown(entry: &EntryView<'_>) -> String {
    let (mut a, mut b) = (IntText::new(), IntText::new());
    let mut elements: Vec<String> = Vec::new();
    let mut push = |parts: &[&[u8]]| {
        let parts: Vec<String> = parts.iter().map(|part| part.escape_ascii().to_string()).collect();
        elements.push(parts.join("="));
    };
    match entry.value {
        ValueRef::String(string) => push(&[string.bytes(&mut a)]),
        ValueRef::List(list) => {
            list.range(0, End::Back, usize::MAX, |element| push(&[element.bytes(&mut a)]))
        }
        ValueRef::Set(set) => set.iter().for_each(|member| push(&[member.bytes(&mut a)])),
        ValueRef::Zset(zset) => zset.iter().for_each(|item| {
            push(&[item.member.bytes(&mut a), double::Buffer::new().format(item.score).as_bytes()]);
        }),
        ValueRef::Hash(hash) => hash.for_each(NOW, |field| {
            let expiry = field.expire_at.map_or(String::new(), |at| format!("@{}", at.0 - NOW.0));
            push(&[field.name.bytes(&mut a), &[field.value.bytes(&mut b), expiry.as_bytes()].concat()]);
        }),
    }
    if matches!(entry.value, ValueRef::Set(_) | ValueRef::Hash(_)) {
        elements.sort();
    }
    format!("{} {}", entry.encoding.name(), elements.join(" "))
}

fn keyspace(options: KeyspaceOptions) -> Keyspace {
    Keyspace::new(16, KeyHasher::new([1, 2, 3, 4]), options)
}

fn load_into(mut keyspace: Keyspace, file: &[u8], piece: usize) -> Result<Loaded, LoadError> {
    let mut reader = Reader::default();
    let (mut aux, mut dropped) = (Vec::new(), Vec::new());
    let mut pieces = file.chunks(piece);
    loop {
        match reader.next()? {
            Step::More => match pieces.next() {
                Some(piece) => reader.feed(piece),
                None => return Err(reader.ends_too_early()),
            },
            Step::Aux(name, value) => {
                aux.push(format!("{}={}", name.escape_ascii(), value.escape_ascii()));
            }
            Step::Key(item) => {
                let key = item.key().escape_ascii().to_string();
                if !item.load(&mut keyspace, NOW)? {
                    dropped.push(key);
                }
            }
            Step::End(end) => return Ok(Loaded { keyspace, aux, dropped, end }),
        }
    }
}

fn load(file: &[u8]) -> Result<Loaded, LoadError> {
    load_into(keyspace(KeyspaceOptions::default()), file, 1 << 20)
}

/// What a value of this type is shown as.
fn value(kind: u8, write: impl FnOnce(File) -> File) -> String {
    value_in(File::new(), kind, write)
}

fn value_in(file: File, kind: u8, write: impl FnOnce(File) -> File) -> String {
    match load(&write(file.key(kind, "k")).end()) {
        Ok(mut loaded) => loaded.shown(0, "k"),
        Err(error) => error.to_string(),
    }
}

/// A listpack's bytes.
fn listpack(elements: &[&[u8]]) -> Vec<u8> {
    let mut slab = Slab::new();
    let mut pack = Listpack::new(&mut slab);
    elements.iter().for_each(|element| pack.push_back(&mut slab, element));
    pack.as_ref().bytes().to_vec()
}

fn double_bytes(score: f64) -> [u8; 8] {
    score.to_le_bytes()
}

/// A file with most of what there is, and what it holds.
fn rich_file() -> (Vec<u8>, Vec<(u16, &'static str, String)>) {
    let long = vec![b'x'; 5000];
    let file = File::new()
        .byte(opcode::AUX)
        .texts(&[b"redis-ver", b"7.0.15"])
        .byte(opcode::AUX)
        .text(b"redis-bits")
        .bytes(b"\xc0\x40")
        .byte(opcode::SELECT)
        .length(0)
        .bytes(&[opcode::RESIZE, 3, 1])
        .bytes(b"\xf4\x01\x02\x03")
        .key(kind::STRING, "text")
        .text(b"hello")
        .byte(opcode::EXPIRE_MS)
        .bytes(&(NOW.0 + 5000).to_le_bytes())
        .bytes(&[opcode::FREQUENCY, 77])
        .bytes(b"\x00\xc2\x40\xe2\x01\x00\xc1\x39\x30")
        .byte(opcode::IDLE)
        .length(100)
        .key(kind::STRING, "long")
        .text(&long)
        .byte(opcode::SELECT)
        .length(3)
        // A compressed key, and a compressed value.
        .bytes(b"\x00\xc3\x05\x40\x64\x00a\xe0\x5a\x00\xc3\x05\x40\x64\x00b\xe0\x5a\x00")
        .key(kind::SET, "set")
        .length(2)
        .texts(&[b"a", b"b"])
        .key(kind::LIST, "list")
        .bytes(&[2, 2])
        .text(&listpack(&[b"1", b"two"]))
        .byte(1)
        .text(&long);
    let long = String::from_utf8(long).unwrap();
    let content = vec![
        (0, "text", "embstr hello".to_owned()),
        (0, "123456", "int 12345".to_owned()),
        (0, "long", format!("raw {long}")),
        (3, "set", "listpack a b".to_owned()),
        (3, "list", format!("quicklist 1 two {long}")),
    ];
    (file.end(), content)
}

#[test]
fn a_file_is_read_in_pieces_of_any_size() {
    let (file, content) = rich_file();
    for piece in [1, 2, 3, 7, 100, 4096, 1 << 20] {
        let mut loaded = load_into(keyspace(KeyspaceOptions::default()), &file, piece).unwrap();
        assert_eq!(loaded.aux, ["redis-ver=7.0.15", "redis-bits=64"], "pieces of {piece}");
        for (db, key, shown) in &content {
            assert_eq!(&loaded.shown(*db, key), shown, "pieces of {piece}");
        }
        assert_eq!(loaded.shown(3, &"a".repeat(100)), format!("raw {}", "b".repeat(100)));
        assert_eq!(loaded.end, file.len() as u64);
        assert_eq!(loaded.keyspace.dirty(), 0);
        assert_eq!(loaded.keyspace.volatile_len(DbIndex(0)), 1);
    }
}

#[test]
fn what_follows_the_end_is_left_alone() {
    let (file, _) = rich_file();
    let longer = [&file[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    assert_eq!(load(&longer).unwrap().end, file.len() as u64);
    let mut reader = Reader::default();
    reader.feed(b"REDIS0011\xff\0\0\0\0\0\0\0\0more");
    for _ in 0..2 {
        assert!(matches!(reader.next(), Ok(Step::End(18))));
    }
}

#[test]
fn keys_that_nobody_wants_are_passed_over() {
    let (file, _) = rich_file();
    let mut reader = Reader::default();
    reader.feed(&file);
    let mut keys = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Key(item) => keys.push(format!("{} {}", item.db(), item.key().len())),
            Step::Aux(..) => {}
            Step::More => panic!("it is all there"),
            Step::End(_) => break,
        }
    }
    assert_eq!(keys, ["0 4", "0 6", "0 4", "3 100", "3 3", "3 4"]);
}

#[test]
fn a_file_that_is_cut_off_ends_too_early() {
    let (file, _) = rich_file();
    for len in 0..file.len() {
        let error = load(&file[..len]).err().unwrap();
        assert_eq!(error.to_string(), format!("the file ends before its end at byte {len}"));
    }
}

#[test]
fn a_wrong_checksum_is_found_unless_there_is_none() {
    let (mut file, _) = rich_file();
    let len = file.len();
    file[len - 1] ^= 1;
    let error = load(&file).err().unwrap();
    assert_eq!(error.offset, len as u64 - 8);
    assert!(error.reason.starts_with("the checksum is "), "{error}");
    let mut reader = Reader::without_checksum();
    reader.feed(&file);
    while !matches!(reader.next().unwrap(), Step::End(_)) {}
    file[len - 8..].fill(0);
    assert!(load(&file).is_ok());
    // One bit anywhere else.
    let text = file.iter().position(|&byte| byte == b'h').unwrap();
    let mut file = rich_file().0;
    file[text] ^= 1;
    assert!(load(&file).is_err());
    // Before version 5 there was none.
    let old = File::with_header(b"REDIS0004").key(kind::STRING, "k").text(b"v").byte(opcode::EOF);
    assert_eq!(load(&old.0).unwrap().shown(0, "k"), "embstr v");
}

#[test]
fn strings_of_every_form() {
    for (bytes, shown) in [
        (&b"\x00"[..], "embstr "),
        (b"\x02hi", "embstr hi"),
        (b"\x0212", "int 12"),
        (b"\x0301 ", "embstr 01 "),
        (b"\x40\x02hi", "embstr hi"),
        (b"\x80\x00\x00\x00\x02hi", "embstr hi"),
        (b"\x81\x00\x00\x00\x00\x00\x00\x00\x02hi", "embstr hi"),
        (b"\xc0\x80", "int -128"),
        (b"\xc1\x00\x80", "int -32768"),
        (b"\xc2\x00\x00\x00\x80", "int -2147483648"),
        (b"\xc3\x02\x01\x00a", "embstr a"),
    ] {
        assert_eq!(value(kind::STRING, |file| file.bytes(bytes)), shown);
    }
    for (bytes, reason) in [
        (&b"\x82"[..], "a length has the unknown form 0x82 at byte 9"),
        (b"\xc4", "a string has the unknown form 0xc4 at byte 9"),
        (b"\xc3\x02\x03\x00a", "key 'k' cannot be loaded: a compressed string is damaged at byte 17"),
        (b"\xc3\xc0\x01\x00", "a string stands where a number should be at byte 12"),
        (b"\x80\xff\xff\xff\xff", "a string of 4294967295 bytes is longer than can be held at byte 12"),
        (
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            "a string of 18446744073709551615 bytes is longer than can be held at byte 12",
        ),
    ] {
        let shown = value(kind::STRING, |file| file.bytes(bytes));
        assert_eq!(shown.split(" at byte").next(), reason.split(" at byte").next());
    }
}

#[test]
fn lists_of_every_form() {
    let packed = listpack(&[b"a", b"2"]);
    assert_eq!(value(1, |file| file.length(3).texts(&[b"a", b"", b"3"])), "listpack a  3");
    assert_eq!(value(kind::LIST, |file| file.bytes(&[1, 2]).text(&packed)), "listpack a 2");
    // A node of one element stays one; an empty listpack goes.
    let nodes =
        |file: File| file.bytes(&[3, 2]).text(&packed).bytes(&[2]).text(&listpack(&[])).byte(1).text(b"x");
    assert_eq!(value(kind::LIST, nodes), "quicklist a 2 x");
    let old = ziplist::tests::encode(&[b"a", b"2", b"-70000"]);
    assert_eq!(value(10, |file| file.text(&old)), "listpack a 2 -70000");
    let empty = ziplist::tests::encode(&[]);
    assert_eq!(
        value(14, |file| file.length(3).texts(&[&old, &empty, &old])),
        "quicklist a 2 -70000 a 2 -70000"
    );

    // As many as a listpack may not hold.
    let large: Vec<Vec<u8>> = (0..100).map(|_| vec![b'l'; 100]).collect();
    let large: Vec<&[u8]> = large.iter().map(Vec::as_slice).collect();
    for shown in [
        value(1, |file| file.length(100).texts(&large)),
        value(kind::LIST, |file| file.bytes(&[1, 2]).text(&listpack(&large))),
        value(10, |file| file.text(&ziplist::tests::encode(&large))),
    ] {
        assert!(shown.starts_with("quicklist ") && shown.split(' ').count() == 101, "{shown:.30}");
    }

    let refused = |write: fn(File) -> File| value(kind::LIST, write);
    assert!(
        refused(|file| file.bytes(&[1, 3, 1, b'x'])).contains("a node of a list is of the unknown kind 3")
    );
    assert!(refused(|file| file.bytes(&[1, 1, 0])).contains("a node of a list holds nothing"));
    assert!(refused(|file| file.bytes(&[1, 2, 3, b'x', b'y', b'z'])).contains("a listpack is damaged"));
    assert!(value(10, |file| file.text(b"nothing")).contains("a ziplist is damaged"));
}

#[test]
fn sets_of_every_form() {
    assert_eq!(value(kind::SET, |file| file.length(2).bytes(b"\xc0\x05\x011")), "intset 1 5");
    assert_eq!(value(kind::SET, |file| file.length(3).texts(&[b"1", b"x", b"2"])), "listpack 1 2 x");
    let long = [b'l'; 65];
    assert!(value(kind::SET, |file| file.length(2).texts(&[b"1", &long])).starts_with("hashtable 1 lll"));
    let intset = b"\x02\0\0\0\x03\0\0\0\xff\xff\x01\x00\x2c\x01";
    assert_eq!(value(kind::SET_INTSET, |file| file.text(intset)), "intset -1 1 300");
    assert_eq!(value(20, |file| file.text(&listpack(&[b"b", b"7"]))), "listpack 7 b");
    let many: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let many: Vec<&[u8]> = many.iter().map(|text| text.as_bytes()).collect();
    let with_text = [&many[..200], &[b"x"]].concat();
    for (shown, start) in [
        (value(kind::SET, |file| file.length(600).texts(&many)), "hashtable 0 1 10 100 101 "),
        (value(kind::SET, |file| file.length(201).texts(&with_text)), "hashtable 0 1 10 100 101 "),
        (value(20, |file| file.text(&listpack(&with_text))), "hashtable 0 1 10 100 101 "),
    ] {
        assert!(shown.starts_with(start), "{shown:.40}");
    }

    let twice = "key 'k' cannot be loaded: a member is there twice";
    assert!(value(kind::SET, |file| file.length(2).texts(&[b"a", b"a"])).starts_with(twice));
    assert!(value(kind::SET, |file| file.length(2).bytes(b"\xc0\x05\x015")).starts_with(twice));
    assert!(value(20, |file| file.text(&listpack(&[b"b", b"7", b"b"]))).starts_with(twice));
    assert!(value(kind::SET_INTSET, |file| file.text(&intset[1..])).contains("an intset is damaged"));
}

#[test]
fn sorted_sets_of_every_form() {
    let doubles = |file: File| {
        file.length(3)
            .text(b"c")
            .bytes(&double_bytes(f64::INFINITY))
            .text(b"b")
            .bytes(&double_bytes(1.5))
            .text(b"a")
            .bytes(&double_bytes(-2.0))
    };
    assert_eq!(value(kind::ZSET, doubles), "listpack a=-2 b=1.5 c=inf");
    let texts = |file: File| file.bytes(b"\x03\x01a\xff\x01b\x041e-1\x01c\xfe");
    assert_eq!(value(3, texts), "listpack a=-inf b=0.1 c=inf");
    let elements: [&[u8]; 6] = [b"a", b"-2", b"b", b"1.5", b"7", b"1.5"];
    let in_order: [&[u8]; 6] = [b"a", b"-2", b"7", b"1.5", b"b", b"1.5"];
    assert_eq!(
        value(kind::ZSET_LISTPACK, |file| file.text(&listpack(&in_order))),
        "listpack a=-2 7=1.5 b=1.5"
    );
    let old = ziplist::tests::encode(&in_order);
    assert_eq!(value(12, |file| file.text(&old)), "listpack a=-2 7=1.5 b=1.5");
    let many: Vec<String> = (0..129).flat_map(|number| [format!("m{number}"), number.to_string()]).collect();
    let many: Vec<&[u8]> = many.iter().map(|text| text.as_bytes()).collect();
    let long = [b'l'; 65];
    for shown in [
        value(kind::ZSET_LISTPACK, |file| file.text(&listpack(&many))),
        value(kind::ZSET, |file| file.bytes(&[1]).text(&long).bytes(&double_bytes(0.0))),
    ] {
        assert!(shown.starts_with("skiplist "), "{shown:.40}");
    }

    assert!(value(3, |file| file.bytes(b"\x01\x01a\xfd")).contains("a score is not a number"));
    assert!(value(3, |file| file.bytes(b"\x01\x01a\x01x")).contains("a score is not a number"));
    assert!(value(kind::ZSET, |file| file.bytes(b"\x01\x01a").bytes(&double_bytes(f64::NAN)))
        .contains("a score is not a number"));
    assert!(value(3, |file| file.bytes(b"\x02\x01a\x011\x01a\x012")).contains("a member is there twice"));
    let repeated: [&[u8]; 4] = [b"a", b"1", b"a", b"2"];
    let nan: [&[u8]; 2] = [b"a", b"nan"];
    for elements in [&elements[..], &elements[..3], &repeated, &nan] {
        let shown = value(kind::ZSET_LISTPACK, |file| file.text(&listpack(elements)));
        assert!(shown.contains("a sorted set has no scores"), "{shown}");
    }
}

#[test]
fn hashes_of_every_form() {
    assert_eq!(value(kind::HASH, |file| file.bytes(b"\x02\x01a\xc0\x05\x01b\x01x")), "listpack a=5 b=x");
    let elements: [&[u8]; 4] = [b"b", b"x", b"a", b"5"];
    assert_eq!(value(kind::HASH_LISTPACK, |file| file.text(&listpack(&elements))), "listpack a=5 b=x");
    assert_eq!(value(13, |file| file.text(&ziplist::tests::encode(&elements))), "listpack a=5 b=x");
    let fields: [zipmap::Field<'_>; 2] = [(b"b", b"x"), (b"a", b"5")];
    assert_eq!(value(9, |file| file.text(&zipmap::tests::encode(&fields))), "listpack a=5 b=x");
    let long = [b'l'; 65];
    let many: Vec<String> = (0..1026).map(|number| number.to_string()).collect();
    let many: Vec<&[u8]> = many.iter().map(|text| text.as_bytes()).collect();
    for shown in [
        value(kind::HASH, |file| file.bytes(&[1]).texts(&[b"a", &long])),
        value(kind::HASH, |file| file.length(513).texts(&many)),
        value(kind::HASH_LISTPACK, |file| file.text(&listpack(&many))),
        value(9, |file| file.text(&zipmap::tests::encode(&[(b"a", &long)]))),
    ] {
        assert!(shown.starts_with("hashtable "), "{shown:.40}");
    }

    assert!(
        value(kind::HASH, |file| file.bytes(b"\x02\x01a\x011\x01a\x012")).contains("a field is there twice")
    );
    let repeated: [&[u8]; 4] = [b"a", b"1", b"a", b"2"];
    assert!(value(kind::HASH_LISTPACK, |file| file.text(&listpack(&repeated))).contains("a name twice"));
    assert!(
        value(kind::HASH_LISTPACK, |file| file.text(&listpack(&repeated[..3]))).contains("a hash has a name")
    );
    assert!(value(9, |file| file.text(b"\x02")).contains("a zipmap is damaged"));
    let fields: [zipmap::Field<'_>; 2] = [(b"a", b"x"), (b"a", b"5")];
    assert!(value(9, |file| file.text(&zipmap::tests::encode(&fields))).contains("a field is there twice"));
}

#[test]
fn fields_that_expire() {
    let at = |ms: i64| (NOW.0 + ms).to_le_bytes();
    let (soon, later) = ((NOW.0 + 50).to_string(), (NOW.0 + 100).to_string());
    let elements: [&[u8]; 9] = [b"b", b"2", soon.as_bytes(), b"a", b"1", later.as_bytes(), b"c", b"3", b"0"];
    let all = "listpackex a=1@100 b=2@50 c=3";
    let packed = |file: File| file.bytes(&at(50)).text(&listpack(&elements));
    assert_eq!(value(kind::HASH_LISTPACK_EXPIRING, packed), all);
    assert_eq!(value(23, |file| file.text(&listpack(&elements))), all);
    let from_earliest = |file: File| {
        file.bytes(&at(50))
            .bytes(&[3, 1])
            .texts(&[b"b", b"2"])
            .byte(51)
            .texts(&[b"a", b"1"])
            .byte(0)
            .texts(&[b"c", b"3"])
    };
    assert_eq!(value(kind::HASH_EXPIRING, from_earliest), all);
    let length = |ms: i64| [&[0x81], &(NOW.0 + ms).to_be_bytes()[..]].concat();
    let before = |file: File| {
        let file =
            file.byte(3).bytes(&length(50)).texts(&[b"b", b"2"]).bytes(&length(100)).texts(&[b"a", b"1"]);
        file.byte(0).texts(&[b"c", b"3"])
    };
    assert_eq!(value(22, before), all);
    let behind = |file: File| {
        let file = file.byte(3).texts(&[b"b", b"2"]).bytes(&at(50)).texts(&[b"a", b"1"]).bytes(&at(100));
        file.texts(&[b"c", b"3"]).bytes(&(-1i64).to_le_bytes())
    };
    assert_eq!(value_in(File::with_header(b"VALKEY080"), 22, behind), all);
    // What has expired is not shown, and a hash of such fields alone is no key any more.
    let past =
        |file: File| file.bytes(&at(-50)).bytes(&[2, 1]).texts(&[b"b", b"2"]).byte(0).texts(&[b"c", b"3"]);
    assert_eq!(value(kind::HASH_EXPIRING, past), "listpackex c=3");
    let over =
        File::new().key(kind::HASH_EXPIRING, "k").bytes(&at(-50)).bytes(&[1, 1]).texts(&[b"b", b"2"]).end();
    assert_eq!(load(&over).unwrap().dropped, ["k"]);
    // A large one.
    let large = |file: File| {
        (0..600).fold(file.bytes(&at(7)).length(600), |file, number: i32| {
            file.byte(1).texts(&[number.to_string().as_bytes(), b"v"])
        })
    };
    assert!(value(kind::HASH_EXPIRING, large).starts_with("hashtable 0=v@7 100=v@7 101=v@7"));

    let impossible = "a field has an impossible expiry";
    let overflow = |file: File| file.bytes(&i64::MAX.to_le_bytes()).bytes(&[1, 9]).texts(&[b"b", b"2"]);
    assert!(value(kind::HASH_EXPIRING, overflow).contains(impossible));
    let below = |file: File| file.bytes(&(-5i64).to_le_bytes()).bytes(&[1, 2]).texts(&[b"b", b"2"]);
    assert!(value(kind::HASH_EXPIRING, below).contains(impossible));
    let bad: [&[u8]; 3] = [b"b", b"2", b"soon"];
    assert!(value(23, |file| file.text(&listpack(&bad))).contains("a bad expiry"));
}

#[test]
fn keys_without_elements_are_dropped_as_in_redis() {
    let empty = listpack(&[]);
    let ziplist = ziplist::tests::encode(&[]);
    let mut file = File::new();
    for (kind, bytes) in [
        (1, &b"\0"[..]),
        (kind::SET, b"\0"),
        (3, b"\0"),
        (kind::HASH, b"\0"),
        (kind::ZSET, b"\0"),
        (14, b"\0"),
        (kind::LIST, b"\0"),
        (22, b"\0"),
    ] {
        file = file.key(kind, &format!("{kind}")).bytes(bytes);
    }
    for (kind, bytes) in [
        (9, &b"\0\xff"[..]),
        (10, &ziplist),
        (kind::SET_INTSET, b"\x02\0\0\0\0\0\0\0"),
        (12, &ziplist),
        (13, &ziplist),
        (kind::HASH_LISTPACK, &empty),
        (kind::ZSET_LISTPACK, &empty),
        (20, &empty),
        (23, &empty),
    ] {
        file = file.key(kind, &format!("{kind}")).text(bytes);
    }
    let loaded = load(&file.key(kind::STRING, "kept").text(b"").end()).unwrap();
    assert_eq!(loaded.dropped.len(), 17);
    assert_eq!(loaded.keyspace.len(DbIndex(0)), 1);
}

#[test]
fn what_cannot_be_held_is_refused_by_name() {
    let after_header = |bytes: &[u8]| load(&File::new().bytes(bytes).end()).err().unwrap().to_string();
    for (bytes, error) in [
        (&b"\xf5\x03abc"[..], "the file holds functions, which this build cannot hold at byte 9"),
        (b"\xf6\x03abc", "the file holds functions, which this build cannot hold at byte 9"),
        (
            b"\xf7\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03",
            "the file holds data of the module 'ReJSON-RL', which this build cannot hold at byte 9",
        ),
        (b"\x0f\x03foo\x00", "key 'foo' holds a stream, which this build cannot hold at byte 9"),
        (b"\x13\x02a\x00\x00", "key 'a\\x00' holds a stream, which this build cannot hold at byte 9"),
        (b"\x15\xc0\x05\x00", "key '5' holds a stream, which this build cannot hold at byte 9"),
        (
            b"\x07\x03foo\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03",
            "key 'foo' holds a value of the module 'ReJSON-RL', which this build cannot hold at byte 9",
        ),
        (b"\x08\x03foo", "a record has the unknown type 8 at byte 9"),
        (b"\x1a\x03foo", "a record has the unknown type 26 at byte 9"),
        (b"\xf3\x03foo", "a record has the unknown type 243 at byte 9"),
        (b"\xfe\x80\x00\x01\x00\x00", "there cannot be a database 65536 at byte 9"),
        (
            b"\xfe\x10\x00\x01k\x01v",
            "key 'k' cannot be loaded: it is in database 16, and there are 16 at byte 14",
        ),
        (b"\x00\x01k\x01v\x00\x01k\x01w", "key 'k' cannot be loaded: it is there already at byte 17"),
        (
            b"\x00\x01k\x01v\x02\x01k\x02\x01a\x01b",
            "key 'k' cannot be loaded: it is there already at byte 17",
        ),
    ] {
        assert_eq!(after_header(bytes), error);
    }
    assert!(load(b"notREDIS00111")
        .err()
        .unwrap()
        .to_string()
        .starts_with("it does not begin as an RDB file"));
    assert!(load(b"REDIS0013").err().unwrap().to_string().contains("the RDB version 0013"));
    assert!(
        is_snapshot(b"REDIS") && is_snapshot(b"VALKEY080") && !is_snapshot(b"*2\r\n$6") && !is_snapshot(b"")
    );
}

#[test]
fn expired_keys_are_dropped_unless_they_are_asked_for() {
    let at = |ms: i64| (NOW.0 + ms).to_le_bytes();
    let file = File::new()
        .byte(opcode::EXPIRE_MS)
        .bytes(&at(-1))
        .key(kind::STRING, "past")
        .text(b"v")
        .byte(opcode::EXPIRE_MS)
        .bytes(&at(0))
        .key(kind::STRING, "now")
        .text(b"v")
        .byte(opcode::EXPIRE_SECONDS)
        .bytes(&(NOW.0 as i32 / 1000 + 5).to_le_bytes())
        .key(kind::STRING, "never")
        .text(b"v")
        .end();
    let loaded = load(&file).unwrap();
    assert_eq!(loaded.dropped.len(), 2);
    let mut reader = Reader::default();
    reader.feed(&file);
    let mut keyspace = keyspace(KeyspaceOptions::default());
    while let Step::Key(item) = reader.next().unwrap() {
        assert!(item.load_expired_too(&mut keyspace, NOW).unwrap());
    }
    assert_eq!((keyspace.len(DbIndex(0)), keyspace.volatile_len(DbIndex(0))), (3, 3));
}

#[test]
fn uses_are_told_by_the_policy_that_counts_them() {
    let file = File::new()
        .bytes(&[opcode::IDLE, 50, opcode::FREQUENCY, 99])
        .key(kind::STRING, "told")
        .text(b"v")
        .key(kind::STRING, "new")
        .text(b"v")
        .end();
    for policy in [AccessPolicy::Lru, AccessPolicy::Lfu] {
        let options = KeyspaceOptions { access: policy, ..KeyspaceOptions::default() };
        let mut keyspace = load_into(keyspace(options), &file, 7).unwrap().keyspace;
        let mut access = |key: &str| {
            let key = keyspace.hasher().key(key.as_bytes());
            keyspace.peek(DbIndex(0), key, NOW).unwrap().access
        };
        let told = match policy {
            AccessPolicy::Lru => access::lru_from_idle(50_000, NOW),
            AccessPolicy::Lfu => access::lfu_from_frequency(99, NOW),
        };
        assert_eq!((access("told"), access("new")), (told, access::initial(policy, NOW)));
    }
}

#[test]
fn a_long_value_is_followed_once_however_small_the_pieces() {
    let count = 200_000;
    let file = (0..count)
        .fold(File::new().key(kind::SET, "k").byte(0x80).bytes(&200_000u32.to_be_bytes()), |file, n: u32| {
            file.text(&n.to_le_bytes())
        });
    let mut loaded = load_into(keyspace(KeyspaceOptions::default()), &file.end(), 5).unwrap();
    let key = loaded.keyspace.hasher().key(b"k");
    assert_eq!(loaded.keyspace.peek(DbIndex(0), key, NOW).unwrap().elements(), count as usize);
}

#[test]
fn damaged_files_are_refused_or_harmless() {
    let (file, _) = rich_file();
    let end = file.len() - 8;
    let mut prng = Prng::new(7);
    for _ in 0..if cfg!(miri) { 50 } else { 5000 } {
        let mut bytes = file.clone();
        bytes[end..].fill(0);
        for _ in 0..=prng.below(3) {
            let at = prng.below(end as u64) as usize;
            bytes[at] ^= 1 << prng.below(8);
        }
        let whole = load(&bytes).map(|loaded| loaded.keyspace.used_memory());
        let pieces = load_into(keyspace(KeyspaceOptions::default()), &bytes, 11);
        assert_eq!(whole.err(), pieces.err());
    }
}

#[test]
fn damaged_values_leave_nothing_behind() {
    let mut slab = Slab::new();
    let hasher = KeyHasher::new([1, 2, 3, 4]);
    let limits = Default::default();
    let kinds: Vec<(u8, Kind)> = (0..=25)
        .filter_map(|byte| match Type::of(byte, false) {
            Type::Of(kind) => Some((byte, kind)),
            _ => None,
        })
        .collect();
    assert_eq!(kinds.len(), 20);
    let packed = listpack(&[b"1", b"two", b"3", b"four"]);
    let seeds = [
        File(vec![2]).texts(&[b"a", b"1", b"b", b"22222222"]).0,
        File(vec![2, 2]).text(&packed).byte(1).text(b"x").0,
        File(Vec::new()).text(&packed).0,
        File(Vec::new()).text(&ziplist::tests::encode(&[b"1", b"two", b"3", b"four"])).0,
        File(Vec::new()).text(&zipmap::tests::encode(&[(b"a", b"1"), (b"b", b"2")])).0,
    ];
    let mut prng = Prng::new(3);
    for _ in 0..if cfg!(miri) { 100 } else { 30_000 } {
        let mut bytes = seeds[prng.below(seeds.len() as u64) as usize].clone();
        for _ in 0..prng.below(4) {
            let at = prng.below(bytes.len() as u64) as usize;
            bytes[at] = if prng.below(2) == 0 { prng.below(256) as u8 } else { bytes[at] ^ 1 };
        }
        let (_, kind) = kinds[prng.below(kinds.len() as u64) as usize];
        let mut edit = Edit::new(&mut slab, &hasher, &limits, NOW);
        let mut buffer = TextBuffer::default();
        if let Ok(value) = read_value(kind, &mut Cursor::new(&bytes, 0), &mut buffer, &mut edit) {
            value.free(edit.slab);
        }
        assert_eq!(slab.allocated_bytes(), 0, "{kind:?} {}", bytes.escape_ascii());
    }
}
