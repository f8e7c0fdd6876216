//! What monitoring reads: histograms and counters of requests, kept as they end, and pages of figures as
//! they stand, in OpenMetrics' text form. The only place that names prometheus_client. Names and
//! buckets are OpenTelemetry's conventions for generative AI. Labels come from the configuration and from
//! our own words, never from users, keys or what clients send, so that their number is bounded.

mod buckets;
mod labels;
mod page;
mod series;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use page::{CONTENT_TYPE, Page, Sample};

use labels::{Attributes, Ending, Failed, TokenType};
use series::Known;

/// Where ended requests are counted. A cheap clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    duration: Histograms<Failed>,
    first_token: Histograms<Attributes>,
    output_token: Histograms<Attributes>,
    tokens: Histograms<TokenType>,
    overhead: Histogram,
    requests: Family<Ending, Counter>,
    known: Known,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// A request that has ended. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    pub endpoint: &'static str,
    /// None: no profile was found.
    pub profile: Option<&'a str>,
    /// completed, failed, refused, cancelled or interrupted.
    pub status: &'static str,
    pub error_code: Option<&'a str>,
    pub duration_ms: f64,
    pub ttft_ms: Option<f64>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut families = Families {
            registry: Registry::default(),
            duration: Family::new_with_constructor(buckets::duration),
            first_token: Family::new_with_constructor(buckets::first_token),
            output_token: Family::new_with_constructor(buckets::output_token),
            tokens: Family::new_with_constructor(buckets::tokens),
            overhead: buckets::overhead(),
            requests: Family::default(),
            known: Known::default(),
        };
        families.register();
        Metrics(Arc::new(families))
    }
}

impl Families {
    fn register(&mut self) {
        let seconds = || Unit::Seconds;
        let all = &mut self.registry;
        let (duration, first) = (self.duration.clone(), self.first_token.clone());
        all.register_with_unit(
            "gen_ai_server_request_duration",
            "From a request's arrival to the end of its answer, by outcome",
            seconds(),
            duration,
        );
        all.register_with_unit(
            "gen_ai_server_time_to_first_token",
            "From a request's arrival to its first content, waits and cold starts included",
            seconds(),
            first,
        );
        all.register_with_unit(
            "gen_ai_server_time_per_output_token",
            "Mean time between tokens after the first, a request at a time",
            seconds(),
            self.output_token.clone(),
        );
        all.register("gen_ai_client_token_usage", "Tokens of requests, by type", self.tokens.clone());
        all.register_with_unit(
            "mlx_gateway_overhead",
            "Time that the gateway worked on a request until its answer began; waiting is not in it",
            seconds(),
            self.overhead.clone(),
        );
        all.register("mlx_gateway_requests", "Requests that have ended, by status", self.requests.clone());
    }
}

impl Metrics {
    /// Counts a request that has ended.
    pub fn observe(&self, ended: &Ended<'_>) {
        let families = &self.0;
        let profile = ended.profile.unwrap_or_default();
        // A refused request says nothing of how fast models are.
        if ended.status == "refused" {
            families.requests.get_or_create(&Ending::new(profile, ended.status)).inc();
            return;
        }
        let series = families.known.of(ended.endpoint, profile);
        let of = || Attributes::new(ended.endpoint, profile);
        let seconds = ended.duration_ms / 1e3;
        if ended.status == "completed" && ended.error_code.is_none() {
            let new = || families.requests.get_or_create_owned(&Ending::new(profile, ended.status));
            series.completed.get_or_init(new).inc();
            let new = || families.duration.get_or_create_owned(&Failed::new(&of(), None));
            series.duration.get_or_init(new).observe(seconds);
        } else {
            families.requests.get_or_create(&Ending::new(profile, ended.status)).inc();
            families.duration.get_or_create(&Failed::new(&of(), ended.error_code)).observe(seconds);
        }
        if let Some(ttft_ms) = ended.ttft_ms {
            let new = || families.first_token.get_or_create_owned(&of());
            series.first_token.get_or_init(new).observe(ttft_ms / 1e3);
            if let Some(later) = ended.completion_tokens.and_then(|tokens| tokens.checked_sub(1))
                && later > 0
            {
                let each = (ended.duration_ms - ttft_ms).max(0.0) / 1e3 / later as f64;
                let new = || families.output_token.get_or_create_owned(&of());
                series.output_token.get_or_init(new).observe(each);
            }
        }
        let tokens = [("input", ended.prompt_tokens), ("output", ended.completion_tokens)];
        for (series, (kind, tokens)) in series.tokens.iter().zip(tokens) {
            if let Some(tokens) = tokens {
                let new = || families.tokens.get_or_create_owned(&TokenType::new(&of(), kind));
                series.get_or_init(new).observe(tokens as f64);
            }
        }
    }

    /// Counts the time that the gateway worked on a request until its answer began.
    pub fn observe_overhead(&self, seconds: f64) {
        self.0.overhead.observe(seconds);
    }
}

#[cfg(test)]
mod tests;
