//! Any bytes to the readers of flows and to what collects them: see `tests/fuzz/flow.rs` for what is checked.

#![no_main]

#[path = "../../flow.rs"]
mod flow;
#[path = "../../stock.rs"]
#[allow(dead_code, reason = "the fuzzer of flows uses a part of it")]
mod stock;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    if stream.len() <= 2048 {
        flow::check(stream);
    }
});
