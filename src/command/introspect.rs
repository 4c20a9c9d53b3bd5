//! The replies of the COMMAND family, made from the table of commands (COMMAND DOCS: see `docs`).
//!
//! Commands that clients can't name, because they were disabled or are the server's own, do not appear.

use super::spec::{Categories, Flags, KeySpec, Spec};
use super::table::{CommandId, Table};
use crate::base::error::CommandError;
use crate::base::glob;
use crate::resp::{Args, Reply};

/// COMMAND, and COMMAND INFO without a name: every command.
pub fn command(table: &Table, reply: &mut Reply<'_>) {
    reply.array(listed(table).count());
    for id in listed(table) {
        command_info(table.spec(id), reply);
    }
}

/// COMMAND COUNT.
pub fn command_count(table: &Table, reply: &mut Reply<'_>) {
    reply.count(listed(table).count());
}

/// COMMAND INFO [name ...]: null for a name that is not known.
pub fn command_infos(table: &Table, args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() == 2 {
        return command(table, reply);
    }
    reply.array(args.len() - 2);
    for name in args.iter_from(2) {
        match look_up(table, name) {
            Some(id) => command_info(table.spec(id), reply),
            None => reply.null(),
        }
    }
}

/// One command as COMMAND INFO describes it, in ten elements.
pub fn command_info(spec: &Spec, reply: &mut Reply<'_>) {
    let range = LegacyRange::of(spec.keys);
    let flags = if range.is_partial { spec.flags.with(Flags::MOVABLEKEYS) } else { spec.flags };
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.int(spec.arity.into());
    write_names(&flags.names().collect::<Vec<_>>(), reply);
    reply.int(range.first);
    reply.int(range.last);
    reply.int(range.step);
    let categories: Vec<String> = spec.acl_categories().names().map(|name| format!("@{name}")).collect();
    write_names(&categories, reply);
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.keys.len());
    for keys in spec.keys {
        write_key_spec(keys, reply);
    }
    // Redis sends a set where there are no subcommands, an array where there are.
    if spec.subcommands.is_empty() {
        reply.set(0);
        return;
    }
    reply.array(spec.subcommands.len());
    for sub in spec.subcommands {
        command_info(sub, reply);
    }
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN glob]: names, those of subcommands too.
///
/// # Errors
/// A syntax error for anything else.
pub fn command_list(table: &Table, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let filter = match args.len() {
        2 => Filter::None,
        5 if args.is(2, "filterby") => {
            let what = args.at(4);
            if args.is(3, "module") {
                Filter::Module
            } else if args.is(3, "aclcat") {
                Filter::Category(what)
            } else if args.is(3, "pattern") {
                Filter::Pattern(what)
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let names: Vec<&str> = listed(table)
        .map(|id| table.spec(id))
        .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
        .filter(|spec| filter.lets_pass(spec))
        .map(|spec| spec.name)
        .collect();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// COMMAND GETKEYS command [arg ...]: which of the arguments are keys; with `with_flags` COMMAND GETKEYSANDFLAGS,
/// which says of each what is done with it.
///
/// # Errors
/// If there is no such command, if it has no keys, or if the arguments are not enough.
pub fn command_getkeys(
    table: &Table,
    args: Args<'_>,
    with_flags: bool,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let words: Vec<&[u8]> = args.iter_from(2).collect();
    let spec = request_spec(table, &words).ok_or(NO_SUCH_COMMAND)?;
    let is_key = |keys: &&KeySpec| !keys.flags.contains(&"not_key");
    if !spec.keys.iter().any(|keys| is_key(&keys)) {
        return Err(NO_KEYS);
    }
    if !spec.takes(words.len()) {
        return Err(WRONG_COUNT);
    }
    let mut found: Vec<(&[u8], &[&str])> = Vec::new();
    for keys in spec.keys.iter().filter(is_key) {
        let flags = actual_flags(spec, keys, &words);
        let before = found.len();
        found.extend(keys.indexes(words.len(), |index| words[index]).map(|index| (words[index], flags)));
        if found.len() == before && !keys.may_be_absent() {
            found.clear();
            break;
        }
    }
    if found.is_empty() && !spec.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(WRONG_ARGUMENTS);
    }
    reply.array(found.len());
    for (key, flags) in found {
        if with_flags {
            reply.array(2);
            reply.bulk(key);
            write_names(flags, reply);
        } else {
            reply.bulk(key);
        }
    }
    Ok(())
}

const NO_SUCH_COMMAND: CommandError = CommandError::new("ERR Invalid command specified");
const NO_KEYS: CommandError = CommandError::new("ERR The command has no key arguments");
const WRONG_COUNT: CommandError = CommandError::new("ERR Invalid number of arguments specified for command");
const WRONG_ARGUMENTS: CommandError = CommandError::new("ERR Invalid arguments specified for command");

/// What COMMAND LIST leaves in.
enum Filter<'a> {
    None,
    /// There are no modules, so nothing is of one.
    Module,
    Category(&'a [u8]),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn lets_pass(&self, spec: &Spec) -> bool {
        match self {
            Filter::None => true,
            Filter::Module => false,
            Filter::Category(name) => {
                Categories::named(name).is_some_and(|category| spec.acl_categories().has(category))
            }
            Filter::Pattern(pattern) => glob::matches(pattern, spec.name.as_bytes(), true),
        }
    }
}

/// The commands that clients can name, without subcommands, by place.
pub(super) fn listed(table: &Table) -> impl Iterator<Item = CommandId> + '_ {
    table.named().into_iter().map(|(_, id)| id).filter(|&id| !table.spec(id).flags.has(Flags::INTERNAL))
}

/// The command that COMMAND INFO, COMMAND DOCS and LATENCY HISTOGRAM mean by a name: `get`, or `config|get`.
pub fn look_up(table: &Table, name: &[u8]) -> Option<CommandId> {
    let mut parts = name.split(|&byte| byte == b'|');
    let command = table.find(parts.next()?).filter(|&id| !table.spec(id).flags.has(Flags::INTERNAL))?;
    let found = match parts.next() {
        None => command,
        Some(sub) => table.find_sub(command, sub)?,
    };
    parts.next().is_none().then_some(found)
}

/// The row that a request would run.
fn request_spec(table: &Table, words: &[&[u8]]) -> Option<&'static Spec> {
    let id = table.find(words.first()?).filter(|&id| !table.spec(id).flags.has(Flags::INTERNAL))?;
    match words.get(1) {
        Some(sub) if !table.spec(id).subcommands.is_empty() => Some(table.spec(table.find_sub(id, sub)?)),
        _ => Some(table.spec(id)),
    }
}

/// What is done with a key, where that depends on the arguments: SET reads the old value only with GET.
fn actual_flags<'a>(spec: &Spec, keys: &'a KeySpec, words: &[&[u8]]) -> &'a [&'static str] {
    if spec.name != "set" {
        return keys.flags;
    }
    if words.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get")) {
        &["RW", "access", "update"]
    } else {
        &["OW", "update"]
    }
}

/// First key, last key and step as clients before Redis 7 understand them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LegacyRange {
    first: i64,
    last: i64,
    step: i64,
    /// There are keys outside the range, or their number is not known: the command has `movablekeys`.
    is_partial: bool,
}

impl LegacyRange {
    /// The one range there is, or what can be said of several: the run of single keys that follow one another.
    fn of(keys: &[KeySpec]) -> LegacyRange {
        let last_of = |keys: &KeySpec| match keys.last {
            KeySpec::UNLESS_LISTED => i64::from(keys.first),
            last if last < 0 => i64::from(last),
            last => i64::from(keys.first) + i64::from(last),
        };
        let has_place =
            |keys: &&KeySpec| !keys.is_counted() && !keys.is_unknown() && keys.last != KeySpec::LISTED;
        let is_partial = keys.iter().any(|keys| !has_place(&keys) || keys.flags.contains(&"incomplete"));
        let keys = keys.iter().filter(has_place);
        if let [only] = keys.clone().collect::<Vec<_>>()[..] {
            return LegacyRange {
                first: only.first.into(),
                last: last_of(only),
                step: only.step.into(),
                is_partial,
            };
        }
        let mut range = LegacyRange { is_partial, ..LegacyRange::default() };
        for spec in keys {
            let first = i64::from(spec.first);
            if spec.step != 1 || range.step != 0 && range.last != first - 1 {
                range.is_partial = true;
                continue;
            }
            if range.step == 0 {
                (range.first, range.step) = (first, 1);
            }
            range.last = last_of(spec);
        }
        range
    }
}

/// One key specification: it begins at an index, after a word, or nobody knows where.
fn write_key_spec(keys: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    write_names(keys.flags, reply);
    if keys.is_unknown() {
        for part in ["begin_search", "find_keys"] {
            reply.bulk(part.as_bytes());
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(b"unknown");
            reply.bulk(b"spec");
            reply.map(0);
        }
        return;
    }
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    if keys.last == KeySpec::LISTED {
        reply.bulk(b"keyword");
        reply.bulk(b"spec");
        reply.map(2);
        reply.bulk(b"keyword");
        reply.bulk(b"KEYS");
        reply.bulk(b"startfrom");
        reply.int(-2);
    } else {
        reply.bulk(b"index");
        reply.bulk(b"spec");
        reply.map(1);
        reply.bulk(b"index");
        reply.int(keys.first.into());
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    let step = i64::from(keys.step);
    let (kind, numbers) = match keys.is_counted() {
        true => ("keynum", [("keynumidx", 0), ("firstkey", 1), ("keystep", step)]),
        false => {
            let last = match keys.last {
                KeySpec::UNLESS_LISTED => 0,
                KeySpec::LISTED => -1,
                last => i64::from(last),
            };
            ("range", [("lastkey", last), ("keystep", step), ("limit", 0)])
        }
    };
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(number);
    }
}

fn write_names<S: AsRef<str>>(names: &[S], reply: &mut Reply<'_>) {
    reply.set(names.len());
    for name in names {
        reply.simple(name.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::value_end;
    use crate::resp::{OwnedArgs, Proto};

    fn table() -> Table {
        Table::new(&[]).unwrap()
    }

    fn owned(words: &[&str]) -> OwnedArgs {
        OwnedArgs::collect(words.iter().map(|word| word.as_bytes()))
    }

    /// The reply with its line breaks as spaces.
    fn replied(proto: Proto, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, proto));
        assert_eq!(value_end(&out), Some(out.len()), "one whole value");
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    fn infos(proto: Proto, names: &[&str]) -> String {
        let args = owned(&[&["command", "info"], names].concat());
        replied(proto, |reply| command_infos(&table(), args.as_args(), reply))
    }

    fn list(words: &[&str]) -> Result<Vec<String>, CommandError> {
        let args = owned(&[&["command", "list"], words].concat());
        let mut out = Vec::new();
        command_list(&table(), args.as_args(), &mut Reply::new(&mut out, Proto::Resp2))?;
        Ok(crate::resp::reply::elements(&out)
            .map(|name| String::from_utf8(crate::resp::reply::as_bulk(name).unwrap().to_vec()).unwrap())
            .collect())
    }

    fn getkeys(with_flags: bool, words: &[&str]) -> Result<String, CommandError> {
        let args = owned(&[&["command", "getkeys"], words].concat());
        let mut error = None;
        let text = replied(Proto::Resp3, |reply| {
            if let Err(refusal) = command_getkeys(&table(), args.as_args(), with_flags, reply) {
                reply.error(refusal.bytes());
                error = Some(refusal);
            }
        });
        error.map_or(Ok(text), Err)
    }

    #[test]
    fn info_has_ten_elements_as_redis_sends_them() {
        assert_eq!(
            infos(Proto::Resp3, &["memory|usage", "nosuch", "CLIENT|ID"]),
            "*3 *10 $12 memory|usage :-3 ~1 +readonly :2 :2 :1 ~2 +@read +@slow ~0 ~1 %3 $5 flags ~1 +RO \
             $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :2 \
             $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0 \
             _ \
             *10 $9 client|id :2 ~3 +noscript +loading +stale :0 :0 :0 ~2 +@slow +@connection ~0 ~0 ~0 "
        );
        assert!(infos(Proto::Resp2, &["ping"]).starts_with("*1 *10 $4 ping :-1 *1 +fast :0 :0 :0 *2 +@fast"));
        assert!(
            infos(Proto::Resp2, &["nosuch", "get|x", "client|id|x", ""]).starts_with("*4 $-1 $-1 $-1 $-1")
        );
        let migrate = infos(Proto::Resp3, &["migrate"]);
        assert!(migrate.starts_with("*1 *10 $7 migrate :-6 ~2 +write +movablekeys :3 :3 :1 "), "{migrate}");
        assert!(
            migrate.ends_with(
                "$12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :3 \
                 $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 \
                 %3 $5 flags ~4 +RW +access +delete +incomplete \
                 $12 begin_search %2 $4 type $7 keyword $4 spec %2 $7 keyword $4 KEYS $9 startfrom :-2 \
                 $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :-1 $7 keystep :1 $5 limit :0 ~0 "
            ),
            "{migrate}"
        );
        let sort = infos(Proto::Resp3, &["sort_ro"]);
        assert!(sort.starts_with("*1 *10 $7 sort_ro :-2 ~2 +readonly +movablekeys :1 :1 :1 "), "{sort}");
        assert!(sort.ends_with(
            "%3 $5 flags ~2 +RO +access $12 begin_search %2 $4 type $7 unknown $4 spec %0 \
             $9 find_keys %2 $4 type $7 unknown $4 spec %0 ~0 "
        ));
    }

    /// A row as a line of `redis-7.2.txt`.
    fn line_of(spec: &Spec) -> String {
        let joined = |names: Vec<&str>| if names.is_empty() { "-".to_owned() } else { names.join(",") };
        let mut words = vec![
            spec.name.to_owned(),
            spec.arity.to_string(),
            joined(spec.flags.names().collect()),
            joined(spec.acl_categories().names().collect()),
            joined(spec.tips.to_vec()),
        ];
        for keys in spec.keys {
            words.push(format!("{}:{}:{}:{}", keys.first, keys.last, keys.step, keys.flags.join(",")));
        }
        words.join(" ")
    }

    /// Commands that Redis does not have, as lines of `redis-7.2.txt`: one that is added there is a deliberate step.
    const OURS: [&str; 2] = [
        "waitfor 3 noscript,loading,stale slow,connection -",
        "waittoken 1 noscript slow,connection nondeterministic_output",
    ];

    #[test]
    fn rows_equal_redis() {
        let lines = include_str!("redis-7.2.txt").lines().chain(include_str!("redis-8.0.txt").lines());
        let lines: Vec<&str> = lines.filter(|line| !line.starts_with('#')).chain(OURS).collect();
        let table = table();
        for (_, spec) in table.iter().filter(|(_, spec)| !spec.flags.has(Flags::INTERNAL)) {
            let line = line_of(spec);
            assert!(lines.contains(&&*line), "not so in Redis: {line}");
        }
        for line in lines {
            let name = line.split(' ').next().unwrap();
            assert!(look_up(&table, name.as_bytes()).is_some(), "missing: {name}");
        }
    }

    #[test]
    fn categories_follow_from_flags_group_and_row() {
        for (name, categories) in [
            ("client", "@slow"),
            ("client|kill", "@admin @slow @dangerous @connection"),
            ("command|info", "@slow @connection"),
            ("config|set", "@admin @slow @dangerous"),
            ("role", "@admin @fast @dangerous"),
            ("info", "@slow @dangerous"),
            ("lolwut", "@read @fast"),
            ("select", "@fast @connection"),
        ] {
            let table = table();
            let spec = table.spec(look_up(&table, name.as_bytes()).unwrap());
            let names: Vec<String> = spec.acl_categories().names().map(|name| format!("@{name}")).collect();
            assert_eq!(names.join(" "), categories, "{name}");
        }
    }

    #[test]
    fn lists_can_be_filtered() {
        let all = list(&[]).unwrap();
        assert!(all.contains(&"ping".to_owned()) && all.contains(&"config|get".to_owned()));
        assert_eq!(
            list(&["FILTERBY", "pattern", "SLOWLOG|*e*"]).unwrap(),
            ["slowlog|get", "slowlog|help", "slowlog|len", "slowlog|reset"]
        );
        assert!(list(&["filterby", "aclcat", "CONNECTION"]).unwrap().contains(&"echo".to_owned()));
        assert!(!list(&["filterby", "aclcat", "connection"]).unwrap().contains(&"info".to_owned()));
        assert!(list(&["filterby", "aclcat", "nosuch"]).unwrap().is_empty());
        assert!(list(&["filterby", "module", "any"]).unwrap().is_empty());
        for words in [&["x"][..], &["filterby"], &["filterby", "pattern"], &["filterby", "x", "y"]] {
            assert_eq!(list(words).unwrap_err(), CommandError::SYNTAX);
        }
    }

    #[test]
    fn keys_of_a_request() {
        assert_eq!(getkeys(false, &["memory", "usage", "k"]).unwrap(), "*1 $1 k ");
        assert_eq!(getkeys(true, &["MEMORY", "USAGE", "k"]).unwrap(), "*1 *2 $1 k ~1 +RO ");
        assert_eq!(getkeys(false, &["SORT", "k", "BY", "store", "GET", "w_*"]).unwrap(), "*1 $1 k ");
        assert_eq!(
            getkeys(true, &["sort", "k", "STORE", "a", "LIMIT", "store", "1", "Store", "b"]).unwrap(),
            "*2 *2 $1 k ~2 +RO +access *2 $1 b ~2 +OW +update "
        );
        assert_eq!(
            getkeys(true, &["migrate", "h", "p", "k", "0", "0", "auth", "keys"]).unwrap(),
            "*1 *2 $1 k ~3 +RW +access +delete "
        );
        assert_eq!(
            getkeys(false, &["migrate", "h", "p", "", "0", "0", "auth", "keys", "Keys", "a", "b"]).unwrap(),
            "*2 $1 a $1 b "
        );
        assert_eq!(getkeys(false, &["sintercard", "2", "a", "b", "limit", "1"]).unwrap(), "*2 $1 a $1 b ");
        let wrong = "ERR Invalid arguments specified for command";
        for (words, text) in [
            (&["sintercard", "0", "a"][..], wrong),
            (&["sintercard", "-1", "a"], wrong),
            (&["sintercard", "2", "a"], wrong),
            (&["sintercard", "9223372036854775807", "a"], wrong),
            (&["sintercard", "x", "a"], wrong),
            (&["nosuch"], "ERR Invalid command specified"),
            (&["memory", "nosuch"], "ERR Invalid command specified"),
            (&["memory"], "ERR The command has no key arguments"),
            (&["ping"], "ERR The command has no key arguments"),
            (&["memory", "usage"], "ERR Invalid number of arguments specified for command"),
        ] {
            assert_eq!(getkeys(false, words).unwrap_err().text(), text);
        }
    }

    #[test]
    fn old_clients_see_one_range_of_keys() {
        let one = |first| KeySpec::one(first, &[]);
        for (keys, expected) in [
            (&[][..], (0, 0, 0, false)),
            (&[one(1)], (1, 1, 1, false)),
            (&[one(1), one(2)], (1, 2, 1, false)),
            (&[one(1), one(3)], (1, 1, 1, true)),
            (&[KeySpec::rest(1, 2, &[])], (1, -1, 2, false)),
            (&[one(1), KeySpec::rest(2, 1, &[])], (1, -1, 1, false)),
            (&[KeySpec::rest(1, 1, &[]), one(1)], (1, -1, 1, true)),
            (&[KeySpec { first: 1, last: 1, step: 1, flags: &[] }], (1, 2, 1, false)),
            (&[KeySpec::one(1, &["RO", "incomplete"])], (1, 1, 1, true)),
            (&[KeySpec::counted(1, &[])], (0, 0, 0, true)),
            (&[one(1), KeySpec::counted(2, &[])], (1, 1, 1, true)),
        ] {
            let range = LegacyRange::of(keys);
            assert_eq!((range.first, range.last, range.step, range.is_partial), expected, "{keys:?}");
        }
    }

    #[test]
    fn renamed_commands_are_found_by_their_new_name_and_disabled_ones_not_at_all() {
        let rename = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let table = Table::new(&[rename("config", "cfg"), rename("debug", "")]).unwrap();
        assert_eq!(look_up(&table, b"debug"), None);
        assert_eq!(look_up(&table, b"config|get"), None);
        assert_eq!(table.spec(look_up(&table, b"CFG|GET").unwrap()).name, "config|get");
        let count = |table: &Table| replied(Proto::Resp2, |reply| command_count(table, reply));
        assert_ne!(count(&table), count(&Table::new(&[]).unwrap()));
        assert!(replied(Proto::Resp3, |reply| command(&table, reply)).starts_with('*'));
    }
}
