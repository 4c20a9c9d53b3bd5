//! The set commands. Rows here, functions in the files beside.
//!
//! `member` adds, removes, moves and looks up members, `random` draws them, `algebra` intersects, unites and subtracts
//! sets. What a set is and how it does these things stands in `ds::set`.

mod algebra;
#[cfg(test)]
pub(in crate::command) mod differential;
mod member;
mod random;

use super::spec::{Doc, Flags, Group, Handler, KeySpec, Run, Spec, Spread, Steps};
use crate::ds::listpack::Packed;
use crate::resp::Reply;

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row(
        "sadd",
        -3,
        member::sadd,
        "Adds members to a set, which is created if need be.",
        "1.0.0",
        "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.",
        "key member [member ...]",
    )
    .flags(WRITE_FAST.with(Flags::DENYOOM))
    .keys(&[KeySpec::one(1, &["RW", "insert"])]),
    row("scard", 2, member::scard, "Tells how many members a set has.", "1.0.0", "O(1)", "key")
        .flags(READ_FAST)
        .keys(&[KeySpec::one(1, &["RO"])]),
    row(
        "sdiff",
        -2,
        algebra::sdiff,
        "Lists the members of the first set that none of the others has.",
        "1.0.0",
        "O(N) where N is the total number of elements in all given sets.",
        "key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(ALL_READ)
    .tips(UNORDERED),
    row(
        "sdiffstore",
        -3,
        algebra::sdiffstore,
        "Stores the members of the first set that none of the others has.",
        "1.0.0",
        "O(N) where N is the total number of elements in all given sets.",
        "destination key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(Flags::WRITE.with(Flags::DENYOOM))
    .keys(&[KeySpec::one(1, &["OW", "update"]), KeySpec::rest(2, 1, &["RO", "access"])]),
    row(
        "sinter",
        -2,
        algebra::sinter,
        "Lists the members that all the sets have.",
        "1.0.0",
        "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
        "key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(ALL_READ)
    .tips(UNORDERED),
    row(
        "sintercard",
        -3,
        algebra::sintercard,
        "Tells how many members all the sets have, counting up to a limit.",
        "7.0.0",
        "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
        "numkeys key [key ...] [LIMIT limit]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(&[KeySpec::counted(1, &["RO", "access"])]),
    row(
        "sinterstore",
        -3,
        algebra::sinterstore,
        "Stores the members that all the sets have.",
        "1.0.0",
        "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.",
        "destination key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(Flags::WRITE.with(Flags::DENYOOM))
    .keys(&[KeySpec::one(1, &["RW", "update"]), KeySpec::rest(2, 1, &["RO", "access"])]),
    row("sismember", 3, member::sismember, "Tells whether a set has a member.", "1.0.0", "O(1)", "key member")
        .flags(READ_FAST)
        .keys(&[KeySpec::one(1, &["RO"])]),
    row(
        "smembers",
        2,
        member::smembers,
        "Lists the members of a set.",
        "1.0.0",
        "O(N) where N is the set cardinality.",
        "key",
    )
    .flags(Flags::READONLY)
    .keys(&[KeySpec::one(1, &["RO", "access"])])
    .tips(UNORDERED),
    row(
        "smismember",
        -3,
        member::smismember,
        "Tells of each of several members whether a set has it.",
        "6.2.0",
        "O(N) where N is the number of elements being checked for membership",
        "key member [member ...]",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::one(1, &["RO", "access"])]),
    row(
        "smove",
        4,
        member::smove,
        "Takes a member out of a set and adds it to another one.",
        "1.0.0",
        "O(1)",
        "source destination member",
    )
    .spread(Spread::Steps(Steps::SetMove))
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "access", "delete"]), KeySpec::one(2, &["RW", "insert"])]),
    row(
        "spop",
        -2,
        random::spop,
        "Draws members of a set and removes them.",
        "1.0.0",
        "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
        "key [count]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "access", "delete"])])
    .tips(RANDOM),
    row(
        "srandmember",
        -2,
        random::srandmember,
        "Draws members of a set.",
        "1.0.0",
        "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
        "key [count]",
    )
    .flags(Flags::READONLY)
    .keys(&[KeySpec::one(1, &["RO", "access"])])
    .tips(RANDOM),
    row(
        "srem",
        -3,
        member::srem,
        "Removes members from a set, and a set without members.",
        "1.0.0",
        "O(N) where N is the number of members to be removed.",
        "key member [member ...]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "delete"])]),
    row(
        "sscan",
        -3,
        member::sscan,
        "Walks over the members of a set, a page at a time.",
        "2.8.0",
        "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return \
         back to 0. N is the number of elements inside the collection.",
        "key cursor [MATCH pattern] [COUNT count]",
    )
    .flags(Flags::READONLY)
    .keys(&[KeySpec::one(1, &["RO", "access"])])
    .tips(RANDOM),
    row(
        "sunion",
        -2,
        algebra::sunion,
        "Lists the members that any of the sets has.",
        "1.0.0",
        "O(N) where N is the total number of elements in all given sets.",
        "key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(ALL_READ)
    .tips(UNORDERED),
    row(
        "sunionstore",
        -3,
        algebra::sunionstore,
        "Stores the members that any of the sets has.",
        "1.0.0",
        "O(N) where N is the total number of elements in all given sets.",
        "destination key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(Flags::WRITE.with(Flags::DENYOOM))
    .keys(&[KeySpec::one(1, &["OW", "update"]), KeySpec::rest(2, 1, &["RO", "access"])]),
];

/// All arguments are keys that are read.
const ALL_READ: &[KeySpec] = &[KeySpec::rest(1, 1, &["RO", "access"])];
/// A tip to whoever compares replies: this one has no order.
const UNORDERED: &[&str] = &["nondeterministic_output_order"];
/// A tip to whoever compares replies: this one is left to chance.
const RANDOM: &[&str] = &["nondeterministic_output"];

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

const fn row(
    name: &'static str,
    arity: i8,
    handler: Handler,
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Spec {
    let doc = Doc { summary, since, group: Group::Set, complexity, syntax };
    Spec::new(name, arity, Run::Shard(handler, Spread::One), doc)
}

/// Writes a member as a string, in whichever form it comes.
#[inline]
fn write_member(reply: &mut Reply<'_>, member: Packed<'_>) {
    match member {
        Packed::Int(number) => reply.bulk_int(number),
        Packed::Bytes(bytes) => reply.bulk(bytes),
    }
}
