//! Writes one shard's snapshot, or new base, to a file.
//!
//! The snapshot makes bytes in slices; they gather here, and go to the disk in large writes of which one is under way
//! at a time. `has_room` is what paces the walk over the keyspace. Every so often what was written is synced, so that
//! the sync at the end has little left to do.

use std::path::{Path, PathBuf};

use super::op::{make_folder, Failure, FileId, FileOp, Job, JobTag, Outcome};

/// A write is not begun with less than this, unless it is the last.
const WRITE_BYTES_MIN: usize = 256 * 1024;

/// When so much waits the walk pauses. What writes hand over ahead of it comes on top of that.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much is written between two syncs (Redis: `rdb-save-incremental-fsync`, 4 MiB).
const SYNC_BYTES: u64 = 32 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct SnapshotWriter {
    tag: JobTag,
    file: FileId,
    temporary: PathBuf,
    /// The folder to be made for it.
    folder: Option<PathBuf>,
    /// What waits to be written.
    queue: Vec<u8>,
    spare: Vec<u8>,
    offset: u64,
    unsynced: u64,
    /// Whether what is written must be on the disk at the end.
    syncs: bool,
    stage: Stage,
    /// The bytes of the write under way.
    writing: Option<u64>,
    is_open: bool,
}

#[derive(Debug)]
enum Stage {
    /// More bytes come.
    Open,
    /// All bytes are here; the file gets this name, if any, when they are written.
    Ending(Option<PathBuf>),
    /// The last job is under way.
    Last,
    /// Given up; `true` once the job that removes the file is under way.
    Abandoned(bool),
}

/// What has become of a snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is whole and synced: its length.
    Whole(u64),
    /// It could not be written; nothing is left of it.
    Failed(Failure),
    /// It was given up, and nothing is left of it.
    Abandoned,
}

impl SnapshotWriter {
    /// A writer to this file, under a temporary name.
    pub fn new(tag: JobTag, file: FileId, temporary: PathBuf) -> SnapshotWriter {
        SnapshotWriter {
            tag,
            file,
            temporary,
            folder: None,
            queue: Vec::new(),
            spare: Vec::new(),
            offset: 0,
            unsynced: 0,
            syncs: true,
            stage: Stage::Open,
            writing: None,
            is_open: false,
        }
    }

    /// The file's folder may not be there yet.
    pub fn in_folder(mut self, folder: PathBuf) -> SnapshotWriter {
        self.folder = Some(folder);
        self
    }

    /// The file is read again by this process, and by no other: it need not be on the disk.
    pub fn unsynced(mut self) -> SnapshotWriter {
        self.syncs = false;
        self
    }

    /// Takes bytes; `bytes` is left empty, perhaps with other memory.
    pub fn append(&mut self, bytes: &mut Vec<u8>) {
        if self.queue.is_empty() {
            std::mem::swap(&mut self.queue, bytes);
        } else {
            self.queue.extend_from_slice(bytes);
        }
        bytes.clear();
    }

    /// Whether the walk may go on.
    pub fn has_room(&self) -> bool {
        self.queue.len() < WAITING_BYTES_MAX
    }

    /// No more bytes come. The file is synced, and gets its name if it is given one here.
    pub fn finish(&mut self, name: Option<PathBuf>) {
        self.stage = Stage::Ending(name);
    }

    /// The snapshot is given up.
    pub fn abandon(&mut self) {
        self.queue = Vec::new();
        self.stage = Stage::Abandoned(false);
    }

    /// The next job, if one is due.
    pub fn poll(&mut self) -> Option<Job> {
        if self.writing.is_some() {
            return None;
        }
        let ops = match &mut self.stage {
            Stage::Last | Stage::Abandoned(true) => return None,
            Stage::Open if self.queue.len() < WRITE_BYTES_MIN => return None,
            Stage::Open => self.write(),
            Stage::Ending(name) => {
                let name = name.take();
                let mut ops = self.write();
                self.stage = Stage::Last;
                if self.syncs && ops.last() != Some(&FileOp::Sync { file: self.file }) {
                    ops.push(FileOp::Sync { file: self.file });
                }
                ops.push(FileOp::Close { file: self.file });
                if let Some(name) = name {
                    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
                    let folder = folder.unwrap_or(Path::new(".")).to_owned();
                    ops.push(FileOp::Rename { from: self.temporary.clone(), to: name });
                    ops.push(FileOp::SyncFolder { path: folder });
                }
                ops
            }
            Stage::Abandoned(begun) => {
                *begun = true;
                self.removal()
            }
        };
        self.writing.get_or_insert(0);
        Some(Job { tag: self.tag, ops })
    }

    /// Writes what waits.
    fn write(&mut self) -> Vec<FileOp> {
        let file = self.file;
        let mut ops = Vec::with_capacity(7);
        if !self.is_open {
            ops.extend(self.folder.take().iter().flat_map(|path| make_folder(path)));
            ops.push(FileOp::Create { file, path: self.temporary.clone() });
            self.is_open = true;
        }
        let bytes = std::mem::replace(&mut self.queue, std::mem::take(&mut self.spare));
        let len = bytes.len() as u64;
        self.writing = Some(len);
        ops.push(FileOp::Write { file, offset: self.offset, bytes });
        self.unsynced += len;
        if self.syncs && self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            ops.push(FileOp::Sync { file });
        }
        ops
    }

    fn removal(&self) -> Vec<FileOp> {
        vec![FileOp::Close { file: self.file }, FileOp::Remove { path: self.temporary.clone() }]
    }

    /// A job has ended. What has become of the file, once that is known.
    pub fn done(&mut self, outcome: Outcome) -> Option<Saved> {
        self.offset += self.writing.take().unwrap_or(0);
        self.spare = outcome.buffer;
        self.spare.clear();
        match (&self.stage, outcome.result) {
            (Stage::Abandoned(true), _) => Some(Saved::Abandoned),
            (Stage::Abandoned(false), _) => None,
            (_, Err(failure)) => Some(Saved::Failed(failure)),
            (Stage::Last, Ok(())) => Some(Saved::Whole(self.offset)),
            (Stage::Open | Stage::Ending(_), Ok(())) => None,
        }
    }
}
