//! The command line: `ringward [redis.conf] [--directive value ...] [-]`, as redis-server takes it; and
//! `ringward rdb ...`, which is no server (`tool`). A configuration file of that name is called `./rdb`.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use super::{
    line::{quoted, split},
    tool::{self, NoTool, Tool},
    Text,
};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print this text and exit.
    Print(String),
    /// Print this text as an error and exit.
    Complain(String),
    /// Run a tool.
    Tool(Tool),
    /// Run the server.
    Run(Invocation),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The configuration file.
    pub config_file: Option<Text>,
    /// Whether more of it is read from standard input.
    pub reads_stdin: bool,
    /// The directives of the command line as lines of a file; none if the command line is empty.
    pub options: Option<Vec<u8>>,
}

/// Reads `arguments`, of which the first is the program's name.
pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Command {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "rdb") {
        return match tool::parse(&arguments[1..]) {
            Ok(tool) => Command::Tool(tool),
            Err(NoTool::Help(text)) => Command::Print(text),
            Err(NoTool::Error(text)) => Command::Complain(text),
        };
    }
    let arguments: Vec<Vec<u8>> = arguments.into_iter().map(OsString::into_vec).collect();
    match arguments.first().map(Vec::as_slice) {
        Some(b"--help" | b"-h") => Command::Print(described().render_help().to_string()),
        Some(b"--version" | b"-v" | b"-V") => Command::Print(described().render_version()),
        _ => Command::Run(invocation(&arguments)),
    }
}

/// The command line to clap, which writes the help. The arguments themselves are read by hand: any directive is an
/// option, with as many values as follow it.
fn described() -> clap::Command {
    let version = concat!("v=", env!("CARGO_PKG_VERSION"), " redis_version=7.2.4 malloc=mimalloc bits=64");
    let mut examples = String::from("Examples:\n");
    for (example, meaning) in [
        ("ringward", "the defaults: port 6379, a shard on every core"),
        ("ringward /etc/redis/redis.conf", "a redis.conf as it is"),
        ("ringward redis.conf --port 7777 --loglevel verbose", "with some directives changed"),
        ("ringward --shards 4 --cores 0-3", "four shards, pinned to four cores"),
        ("ringward --bind 127.0.0.1 -::1 --save \"\"", "directives with several values, or an empty one"),
        ("echo 'maxmemory 128mb' | ringward -", "directives from standard input"),
        ("ringward rdb merge /data > dump.rdb", "one RDB file of the snapshot of all shards"),
        ("ringward rdb split --shards 4 --out /data dump.rdb", "and the way back"),
    ] {
        examples += &format!("  {example:<52} {meaning}\n");
    }
    clap::Command::new("ringward")
        .display_name("Ringward")
        .version(version)
        .about("An in-memory server that speaks Redis, on every core, on io_uring.")
        .override_usage(
            "ringward [redis.conf] [--<directive> <value>...]... [-]\n       \
             ringward rdb <merge | split> [--help]\n       ringward --help | --version",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([
            clap::Arg::new("redis.conf")
                .help("A configuration file, as Redis 7.2 takes it; `-` is standard input"),
            clap::Arg::new("directive")
                .long("<directive>")
                .num_args(0..)
                .value_name("value")
                .help("Any directive of redis.conf with its values; these come after the file"),
            clap::Arg::new("shards")
                .long("shards")
                .value_name("n")
                .help("How many parts the keyspace has (one per usable core)"),
            clap::Arg::new("cores")
                .long("cores")
                .value_name("list")
                .help("The processors to run on, like 0-3,8 (all we may run on)"),
            clap::Arg::new("spin-us")
                .long("spin-us")
                .value_name("us")
                .help("How long an idle core looks for work before it sleeps (0)"),
            clap::Arg::new("help").short('h').long("help").num_args(0).help("Print this help"),
            clap::Arg::new("version").short('v').long("version").num_args(0).help("Print the version"),
        ])
        .after_help(examples)
}

/// redis-server's way: each `--name` opens a line, every other argument is quoted and added to it.
fn invocation(arguments: &[Vec<u8>]) -> Invocation {
    let mut invocation = Invocation::default();
    if arguments.is_empty() {
        return invocation;
    }
    let mut start = 0;
    if !arguments[0].starts_with(b"-") {
        invocation.config_file = Some(arguments[0].clone().into());
        start = 1;
    }
    let mut options = Vec::new();
    // A value may begin with `--` if its directive has none yet.
    let mut awaits_value = false;
    for (index, argument) in arguments.iter().enumerate().skip(start) {
        let next = arguments.get(index + 1);
        let is_at_an_end = index == 0 || next.is_none();
        match argument.strip_prefix(b"--") {
            _ if argument == b"-" && is_at_an_end => invocation.reads_stdin = true,
            Some(name) if !awaits_value => {
                if !options.is_empty() {
                    options.push(b'\n');
                }
                options.extend([name, b" "].concat());
                // `--port` alone, or all of a line in one argument: `"--port 6380"`.
                awaits_value = split(argument).is_ok_and(|words| words.len() == 1);
                // `--save --port 1` means `--save "" --port 1`, for scripts whose list of save points is empty.
                let is_bare_save = awaits_value && argument.eq_ignore_ascii_case(b"--save");
                if is_bare_save && next.is_none_or(|next| next.starts_with(b"--")) {
                    options.extend(b"\"\"");
                    awaits_value = false;
                }
            }
            _ => {
                options.extend(quoted(argument));
                options.push(b' ');
                awaits_value = false;
            }
        }
    }
    invocation.options = Some(options);
    invocation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> (Option<String>, bool, String) {
        let all = std::iter::once("ringward").chain(arguments.iter().copied());
        match parse_arguments(all.map(OsString::from)) {
            Command::Run(Invocation { config_file, reads_stdin, options }) => (
                config_file.map(|path| path.to_string()),
                reads_stdin,
                String::from_utf8(options.unwrap_or_default()).unwrap(),
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn directives_become_lines() {
        for (arguments, options) in [
            (&[][..], ""),
            (
                &["--port", "7000", "--save", "", "--appendonly", "no"],
                "port \"7000\" \nsave \"\" \nappendonly \"no\" ",
            ),
            (&["--bind", "127.0.0.1", "-::1", "--port", "1"], "bind \"127.0.0.1\" \"-::1\" \nport \"1\" "),
            (&["--save", "--port", "1"], "save \"\"\nport \"1\" "),
            (&["--port", "1", "--save"], "port \"1\" \nsave \"\""),
            (&["--port 1", "--hz", "5"], "port 1 \nhz \"5\" "),
            (&["--requirepass", "--x", "--port", "1"], "requirepass \"--x\" \nport \"1\" "),
            (&["--logfile", "a b\"c"], "logfile \"a b\\\"c\" "),
            (&["--port"], "port "),
        ] {
            assert_eq!(run(arguments), (None, false, options.to_string()), "{arguments:?}");
        }
    }

    #[test]
    fn the_file_comes_first_and_stdin_first_or_last() {
        let file = || Some("r.conf".to_string());
        assert_eq!(run(&["r.conf"]), (file(), false, "".into()));
        assert_eq!(run(&["r.conf", "--port", "1", "-"]), (file(), true, "port \"1\" ".into()));
        assert_eq!(run(&["-", "--port", "1"]), (None, true, "port \"1\" ".into()));
        assert_eq!(run(&["--bind", "-", "x"]), (None, false, "bind \"-\" \"x\" ".into()));
        assert_eq!(run(&["r.conf", "x"]), (file(), false, "\"x\" ".into()));
    }

    #[test]
    fn tools_are_known_by_their_first_word() {
        let command = |arguments: &[&str]| {
            parse_arguments(std::iter::once("ringward").chain(arguments.iter().copied()).map(OsString::from))
        };
        assert!(matches!(command(&["rdb", "merge", "/data"]), Command::Tool(Tool::Merge(_))));
        assert!(matches!(command(&["rdb", "--help"]), Command::Print(text) if text.contains("merge")));
        assert!(matches!(command(&["rdb", "--port"]), Command::Complain(_)));
        assert_eq!(run(&["./rdb"]).0, Some("./rdb".to_owned()));
        assert_eq!(run(&["--dir", "rdb"]).2, "dir \"rdb\" ");
    }

    #[test]
    fn help_and_version_are_texts() {
        let text = |argument: &str| match parse_arguments(["ringward", argument].map(OsString::from)) {
            Command::Print(text) => text,
            other => panic!("{argument}: {other:?}"),
        };
        assert!(text("--version").starts_with("Ringward v=0.1.0 "), "{}", text("--version"));
        assert_eq!(text("-v"), text("--version"));
        for part in
            ["Usage: ringward [redis.conf]", "--cores <list>", "ringward --shards 4 --cores 0-3", "Examples:"]
        {
            assert!(text("--help").contains(part), "{}", text("--help"));
        }
    }
}
