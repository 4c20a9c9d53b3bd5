//! Keys that come of age, over the wire.

use super::harness::{eventually, request, Client, Server, Value};

fn fill(client: &mut Client, keys: std::ops::Range<usize>, options: &[&str]) {
    let count = keys.len();
    let pipeline: Vec<u8> =
        keys.flat_map(|i| request(&[&["SET", &format!("key:{i}"), "value"], options].concat())).collect();
    let replies = client.pipeline(&pipeline, count);
    assert!(replies.iter().all(|reply| *reply == Value::simple("OK")));
}

#[test]
fn a_hundred_thousand_keys_of_the_same_age_all_vanish() {
    const COUNT: usize = 100_000;
    let server = Server::start(2);
    let mut client = server.client();
    // All at one moment, which none of them may pass before all are there: the later, the slower the machine.
    let is_full = |client: &mut Client, moment: i64| {
        client.ok("FLUSHALL");
        client.ok("CONFIG RESETSTAT");
        fill(client, 0..COUNT, &["EXAT", &moment.to_string()]);
        fill(client, COUNT..COUNT + 1000, &[]);
        client.run("DBSIZE") == Value::Int(COUNT as i64 + 1000)
    };
    let moment = [4, 16, 64, 256].into_iter().find_map(|secs| {
        let time: i64 = client.run("TIME").items()[0].text().parse().unwrap();
        is_full(&mut client, time + secs).then_some(time + secs)
    });
    let moment = moment.expect("a machine that writes a hundred thousand keys in minutes");
    // Nobody touches them.
    eventually("all have gone", || client.run("DBSIZE") == Value::Int(1000));
    let now: i64 = client.run("TIME").items()[0].text().parse().unwrap();
    assert!(now >= moment, "none went early");
    let info = client.run("INFO stats").text();
    assert!(info.contains(&format!("expired_keys:{COUNT}\r\n")), "{info}");
    let keyspace = client.run("INFO keyspace").text();
    assert!(keyspace.contains("db0:keys=1000,expires=0,"), "{keyspace}");
}

#[test]
fn without_the_active_cycle_keys_vanish_when_touched() {
    let server = Server::start(2);
    let mut client = server.client();
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    fill(&mut client, 0..1000, &["PX", "1"]);
    client.ok("SET last value PX 20");
    eventually("the last comes of age", || client.run("EXISTS last") == Value::Int(0));
    // They count until somebody looks.
    assert!(client.run("DBSIZE").int() >= 900);
    for i in 0..1000 {
        let key = format!("key:{i}");
        let (line, nothing) = match i % 8 {
            0 => (format!("GET {key}"), Value::NullBulk),
            1 => (format!("EXISTS {key}"), Value::Int(0)),
            2 => (format!("TTL {key}"), Value::Int(-2)),
            3 => (format!("TYPE {key}"), Value::simple("none")),
            4 => (format!("DEL {key}"), Value::Int(0)),
            5 => (format!("PERSIST {key}"), Value::Int(0)),
            6 => (format!("RENAME {key} other"), Value::error("ERR no such key")),
            _ => (format!("STRLEN {key}"), Value::Int(0)),
        };
        assert_eq!(client.run(&line), nothing, "{line}");
    }
    assert_eq!(client.run("KEYS *"), Value::Array(vec![]));
    client.ok("DEBUG SET-ACTIVE-EXPIRE 1");
    eventually("the cycle clears the rest", || client.run("DBSIZE") == Value::Int(0));
}

#[test]
fn the_cycle_leaves_others_served() {
    let server = Server::start(1);
    let mut client = server.client();
    fill(&mut client, 0..50_000, &["PX", "1500"]);
    client.ok("SET counter 0");
    // While they go, every request is answered, and what stays stays.
    let mut served = 0;
    eventually("all have gone", || {
        served += 1;
        assert_eq!(client.run("INCR counter"), Value::Int(served));
        client.run("DBSIZE") == Value::Int(1)
    });
}

#[test]
fn an_expiry_survives_what_keeps_it_and_ends_with_what_does_not() {
    for shards in [1, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        // Over several shards, too.
        for to in ["x", "y", "z", "w"] {
            client.ok("SET a value EX 1000");
            client.ok(&format!("RENAME a {to}"));
            let ttl = client.run(&format!("TTL {to}")).int();
            assert!((990..=1000).contains(&ttl), "RENAME keeps the expiry: {ttl}");
            assert_eq!(client.run(&format!("COPY {to} b:{to}")), Value::Int(1));
            assert!((990..=1000).contains(&client.run(&format!("TTL b:{to}")).int()), "COPY, too");
            client.ok(&format!("MSET {to} 1 other:{to} 2"));
            assert_eq!(client.run(&format!("TTL {to}")), Value::Int(-1), "MSET ends it");
        }
    }
}
