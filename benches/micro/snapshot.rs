//! `snapshot`: a forkless snapshot of two million keys with 32-byte values, into a sink that copies them.
//!
//! "walk" is the walk alone, for each key; "set_before" is SET of random keys when no snapshot is under way,
//! "set_ahead" when one is that has passed nothing: most SETs write their bucket, about seven keys, first.

use std::cell::RefCell;

use divan::counter::ItemsCount;
use divan::Bencher;
use ringward::base::ids::DbIndex;
use ringward::base::key::KeyHasher;
use ringward::base::prng::Prng;
use ringward::base::time::UnixMs;
use ringward::keyspace::{
    EntryView, IntText, Keyspace, KeyspaceOptions, NewValue, Progress, SetExpire, SnapshotSink,
};

const KEYS: u64 = 2_000_000;
const DB: DbIndex = DbIndex(0);
const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// SETs in an iteration: few beside the quarter of a million buckets.
const SETS: usize = 1000;

/// Copies keys and strings.
struct Copies;

impl SnapshotSink for Copies {
    fn database(&mut self, _: DbIndex, _: u64, _: u64, _: &mut Vec<u8>) {}

    fn entry(&mut self, _: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(key);
        if let Ok(string) = entry.value.string() {
            out.extend_from_slice(string.bytes(&mut IntText::new()));
        }
    }

    fn begin_value(&mut self, _: DbIndex, _: &[u8], _: &EntryView<'_>, _: &mut Vec<u8>) {}

    fn step_value(&mut self, _: &EntryView<'_>, _: usize, _: &mut Vec<u8>) -> Progress {
        Progress::Done
    }

    fn finish(&mut self, _: &mut Vec<u8>) {}
}

/// In slices, the output taken after each.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn walk(bencher: Bencher<'_, '_>) {
    KEYSPACE.with_borrow_mut(|keyspace| {
        let mut out = Vec::new();
        bencher.counter(ItemsCount::new(KEYS)).bench_local(|| {
            assert!(keyspace.begin_snapshot(Box::new(Copies)).is_ok());
            while keyspace.end_snapshot().is_none() {
                keyspace.snapshot_step(32 << 10);
                out.clear();
                keyspace.take_snapshot_output(&mut out);
            }
        });
    });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn set_before(bencher: Bencher<'_, '_>) {
    sets(bencher, |_| ());
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn set_ahead(bencher: Bencher<'_, '_>) {
    sets(bencher, |keyspace| {
        keyspace.abort_snapshot();
        assert!(keyspace.begin_snapshot(Box::new(Copies)).is_ok());
    });
    KEYSPACE.with_borrow_mut(|keyspace| keyspace.abort_snapshot().is_some());
}

/// SETs of random keys, as `host::batch` runs them, after something that is not measured.
fn sets(bencher: Bencher<'_, '_>, mut before: impl FnMut(&mut Keyspace)) {
    KEYSPACE.with_borrow_mut(|keyspace| {
        let hasher = keyspace.hasher().clone();
        let mut prng = Prng::new(7);
        let keyspace = RefCell::new(keyspace);
        bencher
            .counter(ItemsCount::new(SETS))
            .with_inputs(|| {
                before(&mut keyspace.borrow_mut());
                (0..SETS).map(|_| name(prng.below(KEYS))).collect::<Vec<_>>()
            })
            .bench_local_values(|names| {
                let keyspace = &mut **keyspace.borrow_mut();
                for batch in names.chunks(16) {
                    batch.iter().for_each(|name| keyspace.prefetch_bucket(DB, hasher.hash(name)));
                    batch.iter().for_each(|name| keyspace.prefetch_entry(DB, hasher.hash(name)));
                    for name in batch {
                        let value = NewValue::Bytes(&[b'x'; 32]);
                        keyspace.set(DB, hasher.key(name), NOW, value, SetExpire::Clear);
                    }
                }
            });
    });
}

fn name(number: u64) -> [u8; 16] {
    format!("memtier-{number:08}").into_bytes().try_into().expect("sixteen bytes")
}

thread_local! {
    /// Set up once for all benches here.
    static KEYSPACE: RefCell<Keyspace> = RefCell::new({
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        let mut keyspace = Keyspace::new(16, hasher.clone(), KeyspaceOptions::default());
        for number in 0..KEYS {
            let key = name(number);
            keyspace.set(DB, hasher.key(&key), NOW, NewValue::Bytes(&[b'x'; 32]), SetExpire::Clear);
        }
        keyspace
    });
}
