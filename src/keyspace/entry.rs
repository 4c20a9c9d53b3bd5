//! An entry: a key, its value, its expiry and its access field in one block of the slab.
//!
//! ```text
//! narrow   0        1         4      5        8           then
//!          | kind   | access  | klen | vlen   |           | expiry, 8 bytes, if any | key | value |
//!          | flags  | 24 bit  | u8   | 24 bit |
//!
//! wide     0        1         4               8        12          16
//!          | kind   | access  | klen, u32     | vlen   | capacity  | expiry, if any | key | value | room |
//! ```
//!
//! All numbers are little-endian. A narrow entry's block has the class of its length, so nothing says how large it is.
//! An entry is wide where a length does not fit, or where the value was extended in place (APPEND, SETRANGE): then it
//! has room to grow as Redis's sds has, doubled up to 1 MiB and 1 MiB more beyond.
//!
//! The value of kind `Int` is an i64; of `Text` and `Buffer` the string's bytes. The kinds from 3 on are collections:
//! their value is the eight bytes of an owning word (`ds::collection`). An entry whose collection was taken out of it
//! has the kind `Int`, so it can be freed like any other.
//!
//! Invariant: the block came from the slab with a length of class `block_size()`.
//! Invariant: of a wide entry, header, expiry, key and capacity together are exactly the block.

use std::{marker::PhantomData, ptr::NonNull};

use super::{
    collection::{self, for_kind, Hash, HashRef, Kept},
    value::{canonical_i64, Encoding, EntryView, IntText, NewValue, StringRef, ValueRef, EMBSTR_LEN_MAX},
};
use crate::{
    base::time::UnixMs,
    ds::{
        bytes::same_bytes,
        collection::{Collection, TAG_MASK},
        slab::{class_size, Slab},
        table::Element,
    },
};

/// The longest value that an entry can hold; `proto-max-bulk-len` must not exceed it.
pub const VALUE_LEN_MAX: usize = u32::MAX as usize - 8191;

const WIDE: u64 = 1 << 3;
const HAS_EXPIRY: u64 = 1 << 4;
const KIND_MASK: u64 = 7;
const ACCESS_SHIFT: u32 = 8;
const ACCESS_MASK: u64 = 0xFF_FFFF;
const NARROW_KEY_MAX: usize = 0xFF;
const NARROW_VALUE_MAX: usize = 0xFF_FFFF;

/// A slot of the table at its usual fill, counted into what a key takes.
const TABLE_BYTES: usize = 10;

/// How the value is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    /// A string set whole.
    Text,
    /// A string that was modified in place, or built by a command that would: `raw` to OBJECT ENCODING.
    Buffer,
    Collection(collection::Kind),
}

impl Kind {
    #[inline]
    fn number(self) -> u64 {
        match self {
            Kind::Int => KIND_INT,
            Kind::Text => KIND_TEXT,
            Kind::Buffer => KIND_BUFFER,
            Kind::Collection(kind) => kind as u64,
        }
    }
}

const KIND_INT: u64 = 0;
const KIND_TEXT: u64 = 1;
const KIND_BUFFER: u64 = 2;
const KIND_COLLECTION_MIN: u64 = 3;

/// A value ready to be laid out.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Int(i64),
    Text(&'a [u8]),
    Buffer(&'a [u8]),
    /// An owning word: whoever makes an entry of it gives it away.
    Collection(collection::Kind, u64),
}

/// An entry and its block. Whoever has it must give it to a table or free it.
pub(super) struct Entry(NonNull<u8>);

/// An entry to look at.
#[derive(Clone, Copy)]
pub(super) struct EntryRef<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a [u8]>,
}

/// An entry to change.
pub(super) struct EntryMut<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a mut [u8]>,
}

/// What the header says, taken apart.
#[derive(Clone, Copy)]
struct Shape {
    word: u64,
    key_at: usize,
    key_len: usize,
    value_len: usize,
    /// Bytes for the value in the block.
    capacity: usize,
}

// SAFETY: the block is the entry's alone.
unsafe impl Send for Entry {}

impl<'a> From<NewValue<'a>> for Payload<'a> {
    #[inline]
    fn from(value: NewValue<'a>) -> Self {
        match value {
            NewValue::Bytes(bytes) => match canonical_i64(bytes) {
                Some(number) => Payload::Int(number),
                None => Payload::Text(bytes),
            },
            NewValue::Int(number) => Payload::Int(number),
            NewValue::Raw(bytes) => Payload::Text(bytes),
            NewValue::Buffer(bytes) => Payload::Buffer(bytes),
        }
    }
}

impl Payload<'_> {
    #[inline]
    fn kind(self) -> Kind {
        match self {
            Payload::Int(_) => Kind::Int,
            Payload::Text(_) => Kind::Text,
            Payload::Buffer(_) => Kind::Buffer,
            Payload::Collection(kind, _) => Kind::Collection(kind),
        }
    }

    #[inline]
    fn len(self) -> usize {
        match self {
            Payload::Int(_) | Payload::Collection(..) => 8,
            Payload::Text(bytes) | Payload::Buffer(bytes) => bytes.len(),
        }
    }
}

impl Entry {
    /// A new entry.
    #[inline]
    pub(super) fn new(
        slab: &mut Slab,
        key: &[u8],
        payload: Payload<'_>,
        expire_at: Option<UnixMs>,
        access: u32,
    ) -> Self {
        let plan = Plan::new(key.len(), payload.len(), expire_at.is_some());
        let raw = slab.alloc(plan.len);
        // SAFETY: the block has at least `plan.len` bytes, and nobody else has it.
        unsafe { plan.write(raw, key, payload, expire_at, access) };
        Entry(raw)
    }
}

impl Entry {
    /// An entry with this one's value, expiry and access field under another key.
    pub(super) fn renamed(self, slab: &mut Slab, key: &[u8]) -> Entry {
        // SAFETY: the entry is ours.
        let mut old = unsafe { Entry::borrow_mut(self.0) };
        let renamed = old.moved(slab, key);
        self.free(slab);
        renamed
    }
}

// SAFETY: blocks of the slab are multiples of 8, in user space below 2^48, and stay until they are freed; the borrows
// only look through the pointer.
unsafe impl Element for Entry {
    type Ref<'a> = EntryRef<'a>;
    type Mut<'a> = EntryMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Entry(raw)
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: NonNull<u8>) -> EntryRef<'a> {
        EntryRef { raw, borrow: PhantomData }
    }

    #[inline(always)]
    unsafe fn borrow_mut<'a>(raw: NonNull<u8>) -> EntryMut<'a> {
        EntryMut { raw, borrow: PhantomData }
    }

    #[inline]
    fn key<'a>(element: Self::Ref<'a>) -> &'a [u8] {
        element.key()
    }

    #[inline(always)]
    fn has_key(element: Self::Ref<'_>, key: &[u8]) -> bool {
        same_bytes(element.key(), key)
    }

    #[inline]
    fn free(self, slab: &mut Slab) {
        // SAFETY: the entry is ours and ends here. A keyspace has a single slab, from which all its entries are.
        unsafe {
            let mut entry = Entry::borrow_mut(self.0);
            entry.end_collection(slab);
            slab.free(self.0, entry.as_ref().block_size());
        }
    }
}

/// Frees a collection, or lets the slab keep it for `free_step` if that would take long.
///
/// # Safety
///
/// The word is an owning one of this kind, and is given away.
unsafe fn end(kind: collection::Kind, word: u64, slab: &mut Slab) {
    // SAFETY: as the caller promises; what is retired is taken up again only by `free_retired`.
    unsafe {
        for_kind!(kind, C => {
            if C::is_large(C::borrow(word)) {
                slab.retire(kind as u8, word);
            } else {
                C::from_word(word).free(slab);
            }
        })
    }
}

/// Frees about `budget` elements of the collections that were retired; how many collections came to their end.
pub(super) fn free_retired(slab: &mut Slab, budget: usize) -> u64 {
    let mut ended = 0;
    if let Some((number, word)) = slab.take_retired() {
        let kind = collection::Kind::from_number(number).expect("only collections are retired");
        // SAFETY: `end` retired an owning word of this kind, and nobody else has it.
        unsafe {
            for_kind!(kind, C => {
                let mut collection = C::from_word(word);
                if collection.free_step(slab, budget) {
                    ended += 1;
                } else {
                    slab.retire(number, collection.into_word());
                }
            });
        }
    }
    ended
}

impl<'a> EntryRef<'a> {
    /// The key.
    #[inline(always)]
    pub(super) fn key(self) -> &'a [u8] {
        let word = self.word();
        let len = match word & WIDE {
            0 => (word >> 32) as usize & NARROW_KEY_MAX,
            _ => (word >> 32) as usize,
        };
        self.bytes(key_at(word), len)
    }

    /// The value.
    #[inline]
    pub(super) fn value(self) -> ValueRef<'a> {
        let shape = self.shape();
        let bytes = self.bytes(shape.value_at(), shape.value_len);
        match shape.word & KIND_MASK {
            KIND_INT => {
                let number = i64::from_le_bytes(bytes.try_into().expect("an Int has eight bytes"));
                ValueRef::String(StringRef::Int(number))
            }
            KIND_TEXT | KIND_BUFFER => ValueRef::String(StringRef::Str(bytes)),
            _ => self.collection_value(),
        }
    }

    fn collection_value(self) -> ValueRef<'a> {
        let Some((kind, word)) = self.collection() else {
            unreachable!("a value is a string or a collection")
        };
        // SAFETY: the word is of this kind, and during 'a nobody changes the entry or what it owns.
        unsafe {
            match kind {
                collection::Kind::List => ValueRef::List(collection::List::borrow(word)),
                collection::Kind::Set => ValueRef::Set(collection::Set::borrow(word)),
                collection::Kind::Zset => ValueRef::Zset(collection::Zset::borrow(word)),
                collection::Kind::Hash => ValueRef::Hash(collection::Hash::borrow(word)),
            }
        }
    }

    /// The kind and the word of its collection, if it has one.
    #[inline]
    fn collection(self) -> Option<(collection::Kind, u64)> {
        let word = self.word();
        if word & KIND_MASK < KIND_COLLECTION_MIN {
            return None;
        }
        let kind = collection::Kind::from_number((word & KIND_MASK) as u8)?;
        let bytes = self.bytes(self.shape().value_at(), 8);
        Some((kind, u64::from_le_bytes(bytes.try_into().expect("eight bytes"))))
    }

    /// Where its collection begins, if it has one: a hint for the memory, not to be looked through.
    #[inline]
    pub(super) fn collection_address(self) -> Option<*const u8> {
        let (_, word) = self.collection()?;
        Some(std::ptr::without_provenance((word & !TAG_MASK) as usize))
    }

    /// When the key expires.
    #[inline]
    pub(super) fn expire_at(self) -> Option<UnixMs> {
        let word = self.word();
        match word & HAS_EXPIRY {
            0 => None,
            _ => {
                let bytes = self.bytes(key_at(word) - 8, 8);
                Some(UnixMs(i64::from_le_bytes(bytes.try_into().expect("eight bytes"))))
            }
        }
    }

    /// Whether the key's time has come: as in Redis it lives through the millisecond that it expires in.
    #[inline]
    pub(super) fn is_expired(self, now: UnixMs) -> bool {
        self.expire_at().is_some_and(|at| at < now)
    }

    /// Whether the key is absent: its time has come, or that of all fields of its hash.
    #[inline]
    pub(super) fn is_gone(self, now: UnixMs) -> bool {
        self.is_expired(now) || self.hash().is_some_and(|hash| hash.is_over(now))
    }

    /// Whether fields of its hash expire, if it is one.
    #[inline]
    pub(super) fn has_volatile_fields(self) -> bool {
        self.hash().is_some_and(HashRef::is_volatile)
    }

    /// Its hash, if that is what it holds.
    #[inline]
    pub(super) fn hash(self) -> Option<HashRef<'a>> {
        let is_hash = self.word() & KIND_MASK == collection::Kind::Hash as u64;
        is_hash.then(|| self.collection_value().hash().ok()).flatten()
    }

    /// The access field.
    #[inline]
    pub(super) fn access(self) -> u32 {
        (self.word() >> ACCESS_SHIFT & ACCESS_MASK) as u32
    }

    /// Everything.
    pub(super) fn view(self) -> EntryView<'a> {
        let shape = self.shape();
        let value = self.value();
        let encoding = match shape.word & KIND_MASK {
            KIND_INT => Encoding::Int,
            KIND_TEXT if shape.value_len <= EMBSTR_LEN_MAX => Encoding::Embstr,
            _ => collection::encoding(value).unwrap_or(Encoding::Raw),
        };
        EntryView {
            value,
            expire_at: self.expire_at(),
            access: self.access(),
            encoding,
            block_bytes: shape.block_size() + TABLE_BYTES,
        }
    }

    /// Bytes of the block.
    #[inline]
    pub(super) fn block_size(self) -> usize {
        self.shape().block_size()
    }

    /// A copy whose string is extended and overwritten at `offset`, with room to grow further.
    ///
    /// The value is a string.
    pub(super) fn with_range(self, slab: &mut Slab, offset: usize, bytes: &[u8]) -> Entry {
        let mut text = IntText::new();
        let old = self.value().string().map_or(&b""[..], |string| string.bytes(&mut text));
        let (key, expire_at) = (self.key(), self.expire_at());
        let len = old.len().max(offset + bytes.len());
        assert!(len <= VALUE_LEN_MAX);
        let mut plan = Plan::wide(key.len(), greedy(len).min(VALUE_LEN_MAX), expire_at.is_some());
        let raw = slab.alloc(plan.len);
        plan.value_len = len;
        // SAFETY: the block has at least `plan.len` bytes, that is `len` and more after `value_at`; nobody else has it.
        unsafe {
            plan.write_head(raw, key, Kind::Buffer, expire_at, self.access());
            let value = raw.add(plan.value_at()).as_ptr();
            value.copy_from_nonoverlapping(old.as_ptr(), old.len());
            value.add(old.len()).write_bytes(0, len - old.len());
            value.add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Entry(raw)
    }

    /// A copy in another block, if that helps to empty a page of the slab.
    pub(super) fn relocated(self, slab: &mut Slab) -> Option<Entry> {
        let shape = self.shape();
        let size = shape.block_size();
        // SAFETY: the block came from the slab with a length of this class; the new one is as large and nobody else's.
        unsafe {
            if !slab.worth_moving(self.raw, size) {
                return None;
            }
            let raw = slab.alloc(size);
            raw.copy_from_nonoverlapping(self.raw, shape.value_at() + shape.value_len);
            // The old entry is freed by whoever asked; until then nobody but them looks at it.
            EntryMut { raw: self.raw, borrow: PhantomData }.disown();
            Some(Entry(raw))
        }
    }

    #[inline(always)]
    fn word(self) -> u64 {
        // SAFETY: an entry starts with its header of at least 8 bytes, aligned to 8.
        u64::from_le(unsafe { self.raw.cast().read() })
    }

    #[inline]
    fn shape(self) -> Shape {
        let word = self.word();
        let key_at = key_at(word);
        if word & WIDE == 0 {
            let (key_len, value_len) = ((word >> 32) as usize & NARROW_KEY_MAX, (word >> 40) as usize);
            let capacity = class_size(key_at + key_len + value_len) - key_at - key_len;
            return Shape { word, key_at, key_len, value_len, capacity };
        }
        // SAFETY: a wide entry's header has 16 bytes.
        let lens = u64::from_le(unsafe { self.raw.cast::<u64>().add(1).read() });
        let (value_len, capacity) = (lens as u32 as usize, (lens >> 32) as usize);
        Shape { word, key_at, key_len: (word >> 32) as usize, value_len, capacity }
    }

    #[inline(always)]
    fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: expiry, key and value lie where the header says, and nobody changes them during 'a.
        unsafe { std::slice::from_raw_parts(self.raw.add(at).as_ptr(), len) }
    }
}

impl EntryMut<'_> {
    /// The entry, to look at.
    #[inline]
    pub(super) fn as_ref(&self) -> EntryRef<'_> {
        EntryRef { raw: self.raw, borrow: PhantomData }
    }

    /// Sets the access field.
    #[inline]
    pub(super) fn set_access(&mut self, access: u32) {
        let word = self.as_ref().word() & !(ACCESS_MASK << ACCESS_SHIFT);
        self.set_word(word | (u64::from(access) & ACCESS_MASK) << ACCESS_SHIFT);
    }

    /// Takes the collection out, if there is one: the entry is to be freed or given another value.
    #[inline]
    pub(super) fn take_payload(&mut self) -> Option<Payload<'static>> {
        let (kind, word) = self.as_ref().collection()?;
        self.disown();
        Some(Payload::Collection(kind, word))
    }

    /// Takes the collection out to change it; `None` if there is none of this type.
    #[inline]
    pub(super) fn take_collection<C: Kept>(&mut self) -> Option<C> {
        let (kind, word) = self.as_ref().collection()?;
        if collection::Kind::of(C::KIND) != Some(kind) {
            return None;
        }
        self.disown();
        // SAFETY: the word is of this type, and the entry no longer owns it.
        Some(unsafe { C::from_word(word) })
    }

    /// Whether it holds a hash none of whose fields lives; `Hash::is_over` tells what that does to the hash. `removed`
    /// is told the key and the field.
    pub(super) fn hash_is_over(
        &mut self,
        slab: &mut Slab,
        now: UnixMs,
        removed: &mut impl FnMut(&[u8], &[u8]),
    ) -> bool {
        let Some(mut hash) = self.take_collection::<Hash>() else { return false };
        let key = self.as_ref().key();
        let is_over = hash.is_over(slab, now, &mut |field| removed(key, field));
        self.put_collection(hash);
        is_over
    }

    /// Puts back a collection that was taken out.
    #[inline]
    pub(super) fn put_collection<C: Kept>(&mut self, collection: C) {
        let shape = self.as_ref().shape();
        debug_assert!(shape.word & KIND_MASK == KIND_INT, "the entry has a value");
        let kind = collection::Kind::of(C::KIND).expect("a collection is no string");
        // SAFETY: a value of kind Int has eight bytes, ours to write.
        unsafe {
            self.raw.add(shape.value_at()).cast::<u64>().write_unaligned(collection.into_word().to_le())
        };
        self.set_word(shape.word & !KIND_MASK | kind as u64);
    }

    /// Frees the collection, if there is one: the entry is to be freed or given another value.
    #[inline]
    pub(super) fn end_collection(&mut self, slab: &mut Slab) {
        if let Some((kind, word)) = self.as_ref().collection() {
            self.disown();
            // SAFETY: the word is the entry's own, and no longer.
            unsafe { end(kind, word, slab) };
        }
    }

    /// The entry no longer owns a collection.
    #[inline]
    fn disown(&mut self) {
        let word = self.as_ref().word();
        if word & KIND_MASK >= KIND_COLLECTION_MIN {
            self.set_word(word & !KIND_MASK | KIND_INT);
        }
    }

    /// An entry of the same value with another expiry; this one has none any more and is to be freed.
    pub(super) fn with_expire(&mut self, slab: &mut Slab, expire_at: Option<UnixMs>) -> Entry {
        let payload = self.take_payload();
        let view = self.as_ref().view();
        Entry::new(slab, self.as_ref().key(), payload_or(payload, &view), expire_at, view.access)
    }

    /// An entry of the same value, expiry and access under another key; this one has none any more and is to be freed.
    fn moved(&mut self, slab: &mut Slab, key: &[u8]) -> Entry {
        let payload = self.take_payload();
        let view = self.as_ref().view();
        Entry::new(slab, key, payload_or(payload, &view), view.expire_at, view.access)
    }

    /// Sets value and expiry in the same block, if the new entry has the same class; whether it has. `key` is its key.
    #[inline]
    pub(super) fn overwrite(&mut self, key: &[u8], payload: Payload<'_>, expire_at: Option<UnixMs>) -> bool {
        let shape = self.as_ref().shape();
        let plan = Plan::new(key.len(), payload.len(), expire_at.is_some());
        if class_size(plan.len) != shape.block_size() {
            return false;
        }
        // SAFETY: the block has `plan.len` bytes and is ours to write; `key` and `payload` do not lie in it, being
        // borrowed elsewhere while we hold it alone.
        unsafe { plan.write(self.raw, key, payload, expire_at, self.as_ref().access()) };
        true
    }

    /// Extends and overwrites the string at `offset` in the same block, if there is room; whether there was.
    pub(super) fn write_range(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let shape = self.as_ref().shape();
        let len = shape.value_len.max(offset + bytes.len());
        let narrow = shape.word & WIDE == 0;
        // A narrow entry must stay in its class also where the string ends up.
        if shape.word & KIND_MASK == KIND_INT || len > shape.capacity || (narrow && len > NARROW_VALUE_MAX) {
            return false;
        }
        // SAFETY: the value has room for `len` bytes; we hold the entry alone, so `bytes` lies elsewhere.
        unsafe {
            let value = self.raw.add(shape.value_at()).as_ptr();
            if offset > shape.value_len {
                value.add(shape.value_len).write_bytes(0, offset - shape.value_len);
            }
            value.add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        let word = shape.word & !KIND_MASK | KIND_BUFFER;
        match narrow {
            true => self.set_word(word & ((1 << 40) - 1) | (len as u64) << 40),
            false => {
                self.set_word(word);
                self.set_lens(len, shape.capacity);
            }
        }
        true
    }

    /// Sets or clears the expiry in the same block, if that is possible; whether it was.
    pub(super) fn set_expire(&mut self, expire_at: Option<UnixMs>) -> bool {
        let shape = self.as_ref().shape();
        let had = shape.word & HAS_EXPIRY != 0;
        if had != expire_at.is_some() && !self.shift(shape, !had) {
            return false;
        }
        if let Some(at) = expire_at {
            let expiry_at = key_at(self.as_ref().word()) - 8;
            // SAFETY: the entry has an expiry now.
            unsafe { self.raw.add(expiry_at).cast().write(at.0.to_le()) };
        }
        true
    }

    /// Moves key and value up to make room for an expiry, or down over it, if the block's class allows.
    fn shift(&mut self, shape: Shape, up: bool) -> bool {
        let (from, len) = (shape.key_at, shape.key_len + shape.value_len);
        let to = if up { from + 8 } else { from - 8 };
        let wide = shape.word & WIDE != 0;
        let fits =
            if wide { to + len <= shape.block_size() } else { class_size(to + len) == shape.block_size() };
        if !fits {
            return false;
        }
        // SAFETY: both ranges lie in the block, which is ours to write.
        unsafe { self.raw.add(from).copy_to(self.raw.add(to), len) };
        self.set_word(shape.word ^ HAS_EXPIRY);
        if wide {
            self.set_lens(shape.value_len, shape.block_size() - to - shape.key_len);
        }
        true
    }

    #[inline]
    fn set_word(&mut self, word: u64) {
        // SAFETY: an entry starts with its header of at least 8 bytes, aligned to 8, and is ours to write.
        unsafe { self.raw.cast().write(word.to_le()) };
    }

    /// Sets the lengths of a wide entry's value.
    fn set_lens(&mut self, len: usize, capacity: usize) {
        // SAFETY: a wide entry's header has 16 bytes, and is ours to write.
        unsafe { self.raw.cast::<u64>().add(1).write((len as u64 | (capacity as u64) << 32).to_le()) };
    }
}

impl Shape {
    #[inline]
    fn value_at(self) -> usize {
        self.key_at + self.key_len
    }

    #[inline]
    fn block_size(self) -> usize {
        self.value_at() + self.capacity
    }
}

/// How an entry is going to be laid out.
struct Plan {
    wide: bool,
    key_at: usize,
    key_len: usize,
    value_len: usize,
    /// Bytes to ask the slab for.
    len: usize,
}

impl Plan {
    #[inline]
    fn new(key_len: usize, value_len: usize, has_expiry: bool) -> Self {
        if key_len > NARROW_KEY_MAX || value_len > NARROW_VALUE_MAX {
            return Plan::wide(key_len, value_len, has_expiry);
        }
        let key_at = 8 + 8 * usize::from(has_expiry);
        Plan { wide: false, key_at, key_len, value_len, len: key_at + key_len + value_len }
    }

    #[cold]
    fn wide(key_len: usize, value_len: usize, has_expiry: bool) -> Self {
        assert!(key_len <= VALUE_LEN_MAX && value_len <= VALUE_LEN_MAX, "longer than an entry can hold");
        let key_at = 16 + 8 * usize::from(has_expiry);
        Plan { wide: true, key_at, key_len, value_len, len: key_at + key_len + value_len }
    }

    #[inline]
    fn value_at(&self) -> usize {
        self.key_at + self.key_len
    }

    /// # Safety
    ///
    /// `raw` is aligned to 8, has `class_size(self.len)` bytes, and nobody else has it; `key` and `payload` have the
    /// lengths that were planned.
    #[inline]
    unsafe fn write(
        &self,
        raw: NonNull<u8>,
        key: &[u8],
        payload: Payload<'_>,
        expire_at: Option<UnixMs>,
        access: u32,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            self.write_head(raw, key, payload.kind(), expire_at, access);
            let value = raw.add(self.value_at());
            match payload {
                Payload::Int(number) => value.cast::<i64>().write_unaligned(number.to_le()),
                Payload::Collection(_, word) => value.cast::<u64>().write_unaligned(word.to_le()),
                Payload::Text(bytes) | Payload::Buffer(bytes) => {
                    value.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
            }
        }
    }

    /// Writes everything but the value.
    ///
    /// # Safety
    ///
    /// As `write`.
    #[inline]
    unsafe fn write_head(
        &self,
        raw: NonNull<u8>,
        key: &[u8],
        kind: Kind,
        expire_at: Option<UnixMs>,
        access: u32,
    ) {
        debug_assert_eq!(key.len(), self.key_len);
        let mut word = kind.number() | (u64::from(access) & ACCESS_MASK) << ACCESS_SHIFT;
        word |= if expire_at.is_some() { HAS_EXPIRY } else { 0 };
        // SAFETY: as the caller promises.
        unsafe {
            if self.wide {
                word |= WIDE | (self.key_len as u64) << 32;
                let capacity = class_size(self.len) - self.value_at();
                debug_assert!(capacity <= u32::MAX as usize);
                raw.cast::<u64>().add(1).write((self.value_len as u64 | (capacity as u64) << 32).to_le());
            } else {
                word |= (self.key_len as u64) << 32 | (self.value_len as u64) << 40;
            }
            raw.cast::<u64>().write(word.to_le());
            if let Some(at) = expire_at {
                raw.add(self.key_at - 8).cast::<i64>().write(at.0.to_le());
            }
            raw.add(self.key_at).as_ptr().copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
    }
}

/// The collection that was taken out, or the string that is there.
fn payload_or<'a>(collection: Option<Payload<'a>>, view: &EntryView<'a>) -> Payload<'a> {
    let string = || view.to_new_string().map(Payload::from);
    collection.or_else(string).expect("a value is a string or a collection")
}

/// Where the key starts: after 8 bytes of header, 8 more of a wide one, and 8 of an expiry.
#[inline(always)]
fn key_at(word: u64) -> usize {
    8 + 8 * (word & (WIDE | HAS_EXPIRY)).count_ones() as usize
}

/// The room to take for a string that grew to `len` (Redis: `sdsMakeRoomFor`).
fn greedy(len: usize) -> usize {
    const MIB: usize = 1 << 20;
    if len < MIB {
        len * 2
    } else {
        len + MIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRIES: [Option<UnixMs>; 2] = [None, Some(UnixMs(-1_234_567_890_123))];

    fn look(entry: &Entry) -> EntryRef<'_> {
        // SAFETY: nobody changes the entry while it is borrowed.
        unsafe { Entry::borrow(entry.0) }
    }

    fn change(entry: &mut Entry) -> EntryMut<'_> {
        // SAFETY: the entry is borrowed alone.
        unsafe { Entry::borrow_mut(entry.0) }
    }

    fn string(entry: &Entry) -> StringRef<'_> {
        look(entry).value().string().unwrap()
    }

    fn pattern(len: usize, salt: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 + salt * 7 + 1) as u8).collect()
    }

    #[test]
    fn all_sizes_around_the_borders() {
        let mut slab = Slab::new();
        let lens = [0, 1, 7, 8, 9, 16, 31, 32, 33, 44, 45, 119, 120, 121, 254, 255, 256, 4000, 4096, 5000];
        for expire_at in EXPIRIES {
            for (salt, key_len) in lens.into_iter().enumerate() {
                for value_len in lens
                    .into_iter()
                    .chain([(1 << 24) - 1, 1 << 24])
                    .filter(|&len| key_len == 16 || len < 1 << 20)
                {
                    let (key, value) = (pattern(key_len, salt), pattern(value_len, salt + 1));
                    let before = slab.allocated_bytes();
                    let entry = Entry::new(&mut slab, &key, Payload::Text(&value), expire_at, 0xABCDEF);
                    let e = look(&entry);
                    assert_eq!((e.key(), string(&entry)), (&key[..], StringRef::Str(&value)));
                    assert_eq!((e.expire_at(), e.access()), (expire_at, 0xABCDEF));
                    let header = if key_len > 255 || value_len >= 1 << 24 { 16 } else { 8 };
                    let len = header + 8 * usize::from(expire_at.is_some()) + key_len + value_len;
                    assert_eq!(e.block_size(), class_size(len));
                    assert_eq!(slab.allocated_bytes() - before, class_size(len));
                    let encoding = if value_len <= 44 { Encoding::Embstr } else { Encoding::Raw };
                    assert_eq!(e.view().encoding, encoding);
                    entry.free(&mut slab);
                    assert_eq!(slab.allocated_bytes(), before);
                }
            }
        }
    }

    #[test]
    fn the_usual_key_takes_56_bytes_and_64_with_an_expiry() {
        let mut slab = Slab::new();
        let size = |slab: &mut Slab, payload, expire_at| {
            let entry = Entry::new(slab, &[7; 16], payload, expire_at, 0);
            let size = look(&entry).block_size();
            entry.free(slab);
            size
        };
        assert_eq!(size(&mut slab, Payload::Text(&[1; 32]), None), 56);
        assert_eq!(size(&mut slab, Payload::Text(&[1; 32]), Some(UnixMs(1))), 64);
        assert_eq!(size(&mut slab, Payload::Int(12345), None), 32);
    }

    #[test]
    fn overwriting_stays_in_the_block_exactly_where_the_class_does() {
        let mut slab = Slab::new();
        for key_len in [3, 16, 255, 256, 300] {
            let key = pattern(key_len, 1);
            for (old_expiry, new_expiry) in
                [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| (EXPIRIES[a], EXPIRIES[b]))
            {
                for old_len in (0..200).step_by(7) {
                    for new_len in (0..200).step_by(3) {
                        let old = pattern(old_len, 2);
                        let new = pattern(new_len, 3);
                        let mut entry = Entry::new(&mut slab, &key, Payload::Text(&old), old_expiry, 77);
                        let size = look(&entry).block_size();
                        let fresh = Entry::new(&mut slab, &key, Payload::Text(&new), new_expiry, 0);
                        let same = look(&fresh).block_size() == size;
                        fresh.free(&mut slab);
                        assert_eq!(change(&mut entry).overwrite(&key, Payload::Text(&new), new_expiry), same);
                        let e = look(&entry);
                        let (value, expiry) = if same { (&new, new_expiry) } else { (&old, old_expiry) };
                        assert_eq!(
                            (e.key(), string(&entry), e.expire_at()),
                            (&key[..], StringRef::Str(value), expiry)
                        );
                        assert_eq!((e.block_size(), e.access()), (size, 77));
                        entry.free(&mut slab);
                    }
                }
            }
        }
        assert_eq!(slab.allocated_bytes(), 0);
    }

    #[test]
    fn appending_and_expiring_at_every_length() {
        let mut slab = Slab::new();
        for (salt, key_len) in [0, 5, 255, 256].into_iter().enumerate() {
            let key = pattern(key_len, salt);
            let mut model = pattern(9, salt);
            let mut entry = Entry::new(&mut slab, &key, Payload::Text(&model), None, 5);
            let mut moves = 0;
            for step in 0..3000 {
                let expire_at = [None, Some(UnixMs(step)), Some(UnixMs(-step)), None][step as usize % 4];
                if !change(&mut entry).set_expire(expire_at) {
                    let new = change(&mut entry).with_expire(&mut slab, expire_at);
                    std::mem::replace(&mut entry, new).free(&mut slab);
                }
                // Mostly at the end, sometimes within, sometimes leaving a gap.
                let offset = match step % 11 {
                    3 => model.len() / 2,
                    7 => model.len() + 5,
                    _ => model.len(),
                };
                let bytes = pattern(step as usize % 13, salt);
                if model.len() < offset + bytes.len() {
                    model.resize(offset + bytes.len(), 0);
                }
                model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                if !change(&mut entry).write_range(offset, &bytes) {
                    let new = look(&entry).with_range(&mut slab, offset, &bytes);
                    std::mem::replace(&mut entry, new).free(&mut slab);
                    moves += 1;
                }
                model.resize(offset.max(model.len()), 0);
                let e = look(&entry);
                assert_eq!((e.key(), e.expire_at(), e.access()), (&key[..], expire_at, 5));
                assert_eq!(
                    (string(&entry), e.view().encoding),
                    (StringRef::Str(&model), Encoding::Raw),
                    "step {step}"
                );
                assert_eq!(slab.allocated_bytes(), e.block_size());
            }
            assert!(moves < 40, "{moves} moves: the string does not grow greedily");
            entry.free(&mut slab);
        }
        assert_eq!(slab.allocated_bytes(), 0);
    }

    #[test]
    fn an_integer_becomes_text_when_extended() {
        let mut slab = Slab::new();
        let mut entry = Entry::new(&mut slab, b"k", Payload::from(NewValue::Bytes(b"-12")), None, 0);
        assert_eq!((string(&entry), look(&entry).view().encoding), (StringRef::Int(-12), Encoding::Int));
        assert!(!change(&mut entry).write_range(3, b"x"));
        let new = look(&entry).with_range(&mut slab, 3, b"x");
        assert_eq!(string(&new), StringRef::Str(b"-12x"));
        entry.free(&mut slab);
        new.free(&mut slab);
    }
}
