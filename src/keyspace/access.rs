//! The 24-bit access field of a key: when it was last used (LRU), or how often (LFU). As in Redis's evict.c.
//!
//! LRU: the clock in seconds, modulo 2^24. LFU: 16 bits of the time in minutes, then an 8-bit logarithmic counter.

use crate::base::{prng::Prng, time::UnixMs};

/// Which of the two the field holds; `maxmemory-policy` decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessPolicy {
    /// The time of the last use.
    #[default]
    Lru,
    /// The frequency of use.
    Lfu,
}

/// Whether a lookup counts as a use of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touch {
    /// It does.
    #[default]
    Yes,
    /// It does not: CLIENT NO-TOUCH, OBJECT, TTL and other looks from outside.
    No,
}

const CLOCK_MAX: u32 = (1 << 24) - 1;

/// A new key's counter, so that it is not evicted before it had a chance (Redis: `LFU_INIT_VAL`).
const LFU_COUNTER_INIT: u32 = 5;

/// The options of LFU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LfuOptions {
    /// `lfu-log-factor`: how slowly the counter saturates.
    pub log_factor: u32,
    /// `lfu-decay-time`: the counter loses one for each of these; zero: never.
    pub decay_minutes: u32,
}

impl Default for LfuOptions {
    fn default() -> Self {
        LfuOptions { log_factor: 10, decay_minutes: 1 }
    }
}

/// The LRU clock.
#[inline]
pub fn lru_clock(now: UnixMs) -> u32 {
    (now.0.div_euclid(1000) as u32) & CLOCK_MAX
}

/// For how long a key has not been used: OBJECT IDLETIME, in milliseconds.
pub fn lru_idle_ms(access: u32, now: UnixMs) -> u64 {
    let clock = lru_clock(now);
    let seconds = if clock >= access { clock - access } else { clock + (CLOCK_MAX - access) };
    u64::from(seconds) * 1000
}

/// The field that makes OBJECT IDLETIME answer `idle_ms` now (RESTORE IDLETIME, RDB loading).
pub fn lru_from_idle(idle_ms: u64, now: UnixMs) -> u32 {
    let idle = (idle_ms / 1000).min(u64::from(CLOCK_MAX)) as u32;
    lru_clock(now).wrapping_sub(idle) & CLOCK_MAX
}

#[inline]
fn lfu_minutes(now: UnixMs) -> u32 {
    (now.0.div_euclid(60_000) as u32) & 0xFFFF
}

/// The field that makes OBJECT FREQ answer `frequency` now (RESTORE FREQ, RDB loading).
#[inline]
pub fn lfu_from_frequency(frequency: u8, now: UnixMs) -> u32 {
    lfu_minutes(now) << 8 | u32::from(frequency)
}

/// The counter after its decay: OBJECT FREQ.
#[inline]
pub fn lfu_frequency(access: u32, now: UnixMs, options: LfuOptions) -> u32 {
    let (then, counter) = (access >> 8, access & 0xFF);
    let minutes = lfu_minutes(now);
    let elapsed = if minutes >= then { minutes - then } else { 0xFFFF - then + minutes };
    counter.saturating_sub(elapsed.checked_div(options.decay_minutes).unwrap_or(0))
}

/// The field after one more use.
pub fn lfu_touched(access: u32, now: UnixMs, options: LfuOptions, prng: &mut Prng) -> u32 {
    let counter = lfu_frequency(access, now, options);
    let grown = match counter {
        255 => 255,
        _ => {
            let base = f64::from(counter.saturating_sub(LFU_COUNTER_INIT));
            let chance = 1.0 / (base * f64::from(options.log_factor) + 1.0);
            counter + u32::from(prng.unit_f64() < chance)
        }
    };
    lfu_minutes(now) << 8 | grown
}

/// The field of a new key.
#[inline]
pub fn initial(policy: AccessPolicy, now: UnixMs) -> u32 {
    match policy {
        AccessPolicy::Lru => lru_clock(now),
        AccessPolicy::Lfu => lfu_minutes(now) << 8 | LFU_COUNTER_INIT,
    }
}

/// The field of a key that comes from elsewhere, with what is told of its use: that counts which the policy keeps.
pub fn from_told(policy: AccessPolicy, idle_seconds: Option<u64>, frequency: Option<u8>, now: UnixMs) -> u32 {
    match (policy, idle_seconds, frequency) {
        (AccessPolicy::Lru, Some(seconds), _) => lru_from_idle(seconds.saturating_mul(1000), now),
        (AccessPolicy::Lfu, _, Some(frequency)) => lfu_from_frequency(frequency, now),
        _ => initial(policy, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_clock_wrapping() {
        let then = UnixMs((1i64 << 24) * 1000 * 100 - 5_000);
        let access = lru_clock(then);
        assert_eq!(lru_idle_ms(access, UnixMs(then.0 + 4_000)), 4_000);
        // Redis counts the wrap one second short; so do we.
        assert_eq!(lru_idle_ms(access, UnixMs(then.0 + 9_000)), 8_000);
        assert_eq!(lru_idle_ms(lru_from_idle(77_000, then), then), 77_000);
    }

    #[test]
    fn frequency_grows_slowly_and_decays() {
        let options = LfuOptions::default();
        let mut prng = Prng::new(1);
        let now = UnixMs(1_700_000_000_000);
        let mut access = initial(AccessPolicy::Lfu, now);
        assert_eq!(lfu_frequency(access, now, options), 5);
        for _ in 0..1000 {
            access = lfu_touched(access, now, options, &mut prng);
        }
        // Redis's own table: about 18 after a thousand hits at factor 10.
        let frequency = lfu_frequency(access, now, options);
        assert!((13..=24).contains(&frequency), "{frequency}");
        assert_eq!(lfu_frequency(access, UnixMs(now.0 + 3 * 60_000), options), frequency - 3);
        assert_eq!(lfu_frequency(access, UnixMs(now.0 + 300 * 60_000), options), 0);
        let never = LfuOptions { decay_minutes: 0, ..options };
        assert_eq!(lfu_frequency(access, UnixMs(now.0 + 300 * 60_000), never), frequency);
    }
}
