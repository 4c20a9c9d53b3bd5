//! Going through a listpack as a part of a list: showing its elements, and removing those that are equal to one.

use std::ops::ControlFlow;

use super::End;
use crate::{
    base::num::parse_i64,
    ds::{
        listpack::{Listpack, ListpackRef, Packed},
        slab::Slab,
    },
};

/// An element that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    bytes: &'a [u8],
    /// Its number, which is how a listpack holds what is one.
    number: Option<i64>,
}

impl<'a> Needle<'a> {
    /// To look for these bytes.
    pub fn new(bytes: &'a [u8]) -> Needle<'a> {
        Needle { bytes, number: parse_i64(bytes) }
    }

    /// What is looked for.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether this is it.
    #[inline]
    pub fn is(self, element: Packed<'_>) -> bool {
        match element {
            Packed::Int(number) => self.number == Some(number),
            Packed::Bytes(bytes) => self.bytes == bytes,
        }
    }
}

/// Shows the elements of a listpack from place `offset` on, in one direction. Its first element has index `base` in the
/// list.
pub(super) fn walk_pack(
    pack: ListpackRef<'_>,
    base: usize,
    offset: usize,
    toward: End,
    visit: &mut impl FnMut(usize, Packed<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut index = base + offset;
    let mut place = pack.seek(offset as i64);
    while let Some(at) = place {
        visit(index, pack.get(at))?;
        match toward {
            End::Back => {
                index += 1;
                place = pack.next(at);
            }
            End::Front => {
                index = index.wrapping_sub(1);
                place = pack.prev(at);
            }
        }
    }
    ControlFlow::Continue(())
}

/// Removes up to `count` elements that are the needle, looking from one end; how many they were.
pub(super) fn remove_equal(
    pack: &mut Listpack,
    slab: &mut Slab,
    needle: Needle<'_>,
    from: End,
    count: usize,
) -> usize {
    let mut removed = 0;
    let mut place = match from {
        End::Front => pack.as_ref().find(needle.bytes, 0),
        End::Back => pack.as_ref().last(),
    };
    while let Some(at) = place.filter(|_| removed < count) {
        place = match from {
            End::Front => {
                removed += 1;
                let next = pack.remove(slab, at);
                next.and_then(|next| pack.as_ref().find_from(next, needle.bytes, 0))
            }
            End::Back => {
                // What stands before keeps its place.
                let before = pack.as_ref().prev(at);
                if needle.is(pack.as_ref().get(at)) {
                    removed += 1;
                    pack.remove(slab, at);
                }
                before
            }
        };
    }
    removed
}
