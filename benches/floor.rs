//! The floor: how little CPU a request can cost on this machine's io_uring and loopback.
//!
//! One ring, one thread, one core: it parses RESP and answers GET, SET and PING from a plain hash map. There is no
//! store, no glommio, no expiry, no limit and no other command: what a real server spends beyond this is its own
//! doing. `benches/compare` runs it beside the servers; `cargo run --release --example floor -- --port 7000` by hand.
//!
//! A pass is one system call: it submits the replies of the last pass, waits for the first completion, and takes all
//! there are. Replies are sent inside that call (MSG_DONTWAIT, so a full socket fails instead of being polled;
//! MSG_WAITALL, so a short send counts as failed), and a send that succeeds posts no completion. So a send leaves no
//! trace at all unless the peer does not read; only then is the rest kept and sent by an ordinary send.
//!
//! Invariant: the bytes of `Pass` stay as they are from the submission of its sends until all completions of that
//! submission are seen; therefore two of them take turns.
//! Invariant: a descriptor is closed only when its receive has ended and no send of it is under way, so the
//! completions of a descriptor never meet its next owner.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use clap::Parser;
use io_uring::squeue::Flags;
use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{cqueue, opcode, squeue, CompletionQueue, IoUring, SubmissionQueue, Submitter};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bare io_uring loop that answers GET, SET and PING from a hash map.
#[derive(Parser)]
struct Options {
    /// Loopback port to listen on.
    #[arg(long, default_value_t = 7000)]
    port: u16,
    /// Core to run on; where the process was started if not given.
    #[arg(long)]
    core: Option<usize>,
    /// Receive buffers the kernel chooses from; a power of two.
    #[arg(long, default_value_t = 64)]
    buffers: u16,
    /// Size of each receive buffer.
    #[arg(long, default_value_t = 16384)]
    buffer_bytes: usize,
    /// Submission queue entries; the completion queue has four times as many.
    #[arg(long, default_value_t = 256)]
    entries: u32,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if let Some(core) = options.core {
        pin(core)?;
    }
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    // Accepted sockets inherit it: a direct descriptor could not be asked with setsockopt(2).
    set_nodelay(&listener)?;
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_no_sqarray()
        .setup_cqsize(options.entries * 4)
        .build(options.entries)?;
    let mut floor = Floor::new(&mut ring, &options)?;
    floor.run(&listener)
}

fn pin(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours; CPU_SET ignores a number outside it.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: pointer and size describe `set`.
    ok(unsafe { libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set) })
}

fn set_nodelay(listener: &TcpListener) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe `on`.
    ok(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            std::mem::size_of_val(&on) as libc::socklen_t,
        )
    })
}

fn ok(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a completion belongs to; with the descriptor it makes the user data.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Op {
    Accept,
    Receive,
    /// A reply sent inside the submission: seen only if it failed.
    Send,
    /// What a failed `Send` left, sent when the peer makes room.
    Resend,
    /// Nothing depends on it.
    Other,
}

impl Op {
    fn tag(self, descriptor: u32) -> u64 {
        (self as u64) << 32 | u64::from(descriptor)
    }

    fn of(tag: u64) -> Self {
        match tag >> 32 {
            0 => Op::Accept,
            1 => Op::Receive,
            2 => Op::Send,
            3 => Op::Resend,
            _ => Op::Other,
        }
    }
}

/// One client. Its place in `Floor::connections` is its direct descriptor.
#[derive(Default)]
struct Connection {
    /// The beginning of a request whose end has not arrived.
    unparsed: Vec<u8>,
    /// Its span in the current pass, if it has one.
    span: Option<usize>,
    /// The bytes of the `Op::Resend` under way; empty if there is none.
    resending: Vec<u8>,
    /// Replies that wait for it.
    unsent: Vec<u8>,
    /// Its receive has ended: it is closed as soon as nothing is left to send.
    ended: bool,
}

/// The replies of a pass, back to back, and whose they are.
#[derive(Default)]
struct Pass {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

struct Span {
    descriptor: u32,
    start: usize,
    end: usize,
}

struct Floor<'r> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    buffers: ReceiveBuffers,
    connections: Vec<Connection>,
    map: Map,
    /// The pass being answered.
    pass: Pass,
    /// The pass whose sends were submitted last.
    sent: Pass,
    /// Connections whose receive has ended in this pass.
    ended: Vec<u32>,
}

impl<'r> Floor<'r> {
    fn new(ring: &'r mut IoUring, options: &Options) -> io::Result<Self> {
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_ring_fd()?;
        submitter.register_files_sparse(open_files_limit()?.min(32768))?;
        let buffers = ReceiveBuffers::register(&submitter, options.buffers, options.buffer_bytes)?;
        Ok(Floor {
            submitter,
            submissions,
            completions,
            buffers,
            connections: Vec::new(),
            map: Map::default(),
            pass: Pass::default(),
            sent: Pass::default(),
            ended: Vec::new(),
        })
    }

    fn run(&mut self, listener: &TcpListener) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .allocate_file_index(true)
            .build()
            .user_data(Op::Accept.tag(0));
        self.push(&accept)?;
        loop {
            self.submissions.sync();
            match self.submitter.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => drop(other?),
            }
            self.submissions.sync();
            self.completions.sync();
            while let Some(completion) = self.completions.next() {
                self.complete(&completion, &accept)?;
            }
            self.buffers.publish();
            self.submit_replies()?;
            self.close_ended()?;
        }
    }

    fn complete(&mut self, completion: &cqueue::Entry, accept: &squeue::Entry) -> io::Result<()> {
        let descriptor = completion.user_data() as u32;
        let result = completion.result();
        let more = cqueue::more(completion.flags());
        match Op::of(completion.user_data()) {
            Op::Accept => {
                let descriptor = u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))?;
                let index = descriptor as usize;
                if index >= self.connections.len() {
                    self.connections.resize_with(index + 1, Connection::default);
                }
                self.connections[index] = Connection::default();
                self.receive(descriptor)?;
                if !more {
                    self.push(accept)?;
                }
            }
            Op::Receive => {
                if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
                    let is_resp = self.answer(descriptor, buffer, result.max(0) as usize);
                    self.buffers.add(buffer);
                    if !is_resp {
                        self.shut_down(descriptor)?;
                    }
                }
                match (more, result) {
                    (true, _) => {}
                    // The shot ends also when there is no buffer, and when the completion queue is full.
                    (false, n) if n > 0 || n == -libc::ENOBUFS => self.receive(descriptor)?,
                    (false, _) => {
                        self.connections[descriptor as usize].ended = true;
                        self.ended.push(descriptor);
                    }
                }
            }
            Op::Send => self.keep_unsent(descriptor, result)?,
            Op::Resend => self.resent(descriptor, result)?,
            Op::Other => {}
        }
        Ok(())
    }

    /// Answers what has arrived. False if it is not RESP.
    fn answer(&mut self, descriptor: u32, buffer: u16, len: usize) -> bool {
        let connection = &mut self.connections[descriptor as usize];
        let received = self.buffers.bytes(buffer, len);
        self.pass.open_span(descriptor, &mut connection.span);
        let replies = &mut self.pass.bytes;
        let consumed = if connection.unparsed.is_empty() {
            let consumed = answer_all(&mut self.map, received, replies);
            connection.unparsed.extend_from_slice(&received[consumed.unwrap_or(len)..]);
            consumed
        } else {
            connection.unparsed.extend_from_slice(received);
            let consumed = answer_all(&mut self.map, &connection.unparsed, replies);
            connection.unparsed.drain(..consumed.unwrap_or(0));
            consumed
        };
        self.pass.close_span();
        consumed.is_some()
    }

    /// Queues a send for each connection that has replies in this pass.
    fn submit_replies(&mut self) -> io::Result<()> {
        std::mem::swap(&mut self.pass, &mut self.sent);
        self.pass.bytes.clear();
        self.pass.spans.clear();
        for i in 0..self.sent.spans.len() {
            let Span { descriptor, start, end } = self.sent.spans[i];
            let connection = &mut self.connections[descriptor as usize];
            if connection.span != Some(i) {
                continue; // Moved into a later span.
            }
            connection.span = None;
            let reply = &self.sent.bytes[start..end];
            if reply.is_empty() {
                continue;
            }
            if connection.resending.is_empty() && !connection.ended {
                let send = opcode::Send::new(Fixed(descriptor), reply.as_ptr(), reply.len() as u32)
                    .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL)
                    .build()
                    .flags(Flags::SKIP_SUCCESS)
                    .user_data(Op::Send.tag(descriptor));
                self.push(&send)?;
                continue;
            }
            connection.unsent.extend_from_slice(reply);
            if connection.resending.is_empty() {
                self.resend(descriptor)?; // The last word: its completion closes.
            }
        }
        Ok(())
    }

    /// A `Send` stopped after `result` bytes: keeps the rest and sends it when there is room.
    fn keep_unsent(&mut self, descriptor: u32, result: i32) -> io::Result<()> {
        let sent = match result {
            n if n >= 0 => n as usize,
            error if error == -libc::EAGAIN => 0,
            _ => return Ok(()), // The connection is broken, and its receive ends too.
        };
        if let Some(span) = self.sent.spans.iter().rfind(|span| span.descriptor == descriptor) {
            let rest = &self.sent.bytes[span.start + sent..span.end];
            self.connections[descriptor as usize].unsent.extend_from_slice(rest);
            self.resend(descriptor)?;
        }
        Ok(())
    }

    fn resend(&mut self, descriptor: u32) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        std::mem::swap(&mut connection.resending, &mut connection.unsent);
        let bytes = &connection.resending;
        let send = opcode::Send::new(Fixed(descriptor), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_WAITALL)
            .build()
            .user_data(Op::Resend.tag(descriptor));
        self.push(&send)
    }

    fn resent(&mut self, descriptor: u32, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        connection.resending.clear();
        if result > 0 && !connection.unsent.is_empty() {
            return self.resend(descriptor);
        }
        if connection.ended {
            self.ended.push(descriptor);
        }
        Ok(())
    }

    fn receive(&mut self, descriptor: u32) -> io::Result<()> {
        self.push(
            &opcode::RecvMulti::new(Fixed(descriptor), 0).build().user_data(Op::Receive.tag(descriptor)),
        )
    }

    /// Ends the receive of `descriptor`, which leads to its close.
    fn shut_down(&mut self, descriptor: u32) -> io::Result<()> {
        let shutdown = opcode::Shutdown::new(Fixed(descriptor), libc::SHUT_RDWR).build();
        self.push(&shutdown.user_data(Op::Other.tag(descriptor)))
    }

    fn close_ended(&mut self) -> io::Result<()> {
        while let Some(descriptor) = self.ended.pop() {
            let connection = &mut self.connections[descriptor as usize];
            if connection.resending.is_empty() {
                *connection = Connection::default();
                let close = opcode::Close::new(Fixed(descriptor)).build();
                self.push(&close.user_data(Op::Other.tag(descriptor)))?;
            }
        }
        Ok(())
    }

    /// Queues an entry, and submits those before it if there is no room.
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the memory an entry names stays as it is until its completion: module head, and `resending`.
        while unsafe { self.submissions.push(entry) }.is_err() {
            self.submissions.sync();
            self.submitter.submit()?;
            self.submissions.sync();
        }
        Ok(())
    }
}

impl Pass {
    /// Begins the replies to what `descriptor` sent. `current` is its span of this pass, if it has one already: replies
    /// of a second receive must follow the first's in one send, or they would overtake it when it fails.
    fn open_span(&mut self, descriptor: u32, current: &mut Option<usize>) {
        let mut start = self.bytes.len();
        if let Some(i) = *current {
            let earlier = self.spans[i].start..self.spans[i].end;
            if earlier.end == start {
                start = earlier.start;
            } else {
                self.bytes.extend_from_within(earlier);
            }
        }
        *current = Some(self.spans.len());
        self.spans.push(Span { descriptor, start, end: start });
    }

    fn close_span(&mut self) {
        let end = self.bytes.len();
        if let Some(span) = self.spans.last_mut() {
            span.end = end;
        }
    }
}

fn open_files_limit() -> io::Result<u32> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to `limit`.
    ok(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(u32::try_from(limit.rlim_cur).unwrap_or(u32::MAX))
}

/// Memory the kernel receives into, and the ring in which it is told which buffers are free.
struct ReceiveBuffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    mask: u16,
    buffer_bytes: usize,
    tail: u16,
}

impl ReceiveBuffers {
    fn register(submitter: &Submitter<'_>, count: u16, buffer_bytes: usize) -> io::Result<Self> {
        if !count.is_power_of_two() {
            return Err(io::Error::other("the number of buffers must be a power of two"));
        }
        let ring = map_pages(usize::from(count) * std::mem::size_of::<BufRingEntry>())?.cast();
        let memory = map_pages(usize::from(count) * buffer_bytes)?;
        // SAFETY: the mapping has `count` entries and lives as long as the process.
        unsafe { submitter.register_buf_ring_with_flags(ring as u64, count, 0, 0)? };
        let mut buffers = ReceiveBuffers { ring, memory, mask: count - 1, buffer_bytes, tail: 0 };
        (0..count).for_each(|id| buffers.add(id));
        buffers.publish();
        Ok(buffers)
    }

    /// What a receive put into buffer `id`.
    #[inline]
    fn bytes(&self, id: u16, len: usize) -> &[u8] {
        // SAFETY: the kernel named a buffer of ours, filled `len` bytes of it and leaves it alone until it is
        // published.
        unsafe { std::slice::from_raw_parts(self.memory.add(usize::from(id) * self.buffer_bytes), len) }
    }

    /// Gives buffer `id` back; the kernel sees it at the next `publish`.
    #[inline]
    fn add(&mut self, id: u16) {
        // SAFETY: masked, the index is inside the ring; the kernel does not read past the published tail.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail & self.mask)) };
        // SAFETY: `id` is one of the ring's buffers.
        entry.set_addr(unsafe { self.memory.add(usize::from(id) * self.buffer_bytes) } as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn publish(&self) {
        // SAFETY: the tail lies in the first entry of the ring, which nothing else writes.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

fn map_pages(bytes: usize) -> io::Result<*mut u8> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(address.cast())
}

type Map = HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>;

/// Answers every complete request in `bytes` and returns how many bytes they took; None if it is not RESP.
fn answer_all(map: &mut Map, bytes: &[u8], replies: &mut Vec<u8>) -> Option<usize> {
    let mut consumed = 0;
    while consumed < bytes.len() {
        let mut request = Request { rest: &bytes[consumed..], arguments: [&[]; 3], count: 0 };
        match request.parse() {
            Ok(()) => {}
            Err(Unparsed::Incomplete) => break,
            Err(Unparsed::Malformed) => return None,
        }
        consumed = bytes.len() - request.rest.len();
        request.answer(map, replies);
    }
    Some(consumed)
}

struct Request<'a> {
    rest: &'a [u8],
    arguments: [&'a [u8]; 3],
    count: usize,
}

enum Unparsed {
    Incomplete,
    Malformed,
}

impl<'a> Request<'a> {
    fn parse(&mut self) -> Result<(), Unparsed> {
        if self.rest.first() != Some(&b'*') {
            // An inline command: its words do not matter, PING is the only one.
            let end = memchr::memchr(b'\n', self.rest).ok_or(Unparsed::Incomplete)?;
            self.rest = &self.rest[end + 1..];
            self.arguments[0] = b"PING";
            self.count = 1;
            return Ok(());
        }
        self.count = self.length(b'*')?;
        for i in 0..self.count {
            let len = self.length(b'$')?;
            let (argument, rest) = self.rest.split_at_checked(len).ok_or(Unparsed::Incomplete)?;
            self.rest = rest.get(2..).ok_or(Unparsed::Incomplete)?;
            if let Some(place) = self.arguments.get_mut(i) {
                *place = argument;
            }
        }
        Ok(())
    }

    /// Takes `<mark><digits>\r\n`.
    #[inline]
    fn length(&mut self, mark: u8) -> Result<usize, Unparsed> {
        match self.rest.first() {
            Some(&first) if first == mark => {}
            Some(_) => return Err(Unparsed::Malformed),
            None => return Err(Unparsed::Incomplete),
        }
        let mut length = 0usize;
        for (i, &byte) in self.rest.iter().enumerate().skip(1) {
            match byte {
                b'0'..=b'9' if i < 12 => length = length * 10 + usize::from(byte - b'0'),
                b'\r' => {
                    self.rest = self.rest.get(i + 2..).ok_or(Unparsed::Incomplete)?;
                    return Ok(length);
                }
                _ => return Err(Unparsed::Malformed),
            }
        }
        Err(Unparsed::Incomplete)
    }

    fn answer(&self, map: &mut Map, replies: &mut Vec<u8>) {
        let [command, key, value] = self.arguments;
        if command.eq_ignore_ascii_case(b"GET") {
            match map.get(key) {
                Some(value) => bulk(replies, value),
                None => replies.extend_from_slice(b"$-1\r\n"),
            }
        } else if command.eq_ignore_ascii_case(b"SET") {
            match map.get_mut(key) {
                Some(old) if old.len() == value.len() => old.copy_from_slice(value),
                Some(old) => *old = value.into(),
                None => drop(map.insert(key.into(), value.into())),
            }
            replies.extend_from_slice(b"+OK\r\n");
        } else if command.eq_ignore_ascii_case(b"PING") {
            replies.extend_from_slice(b"+PONG\r\n");
        } else {
            replies.extend_from_slice(b"-ERR the floor knows GET, SET and PING only\r\n");
        }
    }
}

#[inline]
fn bulk(replies: &mut Vec<u8>, value: &[u8]) {
    let mut digits = itoa::Buffer::new();
    replies.push(b'$');
    replies.extend_from_slice(digits.format(value.len()).as_bytes());
    replies.extend_from_slice(b"\r\n");
    replies.extend_from_slice(value);
    replies.extend_from_slice(b"\r\n");
}
