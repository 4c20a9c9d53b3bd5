//! What is loaded at start, and how the append-only file goes on: decided from what the folder holds.
//!
//! Where the append-only file is on, it is what counts: our own of the generation that `ringward.manifest` names, else
//! a stock Redis's (its manifest, or the single file of Redis before 7), else, unlike Redis, a snapshot: Redis would
//! start empty there, and overwrite the snapshot later. Where it is off, a snapshot counts: our own, else a stock
//! `dump.rdb`.
//!
//! Files that were written by as many shards as there are now are *own*: each shard loads its own. Others are
//! *foreign*: every core reads all snapshots and takes its keys, then the commands of the logs run as if clients sent
//! them. After foreign files the append-only file begins a new generation.
//!
//! Invariant: what a manifest names is there, with its length, or the server does not start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::aofset::{folder_named, AofSet, ShardFolder, TOP_MANIFEST};
use super::manifest::Manifest;
use super::op::FileOp;
use super::snapshots::{file_named, kept, manifest_name, newest_whole, Replaced, SnapshotSet};
use crate::base::ids::ShardId;

/// The folder, as the planner looks at it.
pub trait Folder {
    /// A file's contents; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read: the system's words.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String>;

    /// A file's length, and when it was last changed, in nanoseconds since the epoch.
    fn stat(&self, path: &Path) -> Option<(u64, u64)>;

    /// The names in a folder, of which there may be none.
    fn list(&self, path: &Path) -> Vec<String>;
}

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// `appendonly`.
    pub appendonly: bool,
    /// `appenddirname`.
    pub aof_folder: String,
    /// `appendfilename`.
    pub aof_name: String,
    /// `dbfilename`.
    pub dbfilename: String,
    /// How many shards there are now.
    pub shards: u16,
    /// `aof-disable-auto-gc`: whether the logs of generations that are over stay.
    pub keeps_history: bool,
}

/// A file to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Of an increment the number of its cut, of a base of ours too; zero of others.
    pub cut: u64,
    /// Whether it is the last of its log, or of a shard's own log only empty ones follow it: only there may the end be
    /// torn. (An increment that was named when the one before could not be left stays empty.)
    pub is_last: bool,
}

/// One log: what a stock server or one shard has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// What the increments build on: an RDB file, or commands.
    pub base: Option<LoadFile>,
    /// Commands, in order.
    pub increments: Vec<LoadFile>,
    /// The manifest of a shard's own log.
    pub manifest: Manifest,
}

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nothing is there.
    Nothing,
    /// Each shard's own snapshot.
    OwnSnapshots(Vec<LoadFile>),
    /// Each shard's own log.
    OwnLogs(Vec<Log>),
    /// Snapshots of another number of shards, or of a stock server.
    ForeignSnapshots(Vec<LoadFile>),
    /// Logs of another number of shards, or of a stock server.
    ForeignLogs(Vec<Log>),
}

/// How the append-only file goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AofStart {
    /// It is off.
    Off,
    /// Each shard goes on with the log that it has loaded.
    Resume(AofSet),
    /// A new generation begins with what was loaded.
    Begin(AofSet),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to load.
    pub load: Load,
    /// What then.
    pub aof: AofStart,
    /// The generation that counts, or zero; one that begins later, by CONFIG SET, has the next number.
    pub generation: u64,
    /// The number of the snapshot that is there, whether it is loaded or not.
    pub snapshot_id: u64,
    /// Its files: the next snapshot makes them needless.
    pub snapshot: Vec<String>,
    /// A stock snapshot that lies there: the next snapshot makes it out of date.
    pub stock: Option<Replaced>,
    /// Files that nothing names: left over.
    pub leftovers: Vec<PathBuf>,
    /// What removes the append-only file that is there, once another generation counts.
    pub old_logs: Vec<FileOp>,
    /// Files that nothing names and that may be all that is left of the data: they are given another name, under which
    /// nothing removes them (`snapshots::kept`).
    pub kept: Vec<String>,
    /// The folder of the append-only file.
    pub aof_folder: PathBuf,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Plan {
    /// Looks at the folder and decides.
    ///
    /// # Errors
    /// What is there cannot be trusted: which file, and what is wrong with it.
    pub fn make(folder: &dyn Folder, options: &PlanOptions) -> Result<Plan, String> {
        let aof_folder = PathBuf::from(&options.aof_folder);
        let mut plan = Plan {
            load: Load::Nothing,
            aof: AofStart::Off,
            generation: 0,
            snapshot_id: 0,
            snapshot: Vec::new(),
            stock: None,
            leftovers: Vec::new(),
            old_logs: Vec::new(),
            kept: Vec::new(),
            aof_folder: aof_folder.clone(),
            notes: Vec::new(),
        };
        let top = aof_folder.join(TOP_MANIFEST);
        let set = match folder.read(&top)? {
            Some(text) => Some(
                AofSet::parse(&text)
                    .map_err(|reason| format!("The AOF manifest {}: {reason}", top.display()))?,
            ),
            None => None,
        };
        plan.generation = set.map_or(0, |set| set.generation);
        let (snapshots, note) = plan.find_snapshots(folder, options)?;
        if !options.appendonly {
            plan.old_logs = plan.removal(folder, |_| true);
            plan.notes.extend(note);
            plan.load = snapshots;
            return Ok(plan);
        }
        let begins = AofSet { generation: plan.generation + 1, shards: options.shards };
        plan.aof = AofStart::Begin(begins);
        if let Some(set) = set {
            let logs = (0..set.shards)
                .map(|shard| {
                    let files = ShardFolder::new(&aof_folder, &options.aof_name, set, ShardId(shard));
                    log_of(folder, &files.path, &options.aof_name, true)?.ok_or_else(|| {
                        format!(
                            "{} names generation {} of {} shards, but {} is not there",
                            top.display(),
                            set.generation,
                            set.shards,
                            files.manifest().display()
                        )
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            for (log, shard) in logs.iter().zip((0..set.shards).map(ShardId)) {
                // Every generation begins with both: a manifest that lacks one was cut off between two lines.
                if log.base.is_none() || log.increments.is_empty() {
                    let files = ShardFolder::new(&aof_folder, &options.aof_name, set, shard);
                    let missing = if log.base.is_none() { "base" } else { "increment" };
                    return Err(format!(
                        "The AOF manifest {} names no {missing}",
                        files.manifest().display()
                    ));
                }
            }
            plan.find_leftovers(folder, options, set, &logs);
            if set.shards == options.shards {
                plan.aof = AofStart::Resume(set);
                plan.load = Load::OwnLogs(logs);
            } else {
                plan.old_logs = plan.removal(folder, |of| of == set);
                plan.notes.push(format!(
                    "The AOF was written by {} shards and is taken over by {}",
                    set.shards, options.shards
                ));
                plan.load = Load::ForeignLogs(logs);
            }
            return Ok(plan);
        }
        if let Some(log) = log_of(folder, &aof_folder, &options.aof_name, false)? {
            plan.notes.push(format!("Taking over the AOF of a stock server in {}", aof_folder.display()));
            plan.load = Load::ForeignLogs(vec![log]);
            return Ok(plan);
        }
        let single = PathBuf::from(&options.aof_name);
        if let Some((bytes, _)) = folder.stat(&single) {
            plan.notes.push(format!("Taking over the single AOF file {}", single.display()));
            let file = LoadFile { path: single, bytes, cut: 0, is_last: true };
            plan.load = Load::ForeignLogs(vec![Log { increments: vec![file], ..Log::default() }]);
            return Ok(plan);
        }
        if snapshots != Load::Nothing {
            plan.notes.push("The AOF is on but there is none yet: it begins with the snapshot".to_owned());
        }
        plan.notes.extend(note);
        plan.load = snapshots;
        Ok(plan)
    }

    /// The folders of what is left over, and those that they are in: what their manifests name instead is to be on the
    /// disk before anything is removed.
    pub fn folders_of_leftovers(&self) -> BTreeSet<PathBuf> {
        let folder = |path: &Path| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).to_owned()
        };
        self.leftovers.iter().flat_map(|path| [folder(path), folder(&folder(path))]).collect()
    }

    /// The snapshot that is there, and what people should know if it is loaded.
    fn find_snapshots(
        &mut self,
        folder: &dyn Folder,
        options: &PlanOptions,
    ) -> Result<(Load, Option<String>), String> {
        let stock_path = PathBuf::from(&options.dbfilename);
        let stock = folder.stat(&stock_path).map(|(bytes, modified_ns)| Replaced { bytes, modified_ns });
        self.stock = stock;
        let manifest = manifest_name(&options.dbfilename);
        let names = folder.list(Path::new("."));
        let ours = names.iter().filter(|name| file_named(&options.dbfilename, name).is_some());
        let ours: Vec<String> = ours.cloned().collect();
        let Some(text) = folder.read(Path::new(&manifest))? else {
            return Ok(self.find_unnamed(folder, options, ours));
        };
        let set = SnapshotSet::parse(&text)
            .map_err(|reason| format!("The snapshot's manifest {manifest}: {reason}"))?;
        if stock.is_some() && set.replaces != stock {
            return Err(format!(
                "Both {} and {manifest} are here, and it cannot be told which is newer: {} was put here after the \
                 snapshot of the manifest was made. Remove one of them (the manifest with the files it names)",
                options.dbfilename, options.dbfilename
            ));
        }
        if stock.is_some() {
            self.leftovers.push(stock_path);
            self.stock = None;
        }
        let mut files = Vec::new();
        for file in &set.files {
            let path = PathBuf::from(&file.name);
            match folder.stat(&path) {
                None => return Err(format!("{manifest} names {}, which is not there", file.name)),
                Some((bytes, _)) if bytes != file.bytes => {
                    return Err(format!(
                        "{manifest} says that {} has {} bytes, but it has {bytes}",
                        file.name, file.bytes
                    ));
                }
                Some((bytes, _)) => files.push(LoadFile { path, bytes, cut: 0, is_last: true }),
            }
        }
        self.snapshot_id = set.id;
        self.snapshot = set.files.into_iter().map(|file| file.name).collect();
        self.leftovers.extend(ours.iter().filter(|name| !self.snapshot.contains(name)).map(PathBuf::from));
        Ok((of_shards(files, options), None))
    }

    /// Where there is no manifest: a save that did not come to its end never had one, or it was lost. A stock snapshot
    /// counts if there is one, else the newest of ours that is whole; neither can be told from a loss, so that nothing
    /// is removed but what never was whole.
    fn find_unnamed(
        &mut self,
        folder: &dyn Folder,
        options: &PlanOptions,
        ours: Vec<String>,
    ) -> (Load, Option<String>) {
        let is_temporary =
            |name: &String| file_named(&options.dbfilename, name).is_some_and(|file| file.is_temporary);
        let (temporary, mut ours): (Vec<_>, Vec<_>) = ours.into_iter().partition(is_temporary);
        self.leftovers.extend(temporary.into_iter().map(PathBuf::from));
        let file = |name: &str| {
            let path = PathBuf::from(name);
            let (bytes, _) = folder.stat(&path)?;
            Some(LoadFile { path, bytes, cut: 0, is_last: true })
        };
        let manifest = manifest_name(&options.dbfilename);
        let whole = newest_whole(&options.dbfilename, &ours).filter(|_| self.stock.is_none());
        let (load, note) = match (file(&options.dbfilename).filter(|_| self.stock.is_some()), whole) {
            (Some(file), _) => {
                let note = format!("Taking over the snapshot {} of a stock server", options.dbfilename);
                (Load::ForeignSnapshots(vec![file]), Some(note))
            }
            (None, Some((id, names))) => {
                let files: Vec<_> = names.iter().filter_map(|name| file(name)).collect();
                let note = format!(
                    "{manifest} is not there, but all files of a snapshot are, which is loaded: {}",
                    names.join(", ")
                );
                ours.retain(|name| !names.contains(name));
                (self.snapshot_id, self.snapshot) = (id, names);
                (of_shards(files, options), Some(note))
            }
            (None, None) => (Load::Nothing, None),
        };
        if !ours.is_empty() {
            self.notes.push(format!(
                "{manifest} is not there, and these files may be of the snapshot that it named: they are kept as {}",
                ours.iter().map(|name| kept(name)).collect::<Vec<_>>().join(", ")
            ));
        }
        self.kept = ours;
        (load, note)
    }

    /// Files of the append-only file's folder that no manifest names: of generations that are over or did not begin,
    /// and of rewrites that did not come to their end.
    fn find_leftovers(&mut self, folder: &dyn Folder, options: &PlanOptions, set: AofSet, logs: &[Log]) {
        for name in folder.list(&self.aof_folder) {
            let Some((of, shard)) = folder_named(&name) else { continue };
            if options.keeps_history && of.generation < set.generation {
                continue;
            }
            let path = self.aof_folder.join(&name);
            let log = logs.get(shard.index()).filter(|_| of == set);
            let manifest = format!("{}.manifest", options.aof_name);
            for name in folder.list(&path) {
                let is_named = |log: &Log| log.manifest.named().any(|member| member.name == name);
                if log.is_none_or(|log| !is_named(log) && name != manifest) {
                    self.leftovers.push(path.join(name));
                }
            }
            if log.is_none() {
                self.leftovers.push(path);
            }
        }
    }

    /// What removes the folders of some generations.
    fn removal(&self, folder: &dyn Folder, is_old: impl Fn(AofSet) -> bool) -> Vec<FileOp> {
        let mut ops = Vec::new();
        for name in folder.list(&self.aof_folder) {
            let path = self.aof_folder.join(&name);
            if folder_named(&name).is_some_and(|(of, _)| is_old(of)) {
                let files = folder.list(&path).into_iter().map(|name| path.join(name));
                ops.extend(files.map(|path| FileOp::Remove { path }));
                ops.push(FileOp::RemoveFolder { path });
            }
        }
        ops
    }
}

/// The snapshot that these files are, one for each shard.
fn of_shards(files: Vec<LoadFile>, options: &PlanOptions) -> Load {
    match files.len() == usize::from(options.shards) {
        true => Load::OwnSnapshots(files),
        false => Load::ForeignSnapshots(files),
    }
}

/// The log of which a manifest in this folder tells.
fn log_of(folder: &dyn Folder, path: &Path, name: &str, is_own: bool) -> Result<Option<Log>, String> {
    let at = path.join(format!("{name}.manifest"));
    let Some(text) = folder.read(&at)? else { return Ok(None) };
    let manifest =
        Manifest::parse(&text).map_err(|error| format!("The AOF manifest {}: {error}", at.display()))?;
    let file = |name: &str, cut: u64| {
        let path = path.join(name);
        let (bytes, _) = folder
            .stat(&path)
            .ok_or_else(|| format!("{} names {}, which is not there", at.display(), path.display()))?;
        Ok::<_, String>(LoadFile { path, bytes, cut, is_last: false })
    };
    let base = manifest.base.as_ref().map(|member| file(&member.name, member.seq)).transpose()?;
    let mut increments = manifest
        .increments
        .iter()
        .map(|member| file(&member.name, member.seq))
        .collect::<Result<Vec<_>, _>>()?;
    for increment in increments.iter_mut().rev() {
        increment.is_last = true;
        if !is_own || has_records(folder, increment)? {
            break;
        }
    }
    Ok(Some(Log { base, increments, manifest }))
}

/// An increment that is longer has records in it: what stands before them takes a line or two.
const ANNOTATIONS_BYTES_MAX: u64 = 1024;

/// Whether there is more in an increment than lines that tell the time, or where its stream is.
pub(super) fn has_records(folder: &dyn Folder, increment: &LoadFile) -> Result<bool, String> {
    if increment.bytes == 0 || increment.bytes > ANNOTATIONS_BYTES_MAX {
        return Ok(increment.bytes > 0);
    }
    let bytes = folder.read(&increment.path)?.unwrap_or_default();
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    Ok(!lines.into_iter().all(|line| line.starts_with(b"#")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Files(BTreeMap<PathBuf, Vec<u8>>);

    impl Files {
        fn with(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Files {
            self.0.insert(path.into(), bytes.as_ref().to_vec());
            self
        }
    }

    impl Folder for Files {
        fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.get(path).cloned())
        }

        fn stat(&self, path: &Path) -> Option<(u64, u64)> {
            self.0.get(path).map(|bytes| (bytes.len() as u64, 42))
        }

        fn list(&self, path: &Path) -> Vec<String> {
            let path = if path == Path::new(".") { Path::new("") } else { path };
            let inside = self.0.keys().filter_map(|file| file.strip_prefix(path).ok());
            let mut names: Vec<String> = inside
                .filter_map(|rest| rest.components().next())
                .map(|name| name.as_os_str().to_string_lossy().into_owned())
                .collect();
            names.dedup();
            names
        }
    }

    fn options(appendonly: bool, shards: u16) -> PlanOptions {
        PlanOptions {
            appendonly,
            aof_folder: "appendonlydir".to_owned(),
            aof_name: "appendonly.aof".to_owned(),
            dbfilename: "dump.rdb".to_owned(),
            shards,
            keeps_history: false,
        }
    }

    /// Two shards' append-only file of generation 3.
    fn aof() -> Files {
        let manifest =
            "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        let mut files =
            Files::default().with("appendonlydir/ringward.manifest", "format 1\ngeneration 3\nshards 2\n");
        for shard in 0..2 {
            let folder = format!("appendonlydir/g3-{shard}of2/appendonly.aof");
            files = files
                .with(&format!("{folder}.manifest"), manifest)
                .with(&format!("{folder}.2.base.rdb"), "base")
                .with(&format!("{folder}.2.incr.aof"), "increment");
        }
        files
    }

    fn snapshot() -> Files {
        let manifest = "format 1\nid 7\nshards 2\nfile dump-7-0of2.rdb bytes 1 crc64 0 keys 0\n\
                        file dump-7-1of2.rdb bytes 2 crc64 0 keys 0\n";
        Files::default()
            .with("dump.rdb.manifest", manifest)
            .with("dump-7-0of2.rdb", "a")
            .with("dump-7-1of2.rdb", "bb")
    }

    #[test]
    fn an_empty_folder_is_a_beginning() {
        let plan = Plan::make(&Files::default(), &options(false, 2)).unwrap();
        assert_eq!((plan.load, plan.aof), (Load::Nothing, AofStart::Off));
        let plan = Plan::make(&Files::default(), &options(true, 2)).unwrap();
        assert_eq!(plan.load, Load::Nothing);
        assert_eq!(plan.aof, AofStart::Begin(AofSet { generation: 1, shards: 2 }));
    }

    #[test]
    fn an_own_log_is_gone_on_with_and_another_number_of_shards_makes_it_foreign() {
        let plan = Plan::make(&aof(), &options(true, 2)).unwrap();
        assert!(
            matches!(&plan.load, Load::OwnLogs(logs) if logs.len() == 2 && logs[0].increments[0].is_last)
        );
        assert_eq!(plan.aof, AofStart::Resume(AofSet { generation: 3, shards: 2 }));
        assert_eq!(plan.leftovers, [] as [PathBuf; 0]);
        let plan = Plan::make(&aof(), &options(true, 3)).unwrap();
        assert!(matches!(&plan.load, Load::ForeignLogs(logs) if logs.len() == 2));
        assert_eq!(plan.aof, AofStart::Begin(AofSet { generation: 4, shards: 3 }));
    }

    #[test]
    fn an_own_snapshot_is_loaded_if_the_log_is_off() {
        let plan = Plan::make(&snapshot(), &options(false, 2)).unwrap();
        assert!(matches!(&plan.load, Load::OwnSnapshots(files) if files[1].bytes == 2));
        assert_eq!(plan.snapshot_id, 7);
        let plan = Plan::make(&snapshot(), &options(true, 1)).unwrap();
        assert!(matches!(&plan.load, Load::ForeignSnapshots(files) if files.len() == 2));
        assert_eq!(plan.notes.len(), 1);
    }

    #[test]
    fn a_stock_servers_files_are_taken_over() {
        let stock = Files::default().with("dump.rdb", "REDIS");
        let plan = Plan::make(&stock, &options(false, 2)).unwrap();
        assert!(matches!(&plan.load, Load::ForeignSnapshots(files) if files.len() == 1));
        assert_eq!(plan.stock, Some(Replaced { bytes: 5, modified_ns: 42 }));
        let single = stock.with("appendonly.aof", "*1");
        let plan = Plan::make(&single, &options(true, 2)).unwrap();
        assert!(matches!(&plan.load, Load::ForeignLogs(logs) if logs[0].base.is_none()));
        let multi = single
            .with("appendonlydir/appendonly.aof.manifest", "file a seq 1 type b\nfile i seq 1 type i\n")
            .with("appendonlydir/a", "REDIS")
            .with("appendonlydir/i", "*1");
        let plan = Plan::make(&multi, &options(true, 2)).unwrap();
        assert!(matches!(&plan.load, Load::ForeignLogs(logs) if logs[0].base.is_some()));
    }

    #[test]
    fn what_a_manifest_names_must_be_there_and_whole() {
        let mut files = snapshot();
        files.0.remove(Path::new("dump-7-1of2.rdb"));
        assert!(Plan::make(&files, &options(false, 2)).unwrap_err().contains("which is not there"));
        let files = snapshot().with("dump-7-1of2.rdb", "longer");
        assert!(Plan::make(&files, &options(false, 2)).unwrap_err().contains("has 2 bytes, but it has 6"));
        for missing in ["appendonly.aof.manifest", "appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"] {
            let mut files = aof();
            files.0.remove(&Path::new("appendonlydir/g3-1of2").join(missing));
            let error = Plan::make(&files, &options(true, 2)).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_stock_snapshot_beside_our_own_is_refused_unless_ours_is_known_to_be_newer() {
        let both = snapshot().with("dump.rdb", "REDIS");
        assert!(Plan::make(&both, &options(false, 2)).unwrap_err().contains("cannot be told which is newer"));
        let mut text = both.0[Path::new("dump.rdb.manifest")].clone();
        text.extend_from_slice(b"replaces bytes 5 modified_ns 42\n");
        let both = both.with("dump.rdb.manifest", text);
        let plan = Plan::make(&both, &options(false, 2)).unwrap();
        assert!(matches!(plan.load, Load::OwnSnapshots(_)));
        assert_eq!(plan.leftovers, [PathBuf::from("dump.rdb")]);
    }

    #[test]
    fn what_nothing_names_is_left_over() {
        let files = aof()
            .with("appendonlydir/g2-0of1/appendonly.aof.1.incr.aof", "")
            .with("appendonlydir/g3-0of2/temp-appendonly.aof.base", "")
            .with("appendonlydir/notes.txt", "")
            .with("dump-9-0of1.rdb", "")
            .with("temp-dump-9-0of2.rdb", "")
            .with("dump-old.rdb", "");
        let plan = Plan::make(&files, &options(true, 2)).unwrap();
        let names: Vec<_> = plan.leftovers.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            names,
            [
                "temp-dump-9-0of2.rdb",
                "appendonlydir/g2-0of1/appendonly.aof.1.incr.aof",
                "appendonlydir/g2-0of1",
                "appendonlydir/g3-0of2/temp-appendonly.aof.base",
            ]
        );
    }

    #[test]
    fn files_of_a_snapshot_whose_manifest_is_lost_are_kept() {
        let mut files = snapshot().with("temp-dump-8-0of2.rdb", "").with("dump-8-1of2.rdb", "c");
        files.0.remove(Path::new("dump.rdb.manifest"));
        let plan = Plan::make(&files, &options(false, 2)).unwrap();
        assert!(matches!(&plan.load, Load::OwnSnapshots(files) if files[1].bytes == 2));
        assert_eq!(
            (plan.snapshot_id, &plan.snapshot[..]),
            (7, &["dump-7-0of2.rdb", "dump-7-1of2.rdb"].map(str::to_owned)[..])
        );
        assert_eq!(plan.kept, ["dump-8-1of2.rdb"]);
        assert_eq!(plan.leftovers, [PathBuf::from("temp-dump-8-0of2.rdb")]);
        assert!(matches!(Plan::make(&files, &options(true, 3)).unwrap().load, Load::ForeignSnapshots(_)));
        // One of them is lost, too.
        files.0.remove(Path::new("dump-7-1of2.rdb"));
        let plan = Plan::make(&files, &options(false, 2)).unwrap();
        assert_eq!((plan.load, plan.snapshot_id), (Load::Nothing, 0));
        assert_eq!(plan.kept, ["dump-7-0of2.rdb", "dump-8-1of2.rdb"]);
        assert!(
            plan.notes[0].contains("kept as kept-dump-7-0of2.rdb, kept-dump-8-1of2.rdb"),
            "{:?}",
            plan.notes
        );
        // A stock snapshot counts: a server that took it over and was killed in its first save never named its own.
        let mut files = snapshot().with("dump.rdb", "REDIS");
        files.0.remove(Path::new("dump.rdb.manifest"));
        let plan = Plan::make(&files, &options(false, 2)).unwrap();
        assert!(matches!(&plan.load, Load::ForeignSnapshots(files) if files.len() == 1));
        assert_eq!((plan.kept.len(), plan.snapshot_id), (2, 0));
    }

    #[test]
    fn the_snapshot_that_is_there_is_known_also_where_the_log_counts() {
        let mut files = aof();
        files.0.extend(snapshot().0);
        let plan = Plan::make(&files, &options(true, 2)).unwrap();
        assert!(matches!(plan.load, Load::OwnLogs(_)));
        assert_eq!((plan.snapshot_id, plan.snapshot.len()), (7, 2));
    }

    #[test]
    fn a_log_that_is_over_once_another_begins_is_known() {
        let removed = |plan: &Plan| {
            let ops = plan.old_logs.iter().map(|op| match op {
                FileOp::Remove { path } | FileOp::RemoveFolder { path } => path.display().to_string(),
                other => panic!("{other:?}"),
            });
            ops.filter(|path| path.contains("g3-1of2")).collect::<Vec<_>>()
        };
        let all = [
            "appendonlydir/g3-1of2/appendonly.aof.2.base.rdb",
            "appendonlydir/g3-1of2/appendonly.aof.2.incr.aof",
            "appendonlydir/g3-1of2/appendonly.aof.manifest",
            "appendonlydir/g3-1of2",
        ];
        assert_eq!(removed(&Plan::make(&aof(), &options(false, 2)).unwrap()), all);
        assert_eq!(removed(&Plan::make(&aof(), &options(true, 3)).unwrap()), all);
        assert_eq!(Plan::make(&aof(), &options(true, 2)).unwrap().old_logs, []);
    }

    #[test]
    fn history_is_not_left_over_where_it_is_kept() {
        let manifest = "file b seq 2 type b\nfile h seq 1 type h\nfile i seq 2 type i\n";
        let files = aof()
            .with("appendonlydir/g3-0of2/appendonly.aof.manifest", manifest)
            .with("appendonlydir/g3-0of2/b", "")
            .with("appendonlydir/g3-0of2/h", "")
            .with("appendonlydir/g3-0of2/i", "")
            .with("appendonlydir/g2-0of1/old", "")
            .with("appendonlydir/g4-0of1/new", "");
        let leftovers = |keeps_history: bool| {
            let plan = Plan::make(&files, &PlanOptions { keeps_history, ..options(true, 2) }).unwrap();
            let of_others = plan.leftovers.iter().filter(|path| !path.starts_with("appendonlydir/g3-0of2"));
            assert!(!plan.leftovers.contains(&PathBuf::from("appendonlydir/g3-0of2/h")));
            of_others.map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        // What never counted is none.
        let new = ["appendonlydir/g4-0of1/new", "appendonlydir/g4-0of1"];
        assert_eq!(leftovers(true), new);
        assert_eq!(
            leftovers(false),
            [&["appendonlydir/g2-0of1/old", "appendonlydir/g2-0of1"][..], &new].concat()
        );
    }
}
