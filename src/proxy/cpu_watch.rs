//! Tells a backend that computes from one that does nothing, by the processor time of its process.

use std::time::{Duration, Instant};

use crate::backends::Lease;

/// The processor time of a silent backend at the last look.
#[derive(Debug, Default)]
pub struct CpuWatch(Option<(Instant, Duration)>);

impl CpuWatch {
    /// Returns whether the backend has computed since the last look; at the first look, whether it has a process.
    pub fn is_working(&mut self, lease: &Lease, now: Instant) -> bool {
        let Some(used) = lease.cpu_time() else { return false };
        match self.0.replace((now, used)) {
            None => true,
            Some((at, before)) => is_work(used.saturating_sub(before), now - at),
        }
    }

    /// Forgets the last look: the backend has answered something.
    pub fn reset(&mut self) {
        self.0 = None;
    }
}

/// Whether processor time is more than an idle process uses: 5 % of one processor.
fn is_work(used: Duration, over: Duration) -> bool {
    used * 20 > over
}
