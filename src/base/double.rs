//! Double precision numbers as text: how Redis reads scores, and how it writes them.
//!
//! Reading is C's `strtod`, decimal and hexadecimal, in the two tempers in which Redis uses it. Writing is the shortest
//! text that reads back as the same number, integers up to 2^52 without an exponent: what Redis 7.2 replies and what it
//! keeps in listpacks.
//!
//! Not here: the `long double` of INCRBYFLOAT (`longdouble`).

use std::fmt::{self, Write as _};

/// Integers up to here, from the same distance below zero, are written digit by digit.
const INTEGER_MAX: f64 = (1u64 << 52) as f64;

/// The longest text: a sign, 17 digits, a point and leading zeros or an exponent.
const TEXT_BYTES_MAX: usize = 32;

/// The number that an argument spells: all of it, without blanks, and not NaN. Refused is also what is too large to be
/// finite, or so small that it would read as zero.
pub fn parse(text: &[u8]) -> Option<f64> {
    let number = convert(text)?;
    let is_out_of_range =
        (number.value.is_infinite() && !number.is_word) || (number.value == 0.0 && number.has_digit_but_zero);
    (!is_out_of_range).then_some(number.value)
}

/// The number that one end of a score range spells. It ends at a zero byte, as a C string does; blanks may stand before
/// it, nothing at all is 0, and what is out of range becomes infinite or zero.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    convert(without_blanks(text)).map(|number| number.value)
}

/// The number that SORT compares by. It ends at a zero byte, blanks may stand before it, and nothing at all is 0, as
/// for `parse_bound`; but refused is what is out of range, or too small for a double of full precision.
pub fn parse_weight(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let Converted { value, is_word, has_digit_but_zero } = convert(without_blanks(text))?;
    let is_out_of_range =
        (value.is_infinite() && !is_word) || (value == 0.0 && has_digit_but_zero) || value.is_subnormal();
    (!is_out_of_range).then_some(value)
}

/// The text after the blanks that C skips.
fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    &text[blanks..]
}

/// The integer that a number is, if it is one and no larger than 2^52 or so: up to there every integer is a double.
#[inline]
pub fn integer(value: f64) -> Option<i64> {
    // One less below zero, as in Redis.
    let is_in_range = value > -INTEGER_MAX && value <= INTEGER_MAX;
    (is_in_range && value.trunc() == value).then_some(value as i64)
}

/// Room for the text of one number.
pub struct Buffer {
    text: Text,
    integer: itoa::Buffer,
}

impl Buffer {
    /// Empty.
    #[inline]
    pub fn new() -> Buffer {
        Buffer { text: Text::default(), integer: itoa::Buffer::new() }
    }

    /// The text of a number.
    #[inline]
    pub fn format(&mut self, value: f64) -> &str {
        match integer(value) {
            Some(0) if value.is_sign_negative() => "-0",
            Some(integer) => self.integer.format(integer),
            None if value.is_nan() => "nan",
            None if value.is_infinite() => {
                if value > 0.0 {
                    "inf"
                } else {
                    "-inf"
                }
            }
            None => self.format_digits(value),
        }
    }

    /// The text that C's `%.17g` gives: always enough digits, often more than it takes.
    pub fn format_as_c(&mut self, value: f64) -> &str {
        if value == 0.0 || !value.is_finite() {
            return self.format(value);
        }
        let digits = Digits::parse(format_args!("{:.16e}", value.abs()));
        self.write(|out| digits.write_as_c(value < 0.0, out))
    }

    fn format_digits(&mut self, value: f64) -> &str {
        let digits = Digits::parse(format_args!("{:e}", value.abs()));
        self.write(|out| digits.write(value < 0.0, out))
    }

    fn write(&mut self, write: impl FnOnce(&mut Text) -> fmt::Result) -> &str {
        self.text.len = 0;
        write(&mut self.text).expect("no text is longer than its room");
        std::str::from_utf8(self.text.written()).expect("digits are ASCII")
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer::new()
    }
}

/// A text of bounded length in the making.
#[derive(Default)]
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl Text {
    fn put(&mut self, bytes: &[u8]) -> fmt::Result {
        self.bytes.get_mut(self.len..self.len + bytes.len()).ok_or(fmt::Error)?.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes())
    }
}

/// The digits of a number other than zero, neither the first nor the last a zero: `0.d1d2d3... * 10^point`.
struct Digits {
    bytes: [u8; 17],
    len: usize,
    point: i32,
}

const ZEROS: [u8; 8] = [b'0'; 8];

impl Digits {
    /// Those of a number that is written as `d.ddde-dd`.
    fn parse(number: fmt::Arguments<'_>) -> Digits {
        let mut text = Text::default();
        text.write_fmt(number).expect("at most 24 bytes");
        let text = text.written();
        let mut digits = Digits { bytes: [0; 17], len: 0, point: 0 };
        let end = text.iter().position(|&byte| byte == b'e').expect("an exponent");
        for &byte in text[..end].iter().filter(|&&byte| byte != b'.') {
            digits.bytes[digits.len] = byte;
            digits.len += 1;
        }
        while digits.bytes[digits.len - 1] == b'0' {
            digits.len -= 1;
        }
        let exponent = std::str::from_utf8(&text[end + 1..]).ok().and_then(|text| text.parse::<i32>().ok());
        digits.point = exponent.expect("an exponent is an integer") + 1;
        digits
    }

    /// Without an exponent where that takes few zeros, or none but after the point.
    fn write(&self, negative: bool, out: &mut Text) -> fmt::Result {
        let digits = &self.bytes[..self.len];
        let (len, point) = (self.len as i32, self.point);
        if negative {
            out.put(b"-")?;
        }
        // The exponent that scientific notation would show, and how many zeros stand after the digits.
        let (exponent, zeros) = (point - 1, point - len);
        if zeros >= 0 && exponent < len + 7 {
            out.put(digits)?;
            return out.put(&ZEROS[..zeros as usize]);
        }
        if zeros < 0 && (zeros > -7 || exponent.abs() < 4) {
            return self.write_fraction(out);
        }
        self.write_significand(out)?;
        write!(out, "e{exponent:+}")
    }

    /// As C does: without an exponent where that is between -5 and 17.
    fn write_as_c(&self, negative: bool, out: &mut Text) -> fmt::Result {
        if negative {
            out.put(b"-")?;
        }
        match self.point - 1 {
            exponent @ (..-4 | 17..) => {
                self.write_significand(out)?;
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(out, "e{sign}{:02}", exponent.abs())
            }
            exponent if exponent >= self.len as i32 - 1 => {
                out.put(&self.bytes[..self.len])?;
                (self.len as i32..self.point).try_for_each(|_| out.put(b"0"))
            }
            _ => self.write_fraction(out),
        }
    }

    /// With a point among the digits, or before them.
    fn write_fraction(&self, out: &mut Text) -> fmt::Result {
        let digits = &self.bytes[..self.len];
        if self.point > 0 {
            let (whole, fraction) = digits.split_at(self.point as usize);
            out.put(whole)?;
            out.put(b".")?;
            return out.put(fraction);
        }
        out.put(b"0.")?;
        out.put(&ZEROS[..-self.point as usize])?;
        out.put(digits)
    }

    /// With a point after the first digit, if there are more.
    fn write_significand(&self, out: &mut Text) -> fmt::Result {
        out.put(&self.bytes[..1])?;
        if self.len > 1 {
            out.put(b".")?;
            out.put(&self.bytes[1..self.len])?;
        }
        Ok(())
    }
}

/// What `strtod` reads, where it reads the whole text.
struct Converted {
    value: f64,
    /// It was spelt `inf` or `infinity`.
    is_word: bool,
    /// Zero is then a number too small.
    has_digit_but_zero: bool,
}

fn convert(text: &[u8]) -> Option<Converted> {
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if let [b'0', b'x' | b'X', digits @ ..] = unsigned {
        let (mantissa, value) = parse_hexadecimal(digits)?;
        let value = if text[0] == b'-' { -value } else { value };
        return Some(Converted { value, is_word: false, has_digit_but_zero: mantissa != 0 });
    }
    // What the standard library reads is otherwise the same.
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_word = !matches!(unsigned.first(), Some(b'0'..=b'9' | b'.'));
    let mut mantissa = unsigned.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let has_digit_but_zero = mantissa.any(|byte| matches!(byte, b'1'..=b'9'));
    (!value.is_nan()).then_some(Converted { value, is_word, has_digit_but_zero })
}

/// A hexadecimal number after its `0x`: the significant digits, and the value rounded to nearest, ties to even.
fn parse_hexadecimal(text: &[u8]) -> Option<(u64, f64)> {
    let (mut mantissa, mut exponent, mut at) = (0u64, 0i64, 0);
    let (mut digits, mut is_fraction) = (0, false);
    while let Some(&byte) = text.get(at) {
        let digit = match char::from(byte).to_digit(16) {
            Some(digit) => u64::from(digit),
            None if byte == b'.' && !is_fraction => {
                is_fraction = true;
                at += 1;
                continue;
            }
            None => break,
        };
        digits += 1;
        at += 1;
        exponent -= if is_fraction { 4 } else { 0 };
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | digit;
        } else {
            // Of what no longer fits only whether it is anything counts.
            mantissa |= u64::from(digit != 0);
            exponent += 4;
        }
    }
    if digits == 0 {
        return None;
    }
    if let [b'p' | b'P', power @ ..] = &text[at..] {
        let (negative, power) = match power {
            [b'-', power @ ..] => (true, power),
            [b'+', power @ ..] => (false, power),
            power => (false, power),
        };
        if power.is_empty() || !power.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let step = |sum: i64, byte: &u8| sum.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
        let power = power.iter().fold(0, step);
        exponent = exponent.saturating_add(if negative { -power } else { power });
    } else if at < text.len() {
        return None;
    }
    Some((mantissa, scale(mantissa, exponent)))
}

/// `mantissa * 2^exponent`, rounded once.
fn scale(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // The value lies below 2^top.
    let top = exponent.saturating_add(64 - i64::from(mantissa.leading_zeros()));
    if top > 1024 {
        return f64::INFINITY;
    }
    // What the last bit of the result stands for.
    let unit = (top - 53).max(-1074);
    let shift = unit.saturating_sub(exponent);
    let significand = if shift <= 0 {
        mantissa << -shift
    } else if shift > 64 {
        0
    } else {
        let wide = u128::from(mantissa);
        let (whole, rest, half) = (wide >> shift, wide & ((1 << shift) - 1), 1u128 << (shift - 1));
        (whole + u128::from(rest > half || (rest == half && whole & 1 == 1))) as u64
    };
    // Both factors and the product are exact.
    significand as f64 * power_of_two(unit)
}

/// `2^exponent`, for an exponent from -1074 to 1023.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(if exponent < -1022 { 1 << (exponent + 1074) } else { ((exponent + 1023) as u64) << 52 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn text(value: f64) -> String {
        Buffer::new().format(value).to_owned()
    }

    #[test]
    fn numbers_are_written_as_redis_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (3.1, "3.1"),
            (-0.5, "-0.5"),
            (100_000_000.0, "100000000"),
            (4_503_599_627_370_496.0, "4503599627370496"),
            (-4_503_599_627_370_496.0, "-4503599627370496"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e17, "1e+17"),
            (1.2e17, "1.2e+17"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e300, "1e+300"),
            (-1.5e300, "-1.5e+300"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.001_234_567_89, "0.00123456789"),
            (0.000_123_456_789, "1.23456789e-4"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn weights_are_read_as_c_reads_numbers() {
        let good =
            [("", 0.0), (" 1", 1.0), ("\t-2.5", -2.5), ("3\0x", 3.0), ("0x10", 16.0), ("inf", f64::INFINITY)];
        for (text, value) in good {
            assert_eq!(parse_weight(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in [" ", "1 ", "x", "nan", "1e400", "-1e400", "1e-400", "1e-310", "1e"] {
            assert_eq!(parse_weight(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_as_c_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.1, "-3.1000000000000001"),
            (0.5, "0.5"),
            (120.0, "120"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.000_01, "1.0000000000000001e-05"),
            (1.5e300, "1.5000000000000001e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(Buffer::new().format_as_c(value), expected);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut prng = Prng::new(1);
        for round in 0..100_000 {
            let value = match round % 3 {
                0 => f64::from_bits(prng.next_u64()),
                1 => prng.below(1_000_000) as f64 / 1000.0,
                _ => prng.unit_f64() * 1e18,
            };
            if !value.is_nan() {
                assert_eq!(parse(text(value).as_bytes()).unwrap().to_bits(), value.to_bits(), "{value:e}");
            }
        }
    }

    #[test]
    fn arguments_are_read_strictly() {
        for (text, value) in [
            ("1", 1.0),
            ("+1", 1.0),
            ("-1.5", -1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("0x.8", 0.5),
            ("0X1P-1074", 5e-324),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000001p0", 1.000_000_000_000_000_2),
            ("0x0.8p-1074", 0.0),
            ("0x0.8p-1073", 5e-324),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+INF", f64::INFINITY),
            ("0e999999999999", 0.0),
            ("1e-320", 1e-320),
        ] {
            if text != "0x0.8p-1074" {
                assert_eq!(parse(text.as_bytes()), Some(value), "{text}");
            }
            assert_eq!(parse_bound(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(parse(b"-0").map(f64::is_sign_negative), Some(true));
        for text in [
            "", " 1", "1 ", "x", "1e", "1e+", "nan", "-nan", "nan(1)", "0x", "0xg", "0x1p", "0x1p+", "--1",
            "1\0",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        for text in ["1e400", "-1e400", "1e-400", "0x1p2000", "0x1p-2000", "0x1p99999999999999999999"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_ends_of_ranges_are_read_as_c_strings() {
        for (text, value) in [
            ("", 0.0),
            ("\x001", 0.0),
            ("1\0x", 1.0),
            (" \t\n\x0b\x0c\r7", 7.0),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse_bound(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in [" ", "1 ", "x", "nan", "(1"] {
            assert_eq!(parse_bound(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn integers_up_to_the_52nd_power_of_two() {
        assert_eq!(integer(-0.0), Some(0));
        assert_eq!(integer(4_503_599_627_370_496.0), Some(1 << 52));
        assert_eq!(integer(4_503_599_627_370_498.0), None);
        assert_eq!(integer(-4_503_599_627_370_495.0), Some(1 - (1 << 52)));
        assert_eq!(integer(-4_503_599_627_370_496.0), None);
        for value in [0.5, f64::INFINITY, f64::NAN, 1e300] {
            assert_eq!(integer(value), None);
        }
    }
}
