//! A small blocking client: asks whether a server is ready, loads the keys, holds idle connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::load::Sizes;
use crate::Result;

/// Requests written before their replies are read.
const BATCH: u64 = 500;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream })
    }

    pub(crate) fn ping(&mut self) -> io::Result<()> {
        self.stream.write_all(b"PING\r\n")?;
        self.expect(b"+PONG\r\n", 1)
    }

    /// Runs one command and returns its reply: a simple string, an integer, a bulk string, none as "".
    pub(crate) fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.write_all(request.as_bytes())?;
        let line = self.line()?;
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(line[1..].to_owned()),
            Some(b'$') => {
                let Ok(len) = line[1..].parse::<usize>() else { return Ok(String::new()) };
                let mut bytes = vec![0; len + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(len);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => Err(io::Error::other(line)),
        }
    }

    /// A line without its end, byte by byte: nothing behind it may be taken.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads `count` times `reply`.
    fn expect(&mut self, reply: &[u8], count: usize) -> io::Result<()> {
        let mut received = vec![0; reply.len() * count];
        let mut filled = 0;
        while filled < received.len() {
            let n = self.stream.read(&mut received[filled..])?;
            filled += n;
            if n == 0 || !received[..filled].chunks(reply.len()).all(|chunk| reply.starts_with(chunk)) {
                let said = String::from_utf8_lossy(&received[..filled]).into_owned();
                return Err(io::Error::other(format!("unexpected reply: {:.200}", said.trim())));
            }
        }
        Ok(())
    }
}

/// Loads keys 1 to `keys`, each with a time to live if there is one, and waits for every reply.
pub(crate) fn load(
    port: u16,
    keys: u64,
    ttl: Option<u32>,
    sizes: &Sizes,
    name: impl Fn(u64) -> String,
) -> Result<()> {
    let mut client = Client::connect(port)?;
    let value = vec![b'x'; sizes.max];
    let mut requests = Vec::new();
    let mut next = 1;
    while next <= keys {
        let end = keys.min(next + BATCH - 1);
        requests.clear();
        for i in next..=end {
            let key = name(i);
            // Any spread will do here: consecutive keys take the sizes in turn.
            let value = &value[..sizes.min + (i as usize) % (sizes.max - sizes.min + 1)];
            let count = if ttl.is_some() { 5 } else { 3 };
            write!(requests, "*{count}\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len())?;
            requests.extend_from_slice(value);
            requests.extend_from_slice(b"\r\n");
            if let Some(ttl) = ttl {
                let ttl = ttl.to_string();
                write!(requests, "$2\r\nEX\r\n${}\r\n{ttl}\r\n", ttl.len())?;
            }
        }
        client.stream.write_all(&requests)?;
        client.expect(b"+OK\r\n", (end - next + 1) as usize)?;
        next = end + 1;
    }
    Ok(())
}
