//! Live tokens per second and totals since start, per profile. Fed with one atomic addition or two
//! per chunk, read by whoever shows them.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::Clock;

/// The span that live tokens/s is averaged over.
pub const WINDOW: Duration = Duration::from_secs(5);
const BUCKET_MS: u64 = 100;
const BUCKETS: usize = 64;
const BUCKETS_IN_WINDOW: u64 = WINDOW.as_millis() as u64 / BUCKET_MS;
/// Profiles metered one by one. Their names come from the configuration, so this is far away.
const PROFILES_MAX: usize = 4096;

/// The meters of all profiles.
pub struct Throughput {
    clock: Arc<dyn Clock>,
    /// Ticks are counted from here.
    epoch: Instant,
    meters: RwLock<HashMap<Arc<str>, Arc<Meter>>>,
}

/// One profile's completion tokens.
pub(super) struct Meter {
    epoch: Instant,
    total: AtomicU64,
    /// The tick in the upper half, the tokens of that tick in the lower.
    buckets: [AtomicU64; BUCKETS],
}

impl Throughput {
    /// Nothing has been counted yet.
    pub fn new(clock: Arc<dyn Clock>) -> Throughput {
        Throughput { epoch: clock.now(), clock, meters: RwLock::default() }
    }

    /// Completion tokens per second over the last five seconds.
    pub fn tokens_per_s(&self, profile: &str) -> f64 {
        let now = self.clock.now();
        self.find(profile).map_or(0.0, |meter| meter.tokens_per_s(now))
    }

    /// Completion tokens since start, what is streaming now included.
    pub fn total_tokens(&self, profile: &str) -> u64 {
        self.find(profile).map_or(0, |meter| meter.total())
    }

    /// `(profile, tokens per second, tokens since start)` of all that were used, by name.
    pub fn all(&self) -> Vec<(Arc<str>, f64, u64)> {
        let now = self.clock.now();
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = meters
            .iter()
            .map(|(profile, meter)| (Arc::clone(profile), meter.tokens_per_s(now), meter.total()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    pub(super) fn meter(&self, profile: &Arc<str>) -> Option<Arc<Meter>> {
        if let Some(meter) = self.find(profile) {
            return Some(meter);
        }
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= PROFILES_MAX && !meters.contains_key(profile) {
            return None;
        }
        let meter = meters.entry(Arc::clone(profile)).or_insert_with(|| Arc::new(Meter::new(self.epoch)));
        Some(Arc::clone(meter))
    }

    fn find(&self, profile: &str) -> Option<Arc<Meter>> {
        self.meters.read().unwrap_or_else(PoisonError::into_inner).get(profile).cloned()
    }
}

impl Meter {
    fn new(epoch: Instant) -> Meter {
        Meter { epoch, total: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    pub(super) fn add(&self, tokens: u64, now: Instant) {
        self.total.fetch_add(tokens, Ordering::Relaxed);
        let tick = self.tick(now);
        let tokens = tokens.min(u64::from(u32::MAX)) as u32;
        let Some(bucket) = self.buckets.get(tick as usize % BUCKETS) else {
            return;
        };
        let mut held = bucket.load(Ordering::Relaxed);
        loop {
            let (held_tick, held_tokens) = split(held);
            let next = match held_tick.cmp(&tick) {
                // A straggler: its window has passed.
                Greater => return,
                Equal => join(tick, held_tokens.saturating_add(tokens)),
                // Of an earlier round.
                Less => join(tick, tokens),
            };
            match bucket.compare_exchange_weak(held, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => held = now,
            }
        }
    }

    /// What was counted while it streamed, against what it came to in the end.
    pub(super) fn settle(&self, counted: u64, reported: u64, now: Instant) {
        if reported > counted {
            self.add(reported - counted, now);
        } else {
            self.total.fetch_sub(counted - reported, Ordering::Relaxed);
        }
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn tokens_per_s(&self, now: Instant) -> f64 {
        let newest = u64::from(self.tick(now));
        let tokens: u64 = self
            .buckets
            .iter()
            .map(|bucket| split(bucket.load(Ordering::Relaxed)))
            .filter(|&(tick, _)| u64::from(tick) <= newest && u64::from(tick) + BUCKETS_IN_WINDOW > newest)
            .map(|(_, tokens)| u64::from(tokens))
            .sum();
        tokens as f64 / WINDOW.as_secs_f64()
    }

    /// Tenths of a second since the epoch; 32 bits of them are 13 years.
    fn tick(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.epoch).as_millis() as u64 / BUCKET_MS) as u32
    }
}

fn split(bucket: u64) -> (u32, u32) {
    ((bucket >> 32) as u32, bucket as u32)
}

fn join(tick: u32, tokens: u32) -> u64 {
    u64::from(tick) << 32 | u64::from(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::testing::TestClock;

    #[test]
    fn the_window_forgets_after_five_seconds_and_the_total_never() {
        let clock = Arc::new(TestClock::default());
        let throughput = Throughput::new(clock.clone());
        let meter = throughput.meter(&"qwen".into()).unwrap();
        for _ in 0..50 {
            meter.add(4, clock.now());
            clock.advance(Duration::from_millis(100));
        }
        // The newest bucket is still empty, and the oldest has just left.
        assert_eq!(throughput.tokens_per_s("qwen"), 39.2);
        clock.advance(Duration::from_millis(2500));
        assert_eq!(throughput.tokens_per_s("qwen"), 19.2);
        clock.advance(Duration::from_secs(60));
        assert_eq!(throughput.tokens_per_s("qwen"), 0.0);
        assert_eq!(throughput.total_tokens("qwen"), 200);
        assert_eq!((throughput.tokens_per_s("other"), throughput.total_tokens("other")), (0.0, 0));
    }

    #[test]
    fn the_total_is_settled_to_what_the_backend_reported() {
        let clock = Arc::new(TestClock::default());
        let throughput = Throughput::new(clock.clone());
        let meter = throughput.meter(&"qwen".into()).unwrap();
        meter.add(10, clock.now());
        meter.settle(10, 12, clock.now());
        meter.add(10, clock.now());
        meter.settle(10, 7, clock.now());
        assert_eq!(throughput.total_tokens("qwen"), 19);
    }

    #[test]
    fn additions_from_many_threads_are_all_counted() {
        let clock = Arc::new(TestClock::default());
        let throughput = Throughput::new(clock.clone());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let meter = throughput.meter(&"qwen".into()).unwrap();
                    (0..1000).for_each(|_| meter.add(1, clock.now()));
                });
            }
        });
        assert_eq!(throughput.total_tokens("qwen"), 8000);
        assert_eq!(throughput.tokens_per_s("qwen"), 1600.0);
    }
}
