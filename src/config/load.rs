//! Reading configuration: the file, what it includes, standard input and the command line, in this order, later lines
//! winning.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use super::{
    line::{split, Line},
    params::{self, rows},
    value::Refusal,
    Config, Effect, Invocation, RenamedCommand, Text,
};
use crate::base::glob;

/// What reading a configuration needs of the world.
pub trait Outside {
    /// The content of a file, or why there is none, in the system's words (`No such file or directory`).
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, String>;

    /// All of standard input.
    fn read_stdin(&self) -> Result<Vec<u8>, String>;

    /// The names in a folder, in any order; none if it cannot be read.
    fn list(&self, folder: &[u8]) -> Vec<Vec<u8>>;

    /// Whether there is a command of this name, in any case, before any is renamed.
    fn has_command(&self, name: &[u8]) -> bool;
}

/// A configuration and what its user should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// To be logged once, when the log is there.
    pub warnings: Vec<Warning>,
}

/// A directive that was accepted but does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The directive.
    pub name: String,
    /// Why it does nothing.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no effect in Ringward: {}", self.name, self.reason)
    }
}

/// Why a configuration cannot be used. Its text is the message to print before exiting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A line is at fault.
    #[error(
        "\n*** FATAL CONFIG FILE ERROR (Ringward {}) ***\nReading the configuration file{}, \
         at line {number}\n>>> '{}'\n{reason}",
        env!("CARGO_PKG_VERSION"),
        included(file),
        String::from_utf8_lossy(line)
    )]
    Line {
        /// The included file that it stands in; none for the main file and the command line, whose lines follow the
        /// file's.
        file: Option<Text>,
        /// Its number, from 1.
        number: usize,
        /// The line without the blanks around it.
        line: Vec<u8>,
        /// What was expected.
        reason: String,
    },
    /// The lines do not go together.
    #[error("\n*** FATAL CONFIG FILE ERROR (Ringward {}) ***\n{reason}", env!("CARGO_PKG_VERSION"))]
    Whole {
        /// Why not.
        reason: String,
    },
    /// A file cannot be read.
    #[error("Fatal error, can't open config file '{path}': {reason}")]
    Unreadable {
        /// The file.
        path: Text,
        /// The system's words.
        reason: String,
    },
}

fn included(file: &Option<Text>) -> String {
    file.as_ref().map_or(String::new(), |file| format!(" '{file}'"))
}

/// Reads the configuration that the command line asks for.
pub fn load(invocation: &Invocation, outside: &dyn Outside) -> Result<Loaded, LoadError> {
    let mut loader =
        Loader { outside, config: Config::default(), seen: BTreeSet::new(), warnings: Vec::new() };
    let mut text = Vec::new();
    if let Some(path) = &invocation.config_file {
        for (_, content) in loader.files(path)? {
            text.extend(content);
        }
    }
    if invocation.reads_stdin {
        let unreadable = |reason| LoadError::Unreadable { path: "-".into(), reason };
        text.extend(outside.read_stdin().map_err(unreadable)?);
    }
    if let Some(options) = &invocation.options {
        text.push(b'\n');
        text.extend(options);
    }
    loader.take_text(None, &text, 0)?;
    loader.finish()
}

/// How deep files may include each other: more is taken for a file that includes itself.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Directives that Redis once had and still accepts with one argument.
const FORMER: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

struct Loader<'a> {
    outside: &'a dyn Outside,
    config: Config,
    /// The directives that were set so far, by their own names.
    seen: BTreeSet<&'static str>,
    warnings: Vec<Warning>,
}

/// What stopped a line: the line itself, or something further in.
enum Stop {
    Refused(Refusal),
    Failed(LoadError),
}

impl<T: Into<Refusal>> From<T> for Stop {
    fn from(reason: T) -> Stop {
        Stop::Refused(reason.into())
    }
}

impl Loader<'_> {
    fn take_text(&mut self, file: Option<&Text>, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            let stopped = |stop| match stop {
                Stop::Refused(reason) => LoadError::Line {
                    file: file.cloned(),
                    number: index + 1,
                    line: line.to_vec(),
                    reason: reason.into_owned(),
                },
                Stop::Failed(error) => error,
            };
            self.take_line(line, depth).map_err(stopped)?;
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], depth: usize) -> Result<(), Stop> {
        let words = Line::parse(line).map_err(|_| "Unbalanced quotes in configuration line")?.words;
        let Some((directive, arguments)) = words.split_first() else { return Ok(()) };
        if params::row(directive).is_some() {
            return self.set(directive, arguments);
        }
        let texts = |words: &[Vec<u8>]| words.iter().cloned().map(Text::from).collect();
        match (directive.to_ascii_lowercase().as_slice(), arguments) {
            (b"include", [path]) => self.include(path, depth)?,
            (b"rename-command", [from, to]) => self.rename(from, to)?,
            (b"user", [_, ..]) => {
                self.warn(directive, "there are no ACL users yet, only requirepass");
                self.config.users.push(texts(arguments));
            }
            (b"loadmodule", [_, ..]) => {
                self.warn(directive, "there are no modules");
                self.config.modules.push(texts(arguments));
            }
            (b"sentinel", []) => {
                return Err("Ringward has no sentinel mode, run redis-sentinel beside it".into())
            }
            (b"sentinel", _) => return Err("sentinel directive while not in sentinel mode".into()),
            (name, [_]) if FORMER.contains(&name) => {
                self.warn(directive, "it is a directive of former versions")
            }
            (name, arguments) if name.contains(&b'.') => {
                if arguments.is_empty() {
                    return Err("Module config specified without value".into());
                }
                self.warn(directive, "there are no modules");
            }
            _ => return Err("Bad directive or wrong number of arguments".into()),
        }
        Ok(())
    }

    fn set(&mut self, directive: &[u8], arguments: &[Vec<u8>]) -> Result<(), Stop> {
        let Some(row) = params::row(directive) else { return Ok(()) };
        let is_first = self.seen.insert(row.name);
        let result = match arguments {
            // One argument that holds several, as `--save "900 1"` gives it.
            [joined] if row.takes_several && !joined.is_empty() => {
                let words = split(joined).map_err(|_| "Unbalanced quotes in configuration line")?;
                row.read(&mut self.config, &words, is_first)
            }
            arguments => row.read(&mut self.config, arguments, is_first),
        };
        result.map_err(Stop::Refused)
    }

    fn include(&mut self, path: &[u8], depth: usize) -> Result<(), Stop> {
        if depth == INCLUDE_DEPTH_MAX {
            return Err(format!("include is nested more than {INCLUDE_DEPTH_MAX} deep").into());
        }
        // Redis has changed to `dir` by now, if a line above named it.
        let path = self.config.persistence.dir.resolve(path);
        for (name, content) in self.files(&path).map_err(Stop::Failed)? {
            self.take_text(Some(&name), &content, depth + 1).map_err(Stop::Failed)?;
        }
        Ok(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Stop> {
        if !self.has_command(from) {
            return Err("No such command in rename-command".into());
        }
        if !to.is_empty() && !to.eq_ignore_ascii_case(from) && self.has_command(to) {
            return Err("Target command name already exists".into());
        }
        self.config
            .renamed_commands
            .push(RenamedCommand { from: from.to_vec().into(), to: to.to_vec().into() });
        Ok(())
    }

    /// Whether a command goes by this name after the renames so far.
    fn has_command(&self, name: &[u8]) -> bool {
        let there_at_first = self.outside.has_command(name);
        self.config.renamed_commands.iter().fold(there_at_first, |is_there, renamed| {
            if renamed.to.eq_ignore_ascii_case(name) {
                true
            } else {
                is_there && !renamed.from.eq_ignore_ascii_case(name)
            }
        })
    }

    /// The files that a path names, with their contents: several or none if it is a pattern.
    fn files(&self, path: &[u8]) -> Result<Vec<(Text, Vec<u8>)>, LoadError> {
        let names = if glob::is_pattern(path) { expand(path, self.outside) } else { vec![path.to_vec()] };
        let read = |name: Vec<u8>| match self.outside.read(&name) {
            Ok(content) => Ok((name.into(), content)),
            Err(reason) => Err(LoadError::Unreadable { path: name.into(), reason }),
        };
        names.into_iter().map(read).collect()
    }

    fn warn(&mut self, directive: &[u8], reason: &'static str) {
        let name = String::from_utf8_lossy(directive).to_ascii_lowercase();
        let warning = Warning { name, reason: reason.into() };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn finish(mut self) -> Result<Loaded, LoadError> {
        let is_module_setting = |warning: &Warning| warning.name.contains('.');
        if self.config.modules.is_empty() && self.warnings.iter().any(is_module_setting) {
            let reason =
                "Module Configuration detected without loadmodule directive or no ApplyConfig call: aborting";
            return Err(LoadError::Whole { reason: reason.into() });
        }
        let defaults = Config::default();
        let seen = std::mem::take(&mut self.seen);
        for row in rows().filter(|row| seen.contains(row.name)) {
            let reason = match row.effect {
                Effect::Live => continue,
                Effect::Later(_) if row.show(&self.config) == row.show(&defaults) => continue,
                Effect::Later(_) => "this version does not have what it sets yet",
                Effect::Meaningless(why) => why,
            };
            self.warn(row.name.as_bytes(), reason);
        }
        Ok(Loaded { config: self.config, warnings: self.warnings })
    }
}

/// The files that match a pattern, sorted, as `glob(3)` finds them: `*` and its kin stay within one part of the path
/// and do not match a leading dot.
fn expand(pattern: &[u8], outside: &dyn Outside) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    let mut is_certain = true;
    for (index, part) in pattern.split(|&byte| byte == b'/').enumerate() {
        let separator: &[u8] = if index == 0 { b"" } else { b"/" };
        let step = |folder: &Vec<u8>, name: &[u8]| [folder, separator, name].concat();
        if is_certain && !glob::is_pattern(part) {
            found = found.iter().map(|folder| step(folder, part)).collect();
            continue;
        }
        // From the first pattern on, what is put together must be seen to exist.
        is_certain = false;
        let part_pattern = posix_class(part);
        let fits = |name: &Vec<u8>| {
            let is_hidden = name.starts_with(b".") && !part.starts_with(b".");
            !is_hidden && glob::matches(&part_pattern, name, false)
        };
        let children = |folder: &Vec<u8>| {
            let listed: &[u8] = match folder.as_slice() {
                b"" if index == 0 => b".",
                b"" => b"/",
                folder => folder,
            };
            outside.list(listed).into_iter().filter(fits).map(|name| step(folder, &name)).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(children).collect();
    }
    found.sort();
    found
}

/// Shells negate a class with `!` where Redis has `^`.
fn posix_class(pattern: &[u8]) -> Vec<u8> {
    let mut translated = pattern.to_vec();
    for at in 1..translated.len() {
        if translated[at - 1] == b'[' && translated[at] == b'!' {
            translated[at] = b'^';
        }
    }
    translated
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{parse_arguments, Command};

    /// A world of a few files in memory.
    #[derive(Default)]
    pub(in crate::config) struct Files(pub(in crate::config) BTreeMap<&'static str, String>);

    impl Outside for Files {
        fn read(&self, path: &[u8]) -> Result<Vec<u8>, String> {
            let found = self.0.get(std::str::from_utf8(path).unwrap());
            found.map(|content| content.clone().into_bytes()).ok_or("No such file or directory".into())
        }

        fn read_stdin(&self) -> Result<Vec<u8>, String> {
            self.read(b"-")
        }

        fn list(&self, folder: &[u8]) -> Vec<Vec<u8>> {
            let folder = format!("{}/", std::str::from_utf8(folder).unwrap().trim_end_matches('/'));
            let paths = self.0.keys().map(|path| {
                if path.starts_with('/') || path.starts_with("./") {
                    path.to_string()
                } else {
                    format!("./{path}")
                }
            });
            let names = paths.filter_map(|path| Some(path.strip_prefix(&folder)?.split('/').next()?.into()));
            names.collect::<BTreeSet<_>>().into_iter().collect()
        }

        fn has_command(&self, name: &[u8]) -> bool {
            [&b"get"[..], b"set", b"config"].iter().any(|known| name.eq_ignore_ascii_case(known))
        }
    }

    pub(in crate::config) fn load_files(
        files: &[(&'static str, &str)],
        arguments: &[&str],
    ) -> Result<Loaded, LoadError> {
        let files = Files(files.iter().map(|(name, content)| (*name, content.to_string())).collect());
        let arguments = std::iter::once("ringward").chain(arguments.iter().copied());
        let Command::Run(invocation) = parse_arguments(arguments.map(Into::into)) else {
            panic!("the arguments ask for a text")
        };
        load(&invocation, &files)
    }

    pub(in crate::config) fn load_text(text: &str) -> Result<Loaded, LoadError> {
        load_files(&[("/r.conf", text)], &["/r.conf"])
    }

    fn message(result: Result<Loaded, LoadError>) -> String {
        let message = result.unwrap_err().to_string();
        message
            .strip_prefix("\n*** FATAL CONFIG FILE ERROR (Ringward 0.1.0) ***\n")
            .unwrap_or(&message)
            .into()
    }

    #[test]
    fn the_tutorial_s_file_loads_as_it_stands() {
        let Loaded { config, warnings } = load_text(include_str!("tutorial.conf")).unwrap();
        assert_eq!(config.network.binds.0, ["127.0.0.1".into()]);
        assert_eq!(config.network.port, 6379);
        assert!(config.process.is_daemon);
        assert_eq!(&config.process.pidfile[..], b"/var/run/redis/redis-server.pid");
        assert_eq!(&config.security.requirepass[..], b"<password>");
        assert_eq!(config.memory.maxmemory_bytes, 2 << 30);
        assert_eq!(config.replication.repl_backlog_bytes, 1 << 20);
        assert_eq!(config.process.busy_reply_threshold_ms, 5000);
        assert!(config.persistence.appendonly);
        let save: Vec<String> = config.persistence.save.0.iter().map(ToString::to_string).collect();
        assert_eq!(save, ["900 1", "300 10", "60 10000"]);
        assert_eq!(config.renamed_commands, [RenamedCommand { from: "CONFIG".into(), to: "".into() }]);
        assert!(warnings.iter().any(|warning| warning.name == "activerehashing"));
        assert!(!warnings.iter().any(|warning| warning.name == "save"), "it is done as it says");
    }

    #[test]
    fn errors_name_the_line() {
        for (text, expected) in [
            ("port 1\n\n foo bar \n", "at line 3\n>>> 'foo bar'\nBad directive or wrong number of arguments"),
            ("port x", "at line 1\n>>> 'port x'\nargument couldn't be parsed into an integer"),
            ("port 1 2", "at line 1\n>>> 'port 1 2'\nwrong number of arguments"),
            ("port", "at line 1\n>>> 'port'\nwrong number of arguments"),
            ("dir \"x", "at line 1\n>>> 'dir \"x'\nUnbalanced quotes in configuration line"),
            ("maxmemory 1zb", "at line 1\n>>> 'maxmemory 1zb'\nargument must be a memory value"),
            (
                "dbfilename a/b",
                "at line 1\n>>> 'dbfilename a/b'\ndbfilename can't be a path, just a filename",
            ),
            ("a.b", "at line 1\n>>> 'a.b'\nModule config specified without value"),
            ("sentinel x", "at line 1\n>>> 'sentinel x'\nsentinel directive while not in sentinel mode"),
            ("rename-command x y", "at line 1\n>>> 'rename-command x y'\nNo such command in rename-command"),
            (
                "rename-command get set",
                "at line 1\n>>> 'rename-command get set'\nTarget command name already exists",
            ),
        ] {
            assert_eq!(message(load_text(text)), format!("Reading the configuration file, {expected}"));
        }
        assert_eq!(
            load_text("foo").unwrap_err().to_string(),
            "\n*** FATAL CONFIG FILE ERROR (Ringward 0.1.0) ***\nReading the configuration file, at line 1\n>>> 'foo'\n\
             Bad directive or wrong number of arguments"
        );
        assert!(message(load_text("a.b 1")).starts_with("Module Configuration detected without loadmodule"));
    }

    #[test]
    fn the_command_line_comes_after_the_file() {
        let files = [("/r.conf", "port 1\nsave 5 5\nbind 1.1.1.1")];
        let config = load_files(
            &files,
            &["/r.conf", "--port", "2", "--save", "", "--bind", "127.0.0.1", "-::1", "--save", "900 1"],
        );
        let config = config.unwrap().config;
        assert_eq!(config.network.port, 2);
        assert_eq!(config.persistence.save.0, [crate::config::SavePoint { after_secs: 900, changes: 1 }]);
        assert_eq!(config.network.binds.0, ["127.0.0.1".into(), "-::1".into()]);
        assert_eq!(
            message(load_files(&[], &["--foo", "bar"])),
            "Reading the configuration file, at line 2\n>>> 'foo \"bar\"'\nBad directive or wrong number of arguments"
        );
        assert_eq!(load_files(&[("-", "port 3")], &["-"]).unwrap().config.network.port, 3);
        assert_eq!(load_files(&[("-", "port 3")], &["--port", "4", "-"]).unwrap().config.network.port, 4);
    }

    #[test]
    fn save_lines_replace_the_defaults_and_add_up() {
        let save = |text: &str| {
            let config = load_text(text).unwrap().config;
            String::from_utf8(params::row(b"save").unwrap().show(&config)).unwrap()
        };
        assert_eq!(save(""), "3600 1 300 100 60 10000");
        assert_eq!(save("save 900 1\nsave 60 5 30 6"), "900 1 60 5 30 6");
        assert_eq!(save("save 900 1\nsave \"\"\nsave 60 5"), "60 5");
        assert_eq!(save("save \"900 1 60 5\""), "900 1 60 5");
        assert_eq!(save("save ''"), "");
    }

    #[test]
    fn includes_nest_and_match_patterns() {
        let files = [
            ("/etc/r.conf", "port 1\ninclude /etc/conf.d/*.conf\ninclude /none/*.conf\ntimeout 7"),
            ("/etc/conf.d/b.conf", "port 3"),
            ("/etc/conf.d/a.conf", "port 2\ntimeout 5\ninclude sub.inc"),
            ("/etc/conf.d/.hidden.conf", "port 9"),
            ("/etc/conf.d/c.txt", "port 9"),
            ("sub.inc", "hz 50"),
        ];
        let config = load_files(&files, &["/etc/r.conf"]).unwrap().config;
        assert_eq!((config.network.port, config.network.timeout_secs, config.process.hz), (3, 7, 50));
        let files = [("/r.conf", "include x.conf"), ("x.conf", "\nport y")];
        assert_eq!(
            message(load_files(&files, &["/r.conf"])),
            "Reading the configuration file 'x.conf', at line 2\n>>> 'port y'\n\
             argument couldn't be parsed into an integer"
        );
        assert_eq!(
            message(load_text("include /no")),
            "Fatal error, can't open config file '/no': No such file or directory"
        );
        assert!(message(load_text("include /r.conf")).ends_with("include is nested more than 16 deep"));
        let files = [("/r.conf", "dir /data\ninclude x.conf"), ("/data/x.conf", "port 5")];
        assert_eq!(load_files(&files, &["/r.conf"]).unwrap().config.network.port, 5);
    }

    #[test]
    fn patterns_expand_like_the_shell_s() {
        let names = ["/a/x1/r.conf", "/a/x2/r.conf", "/a/x2/s.conf", "/a/y/r.conf", "p.conf"];
        let files = Files(names.map(|name| (name, String::new())).into());
        let expand = |pattern: &str| {
            let found = expand(pattern.as_bytes(), &files);
            found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(expand("/a/x?/r.conf"), ["/a/x1/r.conf", "/a/x2/r.conf"]);
        assert_eq!(expand("/a/[!x]/*"), ["/a/y/r.conf"]);
        assert_eq!(expand("*.conf"), ["p.conf"]);
        assert_eq!(expand("/a/*/none"), [""; 0]);
        assert_eq!(expand("/*/y/r.conf"), ["/a/y/r.conf"]);
    }

    #[test]
    fn commands_are_renamed_one_after_the_other() {
        assert!(load_text("rename-command get old-get\nrename-command set get\nrename-command old-get ''")
            .is_ok());
        assert!(load_text("rename-command get ''\nrename-command GET x").is_err());
        assert!(load_text("rename-command get GET").is_ok());
    }

    #[test]
    fn what_has_no_effect_is_told_once() {
        let warnings =
            load_text("io-threads 4\nactivedefrag no\nio-threads 2\nappendonly no\nport 1").unwrap().warnings;
        let names: Vec<&str> = warnings.iter().map(|warning| warning.name.as_str()).collect();
        assert_eq!(names, ["io-threads", "activedefrag"]);
        assert!(warnings[0]
            .to_string()
            .starts_with("io-threads has no effect in Ringward: the cores that own"));
    }

    #[test]
    fn what_no_setting_holds_is_kept() {
        let config =
            load_text("user bob on >pw ~* # Bob\nloadmodule /m.so 1\nm.x 2\nlua-replicate-commands no");
        let config = config.unwrap().config;
        assert_eq!(config.users, [["bob".into(), "on".into(), ">pw".into(), "~*".into()]]);
        assert_eq!(config.modules, [["/m.so".into(), "1".into()]]);
    }
}
