//! Bitmaps, which are strings.

use super::words::{key_of, keys_of, value, Family, Words};
use super::Random;

pub(super) fn command(r: &mut Random) -> Words {
    const NAMES: &[&str] = &[
        "SETBIT",
        "SETBIT",
        "GETBIT",
        "BITCOUNT",
        "BITPOS",
        "BITOP",
        "BITFIELD",
        "BITFIELD",
        "BITFIELD_RO",
        "SET",
        "GET",
    ];
    let name = r.pick(NAMES);
    let mut words = vec![name.into(), key_of(r, Family::Bitmap)];
    match name {
        "SETBIT" => words.extend([offset(r), r.pick(&["0", "1", "1", "1", "2", "x"]).into()]),
        "GETBIT" => words.push(offset(r)),
        "BITCOUNT" => range(r, &mut words),
        "BITPOS" => {
            words.push(r.pick(&["0", "1", "0", "1", "0", "1", "2", "x"]).into());
            range(r, &mut words);
        }
        "BITOP" => {
            let operation = r.pick(&["AND", "or", "XOR", "not", "NOT", "NAND"]);
            words[1] = operation.into();
            let is_not = operation.eq_ignore_ascii_case("not");
            let sources = if is_not { 1 + r.below(8) / 7 } else { r.below(4) };
            words.push(key_of(r, Family::Bitmap));
            for _ in 0..sources {
                let family = if r.one_in(4) { Family::String } else { Family::Bitmap };
                words.push(key_of(r, family));
            }
        }
        "BITFIELD" | "BITFIELD_RO" => {
            for _ in 0..r.below(4) {
                field(r, name == "BITFIELD_RO", &mut words);
            }
        }
        // Redis counts bits of long strings by other means than those of short ones.
        "SET" if r.one_in(2) => {
            let byte = [0x7F, 0, 1][r.below(3)];
            words.push(vec![byte; r.below(300)]);
        }
        "SET" => words.push(value(r)),
        _ => {}
    }
    if r.one_in(200) {
        return [vec!["DEL".into()], keys_of(r, Family::Bitmap, 1)].concat();
    }
    words
}

fn field(r: &mut Random, only_get: bool, words: &mut Words) {
    const WORDS: &[&str] = &["GET", "SET", "INCRBY", "OVERFLOW", "get", "set", "incrby", "overflow"];
    let word = if only_get && !r.one_in(20) { "GET" } else { r.pick(WORDS) };
    words.push(word.into());
    if word.eq_ignore_ascii_case("overflow") {
        words.push(r.pick(&["WRAP", "SAT", "FAIL", "sat", "fail", "FAIL", "x"]).into());
        return;
    }
    words.push(match r.below(30) {
        0 => r.pick(&["u64", "i65", "i0", "u", "", "8", "i08", "I8", "u-1"]).into(),
        1..=5 => r.pick(&["i64", "u63", "i1", "u1"]).into(),
        _ => format!("{}{}", r.pick(&["u", "i"]), 1 + r.below(63)).into_bytes(),
    });
    words.push(match r.below(30) {
        0 => r.pick(&["#", "#-1", "##1", "#x", "#9223372036854775807", "#4294967296"]).into(),
        1..=9 => format!("#{}", r.below(6)).into_bytes(),
        _ => offset(r),
    });
    if !word.eq_ignore_ascii_case("get") {
        words.push(match r.below(12) {
            0 => r
                .pick(&["x", "", "9223372036854775807", "-9223372036854775808", "9223372036854775808"])
                .into(),
            1..=3 => ((r.next() as i64) >> r.below(64)).to_string().into_bytes(),
            _ => (r.below(20) as i64 - 10).to_string().into_bytes(),
        });
    }
}

fn range(r: &mut Random, words: &mut Words) {
    let ends = [0, 1, 2, 2, 3, 3, 3][r.below(7)];
    for _ in 0..ends.min(2) {
        words.push(match r.below(16) {
            0 => r.pick(&["x", "", "9223372036854775807", "-9223372036854775808", "1.5"]).into(),
            1..=3 => (r.below(2000) as i64 - 1000).to_string().into_bytes(),
            _ => (r.below(60) as i64 - 30).to_string().into_bytes(),
        });
    }
    if ends == 3 {
        words.push(r.pick(&["BIT", "BYTE", "bit", "Byte", "BITS"]).into());
    }
}

/// Bits of a few hundred bytes, or what both servers refuse.
fn offset(r: &mut Random) -> Vec<u8> {
    match r.below(30) {
        0 => r.pick(&["x", "", "-1", "4294967296", "9223372036854775807", "1.5", "01"]).into(),
        1 => r.below(4000).to_string().into_bytes(),
        _ => r.below(120).to_string().into_bytes(),
    }
}
