//! Which records of a crash count: those before each shard's first torn transaction.
//!
//! Every shard syncs its own file, so a crash may leave one part of a transaction on the disk and not another. Such a
//! transaction did not happen, and neither did what came after it on the shards where a part is found: what came after
//! may build on it. Cutting it off may tear others, so the rule is applied until nothing changes. What is lost that way
//! was never reported as durable: a reply waits until all parts are on the disk.
//!
//! A part in a shard's increment `n` is there too for a shard whose base has a higher number: the base was made of data
//! that had it (`aofset`).

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::base::ids::ShardId;

/// A transaction: the core that coordinated it, and its number there.
pub type TxnNumber = (u16, u64);

/// A place in a shard's increments: the number of the increment, and a byte in it.
pub type Place = (u64, u64);

/// A part of a transaction in a shard's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartMark {
    /// Of which transaction.
    pub txn: TxnNumber,
    /// Where its record begins.
    pub at: Place,
    /// The shards that have parts of it.
    pub shards: SmallVec<[ShardId; 4]>,
}

/// What a shard's increments hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The number of the shard's base; zero where there is none.
    pub base: u64,
    /// The end of the last whole record.
    pub end: Place,
    /// Whether more bytes follow it: the end is torn.
    pub is_torn: bool,
    /// All parts of transactions over several shards, in order.
    pub parts: Vec<PartMark>,
    /// Where the shard's stream is at the end: the history's name, raw, offset.
    pub whereabouts: Option<(Vec<u8>, u64, u64)>,
}

/// Where each shard is to be cut off: at the end of its last whole record, or before.
pub fn limits(scans: &[Scan]) -> Vec<Place> {
    let mut limits: Vec<Place> = scans.iter().map(|scan| scan.end).collect();
    let mut found: BTreeMap<TxnNumber, SmallVec<[(ShardId, Place); 4]>> = BTreeMap::new();
    for (shard, scan) in scans.iter().enumerate() {
        for part in scan.parts.iter().filter(|part| part.at < scan.end) {
            found.entry(part.txn).or_default().push((ShardId(shard as u16), part.at));
        }
    }
    // Transactions that have lost a part: every part of theirs cuts its shard off.
    let mut torn: BTreeSet<TxnNumber> = BTreeSet::new();
    let mut to_do: Vec<TxnNumber> = Vec::new();
    for scan in scans {
        for part in &scan.parts {
            let is_there = |shard: &ShardId| {
                let has_base = scans.get(shard.index()).is_some_and(|other| other.base > part.at.0);
                let parts = found.get(&part.txn);
                has_base || parts.is_some_and(|parts| parts.iter().any(|(other, _)| other == shard))
            };
            if part.at < scan.end && !part.shards.iter().all(is_there) && torn.insert(part.txn) {
                to_do.push(part.txn);
            }
        }
    }
    while let Some(txn) = to_do.pop() {
        for &(shard, at) in &found[&txn] {
            let limit = &mut limits[shard.index()];
            if at >= *limit {
                continue;
            }
            let before = std::mem::replace(limit, at);
            // What stood between is lost, and so is every transaction with a part there.
            let parts = &scans[shard.index()].parts;
            let lost =
                parts.partition_point(|part| part.at < at)..parts.partition_point(|part| part.at < before);
            for part in &parts[lost] {
                if torn.insert(part.txn) {
                    to_do.push(part.txn);
                }
            }
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn part(number: u64, at: Place, shards: &[u16]) -> PartMark {
        PartMark { txn: (0, number), at, shards: shards.iter().copied().map(ShardId).collect() }
    }

    fn scan(base: u64, end: Place, parts: &[PartMark]) -> Scan {
        Scan { base, end, parts: parts.to_vec(), is_torn: false, whereabouts: None }
    }

    #[test]
    fn whole_transactions_stay() {
        let parts = [part(1, (1, 10), &[0, 1]), part(2, (1, 20), &[0, 1])];
        let scans = [scan(1, (1, 30), &parts), scan(1, (1, 40), &parts)];
        assert_eq!(limits(&scans), [(1, 30), (1, 40)]);
    }

    #[test]
    fn a_torn_one_takes_what_follows_it_and_tears_that() {
        // The second transaction's part on shard 1 did not reach the disk; the first on shard 0 follows it.
        let a = [part(2, (1, 10), &[0, 1]), part(3, (1, 20), &[0, 2])];
        let c = [part(1, (1, 5), &[2, 1]), part(3, (1, 15), &[0, 2])];
        let b = [part(1, (1, 7), &[2, 1])];
        let scans = [scan(1, (1, 30), &a), scan(1, (1, 30), &b), scan(1, (1, 30), &c)];
        assert_eq!(limits(&scans), [(1, 10), (1, 30), (1, 15)]);
    }

    #[test]
    fn a_part_before_the_other_shards_base_is_there() {
        let before = [part(1, (4, 10), &[0, 1])];
        assert_eq!(limits(&[scan(3, (5, 0), &before), scan(5, (5, 0), &[])]), [(5, 0), (5, 0)]);
        let after = [part(1, (5, 10), &[0, 1])];
        assert_eq!(limits(&[scan(3, (5, 99), &after), scan(5, (5, 0), &[])]), [(5, 10), (5, 0)]);
    }

    #[test]
    fn whatever_is_cut_off_no_half_of_a_transaction_is_left_and_no_more_is_cut_than_must_be() {
        for seed in 0..300 {
            let mut rng = Prng::new(seed);
            let shards = 2 + rng.below(3) as usize;
            let mut scans = vec![scan(1, (1, 0), &[]); shards];
            for number in 0..40 {
                let members: Vec<u16> = (0..shards as u16).filter(|_| rng.below(2) == 0).collect();
                for &member in &members {
                    let scan = &mut scans[usize::from(member)];
                    let at = scan.end;
                    scan.parts.push(part(number, at, &members));
                    scan.end.1 += 10;
                }
            }
            for scan in &mut scans {
                scan.end.1 -= scan.end.1.min(rng.below(100));
            }
            let result = limits(&scans);
            let is_in = |shard: usize, number: u64| {
                let parts = scans[shard].parts.iter();
                parts.filter(|part| part.at < result[shard]).any(|part| part.txn.1 == number)
            };
            for number in 0..40 {
                let members = scans.iter().flat_map(|scan| &scan.parts).find(|part| part.txn.1 == number);
                let Some(members) = members.map(|part| part.shards.clone()) else { continue };
                let there: Vec<bool> = members.iter().map(|member| is_in(member.index(), number)).collect();
                assert!(there.iter().all(|&one| one == there[0]), "seed {seed}: {number} is torn");
            }
            // Where a shard was cut off stands a transaction that has no part elsewhere.
            for (shard, scan) in scans.iter().enumerate().filter(|(shard, scan)| result[*shard] < scan.end) {
                let cut = scan.parts.iter().find(|part| part.at == result[shard]).expect("cut at a part");
                let is_needed = cut.shards.iter().any(|other| !is_in(other.index(), cut.txn.1));
                assert!(is_needed, "seed {seed}");
            }
        }
    }
}
