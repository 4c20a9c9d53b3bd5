//! The string commands: their rows. Each file below holds the functions of a few that belong together.
//!
//! `value` reads and writes whole strings, `part` pieces of them, `counter` takes them as numbers, `lcs` compares two;
//! `lifetime` reads the options that say when a key expires.

mod counter;
pub mod lcs;
mod lifetime;
mod part;
mod value;

use super::spec::{Doc, Flags, Group, KeySpec, Run, Spec, Spread, Steps};
use crate::keyspace::StringRef;
use crate::resp::Reply;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENYOOM);
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
/// A write that takes no memory, and so works without any left.
const REMOVE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

const LOOKED_AT: &[KeySpec] = &[KeySpec::one(1, &["RO"])];
const ACCESSED: &[KeySpec] = &[KeySpec::one(1, &["RO", "access"])];
const ACCESSED_UPDATED: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "update"])];
const ACCESSED_DELETED: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "delete"])];
const APPENDED: &[KeySpec] = &[KeySpec::one(1, &["RW", "insert"])];
const UPDATED: &[KeySpec] = &[KeySpec::one(1, &["RW", "update"])];
const OVERWRITTEN: &[KeySpec] = &[KeySpec::one(1, &["OW", "update"])];
const INSERTED: &[KeySpec] = &[KeySpec::one(1, &["OW", "insert"])];
/// Without GET it is only overwritten.
const SET_KEY: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "update", "variable_flags"])];
const PAIR_ACCESSED: &[KeySpec] = &[KeySpec { first: 1, last: 1, step: 1, flags: &["RO", "access"] }];
const ALL_ACCESSED: &[KeySpec] = &[KeySpec::rest(1, 1, &["RO", "access"])];
const ALL_OVERWRITTEN: &[KeySpec] = &[KeySpec::rest(1, 2, &["OW", "update"])];
const ALL_INSERTED: &[KeySpec] = &[KeySpec::rest(1, 2, &["OW", "insert"])];

/// What GETRANGE and SUBSTR cost.
const RANGE_COST: &str =
    "O(N) where N is the length of the returned string. The complexity is ultimately determined by the \
     returned length, but because creating a substring from an existing string is very cheap, it can be \
     considered O(1) for small strings.";

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    Spec::new(
        "append",
        3,
        Run::Shard(part::append, Spread::One),
        doc(
            "Adds bytes at the end of a string, which is created where there is none.",
            "2.0.0",
            "O(1). The amortized time complexity is O(1) assuming the appended value is small and the \
             already present value is of any size, since the dynamic string library used by Redis will \
             double the free space available on every reallocation.",
            "key value",
        ),
    )
    .flags(WRITE_FAST)
    .keys(APPENDED),
    Spec::new(
        "decr",
        2,
        Run::Shard(counter::decr, Spread::One),
        doc("Takes one from the integer at a key; a missing key counts as 0.", "1.0.0", "O(1)", "key"),
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    Spec::new(
        "decrby",
        3,
        Run::Shard(counter::decrby, Spread::One),
        doc(
            "Takes a number from the integer at a key; a missing key counts as 0.",
            "1.0.0",
            "O(1)",
            "key decrement",
        ),
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    Spec::new(
        "get",
        2,
        Run::Shard(value::get, Spread::One),
        doc("Replies with the string at a key.", "1.0.0", "O(1)", "key"),
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    Spec::new(
        "getdel",
        2,
        Run::Shard(value::getdel, Spread::One),
        doc("Replies with the string at a key and deletes the key.", "6.2.0", "O(1)", "key"),
    )
    .flags(REMOVE_FAST)
    .keys(ACCESSED_DELETED),
    Spec::new(
        "getex",
        -2,
        Run::Shard(value::getex, Spread::One),
        doc(
            "Replies with the string at a key and sets or clears the key's expiry.",
            "6.2.0",
            "O(1)",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | \
             PERSIST]",
        ),
    )
    .flags(REMOVE_FAST)
    .keys(ACCESSED_UPDATED),
    Spec::new(
        "getrange",
        4,
        Run::Shard(part::getrange, Spread::One),
        doc(
            "Replies with the part of a string between two offsets, both included.",
            "2.4.0",
            RANGE_COST,
            "key start end",
        ),
    )
    .flags(READ)
    .keys(ACCESSED),
    Spec::new(
        "getset",
        3,
        Run::Shard(value::getset, Spread::One),
        doc("Sets the string at a key and replies with the one before.", "1.0.0", "O(1)", "key value"),
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED)
    .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    Spec::new(
        "incr",
        2,
        Run::Shard(counter::incr, Spread::One),
        doc("Adds one to the integer at a key; a missing key counts as 0.", "1.0.0", "O(1)", "key"),
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    Spec::new(
        "incrby",
        3,
        Run::Shard(counter::incrby, Spread::One),
        doc(
            "Adds a number to the integer at a key; a missing key counts as 0.",
            "1.0.0",
            "O(1)",
            "key increment",
        ),
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    Spec::new(
        "incrbyfloat",
        3,
        Run::Shard(counter::incrbyfloat, Spread::One),
        doc(
            "Adds a number with a fraction to the number at a key; a missing key counts as 0.",
            "2.6.0",
            "O(1)",
            "key increment",
        ),
    )
    .flags(WRITE_FAST)
    .keys(ACCESSED_UPDATED),
    Spec::new(
        "lcs",
        -3,
        Run::Shard(lcs::lcs, Spread::Gather),
        doc(
            "Finds the longest subsequence of bytes that two strings have in common.",
            "7.0.0",
            "O(N*M) where N and M are the lengths of s1 and s2, respectively",
            "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        ),
    )
    .flags(READ)
    .keys(PAIR_ACCESSED),
    Spec::new(
        "mget",
        -2,
        Run::Shard(value::mget, Spread::Interleave),
        doc(
            "Replies with the strings at several keys, all of one moment.",
            "1.0.0",
            "O(N) where N is the number of keys to retrieve.",
            "key [key ...]",
        ),
    )
    .flags(READ_FAST)
    .keys(ALL_ACCESSED)
    .tips(&["request_policy:multi_shard"]),
    Spec::new(
        "mset",
        -3,
        Run::Shard(value::mset, Spread::Ok),
        doc(
            "Sets the strings at several keys, all in one moment.",
            "1.0.1",
            "O(N) where N is the number of keys to set.",
            "key value [key value ...]",
        ),
    )
    .flags(WRITE)
    .keys(ALL_OVERWRITTEN)
    .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    Spec::new(
        "msetnx",
        -3,
        Run::Shard(value::msetnx, Spread::Steps(Steps::Msetnx)),
        doc(
            "Sets the strings at several keys, all or none: none if one of the keys exists.",
            "1.0.1",
            "O(N) where N is the number of keys to set.",
            "key value [key value ...]",
        ),
    )
    .flags(WRITE)
    .keys(ALL_INSERTED),
    Spec::new(
        "psetex",
        4,
        Run::Shard(value::psetex, Spread::One),
        doc(
            "Sets the string at a key and its time to live in milliseconds.",
            "2.6.0",
            "O(1)",
            "key milliseconds value",
        ),
    )
    .flags(WRITE)
    .keys(OVERWRITTEN)
    .deprecated("2.6.12", "`SET` with the `PX` argument"),
    Spec::new(
        "set",
        -3,
        Run::Shard(value::set, Spread::One),
        doc(
            "Sets the string at a key, whatever it held.",
            "1.0.0",
            "O(1)",
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
             unix-time-milliseconds | KEEPTTL]",
        ),
    )
    .flags(WRITE)
    .keys(SET_KEY),
    Spec::new(
        "setex",
        4,
        Run::Shard(value::setex, Spread::One),
        doc(
            "Sets the string at a key and its time to live in seconds.",
            "2.0.0",
            "O(1)",
            "key seconds value",
        ),
    )
    .flags(WRITE)
    .keys(OVERWRITTEN)
    .deprecated("2.6.12", "`SET` with the `EX` argument"),
    Spec::new(
        "setnx",
        3,
        Run::Shard(value::setnx, Spread::One),
        doc("Sets the string at a key that does not exist.", "1.0.0", "O(1)", "key value"),
    )
    .flags(WRITE_FAST)
    .keys(INSERTED)
    .deprecated("2.6.12", "`SET` with the `NX` argument"),
    Spec::new(
        "setrange",
        4,
        Run::Shard(part::setrange, Spread::One),
        doc(
            "Overwrites a part of a string from an offset on; the string grows as needed.",
            "2.2.0",
            "O(1), not counting the time taken to copy the new string in place. Usually, this string is \
             very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being \
             the length of the value argument.",
            "key offset value",
        ),
    )
    .flags(WRITE)
    .keys(UPDATED),
    Spec::new(
        "strlen",
        2,
        Run::Shard(part::strlen, Spread::One),
        doc("Replies with the length of the string at a key.", "2.2.0", "O(1)", "key"),
    )
    .flags(READ_FAST)
    .keys(LOOKED_AT),
    Spec::new(
        "substr",
        4,
        Run::Shard(part::getrange, Spread::One),
        doc(
            "Replies with a part of a string, under the name that GETRANGE had first.",
            "1.0.0",
            RANGE_COST,
            "key start end",
        ),
    )
    .flags(READ)
    .keys(ACCESSED)
    .deprecated("2.0.0", "`GETRANGE`"),
];

const fn doc(
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group: Group::String, complexity, syntax }
}

/// Replies with a string, or that there is none.
#[inline]
fn reply_string(reply: &mut Reply<'_>, value: Option<StringRef<'_>>) {
    match value {
        Some(StringRef::Str(bytes)) => reply.bulk(bytes),
        Some(StringRef::Int(number)) => reply.bulk_int(number),
        None => reply.null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, arity, flags, flags of the keys, first key, last key, step: what `COMMAND INFO` of redis-server 7.0.15
    /// answers for the commands of this family.
    const REDIS: &str = "\
        append 3 write,denyoom,fast RW,insert 1 1 1
        decr 2 write,denyoom,fast RW,access,update 1 1 1
        decrby 3 write,denyoom,fast RW,access,update 1 1 1
        get 2 readonly,fast RO,access 1 1 1
        getdel 2 write,fast RW,access,delete 1 1 1
        getex -2 write,fast RW,access,update 1 1 1
        getrange 4 readonly RO,access 1 1 1
        getset 3 write,denyoom,fast RW,access,update 1 1 1
        incr 2 write,denyoom,fast RW,access,update 1 1 1
        incrby 3 write,denyoom,fast RW,access,update 1 1 1
        incrbyfloat 3 write,denyoom,fast RW,access,update 1 1 1
        lcs -3 readonly RO,access 1 2 1
        mget -2 readonly,fast RO,access 1 -1 1
        mset -3 write,denyoom OW,update 1 -1 2
        msetnx -3 write,denyoom OW,insert 1 -1 2
        psetex 4 write,denyoom OW,update 1 1 1
        set -3 write,denyoom RW,access,update,variable_flags 1 1 1
        setex 4 write,denyoom OW,update 1 1 1
        setnx 3 write,denyoom,fast OW,insert 1 1 1
        setrange 4 write,denyoom RW,update 1 1 1
        strlen 2 readonly,fast RO 1 1 1
        substr 4 readonly RO,access 1 1 1
    ";

    #[test]
    fn the_rows_are_those_of_redis() {
        let rows: Vec<String> = SPECS.iter().map(row).collect();
        let redis: Vec<&str> = REDIS.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(rows, redis);
    }

    fn row(spec: &Spec) -> String {
        let [keys] = spec.keys else { panic!("{} has one group of keys", spec.name) };
        // COMMAND INFO counts the last key from the start.
        let last = if keys.last < 0 { keys.last } else { keys.first as i8 + keys.last };
        let flags: Vec<_> = spec.flags.names().collect();
        let (flags, key_flags) = (flags.join(","), keys.flags.join(","));
        format!("{} {} {flags} {key_flags} {} {last} {}", spec.name, spec.arity, keys.first, keys.step)
    }
}
