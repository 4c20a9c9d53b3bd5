//! What a stock redis-server writes in its formats, read by Ringward; and what Ringward itself has written.
//!
//! See `rdb` for how the two are given the same data.

use ringward::base::crc64::{crc64, EMPTY};
use ringward::base::ids::DbIndex;
use ringward::command::debug::DatasetDigest;
use ringward::keyspace::{AccessPolicy, KeyspaceOptions};
use ringward::rdb::{LoadError, Reader, Step};

use super::harness::Random;
use super::rdb::{seed, Local, Pair};

/// Loads a file, piece by piece; how many keys it has.
fn load(local: &mut Local, file: &[u8], piece: usize) -> Result<usize, LoadError> {
    let now = local.now.unix_ms();
    let (mut reader, mut pieces, mut keys) = (Reader::default(), file.chunks(piece), 0);
    loop {
        match reader.next()? {
            Step::More => reader.feed(pieces.next().ok_or_else(|| reader.ends_too_early())?),
            Step::Aux(..) => {}
            Step::Key(item) => {
                keys += 1;
                assert!(item.load(&mut local.shard.keyspace, now)?, "a key was dropped");
            }
            Step::End(end) => {
                assert_eq!(end, file.len() as u64);
                return Ok(keys);
            }
        }
    }
}

fn loaded(options: KeyspaceOptions, file: &[u8], piece: usize) -> Local {
    let mut local = Local::new(options);
    load(&mut local, file, piece).unwrap_or_else(|error| panic!("{error}, in pieces of {piece}"));
    local
}

fn digest(local: &mut Local) -> String {
    let mut digest = DatasetDigest::default();
    digest.add(&local.run(&["_digest"])).expect("an answer of its own");
    digest.to_string()
}

/// Database, name, encoding and expiry.
type KeyFacts = (u16, Vec<u8>, Vec<u8>, Vec<u8>);

/// What is known of each key.
fn keys_of(local: &mut Local, pair: &Pair) -> Vec<KeyFacts> {
    let mut keys = Vec::new();
    for (db, key) in &pair.keys {
        local.db = DbIndex(*db);
        let encoding = local.run(&[&b"OBJECT"[..], b"ENCODING", key]);
        keys.push((*db, key.clone(), encoding, local.run(&[&b"PEXPIRETIME"[..], key])));
    }
    keys
}

/// Puts a payload under a key with the expiry that PEXPIRETIME replied with.
fn restore(local: &mut Local, key: &[u8], expiry: &[u8], payload: &[u8]) {
    let at = String::from_utf8_lossy(expiry).trim_matches([':', '\r', '\n']).replace("-1", "0");
    let reply = local.run(&[&b"RESTORE"[..], key, at.as_bytes(), payload, b"REPLACE", b"ABSTTL"]);
    assert_eq!(reply, b"+OK\r\n", "{}", key.escape_ascii());
}

/// The file that the redis-server saves.
fn save(pair: &mut Pair) -> Vec<u8> {
    pair.redis.ok("SAVE");
    let folder = pair.redis.run("CONFIG GET dir").items()[1].text();
    std::fs::read(format!("{folder}/dump.rdb")).unwrap()
}

#[test]
fn files_of_redis_are_loaded() {
    let mut random = Random::new(seed() + 10);
    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    for db in [0, 3, 15] {
        pair.select(db);
        pair.fill(&mut random);
    }
    let expected = pair.redis.run("DEBUG DIGEST").text();
    for compression in ["no", "yes"] {
        pair.redis.ok(&format!("CONFIG SET rdbcompression {compression}"));
        let file = save(&mut pair);
        for piece in [7, 4096, 1 << 20] {
            let mut local = loaded(KeyspaceOptions::default(), &file, piece);
            assert_eq!(digest(&mut local), expected, "in pieces of {piece}");
            let keys = keys_of(&mut local, &pair);
            pair.local.db = DbIndex(0);
            let mut other = std::mem::replace(&mut pair.local, Local::new(KeyspaceOptions::default()));
            for (loaded, made) in keys.iter().zip(keys_of(&mut other, &pair)) {
                assert_eq!(loaded, &made, "{}", loaded.1.escape_ascii());
            }
            pair.local = other;
        }
    }
}

#[test]
fn a_file_is_loaded_byte_by_byte() {
    let mut random = Random::new(seed() + 11);
    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    pair.fill(&mut random);
    let file = save(&mut pair);
    let mut local = loaded(KeyspaceOptions::default(), &file, 1);
    assert_eq!(digest(&mut local), pair.redis.run("DEBUG DIGEST").text());
}

#[test]
fn files_of_redis_with_other_encodings_are_loaded() {
    // What Redis has in tables and in long lists becomes compact here, and the other way round.
    let tables = [
        ["--hash-max-listpack-entries", "0"],
        ["--zset-max-listpack-entries", "0"],
        ["--set-max-intset-entries", "0"],
        ["--list-max-listpack-size", "3"],
        ["--list-compress-depth", "1"],
    ];
    let mut random = Random::new(seed() + 12);
    let mut pair = Pair::new(KeyspaceOptions::default(), &tables.concat());
    pair.fill(&mut random);
    let expected = pair.redis.run("DEBUG DIGEST").text();
    let file = save(&mut pair);
    assert_eq!(digest(&mut loaded(KeyspaceOptions::default(), &file, 4096)), expected);

    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    pair.fill(&mut random);
    let expected = pair.redis.run("DEBUG DIGEST").text();
    let file = save(&mut pair);
    let mut options = KeyspaceOptions::default();
    options.encodings.hash.entries = 3;
    options.encodings.zset.entries = 3;
    options.encodings.set.entries = 3;
    options.encodings.set_intset_entries = 3;
    options.encodings.list_node = 3;
    options.encodings.list_compress_depth = 1;
    let mut local = loaded(options, &file, 4096);
    assert_eq!(digest(&mut local), expected);
    for (key, encoding) in [
        ("hash few", "hashtable"),
        ("zset few", "skiplist"),
        ("strings few", "hashtable"),
        ("intset 16", "hashtable"),
        ("list few", "quicklist"),
    ] {
        let reply = local.run(&["OBJECT", "ENCODING", key]);
        assert!(String::from_utf8(reply).unwrap().contains(encoding), "{key}");
    }
}

#[test]
fn payloads_of_redis_are_restored() {
    let mut random = Random::new(seed() + 13);
    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    pair.fill(&mut random);
    for (_, key) in &pair.keys.clone() {
        let name = key.escape_ascii().to_string();
        let payloads = [pair.redis.call(&[&b"DUMP"[..], key]).bytes().to_vec(), pair.local.dump(key)];
        let encoding = pair.local.run(&[&b"OBJECT"[..], b"ENCODING", key]);
        let expected = pair.redis.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key]).items()[0].text();
        for payload in payloads {
            let expiry = pair.local.run(&[&b"PEXPIRETIME"[..], key]);
            restore(&mut pair.local, b"restored", &expiry, &payload);
            assert_eq!(pair.local.run(&["OBJECT", "ENCODING", "restored"]), encoding, "{name}");
            let digest = pair.local.run(&["_digest_value", "restored"]);
            assert_eq!(String::from_utf8(digest).unwrap(), format!("*1\r\n+{expected}\r\n"), "{name}");
        }
    }
}

#[test]
fn redis_tells_how_keys_were_used() {
    let mut pair = Pair::new(KeyspaceOptions::default(), &["--maxmemory-policy", "allkeys-lfu"]);
    pair.redis.ok("SET hot 1");
    for _ in 0..2000 {
        pair.redis.run("GET hot");
    }
    let frequency = pair.redis.run("OBJECT FREQ hot").int();
    let file = save(&mut pair);
    let options = KeyspaceOptions { access: AccessPolicy::Lfu, ..KeyspaceOptions::default() };
    let mut local = loaded(options, &file, 100);
    local.shard.options.lfu = true;
    assert_eq!(local.run(&["OBJECT", "FREQ", "hot"]), format!(":{frequency}\r\n").into_bytes());
    assert!(frequency > 5);
}

#[test]
fn what_was_written_here_comes_back() {
    let mut random = Random::new(seed() + 14);
    let mut pair = Pair::new(KeyspaceOptions::default(), &[]);
    for db in [0, 2] {
        pair.select(db);
        pair.fill(&mut random);
    }
    pair.local.db = DbIndex(0);
    for key in ["hash few", "hash some", "hash long", "hash many"] {
        let names = pair.local.run(&["HKEYS", key]);
        let names: Vec<&[u8]> = names.split(|&byte| byte == b'\n').skip(2).step_by(2).collect();
        for name in names.iter().step_by(3) {
            let name = name.strip_suffix(b"\r").unwrap_or(name);
            pair.local.run(&[b"HEXPIRE", key.as_bytes(), b"5000", b"FIELDS", b"1", name]);
        }
    }
    let expected = digest(&mut pair.local);
    let options = pair.local.options();
    let file = pair.local.file(options, 10_000, |_| ());
    for piece in [11, 1 << 20] {
        let mut local = loaded(KeyspaceOptions::default(), &file, piece);
        assert_eq!(digest(&mut local), expected);
        let keys = keys_of(&mut local, &pair);
        let mut made = std::mem::replace(&mut pair.local, Local::new(KeyspaceOptions::default()));
        assert_eq!(keys, keys_of(&mut made, &pair));
        for key in ["hash few", "hash many"] {
            made.db = DbIndex(0);
            local.db = DbIndex(0);
            let expiry = made.run(&["PEXPIRETIME", key]);
            restore(&mut local, key.as_bytes(), &expiry, &made.dump(key.as_bytes()));
        }
        assert_eq!(digest(&mut local), expected);
        pair.local = made;
    }
}

/// A payload with some byte of its value changed, and the checksum made right again.
fn spoilt(payload: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    let value = bytes.len() - 10;
    for _ in 0..=random.below(3) {
        let at = 1 + random.below(value - 1);
        bytes[at] = match random.below(4) {
            0 => 0,
            1 => 0xFF,
            _ => bytes[at] ^ 1 << random.below(8),
        };
    }
    let content = bytes.len() - 8;
    let checksum = crc64(EMPTY, &bytes[..content]);
    bytes[content..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// `sanitize-dump-payload yes`: every value is looked through before it is taken over. Here that is always so.
#[test]
fn what_a_redis_refuses_that_looks_deeply_is_refused() {
    let mut random = Random::new(seed() + 15);
    let mut pair = Pair::new(KeyspaceOptions::default(), &["--sanitize-dump-payload", "yes"]);
    pair.fill(&mut random);
    let few = |key: &&Vec<u8>| !key.ends_with(b"many") && !key.ends_with(b"long");
    let keys: Vec<Vec<u8>> = pair.keys.iter().map(|(_, key)| key.clone()).collect();
    let payloads: Vec<Vec<u8>> = keys.iter().filter(few).map(|key| pair.local.dump(key)).collect();
    let (mut refused, mut taken) = (0, 0);
    for round in 0..3000 {
        let payload = spoilt(&payloads[random.below(payloads.len())], &mut random);
        let words = [&b"RESTORE"[..], b"spoilt", b"0", &payload, b"REPLACE"];
        let (redis, local) = (pair.redis.call(&words), pair.local.try_run(&words));
        let is_taken = local == b"+OK\r\n";
        assert!(is_taken || local == b"-ERR Bad data format\r\n", "{}", local.escape_ascii());
        if redis.is_error() {
            assert!(!is_taken, "round {round}: {}", payload.escape_ascii());
            refused += 1;
        } else if is_taken {
            taken += 1;
            let expected = pair.redis.run("DEBUG DIGEST-VALUE spoilt").items()[0].text();
            let digest = pair.local.run(&["_digest_value", "spoilt"]);
            assert_eq!(String::from_utf8(digest).unwrap(), format!("*1\r\n+{expected}\r\n"), "round {round}");
        }
    }
    assert!(refused > 300 && taken > 300, "{refused} refused, {taken} taken");
}
