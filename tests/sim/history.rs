//! What has happened, as the clients saw it.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::model::{Action, Name};
use crate::reply::Value;

/// One action of a client and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) action: Action,
    /// What it has to do with.
    pub(crate) scope: Scope,
    /// What the client read; `None` if it never did.
    pub(crate) reply: Option<Value>,
}

/// What an operation has to do with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Keys, the watched ones of an EXEC too.
    pub(crate) names: BTreeSet<Name>,
    /// All keys.
    pub(crate) everything: bool,
    /// Whether it may change data, or what the client watches.
    pub(crate) writes: bool,
    /// Whether it changes or consults what the client watches.
    pub(crate) watches: bool,
    /// Whether it goes to several shards: then nothing of the same client runs beside it.
    pub(crate) alone: bool,
}

/// What happened, in order. Operations are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The last byte of the request has reached the server: from now on it may take place.
    Invoked(usize),
    /// The client has read the reply: it has taken place.
    Answered(usize),
    /// The client is gone. What it has not read an answer to may have taken place, or still do so, or never.
    Lost(usize),
    /// The clock, in milliseconds, has moved on to here.
    Clock(i64),
    /// Nothing moves any more: what has not taken place by now will not without something new.
    Quiet,
}

/// A run, for the checker.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    pub(crate) events: Vec<Event>,
}

impl Scope {
    fn shares_key(&self, other: &Scope) -> bool {
        let has_any = |scope: &Scope| scope.everything || !scope.names.is_empty();
        (self.everything && has_any(other))
            || (other.everything && has_any(self))
            || !self.names.is_disjoint(&other.names)
    }
}

impl Operation {
    /// Whether it matters which of the two comes first.
    pub(crate) fn conflicts(&self, other: &Operation) -> bool {
        (self.scope.writes || other.scope.writes)
            && (self.scope.shares_key(&other.scope) || self.watches_with(other))
    }

    /// Whether, being the client's earlier one, it takes place before `later`.
    ///
    /// A client that sends `later` before it has read this one's reply is promised the order where they share a key, or
    /// where one of them goes to several shards. Single commands for different shards travel side by side, and it gets
    /// the replies in order, but others may see the second before the first.
    pub(crate) fn precedes(&self, later: &Operation, shards: u16) -> bool {
        debug_assert_eq!(self.client, later.client);
        shards == 1
            || self.scope.alone
            || later.scope.alone
            || self.scope.shares_key(&later.scope)
            || self.watches_with(later)
    }

    fn watches_with(&self, other: &Operation) -> bool {
        self.client == other.client && self.scope.watches && other.scope.watches
    }
}

impl History {
    /// The events from the last rest before event `at` up to it, a line each.
    pub(crate) fn excerpt(&self, at: usize) -> String {
        let before =
            self.events[..at].iter().rposition(|event| *event == Event::Quiet).map_or(0, |quiet| quiet);
        let mut text = String::new();
        for event in &self.events[before..=at] {
            let line = match *event {
                Event::Invoked(number) => {
                    let Operation { client, action, .. } = &self.operations[number];
                    format!("  #{number} of client {client} arrives: {}", shown(action))
                }
                Event::Answered(number) => match &self.operations[number].reply {
                    Some(reply) => format!("  #{number} is answered: {reply}"),
                    None => format!("  #{number} is answered"),
                },
                Event::Lost(client) => format!("  client {client} is gone"),
                Event::Clock(ms) => format!("  it is {ms} ms"),
                Event::Quiet => "  nothing moves".to_owned(),
            };
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// An action as it would be typed.
pub(crate) fn shown(action: &Action) -> String {
    let request =
        |request: &crate::model::Request| format!("{} (db {})", request.words.join(" "), request.db);
    match action {
        Action::Run(one) => request(one),
        Action::Watch(names) => {
            format!(
                "WATCH {}",
                names.iter().map(|(db, key)| format!("{db}/{key}")).collect::<Vec<_>>().join(" ")
            )
        }
        Action::Unwatch => "UNWATCH".to_owned(),
        Action::Exec(requests) => {
            format!("EXEC of {}", requests.iter().map(request).collect::<Vec<_>>().join("; "))
        }
        Action::ExecAborted => "EXEC after an error".to_owned(),
        Action::Discard => "DISCARD".to_owned(),
    }
}
