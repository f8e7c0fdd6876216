//! Why a download does not go on, and whether another try may help.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::partial::PartialError;
use crate::hub::error::HubError;

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Hub(#[from] HubError),
    #[error("{0}")]
    File(#[from] PartialError),
    #[error("the hub changed {file} while it was fetched")]
    Range { file: String },
    #[error(
        "{model} has no weights in a format that MLX reads (safetensors); look for a conversion: \
         `mlx-gateway models search`"
    )]
    NoWeights { model: String },
    #[error(
        "{needed} more are needed in {} and {free} are free; `mlx-gateway models ls --unused 30` shows \
         what could go", cache.display()
    )]
    NoSpace { needed: crate::config::ByteSize, free: crate::config::ByteSize, cache: PathBuf },
    #[error("the cache {}: {source}", path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error("a worker ended early")]
    Worker,
    /// Somebody asked for it.
    #[error("it was stopped")]
    Stopped,
}

impl Problem {
    pub fn is_temporary(&self) -> bool {
        match self {
            Problem::Hub(error) => error.is_temporary(),
            Problem::File(error) => matches!(
                error,
                PartialError::Busy | PartialError::WrongHash { .. } | PartialError::TooLong { .. }
            ),
            Problem::Range { .. } => true,
            _ => false,
        }
    }

    /// The bytes themselves were wrong: once may be an accident on the way, twice is not.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Problem::File(PartialError::WrongHash { .. } | PartialError::TooLong { .. }))
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Problem::Hub(error) => error.retry_after(),
            _ => None,
        }
    }
}
