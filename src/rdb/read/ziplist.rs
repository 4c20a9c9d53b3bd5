//! Ziplists: what lists, hashes and sorted sets were packed in before Redis 7.
//!
//! ```text
//! 0              4               8          10                                 total - 1
//! | total bytes  | last element  | elements | element | element | ...          | 0xFF |
//! | u32          | offset, u32   | u16
//!
//! element    length of the one before: u8, or 0xFE and u32 | first byte, as follows | string or integer
//!
//! 00llllll                       a string of up to 63 bytes
//! 01llllll llllllll              a string of up to 16383 bytes, the high bits first
//! 10------ length, u32 big-endian   any other string
//! 11000000, 11010000, 11100000   an integer of 2, 4, 8 bytes
//! 11110000, 11111110             an integer of 3 bytes, of 1
//! 1111nnnn                       the integer n - 1, n from 1 to 13
//! ```
//!
//! The count says 65535 where there are as many or more. Little-endian but for the lengths of strings.

use super::bytes::{Cursor, Stop};
use crate::ds::{
    listpack::{Listpack, Packed},
    slab::Slab,
};

const HEADER_BYTES: usize = 10;
const END: u8 = 0xFF;
const COUNT_UNKNOWN: usize = 0xFFFF;

/// Before a length of the element before that does not fit into one byte.
const LONG: u8 = 0xFE;

const INT_16: u8 = 0xC0;
const INT_32: u8 = 0xD0;
const INT_64: u8 = 0xE0;
const INT_24: u8 = 0xF0;
const INT_8: u8 = 0xFE;
const SMALL_INT_MIN: u8 = 0xF1;
const SMALL_INT_MAX: u8 = 0xFD;

/// The listpack with the elements of a ziplist.
pub(super) fn to_listpack(bytes: &[u8], slab: &mut Slab) -> Result<Listpack, Stop> {
    if !is_sound(bytes) {
        return Err(Stop::refused("a ziplist is damaged"));
    }
    Listpack::from_values(Elements::of(bytes), slab)
        .ok_or_else(|| Stop::refused("a ziplist is too long to be held"))
}

/// Whether all of it is as it must be.
fn is_sound(bytes: &[u8]) -> bool {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return false };
    let [a, b, c, d, e, f, g, h, low, high] = *header;
    let (total, last) =
        (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
    let told = usize::from(u16::from_le_bytes([low, high]));
    let mut elements = Elements::of(bytes);
    let count = elements.by_ref().count();
    total == bytes.len()
        && last == elements.last_at
        && (told == count || told == COUNT_UNKNOWN)
        && bytes[elements.cursor.at()..] == [END]
}

/// The elements, up to the end or to where they make no sense.
struct Elements<'a> {
    cursor: Cursor<'a>,
    /// Where the last one begins, and how long it is.
    last_at: usize,
    last_len: usize,
}

impl<'a> Elements<'a> {
    /// Those of a ziplist, which is as long as its header.
    fn of(bytes: &'a [u8]) -> Self {
        Elements { cursor: Cursor::new(bytes, HEADER_BYTES), last_at: HEADER_BYTES, last_len: 0 }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Packed<'a>;

    fn next(&mut self) -> Option<Packed<'a>> {
        let (start, mut cursor) = (self.cursor.at(), self.cursor.clone());
        let back = match cursor.byte().ok()? {
            END => return None,
            LONG => u32::from_le_bytes(cursor.array().ok()?) as usize,
            back => back.into(),
        };
        if back != self.last_len {
            return None;
        }
        let element = element(&mut cursor).ok()?;
        (self.last_at, self.last_len) = (start, cursor.at() - start);
        self.cursor = cursor;
        Some(element)
    }
}

fn element<'a>(cursor: &mut Cursor<'a>) -> Result<Packed<'a>, Stop> {
    let first = cursor.byte()?;
    Ok(match first {
        0..0x40 => Packed::Bytes(cursor.take(first.into())?),
        0x40..0x80 => {
            let len = usize::from(first & 0x3F) << 8 | usize::from(cursor.byte()?);
            Packed::Bytes(cursor.take(len)?)
        }
        0x80..0xC0 => {
            let len = u32::from_be_bytes(cursor.array()?) as usize;
            Packed::Bytes(cursor.take(len)?)
        }
        INT_8 => Packed::Int(i8::from_le_bytes(cursor.array()?).into()),
        INT_16 => Packed::Int(i16::from_le_bytes(cursor.array()?).into()),
        INT_24 => {
            let [low, middle, high] = cursor.array()?;
            Packed::Int((i32::from_le_bytes([0, low, middle, high]) >> 8).into())
        }
        INT_32 => Packed::Int(i32::from_le_bytes(cursor.array()?).into()),
        INT_64 => Packed::Int(i64::from_le_bytes(cursor.array()?)),
        SMALL_INT_MIN..=SMALL_INT_MAX => Packed::Int((first - SMALL_INT_MIN).into()),
        _ => return Err(Stop::Short),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::prng::Prng;

    /// A ziplist of these strings, as Redis up to 6.2 makes it.
    pub(in crate::rdb::read) fn encode(strings: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let (mut before, mut last) = (0, HEADER_BYTES);
        for &string in strings {
            last = bytes.len();
            match u8::try_from(before) {
                Ok(before) if before < LONG => bytes.push(before),
                _ => {
                    bytes.push(LONG);
                    bytes.extend_from_slice(&(before as u32).to_le_bytes());
                }
            }
            match Packed::of(string) {
                Packed::Int(number) => encode_int(number, &mut bytes),
                Packed::Bytes(string) => {
                    match string.len() {
                        len @ 0..0x40 => bytes.push(len as u8),
                        len @ 0x40..0x4000 => bytes.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
                        len => {
                            bytes.push(0x80);
                            bytes.extend_from_slice(&(len as u32).to_be_bytes());
                        }
                    }
                    bytes.extend_from_slice(string);
                }
            }
            before = bytes.len() - last;
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        bytes[8..10].copy_from_slice(&(strings.len().min(COUNT_UNKNOWN) as u16).to_le_bytes());
        bytes
    }

    fn encode_int(number: i64, bytes: &mut Vec<u8>) {
        let (first, len) = match number {
            0..=12 => return bytes.push(SMALL_INT_MIN + number as u8),
            -0x80..=0x7F => (INT_8, 1),
            -0x8000..=0x7FFF => (INT_16, 2),
            -0x80_0000..=0x7F_FFFF => (INT_24, 3),
            -0x8000_0000..=0x7FFF_FFFF => (INT_32, 4),
            _ => (INT_64, 8),
        };
        bytes.push(first);
        bytes.extend_from_slice(&number.to_le_bytes()[..len]);
    }

    #[test]
    fn the_bytes_are_those_of_redis() {
        // The example in Redis's own description of the format.
        let bytes = b"\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
        assert_eq!(encode(&[b"2", b"5"]), bytes);
        assert!(is_sound(bytes));
        assert!(Elements::of(bytes).eq([Packed::Int(2), Packed::Int(5)]));
    }

    #[test]
    fn every_kind_of_element_comes_back() {
        let long = [vec![b'a'; 63], vec![b'b'; 64], vec![b'c'; 300], vec![b'd'; 0x3FFF], vec![b'e'; 0x4000]];
        let mut strings: Vec<&[u8]> = long.iter().map(Vec::as_slice).collect();
        let numbers = [
            "0",
            "12",
            "13",
            "-1",
            "127",
            "-128",
            "128",
            "32767",
            "-32768",
            "8388607",
            "-8388608",
            "2147483647",
            "-2147483649",
            "9223372036854775807",
            "-9223372036854775808",
            "007",
            "",
        ];
        strings.extend(numbers.iter().map(|number| number.as_bytes()));
        let bytes = encode(&strings);
        let mut slab = Slab::new();
        let listpack = to_listpack(&bytes, &mut slab).expect("a sound ziplist");
        assert!(listpack.as_ref().iter().eq(strings.iter().map(|string| Packed::of(string))));
        listpack.free(&mut slab);
        assert_eq!(slab.allocated_bytes(), 0);
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless() {
        let mut slab = Slab::new();
        let sound = encode(&[b"name", b"12345", &[b'x'; 300], b"-7", b"70000", b""]);
        for len in 0..sound.len() {
            assert!(to_listpack(&sound[..len], &mut slab).is_err(), "{len}");
        }
        let mut prng = Prng::new(1);
        for _ in 0..20_000 {
            let mut bytes = sound.clone();
            for _ in 0..=prng.below(2) {
                let at = prng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << prng.below(8);
            }
            if let Ok(listpack) = to_listpack(&bytes, &mut slab) {
                listpack.free(&mut slab);
            }
        }
        assert_eq!(slab.allocated_bytes(), 0);
    }
}
