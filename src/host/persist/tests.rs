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
