//! A connection without any cleverness: bytes out, values in.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::value::Reader;
use super::{Value, DEADLINE};

/// One request in RESP.
pub(crate) fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A request written as words.
pub(crate) fn words(line: &str) -> Vec<u8> {
    request(&line.split(' ').collect::<Vec<_>>())
}

/// A connection to a server.
pub(crate) struct Client {
    reader: Reader<Stream>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Client { reader: Reader::new(Stream::Tcp(stream)) })
    }

    #[track_caller]
    pub(crate) fn connect_unix(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { reader: Reader::new(Stream::Unix(stream)) }
    }

    /// Sends a command written as words, and reads its reply.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> Value {
        self.send(&words(line));
        self.read()
    }

    /// Sends a command, and reads its reply.
    #[track_caller]
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(&request(args));
        self.read()
    }

    /// Runs a command that must be answered with OK.
    #[track_caller]
    pub(crate) fn ok(&mut self, line: &str) {
        assert_eq!(self.run(line), Value::simple("OK"), "{line}");
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(bytes)
    }

    #[track_caller]
    pub(crate) fn read(&mut self) -> Value {
        match self.try_read() {
            Ok(value) => value,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    pub(crate) fn try_read(&mut self) -> io::Result<Value> {
        self.reader.value()
    }

    #[track_caller]
    pub(crate) fn read_many(&mut self, count: usize) -> Vec<Value> {
        let mut values = Vec::with_capacity(count);
        for i in 0..count {
            match self.try_read() {
                Ok(value) => values.push(value),
                Err(error) => panic!("reply {i} of {count}: {error}"),
            }
        }
        values
    }

    /// Sends `bytes` while replies are read, as a client must that sends more than the buffers between can hold.
    #[track_caller]
    pub(crate) fn pipeline(&mut self, bytes: &[u8], replies: usize) -> Vec<Value> {
        let mut writer = self.writer();
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || writer.write_all(bytes));
            let values = self.read_many(replies);
            sender.join().expect("the sender runs").expect("the server takes what is sent");
            values
        })
    }

    /// How long a read may wait.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        match self.reader.stream() {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)).unwrap(),
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)).unwrap(),
        }
    }

    /// Everything up to the end of the connection, raw.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.reader.rest()
    }

    /// Sends nothing more; replies can still be read. The server may have ended the connection already.
    pub(crate) fn end_input(&mut self) {
        let _ = match self.reader.stream() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Goes away without a goodbye: the server's kernel sees a reset.
    pub(crate) fn vanish(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option's value is read from a live struct of the size given.
        let set = unsafe {
            libc::setsockopt(
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                std::ptr::from_ref(&linger).cast(),
                std::mem::size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        assert_eq!(set, 0, "SO_LINGER");
    }

    pub(crate) fn fd(&self) -> RawFd {
        match self.reader.stream() {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// A second handle for sending, say from another thread.
    pub(crate) fn writer(&self) -> Stream {
        match self.reader.stream() {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
        }
    }
}

/// A socket of either kind.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
