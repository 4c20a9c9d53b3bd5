//! Fuzzing in process, seeded and bounded, as part of `cargo test`.
//!
//! `RINGWARD_SEED` repeats a run, `RINGWARD_STEPS` makes it longer. The same checks with coverage to guide them, for as
//! long as one likes: see `tests/fuzz/cargo-fuzz/Cargo.toml`.

mod decoder;
mod flow;
mod journal;
mod rdb;
mod stock;

use std::panic::AssertUnwindSafe;

/// Streams that between them have every form of request, sound ones first.
const SEEDS: &[&[u8]] = &[
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nv\r\nal\r\n",
    b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"PING hello\r\n\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\n",
    b"set 'a b' \"\\x41\\n\"\nget 'it\\'s' \"\\\"\\\\\\a\\b\\t\\r\\xzz\"\r\n",
    b"  PING  \t x \r\n\r\n\n",
    b"*12\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$1\r\nk\r\n$1\r\nl\r\n",
    b"*2147483647\r\n$536870912\r\n",
    b"*9223372036854775808\r\n",
    b"*1\r\n$-1\r\n*1\r\n:5\r\n",
];

/// Journals that between them have every form of record.
const JOURNALS: &[&[u8]] = &[
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n",
    b"#TS:1700000000\r\n#other\n",
    b"#TXN:1-7:0,2-5\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n",
];

/// What mutations put in: what the decoder looks at.
const TOKENS: &[&[u8]] = &[
    b"*",
    b"$",
    b"\r\n",
    b"\r",
    b"\n",
    b"-1",
    b"0",
    b"1",
    b"00",
    b"16384",
    b"16385",
    b"2147483648",
    b"536870913",
    b"+3",
    b"-9223372036854775808",
    b"\"",
    b"'",
    b"\\",
    b"\\x4",
    b"\\\"",
    b" ",
    b"\t",
    b"\0",
    b"\x80",
    b"\x0b",
    b"*1\r\n",
    b"$1\r\n",
    b"*10\r\n",
    b"*11\r\n",
    b"PING\r\n",
    b"#TS:1\r\n",
    b"#TXN:1-2:0,1\r\n",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nexec\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n",
];

#[test]
fn the_decoder_reads_the_same_however_the_bytes_come() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    run(SEEDS, seed, steps, decoder::check);
}

#[test]
fn journals_are_read_the_same_however_the_bytes_come() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    run(JOURNALS, seed, steps, journal::check);
}

/// Flows that between them have every form of item.
const FLOWS: &[&[u8]] = &[
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n",
    b"#TS:1700000000\r\n",
    b"#TXN:0-7:0-2\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n",
    b"#TXN:1-8:1,2,0\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n",
];

#[test]
fn flows_are_read_and_collected_the_same_however_the_bytes_come() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    run(FLOWS, seed, steps, flow::check);
}

/// What a stock primary sends: payloads, and streams that between them have every form of item.
const STOCK: &[&[u8]] = &[
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
    b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n4\r\n*1\r\n$4\r\nEXEC\r\n",
    b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$8\r\nREPLCONF\r\n",
    b"\n\n$5\r\nabcdefgh",
    b"$EOF:0123456789012345678901234567890123456789\r\nabc0123450123456789012345678901234567890123456789*1",
];

#[test]
fn what_a_stock_primary_sends_is_read_the_same_however_the_bytes_come() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    run(STOCK, seed, steps, stock::check);
}

fn run(seeds: &[&[u8]], seed: u64, steps: u64, check: fn(&[u8])) {
    seeds.iter().for_each(|stream| checked("stream", stream, check));
    let mut random = Random(seed);
    for _ in 0..steps {
        let mut stream = Vec::new();
        for _ in 0..=random.below(3) {
            stream.extend_from_slice(seeds[random.below(seeds.len())]);
        }
        for _ in 0..random.below(5) {
            mutate(&mut stream, TOKENS, &mut random);
        }
        checked("stream", &stream, check);
    }
}

fn checked(what: &str, bytes: &[u8], check: fn(&[u8])) {
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| check(bytes))) {
        println!("{what}: {}", bytes.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn mutate(stream: &mut Vec<u8>, tokens: &[&[u8]], random: &mut Random) {
    let at = random.below(stream.len() + 1);
    match random.below(6) {
        0 => stream.truncate(at),
        1 => {
            let to = (at + random.below(8)).min(stream.len());
            stream.drain(at..to);
        }
        2 if at < stream.len() => stream[at] = random.next() as u8,
        3 if at < stream.len() => stream[at] ^= 1 << random.below(8),
        4 => {
            // A piece of itself somewhere else.
            let from = random.below(stream.len() + 1);
            let piece = stream[from..(from + random.below(20)).min(stream.len())].to_vec();
            stream.splice(at..at, piece);
        }
        _ => {
            let token = tokens[random.below(tokens.len())];
            stream.splice(at..at, token.iter().copied());
        }
    }
}

/// What redis-server 7.0.15 has saved: a value of every type and encoding, small limits in force.
const REDIS_FILE: &[u8] = include_bytes!("seeds/redis-7.0.rdb");

/// A value of each type that this file does not have, as a payload has it.
const VALUES: &[&[u8]] = &[
    b"\x01\x03\x01a\xc0\x05\x00",
    b"\x03\x03\x01a\xff\x01b\x041e-1\x01c\xfe",
    b"\x09\x18\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff",
    b"\x0a\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff",
    b"\x0c\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff",
    b"\x0d\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff",
    b"\x0e\x02\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff",
    b"\x12\x02\x01\x05plain\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x05\x01\xff",
    b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x05\x01\xff",
    b"\x16\x01\x01a\x011\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x16\x01\x00\x01a\x011",
    b"\x17\x16\x16\0\0\0\x03\0\x81a\x02\x01\x01\xf4\0\0\0\0\x01\0\0\0\x09\xff",
    b"\x18\0\0\0\0\x01\0\0\0\x02\x01\x01b\x012\x00\x01c\x013",
    b"\x19\0\0\0\0\x01\0\0\0\x16\x16\0\0\0\x03\0\x81a\x02\x01\x01\xf4\0\0\0\0\x01\0\0\0\x09\xff",
];

/// What mutations put in: types and records, lengths and strings in other forms, ends.
const RDB_TOKENS: &[&[u8]] = &[
    b"\0",
    b"\x02",
    b"\x0a",
    b"\x0f\x01k",
    b"\x10",
    b"\x14",
    b"\x16",
    b"\x19",
    b"\x40\x00",
    b"\x7f\xff",
    b"\x80\0\0\0\x01",
    b"\x80\xff\xff\xff\xff",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc0\x05",
    b"\xc1\x39\x30",
    b"\xc3\x05\x40\x64\x00a\xe0\x5a\x00",
    b"\xc3\x05\x7f\xff\x00a\xe0\x5a\x00",
    b"\xf4\x01\x02\x03",
    b"\xf5\x01f",
    b"\xf8\x05",
    b"\xf9\x05",
    b"\xfa\x01a\x01b",
    b"\xfb\x01\x00",
    b"\xfc\0\0\0\0\0\x01\0\0",
    b"\xfe\x01",
    b"\xfe\x07",
    b"\xff",
];

#[test]
fn snapshots_are_read_the_same_however_the_bytes_come() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    let mut random = Random(seed);
    checked("file", REDIS_FILE, rdb::check_file);
    for _ in 0..steps {
        let mut file = REDIS_FILE[..REDIS_FILE.len() - 9].to_vec();
        for _ in 0..random.below(4) {
            let value = VALUES[random.below(VALUES.len())];
            let name = random.next() as u8;
            file.extend_from_slice(&[value[0], 1, name]);
            file.extend_from_slice(&value[1..]);
        }
        file.extend_from_slice(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 0]);
        for _ in 0..random.below(5) {
            mutate(&mut file, RDB_TOKENS, &mut random);
        }
        checked("file", &file, rdb::check_file);
    }
}

#[test]
fn payloads_are_read_or_refused() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000) * 10;
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    let mut random = Random(seed);
    for _ in 0..steps {
        let mut value = VALUES[random.below(VALUES.len())].to_vec();
        if random.below(4) == 0 {
            // The same bytes as another type.
            value[0] = random.below(26) as u8;
        }
        for _ in 0..random.below(4) {
            mutate(&mut value, RDB_TOKENS, &mut random);
        }
        checked("value", &value, rdb::check_value);
    }
}

#[test]
fn lines_at_the_limit_are_read_or_refused() {
    use ringward::resp::decode::LINE_BYTES_MAX;
    for len in
        [LINE_BYTES_MAX - 2, LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 2]
    {
        for head in ["", "*", "*1\r\n$", "*1\r\nx"] {
            let line = [head.as_bytes(), &vec![b'7'; len]].concat();
            decoder::check_pieces(&line, &[1024, 4096]);
            // Complete, the pieces decide whether it is seen before it has become too long, as in Redis.
            decoder::never_panics(&[&line, b"\r\nPING\r\n".as_slice()].concat());
        }
    }
}

fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
