//! What a transaction runs: one command over several shards, some that a client has sent one after the other, or all
//! that stood between MULTI and EXEC.
//!
//! A program is driven in steps. Each step is a list of calls by shard; when all have answered, `advance` takes the
//! answers and says what the next step is. Commands with all keys on one shard go into the step at hand, in their order
//! on that shard, and so do commands over several shards (`coordinator`) that are over when each of these has answered
//! (MGET, DEL). Any other ends the step, because what it does next depends on the answers. So a run of common commands
//! takes one step, however many shards there are.
//!
//! Commands that are no business of any shard (PING, CONFIG ...) are left to the host, which runs them when the
//! transaction is over: what they do does not depend on its locks, and nothing may wait while these are held.
//!
//! Invariant: the calls of a step are answered in the order in which `advance` gave them.

use smallvec::SmallVec;

use super::coordinator::{
    self, Answer, Calls, Decision, Plan, PlannedPart, Replies, Shape, Shipment, Shipped,
};
use crate::base::ids::ShardId;
use crate::base::prng::Prng;
use crate::command::spec::{Run, Spread};
use crate::resp::{Proto, Reply};
use crate::shard::locks::{Claims, Mode};
use crate::shard::{CallHead, OwnedCall};

/// See the module.
#[derive(Debug)]
pub struct Program {
    items: Vec<Item>,
    /// For each item its reply, once it is there.
    replies: Vec<Option<Vec<u8>>>,
    /// The first item that has not been begun.
    next: usize,
    /// No item before this one waits for the host.
    next_other: usize,
    /// The commands over several shards that are under way: any number that need one step, and at most one other.
    running: Vec<Running>,
    /// What the answers of the step that is out there are for.
    sent: Purposes,
    /// The first step, while it is not known whether the keys that are watched have changed.
    held_back: Option<(Advance, Purposes)>,
    form: Form,
    proto: Proto,
}

/// One command of a program.
#[derive(Debug)]
pub enum Item {
    /// All its keys are on this shard.
    Single(ShardId, OwnedCall),
    /// It was taken apart.
    Spread(Plan, Vec<PlannedPart>),
    /// It was refused: this is its reply. (In a program an item that is done with, too.)
    Refused(Vec<u8>),
    /// The host runs it at the end.
    Other(OwnedCall),
}

/// What the program's reply is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It is the command's, or one after the other.
    Commands,
    /// EXEC: the array of all.
    Exec,
}

#[derive(Debug)]
struct Running {
    item: usize,
    plan: Plan,
    /// In the order of the parts.
    shards: Vec<(ShardId, Vec<Vec<u8>>)>,
}

/// What the answers of a step are for, by shard and in their order.
type Purposes = Vec<(ShardId, Vec<Purpose>)>;

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It is this item's reply.
    Reply(usize),
    /// The plan of this item, which is running, decides by it.
    Plan(usize),
    /// Whether watched keys are unchanged.
    Watch,
    /// Nobody needs it.
    Nothing,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Advance {
    /// This step; more may follow.
    Step(Calls),
    /// This step, and no other after it.
    Last(Calls),
    /// Nothing on the shards: another server is to get this, and what becomes of it is to be told (`Program::shipped`)
    /// before it goes on.
    Ship(Box<Shipment>),
    /// Nothing: the replies are there.
    Done,
}

impl Advance {
    /// The calls of the step.
    pub fn calls(&self) -> &[(ShardId, Vec<OwnedCall>)] {
        match self {
            Advance::Step(calls) | Advance::Last(calls) => calls,
            Advance::Ship(_) | Advance::Done => &[],
        }
    }

    /// The same.
    pub fn into_calls(self) -> Calls {
        match self {
            Advance::Step(calls) | Advance::Last(calls) => calls,
            Advance::Ship(_) | Advance::Done => Vec::new(),
        }
    }
}

impl PartialEq for OwnedCall {
    /// For tests: the same command with the same arguments.
    fn eq(&self, other: &Self) -> bool {
        self.head.command == other.head.command
            && self.args.as_args().iter_from(0).eq(other.args.as_args().iter_from(0))
    }
}

impl Eq for OwnedCall {}

impl Program {
    /// A single command over several shards.
    pub fn command(plan: Plan, parts: Vec<PlannedPart>, proto: Proto) -> Program {
        Program::new(vec![Item::Spread(plan, parts)], Form::Commands, proto)
    }

    /// Another one behind those there are, before anything has run: all will take place together.
    pub fn add_command(&mut self, plan: Plan, parts: Vec<PlannedPart>) {
        debug_assert!(self.form == Form::Commands && self.next == 0, "it has begun");
        self.items.push(Item::Spread(plan, parts));
        self.replies.push(None);
    }

    /// EXEC of these commands.
    pub fn exec(items: Vec<Item>, proto: Proto) -> Program {
        Program::new(items, Form::Exec, proto)
    }

    fn new(mut items: Vec<Item>, form: Form, proto: Proto) -> Program {
        let reply = |item: &mut Item| match item {
            Item::Refused(reply) => Some(std::mem::take(reply)),
            Item::Single(..) | Item::Spread(..) | Item::Other(_) => None,
        };
        let replies = items.iter_mut().map(reply).collect();
        let (running, sent) = (Vec::new(), Vec::new());
        Program { items, replies, next: 0, next_other: 0, running, sent, held_back: None, form, proto }
    }

    /// The locks of all commands together, by shard. To be asked for once: what was planned with the commands is taken
    /// out of them.
    pub fn take_claims(&mut self, shape: Shape<'_>) -> Vec<(ShardId, Claims)> {
        let mut all: Vec<(ShardId, Claims)> = Vec::new();
        for item in &mut self.items {
            match item {
                Item::Single(shard, call) => join(&mut all, *shard, claims_of(shape, call)),
                Item::Spread(_, parts) => parts.iter_mut().for_each(|part| {
                    let none = Claims::Keys(SmallVec::new());
                    join(&mut all, part.shard, std::mem::replace(&mut part.claims, none));
                }),
                Item::Refused(_) | Item::Other(_) => {}
            }
        }
        all
    }

    /// Whether all commands on data are on one shard, and nothing has to be decided between them; which one.
    pub fn only_shard(&self) -> Option<ShardId> {
        let mut only = None;
        for item in &self.items {
            match item {
                Item::Single(shard, _) if only.is_none_or(|other| other == *shard) => only = Some(*shard),
                Item::Single(..) | Item::Spread(..) => return None,
                Item::Refused(_) | Item::Other(_) => {}
            }
        }
        only
    }

    /// Whether everything on data is run in the first step, however that is answered.
    pub fn is_one_step(&self) -> bool {
        self.items.iter().all(|item| match item {
            Item::Spread(plan, _) => plan.is_one_step(),
            Item::Single(..) | Item::Refused(_) | Item::Other(_) => true,
        })
    }

    /// Whether it has to wait for another server.
    pub fn ships(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Spread(plan, _) if plan.ships()))
    }

    /// The program's first step is not run before these calls have said that the keys that are watched have not
    /// changed: they are the first step instead, and what `advance` had given is given again.
    pub fn guard(&mut self, guards: &Calls, first: Advance) {
        let purposes = guards.iter().map(|(shard, calls)| (*shard, vec![Purpose::Watch; calls.len()]));
        self.held_back = Some((first, std::mem::replace(&mut self.sent, purposes.collect())));
    }

    /// The answers of a step are in (none before the first one): what comes next? `None` if a watched key has changed:
    /// nothing more is run, and the reply is null.
    pub fn advance(&mut self, shape: Shape<'_>, replies: &mut Replies, rng: &mut Prng) -> Option<Advance> {
        if !self.take(replies) {
            return None;
        }
        if let Some((first, purposes)) = self.held_back.take() {
            self.sent = purposes;
            return Some(first);
        }
        let mut step = Step::default();
        let mut shipment = None;
        for Running { item, plan, mut shards } in std::mem::take(&mut self.running) {
            match plan.decide(shape, &mut shards, rng) {
                Decision::Answer(reply) => self.replies[item] = Some(reply),
                Decision::Last(calls, answer) => {
                    let place = match answer {
                        Answer::Bytes(reply) => {
                            self.replies[item] = Some(reply);
                            None
                        }
                        Answer::Of(shard, place) => Some((shard, place)),
                    };
                    for (shard, calls) in calls {
                        for (at, call) in calls.into_iter().enumerate() {
                            let is_reply = place == Some((shard, at));
                            let purpose = if is_reply { Purpose::Reply(item) } else { Purpose::Nothing };
                            step.push(shard, call, purpose);
                        }
                    }
                }
                Decision::More(calls, plan) => self.run_plan(item, plan, calls, &mut step),
                Decision::Ship(cargo, plan) => {
                    shipment = Some(cargo);
                    self.running.push(Running { item, plan, shards: Vec::new() });
                }
            }
        }
        if let Some(shipment) = shipment {
            debug_assert!(step.calls.is_empty(), "the others that were under way needed this step only");
            return Some(Advance::Ship(shipment));
        }
        while !self.has_more_steps() && self.next < self.items.len() {
            let at = self.next;
            self.next += 1;
            match std::mem::replace(&mut self.items[at], Item::Refused(Vec::new())) {
                Item::Single(shard, call) => step.push(shard, call, Purpose::Reply(at)),
                Item::Spread(plan, parts) => {
                    let calls = parts.into_iter().map(|part| (part.shard, part.calls)).collect();
                    self.run_plan(at, plan, calls, &mut step);
                }
                Item::Refused(_) => {}
                other @ Item::Other(_) => self.items[at] = other,
            }
        }
        let Step { calls, purposes } = step;
        self.sent = purposes;
        Some(match (calls.is_empty(), self.has_more_steps()) {
            (true, false) => Advance::Done,
            (_, true) => Advance::Step(calls),
            (false, false) => Advance::Last(calls),
        })
    }

    /// What has become of what `advance` gave to be shipped. `advance` follows.
    pub fn shipped(&mut self, outcome: Shipped) {
        if let Some(running) = self.running.last_mut() {
            running.plan.shipped(outcome);
        }
    }

    /// Whether a command that is under way needs more than the step at hand: it is the last that was begun.
    fn has_more_steps(&self) -> bool {
        self.running.last().is_some_and(|running| !running.plan.is_one_step())
    }

    /// The calls of a plan's step are sent with the step at hand.
    fn run_plan(&mut self, item: usize, plan: Plan, calls: Calls, step: &mut Step) {
        let shards = calls.iter().map(|(shard, _)| (*shard, Vec::new())).collect();
        for (shard, calls) in calls {
            step.touch(shard);
            for call in calls {
                step.push(shard, call, Purpose::Plan(item));
            }
        }
        self.running.push(Running { item, plan, shards });
    }

    /// Takes the answers of a step to where they belong. False if a watched key has changed.
    fn take(&mut self, replies: &mut Replies) -> bool {
        let mut unchanged = true;
        for (shard, purposes) in std::mem::take(&mut self.sent) {
            let Some((_, answers)) = replies.iter_mut().find(|(from, _)| *from == shard) else { continue };
            for (purpose, answer) in purposes.into_iter().zip(answers) {
                match purpose {
                    Purpose::Reply(item) => self.replies[item] = Some(std::mem::take(answer)),
                    Purpose::Plan(item) => {
                        // They were begun in order.
                        let Ok(at) = self.running.binary_search_by_key(&item, |running| running.item) else {
                            continue;
                        };
                        let of_shard = &mut self.running[at].shards;
                        if let Some((_, answers)) = of_shard.iter_mut().find(|(from, _)| *from == shard) {
                            answers.push(std::mem::take(answer));
                        }
                    }
                    Purpose::Watch => unchanged &= answer.as_slice() == b":1\r\n",
                    Purpose::Nothing => {}
                }
            }
        }
        unchanged
    }

    /// The next command that the host has to run, by its place.
    pub fn next_other(&mut self) -> Option<(usize, OwnedCall)> {
        let at = self.next_other + self.replies[self.next_other..].iter().position(Option::is_none)?;
        self.next_other = at;
        match &self.items[at] {
            Item::Other(call) => Some((at, call.clone())),
            Item::Single(..) | Item::Spread(..) | Item::Refused(_) => None,
        }
    }

    /// Whether the reply of a command is there.
    pub fn has_reply(&self, at: usize) -> bool {
        self.replies[at].is_some()
    }

    /// What a command that the host has run has answered.
    pub fn set_reply(&mut self, at: usize, reply: Vec<u8>) {
        self.replies[at] = Some(reply);
    }

    /// The whole reply.
    pub fn into_reply(self) -> Vec<u8> {
        let mut replies = self.replies.into_iter().map(Option::unwrap_or_default);
        if self.form == Form::Commands && replies.len() == 1 {
            return replies.next().unwrap_or_default();
        }
        let mut out = Vec::new();
        if self.form == Form::Exec {
            Reply::new(&mut out, self.proto).array(replies.len());
        }
        replies.for_each(|reply| out.extend_from_slice(&reply));
        out
    }

    /// The reply of each command.
    pub fn into_replies(self) -> impl ExactSizeIterator<Item = Vec<u8>> {
        self.replies.into_iter().map(Option::unwrap_or_default)
    }
}

/// A step in the making.
#[derive(Default)]
struct Step {
    calls: Calls,
    purposes: Purposes,
}

impl Step {
    /// The place of a shard, which takes part even if it has nothing to run.
    fn touch(&mut self, shard: ShardId) -> usize {
        self.calls.iter().position(|(other, _)| *other == shard).unwrap_or_else(|| {
            self.calls.push((shard, Vec::new()));
            self.purposes.push((shard, Vec::new()));
            self.calls.len() - 1
        })
    }

    fn push(&mut self, shard: ShardId, call: OwnedCall, purpose: Purpose) {
        let at = self.touch(shard);
        self.calls[at].1.push(call);
        self.purposes[at].1.push(purpose);
    }
}

/// What EXEC makes of a command that was queued.
pub fn item(shape: Shape<'_>, head: CallHead, call: OwnedCall) -> Item {
    let spec = shape.table.spec(head.command);
    let Run::Shard(_, spread) = spec.run else { return Item::Other(OwnedCall { head, ..call }) };
    let args = call.args.as_args();
    let shard = match spread {
        Spread::Cursor => {
            crate::command::generic::cursor_shard(args.at(1), shape.shards).or(Some(ShardId(0)))
        }
        spread if crate::shard::shard::is_global(spread) => (shape.shards == 1).then_some(ShardId(0)),
        _ => coordinator::single_shard(spec, args, shape.shards),
    };
    let first_key = spec.key_indexes(args).next().map(|index| shape.hasher.hash(args.at(index)));
    let head = CallHead { first_key: first_key.unwrap_or_default(), ..head };
    let call = OwnedCall { head, args: call.args };
    if let Some(shard) = shard.filter(|_| spread != Spread::EveryDraw) {
        return Item::Single(shard, call);
    }
    match coordinator::plan(shape, spec, spread, call.as_call()) {
        Ok((plan, parts)) => Item::Spread(plan, parts),
        Err(error) => {
            let mut out = Vec::new();
            Reply::new(&mut out, head.proto).error(error.bytes());
            Item::Refused(out)
        }
    }
}

/// The locks that a command needs whose keys are all on one shard.
fn claims_of(shape: Shape<'_>, call: &OwnedCall) -> Claims {
    let spec = shape.table.spec(call.head.command);
    let mode = crate::shard::shard::mode_of(spec);
    if spec.keys.is_empty() {
        return Claims::Whole(mode);
    }
    let args = call.args.as_args();
    Claims::Keys(spec.key_indexes(args).map(|index| (shape.hasher.hash(args.at(index)), mode)).collect())
}

/// Adds locks to those of their shard.
pub fn join(all: &mut Vec<(ShardId, Claims)>, shard: ShardId, more: Claims) {
    let Some((_, claims)) = all.iter_mut().find(|(other, _)| *other == shard) else {
        all.push((shard, more));
        return;
    };
    let mode = |claims: &Claims| match claims {
        Claims::Whole(mode) => *mode,
        Claims::Keys(keys) => keys.iter().map(|&(_, mode)| mode).max().unwrap_or(Mode::Shared),
    };
    match (&mut *claims, more) {
        (Claims::Keys(keys), Claims::Keys(more)) => keys.extend(more),
        (_, more) => *claims = Claims::Whole(mode(claims).max(mode(&more))),
    }
}
