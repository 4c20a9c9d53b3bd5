//! The request path without the kernel: bytes of pipelines in, bytes of replies out, through one core's `Host`.
//!
//! `cargo bench --bench request -- [keys] [value bytes]` prints the thread's CPU time per request for GET:SET 1:1 over
//! uniform keys at several pipeline depths, with 50 connections taking turns, as `tuning/RESULTS.md` quotes it. Runs as
//! well under callgrind (`valgrind --tool=callgrind`), where counts do not depend on what else the machine does.

use std::sync::Arc;

use ringward::base::ids::CoreId;
use ringward::base::key::KeyHasher;
use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now};
use ringward::command::Table;
use ringward::config::Config;
use ringward::host::batch::Received;
use ringward::host::cron::ProcessInfo;
use ringward::host::{Host, HostOptions};
use ringward::runtime::clock::{Clock, Tsc};
use ringward::session::session::Peer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 50;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let keys = numbers.first().copied().unwrap_or(1_000_000);
    let value_bytes = numbers.get(1).copied().unwrap_or(32);
    let requests = numbers.get(2).copied().unwrap_or(2_000_000);
    let mut host = host();
    let sessions: Vec<u32> = (0..CONNECTIONS)
        .map(|_| host.connect(Peer { local: true, ..Peer::default() }).expect("a connection"))
        .collect();
    let value = "x".repeat(value_bytes);
    let set = |out: &mut Vec<u8>, key: u64| {
        let key = format!("memtier-{key:08}");
        out.extend(
            format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).bytes(),
        );
    };
    let get = |out: &mut Vec<u8>, key: u64| {
        let key = format!("memtier-{key:08}");
        out.extend(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).bytes());
    };
    let mut bytes = Vec::new();
    let loading = thread_ns();
    for key in 0..keys as u64 {
        set(&mut bytes, key);
        if bytes.len() > 8192 || key + 1 == keys as u64 {
            pass(&mut host, &[(sessions[0], &bytes)]);
            bytes.clear();
        }
    }
    println!("load: {} ns per key, format included", (thread_ns() - loading) / keys as u64);
    let mut rng = Prng::new(7);
    for depth in [1, 16, 64] {
        // As many connections in one pass as a busy server sees: all at depth 1, some at larger depths.
        let together = [(1, 16), (16, 8), (64, 4)].iter().find(|(d, _)| *d == depth).map_or(1, |(_, n)| *n);
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let passes = requests / (depth * together);
        let mut spent = 0;
        for turn in 0..passes {
            pieces.clear();
            for _ in 0..together {
                let mut piece = Vec::new();
                for n in 0..depth {
                    let key = rng.below(keys as u64);
                    if (n + turn) % 2 == 0 {
                        set(&mut piece, key);
                    } else {
                        get(&mut piece, key);
                    }
                }
                pieces.push(piece);
            }
            let received: Vec<(u32, &[u8])> = pieces
                .iter()
                .enumerate()
                .map(|(i, piece)| (sessions[(turn * together + i) % CONNECTIONS], piece.as_slice()))
                .collect();
            let before = thread_ns();
            pass(&mut host, &received);
            spent += thread_ns() - before;
        }
        let count = (passes * depth * together) as u64;
        println!("P={depth:<3} {together:>2} connections a pass: {:>4} ns per request", spent / count);
    }
}

/// What the runtime does in a pass, without the kernel.
fn pass(host: &mut Host<Tsc>, received: &[(u32, &[u8])]) {
    host.set_now(Now { unix_us: 1_700_000_000_000_000, mono: MonoUs(1) });
    let received: Vec<Received<'_>> =
        received.iter().map(|&(session, bytes)| Received { session, bytes }).collect();
    host.receive(&received);
    host.settle();
    let mut dirty = Vec::new();
    host.take_dirty(&mut dirty);
    for session in dirty {
        if let Some(session) = host.session(session) {
            session.dirty = false;
            session.replies.out.clear();
        }
    }
}

fn host() -> Host<Tsc> {
    let options = HostOptions {
        id: CoreId(0),
        cores: 1,
        placement: vec![CoreId(0)],
        table: Arc::new(Table::new(&[]).expect("the command table")),
        config: Arc::new(Config::default()),
        hasher: KeyHasher::new([1, 2, 3, 4]),
        seed: 1,
        plan: None,
        process: ProcessInfo::default(),
    };
    Host::new(options, Clock::start().ticks())
}

/// CPU time of this thread.
fn thread_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec, which the kernel fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
