//! Stock replicas: a real redis-server, and redis-cli, follow a Ringward.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::differential::generate::Generator;
use super::harness::process::Folder;
use super::harness::{
    eventually, number_from_env, request, words, Client, Peer, Random, Server, Start, Value,
};
use super::persistence::{assert_alike, assert_same, fill_as_stock, info, survey};

fn random(salt: u64) -> Random {
    Random::new(number_from_env("RINGWARD_SEED", 1) * 100 + salt)
}

fn of(address: SocketAddr) -> String {
    format!("127.0.0.1 {}", address.port())
}

/// A redis-server that follows another from its start.
fn follower(address: SocketAddr) -> Peer {
    Peer::start_with(&["--replicaof", &of(address), "--repl-diskless-load", "disabled"])
}

fn number(client: &mut Client, field: &str) -> u64 {
    info(client, field).parse().unwrap()
}

#[track_caller]
fn await_up(client: &mut Client) {
    eventually("the link is up", || {
        client.run("INFO replication").text().contains("master_link_status:up\r\n")
    });
}

/// A server that has said of itself that something is wrong with it fails the test.
#[track_caller]
fn assert_sound(server: &Server) {
    let log = server.log();
    for sign in ["== CRITICAL ==", "panicked at", "cannot be merged", "cannot be made one file"] {
        assert!(!log.contains(sign), "{sign}:\n{log}");
    }
}

/// Waits until a replica has all that there is, to the byte of its offset, and compares.
#[track_caller]
fn converge(primary: &mut Client, replica: &mut Client, what: &str) {
    await_up(replica);
    // A PING now and then moves the one before the other.
    eventually(&format!("{what}: offsets are equal"), || {
        number(primary, "master_repl_offset") == number(replica, "slave_repl_offset")
    });
    assert_alike(primary, replica, what);
}

/// Runs `body` while clients write: random commands of all kinds, and what is on several shards.
fn under_load<R>(address: SocketAddr, salt: u64, body: impl FnOnce() -> R) -> R {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (stop, done) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    std::thread::scope(|scope| {
        let (stop, done) = (&stop, &done);
        scope.spawn(move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let (mut generator, mut random) = (Generator::new(now), random(salt));
            let mut client = Client::connect(address);
            while !stop.load(Ordering::Relaxed) {
                let batch: Vec<_> = (0..20).map(|_| generator.command(&mut random)).collect();
                let bytes: Vec<u8> = batch.iter().flat_map(|words| request(words)).collect();
                client.pipeline(&bytes, batch.len());
                done[0].fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(move || {
            let mut random = random(salt + 1);
            let mut client = Client::connect(address);
            while !stop.load(Ordering::Relaxed) {
                let n = random.below(1000);
                let (a, b) = (random.below(50), random.below(50));
                match random.below(40) {
                    0 => client.ok("FLUSHALL"),
                    1 => client.ok("SWAPDB 0 9"),
                    2..=9 => {
                        let _ = client.run(&format!("RENAME m:{a} m:{b}"));
                    }
                    10..=19 => {
                        client.ok("MULTI");
                        for key in 0..4 {
                            client.run(&format!("SET m:{} {n}", (a + key * 7) % 50));
                        }
                        client.run("SELECT 3");
                        client.run(&format!("INCR t:{a}"));
                        client.run("SELECT 0");
                        client.run("EXEC");
                    }
                    _ => client.ok(&format!("MSET m:{a} {n} m:{b} {n} m:{n} {n} p:{n} {n}")),
                }
                done[1].fetch_add(1, Ordering::Relaxed);
            }
        });
        let over = Over(stop);
        let progress = || {
            let before = done.each_ref().map(|count| count.load(Ordering::Relaxed));
            eventually("all clients write", || {
                done.iter().zip(before).all(|(count, before)| count.load(Ordering::Relaxed) > before + 20)
            });
        };
        progress();
        let result = body();
        progress();
        drop(over);
        result
    })
}

#[test]
fn a_redis_server_follows_under_load() {
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let mut client = server.client();
        fill_as_stock(&mut client, &mut random(u64::from(shards)), 1000);
        let replica = under_load(server.address, 10 * u64::from(shards), || {
            let replica = follower(server.address);
            await_up(&mut replica.client());
            replica
        });
        converge(&mut client, &mut replica.client(), &format!("{shards} shards"));
        let text = client.run("INFO replication").text();
        assert!(text.contains("connected_slaves:1\r\nslave0:ip=127.0.0.1,port="), "{text}");
        assert!(text.contains("state=online,"), "{text}");
        assert_eq!(info(&mut client, "master_replid"), info(&mut replica.client(), "master_replid"));
        // Once more, now that the stream is merged already.
        let other = under_load(server.address, 11 * u64::from(shards), || {
            let other = follower(server.address);
            await_up(&mut other.client());
            other
        });
        converge(&mut client, &mut other.client(), "the second");
        converge(&mut client, &mut replica.client(), "the first");
        assert_sound(&server);
        assert_no_files(&server);
    }
}

/// Nothing is left of what replicas were sent.
#[track_caller]
fn assert_no_files(server: &Server) {
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&**server.folder).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    eventually("no file is left", || !names().iter().any(|name| name.starts_with("temp-")));
}

#[test]
fn a_cut_link_goes_on_where_it_was() {
    let server = Start::new(3).args(&["--repl-backlog-size", "64mb"]).run();
    let mut client = server.client();
    fill_as_stock(&mut client, &mut random(30), 300);
    let replica = follower(server.address);
    let mut on_replica = replica.client();
    await_up(&mut on_replica);
    for round in 1..=5 {
        under_load(server.address, 30 + round, || {
            // From either side.
            match round % 2 {
                0 => client.run("CLIENT KILL TYPE replica"),
                _ => on_replica.run("CLIENT KILL TYPE master"),
            };
            eventually("it comes back", || number(&mut client, "sync_partial_ok") == round);
        });
        converge(&mut client, &mut on_replica, &format!("round {round}"));
    }
    assert_eq!(number(&mut client, "sync_full"), 1);
    assert_sound(&server);
}

#[test]
fn what_is_not_kept_takes_a_snapshot() {
    let server = Start::new(2).args(&["--repl-backlog-size", "16kb"]).run();
    let mut client = server.client();
    let replica = follower(server.address);
    let mut on_replica = replica.client();
    await_up(&mut on_replica);
    on_replica.ok("REPLICAOF NO ONE");
    let value = "x".repeat(100_000);
    for n in 0..20 {
        client.ok(&format!("SET large:{n} {value}"));
    }
    on_replica.ok(&format!("REPLICAOF {}", of(server.address)));
    converge(&mut client, &mut on_replica, "after much");
    assert_eq!((number(&mut client, "sync_full"), number(&mut client, "sync_partial_ok")), (2, 0));
    assert_sound(&server);
}

#[test]
fn who_reads_nothing_is_let_go() {
    for asks in ["PSYNC ? -1", "SYNC"] {
        let limit = ["--client-output-buffer-limit", "replica 4mb 2mb 60", "--repl-backlog-size", "1mb"];
        let server = Start::new(2).args(&limit).run();
        let mut client = server.client();
        client.ok("SET k v");
        let mut link = server.client();
        link.send(&words(asks));
        eventually("it is online", || client.run("INFO replication").text().contains("state=online"));
        let value = "x".repeat(1_000_000);
        let mut written = 0;
        while client.run("INFO replication").text().contains("connected_slaves:1") {
            client.ok(&format!("SET large:{} {value}", written % 10));
            written += 1;
            assert!(written < 1000, "it is still there");
        }
        assert_eq!(number(&mut client, "client_output_buffer_limit_disconnections"), 1);
        assert!(number(&mut client, "mem_replication_backlog") < 16 << 20);
        assert_sound(&server);
    }
}

#[test]
fn redis_cli_takes_a_snapshot() {
    for shards in [1, 3] {
        let server = Server::start(shards);
        let mut client = server.client();
        fill_as_stock(&mut client, &mut random(40 + u64::from(shards)), 2000);
        let expected = survey(&mut client);
        let folder = Folder::new();
        let path = folder.join("dump.rdb");
        let port = server.address.port().to_string();
        let args = ["-p", &port, "--rdb", path.to_str().unwrap()];
        let out = Command::new("redis-cli").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && said.contains("Transfer finished with success"), "{said}");
        let check = Command::new("redis-check-rdb").arg(&path).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        let peer = Peer::start_in(folder, &[]);
        assert_same(&expected, &survey(&mut peer.client()), "loaded by redis-server");
        eventually("it is gone", || number(&mut client, "connected_slaves") == 0);
        assert_no_files(&server);
        assert_sound(&server);
    }
}

/// A process that ends with its owner.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_cli_shows_the_stream() {
    let server = Server::start(3);
    let mut client = server.client();
    client.ok("SET before 1");
    let mut command = Command::new("redis-cli");
    command.args(["-p", &server.address.port().to_string(), "--replica"]);
    let mut tool = Tool(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(tool.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    eventually("it is online", || client.run("INFO replication").text().contains("state=online"));
    client.ok("MSET a 1 b 2 c 3 d 4 e 5");
    client.ok("SELECT 4");
    client.ok("SET last one");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|line: &String| line != "\"SET\",\"last\",\"one\"") {
        let line = lines.next().expect("it goes on");
        if line.starts_with('"') {
            seen.push(line);
        }
    }
    assert_eq!(seen.first().map(String::as_str), Some("\"MULTI\""), "{seen:?}");
    let end = seen.iter().position(|line| line == "\"EXEC\"").unwrap();
    let mut pairs: Vec<&str> = seen[1..end]
        .iter()
        .flat_map(|line| line.split(',').skip(1))
        .map(|word| word.trim_matches('"'))
        .collect();
    pairs.sort_unstable();
    assert_eq!(pairs, ["1", "2", "3", "4", "5", "a", "b", "c", "d", "e"]);
    assert_eq!(seen[end + 1..], ["\"SELECT\",\"4\"", "\"SET\",\"last\",\"one\""]);
    assert_sound(&server);
}

#[test]
fn stock_and_native_replicas_follow_at_once() {
    let server = Start::new(3).args(&["--repl-diskless-sync-delay", "0"]).run();
    let mut client = server.client();
    fill_as_stock(&mut client, &mut random(50), 500);
    let (one, native, two) = under_load(server.address, 51, || {
        let one = follower(server.address);
        let native = Start::new(2).args(&["--replicaof", &of(server.address)]).run();
        let two = follower(server.address);
        for mut replica in [one.client(), native.client(), two.client()] {
            await_up(&mut replica);
        }
        (one, native, two)
    });
    converge(&mut client, &mut one.client(), "the first");
    converge(&mut client, &mut native.client(), "the native one");
    converge(&mut client, &mut two.client(), "the second");
    let text = client.run("INFO replication").text();
    assert_eq!(text.matches("state=online").count(), 3, "{text}");
    assert_sound(&server);
}

#[test]
fn a_stock_replica_follows_a_native_one() {
    // With more shards than its primary, and with fewer.
    for (shards, of_replica) in [(2, 3), (3, 1)] {
        let args = ["--repl-diskless-sync-delay", "0"];
        let server = Start::new(shards).args(&args).run();
        let mut client = server.client();
        fill_as_stock(&mut client, &mut random(60), 500);
        let native = Start::new(of_replica).args(&args).args(&["--replicaof", &of(server.address)]).run();
        let mut on_native = native.client();
        await_up(&mut on_native);
        let stock = under_load(server.address, 61, || {
            let stock = follower(native.address);
            await_up(&mut stock.client());
            stock
        });
        let mut on_stock = stock.client();
        converge(&mut client, &mut on_native, "the native one");
        eventually("offsets are equal", || {
            number(&mut client, "master_repl_offset") == number(&mut on_stock, "slave_repl_offset")
        });
        assert_alike(&mut client, &mut on_stock, "the stock one");
        assert_sound(&server);
    }
}

#[test]
fn a_stock_replica_takes_over() {
    let server = Server::start(3);
    let mut client = server.client();
    fill_as_stock(&mut client, &mut random(70), 300);
    let (heir, sibling) = (follower(server.address), follower(server.address));
    let (mut on_heir, mut on_sibling) = (heir.client(), sibling.client());
    under_load(server.address, 71, || {
        await_up(&mut on_heir);
        await_up(&mut on_sibling);
    });
    converge(&mut client, &mut on_heir, "the heir");
    converge(&mut client, &mut on_sibling, "its sibling");
    on_heir.ok("REPLICAOF NO ONE");
    on_sibling.ok(&format!("REPLICAOF {}", of(heir.address)));
    await_up(&mut on_sibling);
    // The stream that both have had is the same to the byte, so a Redis lets the one go on from the other.
    assert_eq!((number(&mut on_heir, "sync_full"), number(&mut on_heir, "sync_partial_ok")), (0, 1));
    on_heir.ok("SET written there");
    eventually("it follows", || on_sibling.run("GET written") == Value::bulk("there"));
    eventually("both are gone", || number(&mut client, "connected_slaves") == 0);
    assert_sound(&server);
}

/// Reads a snapshot that is announced by its length.
fn snapshot(link: &mut impl BufRead) -> Vec<u8> {
    let mut line = String::new();
    while line.trim().is_empty() {
        line.clear();
        link.read_line(&mut line).unwrap();
    }
    let len = line.trim().strip_prefix('$').unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    let mut bytes = vec![0; len];
    link.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_handshake_is_that_of_redis() {
    let server = Start::new(2).args(&["--min-replicas-to-write", "0"]).run();
    let mut client = server.client();
    client.ok("SET k v");
    for wrong in ["REPLCONF rdb-only x", "REPLCONF rdb-only 2", "REPLCONF rdb-filter-only keys"] {
        assert!(client.run(wrong).is_error(), "{wrong}");
    }
    client.ok("MULTI");
    for wrong in ["SYNC", "PSYNC ? -1"] {
        assert!(client.run(wrong).is_error(), "{wrong}");
    }
    client.run("DISCARD");

    let mut link = server.client();
    link.ok("REPLCONF listening-port 7777 capa eof capa psync2");
    link.send(&words("PSYNC ? -1"));
    let mut link = BufReader::new(link.writer());
    let mut line = String::new();
    link.read_line(&mut line).unwrap();
    let id = info(&mut client, "master_replid");
    let offset: u64 = line.trim().strip_prefix(&format!("+FULLRESYNC {id} ")).unwrap().parse().unwrap();
    assert!(snapshot(&mut link).starts_with(b"REDIS0010"));
    client.ok("SET k w");
    let record = request(&["SET", "k", "w"]);
    let mut bytes = vec![0; record.len()];
    link.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, record);
    assert_eq!(number(&mut client, "master_repl_offset"), offset + record.len() as u64);
    // It says how far it is; nothing is answered to that.
    let at = offset + record.len() as u64;
    std::io::Write::write_all(link.get_mut(), &words(&format!("REPLCONF ACK {at} FACK {at}"))).unwrap();
    eventually("its offset is known", || {
        let text = client.run("INFO replication").text();
        text.contains(&format!("port=7777,state=online,offset={at},lag="))
    });
    client.ok("CONFIG SET min-replicas-to-write 1");
    client.ok("SET k x");
    drop(link);
    eventually("writes lack replicas", || client.run("SET k y").text().starts_with("NOREPLICAS"));
    client.ok("CONFIG SET min-replicas-to-write 0");

    // It goes on from what it has had, and from nowhere else.
    let resume = |from: u64, id: &str| {
        let mut link = server.client();
        link.ok("REPLCONF capa eof capa psync2");
        link.send(&words(&format!("PSYNC {id} {from}")));
        let mut link = BufReader::new(link.writer());
        let mut line = String::new();
        link.read_line(&mut line).unwrap();
        (line.trim().to_owned(), link)
    };
    let (said, mut link) = resume(offset + 1, &id);
    assert_eq!(said, format!("+CONTINUE {id}"));
    link.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, record);
    for (from, id) in [(offset, &*id), (offset + 1_000_000, &id), (offset + 1, &"a".repeat(40))] {
        let (said, mut link) = resume(from, id);
        assert!(said.starts_with("+FULLRESYNC "), "{from}: {said}");
        assert!(snapshot(&mut link).starts_with(b"REDIS0010"));
    }
    assert_sound(&server);
}
