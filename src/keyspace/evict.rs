//! Eviction: which keys go when memory is short (`maxmemory-policy`), and letting them go in bounded steps.
//!
//! As in Redis nobody knows the best key: a few are looked at (`maxmemory-samples`), and the best of them are kept in a
//! pool of sixteen, so that each further sample has to be better than what was seen before. The pool outlives the step;
//! what it says of a key is checked when the key's turn comes, and a key that was used meanwhile is not evicted.
//!
//! What is dead already (flushed databases, large values whose keys are gone) is freed before any key goes, if need be
//! by having a snapshot write it first.
//!
//! Invariant: the pool is in ascending order, the best candidate last, and holds a key at most once.
//!
//! Not here: when memory is short, and how much of it is this shard's to give (`host::memory`).

use smallvec::SmallVec;

use super::{access, db::Keyspace, entry::EntryRef};
use crate::{
    base::{ids::DbIndex, key::Key, prng::Prng, time::UnixMs},
    ds::table::Sweep,
};

/// Which key goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionOrder {
    /// None goes (noeviction).
    #[default]
    Never,
    /// The one that was not used for the longest time.
    LeastRecentlyUsed,
    /// The one that is used least often.
    LeastFrequentlyUsed,
    /// The one that would expire first; of volatile keys only.
    SoonestExpiring,
    /// Any.
    Random,
}

/// `maxmemory-policy` and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionOptions {
    /// Which key goes first.
    pub order: EvictionOrder,
    /// Whether only volatile keys go.
    pub volatile_only: bool,
    /// How many keys of each database are looked at to find one (`maxmemory-samples`).
    pub samples: u32,
}

impl Default for EvictionOptions {
    fn default() -> Self {
        EvictionOptions { order: EvictionOrder::Never, volatile_only: false, samples: 5 }
    }
}

impl EvictionOptions {
    fn candidates(self) -> Sweep {
        match self.volatile_only || self.order == EvictionOrder::SoonestExpiring {
            true => Sweep::Volatile,
            false => Sweep::All,
        }
    }
}

/// What a step of eviction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictReport {
    /// Keys that went.
    pub evicted: u64,
    /// By how much the memory in use has shrunk.
    pub freed_bytes: u64,
}

/// The best candidates seen so far, and where the search goes on.
#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    /// Where the search for candidates that are few goes on.
    place: u64,
    /// Which of the databases with candidates comes next.
    turn: usize,
}

#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: DbIndex,
    key: CandidateKey,
}

type CandidateKey = SmallVec<[u8; 48]>;
type Databases = SmallVec<[DbIndex; DATABASES_MAX]>;

/// How many candidates are kept.
const POOL_MAX: usize = 16;

/// How many keys are looked at for one that goes, whatever `maxmemory-samples` says: beyond some dozens more of them
/// find nothing better.
const SAMPLES_MAX: usize = 256;

/// In how many databases candidates are looked for at a time; the others follow in turn.
const DATABASES_MAX: usize = 16;

/// Buckets looked at for one sample. Where volatile keys are few it may find none; the next goes on from there.
const SAMPLE_BUCKETS_MAX: usize = 64;

/// Elements of dead values that are freed at a time.
const DEAD_ELEMENTS: usize = 64;

/// Bytes of flushed keys that a snapshot writes at a time.
const FLUSHED_BYTES: usize = 16 << 10;

impl Keyspace {
    /// How many keys the policy lets go.
    pub fn evictable(&self) -> u64 {
        (0..self.databases()).map(|db| self.candidates_in(DbIndex(db))).sum()
    }

    /// Whether there is memory that nothing leads to any more and that is not freed yet.
    #[inline]
    pub fn has_dead(&self) -> bool {
        !self.detached.is_empty() || self.core.slab.retired_len() > 0
    }

    /// Frees about `bytes` bytes: first what is dead, then by evicting keys. Looks for a key `tries` times at most;
    /// with few volatile keys among many others not every try finds one.
    pub fn evict_step(&mut self, now: UnixMs, bytes: u64, tries: usize) -> EvictReport {
        let (used, evicted) = (self.used_memory(), self.core.stats.evicted_keys);
        let mut freed = 0;
        let databases = self.evictable_databases();
        for _ in 0..tries {
            if freed >= bytes {
                break;
            }
            if self.has_dead() {
                self.free_step(DEAD_ELEMENTS);
            } else if self.walk_flushed(FLUSHED_BYTES) {
                // A snapshot has still to write what was flushed: each key that it writes is freed.
            } else if databases.is_empty() {
                break;
            } else {
                self.evict_one(&databases, now);
            }
            freed = used.saturating_sub(self.used_memory());
        }
        EvictReport { evicted: self.core.stats.evicted_keys - evicted, freed_bytes: freed }
    }

    /// The options have changed: scores of another order mean nothing.
    pub(super) fn forget_candidates(&mut self) {
        self.pool.candidates.clear();
    }

    fn candidates_in(&self, db: DbIndex) -> u64 {
        let options = self.core.options.eviction;
        match (options.order, options.candidates()) {
            (EvictionOrder::Never, _) => 0,
            (_, Sweep::Volatile) => self.volatile_len(db),
            (_, Sweep::All) => self.len(db),
        }
    }

    /// Some databases that have candidates.
    fn evictable_databases(&mut self) -> Databases {
        let count = usize::from(self.databases());
        let start = self.pool.turn;
        let in_turn = (0..count).map(|step| DbIndex(((start + step) % count) as u16));
        let found: Databases = in_turn.filter(|&db| self.candidates_in(db) > 0).take(DATABASES_MAX).collect();
        if found.len() == DATABASES_MAX {
            self.pool.turn = (found[DATABASES_MAX - 1].index() + 1) % count;
        }
        found
    }

    /// Evicts the best candidate that can be found now, if any.
    fn evict_one(&mut self, databases: &[DbIndex], now: UnixMs) {
        let hasher = self.core.hasher.clone();
        if self.core.options.eviction.order == EvictionOrder::Random {
            if let Some((db, key)) = self.random_candidate(databases) {
                self.evict(db, hasher.key(&key), now);
            }
            return;
        }
        for &db in databases {
            self.sample(db, now);
        }
        while let Some(Candidate { score, db, key }) = self.pool.candidates.pop() {
            if self.is_still_worth(score, db, hasher.key(&key), now) {
                self.evict(db, hasher.key(&key), now);
                return;
            }
        }
    }

    /// A key drawn from all databases together.
    fn random_candidate(&mut self, databases: &[DbIndex]) -> Option<(DbIndex, CandidateKey)> {
        let sum = databases.iter().map(|&db| self.candidates_in(db)).sum();
        let mut drawn = self.core.prng.below(sum);
        let &db = databases.iter().find(|&&db| {
            let count = self.candidates_in(db);
            let is_drawn = drawn < count;
            drawn = drawn.saturating_sub(count);
            is_drawn
        })?;
        let which = self.core.options.eviction.candidates();
        let table = &self.databases[db.index()].table;
        if which == Sweep::All {
            return Some((db, table.random(&mut self.core.prng)?.key().into()));
        }
        let mut key = None;
        let from = self.pool.next_place(&mut self.core.prng);
        let next = table.sample(from, which, 1, SAMPLE_BUCKETS_MAX, |entry| {
            key = is_candidate(entry, which).then(|| entry.key().into());
        });
        self.pool.place = if key.is_none() { next } else { 0 };
        Some((db, key?))
    }

    /// Looks at some keys of a database; the best of them get into the pool.
    fn sample(&mut self, db: DbIndex, now: UnixMs) {
        let options = &self.core.options;
        let (eviction, lfu) = (options.eviction, options.lfu);
        let count = (eviction.samples as usize).min(SAMPLES_MAX);
        let from = self.pool.next_place(&mut self.core.prng);
        let (pool, mut found) = (&mut self.pool, false);
        let table = &self.databases[db.index()].table;
        let which = eviction.candidates();
        let next = table.sample(from, which, count, SAMPLE_BUCKETS_MAX, |entry| {
            if is_candidate(entry, which) {
                found = true;
                pool.offer(score(entry, eviction.order, lfu, now), db, entry.key());
            }
        });
        pool.place = if found { 0 } else { next };
    }

    /// Whether a candidate is there still and was not used, or given more time, since it got its score.
    fn is_still_worth(&mut self, known: u64, db: DbIndex, key: Key<'_>, now: UnixMs) -> bool {
        let options = &self.core.options;
        let (eviction, lfu) = (options.eviction, options.lfu);
        let entry = self.databases[db.index()].table.find(key.hash().0, key.bytes());
        entry.is_some_and(|entry| {
            is_candidate(entry, eviction.candidates()) && score(entry, eviction.order, lfu, now) >= known
        })
    }
}

impl Pool {
    /// Where to look next: at random, or on from where nothing was found.
    fn next_place(&mut self, prng: &mut Prng) -> u64 {
        match self.place {
            0 => prng.next_u64(),
            place => place,
        }
    }

    /// Takes a candidate in if it is better than the worst, or there is room.
    fn offer(&mut self, score: u64, db: DbIndex, key: &[u8]) {
        let is_full = self.candidates.len() >= POOL_MAX;
        if is_full && score <= self.candidates[0].score {
            return;
        }
        if self.candidates.iter().any(|known| known.db == db && known.key.as_slice() == key) {
            return;
        }
        if is_full {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|known| known.score < score);
        self.candidates.insert(at, Candidate { score, db, key: key.into() });
    }
}

/// Whether the policy lets an entry go. (The table counts those as volatile, too, of which only fields expire.)
fn is_candidate(entry: EntryRef<'_>, which: Sweep) -> bool {
    which == Sweep::All || entry.expire_at().is_some()
}

/// How much an entry deserves to go.
fn score(entry: EntryRef<'_>, order: EvictionOrder, lfu: access::LfuOptions, now: UnixMs) -> u64 {
    match order {
        EvictionOrder::LeastRecentlyUsed => access::lru_idle_ms(entry.access(), now),
        EvictionOrder::LeastFrequentlyUsed => {
            u64::from(255 - access::lfu_frequency(entry.access(), now, lfu).min(255))
        }
        EvictionOrder::SoonestExpiring => {
            let at = entry.expire_at().map_or(i64::MAX, |at| at.0);
            // Moments in the past come first: the sign bit is turned, then the order.
            !(at as u64 ^ 1 << 63)
        }
        EvictionOrder::Random | EvictionOrder::Never => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::hash::FieldExpire;
    use crate::keyspace::{AccessPolicy, Hash, KeyspaceOptions, LfuOptions, NewValue, SetExpire};
    use proptest::prelude::*;
    use EvictionOrder::{LeastFrequentlyUsed, LeastRecentlyUsed, Never, Random, SoonestExpiring};

    const T0: UnixMs = UnixMs(1_700_000_000_000);

    /// The eight policies.
    const POLICIES: [(EvictionOrder, bool); 8] = [
        (LeastRecentlyUsed, true),
        (LeastFrequentlyUsed, true),
        (Random, true),
        (SoonestExpiring, true),
        (LeastRecentlyUsed, false),
        (LeastFrequentlyUsed, false),
        (Random, false),
        (Never, false),
    ];

    fn later(seconds: i64) -> UnixMs {
        UnixMs(T0.0 + seconds * 1000)
    }

    fn keyspace(order: EvictionOrder, volatile_only: bool, seed: u64) -> Keyspace {
        let options = KeyspaceOptions {
            access: if order == LeastFrequentlyUsed { AccessPolicy::Lfu } else { AccessPolicy::Lru },
            lfu: LfuOptions { log_factor: 1, decay_minutes: 0 },
            eviction: EvictionOptions { order, volatile_only, samples: 5 },
            seed,
            ..KeyspaceOptions::default()
        };
        Keyspace::new(16, crate::base::key::KeyHasher::new([1, 2, 3, seed]), options)
    }

    fn set(k: &mut Keyspace, db: u16, number: u32, now: UnixMs, expire: SetExpire) {
        let hasher = k.hasher().clone();
        let key = format!("key:{number}");
        k.set(DbIndex(db), hasher.key(key.as_bytes()), now, NewValue::Raw(&[b'x'; 100]), expire);
    }

    fn has(k: &mut Keyspace, db: u16, number: u32, now: UnixMs) -> bool {
        let hasher = k.hasher().clone();
        k.peek(DbIndex(db), hasher.key(format!("key:{number}").as_bytes()), now).is_some()
    }

    fn touch(k: &mut Keyspace, number: u32, now: UnixMs) {
        let hasher = k.hasher().clone();
        assert!(k.exists(DbIndex(0), hasher.key(format!("key:{number}").as_bytes()), now));
    }

    /// Evicts until so many keys have gone.
    fn evict(k: &mut Keyspace, count: u64, now: UnixMs) {
        let before = k.stats().evicted_keys;
        for _ in 0..1_000_000 {
            if k.stats().evicted_keys - before >= count {
                return;
            }
            k.evict_step(now, 1, 1);
        }
        panic!("{} of {count} keys evicted", k.stats().evicted_keys - before);
    }

    #[test]
    fn the_pool_keeps_the_best_in_order() {
        let mut pool = Pool::default();
        for score in [5, 3, 9, 3, 100, 7, 1, 2, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18] {
            pool.offer(score, DbIndex(0), format!("{score}").as_bytes());
            pool.offer(score, DbIndex(0), format!("{score}").as_bytes());
        }
        let scores: Vec<u64> = pool.candidates.iter().map(|candidate| candidate.score).collect();
        assert_eq!(scores, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 100]);
        pool.offer(4, DbIndex(0), b"no better than the worst");
        pool.offer(18, DbIndex(1), b"18");
        assert_eq!(pool.candidates.len(), POOL_MAX);
        assert_eq!(pool.candidates.iter().filter(|candidate| candidate.key.as_slice() == b"18").count(), 2);
    }

    #[test]
    fn keys_that_are_used_stay() {
        for (order, volatile_only) in POLICIES {
            if !matches!(order, LeastRecentlyUsed | LeastFrequentlyUsed) {
                continue;
            }
            for seed in 0..5 {
                let mut k = keyspace(order, volatile_only, seed);
                let expire = if volatile_only { SetExpire::At(later(100_000)) } else { SetExpire::Clear };
                (0..10_000).for_each(|number| set(&mut k, 0, number, T0, expire));
                // A tenth is used all the time while half of the others goes.
                for round in 0..100 {
                    let now = later(10 + round);
                    (0..1000).for_each(|number| touch(&mut k, number, now));
                    evict(&mut k, 45, now);
                }
                let now = later(200);
                let left = (0..1000).filter(|&number| has(&mut k, 0, number, now)).count();
                assert_eq!(left, 1000, "{order:?} seed {seed}");
            }
        }
    }

    #[test]
    fn the_oldest_go_first_as_far_as_a_sample_can_tell() {
        for seed in 0..5 {
            let mut k = keyspace(LeastRecentlyUsed, false, seed);
            (0..10_000).for_each(|number| set(&mut k, 0, number, later(i64::from(number)), SetExpire::Clear));
            let now = later(20_000);
            evict(&mut k, 5000, now);
            let right = (0..5000).filter(|&number| !has(&mut k, 0, number, now)).count();
            assert!(right > 4300, "only {right} of the older half went");
            // The newest are as good as safe.
            let lost = (9000..10_000).filter(|&number| !has(&mut k, 0, number, now)).count();
            assert!(lost < 5, "{lost} of the newest thousand went");
        }
    }

    #[test]
    fn the_soonest_to_expire_go_first() {
        for seed in 0..5 {
            let mut k = keyspace(SoonestExpiring, true, seed);
            for number in 0..10_000 {
                set(&mut k, 0, number, T0, SetExpire::At(later(1000 + i64::from(number))));
            }
            set(&mut k, 0, 10_000, T0, SetExpire::Clear);
            evict(&mut k, 5000, T0);
            let right = (0..5000).filter(|&number| !has(&mut k, 0, number, T0)).count();
            assert!(right > 4300, "only {right} of the sooner half went");
            // Who got more time meanwhile is no longer among the first, whatever the pool remembers.
            for number in 0..10_000 {
                let hasher = k.hasher().clone();
                let key = format!("key:{number}");
                k.set_expire(DbIndex(0), hasher.key(key.as_bytes()), T0, None);
            }
            assert_eq!(k.evictable(), 0);
            assert_eq!(k.evict_step(T0, u64::MAX, 100), EvictReport::default());
        }
    }

    #[test]
    fn volatile_policies_leave_the_others_alone_and_find_the_last_one() {
        for (order, volatile_only) in POLICIES.into_iter().filter(|&(_, volatile_only)| volatile_only) {
            let mut k = keyspace(order, volatile_only, 3);
            (0..20_000).for_each(|number| set(&mut k, 0, number, T0, SetExpire::Clear));
            (20_000..20_010).for_each(|number| set(&mut k, 0, number, T0, SetExpire::At(later(100))));
            assert_eq!(k.evictable(), 10);
            evict(&mut k, 10, T0);
            assert_eq!((k.evictable(), k.len(DbIndex(0))), (0, 20_000), "{order:?}");
            assert_eq!(k.evict_step(T0, 1, 100).freed_bytes, 0);
            assert_eq!(k.len(DbIndex(0)), 20_000);
        }
    }

    #[test]
    fn a_hash_of_which_only_fields_expire_is_no_volatile_key() {
        for (order, volatile_only) in POLICIES {
            let mut k = keyspace(order, volatile_only, 8);
            let hasher = k.hasher().clone();
            for number in 0..200 {
                let key = format!("hash:{number}");
                let mut slot = k.find(DbIndex(0), hasher.key(key.as_bytes()), T0);
                slot.edit(|hash: &mut Hash, edit| {
                    hash.set(edit, b"field", b"value", FieldExpire::Clear);
                    hash.set_expire(edit, b"field", Some(later(100)));
                })
                .unwrap();
            }
            (0..20).for_each(|number| set(&mut k, 0, number, T0, SetExpire::At(later(100))));
            assert_eq!(k.volatile_len(DbIndex(0)), 20);
            for _ in 0..2000 {
                k.evict_step(T0, 1, 5);
            }
            let left = if order == Never { 220 } else { u64::from(volatile_only) * 200 };
            assert_eq!((k.len(DbIndex(0)), k.evictable()), (left, 0), "{order:?}");
            assert_eq!(k.volatile_len(DbIndex(0)), if order == Never { 20 } else { 0 });
        }
    }

    #[test]
    fn every_key_goes_in_the_end_from_all_databases() {
        for (order, volatile_only) in POLICIES {
            let mut k = keyspace(order, volatile_only, 4);
            let count = 2000;
            for number in 0..count {
                let expire = SetExpire::At(later(100 + i64::from(number)));
                set(&mut k, (number % 7) as u16, number, T0, expire);
            }
            let dirty = k.dirty();
            if order == Never {
                assert_eq!(k.evictable(), 0);
                assert_eq!(k.evict_step(T0, u64::MAX, 1000), EvictReport::default());
                assert_eq!(k.stats().evicted_keys, 0);
                continue;
            }
            evict(&mut k, u64::from(count), T0);
            assert_eq!((k.used_memory(), k.evictable()), (0, 0), "{order:?}");
            assert_eq!(k.dirty(), dirty, "no client has changed anything");
        }
    }

    #[test]
    fn random_eviction_prefers_nobody() {
        for volatile_only in [false, true] {
            let mut k = keyspace(Random, volatile_only, 5);
            for number in 0..10_000 {
                set(&mut k, u16::from(number >= 8000), number, T0, SetExpire::At(later(100)));
            }
            evict(&mut k, 5000, T0);
            for tenth in 0..10 {
                let keys = tenth * 1000..(tenth + 1) * 1000;
                let gone = keys.filter(|&number| !has(&mut k, u16::from(number >= 8000), number, T0)).count();
                assert!((400..600).contains(&gone), "{gone} of tenth {tenth} went");
            }
        }
    }

    #[test]
    fn watchers_are_told_and_what_has_expired_counts_as_expired() {
        let mut k = keyspace(LeastRecentlyUsed, false, 6);
        let hash = k.hasher().hash(b"key:0");
        set(&mut k, 0, 0, T0, SetExpire::Clear);
        let before = k.observers().watch(DbIndex(0), hash);
        evict(&mut k, 1, T0);
        assert!(k.observers().version(DbIndex(0), hash) > before);
        set(&mut k, 0, 1, T0, SetExpire::At(later(1)));
        k.evict_step(later(2), 1, 10);
        assert_eq!((k.stats().evicted_keys, k.stats().expired_keys, k.used_memory()), (1, 1, 0));
    }

    #[test]
    fn what_is_dead_is_freed_before_any_key_goes() {
        let mut k = keyspace(LeastRecentlyUsed, false, 7);
        (0..1000).for_each(|number| set(&mut k, 1, number, T0, SetExpire::Clear));
        let one = k.used_memory();
        (0..1000).for_each(|number| set(&mut k, 0, number, T0, SetExpire::Clear));
        k.flush(DbIndex(1));
        while k.used_memory() > one {
            k.evict_step(T0, k.used_memory() - one, 1);
        }
        assert!(!k.has_dead());
        assert!(k.stats().evicted_keys <= 1, "{} keys went", k.stats().evicted_keys);
    }

    proptest! {
        /// Whatever is in the databases: the limit is reached if the policy lets enough go, and else nothing is left
        /// that it lets go.
        #[test]
        fn the_limit_is_reached_if_it_can_be(
            policy in 0..POLICIES.len(),
            seed in any::<u64>(),
            keys in proptest::collection::vec((0..16u16, 0..500u32, any::<bool>(), 1..3000usize), 1..300),
            limit_percent in 0..100u64,
        ) {
            let (order, volatile_only) = POLICIES[policy];
            let mut k = keyspace(order, volatile_only, seed);
            let hasher = k.hasher().clone();
            for (db, number, is_volatile, len) in keys {
                let expire = if is_volatile { SetExpire::At(later(50)) } else { SetExpire::Clear };
                let (key, value) = (format!("key:{number}"), vec![b'x'; len]);
                k.set(DbIndex(db), hasher.key(key.as_bytes()), T0, NewValue::Raw(&value), expire);
            }
            let limit = k.used_memory() * limit_percent / 100;
            let mut steps = 0;
            while k.used_memory() > limit && k.evictable() > 0 {
                let wanted = k.used_memory() - limit;
                let report = k.evict_step(T0, wanted, 16);
                prop_assert!(report.evicted <= 16);
                steps += 1;
                prop_assert!(steps < 10_000, "eviction does not end");
            }
            prop_assert!(k.used_memory() <= limit || k.evictable() == 0);
            let left: u64 = (0..16).map(|db| k.len(DbIndex(db))).sum();
            let volatile: u64 = (0..16).map(|db| k.volatile_len(DbIndex(db))).sum();
            prop_assert!(!volatile_only || left - volatile > 0 || k.used_memory() <= limit);
        }
    }
}
