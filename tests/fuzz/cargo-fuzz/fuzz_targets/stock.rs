//! Any bytes as what a stock primary sends: see `tests/fuzz/stock.rs` for what is checked.

#![no_main]

#[path = "../../stock.rs"]
#[allow(dead_code, reason = "the other fuzzers have a use for it")]
mod stock;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    if stream.len() <= 2048 {
        stock::check(stream);
    }
});
