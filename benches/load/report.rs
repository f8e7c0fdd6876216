//! Figures in, medians, tables and verdicts out. Pure but for the writing at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::generator::Tally;
use crate::scenarios::{START, Scenario, Target};

/// Every figure of every round.
#[derive(Default)]
pub struct Results {
    figures: BTreeMap<(&'static str, Target, &'static str), Vec<f64>>,
    pub errors: Vec<String>,
}

/// A limit and whether it was kept.
pub struct Verdict {
    pub scenario: &'static str,
    pub what: &'static str,
    pub value: f64,
    pub limit: f64,
    /// Values above the limit fail, or those below.
    pub at_most: bool,
    pub unit: &'static str,
    /// The figures it was made from.
    pub from: String,
}

impl Results {
    pub fn add(&mut self, id: &'static str, target: Target, metric: &'static str, value: f64) {
        self.figures.entry((id, target, metric)).or_default().push(value);
    }

    pub fn add_errors(&mut self, id: &'static str, target: Target, tally: &Tally) {
        if tally.errors > 0 {
            let examples = tally.first_errors.join("; ");
            let name = target.name();
            self.errors.push(format!("{id}, {name}: {} invalid: {examples}", tally.errors));
        }
    }

    pub fn median(&self, id: &str, target: Target, metric: &str) -> Option<f64> {
        let found = self.figures.iter().find(|((i, t, m), _)| (*i, *t, *m) == (id, target, metric));
        found.map(|(_, values)| median(values))
    }

    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut found = Vec::new();
        for (scenario, limit) in [("small", 1.4), ("large-first", 1.3), ("large-last", 1.3)] {
            found.extend(self.ratio(scenario, "CPU per request ÷ nginx", "cpu_us", limit));
        }
        let pair = |base| [Target::Gateway, base];
        found.extend(self.throughput("small", "throughput ÷ nginx", pair(Target::Nginx), 0.7));
        let limited = [Target::Limited, Target::Keyed];
        found.extend(self.throughput("limited", "throughput ÷ without limits", limited, 0.97));
        found.extend(self.ratio("streams", "CPU per chunk ÷ nginx", "cpu_us", 1.2));
        found.extend(self.plain("streams", "memory in all", "pss_mib", 40.0, "MiB"));
        found.extend(self.more(
            "streams",
            "repair, CPU per chunk more",
            [Target::Gateway, Target::Repaired],
            ("cpu_us", 1.5, "µs"),
        ));
        found.extend(self.more(
            "first-chunk",
            "time to first chunk more than nginx",
            [Target::Nginx, Target::Gateway],
            ("first_us", 100.0, "µs"),
        ));
        found.extend(self.throughput("flood", "throughput ÷ direct", pair(Target::Direct), 0.5));
        found.extend(self.aggregated());
        found.extend(self.plain(START, "idle memory", "idle_mib", 30.0, "MiB"));
        found.extend(self.plain(START, "both bundled plugins", "plugins_mib", 10.0, "MiB"));
        found.extend(self.plain(START, "start until it serves", "start_ms", 100.0, "ms"));
        found.extend(self.plain(START, "backend ready to first byte", "ready_ms", 25.0, "ms"));
        found
    }

    pub fn json(&self, about: &Value) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|((scenario, target, metric), values)| {
                json!({"scenario": scenario, "target": target.name(), "metric": metric,
                    "median": median(values), "values": values})
            })
            .collect();
        let verdicts: Vec<Value> = self
            .verdicts()
            .iter()
            .map(|verdict| {
                json!({"scenario": verdict.scenario, "what": verdict.what, "value": verdict.value,
                    "limit": verdict.limit, "unit": verdict.unit, "pass": verdict.passes()})
            })
            .collect();
        json!({"about": about, "figures": figures, "verdicts": verdicts, "errors": self.errors})
    }

    pub fn text(&self, scenarios: &[Scenario]) -> String {
        let mut text = String::new();
        for scenario in scenarios {
            text.push_str(&self.table(scenario));
        }
        text.push_str("\nlimits\n");
        for verdict in self.verdicts() {
            let word = if verdict.passes() { "PASS" } else { "FAIL" };
            let bound = if verdict.at_most { "at most" } else { "at least" };
            let Verdict { scenario, what, value, limit, unit, from, .. } = &verdict;
            let line = format!(
                "  {word}  {scenario:<12} {what:<36} {value:>8.2} {unit:<3} {bound} {limit} {unit:<3} ({from})"
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for error in &self.errors {
            text.push_str(&format!("INVALID  {error}\n"));
        }
        text
    }

    fn table(&self, scenario: &Scenario) -> String {
        const COLUMNS: [(&str, &str); 6] = [
            ("cpu_us", "CPU µs"),
            ("per_s", "per s"),
            ("p50_us", "p50 µs"),
            ("p99_us", "p99 µs"),
            ("first_us", "first µs"),
            ("pss_mib", "PSS MiB"),
        ];
        let median_of = |target, metric| self.median(scenario.id, target, metric);
        let targets: Vec<Target> = scenario.targets.to_vec();
        let present: Vec<Target> = targets.into_iter().filter(|t| median_of(*t, "per_s").is_some()).collect();
        if present.is_empty() {
            return String::new();
        }
        let columns: Vec<(&str, &str)> = COLUMNS
            .into_iter()
            .filter(|(metric, _)| present.iter().any(|t| median_of(*t, metric).is_some()))
            .collect();
        let unit = scenario.unit.name();
        let mut text = format!("\n{}: {} (per {unit})\n{:26}", scenario.id, scenario.title, "");
        for (_, heading) in &columns {
            text.push_str(&format!("{heading:>22}"));
        }
        for target in present {
            text.push_str(&format!("\n  {:<24}", target.name()));
            for (metric, _) in &columns {
                let key = (scenario.id, target, *metric);
                let found = self.figures.iter().find(|((i, t, m), _)| (*i, *t, *m) == key);
                let cell = found.map_or_else(|| "-".to_owned(), |(_, values)| spread(values));
                text.push_str(&format!("{cell:>22}"));
            }
        }
        text.push('\n');
        text
    }

    /// The gateway's figure over nginx's.
    fn ratio(&self, scenario: &'static str, what: &'static str, metric: &str, limit: f64) -> Option<Verdict> {
        let ours = self.median(scenario, Target::Gateway, metric)?;
        let theirs = self.median(scenario, Target::Nginx, metric)?;
        let from = format!("{ours:.2} µs ÷ {theirs:.2} µs");
        let value = ours / theirs;
        Some(Verdict { scenario, what, value, limit, at_most: true, unit: "", from })
    }

    fn throughput(
        &self,
        scenario: &'static str,
        what: &'static str,
        [ours, base]: [Target; 2],
        limit: f64,
    ) -> Option<Verdict> {
        let ours = self.median(scenario, ours, "per_s")?;
        let theirs = self.median(scenario, base, "per_s")?;
        let from = format!("{ours:.0}/s ÷ {theirs:.0}/s");
        let value = ours / theirs;
        Some(Verdict { scenario, what, value, limit, at_most: false, unit: "", from })
    }

    fn more(
        &self,
        scenario: &'static str,
        what: &'static str,
        [less, more]: [Target; 2],
        (metric, limit, unit): (&str, f64, &'static str),
    ) -> Option<Verdict> {
        let (a, b) = (self.median(scenario, less, metric)?, self.median(scenario, more, metric)?);
        let from = format!("{b:.2} {unit} - {a:.2} {unit}");
        Some(Verdict { scenario, what, value: b - a, limit, at_most: true, unit, from })
    }

    fn plain(
        &self,
        scenario: &'static str,
        what: &'static str,
        metric: &str,
        limit: f64,
        unit: &'static str,
    ) -> Option<Verdict> {
        let values =
            self.figures.iter().find(|((i, t, m), _)| (*i, *t, *m) == (scenario, Target::Gateway, metric))?;
        let value = median(values.1);
        Some(Verdict { scenario, what, value, limit, at_most: true, unit, from: spread(values.1) })
    }

    /// Against the cheaper of the two relays: unchanged and repaired.
    fn aggregated(&self) -> Option<Verdict> {
        let whole = self.median("aggregate", Target::Aggregated, "cpu_us")?;
        let relay = self.median("aggregate", Target::Gateway, "cpu_us")?;
        let repaired = self.median("aggregate", Target::Repaired, "cpu_us")?;
        let mut from = format!("{whole:.1} µs ÷ {relay:.1} µs");
        write!(from, "; {:.2} of the repaired relay, {repaired:.1} µs", whole / repaired).ok();
        Some(Verdict {
            scenario: "aggregate",
            what: "CPU per answer ÷ relay of the stream",
            value: whole / relay.min(repaired),
            limit: 1.5,
            at_most: true,
            unit: "",
            from,
        })
    }
}

impl Verdict {
    pub fn passes(&self) -> bool {
        if self.at_most { self.value <= self.limit } else { self.value >= self.limit }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => f64::NAN,
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// `23.1 (22.8-24.0)`: median, least and most.
fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let show = |value: f64| {
        if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
    };
    let middle = show(median(values));
    if values.len() == 1 { middle } else { format!("{middle} ({}-{})", show(least), show(most)) }
}
