//! Files that are torn, damaged, missing, stale or named by mistake.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringward::base::key::shard_of_key;

use super::super::harness::{eventually, words, Value};
use super::{assert_same, kill, saved, snapshot, survey, Home, SYNCED_AOF};

/// A shard's newest increment.
fn increment(home: &Home, shard: u16, shards: u16) -> PathBuf {
    let part = format!("-{shard}of{shards}/");
    let files = home.files();
    let name = files.iter().rfind(|name| name.contains(&part) && name.ends_with(".incr.aof"));
    home.path(name.unwrap_or_else(|| panic!("no increment: {files:?}")))
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn truncate(path: &Path, len: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Keys on different shards of two.
fn keys_on_both() -> [String; 2] {
    [0, 1].map(|shard| {
        let mut keys = (0..1000).map(|number| format!("key{number}"));
        keys.find(|key| shard_of_key(key.as_bytes(), 2).0 == shard).unwrap()
    })
}

/// The files of a server that was killed after these commands.
fn with_last(before: &[&str], last: &[&str]) -> Home {
    let home = Home::new();
    let server = home.run(1, SYNCED_AOF);
    let mut client = server.client();
    for line in before.iter().chain(last) {
        let reply = client.run(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    kill(server);
    home
}

#[test]
fn a_torn_record_is_cut_off_at_every_byte() {
    for last in [
        &["SET last 1"][..],
        &["SELECT 3", "SET last 1"],
        &["MULTI", "SET last 1", "INCR last", "LPUSH list x", "EXEC"],
    ] {
        let whole = with_last(&["SET first 1", "RPUSH list a"], last);
        let path = increment(&whole, 0, 1);
        let full = len(&path);
        let start = with_last(&["SET first 1", "RPUSH list a"], &[]);
        let start = len(&increment(&start, 0, 1));
        let step = if full - start > 60 { 7 } else { 3 };
        for cut in (start + 1..full).step_by(step).chain([full - 1]) {
            let home = whole.copy();
            truncate(&increment(&home, 0, 1), cut);
            let server = home.run(1, SYNCED_AOF);
            assert!(server.log().contains("is torn"), "cut at {cut}:\n{}", server.log());
            let mut client = server.client();
            assert_eq!(client.run("DBSIZE").int(), 2, "cut at {cut}");
            assert_eq!(client.run("LRANGE list 0 -1").items().len(), 1);
            // What comes next stands where the torn record stood.
            client.ok("SET next 2");
            kill(server);
            let server = home.run(1, SYNCED_AOF);
            assert!(!server.log().contains("is torn"));
            assert_eq!(server.client().run("MGET first next").items(), [Value::bulk("1"), Value::bulk("2")]);
        }
    }
}

#[test]
fn a_torn_record_is_refused_where_truncated_logs_are() {
    let home = with_last(&["SET first 1"], &["SET last 1"]);
    let path = increment(&home, 0, 1);
    let full = len(&path);
    truncate(&path, full - 3);
    let args = [SYNCED_AOF, &["--aof-load-truncated", "no"]].concat();
    let (code, log) = home.start(1, &args).refused_after_loading();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("Unexpected end of file reading the append only file"), "{log}");
    assert!(log.contains("appendonly.aof.1.incr.aof") && log.contains("whole up to byte"), "{log}");
    assert_eq!(len(&path), full - 3, "a refused file is left as it is");
}

/// As a switch of increments leaves it whose manifest got its name, and that failed then: records go on to the old one.
#[test]
fn the_last_increment_with_records_may_be_torn_where_only_empty_ones_follow() {
    let whole = Home::new();
    let server = whole.run(2, SYNCED_AOF);
    let mut client = server.client();
    let [a, b] = keys_on_both();
    client.ok(&format!("MSET {a} 1 {b} 1"));
    client.ok(&format!("MSET {a} 2 {b} 2"));
    kill(server);
    for shard in 0..2 {
        let folder = whole.path(&format!("appendonlydir/g1-{shard}of2"));
        let manifest = folder.join("appendonly.aof.manifest");
        let mut text = fs::read_to_string(&manifest).unwrap();
        for cut in [2, 3] {
            text += &format!("file appendonly.aof.{cut}.incr.aof seq {cut} type i\n");
            fs::write(folder.join(format!("appendonly.aof.{cut}.incr.aof")), "").unwrap();
        }
        fs::write(&manifest, text).unwrap();
    }
    let old = whole.path("appendonlydir/g1-1of2/appendonly.aof.1.incr.aof");
    let full = len(&old);
    // Within the last part's MULTI.
    truncate(&old, full - 16);
    for shards in [2, 3] {
        let home = whole.copy();
        let args = [SYNCED_AOF, &["--aof-load-truncated", "no"]].concat();
        let (_, log) = home.start(shards, &args).refused_after_loading();
        assert!(log.contains("appendonly.aof.1.incr.aof: it is whole up to byte"), "{log}");
        for life in 0..2 {
            let server = home.run(shards, SYNCED_AOF);
            assert_eq!(server.log().contains("is torn"), life == 0, "{shards} shards:\n{}", server.log());
            let mut client = server.client();
            let expected = [Value::bulk((life + 1).to_string()), Value::bulk("1")];
            assert_eq!(
                client.run(&format!("MGET {a} {b}")).items(),
                expected,
                "{shards} shards, life {life}"
            );
            client.ok(&format!("SET {a} 2"));
            kill(server);
        }
    }
    // Anything in the increments behind it shows that it was left whole: then it is damaged.
    let home = whole.copy();
    fs::write(home.path("appendonlydir/g1-1of2/appendonly.aof.3.incr.aof"), "*1\r\n").unwrap();
    let (_, log) = home.start(2, SYNCED_AOF).refused_after_loading();
    assert!(log.contains("appendonly.aof.1.incr.aof: it is whole up to byte"), "{log}");
}

/// What a foreign log's commands answer is looked at: they did nothing, which somebody should know.
#[test]
fn errors_that_the_commands_of_a_log_answer_are_told() {
    let home = Home::new();
    let lines =
        ["SET a x", "INCR a", "MULTI", "SET b 1", "LPUSH b 1", "SADD b 1", "EXEC", "SET c 1", "LPUSH c 1"];
    let mut log: Vec<u8> = lines.iter().flat_map(|line| words(line)).collect();
    for number in 0..20 {
        log.extend(words(&format!("HSET a field{number} {}", "v".repeat(300))));
    }
    fs::write(home.path("appendonly.aof"), &log).unwrap();
    let server = home.run(2, SYNCED_AOF);
    let text = server.log();
    let place = |line: &str| {
        let at = lines.iter().position(|other| *other == line).unwrap();
        lines[..at].iter().map(|line| words(line).len()).sum::<usize>()
    };
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for (line, error) in [
        ("INCR a", "ERR value is not an integer or out of range"),
        ("LPUSH b 1", wrong),
        ("SADD b 1", wrong),
        ("LPUSH c 1", wrong),
    ] {
        let told = format!(
            "Loading appendonly.aof: the command at byte {} is answered with an error: '{error}' after '{line}'",
            place(line)
        );
        assert!(text.contains(&told), "{told}\n{text}");
    }
    assert_eq!(text.matches("is answered with an error").count(), 10, "{text}");
    assert!(text.contains("24 commands of the log were answered with errors"), "{text}");
    assert!(text.lines().all(|line| line.len() < 400), "{text}");
    let mut client = server.client();
    assert_eq!(client.run("MGET a b c").items(), ["x", "1", "1"].map(Value::bulk));
    kill(server);
    // The same in a shard's own log.
    let home = with_last(&["SET a x"], &[]);
    let path = increment(&home, 0, 1);
    let whole = len(&path);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&words("INCR a"), whole).unwrap();
    let server = home.run(1, SYNCED_AOF);
    let told = format!("the command at byte {whole} is answered with an error: 'ERR value is not an integer");
    assert!(server.log().contains(&told), "{}", server.log());
}

#[test]
fn damage_in_the_middle_is_refused_with_its_place() {
    let whole = with_last(&["SET a 1", "SET b 2", "SET c 3"], &[]);
    // Before the records stands where their stream is.
    let bytes = fs::read(increment(&whole, 0, 1)).unwrap();
    let start = bytes.iter().position(|&byte| byte == b'*').unwrap() as u64;
    for (at, bytes, shards) in [(1u64, &b"x"[..], 1), (27, b"?", 1), (28, b"garbage", 1), (28, b"*9", 2)] {
        let home = whole.copy();
        let path = increment(&home, 0, 1);
        fs::File::options().write(true).open(&path).unwrap().write_all_at(bytes, start + at).unwrap();
        let (code, log) = home.start(shards, SYNCED_AOF).refused_after_loading();
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("appendonly.aof.1.incr.aof"), "{log}");
        if bytes != b"*9" {
            assert!(log.contains("Bad file format reading the append only file"), "{log}");
            let at = start + if at < 27 { 0 } else { 27 };
            assert!(log.contains(&format!("at byte {at}")), "{at}: {log}");
        }
    }
}

/// What would end the session that runs a foreign log, or make it wait for ever.
#[test]
fn a_foreign_log_with_commands_that_no_log_has_is_refused() {
    for command in [
        "QUIT",
        "BLPOP l 0",
        "MONITOR",
        "SHUTDOWN NOSAVE",
        "CLIENT REPLY OFF",
        "RESET",
        "nonsense",
        "MIGRATE h 1 k 0 0",
    ] {
        let home = Home::new();
        let log: Vec<u8> = ["SET a 1", command, "SET b 2"].iter().flat_map(|line| words(line)).collect();
        fs::write(home.path("appendonly.aof"), log).unwrap();
        let (code, log) = home.start(2, SYNCED_AOF).refused_after_loading();
        assert_eq!(code, 1, "{command}: {log}");
        let name = command.split(' ').next().unwrap();
        assert!(
            log.contains("appendonly.aof") && log.contains(&format!("'{name}' at byte 27")),
            "{command}: {log}"
        );
    }
}

#[test]
fn a_tail_of_zeros_is_refused_or_cut_off_but_never_loaded() {
    // As a file system may leave it after the machine stopped.
    let home = with_last(&["SET a 1"], &[]);
    let path = increment(&home, 0, 1);
    let full = len(&path);
    truncate(&path, full + 100);
    let (code, log) = home.start(1, SYNCED_AOF).refused_after_loading();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("at byte {full}")), "{log}");
}

#[test]
fn half_a_transaction_is_not_loaded_and_nothing_after_it() {
    for shards in [2, 3] {
        for torn in [0, 1] {
            let home = Home::new();
            let server = home.run(2, SYNCED_AOF);
            let mut client = server.client();
            let [a, b] = keys_on_both();
            client.ok(&format!("MSET {a} 1 {b} 1"));
            let at = increment(&home, torn, 2);
            let whole = len(&at);
            client.ok(&format!("MSET {a} 2 {b} 2"));
            client.ok(&format!("SET {a} 3"));
            client.ok(&format!("SET {b} 3"));
            client.ok(&format!("MSET {a} 4 {b} 4"));
            kill(server);
            truncate(&at, whole);
            let server = home.run(shards, SYNCED_AOF);
            let values = server.client().run(&format!("MGET {a} {b}"));
            assert_eq!(values.items(), [Value::bulk("1"), Value::bulk("1")], "{shards} shards");
        }
    }
}

#[test]
fn a_transactions_number_is_not_used_again() {
    let home = Home::new();
    let mut a_and_b = None;
    // The first transactions of two lives, of which the second is torn.
    for life in 1..=2 {
        let server = home.run(2, SYNCED_AOF);
        let mut client = server.client();
        let [a, b] = keys_on_both();
        let whole = len(&increment(&home, 1, 2));
        client.ok(&format!("MSET {a} {life} {b} {life}"));
        kill(server);
        if life == 2 {
            truncate(&increment(&home, 1, 2), whole);
        }
        a_and_b = Some(format!("MGET {a} {b}"));
    }
    let server = home.run(2, SYNCED_AOF);
    let values = server.client().run(&a_and_b.unwrap());
    assert_eq!(values.items(), [Value::bulk("1"), Value::bulk("1")]);
}

/// A folder with an append-only file that was rewritten once, and what is in it.
fn rewritten() -> Home {
    let home = Home::new();
    let server = home.run(2, SYNCED_AOF);
    let mut client = server.client();
    for key in 0..20 {
        client.ok(&format!("SET k{key} {key}"));
    }
    client.run("BGREWRITEAOF");
    saved(&mut client);
    client.ok("SET after 1");
    kill(server);
    home
}

#[test]
fn a_member_of_the_log_that_is_missing_is_named() {
    let whole = rewritten();
    for name in whole.files().iter().filter(|name| name.contains("/g1-")) {
        for shards in [2, 3] {
            let home = whole.copy();
            fs::remove_file(home.path(name)).unwrap();
            let before = home.files();
            let (code, log) = home.start(shards, SYNCED_AOF).refused_after_loading();
            assert_eq!(code, 1, "{log}");
            assert!(log.contains(name) && log.contains("is not there"), "{name}: {log}");
            assert_eq!(home.files(), before, "a server that refuses removes nothing");
        }
    }
}

#[test]
fn a_manifest_that_is_damaged_is_refused() {
    let whole = rewritten();
    for name in whole.files().iter().filter(|name| name.ends_with("manifest")) {
        let text = fs::read(whole.path(name)).unwrap();
        for damaged in [&text[..text.len() - 1], &text[..text.len() / 2], b"", b"nonsense\n"] {
            let home = whole.copy();
            fs::write(home.path(name), damaged).unwrap();
            let before = home.files();
            let (code, log) = home.start(2, SYNCED_AOF).refused_after_loading();
            assert_eq!(code, 1, "{log}");
            assert!(log.contains(name), "{name}: {log}");
            assert_eq!(home.files(), before, "a server that refuses removes nothing");
        }
    }
}

#[test]
fn files_that_are_left_over_are_removed_and_others_are_not() {
    let home = rewritten();
    let expected = home.files();
    let stale = [
        "appendonlydir/g1-0of2/appendonly.aof.1.base.rdb",
        "appendonlydir/g1-1of2/appendonly.aof.9.incr.aof",
        "appendonlydir/g1-1of2/temp-appendonly.aof.base",
        "appendonlydir/g2-0of3/appendonly.aof.manifest",
        "temp-dump-123-0of2.rdb",
    ];
    let foreign = ["appendonlydir/mine.txt", "notes.txt", "dump-old.rdb", "appendonlydir/g2-old/x"];
    for name in stale.iter().chain(&foreign) {
        fs::create_dir_all(home.path(name).parent().unwrap()).unwrap();
        fs::write(home.path(name), "REDIS0011 nonsense").unwrap();
    }
    let server = home.run(2, SYNCED_AOF);
    assert_eq!(server.client().run("DBSIZE").int(), 21);
    let mut files = expected;
    files.extend(foreign.map(str::to_owned));
    files.sort();
    assert_eq!(home.files(), files);
    for name in stale {
        assert!(server.log().contains(&format!("Removed {name}, which was left over")), "{name}");
    }
}

#[test]
fn a_snapshot_of_which_a_file_is_missing_or_changed_is_refused() {
    let whole = snapshot();
    let files: Vec<_> = whole.files().into_iter().filter(|name| name.ends_with(".rdb")).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for name in &files {
        for shards in [2, 3] {
            let home = whole.copy();
            fs::remove_file(home.path(name)).unwrap();
            let (_, log) = home.start(shards, &[]).refused_after_loading();
            assert!(log.contains(name) && log.contains("is not there"), "{log}");
            let home = whole.copy();
            truncate(&home.path(name), len(&home.path(name)) - 1);
            let (_, log) = home.start(shards, &[]).refused_after_loading();
            assert!(log.contains(name) && log.contains("bytes, but it has"), "{log}");
            let home = whole.copy();
            let file = fs::File::options().write(true).open(home.path(name)).unwrap();
            // In the middle of the values: the checksum tells.
            file.write_all_at(b"#", len(&home.path(name)) - 15).unwrap();
            let (_, log) = home.start(shards, &[]).refused_after_loading();
            assert!(log.contains(name), "{log}");
            assert_eq!(home.files(), whole.files());
        }
    }
    let home = whole.copy();
    fs::write(home.path("dump.rdb.manifest"), "format 1\n").unwrap();
    let (_, log) = home.start(2, &[]).refused_after_loading();
    assert!(log.contains("dump.rdb.manifest"), "{log}");
    assert_eq!(home.files(), whole.files());
}

#[test]
fn a_checksum_is_not_looked_at_where_there_are_to_be_none() {
    let whole = snapshot();
    let files: Vec<_> = whole.files().into_iter().filter(|name| name.ends_with(".rdb")).collect();
    for (shards, name) in [(2, &files[0]), (3, &files[1])] {
        let home = whole.copy();
        let file = fs::File::options().write(true).open(home.path(name)).unwrap();
        // In the middle of a value.
        file.write_all_at(b"#", len(&home.path(name)) - 15).unwrap();
        let (_, log) = home.start(shards, &[]).refused_after_loading();
        assert!(log.contains("the checksum is"), "{log}");
        let server = home.run(shards, &["--rdbchecksum", "no"]);
        let mut client = server.client();
        assert_eq!(client.run("DBSIZE").int(), 20);
        // What is saved now has none, and is loaded by those who want one: zero is none.
        client.ok("SAVE");
        kill(server);
        let server = home.run(shards, &[]);
        assert_eq!(server.client().run("DBSIZE").int(), 20);
    }
}

#[test]
fn a_snapshot_whose_manifest_is_lost_is_not() {
    let whole = snapshot();
    let names: Vec<_> = whole.files().into_iter().filter(|name| name.ends_with(".rdb")).collect();
    fs::remove_file(whole.path("dump.rdb.manifest")).unwrap();
    for shards in [2, 3] {
        // All its files are there: it is loaded.
        let home = whole.copy();
        let server = home.run(shards, &[]);
        let mut client = server.client();
        assert_eq!(client.run("DBSIZE").int(), 20, "{shards} shards");
        assert!(server.log().contains("dump.rdb.manifest is not there, but all files of a snapshot are"));
        assert!(names.iter().all(|name| home.files().contains(name)));
        // The next one takes its place.
        client.ok("SAVE");
        eventually("it is removed", || !home.path(&names[0]).exists() && !home.path(&names[1]).exists());
        assert_eq!(home.files().len(), usize::from(shards) + 1);
        // One of them is not: the others are kept, under a name that nothing removes.
        let home = whole.copy();
        fs::remove_file(home.path(&names[1])).unwrap();
        let kept = format!("kept-{}", names[0]);
        let before = fs::read(home.path(&names[0])).unwrap();
        for round in 0..2 {
            let server = home.run(shards, &[]);
            assert_eq!(server.log().contains(&kept), round == 0, "{}", server.log());
            let mut client = server.client();
            assert_eq!(client.run("DBSIZE").int(), 0);
            client.ok("SAVE");
            kill(server);
            assert_eq!(fs::read(home.path(&kept)).unwrap(), before);
        }
    }
}

#[test]
fn a_snapshot_made_while_the_log_counts_takes_the_place_of_the_one_before() {
    let home = snapshot();
    let snapshots = || {
        let mut names = home.files();
        names.retain(|name| name.starts_with("dump-"));
        names
    };
    let before = snapshots();
    kill(home.run(2, SYNCED_AOF));
    // Now the log is loaded, and not the snapshot.
    let server = home.run(2, SYNCED_AOF);
    assert_eq!(snapshots(), before);
    server.client().ok("SAVE");
    eventually("the old ones are removed", || !before.iter().any(|name| home.path(name).exists()));
    assert_eq!(snapshots().len(), 2);
}

#[test]
fn a_stock_snapshot_that_was_put_beside_ours_is_not_guessed_about() {
    let home = snapshot();
    fs::write(home.path("dump.rdb"), "REDIS0011 nonsense").unwrap();
    let (_, log) = home.start(2, &[]).refused_after_loading();
    assert!(log.contains("it cannot be told which is newer"), "{log}");
}

#[test]
fn two_servers_do_not_share_a_folder() {
    for args in [SYNCED_AOF, &["--save", "60 1"]] {
        let home = Home::new();
        let first = home.run(1, args);
        let other = Home { folder: home.folder.clone(), ..Home::new() };
        let (code, log) = other.start(1, args).refused_after_loading();
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("Another server uses the files of"), "{log}");
        // One that writes nothing by itself may.
        kill(first);
        let second = other.run(1, args);
        assert_eq!(second.client().run("PING"), Value::simple("PONG"));
    }
}

#[test]
fn what_is_shut_down_while_it_rewrites_is_whole() {
    let home = Home::new();
    let server = home.run(2, SYNCED_AOF);
    let mut client = server.client();
    for part in 0..50 {
        let pairs: Vec<_> = (0..100).map(|n| format!("k{part}:{n} {}", "x".repeat(500))).collect();
        client.ok(&format!("MSET {}", pairs.join(" ")));
    }
    let before = survey(&mut client);
    client.run("BGREWRITEAOF");
    client.send(&words("SHUTDOWN"));
    server.wait_exit();
    let server = home.run(2, SYNCED_AOF);
    assert_same(&before, &survey(&mut server.client()), "after");
}

#[test]
fn a_shutdown_that_saves_waits_for_what_is_being_saved() {
    for first in ["BGSAVE", "BGREWRITEAOF"] {
        let home = Home::new();
        let args = [SYNCED_AOF, &["--save", "10000 10000"]].concat();
        let server = home.run(2, &args);
        let mut client = server.client();
        for part in 0..50 {
            let pairs: Vec<_> = (0..100).map(|n| format!("k{part}:{n} {}", "x".repeat(500))).collect();
            client.ok(&format!("MSET {}", pairs.join(" ")));
        }
        client.send(&[words(first), words("SHUTDOWN")].concat());
        let status = server.wait_exit();
        assert!(status.success(), "{first}:\n{}", server.log());
        assert!(home.files().contains(&"dump.rdb.manifest".to_owned()), "{:?}", home.files());
    }
}
