//! Processor time of a process and its descendants. Unknown is `None`, never 0.

use std::collections::HashSet;
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Processor time that `root` and all its descendants have used so far. Takes a few milliseconds.
pub fn tree_time(root: u32) -> Option<Duration> {
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        false,
        ProcessRefreshKind::nothing().with_cpu().without_tasks(),
    );
    let root = Pid::from_u32(root);
    system.process(root)?;
    let mut tree = HashSet::from([root]);
    loop {
        let before = tree.len();
        for (pid, process) in system.processes() {
            if process.parent().is_some_and(|parent| tree.contains(&parent)) {
                tree.insert(*pid);
            }
        }
        if tree.len() == before {
            break;
        }
    }
    let used: u64 =
        tree.iter().filter_map(|pid| system.process(*pid)).map(sysinfo::Process::accumulated_cpu_time).sum();
    Some(Duration::from_millis(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_and_a_process_that_is_gone_is_unknown() {
        let own = std::process::id();
        let before = tree_time(own).unwrap();
        let mut x = 1u64;
        while tree_time(own).unwrap() - before < Duration::from_millis(20) {
            x = (0..1_000_000).fold(x, |x, i| x.wrapping_mul(31).wrapping_add(i));
        }
        assert!(std::hint::black_box(x) > 0);
        assert_eq!(tree_time(u32::MAX / 2), None);
    }
}
