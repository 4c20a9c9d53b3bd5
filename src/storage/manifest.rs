//! The manifest of an append-only file, as Redis 7 writes it: one line per file.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.2.incr.aof seq 2 type i
//! ```
//!
//! At most one base (`b`), increments (`i`) with growing numbers, and files that are history (`h`), which nobody reads:
//! they stay where `aof-disable-auto-gc` is on.
//! Lines that begin with `#` are comments. (Redis: aof.c, `aofLoadManifestFromFile`.)

use std::fmt;

use crate::base::num::parse_i64;
use crate::resp::decode::split_quoted;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What the increments build on.
    pub base: Option<Member>,
    /// What came after it, in order.
    pub increments: Vec<Member>,
    /// What a base has made needless and that is still there, or may be.
    pub history: Vec<Member>,
}

/// A file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in the manifest's folder.
    pub name: String,
    /// Its number.
    pub seq: u64,
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// In which line, from one; zero where it is about the whole.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Redis refuses longer lines.
const LINE_BYTES_MAX: usize = 1024;

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// It is empty, a line is malformed or too long, a name is a path, there are two bases, or numbers do not grow.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        let fail = |line: usize, reason: &str| ManifestError { line, reason: reason.to_owned() };
        if text.is_empty() {
            return Err(fail(0, "Found an empty AOF manifest"));
        }
        let body = text.strip_suffix(b"\n").ok_or_else(|| fail(0, "The last line is not complete"))?;
        for (at, line) in body.split(|&byte| byte == b'\n').enumerate() {
            let at = at + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.first() == Some(&b'#') {
                continue;
            }
            if line.len() > LINE_BYTES_MAX {
                return Err(fail(at, "Line too long"));
            }
            let words = split_quoted(line).map_err(|_| fail(at, "Invalid AOF manifest file format"))?;
            let (member, kind) =
                Manifest::member(&words).ok_or_else(|| fail(at, "Invalid AOF manifest file format"))?;
            if member.name.contains('/') {
                return Err(fail(at, "File can't be a path, just a filename"));
            }
            match kind {
                b'b' if manifest.base.is_some() => {
                    return Err(fail(at, "Found duplicate base file information"));
                }
                b'b' => manifest.base = Some(member),
                b'h' => manifest.history.push(member),
                b'i' => {
                    if manifest.increments.last().is_some_and(|last| last.seq >= member.seq) {
                        return Err(fail(at, "Found a non-monotonic sequence number"));
                    }
                    manifest.increments.push(member);
                }
                _ => return Err(fail(at, "Unknown AOF file type")),
            }
        }
        Ok(manifest)
    }

    /// The member that the words of a line tell of, and its type. Pairs of names and values, in any order; those that
    /// nobody knows are passed over.
    fn member(words: &[Vec<u8>]) -> Option<(Member, u8)> {
        if words.len() < 6 || words.len() % 2 != 0 {
            return None;
        }
        let value = |name: &str| {
            let mut pairs = words.chunks_exact(2);
            pairs.find(|pair| pair[0].eq_ignore_ascii_case(name.as_bytes())).map(|pair| pair[1].as_slice())
        };
        let name = String::from_utf8(value("file")?.to_vec()).ok().filter(|name| !name.is_empty())?;
        let seq = parse_i64(value("seq")?).and_then(|seq| u64::try_from(seq).ok()).filter(|&seq| seq > 0)?;
        let &[kind] = value("type")? else { return None };
        Some((Member { name, seq }, kind))
    }

    /// The manifest as text.
    pub fn text(&self) -> Vec<u8> {
        let base = self.base.iter().map(|member| (member, 'b'));
        let history = self.history.iter().map(|member| (member, 'h'));
        let increments = self.increments.iter().map(|member| (member, 'i'));
        let lines = base
            .chain(history)
            .chain(increments)
            .map(|(member, kind)| format!("file {} seq {} type {kind}\n", quoted(&member.name), member.seq));
        lines.collect::<String>().into_bytes()
    }

    /// The files that count, the base first.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.base.iter().chain(&self.increments)
    }

    /// All files that it names.
    pub fn named(&self) -> impl Iterator<Item = &Member> {
        self.members().chain(&self.history)
    }
}

/// A name as a manifest has it: between quotes where it has blanks or quotes in it.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
    if name.chars().all(is_plain) {
        return name.to_owned();
    }
    let mut out = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.reason),
            line => write!(f, "{} at line {line}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, seq: u64) -> Member {
        Member { name: name.to_owned(), seq }
    }

    #[test]
    fn what_redis_writes_is_read_and_written_the_same() {
        let text =
            b"file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n\
                     file appendonly.aof.3.incr.aof seq 3 type i\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.base, Some(member("appendonly.aof.2.base.rdb", 2)));
        assert_eq!(manifest.increments.len(), 2);
        assert_eq!(manifest.text(), text);
    }

    #[test]
    fn names_with_blanks_and_quotes_keep_their_form() {
        for name in ["a b", "quo\"te", "back\\slash", "tab\there", "\u{fc}"] {
            let history = vec![member(name, 1)];
            let manifest =
                Manifest { base: Some(member(name, 1)), increments: vec![member("x", 1)], history };
            assert_eq!(Manifest::parse(&manifest.text()), Ok(manifest), "{name}");
        }
    }

    #[test]
    fn comments_are_passed_over_and_history_is_no_increment() {
        let text = b"# a comment\nfile old seq 1 type h\nfile a seq 2 type i\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(
            (&manifest.increments[..], &manifest.history[..]),
            (&[member("a", 2)][..], &[member("old", 1)][..])
        );
        assert_eq!(manifest.members().count(), 1);
        assert_eq!(manifest.named().count(), 2);
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_with_its_line() {
        let cases: [(&[u8], usize, &str); 8] = [
            (b"", 0, "Found an empty AOF manifest"),
            (b"file a seq 1 type b", 0, "The last line is not complete"),
            (b"file a seq 1\n", 1, "Invalid AOF manifest file format"),
            (b"file a seq 0 type b\n", 1, "Invalid AOF manifest file format"),
            (b"file a seq 1 type x\n", 1, "Unknown AOF file type"),
            (b"file a/b seq 1 type b\n", 1, "File can't be a path, just a filename"),
            (b"file a seq 1 type b\nfile b seq 2 type b\n", 2, "Found duplicate base file information"),
            (b"file a seq 2 type i\nfile b seq 2 type i\n", 2, "Found a non-monotonic sequence number"),
        ];
        for (text, line, reason) in cases {
            let error = ManifestError { line, reason: reason.to_owned() };
            assert_eq!(Manifest::parse(text), Err(error), "{}", String::from_utf8_lossy(text));
        }
    }
}
