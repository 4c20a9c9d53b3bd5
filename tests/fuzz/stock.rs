//! What must hold for the reader of a stock primary's stream and for its snapshot's payload, whatever the bytes: the
//! same comes out in whatever pieces they come, and whoever goes on after an item reads the same.

use ringward::base::ids::{DbIndex, Offset};
use ringward::replication::payload::Payload;
use ringward::replication::stock::{StockItem, StockReader};
use ringward::resp::Args;

/// What a stream is, however it comes.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// All runs as one.
    runs: Vec<u8>,
    /// Where the primary asked, and where something was left out.
    others: Vec<(bool, Offset)>,
    damage: Option<String>,
    end: (Offset, DbIndex),
}

/// Checks a stream, also as a payload.
pub(crate) fn check(stream: &[u8]) {
    let whole = read((Offset(0), DbIndex(0)), &[stream]).0;
    let (mut ends, mut payload) = (Vec::new(), None);
    for len in [1, 2, 3, 7, 16, stream.len().max(1)] {
        let pieces: Vec<_> = stream.chunks(len).collect();
        let (outcome, stops) = read((Offset(0), DbIndex(0)), &pieces);
        assert_eq!(outcome, whole, "pieces of {len}");
        if len == 1 {
            ends = stops;
        }
        let taken = take(&pieces);
        assert_eq!(payload.get_or_insert_with(|| taken.clone()), &taken, "pieces of {len}");
    }
    for (end, db) in ends {
        let (before, after) = stream.split_at(end.0 as usize);
        let (mut first, second) = (read((Offset(0), DbIndex(0)), &[before]).0, read((end, db), &[after]).0);
        assert_eq!((first.end, &first.damage), ((end, db), &None));
        first.runs.extend(second.runs);
        first.others.extend(second.others);
        assert_eq!((first.runs, first.others), (whole.runs.clone(), whole.others.clone()));
        assert_eq!((second.damage, second.end), (whole.damage.clone(), whole.end));
    }
}

/// Checks that a stream is read to its end.
pub(crate) fn check_sound(stream: &[u8]) {
    let mut reader = StockReader::new(Offset(0), DbIndex(0), u16::MAX);
    reader.feed(stream);
    let mut at = Offset(0);
    while let Some(item) = reader.next(|_| true).expect("a sound stream") {
        let (StockItem::Run { end, .. } | StockItem::Ask { end } | StockItem::Skip { end }) = item;
        at = end;
    }
    assert_eq!(at, Offset(stream.len() as u64));
}

fn read(start: (Offset, DbIndex), pieces: &[&[u8]]) -> (Outcome, Vec<(Offset, DbIndex)>) {
    let can_run = |args: Args<'_>| !args.is(0, "incr");
    let mut reader = StockReader::new(start.0, start.1, 16);
    let mut outcome = Outcome { runs: Vec::new(), others: Vec::new(), damage: None, end: start };
    let mut ends = vec![start];
    for piece in pieces {
        reader.feed(piece);
        loop {
            let end = match reader.next(can_run) {
                Ok(None) => break,
                Ok(Some(StockItem::Run { bytes, end })) => {
                    outcome.runs.extend_from_slice(bytes);
                    end
                }
                Ok(Some(StockItem::Ask { end })) => {
                    outcome.others.push((true, end));
                    end
                }
                Ok(Some(StockItem::Skip { end })) => {
                    outcome.others.push((false, end));
                    end
                }
                Err(reason) => {
                    assert_eq!(reader.next(can_run), Err(reason.clone()));
                    outcome.damage = Some(reason);
                    return (outcome, ends);
                }
            };
            outcome.end = (end, reader.db());
            ends.push(outcome.end);
        }
    }
    (outcome, ends)
}

/// What comes out of a payload, how much of the bytes it was, and whether it has ended.
fn take(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), String> {
    let (mut payload, mut out, mut taken) = (Payload::default(), Vec::new(), 0);
    for piece in pieces {
        let len = payload.feed(piece, &mut out)?;
        assert!(len == piece.len() || payload.is_over());
        taken += len;
        if payload.is_over() {
            break;
        }
    }
    Ok((out, taken, payload.is_over()))
}
