//! What replicas say of themselves to Sentinel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use super::{Group, Node, Program};
use crate::harness::eventually;

/// Passes everything on to a port, from another one, until the process ends. Which.
fn forwarder(to: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, to))) else {
                continue;
            };
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pass_on(client, server));
            std::thread::spawn(move || pass_on(back, forth));
        }
    });
    port
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn priority_announcement_and_address_are_as_configured() {
    // The one may not be promoted; the other is shown to nobody, and is reached at another port than its own.
    let never = Node::new(Program::Ringward, "replica-priority 0\n");
    let mut hidden = Node::new(Program::Ringward, "replica-announced no\nreplica-announce-ip 127.0.0.1\n");
    let port = forwarder(hidden.port.number);
    hidden.client().ok(&format!("config set replica-announce-port {port}"));
    hidden.announced = Some(port);
    let primary = Node::new(Program::Ringward, "");
    let mut group = Group::of(vec![primary, never, hidden], true);
    let old = group.nodes[0].name();

    let lines = group.nodes[0].ask("info replication").unwrap().text();
    assert!(lines.contains(&format!("ip=127.0.0.1,port={port},state=online")), "{lines}");
    assert_eq!(group.nodes[2].info("replica_announced"), "0");
    eventually("Sentinel knows of it, and shows only the other", || {
        let shown = group.replicas("slave-priority");
        group.master("num-slaves") == "2"
            && shown == [(format!("127.0.0.1:{}", group.nodes[1].name()), "0".to_owned())]
    });

    group.nodes[0].kill();
    assert_eq!(group.eventually_switched(old), 2, "never the one with priority 0");
    group.nodes[0].begin();
    group.eventually_whole(port);
    assert!(group.nodes[1].configuration().contains(&format!("replicaof 127.0.0.1 {port}")));
}
