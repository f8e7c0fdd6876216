//! A child process and all its descendants, as one process group: begun with a clean environment,
//! ended without a remainder. Knows nothing of what runs.

use super::launcher::Command;
use super::logs::{LogBuffer, RawLine, pump};
use crate::system::process::group_members;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command as Spawn};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a process may take to end after it was asked to.
const TERM_WAIT: Duration = Duration::from_secs(5);
/// How long killed descendants may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long the last output may take to be read after everything has ended.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process group of ours. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Group,
    pumps: JoinSet<()>,
}

#[derive(Debug)]
struct Group {
    leader: u32,
    over: bool,
}

impl Process {
    /// Spawns the command as the leader of a new group. `marks` are added to its environment.
    pub fn spawn<'a>(
        command: &Command,
        marks: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
        logs: &Arc<LogBuffer>,
        file: mpsc::Sender<Vec<RawLine>>,
    ) -> io::Result<Process> {
        let mut spawn = Spawn::new(&command.program);
        spawn
            .args(&command.args)
            .env_clear()
            .envs(marks)
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&command.working_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = spawn.spawn()?;
        let leader = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
        let mut pumps = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            pumps.spawn(pump(out, Arc::clone(logs), file.clone()));
        }
        if let Some(err) = child.stderr.take() {
            pumps.spawn(pump(err, Arc::clone(logs), file));
        }
        Ok(Process { child, group: Group { leader, over: false }, pumps })
    }

    pub fn pid(&self) -> u32 {
        self.group.leader
    }

    /// Waits until the leader ends by itself. May be dropped and called again.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the whole group: asks, waits a bounded time, kills; then reads the last output.
    pub async fn end(self) {
        self.end_within(TERM_WAIT).await;
    }

    /// Ends the whole group without asking.
    pub async fn kill(self) {
        self.end_within(Duration::ZERO).await;
    }

    async fn end_within(mut self, wait: Duration) {
        self.group.signal(Signal::SIGTERM);
        if timeout(wait, self.child.wait()).await.is_err() {
            tracing::debug!(backend.pid = self.pid(), "A process did not end when asked and is killed");
        }
        // The leader's end does not mean that of its children.
        self.group.signal(Signal::SIGKILL);
        if let Err(error) = self.child.wait().await {
            tracing::warn!(backend.pid = self.pid(), %error, "A process cannot be waited for");
        }
        self.group.gone().await;
        let all_read = async { while self.pumps.join_next().await.is_some() {} };
        if timeout(OUTPUT_WAIT, all_read).await.is_err() {
            // Somebody outside the group holds the pipe open.
            self.pumps.abort_all();
        }
    }
}

impl Group {
    fn signal(&self, signal: Signal) {
        let Ok(leader) = i32::try_from(self.leader) else { return };
        match killpg(Pid::from_raw(leader), signal) {
            // EPERM is how macOS says that only zombies are left.
            Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => {}
            Err(error) => {
                tracing::warn!(backend.pid = self.leader, %error, "A process group cannot be signalled");
            }
        }
    }

    /// Waits until the killed members have ended.
    async fn gone(&mut self) {
        let group = self.leader;
        let emptied = async {
            while !group_members(group).is_empty() {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(KILL_WAIT, emptied).await.is_err() {
            tracing::warn!(backend.pid = group, "A killed process group still has members");
        }
        self.over = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// An exit in words.
pub fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it exited with code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(name) => format!("it was ended by {name}"),
                Err(_) => format!("it was ended by signal {signal}"),
            },
            (None, None) => "it ended".to_owned(),
        },
        Err(error) => format!("its end cannot be waited for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestLauncher;
    use super::*;
    use crate::system::process::start_mark;

    /// Spawns a script and waits for the first line it prints.
    async fn spawn(script: &str) -> (Process, Arc<LogBuffer>) {
        let logs = Arc::new(LogBuffer::default());
        let (file, _no_file) = mpsc::channel(1);
        let dir = std::env::temp_dir();
        let command = TestLauncher::shell(script).command(1, &dir);
        let process = Process::spawn(&command, [], &logs, file).unwrap();
        let mut reader = super::super::LogReader::new(Arc::clone(&logs));
        timeout(Duration::from_secs(10), reader.follow()).await.expect("it printed nothing");
        (process, logs)
    }

    #[tokio::test]
    async fn a_process_that_ends_when_asked_is_not_killed() {
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done";
        let (process, logs) = spawn(script).await;
        process.end().await;
        // The shell may say besides that its `sleep` was ended.
        assert_eq!(logs.tail(1), ["bye"]);
    }

    #[tokio::test]
    async fn a_process_that_does_not_listen_is_killed_with_all_its_descendants() {
        let script = "trap '' TERM; sleep 600 & sh -c 'sleep 600' & echo up; wait";
        let (process, _) = spawn(script).await;
        let pid = process.pid();
        assert!(group_members(pid).len() >= 3);
        process.end_within(Duration::from_millis(50)).await;
        assert_eq!(group_members(pid), [] as [u32; 0]);
    }

    #[tokio::test]
    async fn children_of_a_leader_that_died_are_ended_too() {
        let (mut process, _) = spawn("sleep 600 & echo up; exit 3").await;
        let pid = process.pid();
        let status = process.exited().await;
        assert_eq!(describe(&status), "it exited with code 3");
        assert_eq!(group_members(pid).len(), 1);
        process.end().await;
        assert_eq!(group_members(pid), [] as [u32; 0]);
    }

    #[tokio::test]
    async fn a_process_that_is_dropped_is_killed() {
        let (process, _) = spawn("sleep 600 & echo up; wait").await;
        let pid = process.pid();
        drop(process);
        let gone = async {
            while start_mark(pid).is_some() || !group_members(pid).is_empty() {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("it lives on");
    }

    #[tokio::test]
    async fn an_end_by_a_signal_is_named() {
        let (mut process, _) = spawn("echo up; kill -KILL $$").await;
        assert_eq!(describe(&process.exited().await), "it was ended by SIGKILL");
        process.end().await;
    }
}
