//! A disk in memory that loses what was not synced, for tests and the simulator.
//!
//! Each file has the bytes that a reader sees and those that would survive a crash. Between two syncs of a file a part
//! of what was written may reach the disk, from the first byte up to any other; what was written to two files may do so
//! in any order. New, changed and removed names may in any order, too, between two syncs of their folder, where a file
//! that gets another name has at least one of both. A folder is a name in the one that it is in, and what is in it goes
//! with it. What a sync has confirmed stays.
//!
//! A sync that fails loses what it was to sync, and says so only once. What is written to that file behind it is lost,
//! too: files have no holes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::op::{Failure, FileId, FileOp, Job, JobTag, Outcome};
use super::plan::Folder;
use crate::base::prng::Prng;

/// The system's error numbers that it knows.
pub const ENOENT: i32 = 2;
/// An error of the device.
pub const EIO: i32 = 5;
/// A file that is not open.
const EBADF: i32 = 9;
/// No space is left.
pub const ENOSPC: i32 = 28;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct ModelDisk {
    inodes: BTreeMap<u64, Inode>,
    /// What a process sees, and what would survive a crash.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// What has become of names since their folder was synced, in order.
    name_changes: Vec<NameChange>,
    /// By core: each has numbers of its own.
    open: BTreeMap<(u16, FileId), u64>,
    next_inode: u64,
    /// Bytes that may still be written before the disk is full.
    pub room: Option<u64>,
    /// How many of the next syncs fail.
    pub failing_syncs: u32,
    /// How many jobs were done.
    pub jobs: u64,
}

/// A job that is done step by step.
#[derive(Debug)]
pub struct UnderWay {
    core: u16,
    tag: JobTag,
    ops: std::vec::IntoIter<FileOp>,
    step: usize,
    buffer: Vec<u8>,
    opened: Vec<FileId>,
    /// The file that its first step is about: whoever closes it meanwhile does not take it away.
    first: Option<(FileId, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    is_folder: bool,
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    writes: Vec<Change>,
    /// A sync has failed: nothing that is written from now on survives the next crash, unless the file begins anew.
    is_failed: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Added(PathBuf, u64),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf, u64),
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        let (NameChange::Added(path, _) | NameChange::Removed(path) | NameChange::Renamed(path, ..)) = self;
        parent(path) == folder
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Added(path, inode) => {
                names.insert(path, inode);
            }
            NameChange::Removed(path) => {
                names.remove(&path);
            }
            NameChange::Renamed(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, len: usize) {
        match self {
            Change::Write(offset, written) => {
                let (offset, written) = (*offset as usize, &written[..len.min(written.len())]);
                if bytes.len() < offset + written.len() {
                    bytes.resize(offset + written.len(), 0);
                }
                bytes[offset..offset + written.len()].copy_from_slice(written);
            }
            Change::Truncate(len) => bytes.truncate(*len as usize),
        }
    }
}

impl ModelDisk {
    /// Does a job of a core, at once.
    pub fn run(&mut self, core: u16, job: Job) -> Outcome {
        let mut job = self.begin(core, job);
        loop {
            if let Some(outcome) = self.advance(&mut job, None) {
                return outcome;
            }
        }
    }

    /// A job of a core begins.
    pub fn begin(&self, core: u16, job: Job) -> UnderWay {
        let first = match job.ops.first() {
            Some(FileOp::Write { file, .. } | FileOp::Sync { file } | FileOp::Truncate { file, .. }) => {
                self.open.get(&(core, *file)).map(|inode| (*file, *inode))
            }
            _ => None,
        };
        let ops = job.ops.into_iter();
        UnderWay { core, tag: job.tag, ops, step: 0, buffer: Vec::new(), opened: Vec::new(), first }
    }

    /// Does the next step of a job, or fails in it with this error: a write half done, a sync as by `failing_syncs`,
    /// anything else not at all. What came of the job, if it ends by that.
    pub fn advance(&mut self, job: &mut UnderWay, fault: Option<i32>) -> Option<Outcome> {
        let result = match job.ops.next() {
            None => Ok(()),
            Some(op) => {
                let first = job.first.take().map(|(file, inode)| ((job.core, file), inode));
                let closed = first.filter(|(file, _)| !self.open.contains_key(file));
                self.open.extend(closed);
                let result = match fault {
                    None => self.step(job.core, op, &mut job.buffer, &mut job.opened),
                    Some(errno) => {
                        self.step_in_vain(job.core, op, &mut job.buffer);
                        Err(errno)
                    }
                };
                if let Some((file, _)) = closed {
                    self.open.remove(&file);
                }
                if result.is_ok() && job.ops.len() > 0 {
                    job.step += 1;
                    return None;
                }
                result
            }
        };
        self.jobs += 1;
        let result = result.map_err(|errno| {
            for file in job.opened.drain(..) {
                self.open.remove(&(job.core, file));
            }
            Failure { step: job.step, errno, text: format!("step {}: error {errno}", job.step) }
        });
        Some(Outcome { tag: job.tag, result, buffer: std::mem::take(&mut job.buffer) })
    }

    /// Says that the next step of a job was done, and does not do it.
    pub fn skip(&mut self, job: &mut UnderWay) -> Option<Outcome> {
        job.ops.next();
        job.step += 1;
        match job.ops.len() {
            0 => self.advance(job, None),
            _ => None,
        }
    }

    /// What is left of a step that fails.
    fn step_in_vain(&mut self, core: u16, op: FileOp, buffer: &mut Vec<u8>) {
        match op {
            FileOp::Write { file, offset, bytes } => {
                *buffer = bytes;
                if let Some(&inode) = self.open.get(&(core, file)) {
                    self.change(inode, Change::Write(offset, buffer[..buffer.len() / 2].to_vec()));
                }
            }
            FileOp::Sync { file } => {
                let inode = self.open.get(&(core, file)).and_then(|inode| self.inodes.get_mut(inode));
                // As a kernel does it: what could not be written is forgotten, and the next sync knows nothing of it.
                if let Some(inode) = inode {
                    inode.writes.clear();
                    inode.is_failed = true;
                }
            }
            _ => {}
        }
    }

    fn step(
        &mut self,
        core: u16,
        op: FileOp,
        buffer: &mut Vec<u8>,
        opened: &mut Vec<FileId>,
    ) -> Result<(), i32> {
        match op {
            FileOp::Open { file, path } => {
                let inode = *self.names.get(&path).ok_or(ENOENT)?;
                self.open.insert((core, file), inode);
                opened.push(file);
            }
            FileOp::OpenToWrite { file, path } => {
                let inode = self.inode_of(path);
                self.open.insert((core, file), inode);
                opened.push(file);
            }
            FileOp::Create { file, path } => {
                let inode = self.inode_of(path);
                self.change(inode, Change::Truncate(0));
                self.open.insert((core, file), inode);
                opened.push(file);
            }
            FileOp::Read { file, offset, len } => {
                let bytes = &self.inodes[self.open.get(&(core, file)).ok_or(EBADF)?].bytes;
                let from = bytes.len().min(offset as usize);
                *buffer = bytes[from..bytes.len().min(from + len)].to_vec();
            }
            FileOp::Write { file, offset, bytes } => {
                let inode = *self.open.get(&(core, file)).ok_or(EBADF)?;
                *buffer = bytes;
                let len = self.room.map_or(buffer.len(), |room| buffer.len().min(room as usize));
                if let Some(room) = &mut self.room {
                    *room -= len as u64;
                }
                self.change(inode, Change::Write(offset, buffer[..len].to_vec()));
                if len < buffer.len() {
                    return Err(ENOSPC);
                }
            }
            FileOp::Sync { file } => {
                let inode = *self.open.get(&(core, file)).ok_or(EBADF)?;
                if self.failing_syncs > 0 {
                    self.failing_syncs -= 1;
                    self.step_in_vain(core, FileOp::Sync { file }, buffer);
                    return Err(EIO);
                }
                if let Some(inode) = self.inodes.get_mut(&inode) {
                    inode.sync();
                }
            }
            FileOp::Truncate { file, len } => {
                let inode = *self.open.get(&(core, file)).ok_or(EBADF)?;
                self.change(inode, Change::Truncate(len));
            }
            FileOp::Close { file } => {
                self.open.remove(&(core, file));
            }
            FileOp::MakeFolder { path } => self.make_folder(&path),
            FileOp::RemoveFolder { path } => {
                let is_empty = !self.names.keys().any(|name| parent(name) == tidied(&path));
                if is_empty {
                    self.remove(&path);
                }
            }
            FileOp::Rename { from, to } => self.rename(&from, &to)?,
            FileOp::Remove { path } => self.remove(&path),
            FileOp::SyncFolder { path } => self.sync_folder(&path),
        }
        Ok(())
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// There is none of this name: `ENOENT`.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<(), i32> {
        let inode = self.names.remove(from).ok_or(ENOENT)?;
        self.names.insert(to.to_owned(), inode);
        self.name_changes.push(NameChange::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    /// Removes a file, or an empty folder, if it is there.
    pub fn remove(&mut self, path: &Path) {
        if self.names.remove(path).is_some() {
            self.name_changes.push(NameChange::Removed(path.to_owned()));
        }
    }

    /// Makes a folder, if it is not there.
    pub fn make_folder(&mut self, path: &Path) {
        let inode = self.inode_of(path.to_owned());
        self.inodes.entry(inode).or_default().is_folder = true;
    }

    fn inode_of(&mut self, path: PathBuf) -> u64 {
        if let Some(inode) = self.names.get(&path) {
            return *inode;
        }
        self.next_inode += 1;
        let inode = self.next_inode;
        self.inodes.insert(inode, Inode::default());
        self.names.insert(path.clone(), inode);
        self.name_changes.push(NameChange::Added(path, inode));
        inode
    }

    fn change(&mut self, inode: u64, change: Change) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            change.apply(&mut inode.bytes, usize::MAX);
            inode.is_failed &= !matches!(change, Change::Truncate(0));
            if !inode.is_failed {
                inode.writes.push(change);
            }
        }
    }

    /// What has become of the names in a folder is on the disk.
    pub fn sync_folder(&mut self, folder: &Path) {
        let folder = tidied(folder);
        let changes = std::mem::take(&mut self.name_changes).into_iter();
        let (synced, others) = changes.partition::<Vec<_>, _>(|change| change.is_in(folder));
        self.name_changes = others;
        synced.into_iter().for_each(|change| change.apply(&mut self.durable_names));
    }

    /// The process is gone: nothing is open any more, and nothing is lost.
    pub fn kill(&mut self) {
        self.open.clear();
    }

    /// The machine stops and comes back: of what was not synced anything may be there.
    pub fn crash(&mut self, rng: &mut Prng) {
        self.open.clear();
        for inode in self.inodes.values_mut() {
            inode.is_failed = false;
            let changes = std::mem::take(&mut inode.writes);
            // In order, as far as they came: each file for itself.
            let whole = rng.below(changes.len() as u64 + 1) as usize;
            for (at, change) in changes.into_iter().enumerate().take(whole + 1) {
                let len = match &change {
                    _ if at < whole => usize::MAX,
                    Change::Write(_, bytes) if rng.below(2) == 0 => {
                        rng.below(bytes.len() as u64 + 1) as usize
                    }
                    _ => break,
                };
                change.apply(&mut inode.durable, len);
            }
            inode.bytes.clone_from(&inode.durable);
        }
        let folders: Vec<PathBuf> = self
            .names
            .iter()
            .chain(&self.durable_names)
            .filter_map(|(path, inode)| {
                self.inodes.get(inode).filter(|inode| inode.is_folder).map(|_| path.clone())
            })
            .collect();
        let mut names = std::mem::take(&mut self.durable_names);
        let changes = std::mem::take(&mut self.name_changes);
        changes.into_iter().filter(|_| rng.below(2) == 0).for_each(|change| change.apply(&mut names));
        for folder in
            folders.iter().filter(|folder| !names.contains_key(*folder)).cloned().collect::<Vec<_>>()
        {
            names.retain(|path, _| !path.starts_with(&folder));
        }
        self.inodes.retain(|inode, _| names.values().any(|named| named == inode));
        self.names.clone_from(&names);
        self.durable_names = names;
    }

    /// The bytes of a file.
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        let inode = self.inodes.get(self.names.get(path)?).filter(|inode| !inode.is_folder)?;
        Some(inode.bytes.as_slice())
    }
}

impl Inode {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.writes) {
            change.apply(&mut self.durable, usize::MAX);
        }
    }
}

impl UnderWay {
    /// Has a write that is its next step write something else instead of each of these words, of the same length.
    pub fn spoil_write(&mut self, words: &[u8], others: &[u8]) {
        debug_assert_eq!(words.len(), others.len());
        let Some(FileOp::Write { bytes, .. }) = self.ops.as_mut_slice().first_mut() else { return };
        for at in 0..bytes.len().saturating_sub(words.len() - 1) {
            let found = &mut bytes[at..at + words.len()];
            if found == words {
                found.copy_from_slice(others);
            }
        }
    }

    /// Whether there is only one step left.
    pub fn is_at_last_op(&self) -> bool {
        self.ops.len() == 1
    }

    /// Its next step.
    pub fn next_op(&self) -> Option<&FileOp> {
        self.ops.as_slice().first()
    }
}

fn parent(path: &Path) -> &Path {
    tidied(path.parent().unwrap_or(Path::new("")))
}

/// The path of a folder as it stands before the names in it.
fn tidied(folder: &Path) -> &Path {
    folder.strip_prefix(".").unwrap_or(folder)
}

impl Folder for ModelDisk {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        Ok(self.file(path).map(<[u8]>::to_vec))
    }

    fn stat(&self, path: &Path) -> Option<(u64, u64)> {
        self.file(path).map(|bytes| (bytes.len() as u64, self.names[path]))
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let path = if path == Path::new(".") { Path::new("") } else { path };
        let inside = self.names.keys().filter_map(|file| file.strip_prefix(path).ok());
        let firsts = inside.filter_map(|rest| rest.components().next());
        let mut names: Vec<String> =
            firsts.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::op::{replace, Owner};

    const TAG: JobTag = JobTag { place: 0, owner: Owner::Conductor };

    fn done(disk: &mut ModelDisk, ops: Vec<FileOp>) {
        assert_eq!(disk.run(0, Job { tag: TAG, ops }).result, Ok(()));
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_torn() {
        let file = FileId::first(TAG);
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut disk = ModelDisk::default();
            let path = PathBuf::from("a");
            done(
                &mut disk,
                vec![
                    FileOp::Create { file, path: path.clone() },
                    FileOp::Write { file, offset: 0, bytes: b"safe".to_vec() },
                    FileOp::Sync { file },
                    FileOp::SyncFolder { path: ".".into() },
                    FileOp::Write { file, offset: 4, bytes: b"unsafe".to_vec() },
                ],
            );
            disk.crash(&mut Prng::new(seed));
            let bytes = disk.file(&path).expect("its name was synced");
            assert!(b"safeunsafe".starts_with(bytes) && bytes.len() >= 4);
            lengths.insert(bytes.len());
        }
        assert!(lengths.len() > 3, "{lengths:?}");
    }

    #[test]
    fn a_file_that_is_replaced_is_the_old_or_the_new_one() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = ModelDisk::default();
            done(&mut disk, replace(FileId::first(TAG), Path::new("m"), b"old".to_vec()));
            let mut ops = replace(FileId::first(TAG), Path::new("m"), b"new".to_vec());
            ops.truncate(1 + seed as usize % ops.len());
            done(&mut disk, ops);
            disk.crash(&mut Prng::new(seed));
            let bytes = disk.file(Path::new("m")).map(<[u8]>::to_vec);
            assert!(matches!(bytes.as_deref(), Some(b"old" | b"new")), "{seed}: {bytes:?}");
            seen.insert(bytes);
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_full_disk_takes_a_part_and_gives_the_bytes_back() {
        let mut disk = ModelDisk { room: Some(3), ..ModelDisk::default() };
        let file = FileId::first(TAG);
        let ops = vec![
            FileOp::Create { file, path: "a".into() },
            FileOp::Write { file, offset: 0, bytes: b"12345".to_vec() },
        ];
        let outcome = disk.run(0, Job { tag: TAG, ops });
        assert_eq!(outcome.result.map_err(|failure| (failure.step, failure.errno)), Err((1, ENOSPC)));
        assert_eq!(outcome.buffer, b"12345");
        assert_eq!(disk.file(Path::new("a")), Some(&b"123"[..]));
    }
}
