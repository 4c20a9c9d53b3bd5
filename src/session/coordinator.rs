//! A command over several shards: taken apart by shard, put together again.
//!
//! `plan` makes the parts of the first step. When all have answered, every key is held on every shard; `Plan::decide`
//! then says either what to answer, or what the second step writes where. Nothing after the first step can fail: what
//! could be refused was refused by `plan`, before anything was scheduled.

use smallvec::SmallVec;

use crate::base::error::CommandError;
use crate::base::ids::ShardId;
use crate::base::key::{shard_of_key, KeyHasher};
use crate::base::prng::Prng;
use crate::command::ctx::CommandOptions;
use crate::command::debug::DatasetDigest;
use crate::command::generic::CopyOptions;
use crate::command::spec::{Spread, Steps};
use crate::command::string::lcs::{lcs_reply, LcsOptions};
use crate::command::{Spec, Table};
use crate::resp::{reply, Args, OwnedArgs, Proto, Reply};
use crate::shard::locks::{Claims, Mode};
use crate::shard::shard::mode_of;
use crate::shard::{Call, CallHead, OwnedCall};

/// The first step of a command on one shard.
#[derive(Debug)]
pub struct PlannedPart {
    /// Where it runs.
    pub shard: ShardId,
    /// What it holds there until the end.
    pub claims: Claims,
    /// What runs there first.
    pub call: OwnedCall,
}

/// A command over several shards under way.
#[derive(Debug)]
pub struct Plan {
    merge: Merge,
    head: CallHead,
    /// Where each part of the first step went, in the order of the parts.
    shards: Vec<ShardId>,
}

/// How the shards' replies become one.
#[derive(Debug)]
enum Merge {
    Sum,
    /// For each key, which part has its element.
    Interleave(Vec<u16>),
    Concat,
    Ok,
    Draw,
    Rename {
        nx: bool,
        source: OwnedArgs,
        target: OwnedArgs,
    },
    Copy {
        target: OwnedArgs,
        options: CopyOptions,
    },
    /// The parts' shares of MSETNX's arguments.
    Msetnx(Vec<OwnedArgs>),
    /// With `proto-max-bulk-len`.
    Lcs(LcsOptions, u64),
    /// DEBUG DIGEST.
    Digest,
}

/// What happens when the first step is done everywhere.
#[derive(Debug)]
pub enum Decision {
    /// Answer this and let go everywhere.
    Answer(Vec<u8>),
    /// Write this on these shards and let go everywhere; then answer.
    Write(SmallVec<[(ShardId, OwnedCall); 2]>, Vec<u8>),
}

/// Whether all keys of a request lie on one shard, and on which; `None` if they do not. A request without keys, or
/// with an incomplete last group, lies where its first key would.
pub fn single_shard(spec: &Spec, args: Args<'_>, shards: u16) -> Option<ShardId> {
    let mut indexes = spec.key_indexes(args);
    let first = indexes.next().map_or(ShardId(0), |i| shard_of_key(args.at(i), shards));
    indexes.all(|i| shard_of_key(args.at(i), shards) == first).then_some(first)
}

/// Takes a command over several shards apart.
///
/// # Errors
/// What the command itself would refuse before it touches data.
pub fn plan(
    table: &Table,
    spec: &'static Spec,
    spread: Spread,
    call: Call<'_>,
    hasher: &KeyHasher,
    shards: u16,
    options: &CommandOptions,
) -> Result<(Plan, Vec<PlannedPart>), CommandError> {
    let Call { head, args } = call;
    let mode = mode_of(spec);
    let every = |merge: Merge| {
        let parts = (0..shards)
            .map(|shard| PlannedPart {
                shard: ShardId(shard),
                claims: Claims::Whole(mode),
                call: call.to_owned(),
            })
            .collect::<Vec<_>>();
        Ok::<_, CommandError>((merge, parts))
    };
    let internal = |name: &str, db, key: &[u8]| {
        let command = table.internal(name);
        let head = CallHead { command, db, proto: Proto::Resp2, first_key: hasher.hash(key), no_touch: true };
        OwnedCall { head, args: OwnedArgs::collect([name.as_bytes(), key]) }
    };
    let on_key = |key: &[u8], mode, call| PlannedPart {
        shard: shard_of_key(key, shards),
        claims: Claims::Keys([(hasher.hash(key), mode)].into_iter().collect()),
        call,
    };
    let (merge, parts) = match spread {
        Spread::Sum => {
            let (parts, _) = by_shard(spec, call, mode, hasher, shards);
            (Merge::Sum, parts)
        }
        Spread::Interleave => {
            let (parts, order) = by_shard(spec, call, mode, hasher, shards);
            (Merge::Interleave(order), parts)
        }
        Spread::Ok => {
            whole_pairs(spec, args)?;
            let (parts, _) = by_shard(spec, call, mode, hasher, shards);
            (Merge::Ok, parts)
        }
        Spread::EverySum => every(Merge::Sum)?,
        Spread::EveryConcat if spec.name == "_digest" => every(Merge::Digest)?,
        Spread::EveryConcat => every(Merge::Concat)?,
        Spread::EveryOk => every(Merge::Ok)?,
        Spread::EveryDraw => every(Merge::Draw)?,
        Spread::Steps(Steps::Msetnx) => {
            whole_pairs(spec, args)?;
            let (mut parts, _) = by_shard(spec, call, mode, hasher, shards);
            let exists = table.internal("exists");
            let writes = parts
                .iter_mut()
                .map(|part| {
                    let keys = OwnedArgs::collect(
                        std::iter::once(&b"exists"[..])
                            .chain(part.call.args.as_args().iter_from(1).step_by(2)),
                    );
                    part.call.head.command = exists;
                    std::mem::replace(&mut part.call.args, keys)
                })
                .collect();
            (Merge::Msetnx(writes), parts)
        }
        Spread::Steps(Steps::Rename) => {
            let (source, target) = (args.at(1), args.at(2));
            let parts = vec![
                on_key(source, mode, internal("_export", head.db, source)),
                on_key(target, mode, internal("exists", head.db, target)),
            ];
            let nx = spec.name == "renamenx";
            let (source, target) = (OwnedArgs::collect([source]), OwnedArgs::collect([target]));
            (Merge::Rename { nx, source, target }, parts)
        }
        Spread::Steps(Steps::Copy) => {
            let copy = CopyOptions::parse(args, head.db, options.databases)?;
            let (source, target) = (args.at(1), args.at(2));
            let parts = vec![
                on_key(source, Mode::Shared, internal("_export", head.db, source)),
                on_key(target, mode, internal("exists", copy.target_db, target)),
            ];
            (Merge::Copy { target: OwnedArgs::collect([target]), options: copy }, parts)
        }
        Spread::Steps(Steps::Lcs) => {
            let lcs = LcsOptions::parse(args)?;
            let parts = [args.at(1), args.at(2)]
                .map(|key| on_key(key, mode, internal("get", head.db, key)))
                .into_iter()
                .collect();
            (Merge::Lcs(lcs, options.string_bytes_max), parts)
        }
        Spread::One | Spread::Cursor => unreachable!("{} goes to one shard", spec.name),
    };
    let shards = parts.iter().map(|part| part.shard).collect();
    Ok((Plan { merge, head, shards }, parts))
}

/// A command of keys and values must not end with a key.
fn whole_pairs(spec: &Spec, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() % 2 == 0 {
        return Err(CommandError::arity(spec.name));
    }
    Ok(())
}

/// The command once for each shard that has a key of it, with that shard's keys and what belongs to them; and for
/// each key which part it went to.
fn by_shard(
    spec: &Spec,
    call: Call<'_>,
    mode: Mode,
    hasher: &KeyHasher,
    shards: u16,
) -> (Vec<PlannedPart>, Vec<u16>) {
    let args = call.args;
    let step = spec.keys.first().map_or(1, |keys| usize::from(keys.step));
    let mut parts: Vec<PlannedPart> = Vec::new();
    let mut part_of_shard = vec![u16::MAX; usize::from(shards)];
    let mut order = Vec::new();
    for index in spec.key_indexes(args) {
        let key = args.at(index);
        let shard = shard_of_key(key, shards);
        let part = &mut part_of_shard[shard.index()];
        if *part == u16::MAX {
            *part = parts.len() as u16;
            let head = CallHead { first_key: hasher.hash(key), ..call.head };
            let call = OwnedCall { head, args: OwnedArgs::collect([args.at(0)]) };
            parts.push(PlannedPart { shard, claims: Claims::Keys(SmallVec::new()), call });
        }
        order.push(*part);
        let part = &mut parts[usize::from(*part)];
        if let Claims::Keys(keys) = &mut part.claims {
            keys.push((hasher.hash(key), mode));
        }
        for arg in args.iter_from(index).take(step) {
            part.call.args.push(arg);
        }
    }
    (parts, order)
}

impl Plan {
    /// The shards that take part.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// Which command this is.
    pub fn head(&self) -> CallHead {
        self.head
    }

    /// All first steps are done, with these replies in the order of the parts.
    pub fn decide(self, table: &Table, hasher: &KeyHasher, replies: &[Vec<u8>], rng: &mut Prng) -> Decision {
        if let Some(error) = replies.iter().find(|reply| reply.starts_with(b"-")) {
            return Decision::Answer(error.clone());
        }
        let head = self.head;
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, head.proto);
        let sum = || replies.iter().filter_map(|r| reply::as_int(r)).sum::<i64>();
        let write = |name: &str, args: OwnedArgs, db| {
            let first_key = hasher.hash(args.as_args().at(1));
            OwnedCall { head: CallHead { command: table.internal(name), db, first_key, ..head }, args }
        };
        match self.merge {
            Merge::Sum => reply.int(sum()),
            Merge::Ok => reply.ok(),
            Merge::Interleave(order) => {
                let mut elements: Vec<_> = replies.iter().map(|r| reply::elements(r)).collect();
                reply.array(order.len());
                for part in order {
                    if let Some(element) = elements[usize::from(part)].next() {
                        reply.raw(element);
                    }
                }
            }
            Merge::Concat => {
                reply.array(replies.iter().map(|r| reply::elements(r).count()).sum());
                for element in replies.iter().flat_map(|r| reply::elements(r)) {
                    reply.raw(element);
                }
            }
            Merge::Draw => draw(replies, rng, &mut reply),
            Merge::Digest => {
                let mut digest = DatasetDigest::default();
                replies.iter().for_each(|reply| {
                    let is_digest = digest.add(reply).is_some();
                    debug_assert!(is_digest, "the shards answer with digests");
                });
                reply.simple(&digest.to_string());
            }
            Merge::Lcs(options, bytes_max) => {
                let value = |i: usize| reply::as_bulk(&replies[i]).unwrap_or(b"");
                if let Err(error) = lcs_reply(value(0), value(1), &options, bytes_max, &mut reply) {
                    reply.error(error.bytes());
                }
            }
            Merge::Rename { nx, source, target } => {
                let Some(blob) = reply::as_bulk(&replies[0]) else {
                    reply.error(CommandError::NO_SUCH_KEY.bytes());
                    return Decision::Answer(out);
                };
                if nx && sum() > 0 {
                    reply.int(0);
                    return Decision::Answer(out);
                }
                let delete = [&b"unlink"[..], source.as_args().at(0)];
                let import = [&b"_import"[..], target.as_args().at(0), blob];
                let writes = [
                    (self.shards[0], write("unlink", OwnedArgs::collect(delete), head.db)),
                    (self.shards[1], write("_import", OwnedArgs::collect(import), head.db)),
                ];
                if nx {
                    reply.int(1);
                } else {
                    reply.ok();
                }
                return Decision::Write(writes.into_iter().collect(), out);
            }
            Merge::Copy { target, options } => {
                let blob = reply::as_bulk(&replies[0]);
                let Some(blob) = blob.filter(|_| options.replace || sum() == 0) else {
                    reply.int(0);
                    return Decision::Answer(out);
                };
                let import = [&b"_import"[..], target.as_args().at(0), blob];
                let write = (self.shards[1], write("_import", OwnedArgs::collect(import), options.target_db));
                reply.int(1);
                return Decision::Write(std::iter::once(write).collect(), out);
            }
            Merge::Msetnx(shares) => {
                if sum() > 0 {
                    reply.int(0);
                    return Decision::Answer(out);
                }
                let writes = self.shards.iter().zip(shares);
                let writes = writes.map(|(shard, share)| (*shard, write("mset", share, head.db))).collect();
                reply.int(1);
                return Decision::Write(writes, out);
            }
        }
        Decision::Answer(out)
    }
}

/// RANDOMKEY: each shard has sent how many keys it has and one of them; one is drawn by these weights.
fn draw(replies: &[Vec<u8>], rng: &mut Prng, reply: &mut Reply<'_>) {
    let offers: Vec<(u64, &[u8])> = replies
        .iter()
        .filter_map(|r| {
            let mut elements = reply::elements(r);
            let keys = reply::as_int(elements.next()?)?.unsigned_abs();
            let key = elements.next()?;
            key.starts_with(b"$").then_some((keys, key)).filter(|_| reply::as_bulk(key).is_some())
        })
        .collect();
    let total = offers.iter().map(|(keys, _)| keys).sum();
    let mut at = rng.below(total);
    for (keys, key) in offers {
        if at < keys {
            reply.raw(key);
            return;
        }
        at -= keys;
    }
    reply.null();
}
