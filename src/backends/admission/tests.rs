//! Several backends and room for two, in any order of requests: the budget holds, nobody who is busy
//! is stopped, everybody who waits is answered.

use super::super::run::{Job, Report, Runner};
use super::super::state::Failure;
use super::super::target::Target;
use super::super::testing::{scripted, spec_with};
use super::super::{AcquireError, Asker, Backends, LaunchSpec, Lease, Progress};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep, timeout};

const NEED: u64 = 100;
const BUDGET: u64 = 250;
const BACKENDS: usize = 4;
const MIN_STAY: Duration = Duration::from_secs(3);

/// Runs that are let in, load, answer, and take a while to give their memory back.
#[derive(Default)]
struct Loads {
    running: Mutex<BTreeSet<String>>,
    ending: std::sync::atomic::AtomicBool,
}

impl Runner for Loads {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Failure> {
        async move {
            let permit = match job.admitted(NEED).await {
                None => return Failure::because("it was stopped"),
                Some(Err(failure)) => return failure,
                Some(Ok(permit)) => permit,
            };
            {
                let mut running = self.running.lock().unwrap();
                assert!(running.insert(job.spec.id.clone()), "a double start");
                assert!(running.len() as u64 * NEED <= BUDGET, "more than the budget: {running:?}");
            }
            tokio::select! {
                () = sleep(Duration::from_secs(1)) => {
                    job.reports.send(Report::Answered(Box::new(Target::local(49152).unwrap()))).await.ok();
                    permit.ready();
                    job.stop.cancelled().await;
                }
                () = job.stop.cancelled() => {}
            }
            let inside = job.slot.current.load().as_ref().map_or(0, |run| run.gate.count());
            let over = self.ending.load(std::sync::atomic::Ordering::Relaxed);
            assert!(inside == 0 || over, "a busy backend was stopped");
            sleep(Duration::from_millis(400)).await;
            self.running.lock().unwrap().remove(&job.spec.id);
            drop(permit);
            Failure::because("it was stopped")
        }
        .boxed()
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Ask(usize, i32),
    Leave,
    Finish,
    Wait(u64),
}

struct Play {
    backends: Backends,
    loads: Arc<Loads>,
    specs: Vec<Arc<LaunchSpec>>,
    asked: Vec<JoinHandle<Result<Lease, AcquireError>>>,
    leases: Vec<Lease>,
}

impl Play {
    fn new() -> Play {
        let loads = Arc::new(Loads::default());
        let runner = Arc::clone(&loads) as Arc<dyn Runner>;
        let backends = scripted(runner, Duration::from_secs(5), BUDGET, MIN_STAY);
        let spec = |n: usize| {
            spec_with(|spec| {
                spec.id = format!("m{n}");
                spec.queue.size = 1_000;
                spec.queue.timeout = Duration::from_secs(100_000);
            })
        };
        let specs = (0..BACKENDS).map(spec).collect();
        Play { backends, loads, specs, asked: Vec::new(), leases: Vec::new() }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Ask(which, priority) => {
                let (backends, spec) = (self.backends.clone(), Arc::clone(&self.specs[which]));
                let asker = Asker { lane: Arc::from("someone"), priority };
                let asking = async move { backends.acquire(&spec, &asker, &Progress::new()).await };
                self.asked.push(tokio::spawn(asking));
            }
            Act::Leave => self.asked.drain(..self.asked.len().min(1)).for_each(|asked| asked.abort()),
            Act::Finish => drop(self.leases.drain(..self.leases.len().min(1))),
            Act::Wait(ms) => advance(Duration::from_millis(ms)).await,
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let (done, open) = std::mem::take(&mut self.asked).into_iter().partition(JoinHandle::is_finished);
        self.asked = open;
        let done: Vec<JoinHandle<_>> = done;
        for answer in done {
            self.leases.push(answer.await.unwrap().expect("everybody is served"));
        }
    }

    /// From here on every request ends soon, so nobody may wait for ever.
    async fn run_to_its_end(&mut self) {
        let served = async {
            while !self.asked.is_empty() {
                self.leases.clear();
                sleep(Duration::from_millis(200)).await;
                self.act(Act::Finish).await;
            }
        };
        timeout(Duration::from_secs(5_000), served).await.expect("somebody waits for ever");
        self.leases.clear();
        self.loads.ending.store(true, std::sync::atomic::Ordering::Relaxed);
        self.backends.shutdown(Duration::ZERO).await;
        assert!(self.loads.running.lock().unwrap().is_empty());
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..BACKENDS, 0..3).prop_map(|(which, priority)| Act::Ask(which, priority)),
        1 => Just(Act::Leave),
        3 => Just(Act::Finish),
        3 => (0u64..2_000).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn everybody_is_served_within_the_budget(acts in prop::collection::vec(any_act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut play = Play::new();
            for act in acts {
                play.act(act).await;
            }
            play.run_to_its_end().await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused_though_others_wait() {
    let runner = Arc::new(Loads::default()) as Arc<dyn Runner>;
    let backends = scripted(runner, Duration::from_secs(5), NEED - 1, MIN_STAY);
    let asker = Asker { lane: Arc::from("someone"), priority: 0 };
    let refused = backends.acquire(&spec_with(|_| {}), &asker, &Progress::new()).await.unwrap_err();
    let AcquireError::Memory { shortage, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((shortage.need, shortage.limit), (NEED, NEED - 1));
    backends.shutdown(Duration::ZERO).await;
}
