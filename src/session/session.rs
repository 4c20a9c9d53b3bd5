//! What one client connection knows.

use super::blocked::Blocked;
use super::multi::{Multi, Rest, Watched};
use super::replica::ReplicaInfo;
use super::replies::Replies;
use crate::base::ids::{ClientId, DbIndex};
use crate::base::time::MonoUs;
use crate::command::CommandId;
use crate::config::{OutputBufferLimit, OutputBufferLimits};
use crate::node::pubsub::{append_message, Counts};
use crate::resp::decode::Progress;
use crate::resp::{Proto, Span};
use crate::shard::OwnedCall;

/// One client.
#[derive(Debug)]
pub struct Session {
    /// CLIENT ID.
    pub id: ClientId,
    /// Where it comes from.
    pub peer: Peer,
    /// What it may do next.
    pub state: State,
    /// Whether requests may take the short way: nothing about this session needs a look at each of them.
    /// Recomputed by `refresh_lane` whenever something that it depends on changes.
    pub fast: bool,
    /// SELECT.
    pub db: DbIndex,
    /// HELLO.
    pub proto: Proto,
    /// Whether it may run commands.
    pub authenticated: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// Whether it does again what a journal tells (`CallHead::replays`).
    pub replays: bool,
    /// MONITOR.
    pub monitor: bool,
    /// What is at its other end.
    pub kind: SessionKind,
    /// What it has said of itself as a replica.
    pub replica: Option<Box<ReplicaInfo>>,
    /// SUBSCRIBE and its kin.
    pub subscriptions: Counts,
    /// What these take on its core.
    pub subscription_bytes: usize,
    /// How many of the replies that it waits for are those of PUBLISH.
    pub publishing: u32,
    /// Bytes received and not yet run.
    pub input: Input,
    /// Replies owed.
    pub replies: Replies,
    /// What was queued since MULTI.
    pub multi: Option<Box<Multi>>,
    /// WATCH.
    pub watched: Vec<Watched>,
    /// Keys whose versions WATCH is asking for.
    pub watching: Vec<Watched>,
    /// EXEC, while it runs what is no business of the shards.
    pub exec: Option<Box<Rest>>,
    /// A command that will block if the transaction that tries it finds nothing.
    pub blocking: Option<OwnedCall>,
    /// What it waits for, in BLPOP and its kin.
    pub blocked: Option<Box<Blocked>>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO.
    pub lib_ver: Vec<u8>,
    /// When it connected.
    pub connected: MonoUs,
    /// When it last sent something.
    pub active: MonoUs,
    /// The last command, for CLIENT LIST.
    pub last_command: CommandId,
    /// Transactions and questions to other cores that it has under way.
    pub under_way: u32,
    /// Whether it is on its core's list of sessions with output.
    pub dirty: bool,
    /// Whether its requests stand in the batch that is being gathered.
    pub in_batch: bool,
    /// Whether the client has sent its last byte.
    pub at_end: bool,
    /// Whether the runtime was told not to read from it.
    pub throttled: bool,
    /// Whether whoever uses this link goes on when its output has left.
    pub goes_on_when_sent: bool,
    /// Output that the runtime has taken and the client's socket has not.
    pub unsent_bytes: usize,
    /// What it counts for in the memory of its core's clients.
    pub accounted_bytes: u64,
    /// When its output first passed the soft limit, if it still does.
    pub over_soft_limit_since: Option<MonoUs>,
}

/// What is at the other end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A client.
    Client,
    /// Nobody: the server's own commands are this session's, and there is no connection.
    Internal,
    /// Another server, to which we have connected. It is none of the clients, and its bytes are never requests: its
    /// state is `Wait::Link` for as long as it lives.
    Outgoing,
    /// A replica's control link.
    Replica,
    /// A replica's flow: what it sends is dropped, and what it is sent is a stream.
    Feed,
}

impl SessionKind {
    /// Whether somebody has connected to us, whom CLIENT LIST shows.
    pub fn is_visitor(self) -> bool {
        matches!(self, SessionKind::Client | SessionKind::Replica | SessionKind::Feed)
    }
}

/// The two ends of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// `127.0.0.1:50000`, or the socket's path with `:0` for a Unix socket, as CLIENT LIST shows it.
    pub addr: String,
    /// The same for our end.
    pub laddr: String,
    /// The file descriptor's number, for CLIENT LIST.
    pub fd: i32,
    /// Whether it came through the Unix socket.
    pub unix: bool,
    /// Whether it comes from this machine, for protected mode.
    pub local: bool,
}

/// What a session does with its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Runs it.
    Open,
    /// Keeps it until something else is over.
    Waiting(Wait),
    /// Nothing more is run; what is owed is sent, then the connection ends (QUIT, a protocol error).
    Closing,
    /// The connection is gone; the session stays until no reply is outstanding.
    Closed,
}

/// What a session waits for. Requests behind it wait, too: they must not overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its own outstanding replies: the next command must not start before they are in.
    Replies,
    /// A transaction over several shards.
    Txn,
    /// Answers of the other cores.
    Cores,
    /// CLIENT PAUSE.
    Pause,
    /// The client reads too slowly: its output is full.
    Output,
    /// Another core takes requests too slowly: its outbox is full.
    Outbox,
    /// Something in one of its keys (BLPOP).
    Keys,
    /// Memory is short, and it is for other cores to free some.
    Memory,
    /// More has been written than the disk has taken.
    Disk,
    /// Its connection is on its way to another core.
    Move,
    /// Nothing, ever: what it receives is for the owner of the link.
    Link,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The next command is not: `SKIP` was just sent.
    SkipNext,
    /// This command is not.
    Skip,
}

/// Received bytes that wait: the rest of a request under way, or requests that may not run yet.
#[derive(Debug, Default)]
pub struct Input {
    /// The bytes; a request begins at their start.
    pub bytes: Vec<u8>,
    /// How far the first request has been decoded.
    pub progress: Progress,
    /// Its arguments so far.
    pub spans: Vec<Span>,
}

impl Session {
    /// A client that has just connected.
    pub fn new(id: ClientId, peer: Peer, now: MonoUs) -> Self {
        Session {
            id,
            peer,
            state: State::Open,
            fast: false,
            db: DbIndex(0),
            proto: Proto::Resp2,
            authenticated: false,
            reply_mode: ReplyMode::On,
            no_touch: false,
            no_evict: false,
            replays: false,
            monitor: false,
            kind: SessionKind::Client,
            replica: None,
            subscriptions: Counts::default(),
            subscription_bytes: 0,
            publishing: 0,
            input: Input::default(),
            replies: Replies::default(),
            multi: None,
            watched: Vec::new(),
            watching: Vec::new(),
            exec: None,
            blocking: None,
            blocked: None,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            connected: now,
            active: now,
            last_command: CommandId::NONE,
            under_way: 0,
            dirty: false,
            in_batch: false,
            at_end: false,
            throttled: false,
            goes_on_when_sent: false,
            unsent_bytes: 0,
            accounted_bytes: 0,
            over_soft_limit_since: None,
        }
    }

    /// Sends what is no reply. While EXEC runs, what stands in `replies` belongs to one of its commands: the message
    /// goes before EXEC's reply.
    pub fn push_message(&mut self, message: &[u8]) {
        match &mut self.exec {
            Some(rest) => rest.before.extend_from_slice(message),
            None => self.replies.push(message),
        }
    }

    /// Hands over what somebody else has published. It goes ahead of replies that are still outstanding: a client that
    /// blocks gets its messages all the same. While EXEC runs it goes behind EXEC's reply, which may be what confirms
    /// the subscription.
    #[inline]
    pub fn push_publication(&mut self, message: &[u8]) {
        match &mut self.exec {
            Some(rest) => append_message(message, self.proto, &mut rest.after),
            None => append_message(message, self.proto, &mut self.replies.out),
        }
    }

    /// Hands over what it has published itself, as bytes for the wire: behind the reply that it is owed for that.
    pub fn push_own_publications(&mut self, messages: &[u8]) {
        match &mut self.exec {
            Some(rest) => rest.after.extend_from_slice(messages),
            None => self.replies.push(messages),
        }
    }

    /// The reply of an EXEC that CLIENT REPLY suppresses would take the confirmations of its commands with it, which it
    /// must not suppress.
    pub fn keep_for_silent_exec(&mut self, confirmation: &[u8]) {
        if let Some(rest) = self.exec.as_mut().filter(|rest| rest.is_silent) {
            rest.after.extend_from_slice(confirmation);
        }
    }

    /// Whether it listens to anything.
    #[inline]
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.total() > 0
    }

    /// Whether it may run only what has to do with its subscriptions: in RESP2 it could not tell replies from messages.
    #[inline]
    pub fn only_listens(&self) -> bool {
        self.proto == Proto::Resp2 && self.is_subscriber()
    }

    /// Replies that the client has not read yet.
    pub fn owed_bytes(&self) -> usize {
        let around_exec = self.exec.as_ref().map_or(0, |rest| rest.before.len() + rest.after.len());
        self.replies.pending_bytes() + around_exec + self.unsent_bytes
    }

    /// Whether more waits to be read by the client than the limit of its class allows. To be asked whenever it is owed
    /// more, and now and then: the soft limit counts from the first time that this finds it passed.
    #[inline]
    pub fn reads_too_slowly(&mut self, limits: &OutputBufferLimits, now: MonoUs) -> bool {
        let OutputBufferLimit { hard_bytes, soft_bytes, soft_secs } =
            if self.is_subscriber() { limits.pubsub } else { limits.normal };
        let owed = self.owed_bytes() as u64;
        let is_over_soft = soft_bytes > 0 && owed >= soft_bytes;
        let since = match self.over_soft_limit_since {
            Some(since) if is_over_soft => since,
            _ => now,
        };
        self.over_soft_limit_since = is_over_soft.then_some(since);
        let is_over_hard = hard_bytes > 0 && owed >= hard_bytes;
        is_over_hard || is_over_soft && now.since(since) > soft_secs.saturating_mul(1_000_000)
    }

    /// What to wait for when the client is owed too much: first all of it must be here, then it must leave.
    pub fn wait_for_output(&self) -> Wait {
        if self.replies.waiting() > 0 {
            Wait::Replies
        } else {
            Wait::Output
        }
    }

    /// Recomputes `fast`.
    pub fn refresh_lane(&mut self) {
        let is_ending = matches!(self.state, State::Closing | State::Closed);
        let is_plain =
            self.reply_mode == ReplyMode::On && !self.monitor && !self.only_listens() && self.multi.is_none();
        self.fast = self.authenticated && is_plain && !is_ending;
    }

    /// Whether a reply to the current command is to be thrown away.
    pub fn is_silent(&self) -> bool {
        // In EXEC every command has its place in the reply.
        self.exec.is_none() && matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// The command whose reply CLIENT REPLY SKIP suppressed is over.
    pub fn end_skip(&mut self) {
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
            self.refresh_lane();
        }
    }

    /// Back to how it was when it connected (RESET), but for authentication, which the caller decides.
    pub fn reset(&mut self) {
        self.db = DbIndex(0);
        self.proto = Proto::Resp2;
        self.reply_mode = ReplyMode::On;
        self.no_touch = false;
        self.no_evict = false;
        self.monitor = false;
        self.name.clear();
        self.refresh_lane();
    }
}

impl Input {
    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::pubsub::Kind;

    #[test]
    fn each_class_has_its_output_limit() {
        let mut session = Session::new(ClientId(1), Peer::default(), MonoUs(0));
        let pubsub = OutputBufferLimit { hard_bytes: 100, soft_bytes: 50, soft_secs: 2 };
        let limits = OutputBufferLimits { pubsub, ..OutputBufferLimits::usual() };
        let owe = |session: &mut Session, bytes: usize| session.replies.out = vec![b'x'; bytes];
        let secs = |secs: u64| MonoUs(secs * 1_000_000);
        owe(&mut session, 1000);
        assert!(!session.reads_too_slowly(&limits, secs(0)), "an ordinary client has no limit");
        session.subscriptions.change(Kind::Shard, true);
        assert!(session.reads_too_slowly(&limits, secs(0)));
        owe(&mut session, 99);
        session.over_soft_limit_since = None;
        for (bytes, at, expected) in
            [(99, 1, false), (99, 3, false), (50, 4, true), (49, 5, false), (50, 6, false), (99, 8, false)]
        {
            owe(&mut session, bytes);
            assert_eq!(session.reads_too_slowly(&limits, secs(at)), expected, "{bytes} bytes at {at}");
        }
        owe(&mut session, 40);
        session.unsent_bytes = 60;
        assert!(session.reads_too_slowly(&limits, secs(9)), "what the socket has not taken counts");
    }
}
