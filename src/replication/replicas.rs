//! What a primary knows of its replicas.

use super::history::Positions;
use crate::base::time::MonoUs;

/// How far a replica's connection has come, as INFO names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has introduced itself; its flows are not all there.
    Joining,
    /// It waits for the snapshot that is made next.
    Waiting,
    /// It is being sent a snapshot.
    Sending,
    /// It is sent records.
    Online,
}

impl Stage {
    /// The text of `state=` in INFO.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Joining | Stage::Waiting => "wait_bgsave",
            Stage::Sending => "send_bulk",
            Stage::Online => "online",
        }
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// How the node calls it.
    pub number: u64,
    /// Its address, as it announces it or as its link shows it.
    pub ip: String,
    /// The port that it serves clients on.
    pub port: u16,
    /// How far its connection has come.
    pub stage: Stage,
    /// Up to where it has applied each stream, by its own word. Of a stock replica at least that.
    pub acked: Positions,
    /// The same as one number.
    pub acked_offset: u64,
    /// Up to where each stream is on its disk.
    pub synced: Positions,
    /// Whether it is a stock Redis, which knows one stream and its offset alone.
    pub is_stock: bool,
    /// Whether it has asked with PSYNC; those that ask with SYNC never say how far they are.
    pub speaks_psync: bool,
    /// When it last said so.
    pub heard: MonoUs,
}

impl Replica {
    /// Seconds since it was last heard.
    pub fn lag_secs(&self, now: MonoUs) -> u64 {
        now.since(self.heard) / 1_000_000
    }

    /// Whether it waits for its parts of a snapshot, one on each flow.
    pub fn waits_for_parts(&self) -> bool {
        self.stage == Stage::Waiting && !self.is_stock
    }

    /// Whether it says how far it is.
    pub fn acknowledges(&self) -> bool {
        !self.is_stock || self.speaks_psync
    }

    /// Whether it has applied all of this.
    pub fn has(&self, target: &[u64]) -> bool {
        self.stage == Stage::Online && reaches(&self.acked, target)
    }

    /// Whether all of this is on its disk.
    pub fn has_synced(&self, target: &[u64]) -> bool {
        self.stage == Stage::Online && reaches(&self.synced, target)
    }
}

/// Whether each of these positions is at or behind its target.
pub fn reaches(positions: &[u64], target: &[u64]) -> bool {
    positions.len() == target.len() && positions.iter().zip(target).all(|(at, target)| at >= target)
}

/// How many are near enough for `min-replicas-to-write` (Redis: `refreshGoodSlavesCount`).
pub fn good<'a>(replicas: impl Iterator<Item = &'a Replica>, max_lag_secs: u32, now: MonoUs) -> usize {
    let is_good = |replica: &&Replica| {
        replica.stage == Stage::Online && replica.lag_secs(now) <= u64::from(max_lag_secs)
    };
    replicas.filter(is_good).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_online_and_were_heard_lately_are_good() {
        let replica = |stage, heard| Replica {
            number: 1,
            ip: String::new(),
            port: 1,
            stage,
            acked: Positions::from_slice(&[5, 9]),
            acked_offset: 14,
            synced: Positions::new(),
            is_stock: false,
            speaks_psync: true,
            heard: MonoUs(heard),
        };
        let now = MonoUs(20_000_000);
        let all = [
            replica(Stage::Online, 12_000_000),
            replica(Stage::Online, 1),
            replica(Stage::Sending, 19_000_000),
        ];
        assert_eq!(good(all.iter(), 10, now), 1);
        assert_eq!(good(all.iter(), 100, now), 2);
        assert!(all[0].has(&[5, 9]) && all[0].has(&[4, 0]));
        assert!(!all[0].has(&[6, 9]) && !all[0].has(&[5]) && !all[2].has(&[0, 0]));
        assert_eq!(all[0].lag_secs(now), 8);
        let mut stock = replica(Stage::Waiting, 1);
        assert!(stock.acknowledges() && stock.waits_for_parts());
        stock.is_stock = true;
        assert!(stock.acknowledges() && !stock.waits_for_parts());
        stock.speaks_psync = false;
        assert!(!stock.acknowledges());
    }
}
