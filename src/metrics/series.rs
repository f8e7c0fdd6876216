//! The series of what usually happens, a completed request of a profile, found once and counted into from
//! then on: to find them by their labels costs more than to count.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// Of one endpoint and profile; each comes into being with its first observation.
#[derive(Default)]
pub(super) struct Series {
    pub(super) completed: OnceLock<Counter>,
    pub(super) duration: OnceLock<Histogram>,
    pub(super) first_token: OnceLock<Histogram>,
    pub(super) output_token: OnceLock<Histogram>,
    /// Tokens of prompts and of answers.
    pub(super) tokens: [OnceLock<Histogram>; 2],
}

/// By endpoint and profile, both of which the configuration bounds.
#[derive(Default)]
pub(super) struct Known(RwLock<HashMap<&'static str, HashMap<String, Arc<Series>>>>);

impl Known {
    pub(super) fn of(&self, endpoint: &'static str, profile: &str) -> Arc<Series> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(endpoint).and_then(|profiles| profiles.get(profile)) {
            return Arc::clone(series);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(endpoint).or_default().entry(profile.to_owned()).or_default())
    }
}
