//! MIGRATE's way to the other server: what `session::coordinator::migrate` ships is sent as RESTOREs, and what comes of
//! each goes back to the transaction, which has waited with its locks.
//!
//! A *carrier* is a link that carries one shipment at a time and is kept for the next one to the same server, as long
//! as Redis keeps it. The other server is first told who comes and which database is meant, if it does not know that
//! from the last time, and gets the keys only when it has agreed. They are sent in pieces, each when the one before has
//! left: whoever has as many as he likes under way does not see whether the other side still takes any.
//!
//! A shipment ends in a bounded time whatever the other side does: each time that it makes no headway for the client's
//! timeout (no connection, no piece that leaves, no reply that comes) the link is given up. If the link breaks before a
//! key was answered for, and the other server has not refused anything, it is all tried once more on a new one, as
//! Redis does: a kept link is often found broken only when it is used. A key counts as delivered when its RESTORE was
//! answered with anything but an error.

use std::collections::VecDeque;

use super::dial::{LinkEvent, LinkOwner};
use super::host::Host;
use crate::base::error::CommandError;
use crate::base::time::{MonoUs, Ticks, UnixMs};
use crate::resp::Reply;
use crate::session::coordinator::{Shipment, Shipped};

/// A link for MIGRATE.
#[derive(Debug)]
pub(super) struct Carrier {
    host: String,
    port: u16,
    /// The database that is selected there, if that is known.
    db: Option<i64>,
    /// When it was last in use.
    used: MonoUs,
    /// What it carries.
    transfer: Option<Box<Transfer>>,
}

/// A shipment under way.
#[derive(Debug)]
struct Transfer {
    /// Whose it is.
    txn: u64,
    shipment: Shipment,
    /// Whether the other server's name means nothing.
    is_unresolved: bool,
    /// Whether there is a connection.
    is_connected: bool,
    /// Whether the last piece has not left yet.
    is_sending: bool,
    writer: Writer,
    /// What the replies that are to come are for, in their order.
    expected: VecDeque<Expected>,
    /// The beginning of a reply.
    line: Vec<u8>,
    delivered: Vec<usize>,
    /// The first refusal.
    refusal: Option<CommandError>,
    /// Whether the other server has answered for a key.
    has_answer: bool,
    may_retry: bool,
    /// When it has waited long enough.
    deadline: MonoUs,
}

/// What a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// AUTH or SELECT.
    Greeting,
    /// RESTORE of the key at this place.
    Key(usize),
}

/// How far a shipment has been written.
#[derive(Debug, Default)]
struct Writer {
    /// What comes before the keys, and then what comes before the dump of the key at hand.
    head: Vec<u8>,
    /// The key at hand, if it is one's turn.
    key: Option<usize>,
    /// How much of what is at hand has been written.
    written: usize,
    /// The first key whose turn has not come.
    next: usize,
}

/// How much is sent at a time (as Redis).
const PIECE_BYTES: usize = 64 * 1024;

/// How long a link is kept (as Redis: more than ten seconds, counted in seconds).
const KEEP_US: u64 = 11_000_000;

/// How many links a core keeps for MIGRATE. When there would be more, the one that was used longest ago goes.
const KEPT_MAX: usize = 64;

/// A reply that is longer is none to AUTH, SELECT or RESTORE: the link is given up. Redis takes no longer lines either.
const LINE_BYTES_MAX: usize = 1024;

const CONNECTING: CommandError = CommandError::new("IOERR error or timeout connecting to the client");
const WRITING: CommandError = CommandError::new("IOERR error or timeout writing to target instance");
const READING: CommandError = CommandError::new("IOERR error or timeout reading to target instance");

impl<T: Ticks> Host<T> {
    /// A transaction has something for another server. `shipped` is called when that is over.
    pub(super) fn ship(&mut self, txn: u64, shipment: Shipment) {
        let transfer = Box::new(Transfer::new(txn, shipment));
        let kept = self.carriers.iter().find(|(_, carrier)| {
            let shipment = &transfer.shipment;
            carrier.transfer.is_none() && carrier.host == shipment.host && Some(carrier.port) == shipment.port
        });
        match kept.map(|(&link, _)| link) {
            Some(link) => {
                self.stats.migrate_links -= 1;
                self.load_carrier(link, transfer);
                self.greet(link);
            }
            None => self.ship_anew(transfer),
        }
    }

    /// Ships on a new link.
    fn ship_anew(&mut self, transfer: Box<Transfer>) {
        let Some(port) = transfer.shipment.port else {
            return self.end_transfer(*transfer, Some(WRITING));
        };
        let host = transfer.shipment.host.clone();
        let link = self.dial(host.clone(), port, LinkOwner::Migrate);
        let carrier = Carrier { host, port, db: None, used: self.now.mono, transfer: None };
        self.carriers.insert(link, carrier);
        self.load_carrier(link, transfer);
    }

    fn load_carrier(&mut self, link: u32, transfer: Box<Transfer>) {
        if let Some(carrier) = self.carriers.get_mut(&link) {
            carrier.transfer = Some(transfer);
        }
        self.made_headway(link);
    }

    /// The other side has the client's timeout for its next move.
    fn made_headway(&mut self, link: u32) {
        let now = self.now.mono;
        if let Some(transfer) = self.carriers.get_mut(&link).and_then(|carrier| carrier.transfer.as_mut()) {
            let timeout_us = transfer.shipment.timeout_ms.saturating_mul(1000);
            transfer.deadline = MonoUs(now.0.saturating_add(timeout_us));
        }
    }

    /// Something has happened to a carrier.
    pub(super) fn on_migrate_link(&mut self, link: u32, event: LinkEvent<'_>) {
        self.made_headway(link);
        match event {
            LinkEvent::Stands => self.greet(link),
            LinkEvent::Failed(reason) => {
                tracing::debug!("MIGRATE: {reason}");
                if let Some(transfer) = self.drop_carrier(link) {
                    let reason = transfer.where_it_stopped();
                    self.end_transfer(*transfer, Some(reason));
                }
            }
            LinkEvent::Received(bytes) => self.read_answers(link, bytes),
            LinkEvent::Ended => self.link_broke(link),
        }
    }

    /// A piece has left.
    pub(super) fn migrate_link_sent(&mut self, link: u32) {
        self.made_headway(link);
        if let Some(transfer) = self.transfer(link) {
            transfer.is_sending = false;
            self.send_cargo(link);
        }
    }

    /// The other server's name means nothing.
    pub(super) fn migrate_link_unresolved(&mut self, link: u32) {
        if let Some(transfer) = self.transfer(link) {
            transfer.is_unresolved = true;
        }
    }

    fn transfer(&mut self, link: u32) -> Option<&mut Transfer> {
        self.carriers.get_mut(&link)?.transfer.as_deref_mut()
    }

    /// There is a connection: says what has to be said before the keys.
    fn greet(&mut self, link: u32) {
        let Some(carrier) = self.carriers.get_mut(&link) else { return };
        let Some(transfer) = carrier.transfer.as_deref_mut() else { return };
        let Transfer { shipment, writer, expected, .. } = transfer;
        let mut greet = |words: &[&[u8]]| {
            write_request(words, &mut writer.head);
            expected.push_back(Expected::Greeting);
        };
        match &shipment.credentials {
            Some((Some(user), password)) => greet(&[b"AUTH", user, password]),
            Some((None, password)) => greet(&[b"AUTH", password]),
            None => {}
        }
        if carrier.db != Some(shipment.db) {
            greet(&[b"SELECT", shipment.db.to_string().as_bytes()]);
        }
        // Until the transfer has gone well it is not known.
        carrier.db = None;
        transfer.is_connected = true;
        self.send_cargo(link);
    }

    /// Sends the next piece if it is time for one, and ends the transfer if there is nothing left to wait for.
    fn send_cargo(&mut self, link: u32) {
        let now = self.now.unix_ms();
        let Some(transfer) = self.transfer(link) else { return };
        if transfer.is_sending || !transfer.is_connected {
            return;
        }
        let mut piece = Vec::new();
        transfer.fill(&mut piece, now);
        if !piece.is_empty() {
            transfer.is_sending = true;
            return self.send_on_link(link, &piece);
        }
        if transfer.expected.is_empty() {
            self.transfer_is_over(link);
        }
    }

    /// Takes replies.
    fn read_answers(&mut self, link: u32, bytes: &[u8]) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            // Without a transfer nothing was asked for.
            let Some(transfer) = self.transfer(link) else { return self.link_broke_off(link) };
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = rest;
            transfer.line.extend_from_slice(part);
            if transfer.line.len() > LINE_BYTES_MAX {
                return self.link_broke_off(link);
            }
            if end.is_none() {
                return;
            }
            let line = std::mem::take(&mut transfer.line);
            if !transfer.take_answer(line.trim_ascii_end()) {
                return self.link_broke_off(link);
            }
            self.send_cargo(link);
        }
    }

    /// All that could be sent is, and all of it is answered.
    fn transfer_is_over(&mut self, link: u32) {
        let now = self.now.mono;
        let Some(carrier) = self.carriers.get_mut(&link) else { return };
        let Some(transfer) = carrier.transfer.take() else { return };
        carrier.used = now;
        if transfer.refusal.is_none() {
            carrier.db = Some(transfer.shipment.db);
        }
        self.stats.migrate_links += 1;
        if self.stats.migrate_links as usize > KEPT_MAX {
            let idle = self.carriers.iter().filter(|(_, carrier)| carrier.transfer.is_none());
            let oldest = idle.min_by_key(|(_, carrier)| carrier.used).map(|(&link, _)| link);
            oldest.into_iter().for_each(|link| self.end_carrier(link));
        }
        self.end_transfer(*transfer, None);
    }

    /// The other side has ended the link, or it broke.
    fn link_broke(&mut self, link: u32) {
        let Some(mut transfer) = self.drop_carrier(link) else { return };
        if transfer.may_retry && !transfer.has_answer && transfer.refusal.is_none() {
            transfer.begin_again();
            return self.ship_anew(transfer);
        }
        let reason = transfer.where_it_stopped();
        self.end_transfer(*transfer, Some(reason));
    }

    /// The same where it is for us to end it: what comes makes no sense.
    fn link_broke_off(&mut self, link: u32) {
        self.close(link, true);
        self.link_broke(link);
    }

    /// Forgets a carrier; what it carried, if anything.
    fn drop_carrier(&mut self, link: u32) -> Option<Box<Transfer>> {
        let carrier = self.carriers.remove(&link)?;
        if carrier.transfer.is_none() {
            self.stats.migrate_links -= 1;
        }
        carrier.transfer
    }

    /// Ends a carrier that carries nothing.
    fn end_carrier(&mut self, link: u32) {
        self.drop_carrier(link);
        self.close(link, true);
    }

    /// Tells the transaction. What the other server has refused is worth more to the client than why the rest did not
    /// arrive.
    fn end_transfer(&mut self, transfer: Transfer, failure: Option<CommandError>) {
        let Transfer { txn, delivered, refusal, .. } = transfer;
        let result = refusal.or(failure).map_or(Ok(()), Err);
        self.shipped(txn, Shipped { delivered, result });
    }

    /// Ends the transfers whose time is up.
    pub(super) fn end_due_transfers(&mut self) {
        let now = self.now.mono;
        loop {
            let is_due = |carrier: &Carrier| carrier.deadline().is_some_and(|deadline| deadline <= now);
            let due = self.carriers.iter().find(|(_, carrier)| is_due(carrier));
            let Some((&link, _)) = due else { return };
            self.close(link, true);
            let Some(transfer) = self.drop_carrier(link) else { return };
            let reason = transfer.where_it_stopped();
            self.end_transfer(*transfer, Some(reason));
        }
    }

    /// How long it is until the time of a transfer is up, at least 1.
    pub(super) fn us_to_transfer_deadline(&self) -> u64 {
        let deadline = self.carriers.values().filter_map(Carrier::deadline).min();
        deadline.map_or(u64::MAX, |deadline| deadline.since(self.now.mono).max(1))
    }

    /// Ends the links that nobody has used for long.
    pub(super) fn drop_idle_carriers(&mut self) {
        let now = self.now.mono;
        let is_idle = |carrier: &Carrier| carrier.transfer.is_none() && now.since(carrier.used) >= KEEP_US;
        let idle: Vec<u32> =
            self.carriers.iter().filter(|(_, carrier)| is_idle(carrier)).map(|(&link, _)| link).collect();
        idle.into_iter().for_each(|link| self.end_carrier(link));
    }
}

impl Carrier {
    /// Whether it carries nothing and waits for something.
    #[cfg(test)]
    pub(super) fn is_kept(&self) -> bool {
        self.transfer.is_none()
    }

    fn deadline(&self) -> Option<MonoUs> {
        self.transfer.as_ref().map(|transfer| transfer.deadline)
    }
}

impl Transfer {
    fn new(txn: u64, shipment: Shipment) -> Transfer {
        Transfer {
            txn,
            shipment,
            is_unresolved: false,
            is_connected: false,
            is_sending: false,
            writer: Writer::default(),
            expected: VecDeque::new(),
            line: Vec::new(),
            delivered: Vec::new(),
            refusal: None,
            has_answer: false,
            may_retry: true,
            deadline: MonoUs(0),
        }
    }

    /// Nothing has been answered: everything is to be sent once more, and not again.
    fn begin_again(&mut self) {
        self.is_connected = false;
        self.is_sending = false;
        self.writer = Writer::default();
        self.expected.clear();
        self.line.clear();
        self.may_retry = false;
    }

    /// What the client is told of a link that is given up. Redis does not look whether it is connected before it
    /// writes: only a name that means nothing is a failure to connect.
    fn where_it_stopped(&self) -> CommandError {
        let writer = &self.writer;
        let is_written = writer.key.is_none() && writer.next == self.shipment.cargo.len();
        let is_greeted = self.expected.contains(&Expected::Greeting);
        match () {
            () if self.is_unresolved => CONNECTING,
            () if self.is_connected && !self.is_sending && (is_written || is_greeted) => READING,
            () => WRITING,
        }
    }

    /// A reply has come. Whether one was to come.
    fn take_answer(&mut self, line: &[u8]) -> bool {
        let Some(expected) = self.expected.pop_front() else { return false };
        self.has_answer |= expected != Expected::Greeting;
        if let Some(refusal) = line.strip_prefix(b"-") {
            let told = || CommandError::quoting("ERR Target instance replied with error: ", refusal, "");
            self.refusal.get_or_insert_with(told);
        } else if let Expected::Key(at) = expected {
            self.delivered.push(at);
        }
        if let Expected::Key(at) = expected {
            // It will not be sent once more: that is only for when nothing has been answered. An answer may come before
            // all of it has been sent.
            if self.writer.key != Some(at) {
                self.shipment.cargo[at].dump = Vec::new();
            }
        }
        true
    }

    /// Writes what may be sent now, up to the length of a piece.
    fn fill(&mut self, piece: &mut Vec<u8>, now: UnixMs) {
        loop {
            let Transfer { writer, shipment, .. } = self;
            let tail: &[u8] = if shipment.replace { b"$7\r\nREPLACE\r\n" } else { b"" };
            let parts = match writer.key {
                None => [&writer.head, &b""[..], b""],
                Some(at) => [&writer.head, &shipment.cargo[at].dump[..], tail],
            };
            let mut skip = writer.written;
            for part in parts {
                let from = skip.min(part.len());
                skip -= from;
                let len = (part.len() - from).min(PIECE_BYTES - piece.len());
                piece.extend_from_slice(&part[from..from + len]);
                writer.written += len;
            }
            if piece.len() == PIECE_BYTES || !self.next_key(now) {
                return;
            }
        }
    }

    /// What was at hand is written: the turn of the next key has come, if it has.
    fn next_key(&mut self, now: UnixMs) -> bool {
        self.writer.head.clear();
        self.writer.key = None;
        self.writer.written = 0;
        // One that the other server does not know, or whose database it does not have, sends it no keys.
        if self.refusal.is_some() && !self.has_answer || self.expected.front() == Some(&Expected::Greeting) {
            return false;
        }
        while let Some(cargo) = self.shipment.cargo.get(self.writer.next) {
            let at = self.writer.next;
            self.writer.next += 1;
            let ttl_ms = match cargo.expire_at {
                None => 0,
                // It has expired on the way, and is nobody's any more.
                Some(expire_at) if expire_at < now => continue,
                Some(expire_at) => (expire_at.0 - now.0).max(1),
            };
            let argc = if self.shipment.replace { 5 } else { 4 };
            let head = &mut self.writer.head;
            let mut reply = Reply::new(head, Default::default());
            reply.array(argc);
            reply.bulk(b"RESTORE");
            reply.bulk(&cargo.key);
            reply.bulk_int(ttl_ms);
            self.writer.key = Some(at);
            self.expected.push_back(Expected::Key(at));
            return true;
        }
        false
    }
}

fn write_request(words: &[&[u8]], out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, Default::default());
    reply.array(words.len());
    words.iter().for_each(|word| reply.bulk(word));
}
