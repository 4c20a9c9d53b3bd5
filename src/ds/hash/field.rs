//! A field of a large hash: its name, its value and perhaps its expiry in one block of the slab.
//!
//! ```text
//! narrow   0                                           4
//!          | flags, 2 bit | name, 8 bit | value, 22 bit | expiry, 8 bytes, if any | name | value |
//!
//! wide     0        4            8             12
//!          | flags  | name, u32  | value, u32  | expiry, if any | name | value |
//! ```
//!
//! All numbers are little-endian. A field is wide where a length does not fit. Its block has the class of its length,
//! so nothing says how large it is, and a value that fits the class is overwritten in place.
//!
//! Invariant: the block came from the slab with a length of class `class_size(shape().len())`.

use std::{marker::PhantomData, ptr::NonNull};

use crate::{
    base::time::UnixMs,
    ds::{
        bytes::same_bytes,
        slab::{class_size, Slab},
        table::Element,
    },
};

const WIDE: u32 = 1;
const HAS_EXPIRY: u32 = 1 << 1;
const NAME_SHIFT: u32 = 2;
const VALUE_SHIFT: u32 = 10;
const NARROW_NAME_MAX: usize = 0xFF;
const NARROW_VALUE_MAX: usize = (1 << 22) - 1;
const NARROW_BYTES: usize = 4;
const WIDE_BYTES: usize = 12;
const EXPIRY_BYTES: usize = 8;

/// A field and its block. Whoever has it must give it to a table or free it.
pub(super) struct Field(NonNull<u8>);

/// A field to look at.
#[derive(Clone, Copy)]
pub(super) struct FieldRef<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a [u8]>,
}

/// A field to change.
pub(super) struct FieldMut<'a> {
    raw: NonNull<u8>,
    borrow: PhantomData<&'a mut [u8]>,
}

/// Where everything lies in the block.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    is_wide: bool,
    has_expiry: bool,
    name_len: usize,
    value_len: usize,
}

impl Shape {
    fn new(name_len: usize, value_len: usize, has_expiry: bool) -> Self {
        let is_wide = name_len > NARROW_NAME_MAX || value_len > NARROW_VALUE_MAX;
        Shape { is_wide, has_expiry, name_len, value_len }
    }

    #[inline]
    fn expiry_at(self) -> usize {
        if self.is_wide {
            WIDE_BYTES
        } else {
            NARROW_BYTES
        }
    }

    #[inline]
    fn name_at(self) -> usize {
        self.expiry_at() + if self.has_expiry { EXPIRY_BYTES } else { 0 }
    }

    #[inline]
    fn value_at(self) -> usize {
        self.name_at() + self.name_len
    }

    /// Bytes of the block that are used.
    #[inline]
    fn len(self) -> usize {
        self.value_at() + self.value_len
    }

    /// Writes the header and the expiry.
    ///
    /// # Safety
    ///
    /// The block has at least `len()` bytes, and nobody else looks at it.
    unsafe fn write(self, raw: NonNull<u8>, expire_at: Option<UnixMs>) {
        let flags = if self.is_wide { WIDE } else { 0 } | if self.has_expiry { HAS_EXPIRY } else { 0 };
        let (name_len, value_len) = (self.name_len as u32, self.value_len as u32);
        // SAFETY: as the caller promises; blocks are aligned to 8, but an expiry is not always.
        unsafe {
            let words = raw.cast::<u32>();
            if self.is_wide {
                words.write(flags.to_le());
                words.add(1).write(name_len.to_le());
                words.add(2).write(value_len.to_le());
            } else {
                words.write((flags | name_len << NAME_SHIFT | value_len << VALUE_SHIFT).to_le());
            }
            if let Some(at) = expire_at {
                raw.add(self.expiry_at()).cast::<i64>().write_unaligned(at.0.to_le());
            }
        }
    }
}

impl Field {
    /// A new field.
    pub(super) fn new(slab: &mut Slab, name: &[u8], value: &[u8], expire_at: Option<UnixMs>) -> Self {
        let shape = Shape::new(name.len(), value.len(), expire_at.is_some());
        let raw = slab.alloc(shape.len());
        // SAFETY: the block has at least `shape.len()` bytes, and nobody else has it.
        unsafe {
            shape.write(raw, expire_at);
            raw.add(shape.name_at()).as_ptr().copy_from_nonoverlapping(name.as_ptr(), name.len());
            raw.add(shape.value_at()).as_ptr().copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        Field(raw)
    }
}

// SAFETY: blocks of the slab are multiples of 8, in user space below 2^48, and stay until they are freed; the borrows
// only look through the pointer.
unsafe impl Element for Field {
    type Ref<'a> = FieldRef<'a>;
    type Mut<'a> = FieldMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Field(raw)
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: NonNull<u8>) -> FieldRef<'a> {
        FieldRef { raw, borrow: PhantomData }
    }

    #[inline(always)]
    unsafe fn borrow_mut<'a>(raw: NonNull<u8>) -> FieldMut<'a> {
        FieldMut { raw, borrow: PhantomData }
    }

    #[inline]
    fn key<'a>(element: Self::Ref<'a>) -> &'a [u8] {
        element.name()
    }

    #[inline(always)]
    fn has_key(element: Self::Ref<'_>, key: &[u8]) -> bool {
        same_bytes(element.name(), key)
    }

    fn free(self, slab: &mut Slab) {
        // SAFETY: the field is ours and ends here; a hash has all its blocks from one slab.
        unsafe {
            let len = Field::borrow(self.0).shape().len();
            slab.free(self.0, len);
        }
    }
}

impl<'a> FieldRef<'a> {
    /// Its name.
    #[inline]
    pub(super) fn name(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.name_at(), shape.name_len)
    }

    /// Its value.
    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.value_at(), shape.value_len)
    }

    /// When it expires.
    #[inline]
    pub(super) fn expire_at(self) -> Option<UnixMs> {
        let shape = self.shape();
        let read = || self.bytes(shape.expiry_at(), EXPIRY_BYTES).try_into().expect("eight bytes");
        shape.has_expiry.then(|| UnixMs(i64::from_le_bytes(read())))
    }

    /// Bytes of the block.
    pub(super) fn block_size(self) -> usize {
        class_size(self.shape().len())
    }

    /// The address of the block, which tells the field from all others.
    pub(super) fn address(self) -> usize {
        self.raw.as_ptr() as usize
    }

    #[inline]
    fn shape(self) -> Shape {
        let head = self.word(0);
        let has_expiry = head & HAS_EXPIRY != 0;
        if head & WIDE == 0 {
            let name_len = (head >> NAME_SHIFT) as usize & NARROW_NAME_MAX;
            let value_len = (head >> VALUE_SHIFT) as usize;
            return Shape { is_wide: false, has_expiry, name_len, value_len };
        }
        let (name_len, value_len) = (self.word(1) as usize, self.word(2) as usize);
        Shape { is_wide: true, has_expiry, name_len, value_len }
    }

    #[inline]
    fn word(self, index: usize) -> u32 {
        // SAFETY: a header has one word, a wide one three; blocks are aligned to 8.
        u32::from_le(unsafe { self.raw.cast::<u32>().add(index).read() })
    }

    #[inline]
    fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: everything lies where the shape says, and nobody changes it during 'a.
        unsafe { std::slice::from_raw_parts(self.raw.add(at).as_ptr(), len) }
    }
}

impl FieldMut<'_> {
    /// Sets value and expiry in the same block, if the new field has the same class; whether it has.
    pub(super) fn overwrite(&mut self, value: &[u8], expire_at: Option<UnixMs>) -> bool {
        let old = self.shape();
        let new = Shape::new(old.name_len, value.len(), expire_at.is_some());
        if class_size(new.len()) != class_size(old.len()) {
            return false;
        }
        self.shift(old, new, old.name_len, expire_at);
        // SAFETY: the block has `new.len()` bytes and is ours to write, so `value` lies elsewhere.
        unsafe {
            let at = self.raw.add(new.value_at()).as_ptr();
            at.copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        true
    }

    /// Sets or clears the expiry in the same block, if its class allows; whether it does.
    pub(super) fn set_expire(&mut self, expire_at: Option<UnixMs>) -> bool {
        let old = self.shape();
        let new = Shape { has_expiry: expire_at.is_some(), ..old };
        if class_size(new.len()) != class_size(old.len()) {
            return false;
        }
        self.shift(old, new, old.name_len + old.value_len, expire_at);
        true
    }

    /// Moves the first `len` bytes from the name on to where they lie in the new shape, and writes its header.
    fn shift(&mut self, old: Shape, new: Shape, len: usize, expire_at: Option<UnixMs>) {
        // SAFETY: both ranges lie in the block, which has room for either shape and is ours to write.
        unsafe {
            if old.name_at() != new.name_at() {
                self.raw.add(old.name_at()).copy_to(self.raw.add(new.name_at()), len);
            }
            new.write(self.raw, expire_at);
        }
    }

    fn shape(&self) -> Shape {
        FieldRef { raw: self.raw, borrow: PhantomData }.shape()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_holds_what_it_was_given_through_all_its_shapes() {
        let mut slab = Slab::new();
        let lens = [0, 1, 3, 16, 255, 256, 5000];
        let times = [None, Some(UnixMs(1)), Some(UnixMs(i64::MAX))];
        for name_len in lens {
            for value_len in lens.into_iter().chain([NARROW_VALUE_MAX, NARROW_VALUE_MAX + 1]) {
                for expire_at in times {
                    let (name, value) = (vec![b'n'; name_len], vec![b'v'; value_len]);
                    let field = Field::new(&mut slab, &name, &value, expire_at);
                    check(&field, &name, &value, expire_at);
                    assert_eq!(slab.allocated_bytes(), reference(&field).block_size());
                    for other in times {
                        // SAFETY: the field is ours.
                        let mut change = unsafe { Field::borrow_mut(field.0) };
                        if change.set_expire(other) {
                            check(&field, &name, &value, other);
                        }
                    }
                    for other_len in [value_len / 2, value_len, value_len + 1, value_len + 8] {
                        let before = reference(&field).value().to_vec();
                        let (other, time) = (vec![b'w'; other_len], reference(&field).expire_at());
                        // SAFETY: the field is ours.
                        let done = unsafe { Field::borrow_mut(field.0) }.overwrite(&other, time);
                        check(&field, &name, if done { &other } else { &before }, time);
                    }
                    field.free(&mut slab);
                    assert_eq!(slab.allocated_bytes(), 0);
                }
            }
        }
    }

    fn check(field: &Field, name: &[u8], value: &[u8], expire_at: Option<UnixMs>) {
        let field = reference(field);
        assert!(field.name() == name && field.value() == value);
        assert_eq!(field.expire_at(), expire_at);
    }

    fn reference(field: &Field) -> FieldRef<'_> {
        // SAFETY: the field lives.
        unsafe { Field::borrow(field.0) }
    }

    #[test]
    fn a_common_field_takes_little() {
        let mut slab = Slab::new();
        let field = Field::new(&mut slab, &[b'n'; 16], &[b'v'; 32], None);
        assert_eq!(slab.allocated_bytes(), 56);
        field.free(&mut slab);
    }
}
