//! SUBSCRIBE, PUBLISH and their kin over all cores.
//!
//! Each core delivers to its own clients, by its own tables (`node::pubsub`). PUBLISH delivers here at once, and puts
//! the message into the parcels for those cores that it may concern; they bring back how many clients got it there. The
//! session does not wait for that: the reply has its place in the pipeline's order. Where no other core has a
//! subscriber, PUBLISH is over when the command is.
//!
//! What holds:
//!
//! 1. What is published after a subscription was confirmed reaches it, whoever publishes on whichever core: the
//!    confirmation leaves only when every core that has to know has said that it does, and a core that knows sends.
//!    What is published while that is asked for does not reach the client, nor is the client counted.
//! 2. After the confirmation that a subscription is over nothing of it comes any more.
//! 3. PUBLISH answers with the number of subscriptions that got the message, over all cores.
//! 4. What one client publishes reaches each subscriber in the order of publication, on one channel and over several:
//!    parcels between two cores do not overtake each other. When PUBLISH is answered all receivers have the message
//!    among their output, so what anybody publishes after that comes behind it.
//! 5. What a client has asked for before a PUBLISH is done, and as durable as it is to be, before the message goes out:
//!    who gets the message and looks finds it.
//! 6. A message never stands within another reply. It comes before the reply that a blocked client waits for, and
//!    behind the reply to the PUBLISH that sent it, if its publisher listens itself.
//!
//! Limits: as many publications of a client are at other cores at a time as requests may be (`FORWARDED_MAX`), and as
//! many as parcels take (`PARCEL_CALLS_MAX`, `PARCEL_BYTES_MAX`): then the publisher waits. What a subscriber does not
//! read is bounded by `client-output-buffer-limit pubsub`: then it is closed.

use std::sync::Arc;

use super::batch::{Flow, FORWARDED_MAX};
use super::host::{mark_dirty, Host, OUTPUT_HIGH_BYTES};
use super::mail::{Parcel, Rare};
use super::query::{Purpose, Query, UNANSWERED};
use crate::base::error::CommandError;
use crate::base::glob;
use crate::base::ids::CoreId;
use crate::base::key::{Key, KeyHash};
use crate::base::time::{MonoUs, Ticks};
use crate::command::help;
use crate::command::spec::SessionOp;
use crate::config::OutputBufferLimits;
use crate::node::pubsub::interest::Bucket;
use crate::node::pubsub::registry::Gone;
use crate::node::pubsub::{
    append_message, write_confirmation, write_message, write_pattern_message, Announcement, Census, EntryId,
    Interest, Kind, PubsubReport, Registry,
};
use crate::resp::{Args, Proto, Reply};
use crate::session::{Session, State, Wait};

/// What a core knows of subscriptions, and what it has under way.
pub(super) struct Pubsub {
    registries: [Registry; 3],
    interest: Interest,
    census: Census,
    /// Names that have lost their last subscriber here in this pass, for their homes.
    gone: Vec<(Kind, KeyHash)>,
    /// Clients with a subscription.
    clients: u64,
    /// Publications that other cores have, and places that are free.
    under_way: Vec<Option<UnderWay>>,
    free: Vec<u32>,
    /// The message that is being delivered, as bytes for the wire; kept for its memory.
    message: Vec<u8>,
    /// What of it is for the publisher itself.
    own: Vec<u8>,
    /// Subscribers that read too slowly.
    slow: Vec<u32>,
}

/// A publication whose receivers are being counted.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    session: u32,
    /// The place of PUBLISH's reply.
    slot: u32,
    receivers: u64,
    /// How many cores have yet to tell.
    missing: u16,
}

/// A subscription takes this much beside its name: in the client's list and in the name's.
const SUBSCRIPTION_BYTES: usize = 64;

/// A buffer for messages that has grown beyond this is not kept.
const KEEP_BYTES_MAX: usize = 256 * 1024;

const DENY_BLOCKING: CommandError =
    CommandError::new("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");

impl Pubsub {
    pub(super) fn new(cores: u16) -> Pubsub {
        Pubsub {
            registries: Default::default(),
            interest: Interest::new(cores),
            census: Census::default(),
            gone: Vec::new(),
            clients: 0,
            under_way: Vec::new(),
            free: Vec::new(),
            message: Vec::new(),
            own: Vec::new(),
            slow: Vec::new(),
        }
    }

    /// What is left although no client is there any more: nothing, or the name of something.
    #[cfg(test)]
    pub(super) fn leftover(&self) -> Option<&'static str> {
        let under_way = self.under_way.iter().flatten().count();
        [
            (self.registries.iter().any(|registry| !registry.is_empty()), "subscriptions"),
            (!self.census.is_empty(), "names in the census"),
            (!self.gone.is_empty(), "names that are gone"),
            (self.clients > 0, "subscribers"),
            (under_way > 0, "publications"),
        ]
        .into_iter()
        .find_map(|(is_left, what)| is_left.then_some(what))
    }

    fn put_under_way(&mut self, publication: UnderWay) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.under_way[number as usize] = Some(publication);
                number
            }
            None => {
                self.under_way.push(Some(publication));
                self.under_way.len() as u32 - 1
            }
        }
    }
}

impl<T: Ticks> Host<T> {
    /// Runs one of the session's commands of this file.
    ///
    /// # Errors
    /// The refusal, in Redis's words.
    pub(super) fn pubsub_command(
        &mut self,
        index: u32,
        op: SessionOp,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        match op {
            SessionOp::Publish => return Ok(self.publish(index, args, false)),
            SessionOp::Spublish => return Ok(self.publish(index, args, true)),
            SessionOp::Subscribe => return Ok(self.subscribe(index, Kind::Channel, args)),
            SessionOp::Psubscribe => return Ok(self.subscribe(index, Kind::Pattern, args)),
            SessionOp::Ssubscribe => {
                // Of the three only this one is refused in EXEC, as in Redis: the others were there before the rule.
                if self.session(index).is_some_and(|session| session.exec.is_some()) {
                    return Err(DENY_BLOCKING);
                }
                return Ok(self.subscribe(index, Kind::Shard, args));
            }
            SessionOp::Unsubscribe => self.unsubscribe(index, Kind::Channel, args),
            SessionOp::Punsubscribe => self.unsubscribe(index, Kind::Pattern, args),
            SessionOp::Sunsubscribe => self.unsubscribe(index, Kind::Shard, args),
            _ => self.reply(index, |reply| help::write_help(args, help::PUBSUB, reply)),
        }
        Ok(Flow::Next)
    }

    /// Asks for the names, tells the other cores what is new to them, and confirms when they know.
    fn subscribe(&mut self, index: u32, kind: Kind, args: Args<'_>) -> Flow {
        let Some(session) = self.session(index) else { return Flow::Next };
        // The confirmation must not stand behind an outstanding reply, or messages would come before it.
        if session.replies.waiting() > 0 {
            return self.keep_for(index, Wait::Replies);
        }
        let mut entries = Vec::with_capacity(args.len() - 1);
        let mut news = Announcement::default();
        for name in args.iter_from(1) {
            let name = self.hasher.key(name);
            let reserved = self.pubsub.registries[kind.index()].reserve(name);
            entries.push(reserved.entry);
            let bucket = Bucket::of(kind, name.hash());
            if reserved.is_new {
                news.names.push((kind, name.hash()));
                if !self.pubsub.interest.add(bucket) {
                    news.buckets.push(bucket);
                }
            } else if !reserved.is_known {
                // Somebody else has asked for it and waits: once more, since nobody is told when the others know.
                news.buckets.push(bucket);
            }
        }
        news.buckets.sort_unstable();
        news.buckets.dedup();
        self.count_at_home(&news, true);
        let cores = self.concerned_by(&news);
        if cores.is_empty() {
            self.now_known(kind, &entries, &news);
            let confirmation = self.begin_subscriptions(index, kind, &entries);
            self.confirm(index, &confirmation);
            return Flow::Next;
        }
        let news = Arc::new(news);
        let query = Query::Announce(news.clone());
        self.ask_cores(index, Purpose::Subscribe { kind, entries, news }, query, &cores)
    }

    /// All cores that had to know of a session's new subscriptions do.
    pub(super) fn announced(&mut self, index: u32, kind: Kind, entries: &[EntryId], news: &Announcement) {
        self.now_known(kind, entries, news);
        let Some(session) = self.session(index) else { return };
        if matches!(session.state, State::Closing | State::Closed) {
            for &entry in entries {
                let gone = self.pubsub.registries[kind.index()].release(entry);
                self.name_gone(kind, gone);
            }
            return self.end_wait(index, |_| {});
        }
        let confirmation = self.begin_subscriptions(index, kind, entries);
        let Some(session) = self.session(index) else { return };
        if session.exec.is_some() {
            session.keep_for_silent_exec(&confirmation);
            return self.end_wait(index, |reply| reply.raw(&confirmation));
        }
        self.confirm(index, &confirmation);
        self.end_wait(index, |_| {});
    }

    fn now_known(&mut self, kind: Kind, entries: &[EntryId], news: &Announcement) {
        for &bucket in &news.buckets {
            self.pubsub.interest.set_known(bucket);
        }
        for &entry in entries {
            self.pubsub.registries[kind.index()].set_known(entry);
        }
    }

    /// The session listens to what it has asked for. The confirmations, as bytes for the wire.
    fn begin_subscriptions(&mut self, index: u32, kind: Kind, entries: &[EntryId]) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return out };
        let mut reply = Reply::new(&mut out, session.proto);
        let registry = &mut self.pubsub.registries[kind.index()];
        self.pubsub.clients += u64::from(!session.is_subscriber());
        for &entry in entries {
            let is_new = registry.subscribe(index, entry);
            let name = registry.name(entry);
            if is_new {
                session.subscriptions.change(kind, true);
                session.subscription_bytes += name.len() + SUBSCRIPTION_BYTES;
            }
            write_confirmation(kind.subscribed(), Some(name), session.subscriptions.told(kind), &mut reply);
        }
        session.refresh_lane();
        out
    }

    /// Sends confirmations to a session, in place of the reply to its current command. CLIENT REPLY does not suppress
    /// them: they are messages.
    fn confirm(&mut self, index: u32, confirmation: &[u8]) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        session.keep_for_silent_exec(confirmation);
        session.replies.push(confirmation);
        if session.exec.is_none() {
            mark_dirty(session, index, &mut self.dirty);
        }
    }

    /// Ends subscriptions, of these names or of all, and confirms that.
    fn unsubscribe(&mut self, index: u32, kind: Kind, args: Args<'_>) {
        let Some(session) = self.session(index) else { return };
        let (proto, mut out) = (session.proto, Vec::new());
        let word = kind.unsubscribed();
        if args.len() > 1 {
            for name in args.iter_from(1) {
                let key = self.hasher.key(name);
                let registry = &self.pubsub.registries[kind.index()];
                if let Some(entry) = registry.find(key).filter(|&entry| registry.listens(index, entry)) {
                    self.end_subscription(index, kind, entry);
                }
                let Some(session) = self.session(index) else { return };
                let count = session.subscriptions.told(kind);
                write_confirmation(word, Some(name), count, &mut Reply::new(&mut out, proto));
            }
        } else {
            while let Some(entry) = self.pubsub.registries[kind.index()].first_of(index) {
                let name = self.pubsub.registries[kind.index()].name(entry).to_vec();
                self.end_subscription(index, kind, entry);
                let Some(session) = self.session(index) else { return };
                let count = session.subscriptions.told(kind);
                write_confirmation(word, Some(&name), count, &mut Reply::new(&mut out, proto));
            }
            if out.is_empty() {
                let Some(session) = self.session(index) else { return };
                let count = session.subscriptions.told(kind);
                write_confirmation(word, None, count, &mut Reply::new(&mut out, proto));
            }
        }
        self.confirm(index, &out);
    }

    /// The session listens to nothing any more; nothing is said to its client.
    pub(super) fn unsubscribe_from_all(&mut self, index: u32) {
        if !self.session(index).is_some_and(|session| session.is_subscriber()) {
            return;
        }
        for kind in Kind::ALL {
            while let Some(entry) = self.pubsub.registries[kind.index()].first_of(index) {
                self.end_subscription(index, kind, entry);
            }
            self.pubsub.registries[kind.index()].forget(index);
        }
    }

    fn end_subscription(&mut self, index: u32, kind: Kind, entry: EntryId) {
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return };
        let registry = &mut self.pubsub.registries[kind.index()];
        session.subscription_bytes -= registry.name(entry).len() + SUBSCRIPTION_BYTES;
        session.subscriptions.change(kind, false);
        if !session.is_subscriber() {
            self.pubsub.clients -= 1;
            session.refresh_lane();
        }
        let gone = registry.unsubscribe(index, entry);
        self.name_gone(kind, gone);
    }

    fn name_gone(&mut self, kind: Kind, gone: Option<Gone>) {
        if let Some(Gone(hash)) = gone {
            self.pubsub.interest.remove(Bucket::of(kind, hash));
            self.pubsub.gone.push((kind, hash));
        }
    }

    /// At the end of a pass: tells their homes of the names that have lost their last subscriber here.
    #[inline]
    pub(super) fn send_gone(&mut self) {
        if !self.pubsub.gone.is_empty() {
            let names = std::mem::take(&mut self.pubsub.gone);
            self.withdraw(Announcement { buckets: Vec::new(), names });
        }
    }

    /// At times: tells the others in which buckets this core no longer has a name. Not at once, for clients come and
    /// go, and what is published meanwhile is only looked for in vain.
    pub(super) fn withdraw_interest(&mut self) {
        let buckets = self.pubsub.interest.take_withdrawn();
        self.withdraw(Announcement { buckets, names: Vec::new() });
    }

    fn withdraw(&mut self, news: Announcement) {
        self.count_at_home(&news, false);
        let cores = self.concerned_by(&news);
        if cores.is_empty() {
            return;
        }
        let news = Arc::new(news);
        for core in cores {
            self.post(core, Rare::Query(UNANSWERED, Query::Withdraw(news.clone())));
        }
    }

    /// The other cores that have to hear of it.
    fn concerned_by(&self, news: &Announcement) -> Vec<CoreId> {
        let others = (0..self.cores).map(CoreId).filter(|&core| core != self.id);
        if !news.buckets.is_empty() {
            return others.collect();
        }
        let mut homes: Vec<CoreId> =
            news.names.iter().map(|&(_, hash)| Census::home(hash, self.cores)).collect();
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|&core| core != self.id);
        homes
    }

    /// Another core has new names.
    pub(super) fn take_announcement(&mut self, from: CoreId, news: &Announcement) {
        self.pubsub.interest.note(from, &news.buckets, true);
        self.count_at_home(news, true);
    }

    /// Another core has names no longer.
    pub(super) fn take_withdrawal(&mut self, from: CoreId, news: &Announcement) {
        self.pubsub.interest.note(from, &news.buckets, false);
        self.count_at_home(news, false);
    }

    /// Counts the names of which this core is the home.
    fn count_at_home(&mut self, news: &Announcement, is_new: bool) {
        for &(kind, hash) in &news.names {
            if Census::home(hash, self.cores) == self.id {
                match is_new {
                    true => self.pubsub.census.add(kind, hash),
                    false => self.pubsub.census.remove(kind, hash),
                }
            }
        }
    }

    /// PUBLISH and SPUBLISH.
    fn publish(&mut self, index: u32, args: Args<'_>, is_sharded: bool) -> Flow {
        let (channel, message) = (self.hasher.key(args.at(1)), args.at(2));
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        if session.replies.waiting() > session.publishing {
            return self.keep_for(index, Wait::Replies);
        }
        let goes_out = self.is_wanted_elsewhere(channel, is_sharded);
        let Some(session) = self.sessions[index as usize].as_deref_mut() else { return Flow::Next };
        // In EXEC nothing can wait before it has begun; there a session has one publication under way at most.
        if goes_out && session.exec.is_none() {
            let is_owed_much = session.replies.pending_bytes() > OUTPUT_HIGH_BYTES;
            if is_owed_much || session.replies.waiting() >= FORWARDED_MAX {
                return self.owed_too_much(index);
            }
            if !self.has_room_for_publications(channel, is_sharded) {
                return self.outbox_full(index);
            }
        }
        self.published(index, channel, message, is_sharded);
        Flow::Next
    }

    /// A client of this node has published something: delivers it and answers. Everything that a client publishes
    /// goes through here once, on the client's core and in its order; who else is to be told of publications (a
    /// replica) is told from here. What did not come from a client of this node goes to `deliver_publication`.
    fn published(&mut self, publisher: u32, channel: Key<'_>, message: &[u8], is_sharded: bool) {
        self.propagate_publication(channel.bytes(), message, is_sharded);
        let receivers = self.deliver_here(Some(publisher), channel, message, is_sharded);
        if self.is_wanted_elsewhere(channel, is_sharded) {
            let Some(session) = self.sessions[publisher as usize].as_deref_mut() else { return };
            let slot = session.replies.reserve(session.is_silent());
            session.publishing += 1;
            let under_way = UnderWay { session: publisher, slot, receivers, missing: 0 };
            let number = self.pubsub.put_under_way(under_way);
            let missing = self.send_out(Some(number), channel, message, is_sharded);
            if let Some(publication) = &mut self.pubsub.under_way[number as usize] {
                publication.missing = missing;
            }
        } else {
            self.reply(publisher, |reply| reply.int(receivers as i64));
        }
        if !self.pubsub.own.is_empty() {
            let own = std::mem::take(&mut self.pubsub.own);
            self.hand_over_own(publisher, &own);
        }
    }

    /// What a client has published and listens to itself.
    #[cold]
    fn hand_over_own(&mut self, publisher: u32, messages: &[u8]) {
        let limits = self.config.clients.output_buffer_limits;
        let Some(session) = self.sessions[publisher as usize].as_deref_mut() else { return };
        session.push_own_publications(messages);
        if session.exec.is_none() {
            mark_dirty(session, publisher, &mut self.dirty);
        }
        if session.reads_too_slowly(&limits, self.now.mono) {
            self.drop_slow_reader(publisher);
        }
    }

    /// Delivers what was published elsewhere, on the node's primary: to the subscribers of all cores, and nobody is
    /// told how many these are. In the order of the calls. It never waits: whoever calls it reads no more from where
    /// publications come from while `takes_publications` says no.
    pub fn deliver_publication(&mut self, channel: &[u8], message: &[u8], is_sharded: bool) {
        let hasher = self.hasher.clone();
        let channel = hasher.key(channel);
        self.deliver_here(None, channel, message, is_sharded);
        self.send_out(None, channel, message, is_sharded);
    }

    /// Whether there is room for more publications to all other cores.
    pub fn takes_publications(&self) -> bool {
        self.outboxes.iter().all(|outbox| outbox.has_room())
    }

    fn is_wanted_elsewhere(&self, channel: Key<'_>, is_sharded: bool) -> bool {
        let interest = &self.pubsub.interest;
        let kind = Kind::of_publication(is_sharded);
        (0..interest.words()).any(|word| interest.wanted_by(kind, channel.hash(), word) != 0)
    }

    fn has_room_for_publications(&self, channel: Key<'_>, is_sharded: bool) -> bool {
        self.wanting(channel, is_sharded).all(|core| self.outboxes[core].has_room())
    }

    /// The other cores that a publication may concern, by number.
    fn wanting(&self, channel: Key<'_>, is_sharded: bool) -> impl Iterator<Item = usize> + '_ {
        let interest = &self.pubsub.interest;
        let (kind, hash) = (Kind::of_publication(is_sharded), channel.hash());
        (0..interest.words())
            .flat_map(move |word| Bits(interest.wanted_by(kind, hash, word)).map(move |bit| word * 64 + bit))
    }

    /// Puts a publication into the parcels for the cores that it may concern. How many these are.
    fn send_out(&mut self, number: Option<u32>, channel: Key<'_>, message: &[u8], is_sharded: bool) -> u16 {
        let kind = Kind::of_publication(is_sharded);
        let mut cores = 0;
        for word in 0..self.pubsub.interest.words() {
            for bit in Bits(self.pubsub.interest.wanted_by(kind, channel.hash(), word)) {
                let outbox = &mut self.outboxes[word * 64 + bit];
                if !outbox.has_room() {
                    // Only where nobody can wait: the places in a parcel are 32 bits wide.
                    self.stats.parcels += u64::from(outbox.close());
                }
                let parcel = outbox.open.get_or_insert_with(|| self.parcels.pop().unwrap_or_default());
                parcel.push_publication(number, channel.bytes(), message, is_sharded);
                cores += 1;
            }
        }
        cores
    }

    /// Delivers what clients of another core have published.
    pub(super) fn answer_publications(&mut self, parcel: &mut Parcel) {
        let hasher = self.hasher.clone();
        parcel.answer_publications(|channel, message, is_sharded| {
            self.deliver_here(None, hasher.key(channel), message, is_sharded) as u32
        });
    }

    /// Another core has delivered a publication of one of this core's clients.
    pub(super) fn take_receivers(&mut self, number: u32, receivers: u32) {
        let Some(publication) = &mut self.pubsub.under_way[number as usize] else { return };
        publication.receivers += u64::from(receivers);
        publication.missing -= 1;
        if publication.missing > 0 {
            return;
        }
        let UnderWay { session: index, slot, receivers, .. } = *publication;
        self.pubsub.under_way[number as usize] = None;
        self.pubsub.free.push(number);
        if let Some(session) = self.session(index) {
            session.publishing -= 1;
        }
        let mut reply = std::mem::take(&mut self.pubsub.message);
        reply.clear();
        Reply::new(&mut reply, Proto::Resp2).int(receivers as i64);
        self.fill(index, slot, &reply);
        self.pubsub.message = reply;
    }

    /// Delivers a publication to the subscribers of this core; what is for the publisher itself is put aside. How many
    /// subscriptions there were.
    fn deliver_here(
        &mut self,
        publisher: Option<u32>,
        channel: Key<'_>,
        message: &[u8],
        is_sharded: bool,
    ) -> u64 {
        let Host { sessions, dirty, pubsub, config, now, .. } = self;
        let Pubsub { registries, message: bytes, own, slow, .. } = pubsub;
        let limits = &config.clients.output_buffer_limits;
        let mut delivery = Delivery { sessions, dirty, limits, now: now.mono, publisher, own, slow };
        let kind = Kind::of_publication(is_sharded);
        let mut receivers = 0;
        let registry = &registries[kind.index()];
        if let Some(entry) = registry.find(channel) {
            bytes.clear();
            write_message(kind, channel.bytes(), message, bytes);
            receivers += delivery.hand_over(registry.sessions(entry), bytes);
        }
        if !is_sharded {
            for (pattern, subscribers) in registries[Kind::Pattern.index()].iter() {
                if glob::matches(pattern, channel.bytes(), false) {
                    bytes.clear();
                    write_pattern_message(pattern, channel.bytes(), message, bytes);
                    receivers += delivery.hand_over(subscribers, bytes);
                }
            }
        }
        if bytes.capacity() > KEEP_BYTES_MAX {
            *bytes = Vec::new();
        }
        while let Some(index) = self.pubsub.slow.pop() {
            // It may listen to several that this one concerns.
            let is_open = |session: &mut Session| !matches!(session.state, State::Closing | State::Closed);
            if self.session(index).is_some_and(is_open) {
                self.drop_slow_reader(index);
            }
        }
        receivers
    }

    /// PUBSUB CHANNELS and SHARDCHANNELS on this core.
    pub(super) fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let names = self.pubsub.registries[kind.index()].iter().map(|(name, _)| name);
        names
            .filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name, false)))
            .map(Box::from)
            .collect()
    }

    /// How many of this core's clients listen to each of the names that stand behind the subcommand.
    pub(super) fn count_subscribers(&self, kind: Kind, args: Args<'_>) -> Vec<u64> {
        let registry = &self.pubsub.registries[kind.index()];
        let count = |name| {
            let entry = registry.find(self.hasher.key(name));
            entry.map_or(0, |entry| registry.sessions(entry).len() as u64)
        };
        args.iter_from(2).map(count).collect()
    }

    /// How many names of this kind there are of which this core is the home.
    pub(super) fn count_names(&self, kind: Kind) -> i64 {
        self.pubsub.census.len(kind) as i64
    }

    /// What INFO tells of this core.
    pub(super) fn report_pubsub(&self) -> PubsubReport {
        let names = Kind::ALL.map(|kind| self.pubsub.census.len(kind) as u64);
        PubsubReport { names, clients: self.pubsub.clients }
    }
}

/// A publication on its way to the clients of a core.
struct Delivery<'a> {
    sessions: &'a mut [Option<Box<Session>>],
    dirty: &'a mut Vec<u32>,
    limits: &'a OutputBufferLimits,
    now: MonoUs,
    publisher: Option<u32>,
    own: &'a mut Vec<u8>,
    slow: &'a mut Vec<u32>,
}

impl Delivery<'_> {
    /// Hands a message to each of these clients. How many they are.
    fn hand_over(&mut self, subscribers: &[u32], message: &[u8]) -> u64 {
        for &index in subscribers {
            let Some(session) = self.sessions[index as usize].as_deref_mut() else { continue };
            if self.publisher == Some(index) {
                append_message(message, session.proto, self.own);
                continue;
            }
            session.push_publication(message);
            if session.exec.is_none() {
                mark_dirty(session, index, self.dirty);
            }
            if session.reads_too_slowly(self.limits, self.now) {
                self.slow.push(index);
            }
        }
        subscribers.len() as u64
    }
}

/// The numbers of the bits that are set, the lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}
