//! The way of one download from its turn to its end. What a task does; which task there is, the parent
//! decides.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::fetch::{Failures, Fetcher, blocking};
use super::job::{FileState, Job, waiting_note};
use super::layout::Layout;
use super::problem::Problem;
use super::state::Status;
use crate::config::ByteSize;
use crate::hub::files::{RepoFile, is_wanted};

/// Progress is told so often at most.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Room that has to stay on the disk.
const KEEP_FREE: u64 = 256 << 20;

/// Waits for the turn, does the work, and notes how it ended.
pub async fn run(inner: Arc<Inner>, job: Arc<Job>, stop: CancellationToken) {
    let _turn = tokio::select! {
        () = stop.cancelled() => return,
        turn = job.turn.lock() => turn,
    };
    let _place = tokio::select! {
        () = stop.cancelled() => return,
        place = inner.models.acquire() => place,
    };
    if !job.change(Status::Queued, Status::Running, None, inner.deps.clock.unix_ms()) {
        return;
    }
    inner.note(&job).await;
    tracing::info!(download.id = job.id, model = job.model, "A download runs");
    let ended = tokio::select! {
        ended = work(&inner, &job, &stop) => ended,
        () = tell(&inner, &job) => return,
    };
    let (status, reason) = match ended {
        // Whoever stopped it has said what it is now.
        Err(Problem::Stopped) => return,
        Ok(()) => (Status::Completed, None),
        Err(problem) => (Status::Failed, Some(problem.to_string())),
    };
    tracing::info!(
        download.id = job.id,
        model = job.model,
        download.status = status.name(),
        error.reason = reason.as_deref().unwrap_or_default(),
        "A download ended"
    );
    if job.change(Status::Running, status, reason, inner.deps.clock.unix_ms()) {
        inner.note(&job).await;
    }
    if status == Status::Completed {
        inner.tell_model(&job.model);
    }
}

/// Never ends.
async fn tell(inner: &Inner, job: &Job) {
    let mut last = None;
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        job.sample(inner.deps.clock.now());
        let view = job.view();
        if last.as_ref() != Some(&view) {
            inner.publish(&view);
            job.announce();
            last = Some(view);
        }
    }
}

async fn work(inner: &Inner, job: &Job, stop: &CancellationToken) -> Result<(), Problem> {
    let waiting = |problem: &Problem, wait: Duration| {
        tracing::warn!(model = job.model, error.reason = %problem, wait_s = wait.as_secs_f64(), "A download waits");
        job.set_note(Some(waiting_note(problem, wait)));
    };
    let (commit, files) = plan(inner, job, stop, &waiting).await?;
    let layout = Layout::new(&inner.deps.cache, &job.model);
    let (made, of) = (layout.clone(), files.clone());
    let states = blocking(move || {
        made.make()?;
        let state = |file: RepoFile| Arc::new(FileState::new(file.clone(), made.present(&file)));
        Ok(of.into_iter().map(state).collect::<Vec<_>>())
    });
    let cache = |source| Problem::Cache { path: inner.deps.cache.clone(), source };
    let states = states.await?.map_err(cache)?;
    job.set_files(&commit, states.clone());
    check_space(inner, job)?;
    inner.note(job).await;
    let fetcher = Fetcher {
        hub: &inner.deps.hub,
        layout: &layout,
        model: &job.model,
        commit: &commit,
        backoff: inner.deps.backoff,
        stop,
        waiting: &waiting,
    };
    fetch_all(inner, job, &fetcher, &states).await?;
    job.set_note(None);
    if stop.is_cancelled() {
        return Err(Problem::Stopped);
    }
    let published = layout.clone();
    blocking(move || published.publish(&commit, &files)).await?.map_err(cache)
}

/// Which commit, and which files of it.
async fn plan(
    inner: &Inner,
    job: &Job,
    stop: &CancellationToken,
    waiting: &(dyn Fn(&Problem, Duration) + Send + Sync),
) -> Result<(String, Vec<RepoFile>), Problem> {
    let hub = &inner.deps.hub;
    let mut failures = Failures::default();
    loop {
        let asking = async {
            let commit = hub.commit(&job.model).await?;
            let files = hub.files(&job.model, &commit).await?;
            Ok::<_, Problem>((commit, files))
        };
        let answer = tokio::select! {
            () = stop.cancelled() => return Err(Problem::Stopped),
            answer = asking => answer,
        };
        match answer {
            Ok((commit, mut files)) => {
                files.retain(|file| is_wanted(&file.path));
                let weights = |file: &RepoFile| {
                    Path::new(&file.path).extension().is_some_and(|ext| ext == "safetensors" || ext == "npz")
                };
                return match files.iter().any(weights) {
                    true => Ok((commit, files)),
                    false => Err(Problem::NoWeights { model: job.model.clone() }),
                };
            }
            Err(problem) => failures.pause(problem, false, &inner.deps.backoff, stop, waiting).await?,
        }
    }
}

/// What other downloads still have to write counts as taken.
fn check_space(inner: &Inner, job: &Job) -> Result<(), Problem> {
    let needed = job.remaining();
    let Some(free) = (inner.deps.free_bytes)(&inner.deps.cache) else { return Ok(()) };
    let jobs = inner.jobs();
    let others = jobs.iter().filter(|other| other.id != job.id && other.status() == Status::Running);
    let promised: u64 = others.map(|other| other.remaining()).sum();
    if needed == 0 || needed.saturating_add(promised).saturating_add(KEEP_FREE) <= free {
        return Ok(());
    }
    let free = ByteSize(free.saturating_sub(promised).saturating_sub(KEEP_FREE));
    Err(Problem::NoSpace { needed: ByteSize(needed), free, cache: inner.deps.cache.clone() })
}

/// All files, a few at a time. The first that cannot be had ends the rest, which keep what they have.
async fn fetch_all(
    inner: &Inner,
    job: &Job,
    fetcher: &Fetcher<'_>,
    states: &[Arc<FileState>],
) -> Result<(), Problem> {
    let stop = fetcher.stop.child_token();
    let fetcher = Fetcher { stop: &stop, ..*fetcher };
    let one = |state: Arc<FileState>| {
        let fetcher = &fetcher;
        async move {
            let place = tokio::select! {
                () = fetcher.stop.cancelled() => return Err(Problem::Stopped),
                place = inner.files.acquire() => place,
            };
            let fetched = fetcher.fetch(&state).await;
            drop(place);
            job.set_note(None);
            fetched
        }
    };
    let mut all: FuturesUnordered<_> = states.iter().map(|state| one(Arc::clone(state))).collect();
    let mut first = Ok(());
    while let Some(ended) = all.next().await {
        if ended.is_err() && first.is_ok() {
            stop.cancel();
            first = ended;
        }
    }
    first
}
