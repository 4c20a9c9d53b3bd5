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

/// Places are found by a hash of the three bytes that stand there. liblzf as Redis has it keeps so many of them.
const PLACES_BITS: u32 = 16;

/// How many `compress` keeps: nobody compares what it makes, and it sets them up for each text.
const FEW_PLACES_BITS: u32 = 13;

/// Beyond so many bytes, so many are compared at once, and the end of the text is not looked out for.
const SURE_MATCH: usize = 16;

/// What liblzf wants to have left in its buffer before it writes a repetition, and at the end.
const MATCH_ROOM: usize = 4;

/// One compressed byte gives at most so many: three of them are a longest repetition.
const EXPANSION_MAX: usize = MATCH_MAX / 3;

/// Appends the compressed form of `input` to `out` if it takes at most `len_max` bytes; whether it did. If not, `out`
/// is as it was.
pub fn compress(input: &[u8], out: &mut Vec<u8>, len_max: usize) -> bool {
    let mut places = [0; 1 << FEW_PLACES_BITS];
    let (mut run, start) = (Run::new(0), out.len());
    run.advance(&mut places, input, out, start, len_max, usize::MAX) == Progress::Fits
}

/// Compresses one text after the other, byte for byte as liblzf does in a Redis that has just started: one that has
/// compressed before may find repetitions by what is left in its memory of earlier texts.
pub struct Compressor {
    /// Where three bytes of each hash were seen last: `Run::base` and the place.
    places: Box<[u32]>,
    /// What tells the places of the next text from all those before.
    base: u32,
}

impl Compressor {
    /// One that has seen nothing.
    pub fn new() -> Compressor {
        Compressor { places: vec![0; 1 << PLACES_BITS].into_boxed_slice(), base: 0 }
    }

    /// As the function of this name.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>, len_max: usize) -> bool {
        let (mut run, start) = (self.begin(input), out.len());
        self.advance(&mut run, input, out, start, len_max, usize::MAX) == Progress::Fits
    }

    /// Begins with a text that is compressed in several steps, between which there may be others.
    pub fn begin(&mut self, input: &[u8]) -> Run {
        let len = u32::try_from(input.len()).unwrap_or(u32::MAX);
        if self.base.checked_add(len).is_none() {
            self.places.fill(0);
            self.base = 0;
        }
        let run = Run::new(self.base);
        self.base = self.base.saturating_add(len);
        run
    }

    /// Goes on with a text, for about `step` bytes of it. What has been written stands from `start` on in `out`; it is
    /// taken back where the whole would take more than `len_max` bytes.
    pub fn advance(
        &mut self,
        run: &mut Run,
        input: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        len_max: usize,
        step: usize,
    ) -> Progress {
        run.advance(&mut self.places, input, out, start, len_max, step)
    }
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor::new()
    }
}

/// How far the compression of a text has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not to the end.
    More,
    /// To the end.
    Fits,
    /// To where it was too long.
    TooLong,
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

/// A text that is being compressed.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    base: u32,
    at: usize,
    /// From here on nothing is written yet.
    literals_from: usize,
}

impl Run {
    fn new(base: u32) -> Run {
        Run { base, at: 0, literals_from: 0 }
    }

    fn advance(
        &mut self,
        places: &mut [u32],
        input: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        len_max: usize,
        step: usize,
    ) -> Progress {
        // Where the text is so long that its places could not be told, there is nothing to find.
        let end = input.len().min(u32::MAX as usize);
        let pause = self.at.saturating_add(step);
        let has_room = |out: &Vec<u8>, needed: usize| out.len() - start + needed <= len_max;
        while self.at + MATCH_MIN <= end {
            if self.at >= pause {
                return Progress::More;
            }
            let Some(from) = self.exchange(places, input) else {
                self.at += 1;
                continue;
            };
            let literals = self.at - self.literals_from;
            if !has_room(out, literals + literals.div_ceil(LITERALS_MAX) + MATCH_ROOM + 1) {
                out.truncate(start);
                return Progress::TooLong;
            }
            let count = match_len(&input[from..end], &input[self.at..end]);
            write_literals(&input[self.literals_from..self.at], out);
            write_match(self.at - from, count, out);
            self.at += count;
            self.literals_from = self.at;
            if self.at + MATCH_MIN > end {
                break;
            }
            // Of a repetition only the last places are entered: that is where the next one would begin.
            for place in self.at - 2..self.at {
                places[slot(&input[place..], places)] = self.base.wrapping_add(place as u32);
            }
        }
        let literals = &input[self.literals_from..];
        // The last bytes may be fewer than are looked for.
        let seen = self.at - self.literals_from;
        let fits = has_room(out, seen + seen / LITERALS_MAX + MATCH_ROOM)
            && has_room(out, literals.len() + literals.len().div_ceil(LITERALS_MAX));
        if !fits {
            out.truncate(start);
            return Progress::TooLong;
        }
        write_literals(literals, out);
        Progress::Fits
    }

    /// Enters this place, and gives the one that was there before if the same three bytes stand there. The first place
    /// of all is never found, as in liblzf.
    #[inline]
    fn exchange(&self, places: &mut [u32], input: &[u8]) -> Option<usize> {
        let slot = slot(&input[self.at..], places);
        let entered = std::mem::replace(&mut places[slot], self.base.wrapping_add(self.at as u32));
        let from = entered.wrapping_sub(self.base) as usize;
        let is_it = entered > self.base
            && from < self.at
            && self.at - from <= DISTANCE_MAX
            && input[from..from + MATCH_MIN] == input[self.at..self.at + MATCH_MIN];
        is_it.then_some(from)
    }
}

/// How many bytes are the same, of which the first three are. The last two of a text are left out of most repetitions,
/// as in liblzf.
fn match_len(from: &[u8], at: &[u8]) -> usize {
    let max = (at.len() - 2).min(MATCH_MAX);
    let mut len = MATCH_MIN;
    if max > SURE_MATCH {
        let sure = MATCH_MIN + SURE_MATCH;
        while len < sure && from[len] == at[len] {
            len += 1;
        }
        if len < sure {
            return len;
        }
    }
    while len < max && from[len] == at[len] {
        len += 1;
    }
    len
}

fn write_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn write_match(distance: usize, count: usize, out: &mut Vec<u8>) {
    let (offset, count) = (distance - 1, count - 2);
    let high = (offset >> 8) as u8;
    match count {
        0..=6 => out.push((count as u8) << 5 | high),
        _ => out.extend_from_slice(&[7 << 5 | high, (count - 7) as u8]),
    }
    out.push(offset as u8);
}

/// Where places with these three bytes are entered.
#[inline]
fn slot(bytes: &[u8], places: &[u32]) -> usize {
    let word = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
    let bits = places.len().trailing_zeros();
    (word >> (24 - bits)).wrapping_sub(word.wrapping_mul(5)) as usize & (places.len() - 1)
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
        // Two literals, then 96 bytes from one byte before (7 << 5, 96 - 9, 0), and the last two.
        assert_eq!(compressed(&[b'a'; 100]), b"\x01aa\xE0\x57\x00\x01aa");
        // Three bytes from six before: (3 - 2) << 5, 5; the first place of all is not found, and the last two are left.
        assert_eq!(compressed(b"abcdefabcdef"), b"\x06abcdefa\x20\x05\x01ef");
        // From the DUMP of a redis-server, so written by liblzf itself.
        let mut compressor = Compressor::new();
        let texts = [vec![b'x'; 1000], b"abcdefabcdef0123456789abcd".repeat(3)];
        let forms = [
            &b"\x01xx\xE0\xFF\x00\xE0\xFF\x00\xE0\xFF\x00\xE0\xC3\x00\x01xx"[..],
            b"\x06abcdefa`\x05\x090123456789@\x0F@\x03\xE0%\x19\x01cd",
        ];
        for (text, form) in texts.iter().zip(forms) {
            assert_eq!(decompress(form, text.len()).as_ref(), Some(text));
            assert_eq!(compressed(text), form);
            let mut out = Vec::new();
            assert!(compressor.compress(text, &mut out, text.len() - 4));
            assert_eq!(out, form);
        }
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
            let roomy = len + MATCH_ROOM;
            for (len_max, fits) in
                [(roomy, true), (roomy + 1, true), (len - 1, false), (1, false), (0, false)]
            {
                let mut out = b"before".to_vec();
                assert_eq!(compress(text, &mut out, len_max), fits);
                assert_eq!(out.len(), if fits { 6 + len } else { 6 });
            }
        }
    }

    #[test]
    fn a_text_in_steps_is_the_same_text() {
        let mut prng = Prng::new(3);
        let text: Vec<u8> = (0..5000).map(|_| prng.below(4) as u8).collect();
        let other: Vec<u8> = (0..5000).map(|_| prng.below(3) as u8).collect();
        let mut whole = Vec::new();
        assert!(Compressor::new().compress(&text, &mut whole, text.len()));
        for step in [1, 7, 100, 10_000] {
            let (mut compressor, mut out) = (Compressor::new(), b"before".to_vec());
            let mut run = compressor.begin(&text);
            while compressor.advance(&mut run, &text, &mut out, 6, text.len(), step) == Progress::More {}
            assert_eq!(&out[6..], whole);
            // Others between the steps cost repetitions, no more.
            let (mut out, mut run) = (Vec::new(), compressor.begin(&text));
            while compressor.advance(&mut run, &text, &mut out, 0, usize::MAX, step) == Progress::More {
                assert!(compressor.compress(&other, &mut Vec::new(), usize::MAX));
            }
            assert_eq!(decompress(&out, text.len()).as_ref(), Some(&text));
        }
    }

    #[test]
    fn places_are_told_apart_beyond_their_number() {
        let mut compressor = Compressor::new();
        compressor.base = u32::MAX - 1500;
        for _ in 0..10 {
            let mut out = Vec::new();
            assert!(compressor.compress(&[b'x'; 1000], &mut out, 996));
            assert_eq!(out, b"\x01xx\xE0\xFF\x00\xE0\xFF\x00\xE0\xFF\x00\xE0\xC3\x00\x01xx");
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
