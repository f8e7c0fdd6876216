//! Adding up records, purely.

use super::Status;
use super::view::{ByStatus, Percentiles, UsageGroup, rounded, total};
use crate::store::requests::UsageRow;

/// Figures kept for one group's percentiles; past them every second one counts, then every fourth.
const SAMPLES_MAX: usize = 1 << 20;

/// The sums of one group.
#[derive(Default)]
pub(super) struct Sums {
    requests: u64,
    by_status: ByStatus,
    prompt: Option<u64>,
    completion: Option<u64>,
    cached: Option<u64>,
    reasoning: Option<u64>,
    /// Requests whose tokens are known one way or the other.
    counted: u64,
    estimated: u64,
    ttft_ms: Samples,
    decode_tps: Samples,
    duration_ms: f64,
    timed: u64,
}

/// Figures of which percentiles are asked.
struct Samples {
    kept: Vec<f32>,
    /// One in so many is kept.
    stride: u32,
    skip: u32,
}

impl Sums {
    pub(super) fn add(&mut self, row: &UsageRow<'_>) {
        let tokens = row.tokens;
        self.requests += 1;
        let status = Status::from_name(row.status).unwrap_or(Status::Failed);
        self.by_status.count(status);
        add(&mut self.prompt, tokens.prompt);
        add(&mut self.completion, tokens.completion);
        add(&mut self.cached, tokens.cached);
        add(&mut self.reasoning, tokens.reasoning);
        if tokens.prompt.or(tokens.completion).is_some() {
            self.counted += 1;
            self.estimated += u64::from(tokens.estimated);
        }
        self.ttft_ms.add(row.ttft_ms);
        self.decode_tps.add(row.decode_tps);
        // A refusal takes no time, and would only hide how long the others took.
        if let Some(duration_ms) = row.duration_ms.filter(|_| status != Status::Refused) {
            self.duration_ms += duration_ms;
            self.timed += 1;
        }
    }

    pub(super) fn finish(self, group: Option<String>) -> UsageGroup {
        let share = |part: f64, of: u64| (of > 0).then(|| rounded(part / of as f64));
        UsageGroup {
            group,
            name: None,
            requests: self.requests,
            by_status: self.by_status,
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            total_tokens: total(self.prompt, self.completion),
            cached_tokens: self.cached,
            reasoning_tokens: self.reasoning,
            estimated_share: share(self.estimated as f64, self.counted),
            ttft_ms: self.ttft_ms.percentiles(),
            decode_tokens_per_s: self.decode_tps.percentiles(),
            avg_duration_ms: share(self.duration_ms, self.timed),
        }
    }
}

impl Default for Samples {
    fn default() -> Samples {
        Samples { kept: Vec::new(), stride: 1, skip: 0 }
    }
}

impl Samples {
    fn add(&mut self, figure: Option<f64>) {
        let Some(figure) = figure else { return };
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.kept.len() >= SAMPLES_MAX {
            let mut nth = 0_usize;
            self.kept.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
        self.skip = self.stride - 1;
        self.kept.push(figure as f32);
    }

    fn percentiles(mut self) -> Percentiles {
        Percentiles { p50: self.percentile(50), p95: self.percentile(95) }
    }

    /// The nearest rank: always a figure that occurred.
    fn percentile(&mut self, percent: usize) -> Option<f64> {
        let rank = (self.kept.len() * percent).div_ceil(100).checked_sub(1)?;
        let (_, figure, _) = self.kept.select_nth_unstable_by(rank, f32::total_cmp);
        Some(rounded(f64::from(*figure)))
    }
}

fn add(sum: &mut Option<u64>, figure: Option<u64>) {
    if let Some(figure) = figure {
        *sum = Some(sum.unwrap_or(0).saturating_add(figure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(figures: impl IntoIterator<Item = u32>) -> (Option<f64>, Option<f64>) {
        let mut samples = Samples::default();
        figures.into_iter().for_each(|figure| samples.add(Some(f64::from(figure))));
        let found = samples.percentiles();
        (found.p50, found.p95)
    }

    #[test]
    fn percentiles_are_figures_that_occurred() {
        assert_eq!(percentiles([]), (None, None));
        assert_eq!(percentiles([7]), (Some(7.0), Some(7.0)));
        assert_eq!(percentiles([3, 1, 2]), (Some(2.0), Some(3.0)));
        assert_eq!(percentiles((1..=100).rev()), (Some(50.0), Some(95.0)));
    }

    #[test]
    fn more_figures_than_are_kept_give_nearly_the_same_percentiles() {
        let figures = 3 * SAMPLES_MAX as u32;
        let (p50, p95) = percentiles(0..figures);
        assert!((p50.unwrap() / f64::from(figures) - 0.50).abs() < 0.001);
        assert!((p95.unwrap() / f64::from(figures) - 0.95).abs() < 0.001);
    }
}
