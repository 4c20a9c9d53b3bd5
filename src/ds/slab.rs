//! The shard's allocator: small blocks of graded sizes out of 64 KiB pages, found again by masking the address.
//!
//! An allocation's size is a pure function of the length asked for (`class_size`), so nobody stores a capacity, and
//! `free` is told the length instead of looking it up. Nothing here is shared between threads.
//!
//! Memory comes in chunks of 4 MiB, aligned to their size. The first page of a chunk holds nothing but the headers of
//! its other 63 pages, side by side: a header is found by masking, headers do not compete for the same cache set, a
//! page is all payload, and of a chunk only what is used is ever touched.
//!
//! Fragmentation. Blocks are handed out from one page per class, the current one. Where that is full the fullest page
//! with room follows, so sparse pages are left alone to run empty; an empty page leaves its class. What does not run
//! empty by itself is moved: `worth_moving` points out blocks on pages no fuller than the average of their class. A
//! moved block lands on the current page, which is no source and leaves that role only when it is full; and a full page
//! is no source either, unless all are full, but then there is nothing to win. So each block moves at most once until
//! something is freed, and defragmentation ends by itself.
//!
//! Invariant: a page is one of current, full (in no list), partial (in the list of its fill group), or pooled.
//! Invariant: a partial page has at least `floor` blocks in use, the lower bound of its fill group.
//!
//! Not here: what the blocks hold, when to defragment, and alignment beyond 8 bytes (but a block of a class that is a
//! multiple of 64 is aligned to 64).

use std::{
    alloc::{alloc, dealloc, handle_alloc_error, Layout},
    collections::VecDeque,
    ptr::{self, NonNull},
};

/// The longest block that comes out of a page. What is longer comes from the global allocator.
pub const SMALL_MAX: usize = 4096;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 64 << 10;

const CHUNK_BYTES: usize = 4 << 20;
const PAGES_PER_CHUNK: usize = CHUNK_BYTES / PAGE_BYTES;

/// Bytes at the start of a chunk that are touched as soon as one of its pages is used.
const CHUNK_HEADER_BYTES: usize = PAGES_PER_CHUNK * size_of::<Page>();

const CLASSES: usize = class_index(SMALL_MAX) + 1;

/// Partial pages are kept in eight lists, by how full they are.
const GROUPS: usize = 8;

/// The bytes that a block of `len` bytes takes: steps of 8 up to 128, then eight steps to each doubling, so that at
/// most an eighth is lost; steps of 4 KiB from 32 KiB on.
#[inline]
pub const fn class_size(len: usize) -> usize {
    let (last, shift) = class_step(len);
    ((last >> shift) + 1) << shift
}

/// The index of the last byte, and the binary logarithm of the step between classes there.
#[inline]
const fn class_step(len: usize) -> (usize, u32) {
    let last = len.saturating_sub(1);
    let shift = (last | 64).ilog2() - 3;
    (last, if shift > 12 { 12 } else { shift })
}

#[inline]
const fn class_index(len: usize) -> usize {
    let (last, shift) = class_step(len);
    (shift as usize - 3) * 8 + (last >> shift)
}

/// One shard's memory.
pub struct Slab {
    classes: [Class; CLASSES],
    chunks: Vec<NonNull<u8>>,
    /// Pages of the last chunk that were never used start here.
    chunk_fresh: usize,
    /// Empty pages whose memory is there.
    warm: PageList,
    /// Empty pages whose memory was given back.
    cold: PageList,
    pages_used: usize,
    small_bytes: usize,
    large_bytes: usize,
    /// What `account_elsewhere` was told.
    elsewhere_bytes: usize,
    /// What `retire` was given.
    retired: VecDeque<(u8, u64)>,
}

/// One size of blocks.
struct Class {
    current: *mut Page,
    blocks_used: usize,
    pages: usize,
    /// One bit for each fill group that has a page.
    nonempty: u8,
    groups: [*mut Page; GROUPS],
}

/// The header of a page: one cache line.
#[repr(C, align(64))]
struct Page {
    /// Blocks that were used and freed, linked through their first word.
    free: *mut FreeBlock,
    /// Blocks from here on were never used since the page joined its class; they are not touched before they are.
    fresh: *mut u8,
    /// The first address at which no whole block fits any more.
    fresh_end: *mut u8,
    next: *mut Page,
    prev: *mut Page,
    used: u32,
    /// `free` looks at the lists only when `used` falls below this.
    floor: u32,
    capacity: u32,
    class: u8,
    group: u8,
}

struct FreeBlock {
    next: *mut FreeBlock,
}

/// A stack of empty pages.
struct PageList {
    head: *mut Page,
    len: usize,
}

/// `Page::group` of a page that is in no list.
const UNLISTED: u8 = GROUPS as u8;

/// What a class without a page has as its current one: full, never written.
struct NoPage(Page);

// SAFETY: it is never written.
unsafe impl Sync for NoPage {}

static NO_PAGE: NoPage = NoPage(Page {
    free: ptr::null_mut(),
    fresh: ptr::null_mut(),
    fresh_end: ptr::null_mut(),
    next: ptr::null_mut(),
    prev: ptr::null_mut(),
    used: 0,
    floor: 0,
    capacity: 0,
    class: 0,
    group: UNLISTED,
});

#[inline]
fn no_page() -> *mut Page {
    (&raw const NO_PAGE.0).cast_mut()
}

// SAFETY: all pointers lead into memory that the slab owns alone.
unsafe impl Send for Slab {}

impl Slab {
    /// An allocator that holds no memory yet.
    pub fn new() -> Self {
        Slab {
            classes: [const {
                Class {
                    current: (&raw const NO_PAGE.0).cast_mut(),
                    blocks_used: 0,
                    pages: 0,
                    nonempty: 0,
                    groups: [ptr::null_mut(); GROUPS],
                }
            }; CLASSES],
            chunks: Vec::new(),
            chunk_fresh: PAGES_PER_CHUNK,
            warm: PageList::new(),
            cold: PageList::new(),
            pages_used: 0,
            small_bytes: 0,
            large_bytes: 0,
            elsewhere_bytes: 0,
            retired: VecDeque::new(),
        }
    }

    /// A block of `class_size(len)` bytes, aligned to 8, with anything in it.
    #[inline]
    pub fn alloc(&mut self, len: usize) -> NonNull<u8> {
        if len > SMALL_MAX {
            return self.alloc_large(len);
        }
        self.small_bytes += class_size(len);
        let index = class_index(len);
        let class = &mut self.classes[index];
        class.blocks_used += 1;
        // SAFETY: `current` is a page of ours or NO_PAGE, which has no block to give and so is not written.
        unsafe { Page::take(class.current) }.unwrap_or_else(|| self.alloc_from_next_page(index))
    }

    /// Takes back a block.
    ///
    /// # Safety
    ///
    /// `block` came from `alloc` of this slab with a length of the same class as `len`, and is not used any more.
    #[inline]
    pub unsafe fn free(&mut self, block: NonNull<u8>, len: usize) {
        if len > SMALL_MAX {
            // SAFETY: as the caller promises.
            unsafe { self.free_large(block, len) };
            return;
        }
        self.small_bytes -= class_size(len);
        self.classes[class_index(len)].blocks_used -= 1;
        let page = page_of(block);
        let block = block.cast::<FreeBlock>().as_ptr();
        // SAFETY: a block of at most SMALL_MAX lies in a chunk of ours, so `page` is its page's header; the block is
        // at least 8 bytes, aligned to 8, and ours from here on.
        unsafe {
            debug_assert_eq!(usize::from((*page).class), class_index(len));
            (*block).next = (*page).free;
            (*page).free = block;
            (*page).used -= 1;
            if (*page).used < (*page).floor {
                self.became_sparser(page);
            }
        }
    }

    /// Whether moving this block would help to empty its page, and there is an empty page to be won.
    ///
    /// # Safety
    ///
    /// `block` came from `alloc` of this slab with a length of the same class as `len`.
    pub unsafe fn worth_moving(&self, block: NonNull<u8>, len: usize) -> bool {
        if len > SMALL_MAX {
            return false;
        }
        let class = &self.classes[class_index(len)];
        let page = page_of(block);
        if page == class.current || class.spare_pages(class_index(len)) == 0 {
            return false;
        }
        // The average is that of the other pages: the current one is no source, however empty it is.
        // SAFETY: as in `free`; a class with pages has a current one.
        let (used, current_used) = unsafe { ((*page).used as usize, (*class.current).used as usize) };
        used * (class.pages - 1) <= class.blocks_used - current_used
    }

    /// How many bytes of pages defragmentation could win by moving blocks of at least `len_min` bytes; zero where
    /// `worth_moving` says no to all of them.
    pub fn movable_bytes(&self, len_min: usize) -> usize {
        let classes = self.classes.iter().enumerate().skip(class_index(len_min.min(SMALL_MAX)));
        classes.map(|(index, class)| class.spare_pages(index)).sum::<usize>() * PAGE_BYTES
    }

    /// Gives the memory of up to `pages_max` empty pages back to the system, but keeps `pages_kept` of them at hand.
    /// The bytes given back.
    pub fn release(&mut self, pages_kept: usize, pages_max: usize) -> usize {
        self.retire_idle_classes();
        let mut released = 0;
        while self.warm.len > pages_kept && released < pages_max {
            // SAFETY: the pages in the list are headers in chunks of ours; an empty page's payload is nobody's.
            unsafe {
                let page = self.warm.pop();
                discard(page_start(page));
                self.cold.push(page);
            }
            released += 1;
        }
        released * PAGE_BYTES
    }

    /// Whether there are more than `pages_kept` empty pages whose memory could be given back.
    pub fn releasable(&self, pages_kept: usize) -> bool {
        self.warm.len > pages_kept
    }

    /// Keeps the word of an owner of blocks that is too large to be freed at once, and a number that says what it is,
    /// for whoever takes it apart later.
    pub fn retire(&mut self, kind: u8, word: u64) {
        self.retired.push_back((kind, word));
    }

    /// The retired owner that has waited longest.
    pub fn take_retired(&mut self) -> Option<(u8, u64)> {
        self.retired.pop_front()
    }

    /// How many retired owners wait.
    pub fn retired_len(&self) -> usize {
        self.retired.len()
    }

    /// Takes note that memory from elsewhere, which belongs to what is kept here, went from `before` to `after` bytes.
    pub fn account_elsewhere(&mut self, before: usize, after: usize) {
        self.elsewhere_bytes = self.elsewhere_bytes + after - before;
    }

    /// Bytes of all blocks in use, each rounded up to its class, and of what `account_elsewhere` was told.
    #[inline]
    pub fn allocated_bytes(&self) -> usize {
        self.small_bytes + self.large_bytes + self.elsewhere_bytes
    }

    /// Whether all memory that is held goes with the slab: there are no large blocks, and no memory from elsewhere but
    /// for so many bytes.
    pub fn ends_with_its_pages(&self, but_elsewhere: usize) -> bool {
        self.large_bytes == 0 && self.elsewhere_bytes == but_elsewhere
    }

    /// Bytes held from the system: pages in use or kept at hand, large blocks, and memory from elsewhere.
    pub fn resident_bytes(&self) -> usize {
        (self.pages_used + self.warm.len) * PAGE_BYTES
            + self.chunks.len() * CHUNK_HEADER_BYTES
            + self.large_bytes
    }

    /// Takes the current page from classes that have no blocks in use.
    fn retire_idle_classes(&mut self) {
        for class in &mut self.classes {
            if class.pages == 1 && class.blocks_used == 0 {
                // SAFETY: the only page of a class is its current one, a header of ours, empty here and in no list.
                unsafe { self.warm.push(class.current) };
                class.current = no_page();
                class.pages = 0;
                self.pages_used -= 1;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_from_next_page(&mut self, index: usize) -> NonNull<u8> {
        // SAFETY: all pages are headers in chunks of ours, and linked as the invariants say.
        unsafe {
            let full = self.classes[index].current;
            if full != no_page() {
                (*full).floor = (*full).capacity;
            }
            let page = match self.classes[index].nonempty.checked_ilog2() {
                Some(group) => {
                    let page = self.classes[index].groups[group as usize];
                    self.unlist(page);
                    page
                }
                None => self.new_page(index),
            };
            // While it is the current one nothing is to be done about how full it is.
            (*page).floor = 0;
            self.classes[index].current = page;
            Page::take(page).expect("a page that is partial or new has room")
        }
    }

    /// An empty page for a class.
    unsafe fn new_page(&mut self, index: usize) -> *mut Page {
        let block_bytes = size_of_class(index);
        let capacity = PAGE_BYTES / block_bytes;
        // SAFETY: the lists hold headers of empty pages of ours; `fresh_page` returns one.
        unsafe {
            let page = match (self.warm.len, self.cold.len) {
                (0, 0) => self.fresh_page(),
                (0, _) => self.cold.pop(),
                (_, _) => self.warm.pop(),
            };
            let start = page_start(page);
            page.write(Page {
                free: ptr::null_mut(),
                fresh: start,
                fresh_end: start.add(capacity * block_bytes),
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
                used: 0,
                floor: 0,
                capacity: capacity as u32,
                class: index as u8,
                group: UNLISTED,
            });
            self.classes[index].pages += 1;
            self.pages_used += 1;
            page
        }
    }

    /// A page that was never used.
    fn fresh_page(&mut self) -> *mut Page {
        if self.chunk_fresh == PAGES_PER_CHUNK {
            let chunk = map_chunk();
            if !self.chunks.is_empty() {
                // A shard that needs a second chunk will fill it. With small pages every access to a key of a large
                // data set misses the TLB twice: 15% of the user time per request (tuning/RESULTS.md).
                ask_for_huge_pages(chunk);
            }
            self.chunks.push(chunk);
            // The headers take the place of page 0.
            self.chunk_fresh = 1;
        }
        let chunk = self.chunks[self.chunks.len() - 1].cast::<Page>();
        self.chunk_fresh += 1;
        // SAFETY: the chunk starts with PAGES_PER_CHUNK headers.
        unsafe { chunk.as_ptr().add(self.chunk_fresh - 1) }
    }

    /// A page has fallen below the floor of its group: it becomes empty, or moves to a lower group.
    #[cold]
    #[inline(never)]
    unsafe fn became_sparser(&mut self, page: *mut Page) {
        // SAFETY: `page` is a header of ours, listed as its `group` says.
        unsafe {
            if (*page).group != UNLISTED {
                self.unlist(page);
            }
            if (*page).used == 0 {
                self.classes[usize::from((*page).class)].pages -= 1;
                self.pages_used -= 1;
                self.warm.push(page);
                return;
            }
            let group = (*page).used as usize * GROUPS / (*page).capacity as usize;
            (*page).floor = (group * (*page).capacity as usize).div_ceil(GROUPS).max(1) as u32;
            self.list(page, group);
        }
    }

    unsafe fn list(&mut self, page: *mut Page, group: usize) {
        // SAFETY: `page` is a header of ours that is in no list; the head of a list is null or another such header.
        unsafe {
            let class = &mut self.classes[usize::from((*page).class)];
            let head = class.groups[group];
            (*page).group = group as u8;
            (*page).prev = ptr::null_mut();
            (*page).next = head;
            if !head.is_null() {
                (*head).prev = page;
            }
            class.groups[group] = page;
            class.nonempty |= 1 << group;
        }
    }

    unsafe fn unlist(&mut self, page: *mut Page) {
        // SAFETY: `page` is a header of ours in the list of its group, its neighbours are null or such headers too.
        unsafe {
            let class = &mut self.classes[usize::from((*page).class)];
            let group = usize::from((*page).group);
            let (prev, next) = ((*page).prev, (*page).next);
            if !next.is_null() {
                (*next).prev = prev;
            }
            if !prev.is_null() {
                (*prev).next = next;
            } else {
                class.groups[group] = next;
                if next.is_null() {
                    class.nonempty &= !(1 << group);
                }
            }
            (*page).group = UNLISTED;
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_large(&mut self, len: usize) -> NonNull<u8> {
        let layout = large_layout(len);
        self.large_bytes += layout.size();
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
    }

    #[cold]
    #[inline(never)]
    unsafe fn free_large(&mut self, block: NonNull<u8>, len: usize) {
        let layout = large_layout(len);
        self.large_bytes -= layout.size();
        // SAFETY: the caller promises that the block came from `alloc_large` with a length of the same class.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

impl Default for Slab {
    fn default() -> Self {
        Slab::new()
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for &chunk in &self.chunks {
            // SAFETY: mapped by `map_chunk`; with the slab all its blocks end.
            unsafe { unmap_chunk(chunk) };
        }
    }
}

impl Class {
    /// How many pages this class has beyond what its blocks need. A sixteenth and one page are not worth the work.
    fn spare_pages(&self, index: usize) -> usize {
        let needed = self.blocks_used.div_ceil(PAGE_BYTES / size_of_class(index));
        self.pages.saturating_sub(needed + needed / 16 + 1)
    }
}

impl Page {
    /// A block of this page, if it has one left.
    ///
    /// # Safety
    ///
    /// `page` is a header of the calling slab, or NO_PAGE.
    #[inline]
    unsafe fn take(page: *mut Page) -> Option<NonNull<u8>> {
        // SAFETY: a free block is at least a word, aligned, and nobody's; fresh blocks lie within the page.
        unsafe {
            let block = (*page).free;
            if let Some(block) = NonNull::new(block) {
                (*page).free = (*block.as_ptr()).next;
                (*page).used += 1;
                return Some(block.cast());
            }
            let block = (*page).fresh;
            if block != (*page).fresh_end {
                (*page).fresh = block.add(size_of_class(usize::from((*page).class)));
                (*page).used += 1;
                return NonNull::new(block);
            }
            None
        }
    }
}

impl PageList {
    const fn new() -> Self {
        PageList { head: ptr::null_mut(), len: 0 }
    }

    /// # Safety
    ///
    /// `page` is the header of an empty page that is in no list.
    unsafe fn push(&mut self, page: *mut Page) {
        // SAFETY: as the caller promises.
        unsafe { (*page).next = self.head };
        self.head = page;
        self.len += 1;
    }

    /// # Safety
    ///
    /// The list is not empty.
    unsafe fn pop(&mut self) -> *mut Page {
        let page = self.head;
        // SAFETY: what is in the list is a header, as `push` demands.
        self.head = unsafe { (*page).next };
        self.len -= 1;
        page
    }
}

/// The bytes of a block of the class with this index: the inverse of `class_index`.
#[inline]
const fn size_of_class(index: usize) -> usize {
    if index < 16 {
        return (index + 1) * 8;
    }
    let shift = index / 8 + 2;
    (index % 8 + 9) << shift
}

/// The header of the page that a small block lies in.
#[inline]
fn page_of(block: NonNull<u8>) -> *mut Page {
    let address = block.as_ptr() as usize;
    let index = address % CHUNK_BYTES / PAGE_BYTES;
    let header = address / CHUNK_BYTES * CHUNK_BYTES + index * size_of::<Page>();
    block.as_ptr().with_addr(header).cast()
}

/// The payload of a page.
#[inline]
fn page_start(page: *mut Page) -> *mut u8 {
    let address = page as usize;
    let index = address % CHUNK_BYTES / size_of::<Page>();
    page.cast::<u8>().with_addr(address / CHUNK_BYTES * CHUNK_BYTES + index * PAGE_BYTES)
}

/// Large blocks are aligned to a cache line, as table segments need.
fn large_layout(len: usize) -> Layout {
    Layout::from_size_align(class_size(len), 64).expect("a length that the address space has room for")
}

/// A chunk of zeroed memory from the system.
#[cfg(not(miri))]
fn map_chunk() -> NonNull<u8> {
    let layout = Layout::new::<[u8; CHUNK_BYTES]>();
    // SAFETY: a new private mapping of twice the size; what lies outside the aligned chunk in it is unmapped again.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mapped = libc::mmap(ptr::null_mut(), 2 * CHUNK_BYTES, protection, flags, -1, 0);
        if mapped == libc::MAP_FAILED {
            handle_alloc_error(layout);
        }
        let mapped = mapped.cast::<u8>();
        let before = (mapped as usize).next_multiple_of(CHUNK_BYTES) - mapped as usize;
        let chunk = mapped.add(before);
        if before > 0 {
            libc::munmap(mapped.cast(), before);
        }
        libc::munmap(chunk.add(CHUNK_BYTES).cast(), CHUNK_BYTES - before);
        NonNull::new_unchecked(chunk)
    }
}

#[cfg(not(miri))]
unsafe fn unmap_chunk(chunk: NonNull<u8>) {
    // SAFETY: the caller gives up a whole mapping of `map_chunk`.
    unsafe { libc::munmap(chunk.as_ptr().cast(), CHUNK_BYTES) };
}

/// Lets the system put huge pages under a chunk, where it has them for those who ask (`madvise`, the usual setting).
#[cfg(not(miri))]
fn ask_for_huge_pages(chunk: NonNull<u8>) {
    // SAFETY: advice on a mapping of ours, which does not change what is in it.
    unsafe { libc::madvise(chunk.as_ptr().cast(), CHUNK_BYTES, libc::MADV_HUGEPAGE) };
}

/// Gives the memory behind a page's payload back; it reads as zeroes afterwards. The chunk has small pages from then
/// on: khugepaged would otherwise fill the hole again.
#[cfg(not(miri))]
unsafe fn discard(start: *mut u8) {
    // SAFETY: chunks are aligned to their size, so this is the chunk of `start`, which is a mapping of ours; the caller
    // owns the bytes of the page and does not need what is in them.
    unsafe {
        let chunk = start.sub(start as usize % CHUNK_BYTES);
        libc::madvise(chunk.cast(), CHUNK_BYTES, libc::MADV_NOHUGEPAGE);
        libc::madvise(start.cast(), PAGE_BYTES, libc::MADV_DONTNEED);
    }
}

// Miri knows no partial munmap: there chunks come from the global allocator.
#[cfg(miri)]
fn map_chunk() -> NonNull<u8> {
    let layout = Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES).expect("a constant");
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(miri)]
unsafe fn unmap_chunk(chunk: NonNull<u8>) {
    let layout = Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES).expect("a constant");
    // SAFETY: allocated with this layout by `map_chunk`.
    unsafe { dealloc(chunk.as_ptr(), layout) };
}

#[cfg(miri)]
fn ask_for_huge_pages(_chunk: NonNull<u8>) {}

#[cfg(miri)]
unsafe fn discard(_start: *mut u8) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn a_class_is_a_function_of_the_length() {
        let mut index = 0;
        for len in 1..=SMALL_MAX {
            let size = class_size(len);
            assert!(size >= len && size % 8 == 0, "{len}");
            assert!(size - len < 8.max(size / 8), "{len} in {size}");
            assert_eq!(class_size(size), size);
            assert_eq!(size_of_class(class_index(len)), size, "{len}");
            assert!(class_index(len) == index || class_index(len) == index + 1);
            index = class_index(len);
        }
        assert_eq!(index, CLASSES - 1);
        for len in [4097, 5000, 32768, 32769, 1 << 20, (1 << 24) + 5] {
            let size = class_size(len);
            assert!(
                size >= len && size - len <= (len / 8).min(4096) && class_size(size) == size,
                "{len} in {size}"
            );
        }
        assert_eq!(
            [0, 1, 8, 9, 128, 129, 256, 257, 4096].map(class_size),
            [8, 8, 8, 16, 128, 144, 256, 288, 4096]
        );
    }

    /// Blocks with a pattern in them, so that overlapping ones are noticed.
    struct Blocks {
        slab: Slab,
        blocks: Vec<(NonNull<u8>, usize, u8)>,
    }

    impl Blocks {
        fn new() -> Self {
            Blocks { slab: Slab::new(), blocks: Vec::new() }
        }

        fn alloc(&mut self, len: usize, pattern: u8) {
            let block = self.slab.alloc(len);
            assert_eq!(block.as_ptr() as usize % 8, 0);
            // SAFETY: the block has at least `len` bytes.
            unsafe { block.as_ptr().write_bytes(pattern, len) };
            self.blocks.push((block, len, pattern));
        }

        fn check(&self, index: usize) {
            let (block, len, pattern) = self.blocks[index];
            // SAFETY: the block is in use and was written by `alloc`.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), len) };
            assert!(bytes.iter().all(|&b| b == pattern));
        }

        fn free(&mut self, index: usize) {
            self.check(index);
            let (block, len, _) = self.blocks.swap_remove(index);
            // SAFETY: from `alloc` with this length, and forgotten here.
            unsafe { self.slab.free(block, len) };
        }

        /// Moves what is worth it, once round; how many blocks.
        fn defrag(&mut self) -> usize {
            let mut moved = 0;
            for (block, len, _) in &mut self.blocks {
                // SAFETY: the block is in use; the copy takes its place.
                unsafe {
                    if self.slab.worth_moving(*block, *len) {
                        let new = self.slab.alloc(*len);
                        new.as_ptr().copy_from_nonoverlapping(block.as_ptr(), *len);
                        self.slab.free(*block, *len);
                        *block = new;
                        moved += 1;
                    }
                }
            }
            moved
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_are_counted() {
        let steps = if cfg!(miri) { 3_000 } else { 100_000 };
        let mut prng = Prng::new(7);
        let mut b = Blocks::new();
        for step in 0..steps {
            let bound = if step / 10_000 % 2 == 0 { 40 } else { 60 };
            if b.blocks.is_empty() || prng.below(100) >= bound {
                let len = match prng.below(20) {
                    0 => prng.below(20_000),
                    1..5 => prng.below(4097),
                    _ => prng.below(200),
                };
                b.alloc(len as usize, step as u8);
            } else {
                b.free(prng.below(b.blocks.len() as u64) as usize);
            }
            if step % 1000 == 0 {
                let sum: usize = b.blocks.iter().map(|&(_, len, _)| class_size(len)).sum();
                assert_eq!(b.slab.allocated_bytes(), sum);
                assert!(b.slab.resident_bytes() >= sum);
            }
        }
        while !b.blocks.is_empty() {
            b.free(b.blocks.len() - 1);
        }
        assert_eq!(b.slab.allocated_bytes(), 0);
        // Each class may keep its current page.
        assert!(b.slab.pages_used <= CLASSES);
        b.slab.release(0, usize::MAX);
        assert_eq!(
            b.slab.resident_bytes(),
            b.slab.pages_used * PAGE_BYTES + b.slab.chunks.len() * CHUNK_HEADER_BYTES
        );
    }

    #[test]
    fn defragmentation_wins_back_what_random_removal_scattered() {
        let count = if cfg!(miri) { 3_000 } else { 300_000 };
        let mut prng = Prng::new(8);
        let mut b = Blocks::new();
        for i in 0..count {
            b.alloc(if i % 3 == 0 { 64 } else { 56 }, i as u8);
        }
        let full = b.slab.resident_bytes();
        for _ in 0..count * 9 / 10 {
            b.free(prng.below(b.blocks.len() as u64) as usize);
        }
        let mut rounds = 0;
        while b.defrag() > 0 {
            rounds += 1;
            assert!(rounds < 10, "defragmentation does not end");
        }
        assert_eq!(b.slab.movable_bytes(0), 0);
        b.slab.release(0, usize::MAX);
        let left = b.slab.resident_bytes();
        assert!(cfg!(miri) || left * 5 <= full, "{left} of {full} bytes left after {rounds} rounds");
        for index in 0..b.blocks.len() {
            b.check(index);
        }
        // Pages given back serve again.
        for i in 0..count {
            b.alloc(56, i as u8);
        }
        for index in 0..b.blocks.len() {
            b.check(index);
        }
    }

    #[test]
    fn an_empty_slab_holds_nothing() {
        let mut slab = Slab::new();
        assert_eq!((slab.allocated_bytes(), slab.resident_bytes()), (0, 0));
        slab.alloc(24);
        assert_eq!((slab.allocated_bytes(), slab.resident_bytes()), (24, PAGE_BYTES + CHUNK_HEADER_BYTES));
    }
}
