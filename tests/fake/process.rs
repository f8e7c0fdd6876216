//! The process side: log lines, the child, signals, and that nothing is left behind.

use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// How soon the end of the parent is noticed.
const PARENT_POLL: Duration = Duration::from_millis(100);
/// What outlives its parent on purpose ends by itself after this long.
const LIFE_MAX: Duration = Duration::from_secs(60);
const INIT: Pid = Pid::from_raw(1);

/// A log line as loguru writes it: coloured, to stdout.
pub fn log(level: &str, place: &str, message: &str) {
    say(&format!(
        "\u{1b}[32m2026-11-21 22:59:25\u{1b}[0m | \u{1b}[1m{level:<8}\u{1b}[0m | \
         \u{1b}[36m{place}\u{1b}[0m | \u{1b}[1m✦ {message}\u{1b}[0m"
    ));
}

/// A line on stdout. Nobody reading it is no reason to stop.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// A line on stderr.
pub fn complain(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Ends the process when the parent is gone, or after a bounded life when it may outlive it. A parent
/// that is init already is nobody's end to wait for: the life is bounded then too.
pub fn watch_parent(outlive: bool) {
    let parent = getppid();
    std::thread::spawn(move || {
        if outlive || parent == INIT {
            std::thread::sleep(LIFE_MAX);
        } else {
            while getppid() == parent {
                std::thread::sleep(PARENT_POLL);
            }
        }
        die();
    });
}

/// Ends at once, with nothing flushed and no connection closed properly.
pub fn die() -> ! {
    kill(Pid::this(), Signal::SIGKILL).ok();
    std::process::abort()
}

/// Uses a processor without end or result for so long.
pub async fn burn(time: Duration) {
    let spin = move || {
        let until = std::time::Instant::now() + time;
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
    };
    tokio::task::spawn_blocking(spin).await.ok();
}

/// Takes memory and keeps it.
pub fn leak(mib: usize) {
    static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    if mib > 0 {
        LEAKED.lock().unwrap().push(vec![1; mib << 20]);
    }
}

/// The handler process of the real server, as far as process groups and its command line are concerned.
pub fn fork_child(ignore_sigterm: bool) -> std::io::Result<Child> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["child", "--multiprocessing-fork"]).stdin(Stdio::null());
    if ignore_sigterm {
        command.arg("--ignore-sigterm");
    }
    command.spawn()
}

/// Waits for TERM or INT; for ever when they are ignored.
pub async fn asked_to_stop(ignore_sigterm: bool) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if !ignore_sigterm {
            return Ok(());
        }
        log("INFO", "fake:asked_to_stop:1", "ignoring the signal");
    }
}

/// The signal that opens the gate when nobody can connect any more. To be made early: until then USR1
/// ends the process.
pub fn gate_signal() -> std::io::Result<Signals> {
    signal(SignalKind::user_defined1())
}
