//! `rdb`: writing the snapshot of a keyspace as a file: one that fits the caches, so that what is measured is the
//! writing, and one that does not.

use divan::{counter::BytesCount, Bencher};
use ringward::base::crc64::{crc64, EMPTY};
use ringward::base::ids::DbIndex;
use ringward::base::key::KeyHasher;
use ringward::base::time::{MonoUs, Now, UnixMs};
use ringward::keyspace::{Keyspace, KeyspaceOptions, NewValue, Progress, SetExpire};
use ringward::rdb::{AccessNotes, FileOptions, SnapshotFileSink};

const NOW: Now = Now { unix_us: 1_700_000_000_000_000, mono: MonoUs(1) };

/// Keys, bytes of a value, and whether strings are compressed.
#[divan::bench(args = [
    (1_000, 32, false),
    (1_000, 32, true),
    (100, 1_000, false),
    (100, 1_000, true),
    (2_000_000, 32, false),
    (200_000, 1_000, false),
])]
fn snapshot(bencher: Bencher<'_, '_>, (keys, len, compress): (usize, usize, bool)) {
    let hasher = KeyHasher::new([1, 2, 3, 4]);
    let mut keyspace = Keyspace::new(1, hasher.clone(), KeyspaceOptions::default());
    for n in 0..keys {
        let (key, value) = (format!("key:{n:012}"), format!("{n:0len$x}!"));
        let value = NewValue::Bytes(&value.as_bytes()[1..]);
        keyspace.set(DbIndex(0), hasher.key(key.as_bytes()), UnixMs(1), value, SetExpire::Clear);
    }
    let options = FileOptions {
        compress,
        checksum: true,
        access: AccessNotes::None,
        is_aof_base: false,
        now: NOW,
        used_memory: 0,
        has_field_expiry: false,
        aux: Vec::new(),
    };
    let mut out = Vec::new();
    let mut write = move || {
        let mut bytes = 0;
        assert!(keyspace.begin_snapshot(Box::new(SnapshotFileSink::new(options.clone()))).is_ok());
        while keyspace.snapshot_step(64 << 10) == Progress::More {
            out.clear();
            keyspace.take_snapshot_output(&mut out);
            bytes += out.len();
        }
        while keyspace.snapshot_progress().is_some_and(|progress| progress.waiting_bytes > 0) {
            out.clear();
            keyspace.take_snapshot_output(&mut out);
            bytes += out.len();
        }
        assert!(keyspace.end_snapshot().is_some());
        bytes
    };
    let bytes = write();
    bencher.counter(BytesCount::new(bytes)).bench_local(write);
}

#[divan::bench(args = [100, 64 << 10])]
fn checksum(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = vec![7; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| crc64(EMPTY, divan::black_box(&bytes)));
}
