//! What must hold for the readers of flows, and for what collects them, whatever the bytes: items are the same in
//! whatever pieces the bytes come, whoever goes on after an item reads the same, and nothing is applied that is not
//! whole.

use ringward::base::ids::ShardId;
use ringward::journal::{Damage, Reader, Txn};
use ringward::replication::collect::{write_merged, Collector};
use ringward::replication::flow::{FlowReader, Item, Position};

/// What a stream is, however it comes.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Parts, and between them the records as one piece.
    items: Vec<(Option<Txn>, Vec<u8>)>,
    /// Where one could stop.
    ends: Vec<Position>,
    end: Position,
    damage: Option<Damage>,
}

/// Checks a stream.
pub(crate) fn check(stream: &[u8]) {
    check_pieces(stream);
    check_collected(stream);
}

fn check_pieces(stream: &[u8]) {
    let reader = |at| FlowReader::new(ShardId(1), at);
    let whole = read(reader(Position::default()), &[stream]);
    assert!(whole.end.raw <= stream.len() as u64 && whole.end.offset.0 <= whole.end.raw);
    let mut one_by_one = Vec::new();
    for len in [1, 2, 3, 7, 16] {
        let pieces: Vec<_> = stream.chunks(len).collect();
        let outcome = read(reader(Position::default()), &pieces);
        assert_eq!((&outcome.items, outcome.end), (&whole.items, whole.end), "pieces of {len}");
        assert_eq!(outcome.damage, whole.damage, "pieces of {len}");
        if len == 1 {
            one_by_one = outcome.ends;
        }
    }
    // Bytes that come one by one show every place at which one may stop.
    assert!(whole.ends.iter().all(|end| one_by_one.contains(end)));
    for end in one_by_one {
        let (before, after) = stream.split_at(end.raw as usize);
        let before = read(reader(Position::default()), &[before]);
        let after = read(reader(end), &[after]);
        assert_eq!((before.end, before.damage), (end, None));
        assert_eq!((after.end, after.damage), (whole.end, whole.damage));
        let mut items = before.items;
        after.items.into_iter().for_each(|(txn, bytes)| push(&mut items, txn, &bytes));
        assert_eq!(items, whole.items);
    }
}

fn read(mut reader: FlowReader, pieces: &[&[u8]]) -> Outcome {
    let (mut items, mut ends, mut damage) = (Vec::new(), vec![reader.position()], None);
    'pieces: for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next() {
                Ok(None) => break,
                Ok(Some(Item::Plain { bytes, .. })) => {
                    check_whole(bytes);
                    push(&mut items, None, bytes);
                }
                Ok(Some(Item::Part { txn, records, .. })) => {
                    check_whole(records);
                    push(&mut items, Some(txn), records);
                }
                Err(found) => {
                    assert_eq!(reader.next(), Err(found));
                    damage = Some(found);
                    break 'pieces;
                }
            }
            ends.push(reader.position());
        }
        ends.push(reader.position());
    }
    ends.dedup();
    Outcome { items, ends, end: reader.position(), damage }
}

fn push(items: &mut Vec<(Option<Txn>, Vec<u8>)>, txn: Option<Txn>, bytes: &[u8]) {
    match items.last_mut() {
        Some((None, last)) if txn.is_none() => last.extend_from_slice(bytes),
        _ => items.push((txn, bytes.to_vec())),
    }
}

/// Only commands, and the last one at the end.
fn check_whole(bytes: &[u8]) {
    assert!(bytes.first() != Some(&b'#'));
    let mut reader = Reader::new(0);
    reader.feed(bytes);
    while let Some(item) = reader.next().expect("sound commands") {
        assert!(matches!(item, ringward::journal::Item::Command { .. }));
    }
    assert_eq!(reader.tail().commands, bytes.len() as u64);
}

/// The same bytes as three streams, one after the other and by turns: what fits together comes out, as many bytes as
/// the streams count; what does not is refused.
fn check_collected(stream: &[u8]) {
    for piece in [stream.len().max(1), 20] {
        let start = Position::default();
        let mut readers = [0, 1, 2].map(|shard| FlowReader::new(ShardId(shard), start));
        let mut collector = Collector::new(3, 10_000);
        let (mut at, mut merged) = ([start; 3], Vec::new());
        for piece in stream.chunks(piece) {
            let mut is_refused = false;
            for (shard, reader) in readers.iter_mut().enumerate() {
                reader.feed(piece);
                while let Ok(Some(item)) = reader.next() {
                    let pushed = match item {
                        Item::Plain { bytes, end } => collector.push_plain(shard, bytes.into(), end),
                        Item::Part { txn, records, end } => {
                            collector.push_part(shard, &txn, records.into(), end)
                        }
                    };
                    is_refused |= pushed.is_err();
                    if is_refused {
                        break;
                    }
                }
            }
            while let Some(unit) = collector.next_unit() {
                write_merged(&unit, &mut merged);
                for reached in unit.reached() {
                    at[reached.stream] = reached.mark;
                    let applied = collector.applied(reached);
                    assert_eq!(applied.is_some(), collector.is_clear(reached.stream));
                }
                assert_eq!(merged.len() as u64, at.iter().map(|at| at.offset.0).sum::<u64>());
            }
            if is_refused {
                break;
            }
        }
        check_whole(&merged);
        let all_clear = (0..3).all(|shard| collector.is_clear(shard));
        assert_eq!(all_clear, collector.held_bytes() == 0);
        assert!(all_clear || collector.missing().is_some());
        // Whoever reads it as a stock replica does comes to the same end.
        super::stock::check_sound(&merged);
    }
}
