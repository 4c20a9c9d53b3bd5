//! Mail between cores: for each ordered pair one bounded ring, written by one thread and read by one.
//!
//! A core that is about to sleep says so (`park`), looks at its rings once more, and sleeps in its network ring; who
//! puts mail into a ring of a core that has said so takes the word back and wakes it with a message to that ring.
//! Nobody is woken twice, and a core at work is not woken at all.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{fence, AtomicBool, AtomicI32, AtomicU32, AtomicU8, AtomicUsize, Ordering};

use crate::base::ids::CoreId;

/// How many messages a ring holds. Parcels are limited to a few in flight (`host::mail`); more of the rare messages
/// wait in the sender's outbox.
const RING_MESSAGES: usize = 256;

/// What a core says of itself: it is at work, it sleeps, or it sleeps and expects even mail that could wait.
const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const EXPECTING: u8 = 2;

/// Keeps what one thread writes off the cache line that another writes; two lines, since processors fetch pairs.
#[repr(align(128))]
struct Padded<T>(T);

/// A bounded ring for one producer and one consumer.
struct Spsc<M> {
    slots: Box<[UnsafeCell<MaybeUninit<M>>]>,
    /// How many messages were taken; written by the consumer.
    head: Padded<AtomicUsize>,
    /// How many were put; written by the producer.
    tail: Padded<AtomicUsize>,
}

// SAFETY: `push` is called by one thread and `pop` by one (the contract of `Mesh`); a slot belongs to the producer
// until `tail` has passed it, then to the consumer until `head` has, and both are handed over with release and acquire.
unsafe impl<M: Send> Sync for Spsc<M> {}

impl<M> Spsc<M> {
    fn new() -> Self {
        Spsc {
            slots: (0..RING_MESSAGES).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            head: Padded(AtomicUsize::new(0)),
            tail: Padded(AtomicUsize::new(0)),
        }
    }

    /// # Safety
    /// One thread only.
    unsafe fn push(&self, message: M) -> Result<(), M> {
        let tail = self.tail.0.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.0.load(Ordering::Acquire)) == RING_MESSAGES {
            return Err(message);
        }
        // SAFETY: the slot is not between head and tail, so it is the producer's.
        unsafe { (*self.slots[tail % RING_MESSAGES].get()).write(message) };
        self.tail.0.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// # Safety
    /// One thread only.
    unsafe fn pop(&self) -> Option<M> {
        let head = self.head.0.load(Ordering::Relaxed);
        if head == self.tail.0.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the slot is between head and tail: written, and the consumer's.
        let message = unsafe { (*self.slots[head % RING_MESSAGES].get()).assume_init_read() };
        self.head.0.store(head.wrapping_add(1), Ordering::Release);
        Some(message)
    }

    fn is_empty(&self) -> bool {
        self.head.0.load(Ordering::Relaxed) == self.tail.0.load(Ordering::Acquire)
    }
}

impl<M> Drop for Spsc<M> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: nobody else pushes or pops.
        while unsafe { self.pop() }.is_some() {}
    }
}

/// The rings between all cores, and who sleeps.
pub struct Mesh<M> {
    cores: usize,
    /// The ring from `a` to `b` at `a * cores + b`.
    rings: Vec<Spsc<M>>,
    /// `AWAKE`, `ASLEEP` or `EXPECTING`.
    parked: Vec<Padded<AtomicU8>>,
    ring_fds: Vec<AtomicI32>,
    /// Connections that each core has, for placing new ones and for `maxclients`.
    connections: Vec<Padded<AtomicU32>>,
    stopping: AtomicBool,
}

impl<M: Send> Mesh<M> {
    /// The rings between `cores` cores.
    pub fn new(cores: u16) -> Self {
        let cores = usize::from(cores);
        Mesh {
            cores,
            rings: (0..cores * cores).map(|_| Spsc::new()).collect(),
            parked: (0..cores).map(|_| Padded(AtomicU8::new(AWAKE))).collect(),
            ring_fds: (0..cores).map(|_| AtomicI32::new(-1)).collect(),
            connections: (0..cores).map(|_| Padded(AtomicU32::new(0))).collect(),
            stopping: AtomicBool::new(false),
        }
    }

    /// This core's end of the mesh; to be used by this core's thread only.
    ///
    /// # Safety
    /// There is one end per core.
    pub unsafe fn end(self: &std::sync::Arc<Self>, core: CoreId) -> End<M> {
        End { mesh: self.clone(), core: core.index() }
    }

    /// Connections on all cores.
    pub fn connections(&self) -> u32 {
        self.connections.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// Tells all cores to stop; each notices at its next pass, and `wake_all` of the caller's end makes them pass.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether all cores are to stop.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// One core's end of the mesh.
pub struct End<M> {
    mesh: std::sync::Arc<Mesh<M>>,
    core: usize,
}

impl<M: Send> End<M> {
    /// The mesh itself.
    pub fn mesh(&self) -> &Mesh<M> {
        &self.mesh
    }

    /// Puts a message into the ring to another core; gives it back if the ring is full.
    ///
    /// # Errors
    /// The message.
    #[inline]
    pub fn push(&mut self, to: CoreId, message: M) -> Result<(), M> {
        // SAFETY: this end is the only producer of its rings, and `&mut` keeps it to one thread at a time.
        unsafe { self.mesh.rings[self.core * self.mesh.cores + to.index()].push(message) }
    }

    /// The next message from another core.
    #[inline]
    pub fn pop(&mut self, from: CoreId) -> Option<M> {
        // SAFETY: this end is the only consumer of the rings that lead to it.
        unsafe { self.mesh.rings[from.index() * self.mesh.cores + self.core].pop() }
    }

    /// Whether no mail is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        (0..self.mesh.cores).all(|from| self.mesh.rings[from * self.mesh.cores + self.core].is_empty())
    }

    /// Says that this core is going to sleep, and whether it expects mail that could otherwise wait. Whether it may:
    /// not if mail has come meanwhile.
    pub fn park(&mut self, expecting: bool) -> bool {
        let parked = if expecting { EXPECTING } else { ASLEEP };
        self.mesh.parked[self.core].0.store(parked, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let quiet = self.is_empty() && !self.mesh.is_stopping();
        if !quiet {
            self.unpark();
        }
        quiet
    }

    /// Takes the word back.
    pub fn unpark(&mut self) {
        self.mesh.parked[self.core].0.store(AWAKE, Ordering::Relaxed);
    }

    /// After mail was put into the ring to `to`: the descriptor of its network ring if it sleeps and is to be woken.
    /// Mail that can wait wakes only a core that expects it.
    #[inline]
    pub fn to_wake(&mut self, to: CoreId, can_wait: bool) -> Option<RawFd> {
        // The mail must be visible before we look whether the other sleeps; `park` does the opposite.
        fence(Ordering::SeqCst);
        let parked = &self.mesh.parked[to.index()].0;
        let is_to_be_woken = |state| state == EXPECTING || (state == ASLEEP && !can_wait);
        (is_to_be_woken(parked.load(Ordering::Relaxed)) && parked.swap(AWAKE, Ordering::SeqCst) != AWAKE)
            .then(|| self.mesh.ring_fds[to.index()].load(Ordering::Relaxed))
    }

    /// Makes this core's network ring known to the others.
    pub fn set_ring_fd(&mut self, fd: RawFd) {
        self.mesh.ring_fds[self.core].store(fd, Ordering::SeqCst);
    }

    /// The core with the fewest connections: where the next one goes.
    pub fn least_connected(&self) -> CoreId {
        let counts = self.mesh.connections.iter().map(|count| count.0.load(Ordering::Relaxed));
        CoreId(counts.enumerate().min_by_key(|&(_, count)| count).map_or(0, |(core, _)| core as u16))
    }

    /// Counts a connection that was placed on `core`.
    pub fn place(&mut self, core: CoreId) {
        self.mesh.connections[core.index()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection of this core is gone.
    pub fn displace(&mut self) {
        self.mesh.connections[self.core].0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn messages_arrive_in_order_and_the_ring_is_bounded() {
        let mesh: Arc<Mesh<u64>> = Arc::new(Mesh::new(2));
        // SAFETY: one end per core.
        let (mut a, mut b) = unsafe { (mesh.end(CoreId(0)), mesh.end(CoreId(1))) };
        let count = 200_000u64;
        let sender = std::thread::spawn(move || {
            for n in 0..count {
                let mut message = n;
                while let Err(back) = a.push(CoreId(1), message) {
                    message = back;
                    std::hint::spin_loop();
                }
            }
        });
        let mut next = 0;
        while next < count {
            if let Some(message) = b.pop(CoreId(0)) {
                assert_eq!(message, next);
                next += 1;
            }
        }
        sender.join().unwrap();
        assert!(b.is_empty());
        let mut full = 0;
        while b.push(CoreId(0), 1).is_ok() {
            full += 1;
        }
        assert_eq!(full, RING_MESSAGES);
    }

    #[test]
    fn a_sleeper_is_woken_once() {
        let mesh: Arc<Mesh<u8>> = Arc::new(Mesh::new(2));
        // SAFETY: one end per core.
        let (mut a, mut b) = unsafe { (mesh.end(CoreId(0)), mesh.end(CoreId(1))) };
        b.set_ring_fd(7);
        assert!(b.park(false));
        a.push(CoreId(1), 1).unwrap();
        assert_eq!(a.to_wake(CoreId(1), true), None, "what can wait wakes nobody");
        assert_eq!(a.to_wake(CoreId(1), false), Some(7));
        assert_eq!(a.to_wake(CoreId(1), false), None);
        assert!(!b.park(false), "mail is waiting");
        assert_eq!(b.pop(CoreId(0)), Some(1));
        assert!(b.park(true));
        a.push(CoreId(1), 2).unwrap();
        assert_eq!(a.to_wake(CoreId(1), true), Some(7), "it is expected");
    }
}
