//! Keeps a Mac awake while requests are served, notices when a machine has slept all the same, and
//! asks the backends then. Knows no queue: who may be leased is for the actors to say.

use super::launcher::Readiness;
use super::lease::Generation;
use super::readiness;
use crate::system;
use crate::system::clock::Clock;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// Wall time that has passed beyond what the machine was awake for, from which on it has slept.
const SLEPT_MS: i64 = 10_000;
/// A wall clock that goes a little faster or slower is followed in steps of this size.
const DRIFT_STEP_MS: i64 = 1_000;
/// How long a backend may take to answer after the machine has slept.
const WAKE_ANSWER: Duration = Duration::from_secs(5);

/// A power assertion, held while wanted; nothing where there is no `caffeinate`.
#[derive(Debug, Default)]
pub struct Awake(Option<Child>);

impl Awake {
    /// Takes the assertion or lets it go.
    pub fn keep(&mut self, wanted: bool) {
        if !wanted {
            // Killed with the value.
            self.0 = None;
        } else if self.0.is_none() && cfg!(target_os = "macos") {
            // Bound to this process, so that it ends with it whatever happens.
            let own = std::process::id().to_string();
            let mut command = Command::new("/usr/bin/caffeinate");
            command.args(["-i", "-w", &own]).stdin(Stdio::null()).kill_on_drop(true);
            match command.spawn() {
                Ok(child) => self.0 = Some(child),
                Err(error) => tracing::debug!(%error, "The machine cannot be kept awake"),
            }
        }
    }
}

/// Counts the machine's sleeps, by two clocks of which one stands still meanwhile.
pub struct Sleeps {
    clock: Arc<dyn Clock>,
    began: Instant,
    /// By how much the wall clock was ahead when it was last found to differ.
    ahead_ms: AtomicI64,
    count: AtomicU64,
}

impl Sleeps {
    pub fn new(clock: Arc<dyn Clock>) -> Sleeps {
        let ahead_ms = AtomicI64::new(clock.unix_ms());
        Sleeps { clock, began: Instant::now(), ahead_ms, count: AtomicU64::new(0) }
    }

    /// How often it has slept so far. Looks at both clocks, so that a sleep shows at the first look
    /// after it; costs little enough to be asked for every request.
    pub fn count(&self) -> u64 {
        let awake_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let ahead_ms = self.clock.unix_ms().saturating_sub(awake_ms);
        let more_ms = ahead_ms.saturating_sub(self.ahead_ms.load(Ordering::Acquire));
        if more_ms > SLEPT_MS {
            // Before the other: whoever sees that the clocks differ no more sees the sleep too.
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        if more_ms.abs() > DRIFT_STEP_MS {
            self.ahead_ms.store(ahead_ms, Ordering::Release);
        }
        self.count.load(Ordering::Acquire)
    }
}

/// Asks a run of which nothing was heard since the `sleeps`th sleep whether it still answers. From then
/// on it may be leased again, or its actor ends it. One that works hard may be slow to answer.
pub async fn ask(run: Arc<Generation>, sleeps: u64) {
    let local = run.pid.zip(run.target.authority.port_u16());
    // Of a server elsewhere nothing is known but what its answers say.
    let Some((pid, port)) = local else { return run.vouch(sleeps) };
    let paths = vec!["/health".to_owned(), "/v1/models".to_owned()];
    let question = Readiness { paths, first_token: None };
    let used = tree_time(pid).await;
    if timeout(WAKE_ANSWER, readiness::answered(port, &question)).await.is_ok()
        || tree_time(pid).await.zip(used).is_some_and(|(now, before)| now > before + WAKE_ANSWER / 2)
    {
        return run.vouch(sleeps);
    }
    run.suspect(format!("it did not answer within {} s after the machine woke up", WAKE_ANSWER.as_secs()));
}

async fn tree_time(pid: u32) -> Option<Duration> {
    tokio::task::spawn_blocking(move || system::tree_time(pid)).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wall(AtomicI64);

    impl Clock for Wall {
        fn unix_ms(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }

        fn now(&self) -> std::time::Instant {
            Instant::now().into_std()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_shows_in_the_difference_of_the_clocks() {
        let wall = Arc::new(Wall(AtomicI64::new(1_700_000_000_000)));
        let sleeps = Sleeps::new(Arc::clone(&wall) as Arc<dyn Clock>);
        let pass = async |awake_ms: u64, wall_ms: i64| {
            tokio::time::advance(Duration::from_millis(awake_ms)).await;
            wall.0.fetch_add(wall_ms, Ordering::Relaxed);
            sleeps.count()
        };
        assert_eq!(pass(0, 0).await, 0);
        assert_eq!(pass(3_600_000, 3_600_100).await, 0, "an hour awake");
        assert_eq!(pass(2_000, 11_000).await, 0, "a clock that was set a little");
        assert_eq!(pass(2_000, 60_000).await, 1);
        assert_eq!(pass(2_000, 2_000).await, 1, "told once");
        assert_eq!(pass(2_000, -50_000).await, 1, "a clock that was set back");
        assert_eq!(pass(0, 20_000).await, 2);
        for _ in 0..100 {
            assert_eq!(pass(1_000, 1_200).await, 2, "a clock that runs too fast");
        }
    }
}
