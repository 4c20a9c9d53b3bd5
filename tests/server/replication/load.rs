//! Clients that write while something happens.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::differential::generate::Generator;
use super::super::harness::{eventually, request, words, Client, Random, Value};

/// How clients write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Random commands of all kinds, sound and unsound, FLUSHALL and SWAPDB among them.
    Wild,
    /// Commands that change several keys, which are on several shards.
    Several,
    /// All keys of a group are set to one number, by MSET or by MULTI and EXEC.
    Groups,
    /// Money is moved between accounts.
    Money,
    /// Keys that live for some milliseconds, and fields that do.
    ShortLived,
    /// Large values, one after the other.
    Large,
    /// Elements go from one list to another, and keys take each other's names. One client may do so at a time.
    Moves,
}

pub(super) const GROUPS: usize = 8;
pub(super) const KEYS_OF_GROUP: usize = 4;
pub(super) const ACCOUNTS: usize = 60;
/// What all accounts hold together.
pub(super) const MONEY: i64 = ACCOUNTS as i64 * 100;

/// The keys of a group.
pub(super) fn group(number: usize) -> Vec<String> {
    (0..KEYS_OF_GROUP).map(|at| format!("group:{number}:{at}")).collect()
}

/// The names of all accounts.
pub(super) fn accounts() -> Vec<String> {
    (0..ACCOUNTS).map(|number| format!("account:{number}")).collect()
}

/// Opens the accounts.
pub(super) fn open_accounts(client: &mut Client) {
    let pairs: Vec<_> = accounts().iter().map(|name| format!("{name} 100")).collect();
    client.ok(&format!("MSET {}", pairs.join(" ")));
}

/// The lists between which elements are moved; so many elements they have together.
pub(super) const HANDS: usize = 3;
pub(super) const CARDS: usize = 8;

/// What is there before the first `Moves`.
pub(super) fn open_moves(client: &mut Client) {
    let cards: Vec<_> = (0..CARDS).map(|card| card.to_string()).collect();
    client.run(&format!("RPUSH hand:0 {}", cards.join(" ")));
    client.ok("MSET left 1 right 2");
}

/// Runs `body` while clients write, one per kind that is named, at least until each has been answered some times.
/// Clients whose connection ends, or who are refused, try again.
#[track_caller]
pub(super) fn under_load<R>(address: SocketAddr, kinds: &[Kind], seed: u64, body: impl FnOnce() -> R) -> R {
    under_load_of(&|| address, kinds, seed, body).0
}

/// The same where the primary may be another when they try again. How often they were answered, too.
#[track_caller]
pub(super) fn under_load_of<R>(
    primary: &(impl Fn() -> SocketAddr + Sync),
    kinds: &[Kind],
    seed: u64,
    body: impl FnOnce() -> R,
) -> (R, u64) {
    let stop = AtomicBool::new(false);
    let done: Vec<AtomicU64> = kinds.iter().map(|_| AtomicU64::new(0)).collect();
    let result = std::thread::scope(|scope| {
        for (number, &kind) in kinds.iter().enumerate() {
            let (stop, done) = (&stop, &done[number]);
            scope.spawn(move || {
                let mut writer = Writer::new(kind, number, seed);
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::try_connect(primary()) else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    client.set_timeout(PATIENCE);
                    while !stop.load(Ordering::Relaxed) && writer.write(&mut client) {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Also when the body panics.
        let over = Over(&stop);
        let await_progress = || {
            let before: Vec<_> = done.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            eventually("all clients write", || {
                done.iter().zip(&before).all(|(count, before)| count.load(Ordering::Relaxed) > before + 2)
            });
        };
        await_progress();
        let result = body();
        drop(over);
        result
    });
    (result, done.iter().map(|count| count.load(Ordering::Relaxed)).sum())
}

/// A server that says nothing for so long is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Tells threads to stop, also when a test fails.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    kind: Kind,
    /// Which of the clients it is.
    name: usize,
    random: Random,
    generator: Generator,
    /// Numbers grow from one run to the next, if their seeds do.
    first: u64,
    number: u64,
}

impl Writer {
    fn new(kind: Kind, name: usize, seed: u64) -> Writer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let random = Random::new(seed.wrapping_mul(1000).wrapping_add(name as u64));
        Writer {
            kind,
            name,
            random,
            generator: Generator::new(now),
            first: (seed % (1 << 20)) << 24,
            number: 0,
        }
    }

    /// Writes something, and reads what is said to it; false if it was refused, or the connection is gone.
    fn write(&mut self, client: &mut Client) -> bool {
        let requests: Vec<Vec<u8>> = match self.kind {
            Kind::Wild => (0..20).map(|_| request(&self.generator.command(&mut self.random))).collect(),
            _ => self.lines().iter().map(|line| words(line)).collect(),
        };
        if client.try_send(&requests.concat()).is_err() {
            return false;
        }
        let mut is_good = true;
        for _ in &requests {
            match client.try_read() {
                // Whoever does anything is refused much; not by a replica, though.
                Ok(Value::Error(text)) if self.kind != Kind::Wild || text.starts_with(b"READONLY") => {
                    is_good = false;
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        is_good
    }

    fn lines(&mut self) -> Vec<String> {
        let random = &mut self.random;
        self.number += 1;
        let number = self.number;
        let name = self.name;
        match self.kind {
            Kind::Wild => Vec::new(),
            Kind::Groups => {
                let keys = group(random.below(GROUPS));
                // Numbers grow, so that a reader can tell what is older.
                match random.one_in(2) {
                    true => vec![keys
                        .iter()
                        .fold("MSET".to_owned(), |line, key| format!("{line} {key} {number}"))],
                    false => {
                        let sets = keys.iter().map(|key| format!("SET {key} {number}"));
                        ["MULTI".to_owned()].into_iter().chain(sets).chain(["EXEC".to_owned()]).collect()
                    }
                }
            }
            Kind::Money => {
                let from = random.below(ACCOUNTS);
                let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
                let amount = 1 + random.below(20);
                [
                    "MULTI".to_owned(),
                    format!("DECRBY account:{from} {amount}"),
                    format!("INCRBY account:{to} {amount}"),
                    "EXEC".to_owned(),
                ]
                .into()
            }
            Kind::Several => several(random, name, number),
            Kind::Moves => moves(random, self.first + number),
            Kind::ShortLived => {
                let key = random.below(200);
                let life = 1 + random.below(80);
                vec![
                    format!("SET brief:{key} {number} PX {life}"),
                    format!("HSET fields:{} a 1 b {number}", key % 10),
                    format!("HPEXPIRE fields:{} {life} FIELDS 1 b", key % 10),
                    format!("PEXPIRE fields:{} {}", (key + 1) % 10, life * 3),
                    format!("GET brief:{}", random.below(200)),
                ]
            }
            Kind::Large => {
                let len = 1 + random.below(300_000);
                vec![
                    format!("SET large:{} {}", random.below(10), "v".repeat(len)),
                    format!("APPEND large:{} {}", random.below(10), "w".repeat(len / 50 + 1)),
                    format!("SETRANGE large:{} {} x", random.below(10), random.below(400_000)),
                ]
            }
        }
    }
}

/// What goes from one key to another.
fn moves(random: &mut Random, number: u64) -> Vec<String> {
    let swap = ["MULTI", "RENAME left spare", "RENAME right left", "RENAME spare right", "EXEC"];
    match random.below(3) {
        0 => {
            let (from, to) = (random.below(HANDS), random.below(HANDS));
            vec![format!("LMOVE hand:{from} hand:{to} LEFT RIGHT")]
        }
        1 => swap.map(str::to_owned).into(),
        _ => vec![format!("SET next {number}"), "RENAME next last".to_owned()],
    }
}

/// Commands that change several keys.
fn several(random: &mut Random, name: usize, number: u64) -> Vec<String> {
    let mut key = |kind: &str| format!("{kind}:{name}:{}", random.below(12));
    let (list, other_list) = (key("l"), key("l"));
    let (set, other_set) = (key("s"), key("s"));
    let (string, other_string, third) = (key("k"), key("k"), key("k"));
    let (zset, other_zset) = (key("z"), key("z"));
    let (hll, other_hll) = (key("p"), key("p"));
    match random.below(13) {
        0 => vec![format!("MSET {string} {number} {other_string} {number} {third} x")],
        1 => vec![format!("SET {string} {number}"), format!("RENAME {string} {other_string}")],
        2 => vec![
            format!("RPUSH {list} {number} {}", number + 1),
            format!("LMOVE {list} {other_list} LEFT RIGHT"),
            format!("LTRIM {other_list} 0 30"),
        ],
        3 => vec![format!("SADD {set} {number} a b c"), format!("SMOVE {set} {other_set} {number}")],
        4 => vec![format!("SUNIONSTORE {set} {set} {other_set}"), format!("SPOP {set} 5")],
        5 => vec![
            format!("ZADD {zset} {number} a 2 b 3 {number}"),
            format!("ZUNIONSTORE {other_zset} 2 {zset} {other_zset}"),
            format!("ZREMRANGEBYRANK {other_zset} 20 -1"),
        ],
        6 => vec![format!("DEL {string} {other_string} {list} {set}")],
        7 => vec![
            "MULTI".to_owned(),
            format!("SET {string} {number}"),
            format!("INCR {string}"),
            format!("COPY {string} {other_string} REPLACE"),
            format!("DEL {list}"),
            format!("RPUSH {list} {number}"),
            format!("UNLINK {third}"),
            "EXEC".to_owned(),
        ],
        8 => vec![format!("PFADD {hll} {number} x"), format!("PFMERGE {other_hll} {hll}")],
        9 => vec![
            "MULTI".to_owned(),
            "SELECT 3".to_owned(),
            format!("SET {string} {number}"),
            "SELECT 5".to_owned(),
            format!("MSET {string} {number} {other_string} 5"),
            "SELECT 0".to_owned(),
            format!("SADD {set} {number}"),
            "EXEC".to_owned(),
        ],
        10 => vec!["SWAPDB 3 5".to_owned()],
        11 => vec![format!("SORT {set} BY nosort STORE {list}"), format!("MOVE {list} 7")],
        _ => vec![format!("BITOP OR {string} {other_string} {third}"), format!("GETDEL {third}")],
    }
}
