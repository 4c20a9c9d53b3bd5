//! LCS: the longest common subsequence of two strings.
//!
//! The result depends on which of several equally long subsequences is found, so the table is walked exactly as Redis
//! walks it.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::Ctx;
use crate::keyspace::{IntText, ValueRef};
use crate::resp::{Args, Reply};

/// Strings of this length or longer are refused, so that the table's size can be computed (Redis: `UINT32_MAX - 1`).
const STRING_BYTES_LIMIT: usize = u32::MAX as usize - 1;

/// What LCS is told after the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LcsOptions {
    output: Output,
    /// Shorter matches are not told.
    match_bytes_min: i64,
    with_match_len: bool,
}

/// What the reply tells of the subsequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Its bytes.
    Bytes,
    /// LEN: its length.
    Len,
    /// IDX: where it lies in the two strings, and its length.
    Matches,
}

impl LcsOptions {
    /// The options of a whole request, its name and keys included.
    ///
    /// # Errors
    /// An option that is none, a bad length, or LEN together with IDX.
    fn parse(args: Args<'_>) -> Result<LcsOptions, CommandError> {
        let (mut len, mut matches) = (false, false);
        let mut options = LcsOptions { output: Output::Bytes, match_bytes_min: 0, with_match_len: false };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "IDX") {
                matches = true;
            } else if args.is(at, "LEN") {
                len = true;
            } else if args.is(at, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
                at += 1;
                options.match_bytes_min = parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        options.output = match (len, matches) {
            (true, true) => return Err(CommandError::LCS_LEN_AND_IDX),
            (true, false) => Output::Len,
            (false, true) => Output::Matches,
            (false, false) => Output::Bytes,
        };
        Ok(options)
    }
}

pub(super) fn lcs(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    // A copy of the first: the second lookup may change the table. It is little beside the table of lengths.
    let a = string(ctx, args.at(1))?;
    let b = string(ctx, args.at(2))?;
    let options = LcsOptions::parse(args)?;
    lcs_reply(&a, &b, &options, ctx.options.string_bytes_max, ctx.reply)
}

/// The string under a key, empty if there is none.
fn string(ctx: &mut Ctx<'_, '_>, name: &[u8]) -> Result<Vec<u8>, CommandError> {
    let string = ctx.source(name).map(ValueRef::string).transpose();
    let string = string.map_err(|_| CommandError::LCS_NOT_STRINGS)?;
    Ok(string.map_or_else(Vec::new, |string| string.bytes(&mut IntText::new()).to_vec()))
}

/// Replies with the longest common subsequence of `a` and `b`; a missing key counts as an empty string.
///
/// # Errors
/// The table of lengths would take more than `table_bytes_max`, which is `proto-max-bulk-len`.
fn lcs_reply(
    a: &[u8],
    b: &[u8],
    options: &LcsOptions,
    table_bytes_max: u64,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    if a.len().max(b.len()) >= STRING_BYTES_LIMIT {
        return Err(CommandError::LCS_STRING_TOO_LONG);
    }
    let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
    // Even LEN, which makes do with less, answers as if it took the whole table.
    if cells.checked_mul(size_of::<u32>() as u64).is_none_or(|bytes| bytes > table_bytes_max) {
        return Err(CommandError::LCS_TABLE_TOO_LARGE);
    }
    if options.output == Output::Len {
        reply.int(i64::from(common_len(a, b)));
        return Ok(());
    }
    let table = LengthTable::new(a, b)?;
    let (bytes, matches) = table.trace(a, b);
    if options.output == Output::Bytes {
        reply.bulk(&bytes);
        return Ok(());
    }
    let told = |found: &&Match| i64::from(found.len) >= options.match_bytes_min;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.iter().filter(told).count());
    for found in matches.iter().filter(told) {
        reply.array(2 + usize::from(options.with_match_len));
        for start in [found.a_start, found.b_start] {
            reply.array(2);
            reply.int(i64::from(start));
            reply.int(i64::from(start + found.len - 1));
        }
        if options.with_match_len {
            reply.int(i64::from(found.len));
        }
    }
    reply.bulk(b"len");
    reply.count(bytes.len());
    Ok(())
}

/// The length alone, with one row of the table at a time.
fn common_len(a: &[u8], b: &[u8]) -> u32 {
    let mut row = vec![0u32; b.len() + 1];
    for &byte in a {
        let mut diagonal = 0;
        for (j, &other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if byte == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// A run of bytes that belongs to the subsequence and is contiguous in both strings.
#[derive(Clone, Copy, Debug)]
struct Match {
    a_start: u32,
    b_start: u32,
    len: u32,
}

/// How long the common subsequences of all beginnings of two strings are.
struct LengthTable {
    lengths: Vec<u32>,
    columns: usize,
}

impl LengthTable {
    fn new(a: &[u8], b: &[u8]) -> Result<LengthTable, CommandError> {
        let columns = b.len() + 1;
        let cells = (a.len() + 1) * columns;
        let mut lengths = Vec::new();
        lengths.try_reserve_exact(cells).map_err(|_| CommandError::LCS_NO_MEMORY)?;
        lengths.resize(cells, 0);
        for (i, &byte) in a.iter().enumerate() {
            let (done, open) = lengths.split_at_mut((i + 1) * columns);
            let above = &done[i * columns..];
            for (j, &other) in b.iter().enumerate() {
                open[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(open[j]) };
            }
        }
        Ok(LengthTable { lengths, columns })
    }

    /// The length for the first `i` bytes of the one and the first `j` of the other.
    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * self.columns + j]
    }

    /// The subsequence, and the runs that it is made of from the last to the first.
    fn trace(&self, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let mut bytes = Vec::with_capacity(self.at(a.len(), b.len()) as usize);
        let mut matches: Vec<Match> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        // Whether the byte before was common, too, so that this one belongs to its run.
        let mut open = false;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                i -= 1;
                j -= 1;
                bytes.push(a[i]);
                match matches.last_mut().filter(|_| open) {
                    Some(run) => *run = Match { a_start: i as u32, b_start: j as u32, len: run.len + 1 },
                    None => matches.push(Match { a_start: i as u32, b_start: j as u32, len: 1 }),
                }
                open = true;
            } else {
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
                open = false;
            }
        }
        bytes.reverse();
        (bytes, matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::command::harness::Harness;
    use crate::resp::Proto;

    /// The example of the Redis manual, and its replies.
    #[test]
    fn every_option_changes_the_reply() {
        let mut shard = Harness::new();
        shard.run("MSET key1 ohmytext key2 mynewtext");
        let long = "*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n";
        let short = "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n";
        let idx = |matches: &[&str]| {
            let count = matches.len();
            format!("*4\r\n$7\r\nmatches\r\n*{count}\r\n{}$3\r\nlen\r\n:6\r\n", matches.concat())
        };
        let with_len = |found: &str, len| format!("*3{}:{len}\r\n", &found[2..]);
        for (options, reply) in [
            ("", "$6\r\nmytext\r\n".to_owned()),
            ("len", ":6\r\n".to_owned()),
            ("IDX", idx(&[long, short])),
            ("idx MINMATCHLEN 2", idx(&[long, short])),
            ("IDX minmatchlen 3", idx(&[long])),
            ("IDX MINMATCHLEN 5", idx(&[])),
            ("IDX MINMATCHLEN -5", idx(&[long, short])),
            ("MINMATCHLEN 4 IDX WITHMATCHLEN", idx(&[&with_len(long, 4)])),
            ("IDX withmatchlen", idx(&[&with_len(long, 4), &with_len(short, 2)])),
            ("LEN MINMATCHLEN 9 WITHMATCHLEN", ":6\r\n".to_owned()),
            ("MINMATCHLEN 9", "$6\r\nmytext\r\n".to_owned()),
        ] {
            assert_eq!(shard.run(&format!("LCS key1 key2 {options}")), reply, "{options}");
        }
        shard.proto = Proto::Resp3;
        let map = idx(&[]).replacen("*4", "%2", 1);
        assert_eq!(shard.run("LCS key1 key2 IDX MINMATCHLEN 5"), map);
    }

    #[test]
    fn missing_keys_are_empty_strings_and_integers_are_text() {
        let mut shard = Harness::new();
        shard.run("MSET a 12345 b -2451");
        assert_eq!(shard.run("LCS a b"), "$3\r\n245\r\n");
        assert_eq!(shard.run("LCS a a LEN"), ":5\r\n");
        assert_eq!(shard.run("LCS a missing"), "$0\r\n\r\n");
        assert_eq!(shard.run("LCS missing a LEN"), ":0\r\n");
        assert_eq!(shard.run("LCS missing missing IDX"), "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
    }

    #[test]
    fn bad_options_and_large_tables_are_refused() {
        let mut shard = Harness::new();
        shard.run("MSET a 0123456789 b abc");
        for (options, error) in [
            ("NOSUCH", "-ERR syntax error\r\n"),
            ("IDX MINMATCHLEN", "-ERR syntax error\r\n"),
            ("IDX MINMATCHLEN x", "-ERR value is not an integer or out of range\r\n"),
            ("LEN IDX", "-ERR If you want both the length and indexes, please just use IDX.\r\n"),
            ("IDX LEN 5", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(shard.run(&format!("LCS a b {options}")), error, "{options}");
        }
        let too_large = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n";
        shard.options.string_bytes_max = 11 * 4 * 4;
        assert_eq!(shard.run("LCS a b LEN"), ":0\r\n");
        shard.options.string_bytes_max -= 1;
        for options in ["", "LEN", "IDX"] {
            assert_eq!(shard.run(&format!("LCS a b {options}")), too_large, "{options}");
        }
    }

    /// What is found is a subsequence of both, as long as the one-row computation says, and the runs spell it.
    #[test]
    fn the_trace_is_a_longest_common_subsequence() {
        let mut prng = Prng::new(7);
        for _ in 0..500 {
            let mut word = |letters| -> Vec<u8> {
                (0..prng.below(30)).map(|_| b'a' + prng.below(letters) as u8).collect()
            };
            let (a, b) = (word(3), word(4));
            let (bytes, matches) = LengthTable::new(&a, &b).unwrap().trace(&a, &b);
            assert_eq!(bytes.len(), common_len(&a, &b) as usize);
            let spelt = |text: &[u8], start: fn(&Match) -> u32| -> Vec<u8> {
                let run = |m: &Match| text[start(m) as usize..][..m.len as usize].to_vec();
                matches.iter().rev().flat_map(run).collect()
            };
            assert_eq!(spelt(&a, |m| m.a_start), bytes);
            assert_eq!(spelt(&b, |m| m.b_start), bytes);
            let apart = |pair: &[Match]| {
                let (later, earlier) = (pair[0], pair[1]);
                let (a_end, b_end) = (earlier.a_start + earlier.len, earlier.b_start + earlier.len);
                a_end <= later.a_start
                    && b_end <= later.b_start
                    && (a_end, b_end) != (later.a_start, later.b_start)
            };
            assert!(matches.windows(2).all(apart));
        }
    }
}
