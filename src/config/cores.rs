//! A set of processors, written as `taskset` and the kernel write it: `0-3,8`.

use std::fmt;

use super::value::{Arguments, Refusal, Value, Written};
use crate::base::num::parse_u64;

/// The processors to run on (`cores`): ascending, each once; none are all that the process may run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// Processors are numbered below this, the most that Linux can be built for. It bounds what a range can cost.
    const LIMIT: usize = 8192;

    /// The set that `text` names: numbers and ranges with commas between.
    pub fn parse(text: &[u8]) -> Result<Cores, &'static str> {
        const FORM: &str = "argument must be processor numbers and ranges, like 0-3,8";
        if text.is_empty() {
            return Ok(Cores::default());
        }
        let mut is_member = vec![false; Self::LIMIT];
        for part in text.split(|&byte| byte == b',') {
            let mut ends = part.splitn(2, |&byte| byte == b'-').map(|end| parse_u64(end.trim_ascii()));
            let first = ends.next().flatten().ok_or(FORM)?;
            let last = ends.next().unwrap_or(Some(first)).ok_or(FORM)?;
            if first > last {
                return Err("argument has a range that ends before it begins");
            }
            if last >= Self::LIMIT as u64 {
                return Err("argument names a processor over 8191");
            }
            is_member[first as usize..=last as usize].fill(true);
        }
        Ok(Cores((0..Self::LIMIT).filter(|&core| is_member[core]).collect()))
    }

    /// The processors, ascending.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// Whether the choice is left to the process's affinity.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.chunk_by(|core, next| core + 1 == *next).enumerate() {
            let (first, last) = (range[0], range[range.len() - 1]);
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Value for Cores {
    type Rule = ();

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        *self = Cores::parse(words.first().map_or(&[], |word| word))?;
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        self.to_string().into()
    }

    fn lines(&self, default: &Cores, (): &()) -> Vec<Written> {
        if self.is_empty() {
            Vec::new()
        } else {
            vec![Written::new(self.show(&()), self != default)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_sorted_and_written_short() {
        for (text, cores, shown) in [
            ("", &[][..], ""),
            ("3", &[3], "3"),
            ("0-3,8", &[0, 1, 2, 3, 8], "0-3,8"),
            ("8,1-2,0", &[0, 1, 2, 8], "0-2,8"),
            ("2,2-3,3", &[2, 3], "2-3"),
        ] {
            let parsed = Cores::parse(text.as_bytes()).unwrap();
            assert_eq!(parsed.as_slice(), cores, "{text}");
            assert_eq!(parsed.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_set_of_processors_is_refused() {
        for bad in ["a", ",", "1,", "-1", "1-", "3-1", "0-99999999999", "8192", "1-2-3", "0x1"] {
            assert!(Cores::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
