//! Which members a range by score, or by their bytes, takes in. Whatever its kind, a range comes down to ranks.

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lowest.
    pub min: f64,
    /// Whether the lowest is left out.
    pub min_is_open: bool,
    /// The highest.
    pub max: f64,
    /// Whether the highest is left out.
    pub max_is_open: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexEnd<'a> {
    /// Before all members.
    Lowest,
    /// After all members.
    Highest,
    /// At these bytes, which are in.
    Closed(&'a [u8]),
    /// At these bytes, which are left out.
    Open(&'a [u8]),
}

/// A range of members by their bytes, where all scores are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Where it begins.
    pub min: LexEnd<'a>,
    /// Where it ends.
    pub max: LexEnd<'a>,
}

impl ScoreRange {
    /// Whether a score lies before the range.
    #[inline]
    pub(super) fn is_below(&self, score: f64) -> bool {
        score < self.min || (self.min_is_open && score == self.min)
    }

    /// Whether a score lies behind it.
    #[inline]
    pub(super) fn is_above(&self, score: f64) -> bool {
        score > self.max || (self.max_is_open && score == self.max)
    }
}

impl LexRange<'_> {
    /// Whether a member lies before the range.
    pub(super) fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexEnd::Lowest => false,
            LexEnd::Highest => true,
            LexEnd::Closed(min) => member < min,
            LexEnd::Open(min) => member <= min,
        }
    }

    /// Whether a member lies behind it.
    pub(super) fn is_above(&self, member: &[u8]) -> bool {
        match self.max {
            LexEnd::Lowest => true,
            LexEnd::Highest => false,
            LexEnd::Closed(max) => member > max,
            LexEnd::Open(max) => member >= max,
        }
    }
}
