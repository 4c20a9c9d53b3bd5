//! Our network ring: one io_uring per core with the modern flags, used from that core's thread only.
//!
//! SINGLE_ISSUER and DEFER_TASKRUN: completions are produced inside our own `enter`, never by an interrupt of the loop.
//! One `enter` per pass submits everything and collects everything.
//!
//! Invariant: an entry that was pushed is submitted. A full submission queue is submitted at once to make room; nothing
//! is ever dropped.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{cqueue, squeue, IoUring};

/// Entries of the submission queue: sends of one pass beyond this are submitted in several steps. Small, since a ring's
/// entries go through the cache one after the other, used or not.
const SUBMISSIONS: u32 = 256;

/// Entries of the completion queue. The kernel keeps what does not fit and hands it over later (NODROP).
const COMPLETIONS: u32 = 1024;

/// What a completion is about, and of which connection; travels through the kernel as `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What was asked for.
    pub kind: Kind,
    /// Of which connection or listener.
    pub index: u32,
}

/// What was asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A connection on a listener.
    Accept,
    /// Bytes of a connection.
    Receive,
    /// A send that is expected to be over at once; completes only if it was not.
    SendNow,
    /// A send that may take as long as the client reads.
    SendAll,
    /// Another core's wake-up.
    Wake,
    /// The periodic timer.
    Timer,
    /// A signal.
    Signal,
    /// A step of a job on files.
    Disk,
    /// A connection that we make.
    Connect,
    /// Names have been looked up.
    Lookup,
    /// Nobody waits for it.
    Ignored,
}

impl Tag {
    /// As the kernel carries it.
    pub fn user_data(self) -> u64 {
        u64::from(self.kind as u8) << 32 | u64::from(self.index)
    }

    fn from_user_data(value: u64) -> Tag {
        let kind = match (value >> 32) as u8 {
            0 => Kind::Accept,
            1 => Kind::Receive,
            2 => Kind::SendNow,
            3 => Kind::SendAll,
            4 => Kind::Wake,
            5 => Kind::Timer,
            6 => Kind::Signal,
            7 => Kind::Disk,
            8 => Kind::Connect,
            9 => Kind::Lookup,
            _ => Kind::Ignored,
        };
        Tag { kind, index: value as u32 }
    }
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What it is about.
    pub tag: Tag,
    /// Bytes, a descriptor, or a negated errno.
    pub result: i32,
    /// The kernel's flags.
    pub flags: u32,
}

/// See the module.
pub struct Ring {
    ring: IoUring,
    /// How many times the kernel was entered.
    pub enters: u64,
}

impl Ring {
    /// A ring of this thread.
    ///
    /// # Errors
    /// What the kernel answers: EPERM or ENOSYS where io_uring is refused, EINVAL on a kernel before 6.1.
    pub fn new() -> io::Result<Ring> {
        let build = |no_sqarray: bool| {
            let mut builder = IoUring::builder();
            builder
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_coop_taskrun()
                .setup_taskrun_flag()
                .setup_submit_all()
                .setup_clamp()
                .setup_cqsize(COMPLETIONS);
            if no_sqarray {
                builder.setup_no_sqarray();
            }
            builder.build(SUBMISSIONS)
        };
        // NO_SQARRAY is of kernel 6.6 and only a saving.
        let ring = build(true).or_else(|_| build(false))?;
        // Saves a look-up of the descriptor at each enter; refused is no harm.
        let _ = ring.submitter().register_ring_fd();
        Ok(Ring { ring, enters: 0 })
    }

    /// The descriptor that other rings address messages to.
    pub fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// The registered kernel interface, for setting up buffers.
    pub fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Puts an entry on the submission queue.
    ///
    /// # Safety
    /// All memory that the entry points to must stay valid and unmoved until its completion (or, for sends tagged
    /// `SendNow`, until the next `enter` has returned).
    pub unsafe fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: passed on to the caller.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            self.submit_only();
        }
    }

    /// Makes room in the submission queue.
    #[cold]
    fn submit_only(&mut self) {
        self.enters += 1;
        match self.ring.submit() {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => panic!("io_uring_enter failed: {error}"),
        }
    }

    /// Submits everything and, if `wait`, sleeps until something completes or the timeout is over. Returns when all
    /// that was pushed has been submitted, and appends the completions.
    pub fn enter(&mut self, wait: Option<Timespec>, completions: &mut Vec<Completion>) {
        let mut wait = wait;
        loop {
            self.enters += 1;
            let result = match wait.take() {
                Some(timeout) => {
                    self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
                }
                None => self.poll(),
            };
            match result {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => panic!("io_uring_enter failed: {error}"),
            }
            completions.extend(self.ring.completion().map(|entry| Completion {
                tag: Tag::from_user_data(entry.user_data()),
                result: entry.result(),
                flags: entry.flags(),
            }));
            if self.ring.submission().is_empty() {
                return;
            }
        }
    }

    /// Submits and runs what the kernel has deferred for us, without sleeping.
    fn poll(&mut self) -> io::Result<usize> {
        let entries = self.ring.submission().len() as u32;
        const GETEVENTS: u32 = 1;
        // SAFETY: no argument is passed to the kernel.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(entries, 0, GETEVENTS, None) }
    }

    /// Whether entries wait for the next `enter`.
    #[inline]
    pub fn has_unsubmitted(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Whether something has completed or would at the next `enter`: looks at shared memory only.
    #[inline]
    pub fn has_news(&mut self) -> bool {
        let submission = self.ring.submission();
        let work = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        work || !self.ring.completion().is_empty()
    }
}

/// Interrupted, timed out, or the completion queue is full and must be emptied first.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN))
}

/// A completion's buffer, if it brought one.
pub fn buffer_of(flags: u32) -> Option<u16> {
    cqueue::buffer_select(flags)
}

/// Whether a multishot request goes on.
pub fn goes_on(flags: u32) -> bool {
    cqueue::more(flags)
}
