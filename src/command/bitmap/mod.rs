//! The bitmap commands, which take strings for arrays of bits: their rows.
//!
//! `bit` reads and writes single bits, `range` counts and searches, `combine` makes one string of several, `field`
//! reads and writes integers of any width.

mod bit;
mod combine;
#[cfg(test)]
pub(in crate::command) mod differential;
mod field;
mod range;

use super::ctx::CommandOptions;
use super::spec::{Doc, Flags, Group, KeySpec, Run, Spec, Spread};
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::keyspace::{IntText, StringRef};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENYOOM);

const ACCESSED: &[KeySpec] = &[KeySpec::one(1, &["RO", "access"])];
const ACCESSED_UPDATED: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "update"])];
/// With nothing but GET it is only read.
const FIELD_KEY: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "update", "variable_flags"])];
const COMBINED: &[KeySpec] = &[KeySpec::one(2, &["OW", "update"]), KeySpec::rest(3, 1, &["RO", "access"])];

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    Spec::new(
        "bitcount",
        -2,
        Run::Shard(range::bitcount, Spread::One),
        doc("Counts the set bits of a string.", "2.6.0", "O(N)", "key [start end [BYTE | BIT]]"),
    )
    .flags(READ)
    .keys(ACCESSED),
    Spec::new(
        "bitfield",
        -2,
        Run::Shard(field::bitfield, Spread::One),
        doc(
            "Reads, sets and counts up integers of any width within a string.",
            "3.2.0",
            "O(1) for each subcommand specified",
            "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY \
             encoding offset increment> ...]",
        ),
    )
    .flags(WRITE)
    .keys(FIELD_KEY),
    Spec::new(
        "bitfield_ro",
        -2,
        Run::Shard(field::bitfield_ro, Spread::One),
        doc(
            "Reads integers of any width within a string.",
            "6.0.0",
            "O(1) for each subcommand specified",
            "key [GET encoding offset [GET encoding offset ...]]",
        ),
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    Spec::new(
        "bitop",
        -4,
        Run::Shard(combine::bitop, Spread::Gather),
        doc(
            "Combines strings bit by bit and stores the result.",
            "2.6.0",
            "O(N)",
            "<AND | OR | XOR | NOT> destkey key [key ...]",
        ),
    )
    .flags(WRITE)
    .keys(COMBINED),
    Spec::new(
        "bitpos",
        -3,
        Run::Shard(range::bitpos, Spread::One),
        doc(
            "Finds the first bit of a string that is set, or clear.",
            "2.8.7",
            "O(N)",
            "key bit [start [end [BYTE | BIT]]]",
        ),
    )
    .flags(READ)
    .keys(ACCESSED),
    Spec::new(
        "getbit",
        3,
        Run::Shard(bit::getbit, Spread::One),
        doc("Replies with a bit of a string.", "2.2.0", "O(1)", "key offset"),
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    Spec::new(
        "setbit",
        4,
        Run::Shard(bit::setbit, Spread::One),
        doc(
            "Sets or clears a bit of a string, which grows as needed, and replies with what it was.",
            "2.2.0",
            "O(1)",
            "key offset value",
        ),
    )
    .flags(WRITE)
    .keys(ACCESSED_UPDATED),
];

const fn doc(
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group: Group::Bitmap, complexity, syntax }
}

/// The offset of a bit; no string reaches further than `proto-max-bulk-len`.
fn bit_offset(options: &CommandOptions, text: &[u8]) -> Result<u64, CommandError> {
    check_offset(options, parse_i64(text))
}

fn check_offset(options: &CommandOptions, offset: Option<i64>) -> Result<u64, CommandError> {
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < options.string_bytes_max).ok_or(CommandError::BIT_OFFSET)
}

/// The bytes of a string; none where there is no key. An integer is read as its text.
fn bytes_of<'b>(string: Option<StringRef<'b>>, text: &'b mut IntText) -> &'b [u8] {
    string.map_or(&[], |string| string.bytes(text))
}
