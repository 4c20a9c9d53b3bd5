//! The ways to start the server, and to configure it while it runs.

use std::os::unix::process::CommandExt;

use super::harness::process::{allowed_cpus, ringward};
use super::harness::{eventually, eventually_some, Client, Server, Start, Value};

/// What CONFIG GET says of one directive.
#[track_caller]
fn config(client: &mut Client, name: &str) -> String {
    let reply = client.call(&["CONFIG", "GET", name]);
    assert_eq!(reply.items().len(), 2, "{name}: {reply:?}");
    reply.items()[1].text()
}

pub(super) const TUTORIAL: &str = include_str!("../../src/config/tutorial.conf");

#[test]
fn a_configuration_file_is_read() {
    let text =
        "# a comment\nport {port}\nbind 127.0.0.1\n\ntimeout 17 # seconds\nmaxmemory 2GB\nsave 900 1\n\
                save \"300 10\"\nloglevel verbose\nshards 2\nappendfilename 'with space.aof'\n";
    let server = Start::file(text).run();
    let mut client = server.client();
    for (name, value) in [
        ("timeout", "17"),
        ("maxmemory", "2147483648"),
        ("loglevel", "verbose"),
        ("bind", "127.0.0.1"),
        ("save", "900 1 300 10"),
        ("appendfilename", "with space.aof"),
        ("shards", "2"),
    ] {
        assert_eq!(config(&mut client, name), value, "{name}");
    }
    let file = server.folder.join("redis.conf");
    assert!(client.run("INFO server").text().contains(&format!("config_file:{}\r\n", file.display())));
    assert!(server.log().contains("Configuration loaded"));
}

#[test]
fn arguments_come_after_the_file() {
    let start = Start::file("port {port}\nbind 127.0.0.1\ntimeout 1\nmaxmemory 1gb\n");
    let server = start.args(&["--timeout", "2", "--save", "", "--loglevel", "notice"]).run();
    let mut client = server.client();
    assert_eq!(config(&mut client, "timeout"), "2");
    assert_eq!(config(&mut client, "maxmemory"), "1073741824");
    assert_eq!(config(&mut client, "save"), "");
}

#[test]
fn standard_input_is_read() {
    let start = Start::nothing().args(&["--timeout", "5", "-"]);
    let server = start.stdin("port {port}\nbind 127.0.0.1\ntimeout 6\nmaxclients 77\n").run();
    let mut client = server.client();
    assert_eq!(config(&mut client, "maxclients"), "77");
    assert_eq!(config(&mut client, "timeout"), "5", "arguments come last, as in Redis");
    assert_eq!(client.run("CONFIG REWRITE"), Value::error("ERR The server is running without a config file"));
}

#[test]
fn included_files_are_read_in_their_place() {
    let start =
        Start::file("port {port}\nbind 127.0.0.1\ntimeout 1\ninclude {dir}/more*.conf\nmaxclients 50\n");
    start.folder().write("more1.conf", "timeout 2\nmaxclients 10\n");
    start.folder().write("more2.conf", "maxclients 20\nhz 33\n");
    let server = start.run();
    let mut client = server.client();
    assert_eq!(config(&mut client, "timeout"), "2");
    assert_eq!(config(&mut client, "maxclients"), "50");
    assert_eq!(config(&mut client, "hz"), "33");
}

#[test]
fn the_tutorials_file_starts_as_it_stands() {
    // Only its places are others here: it is for root's folders and the default port, and it goes to the background.
    let text = TUTORIAL
        .replace("port 6379", "port {port}")
        .replace("/var/run/redis", "{dir}")
        .replace("/var/log/redis", "{dir}")
        .replace("/var/lib/redis", "{dir}");
    assert!(text.contains("daemonize yes") && text.contains("rename-command CONFIG \"\""));
    let start = Start::file(&text);
    let pidfile = start.folder().join("redis-server.pid");
    let logfile = start.folder().join("redis-server.log");
    let server = start.spawn();
    let status = server.wait_exit();
    assert_eq!(status.code(), Some(0), "the one in front ends: {}", server.log());
    let daemon = Daemon::find(&pidfile);
    let mut client = eventually_some("it serves", || Client::try_connect(server.address).ok());
    assert_eq!(client.run("PING"), Value::error("NOAUTH Authentication required."));
    client.ok("AUTH <password>");
    client.ok("SET a 1");
    let renamed = client.run("CONFIG GET *").text();
    assert!(renamed.starts_with("ERR unknown command 'CONFIG'"), "{renamed}");
    let info = client.run("INFO").text();
    assert!(info.contains("maxmemory:2147483648\r\n") && info.contains("maxmemory_policy:volatile-lru\r\n"));
    let log = std::fs::read_to_string(&logfile).unwrap();
    assert!(log.contains("Ready to accept connections"), "{log}");
    client.send(b"SHUTDOWN NOSAVE\r\n");
    eventually("it ends", || !daemon.is_running());
    assert!(!pidfile.exists(), "its pidfile is gone");
    assert!(std::fs::read_to_string(&logfile).unwrap().contains("bye bye"));
}

/// A server in the background, known by its pidfile; it is killed in any case.
pub(super) struct Daemon(libc::pid_t);

impl Daemon {
    pub(super) fn find(pidfile: &std::path::Path) -> Daemon {
        Daemon(eventually_some("the pidfile is there", || {
            std::fs::read_to_string(pidfile).ok()?.trim().parse().ok()
        }))
    }

    pub(super) fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running()
            && std::fs::read_link(format!("/proc/{}/exe", self.0)).ok() == ringward().canonicalize().ok()
        {
            // SAFETY: a plain system call, for a process that is ours by its program.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
        }
    }
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    for (text, line, quoted, expected) in [
        ("port {port}\nnonsense 1\n", 2, "nonsense 1", "Bad directive or wrong number of arguments"),
        ("# x\n\ntimeout abc\n", 3, "timeout abc", "argument couldn't be parsed into an integer"),
        ("timeout -1\n", 1, "timeout -1", "argument must be between 0 and 2147483647 inclusive"),
        ("appendonly maybe\n", 1, "appendonly maybe", "argument must be 'yes' or 'no'"),
        ("maxmemory 10zb\n", 1, "maxmemory 10zb", "argument must be a memory value"),
        (
            "maxmemory-policy random\n",
            1,
            "maxmemory-policy random",
            "argument(s) must be one of the following: ",
        ),
        ("port 1 2\n", 1, "port 1 2", "wrong number of arguments"),
        ("save 900\n", 1, "save 900", "Invalid save parameters"),
        ("loglevel \"verbose\n", 1, "loglevel \"verbose", "Unbalanced quotes in configuration line"),
        ("rename-command NOSUCH x\n", 1, "rename-command NOSUCH x", "No such command in rename-command"),
        (
            "client-output-buffer-limit foo 1 2 3\n",
            1,
            "client-output-buffer-limit foo 1 2 3",
            "Invalid client class specified in buffer limit configuration.",
        ),
    ] {
        let (code, told) = Start::file(text).refused();
        assert_eq!(code, 1, "{text}: {told}");
        assert!(told.contains("*** FATAL CONFIG FILE ERROR (Ringward "), "{text}: {told}");
        assert!(
            told.contains(&format!("Reading the configuration file, at line {line}\n")),
            "{text}: {told}"
        );
        assert!(told.contains(&format!(">>> '{quoted}'\n")), "{text}: {told}");
        assert!(told.contains(expected), "{text}: {told}");
    }
    let (code, told) = Start::nothing().args(&["{dir}/nothing.conf"]).refused();
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("Fatal error, can't open config file") && told.contains("No such file or directory"),
        "{told}"
    );
    let (code, told) = Start::nothing().args(&["--port", "nowhere"]).refused();
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(">>> 'port \"nowhere\"'") || told.contains(">>> 'port nowhere'"), "{told}");
    let (code, told) = Start::bare().args(&["--dir", "/no/such/folder"]).refused();
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("No such file or directory"), "{told}");
    let (code, told) = Start::bare().args(&["--bind", "203.0.113.7"]).refused();
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("Could not create server TCP listening socket 203.0.113.7:"), "{told}");
}

#[test]
fn help_and_version_are_told() {
    for flag in ["--help", "-h", "--version", "-v"] {
        let output = std::process::Command::new(ringward()).arg(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{flag}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.to_lowercase().contains("ringward"), "{flag}: {told}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn daemonize_writes_pidfile_and_logfile() {
    let start = Start::nothing().args(&["--daemonize", "yes", "--bind", "127.0.0.1"]);
    let port = start.port().to_string();
    let start = start.args(&["--port", &port, "--pidfile", "{dir}/r.pid", "--logfile", "{dir}/r.log"]);
    let (pidfile, logfile) = (start.folder().join("r.pid"), start.folder().join("r.log"));
    let server = start.spawn();
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log());
    let daemon = Daemon::find(&pidfile);
    let mut client = eventually_some("it serves", || Client::try_connect(server.address).ok());
    let info = client.run("INFO server").text();
    assert!(info.contains(&format!("process_id:{}\r\n", daemon.0)), "{info}");
    // SAFETY: a signal to a process that we have started.
    unsafe { libc::kill(daemon.0, libc::SIGTERM) };
    eventually("it ends", || !daemon.is_running());
    assert!(!pidfile.exists());
    let log = std::fs::read_to_string(&logfile).unwrap();
    assert!(log.contains("Received SIGTERM") && log.contains("bye bye"), "{log}");
    // Redis's line format: pid:role date time mark text.
    let line = log.lines().last().unwrap();
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!(words[0], format!("{}:M", daemon.0), "{line}");
    assert_eq!(words[4].len(), 12, "{line}");
    assert!(matches!(words[5], "#" | "*" | "-" | "."), "{line}");
}

#[test]
fn config_set_takes_effect_on_every_core() {
    let server = Server::start(2);
    // More than one connection on each core.
    let mut clients: Vec<_> = (0..6).map(|_| server.client()).collect();
    for round in 0..50 {
        let (maxmemory, timeout) = ((round + 100) << 20, round + 1000);
        let set = format!("CONFIG SET maxmemory {maxmemory} timeout {timeout}");
        clients[round % 6].ok(&set);
        for client in &mut clients {
            assert_eq!(config(client, "maxmemory"), maxmemory.to_string());
            assert_eq!(config(client, "timeout"), timeout.to_string());
        }
    }
    // All or nothing.
    let client = &mut clients[0];
    let refused = client.run("CONFIG SET timeout 1 maxmemory lots").text();
    let expected =
        "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value";
    assert_eq!(refused, expected);
    assert_eq!(config(client, "timeout"), "1049");
    let unknown = client.run("CONFIG SET timeout 1 nonsense 2").text();
    assert_eq!(unknown, "ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'");
    let immutable = client.run("CONFIG SET daemonize yes").text();
    assert!(immutable.ends_with("can't set immutable config"), "{immutable}");
    let twice = client.run("CONFIG SET timeout 1 timeout 2").text();
    assert!(twice.ends_with("duplicate parameter"), "{twice}");
    assert_eq!(
        client.run("CONFIG SET timeout").text(),
        "ERR wrong number of arguments for 'config|set' command"
    );
    let many = client.run("CONFIG GET max*");
    assert!(many.items().len() >= 10 && many.items().len() % 2 == 0, "{many:?}");
    assert_eq!(client.run("CONFIG GET nonsense"), Value::Array(vec![]));
    let several = client.run("CONFIG GET timeout maxmemory-policy t*");
    assert!(several.items().len() >= 4);
}

#[test]
fn maxmemory_is_kept() {
    let server = Server::start(2);
    let mut client = server.client();
    // Memory is in use all the time, also where a core's view of it is a little old.
    client.ok("SET kept 1");
    client.ok("CONFIG SET maxmemory 1");
    let refused = Value::error("OOM command not allowed when used memory > 'maxmemory'.");
    let mut other = server.client();
    for client in [&mut client, &mut other] {
        eventually("writes are refused", || client.run("SET a 1") == refused);
        assert_eq!(client.run("MSET a 1 b 2 c 3"), refused);
        assert!(!client.run("GET a").is_error());
        assert!(!client.run("DEL a").is_error());
    }
    client.ok("CONFIG SET maxmemory 0");
    client.ok("SET a 1");
    other.ok("MSET a 1 b 2 c 3");
}

#[test]
fn rewrite_keeps_the_file_and_a_restart_gives_the_same() {
    let text = "# my server\nport {port}\nbind 127.0.0.1\n\n# how long a client may idle\ntimeout 100\nmaxmemory 1gb\n\
                save 900 1\nrename-command FLUSHDB \"\"\nshards 2\n# the end\n";
    let server = Start::file(text).run();
    let file = server.folder.join("redis.conf");
    let mut client = server.client();
    client.ok("CONFIG SET timeout 200 maxmemory 3gb maxmemory-policy allkeys-lfu");
    assert_eq!(client.call(&["CONFIG", "SET", "save", "60 5 30 7"]), Value::simple("OK"));
    assert_eq!(client.call(&["CONFIG", "SET", "requirepass", "a \"secret\" \u{e9}"]), Value::simple("OK"));
    assert_eq!(
        client.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 10mb 5mb 10"]),
        Value::simple("OK")
    );
    client.ok("CONFIG REWRITE");
    let rewritten = std::fs::read_to_string(&file).unwrap();
    for line in [
        "# my server",
        "# how long a client may idle",
        "timeout 200",
        "maxmemory 3gb",
        "# the end",
        "rename-command FLUSHDB \"\"",
        "shards 2",
    ] {
        assert!(rewritten.lines().any(|l| l == line), "{line} of\n{rewritten}");
    }
    let everything = |client: &mut Client| {
        let reply = client.run("CONFIG GET *");
        reply
            .items()
            .chunks(2)
            .map(|pair| (pair[0].text(), pair[1].text()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = everything(&mut client);
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(server.wait_exit().code(), Some(0));
    let again = Start::nothing().args(&[file.to_str().unwrap()]);
    let again = again.at(server.address).run();
    let mut client = again.client();
    assert_eq!(client.run("PING"), Value::error("NOAUTH Authentication required."));
    assert_eq!(client.call(&["AUTH", "a \"secret\" \u{e9}"]), Value::simple("OK"));
    let after = everything(&mut client);
    for (name, value) in &before {
        assert_eq!(after.get(name), Some(value), "{name}");
    }
    assert_eq!(after.len(), before.len());
    assert!(client.run("FLUSHDB").text().starts_with("ERR unknown command 'FLUSHDB'"));
    // Once more: nothing is left to change.
    let text = std::fs::read_to_string(&file).unwrap();
    client.ok("CONFIG REWRITE");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let leftovers: Vec<_> =
        std::fs::read_dir(&**server.folder).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(leftovers.iter().filter(|name| *name != ".dump.rdb.lock").collect::<Vec<_>>(), ["redis.conf"]);
}

#[test]
fn renamed_commands_answer_to_their_new_names() {
    let text = "port {port}\nbind 127.0.0.1\nrename-command GET hole\nrename-command KEYS \"\"\nrename-command DEBUG dbg\n\
                enable-debug-command yes\n";
    let server = Start::file(text).run();
    let mut client = server.client();
    client.ok("SET a 1");
    assert_eq!(client.run("HOLE a"), Value::bulk("1"));
    assert_eq!(client.run("hole a"), Value::bulk("1"));
    for gone in ["GET a", "KEYS *", "DEBUG SLEEP 0"] {
        assert!(client.run(gone).text().starts_with("ERR unknown command '"), "{gone}");
    }
    client.ok("DBG SLEEP 0");
}

#[test]
fn debug_is_only_for_those_who_may() {
    let server = Start::bare().args(&["--bind", "127.0.0.1"]).run();
    let refused = server.client().run("DEBUG SLEEP 0").text();
    assert!(
        refused.starts_with("ERR DEBUG command not allowed. If the enable-debug-command option is set"),
        "{refused}"
    );
    let server = Start::bare().args(&["--bind", "127.0.0.1", "--enable-debug-command", "local"]).run();
    server.client().ok("DEBUG SLEEP 0");
    let immutable = server.client().run("CONFIG SET enable-debug-command no").text();
    assert!(immutable.ends_with("can't set immutable config"), "{immutable}");
}

/// A seccomp filter that answers io_uring_setup with this error.
fn without_io_uring(command: &mut std::process::Command, errno: u16) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_io_uring_setup as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | u32::from(errno)),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: prctl is async-signal-safe; the filter lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            let refused = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0;
            if refused {
                Err(std::io::Error::last_os_error())
            } else {
                Ok(())
            }
        });
    }
}

#[test]
fn where_io_uring_is_refused_the_remedy_is_told() {
    for (errno, remedy) in [
        (libc::EPERM, "--security-opt seccomp="),
        (libc::EACCES, "io_uring_disabled"),
        (libc::ENOSYS, "Linux 6.1"),
        (libc::ENOMEM, "ulimit -l"),
    ] {
        let start = Start::bare().args(&["--bind", "127.0.0.1"]);
        let (code, told) = start.with(|command| without_io_uring(command, errno as u16)).refused();
        assert_eq!(code, 78, "{told}");
        assert!(told.contains(remedy), "{told}");
        assert!(!told.contains("panicked") && !told.contains("Can't start a thread"), "{told}");
    }
}

#[test]
fn processors_that_are_not_ours_are_refused() {
    let start = Start::bare().args(&["--bind", "127.0.0.1", "--cores", "1000"]);
    let (code, told) = start.refused();
    assert_eq!(code, 78, "{told}");
    assert!(told.contains("processor 1000") && told.contains("--cores"), "{told}");
    // Allowed by the machine, but not to this process.
    let cpus = allowed_cpus();
    if cpus.len() < 2 {
        println!("skipped: only one processor here");
        return;
    }
    let (only, other) = (cpus[0], cpus[1]);
    let pin = |command: &mut std::process::Command| {
        // SAFETY: sched_setaffinity is async-signal-safe; zeroed bytes are a valid CPU set.
        unsafe {
            command.pre_exec(move || {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(only, &mut set);
                match libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
    };
    let start = Start::bare().args(&["--bind", "127.0.0.1", "--cores", &other.to_string()]);
    let (code, told) = start.with(pin).refused();
    assert_eq!(code, 78, "{told}");
    assert!(told.contains(&format!("processor {other}")), "{told}");
    // By default it takes what it may have.
    let server = Start::bare().args(&["--bind", "127.0.0.1"]).with(pin).run();
    assert!(server.log().contains(&format!("1 shard on processor {only}")), "{}", server.log());
}
