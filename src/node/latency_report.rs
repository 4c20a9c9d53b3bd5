//! What the latency monitor tells people: LATENCY GRAPH draws an event's samples, LATENCY DOCTOR explains them all.
//!
//! The lines about events are Redis's. The advice is our own, because what makes Redis slow (fork, one thread for all)
//! is not what makes Ringward slow.

use super::latency::{Event, LatencyMonitor};
use crate::base::error::CommandError;

/// Columns and rows of a graph.
const COLUMNS: usize = 80;
const ROWS: usize = 4;

/// What the last mark of a column looks like, by its height within the row; below it the column is filled.
const MARKS: [u8; 3] = *b"_o#";

/// The text of LATENCY GRAPH event.
///
/// # Errors
/// If the event did not happen.
pub fn graph(monitor: &LatencyMonitor, name: &[u8], unix_s: i64) -> Result<String, CommandError> {
    let event = monitor
        .event(name)
        .ok_or_else(|| CommandError::quoting("ERR No samples available for event '", name, "'"))?;
    let (low, high) = bounds(event);
    let mut text = format!(
        "{} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.name,
        event.max_ms,
        "-".repeat(COLUMNS)
    );
    let columns: Vec<Column> = event
        .samples
        .iter()
        .map(|sample| Column {
            // From the bottom, in thirds of a row; the range is that of all samples, so that parts can be compared.
            height: (((sample.took_ms - low) * STEPS / (high - low).max(1)) as usize).min(STEPS as usize - 1),
            label: ago(unix_s - sample.unix_s),
        })
        .collect();
    for (part, columns) in columns.chunks(COLUMNS).enumerate() {
        if part > 0 {
            text.push('\n');
        }
        draw(columns, &mut text);
    }
    Ok(text)
}

/// The settings that LATENCY DOCTOR's advice depends on.
#[derive(Clone, Copy, Debug)]
pub struct DoctorContext {
    /// Wall clock, in seconds.
    pub unix_s: i64,
    /// `slowlog-log-slower-than`, in microseconds; negative where the slow log is off.
    pub slowlog_threshold_us: i64,
}

/// The text of LATENCY DOCTOR.
pub fn doctor(monitor: &LatencyMonitor, context: DoctorContext) -> String {
    if monitor.events().is_empty() {
        return if monitor.threshold_ms() == 0 { DISABLED } else { NOTHING_SEEN }.to_owned();
    }
    let mut text = String::from(SPIKES_SEEN);
    let mut advice = Vec::new();
    for (index, event) in monitor.events().iter().enumerate() {
        let figures = Figures::of(event, context.unix_s);
        text.push_str(&format!(
            "{}. {}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time event \
             {}ms.\n",
            index + 1,
            event.name,
            event.samples.len(),
            figures.average_ms,
            figures.deviation_ms,
            figures.period_s,
            event.max_ms,
        ));
        for line in advice_for(event.name, monitor.threshold_ms(), context) {
            if !advice.contains(&line) {
                advice.push(line);
            }
        }
    }
    if advice.is_empty() {
        text.push_str("\nThere are latency events, but no known remedy for their kind.\n");
        return text;
    }
    text.push_str("\nI have a few advices for you:\n\n");
    for line in advice {
        text.push_str(&format!("- {line}\n"));
    }
    text
}

const DISABLED: &str =
    "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You \
     may use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it.\n";
const NOTHING_SEEN: &str =
    "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the \
     slightest bit.\n";
const SPIKES_SEEN: &str =
    "Dave, I have observed latency spikes in this Redis instance. You don't mind talking about \
     it, do you Dave?\n\n";

/// What can be done about an event of this kind.
fn advice_for(event: &str, threshold_ms: u64, context: DoctorContext) -> Vec<String> {
    let threshold_us = threshold_ms * 1000;
    match event {
        "command" => {
            let mut lines = Vec::new();
            if context.slowlog_threshold_us < 0 {
                lines.push(format!(
                    "The slow log is off, so slow commands leave no trace: 'CONFIG SET slowlog-log-slower-than \
                     {threshold_us}' switches it on."
                ));
            } else if context.slowlog_threshold_us as u64 > threshold_us {
                lines.push(format!(
                    "The slow log keeps only commands slower than this monitor's threshold: 'CONFIG SET \
                     slowlog-log-slower-than {threshold_us}' makes both the same."
                ));
            }
            lines.push("SLOWLOG GET shows which commands were slow; a slow command holds up its shard only.".into());
            lines.push(LARGE_VALUES.into());
            lines
        }
        "fast-command" => vec![
            "Commands of constant time were slow: probably the shard's core was given to something else. Leave each \
             core to one shard (--cores), lower the machine's load, and look for steal time on a virtual machine."
                .into(),
        ],
        "expire-cycle" | "eviction-del" => vec![LARGE_VALUES.into()],
        "eviction-cycle" => vec![
            "Eviction had much to do at once: lower 'maxmemory' in small steps, and keep some memory free for large \
             writes."
                .into(),
        ],
        aof if aof.starts_with("aof-") => vec![
            "Writing the append only file was slow: use a local disk that little else writes to, and 'appendfsync \
             everysec' if losing a second of writes is acceptable."
                .into(),
        ],
        _ => Vec::new(),
    }
}

const LARGE_VALUES: &str =
    "Freeing a very large value takes time: split such values, or delete them with UNLINK.";

/// How an event's samples are spread.
struct Figures {
    average_ms: u64,
    deviation_ms: u64,
    /// Seconds from one sample to the next.
    period_s: f64,
}

impl Figures {
    fn of(event: &Event, unix_s: i64) -> Figures {
        let count = event.samples.len().max(1) as u64;
        let average_ms = event.samples.iter().map(|sample| sample.took_ms).sum::<u64>() / count;
        let deviation_ms =
            event.samples.iter().map(|sample| sample.took_ms.abs_diff(average_ms)).sum::<u64>() / count;
        let since_s = event.samples.first().map_or(0, |sample| unix_s - sample.unix_s).max(1);
        Figures { average_ms, deviation_ms, period_s: since_s as f64 / count as f64 }
    }
}

/// One sample in a graph.
struct Column {
    height: usize,
    label: String,
}

/// How many heights a column can have.
const STEPS: u64 = (ROWS * MARKS.len()) as u64;

fn bounds(event: &Event) -> (u64, u64) {
    let all = || event.samples.iter().map(|sample| sample.took_ms);
    (all().min().unwrap_or(0), all().max().unwrap_or(0))
}

/// The columns, an empty line, and the labels from top to bottom.
fn draw(columns: &[Column], text: &mut String) {
    for row in (0..ROWS).rev() {
        let bottom = row * MARKS.len();
        text.extend(columns.iter().map(|column| match column.height.checked_sub(bottom) {
            None => ' ',
            Some(height) => MARKS.get(height).map_or('|', |&mark| char::from(mark)),
        }));
        text.push('\n');
    }
    text.push_str(&" ".repeat(columns.len()));
    text.push('\n');
    let lines = columns.iter().map(|column| column.label.len()).max().unwrap_or(0);
    for line in 0..lines {
        text.extend(
            columns.iter().map(|column| column.label.as_bytes().get(line).map_or(' ', |&c| char::from(c))),
        );
        text.push('\n');
    }
}

/// How long ago, in the largest unit that gives a number.
fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    fn monitor(samples: &[(&'static str, i64, u64)]) -> LatencyMonitor {
        let mut monitor = LatencyMonitor::default();
        monitor.set_threshold_ms(1);
        for &(event, second, ms) in samples {
            monitor.sample(event, Now { unix_us: second * 1_000_000, ..Now::default() }, ms * 1000);
        }
        monitor
    }

    const CONTEXT: DoctorContext = DoctorContext { unix_s: 100_000, slowlog_threshold_us: 10_000 };

    /// The figures and the drawing are those of redis-server 7.0.15 for the same samples.
    #[test]
    fn a_graph_has_a_column_per_sample() {
        let now = 100_000;
        let samples = [("command", now - 90_000, 300), ("command", now - 75, 100), ("command", now - 4, 200)];
        let text = graph(&monitor(&samples), b"command", now).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 300 ms, low 100 ms (all time high 300 ms)");
        assert_eq!(lines[1], "-".repeat(80));
        assert_eq!(lines[2..], ["#  ", "| _", "| |", "|_|", "   ", "114", "dms"]);
        assert!(text.ends_with('\n'));
        assert_eq!(
            graph(&monitor(&samples), b"fork", now).unwrap_err().text(),
            "ERR No samples available for event 'fork'"
        );
    }

    #[test]
    fn a_long_history_is_drawn_in_parts() {
        let samples: Vec<_> = (1..=100).map(|second| ("command", second, second as u64)).collect();
        let text = graph(&monitor(&samples), b"command", 101).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].len(), 80);
        assert_eq!(lines.iter().filter(|line| line.len() == 20).count(), ROWS + 1 + 3);
        assert!(lines.contains(&""));
    }

    #[test]
    fn a_single_sample_stands_low() {
        let text = graph(&monitor(&[("command", 1, 5)]), b"command", 1).unwrap();
        assert_eq!(text.lines().skip(2).collect::<Vec<_>>(), [" ", " ", " ", "_", " ", "0", "s"]);
    }

    #[test]
    fn the_doctor_tells_whether_there_is_anything_to_tell() {
        assert!(doctor(&LatencyMonitor::default(), CONTEXT).starts_with("I'm sorry, Dave, I can't do that."));
        assert!(doctor(&monitor(&[]), CONTEXT).starts_with("Dave, no latency spike was observed"));
    }

    #[test]
    fn the_doctor_sums_events_up_and_gives_each_advice_once() {
        let monitor =
            monitor(&[("command", 99_990, 30), ("command", 99_995, 50), ("expire-cycle", 99_999, 5)]);
        let text = doctor(&monitor, CONTEXT);
        assert!(text.starts_with("Dave, I have observed latency spikes in this Redis instance."));
        assert!(text.contains(
            "\n1. command: 2 latency spikes (average 40ms, mean deviation 10ms, period 5.00 sec). Worst all time \
             event 50ms.\n2. expire-cycle: 1 latency spikes"
        ));
        assert_eq!(text.matches(LARGE_VALUES).count(), 1);
        assert!(text.contains("'CONFIG SET slowlog-log-slower-than 1000' makes both the same"));
        let off = doctor(&monitor, DoctorContext { slowlog_threshold_us: -1, ..CONTEXT });
        assert!(off.contains("The slow log is off"));
    }
}
