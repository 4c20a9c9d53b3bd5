//! A replica introduces itself: what it says on its control link, and what a primary may answer.
//!
//! ```text
//! PING -> [AUTH] -> REPLCONF listening-port -> [REPLCONF ip-address] -> REPLCONF capa eof capa psync2 capa ringward
//!      -> PSYNC
//! ```
//!
//! It is Redis's own handshake (`syncWithMaster`), one request at a time. A stock server answers the unknown capability
//! with OK, and PSYNC as usual. One of our own answers it with `+RINGWARD`, and PSYNC with
//! `+FLOWS number history parts streams`, and behind that, if its history went on from another one, where that ended
//! there (`token`). The replica then opens that many flows (the larger of the two counts), joins each by
//! `REPLCONF flow number index position`, and hears on each flow how it goes on (`FlowHead`).

use super::history::{write_positions, ReplId, Resume};
use super::token::Token;
use crate::base::num::{parse_position, parse_u64};
use crate::journal::{Sink, Word};

/// The longest line that a primary may answer with: it may name a position in each stream.
const LINE_BYTES_MAX: usize = 256 + 20 * super::history::STREAMS_MAX;

/// The most flows that a primary may ask for.
const FLOWS_MAX: u64 = super::history::STREAMS_MAX as u64;

/// What the replica says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// `masteruser` and `masterauth`; the latter empty where none is set.
    pub user: Vec<u8>,
    /// See `user`.
    pub password: Vec<u8>,
    /// `replica-announce-port`, or `port`.
    pub port: u16,
    /// `replica-announce-ip`, if set.
    pub ip: Vec<u8>,
}

/// What the primary is, and what it will send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// One of our own: flows are to be opened.
    Flows {
        /// How the primary calls this meeting.
        number: u64,
        /// Its history.
        id: ReplId,
        /// Of how many parts a snapshot is.
        parts: u16,
        /// How many streams there are.
        streams: u16,
        /// Where the history before it ended, if there was one.
        elder: Option<Token>,
    },
    /// A stock server sends a snapshot.
    Full {
        /// Its history.
        id: ReplId,
        /// The offset of the first byte behind the snapshot, less one.
        offset: u64,
    },
    /// A stock server goes on where the replica is.
    Continue {
        /// Its history, if it has another one now.
        id: Option<ReplId>,
    },
}

/// What a line has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next request is written.
    Next,
    /// What the log should say; the next request is written.
    Note(String),
    /// The handshake is over.
    Welcome(Welcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ping,
    Auth,
    Port,
    Address,
    Capabilities,
    Psync,
}

/// See the module.
#[derive(Debug)]
pub struct Handshake {
    introduction: Introduction,
    resume: Option<Resume>,
    /// Whether the other is to become a primary by this.
    demands: bool,
    step: Step,
    /// Whether the primary is one of our own.
    is_native: bool,
}

impl Handshake {
    /// Begins: the first request goes to `out`. `resume` is what is to be gone on from, if anything is; `demands` asks
    /// a replica to become the primary (`PSYNC .. FAILOVER`).
    pub fn new(
        introduction: Introduction,
        resume: Option<Resume>,
        demands: bool,
        out: &mut Vec<u8>,
    ) -> Handshake {
        out.command([Word::from("PING")]);
        Handshake { introduction, resume, demands, step: Step::Ping, is_native: false }
    }

    /// Whether PSYNC has been sent, and its answer is what comes next.
    pub fn awaits_welcome(&self) -> bool {
        self.step == Step::Psync
    }

    /// The primary has answered with this line, without its end; the next request goes to `out`.
    ///
    /// # Errors
    /// The link is to be given up: why, for the log.
    pub fn hear(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<Heard, String> {
        let text = || String::from_utf8_lossy(line).into_owned();
        let is_error = line.first() == Some(&b'-');
        match self.step {
            Step::Ping => {
                let is_alive = line.first() == Some(&b'+')
                    || ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"]
                        .iter()
                        .any(|prefix| line.starts_with(prefix.as_bytes()));
                if !is_alive {
                    return Err(format!("Error reply to PING from master: '{}'", text()));
                }
                match self.introduction.password.is_empty() {
                    true => self.say_port(out),
                    false => {
                        self.step = Step::Auth;
                        write_auth(&self.introduction, out);
                    }
                }
                Ok(Heard::Next)
            }
            Step::Auth => {
                if is_error {
                    return Err(format!("Unable to AUTH to MASTER: {}", text()));
                }
                self.say_port(out);
                Ok(Heard::Next)
            }
            Step::Port => {
                if self.introduction.ip.is_empty() {
                    self.say_capabilities(out);
                } else {
                    self.step = Step::Address;
                    let ip = Word::from(&self.introduction.ip[..]);
                    out.command([Word::from("REPLCONF"), Word::from("ip-address"), ip]);
                }
                Ok(uncritical(is_error, "listening-port", &text()))
            }
            Step::Address => {
                self.say_capabilities(out);
                Ok(uncritical(is_error, "ip-address", &text()))
            }
            Step::Capabilities => {
                self.is_native = line.starts_with(b"+RINGWARD");
                self.say_psync(out);
                Ok(uncritical(is_error, "capa", &text()))
            }
            Step::Psync => parse_welcome(line, self.is_native).map(Heard::Welcome),
        }
    }

    fn say_port(&mut self, out: &mut Vec<u8>) {
        self.step = Step::Port;
        let port = Word::Int(i64::from(self.introduction.port));
        out.command([Word::from("REPLCONF"), Word::from("listening-port"), port]);
    }

    fn say_capabilities(&mut self, out: &mut Vec<u8>) {
        self.step = Step::Capabilities;
        out.command(["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "ringward"]);
    }

    fn say_psync(&mut self, out: &mut Vec<u8>) {
        self.step = Step::Psync;
        let (id, at) = match &self.resume {
            Some(resume) if self.is_native => (resume.id.to_string(), write_positions(&resume.at)),
            // The first byte that is missing. Only what came as one stream can be gone on with as one; but who is to
            // become the primary has been sent one.
            Some(resume) if resume.at.len() == 1 || self.demands => {
                (resume.id.to_string(), resume.offset.saturating_add(1).to_string())
            }
            _ => ("?".to_owned(), "-1".to_owned()),
        };
        match self.demands {
            true => out.command(["PSYNC", &id, &at, "FAILOVER"]),
            false => out.command(["PSYNC", &id, &at]),
        }
    }
}

/// Writes AUTH as `masteruser` and `masterauth` say.
pub fn write_auth(introduction: &Introduction, out: &mut Vec<u8>) {
    let (user, password) = (&introduction.user[..], &introduction.password[..]);
    match user.is_empty() {
        true => out.command([Word::from("AUTH"), Word::from(password)]),
        false => out.command([Word::from("AUTH"), Word::from(user), Word::from(password)]),
    }
}

fn uncritical(is_error: bool, option: &str, answer: &str) -> Heard {
    match is_error {
        true => Heard::Note(format!("(Non critical) Master does not understand REPLCONF {option}: {answer}")),
        false => Heard::Next,
    }
}

fn parse_welcome(line: &[u8], is_native: bool) -> Result<Welcome, String> {
    let text = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let bad = || format!("Bad reply to PSYNC from master: {text}");
    match words.next() {
        Some(b"+FLOWS") if is_native => {
            let mut number = |max: u64| words.next().and_then(parse_u64).filter(|&number| number <= max);
            let meeting = number(u64::MAX).ok_or_else(bad)?;
            let id = words.next().and_then(ReplId::parse).ok_or_else(bad)?;
            let mut count = || words.next().and_then(parse_u64).filter(|&count| count <= FLOWS_MAX);
            let (parts, streams) = (count().ok_or_else(bad)?, count().ok_or_else(bad)?);
            let elder = words.next().map(|word| Token::parse(word).ok_or_else(bad)).transpose()?;
            match parts > 0 && streams > 0 {
                true => {
                    let (parts, streams) = (parts as u16, streams as u16);
                    Ok(Welcome::Flows { number: meeting, id, parts, streams, elder })
                }
                false => Err(bad()),
            }
        }
        Some(b"+FULLRESYNC") => {
            let id = words.next().and_then(ReplId::parse).ok_or_else(bad)?;
            let offset = words.next().and_then(parse_position).ok_or_else(bad)?;
            Ok(Welcome::Full { id, offset })
        }
        Some(b"+CONTINUE") => Ok(Welcome::Continue { id: words.next().and_then(ReplId::parse) }),
        _ if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") => {
            Err(format!("Master is currently unable to PSYNC but should be in the future: {text}"))
        }
        _ => Err(format!("Unexpected reply to PSYNC from master: {text}")),
    }
}

/// Begins a piece of a snapshot or of a stream on a flow: `$length`, and so many bytes follow. Between pieces there may
/// be empty lines, which are signs of life.
pub fn write_piece_head(len: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), len);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(b'$');
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// What a primary says on a flow before it sends anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowHead {
    /// `+PART`: this flow's share of a snapshot follows, in pieces: `$length`, so many bytes, and `$0` at its end.
    Part,
    /// `+STREAM raw offset`: the records from that position on follow, in pieces without an end.
    Stream {
        /// The position.
        raw: u64,
        /// The same as a Redis peer would count.
        offset: u64,
    },
    /// `+CONTINUE`: the records from the position on follow that was asked for, in pieces without an end.
    Continue,
    /// `+DONE`: nothing follows; this flow was for its part alone.
    Done,
}

impl FlowHead {
    /// Writes the line.
    pub fn write(self, out: &mut Vec<u8>) {
        let line = match self {
            FlowHead::Part => "+PART\r\n".to_owned(),
            FlowHead::Stream { raw, offset } => format!("+STREAM {raw} {offset}\r\n"),
            FlowHead::Continue => "+CONTINUE\r\n".to_owned(),
            FlowHead::Done => "+DONE\r\n".to_owned(),
        };
        out.extend_from_slice(line.as_bytes());
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// It is none, for the log.
    pub fn parse(line: &[u8]) -> Result<FlowHead, String> {
        let mut words = line.split(|&byte| byte == b' ');
        let head = match words.next() {
            Some(b"+PART") => Some(FlowHead::Part),
            Some(b"+CONTINUE") => Some(FlowHead::Continue),
            Some(b"+DONE") => Some(FlowHead::Done),
            Some(b"+STREAM") => {
                let mut position = || words.next().and_then(parse_position);
                position().zip(position()).map(|(raw, offset)| FlowHead::Stream { raw, offset })
            }
            _ => None,
        };
        let bad = || format!("Unexpected reply on a flow: {}", String::from_utf8_lossy(line));
        head.filter(|_| words.next().is_none()).ok_or_else(bad)
    }
}

/// Bytes that come in pieces, taken apart into lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    /// More bytes have come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line without its end, if it is whole. Empty lines are signs of life, and are left out.
    ///
    /// # Errors
    /// It is too long to be one.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let Some(len) = memchr::memchr(b'\n', &self.buffer) else {
                return match self.buffer.len() > LINE_BYTES_MAX {
                    true => Err("a line without an end".to_owned()),
                    false => Ok(None),
                };
            };
            let mut line: Vec<u8> = self.buffer.drain(..=len).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// What is behind the last line that was taken, up to so many bytes of it.
    pub fn take(&mut self, max: usize) -> Vec<u8> {
        let behind = self.buffer.split_off(max.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, behind)
    }

    /// All that is behind the last line that was taken.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// How many bytes were fed and not taken.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the primary; what the replica said, and how it ended.
    fn play(
        introduction: Introduction,
        resume: Option<Resume>,
        answers: &[&str],
    ) -> (Vec<String>, Result<Heard, String>) {
        play_as(introduction, resume, false, answers)
    }

    fn play_as(
        introduction: Introduction,
        resume: Option<Resume>,
        demands: bool,
        answers: &[&str],
    ) -> (Vec<String>, Result<Heard, String>) {
        let mut out = Vec::new();
        let mut handshake = Handshake::new(introduction, resume, demands, &mut out);
        let mut said = Vec::new();
        let mut result = Ok(Heard::Next);
        for answer in answers {
            said.push(shown(&out));
            out.clear();
            result = handshake.hear(answer.as_bytes(), &mut out);
            if result.is_err() {
                break;
            }
        }
        if !out.is_empty() {
            said.push(shown(&out));
        }
        (said, result)
    }

    fn shown(bytes: &[u8]) -> String {
        let mut reader = crate::journal::Reader::new(0);
        reader.feed(bytes);
        reader.next().unwrap().map(|item| item.to_string()).unwrap_or_default()
    }

    fn id(letter: char) -> String {
        letter.to_string().repeat(40)
    }

    #[test]
    fn a_stock_server_is_asked_as_a_stock_replica_asks() {
        let introduction = Introduction { port: 6380, ..Introduction::default() };
        let full = format!("+FULLRESYNC {} 14", id('a'));
        let answers = ["+PONG", "+OK", "+OK", full.as_str()];
        let (said, heard) = play(introduction.clone(), None, &answers);
        assert_eq!(
            said,
            [
                "PING",
                "REPLCONF listening-port 6380",
                "REPLCONF capa eof capa psync2 capa ringward",
                "PSYNC ? -1"
            ]
        );
        let a = ReplId::parse(id('a').as_bytes()).unwrap();
        assert_eq!(heard, Ok(Heard::Welcome(Welcome::Full { id: a, offset: 14 })));
        let resume = Resume { id: a, at: [14].into_iter().collect(), offset: 14 };
        let (said, heard) = play(introduction, Some(resume), &["+PONG", "+OK", "+OK", "+CONTINUE"]);
        assert_eq!(said.last().unwrap(), &format!("PSYNC {} 15", id('a')));
        assert_eq!(heard, Ok(Heard::Welcome(Welcome::Continue { id: None })));
    }

    #[test]
    fn one_of_our_own_is_asked_for_flows() {
        let introduction = Introduction {
            user: b"repl".to_vec(),
            password: b"secret".to_vec(),
            port: 1,
            ip: b"10.0.0.2".to_vec(),
        };
        let a = ReplId::parse(id('a').as_bytes()).unwrap();
        let resume = Resume { id: a, at: [14, 20].into_iter().collect(), offset: 30 };
        let flows = format!("+FLOWS 7 {} 2 3", id('b'));
        let answers = ["-NOAUTH Authentication required.", "+OK", "+OK", "+OK", "+RINGWARD 1", &flows];
        let (said, heard) = play(introduction, Some(resume), &answers);
        assert_eq!(
            said,
            [
                "PING",
                "AUTH repl secret",
                "REPLCONF listening-port 1",
                "REPLCONF ip-address 10.0.0.2",
                "REPLCONF capa eof capa psync2 capa ringward",
                &format!("PSYNC {} 14,20", id('a')),
            ]
        );
        let b = ReplId::parse(id('b').as_bytes()).unwrap();
        let welcome = |elder| Welcome::Flows { number: 7, id: b, parts: 2, streams: 3, elder };
        assert_eq!(heard, Ok(Heard::Welcome(welcome(None))));
        let elder = format!("{a}:1,2,3");
        let line = format!("+FLOWS 7 {b} 2 3 {elder}");
        assert_eq!(parse_welcome(line.as_bytes(), true), Ok(welcome(Token::parse(elder.as_bytes()))));
        assert!(parse_welcome(format!("+FLOWS 7 {b} 2 3 {a}").as_bytes(), true).is_err());
    }

    #[test]
    fn a_replica_is_asked_to_take_over() {
        let a = ReplId::parse(id('a').as_bytes()).unwrap();
        let resume = Resume { id: a, at: [9, 5].into_iter().collect(), offset: 14 };
        for (capa, at) in [("+OK", "15"), ("+RINGWARD 1", "9,5")] {
            let answers = ["+PONG", "+OK", capa];
            let (said, _) = play_as(Introduction::default(), Some(resume.clone()), true, &answers);
            assert_eq!(said.last().unwrap(), &format!("PSYNC {} {at} FAILOVER", id('a')));
        }
    }

    #[test]
    fn what_a_primary_refuses_ends_the_link_or_is_noted() {
        let with_password = Introduction { password: b"x".to_vec(), ..Introduction::default() };
        for (introduction, answers, reason) in [
            (Introduction::default(), &["-LOADING loading"][..], "Error reply to PING"),
            (with_password, &["+PONG", "-WRONGPASS no"], "Unable to AUTH to MASTER: -WRONGPASS no"),
            (
                Introduction::default(),
                &["+PONG", "+OK", "+OK", "-NOMASTERLINK no"],
                "currently unable to PSYNC",
            ),
            (Introduction::default(), &["+PONG", "+OK", "+OK", "-ERR x"], "Unexpected reply to PSYNC"),
            (Introduction::default(), &["+PONG", "+OK", "+OK", "+FULLRESYNC x 1"], "Bad reply to PSYNC"),
            (Introduction::default(), &["+PONG", "+OK", "+RINGWARD", "+FLOWS 1 x 1 1"], "Bad reply to PSYNC"),
        ] {
            let (_, result) = play(introduction, None, answers);
            assert!(result.clone().unwrap_err().contains(reason), "{result:?}");
        }
        let too_far = format!("+FULLRESYNC {} 9223372036854775808", id('a'));
        let answers = ["+PONG", "+OK", "+OK", &too_far];
        assert!(play(Introduction::default(), None, &answers).1.is_err());
        let flows = format!("+FLOWS 1 {} 0 5000", id('a'));
        let answers = ["+PONG", "+OK", "+RINGWARD", &flows];
        assert!(play(Introduction::default(), None, &answers).1.is_err());
        let (_, result) = play(Introduction::default(), None, &["+PONG", "-ERR unknown"]);
        assert!(matches!(result, Ok(Heard::Note(note)) if note.contains("listening-port: -ERR unknown")));
    }

    #[test]
    fn heads_and_lines_are_read() {
        for head in
            [FlowHead::Part, FlowHead::Continue, FlowHead::Done, FlowHead::Stream { raw: 7, offset: 5 }]
        {
            let mut out = Vec::new();
            head.write(&mut out);
            let mut lines = Lines::default();
            lines.feed(b"\n\n");
            lines.feed(&out);
            lines.feed(b"rest");
            let line = lines.next_line().unwrap().unwrap();
            assert_eq!(FlowHead::parse(&line), Ok(head));
            assert_eq!(lines.next_line(), Ok(None));
            assert_eq!(lines.take_rest(), b"rest");
        }
        let too_far = ["+STREAM 9223372036854775808 1", "+STREAM 1 9223372036854775808"];
        for line in ["+STREAM 1", "+STREAM 1 2 3", "+PART x", "-ERR", ""].into_iter().chain(too_far) {
            assert!(FlowHead::parse(line.as_bytes()).is_err(), "{line}");
        }
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert!(lines.next_line().is_err());
        let mut lines = Lines::default();
        lines.feed(b"abcdef");
        assert_eq!((lines.take(4), lines.waiting()), (b"abcd".to_vec(), 2));
        assert_eq!((lines.take(4), lines.waiting()), (b"ef".to_vec(), 0));
    }
}
