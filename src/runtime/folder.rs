//! The server's folder where no core runs: what the planner asks of it, and the lock that keeps two servers, or a
//! server and a tool, from using the same files.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::boot::plain;
use crate::config::Config;
use crate::host::Entered;
use crate::storage::plan::{Folder, Plan, PlanOptions};
use crate::storage::snapshots::kept;

/// A folder, from which paths start.
pub struct Disk(pub PathBuf);

impl Folder for Disk {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(format!("Can't read {}: {error}", path.display())),
        }
    }

    fn stat(&self, path: &Path) -> Option<(u64, u64)> {
        let metadata = fs::metadata(self.0.join(path)).ok().filter(fs::Metadata::is_file)?;
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some((metadata.len(), since.map_or(0, |since| since.as_nanos() as u64)))
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

/// Held for as long as the server uses the folder's files.
pub struct Lock {
    path: PathBuf,
    #[allow(dead_code, reason = "the kernel lets go of the lock when it is closed")]
    file: File,
}

/// All locks that the server holds: one, or more if it has changed its folder. What is open in the one before is still
/// written to.
#[derive(Default)]
pub struct Locks(Vec<Lock>);

impl Locks {
    /// Takes one more, unless it is held.
    ///
    /// # Errors
    /// As for `lock`.
    pub fn add(&mut self, folder: &Path, dbfilename: &str) -> Result<(), LockError> {
        let path = absolute(folder).join(lock_name(dbfilename));
        if self.0.iter().all(|held| held.path != path) {
            self.0.push(lock(folder, dbfilename)?);
        }
        Ok(())
    }
}

fn lock_name(dbfilename: &str) -> String {
    format!(".{dbfilename}.lock")
}

fn absolute(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

/// A folder's whole path, if it can be entered.
///
/// # Errors
/// It cannot: the system's words.
pub fn enter(dir: &Path) -> Result<PathBuf, String> {
    // Whether there is such a folder, and whether it may be searched.
    fs::metadata(dir.join(".")).and_then(|_| dir.canonicalize()).map_err(|error| plain(&error))
}

/// What lies in a folder that snapshots are to go to.
///
/// # Errors
/// It cannot be trusted: which file, and what is wrong with it.
pub fn look_at(dir: PathBuf, dbfilename: &str, config: &Config) -> Result<Entered, String> {
    let options = PlanOptions { appendonly: false, ..plan_options(config, dbfilename, 1) };
    let plan = Plan::make(&Disk(dir.clone()), &options)?;
    keep(&dir, &plan.kept)?;
    Ok(Entered { dir, plan })
}

/// What the planner is to know of the configuration.
pub fn plan_options(config: &Config, dbfilename: &str, shards: u16) -> PlanOptions {
    let persistence = &config.persistence;
    PlanOptions {
        appendonly: persistence.appendonly,
        aof_folder: persistence.appenddirname.to_string(),
        aof_name: persistence.appendfilename.to_string(),
        dbfilename: dbfilename.to_owned(),
        shards,
        keeps_history: persistence.aof_disable_auto_gc,
    }
}

/// Why the lock is not to be had.
#[derive(Debug)]
pub enum LockError {
    /// A server has it: the name of the lock, and the folder.
    Taken(String, String),
    /// The folder cannot be written, or the file not be locked.
    Failed(String),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Taken(name, folder) => {
                write!(f, "Another server uses the files of {folder} ({name} is locked)")
            }
            LockError::Failed(reason) => f.write_str(reason),
        }
    }
}

/// Takes the lock of the files in a folder that `dbfilename` names.
///
/// # Errors
/// Another server has it; or the folder cannot be written.
pub fn lock(folder: &Path, dbfilename: &str) -> Result<Lock, LockError> {
    let (name, folder) = (lock_name(dbfilename), absolute(folder));
    let (path, shown) = (folder.join(&name), folder.display());
    let file = File::create(&path)
        .map_err(|error| LockError::Failed(format!("Can't write to the folder {shown}: {error}")))?;
    // SAFETY: the descriptor is open.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 {
        return Ok(Lock { path, file });
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EWOULDBLOCK) => LockError::Taken(name, shown.to_string()),
        _ => LockError::Failed(format!("Can't lock {name} in {shown}: {error}")),
    })
}

/// Gives other names to files that must not be taken for what they are called.
///
/// # Errors
/// One cannot be renamed: it would be removed later.
pub fn keep(folder: &Path, names: &[String]) -> Result<(), String> {
    for name in names {
        let kept = kept(name);
        fs::rename(folder.join(name), folder.join(&kept))
            .map_err(|error| format!("Can't rename {name} to {kept}: {error}"))?;
    }
    Ok(())
}

/// Removes what nothing names, once what is named instead is on the disk: whoever gave it its name may have been killed
/// before it was.
pub fn remove_leftovers(plan: &Plan) {
    for folder in plan.folders_of_leftovers() {
        if let Err(error) = File::open(&folder).and_then(|folder| folder.sync_all()) {
            tracing::warn!("Can't sync {}: {error}. What is left over stays", folder.display());
            return;
        }
    }
    for path in &plan.leftovers {
        let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        match removed {
            Ok(()) => tracing::info!("Removed {}, which was left over", path.display()),
            Err(error) => tracing::warn!("Can't remove {}, which is left over: {error}", path.display()),
        }
    }
}
