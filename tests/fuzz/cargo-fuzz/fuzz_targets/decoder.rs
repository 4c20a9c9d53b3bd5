//! Any bytes to the decoder: see `tests/fuzz/decoder.rs` for what is checked.

#![no_main]

#[path = "../../decoder.rs"]
mod decoder;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    // Every split is tried: long streams would only be slow, and show nothing that short ones do not.
    if stream.len() <= 2048 {
        decoder::check(stream);
    }
});
