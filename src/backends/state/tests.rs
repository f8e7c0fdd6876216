//! The transitions as tables, and what holds for every order of events.

use super::*;
use proptest::prelude::*;

fn failure() -> Failure {
    Failure {
        reason: "exit code 0".into(),
        log_tail: vec!["bad".into()],
        timed_out_after: None,
        shortage: None,
    }
}

fn machine(state: State) -> Machine {
    Machine { state, ..Machine::default() }
}

fn preparing() -> State {
    State::Preparing { what: "starting".into() }
}

fn failed(retry_at: Instant) -> State {
    State::Failed { failure: failure(), retry_at }
}

/// Checks rows of (state, event, state after, effects).
fn check(now: Instant, rows: Vec<(State, Event, State, Vec<Effect>)>) {
    for (before, event, after, effects) in rows {
        let mut machine = machine(before.clone());
        let got = machine.apply(event.clone(), now);
        assert_eq!((machine.state, got), (after, effects), "{before:?} + {event:?}");
    }
}

#[test]
fn a_wanted_backend_is_launched_once() {
    let now = Instant::now();
    let mut rows = vec![
        (State::Stopped, Event::Wanted, preparing(), vec![Effect::Launch]),
        (failed(now), Event::Wanted, preparing(), vec![Effect::Launch]),
    ];
    for same in [preparing(), State::Loading, State::Ready, State::Draining, State::Stopping] {
        rows.push((same.clone(), Event::Wanted, same.clone(), vec![]));
        rows.push((same.clone(), Event::Start, same, vec![]));
    }
    check(now, rows);
}

#[test]
fn a_start_goes_through_its_stages() {
    let now = Instant::now();
    let installing = State::Preparing { what: "installing".into() };
    check(
        now,
        vec![
            (preparing(), Event::Step("installing".into()), installing.clone(), vec![]),
            (installing, Event::Spawned, State::Loading, vec![]),
            (State::Loading, Event::Answered, State::Ready, vec![Effect::OpenGate]),
            // A server elsewhere has no process of ours.
            (preparing(), Event::Answered, State::Ready, vec![Effect::OpenGate]),
        ],
    );
}

#[test]
fn a_stop_ends_what_runs_and_lets_those_inside_finish() {
    let now = Instant::now();
    let away = || vec![Effect::TurnAway];
    let end = || vec![Effect::EndRun, Effect::TurnAway];
    let drain = vec![Effect::CloseGate, Effect::TurnAway];
    check(
        now,
        vec![
            (State::Stopped, Event::Stop, State::Stopped, away()),
            (failed(now), Event::Stop, State::Stopped, away()),
            (preparing(), Event::Stop, State::Stopping, end()),
            (State::Loading, Event::Stop, State::Stopping, end()),
            (State::Ready, Event::Stop, State::Draining, drain),
            (State::Draining, Event::Drained, State::Stopping, vec![Effect::EndRun]),
            (State::Stopping, Event::Ended(failure()), State::Stopped, vec![]),
            (State::Stopping, Event::Answered, State::Stopping, vec![]),
            (State::Ready, Event::Idle, State::Stopping, vec![Effect::EndRun]),
        ],
    );
}

#[test]
fn a_run_that_ends_by_itself_is_a_failure() {
    let now = Instant::now();
    let held = failed(now + FIRST_BACKOFF);
    let tell = || vec![Effect::Fail(failure())];
    check(
        now,
        vec![
            (preparing(), Event::Ended(failure()), held.clone(), tell()),
            (State::Loading, Event::Ended(failure()), held.clone(), tell()),
            (State::Ready, Event::Ended(failure()), failed(now), vec![Effect::CloseGate]),
            (State::Draining, Event::Ended(failure()), State::Stopped, vec![]),
            (held.clone(), Event::Wanted, held.clone(), tell()),
            (held, Event::Start, preparing(), vec![Effect::Launch]),
        ],
    );
}

#[test]
fn failures_in_a_row_are_answered_for_longer_until_a_start_is_asked_for() {
    let now = Instant::now();
    let mut machine = Machine::default();
    let mut held = Vec::new();
    let mut at = now;
    for _ in 0..7 {
        assert_eq!(machine.apply(Event::Wanted, at), [Effect::Launch]);
        machine.apply(Event::Ended(failure()), at);
        let State::Failed { retry_at, .. } = machine.state else { unreachable!() };
        held.push((retry_at - at).as_secs());
        at = retry_at;
    }
    assert_eq!(held, [1, 2, 4, 8, 16, 30, 30]);
    machine.apply(Event::Start, at);
    assert_eq!(machine.failures, 0);
}

#[test]
fn a_crash_loop_is_slowed_down_and_then_stopped_with_its_reason() {
    let mut at = Instant::now();
    let mut machine = Machine::default();
    let mut crash = |machine: &mut Machine, lives: Duration| {
        machine.apply(Event::Wanted, at);
        machine.apply(Event::Answered, at);
        at += lives;
        machine.apply(Event::Ended(failure()), at);
        let State::Failed { retry_at, failure } = machine.state.clone() else { unreachable!() };
        let wait = retry_at - at;
        at = retry_at.min(at + STABLE_AFTER);
        (wait.as_secs(), failure.reason)
    };
    let second = Duration::from_secs(1);
    let waits: Vec<u64> = (0..5).map(|_| crash(&mut machine, second).0).collect();
    assert_eq!(waits, [0, 0, 1, 2, 4]);
    // It lived long enough not to be in a loop.
    assert_eq!(crash(&mut machine, STABLE_AFTER).0, 0);
    let last = (0..MAX_CRASHES - 1).map(|_| crash(&mut machine, second)).last().unwrap();
    assert!(last.0 > 3_600 && last.1.contains("crashed 6 times in a row"), "{last:?}");
    assert!(matches!(machine.apply(Event::Wanted, Instant::now())[..], [Effect::Fail(_)]));
    assert_eq!(machine.apply(Event::Start, Instant::now()), [Effect::Launch]);
    assert_eq!(machine.crashes, 0);
}

#[test]
fn a_stuck_run_is_killed_and_its_reason_is_what_is_shown() {
    let now = Instant::now();
    let mut machine = machine(State::Ready);
    let stuck = Failure::because("it did nothing");
    let effects = machine.apply(Event::Wedged(stuck), now);
    assert_eq!(effects, [Effect::CloseGate, Effect::KillRun]);
    machine.apply(Event::Ended(Failure::because("it was stopped")), now);
    let State::Failed { failure, retry_at } = machine.state.clone() else { panic!("{machine:?}") };
    assert_eq!((failure.reason.as_str(), retry_at), ("it did nothing", now));
}

#[test]
fn one_that_makes_way_finishes_first_and_a_start_nobody_waits_for_is_given_up() {
    let now = Instant::now();
    check(
        now,
        vec![
            (State::Ready, Event::Yield, State::Draining, vec![Effect::CloseGate]),
            (State::Loading, Event::Yield, State::Loading, vec![]),
            (preparing(), Event::Abandoned, State::Stopping, vec![Effect::EndRun]),
            (State::Ready, Event::Abandoned, State::Ready, vec![]),
            (failed(now), Event::Renewed, State::Stopped, vec![]),
        ],
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Wanted),
        Just(Event::Start),
        Just(Event::Stop),
        Just(Event::Restart),
        Just(Event::Step("installing".into())),
        Just(Event::Spawned),
        Just(Event::Answered),
        Just(Event::Ended(failure())),
        Just(Event::Idle),
        Just(Event::Drained),
        Just(Event::Yield),
        Just(Event::Abandoned),
        Just(Event::Wedged(failure())),
        Just(Event::Renewed),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one run at a time, requests enter only while it answers,
    /// and a run that was told to end is not told twice.
    #[test]
    fn there_is_never_a_second_run(events in prop::collection::vec((any_event(), 0u64..3_000), 1..200)) {
        let mut now = Instant::now();
        let mut machine = Machine::default();
        let (mut running, mut ending, mut open) = (false, false, false);
        for (event, wait_ms) in events {
            now += Duration::from_millis(wait_ms);
            if matches!(event, Event::Ended(_) | Event::Spawned | Event::Answered | Event::Step(_)) && !running {
                continue;
            }
            let over = matches!(event, Event::Ended(_));
            for effect in machine.apply(event, now) {
                match effect {
                    Effect::Launch => {
                        prop_assert!(!running, "a second run");
                        (running, ending) = (true, false);
                    }
                    Effect::EndRun | Effect::KillRun => {
                        prop_assert!(running && !ending);
                        (ending, open) = (true, false);
                    }
                    Effect::OpenGate => {
                        prop_assert!(running && !ending && !open);
                        open = true;
                    }
                    Effect::CloseGate => open = false,
                    Effect::Fail(_) | Effect::TurnAway => {}
                }
            }
            if over {
                running = false;
            }
            let has_run = !matches!(machine.state, State::Stopped | State::Failed { .. });
            prop_assert_eq!(has_run, running);
            prop_assert_eq!(machine.state == State::Ready, open);
        }
    }

    /// After a stop, with nobody asking again, it ends stopped.
    #[test]
    fn a_stop_always_ends_stopped(events in prop::collection::vec(any_event(), 0..100)) {
        let now = Instant::now();
        let mut machine = Machine::default();
        for event in events {
            machine.apply(event, now);
        }
        machine.apply(Event::Stop, now);
        machine.apply(Event::Drained, now);
        machine.apply(Event::Ended(failure()), now);
        prop_assert_eq!(machine.state, State::Stopped);
    }

    /// Those who wait while no run is under way are answered or get one; a failed one tells them.
    #[test]
    fn nobody_who_waits_is_forgotten(events in prop::collection::vec(any_event(), 0..100)) {
        let now = Instant::now();
        let mut machine = Machine::default();
        for event in events {
            machine.apply(event, now);
        }
        let idle = matches!(machine.state, State::Stopped | State::Failed { .. });
        let effects = machine.apply(Event::Wanted, now);
        if idle {
            prop_assert!(matches!(effects[..], [Effect::Launch] | [Effect::Fail(_)]));
        }
    }
}
