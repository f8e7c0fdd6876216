//! What outlives the process, in one SQLite file. The only place that names rusqlite: others call
//! typed functions, one file a table. One thread writes; reads have connections of their own.
//! Knows nothing of HTTP, profiles or how a request is served.

pub mod audit;
mod before_upgrade;
pub mod captures;
pub mod chats;
pub mod downloads;
mod error;
mod inbox;
pub mod keys;
pub mod measured_memory;
pub mod model_manager;
pub mod pinned_backends;
pub mod plugins;
pub mod profiles;
mod readers;
pub mod requests;
pub mod responses;
pub mod rollup;
mod schedule;
mod schema;
pub mod sessions;
pub mod settings;
pub mod users;
pub mod withdrawals;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::system::private;

pub use error::StoreError;
pub use inbox::{JOBS_MAX, RECORDS_MAX};

use inbox::{Inbox, Job};
use readers::Readers;
use requests::RowSource;
use writer::Writer;

/// The open store. A cheap clone; the last one to go closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    inbox: Arc<Inbox>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens or makes the file, brings its schema up to date, and marks as interrupted what a gateway
    /// that died left running. Blocks: meant for start-up.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut conn = schema::open_writer(path)?;
        let interrupted =
            requests::mark_interrupted(&mut conn).map_err(|error| schema::unopened(path, &error))?;
        if interrupted > 0 {
            tracing::warn!(store.interrupted = interrupted, "An earlier run left requests unfinished.");
        }
        let cut_off = responses::mark_cut_off(&conn).map_err(|error| schema::unopened(path, &error))?;
        if cut_off > 0 {
            tracing::warn!(store.cut_off = cut_off, "An earlier run left responses unfinished.");
        }
        let inbox = Arc::new(Inbox::default());
        let writer = Writer::new(conn, Arc::clone(&inbox));
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Open { path: path.to_owned(), reason: error.to_string() })?;
        let readers = Readers::new(path.to_owned());
        Ok(Store { inner: Arc::new(Inner { inbox, readers, writer: Mutex::new(Some(thread)) }) })
    }

    /// Queues a row to be rendered and written with the next batch. Never waits; false means that the
    /// row was not taken, because too many wait or the store is closed.
    #[must_use]
    pub fn submit(&self, row: Arc<dyn RowSource>) -> bool {
        self.inner.inbox.submit(row)
    }

    /// Counts a record that will never be written.
    pub fn count_lost(&self) {
        self.inner.inbox.count_lost(1);
    }

    /// Records lost since the store was opened.
    pub fn lost(&self) -> u64 {
        self.inner.inbox.lost()
    }

    /// Resolves when everything submitted so far is written, running rows at their newest.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (answer, written) = oneshot::channel();
        self.inner.inbox.push_job(Job::Flush(answer))?;
        written.await.map_err(|_gone| StoreError::Closed)?
    }

    /// Writes a copy at rest of everything recorded so far, while others read and write on.
    pub async fn copy_to(&self, path: PathBuf) -> Result<(), StoreError> {
        self.flush().await?;
        // SQLite takes an empty file that is there, with its mode.
        let created = private::create_new(&path);
        created.map_err(|error| StoreError::Open { path: path.clone(), reason: error.to_string() })?;
        let copy = move |conn: &Connection| {
            conn.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
            Ok(())
        };
        self.read(copy).await
    }

    /// Looks at a store that is not in use: whether it is whole, and of a version that is known. Blocks.
    pub fn check(path: &Path) -> Result<(), StoreError> {
        schema::check(path)
    }

    /// Writes what is pending and ends the writer thread. What comes later is refused.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        let closed = tokio::task::spawn_blocking(move || inner.close()).await;
        if closed.is_err() {
            self.inner.close();
        }
    }

    /// Refuses writes from now on, as a full disk does, or takes them again.
    #[cfg(test)]
    pub(crate) async fn refuse_writes(&self, refuse: bool) {
        let set = move |conn: &mut Connection| conn.pragma_update(None, "query_only", refuse);
        assert_eq!(self.write(set).await, Ok(()));
    }

    /// Runs an operation on the writer's connection, after all rows submitted before it.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, done) = oneshot::channel();
        let job = move |conn: &mut Connection| drop(answer.send(write(conn).map_err(StoreError::from)));
        self.inner.inbox.push_job(Job::Run(Box::new(job)))?;
        done.await.map_err(|_gone| StoreError::Closed)?
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.readers.read(read).await
    }
}

impl Inner {
    fn close(&self) {
        self.inbox.close();
        // Before the writer: the last connection to go folds the write-ahead log into the file.
        self.readers.close();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A row source may own the last handle to the store, and so drop it on the writer itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("The store's writer thread panicked.");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod million;
#[cfg(test)]
mod tests;
