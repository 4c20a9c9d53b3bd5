//! The sorted set commands. Rows here, functions in the files beside.
//!
//! `update` adds members and changes scores, `member` looks at single members, `range` at ranges of them, `pop` takes
//! them from the ends, `random` draws them, `algebra` combines several sets. `bounds` reads what a range is, `reply`
//! writes members and scores. What a sorted set is and how it does these things stands in `ds::zset`.

mod algebra;
mod bounds;
#[cfg(test)]
pub(in crate::command) mod differential;
mod member;
pub mod pop;
mod random;
mod range;
mod reply;
#[cfg(test)]
mod tests;
mod update;

use super::spec::{Doc, Flags, Group, Handler, KeySpec, Run, Spec, Spread, Steps};

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
/// A write that takes memory.
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);

const ACCESSED: &[KeySpec] = &[KeySpec::one(1, &["RO", "access"])];
const DELETED: &[KeySpec] = &[KeySpec::one(1, &["RW", "delete"])];
const TAKEN: &[KeySpec] = &[KeySpec::one(1, &["RW", "access", "delete"])];
const SOURCES: &[KeySpec] = &[KeySpec::counted(1, &["RO", "access"])];
const DESTINATION_SOURCES: &[KeySpec] =
    &[KeySpec::one(1, &["OW", "update"]), KeySpec::counted(2, &["RO", "access"])];
/// All arguments but the last, which is a timeout.
const ALL_BUT_LAST_TAKEN: &[KeySpec] =
    &[KeySpec { first: 1, last: -2, step: 1, flags: &["RW", "access", "delete"] }];

/// What several commands cost.
const POP_COST: &str =
    "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.";
const BLOCKING_POP_COST: &str = "O(log(N)) with N being the number of elements in the sorted set.";
const MULTI_POP_COST: &str =
    "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, \
     and M being the number of elements popped.";
const RANGE_COST: &str =
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.";
const LIMITED_RANGE_COST: &str =
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. \
     If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).";
const REMOVAL_COST: &str =
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the \
     operation.";
const DIFFERENCE_COST: &str =
    "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the \
     first set, and K is the size of the result set.";
const INTERSECTION_COST: &str =
    "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted \
     sets and M being the number of elements in the resulting sorted set.";
const UNION_COST: &str =
    "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements \
     in the resulting sorted set.";

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row(
        "bzmpop",
        -5,
        pop::bzmpop,
        "Takes members from one end of the first of several sorted sets that has some; waits for one if none has.",
        "7.0.0",
        MULTI_POP_COST,
        "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
    )
    .spread(Spread::Steps(Steps::First))
    .flags(Flags::WRITE.with(Flags::BLOCKING))
    .keys(&[KeySpec::counted(2, &["RW", "access", "delete"])]),
    row(
        "bzpopmax",
        -3,
        pop::bzpopmax,
        "Takes the last member of the first of several sorted sets that has some; waits for one if none has.",
        "5.0.0",
        BLOCKING_POP_COST,
        "key [key ...] timeout",
    )
    .spread(Spread::Steps(Steps::First))
    .flags(WRITE_FAST.with(Flags::BLOCKING))
    .keys(ALL_BUT_LAST_TAKEN),
    row(
        "bzpopmin",
        -3,
        pop::bzpopmin,
        "Takes the first member of the first of several sorted sets that has some; waits for one if none has.",
        "5.0.0",
        BLOCKING_POP_COST,
        "key [key ...] timeout",
    )
    .spread(Spread::Steps(Steps::First))
    .flags(WRITE_FAST.with(Flags::BLOCKING))
    .keys(ALL_BUT_LAST_TAKEN),
    row(
        "zadd",
        -4,
        update::zadd,
        "Adds members to a sorted set, which is created if need be, or changes their scores.",
        "1.2.0",
        "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
        "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
    )
    .flags(GROW_FAST)
    .keys(&[KeySpec::one(1, &["RW", "update"])]),
    row("zcard", 2, member::zcard, "Tells how many members a sorted set has.", "1.2.0", "O(1)", "key")
        .flags(READ_FAST)
        .keys(&[KeySpec::one(1, &["RO"])]),
    row(
        "zcount",
        4,
        range::zcount,
        "Tells how many members have a score in a range.",
        "2.0.0",
        "O(log(N)) with N being the number of elements in the sorted set.",
        "key min max",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "zdiff",
        -3,
        algebra::zdiff,
        "Lists the members of the first sorted set that none of the others has.",
        "6.2.0",
        DIFFERENCE_COST,
        "numkeys key [key ...] [WITHSCORES]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(SOURCES),
    row(
        "zdiffstore",
        -4,
        algebra::zdiffstore,
        "Stores the members of the first sorted set that none of the others has.",
        "6.2.0",
        DIFFERENCE_COST,
        "destination numkeys key [key ...]",
    )
    .spread(Spread::Gather)
    .flags(GROW)
    .keys(DESTINATION_SOURCES),
    row(
        "zincrby",
        4,
        update::zincrby,
        "Adds a number to the score of a member; a missing member's score counts as 0.",
        "1.2.0",
        "O(log(N)) where N is the number of elements in the sorted set.",
        "key increment member",
    )
    .flags(GROW_FAST)
    .keys(&[KeySpec::one(1, &["RW", "access", "update"])]),
    row(
        "zinter",
        -3,
        algebra::zinter,
        "Lists the members that all the sorted sets have.",
        "6.2.0",
        INTERSECTION_COST,
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(SOURCES),
    row(
        "zintercard",
        -3,
        algebra::zintercard,
        "Tells how many members all the sorted sets have, counting up to a limit.",
        "7.0.0",
        "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
        "numkeys key [key ...] [LIMIT limit]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(SOURCES),
    row(
        "zinterstore",
        -4,
        algebra::zinterstore,
        "Stores the members that all the sorted sets have.",
        "2.0.0",
        INTERSECTION_COST,
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
    )
    .spread(Spread::Gather)
    .flags(GROW)
    .keys(DESTINATION_SOURCES),
    row(
        "zlexcount",
        4,
        range::zlexcount,
        "Tells how many members of a sorted set with equal scores lie in a range.",
        "2.8.9",
        "O(log(N)) with N being the number of elements in the sorted set.",
        "key min max",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "zmpop",
        -4,
        pop::zmpop,
        "Takes members from one end of the first of several sorted sets that has some.",
        "7.0.0",
        MULTI_POP_COST,
        "numkeys key [key ...] <MIN | MAX> [COUNT count]",
    )
    .spread(Spread::Steps(Steps::First))
    .flags(Flags::WRITE)
    .keys(&[KeySpec::counted(1, &["RW", "access", "delete"])]),
    row(
        "zmscore",
        -3,
        member::zmscore,
        "Replies with the scores of several members.",
        "6.2.0",
        "O(N) where N is the number of members being requested.",
        "key member [member ...]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "zpopmax",
        -2,
        pop::zpopmax,
        "Takes the last members out of a sorted set, the very last one first.",
        "5.0.0",
        POP_COST,
        "key [count]",
    )
    .flags(WRITE_FAST)
    .keys(TAKEN),
    row(
        "zpopmin",
        -2,
        pop::zpopmin,
        "Takes the first members out of a sorted set.",
        "5.0.0",
        POP_COST,
        "key [count]",
    )
    .flags(WRITE_FAST)
    .keys(TAKEN),
    row(
        "zrandmember",
        -2,
        random::zrandmember,
        "Replies with random members of a sorted set.",
        "6.2.0",
        "O(N) where N is the number of members returned",
        "key [count [WITHSCORES]]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .tips(&["nondeterministic_output"]),
    row(
        "zrange",
        -4,
        range::zrange,
        "Lists a range of a sorted set: by rank, by score, or by the members themselves.",
        "1.2.0",
        RANGE_COST,
        "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED),
    row(
        "zrangebylex",
        -4,
        range::zrangebylex,
        "Lists the members of a sorted set with equal scores that lie in a range.",
        "2.8.9",
        LIMITED_RANGE_COST,
        "key min max [LIMIT offset count]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    row(
        "zrangebyscore",
        -4,
        range::zrangebyscore,
        "Lists the members whose score lies in a range.",
        "1.0.5",
        LIMITED_RANGE_COST,
        "key min max [WITHSCORES] [LIMIT offset count]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    row(
        "zrangestore",
        -5,
        range::zrangestore,
        "Stores a range of a sorted set in another key.",
        "6.2.0",
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into \
         the destination key.",
        "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
    )
    .spread(Spread::Gather)
    .flags(GROW)
    .keys(&[KeySpec::one(1, &["OW", "update"]), KeySpec::one(2, &["RO", "access"])]),
    row(
        "zrank",
        -3,
        member::zrank,
        "Tells how many members of a sorted set come before a member.",
        "2.0.0",
        "O(log(N))",
        "key member [WITHSCORE]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "zrem",
        -3,
        update::zrem,
        "Removes members from a sorted set.",
        "1.2.0",
        "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.",
        "key member [member ...]",
    )
    .flags(WRITE_FAST)
    .keys(DELETED),
    row(
        "zremrangebylex",
        4,
        range::zremrangebylex,
        "Removes the members of a sorted set with equal scores that lie in a range.",
        "2.8.9",
        REMOVAL_COST,
        "key min max",
    )
    .flags(Flags::WRITE)
    .keys(DELETED),
    row(
        "zremrangebyrank",
        4,
        range::zremrangebyrank,
        "Removes the members of a range of ranks.",
        "2.0.0",
        REMOVAL_COST,
        "key start stop",
    )
    .flags(Flags::WRITE)
    .keys(DELETED),
    row(
        "zremrangebyscore",
        4,
        range::zremrangebyscore,
        "Removes the members whose score lies in a range.",
        "1.2.0",
        REMOVAL_COST,
        "key min max",
    )
    .flags(Flags::WRITE)
    .keys(DELETED),
    row(
        "zrevrange",
        -4,
        range::zrevrange,
        "Lists a range of ranks, counted from the last member.",
        "1.2.0",
        RANGE_COST,
        "key start stop [WITHSCORES]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    row(
        "zrevrangebylex",
        -4,
        range::zrevrangebylex,
        "Lists the members of a sorted set with equal scores that lie in a range, from the last to the first.",
        "2.8.9",
        LIMITED_RANGE_COST,
        "key max min [LIMIT offset count]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    row(
        "zrevrangebyscore",
        -4,
        range::zrevrangebyscore,
        "Lists the members whose score lies in a range, from the last to the first.",
        "2.2.0",
        LIMITED_RANGE_COST,
        "key max min [WITHSCORES] [LIMIT offset count]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    row(
        "zrevrank",
        -3,
        member::zrevrank,
        "Tells how many members of a sorted set come after a member.",
        "2.0.0",
        "O(log(N))",
        "key member [WITHSCORE]",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "zscan",
        -3,
        member::zscan,
        "Walks over the members of a sorted set, a page at each call.",
        "2.8.0",
        "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return \
         back to 0. N is the number of elements inside the collection.",
        "key cursor [MATCH pattern] [COUNT count]",
    )
    .flags(Flags::READONLY)
    .keys(ACCESSED)
    .tips(&["nondeterministic_output"]),
    row(
        "zscore",
        3,
        member::zscore,
        "Replies with the score of a member.",
        "1.2.0",
        "O(1)",
        "key member",
    )
    .flags(READ_FAST)
    .keys(ACCESSED),
    row(
        "zunion",
        -3,
        algebra::zunion,
        "Lists the members that any of the sorted sets has.",
        "6.2.0",
        UNION_COST,
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
    )
    .spread(Spread::Gather)
    .flags(Flags::READONLY)
    .keys(SOURCES),
    row(
        "zunionstore",
        -4,
        algebra::zunionstore,
        "Stores the members that any of the sorted sets has.",
        "2.0.0",
        "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of \
         elements in the resulting sorted set.",
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
    )
    .spread(Spread::Gather)
    .flags(GROW)
    .keys(DESTINATION_SOURCES),
];

const fn row(
    name: &'static str,
    arity: i8,
    function: Handler,
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Spec {
    let doc = Doc { summary, since, group: Group::Zset, complexity, syntax };
    Spec::new(name, arity, Run::Shard(function, Spread::One), doc)
}
