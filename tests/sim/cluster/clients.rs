//! The clients of the cluster: writers of the groups, readers on all nodes, and those who make noise.
//!
//! A client that is refused or cut off tries another node in a while. What it had not been answered may have been done.

use std::collections::VecDeque;

use ringward::base::prng::Prng;
use ringward::base::time::MonoUs;

use super::groups::Group;
use super::machine::Surroundings;
use super::net::{End, Side, WireId};
use crate::reply::Value;

/// What a client is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Writes these groups, which nobody else does.
    Writer(Vec<usize>),
    Reader,
    /// Sends all kinds of commands on keys of its own.
    Noise,
    /// Gives orders.
    Operator,
}

/// What is to be made of the next reply.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// Nothing.
    Plain,
    Write {
        group: usize,
        number: u64,
        data: u64,
    },
    Read {
        group: usize,
        data: u64,
        floor: u64,
    },
    /// WAIT 1: if it is answered with one or more, the only follower of the node has these.
    Wait {
        written: Vec<(usize, u64)>,
        follower: usize,
        data: u64,
    },
    /// Something that the trace is to tell.
    Order(String),
    /// Something that somebody waits for.
    Question,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) role: Role,
    pub(crate) node: usize,
    pub(crate) wire: Option<WireId>,
    to_send: VecDeque<u8>,
    reply: Vec<u8>,
    pub(crate) asked: VecDeque<Asked>,
    /// It does not try again before.
    pub(crate) rests_until: MonoUs,
    /// What it was told is written, since it connected.
    pub(crate) written: Vec<(usize, u64)>,
}

impl Client {
    pub(crate) fn new(role: Role) -> Client {
        Client {
            role,
            node: 0,
            wire: None,
            to_send: VecDeque::new(),
            reply: Vec::new(),
            asked: VecDeque::new(),
            rests_until: MonoUs(0),
            written: Vec::new(),
        }
    }

    /// Asks for something.
    pub(crate) fn send<T: AsRef<str>>(&mut self, words: &[T], asked: Asked) {
        self.to_send.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            let word = word.as_ref();
            self.to_send.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        self.asked.push_back(asked);
    }

    /// The same with several requests, of which the last reply counts.
    pub(crate) fn send_all(&mut self, requests: &[Vec<String>], asked: Asked) {
        let (last, before) = requests.split_last().expect("at least one");
        before.iter().for_each(|request| self.send(request, Asked::Plain));
        self.send(last, asked);
    }

    /// Sends what there is room for, and reads some of what has come: the replies to what it has asked, and whether
    /// anything moved. None if the connection is gone.
    pub(crate) fn exchange(
        &mut self,
        world: &mut Surroundings,
        max: usize,
    ) -> Option<(Vec<(Asked, Value)>, bool)> {
        let wire = self.wire?;
        let sent = world.net.send(wire, Side::Dialer, self.to_send.make_contiguous()).unwrap_or(0);
        self.to_send.drain(..sent);
        let bytes = world.net.receive(wire, Side::Dialer, max);
        let moved = sent > 0 || !bytes.is_empty();
        self.reply.extend(bytes);
        let mut replies = Vec::new();
        let mut at = 0;
        while let Some((value, len)) = Value::read(&self.reply[at..]) {
            at += len;
            let asked = self.asked.pop_front().expect("nothing is sent that was not asked for");
            replies.push((asked, value));
        }
        self.reply.drain(..at);
        let is_over = matches!(world.net.end(wire, Side::Dialer), Some(End::Closed | End::Broken));
        if is_over && replies.is_empty() {
            return None;
        }
        Some((replies, moved))
    }

    /// It has no connection any more. What it has written and was not told of may be lost.
    pub(crate) fn hang_up(&mut self, world: &mut Surroundings, groups: &mut [Group]) {
        if let Some(wire) = self.wire.take() {
            world.net.close(wire, Side::Dialer);
        }
        for asked in self.asked.drain(..) {
            if let Asked::Write { group, number, .. } = asked {
                groups[group].lose(number);
            }
        }
        self.to_send.clear();
        self.reply.clear();
        self.written.clear();
    }
}

/// A command of those who make noise, on keys that are no group's.
pub(crate) fn noise(rng: &mut Prng, unique: u64, may_flush: bool) -> Vec<String> {
    let key = |rng: &mut Prng, kind: &str| format!("{kind}{}", rng.below(6));
    let number = unique.to_string();
    let small = rng.below(8).to_string();
    let long_max = if rng.below(40) == 0 { 6000 } else { 40 };
    let long = "x".repeat(1 + rng.below(long_max) as usize);
    let (string, list, set) = (key(rng, "s"), key(rng, "l"), key(rng, "t"));
    let (hash, zset) = (key(rng, "h"), key(rng, "z"));
    let any = [&string, &list, &set, &hash, &zset][rng.below(5) as usize].clone();
    let others: Vec<String> = (0..2 + rng.below(4)).map(|_| key(rng, "s")).collect();
    let text = match rng.below(48) {
        0..4 => format!("SET {string} {long}"),
        4..6 => format!("APPEND {string} {small}"),
        6 => format!("INCRBY n{small} {small}"),
        7 => format!("SETRANGE {string} {small} {number}"),
        8 => format!("GETDEL {string}"),
        9 | 10 => format!("MSET {string} {number} {} {long}", others[0]),
        11 => format!("MSETNX {string} {number} {} {number}", others[0]),
        12..14 => format!("RENAME {string} {}", others[0]),
        14 => format!("COPY {any} c{small} REPLACE"),
        15 => format!("BITOP XOR {string} {} {}", others[0], others[1]),
        16..18 => format!("RPUSH {list} {number} {long}"),
        18 => format!("LPOP {list}"),
        19 => format!("LMOVE {list} {} LEFT RIGHT", key(rng, "l")),
        20 => format!("BLMOVE {list} {} RIGHT LEFT 0.02", key(rng, "l")),
        21 => format!("BLPOP {list} {} 0.02", key(rng, "l")),
        22 => format!("LTRIM {list} 0 5"),
        23..25 => format!("SADD {set} {small} {number}"),
        25 => format!("SPOP {set} 2"),
        26 => format!("SMOVE {set} {} {small}", key(rng, "t")),
        27 => format!("SUNIONSTORE {set} {} {}", key(rng, "t"), key(rng, "t")),
        28 => format!("SDIFFSTORE {set} {} {}", key(rng, "t"), key(rng, "t")),
        29..31 => format!("HSET {hash} {small} {number}"),
        31 => format!("HINCRBY {hash} {small} 3"),
        32 => format!("HDEL {hash} {small}"),
        33 => format!("HPEXPIRE {hash} 50 FIELDS 1 {small}"),
        34..36 => format!("ZADD {zset} {small} {number}"),
        36 => format!("ZPOPMIN {zset}"),
        37 => format!("ZUNIONSTORE {zset} 2 {} {}", key(rng, "z"), key(rng, "z")),
        38 => format!("PEXPIRE {any} {}", 1 + rng.below(400)),
        39 => format!("SET {string} {number} PX {}", 1 + rng.below(400)),
        40 => format!("DEL {} {} {any}", others[0], others[1]),
        41 => format!("PFADD p{small} {number}"),
        42 => format!("PUBLISH channel {number}"),
        43 => format!("MOVE {any} 2"),
        44 => "SWAPDB 2 3".to_owned(),
        45 if rng.below(8) == 0 && may_flush => "FLUSHALL".to_owned(),
        45 => format!("PERSIST {any}"),
        46 => format!("SORT {list} ALPHA STORE {list}"),
        _ => format!("GETEX {string} PX {}", 1 + rng.below(400)),
    };
    text.split(' ').map(str::to_owned).collect()
}
