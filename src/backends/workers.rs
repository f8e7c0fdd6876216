//! The child processes that do a server's work. A server may go on answering when one of them has
//! died, with every request to it hanging for good, so their ends are watched. Knows what marks such a
//! child, not what follows from its end.

use crate::system;
use crate::system::process::{Exit, command_line};
use futures_util::future::select_all;

/// The workers of one process.
#[derive(Debug, Default)]
pub struct Workers(Vec<(u32, Exit)>);

impl Workers {
    /// Those that run now below `root`: whose command line holds `mark`. None without a mark.
    pub async fn of(root: u32, mark: Option<&'static str>) -> Workers {
        let Some(mark) = mark else { return Workers::default() };
        let marked = move || {
            let all = system::descendants(root);
            all.into_iter().filter(|pid| command_line(*pid).contains(mark)).collect::<Vec<_>>()
        };
        let found = tokio::task::spawn_blocking(marked).await.unwrap_or_default();
        let watched = found.into_iter().filter_map(|pid| match Exit::of(pid) {
            Ok(exit) => Some((pid, exit?)),
            Err(error) => {
                tracing::warn!(backend.pid = root, worker.pid = pid, %error, "The end of a worker process cannot be watched; it shows only when requests hang");
                None
            }
        });
        Workers(watched.collect())
    }

    /// The first of them that has ended; never, without any.
    pub async fn one_ended(&self) -> u32 {
        let ends = self.0.iter().map(|(pid, exit)| {
            Box::pin(async move {
                match exit.ended().await {
                    Ok(()) => *pid,
                    Err(error) => {
                        tracing::warn!(worker.pid = pid, %error, "The end of a worker process is not watched any more");
                        std::future::pending().await
                    }
                }
            })
        });
        let ends: Vec<_> = ends.collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        select_all(ends).await.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::process::{Command, Stdio};
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn only_marked_children_are_workers_and_the_end_of_one_is_told() {
        let script = "import subprocess, sys
child = [sys.executable, '-c', 'import sys; sys.stdin.read()']
children = [subprocess.Popen([*child, mark], stdin=subprocess.PIPE) for mark in sys.argv[1:]]
print(1, flush=True)
sys.stdin.read()";
        let mut root = Command::new("python3")
            .args(["-c", script, "the-worker", "another"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        std::io::Read::read_exact(root.stdout.as_mut().unwrap(), &mut said).unwrap();
        let none = Workers::of(root.id(), Some("no-such-mark")).await;
        assert!(timeout(Duration::from_millis(20), none.one_ended()).await.is_err());
        let workers = Workers::of(root.id(), Some("the-worker")).await;
        assert_eq!(workers.0.len(), 1);
        let pid = workers.0[0].0;
        assert!(command_line(pid).contains("the-worker"));
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        let ended = timeout(Duration::from_secs(30), workers.one_ended()).await;
        assert_eq!(ended.expect("its end was not told"), pid);
        drop(root.stdin.take());
        root.wait().unwrap();
    }
}
