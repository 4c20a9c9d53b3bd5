//! Listpacks against bytes that Redis wrote, against a vector of strings, and against damage.

use super::*;
use crate::base::prng::Prng;

/// What Redis 7.0 has in the DUMP of a list: a, 1, -1, 127, 128, 4095, 32767, 2^31, -2^63.
const GOLDEN_BORDERS: &str = "2f 00 00 00 09 00 81 61 02 01 01 df ff 02 7f 01 c0 80 02 cf ff 02 f1 ff 7f 03 \
    f4 00 00 00 80 00 00 00 00 09 f4 00 00 00 00 00 00 00 80 09 ff";

/// Likewise: the empty string, 0, -4096, -4097, 4096, -32768, 32768, -2^23, 2^23 - 1, 2^23, -2^23 - 1, -2^31, 2^31 - 1,
/// 2^63 - 1, 01.
const GOLDEN_MORE: &str = "4f 00 00 00 0f 00 80 01 00 01 d0 00 02 f1 ff ef 03 f1 00 10 03 f1 00 80 03 \
    f2 00 80 00 04 f2 00 00 80 04 f2 ff ff 7f 04 f3 00 00 80 00 05 f3 ff ff 7f ff 05 f3 00 00 00 80 05 \
    f3 ff ff ff 7f 05 f4 ff ff ff ff ff ff ff 7f 09 82 30 31 03 ff";

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn build(slab: &mut Slab, strings: &[impl AsRef<[u8]>]) -> Listpack {
    let mut listpack = Listpack::new(slab);
    for string in strings {
        listpack.push_back(slab, string.as_ref());
    }
    listpack
}

fn strings<'a>(values: impl Iterator<Item = Packed<'a>>) -> Vec<Vec<u8>> {
    values.map(|value| value.bytes(&mut itoa::Buffer::new()).to_vec()).collect()
}

#[test]
fn the_bytes_are_those_of_redis() {
    let mut slab = Slab::new();
    let borders = ["a", "1", "-1", "127", "128", "4095", "32767", "2147483648", "-9223372036854775808"];
    let more = [
        "",
        "0",
        "-4096",
        "-4097",
        "4096",
        "-32768",
        "32768",
        "-8388608",
        "8388607",
        "8388608",
        "-8388609",
        "-2147483648",
        "2147483647",
        "9223372036854775807",
        "01",
    ];
    for (golden, elements) in [(GOLDEN_BORDERS, borders.as_slice()), (GOLDEN_MORE, more.as_slice())] {
        let golden = hex(golden);
        let listpack = build(&mut slab, elements);
        assert_eq!(listpack.as_ref().bytes(), golden);
        let read = Listpack::from_bytes(&golden, &mut slab).unwrap();
        assert_eq!(strings(read.as_ref().iter()), elements.iter().map(|e| e.as_bytes()).collect::<Vec<_>>());
        listpack.free(&mut slab);
        read.free(&mut slab);
    }
    let empty = Listpack::new(&mut slab);
    assert_eq!(empty.as_ref().bytes(), hex("07 00 00 00 00 00 ff"));
    assert!(empty.as_ref().is_empty() && empty.as_ref().first().is_none() && empty.as_ref().last().is_none());
    empty.free(&mut slab);
    assert_eq!(slab.allocated_bytes(), 0);
}

#[test]
fn long_strings_have_the_heads_and_lengths_of_redis() {
    let mut slab = Slab::new();
    // Length of the string; its head; its length at the end, with the quirk at 16383.
    let golden = [
        (63, "bf", "40"),
        (64, "e0 40", "42"),
        (125, "e0 7d", "7f"),
        (126, "e0 7e", "01 80"),
        (4095, "ef ff", "20 81"),
        (4096, "f0 00 10 00 00", "20 85"),
        (16377, "f0 f9 3f 00 00", "7f fe"),
        (16378, "f0 fa 3f 00 00", "00 ff ff"),
        (16379, "f0 fb 3f 00 00", "01 80 80"),
    ];
    for (len, head, back_length) in golden {
        let string = vec![b'z'; len];
        let listpack = build(&mut slab, &[&string]);
        let element = [hex(head), string.clone(), hex(back_length)].concat();
        let bytes = listpack.as_ref().bytes();
        assert_eq!(bytes[HEADER_BYTES..bytes.len() - 1], element, "{len}");
        assert_eq!(Listpack::entry_bytes(&string), element.len());
        assert_eq!(listpack.as_ref().first(), listpack.as_ref().last());
        assert_eq!(listpack.as_ref().get(At(6)), Packed::Bytes(&string));
        listpack.free(&mut slab);
    }
}

/// A string of the kinds and sizes at which encodings change.
fn some_string(prng: &mut Prng) -> Vec<u8> {
    match prng.below(20) {
        0..=7 => {
            let border =
                [0, 127, -4096, 4095, -32768, 32767, -(1 << 23), (1 << 23) - 1, -(1 << 31), (1 << 31) - 1]
                    [prng.below(10) as usize];
            (border + prng.below(5) as i64 - 2).to_string().into_bytes()
        }
        8 => [i64::MIN, i64::MAX][prng.below(2) as usize].to_string().into_bytes(),
        9 => ["01", "-0", "-", "+1", "9223372036854775808", "1 "][prng.below(6) as usize].into(),
        10 => {
            let len =
                [63, 64, 65, 125, 126, 127, 4095, 4096, 16377, 16378, 16379, 70000][prng.below(12) as usize];
            vec![prng.next_u64() as u8; len]
        }
        _ => (0..prng.below(24)).map(|_| b'a' + prng.below(2) as u8).collect(),
    }
}

/// A listpack and what it should hold.
struct Model {
    slab: Slab,
    listpack: Listpack,
    strings: Vec<Vec<u8>>,
}

impl Model {
    fn new() -> Self {
        let mut slab = Slab::new();
        Model { listpack: Listpack::new(&mut slab), slab, strings: Vec::new() }
    }

    fn step(&mut self, prng: &mut Prng) {
        let Model { slab, listpack, strings } = self;
        let string = some_string(prng);
        let index = prng.below(strings.len().max(1) as u64) as usize;
        let backwards = index as i64 - strings.len() as i64;
        let number = prng.next_u64() as i64 >> prng.below(64);
        let digits = number.to_string().into_bytes();
        let Some(at) = listpack.as_ref().seek(index as i64) else {
            listpack.push_back(slab, &string);
            strings.push(string);
            return;
        };
        assert_eq!(listpack.as_ref().seek(backwards), Some(at));
        let shrinking = strings.len() > 40;
        let is_there = |at: At, listpack: &Listpack, string: &[u8]| {
            assert!(listpack.as_ref().get(at).is(string));
        };
        match if shrinking { 12 + prng.below(4) } else { prng.below(15) } {
            0 => {
                listpack.push_back(slab, &string);
                strings.push(string);
            }
            1 => {
                listpack.push_front(slab, &string);
                strings.insert(0, string);
            }
            2 => {
                listpack.push_back_int(slab, number);
                strings.push(digits);
            }
            3 => {
                listpack.push_front_int(slab, number);
                strings.insert(0, digits);
            }
            4 => {
                is_there(listpack.insert_before(slab, at, &string), listpack, &string);
                strings.insert(index, string);
            }
            5 => {
                is_there(listpack.insert_after(slab, at, &string), listpack, &string);
                strings.insert(index + 1, string);
            }
            6 => {
                is_there(listpack.insert_before_int(slab, at, number), listpack, &digits);
                strings.insert(index, digits);
            }
            7 => {
                is_there(listpack.insert_after_int(slab, at, number), listpack, &digits);
                strings.insert(index + 1, digits);
            }
            8 | 9 => {
                is_there(listpack.replace(slab, at, &string), listpack, &string);
                strings[index] = string;
            }
            10 => {
                is_there(listpack.replace_int(slab, at, number), listpack, &digits);
                strings[index] = digits;
            }
            11 => {
                let others: Vec<Vec<u8>> = (0..prng.below(4)).map(|_| some_string(prng)).collect();
                let other = build(slab, &others);
                listpack.append(slab, other.as_ref());
                other.free(slab);
                strings.extend(others);
            }
            12 | 13 => {
                strings.remove(index);
                match (listpack.remove(slab, at), strings.get(index)) {
                    (Some(at), Some(next)) => is_there(at, listpack, next),
                    (at, next) => assert!(at.is_none() && next.is_none()),
                }
            }
            14 => {
                let copy = listpack.as_ref().copy(slab);
                std::mem::replace(listpack, copy).free(slab);
            }
            _ => {
                let count = prng.below(30) as usize;
                let from = if prng.below(2) == 0 { index as i64 } else { backwards };
                listpack.remove_range(slab, from, count);
                strings.drain(index..(index + count).min(strings.len()));
            }
        }
    }

    fn check(&mut self, prng: &mut Prng) {
        let listpack = self.listpack.as_ref();
        assert_eq!(listpack.len(), self.strings.len());
        assert_eq!(listpack.is_empty(), self.strings.is_empty());
        assert_eq!(strings(listpack.iter()), self.strings);
        let mut backwards = strings(listpack.iter().rev());
        backwards.reverse();
        assert_eq!(backwards, self.strings);
        for (mut at, step) in [
            (listpack.first(), ListpackRef::next as fn(_, _) -> _),
            (listpack.last(), ListpackRef::prev as fn(_, _) -> _),
        ] {
            let mut count = 0;
            while let Some(there) = at {
                at = step(listpack, there);
                count += 1;
            }
            assert_eq!(count, self.strings.len());
        }
        for outside in [self.strings.len() as i64, -1 - self.strings.len() as i64, i64::MIN, i64::MAX] {
            assert_eq!(listpack.seek(outside), None);
        }
        let needle = match prng.below(self.strings.len() as u64 + 1) as usize {
            index if index < self.strings.len() => self.strings[index].clone(),
            _ => some_string(prng),
        };
        for (from, skip) in [(0, 0), (0, 1), (0, 2), (prng.below(8) as usize, prng.below(3) as usize)] {
            let places = (from..self.strings.len()).step_by(skip + 1);
            let expected = places.clone().find(|&index| self.strings[index] == needle);
            let Some(start) = listpack.seek(from as i64) else {
                continue;
            };
            let found = listpack.find_from(start, &needle, skip);
            assert_eq!(found, expected.and_then(|index| listpack.seek(index as i64)));
            if from == 0 {
                assert_eq!(listpack.find(&needle, skip), found);
            }
        }
        // However it came about, the same elements have the same bytes.
        let rebuilt = build(&mut self.slab, &self.strings);
        assert_eq!(rebuilt.as_ref().bytes(), listpack.bytes());
        let read = Listpack::from_bytes(listpack.bytes(), &mut self.slab).expect("sound bytes");
        assert_eq!(read.as_ref().bytes(), listpack.bytes());
        read.free(&mut self.slab);
        rebuilt.free(&mut self.slab);
        assert_eq!(self.slab.allocated_bytes(), listpack.memory_bytes());
    }
}

#[test]
fn it_behaves_as_a_vector_of_strings() {
    let (seeds, steps) = if cfg!(miri) { (1, 60) } else { (20, 1500) };
    for seed in 0..seeds {
        let mut prng = Prng::new(seed);
        let mut model = Model::new();
        for _ in 0..steps {
            model.step(&mut prng);
            model.check(&mut prng);
        }
        let Model { mut slab, listpack, .. } = model;
        listpack.free(&mut slab);
        assert_eq!(slab.allocated_bytes(), 0);
    }
}

#[test]
fn beyond_65534_elements_the_header_does_not_tell() {
    let mut slab = Slab::new();
    let mut listpack = Listpack::new(&mut slab);
    for number in 0..65534 {
        listpack.push_back_int(&mut slab, number);
    }
    assert_eq!(listpack.as_ref().bytes()[4..6], [0xFE, 0xFF]);
    for number in 65534..65540 {
        listpack.push_back_int(&mut slab, number);
        assert_eq!(listpack.as_ref().bytes()[4..6], [0xFF, 0xFF]);
    }
    fn of(listpack: &Listpack, index: i64) -> Option<Packed<'_>> {
        listpack.as_ref().seek(index).map(|at| listpack.as_ref().get(at))
    }
    assert_eq!(listpack.as_ref().len(), 65540);
    assert_eq!(of(&listpack, 65539), Some(Packed::Int(65539)));
    assert_eq!(of(&listpack, -65540), Some(Packed::Int(0)));
    assert_eq!((of(&listpack, 65540), of(&listpack, -65541), of(&listpack, i64::MIN)), (None, None, None));
    // Removing does not count again, merging does.
    listpack.remove_range(&mut slab, 10, usize::MAX);
    assert_eq!((listpack.as_ref().len(), &listpack.as_ref().bytes()[4..6]), (10, &[0xFF, 0xFF][..]));
    let read = Listpack::from_bytes(listpack.as_ref().bytes(), &mut slab).unwrap();
    listpack.append(&mut slab, read.as_ref());
    assert_eq!((listpack.as_ref().len(), &listpack.as_ref().bytes()[4..6]), (20, &[20, 0][..]));
    read.free(&mut slab);
    listpack.free(&mut slab);
    assert_eq!(slab.allocated_bytes(), 0);
}

#[test]
fn longer_forms_than_needed_are_shortened() {
    let mut slab = Slab::new();
    for (long, short) in [
        ("0a 00 00 00 01 00 81 37 02 ff", "09 00 00 00 01 00 07 01 ff"),
        ("0a 00 00 00 01 00 c0 05 02 ff", "09 00 00 00 01 00 05 01 ff"),
        ("0b 00 00 00 01 00 f1 ff ff 03 ff", "0a 00 00 00 01 00 df ff 02 ff"),
        ("11 00 00 00 ff ff f4 01 00 00 00 00 00 00 00 09 ff", "09 00 00 00 01 00 01 01 ff"),
        ("0b 00 00 00 01 00 e0 01 61 03 ff", "0a 00 00 00 01 00 81 61 02 ff"),
        ("0e 00 00 00 01 00 f0 01 00 00 00 61 06 ff", "0a 00 00 00 01 00 81 61 02 ff"),
    ] {
        let listpack = Listpack::from_bytes(&hex(long), &mut slab).unwrap();
        assert_eq!(listpack.as_ref().bytes(), hex(short), "{long}");
        listpack.free(&mut slab);
    }
}

/// Uses a listpack in every way that reads it.
fn exercise(slab: &mut Slab, bytes: &[u8]) {
    let Some(listpack) = Listpack::from_bytes(bytes, slab) else {
        return;
    };
    let view = listpack.as_ref();
    let all = strings(view.iter());
    assert_eq!(all.len(), view.len());
    assert_eq!(view.iter().rev().count(), all.len());
    for (index, string) in all.iter().enumerate() {
        let at = view.seek(index as i64).expect("an element");
        assert!(view.get(at).is(string));
        assert!(view.find_from(at, string, 0) == Some(at));
    }
    assert_eq!(view.find(b"not in there at all", 1), None);
    listpack.free(slab);
}

#[test]
fn damaged_bytes_are_refused_or_harmless() {
    let mut slab = Slab::new();
    let rounds = if cfg!(miri) { 1 } else { 30 };
    for seed in 0..rounds {
        let mut prng = Prng::new(seed);
        let elements: Vec<Vec<u8>> = (0..prng.below(12)).map(|_| some_string(&mut prng)).collect();
        let listpack = build(&mut slab, &elements);
        let sound = listpack.as_ref().bytes().to_vec();
        listpack.free(&mut slab);
        let step = 1 + sound.len() / 300;
        for len in (0..sound.len()).step_by(step) {
            assert!(Listpack::from_bytes(&sound[..len], &mut slab).is_none());
            // The same with a header and an end that fit.
            let mut cut = sound[..len].to_vec();
            cut.push(END);
            if len >= HEADER_BYTES {
                let total = (len as u32 + 1).to_le_bytes();
                cut[..4].copy_from_slice(&total);
                cut[4..6].fill(0xFF);
            }
            exercise(&mut slab, &cut);
        }
        for bit in (0..sound.len() * 8).step_by(step) {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            exercise(&mut slab, &flipped);
            // A count that cannot be wrong lets more through.
            flipped[4..6].fill(0xFF);
            exercise(&mut slab, &flipped);
        }
        for _ in 0..200 {
            let mut noise: Vec<u8> = (0..prng.below(40)).map(|_| prng.next_u64() as u8).collect();
            exercise(&mut slab, &noise);
            noise.push(END);
            let total = (noise.len() + HEADER_BYTES) as u32;
            exercise(&mut slab, &[&total.to_le_bytes()[..], &[0xFF, 0xFF], &noise].concat());
        }
    }
    assert_eq!(slab.allocated_bytes(), 0);
}

#[test]
fn a_change_within_the_class_stays_in_the_block() {
    let mut slab = Slab::new();
    let mut listpack = build(&mut slab, &["abcdef", "12345678901234"]);
    let block = listpack.0;
    let first = listpack.as_ref().first().unwrap();
    listpack.replace(&mut slab, first, b"ghijkl");
    assert_eq!(listpack.0, block);
    let bytes = class_size(listpack.as_ref().total_bytes());
    while class_size(listpack.as_ref().total_bytes() + Listpack::entry_bytes(b"7")) == bytes {
        listpack.push_back(&mut slab, b"7");
        assert_eq!(listpack.0, block);
    }
    listpack.push_back(&mut slab, b"7");
    assert_ne!(listpack.0, block);
    listpack.free(&mut slab);
    assert_eq!(slab.allocated_bytes(), 0);
}

#[test]
fn values_become_a_listpack_at_once() {
    let mut slab = Slab::new();
    let long = [b'x'; 5000];
    let strings: [&[u8]; 8] =
        [b"", b"1", b"-70000", b"007", b"word", &long[..70], &long, b"9223372036854775807"];
    let mut pushed = Listpack::new(&mut slab);
    strings.iter().for_each(|string| pushed.push_back(&mut slab, string));
    // Whether integers come as such or spelled.
    for values in [strings.map(Packed::of), strings.map(Packed::Bytes)] {
        let made = Listpack::from_values(values.into_iter(), &mut slab).expect("short enough");
        assert_eq!(made.as_ref().bytes(), pushed.as_ref().bytes());
        made.free(&mut slab);
    }
    pushed.free(&mut slab);
    let many = Listpack::from_values((0..70_000).map(Packed::Int), &mut slab).expect("short enough");
    assert_eq!(many.as_ref().len(), 70_000);
    assert!(are_distinct(many.as_ref().iter()));
    many.free(&mut slab);
    assert!(!are_distinct([Packed::Int(1), Packed::Bytes(b"a"), Packed::Int(1)].into_iter()));
    assert_eq!(slab.allocated_bytes(), 0);
}
