//! Runs work that blocks on the file system on threads of its own, and stops waiting for it at a deadline. A thread that
//! hangs in the kernel cannot be ended, so a place (a model's folder, say) that has not answered is not asked again until
//! it has. Places in one folder, which one disk holds, have a bounded number of threads together, and so have all places;
//! tokio's pools are never waited in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// Longest wait of a request that can go on without the answer.
pub const REQUEST_TIME: Duration = Duration::from_secs(2);
/// Longest wait where nothing can go on without it: the start of a server, an administrator's list.
pub const PATIENT_TIME: Duration = Duration::from_secs(30);
/// Longest wait for whether a path is there.
pub const LOOK_TIME: Duration = Duration::from_secs(1);
/// Threads at one time, those that hang included.
const THREADS_MAX: usize = 128;
/// Threads of one place.
const THREADS_PER_PLACE: usize = 4;
/// Threads of the places in one folder.
const THREADS_PER_FOLDER: usize = 32;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffloadError {
    #[error("{} does not answer; check the disk or the network drive that it is on", .0.display())]
    Unresponsive(PathBuf),
    #[error(
        "{} is not looked at: {THREADS_PER_FOLDER} reads beside it do not answer; check the disk or the network drive \
         that it is on",
        .0.display()
    )]
    FolderUnresponsive(PathBuf),
    #[error("{} could not be looked at: {THREADS_MAX} other reads of files are waiting for their disks", .0.display())]
    Busy(PathBuf),
    #[error("{} could not be looked at: the reading thread ended early", .0.display())]
    Failed(PathBuf),
}

/// Threads for blocking work, counted by place.
#[derive(Clone)]
pub struct Offload(Arc<Inner>);

struct Inner {
    threads: Arc<Semaphore>,
    threads_max: usize,
    places: Mutex<HashMap<PathBuf, Place>>,
}

/// One place that is being asked.
struct Place {
    turns: Arc<Semaphore>,
    /// Shared by the places in one folder.
    folder: Arc<Semaphore>,
    /// When the work of each of its threads should be done, by number.
    running: HashMap<u64, Instant>,
    /// Callers that run or wait. The place is forgotten when there are none.
    users: usize,
    last: u64,
}

/// A caller's claim on a place.
struct Claim {
    inner: Arc<Inner>,
    path: PathBuf,
    number: u64,
}

static SHARED: LazyLock<Offload> = LazyLock::new(|| Offload::new(THREADS_MAX));

/// Runs `work`, which blocks, about `place` on one of the process's threads for that. The answer is waited for until
/// `limit` has passed; the work itself goes on.
pub async fn run<T: Send + 'static>(
    place: &Path,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OffloadError> {
    SHARED.run(place, limit, work).await
}

/// Runs a future that blocks in between on one of those threads, over the runtime of the caller. See [`run`].
pub async fn run_future<T: Send + 'static>(
    place: &Path,
    limit: Duration,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, OffloadError> {
    let runtime = tokio::runtime::Handle::current();
    run(place, limit, move || runtime.block_on(future)).await
}

/// Looks at a path outside of any runtime, as a configuration is read before there is one. None: it does not answer within
/// [`LOOK_TIME`].
pub fn look(path: &Path, look: fn(&Path) -> bool) -> Option<bool> {
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    let path = path.to_owned();
    let run = move || {
        // Whoever asked may not wait any more.
        sender.send(look(&path)).ok();
    };
    std::thread::Builder::new().name("files".to_owned()).spawn(run).ok()?;
    answer.recv_timeout(LOOK_TIME).ok()
}

impl Offload {
    /// At most so many threads in all.
    pub fn new(threads: usize) -> Offload {
        let (all, places) = (Arc::new(Semaphore::new(threads)), Mutex::default());
        Offload(Arc::new(Inner { threads: all, threads_max: threads, places }))
    }

    /// See [`run`].
    pub async fn run<T: Send + 'static>(
        &self,
        place: &Path,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OffloadError> {
        let until = Instant::now() + limit;
        let (claim, turns, folder) = self.claim(place)?;
        let unresponsive = || OffloadError::Unresponsive(place.to_owned());
        let busy = || OffloadError::Busy(place.to_owned());
        // Nobody closes these.
        let turn = timeout_at(until, turns.acquire_owned()).await.map_err(|_| unresponsive())?;
        let folder = timeout_at(until, folder.acquire_owned()).await;
        let folder = folder.map_err(|_| OffloadError::FolderUnresponsive(place.to_owned()))?;
        let threads = Arc::clone(&self.0.threads);
        let thread = timeout_at(until, threads.acquire_owned()).await.map_err(|_| busy())?;
        let (sender, answer) = oneshot::channel();
        claim.begin(until);
        spawn((claim, [turn.ok(), folder.ok(), thread.ok()]), move || drop(sender.send(work())))
            .map_err(|_| busy())?;
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(OffloadError::Failed(place.to_owned())),
            Err(_) => {
                tracing::warn!(path = %place.display(), limit_s = limit.as_secs(), "Reading files takes too long");
                Err(unresponsive())
            }
        }
    }

    /// Claims a place, with its turns and those of its folder. Fails at once where all threads hang that could be waited for.
    fn claim(&self, path: &Path) -> Result<(Claim, Arc<Semaphore>, Arc<Semaphore>), OffloadError> {
        let now = Instant::now();
        let mut places = self.0.places();
        if places.get(path).is_some_and(|place| place.overdue(now) > 0) {
            return Err(OffloadError::Unresponsive(path.to_owned()));
        }
        let (mut beside, mut all, mut folder) = (0, 0, None);
        for (other, place) in &*places {
            let overdue = place.overdue(now);
            all += overdue;
            if other.parent() == path.parent() {
                beside += overdue;
                folder.get_or_insert_with(|| Arc::clone(&place.folder));
            }
        }
        if beside >= THREADS_PER_FOLDER {
            return Err(OffloadError::FolderUnresponsive(path.to_owned()));
        }
        if all >= self.0.threads_max {
            return Err(OffloadError::Busy(path.to_owned()));
        }
        let place = places.entry(path.to_owned()).or_insert_with(|| Place {
            turns: Arc::new(Semaphore::new(THREADS_PER_PLACE)),
            folder: folder.unwrap_or_else(|| Arc::new(Semaphore::new(THREADS_PER_FOLDER))),
            running: HashMap::new(),
            users: 0,
            last: 0,
        });
        place.users += 1;
        place.last += 1;
        let claim = Claim { inner: Arc::clone(&self.0), path: path.to_owned(), number: place.last };
        Ok((claim, Arc::clone(&place.turns), Arc::clone(&place.folder)))
    }
}

impl Place {
    /// Threads whose work should have been done.
    fn overdue(&self, now: Instant) -> usize {
        self.running.values().filter(|until| **until <= now).count()
    }
}

impl Inner {
    fn places(&self) -> MutexGuard<'_, HashMap<PathBuf, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    fn begin(&self, until: Instant) {
        if let Some(place) = self.inner.places().get_mut(&self.path) {
            place.running.insert(self.number, until);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut places = self.inner.places();
        let Some(place) = places.get_mut(&self.path) else { return };
        place.running.remove(&self.number);
        place.users -= 1;
        if place.users == 0 {
            places.remove(&self.path);
        }
    }
}

/// Starts the thread. What it holds is given up before anybody hears of the answer's absence, and behind the work.
fn spawn(
    held: (Claim, [Option<OwnedSemaphorePermit>; 3]),
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let run = move || {
        work();
        drop(held);
    };
    // Nobody joins it: a thread that hangs must not keep the process from ending.
    std::thread::Builder::new().name("files".to_owned()).spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Work that hangs until its sender goes, like a read of a drive that is away.
    fn hanging() -> (mpsc::SyncSender<()>, impl FnOnce() + Send + 'static) {
        let (release, wait) = mpsc::sync_channel::<()>(0);
        (release, move || assert!(wait.recv().is_err()))
    }

    fn threads(offload: &Offload) -> usize {
        offload.0.places().values().map(|place| place.running.len()).sum()
    }

    /// Work that ends at once. The paused clock would run to the limit while a thread works, unless a blocking task of
    /// tokio's runs too.
    async fn answer(offload: &Offload, place: &str) -> Result<u8, OffloadError> {
        let (release, work) = hanging();
        let clock = tokio::task::spawn_blocking(work);
        let answer = offload.run(Path::new(place), REQUEST_TIME, || 7).await;
        drop(release);
        clock.await.unwrap();
        answer
    }

    async fn until_idle(offload: &Offload) {
        while !offload.0.places().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn run_returns_what_the_work_returns_and_leaves_nothing_behind() {
        let offload = Offload::new(2);
        assert_eq!(offload.run(Path::new("/a"), REQUEST_TIME, || 7).await, Ok(7));
        let failed = offload.run(Path::new("/a"), REQUEST_TIME, || panic!("a bug")).await;
        assert_eq!(failed, Err::<(), _>(OffloadError::Failed("/a".into())));
        until_idle(&offload).await;
        assert_eq!(offload.0.threads.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn run_ends_at_its_limit_and_a_place_that_hangs_is_not_asked_again_until_it_answers() {
        let offload = Offload::new(8);
        let (release, work) = hanging();
        let away = OffloadError::Unresponsive("/nas/a".into());
        let began = Instant::now();
        assert_eq!(offload.run(Path::new("/nas/a"), REQUEST_TIME, work).await, Err(away.clone()));
        assert_eq!(began.elapsed(), REQUEST_TIME);
        for _ in 0..100 {
            assert_eq!(offload.run(Path::new("/nas/a"), REQUEST_TIME, || ()).await, Err(away.clone()));
        }
        assert_eq!(began.elapsed(), REQUEST_TIME, "later callers do not wait");
        assert_eq!(threads(&offload), 1);
        assert_eq!(answer(&offload, "/disk/b").await, Ok(7), "others are answered");
        drop(release);
        until_idle(&offload).await;
        assert_eq!(answer(&offload, "/nas/a").await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_hangs_takes_a_bounded_number_of_threads_from_callers_that_come_together() {
        let offload = Offload::new(64);
        let mut releases = Vec::new();
        let calls: Vec<_> = (0..200)
            .map(|_| {
                let (release, work) = hanging();
                releases.push(release);
                offload.run(Path::new("/nas/a"), REQUEST_TIME, work)
            })
            .collect();
        let answers = futures_util::future::join_all(calls);
        let seen = {
            let mut answers = std::pin::pin!(answers);
            tokio::select! {
                biased;
                _ = &mut answers => panic!("nobody answered"),
                () = tokio::time::sleep(REQUEST_TIME / 2) => {}
            }
            let seen = threads(&offload);
            assert!(answers.await.iter().all(|answer| matches!(answer, Err(OffloadError::Unresponsive(_)))));
            seen
        };
        assert_eq!(seen, THREADS_PER_PLACE);
        assert_eq!(offload.0.threads.available_permits(), 64 - THREADS_PER_PLACE);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_beyond_all_threads_are_told_that_the_others_wait() {
        let offload = Offload::new(3);
        let mut releases = Vec::new();
        for n in 0..3 {
            let (release, work) = hanging();
            releases.push(release);
            let place = PathBuf::from(format!("/nas/{n}"));
            let answer = offload.run(&place, REQUEST_TIME, work).await;
            assert_eq!(answer, Err(OffloadError::Unresponsive(place)));
        }
        let began = Instant::now();
        let busy = offload.run(Path::new("/disk"), REQUEST_TIME, || ()).await;
        assert_eq!(busy, Err(OffloadError::Busy("/disk".into())));
        assert_eq!(began.elapsed(), Duration::ZERO, "none of them would end in time");
        assert_eq!(threads(&offload), 3);
        drop(releases);
        until_idle(&offload).await;
        assert_eq!(answer(&offload, "/disk").await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn folders_that_hang_beside_each_other_leave_threads_to_others_and_are_refused_at_once() {
        let offload = Offload::new(THREADS_MAX);
        let mut releases = Vec::new();
        let calls: Vec<_> = (0..THREADS_MAX)
            .map(|n| {
                let (release, work) = hanging();
                releases.push(release);
                let (offload, place) = (offload.clone(), PathBuf::from(format!("/nas/models/{n}")));
                async move { offload.run(&place, REQUEST_TIME, work).await }
            })
            .collect();
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(threads(&offload), THREADS_PER_FOLDER);
        let began = Instant::now();
        let beside = offload.run(Path::new("/nas/models/new"), REQUEST_TIME, || ()).await;
        assert_eq!(beside, Err(OffloadError::FolderUnresponsive("/nas/models/new".into())));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(answer(&offload, "/disk/b").await, Ok(7));
        drop(releases);
        until_idle(&offload).await;
        assert_eq!(answer(&offload, "/nas/models/new").await, Ok(7));
    }

    #[test]
    fn look_says_whether_a_path_is_there_or_that_it_does_not_answer() {
        fn hangs(_path: &Path) -> bool {
            // Until the test's process ends.
            loop {
                std::thread::park();
            }
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path(), Path::is_dir), Some(true));
        assert_eq!(look(&dir.path().join("none"), Path::is_dir), Some(false));
        assert_eq!(look(dir.path(), hangs), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_does_not_hide_that_the_place_hangs() {
        let offload = Offload::new(8);
        let (_release, work) = hanging();
        let place = Path::new("/nas/a");
        let left = tokio::time::timeout(REQUEST_TIME / 2, offload.run(place, REQUEST_TIME, work)).await;
        assert!(left.is_err());
        tokio::time::sleep(REQUEST_TIME).await;
        let answer = offload.run(place, REQUEST_TIME, || ()).await;
        assert_eq!(answer, Err(OffloadError::Unresponsive(place.to_owned())));
    }
}
