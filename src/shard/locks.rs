//! Intents on keys: who may touch what while transactions over several shards are under way.
//!
//! A *job* (a part of a transaction, or a single command that has to wait) asks for all its locks at once. A lock it
//! gets if that is compatible with all who hold it and all who wait for it; else the job is put at the end of the
//! lock's queue, from which it goes when it has become the first and is compatible with the holders. A job is ready
//! when it holds all it asked for. Since every job enters all its queues in one step, queues agree on the order of any
//! two jobs that cannot go together, so jobs of one shard cannot wait for each other in a circle; since all shards get
//! transactions in one order (see `shard`), neither can those of several.
//!
//! The whole shard is one more lock, with the classical intention modes: FLUSHALL takes it exclusively, KEYS shared,
//! and every job on keys takes the matching intention.
//!
//! A lock that nobody waits for need not name its key in a map. A job that has all its locks at once can be *light*
//! (`hold`): its keys are only counted, in a table without names that says which keys are surely free, and are compared
//! one by one where it does not. The first job that would have to wait for a light one makes it an ordinary one.
//!
//! Invariants: a key is in the map if and only if somebody who is not light holds its lock. Who waits, waits for one
//! who holds. No job has entered that conflicts with a light one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use smallvec::SmallVec;

use crate::base::key::{AlreadyHashed, KeyHash};

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

impl Claims {
    /// Whether one of the locks is for writing.
    pub fn is_exclusive(&self) -> bool {
        match self {
            Claims::Whole(mode) => *mode == Mode::Exclusive,
            Claims::Keys(keys) => keys.iter().any(|&(_, mode)| mode == Mode::Exclusive),
        }
    }
}

/// For how many keys and jobs there is room while there are none.
const SPARE_MAX: usize = 1024;

/// The queues, with what each job is about.
#[derive(Debug)]
pub struct Locks<T> {
    keys: HashMap<u64, Lock, BuildHasherDefault<AlreadyHashed>>,
    whole: Lock,
    jobs: Vec<Option<Job<T>>>,
    free: Vec<u32>,
    /// Jobs that do not hold all their locks yet.
    waiting: usize,
    light: Vec<JobId>,
    marks: Marks,
}

#[derive(Debug)]
struct Job<T> {
    claims: Claims,
    is_light: bool,
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
struct Lock {
    /// How many hold it in each mode. Who they are is known by those who do not wait.
    holding: [u32; 4],
    /// How many hold it or wait for it in each mode.
    wanted: [u32; 4],
    /// Who waits, in order of arrival.
    waiting: VecDeque<(JobId, Want)>,
}

impl<T> Default for Locks<T> {
    fn default() -> Self {
        Locks {
            keys: HashMap::default(),
            whole: Lock::default(),
            jobs: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            light: Vec::new(),
            marks: Marks::default(),
        }
    }
}

impl<T> Locks<T> {
    /// Whether no job is here: every command may run.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.whole.is_free()
    }

    /// Whether a single command that uses `key` in this mode has to wait for a job that came before it.
    pub fn blocks_key(&self, key: KeyHash, mode: Mode) -> bool {
        let (want, intent) = wants(mode);
        self.whole.conflicts(intent)
            || self.keys.get(&key.0).is_some_and(|lock| lock.conflicts(want))
            || self.marks.may_conflict(key, mode) && self.conflicting_light(key, mode).is_some()
    }

    /// Whether there can be a key that a command which uses keys in this mode would have to wait for.
    pub fn may_block_keys(&self, mode: Mode) -> bool {
        !self.keys.is_empty() || self.whole.conflicts(wants(mode).1) || self.marks.has_any_against(mode)
    }

    /// A light job that holds a key in a mode which cannot go with this one.
    fn conflicting_light(&self, key: KeyHash, mode: Mode) -> Option<JobId> {
        let conflicts = |&(other, held): &(KeyHash, Mode)| other == key && held.max(mode) == Mode::Exclusive;
        let holds = |id: &&JobId| match &self.jobs[id.0 as usize] {
            Some(Job { claims: Claims::Keys(keys), .. }) => keys.iter().any(conflicts),
            Some(Job { claims: Claims::Whole(_), .. }) | None => false,
        };
        self.light.iter().find(holds).copied()
    }

    /// Whether a single command that uses the whole shard in this mode has to wait.
    pub fn blocks_whole(&self, mode: Mode) -> bool {
        self.whole.conflicts(wants(mode).0)
    }

    /// Lets a job have its locks, or wait for them. It is ready at once if the second value says so, else when
    /// `release` of the jobs before it returns it.
    pub fn enter(&mut self, mut claims: Claims, subject: T) -> (JobId, bool) {
        let id = self.new_id();
        let mut missing = 0;
        match &mut claims {
            Claims::Whole(mode) => missing += u32::from(!self.whole.enter(id, wants(*mode).0)),
            Claims::Keys(keys) => {
                keys.iter().for_each(|&(hash, mode)| self.make_ordinary(hash, mode));
                name_once(keys);
                missing += u32::from(!self.whole.enter(id, wants(strongest(keys)).1));
                for &(hash, mode) in keys.iter() {
                    let lock = self.keys.entry(hash.0).or_default();
                    missing += u32::from(!lock.enter(id, wants(mode).0));
                }
            }
        }
        self.waiting += usize::from(missing > 0);
        self.jobs[id.0 as usize] = Some(Job { claims, is_light: false, missing, subject });
        (id, missing == 0)
    }

    /// Gives a job locks that are compatible with everything here: for one that is to be over soon.
    pub fn hold(&mut self, claims: Claims, subject: T) -> JobId {
        let keys = match &claims {
            Claims::Keys(keys) if keys.len() <= LIGHT_KEYS_MAX && self.light.len() < LIGHT_MAX => keys,
            Claims::Keys(_) | Claims::Whole(_) => {
                let (id, ready) = self.enter(claims, subject);
                debug_assert!(ready, "locks were to be given that are not free");
                return id;
            }
        };
        let is_free = keys.iter().all(|&(hash, mode)| !self.blocks_key(hash, mode));
        debug_assert!(is_free, "locks were to be given that are not free");
        let id = self.new_id();
        self.whole.enter(id, wants(strongest(keys)).1);
        keys.iter().for_each(|&(hash, mode)| self.marks.add(hash, mode));
        self.light.push(id);
        self.jobs[id.0 as usize] = Some(Job { claims, is_light: true, missing: 0, subject });
        id
    }

    fn new_id(&mut self) -> JobId {
        JobId(self.free.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            self.jobs.len() as u32 - 1
        }))
    }

    /// Somebody comes who may have to wait for this key: the light jobs that he would wait for become ordinary ones.
    fn make_ordinary(&mut self, key: KeyHash, mode: Mode) {
        while self.marks.may_conflict(key, mode) {
            let Some(id) = self.conflicting_light(key, mode) else { return };
            let Some(mut job) = self.jobs[id.0 as usize].take() else { return };
            if let Claims::Keys(keys) = &mut job.claims {
                keys.iter().for_each(|&(hash, mode)| self.marks.remove(hash, mode));
                name_once(keys);
                for &(hash, mode) in keys.iter() {
                    let holds = self.keys.entry(hash.0).or_default().enter(id, wants(mode).0);
                    debug_assert!(holds, "a light job stood against another");
                }
            }
            self.light.retain(|other| *other != id);
            self.jobs[id.0 as usize] = Some(Job { is_light: false, ..job });
        }
    }

    /// What a job is about.
    pub fn subject(&mut self, id: JobId) -> Option<&mut T> {
        Some(&mut self.jobs.get_mut(id.0 as usize)?.as_mut()?.subject)
    }

    /// Takes a job's locks away, those that it waits for included, and appends to `ready` the jobs that now hold all
    /// their locks, in order of arrival on each lock.
    pub fn release(&mut self, id: JobId, ready: &mut Vec<JobId>) -> Option<(T, Claims)> {
        let job = self.jobs.get_mut(id.0 as usize)?.take()?;
        self.waiting -= usize::from(job.missing > 0);
        self.free.push(id.0);
        let mut granted: SmallVec<[JobId; 8]> = SmallVec::new();
        match &job.claims {
            Claims::Whole(mode) => self.whole.leave(id, wants(*mode).0, &mut granted),
            Claims::Keys(keys) if job.is_light => {
                self.whole.leave(id, wants(strongest(keys)).1, &mut granted);
                keys.iter().for_each(|&(hash, mode)| self.marks.remove(hash, mode));
                self.light.retain(|other| *other != id);
            }
            Claims::Keys(keys) => {
                self.whole.leave(id, wants(strongest(keys)).1, &mut granted);
                for &(hash, mode) in keys {
                    let Entry::Occupied(mut lock) = self.keys.entry(hash.0) else { continue };
                    lock.get_mut().leave(id, wants(mode).0, &mut granted);
                    if lock.get().is_free() {
                        lock.remove();
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
        Some((job.subject, job.claims))
    }

    /// With no job left, gives back the memory of a peak.
    fn shrink(&mut self) {
        if self.jobs.capacity() > SPARE_MAX {
            (self.jobs, self.free) = (Vec::new(), Vec::new());
        }
        if self.keys.capacity() > 2 * SPARE_MAX {
            self.keys.shrink_to(SPARE_MAX);
        }
        if self.whole.waiting.capacity() > SPARE_MAX {
            self.whole.waiting = VecDeque::new();
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

impl Lock {
    /// Whether nobody holds it, so that nobody waits for it.
    fn is_free(&self) -> bool {
        self.holding == [0; 4]
    }

    /// Whether a newcomer that wants this would have to wait.
    fn conflicts(&self, want: Want) -> bool {
        conflicts(&self.wanted, want)
    }

    /// Gives the lock to a job or lets it wait; whether it holds it at once.
    fn enter(&mut self, id: JobId, want: Want) -> bool {
        let holds = !self.conflicts(want);
        self.wanted[want as usize] += 1;
        if holds {
            self.holding[want as usize] += 1;
        } else {
            self.waiting.push_back((id, want));
        }
        holds
    }

    /// Takes it from a job, or lets that wait no longer, and appends those that hold it from now on.
    fn leave(&mut self, id: JobId, want: Want, granted: &mut SmallVec<[JobId; 8]>) {
        self.wanted[want as usize] -= 1;
        match self.waiting.iter().position(|(other, _)| *other == id) {
            Some(at) => drop(self.waiting.remove(at)),
            None => self.holding[want as usize] -= 1,
        }
        while let Some(&(next, want)) = self.waiting.front() {
            if conflicts(&self.holding, want) {
                break;
            }
            self.waiting.pop_front();
            self.holding[want as usize] += 1;
            granted.push(next);
        }
    }
}

/// How a job that names these keys uses the shard.
fn strongest(keys: &[(KeyHash, Mode)]) -> Mode {
    keys.iter().map(|&(_, mode)| mode).max().unwrap_or(Mode::Shared)
}

/// Names each key once, in the strongest mode asked for.
fn name_once(keys: &mut SmallVec<[(KeyHash, Mode); 4]>) {
    keys.sort_unstable_by_key(|&(hash, mode)| (hash.0, std::cmp::Reverse(mode)));
    keys.dedup_by_key(|(hash, _)| *hash);
}

/// At most so many jobs are light at a time, with so many keys each: each of these may have to be compared.
const LIGHT_MAX: usize = 60;
const LIGHT_KEYS_MAX: usize = 1024;

/// How many counts there are: a multiple of the keys that are usually held at a time.
const MARKS: usize = 4096;

/// For light jobs, how often keys are held whose hashes end alike.
#[derive(Debug, Default)]
struct Marks {
    /// By mode; made when the first job is light.
    counts: [Vec<u16>; 2],
    /// The sums.
    totals: [usize; 2],
}

impl Marks {
    fn at(key: KeyHash) -> usize {
        key.0 as usize % MARKS
    }

    fn add(&mut self, key: KeyHash, mode: Mode) {
        let counts = &mut self.counts[mode as usize];
        if counts.is_empty() {
            *counts = vec![0; MARKS];
        }
        // At most LIGHT_MAX * LIGHT_KEYS_MAX.
        counts[Self::at(key)] += 1;
        self.totals[mode as usize] += 1;
    }

    fn remove(&mut self, key: KeyHash, mode: Mode) {
        self.counts[mode as usize][Self::at(key)] -= 1;
        self.totals[mode as usize] -= 1;
    }

    /// Whether this key may be held in a mode that cannot go with this one.
    fn may_conflict(&self, key: KeyHash, mode: Mode) -> bool {
        let is_held =
            |held: Mode| self.counts[held as usize].get(Self::at(key)).is_some_and(|count| *count > 0);
        is_held(Mode::Exclusive) || mode == Mode::Exclusive && is_held(Mode::Shared)
    }

    /// The same of any key.
    fn has_any_against(&self, mode: Mode) -> bool {
        let is_held = |held: Mode| self.totals[held as usize] > 0;
        is_held(Mode::Exclusive) || mode == Mode::Exclusive && is_held(Mode::Shared)
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
        assert_eq!(locks.release(a, &mut woken).map(|(subject, _)| subject), Some('a'));
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
        assert!(locks.keys.capacity() <= 4 * SPARE_MAX, "{} keys", locks.keys.capacity());
        assert!(locks.jobs.capacity() <= SPARE_MAX, "{} jobs", locks.jobs.capacity());
        assert!(locks.whole.waiting.capacity() <= SPARE_MAX, "{} waiting", locks.whole.waiting.capacity());
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
                    let is_free = match &claims {
                        Claims::Whole(mode) => !locks.blocks_whole(*mode),
                        Claims::Keys(keys) => !keys.iter().any(|&(key, mode)| locks.blocks_key(key, mode)),
                    };
                    let id = if is_free && rng.below(2) == 0 {
                        ready.push(locks.hold(claims.clone(), ()));
                        ready[ready.len() - 1]
                    } else {
                        let (id, at_once) = locks.enter(claims.clone(), ());
                        assert_eq!(at_once, is_free, "seed {seed}");
                        if at_once {
                            ready.push(id);
                        }
                        id
                    };
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
            while let Some(id) = ready.pop() {
                locks.release(id, &mut ready);
            }
            assert!(locks.is_idle() && locks.is_empty() && locks.keys.is_empty() && locks.light.is_empty());
            assert_eq!(locks.marks.totals, [0, 0], "seed {seed}");
        }
    }
}
