//! The streams of all shards merged into one, for replicas that know only one: a stock Redis, and its tools.
//!
//! Each owner of a stream sends core 0 what its stream records, as bytes and in order; core 0 reads them
//! (`replication::flow`), puts transactions together (`replication::collect`) and keeps what comes out in a backlog
//! whose positions are combined offsets. That is done only from the first cut on at which a stock replica is given a
//! snapshot, and ends some time after the last one has left.
//!
//! # Cuts
//!
//! Streams come to core 0 at their own pace, so what is merged is at no moment what the shards were at some cut, unless
//! it is made so: a stream that has come to the cut is *parked* there until all have. Then nothing is left that waits
//! for parts, since every transaction is on one side of a cut in all its streams, and the merged stream ends where a
//! snapshot of that cut has to be gone on from. Both is checked.
//!
//! # Limits
//!
//! An owner has at most `WINDOW_BYTES` on the way; the rest stays in the stream's backlog up to the limit of any
//! replica. Whoever passes that, or a limit of the collector, ends the merging, and with it the links of all stock
//! replicas: they come back for a snapshot.

use std::collections::VecDeque;

use super::ReplicationMail;
use crate::base::ids::{CoreId, DbIndex, Offset, ShardId};
use crate::base::time::Ticks;
use crate::host::host::Host;
use crate::host::mail::Rare;
use crate::replication::backlog::Backlog;
use crate::replication::collect::{write_merged, Collector};
use crate::replication::flow::{FlowReader, Item, Position};
use crate::replication::history::{Positions, ReplId};

/// How much of a stream may be on its way to core 0.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// How much of it is sent in one pass.
const PIECE_BYTES: usize = 64 * 1024;

/// How much is held on core 0 that waits for other parts of transactions.
const COLLECTED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How many places are kept at which it is known what a replica has applied. Where there are more every second goes:
/// then less may be known of a replica than it has said.
const KNOWN_MAX: usize = 1024;

/// What asks replicas how far they are. They answer with the offset before it.
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// A stream's way to core 0, at its owner.
#[derive(Debug)]
pub(super) struct MergeFeed {
    /// Which merging it is for.
    merging: u64,
    /// The position of the next byte to be sent.
    pub(super) at: u64,
    /// Up to where core 0 has taken it.
    taken: u64,
    /// A cut that core 0 is to be told of when it has been sent all before it: its export.
    cut: Option<(u64, Position)>,
}

/// What owners and core 0 tell each other.
#[derive(Debug)]
pub enum MergeMail {
    /// To core 0: what comes next in this stream.
    Bytes {
        /// Which merging.
        merging: u64,
        /// Which stream.
        stream: u16,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// To core 0: this stream was cut here for this export.
    Cut {
        /// Which export.
        export: u64,
        /// Which merging; zero if none goes with it.
        merging: u64,
        /// Which stream.
        stream: u16,
        /// Where.
        at: Position,
    },
    /// To an owner: so many bytes were taken.
    Taken {
        /// Which merging.
        merging: u64,
        /// Which stream.
        stream: u16,
        /// How many.
        bytes: u64,
    },
    /// To all: streams that have no shard were cut now, on a replica.
    CutRest {
        /// Which export.
        export: u64,
        /// Which merging.
        merging: u64,
    },
    /// To core 0: it cannot go on, since this stream is too far ahead.
    Lost(u64, u16),
    /// To all: it is over.
    Stop(u64),
    /// To the owner of shard 0: replicas are to say how far they are.
    AskForAcks,
}

/// Core 0's side.
#[derive(Debug)]
pub(super) struct Merging {
    pub(super) number: u64,
    /// How the merged stream's history is called.
    pub(super) id: ReplId,
    inflows: Vec<Inflow>,
    collector: Collector<()>,
    /// What was merged; none before the first cut.
    pub(super) backlog: Option<Backlog>,
    capacity: u64,
    out: Vec<u8>,
    /// Where the merged stream was known to be made of all streams up to these positions, with its own: what an offset
    /// that a replica has applied says of the streams.
    known: VecDeque<(u64, Positions)>,
}

#[derive(Debug, Default)]
struct Inflow {
    /// None before the first cut.
    reader: Option<FlowReader>,
    /// Where it waits for the others.
    parked: Option<Position>,
    /// What has come meanwhile.
    held: Vec<Vec<u8>>,
}

impl MergeFeed {
    /// Which merging it is for.
    pub(super) fn merging(&self) -> u64 {
        self.merging
    }
}

impl Merging {
    /// Of so many streams.
    pub(super) fn new(number: u64, id: ReplId, streams: usize, capacity: u64) -> Merging {
        Merging {
            number,
            id,
            inflows: (0..streams).map(|_| Inflow::default()).collect(),
            collector: Collector::new(streams, COLLECTED_BYTES_MAX),
            backlog: None,
            capacity,
            out: Vec::new(),
            known: VecDeque::new(),
        }
    }

    /// Takes what comes next in a stream that is not parked.
    fn take(&mut self, stream: usize, bytes: &[u8]) -> Result<(), String> {
        let begun = self.inflows.get_mut(stream).and_then(|inflow| inflow.reader.as_mut());
        match begun.filter(|_| self.backlog.is_some()) {
            Some(reader) => reader.feed(bytes),
            None => return Err(format!("stream {stream} has not begun")),
        }
        while self.take_item(stream)? {}
        self.note_known(None);
        Ok(())
    }

    /// Takes the next item of a stream, if there is one.
    fn take_item(&mut self, stream: usize) -> Result<bool, String> {
        let Merging { inflows, collector, backlog, out, .. } = self;
        let reader = inflows.get_mut(stream).and_then(|inflow| inflow.reader.as_mut());
        let (Some(reader), Some(backlog)) = (reader, backlog) else { return Ok(false) };
        let item = reader.next().map_err(|damage| {
            format!("stream {stream} is damaged at byte {}: {}", damage.offset, damage.reason)
        })?;
        let pushed = match item {
            None => return Ok(false),
            Some(Item::Plain { bytes, end }) if collector.is_clear(stream) => {
                // Who is asked by a record here will answer with the place before it.
                let asks = memchr::memmem::rfind(bytes, GETACK).filter(|_| stream == 0);
                let Some(at) = asks else {
                    backlog.append(bytes);
                    return Ok(true);
                };
                backlog.append(&bytes[..at]);
                let rest: Box<[u8]> = bytes[at..].into();
                self.note_known(Some((stream, end.raw - rest.len() as u64)));
                self.backlog.iter_mut().for_each(|backlog| backlog.append(&rest));
                return Ok(true);
            }
            Some(Item::Plain { bytes, .. }) => collector.push_plain(stream, bytes.into(), ()),
            Some(Item::Part { txn, records, .. }) => collector.push_part(stream, &txn, records.into(), ()),
        };
        pushed.map_err(|error| error.to_string())?;
        while let Some(unit) = collector.next_unit() {
            out.clear();
            write_merged(&unit, out);
            backlog.append(out);
        }
        Ok(true)
    }

    /// Keeps what the merged stream is made of here, if that is known: of all that was read, but for a stream that is
    /// only merged up to the position given.
    fn note_known(&mut self, but: Option<(usize, u64)>) {
        let Some(end) = self.backlog.as_ref().map(Backlog::end) else { return };
        if self.collector.held_bytes() > 0 || self.known.back().is_some_and(|&(last, _)| last == end) {
            return;
        }
        let mut at = Positions::new();
        for (stream, inflow) in self.inflows.iter().enumerate() {
            let Some(reader) = &inflow.reader else { return };
            at.push(but.filter(|&(of, _)| of == stream).map_or(reader.position().raw, |(_, raw)| raw));
        }
        if self.known.len() == KNOWN_MAX {
            let mut number = 0;
            self.known.retain(|_| {
                number += 1;
                number % 2 == 0
            });
        }
        self.known.push_back((end, at));
    }

    /// Up to where, at least, whoever has applied this much of the merged stream has applied each stream.
    pub(super) fn known_at(&self, offset: u64) -> Option<Positions> {
        let after = self.known.partition_point(|&(at, _)| at <= offset);
        self.known.get(after.checked_sub(1)?).map(|(_, at)| at.clone())
    }

    /// A stream has come to a cut. Where the merged stream stands there, once all have.
    fn park(&mut self, stream: usize, at: Position) -> Result<Option<u64>, String> {
        let Some(inflow) = self.inflows.get_mut(stream) else { return Err(format!("no stream {stream}")) };
        let reader = inflow.reader.get_or_insert_with(|| FlowReader::new(ShardId(stream as u16), at));
        if reader.position() != at {
            return Err(format!("stream {stream} was cut at {at:?} and has come to {:?}", reader.position()));
        }
        inflow.parked = Some(at);
        let mut sum = 0;
        for inflow in &self.inflows {
            let Some(at) = inflow.parked else { return Ok(None) };
            sum += at.offset.0;
        }
        let capacity = self.capacity;
        let end = self.backlog.get_or_insert_with(|| Backlog::new(sum, capacity)).end();
        if end != sum || self.collector.held_bytes() > 0 {
            return Err(format!(
                "the shards were cut at {sum}, and the merged stream stands at {end} with {} bytes held",
                self.collector.held_bytes()
            ));
        }
        self.note_known(None);
        Ok(Some(sum))
    }

    /// All go on. What has come of each meanwhile.
    fn unpark(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut held = Vec::new();
        for (stream, inflow) in self.inflows.iter_mut().enumerate() {
            inflow.parked = None;
            held.extend(inflow.held.drain(..).map(|bytes| (stream as u16, bytes)));
        }
        held
    }

    /// `repl-backlog-size`.
    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        if let Some(backlog) = &mut self.backlog {
            backlog.set_capacity(capacity);
        }
    }
}

impl<T: Ticks> Host<T> {
    /// Mail about the merged stream.
    pub(super) fn take_merge_mail(&mut self, mail: MergeMail) {
        match mail {
            MergeMail::Bytes { merging, stream, bytes } => self.take_merge_bytes(merging, stream, bytes),
            MergeMail::Cut { export, merging, stream, at } => self.take_cut(export, merging, stream, at),
            MergeMail::Taken { merging, stream, bytes } => {
                let found = self.replication.streams.iter_mut().find(|one| one.number == stream);
                let feed = found.and_then(|stream| stream.merging.as_mut());
                if let Some(feed) = feed.filter(|feed| feed.merging == merging) {
                    feed.taken += bytes;
                }
            }
            MergeMail::CutRest { export, merging } => self.mark_rest(export, merging),
            MergeMail::Lost(merging, stream) => {
                let is_this = self.merging().is_some_and(|one| one.number == merging);
                if is_this {
                    self.lose_merging(&format!("stream {stream} is too far ahead"));
                }
            }
            MergeMail::Stop(merging) => {
                for stream in &mut self.replication.streams {
                    if stream.merging.as_ref().is_some_and(|feed| feed.merging == merging) {
                        stream.merging = None;
                    }
                }
            }
            MergeMail::AskForAcks => self.record_for_replicas(&["REPLCONF", "GETACK", "*"]),
        }
    }

    /// Records something on shard 0 that only replicas are to hear.
    pub(super) fn record_for_replicas(&mut self, words: &[&str]) {
        if let (Some(place), false) = (self.local[0], self.replication.is_replica) {
            let journal = &mut self.shards[usize::from(place)].journal;
            journal.append(DbIndex(0), words.iter().copied());
        }
    }

    fn merging(&mut self) -> Option<&mut Merging> {
        self.replication.conducting.as_mut()?.stock.merging.as_mut()
    }

    /// The shard at this place was cut for an export: core 0 is told where its stream is.
    pub(in crate::host) fn mark_cut(&mut self, place: usize, export: u64, merging: u64) {
        let (number, streams) = (self.shards[place].id().0, self.stream_count());
        let found = self.replication.streams.iter().position(|stream| stream.number == number);
        if let Some(at) = found.filter(|_| usize::from(number) < streams) {
            self.mark_stream(at, export, merging);
        }
    }

    /// A replica has more streams than shards: the others stand still when the shards are cut.
    fn mark_rest(&mut self, export: u64, merging: u64) {
        let (shards, streams) = (self.placement.len(), self.stream_count());
        for at in 0..self.replication.streams.len() {
            if (shards..streams).contains(&usize::from(self.replication.streams[at].number)) {
                self.mark_stream(at, export, merging);
            }
        }
    }

    fn mark_stream(&mut self, at: usize, export: u64, merging: u64) {
        let (capacity, offset) = (self.backlog_capacity(), self.offset_of(at));
        let is_replica = self.replication.is_replica;
        let stream = &mut self.replication.streams[at];
        let raw = if is_replica { stream.open_to } else { stream.raw };
        let position = Position { raw, offset: Offset(offset) };
        if merging == 0 {
            let mail = MergeMail::Cut { export, merging, stream: stream.number, at: position };
            self.replication.marks.push(mail);
            return;
        }
        stream.keep_backlog(capacity);
        let feed = stream.merging.take().filter(|feed| feed.merging == merging);
        let feed = feed.unwrap_or(MergeFeed { merging, at: raw, taken: raw, cut: None });
        stream.merging = Some(MergeFeed { cut: Some((export, position)), ..feed });
    }

    /// Sends core 0 what the streams of this core have for it.
    pub(super) fn pump_merging(&mut self) {
        let is_replica = self.replication.is_replica;
        let mut mails = std::mem::take(&mut self.replication.marks);
        for stream in &mut self.replication.streams {
            let (Some(feed), Some(backlog)) = (&mut stream.merging, &stream.backlog) else { continue };
            let (merging, number) = (feed.merging, stream.number);
            let end = if is_replica { stream.open_to } else { backlog.end() };
            let until = feed.cut.map_or(end, |(_, at)| at.raw);
            let room = WINDOW_BYTES.saturating_sub(feed.at - feed.taken).min(PIECE_BYTES as u64);
            if feed.at < until && room > 0 {
                let mut bytes = Vec::new();
                match backlog.read(feed.at, until, room as usize, &mut bytes) {
                    Some(at) => {
                        feed.at = at;
                        mails.push(MergeMail::Bytes { merging, stream: number, bytes });
                    }
                    None => mails.push(MergeMail::Lost(merging, number)),
                }
            }
            if let Some((export, at)) = feed.cut.filter(|(_, at)| at.raw == feed.at) {
                feed.cut = None;
                mails.push(MergeMail::Cut { export, merging, stream: number, at });
            }
            self.replication.has_more |= room > 0 && feed.at < end;
        }
        if mails.is_empty() {
            return;
        }
        let mails =
            mails.into_iter().map(|mail| (CoreId(0), Rare::Replication(ReplicationMail::Merge(mail))));
        self.post_together(mails);
    }

    fn take_merge_bytes(&mut self, number: u64, stream: u16, bytes: Vec<u8>) {
        let Some(merging) = self.merging().filter(|merging| merging.number == number) else { return };
        let Some(inflow) = merging.inflows.get_mut(usize::from(stream)) else { return };
        if inflow.parked.is_some() {
            // No more than the window: it is said to be taken when it is.
            inflow.held.push(bytes);
            return;
        }
        if let Err(reason) = merging.take(usize::from(stream), &bytes) {
            return self.lose_merging(&reason);
        }
        let taken = MergeMail::Taken { merging: number, stream, bytes: bytes.len() as u64 };
        self.post(self.owner_of(stream), Rare::Replication(ReplicationMail::Merge(taken)));
    }

    fn take_cut(&mut self, export: u64, number: u64, stream: u16, at: Position) {
        let Some(merging) = self.merging().filter(|merging| number > 0 && merging.number == number) else {
            self.stream_was_cut(export, stream, at);
            return;
        };
        match merging.park(usize::from(stream), at) {
            Err(reason) => self.lose_merging(&reason),
            Ok(None) => self.stream_was_cut(export, stream, at),
            Ok(Some(_)) => {
                self.stream_was_cut(export, stream, at);
                let held = self.merging().map(Merging::unpark).unwrap_or_default();
                for (stream, bytes) in held {
                    self.take_merge_bytes(number, stream, bytes);
                }
            }
        }
    }

    /// The streams are merged no longer.
    pub(super) fn stop_merging(&mut self) {
        let Some(conducting) = &mut self.replication.conducting else { return };
        if let Some(merging) = conducting.stock.merging.take() {
            self.tell_replication(|| ReplicationMail::Merge(MergeMail::Stop(merging.number)));
        }
    }

    /// They cannot be: whoever is fed from them comes back for a snapshot.
    fn lose_merging(&mut self, reason: &str) {
        tracing::error!("The shards' streams cannot be merged for replicas any further: {reason}");
        self.stop_merging();
        self.end_stock_links(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::journal::{Journal, Txn};

    fn drain(journals: &mut [Journal]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for journal in journals {
            let mut bytes = Vec::new();
            journal.take_pending(&mut bytes);
            all.push(bytes);
        }
        all
    }

    #[test]
    fn what_is_merged_at_a_cut_is_what_the_shards_have_counted() {
        for seed in 0..40 {
            let mut prng = Prng::new(seed);
            let streams = 1 + prng.below(4) as usize;
            let mut journals: Vec<Journal> =
                (0..streams).map(|shard| Journal::new(ShardId(shard as u16))).collect();
            let mut raws = vec![0u64; streams];
            for journal in &mut journals {
                journal.set_recording(true);
                journal.set_end(Offset(prng.below(1000)));
            }
            let id = ReplId::random(&mut prng);
            let mut merging = Merging::new(1, id, streams, 1 << 20);
            for round in 0..6 {
                if round > 0 {
                    for number in 0..prng.below(20) {
                        let shard = prng.below(streams as u64) as usize;
                        if prng.below(3) > 0 {
                            journals[shard].append(DbIndex(prng.below(2) as u16), ["INCR", "n"]);
                            continue;
                        }
                        let shards: Vec<usize> = (0..streams).filter(|_| prng.below(2) == 0).collect();
                        let txn = Txn {
                            core: CoreId(0),
                            number: round * 1000 + number,
                            shards: shards.iter().map(|&shard| ShardId(shard as u16)).collect(),
                        };
                        for shard in shards {
                            let part = journals[shard].new_part();
                            journals[shard].enter_part(part);
                            journals[shard].append(DbIndex(1), ["SET", "k", "v"]);
                            let part = journals[shard].leave_part();
                            journals[shard].append_part(&txn, part);
                        }
                    }
                }
                let bytes = drain(&mut journals);
                let mut sum = None;
                // In an order of chance, and in pieces: those that are first wait for the others.
                let mut order: Vec<usize> = (0..streams).collect();
                order.sort_by_key(|_| prng.next_u64());
                for stream in order {
                    assert_eq!(sum, None);
                    for piece in bytes[stream].chunks(1 + prng.below(50) as usize) {
                        merging.take(stream, piece).unwrap();
                    }
                    raws[stream] += bytes[stream].len() as u64;
                    let at = Position { raw: raws[stream], offset: journals[stream].end() };
                    sum = merging.park(stream, at).unwrap();
                }
                let expected = journals.iter().map(|journal| journal.end().0).sum::<u64>();
                assert_eq!(sum, Some(expected), "seed {seed}");
                assert_eq!(merging.unpark(), []);
            }
        }
    }

    #[test]
    fn an_offset_says_what_of_each_stream_was_applied() {
        let mut prng = Prng::new(1);
        let mut merging = Merging::new(1, ReplId::random(&mut prng), 2, 1 << 20);
        let at = |raw, offset| Position { raw, offset: Offset(offset) };
        assert_eq!(merging.known_at(u64::MAX), None);
        merging.park(0, at(100, 10)).unwrap();
        assert_eq!(merging.park(1, at(200, 20)), Ok(Some(30)));
        merging.unpark();
        let known = |merging: &Merging, offset| merging.known_at(offset).map(|at| at.to_vec());
        assert_eq!((known(&merging, 29), known(&merging, 30)), (None, Some(vec![100, 200])));
        merging.take(1, b"*1\r\n$4\r\nPING\r\n").unwrap();
        assert_eq!(known(&merging, 43), Some(vec![100, 200]));
        assert_eq!(known(&merging, 44), Some(vec![100, 214]));
        // Whoever is asked answers with the place before the question, which has come with what was before it.
        let asked = [&b"*1\r\n$4\r\nPING\r\n"[..], GETACK].concat();
        merging.take(0, &asked).unwrap();
        assert_eq!(known(&merging, 58), Some(vec![114, 214]));
        assert_eq!(known(&merging, u64::MAX), Some(vec![114 + GETACK.len() as u64, 214]));
        // Nothing is known where a part waits for others; and the places are not kept for ever.
        let part = b"#TXN:0-7:0,1\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n";
        merging.take(0, part).unwrap();
        merging.take(1, b"*1\r\n$4\r\nPING\r\n").unwrap();
        let last = merging.known.len();
        merging.take(1, part).unwrap();
        assert_eq!(merging.known.len(), last + 1);
        for _ in 0..10 * KNOWN_MAX {
            merging.take(1, b"*1\r\n$4\r\nPING\r\n").unwrap();
        }
        assert!(merging.known.len() <= KNOWN_MAX);
    }

    #[test]
    fn a_stream_that_is_not_where_it_was_cut_ends_it() {
        let mut prng = Prng::new(1);
        let mut merging = Merging::new(1, ReplId::random(&mut prng), 2, 100);
        let at = |raw, offset| Position { raw, offset: Offset(offset) };
        assert!(merging.take(0, b"*1\r\n$4\r\nPING\r\n").is_err(), "it has not begun");
        assert_eq!(merging.park(0, at(10, 5)), Ok(None));
        assert_eq!(merging.park(1, at(0, 3)), Ok(Some(8)));
        merging.unpark();
        merging.take(0, b"*1\r\n$4\r\nPING\r\n").unwrap();
        assert!(merging.park(0, at(10, 5)).is_err());
        assert!(merging.park(2, at(0, 0)).is_err());
        assert_eq!(merging.park(0, at(24, 19)), Ok(None));
        assert_eq!(merging.park(1, at(0, 3)), Ok(Some(22)));
        assert_eq!(merging.backlog.as_ref().map(Backlog::end), Some(22));
        merging.unpark();
        assert!(merging.take(1, b"x").is_err());
    }
}
