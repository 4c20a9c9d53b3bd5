//! Random histories of a primary, written through `Journal`, read through `FlowReader`s in random pieces, and brought
//! together in random order: what comes out is compared with a model of the data, and with the definition of a unit.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::ids::{DbIndex, Offset};
use crate::base::prng::Prng;
use crate::journal::{words, Annotation, Journal, Reader};
use crate::replication::flow::{self, FlowReader, Position};
use crate::replication::stock::{StockItem, StockReader};

/// What a transaction touches.
#[derive(Clone, Debug)]
enum Scope {
    /// Keys, each of a shard.
    Keys(Vec<(usize, u8)>),
    /// All keys.
    All,
}

/// A record that concerns one shard.
#[derive(Clone, Copy, Debug)]
enum Single {
    Set,
    /// In a database that is not 0.
    Elsewhere,
    /// Two commands in one.
    Two,
    Ping,
    /// No record: an annotation.
    Time,
}

#[derive(Clone, Debug)]
struct History {
    shards: usize,
    txns: Vec<Scope>,
    singles: Vec<(usize, Single)>,
    /// Of a hundred choices, how many prefer not the oldest transaction.
    disorder: u64,
    seed: u64,
}

/// Values by database and key. Keys name their shard.
type Data = BTreeMap<(u64, String), String>;

/// One stream and what is known of it.
struct Written {
    journal: Journal,
    bytes: Vec<u8>,
    data: Data,
    /// After each record or annotation: its end, and the shard's data then.
    ends: BTreeMap<u64, (Offset, Data)>,
    /// Where each transaction's part ends.
    parts: BTreeMap<u64, u64>,
}

fn history() -> impl Strategy<Value = History> {
    let scope = prop_oneof![
        1 => Just(Scope::All),
        12 => vec((0..5usize, 0..4u8), 1..5).prop_map(Scope::Keys),
    ];
    let single = prop_oneof![
        4 => Just(Single::Set),
        2 => Just(Single::Elsewhere),
        2 => Just(Single::Two),
        1 => Just(Single::Ping),
        1 => Just(Single::Time),
    ];
    let disorder = prop_oneof![Just(0), 1..30u64, Just(100)];
    (1..=5usize, vec(scope, 0..16), vec((0..5usize, single), 0..30), disorder, any::<u64>())
        .prop_map(|(shards, txns, singles, disorder, seed)| History { shards, txns, singles, disorder, seed })
}

impl Scope {
    /// The shards that have a part of it.
    fn shards(&self, shards: usize) -> BTreeSet<usize> {
        match self {
            Scope::All => (0..shards).collect(),
            Scope::Keys(keys) => keys.iter().map(|(shard, _)| shard % shards).collect(),
        }
    }

    fn conflicts(&self, other: &Scope, shards: usize) -> bool {
        let (Scope::Keys(one), Scope::Keys(other)) = (self, other) else { return true };
        let is_same = |a: &(usize, u8), b: &(usize, u8)| (a.0 % shards, a.1) == (b.0 % shards, b.1);
        one.iter().any(|key| other.iter().any(|other| is_same(key, other)))
    }
}

impl History {
    /// Each shard's transactions in an order of its own, in which those that conflict stand as all have them.
    fn orders(&self, rng: &mut Prng) -> Vec<Vec<usize>> {
        let order = |shard: usize, rng: &mut Prng| {
            let mut left: Vec<usize> = (0..self.txns.len())
                .filter(|&txn| self.txns[txn].shards(self.shards).contains(&shard))
                .collect();
            let mut order = Vec::new();
            while !left.is_empty() {
                let conflict = |a: usize, b: usize| self.txns[a].conflicts(&self.txns[b], self.shards);
                let free: Vec<usize> = (0..left.len())
                    .filter(|&at| left[..at].iter().all(|&before| !conflict(before, left[at])))
                    .collect();
                let is_odd = rng.below(100) < self.disorder;
                order.push(left.remove(if is_odd { free[rng.below(free.len() as u64) as usize] } else { 0 }));
            }
            order
        };
        (0..self.shards).map(|shard| order(shard, rng)).collect()
    }

    /// How a transaction is announced. Which of its shards is the first is left to chance.
    fn txn(&self, number: usize) -> Txn {
        let mut shards: SmallVec<[ShardId; 8]> =
            self.txns[number].shards(self.shards).into_iter().map(|shard| ShardId(shard as u16)).collect();
        let by = self.seed as usize % shards.len();
        shards.rotate_left(by);
        Txn { core: CoreId(number as u16 % 2), number: number as u64, shards }
    }

    fn write(&self, rng: &mut Prng) -> Vec<Written> {
        let mut value = 0;
        let orders = self.orders(rng);
        let stream = |(shard, order): (usize, Vec<usize>)| {
            let mut journal = Journal::new(ShardId(shard as u16));
            journal.set_recording(true);
            let (data, ends) = (Data::new(), BTreeMap::from([(0, (Offset(0), Data::new()))]));
            let mut written = Written { journal, bytes: Vec::new(), data, ends, parts: BTreeMap::new() };
            let mut singles = self.singles.iter().filter(|(at, _)| at % self.shards == shard);
            let mut left = singles.clone().count();
            for txn in order.iter().map(Some).chain([None]) {
                let now = if txn.is_none() { left } else { rng.below(left as u64 + 1) as usize };
                left -= now;
                for (_, single) in singles.by_ref().take(now) {
                    value += 1;
                    written.single(shard, *single, value);
                }
                if let Some(&txn) = txn {
                    value += 1;
                    written.part(shard, self, txn, value);
                }
            }
            written
        };
        orders.into_iter().enumerate().map(stream).collect()
    }
}

impl Written {
    fn set(&mut self, db: u16, key: &str, value: u64) {
        let value = format!("v{value}");
        self.journal.effect(DbIndex(db), words!["SET", key, value.as_str()]);
        self.data.insert((u64::from(db), key.to_owned()), value);
    }

    fn single(&mut self, shard: usize, single: Single, value: u64) {
        let key = format!("s{shard}k{}", value % 4);
        match single {
            Single::Set => self.set(0, &key, value),
            Single::Elsewhere => self.set(1 + (value % 3) as u16, &key, value),
            Single::Two => {
                self.set(0, &key, value);
                self.set((value % 2) as u16, &format!("s{shard}other"), value);
            }
            Single::Ping => self.journal.append(DbIndex(0), words!["PING"]),
            Single::Time => self.journal.annotate(&Annotation::Time(value)),
        }
        self.journal.commit();
        self.end();
    }

    fn part(&mut self, shard: usize, history: &History, number: usize, value: u64) {
        let part = self.journal.new_part();
        self.journal.enter_part(part);
        match &history.txns[number] {
            Scope::All => {
                self.journal.append(DbIndex(0), words!["FLUSHALL"]);
                self.data.clear();
            }
            Scope::Keys(keys) => {
                for (_, key) in keys.iter().filter(|(at, _)| at % history.shards == shard) {
                    // Some parts have no records: what they would have done changed nothing.
                    if value % 5 > 0 {
                        self.set((value % 2) as u16, &format!("s{shard}k{key}"), value);
                    }
                }
            }
        }
        self.journal.commit();
        let part = self.journal.leave_part();
        self.journal.append_part(&history.txn(number), part);
        self.end();
        self.parts.insert(number as u64, self.bytes.len() as u64);
    }

    fn end(&mut self) {
        self.journal.take_pending(&mut self.bytes);
        self.ends.insert(self.bytes.len() as u64, (self.journal.end(), self.data.clone()));
    }
}

/// Runs records, which begin and end with database 0.
fn run(bytes: &[u8], data: &mut Data) {
    let mut reader = Reader::new(0);
    reader.feed(bytes);
    let mut db = 0;
    while let Some(item) = reader.next().unwrap() {
        let line = item.to_string();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["SELECT", number] => db = number.parse().unwrap(),
            ["SET", key, value] => drop(data.insert((db, key.to_owned()), value.to_owned())),
            ["FLUSHALL"] => data.clear(),
            ["MULTI" | "EXEC" | "PING"] => {}
            _ => panic!("{line}"),
        }
    }
    assert_eq!(reader.tail().records, bytes.len() as u64, "records that end somewhere within");
}

/// What was pushed, as the definition of a unit sees it.
#[derive(Default)]
struct Relation {
    /// Each stream's items: which node each is.
    streams: Vec<Vec<usize>>,
    /// The transactions' nodes; every other item is a node of its own.
    txns: BTreeMap<TxnId, usize>,
    /// How many parts a node lacks.
    lacks: Vec<usize>,
}

impl Relation {
    fn push(&mut self, stream: usize, txn: Option<&Txn>) {
        let next = self.lacks.len();
        let node = match txn {
            None => next,
            Some(txn) => *self.txns.entry(TxnId { core: txn.core, number: txn.number }).or_insert(next),
        };
        if node == next {
            self.lacks.push(txn.map_or(1, |txn| txn.shards.len()));
        }
        self.lacks[node] -= 1;
        self.streams[stream].push(node);
    }

    /// For each node those that come after it.
    fn after(&self) -> Vec<BTreeSet<usize>> {
        let mut next = vec![BTreeSet::new(); self.lacks.len()];
        for stream in &self.streams {
            stream.windows(2).for_each(|pair| next[pair[0]].extend([pair[1]]));
        }
        let reach = |from: usize| {
            let (mut found, mut to_do) = (BTreeSet::new(), vec![from]);
            while let Some(node) = to_do.pop() {
                to_do.extend(next[node].iter().filter(|&&after| found.insert(after)));
            }
            found
        };
        (0..next.len()).map(reach).collect()
    }

    /// Whether all that could have come out has: these nodes have.
    fn is_prompt(&self, out: &BTreeSet<usize>) -> bool {
        let after = self.after();
        let mut held_up = BTreeSet::new();
        for node in (0..self.lacks.len()).filter(|&node| self.lacks[node] > 0) {
            held_up.insert(node);
            held_up.extend(&after[node]);
        }
        (0..self.lacks.len()).all(|node| out.contains(&node) != held_up.contains(&node))
    }
}

/// The units as they come out, and what has been checked of them.
struct Checked<'a> {
    history: &'a History,
    written: &'a [Written],
    relation: Relation,
    collector: Collector<Position>,
    units: Vec<(BTreeSet<usize>, usize)>,
    out: BTreeSet<usize>,
    /// How many items of each stream came out, and where that brings it.
    items: Vec<usize>,
    at: Vec<Position>,
    data: Data,
    merged: Vec<u8>,
}

impl Checked<'_> {
    fn push(&mut self, stream: usize, item: &flow::Item<'_>) {
        match item {
            flow::Item::Plain { bytes, end } => {
                self.relation.push(stream, None);
                self.collector.push_plain(stream, (*bytes).into(), *end).unwrap();
            }
            flow::Item::Part { txn, records, end } => {
                self.relation.push(stream, Some(txn));
                self.collector.push_part(stream, txn, (*records).into(), *end).unwrap();
            }
        }
    }

    fn take(&mut self) -> bool {
        let Some(unit) = self.collector.next_unit() else { return false };
        let mut nodes = BTreeSet::new();
        match &unit {
            Unit::Plain { bytes, .. } => run(bytes, &mut self.data),
            Unit::Group { records, .. } => {
                for piece in records {
                    assert!(!piece.is_empty());
                    let text = String::from_utf8_lossy(piece);
                    assert!(!text.contains("MULTI") && !text.contains("EXEC"), "{text}");
                    run(piece, &mut self.data);
                }
            }
        }
        for reached in unit.reached() {
            let (stream, from) = (reached.stream, self.items[reached.stream]);
            self.items[stream] += reached.items as usize;
            nodes.extend(&self.relation.streams[stream][from..self.items[stream]]);
            assert!(self.at[stream].raw < reached.mark.raw);
            self.at[stream] = reached.mark;
            self.check_data(stream);
        }
        let transactions = match unit {
            Unit::Plain { .. } => 0,
            Unit::Group { transactions, .. } => transactions,
        };
        write_merged(&unit, &mut self.merged);
        let offsets: u64 = self.at.iter().map(|at| at.offset.0).sum();
        assert_eq!(self.merged.len() as u64, offsets, "after each unit the merged stream is as long as all");
        self.check_whole();
        assert!(self.out.is_disjoint(&nodes));
        self.out.extend(&nodes);
        self.units.push((nodes, transactions));
        true
    }

    /// The stream's shard is as it was after the record that its mark names.
    fn check_data(&self, stream: usize) {
        let (offset, expected) = &self.written[stream].ends[&self.at[stream].raw];
        assert_eq!(self.at[stream].offset, *offset);
        let own = format!("s{stream}");
        let actual = self.data.iter().filter(|((_, key), _)| key.starts_with(&own));
        let expected = expected.iter().filter(|((_, key), _)| key.starts_with(&own));
        assert!(actual.eq(expected), "stream {stream}");
    }

    /// No transaction is half done.
    fn check_whole(&self) {
        for txn in 0..self.history.txns.len() {
            let done = |shard: &usize| self.written[*shard].parts[&(txn as u64)] <= self.at[*shard].raw;
            let shards = self.history.txns[txn].shards(self.history.shards);
            let count = shards.iter().filter(|shard| done(shard)).count();
            assert!(count == 0 || count == shards.len(), "transaction {txn} is half done");
        }
    }

    /// Units are the classes of the relation, in an order that keeps it.
    fn check_units(&self) {
        let after = self.relation.after();
        let place: BTreeMap<usize, usize> = self
            .units
            .iter()
            .enumerate()
            .flat_map(|(at, (nodes, _))| nodes.iter().map(move |&n| (n, at)))
            .collect();
        for (nodes, transactions) in &self.units {
            for &node in nodes {
                let mut class: BTreeSet<usize> =
                    after[node].iter().copied().filter(|other| after[*other].contains(&node)).collect();
                class.insert(node);
                assert_eq!(&class, nodes);
                assert!(after[node].iter().all(|other| place[other] >= place[&node]));
            }
            let txns = self.relation.txns.values().filter(|node| nodes.contains(node)).count();
            assert_eq!(*transactions, txns);
        }
        let history = self.history;
        let unit_of = |number: usize| {
            let Txn { core, number, .. } = history.txn(number);
            place[&self.relation.txns[&TxnId { core, number }]]
        };
        for (number, scope) in history.txns.iter().enumerate() {
            if matches!(scope, Scope::All) {
                let (nodes, transactions) = &self.units[unit_of(number)];
                assert_eq!(
                    (nodes.len(), *transactions),
                    (1, 1),
                    "what concerns all keys is a unit by itself"
                );
            }
            for before in 0..number {
                if history.txns[before].conflicts(scope, history.shards) {
                    assert!(unit_of(before) <= unit_of(number), "{before} and {number} conflict");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn units_are_whole_smallest_prompt_and_in_order(history in history()) {
        let mut rng = Prng::new(history.seed);
        let written = history.write(&mut rng);
        let shards = history.shards;
        let mut readers: Vec<FlowReader> =
            (0..shards).map(|shard| FlowReader::new(ShardId(shard as u16), Position::default())).collect();
        let mut checked = Checked {
            history: &history,
            written: &written,
            relation: Relation { streams: vec![Vec::new(); shards], ..Relation::default() },
            collector: Collector::new(shards, usize::MAX),
            units: Vec::new(),
            out: BTreeSet::new(),
            items: vec![0; shards],
            at: vec![Position::default(); shards],
            data: Data::new(),
            merged: Vec::new(),
        };
        let mut fed = vec![0; shards];
        let piece_max = [10, 200, 5000][rng.below(3) as usize];
        let mut left: Vec<usize> = (0..shards).filter(|&shard| !written[shard].bytes.is_empty()).collect();
        while !left.is_empty() {
            let at = rng.below(left.len() as u64) as usize;
            let stream = left[at];
            let rest = &written[stream].bytes[fed[stream]..];
            let piece = &rest[..(1 + rng.below(piece_max) as usize).min(rest.len())];
            fed[stream] += piece.len();
            readers[stream].feed(piece);
            while let Some(item) = readers[stream].next().unwrap() {
                checked.push(stream, &item);
            }
            if piece.len() == rest.len() {
                left.swap_remove(at);
            }
            if rng.below(3) == 0 {
                while checked.take() {}
                if rng.below(8) == 0 {
                    prop_assert!(checked.relation.is_prompt(&checked.out));
                }
            }
        }
        while checked.take() {}
        prop_assert!(checked.relation.is_prompt(&checked.out));
        checked.check_units();

        // Nothing is left over.
        let collector = &checked.collector;
        prop_assert_eq!(collector.held_bytes(), 0);
        prop_assert!((0..shards).all(|stream| collector.is_clear(stream)));
        prop_assert_eq!(collector.missing(), None);
        let items: usize = checked.items.iter().sum();
        prop_assert_eq!(items, checked.relation.streams.iter().map(Vec::len).sum::<usize>());
        prop_assert!(collector.looks <= (items + 1) * (shards + 3), "{} looks at {items}", collector.looks);
        for (stream, written) in written.iter().enumerate() {
            let end = Position { raw: written.bytes.len() as u64, offset: written.journal.end() };
            prop_assert_eq!(readers[stream].position(), end);
        }

        // The merged stream has the same data, and a reader of a stock Redis's stream reads all of it.
        let total: u64 = written.iter().map(|written| written.journal.end().0).sum();
        prop_assert_eq!(checked.merged.len() as u64, total);
        let mut data = Data::new();
        run(&checked.merged, &mut data);
        let mut expected = Data::new();
        written.iter().for_each(|written| expected.extend(written.data.clone()));
        prop_assert_eq!(data, expected);
        let mut reader = StockReader::new(Offset(5), DbIndex(0), 16);
        reader.feed(&checked.merged);
        let (mut again, mut at) = (Vec::new(), Offset(5));
        while let Some(item) = reader.next(|_| true).unwrap() {
            let StockItem::Run { bytes, end } = item else { panic!("{item:?}") };
            again.extend_from_slice(bytes);
            at = end;
        }
        prop_assert_eq!(at, Offset(5 + total));
        prop_assert!(again == checked.merged);
    }
}
