//! SORT where it reads keys of other shards, or stores on another.
//!
//! Which keys it reads is known only when its elements are. All shards are held whole meanwhile. The first step asks
//! the shard of the first key for the names; from then on it is a command that borrows the values of other shards
//! (`gather`). Its home is where it stores, else where its elements are.

use super::gather::Gather;
use super::{Decision, Merge, Plan, PlannedPart, Replies, Shape};
use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::command::generic::SortOptions;
use crate::command::Spec;
use crate::resp::{reply, Args, OwnedArgs};
use crate::shard::locks::{Claims, Mode};
use crate::shard::{Call, CallHead, OwnedCall};

/// A SORT whose elements are being looked at.
#[derive(Debug)]
pub(super) struct Sort {
    home: ShardId,
    call: OwnedCall,
}

/// Whether the request reads other keys than its row tells.
pub(super) fn reads_others(spec: &Spec, args: Args<'_>) -> bool {
    SortOptions::parse(args, spec.is_write()).is_ok_and(|options| options.reads_others())
}

/// The first step.
pub(super) fn plan(
    shape: Shape<'_>,
    spec: &Spec,
    call: Call<'_>,
) -> Result<(Merge, Vec<PlannedPart>), CommandError> {
    let Call { head, args } = call;
    let options = SortOptions::parse(args, spec.is_write())?;
    let key = args.at(1);
    let (source, target) = (shape.shard_of(key), options.store.map(|key| shape.shard_of(key)));
    let home = target.unwrap_or(source);
    let names = std::iter::once(&b"_sort_keys"[..]).chain(args.iter_from(1));
    let mut calls = vec![shape.call("_sort_keys", head.db, OwnedArgs::collect(names))];
    if source != home {
        calls.push(shape.look("_export", head.db, key));
    }
    let parts = (0..shape.shards).map(ShardId).map(|shard| PlannedPart {
        shard,
        claims: Claims::Whole(if target == Some(shard) { Mode::Exclusive } else { Mode::Shared }),
        calls: if shard == source { std::mem::take(&mut calls) } else { Vec::new() },
    });
    Ok((Merge::Sort(Sort { home, call: call.to_owned() }), parts.collect()))
}

impl Sort {
    /// The second step, or the last one where all keys are at home.
    pub(super) fn decide(self, shape: Shape<'_>, head: CallHead, replies: &Replies) -> Decision {
        let Sort { home, call } = self;
        let mut answers = replies.iter().flat_map(|(_, answers)| answers);
        let names = answers.next().map_or(&b""[..], |names| names);
        if names.starts_with(b"-") {
            return Decision::Answer(names.to_vec());
        }
        let scratch = DbIndex(shape.options.databases);
        let source = answers.next().and_then(|answer| reply::as_bulk(answer)).map(|blob| {
            let import = [&b"_import"[..], call.args.as_args().at(1), blob];
            shape.call("_import", scratch, OwnedArgs::collect(import))
        });
        let mut gather = Gather::new(home, call, source.into_iter().collect());
        for name in reply::elements(names).filter_map(reply::as_bulk) {
            gather.ask(shape, name);
        }
        let calls = gather.exports(shape, head.db);
        match calls.is_empty() {
            true => gather.decide(shape, &[]),
            false => Decision::More(calls, Plan { merge: Merge::Gather(gather), head }),
        }
    }
}
