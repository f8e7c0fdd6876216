//! What figures that were taken in two ways say about each other. Pure.

use serde::Serialize;

/// How far two figures of one thing may lie apart, by their ratio.
const SPEED: f64 = 1.3;
const MEMORY: f64 = 2.0;
/// What a client measures later than the gateway, at the most.
const LATER_MS: f64 = 100.0;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub verdict: Verdict,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Two ways of measuring do not agree.
    Differs,
    /// Not known here.
    Unknown,
    Failed,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Differs => "differs",
            Verdict::Unknown => "unknown",
            Verdict::Failed => "failed",
        }
    }
}

/// One answer, as its client and as its record saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Asked {
    pub prompt: &'static str,
    pub error: Option<String>,
    pub client_ttft_ms: Option<f64>,
    pub client_tokens: Option<u64>,
    pub client_tokens_per_s: Option<f64>,
    pub record_ttft_ms: Option<f64>,
    pub record_tokens: Option<u64>,
    pub record_tokens_per_s: Option<f64>,
    pub record_prompt_tokens: Option<u64>,
    pub record_estimated: Option<bool>,
}

/// One look at the backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    pub at_s: f64,
    /// As the gateway tells.
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<f64>,
    pub tokens_per_s: Option<f64>,
    /// As the process tree was measured beside it.
    pub tree_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
    pub footprint_bytes: Option<u64>,
    pub machine_available_bytes: Option<u64>,
    pub gpu_percent: Option<f64>,
}

pub fn judge(asked: &[Asked], samples: &[Sample]) -> Vec<Check> {
    vec![
        answered(asked),
        tokens(asked),
        first_token(asked),
        speed(asked),
        memory("memory, gateway beside tree", samples, |sample| sample.tree_bytes),
        memory("memory, gateway beside resident", samples, |sample| sample.resident_bytes),
        memory("memory, gateway beside footprint", samples, |sample| sample.footprint_bytes),
        seen("processor use while it works", samples, |sample| sample.cpu_percent),
        seen("GPU use", samples, |sample| sample.gpu_percent),
        seen("memory left on the machine", samples, |sample| {
            sample.machine_available_bytes.map(|b| b as f64)
        }),
    ]
}

fn answered(asked: &[Asked]) -> Check {
    let failed: Vec<&str> = asked.iter().filter_map(|one| one.error.as_deref()).collect();
    let verdict = if failed.is_empty() && !asked.is_empty() { Verdict::Ok } else { Verdict::Failed };
    let mut detail = format!("{} of {}", asked.len() - failed.len(), asked.len());
    if let Some(first) = failed.first() {
        detail.push_str(&format!("; first failure: {first}"));
    }
    Check { name: "answers", verdict, detail }
}

fn tokens(asked: &[Asked]) -> Check {
    let pairs: Vec<(u64, u64)> =
        asked.iter().filter_map(|one| one.client_tokens.zip(one.record_tokens)).collect();
    let apart = pairs.iter().filter(|(client, record)| client != record).count();
    let verdict = match (pairs.len(), apart) {
        (0, _) => Verdict::Unknown,
        (_, 0) => Verdict::Ok,
        _ => Verdict::Differs,
    };
    let estimated = asked.iter().filter(|one| one.record_estimated == Some(true)).count();
    let detail = format!("{} answers compared, {apart} differ, {estimated} estimated", pairs.len());
    Check { name: "tokens, client beside record", verdict, detail }
}

fn first_token(asked: &[Asked]) -> Check {
    let later: Vec<f64> = asked
        .iter()
        .filter_map(|one| one.client_ttft_ms.zip(one.record_ttft_ms))
        .map(|(client, record)| client - record)
        .collect();
    let Some(middle) = median(&later) else { return unknown("first token, client beside record") };
    let verdict = if (-LATER_MS..=LATER_MS).contains(&middle) { Verdict::Ok } else { Verdict::Differs };
    let detail = format!("the client sees it {middle:.1} ms later (median of {})", later.len());
    Check { name: "first token, client beside record", verdict, detail }
}

fn speed(asked: &[Asked]) -> Check {
    let pairs: Vec<(f64, f64)> =
        asked.iter().filter_map(|one| one.client_tokens_per_s.zip(one.record_tokens_per_s)).collect();
    agreement("tokens/s, client beside record", &pairs, SPEED)
}

fn memory(name: &'static str, samples: &[Sample], other: impl Fn(&Sample) -> Option<u64>) -> Check {
    let pairs: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|sample| sample.memory_bytes.zip(other(sample)))
        .map(|(gateway, other)| (gateway as f64, other as f64))
        .collect();
    agreement(name, &pairs, MEMORY)
}

fn agreement(name: &'static str, pairs: &[(f64, f64)], most: f64) -> Check {
    let ratios: Vec<f64> =
        pairs.iter().filter(|(_, other)| *other > 0.0).map(|(one, other)| one / other).collect();
    let Some(middle) = median(&ratios) else { return unknown(name) };
    let verdict = if (1.0 / most..=most).contains(&middle) { Verdict::Ok } else { Verdict::Differs };
    Check { name, verdict, detail: format!("ratio {middle:.2} (median of {})", ratios.len()) }
}

fn seen(name: &'static str, samples: &[Sample], figure: impl Fn(&Sample) -> Option<f64>) -> Check {
    let figures: Vec<f64> = samples.iter().filter_map(figure).collect();
    let Some(most) = figures.iter().copied().reduce(f64::max) else { return unknown(name) };
    Check {
        name,
        verdict: Verdict::Ok,
        detail: format!("seen in {} looks, at most {most:.0}", figures.len()),
    }
}

fn unknown(name: &'static str) -> Check {
    Check { name, verdict: Verdict::Unknown, detail: "not told here".to_owned() }
}

fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(client: f64, record: f64) -> Asked {
        Asked {
            client_ttft_ms: Some(client),
            record_ttft_ms: Some(record),
            client_tokens: Some(client as u64),
            record_tokens: Some(record as u64),
            client_tokens_per_s: Some(client),
            record_tokens_per_s: Some(record),
            ..Asked::default()
        }
    }

    fn verdicts(asked: &[Asked], samples: &[Sample]) -> Vec<(&'static str, Verdict)> {
        judge(asked, samples).into_iter().map(|check| (check.name, check.verdict)).collect()
    }

    #[test]
    fn figures_that_agree_are_well() {
        let sample = Sample {
            memory_bytes: Some(100),
            tree_bytes: Some(100),
            resident_bytes: Some(120),
            cpu_percent: Some(50.0),
            machine_available_bytes: Some(1),
            ..Sample::default()
        };
        let found = verdicts(&[asked(20.0, 20.0)], &[sample]);
        for (name, verdict) in found {
            let unknown = matches!(name, "GPU use" | "memory, gateway beside footprint");
            assert_eq!(verdict, if unknown { Verdict::Unknown } else { Verdict::Ok }, "{name}");
        }
    }

    #[test]
    fn figures_that_do_not_are_told_apart_from_those_that_are_missing() {
        let sample = Sample { memory_bytes: Some(100), resident_bytes: Some(1000), ..Sample::default() };
        let found = judge(&[asked(900.0, 300.0)], &[sample]);
        let of = |name: &str| found.iter().find(|check| check.name == name).unwrap().clone();
        for name in [
            "tokens, client beside record",
            "first token, client beside record",
            "tokens/s, client beside record",
            "memory, gateway beside resident",
        ] {
            assert_eq!(of(name).verdict, Verdict::Differs, "{name}");
        }
        assert_eq!(of("tokens/s, client beside record").detail, "ratio 3.00 (median of 1)");
        assert_eq!(of("memory, gateway beside tree").verdict, Verdict::Unknown);
        assert_eq!(of("answers").verdict, Verdict::Ok);
    }

    #[test]
    fn no_answer_at_all_is_a_failure() {
        assert_eq!(verdicts(&[], &[])[0], ("answers", Verdict::Failed));
        let failed = Asked { error: Some("no room".into()), ..Asked::default() };
        let check = judge(&[failed, asked(1.0, 1.0)], &[]).remove(0);
        assert_eq!(
            (check.verdict, check.detail.as_str()),
            (Verdict::Failed, "1 of 2; first failure: no room")
        );
    }
}
