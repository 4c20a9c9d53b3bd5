//! A core's sockets: what the kernel has under way for each, and the way of its replies out.
//!
//! A connection has the number of its session. Its life: `Live`, then `Closing` once either side has ended it; the
//! socket is shut down, the kernel's operations on it come back, and only then is it closed and its number free. One
//! that is `Moving` to another core goes there, with its socket, when the kernel has nothing of it under way.
//!
//! Replies leave by a send that must be over at once (MSG_DONTWAIT with MSG_WAITALL, completion only on failure): the
//! buffer is free again when `enter` has returned, and a pass needs no second system call to learn so. What the
//! socket does not take goes the slow way: a send of a buffer of its own that the kernel finishes when the client
//! reads.

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};

use super::buffers::GROUP;
use super::ring::{Kind, Ring, Tag};
use super::sockets::set_option;
use crate::base::ids::CoreId;

/// One socket.
#[derive(Debug)]
pub struct Connection {
    /// Closed with it.
    fd: OwnedFd,
    state: State,
    /// Whether it is counted among the clients' connections.
    is_client: bool,
    /// Whether a multishot receive is armed.
    receiving: bool,
    /// Whether one should be.
    wants_receive: bool,
    /// The slow way: bytes under way, and how many of them have left.
    sending: Option<Sending>,
    /// What the fast way's send did, if it did not take everything.
    fell_short: Option<i32>,
}

#[derive(Debug)]
struct Sending {
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// To go to this core, when its output has left and its receive is over.
    Moving(CoreId),
    /// To be closed when its output has left.
    Flushing,
    /// Shut down; waits for the kernel to return what it has under way.
    Closing,
}

/// A core's connections, by the number of their session.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Vec<Option<Connection>>,
    count: usize,
}

impl Connections {
    /// The connection of this number.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Connection> {
        self.slots.get(index as usize)?.as_ref()
    }

    /// The connection of this number.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Puts a connection under a number that is free.
    pub fn insert(&mut self, index: u32, connection: Connection) {
        let index = index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        debug_assert!(self.slots[index].is_none(), "session {index} has a connection already");
        self.slots[index] = Some(connection);
        self.count += 1;
    }

    /// Takes a connection out. To drop it closes its socket.
    pub fn remove(&mut self, index: u32) -> Option<Connection> {
        let connection = self.slots.get_mut(index as usize)?.take()?;
        self.count -= 1;
        Some(connection)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The numbers of all.
    pub fn indexes(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|&index| self.get(index).is_some()).collect()
    }
}

/// What `Connection`'s operations need done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Nothing.
    Nothing,
    /// The connection is over and nothing of it is under way: forget it.
    Gone,
}

/// A client that has this much unread output is sent no more than this at once.
const SEND_BYTES_MAX: usize = 1 << 30;

impl Connection {
    /// A client's socket.
    pub fn new(fd: OwnedFd) -> Self {
        Connection {
            fd,
            state: State::Live,
            is_client: true,
            receiving: false,
            wants_receive: true,
            sending: None,
            fell_short: None,
        }
    }

    /// The socket of a connection that we have made.
    pub fn outgoing(fd: OwnedFd) -> Self {
        Connection { is_client: false, ..Connection::new(fd) }
    }

    /// Whether it is counted among the clients' connections.
    pub fn is_client(&self) -> bool {
        self.is_client
    }

    /// Arms the receive if it should be and is not.
    pub fn arm(&mut self, index: u32, ring: &mut Ring) {
        let may_receive = matches!(self.state, State::Live | State::Flushing);
        if !may_receive || self.receiving || !self.wants_receive {
            return;
        }
        self.receiving = true;
        let tag = Tag { kind: Kind::Receive, index };
        let entry =
            opcode::RecvMulti::new(types::Fd(self.fd.as_raw_fd()), GROUP).build().user_data(tag.user_data());
        // SAFETY: the entry points to no memory; the kernel takes buffers from the registered ring.
        unsafe { ring.push(&entry) };
    }

    /// The multishot receive has ended, for whatever reason.
    pub fn receive_ended(&mut self) {
        self.receiving = false;
    }

    /// Receives nothing more for now. Bytes may still come until the kernel has stopped.
    pub fn throttle(&mut self, index: u32, ring: &mut Ring) {
        self.wants_receive = false;
        self.cancel_receive(index, ring);
    }

    fn cancel_receive(&mut self, index: u32, ring: &mut Ring) {
        if self.receiving {
            let tag = Tag { kind: Kind::Receive, index };
            let ignored = Tag { kind: Kind::Ignored, index };
            let entry = opcode::AsyncCancel::new(tag.user_data()).build().user_data(ignored.user_data());
            // SAFETY: the entry points to no memory.
            unsafe { ring.push(&entry) };
        }
    }

    /// Small packets wait until they are more, or what was sent before has arrived (Nagle's algorithm).
    pub fn gather(&self) {
        set_option(self.fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 0);
    }

    /// Receives again.
    pub fn unthrottle(&mut self, index: u32, ring: &mut Ring) {
        self.wants_receive = true;
        self.arm(index, ring);
    }

    /// The client has sent its last byte.
    pub fn end_of_input(&mut self) {
        self.wants_receive = false;
    }

    /// Whether output can go the fast way now.
    pub fn can_send(&self) -> bool {
        self.sending.is_none() && self.state != State::Closing
    }

    /// Whether output is under way the slow way.
    pub fn unsent_bytes(&self) -> usize {
        self.sending.as_ref().map_or(0, |sending| sending.bytes.len() - sending.sent)
    }

    /// Sends `output` the fast way.
    ///
    /// # Safety
    /// `output` must not be touched before the next `enter` has returned; `after_send` follows then.
    pub unsafe fn send_now(&mut self, index: u32, output: &[u8], ring: &mut Ring) {
        debug_assert!(self.can_send());
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL;
        let len = output.len().min(SEND_BYTES_MAX) as u32;
        let tag = Tag { kind: Kind::SendNow, index };
        let entry = opcode::Send::new(types::Fd(self.fd.as_raw_fd()), output.as_ptr(), len)
            .flags(flags)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(tag.user_data());
        // SAFETY: the caller keeps the bytes until `enter` has returned; with MSG_DONTWAIT the kernel is done by then.
        unsafe { ring.push(&entry) };
    }

    /// The fast way's send took less than everything: `result` bytes, or a negated errno.
    pub fn send_fell_short(&mut self, result: i32) {
        self.fell_short = Some(result);
    }

    /// After the `enter` that followed `send_now`: takes what has left out of `output`, and sends the rest the slow
    /// way. Whether the connection is still good.
    pub fn after_send(&mut self, index: u32, output: &mut Vec<u8>, ring: &mut Ring) -> bool {
        let sent = match self.fell_short.take() {
            None => output.len().min(SEND_BYTES_MAX),
            Some(result) if result >= 0 => result as usize,
            Some(result) if result == -libc::EAGAIN || result == -libc::EINTR => 0,
            Some(_) => return false,
        };
        if sent == output.len() {
            output.clear();
            if output.capacity() > KEEP_BYTES_MAX {
                *output = Vec::new();
            }
            return true;
        }
        self.sending = Some(Sending { bytes: std::mem::take(output), sent });
        self.send_rest(index, ring);
        true
    }

    fn send_rest(&mut self, index: u32, ring: &mut Ring) {
        let Some(sending) = &self.sending else { return };
        let rest = &sending.bytes[sending.sent..];
        let len = rest.len().min(SEND_BYTES_MAX) as u32;
        let tag = Tag { kind: Kind::SendAll, index };
        let entry = opcode::Send::new(types::Fd(self.fd.as_raw_fd()), rest.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data(tag.user_data());
        // SAFETY: the bytes are owned by `sending`, which is neither changed nor dropped before this send's completion:
        // `on_sent` takes it then, and the connection is forgotten only once nothing is under way.
        unsafe { ring.push(&entry) };
    }

    /// The slow way's send has completed. Whether the connection is still good.
    pub fn on_sent(&mut self, index: u32, result: i32, ring: &mut Ring) -> bool {
        let Some(sending) = &mut self.sending else { return true };
        if result < 0 && result != -libc::EINTR && result != -libc::EAGAIN {
            self.sending = None;
            return false;
        }
        sending.sent += result.max(0) as usize;
        if sending.sent == sending.bytes.len() {
            self.sending = None;
        } else if self.state == State::Closing {
            self.sending = None;
            return false;
        } else {
            self.send_rest(index, ring);
        }
        true
    }

    /// Receives nothing more, so that the connection can go to another core. Bytes may still come until the kernel has
    /// stopped.
    pub fn begin_move(&mut self, index: u32, to: CoreId, ring: &mut Ring) {
        if self.state == State::Live {
            self.state = State::Moving(to);
            self.cancel_receive(index, ring);
        }
    }

    /// The core that it can go to now: nothing of it is under way in the kernel, but for what was sent the fast way
    /// since the last `enter`.
    pub fn can_move(&self) -> Option<CoreId> {
        match self.state {
            State::Moving(to) if !self.receiving && self.sending.is_none() => Some(to),
            State::Moving(_) | State::Live | State::Flushing | State::Closing => None,
        }
    }

    /// Its socket, for another core.
    pub fn into_socket(self) -> OwnedFd {
        debug_assert!(!self.receiving && self.sending.is_none());
        self.fd
    }

    /// Ends the connection when its output has left.
    pub fn flush_and_close(&mut self, index: u32, has_output: bool, ring: &mut Ring) -> Next {
        if matches!(self.state, State::Live | State::Moving(_)) {
            self.state = State::Flushing;
            self.wants_receive = false;
        }
        self.flushed(index, has_output, ring)
    }

    /// Output has left; if the connection was only waiting for that, it ends.
    pub fn flushed(&mut self, index: u32, has_output: bool, ring: &mut Ring) -> Next {
        if self.state == State::Flushing && !has_output && self.sending.is_none() {
            return self.close(index, ring);
        }
        Next::Nothing
    }

    /// Ends the connection now: the kernel gives back what it has under way, then the socket is closed.
    ///
    /// What the client has sent meanwhile is not read: the kernel answers that with a reset, and a client that is busy
    /// sending learns at once that nobody listens.
    pub fn close(&mut self, index: u32, ring: &mut Ring) -> Next {
        if self.state != State::Closing {
            self.state = State::Closing;
            self.cancel_receive(index, ring);
            if self.sending.is_some() {
                // SAFETY: a shutdown of a descriptor that is ours. It ends the send, whose reader may never read.
                unsafe { libc::shutdown(self.fd.as_raw_fd(), libc::SHUT_RDWR) };
            }
        }
        self.closed()
    }

    /// Whether a connection that is closing has nothing under way any more.
    pub fn closed(&self) -> Next {
        if self.state == State::Closing && !self.receiving && self.sending.is_none() {
            Next::Gone
        } else {
            Next::Nothing
        }
    }

    /// Whether it ends when its output has left.
    pub fn is_flushing(&self) -> bool {
        self.state == State::Flushing
    }

    /// Whether it has been ended.
    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }
}

/// An output buffer that grew beyond this is given back when it is empty.
const KEEP_BYTES_MAX: usize = 128 * 1024;
