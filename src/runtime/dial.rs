//! Connections that this server makes, until they stand.
//!
//! An address that is written as such is connected to at once. A name is looked up first, by getaddrinfo on a thread of
//! its own, since that may take as long as it likes; the thread leaves what it has found in a letterbox and rings the
//! core through an eventfd that the core's ring watches while anything is looked up. The addresses of a name are tried
//! one after the other.
//!
//! Whoever asked may lose interest at any time. A look-up cannot be called off: its answer is thrown away when it
//! comes. A connect is, and the session is told that it is gone when the kernel has given the socket back.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::{opcode, types};

use super::ring::{Kind, Ring, Tag};
use super::sockets::{bind, check, describe, family_of, set_option, socket, RawAddress};

/// The dials of a core, by session.
#[derive(Default)]
pub struct Dialer {
    dials: BTreeMap<u32, Dial>,
    lookups: Lookups,
}

/// What has become of a dial.
#[derive(Debug)]
#[must_use]
pub enum Dialed {
    /// Nothing yet.
    Pending,
    /// It stands.
    Connected(OwnedFd),
    /// None of the addresses could be connected to: why, in the system's words, for the last of them.
    Failed(String),
    /// The name has no address: why, in the C library's words.
    Unresolved(String),
    /// It was called off, and nothing of it is under way any more.
    Gone,
}

/// What a connection is to be made to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// A name or an address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// An address or a name of this host, or empty.
    pub source: String,
}

struct Dial {
    stage: Stage,
    /// Addresses that have not been tried.
    left: VecDeque<SocketAddr>,
    /// Addresses of this host that the connection may come from; any of its own if there are none.
    sources: Vec<SocketAddr>,
    /// Why the last address was no good.
    error: String,
    /// Whether nobody wants it any more.
    is_called_off: bool,
}

enum Stage {
    /// Its names are being looked up, under this number.
    Lookup(u64),
    /// The kernel connects this socket, and may read the address until it has told what came of it.
    Connecting(OwnedFd, #[expect(dead_code, reason = "the kernel reads it")] Box<RawAddress>),
    /// Between two addresses.
    Between,
}

impl Dialer {
    /// Begins a connection for a session.
    pub fn start(&mut self, session: u32, to: Destination, ring: &mut Ring) -> Dialed {
        let mut dial = Dial {
            stage: Stage::Between,
            left: VecDeque::new(),
            sources: Vec::new(),
            error: String::new(),
            is_called_off: false,
        };
        let source_ip = to.source.parse::<IpAddr>();
        match to.host.parse::<IpAddr>() {
            Ok(ip) if to.source.is_empty() || source_ip.is_ok() => {
                dial.left.push_back(SocketAddr::new(ip, to.port));
                dial.sources.extend(source_ip.ok().map(|ip| SocketAddr::new(ip, 0)));
                self.dials.insert(session, dial);
                self.try_next(session, ring)
            }
            _ => match self.lookups.begin(session, to, ring) {
                Ok(number) => {
                    dial.stage = Stage::Lookup(number);
                    self.dials.insert(session, dial);
                    Dialed::Pending
                }
                Err(error) => Dialed::Failed(error),
            },
        }
    }

    /// Whether a session's connection is being made.
    pub fn is_dialing(&self, session: u32) -> bool {
        self.dials.contains_key(&session)
    }

    /// Whether no connection is being made.
    pub fn is_idle(&self) -> bool {
        self.dials.is_empty()
    }

    /// The sessions whose connections are being made.
    pub fn sessions(&self) -> Vec<u32> {
        self.dials.keys().copied().collect()
    }

    /// Calls a dial off.
    pub fn call_off(&mut self, session: u32, ring: &mut Ring) -> Dialed {
        let Some(dial) = self.dials.get_mut(&session) else { return Dialed::Pending };
        match dial.stage {
            Stage::Connecting(..) => {
                if !std::mem::replace(&mut dial.is_called_off, true) {
                    let tag = Tag { kind: Kind::Connect, index: session };
                    let ignored = Tag { kind: Kind::Ignored, index: session };
                    let entry =
                        opcode::AsyncCancel::new(tag.user_data()).build().user_data(ignored.user_data());
                    // SAFETY: the entry points to no memory.
                    unsafe { ring.push(&entry) };
                }
                Dialed::Pending
            }
            Stage::Lookup(number) => {
                self.lookups.call_off(number);
                self.dials.remove(&session);
                Dialed::Gone
            }
            Stage::Between => {
                self.dials.remove(&session);
                Dialed::Gone
            }
        }
    }

    /// The kernel tells what came of a connect.
    pub fn on_connect(&mut self, session: u32, result: i32, ring: &mut Ring) -> Dialed {
        let Some(dial) = self.dials.get_mut(&session) else { return Dialed::Pending };
        let Stage::Connecting(fd, _) = std::mem::replace(&mut dial.stage, Stage::Between) else {
            debug_assert!(false, "nothing was being connected for session {session}");
            return Dialed::Pending;
        };
        if dial.is_called_off {
            self.dials.remove(&session);
            return Dialed::Gone;
        }
        if result == 0 {
            self.dials.remove(&session);
            return Dialed::Connected(fd);
        }
        dial.error = describe(&io::Error::from_raw_os_error(-result));
        self.try_next(session, ring)
    }

    /// The eventfd has rung: takes what was found. For each session that has got something, what became of it.
    pub fn on_lookup(&mut self, ring: &mut Ring) -> Vec<(u32, Dialed)> {
        let mut all = Vec::new();
        for Answer { session, number, addresses, sources } in self.lookups.take(ring) {
            // The session may be another's by now.
            let dial = self.dials.get_mut(&session);
            let Some(dial) = dial.filter(|dial| matches!(dial.stage, Stage::Lookup(own) if own == number))
            else {
                continue;
            };
            dial.stage = Stage::Between;
            dial.sources = sources;
            match addresses {
                Ok(addresses) => dial.left = addresses.into(),
                Err(error) => {
                    self.dials.remove(&session);
                    all.push((session, Dialed::Unresolved(error)));
                    continue;
                }
            }
            all.push((session, self.try_next(session, ring)));
        }
        all
    }

    /// Tries the next address.
    fn try_next(&mut self, session: u32, ring: &mut Ring) -> Dialed {
        let Some(dial) = self.dials.get_mut(&session) else { return Dialed::Pending };
        while let Some(address) = dial.left.pop_front() {
            match open(&address, &dial.sources) {
                Ok(fd) => {
                    let raw = Box::new(RawAddress::new(&address));
                    let tag = Tag { kind: Kind::Connect, index: session };
                    let entry = opcode::Connect::new(types::Fd(fd.as_raw_fd()), raw.as_ptr(), raw.bytes())
                        .build()
                        .user_data(tag.user_data());
                    // SAFETY: the address is boxed and kept, with the socket, until the completion.
                    unsafe { ring.push(&entry) };
                    dial.stage = Stage::Connecting(fd, raw);
                    return Dialed::Pending;
                }
                Err(error) => dial.error = describe(&error),
            }
        }
        let error = std::mem::take(&mut dial.error);
        self.dials.remove(&session);
        Dialed::Failed(error)
    }
}

/// A socket for a connection to an address. One that cannot come from where it should comes from anywhere, as in Redis.
fn open(address: &SocketAddr, sources: &[SocketAddr]) -> io::Result<OwnedFd> {
    let fd = socket(family_of(address))?;
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    for source in sources.iter().filter(|source| source.is_ipv6() == address.is_ipv6()) {
        match bind(&fd, source) {
            Ok(()) => break,
            Err(error) => tracing::debug!("Can't connect from {}: {}", source.ip(), describe(&error)),
        }
    }
    Ok(fd)
}

/// Names that are looked up at a time; others wait for their turn. There are never more than there are dials.
const LOOKUPS_MAX: usize = 8;

#[derive(Default)]
struct Lookups {
    letterbox: Option<Arc<Letterbox>>,
    next_number: u64,
    waiting: VecDeque<Question>,
    running: usize,
    /// Whether the ring watches the eventfd.
    is_watched: bool,
}

struct Question {
    session: u32,
    number: u64,
    to: Destination,
}

struct Answer {
    session: u32,
    number: u64,
    addresses: Result<Vec<SocketAddr>, String>,
    sources: Vec<SocketAddr>,
}

/// Where the threads leave what they have found.
struct Letterbox {
    answers: Mutex<Vec<Answer>>,
    bell: OwnedFd,
}

impl Lookups {
    /// Looks up the names of a destination. The number of the look-up.
    fn begin(&mut self, session: u32, to: Destination, ring: &mut Ring) -> Result<u64, String> {
        self.next_number += 1;
        let number = self.next_number;
        self.waiting.push_back(Question { session, number, to });
        let refused = self.start_threads();
        self.watch(ring);
        match refused.into_iter().find(|answer| answer.number == number) {
            Some(Answer { addresses: Err(error), .. }) => Err(error),
            Some(_) | None => Ok(number),
        }
    }

    /// Nobody waits for it any more.
    fn call_off(&mut self, number: u64) {
        self.waiting.retain(|question| question.number != number);
    }

    /// Starts as many threads as may run. The answers of those that could not be started: that they could not.
    fn start_threads(&mut self) -> Vec<Answer> {
        let mut refused = Vec::new();
        while self.running < LOOKUPS_MAX {
            let Some(question) = self.waiting.pop_front() else { break };
            let (session, number) = (question.session, question.number);
            match self.start_thread(question) {
                Ok(()) => self.running += 1,
                Err(error) => {
                    let addresses = Err(describe(&error));
                    refused.push(Answer { session, number, addresses, sources: Vec::new() });
                }
            }
        }
        refused
    }

    fn start_thread(&mut self, question: Question) -> io::Result<()> {
        let letterbox = match &self.letterbox {
            Some(letterbox) => letterbox.clone(),
            None => self.letterbox.insert(Arc::new(Letterbox::new()?)).clone(),
        };
        let thread = std::thread::Builder::new().name("lookup".to_owned());
        thread.spawn(move || letterbox.put(question.answer())).map(drop)
    }

    /// Has the ring tell when there is something in the letterbox.
    fn watch(&mut self, ring: &mut Ring) {
        let Some(letterbox) = &self.letterbox else { return };
        if self.running > 0 && !std::mem::replace(&mut self.is_watched, true) {
            let tag = Tag { kind: Kind::Lookup, index: 0 };
            let entry = opcode::PollAdd::new(types::Fd(letterbox.bell.as_raw_fd()), libc::POLLIN as u32)
                .build()
                .user_data(tag.user_data());
            // SAFETY: the entry points to no memory.
            unsafe { ring.push(&entry) };
        }
    }

    /// Takes what has been found, and goes on with what waits.
    fn take(&mut self, ring: &mut Ring) -> Vec<Answer> {
        self.is_watched = false;
        let Some(letterbox) = &self.letterbox else { return Vec::new() };
        let mut answers = letterbox.take();
        self.running -= answers.len();
        answers.extend(self.start_threads());
        self.watch(ring);
        answers
    }
}

impl Question {
    fn answer(self) -> Answer {
        let Question { session, number, to: Destination { host, port, source } } = self;
        let sources = match source.as_str() {
            "" => Vec::new(),
            source => look_up(source, 0).unwrap_or_default(),
        };
        Answer { session, number, addresses: look_up(&host, port), sources }
    }
}

/// The addresses of a name, or why there are none, in the C library's words.
fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match (name, port).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => {
            let text = describe(&error);
            Err(text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned())
        }
    }
}

impl Letterbox {
    fn new() -> io::Result<Letterbox> {
        // SAFETY: plain integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        check(fd)?;
        // SAFETY: a new descriptor that nobody else has.
        let bell = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Letterbox { answers: Mutex::new(Vec::new()), bell })
    }

    fn put(&self, answer: Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        let one = 1u64;
        // SAFETY: eight bytes of ours. The counter cannot overflow: there are few look-ups between two readings.
        unsafe { libc::write(self.bell.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    fn take(&self) -> Vec<Answer> {
        let mut count = 0u64;
        // SAFETY: eight bytes of ours. Before the answers are taken: one that comes later rings again.
        unsafe { libc::read(self.bell.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::runtime::ring::Completion;

    /// A core's part in it.
    struct Core {
        ring: Ring,
        dialer: Dialer,
        completions: VecDeque<Completion>,
        outcomes: VecDeque<(u32, Dialed)>,
    }

    impl Core {
        fn new() -> Core {
            let (completions, outcomes) = Default::default();
            Core { ring: Ring::new().unwrap(), dialer: Dialer::default(), completions, outcomes }
        }

        fn start(&mut self, session: u32, host: &str, port: u16, source: &str) -> Dialed {
            let to = Destination { host: host.to_owned(), port, source: source.to_owned() };
            self.dialer.start(session, to, &mut self.ring)
        }

        /// Submits what was asked for, and waits a moment for completions.
        fn enter(&mut self) {
            let mut completions = Vec::new();
            self.ring.enter(Some(types::Timespec::new().nsec(10_000_000)), &mut completions);
            self.completions.extend(completions);
        }

        /// What becomes of a dial next.
        fn outcome(&mut self) -> (u32, Dialed) {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(60) {
                if let Some(outcome) = self.outcomes.pop_front() {
                    return outcome;
                }
                self.enter();
                for Completion { tag, result, .. } in std::mem::take(&mut self.completions) {
                    match tag.kind {
                        Kind::Connect => {
                            let outcome = self.dialer.on_connect(tag.index, result, &mut self.ring);
                            self.outcomes.push_back((tag.index, outcome));
                        }
                        Kind::Lookup => self.outcomes.extend(self.dialer.on_lookup(&mut self.ring)),
                        _ => {}
                    }
                }
                self.outcomes.retain(|(_, outcome)| !matches!(outcome, Dialed::Pending));
            }
            panic!("nothing becomes of it");
        }
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// A port that nobody listens on, for as long as this is kept.
    fn closed_port() -> (OwnedFd, u16) {
        let fd = socket(libc::AF_INET).unwrap();
        bind(&fd, &SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).unwrap();
        let bound = std::net::TcpStream::from(fd.try_clone().unwrap()).local_addr().unwrap();
        (fd, bound.port())
    }

    #[test]
    fn addresses_and_names_are_connected_to() {
        let (listener, port) = listener();
        let mut core = Core::new();
        for (host, source, from) in [
            ("127.0.0.1", "", Ipv4Addr::LOCALHOST),
            ("127.0.0.1", "127.0.0.77", Ipv4Addr::new(127, 0, 0, 77)),
            // Not an address of this host: it comes from any.
            ("127.0.0.1", "192.0.2.1", Ipv4Addr::LOCALHOST),
            ("localhost", "", Ipv4Addr::LOCALHOST),
            ("localhost", "127.0.0.78", Ipv4Addr::new(127, 0, 0, 78)),
        ] {
            assert!(matches!(core.start(3, host, port, source), Dialed::Pending));
            assert!(core.dialer.is_dialing(3));
            let (session, Dialed::Connected(fd)) = core.outcome() else { panic!("{host} from {source}") };
            assert_eq!(session, 3);
            assert_eq!(listener.accept().unwrap().1.ip(), from, "{host} from {source}");
            let stream = std::net::TcpStream::from(fd);
            assert!(stream.nodelay().unwrap());
            assert!(core.dialer.is_idle());
        }
    }

    #[test]
    fn what_cannot_be_reached_is_told_in_the_systems_words() {
        let (_closed, port) = closed_port();
        let mut core = Core::new();
        for (host, words) in [
            ("127.0.0.1", "Connection refused"),
            // All its addresses are tried.
            ("localhost", "Connection refused"),
            ("a name with blanks", "Name or service not known"),
        ] {
            assert!(matches!(core.start(1, host, port, ""), Dialed::Pending));
            let (1, Dialed::Failed(reason) | Dialed::Unresolved(reason)) = core.outcome() else {
                panic!("{host}")
            };
            assert_eq!(reason, words, "{host}");
            assert!(core.dialer.is_idle());
        }
    }

    #[test]
    fn many_are_under_way_at_a_time() {
        let (listener, port) = listener();
        let mut core = Core::new();
        for session in 0..50 {
            let host = if session % 2 == 0 { "localhost" } else { "127.0.0.1" };
            assert!(matches!(core.start(session, host, port, ""), Dialed::Pending));
        }
        let mut connected: Vec<u32> = (0..50)
            .map(|_| match core.outcome() {
                (session, Dialed::Connected(_)) => session,
                other => panic!("{other:?}"),
            })
            .collect();
        connected.sort_unstable();
        assert_eq!(connected, (0..50).collect::<Vec<_>>());
        (0..50).for_each(|_| drop(listener.accept().unwrap()));
        assert_eq!(core.dialer.lookups.running, 0);
    }

    #[test]
    fn what_is_called_off_is_gone_once() {
        let (listener, port) = listener();
        let mut core = Core::new();
        // While its name is looked up: its number is free at once, and the answer is another's no more.
        for session in 0..20 {
            assert!(matches!(core.start(session, "localhost", port, ""), Dialed::Pending));
        }
        for session in 0..20 {
            assert!(matches!(core.dialer.call_off(session, &mut core.ring), Dialed::Gone));
            assert!(matches!(core.dialer.call_off(session, &mut core.ring), Dialed::Pending));
        }
        assert!(core.dialer.is_idle());
        assert!(matches!(core.start(0, "localhost", port, ""), Dialed::Pending));
        let (0, Dialed::Connected(_)) = core.outcome() else { panic!("the new one stands") };
        // While it is connected: whether or not the kernel was quicker. The queue of this listener is full.
        let full = socket(libc::AF_INET).unwrap();
        bind(&full, &SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).unwrap();
        // SAFETY: plain integers.
        check(unsafe { libc::listen(full.as_raw_fd(), 0) }).unwrap();
        let port = TcpListener::from(full.try_clone().unwrap()).local_addr().unwrap().port();
        for session in 0..4 {
            assert!(matches!(core.start(session, "127.0.0.1", port, ""), Dialed::Pending));
        }
        core.enter();
        for session in 0..4 {
            assert!(matches!(core.dialer.call_off(session, &mut core.ring), Dialed::Pending));
            assert!(core.dialer.is_dialing(session), "its number stays taken");
        }
        let mut gone: Vec<u32> = (0..4)
            .map(|_| match core.outcome() {
                (session, Dialed::Gone) => session,
                other => panic!("{other:?}"),
            })
            .collect();
        gone.sort_unstable();
        assert_eq!(gone, [0, 1, 2, 3]);
        assert!(core.dialer.is_idle());
        drop(listener);
    }
}
