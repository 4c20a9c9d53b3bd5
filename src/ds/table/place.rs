//! The place of one key in a table: what a command works on that first looks and then writes, with a single probe.

use super::{tag_of, Element, HashKeys, Position, Slab, Table, Word};

/// Where a key is in a table, or where it would be. It borrows the table, so nothing moves under it.
pub struct Place<'t, E> {
    table: &'t mut Table<E>,
    hash: u64,
    found: Option<Position>,
}

impl<'t, E: Element> Place<'t, E> {
    #[inline(always)]
    pub(super) fn new(table: &'t mut Table<E>, hash: u64, found: Option<Position>) -> Self {
        Place { table, hash, found }
    }

    /// Whether the key is there.
    #[inline]
    pub fn is_occupied(&self) -> bool {
        self.found.is_some()
    }

    /// As if the key were not there. What is inserted then must not be put under the same key.
    #[inline]
    pub fn overlook(&mut self) {
        self.found = None;
    }

    /// The table.
    pub fn table(&self) -> &Table<E> {
        self.table
    }

    /// The element.
    #[inline]
    pub fn element(&self) -> Option<E::Ref<'_>> {
        // SAFETY: we hold the table, and with `self` borrowed nobody changes the element.
        self.found.map(|position| unsafe { E::borrow(self.table.word(position).pointer()) })
    }

    /// The element, to change it.
    #[inline]
    pub fn element_mut(&mut self) -> Option<E::Mut<'_>> {
        // SAFETY: we hold the table, and with `self` borrowed nobody else looks at the element.
        self.found.map(|position| unsafe { E::borrow_mut(self.table.word(position).pointer()) })
    }

    /// The element, for as long as the table was lent.
    #[inline]
    pub fn into_element(self) -> Option<E::Ref<'t>> {
        // SAFETY: the table stays borrowed, by the element alone.
        self.found.map(|position| unsafe { E::borrow(self.table.word(position).pointer()) })
    }

    /// Whether the element is marked volatile.
    #[inline]
    pub fn is_volatile(&self) -> bool {
        self.found.is_some_and(|position| self.table.word(position).is_volatile())
    }

    /// Marks the element as volatile or not.
    pub fn set_volatile(&mut self, volatile: bool) {
        let Some(position) = self.found else { return };
        let word = self.table.word(position);
        if word.is_volatile() != volatile {
            self.write(position, word.with_volatile(volatile));
        }
    }

    /// Puts an element where none is. Its key is that of the place.
    #[inline]
    pub fn insert(&mut self, slab: &mut Slab, hasher: &impl HashKeys, element: E, volatile: bool) {
        assert!(self.found.is_none(), "the place is taken");
        self.table.make_room(slab, hasher, self.hash);
        let index = self.table.index(self.hash);
        let reference = self.table.directory[index];
        // SAFETY: segments in the directory live, and we hold the table.
        let mut segment = unsafe { reference.get() };
        let (bucket, slot) = segment.insert(tag_of(self.hash), Word::new(element, volatile));
        self.table.len += 1;
        self.table.volatile += u64::from(volatile);
        self.found = Some(Position { segment: reference, bucket: bucket as u32, slot: slot as u32 });
    }

    /// Puts an element with the same key where one is; the old one.
    #[inline]
    pub fn replace(&mut self, element: E, volatile: bool) -> Option<E> {
        let position = self.found?;
        let old = self.table.word(position);
        self.write(position, Word::new(element, volatile));
        // SAFETY: the pointer was in the table, and no longer is.
        Some(unsafe { E::from_raw(old.pointer()) })
    }

    /// Takes the element out.
    #[inline]
    pub fn remove(&mut self, slab: &mut Slab) -> Option<E> {
        let position = self.found.take()?;
        // SAFETY: segments in the directory live, and we hold the table.
        let mut segment = unsafe { position.segment.get() };
        let word = segment.remove(position.bucket as usize, position.slot as usize);
        self.table.len -= 1;
        self.table.volatile -= u64::from(word.is_volatile());
        self.table.settle(slab, self.hash);
        // SAFETY: the pointer was in the table, and no longer is.
        Some(unsafe { E::from_raw(word.pointer()) })
    }

    pub(super) fn table_mut(&mut self) -> &mut Table<E> {
        self.table
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.found
    }

    #[inline]
    fn write(&mut self, position: Position, word: Word) {
        // SAFETY: positions are good until the table changes, and we hold it.
        let mut segment = unsafe { position.segment.get() };
        let bucket = segment.bucket_mut(position.bucket as usize);
        let slot = position.slot as usize;
        let was = bucket.word(slot).is_volatile();
        bucket.fill(slot, bucket.tag(slot), word);
        if was != word.is_volatile() {
            let change = if was { -1 } else { 1 };
            let header = segment.header_mut();
            header.volatile = header.volatile.wrapping_add_signed(change);
            self.table.volatile = self.table.volatile.wrapping_add_signed(i64::from(change));
        }
    }
}
