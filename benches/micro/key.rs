//! `base::key`: what every request pays once to know its shard and its place in the table.

use divan::{black_box, Bencher};
use ringward::base::key::{shard_of_key, slot_of_key, KeyHasher};

const LENGTHS: [usize; 4] = [8, 16, 32, 128];

#[divan::bench(args = LENGTHS)]
fn hash(bencher: Bencher<'_, '_>, length: usize) {
    let (hasher, key) = (KeyHasher::new([1, 2, 3, 4]), bytes(length));
    bencher.bench_local(|| hasher.hash(black_box(&key)));
}

#[divan::bench(args = LENGTHS)]
fn slot(bencher: Bencher<'_, '_>, length: usize) {
    let key = bytes(length);
    bencher.bench_local(|| slot_of_key(black_box(&key)));
}

#[divan::bench(args = [1, 2, 64])]
fn shard(bencher: Bencher<'_, '_>, shards: u16) {
    let key = bytes(16);
    bencher.bench_local(|| shard_of_key(black_box(&key), black_box(shards)));
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| b'a' + (i % 26) as u8).collect()
}
