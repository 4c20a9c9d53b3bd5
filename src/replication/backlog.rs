//! The last bytes of one stream.
//!
//! They are kept for replicas that come back after their link was cut (`repl-backlog-size`), and beyond that for those
//! that have not been sent them yet: a slow replica costs memory only once, however many there are (Redis keeps them in
//! blocks that all output buffers share, too). How much a slow one may cost is for its owner to say, by letting it go.
//!
//! Invariant: the kept bytes are those from `first` to `end`, without a gap.

use std::collections::VecDeque;

/// What is allocated at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// How many empty blocks are kept for use again.
const SPARE_BLOCKS_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    /// Each full but for the last one.
    blocks: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// The position of the first kept byte.
    first: u64,
    end: u64,
    /// How many bytes are kept for those that come back.
    capacity: u64,
}

impl Backlog {
    /// An empty one: the stream goes on from this position.
    pub fn new(at: u64, capacity: u64) -> Backlog {
        Backlog { blocks: VecDeque::new(), spare: Vec::new(), first: at, end: at, capacity }
    }

    /// `repl-backlog-size`, this stream's share.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// The position of the oldest byte that is kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The position behind the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether all bytes from here on are kept.
    pub fn has(&self, from: u64) -> bool {
        (self.first..=self.end).contains(&from)
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.blocks.len() + self.spare.len()) * BLOCK_BYTES
    }

    /// The stream goes on.
    pub fn append(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.blocks.back().map_or(0, |block| BLOCK_BYTES - block.len());
            if room == 0 {
                let block = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES));
                self.blocks.push_back(block);
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.extend_from_slice(now);
            }
            rest = later;
        }
        self.end += bytes.len() as u64;
    }

    /// Forgets what is older than the capacity and needed by no reader, of whom the slowest is at `slowest`.
    pub fn trim(&mut self, slowest: Option<u64>) {
        let keep = slowest.unwrap_or(self.end).min(self.end.saturating_sub(self.capacity));
        while let Some(block) = self.blocks.front() {
            let block_end = self.first + block.len() as u64;
            // The last one is still being filled.
            if block_end > keep || block.len() < BLOCK_BYTES {
                return;
            }
            self.first = block_end;
            if let Some(mut block) = self.blocks.pop_front().filter(|_| self.spare.len() < SPARE_BLOCKS_MAX) {
                block.clear();
                self.spare.push(block);
            }
        }
    }

    /// Forgets what is behind this position: it was received, and will never be applied.
    pub fn cut_off(&mut self, end: u64) {
        if end < self.first {
            *self = Backlog::new(end, self.capacity);
            return;
        }
        while self.end > end {
            let Some(block) = self.blocks.back_mut() else { return };
            let start = self.end - block.len() as u64;
            if start >= end {
                self.blocks.pop_back();
                self.end = start;
            } else {
                block.truncate((end - start) as usize);
                self.end = end;
            }
        }
    }

    /// Adds the bytes from this position on to `out`, at most about `max` and none at or behind `until`. Where it has
    /// come to; none if what is wanted is not kept.
    pub fn read(&self, from: u64, until: u64, max: usize, out: &mut Vec<u8>) -> Option<u64> {
        if !self.has(from) {
            return None;
        }
        let end = self.end.min(until).min(from + max as u64).max(from);
        let mut at = from;
        while at < end {
            // All blocks before the last are full.
            let place = (at - self.first) as usize;
            let block = &self.blocks[place / BLOCK_BYTES];
            let within = place % BLOCK_BYTES;
            let len = (block.len() - within).min((end - at) as usize);
            out.extend_from_slice(&block[within..within + len]);
            at += len as u64;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn what_is_kept_is_what_was_appended_last() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let start = prng.below(1000);
            let capacity = prng.below(5 * BLOCK_BYTES as u64);
            let mut backlog = Backlog::new(start, capacity);
            let mut all: Vec<u8> = Vec::new();
            for _ in 0..60 {
                let len = prng.below(BLOCK_BYTES as u64 / 2) as usize;
                let bytes: Vec<u8> = (0..len).map(|_| prng.next_u64() as u8).collect();
                backlog.append(&bytes);
                all.extend_from_slice(&bytes);
                let slowest = (prng.below(3) == 0).then(|| start + prng.below(all.len() as u64 + 1));
                backlog.trim(slowest);
                if prng.below(20) == 0 {
                    let end = backlog.first() + prng.below(backlog.end() - backlog.first() + 1);
                    backlog.cut_off(end);
                    all.truncate((end - start) as usize);
                }
                let end = start + all.len() as u64;
                assert_eq!(backlog.end(), end, "seed {seed}");
                let wanted = end.saturating_sub(capacity).max(start);
                assert!(backlog.first() <= wanted.max(backlog.first()));
                if let Some(slowest) = slowest.filter(|&slowest| backlog.has(slowest)) {
                    assert!(backlog.has(slowest));
                }
                let from = backlog.first() + prng.below(end - backlog.first() + 1);
                let until = from + prng.below(end - from + 1);
                let mut out = Vec::new();
                let at = backlog.read(from, until, usize::MAX >> 1, &mut out).unwrap();
                assert_eq!(at, until);
                assert_eq!(out, all[(from - start) as usize..(until - start) as usize], "seed {seed}");
            }
        }
    }

    #[test]
    fn it_keeps_its_capacity_and_what_the_slowest_needs() {
        let mut backlog = Backlog::new(0, 2 * BLOCK_BYTES as u64);
        backlog.append(&vec![1; 10 * BLOCK_BYTES]);
        backlog.trim(Some(3 * BLOCK_BYTES as u64 + 5));
        assert_eq!(backlog.first(), 3 * BLOCK_BYTES as u64);
        backlog.trim(None);
        assert_eq!(backlog.first(), 8 * BLOCK_BYTES as u64);
        assert_eq!(backlog.read(0, 100, 100, &mut Vec::new()), None);
        let end = backlog.end();
        assert_eq!(backlog.read(end, end, 100, &mut Vec::new()), Some(end));
        assert_eq!(backlog.read(end + 1, end, 100, &mut Vec::new()), None);
        backlog.cut_off(100);
        assert_eq!((backlog.first(), backlog.end()), (100, 100));
    }
}
