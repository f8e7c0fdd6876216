//! The clock by which running guests are interrupted: one thread, asleep while no guest runs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a guest runs before others get their turn, and how exact its limits are.
pub const TICK: Duration = Duration::from_millis(2);
/// Ticks without a guest before the thread goes to sleep.
const IDLE_TICKS: u32 = 50;

/// Advances an engine's epoch; ends with its owner.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicU32,
    asleep: AtomicBool,
    ended: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// While it lives, the epoch advances.
pub struct Running(Arc<Shared>);

impl Ticker {
    pub fn start(tick: impl Fn() + Send + 'static) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared {
            running: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let ticking = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("plugin-ticker".into()).spawn(move || ticking.run(&tick))?;
        Ok(Ticker { shared, thread: Some(thread) })
    }

    pub fn enter(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.shared.rouse();
        }
        Running(Arc::clone(&self.shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.rouse();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The thread that interrupts plugins panicked");
        }
    }
}

impl Shared {
    #[expect(clippy::disallowed_methods, reason = "a thread of its own that keeps time; no worker waits")]
    fn run(&self, tick: &impl Fn()) {
        let mut idle = 0;
        while !self.ended.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) > 0 {
                idle = 0;
            } else if idle < IDLE_TICKS {
                idle += 1;
            } else {
                self.sleep();
                continue;
            }
            std::thread::sleep(TICK);
            tick();
        }
    }

    /// Until a guest runs. That one has begun is looked at again after `asleep` was set, so that
    /// either this thread sees it, or the one that began it sees the sleeper.
    fn sleep(&self) {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
            held = self.wake.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn rouse(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_ticks_while_a_guest_runs_sleeps_otherwise_and_ends_with_its_owner() {
        let (tell, told) = mpsc::channel();
        let ticker = Ticker::start(move || {
            tell.send(()).ok();
        })
        .unwrap();
        let long = Duration::from_secs(20);
        // Idle: it falls silent. The channel is drained until the thread sleeps.
        while !ticker.shared.asleep.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        while told.try_recv().is_ok() {}
        let running = ticker.enter();
        for _ in 0..3 {
            told.recv_timeout(long).unwrap();
        }
        drop(running);
        drop(ticker);
        // The sender went with the thread.
        while told.recv_timeout(long).is_ok() {}
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
