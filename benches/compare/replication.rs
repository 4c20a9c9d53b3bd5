//! What replication costs: a full synchronization under load, and how far a replica lags behind.
//!
//! Server and replica are of the same kind and share the cores, as they have to on a small machine; so do those that
//! they are compared with. Load comes at half the rate that the server reached before, so that a fast server is
//! given more to do than a slow one: latencies are compared with the same server's without the synchronization.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::load::{Generator, Load, Outcome};
use crate::machine::Cores;
use crate::report::median;
use crate::server::{Server, Spec};
use crate::{Options, Result};

/// How often it is looked whether the replica is there.
const LOOK: Duration = Duration::from_millis(10);

/// How long a full synchronization may take.
const SYNC_MAX: Duration = Duration::from_secs(300);

/// Probes of the lag, and the pause between two.
const PROBES: usize = 1000;
const PROBE_PAUSE: Duration = Duration::from_millis(2);

/// What one round came to.
struct Sample {
    rate: f64,
    sync_seconds: f64,
    p999_idle_ms: f64,
    p999_sync_ms: f64,
    /// The primary's resident memory before, and at most during it.
    resident_before: u64,
    resident_max: u64,
    lag_p50_ms: f64,
    lag_p99_ms: f64,
}

/// Measures each server in turn, round after round, and prints the medians.
pub(crate) fn full_sync(
    options: &Options,
    specs: &[Spec],
    generator: &Generator,
    client_cores: &Cores,
) -> Result<()> {
    let mut samples: Vec<Vec<Sample>> = specs.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for turn in 0..specs.len() {
            let i = if round % 2 == 0 { turn } else { specs.len() - 1 - turn };
            let sample = measure(options, &specs[i], generator, client_cores)?;
            println!(
                "{:12} half load {:8.0}/s  sync {:6.2} s  p99.9 {:6.2} -> {:6.2} ms  RSS {:6.0} MB {:+5.1}%  lag p50 {:5.2} p99 {:5.2} ms",
                specs[i].name,
                sample.rate,
                sample.sync_seconds,
                sample.p999_idle_ms,
                sample.p999_sync_ms,
                sample.resident_before as f64 / 1e6,
                growth(&sample),
                sample.lag_p50_ms,
                sample.lag_p99_ms,
            );
            samples[i].push(sample);
        }
    }
    let over =
        |samples: &[Sample], figure: &dyn Fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
    let base = over(&samples[0], &|sample| sample.sync_seconds);
    println!(
        "\n{:12} {:>8} {:>8}  {:>12} {:>9}  {:>8} {:>8}",
        "medians", "sync s", "part", "p99.9 ratio", "RSS", "lag p50", "lag p99"
    );
    for (spec, samples) in specs.iter().zip(&samples) {
        let sync = over(samples, &|sample| sample.sync_seconds);
        println!(
            "{:12} {sync:>8.2} {:>8.2}  {:>12.2} {:>8.1}%  {:>8.2} {:>8.2}",
            spec.name,
            sync / base,
            over(samples, &|sample| sample.p999_sync_ms / sample.p999_idle_ms),
            over(samples, &growth),
            over(samples, &|sample| sample.lag_p50_ms),
            over(samples, &|sample| sample.lag_p99_ms),
        );
    }
    Ok(())
}

/// By how many hundredths the primary has grown at most.
fn growth(sample: &Sample) -> f64 {
    (sample.resident_max as f64 / sample.resident_before as f64 - 1.0) * 100.0
}

fn measure(options: &Options, spec: &Spec, generator: &Generator, client_cores: &Cores) -> Result<Sample> {
    let primary = Server::start(spec)?;
    client::load(primary.port, options.keys, options.ttl, &options.value_bytes, |i| generator.key(i))?;
    let mut load = Load {
        pipeline: options.pipelines.first().copied().unwrap_or(1),
        connections: options.connections.first().copied().unwrap_or(50),
        threads: options.threads,
        ratio: options.ratio,
        keys: options.keys,
        sizes: options.value_bytes,
        seconds: options.seconds,
        commands: &[],
        rate_per_connection: None,
    };
    let all = generator.run(primary.port, &load, client_cores)?;
    let rate = all.requests / all.elapsed.as_secs_f64() / 2.0;
    load.rate_per_connection = Some((rate / load.connections as f64).ceil() as u64);
    let idle = generator.run(primary.port, &load, client_cores)?;
    let resident_before = primary.resident_now()?;

    let replica = Server::start(spec)?;
    let (during, synced) = beside(generator, &primary, &load, client_cores, || {
        sleep(Duration::from_millis(300));
        synchronize(&primary, &replica)
    })?;
    let (sync, resident_max) = synced?;
    let (_, lags) = beside(generator, &primary, &load, client_cores, || {
        sleep(Duration::from_millis(300));
        lags(&primary, &replica)
    })?;
    let mut lags = lags?;
    lags.sort_by(f64::total_cmp);
    Ok(Sample {
        rate,
        sync_seconds: sync.as_secs_f64(),
        p999_idle_ms: idle.latency.p999_ms.unwrap_or(f64::NAN),
        p999_sync_ms: during.latency.p999_ms.unwrap_or(f64::NAN),
        resident_before,
        resident_max,
        lag_p50_ms: lags[lags.len() / 2],
        lag_p99_ms: lags[lags.len() * 99 / 100],
    })
}

/// Does something while the load is on the server.
fn beside<T>(
    generator: &Generator,
    server: &Server,
    load: &Load<'_>,
    cores: &Cores,
    body: impl FnOnce() -> T,
) -> Result<(Outcome, T)> {
    thread::scope(|scope| {
        let running =
            scope.spawn(|| generator.run(server.port, load, cores).map_err(|error| error.to_string()));
        let done = body();
        let outcome = running.join().map_err(|_| "the load generator's thread has ended")??;
        Ok((outcome, done))
    })
}

/// How long it takes from REPLICAOF until the replica has everything, and the primary's most resident memory.
fn synchronize(primary: &Server, replica: &Server) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut resident_max = 0;
    let mut client = Client::connect(replica.port)?;
    client.ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()])?;
    while start.elapsed() < SYNC_MAX {
        resident_max = resident_max.max(primary.resident_now()?);
        if client.ask(&["INFO", "replication"])?.contains("master_link_status:up") {
            return Ok((start.elapsed(), resident_max));
        }
        sleep(LOOK);
    }
    Err("the replica does not come".into())
}

/// How many milliseconds after its reply a write is seen on the replica, for each of many.
fn lags(primary: &Server, replica: &Server) -> Result<Vec<f64>> {
    let (mut writer, mut reader) = (Client::connect(primary.port)?, Client::connect(replica.port)?);
    let mut lags = Vec::with_capacity(PROBES);
    for probe in 0..PROBES {
        let probe = probe.to_string();
        writer.ask(&["SET", "probe", &probe])?;
        let start = Instant::now();
        while reader.ask(&["GET", "probe"])? != probe {
            if start.elapsed() > SYNC_MAX {
                return Err("the replica does not follow".into());
            }
        }
        lags.push(start.elapsed().as_secs_f64() * 1000.0);
        sleep(PROBE_PAUSE);
    }
    Ok(lags)
}
