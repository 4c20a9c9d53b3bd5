//! What clients of a replica, and of a primary that lacks replicas, are told.

use super::super::harness::{eventually, words, Value};
use super::proxy::Proxy;
use super::{assert_converged, Node};

/// How many of a server's connections send small packets at once.
fn undelayed(node: &Node) -> usize {
    let pid = node.server().pid();
    let is_undelayed = |name: std::ffi::OsString| {
        let fd: i32 = name.to_str().unwrap().parse().unwrap();
        // SAFETY: the calls take numbers, and values that are valid for the length given.
        unsafe {
            let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            let copy = libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0) as i32;
            let (mut value, mut len) = (0i32, 4 as libc::socklen_t);
            let value_at = (&raw mut value).cast();
            let got = libc::getsockopt(copy, libc::IPPROTO_TCP, libc::TCP_NODELAY, value_at, &mut len);
            let mut name = std::mem::zeroed::<libc::sockaddr>();
            let mut name_len = std::mem::size_of::<libc::sockaddr>() as libc::socklen_t;
            let is_connected = libc::getpeername(copy, &mut name, &mut name_len) == 0;
            libc::close(copy);
            libc::close(process as i32);
            got == 0 && is_connected && value != 0
        }
    };
    let names = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    names.filter(|name| is_undelayed(name.as_ref().unwrap().file_name())).count()
}

#[test]
fn small_packets_are_held_back_where_the_configuration_says_so() {
    let primary = Node::start(2, &["--repl-disable-tcp-nodelay", "yes"]);
    let mut client = primary.client();
    assert_eq!(client.run("CONFIG GET repl-disable-tcp-nodelay").items()[1], Value::bulk("yes"));
    let replica = Node::follower(2, primary.address(), &[]);
    replica.await_up();
    client.ok("SET a 1");
    assert_converged(&primary, &[&replica]);
    eventually("the client alone is left", || undelayed(&primary) == 1);
    client.ok("CONFIG SET repl-disable-tcp-nodelay no");
    let other = Node::follower(2, primary.address(), &[]);
    other.await_up();
    // Its control link and its flows.
    eventually("those from now on are not held back", || undelayed(&primary) == 4);
}

#[test]
fn passwords() {
    let primary = Node::start(2, &["--requirepass", "right", "--masterauth", "right"]);
    let replica = Node::start(2, &["--masterauth", "wrong"]);
    let mut client = primary.client();
    client.ok("AUTH right");
    client.ok("SET a 1");
    replica.follow(primary.address());
    eventually("it is refused", || replica.server().log().contains("WRONGPASS"));
    assert!(!replica.is_up());
    replica.client().ok("CONFIG SET masterauth right");
    replica.await_up();
    eventually("the key is there", || replica.client().run("GET a") == Value::bulk("1"));
    replica.client().ok("CONFIG SET masteruser default");
    client.run("CLIENT KILL TYPE replica");
    eventually("it has come back", || super::info(&mut client, "sync_partial_ok") == "1");
    replica.await_up();
}

#[test]
fn without_its_primary_a_replica_may_be_silent() {
    let primary = Node::start(2, &[]);
    let proxy = Proxy::new(primary.address());
    let replica = Node::follower(2, proxy.address, &["--replica-serve-stale-data", "no"]);
    replica.await_up();
    primary.client().ok("SET a 1");
    assert_converged(&primary, &[&replica]);
    let mut client = replica.client();
    assert_eq!(client.run("GET a"), Value::bulk("1"));
    proxy.close(true);
    proxy.cut();
    let down =
        Value::error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
    eventually("it is silent", || client.run("GET a") == down);
    for allowed in ["PING x", "INFO", "CONFIG GET port", "ROLE", "CLIENT LIST", "SELECT 0"] {
        let reply = client.run(allowed);
        // PING is answered as Sentinel needs it.
        assert!(!reply.is_error() || reply == down && allowed == "PING x", "{allowed}: {reply:?}");
    }
    for refused in ["MGET a b", "KEYS *", "DBSIZE"] {
        assert_eq!(client.run(refused), down, "{refused}");
    }
    proxy.close(false);
    eventually("it speaks", || client.run("GET a") == Value::bulk("1"));
    proxy.close(true);
    proxy.cut();
    eventually("it is silent again", || client.run("GET a") == down);
    client.ok("REPLICAOF NO ONE");
    assert_eq!(client.run("GET a"), Value::bulk("1"));
}

#[test]
fn writes_may_need_replicas() {
    let primary = Node::start(2, &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "3"]);
    let lacks = Value::error("NOREPLICAS Not enough good replicas to write.");
    let mut client = primary.client();
    eventually("there is none", || client.run("SET a 1") == lacks);
    assert_eq!(client.run("GET a"), Value::NullBulk);
    let replica = Node::follower(2, primary.address(), &[]);
    eventually("there is one", || client.run("SET a 1") == Value::simple("OK"));
    assert_eq!(super::info(&mut client, "min_slaves_good_slaves"), "1");
    replica.server().signal(libc::SIGSTOP);
    eventually("it is not heard of", || client.run("SET a 2") == lacks);
    replica.server().signal(libc::SIGCONT);
    eventually("it is", || client.run("SET a 3") == Value::simple("OK"));
    assert_converged(&primary, &[&replica]);
}

#[test]
fn a_replica_may_be_written_to() {
    let primary = Node::start(2, &[]);
    let replica = Node::follower(2, primary.address(), &[]);
    replica.await_up();
    let mut client = replica.client();
    assert_eq!(
        client.run("SET own 1"),
        Value::error("READONLY You can't write against a read only replica.")
    );
    client.ok("MULTI");
    assert!(client.run("SET own 1").is_error());
    assert!(client.run("EXEC").text().starts_with("EXECABORT"));
    client.ok("CONFIG SET replica-read-only no");
    client.ok("SET own 1");
    client.ok("MSET own 2 own2 3");
    assert_eq!(primary.client().run("EXISTS own"), Value::Int(0));
    client.ok("CONFIG SET replica-read-only yes");
    assert!(client.run("SET own 1").is_error());
    primary.client().ok("MSET a 1 b 2");
    eventually("what the primary writes comes", || client.run("GET b") == Value::bulk("2"));
}

#[test]
fn what_has_expired_is_hidden_until_the_primary_says_so() {
    let primary = Node::start(2, &[]);
    let mut here = primary.client();
    let replica = Node::follower(3, primary.address(), &[]);
    replica.await_up();
    here.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    let mut there = replica.client();
    for number in 0..20 {
        here.ok(&format!("SET brief:{number} x PX 30"));
    }
    eventually("they are hidden there", || {
        (0..20).all(|number| there.run(&format!("GET brief:{number}")) == Value::NullBulk)
    });
    eventually("all have come", || there.run("DBSIZE") == Value::Int(20));
    for number in 0..20 {
        here.run(&format!("GET brief:{number}"));
    }
    eventually("they are gone", || there.run("DBSIZE") == Value::Int(0));
    assert_converged(&primary, &[&replica]);
}

#[test]
fn a_primary_without_memory() {
    let primary = Node::start(2, &["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let replica =
        Node::follower(2, primary.address(), &["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-random"]);
    replica.await_up();
    let mut client = primary.client();
    let mut number = 0;
    eventually("it is full", || {
        number += 1;
        client.run(&format!("SET some:{number} {}", "s".repeat(50_000))).is_error()
    });
    assert_converged(&primary, &[&replica]);
    assert_eq!(replica.count("evicted_keys"), 0);
}

#[test]
fn requests_of_the_protocol_that_nobody_sends() {
    let primary = Node::start(2, &[]);
    let replica = Node::follower(2, primary.address(), &[]);
    replica.await_up();
    for lines in [
        &["REPLCONF"][..],
        &["REPLCONF listening-port x"],
        &["REPLCONF listening-port 70000"],
        &["REPLCONF flow 1 0 -1"],
        &["REPLCONF flow 99 0 -1"],
        &["REPLCONF flow 1 9 -1"],
        &["REPLCONF flow 1 65536 -1"],
        &["REPLCONF flow x y z"],
        &["REPLCONF flow 1 0 18446744073709551615"],
        &["REPLCONF ACK 5", "REPLCONF ACK x", "REPLCONF ACK"],
        &["REPLCONF GETACK *"],
        &["REPLCONF capa ringward", "PSYNC ? -1", "REPLCONF flow 1 0 -1", "PSYNC ? -1", "GET a"],
        &["REPLCONF capa ringward", "PSYNC 0123456789012345678901234567890123456789 5,5,5", "SET a 1"],
        &["REPLCONF capa ringward", "PSYNC x 99999999999999999999,1"],
        &["MULTI", "PSYNC ? -1", "EXEC"],
        &["PSYNC ? -1"],
        &["SYNC"],
    ] {
        let mut client = primary.client();
        for line in lines {
            let _ = client.try_send(&words(line));
        }
        client.end_input();
    }
    primary.client().ok("MSET a 1 b 2");
    assert_converged(&primary, &[&replica]);
}

#[test]
fn a_replica_without_room_on_its_disk() {
    let primary = Node::start(2, &["--rdbcompression", "no"]);
    let mut client = primary.client();
    client.ok(&format!("SET big {}", "b".repeat(300_000)));
    let mut replica = Node::start(2, &["--appendonly", "yes"]);
    replica.client().ok("SET own 1");
    // There is no room for the snapshot: it keeps what it had, and tries again.
    replica.server().limit_file_bytes(Some(20_000));
    replica.follow(primary.address());
    eventually("it says so", || replica.server().log().contains("cannot store the snapshot"));
    assert_eq!(replica.client().run("GET own"), Value::bulk("1"));
    replica.server().limit_file_bytes(None);
    assert_converged(&primary, &[&replica]);
    replica.await_files();
    // There is none for the stream: it goes on without, and has all in its files when there is room again.
    replica.server().limit_file_bytes(Some(1));
    client.ok(&format!("MSET a 1 b 2 c {}", "c".repeat(10_000)));
    eventually("its files are behind", || replica.info("aof_last_write_status") == "err");
    assert_converged(&primary, &[&replica]);
    replica.server().limit_file_bytes(None);
    eventually("they are not any more", || replica.info("aof_last_write_status") == "ok");
    eventually("all is written", || replica.info("aof_buffer_length") == "0");
    replica.kill();
    replica.args = ["--appendonly", "yes"].map(str::to_owned).to_vec();
    replica.restart();
    assert_eq!(replica.client().run("MGET a b"), primary.client().run("MGET a b"));
    assert_eq!(replica.client().run("STRLEN c"), Value::Int(10_000));
}
