//! `keyspace`: a million keys with 32-byte values, taken at random, so that nearly every access misses the caches.
//!
//! "unbatched" waits for the memory at every key; "batched" asks for all buckets of a batch, then for all entries,
//! then runs, as `host::batch` does.

use std::cell::RefCell;

use divan::counter::ItemsCount;
use divan::Bencher;
use ringward::base::ids::DbIndex;
use ringward::base::key::{KeyHash, KeyHasher};
use ringward::base::prng::Prng;
use ringward::base::time::UnixMs;
use ringward::keyspace::{Keyspace, KeyspaceOptions, NewValue, SetExpire, StringRef, ValueRef};

const KEYS: usize = 1_000_000;

/// Keys are drawn before the clock runs, so many, and taken in turn.
const DRAWN: usize = 1 << 18;

const DB: DbIndex = DbIndex(0);
const NOW: UnixMs = UnixMs(1_700_000_000_000);
const VALUE: [u8; 64] = [b'x'; 64];

#[divan::bench(args = [1, 16, 64])]
fn get_hit(bencher: Bencher<'_, '_>, batch: usize) {
    bench(bencher, batch, 0, get);
}

#[divan::bench(args = [1, 16, 64])]
fn get_miss(bencher: Bencher<'_, '_>, batch: usize) {
    bench(bencher, batch, KEYS, get);
}

#[divan::bench(args = [1, 16, 64])]
fn set_same_size(bencher: Bencher<'_, '_>, batch: usize) {
    bench(bencher, batch, 0, |keyspace, key, _| set(keyspace, key, &VALUE[..32]));
}

/// Every SET finds a value of another size. Leaves the values 32 bytes long again, for the others.
#[divan::bench(args = [1, 16, 64])]
fn set_other_size(bencher: Bencher<'_, '_>, batch: usize) {
    // A turn through all drawn keys later the size is another one.
    bench(bencher, batch, 0, |keyspace, key, n| set(keyspace, key, &VALUE[..24 + n / DRAWN % 4 * 12]));
    WORLD.with_borrow_mut(|world| {
        for n in 0..KEYS {
            let key = Drawn::new(&world.keyspace, n);
            set(&mut world.keyspace, &key, &VALUE[..32]);
        }
    });
}

/// New keys, in a keyspace of their own that grows from a million keys.
#[divan::bench(args = [1, 16, 64], sample_count = 200)]
fn insert_new(bencher: Bencher<'_, '_>, batch: usize) {
    let mut world = World::new();
    let new: Vec<Drawn> = (0..KEYS).map(|n| Drawn::new(&world.keyspace, KEYS + n)).collect();
    let mut at = 0;
    // 64 keys each iteration, whatever the batch, bounds how far it grows.
    bencher.counter(ItemsCount::new(64usize)).bench_local(|| {
        let keys = &new[at..at + 64];
        at = (at + 64) % (KEYS - 64);
        for batch in keys.chunks(batch) {
            prefetch(&world.keyspace, batch);
            for key in batch {
                set(&mut world.keyspace, key, &VALUE[..32]);
            }
        }
    });
}

/// Runs `f` for a batch of random keys, which begin at number `first`; it is also told how many it has run for.
fn bench(
    bencher: Bencher<'_, '_>,
    batch: usize,
    first: usize,
    mut f: impl FnMut(&mut Keyspace, &Drawn, usize),
) {
    WORLD.with_borrow_mut(|World { keyspace, .. }| {
        let mut rng = Prng::new(7);
        let drawn: Vec<Drawn> =
            (0..DRAWN).map(|_| Drawn::new(keyspace, first + rng.below(KEYS as u64) as usize)).collect();
        let mut count = 0;
        bencher.counter(ItemsCount::new(batch)).bench_local(|| {
            let at = count % DRAWN;
            let keys = &drawn[at..at + batch];
            prefetch(keyspace, keys);
            for key in keys {
                f(keyspace, key, count);
                count += 1;
            }
        });
    });
}

#[inline]
fn prefetch(keyspace: &Keyspace, keys: &[Drawn]) {
    if keys.len() > 1 {
        keys.iter().for_each(|key| keyspace.prefetch_bucket(DB, key.hash));
        keys.iter().for_each(|key| keyspace.prefetch_entry(DB, key.hash));
    }
}

fn get(keyspace: &mut Keyspace, key: &Drawn, _: usize) {
    let key = keyspace.hasher().key_with(&key.bytes, key.hash);
    // The value's last byte, since a reply would need all of them.
    divan::black_box(match keyspace.lookup_read(DB, key, NOW) {
        Some(ValueRef::String(StringRef::Str(bytes))) => bytes.last().copied(),
        Some(_) | None => None,
    });
}

fn set(keyspace: &mut Keyspace, key: &Drawn, value: &[u8]) {
    let key = keyspace.hasher().key_with(&key.bytes, key.hash);
    keyspace.set(DB, key, NOW, NewValue::Bytes(value), SetExpire::Clear);
}

thread_local! {
    /// Set up once for all benches here.
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

struct World {
    keyspace: Keyspace,
}

impl World {
    fn new() -> World {
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        let mut keyspace = Keyspace::new(16, hasher, KeyspaceOptions::default());
        for n in 0..KEYS {
            let key = Drawn::new(&keyspace, n);
            set(&mut keyspace, &key, &VALUE[..32]);
        }
        World { keyspace }
    }
}

/// A key and its hash.
struct Drawn {
    bytes: [u8; 16],
    hash: KeyHash,
}

impl Drawn {
    fn new(keyspace: &Keyspace, n: usize) -> Drawn {
        let bytes = format!("memtier-{n:08}").into_bytes().try_into().expect("sixteen bytes");
        Drawn { bytes, hash: keyspace.hasher().hash(&bytes) }
    }
}
