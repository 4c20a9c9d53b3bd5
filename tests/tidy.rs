//! The architecture and the house rules, as a test.
//!
//! The tables at the top are the rules. To change the architecture is to change a line there, which a review sees.
//! The checker reads the sources as text with comments and strings taken out, so that a mention is not a use. It knows
//! no types: it is there to catch slips, not to withstand somebody who wants to get round it. The tests at the end
//! plant each kind of violation and see it reported.
//!
//! Test code (what stands under `#[cfg(test)]`, and files whose `mod` line does) keeps the order of the layers and the
//! form of the text; from a ban it is exempt where the ban says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The layers, from the lowest: a module uses what stands above it here. Those in one row do not use each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["config", "ds", "resp"],
    &["keyspace", "storage"],
    &["journal", "rdb"],
    &["command"],
    &["shard"],
    &["replication"],
    &["node"],
    &["session"],
    &["host"],
    &["runtime"],
    &["main"],
];

/// The lowest layer that knows the configuration. Those below are given their options by value.
const CONFIG_FROM: &str = "node";

/// Something that the code must not name, except in some places.
struct Ban {
    /// What is looked for, as whole words.
    words: &'static [&'static str],
    /// The paths, or beginnings of paths, where it may stand.
    only_in: &'static [&'static str],
    /// Whether test code may use it anywhere.
    tests_may: bool,
    /// What to do instead.
    instead: &'static str,
}

/// Where the world begins.
const OUTSIDE: &[&str] = &["src/runtime/", "src/main.rs"];

const BANS: &[Ban] = &[
    Ban {
        words: &["glommio", "io_uring"],
        only_in: OUTSIDE,
        tests_may: false,
        instead: "left of runtime nothing knows how it is executed: take bytes and messages, return effects",
    },
    Ban {
        words: &["async", "await"],
        only_in: OUTSIDE,
        tests_may: false,
        instead: "left of runtime everything is synchronous: make it a state and an input that moves it on",
    },
    Ban {
        words: &["Instant::now", "SystemTime::now", "UNIX_EPOCH"],
        only_in: OUTSIDE,
        tests_may: true,
        instead: "take `now: Now` as an argument; runtime/clock.rs reads the clock once per pass",
    },
    Ban {
        words: &["std::thread", "thread::spawn", "thread::sleep", "thread_local!"],
        only_in: OUTSIDE,
        tests_may: true,
        instead: "return an effect that runtime carries out; state belongs to a shard, a session or the node",
    },
    Ban {
        words: &["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock", "static mut", "std::sync::atomic"],
        only_in: OUTSIDE,
        tests_may: true,
        instead: "nothing is shared between cores below runtime: send a message (host/mail.rs)",
    },
    Ban {
        words: &["std::fs", "std::io", "std::net", "std::os::fd", "std::process", "std::env"],
        only_in: OUTSIDE,
        tests_may: true,
        instead: "return an effect that runtime carries out; it brings back what it read",
    },
    Ban {
        words: &["rand", "getrandom", "from_entropy", "RandomState::new", "RandomState::default"],
        only_in: OUTSIDE,
        tests_may: false,
        instead: "take a base::prng::Prng, or seeds, as an argument: every run can then be repeated",
    },
    Ban {
        words: &["tracing"],
        only_in: &["src/node/", "src/host/", "src/runtime/"],
        tests_may: false,
        instead: "return what happened: those who know the clients and the node write it to the log",
    },
    Ban {
        words: &["println!", "eprintln!", "print!", "eprint!"],
        only_in: OUTSIDE,
        tests_may: true,
        instead: "only the program itself speaks to the terminal: return the text",
    },
    Ban {
        words: &["dbg!", "todo!", "unimplemented!"],
        only_in: &[],
        tests_may: false,
        instead: "finish it, or answer with an error that says what is missing",
    },
    Ban {
        words: &["unsafe"],
        only_in: &["src/ds/", "src/keyspace/entry.rs", "src/runtime/"],
        tests_may: false,
        instead: "unsafe code is kept where it is needed for speed or for the kernel: ds, keyspace/entry.rs, runtime",
    },
];

/// What a comment must not hold: work that is left goes into an issue.
const UNFINISHED: &[&str] = &["FIXME", "TODO", "XXX"];

/// The longest line, in characters. Test code may go beyond it where the line holds a literal: data is easier to read
/// unbroken.
const LINE_CHARS_MAX: usize = 120;

/// The longest file, in lines.
const FILE_LINES_MAX: usize = 1000;

/// Files that are longer, with their length: it may only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

#[test]
fn the_sources_keep_the_rules() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    let violations: Vec<String> = sources.iter().flat_map(check).chain(check_modules(&sources)).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// A source file and the views of it that rules look at. All views have the lines of the file.
struct Source {
    /// From the package's folder on.
    path: String,
    /// As it was written.
    text: String,
    /// Without comments, strings and character literals.
    code: String,
    /// `code` without what stands under `#[cfg(test)]`.
    product: String,
    /// The comments alone.
    comments: String,
    /// Modules in files of their own that stand under `#[cfg(test)]`.
    test_modules: Vec<String>,
    /// Whether the whole file is test code.
    is_test: bool,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (code, comments) = code_and_comments(text);
        let (product, test_modules) = without_tests(&code);
        let is_test = !path.starts_with("src/");
        let (path, text) = (path.to_owned(), text.to_owned());
        Source { path, text, code, product, comments, test_modules, is_test }
    }

    /// The layer that the file is part of, if it is of the program.
    fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next()?.trim_end_matches(".rs"))
    }

    /// What a file of a module declared here would be called, without `.rs` or `/mod.rs`.
    fn path_of(&self, module: &str) -> String {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        match file {
            "mod.rs" | "lib.rs" | "main.rs" => format!("{folder}/{module}"),
            _ => format!("{}/{module}", self.path.trim_end_matches(".rs")),
        }
    }
}

/// All Rust files of the package.
fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut BTreeSet<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("corpus") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = BTreeSet::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        walk(&root.join(folder), &mut paths);
    }
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            Source::new(&path.strip_prefix(root).unwrap().to_string_lossy(), &text)
        })
        .collect();
    mark_test_files(&mut sources);
    sources
}

/// Marks the files whose `mod` line stands under `#[cfg(test)]`, and all below them.
fn mark_test_files(sources: &mut [Source]) {
    let tests: Vec<String> = sources
        .iter()
        .flat_map(|source| source.test_modules.iter().map(|module| source.path_of(module)))
        .collect();
    for source in sources {
        source.is_test |= tests.iter().any(|test| {
            let rest = source.path.strip_prefix(test.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
}

/// The rules about one file.
fn check(source: &Source) -> Vec<String> {
    let mut out = Vec::new();
    check_text(source, &mut out);
    check_bans(source, &mut out);
    check_hash_maps(source, &mut out);
    check_names(source, &mut out);
    check_layers(source, &mut out);
    out
}

/// The form of the text: its head, its length, its characters.
fn check_text(source: &Source, out: &mut Vec<String>) {
    let path = &source.path;
    if !source.text.starts_with("//!") {
        out.push(format!(
            "{path}:1: begin with a `//!` head: what the file owns, promises, and leaves to others"
        ));
    }
    if !source.text.ends_with('\n') || source.text.ends_with("\n\n") {
        out.push(format!("{path}: end with one line break"));
    }
    for ((at, line), product) in numbered(&source.text).zip(source.product.lines()) {
        let chars = line.chars().count();
        let is_test = source.is_test || (product.trim().is_empty() && !line.trim_start().starts_with("//"));
        if chars > LINE_CHARS_MAX && !(is_test && line.contains('"')) {
            out.push(format!("{path}:{at}: {chars} characters: at most {LINE_CHARS_MAX} on a line"));
        }
        if let Some(odd) = line.chars().find(|&c| !(' '..='~').contains(&c)) {
            out.push(format!(
                "{path}:{at}: {odd:?}: sources are printable ASCII; write \\u{{..}} in a literal"
            ));
        }
        if line.ends_with(' ') {
            out.push(format!("{path}:{at}: ends with a space"));
        }
    }
    for (at, line) in numbered(&source.comments) {
        for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
            out.push(format!("{path}:{at}: {word}: do it, or file an issue and say what holds today"));
        }
    }
    let lines = source.text.lines().count();
    let known = LONG_FILES.iter().find(|(long, _)| long == path).map(|&(_, lines)| lines);
    match known {
        None if lines > FILE_LINES_MAX => {
            out.push(format!(
                "{path}: {lines} lines: divide it by responsibility ({FILE_LINES_MAX} at most)"
            ));
        }
        Some(before) if lines > before => {
            out.push(format!("{path}: grew from {before} to {lines} lines: divide it by responsibility"));
        }
        Some(before) if lines < before => {
            out.push(format!("{path}: shrank to {lines} lines: note that in LONG_FILES, or take it out"));
        }
        _ => {}
    }
}

/// Words that a layer must not use.
fn check_bans(source: &Source, out: &mut Vec<String>) {
    for ban in BANS {
        // The tests and benches drive the server from outside: of the bans they keep those without exceptions.
        if !source.path.starts_with("src/") && !ban.only_in.is_empty() {
            continue;
        }
        if ban.only_in.iter().any(|place| source.path.starts_with(place)) || (source.is_test && ban.tests_may)
        {
            continue;
        }
        let view = if ban.tests_may { &source.product } else { &source.code };
        for (at, line) in numbered(view) {
            for word in ban.words.iter().filter(|word| has_word(line, word)) {
                out.push(format!("{}:{at}: {word}: {}", source.path, ban.instead));
            }
        }
        // `use std::{fs, io}` is found word by word.
        for (at, name) in first_names(view, "std") {
            let full = format!("std::{name}");
            let is_in_group = !numbered(view).any(|(line_at, line)| line_at == at && has_word(line, &full));
            if is_in_group && ban.words.contains(&full.as_str()) {
                out.push(format!("{}:{at}: {full}: {}", source.path, ban.instead));
            }
        }
    }
}

/// std's default hasher is seeded per process: its order must not reach a reply, so it is not used at all.
fn check_hash_maps(source: &Source, out: &mut Vec<String>) {
    if source.is_test {
        return;
    }
    for (name, parameters) in [("HashMap", 3), ("HashSet", 2)] {
        for at in word_places(&source.product, name) {
            let rest = &source.product[at + name.len()..];
            let is_default = match rest.strip_prefix("::").unwrap_or(rest) {
                list if list.starts_with('<') => count_parameters(list) < parameters,
                rest => ["new", "with_capacity", "from"].iter().any(|made| has_prefix_word(rest, made)),
            };
            if is_default {
                out.push(format!(
                    "{}:{}: {name} with std's hasher: name a BuildHasher with fixed seeds, or use a BTreeMap or Vec",
                    source.path,
                    line_of(&source.product, at)
                ));
            }
        }
    }
}

/// Names that say nothing.
fn check_names(source: &Source, out: &mut Vec<String>) {
    for (at, line) in numbered(&source.product) {
        let words: Vec<&str> = line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let (kind, name) = (pair[0], pair[1]);
            let is_type = ["struct", "enum", "trait", "type"].contains(&kind);
            if is_type && ["Manager", "Helper", "Util", "Utils"].iter().any(|end| name.ends_with(end)) {
                out.push(format!("{}:{at}: {name}: name what it is, not that it helps", source.path));
            }
            if kind == "mod" && ["util", "utils", "helpers", "common", "misc"].contains(&name) {
                out.push(format!("{}:{at}: mod {name}: name what the module owns", source.path));
            }
            if kind == "fn" && name.starts_with("get_") && name != "get_mut" && !source.is_test {
                out.push(format!("{}:{at}: fn {name}: leave out `get_`", source.path));
            }
        }
    }
}

/// The order of the layers, in product and test code alike.
fn check_layers(source: &Source, out: &mut Vec<String>) {
    let Some(user) = source.layer() else { return };
    let path = &source.path;
    if user == "lib" {
        return;
    }
    let Some(rank) = rank_of(user) else {
        out.push(format!("{path}: {user} is no layer: give it a place in LAYERS"));
        return;
    };
    for (at, used) in
        first_names(&source.code, "crate").into_iter().chain(first_names(&source.code, "ringward"))
    {
        match rank_of(&used) {
            _ if used == user => {}
            None => out.push(format!("{path}:{at}: crate::{used} is no layer: write the module's own path")),
            Some(below) if below >= rank => {
                out.push(format!(
                    "{path}:{at}: {user} must not use {used}: it stands left of it ({})",
                    order()
                ));
            }
            Some(_) if used == "config" && rank < rank_of(CONFIG_FROM).unwrap() => {
                out.push(format!(
                    "{path}:{at}: {user} must not know the configuration: take what it needs by value"
                ));
            }
            Some(_) => {}
        }
    }
    let depth = path.trim_end_matches("/mod.rs").matches('/').count();
    for at in word_places(&source.product, "super") {
        let supers = source.product[at..].split("::").take_while(|part| part.trim() == "super").count();
        let is_first = !source.product[..at].ends_with("super::");
        if is_first && supers >= depth {
            let line = line_of(&source.product, at);
            out.push(format!("{path}:{line}: super leaves the layer: write crate::..., which is checked"));
        }
    }
}

/// The rules about all files together: `lib.rs` declares the layers in their order, and nothing else.
fn check_modules(sources: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    let Some(lib) = sources.iter().find(|source| source.path == "src/lib.rs") else {
        return vec!["src/lib.rs is missing".to_owned()];
    };
    let mut last = 0;
    for (at, line) in numbered(&lib.code) {
        let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) else {
            continue;
        };
        match rank_of(name) {
            None => out.push(format!("src/lib.rs:{at}: {name} is no layer: give it a place in LAYERS")),
            Some(rank) if rank < last => {
                out.push(format!("src/lib.rs:{at}: {name} is out of order ({})", order()));
            }
            Some(rank) => last = rank,
        }
    }
    out
}

/// Where a module stands in the order.
fn rank_of(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

/// The order, for messages.
fn order() -> String {
    let rows = LAYERS.iter().map(|row| match row {
        [one] => (*one).to_owned(),
        many => format!("{{{}}}", many.join(", ")),
    });
    rows.collect::<Vec<_>>().join(" < ")
}

/// The first names of all paths below `root`: `base` and `resp` for `root::base::x` and `root::{base, resp::y}`.
fn first_names(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for at in word_places(code, root) {
        let Some(rest) = code[at + root.len()..].strip_prefix("::") else { continue };
        // `a::std::b` is somebody else's.
        if code[..at].ends_with("::") && !code[..at].trim_end_matches("::").ends_with(|c| !is_word(c)) {
            continue;
        }
        let line = line_of(code, at);
        match rest.strip_prefix('{') {
            None => names.push((line, leading_word(rest).to_owned())),
            Some(group) => {
                let mut depth = 0usize;
                let mut is_start = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_start = true,
                        c if is_start && is_word(c) => {
                            is_start = false;
                            let name = leading_word(&group[i..]);
                            names.push((line_of(code, at + root.len() + 3 + i), name.to_owned()));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names.retain(|(_, name)| !name.is_empty());
    names
}

/// How many generic arguments a list that begins with `<` has.
fn count_parameters(list: &str) -> usize {
    let (mut depth, mut count, mut is_empty) = (0usize, 0usize, true);
    let mut before = ' ';
    for c in list.chars() {
        match c {
            '<' | '(' | '[' => depth += 1,
            // The arrow of `fn() -> T` closes nothing.
            '>' if before == '-' => {}
            '>' | ')' | ']' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' if depth == 1 => {
                count += usize::from(!is_empty);
                is_empty = true;
            }
            c => is_empty &= c.is_whitespace(),
        }
        if depth > 1 {
            is_empty = false;
        }
        before = c;
    }
    count + usize::from(!is_empty)
}

/// Where a text stands as a whole word: what is at its ends does not go on beyond them.
fn word_places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let goes_on_before = word.starts_with(is_word) && before.is_some_and(is_word);
        let goes_on_after = word.ends_with(is_word) && after.is_some_and(is_word);
        !goes_on_before && !goes_on_after
    })
}

fn has_word(text: &str, word: &str) -> bool {
    word_places(text, word).next().is_some()
}

fn has_prefix_word(text: &str, word: &str) -> bool {
    word_places(text, word).next() == Some(0)
}

fn leading_word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// A text divided into its code and its comments; what belongs to neither is blank in both.
fn code_and_comments(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (len, kind) = token(rest, code.chars().next_back());
        let (piece, after) = rest.split_at(len);
        let blank: String = piece.chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        code.push_str(if kind == Token::Code { piece } else { &blank });
        comments.push_str(if kind == Token::Comment { piece } else { &blank });
        rest = after;
    }
    (code, comments)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Code,
    Comment,
    Literal,
}

/// The length and kind of the token that a text begins with. `before` is the code's last character.
fn token(text: &str, before: Option<char>) -> (usize, Token) {
    let first = text.chars().next().expect("text is not empty").len_utf8();
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), Token::Comment);
    }
    if text.starts_with("/*") {
        return (block_comment_len(text), Token::Comment);
    }
    if before.is_some_and(is_word) && !text.starts_with(['"', '\'']) {
        return (first, Token::Code);
    }
    let prefix = leading_word(text);
    if ["r", "br", "cr"].contains(&prefix) {
        let hashes = text[prefix.len()..].chars().take_while(|&c| c == '#').count();
        let open = prefix.len() + hashes;
        if text[open..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let len = text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len());
            return (len, Token::Literal);
        }
    }
    match text.as_bytes()[0] {
        b'"' => (quoted_len(text, '"'), Token::Literal),
        b'\'' => {
            let mut chars = text[1..].chars();
            let is_literal = match chars.next() {
                Some('\\') => true,
                Some(_) => chars.next() == Some('\''),
                None => false,
            };
            // Otherwise it is a lifetime.
            if is_literal {
                (quoted_len(text, '\''), Token::Literal)
            } else {
                (1, Token::Code)
            }
        }
        _ => (first, Token::Code),
    }
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Code without the items under `#[cfg(test)]`, and the names of those that are modules in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut modules) = (String::new(), Vec::new());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let len = MARK.len() + item_len(&rest[at + MARK.len()..]);
        let item = &rest[at..at + len];
        if let Some(module) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            modules.push(module.1.trim().to_owned());
        }
        out.extend(item.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    (out, modules)
}

/// The length of the item that a text begins with: up to its `;` or the end of its braces.
fn item_len(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            '}' if depth == 1 => return at + 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The command table's rows, each by itself; that they equal Redis's is tested beside them.
mod rows {
    use ringward::command::spec::{Flags, Run, Spread};
    use ringward::command::Table;

    #[test]
    fn every_row_agrees_with_itself() {
        let table = Table::new(&[]).unwrap();
        let mut names = std::collections::BTreeSet::new();
        assert!(table.len() > 100);
        for (_, row) in table.iter() {
            let name = row.name;
            assert!(names.insert(name), "{name} twice");
            assert!(!name.is_empty() && name == name.to_ascii_lowercase(), "{name:?}");
            assert_ne!(row.arity, 0, "{name}: the name counts");
            let least = usize::from(row.arity.unsigned_abs());
            for (place, keys) in row.keys.iter().enumerate() {
                assert!(keys.first > 0 && keys.step > 0, "{name}: {keys:?}");
                // A later group that reaches to the end may be empty (PFMERGE), and what are no keys (SUNSUBSCRIBE).
                let is_optional = row.flags.has(Flags::NO_MANDATORY_KEYS)
                    || (keys.last == -1 && (place > 0 || keys.flags.contains(&"not_key")))
                    || keys.may_be_absent();
                assert!(
                    is_optional || least > usize::from(keys.first),
                    "{name}: arity {least} has no {keys:?}"
                );
                let one = |_| &b"1"[..];
                assert!(row.arity < 0 || keys.indexes(least, one).all(|at| at < least), "{name}: {keys:?}");
                assert!(is_optional || keys.indexes(least, one).next().is_some(), "{name}: {keys:?}");
            }
            if let Run::Shard(_, spread) = row.run {
                assert!(!(row.is_write() && row.flags.has(Flags::READONLY)), "{name} writes and only reads");
                // A row on one shard may have no key: OBJECT HELP runs on any.
                let by_keys = matches!(
                    spread,
                    Spread::Sum | Spread::Interleave | Spread::Ok | Spread::Steps(_) | Spread::Gather
                );
                let everywhere = !by_keys && spread != Spread::One;
                let is_internal = row.flags.has(Flags::INTERNAL);
                assert!(!by_keys || !row.keys.is_empty(), "{name}: {spread:?} without keys");
                assert!(
                    !everywhere || is_internal || row.keys.is_empty(),
                    "{name}: {spread:?}, {:?}",
                    row.keys
                );
            }
            assert!(
                row.is_write() || !row.flags.has(Flags::DENYOOM),
                "{name} takes memory but writes nothing"
            );
            let is_container = matches!(row.run, Run::Container);
            assert!(!is_container || !row.subcommands.is_empty(), "{name} is an empty container");
            for sub in row.subcommands {
                let prefix = sub.name.split_once('|').map(|(prefix, _)| prefix);
                assert_eq!(prefix, Some(name), "{} stands under {name}", sub.name);
                assert!(sub.subcommands.is_empty(), "{}: containers are one deep", sub.name);
                let least = i8::try_from(sub.arity.unsigned_abs()).unwrap();
                assert!(least >= 2, "{}: container and name count", sub.name);
            }
            assert!(!row.doc.summary.is_empty() && !row.doc.since.is_empty(), "{name} has no documentation");
        }
    }
}

/// The checker itself: each kind of violation is planted and found, and its neighbours are not.
mod checker {
    use super::*;

    /// What the checker says of a file with this head-less text.
    fn said(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, &format!("//! Head.\n{text}\n")))
    }

    #[track_caller]
    fn finds(path: &str, text: &str, what: &str) {
        let said = said(path, text);
        assert!(said.len() == 1 && said[0].contains(what), "{path}: {text:?}: {said:?}");
    }

    #[track_caller]
    fn passes(path: &str, text: &str) {
        assert_eq!(said(path, text), Vec::<String>::new(), "{path}: {text:?}");
    }

    #[test]
    fn uses_go_to_the_left_only() {
        finds("src/base/key.rs", "use crate::resp::Args;", "base must not use resp");
        finds("src/resp/args.rs", "use crate::ds::Table;", "resp must not use ds");
        finds("src/config/load.rs", "fn f() { crate::resp::decode(); }", "config must not use resp");
        finds("src/command/ctx.rs", "use crate::{base, keyspace::{self}, session::Session};", "use session");
        finds(
            "src/shard/mod.rs",
            "use crate::{\n    base,\n    runtime,\n};",
            "src/shard/mod.rs:4: shard must not",
        );
        finds("src/base/key.rs", "use ringward::runtime::boot;", "base must not use runtime");
        finds("src/base/key.rs", "#[cfg(test)]\nmod tests { use crate::command::Table; }", "use command");
        passes("src/command/ctx.rs", "use crate::{base, keyspace::{host, runtime}, command::spec};");
        passes("src/runtime/core.rs", "use crate::host::Host;\npub(crate) fn f() {}");
        passes("src/main.rs", "fn main() { ringward::runtime::boot::run() }");
    }

    #[test]
    fn the_configuration_stays_to_the_right() {
        finds("src/command/ctx.rs", "use crate::config::Config;", "command must not know the configuration");
        finds("src/shard/mod.rs", "use crate::{base, config};", "by value");
        passes("src/node/info.rs", "use crate::config::Config;");
    }

    #[test]
    fn paths_are_not_hidden_behind_super() {
        finds("src/config/params/mod.rs", "use super::super::resp::Args;", "super leaves the layer");
        finds("src/base/mod.rs", "use super::resp::Args;", "super leaves the layer");
        finds("src/base/key.rs", "use super::super::resp;", "super leaves the layer");
        passes("src/config/params/mod.rs", "use super::Config;");
        passes("src/config/params/tls.rs", "use super::super::Config;");
        passes("src/base/key.rs", "#[cfg(test)]\nmod tests {\n    use super::super::num;\n}");
    }

    #[test]
    fn a_folder_needs_a_place_in_the_order() {
        finds("src/extra/mod.rs", "fn f() {}", "extra is no layer");
        finds("src/host/mod.rs", "use crate::extra::x;", "crate::extra is no layer");
        let lib = |text: &str| check_modules(&[Source::new("src/lib.rs", text)]);
        assert!(lib("pub mod base;\npub mod ds;\npub mod config;\npub mod keyspace;\n").is_empty());
        assert!(lib("pub mod keyspace;\npub mod base;\n")[0].contains("src/lib.rs:2: base is out of order"));
        assert!(lib("pub mod extra;\n")[0].contains("extra is no layer"));
        assert_eq!(check_modules(&[]).len(), 1);
    }

    #[test]
    fn the_world_begins_in_runtime() {
        for (word, text) in [
            ("glommio", "use glommio::LocalExecutor;"),
            ("io_uring", "use io_uring::IoUring;"),
            ("async", "async fn f() {}"),
            ("await", "fn f() { x.await }"),
            ("Instant::now", "fn f() { std::time::Instant::now(); }"),
            ("SystemTime::now", "fn f() { SystemTime::now(); }"),
            ("std::thread", "use std::thread;"),
            ("thread::spawn", "fn f() { thread::spawn(f); }"),
            ("Mutex", "use std::sync::Mutex;"),
            ("static mut", "static mut X: u8 = 0;"),
            ("std::fs", "fn f() { std::fs::read(p); }"),
            ("std::io", "use std::{fmt, io::{self, Read}};"),
            ("std::net", "use std::{\n    net,\n};"),
            ("getrandom", "fn f() { getrandom::fill(b); }"),
            ("RandomState::new", "fn f() { ahash::RandomState::new(); }"),
            ("println!", "fn f() { println!(); }"),
        ] {
            finds("src/host/host.rs", text, word);
            passes("src/runtime/core.rs", text);
        }
    }

    #[test]
    fn the_log_begins_in_node() {
        finds("src/shard/mod.rs", "use tracing::info;", "tracing");
        passes("src/host/host.rs", "fn f() { tracing::warn!(); }");
    }

    #[test]
    fn a_mention_is_no_use() {
        for text in [
            "// glommio, Instant::now() and todo!()\n/* std::fs /* unsafe */ println! */",
            "const A: &str = \"glommio \\\" unsafe\";",
            "const A: &str = r#\"glommio \" unsafe\"#;\nconst B: &[u8] = br\"unsafe \\\";",
            "const A: [char; 2] = ['\"', '\\''];\nfn f<'a>(x: &'a str) {}",
            "fn unsafe_looking() { my_println!(); operand(); glommio_like() }",
            "fn r#async() {}".replace("r#async", "asynchronous").as_str(),
        ] {
            passes("src/host/host.rs", text);
        }
        // What comes after such a text is seen again.
        finds("src/host/host.rs", "const Q: char = '\"'; unsafe fn f() {}", "unsafe");
        finds("src/host/host.rs", "const Q: &str = r#\"\"\"#; unsafe fn f() {}", "unsafe");
        finds("src/host/host.rs", "fn f<'a>(x: &'a u8) { unsafe {} }", "unsafe");
    }

    #[test]
    fn tests_are_exempt_where_the_ban_says_so() {
        passes(
            "src/host/host.rs",
            "#[cfg(test)]\nmod tests {\n    use std::io::Read;\n    fn f() { println!(); }\n}",
        );
        finds(
            "src/host/host.rs",
            "#[cfg(test)]\nmod tests { fn f() {} }\nuse std::io::Read;",
            "host.rs:4: std::io",
        );
        finds("src/host/host.rs", "#[cfg(test)]\nmod tests { fn f() { unsafe {} } }", "unsafe");
        finds("src/host/host.rs", "#[cfg(test)]\nmod tests { fn f() { todo!() } }", "todo!");
        let mut files = [
            Source::new(
                "src/command/mod.rs",
                "//! Head.\n#[cfg(test)]\npub(crate) mod trial;\npub mod set;\n",
            ),
            Source::new("src/command/trial.rs", "//! Head.\nuse std::net::TcpStream;\n"),
            Source::new("src/command/trial/deep.rs", "//! Head.\nuse std::net::TcpStream;\n"),
            Source::new("src/command/set.rs", "//! Head.\nuse std::net::TcpStream;\n"),
        ];
        mark_test_files(&mut files);
        let said: Vec<usize> = files.iter().map(|file| check(file).len()).collect();
        assert_eq!(said, [0, 0, 0, 1]);
    }

    #[test]
    fn unsafe_code_has_its_places() {
        finds("src/keyspace/db.rs", "fn f() { unsafe { g() } }", "unsafe");
        passes("src/keyspace/entry.rs", "fn f() { unsafe { g() } }");
        passes("src/ds/table/mod.rs", "fn f() { unsafe { g() } }");
        finds("src/ds/table/mod.rs", "fn f() { dbg!(1); }", "dbg!");
    }

    #[test]
    fn hash_maps_name_their_hasher() {
        for text in [
            "fn f() { HashMap::new(); }",
            "fn f() { HashMap::<u8, u8>::default(); }",
            "struct A(HashMap<u8, Vec<(u8, u8)>>);",
            "struct A(HashMap<u8, fn(u8, u8) -> u8,>);",
            "struct A(HashSet<u8>);",
        ] {
            finds("src/shard/locks.rs", text, "std's hasher");
        }
        passes(
            "src/shard/locks.rs",
            "struct A(HashMap<u8, Vec<u8>, Fixed>);\nfn f() { HashMap::default(); }",
        );
        passes("src/shard/locks.rs", "struct A(HashSet<u8, Fixed>);");
    }

    #[test]
    fn texts_have_a_form() {
        let said = |text: &str| check(&Source::new("src/base/key.rs", text)).join("\n");
        assert!(said("fn f() {}\n").contains("begin with a `//!` head"));
        assert!(said("//! Head.").contains("end with one line break"));
        assert!(said(&format!("//! {}\n", "x".repeat(LINE_CHARS_MAX))).contains(":1: 124 characters"));
        let data = format!("{:?}", "x".repeat(LINE_CHARS_MAX));
        assert!(said(&format!("//! Head.\nconst A: &str = {data};\n")).contains(":2: 139 characters"));
        assert_eq!(said(&format!("//! Head.\n#[cfg(test)]\nmod tests {{ const A: &str = {data}; }}\n")), "");
        assert!(said("//! A \u{2014} dash.\n").contains("printable ASCII"));
        assert!(said("//! A\ttab.\n").contains("printable ASCII"));
        assert!(said("//! A space. \n").contains("ends with a space"));
        assert!(said(&format!("//! H{}", "\n".repeat(FILE_LINES_MAX + 1))).contains("divide it"));
        for word in UNFINISHED {
            assert!(said(&format!("//! Head.\n// {word}: later\n")).contains(&format!(":2: {word}")));
        }
    }

    #[test]
    fn names_say_what_things_are() {
        finds("src/host/host.rs", "pub struct MailManager;", "MailManager");
        finds("src/host/host.rs", "mod utils;", "mod utils");
        finds("src/host/host.rs", "pub fn get_name() {}", "leave out `get_`");
    }
}
