//! What the shards of a node record: done again on each shard alone, it gives that shard's data.

use super::harness::{request, Node};
use super::tests::random_request;
use crate::base::ids::ShardId;
use crate::base::prng::Prng;
use crate::base::time::UnixMs;
use crate::command::harness::{dump, Harness};
use crate::command::replay;
use crate::journal::REPLAY_TIME;

#[test]
fn each_shards_record_gives_its_data() {
    for (seed, (shards, cores)) in [(1, 1), (2, 1), (3, 2), (5, 2), (7, 3), (3, 3)].into_iter().enumerate() {
        let mut node = Node::new(shards, cores, seed as u64, &[]);
        node.hosts.iter_mut().flat_map(|host| &mut host.shards).for_each(|shard| shard.set_recording(true));
        let mut again: Vec<Harness> = (0..shards).map(|shard| empty_shard(ShardId(shard), shards)).collect();
        let mut prng = Prng::new(seed as u64);
        let mut clients: Vec<_> = (0..3).map(|_| node.connect()).collect();
        for round in 1..=1500 {
            let client = prng.below(3) as usize;
            if !node.is_open(clients[client]) {
                clients[client] = node.connect();
            }
            match prng.below(10) {
                0..3 => node.send(clients[client], &random_request(&mut prng)),
                3 => node.advance_us(prng.below(5000)),
                _ => {
                    let words = replay::command(&mut prng, node.now_ms());
                    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    node.send(clients[client], &outside_of_waiting(&words));
                }
            }
            for _ in 0..prng.below(30) {
                node.step();
            }
            if round % 50 == 0 {
                // Ends what is open and waits.
                for client in &mut clients {
                    node.disconnect(*client);
                    *client = node.connect();
                }
                node.quiesce();
                compare(&mut node, &mut again, &format!("seed {seed}, round {round}"));
            }
        }
    }
}

fn empty_shard(shard: ShardId, shards: u16) -> Harness {
    let mut harness = Harness::new();
    (harness.shard, harness.shards, harness.now_ms) = (shard, shards, REPLAY_TIME.0);
    harness
}

/// The request; one that may block within MULTI and EXEC.
fn outside_of_waiting(words: &[&[u8]]) -> Vec<u8> {
    let name = words.first().map_or(&b""[..], |name| name);
    let blocks = ["bl", "br", "bz"]
        .iter()
        .any(|start| name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes())));
    match blocks {
        true => [request(&[b"MULTI"]), request(words), request(&[b"EXEC"])].concat(),
        false => request(words),
    }
}

fn compare(node: &mut Node, again: &mut [Harness], what: &str) {
    let now = UnixMs(node.now_ms());
    for shard in node.hosts.iter_mut().flat_map(|host| &mut host.shards) {
        let mut stream = Vec::new();
        shard.journal.take_pending(&mut stream);
        let again = &mut again[shard.id().index()];
        again.replay(&stream);
        let (expected, actual) = (dump(&mut shard.keyspace, now), dump(&mut again.keyspace, now));
        if actual != expected {
            let differing = |one: &std::collections::BTreeMap<_, String>,
                             other: &std::collections::BTreeMap<_, String>| {
                let all = one.iter().filter(|(key, value)| other.get(*key) != Some(*value));
                format!("{:?}", all.collect::<Vec<_>>())
            };
            panic!(
                "{what}, shard {}: expected {}\n  actual {}",
                shard.id().0,
                differing(&expected, &actual),
                differing(&actual, &expected)
            );
        }
    }
}
