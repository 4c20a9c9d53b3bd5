//! Keys that somebody has an eye on: those that WATCH names, and those that blocked clients wait for.
//!
//! Every door for writes says which key it changed (`Observers::modified`); while nobody observes anything that is one
//! comparison. Keys are known by their hashes: two keys with the same 64 bits would be taken for one another, which
//! at worst ends a transaction or wakes a client without need.
//!
//! Invariant: a key is in the map as long as somebody watches it or waits for it.

use std::collections::BTreeMap;

use crate::base::{ids::DbIndex, key::KeyHash};

/// What a watched key's state is compared by. A later state has a larger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// See the module.
#[derive(Debug, Default)]
pub struct Observers {
    keys: BTreeMap<(DbIndex, KeyHash), Observed>,
    /// The latest version given to any key.
    latest: u64,
    /// Keys that are waited for and were changed, in order of their changes.
    ready: Vec<(DbIndex, KeyHash)>,
}

#[derive(Debug, Default)]
struct Observed {
    watchers: u32,
    waiters: u32,
    version: u64,
    /// Whether it stands in `ready`.
    is_ready: bool,
}

impl Observers {
    /// Whether nobody observes anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One more client watches the key; the version that it has now.
    pub fn watch(&mut self, db: DbIndex, key: KeyHash) -> Version {
        let observed = self.observed(db, key);
        observed.watchers += 1;
        Version(observed.version)
    }

    /// One client less watches the key.
    pub fn unwatch(&mut self, db: DbIndex, key: KeyHash) {
        self.leave(db, key, |observed| observed.watchers = observed.watchers.saturating_sub(1));
    }

    /// The version that a watched key has now; one that nobody ever had of a key that is observed no more.
    pub fn version(&self, db: DbIndex, key: KeyHash) -> Version {
        Version(self.keys.get(&(db, key)).map_or(0, |observed| observed.version))
    }

    /// One more client waits for the key.
    pub fn wait(&mut self, db: DbIndex, key: KeyHash) {
        self.observed(db, key).waiters += 1;
    }

    /// One client less waits for the key.
    pub fn stop_waiting(&mut self, db: DbIndex, key: KeyHash) {
        self.leave(db, key, |observed| observed.waiters = observed.waiters.saturating_sub(1));
    }

    /// The key was changed, created or removed.
    #[inline]
    pub fn modified(&mut self, db: DbIndex, key: KeyHash) {
        if !self.keys.is_empty() {
            self.note(db, key);
        }
    }

    /// The keys of these databases that are observed.
    pub fn keys_of(&self, databases: &[DbIndex]) -> Vec<(DbIndex, KeyHash)> {
        self.keys.keys().copied().filter(|(db, _)| databases.contains(db)).collect()
    }

    /// Takes the keys that are waited for and have changed since the last time.
    pub fn take_ready(&mut self) -> Vec<(DbIndex, KeyHash)> {
        let ready = std::mem::take(&mut self.ready);
        for place in &ready {
            if let Some(observed) = self.keys.get_mut(place) {
                observed.is_ready = false;
            }
        }
        ready
    }

    /// Whether a key that is waited for has changed.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What is known of a key. One that was not observed gets a version of its own: it may have been watched before,
    /// and changed.
    fn observed(&mut self, db: DbIndex, key: KeyHash) -> &mut Observed {
        let latest = &mut self.latest;
        self.keys.entry((db, key)).or_insert_with(|| {
            *latest += 1;
            Observed { version: *latest, ..Observed::default() }
        })
    }

    #[cold]
    fn note(&mut self, db: DbIndex, key: KeyHash) {
        let Some(observed) = self.keys.get_mut(&(db, key)) else { return };
        self.latest += 1;
        observed.version = self.latest;
        if observed.waiters > 0 && !observed.is_ready {
            observed.is_ready = true;
            self.ready.push((db, key));
        }
    }

    fn leave(&mut self, db: DbIndex, key: KeyHash, f: impl FnOnce(&mut Observed)) {
        let Some(observed) = self.keys.get_mut(&(db, key)) else { return };
        f(observed);
        if observed.watchers == 0 && observed.waiters == 0 {
            self.keys.remove(&(db, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbIndex = DbIndex(0);

    #[test]
    fn a_watched_key_gets_a_new_version_with_each_change() {
        let mut observers = Observers::default();
        observers.modified(DB, KeyHash(1));
        let before = observers.watch(DB, KeyHash(1));
        observers.modified(DB, KeyHash(2));
        observers.modified(DbIndex(1), KeyHash(1));
        assert_eq!(observers.version(DB, KeyHash(1)), before);
        observers.modified(DB, KeyHash(1));
        assert!(observers.version(DB, KeyHash(1)) > before);
        // A second watcher sees the change as past.
        let second = observers.watch(DB, KeyHash(1));
        assert_eq!(observers.version(DB, KeyHash(1)), second);
        observers.unwatch(DB, KeyHash(1));
        assert!(!observers.is_empty());
        observers.unwatch(DB, KeyHash(1));
        assert!(observers.is_empty());
        assert_ne!(observers.watch(DB, KeyHash(2)), observers.version(DB, KeyHash(1)));
        observers.wait(DB, KeyHash(1));
        assert_ne!(observers.version(DB, KeyHash(1)), second);
    }

    #[test]
    fn a_version_is_not_given_again_when_a_key_is_forgotten() {
        let mut observers = Observers::default();
        let first = observers.watch(DB, KeyHash(1));
        observers.unwatch(DB, KeyHash(1));
        observers.modified(DB, KeyHash(1));
        assert_ne!(observers.version(DB, KeyHash(1)), first);
        assert_ne!(observers.watch(DB, KeyHash(1)), first);
    }

    #[test]
    fn keys_become_ready_in_order_and_once() {
        let mut observers = Observers::default();
        observers.wait(DB, KeyHash(1));
        observers.wait(DB, KeyHash(1));
        observers.wait(DB, KeyHash(2));
        observers.watch(DB, KeyHash(3));
        for key in [2, 1, 2, 3] {
            observers.modified(DB, KeyHash(key));
        }
        assert_eq!(observers.take_ready(), [(DB, KeyHash(2)), (DB, KeyHash(1))]);
        assert!(!observers.has_ready());
        observers.stop_waiting(DB, KeyHash(1));
        observers.modified(DB, KeyHash(1));
        assert_eq!(observers.take_ready(), [(DB, KeyHash(1))]);
        observers.stop_waiting(DB, KeyHash(1));
        observers.modified(DB, KeyHash(1));
        assert!(!observers.has_ready());
    }
}
