//! What the collections have in common: how an entry keeps one, what a change of one is given, and the limits of their
//! encodings.
//!
//! A collection owns memory of its shard's slab, so nothing here implements `Drop`: an owning value is given to an
//! entry as a word, or given back with `free`. The word is an owning pointer with a tag in its three low bits that
//! tells the encoding; each type says which tags it uses.
//!
//! Not here: the collections themselves, and which key they are under.

use super::slab::Slab;
use crate::base::{key::KeyHasher, time::UnixMs};

/// The bits of a word that hold the encoding's tag.
pub const TAG_MASK: u64 = 7;

/// How a value is held, as OBJECT ENCODING names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A string that is a canonical 64-bit integer, held as one.
    Int,
    /// A short string set whole.
    Embstr,
    /// A long string, or one that was modified in place.
    Raw,
    /// A small list, hash, set or sorted set in one block.
    Listpack,
    /// A small hash with fields that expire, in one block.
    Listpackex,
    /// A list of listpacks.
    Quicklist,
    /// A small set of integers.
    Intset,
    /// A large hash or set.
    Hashtable,
    /// A large sorted set. It is a tree here; the name is what clients know.
    Skiplist,
}

impl Encoding {
    /// The name that OBJECT ENCODING answers.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embstr => "embstr",
            Encoding::Raw => "raw",
            Encoding::Listpack => "listpack",
            Encoding::Listpackex => "listpackex",
            Encoding::Quicklist => "quicklist",
            Encoding::Intset => "intset",
            Encoding::Hashtable => "hashtable",
            Encoding::Skiplist => "skiplist",
        }
    }
}

/// A list, set, sorted set or hash as an entry keeps it.
///
/// # Safety
///
/// `into_word` gives a pointer below 2^48 with the tag in its low bits, `from_word` takes it back, `borrow` only looks
/// through it. A collection that nobody frees stays valid wherever its word is kept.
pub unsafe trait Collection: Sized {
    /// A collection to read.
    type Ref<'a>: Copy;

    /// A collection without elements. It owns memory all the same.
    fn empty(slab: &mut Slab) -> Self;

    /// The word for an entry.
    fn into_word(self) -> u64;

    /// The collection of a word.
    ///
    /// # Safety
    ///
    /// The word came from `into_word` and is given back once.
    unsafe fn from_word(word: u64) -> Self;

    /// The collection of a word, to read.
    ///
    /// # Safety
    ///
    /// The word came from `into_word`, and nobody changes or frees the collection during `'a`.
    unsafe fn borrow<'a>(word: u64) -> Self::Ref<'a>;

    /// The collection itself, to read.
    fn as_ref(&self) -> Self::Ref<'_>;

    /// How many elements it has.
    fn len(of: Self::Ref<'_>) -> usize;

    /// Bytes that it takes: exact where that is known, else estimated from a few elements, as MEMORY USAGE does.
    fn memory_bytes(of: Self::Ref<'_>) -> usize;

    /// How it is held.
    fn encoding(of: Self::Ref<'_>) -> Encoding;

    /// A copy with the same encoding.
    fn copy(of: Self::Ref<'_>, slab: &mut Slab, hasher: &KeyHasher) -> Self;

    /// Writes a form of it that `import` understands on any shard of this process.
    fn export(of: Self::Ref<'_>, out: &mut Vec<u8>);

    /// The collection that was exported, in the same encoding; `None` if the bytes are damaged.
    fn import(bytes: &[u8], slab: &mut Slab, hasher: &KeyHasher) -> Option<Self>;

    /// Whether freeing it at once would keep the shard for longer than a command should (about 50 microseconds).
    fn is_large(of: Self::Ref<'_>) -> bool;

    /// Frees about `budget` elements. True when nothing is left, not even the collection, which ends there.
    fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool;

    /// Frees it at once.
    fn free(mut self, slab: &mut Slab) {
        while !self.free_step(slab, usize::MAX) {}
    }
}

/// What a function that changes a collection works with.
pub struct Edit<'a> {
    /// The shard's memory.
    pub slab: &'a mut Slab,
    /// The shard's hash function.
    pub hasher: &'a KeyHasher,
    /// Up to which sizes the compact encodings go.
    pub limits: &'a EncodingLimits,
    /// The time of this pass.
    pub now: UnixMs,
    changes: u64,
}

impl<'a> Edit<'a> {
    /// With no changes made yet.
    pub fn new(
        slab: &'a mut Slab,
        hasher: &'a KeyHasher,
        limits: &'a EncodingLimits,
        now: UnixMs,
    ) -> Edit<'a> {
        Edit { slab, hasher, limits, now, changes: 0 }
    }

    /// Takes note that `count` elements were added, changed or removed. A command that never says so has changed
    /// nothing.
    #[inline]
    pub fn changed(&mut self, count: u64) {
        self.changes += count;
    }

    /// How many changes were made.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// Up to which size a hash, set or sorted set stays a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedLimits {
    /// Fields, or members.
    pub entries: usize,
    /// Bytes of the longest field, value or member.
    pub value_bytes: usize,
}

/// The directives `hash-max-listpack-entries` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodingLimits {
    /// `hash-max-listpack-entries`, `hash-max-listpack-value`.
    pub hash: PackedLimits,
    /// `set-max-intset-entries`.
    pub set_intset_entries: usize,
    /// `set-max-listpack-entries`, `set-max-listpack-value`.
    pub set: PackedLimits,
    /// `zset-max-listpack-entries`, `zset-max-listpack-value`.
    pub zset: PackedLimits,
    /// `list-max-listpack-size`: elements of a node where positive, else one of five limits in bytes (-1 is 4 KiB,
    /// -5 is 64 KiB).
    pub list_node: i32,
    /// `list-compress-depth`: how many nodes at each end of a list are never compressed; 0 compresses none.
    pub list_compress_depth: u32,
    /// `hll-sparse-max-bytes`.
    pub hll_sparse_bytes: usize,
}

impl Default for EncodingLimits {
    fn default() -> Self {
        EncodingLimits {
            hash: PackedLimits { entries: 512, value_bytes: 64 },
            set_intset_entries: 512,
            set: PackedLimits { entries: 128, value_bytes: 64 },
            zset: PackedLimits { entries: 128, value_bytes: 64 },
            list_node: -2,
            list_compress_depth: 0,
            hll_sparse_bytes: 3000,
        }
    }
}
