//! Ringward beside its peers on this machine: CPU per request, throughput, latency, memory.
//!
//! On a small or shared machine the load generator is exhausted before a fast server is, and absolute figures drift
//! from minute to minute. So every server runs on the same cores with the same keys, they are measured in turn, round
//! after round (A B C, C B A, ...), and the figure is the server's own user and system time per request, and its ratio
//! to the first server's of the same round.
//!
//!     cargo bench --bench compare
//!     cargo bench --bench compare -- --pipelines 16,64 --value-bytes 1-512 --svg chart.svg --json figures.json
//!     cargo bench --bench compare -- --shards 1,2
//!     cargo bench --bench compare -- --memory --idle
//!     cargo bench --bench compare -- --replica --ratio 1:0
//!     cargo bench --bench compare -- --full-sync --ratio 1:0 --keys 4000000 --value-bytes 450
//!
//! It needs memtier_benchmark (on PATH or in $MEMTIER) or, with less to say about latency, redis-benchmark, and
//! compares with redis-server and valkey-server where it finds them (PATH, $REDIS_SERVER, $VALKEY_SERVER).

mod chart;
mod client;
mod load;
mod machine;
mod memory;
mod replication;
mod report;
mod server;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use load::{Generator, Load, Ratio, Sizes};
use machine::{Cores, CpuTime};
use report::{Comparison, Sample, Scenario};
use server::{Server, Spec};

/// What goes wrong ends the comparison with a message; there is nothing to recover.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Compares Ringward with redis-server, valkey-server and a bare io_uring loop on this machine.
#[derive(Parser)]
struct Options {
    /// Servers to compare, of redis, valkey, ringward, floor; the first is the base of the ratios [default: all found].
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// One more server: NAME[@CORES]=COMMAND, where {port} and {dir} are filled in.
    #[arg(long, value_name = "SPEC")]
    server: Vec<String>,
    /// Ringward with these numbers of shards, client on the same cores.
    #[arg(long, value_delimiter = ',')]
    shards: Vec<usize>,
    /// Memory per key instead of CPU per request.
    #[arg(long)]
    memory: bool,
    /// Memory per idle connection instead of CPU per request; how many connections.
    #[arg(long, num_args = 0..=1, default_missing_value = "10000")]
    idle: Option<usize>,

    /// Each server also with a replica of its kind, on the load generator's cores.
    #[arg(long)]
    replica: bool,
    /// How long a full synchronization under half load takes, and how far a replica lags, instead of CPU per request.
    #[arg(long)]
    full_sync: bool,

    /// Requests in flight on a connection.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pipelines: Vec<usize>,
    /// Connections, in all.
    #[arg(long, value_delimiter = ',', default_value = "50")]
    connections: Vec<usize>,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// SETs to GETs.
    #[arg(long, default_value = "1:1")]
    ratio: Ratio,
    /// Keys loaded first, and asked for at random.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Bytes of a value, or a range to draw from at every SET.
    #[arg(long, default_value = "32")]
    value_bytes: Sizes,
    /// Measure this command instead of SET and GET, in memtier_benchmark's notation ("HSET __key__ f __data__");
    /// several are sent in equal parts, and the first of them loads the keys.
    #[arg(long, value_name = "COMMAND")]
    command: Vec<String>,
    /// Load the keys with this time to live, in seconds.
    #[arg(long)]
    ttl: Option<u32>,
    /// Measured runs of each server and scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one.
    #[arg(long, default_value_t = 3)]
    seconds: u32,

    /// Cores of the servers.
    #[arg(long, default_value = "0")]
    server_cores: Cores,
    /// Cores of the load generator [default: 1; with --shards those of the servers].
    #[arg(long)]
    client_cores: Option<Cores>,
    /// Repeat a run during which other processes took more than a tenth of a core, at most this many times.
    #[arg(long, default_value_t = 3)]
    repeat_disturbed: usize,

    /// Where redis-server is.
    #[arg(long)]
    redis_server: Option<PathBuf>,
    /// Where valkey-server is.
    #[arg(long)]
    valkey_server: Option<PathBuf>,
    /// Where memtier_benchmark is.
    #[arg(long)]
    memtier: Option<PathBuf>,
    /// Write the figures here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the CPU per request here as an SVG chart.
    #[arg(long)]
    svg: Option<PathBuf>,

    /// Given by `cargo bench`, and not by `cargo test --all-targets`, which starts this program too.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("start me with: cargo bench --bench compare -- [options]");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let specs = specs(options)?;
    if options.memory || options.idle.is_some() {
        if options.memory {
            memory::per_key(&specs, options.keys)?;
        }
        if let Some(connections) = options.idle {
            memory::per_connection(&specs, connections)?;
        }
        return Ok(());
    }
    let generator = Generator::find(options.memtier.as_deref())?;
    let client_cores = client_cores(options)?;
    if options.full_sync {
        return replication::full_sync(options, &specs, &generator, &client_cores);
    }
    let comparison = compare(options, &specs, &generator, &client_cores)?;
    if let Some(path) = &options.json {
        std::fs::write(path, comparison.json())?;
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, chart::svg(&comparison))?;
    }
    Ok(())
}

/// The servers asked for, the first being the base of the ratios.
fn specs(options: &Options) -> Result<Vec<Spec>> {
    // The floor keeps no time to live: its memory says nothing.
    let all = ["redis", "valkey", "ringward", "floor"]
        .into_iter()
        .filter(|&name| !options.memory || name != "floor");
    let cores = &options.server_cores;
    let mut specs = Vec::new();
    if options.shards.is_empty() {
        for name in all.filter(|_| options.servers.is_empty()) {
            match Spec::known(name, cores, options) {
                Ok(spec) => specs.push(spec),
                Err(error) => eprintln!("left out: {error}"),
            }
        }
    }
    for name in &options.servers {
        specs.push(Spec::known(name, cores, options)?);
    }
    for &shards in &options.shards {
        specs.push(Spec::ringward(&format!("ringward-{shards}"), shards, &Cores::first(shards)));
    }
    for text in &options.server {
        specs.push(Spec::parse(text, cores)?);
    }
    if specs.is_empty() {
        return Err("no server to measure".into());
    }
    Ok(specs)
}

/// Where the load generator runs.
fn client_cores(options: &Options) -> Result<Cores> {
    match (&options.client_cores, options.shards.iter().copied().max()) {
        (Some(cores), _) => Ok(cores.clone()),
        (None, Some(shards)) => Ok(Cores::first(shards)),
        (None, None) => Ok("1".parse()?),
    }
}

/// Starts the servers, loads the keys, and measures every scenario; prints each as it is done.
fn compare(
    options: &Options,
    specs: &[Spec],
    generator: &Generator,
    client_cores: &Cores,
) -> Result<Comparison> {
    let mut servers = Vec::new();
    // They live as long as those that they follow.
    let mut replicas = Vec::new();
    let with_replica = |spec: &Spec| Spec { name: format!("{}+replica", spec.name), ..spec.clone() };
    let mut all = specs.to_vec();
    if options.replica {
        all = specs.iter().flat_map(|spec| [spec.clone(), with_replica(spec)]).collect();
    }
    let specs = &all[..];
    for spec in specs {
        let server = Server::start(spec)?;
        if options.command.is_empty() {
            client::load(server.port, options.keys, options.ttl, &options.value_bytes, |i| generator.key(i))?;
        } else {
            generator.fill(
                server.port,
                &options.command[0],
                options.keys,
                options.value_bytes,
                client_cores,
            )?;
        }
        println!("{:12} cores {}: {}", spec.name, spec.cores, spec.command.join(" "));
        if options.replica && servers.len() % 2 == 1 {
            replicas.push(Server::start_replica(spec, client_cores, &server)?);
        }
        servers.push(server);
    }
    println!(
        "client       cores {client_cores}: {generator}; {} keys, values of {} bytes, SET:GET {}, {} x {} s\n",
        options.keys, options.value_bytes, options.ratio, options.rounds, options.seconds
    );

    let mut comparison =
        Comparison { servers: specs.iter().map(|s| s.name.clone()).collect(), scenarios: vec![] };
    for &pipeline in &options.pipelines {
        for &connections in &options.connections {
            let load = Load {
                pipeline,
                connections,
                threads: options.threads,
                ratio: options.ratio,
                keys: options.keys,
                sizes: options.value_bytes,
                seconds: options.seconds,
                commands: &options.command,
                rate_per_connection: None,
            };
            let mut scenario = Scenario { pipeline, connections, samples: vec![vec![]; servers.len()] };
            for round in 0..options.rounds {
                for turn in 0..servers.len() {
                    let i = if round % 2 == 0 { turn } else { servers.len() - 1 - turn };
                    let sample = measure(options, &servers[i], generator, &load, client_cores)?;
                    scenario.samples[i].push(sample);
                }
            }
            comparison.scenarios.push(scenario);
            println!("{}", comparison.table(comparison.scenarios.len() - 1));
        }
    }
    Ok(comparison)
}

/// One run against one server, repeated while other processes take part in the measurement.
fn measure(
    options: &Options,
    server: &Server,
    generator: &Generator,
    load: &Load<'_>,
    client_cores: &Cores,
) -> Result<Sample> {
    let mut repeats = 0;
    loop {
        let (all, clients, before) = (machine::busy()?, machine::children()?, server.cpu()?);
        let outcome = generator.run(server.port, load, client_cores)?;
        let cpu: CpuTime = server.cpu()? - before;
        let clients = machine::children()? - clients;
        let others = (machine::busy()? - all).saturating_sub(cpu.total() + clients.total());
        let disturbed = others.as_secs_f64() > 0.1 * outcome.elapsed.as_secs_f64();
        if disturbed && repeats < options.repeat_disturbed {
            repeats += 1;
            std::thread::sleep(Duration::from_secs(1));
            continue;
        }
        return Ok(Sample::new(&outcome, cpu, disturbed));
    }
}
