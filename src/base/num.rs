//! Numbers as Redis reads them: strictly, so that a value that parses is the value that prints.

/// The 64-bit integer that `text` spells, by the strict rules of Redis's string2ll: an optional `-`, no `+`, no
/// leading zeros, no spaces.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits == b"0" {
        return (!negative).then_some(0);
    }
    if digits.is_empty() || digits.len() > 19 || digits[0] == b'0' {
        return None;
    }
    let mut magnitude = 0u64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits are below 10^19, which fits.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// An unsigned decimal, by the same rules: no sign, no leading zero, no blank.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        b"0" => Some(0),
        [b'1'..=b'9', ..] => {
            text.iter().try_fold(0u64, |sum, byte| sum.checked_mul(10)?.checked_add(digit(*byte)?.into()))
        }
        _ => None,
    }
}

/// A place in a stream of bytes, counted from its beginning, by the same rules. No stream comes to 2^63, and what
/// others claim beyond it is refused: so counting on from there cannot overflow (Redis: offsets are `long long`).
pub fn parse_position(text: &[u8]) -> Option<u64> {
    parse_u64(text).filter(|&at| i64::try_from(at).is_ok())
}

/// An amount of memory in bytes: `1024`, `1k` (1000), `1kb` (1024), `m`, `mb`, `g`, `gb`, `b`, in any case.
///
/// As in Redis, no digits at all mean 0, so that `maxmemory ""` is no limit. What does not fit is refused, where Redis
/// would wrap round.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let (digits, unit) = text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let factor = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1000 * 1000,
        b"mb" => 1 << 20,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let count =
        digits.iter().try_fold(0u64, |sum, byte| sum.checked_mul(10)?.checked_add(digit(*byte)?.into()))?;
    count.checked_mul(factor)
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for bad in ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1a", "0x1", "9223372036854775808"] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse_i64(b"0"), Some(0));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn memory_has_decimal_and_binary_units() {
        let good: &[(&str, u64)] = &[
            ("100", 100),
            ("1b", 1),
            ("1k", 1000),
            ("1Kb", 1024),
            ("2MB", 2 << 20),
            ("3g", 3_000_000_000),
            ("", 0),
        ];
        for &(text, bytes) in good {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text:?}");
        }
        for bad in ["-1", "1zb", "1 kb", "1kbx", "18446744073709551616", "99999999999gb"] {
            assert_eq!(parse_memory(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "-?[0-9]{1,20}") {
            if let Some(value) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text);
            }
        }

        #[test]
        fn what_is_printed_parses(value: i64) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }
}
