//! What a process and all that it started use together. Unknown is `None`, never 0.

use std::collections::HashSet;
use std::time::Duration;

use super::process::{self, Running};

/// A process tree at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Processor time used so far.
    pub cpu: Duration,
    /// None where not every member's memory can be seen.
    pub memory_bytes: Option<u64>,
    pub processes: u32,
}

impl Tree {
    /// The tree below `root`, among all that run; none when `root` does not.
    pub(super) fn of(root: u32, running: &[Running]) -> Option<Tree> {
        let members = members(root, running)?;
        let memory = members.iter().map(|member| match process::memory_bytes(member.pid) {
            // One that has just ended holds nothing.
            None if process::start_mark(member.pid).is_none() => Some(0),
            memory => memory,
        });
        Some(Tree {
            cpu: members.iter().map(|member| member.cpu).sum(),
            memory_bytes: memory.sum(),
            processes: u32::try_from(members.len()).unwrap_or(u32::MAX),
        })
    }
}

/// Processor time that `root` and all it started have used so far. Takes a few milliseconds.
pub fn tree_time(root: u32) -> Option<Duration> {
    Some(members(root, &process::running())?.iter().map(|member| member.cpu).sum())
}

/// Whoever else is in the tree of `root`. Takes a few milliseconds.
pub fn descendants(root: u32) -> Vec<u32> {
    let members = members(root, &process::running()).unwrap_or_default();
    members.iter().map(|member| member.pid).filter(|pid| *pid != root).collect()
}

/// `root`, its descendants, and whoever is in its group: a child whose parent has died is nobody's
/// descendant, but stays in the group.
fn members(root: u32, running: &[Running]) -> Option<Vec<Running>> {
    running.iter().find(|process| process.pid == root)?;
    let mut tree: HashSet<u32> = running
        .iter()
        .filter(|process| process.pid == root || process.group == root)
        .map(|process| process.pid)
        .collect();
    loop {
        let before = tree.len();
        for process in running {
            if tree.contains(&process.parent) {
                tree.insert(process.pid);
            }
        }
        if tree.len() == before {
            break;
        }
    }
    Some(running.iter().filter(|process| tree.contains(&process.pid)).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, group: u32) -> Running {
        Running { pid, parent, group, cpu: Duration::from_secs(1) }
    }

    #[test]
    fn a_tree_has_its_descendants_and_its_group_and_nobody_else() {
        let running = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(12, 11, 12),
            process(11, 10, 10),
            // Its parent has died.
            process(13, 1, 10),
            process(20, 1, 20),
        ];
        let pids =
            |root| members(root, &running).map(|all| all.iter().map(|member| member.pid).collect::<Vec<_>>());
        assert_eq!(pids(10), Some(vec![10, 12, 11, 13]));
        assert_eq!(pids(20), Some(vec![20]));
        assert_eq!(pids(99), None);
    }

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

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_of_the_whole_tree_is_seen() {
        use std::process::{Command, Stdio};
        let script = "import subprocess,sys\nx=bytearray(50_000_000)\np=subprocess.Popen([sys.executable,'-c','x=bytearray(50_000_000);print(1,flush=True);input()'],stdin=subprocess.PIPE,stdout=subprocess.PIPE)\np.stdout.readline()\nprint(1,flush=True)\ninput()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        let tree = Tree::of(child.id(), &process::running()).unwrap();
        assert_eq!(tree.processes, 2);
        let bytes = tree.memory_bytes.unwrap();
        assert!((100_000_000..200_000_000).contains(&bytes), "{bytes}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
