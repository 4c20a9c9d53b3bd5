//! Transactions that are tried directly: refused or not, while clients come and go, and others want all there is.

use super::harness::{request, ClientNo, Node};
use crate::base::ids::ShardId;
use crate::base::key::shard_of_key;

/// Some keys of a shard, of two.
fn keys_of(shard: u16) -> impl Iterator<Item = String> {
    let is_there = move |key: &String| shard_of_key(key.as_bytes(), 2) == ShardId(shard);
    (0..).map(|number| format!("k{number}")).filter(is_there)
}

fn send(node: &mut Node, client: ClientNo, words: &str) {
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    node.send(client, &request(&words));
}

/// How many transactions were tried at another core, and how many of them refused.
fn attempts(node: &Node) -> (u64, u64) {
    let stats = node.hosts.iter().map(|host| &host.stats);
    stats.fold((0, 0), |(all, refused), stats| (all + stats.attempts, refused + stats.attempts_refused))
}

#[test]
fn what_nothing_stands_against_takes_one_round_trip() {
    let mut node = Node::new(2, 2, 1, &[]);
    let (near, far) = (keys_of(0).next().unwrap(), keys_of(1).next().unwrap());
    for (core, tried) in [(0, 1), (1, 5)] {
        let client = node.connect_to(core);
        assert_eq!(node.run(client, &format!("MSET {near} a {far} b")), "+OK\r\n");
        assert_eq!(attempts(&node), (tried, 0));
        assert_eq!(
            node.run(client, &format!("MGET {far} none {near}")),
            "*3\r\n$1\r\nb\r\n$-1\r\n$1\r\na\r\n"
        );
        for words in
            ["MULTI".to_owned(), format!("EXISTS {near} {far}"), format!("DEL {far}"), "PING".to_owned()]
        {
            node.run(client, &words);
        }
        assert_eq!(node.run(client, "EXEC"), "*3\r\n:2\r\n:1\r\n+PONG\r\n");
        assert_eq!(node.run(client, &format!("DEL {near} {far}")), ":1\r\n");
        assert_eq!(attempts(&node), (tried + 3, 0));
    }
    assert_eq!(node.leftover().filter(|what| !what.contains("sessions")), None);
}

#[test]
fn commands_sent_in_one_go_are_tried_together_and_answered_in_order() {
    let (a, b, c) = (keys_of(0).next().unwrap(), keys_of(1).next().unwrap(), keys_of(1).nth(1).unwrap());
    let pipeline = |node: &mut Node, client, commands: &[String]| {
        let requests =
            commands.iter().map(|words| request(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
        let bytes = requests.collect::<Vec<_>>().concat();
        node.send(client, &bytes);
        node.quiesce();
        node.take_text(client)
    };
    for core in [0, 1] {
        let mut node = Node::new(2, 2, 1, &[]);
        let client = node.connect_to(core);
        let commands = [
            format!("MSET {a} 1 {b} 2"),
            format!("MGET {a} {b}"),
            // It lies on one shard, and must not be overtaken by what it stands before.
            format!("DEL {c}"),
            format!("MSET {c} 3 {b} 4"),
            format!("DEL {a} {c}"),
            format!("MGET {a} {b} {c}"),
        ];
        let replies = "+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n:0\r\n+OK\r\n:2\r\n*3\r\n$-1\r\n$1\r\n4\r\n$-1\r\n";
        assert_eq!(pipeline(&mut node, client, &commands), replies);
        assert_eq!(attempts(&node), (1, 0));
        // What is something else, or wrong, comes between.
        let commands = [
            format!("MSET {a} 1 {b} 2"),
            format!("MSET {a} 1 {b}"),
            format!("EXISTS {a} {b}"),
            "EXISTS".to_owned(),
            format!("UNLINK {a} {b}"),
            format!("GET {a}"),
            format!("TOUCH {a} {b}"),
            "CLIENT REPLY SKIP".to_owned(),
            format!("EXISTS {a} {b}"),
            format!("EXISTS {b} {a} {a}"),
        ];
        let arity = |name: &str| format!("-ERR wrong number of arguments for '{name}' command\r\n");
        let replies = format!("+OK\r\n{}:2\r\n{}:2\r\n$-1\r\n:0\r\n:0\r\n", arity("mset"), arity("exists"));
        assert_eq!(pipeline(&mut node, client, &commands), replies);
        // The longest runs are cut.
        let before = attempts(&node).0;
        let commands = vec![format!("EXISTS {a} {b}"); 1000];
        assert_eq!(pipeline(&mut node, client, &commands), ":0\r\n".repeat(1000));
        let tried = attempts(&node).0 - before;
        assert!((16..=24).contains(&tried), "{tried}");
        assert_eq!(node.hosts[core].stats.transactions, 6 + 6 + 1000);
    }
}

#[test]
fn a_transaction_that_is_refused_takes_its_turn() {
    let mut node = Node::new(2, 2, 1, &[]);
    let (near, far) = (keys_of(0).next().unwrap(), keys_of(1).next().unwrap());
    let (one, two) = (node.connect_to(0), node.connect_to(1));
    // Each holds the key that the other one asks for.
    send(&mut node, one, &format!("MSET {near} 1 {far} 1"));
    send(&mut node, two, &format!("MSET {far} 2 {near} 2"));
    // Both wait for the first, and neither sees half of it.
    let (three, four) = (node.connect_to(0), node.connect_to(1));
    send(&mut node, three, &format!("GET {near}"));
    send(&mut node, four, &format!("GET {far}"));
    node.quiesce();
    assert_eq!(attempts(&node), (2, 2));
    assert_eq!((node.take_text(one), node.take_text(two)), ("+OK\r\n".to_owned(), "+OK\r\n".to_owned()));
    let values = node.run(one, &format!("MGET {near} {far}"));
    assert!(
        ["*2\r\n$1\r\n1\r\n$1\r\n1\r\n", "*2\r\n$1\r\n2\r\n$1\r\n2\r\n"].contains(&values.as_str()),
        "{values}"
    );
    for client in [three, four] {
        assert!(["$-1\r\n", "$1\r\n1\r\n", "$1\r\n2\r\n"].contains(&node.take_text(client).as_str()));
    }
}

#[test]
fn watched_keys_are_compared_where_they_are() {
    let (near, far) = (keys_of(0).next().unwrap(), keys_of(1).next().unwrap());
    for changed in [None, Some(&near), Some(&far)] {
        let mut node = Node::new(2, 2, 1, &[]);
        let (client, other) = (node.connect_to(0), node.connect_to(1));
        for words in [
            format!("WATCH {near} {far}"),
            "MULTI".to_owned(),
            format!("SET {near} 1"),
            format!("SET {far} 1"),
        ] {
            node.run(client, &words);
        }
        if let Some(key) = changed {
            node.run(other, &format!("SET {key} 0"));
        }
        let reply = node.run(client, "EXEC");
        assert_eq!(reply, if changed.is_some() { "*-1\r\n" } else { "*2\r\n+OK\r\n+OK\r\n" }, "{changed:?}");
        assert_eq!(attempts(&node).1, 0);
        let written = node.run(other, &format!("MGET {near} {far}")).matches("$1\r\n1\r\n").count();
        assert_eq!(written, if changed.is_some() { 0 } else { 2 });
        let mut shards = node.hosts.iter_mut().flat_map(|host| &mut host.shards);
        assert!(shards.all(|shard| shard.keyspace.observers().is_empty()));
    }
}

#[test]
fn a_client_that_is_gone_meanwhile_leaves_nothing_behind() {
    let (near, far) = (keys_of(0).next().unwrap(), keys_of(1).next().unwrap());
    for is_refused in [false, true] {
        let mut node = Node::new(2, 2, 1, &[]);
        let (gone, other) = (node.connect_to(0), node.connect_to(1));
        node.hold(1, 0);
        if is_refused {
            // It holds the far key until its answer has come.
            send(&mut node, other, &format!("MSET {far} 2 {near} 2"));
        }
        send(&mut node, gone, &format!("MSET {near} 1 {far} 1"));
        node.quiesce();
        node.disconnect(gone);
        node.quiesce();
        node.release(1, 0);
        node.quiesce();
        assert_eq!(attempts(&node), if is_refused { (2, 2) } else { (1, 0) });
        // What it had asked for was done.
        node.take(other);
        let values = node.run(other, &format!("MGET {near} {far}"));
        assert!(["*2\r\n$1\r\n1\r\n$1\r\n1\r\n", "*2\r\n$1\r\n2\r\n$1\r\n2\r\n"].contains(&values.as_str()));
        node.disconnect(other);
        node.quiesce();
        assert_eq!(node.leftover(), None);
    }
}

/// Clients on both cores always have a transaction and more under way, all on the same few keys.
#[test]
fn who_wants_everything_soon_has_it() {
    let (mut all_tried, mut all_refused) = (0, 0);
    for seed in 0..10 {
        let mut node = Node::new(2, 2, seed, &[]);
        let clients: Vec<ClientNo> = (0..8).map(|client| node.connect_to(client % 2)).collect();
        let global = node.connect();
        let ask = |node: &mut Node| {
            for &client in &clients {
                if !node.take(client).is_empty() || node.rng.below(4) == 0 {
                    let (a, b, c) = (node.rng.below(40), node.rng.below(40), node.rng.below(40));
                    send(node, client, &format!("MSET k{a} v k{b} v k{c} v"));
                    send(node, client, &format!("MGET k{a} k{b} k{c}"));
                }
            }
        };
        for words in ["FLUSHALL", "DBSIZE", "FLUSHALL"] {
            (0..20).for_each(|_| ask(&mut node));
            send(&mut node, global, words);
            let mut steps = 0;
            while node.take(global).is_empty() {
                ask(&mut node);
                node.step();
                steps += 1;
                // Some passes and messages: to the sequencer, to the shards, and back.
                assert!(steps < 500, "seed {seed}: {words} does not begin");
            }
        }
        node.quiesce();
        let (tried, refused) = attempts(&node);
        (all_tried, all_refused) = (all_tried + tried, all_refused + refused);
    }
    assert!(0 < all_refused && all_refused < all_tried, "{all_refused} of {all_tried} refused");
}
