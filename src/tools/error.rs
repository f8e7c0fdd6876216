//! What can go wrong with a call, and with a plugin as a whole. The words are for whoever called; the
//! codes are counted and documented in docs/plugins.md.

use std::path::PathBuf;

/// Why a call did not come to its end. What a tool itself reports as a failure is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("there is no tool \"{0}\"")]
    UnknownTool(String),
    #[error("{0}")]
    InvalidArguments(String),
    #[error("{0}")]
    Denied(String),
    #[error("the tool is not available: {0}")]
    Unavailable(String),
    #[error("the tool failed: {0}")]
    Internal(String),
    #[error("the plugin crashed: {0}")]
    Trap(String),
    #[error("the plugin needed more memory than its limit of {0} bytes")]
    OutOfMemory(u64),
    #[error("the plugin used more processor time than its limit of {0} ms")]
    OutOfCpu(u64),
    #[error("the tool did not answer within {0} ms")]
    Deadline(u64),
    #[error("the result is larger than its limit, or malformed: {0}")]
    TooMuchOutput(String),
    #[error("the plugin exceeded its limit of {0} in one call")]
    Flood(&'static str),
    #[error("the tool's result does not match its own output schema: {0}")]
    InvalidResult(String),
    #[error("{0} calls run already, and many others wait, most of them of the same caller; try again later")]
    Busy(u32),
}

impl CallError {
    /// Every code, for counters.
    pub const CODES: [&str; 13] = [
        "unknown_tool",
        "invalid_arguments",
        "denied",
        "unavailable",
        "internal",
        "trap",
        "out_of_memory",
        "out_of_cpu",
        "deadline",
        "output_limit",
        "call_limit",
        "invalid_result",
        "busy",
    ];

    /// As records and the API write it.
    pub fn code(&self) -> &'static str {
        Self::CODES[self.index()]
    }

    /// The place in [`CallError::CODES`].
    pub(super) fn index(&self) -> usize {
        match self {
            CallError::UnknownTool(_) => 0,
            CallError::InvalidArguments(_) => 1,
            CallError::Denied(_) => 2,
            CallError::Unavailable(_) => 3,
            CallError::Internal(_) => 4,
            CallError::Trap(_) => 5,
            CallError::OutOfMemory(_) => 6,
            CallError::OutOfCpu(_) => 7,
            CallError::Deadline(_) => 8,
            CallError::TooMuchOutput(_) => 9,
            CallError::Flood(_) => 10,
            CallError::InvalidResult(_) => 11,
            CallError::Busy(_) => 12,
        }
    }
}

/// Why a plugin is not there, or cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    #[error("there is no plugin \"{0}\"")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    #[error("the component does not fit mlx-gateway:plugin@0.1.0: {0}")]
    Interface(String),
    #[error("its tools cannot be listed: {0}")]
    List(CallError),
    #[error("plugins cannot run on this machine: {0}")]
    Engine(String),
    #[error("the grant could not be kept: {0}")]
    Store(String),
}
