//! `merge` and `split`: files of random keys of every type, in pieces of any size.

use std::collections::BTreeMap;

use super::layout::{length, opcode, VERSION, VERSION_FIELD_EXPIRY};
use super::merge::{Head, Merge, MergeOptions};
use super::read::{Part, Parts};
use super::split::Split;
use super::write::string::{write_len, StringWriter};
use super::{About, LoadError, Reader, Step};
use crate::base::crc64::{self, crc64};
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::shard_of_key;
use crate::base::prng::Prng;

/// A key as it stands in a file: what stands before it, type and name, and the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    db: u16,
    head: Vec<u8>,
    value: Vec<u8>,
    name: Vec<u8>,
}

/// A random file.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

const ABOUT: About = About { cut_secs: 1_700_000_000, used_memory: 1000, is_aof_base: false };

fn bytes(prng: &mut Prng, len: u64) -> Vec<u8> {
    (0..len).map(|_| prng.next_u64() as u8).collect()
}

/// A string in one of its forms.
fn text(prng: &mut Prng, out: &mut Vec<u8>) {
    match prng.below(8) {
        0 => out.extend([length::INT_8, prng.next_u64() as u8]),
        1 => out.extend([length::INT_16, 1, 2]),
        2 => out.extend([length::INT_32, 1, 2, 3, 4]),
        3 => StringWriter::new(true).write(&b"compressible ".repeat(1 + prng.below(50) as usize), out),
        4 => {
            // Longer than it need be, which is allowed.
            let string = bytes(prng, 5);
            out.extend([length::BITS_64, 0, 0, 0, 0, 0, 0, 0, 5]);
            out.extend(string);
        }
        5 => {
            let string = bytes(prng, 1000);
            write_len(string.len() as u64, out);
            out.extend(string);
        }
        _ => {
            let len = prng.below(70);
            let string = bytes(prng, len);
            write_len(string.len() as u64, out);
            out.extend(string);
        }
    }
}

/// A type and a value that is laid out as values of that type are.
fn value(prng: &mut Prng, expiring: bool) -> (u8, Vec<u8>) {
    let (head, counted, element): (usize, bool, &str) = match prng.below(if expiring { 12 } else { 10 }) {
        10 => (8, true, "ltt"),
        11 => (8, false, "t"),
        0..5 => (0, false, "t"),
        5 | 6 => (0, true, "t"),
        7 => (0, true, "tt"),
        8 => (0, true, "tw"),
        _ => (0, true, "lt"),
    };
    let kind = match (head, counted, element) {
        (8, true, _) => 24,
        (8, ..) => 25,
        (_, false, _) => [0, 11, 16, 17][prng.below(4) as usize],
        (.., "t") => 2,
        (.., "tt") => 4,
        (.., "tw") => 5,
        _ => 18,
    };
    let mut out = bytes(prng, head as u64);
    let count = if counted { prng.below(30) } else { 1 };
    if counted {
        write_len(count, &mut out);
    }
    for _ in 0..count {
        for part in element.chars() {
            match part {
                't' => text(prng, &mut out),
                'l' => write_len(prng.next_u64() >> prng.below(64), &mut out),
                _ => out.extend(bytes(prng, 8)),
            }
        }
    }
    (kind, out)
}

fn random_file(prng: &mut Prng, version: u16, keys: u64) -> File {
    let mut file = File::default();
    file.bytes.extend_from_slice(format!("REDIS{version:04}").as_bytes());
    ABOUT.write(&mut StringWriter::new(true), &mut file.bytes);
    let mut db = None;
    for number in 0..keys {
        if db.is_none() || prng.below(10) == 0 {
            let next = [0, 0, 7, 300][prng.below(4) as usize];
            db = Some(next);
            file.bytes.push(opcode::SELECT);
            write_len(u64::from(next), &mut file.bytes);
            if prng.below(2) == 0 {
                file.bytes.extend([opcode::RESIZE, 40, 5]);
            }
        }
        let mut head = Vec::new();
        if prng.below(3) == 0 {
            head.push(opcode::EXPIRE_MS);
            head.extend(bytes(prng, 8));
        }
        match prng.below(4) {
            0 => head.extend([opcode::IDLE, 17]),
            1 => head.extend([opcode::FREQUENCY, 255]),
            _ => {}
        }
        let (kind, value) = value(prng, version >= VERSION_FIELD_EXPIRY);
        let name = match prng.below(3) {
            0 => number.to_string().into_bytes(),
            1 => format!("{{tag{}}}{number}", prng.below(3)).into_bytes(),
            _ => format!("name {number} {}", "long ".repeat(prng.below(30) as usize)).into_bytes(),
        };
        head.push(kind);
        StringWriter::new(true).write(&name, &mut head);
        file.bytes.extend_from_slice(&head);
        file.bytes.extend_from_slice(&value);
        file.entries.push(Entry { db: db.unwrap_or(0), head, value, name });
    }
    file.bytes.push(opcode::EOF);
    let checksum = crc64(crc64::EMPTY, &file.bytes);
    file.bytes.extend(checksum.to_le_bytes());
    file
}

/// Pieces of any size.
fn pieces<'a>(prng: &mut Prng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let largest = 1 + (bytes.len() as u64 >> prng.below(14));
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + prng.below(largest) as usize));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// The keys of a file, in their order; the sizes that it says that databases have, in theirs.
fn read(bytes: &[u8]) -> (Vec<Entry>, Vec<(u16, u64, u64)>) {
    let (mut parts, mut entries, mut sizes) = (Parts::default(), Vec::<Entry>::new(), Vec::new());
    parts.feed(bytes);
    while let Some(part) = parts.next().unwrap() {
        match part {
            Part::Key { db, key, head, .. } => {
                let (head, name) = (head.to_vec(), key.to_vec());
                entries.push(Entry { db: db.0, head, value: Vec::new(), name });
            }
            Part::Value(bytes) => entries.last_mut().unwrap().value.extend_from_slice(bytes),
            Part::Resize(db, keys, volatile) => sizes.push((db.0, keys, volatile)),
            Part::Header(_) | Part::Aux(..) | Part::End => {}
        }
    }
    // Another reader agrees about keys and databases, and about the checksum.
    let (mut reader, mut seen) = (Reader::default(), 0);
    reader.feed(bytes);
    loop {
        match reader.next().unwrap() {
            Step::Key(item) => {
                assert_eq!((item.db().0, item.key()), (entries[seen].db, &entries[seen].name[..]));
                seen += 1;
            }
            Step::Aux(..) => {}
            Step::More => panic!("it has no end"),
            Step::End(end) => break assert_eq!(end, bytes.len() as u64),
        }
    }
    assert_eq!(seen, entries.len());
    (entries, sizes)
}

fn split(prng: &mut Prng, file: &[u8], shards: u16) -> Result<Vec<Vec<u8>>, LoadError> {
    let mut split = Split::new(shards, 1);
    let (mut files, mut taken) = (vec![Vec::new(); usize::from(shards)], Vec::new());
    for piece in pieces(prng, file) {
        split.feed(piece)?;
        for shard in (0..shards).map(ShardId) {
            if prng.below(3) == 0 {
                let waiting = split.waiting_bytes(shard);
                split.take(shard, &mut taken);
                assert_eq!((taken.len(), split.waiting_bytes(shard)), (waiting, 0));
                files[shard.index()].extend_from_slice(&taken);
            }
        }
    }
    let mut keys = 0;
    for (shard, file) in (0..).map(ShardId).zip(&mut files) {
        let end = split.finish(shard, &mut taken)?;
        file.extend_from_slice(&taken);
        assert!(file.ends_with(&end.crc64.to_le_bytes()));
        assert_eq!(end.keys, read(file).0.len() as u64);
        keys += end.keys;
    }
    assert_eq!(split.keys(), keys);
    Ok(files)
}

fn options(version: u16) -> MergeOptions {
    MergeOptions { version, about: ABOUT, aux: vec![("repl-id".into(), "x".repeat(40))], checksum: true }
}

fn merge(prng: &mut Prng, files: &[Vec<u8>], version: u16) -> Result<Vec<u8>, LoadError> {
    let (mut merge, mut out) = (Merge::new(options(version)), Vec::new());
    for file in files {
        for piece in pieces(prng, file) {
            merge.feed(piece, &mut out)?;
        }
        let told = merge.end_file()?;
        assert!(told == 0 || file.ends_with(&told.to_le_bytes()));
    }
    let keys = merge.finish(&mut out);
    assert_eq!(keys, read(&out).0.len() as u64);
    Ok(out)
}

#[test]
fn what_is_split_and_merged_again_is_the_same() {
    for seed in 0..60 {
        let prng = &mut Prng::new(seed);
        let version = [VERSION, VERSION_FIELD_EXPIRY][prng.below(2) as usize];
        let (shards, keys) = (1 + prng.below(5) as u16, prng.below(60));
        let file = random_file(prng, version, keys);
        let files = split(prng, &file.bytes, shards).unwrap();
        for (shard, bytes) in (0..).map(ShardId).zip(&files) {
            assert!(bytes.starts_with(format!("REDIS{version:04}").as_bytes()));
            let own = file.entries.iter().filter(|entry| shard_of_key(&entry.name, shards) == shard);
            assert_eq!(read(bytes).0, own.cloned().collect::<Vec<_>>(), "seed {seed}, shard {shard:?}");
            assert_eq!(Head::read(bytes).unwrap().cut_secs, Some(ABOUT.cut_secs));
        }
        let merged = merge(prng, &files, version).unwrap();
        let of_shards: Vec<Entry> = files.iter().flat_map(|file| read(file).0).collect();
        let (mut entries, sizes) = read(&merged);
        assert_eq!(entries, of_shards, "seed {seed}");
        let mut expected = file.entries.clone();
        expected.sort();
        entries.sort();
        assert_eq!(entries, expected, "seed {seed}");
        // Each size is that of all files so far.
        let mut totals = BTreeMap::new();
        for (db, keys, volatile) in files.iter().flat_map(|file| read(file).1) {
            let total = totals.entry(db).or_insert((db, 0, 0));
            *total = (db, total.1 + keys, total.2 + volatile);
        }
        for (db, total) in totals {
            let last = sizes.iter().rfind(|size| size.0 == db);
            assert_eq!(last, Some(&total), "seed {seed}");
        }
        assert_eq!(
            Head::read(&merged),
            Ok(Head { version, cut_secs: Some(ABOUT.cut_secs), used_memory: Some(ABOUT.used_memory) })
        );
    }
}

#[test]
fn no_shards_and_empty_files_make_an_empty_file() {
    let prng = &mut Prng::new(1);
    let empty = random_file(prng, VERSION, 0);
    let files = split(prng, &empty.bytes, 3).unwrap();
    let merged = merge(prng, &files, VERSION).unwrap();
    assert_eq!(merged, merge(prng, &[], VERSION).unwrap());
    assert_eq!(read(&merged), (Vec::new(), Vec::new()));
}

#[test]
fn a_value_is_not_kept_while_it_passes() {
    const LEN: usize = 3_000_000;
    let mut file = b"REDIS0010\x00\x01k".to_vec();
    write_len(LEN as u64, &mut file);
    let (mut merge, mut out) = (Merge::new(options(VERSION)), Vec::new());
    let mut split = Split::new(2, 1);
    merge.feed(&file, &mut out).unwrap();
    split.feed(&file).unwrap();
    let owner = shard_of_key(b"k", 2);
    let piece = vec![b'x'; LEN / 100];
    for _ in 0..100 {
        let before = (out.len(), split.waiting_bytes(owner));
        merge.feed(&piece, &mut out).unwrap();
        split.feed(&piece).unwrap();
        let grown = (out.len() - before.0, split.waiting_bytes(owner) - before.1);
        assert_eq!(grown, (piece.len(), piece.len()));
    }
}

#[test]
fn a_file_that_is_cut_off_is_found_out_wherever_that_is() {
    let prng = &mut Prng::new(7);
    let file = random_file(prng, VERSION_FIELD_EXPIRY, 12);
    let cuts = (0..file.bytes.len()).step_by(1 + file.bytes.len() / 300);
    for cut in cuts.chain(file.bytes.len() - 10..file.bytes.len()) {
        let cut_off = &file.bytes[..cut];
        let error = split(prng, cut_off, 2).unwrap_err();
        assert_eq!((error.offset, &error.reason[..]), (cut as u64, "the file ends before its end"));
        assert_eq!(merge(prng, &[cut_off.to_vec()], VERSION_FIELD_EXPIRY).unwrap_err(), error);
    }
}

#[test]
fn damage_is_found_with_its_place() {
    let prng = &mut Prng::new(3);
    let file = random_file(prng, VERSION, 12);
    for at in (0..file.bytes.len() - 8).step_by(1 + file.bytes.len() / 300) {
        let mut damaged = file.bytes.clone();
        damaged[at] ^= 1 << prng.below(8);
        let error = split(prng, &damaged, 2).unwrap_err();
        assert!(error.offset <= damaged.len() as u64, "{error}");
        let of_merge = merge(prng, &[damaged], VERSION_FIELD_EXPIRY).unwrap_err();
        assert_eq!((error.offset, error.reason), (of_merge.offset, of_merge.reason));
    }
    let with_more = [&file.bytes[..], b"more"].concat();
    let error = split(prng, &with_more, 2).unwrap_err();
    assert_eq!((error.offset, &error.reason[..]), (file.bytes.len() as u64, "something follows the end"));
    let unfinished = b"REDIS0010\xFC12345678\xFE\x01";
    let error = split(prng, unfinished, 2).unwrap_err();
    assert_eq!((error.offset, &error.reason[..]), (18, "no key follows what belongs to one"));
}

#[test]
fn a_checksum_of_zero_is_none() {
    let prng = &mut Prng::new(4);
    let mut file = random_file(prng, VERSION, 10);
    let at = file.bytes.len() - 8;
    file.bytes[at..].fill(0);
    let files = split(prng, &file.bytes, 2).unwrap();
    let mut merge = Merge::new(MergeOptions { checksum: false, ..options(VERSION) });
    let mut out = Vec::new();
    for file in &files {
        merge.feed(file, &mut out).unwrap();
        merge.end_file().unwrap();
    }
    assert_eq!(merge.finish(&mut out), 10);
    assert!(out.ends_with(&[0; 8]));
    assert_eq!(read(&out).0.len(), 10);
}

#[test]
fn a_version_that_does_not_have_a_value_is_refused_at_it() {
    let prng = &mut Prng::new(5);
    let mut file = b"REDIS0012".to_vec();
    let at = file.len() as u64;
    file.extend(*b"\x18\x01k12345678\x01\x00\x01f\x01v\xFF");
    let checksum = crc64(crc64::EMPTY, &file);
    file.extend(checksum.to_le_bytes());
    let error = merge(prng, &[file.clone()], VERSION).unwrap_err();
    assert_eq!(error.offset, at);
    assert_eq!(error.reason, "key 'k' takes version 12 of the format, and what is written is 10");
    let (mut merge, mut out) = (Merge::new(options(VERSION_FIELD_EXPIRY)), Vec::new());
    assert_eq!(merge.version_needed(), VERSION);
    merge.feed(&file, &mut out).unwrap();
    assert_eq!((merge.version_needed(), merge.keys()), (VERSION_FIELD_EXPIRY, 1));
}

#[test]
fn files_of_valkey_are_split_as_such_and_not_merged() {
    let prng = &mut Prng::new(6);
    // A hash with fields that expire, of which Redis has none under this number.
    let mut file = b"VALKEY080\x16\x01k\x01\x01f\x01v12345678\xFF".to_vec();
    let checksum = crc64(crc64::EMPTY, &file);
    file.extend(checksum.to_le_bytes());
    let files = split(prng, &file, 2).unwrap();
    assert!(files.iter().all(|file| file.starts_with(b"VALKEY080")));
    assert_eq!(files.iter().map(|file| read(file).0.len()).sum::<usize>(), 1);
    let error = merge(prng, &files, VERSION_FIELD_EXPIRY).unwrap_err();
    assert_eq!((error.offset, &error.reason[..]), (0, "a file of Valkey's own format cannot be merged"));
}

#[test]
fn old_files_are_split_into_the_version_that_is_written() {
    let prng = &mut Prng::new(8);
    // Without a checksum, as versions below 5 are, and without a database.
    let files = split(prng, b"REDIS0003\x00\x01k\x01v\xFF", 2).unwrap();
    for file in files {
        assert!(file.starts_with(b"REDIS0010"));
        assert_eq!(Head::read(&file).unwrap().cut_secs, Some(1), "what the caller says");
        let (entries, _) = read(&file);
        assert!(entries.iter().all(|entry| DbIndex(entry.db) == DbIndex(0) && entry.value == b"\x01v"));
    }
}
