//! THE table of directives: one row each, in sections like those of redis.conf.
//!
//! A row names everything once: the directive and its old name, the field of [`Config`] with its type and default, the
//! rule of its values, whether CONFIG SET may change it, and what it does here. The section's struct, its `Default`,
//! and the functions behind reading, CONFIG GET, CONFIG SET and CONFIG REWRITE all come from the row (`section!`).
//!
//! Not here: what is no setting but an order to the reader of the file (`include`, `rename-command`, `user`,
//! `loadmodule`), in `load`.

use super::{
    value::{Arguments, Refusal, Value, Written},
    Config,
};

mod clients;
mod cluster;
mod encodings;
mod memory;
mod monitoring;
mod network;
mod persistence;
mod process;
mod replication;
mod security;
mod threads;
mod tls;

pub use self::{
    clients::Clients, cluster::Cluster, encodings::Encodings, memory::Memory, monitoring::Monitoring,
    network::Network, persistence::Persistence, process::Process, replication::Replication,
    security::Security, threads::Threads, tls::Tls,
};

/// One directive.
pub struct Row {
    /// The name in files, in CONFIG and after `--`.
    pub name: &'static str,
    /// The name of older versions, if it had another one.
    pub old_name: Option<&'static str>,
    /// What it does in Ringward.
    pub effect: Effect,
    pub(super) flags: u8,
    pub(super) takes_several: bool,
    pub(super) read: fn(&mut Config, &Arguments, bool) -> Result<(), Refusal>,
    pub(super) show: fn(&Config) -> Vec<u8>,
    pub(super) lines: fn(&Config, &Config) -> Vec<Written>,
    pub(super) is_same_line: fn(&Arguments, &Arguments) -> bool,
}

/// What a directive does in Ringward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What Redis says it does.
    Live,
    /// Nothing yet: it comes with this issue.
    Later(u8),
    /// Nothing, for this reason. It is accepted, because files that work with Redis have it.
    Meaningless(&'static str),
}

/// CONFIG SET may change it.
const MUTABLE: u8 = 0;
/// Only the start may set it.
const IMMUTABLE: u8 = 1 << 0;
/// Its value is a secret: kept out of SLOWLOG, MONITOR and the log.
const SENSITIVE: u8 = 1 << 1;
/// CONFIG GET finds it by its full name only.
const HIDDEN: u8 = 1 << 2;
/// CONFIG SET needs `enable-protected-configs`.
const PROTECTED: u8 = 1 << 3;
/// CONFIG SET waits until the data set is loaded.
const NOT_WHILE_LOADING: u8 = 1 << 4;

impl Row {
    /// Whether CONFIG SET refuses it.
    pub fn is_immutable(&self) -> bool {
        self.flags & IMMUTABLE != 0
    }

    /// Whether its value must not be shown in logs.
    pub fn is_sensitive(&self) -> bool {
        self.flags & SENSITIVE != 0
    }

    /// Whether no pattern of CONFIG GET finds it.
    pub fn is_hidden(&self) -> bool {
        self.flags & HIDDEN != 0
    }

    /// Whether CONFIG SET needs `enable-protected-configs`.
    pub fn is_protected(&self) -> bool {
        self.flags & PROTECTED != 0
    }

    /// Whether CONFIG SET refuses it while the data set is loaded.
    pub fn is_denied_while_loading(&self) -> bool {
        self.flags & NOT_WHILE_LOADING != 0
    }

    /// The value as CONFIG GET replies it.
    pub fn show(&self, config: &Config) -> Vec<u8> {
        (self.show)(config)
    }

    /// Puts a new value into `config`, which is spoilt if it is refused. `is_first` is false if the file being read had
    /// this directive before.
    pub(super) fn read(&self, config: &mut Config, words: &Arguments, is_first: bool) -> Result<(), Refusal> {
        if !self.takes_several && words.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        (self.read)(config, words, is_first)
    }
}

/// Every directive, section by section.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().copied().flatten()
}

/// Every name that a directive answers to: first its own, then its old one.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static Row)> {
    rows().flat_map(|row| std::iter::once(row.name).chain(row.old_name).map(move |name| (name, row)))
}

/// The directive called `name`, in any case, and that name as the table has it.
pub(super) fn find(name: &[u8]) -> Option<(&'static str, &'static Row)> {
    names().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// The directive called `name`, by its own or its old name, in any case.
pub fn row(name: &[u8]) -> Option<&'static Row> {
    find(name).map(|(_, row)| row)
}

const SECTIONS: &[&[Row]] = &[
    threads::ROWS,
    network::ROWS,
    clients::ROWS,
    process::ROWS,
    security::ROWS,
    memory::ROWS,
    persistence::ROWS,
    replication::ROWS,
    encodings::ROWS,
    monitoring::ROWS,
    tls::ROWS,
    cluster::ROWS,
];

/// Declares a section: the struct, its defaults, and its rows. A row reads
/// `"name" ("old-name") => field: Type = default, rule, flags, effect;`
macro_rules! section {
    (
        $(#[$doc:meta])*
        $Section:ident at $place:ident {
            $(
                $(#[$field_doc:meta])*
                $name:literal $(($old_name:literal))? =>
                    $field:ident: $Type:ty = $default:expr, $rule:expr, $flags:expr, $effect:expr;
            )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Section { $( $(#[$field_doc])* pub $field: $Type, )* }

        impl Default for $Section {
            fn default() -> $Section {
                $Section { $( $field: $default, )* }
            }
        }

        pub(super) const ROWS: &[Row] = &[ $( Row {
            name: $name,
            old_name: section!(@old $($old_name)?),
            effect: $effect,
            flags: $flags,
            takes_several: <$Type as Value>::TAKES_SEVERAL,
            read: |config, words, is_first| config.$place.$field.read(words, &$rule, is_first),
            show: |config| config.$place.$field.show(&$rule),
            lines: |config, defaults| config.$place.$field.lines(&defaults.$place.$field, &$rule),
            is_same_line: <$Type as Value>::is_same_line,
        }, )* ];
    };
    (@old) => { None };
    (@old $old_name:literal) => { Some($old_name) };
}
use section;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_directives_share_a_name() {
        let mut seen = BTreeSet::new();
        for (name, _) in names() {
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(seen.insert(name), "{name} twice");
        }
    }

    #[test]
    fn every_directive_of_redis_is_here_with_its_default() {
        let defaults = Config::default();
        let letters = |row: &Row| {
            let flags = [
                (row.is_immutable(), 'i'),
                (row.is_sensitive(), 's'),
                (row.is_hidden(), 'h'),
                (row.is_protected(), 'p'),
                (row.is_denied_while_loading(), 'l'),
            ];
            let letters: String =
                flags.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect();
            if letters.is_empty() {
                "-".to_string()
            } else {
                letters
            }
        };
        let line = |(name, row): (&str, &Row)| {
            let value = String::from_utf8(row.show(&defaults)).unwrap();
            format!("{} {name} {value}", letters(row)).trim_end().to_string()
        };
        let ours: BTreeSet<String> = names().map(line).collect();
        let redis = include_str!("redis-7.2.txt").lines().filter(|line| !line.starts_with('#'));
        let redis: BTreeSet<String> = redis.map(String::from).collect();
        assert_eq!(redis.difference(&ours).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(ours.difference(&redis).collect::<Vec<_>>(), ["- spin-us 0", "i cores", "i shards 0"]);
    }

    #[test]
    fn every_default_is_one_that_its_row_accepts() {
        let defaults = Config::default();
        for row in rows() {
            let mut config = Config::default();
            let shown = row.show(&defaults);
            let words =
                if row.takes_several { crate::config::line::split(&shown).unwrap() } else { vec![shown] };
            // That there is no primary is not said by an empty line, but by `no one`.
            if row.name == "replicaof" {
                continue;
            }
            assert_eq!(row.read(&mut config, &words, true), Ok(()), "{}", row.name);
            assert_eq!(config, defaults, "{}", row.name);
        }
    }
}
