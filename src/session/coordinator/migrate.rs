//! MIGRATE: the keys are dumped as one transaction on all their shards, shipped to the other server by the host, and
//! removed as far as that server has them.
//!
//! The locks are held from the first step to the last, while the other server is spoken to: shared ones where the keys
//! stay (COPY), exclusive ones where they go. Redis, which does nothing else meanwhile, lets nobody change a key
//! between its DUMP and its DEL, and nobody read it here who has seen it there; so it is here for these keys, and only
//! for them. What needs all keys of a shard waits, too. The host sees to it that this ends (`Shipment::timeout_ms`).

use super::{Answer, Decision, Merge, Plan, PlannedPart, Replies, Shape};
use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::time::UnixMs;
use crate::command::generic::MigrateOptions;
use crate::resp::{reply, OwnedArgs, Reply};
use crate::shard::locks::{Claims, Mode};
use crate::shard::{Call, CallHead};

/// Keys for another server.
#[derive(Debug, PartialEq, Eq)]
pub struct Shipment {
    /// Which: a name or an address.
    pub host: String,
    /// Its port; none if no port has the number that was given.
    pub port: Option<u16>,
    /// Its database.
    pub db: i64,
    /// How long it may do nothing at all, in milliseconds; at least 1.
    pub timeout_ms: u64,
    /// User, if one is named, and password.
    pub credentials: Option<(Option<Vec<u8>>, Vec<u8>)>,
    /// Whether the keys take the place of others.
    pub replace: bool,
    /// At least one.
    pub cargo: Vec<Cargo>,
}

/// One key for another server.
#[derive(Debug, PartialEq, Eq)]
pub struct Cargo {
    /// Its name.
    pub key: Vec<u8>,
    /// Its value as DUMP gives it, as a bulk string on the wire.
    pub dump: Vec<u8>,
    /// When it expires, if it does.
    pub expire_at: Option<UnixMs>,
}

/// What has become of a shipment.
#[derive(Debug)]
pub struct Shipped {
    /// The places of the keys that the other server has confirmed, in order.
    pub delivered: Vec<usize>,
    /// Whether that is all there was to do, or what the client is told.
    pub result: Result<(), CommandError>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Migration {
    /// As asked for, with no cargo yet.
    shipment: Box<Shipment>,
    db: DbIndex,
    copy: bool,
    /// The keys as they were named; once it is under way those that are there.
    keys: Vec<(ShardId, Vec<u8>)>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Dumping,
    /// The host has the cargo.
    UnderWay,
    Over(Shipped),
}

/// What is to go, and when does it expire?
pub(super) fn plan(shape: Shape<'_>, call: Call<'_>) -> Result<(Merge, Vec<PlannedPart>), CommandError> {
    let Call { head, args } = call;
    let options = MigrateOptions::parse(args)?;
    let mode = if options.copy { Mode::Shared } else { Mode::Exclusive };
    let (first, count) = options.keys;
    let mut parts: Vec<PlannedPart> = Vec::new();
    let mut keys = Vec::with_capacity(count);
    for key in args.iter_from(first).take(count) {
        let shard = shape.shard_of(key);
        keys.push((shard, key.to_vec()));
        let claim = (shape.hasher.hash(key), mode);
        let calls = ["dump", "pexpiretime"].map(|name| shape.look(name, head.db, key));
        match parts.iter_mut().find(|part| part.shard == shard) {
            Some(PlannedPart { claims: Claims::Keys(claims), calls: before, .. }) => {
                claims.push(claim);
                before.extend(calls);
            }
            _ => {
                let claims = Claims::Keys([claim].into_iter().collect());
                parts.push(PlannedPart { shard, claims, calls: calls.into() });
            }
        }
    }
    if parts.is_empty() {
        // A list of no keys: there is nothing to look at, but it has to be somewhere.
        parts.push(PlannedPart {
            shard: ShardId(0),
            claims: Claims::Keys(Default::default()),
            calls: Vec::new(),
        });
    }
    let shipment = Shipment {
        host: String::from_utf8_lossy(options.host).into_owned(),
        port: options.port_number(),
        db: options.db,
        timeout_ms: options.timeout_ms,
        credentials: options
            .credentials
            .map(|(user, password)| (user.map(<[u8]>::to_vec), password.to_vec())),
        replace: options.replace,
        cargo: Vec::new(),
    };
    let (db, copy, stage) = (head.db, options.copy, Stage::Dumping);
    Ok((Merge::Migrate(Migration { shipment: Box::new(shipment), db, copy, keys, stage }), parts))
}

impl Migration {
    /// The shipment has arrived, or has not.
    pub(super) fn shipped(&mut self, outcome: Shipped) {
        debug_assert!(matches!(self.stage, Stage::UnderWay), "nothing is under way");
        self.stage = Stage::Over(outcome);
    }

    pub(super) fn decide(self, shape: Shape<'_>, head: CallHead, replies: &mut Replies) -> Decision {
        match self.stage {
            Stage::Dumping => self.decide_dumped(head, replies),
            Stage::UnderWay => unreachable!("it is the host's"),
            Stage::Over(_) => self.decide_shipped(shape, head),
        }
    }

    fn decide_dumped(mut self, head: CallHead, replies: &mut Replies) -> Decision {
        let mut answers: Vec<_> =
            replies.iter_mut().map(|(shard, replies)| (*shard, replies.iter_mut())).collect();
        let mut there = Vec::new();
        for (shard, key) in self.keys {
            let Some((_, answers)) = answers.iter_mut().find(|(other, _)| *other == shard) else { continue };
            let (Some(dump), Some(expires)) = (answers.next(), answers.next()) else { continue };
            if reply::as_bulk(dump).is_none() {
                continue;
            }
            let expire_at = reply::as_int(expires).filter(|&at| at >= 0).map(UnixMs);
            self.shipment.cargo.push(Cargo { key: key.clone(), dump: std::mem::take(dump), expire_at });
            there.push((shard, key));
        }
        if there.is_empty() {
            let mut out = Vec::new();
            Reply::new(&mut out, head.proto).simple("NOKEY");
            return Decision::Answer(out);
        }
        let without =
            Shipment { host: String::new(), cargo: Vec::new(), credentials: None, ..*self.shipment };
        let shipment = std::mem::replace(&mut self.shipment, Box::new(without));
        let merge = Merge::Migrate(Migration { keys: there, stage: Stage::UnderWay, ..self });
        Decision::Ship(shipment, Plan { merge, head })
    }

    fn decide_shipped(self, shape: Shape<'_>, head: CallHead) -> Decision {
        let Stage::Over(Shipped { delivered, result }) = self.stage else { unreachable!("it is over") };
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, head.proto);
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.bytes()),
        }
        let mut gone: Vec<(ShardId, OwnedArgs)> = Vec::new();
        for (shard, key) in delivered.into_iter().filter_map(|at| self.keys.get(at)) {
            match gone.iter_mut().find(|(other, _)| other == shard) {
                Some((_, args)) => args.push(key),
                None => gone.push((*shard, OwnedArgs::collect([&b"DEL"[..], key]))),
            }
        }
        if self.copy || gone.is_empty() {
            return Decision::Answer(out);
        }
        let call = |(shard, args)| (shard, vec![shape.call("del", self.db, args)]);
        Decision::Last(gone.into_iter().map(call).collect(), Answer::Bytes(out))
    }
}
