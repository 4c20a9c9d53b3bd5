//! Servers that are stopped and started again, with the same or another number of shards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::harness::{eventually, number_from_env, Client, Random, Value};
use super::{assert_same, fill, info, kill, saved, serving, shut_down, survey, Home, Survey, SYNCED_AOF};

const AOF: &[&str] = &["--appendonly", "yes"];

/// The numbers of shards that follow each other: fewer, more, the same.
const SHARDS: [u16; 6] = [2, 5, 1, 3, 3, 2];

fn seed() -> u64 {
    number_from_env("RINGWARD_SEED", 1)
}

/// How a server comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Term,
    Command(&'static str),
}

/// Fills servers that follow each other, and compares what each of them finds.
fn lives(args: &[&str], ends: &[End], commands: usize) {
    let home = Home::new();
    let mut random = Random::new(seed());
    let mut before: Option<Survey> = None;
    for (life, &shards) in SHARDS.iter().enumerate() {
        let server = home.run(shards, args);
        let mut client = server.client();
        if let Some(before) = &before {
            let what = format!("life {life} with {shards} shards, {args:?}");
            assert_same(before, &survey(&mut client), &what);
        }
        fill(&mut client, &mut random, commands);
        before = Some(survey(&mut client));
        match ends[life % ends.len()] {
            End::Kill => {
                // What was answered may be on its way to the file still.
                eventually("all is written", || info(&mut client, "aof_buffer_length") == "0");
                kill(server);
            }
            End::Term => {
                server.signal(libc::SIGTERM);
                server.wait_exit();
            }
            End::Command(command) => {
                drop(client);
                if command == "SAVE" {
                    server.client().ok("SAVE");
                    kill(server);
                } else if command == "BGSAVE" {
                    let mut client = server.client();
                    assert_eq!(client.run("BGSAVE"), Value::simple("Background saving started"));
                    saved(&mut client);
                    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
                    kill(server);
                } else {
                    shut_down(server, command);
                }
            }
        }
    }
}

#[test]
fn an_aof_that_is_synced_always_has_everything() {
    lives(&["--appendonly", "yes", "--appendfsync", "always"], &[End::Kill, End::Command("SHUTDOWN")], 300);
}

#[test]
fn an_aof_that_is_synced_each_second_has_everything_after_a_kill() {
    lives(&["--appendonly", "yes"], &[End::Kill, End::Term, End::Command("SHUTDOWN NOSAVE")], 1500);
}

#[test]
fn an_aof_that_is_never_synced_has_everything_after_a_kill() {
    let args = ["--appendonly", "yes", "--appendfsync", "no", "--aof-use-rdb-preamble", "no"];
    lives(&args, &[End::Kill, End::Command("SHUTDOWN SAVE")], 1500);
}

#[test]
fn a_snapshot_has_everything() {
    lives(&[], &[End::Command("SAVE"), End::Command("BGSAVE"), End::Command("SHUTDOWN SAVE")], 1500);
}

#[test]
fn a_snapshot_is_made_at_shutdown_where_there_are_save_points() {
    lives(
        &["--save", "100000 100000", "--rdbcompression", "no"],
        &[End::Command("SHUTDOWN"), End::Term, End::Command("SHUTDOWN SAVE")],
        500,
    );
}

/// Clients that write while `during` runs; the server's shards, and what they have then.
fn under_writes(home: &Home, shards: u16, args: &[&str], during: impl FnOnce(&mut Client, &AtomicUsize)) {
    let server = home.run(shards, args);
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..3u64 {
            let (server, stop, written) = (&server, &stop, &written);
            scope.spawn(move || {
                let mut random = Random::new(seed() * 1000 + worker);
                let mut client = server.client();
                while !stop.load(Ordering::Relaxed) {
                    let batch: Vec<u8> = (0..20).flat_map(|_| write(&mut random, worker)).collect();
                    for reply in client.pipeline(&batch, 20) {
                        assert!(!reply.is_error(), "{reply:?}");
                    }
                    written.fetch_add(20, Ordering::Relaxed);
                }
            });
        }
        let mut client = server.client();
        // Whatever fails, the writers are to stop.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| during(&mut client, &written)));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let before = survey(&mut server.client());
    kill(server);
    for shards in [shards, shards % 5 + 1] {
        let copy = home.copy();
        let server = copy.run(shards, args);
        assert_same(&before, &survey(&mut server.client()), &format!("{shards} shards"));
        kill(server);
    }
}

/// A command that changes something, of all types and over several shards.
fn write(random: &mut Random, worker: u64) -> Vec<u8> {
    let [a, b] = [0; 2].map(|_| random.below(300));
    let number = random.next() % 100_000;
    super::super::harness::words(
        &match random.below(16) {
            0..=2 => format!("SET s{a} {number}"),
            3 => format!("APPEND a{worker}:{a} {number}"),
            4 => format!("MSET s{a} {number} s{b} {number} m{b} {number}"),
            5 => format!("RPUSH l{a} {number} {number}"),
            6 => format!("LMOVE l{a} l{b} LEFT RIGHT"),
            7 => format!("SADD t{a} {number} {b}"),
            8 => format!("SPOP t{a} 2"),
            9 => format!("ZINCRBY z{a} 1.5 m{b}"),
            10 => format!("HSET h{a} f{b} {number}"),
            11 => format!("DEL s{a} t{b}"),
            12 => format!("RENAME r{worker} r{worker}"),
            13 => format!("SET e{a} {number} PX 100000000"),
            14 => format!("SUNIONSTORE u{a} t{a} t{b}"),
            _ => format!("INCR c{a}"),
        }
        .replace(&format!("RENAME r{worker} r{worker}"), &format!("COPY z{a} zz{b} REPLACE")),
    )
}

/// Waits until so many more commands were answered.
fn more(written: &AtomicUsize, count: usize) {
    let until = written.load(Ordering::Relaxed) + count;
    eventually("more is written", || written.load(Ordering::Relaxed) >= until);
}

#[test]
fn the_aof_is_rewritten_while_clients_write() {
    for (shards, preamble) in [(2, "yes"), (3, "no")] {
        let home = Home::new();
        let args = [AOF, &["--aof-use-rdb-preamble", preamble]].concat();
        under_writes(&home, shards, &args, |client, written| {
            for round in 1..=4 {
                more(written, 500);
                let reply = client.run("BGREWRITEAOF");
                assert_eq!(reply, Value::simple("Background append only file rewriting started"));
                more(written, 200);
                saved(client);
                assert_eq!(info(client, "aof_last_bgrewrite_status"), "ok");
                assert_eq!(info(client, "aof_rewrites"), (round + 1).to_string());
            }
            more(written, 100);
        });
        let shard = format!("g1-0of{shards}");
        let kept: Vec<_> = home.files().into_iter().filter(|name| name.contains(&shard)).collect();
        assert_eq!(kept.len(), 3, "{kept:?}");
    }
}

#[test]
fn the_aof_is_switched_off_and_on_while_clients_write() {
    let home = Home::new();
    let mut generations = 0;
    under_writes(&home, 2, AOF, |client, written| {
        for _ in 0..4 {
            more(written, 300);
            client.ok("CONFIG SET appendonly no");
            eventually("the AOF is off", || info(client, "aof_enabled") == "0");
            more(written, 300);
            client.ok("CONFIG SET appendonly yes");
            eventually("the AOF is on", || info(client, "aof_enabled") == "1");
            saved(client);
            generations += 1;
        }
        more(written, 300);
    });
    assert_eq!(generations, 4);
}

#[test]
fn the_aof_is_switched_on_where_none_was() {
    let home = Home::new();
    let server = home.run(2, &[]);
    let mut client = server.client();
    fill(&mut client, &mut Random::new(seed()), 300);
    client.ok("CONFIG SET appendonly yes");
    eventually("the AOF is on", || info(&mut client, "aof_enabled") == "1");
    saved(&mut client);
    client.run("RPUSH later 1 2 3");
    let before = survey(&mut client);
    kill(server);
    let server = home.run(3, AOF);
    assert_same(&before, &survey(&mut server.client()), "after");
}

#[test]
fn what_is_switched_off_and_on_again_at_once_is_whole() {
    let home = Home::new();
    let server = home.run(2, AOF);
    let mut client = server.client();
    for round in 0..20 {
        client.run(&format!("MSET a {round} b {round} c {round}"));
        client.ok("CONFIG SET appendonly no");
        client.run(&format!("MSET a x{round} b x{round} c x{round}"));
        client.ok("CONFIG SET appendonly yes");
        client.run(&format!("MSET a y{round} b y{round} c y{round}"));
    }
    eventually("the AOF is on", || info(&mut client, "aof_enabled") == "1");
    saved(&mut client);
    let before = survey(&mut client);
    kill(server);
    let server = home.run(2, AOF);
    assert_same(&before, &survey(&mut server.client()), "after");
}

#[test]
fn a_log_that_has_grown_is_rewritten_by_itself() {
    let home = Home::new();
    let args =
        [AOF, &["--auto-aof-rewrite-min-size", "64kb", "--auto-aof-rewrite-percentage", "50"]].concat();
    under_writes(&home, 2, &args, |client, written| {
        eventually("it is rewritten twice", || {
            more(written, 200);
            info(client, "aof_rewrites").parse::<u64>().unwrap() >= 3
        });
    });
}

#[test]
fn save_points_make_snapshots() {
    let home = Home::new();
    let server = home.run(2, &["--save", "1 10"]);
    let mut client = server.client();
    for number in 0..20 {
        client.run(&format!("SET k{number} {number}"));
    }
    eventually("a snapshot is made", || info(&mut client, "rdb_changes_since_last_save") == "0");
    saved(&mut client);
    let before = survey(&mut client);
    kill(server);
    let server = home.run(5, &["--save", "1 10"]);
    assert_same(&before, &survey(&mut server.client()), "after");
}

#[test]
fn databases_are_swapped_and_flushed_in_the_log() {
    for preamble in ["yes", "no"] {
        let home = Home::new();
        let args = [AOF, &["--aof-use-rdb-preamble", preamble]].concat();
        let mut shards = [2, 5, 1, 3].into_iter();
        let mut server = home.run(shards.next().unwrap(), &args);
        for shards in shards {
            let mut client = server.client();
            for round in 0..30 {
                for db in [0, 3, 4, 9] {
                    client.ok(&format!("SELECT {db}"));
                    for key in 0..10 {
                        client.run(&format!("SET k{key} {db}:{round}"));
                        client.run(&format!("RPUSH l{key} {db}:{round}"));
                    }
                    client.run(&format!("MSET a {round} b {round} c {round} d {round}"));
                    client.run("MOVE k3 11");
                    client.run("COPY l2 l2 DB 12 REPLACE");
                }
                match round % 4 {
                    0 => client.ok("SWAPDB 3 4"),
                    1 => client.ok("FLUSHDB"),
                    2 => client.ok("SWAPDB 9 0"),
                    _ if round == 15 => client.ok("FLUSHALL"),
                    _ => client.ok("FLUSHDB ASYNC"),
                }
                client.ok("SELECT 0");
                client.send(&super::super::harness::words("MULTI"));
                client.read();
                for command in
                    ["SET x 1", "SELECT 5", "SET x 2", "SWAPDB 5 6", "SET y 3", "SELECT 0", "DEL a b"]
                {
                    assert_eq!(client.run(command), Value::simple("QUEUED"));
                }
                client.run("EXEC");
            }
            let before = survey(&mut client);
            kill(server);
            server = home.run(shards, &args);
            assert_same(&before, &survey(&mut server.client()), &format!("{shards} shards"));
        }
    }
}

#[test]
fn what_expires_while_no_server_runs_is_gone() {
    for (args, later) in [(SYNCED_AOF, 3), (SYNCED_AOF, 2), (&[][..], 2), (&[][..], 5)] {
        let home = Home::new();
        let server = home.run(2, args);
        let mut client = server.client();
        for key in 0..50 {
            client.run(&format!("SET s{key} x PX 3000"));
            client.run(&format!("APPEND s{key} y"));
            client.run(&format!("RPUSH l{key} x"));
            client.run(&format!("PEXPIRE l{key} 3000"));
            client.run(&format!("RPUSH l{key} y"));
            client.run(&format!("HSET h{key} f 1 g 2"));
            client.run(&format!("HPEXPIRE h{key} 3000 FIELDS 1 f"));
            client.run(&format!("HINCRBY h{key} f 5"));
            client.run(&format!("SET kept{key} x PX 3000"));
            client.run(&format!("PERSIST kept{key}"));
            client.run(&format!("SET longer{key} x PX 3000"));
            client.run(&format!("PEXPIRE longer{key} 100000000"));
        }
        if args.is_empty() {
            client.ok("SAVE");
        }
        kill(server);
        std::thread::sleep(Duration::from_millis(3100));
        let server = home.run(later, args);
        let mut client = server.client();
        for (pattern, count) in [("s*", 0), ("l?", 0), ("l??", 0), ("h*", 50), ("kept*", 50), ("longer*", 50)]
        {
            let keys = client.run(&format!("KEYS {pattern}"));
            assert_eq!(keys.items().len(), count, "{pattern} with {args:?} and {later} shards: {keys:?}");
        }
        eventually("what has expired is removed", || client.run("DBSIZE").int() == 150);
        assert_eq!(client.run("HGETALL h3").items(), [Value::bulk("g"), Value::bulk("2")]);
        let before = survey(&mut client);
        kill(server);
        let server = home.start(later, args).run();
        serving(&server);
        assert_same(&before, &survey(&mut server.client()), "once more");
    }
}
