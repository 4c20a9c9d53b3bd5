//! Intents on keys: who may touch what while transactions over several shards are under way.
//!
//! A *job* (a part of a transaction, or a single command that has to wait) asks for all its locks at once and is put
//! at the end of each lock's queue. A lock is held by the longest prefix of its queue that is compatible; a job is
//! ready when it holds all it asked for. Since every job enters all its queues in one step, queues agree on the order
//! of any two jobs, so jobs of one shard cannot wait for each other in a circle; since all shards get transactions in
//! one order (see `shard`), neither can those of several.
//!
//! The whole shard is one more lock, with the classical intention modes: FLUSHALL takes it exclusively, KEYS shared,
//! and every job on keys takes the matching intention.
//!
//! Invariant: a queue is in the map if and only if it is not empty.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use smallvec::SmallVec;

use crate::base::key::KeyHash;

/// How a key, or the whole shard, is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Read.
    Shared,
    /// Changed.
    Exclusive,
}

/// The locks that a job asks for.
#[derive(Clone, Debug)]
pub enum Claims {
    /// These keys; a key may be named twice.
    Keys(SmallVec<[(KeyHash, Mode); 4]>),
    /// All keys of the shard, also those that do not exist.
    Whole(Mode),
}

/// A job in the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId(u32);

/// The queues, with what each job is about.
#[derive(Debug)]
pub struct Locks<T> {
    keys: HashMap<u64, Queue, BuildHasherDefault<AlreadyHashed>>,
    whole: Queue,
    jobs: Vec<Option<Job<T>>>,
    free: Vec<u32>,
    /// Jobs that do not hold all their locks yet.
    waiting: usize,
    /// Empty queues, kept for their memory: a transaction needs one for each of its keys.
    spare: Vec<Queue>,
}

/// How many empty queues are kept, and for how many keys and jobs there is room while there are none.
const SPARE_MAX: usize = 1024;

/// A queue with room for more than this is not kept.
const SPARE_ENTRIES_MAX: usize = 16;

#[derive(Debug)]
struct Job<T> {
    claims: Claims,
    /// Locks asked for and not yet held.
    missing: u32,
    subject: T,
}

/// What a queue's entry wants; the first two occur on the whole shard only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    IntentShared,
    IntentExclusive,
    Shared,
    Exclusive,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<(JobId, Want)>,
    /// How many entries, from the front, hold the lock.
    held: usize,
    /// How many of all entries want each mode.
    wanted: [u32; 4],
    /// How many of the holders want each mode.
    holding: [u32; 4],
}

impl<T> Default for Locks<T> {
    fn default() -> Self {
        Locks {
            keys: HashMap::default(),
            whole: Queue::default(),
            jobs: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            spare: Vec::new(),
        }
    }
}

impl<T> Locks<T> {
    /// Whether no job is here: every command may run.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.whole.entries.is_empty()
    }

    /// Whether a single command that uses `key` in this mode has to wait for a job that came before it.
    pub fn blocks_key(&self, key: KeyHash, mode: Mode) -> bool {
        let (want, intent) = wants(mode);
        self.whole.conflicts(intent) || self.keys.get(&key.0).is_some_and(|queue| queue.conflicts(want))
    }

    /// Whether a single command that uses the whole shard in this mode has to wait.
    pub fn blocks_whole(&self, mode: Mode) -> bool {
        self.whole.conflicts(wants(mode).0)
    }

    /// Puts a job at the end of its queues. Ready at once if the second value says so, else when `release` of the
    /// jobs before it returns it.
    pub fn enter(&mut self, mut claims: Claims, subject: T) -> (JobId, bool) {
        let id = JobId(self.free.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            self.jobs.len() as u32 - 1
        }));
        let mut missing = 0;
        match &mut claims {
            Claims::Whole(mode) => missing += u32::from(!self.whole.enter(id, wants(*mode).0)),
            Claims::Keys(keys) => {
                keys.sort_unstable_by_key(|&(hash, mode)| (hash.0, std::cmp::Reverse(mode)));
                keys.dedup_by_key(|(hash, _)| *hash);
                let mode = keys.iter().map(|&(_, mode)| mode).max().unwrap_or(Mode::Shared);
                missing += u32::from(!self.whole.enter(id, wants(mode).1));
                for &(hash, mode) in keys.iter() {
                    let spare = &mut self.spare;
                    let queue = self.keys.entry(hash.0).or_insert_with(|| spare.pop().unwrap_or_default());
                    missing += u32::from(!queue.enter(id, wants(mode).0));
                }
            }
        }
        self.waiting += usize::from(missing > 0);
        self.jobs[id.0 as usize] = Some(Job { claims, missing, subject });
        (id, missing == 0)
    }

    /// What a job is about.
    pub fn subject(&mut self, id: JobId) -> Option<&mut T> {
        Some(&mut self.jobs.get_mut(id.0 as usize)?.as_mut()?.subject)
    }

    /// Takes a job out of its queues and appends to `ready` the jobs that now hold all their locks, in order of arrival
    /// on each lock.
    pub fn release(&mut self, id: JobId, ready: &mut Vec<JobId>) -> Option<T> {
        let job = self.jobs.get_mut(id.0 as usize)?.take()?;
        self.waiting -= usize::from(job.missing > 0);
        self.free.push(id.0);
        let mut granted: SmallVec<[JobId; 8]> = SmallVec::new();
        match &job.claims {
            Claims::Whole(_) => self.whole.leave(id, &mut granted),
            Claims::Keys(keys) => {
                self.whole.leave(id, &mut granted);
                for &(hash, _) in keys {
                    let Entry::Occupied(mut queue) = self.keys.entry(hash.0) else { continue };
                    queue.get_mut().leave(id, &mut granted);
                    if queue.get().entries.is_empty() {
                        let queue = queue.remove();
                        if self.spare.len() < SPARE_MAX && queue.entries.capacity() <= SPARE_ENTRIES_MAX {
                            self.spare.push(queue);
                        }
                    }
                }
            }
        }
        if self.is_empty() {
            self.shrink();
        }
        for id in granted {
            if let Some(job) = &mut self.jobs[id.0 as usize] {
                job.missing -= 1;
                if job.missing == 0 {
                    self.waiting -= 1;
                    ready.push(id);
                }
            }
        }
        Some(job.subject)
    }

    /// With no job left, gives back the memory of a peak.
    fn shrink(&mut self) {
        if self.jobs.capacity() > SPARE_MAX {
            (self.jobs, self.free) = (Vec::new(), Vec::new());
        }
        if self.keys.capacity() > 2 * SPARE_MAX {
            self.keys.shrink_to(SPARE_MAX);
        }
        if self.whole.entries.capacity() > SPARE_MAX {
            self.whole.entries = VecDeque::new();
        }
    }

    /// How many jobs wait for others.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many jobs hold or wait.
    pub fn len(&self) -> usize {
        self.jobs.len() - self.free.len()
    }

    /// Whether no job holds or waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Queue {
    /// Whether a newcomer that wants this would have to wait.
    fn conflicts(&self, want: Want) -> bool {
        conflicts(&self.wanted, want)
    }

    /// Puts a job at the end; whether it holds the lock at once.
    fn enter(&mut self, id: JobId, want: Want) -> bool {
        self.entries.push_back((id, want));
        self.wanted[want as usize] += 1;
        let holds = self.held + 1 == self.entries.len() && !conflicts(&self.holding, want);
        if holds {
            self.held += 1;
            self.holding[want as usize] += 1;
        }
        holds
    }

    /// Takes a job out, wherever it stands, and appends those that hold the lock from now on.
    fn leave(&mut self, id: JobId, granted: &mut SmallVec<[JobId; 8]>) {
        let Some(at) = self.entries.iter().position(|(other, _)| *other == id) else { return };
        let Some((_, want)) = self.entries.remove(at) else { return };
        self.wanted[want as usize] -= 1;
        if at < self.held {
            self.held -= 1;
            self.holding[want as usize] -= 1;
        }
        while let Some(&(next, want)) = self.entries.get(self.held) {
            if conflicts(&self.holding, want) {
                break;
            }
            self.held += 1;
            self.holding[want as usize] += 1;
            granted.push(next);
        }
    }
}

/// What a job in this mode wants of a key (or, for a job on the whole shard, of the shard), and of the shard when it
/// works on keys.
fn wants(mode: Mode) -> (Want, Want) {
    match mode {
        Mode::Shared => (Want::Shared, Want::IntentShared),
        Mode::Exclusive => (Want::Exclusive, Want::IntentExclusive),
    }
}

/// Whether `want` cannot be had together with the modes counted in `others` (Gray et al. 1975, granularity of locks).
fn conflicts(others: &[u32; 4], want: Want) -> bool {
    let [intent_shared, intent_exclusive, shared, exclusive] = *others;
    match want {
        Want::IntentShared => exclusive > 0,
        Want::IntentExclusive => shared > 0 || exclusive > 0,
        Want::Shared => intent_exclusive > 0 || exclusive > 0,
        Want::Exclusive => intent_shared > 0 || intent_exclusive > 0 || shared > 0 || exclusive > 0,
    }
}

/// The map's keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed here");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn keys(list: &[(u64, Mode)]) -> Claims {
        Claims::Keys(list.iter().map(|&(k, m)| (KeyHash(k), m)).collect())
    }

    #[test]
    fn writers_wait_for_readers_and_later_readers_for_them() {
        use Mode::{Exclusive as X, Shared as S};
        let mut locks = Locks::default();
        let (a, ready) = locks.enter(keys(&[(1, S), (1, S)]), 'a');
        assert!(ready);
        assert!(!locks.blocks_key(KeyHash(1), S) && locks.blocks_key(KeyHash(1), X));
        let (b, ready) = locks.enter(keys(&[(1, X), (2, X)]), 'b');
        assert!(!ready);
        assert!(locks.blocks_key(KeyHash(1), S), "a reader must not overtake a waiting writer");
        let (c, ready) = locks.enter(keys(&[(2, S)]), 'c');
        assert!(!ready);
        let (d, ready) = locks.enter(Claims::Whole(X), 'd');
        assert!(!ready);
        let mut woken = Vec::new();
        assert_eq!(locks.release(a, &mut woken), Some('a'));
        assert_eq!(woken, [b]);
        locks.release(b, &mut woken);
        assert_eq!(woken, [b, c]);
        assert!(locks.blocks_key(KeyHash(77), S));
        locks.release(c, &mut woken);
        assert_eq!(woken, [b, c, d]);
        locks.release(d, &mut woken);
        assert!(locks.is_idle() && locks.is_empty() && locks.keys.is_empty());
    }

    #[test]
    fn memory_is_given_back_after_a_peak() {
        const KEYS: u64 = 100_000;
        let mut locks = Locks::default();
        // Many keys, and many jobs on one of them.
        let wide: SmallVec<_> = (0..KEYS).map(|key| (KeyHash(key), Mode::Exclusive)).collect();
        let mut jobs = vec![locks.enter(Claims::Keys(wide), ()).0];
        jobs.extend((0..10_000).map(|_| locks.enter(keys(&[(1, Mode::Exclusive)]), ()).0));
        let mut ready = Vec::new();
        jobs.into_iter().for_each(|job| assert!(locks.release(job, &mut ready).is_some()));
        assert!(locks.is_empty());
        let spare: usize = locks.spare.iter().map(|queue| queue.entries.capacity()).sum();
        assert!(spare <= SPARE_MAX * SPARE_ENTRIES_MAX, "{spare} entries");
        assert!(locks.keys.capacity() <= 4 * SPARE_MAX, "{} keys", locks.keys.capacity());
        assert!(locks.jobs.capacity() <= SPARE_MAX, "{} jobs", locks.jobs.capacity());
        assert!(locks.whole.entries.capacity() <= SPARE_MAX, "{} entries", locks.whole.entries.capacity());
    }

    /// Random jobs against the definition: a job is ready exactly when no job before it in time, still here,
    /// conflicts with it. Every job gets its turn.
    #[test]
    fn readiness_is_what_the_definition_says() {
        fn mode(rng: &mut Prng) -> Mode {
            if rng.below(2) == 0 {
                Mode::Shared
            } else {
                Mode::Exclusive
            }
        }
        fn conflict(a: &Claims, b: &Claims) -> bool {
            let both = |x: Mode, y: Mode| x == Mode::Exclusive || y == Mode::Exclusive;
            match (a, b) {
                (Claims::Whole(x), Claims::Whole(y)) => both(*x, *y),
                (Claims::Whole(x), Claims::Keys(keys)) | (Claims::Keys(keys), Claims::Whole(x)) => {
                    both(*x, keys.iter().map(|k| k.1).max().unwrap_or(Mode::Shared))
                }
                (Claims::Keys(a), Claims::Keys(b)) => {
                    a.iter().any(|(h, x)| b.iter().any(|(g, y)| h == g && both(*x, *y)))
                }
            }
        }
        for seed in 0..200 {
            let mut rng = Prng::new(seed);
            let mut locks = Locks::default();
            let mut here: Vec<(JobId, Claims)> = Vec::new();
            let mut ready: Vec<JobId> = Vec::new();
            for _ in 0..300 {
                if rng.below(3) > 0 && here.len() < 30 {
                    let claims = if rng.below(12) == 0 {
                        Claims::Whole(mode(&mut rng))
                    } else {
                        let n = 1 + rng.below(3);
                        Claims::Keys((0..n).map(|_| (KeyHash(rng.below(6)), mode(&mut rng))).collect())
                    };
                    let (id, at_once) = locks.enter(claims.clone(), ());
                    if at_once {
                        ready.push(id);
                    }
                    here.push((id, claims));
                } else if !ready.is_empty() {
                    let id = ready.swap_remove(rng.below(ready.len() as u64) as usize);
                    locks.release(id, &mut ready);
                    here.retain(|(other, _)| *other != id);
                }
                for (i, (id, claims)) in here.iter().enumerate() {
                    let free = !here[..i].iter().any(|(_, before)| conflict(before, claims));
                    // A job may wait a little longer than the pairwise definition asks, since queues are first
                    // come first served, but never runs when it must not.
                    assert!(free || !ready.contains(id), "seed {seed}: job {id:?} runs too early");
                }
                assert!(here.is_empty() || !ready.is_empty(), "seed {seed}: nobody can go on");
            }
        }
    }
}
