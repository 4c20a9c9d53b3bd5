//! Clients that behave badly, very many clients, and the ways a connection or the server comes to its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::harness::{eventually, request, Client, Random, Server, Start, Value};

/// How many clients are connected, the asking one included. CLIENT LIST and INFO must agree in the end.
fn connected(client: &mut Client) -> usize {
    let listed = client.run("CLIENT LIST").text().lines().count();
    listed.max(info(client, "connected_clients").parse().unwrap())
}

/// A field of INFO.
#[track_caller]
fn info(client: &mut Client, field: &str) -> String {
    let text = client.run("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let server = Server::start(2);
    let mut admin = server.client();
    admin.call(&[b"SET".as_slice(), b"big:1", &vec![b'x'; 1 << 20]]);
    admin.call(&[b"SET".as_slice(), b"big:2", &vec![b'y'; 1 << 20]]);
    let mut random = Random::new(7);
    let mut pipeline = Vec::new();
    for i in 0..200 {
        pipeline.extend(request(&["SET", &format!("k:{i}"), "value"]));
        pipeline.extend(request(&["MGET", "k:1", "k:2", "k:3", "big:1"]));
        pipeline.extend(request(&["GET", "big:2"]));
    }
    let mut files = 0;
    for round in 0..150 {
        let mut client = server.client();
        // Mid-request, mid-pipeline or mid-reply.
        let _ = client.try_send(&pipeline[..200 + random.below(pipeline.len() - 200)]);
        match round % 3 {
            0 => client.vanish(),
            1 => {
                client.try_read().unwrap();
                client.vanish();
            }
            _ => drop(client),
        }
        if round == 20 {
            eventually("the vanished are forgotten", || connected(&mut admin) == 1);
            files = server.open_files();
        }
    }
    eventually("the vanished are forgotten", || connected(&mut admin) == 1);
    eventually("their sockets are closed", || server.open_files() <= files);
    // Nothing is stuck: the keys they were at are free.
    assert!(admin.run("DEL k:1 k:2 k:3 big:1 big:2").int() >= 2);
    admin.ok("FLUSHALL");
    assert_eq!(admin.run("DBSIZE"), Value::Int(0));
}

#[test]
fn a_slow_reader_is_bounded_and_holds_nobody_up() {
    const MB: usize = 1 << 20;
    let server = Server::start(2);
    let mut other = server.client();
    // On both shards, so that replies are awaited from the other core, too.
    let keys = ["big:1", "big:2", "big:3", "big:4"];
    for key in keys {
        other.call(&[b"SET", key.as_bytes(), &vec![key.as_bytes()[4]; MB]]);
    }
    other.ok("SET small 1");
    let before = server.rss_bytes();
    let mut slow = server.client();
    const REPLIES: usize = 100;
    // First one key after the other, then long runs of the same.
    let order: Vec<_> = (0..REPLIES).map(|i| keys[if i < 20 { i % 4 } else { i / 20 % 4 }]).collect();
    let pipeline: Vec<u8> = order.iter().flat_map(|key| request(&["GET", key])).collect();
    slow.send(&pipeline);
    let (mut most, start) = (0, Instant::now());
    for i in 0..3000 {
        assert_eq!(other.run("GET small"), Value::bulk("1"));
        assert_eq!(other.run("MGET small big:none x y z").items()[0], Value::bulk("1"));
        if i % 100 == 0 {
            most = most.max(server.rss_bytes());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "others are served");
    let grown = most.saturating_sub(before);
    assert!(grown < 30 << 20, "the server has grown by {grown} bytes for a client that reads nothing");
    for (i, key) in order.iter().enumerate() {
        let reply = slow.read();
        let expected = key.as_bytes()[4];
        assert!(reply.bytes().len() == MB && reply.bytes().iter().all(|&b| b == expected), "reply {i}");
    }
    assert_eq!(slow.run("PING"), Value::simple("PONG"));
}

#[test]
fn client_output_buffer_limit_ends_a_client_that_does_not_read() {
    let server = Server::start(1);
    let mut admin = server.client();
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 4mb 0 0"];
    assert_eq!(admin.call(&limit), Value::simple("OK"));
    admin.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 16 << 20]]);
    let mut slow = server.client();
    slow.send(&request(&["GET", "big"]));
    eventually("it is ended", || connected(&mut admin) == 1);
    assert!(slow.rest().len() < 16 << 20, "not all of it has come");
}

#[test]
fn ten_thousand_clients_at_once() {
    raise_open_files();
    let server = Server::start(2);
    let mut admin = server.client();
    let room = open_files_limit().saturating_sub(2000).min(9990) as usize;
    println!("{room} clients");
    // The first make the server's own structures grow.
    let mut clients: Vec<_> = (0..100).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send(b"PING\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.read(), Value::simple("PONG")));
    let before = server.rss_bytes();
    clients.extend((clients.len()..room).map(|_| server.client()));
    clients.iter_mut().for_each(|client| client.send(b"PING\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.read(), Value::simple("PONG")));
    assert_eq!(info(&mut admin, "connected_clients"), (room + 1).to_string());
    let each = server.rss_bytes().saturating_sub(before) / (room as u64 - 100);
    println!("{each} bytes each");
    assert!(each <= 8 << 10, "{each} bytes for an idle client");
    drop(clients);
    eventually("all are gone", || connected(&mut admin) == 1);
}

fn open_files_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills a live struct.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur
}

fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills and reads a live struct.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

#[test]
fn maxclients_refuses_and_recovers() {
    let server = Start::new(2).args(&["--maxclients", "5"]).run();
    // The one that found the server ready may still be on its way out.
    let mut clients = vec![server.client()];
    eventually("only this client is there", || connected(&mut clients[0]) == 1);
    clients.extend((1..5).map(|_| server.client()));
    clients.iter_mut().for_each(|client| assert_eq!(client.run("PING"), Value::simple("PONG")));
    for _ in 0..20 {
        assert_eq!(server.client().rest(), b"-ERR max number of clients reached\r\n");
    }
    assert_eq!(info(&mut clients[0], "rejected_connections"), "20");
    clients.truncate(4);
    let mut next = None;
    eventually("there is room again", || {
        let mut client = server.client();
        let _ = client.try_send(b"PING\r\n");
        let served = client.try_read().is_ok_and(|reply| reply == Value::simple("PONG"));
        next = served.then_some(client);
        served
    });
    clients[0].ok("CONFIG SET maxclients 6");
    let mut sixth = server.client();
    assert_eq!(sixth.run("PING"), Value::simple("PONG"));
    assert_eq!(server.client().rest(), b"-ERR max number of clients reached\r\n");
    assert_eq!(info(&mut clients[0], "maxclients"), "6");
}

#[test]
fn running_out_of_file_descriptors_is_survived() {
    let server = Start::new(2).args(&["--maxclients", "10000"]).open_files(100).run();
    let mut admin = server.client();
    let maxclients: usize = info(&mut admin, "maxclients").parse().unwrap();
    assert!((1..100).contains(&maxclients), "maxclients is what the limit allows: {maxclients}");
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..200).map(|_| server.client()).collect();
        let mut served = 0;
        for client in &mut clients {
            let _ = client.try_send(b"PING\r\n");
            match client.try_read() {
                Ok(reply) if reply == Value::simple("PONG") => served += 1,
                Ok(reply) => assert_eq!(reply, Value::error("ERR max number of clients reached")),
                Err(_) => {}
            }
        }
        assert!(served >= maxclients - 2 && served < 100, "{served} were served of {maxclients}");
        assert_eq!(admin.run("PING"), Value::simple("PONG"));
        drop(clients);
        eventually("all are gone", || connected(&mut admin) == 1);
    }
}

#[test]
fn timeout_ends_idle_clients_only() {
    let server = Start::new(2).args(&["--timeout", "1"]).run();
    let mut idle: Vec<_> = (0..4).map(|_| server.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.run("PING"), Value::simple("PONG")));
    let mut busy = server.client();
    eventually("the idle are ended", || {
        assert_eq!(busy.run("PING"), Value::simple("PONG"));
        busy.run("CLIENT LIST").text().lines().count() == 1
    });
    idle.iter_mut().for_each(|client| assert_eq!(client.rest(), b""));
    busy.ok("CONFIG SET timeout 0");
}

#[test]
fn a_half_closed_client_gets_all_its_replies() {
    for shards in [1, 2, 5] {
        let server = Server::start(shards);
        let mut pipeline = Vec::new();
        let mut expected = Vec::new();
        for i in 0..300 {
            pipeline.extend(request(&["MSET", "a", "1", "b", "2", "c", "3", "d", &i.to_string()]));
            pipeline.extend(request(&["GET", "d"]));
            pipeline.extend(request(&["MGET", "a", "b", "c", "d"]));
            let number = format!("${}\r\n{i}\r\n", i.to_string().len());
            expected.extend(
                format!("+OK\r\n{number}*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n{number}").into_bytes(),
            );
        }
        // Everything at once, and with a request at the end that never comes whole.
        for tail in ["", "*2\r\n$3\r\nGET\r\n$1\r\n"] {
            let mut client = server.client();
            client.send(&[&pipeline, tail.as_bytes()].concat());
            client.end_input();
            assert_eq!(client.rest().escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
        let mut admin = server.client();
        eventually("they are gone", || connected(&mut admin) == 1);
    }
}

#[test]
fn quit_answers_what_came_before_and_nothing_after() {
    let server = Server::start(2);
    let mut client = server.client();
    client.send(b"SET a 1\r\nMGET a b c d\r\nQUIT\r\nSET a 2\r\nMSET a 3 b 3 c 3\r\n");
    let expected = "+OK\r\n*4\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$-1\r\n+OK\r\n";
    assert_eq!(String::from_utf8(client.rest()).unwrap(), expected);
    assert_eq!(server.client().run("GET a"), Value::bulk("1"));
}

#[test]
fn the_unix_socket_serves() {
    let start = Start::nothing().unix_only().args(&["--port", "0", "--unixsocket", "{dir}/s.sock"]);
    let server = start.args(&["--unixsocketperm", "700"]).run();
    let path = server.folder.join("s.sock");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let mut client = Client::connect_unix(&path);
    client.ok("SET a 1");
    let pipeline: Vec<u8> = (0..2000).flat_map(|_| request(&["MGET", "a", "b", "c"])).collect();
    let replies = client.pipeline(&pipeline, 2000);
    assert!(replies.iter().all(|reply| reply.items()[0] == Value::bulk("1")));
    let listed = client.run("CLIENT LIST").text();
    assert!(listed.contains(&format!("addr={}:0 ", path.display())), "{listed}");
    assert!(listed.contains(" flags=U "), "{listed}");
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(!path.exists(), "the socket goes with the server");
}

#[test]
fn ipv6_serves() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: no IPv6 here");
        return;
    }
    let server = Start::bare().args(&["--bind", "127.0.0.1", "::1"]).run();
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, server.port.number));
    let mut client = Client::connect(address);
    let listed = client.run("CLIENT INFO").text();
    assert!(listed.contains(&format!("laddr=[::1]:{} ", server.port.number)), "{listed}");
    assert_eq!(server.client().run("PING"), Value::simple("PONG"));
}

/// A network of its own for this thread and what it starts, in which 10.9.8.7 is a local address; nothing outside can
/// reach it.
fn enter_network() -> Result<(), String> {
    let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
    // SAFETY: plain system calls on a descriptor of ours and live structs.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            return Err(failed("unshare"));
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut result = Ok(());
        for (name, address) in [("lo", Ipv4Addr::LOCALHOST), ("lo:1", Ipv4Addr::new(10, 9, 8, 7))] {
            let mut ask: libc::ifreq = std::mem::zeroed();
            for (to, from) in ask.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            let mut inet: libc::sockaddr_in = std::mem::zeroed();
            inet.sin_family = libc::AF_INET as libc::sa_family_t;
            inet.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
            std::ptr::from_mut(&mut ask.ifr_ifru).cast::<libc::sockaddr_in>().write(inet);
            if libc::ioctl(socket, libc::SIOCSIFADDR, &ask) != 0 {
                result = Err(failed("SIOCSIFADDR"));
            }
            ask.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
            if libc::ioctl(socket, libc::SIOCSIFFLAGS, &ask) != 0 {
                result = Err(failed("SIOCSIFFLAGS"));
            }
        }
        libc::close(socket);
        result
    }
}

#[test]
fn protected_mode_refuses_strangers() {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    std::thread::scope(|scope| {
        // The network is this thread's alone.
        let run = scope.spawn(|| {
            if let Err(why) = enter_network() {
                println!("skipped: {why}");
                return;
            }
            let network = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            let here = network.as_raw_fd();
            let start = Start::bare().args(&["--bind", "*"]).with(|command| {
                // SAFETY: setns is async-signal-safe; the descriptor is open until the server has started.
                unsafe {
                    command.pre_exec(move || match libc::setns(here, libc::CLONE_NEWNET) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    });
                }
            });
            let server = start.run();
            let far = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7)), server.port.number);
            let told = String::from_utf8(Client::connect(far).rest()).unwrap();
            assert!(told.starts_with("-DENIED Redis is running in protected mode because"), "{told}");
            assert!(told.ends_with("\r\n"), "{told}");
            let mut near = server.client();
            near.ok("CONFIG SET requirepass secret");
            let mut client = Client::connect(far);
            assert_eq!(client.run("PING"), Value::error("NOAUTH Authentication required."));
            client.ok("AUTH secret");
            assert_eq!(near.call(&["CONFIG", "SET", "requirepass", ""]), Value::simple("OK"));
            assert!(Client::connect(far).rest().starts_with(b"-DENIED"));
            near.ok("CONFIG SET protected-mode no");
            assert_eq!(Client::connect(far).run("PING"), Value::simple("PONG"));
        });
        run.join().unwrap();
    });
}

#[test]
fn client_kill_ends_a_pipelining_client() {
    for shards in [1, 2] {
        let server = Server::start(shards);
        let mut admin = server.client();
        for round in 0..10 {
            let mut victim = server.client();
            let id = victim.run("CLIENT ID").int();
            let mut writer = victim.writer();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let pipeline: Vec<u8> = (0..500)
                        .flat_map(|_| [request(&["INCR", "n"]), request(&["MGET", "n", "a", "b"])].concat())
                        .collect();
                    // Until the server has had enough.
                    while std::io::Write::write_all(&mut writer, &pipeline).is_ok() {}
                });
                assert!(!victim.read().is_error());
                let how = if round % 2 == 0 { format!("ID {id}") } else { "TYPE normal".to_owned() };
                assert_eq!(admin.run(&format!("CLIENT KILL {how}")), Value::Int(1));
                while victim.try_read().is_ok() {}
                drop(victim);
            });
            eventually("it is gone", || connected(&mut admin) == 1);
        }
        // A client may end itself; it is told so first.
        let mut victim = server.client();
        let id = victim.run("CLIENT ID").int();
        victim.send(format!("CLIENT KILL ID {id} SKIPME NO\r\nPING\r\n").as_bytes());
        assert_eq!(victim.rest(), b":1\r\n");
        assert_eq!(admin.run("PING"), Value::simple("PONG"));
    }
}

/// Clients that keep the server busy until it is gone.
fn under_load(server: &Server, end: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..4)
            .map(|i| {
                let (over, mut client) = (&over, server.client());
                let (tell, told) = std::sync::mpsc::channel();
                scope.spawn(move || {
                    let pipeline: Vec<u8> = (0..100)
                        .flat_map(|n| {
                            [
                                request(&["SET", &format!("k:{i}:{n}"), "v"]),
                                request(&["MGET", "a", "b", "c", "d"]),
                            ]
                            .concat()
                        })
                        .collect();
                    let mut tell = Some(tell);
                    while !over.load(Ordering::Relaxed) && client.try_send(&pipeline).is_ok() {
                        if (0..200).any(|_| client.try_read().is_err()) {
                            break;
                        }
                        tell.take().map(|tell| tell.send(()));
                    }
                });
                told
            })
            .collect();
        started.iter().for_each(|told| told.recv().unwrap());
        end();
        let status = server.wait_exit();
        over.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0), "a clean end");
    });
}

#[test]
fn signals_and_shutdown_end_the_server_cleanly_under_load() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let server = Start::new(2).args(&["--pidfile", "{dir}/pid"]).run();
        let pidfile = server.folder.join("pid");
        assert_eq!(std::fs::read_to_string(&pidfile).unwrap().trim(), server.pid().to_string());
        under_load(&server, || server.signal(signal));
        assert!(server.log().contains("bye bye"), "it says so");
        assert!(!pidfile.exists(), "its pidfile is gone");
    }
    let server = Server::start(2);
    under_load(&server, || {
        let mut client = server.client();
        client.send(b"SHUTDOWN NOSAVE\r\n");
        assert_eq!(client.rest(), b"", "it ends without a reply");
    });
}

#[test]
fn sighup_is_ignored() {
    let server = Server::start(1);
    let mut client = server.client();
    for _ in 0..5 {
        server.signal(libc::SIGHUP);
        assert_eq!(client.run("PING"), Value::simple("PONG"));
    }
    assert!(server.exited().is_none());
}

#[test]
fn a_port_that_is_taken_is_told() {
    let first = Server::start(1);
    let port = first.port.number.to_string();
    let start = Start::nothing().args(&["--bind", "127.0.0.1", "--port", &port]);
    let (code, log) = start.refused();
    assert_eq!(code, 1, "{log}");
    let told = format!(
        "Could not create server TCP listening socket 127.0.0.1:{port}: bind: Address already in use"
    );
    assert!(log.contains(&told), "{log}");
    assert!(log.contains(&format!("Failed listening on port {port} (tcp), aborting.")), "{log}");
    assert_eq!(first.client().run("PING"), Value::simple("PONG"));
}

#[test]
fn many_short_connections_leave_nothing_behind() {
    let server = Server::start(2);
    let mut admin = server.client();
    let mut files = 0;
    for round in 0..2000 {
        let mut client = server.client();
        if round % 2 == 0 {
            assert_eq!(client.run("PING"), Value::simple("PONG"));
        }
        if round == 100 {
            drop(client);
            eventually("they are gone", || connected(&mut admin) == 1);
            files = server.open_files();
        }
    }
    eventually("they are gone", || connected(&mut admin) == 1);
    eventually("their sockets are closed", || server.open_files() <= files);
    let received: usize = info(&mut admin, "total_connections_received").parse().unwrap();
    assert!(received >= 2001, "{received}");
}

/// Nobody is let in by a server that is over, and the next one gets the port.
#[test]
fn a_port_is_free_again_when_the_server_has_ended() {
    let first = Server::start(2);
    let port = first.port.number.to_string();
    let mut next = None;
    for _ in 0..10 {
        let server: &Server = next.as_ref().unwrap_or(&first);
        let _client = Client::connect(first.address);
        Client::connect(first.address).send(b"SHUTDOWN NOSAVE\r\n");
        assert_eq!(server.wait_exit().code(), Some(0));
        assert!(Client::try_connect(first.address).is_err(), "the socket still listens");
        let start = Start::nothing().args(&["--bind", "127.0.0.1", "--shards", "2", "--save", ""]);
        next = Some(start.args(&["--port", &port]).at(first.address).run());
    }
}
