//! Members and scores, as replies show them.

use crate::base::double;
use crate::ds::listpack::Packed;
use crate::ds::zset::Item;
use crate::resp::{Proto, Reply};

/// A score.
pub(super) fn write_score(reply: &mut Reply<'_>, score: f64) {
    reply.double_text(double::Buffer::new().format(score));
}

/// A score, or that there is none.
pub(super) fn write_score_or_null(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => write_score(reply, score),
        None => reply.null(),
    }
}

/// A member.
pub(super) fn write_member(reply: &mut Reply<'_>, member: Packed<'_>) {
    match member {
        Packed::Int(number) => reply.bulk_int(number),
        Packed::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// What is shown of each member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The member alone.
    Members,
    /// The member and its score, one after the other.
    Flat,
    /// The member and its score as a pair.
    Pairs,
}

impl Shown {
    /// With scores, if they are asked for: RESP3 has pairs then.
    pub(super) fn new(reply: &Reply<'_>, with_scores: bool) -> Shown {
        match (with_scores, reply.proto()) {
            (false, _) => Shown::Members,
            (true, Proto::Resp2) => Shown::Flat,
            (true, Proto::Resp3) => Shown::Pairs,
        }
    }

    /// The head of an array of so many members.
    pub(super) fn write_head(self, reply: &mut Reply<'_>, members: usize) {
        match self {
            Shown::Members | Shown::Pairs => reply.array(members),
            Shown::Flat => reply.array(2 * members),
        }
    }

    /// One member of the array.
    pub(super) fn write(self, reply: &mut Reply<'_>, item: Item<'_>) {
        if self == Shown::Pairs {
            reply.array(2);
        }
        write_member(reply, item.member);
        if self != Shown::Members {
            write_score(reply, item.score);
        }
    }

    /// An array of members.
    pub(super) fn write_all<'i>(self, reply: &mut Reply<'_>, items: impl ExactSizeIterator<Item = Item<'i>>) {
        self.write_head(reply, items.len());
        items.for_each(|item| self.write(reply, item));
    }
}
