//! Whatever happens in whatever order: one run at a time, and everybody who waits is answered.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Act {
    Ask,
    /// The client whose request is the oldest open one leaves.
    Leave,
    /// The oldest lease ends.
    Finish,
    Answer,
    Fail,
    Start,
    Stop,
    Restart,
    Wait(u16),
}

/// What is under way between two acts.
struct Play {
    world: World,
    spec: Arc<LaunchSpec>,
    asked: Vec<JoinHandle<Result<Lease, AcquireError>>>,
    commands: Vec<JoinHandle<()>>,
    leases: Vec<Lease>,
    run: Option<ScriptedRun>,
}

impl Play {
    fn new() -> Play {
        let spec = spec_with(|spec| {
            spec.keep_alive = KeepAlive::For(Duration::from_secs(2));
            (spec.max_concurrent, spec.queue.size) = (2, 4);
        });
        let world = World::new();
        world.backends.declare([&spec]);
        let (asked, commands, leases) = (Vec::new(), Vec::new(), Vec::new());
        Play { world, spec, asked, commands, leases, run: None }
    }

    async fn act(&mut self, act: Act) {
        let (backends, spec) = (self.world.backends.clone(), Arc::clone(&self.spec));
        match act {
            Act::Ask => self.asked.push(self.world.ask(&spec)),
            Act::Leave => self.asked.drain(..self.asked.len().min(1)).for_each(|asked| asked.abort()),
            Act::Finish => drop(self.leases.drain(..self.leases.len().min(1))),
            Act::Answer => {
                if let Some(run) = &self.run {
                    let target = Box::new(Target::local(49152).unwrap());
                    run.job.reports.send(Report::Answered(target)).await.ok();
                }
            }
            Act::Fail => drop(self.run.take()),
            Act::Start => self.commands.push(tokio::spawn(async move {
                backends.start(&spec).await.ok();
            })),
            Act::Restart => self.commands.push(tokio::spawn(async move {
                backends.restart(&spec).await.ok();
            })),
            Act::Stop => self.commands.push(tokio::spawn(async move {
                backends.stop("qwen").await;
            })),
            Act::Wait(ms) => advance(Duration::from_millis(ms.into())).await,
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.look().await;
    }

    /// Takes up the newest run and the leases that were given.
    async fn look(&mut self) {
        while let Ok(run) = self.world.runs.lock().await.try_recv() {
            self.run = Some(run);
        }
        let (done, open) = std::mem::take(&mut self.asked).into_iter().partition(JoinHandle::is_finished);
        self.asked = open;
        for answer in join_all::<Vec<_>>(done).await {
            self.leases.extend(answer.unwrap());
        }
        let inside = self.world.backends.snapshot()[0].in_flight as usize;
        assert!(inside <= self.spec.max_concurrent as usize);
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Ask),
        1 => Just(Act::Leave),
        3 => Just(Act::Finish),
        3 => Just(Act::Answer),
        1 => Just(Act::Fail),
        1 => Just(Act::Start),
        1 => Just(Act::Stop),
        1 => Just(Act::Restart),
        2 => (0u16..5_000).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn nobody_is_forgotten(acts in prop::collection::vec(any_act(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut play = Play::new();
            for act in acts {
                play.act(act).await;
            }
            // From here on every run fails and every lease ends, so nobody may wait for ever.
            let until_all_are_answered = async {
                while !(play.asked.is_empty() && play.commands.iter().all(JoinHandle::is_finished)) {
                    play.act(Act::Finish).await;
                    play.act(Act::Fail).await;
                    play.act(Act::Wait(500)).await;
                }
            };
            timeout(Duration::from_secs(10_000), until_all_are_answered).await.expect("somebody waits");
            play.leases.clear();
            play.world.backends.shutdown(Duration::ZERO).await;
            assert_eq!(play.world.script.alive.load(Ordering::Relaxed), 0);
            assert_eq!(play.world.backends.snapshot()[0].in_flight, 0);
        });
    }
}
