//! Which history a node's data belongs to, and how a replica says how far it has come in it.
//!
//! A history has a name that is drawn by chance. A replica has its primary's. One that is promoted begins a history of
//! its own, and remembers the one before, with where its streams ended (Redis: `shiftReplicationId`): its siblings have
//! come no further than that, or it cannot be known that what they have is right.
//!
//! Positions are `raw` (see `replication`), one for each stream.

use smallvec::SmallVec;

use crate::base::num::parse_position;
use crate::base::prng::Prng;

/// A history's name: 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplId([u8; ReplId::LEN]);

/// How far each stream has come.
pub type Positions = SmallVec<[u64; 8]>;

/// The most streams that a node may have: what a request to resume may name.
pub const STREAMS_MAX: usize = 1024;

impl ReplId {
    /// How long the text is.
    pub const LEN: usize = 40;

    /// What INFO shows where there is none.
    pub const NONE: ReplId = ReplId([b'0'; ReplId::LEN]);

    /// A new one.
    pub fn random(prng: &mut Prng) -> ReplId {
        ReplId(std::array::from_fn(|_| b"0123456789abcdef"[prng.below(16) as usize]))
    }

    /// Reads one; any text of that length will do, as in Redis.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        text.try_into().ok().map(ReplId)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for ReplId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name.
    pub id: ReplId,
    /// The one that it went on from.
    pub before: Option<Before>,
}

/// The history before, as far as it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its name.
    pub id: ReplId,
    /// Where its streams ended here. The streams of the new history go on from there.
    pub ends: Positions,
    /// The combined offset at that point, for INFO.
    pub offset: u64,
}

/// How far streams have come, each raw and as an offset: what a replica has applied.
pub type Applied = SmallVec<[(u64, u64); 8]>;

/// Where a replica is: what it asks to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The history.
    pub id: ReplId,
    /// Up to where it has every stream.
    pub at: Positions,
    /// The combined offset.
    pub offset: u64,
}

impl History {
    /// A new one.
    pub fn new(prng: &mut Prng) -> History {
        History { id: ReplId::random(prng), before: None }
    }

    /// A new one that goes on from here.
    pub fn shift(&mut self, ends: Positions, offset: u64, prng: &mut Prng) {
        let before = Before { id: self.id, ends, offset };
        *self = History { id: ReplId::random(prng), before: Some(before) };
    }

    /// Whether who is there in that history can be brought to this one's present by what the streams have from there
    /// on. (Whether they still have it is another question.)
    ///
    /// # Errors
    /// Why not, for the log.
    pub fn can_resume(&self, id: ReplId, at: &[u64], streams: usize) -> Result<(), String> {
        if at.len() != streams {
            return Err(format!("it has {} streams, where there are {streams} here", at.len()));
        }
        if id == self.id {
            return Ok(());
        }
        match &self.before {
            Some(before) if before.id == id => {
                let is_ahead = |(at, end): (&u64, &u64)| -> bool { at > end };
                match before.ends.len() != streams || at.iter().zip(&before.ends).any(is_ahead) {
                    true => Err("it has gone on in the history that ended here".to_owned()),
                    false => Ok(()),
                }
            }
            _ => Err(format!("its history is {id}, and here it is {}", self.id)),
        }
    }
}

/// Where streams that have come so far are, raw, and their combined offset.
pub fn combined(applied: &[(u64, u64)]) -> (Positions, u64) {
    // What others claim may be more than a number can hold.
    let offset = applied.iter().fold(0, |sum: u64, &(_, offset)| sum.saturating_add(offset));
    (applied.iter().map(|&(raw, _)| raw).collect(), offset)
}

/// Positions as text: `17,0,4`.
pub fn write_positions(positions: &[u64]) -> String {
    let texts: Vec<String> = positions.iter().map(u64::to_string).collect();
    texts.join(",")
}

/// Reads it.
pub fn parse_positions(text: &[u8]) -> Option<Positions> {
    let mut positions = Positions::new();
    for field in text.split(|&byte| byte == b',') {
        if positions.len() == STREAMS_MAX {
            return None;
        }
        positions.push(parse_position(field)?);
    }
    Some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_and_read() {
        for positions in [&[0][..], &[1, i64::MAX as u64, 3]] {
            assert_eq!(parse_positions(write_positions(positions).as_bytes()).unwrap()[..], *positions);
        }
        for text in ["", "1,", ",", "-1", "1 2", "x", "9223372036854775808", "18446744073709551616"] {
            assert_eq!(parse_positions(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_positions("1,".repeat(STREAMS_MAX).as_bytes()), None);
        assert_eq!(combined(&[(4, 1), (5, 2)]), (Positions::from_slice(&[4, 5]), 3));
        assert_eq!(combined(&[(0, i64::MAX as u64); 3]).1, u64::MAX);
    }

    #[test]
    fn who_has_gone_on_elsewhere_cannot_resume() {
        let mut prng = Prng::new(1);
        let mut history = History::new(&mut prng);
        let first = history.id;
        assert_eq!(history.can_resume(first, &[5, 7], 2), Ok(()));
        assert!(history.can_resume(first, &[5], 2).is_err());
        assert!(history.can_resume(ReplId::random(&mut prng), &[5, 7], 2).is_err());
        history.shift(Positions::from_slice(&[5, 7]), 12, &mut prng);
        assert_ne!(history.id, first);
        assert_eq!(history.can_resume(first, &[5, 7], 2), Ok(()));
        assert_eq!(history.can_resume(first, &[0, 3], 2), Ok(()));
        assert!(history.can_resume(first, &[5, 8], 2).is_err());
        assert!(history.can_resume(first, &[5, 7, 0], 3).is_err());
        assert_eq!(history.can_resume(history.id, &[50, 70], 2), Ok(()));
        let second = history.id;
        history.shift(Positions::from_slice(&[50, 70]), 120, &mut prng);
        assert!(history.can_resume(first, &[5, 7], 2).is_err());
        assert_eq!(history.can_resume(second, &[5, 7], 2), Ok(()));
        assert_eq!(ReplId::parse(second.as_str().as_bytes()), Some(second));
        assert_eq!(ReplId::parse(b"short"), None);
    }
}
