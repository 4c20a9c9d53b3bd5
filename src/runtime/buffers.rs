//! The buffers that the kernel receives into: one ring of them for all connections of a core, so that an idle
//! connection holds none.
//!
//! Where the kernel can (6.12), a buffer is consumed incrementally: small requests of many connections fill one buffer
//! after the other from its start to its end, which stays in the first-level cache. Else each receive takes a buffer.
//!
//! Invariant: a buffer's bytes are looked at only between the completion that brought them and `recycle`.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::{buffer_goes_on, Completion, Ring};

/// Buffers per core. If all are taken, receives end with ENOBUFS and are armed again when some are back.
const COUNT: u16 = 256;

/// Bytes of each: a pipeline of some hundred small requests in one piece.
const BYTES: usize = 16 * 1024;

/// The only buffer group.
pub const GROUP: u16 = 0;

/// See the module.
pub struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    /// Where the next bytes come to stand in each buffer.
    offsets: Vec<u32>,
    incremental: bool,
}

impl Buffers {
    /// Allocates the buffers and gives them to the kernel.
    ///
    /// # Errors
    /// No memory, or the kernel refuses.
    pub fn new(ring: &Ring, incremental: bool) -> io::Result<Buffers> {
        let entries = map(usize::from(COUNT) * std::mem::size_of::<BufRingEntry>())?.cast::<BufRingEntry>();
        let memory = map(usize::from(COUNT) * BYTES)?;
        const INCREMENTAL: u16 = 2;
        let register = |flags| {
            // SAFETY: the mapping is page-aligned, large enough for COUNT entries, and never unmapped.
            unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, COUNT, GROUP, flags) }
        };
        let incremental = incremental && register(INCREMENTAL).is_ok();
        if !incremental {
            register(0)?;
        }
        let mut buffers =
            Buffers { ring: entries, memory, tail: 0, offsets: vec![0; usize::from(COUNT)], incremental };
        for id in 0..COUNT {
            buffers.add(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The bytes that a completion brought. They stay valid until `recycle` of that completion.
    ///
    /// # Safety
    /// The completion is a successful receive into buffer `id` that was not recycled yet, and completions are asked
    /// for in the order in which the kernel posted them.
    pub unsafe fn bytes<'a>(&mut self, id: u16, len: usize) -> &'a [u8] {
        let offset = self.offsets[usize::from(id)];
        if self.incremental {
            self.offsets[usize::from(id)] += len as u32;
        }
        // SAFETY: the kernel wrote `len` bytes at the current offset of this buffer and will not touch them again
        // before the buffer is added anew.
        unsafe { std::slice::from_raw_parts(self.memory.add(usize::from(id) * BYTES + offset as usize), len) }
    }

    /// The bytes of a completion have been taken: the buffer goes back to the kernel unless it is still in use.
    pub fn recycle(&mut self, id: u16, completion: &Completion) {
        if self.incremental && buffer_goes_on(completion.flags) {
            return;
        }
        self.offsets[usize::from(id)] = 0;
        self.add(id);
    }

    /// Makes the recycled buffers known to the kernel.
    pub fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry of the mapped ring; the kernel reads it atomically.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn add(&mut self, id: u16) {
        // SAFETY: the index is below COUNT, and the kernel reads only entries before the published tail.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail & (COUNT - 1))) };
        // SAFETY: `id` is below COUNT, so the address lies in the mapping.
        entry.set_addr(unsafe { self.memory.add(usize::from(id) * BYTES) } as u64);
        entry.set_len(BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }
}

/// Zeroed pages that live as long as the process.
fn map(bytes: usize) -> io::Result<*mut u8> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(at.cast())
}
