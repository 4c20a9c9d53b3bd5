//! Clients that wait for keys where messages, ends of connections and other commands cross each other.

use super::harness::{request, ClientNo, Node};
use crate::base::ids::ShardId;
use crate::base::key::shard_of_key;

/// Shards and cores.
const SHAPES: [(u16, u16); 5] = [(1, 1), (5, 1), (2, 2), (5, 2), (7, 3)];

#[test]
fn a_client_that_has_sent_its_last_byte_does_not_begin_to_wait() {
    for (shards, cores) in SHAPES {
        for pipeline in [
            vec!["BLPOP a b c 0"],
            vec!["SET x 1", "SET y 1", "SET z 1", "BLPOP a 0"],
            vec!["MSET x 1 y 1 z 1", "BLMOVE a b LEFT LEFT 0"],
        ] {
            let mut node = Node::new(shards, cores, 1, &[]);
            let client = node.connect();
            let bytes: Vec<u8> = pipeline
                .iter()
                .flat_map(|words| request(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>()))
                .collect();
            node.send(client, &bytes);
            node.end_of_input(client);
            node.quiesce();
            assert!(!node.is_open(client), "{pipeline:?}, {shards} shards on {cores} cores");
            assert_eq!(node.leftover(), None);
        }
    }
}

/// Clients wait for random keys, others push, take, and change types; some give up and some go. When all is quiet
/// nobody waits for a key that has something for it.
#[test]
fn nobody_waits_for_what_is_there() {
    for (shards, cores) in SHAPES {
        for seed in 0..200 {
            let mut node = Node::new(shards, cores, seed, &[]);
            let mut waiters: Vec<(ClientNo, Option<Vec<String>>)> =
                (0..4).map(|_| (node.connect(), None)).collect();
            let movers: Vec<ClientNo> = (0..3).map(|_| node.connect()).collect();
            for round in 0..60 {
                let key = |node: &mut Node| format!("k{}", node.rng.below(4));
                match node.rng.below(12) {
                    0..=4 => {
                        let at = node.rng.below(waiters.len() as u64) as usize;
                        if waiters[at].1.is_none() {
                            let keys: Vec<String> =
                                (0..1 + node.rng.below(3)).map(|_| key(&mut node)).collect();
                            let words = format!("BLPOP {} 0", keys.join(" "));
                            send(&mut node, waiters[at].0, &words);
                            waiters[at].1 = Some(keys);
                        }
                    }
                    5 => {
                        let at = node.rng.below(waiters.len() as u64) as usize;
                        node.disconnect(waiters[at].0);
                        waiters[at] = (node.connect(), None);
                    }
                    _ => {
                        let mover = movers[node.rng.below(3) as usize];
                        let words = match node.rng.below(6) {
                            0 | 1 => format!("RPUSH {} {round}", key(&mut node)),
                            2 => format!("LMPOP 2 {} {} LEFT", key(&mut node), key(&mut node)),
                            3 => format!("DEL {} {}", key(&mut node), key(&mut node)),
                            4 => format!("LMOVE {} {} LEFT RIGHT", key(&mut node), key(&mut node)),
                            _ => format!("MSET x 1 {} 2", key(&mut node).replace('k', "x")),
                        };
                        send(&mut node, mover, &words);
                    }
                }
                for _ in 0..node.rng.below(8) {
                    node.step();
                }
                for (client, keys) in &mut waiters {
                    if !node.take(*client).is_empty() {
                        *keys = None;
                    }
                }
            }
            node.quiesce();
            for (client, keys) in &mut waiters {
                if node.take(*client).is_empty() {
                    if let Some(keys) = keys {
                        let words = format!("EXISTS {}", keys.join(" "));
                        assert_eq!(
                            node.run(movers[0], &words).lines().last(),
                            Some(":0"),
                            "{keys:?}, seed {seed}, {shards} shards on {cores} cores"
                        );
                    }
                }
                node.disconnect(*client);
            }
            node.quiesce();
            assert_eq!(node.leftover(), None);
        }
    }
}

fn send(node: &mut Node, client: ClientNo, words: &str) {
    node.send(client, &request(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
}

#[test]
fn a_key_of_another_type_is_met_as_in_redis() {
    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    for (shards, cores) in SHAPES {
        let mut node = Node::new(shards, cores, 3, &[]);
        let (one, two) = (node.connect(), node.connect());
        // What is no list does not wake.
        assert_eq!(node.run(one, "BLPOP a b c 0"), "");
        node.run(two, "SET a x");
        node.run(two, "ZADD b 1 x");
        assert_eq!(node.take_text(one), "");
        // A list does, and then the keys are looked at in their order.
        node.run(two, "RPUSH c 1");
        assert_eq!(node.take_text(one), WRONG_TYPE, "{shards} {cores}");
        assert_eq!(node.run(two, "LLEN c"), ":1\r\n");
        node.run(two, "DEL a b c");
        // The target of a move.
        for words in ["BLMOVE a b LEFT LEFT 0", "BRPOPLPUSH a b 0", "BLMOVE a a LEFT LEFT 0"] {
            node.run(two, "SET b x");
            assert_eq!(node.run(one, words), "");
            node.run(two, "RPUSH a 1");
            let expected = if words.contains("a a") { "$1\r\n1\r\n" } else { WRONG_TYPE };
            assert_eq!(node.take_text(one), expected, "{words}");
            assert_eq!(node.run(two, "LLEN a"), ":1\r\n");
            node.run(two, "DEL a b");
        }
        // Each waits for its own type.
        let third = node.connect();
        assert_eq!(node.run(one, "BZPOPMIN a 0"), "");
        assert_eq!(node.run(third, "BLPOP a 0"), "");
        node.run(two, "RPUSH a 1");
        assert_eq!(node.take_text(third), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
        assert_eq!(node.take_text(one), "");
        node.run(two, "ZADD a 1 m");
        assert_eq!(node.take_text(one), "*3\r\n$1\r\na\r\n$1\r\nm\r\n$1\r\n1\r\n");
        assert_eq!(node.leftover(), None);
    }
}

/// A client goes whose turn waits for a transaction, and another one gets its number.
#[test]
fn a_turn_of_a_client_that_is_gone_is_nobody_elses() {
    let cores = 3;
    let mut node = Node::new(cores, cores, 1, &[]);
    let keys_of = |core: u16| {
        (0..)
            .map(|number| format!("k{number}"))
            .filter(move |key| shard_of_key(key.as_bytes(), 3) == ShardId(core))
    };
    let (near, far): (Vec<String>, Vec<String>) =
        (keys_of(0).take(3).collect(), keys_of(1).take(3).collect());
    // It makes a transaction one of two steps.
    let copy = format!("COPY {} {}", near[2], far[2]);
    let gone = node.connect_to(0);
    assert_eq!(node.run(gone, &format!("BLPOP {} 0", near[0])), "");
    // A transaction that has pushed and not ended.
    let one = node.connect_to(1);
    let hold_in_the_middle = |node: &mut Node, core: usize, jobs: usize| {
        while node.hosts[0].shards[0].jobs() < jobs {
            node.step();
        }
        node.hold(core, 0);
        node.quiesce();
    };
    for words in
        ["MULTI".to_owned(), format!("RPUSH {} 1", near[0]), format!("RPUSH {} 1", far[0]), copy.clone()]
    {
        node.run(one, &words);
    }
    send(&mut node, one, "EXEC");
    hold_in_the_middle(&mut node, 1, 2);
    node.disconnect(gone);
    node.quiesce();
    let other = node.connect_to(0);
    assert_eq!(node.run(other, &format!("BLPOP {} 0", near[1])), "");
    // Another one that has pushed and goes on to look.
    let two = node.connect_to(2);
    for words in [
        "MULTI".to_owned(),
        format!("RPUSH {} 1", near[1]),
        format!("EXISTS {} {}", near[1], far[1]),
        copy,
        format!("LLEN {}", near[1]),
    ] {
        node.run(two, &words);
    }
    send(&mut node, two, "EXEC");
    hold_in_the_middle(&mut node, 2, 4);
    node.release(1, 0);
    node.quiesce();
    node.release(2, 0);
    node.quiesce();
    assert_eq!(node.take_text(two), "*4\r\n:1\r\n:1\r\n:0\r\n:1\r\n");
    assert!(node.take_text(other).ends_with("$1\r\n1\r\n"));
}

#[test]
fn a_client_that_is_ended_while_it_waits_is_told_nothing() {
    for (shards, cores) in SHAPES {
        for words in ["BLPOP a 0", "BLPOP a b c 0", "BLMOVE a b LEFT LEFT 0", "BZMPOP 0 2 a b MIN"] {
            let mut node = Node::new(shards, cores, 1, &[]);
            let (waits, other) = (node.connect(), node.connect());
            let id = node.run(waits, "CLIENT ID");
            assert_eq!(node.run(waits, words), "");
            let kill = format!("CLIENT KILL ID {}", id.trim_matches([':', '\r', '\n']));
            assert_eq!(node.run(other, &kill), ":1\r\n");
            assert_eq!(node.take_text(waits), "", "{words} on {shards} shards and {cores} cores");
            assert!(!node.is_open(waits));
            assert_eq!(node.leftover(), None);
        }
    }
}

/// A client whose command has not been tried yet, since a transaction has the key, takes nothing when it is gone.
#[test]
fn a_client_that_is_gone_before_it_is_tried_takes_nothing() {
    let mut node = Node::new(2, 2, 1, &[]);
    let key_of = |shard: u16| {
        (0..)
            .map(|number| format!("k{number}"))
            .find(|key| shard_of_key(key.as_bytes(), 2) == ShardId(shard))
            .unwrap()
    };
    let (near, far) = (key_of(0), key_of(1));
    let (gone, mover) = (node.connect_to(0), node.connect_to(1));
    // It makes the transaction one of two steps.
    let copy = format!("COPY {{{near}}}x {{{far}}}x");
    for words in ["MULTI", &format!("RPUSH {near} 1"), &format!("RPUSH {far} 1"), &copy] {
        node.run(mover, words);
    }
    send(&mut node, mover, "EXEC");
    while node.hosts[0].shards[0].jobs() < 1 {
        node.step();
    }
    node.hold(1, 0);
    send(&mut node, gone, &format!("BLPOP {near} 0"));
    node.quiesce();
    assert_eq!(node.hosts[0].shards[0].jobs(), 2, "it waits for the transaction");
    node.disconnect(gone);
    node.release(1, 0);
    node.quiesce();
    assert_eq!(node.take_text(mover), "*3\r\n:1\r\n:1\r\n:0\r\n");
    assert_eq!(node.run(mover, &format!("LLEN {near}")), ":1\r\n");
    assert_eq!(node.leftover(), None);
}

#[test]
fn a_command_that_need_not_wait_is_not_kept() {
    let mut node = Node::new(5, 2, 1, &[]);
    let client = node.connect();
    node.run(client, "RPUSH c 1");
    assert_eq!(node.run(client, "BLPOP a b c 0"), "*2\r\n$1\r\nc\r\n$1\r\n1\r\n");
    let sessions = node.hosts.iter().flat_map(|host| host.sessions.iter().flatten());
    assert!(sessions.into_iter().all(|session| session.blocking.is_none()));
}

/// Clients that watch, block, run transactions and end in every way at any moment.
#[test]
fn clients_that_block_and_go_leave_nothing_behind() {
    for (shards, cores) in SHAPES {
        for seed in 0..60 {
            let mut node = Node::new(shards, cores, seed, &[]);
            let mut clients: Vec<ClientNo> = (0..6).map(|_| node.connect()).collect();
            for _ in 0..80 {
                let at = node.rng.below(clients.len() as u64) as usize;
                let words = random_words(&mut node);
                if node.is_open(clients[at]) {
                    send(&mut node, clients[at], &words);
                }
                match node.rng.below(12) {
                    0 => node.disconnect(clients[at]),
                    1 => node.end_of_input(clients[at]),
                    2 => send(&mut node, clients[at], "CLIENT KILL TYPE normal SKIPME yes"),
                    3 => node.advance_us(30_000),
                    _ => {}
                }
                for _ in 0..node.rng.below(10) {
                    node.step();
                }
                for client in &mut clients {
                    if !node.is_open(*client) {
                        *client = node.connect();
                    }
                }
            }
            clients.iter().for_each(|client| node.disconnect(*client));
            node.quiesce();
            let shape = format!("seed {seed}, {shards} shards on {cores} cores");
            assert_eq!(node.leftover(), None, "{shape}");
            for host in &mut node.hosts {
                assert_eq!(host.stats.blocked_clients, 0, "{shape}");
                for shard in &mut host.shards {
                    assert!(shard.keyspace.observers().is_empty(), "{shape}");
                    let scratch = shard.keyspace.scratch();
                    assert!(shard.keyspace.is_empty(scratch), "{shape}");
                }
            }
        }
    }
}

fn random_words(node: &mut Node) -> String {
    let key = |node: &mut Node| format!("k{}", node.rng.below(5));
    let (a, b, c) = (key(node), key(node), key(node));
    match node.rng.below(22) {
        0 | 1 => format!("BLPOP {a} {b} 0"),
        2 => format!("BLPOP {a} {b} {c} 0.05"),
        3 => format!("BLMOVE {a} {b} LEFT RIGHT 0"),
        4 => format!("BZPOPMIN {a} {b} 0"),
        5 => format!("BLMPOP 0.02 2 {a} {b} LEFT COUNT 2"),
        6..=8 => format!("RPUSH {a} 1 2"),
        9 => format!("ZADD {a} 1 m"),
        10 => format!("DEL {a} {b}"),
        11 => format!("RENAME {a} {b}"),
        12 | 13 => format!("WATCH {a} {b}"),
        14 | 15 => "MULTI".to_owned(),
        16 | 17 => "EXEC".to_owned(),
        18 => format!("SUNIONSTORE {a} {b} {c}"),
        19 => "CLIENT LIST".to_owned(),
        20 => ["QUIT", "RESET", "UNWATCH", "DISCARD"][node.rng.below(4) as usize].to_owned(),
        _ => format!("CLIENT UNBLOCK {}", 1 + node.rng.below(20)),
    }
}
