//! Whether a history is strictly serializable: whether some order of the operations, each at one moment between its
//! arrival and its answer, explains every reply.
//!
//! The search of Wing and Gong, "just in time" as Lowe has it: the events are taken one by one, with the set of all
//! *worlds* that are possible so far (a state, and which of the operations under way have taken place in it). Only when
//! an operation is answered must it have taken place; then every world is led there through every order of the
//! operations under way that could matter. No world left: no order explains what was seen.
//!
//! Two things keep it small. An operation that conflicts with none that has to take place now, not even through others,
//! is left for later. And one that only reads takes place as soon as its reply fits, since that costs nobody anything.
//!
//! Promise: never a false alarm, and nothing is overlooked, but for a history that needs more than `WORLDS_MAX` worlds
//! at a time, which is `Undecided`.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::history::{Event, History, Operation};
use crate::model::State;

/// How many worlds are looked at for one event before the checker gives up.
const WORLDS_MAX: usize = 20_000;

/// How many operations can be under way at a time.
pub(crate) const UNDER_WAY_MAX: usize = 64;

/// What came out.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Some order explains it; how many worlds there were at the most.
    Explained { worlds: usize },
    /// No order does: event `at` cannot be explained, in any of the states that were possible before.
    Unexplained { at: usize, why: String },
    /// There are too many orders.
    Undecided,
}

/// One way in which it can have been so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    state: Rc<State>,
    /// Of the operations under way, by place, those that have taken place.
    done: u64,
}

/// The operations under way.
struct Checker<'a> {
    history: &'a History,
    shards: u16,
    /// By place: the operation's number.
    places: Vec<Option<usize>>,
    /// By place: those that must take place before.
    before: Vec<u64>,
    /// Operations of clients that are gone.
    lost: u64,
}

struct TooMany;

/// Looks for an order that explains a history.
pub(crate) fn check(history: &History, start: State, shards: u16) -> Verdict {
    let mut checker = Checker {
        history,
        shards,
        places: vec![None; UNDER_WAY_MAX],
        before: vec![0; UNDER_WAY_MAX],
        lost: 0,
    };
    let mut worlds = BTreeSet::from([World { state: Rc::new(start), done: 0 }]);
    let mut most = 1;
    for (at, event) in history.events.iter().enumerate() {
        let next = match *event {
            Event::Invoked(number) => Ok(checker.invoked(number, &worlds)),
            Event::Answered(number) => checker.answered(number, &worlds),
            Event::Lost(client) => Ok(checker.client_lost(client, &worlds)),
            Event::Clock(ms) => checker.clock(ms, &worlds),
            Event::Quiet => checker.quiet(&worlds),
        };
        let Ok(next) = next else { return Verdict::Undecided };
        if next.is_empty() {
            return Verdict::Unexplained { at, why: checker.explain(&worlds) };
        }
        most = most.max(next.len());
        worlds = next;
    }
    Verdict::Explained { worlds: most }
}

fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(place)
    })
}

impl<'a> Checker<'a> {
    fn operation(&self, place: usize) -> &'a Operation {
        let number = self.places[place].expect("an operation under way");
        &self.history.operations[number]
    }

    fn under_way(&self) -> u64 {
        (0..UNDER_WAY_MAX)
            .filter(|&place| self.places[place].is_some())
            .fold(0, |mask, place| mask | 1 << place)
    }

    fn invoked(&mut self, number: usize, worlds: &BTreeSet<World>) -> BTreeSet<World> {
        let new = &self.history.operations[number];
        if new.reply.is_none() && !new.action.touched().writes {
            // Its client is gone: nobody can tell whether it ever took place.
            return worlds.clone();
        }
        let place = self.places.iter().position(Option::is_none).expect("few operations at a time");
        self.before[place] = bits(self.under_way())
            .filter(|&other| {
                let other = self.operation(other);
                other.client == new.client && other.precedes(new, self.shards)
            })
            .fold(0, |mask, other| mask | 1 << other);
        self.places[place] = Some(number);
        worlds.iter().cloned().map(|world| self.with_reads(world)).collect()
    }

    fn answered(&mut self, number: usize, worlds: &BTreeSet<World>) -> Result<BTreeSet<World>, TooMany> {
        let place = self.places.iter().position(|&other| other == Some(number)).expect("it is under way");
        let reached = self.reach(worlds, Some(place))?;
        self.free(1 << place);
        Ok(cleared(reached, 1 << place))
    }

    /// What a client has not read an answer to stays under way until nothing moves. It watches nothing any more.
    fn client_lost(&mut self, client: usize, worlds: &BTreeSet<World>) -> BTreeSet<World> {
        let lost = bits(self.under_way()).filter(|&place| self.operation(place).client == client);
        self.lost |= lost.fold(0, |mask, place| mask | 1 << place);
        worlds.clone()
    }

    /// What has taken place before the clock moved has done so by the old time.
    fn clock(&mut self, ms: i64, worlds: &BTreeSet<World>) -> Result<BTreeSet<World>, TooMany> {
        let reached = self.reach(worlds, None)?;
        let moved = reached.into_iter().map(|mut world| {
            Rc::make_mut(&mut world.state).set_now(ms);
            self.with_reads(world)
        });
        Ok(moved.collect())
    }

    /// What the clients that are gone have asked for has taken place by now or never will. Those that are there wait
    /// because there is nothing to give them, or behind such a request of their own.
    fn quiet(&mut self, worlds: &BTreeSet<World>) -> Result<BTreeSet<World>, TooMany> {
        let lost = std::mem::take(&mut self.lost);
        let waiting = self.under_way() & !lost;
        let reached = if lost == 0 { worlds.clone() } else { self.reach_within(worlds, None, lost)? };
        let clients: BTreeSet<usize> = bits(lost).map(|place| self.operation(place).client).collect();
        self.free(lost);
        let settled = cleared(reached, lost).into_iter().filter(|world| world.done & waiting == 0);
        let settled = settled.filter(|world| {
            bits(waiting).filter(|&place| self.before[place] == 0).all(|place| {
                // It would have got something: then it should have.
                let operation = self.operation(place);
                operation.action.is_blocking() && world.state.would_block(&operation.action)
            })
        });
        let forgotten = settled.map(|mut world| {
            clients.iter().for_each(|client| Rc::make_mut(&mut world.state).forget(*client));
            world
        });
        Ok(forgotten.collect())
    }

    /// Leads every world to where the operation at `target` has taken place, or, without one, to everywhere.
    fn reach(&self, worlds: &BTreeSet<World>, target: Option<usize>) -> Result<BTreeSet<World>, TooMany> {
        let relevant = target.map_or(u64::MAX, |target| self.relevant(target));
        self.reach_within(worlds, target, relevant & self.under_way())
    }

    fn reach_within(
        &self,
        worlds: &BTreeSet<World>,
        target: Option<usize>,
        relevant: u64,
    ) -> Result<BTreeSet<World>, TooMany> {
        let mut seen = worlds.clone();
        let mut open: Vec<World> = worlds.iter().cloned().collect();
        let mut reached = BTreeSet::new();
        while let Some(world) = open.pop() {
            match target {
                Some(target) if world.done & 1 << target != 0 => {
                    reached.insert(world);
                    continue;
                }
                Some(_) => {}
                None => {
                    reached.insert(world.clone());
                }
            }
            for place in bits(relevant & !world.done) {
                if let Some(next) = self.take_place(&world, place) {
                    let next = self.with_reads(next);
                    if !seen.contains(&next) {
                        if seen.len() >= WORLDS_MAX {
                            return Err(TooMany);
                        }
                        seen.insert(next.clone());
                        open.push(next);
                    }
                }
            }
        }
        Ok(reached)
    }

    /// Those that can make a difference to one that has to take place now: which conflict with it or must come before
    /// it, and so on.
    fn relevant(&self, target: usize) -> u64 {
        let under_way = self.under_way();
        let mut relevant = 1u64 << target;
        let mut open = vec![target];
        while let Some(place) = open.pop() {
            let operation = self.operation(place);
            for other in bits(under_way & !relevant) {
                if self.before[place] & 1 << other != 0 || operation.conflicts(self.operation(other)) {
                    relevant |= 1 << other;
                    open.push(other);
                }
            }
        }
        relevant
    }

    /// The world after the operation, if it can take place now and its reply fits.
    fn take_place(&self, world: &World, place: usize) -> Option<World> {
        if self.before[place] & !world.done != 0 {
            return None;
        }
        let operation = self.operation(place);
        let mut state = world.state.clone();
        let expected = Rc::make_mut(&mut state).act(operation.client, &operation.action);
        let fits = operation.reply.as_ref().is_none_or(|reply| expected.allows(reply));
        fits.then_some(World { state, done: world.done | 1 << place })
    }

    /// The world once everything that only reads, and can read what it did, has done so.
    fn with_reads(&self, mut world: World) -> World {
        let reads = bits(self.under_way()).filter(|&place| !self.operation(place).scope.writes);
        let mut open: Vec<usize> = reads.filter(|place| world.done & 1 << place == 0).collect();
        loop {
            let count = open.len();
            open.retain(|&place| match self.take_place(&world, place) {
                Some(next) => {
                    world = next;
                    false
                }
                None => true,
            });
            if open.is_empty() || open.len() == count {
                return world;
            }
        }
    }

    fn free(&mut self, mask: u64) {
        bits(mask).for_each(|place| self.places[place] = None);
        self.before.iter_mut().for_each(|before| *before &= !mask);
    }

    /// The worlds in which it went wrong.
    fn explain(&self, worlds: &BTreeSet<World>) -> String {
        let mut text = format!("possible before ({} in all):\n", worlds.len());
        for world in worlds.iter().take(5) {
            let done: Vec<String> =
                bits(world.done).filter_map(|place| Some(format!("#{}", self.places[place]?))).collect();
            text += &format!("  {}; of those under way, done: {}\n", world.state, done.join(" "));
        }
        text
    }
}

fn cleared(worlds: BTreeSet<World>, mask: u64) -> BTreeSet<World> {
    worlds.into_iter().map(|world| World { done: world.done & !mask, ..world }).collect()
}
