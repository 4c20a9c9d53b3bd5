//! Servers that are killed under load at random moments, also while they load, save and rewrite, and started again,
//! sometimes with another number of shards.
//!
//! Every worker has keys of its own on several shards and gives them growing numbers, so that what was acknowledged,
//! what may be there and what belongs together can be told from the numbers alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::harness::{number_from_env, words, Client, Random, Server, Value};
use super::{kill, serving, Home, SYNCED_AOF};

/// How many servers are killed by all tests here together.
fn crashes() -> usize {
    number_from_env("RINGWARD_CRASHES", 15) as usize
}

/// The keys of a worker.
const KEYS: usize = 6;

/// The elements that two lists share.
const ELEMENTS: usize = 10;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Each key is set alone.
    Single,
    /// All keys are set to one number by MSET.
    Mset,
    /// By MULTI and EXEC.
    Exec,
    /// All are incremented, so that a transaction done twice shows.
    Count,
    /// Elements are moved from one list to another.
    Move,
}

const KINDS: [Kind; 5] = [Kind::Single, Kind::Mset, Kind::Exec, Kind::Count, Kind::Move];

#[derive(Clone, Debug)]
struct Worker {
    kind: Kind,
    name: usize,
    /// The last number sent, and the last acknowledged.
    sent: u64,
    acked: u64,
    /// When numbers were acknowledged.
    acks: Vec<(Instant, u64)>,
}

impl Worker {
    fn key(&self, at: usize) -> String {
        format!("{:?}:{}:{at}", self.kind, self.name)
    }

    /// One number for all keys; as many replies.
    fn requests(&self, number: u64) -> (Vec<u8>, usize) {
        let keys = (0..KEYS).map(|at| self.key(at));
        let lines: Vec<String> = match self.kind {
            Kind::Single => keys.map(|key| format!("SET {key} {number}")).collect(),
            Kind::Mset => {
                vec![keys.fold("MSET".to_owned(), |line, key| format!("{line} {key} {number}"))]
            }
            Kind::Exec | Kind::Count => {
                let set = |key| match self.kind {
                    Kind::Exec => format!("SET {key} {number}"),
                    _ => format!("INCR {key}"),
                };
                let inner = keys.map(set);
                ["MULTI".to_owned()].into_iter().chain(inner).chain(["EXEC".to_owned()]).collect()
            }
            Kind::Move => {
                let [from, to] = if number % 3 == 0 { [1, 0] } else { [0, 1] };
                vec![format!("LMOVE {} {} LEFT RIGHT", self.key(from), self.key(to))]
            }
        };
        (lines.iter().flat_map(|line| words(line)).collect(), lines.len())
    }

    /// Works until the server is gone, or all are to stop.
    fn work(&mut self, server: &Server, stop: &AtomicBool, acked: &AtomicU64) {
        let Ok(mut client) = Client::try_connect(server.address) else { return };
        while !stop.load(Ordering::Relaxed) {
            let (bytes, replies) = self.requests(self.sent + 1);
            self.sent += 1;
            if client.try_send(&bytes).is_err() {
                return;
            }
            for _ in 0..replies {
                match client.try_read() {
                    Ok(reply) => assert!(!reply.is_error(), "{:?}: {reply:?}", self.kind),
                    Err(_) => return,
                }
            }
            self.acked = self.sent;
            self.acks.push((Instant::now(), self.sent));
            acked.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn prepare(&self, client: &mut Client) {
        if self.kind == Kind::Move {
            let elements: Vec<_> = (0..ELEMENTS).map(|n| n.to_string()).collect();
            client.run(&format!("RPUSH {} {}", self.key(0), elements.join(" ")));
        }
    }

    /// What is there of its keys: the smallest and the largest number. Fails where half a transaction is there.
    fn found(&self, client: &mut Client) -> (u64, u64) {
        if self.kind == Kind::Move {
            let mut elements = Vec::new();
            for at in [0, 1] {
                let list = client.run(&format!("LRANGE {} 0 -1", self.key(at)));
                elements.extend(list.items().iter().map(|item| item.text().parse::<usize>().unwrap()));
            }
            elements.sort_unstable();
            assert_eq!(elements, (0..ELEMENTS).collect::<Vec<_>>(), "elements were lost, or are there twice");
            return (self.acked, self.acked);
        }
        let numbers: Vec<u64> = (0..KEYS)
            .map(|at| match client.run(&format!("GET {}", self.key(at))) {
                Value::NullBulk => 0,
                value => value.text().parse().unwrap(),
            })
            .collect();
        let (least, most) = (*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap());
        assert!(self.kind == Kind::Single || least == most, "half a transaction: {self:?} {numbers:?}");
        assert!(most <= self.sent, "{self:?}: {numbers:?}");
        (least, most)
    }
}

/// What a crash may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing that was acknowledged.
    Nothing,
    /// What was acknowledged in the last two seconds.
    TwoSeconds,
    /// What was acknowledged since the last snapshot.
    SinceSnapshot,
}

/// What was seen.
#[derive(Debug, Default)]
struct Report {
    kills: usize,
    while_loading: usize,
    with_saves: usize,
    reshards: usize,
    acked: u64,
    /// Acknowledged numbers that were not there, and how old the oldest was.
    lost: u64,
    lost_ms: u128,
}

fn crash(seed: u64, kills: usize, args: &[&str], may: Loss) -> Report {
    let seed = number_from_env("RINGWARD_SEED", 1).wrapping_mul(1000) + seed;
    println!("RINGWARD_SEED gives {seed}: {args:?}");
    let mut random = Random::new(seed);
    let home = Home::new();
    let mut shards = 2;
    let mut report = Report::default();
    let mut workers: Vec<Worker> = KINDS
        .into_iter()
        .enumerate()
        .map(|(name, kind)| Worker { kind, name, sent: 0, acked: 0, acks: Vec::new() })
        .collect();
    let server = home.run(shards, args);
    let mut client = server.client();
    workers.iter().for_each(|worker| worker.prepare(&mut client));
    // So that loading, and saving, takes a while.
    for part in 0..40 {
        let pairs: Vec<_> = (0..100).map(|n| format!("filler:{part}:{n} {}", "x".repeat(n))).collect();
        client.ok(&format!("MSET {}", pairs.join(" ")));
    }
    if may == Loss::SinceSnapshot {
        client.ok("SAVE");
    }
    let mut server = Some(server);
    // What must be there in any case.
    let mut floors: Vec<u64> = vec![0; workers.len()];
    while report.kills < kills {
        let running = server.take().unwrap_or_else(|| home.run(shards, args));
        workers.iter_mut().for_each(|worker| worker.acks.clear());
        let saves = random.below(3);
        let (acked, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let load = Duration::from_millis(20 + random.next() % 250);
        let killed_at = std::thread::scope(|scope| {
            for worker in &mut workers {
                let (running, stop, acked) = (&running, &stop, &acked);
                scope.spawn(move || worker.work(running, stop, acked));
            }
            let start = Instant::now();
            let mut client = running.client();
            for _ in 0..saves {
                std::thread::sleep(load / 8);
                client.run(if random.one_in(2) { "BGSAVE" } else { "BGREWRITEAOF" });
            }
            std::thread::sleep(load.saturating_sub(start.elapsed()));
            let now = Instant::now();
            running.signal(libc::SIGKILL);
            running.wait_exit();
            stop.store(true, Ordering::Relaxed);
            now
        });
        report.kills += 1;
        report.with_saves += usize::from(saves > 0);
        report.acked += acked.load(Ordering::Relaxed);
        if random.one_in(3) {
            shards = [1, 2, 3, 5][random.below(4)];
            report.reshards += 1;
        }
        while random.one_in(4) && report.kills < kills {
            let loading = home.start(shards, args).spawn();
            std::thread::sleep(Duration::from_millis(random.next() % 60));
            kill(loading);
            report.kills += 1;
            report.while_loading += 1;
        }
        let copy = random.one_in(4).then(|| home.copy());
        let next = home.run(shards, args);
        let mut client = next.client();
        let count = client.run("KEYS filler:*").items().len();
        assert_eq!(count, 4000, "kill {}: filler is lost", report.kills);
        for (worker, floor) in workers.iter_mut().zip(&mut floors) {
            let (least, most) = worker.found(&mut client);
            let what = format!("kill {}, {shards} shards: found {least} to {most}, {worker:?}", report.kills);
            assert!(least >= *floor, "what had been there is lost: {what}");
            if may == Loss::Nothing {
                assert!(least >= worker.acked, "acknowledged writes are lost: {what}");
            }
            let is_lost = |(_, number): &&(Instant, u64)| *number > least;
            if let Some((at, _)) = worker.acks.iter().find(is_lost).filter(|_| worker.kind != Kind::Move) {
                let age = killed_at.saturating_duration_since(*at);
                report.lost += worker.acked - least;
                report.lost_ms = report.lost_ms.max(age.as_millis());
                assert!(may != Loss::TwoSeconds || age < Duration::from_secs(2), "{age:?}: {what}");
            }
            *floor = least;
            if worker.kind != Kind::Move {
                (worker.sent, worker.acked) = (most, least);
            }
        }
        if let Some(copy) = copy {
            let other = copy.run(shards % 4 + 1, args);
            super::assert_alike(&mut client, &mut other.client(), "with another number of shards");
            kill(other);
        }
        if may == Loss::SinceSnapshot && random.one_in(2) {
            let mut client = next.client();
            client.ok("SAVE");
        }
        serving(&next);
        server = Some(next);
    }
    println!("{may:?}: {report:?}");
    report
}

#[test]
fn nothing_acknowledged_is_lost_where_each_write_is_synced() {
    let report = crash(1, crashes() * 2 / 5, SYNCED_AOF, Loss::Nothing);
    assert_eq!(report.lost, 0);
}

#[test]
fn little_is_lost_where_writes_are_synced_each_second() {
    crash(2, crashes() / 5, &["--appendonly", "yes"], Loss::TwoSeconds);
}

#[test]
fn logs_without_snapshots_lose_no_more() {
    let args = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--appendfsync", "no"];
    crash(3, crashes() / 5, &args, Loss::TwoSeconds);
}

#[test]
fn snapshots_are_of_one_moment() {
    crash(4, crashes() / 5, &[], Loss::SinceSnapshot);
}
