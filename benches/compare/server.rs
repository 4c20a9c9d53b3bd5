//! The servers under comparison: how each is found, started, asked whether it is ready, and stopped.
//!
//! Invariant: only processes started here are ever stopped, each through its own handle.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::machine::{self, Cores, CpuTime};
use crate::{Options, Result};

/// A server as it is to be started.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) cores: Cores,
    /// Program and arguments, in which `{port}` and `{dir}` stand for what `Server::start` chooses.
    pub(crate) command: Vec<String>,
}

impl Spec {
    /// One of the servers this program knows by name.
    pub(crate) fn known(name: &str, cores: &Cores, options: &Options) -> Result<Self> {
        match name {
            "redis" => Self::redis_like(name, "redis-server", options.redis_server.as_deref(), cores),
            "valkey" => Self::redis_like(name, "valkey-server", options.valkey_server.as_deref(), cores),
            "ringward" => Ok(Self::ringward(name, 1, cores)),
            "floor" => Self::floor(cores),
            _ => Err(format!("'{name}' is none of redis, valkey, ringward, floor").into()),
        }
    }

    /// Ringward as cargo built it for this bench.
    pub(crate) fn ringward(name: &str, shards: usize, cores: &Cores) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_ringward"));
        let arguments =
            format!("--port {{port}} --dir {{dir}} --maxclients 20000 --shards {shards} --cores {cores} --appendonly no --save");
        let mut spec = Self::new(name, cores, program, &arguments);
        spec.command.push(String::new());
        spec
    }

    fn redis_like(name: &str, program: &str, path: Option<&Path>, cores: &Cores) -> Result<Self> {
        let variable = program.replace('-', "_").to_uppercase();
        let path = find(program, path, &variable)?;
        let mut spec = Self::new(
            name,
            cores,
            &path,
            "--port {port} --dir {dir} --maxclients 20000 --appendonly no --save",
        );
        spec.command.push(String::new());
        Ok(spec)
    }

    /// The bare ring of `benches/floor.rs`, built if it is not.
    fn floor(cores: &Cores) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--example", "floor"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()?;
        let path = Path::new(env!("CARGO_BIN_EXE_ringward")).with_file_name("examples/floor");
        if !built.success() || !path.exists() {
            return Err("the floor could not be built".into());
        }
        Ok(Self::new("floor", cores, &path, "--port {port}"))
    }

    /// `NAME[@CORES]=COMMAND`; words are separated by blanks, and `""` is an empty one.
    pub(crate) fn parse(text: &str, cores: &Cores) -> Result<Self> {
        let (name, command) =
            text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME[@CORES]=COMMAND"))?;
        let (name, own) = name.split_once('@').map_or((name, None), |(name, cores)| (name, Some(cores)));
        let cores = own.map_or(Ok(cores.clone()), str::parse)?;
        let command = command.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
        Ok(Spec { name: name.to_owned(), cores, command })
    }

    fn new(name: &str, cores: &Cores, program: &Path, arguments: &str) -> Self {
        let mut command = vec![program.display().to_string()];
        command.extend(arguments.split_whitespace().map(str::to_owned));
        Spec { name: name.to_owned(), cores: cores.clone(), command }
    }
}

/// `program` where the option, the environment variable or PATH says it is.
pub(crate) fn find(program: &str, option: Option<&Path>, variable: &str) -> Result<PathBuf> {
    if let Some(path) = option.map(PathBuf::from).or_else(|| std::env::var_os(variable).map(PathBuf::from)) {
        return if path.is_file() { Ok(path) } else { Err(format!("there is no {}", path.display()).into()) };
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&paths).map(|folder| folder.join(program));
    candidates
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("{program} is neither on PATH nor named by ${variable}").into())
}

/// A running server. It is stopped when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    name: String,
    process: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts the server on its cores, in a folder of its own, and waits until it answers PING.
    pub(crate) fn start(spec: &Spec) -> Result<Self> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("ringward-compare-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let filled: Vec<String> = spec
            .command
            .iter()
            .map(|word| {
                word.replace("{port}", &port.to_string()).replace("{dir}", &folder.display().to_string())
            })
            .collect();
        let (program, arguments) = filled.split_first().ok_or("a server without a command")?;
        let log = File::create(folder.join("log"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = spec
            .cores
            .pinning(|| command.spawn())?
            .map_err(|error| format!("{}: {program}: {error}", spec.name))?;
        let mut server = Server { port, name: spec.name.clone(), process, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Starts another of the same kind on these cores, and waits until it has what `primary` has.
    pub(crate) fn start_replica(spec: &Spec, cores: &Cores, primary: &Server) -> Result<Self> {
        let mut spec = Spec { cores: cores.clone(), ..spec.clone() };
        if let Some(at) = spec.command.iter().position(|word| word == "--cores") {
            spec.command[at + 1] = cores.to_string();
        }
        let replica = Server::start(&spec)?;
        let mut client = Client::connect(replica.port)?;
        client.ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()])?;
        let start = Instant::now();
        while !client.ask(&["INFO", "replication"])?.contains("master_link_status:up") {
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("the replica of {} does not come", spec.name).into());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(replica)
    }

    /// Its CPU time so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        machine::cpu(self.process.id())
    }

    /// Its resident memory.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        machine::resident_bytes(self.process.id())
    }

    /// The same, cheaply.
    pub(crate) fn resident_now(&self) -> Result<u64> {
        machine::resident_now(self.process.id())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(15) && self.process.try_wait()?.is_none() {
            if Client::connect(self.port).and_then(|mut client| client.ping()).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(format!("{} does not answer PING; it said:\n{log}", self.name).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing is safe: nothing these servers hold is wanted. A process that has ended already is no error.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
