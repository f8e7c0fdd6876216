//! Admission as tables, and what holds whatever the figures are.

use super::*;
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

fn ready(charge: u64, age: u32, idle: Option<u32>) -> Resident {
    let standing = Standing::Ready { age: age * S, idle: idle.map(|idle| idle * S), reload: 5 * S };
    Resident { charge, standing, pinned: false }
}

fn with(charge: u64, standing: Standing) -> Resident {
    Resident { charge, standing, pinned: false }
}

fn room(limit: u64) -> Room {
    Room { limit, available: None, critical: false, min_stay: 30 * S }
}

#[test]
fn what_fits_beside_the_others_starts() {
    assert_eq!(decide(40, &[ready(60, 1, None)], &room(100)), Decision::Start);
    assert_eq!(decide(0, &[ready(100, 1, None)], &room(100)), Decision::Start);
    assert_eq!(decide(100, &[], &room(100)), Decision::Start);
}

#[test]
fn what_can_never_fit_is_refused_with_the_numbers() {
    let refused = |need, pinned| Decision::Refuse(Shortage { need, limit: 100, pinned });
    assert_eq!(decide(101, &[], &room(100)), refused(101, 0));
    let pinned = Resident { pinned: true, ..ready(60, 100, Some(100)) };
    assert_eq!(decide(50, &[pinned], &room(100)), refused(50, 60));
    assert_eq!(decide(40, &[pinned], &room(100)), Decision::Start);
}

#[test]
fn one_starts_at_a_time_and_none_while_memory_is_critical() {
    let starting = with(10, Standing::Starting);
    assert_eq!(decide(10, &[starting], &room(100)), Decision::Wait(Hold::Starting));
    let critical = Room { critical: true, ..room(100) };
    assert_eq!(decide(10, &[], &critical), Decision::Wait(Hold::Pressure));
}

#[test]
fn the_least_valuable_idle_ones_stop_and_no_more_than_needed() {
    let long_unused = ready(30, 900, Some(800));
    let just_used = ready(30, 900, Some(2));
    let both = [just_used, long_unused];
    assert_eq!(decide(60, &both, &room(100)), Decision::Stop(vec![1]));
    assert_eq!(decide(90, &both, &room(100)), Decision::Stop(vec![1, 0]));
    // The big one alone is enough, so the small one that is missed even less stays.
    let small = ready(5, 900, Some(800));
    assert_eq!(decide(60, &[small, ready(60, 900, Some(60))], &room(100)), Decision::Stop(vec![1]));
}

#[test]
fn of_two_equally_long_unused_the_one_that_loads_faster_stops() {
    let loads_in =
        |seconds: u32| with(50, Standing::Ready { age: 900 * S, idle: Some(60 * S), reload: seconds * S });
    assert_eq!(decide(50, &[loads_in(120), loads_in(3)], &room(100)), Decision::Stop(vec![1]));
}

#[test]
fn one_that_has_just_started_stays_for_a_while() {
    let young = ready(80, 10, Some(5));
    assert_eq!(decide(50, &[young], &room(100)), Decision::Wait(Hold::Stay(20 * S)));
}

#[test]
fn when_only_busy_ones_are_in_the_way_they_finish_first() {
    let busy = ready(80, 60, None);
    assert_eq!(decide(50, &[busy], &room(100)), Decision::Yield(vec![0]));
    let young = ready(80, 12, None);
    assert_eq!(decide(50, &[young], &room(100)), Decision::Wait(Hold::Stay(18 * S)));
    // Whoever had its turn longest makes way.
    let three = [ready(40, 40, None), ready(40, 90, None)];
    assert_eq!(decide(50, &three, &room(100)), Decision::Yield(vec![1]));
}

#[test]
fn memory_that_is_being_given_back_is_waited_for() {
    let leaving = with(80, Standing::Leaving);
    assert_eq!(decide(50, &[leaving], &room(100)), Decision::Wait(Hold::Leaving));
    let two = [leaving, ready(20, 100, Some(50))];
    assert_eq!(decide(100, &two, &room(100)), Decision::Stop(vec![1]));
}

#[test]
fn memory_has_to_be_seen_to_be_free() {
    let tight = Room { available: Some(10), ..room(100) };
    assert_eq!(decide(50, &[], &tight), Decision::Wait(Hold::NotSeen));
    assert_eq!(decide(50, &[ready(45, 90, Some(60))], &tight), Decision::Stop(vec![0]));
    assert_eq!(decide(10, &[], &tight), Decision::Start);
}

fn any_resident() -> impl Strategy<Value = Resident> {
    let standing = prop_oneof![
        1 => Just(Standing::Starting),
        1 => Just(Standing::Leaving),
        6 => (0u32..100, prop::option::of(0u32..100), 0u32..60).prop_map(|(age, idle, reload)| {
            Standing::Ready { age: age * S, idle: idle.map(|idle| idle.min(age) * S), reload: reload * S }
        }),
    ];
    (0u64..60, standing, prop::bool::weighted(0.2)).prop_map(|(charge, standing, pinned)| Resident {
        charge,
        standing,
        pinned,
    })
}

proptest! {
    #[test]
    fn nothing_busy_or_pinned_stops_and_the_budget_holds(
        need in 0u64..120,
        residents in prop::collection::vec(any_resident(), 0..8),
        available in prop::option::of(0u64..200),
        critical in prop::bool::weighted(0.1),
    ) {
        let room = Room { available, critical, ..room(100) };
        let used: u64 = residents.iter().map(|resident| resident.charge).sum();
        match decide(need, &residents, &room) {
            Decision::Start => {
                prop_assert!(need == 0 || used + need <= room.limit || used <= room.limit);
                prop_assert!(used + need <= room.limit || need == 0);
                prop_assert!(available.is_none_or(|available| need <= available));
                prop_assert!(!residents.iter().any(|r| r.standing == Standing::Starting));
            }
            Decision::Stop(which) => {
                prop_assert!(!which.is_empty());
                for at in which {
                    prop_assert!(!residents[at].pinned);
                    let aged = age_of(&residents[at].standing).is_some_and(|age| age >= room.min_stay);
                    prop_assert!(aged && idle_for(&residents[at].standing).is_some());
                }
            }
            Decision::Yield(which) => {
                prop_assert!(!which.is_empty());
                for at in which {
                    prop_assert!(!residents[at].pinned && idle_for(&residents[at].standing).is_none());
                    prop_assert!(age_of(&residents[at].standing).is_some_and(|age| age >= room.min_stay));
                }
            }
            Decision::Refuse(shortage) => prop_assert!(need + shortage.pinned > room.limit),
            Decision::Wait(_) => {}
        }
    }

    /// Whoever is not refused gets in after a while, if those who leave do leave.
    #[test]
    fn patience_is_rewarded(
        need in 1u64..100,
        mut residents in prop::collection::vec(any_resident(), 0..8),
    ) {
        for _ in 0..40 {
            match decide(need, &residents, &room(100)) {
                Decision::Start | Decision::Refuse(_) => return Ok(()),
                Decision::Stop(which) | Decision::Yield(which) => {
                    which.into_iter().for_each(|at| residents[at].standing = Standing::Leaving);
                }
                Decision::Wait(Hold::Leaving) => residents.retain(|r| r.standing != Standing::Leaving),
                Decision::Wait(Hold::Starting) => residents.iter_mut().for_each(|resident| {
                    if resident.standing == Standing::Starting {
                        resident.standing = Standing::Ready { age: S, idle: None, reload: S };
                    }
                }),
                Decision::Wait(_) => residents.iter_mut().for_each(|resident| {
                    if let Standing::Ready { age, .. } = &mut resident.standing {
                        *age += 30 * S;
                    }
                }),
            }
        }
        prop_assert!(false, "it waits for ever: {residents:?}");
    }
}
