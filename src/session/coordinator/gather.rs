//! Commands that work on what several keys hold: one shard borrows the values of the others.
//!
//! The shard of the first key (the destination of those that store) is the command's home. In the first step the other
//! shards export what their keys hold; in the second the home puts it into its scratch database, runs the command as if
//! all keys were its own, and empties the scratch database again.

use smallvec::SmallVec;

use super::{Answer, Calls, Decision, Merge, PlannedPart, Replies, Shape};
use crate::base::ids::{DbIndex, ShardId};
use crate::command::Spec;
use crate::resp::{reply, OwnedArgs};
use crate::shard::locks::{Claims, Mode};
use crate::shard::shard::mode_of;
use crate::shard::{Call, OwnedCall};

/// A command whose sources are being fetched.
#[derive(Debug)]
pub(super) struct Gather {
    home: ShardId,
    call: OwnedCall,
    /// Which keys each other shard was asked for, in order.
    asked: Vec<(ShardId, OwnedArgs)>,
    /// Imports of what is at hand already.
    lent: Vec<OwnedCall>,
}

/// The first step.
pub(super) fn plan(shape: Shape<'_>, spec: &Spec, call: Call<'_>) -> (Merge, Vec<PlannedPart>) {
    let args = call.args;
    let mut keys = spec.key_indexes(args).map(|index| args.at(index));
    let first = keys.next().unwrap_or_default();
    let home = shape.shard_of(first);
    let claims = Claims::Keys(SmallVec::from_elem((shape.hasher.hash(first), mode_of(spec)), 1));
    let mut parts = vec![PlannedPart { shard: home, claims, calls: Vec::new() }];
    let mut asked: Vec<(ShardId, OwnedArgs)> = Vec::new();
    for key in keys {
        let shard = shape.shard_of(key);
        let at = parts.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
            parts.push(PlannedPart { shard, claims: Claims::Keys(SmallVec::new()), calls: Vec::new() });
            asked.push((shard, OwnedArgs::default()));
            parts.len() - 1
        });
        let part = &mut parts[at];
        if let Claims::Keys(claims) = &mut part.claims {
            claims.push((shape.hasher.hash(key), Mode::Shared));
        }
        if shard != home {
            part.calls.push(shape.look("_export", call.head.db, key));
            // The home's part is the first, and asks for nothing.
            asked[at - 1].1.push(key);
        }
    }
    (Merge::Gather(Gather { home, call: call.to_owned(), asked, lent: Vec::new() }), parts)
}

impl Gather {
    /// A command that is going to run at home; what it borrows is still to be told.
    pub(super) fn new(home: ShardId, call: OwnedCall, lent: Vec<OwnedCall>) -> Gather {
        Gather { home, call, asked: Vec::new(), lent }
    }

    /// It borrows what this key holds, unless that is at home.
    pub(super) fn ask(&mut self, shape: Shape<'_>, key: &[u8]) {
        let shard = shape.shard_of(key);
        if shard == self.home {
            return;
        }
        match self.asked.iter_mut().find(|(asked, _)| *asked == shard) {
            Some((_, keys)) => keys.push(key),
            None => self.asked.push((shard, OwnedArgs::collect([key]))),
        }
    }

    /// The calls that fetch what was asked for.
    pub(super) fn exports(&self, shape: Shape<'_>, db: DbIndex) -> Calls {
        let exports = |keys: &OwnedArgs| {
            let keys = keys.as_args();
            keys.iter_from(0).map(|key| shape.look("_export", db, key)).collect()
        };
        self.asked.iter().map(|(shard, keys)| (*shard, exports(keys))).collect()
    }

    /// The second step.
    pub(super) fn decide(self, shape: Shape<'_>, replies: &Replies) -> Decision {
        let Gather { home, call, asked, lent: mut calls } = self;
        let scratch = DbIndex(shape.options.databases);
        for (shard, keys) in &asked {
            let answers =
                replies.iter().find(|(from, _)| from == shard).map_or(&[][..], |(_, answers)| answers);
            for (key, answer) in keys.as_args().iter_from(0).zip(answers) {
                if let Some(blob) = reply::as_bulk(answer) {
                    calls.push(shape.call("_import", scratch, OwnedArgs::collect([b"_import", key, blob])));
                }
            }
        }
        let at = calls.len();
        calls.push(call);
        calls.push(shape.call("_forget", scratch, OwnedArgs::collect([&b"_forget"[..], b""])));
        Decision::Last(vec![(home, calls)], Answer::Of(home, at))
    }
}
