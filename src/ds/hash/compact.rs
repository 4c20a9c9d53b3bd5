//! A small hash: a listpack of names and values, with an expiry after each value where fields expire.
//!
//! An expiry is an integer, Unix time in milliseconds; 0 stands for none, as in Redis's `listpackex`. Fields stay in
//! the order in which they were added.
//!
//! Invariant: the listpack has a whole number of fields, and each name once.

use super::{is_expired, Expired, FieldExpire, Item};
use crate::{
    base::time::UnixMs,
    ds::{
        collection::Edit,
        listpack::{are_distinct, At, Listpack, ListpackRef, Packed},
        slab::Slab,
    },
};

/// How a field without expiry is marked.
const NEVER: i64 = 0;

/// A small hash. Whoever has it must free it.
pub(super) struct Compact {
    pub(super) list: Listpack,
    /// Whether an expiry follows each value.
    pub(super) has_expiries: bool,
}

/// A small hash to read.
#[derive(Clone, Copy)]
pub(super) struct CompactRef<'a> {
    pub(super) list: ListpackRef<'a>,
    pub(super) has_expiries: bool,
}

impl Compact {
    /// A hash without fields.
    pub(super) fn new(slab: &mut Slab, has_expiries: bool) -> Self {
        Compact { list: Listpack::new(slab), has_expiries }
    }

    /// The hash, to read.
    pub(super) fn as_ref(&self) -> CompactRef<'_> {
        CompactRef { list: self.list.as_ref(), has_expiries: self.has_expiries }
    }

    /// Sets a field; whether it is new.
    pub(super) fn set(
        &mut self,
        edit: &mut Edit<'_>,
        name: &[u8],
        value: &[u8],
        expire: FieldExpire,
    ) -> bool {
        if let FieldExpire::At(_) = expire {
            self.make_room_for_expiries(edit.slab);
        }
        let Some(name_at) = self.as_ref().find(name) else {
            self.push(edit.slab, name, value, expire.after(None));
            return true;
        };
        let (item, value_at) = self.as_ref().item(name_at);
        let old = (!is_expired(item.expire_at, edit.now)).then_some(item.expire_at);
        let value_at = self.list.replace(edit.slab, value_at, value);
        self.write_expiry(edit.slab, value_at, expire.after(old.flatten()));
        old.is_none()
    }

    /// Sets or clears the expiry of a field; whether there is such a field.
    pub(super) fn set_expire(&mut self, edit: &mut Edit<'_>, name: &[u8], expire_at: Option<UnixMs>) -> bool {
        let Some(name_at) = self.as_ref().find(name) else { return false };
        let (item, mut value_at) = self.as_ref().item(name_at);
        if is_expired(item.expire_at, edit.now) {
            return false;
        }
        if expire_at.is_some() && !self.has_expiries {
            self.make_room_for_expiries(edit.slab);
            let Some(name_at) = self.as_ref().find(name) else { return false };
            value_at = self.as_ref().item(name_at).1;
        }
        self.write_expiry(edit.slab, value_at, expire_at);
        true
    }

    /// Removes a field; whether there was one.
    pub(super) fn remove(&mut self, edit: &mut Edit<'_>, name: &[u8]) -> bool {
        let Some(name_at) = self.as_ref().find(name) else { return false };
        let (item, _) = self.as_ref().item(name_at);
        if is_expired(item.expire_at, edit.now) {
            return false;
        }
        self.remove_at(edit.slab, name_at);
        true
    }

    /// Removes all fields whose time has come.
    pub(super) fn expire(
        &mut self,
        slab: &mut Slab,
        now: UnixMs,
        removed: &mut impl FnMut(&[u8]),
    ) -> Expired {
        let mut text = itoa::Buffer::new();
        let mut report = Expired::default();
        let mut next = self.list.as_ref().first().filter(|_| self.has_expiries);
        while let Some(name_at) = next {
            let (item, value_at) = self.as_ref().item(name_at);
            if is_expired(item.expire_at, now) {
                report.removed += 1;
                removed(item.name.bytes(&mut text));
                next = self.remove_at(slab, name_at);
            } else {
                report.kept += u64::from(item.expire_at.is_some());
                next = self.as_ref().after(value_at);
            }
        }
        report
    }

    /// Adds a field that is not there.
    pub(super) fn push(&mut self, slab: &mut Slab, name: &[u8], value: &[u8], expire_at: Option<UnixMs>) {
        self.list.push_back(slab, name);
        self.list.push_back(slab, value);
        if self.has_expiries {
            self.list.push_back_int(slab, expire_at.map_or(NEVER, |at| at.0));
        }
    }

    /// Gives every field a place for its expiry.
    fn make_room_for_expiries(&mut self, slab: &mut Slab) {
        if self.has_expiries {
            return;
        }
        let mut roomy = Compact::new(slab, true);
        let (mut name, mut value) = (itoa::Buffer::new(), itoa::Buffer::new());
        for item in self.as_ref().iter() {
            roomy.push(slab, item.name.bytes(&mut name), item.value.bytes(&mut value), None);
        }
        std::mem::replace(self, roomy).list.free(slab);
    }

    /// Writes the expiry of the field with this value; without expiries there is none to write.
    fn write_expiry(&mut self, slab: &mut Slab, value_at: At, expire_at: Option<UnixMs>) {
        if !self.has_expiries {
            return;
        }
        if let Some(at) = self.list.as_ref().next(value_at) {
            self.list.replace_int(slab, at, expire_at.map_or(NEVER, |at| at.0));
        }
    }

    /// Removes the field with this name; the name of the field after it.
    fn remove_at(&mut self, slab: &mut Slab, name_at: At) -> Option<At> {
        let mut next = Some(name_at);
        for _ in 0..self.as_ref().stride() {
            next = self.list.remove(slab, next?);
        }
        next
    }
}

impl<'a> CompactRef<'a> {
    /// How many fields there are, those included whose time has come and that are not yet removed.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.list.len() / self.stride()
    }

    /// How many fields live.
    pub(super) fn live_len(self, now: UnixMs) -> usize {
        match self.has_expiries {
            true => self.iter().filter(|item| !is_expired(item.expire_at, now)).count(),
            false => self.len(),
        }
    }

    /// Whether no field lives.
    pub(super) fn is_over(self, now: UnixMs) -> bool {
        self.iter().all(|item| is_expired(item.expire_at, now))
    }

    /// A copy.
    pub(super) fn copy(self, slab: &mut Slab) -> Compact {
        Compact { list: self.list.copy(slab), has_expiries: self.has_expiries }
    }

    /// The field of this name.
    #[inline]
    pub(super) fn get(self, name: &[u8], now: UnixMs) -> Option<Item<'a>> {
        let (item, _) = self.item(self.find(name)?);
        (!is_expired(item.expire_at, now)).then_some(item)
    }

    /// All fields, in order, those included whose time has come.
    pub(super) fn iter(self) -> impl Iterator<Item = Item<'a>> {
        let mut next = self.list.first();
        std::iter::from_fn(move || {
            let (item, value_at) = self.item(next?);
            next = self.after(value_at);
            Some(item)
        })
    }

    /// Whether these are fields, and each name there is once: what `import` has to know of a listpack.
    pub(super) fn is_sound(self) -> bool {
        let stride = self.stride();
        let is_expiry = |element: Packed<'_>| matches!(element, Packed::Int(NEVER..));
        self.list.len() % stride == 0
            && (!self.has_expiries || self.list.iter().skip(2).step_by(stride).all(is_expiry))
            && are_distinct(self.list.iter().step_by(stride))
    }

    /// How many elements a field has.
    #[inline]
    fn stride(self) -> usize {
        2 + usize::from(self.has_expiries)
    }

    #[inline]
    fn find(self, name: &[u8]) -> Option<At> {
        self.list.find(name, self.stride() - 1)
    }

    /// The field with the name at this place, and the place of its value.
    #[inline]
    fn item(self, name_at: At) -> (Item<'a>, At) {
        let value_at = self.list.next(name_at).expect("a value after each name");
        let expiry = || match self.list.get(self.list.next(value_at).expect("an expiry after each value")) {
            Packed::Int(NEVER) | Packed::Bytes(_) => None,
            Packed::Int(at) => Some(UnixMs(at)),
        };
        let expire_at = if self.has_expiries { expiry() } else { None };
        (Item { name: self.list.get(name_at), value: self.list.get(value_at), expire_at }, value_at)
    }

    /// The name of the field after the one with this value.
    #[inline]
    fn after(self, value_at: At) -> Option<At> {
        let last = if self.has_expiries { self.list.next(value_at)? } else { value_at };
        self.list.next(last)
    }
}
