//! The command line of the tools: `ringward rdb merge` and `ringward rdb split`.
//!
//! Unlike the server's, it has a fixed set of options, which clap reads.

use std::{ffi::OsString, path::PathBuf};

use clap::{value_parser, Arg, ArgAction, ArgMatches};

/// A tool and what it is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// One file of the snapshot of all shards.
    Merge(MergeTool),
    /// The snapshot of all shards of one file.
    Split(SplitTool),
}

/// `ringward rdb merge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeTool {
    /// The server's folder.
    pub dir: PathBuf,
    /// The file to be made; none is standard output.
    pub out: Option<PathBuf>,
    /// `dbfilename` of the server.
    pub dbfilename: String,
    /// Whether nothing is shown but errors and warnings.
    pub is_quiet: bool,
}

/// `ringward rdb split`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitTool {
    /// The file; none is standard input.
    pub file: Option<PathBuf>,
    /// Into how many.
    pub shards: u16,
    /// The folder that they go to.
    pub dir: PathBuf,
    /// `dbfilename` of the server that will load them.
    pub dbfilename: String,
    /// Whether a snapshot that is there is replaced.
    pub replaces: bool,
    /// Whether nothing is shown but errors and warnings.
    pub is_quiet: bool,
}

/// Why a tool is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoTool {
    /// Its help was asked for.
    Help(String),
    /// Its arguments cannot be understood.
    Error(String),
}

/// The most shards that a server has.
const SHARDS_MAX: i64 = 1024;

/// Reads `arguments`, those after `rdb`.
pub(super) fn parse(arguments: &[OsString]) -> Result<Tool, NoTool> {
    let name = std::iter::once(OsString::from("ringward rdb"));
    let matches = described().try_get_matches_from(name.chain(arguments.iter().cloned()));
    let matches = matches.map_err(|error| {
        let text = error.render().to_string();
        match error.exit_code() {
            0 => NoTool::Help(text),
            _ => NoTool::Error(text),
        }
    })?;
    match matches.subcommand() {
        Some(("merge", matches)) => Ok(Tool::Merge(MergeTool {
            dir: path(matches, "DIR").unwrap_or_default(),
            out: path(matches, "out"),
            dbfilename: text(matches, "dbfilename"),
            is_quiet: matches.get_flag("quiet"),
        })),
        Some(("split", matches)) => Ok(Tool::Split(SplitTool {
            file: path(matches, "FILE").filter(|path| path.as_os_str() != "-"),
            shards: matches.get_one("shards").copied().unwrap_or(1),
            dir: path(matches, "out").unwrap_or_default(),
            dbfilename: text(matches, "dbfilename"),
            replaces: matches.get_flag("replace"),
            is_quiet: matches.get_flag("quiet"),
        })),
        _ => Err(NoTool::Help(described().render_help().to_string())),
    }
}

fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).cloned()
}

fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}

fn described() -> clap::Command {
    let dbfilename = Arg::new("dbfilename")
        .long("dbfilename")
        .value_name("NAME")
        .default_value("dump.rdb")
        .value_parser(file_name)
        .help("What the server calls its snapshots, as in its configuration");
    let quiet = Arg::new("quiet").short('q').long("quiet").action(ArgAction::SetTrue);
    let quiet = quiet.help("Show no progress and no summary");
    let out = || Arg::new("out").short('o').long("out").value_parser(value_parser!(PathBuf));
    let merge = clap::Command::new("merge")
        .about("Makes one RDB file, for a stock Redis and its tools, of the snapshot of all shards")
        .after_help(
            "The snapshot is the last one that SAVE, BGSAVE or a save point has made; the server may run meanwhile.\n\
             An append-only file is not merged, unless nothing was written since it was rewritten: have the server\n\
             SAVE first. The file has version 10 of the format, which Redis 7.0 reads; where fields of hashes expire\n\
             it has version 12, that of Redis 7.4.\n\n\
             Examples:\n  ringward rdb merge /var/lib/ringward > dump.rdb\n  \
             ringward rdb merge --out /backup/today.rdb /var/lib/ringward",
        )
        .args([
            Arg::new("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The server's folder, its `dir`"),
            out().value_name("FILE").help("The file to be made [default: standard output]"),
            dbfilename.clone(),
            quiet.clone(),
        ]);
    let split = clap::Command::new("split")
        .about("Makes a snapshot of so many shards, which a server loads as its own, of one RDB file")
        .after_help(
            "What is read: the files of Redis up to 7.4 and of Valkey up to 9. A server also takes over a dump.rdb as\n\
             it is; split files are loaded by all cores at once.\n\n\
             Examples:\n  ringward rdb split --shards 8 --out /var/lib/ringward dump.rdb\n  \
             redis-cli --rdb - | ringward rdb split --shards 8 --out /var/lib/ringward -",
        )
        .args([
            Arg::new("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The file to be split; `-` is standard input"),
            Arg::new("shards")
                .short('n')
                .long("shards")
                .value_name("N")
                .required(true)
                .value_parser(value_parser!(u16).range(1..=SHARDS_MAX))
                .help("Into how many: as many as the server will have"),
            out().value_name("DIR").default_value(".").help("The folder that they go to; made if need be"),
            dbfilename,
            Arg::new("replace")
                .long("replace")
                .action(ArgAction::SetTrue)
                .help("Replace the snapshot that is in the folder"),
            quiet,
        ]);
    clap::Command::new("ringward rdb")
        .about("Exchanges snapshots with other servers and tools")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([merge, split])
}

fn file_name(name: &str) -> Result<String, String> {
    match name.is_empty() || name.contains('/') {
        true => Err("it can't be a path, just a filename".to_owned()),
        false => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Tool, NoTool> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_in_any_order() {
        let merge =
            MergeTool { dir: "/data".into(), out: None, dbfilename: "dump.rdb".to_owned(), is_quiet: false };
        assert_eq!(parsed("merge /data"), Ok(Tool::Merge(merge.clone())));
        let quiet =
            MergeTool { out: Some("a.rdb".into()), dbfilename: "d.rdb".into(), is_quiet: true, ..merge };
        assert_eq!(parsed("merge --out a.rdb -q /data --dbfilename d.rdb"), Ok(Tool::Merge(quiet.clone())));
        assert_eq!(parsed("merge -o a.rdb --dbfilename=d.rdb --quiet /data"), Ok(Tool::Merge(quiet)));
        let split = SplitTool {
            file: Some("x.rdb".into()),
            shards: 8,
            dir: ".".into(),
            dbfilename: "dump.rdb".to_owned(),
            replaces: false,
            is_quiet: false,
        };
        assert_eq!(parsed("split --shards 8 x.rdb"), Ok(Tool::Split(split.clone())));
        let stdin = SplitTool { file: None, dir: "/data".into(), replaces: true, ..split };
        assert_eq!(parsed("split - -n 8 --replace --out /data"), Ok(Tool::Split(stdin)));
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for (line, told) in [
            ("", "Usage: ringward rdb <COMMAND>"),
            ("merge", "required arguments were not provided"),
            ("split x.rdb", "--shards <N>"),
            ("split --shards 0 x.rdb", "0 is not in 1..=1024"),
            ("split --shards 1025 x.rdb", "1025 is not in 1..=1024"),
            ("split --shards x x.rdb", "invalid digit"),
            ("merge --dbfilename a/b /data", "it can't be a path"),
            ("merge --nonsense /data", "unexpected argument '--nonsense'"),
            ("mirge /data", "unrecognized subcommand 'mirge'"),
        ] {
            match parsed(line) {
                Err(NoTool::Error(text)) => assert!(text.contains(told), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_is_no_error() {
        for (line, part) in [
            ("--help", "split  Makes a snapshot"),
            ("merge --help", "ringward rdb merge /var/lib/ringward > dump.rdb"),
            ("split -h", "--shards <N>"),
        ] {
            match parsed(line) {
                Err(NoTool::Help(text)) => assert!(text.contains(part), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
