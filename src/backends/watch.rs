//! What goes on beside requests: looking at the machine, learning what backends need, relief when
//! memory is critically short, and what has to be done around the machine's sleep. Knows no request.

use super::awake::Awake;
use super::{Handle, Inner};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks when nobody asks for figures.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks until the shutdown begins or nobody holds the backends any more.
pub async fn over(backends: Weak<Inner>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut awake = Awake::default();
    let mut sleeps = 0;
    if let Some(inner) = backends.upgrade() {
        inner.needs.load().await;
    }
    loop {
        ticks.tick().await;
        let Some(inner) = backends.upgrade() else { return };
        if inner.shutting_down.load(Ordering::Acquire) {
            return;
        }
        let slept = inner.sleeps.count();
        if std::mem::replace(&mut sleeps, slept) < slept {
            tracing::info!("The machine has slept: the backends are asked whether they still answer");
            inner.handles().iter().for_each(|handle| handle.slot.wake.notify_one());
        }
        inner.gauge.look(LOOK_EVERY / 2).await;
        inner.admission.relieve();
        inner.learn().await;
        awake.keep(inner.is_busy());
    }
}

impl Inner {
    fn handles(&self) -> Vec<Arc<Handle>> {
        self.slots.load().values().cloned().collect()
    }

    fn is_busy(&self) -> bool {
        let busy = |handle: &Arc<Handle>| {
            handle.slot.current.load().as_ref().is_some_and(|run| run.gate.count() > 0)
        };
        self.slots.load().values().any(busy)
    }

    /// Notes the peaks of those that have served: one that was only loaded has not shown its need.
    async fn learn(&self) {
        for handle in self.handles() {
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
