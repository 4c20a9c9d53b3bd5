//! The page that our user works from, as it stands (`../shared/seed/redis-high-availability.md`).

use super::super::config::{Daemon, TUTORIAL};
use super::super::harness::{eventually, eventually_some, Client, Server, Start, Value};
use super::Node;

/// Its file for a primary with this password, and with the lines for a replica added if it is to be one. Only its
/// places are others here. It goes to the background: who runs then, and a server to hold its place.
fn start(primary: Option<u16>) -> (Daemon, Server) {
    let mut text = TUTORIAL
        .replace("port 6379", "port {port}")
        .replace("/var/run/redis", "{dir}")
        .replace("/var/log/redis", "{dir}")
        .replace("/var/lib/redis", "{dir}")
        .replace("<password>", "a-password")
        .replace("2gb", "64mb");
    if let Some(port) = primary {
        text.push_str(&format!(
            "\nreplicaof 127.0.0.1 {port}\nmasterauth a-password\nreplica-serve-stale-data yes\n\
             replica-read-only yes \n"
        ));
    }
    let start = Start::file(&text);
    let pidfile = start.folder().join("redis-server.pid");
    let server = start.spawn();
    assert_eq!(server.wait_exit().code(), Some(0), "the one in front ends: {}", server.log());
    (Daemon::find(&pidfile), server)
}

fn client(server: &Server) -> Client {
    let mut client = eventually_some("it serves", || Client::try_connect(server.address).ok());
    client.ok("AUTH a-password");
    client
}

fn replication(client: &mut Client) -> Vec<(String, String)> {
    let text = client.run("INFO replication").text();
    assert!(text.starts_with("# Replication\r\n"), "{text}");
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

#[track_caller]
fn field(fields: &[(String, String)], name: &str) -> String {
    let found = fields.iter().find(|(field, _)| field == name);
    found.unwrap_or_else(|| panic!("no {name}: {fields:?}")).1.clone()
}

#[test]
fn the_page_as_it_stands() {
    let (_daemon, primary) = start(None);
    let (_other_daemon, replica) = start(Some(primary.address.port()));
    let (mut here, mut there) = (client(&primary), client(&replica));
    let port = replica.address.port();
    eventually("the replica is online", || {
        let slave = format!("slave0:ip=127.0.0.1,port={port},state=online,offset=");
        let is_online = here.run("INFO replication").text().contains(&slave);
        is_online && there.run("INFO replication").text().contains("master_link_status:up\r\n")
    });
    here.ok("SET before 1");
    assert_eq!(here.call(&["SET", "test", "this key was defined on the master server"]), Value::simple("OK"));
    eventually("the key is there", || {
        there.run("GET test") == Value::bulk("this key was defined on the master server")
    });

    // Where nothing is in flight all offsets are equal. (A PING may be, every ten seconds.)
    let (of_primary, of_replica) = eventually_some("the offsets are equal", || {
        let (of_primary, of_replica) = (replication(&mut here), replication(&mut there));
        let offset = field(&of_primary, "master_repl_offset");
        let is_equal = field(&of_primary, "slave0").contains(&format!(",offset={offset},"))
            && field(&of_replica, "slave_repl_offset") == offset
            && field(&of_replica, "master_repl_offset") == offset;
        is_equal.then_some((of_primary, of_replica))
    });
    let offset: u64 = field(&of_primary, "master_repl_offset").parse().unwrap();
    assert!(offset > 0);
    assert_eq!(field(&of_primary, "role"), "master");
    assert_eq!(field(&of_primary, "connected_slaves"), "1");
    let slave = field(&of_primary, "slave0");
    let start = format!("ip=127.0.0.1,port={port},state=online,offset={offset},lag=");
    let lag = slave.strip_prefix(&start).unwrap_or_else(|| panic!("{slave}"));
    assert!(lag == "0" || lag == "1", "{slave}");
    assert_eq!(field(&of_primary, "repl_backlog_active"), "1");
    assert_eq!(field(&of_primary, "repl_backlog_size"), "1048576");
    let first: u64 = field(&of_primary, "repl_backlog_first_byte_offset").parse().unwrap();
    let len: u64 = field(&of_primary, "repl_backlog_histlen").parse().unwrap();
    assert!(first > 0 && first + len == offset + 1, "{of_primary:?}");

    let port = primary.address.port().to_string();
    for (name, value) in [
        ("role", "slave"),
        ("master_host", "127.0.0.1"),
        ("master_port", &port),
        ("master_link_status", "up"),
        ("master_sync_in_progress", "0"),
        ("slave_priority", "100"),
        ("slave_read_only", "1"),
        ("connected_slaves", "0"),
        ("repl_backlog_size", "1048576"),
    ] {
        assert_eq!(field(&of_replica, name), value, "{name}");
    }
    assert_eq!(field(&of_replica, "master_replid"), field(&of_primary, "master_replid"));
    field(&of_replica, "master_last_io_seconds_ago").parse::<u64>().unwrap();
    for name in ["repl_backlog_active", "repl_backlog_first_byte_offset", "repl_backlog_histlen"] {
        field(&of_replica, name).parse::<u64>().unwrap();
    }
    // Sentinel reads the role before what it says of the primary.
    assert_eq!(of_replica[0].0, "role");

    let of_replica = Value::Array(vec![
        Value::bulk("127.0.0.1"),
        Value::bulk(replica.address.port().to_string()),
        Value::bulk(offset.to_string()),
    ]);
    eventually("ROLE of the primary", || {
        here.run("ROLE")
            == Value::Array(vec![
                Value::bulk("master"),
                Value::Int(offset as i64),
                Value::Array(vec![of_replica.clone()]),
            ])
    });
    assert_eq!(
        there.run("ROLE"),
        Value::Array(vec![
            Value::bulk("slave"),
            Value::bulk("127.0.0.1"),
            Value::Int(primary.address.port().into()),
            Value::bulk("connected"),
            Value::Int(offset as i64),
        ])
    );
    let role = |client: &mut Client| {
        let hello = client.run("HELLO");
        let at = hello.items().iter().position(|item| *item == Value::bulk("role")).unwrap();
        hello.items()[at + 1].text()
    };
    assert_eq!((role(&mut here), role(&mut there)), ("master".to_owned(), "replica".to_owned()));
    assert_eq!(
        there.run("SET test x"),
        Value::error("READONLY You can't write against a read only replica.")
    );
    for client in [&mut there, &mut here] {
        client.send(b"SHUTDOWN NOSAVE\r\n");
        assert!(client.try_read().is_err());
    }
}

#[test]
fn before_any_replica_has_come() {
    let node = Node::start(2, &[]);
    let mut client = node.client();
    client.ok("SET a 1");
    let fields = replication(&mut client);
    for (name, value) in [
        ("role", "master"),
        ("connected_slaves", "0"),
        ("master_replid2", "0000000000000000000000000000000000000000"),
        ("master_repl_offset", "0"),
        ("second_repl_offset", "-1"),
        ("repl_backlog_active", "0"),
        ("repl_backlog_size", "1048576"),
        ("repl_backlog_first_byte_offset", "0"),
        ("repl_backlog_histlen", "0"),
    ] {
        assert_eq!(field(&fields, name), value, "{name}");
    }
    assert_eq!(client.run("ROLE").items()[0], Value::bulk("master"));
}
