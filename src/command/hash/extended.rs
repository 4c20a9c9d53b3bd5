//! Reading and writing that also removes fields or says when they expire: HGETDEL, HGETEX, HSETEX.

use super::effects::{effect_set, Names};
use super::expire::{moment, Since, Unit};
use super::reply_value;
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::command::Ctx;
use crate::ds::collection::{Collection, Edit};
use crate::ds::hash::FieldExpire;
use crate::journal::words;
use crate::keyspace::Hash;
use crate::resp::Args;

pub(super) fn hgetdel(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    if !args.is(2, "FIELDS") {
        return Err(CommandError::FIELDS_MISSING);
    }
    let count = parse_i64(args.at(3)).filter(|&count| count > 0).ok_or(CommandError::NUMFIELDS_POSITIVE)?;
    if usize::try_from(count) != Ok(args.len() - 4) {
        return Err(CommandError::NUMFIELDS_MISMATCH);
    }
    let mut removed = Names::of(ctx);
    reply_and_change(ctx, args, 4, |hash, edit, name| {
        hash.remove(edit, name);
        edit.changed(1);
        removed.push(name);
    })?;
    removed.effect(ctx, words!["HDEL", args.at(1)]);
    Ok(())
}

pub(super) fn hgetex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let now = ctx.now_ms();
    let (options, fields_at) = Options::parse(args, now, Command::Hgetex)?;
    let mut changed = Names::of(ctx);
    reply_and_change(ctx, args, fields_at, |hash, edit, name| {
        match options.expire {
            None => return,
            Some(FieldExpire::At(at)) if at <= now => _ = hash.remove(edit, name),
            Some(FieldExpire::At(at)) => _ = hash.set_expire(edit, name, Some(at)),
            Some(FieldExpire::Clear | FieldExpire::Keep) => {
                let item = hash.as_ref().get(edit.hasher, name, now);
                if item.is_none_or(|item| item.expire_at.is_none()) {
                    return;
                }
                hash.set_expire(edit, name, None);
            }
        }
        edit.changed(1);
        changed.push(name);
    })?;
    match options.expire {
        Some(FieldExpire::At(at)) => changed.effect_expiry(ctx, args.at(1), at),
        _ => changed.effect(ctx, words!["HPERSIST", args.at(1), "FIELDS", changed.len()]),
    }
    Ok(())
}

pub(super) fn hsetex(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let (options, fields_at) = Options::parse(args, now, Command::Hsetex)?;
    let expire = options.expire.unwrap_or(FieldExpire::Clear);
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let exists = slot.hash()?.is_some();
    if options.key.is_some_and(|must_exist| must_exist != exists) {
        ctx.reply.int(0);
        return Ok(());
    }
    let done = slot.edit(|hash: &mut Hash, edit| {
        let mut names = args.iter_from(fields_at).step_by(2);
        let has = |name: &[u8]| hash.as_ref().get(edit.hasher, name, now).is_some();
        if options.fields.is_some_and(|must_exist| names.any(|name| has(name) != must_exist)) {
            return false;
        }
        let pairs = (args.len() - fields_at) / 2;
        hash.reserve(edit, pairs);
        edit.changed(pairs as u64);
        for at in (fields_at..args.len()).step_by(2) {
            match expire {
                FieldExpire::At(moment) if moment <= now => _ = hash.remove(edit, args.at(at)),
                _ => _ = hash.set(edit, args.at(at), args.at(at + 1), expire),
            }
        }
        true
    })?;
    ctx.reply.int(i64::from(done));
    if done {
        effect_set(ctx, args, fields_at, expire);
    }
    Ok(())
}

/// Replies with the values of the fields from argument `fields_at` on, and lets `f` change each one that there is.
fn reply_and_change<'a>(
    ctx: &mut Ctx<'_, '_>,
    args: Args<'a>,
    fields_at: usize,
    mut f: impl FnMut(&mut Hash, &mut Edit<'_>, &'a [u8]),
) -> Result<(), CommandError> {
    let names = args.iter_from(fields_at);
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    slot.count_read();
    if slot.hash()?.is_none() {
        ctx.reply.array(names.len());
        names.for_each(|_| ctx.reply.null());
        return Ok(());
    }
    slot.edit(|hash: &mut Hash, edit| {
        ctx.reply.array(names.len());
        for name in names {
            let item = hash.as_ref().get(edit.hasher, name, now);
            reply_value(ctx.reply, item.map(|item| item.value));
            if item.is_some() {
                f(hash, edit, name);
            }
        }
    })?;
    Ok(())
}

/// Whose options are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Hgetex,
    Hsetex,
}

/// What HGETEX and HSETEX are told before the fields.
#[derive(Default)]
struct Options {
    /// What becomes of the fields' expiry.
    expire: Option<FieldExpire>,
    /// Whether the key must be there (XX) or must not (NX).
    key: Option<bool>,
    /// Whether all fields must be there (FXX) or none (FNX).
    fields: Option<bool>,
}

impl Options {
    /// The options and the place of the first field.
    fn parse(args: Args<'_>, now: UnixMs, command: Command) -> Result<(Options, usize), CommandError> {
        let mut options = Options::default();
        let is_set = command == Command::Hsetex;
        let (name, word, word_means) = match command {
            Command::Hgetex => ("hgetex", "PERSIST", FieldExpire::Clear),
            Command::Hsetex => ("hsetex", "KEEPTTL", FieldExpire::Keep),
        };
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "FIELDS") {
                return Ok((options, Options::fields_at(args, at, name, if is_set { 2 } else { 1 })?));
            }
            if is_set && (args.is(at, "FNX") || args.is(at, "FXX")) {
                if options.fields.replace(args.is(at, "FXX")).is_some() {
                    return Err(CommandError::HSETEX_FIELDS_CONDITION);
                }
            } else if is_set && (args.is(at, "NX") || args.is(at, "XX")) {
                if options.key.replace(args.is(at, "XX")).is_some() {
                    return Err(CommandError::HSETEX_KEY_CONDITION);
                }
            } else {
                let time = time_option(args.at(at));
                if time.is_none() && !args.is(at, word) {
                    return Err(CommandError::unknown_argument(args.at(at)));
                }
                if options.expire.is_some() {
                    return Err(match command {
                        Command::Hgetex => CommandError::HGETEX_EXPIRATION,
                        Command::Hsetex => CommandError::HSETEX_EXPIRATION,
                    });
                }
                options.expire = Some(match time {
                    None => word_means,
                    Some((unit, since)) => {
                        at += 1;
                        let text = args.get(at).ok_or(CommandError::FIELD_EXPIRE_MISSING)?;
                        FieldExpire::At(moment(text, now, name, unit, since)?)
                    }
                });
            }
            at += 1;
        }
        Err(CommandError::arity(name))
    }

    /// The place of the first field after FIELDS at `at`; each takes `step` arguments.
    fn fields_at(args: Args<'_>, at: usize, name: &str, step: usize) -> Result<usize, CommandError> {
        let first = at + 2;
        if first + step > args.len() {
            return Err(CommandError::arity(name));
        }
        let count = parse_i64(args.at(at + 1)).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
        let count = count.ok_or(CommandError::NUMFIELDS_INVALID)? as usize;
        match args.len() - first == count * step {
            true => Ok(first),
            false => Err(CommandError::arity(name)),
        }
    }
}

fn time_option(word: &[u8]) -> Option<(Unit, Since)> {
    match word.to_ascii_lowercase().as_slice() {
        b"ex" => Some((Unit::Seconds, Since::Now)),
        b"px" => Some((Unit::Milliseconds, Since::Now)),
        b"exat" => Some((Unit::Seconds, Since::Epoch)),
        b"pxat" => Some((Unit::Milliseconds, Since::Epoch)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    /// A shard with a small hash and a large one, of fields a, b and c.
    fn shard() -> Harness {
        let mut shard = Harness::new();
        shard.run("HSET small a 1 b 2 c 3");
        shard.run(&format!("HSET large x {}", "v".repeat(65)));
        shard.run("HSET large a 1 b 2 c 3");
        shard.run("HDEL large x");
        shard
    }

    #[test]
    fn hgetdel_replies_with_what_it_removes() {
        for key in ["small", "large"] {
            let mut shard = shard();
            assert_eq!(
                shard.run(&format!("HGETDEL {key} FIELDS 3 a none a")),
                "*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n"
            );
            assert_eq!(shard.run(&format!("HLEN {key}")), ":2\r\n");
            shard.run(&format!("HGETDEL {key} FIELDS 2 b c"));
            assert_eq!(shard.run(&format!("EXISTS {key}")), ":0\r\n");
            assert_eq!(shard.run(&format!("HGETDEL {key} FIELDS 1 b")), "*1\r\n$-1\r\n");
        }
    }

    #[test]
    fn hgetex_changes_only_the_expiry() {
        for key in ["small", "large"] {
            let mut shard = shard();
            let reply = "*2\r\n$1\r\n1\r\n$-1\r\n";
            for (options, ttl_ms) in [
                ("", -1),
                ("EX 10", 10_000),
                ("", 10_000),
                ("px 30", 30),
                ("PERSIST", -1),
                (&format!("PXAT {}", Harness::new().now_ms + 7), 7),
            ] {
                assert_eq!(shard.run(&format!("HGETEX {key} {options} FIELDS 2 a none")), reply, "{options}");
                assert_eq!(shard.run(&format!("HPTTL {key} FIELDS 1 a")), format!("*1\r\n:{ttl_ms}\r\n"));
            }
            // What it sets to the past is gone, but told.
            assert_eq!(shard.run(&format!("HGETEX {key} EXAT 1 FIELDS 2 a none")), reply);
            assert_eq!(shard.run(&format!("HEXISTS {key} a")), ":0\r\n");
            shard.run(&format!("HGETEX {key} PX 0 FIELDS 2 b c"));
            assert_eq!(shard.run(&format!("EXISTS {key}")), ":0\r\n");
            assert_eq!(shard.run(&format!("HGETEX {key} EX 1 FIELDS 1 a")), "*1\r\n$-1\r\n");
        }
    }

    #[test]
    fn hsetex_sets_all_fields_or_none() {
        for key in ["small", "large", "new"] {
            let mut shard = shard();
            let mut run = |line: &str| shard.run(&line.replace("KEY", key));
            let exists = i64::from(key != "new");
            assert_eq!(run("HSETEX KEY XX FIELDS 1 z 0"), format!(":{exists}\r\n"));
            assert_eq!(run("HSETEX KEY NX FIELDS 1 z 0"), format!(":{}\r\n", 1 - exists));
            assert_eq!(run("HSETEX KEY FXX FIELDS 2 z 1 d 4"), ":0\r\n");
            assert_eq!(run("HSETEX KEY FNX FIELDS 2 d 4 z 1"), ":0\r\n");
            assert_eq!(run("HMGET KEY z d"), "*2\r\n$1\r\n0\r\n$-1\r\n");
            assert_eq!(run("HSETEX KEY FNX EX 10 FIELDS 2 d 4 e 5"), ":1\r\n");
            assert_eq!(run("HSETEX KEY fxx keepttl fields 2 d 6 z 7"), ":1\r\n");
            assert_eq!(run("HMGET KEY d e z"), "*3\r\n$1\r\n6\r\n$1\r\n5\r\n$1\r\n7\r\n");
            assert_eq!(run("HTTL KEY FIELDS 3 d e z"), "*3\r\n:10\r\n:10\r\n:-1\r\n");
            assert_eq!(run("HSETEX KEY FIELDS 1 d 8"), ":1\r\n");
            assert_eq!(run("HTTL KEY FIELDS 1 d"), "*1\r\n:-1\r\n");
            assert_eq!(run("HSETEX KEY PXAT 1 FIELDS 2 d 9 n 9"), ":1\r\n");
            assert_eq!(run("HMGET KEY d n"), "*2\r\n$-1\r\n$-1\r\n");
        }
        let mut shard = shard();
        assert_eq!(shard.run("HSETEX new FXX FIELDS 1 a 1"), ":0\r\n");
        assert_eq!(shard.run("HSETEX new EX 0 FIELDS 1 a 1"), ":1\r\n");
        assert_eq!(shard.run("EXISTS new"), ":0\r\n");
    }

    #[test]
    fn bad_arguments() {
        let mut shard = shard();
        shard.run("SET s v");
        let arity = |name: &str| format!("wrong number of arguments for '{name}' command");
        for (command, error) in [
            (
                "HGETDEL small x 1 a",
                "Mandatory argument FIELDS is missing or not at the right position".to_owned(),
            ),
            ("HGETDEL small FIELDS 0 a", "Number of fields must be a positive integer".to_owned()),
            ("HGETDEL small FIELDS x a", "Number of fields must be a positive integer".to_owned()),
            (
                "HGETDEL small FIELDS 2 a",
                "The `numfields` parameter must match the number of arguments".to_owned(),
            ),
            ("HGETEX small FIELDS 0 a", "invalid number of fields".to_owned()),
            ("HGETEX small FIELDS 2 a", arity("hgetex")),
            ("HGETEX small EX 1 FIELDS 1", arity("hgetex")),
            ("HGETEX small EX 1 FIELDS", arity("hgetex")),
            ("HGETEX small KEEPTTL FIELDS 1 a", "unknown argument: KEEPTTL".to_owned()),
            ("HGETEX small EX -1 FIELDS 1 a", "invalid expire time, must be >= 0".to_owned()),
            ("HGETEX small EX x FIELDS 1 a", "value is not an integer or out of range".to_owned()),
            (
                "HGETEX small EX 9223372036854775807 FIELDS 1 a",
                "invalid expire time in 'hgetex' command".to_owned(),
            ),
            (
                "HGETEX small EX 1 PX 1 FIELDS 1 a",
                "Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified".to_owned(),
            ),
            (
                "HSETEX small EX 1 KEEPTTL FIELDS 1 a 1",
                "Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified".to_owned(),
            ),
            (
                "HSETEX small FXX FNX FIELDS 1 a 1",
                "Only one of FXX or FNX arguments can be specified".to_owned(),
            ),
            ("HSETEX small XX NX FIELDS 1 a 1", "Only one of NX or XX arguments can be specified".to_owned()),
            ("HSETEX small PERSIST FIELDS 1 a 1", "unknown argument: PERSIST".to_owned()),
            ("HSETEX small FIELDS 1 a 1 b", arity("hsetex")),
            ("HSETEX small FIELDS 2 a 1 b", arity("hsetex")),
            ("HSETEX small FNX NX KEEPTTL XX", "Only one of NX or XX arguments can be specified".to_owned()),
            ("HSETEX small FNX NX KEEPTTL FIELDS", arity("hsetex")),
            ("HSETEX small NX FXX x PXAT", "unknown argument: x".to_owned()),
            ("HGETEX small PERSIST FIELDS x 1", "invalid number of fields".to_owned()),
            ("HSETEX small FIELDS 1 a 1 EX", arity("hsetex")),
            ("HGETEX small x y z", "unknown argument: x".to_owned()),
            ("HSETEX small NX FNX PXAT x", "value is not an integer or out of range".to_owned()),
            ("HSETEX small FNX FIELDS a b 1", "invalid number of fields".to_owned()),
        ] {
            assert_eq!(shard.run(command), format!("-ERR {error}\r\n"), "{command}");
        }
        for command in ["HGETDEL s FIELDS 1 a", "HGETEX s FIELDS 1 a", "HSETEX s FIELDS 1 a 1"] {
            assert!(shard.run(command).starts_with("-WRONGTYPE"), "{command}");
        }
    }
}
