//! The tools that exchange snapshots with other servers: `ringward rdb merge` and `ringward rdb split`.
//!
//! They read and write files in pieces, with plain calls: no core runs here, and nobody waits but the user. What they
//! make has its own name only once it is whole and on the disk.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{daemon, folder};
use crate::base::ids::ShardId;
use crate::config::{MergeTool, SplitTool, Tool};
use crate::rdb::layout::VERSION;
use crate::rdb::merge::{Head, Merge, MergeOptions};
use crate::rdb::split::Split;
use crate::rdb::{About, LoadError};
use crate::storage::export::Export;
use crate::storage::plan::Folder;
use crate::storage::snapshots::{
    file_name, file_named, manifest_name, temporary, Replaced, SnapshotFile, SnapshotSet,
};

/// How much is read at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// How much of a file is read to learn what it says about itself.
const HEAD_BYTES: usize = 64 * 1024;

/// So much of a shard's file is written at a time; less if there are many shards.
const SHARD_PIECE_BYTES: usize = 256 * 1024;
const SHARDS_PIECES_BYTES: usize = 64 * 1024 * 1024;

/// How often a folder is looked at anew whose server has just replaced the snapshot.
const LOOKS_MAX: u32 = 5;

/// Runs a tool.
pub fn run(tool: &Tool) -> ExitCode {
    let (name, result) = match tool {
        Tool::Merge(tool) => ("merge", merge(tool)),
        Tool::Split(tool) => ("split", split(tool)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "ringward rdb {name}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// What a user sees of the work.
struct Progress {
    bar: ProgressBar,
    is_quiet: bool,
}

impl Progress {
    /// A bar on standard error, where that is a terminal.
    fn new(what: &'static str, bytes: Option<u64>, is_quiet: bool) -> Progress {
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(bytes, target);
        let shown = match bytes {
            Some(_) => "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta} left",
            None => "{prefix} {bytes} {bytes_per_sec} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(shown) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what);
        Progress { bar, is_quiet }
    }

    fn advance(&self, bytes: usize, keys: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{keys} keys"));
        }
        self.bar.inc(bytes as u64);
    }

    /// Something that people should know.
    fn note(&self, note: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "{note}");
        });
    }

    /// The line that ends it.
    fn end(&self, line: &str) {
        self.bar.finish_and_clear();
        if !self.is_quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> String + 'a {
    move |error| format!("can't {what} {}: {}", path.display(), super::boot::plain(&error))
}

/// A shard's file to be merged, open.
struct Source {
    path: PathBuf,
    file: File,
    bytes: u64,
    crc64: Option<u64>,
    head: Head,
}

fn damaged(path: &Path) -> impl Fn(LoadError) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

fn merge(tool: &MergeTool) -> Result<(), String> {
    refuse_own_place(tool)?;
    let (mut sources, notes) = open_sources(tool)?;
    let total = sources.iter().map(|source| source.bytes).sum::<u64>();
    let version = version_needed(tool, &mut sources, total)?;
    let about = About {
        cut_secs: sources.iter().filter_map(|source| source.head.cut_secs).min().unwrap_or(0),
        used_memory: sources.iter().filter_map(|source| source.head.used_memory).sum(),
        is_aof_base: false,
    };
    let options = MergeOptions { version, about, aux: Vec::new(), checksum: true };
    let progress = Progress::new("merging", Some(total), tool.is_quiet);
    notes.iter().for_each(|note| progress.note(note));
    if version > VERSION {
        progress.note(&format!(
            "There are fields of hashes that expire: the file has version {version} of the format, which Redis 7.4 \
             reads, and no older one"
        ));
    }
    let count = sources.len();
    let (keys, bytes) = match &tool.out {
        None => {
            let mut out =
                File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed("use", Path::new("-")))?);
            let done = merge_to(&mut out, Path::new("standard output"), &mut sources, options, &progress)
                .map_err(|reason| format!("{reason}. What was written is no whole file"))?;
            // A file is to be on the disk; what is none cannot be.
            if out.metadata().is_ok_and(|metadata| metadata.is_file()) {
                out.sync_all().map_err(failed("sync", Path::new("standard output")))?;
            }
            done
        }
        Some(path) => {
            let mut new = NewFile::create(path)?;
            let done = merge_to(&mut new.file, &new.temporary, &mut sources, options, &progress)?;
            new.finish()?;
            done
        }
    };
    progress.end(&format!(
        "merged {count} file{}: {keys} keys, {bytes} bytes",
        if count == 1 { "" } else { "s" }
    ));
    Ok(())
}

/// One file beside our own files, under the name of a stock one: a server would not know which of the two counts.
fn refuse_own_place(tool: &MergeTool) -> Result<(), String> {
    let place = tool.dir.join(&tool.dbfilename);
    let name = place.display();
    if let Some(out) = &tool.out {
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let same = fs::canonicalize(folder).ok().zip(fs::canonicalize(&tool.dir).ok());
        let is_same = same.is_some_and(|(a, b)| a == b);
        if is_same && out.file_name().is_some_and(|name| *name == *tool.dbfilename) {
            return Err(format!(
                "a server would find {name} beside the snapshot that it is made of: name another file"
            ));
        }
        return Ok(());
    }
    if io::stdout().is_terminal() {
        return Err(
            "the file would go to the terminal: redirect standard output, or name a file with --out".into()
        );
    }
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    let same = stdout.ok().zip(fs::metadata(&place).ok());
    match same.is_some_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino())) {
        true => Err(format!(
            "a server would find {name} beside the snapshot that it is made of: remove it, and name another file"
        )),
        false => Ok(()),
    }
}

/// Opens all files before any is read: a server may replace its snapshot, but what is open stays readable.
fn open_sources(tool: &MergeTool) -> Result<(Vec<Source>, Vec<String>), String> {
    let disk = folder::Disk(tool.dir.clone());
    if !tool.dir.is_dir() {
        return Err(format!("{} is no folder", tool.dir.display()));
    }
    let manifest = Path::new(&manifest_name(&tool.dbfilename)).to_owned();
    let mut looks = 0;
    loop {
        looks += 1;
        let before = disk.read(&manifest)?;
        let opened = Export::find(&disk, &tool.dbfilename).and_then(|export| {
            let open = |file: &crate::storage::export::ExportFile| open_source(&tool.dir, file);
            Ok((export.files.iter().map(open).collect::<Result<Vec<_>, _>>()?, export.notes))
        });
        match opened {
            Err(_) if looks < LOOKS_MAX && disk.read(&manifest)? != before => {}
            opened => return opened.map_err(|reason| format!("{}: {reason}", tool.dir.display())),
        }
    }
}

fn open_source(dir: &Path, file: &crate::storage::export::ExportFile) -> Result<Source, String> {
    let path = dir.join(&file.path);
    let mut opened = File::open(&path).map_err(failed("open", &path))?;
    let mut first = Vec::new();
    let mut beginning = io::Read::by_ref(&mut opened).take(HEAD_BYTES as u64);
    beginning.read_to_end(&mut first).map_err(failed("read", &path))?;
    let head = Head::read(&first).map_err(damaged(&path))?;
    io::Seek::rewind(&mut opened).map_err(failed("read", &path))?;
    Ok(Source { path, file: opened, bytes: file.bytes, crc64: file.crc64, head })
}

/// The version of the format that the keys take. It stands before them, so that where it may be a later one they are
/// all looked at first.
fn version_needed(tool: &MergeTool, sources: &mut [Source], total: u64) -> Result<u16, String> {
    let newest = sources.iter().map(|source| source.head.version).max().unwrap_or(VERSION);
    if newest <= VERSION {
        return Ok(VERSION);
    }
    let about = About { cut_secs: 0, used_memory: 0, is_aof_base: false };
    let options = MergeOptions { version: newest, about, aux: Vec::new(), checksum: false };
    let progress = Progress::new("looking for fields that expire", Some(total), tool.is_quiet);
    let (mut merge, mut out) = (Merge::new(options), Vec::new());
    for source in sources.iter_mut() {
        read_all(source, |path, piece| {
            out.clear();
            merge.feed(piece, &mut out).map_err(damaged(path))?;
            progress.advance(piece.len(), merge.keys());
            Ok(())
        })?;
        merge.end_file().map_err(damaged(&source.path))?;
        io::Seek::rewind(&mut source.file).map_err(failed("read", &source.path))?;
    }
    progress.bar.finish_and_clear();
    Ok(merge.version_needed())
}

fn read_all(
    source: &mut Source,
    mut take: impl FnMut(&Path, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match source.file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => take(&source.path, &piece[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", &source.path)(error)),
        }
    }
}

/// Merges all files; how many keys and bytes were written.
fn merge_to(
    out: &mut File,
    name: &Path,
    sources: &mut [Source],
    options: MergeOptions,
    progress: &Progress,
) -> Result<(u64, u64), String> {
    let (mut merge, mut bytes, mut made) = (Merge::new(options), 0, Vec::with_capacity(2 * PIECE_BYTES));
    for source in sources.iter_mut() {
        read_all(source, |path, piece| {
            made.clear();
            merge.feed(piece, &mut made).map_err(damaged(path))?;
            bytes += made.len() as u64;
            out.write_all(&made).map_err(failed("write to", name))?;
            progress.advance(piece.len(), merge.keys());
            Ok(())
        })?;
        let told = merge.end_file().map_err(damaged(&source.path))?;
        if source.crc64.is_some_and(|crc64| crc64 != told) {
            return Err(format!("{}: it is another file than the manifest names", source.path.display()));
        }
    }
    made.clear();
    let keys = merge.finish(&mut made);
    out.write_all(&made).map_err(failed("write to", name))?;
    Ok((keys, bytes + made.len() as u64))
}

/// A file that has its name only once it is whole.
struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_finished: bool,
}

impl NewFile {
    fn create(path: &Path) -> Result<NewFile, String> {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(format!("{} is there and no file", path.display()));
        }
        let Some(name) = path.file_name() else {
            return Err(format!("{} is no name of a file", path.display()));
        };
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", std::process::id()));
        NewFile::create_as(path, path.with_file_name(temporary))
    }

    fn create_as(path: &Path, temporary: PathBuf) -> Result<NewFile, String> {
        let file = File::create(&temporary).map_err(failed("create", &temporary))?;
        Ok(NewFile { file, temporary, path: path.to_owned(), is_finished: false })
    }

    /// It is whole: syncs it, and gives it its name.
    fn finish(mut self) -> Result<(), String> {
        self.file.sync_all().map_err(failed("sync", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(failed("make", &self.path))?;
        self.is_finished = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new(".")))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn sync_folder(folder: &Path) -> Result<(), String> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder", folder))
}

/// What lies in the folder that a snapshot is to go to.
#[derive(Default)]
struct Before {
    /// The snapshot that is replaced.
    files: Vec<String>,
    id: u64,
    /// A stock file that is out of date from now on.
    stock: Option<Replaced>,
}

fn split(tool: &SplitTool) -> Result<(), String> {
    let (input, path): (File, &Path) = match &tool.file {
        Some(path) => (File::open(path).map_err(failed("open", path))?, path),
        None => {
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(failed("use", Path::new("-")))?;
            (File::from(stdin), Path::new("standard input"))
        }
    };
    fs::create_dir_all(&tool.dir).map_err(failed("make the folder", &tool.dir))?;
    let _lock = folder::lock(&tool.dir, &tool.dbfilename).map_err(|error| error.to_string())?;
    let metadata = input.metadata().map_err(failed("read", path))?;
    let before = look_at(tool, &metadata)?;
    let bytes = metadata.is_file().then_some(metadata.len());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = (since.as_millis() as u64).max(before.id + 1);
    daemon::raise_open_files(u32::from(tool.shards), 1);
    let progress = Progress::new("splitting", bytes, tool.is_quiet);
    let mut files = Vec::new();
    for shard in (0..tool.shards).map(ShardId) {
        let name = file_name(&tool.dbfilename, id, shard, tool.shards);
        files.push(NewFile::create_as(&tool.dir.join(&name), tool.dir.join(temporary(&name)))?);
    }
    let mut split = Split::new(tool.shards, since.as_secs() as i64);
    let mut source = Source {
        path: path.to_owned(),
        file: input,
        bytes: bytes.unwrap_or(0),
        crc64: None,
        head: Head { version: VERSION, cut_secs: None, used_memory: None },
    };
    let piece_bytes = SHARD_PIECE_BYTES.min(SHARDS_PIECES_BYTES / usize::from(tool.shards));
    let mut made = Vec::new();
    let mut lengths = vec![0u64; files.len()];
    read_all(&mut source, |path, piece| {
        split.feed(piece).map_err(damaged(path))?;
        progress.advance(piece.len(), split.keys());
        for (shard, file) in (0..).map(ShardId).zip(&mut files) {
            if split.waiting_bytes(shard) >= piece_bytes {
                split.take(shard, &mut made);
                file.file.write_all(&made).map_err(failed("write to", &file.temporary))?;
                lengths[shard.index()] += made.len() as u64;
            }
        }
        Ok(())
    })?;
    let mut set = SnapshotSet { id, files: Vec::new(), replaces: before.stock };
    for (shard, file) in (0..).map(ShardId).zip(&mut files) {
        let end = split.finish(shard, &mut made).map_err(damaged(path))?;
        file.file.write_all(&made).map_err(failed("write to", &file.temporary))?;
        let bytes = lengths[shard.index()] + made.len() as u64;
        let name = file_name(&tool.dbfilename, id, shard, tool.shards);
        set.files.push(SnapshotFile { name, bytes, crc64: end.crc64, keys: end.keys });
    }
    for file in files {
        file.finish()?;
    }
    // From here on the snapshot counts.
    let manifest = tool.dir.join(manifest_name(&tool.dbfilename));
    let mut new = NewFile::create_as(&manifest, manifest.with_extension("manifest.tmp"))?;
    new.file.write_all(&set.text()).map_err(failed("write to", &new.temporary))?;
    new.finish()?;
    for name in &before.files {
        let path = tool.dir.join(name);
        fs::remove_file(&path).or_else(ignore_absent).map_err(failed("remove", &path))?;
    }
    let (keys, bytes) = set.files.iter().fold((0, 0), |sum, file| (sum.0 + file.keys, sum.1 + file.bytes));
    progress.end(&format!("split into {} files: {keys} keys, {bytes} bytes", tool.shards));
    if before.stock.is_some() {
        let stock = tool.dir.join(&tool.dbfilename);
        progress
            .note(&format!("{} is out of date now: a server that starts there removes it", stock.display()));
    }
    Ok(())
}

fn ignore_absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// Whether a snapshot may go to the folder, and what it replaces.
fn look_at(tool: &SplitTool, input: &fs::Metadata) -> Result<Before, String> {
    let disk = folder::Disk(tool.dir.clone());
    let mut before = Before::default();
    let shown = tool.dir.display();
    let manifest = manifest_name(&tool.dbfilename);
    match disk.read(Path::new(&manifest))?.map(|text| SnapshotSet::parse(&text)) {
        Some(_) if !tool.replaces => {
            return Err(format!("there is a snapshot in {shown} already: --replace replaces it"));
        }
        Some(Ok(set)) => {
            before.id = set.id;
            before.files = set.files.into_iter().map(|file| file.name).collect();
        }
        Some(Err(reason)) => {
            return Err(format!("the snapshot's manifest {manifest} in {shown} cannot be read: {reason}"));
        }
        None => {
            let names = disk.list(Path::new("."));
            let ours =
                |name: &&String| file_named(&tool.dbfilename, name).is_some_and(|file| !file.is_temporary);
            let unnamed: Vec<_> = names.iter().filter(ours).cloned().collect();
            if !unnamed.is_empty() && !tool.replaces {
                return Err(format!(
                    "there are files of a snapshot in {shown} whose manifest is not there: {}; --replace removes them",
                    unnamed.join(", ")
                ));
            }
            before.files = unnamed;
        }
    }
    let stock = tool.dir.join(&tool.dbfilename);
    if let Ok(metadata) = fs::metadata(&stock) {
        let is_input = (metadata.dev(), metadata.ino()) == (input.dev(), input.ino());
        if !is_input && !tool.replaces {
            return Err(format!(
                "{} is there already, and a server would not know which counts: remove it, or --replace it",
                stock.display()
            ));
        }
        before.stock = disk
            .stat(Path::new(&tool.dbfilename))
            .map(|(bytes, modified_ns)| Replaced { bytes, modified_ns });
    }
    Ok(before)
}
