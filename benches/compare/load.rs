//! The load generators, how each is called and what it says: memtier_benchmark, or redis-benchmark where that is all
//! there is.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::machine::Cores;
use crate::server::find;
use crate::Result;

/// The program that makes the requests.
pub(crate) enum Generator {
    Memtier(PathBuf),
    /// It cannot mix SETs and GETs, nor vary the size of values: SETs first, then GETs.
    RedisBenchmark(PathBuf),
}

/// What is asked of it.
pub(crate) struct Load<'a> {
    pub(crate) pipeline: usize,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) ratio: Ratio,
    pub(crate) keys: u64,
    pub(crate) sizes: Sizes,
    pub(crate) seconds: u32,
    /// Instead of SET and GET, in equal parts.
    pub(crate) commands: &'a [String],
    /// Requests per second of each connection; as many as it can if none.
    pub(crate) rate_per_connection: Option<u64>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) requests: f64,
    pub(crate) elapsed: Duration,
    pub(crate) latency: Latency,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// redis-benchmark does not tell.
    pub(crate) p999_ms: Option<f64>,
}

impl Generator {
    /// memtier_benchmark if it can be found, else redis-benchmark.
    pub(crate) fn find(memtier: Option<&Path>) -> Result<Self> {
        match find("memtier_benchmark", memtier, "MEMTIER") {
            Ok(path) => Ok(Generator::Memtier(path)),
            Err(error) if memtier.is_some() => Err(error),
            Err(error) => match find("redis-benchmark", None, "REDIS_BENCHMARK") {
                Ok(path) => Ok(Generator::RedisBenchmark(path)),
                Err(other) => Err(format!("{error}; {other}").into()),
            },
        }
    }

    /// The name it gives to key `i`.
    pub(crate) fn key(&self, i: u64) -> String {
        match self {
            Generator::Memtier(_) => format!("memtier-{i}"),
            Generator::RedisBenchmark(_) => format!("key:{:012}", i - 1),
        }
    }

    /// Runs `command` once for each of the keys.
    pub(crate) fn fill(
        &self,
        port: u16,
        command: &str,
        keys: u64,
        sizes: Sizes,
        cores: &Cores,
    ) -> Result<()> {
        const CONNECTIONS: u64 = 50;
        let Generator::Memtier(path) = self else {
            return Err("other commands than SET and GET need memtier_benchmark".into());
        };
        let words = format!(
            "-s 127.0.0.1 -p {port} --hide-histogram -t 1 -c {CONNECTIONS} --pipeline 64 --key-minimum 1 \
             --key-maximum {keys} -n {}",
            keys.div_ceil(CONNECTIONS)
        );
        let mut fill = Command::new(path);
        fill.args(words.split_whitespace());
        fill.args(["--command", command, "--command-ratio", "1", "--command-key-pattern", "P"]);
        size(&mut fill, sizes);
        said(fill, cores).map(|_| ())
    }

    /// Puts `load` on the server at `port`.
    pub(crate) fn run(&self, port: u16, load: &Load<'_>, cores: &Cores) -> Result<Outcome> {
        match self {
            Generator::Memtier(path) => memtier(path, port, load, cores),
            Generator::RedisBenchmark(path) => redis_benchmark(path, port, load, cores),
        }
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Generator::Memtier(path) | Generator::RedisBenchmark(path) => path.display().fmt(f),
        }
    }
}

fn size(command: &mut Command, sizes: Sizes) {
    if sizes.min == sizes.max {
        command.arg("-d").arg(sizes.min.to_string());
    } else {
        command.arg("--data-size-range").arg(sizes.to_string());
    }
}

fn memtier(path: &Path, port: u16, load: &Load<'_>, cores: &Cores) -> Result<Outcome> {
    let report = std::env::temp_dir().join(format!("ringward-compare-{}-{port}.json", std::process::id()));
    let mut command = Command::new(path);
    let words = format!(
        "-s 127.0.0.1 -p {port} --hide-histogram --print-percentiles 50,99,99.9 -t {} -c {} --pipeline {} \
         --key-minimum 1 --key-maximum {} --distinct-client-seed --test-time {}",
        load.threads,
        load.connections.div_ceil(load.threads),
        load.pipeline,
        load.keys,
        load.seconds
    );
    command.args(words.split_whitespace()).arg("--json-out-file").arg(&report);
    if load.commands.is_empty() {
        command.args(["--ratio", &load.ratio.to_string(), "--key-pattern", "R:R"]);
    }
    if let Some(rate) = load.rate_per_connection {
        command.args(["--rate-limiting", &rate.to_string()]);
    }
    for text in load.commands {
        command.args(["--command", text, "--command-ratio", "1", "--command-key-pattern", "R"]);
    }
    size(&mut command, load.sizes);
    said(command, cores)?;
    let text = fs::read(&report)?;
    fs::remove_file(&report)?;
    let all = &serde_json::from_slice::<Value>(&text)?["ALL STATS"];
    // Its "Ops/sec" is not used: on a busy machine it can be off by any factor.
    let totals = &all["Totals"];
    let percentile = |name: &str| figure(&totals["Percentile Latencies"][name], name);
    Ok(Outcome {
        requests: figure(&totals["Count"], "Count")?,
        elapsed: Duration::from_secs_f64(
            figure(&all["Runtime"]["Total duration"], "Total duration")? / 1000.0,
        ),
        latency: Latency {
            p50_ms: percentile("p50.00")?,
            p99_ms: percentile("p99.00")?,
            p999_ms: Some(percentile("p99.90")?),
        },
    })
}

fn figure(value: &Value, name: &str) -> Result<f64> {
    value.as_f64().ok_or_else(|| format!("no {name} in the report of memtier_benchmark").into())
}

fn redis_benchmark(path: &Path, port: u16, load: &Load<'_>, cores: &Cores) -> Result<Outcome> {
    if load.sizes.min != load.sizes.max {
        return Err("redis-benchmark cannot vary the size of values: install memtier_benchmark".into());
    }
    if load.rate_per_connection.is_some() {
        return Err("redis-benchmark cannot limit its rate: install memtier_benchmark".into());
    }
    // It takes a number of requests, not a time. This is about the time on a machine of today.
    let budget = f64::from(load.seconds) * 100_000.0 * load.pipeline.min(5) as f64;
    let shares = [("set", load.ratio.sets), ("get", load.ratio.gets)];
    let all = f64::from(load.ratio.sets + load.ratio.gets);
    let mut outcome = Outcome {
        requests: 0.0,
        elapsed: Duration::ZERO,
        latency: Latency { p50_ms: 0.0, p99_ms: 0.0, p999_ms: None },
    };
    for (test, share) in shares.into_iter().filter(|(_, share)| *share > 0) {
        let share = f64::from(share) / all;
        let requests = (budget * share).round();
        let mut command = Command::new(path);
        let words = format!(
            "-p {port} --csv -t {test} -n {requests} -r {} -c {} -P {} -d {} --threads {}",
            load.keys, load.connections, load.pipeline, load.sizes.min, load.threads
        );
        command.args(words.split_whitespace());
        let said = said(command, cores)?;
        // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",...
        let row = said.lines().find(|line| line.starts_with(&format!("\"{}\"", test.to_uppercase())));
        let figures: Vec<f64> = row
            .unwrap_or_default()
            .split(',')
            .filter_map(|field| field.trim_matches('"').parse().ok())
            .collect();
        let [rate, _, _, p50_ms, _, p99_ms, ..] = figures[..] else {
            return Err(format!("cannot read what redis-benchmark says:\n{said}").into());
        };
        outcome.requests += requests;
        outcome.elapsed += Duration::from_secs_f64(requests / rate);
        outcome.latency.p50_ms += p50_ms * share;
        outcome.latency.p99_ms = outcome.latency.p99_ms.max(p99_ms);
    }
    Ok(outcome)
}

/// Runs `command` on `cores` and returns what it printed.
fn said(mut command: Command, cores: &Cores) -> Result<String> {
    let output = cores.pinning(|| command.output())??;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed:\n{errors}").into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// SETs to GETs, written `1:10`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    sets: u32,
    gets: u32,
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').map(|(sets, gets)| (sets.parse(), gets.parse()));
        match parts {
            Some((Ok(sets), Ok(gets))) if sets + gets > 0 => Ok(Ratio { sets, gets }),
            _ => Err(format!("'{text}' is no ratio of SETs to GETs such as 1:10")),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sets, self.gets)
    }
}

/// Sizes of values in bytes, written `32` or `1-512`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (min.parse(), max.parse()) {
            (Ok(min), Ok(max)) if 0 < min && min <= max => Ok(Sizes { min, max }),
            _ => Err(format!("'{text}' is neither a size in bytes nor a range such as 1-512")),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}
