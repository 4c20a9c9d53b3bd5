//! Memory: what a key costs, and what a connection costs that does nothing.

use std::thread::sleep;
use std::time::Duration;

use crate::client::{self, Client};
use crate::load::Sizes;
use crate::machine;
use crate::server::{Server, Spec};
use crate::Result;

/// How long a server may take to settle before its memory is read: page faults and background work of the load.
const SETTLE: Duration = Duration::from_secs(2);

/// Prints the growth of resident memory per key: keys of 16 bytes, values of 32, without and with a time to live.
pub(crate) fn per_key(specs: &[Spec], keys: u64) -> Result<()> {
    for (ttl, title) in [(None, "without TTL"), (Some(100_000), "with TTL")] {
        println!("{keys} keys of 16 bytes, values of 32, {title}");
        let sizes = Sizes { min: 32, max: 32 };
        table(specs, "key", keys, |server| {
            client::load(server.port, keys, ttl, &sizes, |i| format!("key:{i:012}"))
        })?;
    }
    Ok(())
}

/// Prints the growth of resident memory per connection that has sent one PING and then nothing.
pub(crate) fn per_connection(specs: &[Spec], connections: usize) -> Result<()> {
    // Before the servers start: they inherit the limit.
    let limit = machine::raise_open_files()?;
    if limit < connections + 100 {
        return Err(format!("only {limit} files may be open: raise the limit (ulimit -n)").into());
    }
    println!("{connections} idle connections");
    table(specs, "connection", connections as u64, |server| {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut client = Client::connect(server.port)?;
            client.ping()?;
            clients.push(client);
        }
        Ok(clients)
    })
}

/// Starts each server, lets `fill` put `count` things into it, and prints how much it has grown by each. What `fill`
/// returns is kept until the memory has been read.
fn table<T>(specs: &[Spec], thing: &str, count: u64, fill: impl Fn(&Server) -> Result<T>) -> Result<()> {
    println!("{:<14} {:>12} {:>12}", "", format!("bytes/{thing}"), "of the first");
    let mut base = None;
    for spec in specs {
        let server = Server::start(spec)?;
        sleep(SETTLE);
        let before = server.resident_bytes()?;
        let filled = fill(&server)?;
        sleep(SETTLE);
        let grown = server.resident_bytes()?.saturating_sub(before) as f64 / count as f64;
        drop(filled);
        println!("{:<14} {grown:>12.1} {:>11.2}x", spec.name, grown / *base.get_or_insert(grown));
    }
    println!();
    Ok(())
}
