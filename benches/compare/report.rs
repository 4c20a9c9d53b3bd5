//! The figures: medians over rounds, ratios round by round, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{json, Value};

use crate::load::{Latency, Outcome};
use crate::machine::CpuTime;

/// One measured run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    user_us: f64,
    system_us: f64,
    rate: f64,
    /// Of a core, by the server.
    busy: f64,
    latency: Latency,
    /// Other processes took part in it.
    disturbed: bool,
}

impl Sample {
    pub(crate) fn new(outcome: &Outcome, cpu: CpuTime, disturbed: bool) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        Sample {
            user_us: cpu.user.as_secs_f64() * 1e6 / outcome.requests,
            system_us: cpu.system.as_secs_f64() * 1e6 / outcome.requests,
            rate: outcome.requests / seconds,
            busy: cpu.total().as_secs_f64() / seconds,
            latency: outcome.latency,
            disturbed,
        }
    }

    fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// A load, and what each server made of it, round by round.
pub(crate) struct Scenario {
    pub(crate) pipeline: usize,
    pub(crate) connections: usize,
    /// By server.
    pub(crate) samples: Vec<Vec<Sample>>,
}

impl Scenario {
    pub(crate) fn title(&self) -> String {
        let connections = if self.connections == 1 { "connection" } else { "connections" };
        format!("P={}, {} {connections}", self.pipeline, self.connections)
    }

    /// What the rounds come to for each server.
    pub(crate) fn summaries(&self) -> Vec<Summary> {
        self.samples.iter().map(|samples| Summary::new(samples, &self.samples[0])).collect()
    }
}

/// Medians over the rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    /// How many times the CPU per request of this server the first one takes, and its user part alone.
    pub(crate) ratio: f64,
    user_ratio: f64,
    rate: f64,
    busy: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: Option<f64>,
}

impl Summary {
    fn new(samples: &[Sample], base: &[Sample]) -> Self {
        let over = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
        let against = |figure: fn(&Sample) -> f64| {
            median(base.iter().zip(samples).map(|(base, sample)| figure(base) / figure(sample)).collect())
        };
        let p999: Vec<f64> = samples.iter().filter_map(|sample| sample.latency.p999_ms).collect();
        Summary {
            cpu_us: over(Sample::cpu_us),
            user_us: over(|s| s.user_us),
            system_us: over(|s| s.system_us),
            ratio: against(Sample::cpu_us),
            user_ratio: against(|s| s.user_us),
            rate: over(|s| s.rate),
            busy: over(|s| s.busy),
            p50_ms: over(|s| s.latency.p50_ms),
            p99_ms: over(|s| s.latency.p99_ms),
            p999_ms: (!p999.is_empty()).then(|| median(p999)),
        }
    }
}

/// A ratio as it is printed; none if a run was too short for the kernel's clock to see any CPU time.
pub(crate) fn times(ratio: f64) -> String {
    if ratio.is_finite() {
        format!("{ratio:.2}x")
    } else {
        "-".to_owned()
    }
}

/// The middle one, or between the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// All scenarios of a run.
pub(crate) struct Comparison {
    pub(crate) servers: Vec<String>,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Comparison {
    /// One scenario as an aligned table.
    pub(crate) fn table(&self, index: usize) -> String {
        let scenario = &self.scenarios[index];
        let width = self.servers.iter().map(String::len).max().unwrap_or(0).max(12);
        let mut out = format!(
            "{:<width$}  {:>8} {:>8} {:>8}  {:>8} {:>8}  {:>10} {:>5}  {:>7} {:>7} {:>7}\n",
            scenario.title(),
            "cpu us",
            "user us",
            "sys us",
            "cpu",
            "user",
            "requests/s",
            "busy",
            "p50 ms",
            "p99 ms",
            "p99.9",
        );
        for (name, s) in self.servers.iter().zip(scenario.summaries()) {
            let _ = writeln!(
                out,
                "{name:<width$}  {:8.3} {:8.3} {:8.3}  {:>8} {:>8}  {:>10.0} {:5.2}  {:7.2} {:7.2} {:>7}",
                s.cpu_us,
                s.user_us,
                s.system_us,
                times(s.ratio),
                times(s.user_ratio),
                s.rate,
                s.busy,
                s.p50_ms,
                s.p99_ms,
                s.p999_ms.map_or("-".to_owned(), |ms| format!("{ms:.2}")),
            );
        }
        let disturbed = scenario.samples.iter().flatten().filter(|sample| sample.disturbed).count();
        if disturbed > 0 {
            let all = scenario.samples.iter().map(Vec::len).sum::<usize>();
            let _ = writeln!(
                out,
                "in {disturbed} of {all} runs other processes used more than a tenth of a core"
            );
        }
        out
    }

    /// Everything measured, and the medians and ratios.
    pub(crate) fn json(&self) -> String {
        let scenario = |scenario: &Scenario| {
            let servers = self.servers.iter().zip(scenario.summaries()).zip(&scenario.samples);
            json!({
                "pipeline": scenario.pipeline,
                "connections": scenario.connections,
                "servers": servers
                    .map(|((name, summary), samples)| {
                        let rounds: Vec<Value> = samples.iter().map(Sample::json).collect();
                        json!({ "name": name, "median": summary.json(), "rounds": rounds })
                    })
                    .collect::<Vec<_>>(),
            })
        };
        let scenarios: Vec<Value> = self.scenarios.iter().map(scenario).collect();
        format!("{:#}\n", json!({ "base": self.servers.first(), "scenarios": scenarios }))
    }
}

impl Sample {
    fn json(&self) -> Value {
        json!({
            "user_us": self.user_us,
            "system_us": self.system_us,
            "requests_per_second": self.rate,
            "busy": self.busy,
            "p50_ms": self.latency.p50_ms,
            "p99_ms": self.latency.p99_ms,
            "p999_ms": self.latency.p999_ms,
            "disturbed": self.disturbed,
        })
    }
}

impl Summary {
    fn json(&self) -> Value {
        json!({
            "cpu_us": self.cpu_us,
            "user_us": self.user_us,
            "system_us": self.system_us,
            "cpu_ratio": self.ratio,
            "user_ratio": self.user_ratio,
            "requests_per_second": self.rate,
            "busy": self.busy,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "p999_ms": self.p999_ms,
        })
    }
}
