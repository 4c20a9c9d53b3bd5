//! MULTI, EXEC and WATCH where things come together that do not in everyday use.

use super::harness::{request, Node};

#[test]
fn exec_draws_a_random_key_from_a_single_shard() {
    let mut node = Node::new(1, 1, 1, &[]);
    let client = node.connect();
    assert_eq!(node.run(client, "SET k v"), "+OK\r\n");
    for watch in [false, true] {
        if watch {
            assert_eq!(node.run(client, "WATCH k"), "+OK\r\n");
        }
        for words in ["MULTI", "RANDOMKEY", "GET k"] {
            node.run(client, words);
        }
        assert_eq!(node.run(client, "EXEC"), "*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
    }
}

#[test]
fn a_refused_exec_ends_the_transaction() {
    let mut node = Node::new(2, 2, 1, &[]);
    let client = node.connect();
    node.run(client, "WATCH k");
    node.run(client, "MULTI");
    let refusal =
        "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n";
    assert_eq!(node.run(client, "EXEC now"), refusal);
    assert_eq!(node.run(client, "EXEC"), "-ERR EXEC without MULTI\r\n");
    assert!(node
        .hosts
        .iter_mut()
        .flat_map(|host| &mut host.shards)
        .all(|s| s.keyspace.observers().is_empty()));
}

#[test]
fn what_is_refused_in_exec_has_its_place_in_the_reply() {
    for (shards, cores) in [(1, 1), (2, 2)] {
        let mut node = Node::new(shards, cores, 1, &[]);
        let client = node.connect();
        // Nothing is left for a shard where the keys are on several.
        for words in ["MULTI", "ECHO a", "BRPOPLPUSH k4 k3 x", "ECHO b"] {
            node.run(client, words);
        }
        let refused = "-ERR timeout is not a float or out of range\r\n";
        assert_eq!(
            node.run(client, "EXEC"),
            format!("*3\r\n$1\r\na\r\n{refused}$1\r\nb\r\n"),
            "{shards} shards"
        );
    }
}

/// What monitors are shown while EXEC waits for other cores comes before EXEC's reply, not within.
#[test]
fn a_monitor_may_run_exec() {
    for seed in 0..20 {
        let mut node = Node::new(2, 2, seed, &[]);
        let (monitor, other) = (node.connect_to(0), node.connect_to(0));
        for words in ["MONITOR", "MULTI", "CONFIG RESETSTAT", "PING"] {
            node.run(monitor, words);
        }
        node.hold(1, 0);
        node.send(monitor, &request(&[b"EXEC"]));
        node.quiesce();
        node.release(1, 0);
        // In the pass in which the answers of the other core come, or in one before it.
        node.send(other, &[request(&[b"GET", b"a"]), request(&[b"GET", b"b"])].concat());
        node.quiesce();
        let shown = node.take_text(monitor);
        let (lines, reply) = shown.split_once("\r\n*").unwrap();
        assert_eq!(reply, "2\r\n+OK\r\n+PONG\r\n", "seed {seed}");
        assert!(lines.contains("\"GET\" \"a\"") && lines.contains("\"GET\" \"b\""), "seed {seed}: {lines}");
    }
}

#[test]
fn a_client_that_ends_itself_in_exec_has_its_reply_first() {
    for (shards, cores) in [(1, 1), (2, 2)] {
        let mut node = Node::new(shards, cores, 1, &[]);
        let client = node.connect();
        let id = node.run(client, "CLIENT ID");
        let kill = format!("CLIENT KILL ID {} SKIPME no", id.trim_matches([':', '\r', '\n']));
        for words in ["MULTI", "SET a 1", &kill, "CONFIG RESETSTAT", "PING"] {
            node.run(client, words);
        }
        node.send(client, &[request(&[b"EXEC"]), request(&[b"SET", b"a", b"2"])].concat());
        node.quiesce();
        assert_eq!(node.take_text(client), "*4\r\n+OK\r\n:1\r\n+OK\r\n+PONG\r\n");
        assert!(!node.is_open(client));
        let other = node.connect();
        assert_eq!(node.run(other, "GET a"), "$1\r\n1\r\n", "nothing is run after it");
        assert_eq!(node.leftover(), None);
    }
}

/// Commands for administrators that concern keys have their turn among those on keys.
#[test]
fn what_looks_at_keys_in_exec_sees_them_as_they_are_then() {
    const NOTHING: &str = "+0000000000000000000000000000000000000000\r\n";
    for (shards, cores) in [(1, 1), (2, 2), (5, 2)] {
        let mut node = Node::new(shards, cores, 1, &[]);
        let client = node.connect();
        node.run(client, "MSET a 1 b 2");
        let digests = node.run(client, "DEBUG DIGEST-VALUE a b");
        assert!(!digests.contains(NOTHING), "{digests}");
        for words in ["MULTI", "MEMORY USAGE a", "DEBUG DIGEST-VALUE a b", "DEBUG OBJECT a", "DEL a b"] {
            node.run(client, words);
        }
        for words in ["MEMORY USAGE a", "DEBUG DIGEST-VALUE a b", "DEBUG OBJECT a", "PING"] {
            node.run(client, words);
        }
        let reply = node.run(client, "EXEC");
        let after = format!(":2\r\n$-1\r\n*2\r\n{NOTHING}{NOTHING}-ERR no such key\r\n+PONG\r\n");
        assert!(reply.starts_with("*8\r\n:") && reply.ends_with(&after), "{reply}");
        assert!(reply.contains(&digests) && reply.contains("+Value at:"), "{reply}");
    }
}

#[test]
fn hello_in_exec_holds_for_what_follows() {
    for (shards, cores) in [(1, 1), (2, 2)] {
        let mut node = Node::new(shards, cores, 1, &[]);
        let client = node.connect();
        // The refused one changes nothing.
        for words in
            ["MULTI", "GET a", "HELLO 3 x", "GET b", "HELLO 3", "GET a", "MGET a b", "HELLO 2", "GET b"]
        {
            node.run(client, words);
        }
        let reply = node.run(client, "EXEC");
        let refused = "*8\r\n$-1\r\n-ERR Syntax error in HELLO option 'x'\r\n$-1\r\n%7\r\n";
        assert!(reply.starts_with(refused), "{reply}");
        let (_, after) = reply.split_once("modules\r\n*0\r\n").unwrap();
        assert!(
            after.starts_with("_\r\n*2\r\n_\r\n_\r\n*14\r\n") && after.ends_with("*0\r\n$-1\r\n"),
            "{reply}"
        );
    }
}

#[test]
fn a_long_exec_takes_no_longer_for_each_command() {
    let mut node = Node::new(1, 1, 1, &[]);
    let client = node.connect();
    let count = 100_000;
    let mut bytes = request(&[b"MULTI"]);
    (0..count).for_each(|_| bytes.extend(b"PING\r\n"));
    bytes.extend(request(&[b"EXEC"]));
    node.send(client, &bytes);
    node.quiesce();
    let reply = node.take_text(client);
    assert!(reply.ends_with("+PONG\r\n+PONG\r\n"));
}

#[test]
fn no_touch_holds_over_several_shards_and_in_exec() {
    for (shards, cores) in [(1, 1), (5, 1), (5, 2)] {
        let mut node = Node::new(shards, cores, 1, &[]);
        let (one, two) = (node.connect(), node.connect());
        node.run(one, "CLIENT NO-TOUCH ON");
        node.run(two, "MSET a 1 b 1 c 1 d 1 e 1 f 1");
        node.advance_us(100_000_000);
        // Whoever ran last on a shard does not matter.
        node.run(two, "MGET c d e f");
        node.run(one, "MGET a b");
        node.run(two, "MGET c d e f");
        for words in ["MULTI", "GET a", "GET b", "EXEC"] {
            node.run(one, words);
        }
        assert_eq!(node.run(one, "OBJECT IDLETIME a"), ":100\r\n", "{shards} shards on {cores} cores");
        assert_eq!(node.run(one, "OBJECT IDLETIME c"), ":0\r\n");
    }
}
