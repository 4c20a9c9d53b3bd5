//! Servers that are killed at random moments, while clients write: what is there afterwards is equal everywhere, and
//! no transaction is half there.

use super::super::harness::{number_from_env, Random, Value};
use super::load::{accounts, group, open_accounts, under_load, Kind, GROUPS, MONEY};
use super::{assert_converged, rounds, Node};

const KINDS: &[Kind] = &[Kind::Several, Kind::Groups, Kind::Money, Kind::ShortLived];

/// The groups are whole, and no money is lost.
fn assert_whole(node: &Node) {
    let mut client = node.client();
    for number in 0..GROUPS {
        let reply = client.run(&format!("MGET {}", group(number).join(" ")));
        assert!(
            reply.items().iter().all(|value| *value == reply.items()[0]),
            "half a transaction: {reply:?}"
        );
    }
    let reply = client.run(&format!("MGET {}", accounts().join(" ")));
    let sum: i64 = reply.items().iter().map(|value| value.text().parse::<i64>().unwrap()).sum();
    assert_eq!(sum, MONEY);
}

fn kill_in_rounds(seed: u64, primary_shards: u16, replica_shards: [u16; 2], share: u64) {
    let seed = number_from_env("RINGWARD_SEED", 1).wrapping_mul(1000) + seed;
    println!("RINGWARD_SEED gives {seed}");
    let mut random = Random::new(seed);
    let files = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut primary = Node::start(primary_shards, &files);
    open_accounts(&mut primary.client());
    primary.client().ok(&format!("SET some {}", "s".repeat(300_000)));
    let address = primary.address();
    let mut replicas = replica_shards.map(|shards| Node::follower(shards, address, &[]));
    for round in 0..rounds(share) {
        let what = random.below(4);
        under_load(address, KINDS, seed + round, || {
            // Somewhere between the first byte and some time after the snapshot.
            std::thread::sleep(std::time::Duration::from_millis(random.next() % 250));
            for replica in &mut replicas {
                if what == 0 || random.one_in(2) {
                    replica.kill();
                }
            }
            if what <= 1 {
                primary.kill();
                primary.restart();
            }
            for replica in replicas.iter_mut().filter(|replica| replica.server.is_none()) {
                replica.restart();
            }
            if random.one_in(2) {
                replicas.iter().for_each(Node::await_up);
            }
        });
        assert_converged(&primary, &[&replicas[0], &replicas[1]]);
        for node in replicas.iter().chain([&primary]) {
            let reply = node.client().run("EXISTS some");
            assert_eq!(reply, Value::Int(1));
            assert_whole(node);
        }
    }
}

#[test]
fn of_two_shards() {
    kill_in_rounds(1, 2, [2, 3], 4);
}

#[test]
fn of_three_shards() {
    kill_in_rounds(2, 3, [3, 1], 7);
}
