//! How long a command may block: the `timeout` argument of BLPOP and its kin.

use crate::base::error::CommandError;
use crate::base::longdouble::LongDouble;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;

/// Until when to wait, of a time in whole milliseconds (WAIT); `None` is for ever.
///
/// # Errors
/// As for `deadline`.
pub fn deadline_ms(timeout: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    later(parse_i64(timeout).ok_or(CommandError::TIMEOUT_NOT_INTEGER)?, now)
}

/// Until when to wait; `None` is for ever.
///
/// # Errors
/// It is no number of seconds, or below zero, or the clock does not go so far.
pub fn deadline(timeout: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    let seconds = LongDouble::parse(timeout).ok_or(CommandError::TIMEOUT_NOT_FLOAT)?;
    let wait_ms = match seconds {
        LongDouble::Infinite if timeout.starts_with(b"-") => i64::MIN,
        seconds => seconds.ceil_thousandfold(),
    };
    later(wait_ms, now)
}

fn later(wait_ms: i64, now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    match wait_ms {
        ..0 => Err(CommandError::TIMEOUT_NEGATIVE),
        0 => Ok(None),
        _ => match now.0.checked_add(wait_ms) {
            Some(at) => Ok(Some(UnixMs(at))),
            None => Err(CommandError::TIMEOUT_RANGE),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_a_deadline() {
        let now = UnixMs(1_000_000);
        for (timeout, expected) in [
            ("0", Ok(None)),
            ("5", Ok(Some(UnixMs(1_000_005)))),
            ("-1", Err(CommandError::TIMEOUT_NEGATIVE)),
            ("1.5", Err(CommandError::TIMEOUT_NOT_INTEGER)),
            ("x", Err(CommandError::TIMEOUT_NOT_INTEGER)),
            ("9223372036854775807", Err(CommandError::TIMEOUT_RANGE)),
        ] {
            assert_eq!(deadline_ms(timeout.as_bytes(), now), expected, "{timeout}");
        }
    }

    #[test]
    fn seconds_become_a_deadline() {
        let now = UnixMs(1_000_000);
        for (timeout, wait_ms) in [
            ("0", None),
            ("-0", None),
            ("0.0000", None),
            // Rounded up, to nothing.
            ("-0.0005", None),
            // A thousandth is a little less than that as a long double. Redis, too, waits for ever.
            ("-0.001", None),
            ("1", Some(1000)),
            ("0.001", Some(1)),
            ("0.0001", Some(1)),
            ("0.1", Some(100)),
            ("1.0011", Some(1002)),
            ("1e2", Some(100_000)),
            ("0x10", Some(16_000)),
            ("1e-30", Some(1)),
            ("9000000000000000", Some(9_000_000_000_000_000_000)),
        ] {
            let deadline = deadline(timeout.as_bytes(), now);
            assert_eq!(deadline, Ok(wait_ms.map(|ms: i64| UnixMs(now.0 + ms))), "{timeout}");
        }
        for (timeout, error) in [
            ("", CommandError::TIMEOUT_NOT_FLOAT),
            ("x", CommandError::TIMEOUT_NOT_FLOAT),
            (" 1", CommandError::TIMEOUT_NOT_FLOAT),
            ("nan", CommandError::TIMEOUT_NOT_FLOAT),
            ("-1", CommandError::TIMEOUT_NEGATIVE),
            ("-0.002", CommandError::TIMEOUT_NEGATIVE),
            ("-1e100", CommandError::TIMEOUT_NEGATIVE),
            ("-inf", CommandError::TIMEOUT_NEGATIVE),
            ("inf", CommandError::TIMEOUT_RANGE),
            ("1e100", CommandError::TIMEOUT_RANGE),
            ("9223372036854775.807", CommandError::TIMEOUT_RANGE),
            ("9223372036854775", CommandError::TIMEOUT_RANGE),
        ] {
            assert_eq!(deadline(timeout.as_bytes(), now), Err(error), "{timeout}");
        }
    }
}
