//! Real servers and raw connections for the tests of this folder.
//!
//! Promises: a server is ready when it is handed out, is killed by its own process id when it is dropped and also when
//! the test process dies, and its log is printed when the test that holds it fails. Nothing waits for ever: every read
//! has a timeout, every condition a deadline. Nothing sleeps in the hope that something has happened meanwhile.

pub(crate) mod client;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod value;

use std::time::{Duration, Instant};

pub(crate) use client::{request, words, Client};
pub(crate) use process::{Folder, Peer, Server, Start};
pub(crate) use random::Random;
pub(crate) use value::Value;

/// How long anything may take before the test fails: far more than it needs, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Asks until the answer is yes. Fails the test at the deadline.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Asks until there is an answer. Fails the test at the deadline.
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An environment variable that is a number.
pub(crate) fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
