//! How often somebody may fail to log in: by account and by address, decided from instants alone.

use std::collections::HashMap;
use std::time::Duration;

/// Failures of one account within the window, then it has to wait.
pub const PER_ACCOUNT: u32 = 10;
/// Failures from one address.
pub const PER_ADDRESS: u32 = 30;
pub const WINDOW: Duration = Duration::from_secs(5 * 60);
/// Names remembered; beyond them the oldest are forgotten.
const NAMES_MAX: usize = 20_000;

/// Counts failures. Windows begin with the first failure.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: HashMap<String, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Duration,
    count: u32,
}

impl Throttle {
    /// How long whoever tries has to wait; `None`: not at all. What is tried counts as a failure
    /// until [`Throttle::succeeded`] is told, so that attempts at one time count too. An empty account
    /// is none: only the address counts.
    pub fn attempt(&mut self, account: &str, address: &str, at: Duration) -> Option<Duration> {
        let mut names = vec![(format!("i {address}"), PER_ADDRESS)];
        if !account.is_empty() {
            names.push((format!("a {account}"), PER_ACCOUNT));
        }
        let waits = names.iter().filter_map(|(name, most)| self.wait(name, *most, at));
        if let Some(wait) = waits.max() {
            return Some(wait);
        }
        self.make_room(at);
        for (name, _) in names {
            let failures = self.failures.entry(name).or_insert(Failures { since: at, count: 0 });
            if at.saturating_sub(failures.since) >= WINDOW {
                *failures = Failures { since: at, count: 0 };
            }
            failures.count += 1;
        }
        None
    }

    /// The attempt was a good one.
    pub fn succeeded(&mut self, account: &str, address: &str) {
        self.failures.remove(&format!("a {account}"));
        if let Some(failures) = self.failures.get_mut(&format!("i {address}")) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    fn wait(&self, name: &str, most: u32, at: Duration) -> Option<Duration> {
        let failures = self.failures.get(name)?;
        let passed = at.saturating_sub(failures.since);
        (failures.count >= most && passed < WINDOW).then(|| WINDOW.saturating_sub(passed))
    }

    fn make_room(&mut self, at: Duration) {
        if self.failures.len() < NAMES_MAX {
            return;
        }
        self.failures.retain(|_, failures| at.saturating_sub(failures.since) < WINDOW);
        if self.failures.len() < NAMES_MAX {
            return;
        }
        let mut ages: Vec<Duration> = self.failures.values().map(|failures| failures.since).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        self.failures.retain(|_, failures| failures.since > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_account_has_to_wait_after_failures_wherever_they_come_from() {
        let mut throttle = Throttle::default();
        for n in 0..PER_ACCOUNT {
            assert_eq!(throttle.attempt("a@b.c", &format!("10.0.0.{n}"), at(0)), None);
        }
        assert_eq!(throttle.attempt("a@b.c", "10.9.9.9", at(60)), Some(at(240)));
        assert_eq!(throttle.attempt("other@b.c", "10.9.9.9", at(60)), None);
        assert_eq!(throttle.attempt("a@b.c", "10.9.9.9", at(300)), None);
    }

    #[test]
    fn an_address_has_to_wait_whichever_accounts_it_tries() {
        let mut throttle = Throttle::default();
        for n in 0..PER_ADDRESS {
            assert_eq!(throttle.attempt(&format!("{n}@b.c"), "10.0.0.1", at(0)), None);
        }
        assert_eq!(throttle.attempt("new@b.c", "10.0.0.1", at(1)), Some(at(299)));
        assert_eq!(throttle.attempt("new@b.c", "10.0.0.2", at(1)), None);
    }

    #[test]
    fn who_succeeds_is_not_held_up() {
        let mut throttle = Throttle::default();
        for _ in 0..1000 {
            assert_eq!(throttle.attempt("a@b.c", "10.0.0.1", at(0)), None);
            throttle.succeeded("a@b.c", "10.0.0.1");
        }
    }

    #[test]
    fn only_so_many_names_are_remembered() {
        let mut throttle = Throttle::default();
        for n in 0..50_000_u64 {
            assert_eq!(
                throttle.attempt(&format!("{n}"), &format!("address {n}"), Duration::from_millis(n)),
                None
            );
        }
        assert!(throttle.failures.len() <= NAMES_MAX + 2);
    }
}
