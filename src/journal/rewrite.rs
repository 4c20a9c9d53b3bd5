//! A key as commands that make it anew: what is recorded of a value that came from elsewhere, and how an AOF is
//! rewritten without an RDB.

use super::record::{self, words, Annotation, Sink, Word};
use crate::base::ids::DbIndex;
use crate::base::time::UnixMs;
use crate::ds::list::End;
use crate::keyspace::{EntryView, IntText, Progress, SnapshotSink, ValueRef};

/// How many elements one command has at most, as in an AOF that Redis has rewritten.
pub const ELEMENTS_MAX: usize = 64;

/// Writes the commands that make the key what it is, where nothing is under it.
pub fn rebuild(sink: &mut impl Sink, key: &[u8], entry: &EntryView<'_>, now: UnixMs) {
    let mut text = IntText::new();
    match entry.value {
        ValueRef::String(string) => {
            sink.command(words!["SET", key, string.bytes(&mut text)]);
        }
        ValueRef::List(list) => {
            let mut batches = Batches::new(sink, "RPUSH", key, list.len(), 1);
            list.range(0, End::Back, usize::MAX, |element| {
                batches.next().word(element.bytes(&mut text).into());
            });
        }
        ValueRef::Set(set) => {
            let mut batches = Batches::new(sink, "SADD", key, set.len(), 1);
            set.iter().for_each(|member| batches.next().word(member.bytes(&mut text).into()));
        }
        ValueRef::Zset(zset) => {
            let mut batches = Batches::new(sink, "ZADD", key, zset.len(), 2);
            for item in zset.iter() {
                let sink = batches.next();
                sink.word(Word::Score(item.score));
                sink.word(item.member.bytes(&mut text).into());
            }
        }
        ValueRef::Hash(hash) => {
            let mut batches = Batches::new(sink, "HMSET", key, hash.live_len(now), 2);
            hash.for_each(now, |item| {
                let sink = batches.next();
                sink.word(item.name.bytes(&mut text).into());
                sink.word(item.value.bytes(&mut text).into());
            });
            if hash.is_volatile() {
                hash.for_each(now, |item| {
                    let Some(at) = item.expire_at else { return };
                    expire_fields(sink, key, at, [item.name.bytes(&mut text)].into_iter());
                });
            }
        }
    }
    if let Some(at) = entry.expire_at {
        sink.command(words!["PEXPIREAT", key, at.0]);
    }
}

/// Writes a snapshot as commands: the base of an append-only file where `aof-use-rdb-preamble` is off.
#[derive(Debug)]
pub struct CommandsSink {
    now: UnixMs,
    /// What the time stamp in front tells, while it is not written.
    stamp_secs: Option<u64>,
}

impl CommandsSink {
    /// Fields of hashes whose time has come at `now` are left out. With a second of the Unix epoch it begins with a
    /// time stamp (`aof-timestamp-enabled`).
    pub fn new(now: UnixMs, stamp_secs: Option<u64>) -> Self {
        CommandsSink { now, stamp_secs }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(secs) = self.stamp_secs.take() {
            Annotation::Time(secs).write(out);
        }
    }
}

impl SnapshotSink for CommandsSink {
    fn database(&mut self, _: DbIndex, _: u64, _: u64, out: &mut Vec<u8>) {
        self.begin(out);
    }

    fn entry(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        // Keys come in no order of their databases: each stands alone.
        if db != DbIndex(0) {
            record::select(out, db);
        }
        rebuild(out, key, entry, self.now);
        if db != DbIndex(0) {
            record::select(out, DbIndex(0));
        }
    }

    /// All at once: a command names the key it works on, but not where to go on.
    fn begin_value(&mut self, db: DbIndex, key: &[u8], entry: &EntryView<'_>, out: &mut Vec<u8>) {
        self.entry(db, key, entry, out);
    }

    fn step_value(&mut self, _: &EntryView<'_>, _: usize, _: &mut Vec<u8>) -> Progress {
        Progress::Done
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
    }
}

/// Writes that fields of a hash expire.
pub fn expire_fields<'a>(
    sink: &mut impl Sink,
    key: &[u8],
    at: UnixMs,
    names: impl Iterator<Item = &'a [u8]> + Clone,
) {
    sink.begin(5 + names.clone().count());
    sink.word("HPEXPIREAT".into());
    sink.word(key.into());
    sink.word(at.0.into());
    sink.word("FIELDS".into());
    sink.word(names.clone().count().into());
    names.for_each(|name| sink.word(name.into()));
}

/// Elements of a collection, in as many commands as it takes.
pub struct Batches<'a, S> {
    sink: &'a mut S,
    name: &'static str,
    key: &'a [u8],
    /// How many elements are to come, and how many of them in this command.
    left: usize,
    room: usize,
    /// How many words an element has.
    words: usize,
}

impl<'a, S: Sink> Batches<'a, S> {
    /// For so many elements of so many words each, in commands of this name on this key.
    pub fn new(sink: &'a mut S, name: &'static str, key: &'a [u8], elements: usize, words: usize) -> Self {
        Batches { sink, name, key, left: elements, room: 0, words }
    }

    /// Where the words of the next element go.
    #[allow(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> &mut S {
        if self.room == 0 {
            self.room = self.left.min(ELEMENTS_MAX);
            self.sink.begin(2 + self.room * self.words);
            self.sink.word(self.name.into());
            self.sink.word(self.key.into());
        }
        self.room -= 1;
        self.left -= 1;
        self.sink
    }
}
