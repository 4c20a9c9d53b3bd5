//! The loop of one core.
//!
//! A pass: enter the kernel once (which submits the sends of the last pass and collects what has happened since), hand
//! what was received to the host, deliver the other cores' mail, let the host settle, put its mail into the rings,
//! queue its replies as sends. If nothing is left to do, the next enter sleeps in our own ring: a socket, the timer, or
//! another core's message ends the sleep. glommio's reactor gets its turn at every tick of the timer.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::types::Timespec;
use io_uring::{opcode, types};

use super::boot::Shared;
use super::buffers::Buffers;
use super::clock::{Clock, Tsc};
use super::connections::{Connection, Connections, Next};
use super::dial::{Destination, Dialed, Dialer};
use super::disk::Disk;
use super::listen::Listener;
use super::mesh::End;
use super::ring::{buffer_of, goes_on, Completion, Kind, Ring, Tag};
use super::sockets::prepare;
use super::{log, rss};
use crate::base::ids::CoreId;
use crate::base::time::MonoUs;
use crate::host::batch::Received;
use crate::host::cron::Usage;
use crate::host::{Departure, Effect, Host, Mail};
use crate::session::{State, Wait};
use crate::storage::op::{Job, Outcome};

/// How often a core asks the kernel what the process uses, for INFO.
const USAGE_PERIOD_US: u64 = 1_000_000;

/// How long the executor may sleep without being asked to.
const EXECUTOR_SLEEP_MAX: std::time::Duration = std::time::Duration::from_millis(10);

/// How long a stopping core waits for the kernel to give its connections back.
const STOP_US_MAX: u64 = 2_000_000;

/// What travels between cores.
pub enum Post {
    /// A host's mail.
    Mail(Mail),
    /// A new connection, placed on the receiver by the acceptor.
    Connection {
        /// The socket.
        fd: RawFd,
        /// Which listener it came from.
        listener: u32,
    },
    /// A connection that leaves the sender for the receiver; it is counted there already.
    Moved {
        /// The socket.
        fd: OwnedFd,
        /// Its session.
        departure: Departure,
    },
}

/// One core at work.
pub struct Core {
    shared: Arc<Shared>,
    id: CoreId,
    host: Host<Tsc>,
    clock: Clock,
    ring: Ring,
    buffers: Buffers,
    end: End<Post>,
    /// By session number.
    connections: Connections,
    /// The connections that are being made.
    dialer: Dialer,
    /// Sessions whose output was queued in this pass.
    sent: Vec<u32>,
    /// Whether one of them does something else once its output has left. A send that succeeds has no completion: the
    /// core must not sleep on it.
    sent_is_awaited: bool,
    dirty: Vec<u32>,
    effects: Vec<Effect>,
    completions: Vec<Completion>,
    disk: Disk,
    outcomes: Vec<Outcome>,
    jobs: Vec<Job>,
    /// What the pass received; empty outside of `complete`, when the bytes are the kernel's again.
    received: Vec<Received<'static>>,
    /// Receives that ended and are armed again when buffers are back.
    rearm: Vec<u32>,
    /// Connections that another core's ring had no room for.
    unplaced: Vec<(CoreId, Post)>,
    /// On core 0: the listeners, and those whose accept has ended.
    listeners: Vec<Listener>,
    rearm_accept: Vec<u32>,
    signal_fd: Option<RawFd>,
    signal_info: Box<libc::signalfd_siginfo>,
    is_told_to_stop: bool,
    next_tick: MonoUs,
    next_usage: MonoUs,
    last_useful: MonoUs,
    /// Set once the server stops: when this core gives up waiting for the kernel.
    stop_by: Option<MonoUs>,
}

impl Core {
    /// The core's parts, made on its own thread.
    ///
    /// # Errors
    /// The kernel refuses the ring or its buffers.
    pub fn new(
        shared: Arc<Shared>,
        id: CoreId,
        host: Host<Tsc>,
        listeners: Vec<Listener>,
        end: End<Post>,
    ) -> std::io::Result<Core> {
        let ring = Ring::new()?;
        let buffers = Buffers::new(&ring)?;
        let signal_fd = (id == CoreId(0)).then_some(shared.signal_fd);
        // SAFETY: zeroed bytes are a valid signalfd_siginfo, which the kernel overwrites.
        let signal_info = Box::new(unsafe { std::mem::zeroed() });
        Ok(Core {
            clock: shared.clock,
            shared,
            id,
            host,
            ring,
            buffers,
            end,
            connections: Connections::default(),
            dialer: Dialer::default(),
            sent: Vec::new(),
            sent_is_awaited: false,
            dirty: Vec::new(),
            effects: Vec::new(),
            completions: Vec::new(),
            disk: Disk::default(),
            outcomes: Vec::new(),
            jobs: Vec::new(),
            received: Vec::new(),
            rearm: Vec::new(),
            unplaced: Vec::new(),
            listeners,
            rearm_accept: Vec::new(),
            signal_fd,
            signal_info,
            is_told_to_stop: false,
            next_tick: MonoUs(0),
            next_usage: MonoUs(0),
            last_useful: MonoUs(0),
            stop_by: None,
        })
    }

    /// Runs until the server stops.
    pub async fn run(mut self) {
        self.end.set_ring_fd(self.ring.fd());
        for index in 0..self.listeners.len() as u32 {
            self.arm_accept(index);
        }
        self.arm_signal();
        // The executor has been seen to sleep with this task ready to go on, for ever: a timer that is always set
        // bounds that.
        glommio::spawn_local(async {
            loop {
                glommio::timer::sleep(EXECUTOR_SLEEP_MAX).await;
            }
        })
        .detach();
        self.host.set_now(self.clock.now());
        self.host.start();
        let mut wait = None;
        loop {
            self.ring.enter(wait, &mut self.completions);
            let now = self.clock.now();
            self.host.set_now(now);
            if self.host.has_memory_limit() {
                self.look_at_memory();
            }
            let mut useful = self.finish_sends();
            useful |= self.complete();
            self.finish_jobs();
            useful |= self.take_mail();
            if now.mono >= self.next_tick {
                self.tick(now.mono);
                glommio::executor().yield_task_queue_now().await;
            }
            let more_work = self.host.work();
            self.host.settle();
            self.start_jobs();
            if self.host.has_memory_limit() {
                self.show_memory();
            }
            useful |= self.send_mail();
            self.carry_out();
            // Before sends are queued: it forgets connections, and a queued send points to its session's output.
            if self.end.mesh().is_stopping() && self.stop() {
                return;
            }
            self.queue_sends();
            self.rearm_receives();
            if useful {
                self.last_useful = now.mono;
            }
            let pass_us = self.clock.mono().since(now.mono);
            self.host.passed(pass_us, self.ring.enters);
            wait = (!more_work && self.may_sleep(now.mono)).then(|| self.time_to_tick(now.mono));
        }
    }

    /// Tells the host of the jobs on files that have ended.
    fn finish_jobs(&mut self) {
        self.disk.take_outcomes(&mut self.outcomes);
        for outcome in std::mem::take(&mut self.outcomes) {
            self.host.file_done(outcome);
        }
    }

    /// Begins the jobs on files that the pass has brought.
    fn start_jobs(&mut self) {
        self.host.take_jobs(&mut self.jobs);
        for job in std::mem::take(&mut self.jobs) {
            self.disk.start(job, &mut self.ring);
        }
    }

    /// Whether there is nothing to do until the kernel or another core says so. Spins first where `spin-us` asks for
    /// it.
    fn may_sleep(&mut self, now: MonoUs) -> bool {
        if std::mem::take(&mut self.sent_is_awaited) || !self.unplaced.is_empty() || self.has_mail_left() {
            return false;
        }
        if self.shared.spin_us > 0 {
            // What was queued must not wait for the spin.
            if self.ring.has_unsubmitted() {
                return false;
            }
            self.host.spins();
            if self.spin(now) {
                return false;
            }
        }
        let may_sleep = self.shared.cores == 1 || self.end.park(self.host.awaits_release());
        if may_sleep && self.host.has_memory_limit() {
            // Another core may have found us still awake when it wanted us to free some.
            if !self.host.may_sleep(self.shared.others_memory(self.id)) {
                self.end.unpark();
                return false;
            }
        }
        if may_sleep {
            self.host.parks();
        }
        may_sleep
    }

    /// Whether there is mail for which a ring had no room.
    fn has_mail_left(&mut self) -> bool {
        self.others().any(|to| !self.host.mail_for(to).is_empty())
    }

    /// Looks for news in shared memory until `spin-us` have passed since there was something to do. Whether there is.
    fn spin(&mut self, now: MonoUs) -> bool {
        let mut now = now;
        while now.since(self.last_useful) < self.shared.spin_us && now < self.next_tick {
            // Many looks per reading of the clock.
            for _ in 0..32 {
                if self.ring.has_news() || !self.end.is_empty() {
                    return true;
                }
                std::hint::spin_loop();
            }
            now = self.clock.mono();
        }
        false
    }

    fn time_to_tick(&self, now: MonoUs) -> Timespec {
        // A blocked client's time may be up earlier.
        let us = self.next_tick.since(now).min(self.host.us_to_deadline()).max(1);
        Timespec::new().sec(us / 1_000_000).nsec((us % 1_000_000) as u32 * 1000)
    }

    /// The sends of the last pass have been submitted: their buffers are free, or the rest goes the slow way.
    fn finish_sends(&mut self) -> bool {
        if self.shared.cores > 1 {
            self.end.unpark();
        }
        for completion in &self.completions {
            if completion.tag.kind == Kind::SendNow {
                if let Some(connection) = self.connections.get_mut(completion.tag.index) {
                    connection.send_fell_short(completion.result);
                }
            }
        }
        let mut sent = std::mem::take(&mut self.sent);
        for index in sent.drain(..) {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            let Some(output) = self.host.output(index) else { continue };
            let good = connection.after_send(index, output, &mut self.ring);
            if !good {
                self.drop_connection(index);
                continue;
            }
            let unsent = connection.unsent_bytes();
            self.host.sent(index, unsent);
            let has_output = self.host.output(index).is_some_and(|output| !output.is_empty());
            let next = connection.flushed(index, has_output, &mut self.ring);
            self.follow(index, next);
            self.depart_if_ready(index);
        }
        self.sent = sent;
        false
    }

    /// Takes the completions of the last enter.
    fn complete(&mut self) -> bool {
        let completions = std::mem::take(&mut self.completions);
        let mut received = std::mem::take(&mut self.received);
        for completion in &completions {
            let index = completion.tag.index;
            match completion.tag.kind {
                Kind::Receive => {
                    if let Some(bytes) = self.on_receive(index, completion) {
                        received.push(Received { session: index, bytes });
                    }
                }
                Kind::SendAll => self.on_sent(index, completion.result),
                Kind::Accept => self.on_accept(index, completion),
                Kind::Signal if completion.result <= 0 => self.arm_signal(),
                Kind::Signal => self.on_signal(),
                Kind::Connect => {
                    let outcome = self.dialer.on_connect(index, completion.result, &mut self.ring);
                    self.dialed(index, outcome);
                }
                Kind::Lookup => {
                    for (index, outcome) in self.dialer.on_lookup(&mut self.ring) {
                        self.dialed(index, outcome);
                    }
                }
                Kind::Disk => self.disk.complete(index, completion.result, &mut self.ring),
                Kind::SendNow | Kind::Wake | Kind::Timer | Kind::Ignored => {}
            }
        }
        if !received.is_empty() {
            self.host.receive(&received);
            received.clear();
        }
        self.received = received;
        // What was received has been taken: the buffers go back, and connections that ended are told so only now.
        let mut returned = false;
        for completion in &completions {
            if completion.tag.kind != Kind::Receive {
                continue;
            }
            if let Some(id) = buffer_of(completion.flags) {
                self.buffers.recycle(id);
                returned = true;
            }
            if !goes_on(completion.flags) {
                self.receive_ended(completion);
            }
        }
        if returned {
            self.buffers.publish();
        }
        let useful = !completions.is_empty();
        self.completions = completions;
        self.completions.clear();
        useful
    }

    fn on_receive(&mut self, index: u32, completion: &Completion) -> Option<&'static [u8]> {
        let id = buffer_of(completion.flags)?;
        let len = usize::try_from(completion.result).ok()?;
        // SAFETY: a successful receive into this buffer; it is recycled at the end of `complete`, after the bytes have
        // been taken, and completions are taken in their order.
        let bytes = unsafe { self.buffers.bytes(id, len) };
        let connection = self.connections.get(index)?;
        (!connection.is_closing() && len > 0).then_some(bytes)
    }

    /// A multishot receive is over: the client has ended, the buffers had run out, or we have cancelled it.
    fn receive_ended(&mut self, completion: &Completion) {
        let index = completion.tag.index;
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.receive_ended();
        if connection.is_closing() {
            let next = connection.closed();
            self.follow(index, next);
            return;
        }
        match completion.result {
            // A stream's receive of nothing is its end, whatever SOCK_NONEMPTY says: Linux 6.18 sets it then, too.
            0 => {
                connection.end_of_input();
                self.host.end_of_input(index);
            }
            result if result >= 0 || is_passing(-result) => {
                if result == -libc::ENOBUFS {
                    self.buffers.grow();
                }
                self.rearm.push(index);
            }
            _ => self.drop_connection(index),
        }
        self.depart_if_ready(index);
    }

    fn rearm_receives(&mut self) {
        for index in std::mem::take(&mut self.rearm) {
            if let Some(connection) = self.connections.get_mut(index) {
                connection.arm(index, &mut self.ring);
            }
        }
    }

    fn on_sent(&mut self, index: u32, result: i32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let good = connection.on_sent(index, result, &mut self.ring);
        if connection.is_closing() {
            let next = connection.closed();
            self.follow(index, next);
            return;
        }
        if !good {
            self.drop_connection(index);
            return;
        }
        let unsent = connection.unsent_bytes();
        let has_output = self.host.output(index).is_some_and(|output| !output.is_empty());
        if unsent == 0 && has_output {
            // Once: a session that is twice on the list would send the same bytes twice.
            if let Some(session) = self.host.session(index).filter(|session| !session.dirty) {
                session.dirty = true;
                self.dirty.push(index);
            }
        }
        let next = connection.flushed(index, has_output, &mut self.ring);
        self.host.sent(index, unsent);
        self.follow(index, next);
        self.depart_if_ready(index);
    }

    /// Queues the output of the sessions that have some.
    fn queue_sends(&mut self) {
        self.host.take_dirty(&mut self.dirty);
        for index in std::mem::take(&mut self.dirty) {
            let Some(session) = self.host.session(index) else { continue };
            session.dirty = false;
            let Some(connection) = self.connections.get_mut(index) else {
                // What is written before a connection stands leaves when it does.
                if !self.dialer.is_dialing(index) {
                    session.replies.out.clear();
                }
                continue;
            };
            if !connection.can_send() || session.replies.out.is_empty() {
                continue;
            }
            // SAFETY: nothing touches the output before the next `enter`, which is the next thing that the loop does
            // with the host; `finish_sends` follows it.
            unsafe { connection.send_now(index, &session.replies.out, &mut self.ring) };
            self.sent.push(index);
            let is_idle = matches!(session.state, State::Open | State::Waiting(Wait::Link));
            self.sent_is_awaited |= connection.is_flushing() || !is_idle || session.goes_on_when_sent;
            let bytes = session.replies.out.len() as u64;
            self.host.count_send(bytes);
        }
    }

    fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let id = self.id;
        (0..self.shared.cores).map(CoreId).filter(move |&other| other != id)
    }

    fn take_mail(&mut self) -> bool {
        let mut any = false;
        for from in self.others() {
            while let Some(post) = self.end.pop(from) {
                any = true;
                match post {
                    Post::Mail(mail) => self.host.deliver(from, mail),
                    Post::Connection { fd, listener } => self.adopt(fd, listener),
                    Post::Moved { fd, departure } => self.arrive(fd, departure),
                }
            }
        }
        any
    }

    fn send_mail(&mut self) -> bool {
        let mut any = false;
        for to in self.others() {
            // Whether mail was put, and whether some of it is more than can wait.
            let (mut put, mut urgent) = (false, false);
            for at in (0..self.unplaced.len()).rev() {
                if self.unplaced[at].0 == to {
                    let (_, post) = self.unplaced.swap_remove(at);
                    match self.end.push(to, post) {
                        Ok(()) => (put, urgent) = (true, true),
                        Err(post) => self.unplaced.push((to, post)),
                    }
                }
            }
            while let Some(mail) = self.host.mail_for(to).pop_front() {
                let can_wait = mail.can_wait();
                match self.end.push(to, Post::Mail(mail)) {
                    Ok(()) => {
                        put = true;
                        urgent |= !can_wait;
                    }
                    Err(Post::Mail(mail)) => {
                        // It is full, also where it is full of what can wait.
                        (put, urgent) = (true, true);
                        self.host.mail_for(to).push_front(mail);
                        break;
                    }
                    Err(Post::Connection { .. } | Post::Moved { .. }) => {
                        unreachable!("mail comes back as mail")
                    }
                }
            }
            if put {
                any = true;
                self.wake(to, !urgent);
            }
        }
        if self.host.takes_asks() {
            self.others().for_each(|to| self.wake(to, false));
        }
        any
    }

    fn wake(&mut self, to: CoreId, can_wait: bool) {
        if let Some(fd) = self.end.to_wake(to, can_wait) {
            let tag = Tag { kind: Kind::Wake, index: 0 };
            let entry = opcode::MsgRingData::new(types::Fd(fd), 0, tag.user_data(), None)
                .build()
                .flags(io_uring::squeue::Flags::SKIP_SUCCESS)
                .user_data(Tag { kind: Kind::Ignored, index: 0 }.user_data());
            // SAFETY: the entry points to no memory.
            unsafe { self.ring.push(&entry) };
            self.host.woke();
        }
    }

    fn carry_out(&mut self) {
        self.host.take_effects(&mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Connect { session, host, port, source } => {
                    let to = Destination { host, port, source };
                    let outcome = match self.stop_by {
                        None => self.dialer.start(session, to, &mut self.ring),
                        Some(_) => Dialed::Failed("The server is stopping".to_owned()),
                    };
                    self.dialed(session, outcome);
                }
                Effect::Move { session, to } => {
                    if let Some(connection) = self.connections.get_mut(session) {
                        connection.begin_move(session, to, &mut self.ring);
                        self.depart_if_ready(session);
                    }
                }
                Effect::Close { session, flush: true } if !self.dialer.is_dialing(session) => {
                    let has_output = self.host.output(session).is_some_and(|output| !output.is_empty());
                    if let Some(connection) = self.connections.get_mut(session) {
                        let next = connection.flush_and_close(session, has_output, &mut self.ring);
                        self.follow(session, next);
                    }
                }
                Effect::Close { session, .. } => self.drop_connection(session),
                Effect::Throttle(session) => {
                    if let Some(connection) = self.connections.get_mut(session) {
                        connection.throttle(session, &mut self.ring);
                    }
                }
                Effect::Unthrottle(session) => {
                    if let Some(connection) = self.connections.get_mut(session) {
                        connection.unthrottle(session, &mut self.ring);
                    }
                }
                Effect::Gather(session) => {
                    if let Some(connection) = self.connections.get_mut(session) {
                        connection.gather();
                    }
                }
                Effect::Fail(reason) => {
                    tracing::error!("Fatal error: {reason}");
                    self.shared.fail(reason);
                    self.shut_down();
                }
                Effect::Configured => self.configured(),
                Effect::Shutdown => self.shut_down(),
                Effect::Sleep { us, asker, number } => {
                    std::thread::sleep(std::time::Duration::from_micros(us));
                    self.host.slept(asker, number);
                }
                Effect::Enter { dir, dbfilename } => {
                    let result = self.shared.enter(&dir, &dbfilename, self.host.config());
                    self.host.entered(result);
                }
                Effect::Rewrite { session } => {
                    let result = self.shared.rewrite_config(self.host.config());
                    self.host.rewritten(session, result);
                }
            }
        }
    }

    fn configured(&mut self) {
        let config = self.host.config();
        log::set_level(config.process.loglevel);
        if self.id == CoreId(0) {
            self.shared.set_maxclients(config.clients.maxclients);
        }
    }

    fn follow(&mut self, index: u32, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Gone => {
                if self.connections.remove(index).is_some_and(|connection| connection.is_client()) {
                    self.end.displace();
                }
                self.host.disconnected(index);
            }
        }
    }

    fn drop_connection(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index) {
            let next = connection.close(index, &mut self.ring);
            self.follow(index, next);
        } else {
            let outcome = self.dialer.call_off(index, &mut self.ring);
            self.dialed(index, outcome);
        }
    }

    /// Something has become of a connection that we make.
    fn dialed(&mut self, index: u32, outcome: Dialed) {
        match outcome {
            Dialed::Pending => {}
            Dialed::Connected(fd) => {
                let keepalive_secs = self.host.config().network.tcp_keepalive_secs;
                let peer = prepare(fd.as_raw_fd(), None, keepalive_secs);
                let mut connection = Connection::outgoing(fd);
                connection.arm(index, &mut self.ring);
                self.connections.insert(index, connection);
                self.host.dialed(index, Ok(peer));
            }
            Dialed::Failed(reason) => self.host.dialed(index, Err(reason)),
            Dialed::Unresolved(reason) => self.host.unresolved(index, reason),
            Dialed::Gone => self.host.disconnected(index),
        }
    }

    /// Sends a connection that is to move on its way, if nothing of it is under way here. To be called where no fast
    /// send of it can be under way.
    fn depart_if_ready(&mut self, index: u32) {
        let Some(to) = self.connections.get(index).and_then(Connection::can_move) else { return };
        let Some(departure) = self.host.depart(index) else { return };
        let Some(connection) = self.connections.remove(index) else { return };
        self.end.displace();
        self.end.place(to);
        self.unplaced.push((to, Post::Moved { fd: connection.into_socket(), departure }));
    }

    /// A connection that has come from another core.
    fn arrive(&mut self, fd: OwnedFd, departure: Departure) {
        if self.stop_by.is_some() {
            self.end.displace();
            return;
        }
        let is_at_end = departure.is_at_end();
        let index = self.host.arrive(departure);
        let mut connection = Connection::new(fd);
        if is_at_end {
            connection.end_of_input();
        }
        connection.arm(index, &mut self.ring);
        self.connections.insert(index, connection);
    }

    fn arm_accept(&mut self, index: u32) {
        let fd = self.listeners[index as usize].fd();
        let tag = Tag { kind: Kind::Accept, index };
        let entry = opcode::AcceptMulti::new(types::Fd(fd))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(tag.user_data());
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(&entry) };
    }

    /// A connection has come in; it goes to the core with the fewest.
    fn on_accept(&mut self, listener: u32, completion: &Completion) {
        if !goes_on(completion.flags) {
            // Armed again at the next tick: if descriptors have run out, sooner would only fail again.
            self.rearm_accept.push(listener);
        }
        let fd = completion.result;
        if fd < 0 {
            if fd != -libc::ECANCELED {
                let error = std::io::Error::from_raw_os_error(-fd);
                tracing::debug!("Accepting client connection: {error}");
            }
            return;
        }
        if self.end.mesh().connections() >= self.shared.maxclients() {
            refuse(fd, b"-ERR max number of clients reached\r\n");
            self.host.rejected();
            return;
        }
        let to = self.end.least_connected();
        self.end.place(to);
        if to == self.id {
            self.adopt(fd, listener);
        } else {
            self.unplaced.push((to, Post::Connection { fd, listener }));
        }
    }

    /// A connection that was placed on this core.
    fn adopt(&mut self, fd: RawFd, listener: u32) {
        if self.stop_by.is_some() {
            refuse(fd, b"");
            self.end.displace();
            return;
        }
        let path = self.shared.listener_paths.get(listener as usize).and_then(Option::as_deref);
        let keepalive_secs = self.host.config().network.tcp_keepalive_secs;
        let peer = prepare(fd, path, keepalive_secs);
        match self.host.connect(peer) {
            Err(text) => {
                refuse(fd, text.as_bytes());
                self.end.displace();
            }
            Ok(index) => {
                // SAFETY: the accept has given it to us.
                let mut connection = Connection::new(unsafe { OwnedFd::from_raw_fd(fd) });
                connection.arm(index, &mut self.ring);
                self.connections.insert(index, connection);
            }
        }
    }

    fn arm_signal(&mut self) {
        let Some(fd) = self.signal_fd else { return };
        let len = std::mem::size_of::<libc::signalfd_siginfo>() as u32;
        let to = (&raw mut *self.signal_info).cast::<u8>();
        let tag = Tag { kind: Kind::Signal, index: 0 };
        let entry = opcode::Read::new(types::Fd(fd), to, len).build().user_data(tag.user_data());
        // SAFETY: `signal_info` is boxed and lives as long as the ring; nothing else touches it.
        unsafe { self.ring.push(&entry) };
    }

    fn on_signal(&mut self) {
        let name = match self.signal_info.ssi_signo as i32 {
            libc::SIGINT => "SIGINT",
            _ => "SIGTERM",
        };
        if std::mem::replace(&mut self.is_told_to_stop, true) {
            tracing::warn!("You insist... exiting now.");
            std::process::exit(1);
        }
        tracing::warn!("Received {name} scheduling shutdown...");
        self.host.stop_by_signal(name == "SIGINT");
        self.arm_signal();
    }

    /// Tells all cores to stop.
    fn shut_down(&mut self) {
        self.end.mesh().stop();
        for to in self.others() {
            self.wake(to, false);
        }
    }

    /// The server stops: connections are ended, and when the kernel has given everything back so does the loop.
    fn stop(&mut self) -> bool {
        if self.stop_by.is_none() {
            self.stop_by = Some(MonoUs(self.clock.mono().0 + STOP_US_MAX));
            self.listeners.iter().for_each(Listener::stop);
            self.listeners.clear();
            for index in self.connections.indexes().into_iter().chain(self.dialer.sessions()) {
                self.drop_connection(index);
            }
        }
        // What the kernel still reads or writes must stay where it is.
        self.connections.is_empty() && self.dialer.is_idle() && self.disk.is_idle()
            || self.stop_by.is_some_and(|by| self.clock.mono() >= by)
    }

    /// Shows the other cores what this one's data and buffers take; at every pass where memory is limited, else at
    /// ticks.
    fn show_memory(&mut self) {
        self.shared.publish_memory(self.id, self.host.memory_gauge());
    }

    /// Looks at what the others have shown.
    fn look_at_memory(&mut self) {
        self.host.set_others_memory(self.shared.others_memory(self.id));
    }

    fn tick(&mut self, now: MonoUs) {
        self.clock.adjust();
        let hz = u64::from(self.host.config().process.hz.clamp(1, 500));
        self.next_tick = MonoUs(now.0 + 1_000_000 / hz);
        if now >= self.next_usage {
            self.next_usage = MonoUs(now.0 + USAGE_PERIOD_US);
            let (cpu_user_us, cpu_sys_us) = rss::cpu_us();
            self.host.set_usage(Usage { rss_bytes: rss::resident_bytes(), cpu_user_us, cpu_sys_us });
        }
        self.show_memory();
        self.look_at_memory();
        self.host.tick();
        for index in std::mem::take(&mut self.rearm_accept) {
            if self.stop_by.is_none() {
                self.arm_accept(index);
            }
        }
    }
}

/// Tells a connection why it is not served, as far as it takes it at once, and closes it.
fn refuse(fd: RawFd, text: &[u8]) {
    // SAFETY: the text is valid for its length, the descriptor ours; it is not used after the close.
    unsafe {
        libc::send(fd, text.as_ptr().cast(), text.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        libc::close(fd);
    }
}

fn is_passing(errno: i32) -> bool {
    matches!(errno, libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED)
}
