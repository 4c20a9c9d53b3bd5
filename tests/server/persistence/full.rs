//! Disks that are full and folders that cannot be written: writes are refused in Redis's words, nothing is lost, and
//! all goes on once there is room.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::super::harness::process::Folder;
use super::super::harness::{eventually, Client, Server, Start, Value};
use super::{assert_same, info, kill, saved, serving, survey, Home};

const AOF: &[&str] = &["--appendonly", "yes"];

/// A disk of 4 MiB, mounted in the namespace of a server that `start` begins: the server's folder is on it. A path to
/// it that this process can use, too, is `/proc/<pid>/root/...`.
fn on_small_disk(home: &Home, args: &[&str]) -> Option<Server> {
    if !may_mount() {
        eprintln!("skipped: no file system can be mounted here");
        return None;
    }
    let disk = home.path("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let program = super::super::harness::process::ringward();
    let start = home.start(2, args).through(|command| {
        let mut outer = Command::new("unshare");
        outer.args(["-rm", "sh", "-c", "mount -t tmpfs -o size=4m tmpfs \"$0\" && cd \"$0\" && exec \"$@\""]);
        outer.arg(&disk).arg(&program).args(command.get_args());
        outer.current_dir(&**home.folder);
        outer
    });
    let server = start.run();
    serving(&server);
    Some(server)
}

fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status();
    tried.is_ok_and(|status| status.success())
}

/// The disk as this process sees it.
fn disk_of(server: &Server, home: &Home) -> std::path::PathBuf {
    let path = home.path("disk");
    Path::new(&format!("/proc/{}/root", server.pid())).join(path.strip_prefix("/").unwrap())
}

/// Takes all the room that is left.
fn fill_up(disk: &Path) {
    let filler = disk.join("filler");
    let _ = std::fs::write(&filler, vec![0u8; 8 << 20]);
    let mut more = std::fs::File::options().append(true).open(&filler).unwrap();
    while std::io::Write::write(&mut more, &[0; 512]).is_ok_and(|n| n > 0) {}
}

#[test]
fn a_full_disk_stops_writes_until_there_is_room() {
    for policy in ["everysec", "always"] {
        let home = Home::new();
        let args = [AOF, &["--appendfsync", policy]].concat();
        let Some(server) = on_small_disk(&home, &args) else { return };
        let disk = disk_of(&server, &home);
        let mut client = server.client();
        for key in 0..100 {
            client.ok(&format!("SET before{key} {key}"));
        }
        fill_up(&disk);
        let text = "x".repeat(5000);
        // The write that finds the disk full has no answer where it has to be on the disk first.
        let writer = server.client();
        writer_fills(writer, &text);
        eventually("writes are refused", || client.run("SET a 1").is_error());
        let refused = client.run("SET a 1");
        assert_eq!(
            refused,
            Value::error("MISCONF Errors writing to the AOF file: No space left on device"),
            "{policy}"
        );
        assert_eq!(client.run("GET before5"), Value::bulk("5"));
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        assert!(server.log().contains("Error writing to the AOF file"), "{}", server.log());
        // A rewrite does not help, and does no harm.
        for _ in 0..3 {
            client.run("BGREWRITEAOF");
            saved(&mut client);
        }
        assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "err");
        std::fs::remove_file(disk.join("filler")).unwrap();
        eventually("writes are taken", || !client.run("SET a 2").is_error());
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");
        for key in 0..100 {
            client.ok(&format!("MSET after{key} {key} other{key} {key}"));
        }
        eventually("all is written", || info(&mut client, "aof_buffer_length") == "0");
        let before = survey(&mut client);
        // What is on the disk now is what the next server finds.
        let next = Home::new();
        let copied = Command::new("cp").arg("-r").arg(disk.join(".")).arg(&**next.folder).status().unwrap();
        assert!(copied.success());
        kill(server);
        let server = next.run(2, AOF);
        assert_same(&before, &survey(&mut server.client()), policy);
        kill(server);
        let server = next.run(3, AOF);
        assert_same(&before, &survey(&mut server.client()), policy);
    }
}

/// Sends writes until one is refused, or not answered.
fn writer_fills(mut client: Client, text: &str) {
    client.set_timeout(std::time::Duration::from_millis(500));
    for number in 0..200 {
        let sent = client.try_send(&super::super::harness::words(&format!("SET fill{number} {text}")));
        match sent.and_then(|()| client.try_read()) {
            Ok(reply) if !reply.is_error() => {}
            _ => return,
        }
    }
}

#[test]
fn a_snapshot_that_fails_stops_writes_until_one_succeeds() {
    let home = Home::new();
    let Some(server) = on_small_disk(&home, &["--save", "100000 100000"]) else { return };
    let disk = disk_of(&server, &home);
    let mut client = server.client();
    for key in 0..200 {
        client.ok(&format!("SET k{key} {}", "y".repeat(1000)));
    }
    client.ok("SAVE");
    let files = |disk: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(disk).unwrap().flatten().map(|e| e.file_name()).collect();
        names.retain(|name| name != "filler");
        names.sort();
        names
    };
    let whole = files(&disk);
    fill_up(&disk);
    for command in ["BGSAVE", "SAVE"] {
        let reply = client.run(command);
        assert!(command == "BGSAVE" || reply == Value::error("ERR"), "{reply:?}");
        saved(&mut client);
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
        assert_eq!(
            client.run("SET a 1"),
            Value::error(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report \
                 errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
                 the Redis logs for details about the RDB error."
            )
        );
        assert_eq!(client.run("STRLEN k3").int(), 1000);
        assert_eq!(files(&disk), whole, "the old snapshot is there, and nothing of the new one");
    }
    client.ok("CONFIG SET stop-writes-on-bgsave-error no");
    client.ok("SET a 1");
    client.ok("CONFIG SET stop-writes-on-bgsave-error yes");
    assert!(client.run("SET a 1").is_error());
    std::fs::remove_file(disk.join("filler")).unwrap();
    client.run("BGSAVE");
    saved(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    eventually("writes are taken", || !client.run("SET a 2").is_error());
}

#[test]
fn a_folder_that_cannot_be_made_or_written_is_refused_at_start() {
    // Root may write everywhere: what is in the way is a file.
    for (name, args) in [("appendonlydir", AOF), ("sub", &["--dir", "{dir}/sub"])] {
        let home = Home::new();
        home.folder.write(name, "");
        let (code, log) = home.start(1, args).refused_after_loading();
        assert_eq!(code, 1, "{log}");
        assert!(log.contains(name), "{log}");
    }
    let home = Home::new();
    let Some(start) = read_only(&home, AOF) else { return };
    let (code, log) = start.refused_after_loading();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
}

/// A start where the folder's file system is read-only.
fn read_only(home: &Home, args: &[&str]) -> Option<Start> {
    if !may_mount() {
        return None;
    }
    let program = super::super::harness::process::ringward();
    Some(home.start(1, args).through(|command| {
        let mut outer = Command::new("unshare");
        outer.args(["-rm", "sh", "-c", "mount -t tmpfs -o ro tmpfs \"$0\" && cd \"$0\" && exec \"$@\""]);
        outer.arg(&**home.folder as &Path).arg(&program).args(command.get_args());
        outer
    }))
}

#[test]
fn an_aof_that_cannot_begin_is_tried_again() {
    let home = Home { folder: Arc::new(Folder::new()), ..Home::new() };
    let server = home.run(2, &[]);
    let mut client = server.client();
    client.ok("SET a 1");
    home.folder.write("appendonlydir", "in the way");
    client.ok("CONFIG SET appendonly yes");
    eventually("it fails", || info(&mut client, "aof_last_bgrewrite_status") == "err");
    client.ok("SET b 2");
    assert_eq!(info(&mut client, "aof_enabled"), "0");
    std::fs::remove_file(home.path("appendonlydir")).unwrap();
    client.ok("CONFIG SET appendonly no");
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.ok("CONFIG SET appendonly yes");
    eventually("the AOF is on", || info(&mut client, "aof_enabled") == "1");
    saved(&mut client);
    let before = survey(&mut client);
    kill(server);
    let server = home.run(3, AOF);
    assert_same(&before, &survey(&mut server.client()), "after");
}
