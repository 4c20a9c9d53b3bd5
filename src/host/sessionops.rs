//! Commands that concern the connection alone: they run at once, on the client's core.

use super::batch::Flow;
use super::host::Host;
use crate::base::error::CommandError;
use crate::base::ids::DbIndex;
use crate::base::num::parse_i64;
use crate::base::time::Ticks;
use crate::command::spec::SessionOp;
use crate::command::{docs, help, introspect, CommandId};
use crate::node::process::REDIS_VERSION;
use crate::resp::{Args, Proto, Reply};
use crate::session::clients;
use crate::session::session::ReplyMode;
use crate::session::Wait;

/// The only user.
const DEFAULT_USER: &[u8] = b"default";

const BAD_NAME: CommandError =
    CommandError::new("ERR Client names cannot contain spaces, newlines or special characters.");

impl<T: Ticks> Host<T> {
    /// Runs a command of the session.
    pub(super) fn session_command(
        &mut self,
        index: u32,
        command: CommandId,
        op: SessionOp,
        args: Args<'_>,
    ) -> Flow {
        match self.try_session_command(index, command, op, args) {
            Ok(flow) => flow,
            Err(error) => self.fail(index, command, &error),
        }
    }

    /// Answers a command that has failed.
    pub(super) fn fail(&mut self, index: u32, command: CommandId, error: &CommandError) -> Flow {
        self.command_stats[command.index()].failed += 1;
        self.reply_error(index, error);
        Flow::Next
    }

    fn try_session_command(
        &mut self,
        index: u32,
        command: CommandId,
        op: SessionOp,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        match op {
            SessionOp::Auth => self.auth(index, args)?,
            SessionOp::Hello => {
                // Messages do not wait for outstanding replies: none may come in another protocol ahead of them.
                let Some(session) = self.session(index) else { return Ok(Flow::Next) };
                if session.is_subscriber() && session.replies.waiting() > 0 {
                    return Ok(self.keep_for(index, Wait::Replies));
                }
                self.hello(index, args)?;
            }
            SessionOp::Select => self.select(index, args)?,
            SessionOp::Ping => match args.len() {
                1 | 2 if self.session(index).is_some_and(|session| session.only_listens()) => {
                    self.reply(index, |reply| {
                        reply.array(2);
                        reply.bulk(b"pong");
                        reply.bulk(args.get(1).unwrap_or_default());
                    });
                }
                1 => self.reply(index, |reply| reply.simple("PONG")),
                2 => self.reply(index, |reply| reply.bulk(args.at(1))),
                _ => return Err(CommandError::arity("ping")),
            },
            SessionOp::Echo => self.reply(index, |reply| reply.bulk(args.at(1))),
            SessionOp::Quit => {
                self.reply_ok(index);
                self.close(index, false);
            }
            SessionOp::Reset => self.reset(index),
            SessionOp::Replconf => return self.replconf(index, args),
            SessionOp::Psync => return self.psync(index, args),
            SessionOp::Multi
            | SessionOp::Exec
            | SessionOp::Discard
            | SessionOp::Watch
            | SessionOp::Unwatch => {
                return self.multi_command(index, command, op, args);
            }
            SessionOp::Psubscribe
            | SessionOp::Publish
            | SessionOp::PubsubHelp
            | SessionOp::Punsubscribe
            | SessionOp::Spublish
            | SessionOp::Ssubscribe
            | SessionOp::Subscribe
            | SessionOp::Sunsubscribe
            | SessionOp::Unsubscribe => return self.pubsub_command(index, op, args),
            SessionOp::Wait | SessionOp::Waitaof | SessionOp::Waitfor | SessionOp::Waittoken => {
                return self.wait_command(index, op, args);
            }
            SessionOp::Time => {
                let unix_us = self.now.unix_us;
                self.reply(index, |reply| {
                    reply.array(2);
                    reply.bulk_int(unix_us.div_euclid(1_000_000));
                    reply.bulk_int(unix_us.rem_euclid(1_000_000));
                });
            }
            SessionOp::Lolwut => {
                if args.len() >= 3 && args.is(1, "version") {
                    parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
                }
                let text = format!("Redis ver. {REDIS_VERSION}\n");
                self.reply(index, |reply| reply.verbatim("txt", text.as_bytes()));
            }
            SessionOp::ClientCaching
            | SessionOp::ClientGetredir
            | SessionOp::ClientTracking
            | SessionOp::ClientTrackinginfo => self.tracking(index, op, args)?,
            SessionOp::ClientGetname => {
                let name = self.session(index).map(|session| session.name.clone()).unwrap_or_default();
                self.reply(index, |reply| match name.as_slice() {
                    b"" => reply.null(),
                    name => reply.bulk(name),
                });
            }
            SessionOp::ClientHelp => self.reply(index, |reply| help::write_help(args, help::CLIENT, reply)),
            SessionOp::ClientId => {
                let id = self.session(index).map_or(0, |session| session.id.0);
                self.reply(index, |reply| reply.int(id as i64));
            }
            SessionOp::ClientInfo => {
                if let Some(session) = self.sessions[index as usize].as_deref() {
                    let line = clients::line(session, self.now.mono, &self.table) + "\n";
                    self.reply(index, |reply| reply.verbatim("txt", line.as_bytes()));
                }
            }
            SessionOp::ClientNoEvict | SessionOp::ClientNoTouch => {
                let is_on = on_or_off(args.at(2))?;
                if let Some(session) = self.session(index) {
                    match op {
                        SessionOp::ClientNoEvict => session.no_evict = is_on,
                        _ => session.no_touch = is_on,
                    }
                }
                self.reply_ok(index);
            }
            SessionOp::ClientReply => self.client_reply(index, args)?,
            SessionOp::ClientSetinfo => self.set_info(index, args)?,
            SessionOp::ClientSetname => {
                let name = args.at(2);
                if !clients::is_valid_name(name) {
                    return Err(BAD_NAME);
                }
                if let Some(session) = self.session(index) {
                    session.name = name.to_vec();
                }
                self.reply_ok(index);
            }
            SessionOp::Command => self.introspect(index, introspect::command),
            SessionOp::CommandCount => self.introspect(index, introspect::command_count),
            SessionOp::CommandInfo => {
                self.introspect(index, |table, reply| introspect::command_infos(table, args, reply));
            }
            SessionOp::CommandDocs => {
                self.introspect(index, |table, reply| docs::command_docs(table, args, reply));
            }
            SessionOp::CommandHelp => self.reply(index, |reply| help::write_help(args, help::COMMAND, reply)),
            SessionOp::CommandList => {
                self.try_introspect(index, |table, reply| introspect::command_list(table, args, reply))?;
            }
            SessionOp::CommandGetkeys | SessionOp::CommandGetkeysandflags => {
                let with_flags = op == SessionOp::CommandGetkeysandflags;
                self.try_introspect(index, |table, reply| {
                    introspect::command_getkeys(table, args, with_flags, reply)
                })?;
            }
        }
        Ok(Flow::Next)
    }

    fn introspect(&mut self, index: u32, write: impl FnOnce(&crate::command::Table, &mut Reply<'_>)) {
        let table = self.table.clone();
        self.reply(index, |reply| write(&table, reply));
    }

    fn try_introspect(
        &mut self,
        index: u32,
        write: impl FnOnce(&crate::command::Table, &mut Reply<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let proto = self.session(index).map_or(Proto::Resp2, |session| session.proto);
        let mut out = Vec::new();
        write(&self.table, &mut Reply::new(&mut out, proto))?;
        self.reply(index, |reply| reply.raw(&out));
        Ok(())
    }

    fn auth(&mut self, index: u32, args: Args<'_>) -> Result<(), CommandError> {
        let (user, password) = match args.len() {
            2 if self.config.security.requirepass.is_empty() => {
                return Err(CommandError::new(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            2 => (DEFAULT_USER, args.at(1)),
            3 => (args.at(1), args.at(2)),
            _ => return Err(CommandError::SYNTAX),
        };
        self.authenticate(index, user, password)?;
        self.reply_ok(index);
        Ok(())
    }

    /// Whether this is a user's password.
    pub(super) fn is_password(&self, user: &[u8], password: &[u8]) -> bool {
        let secret = &self.config.security.requirepass;
        // Without a password the default user may come with any.
        user == DEFAULT_USER && (is_same_secret(password, secret) || secret.is_empty())
    }

    /// A failed attempt leaves the session as it was.
    fn authenticate(&mut self, index: u32, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
        if !self.is_password(user, password) {
            self.stats.auth_failures += 1;
            return Err(CommandError::WRONG_PASS);
        }
        if let Some(session) = self.session(index) {
            session.authenticated = true;
            session.refresh_lane();
        }
        Ok(())
    }

    fn hello(&mut self, index: u32, args: Args<'_>) -> Result<(), CommandError> {
        let Hello { proto, credentials, name } = Hello::parse(args)?;
        if let Some((user, password)) = credentials {
            self.authenticate(index, user, password)?;
        }
        let Some(session) = self.session(index) else { return Ok(()) };
        if !session.authenticated {
            return Err(CommandError::new(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                 <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                 the same time",
            ));
        }
        if let Some(name) = name {
            session.name = name.to_vec();
        }
        session.proto = proto.unwrap_or(session.proto);
        session.refresh_lane();
        let (proto, id) = (session.proto, session.id);
        let role: &[u8] = if self.replication.is_replica { b"replica" } else { b"master" };
        self.reply(index, |reply| {
            reply.map(7);
            reply.bulk(b"server");
            reply.bulk(b"redis");
            reply.bulk(b"version");
            reply.bulk(REDIS_VERSION.as_bytes());
            reply.bulk(b"proto");
            reply.int(proto.number().into());
            reply.bulk(b"id");
            reply.int(id.0 as i64);
            reply.bulk(b"mode");
            reply.bulk(b"standalone");
            reply.bulk(b"role");
            reply.bulk(role);
            reply.bulk(b"modules");
            reply.array(0);
        });
        Ok(())
    }

    fn select(&mut self, index: u32, args: Args<'_>) -> Result<(), CommandError> {
        let number = parse_i64(args.at(1)).ok_or(CommandError::NOT_INTEGER)?;
        let number = i32::try_from(number).map_err(|_| {
            CommandError::new("ERR value is out of range, value must between -2147483648 and 2147483647")
        })?;
        let db = u16::try_from(number).ok().filter(|&db| db < super::host::databases(&self.config));
        let db = db.ok_or(CommandError::DB_RANGE)?;
        if let Some(session) = self.session(index) {
            session.db = DbIndex(db);
        }
        self.reply_ok(index);
        Ok(())
    }

    fn reset(&mut self, index: u32) {
        self.remove_monitor(index);
        self.unsubscribe_from_all(index);
        self.discard(index);
        let needs_password = !self.config.security.requirepass.is_empty();
        if let Some(session) = self.session(index) {
            session.authenticated = !needs_password;
            session.reset();
        }
        self.reply(index, |reply| reply.simple("RESET"));
    }

    fn client_reply(&mut self, index: u32, args: Args<'_>) -> Result<(), CommandError> {
        let Some(session) = self.session(index) else { return Ok(()) };
        if args.is(2, "on") {
            session.reply_mode = ReplyMode::On;
        } else if args.is(2, "off") {
            session.reply_mode = ReplyMode::Off;
        } else if args.is(2, "skip") {
            if session.reply_mode != ReplyMode::Off {
                session.reply_mode = ReplyMode::SkipNext;
            }
        } else {
            return Err(CommandError::SYNTAX);
        }
        session.refresh_lane();
        if args.is(2, "on") {
            self.reply_ok(index);
        }
        Ok(())
    }

    fn set_info(&mut self, index: u32, args: Args<'_>) -> Result<(), CommandError> {
        let (name, value) = (args.at(2), args.at(3));
        let is_name = name.eq_ignore_ascii_case(b"lib-name");
        if !is_name && !name.eq_ignore_ascii_case(b"lib-ver") {
            return Err(CommandError::quoting("ERR Unrecognized option '", name, "'"));
        }
        if !clients::is_valid_name(value) {
            let name = String::from_utf8_lossy(name);
            return Err(CommandError::with(format!(
                "ERR {name} cannot contain spaces, newlines or special characters."
            )));
        }
        if let Some(session) = self.session(index) {
            let field = if is_name { &mut session.lib_name } else { &mut session.lib_ver };
            *field = value.to_vec();
        }
        self.reply_ok(index);
        Ok(())
    }

    /// There is no client side caching yet: these answer what Redis answers while it is off.
    fn tracking(&mut self, index: u32, op: SessionOp, args: Args<'_>) -> Result<(), CommandError> {
        match op {
            SessionOp::ClientCaching => {
                return Err(CommandError::new(
                    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                     mode enabled",
                ));
            }
            SessionOp::ClientGetredir => self.reply(index, |reply| reply.int(-1)),
            SessionOp::ClientTracking => {
                if args.is(2, "on") {
                    return Err(CommandError::new("ERR Client tracking is not supported by this server yet"));
                } else if !args.is(2, "off") {
                    return Err(CommandError::SYNTAX);
                }
                self.reply_ok(index);
            }
            _ => self.reply(index, |reply| {
                reply.map(3);
                reply.bulk(b"flags");
                reply.set(1);
                reply.bulk(b"off");
                reply.bulk(b"redirect");
                reply.int(-1);
                reply.bulk(b"prefixes");
                reply.array(0);
            }),
        }
        Ok(())
    }
}

fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    match word {
        word if word.eq_ignore_ascii_case(b"on") => Ok(true),
        word if word.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(CommandError::SYNTAX),
    }
}

/// What HELLO asks for.
pub(super) struct Hello<'a> {
    /// The version of the protocol, if it is named.
    pub proto: Option<Proto>,
    /// User and password.
    pub credentials: Option<(&'a [u8], &'a [u8])>,
    /// The client's name.
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The refusal, in Redis's words.
    pub(super) fn parse(args: Args<'a>) -> Result<Hello<'a>, CommandError> {
        let proto = match args.get(1).map(parse_i64) {
            None => None,
            Some(Some(2)) => Some(Proto::Resp2),
            Some(Some(3)) => Some(Proto::Resp3),
            Some(Some(_)) => return Err(CommandError::new("NOPROTO unsupported protocol version")),
            Some(None) => {
                return Err(CommandError::new("ERR Protocol version is not an integer or out of range"));
            }
        };
        let mut hello = Hello { proto, credentials: None, name: None };
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "auth") && at + 2 < args.len() {
                hello.credentials = Some((args.at(at + 1), args.at(at + 2)));
                at += 3;
            } else if args.is(at, "setname") && at + 1 < args.len() {
                if !clients::is_valid_name(args.at(at + 1)) {
                    return Err(BAD_NAME);
                }
                hello.name = Some(args.at(at + 1));
                at += 2;
            } else {
                return Err(CommandError::quoting("ERR Syntax error in HELLO option '", args.at(at), "'"));
            }
        }
        Ok(hello)
    }
}

/// Compares in a time that tells nothing about the secret: the digests are compared, all of them.
fn is_same_secret(given: &[u8], secret: &[u8]) -> bool {
    use sha2::{Digest, Sha256};
    let (given, secret) = (Sha256::digest(given), Sha256::digest(secret));
    let difference = given.iter().zip(secret.iter()).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}
