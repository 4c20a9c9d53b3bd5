//! Which cores a publication may concern, and how many names there are over all of them.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::Kind;
use crate::base::ids::CoreId;
use crate::base::key::{AlreadyHashed, KeyHash};

/// Into so many buckets the names of channels fall. With fewer names than that, most publications go to those cores
/// only that have a subscriber; with many more, to nearly all. It is also what bounds the memory: a bit per bucket and
/// core, on each core, once there is a subscription at all.
const BUCKETS: usize = 16 * 1024;

/// Patterns have a bucket of their own: any of them may match any channel.
const PATTERNS: u16 = BUCKETS as u16;

/// A bucket of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of a name.
    #[inline]
    pub fn of(kind: Kind, hash: KeyHash) -> Bucket {
        match kind {
            // That channels and shard channels share the buckets makes for some false alarms, no more.
            Kind::Channel | Kind::Shard => Bucket((hash.0 % BUCKETS as u64) as u16),
            Kind::Pattern => Bucket(PATTERNS),
        }
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a core tells others about names that are new to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Publications in these buckets concern it from now on.
    pub buckets: Vec<Bucket>,
    /// It has subscribers to these, by kind and hash; for their homes.
    pub names: Vec<(Kind, KeyHash)>,
}

/// Which cores want what: of the other cores as they have told, of this one to tell them.
#[derive(Debug)]
pub struct Interest {
    /// Whether there is another core at all.
    has_others: bool,
    words_per_bucket: usize,
    /// For each bucket, a bit for each other core. Empty until one has told something.
    others: Vec<u64>,
    /// What this core wants, for each bucket. Empty until there is something.
    own: Vec<Own>,
    /// Buckets that have become empty since the others were last told of such, each once.
    emptied: Vec<Bucket>,
}

/// What this core wants of one bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    /// How many names it has, those included that somebody waits for.
    names: u32,
    /// Whether all others know that it wants it.
    is_known: bool,
    /// Whether it stands in `emptied`.
    is_emptied: bool,
}

impl Interest {
    /// Nobody wants anything.
    pub fn new(cores: u16) -> Interest {
        Interest {
            has_others: cores > 1,
            words_per_bucket: usize::from(cores).div_ceil(64),
            others: Vec::new(),
            own: Vec::new(),
            emptied: Vec::new(),
        }
    }

    /// A name of this core has come into a bucket. Whether the others know that this core wants it.
    pub fn add(&mut self, bucket: Bucket) -> bool {
        if !self.has_others {
            return true;
        }
        if self.own.is_empty() {
            self.own = vec![Own::default(); BUCKETS + 1];
        }
        let own = &mut self.own[bucket.index()];
        own.names += 1;
        own.is_known
    }

    /// A name of this core has left a bucket.
    pub fn remove(&mut self, bucket: Bucket) {
        if !self.has_others {
            return;
        }
        let own = &mut self.own[bucket.index()];
        own.names -= 1;
        if own.names == 0 && !std::mem::replace(&mut own.is_emptied, true) {
            self.emptied.push(bucket);
        }
    }

    /// All others have been told about this bucket, and know.
    pub fn set_known(&mut self, bucket: Bucket) {
        if !self.has_others {
            return;
        }
        let own = &mut self.own[bucket.index()];
        // A name that was waited for has kept it from being withdrawn meanwhile.
        debug_assert!(own.names > 0);
        own.is_known = true;
    }

    /// The buckets of which the others are to be told that this core wants them no longer: those that have stayed empty
    /// since the last call.
    pub fn take_withdrawn(&mut self) -> Vec<Bucket> {
        let mut withdrawn = std::mem::take(&mut self.emptied);
        withdrawn.retain(|bucket| {
            let own = &mut self.own[bucket.index()];
            own.is_emptied = false;
            own.names == 0 && std::mem::take(&mut own.is_known)
        });
        withdrawn
    }

    /// Another core wants these from now on, or wants them no longer.
    pub fn note(&mut self, core: CoreId, buckets: &[Bucket], wants: bool) {
        if buckets.is_empty() {
            return;
        }
        if self.others.is_empty() {
            self.others = vec![0; (BUCKETS + 1) * self.words_per_bucket];
        }
        let (word, bit) = (core.index() / 64, 1u64 << (core.index() % 64));
        for bucket in buckets {
            let word = &mut self.others[bucket.index() * self.words_per_bucket + word];
            *word = if wants { *word | bit } else { *word & !bit };
        }
    }

    /// The other cores that a publication may concern, 64 at a time: a bit for each in the word of this number.
    #[inline]
    pub fn wanted_by(&self, kind: Kind, hash: KeyHash, word: usize) -> u64 {
        if self.others.is_empty() {
            return 0;
        }
        let of = |bucket: Bucket| self.others[bucket.index() * self.words_per_bucket + word];
        let by_name = of(Bucket::of(kind, hash));
        match kind {
            Kind::Shard => by_name,
            Kind::Channel | Kind::Pattern => by_name | of(Bucket(PATTERNS)),
        }
    }

    /// How many words of cores there are.
    #[inline]
    pub fn words(&self) -> usize {
        self.words_per_bucket
    }
}

/// The names of which this core is the home, each with the number of cores that have subscribers to it.
#[derive(Debug, Default)]
pub struct Census([HashMap<u64, u16, BuildHasherDefault<AlreadyHashed>>; 3]);

impl Census {
    /// The core that counts a name.
    pub fn home(hash: KeyHash, cores: u16) -> CoreId {
        // Other bits than those that choose the bucket.
        CoreId((((hash.0 >> 32) * u64::from(cores)) >> 32) as u16)
    }

    /// A core has its first subscriber to a name.
    pub fn add(&mut self, kind: Kind, hash: KeyHash) {
        *self.0[kind.index()].entry(hash.0).or_default() += 1;
    }

    /// A core has no subscriber to a name any more.
    pub fn remove(&mut self, kind: Kind, hash: KeyHash) {
        let names = &mut self.0[kind.index()];
        let Some(cores) = names.get_mut(&hash.0) else {
            debug_assert!(false, "a name goes that was never there");
            return;
        };
        *cores -= 1;
        if *cores == 0 {
            names.remove(&hash.0);
        }
    }

    /// How many names of this kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        self.0[kind.index()].len()
    }

    /// Whether there is none of any kind.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(HashMap::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(interest: &Interest, kind: Kind, hash: u64) -> Vec<usize> {
        let bits = |word: usize| interest.wanted_by(kind, KeyHash(hash), word);
        (0..interest.words())
            .flat_map(|word| {
                (0..64).filter(move |bit| bits(word) & 1 << bit != 0).map(move |bit| word * 64 + bit)
            })
            .collect()
    }

    #[test]
    fn publications_go_where_they_are_wanted() {
        let mut interest = Interest::new(70);
        assert_eq!(wanted(&interest, Kind::Channel, 5), []);
        let bucket = Bucket::of(Kind::Channel, KeyHash(5));
        interest.note(CoreId(3), &[bucket], true);
        interest.note(CoreId(69), &[bucket], true);
        interest.note(CoreId(64), &[Bucket::of(Kind::Pattern, KeyHash(5))], true);
        assert_eq!(wanted(&interest, Kind::Channel, 5), [3, 64, 69]);
        assert_eq!(wanted(&interest, Kind::Channel, 5 + BUCKETS as u64), [3, 64, 69]);
        assert_eq!(wanted(&interest, Kind::Channel, 6), [64]);
        assert_eq!(wanted(&interest, Kind::Shard, 5), [3, 69], "no pattern reaches a shard channel");
        assert_eq!(wanted(&interest, Kind::Shard, 6), []);
        interest.note(CoreId(69), &[bucket], false);
        assert_eq!(wanted(&interest, Kind::Channel, 5), [3, 64]);
    }

    #[test]
    fn a_bucket_is_withdrawn_when_it_has_stayed_empty() {
        let mut interest = Interest::new(2);
        let bucket = Bucket::of(Kind::Channel, KeyHash(9));
        assert!(!interest.add(bucket));
        assert!(!interest.add(bucket), "they do not know yet");
        interest.set_known(bucket);
        interest.remove(bucket);
        assert_eq!(interest.take_withdrawn(), []);
        interest.remove(bucket);
        assert!(interest.add(bucket), "nothing was withdrawn yet");
        assert_eq!(interest.take_withdrawn(), []);
        interest.remove(bucket);
        interest.add(bucket);
        interest.remove(bucket);
        assert_eq!(interest.take_withdrawn(), [bucket], "once");
        assert!(!interest.add(bucket), "they have to be told again");
    }

    #[test]
    fn names_are_counted_once_at_home() {
        let mut census = Census::default();
        census.add(Kind::Channel, KeyHash(1));
        census.add(Kind::Channel, KeyHash(1));
        census.add(Kind::Pattern, KeyHash(1));
        assert_eq!(Kind::ALL.map(|kind| census.len(kind)), [1, 1, 0]);
        census.remove(Kind::Channel, KeyHash(1));
        census.remove(Kind::Pattern, KeyHash(1));
        assert_eq!(Kind::ALL.map(|kind| census.len(kind)), [1, 0, 0]);
        census.remove(Kind::Channel, KeyHash(1));
        assert!(census.is_empty());
        for cores in [1, 2, 5, 64] {
            for hash in [0, 1 << 31, 1 << 40, u64::MAX, 0x1234_5678_9abc_def0] {
                assert!(Census::home(KeyHash(hash), cores).0 < cores);
            }
        }
    }
}
