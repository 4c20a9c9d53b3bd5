//! A disk in memory that loses what was not synced, for tests and the simulator.
//!
//! Each file has the bytes that a reader sees and those that would survive a crash. Between two syncs writes may reach
//! the disk in any order, whole, in part or not at all; so may names, between two syncs of their folder. What a sync
//! has confirmed stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::op::{Failure, FileId, FileOp, Job, Outcome};
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

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    writes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
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
        self.jobs += 1;
        let mut buffer = Vec::new();
        let mut opened = Vec::new();
        for (step, op) in job.ops.into_iter().enumerate() {
            if let Err(errno) = self.step(core, op, &mut buffer, &mut opened) {
                for file in opened {
                    self.open.remove(&(core, file));
                }
                let text = format!("step {step}: error {errno}");
                let result = Err(Failure { step, errno, text });
                return Outcome { tag: job.tag, result, buffer };
            }
        }
        Outcome { tag: job.tag, result: Ok(()), buffer }
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
                    // As a kernel does it: what could not be written is forgotten, and the next sync knows nothing of
                    // it.
                    if let Some(inode) = self.inodes.get_mut(&inode) {
                        inode.writes.clear();
                    }
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
            FileOp::MakeFolder { .. } | FileOp::RemoveFolder { .. } => {}
            FileOp::Rename { from, to } => {
                let inode = self.names.remove(&from).ok_or(ENOENT)?;
                self.names.insert(to, inode);
            }
            FileOp::Remove { path } => {
                self.names.remove(&path);
            }
            FileOp::SyncFolder { path } => self.sync_folder(&path),
        }
        Ok(())
    }

    fn inode_of(&mut self, path: PathBuf) -> u64 {
        let next = &mut self.next_inode;
        let inode = *self.names.entry(path).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.inodes.entry(inode).or_default();
        inode
    }

    fn change(&mut self, inode: u64, change: Change) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            change.apply(&mut inode.bytes, usize::MAX);
            inode.writes.push(change);
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        let is_in = |path: &Path| parent(path) == parent(&folder.join("x"));
        self.durable_names.retain(|path, _| !is_in(path));
        let names = self.names.iter().filter(|(path, _)| is_in(path));
        self.durable_names.extend(names.map(|(path, inode)| (path.clone(), *inode)));
    }

    /// The machine stops and comes back: of what was not synced anything may be there.
    pub fn crash(&mut self, rng: &mut Prng) {
        self.open.clear();
        for inode in self.inodes.values_mut() {
            for change in std::mem::take(&mut inode.writes) {
                let len = match (&change, rng.below(3)) {
                    (_, 0) => continue,
                    (Change::Write(_, bytes), 1) => rng.below(bytes.len() as u64 + 1) as usize,
                    _ => usize::MAX,
                };
                change.apply(&mut inode.durable, len);
            }
            inode.bytes.clone_from(&inode.durable);
        }
        // Names: those that have changed since their folder was synced, each in the old form or the new one.
        let mut names = self.durable_names.clone();
        let all: Vec<PathBuf> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for path in all {
            if rng.below(2) == 0 {
                match self.names.get(&path) {
                    Some(inode) => names.insert(path, *inode),
                    None => names.remove(&path),
                };
            }
        }
        self.names.clone_from(&names);
        self.durable_names = names;
    }

    /// The bytes of a file.
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        self.names.get(path).and_then(|inode| self.inodes.get(inode)).map(|inode| inode.bytes.as_slice())
    }
}

impl Inode {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.writes) {
            change.apply(&mut self.durable, usize::MAX);
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    parent.strip_prefix(".").unwrap_or(parent).to_owned()
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
    use crate::storage::op::{replace, JobTag, Owner};

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
