//! RESTORE.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::command::effects::removal;
use crate::command::Ctx;
use crate::journal::words;
use crate::keyspace::access;
use crate::rdb::payload::{Payload, Scratch};
use crate::resp::Args;

/// What may follow the payload.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 4;
        while at < args.len() {
            let has_value = at + 1 < args.len();
            if args.is(at, "replace") {
                options.replace = true;
            } else if args.is(at, "absttl") {
                options.absolute = true;
            } else if args.is(at, "idletime") && has_value && options.frequency.is_none() {
                at += 1;
                let seconds = parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER)?;
                let seconds = u64::try_from(seconds).map_err(|_| CommandError::IDLETIME_NEGATIVE)?;
                options.idle_seconds = Some(seconds);
            } else if args.is(at, "freq") && has_value && options.idle_seconds.is_none() {
                at += 1;
                let frequency = parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER)?;
                let frequency = u8::try_from(frequency).map_err(|_| CommandError::FREQUENCY_RANGE)?;
                options.frequency = Some(frequency);
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

pub(super) fn restore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let Options { replace, absolute, idle_seconds, frequency } = Options::parse(args)?;
    let (db, key, now) = (ctx.db, ctx.first_key(args.at(1)), ctx.now_ms());
    if !replace && ctx.keyspace.find(db, key, now).exists() {
        return Err(CommandError::BUSY_KEY);
    }
    let ttl = parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let expire_at = match ttl {
        ..0 => return Err(CommandError::TTL_NEGATIVE),
        0 => None,
        at if absolute => Some(UnixMs(at)),
        ttl => Some(UnixMs(now.0.saturating_add(ttl))),
    };
    let payload = Payload::new(args.at(3)).ok_or(CommandError::BAD_PAYLOAD)?;
    let mut scratch = Scratch::default();
    let value = payload.read(&mut scratch, &mut ctx.keyspace.edit()).ok_or(CommandError::BAD_ENTRY)?;
    if expire_at.is_some_and(|at| at <= now) {
        // It has come too late, and a key that it was to replace goes all the same.
        value.free(ctx.keyspace.edit().slab);
        if ctx.keyspace.remove(db, key, now) {
            ctx.effect(words![removal(ctx.options.lazyfree.server_del), args.at(1)]);
        }
    } else {
        let access = access::from_told(ctx.keyspace.options().access, idle_seconds, frequency, now);
        ctx.keyspace.store(db, key, now, value, (expire_at, access));
        // At whatever time it is done again, and over whatever is there.
        if let Some(at) = expire_at.filter(|_| !absolute) {
            ctx.effect(words!["RESTORE", args.at(1), at.0, args.at(3), "REPLACE", "ABSTTL"]);
        }
    }
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::base::crc64;
    use crate::command::harness::Harness;

    /// A payload of RDB version 10.
    fn payload(value: &[u8]) -> Vec<u8> {
        payload_of_version(value, 10)
    }

    fn payload_of_version(value: &[u8], version: u16) -> Vec<u8> {
        let mut bytes = [value, &version.to_le_bytes()].concat();
        bytes.extend_from_slice(&crc64::crc64(crc64::EMPTY, &bytes).to_le_bytes());
        bytes
    }

    fn restore(shard: &mut Harness, key: &str, ttl: &str, payload: &[u8], options: &str) -> String {
        let mut args = vec![b"RESTORE".to_vec(), key.into(), ttl.into(), payload.to_vec()];
        args.extend(options.split_whitespace().map(|word| word.as_bytes().to_vec()));
        String::from_utf8_lossy(&shard.run_args(&args)).into_owned()
    }

    #[test]
    fn what_redis_dumps_is_restored() {
        let mut shard = Harness::new();
        // SET k hello; DUMP k of Redis 7.0.15.
        let hello = b"\x00\x05hello\x0a\x00cr\xdfve4 \x0a";
        assert_eq!(restore(&mut shard, "k", "0", hello, ""), "+OK\r\n");
        assert_eq!(shard.run("GET k"), "$5\r\nhello\r\n");
        assert_eq!(shard.run("PTTL k"), ":-1\r\n");
        for (value, encoding, members) in [
            (&b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x05\x00"[..], "intset", "5"),
            (b"\x02\x02\x01a\xc0\x05", "listpack", "5"),
        ] {
            assert_eq!(restore(&mut shard, "s", "0", &payload(value), "REPLACE"), "+OK\r\n");
            assert_eq!(shard.run(&format!("SISMEMBER s {members}")), ":1\r\n");
            let reply = shard.run("OBJECT ENCODING s");
            assert_eq!(reply, format!("${}\r\n{encoding}\r\n", encoding.len()));
        }
    }

    #[test]
    fn times_are_relative_unless_told() {
        let mut shard = Harness::new();
        let value = payload(b"\x00\x01v");
        let now = shard.now_ms;
        assert_eq!(restore(&mut shard, "a", "5000", &value, ""), "+OK\r\n");
        assert_eq!(shard.ttl_ms("a"), Some(5000));
        let at = (now + 70).to_string();
        assert_eq!(restore(&mut shard, "a", &at, &value, "absttl replace"), "+OK\r\n");
        assert_eq!(shard.ttl_ms("a"), Some(70));
        assert_eq!(restore(&mut shard, "a", "0", &value, "ABSTTL REPLACE"), "+OK\r\n");
        assert_eq!(shard.run("PTTL a"), ":-1\r\n");
        assert_eq!(restore(&mut shard, "b", "9223372036854775807", &value, ""), "+OK\r\n");
        assert_eq!(shard.run("EXISTS b"), ":1\r\n");

        // What has expired is not made, and what it was to replace is no more.
        let dirty = shard.keyspace.dirty();
        assert_eq!(restore(&mut shard, "c", &now.to_string(), &value, "ABSTTL"), "+OK\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty);
        assert_eq!(restore(&mut shard, "a", "1", &value, "ABSTTL REPLACE"), "+OK\r\n");
        assert_eq!(shard.run("EXISTS a c"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty + 1);
    }

    #[test]
    fn uses_are_told_by_the_policy_that_counts_them() {
        let value = payload(b"\x00\x01v");
        let mut shard = Harness::new();
        restore(&mut shard, "a", "0", &value, "IDLETIME 77");
        restore(&mut shard, "b", "0", &value, "FREQ 9");
        assert_eq!(shard.run("OBJECT IDLETIME a"), ":77\r\n");
        assert_eq!(shard.run("OBJECT IDLETIME b"), ":0\r\n");
        let mut shard = Harness::lfu();
        restore(&mut shard, "a", "0", &value, "IDLETIME 77");
        restore(&mut shard, "b", "0", &value, "FREQ 200");
        assert_eq!(shard.run("OBJECT FREQ a"), ":5\r\n");
        assert_eq!(shard.run("OBJECT FREQ b"), ":200\r\n");
    }

    #[test]
    fn what_is_wrong_is_said_in_redis_order() {
        let mut shard = Harness::new();
        shard.run("SET busy 1");
        let good = payload(b"\x00\x01v");
        let mut flipped = good.clone();
        flipped[2] ^= 1;
        let syntax = "-ERR syntax error\r\n";
        let integer = "-ERR value is not an integer or out of range\r\n";
        let wrong = "-ERR DUMP payload version or checksum are wrong\r\n";
        let bad = "-ERR Bad data format\r\n";
        for (key, ttl, payload, options, error) in [
            ("busy", "x", &good[..], "NOW", syntax),
            ("busy", "x", &good, "FREQ", syntax),
            ("busy", "x", &good, "IDLETIME 1 FREQ 1", syntax),
            ("busy", "x", &good, "FREQ 0 IDLETIME 1", syntax),
            ("busy", "x", &good, "IDLETIME x", integer),
            ("busy", "x", &good, "IDLETIME -1 NOW", "-ERR Invalid IDLETIME value, must be >= 0\r\n"),
            ("busy", "x", &good, "FREQ -1", "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n"),
            ("busy", "x", &good, "FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n"),
            ("busy", "x", &flipped, "", "-BUSYKEY Target key name already exists.\r\n"),
            ("busy", "x", &flipped, "REPLACE", integer),
            ("k", "-1", &flipped, "ABSTTL", "-ERR Invalid TTL value, must be >= 0\r\n"),
            ("k", "0", &flipped, "", wrong),
            ("k", "0", b"", "", wrong),
            ("k", "0", &good[..good.len() - 1], "", wrong),
            ("k", "0", &payload_of_version(b"\x00\x01v", 13), "", wrong),
            ("busy", "0", &payload(b""), "REPLACE", bad),
            ("busy", "0", &payload(b"\x00\x02v"), "REPLACE", bad),
            ("busy", "0", &payload(b"\x02\x00"), "REPLACE", bad),
            ("busy", "0", &payload(b"\x02\x02\x01a\x01a"), "REPLACE", bad),
            ("busy", "0", &payload(b"\x0f\x00"), "REPLACE", bad),
        ] {
            let reply = restore(&mut shard, key, ttl, payload, options);
            assert_eq!(reply, error, "{key} {ttl} {} {options}", payload.escape_ascii());
        }
        assert_eq!(shard.run("GET busy"), "$1\r\n1\r\n");
        assert_eq!(restore(&mut shard, "k", "0", &payload_of_version(b"\x00\x01v", 12), ""), "+OK\r\n");
        // The same option may come again.
        assert_eq!(restore(&mut shard, "l", "0", &good, "FREQ 1 FREQ 2 REPLACE REPLACE"), "+OK\r\n");
    }
}
