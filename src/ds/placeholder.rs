//! Stands in for a type of collection until it is there: an empty collection.

use super::{
    collection::{Collection, Encoding},
    slab::Slab,
};
use crate::base::key::KeyHasher;

/// See the module.
pub struct Placeholder<const KIND: u8>;

/// To read.
#[derive(Clone, Copy)]
pub struct PlaceholderRef<'a>(std::marker::PhantomData<&'a ()>);

// SAFETY: there is nothing to own.
unsafe impl<const KIND: u8> Collection for Placeholder<KIND> {
    type Ref<'a> = PlaceholderRef<'a>;

    fn empty(_: &mut Slab) -> Self {
        Placeholder
    }

    fn into_word(self) -> u64 {
        8
    }

    unsafe fn from_word(_: u64) -> Self {
        Placeholder
    }

    unsafe fn borrow<'a>(_: u64) -> Self::Ref<'a> {
        PlaceholderRef(std::marker::PhantomData)
    }

    fn as_ref(&self) -> Self::Ref<'_> {
        PlaceholderRef(std::marker::PhantomData)
    }

    fn len(_: Self::Ref<'_>) -> usize {
        0
    }

    fn memory_bytes(_: Self::Ref<'_>) -> usize {
        0
    }

    fn encoding(_: Self::Ref<'_>) -> Encoding {
        Encoding::Listpack
    }

    fn copy(_: Self::Ref<'_>, _: &mut Slab, _: &KeyHasher) -> Self {
        Placeholder
    }

    fn export(_: Self::Ref<'_>, _: &mut Vec<u8>) {}

    fn import(_: &[u8], _: &mut Slab, _: &KeyHasher) -> Option<Self> {
        Some(Placeholder)
    }

    fn is_large(_: Self::Ref<'_>) -> bool {
        false
    }

    fn free_step(&mut self, _: &mut Slab, _: usize) -> bool {
        true
    }
}
