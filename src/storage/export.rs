//! What can be made one file of a server's folder: the snapshot of all shards, as it lies there.
//!
//! What stands in append-only files cannot, but where nothing was recorded after their bases: only a server can run
//! what was.

use std::path::{Path, PathBuf};

use super::aofset::{folder_named, AofSet, TOP_MANIFEST};
use super::plan::{has_records, Folder, Load, Plan, PlanOptions};
use super::snapshots::{manifest_name, SnapshotSet};

/// The files of all shards, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// At least one.
    pub files: Vec<ExportFile>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// One shard's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Where it is, from the folder on.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its checksum as the manifest has it.
    pub crc64: Option<u64>,
}

impl Export {
    /// Looks at a folder.
    ///
    /// # Errors
    /// There is nothing that could be merged, or it cannot be trusted: what is there, and what to do.
    pub fn find(folder: &dyn Folder, dbfilename: &str) -> Result<Export, String> {
        let options = PlanOptions {
            appendonly: false,
            aof_folder: String::new(),
            aof_name: String::new(),
            dbfilename: dbfilename.to_owned(),
            shards: 1,
            keeps_history: false,
        };
        let plan = Plan::make(folder, &options)?;
        let log = log(folder)?;
        if plan.snapshot.is_empty() {
            return match (plan.load, log) {
                (_, Some((at, set))) => bases(folder, dbfilename, &at, set),
                (Load::Nothing, None) => Err(format!("there is no snapshot {}", manifest_name(dbfilename))),
                (_, None) => Err(format!("{dbfilename} is that of a stock server, and one file already")),
            };
        }
        let (Load::OwnSnapshots(files) | Load::ForeignSnapshots(files)) = plan.load else {
            return Err("there is no snapshot".to_owned());
        };
        let name = manifest_name(dbfilename);
        let manifest = folder.read(Path::new(&name))?;
        let mut notes = Vec::new();
        if manifest.is_none() {
            notes.push(format!("{name} is not there, but all files of a snapshot are, which is merged"));
        }
        let set = manifest.and_then(|text| SnapshotSet::parse(&text).ok());
        let crc64 = |path: &Path| {
            let mut files = set.iter().flat_map(|set| &set.files);
            files.find(|file| path == Path::new(&file.name)).map(|file| file.crc64)
        };
        let files = files.into_iter();
        let files =
            files.map(|file| ExportFile { crc64: crc64(&file.path), path: file.path, bytes: file.bytes });
        if let Some((at, _)) = log {
            notes.push(format!(
                "There is an append-only file, too, in {at}: what was written after the last snapshot is in that alone"
            ));
        }
        Ok(Export { files: files.collect(), notes })
    }
}

/// The append-only file: the name of its folder, and its set.
fn log(folder: &dyn Folder) -> Result<Option<(String, AofSet)>, String> {
    for name in folder.list(Path::new(".")) {
        let top = Path::new(&name).join(TOP_MANIFEST);
        if let Some(text) = folder.read(&top)? {
            let set = AofSet::parse(&text)
                .map_err(|reason| format!("the AOF manifest {}: {reason}", top.display()))?;
            return Ok(Some((name, set)));
        }
    }
    Ok(None)
}

/// The bases of an append-only file after which nothing was recorded.
fn bases(folder: &dyn Folder, dbfilename: &str, at: &str, set: AofSet) -> Result<Export, String> {
    let shards = folder.list(Path::new(at)).into_iter();
    let mut shards = shards.filter(|name| folder_named(name).is_some_and(|(of, _)| of == set));
    let names = shards.next().map(|name| folder.list(&Path::new(at).join(name))).unwrap_or_default();
    let aof_name = names.iter().find_map(|name| name.strip_suffix(".manifest"));
    let options = PlanOptions {
        appendonly: true,
        aof_folder: at.to_owned(),
        aof_name: aof_name.unwrap_or("appendonly.aof").to_owned(),
        dbfilename: dbfilename.to_owned(),
        shards: set.shards,
        keeps_history: false,
    };
    let Load::OwnLogs(logs) = Plan::make(folder, &options)?.load else {
        return Err(format!("the append-only file in {at} is not whole"));
    };
    let mut is_base_alone = true;
    for log in &logs {
        let base = log.base.as_ref();
        is_base_alone &= base.is_some_and(|base| base.path.extension().is_some_and(|e| e == "rdb"));
        for increment in &log.increments {
            is_base_alone &= !has_records(folder, increment)?;
        }
    }
    if !is_base_alone {
        return Err(format!(
            "there is no snapshot, and only a server can read what was written to the append-only file in {at}: start \
             one there, have it SAVE, and merge then"
        ));
    }
    let files = logs.into_iter().filter_map(|log| log.base);
    let files = files.map(|base| ExportFile { path: base.path, bytes: base.bytes, crc64: None });
    let notes =
        vec![format!("Merging the bases of the append-only file in {at}, after which nothing was written")];
    Ok(Export { files: files.collect(), notes })
}
