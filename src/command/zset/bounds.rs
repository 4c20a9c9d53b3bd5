//! What a range is: the arguments that say where it begins and ends, and which ranks of a sorted set that takes in.

use std::ops::Range;

use crate::base::double;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::ds::zset::{LexEnd, LexRange, ScoreRange};
use crate::keyspace::ZsetRef;

/// What a range counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// A range of members.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bounds<'a> {
    /// From one rank to another, which is in. Those below zero count from the end.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads the two ends of a range.
    pub(super) fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, CommandError> {
        Ok(match by {
            By::Rank => {
                let rank = |text| parse_i64(text).ok_or(CommandError::NOT_INTEGER);
                Bounds::Rank(rank(min)?, rank(max)?)
            }
            By::Score => {
                let end = |text| score_end(text).ok_or(CommandError::SCORE_RANGE);
                let ((min, min_is_open), (max, max_is_open)) = (end(min)?, end(max)?);
                Bounds::Score(ScoreRange { min, min_is_open, max, max_is_open })
            }
            By::Lex => {
                let end = |text| lex_end(text).ok_or(CommandError::LEX_RANGE);
                Bounds::Lex(LexRange { min: end(min)?, max: end(max)? })
            }
        })
    }

    /// The ranks of those members of a sorted set that are in. In `reverse`, ranks count from the last member; the
    /// result counts from the first all the same.
    pub(super) fn ranks(&self, zset: ZsetRef<'_>, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Rank(start, stop) => {
                let ranks = absolute(*start, *stop, zset.len());
                match reverse {
                    true => zset.len() - ranks.end..zset.len() - ranks.start,
                    false => ranks,
                }
            }
            Bounds::Score(range) => zset.ranks_by_score(range),
            Bounds::Lex(range) => zset.ranks_by_lex(range),
        }
    }
}

/// The ranks from `start` to `stop` of so many members.
fn absolute(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_start = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
    let start = from_start(start).clamp(0, len);
    let end = from_start(stop).saturating_add(1).clamp(start, len);
    start as usize..end as usize
}

/// A score, and whether it is left out.
fn score_end(text: &[u8]) -> Option<(f64, bool)> {
    match text {
        [b'(', score @ ..] => Some((double::parse_bound(score)?, true)),
        score => Some((double::parse_bound(score)?, false)),
    }
}

fn lex_end(text: &[u8]) -> Option<LexEnd<'_>> {
    match text {
        b"-" => Some(LexEnd::Lowest),
        b"+" => Some(LexEnd::Highest),
        [b'[', member @ ..] => Some(LexEnd::Closed(member)),
        [b'(', member @ ..] => Some(LexEnd::Open(member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_either_end() {
        for (start, stop, ranks) in [
            (0, -1, 0..10),
            (2, 4, 2..5),
            (-3, -1, 7..10),
            (-100, 3, 0..4),
            (5, 100, 5..10),
            (5, 4, 5..5),
            (100, 200, 10..10),
            (-100, -50, 0..0),
            (i64::MIN, i64::MAX, 0..10),
            (i64::MAX, i64::MIN, 10..10),
        ] {
            assert_eq!(absolute(start, stop, 10), ranks, "{start} {stop}");
            assert!(absolute(start, stop, 0).is_empty());
        }
    }
}
