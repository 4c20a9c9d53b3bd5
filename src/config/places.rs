//! Where things are: the addresses to listen on, the primary, the folder of files.

use std::{os::unix::ffi::OsStrExt, path::Path};

use super::{
    line::{quoted, quoted_if_needed},
    value::{joined, parse_c_integer, without_lone_empty, Arguments, Refusal, Text, Value, Written},
};

/// The addresses to listen on (`bind`). A leading `-` forgives an address that this host does not have; `*` is all of
/// IPv4, `::*` all of IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Text>);

impl Addresses {
    /// More than this many are refused, as in Redis.
    const MAX: usize = 16;

    /// All of IPv4 and, where there is any, all of IPv6.
    pub fn all() -> Addresses {
        Addresses(vec!["*".into(), "-::*".into()])
    }
}

impl Value for Addresses {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        if words.len() > Self::MAX {
            return Err("Too many bind addresses specified.".into());
        }
        self.0 = without_lone_empty(words).iter().cloned().map(Text::from).collect();
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        joined(&self.0).into()
    }

    /// No line for the default, even where the file had one: as in Redis.
    fn lines(&self, default: &Addresses, (): &()) -> Vec<Written> {
        if self == default {
            return Vec::new();
        }
        let addresses: Vec<Vec<u8>> = self.0.iter().map(|address| quoted_if_needed(address)).collect();
        let arguments = match addresses.as_slice() {
            [] => b"\"\"".to_vec(),
            // One word is split again when it is read.
            [only] => quoted_if_needed(only),
            several => several.join(&b' '),
        };
        vec![Written::new(arguments, true)]
    }
}

/// The primary to replicate from, if any (`replicaof`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOf(pub Option<PrimaryAddress>);

/// Where a primary is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryAddress {
    /// Host name or IP address.
    pub host: Text,
    /// TCP port.
    pub port: u16,
}

impl Value for ReplicaOf {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        let [host, port] = words else { return Err("wrong number of arguments".into()) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let port = parse_c_integer(port, 10).and_then(|port| u16::try_from(port).ok());
        self.0 = Some(PrimaryAddress { host: host.clone().into(), port: port.ok_or("Invalid master port")? });
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        let Some(primary) = &self.0 else { return Vec::new() };
        [&primary.host[..], primary.port.to_string().as_bytes()].join(&b' ')
    }

    fn lines(&self, _default: &ReplicaOf, (): &()) -> Vec<Written> {
        let Some(primary) = &self.0 else { return Vec::new() };
        let words = [quoted_if_needed(&primary.host), primary.port.to_string().into()];
        vec![Written::new(words.join(&b' '), true)]
    }
}

/// The folder that relative paths start from (`dir`).
///
/// Whoever applies it changes there and puts the absolute path in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(pub Text);

impl Value for Directory {
    type Rule = ();

    /// A relative path starts where the one before led to, as it does in Redis, which changes there at once.
    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        let word = words.first().map_or(&[][..], |word| word);
        if word.is_empty() {
            return Err("No such file or directory".into());
        }
        self.0 = self.resolve(word);
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        self.0.to_vec()
    }

    fn lines(&self, _default: &Directory, (): &()) -> Vec<Written> {
        vec![Written::new(quoted(&self.0), true)]
    }
}

impl From<&Path> for Directory {
    fn from(path: &Path) -> Directory {
        Directory(path.as_os_str().as_bytes().to_vec().into())
    }
}

impl Directory {
    /// The path that `path` means, read from this folder.
    pub fn resolve(&self, path: &[u8]) -> Text {
        if path.starts_with(b"/") || *self.0 == b"."[..] {
            return path.to_vec().into();
        }
        let separator: &[u8] = if self.0.ends_with(b"/") { b"" } else { b"/" };
        [&self.0, separator, path].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::testing::{read, show};

    #[test]
    fn addresses() {
        assert_eq!(read(Addresses::all(), "127.0.0.1 -::1").unwrap().0, ["127.0.0.1".into(), "-::1".into()]);
        assert_eq!(read(Addresses::all(), "\"\"").unwrap().0, []);
        assert_eq!(
            read(Addresses::all(), &"a ".repeat(17)),
            Err("Too many bind addresses specified.".into())
        );
        assert_eq!(Addresses::all().lines(&Addresses::all(), &()), []);
        assert_eq!(Addresses(vec![]).lines(&Addresses::all(), &()), [Written::new("\"\"", true)]);
    }

    #[test]
    fn replica_of() {
        let set = read(ReplicaOf(None), "10.0.0.1 6379").unwrap();
        assert_eq!(show(&set), "10.0.0.1 6379");
        assert_eq!(read(set.clone(), "NO one"), Ok(ReplicaOf(None)));
        assert_eq!(read(set.clone(), "a 65536"), Err("Invalid master port".into()));
        assert_eq!(read(set, "a"), Err("wrong number of arguments".into()));
    }

    #[test]
    fn directories_follow_each_other() {
        let start = Directory(".".into());
        let data = read(start, "data").unwrap();
        assert_eq!(show(&data), "data");
        assert_eq!(show(&read(data.clone(), "sub").unwrap()), "data/sub");
        assert_eq!(show(&read(data, "/var/lib").unwrap()), "/var/lib");
    }
}
