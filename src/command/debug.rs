//! The parts of DEBUG and MEMORY that need a shard's data: rows that no client can call, for the node to ask.
//!
//! The digests are those of Redis (DEBUG DIGEST, DEBUG DIGEST-VALUE), so that two data sets can be compared across the
//! two servers. A shard answers with one sum for each database; `DatasetDigest` makes the whole of them.

use std::collections::BTreeMap;
use std::fmt;

use sha1::{Digest, Sha1};

use super::generic::refcount_of;
use super::spec::{Categories, Doc, Flags, Group, Handler, KeySpec, Run, Spec, Spread};
use super::Ctx;
use crate::base::double;
use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::ds::list::End;
use crate::keyspace::{access, EntryView, IntText, ValueKind, ValueRef};
use crate::rdb;
use crate::resp::{reply, Args};

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row(
        "_digest",
        1,
        digest,
        Spread::EveryConcat,
        "Adds up the digests of a shard's keys: an array of [database, sum in hex].",
        "",
    ),
    row(
        "_digest_value",
        -2,
        digest_value,
        Spread::Interleave,
        "Makes the digests of keys' values.",
        "key [key ...]",
    )
    .keys(&[KeySpec::rest(1, 1, &["RO"])]),
    row("_object", 2, object, Spread::One, "Describes the object behind a key.", "key")
        .keys(&[KeySpec::one(1, &["RO"])]),
    row(
        "_memory_usage",
        -2,
        memory_usage,
        Spread::One,
        "Tells the bytes that a key takes.",
        "key [SAMPLES count]",
    )
    .keys(&[KeySpec::one(1, &["RO"])]),
];

const fn row(
    name: &'static str,
    arity: i8,
    handler: Handler,
    spread: Spread,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    let doc = Doc { summary, since: "7.2.0", group: Group::Server, complexity: "O(N)", syntax };
    Spec::new(name, arity, Run::Shard(handler, spread), doc)
        .flags(Flags::READONLY.with(Flags::INTERNAL))
        .categories(Categories::DANGEROUS)
}

/// A SHA-1 sum, mixed and added up by Redis's scheme (`mixDigest` and `xorDigest` in its debug.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum([u8; 20]);

impl Sum {
    /// Adds what may come in any order.
    fn add(&mut self, bytes: &[u8]) {
        self.add_sum(Sum(Sha1::digest(bytes).into()));
    }

    /// Adds a sum as it is.
    fn add_sum(&mut self, other: Sum) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds what has its place in an order: what was added before changes with it.
    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds a value and whether it expires; when is left out, so that replicas whose clocks differ agree.
    fn mix_entry(&mut self, entry: &EntryView<'_>, now: UnixMs) {
        // Redis's number of the type, most significant byte first.
        let kind: u32 = match entry.value.kind() {
            ValueKind::String => 0,
            ValueKind::List => 1,
            ValueKind::Set => 2,
            ValueKind::Zset => 3,
            ValueKind::Hash => 4,
        };
        self.mix(&kind.to_be_bytes());
        match entry.value {
            ValueRef::String(string) => self.mix(string.bytes(&mut IntText::new())),
            ValueRef::List(list) => list.range(0, End::Back, usize::MAX, |element| {
                self.mix(element.bytes(&mut IntText::new()));
            }),
            ValueRef::Set(set) => set.iter().for_each(|member| self.add(member.bytes(&mut IntText::new()))),
            ValueRef::Zset(zset) => zset.iter().for_each(|item| {
                let mut sum = Sum::default();
                sum.mix(item.member.bytes(&mut IntText::new()));
                sum.mix(double::Buffer::new().format_as_c(item.score).as_bytes());
                self.add(&sum.0);
            }),
            ValueRef::Hash(hash) => hash.for_each(now, |field| {
                let mut sum = Sum::default();
                sum.mix(field.name.bytes(&mut IntText::new()));
                sum.mix(field.value.bytes(&mut IntText::new()));
                if field.expire_at.is_some() {
                    sum.add(b"!!hexpire!!");
                }
                self.add(&sum.0);
            }),
        }
        if entry.expire_at.is_some() {
            self.add(b"!!expire!!");
        }
    }

    fn from_hex(text: &[u8]) -> Option<Sum> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 40 && text.is_ascii())?;
        let mut sum = Sum::default();
        for (at, byte) in sum.0.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..][..2], 16).ok()?;
        }
        Some(sum)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes DEBUG DIGEST of all shards' answers to `_digest`; `Display` shows it.
///
/// The databases cannot be added up on the shards: Redis mixes each database's number into the sum of those before.
#[derive(Clone, Debug, Default)]
pub struct DatasetDigest {
    databases: BTreeMap<i64, Sum>,
}

impl DatasetDigest {
    /// Adds a shard's answer, or several joined to one array; `None` if it is no such answer.
    pub fn add(&mut self, answer: &[u8]) -> Option<()> {
        for element in reply::elements(answer) {
            let mut pair = reply::elements(element);
            let database = reply::as_int(pair.next()?)?;
            let sum = Sum::from_hex(reply::as_bulk(pair.next()?)?)?;
            self.databases.entry(database).or_default().add_sum(sum);
        }
        Some(())
    }
}

impl fmt::Display for DatasetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Sum::default();
        for (&database, &sum) in &self.databases {
            all.mix(&(database as u32).to_be_bytes());
            all.add_sum(sum);
        }
        all.fmt(f)
    }
}

fn digest(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let (start, mut databases) = (ctx.reply.len(), 0);
    for db in (0..ctx.keyspace.databases()).map(DbIndex) {
        let (mut keys, mut all) = (0u64, Sum::default());
        ctx.keyspace.for_each(db, now, |key, entry| {
            let mut sum = Sum::default();
            sum.mix(key);
            sum.mix_entry(entry, now);
            all.add(&sum.0);
            keys += 1;
        });
        if keys > 0 {
            ctx.reply.array(2);
            ctx.reply.int(i64::from(db.0));
            ctx.reply.bulk(all.to_string().as_bytes());
            databases += 1;
        }
    }
    ctx.reply.insert(start, |reply| reply.array(databases));
    Ok(())
}

fn digest_value(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    ctx.reply.array(args.len() - 1);
    for bytes in args.iter_from(1) {
        let key = ctx.key(bytes);
        let mut sum = Sum::default();
        if let Some(entry) = ctx.keyspace.peek(ctx.db, key, now) {
            sum.mix_entry(&entry, now);
        }
        ctx.reply.simple(&sum.to_string());
    }
    Ok(())
}

fn object(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let key = ctx.first_key(args.at(1));
    let Some(entry) = ctx.keyspace.peek(ctx.db, key, now) else {
        return Err(CommandError::NO_SUCH_KEY);
    };
    // Entries move, and an address would make runs differ: the key's hash stands for it, as wide as an address.
    let address = key.hash().0 >> 16;
    let text = format!(
        "Value at:{address:#x} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        refcount_of(entry.value),
        entry.encoding.name(),
        rdb::serialized_len(entry.value, ctx.options.compresses_dumps),
        entry.access,
        access::lru_idle_ms(entry.access, now) / 1000,
    );
    ctx.reply.simple(&text);
    Ok(())
}

fn memory_usage(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    // How many elements of a collection to look at; a string has none.
    let mut at = 2;
    while at < args.len() {
        if !args.is(at, "samples") || at + 1 == args.len() {
            return Err(CommandError::SYNTAX);
        }
        let samples = parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?;
        if samples < 0 {
            return Err(CommandError::SYNTAX);
        }
        at += 2;
    }
    let key = ctx.first_key(args.at(1));
    match ctx.keyspace.peek(ctx.db, key, ctx.now.unix_ms()) {
        Some(entry) => ctx.reply.count(entry.size_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::shard_of_key;
    use crate::command::harness::Harness;

    fn digest_of(shards: &mut [Harness]) -> String {
        let mut digest = DatasetDigest::default();
        for shard in shards {
            assert_eq!(digest.add(shard.run("_digest").as_bytes()), Some(()));
        }
        digest.to_string()
    }

    /// The sums are redis-server's, for the same data.
    #[test]
    fn digests_are_those_of_redis_on_any_number_of_shards() {
        for count in [1, 2, 5] {
            let mut shards: Vec<Harness> = (0..count).map(|_| Harness::new()).collect();
            assert_eq!(digest_of(&mut shards), "0000000000000000000000000000000000000000");
            let at = |key: &str| shard_of_key(key.as_bytes(), count).index();
            shards[at("a")].run("SET a 1");
            assert_eq!(digest_of(&mut shards), "943d800368fb9c0e951138f1bc0e313ac769d91f");
            shards[at("b")].run("SET b hello");
            assert_eq!(digest_of(&mut shards), "2539797405e828ad7a3aa48c536b3eaf2803a421");
            shards[at("b")].run("EXPIRE b 1000");
            assert_eq!(digest_of(&mut shards), "669dc7955c0119edb82e7cfeb40ea4a28f89f902");
            shards[at("c")].db = DbIndex(5);
            shards[at("c")].run(&format!("SET c {}", "x".repeat(50)));
            assert_eq!(digest_of(&mut shards), "4faff653b1c37c137fd45ead1d825e56b42640a0");
        }
    }

    #[test]
    fn answers_can_be_joined_before_they_are_added() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.run("SET b 2");
        let whole = digest_of(&mut [shard]);
        let mut joined = String::from("*2\r\n");
        for (key, value) in [("a", "1"), ("b", "2")] {
            let mut shard = Harness::new();
            shard.run(&format!("SET {key} {value}"));
            joined += shard.run("_digest").strip_prefix("*1\r\n").unwrap();
        }
        let mut digest = DatasetDigest::default();
        assert_eq!(digest.add(joined.as_bytes()), Some(()));
        assert_eq!(digest.to_string(), whole);
        for bad in ["*1\r\n*1\r\n:0\r\n", "*1\r\n:1\r\n", "*1\r\n*2\r\n:0\r\n$2\r\nab\r\n"] {
            assert_eq!(digest.add(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn digests_of_values() {
        let mut shard = Harness::new();
        shard.run("SET a 1");
        shard.run("SET b hello");
        shard.run("EXPIRE b 1000");
        assert_eq!(
            shard.run("_digest_value a b none"),
            "*3\r\n+b4fc66738120fba0b5aa500ab5c2bf89cea1c5da\r\n+d037c4eb8a8b36b602fbced4000daeab0714c1e3\r\n\
             +0000000000000000000000000000000000000000\r\n"
        );
    }

    #[test]
    fn an_object_is_described() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("_object none"), "-ERR no such key\r\n");
        shard.run("SET a hello");
        shard.now_ms += 3_000;
        let text = shard.run("_object a");
        let (head, tail) = text.split_once(" refcount").unwrap();
        assert!(head.starts_with("+Value at:0x"), "{head}");
        let lru = access::lru_clock(crate::base::time::UnixMs(shard.now_ms - 3_000));
        assert_eq!(tail, format!(":1 encoding:embstr serializedlength:6 lru:{lru} lru_seconds_idle:3\r\n"));
    }

    #[test]
    fn lengths_are_those_of_redis() {
        let mut shard = Harness::new();
        shard.options.compresses_dumps = false;
        for (value, len) in [
            ("127", 2),
            ("-128", 2),
            ("128", 3),
            ("-129", 3),
            ("32767", 3),
            ("32768", 5),
            ("-2147483648", 5),
            ("2147483648", 11),
            ("9223372036854775807", 20),
            ("hello", 6),
            ("", 1),
            (&"x".repeat(63), 64),
            (&"x".repeat(64), 66),
            (&"x".repeat(16384), 16389),
        ] {
            shard.run(&format!("SET k '{value}'"));
            let text = shard.run("_object k");
            assert!(text.contains(&format!(" serializedlength:{len} ")), "{value}: {text}");
        }
        shard.run("RPUSH l a b c");
        // The number of nodes, what the node is, the length of the listpack, the listpack.
        assert!(shard.run("_object l").contains(" serializedlength:19 "));
        shard.options.compresses_dumps = true;
        shard.run(&format!("SET k {}", "x".repeat(1000)));
        assert!(shard.run("_object k").contains(" serializedlength:22 "));
    }

    #[test]
    fn memory_usage_is_the_entry_s() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("_memory_usage none"), "$-1\r\n");
        shard.run("SET short v");
        shard.run(&format!("SET long {}", "v".repeat(1000)));
        let mut bytes = |line: &str| reply::as_int(shard.run(line).as_bytes()).unwrap();
        assert!(bytes("_memory_usage long") >= bytes("_memory_usage short") + 990);
        assert_eq!(bytes("_memory_usage long SAMPLES 0"), bytes("_memory_usage long"));
        for (line, error) in [
            ("_memory_usage none SAMPLES", "-ERR syntax error\r\n"),
            ("_memory_usage none FOO 1", "-ERR syntax error\r\n"),
            ("_memory_usage none SAMPLES -1", "-ERR syntax error\r\n"),
            ("_memory_usage none SAMPLES x", "-ERR value is not an integer or out of range\r\n"),
        ] {
            assert_eq!(shard.run(line), error, "{line}");
        }
    }
}
