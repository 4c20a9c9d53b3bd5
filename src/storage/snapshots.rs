//! Snapshots of all shards: the names of their files and the manifest that says which of them belong together.
//!
//! ```text
//! dump.rdb.manifest          "format 1", "id 18c2...", "shards 2", then a line for each file:
//! dump-18c2-0of2.rdb         "file dump-18c2-0of2.rdb bytes 1234 crc64 0123456789abcdef keys 17"
//! dump-18c2-1of2.rdb
//! ```
//!
//! The files are written and synced first, each under a temporary name; then the manifest takes the place of the old
//! one, and only then are the files of the snapshot before removed. A stock `dump.rdb` that was loaded, or lay there
//! when the snapshot was made, is out of date from then on: the manifest remembers which it was (`replaces`).

use std::fmt::Write as _;

use super::aofset::Fields;
use crate::base::ids::ShardId;
use crate::base::num::parse_u64;

/// What the manifest of a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSet {
    /// Distinguishes it from others: when it was made, in milliseconds since the epoch.
    pub id: u64,
    /// One for each shard, in their order.
    pub files: Vec<SnapshotFile>,
    /// The stock file of the name `dbfilename` that the snapshot is newer than.
    pub replaces: Option<Replaced>,
}

/// One shard's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its checksum as it stands at its end; zero where checksums are off.
    pub crc64: u64,
    /// How many keys are in it.
    pub keys: u64,
}

/// A file that is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Its length.
    pub bytes: u64,
    /// When it was last changed, in nanoseconds since the epoch.
    pub modified_ns: u64,
}

impl SnapshotSet {
    /// The manifest as text.
    pub fn text(&self) -> Vec<u8> {
        let mut text = format!("format 1\nid {}\nshards {}\n", self.id, self.files.len());
        for SnapshotFile { name, bytes, crc64, keys } in &self.files {
            let _ = writeln!(text, "file {name} bytes {bytes} crc64 {crc64:016x} keys {keys}");
        }
        if let Some(Replaced { bytes, modified_ns }) = self.replaces {
            let _ = writeln!(text, "replaces bytes {bytes} modified_ns {modified_ns}");
        }
        text.into_bytes()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// The line that cannot be understood, as text for people.
    pub fn parse(text: &[u8]) -> Result<SnapshotSet, String> {
        let mut fields = Fields::new(text)?;
        let (id, shards) = (fields.number("id")?, fields.count("shards")?);
        let files = (0..shards).map(|_| file(fields.value("file")?)).collect::<Result<_, _>>()?;
        let replaces = fields.line().map(replaced).transpose()?;
        fields.end()?;
        Ok(SnapshotSet { id, files, replaces })
    }

    /// How many shards it was made of.
    pub fn shards(&self) -> u16 {
        self.files.len() as u16
    }
}

fn file(value: &str) -> Result<SnapshotFile, String> {
    let malformed = || format!("'file {value}' is malformed");
    // The name comes first and may have blanks in it.
    let (name, rest) = value.rsplit_once(" bytes ").ok_or_else(malformed)?;
    let words: Vec<_> = rest.split(' ').collect();
    let &[bytes, "crc64", crc64, "keys", keys] = words.as_slice() else { return Err(malformed()) };
    if name.is_empty() || name.contains('/') {
        return Err(malformed());
    }
    Ok(SnapshotFile {
        name: name.to_owned(),
        bytes: parse_u64(bytes.as_bytes()).ok_or_else(malformed)?,
        crc64: u64::from_str_radix(crc64, 16).map_err(|_| malformed())?,
        keys: parse_u64(keys.as_bytes()).ok_or_else(malformed)?,
    })
}

fn replaced(line: &str) -> Result<Replaced, String> {
    let words: Vec<_> = line.split(' ').collect();
    let numbers = match words.as_slice() {
        ["replaces", "bytes", bytes, "modified_ns", modified] => {
            parse_u64(bytes.as_bytes()).zip(parse_u64(modified.as_bytes()))
        }
        _ => None,
    };
    let (bytes, modified_ns) = numbers.ok_or_else(|| format!("'{line}' is unknown"))?;
    Ok(Replaced { bytes, modified_ns })
}

/// The name of the manifest for `dbfilename`.
pub fn manifest_name(dbfilename: &str) -> String {
    format!("{dbfilename}.manifest")
}

/// The name of a shard's file in a snapshot: `dump-18c2-0of2.rdb` for `dump.rdb`.
pub fn file_name(dbfilename: &str, id: u64, shard: ShardId, shards: u16) -> String {
    let (stem, extension) = split(dbfilename);
    format!("{stem}-{id:x}-{}of{shards}{extension}", shard.0)
}

/// What the name of a shard's file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Of which snapshot.
    pub id: u64,
    /// Of which shard.
    pub shard: ShardId,
    /// Of how many.
    pub shards: u16,
    /// Whether it was being made: such a file is not whole.
    pub is_temporary: bool,
}

/// What a name tells, if it is that of a shard's file in some snapshot of this `dbfilename`.
pub fn file_named(dbfilename: &str, name: &str) -> Option<Named> {
    let (stem, extension) = split(dbfilename);
    let (name, is_temporary) = name.strip_prefix(TEMPORARY).map_or((name, false), |name| (name, true));
    let middle = name.strip_prefix(stem)?.strip_suffix(extension)?.strip_prefix('-')?;
    let (id, of) = middle.split_once('-')?;
    let (shard, shards) = of.split_once("of")?;
    let number = |text: &str| parse_u64(text.as_bytes()).and_then(|number| u16::try_from(number).ok());
    let (shard, shards) = (ShardId(number(shard)?), number(shards)?);
    let named = Named { id: u64::from_str_radix(id, 16).ok()?, shard, shards, is_temporary };
    (file_name(dbfilename, named.id, shard, shards) == name).then_some(named)
}

/// Of the files of snapshots that no manifest names, those of the newest snapshot of which every shard's is there, in
/// their order. It is whole, and of one moment: a file gets its name when all of it is on the disk.
pub fn newest_whole(dbfilename: &str, names: &[String]) -> Option<(u64, Vec<String>)> {
    let files = names.iter().filter_map(|name| file_named(dbfilename, name));
    let mut sets: Vec<(u64, u16)> =
        files.filter(|file| !file.is_temporary).map(|file| (file.id, file.shards)).collect();
    sets.sort_unstable();
    sets.dedup();
    sets.into_iter().rev().find_map(|(id, shards)| {
        let files = (0..shards).map(|shard| file_name(dbfilename, id, ShardId(shard), shards));
        let files: Vec<String> = files.collect();
        files.iter().all(|file| names.contains(file)).then_some((id, files))
    })
}

/// What the name of a file begins with that is not whole yet.
const TEMPORARY: &str = "temp-";

/// The name of a file that is not whole yet.
pub fn temporary(name: &str) -> String {
    format!("{TEMPORARY}{name}")
}

/// The name under which a file is kept that no manifest names and that cannot be said to be needless.
pub fn kept(name: &str) -> String {
    format!("kept-{name}")
}

fn split(dbfilename: &str) -> (&str, &str) {
    match dbfilename.rfind('.') {
        Some(dot) if dot > 0 => dbfilename.split_at(dot),
        _ => (dbfilename, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> SnapshotSet {
        let file = |shard: u16| SnapshotFile {
            name: file_name("my dump.rdb", 0x18c2, ShardId(shard), 2),
            bytes: 100 + u64::from(shard),
            crc64: 0xabc,
            keys: 7,
        };
        let replaces = Some(Replaced { bytes: 5, modified_ns: 6 });
        SnapshotSet { id: 0x18c2, files: vec![file(0), file(1)], replaces }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let whole = set();
        assert_eq!(SnapshotSet::parse(&whole.text()), Ok(whole.clone()));
        let plain = SnapshotSet { replaces: None, ..whole };
        assert_eq!(SnapshotSet::parse(&plain.text()), Ok(plain));
    }

    #[test]
    fn a_manifest_of_which_anything_is_missing_is_refused() {
        let text = set().text();
        let line_ends = (0..text.len()).filter(|&at| text[at] == b'\n').map(|at| at + 1);
        let without_replaces: Vec<usize> = line_ends.collect();
        for end in 0..text.len() {
            let is_whole = end == without_replaces[without_replaces.len() - 2];
            assert_eq!(SnapshotSet::parse(&text[..end]).is_ok(), is_whole, "cut at {end}");
        }
    }

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(file_name("dump.rdb", 0x18c2, ShardId(1), 2), "dump-18c2-1of2.rdb");
        assert_eq!(file_name("dump", 1, ShardId(0), 1), "dump-1-0of1");
        let named = Named { id: 0x18c2, shard: ShardId(1), shards: 2, is_temporary: false };
        assert_eq!(file_named("dump.rdb", "dump-18c2-1of2.rdb"), Some(named));
        let temporary = Named { is_temporary: true, ..named };
        assert_eq!(file_named("dump.rdb", "temp-dump-18c2-1of2.rdb"), Some(temporary));
        for name in [
            "dump.rdb",
            "dump.rdb.manifest",
            "dump-old.rdb",
            "dump-18c2-1of2.aof",
            "dump-x-1of2.rdb",
            "dump-18C2-1of2.rdb",
            "dump-18c2-1of70000.rdb",
            "kept-dump-18c2-1of2.rdb",
        ] {
            assert_eq!(file_named("dump.rdb", name), None, "{name}");
        }
    }

    #[test]
    fn the_newest_whole_snapshot_is_found() {
        let newest = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            newest_whole("dump.rdb", &names).map(|(id, files)| (id, files.len()))
        };
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(&["dump-7-0of2.rdb", "temp-dump-7-1of2.rdb"]), None);
        assert_eq!(newest(&["dump-7-0of2.rdb", "dump-8-1of2.rdb"]), None);
        let whole = ["dump-7-0of2.rdb", "dump-7-1of2.rdb"];
        assert_eq!(newest(&whole), Some((7, 2)));
        assert_eq!(newest(&[&whole[..], &["dump-8-0of2.rdb"]].concat()), Some((7, 2)));
        assert_eq!(newest(&[&whole[..], &["dump-8-0of1.rdb"]].concat()), Some((8, 1)));
    }
}
