//! Sets: distinct strings in no order.
//!
//! A set is held in one of three encodings. It moves on to a later one when a member comes for which the limits
//! (`EncodingLimits`) leave no room, and back only when most of it is popped at once:
//!
//! * an intset, as long as all members are integers;
//! * a listpack, as long as there are few and short ones;
//! * a table, each member in a block of its own, the table's root in another one.
//!
//! `random` draws members, `algebra` intersects, unites and subtracts sets, `whole` copies, moves and frees them.
//!
//! An integer is the same member as its text. Which of the two forms `iter` and its kin give depends on the encoding.
//!
//! Not here: which key a set is under, and what becomes of a set that was left empty.

mod algebra;
mod member;
mod random;
mod whole;

use std::{mem, ops::Range, ptr::NonNull};

pub use algebra::intersection;

use self::member::{Member, MemberRef};
use super::{
    collection::{Collection, Edit, EncodingLimits},
    intset::{Intset, IntsetRef},
    listpack::{self, Listpack, ListpackRef, Packed},
    slab::Slab,
    table::{self, Element, Table},
};
use crate::base::key::KeyHasher;

/// No intset has more members than this, whatever the limits say.
const INTSET_ENTRIES_MAX: usize = 1 << 30;

/// The most that an integer takes in a listpack, and the most that all of them may take.
const PACKED_INT_BYTES: usize = 11;
const PACKED_INTS_BYTES_MAX: usize = 1 << 30;

/// A set. Whoever has it must give it to an entry or free it.
pub struct Set(Held);

enum Held {
    Intset(Intset),
    Listpack(Listpack),
    Table(Root),
}

/// A set to read.
#[derive(Clone, Copy)]
pub struct SetRef<'a>(View<'a>);

#[derive(Clone, Copy)]
enum View<'a> {
    Intset(IntsetRef<'a>),
    Listpack(ListpackRef<'a>),
    Table(&'a Table<Member>),
}

impl Set {
    /// Prepares for `count` members that are about to be added, `first` the first of them: a set that would not stay
    /// in its encoding, if all of them are new, is not begun in it.
    pub fn prepare(&mut self, first: &[u8], count: usize, edit: &mut Edit<'_>) {
        let (ints_fit, strings_fit) =
            (count <= edit.limits.set_intset_entries, count <= edit.limits.set.entries);
        if self.as_ref().is_empty() {
            let begun = match Packed::of(first) {
                Packed::Int(_) if ints_fit && matches!(self.0, Held::Intset(_)) => return,
                Packed::Int(_) if ints_fit => Held::Intset(Intset::new(edit.slab)),
                _ if strings_fit => Held::Listpack(Listpack::new(edit.slab)),
                _ => Held::Table(Root::new(edit.slab)),
            };
            self.put(begun, edit.slab);
            return;
        }
        let fits = match self.0 {
            Held::Intset(_) => ints_fit,
            Held::Listpack(_) => strings_fit,
            Held::Table(_) => true,
        };
        if !fits {
            self.become_table(edit.slab, edit.hasher);
        }
    }

    /// Adds a member; whether it was not there before.
    pub fn add(&mut self, member: &[u8], edit: &mut Edit<'_>) -> bool {
        self.insert(Packed::Bytes(member), edit)
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8], edit: &mut Edit<'_>) -> bool {
        self.delete(Packed::Bytes(member), edit)
    }

    /// Adds a member in either form.
    fn insert(&mut self, member: Packed<'_>, edit: &mut Edit<'_>) -> bool {
        let mut text = itoa::Buffer::new();
        match &mut self.0 {
            Held::Intset(intset) => {
                let Some(number) = number_of(member) else {
                    self.leave_intset(member.bytes(&mut text), edit);
                    return self.insert(member, edit);
                };
                let is_new = intset.insert(edit.slab, number);
                if is_new && intset.as_ref().len() > intset_entries_max(edit.limits) {
                    self.become_table(edit.slab, edit.hasher);
                }
                is_new
            }
            Held::Listpack(listpack) => {
                let (bytes, packed, limits) = (member.bytes(&mut text), listpack.as_ref(), &edit.limits.set);
                if packed.find(bytes, 0).is_some() {
                    return false;
                }
                let fits = packed.len() < limits.entries
                    && bytes.len() <= limits.value_bytes
                    && packed.has_room_for(bytes.len());
                if !fits {
                    self.become_table(edit.slab, edit.hasher);
                    return self.insert(member, edit);
                }
                listpack.push_back(edit.slab, bytes);
                true
            }
            Held::Table(root) => root.insert(edit.slab, edit.hasher, member.bytes(&mut text)),
        }
    }

    /// Removes a member in either form.
    fn delete(&mut self, member: Packed<'_>, edit: &mut Edit<'_>) -> bool {
        let mut text = itoa::Buffer::new();
        match &mut self.0 {
            Held::Intset(intset) => number_of(member).is_some_and(|number| intset.remove(edit.slab, number)),
            Held::Listpack(listpack) => {
                let found = listpack.as_ref().find(member.bytes(&mut text), 0);
                found.map(|at| listpack.remove(edit.slab, at)).is_some()
            }
            Held::Table(root) => root.remove(edit.slab, edit.hasher, member.bytes(&mut text)),
        }
    }

    #[inline]
    fn view(&self) -> SetRef<'_> {
        SetRef(match &self.0 {
            Held::Intset(intset) => View::Intset(intset.as_ref()),
            Held::Listpack(listpack) => View::Listpack(listpack.as_ref()),
            Held::Table(root) => View::Table(root.table()),
        })
    }

    /// Becomes a listpack or a table, because a member comes that is no integer.
    fn leave_intset(&mut self, member: &[u8], edit: &mut Edit<'_>) {
        let (Held::Intset(intset), limits) = (&self.0, &edit.limits.set) else { return };
        let ints = intset.as_ref();
        let mut text = itoa::Buffer::new();
        let mut digits = |number: Option<i64>| number.map_or(0, |number| text.format(number).len());
        let longest = digits(ints.min()).max(digits(ints.max())).max(member.len());
        let fits = ints.len() < limits.entries
            && longest <= limits.value_bytes
            && ints.len() * PACKED_INT_BYTES + member.len() <= PACKED_INTS_BYTES_MAX;
        if !fits {
            return self.become_table(edit.slab, edit.hasher);
        }
        let mut listpack = Listpack::new(edit.slab);
        for number in ints.iter() {
            listpack.push_back_int(edit.slab, number);
        }
        self.put(Held::Listpack(listpack), edit.slab);
    }

    fn become_table(&mut self, slab: &mut Slab, hasher: &KeyHasher) {
        let mut root = Root::new(slab);
        let mut text = itoa::Buffer::new();
        for member in self.as_ref().iter() {
            root.insert(slab, hasher, member.bytes(&mut text));
        }
        self.put(Held::Table(root), slab);
    }

    /// Puts this in the place of what was held.
    fn put(&mut self, held: Held, slab: &mut Slab) {
        Set(mem::replace(&mut self.0, held)).free(slab);
    }
}

impl<'a> SetRef<'a> {
    /// How many members it has.
    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            View::Intset(intset) => intset.len(),
            View::Listpack(listpack) => listpack.len(),
            View::Table(table) => table.len() as usize,
        }
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether this is a member.
    pub fn contains(self, member: &[u8], hasher: &KeyHasher) -> bool {
        self.has(Packed::Bytes(member), hasher)
    }

    /// Whether this, in either form, is a member.
    fn has(self, member: Packed<'_>, hasher: &KeyHasher) -> bool {
        let mut text = itoa::Buffer::new();
        match self.0 {
            View::Intset(intset) => number_of(member).is_some_and(|number| intset.contains(number)),
            View::Listpack(listpack) => listpack.find(member.bytes(&mut text), 0).is_some(),
            View::Table(table) => {
                let bytes = member.bytes(&mut text);
                table.find(hasher.hash(bytes).0, bytes).is_some()
            }
        }
    }

    /// The set as an intset, if it is held as one.
    pub fn as_intset(self) -> Option<IntsetRef<'a>> {
        match self.0 {
            View::Intset(intset) => Some(intset),
            View::Listpack(_) | View::Table(_) => None,
        }
    }

    /// All members. An integer may come as either of the two forms.
    pub fn iter(self) -> Iter<'a> {
        Iter(match self.0 {
            View::Intset(intset) => Walk::Intset(intset, 0..intset.len()),
            View::Listpack(listpack) => Walk::Listpack(listpack.iter()),
            View::Table(table) => Walk::Table(table.iter()),
        })
    }

    /// Calls `f` with about `count` members after `cursor`, and returns the cursor to go on with: 0 to begin with, 0 at
    /// the end. A compact set comes whole, whatever the cursor. A member that is there from the first call to the last
    /// comes at least once, also if the set changes its encoding meanwhile.
    pub fn scan(self, cursor: u64, count: usize, mut f: impl FnMut(Packed<'a>)) -> u64 {
        match self.0 {
            View::Table(table) => table.scan(cursor, count, |member| f(Packed::Bytes(member.bytes()))),
            View::Intset(_) | View::Listpack(_) => {
                self.iter().for_each(f);
                0
            }
        }
    }

    /// Whether both are one and the same set, not only equal ones.
    fn is_same(self, other: SetRef<'_>) -> bool {
        self.address() == other.address()
    }

    fn address(self) -> *const u8 {
        match self.0 {
            View::Intset(intset) => intset.bytes().as_ptr(),
            View::Listpack(listpack) => listpack.bytes().as_ptr(),
            View::Table(table) => (&raw const *table).cast(),
        }
    }
}

/// See `SetRef::iter`.
pub struct Iter<'a>(Walk<'a>);

#[allow(clippy::large_enum_variant, reason = "it lives on the stack, and not for long")]
enum Walk<'a> {
    Intset(IntsetRef<'a>, Range<usize>),
    Listpack(listpack::Iter<'a>),
    Table(table::Iter<'a, Member>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Packed<'a>;

    #[inline]
    fn next(&mut self) -> Option<Packed<'a>> {
        match &mut self.0 {
            Walk::Intset(intset, left) => left.next().and_then(|index| intset.get(index)).map(Packed::Int),
            Walk::Listpack(members) => members.next(),
            Walk::Table(members) => members.next().map(|member: MemberRef<'a>| Packed::Bytes(member.bytes())),
        }
    }
}

/// A table of members that lies in a block of the slab.
struct Root(NonNull<Table<Member>>);

impl Root {
    fn new(slab: &mut Slab) -> Self {
        let block = slab.alloc(size_of::<Table<Member>>()).cast::<Table<Member>>();
        // SAFETY: the block has the size of a table, is aligned to 8 as a table is, and nobody else has it.
        unsafe { block.write(Table::new()) };
        Root(block)
    }

    #[inline]
    fn table(&self) -> &Table<Member> {
        // SAFETY: the root owns the table.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn table_mut(&mut self) -> &mut Table<Member> {
        // SAFETY: the root owns the table.
        unsafe { self.0.as_mut() }
    }

    /// Adds a member; whether it was not there before.
    fn insert(&mut self, slab: &mut Slab, hasher: &KeyHasher, bytes: &[u8]) -> bool {
        let mut place = self.table_mut().place(hasher.hash(bytes).0, bytes);
        let is_new = !place.is_occupied();
        if is_new {
            let member = Member::new(slab, bytes);
            place.insert(slab, hasher, member, false);
        }
        is_new
    }

    /// Removes a member; whether it was there.
    fn remove(&mut self, slab: &mut Slab, hasher: &KeyHasher, bytes: &[u8]) -> bool {
        let removed = self.table_mut().place(hasher.hash(bytes).0, bytes).remove(slab);
        removed.map(|member| member.free(slab)).is_some()
    }

    /// Frees about `budget` members; true when nothing is left, not even the root.
    fn free_step(&mut self, slab: &mut Slab, budget: usize) -> bool {
        let table = self.table_mut();
        table.drain_step(slab, budget);
        let is_done = table.memory_bytes() == 0;
        if is_done {
            // SAFETY: the block came from the slab with this length and ends here; the table in it holds no memory.
            unsafe { slab.free(self.0.cast(), size_of::<Table<Member>>()) };
        }
        is_done
    }
}

const _: () = assert!(align_of::<Table<Member>>() <= 8);

/// The integer that a member is, in whichever form it comes.
#[inline]
fn number_of(member: Packed<'_>) -> Option<i64> {
    match member {
        Packed::Int(number) => Some(number),
        Packed::Bytes(bytes) => match Packed::of(bytes) {
            Packed::Int(number) => Some(number),
            Packed::Bytes(_) => None,
        },
    }
}

fn intset_entries_max(limits: &EncodingLimits) -> usize {
    limits.set_intset_entries.min(INTSET_ENTRIES_MAX)
}

#[cfg(test)]
mod tests;
