//! What is written to disk and when: snapshots and the append-only file.

use super::{Effect::*, *};
use crate::config::{
    places::Directory,
    special::SavePoints,
    value::{bytes, int, Text, ANY_TEXT, INT_MAX, LONG_MAX},
    words::{Fsync, SanitizeDump},
};

const TEST_AID: &str = "it is an aid of Redis's own tests";
const INCREMENTAL: &str = "files are always written to disk as they grow";

section! {
    /// What is written to disk and when.
    Persistence at persistence {
        /// The folder of all files.
        "dir" => dir: Directory = Directory(".".into()), (), MUTABLE | PROTECTED | NOT_WHILE_LOADING, Live;
        /// When a snapshot is saved.
        "save" => save: SavePoints = SavePoints::usual(), (), MUTABLE, Live;
        /// The name of a snapshot.
        "dbfilename" => dbfilename: Text = "dump.rdb".into(), ANY_TEXT.checked(is_db_file_name), MUTABLE | PROTECTED,
            Live;
        /// Whether writes are refused after a snapshot failed.
        "stop-writes-on-bgsave-error" => stop_writes_on_bgsave_error: bool = true, (), MUTABLE, Live;
        /// Whether a snapshot compresses strings.
        "rdbcompression" => rdbcompression: bool = true, (), MUTABLE, Live;
        /// Whether a snapshot ends with a checksum, and whether that is compared when one is loaded.
        "rdbchecksum" => rdbchecksum: bool = true, (), IMMUTABLE, Live;
        /// Whether a snapshot that only served a full sync is removed.
        "rdb-del-sync-files" => rdb_del_sync_files: bool = false, (), MUTABLE,
            Meaningless("a full sync goes from memory to the socket");
        /// Whether a snapshot is forced to disk piece by piece.
        "rdb-save-incremental-fsync" => rdb_save_incremental_fsync: bool = true, (), MUTABLE,
            Meaningless(INCREMENTAL);
        /// Whether foreign payloads are checked deeply: whatever it says, they are.
        "sanitize-dump-payload" =>
            sanitize_dump_payload: SanitizeDump = SanitizeDump::No, (), MUTABLE, Live;
        /// A pause after each saved key.
        "rdb-key-save-delay" => rdb_key_save_delay_us: i32 = 0, int(i32::MIN as i128, INT_MAX), MUTABLE | HIDDEN,
            Meaningless(TEST_AID);
        /// A pause after each loaded key.
        "key-load-delay" => key_load_delay_us: i32 = 0, int(i32::MIN as i128, INT_MAX), MUTABLE | HIDDEN,
            Meaningless(TEST_AID);
        /// How much is loaded before clients are looked after.
        "loading-process-events-interval-bytes" => loading_process_events_interval_bytes: u32 = 2 << 20,
            int(1024, INT_MAX), MUTABLE | HIDDEN, Meaningless("loading never keeps clients waiting");
        /// Whether every write is logged.
        "appendonly" => appendonly: bool = false, (), MUTABLE | NOT_WHILE_LOADING, Live;
        /// The stem of the log's files.
        "appendfilename" =>
            appendfilename: Text = "appendonly.aof".into(), ANY_TEXT.checked(is_aof_file_name), IMMUTABLE, Live;
        /// The folder of the log's files.
        "appenddirname" =>
            appenddirname: Text = "appendonlydir".into(), ANY_TEXT.checked(is_aof_folder_name), IMMUTABLE, Live;
        /// When the log is forced to disk.
        "appendfsync" => appendfsync: Fsync = Fsync::EverySec, (), MUTABLE, Live;
        /// Whether it is not while a snapshot or rewrite runs.
        "no-appendfsync-on-rewrite" => no_appendfsync_on_rewrite: bool = false, (), MUTABLE, Live;
        /// How far the log grows before it is rewritten; 0 never.
        "auto-aof-rewrite-percentage" =>
            auto_aof_rewrite_percent: u32 = 100, int(0, INT_MAX), MUTABLE, Live;
        /// The least size of a log that is rewritten.
        "auto-aof-rewrite-min-size" =>
            auto_aof_rewrite_min_bytes: u64 = 64 << 20, bytes(0, LONG_MAX), MUTABLE, Live;
        /// Whether a log with a torn end is loaded up to it.
        "aof-load-truncated" => aof_load_truncated: bool = true, (), MUTABLE, Live;
        /// Whether a rewritten log begins with a snapshot.
        "aof-use-rdb-preamble" => aof_use_rdb_preamble: bool = true, (), MUTABLE, Live;
        /// Whether the log has time stamps.
        "aof-timestamp-enabled" => aof_timestamp_enabled: bool = false, (), MUTABLE, Live;
        /// Whether a rewrite is forced to disk piece by piece.
        "aof-rewrite-incremental-fsync" => aof_rewrite_incremental_fsync: bool = true, (), MUTABLE,
            Meaningless(INCREMENTAL);
        /// Whether the files of the log before the last rewrite are kept.
        "aof-disable-auto-gc" => aof_disable_auto_gc: bool = false, (), MUTABLE | HIDDEN, Live;
    }
}

fn is_db_file_name(name: &[u8]) -> Result<(), &'static str> {
    if is_path(name) {
        Err("dbfilename can't be a path, just a filename")
    } else {
        Ok(())
    }
}

fn is_aof_file_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        b"" => Err("appendfilename can't be empty"),
        name if is_path(name) => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

fn is_aof_folder_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        b"" => Err("appenddirname can't be empty"),
        name if is_path(name) => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

fn is_path(name: &[u8]) -> bool {
    name.iter().any(|byte| b"/\\".contains(byte))
}
