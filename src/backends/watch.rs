//! What goes on beside requests: looking at the machine, learning what backends need, relief when
//! memory is critically short, and what has to be done around the machine's sleep. Knows no request.

use super::awake::{Awake, has_slept};
use super::launcher::Readiness;
use super::{Handle, Inner, readiness};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Between two looks when nobody asks for figures.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a backend may take to answer after the machine has slept.
const WAKE_ANSWER: Duration = Duration::from_secs(5);

/// Looks until the shutdown begins or nobody holds the backends any more.
pub async fn over(backends: Weak<Inner>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut awake = Awake::default();
    let mut before = None;
    if let Some(inner) = backends.upgrade() {
        inner.needs.load().await;
    }
    loop {
        ticks.tick().await;
        let Some(inner) = backends.upgrade() else { return };
        if inner.shutting_down.load(Ordering::Acquire) {
            return;
        }
        let now = (Instant::now(), inner.clock.unix_ms());
        if let Some((at, wall)) = before.replace(now)
            && has_slept(now.0.saturating_duration_since(at), now.1 - wall)
        {
            tracing::info!("The machine has slept: the backends are asked whether they still answer");
            inner.ask_all().await;
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

    /// Ends those that do not answer any more.
    async fn ask_all(&self) {
        let paths = vec!["/health".to_owned(), "/v1/models".to_owned()];
        let question = Readiness { paths, first_token: None };
        for handle in self.handles() {
            let Some(run) = handle.slot.current.load_full().filter(|run| run.pid.is_some()) else { continue };
            let Some(port) = run.target.authority.port_u16() else { continue };
            if timeout(WAKE_ANSWER, readiness::answered(port, &question)).await.is_err() {
                let why =
                    format!("it did not answer within {} s after the machine woke up", WAKE_ANSWER.as_secs());
                if run.suspicion.set(why).is_ok() {
                    run.gate.wake();
                }
            }
        }
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
