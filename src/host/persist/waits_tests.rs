//! WAIT and WAITAOF: when they are answered, and that what they answered is so after a crash.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::ids::ShardId;
use crate::base::prng::Prng;
use crate::host::harness::{request, ClientNo, Node};
use crate::journal::{Annotation, Item, Reader};
use crate::storage::modeldisk::ModelDisk;
use crate::storage::plan::Folder;
use crate::storage::torn::{limits, PartMark, Scan};

const OFF: &str = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n";
const DONE: &str = "*2\r\n:1\r\n:0\r\n";
const NOT: &str = "*2\r\n:0\r\n:0\r\n";

/// Three shards on two cores, with an append-only file in force.
fn node(seed: u64, settings: &[(&str, &str)]) -> Node {
    let mut node = Node::new(3, 2, seed, &[&[("appendonly", "yes")], settings].concat());
    pass(&mut node);
    node
}

/// A second passes, with everything that is due in it.
fn pass(node: &mut Node) {
    for _ in 0..11 {
        node.advance_us(100_000);
        node.quiesce();
    }
}

/// So long as records gather before they are written, and a little more.
fn moment(node: &mut Node) {
    node.advance_us(20_000);
    node.quiesce();
}

/// Writes on all shards, and waits until the last of them has synced: the next sync of that one is a second away.
fn sync(node: &mut Node, client: ClientNo) {
    assert_eq!(node.run(client, "MSET a 0 b 0 c 0 d 0"), "+OK\r\n");
    let mut reply = node.run(client, "WAITAOF 1 0 0");
    for _ in 0..100 {
        if reply.is_empty() {
            moment(node);
            reply = node.take_text(client);
        }
    }
    assert_eq!(reply, DONE);
}

fn blocked(node: &mut Node, client: ClientNo) -> String {
    node.run(client, "INFO clients")
        .lines()
        .find(|line| line.starts_with("blocked_clients"))
        .unwrap()
        .to_owned()
}

#[test]
fn a_client_waits_for_the_sync_that_comes_and_others_do_not() {
    for core in 0..2 {
        let mut node = node(1, &[]);
        let (client, other) = (node.connect_to(core), node.connect_to(1 - core));
        sync(&mut node, client);
        assert_eq!(node.run(client, "MSET a 1 b 2 c 3 d 4"), "+OK\r\n");
        moment(&mut node);
        assert_eq!(node.run(client, "WAITAOF 1 0 0"), "");
        // What comes behind it waits with it.
        assert_eq!(node.run(client, "PING"), "");
        assert_eq!(node.run(other, "GET a"), "$1\r\n1\r\n");
        assert_eq!(blocked(&mut node, other), "blocked_clients:1");
        pass(&mut node);
        assert_eq!(node.take_text(client), format!("{DONE}+PONG\r\n"));
        assert_eq!(blocked(&mut node, other), "blocked_clients:0");
        // Nothing was written since.
        assert_eq!(node.run(client, "WAITAOF 1 0 0"), DONE);
        assert_eq!(node.leftover().filter(|what| !what.contains("sessions without a client")), None);
    }
}

#[test]
fn under_always_it_is_synced_when_it_is_answered_and_under_no_nobody_knows() {
    let mut always = node(2, &[("appendfsync", "always")]);
    let client = always.connect();
    assert_eq!(always.run(client, "MSET a 1 b 2 c 3 d 4"), "+OK\r\n");
    assert_eq!(always.run(client, "WAITAOF 1 0 0"), DONE);
    let mut never = node(3, &[("appendfsync", "no")]);
    let client = never.connect();
    assert_eq!(never.run(client, "MSET a 1 b 2 c 3 d 4"), "+OK\r\n");
    assert_eq!(never.run(client, "WAITAOF 1 0 2500"), "");
    pass(&mut never);
    pass(&mut never);
    assert_eq!(never.take_text(client), "");
    pass(&mut never);
    assert_eq!(never.take_text(client), NOT);
    // Unless the policy changes.
    assert_eq!(never.run(client, "WAITAOF 1 0 0"), "");
    let other = never.connect();
    never.run(other, "CONFIG SET appendfsync everysec");
    pass(&mut never);
    assert_eq!(never.take_text(client), DONE);
}

#[test]
fn the_wait_ends_in_the_ways_in_which_others_do() {
    let mut node = node(4, &[]);
    node.is_disk_held = true;
    let (client, other) = (node.connect(), node.connect());
    node.run(client, "MSET a 1 b 2 c 3 d 4");
    let id = node.run(client, "CLIENT ID").trim_matches([':', '\r', '\n']).to_owned();
    for (how, expected) in
        [("", NOT), ("TIMEOUT", NOT), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")]
    {
        assert_eq!(node.run(client, "WAITAOF 1 0 0"), "");
        assert_eq!(node.run(other, format!("CLIENT UNBLOCK {id} {how}").trim()), ":1\r\n");
        assert_eq!(node.take_text(client), expected);
    }
    assert_eq!(node.run(client, "WAITAOF 0 1 50"), "");
    assert_eq!(node.run(other, "WAIT 1 50"), "");
    pass(&mut node);
    assert_eq!((node.take_text(client).as_str(), node.take_text(other).as_str()), (NOT, ":0\r\n"));
    // Or with the connection.
    node.send(client, &request(&[b"WAITAOF", b"1", b"0", b"0"]));
    node.quiesce();
    node.disconnect(client);
    node.quiesce();
    assert_eq!(blocked(&mut node, other), "blocked_clients:0");
    node.is_disk_held = false;
    pass(&mut node);
    assert_eq!(node.run(other, "WAITAOF 1 0 0"), DONE);
}

#[test]
fn inside_multi_it_tells_how_things_stand() {
    let mut node = node(5, &[]);
    let client = node.connect();
    sync(&mut node, client);
    for (before, reply) in [("PING", DONE), ("MSET a 5 b 5 c 5 d 5", NOT)] {
        for words in ["MULTI", before, "WAITAOF 1 0 0", "WAIT 1 0", "WAITAOF 1 1 0"] {
            node.run(client, words);
        }
        let replies = node.run(client, "EXEC");
        assert!(replies.ends_with(&format!("{reply}:0\r\n{reply}")), "{replies:?}");
    }
}

#[test]
fn arguments_and_states_are_refused_in_redis_s_words() {
    let mut node = node(6, &[]);
    let client = node.connect();
    for (words, error) in [
        ("WAITAOF x 0 0", "value is not an integer or out of range"),
        ("WAITAOF 2 0 0", "value is out of range, value must between 0 and 1"),
        ("WAITAOF -1 0 0", "value is out of range, value must between 0 and 1"),
        ("WAITAOF 1 -1 0", "value is out of range, must be positive"),
        ("WAITAOF 1 x 0", "value is not an integer or out of range"),
        ("WAITAOF 1 0 -1", "timeout is negative"),
        ("WAITAOF 1 0 1.5", "timeout is not an integer or out of range"),
        ("WAITAOF 1 0 9223372036854775807", "timeout is out of range"),
        ("WAIT x 0", "value is not an integer or out of range"),
        ("WAIT 1 -1", "timeout is negative"),
        ("WAIT 1 0 0", "wrong number of arguments for 'wait' command"),
    ] {
        assert_eq!(node.run(client, words), format!("-ERR {error}\r\n"), "{words}");
    }
    assert_eq!(node.run(client, "WAIT 0 0"), ":0\r\n");
    assert_eq!(node.run(client, "WAIT -1 0"), ":0\r\n");
    let other = node.connect();
    node.is_disk_held = true;
    node.run(client, "MSET a 1 b 2 c 3 d 4");
    assert_eq!(node.run(client, "WAITAOF 1 0 0"), "");
    assert_eq!(node.run(other, "CONFIG SET appendonly no"), "+OK\r\n");
    assert_eq!(node.take_text(client), OFF);
    assert_eq!(node.run(client, "WAITAOF 1 0 0"), OFF);
    assert_eq!(node.run(client, "WAITAOF 0 0 0"), NOT);
    // It is there once the first base is.
    assert_eq!(node.run(other, "CONFIG SET appendonly yes"), "+OK\r\n");
    node.run(client, "SET a 2");
    assert_eq!(node.run(client, "WAITAOF 1 0 0"), "");
    node.is_disk_held = false;
    pass(&mut node);
    assert_eq!(node.take_text(client), DONE);
}

#[test]
fn a_token_is_taken_and_is_here_where_it_was_taken() {
    let mut node = Node::new(3, 2, 7, &[]);
    node.quiesce();
    let client = node.connect();
    let token = |reply: &str| {
        let text = reply.lines().nth(1).unwrap_or_default().to_owned();
        assert_eq!(reply, format!("${}\r\n{text}\r\n", text.len()), "{reply:?}");
        text
    };
    for words in ["PING", "SET a 1", "MSET a 1 b 2 c 3"] {
        node.run(client, words);
        let taken = token(&node.run(client, "WAITTOKEN"));
        for timeout in ["0", "1"] {
            assert_eq!(node.run(client, &format!("WAITFOR {taken} {timeout}")), ":1\r\n");
        }
        // In the order of a pipeline, and inside MULTI.
        node.send(client, &request(&[b"WAITTOKEN"]));
        node.send(client, &request(&[b"PING"]));
        node.quiesce();
        assert!(node.take_text(client).ends_with("\r\n+PONG\r\n"));
        for words in ["MULTI", "SET b 5", "WAITTOKEN", &format!("WAITFOR {taken} 0")] {
            node.run(client, words);
        }
        let replies = node.run(client, "EXEC");
        assert!(replies.starts_with("*3\r\n+OK\r\n$") && replies.ends_with("\r\n:1\r\n"), "{replies:?}");
    }
    // A token does not tell less than one that was taken before.
    let taken = token(&node.run(client, "WAITTOKEN"));
    let (id, _) = taken.split_once(':').unwrap();
    let other = "x".repeat(40);
    for (words, error) in [
        (format!("WAITFOR {id} 0"), "-ERR Invalid token"),
        (format!("WAITFOR {id}:1,x,2 0"), "-ERR Invalid token"),
        ("WAITFOR x 0".to_owned(), "-ERR Invalid token"),
        (format!("WAITFOR {other}:1,2,3 0"), "-NOHISTORY "),
        (format!("WAITFOR {id}:1,2 0"), "-NOHISTORY "),
        (format!("WAITFOR {taken} -1"), "-ERR timeout is negative"),
        (format!("WAITFOR {taken} x"), "-ERR timeout is not an integer"),
        (format!("WAITFOR {taken}"), "-ERR wrong number of arguments"),
        ("WAITTOKEN now".to_owned(), "-ERR wrong number of arguments"),
    ] {
        let reply = node.run(client, &words);
        assert!(reply.starts_with(error), "{words}: {reply}");
    }
    node.send(client, &request(&[b"WAITTOKEN"]));
    node.disconnect(client);
    node.quiesce();
    assert_eq!(node.leftover().filter(|what| !what.contains("sessions without a client")), None);
}

/// What is recovered of the files that a crash has left: by key, the value that was set last.
fn recovered(disk: &ModelDisk) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut scans = Vec::new();
    let files: Vec<Vec<u8>> = (0..3)
        .map(|shard| {
            let folder = format!("g1-{shard}of3");
            let names = disk.list(Path::new(&folder));
            let name = names.iter().find(|name| name.ends_with(".incr.aof")).unwrap();
            disk.file(&Path::new(&folder).join(name)).unwrap().to_vec()
        })
        .collect();
    for file in &files {
        let (mut reader, mut scan) = (Reader::new(0), Scan { base: 1, ..Scan::default() });
        reader.feed(file);
        // What a torn write has left of the middle is no concern of this test.
        while let Ok(Some(item)) = reader.next() {
            if let Item::Annotation { line, offset } = item {
                if let Some(Annotation::Txn(txn)) = Annotation::parse(line) {
                    let shards = txn.shards.iter().copied().collect();
                    scan.parts.push(PartMark { txn: (txn.core.0, txn.number), at: (1, offset), shards });
                }
            }
        }
        scan.end = (1, reader.tail().records);
        scans.push(scan);
    }
    let mut values = BTreeMap::new();
    for (file, (_, end)) in files.iter().zip(limits(&scans)) {
        let mut reader = Reader::new(0);
        reader.feed(&file[..end as usize]);
        while let Ok(Some(item)) = reader.next() {
            if let Item::Command { args, .. } = item {
                if args.is(0, "set") || args.is(0, "mset") {
                    let words: Vec<&[u8]> = args.iter_from(1).collect();
                    values.extend(words.chunks_exact(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())));
                }
            }
        }
    }
    values
}

#[test]
fn what_a_client_was_told_of_is_there_after_a_crash() {
    let mut answered = 0;
    for seed in 0..60 {
        let mut node = node(seed, &[]);
        assert_eq!(node.hosts[0].shards[0].id(), ShardId(0));
        let mut rng = Prng::new(seed);
        let clients: Vec<ClientNo> = (0..4).map(|_| node.connect()).collect();
        // Of each client: what it has written since it was told of something, and what it was told of.
        let mut written = vec![BTreeMap::new(); clients.len()];
        let mut told = vec![BTreeMap::<Vec<u8>, u64>::new(); clients.len()];
        let mut waits = vec![false; clients.len()];
        for round in 0..120u64 {
            let at = rng.below(clients.len() as u64) as usize;
            if !waits[at] {
                if rng.below(4) == 0 {
                    node.send(clients[at], &request(&[b"WAITAOF", b"1", b"0", b"0"]));
                    waits[at] = true;
                } else {
                    let value = round.to_string().into_bytes();
                    let keys: Vec<Vec<u8>> = (0..1 + rng.below(4))
                        .map(|_| format!("{at}:{}", rng.below(9)).into_bytes())
                        .collect();
                    let words = keys.iter().flat_map(|key| [key.as_slice(), &value]);
                    let words: Vec<&[u8]> = std::iter::once(&b"MSET"[..]).chain(words).collect();
                    node.send(clients[at], &request(&words));
                    written[at].extend(keys.into_iter().map(|key| (key, round)));
                }
            }
            for _ in 0..rng.below(30) {
                node.step();
            }
            match rng.below(12) {
                0 => node.is_disk_held = !node.is_disk_held,
                1..4 => node.advance_us(200_000),
                _ => {}
            }
            for at in 0..clients.len() {
                if waits[at] && node.take_text(clients[at]).ends_with(DONE) {
                    waits[at] = false;
                    answered += 1;
                    let news = std::mem::take(&mut written[at]);
                    told[at].extend(news);
                    let mut disk = node.disk.clone();
                    disk.crash(&mut rng);
                    let values = recovered(&disk);
                    for (key, round) in told.iter().flatten() {
                        let found =
                            values.get(key).map(|value| String::from_utf8_lossy(value).parse::<u64>());
                        let found = found.and_then(Result::ok);
                        assert!(found >= Some(*round), "seed {seed}: {} is {found:?}", key.escape_ascii());
                    }
                }
            }
        }
    }
    assert!(answered > 100, "{answered}");
}
