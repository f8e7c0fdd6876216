//! What can go wrong with the store, in words for people: no SQL and no row ever appears in it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store {} cannot be opened: {reason}", path.display())]
    Open { path: PathBuf, reason: String },
    #[error(
        "the store {} has schema version {found}, and this program knows versions up to {known}: \
         use the newer program that wrote it, or another data directory", path.display()
    )]
    TooNew { path: PathBuf, found: u32, known: u32 },
    #[error(
        "the store is of an earlier version, and the copy that is kept before it is brought up to date cannot be \
         written to {}: {reason}; nothing was changed", path.display()
    )]
    NoCopy { path: PathBuf, reason: String },
    #[error(
        "the store {} is damaged: put a backup in its place (`mlx-gateway restore FILE`), or move the file away to \
         begin without records, keys and accounts", path.display()
    )]
    Damaged { path: PathBuf },
    #[error("the store cannot write: {reason}; it tries again by itself")]
    Disk { reason: &'static str },
    #[error("the store has too many operations waiting; try again shortly")]
    Busy,
    #[error("the store is closed")]
    Closed,
    #[error("the store could not do this ({reason})")]
    Internal { reason: &'static str },
}

impl StoreError {
    /// Whether the same operation may succeed later without anything changed in it.
    pub fn is_temporary(&self) -> bool {
        matches!(self, StoreError::Disk { .. } | StoreError::Busy)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        let code = error.sqlite_error_code();
        let reason = code.map_or("a value has an unexpected form", reason);
        let temporary = matches!(
            code,
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::PermissionDenied
                    | ErrorCode::OutOfMemory
            )
        );
        if temporary { StoreError::Disk { reason } } else { StoreError::Internal { reason } }
    }
}

/// SQLite's result code in words. Its own messages may quote statements, so they stay inside.
pub(super) fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DiskFull => "the disk is full",
        ErrorCode::SystemIoFailure => "the disk reports an error",
        ErrorCode::ReadOnly => "the file is read-only",
        ErrorCode::CannotOpen => "the file cannot be opened",
        ErrorCode::PermissionDenied => "permission is denied",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another program holds the file",
        ErrorCode::DatabaseCorrupt => "the file is damaged",
        ErrorCode::NotADatabase => "the file is not a database",
        ErrorCode::OutOfMemory => "memory ran out",
        ErrorCode::ConstraintViolation => "a rule of the schema does not allow it",
        _ => "an internal error",
    }
}
