//! What a command did, as the journal has it.
//!
//! Most commands do the same whenever they are done again on the same data: they are recorded as they came. One that
//! does not (it tells a time from now, draws by chance, computes with more digits than it shows, waits) says in its
//! function what it did, by `Ctx::effect`, which then stands in its place. What follows from a row is seen to here:
//! a command that reads keys of other shards is recorded as the key that it wrote.
//!
//! Before the command comes what it came upon, keys whose time had come; all of it is one record.

use super::ctx::{CommandOptions, Ctx};
use super::generic::SortOptions;
use super::spec::{Run, Spec, Spread, Steps};
use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::key::shard_of_key;
use crate::journal::{rewrite, words, Journal, Sink, Word};
use crate::keyspace::{Cause, Keyspace};
use crate::resp::Args;

/// Whether what goes without a client's asking is recorded as UNLINK, not DEL: the directives `lazyfree-lazy-...`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LazyFree {
    /// `lazyfree-lazy-eviction`.
    pub eviction: bool,
    /// `lazyfree-lazy-expire`.
    pub expire: bool,
    /// `lazyfree-lazy-server-del`.
    pub server_del: bool,
}

/// DEL, or UNLINK where the value is to be freed in the background.
pub fn removal(is_lazy: bool) -> &'static str {
    if is_lazy {
        "UNLINK"
    } else {
        "DEL"
    }
}

/// Runs a command, and records what it did if the journal is recording.
///
/// # Errors
/// The command's. It did nothing then, and leaves no record.
#[inline]
pub fn run(spec: &Spec, ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let Run::Shard(handler, spread) = spec.run else {
        unreachable!("{} is no command of a shard", spec.name)
    };
    let dirty = ctx.keyspace.dirty();
    let result = handler(ctx, args);
    if ctx.journal.is_recording() {
        // What concerns all keys is recorded on all shards, also where there are none: to put the parts together again
        // it has to be known what came before it.
        let is_global = spread == Spread::EveryOk && spec.is_write() && result.is_ok();
        let has_changed = ctx.keyspace.dirty() != dirty || is_global;
        debug_assert!(!has_changed || result.is_ok(), "{} was refused and has changed something", spec.name);
        if has_changed || !ctx.keyspace.removals().is_empty() || ctx.journal.has_effects() {
            record(spec, spread, ctx, args, has_changed && result.is_ok());
        }
    }
    result
}

/// Records what has left the keyspace by itself, each on its own (the expiry cycle, eviction).
pub fn record_removals(keyspace: &mut Keyspace, journal: &mut Journal, options: &CommandOptions) {
    for_each_removal(keyspace, options, |db, words| journal.append(db, words.iter().copied()));
}

fn record(spec: &Spec, spread: Spread, ctx: &mut Ctx<'_, '_>, args: Args<'_>, has_changed: bool) {
    for_each_removal(ctx.keyspace, ctx.options, |db, words| ctx.journal.before(db, words.iter().copied()));
    if !has_changed {
        ctx.journal.forget_effects();
    } else if !ctx.journal.has_effects() {
        if reads_elsewhere(spec, spread, ctx, args) {
            // Those that store have their destination first, but for SORT, whose option comes last.
            let mut keys = spec.key_indexes(args);
            let key = if spread == Spread::Gather { keys.next() } else { keys.last() };
            ctx.effect_key(ctx.db, args.at(key.unwrap_or(1)));
        } else if ctx.journal.has_before() {
            ctx.journal.effect(ctx.db, args.iter_from(0));
        } else {
            ctx.journal.append_request(ctx.db, args);
            return;
        }
    }
    ctx.journal.commit();
}

/// Whether the command reads what may not be there, or be something else, when it is done again: keys of other shards;
/// of SORT whatever its patterns lead to, where a field that has expired would be read.
fn reads_elsewhere(spec: &Spec, spread: Spread, ctx: &Ctx<'_, '_>, args: Args<'_>) -> bool {
    let is_elsewhere = |index| shard_of_key(args.at(index), ctx.shards) != ctx.shard;
    match spread {
        Spread::Gather => ctx.shards > 1 && spec.key_indexes(args).any(is_elsewhere),
        Spread::Steps(Steps::Sort) => {
            let options = SortOptions::parse(args, spec.is_write());
            options.is_ok_and(|options| options.reads_others()) || spec.key_indexes(args).any(is_elsewhere)
        }
        _ => false,
    }
}

/// Calls `f` with the command that says of each removal that it happened; forgets them.
fn for_each_removal(
    keyspace: &mut Keyspace,
    options: &CommandOptions,
    mut f: impl FnMut(DbIndex, &[Word<'_>]),
) {
    for removal in keyspace.removals().iter() {
        match removal.field {
            Some(field) => f(removal.db, &words!["HDEL", removal.key, field]),
            None => {
                let is_lazy = match removal.cause {
                    Cause::Expired => options.lazyfree.expire,
                    Cause::Evicted => options.lazyfree.eviction,
                };
                f(removal.db, &words![self::removal(is_lazy), removal.key]);
            }
        }
    }
    keyspace.removals_mut().clear();
}

impl Ctx<'_, '_> {
    /// The command did this. It stands in the journal in place of the command itself; called several times, all of it
    /// does. Nothing happens while nobody records.
    #[inline]
    pub fn effect<'w, I>(&mut self, words: I)
    where
        I: IntoIterator<Item: Into<Word<'w>>, IntoIter: Clone>,
    {
        self.journal.effect(self.db, words);
    }

    /// The command made the key what it is now, whatever was there.
    pub fn effect_key(&mut self, db: DbIndex, name: &[u8]) {
        let (key, now) = (self.key(name), self.now_ms());
        let del = removal(self.options.lazyfree.server_del);
        let Some(sink) = self.journal.effects(db) else { return };
        sink.command(words![del, name]);
        if let Some(entry) = self.keyspace.peek(db, key, now) {
            rewrite::rebuild(sink, name, &entry, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ShardId;
    use crate::command::harness::Harness;

    /// A shard that records.
    fn shard() -> Harness {
        let mut shard = Harness::new();
        shard.record();
        shard
    }

    /// What is recorded of a command, `; ` between several. `NOW` is the time, and may have a number added.
    fn recorded(shard: &mut Harness, line: &str) -> String {
        shard.recorded();
        let now = shard.now_ms;
        shard.run(&with_times(line, now));
        shard.recorded().join("; ")
    }

    /// The line with each `NOW`, or `NOW+n`, replaced by milliseconds.
    fn with_times(line: &str, now_ms: i64) -> String {
        let mut parts = line.split("NOW");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find([' ', ';']).unwrap_or(part.len());
            out += &(now_ms + part[..end].parse::<i64>().unwrap_or(0)).to_string();
            out += &part[end..];
        }
        out
    }

    /// Runs commands before, then one whose record is looked at.
    fn check(before: &[&str], line: &str, expected: &str) {
        let mut shard = shard();
        before.iter().for_each(|line| drop(shard.run(&with_times(line, shard.now_ms))));
        let expected = with_times(expected, shard.now_ms);
        assert_eq!(recorded(&mut shard, line), expected, "{line}");
    }

    #[test]
    fn what_does_the_same_again_is_recorded_as_it_came() {
        for line in [
            "SET a 1",
            "set a 1 nx",
            "SET a 1 KEEPTTL",
            "MSET a 1 b 2",
            "MSETNX a 1 b 2",
            "INCRBY a 5",
            "APPEND a x",
            "SETRANGE a 3 x",
            "SETBIT a 7 1",
            "BITFIELD a INCRBY u8 0 1",
            "LPUSH a 1 2 3",
            "SADD a x y",
            "ZADD a 1 x 2 y",
            "ZINCRBY a 0.1 x",
            "HSET a f v",
            "HSETNX a f v",
            "HINCRBY a f 3",
            "PFADD a x y",
            "SWAPDB 0 1",
        ] {
            check(&[], line, line);
        }
        check(&["RPUSH a 1 2"], "LMOVE a b LEFT RIGHT", "LMOVE a b LEFT RIGHT");
        check(&["SADD a 1 2"], "SMOVE a b 1", "SMOVE a b 1");
        check(&["SADD a 1 2"], "SUNIONSTORE b a c", "SUNIONSTORE b a c");
        check(&["RPUSH a 2 1"], "SORT a STORE b", "SORT a STORE b");
        check(&["SET a 1"], "RENAME a b", "RENAME a b");
        check(&["SET a 1"], "COPY a b DB 2", "COPY a b DB 2");
        check(&["SET a 1"], "MOVE a 1", "MOVE a 1");
        check(&["SET a 1"], "DEL a b", "DEL a b");
        check(&["SET a 1"], "UNLINK a", "UNLINK a");
        check(&["SET a 1"], "FLUSHALL", "FLUSHALL");
        for line in ["FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 1 2"] {
            check(&[], line, line);
        }
        check(&["SET a 1", "EXPIRE a 10"], "PERSIST a", "PERSIST a");
        check(&["PFADD a 1"], "PFCOUNT a", "PFCOUNT a");
        check(&["PFADD a 1"], "PFDEBUG TODENSE a", "PFDEBUG TODENSE a");
        check(&["ZADD a 1 x 2 y"], "ZPOPMIN a", "ZPOPMIN a");
    }

    #[test]
    fn what_changes_nothing_is_not_recorded() {
        for line in [
            "GET a",
            "SET a 1 NX",
            "SADD s x",
            "DEL none",
            "GETDEL none",
            "GETEX a",
            "EXPIRE none 10",
            "SPOP none",
            "BLPOP none 0",
            "LMPOP 1 none LEFT",
            "BLMOVE none x LEFT LEFT 0",
            "BRPOPLPUSH none x 0",
            "INCR s",
            "SMOVE s t none",
            "HPERSIST none FIELDS 1 f",
            "PERSIST a",
            "SCAN 0",
            "SET a 1 EX x",
        ] {
            check(&["SET a 1", "SADD s x"], line, "");
        }
    }

    #[test]
    fn times_are_moments() {
        for (line, expected) in [
            ("SET a 2 EX 10", "SET a 2 PXAT NOW+10000"),
            ("SET a 2 px 10 XX GET", "SET a 2 PXAT NOW+10"),
            ("SET a 2 EXAT 5000000000", "SET a 2 PXAT 5000000000000"),
            ("SET a 2 GET", "SET a 2"),
            ("SET a 2 GET KEEPTTL", "SET a 2 KEEPTTL"),
            ("SETEX a 10 2", "SET a 2 PXAT NOW+10000"),
            ("PSETEX a 10 2", "SET a 2 PXAT NOW+10"),
            ("GETSET a 2", "SET a 2"),
            ("GETDEL a", "DEL a"),
            ("GETEX a EX 10", "PEXPIREAT a NOW+10000"),
            ("GETEX a PXAT 1", "DEL a"),
            ("EXPIRE a 10", "PEXPIREAT a NOW+10000"),
            ("PEXPIRE a 10 NX", "PEXPIREAT a NOW+10"),
            ("EXPIREAT a 5000000000", "PEXPIREAT a 5000000000000"),
            ("PEXPIREAT a 5000000000000", "PEXPIREAT a 5000000000000"),
            ("EXPIRE a -1", "DEL a"),
            ("EXPIREAT a 1", "DEL a"),
        ] {
            check(&["SET a 1"], line, expected);
        }
        check(&["SET a 1 EX 10"], "GETEX a PERSIST", "PERSIST a");
        let mut shard = shard();
        shard.options.lazyfree = LazyFree { expire: true, ..LazyFree::default() };
        shard.run("SET a 1");
        assert_eq!(recorded(&mut shard, "EXPIRE a 0"), "UNLINK a");
        shard.run("SET a 1");
        assert_eq!(recorded(&mut shard, "GETEX a EXAT 1"), "UNLINK a");
    }

    #[test]
    fn numbers_with_more_digits_than_are_shown_are_results() {
        check(&["SET a 1.5"], "INCRBYFLOAT a 0.1", "SET a 1.6 KEEPTTL");
        check(&["HSET a f 1.5"], "HINCRBYFLOAT a f 0.1", "HSET a f 1.6");
        check(
            &["HSET a f 1.5 g 1", "HPEXPIREAT a NOW+50 FIELDS 1 f"],
            "HINCRBYFLOAT a f 0.1",
            "MULTI; HSET a f 1.6; HPEXPIREAT a NOW+50 FIELDS 1 f; EXEC",
        );
    }

    #[test]
    fn what_waits_or_chooses_is_what_it_has_found() {
        let lists: &[&str] = &["RPUSH a 1 2 3"];
        for (line, expected) in [
            ("BLPOP none a 0", "LPOP a"),
            ("BRPOP a 0", "RPOP a"),
            ("LMPOP 2 none a RIGHT COUNT 2", "RPOP a 2"),
            ("LMPOP 1 a LEFT COUNT 10", "LPOP a 3"),
            ("BLMPOP 0 1 a LEFT", "LPOP a 1"),
            ("BLMOVE a b LEFT right 0", "LMOVE a b LEFT right"),
            ("BRPOPLPUSH a b 0", "RPOPLPUSH a b"),
            ("RPOPLPUSH a b", "RPOPLPUSH a b"),
        ] {
            check(lists, line, expected);
        }
        for (line, expected) in [
            ("BZPOPMIN none a 0", "ZPOPMIN a"),
            ("BZPOPMAX a 0", "ZPOPMAX a"),
            ("ZMPOP 2 none a MAX COUNT 2", "ZPOPMAX a 2"),
            ("BZMPOP 0 1 a MIN COUNT 9", "ZPOPMIN a 3"),
        ] {
            check(&["ZADD a 1 x 2 y 3 z"], line, expected);
        }
        check(&["SADD a x"], "SPOP a", "SREM a x");
        check(&["SADD a x y"], "SPOP a 5", "DEL a");
        let mut shard = shard();
        let members = (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        shard.run(&format!("SADD a {members}"));
        let lines = recorded(&mut shard, "SPOP a 130");
        let lines: Vec<&str> = lines.split("; ").collect();
        assert_eq!(lines.len(), 5);
        assert_eq!((lines[0], lines[4]), ("MULTI", "EXEC"));
        let words: Vec<usize> = lines[1..4].iter().map(|line| line.split(' ').count() - 2).collect();
        assert_eq!(words, [64, 64, 2]);
        assert!(lines[1].starts_with("SREM a "));
    }

    #[test]
    fn fields_expire_at_moments() {
        let before: &[&str] = &["HSET h a 1 b 2 c 3", "HPEXPIREAT h NOW+70 FIELDS 1 c"];
        for (line, expected) in [
            ("HEXPIRE h 10 FIELDS 3 a x b", "HPEXPIREAT h NOW+10000 FIELDS 2 a b"),
            ("HPEXPIRE h 10 XX FIELDS 2 a c", "HPEXPIREAT h NOW+10 FIELDS 1 c"),
            ("HPEXPIRE h 0 FIELDS 2 a x", "HDEL h a"),
            ("HEXPIRE h 10 NX FIELDS 1 c", ""),
            ("HPERSIST h FIELDS 2 a c", "HPERSIST h FIELDS 1 c"),
            ("HGETDEL h FIELDS 2 a x", "HDEL h a"),
            ("HGETEX h FIELDS 1 a", ""),
            ("HGETEX h PERSIST FIELDS 2 a c", "HPERSIST h FIELDS 1 c"),
            ("HGETEX h EX 10 FIELDS 2 a x", "HPEXPIREAT h NOW+10000 FIELDS 1 a"),
            ("HGETEX h PXAT 1 FIELDS 1 a", "HDEL h a"),
            ("HSETEX h FIELDS 1 a 5", "HSET h a 5"),
            (
                "HSETEX h KEEPTTL FIELDS 2 a 5 c 6",
                "MULTI; HSET h a 5 c 6; HPEXPIREAT h NOW+70 FIELDS 1 c; EXEC",
            ),
            (
                "HSETEX h PX 9 FIELDS 2 a 5 d 6",
                "MULTI; HSET h a 5 d 6; HPEXPIREAT h NOW+9 FIELDS 2 a d; EXEC",
            ),
            ("HSETEX h PXAT 1 FIELDS 1 a 5", "HDEL h a"),
            ("HSETNX h d 1", "HSET h d 1"),
            ("HINCRBY h c 1", "MULTI; HSET h c 4; HPEXPIREAT h NOW+70 FIELDS 1 c; EXEC"),
        ] {
            check(before, line, expected);
        }
    }

    #[test]
    fn keys_that_have_expired_go_before_what_came_upon_them() {
        let mut shard = shard();
        let expire = |shard: &mut Harness| {
            shard.run("SET a 1 PX 5");
            shard.now_ms += 6;
        };
        expire(&mut shard);
        assert_eq!(recorded(&mut shard, "GET a"), "DEL a");
        expire(&mut shard);
        assert_eq!(recorded(&mut shard, "INCR a"), "MULTI; DEL a; INCR a; EXEC");
        shard.run("DEL a");
        expire(&mut shard);
        shard.db = DbIndex(1);
        assert_eq!(recorded(&mut shard, "SWAPDB 0 2"), "SELECT 1; SWAPDB 0 2; SELECT 0");
        shard.db = DbIndex(2);
        shard.options.lazyfree = LazyFree { expire: true, eviction: true, ..LazyFree::default() };
        assert_eq!(
            recorded(&mut shard, "INCR a"),
            "MULTI; SELECT 2; UNLINK a; SELECT 0; SELECT 2; INCR a; SELECT 0; EXEC"
        );
        // Also where the command is refused.
        expire(&mut shard);
        assert_eq!(recorded(&mut shard, "RENAME a b"), "SELECT 2; UNLINK a; SELECT 0");
    }

    #[test]
    fn what_goes_by_itself_is_recorded_each_on_its_own() {
        let mut shard = shard();
        shard.run("SET a 1 PX 5");
        shard.run("HSET h f 1 g 2");
        shard.run("HPEXPIRE h 5 FIELDS 1 f");
        shard.run("HSET large f 1 g 2");
        shard.run("HPEXPIRE large 5 FIELDS 2 f g");
        shard.recorded();
        shard.now_ms += 6;
        let now = crate::base::time::UnixMs(shard.now_ms);
        while shard.keyspace.expire_step(now, 100).more {}
        shard.record_removals();
        let mut lines = shard.recorded();
        lines.sort();
        assert_eq!(lines, ["DEL a", "DEL large", "HDEL h f"]);
        // What is only lent concerns nobody.
        shard.db = shard.keyspace.scratch();
        shard.run("SET a 1 PX 5");
        shard.recorded();
        shard.now_ms += 6;
        assert_eq!(recorded(&mut shard, "GET a"), "");
    }

    #[test]
    fn a_command_that_reads_keys_of_other_shards_is_what_it_has_written() {
        let mut shard = shard();
        (shard.shards, shard.shard) = (2, ShardId(0));
        let here = |key: &str| shard_of_key(key.as_bytes(), 2) == ShardId(0);
        let (own, other): (Vec<String>, Vec<String>) =
            (0..20).map(|n| format!("k{n}")).partition(|key| here(key));
        let (one, two, three, other) = (&own[0], &own[1], &own[2], &other[0]);
        shard.run(&format!("SADD {two} 1 2"));
        let local = format!("SUNIONSTORE {one} {two}");
        assert_eq!(recorded(&mut shard, &local), local);
        let far = format!("SUNIONSTORE {one} {two} {other}");
        assert_eq!(recorded(&mut shard, &far), format!("MULTI; DEL {one}; SADD {one} 1 2; EXEC"));
        assert_eq!(recorded(&mut shard, &format!("SINTERSTORE {one} {two} {other}")), format!("DEL {one}"));
        shard.run(&format!("ZADD {three} 0.1 a -inf b"));
        let far = format!("ZUNIONSTORE {one} 2 {three} {other} WEIGHTS 3 1");
        let expected = format!("MULTI; DEL {one}; ZADD {one} -inf b 0.30000000000000004 a; EXEC");
        assert_eq!(recorded(&mut shard, &far), expected);
        shard.run(&format!("DEL {one} {two}"));
        shard.run(&format!("SET {two} ab PX 10"));
        let far = format!("BITOP OR {one} {two} {other}");
        assert_eq!(recorded(&mut shard, &far), format!("MULTI; DEL {one}; SET {one} ab; EXEC"));
        shard.run(&format!("RPUSH {three}l 2 1"));
        shard.run("SET w_1 5");
        let line = format!("SORT {three}l BY w_* STORE {one}");
        let lines = recorded(&mut shard, &line);
        assert!(lines.starts_with(&format!("MULTI; DEL {one}; RPUSH {one} ")), "{lines}");
    }

    #[test]
    fn an_entry_that_came_from_another_shard_is_built_anew() {
        let members = |count: usize| (0..count).map(|n| format!("m{n}")).collect::<Vec<_>>().join(" ");
        for (make, expected) in [
            ("SET k 12 PX 70".to_owned(), "MULTI; DEL k; SET k 12; PEXPIREAT k NOW+70; EXEC".to_owned()),
            (
                format!("RPUSH k {}", members(65)),
                format!("MULTI; DEL k; RPUSH k {}; RPUSH k m64; EXEC", members(64)),
            ),
            ("SADD k 1".to_owned(), "MULTI; DEL k; SADD k 1; EXEC".to_owned()),
            ("ZADD k 0.1 x inf y".to_owned(), "MULTI; DEL k; ZADD k 0.1 x inf y; EXEC".to_owned()),
            ("HSET k a 1 b 2".to_owned(), "MULTI; DEL k; HMSET k a 1 b 2; EXEC".to_owned()),
        ] {
            let mut from = Harness::new();
            from.run(&make);
            let reply = from.run_args(&[&b"_export"[..], b"k"]);
            let mut shard = shard();
            let blob = crate::resp::reply::as_bulk(&reply).unwrap();
            shard.run_args(&[&b"_import"[..], b"k", blob]);
            assert_eq!(shard.recorded().join("; "), with_times(&expected, shard.now_ms));
            shard.db = shard.keyspace.scratch();
            shard.run_args(&[&b"_import"[..], b"k", blob]);
            assert_eq!(shard.recorded(), [""; 0]);
        }
        let mut from = Harness::new();
        from.run("HSET k a 1 b 2");
        from.run("HPEXPIRE k 30 FIELDS 1 b");
        let reply = from.run_args(&[&b"_export"[..], b"k"]);
        let mut shard = shard();
        shard.run_args(&[&b"_import"[..], b"k", crate::resp::reply::as_bulk(&reply).unwrap()]);
        let expected = "MULTI; DEL k; HMSET k a 1 b 2; HPEXPIREAT k NOW+30 FIELDS 1 b; EXEC";
        assert_eq!(shard.recorded().join("; "), with_times(expected, shard.now_ms));
    }
}
