//! Any bytes to the reader of journals: see `tests/fuzz/journal.rs` for what is checked.

#![no_main]

#[path = "../../journal.rs"]
mod journal;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    if stream.len() <= 2048 {
        journal::check(stream);
    }
});
