//! What a directive's value can be: read from words, shown to CONFIG GET, written back by CONFIG REWRITE.
//!
//! Here are the contract and the plain kinds (yes/no, numbers, texts); `words` has the closed lists of words and
//! `special` the kinds that only one directive has. The texts of a refusal are Redis's.

use std::{borrow::Cow, fmt, ops::Deref, os::unix::ffi::OsStrExt, path::Path};

use super::line::quoted;
use crate::base::num::{parse_i64, parse_memory};

/// Why a value is refused, in Redis's words.
pub(super) type Refusal = Cow<'static, str>;

/// A directive's arguments, one word each.
pub(super) type Arguments = [Vec<u8>];

/// The type of a directive's field: how its value is read and written.
///
/// Invariant: reading what `lines` wrote gives an equal value; so does reading what `show` wrote, but for what Redis
/// does not show either.
pub(super) trait Value: Clone + PartialEq {
    /// What the table's row says beside the type: bounds, units, what an empty text means.
    type Rule;

    /// Whether a line may have any number of arguments; else there is exactly one.
    const TAKES_SEVERAL: bool = false;

    /// Takes a new value from the arguments. `is_first` is false for a line of a file whose directive stood there
    /// before; on refusal the value may be half set.
    fn read(&mut self, words: &Arguments, rule: &Self::Rule, is_first: bool) -> Result<(), Refusal>;

    /// The value as CONFIG GET replies it.
    fn show(&self, rule: &Self::Rule) -> Vec<u8>;

    /// The lines that stand for the value in a file.
    fn lines(&self, default: &Self, rule: &Self::Rule) -> Vec<Written>;

    /// Whether a line with the arguments `new` may take the place of one with the arguments `old`.
    fn is_same_line(_old: &Arguments, _new: &Arguments) -> bool {
        true
    }
}

/// One line of a rewritten file, without the directive's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) arguments: Vec<u8>,
    /// Whether the line is needed even if the file does not have it yet.
    pub(super) is_needed: bool,
}

impl Written {
    pub(super) fn new(arguments: impl Into<Vec<u8>>, is_needed: bool) -> Written {
        Written { arguments: arguments.into(), is_needed }
    }
}

impl Value for bool {
    type Rule = ();

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        *self = match words {
            [word] if word.eq_ignore_ascii_case(b"yes") => true,
            [word] if word.eq_ignore_ascii_case(b"no") => false,
            _ => return Err("argument must be 'yes' or 'no'".into()),
        };
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        if *self { "yes" } else { "no" }.into()
    }

    fn lines(&self, default: &bool, (): &()) -> Vec<Written> {
        vec![Written::new(self.show(&()), self != default)]
    }
}

/// The rule of a number: its bounds and how it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    min: i128,
    max: i128,
    unit: Unit,
    clamp: Option<(i128, i128)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Plain,
    Bytes,
    Octal,
}

/// The largest C `int`, at which most of Redis's bounds lie.
pub(super) const INT_MAX: i128 = i32::MAX as i128;
/// The largest C `long`.
pub(super) const LONG_MAX: i128 = i64::MAX as i128;

/// A plain decimal number.
pub(super) const fn int(min: i128, max: i128) -> Number {
    Number { min, max, unit: Unit::Plain, clamp: None }
}

/// An amount of memory: `1gb` and the like.
pub(super) const fn bytes(min: i128, max: i128) -> Number {
    Number { min, max, unit: Unit::Bytes, clamp: None }
}

/// A number in octal digits, for file modes.
pub(super) const fn octal(min: i128, max: i128) -> Number {
    Number { min, max, unit: Unit::Octal, clamp: None }
}

impl Number {
    /// What lies in the bounds but outside `min..=max` is accepted and moved to the nearer end.
    pub(super) const fn clamped(self, min: i128, max: i128) -> Number {
        Number { clamp: Some((min, max)), ..self }
    }

    fn parse(&self, word: &[u8]) -> Result<i128, Refusal> {
        let (value, refusal) = match self.unit {
            Unit::Plain => (parse_i64(word).map(i128::from), "argument couldn't be parsed into an integer"),
            Unit::Bytes => (parse_memory(word).map(i128::from), "argument must be a memory value"),
            Unit::Octal => {
                (parse_c_integer(word, 8).map(i128::from), "argument couldn't be parsed as an octal number")
            }
        };
        let value = value.ok_or(refusal)?;
        if (self.min..=self.max).contains(&value) {
            Ok(self.clamp.map_or(value, |(min, max)| value.clamp(min, max)))
        } else {
            Err(self.out_of_bounds())
        }
    }

    fn out_of_bounds(&self) -> Refusal {
        match self.unit {
            Unit::Octal => format!("argument must be between {:o} and {:o} inclusive", self.min, self.max),
            _ => format!("argument must be between {} and {} inclusive", self.min, self.max),
        }
        .into()
    }

    fn show(&self, value: i128) -> Vec<u8> {
        match self.unit {
            Unit::Octal => format!("{value:o}"),
            _ => value.to_string(),
        }
        .into()
    }

    fn write(&self, value: i128) -> Vec<u8> {
        match (self.unit, u64::try_from(value)) {
            (Unit::Bytes, Ok(bytes)) => with_memory_unit(bytes).into(),
            _ => self.show(value),
        }
    }
}

macro_rules! number_values {
    ($($type:ty)*) => { $(
        impl Value for $type {
            type Rule = Number;

            fn read(&mut self, words: &Arguments, rule: &Number, _is_first: bool) -> Result<(), Refusal> {
                let value = rule.parse(words.first().map_or(&[], |word| word))?;
                *self = <$type>::try_from(value).map_err(|_| rule.out_of_bounds())?;
                Ok(())
            }

            fn show(&self, rule: &Number) -> Vec<u8> {
                rule.show((*self).into())
            }

            fn lines(&self, default: &$type, rule: &Number) -> Vec<Written> {
                vec![Written::new(rule.write((*self).into()), self != default)]
            }
        }
    )* };
}
number_values! { u8 u16 u32 u64 i32 i64 }

/// A text of any bytes: a path, a name, a password.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// The text as a path of the file system.
    pub fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Text {
        Text(text)
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// The rule of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wording {
    is_unset_if_empty: bool,
    check: fn(&[u8]) -> Result<(), &'static str>,
}

/// A text that may be empty.
pub(super) const ANY_TEXT: Wording = Wording { is_unset_if_empty: false, check: |_| Ok(()) };
/// A text whose emptiness means that it is not set; CONFIG REWRITE then drops its line.
pub(super) const UNSET_IF_EMPTY: Wording = Wording { is_unset_if_empty: true, check: |_| Ok(()) };

impl Wording {
    /// Only texts that pass `check`.
    pub(super) const fn checked(self, check: fn(&[u8]) -> Result<(), &'static str>) -> Wording {
        Wording { check, ..self }
    }
}

impl Value for Text {
    type Rule = Wording;

    fn read(&mut self, words: &Arguments, rule: &Wording, _is_first: bool) -> Result<(), Refusal> {
        let word = words.first().map_or(&[][..], |word| word);
        (rule.check)(word)?;
        self.0 = word.to_vec();
        Ok(())
    }

    fn show(&self, _rule: &Wording) -> Vec<u8> {
        self.0.clone()
    }

    fn lines(&self, default: &Text, rule: &Wording) -> Vec<Written> {
        if rule.is_unset_if_empty && self.is_empty() {
            return Vec::new();
        }
        vec![Written::new(quoted(self), self != default)]
    }
}

/// An integer as C's `strtoll` reads it: blanks and a sign may lead, nothing may follow, an empty text means 0. Redis
/// reads the numbers of its special directives so.
pub(super) fn parse_c_integer(text: &[u8], radix: u32) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, digits) = match text.trim_ascii_start() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |sum, &byte| {
        let digit = i64::from(char::from(byte).to_digit(radix)?);
        sum.checked_mul(radix.into())?.checked_add(sign * digit)
    })
}

/// An amount of memory as `rewriteConfigFormatMemory` writes it: in the largest binary unit that divides it.
pub(super) fn with_memory_unit(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes % unit == 0 {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// The arguments of a directive for which one empty word means none.
pub(super) fn without_lone_empty(words: &Arguments) -> &Arguments {
    match words {
        [only] if only.is_empty() => &[],
        words => words,
    }
}

pub(super) fn natural(word: &[u8]) -> Option<u64> {
    parse_c_integer(word, 10).and_then(|number| u64::try_from(number).ok())
}

pub(super) fn joined<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(super) mod testing {
    //! Reading and showing a value without a rule.

    use super::*;
    use crate::config::line::split;

    pub(in crate::config) fn read<V: Value<Rule = ()>>(mut value: V, arguments: &str) -> Result<V, String> {
        let words = split(arguments.as_bytes()).unwrap();
        value.read(&words, &(), true).map(|()| value).map_err(Refusal::into_owned)
    }

    pub(in crate::config) fn show<V: Value<Rule = ()>>(value: &V) -> String {
        String::from_utf8(value.show(&())).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<V: Value>(mut value: V, word: &str, rule: &V::Rule) -> Result<V, String> {
        match value.read(&[word.into()], rule, true) {
            Ok(()) => Ok(value),
            Err(refusal) => Err(refusal.into_owned()),
        }
    }

    #[test]
    fn yes_and_no() {
        assert_eq!(read(false, "YES", &()), Ok(true));
        assert_eq!(read(true, "no", &()), Ok(false));
        assert_eq!(read(true, "true", &()), Err("argument must be 'yes' or 'no'".into()));
    }

    #[test]
    fn numbers_and_their_refusals() {
        assert_eq!(read(0u16, "6380", &int(0, 65535)), Ok(6380));
        assert_eq!(
            read(0u16, "65536", &int(0, 65535)),
            Err("argument must be between 0 and 65535 inclusive".into())
        );
        assert_eq!(
            read(0u16, "0x10", &int(0, 65535)),
            Err("argument couldn't be parsed into an integer".into())
        );
        assert_eq!(read(0u32, "100000", &int(0, INT_MAX).clamped(1, 500)), Ok(500));
        assert_eq!(read(0u64, "1gb", &bytes(0, LONG_MAX)), Ok(1 << 30));
        assert_eq!(read(0u64, "-1", &bytes(0, LONG_MAX)), Err("argument must be a memory value".into()));
        assert_eq!(read(0u32, "755", &octal(0, 0o777)), Ok(0o755));
        assert_eq!(
            read(0u32, "1777", &octal(0, 0o777)),
            Err("argument must be between 0 and 777 inclusive".into())
        );
        assert_eq!(
            read(0u32, "8", &octal(0, 0o777)),
            Err("argument couldn't be parsed as an octal number".into())
        );
        assert_eq!(Value::show(&0o755u32, &octal(0, 0o777)), b"755");
    }

    #[test]
    fn memory_is_written_in_units() {
        assert_eq!(with_memory_unit(0), "0");
        assert_eq!(with_memory_unit(2 << 30), "2gb");
        assert_eq!(with_memory_unit(1536 << 10), "1536kb");
        assert_eq!(with_memory_unit(1000), "1000");
    }

    #[test]
    fn c_integers_are_lenient() {
        assert_eq!(parse_c_integer(b"", 10), Some(0));
        assert_eq!(parse_c_integer(b" +07", 10), Some(7));
        assert_eq!(parse_c_integer(b"-2000", 10), Some(-2000));
        assert_eq!(parse_c_integer(b"7x", 10), None);
        assert_eq!(parse_c_integer(b"-", 10), None);
        assert_eq!(parse_c_integer(b" ", 10), None);
        assert_eq!(parse_c_integer(b"9999999999999999999", 10), None);
    }
}
