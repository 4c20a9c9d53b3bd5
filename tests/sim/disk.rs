//! The disk of a node: does the jobs of its cores, step by step, those of different owners in any order. What it loses
//! when the machine stops says `storage::modeldisk`; here it is decided when it refuses something, and lies.

use std::collections::VecDeque;
use std::path::Path;

use ringward::base::prng::Prng;
use ringward::storage::modeldisk::{ModelDisk, UnderWay, EIO, ENOSPC};
use ringward::storage::op::{FileOp, Job, Outcome};
use ringward::storage::plan::{Folder, Plan};
use ringward::storage::snapshots::kept;

/// A mistake made on purpose, to see whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// What was written to an append-only file is told to be synced, and is not.
    Sync,
    /// The lines that say of which shards a transaction is do not arrive.
    Transactions,
}

/// How the machine or the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process is gone; what it has written is there.
    Kill,
    /// The power is: of what was not synced anything may be there.
    Crash,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    model: ModelDisk,
    /// Jobs that are not done: their cores, and the time in microseconds at which they were begun.
    jobs: Vec<(usize, u64, UnderWay)>,
    /// Those that are, and that their cores do not know of.
    outcomes: VecDeque<(usize, Outcome)>,
    /// In 1000 steps that can be refused, how many are. Two numbers: nothing fits any more, or the device fails.
    pub(crate) refusals: (u64, u64),
    /// How many it has refused.
    pub(crate) refused: u64,
    /// Whether a sync of a file was among that.
    pub(crate) has_failed_sync: bool,
    pub(crate) lie: Option<Lie>,
}

impl Disk {
    /// What is in it, for the planner.
    pub(crate) fn folder(&self) -> &dyn Folder {
        &self.model
    }

    /// Makes a folder.
    pub(crate) fn make_folder(&mut self, path: &Path) {
        self.model.make_folder(path);
    }

    /// Gives other names to files that must not be taken for what they are called.
    pub(crate) fn keep(&mut self, names: &[String]) {
        for name in names {
            self.model.rename(name.as_ref(), kept(name).as_ref()).expect("the planner has seen it");
        }
    }

    /// Removes what nothing names, as the runtime does it.
    pub(crate) fn remove_leftovers(&mut self, plan: &Plan) {
        plan.folders_of_leftovers().iter().for_each(|folder| self.model.sync_folder(folder));
        plan.leftovers.iter().for_each(|path| self.model.remove(path));
    }

    /// Takes a job of a core. A file that it begins with closing is not in use from now on, as with the runtime.
    pub(crate) fn begin(&mut self, core: usize, job: Job, now_us: u64) {
        let mut job = self.model.begin(core as u16, job);
        while let Some(FileOp::Close { .. }) = job.next_op() {
            if let Some(outcome) = self.model.advance(&mut job, None) {
                return self.outcomes.push_back((core, outcome));
            }
        }
        self.jobs.push((core, now_us, job));
    }

    /// Does a step of some job. Whether there was one.
    pub(crate) fn step(&mut self, rng: &mut Prng) -> bool {
        if self.jobs.is_empty() {
            return false;
        }
        let at = rng.below(self.jobs.len() as u64) as usize;
        self.advance(at, rng);
        true
    }

    /// Does all jobs that were begun before then.
    pub(crate) fn finish_older(&mut self, than_us: u64, rng: &mut Prng) {
        while let Some(at) = self.jobs.iter().position(|(_, begun_us, _)| *begun_us < than_us) {
            self.advance(at, rng);
        }
    }

    fn advance(&mut self, at: usize, rng: &mut Prng) {
        let (_, _, job) = &self.jobs[at];
        let fault = self.fault_of(job.next_op(), rng);
        self.refused += u64::from(fault.is_some());
        self.has_failed_sync |= fault.is_some() && matches!(job.next_op(), Some(FileOp::Sync { .. }));
        let (core, _, job) = &mut self.jobs[at];
        let outcome = match (self.lie, job.next_op()) {
            (Some(Lie::Sync), Some(FileOp::Sync { .. })) if job.is_at_last_op() => self.model.skip(job),
            (Some(Lie::Transactions), Some(FileOp::Write { .. })) => {
                job.spoil_write(b"#TXN:", b"#txn:");
                self.model.advance(job, fault)
            }
            _ => self.model.advance(job, fault),
        };
        if let Some(outcome) = outcome {
            self.outcomes.push_back((*core, outcome));
            self.jobs.swap_remove(at);
        }
    }

    /// The error with which a step is refused, if it is.
    fn fault_of(&self, op: Option<&FileOp>, rng: &mut Prng) -> Option<i32> {
        let (takes_room, can_fail) = match op? {
            FileOp::Write { .. } | FileOp::Create { .. } => (true, true),
            FileOp::Sync { .. } | FileOp::SyncFolder { .. } | FileOp::Rename { .. } => (false, true),
            _ => (false, false),
        };
        let per_mille = if self.refusals == (0, 0) { 1000 } else { rng.below(1000) };
        match per_mille {
            chance if takes_room && chance < self.refusals.0 => Some(ENOSPC),
            chance if can_fail && chance + self.refusals.1 >= 1000 && self.refusals.1 > 0 => Some(EIO),
            _ => None,
        }
    }

    /// Jobs of a core that have ended since it was asked last.
    pub(crate) fn take_outcomes(&mut self, core: usize) -> Vec<Outcome> {
        let all = std::mem::take(&mut self.outcomes);
        let (here, others) = all.into_iter().partition::<VecDeque<_>, _>(|(of, _)| *of == core);
        self.outcomes = others;
        here.into_iter().map(|(_, outcome)| outcome).collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.outcomes.is_empty()
    }

    /// What is under way will not be done.
    pub(crate) fn stop(&mut self, how: Stop, rng: &mut Prng) {
        self.jobs.clear();
        self.outcomes.clear();
        match how {
            Stop::Kill => self.model.kill(),
            Stop::Crash => self.model.crash(rng),
        }
    }
}
