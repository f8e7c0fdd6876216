//! Owns the names of what a start waits for before there is a process, for `ps`, the log and
//! waiting clients.

use std::fmt;

/// A step of the preparation, told as it begins or moves on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another installer, perhaps of another process, is at work.
    WaitingForInstaller,
    /// There is no uv and no fitting Python on this machine.
    FetchingUv,
    Installing {
        /// Such as `mlx-openai-server 1.8.1`.
        what: String,
        /// `uv` or `pip`.
        installer: &'static str,
        /// Of `packages`; 0 where the installer does not tell.
        packages_seen: usize,
        packages: usize,
        /// What the installer says.
        line: String,
    },
    MakingDemoModel,
    /// `total_bytes` is 0 until it is known.
    Downloading {
        model: String,
        done_bytes: u64,
        total_bytes: u64,
    },
    /// A new installation answers its first token.
    Proving,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::WaitingForInstaller => f.write_str("waiting for another installer"),
            Step::FetchingUv => f.write_str("fetching uv"),
            Step::Installing { what, installer, packages_seen: 0, packages, line } => {
                write!(f, "installing {what} ({packages} packages) with {installer}: {line}")
            }
            Step::Installing { what, installer, packages_seen, packages, line } => {
                write!(f, "installing {what} with {installer}, package {packages_seen} of {packages}: {line}")
            }
            Step::MakingDemoModel => f.write_str("making the demo model"),
            Step::Downloading { model, total_bytes: 0, .. } => write!(f, "downloading {model}"),
            Step::Downloading { model, done_bytes, total_bytes } => {
                let percent = done_bytes.saturating_mul(100) / total_bytes;
                write!(f, "downloading {model}, {percent} % of {} MB", total_bytes / 1_000_000)
            }
            Step::Proving => f.write_str("proving the new version with one token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_sentences_without_a_capital() {
        let step = Step::Downloading { model: "a/b".into(), done_bytes: 500_000, total_bytes: 2_000_000 };
        assert_eq!(step.to_string(), "downloading a/b, 25 % of 2 MB");
        let unknown = Step::Downloading { model: "a/b".into(), done_bytes: 0, total_bytes: 0 };
        assert_eq!(unknown.to_string(), "downloading a/b");
    }
}
