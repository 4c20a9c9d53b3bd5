//! MIGRATE: a node, and the other server played by the test.

use super::batch::Received;
use super::harness::{request, ClientNo, Node};
use super::{LinkOwner, Outstanding};
use crate::resp::reply::{as_bulk, elements};
use crate::session::session::Peer;

/// A node, a client of it that migrates and one that looks on.
struct Scene {
    node: Node,
    client: ClientNo,
    other: ClientNo,
}

const SHAPES: [(u16, u16); 4] = [(1, 1), (3, 1), (2, 2), (5, 3)];

fn scene(shards: u16, cores: u16, seed: u64, settings: &[(&str, &str)]) -> Scene {
    let mut node = Node::new(shards, cores, seed, settings);
    let (client, other) = (node.connect(), node.connect());
    Scene { node, client, other }
}

impl Scene {
    /// The client sends this, and all comes to rest. What it has been answered by then.
    fn ask(&mut self, words: &str) -> String {
        let words: Vec<&[u8]> = words.split(' ').map(|word| word.trim_matches('"').as_bytes()).collect();
        self.node.send(self.client, &request(&words));
        self.rest()
    }

    fn rest(&mut self) -> String {
        self.node.quiesce();
        self.node.take_text(self.client)
    }

    fn other(&mut self, words: &str) -> String {
        self.node.run(self.other, words)
    }

    /// The connection that the node wants, which stands now.
    fn accept(&mut self, to: &str) -> Link {
        let (core, session, wanted) = self.node.dials.pop().expect("a connection is wanted");
        assert_eq!(wanted, to);
        assert!(self.node.dials.is_empty());
        self.node.hosts[core].dialed(session, Ok(Peer::default()));
        Link { core, session }
    }

    /// What has been sent on a link, a request a line; each piece has left when the next comes.
    fn sent(&mut self, link: Link) -> Vec<String> {
        let mut bytes = Vec::new();
        loop {
            self.node.quiesce();
            let piece = self.node.take_link(link.core, link.session);
            if piece.is_empty() {
                break;
            }
            bytes.extend(piece);
        }
        let mut requests = Vec::new();
        let mut rest = &bytes[..];
        while let Some(len) = crate::resp::reply::value_end(rest) {
            let words = elements(&rest[..len]).map(|word| {
                let word = as_bulk(word).unwrap();
                match word.len() {
                    0..=20 => word.escape_ascii().to_string(),
                    len => format!("<{len}>"),
                }
            });
            requests.push(words.collect::<Vec<_>>().join(" "));
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        requests
    }

    fn answer(&mut self, link: Link, bytes: &str) {
        let received = Received { session: link.session, bytes: bytes.as_bytes() };
        self.node.hosts[link.core].receive(&[received]);
    }

    fn ends(&mut self, link: Link) {
        self.node.hosts[link.core].end_of_input(link.session);
    }

    fn wait_ms(&mut self, ms: u64) {
        self.node.advance_us(ms * 1000);
        self.node.quiesce();
    }

    /// All that was under way is over: no lock is held, and only kept links are left.
    #[track_caller]
    fn is_over(&mut self) {
        self.node.quiesce();
        for host in &self.node.hosts {
            assert_eq!(host.outstanding(), Outstanding::default());
            assert!(host.carriers.values().all(|carrier| carrier.is_kept()));
            assert_eq!(host.stats.migrate_links as usize, host.carriers.len());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    core: usize,
    session: u32,
}

/// What `SET k 10` is as DUMP gives it.
const TEN: &str = "\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb";

#[test]
fn keys_go_when_the_other_server_has_them() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 1, &[]);
        assert_eq!(scene.other("MSET a 10 b 10 c 10 d 10"), "+OK\r\n");
        assert_eq!(scene.other("PEXPIRE b 5000"), ":1\r\n");
        assert_eq!(scene.ask("MIGRATE there 6379 \"\" 2 100 KEYS a none b c"), "");
        let link = scene.accept("there:6379");
        assert_eq!(scene.sent(link), ["SELECT 2"], "nothing before the database is the right one");
        scene.answer(link, "+OK\r\n");
        let restores =
            [format!("RESTORE a 0 {TEN}"), format!("RESTORE b 5000 {TEN}"), format!("RESTORE c 0 {TEN}")];
        assert_eq!(scene.sent(link), restores);
        // Nobody sees a key that may be there already, nor changes it; the others are free.
        let waiting = scene.node.connect();
        scene.node.send(waiting, &request(&[b"GET", b"a"]));
        scene.node.send(waiting, &request(&[b"SET", b"b", b"new"]));
        assert_eq!(scene.other("GET d"), "$2\r\n10\r\n");
        assert_eq!(scene.rest(), "");
        scene.answer(link, "+O");
        scene.answer(link, "K\r\n+OK\r\n");
        assert_eq!(scene.rest(), "");
        assert_eq!(scene.node.take_text(waiting), "");
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.rest(), "+OK\r\n");
        assert_eq!(scene.node.take_text(waiting), "$-1\r\n+OK\r\n");
        assert_eq!(scene.other("MGET a b c d"), "*4\r\n$-1\r\n$3\r\nnew\r\n$-1\r\n$2\r\n10\r\n");
        scene.is_over();
    }
}

#[test]
fn what_is_not_there_needs_no_other_server() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 2, &[]);
        for words in [
            "MIGRATE there 6379 a 0 100",
            "MIGRATE there x \"\" 0 100",
            "MIGRATE there 6379 \"\" 0 100 KEYS a b c",
            "MIGRATE there 6379 \"\" 0 100 KEYS",
        ] {
            assert_eq!(scene.ask(words), "+NOKEY\r\n", "{words}");
        }
        scene.other("SET a 1");
        // No port has this number: Redis finds that out when it writes.
        let refused = "-IOERR error or timeout writing to target instance\r\n";
        assert_eq!(scene.ask("MIGRATE there x a 0 100"), refused);
        assert_eq!(
            scene.ask("MIGRATE there 6379 a x 100"),
            "-ERR value is not an integer or out of range\r\n"
        );
        assert_eq!(scene.ask("MIGRATE there 6379 a 0 100 KEY b"), "-ERR syntax error\r\n");
        assert_eq!(scene.node.dials, []);
        scene.is_over();
    }
}

#[test]
fn copies_stay_and_can_be_read_meanwhile() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 3, &[]);
        scene.other("SET a 10");
        assert_eq!(scene.ask("MIGRATE there 6379 a 0 100 COPY REPLACE AUTH2 me pw"), "");
        let link = scene.accept("there:6379");
        assert_eq!(scene.sent(link), ["AUTH me pw", "SELECT 0"]);
        scene.answer(link, "+OK\r\n+OK\r\n");
        assert_eq!(scene.sent(link), [format!("RESTORE a 0 {TEN} REPLACE")]);
        assert_eq!(scene.other("GET a"), "$2\r\n10\r\n");
        let writer = scene.node.connect();
        scene.node.send(writer, &request(&[b"INCR", b"a"]));
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.rest(), "+OK\r\n");
        assert_eq!(scene.node.take_text(writer), ":11\r\n");
        scene.is_over();
    }
}

#[test]
fn a_link_is_kept_for_the_next_time() {
    let mut scene = scene(2, 1, 4, &[]);
    let migrate = |scene: &mut Scene, words: &str, dials: bool, greeting: &[&str]| {
        scene.other("SET a 10");
        assert_eq!(scene.ask(words), "");
        let link = match dials {
            true => scene.accept("there:6379"),
            false => {
                assert_eq!(scene.node.dials, []);
                let link = scene.node.hosts[0].carriers.keys().next().copied().unwrap();
                Link { core: 0, session: link }
            }
        };
        if !greeting.is_empty() {
            assert_eq!(scene.sent(link), greeting);
            scene.answer(link, &"+OK\r\n".repeat(greeting.len()));
        }
        assert_eq!(scene.sent(link), [format!("RESTORE a 0 {TEN}")]);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.rest(), "+OK\r\n");
        scene.is_over();
    };
    migrate(&mut scene, "MIGRATE there 6379 a 0 100", true, &["SELECT 0"]);
    migrate(&mut scene, "MIGRATE there 6379 a 0 100", false, &[]);
    migrate(&mut scene, "MIGRATE there 6379 a 1 100 AUTH pw", false, &["AUTH pw", "SELECT 1"]);
    assert!(scene.other("INFO stats").contains("\r\nmigrate_cached_sockets:1\r\n"));
    scene.wait_ms(9000);
    migrate(&mut scene, "MIGRATE there 6379 a 1 100", false, &[]);
    scene.wait_ms(11_000);
    assert!(scene.node.hosts[0].carriers.is_empty());
    migrate(&mut scene, "MIGRATE there 6379 a 1 100", true, &["SELECT 1"]);
    // Its end is noticed at once.
    let link = *scene.node.hosts[0].carriers.keys().next().unwrap();
    scene.ends(Link { core: 0, session: link });
    scene.is_over();
    migrate(&mut scene, "MIGRATE there 6379 a 1 100", true, &["SELECT 1"]);
    // One that speaks unasked is not kept.
    let link = *scene.node.hosts[0].carriers.keys().next().unwrap();
    scene.answer(Link { core: 0, session: link }, "-ERR max number of clients reached\r\n");
    assert!(scene.node.hosts[0].carriers.is_empty());
    scene.is_over();
}

#[test]
fn refusals_are_told_and_the_keys_stay() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 5, &[]);
        scene.other("MSET a 10 b 10 c 10");
        // Of what is said before the keys.
        scene.ask("MIGRATE there 6379 \"\" 99 100 AUTH wrong KEYS a b");
        let link = scene.accept("there:6379");
        assert_eq!(scene.sent(link), ["AUTH wrong", "SELECT 99"]);
        scene.answer(link, "-WRONGPASS invalid\r\n-ERR DB index is out of range\r\n");
        assert_eq!(scene.sent(link), [""; 0]);
        assert_eq!(scene.rest(), "-ERR Target instance replied with error: WRONGPASS invalid\r\n");
        scene.is_over();
        // Of one key; the link is kept, but what is selected is not known.
        scene.ask("MIGRATE there 6379 \"\" 0 100 KEYS a b c");
        assert_eq!(scene.sent(link), ["SELECT 0"]);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.sent(link).len(), 3);
        scene.answer(link, "+OK\r\n-BUSYKEY Target key name already exists.\r\n+OK\r\n");
        let busy = "-ERR Target instance replied with error: BUSYKEY Target key name already exists.\r\n";
        assert_eq!(scene.rest(), busy);
        assert_eq!(scene.other("EXISTS a c"), ":0\r\n");
        assert_eq!(scene.other("EXISTS b"), ":1\r\n");
        scene.is_over();
        // One key twice goes once; the second time it is there.
        scene.ask("MIGRATE there 6379 \"\" 0 100 KEYS b b");
        assert_eq!(scene.sent(link), ["SELECT 0"]);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.sent(link).len(), 2);
        scene.answer(link, "+OK\r\n-BUSYKEY Target key name already exists.\r\n");
        assert_eq!(scene.rest(), busy);
        assert_eq!(scene.other("EXISTS b"), ":0\r\n");
        scene.is_over();
    }
}

#[test]
fn one_that_breaks_is_tried_once_more() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 6, &[]);
        scene.other("MSET a 10 b 10");
        // The name means nothing.
        scene.ask("MIGRATE there 6379 a 0 100");
        let (core, session, _) = scene.node.dials.pop().unwrap();
        scene.node.hosts[core].unresolved(session, "Name or service not known".to_owned());
        assert_eq!(scene.rest(), "-IOERR error or timeout connecting to the client\r\n");
        scene.is_over();
        // At once, and then not at all.
        scene.ask("MIGRATE there 6379 a 0 100");
        let link = scene.accept("there:6379");
        scene.node.quiesce();
        scene.ends(link);
        scene.node.quiesce();
        let (core, session, _) = scene.node.dials.pop().unwrap();
        scene.node.hosts[core].dialed(session, Err("Connection refused".to_owned()));
        assert_eq!(scene.rest(), "-IOERR error or timeout writing to target instance\r\n");
        scene.is_over();
        // After the keys were sent, and a second time.
        scene.ask("MIGRATE there 6379 \"\" 0 100 KEYS a b");
        for last in [false, true] {
            let link = scene.accept("there:6379");
            assert_eq!(scene.sent(link), ["SELECT 0"]);
            scene.answer(link, "+OK\r\n");
            assert_eq!(scene.sent(link).len(), 2);
            scene.ends(link);
            let expected = if last { "-IOERR error or timeout reading to target instance\r\n" } else { "" };
            assert_eq!(scene.rest(), expected);
        }
        assert_eq!(scene.other("EXISTS a b"), ":2\r\n");
        scene.is_over();
        // Once a key is there it is over, and that key has gone.
        scene.ask("MIGRATE there 6379 \"\" 0 100 KEYS a b");
        let link = scene.accept("there:6379");
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.sent(link).len(), 3);
        scene.answer(link, "+OK\r\n");
        scene.ends(link);
        assert_eq!(scene.rest(), "-IOERR error or timeout reading to target instance\r\n");
        assert_eq!(scene.other("EXISTS a"), ":0\r\n");
        assert_eq!(scene.other("EXISTS b"), ":1\r\n");
        scene.is_over();
        // What makes no sense is an end, too.
        scene.ask("MIGRATE there 6379 b 0 100");
        for _ in 0..2 {
            let link = scene.accept("there:6379");
            assert_eq!(scene.sent(link), ["SELECT 0"]);
            scene.answer(link, &"x".repeat(3000));
            scene.node.quiesce();
        }
        assert_eq!(scene.rest(), "-IOERR error or timeout reading to target instance\r\n");
        scene.is_over();
    }
}

#[test]
fn patience_is_the_clients_timeout_without_headway() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 7, &[]);
        let big = "x".repeat(300_000);
        scene.other(&format!("MSET a {big} b 10"));
        // Nobody answers the call.
        scene.ask("MIGRATE there 6379 b 0 100");
        scene.wait_ms(90);
        assert_eq!(scene.rest(), "");
        scene.wait_ms(20);
        assert_eq!(scene.rest(), "-IOERR error or timeout writing to target instance\r\n");
        scene.node.dials.clear();
        scene.is_over();
        // Nobody says a word, or takes what is sent.
        scene.ask("MIGRATE there 6379 b 0 100");
        let link = scene.accept("there:6379");
        assert_eq!(scene.sent(link), ["SELECT 0"]);
        scene.wait_ms(110);
        assert_eq!(scene.rest(), "-IOERR error or timeout reading to target instance\r\n");
        scene.is_over();
        scene.ask("MIGRATE there 6379 a 0 100");
        let link = scene.accept("there:6379");
        assert_eq!(scene.sent(link), ["SELECT 0"]);
        scene.node.holds_links = true;
        scene.answer(link, "+OK\r\n");
        scene.wait_ms(110);
        assert_eq!(scene.rest(), "-IOERR error or timeout writing to target instance\r\n");
        scene.node.holds_links = false;
        assert_eq!(scene.other("EXISTS a b"), ":2\r\n");
        scene.is_over();
        // As long as something moves it may take longer.
        scene.ask("MIGRATE there 6379 \"\" 0 100 KEYS a b");
        let link = scene.accept("there:6379");
        scene.wait_ms(90);
        scene.answer(link, "+OK\r\n");
        scene.node.holds_links = true;
        for _ in 0..4 {
            scene.node.quiesce();
            scene.wait_ms(90);
            scene.node.hosts[link.core].sent(link.session, 0);
        }
        scene.node.holds_links = false;
        scene.node.quiesce();
        scene.wait_ms(90);
        scene.answer(link, "+OK\r\n");
        scene.wait_ms(90);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.rest(), "+OK\r\n");
        scene.is_over();
    }
}

#[test]
fn an_answer_that_comes_early_ends_no_request_in_the_middle() {
    let mut scene = scene(1, 1, 12, &[("rdbcompression", "no")]);
    let big = "x".repeat(300_000);
    scene.other(&format!("MSET a {big} b 10"));
    scene.ask("MIGRATE there 6379 \"\" 0 100 KEYS a b");
    let link = scene.accept("there:6379");
    assert_eq!(scene.sent(link), ["SELECT 0"]);
    scene.node.holds_links = true;
    scene.answer(link, "+OK\r\n");
    scene.node.quiesce();
    scene.answer(link, "-OOM command not allowed\r\n");
    scene.node.holds_links = false;
    scene.node.hosts[link.core].sent(link.session, 0);
    // What was sent of it before belongs to it.
    let restores = ["RESTORE a 0 <300016>".to_owned(), format!("RESTORE b 0 {TEN}")];
    assert_eq!(scene.sent(link), restores);
    scene.answer(link, "+OK\r\n");
    assert_eq!(scene.rest(), "-ERR Target instance replied with error: OOM command not allowed\r\n");
    assert_eq!(scene.other("EXISTS a b"), ":1\r\n");
    scene.is_over();
}

#[test]
fn exec_waits_for_it_in_its_place() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 8, &[]);
        for words in ["MULTI", "SET a 10", "SET b 10", "MIGRATE there 6379 a 0 100", "MGET a b", "PING"] {
            scene.ask(words);
        }
        assert_eq!(scene.ask("EXEC"), "");
        // What EXEC has set nobody has seen.
        let waiting = scene.node.connect();
        scene.node.send(waiting, &request(&[b"GET", b"b"]));
        let link = scene.accept("there:6379");
        assert_eq!(scene.sent(link), ["SELECT 0"]);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.sent(link), [format!("RESTORE a 0 {TEN}")]);
        assert_eq!(scene.node.take_text(waiting), "");
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.rest(), "*5\r\n+OK\r\n+OK\r\n+OK\r\n*2\r\n$-1\r\n$2\r\n10\r\n+PONG\r\n");
        assert_eq!(scene.node.take_text(waiting), "$2\r\n10\r\n");
        scene.is_over();
    }
}

#[test]
fn one_whose_client_has_gone_goes_on() {
    for (shards, cores) in SHAPES {
        let mut scene = scene(shards, cores, 9, &[]);
        scene.other("SET a 10");
        scene.ask("MIGRATE there 6379 a 0 100");
        let link = scene.accept("there:6379");
        scene.node.disconnect(scene.client);
        assert_eq!(scene.sent(link), ["SELECT 0"]);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.sent(link).len(), 1);
        scene.answer(link, "+OK\r\n");
        assert_eq!(scene.other("EXISTS a"), ":0\r\n");
        scene.is_over();
    }
}

#[test]
fn passwords_are_shown_to_nobody() {
    let mut scene = scene(2, 2, 10, &[("slowlog-log-slower-than", "0")]);
    assert_eq!(scene.other("MONITOR"), "+OK\r\n");
    scene.ask("MIGRATE there 6379 \"\" 0 100 AUTH2 hello sesame KEYS a");
    let seen = scene.rest() + &scene.node.take_text(scene.other);
    assert!(seen.contains("\"MIGRATE\"") && !seen.contains("sesame") && !seen.contains("hello"), "{seen}");
    let log = scene.ask("SLOWLOG GET 10");
    assert!(log.contains("MIGRATE") && !log.contains("sesame") && !log.contains("hello"), "{log}");
}

#[test]
fn links_of_others_are_none_of_its_business() {
    let mut scene = scene(1, 1, 11, &[]);
    let probe = scene.node.hosts[0].dial("there".to_owned(), 6379, LinkOwner::Probe);
    scene.node.quiesce();
    assert_eq!(scene.accept("there:6379"), Link { core: 0, session: probe });
    scene.other("SET a 10");
    scene.ask("MIGRATE there 6379 a 0 100");
    let link = scene.accept("there:6379");
    assert_ne!(link.session, probe);
    assert_eq!(scene.sent(link), ["SELECT 0"]);
}
