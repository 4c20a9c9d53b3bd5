//! A replica, or its primary, is killed or frozen while the link is at each of its stages.

use std::time::Duration;

use super::super::harness::eventually;
use super::load::{open_accounts, under_load, Kind};
use super::proxy::{Proxy, Which};
use super::{assert_converged, Node};

/// How far the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The control link is in the middle of its handshake.
    Greeting,
    /// The replica waits until a snapshot begins.
    Waiting,
    /// A part of the snapshot has come.
    Receiving,
    /// Records are applied.
    Streaming,
}

const STAGES: [Stage; 4] = [Stage::Greeting, Stage::Waiting, Stage::Receiving, Stage::Streaming];

const KINDS: &[Kind] = &[Kind::Several, Kind::Groups, Kind::Money];

/// Brings a link to each stage, does something there, and lets go: all is well afterwards.
fn at_each_stage(what: impl Fn(&mut Node, &mut Node)) {
    for (number, stage) in STAGES.into_iter().enumerate() {
        println!("{stage:?}");
        let files = ["--appendonly", "yes", "--appendfsync", "always"];
        let mut primary = Node::start(2, &files);
        open_accounts(&mut primary.client());
        primary.client().ok(&format!("SET some {}", "s".repeat(400_000)));
        let proxy = Proxy::new(primary.address());
        match stage {
            Stage::Greeting => proxy.freeze_after(60, Which::Control),
            Stage::Waiting => primary.client().ok("CONFIG SET repl-diskless-sync-delay 600"),
            Stage::Receiving => proxy.freeze_after(100_000, Which::Flows),
            Stage::Streaming => {}
        }
        let mut replica = Node::follower(3, proxy.address, &[]);
        let address = primary.address();
        under_load(address, KINDS, number as u64, || {
            match stage {
                Stage::Greeting | Stage::Receiving => eventually("it is there", || proxy.is_frozen()),
                Stage::Waiting => eventually("it waits", || {
                    primary.client().run("INFO replication").text().contains("state=wait_bgsave")
                }),
                Stage::Streaming => replica.await_up(),
            }
            what(&mut primary, &mut replica);
            proxy.heal();
            primary.client().ok("CONFIG SET repl-diskless-sync-delay 0");
        });
        assert_converged(&primary, &[&replica]);
    }
}

#[test]
fn a_replica_is_killed() {
    at_each_stage(|_, replica| {
        replica.kill();
        replica.restart();
    });
}

#[test]
fn a_primary_is_killed() {
    at_each_stage(|primary, _| {
        primary.kill();
        primary.restart();
    });
}

/// Stops the process for a while. It is not given up for that.
fn freeze(node: &Node) {
    node.server().signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(100));
    node.server().signal(libc::SIGCONT);
}

#[test]
fn a_replica_is_frozen() {
    at_each_stage(|_, replica| freeze(replica));
}

#[test]
fn a_primary_is_frozen() {
    at_each_stage(|primary, _| freeze(primary));
}
