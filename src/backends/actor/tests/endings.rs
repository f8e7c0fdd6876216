//! How a backend ends: idle, stopped, restarted, shut down, forgotten.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_idle_backend_is_stopped_after_keep_alive_counted_from_its_last_use() {
    let world = World::new();
    let spec = spec_with(|spec| spec.keep_alive = KeepAlive::For(Duration::from_secs(600)));
    let (_run, lease) = world.ready(&spec).await;
    advance(Duration::from_secs(5_000)).await;
    assert_eq!(world.state(), "ready");
    drop(lease);
    advance(Duration::from_secs(599)).await;
    drop(world.backends.try_acquire(&spec).expect("it is still there"));
    let left = Instant::now();
    let stopped = async {
        while world.state() != "stopped" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(5_000), stopped).await.expect("it never stopped");
    assert!((600..=602).contains(&left.elapsed().as_secs()), "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn keep_alive_zero_stops_with_the_last_request() {
    let world = World::new();
    let spec = spec_with(|spec| spec.keep_alive = KeepAlive::For(Duration::ZERO));
    let (_run, first) = world.ready(&spec).await;
    let second = world.backends.try_acquire(&spec).unwrap();
    drop(first);
    assert!(world.backends.try_acquire(&spec).is_some());
    assert_eq!(world.state(), "ready");
    drop(second);
    world.until("stopped").await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_nobody_used_yet_gets_some_time() {
    let world = World::new();
    let spec = spec_with(|spec| spec.keep_alive = KeepAlive::For(Duration::ZERO));
    let (backends, started) = (world.backends.clone(), Arc::clone(&spec));
    let start = tokio::spawn(async move { backends.start(&started).await });
    let run = world.next_run().await;
    run.answer().await;
    start.await.unwrap().unwrap();
    advance(UNUSED_STAY - Duration::from_secs(1)).await;
    assert_eq!(world.state(), "ready");
    advance(Duration::from_secs(2)).await;
    world.until("stopped").await;
}

#[tokio::test(start_paused = true)]
async fn pinned_and_forever_are_never_idle() {
    let short = KeepAlive::For(Duration::ZERO);
    for spec in [
        spec_with(|spec| (spec.keep_alive, spec.pinned) = (short, true)),
        spec_with(|spec| spec.keep_alive = KeepAlive::Forever),
    ] {
        let world = World::new();
        let (_run, lease) = world.ready(&spec).await;
        drop(lease);
        advance(Duration::from_secs(1_000_000)).await;
        assert!(world.backends.try_acquire(&spec).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_keeps_stays_until_it_is_let_go() {
    let world = World::new();
    let spec = spec_with(|spec| spec.keep_alive = KeepAlive::For(Duration::from_secs(60)));
    assert!(!world.backends.keep("qwen", true).await.unwrap());
    let (_run, lease) = world.ready(&spec).await;
    drop(lease);
    let left = || world.backends.snapshot()[0].idle_stop_in;
    assert_eq!(left(), Some(Duration::from_secs(60)));
    assert!(world.backends.keep("qwen", true).await.unwrap());
    assert_eq!(left(), None);
    advance(Duration::from_secs(1_000)).await;
    assert_eq!(world.state(), "ready");
    assert!(world.backends.keep("qwen", false).await.unwrap());
    world.until("stopped").await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_those_inside_finish_and_turns_away_who_waits() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 1);
    let (_run, lease) = world.ready(&spec).await;
    let queued = world.ask(&spec);
    world.until_queued(1).await;
    let backends = world.backends.clone();
    let stop = tokio::spawn(async move { backends.stop("qwen").await });
    assert!(matches!(outcome(queued.await), AcquireError::Unavailable { .. }));
    world.until("draining").await;
    assert!(world.backends.try_acquire(&spec).is_none());
    drop(lease);
    assert!(stop.await.unwrap());
    assert_eq!(world.state(), "stopped");
    assert!(!world.backends.stop("unknown").await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_stream_beyond_the_grace() {
    let world = World::new();
    let spec = spec();
    let (_run, _lease) = world.ready(&spec).await;
    let began = Instant::now();
    assert!(world.backends.stop("qwen").await);
    assert_eq!(began.elapsed(), GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_while_it_stops_starts_it_again() {
    let world = World::new();
    let spec = spec();
    let (run, lease) = world.ready(&spec).await;
    drop(lease);
    world.script.slow_stop.store(true, Ordering::Relaxed);
    let backends = world.backends.clone();
    let stop = tokio::spawn(async move { backends.stop("qwen").await });
    world.until("stopping").await;
    let asked = world.ask(&spec);
    world.until_queued(1).await;
    assert_eq!(world.runs_begun(), 1);
    run.fail("it was stopped");
    let second = world.next_run().await;
    assert!(stop.await.unwrap());
    second.answer().await;
    assert!(asked.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_start_under_way_can_be_stopped() {
    let world = World::new();
    let spec = spec();
    let asked = world.ask(&spec);
    let _run = world.next_run().await;
    assert!(world.backends.stop("qwen").await);
    assert!(matches!(outcome(asked.await), AcquireError::Unavailable { .. }));
    assert_eq!(world.state(), "stopped");
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_the_new_run() {
    let world = World::new();
    let spec = spec();
    let (_run, lease) = world.ready(&spec).await;
    let (backends, again) = (world.backends.clone(), Arc::clone(&spec));
    let restart = tokio::spawn(async move { backends.restart(&again).await });
    world.until("draining").await;
    let waits = world.ask(&spec);
    drop(lease);
    let second = world.next_run().await;
    second.answer().await;
    assert_eq!(restart.await.unwrap(), Ok(()));
    assert!(waits.await.unwrap().is_ok());
    assert_eq!(world.runs_begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_drains_then_stops_and_lets_nobody_in() {
    let world = World::new();
    let spec = spec_with(|spec| spec.max_concurrent = 1);
    let (_run, lease) = world.ready(&spec).await;
    let queued = world.ask(&spec);
    world.until_queued(1).await;
    let backends = world.backends.clone();
    let shutdown = tokio::spawn(async move { backends.shutdown(Duration::from_secs(30)).await });
    assert_eq!(outcome(queued.await), AcquireError::ShuttingDown);
    assert_eq!(outcome(world.ask(&spec).await), AcquireError::ShuttingDown);
    assert_eq!(world.backends.start(&spec).await, Err(AcquireError::ShuttingDown));
    assert!(world.backends.try_acquire(&spec).is_none());
    assert!(!shutdown.is_finished());
    drop(lease);
    shutdown.await.unwrap();
    assert_eq!(world.state(), "stopped");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_over_with_the_grace_and_a_second_one_shortens_it() {
    let world = World::new();
    let (_run, _lease) = world.ready(&spec()).await;
    let began = Instant::now();
    let (first, second) = (world.backends.clone(), world.backends.clone());
    let first = tokio::spawn(async move { first.shutdown(Duration::from_secs(30)).await });
    world.until("draining").await;
    advance(Duration::from_secs(2)).await;
    second.shutdown(Duration::ZERO).await;
    first.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_all_dropped_end_the_runs() {
    let world = World::new();
    let (run, lease) = world.ready(&spec()).await;
    drop((world.backends, lease));
    let stopped = timeout(Duration::from_secs(5), run.job.stop.cancelled());
    stopped.await.expect("the run goes on without anybody");
}
