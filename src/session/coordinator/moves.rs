//! Commands that look first and then write: LMOVE, SMOVE, and those that take from the first key that is there.

use super::{Answer, Calls, Decision, Merge, PlannedPart, Replies, Shape};
use crate::base::error::CommandError;
use crate::base::ids::ShardId;
use crate::base::time::UnixMs;
use crate::command::{timeout, Spec};
use crate::resp::{reply, OwnedArgs, Reply};
use crate::shard::locks::{Claims, Mode};
use crate::shard::{Call, CallHead, OwnedCall};

/// A key that a command may run on, and the command with that key alone.
#[derive(Debug)]
pub(super) struct Candidate {
    shard: ShardId,
    call: OwnedCall,
}

/// LMPOP, ZMPOP, BLPOP and their kin: which of the keys are there?
pub(super) fn plan_first(shape: Shape<'_>, spec: &Spec, call: Call<'_>) -> (Merge, Vec<PlannedPart>) {
    let args = call.args;
    let indexes: Vec<usize> = spec.key_indexes(args).collect();
    let (first, last) = (indexes[0], indexes[indexes.len() - 1]);
    let counted = spec.keys.first().filter(|keys| keys.is_counted()).map(|keys| usize::from(keys.first));
    let mut parts: Vec<PlannedPart> = Vec::new();
    let mut candidates = Vec::new();
    for &index in &indexes {
        let key = args.at(index);
        let shard = shape.shard_of(key);
        let look = shape.look("exists", call.head.db, key);
        let claim = (shape.hasher.hash(key), Mode::Exclusive);
        match parts.iter_mut().find(|part| part.shard == shard) {
            Some(PlannedPart { claims: Claims::Keys(claims), calls, .. }) => {
                claims.push(claim);
                calls.push(look);
            }
            _ => {
                let claims = Claims::Keys([claim].into_iter().collect());
                parts.push(PlannedPart { shard, claims, calls: vec![look] });
            }
        }
        let before = (0..first).map(|at| if Some(at) == counted { &b"1"[..] } else { args.at(at) });
        let alone = before.chain([key]).chain(args.iter_from(last + 1));
        let head = CallHead { first_key: claim.0, ..call.head };
        candidates.push(Candidate { shard, call: OwnedCall { head, args: OwnedArgs::collect(alone) } });
    }
    (Merge::First(candidates), parts)
}

/// The command runs on the first key that is there. If none is, it runs on the first key all the same, to say so, or
/// what is wrong with its arguments.
pub(super) fn decide_first(mut candidates: Vec<Candidate>, replies: &Replies) -> Decision {
    let mut answers: Vec<_> = replies.iter().map(|(shard, replies)| (*shard, replies.iter())).collect();
    let mut is_there = |candidate: &Candidate| {
        let of_shard = answers.iter_mut().find(|(shard, _)| *shard == candidate.shard);
        let answer = of_shard.and_then(|(_, answers)| answers.next());
        answer.and_then(|answer| reply::as_int(answer)).is_some_and(|count| count > 0)
    };
    let at = candidates.iter().position(&mut is_there).unwrap_or(0);
    let Candidate { shard, call } = candidates.swap_remove(at);
    Decision::Last(vec![(shard, vec![call])], Answer::Of(shard, 0))
}

/// LMOVE, RPOPLPUSH, BLMOVE, BRPOPLPUSH.
#[derive(Debug)]
pub(super) struct ListMove {
    source: OwnedArgs,
    target: OwnedArgs,
    pops: &'static str,
    pushes: &'static str,
}

/// What would be taken, and what is the target?
pub(super) fn plan_list_move(
    shape: Shape<'_>,
    call: Call<'_>,
) -> Result<(Merge, Vec<PlannedPart>), CommandError> {
    let Call { head, args } = call;
    let (from_left, to_left) = if args.is(0, "rpoplpush") || args.is(0, "brpoplpush") {
        (false, true)
    } else {
        (is_left(args.at(3))?, is_left(args.at(4))?)
    };
    if args.is(0, "blmove") || args.is(0, "brpoplpush") {
        // Only whether it is one: when it ends is for whoever lets the client wait.
        timeout::deadline(args.at(args.len() - 1), UnixMs(0))?;
    }
    let (source, target) = (args.at(1), args.at(2));
    let end: &[u8] = if from_left { b"0" } else { b"-1" };
    let peek = shape.call("lindex", head.db, OwnedArgs::collect([b"lindex", source, end]));
    let parts = vec![
        shape.part(source, Mode::Exclusive, vec![peek]),
        shape.part(target, Mode::Exclusive, vec![shape.look("type", head.db, target)]),
    ];
    let list_move = ListMove {
        source: OwnedArgs::collect([source]),
        target: OwnedArgs::collect([target]),
        pops: if from_left { "lpop" } else { "rpop" },
        pushes: if to_left { "lpush" } else { "rpush" },
    };
    Ok((Merge::ListMove(list_move), parts))
}

fn is_left(word: &[u8]) -> Result<bool, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"left" => Ok(true),
        b"right" => Ok(false),
        _ => Err(CommandError::SYNTAX),
    }
}

impl ListMove {
    pub(super) fn decide(self, shape: Shape<'_>, head: CallHead, replies: &Replies) -> Decision {
        let ((source_shard, peeked), (target_shard, kind)) = (first(replies, 0), first(replies, 1));
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, head.proto);
        if peeked.starts_with(b"-") {
            return Decision::Answer(peeked.to_vec());
        }
        let Some(element) = reply::as_bulk(peeked) else {
            reply.null();
            return Decision::Answer(out);
        };
        if !matches!(kind, b"+none\r\n" | b"+list\r\n") {
            reply.error(CommandError::WRONG_TYPE.bytes());
            return Decision::Answer(out);
        }
        let ListMove { source, target, pops, pushes } = self;
        let pop = [pops.as_bytes(), source.as_args().at(0)];
        let push = [pushes.as_bytes(), target.as_args().at(0), element];
        let calls: Calls = vec![
            (source_shard, vec![shape.call(pops, head.db, OwnedArgs::collect(pop))]),
            (target_shard, vec![shape.call(pushes, head.db, OwnedArgs::collect(push))]),
        ];
        reply.bulk(element);
        Decision::Last(calls, Answer::Bytes(out))
    }
}

/// SMOVE.
#[derive(Debug)]
pub(super) struct SetMove {
    source: OwnedArgs,
    target: OwnedArgs,
    member: OwnedArgs,
}

/// Is the member in the source, and what is the target?
pub(super) fn plan_set_move(shape: Shape<'_>, call: Call<'_>) -> (Merge, Vec<PlannedPart>) {
    let Call { head, args } = call;
    let (source, target, member) = (args.at(1), args.at(2), args.at(3));
    let is_member = shape.call("sismember", head.db, OwnedArgs::collect([b"sismember", source, member]));
    let parts = vec![
        shape.part(source, Mode::Exclusive, vec![shape.look("type", head.db, source), is_member]),
        shape.part(target, Mode::Exclusive, vec![shape.look("type", head.db, target)]),
    ];
    let [source, target, member] = [source, target, member].map(|arg| OwnedArgs::collect([arg]));
    (Merge::SetMove(SetMove { source, target, member }), parts)
}

impl SetMove {
    pub(super) fn decide(self, shape: Shape<'_>, head: CallHead, replies: &Replies) -> Decision {
        let ((source_shard, source_kind), (target_shard, target_kind)) =
            (first(replies, 0), first(replies, 1));
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, head.proto);
        let is_set = |kind: &[u8]| kind == b"+set\r\n";
        let is_none = |kind: &[u8]| kind == b"+none\r\n";
        if is_none(source_kind) {
            reply.int(0);
            return Decision::Answer(out);
        }
        if !is_set(source_kind) || !(is_set(target_kind) || is_none(target_kind)) {
            reply.error(CommandError::WRONG_TYPE.bytes());
            return Decision::Answer(out);
        }
        if reply::as_int(&replies[0].1[1]) != Some(1) {
            reply.int(0);
            return Decision::Answer(out);
        }
        let SetMove { source, target, member } = self;
        let member = member.as_args().at(0);
        let call = |name: &str, key: &OwnedArgs| {
            shape.call(name, head.db, OwnedArgs::collect([name.as_bytes(), key.as_args().at(0), member]))
        };
        reply.int(1);
        let calls =
            vec![(source_shard, vec![call("srem", &source)]), (target_shard, vec![call("sadd", &target)])];
        Decision::Last(calls, Answer::Bytes(out))
    }
}

/// The shard of a part and what its first call has answered.
fn first(replies: &Replies, part: usize) -> (ShardId, &[u8]) {
    let (shard, replies) = &replies[part];
    (*shard, &replies[0])
}
