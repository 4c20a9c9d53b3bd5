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
