//! `resp::decode`: pipelines of sixteen requests per iteration.

use divan::counter::ItemsCount;
use divan::{black_box, Bencher};
use ringward::resp::decode::{decode, Limits, Progress, Step};
use ringward::resp::Span;

const DEPTH: usize = 16;

const LIMITS: Limits = Limits { bulk_bytes_max: 512 * 1024 * 1024, authenticated: true };

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    whole(bencher, |key| multibulk(&["GET", key]));
}

#[divan::bench(args = [32, 512, 4096])]
fn set(bencher: Bencher<'_, '_>, value_bytes: usize) {
    whole(bencher, |key| multibulk(&["SET", key, &"x".repeat(value_bytes)]));
}

#[divan::bench]
fn mget_of_10(bencher: Bencher<'_, '_>) {
    whole(bencher, |key| multibulk(&["MGET", key, key, key, key, key, key, key, key, key, key]));
}

#[divan::bench]
fn inline(bencher: Bencher<'_, '_>) {
    whole(bencher, |key| format!("SET {key} {}\r\n", "x".repeat(32)).into_bytes());
}

/// Each request comes in two pieces, cut in the middle: the second goes on where the first ended.
#[divan::bench]
fn set_32_in_two_pieces(bencher: Bencher<'_, '_>) {
    let requests: Vec<Vec<u8>> = (0..DEPTH).map(|n| multibulk(&["SET", &key(n), &"x".repeat(32)])).collect();
    let mut spans = Vec::new();
    bencher.counter(ItemsCount::new(DEPTH)).bench_local(|| {
        spans.clear();
        for request in black_box(&requests) {
            let mut progress = Progress::default();
            let half = &request[..request.len() / 2];
            assert_eq!(decode(half, 0, &mut progress, &mut spans, LIMITS), Ok(Step::Incomplete));
            let step = decode(request, 0, &mut progress, &mut spans, LIMITS);
            assert_eq!(step, Ok(Step::Complete(request.len())));
        }
        spans.len()
    });
}

/// Decodes a pipeline that has arrived as a whole.
fn whole(bencher: Bencher<'_, '_>, request: impl Fn(&str) -> Vec<u8>) {
    let bytes: Vec<u8> = (0..DEPTH).flat_map(|n| request(&key(n))).collect();
    let mut spans: Vec<Span> = Vec::new();
    bencher.counter(ItemsCount::new(DEPTH)).bench_local(|| {
        spans.clear();
        let (bytes, mut start) = (black_box(bytes.as_slice()), 0);
        while start < bytes.len() {
            match decode(bytes, start, &mut Progress::default(), &mut spans, LIMITS) {
                Ok(Step::Complete(end)) => start = end,
                other => panic!("{other:?}"),
            }
        }
        spans.len()
    });
}

fn key(n: usize) -> String {
    format!("memtier-{n:08}")
}

fn multibulk(args: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len());
    for arg in args {
        out += &format!("${}\r\n{arg}\r\n", arg.len());
    }
    out.into_bytes()
}
