//! Rates and budgets, by tables and by chance.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// 2026-11-22 12:00:00 UTC.
const NOON: i64 = 1_795_348_800_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Admits a request that uses exactly so many tokens.
fn take(
    counts: &mut Counts,
    limits: &Limits,
    tokens: u64,
    now: i64,
    at: Duration,
) -> Result<Reserved, Refusal> {
    admit(counts, limits, Estimate::counted(tokens, 0), now, at)
}

fn admit(
    counts: &mut Counts,
    limits: &Limits,
    estimate: Estimate,
    now: i64,
    at: Duration,
) -> Result<Reserved, Refusal> {
    let mut reserved = counts.begin(limits, true, now, at)?;
    match counts.reserve(limits, &mut reserved, estimate, now, at) {
        Ok(()) => Ok(reserved),
        Err(refusal) => {
            counts.settle(limits, reserved, 0, now, at);
            Err(refusal)
        }
    }
}

#[test]
fn limits_are_kept_as_they_are_and_what_cannot_be_read_allows_nothing() {
    let limits = Limits { parallel: Some(2), tokens_per_day: Some(u64::MAX), ..Limits::default() };
    assert_eq!(Limits::read(&limits.to_json()), limits);
    assert_eq!((Limits::read(""), Limits::read("{}")), (Limits::default(), Limits::default()));
    let unreadable = Limits::read("{\"parallel\": \"two\"}");
    assert!(take(&mut Counts::default(), &unreadable, 1, NOON, at(0.0)).is_err());
}

#[test]
fn so_many_requests_pass_at_once_and_then_one_after_another() {
    let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
    let mut counts = Counts::default();
    for _ in 0..3 {
        assert!(take(&mut counts, &limits, 10, NOON, at(1.0)).is_ok());
    }
    let refused = take(&mut counts, &limits, 10, NOON, at(1.0)).unwrap_err();
    assert_eq!((refused.limited, refused.retry_after), (Limited::Requests, at(20.0)));
    assert_eq!(
        counts.standing(&limits, at(1.0)).requests,
        Some(Rate { limit: 3, remaining: 0, reset: at(60.0) })
    );
    assert!(take(&mut counts, &limits, 10, NOON, at(21.1)).is_ok());
    assert!(take(&mut counts, &limits, 10, NOON, at(21.1)).is_err());
}

#[test]
fn tokens_are_reserved_at_first_and_put_right_at_the_end() {
    let limits = Limits { tokens_per_minute: Some(600), ..Limits::default() };
    let mut counts = Counts::default();
    let first = take(&mut counts, &limits, 500, NOON, at(0.0)).unwrap();
    let refused = take(&mut counts, &limits, 200, NOON, at(0.0)).unwrap_err();
    assert_eq!((refused.limited, refused.retry_after), (Limited::Tokens, at(10.0)));
    counts.settle(&limits, first, 100, NOON, at(0.0));
    assert!(take(&mut counts, &limits, 200, NOON, at(0.0)).is_ok());
    let large = take(&mut counts, &limits, 100_000, NOON, at(600.0));
    assert!(large.is_ok(), "larger than a minute's worth: it waits, but not for ever");
}

#[test]
fn so_many_run_at_one_time() {
    let limits = Limits { parallel: Some(2), ..Limits::default() };
    let mut counts = Counts::default();
    let first = take(&mut counts, &limits, 1, NOON, at(0.0)).unwrap();
    take(&mut counts, &limits, 1, NOON, at(0.0)).unwrap();
    assert_eq!(take(&mut counts, &limits, 1, NOON, at(0.0)).unwrap_err().limited, Limited::Parallel);
    counts.settle(&limits, first, 0, NOON, at(0.0));
    assert!(take(&mut counts, &limits, 1, NOON, at(0.0)).is_ok());
}

#[test]
fn a_burst_cannot_pass_a_budget() {
    let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
    let mut counts = Counts::default();
    let taken: Vec<_> =
        (0..100).filter_map(|_| take(&mut counts, &limits, 300, NOON, at(0.0)).ok()).collect();
    assert_eq!((taken.len(), counts.left(&limits, NOON)), (3, Some(100)));
    let refused = take(&mut counts, &limits, 101, NOON, at(0.0)).unwrap_err();
    assert_eq!((refused.limited, refused.retry_after), (Limited::Day, at(1.0)), "some may come back");
    for reserved in taken {
        counts.settle(&limits, reserved, 200, NOON, at(0.0));
    }
    assert_eq!(counts.used(NOON), (600, 600));
    let last = take(&mut counts, &limits, 400, NOON, at(0.0)).unwrap();
    counts.settle(&limits, last, 400, NOON, at(0.0));
    let refused = take(&mut counts, &limits, 1, NOON, at(0.0)).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(12 * 3600), "spent: until midnight");
    assert!(take(&mut counts, &limits, 1, NOON + DAY_MS, at(0.0)).is_ok());
}

#[test]
fn a_request_that_goes_on_takes_more_or_is_told_that_there_is_none() {
    let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
    let mut counts = Counts::default();
    let mut reserved = take(&mut counts, &limits, 60, NOON, at(0.0)).unwrap();
    counts.reserve(&limits, &mut reserved, Estimate::counted(40, 0), NOON, at(0.0)).unwrap();
    assert_eq!(
        counts.reserve(&limits, &mut reserved, Estimate::counted(1, 0), NOON, at(0.0)).unwrap_err().limited,
        Limited::Day
    );
    counts.reserve(&limits, &mut reserved, Estimate::counted(90, 0), NOON + DAY_MS, at(0.0)).unwrap();
    assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(10), "another day, another budget");
    counts.settle(&limits, reserved, 50, NOON + DAY_MS, at(0.0));
    assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(50));
}

proptest! {
    #[test]
    fn requests_that_keep_to_what_they_reserved_never_pass_a_budget(
        steps in prop::collection::vec((any::<bool>(), 1_u64..400, 0_u64..=100), 1..60),
    ) {
        let limits = Limits { tokens_per_day: Some(1000), tokens_per_month: Some(1500), ..Limits::default() };
        let (mut counts, mut running) = (Counts::default(), Vec::new());
        for (begins, tokens, percent) in steps {
            if begins {
                running.extend(take(&mut counts, &limits, tokens, NOON, at(0.0)).ok().map(|r| (r, tokens)));
            } else if let Some((reserved, tokens)) = running.pop() {
                counts.settle(&limits, reserved, tokens * percent / 100, NOON, at(0.0));
            }
            let set_aside: u64 = running.iter().map(|(_, tokens)| tokens).sum();
            prop_assert!(counts.used(NOON).0 + set_aside <= 1000);
        }
    }
}

#[test]
fn a_clock_that_is_set_back_gives_no_budget_anew() {
    let limits = Limits { tokens_per_day: Some(100), tokens_per_month: Some(150), ..Limits::default() };
    let mut counts = Counts::default();
    let reserved = take(&mut counts, &limits, 100, NOON, at(0.0)).unwrap();
    counts.settle(&limits, reserved, 100, NOON, at(0.0));
    for back in [1, 40] {
        assert_eq!(counts.left(&limits, NOON - back * DAY_MS), Some(0), "{back} days back");
    }
    assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(100), "the next day and month come as ever");
}

#[test]
fn a_month_ends_with_the_calendar() {
    let limits = Limits { tokens_per_month: Some(100), ..Limits::default() };
    let mut counts = Counts::resumed(NOON, 5, 100);
    let refused = take(&mut counts, &limits, 1, NOON, at(0.0)).unwrap_err();
    assert_eq!(refused.limited, Limited::Month);
    assert_eq!(refused.retry_after, Duration::from_secs(8 * 24 * 3600 + 12 * 3600));
    assert!(take(&mut counts, &limits, 1, NOON + 9 * DAY_MS, at(0.0)).is_ok());
}

#[test]
fn a_request_over_midnight_counts_where_it_ends() {
    let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
    let mut counts = Counts::default();
    let reserved = take(&mut counts, &limits, 60, NOON, at(0.0)).unwrap();
    counts.settle(&limits, reserved, 40, NOON + DAY_MS, at(0.0));
    assert_eq!(counts.used(NOON + DAY_MS), (40, 40));
}

#[test]
fn counts_admit_a_large_estimate_when_nothing_else_is_used_or_reserved() {
    let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
    let estimate = Estimate { prompt: 5000, prompt_max: 10_000, answer: 100 };
    let mut counts = Counts::default();
    let large = admit(&mut counts, &limits, estimate, NOON, at(0.0)).unwrap();
    assert_eq!(counts.left(&limits, NOON), Some(0), "and nothing beside it");
    assert_eq!(take(&mut counts, &limits, 1, NOON, at(0.0)).unwrap_err().retry_after, at(1.0));
    counts.settle(&limits, large, 900, NOON, at(0.0));
    let refused = admit(&mut counts, &limits, estimate, NOON, at(0.0)).unwrap_err();
    assert_eq!((refused.limited, refused.needed), (Limited::Day, 1000));
    assert!(admit(&mut counts, &limits, estimate, NOON + DAY_MS, at(0.0)).is_ok());
    for sure in [Estimate::counted(1001, 0), Estimate { prompt: 9, prompt_max: 10, answer: 1000 }] {
        assert!(admit(&mut Counts::default(), &limits, sure, NOON, at(0.0)).is_err(), "{sure:?}");
    }
}

#[test]
fn counts_give_back_what_a_round_did_not_use() {
    let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
    let mut counts = Counts::default();
    let mut reserved = take(&mut counts, &limits, 900, NOON, at(0.0)).unwrap();
    counts.end_round(&mut reserved, 200, NOON);
    assert_eq!(counts.left(&limits, NOON), Some(800));
    counts.reserve(&limits, &mut reserved, Estimate::counted(700, 100), NOON, at(0.0)).unwrap();
    counts.end_round(&mut reserved, 300, NOON + DAY_MS);
    assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(1000), "the round was reserved yesterday");
    counts.settle(&limits, reserved, 500, NOON + DAY_MS, at(0.0));
    assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(500));
}

#[test]
fn counts_let_in_what_uses_no_tokens_when_the_budgets_are_spent() {
    let limits = Limits {
        tokens_per_minute: Some(10),
        tokens_per_day: Some(10),
        requests_per_minute: Some(2),
        parallel: Some(1),
        ..Limits::default()
    };
    let mut counts = Counts::default();
    let spent = take(&mut counts, &limits, 10, NOON, at(0.0)).unwrap();
    assert_eq!(counts.begin(&limits, false, NOON, at(0.0)).unwrap_err().limited, Limited::Parallel);
    counts.settle(&limits, spent, 10, NOON, at(0.0));
    let work = counts.begin(&limits, false, NOON, at(0.0)).unwrap();
    counts.settle(&limits, work, 0, NOON, at(0.0));
    assert_eq!(counts.begin(&limits, false, NOON, at(0.0)).unwrap_err().limited, Limited::Requests);
    assert_eq!(counts.begin(&limits, true, NOON, at(0.0)).unwrap_err().limited, Limited::Day);
}

proptest! {
    /// Each step begins a request or ends the oldest. Its prompt takes `percent` of what it cannot exceed.
    #[test]
    fn counts_pass_a_budget_by_one_request_at_most(
        steps in prop::collection::vec((any::<bool>(), 1_u64..900, 1_u64..4, 0_u64..200, 0_u64..=100), 1..80),
        budget in 1_u64..2000,
    ) {
        let limits = Limits { tokens_per_day: Some(budget), ..Limits::default() };
        let (mut counts, mut running) = (Counts::default(), std::collections::VecDeque::new());
        let mut largest = 0;
        for (begins, prompt, factor, answer, percent) in steps {
            let estimate = Estimate { prompt, prompt_max: prompt * factor, answer };
            let used = estimate.max() * percent / 100;
            if begins {
                let is_spent = counts.used(NOON).0 >= budget;
                match admit(&mut counts, &limits, estimate, NOON, at(0.0)) {
                    Ok(reserved) => {
                        prop_assert!(!is_spent, "the next request sees the true sum");
                        largest = used.max(largest);
                        running.push_back((reserved, used));
                    }
                    Err(_) => {
                        let is_alone = running.is_empty() && counts.used(NOON).0 == 0;
                        prop_assert!(!is_alone || factor == 1 || answer >= budget, "not refused for ever");
                    }
                }
            } else if let Some((reserved, used)) = running.pop_front() {
                counts.settle(&limits, reserved, used, NOON, at(0.0));
            }
            let in_flight: u64 = running.iter().map(|(_, used)| used).sum();
            prop_assert!(counts.used(NOON).0 + in_flight <= budget + largest);
        }
        for (reserved, used) in running {
            counts.settle(&limits, reserved, used, NOON, at(0.0));
        }
        prop_assert_eq!(counts.left(&limits, NOON), Some(budget.saturating_sub(counts.used(NOON).0)));
    }
}
