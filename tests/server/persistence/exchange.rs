//! Files of a stock redis-server are taken over as they are, and what each of our shards writes is a file set of
//! Redis's, which its own tools accept and a stock redis-server loads.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::super::harness::process::Folder;
use super::super::harness::{eventually, eventually_some, number_from_env, Client, Peer, Random, Value};
use super::{assert_same, fill_as_stock, info, kill, saved, survey, Home, Survey};

const AOF: &[&str] = &["--appendonly", "yes"];

fn random(salt: u64) -> Random {
    Random::new(number_from_env("RINGWARD_SEED", 1) * 100 + salt)
}

/// The files of a redis-server that was filled, with a rewrite on the way, and killed; and what it had.
pub(super) fn of_redis(args: &[&str], salt: u64) -> (Home, Survey) {
    let home = Home::new();
    let peer = Peer::start_in(home.folder.clone(), args);
    let mut client = peer.client();
    let mut random = random(salt);
    fill_as_stock(&mut client, &mut random, 1500);
    if args.contains(&"--appendonly") {
        client.run("BGREWRITEAOF");
        saved(&mut client);
        fill_as_stock(&mut client, &mut random, 300);
        // More than one increment.
        client.ok("CONFIG SET appendonly no");
        client.ok("CONFIG SET appendonly yes");
        saved(&mut client);
        fill_as_stock(&mut client, &mut random, 300);
        client.ok("MULTI");
        client.run("SELECT 5");
        client.run("SET in-a-transaction 1");
        client.run("EXEC");
    } else {
        client.ok("SAVE");
    }
    let survey = survey(&mut client);
    peer.kill();
    (home, survey)
}

/// Whether servers with several numbers of shards find it, and once more from their own files.
fn taken_over(home: &Home, expected: &Survey, args: &[&str]) {
    for shards in [1, 2, 3] {
        let copy = home.copy();
        for round in 0..2 {
            let server = copy.run(shards, args);
            let mut client = server.client();
            assert_same(expected, &survey(&mut client), &format!("{shards} shards, {round}"));
            if args.is_empty() {
                client.ok("SAVE");
            }
            kill(server);
        }
    }
}

#[test]
fn a_dump_of_redis_is_taken_over() {
    let (home, expected) = of_redis(&[], 1);
    taken_over(&home, &expected, &[]);
    let (home, expected) =
        of_redis(&["--rdbcompression", "no", "--rdbchecksum", "no", "--hash-max-listpack-entries", "4"], 2);
    taken_over(&home, &expected, AOF);
}

#[test]
fn an_append_only_folder_of_redis_is_taken_over() {
    for (salt, preamble) in [(3, "yes"), (4, "no")] {
        let (home, expected) = of_redis(&[AOF, &["--aof-use-rdb-preamble", preamble]].concat(), salt);
        taken_over(&home, &expected, AOF);
    }
}

#[test]
fn a_single_file_of_an_older_redis_is_taken_over() {
    for (salt, preamble) in [(5, "yes"), (6, "no")] {
        let (home, expected) = of_redis(&[AOF, &["--aof-use-rdb-preamble", preamble]].concat(), salt);
        let single = Home::new();
        let mut whole = Vec::new();
        let manifest = fs::read_to_string(home.path("appendonlydir/appendonly.aof.manifest")).unwrap();
        for line in manifest.lines().filter(|line| !line.ends_with("type h")) {
            let name = line.split(' ').nth(1).unwrap();
            whole.extend(fs::read(home.path("appendonlydir").join(name)).unwrap());
        }
        assert_eq!(whole.starts_with(b"REDIS"), preamble == "yes");
        fs::write(single.path("appendonly.aof"), &whole).unwrap();
        taken_over(&single, &expected, AOF);
        // Its end may be torn.
        fs::write(single.path("appendonly.aof"), &whole[..whole.len() - 3]).unwrap();
        let server = single.run(2, AOF);
        assert!(server.log().contains("is torn"), "{}", server.log());
        let mut client = server.client();
        client.ok("SELECT 5");
        assert_eq!(client.run("EXISTS in-a-transaction").int(), 0);
    }
}

#[test]
fn a_log_that_does_not_fit_into_maxmemory_is_loaded_all_the_same() {
    let (home, expected) = of_redis(AOF, 7);
    let args = [AOF, &["--maxmemory", "100000", "--maxmemory-policy", "noeviction"]].concat();
    for shards in [1, 3] {
        let server = home.copy().run(shards, &args);
        assert_same(&expected, &survey(&mut server.client()), &format!("{shards} shards"));
    }
}

pub(super) fn checked(program: &str, args: &[&str], folder: &Path, good: &str) {
    let output = Command::new(program).args(args).current_dir(folder).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(good), "{program} {args:?}: {text}");
}

/// What several servers have together. There is no digest of that.
fn together(clients: &mut [Client], expected: &Survey) -> Survey {
    let keys = clients.iter_mut().flat_map(|client| survey(client).keys).collect();
    Survey { digest: expected.digest.clone(), keys }
}

#[test]
fn each_shards_log_is_one_of_redis() {
    for (salt, preamble) in [(8, "yes"), (9, "no")] {
        let home = Home::new();
        let args = [AOF, &["--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes"]].concat();
        let server = home.run(2, &args);
        let mut client = server.client();
        let mut random = random(salt);
        fill_as_stock(&mut client, &mut random, 1000);
        client.run("BGREWRITEAOF");
        saved(&mut client);
        for db in [0, 2] {
            client.ok(&format!("SELECT {db}"));
            for key in 0..30 {
                client.ok(&format!("MSET a{key} 1 b{key} 2 c{key} 3"));
                client.run(&format!("RPUSH l{key} 1 2 3"));
                client.run(&format!("LMOVE l{key} m{key} LEFT RIGHT"));
                client.run(&format!("SET e{key} 1 EX 100000"));
            }
        }
        client.ok("SELECT 0");
        eventually("all is written", || info(&mut client, "aof_buffer_length") == "0");
        let expected = survey(&mut client);
        kill(server);
        let logs = home.path("appendonlydir");
        let mut peers = Vec::new();
        for shard in ["g1-0of2", "g1-1of2"] {
            let folder = logs.join(shard);
            checked(
                "redis-check-aof",
                &["appendonly.aof.manifest"],
                &folder,
                "All AOF files and manifest are valid",
            );
            let copy = Arc::new(Folder::new());
            fs::create_dir(copy.join(shard)).unwrap();
            for entry in fs::read_dir(&folder).unwrap().flatten() {
                fs::copy(entry.path(), copy.join(shard).join(entry.file_name())).unwrap();
            }
            let args = [AOF, &["--appenddirname", shard]].concat();
            peers.push(Peer::start_in(copy, &args));
        }
        let mut clients: Vec<Client> = peers.iter().map(Peer::client).collect();
        assert_same(
            &expected,
            &together(&mut clients, &expected),
            &format!("redis-server, preamble {preamble}"),
        );
    }
}

#[test]
fn each_shards_snapshot_is_one_of_redis() {
    let home = Home::new();
    let server = home.run(3, &[]);
    let mut client = server.client();
    fill_as_stock(&mut client, &mut random(10), 1500);
    client.ok("SAVE");
    let expected = survey(&mut client);
    kill(server);
    let mut peers = Vec::new();
    for name in home.files().iter().filter(|name| name.ends_with(".rdb")) {
        checked("redis-check-rdb", &[name], &home.folder, "RDB looks OK");
        let copy = Arc::new(Folder::new());
        fs::copy(home.path(name), copy.join("dump.rdb")).unwrap();
        peers.push(Peer::start_in(copy, &[]));
    }
    assert_eq!(peers.len(), 3);
    let mut clients: Vec<Client> = peers.iter().map(Peer::client).collect();
    assert_same(&expected, &together(&mut clients, &expected), "redis-server");
}

#[test]
fn a_snapshot_of_a_stock_server_is_replaced_by_the_next_of_ours() {
    let (home, expected) = of_redis(&[], 11);
    let server = home.run(2, &[]);
    let mut client = server.client();
    client.ok("SET more 1");
    client.ok("SAVE");
    eventually("it is removed", || !home.path("dump.rdb").exists());
    kill(server);
    let server = home.run(3, &[]);
    let mut client = server.client();
    assert_eq!(client.run("DEL more"), Value::Int(1));
    assert_same(&expected, &survey(&mut client), "after");
}

/// The second that the server's clock tells.
fn second(client: &mut Client) -> u64 {
    client.run("TIME").items()[0].text().parse().unwrap()
}

/// Waits until the server's clock tells a later second, and gives that.
fn next_second(client: &mut Client) -> u64 {
    let before = second(client);
    eventually_some("a second passes", || Some(second(client)).filter(|&now| now > before))
}

/// The seconds that a file's time stamps tell.
fn stamps(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let lines = bytes.split(|&byte| byte == b'\n');
    let stamps = lines.filter_map(|line| line.strip_prefix(b"#TS:")?.strip_suffix(b"\r"));
    stamps.map(|secs| std::str::from_utf8(secs).unwrap().parse().unwrap()).collect()
}

#[test]
fn time_stamps_are_those_of_redis_and_its_tool_cuts_our_files_off_at_them() {
    for preamble in ["yes", "no"] {
        let home = Home::new();
        let args = [
            AOF,
            &[
                "--appendfsync",
                "always",
                "--aof-timestamp-enabled",
                "yes",
                "--aof-use-rdb-preamble",
                preamble,
            ],
        ]
        .concat();
        let server = home.run(2, &args);
        let mut client = server.client();
        let first = second(&mut client);
        client.ok("MSET a 1 b 1 c 1 d 1 e 1 f 1");
        client.ok("SET a 2");
        let until = next_second(&mut client);
        client.ok("MSET a 3 b 3 c 3 d 3 e 3 f 3");
        let later = next_second(&mut client);
        client.ok("SET g 1");
        client.ok("MSET a 4 b 4 c 4 d 4 e 4 f 4");
        let last = second(&mut client);
        let folders = ["g1-0of2", "g1-1of2"].map(|name| home.path("appendonlydir").join(name));
        for folder in &folders {
            let increment = folder.join("appendonly.aof.1.incr.aof");
            // Where the stream is comes first, then the time, before any record.
            let bytes = fs::read(&increment).unwrap();
            let first_record = bytes.iter().position(|&byte| byte == b'*').unwrap();
            assert!(bytes[..first_record].windows(4).any(|piece| piece == b"#TS:"));
            let stamps = stamps(&increment);
            assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "once each second: {stamps:?}");
            assert!(stamps[0] >= first && stamps.last() <= Some(&last), "{first} to {last}: {stamps:?}");
            assert!(stamps.len() >= 3, "{stamps:?}");
            let base = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
            let base = base.into_iter().find(|path| path.display().to_string().contains(".base.")).unwrap();
            assert_eq!(fs::read(base).unwrap().starts_with(b"#TS:"), preamble == "no");
        }
        // It can be switched off and on while the server runs.
        client.ok("CONFIG SET aof-timestamp-enabled no");
        next_second(&mut client);
        client.ok("MSET a 5 b 5 c 5 d 5 e 5 f 5");
        let count = |folder: &std::path::PathBuf| stamps(&folder.join("appendonly.aof.1.incr.aof")).len();
        let before = folders.each_ref().map(count);
        client.ok("CONFIG SET aof-timestamp-enabled yes");
        next_second(&mut client);
        assert_eq!(folders.each_ref().map(count), before);
        client.ok("MSET a 6 b 6 c 6 d 6 e 6 f 6");
        assert_eq!(folders.each_ref().map(count), before.map(|count| count + 1));
        kill(server);
        let whole = home.copy();
        for folder in &folders {
            let secs = (later - 1).max(until).to_string();
            let args = ["--truncate-to-timestamp", &secs, "appendonly.aof.manifest"];
            checked("redis-check-aof", &args, folder, "Successfully truncated AOF");
        }
        for shards in [2, 3] {
            let server = home.copy().run(shards, &args);
            let mut client = server.client();
            assert_eq!(client.run("MGET a b c d e f").items(), [(); 6].map(|()| Value::bulk("3")));
            assert_eq!(client.run("EXISTS g").int(), 0);
        }
        let server = whole.run(2, &args);
        assert_eq!(server.client().run("MGET a g").items(), [Value::bulk("6"), Value::bulk("1")]);
    }
}
