//! How a command ends: the exit codes that scripts rely on, and the one error type whose variants
//! choose among them. Knows nothing of single commands.

use std::io;
use std::process::ExitCode;

use super::api::ApiError;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok,
    Failure,
    /// A wrong command line or configuration.
    Usage,
    /// No gateway answers.
    Unreachable,
    NotAllowed,
    NotFound,
    Conflict,
    /// Ctrl-C.
    Interrupted,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The gateway answered with an error.
    #[error("{}", .error.message)]
    Refused { status: u16, error: Box<ApiError> },
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    NotAllowed(String),
    /// Something that runs is in the way.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the output went away, as `head` does.
    #[error("the reader of the output has gone")]
    OutputClosed,
    #[error("the output could not be written: {0}")]
    Output(io::Error),
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotAllowed => 4,
            Exit::NotFound => 5,
            Exit::Conflict => 6,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl CliError {
    /// The exit code that scripts can tell this failure by.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Refused { status, .. } => exit_of_status(*status),
            CliError::Unreachable(_) => Exit::Unreachable,
            CliError::NotAllowed(_) => Exit::NotAllowed,
            CliError::Conflict(_) => Exit::Conflict,
            CliError::Usage(_) => Exit::Usage,
            CliError::Failed(_) | CliError::Output(_) => Exit::Failure,
            CliError::Interrupted => Exit::Interrupted,
            // The reader has what it wanted.
            CliError::OutputClosed => Exit::Ok,
        }
    }

    /// False for an ending that needs no words.
    pub fn worth_telling(&self) -> bool {
        !matches!(self, CliError::Interrupted | CliError::OutputClosed)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::Output(error),
        }
    }
}

/// What the status of a refusal means to a script.
fn exit_of_status(status: u16) -> Exit {
    match status {
        400 | 422 => Exit::Usage,
        401 | 403 => Exit::NotAllowed,
        404 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_exit_code() {
        let code = |status| {
            let error = Box::new(ApiError::new("no"));
            CliError::Refused { status, error }.exit().code()
        };
        assert_eq!([400, 401, 403, 404, 409, 412, 429, 500, 503].map(code), [2, 4, 4, 5, 6, 6, 1, 1, 1]);
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit().code(), 0);
        assert!(!error.worth_telling());
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let error = CliError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.exit().code(), 1);
    }
}
