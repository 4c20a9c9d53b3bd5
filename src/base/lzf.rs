//! LZF, in liblzf's format: the fast compression that Redis uses in RDB files and for the inner nodes of lists.
//!
//! ```text
//! 000nnnnn                    n + 1 bytes follow as they are
//! nnnooooo          oooooooo  n + 2 bytes as they stood o + 1 bytes before (n is 1 to 6)
//! 111ooooo nnnnnnnn oooooooo  n + 9 bytes as they stood o + 1 bytes before
//! ```
//!
//! The compressed form does not say how long the original was; whoever keeps it does.

/// The longest run of bytes that one control byte announces.
const LITERALS_MAX: usize = 32;

/// The shortest and the longest repetition, and from how far back it comes.
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;

/// Places are found by a hash of the three bytes that stand there.
const HASH_BITS: u32 = 13;

/// One compressed byte gives at most so many: three of them are a longest repetition.
const EXPANSION_MAX: usize = MATCH_MAX / 3;

/// Appends the compressed form of `input` to `out` if it takes at most `len_max` bytes; whether it did. If not, `out`
/// is as it was.
pub fn compress(input: &[u8], out: &mut Vec<u8>, len_max: usize) -> bool {
    let start = out.len();
    let fits = Compressor { input, out, end: start.saturating_add(len_max) }.run();
    if !fits {
        out.truncate(start);
    }
    fits
}

/// The `len` bytes whose compressed form `input` is; `None` if it is the form of anything else, or of nothing.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > input.len().saturating_mul(EXPANSION_MAX) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        rest = tail;
        let control = usize::from(control);
        if control < LITERALS_MAX {
            let (literals, tail) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            rest = tail;
        } else {
            let mut count = (control >> 5) + 2;
            if count == 9 {
                let (&more, tail) = rest.split_first()?;
                count += usize::from(more);
                rest = tail;
            }
            let (&low, tail) = rest.split_first()?;
            rest = tail;
            let distance = ((control & 31) << 8 | usize::from(low)) + 1;
            repeat(&mut out, distance, count)?;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Appends `count` bytes as they stand `distance` bytes before the end, where they may be among those appended.
fn repeat(out: &mut Vec<u8>, distance: usize, count: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    let mut left = count;
    while left > 0 {
        // Each round doubles what there is to copy from.
        let part = left.min(out.len() - from);
        out.extend_from_within(from..from + part);
        left -= part;
    }
    Some(())
}

struct Compressor<'a> {
    input: &'a [u8],
    out: &'a mut Vec<u8>,
    /// How long `out` may become.
    end: usize,
}

impl Compressor<'_> {
    /// Whether it all fitted.
    fn run(&mut self) -> bool {
        // One more than where three bytes of each hash were seen last; 0 is nowhere.
        let mut seen = [0u32; 1 << HASH_BITS];
        let (mut at, mut literals_from) = (0, 0);
        // Where the input is so long that `seen` could not tell, there is nothing to find.
        let searched = self.input.len().min(u32::MAX as usize);
        while at + MATCH_MIN <= searched {
            let hash = hash(&self.input[at..]);
            let candidate = seen[hash] as usize;
            seen[hash] = at as u32 + 1;
            let Some(count) = candidate.checked_sub(1).and_then(|from| self.same(from, at)) else {
                at += 1;
                continue;
            };
            if !self.write_literals(literals_from, at) || !self.write_match(at + 1 - candidate, count) {
                return false;
            }
            // Of a repetition only the last places are entered: that is where the next one would begin.
            at += count;
            for place in at.saturating_sub(2)..at {
                if place + MATCH_MIN <= searched {
                    seen[self::hash(&self.input[place..])] = place as u32 + 1;
                }
            }
            literals_from = at;
        }
        self.write_literals(literals_from, self.input.len())
    }

    /// How many bytes at `at` are the same as at `from`, if they are worth a repetition.
    fn same(&self, from: usize, at: usize) -> Option<usize> {
        if at - from > DISTANCE_MAX {
            return None;
        }
        let pairs = self.input[from..].iter().zip(&self.input[at..]).take(MATCH_MAX);
        let count = pairs.take_while(|(a, b)| a == b).count();
        (count >= MATCH_MIN).then_some(count)
    }

    fn write_literals(&mut self, from: usize, to: usize) -> bool {
        let len = to - from;
        if self.out.len() + len + len.div_ceil(LITERALS_MAX) > self.end {
            return false;
        }
        for run in self.input[from..to].chunks(LITERALS_MAX) {
            self.out.push(run.len() as u8 - 1);
            self.out.extend_from_slice(run);
        }
        true
    }

    fn write_match(&mut self, distance: usize, count: usize) -> bool {
        let (offset, count) = (distance - 1, count - 2);
        let high = (offset >> 8) as u8;
        match count {
            0..=6 => self.out.push((count as u8) << 5 | high),
            _ => self.out.extend_from_slice(&[7 << 5 | high, (count - 7) as u8]),
        }
        self.out.push(offset as u8);
        self.out.len() <= self.end
    }
}

#[inline]
fn hash(bytes: &[u8]) -> usize {
    let word = u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[2]) << 16;
    (word.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::prng::Prng;

    fn compressed(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(compress(input, &mut out, usize::MAX));
        out
    }

    fn round_trip(input: &[u8]) {
        let out = compressed(input);
        assert!(out.len() <= input.len() + input.len().div_ceil(LITERALS_MAX));
        if !input.is_empty() {
            assert_eq!(decompress(&out, input.len()).as_deref(), Some(input));
        }
        assert_eq!(decompress(&out, input.len() + 1), None);
        if let Some(less) = input.len().checked_sub(1) {
            assert_eq!(decompress(&out, less), None);
        }
    }

    #[test]
    fn the_format_is_that_of_liblzf() {
        assert_eq!(compressed(b"abc"), b"\x02abc");
        // One literal, then 99 bytes from one byte before: 7 << 5, 99 - 9, 0.
        assert_eq!(compressed(&[b'a'; 100]), b"\x00a\xE0\x5A\x00");
        // Six bytes from six before: (6 - 2) << 5, 5.
        assert_eq!(compressed(b"abcdefabcdef"), b"\x05abcdef\x80\x05");
        // From the DUMP of a redis-server, so written by liblzf itself.
        let redis = b"\x01xx\xE0\xFF\x00\xE0\xFF\x00\xE0\xFF\x00\xE0\xC3\x00\x01xx";
        assert_eq!(decompress(redis, 1000), Some(vec![b'x'; 1000]));
        let redis = b"\x06abcdefa`\x05\x090123456789@\x0F@\x03\xE0%\x19\x01cd";
        assert_eq!(decompress(redis, 78), Some(b"abcdefabcdef0123456789abcd".repeat(3)));
        assert_eq!(decompress(b"", 0), Some(Vec::new()));
    }

    #[test]
    fn texts_of_all_kinds_come_back() {
        let mut prng = Prng::new(1);
        for round in 0..400 {
            let len = prng.below([4, 50, 400, 20_000][round % 4]) as usize;
            let letters = 1 + prng.below(if round % 3 == 0 { 256 } else { 3 });
            let mut text: Vec<u8> = (0..len).map(|_| prng.below(letters) as u8).collect();
            // Something said again far behind.
            let again = text[..len / 3].to_vec();
            text.extend_from_slice(&again);
            round_trip(&text);
        }
        for distance in [DISTANCE_MAX - 1, DISTANCE_MAX, DISTANCE_MAX + 1] {
            for len in [MATCH_MIN, 8, 9, MATCH_MAX, MATCH_MAX + 1] {
                let noise = (0..distance).map(|_| prng.next_u64() as u8).collect::<Vec<u8>>();
                round_trip(&[&noise[..], &noise[..len]].concat());
            }
        }
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let mut prng = Prng::new(2);
        let noise: Vec<u8> = (0..1000).map(|_| prng.next_u64() as u8).collect();
        for text in [&noise[..], &[7; 1000], &[&noise[..100], &noise[..100], &noise[..90]].concat()] {
            let len = compressed(text).len();
            for (len_max, fits) in [(len, true), (len + 1, true), (len - 1, false), (1, false), (0, false)] {
                let mut out = b"before".to_vec();
                assert_eq!(compress(text, &mut out, len_max), fits);
                assert_eq!(out.len(), if fits { 6 + len } else { 6 });
            }
        }
    }

    #[test]
    fn damaged_input_is_refused() {
        for (input, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x20", 3),
            (b"\x00a\x20", 4),
            (b"\x00a\xE0", 100),
            (b"\x00a\xE0\x5A", 100),
            // From before the beginning.
            (b"\x00a\x20\x01", 4),
            (b"\x20\x00", 3),
            (b"\x00a\xE0\x5A\x00", 99),
            // More than any input of this length gives.
            (b"\x00a\xE0\x5A\x00", usize::MAX),
        ] {
            assert_eq!(decompress(input, len), None, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn every_string_comes_back(text in proptest::collection::vec(0u8..4, 1..600)) {
            let out = compressed(&text);
            prop_assert_eq!(decompress(&out, text.len()), Some(text));
        }

        #[test]
        fn nothing_makes_it_panic(input: Vec<u8>, len in 0usize..4000) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
