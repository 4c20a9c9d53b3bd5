//! A set as a whole: kept in a word, measured, copied, moved to another shard, taken out of a snapshot, freed.
//!
//! ```text
//! exported   0      1
//!            | tag  | the intset, or the listpack, as it is
//!            | tag  | of a table each member: its length, u32; its bytes
//! ```

use std::ptr::NonNull;

use super::{intset_entries_max, Held, Intset, Listpack, Root, Set, SetRef, Slab, Table, View};
use crate::{
    base::key::KeyHasher,
    ds::{
        collection::{Collection, Edit, Encoding, TAG_MASK},
        listpack::are_distinct,
        slab::class_size,
    },
};

/// The tags of a word, and of an exported set.
const INTSET: u8 = 0;
const LISTPACK: u8 = 1;
const TABLE: u8 = 2;

/// A table with more members than this takes too long to be freed at once: about 30 nanoseconds each.
const LARGE_LEN: u64 = 1500;

/// How many members tell how long they are on average.
const SAMPLES: usize = 5;

// SAFETY: all three pointers are to blocks of the slab: multiples of 8 below 2^48, with a tag below 8 beside; what they
// point to stays until it is freed, and reading changes nothing.
unsafe impl Collection for Set {
    type Ref<'a> = SetRef<'a>;

    fn empty(slab: &mut Slab) -> Self {
        Set(Held::Intset(Intset::new(slab)))
    }

    #[inline]
    fn into_word(self) -> u64 {
        let (raw, tag) = match self.0 {
            Held::Intset(intset) => (intset.into_raw(), INTSET),
            Held::Listpack(listpack) => (listpack.into_raw(), LISTPACK),
            Held::Table(root) => (root.0.cast(), TABLE),
        };
        raw.as_ptr().expose_provenance() as u64 | u64::from(tag)
    }

    #[inline]
    unsafe fn from_word(word: u64) -> Self {
        let (raw, tag) = parts(word);
        // SAFETY: the pointer is what `into_word` gave under this tag, and it is ours now, as the caller promises.
        Set(unsafe {
            match tag {
                INTSET => Held::Intset(Intset::from_raw(raw)),
                LISTPACK => Held::Listpack(Listpack::from_raw(raw)),
                _ => Held::Table(Root(raw.cast())),
            }
        })
    }

    #[inline]
    unsafe fn borrow<'a>(word: u64) -> SetRef<'a> {
        let (raw, tag) = parts(word);
        // SAFETY: the pointer is what `into_word` gave under this tag, and nobody changes the set, as the caller
        // promises.
        SetRef(unsafe {
            match tag {
                INTSET => View::Intset(Intset::borrow(raw)),
                LISTPACK => View::Listpack(Listpack::borrow(raw)),
                _ => View::Table(raw.cast().as_ref()),
            }
        })
    }

    #[inline]
    fn as_ref(&self) -> SetRef<'_> {
        self.view()
    }

    #[inline]
    fn len(of: SetRef<'_>) -> usize {
        of.len()
    }

    fn memory_bytes(of: SetRef<'_>) -> usize {
        match of.0 {
            View::Intset(intset) => intset.memory_bytes(),
            View::Listpack(listpack) => listpack.memory_bytes(),
            View::Table(table) => {
                let (mut bytes, mut sampled) = (0, 0);
                for member in table.iter().take(SAMPLES) {
                    bytes += member.block_size();
                    sampled += 1;
                }
                let members = table.len() as usize * bytes / sampled.max(1);
                class_size(size_of::<Table<super::Member>>()) + table.memory_bytes() + members
            }
        }
    }

    fn encoding(of: SetRef<'_>) -> Encoding {
        match of.0 {
            View::Intset(_) => Encoding::Intset,
            View::Listpack(_) => Encoding::Listpack,
            View::Table(_) => Encoding::Hashtable,
        }
    }

    fn copy(of: SetRef<'_>, slab: &mut Slab, hasher: &KeyHasher) -> Self {
        Set(match of.0 {
            View::Intset(intset) => Held::Intset(intset.copy(slab)),
            View::Listpack(listpack) => Held::Listpack(listpack.copy(slab)),
            View::Table(table) => {
                let mut root = Root::new(slab);
                for member in table.iter() {
                    root.insert(slab, hasher, member.bytes());
                }
                Held::Table(root)
            }
        })
    }

    fn export(of: SetRef<'_>, out: &mut Vec<u8>) {
        match of.0 {
            View::Intset(intset) => {
                out.push(INTSET);
                out.extend_from_slice(intset.bytes());
            }
            View::Listpack(listpack) => {
                out.push(LISTPACK);
                out.extend_from_slice(listpack.bytes());
            }
            View::Table(table) => {
                out.push(TABLE);
                for member in table.iter() {
                    let bytes = member.bytes();
                    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
    }

    fn import(bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<Self> {
        let (&tag, bytes) = bytes.split_first()?;
        match tag {
            INTSET => Intset::from_bytes(bytes, slab).map(|intset| Set(Held::Intset(intset))),
            LISTPACK => {
                let listpack = Listpack::from_bytes(bytes, slab)?;
                let is_sound = are_distinct(listpack.as_ref().iter());
                let set = Set(Held::Listpack(listpack));
                set.sound(is_sound, slab)
            }
            TABLE => {
                let mut root = Root::new(slab);
                let is_sound = read_members(bytes, |member| root.insert(slab, hasher, member));
                Set(Held::Table(root)).sound(is_sound, slab)
            }
            _ => None,
        }
    }

    fn is_large(of: SetRef<'_>) -> bool {
        matches!(of.0, View::Table(table) if table.len() > LARGE_LEN)
    }

    fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        // SAFETY: each block ends here, or a table's root once nothing is in it; then the set is not used any more.
        unsafe {
            match &mut self.0 {
                Held::Intset(intset) => std::ptr::read(intset).free(slab),
                Held::Listpack(listpack) => std::ptr::read(listpack).free(slab),
                Held::Table(root) => return root.free_step(slab, budget),
            }
        }
        true
    }
}

impl Set {
    /// The set of a listpack's elements, as a table where the limits do not allow it so many. `None` if two are the
    /// same.
    pub fn from_listpack(listpack: Listpack, edit: &mut Edit<'_>) -> Option<Set> {
        let (len, is_sound) = (listpack.as_ref().len(), are_distinct(listpack.as_ref().iter()));
        let mut set = Set(Held::Listpack(listpack)).sound(is_sound, edit.slab)?;
        if len > edit.limits.set.entries {
            set.become_table(edit.slab, edit.hasher);
        }
        Some(set)
    }

    /// The set of an intset's integers, as a table where the limits do not allow it so many.
    pub fn from_intset(intset: Intset, edit: &mut Edit<'_>) -> Set {
        let len = intset.as_ref().len();
        let mut set = Set(Held::Intset(intset));
        if len > intset_entries_max(edit.limits) {
            set.become_table(edit.slab, edit.hasher);
        }
        set
    }

    /// The set, or nothing where it is not sound.
    fn sound(self, is_sound: bool, slab: &mut Slab) -> Option<Self> {
        if is_sound {
            return Some(self);
        }
        self.free(slab);
        None
    }
}

/// A word's pointer and tag.
#[inline]
fn parts(word: u64) -> (NonNull<u8>, u8) {
    let address = (word & !TAG_MASK) as usize;
    let raw = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
    (raw.expect("a set has a block"), (word & TAG_MASK) as u8)
}

/// Calls `f` with the members of an exported table until it says no; whether it never did, and all bytes made sense.
fn read_members(mut bytes: &[u8], mut f: impl FnMut(&[u8]) -> bool) -> bool {
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let Some((member, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else {
            return false;
        };
        if !f(member) {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}
