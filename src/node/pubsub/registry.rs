//! The subscriptions of one kind on one core: which of its sessions listen to which name, both ways round.
//!
//! Every operation but a walk over all names takes constant or logarithmic time, whatever it has to do with: a channel
//! of a hundred thousand subscribers is left as fast as one of two.
//!
//! A name is there from the moment at which somebody asks for it (`reserve`), so that it is announced once; those who
//! asked become its subscribers when the other cores know of it (`subscribe`), or give up (`release`).
//!
//! Invariants: a name is there if and only if somebody has asked for it or listens to it. A session's place in its
//! name's list is what the session's own list says.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use crate::base::key::{AlreadyHashed, Key, KeyHash};

/// A name's place in the registry, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(u32);

/// See the module.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Option<Entry>>,
    free: Vec<EntryId>,
    /// By the name's hash: the newest name with that hash; older ones follow from there.
    by_hash: HashMap<u64, EntryId, BuildHasherDefault<AlreadyHashed>>,
    /// By session: the names that it listens to, each with the session's place in the name's list.
    by_session: Vec<BTreeMap<EntryId, u32>>,
}

#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    hash: KeyHash,
    /// Another name with the same hash.
    next: Option<EntryId>,
    /// Who listens.
    sessions: Vec<u32>,
    /// How many have asked for it and wait.
    reserved: u32,
    /// Whether the other cores know of it.
    is_known: bool,
}

/// What came of asking for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Its place.
    pub entry: EntryId,
    /// Whether nobody had asked for it before.
    pub is_new: bool,
    /// Whether the other cores know of it.
    pub is_known: bool,
}

/// A name of which nobody wants to know any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Gone(pub KeyHash);

impl Registry {
    /// Somebody wants to listen to this name: `subscribe` or `release` follows.
    pub fn reserve(&mut self, name: Key<'_>) -> Reserved {
        if let Some(id) = self.find(name) {
            let Some(entry) = self.entry_mut(id) else { unreachable!("{id:?} was found") };
            entry.reserved += 1;
            return Reserved { entry: id, is_new: false, is_known: entry.is_known };
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            EntryId(self.entries.len() as u32 - 1)
        });
        let next = self.by_hash.insert(name.hash().0, id);
        self.entries[id.0 as usize] = Some(Entry {
            name: name.bytes().into(),
            hash: name.hash(),
            next,
            sessions: Vec::new(),
            reserved: 1,
            is_known: false,
        });
        Reserved { entry: id, is_new: true, is_known: false }
    }

    /// The other cores know of this name.
    pub fn set_known(&mut self, id: EntryId) {
        if let Some(entry) = self.entry_mut(id) {
            entry.is_known = true;
        }
    }

    /// Who asked for this name listens from now on. Whether it did not do so already.
    pub fn subscribe(&mut self, session: u32, id: EntryId) -> bool {
        if self.by_session.len() <= session as usize {
            self.by_session.resize_with(session as usize + 1, BTreeMap::new);
        }
        let Some(entry) = self.entries[id.0 as usize].as_mut() else { unreachable!("{id:?} was asked for") };
        entry.reserved -= 1;
        let places = &mut self.by_session[session as usize];
        if places.contains_key(&id) {
            return false;
        }
        places.insert(id, entry.sessions.len() as u32);
        entry.sessions.push(session);
        true
    }

    /// Who asked for this name has gone.
    pub fn release(&mut self, id: EntryId) -> Option<Gone> {
        self.entry_mut(id)?.reserved -= 1;
        self.remove_if_unused(id)
    }

    /// The session no longer listens to this name; it does so now.
    pub fn unsubscribe(&mut self, session: u32, id: EntryId) -> Option<Gone> {
        let place = self.by_session.get_mut(session as usize)?.remove(&id)?;
        let entry = self.entry_mut(id)?;
        entry.sessions.swap_remove(place as usize);
        if let Some(&moved) = entry.sessions.get(place as usize) {
            self.by_session[moved as usize].insert(id, place);
        }
        self.remove_if_unused(id)
    }

    /// A name to which the session listens: the oldest in the registry.
    pub fn first_of(&self, session: u32) -> Option<EntryId> {
        self.by_session.get(session as usize)?.keys().next().copied()
    }

    /// The session is gone and listens to nothing: its memory is given back.
    pub fn forget(&mut self, session: u32) {
        if let Some(places) = self.by_session.get_mut(session as usize) {
            debug_assert!(places.is_empty(), "session {session} still listens");
            *places = BTreeMap::new();
        }
    }

    /// Where this name is, if somebody wants to know of it.
    #[inline]
    pub fn find(&self, name: Key<'_>) -> Option<EntryId> {
        let mut at = self.by_hash.get(&name.hash().0).copied();
        while let Some(id) = at {
            let entry = self.entry(id)?;
            if *entry.name == *name.bytes() {
                return Some(id);
            }
            at = entry.next;
        }
        None
    }

    /// Whether the session listens to this name.
    pub fn listens(&self, session: u32, id: EntryId) -> bool {
        self.by_session.get(session as usize).is_some_and(|places| places.contains_key(&id))
    }

    /// Who listens to this name, in no order that means anything.
    #[inline]
    pub fn sessions(&self, id: EntryId) -> &[u32] {
        self.entry(id).map_or(&[], |entry| &entry.sessions)
    }

    /// The name.
    pub fn name(&self, id: EntryId) -> &[u8] {
        self.entry(id).map_or(&[], |entry| &entry.name)
    }

    /// All names that somebody listens to, with who does.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u32])> + '_ {
        let entries = self.entries.iter().flatten().filter(|entry| !entry.sessions.is_empty());
        entries.map(|entry| (&*entry.name, entry.sessions.as_slice()))
    }

    /// Whether nobody has asked for any name.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries[id.0 as usize].as_ref()
    }

    fn entry_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries[id.0 as usize].as_mut()
    }

    fn remove_if_unused(&mut self, id: EntryId) -> Option<Gone> {
        let entry = self.entry(id).filter(|entry| entry.reserved == 0 && entry.sessions.is_empty())?;
        let (hash, next) = (entry.hash, entry.next);
        self.entries[id.0 as usize] = None;
        self.free.push(id);
        let newest = self.by_hash.get(&hash.0).copied();
        match (newest == Some(id), next) {
            (true, Some(next)) => {
                self.by_hash.insert(hash.0, next);
            }
            (true, None) => {
                self.by_hash.remove(&hash.0);
            }
            (false, _) => {
                let mut at = newest;
                while let Some(before) = at.and_then(|at| self.entry_mut(at)) {
                    at = before.next;
                    if at == Some(id) {
                        before.next = next;
                    }
                }
            }
        }
        Some(Gone(hash))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::base::key::KeyHasher;
    use crate::base::prng::Prng;

    #[test]
    fn it_equals_a_plain_map() {
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        for seed in 0..50 {
            let mut rng = Prng::new(seed);
            let mut registry = Registry::default();
            let mut model: BTreeMap<Vec<u8>, BTreeSet<u32>> = BTreeMap::new();
            let mut reserved: Vec<(u32, EntryId, Vec<u8>)> = Vec::new();
            for _ in 0..400 {
                let name = format!("ch{}", rng.below(12)).into_bytes();
                let session = rng.below(7) as u32;
                match rng.below(5) {
                    0 | 1 => {
                        let asked = reserved.iter().any(|(_, _, other)| *other == name);
                        let is_new = !model.contains_key(&name) && !asked;
                        let got = registry.reserve(hasher.key(&name));
                        assert_eq!(got.is_new, is_new, "seed {seed}");
                        reserved.push((session, got.entry, name));
                    }
                    2 if !reserved.is_empty() => {
                        let (session, entry, name) =
                            reserved.swap_remove(rng.below(reserved.len() as u64) as usize);
                        assert_eq!(registry.name(entry), name);
                        if rng.below(4) == 0 {
                            let rest = reserved.iter().any(|(_, other, _)| *other == entry);
                            let is_gone = registry.release(entry).is_some();
                            assert_eq!(is_gone, !rest && !model.contains_key(&name), "seed {seed}");
                        } else {
                            let is_new = model.entry(name).or_default().insert(session);
                            assert_eq!(registry.subscribe(session, entry), is_new, "seed {seed}");
                        }
                    }
                    3 => {
                        let entry = registry.find(hasher.key(&name));
                        let listens = entry.is_some_and(|entry| registry.listens(session, entry));
                        let sessions = model.get_mut(&name);
                        assert_eq!(listens, sessions.as_ref().is_some_and(|all| all.contains(&session)));
                        if let (true, Some(entry), Some(sessions)) = (listens, entry, sessions) {
                            sessions.remove(&session);
                            let is_last = sessions.is_empty();
                            let rest = reserved.iter().any(|(_, other, _)| *other == entry);
                            let is_gone = registry.unsubscribe(session, entry).is_some();
                            assert_eq!(is_gone, is_last && !rest, "seed {seed}");
                            model.retain(|_, sessions| !sessions.is_empty());
                        }
                    }
                    _ if rng.below(10) == 0 => {
                        while let Some(entry) = registry.first_of(session) {
                            let _ = registry.unsubscribe(session, entry);
                        }
                        registry.forget(session);
                        model.values_mut().for_each(|sessions| {
                            sessions.remove(&session);
                        });
                        model.retain(|_, sessions| !sessions.is_empty());
                    }
                    _ => {}
                }
                let listed: BTreeMap<Vec<u8>, BTreeSet<u32>> = registry
                    .iter()
                    .map(|(name, sessions)| (name.to_vec(), sessions.iter().copied().collect()))
                    .collect();
                assert_eq!(listed, model, "seed {seed}");
                assert_eq!(registry.is_empty(), model.is_empty() && reserved.is_empty());
            }
        }
    }

    #[test]
    fn names_with_the_same_hash_are_told_apart() {
        let mut registry = Registry::default();
        // The hasher is asked for one name only, so that all of them get its hash.
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        let hash = hasher.hash(b"a");
        let mut ids = Vec::new();
        for name in [&b"a"[..], b"b", b"c"] {
            ids.push(registry.reserve(Key::with_any_hash(name, hash)).entry);
        }
        for removed in [1usize, 0, 2] {
            assert_eq!(registry.release(ids[removed]), Some(Gone(hash)));
            for (at, name) in [&b"a"[..], b"b", b"c"].into_iter().enumerate() {
                let expected = match removed {
                    1 => at != 1,
                    0 => at == 2,
                    _ => false,
                };
                let found = registry.find(Key::with_any_hash(name, hash));
                assert_eq!(found, expected.then_some(ids[at]));
            }
        }
        assert!(registry.is_empty());
    }

    #[test]
    fn a_name_is_known_until_it_goes() {
        let hasher = KeyHasher::new([1, 2, 3, 4]);
        let mut registry = Registry::default();
        let first = registry.reserve(hasher.key(b"a"));
        assert!(first.is_new && !first.is_known);
        registry.set_known(first.entry);
        assert!(registry.subscribe(5, first.entry));
        let second = registry.reserve(hasher.key(b"a"));
        assert_eq!(second, Reserved { entry: first.entry, is_new: false, is_known: true });
        assert_eq!(registry.release(second.entry), None);
        assert_eq!(registry.unsubscribe(5, first.entry), Some(Gone(hasher.hash(b"a"))));
        assert!(registry.reserve(hasher.key(b"a")).is_new);
    }
}
