//! The comparison as an SVG chart: for each scenario, CPU per request of every server, user and system part.
//!
//! Each scenario has a scale of its own: a request at P=64 costs a fraction of one at P=1, and the question is how
//! servers compare, not scenarios.

use std::fmt::Write as _;

use crate::report::{times, Comparison, Scenario};

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, right of the servers' names.
const BARS: f64 = 130.0;
/// Length of the longest bar; what is left of the width is for its label.
const LONGEST: f64 = 410.0;
const ROW: f64 = 26.0;
const BAR: f64 = 18.0;
const HEAD: f64 = 78.0;
const TITLE: f64 = 34.0;
const GAP: f64 = 18.0;

const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
  .title { font-size: 17px; font-weight: 600 }
  .scenario { font-weight: 600 }
  .quiet { fill: #59636e }
  .page { fill: #ffffff; stroke: #d1d9e0 }
  .axis { stroke: #d1d9e0 }
  .user { fill: #0b6e99 }
  .system { fill: #8cc4dc }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .page { fill: #0d1117; stroke: #3d444d }
    .axis { stroke: #3d444d }
    .user { fill: #4db8e5 }
    .system { fill: #245a73 }
  }
";

/// The chart. It brings its own background and colours for light and dark surroundings.
pub(crate) fn svg(comparison: &Comparison) -> String {
    let panel = TITLE + ROW * comparison.servers.len() as f64 + GAP;
    let height = HEAD + panel * comparison.scenarios.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Server CPU per request\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        WIDTH - 1.0,
        height - 1.0
    );
    let base = comparison.servers.first().map_or("", String::as_str);
    text(&mut out, MARGIN, 34.0, "title", "Server CPU per request (shorter is better)");
    text(&mut out, MARGIN, 56.0, "quiet", &format!("microseconds, and how many times that {base} takes"));
    for (x, class, label) in [(WIDTH - 180.0, "user", "user"), (WIDTH - 110.0, "system", "system")] {
        let _ =
            writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"23\" width=\"12\" height=\"12\" rx=\"2\"/>");
        text(&mut out, x + 18.0, 34.0, "quiet", label);
    }
    for (i, scenario) in comparison.scenarios.iter().enumerate() {
        draw(&mut out, &comparison.servers, scenario, HEAD + panel * i as f64);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, servers: &[String], scenario: &Scenario, top: f64) {
    text(out, MARGIN, top + 20.0, "scenario", &scenario.title());
    let summaries = scenario.summaries();
    let most = summaries.iter().map(|s| s.user_us + s.system_us).fold(f64::MIN_POSITIVE, f64::max);
    let (rows, bottom) = (top + TITLE, top + TITLE + ROW * servers.len() as f64);
    let _ = writeln!(
        out,
        "<line class=\"axis\" x1=\"{BARS}\" y1=\"{rows:.1}\" x2=\"{BARS}\" y2=\"{bottom:.1}\"/>"
    );
    for (i, (name, s)) in servers.iter().zip(summaries).enumerate() {
        let y = rows + ROW * i as f64 + (ROW - BAR) / 2.0;
        let (user, system) = (s.user_us / most * LONGEST, s.system_us / most * LONGEST);
        let baseline = y + BAR - 4.0;
        text(out, MARGIN, baseline, "", name);
        for (class, x, width) in [("user", BARS, user), ("system", BARS + user, system)] {
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
            );
        }
        let label = format!("{:.2} (user {:.2}), {}", s.cpu_us, s.user_us, times(s.ratio));
        text(out, BARS + user + system + 8.0, baseline, "quiet", &label);
    }
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = write!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">");
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out.push_str("</text>\n");
}
