//! The limit on the memory of all clients together (`maxmemory-clients`), and the sum that it is about.
//!
//! Each core keeps the sum of its own clients' memory, as of when each last sent, received or kept something, and looks
//! at all of them once a second. The cores show each other their sums and their largest clients. When the sum over all
//! cores reaches the limit, the core that has the largest client closes it, and so on: largest first, over the whole
//! process, as far as the cores know of each other. One that knows of a larger client elsewhere leaves it to that core.
//!
//! CLIENT NO-EVICT keeps a client from being closed; it counts all the same, as in Redis. A client that is being closed
//! no longer counts.
//!
//! Not here: what a single client may take (`client-query-buffer-limit`, `client-output-buffer-limit`).

use super::host::Host;
use super::memory::MemoryGauge;
use crate::base::time::Ticks;
use crate::config::ClientsMemory;
use crate::session::{clients, Session, SessionKind, State};

/// What a core knows of its clients' memory.
#[derive(Debug, Default)]
pub(super) struct ClientsState {
    /// What its clients take.
    sum_bytes: u64,
    /// At least what the largest takes that may be closed.
    largest_bytes: u64,
    /// Whether it was said in the log that nobody is left to be closed.
    is_lamented: bool,
}

/// A lower limit would not even let the clients in that could raise it (Redis's value).
const LIMIT_BYTES_MIN: u64 = 128 << 10;

impl<T: Ticks> Host<T> {
    /// What the buffers of this core's clients take.
    #[inline]
    pub(super) fn clients_memory(&self) -> u64 {
        self.memory.clients.sum_bytes
    }

    pub(super) fn largest_client(&self) -> u64 {
        self.memory.clients.largest_bytes
    }

    /// `maxmemory-clients` in bytes; 0 is no limit.
    pub(super) fn clients_limit(&self) -> u64 {
        let limit = match self.config.clients.maxmemory_clients {
            ClientsMemory::Bytes(bytes) => bytes,
            ClientsMemory::Percent(percent) => {
                (u128::from(self.config.memory.maxmemory_bytes) * u128::from(percent) / 100) as u64
            }
        };
        match limit {
            0 => 0,
            limit => limit.max(LIMIT_BYTES_MIN),
        }
    }

    /// Counts what a client takes by now.
    #[inline]
    pub(super) fn account(&mut self, index: u32) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let is_ending = matches!(session.state, State::Closing | State::Closed);
        if is_ending || session.kind != SessionKind::Client {
            return;
        }
        let (before, bytes) = (session.accounted_bytes, clients::memory_bytes(session) as u64);
        if bytes != before {
            session.accounted_bytes = bytes;
            let sums = &mut self.memory.clients;
            sums.sum_bytes = sums.sum_bytes + bytes - before;
            if !session.no_evict {
                sums.largest_bytes = sums.largest_bytes.max(bytes);
            }
        }
    }

    /// A client that is about to go counts no longer.
    pub(super) fn end_account(&mut self, index: u32) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        self.memory.clients.sum_bytes -= std::mem::take(&mut session.accounted_bytes);
    }

    /// All clients have been looked at: the largest one is looked for again.
    pub(super) fn find_largest_client(&mut self) {
        self.memory.clients.largest_bytes = self.largest().map_or(0, |(_, bytes)| bytes);
    }

    /// Whether no client has to go from here, seeing what the other cores have.
    pub(super) fn clients_may_stay(&self, others: MemoryGauge) -> bool {
        let (limit, largest) = (self.clients_limit(), self.memory.clients.largest_bytes);
        limit == 0
            || self.clients_memory() + others.clients_bytes < limit
            || largest == 0
            || largest < others.largest_client_bytes
    }

    /// Closes clients if all of them together take too much. Whether more have to go.
    pub(super) fn keep_clients_limit(&mut self) -> bool {
        let (limit, others) = (self.clients_limit(), self.memory.others);
        if limit == 0 || self.clients_memory() + others.clients_bytes < limit {
            self.memory.clients.is_lamented = false;
            return false;
        }
        // From here on by what they take at this moment.
        (0..self.sessions.len() as u32).for_each(|index| self.account(index));
        while self.clients_memory() + others.clients_bytes >= limit {
            let largest = self.largest();
            self.memory.clients.largest_bytes = largest.map_or(0, |(_, bytes)| bytes);
            match largest {
                Some((index, bytes)) if bytes >= others.largest_client_bytes => self.evict_client(index),
                None if others.largest_client_bytes == 0 => {
                    if !std::mem::replace(&mut self.memory.clients.is_lamented, true) {
                        tracing::warn!("Over client maxmemory after evicting all evictable clients");
                    }
                    return false;
                }
                // Another core has a larger one.
                _ => {
                    self.memory.asks = true;
                    return false;
                }
            }
        }
        self.find_largest_client();
        false
    }

    fn evict_client(&mut self, index: u32) {
        if let Some(session) = self.sessions[index as usize].as_deref() {
            tracing::info!("Evicting client: {}", clients::line(session, self.now.mono, &self.table));
            self.stats.evicted_clients += 1;
            self.close(index, true);
        }
    }

    /// The largest client that may be closed, and what it takes.
    fn largest(&self) -> Option<(u32, u64)> {
        self.sizes().max_by_key(|&(_, bytes)| bytes)
    }

    /// What the clients take that may be closed.
    pub(super) fn client_sizes(&self) -> Vec<u64> {
        self.sizes().map(|(_, bytes)| bytes).collect()
    }

    fn sizes(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let may_go = |session: &Session| {
            session.kind == SessionKind::Client
                && !session.no_evict
                && !matches!(session.state, State::Closing | State::Closed)
        };
        let sessions = self.sessions.iter().zip(0u32..);
        sessions.filter_map(move |(session, index)| {
            session
                .as_deref()
                .filter(|session| may_go(session))
                .map(|session| (index, session.accounted_bytes))
        })
    }
}
