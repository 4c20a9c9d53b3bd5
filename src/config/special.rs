//! Values with a form of their own, most of them of one directive only.

use std::fmt;

use super::{
    line::quoted,
    value::{joined, natural, parse_c_integer, without_lone_empty, Arguments, Refusal, Value, Written},
    words::must_be_one_of,
};

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
    fn read(&mut self, words: &Arguments, (): &(), is_first: bool) -> Result<(), Refusal> {
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

/// The `oom_score_adj` of a primary, a replica and a background child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i16; 3]);

impl Value for OomScores {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
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

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
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

/// The percentiles of INFO's latencystats (`latency-tracking-info-percentiles`).
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Value for Percentiles {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
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

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::testing::{read, show};

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
    fn percentiles() {
        let none = Percentiles(vec![]);
        assert_eq!(show(&read(none.clone(), "50 99.990 1e2").unwrap()), "50 99.99 100");
        assert!(read(none.clone(), "x").unwrap_err().starts_with("Invalid latency"));
        assert!(read(none.clone(), "nan").unwrap_err().starts_with("Invalid latency"));
        assert!(read(none, "100.1").unwrap_err().contains("[0.0,100.0]"));
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
