//! What goes on beside requests: looking at the machine, learning what backends need, and relief when
//! memory is critically short. Knows no request.

use super::Inner;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks when nobody asks for figures.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks until the shutdown begins or nobody holds the backends any more.
pub async fn over(backends: Weak<Inner>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Some(inner) = backends.upgrade() {
        inner.needs.load().await;
    }
    loop {
        ticks.tick().await;
        let Some(inner) = backends.upgrade() else { return };
        if inner.shutting_down.load(Ordering::Acquire) {
            return;
        }
        inner.gauge.look(LOOK_EVERY / 2).await;
        inner.admission.relieve();
        inner.learn().await;
    }
}

impl Inner {
    /// Notes the peaks of those that have served: one that was only loaded has not shown its need.
    async fn learn(&self) {
        let handles: Vec<_> = self.slots.load().values().cloned().collect();
        for handle in handles {
            let slot = &handle.slot;
            let served = slot.current.load().as_ref().is_some_and(|run| run.gate.last_left().is_some());
            let figures = slot.figures.load_full().filter(|_| served);
            if let Some(peak) = figures.and_then(|figures| figures.peak_bytes) {
                let spec = slot.spec.load_full();
                self.needs.note(&spec.settings, peak, self.clock.unix_ms()).await;
            }
        }
    }
}
