//! Keeps a Mac awake while requests are served, and notices when a machine has slept all the same.

use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Wall time that has passed beyond what the machine was awake for, from which on it has slept.
const SLEPT: Duration = Duration::from_secs(10);

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

/// Whether the machine slept while `awake` passed on the monotonic clock, which stands still then,
/// and `wall_ms` on the wall's.
pub fn has_slept(awake: Duration, wall_ms: i64) -> bool {
    let wall = Duration::from_millis(u64::try_from(wall_ms).unwrap_or(0));
    wall.saturating_sub(awake) > SLEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_shows_in_the_difference_of_the_clocks() {
        let two = Duration::from_secs(2);
        assert!(!has_slept(two, 2_100));
        assert!(!has_slept(two, 9_000));
        assert!(has_slept(two, 60_000));
        assert!(!has_slept(two, -5_000), "a clock that was set back");
    }
}
