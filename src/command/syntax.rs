//! The argument tree that COMMAND DOCS shows, read from the syntax line of a row.
//!
//! The notation is the manual's: `word` is a value, `WORD` a keyword, `[a]` may be left out, `<a | b>` and `[a | b]`
//! choose one, `a [a ...]` repeats, `[a ...]` repeats or is left out. A keyword at the head of brackets or of an
//! alternative governs all that follows there; elsewhere, the values that follow it.
//!
//! Only rows are read here, never input: `parse` answers `None` to what it can't read, and a test reads every row.

use super::spec::{KeySpec, Spec};

/// One argument, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What it is called.
    pub name: String,
    /// What it may be.
    pub kind: ArgKind,
    /// The keyword before it.
    pub token: Option<&'static str>,
    /// Which of the row's key specifications covers it.
    pub key_spec: Option<usize>,
    /// It may be left out.
    pub is_optional: bool,
    /// It may be given several times.
    pub is_multiple: bool,
    /// Its keyword, too, is given each time.
    pub is_token_multiple: bool,
    /// The alternatives of a `OneOf`, the parts of a `Block`.
    pub parts: Vec<Arg>,
}

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the type that COMMAND DOCS calls so")]
pub enum ArgKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgKind {
    /// The name that COMMAND DOCS shows.
    pub fn name(self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Double => "double",
            ArgKind::Key => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::PureToken => "pure-token",
            ArgKind::OneOf => "oneof",
            ArgKind::Block => "block",
        }
    }
}

/// The arguments of a row after its name; `None` if its syntax line can't be read.
pub fn parse(spec: &Spec) -> Option<Vec<Arg>> {
    let mut words = Words { rest: spec.doc.syntax };
    let alternatives = read_alternatives(&mut words, None)?;
    let [items] = &alternatives[..] else { return None };
    let mut args = lower(spec.name, items, Head::Loose);
    name_places(&mut args);
    let first = if spec.name.contains('|') { 2 } else { 1 };
    mark_keys(&mut args, spec.keys, first);
    Some(args)
}

/// The syntax line as a tree, before it is known what each part means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Word(&'static str),
    Group {
        is_optional: bool,
        alternatives: Vec<Vec<Item>>,
    },
    /// What stands in it may come several times.
    Repeat(Vec<Item>),
}

/// The words and brackets of a syntax line.
struct Words {
    rest: &'static str,
}

impl Iterator for Words {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        let rest = self.rest.trim_start();
        let end = match rest.chars().next()? {
            '[' | ']' | '<' | '>' | '|' => 1,
            _ => rest.find([' ', '[', ']', '<', '>', '|']).unwrap_or(rest.len()),
        };
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

/// Reads up to the bracket `close`, or to the end of the line where there is none.
fn read_alternatives(words: &mut Words, close: Option<&str>) -> Option<Vec<Vec<Item>>> {
    let mut alternatives = vec![Vec::new()];
    loop {
        let Some(word) = words.next() else { return close.is_none().then_some(alternatives) };
        if Some(word) == close {
            return Some(alternatives);
        }
        let items = alternatives.last_mut()?;
        match word {
            "|" => alternatives.push(Vec::new()),
            "[" => {
                let inner = read_alternatives(words, Some("]"))?;
                match repeated(&inner, items) {
                    Some(count) => {
                        let again = items.split_off(items.len() - count);
                        items.push(Item::Repeat(again));
                    }
                    None => items.push(Item::Group { is_optional: true, alternatives: inner }),
                }
            }
            "<" => {
                let inner = read_alternatives(words, Some(">"))?;
                items.push(Item::Group { is_optional: false, alternatives: inner });
            }
            "..." => {
                let again = items.pop()?;
                items.push(Item::Repeat(vec![again]));
            }
            "]" | ">" => return None,
            word => items.push(Item::Word(word)),
        }
    }
}

/// How many of the items before brackets these say again: `a b [a b ...]` gives 2.
fn repeated(inner: &[Vec<Item>], before: &[Item]) -> Option<usize> {
    let [items] = inner else { return None };
    // The `...` has wrapped the last item already.
    let (Item::Repeat(last), head) = items.split_last()? else { return None };
    let said: Vec<&Item> = head.iter().chain(last).collect();
    let same =
        before.len() >= said.len() && before[before.len() - said.len()..].iter().eq(said.iter().copied());
    same.then_some(said.len())
}

/// How far a keyword at the head of a sequence reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// To the end: the sequence is one alternative or the content of brackets.
    Governs,
    /// Over the values that follow: the sequence is the whole line.
    Loose,
}

fn lower(command: &str, items: &[Item], head: Head) -> Vec<Arg> {
    let mut args = Vec::new();
    let mut at = 0;
    while let Some(item) = items.get(at) {
        at += 1;
        match item {
            Item::Word(word) if is_token(word) => {
                let end = if head == Head::Governs && at == 1 { items.len() } else { reach(items, at) };
                args.push(governed(word, lower(command, &items[at..end], Head::Loose)));
                at = end;
            }
            Item::Word(word) => args.push(Arg::value(word, kind_of(command, word))),
            Item::Group { is_optional, alternatives } => {
                let mut arg = lower_group(command, alternatives);
                arg.is_optional = *is_optional;
                args.push(arg);
            }
            Item::Repeat(again) => {
                let mut arg = joined(lower(command, again, Head::Governs));
                arg.is_multiple = true;
                arg.is_token_multiple = matches!(again.first(), Some(Item::Word(word)) if is_token(word));
                args.push(arg);
            }
        }
    }
    args
}

fn lower_group(command: &str, alternatives: &[Vec<Item>]) -> Arg {
    let mut parts: Vec<Arg> =
        alternatives.iter().map(|items| joined(lower(command, items, Head::Governs))).collect();
    if parts.len() == 1 {
        return parts.remove(0);
    }
    Arg { parts, ..Arg::value(choice_name(alternatives), ArgKind::OneOf) }
}

/// Where the values end that a keyword before `from` governs: at the next keyword or optional part. A choice counts as
/// a value only where it comes first.
fn reach(items: &[Item], from: usize) -> usize {
    let is_value = |at: usize| match &items[at] {
        Item::Word(word) => !is_token(word),
        Item::Group { is_optional, .. } => !is_optional && at == from,
        Item::Repeat(again) => !matches!(again.first(), Some(Item::Word(word)) if is_token(word)),
    };
    (from..items.len()).find(|&at| !is_value(at)).unwrap_or(items.len())
}

/// A keyword with what it governs.
fn governed(token: &'static str, mut args: Vec<Arg>) -> Arg {
    let name = token_name(token);
    let token = if token == EMPTY { "" } else { token };
    match args.len() {
        0 => Arg { token: Some(token), ..Arg::value(&name, ArgKind::PureToken) },
        1 if args[0].token.is_none() && !args[0].is_optional => {
            let arg = args.remove(0);
            let name = if arg.kind == ArgKind::OneOf { name } else { arg.name };
            Arg { name, token: Some(token), ..arg }
        }
        _ => Arg { token: Some(token), parts: args, ..Arg::value(&name, ArgKind::Block) },
    }
}

/// How the manual writes that an argument is to be empty.
const EMPTY: &str = "\"\"";

/// What a keyword's argument is called: as the keyword, mostly.
fn token_name(token: &str) -> String {
    match token {
        "CH" => "change".to_owned(),
        "INCR" => "increment".to_owned(),
        EMPTY => "empty-string".to_owned(),
        token => token.to_ascii_lowercase(),
    }
}

/// Several arguments as one.
fn joined(mut args: Vec<Arg>) -> Arg {
    if args.len() == 1 {
        return args.remove(0);
    }
    Arg { parts: args, ..Arg::value("data", ArgKind::Block) }
}

/// Two choices of a place are from where something comes, and to where it goes.
fn name_places(args: &mut [Arg]) {
    let places: Vec<&mut Arg> = args.iter_mut().filter(|arg| arg.name == PLACE).collect();
    if let Ok([from, to]) = <[&mut Arg; 2]>::try_from(places) {
        from.name = "wherefrom".to_owned();
        to.name = "whereto".to_owned();
    }
}

/// Marks the arguments which a key specification covers: those whose place is known, up to the first argument that may
/// be left out or repeated, and the list after KEYS.
fn mark_keys(args: &mut [Arg], keys: &[KeySpec], first: usize) {
    if let Some(place) = keys.iter().position(|spec| spec.last == KeySpec::LISTED) {
        for list in args.iter_mut().filter(|arg| arg.token == Some("KEYS")) {
            (list.key_spec, list.kind) = (Some(place), ArgKind::Key);
        }
    }
    let covering = |at: usize| {
        keys.iter().position(|spec| {
            let from = usize::from(spec.first) + usize::from(spec.is_counted());
            let reaches = match spec.last {
                KeySpec::UNLESS_LISTED => at == from,
                last => last < 0 || at <= from + last as usize,
            };
            at >= from
                && spec.last != KeySpec::LISTED
                && reaches
                && (at - from) % usize::from(spec.step) == 0
                && !spec.is_unknown()
                && !spec.flags.contains(&"not_key")
        })
    };
    let mut at = first;
    for arg in args {
        if arg.token.is_some() {
            return;
        }
        let values = match arg.kind {
            // A choice of keywords takes one place, whichever is chosen.
            ArgKind::OneOf
                if !arg.is_optional
                    && !arg.is_multiple
                    && arg.parts.iter().all(|part| part.kind == ArgKind::PureToken) =>
            {
                at += 1;
                continue;
            }
            // A choice of a value or something that is none.
            ArgKind::OneOf if !arg.is_optional && !arg.is_multiple && is_value_or_token(&arg.parts) => {
                if let Some(value) = arg.parts.iter_mut().find(|part| part.kind != ArgKind::PureToken) {
                    value.key_spec = covering(at);
                    if value.key_spec.is_some() {
                        value.kind = ArgKind::Key;
                    }
                }
                at += 1;
                continue;
            }
            ArgKind::OneOf => return,
            ArgKind::Block => &mut arg.parts[..],
            _ => std::slice::from_mut(arg),
        };
        for value in values {
            value.key_spec = covering(at);
            if value.key_spec.is_some() {
                value.kind = ArgKind::Key;
            }
            at += 1;
        }
        if arg.is_optional || arg.is_multiple {
            return;
        }
    }
}

/// Whether it is one word, whichever of two is chosen.
fn is_value_or_token(parts: &[Arg]) -> bool {
    let [value, token] = parts else { return false };
    let is_value = value.token.is_none() && !matches!(value.kind, ArgKind::OneOf | ArgKind::Block);
    is_value && token.kind == ArgKind::PureToken
}

impl Arg {
    fn value(name: &str, kind: ArgKind) -> Arg {
        Arg {
            name: name.to_owned(),
            kind,
            token: None,
            key_spec: None,
            is_optional: false,
            is_multiple: false,
            is_token_multiple: false,
            parts: Vec::new(),
        }
    }
}

fn is_token(word: &str) -> bool {
    !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// The name of a choice of ends or sides.
const PLACE: &str = "where";

/// What a choice is called: the manual's syntax lines give it no name.
fn choice_name(alternatives: &[Vec<Item>]) -> &'static str {
    let is = |words: &[&str]| {
        alternatives
            .iter()
            .all(|items| matches!(items.first(), Some(Item::Word(word)) if words.contains(word)))
    };
    if is(&["GT", "LT"]) {
        "comparison"
    } else if is(&["NX", "XX", "GT", "LT"]) {
        "condition"
    } else if is(&["BYSCORE", "BYLEX"]) {
        "sortby"
    } else if is(&["EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST"]) {
        "expiration"
    } else if is(&["LEFT", "RIGHT", "BEFORE", "AFTER", "MIN", "MAX"]) {
        PLACE
    } else {
        "option"
    }
}

/// The type of a value, which the manual tells by its name.
fn kind_of(command: &str, name: &str) -> ArgKind {
    match name {
        "unix-time-seconds" | "unix-time-milliseconds" => ArgKind::UnixTime,
        "increment" if command.ends_with("float") => ArgKind::Double,
        "score" => ArgKind::Double,
        "min" | "max" if command.ends_with("score") || command == "zcount" => ArgKind::Double,
        // They are ranks, scores or members.
        "start" | "stop" if command == "zrange" => ArgKind::String,
        // What blocks waits for so many seconds, or parts of them.
        "timeout" if command.starts_with('b') => ArgKind::Double,
        "client-id" | "count" | "cursor" | "db" | "decrement" | "destination-db" | "end" | "increment"
        | "index" | "index1" | "index2" | "len" | "limit" | "milliseconds" | "min-match-len"
        | "num-matches" | "numfields" | "numkeys" | "offset" | "port" | "protover" | "rank" | "seconds"
        | "start" | "stop" | "timeout" | "version" | "weight" => ArgKind::Integer,
        _ if name.ends_with("pattern") => ArgKind::Pattern,
        _ => ArgKind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::{Doc, Group, NodeOp, Run};
    use crate::command::Table;

    /// The tree in one line: `name:type`, `=TOKEN`, `?` optional, `*` multiple, `**` with its token, `#` key spec.
    fn show(args: &[Arg]) -> String {
        let show_one = |arg: &Arg| {
            let mut text = format!("{}:{}", arg.name, arg.kind.name());
            if let Some(token) = arg.token {
                text += &format!("={token}");
            }
            text += if arg.is_optional { "?" } else { "" };
            text += match (arg.is_multiple, arg.is_token_multiple) {
                (true, true) => "**",
                (true, false) => "*",
                (false, _) => "",
            };
            if let Some(spec) = arg.key_spec {
                text += &format!("#{spec}");
            }
            if !arg.parts.is_empty() {
                text += &format!("({})", show(&arg.parts));
            }
            text
        };
        args.iter().map(show_one).collect::<Vec<_>>().join(" ")
    }

    static KEYS: [KeySpec; 8] = [
        KeySpec::one(1, &[]),
        KeySpec::one(2, &[]),
        KeySpec { first: 1, last: 1, step: 1, flags: &[] },
        KeySpec::rest(1, 1, &[]),
        KeySpec::rest(1, 2, &[]),
        KeySpec::counted(1, &[]),
        KeySpec { first: 2, last: KeySpec::UNLESS_LISTED, step: 1, flags: &[] },
        KeySpec { first: 4, last: KeySpec::LISTED, step: 1, flags: &[] },
    ];

    fn parsed(name: &'static str, keys: &'static [KeySpec], syntax: &'static str) -> Option<String> {
        let doc = Doc { summary: "", since: "", group: Group::Server, complexity: "", syntax };
        parse(&Spec::new(name, 1, Run::Node(NodeOp::Info), doc).keys(keys)).map(|args| show(&args))
    }

    #[test]
    fn syntax_lines_of_the_manual_become_argument_trees() {
        let (one, two) = (&KEYS[..1], &KEYS[..2]);
        for (name, keys, syntax, tree) in [
            ("time", &[][..], "", ""),
            (
                "set",
                one,
                "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
                 unix-time-milliseconds | KEEPTTL]",
                "key:key#0 value:string condition:oneof?(nx:pure-token=NX xx:pure-token=XX) get:pure-token=GET? \
                 expiration:oneof?(seconds:integer=EX milliseconds:integer=PX unix-time-seconds:unix-time=EXAT \
                 unix-time-milliseconds:unix-time=PXAT keepttl:pure-token=KEEPTTL)",
            ),
            (
                "getex",
                one,
                "key [EX seconds | PERSIST]",
                "key:key#0 expiration:oneof?(seconds:integer=EX persist:pure-token=PERSIST)",
            ),
            (
                "expire",
                one,
                "key seconds [NX | XX | GT | LT]",
                "key:key#0 seconds:integer condition:oneof?(nx:pure-token=NX xx:pure-token=XX gt:pure-token=GT \
                 lt:pure-token=LT)",
            ),
            (
                "lcs",
                &KEYS[2..3],
                "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
                "key1:key#0 key2:key#0 len:pure-token=LEN? idx:pure-token=IDX? min-match-len:integer=MINMATCHLEN? \
                 withmatchlen:pure-token=WITHMATCHLEN?",
            ),
            (
                "copy",
                two,
                "source destination [DB destination-db] [REPLACE]",
                "source:key#0 destination:key#1 destination-db:integer=DB? replace:pure-token=REPLACE?",
            ),
            ("mget", &KEYS[3..4], "key [key ...]", "key:key*#0"),
            (
                "mset",
                &KEYS[4..5],
                "key value [key value ...]",
                "data:block*(key:key#0 value:string)",
            ),
            (
                "scan",
                &[],
                "cursor [MATCH pattern] [COUNT count] [TYPE type]",
                "cursor:integer pattern:pattern=MATCH? count:integer=COUNT? type:string=TYPE?",
            ),
            (
                "sintercard",
                &KEYS[5..6],
                "numkeys key [key ...] [LIMIT limit]",
                "numkeys:integer key:key*#0 limit:integer=LIMIT?",
            ),
            (
                "lmove",
                two,
                "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
                "source:key#0 destination:key#1 wherefrom:oneof(left:pure-token=LEFT right:pure-token=RIGHT) \
                 whereto:oneof(left:pure-token=LEFT right:pure-token=RIGHT)",
            ),
            (
                "linsert",
                one,
                "key <BEFORE | AFTER> pivot element",
                "key:key#0 where:oneof(before:pure-token=BEFORE after:pure-token=AFTER) pivot:string \
                 element:string",
            ),
            (
                "migrate",
                &KEYS[6..8],
                "host <key | \"\"> timeout [AUTH password | AUTH2 username password] [KEYS key [key ...]]",
                "host:string option:oneof(key:key#0 empty-string:pure-token=) timeout:integer \
                 option:oneof?(password:string=AUTH auth2:block=AUTH2(username:string password:string)) \
                 key:key=KEYS?*#1",
            ),
            ("blpop", &KEYS[3..4], "key [key ...] timeout", "key:key*#0 timeout:double"),
            ("incrbyfloat", one, "key increment", "key:key#0 increment:double"),
            ("object|encoding", &KEYS[1..2], "key", "key:key#0"),
            ("auth", &[], "[username] password", "username:string? password:string"),
            (
                "hello",
                &[],
                "[protover [AUTH username password] [SETNAME clientname]]",
                "data:block?(protover:integer auth:block=AUTH?(username:string password:string) \
                 clientname:string=SETNAME?)",
            ),
            ("info", &[], "[section [section ...]]", "section:string?*"),
            ("command|getkeys", &[], "command [arg [arg ...]]", "command:string arg:string?*"),
            ("any", &[], "[arg ...]", "arg:string?*"),
            (
                "command|list",
                &[],
                "[FILTERBY <MODULE module-name | PATTERN pattern>]",
                "filterby:oneof=FILTERBY?(module-name:string=MODULE pattern:pattern=PATTERN)",
            ),
            (
                "client|list",
                &[],
                "[TYPE <NORMAL | MASTER>] [ID client-id [client-id ...]]",
                "type:oneof=TYPE?(normal:pure-token=NORMAL master:pure-token=MASTER) client-id:integer=ID?*",
            ),
            (
                "client|tracking",
                &[],
                "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST]",
                "option:oneof(on:pure-token=ON off:pure-token=OFF) client-id:integer=REDIRECT? \
                 prefix:string=PREFIX?** bcast:pure-token=BCAST?",
            ),
            (
                "client|kill",
                &[],
                "<ip:port | <[ID client-id] | [SKIPME <YES | NO>]> ...>",
                "option:oneof(ip:port:string option:oneof*(client-id:integer=ID? \
                 skipme:oneof=SKIPME?(yes:pure-token=YES no:pure-token=NO)))",
            ),
            (
                "sort",
                one,
                "key [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
                "key:key#0 limit:block=LIMIT?(offset:integer count:integer) pattern:pattern=GET?** \
                 option:oneof?(asc:pure-token=ASC desc:pure-token=DESC) alpha:pure-token=ALPHA?",
            ),
            (
                "xread",
                &[],
                "GROUP group consumer [COUNT count] STREAMS key [key ...] id [id ...]",
                "group:block=GROUP(group:string consumer:string) count:integer=COUNT? \
                 streams:block=STREAMS(key:string* id:string*)",
            ),
        ] {
            assert_eq!(parsed(name, keys, syntax).as_deref(), Some(tree), "{name} {syntax}");
        }
    }

    #[test]
    fn unreadable_syntax_is_refused() {
        for syntax in ["[", "key]", "<a | b]", "a | b", "...", "[a <b]>"] {
            assert_eq!(parsed("any", &[], syntax), None, "{syntax}");
        }
    }

    #[test]
    fn every_row_can_be_read() {
        for (_, spec) in Table::new(&[]).unwrap().iter() {
            let args = parse(spec).unwrap_or_else(|| panic!("{}: {}", spec.name, spec.doc.syntax));
            // An argument for every fixed place, and a key for every specification that begins there.
            for (index, keys) in spec.keys.iter().enumerate() {
                if !keys.is_unknown() && !keys.flags.contains(&"not_key") {
                    assert!(show(&args).contains(&format!("#{index}")), "{}: {}", spec.name, show(&args));
                }
            }
        }
    }
}
