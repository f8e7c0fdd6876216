//! Looks at the processes of all backends and at the machine, together and not more often than
//! anybody asks. Knows what was seen, not what follows from it.

use super::waiters::Slot;
use crate::system::{Machine, Probe, Tree};
use arc_swap::ArcSwapOption;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Use of processors is told over at least that long.
const CPU_SPAN: Duration = Duration::from_millis(250);

/// What a backend's process tree was seen to use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub pid: u32,
    pub memory_bytes: Option<u64>,
    /// The most that this process was seen to use.
    pub peak_bytes: Option<u64>,
    /// 100: one processor.
    pub cpu_percent: Option<f64>,
    pub processes: u32,
    /// Processor time at the look that `cpu_percent` was last told at.
    cpu: Duration,
    cpu_at: Instant,
}

pub struct Gauge {
    probe: Arc<dyn Probe>,
    slots: Mutex<Vec<Weak<Slot>>>,
    /// One look at a time.
    looked: tokio::sync::Mutex<Option<Instant>>,
    machine: ArcSwapOption<Machine>,
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Gauge {
    pub fn new(probe: Arc<dyn Probe>) -> Gauge {
        let machine = ArcSwapOption::empty();
        Gauge { probe, slots: Mutex::default(), looked: tokio::sync::Mutex::default(), machine }
    }

    /// From now on its process is looked at too.
    pub fn add(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(slot));
    }

    /// Sees to it that the figures are at most `max_age` old.
    pub async fn look(&self, max_age: Duration) {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < max_age) {
            return;
        }
        let running: Vec<(Arc<Slot>, u32)> = self.running();
        let roots: Vec<u32> = running.iter().map(|(_, pid)| *pid).collect();
        let probe = Arc::clone(&self.probe);
        let looking = move || (probe.trees(&roots), probe.machine());
        let Ok((trees, machine)) = tokio::task::spawn_blocking(looking).await else {
            tracing::error!("The machine could not be looked at; this is a bug");
            return;
        };
        let now = Instant::now();
        for ((slot, pid), tree) in running.into_iter().zip(trees) {
            let before = slot.figures.load_full().filter(|figures| figures.pid == pid);
            let same = slot.pid.load(Ordering::Acquire) == pid;
            slot.figures.store(
                tree.filter(|_| same).map(|tree| Arc::new(Figures::of(pid, &tree, before.as_deref(), now))),
            );
        }
        self.machine.store(Some(Arc::new(machine)));
        *looked = Some(now);
    }

    /// The machine at the last look.
    pub fn machine(&self) -> Option<Machine> {
        self.machine.load().as_deref().copied()
    }

    /// Backends with a process; what is shown of the others is forgotten.
    fn running(&self) -> Vec<(Arc<Slot>, u32)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let live = slots.iter().filter_map(Weak::upgrade);
        live.filter_map(|slot| match slot.pid.load(Ordering::Acquire) {
            0 => {
                slot.figures.store(None);
                None
            }
            pid => Some((slot, pid)),
        })
        .collect()
    }
}

impl Figures {
    fn of(pid: u32, tree: &Tree, before: Option<&Figures>, now: Instant) -> Figures {
        let (memory_bytes, processes) = (tree.memory_bytes, tree.processes);
        let first = Figures {
            pid,
            memory_bytes,
            peak_bytes: memory_bytes,
            cpu_percent: None,
            processes,
            cpu: tree.cpu,
            cpu_at: now,
        };
        let Some(before) = before else { return first };
        let peak_bytes = memory_bytes.max(before.peak_bytes);
        let span = now.saturating_duration_since(before.cpu_at);
        if span < CPU_SPAN {
            let Figures { cpu_percent, cpu, cpu_at, .. } = *before;
            return Figures { peak_bytes, cpu_percent, cpu, cpu_at, ..first };
        }
        let used = tree.cpu.saturating_sub(before.cpu);
        let cpu_percent = Some(used.as_secs_f64() / span.as_secs_f64() * 100.0);
        Figures { peak_bytes, cpu_percent, ..first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn tree(cpu: Duration, memory: Option<u64>) -> Tree {
        Tree { cpu, memory_bytes: memory, processes: 1 }
    }

    #[test]
    fn use_is_told_between_two_looks_and_the_peak_stays() {
        let now = Instant::now();
        let first = Figures::of(7, &tree(10 * S, Some(500)), None, now);
        assert_eq!((first.cpu_percent, first.peak_bytes), (None, Some(500)));
        let second = Figures::of(7, &tree(11 * S, Some(300)), Some(&first), now + 2 * S);
        assert_eq!(second.cpu_percent, Some(50.0));
        assert_eq!((second.memory_bytes, second.peak_bytes), (Some(300), Some(500)));
        let soon = Figures::of(7, &tree(11 * S, Some(300)), Some(&second), now + 2 * S + S / 10);
        assert_eq!(soon.cpu_percent, Some(50.0), "too soon to tell");
        let unknown = Figures::of(7, &tree(12 * S, None), Some(&second), now + 4 * S);
        assert_eq!((unknown.memory_bytes, unknown.peak_bytes), (None, Some(500)));
    }
}
