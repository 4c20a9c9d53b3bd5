//! The HyperLogLog commands: their rows.
//!
//! A HyperLogLog is a string of a certain form (`ds::hyperloglog`). `count` adds elements, counts and merges; `debug`
//! shows how one is held, and tests the arithmetic.

mod count;
mod debug;
#[cfg(test)]
pub(in crate::command) mod differential;

use super::spec::{Doc, Flags, Group, KeySpec, Run, Spec, Spread};
use super::Ctx;
use crate::base::error::CommandError;
use crate::ds::hyperloglog::{Corrupt, HyperLogLogRef};
use crate::keyspace::{Slot, StringRef, ValueRef};

const WRITE: Flags = Flags::WRITE.with(Flags::DENYOOM);

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    Spec::new(
        "pfadd",
        -2,
        Run::Shard(count::pfadd, Spread::One),
        doc(
            "Adds elements to a HyperLogLog, which is created where there is none.",
            "2.8.9",
            "O(1) to add every element.",
            "key [element [element ...]]",
        ),
    )
    .flags(WRITE.with(Flags::FAST))
    .keys(&[KeySpec::one(1, &["RW", "insert"])]),
    Spec::new(
        "pfcount",
        -2,
        Run::Shard(count::pfcount, Spread::Gather),
        doc(
            "Estimates how many different elements were added to the HyperLogLogs at keys, taken together.",
            "2.8.9",
            "O(1) with a very small average constant time when called with a single key. O(N) with N being the \
             number of keys, and much bigger constant times, when called with multiple keys.",
            "key [key ...]",
        ),
    )
    .flags(Flags::READONLY.with(Flags::MAY_REPLICATE))
    // The estimate is kept in the string.
    .keys(&[KeySpec::rest(1, 1, &["RW", "access"])]),
    Spec::new(
        "pfdebug",
        3,
        Run::Shard(debug::pfdebug, Spread::One),
        doc("Shows or changes how a HyperLogLog is held.", "2.8.9", "N/A", "subcommand key"),
    )
    .flags(WRITE.with(Flags::ADMIN).with(Flags::SYSCMD))
    .keys(&[KeySpec::one(2, &["RW", "access"])]),
    Spec::new(
        "pfmerge",
        -2,
        Run::Shard(count::pfmerge, Spread::Gather),
        doc(
            "Merges HyperLogLogs into one, which counts what was added to any of them.",
            "2.8.9",
            "O(N) to merge N HyperLogLogs, but with high constant times.",
            "destkey [sourcekey [sourcekey ...]]",
        ),
    )
    .flags(WRITE)
    .keys(&[KeySpec::one(1, &["RW", "access", "insert"]), KeySpec::rest(2, 1, &["RO", "access"])]),
    Spec::new(
        "pfselftest",
        1,
        Run::Shard(debug::pfselftest, Spread::One),
        doc("Tests the arithmetic of HyperLogLogs.", "2.8.9", "N/A", ""),
    )
    .flags(Flags::ADMIN.with(Flags::SYSCMD)),
];

const fn doc(
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group: Group::Hyperloglog, complexity, syntax }
}

/// The HyperLogLog that a value is.
fn hyperloglog(value: ValueRef<'_>) -> Result<HyperLogLogRef<'_>, CommandError> {
    let found = match value.string()? {
        StringRef::Str(bytes) => HyperLogLogRef::of(bytes),
        StringRef::Int(_) => None,
    };
    found.ok_or(CommandError::HYPERLOGLOG_TYPE)
}

/// The HyperLogLog under a key, which is going to be modified in place.
fn held<'s>(slot: &'s mut Slot<'_>) -> Result<Option<HyperLogLogRef<'s>>, CommandError> {
    slot.value().map(hyperloglog).transpose()?;
    slot.make_buffer();
    slot.value().map(hyperloglog).transpose()
}

/// `hll-sparse-max-bytes`.
fn sparse_bytes_max(ctx: &Ctx<'_, '_>) -> usize {
    ctx.keyspace.options().encodings.hll_sparse_bytes
}

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> CommandError {
        CommandError::HYPERLOGLOG_CORRUPT
    }
}
