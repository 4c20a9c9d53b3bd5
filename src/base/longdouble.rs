//! The x86 `long double`: what INCRBYFLOAT computes with, in software, so that every platform answers as Redis on x86.
//!
//! A number is read as glibc's `strtold` reads it, added as the x87 adds, and written as Redis writes it (`%.17Lf`
//! without trailing zeros). All three are exact up to one rounding, to nearest, ties to even.
//!
//! Deliberately not here: NaN, which Redis refuses on input and never stores; the sign of zero, which it never
//! shows; and any operation but addition.

use std::cmp::Ordering;

/// Bits of the significand; the x87 format has no hidden bit.
const MANTISSA_BITS: i32 = 64;

/// The exponent of the lowest bit of the smallest numbers, the subnormal ones: 2^-16445 is the least.
const EXPONENT_MIN: i32 = -16445;

/// The exponent of the lowest bit of the greatest numbers.
const EXPONENT_MAX: i32 = 16320;

/// Texts of this length or longer are no numbers (Redis: `MAX_LONG_DOUBLE_CHARS`).
const TEXT_BYTES_MAX: usize = 5 * 1024;

/// Digits after the point in a text.
const FRACTION_DIGITS: usize = 17;

/// Ten to the power of `FRACTION_DIGITS`.
const FRACTION_SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);

/// The highest power of five in 64 bits, with its exponent.
const FIVES: (u64, u32) = (5u64.pow(27), 27);

/// A number of the 80-bit extended format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// `mantissa * 2^exponent`.
    ///
    /// Invariant: the mantissa's top bit is set, or the exponent is `EXPONENT_MIN`, as it is for zero.
    Finite {
        /// Whether it is below zero; of no meaning for zero.
        negative: bool,
        /// The significand as an integer.
        mantissa: u64,
        /// The power of two that the lowest bit of the mantissa stands for.
        exponent: i32,
    },
    /// Beyond all finite numbers, on either side. It can be read and nothing can be computed with it.
    Infinite,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: LongDouble = LongDouble::Finite { negative: false, mantissa: 0, exponent: EXPONENT_MIN };

    /// The number that `text` spells by the rules of Redis's string2ld: decimal or hexadecimal, with or without a
    /// point and an exponent, `inf` and `infinity` in either case. Refused are spaces, `nan`, anything left over,
    /// and numbers that are too large to be finite or too small to differ from zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        match unsigned {
            [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(negative, digits),
            [b'0'..=b'9' | b'.', ..] => parse_decimal(negative, unsigned),
            _ => {
                let infinite = [&b"inf"[..], b"infinity"];
                infinite
                    .iter()
                    .any(|word| unsigned.eq_ignore_ascii_case(word))
                    .then_some(LongDouble::Infinite)
            }
        }
    }

    /// The sum, correctly rounded; `None` where it is not a finite number.
    pub fn checked_add(self, other: LongDouble) -> Option<LongDouble> {
        let (
            LongDouble::Finite { negative, mantissa, exponent },
            LongDouble::Finite { negative: lower_negative, mantissa: lower, exponent: lower_exponent },
        ) = (self, other)
        else {
            return None;
        };
        if exponent < lower_exponent {
            return other.checked_add(self);
        }
        // Room for a carry above, and below for what the rounding has to know of the lower number: beyond 62 places
        // only whether anything is left of it, which the lowest bit then stands for.
        const BELOW: i32 = 62;
        let higher = u128::from(mantissa) << BELOW;
        let lower = shift_jamming(u128::from(lower) << BELOW, exponent.abs_diff(lower_exponent));
        let (negative, sum) = match (negative == lower_negative, higher.cmp(&lower)) {
            (true, _) => (negative, higher + lower),
            (false, Ordering::Less) => (lower_negative, lower - higher),
            (false, _) => (negative, higher - lower),
        };
        rounded(negative, sum, exponent - BELOW, false)
    }

    /// A thousand times the number, rounded up to an integer, and the nearest one where it is beyond those of 64 bits:
    /// seconds as milliseconds. An infinite number counts as positive.
    pub fn ceil_thousandfold(self) -> i64 {
        let LongDouble::Finite { negative, mantissa, exponent } = self else { return i64::MAX };
        let Some(LongDouble::Finite { mantissa, exponent, .. }) =
            rounded(negative, u128::from(mantissa) * 1000, exponent, false)
        else {
            return if negative { i64::MIN } else { i64::MAX };
        };
        let places = exponent.unsigned_abs();
        let integer = match exponent {
            // The top bit is set: it has at least 64 bits.
            0.. => u64::MAX,
            _ => mantissa.checked_shr(places).unwrap_or(0),
        };
        if negative {
            return 0i64.saturating_sub_unsigned(integer);
        }
        let has_fraction = exponent < 0 && mantissa != 0 && mantissa.trailing_zeros() < places;
        i64::try_from(integer).map_or(i64::MAX, |integer| integer.saturating_add(has_fraction.into()))
    }

    /// The number as Redis stores and replies it: at most 17 digits after the point, no trailing zeros, no exponent.
    pub fn to_text(self) -> String {
        let LongDouble::Finite { negative, mantissa, exponent } = self else { return "inf".to_owned() };
        let mut text = if exponent >= 0 {
            let mut integer = Natural::from(mantissa);
            integer.shift_left(exponent.unsigned_abs());
            integer.into_decimal()
        } else {
            // Below 2^64, so 128 bits hold it with all its digits.
            let scaled =
                shift_rounding(u128::from(mantissa) * FRACTION_SCALE, exponent.unsigned_abs(), false);
            let (integer, fraction) = (scaled / FRACTION_SCALE, scaled % FRACTION_SCALE);
            let mut text = format!("{integer}.{fraction:0FRACTION_DIGITS$}");
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
            text
        };
        if negative && text != "0" {
            text.insert(0, '-');
        }
        text
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> LongDouble {
        // Any 64 bits fit the mantissa.
        rounded(value < 0, u128::from(value.unsigned_abs()), 0, false).unwrap_or(LongDouble::ZERO)
    }
}

/// Digits, perhaps with a point among them, and what follows.
struct Digits<'a> {
    /// The values of the digits, of which there is at least one, without the point and without leading zeros.
    values: Vec<u8>,
    /// How many of the digits read stand after the point.
    after_point: i64,
    /// The bytes after the last digit.
    rest: &'a [u8],
}

fn read_digits(text: &[u8], radix: u32) -> Option<Digits<'_>> {
    let mut values = Vec::new();
    let (mut count, mut point_at) = (0, None);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (char::from(byte).to_digit(radix), point_at) {
            (Some(digit), _) => {
                count += 1;
                if digit != 0 || !values.is_empty() {
                    values.push(digit as u8);
                }
            }
            (None, None) if byte == b'.' => point_at = Some(count),
            _ => break,
        }
        at += 1;
    }
    let after_point = count - point_at.unwrap_or(count);
    (count > 0).then_some(Digits { values, after_point, rest: &text[at..] })
}

/// The exponent that `text`, all of it, spells after `letter`: zero where there is no text. Held within bounds that no
/// finite number comes near.
fn read_exponent(text: &[u8], letter: u8) -> Option<i64> {
    const BOUND: i64 = 1_000_000;
    let [first, number @ ..] = text else { return Some(0) };
    if first.to_ascii_lowercase() != letter {
        return None;
    }
    let (negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let magnitude = digits.iter().try_fold(0, |value: i64, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        Some((value * 10 + i64::from(digit)).min(BOUND))
    })?;
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_decimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    /// More digits than this before the point, and it is infinite: the greatest number is 1.19e4932.
    const INTEGER_DIGITS_MAX: i64 = 4933;
    /// A number below 10 to this power is less than half the smallest, 3.6e-4951.
    const POWER_MIN: i64 = -4951;
    let mut digits = read_digits(text, 10)?;
    let mut power = read_exponent(digits.rest, b'e')? - digits.after_point;
    if digits.values.is_empty() {
        return Some(LongDouble::ZERO);
    }
    while digits.values.last() == Some(&0) {
        digits.values.pop();
        power += 1;
    }
    // The number is below 10^above and at least a tenth of that.
    let above = digits.values.len() as i64 + power;
    if !(POWER_MIN..=INTEGER_DIGITS_MAX).contains(&above) {
        return None;
    }
    // digits * 10^power = digits * 5^power * 2^power, the power of five above or below a fraction line.
    let power = power as i32;
    let five_power = power.unsigned_abs();
    if digits.values.len() <= 19 && power <= 0 && five_power <= FIVES.1 {
        let numerator = digits.values.iter().fold(0u64, |value, &digit| value * 10 + u64::from(digit));
        return nonzero(small_ratio(negative, numerator, 5u64.pow(five_power), power)?);
    }
    let mut numerator = Natural::from(0);
    for chunk in digits.values.chunks(19) {
        let value = chunk.iter().fold(0u64, |value, &digit| value * 10 + u64::from(digit));
        numerator.multiply_add(10u64.pow(chunk.len() as u32), value);
    }
    let mut denominator = Natural::from(1);
    let side = if power < 0 { &mut denominator } else { &mut numerator };
    for _ in 0..five_power / FIVES.1 {
        side.multiply_add(FIVES.0, 0);
    }
    side.multiply_add(5u64.pow(five_power % FIVES.1), 0);
    nonzero(ratio(negative, numerator, denominator, power)?)
}

/// As `parse_decimal`, for what follows `0x`; the exponent is one of two.
fn parse_hexadecimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    let digits = read_digits(text, 16)?;
    let exponent = read_exponent(digits.rest, b'p')? - 4 * digits.after_point;
    if digits.values.is_empty() {
        return Some(LongDouble::ZERO);
    }
    // Thirty digits are more than the mantissa and its round bit; of the others only counts whether all are zero.
    let (first, others) = digits.values.split_at(digits.values.len().min(30));
    let mantissa = first.iter().fold(0u128, |value, &digit| value << 4 | u128::from(digit));
    let sticky = others.iter().any(|&digit| digit != 0);
    let exponent = i32::try_from(exponent + 4 * others.len() as i64).ok()?;
    nonzero(rounded(negative, mantissa, exponent, sticky)?)
}

/// Redis refuses what is not zero and rounds to it.
fn nonzero(number: LongDouble) -> Option<LongDouble> {
    (!matches!(number, LongDouble::Finite { mantissa: 0, .. })).then_some(number)
}

/// `numerator / denominator * 2^exponent`; neither is zero and the denominator is below 2^63.
fn small_ratio(negative: bool, numerator: u64, denominator: u64, exponent: i32) -> Option<LongDouble> {
    let shift = u128::from(numerator).leading_zeros();
    // From 2^127, so the quotient has 65 bits at least: the mantissa and its round bit.
    let numerator = u128::from(numerator) << shift;
    let denominator = u128::from(denominator);
    let sticky = numerator % denominator != 0;
    rounded(negative, numerator / denominator, exponent - shift as i32, sticky)
}

/// `numerator / denominator * 2^exponent`; neither is zero.
fn ratio(
    negative: bool,
    mut numerator: Natural,
    mut denominator: Natural,
    exponent: i32,
) -> Option<LongDouble> {
    /// The mantissa, its round bit, and one more.
    const QUOTIENT_BITS: i32 = MANTISSA_BITS + 2;
    // Both are brought to the same length and, if the denominator is still the greater, the numerator one further:
    // then the quotient is at least one and below two, and long division yields it bit by bit.
    let mut scale = numerator.bits() as i32 - denominator.bits() as i32;
    numerator.shift_left(scale.min(0).unsigned_abs());
    denominator.shift_left(scale.max(0).unsigned_abs());
    if numerator.compare(&denominator) == Ordering::Less {
        numerator.shift_left(1);
        scale -= 1;
    }
    let mut quotient = 0u128;
    for _ in 0..QUOTIENT_BITS {
        quotient <<= 1;
        if numerator.compare(&denominator) != Ordering::Less {
            numerator.subtract(&denominator);
            quotient |= 1;
        }
        numerator.shift_left(1);
    }
    rounded(negative, quotient, exponent + scale - (QUOTIENT_BITS - 1), numerator.bits() > 0)
}

/// `value * 2^exponent` in the format; `sticky` tells that the exact value is a little greater, and stands only with
/// values of more than 64 bits. `None` where the format's numbers do not reach.
fn rounded(negative: bool, value: u128, exponent: i32, sticky: bool) -> Option<LongDouble> {
    if value == 0 {
        return Some(LongDouble::ZERO);
    }
    let bits = (u128::BITS - value.leading_zeros()) as i32;
    let drop = (bits - MANTISSA_BITS).max(EXPONENT_MIN.saturating_sub(exponent));
    let mut exponent = exponent.saturating_add(drop);
    let mut mantissa = match drop {
        ..0 => value << drop.unsigned_abs(),
        _ => shift_rounding(value, drop.unsigned_abs(), sticky),
    };
    if mantissa == 1 << MANTISSA_BITS {
        mantissa >>= 1;
        exponent += 1;
    }
    if mantissa == 0 {
        return Some(LongDouble::ZERO);
    }
    (exponent <= EXPONENT_MAX).then_some(LongDouble::Finite { negative, mantissa: mantissa as u64, exponent })
}

/// `value / 2^by` to the nearest integer, ties to the even one; `sticky` as in `rounded`.
fn shift_rounding(value: u128, by: u32, sticky: bool) -> u128 {
    if by == 0 {
        return value;
    }
    let bits = u128::BITS - value.leading_zeros();
    if by > bits {
        return 0;
    }
    let kept = value.checked_shr(by).unwrap_or(0);
    let half = 1u128 << (by - 1);
    let rest = value & (half | (half - 1));
    let up = rest > half || rest == half && (sticky || kept & 1 == 1);
    kept + u128::from(up)
}

/// `value / 2^by` rounded down, the lowest bit set if anything was lost.
fn shift_jamming(value: u128, by: u32) -> u128 {
    match value.checked_shr(by) {
        Some(kept) => kept | u128::from(kept << by != value),
        None => u128::from(value != 0),
    }
}

/// An integer of any size, not negative.
struct Natural {
    /// From the lowest on; the last is not zero.
    limbs: Vec<u64>,
}

impl From<u64> for Natural {
    fn from(value: u64) -> Natural {
        Natural { limbs: if value == 0 { Vec::new() } else { vec![value] } }
    }
}

impl Natural {
    fn bits(&self) -> u32 {
        self.limbs.last().map_or(0, |last| self.limbs.len() as u32 * u64::BITS - last.leading_zeros())
    }

    fn compare(&self, other: &Natural) -> Ordering {
        let length = self.limbs.len().cmp(&other.limbs.len());
        length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = u128::from(addend);
        for limb in &mut self.limbs {
            carry += u128::from(*limb) * u128::from(factor);
            *limb = carry as u64;
            carry >>= 64;
        }
        if carry > 0 {
            self.limbs.push(carry as u64);
        }
    }

    fn shift_left(&mut self, by: u32) {
        let (limbs, bits) = (by / u64::BITS, by % u64::BITS);
        if bits > 0 {
            self.multiply_add(1 << bits, 0);
        }
        if !self.limbs.is_empty() {
            self.limbs.splice(0..0, std::iter::repeat_n(0, limbs as usize));
        }
    }

    /// `other` is not the greater.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        for (at, limb) in self.limbs.iter_mut().enumerate() {
            let (less, first) = limb.overflowing_sub(other.limbs.get(at).copied().unwrap_or(0));
            let (less, second) = less.overflowing_sub(u64::from(borrow));
            *limb = less;
            borrow = first || second;
        }
        self.trim();
    }

    /// Divides by `divisor`; the remainder.
    fn divide(&mut self, divisor: u64) -> u64 {
        let mut remainder = 0u128;
        for limb in self.limbs.iter_mut().rev() {
            remainder = remainder << 64 | u128::from(*limb);
            *limb = (remainder / u128::from(divisor)) as u64;
            remainder %= u128::from(divisor);
        }
        self.trim();
        remainder as u64
    }

    fn into_decimal(mut self) -> String {
        const DIGITS: usize = 19;
        let mut chunks = Vec::new();
        while !self.limbs.is_empty() {
            chunks.push(self.divide(10u64.pow(DIGITS as u32)));
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:0DIGITS$}"));
        }
        text
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_FLOAT: &str = "value is not a valid float";
    const NOT_FINITE: &str = "increment would produce NaN or Infinity";

    /// What redis-server 7.0.15 on x86-64 answered to `SET k <first>` and `INCRBYFLOAT k <second>`; texts of more than
    /// 60 characters are abbreviated. `command::differential` compares thousands of random pairs.
    const SUMS: &[(&str, &str, Result<&str, &str>)] = &[
        ("0", "0", Ok("0")),
        ("0", "0.1", Ok("0.1")),
        ("0.1", "0.2", Ok("0.3")),
        ("10.5", "0.1", Ok("10.6")),
        ("3", "1.123", Ok("4.123")),
        ("5.0e3", "2.0e2", Ok("5200")),
        ("1", "-1", Ok("0")),
        ("-1", "1", Ok("0")),
        ("-0", "0", Ok("0")),
        ("-0", "-0", Ok("0")),
        ("0.3", "-0.3", Ok("0")),
        ("1e17", "0.1", Ok("100000000000000000.1015625")),
        ("1e19", "1", Ok("10000000000000000001")),
        ("18446744073709551615", "1", Ok("18446744073709551616")),
        ("18446744073709551616", "1", Ok("18446744073709551616")),
        ("9223372036854775807", "0.5", Ok("9223372036854775807.5")),
        ("-9223372036854775808", "-0.5", Ok("-9223372036854775808")),
        ("1e18", "0.00000000000000001", Ok("1000000000000000000")),
        ("0", "1e-17", Ok("0.00000000000000001")),
        ("0", "5e-18", Ok("0")),
        ("0", "4.9e-18", Ok("0")),
        ("0", "1.5e-17", Ok("0.00000000000000002")),
        ("0", "-4e-18", Ok("0")),
        ("1", "0.000000000000000005", Ok("1")),
        ("0.000000000000000015", "0", Ok("0.00000000000000002")),
        ("0", "1e-4940", Ok("0")),
        ("0", "3.6e-4951", Ok("0")),
        ("0", "1.83e-4951", Ok("0")),
        ("0", "1.82e-4951", Err(NOT_FLOAT)),
        ("0", "1e-4951", Err(NOT_FLOAT)),
        ("0", "1e-5000", Err(NOT_FLOAT)),
        ("0", "0e-99999", Ok("0")),
        ("0", "0e99999999999", Ok("0")),
        ("1e4932", "0", Ok("10000000000000000000...38418113791886622720 (4933)")),
        ("1.18973149535723176502e4932", "0", Ok("11897314953572317650...19552086811989770240 (4933)")),
        ("1.18973149535723176508e4932", "0", Err(NOT_FLOAT)),
        ("1.1897314953572318e4932", "0", Err(NOT_FLOAT)),
        ("1e4932", "2e4931", Err(NOT_FINITE)),
        ("1e4932", "1e4932", Err(NOT_FINITE)),
        ("1e4933", "0", Err(NOT_FLOAT)),
        ("1e308", "1e308", Ok("19999999999999999999...56510092687857156096 (309)")),
        ("0x10", "0", Ok("16")),
        ("0x1p-3", "0", Ok("0.125")),
        ("0X1.8P1", "1", Ok("4")),
        ("0x.8", "0", Ok("0.5")),
        ("0x1.", "0", Ok("1")),
        ("0x.", "0", Err(NOT_FLOAT)),
        ("0x", "0", Err(NOT_FLOAT)),
        ("0x1p", "0", Err(NOT_FLOAT)),
        ("0x1p16383", "0", Ok("59486574767861588254...23513645334982033408 (4932)")),
        ("0x1p16384", "0", Err(NOT_FLOAT)),
        ("0xffffffffffffffff8", "0", Ok("295147905179352825856")),
        ("0xffffffffffffffff80000000000000000000000001p-112", "0", Ok("72057594037927936")),
        ("0x1p-16445", "0", Ok("0")),
        ("0x1p-16446", "0", Err(NOT_FLOAT)),
        ("0x1.00000000000000001p-16446", "0", Ok("0")),
        ("inf", "0", Err(NOT_FINITE)),
        ("0", "inf", Err(NOT_FINITE)),
        ("-inf", "inf", Err(NOT_FINITE)),
        ("infinity", "1", Err(NOT_FINITE)),
        ("INFINITY", "1", Err(NOT_FINITE)),
        ("infinit", "1", Err(NOT_FLOAT)),
        ("nan", "0", Err(NOT_FLOAT)),
        ("0", "nan", Err(NOT_FLOAT)),
        ("nan(1)", "0", Err(NOT_FLOAT)),
        ("+1", "1", Ok("2")),
        ("+-1", "1", Err(NOT_FLOAT)),
        ("--1", "1", Err(NOT_FLOAT)),
        ("1.", "1", Ok("2")),
        (".5", "1", Ok("1.5")),
        (".", "1", Err(NOT_FLOAT)),
        ("-.5", "1", Ok("0.5")),
        ("e5", "1", Err(NOT_FLOAT)),
        ("1e", "1", Err(NOT_FLOAT)),
        ("1e+", "1", Err(NOT_FLOAT)),
        ("1e+2", "1", Ok("101")),
        ("1E-2", "1", Ok("1.01")),
        ("1ee", "1", Err(NOT_FLOAT)),
        ("1.2.3", "1", Err(NOT_FLOAT)),
        ("1f", "1", Err(NOT_FLOAT)),
        ("1_0", "1", Err(NOT_FLOAT)),
        ("1,5", "1", Err(NOT_FLOAT)),
        ("00012.500", "0", Ok("12.5")),
        ("123456789012345678901234567890", "0", Ok("123456789012345678899921813504")),
        ("0.1234567890123456789012345678901234567890", "0", Ok("0.12345678901234568")),
        ("3.0e3", "-2999.99999999999999", Ok("0.00000000000000999")),
        ("1e15", "1e-15", Ok("1000000000000000")),
        ("1.0000000000000000001", "0", Ok("1")),
        ("2.5", "0.00000000000000000000000000001", Ok("2.5")),
        ("4503599627370497.5", "0.25", Ok("4503599627370497.75")),
        ("16777217", "1e-8", Ok("16777217.00000001000080374")),
        ("99999999999999999.99", "0.01", Ok("100000000000000000")),
        ("0.7", "0.1", Ok("0.8")),
        ("0.1", "0.7", Ok("0.8")),
        ("1.1", "2.2", Ok("3.3")),
        ("-1.1", "0.1", Ok("-1")),
        ("1e1", "-1e1", Ok("0")),
        ("1e-1", "1e-2", Ok("0.11")),
    ];

    fn sum(first: &str, second: &str) -> Result<String, &'static str> {
        let first = LongDouble::parse(first.as_bytes()).ok_or(NOT_FLOAT)?;
        let second = LongDouble::parse(second.as_bytes()).ok_or(NOT_FLOAT)?;
        let text = first.checked_add(second).ok_or(NOT_FINITE)?.to_text();
        let len = text.len();
        Ok(if len > 60 { format!("{}...{} ({len})", &text[..20], &text[len - 20..]) } else { text })
    }

    #[test]
    fn sums_are_those_of_redis() {
        for &(first, second, expected) in SUMS {
            assert_eq!(
                sum(first, second).as_deref(),
                expected.as_ref().map(|text| *text),
                "{first} + {second}"
            );
            assert_eq!(
                sum(second, first).as_deref(),
                expected.as_ref().map(|text| *text),
                "{second} + {first}"
            );
        }
    }

    #[test]
    fn texts_longer_than_a_redis_buffer_are_refused() {
        let zeros = |count| "0".repeat(count);
        assert_eq!(sum(&format!("{}7", zeros(TEXT_BYTES_MAX - 2)), "1"), Ok("8".to_owned()));
        assert_eq!(sum(&format!("{}7", zeros(TEXT_BYTES_MAX - 1)), "1"), Err(NOT_FLOAT));
        // Thousands of digits count, each of them: here the last decides a tie, at 2^63 + 1/2.
        let tie = format!("9223372036854775808.5{}", zeros(5000));
        assert_eq!(sum(&tie, "0"), Ok("9223372036854775808".to_owned()));
        assert_eq!(sum(&format!("{tie}1"), "0"), Ok("9223372036854775809".to_owned()));
        assert_eq!(sum(&format!("0.{}1e4001", zeros(4000)), "0"), Ok("1".to_owned()));
    }

    #[test]
    fn integers_are_exact() {
        for value in [0, 1, -1, 7, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(LongDouble::from(value).to_text(), value.to_string());
            assert_eq!(Some(LongDouble::from(value)), LongDouble::parse(value.to_string().as_bytes()));
        }
    }

    #[test]
    fn short_and_long_division_agree() {
        let mut prng = crate::base::prng::Prng::new(1);
        for _ in 0..2000 {
            let numerator = (prng.next_u64() >> prng.below(64)).max(1);
            let power = prng.below(28) as u32;
            let short = small_ratio(false, numerator, 5u64.pow(power), -(power as i32));
            let long = ratio(false, numerator.into(), 5u64.pow(power).into(), -(power as i32));
            assert_eq!(short, long, "{numerator} / 10^{power}");
        }
    }

    #[test]
    fn the_extremes_round_as_the_format_says() {
        let finite = |mantissa, exponent| Some(LongDouble::Finite { negative: false, mantissa, exponent });
        // Ties go to the even mantissa; a carry out of the mantissa raises the exponent.
        assert_eq!(rounded(false, (1 << 65) + 1, 0, false), finite(1 << 63, 2));
        assert_eq!(rounded(false, (1 << 65) + 2, 0, false), finite(1 << 63, 2));
        assert_eq!(rounded(false, (1 << 65) + 2, 0, true), finite((1 << 63) + 1, 2));
        assert_eq!(rounded(false, (1 << 65) + 6, 0, false), finite((1 << 63) + 2, 2));
        assert_eq!(rounded(false, (1 << 65) - 1, 0, false), finite(1 << 63, 2));
        assert_eq!(rounded(false, u128::MAX, 0, true), finite(1 << 63, 65));
        // The greatest number, and the first that is not finite.
        assert_eq!(rounded(false, u128::from(u64::MAX), EXPONENT_MAX, false), finite(u64::MAX, EXPONENT_MAX));
        assert_eq!(rounded(false, u128::from(u64::MAX) * 2 + 1, EXPONENT_MAX - 1, false), None);
        // The smallest, and halves and three quarters of it.
        assert_eq!(rounded(false, 1, EXPONENT_MIN, false), finite(1, EXPONENT_MIN));
        assert_eq!(rounded(false, 1, EXPONENT_MIN - 1, false), Some(LongDouble::ZERO));
        assert_eq!(rounded(false, 3, EXPONENT_MIN - 2, false), finite(1, EXPONENT_MIN));
        assert_eq!(rounded(false, u128::MAX, EXPONENT_MIN - 128, false), finite(1, EXPONENT_MIN));
        assert_eq!(rounded(false, u128::MAX, EXPONENT_MIN - 129, false), Some(LongDouble::ZERO));
    }
}
