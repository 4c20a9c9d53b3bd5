//! Cases by hand: crossings, errors, limits, costs, and the agreement between a stream's reader and the collector.

use super::*;
use crate::base::prng::Prng;
use crate::journal::{Journal, Reader, Sink};

const LIMIT_BYTES: usize = 1 << 30;

fn txn(number: u64, shards: &[u16]) -> Txn {
    Txn { core: CoreId(3), number, shards: shards.iter().copied().map(ShardId).collect() }
}

fn id(number: u64) -> TxnId {
    TxnId { core: CoreId(3), number }
}

/// A command of one word.
fn word(text: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    out.command([text]);
    out.into()
}

/// A collector whose items are called by words; marks count a stream's items.
struct Words {
    collector: Collector<u64>,
    pushed: Vec<u64>,
}

impl Words {
    fn new(streams: usize) -> Self {
        Words { collector: Collector::new(streams, LIMIT_BYTES), pushed: vec![0; streams] }
    }

    fn plain(&mut self, stream: usize, text: &str) {
        self.pushed[stream] += 1;
        self.collector.push_plain(stream, word(text), self.pushed[stream]).unwrap();
    }

    fn part(&mut self, stream: usize, number: u64, shards: &[u16]) {
        self.pushed[stream] += 1;
        let records = word(&format!("t{number}s{stream}"));
        self.collector.push_part(stream, &txn(number, shards), records, self.pushed[stream]).unwrap();
    }

    /// What comes out, each unit in one line.
    fn units(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.collector.next_unit()).map(|unit| shown(&unit)).collect()
    }

    fn is_empty(&self) -> bool {
        let collector = &self.collector;
        let is_clear = (0..collector.streams.len()).all(|stream| collector.is_clear(stream));
        is_clear
            && collector.held_bytes() == 0
            && collector.names.is_empty()
            && collector.txns.items.is_empty()
            && collector.knots.items.is_empty()
    }
}

/// The words of a unit, with how many transactions it is if it is a group, and where it brings the streams.
fn shown(unit: &Unit<u64>) -> String {
    let (bytes, head) = match unit {
        Unit::Plain { bytes, .. } => (bytes.to_vec(), String::new()),
        Unit::Group { records, transactions, .. } => (records.concat(), format!("{transactions}: ")),
    };
    let mut reader = Reader::new(0);
    reader.feed(&bytes);
    let mut words = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        words.push(item.to_string());
    }
    let reached: Vec<_> = unit.reached().iter().map(|at| format!("{}@{}", at.stream, at.mark)).collect();
    format!("{head}{} {}", words.join(" "), reached.join(" "))
}

#[test]
fn records_come_out_as_they_come_and_transactions_when_they_are_whole() {
    let mut words = Words::new(3);
    words.plain(0, "a");
    words.part(0, 1, &[0, 2]);
    words.plain(0, "b");
    words.plain(1, "c");
    assert_eq!(words.units(), ["a 0@1", "c 1@1"]);
    words.plain(2, "d");
    assert!(!words.collector.is_clear(0));
    assert_eq!(words.units(), ["d 2@1"]);
    words.plain(2, "e");
    words.part(2, 1, &[0, 2]);
    words.plain(2, "f");
    assert_eq!(words.units(), ["e 2@2", "1: t1s0 t1s2 0@2 2@3", "b 0@3", "f 2@4"]);
    // Of one shard it is whole at once.
    words.part(1, 2, &[1]);
    assert_eq!(words.units(), ["1: t2s1 1@2"]);
    assert!(words.is_empty());
}

#[test]
fn those_that_cross_come_out_together_with_what_stands_between() {
    for between in [false, true] {
        let mut words = Words::new(2);
        words.plain(0, "a");
        words.part(0, 1, &[0, 1]);
        if between {
            words.plain(0, "b");
        }
        words.part(0, 2, &[0, 1]);
        words.plain(0, "c");
        words.part(1, 2, &[0, 1]);
        assert_eq!(words.units(), ["a 0@1"]);
        words.plain(1, "d");
        words.part(1, 1, &[0, 1]);
        let expected = match between {
            true => "2: t1s0 b t2s0 t2s1 d t1s1 0@4 1@3",
            false => "2: t1s0 t2s0 t2s1 d t1s1 0@3 1@3",
        };
        assert_eq!(words.units(), [expected, if between { "c 0@5" } else { "c 0@4" }]);
        assert!(words.is_empty());
    }
}

#[test]
fn a_circle_over_three_streams_is_found_whichever_part_comes_last() {
    // Each of the three comes before the next, on one stream each.
    let parts =
        [(0, 1, [0, 2]), (0, 2, [0, 1]), (1, 2, [0, 1]), (1, 3, [1, 2]), (2, 3, [1, 2]), (2, 1, [0, 2])];
    for last in 0..3 {
        let mut words = Words::new(3);
        let of = |stream: usize| parts.iter().filter(move |part| part.0 == stream);
        for stream in (0..3).filter(|&stream| stream != last) {
            of(stream).for_each(|&(stream, number, shards)| words.part(stream, number, &shards));
        }
        assert_eq!(words.units(), [""; 0]);
        words.plain(last, "x");
        of(last).for_each(|&(stream, number, shards)| words.part(stream, number, &shards));
        words.plain(last, "y");
        let units = words.units();
        assert_eq!(units.len(), 3, "{units:?}");
        assert!(units[0].starts_with("x ") && units[1].starts_with("3: t1s0 t2s0 t2s1 t3s1 t3s2 t1s2 "));
        assert!(words.is_empty());
    }
}

#[test]
fn a_circle_is_found_that_closes_where_something_before_it_has_gone() {
    let mut words = Words::new(4);
    words.part(0, 1, &[0, 1, 2]);
    words.part(1, 2, &[1, 2]);
    words.part(1, 1, &[0, 1, 2]);
    // On stream 2 both stand behind another, which is not whole: who waits there waits for that one.
    words.part(2, 3, &[2, 3]);
    words.part(2, 1, &[0, 1, 2]);
    words.part(2, 2, &[1, 2]);
    assert_eq!(words.units(), [""; 0]);
    words.part(3, 3, &[2, 3]);
    assert_eq!(words.units(), ["1: t3s2 t3s3 2@1 3@1", "2: t1s0 t2s1 t1s1 t1s2 t2s2 0@1 1@2 2@3"]);
    assert!(words.is_empty());
}

#[test]
fn what_only_waits_for_a_group_is_no_part_of_it() {
    let mut words = Words::new(3);
    // 1 and 2 cross; 3 stands behind them, 4 between.
    words.part(0, 1, &[0, 1]);
    words.part(0, 4, &[0, 2]);
    words.part(0, 2, &[0, 1]);
    words.part(0, 3, &[0, 1, 2]);
    words.part(1, 2, &[0, 1]);
    words.part(1, 1, &[0, 1]);
    words.part(1, 3, &[0, 1, 2]);
    assert_eq!(words.units(), [""; 0]);
    assert_eq!(words.collector.missing(), Some((id(4), 2)));
    words.plain(2, "a");
    words.part(2, 4, &[0, 2]);
    let units = words.units();
    assert_eq!(units, ["a 2@1", "3: t1s0 t4s0 t2s0 t2s1 t1s1 t4s2 0@3 1@2 2@2"]);
    assert_eq!(words.collector.missing(), Some((id(3), 2)));
    words.plain(2, "b");
    words.part(2, 3, &[0, 1, 2]);
    assert_eq!(words.units(), ["b 2@3", "1: t3s0 t3s1 t3s2 0@4 1@3 2@4"]);
    assert_eq!(words.collector.missing(), None);
    assert!(words.is_empty());
}

#[test]
fn a_group_is_framed_once_and_counts_all_its_frames() {
    let of = |shard: u16| {
        let mut journal = Journal::new(ShardId(shard));
        journal.set_recording(true);
        journal
    };
    let mut journals = [of(0), of(1)];
    let mut collector = Collector::new(2, LIMIT_BYTES);
    let mut push = |stream: usize, number: Option<u64>| {
        let journal = &mut journals[stream];
        let part = journal.new_part();
        journal.enter_part(part);
        ["INCR", "DECR"].iter().for_each(|name| journal.append(crate::base::ids::DbIndex(1), [*name, "n"]));
        let part = journal.leave_part();
        match number {
            Some(number) => journal.append_part(&txn(number, &[1, 0]), part),
            None => journal.append_group(part),
        }
        let mut bytes = Vec::new();
        journal.take_pending(&mut bytes);
        match number {
            None => collector.push_plain(stream, bytes.into(), ()).unwrap(),
            Some(number) => {
                let from = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1 + MULTI.len();
                let records = bytes[from..bytes.len() - EXEC.len()].into();
                collector.push_part(stream, &txn(number, &[1, 0]), records, ()).unwrap();
            }
        }
    };
    for (stream, number) in
        [(0, None), (0, Some(1)), (0, None), (0, Some(2)), (1, Some(2)), (1, None), (1, None), (1, Some(1))]
    {
        push(stream, number);
    }
    let mut merged = Vec::new();
    while let Some(unit) = collector.next_unit() {
        write_merged(&unit, &mut merged);
    }
    assert_eq!(merged.len() as u64, journals.iter().map(|journal| journal.end().0).sum::<u64>());
    let mut reader = Reader::new(0);
    reader.feed(&merged);
    let mut lines = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        lines.push(item.to_string());
    }
    let commands = ["SELECT 1", "INCR n", "DECR n", "SELECT 0"];
    let pair = ["MULTI", "EXEC"];
    let expected: Vec<&str> = [&pair[..1], &commands, &pair[1..], &pair[..1]]
        .into_iter()
        .chain([&commands[..]; 7])
        .chain([&pair[1..]])
        // Two transactions and three records that had a frame make five; one of them is the group's.
        .chain([&pair[..]; 4])
        .flatten()
        .copied()
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    type Case = (&'static [(usize, u64, &'static [u16])], CollectError);
    let cases: [Case; 8] = [
        (&[(2, 1, &[0, 1])], CollectError::NoSuchStream(2)),
        (&[(0, 1, &[0, 2])], CollectError::NoSuchStream(2)),
        (&[(0, 1, &[1])], CollectError::Uninvited(id(1), 0)),
        (&[(0, 1, &[])], CollectError::Uninvited(id(1), 0)),
        (&[(0, 1, &[0, 1, 0])], CollectError::NamedTwice(id(1), 0)),
        (&[(0, 1, &[0, 1]), (0, 1, &[0, 1])], CollectError::Repeated(id(1), 0)),
        (&[(0, 1, &[0, 1]), (1, 1, &[1, 0])], CollectError::Disagreement(id(1))),
        (&[(0, 1, &[0, 1]), (1, 1, &[1])], CollectError::Disagreement(id(1))),
    ];
    for (parts, error) in cases {
        let mut collector = Collector::new(2, LIMIT_BYTES);
        let mut push = |&(stream, number, shards): &(usize, u64, &[u16])| {
            collector.push_part(stream, &txn(number, shards), word("x"), ())
        };
        let (last, before) = parts.split_last().unwrap();
        before.iter().for_each(|part| push(part).unwrap());
        assert_eq!(push(last), Err(error), "{parts:?}");
        let text = error.to_string();
        assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
        while collector.next_unit().is_some() {}
    }
    let mut collector = Collector::new(2, LIMIT_BYTES);
    assert_eq!(collector.push_plain(2, word("x"), ()), Err(CollectError::NoSuchStream(2)));
    let held = || {
        let mut collector = Collector::new(2, LIMIT_BYTES);
        collector.push_part(0, &txn(1, &[0, 1]), word("x"), ()).unwrap();
        collector
    };
    // A third stream's part of a transaction that is held.
    let mut three = Collector::new(3, LIMIT_BYTES);
    three.push_part(0, &txn(1, &[0, 1]), word("x"), ()).unwrap();
    let uninvited = three.push_part(2, &txn(1, &[0, 1]), word("x"), ());
    assert_eq!(uninvited, Err(CollectError::Uninvited(id(1), 2)));
    // Another core's transaction of the same number is another.
    let other = Txn { core: CoreId(4), ..txn(1, &[0, 1]) };
    held().push_part(0, &other, word("x"), ()).unwrap();
}

#[test]
fn at_the_limit_nothing_more_is_taken() {
    let mut collector = Collector::new(2, 1000);
    // One item may be larger, also by far: it is what is behind it that adds up.
    collector.push_plain(0, vec![0; 5000].into(), ()).unwrap();
    assert_eq!(collector.push_plain(0, word("x"), ()), Err(CollectError::Full));
    assert!(collector.next_unit().is_some());
    assert_eq!(collector.held_bytes(), 0);
    collector.push_part(0, &txn(1, &[0, 1]), word("x"), ()).unwrap();
    let mut taken = 0;
    while collector.push_plain(0, word("x"), ()).is_ok() {
        taken += 1;
        assert!(taken < 1000, "records without end are taken");
    }
    assert!(collector.held_bytes() >= 1000 && collector.held_bytes() < 1100);
    assert_eq!(collector.push_part(1, &txn(1, &[0, 1]), word("x"), ()), Err(CollectError::Full));
    assert!(collector.next_unit().is_none());
}

#[test]
fn room_goes_with_what_was_held() {
    let mut words = Words::new(2);
    words.part(0, 1, &[0, 1]);
    for number in 2..20_000 {
        words.part(0, number, &[0, 1]);
        words.plain(0, "a");
    }
    assert!(words.collector.streams[0].items.capacity() >= 20_000);
    for number in 1..20_000 {
        words.part(1, number, &[0, 1]);
    }
    assert_eq!(words.units().len(), 2 * 20_000 - 3);
    assert!(words.is_empty());
    let collector = &words.collector;
    for room in [collector.streams[0].items.capacity(), collector.txns.items.capacity()] {
        assert!(room <= 2 * SPARE_ITEMS_MAX, "{room}");
    }
}

#[test]
fn a_long_queue_costs_each_of_its_items_once() {
    // Behind one transaction that is not whole, without and with others in the queue.
    for every in [u64::MAX, 10, 1] {
        let mut words = Words::new(3);
        words.part(0, 0, &[0, 1, 2]);
        words.part(1, 0, &[0, 1, 2]);
        let items = 5000;
        for number in 1..items {
            if number % every == 0 {
                words.part(0, number, &[0, 1]);
                words.part(1, number, &[0, 1]);
            } else {
                words.plain(0, "a");
            }
            assert_eq!(words.collector.next_unit(), None);
        }
        assert!(words.collector.looks < 10, "{}", words.collector.looks);
        words.part(2, 0, &[0, 1, 2]);
        assert_eq!(words.units().len() as u64, items);
        assert!(words.is_empty());
        assert!(words.collector.looks < 10 * items as usize, "{}", words.collector.looks);
    }
    // All cross all others: one stream has them the other way round.
    let mut words = Words::new(2);
    (0..5000).for_each(|number| words.part(0, number, &[0, 1]));
    (0..5000).rev().for_each(|number| words.part(1, number, &[0, 1]));
    let units = words.units();
    assert!(units.len() == 1 && units[0].starts_with("5000: "));
    assert!(words.collector.looks < 10 * 5000, "{}", words.collector.looks);
}

/// Two readers and a collector that talk by messages which take as long as they like.
struct Talk {
    collector: Collector<u64>,
    detours: [Detour; 2],
    /// What is on its way to the collector, and from it.
    sent: [VecDeque<(u64, Option<Txn>)>; 2],
    told: [VecDeque<u64>; 2],
    /// Units that came out and are being applied.
    applying: VecDeque<Unit<u64>>,
    /// How many items of each stream were applied, and how many of them by the reader, after it had sent some.
    applied: [u64; 2],
    direct: u64,
}

impl Talk {
    fn read(&mut self, stream: usize, at: u64, txn: Option<Txn>) {
        let detour = &mut self.detours[stream];
        if txn.is_some() || detour.is_open() {
            detour.send();
            self.sent[stream].push_back((at, txn));
        } else {
            self.direct += u64::from(detour.sent > 0);
            self.apply(stream, at);
        }
    }

    fn apply(&mut self, stream: usize, at: u64) {
        assert_eq!(self.applied[stream] + 1, at, "applied out of order");
        self.applied[stream] = at;
    }

    /// One message or application, if there is one: whether there was.
    fn step(&mut self, rng: &mut Prng) -> bool {
        let stream = rng.below(2) as usize;
        match rng.below(4) {
            0 => {
                let Some((at, txn)) = self.sent[stream].pop_front() else { return false };
                match txn {
                    Some(txn) => self.collector.push_part(stream, &txn, word("x"), at).unwrap(),
                    None => self.collector.push_plain(stream, word("x"), at).unwrap(),
                }
                true
            }
            1 => {
                let unit = self.collector.next_unit();
                let came = unit.is_some();
                self.applying.extend(unit);
                came
            }
            2 => {
                let Some(unit) = self.applying.pop_front() else { return false };
                for reached in unit.reached() {
                    let first = reached.mark + 1 - reached.items;
                    (first..=reached.mark).for_each(|at| self.apply(reached.stream, at));
                    self.told[reached.stream].extend(self.collector.applied(reached));
                }
                true
            }
            _ => {
                let Some(count) = self.told[stream].pop_front() else { return false };
                let is_over = self.detours[stream].settle(count);
                assert_eq!(is_over, !self.detours[stream].is_open());
                true
            }
        }
    }
}

#[test]
fn a_reader_applies_itself_again_when_nothing_of_its_stream_is_anywhere_else() {
    let mut direct = 0;
    for seed in 0..200 {
        let mut rng = Prng::new(seed);
        let mut talk = Talk {
            collector: Collector::new(2, LIMIT_BYTES),
            detours: Default::default(),
            sent: Default::default(),
            told: Default::default(),
            applying: VecDeque::new(),
            applied: [0; 2],
            direct: 0,
        };
        // Some transactions, in the same order in both streams or neighbours swapped, and records between.
        let mut streams: [VecDeque<Option<Txn>>; 2] = Default::default();
        for pair in 0..4 {
            for stream in &mut streams {
                let is_swapped = rng.below(4) == 0;
                for number in if is_swapped { [1, 0] } else { [0, 1] } {
                    (0..rng.below(6)).for_each(|_| stream.push_back(None));
                    stream.push_back(Some(txn(2 * pair + number, &[0, 1])));
                }
            }
        }
        let lens = [0, 1].map(|stream: usize| streams[stream].len() as u64);
        let patience = 1 + rng.below(20);
        let mut read = [0; 2];
        let mut idle = 0;
        while idle < 200 || streams.iter().any(|stream| !stream.is_empty()) {
            let stream = rng.below(2) as usize;
            if rng.below(patience) == 0 {
                if let Some(txn) = streams[stream].pop_front() {
                    read[stream] += 1;
                    talk.read(stream, read[stream], txn);
                    idle = 0;
                }
            }
            idle = if talk.step(&mut rng) { 0 } else { idle + 1 };
        }
        assert_eq!((talk.applied, read), (lens, lens), "seed {seed}");
        assert!(talk.detours.iter().all(|detour| !detour.is_open()), "seed {seed}: a reader was not told");
        direct += talk.direct;
    }
    assert!(direct > 500, "readers hardly ever applied themselves again: {direct}");
}
