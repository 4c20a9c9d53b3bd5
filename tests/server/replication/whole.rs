//! What clients of a replica see of transactions: all of one, or nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::harness::{eventually, Client, Value};
use super::load::{accounts, group, open_accounts, under_load, Kind, GROUPS, MONEY};
use super::{assert_converged, Node};

/// The numbers that a reader finds; none where it is told that the data is being loaded, or a key is not there.
fn numbers(client: &mut Client, keys: &[String]) -> Option<Vec<i64>> {
    match client.run(&format!("MGET {}", keys.join(" "))) {
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::NullBulk => None,
                value => Some(value.text().parse().unwrap()),
            })
            .collect(),
        Value::Error(_) => None,
        other => panic!("{other:?}"),
    }
}

fn readers_see_whole_transactions(primary_shards: u16, replica_shards: u16) {
    let primary = Node::start(primary_shards, &[]);
    open_accounts(&mut primary.client());
    let replica = Node::follower(replica_shards, primary.address(), &[]);
    replica.await_up();
    let (stop, looks) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    under_load(primary.address(), &[Kind::Groups, Kind::Money, Kind::Money, Kind::Several], 1, || {
        std::thread::scope(|scope| {
            let (stop, looks, address) = (&stop, &looks, replica.address());
            let of_groups = scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut newest = [0; GROUPS];
                while !stop.load(Ordering::Relaxed) {
                    for (number, newest) in newest.iter_mut().enumerate() {
                        let Some(found) = numbers(&mut client, &group(number)) else { continue };
                        assert!(
                            found.iter().all(|value| *value == found[0]),
                            "half a transaction: {found:?}"
                        );
                        assert!(found[0] >= *newest, "time goes back");
                        *newest = found[0];
                        looks[0].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let of_money = scope.spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    let Some(found) = numbers(&mut client, &accounts()) else { continue };
                    assert_eq!(found.iter().sum::<i64>(), MONEY);
                    looks[1].fetch_add(1, Ordering::Relaxed);
                }
            });
            eventually("enough was seen", || {
                of_groups.is_finished()
                    || of_money.is_finished()
                    || looks.iter().all(|looks| looks.load(Ordering::Relaxed) > 300)
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
    assert_converged(&primary, &[&replica]);
}

#[test]
fn between_equal_numbers_of_shards() {
    readers_see_whole_transactions(2, 2);
}

#[test]
fn between_different_numbers_of_shards() {
    readers_see_whole_transactions(3, 2);
}
