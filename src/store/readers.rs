//! Connections that only read: a few of them, opened when first needed, used on the blocking pool.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::StoreError;
use super::schema;

/// Reads at one time; more wait for their turn.
const READERS_MAX: usize = 4;

#[derive(Clone)]
pub(super) struct Readers {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path: Arc::new(path), idle: Arc::default(), turns: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs `read` on a connection of its own. A caller that leaves does not stop it; its turn lasts
    /// until it is done.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_closed| StoreError::Closed)?;
        let readers = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let pooled = readers.idle().pop();
            let conn = match pooled {
                Some(conn) => conn,
                None => schema::open_reader(&readers.path)?,
            };
            let result = read(&conn);
            // Closed while this ran: the connection goes, so that the store's side files can.
            if !readers.turns.is_closed() {
                readers.idle().push(conn);
            }
            result.map_err(StoreError::from)
        });
        done.await.map_err(|_panicked| StoreError::Internal { reason: "the reader ended early" })?
    }

    /// The same at once, for start-up. Blocks.
    pub(super) fn read_now<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        Ok(read(&schema::open_reader(&self.path)?)?)
    }

    pub(super) fn close(&self) {
        self.turns.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
