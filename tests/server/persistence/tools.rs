//! `ringward rdb merge` and `ringward rdb split`: between the snapshot of all shards and one file of a stock server.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::super::harness::process::{ringward, Folder};
use super::super::harness::{number_from_env, Peer, Random};
use super::exchange::{checked, of_redis};
use super::{assert_same, fill, fill_as_stock, kill, saved, snapshot, survey, Home};

const AOF: &[&str] = &["--appendonly", "yes"];

fn random(salt: u64) -> Random {
    Random::new(number_from_env("RINGWARD_SEED", 1) * 100 + 50 + salt)
}

fn tool(args: &[&str], folder: &Path) -> Output {
    Command::new(ringward()).arg("rdb").args(args).current_dir(folder).output().unwrap()
}

/// Runs a tool that must succeed; what it said.
#[track_caller]
fn run(args: &[&str], folder: &Path) -> String {
    let output = tool(args, folder);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

/// Runs a tool that must fail; what it said.
#[track_caller]
fn refused(args: &[&str], folder: &Path) -> String {
    let output = tool(args, folder);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    said
}

/// What a stock server has that finds the file as its own.
#[track_caller]
fn in_redis(file: &Path) -> super::Survey {
    let folder = std::sync::Arc::new(Folder::new());
    fs::copy(file, folder.join("dump.rdb")).unwrap();
    checked("redis-check-rdb", &["dump.rdb"], &folder, "RDB looks OK");
    let peer = Peer::start_in(folder, &[]);
    survey(&mut peer.client())
}

fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

#[test]
fn a_merged_snapshot_is_a_file_of_redis() {
    for (shards, args) in [(1, &[][..]), (3, &["--rdbcompression", "no"]), (3, &["--rdbchecksum", "no"])] {
        let home = Home::new();
        let server = home.run(shards, args);
        let mut client = server.client();
        fill_as_stock(&mut client, &mut random(u64::from(shards)), 1500);
        client.ok("SAVE");
        let expected = survey(&mut client);
        // The server goes on meanwhile, with what is not in the snapshot.
        client.ok("SET later 1");
        let made = Folder::new();
        let said = run(&["merge", "--out", "merged.rdb", home.folder.to_str().unwrap()], &made);
        let merged = fs::read(made.join("merged.rdb")).unwrap();
        assert!(merged.starts_with(b"REDIS0010"));
        let keys = expected.keys.len();
        let line = format!(
            "merged {shards} file{}: {keys} keys, {} bytes",
            if shards == 1 { "" } else { "s" },
            merged.len()
        );
        assert_eq!(said, format!("{line}\n"));
        assert_same(&expected, &in_redis(&made.join("merged.rdb")), &format!("{shards} shards"));
        assert_eq!(fs::read_dir(&*made).unwrap().count(), 1, "nothing else is left");
        let output = tool(&["merge", "-q", home.folder.to_str().unwrap()], &made);
        assert!(output.stdout == merged && output.stderr.is_empty(), "the same on standard output");
    }
}

#[test]
fn a_split_file_is_a_snapshot_of_that_many_shards() {
    let (home, expected) = of_redis(&[], 12);
    for shards in [1, 2, 5] {
        let made = Home::new();
        let number = shards.to_string();
        let to = made.folder.to_str().unwrap();
        let said = run(&["split", "--shards", &number, "--out", to, "dump.rdb"], &home.folder);
        let line = format!("split into {shards} files: {} keys, ", expected.keys.len());
        assert!(last_line(&said).starts_with(&line), "{said}");
        let files = made.files();
        assert_eq!(files.len(), usize::from(shards) + 1, "{files:?}");
        for name in files.iter().filter(|name| name.ends_with(".rdb")) {
            checked("redis-check-rdb", &[name], &made.folder, "RDB looks OK");
        }
        // There and back again.
        run(&["merge", "--out", "merged.rdb", to], &home.folder);
        assert_same(&expected, &in_redis(&home.path("merged.rdb")), &format!("{shards} shards, merged"));
        // As its own: each shard reads its file alone.
        let server = made.run(shards, &[]);
        let loads = server.log().lines().filter(|line| line.contains("Loading dump-")).count();
        assert_eq!(loads, usize::from(shards));
        assert_same(&expected, &survey(&mut server.client()), &format!("{shards} shards"));
        kill(server);
        let server = made.run(3, AOF);
        assert_same(&expected, &survey(&mut server.client()), &format!("{shards} shards, then 3"));
    }
}

#[test]
fn fields_that_expire_take_the_version_that_has_them() {
    let home = Home::new();
    let server = home.run(2, &[]);
    let mut client = server.client();
    fill(&mut client, &mut random(3), 500);
    client.ok("SAVE");
    let expected = survey(&mut client);
    let made = Home::new();
    let dir = home.folder.to_str().unwrap();
    let said = run(&["merge", "--out", "dump.rdb", dir], &made.folder);
    assert!(said.contains("version 12 of the format, which Redis 7.4 reads"), "{said}");
    assert!(fs::read(made.path("dump.rdb")).unwrap().starts_with(b"REDIS0012"));
    let other = made.run(3, &[]);
    assert_same(&expected, &survey(&mut other.client()), "taken over");
    kill(other);
    // In place: the snapshot takes the place of the file that it is made of.
    let said = run(&["split", "-n", "2", "dump.rdb"], &made.folder);
    assert!(last_line(&said).contains("is out of date now"), "{said}");
    let other = made.run(2, &[]);
    assert_same(&expected, &survey(&mut other.client()), "split");
    assert!(!made.path("dump.rdb").exists());
    // Where they are gone the server still says that there may be some.
    client.ok("FLUSHALL");
    assert_eq!(client.run("HSET h a 1 b 2").int(), 2);
    client.run("HPEXPIREAT h 2000000000000 FIELDS 1 a");
    client.ok("SET {h}s 1");
    assert_eq!(client.run("DEL h").int(), 1);
    client.ok("SAVE");
    let shards = home.files();
    let is_newer = |name: &String| {
        name.ends_with(".rdb") && fs::read(home.path(name)).unwrap().starts_with(b"REDIS0012")
    };
    assert!(shards.iter().any(is_newer));
    let said = run(&["merge", "--out", "second.rdb", dir], &made.folder);
    assert!(fs::read(made.path("second.rdb")).unwrap().starts_with(b"REDIS0010"), "{said}");
    assert_eq!(in_redis(&made.path("second.rdb")).keys.len(), 1);
}

#[test]
fn a_damaged_snapshot_is_refused_and_nothing_is_left_of_the_merge() {
    let whole = snapshot();
    let name = whole.files().into_iter().find(|name| name.contains("1of2")).unwrap();
    let len = fs::metadata(whole.path(&name)).unwrap().len();
    let out = Folder::new();
    let merge = |home: &Home| {
        let said = refused(&["merge", "--out", "merged.rdb", home.folder.to_str().unwrap()], &out);
        assert_eq!(fs::read_dir(&*out).unwrap().count(), 0, "nothing is left");
        said
    };
    let home = whole.copy();
    let file = File::options().write(true).open(home.path(&name)).unwrap();
    file.write_all_at(b"#", len - 15).unwrap();
    let said = merge(&home);
    assert!(said.contains(&name) && said.contains(&format!("at byte {}", len - 8)), "{said}");
    let output = tool(&["merge", home.folder.to_str().unwrap()], &out);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("What was written is no whole file"), "{said}");
    // Another file than the manifest tells of, though it is whole.
    let home = whole.copy();
    let mut bytes = fs::read(home.path(&name)).unwrap();
    bytes[len as usize - 8..].fill(0);
    fs::write(home.path(&name), bytes).unwrap();
    let said = merge(&home);
    assert!(said.contains(&name) && said.contains("another file than the manifest names"), "{said}");
    let home = whole.copy();
    fs::remove_file(home.path(&name)).unwrap();
    let said = merge(&home);
    assert!(said.contains(&name) && said.contains("is not there"), "{said}");
    let home = whole.copy();
    file_of(&home, &name).set_len(len - 1).unwrap();
    assert!(merge(&home).contains("bytes, but it has"));
    // Without its manifest it is still known by its names.
    let home = whole.copy();
    fs::remove_file(home.path("dump.rdb.manifest")).unwrap();
    let said = run(&["merge", "--out", "merged.rdb", home.folder.to_str().unwrap()], &out);
    assert!(said.contains("dump.rdb.manifest is not there"), "{said}");
    assert!(last_line(&said).starts_with("merged 2 files: 20 keys"), "{said}");
}

fn file_of(home: &Home, name: &str) -> File {
    File::options().write(true).open(home.path(name)).unwrap()
}

#[test]
fn a_damaged_file_is_not_split_and_nothing_is_left() {
    let (home, _) = of_redis(&[], 13);
    let file = fs::read(home.path("dump.rdb")).unwrap();
    let out = Home::new();
    let to = out.folder.to_str().unwrap();
    let cut = file.len() - 20;
    fs::write(home.path("cut.rdb"), &file[..cut]).unwrap();
    let said = refused(&["split", "--shards", "2", "--out", to, "cut.rdb"], &home.folder);
    assert_eq!(said, format!("ringward rdb split: cut.rdb: the file ends before its end at byte {cut}\n"));
    fs::write(home.path("none.rdb"), "nonsense, and quite a lot of it").unwrap();
    let said = refused(&["split", "--shards", "2", "--out", to, "none.rdb"], &home.folder);
    assert!(said.contains("none.rdb: it does not begin as an RDB file does at byte 0"), "{said}");
    assert_eq!(out.files(), [] as [&str; 0]);
    let said = refused(&["split", "--shards", "2", "--out", to, "missing.rdb"], &home.folder);
    assert!(said.contains("can't open missing.rdb: No such file or directory"), "{said}");
}

#[test]
fn a_snapshot_is_replaced_only_where_that_is_asked_for() {
    let (redis, expected) = of_redis(&[], 14);
    let dump = redis.path("dump.rdb");
    let dump = dump.to_str().unwrap();
    let home = snapshot();
    let before = home.files();
    let said = refused(&["split", "--shards", "2", dump], &home.folder);
    assert!(said.contains("there is a snapshot in . already: --replace replaces it"), "{said}");
    assert_eq!(home.files(), before);
    run(&["split", "--shards", "2", "--replace", dump], &home.folder);
    let after = home.files();
    assert!(after.len() == 3 && after != before, "{after:?}");
    let server = home.run(2, &["--save", "1000 1000"]);
    assert_same(&expected, &survey(&mut server.client()), "replaced");
    // Not under a server's hands.
    let said = refused(&["split", "--shards", "2", "--replace", dump], &home.folder);
    assert!(said.contains("Another server uses the files of"), "{said}");
    kill(server);
    // A stock file beside it.
    let other = Home::new();
    fs::write(other.path("dump.rdb"), "REDIS0010").unwrap();
    let said = refused(&["split", "--shards", "2", dump], &other.folder);
    assert!(said.contains("dump.rdb is there already"), "{said}");
    run(&["split", "--shards", "2", "--replace", dump], &other.folder);
    let server = other.run(2, &[]);
    assert_same(&expected, &survey(&mut server.client()), "beside a stock file");
    // Nor are files removed whose manifest is lost.
    let lost = snapshot();
    fs::remove_file(lost.path("dump.rdb.manifest")).unwrap();
    let before = lost.files();
    let said = refused(&["split", "--shards", "2", dump], &lost.folder);
    assert!(said.contains("whose manifest is not there: dump-"), "{said}");
    assert_eq!(lost.files(), before);
}

#[test]
fn what_a_server_would_stumble_over_is_not_made() {
    let home = snapshot();
    let before = home.files();
    for out in ["dump.rdb", "./dump.rdb"] {
        let said = refused(&["merge", "--out", out, "."], &home.folder);
        assert!(said.contains("a server would find ./dump.rdb beside the snapshot"), "{said}");
    }
    assert_eq!(home.files(), before);
    let stdout = File::create(home.path("dump.rdb")).unwrap();
    let mut command = Command::new(ringward());
    command.args(["rdb", "merge", "."]).current_dir(&**home.folder).stdout(stdout);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("remove it, and name another file"), "{said}");
    let said = refused(&["merge", "--out", "/dev/null", "."], &snapshot().folder);
    assert!(said.contains("/dev/null is there and no file"), "{said}");
}

#[test]
fn where_there_is_no_snapshot_it_is_said_what_there_is() {
    let out = Folder::new();
    let merge = |dir: &Path| refused(&["merge", dir.to_str().unwrap()], &out);
    assert!(merge(Path::new("/nonsense")).contains("/nonsense is no folder"));
    let home = Home::new();
    assert!(merge(&home.folder).contains("there is no snapshot dump.rdb.manifest"));
    let (redis, _) = of_redis(&[], 15);
    assert!(merge(&redis.folder).contains("dump.rdb is that of a stock server, and one file already"));
    let server = home.run(2, AOF);
    let mut client = server.client();
    client.ok("SET a 1");
    client.ok("SET b 1");
    kill(server);
    let server = home.run(2, AOF);
    let mut client = server.client();
    client.ok("SET c 1");
    // What was recorded since the rewrite only a server can read.
    let said = merge(&home.folder);
    assert!(
        said.contains("only a server can read what was written to the append-only file in appendonlydir"),
        "{said}"
    );
    client.run("BGREWRITEAOF");
    saved(&mut client);
    let expected = survey(&mut client);
    kill(server);
    let said = run(&["merge", "--out", "merged.rdb", home.folder.to_str().unwrap()], &out);
    assert!(said.contains("Merging the bases of the append-only file in appendonlydir"), "{said}");
    assert_same(&expected, &in_redis(&out.join("merged.rdb")), "bases");
    // With a snapshot, too, that is merged, and it is said that there is more.
    let server = home.run(2, AOF);
    let mut client = server.client();
    client.ok("SAVE");
    let said = run(&["merge", "--out", "merged.rdb", home.folder.to_str().unwrap()], &out);
    assert!(said.contains("There is an append-only file, too, in appendonlydir"), "{said}");
    assert_same(&expected, &in_redis(&out.join("merged.rdb")), "snapshot");
}

#[test]
fn arguments_that_make_no_sense_are_refused_as_such() {
    let output = tool(&["split", "x.rdb"], &Folder::new());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--shards <N>"));
    let output = tool(&["--help"], &Folder::new());
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: ringward rdb <COMMAND>"));
}

#[test]
fn a_large_value_takes_no_memory() {
    // One string of 300 MB, which is far more than the process may take.
    const LEN: u32 = 300_000_000;
    let folder = Folder::new();
    let file = File::create(folder.join("large.rdb")).unwrap();
    let mut head = b"REDIS0010\xFE\x00\x00\x01k\x80".to_vec();
    head.extend(LEN.to_be_bytes());
    let len = head.len() as u64 + u64::from(LEN);
    file.write_all_at(&head, 0).unwrap();
    file.write_all_at(b"\xFF\0\0\0\0\0\0\0\0", len).unwrap();
    let limited = |args: &[&str]| {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(ringward());
        command.arg("rdb").args(args).current_dir(&*folder);
        let limit = libc::rlimit { rlim_cur: 100 << 20, rlim_max: 100 << 20 };
        // SAFETY: the call is async-signal-safe and only reads its argument.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_DATA, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    limited(&["split", "--shards", "2", "--out", "set", "large.rdb"]);
    fs::remove_file(folder.join("large.rdb")).unwrap();
    limited(&["merge", "--out", "merged.rdb", "set"]);
    assert!(fs::metadata(folder.join("merged.rdb")).unwrap().len() > u64::from(LEN));
}

#[test]
fn a_bar_is_shown_on_a_terminal_alone() {
    let home = snapshot();
    let (mut terminal, mut slave) = (0, 0);
    // SAFETY: the two descriptors are written; no name, no settings.
    let result = unsafe {
        libc::openpty(&mut terminal, &mut slave, std::ptr::null_mut(), std::ptr::null(), std::ptr::null())
    };
    assert_eq!(result, 0);
    // SAFETY: both are open and nobody else's.
    let (mut terminal, slave) = unsafe { (File::from_raw_fd(terminal), File::from_raw_fd(slave)) };
    let size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the size is read.
    unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    let mut command = Command::new(ringward());
    command.args(["rdb", "merge", "."]).current_dir(&**home.folder).env("TERM", "xterm");
    command.stdout(File::create("/dev/null").unwrap()).stderr(slave.try_clone().unwrap());
    let status = command.stdin(Stdio::null()).status().unwrap();
    drop((command, slave));
    assert!(status.success());
    let mut said = Vec::new();
    // The terminal ends with an error when nobody is at its other end.
    let _ = terminal.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("merging [") && said.contains("merged 2 files: 20 keys"), "{said:?}");
}
