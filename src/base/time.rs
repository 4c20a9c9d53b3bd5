//! Time as data. Nothing here reads a clock: the runtime passes `Now` in, the simulator makes one up.

/// Milliseconds since the Unix epoch; may lie in the past or the future, and jumps when the host's clock is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

/// Microseconds on a clock that never goes back; its zero is the process's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoUs(pub u64);

/// The two clocks, read once per pass of a core's loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock with microseconds, for `TIME`, expiry and log stamps.
    pub unix_us: i64,
    /// Monotonic clock, for durations, timeouts and the idle time of clients and keys.
    pub mono: MonoUs,
}

impl Now {
    /// The wall clock in milliseconds: what expiry compares with.
    #[inline]
    pub fn unix_ms(self) -> UnixMs {
        UnixMs(self.unix_us.div_euclid(1000))
    }
}

impl MonoUs {
    /// Microseconds from `earlier` to `self`, zero where `earlier` is later.
    #[inline]
    pub fn since(self, earlier: MonoUs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A cheap counter for timing commands: the time stamp counter in the server, a plain count in the simulator.
///
/// The layers left of `runtime` never read a clock themselves; whoever drives them lends them one of these.
pub trait Ticks {
    /// The counter now. Never goes back.
    fn ticks(&self) -> u64;
    /// How long a tick is, in 1/1024ths of a nanosecond.
    fn ns_per_tick_1024(&self) -> u64;

    /// `ticks` as nanoseconds.
    #[inline]
    fn to_ns(&self, ticks: u64) -> u64 {
        ticks.wrapping_mul(self.ns_per_tick_1024()) >> 10
    }
}
