//! Micro-benches: one file for each module of the library that has a hot path.
//!
//! `cargo bench --bench micro`, or `-- keyspace` for those whose name holds "keyspace". Times of divan are per
//! iteration; where an iteration is a batch it is counted, and the items per second are printed below the times.
//! What crosses from core to core is `benches/hop.rs`, the whole request path `benches/request.rs`.

mod command;
mod decode;
mod journal;
mod key;
mod keyspace;
mod rdb;
mod snapshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}
