//! Failovers in a row under a client that writes: what was acknowledged is never lost.
//!
//! `RINGWARD_SENTINEL_ROUNDS` says how many. `RINGWARD_SENTINEL_STOCK=1` does the same with redis-server's nodes,
//! before, to compare the times; they are printed, and nothing is made of them here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{connect, field_of, Client, Group, Node, Program};
use crate::harness::{eventually, number_from_env, words, Value};

/// A client that writes one number after the other, wherever the Sentinels say that the primary is.
#[derive(Default)]
struct Writer {
    state: Mutex<Written>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Written {
    /// Those that a replica has, too, by the server's word.
    acknowledged: Vec<u64>,
    /// When and by which node the last one was taken.
    last: Option<(Instant, u16)>,
}

impl Writer {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.state.lock().unwrap()
    }

    fn run(&self, sentinel: u16) {
        let mut number = 0;
        let mut connection: Option<(Client, u16)> = None;
        // What was written over this connection and no replica has yet: with the offset behind it.
        let mut pending: Vec<(u64, u64)> = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            if connection.is_none() {
                connection = open(sentinel);
                pending.clear();
            }
            let Some((client, port)) = &mut connection else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            match write(client, number) {
                Ok((offset, replicated)) => {
                    pending.push((number, offset));
                    let mut written = self.written();
                    written.last = Some((Instant::now(), *port));
                    pending.retain(|&(number, offset)| {
                        let is_replicated = offset <= replicated;
                        written.acknowledged.extend(is_replicated.then_some(number));
                        !is_replicated
                    });
                }
                // The server is gone, or no primary any more, or lacks replicas.
                Err(_) => connection = None,
            }
        }
    }
}

fn open(sentinel: u16) -> Option<(Client, u16)> {
    let reply = ask(&mut connect(sentinel).ok()?, "sentinel get-master-addr-by-name mymaster").ok()?;
    let port = reply.items().get(1)?.text().parse().ok()?;
    Some((connect(port).ok()?, port))
}

fn ask(client: &mut Client, line: &str) -> std::io::Result<Value> {
    client.try_send(&words(line))?;
    client.try_read()
}

/// Writes a number. The primary's offset behind it, and the offset that some replica has applied, by its own word.
fn write(client: &mut Client, number: u64) -> std::io::Result<(u64, u64)> {
    let reply = ask(client, &format!("set n:{number} {number}"))?;
    if reply != Value::simple("OK") {
        return Err(std::io::Error::other(reply.text()));
    }
    let text = ask(client, "info replication")?.text();
    let offset = field_of(&text, "master_repl_offset").parse().unwrap_or(u64::MAX);
    let lines = text.lines().filter(|line| line.contains("state=online"));
    let offsets = lines.filter_map(|line| line.split_once("offset=")?.1.split(',').next()?.parse().ok());
    Ok((offset, offsets.max().unwrap_or(0)))
}

/// How long clients could not write, by round.
fn fail_over(program: Program, rounds: u64, is_quick: bool) -> Vec<Duration> {
    let lines = "min-replicas-to-write 1\nmin-replicas-max-lag 10\n";
    let mut group = Group::of((0..3).map(|_| Node::new(program, lines)).collect(), is_quick);
    let writer = Writer::default();
    let sentinel = group.sentinels[2].port.number;
    let gaps = std::thread::scope(|scope| {
        let _stop = Stop(&writer.stop);
        scope.spawn(|| writer.run(sentinel));
        let mut gaps = Vec::new();
        for _ in 0..rounds {
            let old = group.named_by(0);
            let at = group.node(old);
            let count = writer.written().acknowledged.len();
            eventually("writes are acknowledged", || writer.written().acknowledged.len() > count + 20);
            group.nodes[at].kill();
            let killed = Instant::now();
            eventually("clients write again", || {
                writer.written().last.is_some_and(|(when, port)| when > killed && port != old)
            });
            let (when, _) = writer.written().last.unwrap();
            gaps.push(when - killed);
            let new = group.eventually_switched(old);
            group.nodes[at].begin();
            group.eventually_whole(group.nodes[new].name());
        }
        gaps
    });
    let primary = group.node(group.named_by(0));
    let mut client = group.nodes[primary].client();
    let acknowledged = std::mem::take(&mut writer.written().acknowledged);
    let has = |number: &&u64| client.run(&format!("get n:{number}")) != Value::bulk(number.to_string());
    let lost: Vec<&u64> = acknowledged.iter().filter(has).collect();
    assert!(lost.is_empty(), "of {} acknowledged writes these are lost: {lost:?}", acknowledged.len());
    println!("{program:?}: {} acknowledged writes, none lost", acknowledged.len());
    gaps
}

/// Ends the writer, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn median(mut gaps: Vec<Duration>) -> Duration {
    gaps.sort();
    gaps[gaps.len() / 2]
}

#[test]
fn no_acknowledged_write_is_lost_over_failovers() {
    // The periods of a Sentinel as it comes belong to the figures.
    let rounds = number_from_env("RINGWARD_SENTINEL_ROUNDS", 2);
    let is_measured = std::env::var_os("RINGWARD_SENTINEL_ROUNDS").is_some();
    if number_from_env("RINGWARD_SENTINEL_STOCK", 0) > 0 {
        let gaps = fail_over(Program::Stock, rounds, !is_measured);
        println!(
            "redis-server: clients write again after {:?} (median of {rounds}): {gaps:?}",
            median(gaps.clone())
        );
    }
    let gaps = fail_over(Program::Ringward, rounds, !is_measured);
    println!("Ringward: clients write again after {:?} (median of {rounds}): {gaps:?}", median(gaps.clone()));
}
