//! CLIENT LIST, CLIENT INFO and CLIENT KILL: how a client is described, and which clients are meant.

use super::session::{Session, SessionKind, State};
use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::MonoUs;
use crate::command::{CommandId, Table};
use crate::node::pubsub::Kind;
use crate::resp::Args;

/// One line of CLIENT LIST, without its line feed: Redis 7.2's fields in its order.
pub fn line(session: &Session, now: MonoUs, table: &Table) -> String {
    let Session { id, peer, input, replies, .. } = session;
    let command = match session.last_command {
        CommandId::NONE => "NULL",
        command => table.spec(command).name,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "id={id} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} \
         qbuf-free={} argv-mem=0 multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={} events=r cmd={command} \
         user=default redir=-1 resp={} lib-name={} lib-ver={}",
        peer.addr,
        peer.laddr,
        peer.fd,
        text(&session.name),
        now.since(session.connected) / 1_000_000,
        now.since(session.active) / 1_000_000,
        flags(session),
        session.db,
        session.subscriptions.of(Kind::Channel),
        session.subscriptions.of(Kind::Pattern),
        session.subscriptions.of(Kind::Shard),
        session.multi.as_ref().map_or(-1, |multi| multi.len() as i64),
        input.bytes.len(),
        input.bytes.capacity() - input.bytes.len(),
        session.multi.as_ref().map_or(0, |multi| multi.memory_bytes()),
        replies.out.capacity(),
        replies.out.capacity(),
        replies.out.len(),
        replies.queued(),
        replies.memory_bytes() - replies.out.capacity() + session.unsent_bytes,
        memory_bytes(session),
        session.proto.number(),
        text(&session.lib_name),
        text(&session.lib_ver),
    )
}

fn flags(session: &Session) -> String {
    let flags: String = [
        (matches!(session.kind, SessionKind::Replica | SessionKind::Feed), 'S'),
        (session.kind == SessionKind::Outgoing, 'M'),
        (session.monitor, 'O'),
        (session.is_subscriber(), 'P'),
        (session.multi.is_some(), 'x'),
        (session.blocked.is_some(), 'b'),
        (session.state == State::Closing, 'c'),
        (session.peer.unix, 'U'),
        (session.no_evict, 'e'),
        (session.no_touch, 'T'),
    ]
    .into_iter()
    .filter_map(|(is_set, flag)| is_set.then_some(flag))
    .collect();
    if flags.is_empty() {
        "N".to_owned()
    } else {
        flags
    }
}

/// The memory that a client takes.
pub fn memory_bytes(session: &Session) -> usize {
    std::mem::size_of::<Session>()
        + session.input.bytes.capacity()
        + session.input.spans.capacity() * std::mem::size_of::<crate::resp::Span>()
        + session.replies.memory_bytes()
        + session.unsent_bytes
        + session.subscription_bytes
        + session.multi.as_ref().map_or(0, |multi| multi.memory_bytes())
        + session.name.capacity()
        + session.lib_name.capacity()
        + session.lib_ver.capacity()
        + session.peer.addr.capacity()
        + session.peer.laddr.capacity()
}

/// The classes of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Ordinary ones, MONITOR included.
    Normal,
    /// The link to our primary.
    Master,
    /// Replicas.
    Replica,
    /// Those with a subscription.
    Pubsub,
}

impl ClientKind {
    fn parse(name: &[u8]) -> Result<ClientKind, CommandError> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientKind::Normal),
            b"master" => Ok(ClientKind::Master),
            b"slave" | b"replica" => Ok(ClientKind::Replica),
            b"pubsub" => Ok(ClientKind::Pubsub),
            _ => Err(CommandError::quoting("ERR Unknown client type '", name, "'")),
        }
    }

    fn of(session: &Session) -> ClientKind {
        match session.kind {
            SessionKind::Replica | SessionKind::Feed => ClientKind::Replica,
            SessionKind::Outgoing => ClientKind::Master,
            _ if session.is_subscriber() => ClientKind::Pubsub,
            _ => ClientKind::Normal,
        }
    }
}

/// Which clients CLIENT LIST is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    kind: Option<ClientKind>,
    /// These, in this order.
    pub ids: Option<Vec<u64>>,
}

impl ListFilter {
    /// The arguments of CLIENT LIST.
    ///
    /// # Errors
    /// An unknown type, an id that is no number, anything else.
    pub fn parse(args: Args<'_>) -> Result<ListFilter, CommandError> {
        if args.len() == 4 && args.is(2, "type") {
            return Ok(ListFilter { kind: Some(ClientKind::parse(args.at(3))?), ids: None });
        }
        if args.len() > 3 && args.is(2, "id") {
            let ids = args
                .iter_from(3)
                .map(|id| parse_i64(id).ok_or(CommandError::new("ERR Invalid client ID")))
                // No client has a negative number.
                .map(|id| id.map(|id| u64::try_from(id).unwrap_or(0)))
                .collect::<Result<_, _>>()?;
            return Ok(ListFilter { kind: None, ids: Some(ids) });
        }
        if args.len() != 2 {
            return Err(CommandError::SYNTAX);
        }
        Ok(ListFilter::default())
    }

    /// Whether a client is to be shown.
    pub fn takes(&self, session: &Session) -> bool {
        session.state != State::Closed
            && self.kind.is_none_or(|kind| kind == ClientKind::of(session))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&session.id.0))
    }
}

/// Which clients CLIENT KILL is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillFilter {
    id: Option<u64>,
    kind: Option<ClientKind>,
    addr: Option<Vec<u8>>,
    laddr: Option<Vec<u8>>,
    max_age_secs: Option<u64>,
    skips_asker: bool,
    /// `CLIENT KILL addr`: one client, and its absence is an error.
    pub is_old_form: bool,
    /// Who asks.
    pub asker: u64,
}

impl KillFilter {
    /// The arguments of CLIENT KILL, sent by client `asker`.
    ///
    /// # Errors
    /// What Redis says of each; MAXAGE is Redis 7.4's.
    pub fn parse(args: Args<'_>, asker: u64) -> Result<KillFilter, CommandError> {
        if args.len() == 3 {
            let addr = Some(args.at(2).to_vec());
            return Ok(KillFilter { addr, is_old_form: true, asker, ..KillFilter::default() });
        }
        let mut filter = KillFilter { skips_asker: true, asker, ..KillFilter::default() };
        let mut at = 2;
        while at < args.len() {
            let Some(value) = args.get(at + 1) else { return Err(CommandError::SYNTAX) };
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"id" => {
                    let refusal = CommandError::new("ERR client-id should be greater than 0");
                    filter.id = Some(positive(value).ok_or(refusal)?);
                }
                b"type" => filter.kind = Some(ClientKind::parse(value)?),
                b"addr" => filter.addr = Some(value.to_vec()),
                b"laddr" => filter.laddr = Some(value.to_vec()),
                b"user" => {
                    if value != b"default" {
                        return Err(CommandError::quoting("ERR No such user '", value, "'"));
                    }
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skips_asker = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skips_asker = false,
                b"maxage" => {
                    let number = parse_i64(value)
                        .ok_or(CommandError::new("ERR maxage is not an integer or out of range"))?;
                    let refusal = CommandError::new("ERR maxage should be greater than 0");
                    filter.max_age_secs =
                        Some(u64::try_from(number).ok().filter(|&age| age > 0).ok_or(refusal)?);
                }
                _ => return Err(CommandError::SYNTAX),
            }
            at += 2;
        }
        if args.len() < 3 {
            return Err(CommandError::SYNTAX);
        }
        Ok(filter)
    }

    /// Whether a client is meant.
    pub fn takes(&self, session: &Session, now: MonoUs) -> bool {
        let is_addr = |wanted: &Option<Vec<u8>>, addr: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_slice() == addr.as_bytes())
        };
        !matches!(session.state, State::Closed | State::Closing)
            && self.id.is_none_or(|id| id == session.id.0)
            && self.kind.is_none_or(|kind| kind == ClientKind::of(session))
            && is_addr(&self.addr, &session.peer.addr)
            && is_addr(&self.laddr, &session.peer.laddr)
            && self.max_age_secs.is_none_or(|age| now.since(session.connected) / 1_000_000 >= age)
            && !(self.skips_asker && session.id.0 == self.asker)
    }
}

fn positive(text: &[u8]) -> Option<u64> {
    parse_i64(text).and_then(|number| u64::try_from(number).ok()).filter(|&number| number > 0)
}

/// Whether a name can stand in CLIENT LIST: printable ASCII without spaces.
pub fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ClientId;
    use crate::resp::OwnedArgs;
    use crate::session::session::Peer;

    fn owned(words: &str) -> OwnedArgs {
        OwnedArgs::collect(words.split(' ').map(str::as_bytes))
    }

    fn session() -> Session {
        let peer = Peer {
            addr: "127.0.0.1:5".to_owned(),
            laddr: "127.0.0.1:6379".to_owned(),
            fd: 8,
            ..Peer::default()
        };
        Session::new(ClientId(7), peer, MonoUs(1_000_000))
    }

    #[test]
    fn a_line_has_redis_fields_in_its_order() {
        let table = Table::new(&[]).unwrap();
        let line = line(&session(), MonoUs(5_500_000), &table);
        let names: Vec<&str> = line.split(' ').map(|field| field.split('=').next().unwrap()).collect();
        assert_eq!(
            names.join(" "),
            "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl \
             oll omem tot-mem events cmd user redir resp lib-name lib-ver"
        );
        assert!(line
            .starts_with("id=7 addr=127.0.0.1:5 laddr=127.0.0.1:6379 fd=8 name= age=4 idle=4 flags=N db=0 "));
        assert!(line.ends_with(" cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver="), "{line}");
    }

    #[test]
    fn filters_say_who_is_meant() {
        let now = MonoUs(11_000_000);
        for (words, kills) in [
            ("client kill 127.0.0.1:5", true),
            ("client kill 127.0.0.1:6", false),
            ("client kill id 7", false),
            ("client kill id 7 skipme no", true),
            ("client kill laddr 127.0.0.1:6379 type normal skipme NO user default", true),
            ("client kill type pubsub skipme no", false),
            ("client kill maxage 10 skipme no", true),
            ("client kill maxage 11 skipme no", false),
        ] {
            let args = owned(words);
            let filter = KillFilter::parse(args.as_args(), 7).unwrap();
            assert_eq!(filter.takes(&session(), now), kills, "{words}");
        }
        for (words, text) in [
            ("client kill", "ERR syntax error"),
            ("client kill id", "No such"),
            ("client kill id 0 skipme", "ERR client-id should be greater than 0"),
            ("client kill type x", "ERR Unknown client type 'x'"),
            ("client kill user x", "ERR No such user 'x'"),
            ("client kill skipme maybe", "ERR syntax error"),
            ("client kill maxage 0", "ERR maxage should be greater than 0"),
        ] {
            let args = owned(words);
            match KillFilter::parse(args.as_args(), 7) {
                Err(error) => assert_eq!(error.text(), text),
                Ok(filter) => assert!(filter.is_old_form && text == "No such", "{words}"),
            }
        }
        let list = |words| ListFilter::parse(owned(words).as_args());
        assert!(list("client list id 7 8").unwrap().takes(&session()));
        assert!(!list("client list id 8").unwrap().takes(&session()));
        assert!(!list("client list type replica").unwrap().takes(&session()));
        assert_eq!(list("client list id x").unwrap_err().text(), "ERR Invalid client ID");
        assert_eq!(list("client list x").unwrap_err(), CommandError::SYNTAX);
    }

    #[test]
    fn names_must_fit_on_the_line() {
        assert!(is_valid_name(b"a-b") && is_valid_name(b""));
        assert!(!is_valid_name(b"a b") && !is_valid_name(b"a\n") && !is_valid_name("\u{e9}".as_bytes()));
    }
}
