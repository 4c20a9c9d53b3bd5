//! What must hold for those who read snapshots and payloads of RESTORE, whatever the bytes: a file gives the same keys
//! and ends the same in whatever pieces it comes, what it gives can be read and freed, and what is refused leaves
//! nothing behind.

use ringward::base::crc64::{crc64, EMPTY};
use ringward::base::ids::DbIndex;
use ringward::base::key::KeyHasher;
use ringward::base::time::UnixMs;
use ringward::keyspace::{IntText, Keyspace, KeyspaceOptions};
use ringward::rdb::payload::{Payload, Scratch};
use ringward::rdb::{LoadError, Reader, Step};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// Versions of payloads: of Redis 7.2 and 7.4, and of Valkey 9.
const VERSIONS: [u16; 3] = [11, 12, 80];

/// What a file comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The keys in order, and whether they were taken in.
    keys: Vec<(u16, Vec<u8>, bool)>,
    /// Of every database the keys and values that it holds then.
    content: Vec<(u16, Vec<u8>, Vec<u8>)>,
    end: Result<u64, LoadError>,
}

/// Checks a file; its checksum is of no account.
pub(crate) fn check_file(file: &[u8]) {
    let expected = load(file, usize::MAX);
    for piece in [1, 3, 64] {
        assert_eq!(load(file, piece), expected, "pieces of {piece}");
    }
    // Whoever passes over a key sees the same keys, and no more errors.
    let mut passed = Vec::new();
    let _ = walk(file, 5, |db, key, _| {
        passed.push((db, key.to_vec()));
        Ok(())
    });
    let loaded = expected.keys.iter().map(|(db, key, _)| (*db, key.clone()));
    assert!(passed.into_iter().zip(loaded).all(|(passed, loaded)| passed == loaded));
}

/// Checks what stands before the footer of a payload.
pub(crate) fn check_value(value: &[u8]) {
    for version in VERSIONS {
        let mut bytes = [value, &version.to_le_bytes()].concat();
        bytes.extend_from_slice(&crc64(EMPTY, &bytes).to_le_bytes());
        let mut keyspace = keyspace();
        let mut scratch = Scratch::default();
        let payload = Payload::new(&bytes).expect("a footer that is right");
        let Some(value) = payload.read(&mut scratch, &mut keyspace.edit()) else {
            assert_eq!(keyspace.used_memory(), 0, "what was refused is still there");
            continue;
        };
        let key = keyspace.hasher().key(b"k");
        keyspace.store(DbIndex(0), key, NOW, value, (None, 0));
        content(&mut keyspace);
        keyspace.remove(DbIndex(0), key, NOW);
        while keyspace.free_step(1000) {}
    }
}

fn keyspace() -> Keyspace {
    Keyspace::new(4, KeyHasher::new([1, 2, 3, 4]), KeyspaceOptions::default())
}

fn load(file: &[u8], piece: usize) -> Outcome {
    let (mut keyspace, mut keys) = (keyspace(), Vec::new());
    let end = walk(file, piece, |db, key, item| {
        keys.push((db, key.to_vec(), item.load(&mut keyspace, NOW)?));
        Ok(())
    });
    Outcome { keys, content: content(&mut keyspace), end }
}

/// Shows all keys of a file.
fn walk(
    file: &[u8],
    piece: usize,
    mut show: impl FnMut(u16, &[u8], ringward::rdb::KeyItem<'_>) -> Result<(), LoadError>,
) -> Result<u64, LoadError> {
    let (mut reader, mut rest) = (Reader::without_checksum(), file);
    loop {
        match reader.next()? {
            Step::More if rest.is_empty() => return Err(reader.ends_too_early()),
            Step::More => {
                let (piece, after) = rest.split_at(piece.min(rest.len()));
                reader.feed(piece);
                rest = after;
            }
            Step::Aux(..) => {}
            Step::Key(item) => {
                let key = item.key().to_vec();
                show(item.db().0, &key, item)?;
            }
            Step::End(place) => return Ok(place),
        }
    }
}

fn content(keyspace: &mut Keyspace) -> Vec<(u16, Vec<u8>, Vec<u8>)> {
    let mut content = Vec::new();
    for db in 0..keyspace.databases() {
        keyspace.for_each(DbIndex(db), NOW, |key, entry| {
            let mut value =
                entry.value.string().map_or(Vec::new(), |text| text.bytes(&mut IntText::new()).to_vec());
            entry.export(&mut value);
            value.extend_from_slice(format!("{:?} {}", entry.expire_at, entry.encoding.name()).as_bytes());
            content.push((db, key.to_vec(), value));
        });
    }
    content.sort();
    content
}
