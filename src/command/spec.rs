//! What a row of the command table says.
//!
//! A row is a constant: metadata that COMMAND reports, that routing and admission use, and the function that runs it.
//! Everything else about a command (ACL categories, the reply of COMMAND INFO and DOCS) is derived from its row.

use super::ctx::Ctx;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::resp::Args;

/// A function that runs a command on one shard and writes its reply.
///
/// # Errors
/// The refusal to send instead of whatever was replied so far. Nothing may have been changed by then.
pub type Handler = fn(&mut Ctx<'_, '_>, Args<'_>) -> Result<(), CommandError>;

/// One command, or one subcommand.
#[derive(Debug)]
pub struct Spec {
    /// Lower case; a subcommand's full name is `container|name`.
    pub name: &'static str,
    /// How many arguments with the name: exactly, or at least the absolute value where negative.
    pub arity: i8,
    /// What it does, as COMMAND INFO lists it and admission tests it.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Who runs it, and where.
    pub run: Run,
    /// ACL categories beyond those that follow from the flags and the group.
    pub categories: Categories,
    /// Hints for clients and proxies, as COMMAND INFO lists them (`request_policy:all_shards`).
    pub tips: &'static [&'static str],
    /// Since when it is deprecated, and in favour of what.
    pub deprecated: Option<Deprecated>,
    /// What COMMAND DOCS tells.
    pub doc: Doc,
    /// The subcommands of a container.
    pub subcommands: &'static [Spec],
}

/// Who runs a command.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// A function on the shard of its keys. Where keys lie on several shards, `Spread` says how it is put together.
    Shard(Handler, Spread),
    /// The client's session on its core: connection state (AUTH, SELECT, CLIENT ...).
    Session(SessionOp),
    /// The node, on behalf of all cores (CONFIG, INFO, SLOWLOG ...).
    Node(NodeOp),
    /// A container without meaning of its own: the subcommand runs.
    Container,
}

/// How a data command is done over several shards. Whatever it says, the command is atomic: the coordinator holds
/// intents on all its keys until every shard has done its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// It has one key, or must have all on one shard's row: goes to the shard of the first key.
    One,
    /// Each shard runs it on its keys; the integer replies are added up (DEL, EXISTS).
    Sum,
    /// Each shard runs it on its keys; the arrays' elements are put in the order of the keys (MGET).
    Interleave,
    /// Each shard runs it on its keys and their values; the reply is OK (MSET).
    Ok,
    /// Two steps, looking first and writing then; the coordinator knows each (RENAME, COPY, MSETNX).
    Steps(Steps),
    /// The shard of the first key runs it, with what the keys of the other shards hold lent to it; only the first key
    /// may be written (SUNIONSTORE, PFCOUNT). The function reads its sources by `Ctx::source` or `Ctx::sources`.
    Gather,
    /// Every shard, keys or none: integers are added up (DBSIZE).
    EverySum,
    /// Every shard: the arrays are joined (KEYS).
    EveryConcat,
    /// Every shard: the reply is OK, or the first error (FLUSHALL, SWAPDB).
    EveryOk,
    /// Every shard answers `[how many keys, one of them or null]`; one is drawn by weight (RANDOMKEY).
    EveryDraw,
    /// The shard that the cursor in argument 1 names; the function moves on to the next shard (SCAN).
    Cursor,
}

/// The commands over several shards that look before they write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// RENAME and RENAMENX.
    Rename,
    /// COPY.
    Copy,
    /// MSETNX.
    Msetnx,
    /// It runs on the first key that is there (LMPOP, BLPOP). A command with many keys and otherwise the same
    /// arguments must do the same when it is given that key alone.
    First,
    /// LMOVE, RPOPLPUSH and their blocking kin.
    ListMove,
    /// SMOVE.
    SetMove,
    /// SORT: it may read keys that the request does not name.
    Sort,
    /// MIGRATE: between the looking and the writing another server is asked. Never by a shard alone, also where one has
    /// all the keys.
    Migrate,
}

/// Commands that the session itself runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the command of its name")]
pub enum SessionOp {
    Auth,
    ClientCaching,
    ClientGetname,
    ClientGetredir,
    ClientHelp,
    ClientId,
    ClientInfo,
    ClientNoEvict,
    ClientNoTouch,
    ClientReply,
    ClientSetinfo,
    ClientSetname,
    ClientTracking,
    ClientTrackinginfo,
    Echo,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
    Command,
    CommandCount,
    CommandDocs,
    CommandGetkeys,
    CommandGetkeysandflags,
    CommandHelp,
    CommandInfo,
    CommandList,
    Discard,
    Exec,
    Lolwut,
    Multi,
    Psubscribe,
    Psync,
    Publish,
    PubsubHelp,
    Punsubscribe,
    Replconf,
    Spublish,
    Ssubscribe,
    Subscribe,
    Sunsubscribe,
    Time,
    Unsubscribe,
    Unwatch,
    Wait,
    Waitaof,
    Waitfor,
    Waittoken,
    Watch,
}

/// Commands that concern the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the command of its name")]
pub enum NodeOp {
    Bgrewriteaof,
    Bgsave,
    ClientKill,
    ClientList,
    ClientPause,
    ClientUnblock,
    ClientUnpause,
    ConfigGet,
    ConfigHelp,
    ConfigResetstat,
    ConfigRewrite,
    ConfigSet,
    Debug,
    Failover,
    Info,
    LatencyDoctor,
    LatencyGraph,
    LatencyHelp,
    LatencyHistogram,
    LatencyHistory,
    LatencyLatest,
    LatencyReset,
    Lastsave,
    MemoryDoctor,
    MemoryHelp,
    MemoryMallocStats,
    MemoryPurge,
    MemoryStats,
    MemoryUsage,
    ModuleHelp,
    ModuleList,
    Monitor,
    PubsubChannels,
    PubsubNumpat,
    PubsubNumsub,
    PubsubShardchannels,
    PubsubShardnumsub,
    Replicaof,
    Role,
    Save,
    Shutdown,
    SlowlogGet,
    SlowlogHelp,
    SlowlogLen,
    SlowlogReset,
}

/// A set of command flags, with Redis's meanings (COMMAND INFO).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// May change data.
    pub const WRITE: Flags = Flags(1);
    /// Only reads data.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need memory: refused when out of it.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Publish and subscribe.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not in scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// May block the client.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Works while the data set is loaded.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Works on a stale replica.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 11);
    /// Works before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 12);
    /// May be replicated though it is no write.
    pub const MAY_REPLICATE: Flags = Flags(1 << 13);
    /// Works while another command keeps the server busy.
    pub const ALLOW_BUSY: Flags = Flags(1 << 14);
    /// Where the keys are depends on the arguments.
    pub const MOVABLEKEYS: Flags = Flags(1 << 15);
    /// Works while loading in the background.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 16);
    /// Not inside MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 17);
    /// No client may send it; shards ask one another.
    pub const INTERNAL: Flags = Flags(1 << 18);
    /// May be sent without a key though it can have some.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 19);
    /// Refused unless the configuration enables it (`enable-debug-command`).
    pub const PROTECTED: Flags = Flags(1 << 20);
    /// Of use to developers of the server only; COMMAND DOCS says so.
    pub const SYSCMD: Flags = Flags(1 << 21);

    /// Works on a slot of a cluster that is being imported.
    pub const ASKING: Flags = Flags(1 << 22);

    /// Both sets together; for use in constants.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names that COMMAND INFO reports, in its order. The others (`may_replicate` and below) are for the server's
    /// own use, as in Redis.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::ASKING, "asking"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::MOVABLEKEYS, "movablekeys"),
            (Flags::ALLOW_BUSY, "allow_busy"),
        ]
        .into_iter()
        .filter(move |(flag, _)| self.has(*flag))
        .map(|(_, name)| name)
    }
}

/// A set of ACL categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(u32);

impl Categories {
    /// None beyond those that follow from flags and group.
    pub const NONE: Categories = Categories(0);
    /// `@keyspace`
    pub const KEYSPACE: Categories = Categories(1);
    /// `@read`
    pub const READ: Categories = Categories(1 << 1);
    /// `@write`
    pub const WRITE: Categories = Categories(1 << 2);
    /// `@set`
    pub const SET: Categories = Categories(1 << 3);
    /// `@sortedset`
    pub const SORTEDSET: Categories = Categories(1 << 4);
    /// `@list`
    pub const LIST: Categories = Categories(1 << 5);
    /// `@hash`
    pub const HASH: Categories = Categories(1 << 6);
    /// `@string`
    pub const STRING: Categories = Categories(1 << 7);
    /// `@bitmap`
    pub const BITMAP: Categories = Categories(1 << 8);
    /// `@hyperloglog`
    pub const HYPERLOGLOG: Categories = Categories(1 << 9);
    /// `@geo`
    pub const GEO: Categories = Categories(1 << 10);
    /// `@stream`
    pub const STREAM: Categories = Categories(1 << 11);
    /// `@pubsub`
    pub const PUBSUB: Categories = Categories(1 << 12);
    /// `@admin`
    pub const ADMIN: Categories = Categories(1 << 13);
    /// `@fast`
    pub const FAST: Categories = Categories(1 << 14);
    /// `@slow`
    pub const SLOW: Categories = Categories(1 << 15);
    /// `@blocking`
    pub const BLOCKING: Categories = Categories(1 << 16);
    /// `@dangerous`
    pub const DANGEROUS: Categories = Categories(1 << 17);
    /// `@connection`
    pub const CONNECTION: Categories = Categories(1 << 18);
    /// `@transaction`
    pub const TRANSACTION: Categories = Categories(1 << 19);
    /// `@scripting`
    pub const SCRIPTING: Categories = Categories(1 << 20);

    /// The families of commands: one of them says what a command works on.
    const FAMILIES: Categories = Categories(
        Categories::KEYSPACE.0
            | Categories::SET.0
            | Categories::SORTEDSET.0
            | Categories::LIST.0
            | Categories::HASH.0
            | Categories::STRING.0
            | Categories::BITMAP.0
            | Categories::HYPERLOGLOG.0
            | Categories::GEO.0
            | Categories::STREAM.0
            | Categories::PUBSUB.0
            | Categories::CONNECTION.0
            | Categories::TRANSACTION.0
            | Categories::SCRIPTING.0,
    );

    /// Both sets together.
    pub const fn with(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    pub const fn has(self, other: Categories) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in the set.
    pub const fn has_any(self, other: Categories) -> bool {
        self.0 & other.0 != 0
    }

    /// The category of this name, without the `@`, in either case.
    pub fn named(name: &[u8]) -> Option<Categories> {
        let place = CATEGORY_NAMES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some(Categories(1 << place))
    }

    /// The names, without the `@`, in Redis's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CATEGORY_NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, name)| name)
    }
}

/// The name of each bit of `Categories`.
const CATEGORY_NAMES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// That a command should no longer be used.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    /// The Redis version that deprecated it.
    pub since: &'static str,
    /// What to use instead.
    pub replaced_by: &'static str,
}

/// One group of keys among the arguments (Redis 7's key specifications).
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// The first key's argument; with `COUNTED` keys the argument that tells their number, after which they stand.
    pub first: u8,
    /// The last key's argument: relative to `first` where it is not negative, else counted from the end (-1 is the
    /// last argument). Or `COUNTED`, `UNNAMED`, `STORED`, `UNLESS_LISTED`, `LISTED`.
    pub last: i8,
    /// From one key to the next.
    pub step: u8,
    /// What is done with them, as COMMAND INFO names it: `RO`, `RW`, `OW`, `RM`, then `access`, `update`, `insert`,
    /// `delete`, `not_key`, `incomplete`, `variable_flags`.
    pub flags: &'static [&'static str],
}

impl KeySpec {
    /// Stands for the last key's argument where the request tells how many keys there are.
    pub const COUNTED: i8 = i8::MIN;

    /// Stands for the last key's argument where the names of the keys are not in the request (SORT's patterns).
    pub const UNNAMED: i8 = i8::MIN + 1;

    /// Stands for the last key's argument where the key stands after the word STORE, somewhere from `first` on.
    pub const STORED: i8 = i8::MIN + 2;

    /// Stands for the last key's argument where `first` is a key only if the keys are not listed elsewhere (MIGRATE).
    pub const UNLESS_LISTED: i8 = i8::MIN + 3;

    /// Stands for the last key's argument where the keys stand after the word KEYS, somewhere from `first` on, up to
    /// the end.
    pub const LISTED: i8 = i8::MIN + 4;

    /// One key at argument `first`.
    pub const fn one(first: u8, flags: &'static [&'static str]) -> KeySpec {
        KeySpec { first, last: 0, step: 1, flags }
    }

    /// All arguments from `first` on, every `step`th.
    pub const fn rest(first: u8, step: u8, flags: &'static [&'static str]) -> KeySpec {
        KeySpec { first, last: -1, step, flags }
    }

    /// As many as argument `number` says, after it.
    pub const fn counted(number: u8, flags: &'static [&'static str]) -> KeySpec {
        KeySpec { first: number, last: KeySpec::COUNTED, step: 1, flags }
    }

    /// Whether the request tells how many keys there are.
    pub const fn is_counted(&self) -> bool {
        self.last == KeySpec::COUNTED
    }

    /// Whether the keys are at no place that clients could know: COMMAND shows nothing but that they exist.
    pub const fn is_unknown(&self) -> bool {
        matches!(self.last, KeySpec::UNNAMED | KeySpec::STORED)
    }

    /// Whether a request may have none of these keys.
    pub const fn may_be_absent(&self) -> bool {
        self.is_unknown() || matches!(self.last, KeySpec::UNLESS_LISTED | KeySpec::LISTED)
    }

    /// The arguments that are keys in a request of `argc` arguments, which `arg` gives by index. A number of keys that
    /// is none, or more than there are arguments, leads to none.
    pub fn indexes<'a>(&self, argc: usize, arg: impl Fn(usize) -> &'a [u8]) -> impl Iterator<Item = usize> {
        let first = usize::from(self.first);
        let keys = match self.last {
            KeySpec::COUNTED => {
                let count = (first < argc).then(|| parse_i64(arg(first))).flatten();
                let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                let count = if count < argc.saturating_sub(first) { count } else { 0 };
                first + 1..first + 1 + count
            }
            KeySpec::UNNAMED => 0..0,
            KeySpec::STORED => stored_at(first, argc, arg).map_or(0..0, |at| at..at + 1),
            KeySpec::UNLESS_LISTED if named_keys(argc, &arg).is_some() => 0..0,
            KeySpec::UNLESS_LISTED => first..argc.min(first + 1),
            KeySpec::LISTED => named_keys(argc, arg).map_or(0..0, |at| at..argc),
            last @ 0.. => first..argc.min(first + last as usize + 1),
            last => first..(argc + 1).saturating_sub(usize::from(last.unsigned_abs())),
        };
        keys.step_by(usize::from(self.step))
    }
}

/// The argument after the last STORE among the options of SORT, which begin at `first`.
fn stored_at<'a>(first: usize, argc: usize, arg: impl Fn(usize) -> &'a [u8]) -> Option<usize> {
    let (mut at, mut found) = (first, None);
    while at < argc {
        let is = |name: &str| arg(at).eq_ignore_ascii_case(name.as_bytes());
        let values = match () {
            () if is("limit") => 2,
            () if is("by") || is("get") || is("store") => 1,
            () => 0,
        };
        if is("store") && at + 1 < argc {
            found = Some(at + 1);
        }
        at += 1 + values;
    }
    found
}

/// The first of the keys that MIGRATE is given after KEYS, if they are: then argument 3 is empty.
pub fn named_keys<'a>(argc: usize, arg: impl Fn(usize) -> &'a [u8]) -> Option<usize> {
    let mut at = 6;
    while at < argc {
        let is = |name: &str| arg(at).eq_ignore_ascii_case(name.as_bytes());
        if is("keys") {
            return arg(3).is_empty().then_some(at + 1);
        }
        at += match () {
            () if is("auth2") => 3,
            () if is("auth") => 2,
            () => 1,
        };
    }
    None
}

/// What COMMAND DOCS tells of a command.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// The family it is listed under.
    pub group: Group,
    /// What it costs.
    pub complexity: &'static str,
    /// Its arguments after the name, in the notation of the Redis manual: `key value [NX | XX] [GET]`. COMMAND DOCS
    /// and redis-cli's hints are made from it.
    pub syntax: &'static str,
}

/// The families of COMMAND DOCS and COMMAND LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Any type of key.
    Generic,
    /// Strings.
    String,
    /// Lists.
    List,
    /// Strings as arrays of bits.
    Bitmap,
    /// Estimates of how many elements differ.
    Hyperloglog,
    /// The connection.
    Connection,
    /// The server.
    Server,
    /// MULTI and its kin.
    Transactions,
    /// Messages from clients to clients.
    Pubsub,
    /// Hashes.
    Hash,
    /// Sets.
    Set,
    /// Sorted sets.
    Zset,
}

impl Group {
    /// The name that COMMAND DOCS shows.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Bitmap => "bitmap",
            Group::Hyperloglog => "hyperloglog",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
            Group::Pubsub => "pubsub",
            Group::Hash => "hash",
            Group::Set => "set",
            Group::Zset => "sorted-set",
        }
    }
}

impl Spec {
    /// A command without keys, flags or subcommands: the builders below add what it has.
    pub const fn new(name: &'static str, arity: i8, run: Run, doc: Doc) -> Spec {
        Spec {
            name,
            arity,
            flags: Flags::NONE,
            keys: &[],
            run,
            categories: Categories::NONE,
            tips: &[],
            deprecated: None,
            doc,
            subcommands: &[],
        }
    }

    /// With these flags.
    pub const fn flags(mut self, flags: Flags) -> Spec {
        self.flags = flags;
        self
    }

    /// Done like this over several shards; a shard runs it.
    pub const fn spread(mut self, spread: Spread) -> Spec {
        if let Run::Shard(handler, _) = self.run {
            self.run = Run::Shard(handler, spread);
        }
        self
    }

    /// With these keys.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Spec {
        self.keys = keys;
        self
    }

    /// In these ACL categories, too.
    pub const fn categories(mut self, categories: Categories) -> Spec {
        self.categories = categories;
        self
    }

    /// With these hints for clients.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Spec {
        self.tips = tips;
        self
    }

    /// Deprecated since this version of Redis, in favour of what `replaced_by` says.
    pub const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Spec {
        self.deprecated = Some(Deprecated { since, replaced_by });
        self
    }

    /// With these subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Spec]) -> Spec {
        self.subcommands = subcommands;
        self
    }

    /// Whether `argc` arguments, the name included, are what it takes.
    #[inline]
    pub const fn takes(&self, argc: usize) -> bool {
        if self.arity >= 0 {
            argc == self.arity as usize
        } else {
            argc >= self.arity.unsigned_abs() as usize
        }
    }

    /// The arguments of a request that are keys, in order of the key specifications.
    pub fn key_indexes<'a>(&'a self, args: Args<'a>) -> impl Iterator<Item = usize> + 'a {
        self.keys.iter().flat_map(move |keys| keys.indexes(args.len(), move |index| args.at(index)))
    }

    /// All its ACL categories: those of its row, and those that follow from flags and group.
    pub const fn acl_categories(&self) -> Categories {
        let mut all = self.categories;
        // A row that names a family itself does so in place of its group's (COMMAND, WAIT, SORT).
        if !all.has_any(Categories::FAMILIES) && !matches!(self.run, Run::Container) {
            all = all.with(match self.doc.group {
                Group::Generic => Categories::KEYSPACE,
                Group::String => Categories::STRING,
                Group::List => Categories::LIST,
                Group::Bitmap => Categories::BITMAP,
                Group::Hyperloglog => Categories::HYPERLOGLOG,
                Group::Connection => Categories::CONNECTION,
                // The flag of the same name gives Pub/Sub's, and its HELP has none.
                Group::Server | Group::Pubsub => Categories::NONE,
                Group::Transactions => Categories::TRANSACTION,
                Group::Hash => Categories::HASH,
                Group::Set => Categories::SET,
                Group::Zset => Categories::SORTEDSET,
            });
        }
        if self.flags.has(Flags::WRITE) {
            all = all.with(Categories::WRITE);
        }
        // Scripts may read and write; Redis counts none of them as a reading command.
        if self.flags.has(Flags::READONLY) && !all.has(Categories::SCRIPTING) {
            all = all.with(Categories::READ);
        }
        if self.flags.has(Flags::ADMIN) {
            all = all.with(Categories::ADMIN).with(Categories::DANGEROUS);
        }
        if self.flags.has(Flags::PUBSUB) {
            all = all.with(Categories::PUBSUB);
        }
        if self.flags.has(Flags::BLOCKING) {
            all = all.with(Categories::BLOCKING);
        }
        all.with(if self.flags.has(Flags::FAST) { Categories::FAST } else { Categories::SLOW })
    }

    /// Whether it may change data.
    #[inline]
    pub const fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }
}
