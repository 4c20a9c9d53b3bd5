//! Lengths and strings.
//!
//! A string that reads as an integer of at most 32 bits is written as one. A string of more than 20 bytes is compressed
//! where that is wanted and makes it shorter. Both are decided as Redis decides them, so that the same strings make the
//! same bytes, with one exception: what is longer than `COMPRESSED_BYTES_MAX` is not compressed.

use crate::{
    base::{
        lzf::{self, Compressor, Run},
        num::parse_i64,
    },
    ds::listpack::Packed,
    keyspace::Progress,
    rdb::layout::length,
};

/// The longest text of an integer that is written as one.
const INT_TEXT_MAX: usize = 11;

/// Strings of up to so many bytes are not compressed, nor are those who would not lose so many.
const COMPRESS_MIN: usize = 20;
const COMPRESS_GAIN_MIN: usize = 4;

/// The length of the compressed form stands before it: so the whole form has to wait in memory.
const COMPRESSED_BYTES_MAX: usize = 16 << 20;

/// How much longer it takes to compress a byte than to write it.
const COMPRESS_COST: usize = 4;

/// Writes a length.
#[inline]
pub(in crate::rdb) fn write_len(len: u64, out: &mut Vec<u8>) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&[length::BITS_14 | (len >> 8) as u8, len as u8]),
        0x4000..=0xFFFF_FFFF => {
            out.push(length::BITS_32);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(length::BITS_64);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Writes a string that is an integer.
#[inline]
pub(super) fn write_int(number: i64, out: &mut Vec<u8>) {
    if !write_short_int(number, out) {
        write_plain(itoa::Buffer::new().format(number).as_bytes(), out);
    }
}

/// Writes a string whose compressed form is known.
pub(super) fn write_compressed(form: &[u8], len: usize, out: &mut Vec<u8>) {
    write_compressed_head(form.len(), len, out);
    out.extend_from_slice(form);
}

/// Writes an integer, if it has at most 32 bits; whether it has.
#[inline]
fn write_short_int(number: i64, out: &mut Vec<u8>) -> bool {
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[length::INT_8, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        let [low, high] = number.to_le_bytes();
        out.extend_from_slice(&[length::INT_16, low, high]);
    } else if let Ok(number) = i32::try_from(number) {
        out.push(length::INT_32);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        return false;
    }
    true
}

fn write_compressed_head(form_len: usize, len: usize, out: &mut Vec<u8>) {
    out.push(length::LZF);
    write_len(form_len as u64, out);
    write_len(len as u64, out);
}

#[inline]
fn write_plain(string: &[u8], out: &mut Vec<u8>) {
    write_len(string.len() as u64, out);
    out.extend_from_slice(string);
}

/// Writes strings.
pub(in crate::rdb) struct StringWriter {
    compresses: bool,
    /// Made when it is first needed: it is large.
    compressor: Option<Compressor>,
    /// A compressed form.
    form: Vec<u8>,
}

impl StringWriter {
    /// One that compresses, or does not.
    pub(in crate::rdb) fn new(compresses: bool) -> StringWriter {
        StringWriter { compresses, compressor: None, form: Vec::new() }
    }

    /// Writes a string.
    #[inline]
    pub(in crate::rdb) fn write(&mut self, string: &[u8], out: &mut Vec<u8>) {
        if string.len() <= INT_TEXT_MAX {
            if !parse_i64(string).is_some_and(|number| write_short_int(number, out)) {
                write_plain(string, out);
            }
        } else if !(self.is_compressed(string) && self.compress(string, out)) {
            write_plain(string, out);
        }
    }

    /// Writes an element of a collection.
    #[inline]
    pub(super) fn write_element(&mut self, element: Packed<'_>, out: &mut Vec<u8>) {
        match element {
            Packed::Int(number) => write_int(number, out),
            Packed::Bytes(string) => self.write(string, out),
        }
    }

    /// Begins a string that is written in pieces. Its bytes are the same as those of `write`.
    pub(super) fn begin(&self, string: &[u8]) -> LongString {
        LongString(match self.is_compressed(string) {
            true => {
                let mut compressor = Compressor::new();
                let run = compressor.begin(string);
                State::Compressing { compressor, run, form: Vec::new() }
            }
            false => State::Beginning,
        })
    }

    /// Whether it is tried to compress it.
    #[inline]
    fn is_compressed(&self, string: &[u8]) -> bool {
        self.compresses && (COMPRESS_MIN + 1..=COMPRESSED_BYTES_MAX).contains(&string.len())
    }

    /// Writes the compressed form, if it is shorter; whether it is.
    fn compress(&mut self, string: &[u8], out: &mut Vec<u8>) -> bool {
        let compressor = self.compressor.get_or_insert_with(Compressor::new);
        self.form.clear();
        let is_shorter = compressor.compress(string, &mut self.form, string.len() - COMPRESS_GAIN_MIN);
        if is_shorter {
            write_compressed(&self.form, string.len(), out);
        }
        is_shorter
    }
}

/// A string that is written in pieces.
pub(super) struct LongString(State);

enum State {
    /// Nothing is written yet.
    Compressing { compressor: Compressor, run: Run, form: Vec<u8> },
    /// Nothing is written yet, and it will be the string as it is.
    Beginning,
    /// So many bytes are written of the compressed form, or of the string.
    Writing { form: Option<Vec<u8>>, written: usize },
}

impl LongString {
    /// Goes on for about `budget` bytes.
    pub(super) fn step(&mut self, string: &[u8], budget: usize, out: &mut Vec<u8>) -> Progress {
        if let State::Compressing { compressor, run, form } = &mut self.0 {
            let (len_max, piece) = (string.len() - COMPRESS_GAIN_MIN, budget.div_ceil(COMPRESS_COST));
            match compressor.advance(run, string, form, 0, len_max, piece) {
                lzf::Progress::More => return Progress::More,
                lzf::Progress::TooLong => self.0 = State::Beginning,
                lzf::Progress::Fits => {
                    write_compressed_head(form.len(), string.len(), out);
                    self.0 = State::Writing { form: Some(std::mem::take(form)), written: 0 };
                }
            }
        }
        if matches!(self.0, State::Beginning) {
            write_len(string.len() as u64, out);
            self.0 = State::Writing { form: None, written: 0 };
        }
        let State::Writing { form, written } = &mut self.0 else { return Progress::More };
        let bytes = form.as_deref().unwrap_or(string);
        let piece = budget.min(bytes.len() - *written);
        out.extend_from_slice(&bytes[*written..*written + piece]);
        *written += piece;
        if *written < bytes.len() {
            Progress::More
        } else {
            Progress::Done
        }
    }
}
