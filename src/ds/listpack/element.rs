//! One element of a listpack: how it is written, read, stepped over and compared.
//!
//! ```text
//! first byte          then                                    what
//! 0xxxxxxx            -                                       the integers 0..=127
//! 10llllll            the string                              a string of up to 63 bytes
//! 110xxxxx xxxxxxxx   -                                       the integers -4096..=4095, 13 bits, high ones first
//! 1110llll llllllll   the string                              a string of up to 4095 bytes, high bits first
//! 11110000            length, u32; the string                 any other string
//! 11110001 - 0100     the integer in 2, 3, 4 or 8 bytes       any other integer
//! 11111111            -                                       the end of the listpack, no element
//! ```
//!
//! After each element stands how long it is up to there, for those who come from behind: 1 to 5 groups of seven bits,
//! the lowest last, each but the first marked with the high bit. Everything else is little-endian.
//!
//! Invariant: an element of a listpack has the shortest form of its value, so that equal values have equal bytes. A
//! string that spells an integer is one.

use crate::{base::num::parse_i64, ds::bytes::same_bytes};

/// What stands after the last element.
pub(super) const END: u8 = 0xFF;

const STRING_6: u8 = 0x80;
const INT_13: u8 = 0xC0;
const STRING_12: u8 = 0xE0;
const STRING_32: u8 = 0xF0;
const INT_16: u8 = 0xF1;
const INT_24: u8 = 0xF2;
const INT_32: u8 = 0xF3;
const INT_64: u8 = 0xF4;

/// Bytes from an element to the next one, by its first byte; 0 where that byte does not tell.
const SPANS: [u8; 256] = spans();

/// The value of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packed<'a> {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    /// Any other string.
    Bytes(&'a [u8]),
}

impl<'a> Packed<'a> {
    /// What a listpack makes of a string.
    #[inline]
    pub fn of(string: &'a [u8]) -> Self {
        // The first byte rules out most strings that are no integers.
        match string {
            [b'-' | b'0'..=b'9', ..] if string.len() <= 20 => {
                parse_i64(string).map_or(Packed::Bytes(string), Packed::Int)
            }
            _ => Packed::Bytes(string),
        }
    }

    /// The string; `text` holds the digits of an integer.
    #[inline]
    pub fn bytes<'b>(self, text: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Packed::Int(number) => text.format(number).as_bytes(),
            Packed::Bytes(bytes) => bytes,
        }
    }

    /// Whether it is this string.
    #[inline]
    pub fn is(self, string: &[u8]) -> bool {
        match self {
            Packed::Int(number) => Packed::of(string) == Packed::Int(number),
            Packed::Bytes(bytes) => same_bytes(bytes, string),
        }
    }
}

/// An element as it is to be written or looked for.
pub(super) struct Encoded<'a> {
    /// The first byte, and what follows it but a string.
    head: [u8; 9],
    head_len: u8,
    /// The string.
    tail: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// The shortest form of a value.
    #[inline]
    pub(super) fn new(value: Packed<'a>) -> Self {
        match value {
            Packed::Int(number) => Encoded::int(number),
            Packed::Bytes(string) => Encoded::string(string),
        }
    }

    fn int(number: i64) -> Self {
        let low = number as u8;
        let (first, rest) = match number {
            0..=127 => (low, 0),
            -4096..=4095 => return Encoded::with(&[INT_13 | (number >> 8) as u8 & 0x1F, low], &[]),
            -0x8000..=0x7FFF => (INT_16, 2),
            -0x80_0000..=0x7F_FFFF => (INT_24, 3),
            -0x8000_0000..=0x7FFF_FFFF => (INT_32, 4),
            _ => (INT_64, 8),
        };
        let mut head = [first; 9];
        head[1..].copy_from_slice(&number.to_le_bytes());
        Encoded { head, head_len: 1 + rest, tail: &[] }
    }

    fn string(string: &'a [u8]) -> Self {
        let len = string.len();
        match len {
            0..=0x3F => Encoded::with(&[STRING_6 | len as u8], string),
            0x40..=0xFFF => Encoded::with(&[STRING_12 | (len >> 8) as u8, len as u8], string),
            _ => {
                let [a, b, c, d] = u32::try_from(len).expect("a string below 4 GiB").to_le_bytes();
                Encoded::with(&[STRING_32, a, b, c, d], string)
            }
        }
    }

    fn with(start: &[u8], tail: &'a [u8]) -> Self {
        let mut head = [0; 9];
        head[..start.len()].copy_from_slice(start);
        Encoded { head, head_len: start.len() as u8, tail }
    }

    /// The first byte, which tells most elements apart.
    #[inline]
    pub(super) fn first_byte(&self) -> u8 {
        self.head[0]
    }

    #[inline]
    fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// Bytes without the length at the end.
    #[inline]
    fn len(&self) -> usize {
        usize::from(self.head_len) + self.tail.len()
    }

    /// Bytes with the length at the end.
    #[inline]
    pub(super) fn span(&self) -> usize {
        self.len() + BackLength::bytes(self.len())
    }

    /// The length that stands at the end.
    #[inline]
    pub(super) fn back_length(&self) -> BackLength {
        BackLength::new(self.len())
    }

    /// Writes it all at the end of `out`.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        self.pieces(&self.back_length()).iter().for_each(|piece| out.extend_from_slice(piece));
    }

    /// What is to be written, in pieces.
    #[inline]
    pub(super) fn pieces<'b>(&'b self, back_length: &'b BackLength) -> [&'b [u8]; 3] {
        [self.head(), self.tail, back_length.as_bytes()]
    }

    /// Whether the element at the start of `bytes` is this one, where its first byte is.
    #[inline]
    pub(super) fn rest_is(&self, bytes: &[u8]) -> bool {
        let Some(bytes) = bytes.get(..self.len()) else {
            return false;
        };
        let (head, tail) = bytes.split_at(usize::from(self.head_len));
        (self.head_len == 1 || head == self.head()) && same_bytes(tail, self.tail)
    }
}

/// An element's length as it stands at its end.
pub(super) struct BackLength {
    /// The groups, at the end.
    groups: [u8; 5],
    len: usize,
}

impl BackLength {
    #[inline]
    fn new(element_len: usize) -> Self {
        let len = BackLength::bytes(element_len);
        let mut groups = [0; 5];
        for (index, group) in groups.iter_mut().rev().take(len).enumerate() {
            let more = if index + 1 < len { 0x80 } else { 0 };
            *group = (element_len >> (7 * index)) as u8 & 0x7F | more;
        }
        BackLength { groups, len }
    }

    /// How many groups there are. The highest number of two, three and four groups takes one more than it needs: so
    /// Redis writes it, and checks it when it loads a dump.
    #[inline]
    const fn bytes(element_len: usize) -> usize {
        match element_len {
            0..=0x7F => 1,
            0x80..=0x3FFE => 2,
            0x3FFF..=0x1F_FFFE => 3,
            0x1F_FFFF..=0xFFF_FFFE => 4,
            _ => 5,
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.groups[self.groups.len() - self.len..]
    }
}

/// The value of the element at the start of `bytes`.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Packed<'_> {
    let first = bytes[0];
    match first {
        0..STRING_6 => Packed::Int(first.into()),
        STRING_6..INT_13 => Packed::Bytes(&bytes[1..][..usize::from(first & 0x3F)]),
        INT_13..STRING_12 => Packed::Int((i16::from_be_bytes([first, bytes[1]]) << 3 >> 3).into()),
        STRING_12..STRING_32 => Packed::Bytes(&bytes[2..][..length_12(bytes)]),
        STRING_32 => Packed::Bytes(&bytes[5..][..length_32(bytes)]),
        INT_16 => Packed::Int(i16::from_le_bytes(array(bytes)).into()),
        INT_24 => {
            let [low, middle, high] = array(bytes);
            Packed::Int((i32::from_le_bytes([0, low, middle, high]) >> 8).into())
        }
        INT_32 => Packed::Int(i32::from_le_bytes(array(bytes)).into()),
        INT_64 => Packed::Int(i64::from_le_bytes(array(bytes))),
        _ => unreachable!("no element starts with {first:#x}"),
    }
}

/// Bytes from the element at `at` to the next one; 0 at the end.
#[inline(always)]
pub(super) fn span_at(bytes: &[u8], at: usize) -> usize {
    match SPANS[usize::from(bytes[at])] {
        0 => long_span(&bytes[at..]),
        span => span.into(),
    }
}

#[inline(never)]
fn long_span(bytes: &[u8]) -> usize {
    let len = match bytes[0] {
        STRING_12..STRING_32 => 2 + length_12(bytes),
        STRING_32 => 5 + length_32(bytes),
        END => return 0,
        first => unreachable!("no element starts with {first:#x}"),
    };
    len + BackLength::bytes(len)
}

/// Where the element starts that ends before `end`.
#[inline]
pub(super) fn start_before(bytes: &[u8], end: usize) -> usize {
    let mut at = end - 1;
    let mut len = usize::from(bytes[at] & 0x7F);
    let mut shift = 7;
    while bytes[at] & 0x80 != 0 {
        at -= 1;
        len |= usize::from(bytes[at] & 0x7F) << shift;
        shift += 7;
    }
    at - len
}

/// The value of the element at the start of bytes that can be anything, and how many bytes it takes; `None` where
/// there is no whole and sound one.
pub(super) fn decode_untrusted(bytes: &[u8]) -> Option<(Packed<'_>, usize)> {
    let len = match *bytes.first()? {
        0..STRING_6 => 1,
        first @ STRING_6..INT_13 => 1 + usize::from(first & 0x3F),
        INT_13..STRING_12 => 2,
        STRING_12..STRING_32 if bytes.len() >= 2 => 2 + length_12(bytes),
        STRING_32 if bytes.len() >= 5 => 5 + length_32(bytes),
        INT_16 => 3,
        INT_24 => 4,
        INT_32 => 5,
        INT_64 => 9,
        _ => return None,
    };
    let back_length = BackLength::new(len);
    let rest = bytes.get(len..)?;
    rest.starts_with(back_length.as_bytes()).then(|| (decode(bytes), len + back_length.len))
}

/// Whether the element at the start of `bytes`, whose value that is, has the shortest form.
pub(super) fn is_shortest(bytes: &[u8], value: Packed<'_>) -> bool {
    let value = match value {
        Packed::Int(number) => Packed::Int(number),
        Packed::Bytes(string) => Packed::of(string),
    };
    bytes.starts_with(Encoded::new(value).head())
}

fn length_12(bytes: &[u8]) -> usize {
    usize::from(bytes[0] & 0x0F) << 8 | usize::from(bytes[1])
}

fn length_32(bytes: &[u8]) -> usize {
    u32::from_le_bytes(array(bytes)) as usize
}

/// The `N` bytes after the first one.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[1..=N].try_into().expect("as many bytes")
}

const fn spans() -> [u8; 256] {
    let mut spans = [0; 256];
    let mut first = 0;
    while first < spans.len() {
        spans[first] = match first as u8 {
            0..STRING_6 => 2,
            string @ STRING_6..INT_13 => 2 + (string & 0x3F),
            INT_13..STRING_12 => 3,
            INT_16 => 4,
            INT_24 => 5,
            INT_32 => 6,
            INT_64 => 10,
            _ => 0,
        };
        first += 1;
    }
    spans
}
