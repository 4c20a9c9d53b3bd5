//! Carries out jobs on files (`storage::op`) on the core's own ring: no file call ever blocks the core's thread.
//!
//! The kernel does what can be done at once within the submission and hands everything else to its workers. A write
//! and the sync that follows it are submitted together, linked.
//!
//! Invariant: what a submitted entry points to, buffers and names, is owned by its `Running` and does not move until
//! the completion is here; `is_idle` must hold before the ring goes.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};

use super::ring::{Kind, Ring, Tag};
use crate::storage::op::{Failure, FileId, FileOp, Job, Outcome};

/// See the module.
#[derive(Default)]
pub struct Disk {
    files: BTreeMap<FileId, RawFd>,
    running: Vec<Option<Box<Running>>>,
    outcomes: Vec<Outcome>,
}

/// A job under way.
struct Running {
    job: Job,
    step: usize,
    /// Of the step's read or write: how many bytes are done.
    done: usize,
    /// The memory of the job's read or write.
    buffer: Vec<u8>,
    /// Files that the job has opened so far.
    opened: Vec<FileId>,
    /// The folder that a step syncs, once it is open.
    folder: Option<RawFd>,
    /// What the entry at the kernel points to.
    names: [CString; 2],
    /// Completions that are to come.
    pending: u32,
    /// The worst result of the entries of this step so far.
    error: Option<i32>,
    /// Whether the step's write is followed by a sync that was submitted with it, and that has succeeded.
    linked: Linked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Linked {
    No,
    Submitted,
    Synced,
}

/// A read or write is not larger than this; the kernel's limit is just above.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

impl Disk {
    /// Begins a job.
    pub fn start(&mut self, job: Job, ring: &mut Ring) {
        let slot = match self.running.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.running.push(None);
                self.running.len() - 1
            }
        };
        self.running[slot] = Some(Box::new(Running {
            job,
            step: 0,
            done: 0,
            buffer: Vec::new(),
            opened: Vec::new(),
            folder: None,
            names: [CString::default(), CString::default()],
            pending: 0,
            error: None,
            linked: Linked::No,
        }));
        self.proceed(slot, ring);
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.running.iter().all(Option::is_none)
    }

    /// Jobs that have ended.
    pub fn take_outcomes(&mut self, into: &mut Vec<Outcome>) {
        into.append(&mut self.outcomes);
    }

    /// An entry has completed.
    pub fn complete(&mut self, index: u32, result: i32, ring: &mut Ring) {
        let (slot, is_sync) = ((index >> 1) as usize, index & 1 == 1);
        let Some(running) = self.running.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        running.pending -= 1;
        if is_sync {
            match result {
                0.. => running.linked = Linked::Synced,
                // The write fell short: it is gone on with, and synced then.
                _ if result == -libc::ECANCELED => running.linked = Linked::No,
                _ => running.error = running.error.or(Some(-result)),
            }
        } else if result < 0 {
            running.error = Some(-result);
        } else {
            self.took(slot, result);
        }
        let Some(running) = self.running[slot].as_deref_mut() else { return };
        if running.pending == 0 {
            self.step_done(slot, ring);
        }
    }

    /// The entry of a step has succeeded.
    fn took(&mut self, slot: usize, result: i32) {
        let Some(running) = self.running[slot].as_deref_mut() else { return };
        match &running.job.ops[running.step] {
            FileOp::Open { file, .. } | FileOp::OpenToWrite { file, .. } | FileOp::Create { file, .. } => {
                running.opened.push(*file);
                self.files.insert(*file, result);
            }
            FileOp::SyncFolder { .. } if running.folder.is_none() => running.folder = Some(result),
            FileOp::Read { .. } => {
                // SAFETY: the kernel has written so many bytes behind those that were there.
                unsafe { running.buffer.set_len(running.done + result as usize) };
                running.done += result as usize;
            }
            FileOp::Write { .. } => running.done += result as usize,
            _ => {}
        }
    }

    fn step_done(&mut self, slot: usize, ring: &mut Ring) {
        let Some(running) = self.running[slot].as_deref_mut() else { return };
        let op = &running.job.ops[running.step];
        if let Some(errno) = running.error.take() {
            let is_sync_of_link = running.done == running.buffer.len() && running.linked != Linked::No;
            let is_as_good = match op {
                FileOp::Close { .. } => true,
                FileOp::MakeFolder { .. } => errno == libc::EEXIST,
                FileOp::Remove { .. } => errno == libc::ENOENT,
                FileOp::RemoveFolder { .. } => matches!(errno, libc::ENOENT | libc::ENOTEMPTY),
                _ => false,
            };
            if matches!(errno, libc::EINTR | libc::EAGAIN) {
                running.linked = Linked::No;
                return self.proceed(slot, ring);
            }
            if !is_as_good {
                let is_write = matches!(op, FileOp::Write { .. });
                let step = running.step + usize::from(is_write && is_sync_of_link);
                return self.fail(slot, step, errno);
            }
        }
        match op {
            FileOp::Write { .. } if running.done < running.buffer.len() => {
                running.linked = Linked::No;
                return self.proceed(slot, ring);
            }
            FileOp::Write { .. } if running.linked == Linked::Synced => running.step += 1,
            FileOp::SyncFolder { .. } => match running.folder {
                Some(_) if running.done == 0 => {
                    // It was opened; now it is synced.
                    running.done = 1;
                    return self.proceed(slot, ring);
                }
                Some(fd) => {
                    close(fd);
                    running.folder = None;
                }
                None => {}
            },
            _ => {}
        }
        running.step += 1;
        running.done = 0;
        running.linked = Linked::No;
        self.proceed(slot, ring);
    }

    /// Submits the step that is due, or ends the job.
    fn proceed(&mut self, slot: usize, ring: &mut Ring) {
        loop {
            let Some(running) = self.running[slot].as_deref_mut() else { return };
            if running.step == running.job.ops.len() {
                let Some(running) = self.running[slot].take() else { return };
                let outcome = Outcome { tag: running.job.tag, result: Ok(()), buffer: running.buffer };
                self.outcomes.push(outcome);
                return;
            }
            match running.submit(&mut self.files, slot, ring) {
                Submitted::Entry => return,
                // It was done at once.
                Submitted::Nothing => running.step += 1,
                Submitted::NotOpen => return self.fail_here(slot, libc::EBADF),
            }
        }
    }

    fn fail_here(&mut self, slot: usize, errno: i32) {
        let step = self.running[slot].as_deref().map_or(0, |running| running.step);
        self.fail(slot, step, errno);
    }

    fn fail(&mut self, slot: usize, step: usize, errno: i32) {
        let Some(running) = self.running[slot].take() else { return };
        for file in &running.opened {
            if let Some(fd) = self.files.remove(file) {
                close(fd);
            }
        }
        if let Some(fd) = running.folder {
            close(fd);
        }
        let text = describe(&running.job.ops[step], errno);
        let result = Err(Failure { step, errno, text });
        self.outcomes.push(Outcome { tag: running.job.tag, result, buffer: running.buffer });
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        debug_assert!(self.is_idle(), "the kernel may still use the buffers");
        self.files.values().for_each(|&fd| close(fd));
    }
}

/// What `Running::submit` has done.
enum Submitted {
    Entry,
    Nothing,
    NotOpen,
}

impl Running {
    fn submit(&mut self, files: &mut BTreeMap<FileId, RawFd>, slot: usize, ring: &mut Ring) -> Submitted {
        let at_cwd = Fd(libc::AT_FDCWD);
        let fd_of = |file: &FileId| files.get(file).copied().map(Fd);
        let entry = match &mut self.job.ops[self.step] {
            FileOp::Open { path, .. } => {
                self.names[0] = name(path);
                open(&self.names[0], libc::O_RDONLY)
            }
            FileOp::OpenToWrite { path, .. } => {
                self.names[0] = name(path);
                open(&self.names[0], libc::O_WRONLY | libc::O_CREAT)
            }
            FileOp::Create { path, .. } => {
                self.names[0] = name(path);
                open(&self.names[0], libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)
            }
            FileOp::Read { file, offset, len } => {
                let Some(fd) = fd_of(file) else { return Submitted::NotOpen };
                self.buffer.clear();
                self.buffer.reserve_exact(*len);
                let len = (*len).min(TRANSFER_BYTES_MAX) as u32;
                opcode::Read::new(fd, self.buffer.as_mut_ptr(), len).offset(*offset).build()
            }
            FileOp::Write { file, offset, bytes } => {
                let Some(fd) = fd_of(file) else { return Submitted::NotOpen };
                if !bytes.is_empty() {
                    self.buffer = std::mem::take(bytes);
                }
                let rest = &self.buffer[self.done..];
                let len = rest.len().min(TRANSFER_BYTES_MAX) as u32;
                let entry =
                    opcode::Write::new(fd, rest.as_ptr(), len).offset(*offset + self.done as u64).build();
                let is_followed = matches!(self.job.ops.get(self.step + 1),
                    Some(FileOp::Sync { file: synced }) if files.get(synced) == Some(&fd.0));
                if is_followed && rest.len() <= TRANSFER_BYTES_MAX {
                    self.linked = Linked::Submitted;
                    let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
                    self.push(entry.flags(squeue::Flags::IO_LINK), slot, false, ring);
                    self.push(sync, slot, true, ring);
                    return Submitted::Entry;
                }
                entry
            }
            FileOp::Sync { file } => {
                let Some(fd) = fd_of(file) else { return Submitted::NotOpen };
                opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build()
            }
            FileOp::Truncate { file, len } => {
                let Some(fd) = fd_of(file) else { return Submitted::NotOpen };
                opcode::Ftruncate::new(fd, *len).build()
            }
            FileOp::Close { file } => match files.remove(file) {
                Some(fd) => opcode::Close::new(Fd(fd)).build(),
                None => return Submitted::Nothing,
            },
            FileOp::MakeFolder { path } => {
                self.names[0] = name(path);
                opcode::MkDirAt::new(at_cwd, self.names[0].as_ptr()).mode(FOLDER_MODE).build()
            }
            FileOp::Rename { from, to } => {
                self.names = [name(from), name(to)];
                opcode::RenameAt::new(at_cwd, self.names[0].as_ptr(), at_cwd, self.names[1].as_ptr()).build()
            }
            FileOp::Remove { path } => {
                self.names[0] = name(path);
                opcode::UnlinkAt::new(at_cwd, self.names[0].as_ptr()).build()
            }
            FileOp::RemoveFolder { path } => {
                self.names[0] = name(path);
                opcode::UnlinkAt::new(at_cwd, self.names[0].as_ptr()).flags(libc::AT_REMOVEDIR).build()
            }
            FileOp::SyncFolder { path } => match self.folder {
                None => {
                    self.names[0] = name(path);
                    open(&self.names[0], libc::O_RDONLY | libc::O_DIRECTORY)
                }
                Some(fd) => opcode::Fsync::new(Fd(fd)).build(),
            },
        };
        self.push(entry, slot, false, ring);
        Submitted::Entry
    }

    fn push(&mut self, entry: squeue::Entry, slot: usize, is_sync: bool, ring: &mut Ring) {
        let tag = Tag { kind: Kind::Disk, index: (slot as u32) << 1 | u32::from(is_sync) };
        self.pending += 1;
        // SAFETY: the entry points into `buffer` and `names`, which stay as they are until its completion: `self` is
        // boxed and is not touched before.
        unsafe { ring.push(&entry.user_data(tag.user_data())) };
    }
}

/// The permissions of new files and folders, before the umask.
const FILE_MODE: libc::mode_t = 0o644;
const FOLDER_MODE: libc::mode_t = 0o755;

fn open(path: &CString, flags: i32) -> squeue::Entry {
    opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(flags | libc::O_CLOEXEC)
        .mode(FILE_MODE)
        .build()
}

/// A path as the kernel takes it. A zero byte, which no path has, ends it.
fn name(path: &Path) -> CString {
    let bytes = path.as_os_str().as_bytes();
    CString::new(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).unwrap_or_default()
}

fn close(fd: RawFd) {
    // SAFETY: the descriptor is ours and not used again.
    unsafe { libc::close(fd) };
}

fn describe(op: &FileOp, errno: i32) -> String {
    let error = std::io::Error::from_raw_os_error(errno).to_string();
    let plain = error.split(" (os error").next().unwrap_or(&error).to_owned();
    let shown = |path: &Path| path.display().to_string();
    let what = match op {
        FileOp::Open { path, .. } => format!("open {}", shown(path)),
        FileOp::OpenToWrite { path, .. } => format!("open {} to write", shown(path)),
        FileOp::Create { path, .. } => format!("create {}", shown(path)),
        FileOp::Read { .. } => "read".to_owned(),
        FileOp::Write { .. } => "write".to_owned(),
        FileOp::Sync { .. } => "fdatasync".to_owned(),
        FileOp::Truncate { len, .. } => format!("truncate to {len} bytes"),
        FileOp::Close { .. } => "close".to_owned(),
        FileOp::MakeFolder { path } => format!("make folder {}", shown(path)),
        FileOp::Rename { from, to } => format!("rename {} to {}", shown(from), shown(to)),
        FileOp::Remove { path } => format!("remove {}", shown(path)),
        FileOp::RemoveFolder { path } => format!("remove folder {}", shown(path)),
        FileOp::SyncFolder { path } => format!("sync folder {}", shown(path)),
    };
    format!("{what}: {plain}")
}
