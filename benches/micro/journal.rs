//! `journal`: what recording a command costs, and keeping its record for replicas.

use divan::{black_box, Bencher};
use ringward::base::ids::{DbIndex, ShardId};
use ringward::journal::Journal;
use ringward::replication::backlog::Backlog;
use ringward::resp::{Args, OwnedArgs, Span};

/// Records between two times that they are taken.
const BATCH: u64 = 100;

const VALUE: &[u8] = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

fn taken(bencher: Bencher<'_, '_>, mut append: impl FnMut(&mut Journal)) {
    let mut journal = Journal::new(ShardId(0));
    journal.set_recording(true);
    let mut records = Vec::new();
    bencher.counter(BATCH).bench_local(|| {
        (0..BATCH).for_each(|_| append(&mut journal));
        journal.take_pending(&mut records);
        records.clear();
    });
}

/// Of a client's SET in its request's own bytes.
#[divan::bench]
fn request_as_it_came(bencher: Bencher<'_, '_>) {
    let bytes = [b"*3\r\n$3\r\nSET\r\n$13\r\nmemtier-12345\r\n$32\r\n", VALUE, b"\r\n"].concat();
    let spans = [(8, 3), (18, 13), (38, 32)].map(|(offset, len)| Span { offset, len });
    assert!(Args::new(&bytes, &spans).as_request().is_some());
    taken(bencher, |journal| journal.append_request(DbIndex(0), Args::new(black_box(&bytes), &spans)));
}

/// Of one that was copied.
#[divan::bench]
fn request_written_anew(bencher: Bencher<'_, '_>) {
    let args = OwnedArgs::collect([&b"SET"[..], b"memtier-12345", VALUE]);
    taken(bencher, |journal| journal.append_request(DbIndex(0), black_box(&args).as_args()));
}

/// A pass of records into the backlog, and out of it once.
#[divan::bench]
fn backlog(bencher: Bencher<'_, '_>) {
    let records = vec![b'x'; 72 * BATCH as usize];
    let mut backlog = Backlog::new(0, 1 << 20);
    let (mut at, mut out) = (0, Vec::new());
    bencher.counter(BATCH).bench_local(|| {
        backlog.append(black_box(&records));
        at = backlog.read(at, u64::MAX, usize::MAX >> 1, &mut out).expect("it is kept");
        backlog.trim(Some(at));
        out.clear();
    });
}
