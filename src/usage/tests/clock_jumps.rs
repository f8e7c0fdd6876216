//! A wall clock that is set, by hand or over the network, while requests run and records lie in the store.

use super::*;
use crate::system::clock::ClockTrust;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[tokio::test]
async fn a_request_takes_as_long_as_it_takes_whatever_the_wall_clock_does_meanwhile() {
    let fixture = Fixture::new();
    for ahead in [-2 * DAY_MS, 2 * DAY_MS, 0] {
        let ledger = fixture.begin();
        let id = ledger.id();
        fixture.pass_ms(40);
        ledger.live().add_tokens(1);
        fixture.clock.set_ahead_ms(ahead);
        fixture.pass_ms(60);
        ledger.finish(completed(5, 1));
        let view = fixture.get(id).await;
        assert_eq!((view.duration_ms, view.ttft_ms), (Some(100.0), Some(40.0)), "{ahead}");
    }
    let report = usage(&fixture.recorder, UsageQuery::default()).await.unwrap();
    assert_eq!((report.total.requests, report.total.completion_tokens), (3, Some(3)), "each is counted once");
    assert_eq!(fixture.recorder.lost(), 0);
}

#[tokio::test]
async fn records_survive_a_clock_that_is_years_ahead_for_a_while() {
    let fixture = Fixture::new();
    fixture.begin().finish(completed(1, 1));
    let (store, clock) = (fixture.recorder.store(), &*fixture.clock);
    let mut trust = ClockTrust::default();
    assert_eq!(prune_if_trusted(store, clock, 90, &mut trust).await, Ok(0));
    fixture.clock.set_ahead_ms(3650 * DAY_MS);
    // One that comes in the meantime is as old as the clock says.
    fixture.begin().finish(completed(1, 1));
    for _ in 0..23 {
        fixture.pass_ms(3_600_000);
        assert_eq!(prune_if_trusted(store, clock, 90, &mut trust).await, Ok(0));
    }
    fixture.clock.set_ahead_ms(0);
    fixture.pass_ms(3_600_000);
    assert_eq!(prune_if_trusted(store, clock, 90, &mut trust).await, Ok(0));
    assert_eq!(fixture.all().await.len(), 2);
    // A clock that keeps to what it says is believed in the end.
    fixture.clock.set_ahead_ms(3650 * DAY_MS);
    let mut pruned = 0;
    for _ in 0..30 {
        fixture.pass_ms(3_600_000);
        pruned += prune_if_trusted(store, clock, 90, &mut trust).await.unwrap();
    }
    assert_eq!((pruned, fixture.all().await.len()), (1, 1));
}
