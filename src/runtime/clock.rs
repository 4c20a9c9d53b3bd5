//! The clocks: read once per pass, and the time stamp counter for single commands.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::{MonoUs, Now, Ticks};

/// The process's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    /// Wall clock at `started`, brought up to date by `adjust`.
    unix_us_at_start: i64,
    ticks: Tsc,
}

/// The processor's time stamp counter, whose rate was measured at start.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    ns_per_tick_1024: u64,
}

impl Clock {
    /// Starts the clocks and measures the counter's rate, which takes some milliseconds.
    pub fn start() -> Clock {
        let mut clock =
            Clock { started: Instant::now(), unix_us_at_start: 0, ticks: Tsc { ns_per_tick_1024: 1024 } };
        let (from, ticks) = (Instant::now(), clock.ticks.ticks());
        std::thread::sleep(Duration::from_millis(5));
        let (ns, ticks) = (from.elapsed().as_nanos() as u64, clock.ticks.ticks().wrapping_sub(ticks));
        clock.ticks.ns_per_tick_1024 = (ns * 1024 / ticks.max(1)).max(1);
        clock.adjust();
        clock
    }

    /// Follows the wall clock, which may have been set.
    pub fn adjust(&mut self) {
        let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        self.unix_us_at_start = unix_us - self.mono().0 as i64;
    }

    /// Both clocks.
    #[inline]
    pub fn now(&self) -> Now {
        let mono = self.mono();
        Now { unix_us: self.unix_us_at_start + mono.0 as i64, mono }
    }

    /// Microseconds since the start.
    #[inline]
    pub fn mono(&self) -> MonoUs {
        MonoUs(self.started.elapsed().as_micros() as u64)
    }

    /// The counter for timing commands.
    pub fn ticks(&self) -> Tsc {
        self.ticks
    }
}

impl Ticks for Tsc {
    #[inline]
    fn ticks(&self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: RDTSC has no preconditions.
            unsafe { std::arch::x86_64::_rdtsc() }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            use std::sync::OnceLock;
            static START: OnceLock<Instant> = OnceLock::new();
            START.get_or_init(Instant::now).elapsed().as_nanos() as u64
        }
    }

    #[inline]
    fn ns_per_tick_1024(&self) -> u64 {
        self.ns_per_tick_1024
    }
}
