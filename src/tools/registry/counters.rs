//! Figures of one plugin since start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::tools::content::ToolOutput;
use crate::tools::error::CallError;

#[derive(Debug, Default)]
pub struct Counters {
    calls: AtomicU64,
    /// Calls whose tool reported a failure.
    failures: AtomicU64,
    micros: AtomicU64,
    /// In the order of [`CallError::CODES`].
    errors: [AtomicU64; CallError::CODES.len()],
}

impl Counters {
    pub fn count(&self, outcome: &Result<ToolOutput, CallError>, took: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match outcome {
            Ok(output) if output.is_error => self.failures.fetch_add(1, Ordering::Relaxed),
            Ok(_) => 0,
            Err(error) => self.errors[error.index()].fetch_add(1, Ordering::Relaxed),
        };
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Milliseconds; none before the first call.
    pub fn mean_ms(&self) -> Option<f64> {
        let calls = self.calls();
        (calls > 0).then(|| self.micros.load(Ordering::Relaxed) as f64 / calls as f64 / 1000.0)
    }

    /// By code, those that never came left out.
    pub fn errors(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.errors.iter().map(|count| count.load(Ordering::Relaxed));
        CallError::CODES.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}
