//! Money is moved between accounts on all shards, in all the ways that transactions have, while others count it: there
//! is always as much as in the beginning.
//!
//! `RINGWARD_MONEY_MS` sets for how long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::harness::{number_from_env, request, words, Client, Random, Server, Value};

const ACCOUNTS: usize = 1000;

/// What is in each account in the beginning.
const START: i64 = 100;

/// Most moves are between so many accounts, so that they meet.
const HOT: usize = 12;

fn account(number: usize) -> String {
    format!("account:{number}")
}

fn all_accounts() -> Vec<String> {
    std::iter::once("MGET".to_owned()).chain((0..ACCOUNTS).map(account)).collect()
}

/// Two accounts, and how much is moved from the one to the other.
fn transfer(random: &mut Random) -> (String, String, i64) {
    let among = if random.one_in(3) { ACCOUNTS } else { HOT };
    let from = random.below(among);
    let to = (from + 1 + random.below(among - 1)) % among;
    (account(from), account(to), 1 + random.below(20) as i64)
}

fn number(value: &Value) -> i64 {
    value.text().parse().unwrap()
}

#[track_caller]
fn assert_sum<'a>(balances: impl IntoIterator<Item = &'a Value>) {
    let (mut count, mut sum) = (0, 0);
    for balance in balances {
        count += 1;
        sum += number(balance);
    }
    assert_eq!((count, sum), (ACCOUNTS, ACCOUNTS as i64 * START));
}

/// Moves money as a cautious client does: it watches, reads, and writes what it has computed. Whether it was done.
fn move_guarded(client: &mut Client, random: &mut Random, as_mset: bool) -> bool {
    let (from, to, amount) = transfer(random);
    client.ok(&format!("WATCH {from} {to}"));
    let balances = client.run(&format!("MGET {from} {to}"));
    let [of_from, of_to] = [0, 1].map(|at| number(&balances.items()[at]));
    let (of_from, of_to) = (of_from - amount, of_to + amount);
    let writes = if as_mset {
        vec![format!("MSET {from} {of_from} {to} {of_to}")]
    } else {
        vec![format!("SET {from} {of_from}"), format!("SET {to} {of_to}")]
    };
    let lines: Vec<u8> = std::iter::once("MULTI")
        .chain(writes.iter().map(String::as_str))
        .chain(["EXEC"])
        .flat_map(words)
        .collect();
    let replies = client.pipeline(&lines, writes.len() + 2);
    match replies.last().unwrap() {
        Value::NullArray => false,
        done => {
            assert_eq!(*done, Value::Array(vec![Value::simple("OK"); writes.len()]));
            true
        }
    }
}

/// Moves money without looking, several times in one pipeline.
fn move_blindly(client: &mut Client, random: &mut Random) -> bool {
    let times = 1 + random.below(5);
    let lines: Vec<u8> = (0..times)
        .flat_map(|_| {
            let (from, to, amount) = transfer(random);
            let lines =
                ["MULTI", &format!("DECRBY {from} {amount}"), &format!("INCRBY {to} {amount}"), "EXEC"];
            lines.map(words).concat()
        })
        .collect();
    let replies = client.pipeline(&lines, times * 4);
    replies.chunks(4).for_each(|of_one| assert_eq!(of_one[3].items().len(), 2));
    true
}

#[test]
fn no_money_is_made_or_lost() {
    type Move = fn(&mut Client, &mut Random) -> bool;
    const MOVES: [(&str, Move); 3] = [
        ("WATCH and SET", |client, random| move_guarded(client, random, false)),
        ("WATCH and MSET", |client, random| move_guarded(client, random, true)),
        ("DECRBY and INCRBY", move_blindly),
    ];
    let time = Duration::from_millis(number_from_env("RINGWARD_MONEY_MS", 2000));
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        let mut fill = vec!["MSET".to_owned()];
        fill.extend((0..ACCOUNTS).flat_map(|number| [account(number), START.to_string()]));
        assert_eq!(client.call(&fill), Value::simple("OK"));
        let over = AtomicBool::new(false);
        let (done, given_up) = ([(); 3].map(|()| AtomicU64::new(0)), AtomicU64::new(0));
        let counted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            // Each kind twice, on two connections that may be of different cores.
            for mover in 0..2 * MOVES.len() {
                let (mut client, kind) = (server.client(), mover % MOVES.len());
                let (over, done, given_up) = (&over, &done, &given_up);
                threads.push(scope.spawn(move || {
                    let mut random = Random::new(mover as u64);
                    while !over.load(Ordering::Relaxed) {
                        let count =
                            if MOVES[kind].1(&mut client, &mut random) { &done[kind] } else { given_up };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
            for reader in 0..2 {
                let (mut client, over, counted) = (server.client(), &over, &counted);
                threads.push(scope.spawn(move || {
                    let all = all_accounts();
                    let halves: Vec<u8> = [
                        words("MULTI"),
                        request(&all[..=ACCOUNTS / 2]),
                        request(&[&all[..1], &all[1 + ACCOUNTS / 2..]].concat()),
                        words("EXEC"),
                    ]
                    .concat();
                    while !over.load(Ordering::Relaxed) {
                        if reader == 0 {
                            assert_sum(client.call(&all).items());
                        } else {
                            let replies = client.pipeline(&halves, 4);
                            assert_sum(replies[3].items().iter().flat_map(Value::items));
                        }
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
            // A thread that fails ends the test sooner.
            let start = std::time::Instant::now();
            while start.elapsed() < time && threads.iter().all(|thread| !thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(5));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_sum(client.call(&all_accounts()).items());
        let counted = counted.into_inner();
        println!("{shards} shards: counted {counted} times, {} moves given up", given_up.into_inner());
        for ((name, _), done) in MOVES.iter().zip(done) {
            let done = done.into_inner();
            println!("  {name}: {done} moves");
            assert!(done > 10, "{name} makes no progress on {shards} shards");
        }
        assert!(counted > 10, "counting makes no progress on {shards} shards");
    }
}
