//! Files that are needless go when they have become so, and not at the next start.

use super::super::harness::eventually;
use super::exchange::checked;
use super::{kill, saved, Home, SYNCED_AOF};

/// The generations of which there are files.
fn generations(home: &Home) -> Vec<String> {
    let files = home.files();
    let folders = files.iter().filter_map(|name| name.strip_prefix("appendonlydir/g")?.split_once('/'));
    let mut folders: Vec<String> = folders.map(|(folder, _)| format!("g{folder}")).collect();
    folders.dedup();
    folders
}

/// A folder with a log of two shards.
fn log() -> Home {
    let home = Home::new();
    let server = home.run(2, SYNCED_AOF);
    server.client().ok("MSET a 1 b 2 c 3 d 4");
    kill(server);
    home
}

#[test]
fn the_log_of_another_number_of_shards_goes_when_its_successor_counts() {
    let home = log();
    let server = home.run(3, SYNCED_AOF);
    eventually("the old one is removed", || generations(&home) == ["g2-0of3", "g2-1of3", "g2-2of3"]);
    kill(server);
    let server = home.run(3, SYNCED_AOF);
    assert_eq!(server.client().run("DBSIZE").int(), 4);
}

#[test]
fn a_log_that_was_not_loaded_goes_when_another_begins() {
    let home = log();
    let server = home.run(2, &[]);
    let mut client = server.client();
    client.ok("SET e 5");
    assert_eq!(generations(&home), ["g1-0of2", "g1-1of2"]);
    client.ok("CONFIG SET appendonly yes");
    eventually("the old one is removed", || generations(&home) == ["g2-0of2", "g2-1of2"]);
    kill(server);
    let server = home.run(2, SYNCED_AOF);
    assert_eq!(server.client().run("DBSIZE").int(), 1);
}

#[test]
fn history_is_kept_where_it_is_to_be_and_a_stock_redis_passes_over_it() {
    let keeps = [SYNCED_AOF, &["--aof-disable-auto-gc", "yes"]].concat();
    let home = log();
    let is_first = |name: &String| name.contains("/appendonly.aof.1.");
    let first = |home: &Home| home.files().into_iter().filter(is_first).collect::<Vec<_>>();
    let before = first(&home);
    assert_eq!(before.len(), 4);
    let server = home.run(2, &keeps);
    let mut client = server.client();
    client.run("BGREWRITEAOF");
    saved(&mut client);
    kill(server);
    assert_eq!(first(&home), before);
    for shard in ["g1-0of2", "g1-1of2"] {
        let folder = home.path("appendonlydir").join(shard);
        checked(
            "redis-check-aof",
            &["appendonly.aof.manifest"],
            &folder,
            "All AOF files and manifest are valid",
        );
    }
    let server = home.run(2, &keeps);
    assert_eq!(server.client().run("DBSIZE").int(), 4);
    assert_eq!(first(&home), before);
    kill(server);
    // Also of the numbers of shards that there were.
    let server = home.run(3, &keeps);
    assert_eq!(generations(&home).len(), 5);
    kill(server);
    let server = home.run(3, &keeps);
    assert_eq!((server.client().run("DBSIZE").int(), generations(&home).len()), (4, 5));
    kill(server);
    let server = home.run(3, SYNCED_AOF);
    assert_eq!(server.client().run("DBSIZE").int(), 4);
    assert_eq!(generations(&home).len(), 3);
}
