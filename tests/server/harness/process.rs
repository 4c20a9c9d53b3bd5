//! Server processes: Ringward's and, as peers to compare with, redis-server's.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::{eventually, eventually_some, Client};

/// The Ringward under test: `RINGWARD_BIN`, else the one that cargo has just built.
pub(crate) fn ringward() -> PathBuf {
    std::env::var_os("RINGWARD_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ringward").into(), PathBuf::from)
}

/// A folder that goes away with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringward-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file, and gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A TCP port that no other test uses while this is held, on the whole machine: a Ringward that listens with
/// SO_REUSEPORT would share it without a word.
pub(crate) struct Port {
    pub(crate) number: u16,
    _reserved: UnixListener,
}

impl Port {
    pub(crate) fn new() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            // Below the ports that the kernel gives to clients.
            let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(37));
            let number = 20_000 + (step % 12_000) as u16;
            let name = UnixAddress::from_abstract_name(format!("ringward-test-port-{number}")).unwrap();
            let Ok(reserved) = UnixListener::bind_addr(&name) else { continue };
            if TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok() {
                return Port { number, _reserved: reserved };
            }
        }
    }
}

/// How to start a Ringward. By default on a free port of 127.0.0.1, with DEBUG allowed, in a folder of its own.
pub(crate) struct Start {
    command: Command,
    folder: Arc<Folder>,
    port: Arc<Port>,
    listens: bool,
    stdin: Option<Vec<u8>>,
    address: Option<SocketAddr>,
}

impl Start {
    pub(crate) fn new(shards: u16) -> Start {
        Start::again(shards, Arc::new(Folder::new()), Arc::new(Port::new()))
    }

    /// The same where another server was before: with its port, and the files that it has left.
    pub(crate) fn again(shards: u16, folder: Arc<Folder>, port: Arc<Port>) -> Start {
        let mut start = Start::at_home(folder, port);
        start = start.args(&["--enable-debug-command", "yes", "--save", "", "--bind", "127.0.0.1"]);
        start = start.args(&["--shards", &shards.to_string()]);
        if shards == 1 {
            // Servers of one shard take turns on the processors.
            static TURN: AtomicU32 = AtomicU32::new(0);
            let cpus = allowed_cpus();
            let cpu = cpus[TURN.fetch_add(1, Ordering::Relaxed) as usize % cpus.len()];
            start = start.args(&["--cores", &cpu.to_string()]);
        }
        start
    }

    /// With a port and a folder and nothing else said.
    pub(crate) fn bare() -> Start {
        Start::at_home(Arc::new(Folder::new()), Arc::new(Port::new()))
    }

    fn at_home(folder: Arc<Folder>, port: Arc<Port>) -> Start {
        let mut command = Command::new(ringward());
        command.current_dir(&**folder).args(["--port", &port.number.to_string()]);
        Start { command, folder, port, listens: true, stdin: None, address: None }
    }

    /// With this configuration file, in which `{port}` and `{dir}` are replaced, and no arguments at all.
    pub(crate) fn file(text: &str) -> Start {
        let mut start = Start::nothing();
        let path = start.folder.write("redis.conf", &start.filled(text));
        start.command.arg(path);
        start
    }

    /// Another program, say a stock server, with the configuration file of this name in the folder and nothing else
    /// said.
    pub(crate) fn program(program: &Path, folder: Arc<Folder>, port: Arc<Port>, file: &str) -> Start {
        let mut command = Command::new(program);
        command.current_dir(&**folder).arg(folder.join(file));
        Start { command, folder, port, listens: true, stdin: None, address: None }
    }

    /// Without any argument.
    pub(crate) fn nothing() -> Start {
        let (folder, port) = (Arc::new(Folder::new()), Arc::new(Port::new()));
        let mut command = Command::new(ringward());
        command.current_dir(&**folder);
        Start { command, folder, port, listens: true, stdin: None, address: None }
    }

    /// `text` with the port and the folder put in.
    pub(crate) fn filled(&self, text: &str) -> String {
        text.replace("{port}", &self.port.number.to_string())
            .replace("{dir}", &self.folder.display().to_string())
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Start {
        for arg in args {
            let arg = self.filled(arg);
            self.command.arg(arg);
        }
        self
    }

    /// Its configuration names the port of this address.
    pub(crate) fn at(mut self, address: SocketAddr) -> Start {
        self.address = Some(address);
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Start {
        self.stdin = Some(self.filled(text).into_bytes());
        self
    }

    /// It has no TCP port: its readiness is read from its log.
    pub(crate) fn unix_only(mut self) -> Start {
        self.listens = false;
        self
    }

    /// It may open so many files and cannot raise that, not even as root.
    pub(crate) fn open_files(mut self, limit: u64) -> Start {
        const CAP_SYS_RESOURCE: libc::c_ulong = 24;
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: both calls are async-signal-safe and only read their arguments.
        unsafe {
            self.command.pre_exec(move || {
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE);
                match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        self
    }

    /// A limit on the length of its files, which it may be given later, is an error to it and no signal.
    pub(crate) fn without_signals_of_size(mut self) -> Start {
        // SAFETY: async-signal-safe, and what is ignored stays so in the program that is started.
        unsafe {
            self.command.pre_exec(|| {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                Ok(())
            });
        }
        self
    }

    /// Has it started by another program, which is given its arguments.
    pub(crate) fn through(mut self, outer: impl FnOnce(&Command) -> Command) -> Start {
        self.command = outer(&self.command);
        self
    }

    /// Changes the command in ways that are not foreseen here.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Command)) -> Start {
        change(&mut self.command);
        self
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn run(self) -> Server {
        let listens = self.listens;
        let server = self.spawn();
        eventually("the server is ready", || {
            if let Some(status) = server.process.exited() {
                panic!("the server has ended ({status}):\n{}", server.log());
            }
            server.log().contains("Ready to accept connections")
                && (!listens || Client::try_connect(server.address).is_ok())
        });
        server
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(mut self) -> Server {
        let process = Process::start(&mut self.command, self.stdin.take());
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number));
        let address = self.address.unwrap_or(own);
        Server { process, address, folder: self.folder, port: self.port }
    }

    /// Starts it where it must give up while it loads, which is after it began to listen; its exit code, and what it
    /// said.
    #[track_caller]
    pub(crate) fn refused_after_loading(self) -> (i32, String) {
        let server = self.spawn();
        let status = eventually_some("the server gives up", || {
            assert!(!server.log().contains("The data set is loaded"), "it serves:\n{}", server.log());
            server.process.exited()
        });
        (status.code().unwrap_or(-1), server.log())
    }

    /// Starts it where it must refuse to; its exit code, and what it said.
    #[track_caller]
    pub(crate) fn refused(self) -> (i32, String) {
        let server = self.spawn();
        let status = eventually_some("the server refuses to start", || {
            assert!(!server.log().contains("Ready to accept"), "it has started:\n{}", server.log());
            server.process.exited()
        });
        (status.code().unwrap_or(-1), server.log())
    }
}

/// A Ringward that runs.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) folder: Arc<Folder>,
    pub(crate) port: Arc<Port>,
}

impl Server {
    /// With everything as by default.
    #[track_caller]
    pub(crate) fn start(shards: u16) -> Server {
        Start::new(shards).run()
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// All that it has printed so far, on both streams.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// Waits until the process is over.
    #[track_caller]
    pub(crate) fn wait_exit(&self) -> ExitStatus {
        eventually_some("the server ends", || self.process.exited())
    }

    /// Whether the process is still there.
    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// It cannot write behind this place of any file, as if the disk were full; or it can again.
    pub(crate) fn limit_file_bytes(&self, limit: Option<u64>) {
        let limit =
            libc::rlimit { rlim_cur: limit.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: it reads a live struct, and the old limit is not asked for.
        let set = unsafe {
            libc::prlimit(self.pid() as libc::pid_t, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut())
        };
        assert_eq!(set, 0, "prlimit");
    }

    /// How many file descriptors it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Its resident memory.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the server at {}:\n{}", self.address, self.log());
        }
    }
}

/// A server that several tests use, started by the first. It lives as long as the test process.
pub(crate) struct Shared(OnceLock<Server>);

impl Shared {
    pub(crate) const fn new() -> Shared {
        Shared(OnceLock::new())
    }

    pub(crate) fn start(&'static self, start: impl FnOnce() -> Start) -> Borrowed {
        Borrowed(self.0.get_or_init(|| start().run()))
    }
}

/// A shared server in use by a test that prints its log when it fails.
pub(crate) struct Borrowed(&'static Server);

impl Deref for Borrowed {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the shared server at {}:\n{}", self.address, self.log());
        }
    }
}

/// A stock redis-server to compare with.
pub(crate) struct Peer {
    process: Process,
    folder: Arc<Folder>,
    _port: Port,
    pub(crate) address: SocketAddr,
}

impl Peer {
    #[track_caller]
    pub(crate) fn start() -> Peer {
        Peer::start_with(&[])
    }

    #[track_caller]
    pub(crate) fn start_with(args: &[&str]) -> Peer {
        Peer::start_in(Folder::new(), args)
    }

    /// In a folder that may hold data already.
    #[track_caller]
    pub(crate) fn start_in(folder: impl Into<Arc<Folder>>, args: &[&str]) -> Peer {
        let folder = folder.into();
        let port = Port::new();
        let mut command = Command::new("redis-server");
        command.current_dir(&**folder).args(["--port", &port.number.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--enable-debug-command", "yes"]).args(args);
        let process = Process::start(&mut command, None);
        eventually("redis-server is ready", || {
            if let Some(status) = process.exited() {
                panic!("redis-server has ended ({status}):\n{}", process.log());
            }
            process.log().contains("Ready to accept connections")
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        Peer { process, folder, _port: port, address }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Kills it, and waits until it is over.
    pub(crate) fn kill(self) {
        self.process.signal(libc::SIGKILL);
        eventually("redis-server ends", || self.process.exited().is_some());
    }
}

/// A child process and what it prints.
struct Process {
    pid: u32,
    child: Mutex<Child>,
    log: Arc<Mutex<String>>,
}

impl Process {
    fn start(command: &mut Command, stdin: Option<Vec<u8>>) -> Process {
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = launch(command);
        if let Some(text) = stdin {
            let mut pipe = child.stdin.take().unwrap();
            let _ = pipe.write_all(&text);
        }
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), log.clone());
        collect(child.stderr.take().unwrap(), log.clone());
        Process { pid: child.id(), child: Mutex::new(child), log }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// How it ended, if it has; then all that it has printed is in the log.
    fn exited(&self) -> Option<ExitStatus> {
        let status = self.child.lock().unwrap().try_wait().unwrap()?;
        // The threads that read its pipes hold the log, too. A child of its own may keep a pipe open: not for ever.
        let start = Instant::now();
        while Arc::strong_count(&self.log) > 1 && start.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(status)
    }

    fn signal(&self, signal: libc::c_int) {
        let mut child = self.child.lock().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the process is over");
        // SAFETY: plain system call; the child has not been waited for, so its number is still its own.
        let sent = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "kill");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn collect(pipe: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            log.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

/// Starts a child that the kernel kills when the test process dies, however that happens. The kernel takes the death of
/// the thread that started the child for the death of its parent, so one thread that never ends starts them all.
fn launch(command: &mut Command) -> Child {
    type Order = (Command, mpsc::Sender<Child>);
    static LAUNCHER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
                let _ = reply.send(child);
            }
        });
        Mutex::new(orders)
    });
    // SAFETY: prctl is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let (reply, answer) = mpsc::channel();
    let order = std::mem::replace(command, Command::new("true"));
    launcher.lock().unwrap().send((order, reply)).expect("the launcher runs");
    answer.recv().expect("the program can be started")
}

/// The processors that this process may run on.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: zeroed bytes are a valid CPU set, which the kernel fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}
