//! Withdrawals of rights between memory, where they hold at once, and the store, which may not take them now. Until it
//! does, they are tried again, and a file keeps them that is read before the store is trusted at the next start.

mod codec;
mod file;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::error::AuthFault;
use crate::store::keys::KeyRow;
use crate::store::sessions::SessionRow;
use crate::store::users::UserRow;
use crate::store::withdrawals::{self, Withdrawal};
use crate::store::{Store, StoreError};
use file::RevocationFile;

/// Pauses between two tries to write to the store.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Withdrawals that the store has not written.
pub struct Revocations {
    waiting: Mutex<Vec<Waiting>>,
    file: Arc<Mutex<RevocationFile>>,
    /// Held while store or file is written.
    writing: tokio::sync::Mutex<()>,
    added: Notify,
}

#[derive(Debug, Clone)]
struct Waiting {
    withdrawal: Withdrawal,
    /// Whether the file keeps it.
    recorded: bool,
}

/// How many withdrawals wait for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unwritten {
    pub waiting: usize,
    /// Those of them that hold until the next start only.
    pub unrecorded: usize,
}

impl Revocations {
    /// Reads what an earlier run could not write to the store.
    pub fn open(data_dir: &Path) -> Result<Revocations, AuthFault> {
        let (file, held) = RevocationFile::open(data_dir).map_err(|error| {
            AuthFault::Internal(format!(
                "the file {} of revocations that the store has not written cannot be read: {error}; restore it, or \
                 remove it and revoke again what was revoked last",
                data_dir.join("revocations").display()
            ))
        })?;
        let waiting = held.into_iter().map(|withdrawal| Waiting { withdrawal, recorded: true }).collect();
        Ok(Revocations {
            waiting: Mutex::new(waiting),
            file: Arc::new(Mutex::new(file)),
            writing: tokio::sync::Mutex::default(),
            added: Notify::new(),
        })
    }

    /// Writes withdrawals that memory has made to the store or, if it does not take them, to the file.
    pub async fn write(&self, store: &Store, made: Vec<Withdrawal>) -> Result<(), AuthFault> {
        {
            let mut waiting = self.waiting();
            for withdrawal in &made {
                // A later state of an account has the earlier ones in it.
                waiting.retain(|before| !before.withdrawal.is_within(withdrawal));
                waiting.push(Waiting { withdrawal: withdrawal.clone(), recorded: false });
            }
        }
        self.added.notify_one();
        let _writing = self.writing.lock().await;
        let Err(error) = self.flush_locked(store).await else { return Ok(()) };
        let recorded = self.record().await;
        let is_lost = |waiting: &Waiting| !waiting.recorded && made.contains(&waiting.withdrawal);
        if !self.waiting().iter().any(is_lost) {
            return Ok(());
        }
        let why = match recorded {
            Ok(()) => "the file that keeps revocations meanwhile is full".to_owned(),
            Err(file) => format!("the file that keeps revocations meanwhile cannot be written: {file}"),
        };
        Err(AuthFault::UntilRestart(format!("{error}, and {why}")))
    }

    /// Writes everything that waits to the store.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        self.flush_locked(store).await
    }

    /// Tries until the store has written everything, until the process ends.
    pub async fn keep_writing(&self, store: &Store) {
        let mut pause = PAUSE;
        loop {
            match self.flush(store).await {
                Ok(()) => {
                    pause = PAUSE;
                    self.added.notified().await;
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(
                        revocations = self.unwritten().waiting, %error,
                        "The store could not write revocations; trying again"
                    );
                    self.record_again().await;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// How many wait.
    pub fn unwritten(&self) -> Unwritten {
        let waiting = self.waiting();
        let unrecorded = waiting.iter().filter(|one| !one.recorded).count();
        Unwritten { waiting: waiting.len(), unrecorded }
    }

    /// Whether something about the account waits.
    pub fn concern(&self, user: &str) -> bool {
        let of_user = |one: &Waiting| matches!(&one.withdrawal, Withdrawal::Account { id, .. } if id == user);
        self.waiting().iter().any(of_user)
    }

    /// The account as it is with what waits; `None`: it is gone.
    pub fn of_user(&self, row: UserRow) -> Option<UserRow> {
        let all = self.waiting();
        all.iter().try_fold(row, |row, waiting| waiting.withdrawal.of_user(row))
    }

    /// The key as it is with what waits.
    pub fn of_key(&self, row: KeyRow) -> KeyRow {
        self.waiting().iter().fold(row, |row, waiting| waiting.withdrawal.of_key(row))
    }

    /// Whether what waits ends the session.
    pub fn end_session(&self, row: &SessionRow) -> bool {
        self.waiting().iter().any(|waiting| waiting.withdrawal.ends(row))
    }

    async fn flush_locked(&self, store: &Store) -> Result<(), StoreError> {
        let all: Vec<Withdrawal> = self.waiting().iter().map(|one| one.withdrawal.clone()).collect();
        if all.is_empty() {
            return Ok(());
        }
        withdrawals::write(store, all.clone()).await?;
        let was_recorded = {
            let mut waiting = self.waiting();
            let (written, rest) = waiting.drain(..).partition(|one| all.contains(&one.withdrawal));
            let written: Vec<Waiting> = written;
            *waiting = rest;
            written.iter().any(|one| one.recorded)
        };
        if was_recorded && let Err(error) = self.record().await {
            // What it keeps is in the store, and is written the same once more.
            tracing::warn!(%error, "The file of revocations could not be cleared");
        }
        Ok(())
    }

    /// Tries the file again for what it does not keep yet.
    async fn record_again(&self) {
        let _writing = self.writing.lock().await;
        if self.unwritten().unrecorded > 0
            && let Err(error) = self.record().await
        {
            tracing::error!(%error, "Cannot write the file of revocations; some hold until the next start only");
        }
    }

    /// Writes what waits to the file.
    async fn record(&self) -> std::io::Result<()> {
        let all: Vec<Withdrawal> = self.waiting().iter().map(|one| one.withdrawal.clone()).collect();
        let (file, entries) = (Arc::clone(&self.file), all.clone());
        let written = tokio::task::spawn_blocking(move || {
            file.lock().unwrap_or_else(PoisonError::into_inner).write(&entries)
        });
        let fit = written.await.map_err(std::io::Error::other)??;
        for one in self.waiting().iter_mut() {
            one.recorded = all[..fit].contains(&one.withdrawal);
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Withdrawal {
    /// Whether a later one makes this one superfluous.
    fn is_within(&self, later: &Withdrawal) -> bool {
        match (self, later) {
            (
                Withdrawal::Account { id, .. },
                Withdrawal::Account { id: later, .. } | Withdrawal::Removed { id: later, .. },
            ) => id == later,
            (Withdrawal::Key { id, .. }, Withdrawal::Key { id: later, .. })
            | (Withdrawal::Session { id }, Withdrawal::Session { id: later })
            | (Withdrawal::Removed { id, .. }, Withdrawal::Removed { id: later, .. }) => id == later,
            _ => false,
        }
    }

    fn of_user(&self, row: UserRow) -> Option<UserRow> {
        match self {
            Withdrawal::Removed { id, .. } if *id == row.id => None,
            Withdrawal::Account { id, version, role, status, password }
                if *id == row.id && row.version < *version =>
            {
                let (role, status, password) = (role.clone(), status.clone(), password.clone());
                Some(UserRow { version: *version, role, status, password, ..row })
            }
            _ => Some(row),
        }
    }

    fn of_key(&self, row: KeyRow) -> KeyRow {
        let at = match self {
            Withdrawal::Key { id, at } if *id == row.id => at,
            Withdrawal::Removed { id, at } if row.user.as_ref() == Some(id) => at,
            _ => return row,
        };
        KeyRow { revoked_at: row.revoked_at.or(Some(*at)), ..row }
    }

    fn ends(&self, row: &SessionRow) -> bool {
        match self {
            Withdrawal::Session { id } => row.id == *id,
            Withdrawal::Key { id, .. } => row.key.as_ref() == Some(id),
            // Sessions that began after it have the account's new version.
            Withdrawal::Account { .. } => false,
            Withdrawal::Removed { id, .. } => row.user.as_ref() == Some(id),
        }
    }
}
