//! Where an append-only file is in the history that its node's data belongs to.
//!
//! Lines in the file say so (`Annotation::Position`): at its beginning, and wherever it becomes another. They, and
//! those that tell the time, are in the file alone; all other bytes are the stream's. So whoever reads the file to some
//! place knows where the stream is there.

use super::record::{Annotation, FRAME_BYTES};
use super::Item;
use crate::base::ids::ShardId;

/// A place in a stream of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The history's name; empty where the data is of none.
    pub history: Vec<u8>,
    /// How many of the stream's bytes come before.
    pub raw: u64,
    /// The same as a Redis peer counts.
    pub offset: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Track {
    shard: ShardId,
    at: Option<Whereabouts>,
    /// The place in the file that this is about.
    records: u64,
    /// What will be no part of the stream, and what does not count, of what follows that place.
    aside: u64,
    uncounted: u64,
    /// What a line just read says of the place behind it.
    said: Option<Whereabouts>,
}

impl Track {
    /// Of this shard's files; nothing is known yet.
    pub fn new(shard: ShardId) -> Track {
        Track { shard, at: None, records: 0, aside: 0, uncounted: 0, said: None }
    }

    /// The next file begins.
    pub fn begin_file(&mut self) {
        (self.records, self.aside, self.uncounted, self.said) = (0, 0, 0, None);
    }

    /// This stands next in the file.
    pub fn see(&mut self, item: &Item<'_>) {
        let Item::Annotation { line, .. } = item else { return };
        let len = line.len() as u64 + 2;
        match Annotation::parse(line) {
            Some(Annotation::Txn(txn)) => {
                self.uncounted += len;
                if txn.shards.first() != Some(&self.shard) {
                    self.uncounted += FRAME_BYTES as u64;
                }
            }
            Some(Annotation::Position(said)) => self.said = Some(said),
            Some(Annotation::Time(_)) | None => {
                self.aside += len;
                self.uncounted += len;
            }
        }
    }

    /// Up to this place of the file everything is whole.
    pub fn settle(&mut self, records: u64) {
        let len = records.saturating_sub(self.records);
        if len == 0 {
            return;
        }
        self.records = records;
        let (aside, uncounted) = (std::mem::take(&mut self.aside), std::mem::take(&mut self.uncounted));
        if let Some(said) = self.said.take() {
            self.at = Some(said);
        } else if let Some(at) = &mut self.at {
            at.raw += len.saturating_sub(aside);
            at.offset += len.saturating_sub(uncounted);
        }
    }

    /// Where the stream is, if that is known.
    pub fn whereabouts(&self) -> Option<&Whereabouts> {
        self.at.as_ref().filter(|at| !at.history.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{CoreId, DbIndex};
    use crate::base::prng::Prng;
    use crate::journal::{Journal, Reader, Txn};

    #[test]
    fn a_file_is_where_its_stream_was_when_it_was_written() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let mut journal = Journal::new(ShardId(1));
            journal.set_recording(true);
            let (mut file, mut raw) = (Vec::new(), 0);
            // What was appended before the first line says where it is does not matter.
            journal.append(DbIndex(0), ["SET", "a", "1"]);
            journal.take_pending(&mut file);
            let mut history = String::new();
            for step in 0..40 {
                match prng.below(6) {
                    0 => journal.append(DbIndex(prng.below(3) as u16), ["INCR", "n"]),
                    1 => {
                        let part = journal.new_part();
                        journal.enter_part(part);
                        (0..prng.below(3)).for_each(|_| journal.append(DbIndex(1), ["INCR", "n"]));
                        let part = journal.leave_part();
                        let shards = if prng.below(2) == 0 { [0, 1] } else { [1, 2] };
                        let shards = shards.into_iter().map(ShardId).collect();
                        journal.append_part(&Txn { core: CoreId(0), number: step, shards }, part);
                    }
                    2 => Annotation::Time(step).write(&mut file),
                    3 => {
                        journal.effect(DbIndex(0), ["SET", "a", "1"]);
                        journal.effect(DbIndex(2), ["SET", "b", "1"]);
                        journal.commit();
                    }
                    _ if step == 0 || prng.below(8) == 0 => {
                        history = format!("{step:040}");
                        raw = prng.below(1000);
                        let offset = journal.end().0;
                        let said = Whereabouts { history: history.clone().into(), raw, offset };
                        Annotation::Position(said).write(&mut file);
                    }
                    _ => journal.append(DbIndex(0), ["PING"]),
                }
                raw += journal.pending().len() as u64;
                journal.take_pending(&mut file);
            }
            let (mut track, mut reader) = (Track::new(ShardId(1)), Reader::new(0));
            for piece in file.chunks(1 + prng.below(50) as usize) {
                reader.feed(piece);
                while let Some(item) = reader.next().unwrap() {
                    track.see(&item);
                    let records = reader.tail().records;
                    track.settle(records);
                }
            }
            let expected = (!history.is_empty()).then(|| (history.as_bytes(), raw, journal.end().0));
            let found = track.whereabouts().map(|at| (&at.history[..], at.raw, at.offset));
            assert_eq!(found, expected, "seed {seed}");
        }
    }
}
