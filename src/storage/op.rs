//! Jobs on files, as data.

use std::path::PathBuf;

/// A file that a job has opened, by a name that its owner chose; unique on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    owner: JobTag,
    number: u32,
}

impl FileId {
    /// The first file of an owner.
    pub fn first(owner: JobTag) -> FileId {
        FileId { owner, number: 0 }
    }

    /// The one after it.
    pub fn next(self) -> FileId {
        FileId { number: self.number.wrapping_add(1), ..self }
    }
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Opens a file to read it.
    Open {
        /// How it is called from now on.
        file: FileId,
        /// Where it is.
        path: PathBuf,
    },
    /// Opens a file to write to it, and makes it if need be.
    OpenToWrite {
        /// How it is called from now on.
        file: FileId,
        /// Where it is.
        path: PathBuf,
    },
    /// Makes a file, or empties the one that is there.
    Create {
        /// How it is called from now on.
        file: FileId,
        /// Where it is.
        path: PathBuf,
    },
    /// Reads up to so many bytes; the job's outcome has them. At most one per job.
    Read {
        /// From which file.
        file: FileId,
        /// From where on.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// Writes all of these bytes; short writes are gone on with.
    Write {
        /// To which file.
        file: FileId,
        /// Where to.
        offset: u64,
        /// What. The job's outcome gives the memory back.
        bytes: Vec<u8>,
    },
    /// Waits until the file's data, and its length, are on the disk.
    Sync {
        /// Which file.
        file: FileId,
    },
    /// Cuts a file off.
    Truncate {
        /// Which file.
        file: FileId,
        /// Its length from now on.
        len: u64,
    },
    /// Ends the use of a file. Does not fail, not even if the file is not open.
    Close {
        /// Which file.
        file: FileId,
    },
    /// Makes a folder; one that is there is as good.
    MakeFolder {
        /// Where.
        path: PathBuf,
    },
    /// Gives a file another name, in place of the file that has it.
    Rename {
        /// Its name.
        from: PathBuf,
        /// Its new name.
        to: PathBuf,
    },
    /// Removes a file; one that is not there is as good.
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// Removes an empty folder; one that is not there, or not empty, is as good.
    RemoveFolder {
        /// Which.
        path: PathBuf,
    },
    /// Waits until the names in a folder are on the disk.
    SyncFolder {
        /// Which folder.
        path: PathBuf,
    },
}

/// Steps that are done one after the other; the first that fails ends the job. The files that a job which fails has
/// opened are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Who is told of the outcome.
    pub tag: JobTag,
    /// At least one.
    pub ops: Vec<FileOp>,
}

/// Whose job it is. An owner has at most one under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobTag {
    /// For which of the core's shards; of the conductor and of work for the whole set, zero.
    pub place: u16,
    /// Which part of it.
    pub owner: Owner,
}

/// The parts of a core that have jobs done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The writer of the append-only file: its data and its manifest.
    AofWrite,
    /// Its periodic sync.
    AofSync,
    /// The writer of a snapshot.
    Snapshot,
    /// The reader at start.
    Load,
    /// The conductor of saves.
    Conductor,
    /// A part of a snapshot that a replica receives.
    Sync,
    /// The file that is made of all shards' snapshots, and those who read it.
    Export,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose it was.
    pub tag: JobTag,
    /// How it ended.
    pub result: Result<(), Failure>,
    /// The bytes that were read. Or of a job that writes one buffer: its memory, with the bytes still in it if the
    /// write failed.
    pub buffer: Vec<u8>,
}

/// Why a job ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which of its steps failed. Those before it were done, those behind it were not begun.
    pub step: usize,
    /// The system's error number.
    pub errno: i32,
    /// What was attempted, and the system's words: `write appendonly.aof.1.incr.aof: No space left on device`.
    pub text: String,
}

/// Makes a folder, and the one that it is in.
pub fn make_folder(path: &std::path::Path) -> Vec<FileOp> {
    let above = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    above.into_iter().chain([path]).map(|path| FileOp::MakeFolder { path: path.to_owned() }).collect()
}

/// Makes a small file anew, so that at any moment either the old or the new one is there, whole: written beside it,
/// synced, renamed, and the folder synced.
pub fn replace(file: FileId, path: &std::path::Path, bytes: Vec<u8>) -> Vec<FileOp> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    vec![
        FileOp::Create { file, path: temporary.clone() },
        FileOp::Write { file, offset: 0, bytes },
        FileOp::Sync { file },
        FileOp::Close { file },
        FileOp::Rename { from: temporary, to: path.to_owned() },
        FileOp::SyncFolder { path: folder.unwrap_or(std::path::Path::new(".")).to_owned() },
    ]
}
