//! The server's folder before the cores run: what the planner asks of it, and the lock that keeps two servers from
//! using the same files.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::storage::plan::Folder;

/// The current folder.
pub struct Disk;

impl Folder for Disk {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(format!("Can't read {}: {error}", path.display())),
        }
    }

    fn stat(&self, path: &Path) -> Option<(u64, u64)> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some((metadata.len(), since.map_or(0, |since| since.as_nanos() as u64)))
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
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
pub struct Lock(#[allow(dead_code, reason = "the kernel lets go of the lock when it is closed")] File);

/// Takes the lock of the files that `dbfilename` names.
///
/// # Errors
/// Another server has it; or the folder cannot be written.
pub fn lock(dbfilename: &str) -> Result<Lock, String> {
    let name = format!(".{dbfilename}.lock");
    let folder = std::env::current_dir().map_or_else(|_| ".".to_owned(), |dir| dir.display().to_string());
    let file = File::create(&name).map_err(|error| format!("Can't write to the folder {folder}: {error}"))?;
    // SAFETY: the descriptor is open.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 {
        return Ok(Lock(file));
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EWOULDBLOCK) => format!(
            "Another server uses the files of {folder} ({name} is locked). Give this one another folder with --dir, \
             other names with --dbfilename and --appenddirname, or no files with --save '' --appendonly no"
        ),
        _ => format!("Can't lock {name} in {folder}: {error}"),
    })
}

/// Removes what nothing names.
pub fn remove_leftovers(leftovers: &[std::path::PathBuf]) {
    for path in leftovers {
        let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        match removed {
            Ok(()) => tracing::info!("Removed {}, which was left over", path.display()),
            Err(error) => tracing::warn!("Can't remove {}, which is left over: {error}", path.display()),
        }
    }
}
