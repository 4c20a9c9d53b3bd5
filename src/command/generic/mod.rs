//! The generic commands: those on keys of any type and on whole databases. Rows here, functions in the files beside.
//!
//! `keys` asks about or removes keys, `expire` sets and tells their time to live, `transfer` copies and renames them,
//! `dump` shows them as a file would have them, `restore` makes them of that, `migrate` takes them to another server,
//! `object` looks behind them, `scan` walks
//! over them, `database` acts on all of them. Only one shard's keys are dealt with here; each row says how the shards'
//! replies become the client's.

mod database;
#[cfg(test)]
pub(in crate::command) mod differential;
mod dump;
mod expire;
mod keys;
mod migrate;
mod object;
mod restore;
mod scan;
mod sort;
#[cfg(test)]
pub(in crate::command) mod sort_differential;
mod transfer;

use super::spec::{Categories, Doc, Flags, Group, Handler, KeySpec, Run, Spec, Spread, Steps};

pub use migrate::{secrets_of_migrate, MigrateOptions};
pub(in crate::command) use object::refcount_of;
pub use scan::cursor_shard;
pub(in crate::command) use scan::{parse_cursor, write_page, ScanOptions, Walk};
pub(in crate::command) use sort::sort_keys;
pub use sort::SortOptions;
pub use transfer::CopyOptions;

const RESTORE_COST: &str =
    "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of \
     Redis objects composing the value and M their average size. For small string values the time complexity is thus \
     O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) \
     because inserting values into sorted sets is O(log(N)).";

const RESTORE_SYNTAX: &str =
    "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]";

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row(
        "copy",
        -3,
        Run::Shard(transfer::copy, Spread::Steps(Steps::Copy)),
        "Gives a key's value to another key as well.",
        "6.2.0",
        "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
        "source destination [DB destination-db] [REPLACE]",
    )
    .flags(Flags::WRITE.with(Flags::DENYOOM))
    .keys(&[KeySpec::one(1, &["RO", "access"]), KeySpec::one(2, &["OW", "update"])]),
    row(
        "del",
        -2,
        Run::Shard(keys::del, Spread::Sum),
        "Removes keys and tells how many there were.",
        "1.0.0",
        "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a \
         string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, \
         sorted set or hash. Removing a single key that holds a string value is O(1).",
        "key [key ...]",
    )
    .flags(Flags::WRITE)
    .keys(&[KeySpec::rest(1, 1, &["RM", "delete"])])
    .tips(BY_KEYS),
    row(
        "dump",
        2,
        one(dump::dump),
        "Gives a key's value in a form that RESTORE takes.",
        "2.6.0",
        "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects \
         composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) \
         where M is small, so simply O(1).",
        "key",
    )
    .flags(Flags::READONLY)
    .keys(&[KeySpec::one(1, &["RO", "access"])])
    .tips(CHANGING),
    row(
        "exists",
        -2,
        Run::Shard(keys::exists, Spread::Sum),
        "Tells how many of the keys there are; one named twice counts twice.",
        "1.0.0",
        "O(N) where N is the number of keys to check.",
        "key [key ...]",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::rest(1, 1, &["RO"])])
    .tips(BY_KEYS),
    row(
        "expire",
        -3,
        one(expire::expire),
        "Sets for how many seconds a key lives on.",
        "1.0.0",
        "O(1)",
        "key seconds [NX | XX | GT | LT]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "update"])]),
    row(
        "pexpire",
        -3,
        one(expire::pexpire),
        "Sets for how many milliseconds a key lives on.",
        "2.6.0",
        "O(1)",
        "key milliseconds [NX | XX | GT | LT]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "update"])]),
    row(
        "expireat",
        -3,
        one(expire::expireat),
        "Sets the Unix time, in seconds, at which a key expires.",
        "1.2.0",
        "O(1)",
        "key unix-time-seconds [NX | XX | GT | LT]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "update"])]),
    row(
        "pexpireat",
        -3,
        one(expire::pexpireat),
        "Sets the Unix time, in milliseconds, at which a key expires.",
        "2.6.0",
        "O(1)",
        "key unix-time-milliseconds [NX | XX | GT | LT]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "update"])]),
    row(
        "expiretime",
        2,
        one(expire::expiretime),
        "Tells the Unix time, in seconds, at which a key expires.",
        "7.0.0",
        "O(1)",
        "key",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::one(1, &["RO", "access"])]),
    row(
        "pexpiretime",
        2,
        one(expire::pexpiretime),
        "Tells the Unix time, in milliseconds, at which a key expires.",
        "7.0.0",
        "O(1)",
        "key",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::one(1, &["RO", "access"])]),
    row(
        "keys",
        2,
        Run::Shard(scan::keys, Spread::EveryConcat),
        "Lists the keys whose names match a pattern.",
        "1.0.0",
        "O(N) with N being the number of keys in the database, under the assumption that the key names in the \
         database and the given pattern have limited length.",
        "pattern",
    )
    .flags(Flags::READONLY)
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
    .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    row(
        "migrate",
        -6,
        Run::Shard(migrate::migrate, Spread::Steps(Steps::Migrate)),
        "Moves keys to another server, all at once as far as anybody here can tell.",
        "2.6.0",
        "This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target instance. See \
         the pages of these commands for time complexity. Also an O(N) data transfer between the two instances is \
         performed.",
        "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] \
         [KEYS key [key ...]]",
    )
    .flags(Flags::WRITE)
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
    .keys(&[
        KeySpec {
            first: 3,
            last: KeySpec::UNLESS_LISTED,
            step: 1,
            flags: &["RW", "access", "delete"],
        },
        KeySpec {
            first: 6,
            last: KeySpec::LISTED,
            step: 1,
            flags: &["RW", "access", "delete", "incomplete"],
        },
    ])
    .tips(CHANGING),
    row(
        "move",
        3,
        one(transfer::move_key),
        "Takes a key out of the database and puts it into another one.",
        "1.0.0",
        "O(1)",
        "key db",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "access", "update"])]),
    Spec::new(
        "object",
        -2,
        Run::Container,
        doc(Group::Generic, "Looks behind a key's value.", "2.2.3", "Depends on subcommand.", ""),
    )
    .subcommands(OBJECT_SPECS),
    row(
        "persist",
        2,
        one(expire::persist),
        "Makes a key live for ever.",
        "2.2.0",
        "O(1)",
        "key",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "update"])]),
    row(
        "randomkey",
        1,
        Run::Shard(scan::randomkey, Spread::EveryDraw),
        "Draws a key of the database.",
        "1.0.0",
        "O(1)",
        "",
    )
    .flags(Flags::READONLY)
    .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    row(
        "rename",
        3,
        Run::Shard(transfer::rename, Spread::Steps(Steps::Rename)),
        "Gives a key another name, in place of the key that has it.",
        "1.0.0",
        "O(1)",
        "key newkey",
    )
    .flags(Flags::WRITE)
    .keys(&[KeySpec::one(1, &["RW", "access", "delete"]), KeySpec::one(2, &["OW", "update"])]),
    row(
        "renamenx",
        3,
        Run::Shard(transfer::renamenx, Spread::Steps(Steps::Rename)),
        "Gives a key another name if no key has it.",
        "1.0.0",
        "O(1)",
        "key newkey",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::one(1, &["RW", "access", "delete"]), KeySpec::one(2, &["OW", "insert"])]),
    row(
        "restore",
        -4,
        one(restore::restore),
        "Makes a key of what DUMP gave.",
        "2.6.0",
        RESTORE_COST,
        RESTORE_SYNTAX,
    )
    .flags(Flags::WRITE.with(Flags::DENYOOM))
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
    .keys(&[KeySpec::one(1, &["OW", "update"])]),
    server_row(
        "restore-asking",
        -4,
        one(restore::restore),
        "Makes a key of what DUMP gave, while its slot is imported.",
        "3.0.0",
        RESTORE_COST,
        RESTORE_SYNTAX,
    )
    .flags(Flags::WRITE.with(Flags::DENYOOM).with(Flags::ASKING).with(Flags::SYSCMD))
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
    .keys(&[KeySpec::one(1, &["OW", "update"])]),
    row(
        "scan",
        -2,
        Run::Shard(scan::scan, Spread::Cursor),
        "Walks over the keys of the database, a page at a time.",
        "2.8.0",
        "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return \
         back to 0. N is the number of elements inside the collection.",
        "cursor [MATCH pattern] [COUNT count] [TYPE type]",
    )
    .flags(Flags::READONLY)
    .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    sort_row(
        "sort",
        sort::sort,
        "Sorts the elements of a list, set or sorted set.",
        "1.0.0",
        "key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA] \
         [STORE destination]",
    )
    .flags(Flags::WRITE.with(Flags::DENYOOM))
    .keys(&[
        SORTED,
        SORTED_BY,
        KeySpec { first: 2, last: KeySpec::STORED, step: 1, flags: &["OW", "update"] },
    ]),
    sort_row(
        "sort_ro",
        sort::sort_ro,
        "Sorts the elements of a list, set or sorted set, and never stores them.",
        "7.0.0",
        "key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA]",
    )
    .flags(Flags::READONLY)
    .keys(&[SORTED, SORTED_BY]),
    row(
        "touch",
        -2,
        Run::Shard(keys::touch, Spread::Sum),
        "Counts as a use of the keys and tells how many there are.",
        "3.2.1",
        "O(N) where N is the number of keys that will be touched.",
        "key [key ...]",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::rest(1, 1, &["RO"])])
    .tips(BY_KEYS),
    row(
        "ttl",
        2,
        one(expire::ttl),
        "Tells for how many seconds a key lives on.",
        "1.0.0",
        "O(1)",
        "key",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::one(1, &["RO", "access"])])
    .tips(CHANGING),
    row(
        "pttl",
        2,
        one(expire::pttl),
        "Tells for how many milliseconds a key lives on.",
        "2.6.0",
        "O(1)",
        "key",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::one(1, &["RO", "access"])])
    .tips(CHANGING),
    row(
        "type",
        2,
        one(keys::type_of),
        "Tells the type of a key's value.",
        "1.0.0",
        "O(1)",
        "key",
    )
    .flags(READ_FAST)
    .keys(&[KeySpec::one(1, &["RO"])]),
    row(
        "unlink",
        -2,
        Run::Shard(keys::del, Spread::Sum),
        "Removes keys and leaves the freeing of large values for later.",
        "4.0.0",
        "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in \
         order to reclaim memory, where N is the number of allocations the deleted objects where composed of.",
        "key [key ...]",
    )
    .flags(WRITE_FAST)
    .keys(&[KeySpec::rest(1, 1, &["RM", "delete"])])
    .tips(BY_KEYS),
    server_row(
        "dbsize",
        1,
        Run::Shard(database::dbsize, Spread::EverySum),
        "Tells how many keys the database has.",
        "1.0.0",
        "O(1)",
        "",
    )
    .flags(READ_FAST)
    .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    server_row(
        "flushdb",
        -1,
        Run::Shard(database::flushdb, Spread::EveryOk),
        "Empties the database.",
        "1.0.0",
        "O(N) where N is the number of keys in the selected database",
        "[ASYNC | SYNC]",
    )
    .flags(Flags::WRITE)
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
    .tips(ON_ALL),
    server_row(
        "flushall",
        -1,
        Run::Shard(database::flushall, Spread::EveryOk),
        "Empties all databases.",
        "1.0.0",
        "O(N) where N is the total number of keys in all databases",
        "[ASYNC | SYNC]",
    )
    .flags(Flags::WRITE)
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
    .tips(ON_ALL),
    server_row(
        "swapdb",
        3,
        Run::Shard(database::swapdb, Spread::EveryOk),
        "Exchanges two databases, so that each client sees the other's keys.",
        "4.0.0",
        "O(N) where N is the count of clients watching or blocking on keys from both databases.",
        "index1 index2",
    )
    .flags(WRITE_FAST)
    .categories(Categories::KEYSPACE.with(Categories::DANGEROUS)),
];

static OBJECT_SPECS: &[Spec] = &[
    object_row("object|encoding", object::encoding, "Tells how a key's value is held.", "2.2.3"),
    object_row(
        "object|freq",
        object::freq,
        "Tells how often a key is used, on a logarithmic scale.",
        "4.0.0",
    ),
    row("object|help", 2, one(object::help), "Explains the subcommands.", "6.2.0", "O(1)", "")
        .flags(Flags::LOADING.with(Flags::STALE)),
    object_row("object|idletime", object::idletime, "Tells for how long a key has not been used.", "2.2.3"),
    object_row("object|refcount", object::refcount, "Tells how many references a key's value has.", "2.2.3"),
];

/// Tips to proxies: the keys may be divided, the counts are added up.
const BY_KEYS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
/// Tips to proxies: to be done everywhere.
const ON_ALL: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
/// A tip to whoever compares replies: this one depends on when it is asked for.
const CHANGING: &[&str] = &["nondeterministic_output"];

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

const fn one(handler: Handler) -> Run {
    Run::Shard(handler, Spread::One)
}

const fn doc(
    group: Group,
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Doc {
    Doc { summary, since, group, complexity, syntax }
}

/// A command that COMMAND DOCS lists as generic.
const fn row(
    name: &'static str,
    arity: i8,
    run: Run,
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Spec {
    Spec::new(name, arity, run, doc(Group::Generic, summary, since, complexity, syntax))
        .categories(Categories::KEYSPACE)
}

/// A command that COMMAND DOCS lists under the server, though it is about keys.
const fn server_row(
    name: &'static str,
    arity: i8,
    run: Run,
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
    syntax: &'static str,
) -> Spec {
    Spec::new(name, arity, run, doc(Group::Server, summary, since, complexity, syntax))
        .categories(Categories::KEYSPACE)
}

const fn object_row(
    name: &'static str,
    handler: Handler,
    summary: &'static str,
    since: &'static str,
) -> Spec {
    row(name, 3, one(handler), summary, since, "O(1)", "key")
        .flags(Flags::READONLY)
        .keys(OBJECT_KEYS)
        .tips(CHANGING)
}

/// SORT is listed under the types that it sorts, and is dangerous: it may take long.
const fn sort_row(
    name: &'static str,
    handler: Handler,
    summary: &'static str,
    since: &'static str,
    syntax: &'static str,
) -> Spec {
    const COST: &str =
        "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned \
         elements. When the elements are not sorted, complexity is O(N).";
    let run = Run::Shard(handler, Spread::Steps(Steps::Sort));
    let types = Categories::SET.with(Categories::SORTEDSET).with(Categories::LIST);
    Spec::new(name, -2, run, doc(Group::Generic, summary, since, COST, syntax))
        .categories(types.with(Categories::DANGEROUS))
}

const SORTED: KeySpec = KeySpec::one(1, &["RO", "access"]);
/// The patterns of BY and GET become names only with the elements.
const SORTED_BY: KeySpec = KeySpec { first: 2, last: KeySpec::UNNAMED, step: 1, flags: &["RO", "access"] };

/// The subcommand's name stands before the key.
const OBJECT_KEYS: &[KeySpec] = &[KeySpec::one(2, &["RO"])];

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, arity, flags, categories that do not follow from the flags, tips, then of each group of keys
    /// `first:last:step` and its flags: what COMMAND INFO of redis-server 7.0.15 answers, with the tips of 7.2.
    const REDIS: &str = "\
        copy -3 write,denyoom keyspace - 1:0:1=RO,access 2:0:1=OW,update
        del -2 write keyspace request_policy:multi_shard,response_policy:agg_sum 1:-1:1=RM,delete
        dump 2 readonly keyspace nondeterministic_output 1:0:1=RO,access
        exists -2 readonly,fast keyspace request_policy:multi_shard,response_policy:agg_sum 1:-1:1=RO
        expire -3 write,fast keyspace - 1:0:1=RW,update
        pexpire -3 write,fast keyspace - 1:0:1=RW,update
        expireat -3 write,fast keyspace - 1:0:1=RW,update
        pexpireat -3 write,fast keyspace - 1:0:1=RW,update
        expiretime 2 readonly,fast keyspace - 1:0:1=RO,access
        pexpiretime 2 readonly,fast keyspace - 1:0:1=RO,access
        keys 2 readonly keyspace,dangerous request_policy:all_shards,nondeterministic_output_order
        migrate -6 write keyspace,dangerous nondeterministic_output 3:-125:1=RW,access,delete \
        6:-124:1=RW,access,delete,incomplete
        move 3 write,fast keyspace - 1:0:1=RW,access,update
        object -2 - - -
        persist 2 write,fast keyspace - 1:0:1=RW,update
        randomkey 1 readonly keyspace request_policy:all_shards,response_policy:special,nondeterministic_output
        rename 3 write keyspace - 1:0:1=RW,access,delete 2:0:1=OW,update
        renamenx 3 write,fast keyspace - 1:0:1=RW,access,delete 2:0:1=OW,insert
        restore -4 write,denyoom keyspace,dangerous - 1:0:1=OW,update
        restore-asking -4 write,denyoom,asking keyspace,dangerous - 1:0:1=OW,update
        scan -2 readonly keyspace nondeterministic_output,request_policy:special,response_policy:special
        sort -2 write,denyoom set,sortedset,list,dangerous - 1:0:1=RO,access 2:-127:1=RO,access 2:-126:1=OW,update
        sort_ro -2 readonly set,sortedset,list,dangerous - 1:0:1=RO,access 2:-127:1=RO,access
        touch -2 readonly,fast keyspace request_policy:multi_shard,response_policy:agg_sum 1:-1:1=RO
        ttl 2 readonly,fast keyspace nondeterministic_output 1:0:1=RO,access
        pttl 2 readonly,fast keyspace nondeterministic_output 1:0:1=RO,access
        type 2 readonly,fast keyspace - 1:0:1=RO
        unlink -2 write,fast keyspace request_policy:multi_shard,response_policy:agg_sum 1:-1:1=RM,delete
        dbsize 1 readonly,fast keyspace request_policy:all_shards,response_policy:agg_sum
        flushdb -1 write keyspace,dangerous request_policy:all_shards,response_policy:all_succeeded
        flushall -1 write keyspace,dangerous request_policy:all_shards,response_policy:all_succeeded
        swapdb 3 write,fast keyspace,dangerous -
        object|encoding 3 readonly keyspace nondeterministic_output 2:0:1=RO
        object|freq 3 readonly keyspace nondeterministic_output 2:0:1=RO
        object|help 2 loading,stale keyspace -
        object|idletime 3 readonly keyspace nondeterministic_output 2:0:1=RO
        object|refcount 3 readonly keyspace nondeterministic_output 2:0:1=RO
    ";

    #[test]
    fn the_rows_are_those_of_redis() {
        let rows: Vec<String> = SPECS.iter().chain(OBJECT_SPECS).map(shown).collect();
        let redis: Vec<&str> = REDIS.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(rows, redis);
    }

    fn shown(spec: &Spec) -> String {
        let categories = [
            (Categories::KEYSPACE, "keyspace"),
            (Categories::SET, "set"),
            (Categories::SORTEDSET, "sortedset"),
            (Categories::LIST, "list"),
            (Categories::DANGEROUS, "dangerous"),
        ];
        let categories = categories.into_iter().filter(|&(category, _)| spec.categories.has(category));
        let listed =
            |names: Vec<&'static str>| if names.is_empty() { "-".to_owned() } else { names.join(",") };
        let mut words = vec![
            spec.name.to_owned(),
            spec.arity.to_string(),
            listed(spec.flags.names().collect()),
            listed(categories.map(|(_, name)| name).collect()),
            listed(spec.tips.to_vec()),
        ];
        for KeySpec { first, last, step, flags } in spec.keys {
            words.push(format!("{first}:{last}:{step}={}", flags.join(",")));
        }
        words.join(" ")
    }
}
