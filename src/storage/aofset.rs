//! The append-only file of all shards: its folders, and the one manifest that says which of them belong together.
//!
//! ```text
//! appendonlydir/
//!   ringward.manifest                 "format 1", "generation 3", "shards 2"
//!   g3-0of2/                          one shard's set, as Redis 7 keeps its own
//!     appendonly.aof.manifest
//!     appendonly.aof.5.base.rdb
//!     appendonly.aof.5.incr.aof
//!   g3-1of2/
//! ```
//!
//! A *generation* is a life of the append-only file with one number of shards: a new one begins when it is switched on,
//! when the number of shards has changed, and when the files of a stock Redis were taken over. It is made whole before
//! the manifest names it, and the old one is removed after that.
//!
//! Within a generation files are numbered by *cuts*: the increments of number n of all shards begin at the same point
//! in the order of transactions, and a base of number n holds what came before it. So whether a transaction's part is
//! in a shard's files can be told without a clock: a part in some shard's increment n is in another's increment n, or
//! before its base if that has a higher number.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::manifest::Member;
use crate::base::ids::ShardId;
use crate::base::num::parse_u64;

/// The name of the manifest in the folder of the append-only file.
pub const TOP_MANIFEST: &str = "ringward.manifest";

/// What the top manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AofSet {
    /// Which generation counts.
    pub generation: u64,
    /// How many shards' sets it has.
    pub shards: u16,
}

impl AofSet {
    /// The manifest as text.
    pub fn text(self) -> Vec<u8> {
        let mut text = String::from("format 1\n");
        let _ = writeln!(text, "generation {}\nshards {}", self.generation, self.shards);
        text.into_bytes()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// The line that cannot be understood, as text for people.
    pub fn parse(text: &[u8]) -> Result<AofSet, String> {
        let mut fields = Fields::new(text)?;
        let set = AofSet { generation: fields.number("generation")?, shards: fields.count("shards")? };
        fields.end()?;
        Ok(set)
    }
}

/// The lines of a manifest of ours, each a name and a value.
pub(super) struct Fields<'a> {
    lines: std::str::Lines<'a>,
}

impl<'a> Fields<'a> {
    /// The lines after the first, which must name the format.
    pub(super) fn new(text: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        if !text.ends_with('\n') {
            return Err("its last line is not complete".to_owned());
        }
        let mut fields = Fields { lines: text.lines() };
        match fields.number("format")? {
            1 => Ok(fields),
            other => Err(format!("it is of format {other}, which is newer than this build")),
        }
    }

    /// The value of the next line, which must have this name.
    pub(super) fn value(&mut self, name: &str) -> Result<&'a str, String> {
        let line = self.lines.next().ok_or_else(|| format!("'{name}' is missing"))?;
        line.strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| format!("'{name}' is missing before '{line}'"))
    }

    /// The same as a number.
    pub(super) fn number(&mut self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        parse_u64(value.as_bytes()).ok_or_else(|| format!("'{name} {value}' is no number"))
    }

    /// The same as a number of shards.
    pub(super) fn count(&mut self, name: &str) -> Result<u16, String> {
        let value = self.number(name)?;
        u16::try_from(value)
            .ok()
            .filter(|&count| count > 0)
            .ok_or_else(|| format!("'{name} {value}' is too large"))
    }

    /// The next line, if there is one.
    pub(super) fn line(&mut self) -> Option<&'a str> {
        self.lines.next()
    }

    /// There must be no more.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.lines.next().map_or(Ok(()), |line| Err(format!("'{line}' is unknown")))
    }
}

/// Where the files of one shard in one generation are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardFolder {
    /// The folder.
    pub path: PathBuf,
    /// `appendfilename`: what its files' names begin with.
    pub basename: String,
}

impl ShardFolder {
    /// The folder of a shard, in the folder of the append-only file.
    pub fn new(aof_folder: &Path, basename: &str, set: AofSet, shard: ShardId) -> ShardFolder {
        let name = format!("g{}-{}of{}", set.generation, shard.0, set.shards);
        ShardFolder { path: aof_folder.join(name), basename: basename.to_owned() }
    }

    /// The shard's manifest.
    pub fn manifest(&self) -> PathBuf {
        self.path.join(format!("{}.manifest", self.basename))
    }

    /// A member of the manifest, by its name.
    pub fn file(&self, member: &Member) -> PathBuf {
        self.path.join(&member.name)
    }

    /// The base made at a cut.
    pub fn base(&self, cut: u64, is_rdb: bool) -> Member {
        let kind = if is_rdb { "rdb" } else { "aof" };
        Member { name: format!("{}.{cut}.base.{kind}", self.basename), seq: cut }
    }

    /// A base that is being made.
    pub fn temporary_base(&self) -> PathBuf {
        self.path.join(format!("temp-{}.base", self.basename))
    }

    /// The increment that begins at a cut.
    pub fn increment(&self, cut: u64) -> Member {
        Member { name: format!("{}.{cut}.incr.aof", self.basename), seq: cut }
    }
}

/// Whether a name in the folder of the append-only file is that of a generation's folder; the set it belongs to and the
/// shard.
pub fn folder_named(name: &str) -> Option<(AofSet, ShardId)> {
    let (generation, rest) = name.strip_prefix('g')?.split_once('-')?;
    let (shard, shards) = rest.split_once("of")?;
    let set = AofSet { generation: parse_u64(generation.as_bytes())?, shards: number(shards)? };
    Some((set, ShardId(number(shard)?)))
}

fn number(text: &str) -> Option<u16> {
    parse_u64(text.as_bytes()).and_then(|value| u16::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_manifest_is_read_as_it_was_written() {
        let set = AofSet { generation: 7, shards: 12 };
        assert_eq!(AofSet::parse(&set.text()), Ok(set));
    }

    #[test]
    fn a_top_manifest_that_is_cut_or_unknown_is_refused() {
        let cases: [&[u8]; 7] = [
            b"",
            b"format 1\ngeneration 7\nshards 12",
            b"format 2\ngeneration 7\nshards 12\n",
            b"format 1\ngeneration 7\n",
            b"format 1\ngeneration x\nshards 1\n",
            b"format 1\ngeneration 1\nshards 0\n",
            b"format 1\ngeneration 1\nshards 1\nmore\n",
        ];
        for text in cases {
            assert!(AofSet::parse(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn folders_are_known_by_their_names() {
        let set = AofSet { generation: 3, shards: 2 };
        let folder = ShardFolder::new(Path::new("a"), "appendonly.aof", set, ShardId(1));
        assert_eq!(folder.path, Path::new("a/g3-1of2"));
        assert_eq!(folder_named("g3-1of2"), Some((set, ShardId(1))));
        for name in ["g3", "g3-1", "g3-1of", "3-1of2", "g-1of2", "gx-1of2"] {
            assert_eq!(folder_named(name), None, "{name}");
        }
    }
}
