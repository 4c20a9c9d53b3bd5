//! Commands that shards send one another: no client can name them.
//!
//! With `_export` and `_import` the coordinator moves an entry from shard to shard, for RENAME, COPY and MOVE over
//! several shards.

use std::borrow::Cow;

use super::generic::sort_keys;
use super::spec::{Doc, Flags, Group, KeySpec, Run, Spec, Spread};
use super::Ctx;
use crate::base::error::CommandError;
use crate::base::ids::{DbIndex, ShardId};
use crate::base::key::{shard_of_key, Key};
use crate::base::num::{parse_i64, parse_u64};
use crate::base::time::UnixMs;
use crate::journal::Cut;
use crate::keyspace::{EntryView, Keyspace, NewValue, SetExpire, ValueKind, Version};
use crate::resp::Args;

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    Spec::new(
        "_cut",
        4,
        Run::Shard(cut, Spread::EveryOk),
        doc(
            "Cuts all shards at one point, for a snapshot or a rewrite of the append-only file.",
            "kind number generation",
        ),
    )
    .flags(Flags::READONLY.with(Flags::INTERNAL)),
    Spec::new(
        "_mark",
        1,
        Run::Shard(mark, Spread::EveryOk),
        doc("Marks all shards at one point, for those who wait until what was before it is on the disk.", ""),
    )
    .flags(Flags::READONLY.with(Flags::INTERNAL)),
    Spec::new(
        "_share",
        -4,
        Run::Shard(share, Spread::EveryOk),
        doc(
            "Does FLUSHALL, FLUSHDB or SWAPDB to the keys that one shard of another number of shards had.",
            "shard shards command [arg ...]",
        ),
    )
    .flags(Flags::WRITE.with(Flags::INTERNAL)),
    Spec::new(
        "_export",
        2,
        Run::Shard(export, Spread::One),
        doc("Replies with an entry in the form that _import reads, or null.", "key"),
    )
    .flags(Flags::READONLY.with(Flags::INTERNAL))
    .keys(&[KeySpec::one(1, &["RO", "access"])]),
    Spec::new(
        "_import",
        3,
        Run::Shard(import, Spread::One),
        doc(
            "Sets a key to an entry that _export replied with, its expiry and last use included.",
            "key entry",
        ),
    )
    .flags(Flags::WRITE.with(Flags::INTERNAL))
    .keys(&[KeySpec::one(1, &["OW", "update"])]),
    Spec::new(
        "_forget",
        2,
        Run::Shard(forget, Spread::One),
        doc("Empties the scratch database, into which values were lent.", "key"),
    )
    .flags(Flags::WRITE.with(Flags::INTERNAL))
    .keys(&[KeySpec::one(1, &["RM", "delete"])]),
    Spec::new(
        "_sort_keys",
        -2,
        Run::Shard(sort_keys, Spread::One),
        doc("Lists the keys that SORT with the same arguments reads besides the first.", "key [option ...]"),
    )
    .flags(Flags::READONLY.with(Flags::INTERNAL))
    .keys(&[KeySpec::one(1, &["RO", "access"])]),
    Spec::new(
        "_watch",
        -2,
        Run::Shard(watch, Spread::Interleave),
        doc("Begins to watch keys; replies with what they are at.", "key [key ...]"),
    )
    .flags(Flags::READONLY.with(Flags::INTERNAL))
    .keys(&[KeySpec::rest(1, 1, &["RO"])]),
    Spec::new(
        "_watched",
        3,
        Run::Shard(watched, Spread::One),
        doc("Whether a watched key is still what it was: 1 or 0.", "key version"),
    )
    .flags(Flags::READONLY.with(Flags::INTERNAL))
    .keys(&[KeySpec::one(1, &["RO"])]),
];

const fn doc(summary: &'static str, syntax: &'static str) -> Doc {
    Doc {
        summary,
        since: "7.2.0",
        group: Group::Generic,
        complexity: "O(N) where N is the entry's size",
        syntax,
    }
}

/// `_cut snapshot id 0`, `_cut sync 0 0`, `_cut rewrite number generation`; of a rewrite that begins no generation that
/// is 0. Whoever runs the shard carries it out before anything else runs there.
fn cut(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = |at: usize| parse_u64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
    let (number, generation) = (number(2)?, number(3)?);
    ctx.journal.cut(match args.at(1) {
        b"snapshot" => Cut::Snapshot { id: number },
        b"sync" => Cut::Sync,
        b"export" => Cut::Export { id: number, merging: generation },
        _ => Cut::Rewrite { cut: number, begins: (generation > 0).then_some(generation) },
    });
    ctx.reply.ok();
    Ok(())
}

/// As `_cut`, but nothing is begun.
fn mark(ctx: &mut Ctx<'_, '_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.journal.cut(Cut::Mark);
    ctx.reply.ok();
    Ok(())
}

/// What a command did that was recorded on every shard, where the keys of that shard lie on others now.
fn share(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = |at: usize| {
        let number = args.get(at).and_then(parse_u64).and_then(|number| u16::try_from(number).ok());
        number.ok_or(CommandError::NOT_INTEGER)
    };
    let (shard, shards) = (ShardId(number(1)?), number(2)?);
    if shards == 0 {
        return Err(CommandError::NOT_INTEGER);
    }
    let now = ctx.now_ms();
    let keys_of = |keyspace: &mut Keyspace, db: DbIndex| {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        keyspace.for_each(db, now, |key, _| {
            if shard_of_key(key, shards) == shard {
                keys.push(key.into());
            }
        });
        keys
    };
    if args.is(3, "swapdb") {
        let (a, b) = (DbIndex(number(4)?), DbIndex(number(5)?));
        if a.0 >= ctx.options.databases || b.0 >= ctx.options.databases {
            return Err(CommandError::NOT_INTEGER);
        }
        let (of_a, of_b) = (keys_of(ctx.keyspace, a), keys_of(ctx.keyspace, b));
        // By way of the scratch database, which is empty between commands.
        let scratch = ctx.keyspace.scratch();
        for (keys, from, to) in [(&of_a, a, scratch), (&of_b, b, a), (&of_a, scratch, b)] {
            for key in keys {
                let key = ctx.key(key);
                ctx.keyspace.move_entry((from, key), (to, key), now);
            }
        }
    } else {
        let one = args.is(3, "flushdb").then_some(ctx.db);
        for db in (0..ctx.options.databases).map(DbIndex).filter(|&db| one.is_none_or(|one| one == db)) {
            for key in keys_of(ctx.keyspace, db) {
                let key = ctx.key(&key);
                ctx.keyspace.remove(db, key, now);
            }
        }
    }
    ctx.reply.ok();
    Ok(())
}

fn export(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    match ctx.keyspace.peek(ctx.db, key, now) {
        Some(entry) => ctx.reply.bulk(&Exported::of(&entry).to_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn import(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let exported = Exported::parse(args.at(2)).ok_or(CommandError::BAD_ENTRY)?;
    let (db, key, now) = (ctx.db, ctx.first_key(args.at(1)), ctx.now_ms());
    let put = |keyspace: &mut Keyspace| exported.put(keyspace, db, key, now);
    let is_whole = match db == ctx.keyspace.scratch() {
        true => ctx.keyspace.uncounted(put),
        false => put(ctx.keyspace),
    };
    if !is_whole {
        return Err(CommandError::BAD_ENTRY);
    }
    if db != ctx.keyspace.scratch() {
        ctx.effect_key(db, args.at(1));
    }
    ctx.reply.ok();
    Ok(())
}

fn forget(ctx: &mut Ctx<'_, '_>, _: Args<'_>) -> Result<(), CommandError> {
    let scratch = ctx.keyspace.scratch();
    ctx.keyspace.uncounted(|keyspace| keyspace.flush(scratch));
    ctx.reply.ok();
    Ok(())
}

fn watch(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    ctx.reply.array(args.len() - 1);
    for key in args.iter_from(1) {
        let version = ctx.keyspace.watch(ctx.db, ctx.key(key), now);
        ctx.reply.int(version.0 as i64);
    }
    Ok(())
}

fn watched(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let version = Version(parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)? as u64);
    let unchanged = ctx.keyspace.is_unchanged(ctx.db, ctx.first_key(args.at(1)), now, version);
    ctx.reply.int(i64::from(unchanged));
    Ok(())
}

/// An entry on its way. As bytes: one that tells the value's form and whether there is an expiry, then, all little
/// endian, four of the access field, eight of the expiry (zero without one), and the value: eight of an integer, as
/// many as a string has, or what the collection's type writes. The form lives no longer than the process, so it has no
/// version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exported<'a> {
    value: Value<'a>,
    expire_at: Option<UnixMs>,
    access: u32,
}

/// A value on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value<'a> {
    String(NewValue<'a>),
    Collection(ValueKind, Cow<'a, [u8]>),
}

/// The bits of the first byte that tell the form of the value.
const FORM_MASK: u8 = 0x0F;
const FORM_INT: u8 = 0;
const FORM_RAW: u8 = 1;
const FORM_BUFFER: u8 = 2;
const FORM_LIST: u8 = 3;
const FORM_SET: u8 = 4;
const FORM_ZSET: u8 = 5;
const FORM_HASH: u8 = 6;
/// The bit of the first byte that tells that the key expires.
const EXPIRES: u8 = 0x80;

impl<'a> Exported<'a> {
    fn of(entry: &EntryView<'a>) -> Exported<'a> {
        let value = match entry.to_new_string() {
            Some(string) => Value::String(string),
            None => {
                let mut bytes = Vec::new();
                entry.export(&mut bytes);
                Value::Collection(entry.value.kind(), Cow::Owned(bytes))
            }
        };
        Exported { value, expire_at: entry.expire_at, access: entry.access }
    }

    /// Puts the entry under a key, whatever is there. False if the value is damaged: nothing is changed.
    fn put(self, keyspace: &mut Keyspace, db: DbIndex, key: Key<'_>, now: UnixMs) -> bool {
        let Exported { value, expire_at, access } = self;
        match value {
            Value::String(string) => {
                let mut slot = keyspace.find(db, key, now);
                slot.set(string, expire_at.map_or(SetExpire::Clear, SetExpire::At));
                slot.set_access(access);
                true
            }
            Value::Collection(kind, bytes) => {
                keyspace.import(db, key, now, (kind, &bytes), (expire_at, access))
            }
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let integer;
        let (form, value) = match &self.value {
            Value::String(NewValue::Int(number)) => {
                integer = number.to_le_bytes();
                (FORM_INT, &integer[..])
            }
            Value::String(NewValue::Raw(bytes) | NewValue::Bytes(bytes)) => (FORM_RAW, *bytes),
            Value::String(NewValue::Buffer(bytes)) => (FORM_BUFFER, *bytes),
            Value::Collection(kind, bytes) => {
                let form = match kind {
                    ValueKind::String => FORM_RAW,
                    ValueKind::List => FORM_LIST,
                    ValueKind::Set => FORM_SET,
                    ValueKind::Zset => FORM_ZSET,
                    ValueKind::Hash => FORM_HASH,
                };
                (form, &bytes[..])
            }
        };
        let expires = if self.expire_at.is_some() { EXPIRES } else { 0 };
        let mut out = Vec::with_capacity(13 + value.len());
        out.push(form | expires);
        out.extend_from_slice(&self.access.to_le_bytes());
        out.extend_from_slice(&self.expire_at.unwrap_or_default().0.to_le_bytes());
        out.extend_from_slice(value);
        out
    }

    fn parse(bytes: &'a [u8]) -> Option<Exported<'a>> {
        let (&head, rest) = bytes.split_first()?;
        let (access, rest) = rest.split_first_chunk()?;
        let (expire_at, value) = rest.split_first_chunk()?;
        let collection = |kind| Value::Collection(kind, Cow::Borrowed(value));
        let value = match head & FORM_MASK {
            FORM_INT => Value::String(NewValue::Int(i64::from_le_bytes(value.try_into().ok()?))),
            FORM_RAW => Value::String(NewValue::Raw(value)),
            FORM_BUFFER => Value::String(NewValue::Buffer(value)),
            FORM_LIST => collection(ValueKind::List),
            FORM_SET => collection(ValueKind::Set),
            FORM_ZSET => collection(ValueKind::Zset),
            FORM_HASH => collection(ValueKind::Hash),
            _ => return None,
        };
        let expire_at = (head & EXPIRES != 0).then_some(UnixMs(i64::from_le_bytes(*expire_at)));
        Some(Exported { value, expire_at, access: u32::from_le_bytes(*access) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::harness::Harness;
    use crate::keyspace::Encoding;
    use crate::resp::reply::as_bulk;

    #[test]
    fn entries_move_whole() {
        let long = "x".repeat(100);
        for (setup, encoding) in [
            ("SET k 12".to_owned(), Encoding::Int),
            ("SET k -9223372036854775808 EX 900".to_owned(), Encoding::Int),
            ("SET k word PX 700000".to_owned(), Encoding::Embstr),
            (format!("SET k {long}"), Encoding::Raw),
            ("INCRBYFLOAT k 5".to_owned(), Encoding::Embstr),
            ("SETRANGE k 1 b".to_owned(), Encoding::Raw),
        ] {
            let mut from = Harness::new();
            from.run(&setup);
            from.now_ms += 5;
            let reply = from.run_args(&[&b"_export"[..], b"k"]);
            let mut to = Harness::new();
            to.now_ms = from.now_ms + 60_000;
            to.run("SET other previous EX 100");
            assert_eq!(to.run_args(&[&b"_import"[..], b"other", as_bulk(&reply).unwrap()]), b"+OK\r\n");
            assert_eq!(entry(&mut to, b"other"), entry(&mut from, b"k"), "{setup}");
            assert_eq!(entry(&mut to, b"other").3, encoding, "{setup}");
        }
    }

    fn entry(shard: &mut Harness, name: &[u8]) -> (Vec<u8>, Option<UnixMs>, u32, Encoding) {
        let key = shard.keyspace.hasher().key(name);
        let entry = shard.keyspace.peek(shard.db, key, UnixMs(shard.now_ms)).unwrap();
        let mut text = crate::keyspace::IntText::new();
        (
            entry.value.string().unwrap().bytes(&mut text).to_vec(),
            entry.expire_at,
            entry.access,
            entry.encoding,
        )
    }

    #[test]
    fn there_is_nothing_to_export_of_a_missing_key() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("_export k"), "$-1\r\n");
        shard.run("SET k v PX 1");
        shard.now_ms += 2;
        assert_eq!(shard.run("_export k"), "$-1\r\n");
        assert_eq!(shard.keyspace.stats().misses, 0);
    }

    #[test]
    fn what_is_lent_is_no_change_of_the_data() {
        let mut shard = Harness::new();
        for setup in ["SET k 12", "RPUSH l 1 2"] {
            shard.run(setup);
            let reply = shard.run_args(&[&b"_export"[..], setup.split(' ').nth(1).unwrap().as_bytes()]);
            let (db, dirty) = (shard.db, shard.keyspace.dirty());
            shard.db = shard.keyspace.scratch();
            assert_eq!(shard.run_args(&[&b"_import"[..], b"lent", as_bulk(&reply).unwrap()]), b"+OK\r\n");
            assert_eq!(shard.run("_forget k"), "+OK\r\n");
            assert!(shard.keyspace.is_empty(shard.db));
            assert_eq!(shard.keyspace.dirty(), dirty);
            shard.db = db;
        }
    }

    #[test]
    fn damaged_entries_are_refused() {
        let mut shard = Harness::new();
        let value = Value::String(NewValue::Int(5));
        let whole = Exported { value: value.clone(), expire_at: Some(UnixMs(1)), access: 3 }.to_bytes();
        assert_eq!(Exported::parse(&whole).map(|entry| entry.value), Some(value));
        for cut in 0..whole.len() {
            assert_eq!(Exported::parse(&whole[..cut]), None, "{cut}");
        }
        let mut unknown = whole;
        unknown[0] = FORM_MASK;
        let reply = shard.run_args(&[&b"_import"[..], b"k", &unknown]);
        assert_eq!(reply, b"-ERR Bad data format\r\n");
    }

    #[test]
    fn every_value_has_a_form() {
        for value in [NewValue::Int(-1), NewValue::Raw(b""), NewValue::Raw(b"12"), NewValue::Buffer(b"ab")] {
            let exported = Exported { value: Value::String(value), expire_at: None, access: 0xFF_FFFF };
            assert_eq!(Exported::parse(&exported.to_bytes()), Some(exported));
        }
    }
}
