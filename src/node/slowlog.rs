//! The slow log: the last commands that took longer than `slowlog-log-slower-than`.
//!
//! Each core keeps its own; for SLOWLOG GET and LEN the node adds them up.
//!
//! Invariant: entries stand newest first and are never more than `slowlog-max-len`.

use std::collections::VecDeque;

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::base::time::Now;
use crate::resp::{Args, OwnedArgs, Reply};

/// So many arguments of a command are kept; the last of them says how many there were more.
const ARGS_MAX: usize = 32;

/// So many bytes of an argument are kept, before a note of how many there were more.
const ARG_BYTES_MAX: usize = 128;

/// How many entries SLOWLOG GET gives unasked.
const SHOWN_DEFAULT: usize = 10;

/// `slowlog-max-len` unless it is configured.
const LEN_MAX_DEFAULT: usize = 128;

/// One core's slow log, or the sum of several.
#[derive(Clone, Debug)]
pub struct SlowLog {
    entries: VecDeque<SlowEntry>,
    len_max: usize,
    next_id: u64,
    /// From one id to the next: cores take turns, so that no two give the same.
    id_step: u64,
}

/// A command that was slow.
#[derive(Clone, Debug)]
struct SlowEntry {
    id: u64,
    unix_us: i64,
    took_us: u64,
    args: OwnedArgs,
    peer: Box<str>,
    client_name: Box<[u8]>,
}

impl Default for SlowLog {
    /// The log of the only core.
    fn default() -> SlowLog {
        SlowLog::of_core(0, 1)
    }
}

impl SlowLog {
    /// The log of one of `cores` cores.
    pub fn of_core(core: u16, cores: u16) -> SlowLog {
        SlowLog {
            entries: VecDeque::new(),
            len_max: LEN_MAX_DEFAULT,
            next_id: core.into(),
            id_step: cores.max(1).into(),
        }
    }

    /// Takes over `slowlog-max-len`; what is too much is dropped.
    pub fn set_len_max(&mut self, len_max: usize) {
        self.len_max = len_max;
        self.entries.truncate(len_max);
    }

    /// Notes a command that was slow, with the client's address and name.
    pub fn push(&mut self, now: Now, took_us: u64, args: Args<'_>, peer: &str, client_name: &[u8]) {
        self.push_trimmed(now, took_us, trimmed(args), peer, client_name);
    }

    /// The same for a command whose arguments were `trimmed` before it was known that it would be slow.
    pub fn push_trimmed(&mut self, now: Now, took_us: u64, args: OwnedArgs, peer: &str, client_name: &[u8]) {
        let id = self.next_id;
        self.next_id += self.id_step;
        self.entries.push_front(SlowEntry {
            id,
            unix_us: now.unix_us,
            took_us,
            args,
            peer: peer.into(),
            client_name: client_name.into(),
        });
        self.entries.truncate(self.len_max);
    }

    /// Adds the entries of another core; the newest of both stay.
    pub fn add(&mut self, other: &SlowLog) {
        self.entries.extend(other.entries.iter().cloned());
        self.entries.make_contiguous().sort_by_key(|entry| std::cmp::Reverse((entry.unix_us, entry.id)));
        self.entries.truncate(self.len_max);
    }

    /// SLOWLOG RESET. Ids go on.
    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// SLOWLOG LEN.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was slow.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `SLOWLOG GET [count]`: the newest first; -1 asks for all.
    ///
    /// # Errors
    /// If the count is no number of at least -1.
    pub fn write_entries(&self, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
        let count = match args.get(2).map(parse_i64) {
            None => SHOWN_DEFAULT,
            Some(Some(-1)) => self.entries.len(),
            Some(count) => count.and_then(|count| usize::try_from(count).ok()).ok_or(WRONG_COUNT)?,
        };
        let count = count.min(self.entries.len());
        reply.array(count);
        for entry in self.entries.iter().take(count) {
            reply.array(6);
            reply.int(entry.id as i64);
            reply.int(entry.unix_us.div_euclid(1_000_000));
            reply.int(entry.took_us as i64);
            let args = entry.args.as_args();
            reply.array(args.len());
            for arg in args.iter_from(0) {
                reply.bulk(arg);
            }
            reply.bulk(entry.peer.as_bytes());
            reply.bulk(&entry.client_name);
        }
        Ok(())
    }
}

const WRONG_COUNT: CommandError = CommandError::new("ERR count should be greater than or equal to -1");

/// The arguments as the log keeps them.
pub fn trimmed(args: Args<'_>) -> OwnedArgs {
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut owned = OwnedArgs::with_room(kept + 1, 16 * kept);
    for arg in args.iter_from(0).take(kept) {
        match arg.split_at_checked(ARG_BYTES_MAX) {
            Some((head, rest)) if !rest.is_empty() => {
                let mut text = head.to_vec();
                text.extend_from_slice(format!("... ({} more bytes)", rest.len()).as_bytes());
                owned.push(&text);
            }
            _ => owned.push(arg),
        }
    }
    if args.len() > kept {
        owned.push(format!("... ({} more arguments)", args.len() - kept).as_bytes());
    }
    owned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Proto;

    fn at_second(second: i64) -> Now {
        Now { unix_us: second * 1_000_000 + 7, ..Now::default() }
    }

    fn note(log: &mut SlowLog, second: i64, words: &[&str]) {
        let args = OwnedArgs::collect(words.iter().map(|word| word.as_bytes()));
        log.push(at_second(second), 15_000, args.as_args(), "127.0.0.1:5000", b"me");
    }

    fn shown(log: &SlowLog, count: &[&str]) -> String {
        let args = OwnedArgs::collect(["slowlog", "get"].iter().chain(count).map(|word| word.as_bytes()));
        let mut out = Vec::new();
        match log.write_entries(args.as_args(), &mut Reply::new(&mut out, Proto::Resp2)) {
            Ok(()) => String::from_utf8(out).unwrap().replace("\r\n", " "),
            Err(error) => error.text().into_owned(),
        }
    }

    /// The ids that SLOWLOG GET -1 shows.
    fn ids(log: &SlowLog) -> Vec<u64> {
        log.entries.iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn an_entry_as_redis_shows_it() {
        let mut log = SlowLog::default();
        note(&mut log, 1000, &["set", "k", "v"]);
        assert_eq!(shown(&log, &[]), "*1 *6 :0 :1000 :15000 *3 $3 set $1 k $1 v $14 127.0.0.1:5000 $2 me ");
    }

    #[test]
    fn the_count_is_ten_or_what_is_asked_for() {
        let mut log = SlowLog::default();
        (0..20).for_each(|second| note(&mut log, second, &["ping"]));
        for (count, head) in
            [(&[][..], "*10 "), (&["-1"], "*20 "), (&["3"], "*3 "), (&["0"], "*0 "), (&["99"], "*20 ")]
        {
            assert!(shown(&log, count).starts_with(head), "{count:?}");
        }
        assert!(shown(&log, &["1"]).contains(":19 :19 "), "the newest comes first");
        for count in ["-2", "x", "", "9223372036854775808"] {
            assert_eq!(shown(&log, &[count]), "ERR count should be greater than or equal to -1");
        }
    }

    #[test]
    fn the_log_is_bounded_and_ids_go_on() {
        let mut log = SlowLog::default();
        log.set_len_max(3);
        (0..5).for_each(|second| note(&mut log, second, &["ping"]));
        assert_eq!(ids(&log), [4, 3, 2]);
        log.set_len_max(1);
        assert_eq!(ids(&log), [4]);
        log.reset();
        assert!(log.is_empty());
        note(&mut log, 9, &["ping"]);
        assert_eq!((log.len(), ids(&log)), (1, vec![5]));
        log.set_len_max(0);
        note(&mut log, 10, &["ping"]);
        assert!(log.is_empty());
    }

    #[test]
    fn long_commands_are_cut() {
        let words: Vec<String> = (0..40).map(|i| i.to_string()).collect();
        let many = OwnedArgs::collect(words.iter().map(|word| word.as_bytes()));
        let kept = trimmed(many.as_args());
        assert_eq!(kept.as_args().len(), 32);
        assert_eq!(kept.as_args().at(30), b"30");
        assert_eq!(kept.as_args().at(31), b"... (9 more arguments)");
        let exact = OwnedArgs::collect(words[..32].iter().map(|word| word.as_bytes()));
        assert_eq!(trimmed(exact.as_args()).as_args().at(31), b"31");

        let long = [b'x'; 130];
        let kept = trimmed(OwnedArgs::collect([&long[..], &long[..128]]).as_args());
        assert_eq!(kept.as_args().at(0), format!("{}... (2 more bytes)", "x".repeat(128)).as_bytes());
        assert_eq!(kept.as_args().at(1), &long[..128]);
    }

    #[test]
    fn cores_add_up_to_one_log() {
        let (mut a, mut b) = (SlowLog::of_core(0, 2), SlowLog::of_core(1, 2));
        for second in [1, 4, 5] {
            note(&mut a, second, &["a"]);
        }
        for second in [2, 3, 6] {
            note(&mut b, second, &["b"]);
        }
        let mut sum = a.clone();
        sum.set_len_max(4);
        sum.add(&b);
        assert_eq!(ids(&sum), [5, 4, 2, 3]);
        assert_eq!(a.len(), 3);
    }
}
