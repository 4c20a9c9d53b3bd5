//! From the command line to cores at work, and back.
//!
//! Order matters: the configuration before anything, the background (a fork) before any thread, the kernel's consent
//! before promises, the listeners before the cores that serve them. What the host refuses is told in one message with
//! its remedy and ends the process with code 78 (EX_CONFIG of sysexits.h); a wrong configuration ends it with 1.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write as _};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};

use glommio::{LocalExecutorBuilder, Placement};

use super::clock::Clock;
use super::core::{Core, Post};
use super::listen::{self, Listener};
use super::mesh::Mesh;
use super::ring::Ring;
use super::{daemon, exchange, folder, log};
use crate::base::ids::CoreId;
use crate::base::key::KeyHasher;
use crate::command::Table;
use crate::config::{self, Command, Config, Directory, Invocation, LoadError, Loaded, Outside};
use crate::host::cron::ProcessInfo;
use crate::host::{Entered, Host, HostOptions, MemoryGauge};
use crate::storage::plan::Plan;

/// What all cores share: constants of this run, and numbers that one writes and others read now and then.
pub struct Shared {
    /// The clocks, started once.
    pub clock: Clock,
    /// How many cores run.
    pub cores: u16,
    /// `spin-us`.
    pub spin_us: u64,
    /// For each listener, the path of its Unix socket.
    pub listener_paths: Vec<Option<PathBuf>>,
    /// Where SIGTERM and SIGINT can be read.
    pub signal_fd: RawFd,
    maxclients: AtomicU32,
    /// What each core tells of its memory.
    memory: Vec<SharedGauge>,
    config_file: Option<PathBuf>,
    locks: Mutex<folder::Locks>,
    /// Why the data set could not be loaded, if so.
    failure: OnceLock<String>,
}

impl Shared {
    /// The server stops with an error.
    pub fn fail(&self, reason: String) {
        let _ = self.failure.set(reason);
    }

    /// `maxclients` as far as the limit on open files allows.
    pub fn maxclients(&self) -> u32 {
        self.maxclients.load(Ordering::Relaxed)
    }

    /// CONFIG SET maxclients.
    pub fn set_maxclients(&self, maxclients: u32) {
        if maxclients != self.maxclients() {
            self.maxclients.store(daemon::raise_open_files(maxclients, self.cores), Ordering::Relaxed);
        }
    }

    /// A core tells of its memory.
    pub fn publish_memory(&self, core: CoreId, gauge: MemoryGauge) {
        self.memory[core.index()].store(gauge);
    }

    /// What the other cores have told, added up.
    pub fn others_memory(&self, core: CoreId) -> MemoryGauge {
        let mut sum = MemoryGauge::default();
        let others = self.memory.iter().enumerate().filter(|&(other, _)| other != core.index());
        others.for_each(|(_, gauge)| sum.add(gauge.load()));
        sum
    }

    /// CONFIG SET dir, dbfilename: what lies there, which is this server's from now on.
    ///
    /// # Errors
    /// The text for the client.
    pub fn enter(&self, dir: &Path, dbfilename: &str, config: &Config) -> Result<Entered, String> {
        let dir = folder::enter(dir)?;
        if writes_by_itself(config) {
            let mut locks = self.locks.lock().map_err(|_| "its locks are lost".to_owned())?;
            locks.add(&dir, dbfilename).map_err(|error| error.to_string())?;
        }
        folder::look_at(dir, dbfilename, config)
    }

    /// CONFIG REWRITE: the file anew, by a temporary file in its folder and a rename, synced.
    ///
    /// # Errors
    /// The text for the client.
    pub fn rewrite_config(&self, config: &Config) -> Result<(), String> {
        let Some(path) = &self.config_file else {
            return Err("The server is running without a config file".to_owned());
        };
        let rewrite = || -> io::Result<()> {
            let old = match std::fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                read => read?,
            };
            let mut temporary = path.clone().into_os_string();
            temporary.push(format!(".{}-rewrite.tmp", std::process::id()));
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(&config.rewritten(&old))?;
            file.sync_all()?;
            if let Ok(metadata) = std::fs::metadata(path) {
                std::fs::set_permissions(&temporary, metadata.permissions())?;
            }
            std::fs::rename(&temporary, path)?;
            // The rename, too, must survive a crash.
            std::fs::File::open(
                path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            )?
            .sync_all()
        };
        rewrite().map_err(|error| {
            tracing::warn!("CONFIG REWRITE failed: {error}");
            format!("Rewriting config file: {error}")
        })
    }
}

/// A core's `MemoryGauge` where the others can read it. Its numbers are not of one moment; nobody needs that.
#[derive(Default)]
#[repr(align(128))]
struct SharedGauge {
    used_bytes: AtomicU64,
    evicted_bytes: AtomicU64,
    evictable: AtomicU64,
    dead: AtomicU64,
    clients_bytes: AtomicU64,
    largest_client_bytes: AtomicU64,
    changes: AtomicU64,
    aof_bytes: AtomicU64,
    aof_base_bytes: AtomicU64,
}

impl SharedGauge {
    fn store(&self, gauge: MemoryGauge) {
        let MemoryGauge {
            used_bytes,
            evicted_bytes,
            evictable,
            dead,
            clients_bytes,
            largest_client_bytes,
            changes,
            aof_bytes,
            aof_base_bytes,
        } = gauge;
        self.used_bytes.store(used_bytes, Ordering::Relaxed);
        self.evicted_bytes.store(evicted_bytes, Ordering::Relaxed);
        self.evictable.store(evictable, Ordering::Relaxed);
        self.dead.store(dead, Ordering::Relaxed);
        self.clients_bytes.store(clients_bytes, Ordering::Relaxed);
        self.largest_client_bytes.store(largest_client_bytes, Ordering::Relaxed);
        self.changes.store(changes, Ordering::Relaxed);
        self.aof_bytes.store(aof_bytes, Ordering::Relaxed);
        self.aof_base_bytes.store(aof_base_bytes, Ordering::Relaxed);
    }

    fn load(&self) -> MemoryGauge {
        MemoryGauge {
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            evicted_bytes: self.evicted_bytes.load(Ordering::Relaxed),
            evictable: self.evictable.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            clients_bytes: self.clients_bytes.load(Ordering::Relaxed),
            largest_client_bytes: self.largest_client_bytes.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
            aof_bytes: self.aof_bytes.load(Ordering::Relaxed),
            aof_base_bytes: self.aof_base_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Why the server does not start.
#[derive(Debug)]
enum Refusal {
    /// The configuration is at fault.
    Config(LoadError),
    /// Something else that the user asked for cannot be had, such as a port.
    Start(String),
    /// The host refuses what Ringward cannot do without; how to allow it.
    Host { what: String, remedy: String },
}

impl Refusal {
    fn exit_code(&self) -> u8 {
        match self {
            Refusal::Config(_) | Refusal::Start(_) => 1,
            Refusal::Host { .. } => 78,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Config(error) => write!(f, "{error}"),
            Refusal::Start(text) => f.write_str(text),
            Refusal::Host { what, remedy } => write!(f, "{what}. {remedy}"),
        }
    }
}

/// What a tool ends with whose arguments cannot be understood.
const USAGE_EXIT_CODE: u8 = 2;

/// The whole life of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let invocation = match config::parse_arguments(arguments) {
        Command::Print(text) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Command::Complain(text) => {
            let _ = io::stderr().write_all(text.as_bytes());
            return ExitCode::from(USAGE_EXIT_CODE);
        }
        Command::Tool(tool) => return exchange::run(&tool),
        Command::Run(invocation) => invocation,
    };
    match start(&invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // Where nobody reads the standard error any more, the log has it.
            tracing::warn!("{refusal}");
            let _ = writeln!(io::stderr(), "{refusal}");
            ExitCode::from(refusal.exit_code())
        }
    }
}

fn start(invocation: &Invocation) -> Result<(), Refusal> {
    let all = Table::new(&[]).map_err(Refusal::Start)?;
    let Loaded { mut config, warnings } =
        config::load(invocation, &Files { table: &all }).map_err(Refusal::Config)?;
    // The file's name must hold after the change of folder.
    let config_file = match &invocation.config_file {
        None => None,
        Some(path) => Some(std::path::absolute(path.as_path()).map_err(|e| Refusal::Start(e.to_string()))?),
    };
    let dir = config.persistence.dir.0.as_path();
    std::env::set_current_dir(dir)
        .map_err(|error| Refusal::Start(format!("Can't chdir to '{}': {}", dir.display(), plain(&error))))?;
    if let Ok(dir) = std::env::current_dir() {
        config.persistence.dir = Directory::from(dir.as_path());
    }
    let logfile = config.process.logfile.to_string();
    log::start(&logfile, config.process.loglevel)
        .map_err(|error| Refusal::Start(format!("Can't open the log file: {}", plain(&error))))?;
    let renames: Vec<_> =
        config.renamed_commands.iter().map(|r| (r.from.to_string(), r.to.to_string())).collect();
    let table = Arc::new(Table::new(&renames).map_err(Refusal::Start)?);
    probe_ring()?;
    let processors = processors(&config)?;
    if config.process.is_daemon {
        daemon::detach().map_err(|error| Refusal::Start(format!("Can't daemonize: {}", plain(&error))))?;
    }
    tracing::warn!("oO0OoO0OoO0Oo Ringward is starting oO0OoO0OoO0Oo");
    tracing::warn!(
        "Ringward version={}, speaks Redis 7.2.4, bits=64, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    if invocation.config_file.is_none() && invocation.options.is_none() && !invocation.reads_stdin {
        tracing::warn!("Warning: no config file specified, using the default config.");
    } else {
        tracing::warn!("Configuration loaded");
    }
    for warning in &warnings {
        tracing::info!("{warning}");
    }
    let signal_fd = daemon::signals().map_err(|error| Refusal::Start(format!("signals: {error}")))?;
    let listeners = listeners(&config)?;
    let pidfile = pidfile(&config);
    if let Some(path) = &pidfile {
        daemon::write_pid_file(path);
    }
    let result = run_cores(config, table, processors, listeners, signal_fd, config_file);
    if let Some(path) = &pidfile {
        let _ = std::fs::remove_file(path);
    }
    if result.is_ok() {
        tracing::warn!("Ringward is now ready to exit, bye bye...");
    }
    result
}

/// Starts a core on each processor, and waits until all have stopped.
fn run_cores(
    mut config: Config,
    table: Arc<Table>,
    processors: Vec<usize>,
    listeners: Vec<Listener>,
    signal_fd: RawFd,
    config_file: Option<PathBuf>,
) -> Result<(), Refusal> {
    let shards = match config.threads.shards {
        0 => processors.len() as u16,
        shards => shards,
    };
    // A core without a shard would only pass requests on.
    let cores = processors.len().min(usize::from(shards)) as u16;
    let placement = (0..shards)
        .map(|shard| CoreId((u32::from(shard) * u32::from(cores) / u32::from(shards)) as u16))
        .collect::<Vec<_>>();
    // As in Redis, CONFIG GET and INFO tell what the limit on open files has left of it.
    config.clients.maxclients = daemon::raise_open_files(config.clients.maxclients, cores);
    let mut secrets = [0u64; 8];
    for secret in &mut secrets {
        *secret = getrandom::u64().map_err(|error| Refusal::Start(format!("no randomness: {error}")))?;
    }
    let [a, b, c, d, seed, run_id @ ..] = secrets;
    let locks = Mutex::new(lock(&config)?);
    let plan = Arc::new(plan(&config, shards)?);
    let process = process_info(config_file.as_deref(), run_id);
    let config = Arc::new(config);
    let shared = Arc::new(Shared {
        clock: Clock::start(),
        cores,
        spin_us: u64::from(config.threads.spin_us),
        listener_paths: listeners.iter().map(|listener| listener.path().map(Path::to_owned)).collect(),
        signal_fd,
        maxclients: AtomicU32::new(config.clients.maxclients),
        memory: (0..cores).map(|_| SharedGauge::default()).collect(),
        config_file,
        locks,
        failure: OnceLock::new(),
    });
    let mesh: Arc<Mesh<Post>> = Arc::new(Mesh::new(cores));
    let (report, reports) = mpsc::channel::<io::Result<()>>();
    let mut listeners = Some(listeners);
    let mut threads = Vec::new();
    for core in (0..cores).map(CoreId) {
        let options = HostOptions {
            id: core,
            cores,
            placement: placement.clone(),
            table: table.clone(),
            config: config.clone(),
            hasher: KeyHasher::new([a, b, c, d]),
            seed: seed.wrapping_add(u64::from(core.0)),
            process: process.clone(),
            plan: Some(plan.clone()),
        };
        // SAFETY: one end per core.
        let end = unsafe { mesh.end(core) };
        let listeners = listeners.take().unwrap_or_default();
        let (shared, report) = (shared.clone(), report.clone());
        let processor = processors[core.index()];
        // glommio registers this much memory for direct disk I/O at each executor, within the memlock limit.
        const IO_MEMORY_BYTES: usize = 1 << 20;
        let thread = LocalExecutorBuilder::new(Placement::Fixed(processor))
            .name(&format!("core-{}", core.0))
            .io_memory(IO_MEMORY_BYTES)
            .spawn(move || async move {
                let host = Host::new(options, shared.clock.ticks());
                match Core::new(shared, core, host, listeners, end) {
                    Err(error) => drop(report.send(Err(error))),
                    Ok(core) => {
                        let _ = report.send(Ok(()));
                        core.run().await;
                    }
                }
            })
            .map_err(|error| Refusal::Host {
                what: format!("Can't start a thread pinned to processor {processor}: {error}"),
                remedy:
                    "Name processors that this process may run on with --cores, and see that 'ulimit -l' \
                         (LimitMEMLOCK) allows some megabytes"
                        .to_owned(),
            })?;
        threads.push(thread);
    }
    drop(report);
    for _ in 0..cores {
        match reports.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ring_refused(&error)),
            Err(_) => return Err(Refusal::Host {
                what: "A core's executor did not start".to_owned(),
                remedy:
                    "See the lines above. Each core's executor locks 512 KiB for its rings: raise the limit \
                             with 'ulimit -l unlimited', or LimitMEMLOCK=infinity in the systemd unit"
                        .to_owned(),
            }),
        }
    }
    tracing::info!(
        "{shards} shard{} on processor{} {}",
        if shards == 1 { "" } else { "s" },
        if cores == 1 { "" } else { "s" },
        processors[..usize::from(cores)].iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    );
    if config.network.port != 0 {
        tracing::info!("Ready to accept connections tcp");
    }
    if !config.network.unixsocket.is_empty() {
        tracing::info!("Ready to accept connections unix");
    }
    for thread in threads {
        if let Err(error) = thread.join() {
            return Err(Refusal::Start(format!("A core has failed: {error}")));
        }
    }
    match shared.failure.get() {
        Some(reason) => Err(Refusal::Start(format!("Fatal error loading the DB: {reason}. Exiting."))),
        None => Ok(()),
    }
}

/// Keeps other servers from the files, if this one writes any by itself.
fn lock(config: &Config) -> Result<folder::Locks, Refusal> {
    let mut locks = folder::Locks::default();
    if writes_by_itself(config) {
        locks.add(Path::new("."), &config.persistence.dbfilename.to_string()).map_err(|error| {
            let remedy = match error {
                folder::LockError::Taken(..) => {
                    ". Give this one another folder with --dir, other names with --dbfilename and --appenddirname, or \
                     no files with --save '' --appendonly no"
                }
                folder::LockError::Failed(_) => "",
            };
            Refusal::Start(format!("{error}{remedy}"))
        })?;
    }
    Ok(locks)
}

fn writes_by_itself(config: &Config) -> bool {
    !config.persistence.save.0.is_empty() || config.persistence.appendonly
}

/// What is loaded. What is left over from something that did not come to its end is removed.
fn plan(config: &Config, shards: u16) -> Result<Plan, Refusal> {
    let persistence = &config.persistence;
    let options = folder::plan_options(config, &persistence.dbfilename.to_string(), shards);
    let plan = Plan::make(&folder::Disk(".".into()), &options).map_err(Refusal::Start)?;
    plan.notes.iter().for_each(|note| tracing::warn!("{note}"));
    if persistence.appendonly {
        std::fs::create_dir_all(&plan.aof_folder).map_err(|error| {
            Refusal::Start(format!(
                "Can't open or create append-only dir {}: {error}",
                plan.aof_folder.display()
            ))
        })?;
    }
    folder::keep(Path::new("."), &plan.kept).map_err(Refusal::Start)?;
    folder::remove_leftovers(&plan);
    Ok(plan)
}

/// Whether the kernel lets us have a ring at all, asked before anything depends on it.
fn probe_ring() -> Result<(), Refusal> {
    Ring::new().map(drop).map_err(|error| ring_refused(&error))
}

fn ring_refused(error: &io::Error) -> Refusal {
    let (what, remedy) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (
            "io_uring is not permitted here",
            "In a container, allow the io_uring system calls: docker run --security-opt \
             seccomp=tuning/seccomp.json (Kubernetes: seccompProfile Localhost). On the host, \
             sysctl kernel.io_uring_disabled=0",
        ),
        Some(libc::ENOSYS) => (
            "This kernel has no io_uring, or a seccomp filter hides it",
            "Linux 6.1 or later is needed; in a container, see tuning/seccomp.json",
        ),
        Some(libc::EINVAL) => ("This kernel's io_uring is too old", "Linux 6.1 or later is needed"),
        Some(libc::ENOMEM) => (
            "io_uring could not lock its memory",
            "Raise the limit: 'ulimit -l unlimited', or LimitMEMLOCK=infinity in the systemd unit",
        ),
        _ => ("io_uring cannot be used", "See the system's message"),
    };
    Refusal::Host { what: format!("{what} ({})", plain(error)), remedy: remedy.to_owned() }
}

/// The processors to run on: those of `cores`, else all that the process may run on.
fn processors(config: &Config) -> Result<Vec<usize>, Refusal> {
    // SAFETY: zeroed bytes are a valid CPU set, which the kernel fills.
    let allowed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) != 0 {
            let error = io::Error::last_os_error();
            return Err(Refusal::Start(format!("sched_getaffinity: {}", plain(&error))));
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect::<Vec<_>>()
    };
    if config.threads.cores.is_empty() {
        return Ok(allowed);
    }
    let wanted = config.threads.cores.as_slice().to_vec();
    if let Some(refused) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(Refusal::Host {
            what: format!("This process may not run on processor {refused}"),
            remedy: format!(
                "It may run on {}; name some of these with --cores, or widen its CPU set (taskset, cpuset, \
                 AllowedCPUs)",
                allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            ),
        });
    }
    Ok(wanted)
}

fn listeners(config: &Config) -> Result<Vec<Listener>, Refusal> {
    let network = &config.network;
    let mut listeners = Vec::new();
    if network.port != 0 {
        let binds: Vec<String> = network.binds.0.iter().map(ToString::to_string).collect();
        let failed = || Refusal::Start(format!("Failed listening on port {} (tcp), aborting.", network.port));
        listeners = listen::tcp(&binds, network.port, network.tcp_backlog).map_err(|warning| {
            tracing::warn!("{warning}");
            failed()
        })?;
        if listeners.is_empty() && !binds.is_empty() {
            return Err(failed());
        }
    }
    if !network.unixsocket.is_empty() {
        let path = network.unixsocket.as_path();
        listeners
            .push(listen::unix(path, network.unixsocket_mode, network.tcp_backlog).map_err(Refusal::Start)?);
    }
    if listeners.is_empty() {
        return Err(Refusal::Start("Configured to not listen anywhere, exiting.".to_owned()));
    }
    Ok(listeners)
}

/// Where the pid goes: `pidfile`, or Redis's default for a daemon.
fn pidfile(config: &Config) -> Option<PathBuf> {
    let named = &config.process.pidfile;
    if !named.is_empty() {
        return Some(named.as_path().to_owned());
    }
    config.process.is_daemon.then(|| PathBuf::from("/var/run/redis.pid"))
}

fn process_info(config_file: Option<&Path>, run_id: [u64; 3]) -> ProcessInfo {
    ProcessInfo {
        pid: std::process::id(),
        executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
        config_file: config_file.map_or_else(String::new, |path| path.display().to_string()),
        run_id: run_id.iter().map(|word| format!("{word:016x}")).collect::<String>()[..40].to_owned(),
        os: system(),
        started_unix_us: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as i64),
        system_memory_bytes: system_memory_bytes(),
        ..ProcessInfo::default()
    }
}

/// `Linux 6.1.0 x86_64`.
fn system() -> String {
    // SAFETY: zeroed bytes are a valid utsname, which the kernel fills with zero-terminated strings.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        name
    };
    [&name.sysname, &name.release, &name.machine]
        .map(|part| part.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect::<String>())
        .join(" ")
}

fn system_memory_bytes() -> u64 {
    // SAFETY: asks for two numbers.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(page).unwrap_or(0)
}

/// An error as the C library words it.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The world outside the configuration: files, standard input, the names of commands.
struct Files<'a> {
    table: &'a Table,
}

impl Outside for Files<'_> {
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, String> {
        std::fs::read(std::ffi::OsStr::from_bytes(path)).map_err(|error| plain(&error))
    }

    fn read_stdin(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).map_err(|error| plain(&error))?;
        Ok(text)
    }

    fn list(&self, folder: &[u8]) -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(std::ffi::OsStr::from_bytes(folder)) else { return Vec::new() };
        entries.flatten().map(|entry| entry.file_name().into_vec()).collect()
    }

    fn has_command(&self, name: &[u8]) -> bool {
        self.table.find(name).is_some()
    }
}
