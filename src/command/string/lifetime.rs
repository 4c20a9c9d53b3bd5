//! The options that say when a key expires: EX, PX, EXAT, PXAT, and KEEPTTL of SET or PERSIST of GETEX.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::UnixMs;
use crate::resp::Args;

/// How a time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeOption {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since the Unix epoch.
    Exat,
    /// Milliseconds since the Unix epoch.
    Pxat,
}

impl TimeOption {
    fn named(word: &[u8]) -> Option<TimeOption> {
        let options = [
            ("EX", TimeOption::Ex),
            ("PX", TimeOption::Px),
            ("EXAT", TimeOption::Exat),
            ("PXAT", TimeOption::Pxat),
        ];
        options
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, option)| option)
    }

    /// Whether the time is a moment, not a duration.
    pub(super) fn is_absolute(self) -> bool {
        matches!(self, TimeOption::Exat | TimeOption::Pxat)
    }

    /// The moment that `text` says in this way.
    ///
    /// # Errors
    /// It is no integer, not positive, or beyond 64 bits of milliseconds; `command` is named in the text.
    pub(super) fn deadline(self, text: &[u8], now: UnixMs, command: &str) -> Result<UnixMs, CommandError> {
        let number = parse_i64(text).ok_or(CommandError::NOT_INTEGER)?;
        let ms = match self {
            TimeOption::Ex | TimeOption::Exat => number.checked_mul(1000),
            TimeOption::Px | TimeOption::Pxat => Some(number),
        };
        let base_ms = if self.is_absolute() { 0 } else { now.0 };
        ms.filter(|&ms| ms > 0)
            .and_then(|ms| ms.checked_add(base_ms))
            .map(UnixMs)
            .ok_or_else(|| CommandError::invalid_expire(command))
    }
}

/// What the options read so far say of the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime<'a> {
    /// Nothing.
    Unsaid,
    /// The command's own word: KEEPTTL of SET, PERSIST of GETEX.
    Word,
    /// A time. It is read only when the command needs it, since GETEX of a missing key does not mind a bad one.
    Time(TimeOption, &'a [u8]),
}

impl<'a> Lifetime<'a> {
    /// Takes the option at `at`; the place after it, or `None` if it is no such option, or another one than before.
    /// `word` is the command's own. As in Redis an option may be repeated, and its last argument counts.
    pub(super) fn take(&mut self, args: Args<'a>, at: usize, word: &str) -> Option<usize> {
        if args.is(at, word) {
            return matches!(self, Lifetime::Unsaid | Lifetime::Word).then(|| {
                *self = Lifetime::Word;
                at + 1
            });
        }
        let option = TimeOption::named(args.at(at))?;
        match *self {
            Lifetime::Unsaid => {}
            Lifetime::Time(before, _) if before == option => {}
            _ => return None,
        }
        *self = Lifetime::Time(option, args.get(at + 1)?);
        Some(at + 2)
    }
}
