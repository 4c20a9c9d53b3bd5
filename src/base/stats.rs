//! What is counted per command and per error code: on each core for itself, added up when somebody asks.

use super::error::CommandError;
use super::latency::Histogram;

/// The figures of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    calls: u64,
    total_ns: u64,
    /// Refused before they ran: wrong arity, no permission, out of memory.
    pub rejected: u64,
    /// Ran, and answered with an error.
    pub failed: u64,
    /// Made by the first call.
    histogram: Option<Box<Histogram>>,
}

impl CommandStats {
    /// Counts a call that took so long.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.record_untracked(ns);
        self.histogram.get_or_insert_default().record(ns);
    }

    /// Counts a call, with its latency if that is tracked (`latency-tracking`).
    #[inline]
    pub fn record_as(&mut self, ns: u64, tracked: bool) {
        if tracked {
            self.record(ns);
        } else {
            self.record_untracked(ns);
        }
    }

    /// Counts a call without its latency.
    #[inline]
    pub fn record_untracked(&mut self, ns: u64) {
        self.calls += 1;
        self.total_ns += ns;
    }

    /// Adds what another core has counted.
    pub fn add(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.total_ns += other.total_ns;
        self.rejected += other.rejected;
        self.failed += other.failed;
        if let Some(histogram) = &other.histogram {
            self.histogram.get_or_insert_default().add(histogram);
        }
    }

    /// How often it ran.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// How long all its runs took together.
    pub fn total_us(&self) -> u64 {
        self.total_ns / 1000
    }

    /// Whether nothing was counted: INFO leaves it out.
    pub fn is_unused(&self) -> bool {
        self.calls == 0 && self.rejected == 0 && self.failed == 0
    }

    /// How long its runs took; `None` while none was tracked.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.as_deref()
    }

    /// The latency, in ns, that `percent` of its tracked runs do not exceed; 0 where none was tracked.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        self.histogram().map_or(0, |histogram| histogram.percentile_ns(percent))
    }
}

/// How many codes are counted apart: a client can make up codes (DEBUG ERROR, scripts), so there is a limit.
const CODES_MAX: usize = 128;

/// Where the codes beyond the limit are counted.
const OTHER_CODE: &str = "ERR";

/// How many errors were sent, by code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorStats {
    /// Sorted by code.
    counts: Vec<(Box<str>, u64)>,
}

impl ErrorStats {
    /// Counts an error that was sent.
    pub fn count(&mut self, error: &CommandError) {
        self.count_code(error.code(), 1);
    }

    /// Adds what another core has counted.
    pub fn add(&mut self, other: &ErrorStats) {
        for (code, count) in other.iter() {
            self.count_code(code, count);
        }
    }

    /// The codes in order, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(code, count)| (&**code, *count))
    }

    /// How many errors there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    fn count_code(&mut self, code: &str, count: u64) {
        let place = |code: &str, counts: &[(Box<str>, u64)]| {
            counts.binary_search_by(|(known, _)| (**known).cmp(code))
        };
        let mut at = place(code, &self.counts);
        let mut code = code;
        if at.is_err() && self.counts.len() >= CODES_MAX {
            code = OTHER_CODE;
            at = place(code, &self.counts);
        }
        match at {
            Ok(at) => self.counts[at].1 += count,
            Err(at) => self.counts.insert(at, (code.into(), count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_and_added_up() {
        let mut stats = CommandStats::default();
        assert!(stats.is_unused());
        stats.record(1500);
        stats.record_untracked(2500);
        let mut sum = CommandStats::default();
        sum.add(&stats);
        assert!(sum.histogram().is_some_and(|histogram| histogram.total() == 1));
        sum.add(&stats);
        assert_eq!((sum.calls(), sum.total_us()), (4, 8));
        assert_eq!(sum.percentile_ns(99.0), 1503);
        assert!(!sum.is_unused());

        let rejected = CommandStats { rejected: 1, ..CommandStats::default() };
        assert!(!rejected.is_unused());
        sum.add(&rejected);
        assert_eq!((sum.calls(), sum.rejected, sum.failed), (4, 1, 0));
        assert!(rejected.histogram().is_none() && rejected.percentile_ns(50.0) == 0);
    }

    #[test]
    fn errors_are_counted_by_code() {
        let mut stats = ErrorStats::default();
        stats.count(&CommandError::WRONG_TYPE);
        stats.count(&CommandError::SYNTAX);
        stats.count(&CommandError::NOT_INTEGER);
        let mut sum = stats.clone();
        sum.add(&stats);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("ERR", 4), ("WRONGTYPE", 2)]);
        assert_eq!(sum.total(), 6);
    }

    #[test]
    fn made_up_codes_are_bounded() {
        let mut stats = ErrorStats::default();
        for code in 0..500 {
            stats.count(&CommandError::with(format!("CODE{code:03} text")));
        }
        assert!(stats.iter().count() <= CODES_MAX + 1);
        assert_eq!(stats.total(), 500);
        assert_eq!(stats.iter().find(|(code, _)| *code == OTHER_CODE), Some(("ERR", 500 - CODES_MAX as u64)));
    }
}
