//! Values with a form of their own, most of them of one directive only.

use std::fmt;

use super::{
    line::{quoted, quoted_if_needed},
    value::{parse_c_integer, with_memory_unit, Refusal, Text, Value, Written},
    words::must_be_one_of,
};
use crate::base::num::{parse_i64, parse_memory};

/// The conditions under which a snapshot is saved (`save`): any of them suffices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

/// At least `changes` writes in at least `after_secs` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub after_secs: u64,
    /// Writes since the last snapshot.
    pub changes: u64,
}

impl SavePoints {
    /// Redis 7's defaults.
    pub fn usual() -> SavePoints {
        let usual = [(3600, 1), (300, 100), (60, 10000)];
        SavePoints(usual.map(|(after_secs, changes)| SavePoint { after_secs, changes }).into())
    }
}

impl fmt::Display for SavePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.after_secs, self.changes)
    }
}

impl Value for SavePoints {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    /// The lines of a file add up, the first of them in place of the defaults; an empty one clears.
    fn read(&mut self, words: &[Vec<u8>], (): &(), is_first: bool) -> Result<(), Refusal> {
        let words = without_lone_empty(words);
        let refusal = "Invalid save parameters";
        if words.len() % 2 != 0 {
            return Err(refusal.into());
        }
        let mut points = Vec::new();
        for pair in words.chunks_exact(2) {
            let after_secs = natural(&pair[0]).filter(|&secs| secs >= 1).ok_or(refusal)?;
            let changes = natural(&pair[1]).ok_or(refusal)?;
            points.push(SavePoint { after_secs, changes });
        }
        if is_first || points.is_empty() {
            self.0.clear();
        }
        self.0.append(&mut points);
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        joined(&self.0).into()
    }

    /// Always all of them: a file that names none means the defaults.
    fn lines(&self, _default: &SavePoints, (): &()) -> Vec<Written> {
        if self.0.is_empty() {
            return vec![Written::new("\"\"", true)];
        }
        self.0.iter().map(|point| Written::new(point.to_string(), true)).collect()
    }
}

/// How much a client may let pile up unread before it is dropped (`client-output-buffer-limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Ordinary clients, MONITOR included.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Clients with a subscription.
    pub pubsub: OutputBufferLimit,
}

/// The limit of one class of clients; 0 bytes are no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// A client that reaches it is dropped at once.
    pub hard_bytes: u64,
    /// A client that stays above it is dropped after `soft_secs`.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_secs: u64,
}

impl OutputBufferLimits {
    /// Redis's defaults.
    pub fn usual() -> OutputBufferLimits {
        OutputBufferLimits {
            normal: OutputBufferLimit::default(),
            replica: OutputBufferLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_secs: 60 },
            pubsub: OutputBufferLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_secs: 60 },
        }
    }

    fn class_mut(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        Some(match client_class(name)? {
            ClientClass::Normal => &mut self.normal,
            ClientClass::Replica => &mut self.replica,
            ClientClass::Pubsub => &mut self.pubsub,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientClass {
    Normal,
    Replica,
    Pubsub,
}

fn client_class(name: &[u8]) -> Option<ClientClass> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Some(ClientClass::Normal),
        b"slave" | b"replica" => Some(ClientClass::Replica),
        b"pubsub" => Some(ClientClass::Pubsub),
        _ => None,
    }
}

impl Value for OutputBufferLimits {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        if words.len() % 4 != 0 {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for class in words.chunks_exact(4) {
            let limit = self
                .class_mut(&class[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let numbers = (parse_memory(&class[1]), parse_memory(&class[2]), natural(&class[3]));
            let (Some(hard_bytes), Some(soft_bytes), Some(soft_secs)) = numbers else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            *limit = OutputBufferLimit { hard_bytes, soft_bytes, soft_secs };
        }
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        let classes = classes.map(|(name, limit)| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_secs)
        });
        classes.join(" ").into()
    }

    fn lines(&self, default: &OutputBufferLimits, (): &()) -> Vec<Written> {
        let classes = [
            ("normal", self.normal, default.normal),
            ("replica", self.replica, default.replica),
            ("pubsub", self.pubsub, default.pubsub),
        ];
        let line = |(name, limit, default): (&str, OutputBufferLimit, OutputBufferLimit)| {
            let (hard, soft) = (with_memory_unit(limit.hard_bytes), with_memory_unit(limit.soft_bytes));
            Written::new(format!("{name} {hard} {soft} {}", limit.soft_secs), limit != default)
        };
        classes.map(line).into()
    }

    /// Each class has its own line. Redis gives out the places in turn, whatever class they had.
    fn is_same_line(old: &[Vec<u8>], new: &[Vec<u8>]) -> bool {
        let class = |words: &[Vec<u8>]| words.first().and_then(|name| client_class(name));
        class(old) == class(new)
    }
}

/// How much memory all clients' buffers may take together (`maxmemory-clients`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientsMemory {
    /// So many bytes; 0 is no limit.
    Bytes(u64),
    /// A part of `maxmemory`.
    Percent(u8),
}

impl Value for ClientsMemory {
    type Rule = ();

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        let word = words.first().map_or(&[][..], |word| word);
        if let Some(bytes) = parse_memory(word) {
            if bytes > i64::MAX as u64 {
                return Err(format!("argument must be between -100 and {} inclusive", i64::MAX).into());
            }
            *self = ClientsMemory::Bytes(bytes);
            return Ok(());
        }
        let percent = word.strip_suffix(b"%").and_then(parse_i64).filter(|&percent| percent >= 0);
        *self = match percent.ok_or("argument must be a memory or percent value")? {
            0 => ClientsMemory::Bytes(0),
            percent @ 1..=100 => ClientsMemory::Percent(percent as u8),
            _ => return Err("percentage argument must be less or equal to 100".into()),
        };
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        match self {
            ClientsMemory::Bytes(bytes) => bytes.to_string(),
            ClientsMemory::Percent(percent) => format!("{percent}%"),
        }
        .into()
    }

    fn lines(&self, default: &ClientsMemory, (): &()) -> Vec<Written> {
        let written = match self {
            ClientsMemory::Bytes(bytes) => with_memory_unit(*bytes),
            ClientsMemory::Percent(percent) => format!("{percent}%"),
        };
        vec![Written::new(written, self != default)]
    }
}

/// The `oom_score_adj` of a primary, a replica and a background child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i16; 3]);

impl Value for OomScores {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        let words: &[Vec<u8>; 3] = words.try_into().map_err(|_| "wrong number of arguments")?;
        for (score, word) in self.0.iter_mut().zip(words) {
            *score = parse_c_integer(word, 10)
                .filter(|score| (-2000..=2000).contains(score))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?
                as i16;
        }
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        joined(&self.0).into()
    }

    fn lines(&self, default: &OomScores, (): &()) -> Vec<Written> {
        vec![Written::new(self.show(&()), self != default)]
    }
}

/// The classes of keyspace events that are published (`notify-keyspace-events`): a set of one-bit flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(u16);

impl KeyspaceEvents {
    /// To `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: KeyspaceEvents = KeyspaceEvents(1 << 0);
    /// To `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: KeyspaceEvents = KeyspaceEvents(1 << 1);
    /// DEL, EXPIRE, RENAME and the like.
    pub const GENERIC: KeyspaceEvents = KeyspaceEvents(1 << 2);
    /// String commands.
    pub const STRING: KeyspaceEvents = KeyspaceEvents(1 << 3);
    /// List commands.
    pub const LIST: KeyspaceEvents = KeyspaceEvents(1 << 4);
    /// Set commands.
    pub const SET: KeyspaceEvents = KeyspaceEvents(1 << 5);
    /// Hash commands.
    pub const HASH: KeyspaceEvents = KeyspaceEvents(1 << 6);
    /// Sorted set commands.
    pub const ZSET: KeyspaceEvents = KeyspaceEvents(1 << 7);
    /// A key expired.
    pub const EXPIRED: KeyspaceEvents = KeyspaceEvents(1 << 8);
    /// A key was evicted.
    pub const EVICTED: KeyspaceEvents = KeyspaceEvents(1 << 9);
    /// Stream commands.
    pub const STREAM: KeyspaceEvents = KeyspaceEvents(1 << 10);
    /// A key was read that does not exist.
    pub const KEY_MISS: KeyspaceEvents = KeyspaceEvents(1 << 11);
    /// Types of modules.
    pub const MODULE: KeyspaceEvents = KeyspaceEvents(1 << 13);
    /// A key was created.
    pub const NEW: KeyspaceEvents = KeyspaceEvents(1 << 14);
    /// What `A` stands for: all classes but `m` and `n`.
    const ALL: KeyspaceEvents = KeyspaceEvents(0b10_0111_1111_1100);

    /// The flags by letter, in the order in which they are printed.
    const LETTERS: [(u8, KeyspaceEvents); 15] = [
        (b'A', Self::ALL),
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// Whether every class of `classes` is in the set.
    #[inline]
    pub fn contains(self, classes: KeyspaceEvents) -> bool {
        self.0 & classes.0 == classes.0
    }

    /// Whether nothing is published.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn letters(self) -> Vec<u8> {
        let mut said = KeyspaceEvents(0);
        let mut letters = Vec::new();
        for (letter, class) in Self::LETTERS {
            if self.contains(class) && !said.contains(class) {
                letters.push(letter);
                said.0 |= class.0;
            }
        }
        letters
    }
}

impl Value for KeyspaceEvents {
    type Rule = ();

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        self.0 = 0;
        for letter in words.iter().flatten() {
            let (_, class) = Self::LETTERS
                .iter()
                .find(|(name, _)| name == letter)
                .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
            self.0 |= class.0;
        }
        Ok(())
    }

    /// As `keyspaceEventsFlagsToString`, down to the `n` that it does not print beside `A`.
    fn show(&self, (): &()) -> Vec<u8> {
        let mut letters = self.letters();
        if letters.contains(&b'A') {
            letters.retain(|&letter| letter != b'n');
        }
        letters
    }

    /// With the `n` beside `A`, so that a rewrite does not lose it.
    fn lines(&self, _default: &KeyspaceEvents, (): &()) -> Vec<Written> {
        vec![Written::new(quoted(&self.letters()), !self.is_empty())]
    }
}

/// The addresses to listen on (`bind`). A leading `-` forgives an address that this host does not have; `*` is all of
/// IPv4, `::*` all of IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Text>);

impl Addresses {
    /// More than this many are refused, as in Redis.
    const MAX: usize = 16;

    /// All of IPv4 and, where there is any, all of IPv6.
    pub fn all() -> Addresses {
        Addresses(vec!["*".into(), "-::*".into()])
    }
}

impl Value for Addresses {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        if words.len() > Self::MAX {
            return Err("Too many bind addresses specified.".into());
        }
        self.0 = without_lone_empty(words).iter().cloned().map(Text::from).collect();
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        joined(&self.0).into()
    }

    /// No line for the default, even where the file had one: as in Redis.
    fn lines(&self, default: &Addresses, (): &()) -> Vec<Written> {
        if self == default {
            return Vec::new();
        }
        let addresses: Vec<Vec<u8>> = self.0.iter().map(|address| quoted_if_needed(address)).collect();
        let arguments = match addresses.as_slice() {
            [] => b"\"\"".to_vec(),
            // One word is split again when it is read.
            [only] => quoted_if_needed(only),
            several => several.join(&b' '),
        };
        vec![Written::new(arguments, true)]
    }
}

/// The primary to replicate from, if any (`replicaof`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOf(pub Option<PrimaryAddress>);

/// Where a primary is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryAddress {
    /// Host name or IP address.
    pub host: Text,
    /// TCP port.
    pub port: u16,
}

impl Value for ReplicaOf {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        let [host, port] = words else { return Err("wrong number of arguments".into()) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let port = parse_c_integer(port, 10).and_then(|port| u16::try_from(port).ok());
        self.0 = Some(PrimaryAddress { host: host.clone().into(), port: port.ok_or("Invalid master port")? });
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        let Some(primary) = &self.0 else { return Vec::new() };
        [&primary.host[..], primary.port.to_string().as_bytes()].join(&b' ')
    }

    fn lines(&self, _default: &ReplicaOf, (): &()) -> Vec<Written> {
        let Some(primary) = &self.0 else { return Vec::new() };
        let words = [quoted_if_needed(&primary.host), primary.port.to_string().into()];
        vec![Written::new(words.join(&b' '), true)]
    }
}

/// The percentiles of INFO's latencystats (`latency-tracking-info-percentiles`).
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Value for Percentiles {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        let mut percentiles = Vec::new();
        for word in without_lone_empty(words) {
            let percentile = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
            let percentile: f64 = percentile
                .filter(|percentile: &f64| !percentile.is_nan())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into()
                );
            }
            percentiles.push(as_printed(percentile));
        }
        self.0 = percentiles;
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        joined(&self.0).into()
    }

    fn lines(&self, _default: &Percentiles, (): &()) -> Vec<Written> {
        vec![Written::new(if self.0.is_empty() { b"\"\"".to_vec() } else { self.show(&()) }, true)]
    }
}

/// The nearest number of six decimals: what Redis prints of a percentile, so that INFO, CONFIG GET and a rewritten
/// file agree with what is in force.
fn as_printed(percentile: f64) -> f64 {
    (percentile * 1e6).round().abs() / 1e6
}

/// The folder that relative paths start from (`dir`).
///
/// Whoever applies it changes there and puts the absolute path in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(pub Text);

impl Value for Directory {
    type Rule = ();

    /// A relative path starts where the one before led to, as it does in Redis, which changes there at once.
    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        let word = words.first().map_or(&[][..], |word| word);
        if word.is_empty() {
            return Err("No such file or directory".into());
        }
        self.0 = self.resolve(word);
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        self.0.to_vec()
    }

    fn lines(&self, _default: &Directory, (): &()) -> Vec<Written> {
        vec![Written::new(quoted(&self.0), true)]
    }
}

impl Directory {
    /// The path that `path` means, read from this folder.
    pub fn resolve(&self, path: &[u8]) -> Text {
        if path.starts_with(b"/") || *self.0 == b"."[..] {
            return path.to_vec().into();
        }
        let separator: &[u8] = if self.0.ends_with(b"/") { b"" } else { b"/" };
        [&self.0, separator, path].concat().into()
    }
}

/// What SIGINT or SIGTERM asks of the shutdown (`shutdown-on-sigint`, `shutdown-on-sigterm`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// Save a snapshot even without save points.
    pub save: bool,
    /// Save none even with save points.
    pub nosave: bool,
    /// Do not wait for replicas that lag.
    pub now: bool,
    /// Go down even if saving fails.
    pub force: bool,
}

impl ShutdownOptions {
    const WORDS: [(&'static str, ()); 5] =
        [("default", ()), ("save", ()), ("nosave", ()), ("now", ()), ("force", ())];
}

impl Value for ShutdownOptions {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &[Vec<u8>], (): &(), _is_first: bool) -> Result<(), Refusal> {
        let mut options = ShutdownOptions::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => options.save = true,
                b"nosave" => options.nosave = true,
                b"now" => options.now = true,
                b"force" => options.force = true,
                _ => return Err(must_be_one_of(&Self::WORDS)),
            }
        }
        if words.is_empty() {
            return Err(must_be_one_of(&Self::WORDS));
        }
        if options.save && options.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = options;
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        let options =
            [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let words: Vec<&str> = options.iter().filter(|(is_on, _)| *is_on).map(|(_, word)| *word).collect();
        if words.is_empty() {
            "default".into()
        } else {
            words.join(" ").into()
        }
    }

    fn lines(&self, default: &ShutdownOptions, (): &()) -> Vec<Written> {
        vec![Written::new(self.show(&()), self != default)]
    }
}

/// The arguments of a directive for which one empty word means none.
fn without_lone_empty(words: &[Vec<u8>]) -> &[Vec<u8>] {
    match words {
        [only] if only.is_empty() => &[],
        words => words,
    }
}

fn natural(word: &[u8]) -> Option<u64> {
    parse_c_integer(word, 10).and_then(|number| u64::try_from(number).ok())
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::line::split;

    fn read<V: Value<Rule = ()>>(mut value: V, arguments: &str) -> Result<V, String> {
        let words = split(arguments.as_bytes()).unwrap();
        value.read(&words, &(), true).map(|()| value).map_err(Refusal::into_owned)
    }

    fn show<V: Value<Rule = ()>>(value: &V) -> String {
        String::from_utf8(value.show(&())).unwrap()
    }

    #[test]
    fn save_points() {
        let mut points = read(SavePoints::usual(), "900 1 300 10").unwrap();
        assert_eq!(show(&points), "900 1 300 10");
        points.read(&[b"60".to_vec(), b"1".to_vec()], &(), false).unwrap();
        assert_eq!(show(&points), "900 1 300 10 60 1");
        points.read(&[vec![]], &(), false).unwrap();
        assert_eq!(points.0, []);
        for bad in ["900", "0 1", "900 -1", "900 x", "\"\" 1"] {
            assert_eq!(read(SavePoints::usual(), bad), Err("Invalid save parameters".into()), "{bad}");
        }
    }

    #[test]
    fn output_buffer_limits() {
        let usual = OutputBufferLimits::usual();
        let shown = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(show(&usual), shown);
        let limits = read(usual, "REPLICA 1mb 2k 3 normal 1gb 0 0").unwrap();
        assert_eq!(limits.replica, OutputBufferLimit { hard_bytes: 1 << 20, soft_bytes: 2000, soft_secs: 3 });
        assert_eq!(limits.lines(&usual, &())[1], Written::new("replica 1mb 2000 3", true));
        assert!(!limits.lines(&usual, &())[2].is_needed);
        assert!(read(usual, "normal 1 2")
            .unwrap_err()
            .starts_with("Wrong number of arguments in buffer limit"));
        assert!(read(usual, "master 1 2 3").unwrap_err().starts_with("Invalid client class"));
        assert!(read(usual, "normal 1 2 -3").unwrap_err().starts_with("Error in hard, soft or soft_seconds"));
    }

    #[test]
    fn clients_memory() {
        let none = ClientsMemory::Bytes(0);
        assert_eq!(read(none, "1g"), Ok(ClientsMemory::Bytes(1_000_000_000)));
        assert_eq!(show(&read(none, "5%").unwrap()), "5%");
        assert_eq!(read(none, "0%"), Ok(none));
        assert_eq!(read(none, "101%"), Err("percentage argument must be less or equal to 100".into()));
        assert_eq!(read(none, "-1"), Err("argument must be a memory or percent value".into()));
    }

    #[test]
    fn keyspace_events() {
        let none = KeyspaceEvents::default();
        assert_eq!(show(&read(none, "KEA").unwrap()), "AKE");
        assert_eq!(show(&read(none, "KEg$lshzxetd").unwrap()), "AKE");
        assert_eq!(show(&read(none, "mEx").unwrap()), "xEm");
        let all_and_new = read(none, "nA").unwrap();
        assert_eq!(show(&all_and_new), "A");
        assert_eq!(all_and_new.lines(&none, &()), [Written::new("\"An\"", true)]);
        assert!(read(none, "K!").is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(read(Addresses::all(), "127.0.0.1 -::1").unwrap().0, ["127.0.0.1".into(), "-::1".into()]);
        assert_eq!(read(Addresses::all(), "\"\"").unwrap().0, []);
        assert_eq!(
            read(Addresses::all(), &"a ".repeat(17)),
            Err("Too many bind addresses specified.".into())
        );
        assert_eq!(Addresses::all().lines(&Addresses::all(), &()), []);
        assert_eq!(Addresses(vec![]).lines(&Addresses::all(), &()), [Written::new("\"\"", true)]);
    }

    #[test]
    fn replica_of() {
        let set = read(ReplicaOf(None), "10.0.0.1 6379").unwrap();
        assert_eq!(show(&set), "10.0.0.1 6379");
        assert_eq!(read(set.clone(), "NO one"), Ok(ReplicaOf(None)));
        assert_eq!(read(set.clone(), "a 65536"), Err("Invalid master port".into()));
        assert_eq!(read(set, "a"), Err("wrong number of arguments".into()));
    }

    #[test]
    fn percentiles() {
        let none = Percentiles(vec![]);
        assert_eq!(show(&read(none.clone(), "50 99.990 1e2").unwrap()), "50 99.99 100");
        assert!(read(none.clone(), "x").unwrap_err().starts_with("Invalid latency"));
        assert!(read(none.clone(), "nan").unwrap_err().starts_with("Invalid latency"));
        assert!(read(none, "100.1").unwrap_err().contains("[0.0,100.0]"));
    }

    #[test]
    fn directories_follow_each_other() {
        let start = Directory(".".into());
        let data = read(start, "data").unwrap();
        assert_eq!(show(&data), "data");
        assert_eq!(show(&read(data.clone(), "sub").unwrap()), "data/sub");
        assert_eq!(show(&read(data, "/var/lib").unwrap()), "/var/lib");
    }

    #[test]
    fn shutdown_options() {
        let usual = ShutdownOptions::default();
        assert_eq!(show(&usual), "default");
        assert_eq!(show(&read(usual, "force SAVE").unwrap()), "save force");
        assert_eq!(
            read(usual, "now later"),
            Err("argument(s) must be one of the following: default, save, nosave, now, force".into())
        );
        assert!(read(usual, "save nosave").unwrap_err().contains("SAVE and NOSAVE"));
    }

    #[test]
    fn oom_scores() {
        let usual = OomScores([0, 200, 800]);
        assert_eq!(show(&read(usual, "-1 2 2000").unwrap()), "-1 2 2000");
        assert!(read(usual, "1 2").unwrap_err().contains("wrong number"));
        assert!(read(usual, "1 2 2001").unwrap_err().contains("between -2000 and 2000"));
    }
}
