//! Connections that go from one core to another while they are used.

use super::harness::{eventually, request, Client, Random, Server, Value};

/// A field of INFO.
#[track_caller]
fn info(client: &mut Client, field: &str) -> String {
    let text = client.run("INFO clients").text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
}

#[test]
fn pipelines_are_answered_in_order_wherever_the_connection_is() {
    let server = Server::start(2);
    let mut random = Random::new(11);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    let ids: Vec<Value> = clients.iter_mut().map(|client| client.run("CLIENT ID")).collect();
    let big = vec![b'b'; 300_000];
    for round in 0..20 {
        let mut pipelines = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for step in 0..10 {
                let (key, value) = (format!("k:{at}:{step}"), format!("{round}"));
                bytes.extend(request(&["SET", &key, &value]));
                bytes.extend(request(&["DEBUG", "MOVE-CLIENT", &random.below(2).to_string()]));
                bytes.extend(request(&["GET", &key]));
                expected.extend([Value::simple("OK"), Value::simple("OK"), Value::bulk(&value)]);
                if random.below(4) == 0 {
                    // More than the sockets hold: what is owed leaves from the old core.
                    bytes.extend(request(&[b"ECHO".as_slice(), &big]));
                    expected.push(Value::Bulk(big.clone()));
                }
            }
            bytes.extend(request(&["CLIENT", "ID"]));
            expected.push(id.clone());
            pipelines.push((bytes, expected));
        }
        // A client that writes and does not read gets stuck once the server has stopped reading it.
        std::thread::scope(|scope| {
            for (client, (bytes, expected)) in clients.iter_mut().zip(&pipelines) {
                scope.spawn(move || assert_eq!(&client.pipeline(bytes, expected.len()), expected));
            }
        });
    }
    let listed = clients[0].run("CLIENT LIST").text();
    assert_eq!(listed.lines().count(), clients.len());
    assert_eq!(info(&mut clients[0], "connected_clients"), clients.len().to_string());
}

#[test]
fn those_that_vanish_on_the_way_leave_nothing_behind_and_a_stop_is_not_held_up() {
    let server = Server::start(2);
    let mut admin = server.client();
    let mut random = Random::new(5);
    eventually("the first client is counted", || info(&mut admin, "connected_clients") == "1");
    let files = server.open_files();
    let moves: Vec<u8> =
        (0..40).flat_map(|at| request(&["DEBUG", "MOVE-CLIENT", &(at % 2).to_string()])).collect();
    for round in 0..200 {
        let mut client = server.client();
        let _ = client.try_send(&moves[..random.below(moves.len())]);
        match round % 3 {
            0 => client.vanish(),
            1 => {
                let _ = client.try_send(&moves);
                client.end_input();
                client.rest();
            }
            _ => drop(client),
        }
    }
    eventually("the vanished are forgotten", || info(&mut admin, "connected_clients") == "1");
    eventually("their sockets are closed", || server.open_files() <= files);
    // New ones are placed evenly still.
    let mut others: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for client in &mut others {
        client.send(&moves);
    }
    server.signal(libc::SIGTERM);
    assert!(server.wait_exit().success());
}

#[test]
fn a_blocked_client_that_has_moved_is_served_and_can_be_unblocked() {
    let server = Server::start(2);
    let (mut blocked, mut other) = (server.client(), server.client());
    for core in ["0", "1", "0"] {
        blocked.ok(&format!("DEBUG MOVE-CLIENT {core}"));
        blocked.send(&request(&["BLPOP", "l:1", "l:2", "l:3", "0"]));
        eventually("it is blocked", || info(&mut other, "blocked_clients") == "1");
        assert_eq!(other.run("RPUSH l:2 a"), Value::Int(1));
        assert_eq!(blocked.read(), Value::Array(vec![Value::bulk("l:2"), Value::bulk("a")]));
        let id = blocked.run("CLIENT ID").int();
        blocked.send(&request(&["BLPOP", "l:1", "0"]));
        eventually("it is blocked", || info(&mut other, "blocked_clients") == "1");
        assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}")), Value::Int(1));
        assert_eq!(blocked.read(), Value::NullArray);
    }
}
