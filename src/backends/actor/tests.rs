//! The actor with a scripted runner and a clock that stands still unless a test moves it.

use super::super::run::{Job, Report, Runner};
use super::super::state::Failure;
use super::super::target::Target;
use super::super::testing::{scripted, spec, spec_with};
use super::super::{AcquireError, Asker, Backends, LaunchSpec, Lease, Progress, Waiting};
use super::UNUSED_STAY;
use crate::config::KeepAlive;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, timeout};

mod endings;
mod orders;

const GRACE: Duration = Duration::from_secs(30);

/// Runs that do what the test says.
struct Script {
    runs: mpsc::UnboundedSender<ScriptedRun>,
    begun: AtomicUsize,
    /// Runs that have not ended.
    alive: AtomicUsize,
    /// A run that is told to stop ends only when the test says so.
    slow_stop: AtomicBool,
}

struct ScriptedRun {
    job: Job,
    end: oneshot::Sender<Failure>,
}

struct World {
    backends: Backends,
    script: Arc<Script>,
    runs: Mutex<mpsc::UnboundedReceiver<ScriptedRun>>,
    lane: Arc<str>,
}

impl Runner for Script {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Failure> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.alive.fetch_add(1, Ordering::Relaxed), 0, "a second run");
        let (end, ended) = oneshot::channel();
        let stop = job.stop.clone();
        self.runs.send(ScriptedRun { job, end }).expect("the test is over");
        async move {
            let stopped = async {
                stop.cancelled().await;
                if self.slow_stop.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            let failure = tokio::select! {
                () = stopped => Failure::because("it was stopped"),
                failure = ended => failure.unwrap_or_else(|_| Failure::because("dropped")),
            };
            self.alive.fetch_sub(1, Ordering::Relaxed);
            failure
        }
        .boxed()
    }
}

impl ScriptedRun {
    async fn say(&self, report: Report) {
        self.job.reports.send(report).await.expect("the actor is gone");
    }

    async fn answer(&self) {
        self.say(Report::Answered(Box::new(Target::local(49152).unwrap()))).await;
    }

    fn fail(self, reason: &str) {
        let failure = Failure { log_tail: vec!["last words".into()], ..Failure::because(reason) };
        self.end.send(failure).expect("the run is over");
    }
}

impl World {
    fn new() -> World {
        let (sender, runs) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            runs: sender,
            begun: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            slow_stop: AtomicBool::new(false),
        });
        let runner = Arc::clone(&script) as Arc<dyn Runner>;
        let backends = scripted(runner, GRACE, u64::MAX, Duration::ZERO);
        World { backends, script, runs: Mutex::new(runs), lane: Arc::from("someone") }
    }

    fn ask(&self, spec: &Arc<LaunchSpec>) -> JoinHandle<Result<Lease, AcquireError>> {
        self.ask_with(spec, &Progress::new())
    }

    fn ask_with(
        &self,
        spec: &Arc<LaunchSpec>,
        progress: &Progress,
    ) -> JoinHandle<Result<Lease, AcquireError>> {
        let (backends, spec) = (self.backends.clone(), Arc::clone(spec));
        let asker = Asker { lane: Arc::clone(&self.lane), priority: 0 };
        let progress = progress.clone();
        tokio::spawn(async move { backends.acquire(&spec, &asker, &progress).await })
    }

    /// The next run that is begun. Dropping it is a failure of that run.
    async fn next_run(&self) -> ScriptedRun {
        self.runs.lock().await.recv().await.expect("the runner is gone")
    }

    fn runs_begun(&self) -> usize {
        self.script.begun.load(Ordering::Relaxed)
    }

    /// A ready backend and the lease of the request that started it.
    async fn ready(&self, spec: &Arc<LaunchSpec>) -> (ScriptedRun, Lease) {
        let asked = self.ask(spec);
        let run = self.next_run().await;
        run.answer().await;
        (run, asked.await.unwrap().unwrap())
    }

    fn state(&self) -> &'static str {
        self.backends.snapshot()[0].state
    }

    /// Waits until the backend is shown in that state.
    async fn until(&self, state: &str) {
        self.until_view(|world| world.state() == state).await;
    }

    async fn until_queued(&self, queued: usize) {
        self.until_view(|world| world.backends.snapshot()[0].queued == queued).await;
    }

    async fn until_view(&self, seen: impl Fn(&World) -> bool) {
        for _ in 0..10_000 {
            if !self.backends.snapshot().is_empty() && seen(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never seen: {:?}", self.backends.snapshot());
    }
}

fn outcome(answer: Result<Result<Lease, AcquireError>, tokio::task::JoinError>) -> AcquireError {
    answer.unwrap().expect_err("a lease was given")
}

#[tokio::test(start_paused = true)]
async fn a_hundred_first_requests_start_one_process() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 100);
    let asked: Vec<_> = (0..100).map(|_| world.ask(&spec)).collect();
    let run = world.next_run().await;
    world.until_queued(100).await;
    run.answer().await;
    let leases = join_all(asked).await;
    assert!(leases.iter().all(|lease| lease.as_ref().unwrap().is_ok()));
    assert_eq!(world.runs_begun(), 1);
    assert_eq!(world.backends.snapshot()[0].in_flight, 100);
}

#[tokio::test(start_paused = true)]
async fn a_ready_backend_is_given_without_the_actor() {
    let world = World::new();
    let spec = spec();
    assert!(world.backends.try_acquire(&spec).is_none());
    let (_run, first) = world.ready(&spec).await;
    let second = world.backends.try_acquire(&spec).unwrap();
    assert_eq!(second.target().authority.as_str(), "127.0.0.1:49152");
    assert_eq!((second.queue_ms(), second.start_ms()), (0.0, 0.0));
    assert!(world.backends.try_acquire(&spec).is_none());
    drop(first);
    assert!(world.backends.try_acquire(&spec).is_some());
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_start_and_for_a_turn_are_told_apart() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 1);
    let first = world.ask(&spec);
    let run = world.next_run().await;
    let second = world.ask(&spec);
    world.until_queued(2).await;
    advance(Duration::from_secs(4)).await;
    run.answer().await;
    let first = first.await.unwrap().unwrap();
    advance(Duration::from_secs(3)).await;
    drop(first);
    let second = second.await.unwrap().unwrap();
    assert_eq!((second.start_ms(), second.queue_ms()), (4_000.0, 3_000.0));
}

#[tokio::test(start_paused = true)]
async fn progress_says_what_is_waited_for() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 1);
    let (first, second) = (Progress::new(), Progress::new());
    let asked = world.ask_with(&spec, &first);
    let run = world.next_run().await;
    run.say(Report::Step("installing".into())).await;
    let installing = Waiting::Preparing { what: "installing".into() };
    world.until_view(|_| first.get() == Some(installing.clone())).await;
    let process = super::ProcessFacts { pid: 7, port: 49152, argv: vec![] };
    run.say(Report::Spawned(process)).await;
    world.until_view(|_| matches!(first.get(), Some(Waiting::Loading { .. }))).await;
    assert_eq!(world.backends.snapshot()[0].pid, Some(7));
    run.answer().await;
    let lease = asked.await.unwrap().unwrap();
    let _waiting = world.ask_with(&spec, &second);
    world.until_view(|_| second.get() == Some(Waiting::Queued { position: 1, wait: None })).await;
    assert_eq!(lease.pid(), Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let world = World::new();
    let spec = spec_with(|spec| spec.queue.size = 1);
    let (_run, _first) = world.ready(&spec).await;
    let _second = world.backends.try_acquire(&spec).unwrap();
    let _waits = world.ask(&spec);
    world.until_queued(1).await;
    let refused = outcome(world.ask(&spec).await);
    assert_eq!(
        refused,
        AcquireError::QueueFull { profile: "qwen".into(), size: 1, displaced: false, wait: None }
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_those_who_will_go_straight_in_may_wait_for_the_start() {
    let world = World::new();
    let spec = spec_with(|spec| spec.queue.size = 0);
    let asked = [world.ask(&spec), world.ask(&spec)];
    let run = world.next_run().await;
    world.until_queued(2).await;
    assert!(matches!(outcome(world.ask(&spec).await), AcquireError::QueueFull { .. }));
    run.answer().await;
    assert!(join_all(asked).await.iter().all(|lease| lease.as_ref().unwrap().is_ok()));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_for_a_turn_is_told_and_the_start_does_not_count() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 1);
    let first = world.ask(&spec);
    let run = world.next_run().await;
    let second = world.ask(&spec);
    world.until_queued(2).await;
    advance(Duration::from_secs(600)).await;
    run.answer().await;
    let _held = first.await.unwrap().unwrap();
    let began = Instant::now();
    let error = outcome(second.await);
    assert!(matches!(error, AcquireError::QueueTimeout { .. }), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_its_place_at_once() {
    let world = World::new();
    let spec = spec_with(|spec| (spec.max_concurrent, spec.queue.size) = (1, 1));
    let (_run, lease) = world.ready(&spec).await;
    let waits = world.ask(&spec);
    world.until_queued(1).await;
    waits.abort();
    assert!(waits.await.unwrap_err().is_cancelled());
    assert_eq!(world.backends.snapshot()[0].queued, 0);
    let next = world.ask(&spec);
    world.until_queued(1).await;
    drop(lease);
    assert!(next.await.unwrap().is_ok());
    world.until_view(|world| world.backends.snapshot()[0].in_flight == 0).await;
    assert!(world.backends.try_acquire(&spec).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_though_everybody_left() {
    let world = World::new();
    let spec = spec();
    let asked = world.ask(&spec);
    let run = world.next_run().await;
    asked.abort();
    world.until_queued(0).await;
    run.answer().await;
    world.until("ready").await;
    assert!(world.backends.try_acquire(&spec).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_tells_all_who_wait_and_those_who_come_soon_after() {
    let world = World::new();
    let spec = spec();
    let asked = [world.ask(&spec), world.ask(&spec)];
    let run = world.next_run().await;
    world.until_queued(2).await;
    run.fail("it exited with code 0 before it answered");
    let failure = AcquireError::Failed {
        profile: "qwen".into(),
        reason: "it exited with code 0 before it answered".into(),
        log_tail: vec!["last words".into()],
    };
    for answer in join_all(asked).await {
        assert_eq!(outcome(answer), failure);
    }
    assert_eq!(outcome(world.ask(&spec).await), failure);
    assert_eq!(world.runs_begun(), 1);
    advance(Duration::from_secs(1)).await;
    let (_run, _lease) = world.ready(&spec).await;
    assert_eq!(world.runs_begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_explicit_start_does_not_wait_for_the_next_try() {
    let world = World::new();
    let spec = spec();
    let asked = world.ask(&spec);
    world.next_run().await.fail("bad model");
    outcome(asked.await);
    let (backends, started) = (world.backends.clone(), Arc::clone(&spec));
    let start = tokio::spawn(async move { backends.start(&started).await });
    let run = world.next_run().await;
    run.answer().await;
    assert_eq!(start.await.unwrap(), Ok(()));
    assert_eq!(world.backends.start(&spec).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_dies_is_started_again_for_the_next_request_and_those_who_queue() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 1);
    let (run, lease) = world.ready(&spec).await;
    let queued = world.ask(&spec);
    world.until_queued(1).await;
    run.fail("it was ended by SIGKILL while it was in use");
    let second = world.next_run().await;
    assert!(world.backends.try_acquire(&spec).is_none());
    second.answer().await;
    let queued = queued.await.unwrap().unwrap();
    // The lease of the dead run ends without touching the new one.
    drop(lease);
    assert_eq!(world.backends.snapshot()[0].in_flight, 1);
    drop(queued);
    second.fail("again");
    world.until("failed").await;
    assert_eq!(world.backends.snapshot()[0].error.as_deref(), Some("again"));
    let (_third, _lease) = world.ready(&spec).await;
}
