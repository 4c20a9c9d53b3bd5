//! Bytes of a snapshot, read one after the other: numbers, lengths, strings in all their forms.

use std::fmt;

use crate::{base::lzf, keyspace::VALUE_LEN_MAX, rdb::layout::length};

/// Why reading stopped.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rdb) enum Stop {
    /// The bytes end in the middle of something; there may be more of them.
    Short,
    /// A collection has no elements, and so is no value.
    Empty,
    /// They make no sense, or are of something that cannot be held here.
    Refused(String),
}

impl Stop {
    pub(in crate::rdb) fn refused(reason: impl Into<String>) -> Stop {
        Stop::Refused(reason.into())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Short => "it is cut off",
            Stop::Empty => "it has no elements",
            Stop::Refused(reason) => reason,
        })
    }
}

/// Bytes, and how far they have been read.
#[derive(Clone)]
pub(in crate::rdb) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rdb) enum Text<'a> {
    /// As it is.
    Plain(&'a [u8]),
    /// As the integer that it spells.
    Int(i64),
    /// Compressed, and its length.
    Compressed(&'a [u8], usize),
}

/// Room for a string that is not written as it is.
#[derive(Default)]
pub(in crate::rdb) struct TextBuffer {
    digits: itoa::Buffer,
    decompressed: Vec<u8>,
}

/// What a length's place holds.
enum Length {
    Number(u64),
    /// No length, but one of a string's forms.
    Form(u8),
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(in crate::rdb) fn new(bytes: &'a [u8], at: usize) -> Self {
        Cursor { bytes, at }
    }

    /// How far they have been read.
    #[inline]
    pub(in crate::rdb) fn at(&self) -> usize {
        self.at
    }

    /// The next so many bytes.
    #[inline]
    pub(in crate::rdb) fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(Stop::Short)?;
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub(in crate::rdb) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N).map(|bytes| bytes.try_into().expect("as many bytes"))
    }

    /// The next byte.
    #[inline]
    pub(in crate::rdb) fn byte(&mut self) -> Result<u8, Stop> {
        let &byte = self.bytes.get(self.at).ok_or(Stop::Short)?;
        self.at += 1;
        Ok(byte)
    }

    /// A length, or a number that is written as one.
    #[inline]
    pub(in crate::rdb) fn length(&mut self) -> Result<u64, Stop> {
        match self.length_or_form()? {
            Length::Number(number) => Ok(number),
            Length::Form(_) => Err(Stop::refused("a string stands where a number should be")),
        }
    }

    /// How many elements follow.
    #[inline]
    pub(in crate::rdb) fn count(&mut self) -> Result<usize, Stop> {
        // So many elements that they cannot be counted are not there.
        Ok(usize::try_from(self.length()?).unwrap_or(usize::MAX))
    }

    /// A string.
    #[inline]
    pub(in crate::rdb) fn text(&mut self) -> Result<Text<'a>, Stop> {
        let form = match self.length_or_form()? {
            Length::Number(len) => return self.take(string_len(len)?).map(Text::Plain),
            Length::Form(form) => form,
        };
        Ok(match form {
            length::INT_8 => Text::Int(i8::from_le_bytes(self.array()?).into()),
            length::INT_16 => Text::Int(i16::from_le_bytes(self.array()?).into()),
            length::INT_32 => Text::Int(i32::from_le_bytes(self.array()?).into()),
            length::LZF => {
                let compressed = string_len(self.length()?)?;
                let len = string_len(self.length()?)?;
                Text::Compressed(self.take(compressed)?, len)
            }
            form => return Err(unknown_form(form)),
        })
    }

    /// The beginning of a string; how many of its bytes follow.
    #[inline]
    pub(in crate::rdb) fn text_head(&mut self) -> Result<usize, Stop> {
        let form = match self.length_or_form()? {
            Length::Number(len) => return string_len(len),
            Length::Form(form) => form,
        };
        Ok(match form {
            length::INT_8 => 1,
            length::INT_16 => 2,
            length::INT_32 => 4,
            length::LZF => {
                let compressed = string_len(self.length()?)?;
                string_len(self.length()?)?;
                compressed
            }
            form => return Err(unknown_form(form)),
        })
    }

    fn length_or_form(&mut self) -> Result<Length, Stop> {
        let first = self.byte()?;
        Ok(match first {
            0..length::BITS_14 => Length::Number(first.into()),
            length::BITS_14..length::BITS_32 => {
                Length::Number(u64::from(first - length::BITS_14) << 8 | u64::from(self.byte()?))
            }
            length::BITS_32 => Length::Number(u32::from_be_bytes(self.array()?).into()),
            length::BITS_64 => Length::Number(u64::from_be_bytes(self.array()?)),
            length::INT_8.. => Length::Form(first),
            _ => return Err(Stop::Refused(format!("a length has the unknown form {first:#x}"))),
        })
    }
}

impl<'a> Text<'a> {
    /// The string; `buffer` holds it where it is not written as it is.
    #[inline]
    pub(in crate::rdb) fn bytes<'b>(self, buffer: &'b mut TextBuffer) -> Result<&'b [u8], Stop>
    where
        'a: 'b,
    {
        match self {
            Text::Plain(bytes) => Ok(bytes),
            Text::Int(number) => Ok(buffer.digits.format(number).as_bytes()),
            Text::Compressed(form, len) => {
                let bytes = lzf::decompress(form, len);
                buffer.decompressed = bytes.ok_or_else(|| Stop::refused("a compressed string is damaged"))?;
                Ok(&buffer.decompressed)
            }
        }
    }
}

impl fmt::Debug for TextBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextBuffer").field("decompressed", &self.decompressed.len()).finish_non_exhaustive()
    }
}

#[cold]
fn unknown_form(form: u8) -> Stop {
    Stop::Refused(format!("a string has the unknown form {form:#x}"))
}

/// The length of a string, if it is one that can be held.
#[inline]
fn string_len(len: u64) -> Result<usize, Stop> {
    match usize::try_from(len) {
        Ok(len) if len <= VALUE_LEN_MAX => Ok(len),
        _ => Err(Stop::Refused(format!("a string of {len} bytes is longer than can be held"))),
    }
}
