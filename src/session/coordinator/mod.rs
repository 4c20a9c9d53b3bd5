//! A command over several shards: taken apart by shard, put together again.
//!
//! `plan` makes the parts of the first step. When all have answered, every key is held on every shard; `Plan::decide`
//! then says what to answer, or what is to run next and where. No step after the first can be refused: what could be
//! was refused by `plan`, before anything was scheduled, or is the reply of the last step.
//!
//! How a command is taken apart is told by its row (`Spread`). Some are known here by more than that: those that look
//! first and then write (`moves`), those that work on what several keys hold, for which one shard borrows the
//! values of the others (`gather`, and `sort`, which has to find out which), and `migrate`, which asks another server.

mod gather;
mod migrate;
mod moves;
mod sort;

pub use migrate::{Cargo, Shipment, Shipped};

use smallvec::SmallVec;

use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::{shard_of_key, KeyHasher};
use crate::base::prng::Prng;
use crate::command::ctx::CommandOptions;
use crate::command::debug::DatasetDigest;
use crate::command::generic::CopyOptions;
use crate::command::spec::{Run, Spread, Steps};
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
    /// What runs there first, in order.
    pub calls: Vec<OwnedCall>,
}

/// What runs in one step, by shard; no shard twice.
pub type Calls = Vec<(ShardId, Vec<OwnedCall>)>;

/// What the calls of one step have answered, by shard and in the order of the calls.
pub type Replies = [(ShardId, Vec<Vec<u8>>)];

/// A command over several shards under way.
#[derive(Debug)]
pub struct Plan {
    merge: Merge,
    head: CallHead,
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
    /// The first key that is there decides where the command runs.
    First(Vec<moves::Candidate>),
    /// LMOVE and its kin.
    ListMove(moves::ListMove),
    /// SMOVE.
    SetMove(moves::SetMove),
    /// The values of other shards are on their way to this one.
    Gather(gather::Gather),
    /// The names of the keys that SORT reads are on their way.
    Sort(sort::Sort),
    /// MIGRATE.
    Migrate(migrate::Migration),
    /// DEBUG DIGEST.
    Digest,
}

/// What happens when the first step is done everywhere.
#[derive(Debug)]
pub enum Decision {
    /// Answer this: nothing is left to be done.
    Answer(Vec<u8>),
    /// Run this, then answer.
    Last(Calls, Answer),
    /// Run this, then decide again.
    More(Calls, Plan),
    /// Send this to another server, then decide again by what has become of it (`Plan::shipped`).
    Ship(Box<Shipment>, Plan),
}

/// What a command answers when its last step has run.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Bytes(Vec<u8>),
    /// What the call at this place on this shard has answered.
    Of(ShardId, usize),
}

/// What is the same for all commands of this process.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// All commands.
    pub table: &'a Table,
    /// Hashes keys.
    pub hasher: &'a KeyHasher,
    /// How many shards there are.
    pub shards: u16,
    /// The configuration's limits.
    pub options: &'a CommandOptions,
    /// Whether what is planned comes from a journal (`CallHead::replays`).
    pub replays: bool,
}

impl Shape<'_> {
    /// The shard of a key.
    fn shard_of(&self, key: &[u8]) -> ShardId {
        shard_of_key(key, self.shards)
    }

    /// A call of a command of ours on one key, which stands in argument 1.
    fn call(&self, name: &str, db: DbIndex, args: OwnedArgs) -> OwnedCall {
        let first_key = self.hasher.hash(args.as_args().at(1));
        let command = self.table.internal(name);
        OwnedCall {
            head: CallHead {
                command,
                db,
                proto: Proto::Resp2,
                first_key,
                no_touch: true,
                replays: self.replays,
            },
            args,
        }
    }

    /// The same with nothing but the key.
    fn look(&self, name: &str, db: DbIndex, key: &[u8]) -> OwnedCall {
        self.call(name, db, OwnedArgs::collect([name.as_bytes(), key]))
    }

    /// A part that holds one key.
    fn part(&self, key: &[u8], mode: Mode, calls: Vec<OwnedCall>) -> PlannedPart {
        let claims = Claims::Keys([(self.hasher.hash(key), mode)].into_iter().collect());
        PlannedPart { shard: self.shard_of(key), claims, calls }
    }
}

/// Whether all keys of a request lie on one shard, and on which; `None` if they do not, if it reads keys that the
/// request does not name, or if that shard alone cannot run it. A request without keys, or with an incomplete last
/// group, lies where its first key would.
pub fn single_shard(spec: &Spec, args: Args<'_>, shards: u16) -> Option<ShardId> {
    if matches!(spec.run, Run::Shard(_, Spread::Steps(Steps::Migrate))) {
        return None;
    }
    let is_sort = matches!(spec.run, Run::Shard(_, Spread::Steps(Steps::Sort)));
    if is_sort && shards > 1 && sort::reads_others(spec, args) {
        return None;
    }
    let mut indexes = spec.key_indexes(args);
    let first = indexes.next().map_or(ShardId(0), |i| shard_of_key(args.at(i), shards));
    indexes.all(|i| shard_of_key(args.at(i), shards) == first).then_some(first)
}

/// Takes a command over several shards apart.
///
/// # Errors
/// What the command itself would refuse before it touches data.
pub fn plan(
    shape: Shape<'_>,
    spec: &'static Spec,
    spread: Spread,
    call: Call<'_>,
) -> Result<(Plan, Vec<PlannedPart>), CommandError> {
    let shape = Shape { replays: call.head.replays, ..shape };
    let Shape { table, hasher, shards, options, .. } = shape;
    let Call { head, args } = call;
    let mode = mode_of(spec);
    let every = |merge: Merge| {
        let parts = (0..shards)
            .map(|shard| PlannedPart {
                shard: ShardId(shard),
                claims: Claims::Whole(mode),
                calls: vec![call.to_owned()],
            })
            .collect::<Vec<_>>();
        Ok::<_, CommandError>((merge, parts))
    };
    let on_key = |key: &[u8], mode, call| shape.part(key, mode, vec![call]);
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
                    let call = &mut part.calls[0];
                    let keys = call.args.as_args();
                    let keys = std::iter::once(&b"exists"[..]).chain(keys.iter_from(1).step_by(2));
                    let keys = OwnedArgs::collect(keys);
                    call.head.command = exists;
                    std::mem::replace(&mut call.args, keys)
                })
                .collect();
            (Merge::Msetnx(writes), parts)
        }
        Spread::Steps(Steps::Rename) => {
            let (source, target) = (args.at(1), args.at(2));
            let parts = vec![
                on_key(source, mode, shape.look("_export", head.db, source)),
                on_key(target, mode, shape.look("exists", head.db, target)),
            ];
            let nx = spec.name == "renamenx";
            let (source, target) = (OwnedArgs::collect([source]), OwnedArgs::collect([target]));
            (Merge::Rename { nx, source, target }, parts)
        }
        Spread::Steps(Steps::Copy) => {
            let copy = CopyOptions::parse(args, head.db, options.databases)?;
            let (source, target) = (args.at(1), args.at(2));
            let parts = vec![
                on_key(source, Mode::Shared, shape.look("_export", head.db, source)),
                on_key(target, mode, shape.look("exists", copy.target_db, target)),
            ];
            (Merge::Copy { target: OwnedArgs::collect([target]), options: copy }, parts)
        }
        Spread::Steps(Steps::First) => moves::plan_first(shape, spec, call),
        Spread::Steps(Steps::ListMove) => moves::plan_list_move(shape, call)?,
        Spread::Steps(Steps::SetMove) => moves::plan_set_move(shape, call),
        Spread::Steps(Steps::Sort) => sort::plan(shape, spec, call)?,
        Spread::Steps(Steps::Migrate) => migrate::plan(shape, call)?,
        Spread::Gather => gather::plan(shape, spec, call),
        Spread::One | Spread::Cursor => unreachable!("{} goes to one shard", spec.name),
    };
    Ok((Plan { merge, head }, parts))
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
    let mut order = Vec::with_capacity(args.len() / step);
    // The shares are rarely equal.
    let (args_each, bytes_each) = {
        let bytes: usize = args.spans().iter().map(|span| span.len as usize).sum();
        let each = |all: usize| (all * 5 / 4 / usize::from(shards) + 16).min(all);
        (each(args.len()), each(bytes))
    };
    for index in spec.key_indexes(args) {
        let key = args.at(index);
        let (shard, hash) = (shard_of_key(key, shards), hasher.hash(key));
        let part = &mut part_of_shard[shard.index()];
        if *part == u16::MAX {
            *part = parts.len() as u16;
            let head = CallHead { first_key: hash, ..call.head };
            let mut call = OwnedCall { head, args: OwnedArgs::with_room(args_each, bytes_each) };
            call.args.push(args.at(0));
            let claims = Claims::Keys(SmallVec::with_capacity(args_each / step));
            parts.push(PlannedPart { shard, claims, calls: vec![call] });
        }
        order.push(*part);
        let part = &mut parts[usize::from(*part)];
        if let Claims::Keys(keys) = &mut part.claims {
            keys.push((hash, mode));
        }
        for arg in args.iter_from(index).take(step) {
            part.calls[0].args.push(arg);
        }
    }
    (parts, order)
}

impl Plan {
    /// Whether the first step is all there is: what its answers decide is only what the client is told.
    pub fn is_one_step(&self) -> bool {
        use Merge::{Concat, Digest, Draw, Interleave, Ok, Sum};
        matches!(self.merge, Sum | Interleave(_) | Concat | Ok | Draw | Digest)
    }

    /// Whether it has to wait for another server.
    pub fn ships(&self) -> bool {
        matches!(self.merge, Merge::Migrate(_))
    }

    /// What has become of what was to be shipped.
    pub fn shipped(&mut self, outcome: Shipped) {
        match &mut self.merge {
            Merge::Migrate(migration) => migration.shipped(outcome),
            _ => debug_assert!(false, "only MIGRATE ships"),
        }
    }

    /// A step is done everywhere; the replies are in the order of its parts.
    pub fn decide(self, shape: Shape<'_>, replies: &mut Replies, rng: &mut Prng) -> Decision {
        let shape = Shape { replays: self.head.replays, ..shape };
        let Shape { table, hasher, .. } = shape;
        let head = self.head;
        match self.merge {
            Merge::First(candidates) => return moves::decide_first(candidates, replies),
            Merge::ListMove(list_move) => return list_move.decide(shape, head, replies),
            Merge::SetMove(set_move) => return set_move.decide(shape, head, replies),
            Merge::Gather(gather) => return gather.decide(shape, replies),
            Merge::Sort(sort) => return sort.decide(shape, head, replies),
            Merge::Migrate(migration) => return migration.decide(shape, head, replies),
            _ => {}
        }
        // The others run one call on each shard.
        let shards: Vec<ShardId> = replies.iter().map(|(shard, _)| *shard).collect();
        let replies: Vec<&[u8]> = replies.iter().map(|(_, replies)| replies[0].as_slice()).collect();
        if let Some(error) = replies.iter().find(|reply| reply.starts_with(b"-")) {
            return Decision::Answer(error.to_vec());
        }
        let mut out = Vec::with_capacity(match self.merge {
            Merge::Interleave(_) | Merge::Concat => replies.iter().map(|reply| reply.len()).sum(),
            _ => 0,
        });
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
            Merge::Draw => draw(&replies, rng, &mut reply),
            Merge::Digest => {
                let mut digest = DatasetDigest::default();
                replies.iter().for_each(|reply| {
                    let is_digest = digest.add(reply).is_some();
                    debug_assert!(is_digest, "the shards answer with digests");
                });
                reply.simple(&digest.to_string());
            }
            Merge::Rename { nx, source, target } => {
                let Some(blob) = reply::as_bulk(replies[0]) else {
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
                    (shards[0], vec![write("unlink", OwnedArgs::collect(delete), head.db)]),
                    (shards[1], vec![write("_import", OwnedArgs::collect(import), head.db)]),
                ];
                if nx {
                    reply.int(1);
                } else {
                    reply.ok();
                }
                return Decision::Last(writes.into(), Answer::Bytes(out));
            }
            Merge::Copy { target, options } => {
                let blob = reply::as_bulk(replies[0]);
                let Some(blob) = blob.filter(|_| options.replace || sum() == 0) else {
                    reply.int(0);
                    return Decision::Answer(out);
                };
                let import = [&b"_import"[..], target.as_args().at(0), blob];
                let write = write("_import", OwnedArgs::collect(import), options.target_db);
                reply.int(1);
                return Decision::Last(vec![(shards[1], vec![write])], Answer::Bytes(out));
            }
            Merge::Msetnx(shares) => {
                if sum() > 0 {
                    reply.int(0);
                    return Decision::Answer(out);
                }
                let writes = shards.iter().zip(shares);
                let writes =
                    writes.map(|(shard, share)| (*shard, vec![write("mset", share, head.db)])).collect();
                reply.int(1);
                return Decision::Last(writes, Answer::Bytes(out));
            }
            Merge::First(_)
            | Merge::ListMove(_)
            | Merge::SetMove(_)
            | Merge::Gather(_)
            | Merge::Sort(_)
            | Merge::Migrate(_) => {
                unreachable!("decided above")
            }
        }
        Decision::Answer(out)
    }
}

/// RANDOMKEY: each shard has sent how many keys it has and one of them; one is drawn by these weights.
fn draw(replies: &[&[u8]], rng: &mut Prng, reply: &mut Reply<'_>) {
    let offers: Vec<(u64, &[u8])> = replies
        .iter()
        .copied()
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
