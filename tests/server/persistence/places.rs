//! CONFIG SET dir and dbfilename.

use std::fs;

use super::super::harness::process::Folder;
use super::super::harness::{eventually, Peer};
use super::{kill, Home, SYNCED_AOF};

const PROTECTED: &[&str] = &["--enable-protected-configs", "yes"];

#[test]
fn a_folder_is_refused_in_redis_s_words() {
    let home = Home::new();
    let server = home.run(2, PROTECTED);
    let peer = Peer::start_with(PROTECTED);
    let (mut ours, mut redis) = (server.client(), peer.client());
    let folder = Folder::new();
    fs::write(folder.join("file"), "").unwrap();
    let inside = |name: &str| folder.join(name).display().to_string();
    for dir in [inside("none"), inside("file"), inside("file/more")] {
        let line = format!("CONFIG SET dir {dir}");
        let (ours, redis) = (ours.run(&line), redis.run(&line));
        assert!(redis.is_error());
        assert_eq!(ours, redis, "{line}");
    }
    for client in [&mut ours, &mut redis] {
        let before = client.run("CONFIG GET dir").items()[1].text();
        assert!(before.starts_with('/'), "{before}");
        client.ok(&format!("CONFIG SET dir {}", folder.display()));
        assert_eq!(client.run("CONFIG GET dir").items()[1].text(), folder.display().to_string());
        // From there on.
        fs::create_dir_all(folder.join("sub")).unwrap();
        client.ok("CONFIG SET dir sub");
        assert_eq!(client.run("CONFIG GET dir").items()[1].text(), inside("sub"));
    }
}

#[test]
fn snapshots_are_made_in_the_folder_of_the_moment() {
    let (first, second) = (Home::new(), Home::new());
    let server = first.run(2, PROTECTED);
    let mut client = server.client();
    client.ok("MSET a 1 b 1 c 1");
    client.ok("SAVE");
    let before = first.files();
    assert_eq!(before.len(), 3);
    client.ok(&format!("CONFIG SET dir {}", second.folder.display()));
    client.ok("MSET a 2 b 2 c 2");
    for _ in 0..2 {
        client.ok("SAVE");
        eventually("the one before is removed", || second.files().len() == 3);
    }
    assert_eq!(first.files(), before);
    client.ok("CONFIG SET dbfilename other.rdb");
    client.ok("MSET a 3 b 3 c 3");
    client.ok("SAVE");
    assert_eq!(second.files().len(), 6);
    kill(server);
    for (home, args, value) in
        [(&first, &[][..], "1"), (&second, &[], "2"), (&second, &["--dbfilename", "other.rdb"], "3")]
    {
        let server = home.run(3, args);
        let values = server.client().run("MGET a b c");
        assert!(values.items().iter().all(|found| found.text() == value), "{values:?}");
    }
}

#[test]
fn what_lies_in_the_folder_is_replaced_by_the_next_snapshot() {
    // A stock server's, and one of ours.
    let stock = Home::new();
    let peer = Peer::start_in(stock.folder.clone(), &[]);
    peer.client().ok("SET stock 1");
    peer.client().ok("SAVE");
    peer.kill();
    let own = Home::new();
    let server = own.run(3, &[]);
    server.client().ok("SET own 1");
    server.client().ok("SAVE");
    kill(server);
    for there in [stock, own] {
        let home = Home::new();
        let server = home.run(2, PROTECTED);
        let mut client = server.client();
        client.ok("SET mine 1");
        client.ok(&format!("CONFIG SET dir {}", there.folder.display()));
        client.ok("SAVE");
        eventually("what was there is removed", || there.files().len() == 3);
        kill(server);
        let server = there.run(2, &[]);
        let mut client = server.client();
        assert_eq!((client.run("DBSIZE").int(), client.run("EXISTS mine").int()), (1, 1));
    }
    // What cannot be trusted is not.
    let there = Home::new();
    fs::write(there.path("dump.rdb.manifest"), "nonsense\n").unwrap();
    let home = Home::new();
    let server = home.run(2, PROTECTED);
    let refusal = server.client().run(&format!("CONFIG SET dir {}", there.folder.display()));
    assert!(refusal.is_error() && refusal.text().contains("dump.rdb.manifest"), "{refusal:?}");
}

#[test]
fn another_servers_folder_is_not_taken() {
    let writes = [PROTECTED, &["--save", "1000 1000"]].concat();
    let (first, second) = (Home::new(), Home::new());
    let one = first.run(1, &writes);
    let two = second.run(1, &writes);
    let refusal = two.client().run(&format!("CONFIG SET dir {}", first.folder.display()));
    assert!(refusal.is_error() && refusal.text().contains("Another server uses the files of"), "{refusal:?}");
    kill(one);
    two.client().ok(&format!("CONFIG SET dir {}", first.folder.display()));
    // And back, where it holds the lock itself.
    two.client().ok(&format!("CONFIG SET dir {}", second.folder.display()));
    let (_, log) = first.start(1, &writes).refused();
    assert!(log.contains("Another server uses the files of"), "{log}");
}

#[test]
fn a_log_stays_where_it_is_open() {
    let (first, second) = (Home::new(), Home::new());
    let args = [PROTECTED, SYNCED_AOF].concat();
    let server = first.run(2, &args);
    let mut client = server.client();
    client.ok("SET a 1");
    client.ok(&format!("CONFIG SET dir {}", second.folder.display()));
    assert!(server.log().contains("The append only file stays in appendonlydir"), "{}", server.log());
    client.ok("SET b 1");
    client.run("BGREWRITEAOF");
    super::saved(&mut client);
    client.ok("SET c 1");
    let stays = first.copy();
    client.ok("CONFIG SET appendonly no");
    client.ok("CONFIG SET appendonly yes");
    eventually("a new one begins", || second.path("appendonlydir/ringward.manifest").exists());
    super::saved(&mut client);
    client.ok("SET d 1");
    kill(server);
    for (home, keys) in [(stays, 3), (second, 4)] {
        let server = home.run(2, &args);
        assert_eq!(server.client().run("DBSIZE").int(), keys);
    }
}
