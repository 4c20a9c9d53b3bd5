//! The latency monitor: events that took at least `latency-monitor-threshold`, and the replies about them (LATENCY
//! LATEST, HISTORY, RESET; GRAPH and DOCTOR: see `latency_report`). Beside it LATENCY HISTOGRAM, whose figures are
//! counted per command.
//!
//! Each core keeps its own samples; for a reply the node adds them up. One sample stays per event and second: the
//! longest.

use crate::base::stats::CommandStats;
use crate::base::time::Now;
use crate::command::introspect::look_up;
use crate::command::spec::Flags;
use crate::command::{CommandId, Table};
use crate::resp::{Args, Reply};

/// So many samples are kept of an event.
const SAMPLES_MAX: usize = 160;

/// The samples of one core, or of several.
#[derive(Clone, Debug, Default)]
pub struct LatencyMonitor {
    /// In order of their first sample.
    events: Vec<Event>,
    /// `latency-monitor-threshold`; 0 switches the monitor off.
    threshold_ms: u64,
}

/// The samples of one kind of event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: &'static str,
    /// Oldest first; never empty.
    pub(super) samples: Vec<Sample>,
    /// The longest since the last reset.
    pub(super) max_ms: u64,
}

/// The longest event of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) unix_s: i64,
    pub(super) took_ms: u64,
}

impl LatencyMonitor {
    /// Takes over `latency-monitor-threshold`.
    pub fn set_threshold_ms(&mut self, threshold_ms: u64) {
        self.threshold_ms = threshold_ms;
    }

    /// `latency-monitor-threshold` in effect.
    pub fn threshold_ms(&self) -> u64 {
        self.threshold_ms
    }

    /// Notes an event if it was long enough. `name` is a word that Redis uses where it has one: `command`,
    /// `fast-command`, `expire-cycle`.
    pub fn sample(&mut self, name: &'static str, now: Now, took_us: u64) {
        let took_ms = took_us / 1000;
        if self.threshold_ms > 0 && took_ms >= self.threshold_ms {
            let sample = Sample { unix_s: now.unix_us.div_euclid(1_000_000), took_ms };
            self.event_mut(name).note(sample);
        }
    }

    /// Adds the samples of another core.
    pub fn add(&mut self, other: &LatencyMonitor) {
        for theirs in &other.events {
            let ours = self.event_mut(theirs.name);
            for &sample in &theirs.samples {
                ours.note(sample);
            }
            ours.max_ms = ours.max_ms.max(theirs.max_ms);
        }
    }

    /// LATENCY LATEST.
    pub fn write_latest(&self, reply: &mut Reply<'_>) {
        reply.array(self.events.len());
        for event in &self.events {
            let last = event.samples.last().copied().unwrap_or(Sample { unix_s: 0, took_ms: 0 });
            reply.array(4);
            reply.bulk(event.name.as_bytes());
            reply.int(last.unix_s);
            reply.int(last.took_ms as i64);
            reply.int(event.max_ms as i64);
        }
    }

    /// LATENCY HISTORY event: nothing for an event that did not happen.
    pub fn write_history(&self, name: &[u8], reply: &mut Reply<'_>) {
        let samples = self.event(name).map_or(&[][..], |event| &event.samples);
        reply.array(samples.len());
        for sample in samples {
            reply.array(2);
            reply.int(sample.unix_s);
            reply.int(sample.took_ms as i64);
        }
    }

    /// LATENCY RESET [event ...]: how many events were forgotten.
    pub fn reset(&mut self, args: Args<'_>) -> usize {
        let before = self.events.len();
        self.events.retain(|event| {
            args.len() > 2 && !args.iter_from(2).any(|name| name.eq_ignore_ascii_case(event.name.as_bytes()))
        });
        before - self.events.len()
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(super) fn event(&self, name: &[u8]) -> Option<&Event> {
        self.events.iter().find(|event| event.name.as_bytes() == name)
    }

    fn event_mut(&mut self, name: &'static str) -> &mut Event {
        let at = self.events.iter().position(|event| event.name == name).unwrap_or_else(|| {
            self.events.push(Event { name, samples: Vec::new(), max_ms: 0 });
            self.events.len() - 1
        });
        &mut self.events[at]
    }
}

impl Event {
    /// Keeps a sample, in the order of time.
    fn note(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.took_ms);
        // Nearly always the last place; earlier only while cores are added up, or when the host's clock went back.
        let at = self
            .samples
            .iter()
            .rposition(|known| known.unix_s <= sample.unix_s)
            .map_or(0, |before| before + 1);
        match at.checked_sub(1).map(|before| &mut self.samples[before]) {
            Some(same) if same.unix_s == sample.unix_s => same.took_ms = same.took_ms.max(sample.took_ms),
            _ => self.samples.insert(at, sample),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.remove(0);
        }
    }
}

/// LATENCY HISTOGRAM [command ...]: of the commands named, with their subcommands, or of all, those that were called.
/// `stats` stands in the table's order.
pub fn write_histograms(table: &Table, stats: &[CommandStats], args: Args<'_>, reply: &mut Reply<'_>) {
    let is_listed = |id: CommandId| !table.spec(id).flags.has(Flags::INTERNAL);
    let ids: Vec<CommandId> = if args.len() == 2 {
        table.iter().map(|(id, _)| id).filter(|&id| is_listed(id)).collect()
    } else {
        args.iter_from(2)
            .filter_map(|name| look_up(table, name))
            // The subcommands of a container follow it in the table.
            .flat_map(|id| {
                (0..=table.spec(id).subcommands.len()).map(move |sub| CommandId(id.0 + sub as u16))
            })
            .collect()
    };
    let called: Vec<_> = ids
        .into_iter()
        .filter_map(|id| Some((table.spec(id).name, stats.get(id.index())?.histogram()?)))
        .collect();
    reply.map(called.len());
    for (name, histogram) in called {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(histogram.total() as i64);
        reply.bulk(b"histogram_usec");
        let lines = histogram.cumulative_us();
        reply.map(lines.len());
        for (limit_us, count) in lines {
            reply.int(limit_us as i64);
            reply.int(count as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{OwnedArgs, Proto};

    fn at_second(second: i64) -> Now {
        Now { unix_us: second * 1_000_000, ..Now::default() }
    }

    /// A monitor with samples of (event, second, ms).
    fn monitor(samples: &[(&'static str, i64, u64)]) -> LatencyMonitor {
        let mut monitor = LatencyMonitor::default();
        monitor.set_threshold_ms(10);
        for &(event, second, ms) in samples {
            monitor.sample(event, at_second(second), ms * 1000 + 999);
        }
        monitor
    }

    fn replied(proto: Proto, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, proto));
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    fn history(monitor: &LatencyMonitor, event: &str) -> String {
        replied(Proto::Resp2, |reply| monitor.write_history(event.as_bytes(), reply))
    }

    fn reset(monitor: &mut LatencyMonitor, events: &[&str]) -> usize {
        let args = OwnedArgs::collect(["latency", "reset"].iter().chain(events).map(|word| word.as_bytes()));
        monitor.reset(args.as_args())
    }

    #[test]
    fn only_what_reaches_the_threshold_is_kept() {
        let mut monitor = monitor(&[("command", 1, 9), ("command", 2, 10)]);
        assert_eq!(history(&monitor, "command"), "*1 *2 :2 :10 ");
        monitor.set_threshold_ms(0);
        monitor.sample("command", at_second(3), 1_000_000);
        assert_eq!(history(&monitor, "command"), "*1 *2 :2 :10 ");
        assert_eq!(history(&monitor, "fork"), "*0 ");
    }

    #[test]
    fn a_second_keeps_its_longest_and_latest_shows_the_last() {
        let monitor =
            monitor(&[("command", 1, 50), ("command", 2, 20), ("command", 2, 30), ("command", 2, 25)]);
        assert_eq!(history(&monitor, "command"), "*2 *2 :1 :50 *2 :2 :30 ");
        assert_eq!(
            replied(Proto::Resp3, |reply| monitor.write_latest(reply)),
            "*1 *4 $7 command :2 :30 :50 "
        );
    }

    #[test]
    fn the_history_is_bounded() {
        let samples: Vec<_> = (1..=200).map(|second| ("command", second, 500 - second as u64)).collect();
        let monitor = monitor(&samples);
        assert!(history(&monitor, "command").starts_with("*160 *2 :41 :459 "));
        assert!(replied(Proto::Resp2, |reply| monitor.write_latest(reply)).ends_with(":200 :300 :499 "));
    }

    #[test]
    fn reset_forgets_some_or_all() {
        let mut monitor = monitor(&[("command", 1, 50), ("expire-cycle", 1, 50), ("fork", 1, 50)]);
        assert_eq!(reset(&mut monitor, &["nosuch"]), 0);
        assert_eq!(reset(&mut monitor, &["FORK", "nosuch"]), 1);
        assert_eq!(reset(&mut monitor, &[]), 2);
        assert_eq!(replied(Proto::Resp2, |reply| monitor.write_latest(reply)), "*0 ");
    }

    #[test]
    fn cores_add_up() {
        let mut sum = monitor(&[("command", 1, 50), ("command", 3, 20)]);
        sum.add(&monitor(&[("command", 1, 60), ("command", 2, 70), ("command", 4, 15), ("fork", 5, 11)]));
        assert_eq!(history(&sum, "command"), "*4 *2 :1 :60 *2 :2 :70 *2 :3 :20 *2 :4 :15 ");
        assert_eq!(
            replied(Proto::Resp2, |reply| sum.write_latest(reply)),
            "*2 *4 $7 command :4 :15 :70 *4 $4 fork :5 :11 :11 "
        );
    }

    #[test]
    fn histograms_of_the_commands_called() {
        let table = Table::new(&[]).unwrap();
        let mut stats: Vec<CommandStats> = (0..table.len()).map(|_| CommandStats::default()).collect();
        for (name, ns) in [("ping", 5000), ("ping", 63_000), ("config|get", 900), ("info", 1)] {
            stats[look_up(&table, name.as_bytes()).unwrap().index()].record(ns);
        }
        let shown = |proto, commands: &[&str]| {
            let args = OwnedArgs::collect(
                ["latency", "histogram"].iter().chain(commands).map(|word| word.as_bytes()),
            );
            replied(proto, |reply| write_histograms(&table, &stats, args.as_args(), reply))
        };
        let config = "$10 config|get %2 $5 calls :1 $14 histogram_usec %1 :1 :1 ";
        assert_eq!(
            shown(Proto::Resp3, &["PING", "nosuch", "echo"]),
            "%1 $4 ping %2 $5 calls :2 $14 histogram_usec %2 :8 :1 :66 :2 "
        );
        assert_eq!(shown(Proto::Resp3, &["config"]), format!("%1 {config}"));
        assert_eq!(shown(Proto::Resp3, &["config|get"]), format!("%1 {config}"));
        assert_eq!(shown(Proto::Resp2, &["info"]), "*2 $4 info *4 $5 calls :1 $14 histogram_usec *2 :1 :1 ");
        assert!(shown(Proto::Resp3, &[]).starts_with("%3 "));
    }
}
