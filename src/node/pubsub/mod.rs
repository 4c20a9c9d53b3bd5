//! Pub/Sub on one core: who of its clients listens to what, and what the other cores have to know of it.
//!
//! Each core has a `Registry` per kind of subscription, of its own clients only. A publication is delivered by every
//! core to its own subscribers. So that one with no subscribers on other cores costs these nothing, every core knows
//! which others it may concern: names fall into buckets by their hash, and a core tells the others when the first of
//! its names comes into a bucket (`Interest`). A false alarm costs a message and nothing else.
//!
//! How many channels there are over all cores, each counted once, is known without asking for their names: each name
//! has a *home* core, by its hash, which is told when a core has its first subscriber to it and when it has none any
//! more (`Census`).
//!
//! The guarantee, which `host::pubsub` keeps: a subscription is confirmed to the client only when all other cores know
//! of it. What anybody publishes after the confirmation, on whichever core, reaches the client.
//!
//! Not here: sessions and mail.

pub mod interest;
pub mod registry;

pub use interest::{Announcement, Census, Interest};
pub use registry::{EntryId, Registry};

use crate::resp::{Proto, Reply};

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel (SUBSCRIBE).
    Channel,
    /// All channels that match a pattern (PSUBSCRIBE).
    Pattern,
    /// A shard channel (SSUBSCRIBE); they are a world of their own, and no pattern reaches them.
    Shard,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

    /// Its place in a list of one thing for each kind.
    #[inline]
    pub fn index(self) -> usize {
        match self {
            Kind::Channel => 0,
            Kind::Pattern => 1,
            Kind::Shard => 2,
        }
    }

    /// What is published is for these subscriptions by name.
    #[inline]
    pub fn of_publication(is_sharded: bool) -> Kind {
        if is_sharded {
            Kind::Shard
        } else {
            Kind::Channel
        }
    }

    /// The word that confirms a subscription.
    pub fn subscribed(self) -> &'static [u8] {
        match self {
            Kind::Channel => b"subscribe",
            Kind::Pattern => b"psubscribe",
            Kind::Shard => b"ssubscribe",
        }
    }

    /// The word that confirms its end.
    pub fn unsubscribed(self) -> &'static [u8] {
        match self {
            Kind::Channel => b"unsubscribe",
            Kind::Pattern => b"punsubscribe",
            Kind::Shard => b"sunsubscribe",
        }
    }
}

/// How many subscriptions a client has, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u32; 3]);

impl Counts {
    /// Of this kind.
    #[inline]
    pub fn of(&self, kind: Kind) -> u32 {
        self.0[kind.index()]
    }

    /// One more, or one less, of this kind.
    pub fn change(&mut self, kind: Kind, is_more: bool) {
        let count = &mut self.0[kind.index()];
        *count = if is_more { *count + 1 } else { *count - 1 };
    }

    /// Of all kinds.
    #[inline]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    /// The number that confirmations of this kind tell: channels and patterns are counted together.
    pub fn told(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Shard => self.of(Kind::Shard),
            Kind::Channel | Kind::Pattern => self.of(Kind::Channel) + self.of(Kind::Pattern),
        }
    }
}

/// What INFO tells of Pub/Sub; those of several cores add up to the node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PubsubReport {
    /// Names with a subscriber on any core, by kind, of which this core is the home.
    pub names: [u64; 3],
    /// Clients with a subscription.
    pub clients: u64,
}

impl PubsubReport {
    /// Adds another core's.
    pub fn add(&mut self, other: &PubsubReport) {
        for (sum, names) in self.names.iter_mut().zip(other.names) {
            *sum += names;
        }
        self.clients += other.clients;
    }
}

/// A confirmation: `word` is the kind's, no name where there was nothing to unsubscribe from.
pub fn write_confirmation(word: &[u8], name: Option<&[u8]>, count: u32, reply: &mut Reply<'_>) {
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.int(count.into());
}

/// What subscribers to the channel get, in RESP2.
pub fn write_message(kind: Kind, channel: &[u8], message: &[u8], out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, Proto::Resp2);
    reply.push(3);
    reply.bulk(if kind == Kind::Shard { b"smessage" } else { b"message" });
    reply.bulk(channel);
    reply.bulk(message);
}

/// What subscribers to a pattern get, in RESP2.
pub fn write_pattern_message(pattern: &[u8], channel: &[u8], message: &[u8], out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, Proto::Resp2);
    reply.push(4);
    reply.bulk(b"pmessage");
    reply.bulk(pattern);
    reply.bulk(channel);
    reply.bulk(message);
}

/// Puts a message that was written in RESP2 at the end of `out` in this protocol: they differ in the first byte only.
#[inline]
pub fn append_message(message: &[u8], proto: Proto, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(message);
    if proto == Proto::Resp3 {
        out[start] = b'>';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_once_for_both_protocols() {
        for (is_sharded, word) in [(false, "message"), (true, "smessage")] {
            let mut message = Vec::new();
            write_message(Kind::of_publication(is_sharded), b"ch", b"hello", &mut message);
            for (proto, head) in [(Proto::Resp2, '*'), (Proto::Resp3, '>')] {
                let mut out = b"+OK\r\n".to_vec();
                append_message(&message, proto, &mut out);
                let expected =
                    format!("+OK\r\n{head}3\r\n${}\r\n{word}\r\n$2\r\nch\r\n$5\r\nhello\r\n", word.len());
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
        let mut message = Vec::new();
        write_pattern_message(b"c*", b"ch", b"", &mut message);
        assert_eq!(message, b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\nch\r\n$0\r\n\r\n");
    }

    #[test]
    fn confirmations_count_channels_and_patterns_together() {
        let mut counts = Counts::default();
        for (kind, told) in [(Kind::Channel, 1), (Kind::Pattern, 2), (Kind::Shard, 1), (Kind::Channel, 3)] {
            counts.change(kind, true);
            assert_eq!(counts.told(kind), told);
        }
        counts.change(Kind::Pattern, false);
        assert_eq!((counts.told(Kind::Channel), counts.told(Kind::Shard), counts.total()), (2, 1, 3));
        let mut out = Vec::new();
        write_confirmation(b"unsubscribe", None, 0, &mut Reply::new(&mut out, Proto::Resp2));
        write_confirmation(b"subscribe", Some(b"a"), 1, &mut Reply::new(&mut out, Proto::Resp3));
        let expected = b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
        assert_eq!(out, expected);
    }
}
