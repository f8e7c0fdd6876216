//! Every way a request can end, as it reads in the store afterwards.

use super::*;
use crate::auth::Estimate;

#[tokio::test]
async fn a_completed_stream_keeps_every_figure() {
    let fixture = Fixture::new();
    let request = NewRequest { client_request_id: Some("client-7".into()), ..chat("qwen") };
    let mut ledger = fixture.recorder.begin(request);
    let id = ledger.id();
    fixture.pass_ms(3);
    ledger.set_waits(2.5, 0.0);
    ledger.warn("`logprobs` was dropped");
    ledger.begin_attempt("qwen");
    ledger.set_upstream_status(500);
    fixture.pass_ms(4);
    ledger.end_attempt(Status::Failed, Tokens::default(), Some("reset".into()));
    let second = Tokens {
        prompt: Some(11),
        completion: Some(101),
        cached: Some(4),
        reasoning: Some(9),
        estimated: false,
    };
    ledger.begin_attempt("qwen");
    ledger.set_upstream_status(200);
    fixture.pass_ms(93);
    ledger.live().add_tokens(1);
    fixture.pass_ms(2000);
    ledger.live().add_tokens(99);
    let outcome = Outcome {
        tokens: second,
        finish_reason: Some("length".into()),
        ..Outcome::new(Status::Completed, 200)
    };
    ledger.finish(outcome);

    let view = fixture.get(id).await;
    let shown = RequestView { id: "the id".into(), ..view.clone() };
    insta::assert_json_snapshot!(shown, @r#"
    {
      "id": "the id",
      "client_request_id": "client-7",
      "status": "completed",
      "profile": "qwen",
      "model": "mlx-community/Qwen3-4B-4bit",
      "requested_model": "gpt-4o-mini",
      "endpoint": "/v1/chat/completions",
      "streamed": true,
      "started_at": "2025-06-15T15:06:40.000Z",
      "started_at_ms": 1750000000000,
      "prompt_tokens": 11,
      "completion_tokens": 101,
      "total_tokens": 112,
      "cached_tokens": 4,
      "reasoning_tokens": 9,
      "estimated": false,
      "queue_ms": 2.5,
      "start_ms": 0.0,
      "ttft_ms": 100.0,
      "duration_ms": 2100.0,
      "decode_tokens_per_s": 50.0,
      "http_status": 200,
      "error_code": null,
      "error_message": null,
      "finish_reason": "length",
      "warnings": [
        "`logprobs` was dropped"
      ],
      "attempts": [
        {
          "number": 0,
          "backend": "qwen",
          "status": "failed",
          "started_at": "2025-06-15T15:06:40.003Z",
          "started_at_ms": 1750000000003,
          "duration_ms": 4.0,
          "upstream_status": 500,
          "error": "reset",
          "prompt_tokens": null,
          "completion_tokens": null,
          "cached_tokens": null,
          "reasoning_tokens": null,
          "estimated": false
        },
        {
          "number": 1,
          "backend": "qwen",
          "status": "completed",
          "started_at": "2025-06-15T15:06:40.007Z",
          "started_at_ms": 1750000000007,
          "duration_ms": 2093.0,
          "upstream_status": 200,
          "error": null,
          "prompt_tokens": 11,
          "completion_tokens": 101,
          "cached_tokens": 4,
          "reasoning_tokens": 9,
          "estimated": false
        }
      ],
      "key": "key_1",
      "user": "user_1"
    }
    "#);
    assert_eq!(fixture.recorder.get("client-7", None).await.unwrap(), Some(view.clone()));
    assert_eq!(fixture.all().await, [view]);
}

#[tokio::test]
async fn refused_and_failed_requests_have_their_reason_and_no_invented_figures() {
    let fixture = Fixture::new();
    let request = NewRequest { profile: None, model: None, key: None, user: None, ..chat("") };
    let refused = fixture.recorder.begin(request);
    let refused_id = refused.id();
    refused.finish(Outcome {
        error_code: Some("model_not_found".into()),
        error_message: Some("There is no model \"gpt-4o-mini\".".into()),
        ..Outcome::new(Status::Refused, 404)
    });
    let failed = fixture.begin();
    let failed_id = failed.id();
    fixture.pass_ms(20);
    failed.finish(Outcome { error_code: Some("backend_failed".into()), ..Outcome::new(Status::Failed, 503) });

    let refused = fixture.get(refused_id).await;
    assert_eq!((refused.status.as_str(), refused.http_status), ("refused", Some(404)));
    assert_eq!(refused.error_code.as_deref(), Some("model_not_found"));
    assert_eq!(refused.error_message.as_deref(), Some("There is no model \"gpt-4o-mini\"."));
    assert_eq!((refused.profile, refused.key, refused.total_tokens), (None, None, None));
    let failed = fixture.get(failed_id).await;
    assert_eq!((failed.status.as_str(), failed.duration_ms), ("failed", Some(20.0)));
    assert_eq!((failed.ttft_ms, failed.decode_tokens_per_s, failed.estimated), (None, None, false));
    assert_eq!((failed.prompt_tokens, failed.completion_tokens), (None, None));
}

#[tokio::test]
async fn a_dropped_request_is_cancelled_with_the_tokens_that_went_through() {
    let fixture = Fixture::new();
    let mut ledger = fixture.begin();
    let id = ledger.id();
    ledger.live().responded(200);
    ledger.reserve(Estimate::default(), 12).unwrap();
    ledger.begin_attempt("qwen");
    fixture.pass_ms(50);
    ledger.live().add_tokens(1);
    fixture.pass_ms(1000);
    ledger.live().add_tokens(20);
    drop(ledger);

    let view = fixture.get(id).await;
    assert_eq!((view.status.as_str(), view.http_status), ("cancelled", Some(200)));
    assert_eq!((view.prompt_tokens, view.completion_tokens, view.estimated), (Some(12), Some(21), true));
    assert_eq!((view.ttft_ms, view.decode_tokens_per_s), (Some(50.0), Some(20.0)));
}

#[tokio::test]
async fn without_usage_from_the_backend_tokens_are_counted_and_said_to_be_estimated() {
    let fixture = Fixture::new();
    let ledger = fixture.begin();
    let id = ledger.id();
    (0..5).for_each(|_| ledger.live().add_tokens(1));
    ledger.finish(Outcome::new(Status::Completed, 200));
    let view = fixture.get(id).await;
    assert_eq!((view.completion_tokens, view.prompt_tokens, view.estimated), (Some(5), None, true));
}

#[tokio::test]
async fn the_profile_may_become_known_later() {
    let fixture = Fixture::new();
    let ledger = fixture.recorder.begin(NewRequest { profile: None, model: None, ..chat("") });
    let id = ledger.id();
    fixture.recorder.flush().await.unwrap();
    ledger.set_profile(&"qwen".into(), Some(&"builtin:demo".into()));
    fixture.recorder.flush().await.unwrap();
    assert_eq!(fixture.get(id).await.profile.as_deref(), Some("qwen"));
    ledger.finish(completed(1, 2));
    let view = fixture.get(id).await;
    assert_eq!((view.status.as_str(), view.model.as_deref()), ("completed", Some("builtin:demo")));
}

#[tokio::test]
async fn texts_from_outside_are_cut_to_a_bound() {
    let fixture = Fixture::new();
    let requested_model = Some("é".repeat(1000).into());
    let ledger = fixture.recorder.begin(NewRequest { requested_model, ..chat("qwen") });
    let id = ledger.id();
    (0..100).for_each(|_| ledger.warn("w".repeat(10_000)));
    ledger.finish(Outcome { error_message: Some("e".repeat(10_000)), ..Outcome::new(Status::Failed, 502) });
    let view = fixture.get(id).await;
    assert_eq!(view.requested_model.unwrap().len(), 256);
    assert_eq!((view.warnings.len(), view.warnings[0].len()), (32, 2048));
    assert_eq!(view.error_message.unwrap().len(), 2048);
}

#[tokio::test]
async fn an_id_already_told_to_the_client_is_the_records_id_and_time() {
    let fixture = Fixture::new();
    let id = fixture.recorder.new_id();
    fixture.pass_ms(40);
    drop(fixture.recorder.begin(NewRequest { id: Some(id), ..chat("qwen") }));
    assert_eq!(fixture.get(id).await.started_at_ms, START_UNIX_MS);
}
