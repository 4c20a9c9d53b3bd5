//! One file with the data of all shards, for replicas that know only that.
//!
//! The shards' snapshots go to files of their own, all of one cut (`host::persist`); then core 0 reads them one after
//! the other and writes the one file (`rdb::merge`). It is read by every link that attends, each at its own pace, and
//! removed when none is left. So a slow replica costs room on the disk and no memory, and holds up no shard.
//!
//! The file is of the version that Redis 7.0 reads. What that cannot hold, fields that expire, fails the export, and
//! the log says so.

use super::links::Stock;
use crate::base::ids::ShardId;
use crate::base::time::{MonoUs, Ticks};
use crate::host::host::Host;
use crate::rdb::layout::VERSION;
use crate::rdb::merge::{Merge, MergeOptions};
use crate::rdb::About;
use crate::replication::flow::Position;
use crate::storage::op::{FileId, FileOp, Job, JobTag, Outcome, Owner};
use crate::storage::save::{Saved, SnapshotWriter};
use crate::storage::snapshots::{file_name, temporary, SnapshotFile};

/// See the module.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) number: u64,
    began: MonoUs,
    /// Where each stream was cut, as a Redis peer counts.
    cuts: Vec<Option<u64>>,
    /// The sum of all, once they are known.
    offset: Option<u64>,
    joining: Option<Joining>,
    /// The file, and its length once it is whole.
    path: String,
    bytes: Option<u64>,
}

/// The one file in the making.
#[derive(Debug)]
struct Joining {
    files: Vec<SnapshotFile>,
    /// Which of them is read, and how far it was.
    file: usize,
    read: u64,
    is_reading: bool,
    /// None when all were read.
    merge: Option<Merge>,
    writer: SnapshotWriter,
    is_failing: bool,
}

const READING: JobTag = JobTag { place: 0, owner: Owner::Export };
const WRITING: JobTag = JobTag { place: 1, owner: Owner::Export };
const REMOVING: JobTag = JobTag { place: 2, owner: Owner::Export };

/// How much of a shard's file is read at a time, and merged in one go: some hundred microseconds.
const READ_BYTES: u64 = 64 * 1024;

impl Export {
    /// Of so many streams, that are about to be cut.
    pub(super) fn new(number: u64, streams: usize, now: MonoUs) -> Export {
        Export {
            number,
            began: now,
            cuts: vec![None; streams],
            offset: None,
            joining: None,
            path: String::new(),
            bytes: None,
        }
    }

    /// Whether it can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.bytes().is_some()
    }

    /// Its length, once it can be sent.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes.filter(|_| self.offset.is_some())
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether the shards should have been cut long ago.
    pub(super) fn is_late(&self, now: MonoUs, timeout_us: u64) -> bool {
        self.offset.is_none() && now.since(self.began) > timeout_us
    }
}

impl Stock {
    fn export(&mut self, number: u64) -> Option<&mut Export> {
        self.exports.iter_mut().find(|export| export.number == number)
    }

    fn is_wanted(&self, number: u64) -> bool {
        self.links.iter().any(|link| link.export() == Some(number))
    }
}

impl<T: Ticks> Host<T> {
    /// A stream was cut for an export.
    pub(super) fn stream_was_cut(&mut self, number: u64, stream: u16, at: Position) {
        let Some(export) = self.stock().and_then(|stock| stock.export(number)) else { return };
        let Some(cut) = export.cuts.get_mut(usize::from(stream)) else { return };
        *cut = Some(at.offset.0);
        let Some(offset) = export.cuts.iter().copied().sum::<Option<u64>>() else { return };
        export.offset = Some(offset);
        self.export_was_cut(number, offset);
    }

    /// The shards' files are there: one is made of them.
    pub(in crate::host) fn join_export(&mut self, number: u64, files: Vec<SnapshotFile>) {
        let dbfilename = self.config.persistence.dbfilename.to_string();
        let shards = self.placement.len() as u16;
        let about = self.about_export();
        let checksum = self.config.persistence.rdbchecksum;
        let is_wanted = self.stock().is_some_and(|stock| stock.is_wanted(number));
        let Some(export) = self.stock().and_then(|stock| stock.export(number)).filter(|_| is_wanted) else {
            self.remove_files(files.into_iter().map(|file| file.name));
            return self.forget_export(number);
        };
        // One more than there are shards.
        export.path = temporary(&file_name(&dbfilename, number, ShardId(shards), shards));
        let writer = SnapshotWriter::new(WRITING, FileId::first(WRITING), export.path.clone().into());
        let aux = vec![("repl-stream-db".to_owned(), "0".to_owned())];
        let options = MergeOptions { version: VERSION, about, aux, checksum };
        export.joining = Some(Joining {
            files,
            file: 0,
            read: 0,
            is_reading: false,
            merge: Some(Merge::new(options)),
            writer: writer.unsynced(),
            is_failing: false,
        });
        self.go_on_joining();
    }

    /// What the file says about itself. The memory is that of the whole process.
    pub(super) fn about_export(&self) -> About {
        About {
            cut_secs: self.now.unix_us.div_euclid(1_000_000),
            used_memory: self.memory.others.used_bytes + self.memory_gauge().used_bytes,
            is_aof_base: false,
        }
    }

    /// Reads what can be merged, and writes what was.
    fn go_on_joining(&mut self) {
        let Some(stock) = self.stock() else { return };
        let Some(joining) = stock.exports.iter_mut().find_map(|export| export.joining.as_mut()) else {
            return;
        };
        let mut jobs: Vec<Job> = joining.writer.poll().into_iter().collect();
        let is_open = joining.merge.is_some() && !joining.is_failing;
        if is_open && !joining.is_reading && joining.writer.has_room() {
            if let Some(file) = joining.files.get(joining.file) {
                joining.is_reading = true;
                let (id, len) = (FileId::first(READING), READ_BYTES.min(file.bytes - joining.read) as usize);
                jobs.push(Job {
                    tag: READING,
                    ops: vec![
                        FileOp::Open { file: id, path: file.name.clone().into() },
                        FileOp::Read { file: id, offset: joining.read, len },
                        FileOp::Close { file: id },
                    ],
                });
            }
        }
        self.begin_jobs(jobs);
    }

    /// A job of an export, or of who reads one, has ended.
    pub(in crate::host) fn export_job_done(&mut self, outcome: Outcome) {
        if outcome.tag == REMOVING {
            if let Err(failure) = outcome.result {
                tracing::warn!("Can't remove what is needless: {}", failure.text);
            }
            return;
        }
        if outcome.tag != READING && outcome.tag != WRITING {
            return self.link_has_read(outcome);
        }
        let Some(stock) = self.stock() else { return };
        let Some(export) = stock.exports.iter_mut().find(|export| export.joining.is_some()) else { return };
        let number = export.number;
        let Some(joining) = &mut export.joining else { return };
        if outcome.tag == READING {
            joining.is_reading = false;
            let result = match outcome.result {
                Ok(()) => joining.merge_piece(&outcome.buffer),
                Err(failure) => Err(failure.text),
            };
            return match result {
                Ok(()) => self.go_on_joining(),
                Err(reason) => self.fail_joining(number, &reason),
            };
        }
        match joining.writer.done(outcome) {
            None => self.go_on_joining(),
            Some(Saved::Whole(bytes)) => {
                export.bytes = Some(bytes);
                let files = export.joining.take().map(|joining| joining.files).unwrap_or_default();
                self.remove_files(files.into_iter().map(|file| file.name));
                self.begin_transfers(number);
            }
            Some(Saved::Failed(failure)) => {
                self.fail_joining(number, &failure.text);
                self.forget_export(number);
            }
            Some(Saved::Abandoned) => self.forget_export(number),
        }
    }

    /// The one file cannot be made: whoever waits for it has to come again.
    fn fail_joining(&mut self, number: u64, reason: &str) {
        tracing::error!("The shards' snapshots cannot be made one file for a stock replica: {reason}");
        let found = self.stock().and_then(|stock| stock.export(number));
        if let Some(joining) = found.and_then(|export| export.joining.as_mut()) {
            joining.is_failing = true;
            joining.writer.abandon();
            let files = std::mem::take(&mut joining.files);
            self.remove_files(files.into_iter().map(|file| file.name));
        }
        self.end_attending(number);
        self.go_on_joining();
    }

    /// The shards' snapshots could not be made.
    pub(in crate::host) fn export_failed(&mut self, number: u64) {
        let found = self.stock().and_then(|stock| stock.export(number));
        if found.is_some_and(|export| export.joining.is_some()) {
            return self.fail_joining(number, "the shards were not cut in time");
        }
        self.end_attending(number);
        self.forget_export(number);
    }

    fn end_attending(&mut self, number: u64) {
        let Some(stock) = self.stock() else { return };
        let attending = stock.links.iter().filter(|link| link.export() == Some(number));
        let attending: Vec<u64> = attending.map(|link| link.meeting).collect();
        attending.into_iter().for_each(|meeting| self.end_meeting(meeting, "the snapshot has failed"));
    }

    /// Removes files that nobody is sent any longer.
    pub(super) fn release_exports(&mut self) {
        let Some(stock) = self.stock() else { return };
        let needless = stock.exports.iter().filter(|export| export.is_ready());
        let needless = needless.filter(|export| !stock.is_wanted(export.number));
        let needless: Vec<u64> = needless.map(|export| export.number).collect();
        needless.into_iter().for_each(|number| self.forget_export(number));
    }

    fn forget_export(&mut self, number: u64) {
        let Some(stock) = self.stock() else { return };
        let Some(at) = stock.exports.iter().position(|export| export.number == number) else { return };
        let export = stock.exports.remove(at);
        if export.bytes.is_some() {
            self.remove_files([export.path]);
        }
    }

    fn remove_files(&mut self, names: impl IntoIterator<Item = String>) {
        let ops: Vec<FileOp> = names.into_iter().map(|name| FileOp::Remove { path: name.into() }).collect();
        if !ops.is_empty() {
            self.begin_jobs([Job { tag: REMOVING, ops }]);
        }
    }
}

impl Joining {
    /// The next bytes of the file that is read.
    fn merge_piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (Some(merge), Some(file)) = (&mut self.merge, self.files.get(self.file)) else { return Ok(()) };
        if bytes.is_empty() {
            return Err(format!("{} ends at byte {}", file.name, self.read));
        }
        let mut out = Vec::new();
        let in_file = |error: crate::rdb::LoadError| {
            format!("{} at byte {}: {}", file.name, error.offset, error.reason)
        };
        merge.feed(bytes, &mut out).map_err(in_file)?;
        self.read += bytes.len() as u64;
        if self.read == file.bytes {
            merge.end_file().map_err(in_file)?;
            (self.file, self.read) = (self.file + 1, 0);
        }
        let is_last = self.file == self.files.len();
        if let Some(merge) = self.merge.take_if(|_| is_last) {
            merge.finish(&mut out);
        }
        self.writer.append(&mut out);
        if is_last {
            self.writer.finish(None);
        }
        Ok(())
    }
}
