//! What it costs that a request crosses: two busy cores whose sessions ask only for keys of the other's shard.
//!
//! `cargo bench --bench hop -- [keys] [requests]` pins two threads to the first two processors, gives each a `Host`,
//! and connects them by the `Mesh` of the server; there is no kernel, and nobody ever sleeps. Each thread sends its
//! sessions' pipelines of GET:SET 1:1 and answers those of the other thread. Rounds in which all keys are the other
//! core's take turns with rounds in which all are the thread's own, and the thread's CPU time per request in the second
//! is subtracted from that in the first. What is left is what one crossing request costs in all: a thread has sent one
//! and has answered one for each that it counts. Half of it is what a crossing request costs each of its two sides.
//!
//! Time in which a thread waits for the other is not counted; how much that was is printed, since a thread that waits
//! is not busy. The stages are wall clock, and only add up to the total on a quiet machine.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use ringward::base::ids::{CoreId, ShardId};
use ringward::base::key::{shard_of_key, KeyHasher};
use ringward::base::prng::Prng;
use ringward::base::time::{MonoUs, Now, Ticks};
use ringward::command::Table;
use ringward::config::Config;
use ringward::host::batch::Received;
use ringward::host::cron::ProcessInfo;
use ringward::host::{Host, HostOptions, Mail};
use ringward::runtime::clock::{Clock, Tsc};
use ringward::runtime::mesh::{End, Mesh};
use ringward::session::session::Peer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each kind; the first is to warm up. Of the others the cheapest is printed, which others on the machine
/// have disturbed least.
const ROUNDS: usize = 8;

/// Requests are formatted before the rounds, so many for each core, and sent again and again.
const POOL_REQUESTS: usize = 1 << 18;

const VALUE_BYTES: usize = 32;

/// How the requests come.
#[derive(Clone, Copy)]
struct Load {
    /// Requests in a pipeline.
    depth: usize,
    /// Pipelines that a pass receives, each from another session.
    together: usize,
    sessions: usize,
}

const LOADS: [Load; 4] = [
    // The parcels are the pipelines: with four under way there is always one on the way in each direction.
    Load { depth: 16, together: 1, sessions: 4 },
    Load { depth: 1, together: 16, sessions: 50 },
    Load { depth: 16, together: 8, sessions: 50 },
    Load { depth: 64, together: 4, sessions: 50 },
];

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let keys = numbers.first().copied().unwrap_or(1_000_000);
    let requests = numbers.get(1).copied().unwrap_or(400_000);
    let clock = Clock::start();
    let mesh = Arc::new(Mesh::new(2));
    let meeting = Arc::new(Meeting { barrier: Barrier::new(2), working: AtomicU32::new(0) });
    let threads: Vec<_> = (0..2)
        .map(|id| {
            // SAFETY: one end per core.
            let end = unsafe { mesh.end(CoreId(id)) };
            let meeting = meeting.clone();
            std::thread::spawn(move || {
                pin(id);
                Side::new(CoreId(id), clock.ticks(), end, meeting, keys).rounds(requests)
            })
        })
        .collect();
    let sides: Vec<Vec<Figures>> =
        threads.into_iter().map(|thread| thread.join().expect("a side has failed")).collect();
    println!("{keys} keys, {VALUE_BYTES}-byte values, ns of CPU per request, best of {} rounds", ROUNDS - 1);
    for (at, load) in LOADS.iter().enumerate() {
        println!("\npipelines of {}, {} a pass", load.depth, load.together);
        for (core, side) in sides.iter().enumerate() {
            let Figures { local, crossing, stages, parcel, waited } = &side[at];
            let more = crossing - local;
            println!(
                "  core {core}: local {local:>4.0}  crossing {crossing:>4.0}  more {more:>4.0}, on each side {:>4.0}   \
                 (send {:.0}, answer {:.0}, take {:.0}, rest {:.0}; parcels of {parcel:.0}; waited {:.0}%)",
                more / 2.0,
                stages[0],
                stages[1],
                stages[2],
                stages[3],
                waited * 100.0
            );
        }
    }
}

/// Where the two threads wait for each other.
struct Meeting {
    barrier: Barrier,
    /// How many have not yet all their answers of this round.
    working: AtomicU32,
}

/// What one side has found for one load.
struct Figures {
    local: f64,
    crossing: f64,
    /// Of the crossing requests: receiving and sending on, answering the other's, taking the answers, all else.
    stages: [f64; 4],
    /// Requests in a parcel.
    parcel: f64,
    /// Share of the crossing rounds' time in which there was nothing to do.
    waited: f64,
}

/// What one round has found, per request.
#[derive(Clone, Copy, Default)]
struct Round {
    cpu: f64,
    stages: [f64; 4],
    parcel: f64,
    waited: f64,
}

/// One core and its clients.
struct Side {
    id: CoreId,
    other: CoreId,
    host: Host<Tsc>,
    ticks: Tsc,
    end: End<Mail>,
    meeting: Arc<Meeting>,
    sessions: Vec<u32>,
    /// For each core, requests whose keys are that core's.
    pools: [Pool; 2],
    dirty: Vec<u32>,
}

impl Side {
    fn new(id: CoreId, ticks: Tsc, end: End<Mail>, meeting: Arc<Meeting>, keys: usize) -> Side {
        let mut host = host(id, ticks);
        let sessions = (0..LOADS.iter().map(|load| load.sessions).max().unwrap_or(1))
            .map(|_| host.connect(Peer { local: true, ..Peer::default() }).expect("a connection"))
            .collect();
        let other = CoreId(1 - id.0);
        let keys_of = |core: CoreId| -> Vec<String> {
            let keys = (0..keys).map(|key| format!("memtier-{key:08}"));
            keys.filter(|key| shard_of_key(key.as_bytes(), 2) == ShardId(core.0)).collect()
        };
        let pools = [0, 1].map(|core| Pool::new(&keys_of(CoreId(core)), u64::from(id.0) + 1));
        let mut side = Side { id, other, host, ticks, end, meeting, sessions, pools, dirty: Vec::new() };
        for key in keys_of(id) {
            let mut bytes = Vec::new();
            set(&mut bytes, &key);
            side.host.receive(&[Received { session: side.sessions[0], bytes: &bytes }]);
            side.send(&mut |_| {});
        }
        side
    }

    fn rounds(mut self, requests: usize) -> Vec<Figures> {
        LOADS
            .iter()
            .map(|&load| {
                let mut rounds = [const { Vec::new() }; 2];
                for _ in 0..ROUNDS {
                    for (of, core) in [self.id, self.other].into_iter().enumerate() {
                        let round = self.round(load, core, requests);
                        rounds[of].push(round);
                    }
                }
                let [local, crossing] = rounds.map(|rounds| cheapest(&rounds[1..]));
                Figures {
                    local: local.cpu,
                    crossing: crossing.cpu,
                    stages: crossing.stages,
                    parcel: crossing.parcel,
                    waited: crossing.waited,
                }
            })
            .collect()
    }

    /// Sends requests for the keys of `core`, pipelines of all sessions taking turns, until that many are answered.
    fn round(&mut self, load: Load, core: CoreId, requests: usize) -> Round {
        let mut ready: Vec<u32> = self.sessions[..load.sessions].to_vec();
        let (mut unsent, mut unanswered) = (requests / load.depth, requests / load.depth);
        let mut batches = Vec::with_capacity(load.together);
        let (mut stages, mut parcels, mut answered, mut waited) = ([0u64; 4], 0u64, 0u64, 0);
        // Taken out, so that the host does not borrow what it is given from `self`.
        let mut pool = std::mem::take(&mut self.pools[core.index()]);
        self.meeting.working.store(2, Ordering::SeqCst);
        self.meeting.barrier.wait();
        let began = thread_ns();
        let mut lap = self.ticks.ticks();
        let mut stage = |ticks: &Tsc, sum: &mut u64| {
            let now = ticks.ticks();
            *sum += now.wrapping_sub(lap);
            lap = now;
        };
        while unanswered > 0 {
            self.host.set_now(Now { unix_us: 1_700_000_000_000_000, mono: MonoUs(1) });
            let mut useful = false;
            batches.clear();
            while batches.len() < load.together && unsent > 0 {
                let Some(session) = ready.pop() else { break };
                batches.push((session, pool.next(load.depth)));
                unsent -= 1;
            }
            if !batches.is_empty() {
                let received: Vec<Received<'_>> = batches
                    .iter()
                    .map(|&(session, (from, to))| Received { session, bytes: &pool.bytes[from..to] })
                    .collect();
                self.host.receive(&received);
                useful = true;
            }
            stage(&self.ticks, &mut stages[0]);
            while let Some(mail) = self.end.pop(self.other) {
                useful = true;
                let at = match &mail {
                    Mail::Requests(parcel) => {
                        parcels += 1;
                        answered += parcel.calls().len() as u64;
                        1
                    }
                    Mail::Replies(_) | Mail::Rare(_) => 2,
                };
                self.host.deliver(self.other, mail);
                stage(&self.ticks, &mut stages[at]);
            }
            self.send(&mut |session| {
                ready.push(session);
                unanswered -= 1;
            });
            if !useful && unanswered > 0 {
                let from = thread_ns();
                while self.end.is_empty() {
                    std::hint::spin_loop();
                }
                waited += thread_ns() - from;
                stage(&self.ticks, &mut 0);
            } else {
                stage(&self.ticks, &mut stages[3]);
            }
        }
        let spent = thread_ns() - began;
        self.pools[core.index()] = pool;
        // The other may still be waiting for answers.
        self.meeting.working.fetch_sub(1, Ordering::SeqCst);
        while self.meeting.working.load(Ordering::SeqCst) > 0 {
            while let Some(mail) = self.end.pop(self.other) {
                self.host.deliver(self.other, mail);
            }
            self.send(&mut |_| {});
        }
        self.meeting.barrier.wait();
        let per_request = |ns: u64| ns as f64 / requests as f64;
        Round {
            cpu: per_request(spent - waited),
            stages: stages.map(|ticks| per_request(self.ticks.to_ns(ticks))),
            parcel: answered as f64 / parcels.max(1) as f64,
            waited: waited as f64 / spent as f64,
        }
    }

    /// The end of a pass: mail leaves, and the replies, too. Tells of each session that is owed nothing more.
    fn send(&mut self, answered: &mut impl FnMut(u32)) {
        self.host.settle();
        while let Some(mail) = self.host.mail_for(self.other).pop_front() {
            if let Err(mail) = self.end.push(self.other, mail) {
                self.host.mail_for(self.other).push_front(mail);
                break;
            }
        }
        self.host.take_dirty(&mut self.dirty);
        for index in self.dirty.drain(..) {
            if let Some(session) = self.host.session(index) {
                session.dirty = false;
                session.replies.out.clear();
                if session.replies.waiting() == 0 {
                    answered(index);
                }
            }
        }
    }
}

/// Requests, one behind the other, to cut pipelines from.
#[derive(Default)]
struct Pool {
    bytes: Vec<u8>,
    /// Where each request ends.
    ends: Vec<usize>,
    at: usize,
}

impl Pool {
    fn new(keys: &[String], seed: u64) -> Pool {
        let (mut rng, mut pool) = (Prng::new(seed), Pool::default());
        for request in 0..POOL_REQUESTS {
            let key = &keys[rng.below(keys.len() as u64) as usize];
            match request % 2 {
                0 => set(&mut pool.bytes, key),
                _ => pool.bytes.extend(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).bytes()),
            }
            pool.ends.push(pool.bytes.len());
        }
        pool
    }

    /// Where the next `depth` requests stand.
    fn next(&mut self, depth: usize) -> (usize, usize) {
        if self.at + depth > self.ends.len() {
            self.at = 0;
        }
        let from = if self.at == 0 { 0 } else { self.ends[self.at - 1] };
        self.at += depth;
        (from, self.ends[self.at - 1])
    }
}

fn set(out: &mut Vec<u8>, key: &str) {
    let value = "x".repeat(VALUE_BYTES);
    let request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${VALUE_BYTES}\r\n{value}\r\n", key.len());
    out.extend_from_slice(request.as_bytes());
}

fn cheapest(rounds: &[Round]) -> Round {
    rounds.iter().copied().min_by(|a, b| a.cpu.total_cmp(&b.cpu)).unwrap_or_default()
}

fn host(id: CoreId, ticks: Tsc) -> Host<Tsc> {
    let options = HostOptions {
        id,
        cores: 2,
        placement: vec![CoreId(0), CoreId(1)],
        table: Arc::new(Table::new(&[]).expect("the command table")),
        config: Arc::new(Config::default()),
        hasher: KeyHasher::new([1, 2, 3, 4]),
        seed: 1,
        plan: None,
        process: ProcessInfo::default(),
    };
    Host::new(options, ticks)
}

fn pin(processor: u16) {
    // SAFETY: a zeroed set is an empty one, and the kernel only reads it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::from(processor), &mut set);
        libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set)
    };
    if result != 0 {
        println!("processor {processor} is not ours to use: the figures will be those of a shared one");
    }
}

/// CPU time of this thread.
fn thread_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec, which the kernel fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
