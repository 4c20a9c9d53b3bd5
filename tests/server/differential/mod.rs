//! Random commands to Ringward and to redis-server: every reply must be the same, and so must the data be in the end.
//!
//! Two clients of each server take turns, so that a transaction of one can be spoilt by the other. Anything that
//! differs and is not `replies::KNOWN` is a bug, and the sequence that shows it is made as short as it can be.
//!
//! `RINGWARD_SEED` is 1 if it is not given, other numbers are other runs; `RINGWARD_STEPS` sets how many commands each
//! of the tests sends.

pub(super) mod generate;
mod replies;

use std::time::Duration;

pub(super) use generate::{Generator, Words};
use generate::{Sent, Step};
use replies::equal;

use super::harness::{eventually, number_from_env, request, Client, Peer, Random, Server, Start, Value};

/// How long a reply may take while the shortest sequence is looked for.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The databases that the generator works in.
const DATABASES: usize = 16;

/// The clients of each server.
const CLIENTS: usize = 2;

/// Limits of the encodings so low that values of both encodings abound.
const SMALL: &[&str] = &[
    "--hash-max-listpack-entries",
    "16",
    "--zset-max-listpack-entries",
    "16",
    "--set-max-intset-entries",
    "16",
    "--list-max-listpack-size",
    "8",
    "--hll-sparse-max-bytes",
    "300",
];

#[test]
fn one_shard_replies_as_redis_does() {
    compare(1);
}

#[test]
fn two_shards_reply_as_redis_does() {
    compare(2);
}

#[test]
fn five_shards_reply_as_redis_does() {
    compare(5);
}

fn compare(shards: u16) {
    let seed = number_from_env("RINGWARD_SEED", 1);
    let steps = number_from_env("RINGWARD_STEPS", 8000) as usize;
    println!("{shards} shards: RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    // Half of the runs with the usual limits.
    let limits = if (seed + u64::from(shards / 2)) % 2 == 0 { SMALL } else { &[] };
    let mut pair = Pair::new(shards, limits);
    let mut random = Random::new(seed);
    let now = pair.both(|client| client.run("TIME").items()[0].text())[0].parse();
    let mut generator = Generator::new(now.unwrap());
    let mut history: Vec<Sent> = Vec::new();
    while history.len() < steps {
        let step = generator.step(&mut random);
        if !matches!(step, Step::Commands(_)) {
            // What stands alone must not be queued.
            pair.check(seed, &mut history, vec![Sent::first(vec!["DISCARD".into()])]);
        }
        match step {
            Step::Commands(sent) => pair.check(seed, &mut history, sent),
            Step::Scan(of, options) => {
                let [expected, actual] = pair.both(|client| scan(client, &of, &options));
                assert!(
                    equal(&of, &expected, &actual),
                    "{} {options:?}, RINGWARD_SEED={seed}\n  expected {expected:?}\n  actual   {actual:?}",
                    shown(&of)
                );
            }
            Step::Pop(key, count) => {
                let removed = pair.pop(&key, count);
                history.extend(removed.map(Sent::first));
            }
            Step::ShortLife(key) => {
                pair.short_life(&key);
                // The replay has to know that the key is gone.
                history.push(Sent::first(vec!["DEL".into(), key]));
            }
            Step::Digest => pair.compare_database(seed, &history),
        }
    }
    pair.check(seed, &mut history, vec![Sent::first(vec!["DISCARD".into()])]);
    pair.compare_data(seed, &history);
}

/// The two servers and the connections to each.
struct Pair {
    redis: Vec<Client>,
    ringward: Vec<Client>,
    /// What each client has queued since MULTI.
    queued: [Option<Vec<Words>>; CLIENTS],
    peer: Peer,
    server: Server,
    shards: u16,
    limits: &'static [&'static str],
}

/// Where two runs part.
struct Difference {
    at: usize,
    expected: String,
    actual: String,
}

impl Pair {
    fn new(shards: u16, limits: &'static [&'static str]) -> Pair {
        let (peer, server) = (Peer::start_with(limits), Start::new(shards).args(limits).run());
        let redis = (0..CLIENTS).map(|_| peer.client()).collect();
        let ringward = (0..CLIENTS).map(|_| server.client()).collect();
        Pair { redis, ringward, queued: Default::default(), peer, server, shards, limits }
    }

    /// The first client of both servers does something.
    fn both<T>(&mut self, mut run: impl FnMut(&mut Client) -> T) -> [T; 2] {
        [run(&mut self.redis[0]), run(&mut self.ringward[0])]
    }

    /// Sends the commands, and fails with the shortest history that shows a difference, if there is one.
    fn check(&mut self, seed: u64, history: &mut Vec<Sent>, sent: Vec<Sent>) {
        let difference = self.first_difference(&sent);
        let before = history.len();
        history.extend(sent);
        if let Some(difference) = difference {
            history.truncate(before + difference.at + 1);
            self.explain(seed, history, &difference);
        }
    }

    /// Sends the commands, those of one client that follow each other as one pipeline.
    fn first_difference(&mut self, batch: &[Sent]) -> Option<Difference> {
        let mut done = 0;
        for run in batch.chunk_by(|one, next| one.by == next.by) {
            let found = self.first_difference_of_one(run);
            if found.is_some() {
                return found.map(|found| Difference { at: done + found.at, ..found });
            }
            done += run.len();
        }
        None
    }

    /// The same for commands that are all of one client.
    fn first_difference_of_one(&mut self, batch: &[Sent]) -> Option<Difference> {
        let by = batch[0].by;
        let bytes: Vec<u8> = batch.iter().flat_map(|sent| request(&sent.words)).collect();
        let [expected, actual] = [&mut self.redis[by], &mut self.ringward[by]].map(|client| {
            client.send(&bytes);
            (0..batch.len()).map_while(|_| client.try_read().ok()).collect::<Vec<Value>>()
        });
        if let Some(unanswered) = batch.get(expected.len()) {
            panic!("redis-server does not answer {unanswered}");
        }
        batch.iter().enumerate().find_map(|(at, sent)| {
            let actual = actual.get(at);
            let same = actual.is_some_and(|actual| self.agree(sent, &expected[at], actual));
            (!same).then(|| Difference {
                at,
                expected: format!("{:?}", expected[at]),
                actual: actual.map_or("nothing".into(), |actual| format!("{actual:?}")),
            })
        })
    }

    /// Whether the replies are the same as far as they must be, those to EXEC command by command.
    fn agree(&mut self, sent: &Sent, expected: &Value, actual: &Value) -> bool {
        let queued = &mut self.queued[sent.by];
        if let (Some(commands), true) = (&mut *queued, *expected == Value::simple("QUEUED")) {
            commands.push(sent.words.clone());
            return expected == actual;
        }
        match (sent.words[0].to_ascii_uppercase().as_slice(), sent.words.len()) {
            (b"MULTI", 1) => *queued = queued.take().or_else(|| Some(Vec::new())),
            (b"DISCARD" | b"RESET", 1) => *queued = None,
            (b"EXEC", 1) => {
                let commands = queued.take().unwrap_or_default();
                if let (Value::Array(expected), Value::Array(actual)) = (expected, actual) {
                    let all = commands.iter().zip(expected.iter().zip(actual));
                    return [expected.len(), actual.len()] == [commands.len(); 2] && { all }
                        .all(|(words, (expected, actual))| equal(words, expected, actual));
                }
            }
            _ => {}
        }
        equal(&sent.words, expected, actual)
    }

    /// Both servers empty, Ringward a new one: the old may be stuck.
    fn start_over(&mut self) {
        self.server = Start::new(self.shards).args(self.limits).run();
        self.redis = (0..CLIENTS).map(|_| self.peer.client()).collect();
        self.ringward = (0..CLIENTS).map(|_| self.server.client()).collect();
        self.queued = Default::default();
        self.redis[0].ok("FLUSHALL");
        self.ringward.iter().for_each(|client| client.set_timeout(REPLY_TIMEOUT));
    }

    /// Runs the commands from the start; the first difference, and which command it is.
    fn replay(&mut self, commands: &[Sent]) -> Option<(Difference, usize)> {
        self.start_over();
        let mut done = 0;
        for batch in commands.chunks(100) {
            if let Some(found) = self.first_difference(batch) {
                let at = done + found.at;
                return Some((found, at));
            }
            done += batch.len();
        }
        None
    }

    /// Finds the shortest part of the history that still shows a difference, and fails.
    fn explain(&mut self, seed: u64, history: &[Sent], found: &Difference) -> ! {
        let last: Vec<_> = history.iter().rev().take(8).rev().map(Sent::to_string).collect();
        let last = last.join("\n");
        println!(
            "RINGWARD_SEED={seed}, in the end:\n{last}\n  expected {}\n  actual   {}",
            found.expected, found.actual
        );
        let mut shortest = history.to_vec();
        let mut difference = None;
        let mut chunk = shortest.len();
        while chunk > 0 {
            let mut end = shortest.len() - 1;
            while end > 0 {
                let from = end.saturating_sub(chunk);
                let mut without = shortest.clone();
                without.drain(from..end);
                if let Some((found, at)) = self.replay(&without) {
                    without.truncate(at + 1);
                    shortest = without;
                    difference = Some(found);
                    end = from.min(shortest.len() - 1);
                } else {
                    end = from;
                }
            }
            chunk /= 2;
        }
        let lines: Vec<_> = shortest.iter().map(Sent::to_string).collect();
        match difference {
            Some(found) => panic!(
                "RINGWARD_SEED={seed}, from empty, limits {:?}:\n{}\n  expected {}\n  actual   {}",
                self.limits,
                lines.join("\n"),
                found.expected,
                found.actual
            ),
            None => panic!("RINGWARD_SEED={seed}: seen once, not again, in the end:\n{last}"),
        }
    }

    /// Ringward draws members of a set, and redis-server removes the same; the command that does so.
    fn pop(&mut self, key: &[u8], count: Option<usize>) -> Option<Words> {
        let is_set = self.redis[0].call(&[b"TYPE", key]) == Value::simple("set");
        let count_text = count.map(|count| count.to_string());
        let words: Vec<&[u8]> =
            [b"SPOP", key].into_iter().chain(count_text.as_deref().map(str::as_bytes)).collect();
        if !is_set {
            let [expected, actual] = self.both(|client| client.call(&words));
            assert_eq!(actual, expected, "SPOP of what is no set");
            return None;
        }
        let members = self.redis[0].call(&[b"SCARD", key]).int() as usize;
        let drawn = match self.ringward[0].call(&words) {
            Value::Bulk(member) => vec![member],
            several => several.items().iter().map(|member| member.bytes().to_vec()).collect(),
        };
        assert_eq!(drawn.len(), members.min(count.unwrap_or(1)), "{words:?}");
        if drawn.is_empty() {
            return None;
        }
        let remove: Words = [vec![b"SREM".to_vec(), key.to_vec()], drawn].concat();
        assert_eq!(
            self.redis[0].call(&remove),
            Value::Int(remove.len() as i64 - 2),
            "distinct members were drawn"
        );
        Some(remove)
    }

    /// A key that comes of age soon does so on both.
    fn short_life(&mut self, key: &[u8]) {
        self.both(|client| {
            assert_eq!(client.call(&[b"SET", key, b"gone", b"EXAT", b"1"]), Value::simple("OK"));
            assert_eq!(client.call(&[b"EXISTS", key]).int(), 0);
            assert_eq!(client.call(&[b"SET", key, b"soon gone", b"PX", b"3"]), Value::simple("OK"));
            eventually("a key expires", || client.call(&[b"GET", key]).bytes_or_null().is_none());
            assert_eq!(client.call(&[b"EXISTS", key]).int(), 0);
        });
    }

    /// The digest of all data, and the encodings of the selected database.
    fn compare_database(&mut self, seed: u64, history: &[Sent]) {
        let [expected, actual] = self.both(|client| client.run("DEBUG DIGEST"));
        assert!(actual == expected, "DEBUG DIGEST, RINGWARD_SEED={seed}:\n{}", self.differing_keys(history));
        for key in 1..15 {
            self.compare_encoding(format!("k{key}").as_bytes(), seed);
        }
    }

    /// The keys whose values differ, each with the last commands that named it.
    fn differing_keys(&mut self, history: &[Sent]) -> String {
        let mut told = String::new();
        for db in 0..DATABASES {
            self.both(|client| client.run(&format!("SELECT {db}")));
            let [mut keys, more] = self.both(|client| client.run("KEYS *").items().to_vec());
            keys.extend(more.into_iter().filter(|key| !keys.contains(key)).collect::<Vec<_>>());
            for key in keys {
                let [expected, actual] = self.both(|client| {
                    let digest = client.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key.bytes()]);
                    [digest, client.call(&[b"TYPE", key.bytes()]), client.call(&[b"PTTL", key.bytes()])]
                });
                if actual[..2] != expected[..2] || (actual[2].int() < 0) != (expected[2].int() < 0) {
                    told += &format!("{db} {key:?}: expected {expected:?}, actual {actual:?}\n");
                    let naming =
                        history.iter().rev().filter(|sent| sent.words.iter().any(|w| w == key.bytes()));
                    let last: Vec<_> = naming.take(12).collect();
                    last.iter().rev().for_each(|sent| told += &format!("    {sent}\n"));
                }
            }
        }
        told
    }

    fn compare_encoding(&mut self, key: &[u8], seed: u64) {
        let [expected, actual] = self
            .both(|client| (client.call(&[b"TYPE", key]), client.call(&[&b"OBJECT"[..], b"ENCODING", key])));
        // Those of lists and sets are others since 7.2.
        let is_other = ["list", "set"].map(Value::simple).contains(&expected.0);
        let key = key.escape_ascii();
        assert!(
            actual == expected || is_other && actual.0 == expected.0,
            "encoding of {key}: expected {expected:?}, actual {actual:?}, RINGWARD_SEED={seed}"
        );
    }

    /// Every key of every database.
    fn compare_data(&mut self, seed: u64, history: &[Sent]) {
        self.both(|client| client.run("HELLO 2"));
        for db in 0..DATABASES {
            self.both(|client| client.ok(&format!("SELECT {db}")));
            let [expected, actual] = self.both(|client| client.run("KEYS *").sorted());
            assert_eq!(actual, expected, "keys of database {db}, RINGWARD_SEED={seed}");
            for key in expected.items() {
                for command in ["GET", "TYPE", "PTTL", "DEBUG DIGEST-VALUE"] {
                    let mut args: Words = command.split(' ').map(Into::into).collect();
                    args.push(key.bytes().to_vec());
                    let [expected, actual] = self.both(|client| client.call(&args));
                    assert!(
                        equal(&args, &expected, &actual),
                        "database {db}: {}\n  expected {expected:?}\n  actual   {actual:?}\nRINGWARD_SEED={seed}",
                        shown(&args)
                    );
                }
                self.compare_encoding(key.bytes(), seed);
            }
            let [expected, actual] = self.both(|client| client.run("DBSIZE"));
            assert_eq!(actual, expected, "DBSIZE of database {db}, RINGWARD_SEED={seed}");
        }
        self.compare_database(seed, history);
    }
}

impl Value {
    fn bytes_or_null(&self) -> Option<&[u8]> {
        match self {
            Value::Null | Value::NullBulk => None,
            other => Some(other.bytes()),
        }
    }
}

/// All that a whole SCAN brings, or the error that it ends with. `of` is what stands before the cursor.
fn scan(client: &mut Client, of: &[Vec<u8>], options: &[&str]) -> Value {
    let (mut found, mut cursor) = (Vec::new(), b"0".to_vec());
    // Fields and members of sorted sets come with what belongs to them.
    let step = if matches!(of[0].as_slice(), b"HSCAN" | b"ZSCAN") { 2 } else { 1 };
    loop {
        let options = options.iter().map(|option| option.as_bytes().to_vec());
        let args: Words = of.iter().cloned().chain([cursor]).chain(options).collect();
        let reply = client.call(&args);
        if reply.is_error() {
            return reply;
        }
        found.extend(reply.items()[1].items().chunks(step).map(<[Value]>::to_vec));
        cursor = reply.items()[0].bytes().to_vec();
        if cursor == b"0" {
            found.sort_by(|a, b| a[0].bytes().cmp(b[0].bytes()));
            found.dedup();
            return Value::Array(found.concat());
        }
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.by == 0 { "" } else { "  (the other) " }, shown(&self.words))
    }
}

/// A command as one would type it.
pub(super) fn shown(args: &[Vec<u8>]) -> String {
    let word = |arg: &Vec<u8>| match arg.iter().all(|b| b.is_ascii_graphic() && *b != b'"') && !arg.is_empty()
    {
        true => String::from_utf8_lossy(arg).into_owned(),
        false => format!("\"{}\"", arg.escape_ascii()),
    };
    args.iter().map(word).collect::<Vec<_>>().join(" ")
}
