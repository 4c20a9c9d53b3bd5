//! A primary's streams, and the flows of replicas that are fed from them.
//!
//! A feed is a session whose client has joined as a flow: nothing that it sends is a request any more, and what it is
//! sent is its share of a snapshot, if it needs one, and then the stream.
//!
//! ```text
//! Joined -> Attending -> Sending (a snapshot is cut) -> Streaming
//!        -> Streaming (it goes on where it was)
//! ```
//!
//! A node that has more shards than streams has flows that bring nothing but a part: these are `Done` instead.
//!
//! Snapshots and streams are sent in pieces that begin with their length. Between two of them there is now and then a
//! sign of life (`repl-ping-replica-period`), so that the replica notices a flow on which nothing comes any more while
//! its control link lives. A feed that takes nothing of what it is owed for `repl-timeout` is let go.
//!
//! A feed is never waited for. What it has not been sent stays in the stream's backlog, which it shares with the
//! others, up to `client-output-buffer-limit replica`; then it is let go, and comes back for a snapshot.
//!
//! A write that comes after a pause is sent at the end of its pass. Under load records gather for a moment: what a
//! primary pays for a replica is a send and a wake-up at a time, not the bytes (figures: `tuning/RESULTS.md`).

use super::merging::{MergeFeed, MergeMail};
use super::ReplicationMail;
use crate::base::ids::CoreId;
use crate::base::time::{MonoUs, Ticks};
use crate::config::OutputBufferLimit;
use crate::host::host::{mark_dirty, Host};
use crate::host::mail::Rare;
use crate::replication::backlog::Backlog;
use crate::replication::handshake::{write_piece_head, FlowHead};
use crate::session::{SessionKind, State, Wait};

/// One stream of records, on the core that owns it.
#[derive(Debug)]
pub(in crate::host) struct Stream {
    /// Its number: on a primary the shard's.
    pub(super) number: u16,
    /// How far it has come, annotations included.
    pub(super) raw: u64,
    /// The same as a Redis peer counts; of a primary's own the journal knows that.
    pub(super) offset: u64,
    /// Its last bytes; none before the first replica has come.
    pub(super) backlog: Option<Backlog>,
    /// Who is fed from it.
    pub(super) feeds: Vec<Feed>,
    /// Its way to core 0, where it becomes one with the others.
    pub(super) merging: Option<MergeFeed>,
    /// Up to where feeds may be sent it: all of it, on a primary.
    pub(super) open_to: u64,
    /// Somebody waits for replicas to have what is in it: nothing gathers until it is sent.
    is_awaited: bool,
}

/// A replica's flow.
#[derive(Debug)]
pub(super) struct Feed {
    /// The meeting with its replica.
    meeting: u64,
    session: u32,
    /// The position of the next byte that it is to be sent.
    at: u64,
    stage: FeedStage,
    /// When it was last given something.
    fed_at: MonoUs,
    /// Since when more waits for it than the soft limit allows.
    behind_since: Option<MonoUs>,
    /// Bytes that it was given in all, and how many of them it had taken when it was last looked at.
    given: u64,
    taken: u64,
    /// When it was last seen to take something, or to be owed nothing.
    moved: MonoUs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeedStage {
    Joined,
    Attending,
    Sending,
    Streaming,
    /// It has its part of a snapshot, if it needed one; there is no stream on this flow.
    Done,
}

/// A feed that is owed this much is not given more: the rest stays in the backlog.
const FEED_BYTES_MAX: usize = 1024 * 1024;

/// Less than this is given to a feed only so often: how long a record waits at most beside what the network takes.
const GATHERED_BYTES: u64 = 64 * 1024;
const GATHERED_US: u64 = 500;

impl Stream {
    /// A stream that has not begun.
    pub(in crate::host) fn new(number: u16) -> Stream {
        Stream {
            number,
            raw: 0,
            offset: 0,
            backlog: None,
            feeds: Vec::new(),
            merging: None,
            open_to: 0,
            is_awaited: false,
        }
    }

    /// The stream goes on with these bytes.
    pub(in crate::host) fn append(&mut self, bytes: &[u8]) {
        self.raw += bytes.len() as u64;
        if let Some(backlog) = &mut self.backlog {
            // It is trimmed at the end of the pass, when all have been given what is theirs (`trim_backlogs`).
            backlog.append(bytes);
        }
    }

    /// How far it has come, annotations included: what replicas say they have is counted so.
    pub(in crate::host) fn end(&self) -> u64 {
        self.raw
    }

    /// Its last bytes, if it has this number and keeps them.
    pub(in crate::host) fn kept(&self, number: u16) -> Option<&Backlog> {
        self.backlog.as_ref().filter(|_| self.number == number)
    }

    /// Whether its last bytes are kept.
    pub(in crate::host) fn keeps(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether anybody is sent it.
    pub(super) fn is_fed(&self) -> bool {
        !self.feeds.is_empty() || self.merging.is_some()
    }

    /// Somebody waits for replicas to have all of it.
    pub(in crate::host) fn hurry(&mut self) {
        self.is_awaited = true;
    }

    /// From now on its last bytes are kept.
    pub(super) fn keep_backlog(&mut self, capacity: u64) {
        let raw = self.raw;
        self.backlog.get_or_insert_with(|| Backlog::new(raw, capacity));
    }
}

impl<T: Ticks> Host<T> {
    /// How many streams this node has, on all cores: a primary one for each shard, a replica as many as its primary.
    pub(super) fn stream_count(&self) -> usize {
        match self.replication.is_replica {
            true => usize::from(self.replication.stream_count),
            false => self.placement.len(),
        }
    }

    /// Each stream's share of `repl-backlog-size`.
    pub(super) fn backlog_capacity(&self) -> u64 {
        let streams = (self.stream_count() as u64).max(1);
        self.config.replication.repl_backlog_bytes.div_ceil(streams)
    }

    /// The stream of this number, if this core owns it.
    fn stream(&mut self, number: u16) -> Option<&mut Stream> {
        self.replication.streams.iter_mut().find(|stream| stream.number == number)
    }

    /// A client has joined as a flow, on the core that owns its stream.
    pub(in crate::host) fn join_flow(&mut self, index: u32, meeting: u64, flow: u16, at: Option<u64>) {
        self.become_kind(index, SessionKind::Feed);
        let now = self.now.mono;
        let Some(session) = self.session(index) else { return };
        session.state = State::Waiting(Wait::Link);
        session.input = Default::default();
        let Some(stream) = self.stream(flow) else {
            return self.close(index, true);
        };
        let is_kept = at.is_some_and(|at| stream.backlog.as_ref().is_some_and(|backlog| backlog.has(at)));
        stream.feeds.push(Feed {
            meeting,
            session: index,
            at: at.unwrap_or(0),
            stage: FeedStage::Joined,
            fed_at: MonoUs(0),
            behind_since: None,
            given: 0,
            taken: 0,
            moved: now,
        });
        let mail = ReplicationMail::FlowJoined { meeting, flow, at, is_kept };
        self.post(CoreId(0), Rare::Replication(mail));
    }

    /// The replica of this meeting goes on where it is.
    pub(super) fn resume_feeds(&mut self, meeting: u64) {
        let (mut lost, streams) = (Vec::new(), self.stream_count());
        for stream in &mut self.replication.streams {
            let has_stream = usize::from(stream.number) < streams;
            for feed in stream.feeds.iter_mut().filter(|feed| feed.meeting == meeting) {
                if has_stream && !stream.backlog.as_ref().is_some_and(|backlog| backlog.has(feed.at)) {
                    lost.push(feed.session);
                    continue;
                }
                let (stage, head) = match has_stream {
                    true => (FeedStage::Streaming, FlowHead::Continue),
                    false => (FeedStage::Done, FlowHead::Done),
                };
                feed.stage = stage;
                let Some(session) = self.sessions[feed.session as usize].as_deref_mut() else { continue };
                head.write(session.replies.writer());
                mark_dirty(session, feed.session, &mut self.dirty);
            }
        }
        lost.into_iter().for_each(|index| self.close(index, true));
    }

    /// The place, among this core's streams, of the one that goes with a part of a snapshot: of the shard at this
    /// place. On a replica they need not be in the same order.
    fn stream_of_shard(&self, place: usize) -> usize {
        let number = self.shards[place].id().0;
        let found = self.replication.streams.iter().position(|stream| stream.number == number);
        found.unwrap_or(place)
    }

    /// Where the stream at this place has come to, as a Redis peer counts.
    pub(super) fn offset_of(&self, place: usize) -> u64 {
        match self.replication.is_replica {
            true => self.replication.streams[place].offset,
            false => self.shards.get(place).map_or(0, |shard| shard.journal.end().0),
        }
    }

    /// The replica of this meeting takes part in the snapshot that is cut next.
    pub(super) fn attend_feeds(&mut self, meeting: u64) {
        let feeds = self.replication.streams.iter_mut().flat_map(|stream| &mut stream.feeds);
        for feed in feeds.filter(|feed| feed.meeting == meeting && feed.stage == FeedStage::Joined) {
            feed.stage = FeedStage::Attending;
        }
    }

    /// The replica of this meeting is gone.
    pub(super) fn end_feeds(&mut self, meeting: u64) {
        let feeds = self.replication.streams.iter().flat_map(|stream| &stream.feeds);
        let sessions: Vec<u32> =
            feeds.filter(|feed| feed.meeting == meeting).map(|feed| feed.session).collect();
        sessions.into_iter().for_each(|index| self.close(index, true));
    }

    /// A stream is no more, or becomes another: those who are fed from it are let go. Core 0 hears of it here, since
    /// nothing is known of them any more when their sessions have ended.
    pub(super) fn let_feeds_go(&mut self, feeds: Vec<Feed>) {
        for Feed { meeting, session, .. } in feeds {
            self.close(session, true);
            self.post(CoreId(0), Rare::Replication(ReplicationMail::FlowLost(meeting)));
        }
    }

    /// All replicas are let go.
    pub(super) fn end_all_feeds(&mut self) {
        let feeds = self.replication.streams.iter().flat_map(|stream| &stream.feeds);
        let sessions: Vec<u32> = feeds.map(|feed| feed.session).collect();
        sessions.into_iter().for_each(|index| self.close(index, true));
    }

    /// A session that was a feed has ended.
    pub(in crate::host) fn feed_ended(&mut self, index: u32) {
        let mut lost = None;
        for stream in &mut self.replication.streams {
            if let Some(at) = stream.feeds.iter().position(|feed| feed.session == index) {
                lost = Some(stream.feeds.swap_remove(at).meeting);
            }
        }
        if let Some(meeting) = lost {
            self.post(CoreId(0), Rare::Replication(ReplicationMail::FlowLost(meeting)));
        }
    }

    /// The shard at this place was cut for a snapshot: those that attend it get their share. The place in its stream,
    /// raw and as an offset.
    pub(in crate::host) fn begin_sending(&mut self, place: usize) -> (u64, u64) {
        let at = self.stream_of_shard(place);
        let (capacity, offset) = (self.backlog_capacity(), self.offset_of(at));
        let is_replica = self.replication.is_replica;
        let stream = &mut self.replication.streams[at];
        stream.keep_backlog(capacity);
        let raw = if is_replica { stream.open_to } else { stream.raw };
        for feed in stream.feeds.iter_mut().filter(|feed| feed.stage == FeedStage::Attending) {
            (feed.stage, feed.at) = (FeedStage::Sending, raw);
            let Some(session) = self.sessions[feed.session as usize].as_deref_mut() else { continue };
            FlowHead::Part.write(session.replies.writer());
            mark_dirty(session, feed.session, &mut self.dirty);
        }
        (raw, offset)
    }

    /// Whether those that are sent a snapshot of the shard at this place can take more of it; none if nobody is left.
    pub(in crate::host) fn sending_has_room(&self, place: usize) -> Option<bool> {
        let feeds = self.replication.streams[self.stream_of_shard(place)].feeds.iter();
        let mut sending = feeds.filter(|feed| feed.stage == FeedStage::Sending).peekable();
        sending.peek()?;
        Some(sending.all(|feed| {
            let session = self.sessions[feed.session as usize].as_deref();
            session.is_none_or(|session| session.owed_bytes() < FEED_BYTES_MAX)
        }))
    }

    /// A piece of the snapshot goes to all that are sent it.
    pub(in crate::host) fn send_piece(&mut self, place: usize, bytes: &[u8]) {
        let at = self.stream_of_shard(place);
        let feeds = self.replication.streams[at].feeds.iter_mut();
        for feed in feeds.filter(|feed| feed.stage == FeedStage::Sending) {
            let Some(session) = self.sessions[feed.session as usize].as_deref_mut() else { continue };
            let out = session.replies.writer();
            write_piece_head(bytes.len(), out);
            out.extend_from_slice(bytes);
            feed.given += bytes.len() as u64;
            mark_dirty(session, feed.session, &mut self.dirty);
        }
    }

    /// The snapshot of the shard at this place is at its end: the stream follows, from the cut on.
    pub(in crate::host) fn end_sending(&mut self, place: usize, (raw, offset): (u64, u64)) {
        let (at, streams) = (self.stream_of_shard(place), self.stream_count());
        let stream = &mut self.replication.streams[at];
        let has_stream = usize::from(stream.number) < streams;
        for feed in &mut stream.feeds {
            if feed.stage != FeedStage::Sending {
                continue;
            }
            let (stage, head) = match has_stream {
                true => (FeedStage::Streaming, FlowHead::Stream { raw, offset }),
                false => (FeedStage::Done, FlowHead::Done),
            };
            feed.stage = stage;
            let Some(session) = self.sessions[feed.session as usize].as_deref_mut() else { continue };
            let out = session.replies.writer();
            out.extend_from_slice(b"$0\r\n");
            head.write(out);
            mark_dirty(session, feed.session, &mut self.dirty);
        }
    }

    /// A replica has more streams than shards: those that go with no part of the snapshot begin where they were when
    /// the shards were cut.
    pub(super) fn send_heads_after_cut(&mut self) {
        let (shards, capacity) = (self.placement.len(), self.backlog_capacity());
        for stream in &mut self.replication.streams {
            if usize::from(stream.number) < shards {
                continue;
            }
            stream.keep_backlog(capacity);
            for feed in stream.feeds.iter_mut().filter(|feed| feed.stage == FeedStage::Attending) {
                (feed.stage, feed.at) = (FeedStage::Streaming, stream.open_to);
                let Some(session) = self.sessions[feed.session as usize].as_deref_mut() else { continue };
                let head = FlowHead::Stream { raw: stream.open_to, offset: stream.offset };
                head.write(session.replies.writer());
                mark_dirty(session, feed.session, &mut self.dirty);
            }
        }
    }

    /// The snapshot has failed: those that were sent it have to come again.
    pub(in crate::host) fn abort_sending(&mut self, place: usize) {
        let feeds = self.replication.streams[self.stream_of_shard(place)].feeds.iter();
        let sending = feeds.filter(|feed| feed.stage == FeedStage::Sending);
        let sessions: Vec<u32> = sending.map(|feed| feed.session).collect();
        sessions.into_iter().for_each(|index| self.close(index, true));
    }

    /// Gives each feed what its stream has for it, as far as it takes it, and if it is time.
    pub(super) fn pump_feeds(&mut self) {
        let (is_replica, now) = (self.replication.is_replica, self.now.mono);
        let mut us_to_feed = u64::MAX;
        for stream in &mut self.replication.streams {
            let Some(backlog) = &mut stream.backlog else { continue };
            let until = if is_replica { stream.open_to } else { backlog.end() };
            let is_awaited = std::mem::take(&mut stream.is_awaited);
            for feed in stream.feeds.iter_mut().filter(|feed| feed.stage == FeedStage::Streaming) {
                let Some(session) = self.sessions[feed.session as usize].as_deref_mut() else { continue };
                let owed = session.owed_bytes();
                if feed.at >= until || owed >= FEED_BYTES_MAX || !backlog.has(feed.at) {
                    continue;
                }
                let since_us = now.since(feed.fed_at);
                if until - feed.at < GATHERED_BYTES && since_us < GATHERED_US && !is_awaited {
                    us_to_feed = us_to_feed.min(GATHERED_US - since_us);
                    continue;
                }
                feed.fed_at = now;
                let len = (until - feed.at).min((FEED_BYTES_MAX - owed) as u64);
                let out = session.replies.writer();
                write_piece_head(len as usize, out);
                if let Some(at) = backlog.read(feed.at, feed.at + len, len as usize, out) {
                    feed.at = at;
                }
                feed.given += len;
                mark_dirty(session, feed.session, &mut self.dirty);
            }
        }
        self.replication.us_to_feed = us_to_feed;
    }

    /// Gives back what nobody needs any more of the streams' last bytes.
    pub(super) fn trim_backlogs(&mut self) {
        let is_replica = self.replication.is_replica;
        for stream in &mut self.replication.streams {
            let Some(backlog) = &mut stream.backlog else { continue };
            let is_fed = |feed: &&Feed| matches!(feed.stage, FeedStage::Sending | FeedStage::Streaming);
            let slowest = stream.feeds.iter().filter(is_fed).map(|feed| feed.at).min();
            let merged = stream.merging.as_ref().map(|feed| feed.at);
            // What a replica has not applied is still to go to its own files.
            let unapplied = is_replica.then_some(stream.open_to);
            backlog.trim(slowest.into_iter().chain(merged).chain(unapplied).min());
        }
    }

    /// Nobody came back for what was kept.
    pub(super) fn forget_backlog(&mut self) {
        for stream in &mut self.replication.streams {
            if !stream.is_fed() {
                stream.backlog = None;
            }
        }
        self.refresh_recording();
    }

    /// What is due on the links of flows: signs of life where nothing else is on its way; and those are let go that
    /// have taken nothing for too long. Looked at `hz` times a second.
    pub(super) fn watch_feeds(&mut self) {
        let now = self.now.mono;
        let replication = &self.config.replication;
        let timeout_us = u64::from(replication.repl_timeout_secs) * 1_000_000;
        let period_us = u64::from(replication.repl_ping_replica_period_secs) * 1_000_000;
        let is_due = now.since(self.replication.signed) >= period_us;
        if is_due {
            self.replication.signed = now;
        }
        let (mut quiet, mut stalled) = (Vec::new(), Vec::new());
        for feed in self.replication.streams.iter_mut().flat_map(|stream| &mut stream.feeds) {
            let Some(session) = self.sessions[feed.session as usize].as_deref() else { continue };
            let owed = session.owed_bytes() as u64;
            // Heads and signs of life are not counted: that the difference is another is all that matters.
            let taken = feed.given.wrapping_sub(owed);
            if owed == 0 || taken != std::mem::replace(&mut feed.taken, taken) {
                feed.moved = now;
            }
            if now.since(feed.moved) > timeout_us {
                stalled.push(feed.session);
            } else if is_due && owed == 0 {
                quiet.push(feed.session);
            }
        }
        quiet.into_iter().for_each(|session| self.send_sign_of_life(session));
        for session in stalled {
            tracing::warn!(
                "A flow of a replica takes nothing of what is sent: it is given up (repl-timeout)"
            );
            self.close(session, true);
        }
    }

    /// Lets those go that are too far behind (`client-output-buffer-limit replica`). Looked at `hz` times a second.
    pub(super) fn check_feeds(&mut self) {
        let limit = self.config.clients.output_buffer_limits.replica;
        let streams = (self.placement.len() as u64).max(1);
        let (hard, soft) = (limit.hard_bytes.div_ceil(streams), limit.soft_bytes.div_ceil(streams));
        let (now, capacity) = (self.now.mono, self.backlog_capacity());
        let (mut lost, mut lagging) = (Vec::new(), Vec::new());
        for stream in &mut self.replication.streams {
            let raw = stream.raw;
            if let Some(backlog) = &mut stream.backlog {
                backlog.set_capacity(capacity);
                // What is kept for those that come back costs nothing on their account, as in Redis.
                let kept = backlog.end() - backlog.first();
                let over = kept.saturating_sub(capacity);
                if let Some(feed) = &stream.merging {
                    let behind = raw.saturating_sub(feed.at).min(over);
                    if hard > 0 && behind >= hard {
                        lagging.push(MergeMail::Lost(feed.merging(), stream.number));
                    }
                }
                for feed in &mut stream.feeds {
                    let behind = match feed.stage {
                        FeedStage::Joined | FeedStage::Attending | FeedStage::Done => 0,
                        FeedStage::Sending | FeedStage::Streaming => raw.saturating_sub(feed.at).min(over),
                    };
                    let limit = OutputBufferLimit { hard_bytes: hard, soft_bytes: soft, ..limit };
                    if is_too_far_behind(&mut feed.behind_since, behind, limit, now) {
                        lost.push(feed.session);
                    }
                }
            }
        }
        lost.into_iter().for_each(|index| self.drop_slow_reader(index));
        for mail in lagging {
            self.post(CoreId(0), Rare::Replication(ReplicationMail::Merge(mail)));
        }
    }
}

/// Whether whoever is so many bytes behind is to be let go; since when it is over the soft limit is kept.
pub(super) fn is_too_far_behind(
    since: &mut Option<MonoUs>,
    behind: u64,
    limit: OutputBufferLimit,
    now: MonoUs,
) -> bool {
    let is_over_soft = limit.soft_bytes > 0 && behind >= limit.soft_bytes;
    let began = since.filter(|_| is_over_soft);
    *since = is_over_soft.then(|| began.unwrap_or(now));
    let is_for_too_long =
        began.is_some_and(|began| now.since(began) > limit.soft_secs.saturating_mul(1_000_000));
    limit.hard_bytes > 0 && behind >= limit.hard_bytes || is_for_too_long
}
