//! The buffers that the kernel receives into: one ring of them for all connections of a core, so that an idle
//! connection holds none.
//!
//! The kernel takes buffers in turn, so all that it has go through the cache one after the other: there are few of them
//! until more connections than that have something at once (a receive then ends with ENOBUFS and is armed again), and
//! their number doubles. Measured: 64 instead of 1024 buffers save a third of the user time at P=16
//! (tuning/RESULTS.md).
//!
//! Incremental consumption (IOU_PBUF_RING_INC, Linux 6.12) would keep small receives within one buffer, too; with
//! multishot receives on this kernel (6.18) it delivered bytes of other connections, so it is not used.
//!
//! Invariant: a buffer's bytes are looked at only between the completion that brought them and `recycle`.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;

/// Buffers to begin with.
const COUNT_MIN: u16 = 64;

/// Buffers at most; with more connections than that at once, receives wait for a buffer to come back.
const COUNT_MAX: u16 = 1024;

/// Bytes of each: a pipeline of some hundred small requests in one piece.
const BYTES: usize = 16 * 1024;

/// The only buffer group.
pub const GROUP: u16 = 0;

/// See the module.
pub struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    count: u16,
}

impl Buffers {
    /// Reserves room for all buffers and gives the first to the kernel.
    ///
    /// # Errors
    /// No memory, or the kernel refuses.
    pub fn new(ring: &Ring) -> io::Result<Buffers> {
        let entries =
            map(usize::from(COUNT_MAX) * std::mem::size_of::<BufRingEntry>())?.cast::<BufRingEntry>();
        let memory = map(usize::from(COUNT_MAX) * BYTES)?;
        // SAFETY: the mapping is page-aligned, large enough for COUNT_MAX entries, and never unmapped.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, COUNT_MAX, GROUP, 0)? };
        let mut buffers = Buffers { ring: entries, memory, tail: 0, count: 0 };
        buffers.grow_to(COUNT_MIN);
        Ok(buffers)
    }

    /// The bytes that a completion brought. They stay valid until `recycle` of that buffer.
    ///
    /// # Safety
    /// The kernel has completed a receive of `len` bytes into buffer `id`, which was not recycled since.
    pub unsafe fn bytes<'a>(&self, id: u16, len: usize) -> &'a [u8] {
        debug_assert!(id < self.count && len <= BYTES);
        // SAFETY: the kernel wrote `len` bytes at the start of this buffer and will not touch it before it is recycled.
        unsafe { std::slice::from_raw_parts(self.memory.add(usize::from(id) * BYTES), len) }
    }

    /// The bytes of a buffer have been taken: it goes back to the kernel at `publish`.
    pub fn recycle(&mut self, id: u16) {
        // SAFETY: the index is below COUNT_MAX, and the kernel reads only entries before the published tail.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail & (COUNT_MAX - 1))) };
        // SAFETY: `id` is below COUNT_MAX, so the address lies in the mapping.
        entry.set_addr(unsafe { self.memory.add(usize::from(id) * BYTES) } as u64);
        entry.set_len(BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes the recycled buffers known to the kernel.
    pub fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry of the mapped ring; the kernel reads it atomically.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// A receive found no buffer: there will be more, up to `COUNT_MAX`.
    #[cold]
    pub fn grow(&mut self) {
        self.grow_to(self.count.saturating_mul(2).min(COUNT_MAX));
    }

    fn grow_to(&mut self, count: u16) {
        for id in self.count..count {
            self.recycle(id);
        }
        self.count = count;
        self.publish();
    }
}

/// Zeroed pages that live as long as the process; they take memory once they are touched.
fn map(bytes: usize) -> io::Result<*mut u8> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(at.cast())
}
