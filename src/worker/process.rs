//! One worker process, as the gateway's side sees it: started with an empty environment and a bounded allocator,
//! asked one question at a time, killed when it does not reply in time. Everything here blocks.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::protocol::{Reply, VERSION, frame_length};
use super::{ANSWER_TIME, ARGUMENT, LOAD_TIME, MEMORY};

/// Time from the start of a process to its first message.
const START_TIME: Duration = Duration::from_secs(5);

/// Where the worker's program is.
#[derive(Debug, Clone)]
pub enum Program {
    /// The program that runs.
    Own,
    /// This one, for tests and benchmarks whose own program is another.
    Path(PathBuf),
    /// A thread of this process, for unit tests: it cannot be killed, and its memory has no bound.
    #[cfg(test)]
    Thread,
}

/// A worker that has said that it is ready. Dropped, it is killed and waited for.
pub struct Process {
    stream: UnixStream,
    child: Option<Child>,
}

/// Why a worker has to be replaced.
#[derive(Debug, PartialEq, Eq)]
pub enum Death {
    /// It was killed since it took too long.
    Time,
    /// It ended, or spoke nonsense.
    Crash(String),
}

impl Process {
    /// Starts a worker and waits until it is ready.
    pub fn start(program: &Program) -> Result<Process, String> {
        let failed = |error: io::Error| format!("it cannot be started: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let child = match program {
            #[cfg(not(test))]
            Program::Own => Some(spawn(own().map_err(failed)?, theirs).map_err(failed)?),
            Program::Path(path) => Some(spawn(path.clone(), theirs).map_err(failed)?),
            // The program that runs is the tests' own.
            #[cfg(test)]
            Program::Own | Program::Thread => {
                std::thread::spawn(move || {
                    let output = theirs.try_clone().unwrap();
                    super::child::serve(theirs, output)
                });
                None
            }
        };
        let mut process = Process { stream: ours, child };
        match process.reply(Instant::now() + START_TIME) {
            Ok(Reply::Hello { version: VERSION }) => Ok(process),
            Ok(_) => Err("it is another version's; restart the gateway".to_owned()),
            Err(death) => Err(format!("it did not start: {death:?}")),
        }
    }

    /// The process's number; none: it is a thread.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A handle by which another thread interrupts a question.
    pub fn handle(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Sends a question's frame and waits for the reply to it.
    pub fn ask(&mut self, frame: &[u8]) -> Result<Reply, Death> {
        self.stream.set_write_timeout(Some(ANSWER_TIME)).map_err(|error| death(&error))?;
        self.stream.write_all(frame).map_err(|error| death(&error))?;
        let mut until = Instant::now() + ANSWER_TIME;
        let (mut may_load, mut loads) = (true, false);
        loop {
            match self.reply(until)? {
                Reply::Loading if may_load => {
                    (may_load, loads) = (false, true);
                    until = Instant::now() + LOAD_TIME;
                }
                Reply::Loaded if loads => {
                    loads = false;
                    until = Instant::now() + ANSWER_TIME;
                }
                Reply::Hello { .. } | Reply::Loading | Reply::Loaded => {
                    return Err(Death::Crash("it sent a message out of turn".to_owned()));
                }
                reply => return Ok(reply),
            }
        }
    }

    fn reply(&mut self, until: Instant) -> Result<Reply, Death> {
        let mut prefix = [0; 4];
        self.read(&mut prefix, until)?;
        let length = frame_length(prefix).map_err(|error| Death::Crash(error.to_string()))?;
        let mut message = vec![0; length];
        self.read(&mut message, until)?;
        Reply::decode(&message).map_err(|error| Death::Crash(error.to_string()))
    }

    fn read(&mut self, mut buffer: &mut [u8], until: Instant) -> Result<(), Death> {
        while !buffer.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Death::Time);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| death(&error))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(Death::Crash("it ended".to_owned())),
                Ok(read) => buffer = buffer.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(death(&error)),
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            tracing::warn!(%error, worker.pid = child.id(), "Could not end worker");
        }
    }
}

fn death(error: &io::Error) -> Death {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Death::Time,
        _ => Death::Crash(error.to_string()),
    }
}

/// A path that leads to this program. Linux has one that does so after an upgrade has replaced the file, too.
#[cfg(not(test))]
fn own() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// The socket is the child's standard input and output; its end ends the child. The allocator reserves its memory
/// when the program starts, and asks the system for no more.
fn spawn(program: PathBuf, socket: UnixStream) -> io::Result<Child> {
    let output = socket.try_clone()?;
    Command::new(program)
        .arg0("mlx-gateway")
        .arg(ARGUMENT)
        .env_clear()
        .env("MIMALLOC_RESERVE_OS_MEMORY", MEMORY)
        .env("MIMALLOC_ARENA_RESERVE", "0")
        .env("MIMALLOC_DISALLOW_OS_ALLOC", "1")
        .current_dir("/")
        .stdin(OwnedFd::from(socket))
        .stdout(OwnedFd::from(output))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}
