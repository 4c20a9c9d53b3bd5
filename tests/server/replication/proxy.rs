//! A proxy between a replica and its primary, which can cut, slow and freeze what passes through it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    All,
    /// Control links, which greet with PING.
    Control,
    /// Flows.
    Flows,
    /// The connection of this number, in the order in which they came.
    Number(u64),
}

/// What happens when so much has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The connection is cut.
    Cut,
    /// All are frozen.
    Freeze,
}

/// A proxy. It ends with its owner, and with it what passes through it.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    is_over: AtomicBool,
    is_frozen: AtomicBool,
    /// Those that are.
    frozen: Mutex<Which>,
    /// New connections are ended at once.
    is_closed: AtomicBool,
    /// Microseconds that each piece waits.
    delay_us: AtomicU64,
    /// Whether a byte is changed in each large piece that a flow brings.
    damage: AtomicBool,
    /// How many bytes may still pass through those named before something happens.
    budget: AtomicI64,
    then: Mutex<(Which, Then)>,
    /// Connections are numbered; those below are to be ended.
    ended: AtomicU64,
    next: AtomicU64,
    cuts: AtomicU64,
    passed: AtomicU64,
}

/// A piece that is damaged is at least so long, so that it is one of a snapshot's values as a rule.
const LARGE: usize = 2000;

const NO_CUT: i64 = i64::MAX;

impl Proxy {
    pub(super) fn new(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            is_over: AtomicBool::new(false),
            is_frozen: AtomicBool::new(false),
            frozen: Mutex::new(Which::All),
            is_closed: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            damage: AtomicBool::new(false),
            budget: AtomicI64::new(NO_CUT),
            then: Mutex::new((Which::All, Then::Cut)),
            ended: AtomicU64::new(0),
            next: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        });
        let for_listener = shared.clone();
        std::thread::spawn(move || accept(&listener, &for_listener));
        Proxy { address, shared }
    }

    /// Connections from now on go there.
    pub(super) fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// When so many more bytes have passed through those connections, in both directions, the one that had the last is
    /// cut, in the middle of whatever it is.
    pub(super) fn cut_after(&self, bytes: u64, which: Which) {
        self.after(bytes, which, Then::Cut);
    }

    /// When so many more bytes have passed through those connections, in both directions, nothing passes any more.
    pub(super) fn freeze_after(&self, bytes: u64, which: Which) {
        self.after(bytes, which, Then::Freeze);
    }

    fn after(&self, bytes: u64, which: Which, then: Then) {
        *self.shared.then.lock().unwrap() = (which, then);
        self.shared.budget.store(bytes as i64, Ordering::SeqCst);
    }

    /// Takes back `cut_after` and `freeze_after`, and what there is of frost, delay and refusal.
    pub(super) fn heal(&self) {
        self.shared.budget.store(NO_CUT, Ordering::SeqCst);
        self.delay(Duration::ZERO);
        self.close(false);
        self.freeze(false);
    }

    /// Whether nothing passes.
    pub(super) fn is_frozen(&self) -> bool {
        self.shared.is_frozen.load(Ordering::SeqCst)
    }
    /// How many were cut by `cut_after`.
    pub(super) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many bytes have passed.
    pub(super) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// Cuts all connections that there are.
    pub(super) fn cut(&self) {
        self.shared.ended.store(self.shared.next.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How many connections there have been.
    pub(super) fn connections(&self) -> u64 {
        self.shared.next.load(Ordering::SeqCst)
    }

    /// Nothing passes through one connection, and nothing is cut.
    pub(super) fn freeze_one(&self, number: u64) {
        *self.shared.frozen.lock().unwrap() = Which::Number(number);
        self.shared.is_frozen.store(true, Ordering::SeqCst);
    }

    /// Nothing passes, and nothing is cut.
    pub(super) fn freeze(&self, is_frozen: bool) {
        *self.shared.frozen.lock().unwrap() = Which::All;
        self.shared.is_frozen.store(is_frozen, Ordering::SeqCst);
    }

    /// Whether new connections are refused.
    pub(super) fn close(&self, is_closed: bool) {
        self.shared.is_closed.store(is_closed, Ordering::SeqCst);
    }

    /// A byte is changed in each large piece that a flow brings.
    pub(super) fn damage(&self, is_damaging: bool) {
        self.shared.damage.store(is_damaging, Ordering::SeqCst);
    }

    /// Each piece is held up.
    pub(super) fn delay(&self, delay: Duration) {
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // It waits for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for replica in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(replica) = replica else { continue };
        let target = *shared.target.lock().unwrap();
        let number = shared.next.fetch_add(1, Ordering::SeqCst);
        if shared.is_closed.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(primary) = TcpStream::connect(target) else { continue };
        let is_control = Arc::new(AtomicBool::new(false));
        for (from, to, is_up) in [(&replica, &primary, true), (&primary, &replica, false)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (shared, is_control) = (shared.clone(), is_control.clone());
            std::thread::spawn(move || {
                pass(&from, &to, is_up, number, &is_control, &shared);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

/// Passes on what comes, until it ends or is to end.
fn pass(
    mut from: &TcpStream,
    to: &TcpStream,
    is_up: bool,
    number: u64,
    is_control: &AtomicBool,
    shared: &Shared,
) {
    from.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    to.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 16 << 10];
    let mut is_first = true;
    let is_meant = |which: Which| match which {
        Which::All => true,
        Which::Control => is_control.load(Ordering::SeqCst),
        Which::Flows => !is_control.load(Ordering::SeqCst),
        Which::Number(of) => of == number,
    };
    let is_ended = || shared.is_over.load(Ordering::SeqCst) || number < shared.ended.load(Ordering::SeqCst);
    loop {
        if is_ended() {
            return;
        }
        if shared.is_frozen.load(Ordering::SeqCst) && is_meant(*shared.frozen.lock().unwrap()) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let len = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        while shared.is_frozen.load(Ordering::SeqCst) && is_meant(*shared.frozen.lock().unwrap()) {
            if is_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if std::mem::take(&mut is_first) && is_up {
            is_control.store(buffer.starts_with(b"*1\r\n$4\r\nPING"), Ordering::SeqCst);
        }
        if shared.damage.load(Ordering::SeqCst) && !is_up && len >= LARGE && is_meant(Which::Flows) {
            buffer[len / 2] ^= 0x40;
        }
        let delay = shared.delay_us.load(Ordering::SeqCst);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay));
        }
        let (which, then) = *shared.then.lock().unwrap();
        let mut allowed = len;
        if is_meant(which) && shared.budget.load(Ordering::SeqCst) != NO_CUT {
            let left = shared.budget.fetch_sub(len as i64, Ordering::SeqCst);
            allowed = len.min(left.max(0) as usize);
        }
        let (now, later) = buffer[..len].split_at(allowed);
        if !pass_on(to, now, is_ended) {
            return;
        }
        shared.passed.fetch_add(allowed as u64, Ordering::SeqCst);
        if later.is_empty() {
            continue;
        }
        shared.budget.store(NO_CUT, Ordering::SeqCst);
        match then {
            Then::Cut => {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Then::Freeze => {
                *shared.frozen.lock().unwrap() = Which::All;
                shared.is_frozen.store(true, Ordering::SeqCst);
            }
        }
        while shared.is_frozen.load(Ordering::SeqCst) && !is_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !pass_on(to, later, is_ended) {
            return;
        }
        shared.passed.fetch_add(later.len() as u64, Ordering::SeqCst);
    }
}

/// Sends all of it; false if the connection is gone, or is to end.
fn pass_on(mut to: &TcpStream, mut rest: &[u8], is_ended: impl Fn() -> bool) -> bool {
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if is_ended() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
