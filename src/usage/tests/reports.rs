//! Sums over records, by span and by group.

use super::*;

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

impl Fixture {
    /// Moves the clock to the instant, which must not lie before the last one.
    fn go_to(&self, text: &str) {
        let ahead = u64::try_from(at(text) - crate::system::clock::Clock::unix_ms(&*self.clock)).unwrap();
        self.pass_ms(ahead);
    }

    async fn usage(&self, query: UsageQuery) -> UsageReport {
        usage(&self.recorder, query).await.unwrap()
    }
}

fn groups(report: &UsageReport) -> Vec<(Option<&str>, u64)> {
    report.groups.iter().map(|group| (group.group.as_deref(), group.requests)).collect()
}

#[tokio::test]
async fn sums_percentiles_and_shares_come_from_the_records() {
    let fixture = Fixture::new();
    for ttft_ms in [30, 10, 20] {
        let ledger = fixture.begin();
        fixture.pass_ms(ttft_ms);
        ledger.live().add_tokens(1);
        fixture.pass_ms(1000);
        ledger.finish(completed(100, 1 + ttft_ms));
    }
    drop({
        let ledger = fixture.begin();
        ledger.live().add_tokens(5);
        ledger
    });
    fixture.begin().finish(Outcome::new(Status::Refused, 404));
    let running = fixture.begin();

    let report =
        fixture.usage(UsageQuery { group_by: Some(GroupBy::Profile), ..UsageQuery::default() }).await;
    insta::assert_json_snapshot!(report, @r#"
    {
      "from": null,
      "to": null,
      "tz": "UTC",
      "group_by": "profile",
      "total": {
        "group": null,
        "requests": 6,
        "by_status": {
          "running": 1,
          "completed": 3,
          "failed": 0,
          "refused": 1,
          "cancelled": 1,
          "interrupted": 0
        },
        "prompt_tokens": 300,
        "completion_tokens": 68,
        "total_tokens": 368,
        "cached_tokens": null,
        "reasoning_tokens": null,
        "estimated_share": 0.25,
        "ttft_ms": {
          "p50": 10.0,
          "p95": 30.0
        },
        "decode_tokens_per_s": {
          "p50": 20.0,
          "p95": 30.0
        },
        "avg_duration_ms": 765.0
      },
      "groups": [
        {
          "group": "qwen",
          "requests": 6,
          "by_status": {
            "running": 1,
            "completed": 3,
            "failed": 0,
            "refused": 1,
            "cancelled": 1,
            "interrupted": 0
          },
          "prompt_tokens": 300,
          "completion_tokens": 68,
          "total_tokens": 368,
          "cached_tokens": null,
          "reasoning_tokens": null,
          "estimated_share": 0.25,
          "ttft_ms": {
            "p50": 10.0,
            "p95": 30.0
          },
          "decode_tokens_per_s": {
            "p50": 20.0,
            "p95": 30.0
          },
          "avg_duration_ms": 765.0
        }
      ]
    }
    "#);
    drop(running);
}

#[tokio::test]
async fn nothing_recorded_means_nothing_known() {
    let report = Fixture::new().usage(UsageQuery::default()).await;
    assert_eq!(report.total, UsageGroup::default());
    assert!(report.groups.is_empty());
}

#[tokio::test]
async fn days_are_those_of_the_asked_zone_even_where_clocks_change() {
    let fixture = Fixture::new();
    // Berlin: 25 hours on 2025-10-26, from 22:00Z to 23:00Z.
    for instant in [
        "2025-10-25T21:59:59.999Z",
        "2025-10-25T22:00:00Z",
        "2025-10-26T22:59:59.999Z",
        "2025-10-26T23:00:00Z",
    ] {
        fixture.go_to(instant);
        fixture.begin().finish(completed(1, 1));
    }
    let by_day =
        |tz: &str| UsageQuery { tz: Some(tz.into()), group_by: Some(GroupBy::Day), ..UsageQuery::default() };
    let berlin = fixture.usage(by_day("Europe/Berlin")).await;
    assert_eq!(groups(&berlin), [(Some("2025-10-25"), 1), (Some("2025-10-26"), 2), (Some("2025-10-27"), 1)]);
    let utc = fixture.usage(by_day("UTC")).await;
    assert_eq!(groups(&utc), [(Some("2025-10-25"), 2), (Some("2025-10-26"), 2)]);
}

#[tokio::test]
async fn a_span_includes_its_start_and_not_its_end() {
    let fixture = Fixture::new();
    for instant in ["2025-07-01T00:00:00Z", "2025-07-01T12:00:00Z", "2025-07-02T00:00:00Z"] {
        fixture.go_to(instant);
        fixture.begin().finish(completed(1, 1));
    }
    let span = |from: Option<&str>, to: Option<&str>| UsageQuery {
        from: from.map(at),
        to: to.map(at),
        ..UsageQuery::default()
    };
    let (first, last) = ("2025-07-01T00:00:00Z", "2025-07-02T00:00:00Z");
    assert_eq!(fixture.usage(span(Some(first), Some(last))).await.total.requests, 2);
    assert_eq!(fixture.usage(span(Some(last), None)).await.total.requests, 1);
    assert_eq!(fixture.usage(span(None, Some(first))).await.total.requests, 0);
}

#[tokio::test]
async fn groups_are_those_with_most_tokens_first_and_the_nameless_are_one_group() {
    let fixture = Fixture::new();
    fixture.recorder.begin(chat("small")).finish(completed(1, 1));
    fixture.recorder.begin(chat("large")).finish(completed(1000, 1));
    fixture
        .recorder
        .begin(NewRequest { key: None, user: Some("user_2".into()), ..chat("small") })
        .finish(completed(1, 9));
    let by = |group_by| UsageQuery { group_by: Some(group_by), ..UsageQuery::default() };
    let profiles = fixture.usage(by(GroupBy::Profile)).await;
    assert_eq!(groups(&profiles), [(Some("large"), 1), (Some("small"), 2)]);
    let keys = fixture.usage(by(GroupBy::Key)).await;
    assert_eq!(groups(&keys), [(Some("key_1"), 2), (None, 1)]);
    let users = fixture.usage(by(GroupBy::User)).await;
    assert_eq!(groups(&users), [(Some("user_1"), 2), (Some("user_2"), 1)]);
    assert_eq!(fixture.usage(by(GroupBy::Model)).await.groups.len(), 1);
    let own = fixture.usage(UsageQuery { user: Some("user_2".into()), ..UsageQuery::default() }).await;
    assert_eq!(own.total.total_tokens, Some(10));
}

#[tokio::test]
async fn unknown_zones_and_empty_spans_are_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let query = UsageQuery { tz: Some("Mars/Olympus".into()), ..UsageQuery::default() };
    let error = usage(&fixture.recorder, query).await.unwrap_err().to_string();
    assert!(error.contains("Mars/Olympus") && error.contains("IANA"), "{error}");
    let query = UsageQuery { from: Some(2), to: Some(2), ..UsageQuery::default() };
    let error = usage(&fixture.recorder, query).await.unwrap_err().to_string();
    assert!(error.contains("1970-01-01T00:00:00.002Z"), "{error}");
}

#[tokio::test]
async fn records_older_than_the_retention_are_forgotten() {
    let fixture = Fixture::new();
    fixture.begin().finish(completed(1, 1));
    let running = fixture.begin();
    fixture.pass_ms(24 * 60 * 60 * 1000);
    fixture.begin().finish(completed(2, 2));
    let prune = || prune_once(fixture.recorder.store(), &*fixture.clock, 1);
    assert_eq!(prune().await.unwrap(), 0, "a day old is not older than a day");
    fixture.pass_ms(1);
    assert_eq!(prune().await.unwrap(), 1);
    let statuses: Vec<_> = fixture.all().await.into_iter().map(|view| view.status).collect();
    assert_eq!(statuses, ["completed", "running"], "what runs is not forgotten");
    drop(running);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let fixture = Fixture::new();
    for profile in ["a", "b", "a", "b", "a"] {
        fixture.recorder.begin(chat(profile)).finish(completed(1, 1));
    }
    fixture.recorder.begin(chat("a")).finish(Outcome::new(Status::Failed, 502));
    let only_a = |before: Option<String>| Filter {
        limit: 2,
        before,
        status: Some(Status::Completed),
        profile: Some("a".into()),
        ..Filter::default()
    };
    let first = fixture.recorder.list(only_a(None)).await.unwrap();
    let second = fixture.recorder.list(only_a(Some(first[1].id.clone()))).await.unwrap();
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(first[0].id > first[1].id && first[1].id > second[0].id);
    let other_key = Filter { key: Some("key_2".into()), ..Filter::default() };
    assert!(fixture.recorder.list(other_key).await.unwrap().is_empty());
    assert!(fixture.dir.path().join("store.db").exists());
}
