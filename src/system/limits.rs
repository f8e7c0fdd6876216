//! What the system lets this process have: open files, and the size of one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

/// More than a gateway needs; where the system has no bound of its own, this is asked for.
const FILES_WANTED: u64 = 65_536;
/// What macOS grants when it refuses more.
const FILES_OF_MACOS: u64 = 10_240;

/// The number of the signal that a write beyond the limit of a file's size brings, which ends a process that
/// does not take it; the write then fails like one to a full disk.
pub const FILE_TOO_LARGE: i32 = Signal::SIGXFSZ as i32;

/// Raises the number of files that may be open at once as far as the system lets us: each connection is one, and
/// launchd begins with 256. Gives what is in force.
pub fn raise_open_files() -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(FILES_WANTED);
    for files in [wanted, wanted.min(FILES_OF_MACOS)] {
        if files > soft && setrlimit(Resource::RLIMIT_NOFILE, files, hard).is_ok() {
            return Ok(files);
        }
    }
    Ok(soft)
}

/// Returns how many files may be open at once.
pub fn open_files() -> std::io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_lets_us_have() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let raised = raise_open_files().unwrap();
        assert!(raised >= soft && raised <= hard.max(soft), "{soft} {raised} {hard}");
        assert_eq!(open_files().unwrap(), raised);
        assert_eq!(raise_open_files().unwrap(), raised, "once is enough");
    }
}
