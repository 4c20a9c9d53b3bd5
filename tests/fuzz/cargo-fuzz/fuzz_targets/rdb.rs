//! Any bytes as a snapshot, and as a payload of RESTORE: see `tests/fuzz/rdb.rs` for what is checked. Inputs to begin
//! with are in `tests/fuzz/seeds`.

#![no_main]

#[path = "../../rdb.rs"]
mod rdb;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Every piece is tried: long files would only be slow, and show nothing that short ones do not.
    if bytes.len() <= 4096 {
        rdb::check_file(bytes);
        rdb::check_value(bytes);
    }
});
