//! Random HyperLogLog commands, sent to a real Redis and to the harness: replies and the bytes of all values must be
//! equal. Run as `command::differential` is.

use crate::base::prng::Prng;
use crate::command::differential::{number, pick, Pair};

const KEYS: &[&str] = &["a", "b", "c", "d", "e"];

#[test]
#[ignore = "needs a Redis server"]
fn hyperloglog_commands_reply_as_redis_does() {
    let mut pair = Pair::connect();
    pair.run(&["CONFIG", "SET", "hll-sparse-max-bytes", "3000"]);
    let mut prng = Prng::new(number("SEED", 1));
    for _ in 0..number("ROUNDS", 5000) {
        let (args, limit) = (command(&mut prng), pick(&mut prng, &["3000", "3000", "100", "0", "20000"]));
        if prng.below(200) == 0 {
            pair.run(&["CONFIG", "SET", "hll-sparse-max-bytes", limit]);
            let mut options = pair.shard.keyspace.options().clone();
            options.encodings.hll_sparse_bytes = limit.parse().unwrap();
            pair.shard.keyspace.set_options(options);
        }
        let reply = pair.compare(&args);
        // Redis keeps what it had added before it came upon the damage.
        if args[0] == b"PFADD" && reply.starts_with(b"-INVALIDOBJ") {
            pair.compare(&[&b"DEL"[..], &args[1]]);
        }
        for key in KEYS {
            pair.compare(&["GET", key]);
            pair.compare(&["OBJECT", "ENCODING", key]);
        }
    }
}

/// A request: mostly sound, with a damaged value now and then.
pub(in crate::command) fn command(prng: &mut Prng) -> Vec<Vec<u8>> {
    const NAMES: &[&str] = &[
        "PFADD", "PFADD", "PFADD", "PFADD", "PFCOUNT", "PFCOUNT", "PFMERGE", "PFDEBUG", "SET", "DEL",
        "EXPIREAT",
    ];
    let name = pick(prng, NAMES);
    let key = |prng: &mut Prng| pick(prng, KEYS).as_bytes().to_vec();
    let mut args = vec![name.as_bytes().to_vec(), key(prng)];
    match name {
        "PFADD" => {
            let count = [0, 1, 3, 30, 500][prng.below(5) as usize];
            let reach = [10, 1000, 100_000][prng.below(3) as usize];
            args.extend((0..count).map(|_| element(prng, reach)));
        }
        "PFCOUNT" => args.extend((0..[0, 0, 1, 3][prng.below(4) as usize]).map(|_| key(prng))),
        "PFMERGE" => args.extend((0..prng.below(4)).map(|_| key(prng))),
        "PFDEBUG" => {
            let what = pick(prng, &["GETREG", "decode", "Encoding", "DECODE", "todense", "foo"]);
            args.insert(1, what.as_bytes().to_vec());
        }
        "SET" => args.push(value(prng)),
        "EXPIREAT" => args.push(b"5000000000".to_vec()),
        _ => {}
    }
    args
}

fn element(prng: &mut Prng, reach: u64) -> Vec<u8> {
    match prng.below(10) {
        0 => (0..prng.below(30)).map(|_| prng.next_u64() as u8).collect(),
        _ => prng.below(reach).to_string().into_bytes(),
    }
}

/// What is a HyperLogLog, or nearly.
fn value(prng: &mut Prng) -> Vec<u8> {
    let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
    match prng.below(6) {
        0 => return pick(prng, &["", "12", "text", "HYLL", "HYLL\x01\0\0\0"]).as_bytes().to_vec(),
        // Whole, though in more runs than need be.
        1 => {
            bytes.extend(std::iter::repeat_n(0x3F, 255));
            bytes.extend([0x40, 0x3D, 0x80, 0x80]);
        }
        2 => {
            bytes.extend([0xFF; 60]);
            let rest: u16 = 16384 - 60 * 4 - 1;
            bytes.extend([0x40 | (rest >> 8) as u8, rest as u8]);
        }
        // Damaged: too few registers, or too many.
        3 => bytes.extend([0x7F, 0xFE]),
        4 => bytes.extend([0x7F, 0xFF, 0x80]),
        _ => {
            bytes[4] = prng.below(3) as u8;
            bytes.extend([0x7F, 0xFF]);
        }
    }
    if prng.below(10) == 0 {
        bytes[0] = b'h';
    }
    bytes
}
