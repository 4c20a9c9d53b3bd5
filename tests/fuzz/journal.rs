//! What must hold for the reader of journals, whatever the bytes: it reads the same in whatever pieces they come, what
//! it calls whole is whole, and it keeps no more than it was given.

use ringward::journal::{Item, Reader, Tail};

/// What is in a stream, how far it is whole, and whether the rest is damaged.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    items: Vec<(u64, String)>,
    tail: Tail,
    is_damaged: bool,
}

/// Checks a stream.
pub(crate) fn check(stream: &[u8]) {
    let whole = read(&[stream]);
    for len in [1, 2, 3, 7, 16] {
        let pieces: Vec<_> = stream.chunks(len).collect();
        // Where it is damaged the rest of it was not fed.
        let in_pieces = read(&pieces);
        let end = if whole.is_damaged { in_pieces.tail.end } else { whole.tail.end };
        let expected = Outcome { tail: Tail { end, ..whole.tail }, items: whole.items.clone(), ..whole };
        assert_eq!(in_pieces, expected, "pieces of {len}");
    }
    for at in 0..=stream.len().min(300) {
        let split = read(&[&stream[..at], &stream[at..]]);
        assert_eq!((&split.items, split.is_damaged), (&whole.items, whole.is_damaged), "split at {at}");
    }
    let Tail { records, commands, end } = whole.tail;
    assert!(records <= commands && commands <= end && end == stream.len() as u64);
    for cut in [records, commands] {
        let again = read(&[&stream[..cut as usize]]);
        assert!(!again.is_damaged, "cut at {cut}");
        assert_eq!((again.tail.commands, again.tail.end), (cut, cut));
        assert_eq!(again.items, whole.items[..again.items.len()]);
        assert_eq!(again.tail.records, records);
    }
}

fn read(pieces: &[&[u8]]) -> Outcome {
    let mut reader = Reader::new(0);
    let mut outcome = Outcome { items: Vec::new(), tail: Tail::default(), is_damaged: false };
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next() {
                Ok(Some(item)) => {
                    let (Item::Command { offset, .. } | Item::Annotation { offset, .. }) = item;
                    outcome.items.push((offset, item.to_string()));
                }
                Ok(None) => break,
                Err(damage) => {
                    assert_eq!(reader.next().err(), Some(damage));
                    outcome.is_damaged = true;
                    outcome.tail = reader.tail();
                    return outcome;
                }
            }
        }
    }
    outcome.tail = reader.tail();
    outcome
}
