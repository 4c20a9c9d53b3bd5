//! The list commands: their rows. Each file below holds the functions of a few that belong together.
//!
//! `read` only looks, `change` works on elements where they stand, `pop` takes them from an end, `transfer` moves them
//! from list to list. What blocks is served here if it can be served at once; the waiting is done elsewhere.

mod change;
#[cfg(test)]
pub(in crate::command) mod differential;
pub mod pop;
mod read;
pub mod transfer;

use std::ops::Range;

use super::spec::{Doc, Flags, Group, KeySpec, Run, Spec, Spread, Steps};
use crate::base::error::CommandError;
use crate::ds::list::End;
use crate::ds::listpack::Packed;
use crate::resp::Reply;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENYOOM);
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
/// A write that takes no memory, and so works without any left.
const REMOVE: Flags = Flags::WRITE;
const REMOVE_FAST: Flags = REMOVE.with(Flags::FAST);

const POPPED_FLAGS: &[&str] = &["RW", "access", "delete"];
const LOOKED_AT: &[KeySpec] = &[KeySpec::one(1, &["RO"])];
const ACCESSED: &[KeySpec] = &[KeySpec::one(1, &["RO", "access"])];
const INSERTED: &[KeySpec] = &[KeySpec::one(1, &["RW", "insert"])];
const UPDATED: &[KeySpec] = &[KeySpec::one(1, &["RW", "update"])];
const DELETED: &[KeySpec] = &[KeySpec::one(1, &["RW", "delete"])];
const POPPED: &[KeySpec] = &[KeySpec::one(1, POPPED_FLAGS)];
const FROM_TO: &[KeySpec] = &[KeySpec::one(1, POPPED_FLAGS), KeySpec::one(2, &["RW", "insert"])];
/// All but the timeout.
const ALL_POPPED: &[KeySpec] = &[KeySpec { first: 1, last: -2, step: 1, flags: POPPED_FLAGS }];
const COUNTED: &[KeySpec] = &[KeySpec::counted(1, POPPED_FLAGS)];
const COUNTED_BLOCKING: &[KeySpec] = &[KeySpec::counted(2, POPPED_FLAGS)];

const PUSH_COST: &str =
    "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.";
const POP_COST: &str = "O(N) where N is the number of elements returned";
const POPS_COST: &str =
    "O(N+M) where N is the number of provided keys and M is the number of elements returned.";

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    Spec::new(
        "blmove",
        6,
        Run::Shard(transfer::blmove, Spread::Steps(Steps::ListMove)),
        doc(
            "Takes an element from an end of a list, adds it at an end of another and replies with it; waits for one.",
            "6.2.0",
            "O(1)",
            "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        ),
    )
    .flags(WRITE.with(Flags::BLOCKING))
    .keys(FROM_TO),
    Spec::new(
        "blmpop",
        -5,
        Run::Shard(pop::blmpop, Spread::Steps(Steps::First)),
        doc(
            "Takes elements from an end of the first list that has any and replies with them; waits for one.",
            "7.0.0",
            POPS_COST,
            "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ),
    )
    .flags(REMOVE.with(Flags::BLOCKING))
    .keys(COUNTED_BLOCKING),
    Spec::new(
        "blpop",
        -3,
        Run::Shard(pop::blpop, Spread::Steps(Steps::First)),
        doc(
            "Takes the first element of the first list that has any and replies with it; waits for one.",
            "2.0.0",
            "O(N) where N is the number of provided keys.",
            "key [key ...] timeout",
        ),
    )
    .flags(REMOVE.with(Flags::BLOCKING))
    .keys(ALL_POPPED),
    Spec::new(
        "brpop",
        -3,
        Run::Shard(pop::brpop, Spread::Steps(Steps::First)),
        doc(
            "Takes the last element of the first list that has any and replies with it; waits for one.",
            "2.0.0",
            "O(N) where N is the number of provided keys.",
            "key [key ...] timeout",
        ),
    )
    .flags(REMOVE.with(Flags::BLOCKING))
    .keys(ALL_POPPED),
    Spec::new(
        "brpoplpush",
        4,
        Run::Shard(transfer::brpoplpush, Spread::Steps(Steps::ListMove)),
        doc(
            "Takes the last element of a list, adds it at the front of another and replies with it; waits for one.",
            "2.2.0",
            "O(1)",
            "source destination timeout",
        ),
    )
    .flags(WRITE.with(Flags::BLOCKING))
    .keys(FROM_TO)
    .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    Spec::new(
        "lindex",
        3,
        Run::Shard(read::lindex, Spread::One),
        doc(
            "Replies with the element of a list at an index.",
            "1.0.0",
            "O(N) where N is the number of elements to traverse to get to the element at index. This makes \
             asking for the first or the last element of the list O(1).",
            "key index",
        ),
    )
    .flags(READ)
    .keys(ACCESSED),
    Spec::new(
        "linsert",
        5,
        Run::Shard(change::linsert, Spread::One),
        doc(
            "Adds an element to a list before or after another.",
            "2.2.0",
            "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that \
             inserting somewhere on the left end on the list (head) can be considered O(1) and inserting \
             somewhere on the right end (tail) is O(N).",
            "key <BEFORE | AFTER> pivot element",
        ),
    )
    .flags(WRITE)
    .keys(INSERTED),
    Spec::new(
        "llen",
        2,
        Run::Shard(read::llen, Spread::One),
        doc("Replies with the number of elements of a list.", "1.0.0", "O(1)", "key"),
    )
    .flags(READ_FAST)
    .keys(LOOKED_AT),
    Spec::new(
        "lmove",
        5,
        Run::Shard(transfer::lmove, Spread::Steps(Steps::ListMove)),
        doc(
            "Takes an element from an end of a list, adds it at an end of another and replies with it.",
            "6.2.0",
            "O(1)",
            "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        ),
    )
    .flags(WRITE)
    .keys(FROM_TO),
    Spec::new(
        "lmpop",
        -4,
        Run::Shard(pop::lmpop, Spread::Steps(Steps::First)),
        doc(
            "Takes elements from an end of the first list that has any and replies with them.",
            "7.0.0",
            POPS_COST,
            "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ),
    )
    .flags(REMOVE)
    .keys(COUNTED),
    Spec::new(
        "lpop",
        -2,
        Run::Shard(pop::lpop, Spread::One),
        doc("Takes the first elements of a list and replies with them.", "1.0.0", POP_COST, "key [count]"),
    )
    .flags(REMOVE_FAST)
    .keys(POPPED),
    Spec::new(
        "lpos",
        -3,
        Run::Shard(read::lpos, Spread::One),
        doc(
            "Replies with the indexes of an element in a list.",
            "6.0.6",
            "O(N) where N is the number of elements in the list, for the average case. When searching for \
             elements near the head or the tail of the list, or when the MAXLEN option is provided, the command \
             may run in constant time.",
            "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        ),
    )
    .flags(READ)
    .keys(ACCESSED),
    Spec::new(
        "lpush",
        -3,
        Run::Shard(change::lpush, Spread::One),
        doc(
            "Adds elements at the front of a list, which is created where there is none.",
            "1.0.0",
            PUSH_COST,
            "key element [element ...]",
        ),
    )
    .flags(WRITE_FAST)
    .keys(INSERTED),
    Spec::new(
        "lpushx",
        -3,
        Run::Shard(change::lpushx, Spread::One),
        doc("Adds elements at the front of a list that exists.", "2.2.0", PUSH_COST, "key element [element ...]"),
    )
    .flags(WRITE_FAST)
    .keys(INSERTED),
    Spec::new(
        "lrange",
        4,
        Run::Shard(read::lrange, Spread::One),
        doc(
            "Replies with the elements of a list between two indexes, both included.",
            "1.0.0",
            "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or \
             TAIL) for large lists; and N is the number of elements in the specified range.",
            "key start stop",
        ),
    )
    .flags(READ)
    .keys(ACCESSED),
    Spec::new(
        "lrem",
        4,
        Run::Shard(change::lrem, Spread::One),
        doc(
            "Removes elements of a value from a list, from the front, from the back or all.",
            "1.0.0",
            "O(N+M) where N is the length of the list and M is the number of elements removed.",
            "key count element",
        ),
    )
    .flags(REMOVE)
    .keys(DELETED),
    Spec::new(
        "lset",
        4,
        Run::Shard(change::lset, Spread::One),
        doc(
            "Sets the element of a list at an index.",
            "1.0.0",
            "O(N) where N is the length of the list. Setting either the first or the last element of the list is \
             O(1).",
            "key index element",
        ),
    )
    .flags(WRITE)
    .keys(UPDATED),
    Spec::new(
        "ltrim",
        4,
        Run::Shard(change::ltrim, Spread::One),
        doc(
            "Removes all elements of a list but those between two indexes.",
            "1.0.0",
            "O(N) where N is the number of elements to be removed by the operation.",
            "key start stop",
        ),
    )
    .flags(REMOVE)
    .keys(DELETED),
    Spec::new(
        "rpop",
        -2,
        Run::Shard(pop::rpop, Spread::One),
        doc("Takes the last elements of a list and replies with them.", "1.0.0", POP_COST, "key [count]"),
    )
    .flags(REMOVE_FAST)
    .keys(POPPED),
    Spec::new(
        "rpoplpush",
        3,
        Run::Shard(transfer::rpoplpush, Spread::Steps(Steps::ListMove)),
        doc(
            "Takes the last element of a list, adds it at the front of another and replies with it.",
            "1.2.0",
            "O(1)",
            "source destination",
        ),
    )
    .flags(WRITE)
    .keys(FROM_TO)
    .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    Spec::new(
        "rpush",
        -3,
        Run::Shard(change::rpush, Spread::One),
        doc(
            "Adds elements at the back of a list, which is created where there is none.",
            "1.0.0",
            PUSH_COST,
            "key element [element ...]",
        ),
    )
    .flags(WRITE_FAST)
    .keys(INSERTED),
    Spec::new(
        "rpushx",
        -3,
        Run::Shard(change::rpushx, Spread::One),
        doc("Adds elements at the back of a list that exists.", "2.2.0", PUSH_COST, "key element [element ...]"),
    )
    .flags(WRITE_FAST)
    .keys(INSERTED),
];

const fn doc(
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group: Group::List, complexity, syntax }
}

/// Replies with an element as a string.
#[inline]
fn reply_element(reply: &mut Reply<'_>, element: Packed<'_>) {
    match element {
        Packed::Int(number) => reply.bulk_int(number),
        Packed::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// The end that an argument names.
fn parse_end(text: &[u8]) -> Result<End, CommandError> {
    if text.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if text.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(CommandError::SYNTAX)
    }
}

/// The place that an index means, which counts from the end where negative; `None` where there is none.
fn place(index: i64, len: usize) -> Option<usize> {
    let place = if index < 0 { index + len as i64 } else { index };
    usize::try_from(place).ok().filter(|&place| place < len)
}

/// The places that two indexes mean, both included, which count from the end where negative.
fn range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let start = if start < 0 { (start + len).max(0) } else { start };
    let stop = if stop < 0 { stop + len } else { stop.min(len - 1) };
    if start > stop {
        return 0..0;
    }
    start as usize..stop as usize + 1
}
