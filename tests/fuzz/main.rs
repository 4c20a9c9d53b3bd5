//! Fuzzing in process, seeded and bounded, as part of `cargo test`.
//!
//! `RINGWARD_SEED` repeats a run, `RINGWARD_STEPS` makes it longer. The same checks with coverage to guide them, for as
//! long as one likes: see `tests/fuzz/cargo-fuzz/Cargo.toml`.

mod decoder;

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
];

#[test]
fn the_decoder_reads_the_same_however_the_bytes_come() {
    let seed = number_from_env("RINGWARD_SEED", u64::from(std::process::id()));
    let steps = number_from_env("RINGWARD_STEPS", 3000);
    println!("RINGWARD_SEED={seed} RINGWARD_STEPS={steps}");
    for stream in SEEDS {
        checked(stream);
    }
    let mut random = Random(seed);
    for _ in 0..steps {
        let mut stream = Vec::new();
        for _ in 0..=random.below(3) {
            stream.extend_from_slice(SEEDS[random.below(SEEDS.len())]);
        }
        for _ in 0..random.below(5) {
            mutate(&mut stream, &mut random);
        }
        checked(&stream);
    }
}

fn checked(stream: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| decoder::check(stream))) {
        println!("stream: {}", stream.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn mutate(stream: &mut Vec<u8>, random: &mut Random) {
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
            let token = TOKENS[random.below(TOKENS.len())];
            stream.splice(at..at, token.iter().copied());
        }
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
