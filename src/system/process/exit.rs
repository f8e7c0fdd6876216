//! The end of a process that is nobody's child here, as an event: a descriptor of the process on Linux,
//! a kernel queue on macOS. Nothing is polled.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process, until it ends. Made while it runs, it never means another with the same pid.
#[derive(Debug)]
pub struct Exit(AsyncFd<OwnedFd>);

impl Exit {
    /// `None`: no such process runs.
    pub fn of(pid: u32) -> io::Result<Option<Exit>> {
        let Some(watched) = open(pid)? else { return Ok(None) };
        #[expect(
            unsafe_code,
            reason = "an owned descriptor stays open and the same, which is what is asked for"
        )]
        let registered = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) };
        Ok(Some(Exit(registered?)))
    }

    /// Returns when it has ended. May be dropped and called again.
    pub async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }
}

#[cfg(target_os = "linux")]
fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    use nix::errno::Errno;
    use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

    let queue = Kqueue::new()?;
    let (kind, flags) = (EventFilter::EVFILT_PROC, EvFlags::EV_ADD | EvFlags::EV_ONESHOT);
    let wanted = KEvent::new(pid as usize, kind, flags, FilterFlag::NOTE_EXIT, 0, 0);
    match queue.kevent(&[wanted], &mut [], None) {
        Ok(_) => Ok(Some(queue.into())),
        Err(Errno::ESRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_to_all_who_wait_for_it_and_what_is_gone_is_known_to_be() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let exit = Exit::of(child.id()).unwrap().expect("it runs");
        let soon = Duration::from_millis(20);
        assert!(timeout(soon, exit.ended()).await.is_err(), "it still runs");
        child.kill().unwrap();
        for _ in 0..2 {
            timeout(Duration::from_secs(30), exit.ended()).await.expect("it has ended").unwrap();
        }
        child.wait().unwrap();
        assert!(Exit::of(child.id()).unwrap().is_none());
        assert!(Exit::of(u32::MAX).unwrap().is_none());
    }
}
