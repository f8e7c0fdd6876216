//! Downloads as jobs of the gateway: one for a model, a few at a time, each to be paused, continued,
//! ended and tried again. Written down, so that one cut off by a crash goes on by itself. Knows no
//! HTTP of ours; the API asks, and hears of changes over the bus.

mod fetch;
mod job;
pub mod layout;
mod pace;
mod partial;
mod problem;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use job::{DownloadView, FileView};
pub use pace::Backoff;
pub use state::{Order, Status};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::HubClient;
use crate::config::valid_hub_id;
use crate::events::{Audience, Bus, Kind};
use crate::store::{Store, StoreError, downloads as rows};
use crate::system::clock::Clock;
use job::Job;
use layout::Layout;

/// Models that are fetched at one time.
pub const MODELS_AT_ONCE: usize = 2;
/// Files that are fetched at one time, of all models.
pub const FILES_AT_ONCE: usize = 4;
/// Downloads that are over and still shown.
const KEPT: usize = 100;
/// Downloads that may wait or run.
const ACTIVE_MAX: usize = 100;

/// What downloads need of the rest.
pub struct DownloadsDeps {
    pub hub: Arc<HubClient>,
    /// The Hugging Face cache.
    pub cache: PathBuf,
    pub store: Store,
    pub events: Bus,
    pub clock: Arc<dyn Clock>,
    pub backoff: Backoff,
    /// Room on the disk of a folder.
    pub free_bytes: fn(&Path) -> Option<u64>,
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("there is no download \"{0}\"")]
    Unknown(String),
    #[error("a download that is {} cannot be {what}", .status.name())]
    Conflict { status: Status, what: &'static str },
    #[error("\"{0}\" is not the name of a model on the hub: that is OWNER/NAME")]
    BadId(String),
    #[error("{ACTIVE_MAX} downloads wait already; cancel some, or wait")]
    TooMany,
    #[error("the gateway is shutting down")]
    ShuttingDown,
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// All downloads; a cheap handle.
#[derive(Clone)]
pub struct Downloads(Arc<Inner>);

struct Inner {
    deps: DownloadsDeps,
    jobs: Mutex<Vec<Arc<Job>>>,
    loaded: OnceCell<()>,
    models: Semaphore,
    files: Semaphore,
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl Downloads {
    /// Reads nothing yet: [`Downloads::load`] takes up what was under way.
    pub fn new(deps: DownloadsDeps) -> Downloads {
        Downloads(Arc::new(Inner {
            deps,
            jobs: Mutex::default(),
            loaded: OnceCell::new(),
            models: Semaphore::new(MODELS_AT_ONCE),
            files: Semaphore::new(FILES_AT_ONCE),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
        }))
    }

    /// Goes on with what an earlier run of the gateway left unfinished.
    pub async fn resume_all(&self) -> Result<(), OrderError> {
        self.load().await?;
        for job in self.0.jobs().into_iter().filter(|job| job.status().is_active()) {
            tracing::info!(download.id = job.id, model = job.model, "A download of an earlier run goes on");
            self.spawn(&job);
        }
        Ok(())
    }

    /// Newest first.
    pub async fn list(&self) -> Result<Vec<DownloadView>, OrderError> {
        self.load().await?;
        let mut views: Vec<DownloadView> = self.0.jobs().iter().map(|job| job.view()).collect();
        views.sort_by(|a, b| (b.created_at_ms, &b.id).cmp(&(a.created_at_ms, &a.id)));
        Ok(views)
    }

    /// The download of that id, as of now.
    pub async fn get(&self, id: &str) -> Result<DownloadView, OrderError> {
        Ok(self.job(id).await?.view())
    }

    /// Changes of one download, with the way to look at it.
    pub async fn follow(
        &self,
        id: &str,
    ) -> Result<(watch::Receiver<u64>, impl Fn() -> DownloadView + Send + use<>), OrderError> {
        let job = self.job(id).await?;
        Ok((job.watch(), move || job.view()))
    }

    /// The download of that model: the one under way, one that goes on, or a new one.
    pub async fn start(&self, model: &str) -> Result<DownloadView, OrderError> {
        if !valid_hub_id(model) {
            return Err(OrderError::BadId(model.to_owned()));
        }
        self.load().await?;
        let id = Uuid::now_v7().to_string();
        let (job, is_new, forgotten) = {
            let mut jobs = self.0.lock();
            let active = jobs.iter().filter(|job| !job.status().is_over()).count();
            let known = jobs.iter().position(|job| job.model == model);
            match known.and_then(|at| jobs.get(at)).map(|job| (Arc::clone(job), job.status())) {
                // Something new is asked for, and a new id tells it from what is over.
                Some((old, Status::Completed | Status::Cancelled)) => {
                    jobs.retain(|job| job.id != old.id);
                    let job = Arc::new(Job::new(id, model.to_owned(), self.0.deps.clock.unix_ms()));
                    jobs.push(Arc::clone(&job));
                    (job, true, Some(old.id.clone()))
                }
                Some((job, _)) => (job, false, None),
                None if active >= ACTIVE_MAX => return Err(OrderError::TooMany),
                None => {
                    let job = Arc::new(Job::new(id, model.to_owned(), self.0.deps.clock.unix_ms()));
                    jobs.push(Arc::clone(&job));
                    (job, true, None)
                }
            }
        };
        if let Some(old) = forgotten {
            rows::remove(&self.0.deps.store, &old).await?;
        }
        if !is_new {
            return self.order(&job.id, Order::Start).await;
        }
        self.0.note(&job).await;
        self.spawn(&job);
        self.0.prune().await;
        Ok(job.view())
    }

    /// Pauses, continues or ends a download; answers when that is written down.
    pub async fn order(&self, id: &str, order: Order) -> Result<DownloadView, OrderError> {
        let job = self.job(id).await?;
        loop {
            let status = job.status();
            let what = match order {
                Order::Start => "started",
                Order::Pause => "paused",
                Order::Cancel => "cancelled",
            };
            let after = status.after(order).ok_or(OrderError::Conflict { status, what })?;
            if after == status {
                return Ok(job.view());
            }
            if job.change(status, after, None, self.0.deps.clock.unix_ms()) {
                break;
            }
        }
        match order {
            Order::Start => self.spawn(&job),
            Order::Pause => job.stop(),
            Order::Cancel => {
                job.stop();
                self.clean_up(&job);
            }
        }
        self.0.note(&job).await;
        Ok(job.view())
    }

    /// Whether a download of the model waits, runs or is paused.
    pub async fn is_open(&self, model: &str) -> Result<bool, OrderError> {
        self.load().await?;
        Ok(self.0.jobs().iter().any(|job| job.model == model && !job.status().is_over()))
    }

    /// Fetches a model for somebody who waits: returns when it is there. Who leaves does not stop it.
    pub async fn fetch(
        &self,
        model: &str,
        report: &(dyn Fn(&DownloadView) + Send + Sync),
    ) -> Result<(), String> {
        let started = self.start(model).await.map_err(|error| error.to_string())?;
        let (mut changes, view) = self.follow(&started.id).await.map_err(|error| error.to_string())?;
        loop {
            let now = view();
            match now.status {
                Status::Completed => return Ok(()),
                Status::Failed => return Err(now.reason.unwrap_or_else(|| "it failed".to_owned())),
                Status::Cancelled => return Err("the download was cancelled".to_owned()),
                Status::Paused => return Err("the download is paused".to_owned()),
                Status::Queued | Status::Running => report(&now),
            }
            tokio::select! {
                () = self.0.closing.cancelled() => return Err("the gateway is shutting down".to_owned()),
                changed = changes.changed() => {
                    changed.map_err(|_gone| "the download is gone".to_owned())?;
                }
            }
        }
    }

    /// Stops every task; what was under way stays written down as such, and goes on at the next start.
    pub async fn shutdown(&self) {
        self.0.closing.cancel();
        for job in self.0.jobs() {
            job.stop();
        }
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Where models are kept.
    pub fn cache(&self) -> &Path {
        &self.0.deps.cache
    }

    fn spawn(&self, job: &Arc<Job>) {
        let stop = job.arm();
        if self.0.closing.is_cancelled() {
            return;
        }
        self.0.tracker.spawn(run::run(Arc::clone(&self.0), Arc::clone(job), stop));
    }

    /// Removes what a cancelled download has fetched, once its task has ended.
    fn clean_up(&self, job: &Arc<Job>) {
        let (inner, job) = (Arc::clone(&self.0), Arc::clone(job));
        self.0.tracker.spawn(async move {
            let _turn = job.turn.lock().await;
            if job.status() != Status::Cancelled {
                return;
            }
            let layout = Layout::new(&inner.deps.cache, &job.model);
            let removed = fetch::blocking(move || layout.discard()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(model = job.model, %error, "What a cancelled download had fetched could not be removed");
            }
        });
    }

    async fn job(&self, id: &str) -> Result<Arc<Job>, OrderError> {
        self.load().await?;
        let found = self.0.jobs().into_iter().find(|job| job.id == id);
        found.ok_or_else(|| OrderError::Unknown(id.to_owned()))
    }

    /// Reads what the store holds, the hub's token too; once.
    pub async fn load(&self) -> Result<(), OrderError> {
        let loading = || async {
            let stored = rows::hub_token(&self.0.deps.store).await?;
            self.0.deps.hub.token().set_stored(stored);
            let rows = rows::all(&self.0.deps.store).await?;
            let jobs: Vec<Arc<Job>> = rows.into_iter().map(|row| Arc::new(Job::from_row(row))).collect();
            *self.0.lock() = jobs;
            Ok::<(), OrderError>(())
        };
        self.0.loaded.get_or_try_init(loading).await?;
        Ok(())
    }
}

impl Inner {
    fn jobs(&self) -> Vec<Arc<Job>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a change down and tells it. The store may be closing or full: the download goes on.
    async fn note(&self, job: &Job) {
        if let Err(error) = rows::put(&self.deps.store, job.row()).await {
            tracing::warn!(download.id = job.id, %error, "A download could not be written down");
        }
        self.publish(&job.view());
        job.announce();
    }

    fn publish(&self, view: &DownloadView) {
        self.deps.events.publish(Kind::DownloadChanged, Audience::Readers, view);
    }

    fn tell_model(&self, model: &str) {
        let data = serde_json::json!({"id": model});
        self.deps.events.publish(Kind::ModelChanged, Audience::Readers, &data);
    }

    /// Forgets the oldest of those that are over.
    async fn prune(&self) {
        let forgotten: Vec<String> = {
            let mut jobs = self.lock();
            let mut over: Vec<Arc<Job>> = jobs.iter().filter(|job| job.status().is_over()).cloned().collect();
            over.sort_by_key(|job| job.created_at);
            over.truncate(over.len().saturating_sub(KEPT));
            jobs.retain(|job| !over.iter().any(|old| old.id == job.id));
            over.iter().map(|job| job.id.clone()).collect()
        };
        for id in forgotten {
            if let Err(error) = rows::remove(&self.deps.store, &id).await {
                tracing::warn!(download.id = id, %error, "An old download could not be forgotten");
            }
        }
    }
}
