//! What commands are made of: keys, numbers, texts.

use super::Random;

/// A command's words.
pub(in super::super::super) type Words = Vec<Vec<u8>>;

/// A family of commands. Each has two keys of its own, where most of its commands go, so that its values live long
/// enough to become something; the rest goes anywhere.
#[derive(Clone, Copy)]
pub(super) enum Family {
    String,
    List,
    Set,
    Hash,
    Zset,
    Bitmap,
    HyperLogLog,
}

/// A key of the family, mostly.
pub(super) fn key_of(r: &mut Random, family: Family) -> Vec<u8> {
    match r.below(6) {
        0 => key(r),
        _ => format!("k{}", 1 + 2 * family as usize + r.below(2)).into_bytes(),
    }
}

/// So many keys of the family, mostly.
pub(super) fn keys_of(r: &mut Random, family: Family, count: usize) -> Words {
    (0..count).map(|_| key_of(r, family)).collect()
}

/// Any key: the families' own, one of nobody, or an odd one.
pub(super) fn key(r: &mut Random) -> Vec<u8> {
    match r.below(16) {
        0 => r.pick(&["", "{t}1", "{t}2", "{}x", "a key", "\u{0}\u{1}"]).into(),
        n => format!("k{n}").into_bytes(),
    }
}

pub(super) fn db(r: &mut Random) -> Vec<u8> {
    match r.below(12) {
        0 => r.pick(&["16", "-1", "x", "", "99999999999", "2147483648", "01", "15", "7"]).into(),
        n => (n % 3).to_string().into_bytes(),
    }
}

/// Seconds since 1970, beyond any relative lifetime, the same value now and then. Never past: a key that SET makes
/// expired counts in DBSIZE until one or the other server happens to remove it.
pub(super) fn absolute_s(r: &mut Random) -> Vec<u8> {
    format!("9{}000000000", r.below(8)).into_bytes()
}

pub(super) fn odd_time(r: &mut Random) -> Vec<u8> {
    const ODD: &[&str] = &[
        "0",
        "-1",
        "-100",
        "x",
        "",
        "1.5",
        " 1",
        "9223372036854775",
        "9223372036854776",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775",
        "+1",
    ];
    r.pick(ODD).into()
}

pub(super) fn index(r: &mut Random) -> Vec<u8> {
    match r.below(16) {
        // Nothing between the small and the refused: it would take half a gigabyte.
        0 => r
            .pick(&["x", "", "9223372036854775807", "-9223372036854775808", "600000000", "1.0", "-0", "+3"])
            .into(),
        1 => (r.below(400)).to_string().into_bytes(),
        _ => (r.below(40) as i64 - 20).to_string().into_bytes(),
    }
}

pub(super) fn integer(r: &mut Random) -> Vec<u8> {
    const EDGES: &[&str] = &[
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1",
        "-1",
        "0",
        "-0",
        "x",
        "",
        "007",
        " 1",
        "1 ",
        "10000",
        "9999",
        "+5",
    ];
    match r.below(4) {
        0 => r.pick(EDGES).into(),
        1 => ((r.next() as i64) >> r.below(64)).to_string().into_bytes(),
        _ => (r.below(200) as i64 - 100).to_string().into_bytes(),
    }
}

pub(super) fn float(r: &mut Random) -> Vec<u8> {
    const ODD: &[&str] = &[
        "inf",
        "-inf",
        "nan",
        "1e400",
        "-1e5000",
        "x",
        "",
        " 1",
        "1 ",
        ".",
        "1.",
        ".5",
        "0x10",
        "-0x1.8p3",
        "1e",
        "3.0e3",
        "5.0e-320",
        "1e17",
        "123456789012345678",
        "0.1",
        "-0.0",
        "1e-20",
        "infinity",
    ];
    match r.below(4) {
        0 => r.pick(ODD).into(),
        1 => integer(r),
        _ => {
            let (whole, part) = (r.below(100_000) as i64 - 50_000, r.below(10_000_000));
            format!("{whole}.{part}").into_bytes()
        }
    }
}

pub(super) fn value(r: &mut Random) -> Vec<u8> {
    let letters = |r: &mut Random, len: usize| (0..len).map(|_| b'a' + r.below(3) as u8).collect();
    match r.below(12) {
        0..=2 => integer(r),
        3 | 4 => float(r),
        5 => Vec::new(),
        // Where encodings change.
        6 => {
            let len = [20, 21, 43, 44, 45, 64][r.below(6)];
            letters(r, len)
        }
        7 => (0..r.below(30)).map(|_| r.next() as u8).collect(),
        8 => {
            let len = r.below(300);
            letters(r, len)
        }
        _ => {
            let len = r.below(12);
            letters(r, len)
        }
    }
}

/// A number of elements: what a reply or a loop of either server has room for, or a bad one.
pub(super) fn count(r: &mut Random) -> Vec<u8> {
    match r.below(12) {
        0 => r.pick(&["x", "", "1.5", "01", "9223372036854775808"]).into(),
        1 => r.pick(&["0", "-1", "1000"]).into(),
        _ => (r.below(40) as i64 - 12).to_string().into_bytes(),
    }
}

/// A timeout that is soon over, or a bad one. None is so long that only Redis 7.2 refuses it, or that one could wait.
pub(super) fn timeout(r: &mut Random) -> Vec<u8> {
    match r.below(5) {
        0 => r.pick(&["x", "", "-1", "-0.5", "-inf", "nan", " 1", "1 "]).into(),
        _ => r.pick(&["0.001", "0.002", "1e-3", "0x0.01", ".003"]).into(),
    }
}

/// An element of a list or a set, a field or a member of a sorted set: few, so that they meet; some read as integers,
/// some are about as long as the encodings allow.
pub(super) fn element(r: &mut Random) -> Vec<u8> {
    match r.below(40) {
        0 => Vec::new(),
        1 => "x".repeat([63, 64, 65, 200][r.below(4)]).into_bytes(),
        2 => r.pick(&["01", "-0", "+1", " 1", "1.5", "9223372036854775807", "-9223372036854775808"]).into(),
        3 => ((r.next() as i64) >> r.below(64)).to_string().into_bytes(),
        4..=15 => (r.below(24) as i64 - 8).to_string().into_bytes(),
        _ => format!("m{}", r.below(30)).into_bytes(),
    }
}

/// How many elements a command adds at once: mostly a few, sometimes around the limits of the encodings.
pub(super) fn bulk(r: &mut Random) -> usize {
    match r.below(40) {
        0 => [15, 16, 17, 127, 128, 129, 140, 500, 513][r.below(9)],
        _ => 1 + r.below(4),
    }
}

/// The element at this place of a bulk of so many: in a large one they differ.
pub(super) fn element_at(r: &mut Random, at: usize, of: usize) -> Vec<u8> {
    match of {
        0..=4 => element(r),
        _ if of % 2 == 0 => at.to_string().into_bytes(),
        _ => format!("many:{at}").into_bytes(),
    }
}

/// The words of a line.
pub(super) fn words_of(words: &[&str]) -> Words {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
