//! The append-only file that is switched on and off, on a disk that is slow or refuses. Without a plan of what is
//! loaded its folder is the server's own.

use std::path::Path;

use crate::host::harness::{ClientNo, Node};
use crate::storage::modeldisk::ModelDisk;
use crate::storage::plan::Folder;

fn node(settings: &[(&str, &str)]) -> (Node, ClientNo) {
    let mut node = Node::new(2, 2, 1, settings);
    let client = node.connect();
    (node, client)
}

fn folders(disk: &ModelDisk) -> Vec<String> {
    disk.list(Path::new(".")).into_iter().filter(|name| name.starts_with('g')).collect()
}

/// A second passes, with everything that is due in it.
fn pass(node: &mut Node) {
    for _ in 0..10 {
        node.advance_us(100_000);
        node.quiesce();
    }
}

#[test]
fn a_log_that_is_over_is_removed_once_the_next_one_counts() {
    let (mut node, client) = node(&[("appendonly", "yes")]);
    pass(&mut node);
    assert_eq!(folders(&node.disk), ["g1-0of2", "g1-1of2"]);
    assert_eq!(node.run(client, "MSET a 1 b 2 c 3"), "+OK\r\n");
    assert_eq!(node.run(client, "CONFIG SET appendonly no"), "+OK\r\n");
    pass(&mut node);
    // Until then it is all there is.
    assert_eq!(folders(&node.disk), ["g1-0of2", "g1-1of2"]);
    assert_eq!(node.run(client, "CONFIG SET appendonly yes"), "+OK\r\n");
    pass(&mut node);
    assert_eq!(folders(&node.disk), ["g2-0of2", "g2-1of2"]);
    let files = |node: &Node| node.disk.list(Path::new("g2-0of2")).len();
    assert_eq!(files(&node), 3);
    node.run(client, "BGREWRITEAOF");
    pass(&mut node);
    assert_eq!(files(&node), 3);
}

#[test]
fn what_is_over_stays_while_history_is_kept() {
    let (mut node, client) = node(&[("appendonly", "yes"), ("aof-disable-auto-gc", "yes")]);
    pass(&mut node);
    let folder = |node: &Node, name: &str| node.disk.list(Path::new(name));
    for cut in 2..=3 {
        node.run(client, "BGREWRITEAOF");
        pass(&mut node);
        assert_eq!(folder(&node, "g1-0of2").len(), 1 + 2 * cut);
    }
    let manifest = node.disk.file(Path::new("g1-0of2/appendonly.aof.manifest")).unwrap();
    let manifest = String::from_utf8_lossy(manifest);
    let lines: Vec<&str> = manifest.lines().collect();
    assert_eq!(
        lines,
        [
            "file appendonly.aof.3.base.rdb seq 3 type b",
            "file appendonly.aof.1.base.rdb seq 1 type h",
            "file appendonly.aof.1.incr.aof seq 1 type h",
            "file appendonly.aof.2.base.rdb seq 2 type h",
            "file appendonly.aof.2.incr.aof seq 2 type h",
            "file appendonly.aof.3.incr.aof seq 3 type i",
        ]
    );
    for on in ["no", "yes"] {
        node.run(client, &format!("CONFIG SET appendonly {on}"));
        pass(&mut node);
    }
    assert_eq!(folders(&node.disk).len(), 4);
    node.run(client, "BGREWRITEAOF");
    pass(&mut node);
    assert_eq!(folder(&node, "g2-0of2").len(), 5);
    // From then on it goes.
    node.run(client, "CONFIG SET aof-disable-auto-gc no");
    pass(&mut node);
    assert_eq!(folders(&node.disk), ["g2-0of2", "g2-1of2"]);
    assert_eq!(folder(&node, "g2-0of2").len(), 3);
    let manifest = node.disk.file(Path::new("g2-1of2/appendonly.aof.manifest")).unwrap();
    assert!(!String::from_utf8_lossy(manifest).contains("type h"));
}

#[test]
fn the_next_log_waits_until_the_one_before_is_closed() {
    let (mut node, client) = node(&[("appendonly", "yes"), ("appendfsync", "everysec")]);
    pass(&mut node);
    node.is_disk_held = true;
    assert_eq!(node.run(client, "MSET a 1 b 2 c 3"), "+OK\r\n");
    for on in ["no", "yes", "no", "yes"] {
        node.run(client, &format!("CONFIG SET appendonly {on}"));
        pass(&mut node);
    }
    node.is_disk_held = false;
    pass(&mut node);
    pass(&mut node);
    assert_eq!(folders(&node.disk), ["g2-0of2", "g2-1of2"]);
    // It is open, and takes what is written.
    let increment = Path::new("g2-0of2/appendonly.aof.2.incr.aof");
    let names = node.disk.list(Path::new("g2-0of2"));
    let increment = names
        .iter()
        .find(|name| name.ends_with(".incr.aof"))
        .map_or(increment.to_owned(), |name| Path::new("g2-0of2").join(name));
    let before = node.disk.file(&increment).unwrap().len();
    node.run(client, "MSET a 2 b 3 c 4 d 5 e 6");
    pass(&mut node);
    assert!(node.disk.file(&increment).unwrap().len() > before);
}

#[test]
fn a_log_that_cannot_begin_leaves_nothing_and_is_tried_again() {
    let (mut node, client) = node(&[]);
    assert_eq!(node.run(client, "MSET a 1 b 2 c 3"), "+OK\r\n");
    node.disk.room = Some(40);
    node.run(client, "CONFIG SET appendonly yes");
    pass(&mut node);
    assert_eq!(folders(&node.disk), [] as [&str; 0]);
    assert_eq!(node.run(client, "SET a 5"), "+OK\r\n");
    node.disk.room = None;
    for _ in 0..200 {
        pass(&mut node);
    }
    assert_eq!(folders(&node.disk).len(), 2);
    let top = node.disk.file(Path::new("ringward.manifest")).unwrap();
    assert!(top.starts_with(b"format 1\ngeneration "));
    // Nothing waits for the files that could not be made.
    assert_eq!(node.run(client, "SET a 6"), "+OK\r\n");
}

#[test]
fn a_log_on_a_disk_that_refuses_can_be_switched_off() {
    let (mut node, client) = node(&[("appendonly", "yes"), ("appendfsync", "always")]);
    pass(&mut node);
    node.disk.room = Some(0);
    assert_eq!(node.run(client, "SET a 1"), "", "it waits for the disk");
    pass(&mut node);
    let other = node.connect();
    assert!(node.run(other, "SET a 2").starts_with("-MISCONF"));
    node.run(other, "CONFIG SET appendonly no");
    for _ in 0..3 {
        pass(&mut node);
    }
    assert!(!node.is_open(client), "what it waits for will not be");
    assert_eq!(node.run(other, "SET a 3"), "+OK\r\n");
}

fn save(node: &mut Node, client: ClientNo) {
    node.send(client, b"SAVE\r\n");
    pass(node);
    assert_eq!(node.take_text(client), "+OK\r\n");
}

/// The snapshot's files in a folder.
fn snapshot(disk: &ModelDisk, folder: &str) -> Vec<String> {
    let names = disk.list(Path::new(folder)).into_iter();
    names.filter(|name| name.starts_with("dump") || name.starts_with("other")).collect()
}

#[test]
fn a_snapshot_under_way_stays_where_it_began_and_the_next_is_made_elsewhere() {
    let (mut node, client) = node(&[]);
    node.run(client, "MSET a 1 b 2 c 3");
    save(&mut node, client);
    assert_eq!(snapshot(&node.disk, ".").len(), 3);
    let first = snapshot(&node.disk, ".");
    node.is_disk_held = true;
    assert_eq!(node.run(client, "BGSAVE"), "+Background saving started\r\n");
    assert_eq!(node.run(client, "CONFIG SET dir /new"), "+OK\r\n");
    assert_eq!(node.run(client, "CONFIG GET dir"), "*2\r\n$3\r\ndir\r\n$4\r\n/new\r\n");
    node.is_disk_held = false;
    pass(&mut node);
    let second = snapshot(&node.disk, ".");
    assert!(second.len() == 3 && second != first && snapshot(&node.disk, "/new").is_empty(), "{second:?}");
    save(&mut node, client);
    assert_eq!(snapshot(&node.disk, "/new").len(), 3);
    // What is in the other folder is no longer this server's.
    assert_eq!(snapshot(&node.disk, "."), second);
    assert_eq!(node.run(client, "CONFIG SET dbfilename other.rdb dir /new"), "+OK\r\n");
    save(&mut node, client);
    assert_eq!(snapshot(&node.disk, "/new").len(), 6);
    save(&mut node, client);
    assert_eq!(snapshot(&node.disk, "/new").len(), 6);
}

#[test]
fn a_place_that_cannot_be_entered_changes_nothing() {
    let (mut node, client) = node(&[]);
    let other = node.connect();
    let error = "-ERR CONFIG SET failed (possibly related to argument 'dir') - No such file or directory\r\n";
    assert_eq!(node.run(client, "CONFIG SET hz 20 dir /nonsense"), error);
    assert_eq!(node.run(client, "CONFIG GET hz"), "*2\r\n$2\r\nhz\r\n$2\r\n10\r\n");
    // Those that come meanwhile are not lost.
    node.send(client, b"CONFIG SET dir /new\r\n");
    node.send(other, b"CONFIG SET hz 30\r\n");
    node.quiesce();
    assert_eq!((node.take_text(client), node.take_text(other)), ("+OK\r\n".to_owned(), "+OK\r\n".to_owned()));
    assert!(node.run(client, "CONFIG GET hz").ends_with("30\r\n"));
    assert!(node.run(client, "CONFIG GET dir").ends_with("/new\r\n"));
}

#[test]
fn a_log_stays_in_its_folder_until_it_is_switched_off_and_on() {
    let (mut node, client) = node(&[("appendonly", "yes")]);
    pass(&mut node);
    assert_eq!(node.run(client, "CONFIG SET dir /new"), "+OK\r\n");
    let increment =
        |node: &Node| node.disk.file(Path::new("g1-0of2/appendonly.aof.2.incr.aof")).map(<[u8]>::len);
    node.run(client, "BGREWRITEAOF");
    pass(&mut node);
    node.run(client, "MSET a 1 b 2 c 3 d 4 e 5");
    pass(&mut node);
    assert!(increment(&node) > Some(0));
    for on in ["no", "yes"] {
        node.run(client, &format!("CONFIG SET appendonly {on}"));
        pass(&mut node);
    }
    let new = node.disk.list(Path::new("/new/appendonlydir"));
    assert_eq!(new, ["g2-0of2", "g2-1of2", "ringward.manifest"]);
    // As in Redis what is in the other folder stays there.
    assert_eq!(folders(&node.disk), ["g1-0of2", "g1-1of2"]);
}
