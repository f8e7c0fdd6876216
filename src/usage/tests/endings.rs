//! Every way a request can end, as it reads in the store afterwards.

use super::*;

#[tokio::test]
async fn a_completed_stream_keeps_every_figure() {
    let fixture = Fixture::new();
    let request = NewRequest { client_request_id: Some("client-7".into()), ..chat("qwen") };
    let ongoing = fixture.recorder.begin(request);
    let id = ongoing.id();
    fixture.pass_ms(3);
    ongoing.set_queue_ms(2.5);
    ongoing.set_start_ms(0.0);
    ongoing.warn("`logprobs` was dropped");
    ongoing.push_attempt(AttemptRecord {
        number: 0,
        backend: "qwen".into(),
        started_at: START_UNIX_MS + 3,
        duration_ms: 4.0,
        status: Status::Failed,
        upstream_status: Some(500),
        error: Some("reset".into()),
        tokens: Tokens::default(),
    });
    let second = Tokens {
        prompt: Some(11),
        completion: Some(101),
        cached: Some(4),
        reasoning: Some(9),
        estimated: false,
    };
    ongoing.push_attempt(AttemptRecord {
        number: 1,
        backend: "qwen".into(),
        started_at: START_UNIX_MS + 7,
        duration_ms: 2093.0,
        status: Status::Completed,
        upstream_status: Some(200),
        error: None,
        tokens: second,
    });
    fixture.pass_ms(97);
    ongoing.live().add_tokens(1);
    fixture.pass_ms(2000);
    ongoing.live().add_tokens(99);
    let outcome = Outcome {
        tokens: second,
        finish_reason: Some("length".into()),
        ..Outcome::new(Status::Completed, 200)
    };
    ongoing.finish(outcome);

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
    let ongoing = fixture.begin();
    let id = ongoing.id();
    ongoing.responded(200);
    ongoing.live().set_prompt_tokens(12);
    fixture.pass_ms(50);
    ongoing.live().add_tokens(1);
    fixture.pass_ms(1000);
    ongoing.live().add_tokens(20);
    drop(ongoing);

    let view = fixture.get(id).await;
    assert_eq!((view.status.as_str(), view.http_status), ("cancelled", Some(200)));
    assert_eq!((view.prompt_tokens, view.completion_tokens, view.estimated), (Some(12), Some(21), true));
    assert_eq!((view.ttft_ms, view.decode_tokens_per_s), (Some(50.0), Some(20.0)));
}

#[tokio::test]
async fn without_usage_from_the_backend_tokens_are_counted_and_said_to_be_estimated() {
    let fixture = Fixture::new();
    let ongoing = fixture.begin();
    let id = ongoing.id();
    (0..5).for_each(|_| ongoing.live().add_tokens(1));
    ongoing.finish(Outcome::new(Status::Completed, 200));
    let view = fixture.get(id).await;
    assert_eq!((view.completion_tokens, view.prompt_tokens, view.estimated), (Some(5), None, true));
}

#[tokio::test]
async fn the_profile_may_become_known_later() {
    let fixture = Fixture::new();
    let ongoing = fixture.recorder.begin(NewRequest { profile: None, model: None, ..chat("") });
    let id = ongoing.id();
    fixture.recorder.flush().await.unwrap();
    ongoing.set_profile(&"qwen".into(), Some(&"builtin:demo".into()));
    fixture.recorder.flush().await.unwrap();
    assert_eq!(fixture.get(id).await.profile.as_deref(), Some("qwen"));
    ongoing.finish(completed(1, 2));
    let view = fixture.get(id).await;
    assert_eq!((view.status.as_str(), view.model.as_deref()), ("completed", Some("builtin:demo")));
}

#[tokio::test]
async fn texts_from_outside_are_cut_to_a_bound() {
    let fixture = Fixture::new();
    let requested_model = Some("é".repeat(1000).into());
    let ongoing = fixture.recorder.begin(NewRequest { requested_model, ..chat("qwen") });
    let id = ongoing.id();
    (0..100).for_each(|_| ongoing.warn("w".repeat(10_000)));
    ongoing.finish(Outcome { error_message: Some("e".repeat(10_000)), ..Outcome::new(Status::Failed, 502) });
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
