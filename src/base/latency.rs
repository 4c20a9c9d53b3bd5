//! How long commands took: a histogram with a relative error below 1%, recorded in a few instructions.
//!
//! The buckets are those of the HDR histogram that Redis keeps per command (1 ns to 1 s, two significant digits), so
//! LATENCY HISTOGRAM and INFO latencystats draw the same lines: 256 buckets of 1 ns, then 128 per power of two.
//!
//! Invariant: every value recorded is in exactly one bucket, the one whose range holds it.

/// Longer durations count as this one.
const NS_MAX: u64 = 1_000_000_000;

/// Values below it have a bucket each.
const EXACT: u32 = 1 << EXACT_BITS;
const EXACT_BITS: u32 = 8;

/// Buckets per power of two above that.
const PER_OCTAVE: usize = 128;

/// Up to 2^30, the first power of two beyond `NS_MAX`.
const BUCKETS: usize = EXACT as usize + (30 - EXACT_BITS as usize) * PER_OCTAVE;

/// The first line that LATENCY HISTOGRAM draws; the others are its doubles.
const FIRST_LINE_NS: u64 = 1024;

/// Counts of durations. 12 KiB; whoever keeps many makes them only when there is something to count.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    /// The low halves of the counts. A record touches one of them and no more.
    low: [u32; BUCKETS],
    /// The high halves: there after four thousand million records in one bucket.
    high: Option<Box<[u32; BUCKETS]>>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { low: [0; BUCKETS], high: None }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let bucket = bucket_of(ns);
        let (count, is_over) = self.low[bucket].overflowing_add(1);
        self.low[bucket] = count;
        if is_over {
            self.carry(bucket, 1);
        }
    }

    /// Counts all that `other` has counted.
    pub fn add(&mut self, other: &Histogram) {
        for bucket in 0..BUCKETS {
            let (count, is_over) = self.low[bucket].overflowing_add(other.low[bucket]);
            self.low[bucket] = count;
            let high = other.high.as_ref().map_or(0, |high| high[bucket]) + u32::from(is_over);
            if high > 0 {
                self.carry(bucket, high);
            }
        }
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        (0..BUCKETS).map(|bucket| self.count(bucket)).sum()
    }

    /// The duration, in ns, that `percent` of those counted do not exceed: the end of the bucket it falls in, for 0
    /// the beginning of the first. 0 where nothing was counted.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        let rank = (percent.clamp(0.0, 100.0) / 100.0 * self.total() as f64 + 0.5) as u64;
        let mut seen = 0;
        for bucket in 0..BUCKETS {
            seen += self.count(bucket);
            if seen >= rank.max(1) {
                return if percent == 0.0 { range_of(bucket).0 } else { range_of(bucket).1 };
            }
        }
        0
    }

    /// What LATENCY HISTOGRAM shows: limits in microseconds, each about twice the one before, and how many durations
    /// are up to each; limits that add nothing are left out.
    pub fn cumulative_us(&self) -> Vec<(u64, u64)> {
        let mut lines = Vec::new();
        let (mut seen, mut shown) = (0, 0);
        let mut line_ns = FIRST_LINE_NS;
        for bucket in 0..BUCKETS {
            seen += self.count(bucket);
            let (first, last) = range_of(bucket);
            // The bucket that begins on the line belongs to it, as in Redis: hence limits such as 33 and 1056.
            if first == line_ns || bucket == BUCKETS - 1 {
                if seen > shown {
                    lines.push((last / 1000, seen));
                    shown = seen;
                }
                line_ns *= 2;
            }
        }
        lines
    }

    fn count(&self, bucket: usize) -> u64 {
        let high = self.high.as_ref().map_or(0, |high| high[bucket]);
        u64::from(high) << 32 | u64::from(self.low[bucket])
    }

    #[cold]
    fn carry(&mut self, bucket: usize, high: u32) {
        self.high.get_or_insert_with(|| Box::new([0; BUCKETS]))[bucket] += high;
    }
}

/// The bucket that counts a duration.
#[inline]
fn bucket_of(ns: u64) -> usize {
    let ns = ns.clamp(1, NS_MAX) as u32;
    // How often the value must be halved to have eight bits.
    let halvings = (ns | (EXACT - 1)).ilog2() - (EXACT_BITS - 1);
    halvings as usize * PER_OCTAVE + (ns >> halvings) as usize
}

/// The first and the last duration that a bucket counts.
fn range_of(bucket: usize) -> (u64, u64) {
    let halvings = (bucket / PER_OCTAVE).saturating_sub(1);
    let significant = (bucket - halvings * PER_OCTAVE) as u64;
    (significant << halvings, ((significant + 1) << halvings) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn of(durations: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        durations.into_iter().for_each(|ns| histogram.record(ns));
        histogram
    }

    #[test]
    fn the_ranges_of_the_buckets_join_and_hold_what_they_count() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (first, last) = range_of(bucket);
            assert_eq!(first, next, "bucket {bucket}");
            next = last + 1;
            assert!((last - first) * 100 <= first, "bucket {bucket} is wider than 1%");
            for ns in [first, last].into_iter().filter(|ns| (1..=NS_MAX).contains(ns)) {
                assert_eq!(bucket_of(ns), bucket, "{ns} ns");
            }
        }
        assert!(next > NS_MAX);
        assert_eq!(bucket_of(0), bucket_of(1));
        assert_eq!(bucket_of(u64::MAX), bucket_of(NS_MAX));
    }

    /// The figures are those of redis-server 7.0.15 for the same durations.
    #[test]
    fn percentiles_are_the_ends_of_buckets() {
        assert_eq!(of([600_120_000, 1_200_120_000]).percentile_ns(50.0), 603_979_775);
        assert_eq!(of([600_120_000, 1_200_120_000]).percentile_ns(99.9), 1_002_438_655);
        assert_eq!(of([5000]).percentile_ns(99.0), 5023);
        assert_eq!(of([63_000]).percentile_ns(50.0), 63_231);
        assert_eq!(of([5000]).percentile_ns(0.0), 4992);
        assert_eq!(Histogram::default().percentile_ns(50.0), 0);
        assert_eq!(of([1, 2, 3, 4]).percentile_ns(50.0), 2);
        assert_eq!(of([1, 2, 3, 4]).percentile_ns(100.0), 4);
    }

    #[test]
    fn limits_double_and_say_how_many_are_below() {
        assert_eq!(of([5000]).cumulative_us(), [(8, 1)]);
        assert_eq!(of([63_000, 1_200_000_000]).cumulative_us(), [(66, 1), (1_073_741, 2)]);
        assert_eq!(of([1, 1024, 1031, 1032, 3000]).cumulative_us(), [(1, 3), (2, 4), (4, 5)]);
        assert_eq!(Histogram::default().cumulative_us(), []);
        let limits: Vec<u64> =
            of((0..30).map(|k| 1 << k)).cumulative_us().iter().map(|line| line.0).collect();
        assert_eq!(
            limits,
            [
                1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816, 67633, 135266,
                270532, 541065
            ]
        );
    }

    #[test]
    fn adding_up_is_recording_both() {
        let mut prng = Prng::new(3);
        let mut durations =
            |count| (0..count).map(|_| prng.next_u64() >> (prng.next_u64() % 64)).collect::<Vec<_>>();
        let (a, b) = (durations(1000), durations(1000));
        let mut sum = of(a.iter().copied());
        sum.add(&of(b.iter().copied()));
        assert!(sum == of(a.into_iter().chain(b)));
        assert_eq!(sum.total(), 2000);
        assert_eq!(sum.cumulative_us().last().map(|line| line.1), Some(2000));
    }

    #[test]
    fn counts_outgrow_32_bits() {
        let mut histogram = of([7]);
        histogram.low[bucket_of(7)] = u32::MAX;
        histogram.record(7);
        assert_eq!(histogram.total(), 1 << 32);
        let other = histogram.clone();
        histogram.add(&other);
        histogram.add(&of([7, 8]));
        assert_eq!(histogram.cumulative_us(), [(1, (1 << 33) + 2)]);
    }
}
