//! The commands of foreign logs: a session runs them as if a client sent them, for they may concern keys of any shard.

use std::fmt;

use super::{damaged, note_error, torn, Content, Fed, Loading, Reading, Summary, Taken, TaskKind};
use crate::base::time::Ticks;
use crate::command::spec::{Flags, Run, SessionOp, Spec, Spread, Steps};
use crate::host::host::Host;
use crate::journal::{self, Item};
use crate::resp::{reply, Args, OwnedArgs};
use crate::session::session::Peer;
use crate::session::State;
use crate::storage::plan::Load;

/// How much of a foreign log is given to its session at a time.
const FEED_BYTES: usize = 64 * 1024;

impl<T: Ticks> Host<T> {
    /// Gives foreign commands to a session that runs them as a client's.
    pub(super) fn run_foreign(&mut self, loading: &mut Loading) -> Result<Taken, String> {
        let index = match loading.session {
            Some(index) => index,
            None => {
                let peer = Peer { addr: "loader".to_owned(), local: true, ..Peer::default() };
                *loading.session.insert(self.connect_internal(peer))
            }
        };
        let Some(session) = self.session(index) else { return Ok(Taken::Nothing) };
        let is_busy =
            session.state != State::Open || session.replies.waiting() > 0 || !session.input.is_empty();
        if is_busy {
            return Ok(Taken::Nothing);
        }
        let replies = std::mem::take(&mut session.replies.out);
        if let Some(reading) = &mut loading.reading {
            reading.look_at_replies(&replies, &mut loading.summary);
        }
        let mut bytes = Vec::new();
        let mut result = Taken::Some;
        let Loading { reading, loaded_bytes, plan, .. } = loading;
        let Some(reading) = reading else { return Ok(Taken::Nothing) };
        let TaskKind::ForeignCommands(log) = reading.task.kind else { return Ok(Taken::All) };
        let name = reading.task.file.path.display().to_string();
        while bytes.len() < FEED_BYTES {
            let Content::Commands(reader) = &mut reading.content else { return Ok(Taken::All) };
            match reader.next() {
                Err(damage) => return Err(damaged(&name, damage)),
                Ok(Some(Item::Annotation { .. })) => {}
                // It is a record of a shard for the sake of replicas, and is answered with nothing.
                Ok(Some(Item::Command { args, .. })) if args.is(0, "replconf") && args.is(1, "getack") => {}
                Ok(Some(Item::Command { args, offset })) => {
                    let known = self.table.find(args.at(0)).map(|id| self.table.spec(id));
                    let Some(spec) = known.filter(|spec| may_stand_in_log(spec, args.len())) else {
                        let word = String::from_utf8_lossy(args.at(0));
                        return Err(format!("Can't load {name}: unknown command '{word}' at byte {offset}"));
                    };
                    reading.places.push((bytes.len(), offset));
                    // What concerns all keys of a shard concerned those of its log alone.
                    let is_global = matches!(spec.run, Run::Shard(_, Spread::EveryOk));
                    match &plan.load {
                        Load::ForeignLogs(logs) if is_global && logs.len() > 1 => {
                            let share = [log.to_string(), logs.len().to_string()];
                            let words = [&b"_share"[..], share[0].as_bytes(), share[1].as_bytes()];
                            let request = OwnedArgs::collect(words.into_iter().chain(args.iter_from(0)));
                            write_request(request.as_args(), &mut bytes);
                        }
                        _ => write_request(args, &mut bytes),
                    }
                }
                Ok(None) => match Self::feed(reading, loaded_bytes) {
                    Fed::More => {}
                    Fed::Later => {
                        result = Taken::Nothing;
                        break;
                    }
                    Fed::End => {
                        let Content::Commands(reader) = &reading.content else { return Ok(Taken::All) };
                        let tail = reader.tail();
                        if tail.commands < tail.end {
                            let last = reading.task.file.is_last;
                            torn(&name, (tail.commands, tail.end), last, self.loads_truncated())?;
                        }
                        // What was given to the session before it has run.
                        result = if bytes.is_empty() { Taken::All } else { Taken::Some };
                        break;
                    }
                },
            }
        }
        if !bytes.is_empty() {
            self.receive_internal(index, &bytes);
            reading.given = bytes;
        }
        Ok(result)
    }
}

impl Reading {
    /// What the session has answered to the commands that it was given last.
    fn look_at_replies(&mut self, mut replies: &[u8], summary: &mut Summary) {
        let name = self.task.file.path.display();
        for (at, (start, offset)) in self.places.iter().enumerate() {
            let Some((reply, rest)) = reply::value_end(replies).and_then(|end| replies.split_at_checked(end))
            else {
                break;
            };
            replies = rest;
            match reply.first() {
                Some(b'-') => note_given(summary, &name, *offset, &self.given[*start..], reply),
                // What EXEC answers is what the commands before it do.
                Some(b'*') => {
                    let count = reply::elements(reply).count();
                    for (back, reply) in (1..=count).rev().zip(reply::elements(reply)) {
                        let place = at.checked_sub(back).and_then(|at| self.places.get(at));
                        if let (Some((start, offset)), Some(b'-')) = (place, reply.first()) {
                            note_given(summary, &name, *offset, &self.given[*start..], reply);
                        }
                    }
                }
                _ => {}
            }
        }
        self.places.clear();
    }
}

/// A command of a log was answered with an error; `given` begins with it.
#[cold]
fn note_given(summary: &mut Summary, name: &dyn fmt::Display, offset: u64, given: &[u8], reply: &[u8]) {
    let mut reader = journal::Reader::new(offset);
    reader.feed(given);
    if let Ok(Some(Item::Command { args, .. })) = reader.next() {
        note_error(summary, name, offset, args, reply);
    }
}

/// Whether a foreign log may hold it: a command on data that waits for nothing, or what gives such commands their
/// database and their transaction. Anything else could end the session that runs the log, or have it wait for ever.
fn may_stand_in_log(spec: &Spec, argc: usize) -> bool {
    let is_known = match spec.run {
        Run::Shard(_, Spread::Steps(Steps::Migrate)) => false,
        Run::Shard(..) => !spec.flags.has(Flags::BLOCKING),
        Run::Session(op) => {
            matches!(
                op,
                SessionOp::Select | SessionOp::Multi | SessionOp::Exec | SessionOp::Ping | SessionOp::Publish
            )
        }
        Run::Node(_) | Run::Container => false,
    };
    is_known && spec.takes(argc)
}

/// A request as a client sends it.
fn write_request(args: Args<'_>, out: &mut Vec<u8>) {
    use crate::journal::record::Sink;
    out.begin(args.len());
    args.iter_from(0).for_each(|arg| out.word(arg.into()));
}
